//! The rows of what belongs to rings and to every entry: setup, enter, SQE and CQE flags, features.
//!
//! Each set is complete: a bit that the header knows and no row names does not compile.

use super::Support::{Full, Partial, Refused};
use super::row::{Row, accepted, carried_out, flag_rows};
use ringer_uapi::Errno;
use ringer_uapi::flags::{CqRing, CqeFlags, Enter, Features, Setup, SqRing, SqeFlags};

const IOPOLL: &str = "files opened with O_DIRECT only; completes inside GETEVENTS";
const DEFER: &str = "TASKRUN is set a moment after the event";
const NEWER: &str = "newer than 6.18, which refuses it too";

/// `IORING_SETUP_*`.
pub const SETUP: &[Row] = flag_rows! { Setup "SETUP_":
    IOPOLL (5, 1) Partial(IOPOLL);
    SQPOLL (5, 1) Full;
    SQ_AFF (5, 1) Full;
    CQSIZE (5, 5) Full;
    CLAMP (5, 6) Full;
    ATTACH_WQ (5, 6) Full;
    R_DISABLED (5, 10) Full;
    SUBMIT_ALL (5, 18) Full;
    COOP_TASKRUN (5, 19) Full;
    TASKRUN_FLAG (5, 19) Full;
    SQE128 (5, 19) Full;
    CQE32 (5, 19) Full;
    SINGLE_ISSUER (6, 0) Full;
    DEFER_TASKRUN (6, 1) Partial(DEFER);
    NO_MMAP (6, 5) Partial("at most 1,024 regions of private memory a process, then ENOMEM");
    REGISTERED_FD_ONLY (6, 5) Partial("as NO_MMAP");
    NO_SQARRAY (6, 6) Full;
    HYBRID_IOPOLL (6, 13) Partial(IOPOLL);
    CQE_MIXED (6, 18) Full;
    SQE_MIXED (6, 19) Refused(Errno::EINVAL, NEWER);
    SQ_REWIND (7, 0) Refused(Errno::EINVAL, NEWER);
};

/// `IORING_ENTER_*`.
pub const ENTER: &[Row] = flag_rows! { Enter "ENTER_":
    GETEVENTS (5, 1) Full;
    SQ_WAKEUP (5, 1) Full;
    SQ_WAIT (5, 10) Full;
    EXT_ARG (5, 11) Full;
    REGISTERED_RING (5, 18) Full;
    ABS_TIMER (6, 12) Full;
    EXT_ARG_REG (6, 13) Full;
    NO_IOWAIT (6, 15) Full;
};

/// `IORING_FEAT_*`.
pub const FEATURES: &[Row] = flag_rows! { Features "FEAT_":
    SINGLE_MMAP (5, 4) Full;
    NODROP (5, 5) Full;
    SUBMIT_STABLE (5, 5) Full;
    RW_CUR_POS (5, 6) Full;
    CUR_PERSONALITY (5, 6) Full;
    FAST_POLL (5, 7) Full;
    POLL_32BITS (5, 9) Full;
    SQPOLL_NONFIXED (5, 11) Full;
    EXT_ARG (5, 11) Full;
    NATIVE_WORKERS (5, 12) Full;
    RSRC_TAGS (5, 13) Full;
    CQE_SKIP (5, 17) Full;
    LINKED_FILE (5, 17) Full;
    REG_REG_RING (6, 3) Full;
    RECVSEND_BUNDLE (6, 10) Full;
    MIN_TIMEOUT (6, 12) Full;
    RW_ATTR (6, 14) Refused(Errno::EINVAL, "files that a program can open take no PI attributes");
    NO_IOWAIT (6, 15) Full;
};

/// `IOSQE_*`.
pub const SQE: &[Row] = flag_rows! { SqeFlags "IOSQE_":
    FIXED_FILE (5, 1) Full;
    IO_DRAIN (5, 2) Full;
    IO_LINK (5, 3) Full;
    IO_HARDLINK (5, 5) Full;
    ASYNC (5, 6) Full;
    BUFFER_SELECT (5, 7) Full;
    CQE_SKIP_SUCCESS (5, 17) Full;
};

/// `IORING_CQE_F_*`.
pub const CQE: &[Row] = flag_rows! { CqeFlags "CQE_F_":
    BUFFER (5, 7) Full;
    MORE (5, 13) Full;
    SOCK_NONEMPTY (5, 19) Partial("not on a RECV or RECVMSG that was ready at once, which is one system call");
    NOTIF (6, 0) Full;
    BUF_MORE (6, 12) Full;
    SKIP (6, 18) Full;
    F_32 as "CQE_F_32" (6, 18) Full;
};

/// `IORING_SQ_*`.
pub const SQ_RING: &[Row] = flag_rows! { SqRing "SQ_":
    NEED_WAKEUP (5, 1) Full;
    CQ_OVERFLOW (5, 8) Full;
    TASKRUN (5, 19) Full;
};

/// `IORING_CQ_*`.
pub const CQ_RING: &[Row] = flag_rows! { CqRing "CQ_":
    EVENTFD_DISABLED (5, 8) Full;
};

/// What setup lets in.
pub const SETUP_ACCEPTED: u32 = accepted(SETUP);
/// What enter lets in.
pub const ENTER_ACCEPTED: u32 = accepted(ENTER);
/// What an entry's flags may hold.
pub const SQE_ACCEPTED: u8 = accepted(SQE) as u8;
/// The features word.
pub const FEATURES_REPORTED: u32 = carried_out(FEATURES);

/// The bits that rows name.
const fn named(rows: &[Row]) -> u64 {
    let (mut mask, mut i) = (0, 0);
    while i < rows.len() {
        mask |= rows[i].value;
        i += 1;
    }
    mask
}

const _: () = assert!(named(SETUP) == Setup::all().bits() as u64);
const _: () = assert!(named(ENTER) == Enter::all().bits() as u64);
const _: () = assert!(named(FEATURES) == Features::all().bits() as u64);
const _: () = assert!(named(SQE) == SqeFlags::all().bits() as u64);
const _: () = assert!(named(CQE) == CqeFlags::all().bits() as u64);
const _: () = assert!(named(SQ_RING) == SqRing::all().bits() as u64);
const _: () = assert!(named(CQ_RING) == CqRing::all().bits() as u64);
