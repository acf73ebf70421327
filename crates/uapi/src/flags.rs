//! Flag sets whose unknown bits stay visible, so that they can be refused.
#![allow(missing_docs, reason = "the constants are named as in the header, which documents them")]
use bitflags::bitflags;

bitflags! {
    /// `IOSQE_*`: bits of `sqe->flags`. 6.18 knows seven.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SqeFlags: u8 {
        /// `fd` is an index into the registered files.
        const FIXED_FILE = 1 << 0;
        /// Start after everything submitted before has completed.
        const IO_DRAIN = 1 << 1;
        /// The next entry starts when this one succeeded.
        const IO_LINK = 1 << 2;
        /// The next entry starts when this one ended.
        const IO_HARDLINK = 1 << 3;
        /// Skip the inline attempt.
        const ASYNC = 1 << 4;
        /// Take a buffer from group `buf_index`.
        const BUFFER_SELECT = 1 << 5;
        /// Post nothing on success.
        const CQE_SKIP_SUCCESS = 1 << 6;
    }

    /// `IORING_SETUP_*`. Bits 0..=18 exist in 6.18, the last two in newer kernels.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]

    pub struct Setup: u32 {
        const IOPOLL = 1 << 0;
        const SQPOLL = 1 << 1;
        const SQ_AFF = 1 << 2;
        const CQSIZE = 1 << 3;
        const CLAMP = 1 << 4;
        const ATTACH_WQ = 1 << 5;
        const R_DISABLED = 1 << 6;
        const SUBMIT_ALL = 1 << 7;
        const COOP_TASKRUN = 1 << 8;
        const TASKRUN_FLAG = 1 << 9;
        const SQE128 = 1 << 10;
        const CQE32 = 1 << 11;
        const SINGLE_ISSUER = 1 << 12;
        const DEFER_TASKRUN = 1 << 13;
        const NO_MMAP = 1 << 14;
        const REGISTERED_FD_ONLY = 1 << 15;
        const NO_SQARRAY = 1 << 16;
        const HYBRID_IOPOLL = 1 << 17;
        const CQE_MIXED = 1 << 18;
        const SQE_MIXED = 1 << 19;
        const SQ_REWIND = 1 << 20;
    }

    /// `IORING_ENTER_*`. 6.18 knows eight.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]

    pub struct Enter: u32 {
        const GETEVENTS = 1 << 0;
        const SQ_WAKEUP = 1 << 1;
        const SQ_WAIT = 1 << 2;
        const EXT_ARG = 1 << 3;
        const REGISTERED_RING = 1 << 4;
        const ABS_TIMER = 1 << 5;
        const EXT_ARG_REG = 1 << 6;
        const NO_IOWAIT = 1 << 7;
    }

    /// `IORING_FEAT_*`: what 6.18 reports.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]

    pub struct Features: u32 {
        const SINGLE_MMAP = 1 << 0;
        const NODROP = 1 << 1;
        const SUBMIT_STABLE = 1 << 2;
        const RW_CUR_POS = 1 << 3;
        const CUR_PERSONALITY = 1 << 4;
        const FAST_POLL = 1 << 5;
        const POLL_32BITS = 1 << 6;
        const SQPOLL_NONFIXED = 1 << 7;
        const EXT_ARG = 1 << 8;
        const NATIVE_WORKERS = 1 << 9;
        const RSRC_TAGS = 1 << 10;
        const CQE_SKIP = 1 << 11;
        const LINKED_FILE = 1 << 12;
        const REG_REG_RING = 1 << 13;
        const RECVSEND_BUNDLE = 1 << 14;
        const MIN_TIMEOUT = 1 << 15;
        const RW_ATTR = 1 << 16;
        const NO_IOWAIT = 1 << 17;
    }

    /// Bits of the SQ ring's flags word, written by the engine.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]

    pub struct SqRing: u32 {
        const NEED_WAKEUP = 1 << 0;
        const CQ_OVERFLOW = 1 << 1;
        const TASKRUN = 1 << 2;
    }

    /// Bits of the CQ ring's flags word, written by the program.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]

    pub struct CqRing: u32 {
        const EVENTFD_DISABLED = 1 << 0;
    }

    /// `IORING_CQE_F_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]

    pub struct CqeFlags: u32 {
        const BUFFER = 1 << 0;
        const MORE = 1 << 1;
        const SOCK_NONEMPTY = 1 << 2;
        const NOTIF = 1 << 3;
        const BUF_MORE = 1 << 4;
        const SKIP = 1 << 5;
        const F_32 = 1 << 15;
    }
}
