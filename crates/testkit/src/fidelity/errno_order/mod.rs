//! Claims about which error wins: sections 1 and 2 of the inventory.
//!
//! ```text
//!   tests/transcripts/errno-order-6.18.txt   what the kernel answered (cargo xtask fidelity --record)
//!        ^ matrix: one table a subject, every spoil alone and every two together
//!        |
//!   ops: one row an opcode -> field: spoils -> scenes: valid entries -> bench: tries one
//! ```
//! A claim runs its table again and names the cells that differ. What it does not do: say which of
//! two answers is right; the kernel beside us does, in the native column.

use super::Claim;

pub mod bench;
pub mod field;
pub mod matrix;
pub mod ops;
pub mod scenes;

/// The families' lists, in the inventory's order.
pub const FAMILIES: &[&[Claim]] = &[ops::CLAIMS];

/// What 6.18 answered.
const TABLES: &str = include_str!("../../../../../tests/transcripts/errno-order-6.18.txt");

/// Prints what the kernel answers to every subject whose name contains `only`.
pub fn record(only: &str) -> std::process::ExitCode {
    match ops::record(only) {
        Ok(text) => {
            print!("{text}");
            std::process::ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("fidelity: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// Names that have an errno-order claim.
pub const ROWS: &[&str] = &OPCODES;

/// The opcodes of 6.18 by number.
pub const OPCODES: [&str; 63] = [
    "NOP",
    "READV",
    "WRITEV",
    "FSYNC",
    "READ_FIXED",
    "WRITE_FIXED",
    "POLL_ADD",
    "POLL_REMOVE",
    "SYNC_FILE_RANGE",
    "SENDMSG",
    "RECVMSG",
    "TIMEOUT",
    "TIMEOUT_REMOVE",
    "ACCEPT",
    "ASYNC_CANCEL",
    "LINK_TIMEOUT",
    "CONNECT",
    "FALLOCATE",
    "OPENAT",
    "CLOSE",
    "FILES_UPDATE",
    "STATX",
    "READ",
    "WRITE",
    "FADVISE",
    "MADVISE",
    "SEND",
    "RECV",
    "OPENAT2",
    "EPOLL_CTL",
    "SPLICE",
    "PROVIDE_BUFFERS",
    "REMOVE_BUFFERS",
    "TEE",
    "SHUTDOWN",
    "RENAMEAT",
    "UNLINKAT",
    "MKDIRAT",
    "SYMLINKAT",
    "LINKAT",
    "MSG_RING",
    "FSETXATTR",
    "SETXATTR",
    "FGETXATTR",
    "GETXATTR",
    "SOCKET",
    "URING_CMD",
    "SEND_ZC",
    "SENDMSG_ZC",
    "READ_MULTISHOT",
    "WAITID",
    "FUTEX_WAIT",
    "FUTEX_WAKE",
    "FUTEX_WAITV",
    "FIXED_FD_INSTALL",
    "FTRUNCATE",
    "BIND",
    "LISTEN",
    "RECV_ZC",
    "EPOLL_WAIT",
    "READV_FIXED",
    "WRITEV_FIXED",
    "PIPE",
];
