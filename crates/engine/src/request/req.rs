//! One request: what it keeps between its SQE and its last CQE.
//!
//! ```text
//!  Fresh --issue--> Done
//!    |--Again--> Polled --event, issue again--> Done
//!    |--Punt--> Queued --worker--> Running --> Done | Polled
//!    |--Aio---> Aio --the host's event--> Done | Queued
//!    |--Ahead-> Ahead --its pages are there--> Done
//!    '--ring op--> Timer | Waiting --> Done
//! ```
//!
//! What it does not do: run. `start.rs` issues, `complete.rs` ends.

use super::Notif;
use super::apoll::EPOLLERR;
use super::waiter::Wait;
use crate::host::{FileKind, Host, HostFile};
use crate::opcode::rw::Rw;
use crate::opcode::sendrecv::Transfer;
use crate::opcode::{Cmd, OpDef, opdef};
use crate::policy::Fate;
use crate::resource::filetable::FileNode;
use crate::resource::kbuf::Kept;
use crate::resource::personality::Creds;
use crate::resource::rsrc::BufNode;
use crate::ring::{Note, Ring};
use crate::slab::Key;
use crate::trace::Trail;
use alloc::boxed::Box;
use alloc::sync::Arc;
use ringer_uapi::Errno;
use ringer_uapi::flags::SqeFlags;

/// The file of a request, as far as it was looked up.
#[derive(Debug)]
pub enum ReqFile<H: Host> {
    /// Not looked up: an inline request on a plain descriptor uses its number.
    None,
    /// Held for a request on a plain descriptor that waits.
    Held(H::File),
    /// A registered file, shared with its slot.
    Node(Arc<FileNode<H>>),
}

impl<H: Host> ReqFile<H> {
    /// The file, if one is held.
    pub fn file(&self) -> Option<&H::File> {
        match self {
            Self::None => None,
            Self::Held(f) => Some(f),
            Self::Node(n) => Some(&n.file),
        }
    }

    /// What kind of file is held.
    pub fn kind(&self) -> Option<FileKind> {
        self.file().map(HostFile::kind)
    }
}

/// Where a request is. See the module's picture.
#[derive(Debug)]
pub enum Phase<H: Host> {
    /// Not started, or being issued.
    Fresh,
    /// Waiting for readiness in a watch.
    Polled(Key),
    /// In the worker queue.
    Queued,
    /// On a worker, whose thread can be interrupted; one that only tries what does not block surely
    /// comes back.
    Running {
        /// The worker.
        thread: Option<Arc<H::Thread>>,
        /// The attempt cannot block.
        tries: bool,
        /// It blocks where the kernel waits by poll: a cancel of it is certain.
        polls: bool,
    },
    /// The host carries it out: nothing ends it before its time.
    Aio,
    /// It reads what the disk is to bring: nothing ends it before its time.
    Ahead,
    /// Waiting for a time (the key of the timer heap), `None` for a timeout that only counts.
    Timer(Option<(u64, u64)>),
    /// In a call that a waiter makes for it.
    Waiting(Arc<Wait<H>>),
    /// Finished by a thread that may not post on this ring (DEFER_TASKRUN).
    Deferred,
}

/// The linked timeout of a request.
#[derive(Debug)]
pub enum Linked<H: Host> {
    /// None.
    None,
    /// Its request has not had to wait yet.
    Unarmed(Box<Req<H>>),
    /// Ticking, as a request of its own.
    Armed(Key),
}

/// See the module's doc.
#[derive(Debug)]
pub struct Req<H: Host> {
    /// Handed back in the CQE.
    pub user_data: u64,
    /// `IORING_OP_*`, known.
    pub opcode: u8,
    /// Known bits only, and of a refused entry those that were taken up.
    pub flags: SqeFlags,
    /// The SQE's descriptor or slot.
    pub fd: i32,
    /// The typed state; out while a worker runs it.
    pub cmd: Option<Cmd>,
    /// See [`ReqFile`].
    pub file: ReqFile<H>,
    /// The file that it takes from (SPLICE, TEE), once it goes to a worker.
    pub input: Option<Box<ReqFile<H>>>,
    /// The registered buffer it uses.
    pub buf: Option<Arc<BufNode>>,
    /// The provided buffer it has until it completes.
    pub kbuf: Option<Box<Kept>>,
    /// The group that it selects one of, with BUFFER_SELECT.
    pub buf_group: u16,
    /// The rest of the chain.
    pub next: Option<Box<Req<H>>>,
    /// A submission error found while the chain was gathered.
    pub failed: Option<Errno>,
    /// Whose rights it has, if not its submitter's.
    pub creds: Option<Box<Creds<H>>>,
    /// See [`Linked`].
    pub linked: Linked<H>,
    /// See [`Notif`].
    pub notif: Notif,
    /// See [`Phase`].
    pub phase: Phase<H>,
    /// The request this linked timeout belongs to.
    pub head: Option<Key>,
    /// It was cancelled while a worker tried it: it must not start to wait.
    pub cancelled: bool,
    /// Its file looks ready and is not: a worker waits for it (poll.c `APOLL_MAX_RETRY`).
    pub gave_up: bool,
    /// Nothing of it was tried, and its linked timeout does not run (io_uring.c `__io_issue_sqe`): a
    /// worker is to be the first, who ends it or finds that it can be polled; a multishot is polled first.
    pub untried: bool,
    /// It is cancelled with a chain that tells nothing.
    pub hushed: bool,
    /// The kernel runs it on a worker, where a cancel finds itself: it asked for one, was held back by
    /// a drain, or follows what a worker did.
    pub on_worker: bool,
    /// The thread that submitted it.
    pub task: u32,
    /// For the other processes that have the ring: that it is owed.
    pub(crate) note: Option<Note<H>>,
    /// Its name in a trace, and how it ran.
    pub trail: Trail,
    /// What a policy does to it.
    pub fate: Option<Box<Fate>>,
}

impl<H: Host> Req<H> {
    /// Its row.
    #[inline]
    pub fn def(&self) -> &'static OpDef {
        opdef(self.opcode).unwrap_or(&OpDef::BASE)
    }

    /// What it waits for when it cannot go on now (`EPOLL*` bits).
    #[inline]
    pub fn waits_for(&self) -> u32 {
        if matches!(self.cmd, Some(Cmd::UringCmd(_))) { EPOLLERR } else { self.def().poll }
    }

    /// Whether a result that is no error does not end it.
    pub fn goes_on(&self) -> bool {
        matches!(&self.cmd, Some(Cmd::Accept(c)) if c.is_multishot())
    }

    /// The file that it takes from, if it is held.
    pub fn input(&self) -> Option<&H::File> {
        self.input.as_ref().and_then(|f| f.file())
    }

    /// Whether it goes to a worker before anything is tried.
    pub fn starts_on_worker(&self) -> bool {
        self.def().force_async
            || self.cmd.as_ref().is_some_and(Self::blocks)
            || self.flags.contains(SqeFlags::ASYNC)
            || self.on_worker && self.is_nowait()
    }

    /// Whether this of an opcode that is tried first blocks all the same.
    fn blocks(cmd: &Cmd) -> bool {
        match cmd {
            Cmd::Fadvise(c) => c.blocks(),
            Cmd::Bind(c) => c.blocks(),
            _ => false,
        }
    }

    /// Whether it is a receive that nothing else hangs on: that it ended is all there is to tell.
    #[inline]
    pub(super) fn is_bare(&self) -> bool {
        matches!(&self.cmd, Some(Cmd::Recv(c)) if c.is_plain())
            && self.flags.bits() & !SqeFlags::FIXED_FILE.bits() == 0
            && !self.on_worker
            && self.failed.is_none()
            && self.next.is_none()
            && self.kbuf.is_none()
            && self.fate.is_none()
            && matches!(self.linked, Linked::None)
    }

    /// Its state, if it reads or writes a file.
    pub(super) fn rw(&self) -> Option<&Rw> {
        self.cmd.as_ref().and_then(Cmd::rw)
    }

    /// The same, to go on with it.
    pub(super) fn rw_mut(&mut self) -> Option<&mut Rw> {
        self.cmd.as_mut().and_then(Cmd::rw_mut)
    }

    /// Whether it can wait by poll for its file.
    pub(super) fn is_pollable(&self) -> bool {
        let never = |kind| matches!(kind, FileKind::Regular | FileKind::Directory);
        self.def().poll != 0 && !self.gave_up && self.file.kind().is_some_and(|kind| !never(kind))
    }

    /// Whether it carries `RWF_NOWAIT`, which means nothing on a worker.
    pub(super) fn is_nowait(&self) -> bool {
        self.rw().is_some_and(Rw::is_nowait)
    }

    /// Whether it is on a worker only because its file has no number elsewhere: what it must not
    /// wait for there it must not wait for here.
    pub fn is_tried_first(&self) -> bool {
        self.is_nowait() && !self.starts_on_worker()
    }

    /// A worker of the kernel's goes on with it, which waits in the call and not for a poll: what asks
    /// for one first is `EAGAIN` (io_uring.c `io_wq_submit_work`).
    pub fn follow_worker(&mut self) {
        if core::mem::replace(&mut self.on_worker, true) {
            return;
        }
        match &mut self.cmd {
            Some(Cmd::Accept(c)) => c.never_poll(),
            Some(cmd) => {
                if let Some(transfer) = cmd.transfer_mut() {
                    transfer.never_poll();
                } else if let Some(rw) = cmd.rw_mut() {
                    rw.follow_worker();
                }
            }
            None => {}
        }
    }

    /// Whether it ends on a worker of the kernel's, which tells of it and goes on with the chain. An
    /// error that issue returns instead of storing it ends in task work (io_uring.c
    /// `io_wq_submit_work`, rw.c `io_rw_done`), and so does what is cancelled.
    pub fn ends_on_worker(&self, res: Result<i32, Errno>) -> bool {
        self.runs_on_worker() && !self.told(res).is_err_and(|e| self.returns(e))
    }

    /// Whether a worker tells of its end: on a ring that defers, the owner of whatever it came to.
    pub(super) fn is_told_by_worker(&self, ring: &Ring<H>, res: Result<i32, Errno>) -> bool {
        if ring.defers() { self.runs_on_worker() } else { self.ends_on_worker(res) }
    }

    /// Whether the kernel, which polls for most of what it does not get at once, ends up with it on a
    /// worker: a write to an eventfd, which has no way to be tried, and a unix listener without room.
    pub fn polls_in_vain(&self) -> bool {
        match &self.cmd {
            Some(Cmd::Connect(c)) => !c.polls(),
            _ => self.rw().is_some_and(Rw::is_write),
        }
    }

    /// Whether the kernel has it on a worker now.
    pub fn runs_on_worker(&self) -> bool {
        self.on_worker && self.failed.is_none() && matches!(self.phase, Phase::Fresh)
    }

    /// Whether it needs a file and none was found: an error of the call may be the same.
    fn lacks_file(&self) -> bool {
        self.def().needs_file && matches!(self.file, ReqFile::None)
    }

    /// Whether issue returns this error.
    pub(super) fn returns(&self, e: Errno) -> bool {
        match &self.cmd {
            Some(Cmd::PollRemove(_)) => true,
            // io_uring.c `io_issue_sqe`: there is no such file.
            _ if e == Errno::EBADF && self.lacks_file() => true,
            // Of the operations on sockets these look for theirs first.
            Some(Cmd::Shutdown(_) | Cmd::Bind(_) | Cmd::Listen(_)) => e == Errno::ENOTSOCK,
            Some(Cmd::SendZc(c) | Cmd::SendmsgZc(c)) => match e {
                Errno::ENOTSOCK | Errno::EOPNOTSUPP => true,
                Errno::EFAULT => !c.faulted(),
                _ => false,
            },
            Some(cmd) if cmd.transfer().is_some() => e == Errno::ENOTSOCK,
            _ => self.rw().is_some(),
        }
    }

    /// Whether the kernel has its work among what is bounded (io_uring.c `io_prep_async_work`): what
    /// is for regular files and block devices, or may be for no file at all.
    pub fn is_bounded(&self) -> bool {
        // opdef.c `unbound_nonreg_file`.
        const TRANSFERS: [u8; 23] =
            [1, 2, 4, 5, 6, 9, 10, 13, 16, 22, 23, 26, 27, 29, 30, 33, 47, 48, 49, 58, 59, 60, 61];
        self.file.kind() == Some(FileKind::Regular) || !TRANSFERS.contains(&self.opcode)
    }

    /// Whether it goes on after a completion, by armed poll.
    pub fn is_multishot(&self) -> bool {
        match &self.cmd {
            Some(Cmd::ReadMultishot(_)) => true,
            Some(Cmd::Recv(c)) => c.is_multishot(),
            Some(Cmd::Recvmsg(c)) => c.is_multishot(),
            Some(Cmd::Send(c)) => c.is_bundle(),
            _ => false,
        }
    }

    /// Whether others are to run before it goes on.
    pub fn yields(&mut self) -> bool {
        match &mut self.cmd {
            Some(Cmd::Recv(c)) => c.yields(),
            _ => false,
        }
    }

    /// Whether its file has a watch already, which others share.
    pub fn is_watched(&self) -> bool {
        matches!(&self.file, ReqFile::Node(n) if n.watch().is_some())
    }

    /// Whether this entry links to the next.
    pub fn links(&self) -> bool {
        self.flags.intersects(SqeFlags::IO_LINK | SqeFlags::IO_HARDLINK)
    }

    /// The result as it is posted: bytes that earlier attempts moved come before an error that ended
    /// the request (rw.c `io_rw_fail`, net.c `io_sendrecv_fail`).
    pub fn told(&self, res: Result<i32, Errno>) -> Result<i32, Errno> {
        if res.is_ok() {
            return res;
        }
        let done = match self.cmd.as_ref().and_then(Cmd::transfer) {
            Some(transfer) => transfer.progress(),
            None => self.rw().map_or(0, Rw::progress),
        };
        if done > 0 { Ok(done as i32) } else { res }
    }

    /// Where the provided buffer begins that it used last, or 0.
    #[cold]
    pub(crate) fn lent(&self) -> u64 {
        if !self.flags.contains(SqeFlags::BUFFER_SELECT) {
            return 0;
        }
        match &self.cmd {
            Some(Cmd::ReadMultishot(c)) => c.base(),
            Some(Cmd::Recvmsg(c)) => c.base(),
            Some(cmd) => {
                cmd.transfer().map_or_else(|| cmd.rw().map_or(0, Rw::base), Transfer::base)
            }
            None => 0,
        }
    }

    /// Lets go of its provided buffer: the flags of the completion that tells of it.
    pub fn take_kbuf(&mut self) -> u32 {
        self.kbuf.take().map_or(0, |kept| kept.cqe_flags())
    }

    /// The second half of a completion of 32 bytes.
    pub fn second_half(&self) -> [u64; 2] {
        match &self.cmd {
            Some(Cmd::Nop(c)) => c.second_half().unwrap_or_default(),
            _ => [0; 2],
        }
    }

    /// Whether descriptors may go with its message, or come of it: numbers of the application's table.
    pub fn passes_descriptors(&self) -> bool {
        match &self.cmd {
            Some(Cmd::Sendmsg(c)) => c.has_control(),
            Some(Cmd::Recvmsg(c)) => c.has_control(),
            Some(Cmd::SendmsgZc(c)) => c.has_control(),
            Some(Cmd::Accept(c)) => !c.is_direct(),
            _ => false,
        }
    }

    /// Whether a result counts as a failure for the chain (spec 3.6).
    pub fn fails(&self, res: Result<i32, Errno>) -> bool {
        let res = match res {
            // An injected one (NOP) that is no errno.
            Ok(n) if n < 0 => return true,
            Ok(n) => n,
            // timeout.c `io_link_timeout_fn` does not mark it failed: CQE_SKIP hides its result.
            Err(_) if matches!(&self.cmd, Some(Cmd::LinkTimeout(_))) => return false,
            Err(Errno::ENXIO | Errno::ENFILE | Errno::EINVAL) if matches!(&self.cmd, Some(Cmd::Socket(c)) if c.was_made()) =>
            {
                return false;
            }
            Err(Errno::ETIME) => {
                return !matches!(&self.cmd, Some(Cmd::Timeout(t)) if t.etime_is_success());
            }
            // futex.c `__io_futex_cancel` does not mark it: what is behind it goes on.
            Err(Errno::ECANCELED)
                if matches!(&self.cmd, Some(Cmd::FutexWait(_) | Cmd::FutexWaitv(_))) =>
            {
                return false;
            }
            // Cancelled, or no file to call it on: that is no error of the call.
            Err(e) if self.def().never_fails => {
                let no_file = e == Errno::ENOTSOCK || e == Errno::EBADF && self.lacks_file();
                return e == Errno::ECANCELED || self.def().needs_file && no_file;
            }
            Err(_) => return true,
        };
        if let Some(Cmd::Splice(c) | Cmd::Tee(c)) = &self.cmd {
            return c.is_short(res);
        }
        match self.cmd.as_ref().and_then(Cmd::transfer) {
            Some(transfer) => transfer.is_short(res),
            None => self.rw().is_some_and(|c| c.is_short(res)),
        }
    }
}
