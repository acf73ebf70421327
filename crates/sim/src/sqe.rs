//! Submission entries, as liburing's prep helpers make them. The last argument is the user_data.

use ringer_uapi::Sqe;

/// `IOSQE_FIXED_FILE`.
pub const FIXED: u8 = 1;
/// `IOSQE_IO_DRAIN`.
pub const DRAIN: u8 = 2;
/// `IOSQE_IO_LINK`.
pub const LINK: u8 = 4;
/// `IOSQE_IO_HARDLINK`.
pub const HARD: u8 = 8;
/// `IOSQE_ASYNC`.
pub const ASYNC: u8 = 16;
/// `IOSQE_CQE_SKIP_SUCCESS`.
pub const SKIP: u8 = 64;
/// The file's own position.
pub const POS: u64 = u64::MAX;

fn entry(opcode: u8, fd: i32, addr: u64, len: u32, off: u64, user_data: u64) -> Sqe {
    Sqe { opcode, fd, addr, len, off, user_data, ..Sqe::default() }
}

/// An entry with nothing but a descriptor.
pub fn of(opcode: u8, fd: i32, ud: u64) -> Sqe {
    entry(opcode, fd, 0, 0, 0, ud)
}

/// NOP.
pub fn nop(ud: u64) -> Sqe {
    entry(0, -1, 0, 0, 0, ud)
}

/// NOP with this result.
pub fn nop_with(res: i32, ud: u64) -> Sqe {
    Sqe { op_flags: 1, ..entry(0, -1, 0, res as u32, 0, ud) }
}

/// READ.
pub fn read(fd: i32, addr: u64, len: u32, off: u64, ud: u64) -> Sqe {
    entry(22, fd, addr, len, off, ud)
}

/// WRITE.
pub fn write(fd: i32, addr: u64, len: u32, off: u64, ud: u64) -> Sqe {
    entry(23, fd, addr, len, off, ud)
}

/// READ_FIXED from buffer `index`.
pub fn read_fixed(fd: i32, addr: u64, len: u32, off: u64, (index, ud): (u16, u64)) -> Sqe {
    Sqe { buf_index: index, ..entry(4, fd, addr, len, off, ud) }
}

/// SEND.
pub fn send(fd: i32, addr: u64, len: u32, ud: u64) -> Sqe {
    entry(26, fd, addr, len, 0, ud)
}

/// RECV.
pub fn recv(fd: i32, addr: u64, len: u32, ud: u64) -> Sqe {
    entry(27, fd, addr, len, 0, ud)
}

/// FSYNC.
pub fn fsync(fd: i32, ud: u64) -> Sqe {
    entry(3, fd, 0, 0, 0, ud)
}

/// POLL_ADD, one shot.
pub fn poll(fd: i32, mask: u32, ud: u64) -> Sqe {
    Sqe { op_flags: mask, ..entry(6, fd, 0, 0, 0, ud) }
}

/// POLL_ADD, multishot.
pub fn poll_multi(fd: i32, mask: u32, ud: u64) -> Sqe {
    Sqe { op_flags: mask, ..entry(6, fd, 0, 1, 0, ud) }
}

/// POLL_REMOVE of `target`.
pub fn poll_remove(target: u64, ud: u64) -> Sqe {
    entry(7, -1, target, 0, 0, ud)
}

/// TIMEOUT after the timespec at `ts`, or `count` completions.
pub fn timeout(ts: u64, count: u32, ud: u64) -> Sqe {
    entry(11, -1, ts, 1, u64::from(count), ud)
}

/// TIMEOUT_REMOVE of `target`.
pub fn timeout_remove(target: u64, ud: u64) -> Sqe {
    entry(12, -1, target, 0, 0, ud)
}

/// LINK_TIMEOUT.
pub fn link_timeout(ts: u64, ud: u64) -> Sqe {
    entry(15, -1, ts, 1, 0, ud)
}

/// ASYNC_CANCEL by user_data, with `IORING_ASYNC_CANCEL_*` flags.
pub fn cancel(target: u64, flags: u32, ud: u64) -> Sqe {
    Sqe { op_flags: flags, ..entry(14, -1, target, 0, 0, ud) }
}

/// ASYNC_CANCEL of everything on a descriptor.
pub fn cancel_fd(fd: i32, ud: u64) -> Sqe {
    Sqe { op_flags: 1 | 2, ..entry(14, fd, 0, 0, 0, ud) }
}

/// FILES_UPDATE of slots from `off`.
pub fn files_update(array: u64, nr: u32, off: u32, ud: u64) -> Sqe {
    entry(20, -1, array, nr, u64::from(off), ud)
}

/// OPENAT into slot `file_index - 1`, or a descriptor for 0.
pub fn open(path: u64, flags: u32, file_index: u32, ud: u64) -> Sqe {
    Sqe { op_flags: flags, file_index, ..entry(18, -100, path, 0o600, 0, ud) }
}

/// CLOSE of a descriptor.
pub fn close(fd: i32, ud: u64) -> Sqe {
    entry(19, fd, 0, 0, 0, ud)
}

/// CLOSE of a slot.
pub fn close_direct(slot: u32, ud: u64) -> Sqe {
    Sqe { file_index: slot + 1, ..entry(19, 0, 0, 0, 0, ud) }
}

/// READV or WRITEV (`opcode` 1 or 2) of the iovec array at `iovs`.
pub fn vectored(opcode: u8, fd: i32, iovs: u64, n: u32, off: u64, ud: u64) -> Sqe {
    entry(opcode, fd, iovs, n, off, ud)
}

/// FUTEX_WAIT for 0 on a private futex, with any mask.
pub fn futex_wait(word: u64, ud: u64) -> Sqe {
    Sqe { addr3: u32::MAX.into(), ..entry(51, 0x82, word, 0, 0, ud) }
}

/// FUTEX_WAKE of so many, with any mask.
pub fn futex_wake(word: u64, n: u64, ud: u64) -> Sqe {
    Sqe { addr3: u32::MAX.into(), ..entry(52, 0x82, word, 0, n, ud) }
}

/// WAITID of a child's end, told at `info`.
pub fn waitid(pid: i32, info: u64, ud: u64) -> Sqe {
    Sqe { file_index: 4, ..entry(50, pid, 0, 1, info, ud) }
}

/// The entry with more flags.
pub fn with(flags: u8, sqe: Sqe) -> Sqe {
    Sqe { flags: sqe.flags | flags, ..sqe }
}
