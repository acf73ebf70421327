//! The errno order of every opcode: a valid entry with one field spoiled, then with two.
//!
//! Each opcode has a row of what it is spoiled with beyond the common set, and one claim; where a
//! part of an opcode can be missing, the tries that need that part are a claim of their own.

use super::bench::Bench;
use super::field::{ALL32, COMMON, Field, KERNEL, Kind, NOWHERE, Spoil};
use super::field::{flag, flags, other, to};
use super::matrix::{self, Subject};
use super::{OPCODES, Recorder, TABLES};
use crate::fidelity::{Claim, Outcome};
use Field::{Addr, Addr3, Fd, FileIndex, Ioprio, Len, Off, OpFlags};

/// What an opcode's tries are made of.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As in [`OPCODES`].
    pub name: &'static str,
    /// Spoils of this opcode alone.
    more: &'static [Spoil],
    /// Common ones that would wait, or do harm.
    without: &'static [Spoil],
    /// `fd` is a number and not a descriptor.
    number: bool,
    /// Spoils that ask for a part that may be missing.
    parts: &'static [(Spoil, &'static str)],
}

const BASE: Row = Row { name: "", more: &[], without: &[], number: false, parts: &[] };
const NUMBER: Row = Row { number: true, ..BASE };
const SELECT: (Spoil, &str) = (flag(0x20), "IOSQE_BUFFER_SELECT");
/// Numbers that are what the runner was started with, where the field is a descriptor.
const INHERITED: &[Spoil] = &[to(FileIndex, 1), to(FileIndex, 3), to(Off, 1)];
/// Of a receive or a send: POLL_FIRST is common; MULTISHOT, FIXED_BUF, REPORT_USAGE, BUNDLE,
/// VECTORIZED, the next one.
const NET: &[Spoil] = &[
    to(Ioprio, 2),
    to(Ioprio, 4),
    to(Ioprio, 8),
    to(Ioprio, 16),
    to(Ioprio, 32),
    to(Ioprio, 64),
    to(OpFlags, 0x40),
    to(OpFlags, 0x100),
    to(FileIndex, 0x1_0000),
];
/// NOWAIT, DSYNC, SYNC, APPEND, NOAPPEND; a negative offset, too many vectors.
const RWF: &[Spoil] = &[
    to(OpFlags, 8),
    to(OpFlags, 2),
    to(OpFlags, 4),
    to(OpFlags, 16),
    to(OpFlags, 32),
    to(Off, 1 << 63),
    to(Len, 1025),
];

const ROWS: &[Row] = &[
    Row {
        name: "NOP",
        more: &[to(OpFlags, 2), to(OpFlags, 4), to(OpFlags, 8), to(OpFlags, 16), to(OpFlags, 32)],
        parts: &[
            (to(OpFlags, 2), "NOP_FILE"),
            (to(OpFlags, 4), "NOP_FILE"),
            (to(OpFlags, 8), "NOP_FILE"),
            (to(OpFlags, 32), "NOP_FILE"),
        ],
        ..BASE
    },
    Row { name: "READV", more: RWF, parts: &[SELECT], ..BASE },
    Row { name: "WRITEV", more: RWF, ..BASE },
    Row { name: "FSYNC", more: &[to(OpFlags, 2)], ..BASE },
    Row { name: "READ_FIXED", more: RWF, ..BASE },
    Row { name: "WRITE_FIXED", more: RWF, ..BASE },
    Row { name: "POLL_ADD", more: &[to(Len, 2), to(Len, 8)], ..BASE },
    Row {
        name: "POLL_REMOVE",
        more: &[to(Len, 2), to(Len, 4), to(Len, 6), to(Len, 3), to(Len, 8)],
        ..NUMBER
    },
    Row { name: "SYNC_FILE_RANGE", more: &[to(OpFlags, 8), to(Off, 1 << 63)], ..BASE },
    Row { name: "SENDMSG", more: NET, ..BASE },
    Row { name: "RECVMSG", more: NET, parts: &[SELECT], ..BASE },
    Row { name: "TIMEOUT", more: TIMEOUT, ..NUMBER },
    Row {
        name: "TIMEOUT_REMOVE",
        more: &[to(OpFlags, 2), to(OpFlags, 16), to(OpFlags, 18), to(OpFlags, 6)],
        ..NUMBER
    },
    Row {
        name: "ACCEPT",
        more: &[
            to(Ioprio, 2),
            to(Ioprio, 4),
            to(Ioprio, 8),
            to(OpFlags, 0x800),
            to(OpFlags, 0x8_0000),
        ],
        parts: &[(to(Ioprio, 1), "ACCEPT_MULTISHOT")],
        ..BASE
    },
    Row {
        name: "ASYNC_CANCEL",
        more: &[
            to(OpFlags, 2),
            to(OpFlags, 4),
            to(OpFlags, 6),
            to(OpFlags, 10),
            to(OpFlags, 16),
            to(OpFlags, 32),
            to(OpFlags, 36),
            to(OpFlags, 64),
        ],
        ..NUMBER
    },
    Row { name: "LINK_TIMEOUT", more: TIMEOUT, ..NUMBER },
    Row { name: "CONNECT", more: &[to(Off, 200)], ..BASE },
    Row { name: "FALLOCATE", more: &[to(Len, 3), to(Off, 1 << 63), to(Addr, 1 << 63)], ..BASE },
    Row { name: "OPENAT", more: OPEN, ..BASE },
    Row {
        name: "CLOSE",
        more: &[other(Kind::Ring)],
        without: &[other(Kind::Memfd), other(Kind::Path)],
        ..BASE
    },
    Row { name: "FILES_UPDATE", more: &[to(Off, 4), to(Off, ALL32)], ..NUMBER },
    Row { name: "STATX", more: &[to(Len, 1 << 31), to(OpFlags, 0x1000)], ..BASE },
    Row { name: "READ", more: RWF, parts: &[SELECT], ..BASE },
    Row { name: "WRITE", more: RWF, ..BASE },
    Row { name: "FADVISE", more: &[to(OpFlags, 6)], ..BASE },
    Row { name: "MADVISE", more: &[to(OpFlags, 2)], ..BASE },
    Row {
        name: "SEND",
        more: NET,
        parts: &[SELECT, (to(Ioprio, 16), "RECVSEND_BUNDLE"), (to(Ioprio, 32), "SEND_VECTORIZED")],
        ..BASE
    },
    Row {
        name: "RECV",
        more: NET,
        parts: &[SELECT, (to(Ioprio, 2), "RECV_MULTISHOT"), (to(Ioprio, 16), "RECVSEND_BUNDLE")],
        ..BASE
    },
    Row { name: "OPENAT2", more: &[to(Len, 23), to(Len, 4097)], ..BASE },
    Row {
        name: "EPOLL_CTL",
        more: &[to(Len, 2), to(Len, 3), to(Len, 4)],
        without: INHERITED,
        ..BASE
    },
    Row {
        name: "SPLICE",
        more: &[to(OpFlags, 1 << 31), to(Addr, u64::MAX)],
        without: INHERITED,
        ..BASE
    },
    Row {
        name: "PROVIDE_BUFFERS",
        more: &[to(Fd, 0), to(Fd, 0x1_0000), to(Fd, 0x1_0001), to(Off, 0xffff), to(Off, 0x1_0000)],
        ..NUMBER
    },
    Row { name: "REMOVE_BUFFERS", more: &[to(Fd, 0), to(Fd, 0x1_0001)], ..NUMBER },
    Row { name: "TEE", more: &[to(OpFlags, 1 << 31)], without: INHERITED, ..BASE },
    Row { name: "SHUTDOWN", more: &[to(Len, 3)], ..BASE },
    Row { name: "RENAMEAT", more: &[to(OpFlags, 2), to(OpFlags, 3)], ..BASE },
    Row { name: "UNLINKAT", more: &[to(OpFlags, 0x200)], ..BASE },
    Row { name: "MKDIRAT", ..BASE },
    Row { name: "SYMLINKAT", ..BASE },
    Row { name: "LINKAT", more: &[to(OpFlags, 0x400), to(OpFlags, 0x100)], ..BASE },
    Row { name: "MSG_RING", more: &[other(Kind::Ring), to(Addr, 2), to(OpFlags, 2)], ..BASE },
    Row { name: "FSETXATTR", more: XATTR, ..BASE },
    Row { name: "SETXATTR", more: XATTR_PATH, ..BASE },
    Row { name: "FGETXATTR", more: XATTR, ..BASE },
    Row { name: "GETXATTR", more: XATTR_PATH, ..BASE },
    Row { name: "SOCKET", more: &[to(Off, 0x8_0001), to(Off, 0x11)], ..NUMBER },
    Row {
        name: "URING_CMD",
        // Not MULTISHOT: with BUFFER_SELECT 6.18 never ends it, nor its ring, and after 64 of these
        // no ring of the machine. The errors by name have it alone.
        more: &[to(Off, 4), to(Off, 5), to(Off, 1 << 32)],
        ..BASE
    },
    Row { name: "SEND_ZC", more: NET, ..BASE },
    Row { name: "SENDMSG_ZC", more: NET, ..BASE },
    Row { name: "READ_MULTISHOT", more: &[flags(0)], ..BASE },
    Row {
        name: "WAITID",
        more: &[to(Len, 3), to(Len, 9), to(FileIndex, 0), to(FileIndex, 0x100_0000)],
        // Anything else that lacks WNOWAIT takes the child.
        without: &[to(FileIndex, ALL32)],
        ..NUMBER
    },
    Row { name: "FUTEX_WAIT", more: FUTEX, ..NUMBER },
    Row { name: "FUTEX_WAKE", more: FUTEX, ..NUMBER },
    Row { name: "FUTEX_WAITV", more: &[to(Len, 129), to(Fd, 1)], ..NUMBER },
    Row { name: "FIXED_FD_INSTALL", more: &[flags(0), to(OpFlags, 2)], ..BASE },
    Row { name: "FTRUNCATE", more: &[to(Off, 1 << 63)], ..BASE },
    Row { name: "BIND", more: &[to(Off, 200)], ..BASE },
    Row { name: "LISTEN", ..BASE },
    Row { name: "RECV_ZC", more: NET, ..BASE },
    Row { name: "EPOLL_WAIT", ..BASE },
    Row { name: "READV_FIXED", more: RWF, ..BASE },
    Row { name: "WRITEV_FIXED", more: RWF, ..BASE },
    Row { name: "PIPE", more: &[to(OpFlags, 0x800), to(OpFlags, 0x8_0000)], ..NUMBER },
];

const TIMEOUT: &[Spoil] = &[
    to(OpFlags, 2),
    to(OpFlags, 4),
    to(OpFlags, 12),
    to(OpFlags, 16),
    to(OpFlags, 32),
    to(OpFlags, 64),
    to(OpFlags, 65),
    to(OpFlags, 128),
];
const OPEN: &[Spoil] = &[to(OpFlags, 0x8_0000), to(OpFlags, 0x1_0000)];
const XATTR: &[Spoil] = &[to(Off, KERNEL), to(Len, 0x1_0001)];
const XATTR_PATH: &[Spoil] =
    &[to(Off, KERNEL), to(Len, 0x1_0001), to(Addr3, NOWHERE), to(Addr3, 0)];
const FUTEX: &[Spoil] = &[
    to(Fd, 0x80),
    to(Fd, 0x81),
    to(Fd, 0x83),
    to(Fd, 0x182),
    to(Off, 1 << 32),
    to(Addr3, 0),
    to(Addr3, 1 << 32),
];

/// An opcode's tries.
#[derive(Debug)]
pub struct Tries {
    bench: Bench,
    opcode: u8,
    row: &'static Row,
    spoils: Vec<Spoil>,
    /// The part that the claim at hand is about.
    part: &'static str,
}

impl Tries {
    fn new(name: &str, part: &'static str) -> Result<Self, String> {
        let opcode = OPCODES.iter().position(|n| *n == name).ok_or("no such opcode")?;
        let row = ROWS.iter().find(|r| r.name == name).ok_or("no row")?;
        let spoils = COMMON
            .iter()
            .filter(|s| !(row.without.contains(s) || row.number && s.is_of_files()))
            .chain(row.more)
            .copied()
            .collect();
        Ok(Self { bench: Bench::new()?, opcode: opcode as u8, row, spoils, part })
    }

    fn part_of(&self, spoil: usize) -> &'static str {
        let part = self.row.parts.iter().find(|(s, _)| *s == self.spoils[spoil]);
        part.map_or("", |(_, part)| part)
    }
}

impl Subject for Tries {
    fn name(&self) -> String {
        self.row.name.to_owned()
    }

    fn labels(&self) -> Vec<String> {
        self.spoils.iter().map(Spoil::label).collect()
    }

    fn combine(&self, a: usize, b: usize) -> bool {
        self.spoils[a].field != self.spoils[b].field
    }

    /// The claim about the whole takes what needs no part; one about a part what needs that alone.
    fn wanted(&self, spoils: &[usize]) -> bool {
        let mut parts: Vec<&str> =
            spoils.iter().map(|&s| self.part_of(s)).filter(|p| !p.is_empty()).collect();
        parts.dedup();
        match parts.as_slice() {
            [] => self.part.is_empty(),
            [one] => *one == self.part,
            // Of two missing parts the claim about the first one takes the try.
            [one, ..] => *one == self.part,
        }
    }

    fn cell(&mut self, spoils: &[usize], expected: Option<&str>) -> Result<String, String> {
        let spoils: Vec<Spoil> = spoils.iter().map(|&i| self.spoils[i]).collect();
        let scene = super::scenes::scene(&mut self.bench, self.opcode)?;
        self.bench.attempt(&scene, &spoils, expected)
    }
}

fn order(name: &'static str, part: &'static str) -> Outcome {
    matrix::compare(TABLES, &mut Tries::new(name, part)?)
}

/// What records each opcode's table.
pub(super) fn recorders() -> Vec<Recorder> {
    let one = |row: &'static Row| -> Recorder {
        (row.name, Box::new(move || matrix::record(&mut Tries::new(row.name, "")?)))
    };
    ROWS.iter().map(one).collect()
}

/// `"nop" "NOP";` for an opcode, `"nop" "NOP" "with_flags" "NOP_FILE";` for a part of one.
macro_rules! claims {
    ($($snake:literal $name:literal $($always:ident)? $($how:literal $part:literal)?;)*) => {
        /// One for every opcode and every part.
        pub const CLAIMS: &[Claim] = &[$(claims!(@ $snake $name $($always)? $($how $part)?)),*];
    };
    (@ $snake:literal $name:literal) => {
        claims!(@@ $snake $name &[$name])
    };
    // Refused on every ring without hardware for it, so there is nothing to wait for.
    (@ $snake:literal $name:literal always) => {
        claims!(@@ $snake $name &[])
    };
    (@@ $snake:literal $name:literal $needs:expr) => {
        Claim {
            name: concat!($snake, "_refuses_stray_fields_in_the_kernels_order"),
            section: "1.1",
            says: concat!($name, " with one or two fields spoiled ends with the recorded result."),
            needs: $needs,
            run: || order($name, ""),
        }
    };
    (@ $snake:literal $name:literal $how:literal $part:literal) => {
        Claim {
            name: concat!($snake, "_", $how, "_refuses_stray_fields_in_the_kernels_order"),
            section: "1.1",
            says: concat!($name, " that asks for ", $part, ", one more field spoiled, too."),
            needs: &[$name, $part],
            run: || order($name, $part),
        }
    };
}

claims! {
    "nop" "NOP";
    "nop" "NOP" "with_flags" "NOP_FILE";
    "readv" "READV";
    "readv" "READV" "with_buffer_select" "IOSQE_BUFFER_SELECT";
    "writev" "WRITEV";
    "fsync" "FSYNC";
    "read_fixed" "READ_FIXED";
    "write_fixed" "WRITE_FIXED";
    "poll_add" "POLL_ADD";
    "poll_remove" "POLL_REMOVE";
    "sync_file_range" "SYNC_FILE_RANGE";
    "sendmsg" "SENDMSG";
    "recvmsg" "RECVMSG";
    "recvmsg" "RECVMSG" "with_buffer_select" "IOSQE_BUFFER_SELECT";
    "timeout" "TIMEOUT";
    "timeout_remove" "TIMEOUT_REMOVE";
    "accept" "ACCEPT";
    "accept" "ACCEPT" "multishot" "ACCEPT_MULTISHOT";
    "async_cancel" "ASYNC_CANCEL";
    "link_timeout" "LINK_TIMEOUT";
    "connect" "CONNECT";
    "fallocate" "FALLOCATE";
    "openat" "OPENAT";
    "close" "CLOSE";
    "files_update" "FILES_UPDATE";
    "statx" "STATX";
    "read" "READ";
    "read" "READ" "with_buffer_select" "IOSQE_BUFFER_SELECT";
    "write" "WRITE";
    "fadvise" "FADVISE";
    "madvise" "MADVISE";
    "send" "SEND";
    "send" "SEND" "with_buffer_select" "IOSQE_BUFFER_SELECT";
    "send" "SEND" "of_a_bundle" "RECVSEND_BUNDLE";
    "send" "SEND" "of_a_vector" "SEND_VECTORIZED";
    "recv" "RECV";
    "recv" "RECV" "with_buffer_select" "IOSQE_BUFFER_SELECT";
    "recv" "RECV" "of_a_bundle" "RECVSEND_BUNDLE";
    "openat2" "OPENAT2";
    "epoll_ctl" "EPOLL_CTL";
    "splice" "SPLICE";
    "provide_buffers" "PROVIDE_BUFFERS";
    "remove_buffers" "REMOVE_BUFFERS";
    "tee" "TEE";
    "shutdown" "SHUTDOWN";
    "renameat" "RENAMEAT";
    "unlinkat" "UNLINKAT";
    "mkdirat" "MKDIRAT";
    "symlinkat" "SYMLINKAT";
    "linkat" "LINKAT";
    "msg_ring" "MSG_RING";
    "fsetxattr" "FSETXATTR";
    "setxattr" "SETXATTR";
    "fgetxattr" "FGETXATTR";
    "getxattr" "GETXATTR";
    "socket" "SOCKET";
    "uring_cmd" "URING_CMD";
    "send_zc" "SEND_ZC";
    "sendmsg_zc" "SENDMSG_ZC";
    "read_multishot" "READ_MULTISHOT";
    "waitid" "WAITID";
    "futex_wait" "FUTEX_WAIT";
    "futex_wake" "FUTEX_WAKE";
    "futex_waitv" "FUTEX_WAITV";
    "fixed_fd_install" "FIXED_FD_INSTALL";
    "ftruncate" "FTRUNCATE";
    "bind" "BIND";
    "listen" "LISTEN";
    "recv_zc" "RECV_ZC" always;
    "epoll_wait" "EPOLL_WAIT";
    "readv_fixed" "READV_FIXED";
    "writev_fixed" "WRITEV_FIXED";
    "pipe" "PIPE";
}
