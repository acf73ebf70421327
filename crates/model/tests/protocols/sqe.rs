//! Entries of the models. The last argument is the user_data.

use ringer_uapi::Sqe;

/// `IOSQE_ASYNC`.
const ASYNC: u8 = 16;
/// An address for what is never really read or written.
const NOWHERE: u64 = 0x1000;

/// `IORING_OP_NOP`.
pub(crate) fn nop(user_data: u64) -> Sqe {
    Sqe { user_data, ..Sqe::default() }
}

/// The same, for a worker.
pub(crate) fn on_worker(sqe: Sqe) -> Sqe {
    Sqe { flags: sqe.flags | ASYNC, ..sqe }
}

/// `IORING_OP_READ` of a byte.
pub(crate) fn read(fd: i32, user_data: u64) -> Sqe {
    Sqe { opcode: 22, fd, addr: NOWHERE, len: 1, off: u64::MAX, user_data, ..Sqe::default() }
}

/// `IORING_OP_RECV` of a byte.
pub(crate) fn recv(fd: i32, user_data: u64) -> Sqe {
    Sqe { opcode: 27, fd, addr: NOWHERE, len: 1, user_data, ..Sqe::default() }
}

/// `IORING_OP_POLL_ADD` for POLLIN.
pub(crate) fn poll(fd: i32, user_data: u64) -> Sqe {
    Sqe { opcode: 6, fd, op_flags: 1, user_data, ..Sqe::default() }
}

/// `IORING_OP_TIMEOUT` with the timespec at `addr`.
pub(crate) fn timeout(addr: u64, user_data: u64) -> Sqe {
    Sqe { opcode: 11, fd: -1, addr, len: 1, user_data, ..Sqe::default() }
}

/// `IORING_OP_ASYNC_CANCEL` of the request with user_data `target`.
pub(crate) fn cancel(target: u64, user_data: u64) -> Sqe {
    Sqe { opcode: 14, fd: -1, addr: target, user_data, ..Sqe::default() }
}

/// `IORING_OP_FUTEX_WAIT` for 0 on a private futex.
pub(crate) fn futex_wait(word: u64, user_data: u64) -> Sqe {
    let addr3 = u32::MAX.into();
    Sqe { opcode: 51, fd: 0x82, addr: word, addr3, user_data, ..Sqe::default() }
}

/// `IORING_OP_MSG_RING` that posts `message` to the ring `fd`.
pub(crate) fn message(fd: i32, message: u64, user_data: u64) -> Sqe {
    Sqe { opcode: 40, fd, off: message, user_data, ..Sqe::default() }
}

/// `IORING_OP_WRITE` of a byte.
pub(crate) fn write(fd: i32, user_data: u64) -> Sqe {
    Sqe { opcode: 23, ..read(fd, user_data) }
}
