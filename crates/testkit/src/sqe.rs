//! Submission entries as test programs write them: one function per shape, fields public after.

use ringer_uapi::Sqe;

/// Opcodes, as the header counts them.
#[allow(missing_docs, reason = "the names are the header's")]
pub mod op {
    pub const NOP: u8 = 0;
    pub const READV: u8 = 1;
    pub const WRITEV: u8 = 2;
    pub const FSYNC: u8 = 3;
    pub const READ_FIXED: u8 = 4;
    pub const WRITE_FIXED: u8 = 5;
    pub const POLL_ADD: u8 = 6;
    pub const POLL_REMOVE: u8 = 7;
    pub const SYNC_FILE_RANGE: u8 = 8;
    pub const SENDMSG: u8 = 9;
    pub const TIMEOUT: u8 = 11;
    pub const TIMEOUT_REMOVE: u8 = 12;
    pub const ACCEPT: u8 = 13;
    pub const ASYNC_CANCEL: u8 = 14;
    pub const LINK_TIMEOUT: u8 = 15;
    pub const CONNECT: u8 = 16;
    pub const FALLOCATE: u8 = 17;
    pub const OPENAT: u8 = 18;
    pub const CLOSE: u8 = 19;
    pub const FILES_UPDATE: u8 = 20;
    pub const STATX: u8 = 21;
    pub const READ: u8 = 22;
    pub const WRITE: u8 = 23;
    pub const FADVISE: u8 = 24;
    pub const MADVISE: u8 = 25;
    pub const SEND: u8 = 26;
    pub const RECV: u8 = 27;
    pub const EPOLL_CTL: u8 = 29;
    pub const SPLICE: u8 = 30;
    pub const TEE: u8 = 33;
    pub const SHUTDOWN: u8 = 34;
    pub const RENAMEAT: u8 = 35;
    pub const UNLINKAT: u8 = 36;
    pub const MKDIRAT: u8 = 37;
    pub const SYMLINKAT: u8 = 38;
    pub const LINKAT: u8 = 39;
    pub const FSETXATTR: u8 = 41;
    pub const SETXATTR: u8 = 42;
    pub const FGETXATTR: u8 = 43;
    pub const GETXATTR: u8 = 44;
    pub const SOCKET: u8 = 45;
    pub const FIXED_FD_INSTALL: u8 = 54;
    pub const FTRUNCATE: u8 = 55;
    pub const BIND: u8 = 56;
    pub const LISTEN: u8 = 57;
    pub const EPOLL_WAIT: u8 = 59;
    pub const READV_FIXED: u8 = 60;
    pub const WRITEV_FIXED: u8 = 61;
    pub const PIPE: u8 = 62;
    pub const URING_CMD: u8 = 46;
    pub const WAITID: u8 = 50;
    pub const FUTEX_WAIT: u8 = 51;
    pub const FUTEX_WAKE: u8 = 52;
    pub const FUTEX_WAITV: u8 = 53;
}

/// `IOSQE_FIXED_FILE`.
pub const FIXED: u8 = 1;
/// `IOSQE_IO_DRAIN`.
pub const DRAIN: u8 = 2;
/// `IOSQE_IO_LINK`.
pub const LINK: u8 = 4;
/// `IOSQE_IO_HARDLINK`.
pub const HARDLINK: u8 = 8;
/// `IOSQE_ASYNC`.
pub const ASYNC: u8 = 16;

/// An opcode with a name to find its completion by.
pub fn of(opcode: u8, user_data: u64) -> Sqe {
    Sqe { opcode, user_data, ..Sqe::default() }
}

/// NOP.
pub fn nop(user_data: u64) -> Sqe {
    of(op::NOP, user_data)
}

/// Any op of the shape (descriptor, address, length, offset).
pub fn rw(opcode: u8, fd: i32, addr: u64, len: u32, off: u64, user_data: u64) -> Sqe {
    Sqe { fd, addr, len, off, ..of(opcode, user_data) }
}

/// READ.
pub fn read(fd: i32, addr: u64, len: u32, off: u64, user_data: u64) -> Sqe {
    rw(op::READ, fd, addr, len, off, user_data)
}

/// WRITE.
pub fn write(fd: i32, addr: u64, len: u32, off: u64, user_data: u64) -> Sqe {
    rw(op::WRITE, fd, addr, len, off, user_data)
}

/// The same with more `IOSQE_*` bits.
pub fn flagged(sqe: Sqe, bits: u8) -> Sqe {
    Sqe { flags: sqe.flags | bits, ..sqe }
}

/// An opcode on a descriptor and nothing else.
pub fn of_fd(opcode: u8, fd: i32, user_data: u64) -> Sqe {
    Sqe { fd, ..of(opcode, user_data) }
}
