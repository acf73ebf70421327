//! What ringer does not do yet, by ABI name, and where that is settled.
//!
//! Opcodes stand without `IORING_OP_`, everything else without `IORING_` (`REGISTER_PROBE`,
//! `SETUP_CQE_MIXED`, `FEAT_RW_ATTR`, `RECV_MULTISHOT`); a gap in something that exists gets a name
//! that says it. Take a name from here with the change that carries it out: the claims that need it
//! fail until then. What it does not do: say what is supported (the engine's op table does; a test
//! compares the two).

/// Why something is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// To be carried out by this issue.
    Issue(u32),
    /// Carried out, not quite as the kernel does it; settled by this issue. A line of LIMITATIONS.md
    /// says so, too.
    Differs(u32, &'static str),
    /// Can not be had, or not at a price worth paying: a line of LIMITATIONS.md.
    Limit(&'static str),
}

impl std::fmt::Display for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Issue(n) => write!(f, "#{n}"),
            Self::Differs(n, how) => write!(f, "differs (#{n}): {how}"),
            Self::Limit(why) => write!(f, "limit: {why}"),
        }
    }
}

/// The requests and their rings.
const MACHINERY: Open = Open::Issue(4);
/// Opcodes and registrations.
const OPCODES: Open = Open::Issue(5);
/// Threads, fork and exec.
const GUESTS: Open = Open::Issue(6);

/// Every name that is open.
pub const OPEN: &[(&str, Open)] = &[
    ("SYNC_FILE_RANGE", OPCODES),
    ("SENDMSG", OPCODES),
    ("RECVMSG", OPCODES),
    ("FALLOCATE", OPCODES),
    ("FADVISE", OPCODES),
    ("MADVISE", OPCODES),
    ("SPLICE", OPCODES),
    ("PROVIDE_BUFFERS", OPCODES),
    ("REMOVE_BUFFERS", OPCODES),
    ("TEE", OPCODES),
    ("MSG_RING", MACHINERY),
    ("FSETXATTR", OPCODES),
    ("SETXATTR", OPCODES),
    ("FGETXATTR", OPCODES),
    ("GETXATTR", OPCODES),
    ("SOCKET", OPCODES),
    ("URING_CMD", OPCODES),
    ("SEND_ZC", OPCODES),
    ("SENDMSG_ZC", OPCODES),
    ("READ_MULTISHOT", OPCODES),
    ("WAITID", OPCODES),
    ("FUTEX_WAIT", OPCODES),
    ("FUTEX_WAKE", OPCODES),
    ("FUTEX_WAITV", OPCODES),
    ("FIXED_FD_INSTALL", OPCODES),
    ("FTRUNCATE", OPCODES),
    ("BIND", OPCODES),
    ("LISTEN", OPCODES),
    ("RECV_ZC", OPCODES),
    ("EPOLL_WAIT", OPCODES),
    ("READV_FIXED", OPCODES),
    ("WRITEV_FIXED", OPCODES),
    ("PIPE", OPCODES),
    // Parts of opcodes that exist.
    ("NOP_FLAGS", OPCODES),
    ("BUFFER_SELECT", OPCODES),
    ("ACCEPT_MULTISHOT", OPCODES),
    ("RECV_MULTISHOT", OPCODES),
    ("RECVSEND_BUNDLE", OPCODES),
    ("PROBE_ALL", OPCODES),
    ("SEND_VECTORIZED", OPCODES),
    ("FEAT_RW_ATTR", OPCODES),
    ("CQE_F_SOCK_NONEMPTY", Open::Limit("knowing it would cost a system call a receive")),
    // Register operations.
    ("REGISTER_PERSONALITY", MACHINERY),
    ("UNREGISTER_PERSONALITY", MACHINERY),
    ("REGISTER_RESTRICTIONS", MACHINERY),
    ("REGISTER_IOWQ_AFF", MACHINERY),
    ("UNREGISTER_IOWQ_AFF", MACHINERY),
    ("REGISTER_IOWQ_MAX_WORKERS", MACHINERY),
    ("REGISTER_RING_FDS", MACHINERY),
    ("UNREGISTER_RING_FDS", MACHINERY),
    ("REGISTER_PBUF_RING", OPCODES),
    ("UNREGISTER_PBUF_RING", OPCODES),
    ("REGISTER_SYNC_CANCEL", MACHINERY),
    ("REGISTER_PBUF_STATUS", OPCODES),
    ("REGISTER_NAPI", MACHINERY),
    ("UNREGISTER_NAPI", MACHINERY),
    ("REGISTER_CLOCK", MACHINERY),
    ("REGISTER_CLONE_BUFFERS", MACHINERY),
    ("REGISTER_SEND_MSG_RING", MACHINERY),
    ("REGISTER_ZCRX_IFQ", OPCODES),
    ("REGISTER_RESIZE_RINGS", MACHINERY),
    ("REGISTER_MEM_REGION", MACHINERY),
    ("REGISTER_USE_REGISTERED_RING", MACHINERY),
    // Flags of rings and of enter.
    ("SETUP_REGISTERED_FD_ONLY", MACHINERY),
    ("SETUP_CQE_MIXED", MACHINERY),
    ("FEAT_REG_REG_RING", MACHINERY),
    ("ENTER_REGISTERED_RING", MACHINERY),
    ("ENTER_EXT_ARG_REG", MACHINERY),
    // What is there and differs.
    ("RING_INODE", Open::Limit("a ring's descriptor is a pipe to whoever looks")),
    ("PINNED_BUFFERS", Open::Limit("memory of registered buffers is not pinned")),
    ("RING_MREMAP", Open::Limit("a mapping of a ring can grow")),
    ("RECV_WAITALL_TRUNC", Open::Differs(5, "a datagram that was cut does not break a chain")),
    ("POLL_SQ_FULL", Open::Differs(4, "a ring always polls OUT")),
    ("POLL_WAKE_MASK", Open::Differs(4, "a multishot poll reports what holds")),
    ("POLL_OWN_RING", Open::Differs(4, "a poll of its own ring never fires")),
    ("POLL_DEFERRED", Open::Differs(4, "poll(2) does not see work that is not posted, epoll does")),
    ("ATTACH_WQ_SQPOLL", Open::Differs(4, "a ring that is attached gets a thread of its own")),
    ("SUBMITTER_GONE", Open::Differs(6, "requests outlive the thread that submitted them")),
    ("RING_IN_A_CHILD", GUESTS),
    ("RING_ACROSS_EXEC", GUESTS),
];

/// Why the first of `needs` that is open is so; `None` when all are carried out.
pub fn of(needs: &[&str]) -> Option<Open> {
    needs.iter().find_map(|n| OPEN.iter().find(|(name, _)| name == n)).map(|(_, why)| *why)
}
