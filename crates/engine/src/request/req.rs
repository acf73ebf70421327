//! One request: what it keeps between its SQE and its last CQE.
//!
//! ```text
//!  Fresh --issue--> Done
//!    |--Again--> Polled --event, issue again--> Done
//!    |--Punt--> Queued --worker--> Running --> Done | Polled
//!    '--ring op--> Timer --> Done
//! ```
//!
//! What it does not do: run. `start.rs` issues, `complete.rs` ends.

use crate::host::{FileKind, Host, HostFile};
use crate::opcode::{Cmd, OpDef, opdef};
use crate::resource::filetable::FileNode;
use crate::resource::rsrc::BufNode;
use crate::slab::Key;
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
    /// Waiting for a time (the key of the timer heap), `None` for a timeout that only counts.
    Timer(Option<(u64, u64)>),
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
    /// Known bits only.
    pub flags: SqeFlags,
    /// The SQE's descriptor or slot.
    pub fd: i32,
    /// The typed state; out while a worker runs it.
    pub cmd: Option<Cmd>,
    /// See [`ReqFile`].
    pub file: ReqFile<H>,
    /// The registered buffer it uses.
    pub buf: Option<Arc<BufNode>>,
    /// The rest of the chain.
    pub next: Option<Box<Req<H>>>,
    /// A submission error found while the chain was gathered.
    pub failed: Option<Errno>,
    /// See [`Linked`].
    pub linked: Linked<H>,
    /// See [`Phase`].
    pub phase: Phase<H>,
    /// The request this linked timeout belongs to.
    pub head: Option<Key>,
    /// It was cancelled while a worker tried it: it must not start to wait.
    pub cancelled: bool,
}

impl<H: Host> Req<H> {
    /// Its row.
    #[inline]
    pub fn def(&self) -> &'static OpDef {
        opdef(self.opcode).unwrap_or(&OpDef::BASE)
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
        let done = match &self.cmd {
            Some(
                Cmd::Read(c)
                | Cmd::Write(c)
                | Cmd::Readv(c)
                | Cmd::Writev(c)
                | Cmd::ReadFixed(c)
                | Cmd::WriteFixed(c),
            ) => c.progress(),
            Some(Cmd::Send(c)) => c.progress(),
            Some(Cmd::Recv(c)) => c.progress(),
            _ => 0,
        };
        if done > 0 { Ok(done as i32) } else { res }
    }

    /// Whether a result counts as a failure for the chain (spec 3.6).
    pub fn fails(&self, res: Result<i32, Errno>) -> bool {
        let res = match res {
            // An injected one (NOP) that is no errno.
            Ok(n) if n < 0 => return true,
            Ok(n) => n,
            // timeout.c `io_link_timeout_fn` does not mark it failed: CQE_SKIP hides its result.
            Err(_) if matches!(&self.cmd, Some(Cmd::LinkTimeout(_))) => return false,
            Err(Errno::ETIME) => {
                return !matches!(&self.cmd, Some(Cmd::Timeout(t)) if t.etime_is_success());
            }
            // Cancelled, or no file to call it on: that is no error of the call.
            Err(e) if self.def().never_fails => {
                let no_file = matches!(e, Errno::EBADF | Errno::ENOTSOCK);
                return e == Errno::ECANCELED || self.def().needs_file && no_file;
            }
            Err(_) => return true,
        };
        match &self.cmd {
            Some(
                Cmd::Read(c)
                | Cmd::Write(c)
                | Cmd::Readv(c)
                | Cmd::Writev(c)
                | Cmd::ReadFixed(c)
                | Cmd::WriteFixed(c),
            ) => c.is_short(res),
            Some(Cmd::Send(c)) => c.is_short(res),
            Some(Cmd::Recv(c)) => c.is_short(res),
            _ => false,
        }
    }
}
