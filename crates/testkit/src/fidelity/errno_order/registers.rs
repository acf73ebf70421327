//! The errno order of the register operations: every argument and every word of their structures.
//!
//! Operations that change their ring stand here twice: on a ring without, and with a "again" on
//! one that has already what is registered.

use super::calls::Place::{Arg, Half, Index, Long, Word};
use super::calls::{Call, Desk, NO_RING, Patch, Row, Tries, put};
use super::field::{ALL32, CLOSED, KERNEL, NOWHERE};
use super::matrix;
use super::{Recorder, TABLES};
use crate::call::REGISTER;
use crate::fidelity::{Claim, Outcome};
use crate::os;
use crate::ring::{Ring, i32s, u64s};

const COMMON: &[Patch] = &[
    put(Arg(0), u64::MAX),
    put(Arg(0), CLOSED),
    put(Arg(0), NO_RING),
    put(Index, 0),
    put(Index, 99),
    put(Arg(2), 0),
    put(Arg(2), NOWHERE),
    put(Arg(2), KERNEL),
    put(Arg(3), 0),
    put(Arg(3), 1),
    put(Arg(3), 2),
    put(Arg(3), 33),
    put(Arg(3), ALL32),
];

const IOVEC: &[Patch] = &[
    put(Long(0), 0),
    put(Long(0), NOWHERE),
    put(Long(0), KERNEL),
    put(Long(8), 0),
    put(Long(8), 0x4000_0001),
    put(Long(8), u64::MAX),
    put(Arg(3), 16_385),
];
const FDS: &[Patch] = &[put(Word(0), CLOSED), put(Word(0), ALL32), put(Arg(3), 0x10_0001)];
const UPDATE: &[Patch] = &[
    put(Word(0), 1),
    put(Word(0), ALL32),
    put(Word(4), 1),
    put(Long(8), 0),
    put(Long(8), NOWHERE),
];
const RSRC: &[Patch] = &[
    put(Word(0), 0),
    put(Word(0), ALL32),
    put(Word(4), 1),
    put(Word(4), 2),
    put(Long(8), 1),
    put(Long(16), 0),
    put(Long(16), NOWHERE),
    put(Long(24), NOWHERE),
    put(Arg(3), 32),
];
const UPDATE2: &[Patch] = &[
    put(Word(0), 1),
    put(Word(0), ALL32),
    put(Word(4), 1),
    put(Long(8), 0),
    put(Long(8), NOWHERE),
    put(Long(16), NOWHERE),
    put(Word(24), 0),
    put(Word(24), ALL32),
    put(Word(28), 1),
    put(Arg(3), 32),
];
const BUF_REG: &[Patch] = &[
    put(Long(0), 0),
    put(Long(0), NOWHERE),
    put(Long(0), 1 << 12),
    put(Word(8), 0),
    put(Word(8), 3),
    put(Word(8), 0x1_0000),
    put(Half(14), 1),
    put(Half(14), 4),
    put(Half(12), 9),
    put(Word(16), 1),
    put(Long(24), 1),
];
const STATUS: &[Patch] = &[put(Word(0), 9), put(Word(0), ALL32), put(Word(4), 1), put(Word(8), 1)];
const SYNC_CANCEL: &[Patch] = &[
    put(Word(8), CLOSED),
    put(Word(12), 1),
    put(Word(12), 2),
    put(Word(12), 6),
    put(Word(12), 10),
    put(Word(12), 64),
    put(Long(16), 0),
    put(Half(32), 1),
    put(Half(34), 1),
    put(Long(40), 1),
];
const RANGE: &[Patch] = &[
    put(Word(0), 2),
    put(Word(0), ALL32),
    put(Word(4), 0),
    put(Word(4), 9),
    put(Word(4), ALL32),
    put(Long(8), 1),
];
const RESTRICTION: &[Patch] = &[
    put(Half(0), 1),
    put(Half(0), 4),
    put(Half(2), 0x00ff),
    put(Half(2), 0x0100),
    put(Word(4), 1),
    put(Word(12), 1),
];
const CLONE: &[Patch] = &[
    put(Word(0), CLOSED),
    put(Word(0), NO_RING),
    put(Word(4), 1),
    put(Word(4), 2),
    put(Word(4), 4),
    put(Word(8), 1),
    put(Word(12), 20_000),
    put(Word(16), 1),
    put(Word(16), 9),
    put(Word(20), 1),
];
const CLOCK: &[Patch] =
    &[put(Word(0), 0), put(Word(0), 7), put(Word(0), 99), put(Word(4), 1), put(Word(12), 1)];
const NAPI: &[Patch] = &[
    put(Word(0), ALL32),
    put(Half(4), 0x0300),
    put(Half(6), 1),
    put(Word(8), 9),
    put(Word(12), 1),
];
const MESSAGE: &[Patch] = &[
    put(Half(0), 41),
    put(Half(0), 0x0128),
    put(Word(4), CLOSED),
    put(Word(4), NO_RING),
    put(Long(16), 1),
    put(Long(16), 2),
    put(Word(28), 1),
];
const RESIZE: &[Patch] = &[
    put(Word(0), 0),
    put(Word(0), 32_769),
    put(Word(4), 1),
    put(Word(8), 8),
    put(Word(8), 1 << 19),
    put(Word(12), 1),
    put(Word(28), 1),
];
const REGION: &[Patch] =
    &[put(Long(0), 0), put(Long(0), NOWHERE), put(Long(8), 1), put(Long(8), 2), put(Long(16), 1)];
const QUERY: &[Patch] = &[
    put(Long(0), NOWHERE),
    put(Long(8), NOWHERE),
    put(Word(16), 1),
    put(Word(16), 9),
    put(Word(20), 0),
    put(Word(20), ALL32),
    put(Word(24), 1),
    put(Word(28), 1),
];
const WORDS: &[Patch] = &[put(Word(0), 1), put(Word(0), ALL32), put(Word(4), 1)];

/// The call on a ring made with `flags` and brought into its state by `fresh`.
fn on(
    desk: &mut Desk,
    (flags, opcode, nr): (u32, u64, u64),
    words: &[u64],
    fresh: impl FnOnce(&Desk, &mut Ring) -> Result<(), String>,
) -> Result<Call, String> {
    let fd = desk.ring_with(flags, fresh)? as u64;
    desk.structure(words);
    desk.mem.put(Desk::DATA, &[0; 256]);
    desk.mem.put(Desk::DATA, &desk.file.to_ne_bytes());
    let arg = if words.is_empty() { 0 } else { desk.mem.addr() };
    Ok(Call { nr: REGISTER, args: [fd, opcode, arg, nr, 0, 0] })
}

fn nothing(_: &Desk, _: &mut Ring) -> Result<(), String> {
    Ok(())
}

fn done<T>(r: os::Sys<T>) -> Result<(), String> {
    r.map(drop).map_err(|e| format!("the desk: {e:?}"))
}

fn with_files(desk: &Desk, ring: &mut Ring) -> Result<(), String> {
    done(ring.register_files(&[desk.file, -1, desk.file]))
}

fn with_buffers(desk: &Desk, ring: &mut Ring) -> Result<(), String> {
    let v = u64s(&[desk.data(), 4096]);
    done(ring.register(0, v.addr(), 1))
}

fn with_eventfd(desk: &Desk, ring: &mut Ring) -> Result<(), String> {
    let fd = i32s(&[desk.event]);
    done(ring.register(4, fd.addr(), 1))
}

fn with_personality(_: &Desk, ring: &mut Ring) -> Result<(), String> {
    done(ring.register(9, 0, 0))
}

fn with_group(desk: &Desk, ring: &mut Ring) -> Result<(), String> {
    let r = u64s(&[desk.big.addr(), 8 | 7 << 32, 0, 0, 0]);
    done(ring.register(22, r.addr(), 1))
}

fn iovec(d: &Desk) -> [u64; 2] {
    [d.data(), 4096]
}

fn rsrc(data: u64) -> [u64; 4] {
    [1, 0, data, 0]
}

/// offset and reserved, data, tags, count.
fn update2(data: u64) -> [u64; 4] {
    [0, data, 0, 1]
}

/// `name, opcode, nr, patches, words of the structure, state; ...`
macro_rules! rows {
    ($($name:literal $flags:literal $op:literal $nr:literal $more:ident
        |$d:ident| $words:expr, $state:expr;)*) => {
        const ROWS: &[Row] = &[$(Row {
            name: $name,
            call: |$d| {
                let words = $words;
                on($d, ($flags, $op, $nr), &words, $state)
            },
            more: $more,
            common: COMMON,
            parts: &[],
        }),*];
    };
}

const NONE: &[Patch] = &[];
/// The structure of an operation that takes none.
const NULL: [u64; 0] = [];
rows! {
    "REGISTER_BUFFERS" 0 0 1 IOVEC |d| iovec(d), nothing;
    "REGISTER_BUFFERS again" 0 0 1 IOVEC |d| iovec(d), with_buffers;
    "UNREGISTER_BUFFERS" 0 1 0 NONE |_d| NULL, with_buffers;
    "UNREGISTER_BUFFERS of none" 0 1 0 NONE |_d| NULL, nothing;
    "REGISTER_FILES" 0 2 1 FDS |d| [d.file as u64], nothing;
    "REGISTER_FILES again" 0 2 1 FDS |d| [d.file as u64], with_files;
    "UNREGISTER_FILES" 0 3 0 NONE |_d| NULL, with_files;
    "UNREGISTER_FILES of none" 0 3 0 NONE |_d| NULL, nothing;
    "REGISTER_EVENTFD" 0 4 1 FDS |d| [d.event as u64], nothing;
    "REGISTER_EVENTFD again" 0 4 1 FDS |d| [d.event as u64], with_eventfd;
    "UNREGISTER_EVENTFD" 0 5 0 NONE |_d| NULL, with_eventfd;
    "UNREGISTER_EVENTFD of none" 0 5 0 NONE |_d| NULL, nothing;
    "REGISTER_FILES_UPDATE" 0 6 1 UPDATE |d| [0, d.data()], with_files;
    "REGISTER_FILES_UPDATE of none" 0 6 1 UPDATE |d| [0, d.data()], nothing;
    "REGISTER_EVENTFD_ASYNC" 0 7 1 FDS |d| [d.event as u64], nothing;
    "REGISTER_PROBE" 0 8 16 WORDS |_d| [0], nothing;
    "REGISTER_PERSONALITY" 0 9 0 NONE |_d| NULL, nothing;
    "UNREGISTER_PERSONALITY" 0 10 1 NONE |_d| NULL, with_personality;
    "REGISTER_RESTRICTIONS" 64 11 1 RESTRICTION |_d| [0], nothing;
    "REGISTER_RESTRICTIONS too late" 0 11 1 RESTRICTION |_d| [0], nothing;
    "REGISTER_ENABLE_RINGS" 64 12 0 NONE |_d| NULL, nothing;
    "REGISTER_ENABLE_RINGS too late" 0 12 0 NONE |_d| NULL, nothing;
    "REGISTER_FILES2" 0 13 32 RSRC |d| rsrc(d.data()), nothing;
    "REGISTER_FILES2 again" 0 13 32 RSRC |d| rsrc(d.data()), with_files;
    "REGISTER_FILES_UPDATE2" 0 14 32 UPDATE2 |d| update2(d.data()), with_files;
    "REGISTER_FILES_UPDATE2 of none" 0 14 32 UPDATE2 |d| update2(d.data()), nothing;
    "REGISTER_BUFFERS2" 0 15 32 RSRC |d| {
        d.mem.put64(Desk::DATA + 512, d.data());
        d.mem.put64(Desk::DATA + 520, 64);
        rsrc(d.data() + 512)
    }, nothing;
    "REGISTER_BUFFERS_UPDATE" 0 16 32 UPDATE2 |d| {
        d.mem.put64(Desk::DATA + 512, d.data());
        d.mem.put64(Desk::DATA + 520, 64);
        update2(d.data() + 512)
    }, with_buffers;
    "REGISTER_BUFFERS_UPDATE of none" 0 16 32 UPDATE2 |d| update2(d.data()), nothing;
    "REGISTER_IOWQ_AFF" 0 17 8 NONE |_d| [1], nothing;
    "UNREGISTER_IOWQ_AFF" 0 18 0 NONE |_d| NULL, nothing;
    "REGISTER_IOWQ_MAX_WORKERS" 0 19 2 WORDS |_d| [0], nothing;
    "REGISTER_RING_FDS" 0 20 1 UPDATE |d| [ALL32, d.other.fd as u64], nothing;
    "UNREGISTER_RING_FDS" 0 21 1 UPDATE |_d| [3, 0], nothing;
    "REGISTER_PBUF_RING" 0 22 1 BUF_REG |d| [d.big.addr(), 8 | 7 << 32, 0, 0, 0], nothing;
    "REGISTER_PBUF_RING again" 0 22 1 BUF_REG |d| [d.big.addr(), 8 | 7 << 32, 0, 0, 0], with_group;
    "UNREGISTER_PBUF_RING" 0 23 1 BUF_REG |_d| [0, 7 << 32, 0, 0, 0], with_group;
    "UNREGISTER_PBUF_RING of none" 0 23 1 BUF_REG |_d| [0, 7 << 32, 0, 0, 0], nothing;
    "REGISTER_SYNC_CANCEL" 0 24 1 SYNC_CANCEL |_d| [77, 0, u64::MAX, u64::MAX, 0, 0, 0, 0], nothing;
    "REGISTER_FILE_ALLOC_RANGE" 0 25 0 RANGE |_d| [1 << 32, 0], with_files;
    "REGISTER_FILE_ALLOC_RANGE of none" 0 25 0 RANGE |_d| [1 << 32, 0], nothing;
    "REGISTER_PBUF_STATUS" 0 26 1 STATUS |_d| [7, 0, 0, 0, 0], with_group;
    "REGISTER_NAPI" 0 27 1 NAPI |_d| [0, 0], nothing;
    "UNREGISTER_NAPI" 0 28 1 NAPI |_d| [0, 0], nothing;
    "REGISTER_CLOCK" 0 29 0 CLOCK |_d| [1, 0], nothing;
    "REGISTER_CLONE_BUFFERS" 0 30 1 CLONE |d| [d.other.fd as u64, 0, 0, 0], nothing;
    "REGISTER_SEND_MSG_RING" 0 31 1 MESSAGE |d| {
        while d.other.reap().is_some() {}
        [40 | (d.other.fd as u64) << 32, 8, 0, 9, 0, 0, 0, 0]
    }, nothing;
    "REGISTER_ZCRX_IFQ" 0 32 1 WORDS |_d| [0; 12], nothing;
    "REGISTER_RESIZE_RINGS" 12288 33 1 RESIZE |_d| [16 | 32 << 32, 0], nothing;
    "REGISTER_RESIZE_RINGS of a plain ring" 0 33 1 RESIZE |_d| [16 | 32 << 32, 0], nothing;
    "REGISTER_MEM_REGION" 0 34 1 REGION |d| {
        // address, size, TYPE_USER
        for (i, w) in [d.big.addr(), 4096, 1, 0, 0, 0, 0, 0].into_iter().enumerate() {
            d.mem.put64(Desk::DATA + 512 + 8 * i, w);
        }
        [d.data() + 512, 0, 0, 0]
    }, nothing;
    "REGISTER_QUERY" 0 35 0 QUERY |d| [0, d.data(), 64 << 32, 0, 0, 0, 0, 0], nothing;
    "REGISTER_ZCRX_CTRL" 0 36 1 WORDS |_d| [0], nothing;
    "REGISTER_BPF_FILTER" 0 37 1 WORDS |_d| [0], nothing;
}

/// What records each operation's tables.
pub(super) fn recorders() -> Vec<Recorder> {
    ROWS.iter().map(super::calls::recorder).collect()
}

/// All tables of an operation.
fn order(name: &str) -> Outcome {
    let mut ran = 0;
    for row in ROWS.iter().filter(|r| r.name.split(' ').next() == Some(name)) {
        matrix::compare(TABLES, &mut Tries::new(row, "")?)
            .map_err(|e| format!("{}: {e}", row.name))?;
        ran += 1;
    }
    if ran == 0 { Err(format!("no row of {name}")) } else { Ok(()) }
}

macro_rules! claims {
    ($($snake:literal $name:literal $($always:ident)?;)*) => {
        /// Names that have a claim.
        pub const NAMES: &[&str] = &[$($name),*];
        /// One for every operation.
        pub const CLAIMS: &[Claim] = &[$(Claim {
            name: concat!($snake, "_refuses_stray_arguments_in_the_kernels_order"),
            section: "2.5",
            says: concat!($name, " with one or two arguments or words spoiled answers as recorded."),
            needs: claims!(@ $name $($always)?),
            run: || order($name),
        }),*];
    };
    (@ $name:literal) => {
        &[$name]
    };
    // What is missing shows in no error.
    (@ $name:literal always) => {
        &[]
    };
}

claims! {
    "register_buffers" "REGISTER_BUFFERS";
    "unregister_buffers" "UNREGISTER_BUFFERS";
    "register_files" "REGISTER_FILES";
    "unregister_files" "UNREGISTER_FILES";
    "register_eventfd" "REGISTER_EVENTFD";
    "unregister_eventfd" "UNREGISTER_EVENTFD";
    "register_files_update" "REGISTER_FILES_UPDATE";
    "register_eventfd_async" "REGISTER_EVENTFD_ASYNC";
    "register_probe" "REGISTER_PROBE";
    "register_personality" "REGISTER_PERSONALITY";
    "unregister_personality" "UNREGISTER_PERSONALITY";
    "register_restrictions" "REGISTER_RESTRICTIONS";
    "register_enable_rings" "REGISTER_ENABLE_RINGS";
    "register_files2" "REGISTER_FILES2";
    "register_files_update2" "REGISTER_FILES_UPDATE2";
    "register_buffers2" "REGISTER_BUFFERS2";
    "register_buffers_update" "REGISTER_BUFFERS_UPDATE";
    "register_iowq_aff" "REGISTER_IOWQ_AFF";
    "unregister_iowq_aff" "UNREGISTER_IOWQ_AFF";
    "register_iowq_max_workers" "REGISTER_IOWQ_MAX_WORKERS" always;
    "register_ring_fds" "REGISTER_RING_FDS";
    "unregister_ring_fds" "UNREGISTER_RING_FDS";
    "register_pbuf_ring" "REGISTER_PBUF_RING";
    "unregister_pbuf_ring" "UNREGISTER_PBUF_RING";
    "register_sync_cancel" "REGISTER_SYNC_CANCEL";
    "register_file_alloc_range" "REGISTER_FILE_ALLOC_RANGE";
    "register_pbuf_status" "REGISTER_PBUF_STATUS";
    "register_napi" "REGISTER_NAPI";
    "unregister_napi" "UNREGISTER_NAPI";
    "register_clock" "REGISTER_CLOCK";
    "register_clone_buffers" "REGISTER_CLONE_BUFFERS";
    "register_send_msg_ring" "REGISTER_SEND_MSG_RING";
    "register_zcrx_ifq" "REGISTER_ZCRX_IFQ" always;
    "register_resize_rings" "REGISTER_RESIZE_RINGS";
    "register_mem_region" "REGISTER_MEM_REGION";
    "register_query" "REGISTER_QUERY";
    "register_zcrx_ctrl" "REGISTER_ZCRX_CTRL";
    "register_bpf_filter" "REGISTER_BPF_FILTER";
}
