//! The op table: one row an opcode, in ABI order.
//!
//! A row is facts plus the typed state that `prep` makes and `issue` runs. From the rows come the
//! probe, the support table, the names in stats and trace, and the dispatch below. Adding an
//! opcode is one file and one row (CONTRIBUTING.md).
//!
//! What it does not do: run anything. Order of checks: 6.18 io_uring.c `io_init_req`.

use super::{
    accept, async_cancel, connect, epoll, files_update, fs, fsync, nop, openclose, poll, rw,
    sendrecv, shutdown, statx, timeout,
};
use crate::host::{Host, Iovec};
use crate::policy::Policy;
use crate::resource::rsrc::BufTable;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, OP_COUNT, Sqe};

/// How far an opcode is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Everything that 6.18 does.
    Full,
    /// With a gap, named here.
    Partial(&'static str),
    /// Not at all: the probe says unsupported and a request gets `EINVAL`.
    None,
}

/// The facts of one opcode (the kernel's `io_issue_def` and `io_cold_def`).
#[derive(Clone, Copy, Debug)]
pub struct OpDef {
    /// Name without `IORING_OP_`.
    pub name: &'static str,
    /// `fd` names a file (or a slot).
    pub needs_file: bool,
    /// A request that cannot run now waits for this (`EPOLL*` bits); 0 for none.
    pub poll: u32,
    /// `ioprio` has a meaning.
    pub ioprio: bool,
    /// `IOSQE_BUFFER_SELECT` has a meaning.
    pub buffer_select: bool,
    /// Allowed on an IOPOLL ring.
    pub iopoll: bool,
    /// Always goes to a worker.
    pub force_async: bool,
    /// Runs under the ring's lock on the ring's own state, never in a worker.
    pub ring_op: bool,
    /// See [`Support`].
    pub support: Support,
}

impl OpDef {
    /// A row to start from.
    pub const BASE: Self = Self {
        name: "",
        needs_file: false,
        poll: 0,
        ioprio: false,
        buffer_select: false,
        iopoll: false,
        force_async: false,
        ring_op: false,
        support: Support::Full,
    };
    /// Whether an ordinary request is first tried on the submitter, without state of its ring.
    #[inline]
    pub const fn inline_first(&self) -> bool {
        !self.ring_op && !self.force_async && !matches!(self.support, Support::None)
    }

    const ABSENT: Self = Self { name: "?", support: Support::None, ..Self::BASE };
    const FILE: Self = Self { needs_file: true, ..Self::BASE };
    const WORKER: Self = Self { force_async: true, ..Self::BASE };
    const RING: Self = Self { ring_op: true, ..Self::BASE };
}

/// Whether an issue may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issue {
    /// On the submitter or a leader: must not block.
    Inline,
    /// On a worker: blocks until done.
    Worker,
}

/// What one attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished: result and CQE flags.
    Done(Result<i32, Errno>, u32),
    /// A result, and the request goes on (multishot): result and CQE flags without MORE.
    More(i32, u32),
    /// Not now: wait for the row's poll events, or go to a worker if the file cannot be polled.
    Again,
    /// Not inline: a worker must do it.
    Punt,
    /// A descriptor was made in the calling thread's table: put it into this slot of the table.
    Direct {
        /// The descriptor.
        fd: i32,
        /// Slot, or [`ringer_uapi::FILE_INDEX_ALLOC`].
        slot: u32,
    },
    /// Somebody else completes it (the ring's own structures hold it).
    Queued,
}

impl From<Result<i32, Errno>> for Outcome {
    fn from(r: Result<i32, Errno>) -> Self {
        Self::Done(r, 0)
    }
}

impl From<Result<(), Errno>> for Outcome {
    fn from(r: Result<(), Errno>) -> Self {
        Self::Done(r.map(|()| 0), 0)
    }
}

/// What `prep` may look at.
#[derive(Debug)]
pub struct PrepCx<'a, H: Host> {
    /// For copying what the SQE points to.
    pub host: &'a H,
    /// The registered buffers.
    pub bufs: Option<&'a BufTable>,
    /// The SQE flags, known bits only.
    pub flags: SqeFlags,
    /// Whether the entry before this one is linked to it and may carry a linked timeout.
    pub after_link: bool,
}

/// What `issue` may look at.
#[derive(Debug)]
pub struct IssueCx<'a, H: Host> {
    /// For the calls.
    pub host: &'a H,
    /// The file's number in this thread's table (needs_file rows), or the SQE's `fd`.
    pub fd: i32,
    /// What kind of file it is, where that is known without a call (registered, held).
    pub kind: Option<crate::host::FileKind>,
    /// Whether it may block.
    pub how: Issue,
    /// Whether the ring was set up with IOPOLL.
    pub iopoll: bool,
    /// How much of a transfer to attempt.
    pub policy: &'a dyn Policy,
}

/// An opcode's typed state.
pub trait Op: Sized {
    /// Copies what the request needs out of the SQE; touches no file.
    ///
    /// # Errors
    /// A submission error, posted as the request's CQE.
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno>;
    /// One attempt. Rows with `ring_op` are issued by their own modules instead.
    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome;
    /// The first attempt on the submitter, for the submission loop to inline where that pays.
    #[inline(always)]
    fn issue_first<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        self.issue(cx)
    }
}

/// A state of whatever row the entry names.
impl Op for Cmd {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        Self::prep_row(cx, sqe)
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        self.issue_row(cx)
    }
}

macro_rules! op_table {
    ($($n:literal => $v:ident($t:ty) = $def:expr;)+) => {
        /// The state of a request: one variant a row.
        #[derive(Debug)]
        #[allow(missing_docs, reason = "the names are the opcodes'")]
        pub enum Cmd { $($v($t),)+ }

        /// The rows by opcode.
        pub static OPDEFS: [OpDef; OP_COUNT] = {
            let mut t = [OpDef::ABSENT; OP_COUNT];
            $(t[$n] = $def;)+
            t
        };

        impl Cmd {
            /// Runs the row's `prep`.
            ///
            /// # Errors
            /// A submission error; `EINVAL` for an opcode without a row.
            pub fn prep_row<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
                match sqe.opcode {
                    $($n => <$t as Op>::prep(cx, sqe).map(Self::$v),)+
                    _ => Err(Errno::EINVAL),
                }
            }

            /// Runs the row's `issue`.
            pub fn issue_row<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
                match self { $(Self::$v(x) => Op::issue(x, cx),)+ }
            }
        }
    };
}

const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;
const READ: OpDef = OpDef { poll: POLLIN, ioprio: true, iopoll: true, ..OpDef::FILE };
const WRITE: OpDef = OpDef { poll: POLLOUT, ioprio: true, iopoll: true, ..OpDef::FILE };
const NO_SELECT: Support = Support::Partial("no IOSQE_BUFFER_SELECT yet");

op_table! {
    0 => Nop(nop::Nop) = OpDef {
        name: "NOP", iopoll: true,
        support: Support::Partial("flags: INJECT_RESULT and TW only"), ..OpDef::BASE
    };
    1 => Readv(rw::Rw) = OpDef { name: "READV", support: NO_SELECT, ..READ };
    2 => Writev(rw::Rw) = OpDef { name: "WRITEV", ..WRITE };
    3 => Fsync(fsync::Fsync) = OpDef {
        name: "FSYNC", force_async: true,
        support: Support::Partial("a range is widened to the whole file"), ..OpDef::FILE
    };
    4 => ReadFixed(rw::Rw) = OpDef { name: "READ_FIXED", ..READ };
    5 => WriteFixed(rw::Rw) = OpDef { name: "WRITE_FIXED", ..WRITE };
    6 => PollAdd(poll::PollAdd) = OpDef {
        name: "POLL_ADD", needs_file: true,
        support: Support::Partial("a multishot reports what holds, not what woke it"),
        ..OpDef::RING
    };
    7 => PollRemove(poll::PollRemove) = OpDef { name: "POLL_REMOVE", ..OpDef::RING };
    11 => Timeout(timeout::Timeout) = OpDef { name: "TIMEOUT", ..OpDef::RING };
    12 => TimeoutRemove(timeout::TimeoutRemove)
        = OpDef { name: "TIMEOUT_REMOVE", ..OpDef::RING };
    13 => Accept(accept::Accept) = OpDef {
        name: "ACCEPT", poll: POLLIN, ioprio: true,
        support: Support::Partial("no multishot yet"), ..OpDef::FILE
    };
    14 => AsyncCancel(async_cancel::AsyncCancel) = OpDef { name: "ASYNC_CANCEL", ..OpDef::RING };
    15 => LinkTimeout(timeout::LinkTimeout) = OpDef { name: "LINK_TIMEOUT", ..OpDef::RING };
    16 => Connect(connect::Connect) = OpDef { name: "CONNECT", poll: POLLOUT, ..OpDef::FILE };
    18 => Openat(openclose::Open) = OpDef { name: "OPENAT", ..OpDef::BASE };
    19 => Close(openclose::Close) = OpDef { name: "CLOSE", ..OpDef::RING };
    20 => FilesUpdate(files_update::FilesUpdate)
        = OpDef { name: "FILES_UPDATE", iopoll: true, ..OpDef::RING };
    21 => Statx(statx::Statx) = OpDef { name: "STATX", ..OpDef::WORKER };
    22 => Read(rw::Rw) = OpDef { name: "READ", support: NO_SELECT, ..READ };
    23 => Write(rw::Rw) = OpDef { name: "WRITE", ..WRITE };
    26 => Send(sendrecv::Send) = OpDef {
        name: "SEND", poll: POLLOUT, ioprio: true,
        support: Support::Partial("no buffer select, bundle or vectorised send yet"), ..OpDef::FILE
    };
    27 => Recv(sendrecv::Recv) = OpDef {
        name: "RECV", poll: POLLIN, ioprio: true,
        support: Support::Partial("no buffer select or multishot yet"), ..OpDef::FILE
    };
    28 => Openat2(openclose::Open) = OpDef { name: "OPENAT2", ..OpDef::BASE };
    29 => EpollCtl(epoll::EpollCtl) = OpDef { name: "EPOLL_CTL", ..OpDef::BASE };
    34 => Shutdown(shutdown::Shutdown) = OpDef { name: "SHUTDOWN", force_async: true, ..OpDef::FILE };
    35 => Renameat(fs::Rename) = OpDef { name: "RENAMEAT", ..OpDef::WORKER };
    36 => Unlinkat(fs::Unlink) = OpDef { name: "UNLINKAT", ..OpDef::WORKER };
    37 => Mkdirat(fs::Mkdir) = OpDef { name: "MKDIRAT", ..OpDef::WORKER };
    38 => Symlinkat(fs::Symlink) = OpDef { name: "SYMLINKAT", ..OpDef::WORKER };
    39 => Linkat(fs::Link) = OpDef { name: "LINKAT", ..OpDef::WORKER };
}

/// The row of an opcode; `None` above the last one of 6.18.
#[inline]
pub fn opdef(opcode: u8) -> Option<&'static OpDef> {
    OPDEFS.get(opcode as usize)
}

/// Checks that a user range lies below the user address space's end, as `access_ok` does.
///
/// # Errors
/// `EFAULT`.
pub fn access_ok(v: Iovec) -> Result<Iovec, Errno> {
    /// `TASK_SIZE_MAX` on x86-64 with four-level page tables.
    const TASK_SIZE_MAX: u64 = (1 << 47) - 4096;
    match v.base.checked_add(v.len) {
        Some(end) if end <= TASK_SIZE_MAX => Ok(v),
        _ => Err(Errno::EFAULT),
    }
}

// A command is moved a few times on its way into a request: keep it within a cache line.
const _: () = assert!(size_of::<Cmd>() <= 72);
