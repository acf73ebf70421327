//! What the generator can draw, by name, and what it may draw, by the op table.
//!
//! [`DRAWS`] are names as the header has them without `IORING_` (opcodes without `OP_`, too); a test
//! holds them against what generated programs contain. [`Rows`] comes from whoever links the engine:
//! a row that becomes Full is drawn from then on, with the shapes that were kept back.

use super::program::{Entry, Program, Register, Step};
use std::collections::{BTreeMap, BTreeSet};

/// Opcodes, as the header counts them.
#[allow(missing_docs, reason = "the names are the header's")]
pub mod op {
    pub use crate::sqe::op::*;
    pub const RECVMSG: u8 = 10;
    pub const OPENAT2: u8 = 28;
    pub const PROVIDE_BUFFERS: u8 = 31;
    pub const REMOVE_BUFFERS: u8 = 32;
    pub const SHUTDOWN: u8 = 34;
    pub const MSG_RING: u8 = 40;
    pub const SEND_ZC: u8 = 47;
    pub const SENDMSG_ZC: u8 = 48;
    pub const READ_MULTISHOT: u8 = 49;
}

/// Every opcode that has a shape here.
pub const OPS: &[(&str, u8)] = &[
    ("NOP", op::NOP),
    ("READV", op::READV),
    ("WRITEV", op::WRITEV),
    ("FSYNC", op::FSYNC),
    ("READ_FIXED", op::READ_FIXED),
    ("WRITE_FIXED", op::WRITE_FIXED),
    ("POLL_ADD", op::POLL_ADD),
    ("POLL_REMOVE", op::POLL_REMOVE),
    ("SYNC_FILE_RANGE", op::SYNC_FILE_RANGE),
    ("SENDMSG", op::SENDMSG),
    ("RECVMSG", op::RECVMSG),
    ("TIMEOUT", op::TIMEOUT),
    ("TIMEOUT_REMOVE", op::TIMEOUT_REMOVE),
    ("ACCEPT", op::ACCEPT),
    ("ASYNC_CANCEL", op::ASYNC_CANCEL),
    ("LINK_TIMEOUT", op::LINK_TIMEOUT),
    ("CONNECT", op::CONNECT),
    ("FALLOCATE", op::FALLOCATE),
    ("OPENAT", op::OPENAT),
    ("CLOSE", op::CLOSE),
    ("FILES_UPDATE", op::FILES_UPDATE),
    ("STATX", op::STATX),
    ("READ", op::READ),
    ("WRITE", op::WRITE),
    ("FADVISE", op::FADVISE),
    ("MADVISE", op::MADVISE),
    ("SEND", op::SEND),
    ("RECV", op::RECV),
    ("OPENAT2", op::OPENAT2),
    ("EPOLL_CTL", op::EPOLL_CTL),
    ("SPLICE", op::SPLICE),
    ("TEE", op::TEE),
    ("PROVIDE_BUFFERS", op::PROVIDE_BUFFERS),
    ("REMOVE_BUFFERS", op::REMOVE_BUFFERS),
    ("SHUTDOWN", op::SHUTDOWN),
    ("RENAMEAT", op::RENAMEAT),
    ("UNLINKAT", op::UNLINKAT),
    ("MKDIRAT", op::MKDIRAT),
    ("SYMLINKAT", op::SYMLINKAT),
    ("LINKAT", op::LINKAT),
    ("MSG_RING", op::MSG_RING),
    ("FSETXATTR", op::FSETXATTR),
    ("SETXATTR", op::SETXATTR),
    ("FGETXATTR", op::FGETXATTR),
    ("GETXATTR", op::GETXATTR),
    ("SOCKET", op::SOCKET),
    ("FIXED_FD_INSTALL", op::FIXED_FD_INSTALL),
    ("FTRUNCATE", op::FTRUNCATE),
    ("BIND", op::BIND),
    ("LISTEN", op::LISTEN),
    ("EPOLL_WAIT", op::EPOLL_WAIT),
    ("READV_FIXED", op::READV_FIXED),
    ("WRITEV_FIXED", op::WRITEV_FIXED),
    ("PIPE", op::PIPE),
    ("SEND_ZC", op::SEND_ZC),
    ("SENDMSG_ZC", op::SENDMSG_ZC),
    ("URING_CMD", op::URING_CMD),
    ("WAITID", op::WAITID),
    ("FUTEX_WAIT", op::FUTEX_WAIT),
    ("FUTEX_WAKE", op::FUTEX_WAKE),
    ("FUTEX_WAITV", op::FUTEX_WAITV),
    ("READ_MULTISHOT", op::READ_MULTISHOT),
];

/// The opcode's name, or `OP<n>`.
pub fn op_name(op: u8) -> &'static str {
    OPS.iter().find(|(_, n)| *n == op).map_or("OP?", |(name, _)| name)
}

/// What the op table allows: names of rows, and whether each is Full.
#[derive(Clone, Debug, Default)]
pub struct Rows(BTreeMap<String, bool>);

impl Rows {
    /// From (name, full) of every row that is carried out at all.
    pub fn new<'a>(rows: impl IntoIterator<Item = (&'a str, bool)>) -> Self {
        Self(rows.into_iter().map(|(name, full)| (name.to_owned(), full)).collect())
    }

    /// Every opcode with a shape as if it were Full.
    pub fn everything() -> Self {
        Self::new(OPS.iter().map(|(name, _)| (*name, true)))
    }

    /// Whether the row is carried out at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether the row says Full.
    pub fn full(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or(false)
    }

    /// Rows that have no shape here: nothing compares them.
    pub fn without_a_shape(&self) -> Vec<&str> {
        let drawn = |name: &str| OPS.iter().any(|(n, _)| *n == name);
        self.0.keys().map(String::as_str).filter(|n| !drawn(n)).collect()
    }
}

/// Flags by their word: (which, bit, name).
const FLAGS: &[(&str, u32, &str)] = &[
    ("SETUP", 1 << 1, "SETUP_SQPOLL"),
    ("SETUP", 1 << 3, "SETUP_CQSIZE"),
    ("SETUP", 1 << 5, "SETUP_ATTACH_WQ"),
    ("SETUP", 1 << 6, "SETUP_R_DISABLED"),
    ("SETUP", 1 << 7, "SETUP_SUBMIT_ALL"),
    ("SETUP", 1 << 8, "SETUP_COOP_TASKRUN"),
    ("SETUP", 1 << 9, "SETUP_TASKRUN_FLAG"),
    ("SETUP", 1 << 10, "SETUP_SQE128"),
    ("SETUP", 1 << 11, "SETUP_CQE32"),
    ("SETUP", 1 << 12, "SETUP_SINGLE_ISSUER"),
    ("SETUP", 1 << 13, "SETUP_DEFER_TASKRUN"),
    ("SETUP", 1 << 16, "SETUP_NO_SQARRAY"),
    ("SETUP", 1 << 18, "SETUP_CQE_MIXED"),
    ("IOSQE", 1, "IOSQE_FIXED_FILE"),
    ("IOSQE", 2, "IOSQE_IO_DRAIN"),
    ("IOSQE", 4, "IOSQE_IO_LINK"),
    ("IOSQE", 8, "IOSQE_IO_HARDLINK"),
    ("IOSQE", 16, "IOSQE_ASYNC"),
    ("IOSQE", 32, "IOSQE_BUFFER_SELECT"),
    ("IOSQE", 64, "IOSQE_CQE_SKIP_SUCCESS"),
    ("NOP", 1, "NOP_INJECT_RESULT"),
    ("NOP", 2, "NOP_FILE"),
    ("NOP", 4, "NOP_FIXED_FILE"),
    ("NOP", 8, "NOP_FIXED_BUFFER"),
    ("NOP", 32, "NOP_CQE32"),
    ("FSYNC", 1, "FSYNC_DATASYNC"),
    ("RW", 1, "RWF_HIPRI"),
    ("RW", 8, "RWF_NOWAIT"),
    ("RW", 16, "RWF_APPEND"),
    ("POLL_ADD len", 1, "POLL_ADD_MULTI"),
    ("POLL_REMOVE len", 2, "POLL_UPDATE_EVENTS"),
    ("POLL_REMOVE len", 4, "POLL_UPDATE_USER_DATA"),
    ("TIMEOUT", 1, "TIMEOUT_ABS"),
    ("TIMEOUT", 4, "TIMEOUT_BOOTTIME"),
    ("TIMEOUT", 8, "TIMEOUT_REALTIME"),
    ("TIMEOUT", 32, "TIMEOUT_ETIME_SUCCESS"),
    ("TIMEOUT", 64, "TIMEOUT_MULTISHOT"),
    ("TIMEOUT_REMOVE", 2, "TIMEOUT_UPDATE"),
    ("TIMEOUT_REMOVE", 16, "LINK_TIMEOUT_UPDATE"),
    ("SPLICE", 1 << 31, "SPLICE_F_FD_IN_FIXED"),
    ("ASYNC_CANCEL", 1, "ASYNC_CANCEL_ALL"),
    ("ASYNC_CANCEL", 2, "ASYNC_CANCEL_FD"),
    ("ASYNC_CANCEL", 4, "ASYNC_CANCEL_ANY"),
    ("ASYNC_CANCEL", 8, "ASYNC_CANCEL_FD_FIXED"),
    ("ASYNC_CANCEL", 16, "ASYNC_CANCEL_USERDATA"),
    ("ASYNC_CANCEL", 32, "ASYNC_CANCEL_OP"),
    ("FIXED_FD_INSTALL", 1, "FIXED_FD_NO_CLOEXEC"),
    ("MSG_RING", 1, "MSG_RING_CQE_SKIP"),
    ("MSG_RING", 2, "MSG_RING_FLAGS_PASS"),
    ("URING_CMD", 1, "URING_CMD_FIXED"),
    ("SENDRECV ioprio", 1, "RECVSEND_POLL_FIRST"),
    ("SENDRECV ioprio", 4, "RECVSEND_FIXED_BUF"),
    ("SENDRECV ioprio", 8, "SEND_ZC_REPORT_USAGE"),
    ("SENDRECV ioprio", 2, "RECV_MULTISHOT"),
    ("SENDRECV ioprio", 16, "RECVSEND_BUNDLE"),
    ("SENDRECV ioprio", 32, "SEND_VECTORIZED"),
    ("ACCEPT ioprio", 1, "ACCEPT_MULTISHOT"),
    ("ACCEPT ioprio", 2, "ACCEPT_DONTWAIT"),
    ("ACCEPT ioprio", 4, "ACCEPT_POLL_FIRST"),
];

/// The set bits of a word by name; what has no name as a number.
pub fn flag_names(word: &str, bits: u32) -> String {
    let mut rest = bits;
    let mut names: Vec<String> = Vec::new();
    for (w, b, name) in FLAGS {
        if *w == word && bits & b != 0 {
            rest &= !b;
            names.push(name.split_once('_').map_or(*name, |(_, n)| n).to_owned());
        }
    }
    if rest != 0 || names.is_empty() {
        names.push(format!("{rest:#x}"));
    }
    names.join("|")
}

/// Which word of flags `op_flags`, `len` and `ioprio` are for an opcode.
fn words_of(e: &Entry) -> [(&'static str, u32); 3] {
    let flags = match e.op {
        op::READ | op::READV | op::READ_FIXED | op::WRITE | op::WRITEV | op::WRITE_FIXED => "RW",
        op::READV_FIXED | op::WRITEV_FIXED => "RW",
        op::NOP
        | op::FSYNC
        | op::TIMEOUT
        | op::TIMEOUT_REMOVE
        | op::ASYNC_CANCEL
        | op::MSG_RING
        | op::FIXED_FD_INSTALL
        | op::URING_CMD => op_name(e.op),
        op::SPLICE | op::TEE => "SPLICE",
        _ => "",
    };
    let len = match e.op {
        op::POLL_ADD => "POLL_ADD len",
        op::POLL_REMOVE => "POLL_REMOVE len",
        _ => "",
    };
    let ioprio = match e.op {
        op::SEND | op::RECV | op::SENDMSG | op::RECVMSG | op::SEND_ZC | op::SENDMSG_ZC => {
            "SENDRECV ioprio"
        }
        op::ACCEPT => "ACCEPT ioprio",
        _ => "",
    };
    [(flags, e.op_flags), (len, e.len), (ioprio, u32::from(e.ioprio))]
}

fn named(word: &str, bits: u32, into: &mut BTreeSet<&'static str>) {
    let hits = FLAGS.iter().filter(|(w, b, _)| *w == word && bits & b != 0);
    into.extend(hits.map(|(_, _, name)| *name));
}

fn register_name(r: &Register) -> &'static str {
    match r {
        Register::Files(_) => "REGISTER_FILES",
        Register::Files2(..) | Register::Sparse(_) => "REGISTER_FILES2",
        Register::NoFiles => "UNREGISTER_FILES",
        Register::Update(..) => "REGISTER_FILES_UPDATE",
        Register::Update2(..) => "REGISTER_FILES_UPDATE2",
        Register::Range(..) => "REGISTER_FILE_ALLOC_RANGE",
        Register::Buffers(_) => "REGISTER_BUFFERS",
        Register::Buffers2(..) => "REGISTER_BUFFERS2",
        Register::BuffersUpdate(..) => "REGISTER_BUFFERS_UPDATE",
        Register::NoBuffers => "UNREGISTER_BUFFERS",
        Register::Eventfd(false) => "REGISTER_EVENTFD",
        Register::Eventfd(true) => "REGISTER_EVENTFD_ASYNC",
        Register::NoEventfd => "UNREGISTER_EVENTFD",
        Register::Probe(_) => "REGISTER_PROBE",
        Register::Enable => "REGISTER_ENABLE_RINGS",
        Register::Restrict(_) => "REGISTER_RESTRICTIONS",
        Register::Personality => "REGISTER_PERSONALITY",
        Register::NoPersonality(_) => "UNREGISTER_PERSONALITY",
        Register::Index => "REGISTER_RING_FDS",
        Register::NoIndex => "UNREGISTER_RING_FDS",
        Register::Clone(..) => "REGISTER_CLONE_BUFFERS",
        Register::Post(..) => "REGISTER_SEND_MSG_RING",
        Register::Resize(..) => "REGISTER_RESIZE_RINGS",
        Register::SyncCancel(..) => "REGISTER_SYNC_CANCEL",
        Register::Workers(..) => "REGISTER_IOWQ_MAX_WORKERS",
        Register::Affinity(Some(_)) => "REGISTER_IOWQ_AFF",
        Register::Affinity(None) => "UNREGISTER_IOWQ_AFF",
        Register::Region(..) => "REGISTER_MEM_REGION",
        Register::Bufs(..) => "REGISTER_PBUF_RING",
        Register::NoBufs(_) => "UNREGISTER_PBUF_RING",
        Register::Head(_) => "REGISTER_PBUF_STATUS",
        Register::Raw(..) | Register::MoreBufs(_) => "",
    }
}

/// The names that a program draws on.
pub fn names_in(p: &Program) -> BTreeSet<&'static str> {
    let mut names = BTreeSet::from(["ENTER_GETEVENTS", "ENTER_EXT_ARG"]);
    named("SETUP", p.setup.flags, &mut names);
    if p.setup.flags & 2 != 0 {
        names.insert("ENTER_SQ_WAKEUP");
    }
    for step in &p.steps {
        match step {
            Step::Register(r) => {
                names.insert(register_name(r));
                match r {
                    // By index from then on.
                    Register::Index => names.extend(["ENTER_REGISTERED_RING", "FEAT_REG_REG_RING"]),
                    Register::Sparse(_) => _ = names.insert("RSRC_REGISTER_SPARSE"),
                    Register::Bufs(_, 2) => _ = names.insert("PBUF_RING_INC"),
                    Register::Clone(2, ..) => _ = names.insert("REGISTER_DST_REPLACE"),
                    Register::SyncCancel(_, _, flags, _) => {
                        named("ASYNC_CANCEL", *flags, &mut names)
                    }
                    Register::Region(own, waits) => names.extend(region_names(*own, *waits)),
                    _ => {}
                }
            }
            Step::Submit { sqes, .. } => sqes.iter().for_each(|e| entry_names(e, &mut names)),
            Step::Settle | Step::Do(_) => {}
        }
    }
    names.remove("");
    names
}

/// A region of arguments is waited by from then on.
fn region_names(own: bool, waits: bool) -> impl Iterator<Item = &'static str> {
    let user = (!own).then_some("MEM_REGION_TYPE_USER");
    let args = ["MEM_REGION_REG_WAIT_ARG", "ENTER_EXT_ARG_REG", "REG_WAIT_TS"];
    user.into_iter().chain(args.into_iter().filter(move |_| waits))
}

fn entry_names(e: &Entry, names: &mut BTreeSet<&'static str>) {
    names.insert(op_name(e.op));
    named("IOSQE", u32::from(e.flags), names);
    for (word, bits) in words_of(e) {
        named(word, bits, names);
    }
    if e.file_index == u32::MAX {
        names.insert("FILE_INDEX_ALLOC");
    }
    names.remove("OP?");
}

/// The names the generator can draw, for gates that ask whether a differential covers a row.
pub const DRAWS: &[&str] = &[
    "ACCEPT",
    "ACCEPT_DONTWAIT",
    "ACCEPT_MULTISHOT",
    "ACCEPT_POLL_FIRST",
    "ASYNC_CANCEL",
    "ASYNC_CANCEL_ALL",
    "ASYNC_CANCEL_ANY",
    "ASYNC_CANCEL_FD",
    "ASYNC_CANCEL_FD_FIXED",
    "ASYNC_CANCEL_OP",
    "ASYNC_CANCEL_USERDATA",
    "BIND",
    "CLOSE",
    "CONNECT",
    "ENTER_EXT_ARG",
    "ENTER_EXT_ARG_REG",
    "ENTER_GETEVENTS",
    "ENTER_REGISTERED_RING",
    "ENTER_SQ_WAKEUP",
    "EPOLL_CTL",
    "EPOLL_WAIT",
    "FADVISE",
    "FALLOCATE",
    "FEAT_REG_REG_RING",
    "FGETXATTR",
    "FILES_UPDATE",
    "FILE_INDEX_ALLOC",
    "FIXED_FD_INSTALL",
    "FIXED_FD_NO_CLOEXEC",
    "FSETXATTR",
    "FSYNC",
    "FSYNC_DATASYNC",
    "FTRUNCATE",
    "FUTEX_WAIT",
    "FUTEX_WAITV",
    "FUTEX_WAKE",
    "GETXATTR",
    "IOSQE_ASYNC",
    "IOSQE_BUFFER_SELECT",
    "IOSQE_CQE_SKIP_SUCCESS",
    "IOSQE_FIXED_FILE",
    "IOSQE_IO_DRAIN",
    "IOSQE_IO_HARDLINK",
    "IOSQE_IO_LINK",
    "LINKAT",
    "LINK_TIMEOUT",
    "LINK_TIMEOUT_UPDATE",
    "LISTEN",
    "MADVISE",
    "MEM_REGION_REG_WAIT_ARG",
    "MEM_REGION_TYPE_USER",
    "MKDIRAT",
    "MSG_RING",
    "MSG_RING_CQE_SKIP",
    "MSG_RING_FLAGS_PASS",
    "NOP",
    "NOP_CQE32",
    "NOP_FILE",
    "NOP_FIXED_BUFFER",
    "NOP_FIXED_FILE",
    "NOP_INJECT_RESULT",
    "OPENAT",
    "OPENAT2",
    "PBUF_RING_INC",
    "PIPE",
    "POLL_ADD",
    "POLL_ADD_MULTI",
    "POLL_REMOVE",
    "POLL_UPDATE_EVENTS",
    "POLL_UPDATE_USER_DATA",
    "PROVIDE_BUFFERS",
    "READ",
    "READV",
    "READV_FIXED",
    "READ_FIXED",
    "READ_MULTISHOT",
    "RECV",
    "RECVMSG",
    "RECVSEND_BUNDLE",
    "RECVSEND_FIXED_BUF",
    "RECVSEND_POLL_FIRST",
    "RECV_MULTISHOT",
    "REGISTER_BUFFERS",
    "REGISTER_BUFFERS2",
    "REGISTER_BUFFERS_UPDATE",
    "REGISTER_CLONE_BUFFERS",
    "REGISTER_DST_REPLACE",
    "REGISTER_ENABLE_RINGS",
    "REGISTER_EVENTFD",
    "REGISTER_EVENTFD_ASYNC",
    "REGISTER_FILES",
    "REGISTER_FILES2",
    "REGISTER_FILES_UPDATE",
    "REGISTER_FILES_UPDATE2",
    "REGISTER_FILE_ALLOC_RANGE",
    "REGISTER_IOWQ_AFF",
    "REGISTER_IOWQ_MAX_WORKERS",
    "REGISTER_MEM_REGION",
    "REGISTER_PBUF_RING",
    "REGISTER_PBUF_STATUS",
    "REGISTER_PERSONALITY",
    "REGISTER_PROBE",
    "REGISTER_RESIZE_RINGS",
    "REGISTER_RESTRICTIONS",
    "REGISTER_RING_FDS",
    "REGISTER_SEND_MSG_RING",
    "REGISTER_SYNC_CANCEL",
    "REG_WAIT_TS",
    "REMOVE_BUFFERS",
    "RENAMEAT",
    "RSRC_REGISTER_SPARSE",
    "RWF_APPEND",
    "RWF_HIPRI",
    "RWF_NOWAIT",
    "SEND",
    "SENDMSG",
    "SENDMSG_ZC",
    "SEND_VECTORIZED",
    "SEND_ZC",
    "SEND_ZC_REPORT_USAGE",
    "SETUP_ATTACH_WQ",
    "SETUP_COOP_TASKRUN",
    "SETUP_CQE32",
    "SETUP_CQE_MIXED",
    "SETUP_CQSIZE",
    "SETUP_DEFER_TASKRUN",
    "SETUP_NO_SQARRAY",
    "SETUP_R_DISABLED",
    "SETUP_SINGLE_ISSUER",
    "SETUP_SQE128",
    "SETUP_SQPOLL",
    "SETUP_SUBMIT_ALL",
    "SETUP_TASKRUN_FLAG",
    "SETXATTR",
    "SHUTDOWN",
    "SOCKET",
    "SPLICE",
    "SPLICE_F_FD_IN_FIXED",
    "STATX",
    "SYMLINKAT",
    "SYNC_FILE_RANGE",
    "TEE",
    "TIMEOUT",
    "TIMEOUT_ABS",
    "TIMEOUT_BOOTTIME",
    "TIMEOUT_ETIME_SUCCESS",
    "TIMEOUT_MULTISHOT",
    "TIMEOUT_REALTIME",
    "TIMEOUT_REMOVE",
    "TIMEOUT_UPDATE",
    "UNLINKAT",
    "UNREGISTER_BUFFERS",
    "UNREGISTER_EVENTFD",
    "UNREGISTER_FILES",
    "UNREGISTER_IOWQ_AFF",
    "UNREGISTER_PBUF_RING",
    "UNREGISTER_PERSONALITY",
    "UNREGISTER_RING_FDS",
    "URING_CMD",
    "URING_CMD_FIXED",
    "WAITID",
    "WRITE",
    "WRITEV",
    "WRITEV_FIXED",
    "WRITE_FIXED",
];
