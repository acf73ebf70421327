//! Claims about which error wins: sections 1 and 2 of the inventory.
//!
//! ```text
//!   tests/transcripts/errno-order-6.18.txt   what the kernel answered (cargo xtask fidelity --record)
//!        ^ matrix: one table a subject, every spoil alone and every two together
//!        |
//!   ops: one row an opcode -> field: spoils -> scenes: valid entries -> bench: tries one
//!   registers, setup_enter: rows of calls -> calls: tries one
//! ```
//! A claim runs its table again and names the cells that differ. What it does not do: say which of
//! two answers is right; the kernel beside us does, in the native column.

use super::Claim;

pub mod bench;
pub mod calls;
pub mod field;
pub mod matrix;
pub mod named;
pub mod ops;
pub mod registers;
pub mod scenes;
pub mod setup_enter;

/// The families' lists, in the inventory's order.
pub const FAMILIES: &[&[Claim]] =
    &[named::FAMILIES[0], named::FAMILIES[1], ops::CLAIMS, registers::CLAIMS, setup_enter::CLAIMS];

/// What 6.18 answered.
const TABLES: &str = include_str!("../../../../../tests/transcripts/errno-order-6.18.txt");

/// Prints what the kernel answers to every subject whose name contains `only`.
pub fn record(only: &str) -> std::process::ExitCode {
    for rows in [ops::recorders(), registers::recorders(), setup_enter::recorders()] {
        for (name, run) in rows.into_iter().filter(|(name, _)| name.contains(only)) {
            eprintln!("recording {name}");
            // Alone in a process, as its claim is: a thread keeps its registered rings.
            let code = crate::os::in_child(|| match run() {
                Ok(text) => {
                    print!("{text}");
                    let _ = std::io::Write::flush(&mut std::io::stdout());
                    0
                }
                Err(why) => {
                    eprintln!("fidelity: {name}: {why}");
                    1
                }
            });
            if code != Ok(0) {
                return std::process::ExitCode::FAILURE;
            }
        }
    }
    std::process::ExitCode::SUCCESS
}

/// A subject's name, and what records its table.
type Recorder = (&'static str, Box<dyn Fn() -> Result<String, String>>);

/// Names of opcodes, register operations and calls that have an errno-order claim.
pub const ROWS: &[&str] = &rows();

const fn rows() -> [&'static str; 63 + registers::NAMES.len() + 2] {
    let mut all = [""; 63 + registers::NAMES.len() + 2];
    let mut i = 0;
    while i < 63 {
        all[i] = OPCODES[i];
        i += 1;
    }
    while i < 63 + registers::NAMES.len() {
        all[i] = registers::NAMES[i - 63];
        i += 1;
    }
    all[i] = "SETUP";
    all[i + 1] = "ENTER";
    all
}

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
