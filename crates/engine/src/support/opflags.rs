//! The rows of flags that single opcodes and register operations have, and the masks of those that
//! an opcode takes.
//!
//! What it does not do: say how flags go together, which each `prep` does.

use super::Support::{Full, Partial, Refused};
use super::row::{Kernel, Row, Support, accepted};
use ringer_uapi::Errno;

const NEWER: &str = "newer than 6.18, which refuses it too";
const NOWAIT: &str = "a write of 0 bytes says EAGAIN on xfs and btrfs too, where the kernel says 0";
const HOST: &str = "as the host's kernel has it";

/// Opcodes whose `rw_flags` are `RWF_*`.
pub const READS_AND_WRITES: &[u8] = &[1, 2, 4, 5, 22, 23, 49, 60, 61];
/// Opcodes whose `ioprio` is `IORING_RECVSEND_*`.
pub const SENDS_AND_RECEIVES: &[u8] = &[9, 10, 26, 27, 47, 48, 58];

const fn row(name: &'static str, value: u64, since: Kernel, support: Support) -> Row {
    Row { name, value, since, support }
}

/// `IORING_NOP_*`.
pub const NOP: &[Row] = &[
    row("NOP_INJECT_RESULT", 1, (6, 5), Full),
    row("NOP_FILE", 2, (6, 11), Full),
    row("NOP_FIXED_FILE", 4, (6, 11), Full),
    row("NOP_FIXED_BUFFER", 8, (6, 11), Full),
    row("NOP_TW", 16, (6, 16), Full),
    row("NOP_CQE32", 32, (6, 18), Full),
];

/// `RWF_*` of preadv2(2). What the host's kernel does not know it refuses with `EOPNOTSUPP`.
pub const RWF: &[Row] = &[
    row("RWF_HIPRI", 1, (5, 1), Partial("on IOPOLL rings; not passed to the host")),
    row("RWF_DSYNC", 2, (5, 1), Full),
    row("RWF_SYNC", 4, (5, 1), Full),
    row("RWF_NOWAIT", 8, (5, 1), Partial(NOWAIT)),
    row("RWF_APPEND", 16, (5, 1), Full),
    row("RWF_NOAPPEND", 32, (6, 9), Partial(HOST)),
    row("RWF_ATOMIC", 64, (6, 11), Partial(HOST)),
    row("RWF_DONTCACHE", 128, (6, 14), Partial(HOST)),
    row("RWF_NOSIGNAL", 256, (6, 18), Partial(HOST)),
];

/// `IORING_RW_ATTR_FLAG_*`.
pub const RW_ATTR: &[Row] = &[row(
    "RW_ATTR_FLAG_PI",
    1,
    (6, 14),
    Refused(Errno::EINVAL, "files that a program can open take no PI attributes"),
)];

/// `IORING_FSYNC_*`.
pub const FSYNC: &[Row] = &[row("FSYNC_DATASYNC", 1, (5, 1), Full)];

/// `IORING_POLL_ADD_*`.
pub const POLL_ADD: &[Row] = &[
    row("POLL_ADD_MULTI", 1, (5, 13), Partial("wake-ups between two looks are one")),
    row("POLL_ADD_LEVEL", 8, (5, 18), Refused(Errno::EINVAL, "6.18 refuses it too")),
];

/// `IORING_POLL_UPDATE_*`.
pub const POLL_REMOVE: &[Row] =
    &[row("POLL_UPDATE_EVENTS", 2, (5, 13), Full), row("POLL_UPDATE_USER_DATA", 4, (5, 13), Full)];

/// `IORING_TIMEOUT_*` of TIMEOUT and LINK_TIMEOUT.
pub const TIMEOUT: &[Row] = &[
    row("TIMEOUT_ABS", 1, (5, 5), Full),
    row("TIMEOUT_BOOTTIME", 4, (5, 15), Full),
    row("TIMEOUT_REALTIME", 8, (5, 15), Full),
    row("TIMEOUT_ETIME_SUCCESS", 32, (5, 16), Full),
    row("TIMEOUT_MULTISHOT", 64, (6, 4), Full),
    row("TIMEOUT_IMMEDIATE_ARG", 128, (7, 1), Refused(Errno::EINVAL, NEWER)),
];

/// `IORING_TIMEOUT_*` and `IORING_LINK_TIMEOUT_*` of TIMEOUT_REMOVE.
pub const TIMEOUT_REMOVE: &[Row] =
    &[row("TIMEOUT_UPDATE", 2, (5, 11), Full), row("LINK_TIMEOUT_UPDATE", 16, (5, 15), Full)];

/// `IORING_ACCEPT_*`.
pub const ACCEPT: &[Row] = &[
    row("ACCEPT_MULTISHOT", 1, (5, 19), Full),
    row("ACCEPT_DONTWAIT", 2, (6, 10), Full),
    row("ACCEPT_POLL_FIRST", 4, (6, 10), Full),
];

/// `IORING_ASYNC_CANCEL_*`.
pub const ASYNC_CANCEL: &[Row] = &[
    row("ASYNC_CANCEL_ALL", 1, (5, 19), Full),
    row("ASYNC_CANCEL_FD", 2, (5, 19), Full),
    row("ASYNC_CANCEL_ANY", 4, (5, 19), Full),
    row("ASYNC_CANCEL_FD_FIXED", 8, (6, 0), Full),
    row("ASYNC_CANCEL_USERDATA", 16, (6, 6), Full),
    row("ASYNC_CANCEL_OP", 32, (6, 6), Full),
];

/// `IORING_RECVSEND_*` and what shares their field.
pub const RECVSEND: &[Row] = &[
    row("RECVSEND_POLL_FIRST", 1, (5, 19), Full),
    row("RECV_MULTISHOT", 2, (6, 0), Full),
    row("RECVSEND_FIXED_BUF", 4, (6, 0), Full),
    row("SEND_ZC_REPORT_USAGE", 8, (6, 2), Partial("the bytes are copied, and it says so")),
    row("RECVSEND_BUNDLE", 16, (6, 10), Full),
    row("SEND_VECTORIZED", 32, (6, 17), Full),
];

/// `SPLICE_F_*` of io_uring's own.
pub const SPLICE: &[Row] = &[row("SPLICE_F_FD_IN_FIXED", 1 << 31, (5, 7), Full)];
/// Those of splice(2).
const SPLICE_ALL: u32 = 15;

/// `IORING_MSG_RING_*`.
pub const MSG_RING: &[Row] =
    &[row("MSG_RING_CQE_SKIP", 1, (6, 0), Full), row("MSG_RING_FLAGS_PASS", 2, (6, 3), Full)];

/// `IORING_URING_CMD_*`.
pub const URING_CMD: &[Row] = &[
    row("URING_CMD_FIXED", 1, (5, 19), Full),
    row(
        "URING_CMD_MULTISHOT",
        2,
        (6, 18),
        Partial("completes once: no file here has such a command"),
    ),
];

/// `SOCKET_URING_OP_*`.
pub const SOCKET_COMMANDS: &[Row] = &[
    row("SOCKET_URING_OP_SIOCINQ", 0, (6, 5), Full),
    row("SOCKET_URING_OP_SIOCOUTQ", 1, (6, 5), Full),
    row("SOCKET_URING_OP_GETSOCKOPT", 2, (6, 7), Full),
    row("SOCKET_URING_OP_SETSOCKOPT", 3, (6, 7), Full),
    row(
        "SOCKET_URING_OP_TX_TIMESTAMP",
        4,
        (6, 17),
        Partial("not with SO_ZEROCOPY; other errors of the queue are lost"),
    ),
];

/// Flags of opcodes that are not carried out.
/// `IORING_FIXED_FD_*`.
pub const INSTALL: &[Row] = &[row("FIXED_FD_NO_CLOEXEC", 1, (6, 8), Full)];

/// What stands in the structures of registrations.
pub const RESOURCES: &[Row] = &[
    row("REGISTER_FILES_SKIP", 0xffff_fffe, (5, 12), Full),
    row("RSRC_REGISTER_SPARSE", 1, (5, 19), Full),
    row("FILE_INDEX_ALLOC", 0xffff_ffff, (5, 19), Full),
    row("PBUF_RING_MMAP", PBUF_RING_MMAP as u64, (6, 4), Full),
    row("PBUF_RING_INC", PBUF_RING_INC as u64, (6, 12), Full),
    row("REGISTER_SRC_REGISTERED", 1, (6, 12), Full),
    row("REGISTER_DST_REPLACE", 2, (6, 13), Full),
    row("MEM_REGION_TYPE_USER", 1, (6, 13), Full),
    row("MEM_REGION_REG_WAIT_ARG", 1, (6, 13), Full),
    row("REG_WAIT_TS", 1, (6, 13), Full),
];

/// What NOP takes.
pub const NOP_ACCEPTED: u32 = accepted(NOP);
/// What FSYNC takes.
pub const FSYNC_ACCEPTED: u32 = accepted(FSYNC);
/// What reads and writes know.
pub const RWF_ACCEPTED: u32 = accepted(RWF);
/// What POLL_ADD takes.
pub const POLL_ADD_ACCEPTED: u32 = accepted(POLL_ADD);
/// What POLL_REMOVE takes: its own and POLL_ADD's.
pub const POLL_REMOVE_ACCEPTED: u32 = accepted(POLL_REMOVE) | POLL_ADD_ACCEPTED;
/// What TIMEOUT and LINK_TIMEOUT take.
pub const TIMEOUT_ACCEPTED: u32 = accepted(TIMEOUT);
/// What makes a TIMEOUT_REMOVE an update.
pub const TIMEOUT_UPDATES: u32 = accepted(TIMEOUT_REMOVE);
/// What ACCEPT takes.
pub const ACCEPT_ACCEPTED: u16 = accepted(ACCEPT) as u16;
/// What ASYNC_CANCEL takes.
pub const ASYNC_CANCEL_ACCEPTED: u32 = accepted(ASYNC_CANCEL);
/// What SPLICE and TEE take.
pub const SPLICE_ACCEPTED: u32 = accepted(SPLICE) | SPLICE_ALL;
/// What FIXED_FD_INSTALL takes.
pub const INSTALL_ACCEPTED: u32 = accepted(INSTALL);
/// What URING_CMD takes.
pub const URING_CMD_ACCEPTED: u32 = accepted(URING_CMD);
/// What MSG_RING takes.
pub const MSG_RING_ACCEPTED: u32 = accepted(MSG_RING);
/// A send's bytes are in a registered buffer.
pub const FIXED_BUF: u16 = 4;
/// A notification says whether they were copied.
pub const REPORT_USAGE: u16 = 8;
/// Several buffers of a group at once.
pub const BUNDLE: u16 = 16;
/// A send's buffer is a vector.
pub const VECTORIZED: u16 = 32;
const POLL_FIRST: u16 = 1;
const MULTISHOT: u16 = 2;
const RECVSEND_ACCEPTED: u16 = accepted(RECVSEND) as u16;
/// What SEND takes (6.18 net.c `SENDMSG_FLAGS`); SENDMSG but for a bundle.
pub const SEND_ACCEPTED: u16 = RECVSEND_ACCEPTED & (POLL_FIRST | BUNDLE | VECTORIZED);
/// What RECV takes (net.c `RECVMSG_FLAGS`); RECVMSG but for a bundle.
pub const RECV_ACCEPTED: u16 = RECVSEND_ACCEPTED & (POLL_FIRST | MULTISHOT | BUNDLE);
/// What SEND_ZC and SENDMSG_ZC take (net.c `IO_ZC_FLAGS_VALID`).
pub const SEND_ZC_ACCEPTED: u16 =
    RECVSEND_ACCEPTED & (POLL_FIRST | FIXED_BUF | REPORT_USAGE | VECTORIZED);
/// A ring of buffers in memory of the kernel's, and one whose buffers are used up bit by bit.
pub const PBUF_RING_MMAP: u16 = 1;
/// See [`PBUF_RING_MMAP`].
pub const PBUF_RING_INC: u16 = 2;
/// What PBUF_RING takes.
pub const PBUF_RING_ACCEPTED: u16 = PBUF_RING_MMAP | PBUF_RING_INC;
/// A source given by its registered index, a table that is replaced.
pub const SRC_REGISTERED: u32 = 1;
/// See [`SRC_REGISTERED`].
pub const DST_REPLACE: u32 = 2;
/// What CLONE_BUFFERS takes.
pub const CLONE_ACCEPTED: u32 = SRC_REGISTERED | DST_REPLACE;
/// The flags of a `struct io_uring_rsrc_register`.
pub const RSRC_SPARSE: u32 = 1;
