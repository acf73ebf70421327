//! One row an opcode: how to draw an entry of it.
//!
//! The objects are the same in every program, under the same numbers, which are also their slots:
//!
//! ```text
//!  0 file (read only here)  1 file      2,3 4,5 pipes    6,7 stream sockets   8,9 datagram sockets
//!  10 eventfd   11,12 listeners (12 O_NONBLOCK)   13..=16 sockets (15, 16 O_NONBLOCK)   17 epoll
//!  18,19 eventfds that CLOSE may close             slots 18.. for direct descriptors
//!  20 the mailbox, a ring (mailbox.rs)
//!  CHILDREN and FUTEXES: no descriptors, but fed like them: they end, they are woken
//! ```

use super::mailbox::{self, MESSAGE, OWN};
use super::program::{Entry, Owes};
use crate::errno::{
    EAGAIN, EALREADY, EBADF, ECANCELED, ECHILD, EEXIST, EFAULT, EINVAL, ENOBUFS, ENODATA, ENOENT,
    ENOMEM, EOPNOTSUPP, EPERM, EPIPE, ERANGE, ESPIPE, ETIME,
};
use crate::rng::Rng;
use crate::world::{BASE, SIZE};
use ringer_uapi::Sqe;

/// Bytes of the file at 0.
pub(crate) const FILE: usize = 700;
/// First slot without a file at the start, and how many slots there are.
pub(crate) const FREE_SLOT: u32 = 18;
pub(crate) const SLOTS: u32 = 24;
/// Where memory of requests begins, and how much each has.
pub(crate) const ARENA: u64 = BASE + (1 << 16);
pub(crate) const STRIDE: u64 = 512;
/// Where the buffer of a request lies in its memory, and how long it may be.
pub(crate) const BUF_AT: u64 = 16;
pub(crate) const BUF_LEN: u64 = 256;
/// Where provided buffers lie, of a ring each and of the lists.
pub(crate) const PROVIDED: [u64; 2] = [BASE + (8 << 16), BASE + (9 << 16)];
const LISTED: u64 = BASE + (10 << 16);
/// Buffers of each ring: never more, so that none comes twice.
pub(crate) const PROVIDED_MAX: u16 = 256;
/// `IOSQE_BUFFER_SELECT`.
pub(crate) const SELECT: u8 = 32;
/// `IORING_RECV_MULTISHOT`.
pub(crate) const RECV_MULTISHOT: u16 = 2;
const AUX_AT: u64 = 288;
const NAME_AT: u64 = 368;
const OTHER_NAME_AT: u64 = 400;
const EVENT_AT: u64 = 432;
/// A poll update may give a request this much on top of its user_data.
pub(crate) const ALIAS: u64 = 1 << 16;
/// Addresses of the two listeners.
pub(crate) const ADDRESSES: [&[u8]; 2] = [b"blocking", b"nonblocking"];
/// Names there are.
pub(crate) const NAMES: usize = 6;
/// The first of the children's numbers, and the first by which a futex is woken.
pub(crate) const CHILDREN: i32 = 500;
pub(crate) const FUTEXES: i32 = 600;
/// How many there are of each.
pub(crate) const EACH: u64 = 3;
/// Where the words of the futexes lie: nobody changes them.
const WORDS: u64 = BASE + SIZE as u64 - 64;
const MS: u64 = 1_000_000;

const CHANGES: &[i32] = &[ENOENT, EALREADY];
const NAMING: &[i32] = &[ENOENT, EEXIST, EPERM, -20, -21];
const OPENING: &[i32] = &[ENOENT, -21, -23, -40, EINVAL, -6];
const BOOTTIME: u32 = 4;
const REALTIME: u32 = 8;
const MULTISHOT: u32 = 64;
/// `IORING_OP_FIXED_FD_INSTALL`.
pub(crate) const INSTALL: u8 = 54;
/// `IORING_RECVSEND_FIXED_BUF`.
pub(crate) const FIXED_BUF: u16 = 4;
/// `IORING_RECVSEND_BUNDLE`.
pub(crate) const BUNDLE: u16 = 16;
/// `IORING_SEND_VECTORIZED`.
pub(crate) const VECTORIZED: u16 = 32;
/// `MSG_WAITALL`.
const WAITALL: u32 = 0x100;
/// Whether a notification follows its completion.
pub(crate) fn notifies(opcode: u8) -> bool {
    matches!(opcode, 47 | 48)
}
/// `IORING_NOP_CQE32`.
pub(crate) const WIDE_NOP: u32 = 32;

/// What an entry is drawn from.
#[derive(Debug)]
pub(crate) struct Draw<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) ud: u64,
    /// The ring polls for I/O: only some opcodes, only files.
    pub(crate) iopoll: bool,
    /// The ring takes completions of 32 bytes.
    pub(crate) wide: bool,
    /// Multishot requests are welcome.
    pub(crate) multis: bool,
    /// Files are registered.
    pub(crate) fixed: bool,
    /// The engine may choose slots.
    pub(crate) alloc: bool,
    /// What was drawn lately: opcode and user_data.
    pub(crate) lately: &'a [(u8, u64)],
}

/// A row: opcode, how often it is drawn, and how.
pub(crate) type Row = (u8, u32, fn(&mut Draw<'_>) -> Entry);

/// The rows, in ABI order. A new row of the op table needs one here.
pub(crate) const ROWS: &[Row] = &[
    (0, 3, nop),
    (1, 3, |d| vectored(d, 1)),
    (2, 2, |d| vectored(d, 2)),
    (3, 1, fsync),
    (4, 2, |d| plain_rw(d, 4)),
    (5, 2, |d| plain_rw(d, 5)),
    (6, 4, poll_add),
    (7, 2, poll_remove),
    (8, 1, sync_range),
    (9, 3, |d| message(d, 9)),
    (10, 5, receive_message),
    (11, 3, timeout),
    (12, 2, timeout_remove),
    (13, 3, accept),
    (14, 4, cancel),
    (15, 0, link_timeout),
    (16, 2, connect),
    (17, 1, allocate),
    (18, 2, openat),
    (19, 2, close),
    (20, 2, files_update),
    (21, 1, statx),
    (22, 6, |d| plain_rw(d, 22)),
    (23, 3, |d| plain_rw(d, 23)),
    (24, 2, advise_file),
    (25, 1, advise_memory),
    (26, 5, send),
    (27, 6, receive),
    (28, 1, openat2),
    (29, 1, epoll_ctl),
    (30, 2, splice),
    (33, 1, tee),
    (31, 2, provide_buffers),
    (32, 1, remove_buffers),
    (34, 1, shutdown),
    (35, 1, rename),
    (36, 1, unlink),
    (37, 1, mkdir),
    (38, 1, symlink),
    (39, 1, link),
    (40, 3, mail),
    (41, 1, |d| set_xattr(d, 41)),
    (42, 1, |d| set_xattr(d, 42)),
    (43, 1, |d| get_xattr(d, 43)),
    (44, 1, |d| get_xattr(d, 44)),
    (45, 2, socket),
    (47, 3, |d| zero_copy(d, 47)),
    (48, 2, |d| zero_copy(d, 48)),
    (54, 2, install),
    (55, 1, truncate),
    (56, 1, bind),
    (57, 1, listen),
    (59, 2, epoll_wait),
    (60, 2, |d| vectored(d, 60)),
    (61, 1, |d| vectored(d, 61)),
    (62, 2, pipe),
    (46, 1, command),
    (50, 2, waitid),
    (51, 4, futex_wait),
    (52, 3, futex_wake),
    (53, 2, futex_waitv),
    (49, 2, read_multishot),
];

/// Whether an opcode may go to a ring with IOPOLL.
pub(crate) fn polls_io(opcode: u8) -> bool {
    matches!(opcode, 0 | 1 | 2 | 4 | 5 | 20 | 22 | 23 | 31 | 32 | 40 | 60 | 61)
}

/// Memory of a request.
pub(crate) fn memory(ud: u64) -> u64 {
    ARENA + STRIDE * (ud % ALIAS)
}

impl Draw<'_> {
    fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n as usize) as u64
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.below(all.len())]
    }

    /// A request to cancel or change: one of these opcodes that was drawn lately, mostly.
    fn target(&mut self, opcodes: &[u8]) -> u64 {
        let fits = |(op, ud): &(u8, u64)| opcodes.contains(op).then_some(*ud);
        let lately: Vec<u64> = self.lately.iter().rev().filter_map(fits).take(4).collect();
        if !lately.is_empty() && !self.rng.one_in(4) {
            return self.of(&lately);
        }
        let ud = self.ud + 2;
        let back = self.below(12).min(ud - 1);
        ud - back
    }

    fn buf(&self) -> u64 {
        memory(self.ud) + BUF_AT
    }

    fn aux(&self) -> u64 {
        memory(self.ud) + AUX_AT
    }

    fn name(&mut self, at: u64) -> (u64, Vec<u8>) {
        let n = self.below(NAMES as u64);
        (memory(self.ud) + at, format!("n{n}\0").into_bytes())
    }

    fn entry(&self, opcode: u8, fd: i32) -> Sqe {
        Sqe { opcode, fd, user_data: self.ud, ..Sqe::default() }
    }

    /// The same with a provided buffer instead of its own, sometimes: what it says then.
    fn perhaps_selecting(&mut self, e: Entry, errors: &'static [i32]) -> Entry {
        if !self.rng.one_in(4) {
            return e;
        }
        // What is used bit by bit may have less left than is asked for.
        let bits = matches!(e.sqe.opcode, 10 | 26 | 27) && e.sqe.fd != 9;
        let whole = bits && e.sqe.op_flags & WAITALL == 0;
        let groups: &[u16] = if whole { &[1, 1, 2, 3, 9] } else { &[1, 1, 1, 2, 2, 9] };
        let buf_index = self.of(groups);
        let sqe = Sqe { flags: e.sqe.flags | SELECT, buf_index, addr: 0, ..e.sqe };
        Entry { sqe, owes: Owes { errors, ..e.owes }, ..e }
    }

    /// The same by its slot, sometimes.
    fn perhaps_fixed(&mut self, sqe: Sqe) -> Sqe {
        let flags = if self.fixed && self.rng.one_in(3) { sqe.flags | 1 } else { sqe.flags };
        Sqe { flags, ..sqe }
    }

    /// A slot for a direct descriptor, sometimes.
    fn file_index(&mut self) -> u32 {
        match self.below(6) {
            0 if self.alloc => u32::MAX,
            1 => FREE_SLOT + 1 + self.below(4) as u32,
            _ => 0,
        }
    }

    fn timespec(&mut self) -> (u64, (u64, Vec<u8>)) {
        // Some outlast everything else.
        let ns = if self.rng.one_in(8) { 200 * MS } else { self.below(24) * MS / 2 };
        let bytes = [0u64.to_ne_bytes(), ns.to_ne_bytes()].concat();
        (ns, (self.aux(), bytes))
    }
}

fn owes(sqe: Sqe, ok: (i32, i32), errors: &'static [i32]) -> Entry {
    Entry { sqe, memory: Vec::new(), owes: Owes { ok, errors, expires: None } }
}

fn given(memory: Vec<(u64, Vec<u8>)>, entry: Entry) -> Entry {
    Entry { memory, ..entry }
}

fn nop(d: &mut Draw<'_>) -> Entry {
    let sqe = d.entry(0, -1);
    match d.below(if d.wide { 6 } else { 3 }) {
        3.. => owes(Sqe { op_flags: WIDE_NOP, off: d.ud, addr: !d.ud, ..sqe }, (0, 0), &[]),
        0 => owes(Sqe { op_flags: 1, len: -5i32 as u32, ..sqe }, (1, 0), &[-5]),
        1 if d.rng.one_in(3) => {
            let (fd, fixed) = (d.of(&[0, 2, 19, 900]), if d.rng.one_in(2) { 4 } else { 0 });
            let (op_flags, buf_index) = (d.of(&[2, 8, 2 | 8]) | fixed, d.of(&[0, 2, 9]));
            owes(Sqe { op_flags, fd, buf_index, ..sqe }, (0, 0), &[EBADF, -14])
        }
        1 => owes(Sqe { op_flags: 1, len: 7, ..sqe }, (7, 7), &[]),
        _ => owes(sqe, (0, 0), &[]),
    }
}

/// What a transfer of `len` bytes at `off` of a descriptor owes.
fn transfer(sqe: Sqe, len: u32, write: bool) -> Entry {
    let len = len as i32;
    match (sqe.fd, write) {
        (0, false) => {
            let n = (FILE as i32).saturating_sub(sqe.off as i32).clamp(0, len);
            owes(sqe, (n, n), &[])
        }
        (1, true) => owes(sqe, (len, len), &[]),
        // A file that says it is written buffer by buffer takes no vector of registered ones.
        (10, true) if sqe.opcode == 61 => owes(sqe, (8, 8), &[EINVAL]),
        (10, _) => owes(sqe, (8, 8), &[]),
        (8 | 9, true) => owes(sqe, (len, len), &[]),
        (_, false) => owes(sqe, (0, len), &[]),
        (_, true) => owes(sqe, (1, len), &[EPIPE]),
    }
}

fn rw_target(d: &mut Draw<'_>, write: bool) -> (i32, u32, u64) {
    let len = 1 + d.below(BUF_LEN) as u32;
    let fd = match (d.iopoll, write) {
        (true, false) => 0,
        (true, true) => 1,
        (false, false) => d.of(&[0, 0, 0, 1, 2, 2, 4, 6, 7, 8, 10]),
        (false, true) => d.of(&[1, 1, 3, 3, 5, 6, 7, 9, 10]),
    };
    let off = if fd > 1 { 0 } else { d.below(FILE as u64 + 20) };
    (fd, if fd == 10 { 8 } else { len }, off)
}

fn plain_rw(d: &mut Draw<'_>, opcode: u8) -> Entry {
    let write = matches!(opcode, 5 | 23);
    let (fd, len, off) = rw_target(d, write);
    let addr = d.buf();
    let buf_index = if matches!(opcode, 4 | 5) { d.of(&[0, 1, 3]) } else { 0 };
    let sqe = Sqe { addr, len, off, buf_index, ..d.entry(opcode, fd) };
    let sqe = d.perhaps_fixed(sqe);
    let e = transfer(sqe, len, write);
    if opcode == 22 { d.perhaps_selecting(e, &[ENOBUFS]) } else { e }
}

fn provide_buffers(d: &mut Draw<'_>) -> Entry {
    let n = 1 + d.below(4);
    let first = d.ud % 200 * 4;
    let sqe = Sqe { addr: LISTED + BUF_LEN * first, len: BUF_LEN as u32, ..d.entry(31, n as i32) };
    // A list is full in no program; one of the groups is a ring's.
    let sqe = Sqe { off: first, buf_index: d.of(&[2, 2, 2, 1]), ..sqe };
    owes(sqe, (0, 0), &[EINVAL])
}

fn remove_buffers(d: &mut Draw<'_>) -> Entry {
    let n = 1 + d.below(4) as i32;
    let sqe = Sqe { buf_index: d.of(&[2, 2, 1, 9]), ..d.entry(32, n) };
    owes(sqe, (0, n), &[EINVAL, ENOENT])
}

fn read_multishot(d: &mut Draw<'_>) -> Entry {
    // A file cannot be polled: EBADFD, and nothing waits for ever.
    let fd = if d.multis { d.of(&[2, 2, 4, 6, 7, 0]) } else { 0 };
    let sqe = Sqe { flags: SELECT, buf_index: d.of(&[1, 1, 2, 3, 9]), ..d.entry(49, fd) };
    let sqe = d.perhaps_fixed(sqe);
    owes(sqe, (0, BUF_LEN as i32), &[ENOBUFS, -77])
}

fn vectored(d: &mut Draw<'_>, opcode: u8) -> Entry {
    let (write, fixed) = (matches!(opcode, 2 | 61), opcode > 2);
    let (fd, len, off) = rw_target(d, write);
    // A piece of a registered buffer is not empty.
    let (len, least) = if fixed { (len.max(2), 1) } else { (len, 0) };
    let first = least + d.below(u64::from(len) + 1 - 2 * least);
    let parts = [(d.buf(), first), (d.buf() + first, u64::from(len) - first)];
    let bytes = parts.iter().flat_map(|(b, n)| [b.to_ne_bytes(), n.to_ne_bytes()]).flatten();
    let memory = vec![(d.aux(), bytes.collect())];
    let buf_index = if fixed { d.of(&[0, 1, 3]) } else { 0 };
    let sqe = Sqe { addr: d.aux(), len: 2, off, buf_index, ..d.entry(opcode, fd) };
    let sqe = d.perhaps_fixed(sqe);
    given(memory, transfer(sqe, len, write))
}

fn fsync(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[0, 1, 2]);
    let sqe = d.entry(3, fd);
    let sqe = d.perhaps_fixed(sqe);
    if fd == 2 { owes(sqe, (1, 0), &[EINVAL]) } else { owes(sqe, (0, 0), &[]) }
}

fn sync_range(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[0, 1, 2]);
    let sqe = Sqe { off: d.below(300), len: 100, op_flags: d.of(&[0, 2, 7]), ..d.entry(8, fd) };
    let sqe = d.perhaps_fixed(sqe);
    if fd == 2 { owes(sqe, (1, 0), &[ESPIPE]) } else { owes(sqe, (0, 0), &[]) }
}

fn allocate(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[1, 1, 2]);
    let (off, addr, len) = (d.below(300), d.below(3) * 200, d.of(&[0, 1, 3, 64]));
    let sqe = Sqe { off, addr, len, ..d.entry(17, fd) };
    let sqe = d.perhaps_fixed(sqe);
    owes(sqe, (0, 0), &[EINVAL, EOPNOTSUPP, ESPIPE])
}

fn truncate(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[1, 1, 10]);
    let sqe = Sqe { off: d.below(600), ..d.entry(55, fd) };
    let sqe = d.perhaps_fixed(sqe);
    if fd == 10 { owes(sqe, (1, 0), &[EINVAL]) } else { owes(sqe, (0, 0), &[]) }
}

fn advise_file(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[0, 1, 2]);
    let sqe = Sqe { len: 100, op_flags: d.below(7) as u32, ..d.entry(24, fd) };
    let sqe = d.perhaps_fixed(sqe);
    owes(sqe, (0, 0), &[EINVAL, ESPIPE])
}

fn advise_memory(d: &mut Draw<'_>) -> Entry {
    let addr = d.of(&[ARENA, ARENA + 4096, ARENA + 1, 4096]);
    let sqe = Sqe { addr, off: 4096, op_flags: d.below(6) as u32, ..d.entry(25, -1) };
    owes(sqe, (0, 0), &[EINVAL, ENOMEM])
}

fn poll_add(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[0, 2, 2, 3, 4, 6, 7, 8, 10, 11, 12, 15]);
    let len = u32::from(d.multis && d.rng.one_in(2));
    // Nobody ever may write to a listener: behind that a drain would wait for ever.
    let op_flags = if matches!(fd, 11 | 12) { 1 } else { d.of(&[1, 1, 4, 5]) };
    let sqe = Sqe { len, op_flags, ..d.entry(6, fd) };
    let sqe = d.perhaps_fixed(sqe);
    owes(sqe, (1, 0xffff), &[])
}

fn poll_remove(d: &mut Draw<'_>) -> Entry {
    let addr = d.target(&[6]);
    let sqe = Sqe { addr, ..d.entry(7, -1) };
    let sqe = match d.below(4) {
        0 => Sqe { len: 2, op_flags: d.of(&[1, 1 | 4]), ..sqe },
        1 => Sqe { len: 4, off: addr + ALIAS, ..sqe },
        _ => sqe,
    };
    owes(sqe, (0, 0), CHANGES)
}

fn timeout(d: &mut Draw<'_>) -> Entry {
    let (ns, ts) = d.timespec();
    let sqe = Sqe { addr: ts.0, len: 1, off: d.below(4), ..d.entry(11, -1) };
    let sqe = match d.below(6) {
        0 => Sqe { op_flags: 32, ..sqe },
        5 => Sqe { op_flags: d.of(&[BOOTTIME, REALTIME]), ..sqe },
        // Repeats, but not for ever.
        1 if d.multis => Sqe { op_flags: MULTISHOT, off: 1 + d.below(3), ..sqe },
        _ => sqe,
    };
    // Without a count it does not end with one.
    let counts = sqe.off != 0 && sqe.op_flags & MULTISHOT == 0;
    let mut e = given(vec![ts], owes(sqe, if counts { (0, 0) } else { (1, 0) }, &[ETIME]));
    e.owes.expires = Some(ns);
    e
}

fn timeout_remove(d: &mut Draw<'_>) -> Entry {
    let addr = d.target(&[11, 11, 15]);
    let sqe = Sqe { addr, ..d.entry(12, -1) };
    if d.rng.one_in(2) {
        return owes(sqe, (0, 0), CHANGES);
    }
    let (_, ts) = d.timespec();
    let flags = d.of(&[2, 2, 2 | 16]);
    given(vec![ts.clone()], owes(Sqe { off: ts.0, op_flags: flags, ..sqe }, (0, 0), CHANGES))
}

/// Never drawn by itself: it belongs to the entry before it.
pub(crate) fn link_timeout(d: &mut Draw<'_>) -> Entry {
    let (ns, ts) = d.timespec();
    let sqe = Sqe { addr: ts.0, len: 1, ..d.entry(15, -1) };
    // 1: it cancelled what waits for a child or a futex.
    let mut e = given(vec![ts], owes(sqe, (1, 1), &[ETIME, ENOENT]));
    e.owes.expires = Some(ns);
    e
}

fn accept(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[11, 11, 12, 12, 6]);
    let sqe = Sqe { ioprio: d.of(&[0, 0, 2, 4]), ..d.entry(13, fd) };
    let sqe = Sqe { file_index: d.file_index(), ..sqe };
    let many = d.multis && matches!(sqe.file_index, 0 | u32::MAX) && d.rng.one_in(3);
    let sqe = Sqe { ioprio: sqe.ioprio | u16::from(many), ..sqe };
    let sqe = d.perhaps_fixed(sqe);
    owes(sqe, (0, i32::MAX), &[EINVAL, EAGAIN, -23, -6])
}

pub(super) fn cancel(d: &mut Draw<'_>) -> Entry {
    let addr = d.target(&[1, 4, 6, 10, 11, 13, 16, 22, 27, 46, 47, 49, 50, 51, 53]);
    let sqe = Sqe { addr, ..d.entry(14, -1) };
    let fd = d.below(18) as i32;
    let sqe = match d.below(9) {
        0 => Sqe { op_flags: 1, ..sqe },
        1 => Sqe { op_flags: 4, ..sqe },
        2 => Sqe { op_flags: 2, fd, ..sqe },
        3 => Sqe { op_flags: 1 | 2, fd, ..sqe },
        4 if d.fixed => Sqe { op_flags: 1 | 2 | 8, fd, ..sqe },
        5 => Sqe { op_flags: 1 | 32, len: d.of(&[6, 11, 13, 22, 27, 46, 50, 51]), ..sqe },
        _ => sqe,
    };
    owes(sqe, (0, i32::MAX), CHANGES)
}

fn connect(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[13, 14, 15, 16, 16, 2]);
    let address = d.of(&[ADDRESSES[0], ADDRESSES[1], ADDRESSES[1], b"nobody"]);
    let (addr, off) = (memory(d.ud) + NAME_AT, address.len() as u64);
    let sqe = Sqe { addr, off, ..d.entry(16, fd) };
    let sqe = d.perhaps_fixed(sqe);
    let errors = &[-111, -106, EALREADY, -88, EAGAIN];
    given(vec![(addr, address.to_vec())], owes(sqe, (0, 0), errors))
}

const O_CREAT: u32 = 0o100;
const O_TRUNC: u32 = 0o1000;

fn openat(d: &mut Draw<'_>) -> Entry {
    let name = d.name(NAME_AT);
    let sqe = Sqe { addr: name.0, len: 0o600, ..d.entry(18, -100) };
    let sqe = Sqe { op_flags: d.of(&[0, 0, O_CREAT, O_TRUNC]), file_index: d.file_index(), ..sqe };
    given(vec![name], owes(sqe, (0, i32::MAX), OPENING))
}

fn openat2(d: &mut Draw<'_>) -> Entry {
    let name = d.name(NAME_AT);
    let how = (d.aux(), [0u8; 24].to_vec());
    let sqe = Sqe { addr: name.0, off: how.0, len: 24, ..d.entry(28, -100) };
    let sqe = Sqe { file_index: d.file_index(), ..sqe };
    given(vec![name, how], owes(sqe, (0, i32::MAX), OPENING))
}

fn close(d: &mut Draw<'_>) -> Entry {
    if d.rng.one_in(2) {
        let file_index = FREE_SLOT + 1 + d.below(4) as u32;
        return owes(Sqe { file_index, ..d.entry(19, 0) }, (0, 0), &[EBADF, -6]);
    }
    let fd = d.of(&[18, 19]);
    owes(d.entry(19, fd), (0, 0), &[EBADF])
}

fn files_update(d: &mut Draw<'_>) -> Entry {
    let n = 1 + d.below(3);
    let pool: &[i32] = if d.iopoll { &[0, 1, -1] } else { &[0, 2, 6, 10, -1, -2, 900] };
    let fds: Vec<u8> = (0..n).flat_map(|_| d.of(pool).to_ne_bytes()).collect();
    let sqe = Sqe { addr: d.aux(), len: n as u32, ..d.entry(20, -1) };
    let alloc = u64::from(u32::MAX);
    let off = if d.alloc && d.rng.one_in(3) { alloc } else { u64::from(FREE_SLOT) + d.below(3) };
    let errors = &[EBADF, -6, -23, EINVAL];
    given(vec![(d.aux(), fds)], owes(Sqe { off, ..sqe }, (1, n as i32), errors))
}

fn statx(d: &mut Draw<'_>) -> Entry {
    let name = d.name(NAME_AT);
    let sqe = Sqe { addr: name.0, off: d.buf(), len: 0x7ff, ..d.entry(21, -100) };
    given(vec![name], owes(sqe, (0, 0), &[ENOENT]))
}

fn socket_io(d: &mut Draw<'_>, opcode: u8) -> Entry {
    let send = opcode == 26;
    let fd = if send { d.of(&[6, 7, 7, 9]) } else { d.of(&[6, 6, 7, 8]) };
    let len = 1 + d.below(BUF_LEN) as u32;
    let sqe = Sqe { addr: d.buf(), len, ..d.entry(opcode, fd) };
    let stream = fd < 8;
    let sqe = match d.below(6) {
        0 | 1 => Sqe { op_flags: 0x100, ..sqe },
        2 => Sqe { op_flags: 0x40, ..sqe },
        3 => Sqe { ioprio: 1, ..sqe },
        _ => sqe,
    };
    let sqe = d.perhaps_fixed(sqe);
    let n = len as i32;
    match (send, stream) {
        (true, true) => owes(sqe, (1, n), &[EPIPE, EAGAIN]),
        (true, false) => owes(sqe, (n, n), &[EAGAIN]),
        (false, _) => owes(sqe, (0, n), &[EAGAIN]),
    }
}

/// With a vector, out of a provided buffer or of all that a group has, or just so.
fn send(d: &mut Draw<'_>) -> Entry {
    let e = socket_io(d, 26);
    if d.rng.one_in(6) {
        return in_a_vector(d, e);
    }
    let mut e = d.perhaps_selecting(e, &[EPIPE, EAGAIN, ENOBUFS, ENOENT]);
    if e.sqe.flags & SELECT != 0 && e.sqe.buf_index == 2 {
        // Of a list's all is sent, whatever the length (net.c `io_send_select_buffer`).
        e.sqe.op_flags &= !WAITALL;
        e.owes.ok = (1, BUF_LEN as i32);
    }
    if e.sqe.flags & SELECT != 0 && e.sqe.fd < 8 && d.multis && d.rng.one_in(2) {
        // A ring has more buffers than anybody has room for.
        (e.sqe.buf_index, e.sqe.len, e.sqe.op_flags) = (d.of(&[2, 2, 2, 9]), 0, 0);
        e.sqe.ioprio = BUNDLE;
        // A worker does not go on with one that finds room (poll.c `__io_arm_poll_handler`).
        let errors = &[EPIPE, EAGAIN, ENOBUFS, ENOENT, ECANCELED];
        e.owes = Owes { ok: (1, i32::MAX), errors, ..e.owes };
    }
    e
}

fn receive(d: &mut Draw<'_>) -> Entry {
    let e = socket_io(d, 27);
    let mut e = d.perhaps_selecting(e, &[EAGAIN, ENOBUFS]);
    if e.sqe.flags & SELECT == 0 || e.sqe.op_flags != 0 {
        return e;
    }
    if d.multis && d.rng.one_in(2) {
        e.sqe.ioprio |= RECV_MULTISHOT;
        // All of it is so long at most, or a little longer.
        e.sqe.file_index = d.of(&[0, 0, 0, 60]);
    }
    if e.sqe.fd < 8 && d.rng.one_in(3) {
        e.sqe.ioprio |= BUNDLE;
        e.sqe.len = d.of(&[0, 0, 100, 600]);
        e.owes = Owes { ok: (0, i32::MAX), errors: &[EAGAIN, ENOBUFS, ENOENT], ..e.owes };
    }
    e
}

/// The same bytes as a vector of two.
fn in_a_vector(d: &Draw<'_>, e: Entry) -> Entry {
    let len = u64::from(e.sqe.len);
    let parts = [(d.buf(), len / 2), (d.buf() + len / 2, len - len / 2)];
    let bytes = parts.iter().flat_map(|(b, n)| [b.to_ne_bytes(), n.to_ne_bytes()]).flatten();
    let memory = vec![(d.aux(), bytes.collect())];
    let sqe = Sqe { addr: d.aux(), len: 2, ioprio: e.sqe.ioprio | VECTORIZED, ..e.sqe };
    given(memory, Entry { sqe, ..e })
}

/// A message into a provided buffer: one part at most, and as a multishot more than bytes to tell.
fn into_a_group(d: &mut Draw<'_>, mut e: Entry) -> Entry {
    let multi = d.multis && e.sqe.op_flags == 0 && d.rng.one_in(2);
    let asks = if d.rng.one_in(2) { 0 } else { e.sqe.len.max(100) };
    let room = if multi { d.of(&[(0, 0), (16, 0), (8, 16)]) } else { (0, 0) };
    let header = memory(d.ud) + EVENT_AT;
    let words = [0, room.0, d.aux(), u64::from(asks != 0), 0, room.1, 0];
    let words = words.into_iter().flat_map(u64::to_ne_bytes).collect();
    let part = [d.buf(), u64::from(asks)].into_iter().flat_map(u64::to_ne_bytes).collect();
    e.owes.ok = (0, if asks == 0 { BUF_LEN as i32 } else { asks as i32 });
    if multi {
        e.sqe.ioprio |= RECV_MULTISHOT;
        e.owes.ok.0 = message_head(&room);
    }
    given(
        vec![(d.aux(), part), (header, words)],
        Entry { sqe: Sqe { addr: header, len: 1, ..e.sqe }, ..e },
    )
}

/// What a multishot tells in front of a message with room for a name and for control data.
fn message_head((name, control): &(u64, u64)) -> i32 {
    const OUT: u64 = 16;
    (OUT + name + control) as i32
}

fn receive_message(d: &mut Draw<'_>) -> Entry {
    let mut e = socket_io(d, 27);
    e.sqe.opcode = 10;
    if e.sqe.fd == 8 {
        // A datagram that is longer than there is room for is a failure then.
        e.sqe.op_flags &= !WAITALL;
    }
    let e = d.perhaps_selecting(e, &[EAGAIN, ENOBUFS, EFAULT]);
    if e.sqe.flags & SELECT == 0 { in_a_message(d, e) } else { into_a_group(d, e) }
}

/// The same bytes as a message: its header lies where events would, its iovecs where times would.
fn in_a_message(d: &Draw<'_>, e: Entry) -> Entry {
    let len = u64::from(e.sqe.len);
    let iovs = [(d.buf(), len / 2), (d.buf() + len / 2, len - len / 2)];
    let iovs = iovs.iter().flat_map(|(b, n)| [b.to_ne_bytes(), n.to_ne_bytes()]).flatten();
    let header = memory(d.ud) + EVENT_AT;
    let words = [0, 0, d.aux(), 2, 0, 0, 0].into_iter().flat_map(u64::to_ne_bytes);
    let memory = vec![(d.aux(), iovs.collect()), (header, words.collect())];
    given(memory, Entry { sqe: Sqe { addr: header, len: 1, ..e.sqe }, ..e })
}

fn message(d: &mut Draw<'_>, opcode: u8) -> Entry {
    let mut e = socket_io(d, 26);
    e.sqe.opcode = opcode;
    if e.sqe.fd == 9 {
        e.sqe.op_flags &= !WAITALL;
    }
    in_a_message(d, e)
}

fn zero_copy(d: &mut Draw<'_>, opcode: u8) -> Entry {
    let mut e = socket_io(d, 26);
    e.sqe.opcode = opcode;
    if e.sqe.fd == 9 {
        e.owes = Owes { ok: (1, 0), errors: &[-95], expires: None };
    }
    // A registered message has no empty part.
    if e.sqe.len > 1 && d.rng.one_in(3) {
        e.sqe.ioprio |= FIXED_BUF;
        e.sqe.buf_index = d.of(&[0, 1]);
    }
    match opcode {
        48 => in_a_message(d, e),
        _ if e.sqe.ioprio & FIXED_BUF == 0 && d.rng.one_in(4) => in_a_vector(d, e),
        _ => e,
    }
}

fn epoll_ctl(d: &mut Draw<'_>) -> Entry {
    let at = memory(d.ud) + EVENT_AT;
    let sqe = Sqe { len: 1 + d.below(3) as u32, ..d.entry(29, 17) };
    let sqe = Sqe { off: d.of(&[0, 2, 6, 10]), addr: at, ..sqe };
    given(vec![(at, vec![1; 12])], owes(sqe, (0, 0), &[EEXIST, ENOENT, EPERM]))
}

/// The word that a number below [`FUTEXES`] + [`EACH`] stands for.
pub(crate) fn word_of(number: i32) -> Option<u64> {
    let at = u64::try_from(number - FUTEXES).ok()?;
    (at < EACH).then_some(WORDS + 4 * at)
}

/// `SOCKET_URING_OP_TX_TIMESTAMP`.
const TX_TIMESTAMP: u64 = 4;

/// Whether it waits for timestamps of what is sent, if the ring can take them.
pub(crate) fn is_timestamps(sqe: &Sqe) -> bool {
    sqe.opcode == 46 && sqe.off == TX_TIMESTAMP
}

/// Waits for timestamps, mostly of the socket that sends datagrams.
pub(super) fn timestamps(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[9, 9, 9, 9, 8, 6]);
    let sqe = Sqe { off: TX_TIMESTAMP, ..d.entry(46, fd) };
    owes(d.perhaps_fixed(sqe), (1, 0), &[])
}

/// Sends a datagram.
pub(super) fn datagram(d: &mut Draw<'_>) -> Entry {
    let len = 1 + d.below(BUF_LEN) as u32;
    let sqe = Sqe { addr: d.buf(), len, ..d.entry(26, 9) };
    owes(d.perhaps_fixed(sqe), (len as i32, len as i32), &[])
}

fn command(d: &mut Draw<'_>) -> Entry {
    if d.wide && d.multis && d.rng.one_in(2) {
        return timestamps(d);
    }
    let fd = d.of(&[0, 2, 6, 10, 17]);
    // A ring of wide completions would wait.
    let off = if d.wide { d.of(&[0, 1, 2, 3, 5]) } else { d.below(6) };
    let sqe = Sqe { off, ..d.entry(46, fd) };
    let sqe = d.perhaps_fixed(sqe);
    owes(sqe, (0, i32::MAX), &[EOPNOTSUPP, EINVAL])
}

fn waitid(d: &mut Draw<'_>) -> Entry {
    let (pid, all) = (CHILDREN + d.below(EACH) as i32, d.rng.one_in(4));
    let (fd, len) = if all { (0, 0) } else { (pid, 1) };
    // WEXITED, with WNOHANG or WNOWAIT.
    let file_index = d.of(&[4, 4, 4 | 1, 4 | 0x0100_0000]);
    let off = if d.rng.one_in(2) { d.aux() } else { 0 };
    owes(Sqe { len, off, file_index, ..d.entry(50, fd) }, (0, 0), &[ECHILD])
}

const PRIVATE_U32: i32 = 0x82;

fn futex(d: &mut Draw<'_>, opcode: u8) -> Sqe {
    let (addr, addr3) = (WORDS + 4 * d.below(EACH), d.of(&[u64::from(u32::MAX), 1, 2]));
    Sqe { addr, addr3, ..d.entry(opcode, PRIVATE_U32) }
}

fn futex_wait(d: &mut Draw<'_>) -> Entry {
    let sqe = futex(d, 51);
    if d.rng.one_in(8) {
        return owes(Sqe { off: 1, ..sqe }, (1, 0), &[EAGAIN]);
    }
    owes(sqe, (0, 0), &[])
}

fn futex_wake(d: &mut Draw<'_>) -> Entry {
    let n = d.below(4);
    owes(Sqe { off: n, ..futex(d, 52) }, (0, n as i32), &[])
}

fn futex_waitv(d: &mut Draw<'_>) -> Entry {
    let n = 1 + d.below(EACH);
    let of = (0..n).flat_map(|i| [0, WORDS + 4 * i, PRIVATE_U32 as u64]);
    let bytes = of.flat_map(u64::to_ne_bytes).collect();
    let sqe = Sqe { addr: d.aux(), len: n as u32, ..d.entry(53, 0) };
    given(vec![(d.aux(), bytes)], owes(sqe, (0, n as i32 - 1), &[]))
}

fn shutdown(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[6, 7, 13, 0]);
    let how = d.of(&[0, 1, 2, 9]);
    let sqe = Sqe { len: how, ..d.entry(34, fd) };
    let sqe = d.perhaps_fixed(sqe);
    owes(sqe, (0, 0), &[EINVAL, -107, -88])
}

fn one_name(d: &mut Draw<'_>, opcode: u8) -> Entry {
    let name = d.name(NAME_AT);
    let sqe = Sqe { addr: name.0, ..d.entry(opcode, -100) };
    given(vec![name], owes(sqe, (0, 0), NAMING))
}

fn two_names(d: &mut Draw<'_>, opcode: u8) -> Entry {
    let (from, to) = (d.name(NAME_AT), d.name(OTHER_NAME_AT));
    let sqe = Sqe { addr: from.0, off: to.0, ..d.entry(opcode, -100) };
    given(vec![from, to], owes(sqe, (0, 0), NAMING))
}

fn rename(d: &mut Draw<'_>) -> Entry {
    two_names(d, 35)
}

fn unlink(d: &mut Draw<'_>) -> Entry {
    let op_flags = d.of(&[0, 0x200]);
    let e = one_name(d, 36);
    Entry { sqe: Sqe { op_flags, ..e.sqe }, ..e }
}

fn mkdir(d: &mut Draw<'_>) -> Entry {
    one_name(d, 37)
}

fn symlink(d: &mut Draw<'_>) -> Entry {
    two_names(d, 38)
}

fn link(d: &mut Draw<'_>) -> Entry {
    two_names(d, 39)
}

fn mail(d: &mut Draw<'_>) -> Entry {
    const SEND_FD: u64 = 1;
    let off = MESSAGE + d.ud;
    if d.rng.one_in(2) {
        let fd = d.of(&[mailbox::FD, mailbox::FD, OWN]);
        let sqe = Sqe { off, len: d.below(1000) as u32, ..d.entry(40, fd) };
        // FLAGS_PASS.
        let passes = d.rng.one_in(3);
        let (op_flags, file_index) = if passes { (2, 1 << 16) } else { (0, 0) };
        return owes(Sqe { op_flags, file_index, ..sqe }, (0, 0), &[EBADF]);
    }
    let (addr3, op_flags) = (d.of(&[0, 1, 1, u64::from(FREE_SLOT)]), d.of(&[0, 0, 1]));
    let to = d.of(&[1, 2, mailbox::SLOTS, mailbox::SLOTS + 6]);
    let file_index = if d.alloc && d.rng.one_in(3) { u32::MAX } else { to };
    let sqe = Sqe { addr: SEND_FD, off, addr3, op_flags, file_index, ..d.entry(40, mailbox::FD) };
    owes(sqe, (0, mailbox::SLOTS as i32 - 1), &[EBADF, EINVAL, -23])
}

/// Whose attribute, by a descriptor or by a path, and the attribute's name.
fn attribute(d: &mut Draw<'_>, opcode: u8) -> (Sqe, Vec<(u64, Vec<u8>)>) {
    let by_path = matches!(opcode, 42 | 44);
    let (path, key) = (d.name(OTHER_NAME_AT), memory(d.ud) + NAME_AT);
    let fd = if by_path { -1 } else { d.of(&[0, 1, 1, 2]) };
    let sqe = Sqe { addr: key, addr3: path.0, ..d.entry(opcode, fd) };
    let sqe = if by_path { sqe } else { d.perhaps_fixed(sqe) };
    let name = d.of(&["user.a\0", "user.b\0"]);
    (sqe, vec![(key, name.into()), path])
}

fn set_xattr(d: &mut Draw<'_>, opcode: u8) -> Entry {
    let (sqe, mut memory) = attribute(d, opcode);
    let (value, len) = (d.aux(), d.below(16));
    memory.push((value, vec![9; 16]));
    let sqe = Sqe { off: value, len: len as u32, op_flags: d.below(3) as u32, ..sqe };
    given(memory, owes(sqe, (0, 0), &[ENOENT, EPERM, EEXIST, ENODATA]))
}

fn get_xattr(d: &mut Draw<'_>, opcode: u8) -> Entry {
    let (sqe, memory) = attribute(d, opcode);
    let sqe = Sqe { off: d.buf(), len: d.of(&[0, 4, 16]), ..sqe };
    given(memory, owes(sqe, (0, 16), &[ENOENT, ENODATA, ERANGE]))
}

fn socket(d: &mut Draw<'_>) -> Entry {
    let family = d.of(&[1, 1, 1, 2, 9]);
    let sqe = Sqe { off: d.of(&[1, 1 | 0o4000]), ..d.entry(45, family) };
    let sqe = Sqe { file_index: d.file_index(), ..sqe };
    owes(sqe, (0, i32::MAX), &[-97, -6, -23])
}

fn install(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[0, 2, 6, 10, 18, 19]);
    let sqe = Sqe { op_flags: d.of(&[0, 1]), flags: 1, ..d.entry(INSTALL, fd) };
    owes(sqe, (0, i32::MAX), &[EBADF])
}

fn bind(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[13, 14, 15, 2, 11]);
    let address = d.of(&[ADDRESSES[0], b"a name", b"\x01\x00path"]);
    let (addr, off) = (memory(d.ud) + NAME_AT, address.len() as u64);
    let sqe = Sqe { addr, off, ..d.entry(56, fd) };
    let sqe = d.perhaps_fixed(sqe);
    given(vec![(addr, address.to_vec())], owes(sqe, (0, 0), &[EINVAL, -88, -98]))
}

fn listen(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[11, 11, 12, 2, 6, 13]);
    let sqe = Sqe { len: 2 + d.below(3) as u32, ..d.entry(57, fd) };
    let sqe = d.perhaps_fixed(sqe);
    owes(sqe, (0, 0), &[EINVAL, -88])
}

fn pipe(d: &mut Draw<'_>) -> Entry {
    let addr = if d.rng.one_in(8) { 8 } else { d.aux() };
    let sqe = Sqe { addr, op_flags: d.of(&[0, 0o4000]), ..d.entry(62, 0) };
    let sqe = Sqe { file_index: d.file_index(), ..sqe };
    owes(sqe, (0, 0), &[-14, -6, -23])
}

/// Splices that take from a slot, and what it is.
const FD_IN_FIXED: u32 = 1 << 31;

fn moved(d: &mut Draw<'_>, sqe: Sqe, from: i32) -> Entry {
    let fixed = if d.fixed && d.rng.one_in(3) { FD_IN_FIXED } else { 0 };
    let sqe = Sqe { file_index: from as u32, op_flags: fixed, ..sqe };
    let sqe = d.perhaps_fixed(sqe);
    // The number to take from may be closed, or the slot emptied.
    owes(sqe, (0, sqe.len as i32), &[EBADF, EPIPE, EINVAL])
}

fn splice(d: &mut Draw<'_>) -> Entry {
    let (from, to) = d.of(&[(0, 3), (0, 5), (2, 1), (2, 5), (4, 1), (1, 0)]);
    let at = |fd: i32, off| if fd < 2 { off } else { u64::MAX };
    let (addr, off) = (at(from, d.below(300)), at(to, d.below(300)));
    let sqe = Sqe { addr, off, len: 1 + d.below(BUF_LEN) as u32, ..d.entry(30, to) };
    moved(d, sqe, from)
}

fn tee(d: &mut Draw<'_>) -> Entry {
    let (from, to) = d.of(&[(2, 5), (2, 5), (0, 5)]);
    let sqe = Sqe { len: 1 + d.below(BUF_LEN) as u32, ..d.entry(33, to) };
    moved(d, sqe, from)
}

fn epoll_wait(d: &mut Draw<'_>) -> Entry {
    let fd = d.of(&[17, 17, 17, 2]);
    let max = 1 + d.below(3) as u32;
    let sqe = Sqe { addr: d.buf(), len: max, ..d.entry(59, fd) };
    let sqe = d.perhaps_fixed(sqe);
    owes(sqe, (1, max as i32), &[EINVAL])
}
