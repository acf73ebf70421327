//! The op table: one row an opcode, in ABI order.
//!
//! A row is facts plus the typed state that `prep` makes and `issue` runs; a row without a state is
//! of an opcode that is refused. From the rows come the probe, the support table, the names in stats
//! and trace, and the dispatch below. Adding an opcode is one file and one row (CONTRIBUTING.md).
//!
//! What it does not do: run anything. Order of checks: 6.18 io_uring.c `io_init_req`.

use super::{
    accept, advise, async_cancel, connect, epoll, files_update, fixed_fd_install, fs, futex, msg,
    msg_ring, nop, openclose, pipe, poll, provide_buffers, read_multishot, rw, sendrecv, shutdown,
    socket, splice, statx, sync, timeout, truncate, uring_cmd, waitid, xattr, zc,
};
use crate::host::{FileKind, Host, Iovec};
use crate::policy::Policy;
use crate::resource::rsrc::BufTable;
use crate::support::{Kernel, Row, Support};
use core::cell::Cell;
use ringer_uapi::flags::{Setup, SqeFlags};
use ringer_uapi::{Errno, OP_COUNT, Sqe};

/// The facts of one opcode (the kernel's `io_issue_def` and `io_cold_def`).
#[derive(Clone, Copy, Debug)]
pub struct OpDef {
    /// Name without `IORING_OP_`.
    pub name: &'static str,
    /// The kernel that it came with.
    pub since: Kernel,
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
    /// An error of its call does not count as a failure (the kernel's issue never marks it): the chain
    /// goes on, and CQE_SKIP hides it.
    pub never_fails: bool,
    /// A notification follows its completion.
    pub notifies: bool,
    /// See [`Support`].
    pub support: Support,
}

impl OpDef {
    /// A row to start from.
    pub const BASE: Self = Self {
        name: "",
        since: (5, 1),
        needs_file: false,
        poll: 0,
        ioprio: false,
        buffer_select: false,
        iopoll: false,
        force_async: false,
        ring_op: false,
        never_fails: false,
        notifies: false,
        support: Support::Full,
    };
    /// Whether an ordinary request is first tried on the submitter, without state of its ring.
    #[inline]
    pub const fn inline_first(&self) -> bool {
        !self.ring_op && !self.force_async && !self.notifies && self.support.is_there()
    }

    /// A row of an opcode that is not carried out: a request gets the errno, the probe says so.
    const fn refused(name: &'static str, since: Kernel, e: Errno, why: &'static str) -> Self {
        Self { name, since, support: Support::Refused(e, why), ..Self::BASE }
    }

    const FILE: Self = Self { needs_file: true, ..Self::BASE };
    const WORKER: Self = Self { force_async: true, never_fails: true, ..Self::BASE };
    const FILE_WORKER: Self = Self { needs_file: true, ..Self::WORKER };
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
    /// Finished with a completion of 32 bytes, of whose second half the state knows.
    Wide(Result<i32, Errno>),
    /// A result, and the request goes on (multishot): result and CQE flags without MORE.
    More(i32, u32),
    /// Not now: wait for the row's poll events, or go to a worker if the file cannot be polled.
    Again,
    /// Not inline: a worker must do it.
    Punt,
    /// A read whose pages the disk has to bring: it is tried again.
    Ahead,
    /// A transfer that would wait for its device: the host carries it out (`request::aio`).
    Aio,
    /// A descriptor was made in the calling thread's table: put it into this slot of the table.
    Direct {
        /// The descriptor.
        fd: i32,
        /// Slot, or [`ringer_uapi::FILE_INDEX_ALLOC`].
        slot: u32,
        /// CQE flags.
        cflags: u32,
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
    /// The flags that the ring was set up with.
    pub setup: Setup,
}

/// What `issue` may look at.
#[derive(Debug)]
pub struct IssueCx<'a, H: Host> {
    /// For the calls.
    pub host: &'a H,
    /// The file's number in this thread's table (needs_file rows), or the SQE's `fd`.
    pub fd: i32,
    /// What kind of file it is, where that is known without a call (registered, held).
    pub kind: Option<FileKind>,
    /// Whether it may block.
    pub how: Issue,
    /// Whether the ring was set up with IOPOLL.
    pub iopoll: bool,
    /// How much of a transfer to attempt.
    pub policy: &'a dyn Policy,
    /// What the batch that it is part of has asked already.
    pub asked: Option<&'a Asked>,
}

/// What was asked about a file within a batch of transfers: between two of them nothing of the ring's
/// could put another file under its number.
#[derive(Debug, Default)]
pub struct Asked(Cell<Answers>);

/// What is known of the file that was asked about last.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    fd: i32,
    direct: Option<bool>,
    kind: Option<FileKind>,
    /// It is one on a file system that writes nothing without waiting.
    waits: bool,
}

impl Asked {
    fn of(&self, fd: i32) -> Answers {
        let known = self.0.get();
        if known.fd == fd { known } else { Answers { fd, ..Answers::default() } }
    }

    /// Whether `fd` is an `O_DIRECT` file, by `ask` where that is not known.
    #[inline]
    pub(crate) fn direct(&self, fd: i32, ask: impl FnOnce() -> bool) -> bool {
        let known = self.of(fd);
        known.direct.unwrap_or_else(|| {
            let direct = ask();
            self.0.set(Answers { direct: Some(direct), ..known });
            direct
        })
    }

    /// What kind of file `fd` is, by `ask` where that is not known.
    #[inline]
    pub(crate) fn kind(&self, fd: i32, ask: impl FnOnce() -> FileKind) -> FileKind {
        let known = self.of(fd);
        known.kind.unwrap_or_else(|| {
            let kind = ask();
            self.0.set(Answers { kind: Some(kind), ..known });
            kind
        })
    }

    /// Whether each write to `fd` is for a worker.
    #[inline]
    pub(crate) fn writes_wait(&self, fd: i32) -> bool {
        let known = self.0.get();
        known.waits && known.fd == fd
    }

    /// Notes that.
    pub(crate) fn note_writes_wait(&self, fd: i32) {
        self.0.set(Answers { waits: true, ..self.of(fd) });
    }

    /// A number may name another file from here on.
    #[inline]
    pub(crate) fn forget(&self) {
        self.0.set(Answers::default());
    }
}

/// A descriptor that is a place and no file.
pub(crate) const O_PATH: u32 = 0o10_000_000;

impl<H: Host> IssueCx<'_, H> {
    /// The kind of the file, as the kernel's lookup finds it: one opened with `O_PATH` is none.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn looked_up(&self) -> Result<FileKind, Errno> {
        match self.kind {
            Some(kind) => Ok(kind),
            None if self.host.status_flags(self.fd)? & O_PATH != 0 => Err(Errno::EBADF),
            None => self.host.kind(self.fd),
        }
    }

    /// What `*_POLL_FIRST` comes to before the first attempt; `None`: attempt it now. A file that never
    /// becomes ready is `EAGAIN` (io_uring.c `io_wq_submit_work` does not wait for it), and so is what
    /// must not wait. What is ready goes on at once: the edge may have been reported to somebody else
    /// who waited in the same watch (poll.c `io_arm_poll_handler`, `IO_APOLL_READY`).
    pub fn poll_first(&self, events: u32, dont_wait: bool) -> Option<Outcome> {
        let never = match self.looked_up() {
            Ok(kind) => matches!(kind, FileKind::Regular | FileKind::Directory),
            Err(e) => return Some(Outcome::Done(Err(e), 0)),
        };
        if never || dont_wait {
            return Some(Outcome::Done(Err(Errno::EAGAIN), 0));
        }
        (self.host.poll_now(self.fd, events) == 0).then_some(Outcome::Again)
    }
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
    ($($n:literal $(=> $v:ident($t:ty))? = $def:expr;)+) => {
        /// The state of a request: one variant a row that is carried out.
        #[derive(Debug)]
        #[allow(missing_docs, reason = "the names are the opcodes'")]
        pub enum Cmd { $($($v($t),)?)+ }

        const DEFS: [OpDef; OP_COUNT] = [$($def),+];
        /// Numbers as written, and the state's name if there is one.
        const WRITTEN: [(usize, &str); OP_COUNT] = [$(($n, stringify!($($v)?))),+];

        impl Cmd {
            /// Runs the row's `prep`.
            ///
            /// # Errors
            /// A submission error; the row's for an opcode that is refused.
            pub fn prep_row<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
                match sqe.opcode {
                    $($($n => <$t as Op>::prep(cx, sqe).map(Self::$v),)?)+
                    other => Err(refusal(other)),
                }
            }

            /// Runs the row's `issue`.
            pub fn issue_row<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
                match self { $($(Self::$v(x) => Op::issue(x, cx),)?)+ }
            }
        }
    };
}

const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;
/// fs/aio.c has no fsnotify call.
const QUIET: Support =
    Support::Partial("an O_DIRECT transfer tells no inotify or fanotify watcher");
const READ: OpDef =
    OpDef { poll: POLLIN, ioprio: true, iopoll: true, support: QUIET, ..OpDef::FILE };
const WRITE: OpDef =
    OpDef { poll: POLLOUT, ioprio: true, iopoll: true, support: QUIET, ..OpDef::FILE };
const SEND_ZC: OpDef = OpDef {
    poll: POLLOUT,
    ioprio: true,
    notifies: true,
    support: Support::Partial("the bytes are copied"),
    ..OpDef::FILE
};

/// Why a row is refused: the issue that brings it.
const NEWER: &str = "newer than 6.18, which refuses it too";

op_table! {
    0 => Nop(nop::Nop) = OpDef { name: "NOP", iopoll: true, ..OpDef::BASE };
    1 => Readv(rw::Rw) = OpDef { name: "READV", buffer_select: true, ..READ };
    2 => Writev(rw::Rw) = OpDef { name: "WRITEV", ..WRITE };
    3 => Fsync(sync::Fsync) = OpDef {
        name: "FSYNC", support: Support::Partial("a range is widened to the whole file"),
        ..OpDef::FILE_WORKER
    };
    4 => ReadFixed(rw::Rw) = OpDef { name: "READ_FIXED", ..READ };
    5 => WriteFixed(rw::Rw) = OpDef { name: "WRITE_FIXED", ..WRITE };
    6 => PollAdd(poll::PollAdd) = OpDef {
        name: "POLL_ADD", needs_file: true,
        support: Support::Partial("what the program takes back before anybody looks is no event"),
        ..OpDef::RING
    };
    7 => PollRemove(poll::PollRemove) = OpDef { name: "POLL_REMOVE", ..OpDef::RING };
    8 => SyncFileRange(sync::SyncFileRange)
        = OpDef { name: "SYNC_FILE_RANGE", since: (5, 2), ..OpDef::FILE_WORKER };
    9 => Sendmsg(msg::Sendmsg) = OpDef {
        name: "SENDMSG", since: (5, 3), poll: POLLOUT, ioprio: true, ..OpDef::FILE
    };
    10 => Recvmsg(msg::Recvmsg) = OpDef {
        name: "RECVMSG", since: (5, 3), poll: POLLIN, ioprio: true, buffer_select: true,
        ..OpDef::FILE
    };
    11 => Timeout(timeout::Timeout) = OpDef { name: "TIMEOUT", since: (5, 4), ..OpDef::RING };
    12 => TimeoutRemove(timeout::TimeoutRemove)
        = OpDef { name: "TIMEOUT_REMOVE", since: (5, 5), ..OpDef::RING };
    13 => Accept(accept::Accept) = OpDef {
        name: "ACCEPT", since: (5, 5), poll: POLLIN, ioprio: true, ..OpDef::FILE
    };
    14 => AsyncCancel(async_cancel::AsyncCancel)
        = OpDef { name: "ASYNC_CANCEL", since: (5, 5), ..OpDef::RING };
    15 => LinkTimeout(timeout::LinkTimeout)
        = OpDef { name: "LINK_TIMEOUT", since: (5, 5), ..OpDef::RING };
    16 => Connect(connect::Connect)
        = OpDef {
        name: "CONNECT", since: (5, 5), poll: POLLOUT,
        support: Support::Partial(
            "a refused connect of a blocking socket leaves it as connect(2) does",
        ),
        ..OpDef::FILE
    };
    17 => Fallocate(sync::Fallocate)
        = OpDef { name: "FALLOCATE", since: (5, 6), ..OpDef::FILE_WORKER };
    18 => Openat(openclose::Open) = OpDef { name: "OPENAT", since: (5, 6), ..OpDef::BASE };
    19 => Close(openclose::Close) = OpDef { name: "CLOSE", since: (5, 6), ..OpDef::RING };
    20 => FilesUpdate(files_update::FilesUpdate)
        = OpDef { name: "FILES_UPDATE", since: (5, 6), iopoll: true, ..OpDef::RING };
    21 => Statx(statx::Statx) = OpDef { name: "STATX", since: (5, 6), ..OpDef::WORKER };
    22 => Read(rw::Rw) = OpDef { name: "READ", since: (5, 6), buffer_select: true, ..READ };
    23 => Write(rw::Rw) = OpDef { name: "WRITE", since: (5, 6), ..WRITE };
    24 => Fadvise(advise::Fadvise) = OpDef { name: "FADVISE", since: (5, 6), ..OpDef::FILE };
    25 => Madvise(advise::Madvise) = OpDef { name: "MADVISE", since: (5, 6), ..OpDef::WORKER };
    26 => Send(sendrecv::Send) = OpDef {
        name: "SEND", since: (5, 6), poll: POLLOUT, ioprio: true, buffer_select: true, ..OpDef::FILE
    };
    27 => Recv(sendrecv::Recv) = OpDef {
        name: "RECV", since: (5, 6), poll: POLLIN, ioprio: true, buffer_select: true, ..OpDef::FILE
    };
    28 => Openat2(openclose::Open) = OpDef { name: "OPENAT2", since: (5, 6), ..OpDef::BASE };
    29 => EpollCtl(epoll::EpollCtl) = OpDef { name: "EPOLL_CTL", since: (5, 6), ..OpDef::BASE };
    30 => Splice(splice::Splice)
        = OpDef { name: "SPLICE", since: (5, 7), force_async: true, ..OpDef::FILE };
    31 => ProvideBuffers(provide_buffers::ProvideBuffers)
        = OpDef { name: "PROVIDE_BUFFERS", since: (5, 7), iopoll: true, ..OpDef::RING };
    32 => RemoveBuffers(provide_buffers::RemoveBuffers)
        = OpDef { name: "REMOVE_BUFFERS", since: (5, 7), iopoll: true, ..OpDef::RING };
    33 => Tee(splice::Splice)
        = OpDef { name: "TEE", since: (5, 8), force_async: true, ..OpDef::FILE };
    34 => Shutdown(shutdown::Shutdown)
        = OpDef { name: "SHUTDOWN", since: (5, 11), ..OpDef::FILE_WORKER };
    35 => Renameat(fs::Rename) = OpDef { name: "RENAMEAT", since: (5, 11), ..OpDef::WORKER };
    36 => Unlinkat(fs::Unlink) = OpDef { name: "UNLINKAT", since: (5, 11), ..OpDef::WORKER };
    37 => Mkdirat(fs::Mkdir) = OpDef { name: "MKDIRAT", since: (5, 15), ..OpDef::WORKER };
    38 => Symlinkat(fs::Symlink) = OpDef { name: "SYMLINKAT", since: (5, 15), ..OpDef::WORKER };
    39 => Linkat(fs::Link) = OpDef { name: "LINKAT", since: (5, 15), ..OpDef::WORKER };
    40 => MsgRing(msg_ring::MsgRing) = OpDef {
        name: "MSG_RING", since: (5, 18), needs_file: true, iopoll: true, ..OpDef::RING
    };
    41 => Fsetxattr(xattr::Set) = OpDef { name: "FSETXATTR", since: (5, 19), ..OpDef::FILE_WORKER };
    42 => Setxattr(xattr::Set) = OpDef { name: "SETXATTR", since: (5, 19), ..OpDef::WORKER };
    43 => Fgetxattr(xattr::Get) = OpDef { name: "FGETXATTR", since: (5, 19), ..OpDef::FILE_WORKER };
    44 => Getxattr(xattr::Get) = OpDef { name: "GETXATTR", since: (5, 19), ..OpDef::WORKER };
    45 => Socket(socket::Socket) = OpDef { name: "SOCKET", since: (5, 19), ..OpDef::BASE };
    46 => UringCmd(uring_cmd::UringCmd) = OpDef {
        name: "URING_CMD", since: (5, 19), buffer_select: true, iopoll: true,
        support: Support::Partial("sockets and /dev/null have commands"),
        ..OpDef::FILE
    };
    47 => SendZc(zc::SendZc) = OpDef { name: "SEND_ZC", since: (6, 0), ..SEND_ZC };
    48 => SendmsgZc(zc::SendZc) = OpDef { name: "SENDMSG_ZC", since: (6, 1), ..SEND_ZC };
    49 => ReadMultishot(read_multishot::ReadMultishot) = OpDef {
        name: "READ_MULTISHOT", since: (6, 7), poll: POLLIN, ioprio: true, buffer_select: true,
        ..OpDef::FILE
    };
    50 => Waitid(waitid::Waitid) = OpDef { name: "WAITID", since: (6, 7), ..OpDef::RING };
    51 => FutexWait(futex::FutexWait)
        = OpDef { name: "FUTEX_WAIT", since: (6, 7), ..OpDef::RING };
    52 => FutexWake(futex::FutexWake)
        = OpDef { name: "FUTEX_WAKE", since: (6, 7), ..OpDef::BASE };
    53 => FutexWaitv(futex::FutexWaitv)
        = OpDef { name: "FUTEX_WAITV", since: (6, 7), ..OpDef::RING };
    54 => FixedFdInstall(fixed_fd_install::FixedFdInstall) = OpDef {
        name: "FIXED_FD_INSTALL", since: (6, 8), needs_file: true, ..OpDef::RING
    };
    55 => Ftruncate(truncate::Ftruncate)
        = OpDef { name: "FTRUNCATE", since: (6, 9), ..OpDef::FILE_WORKER };
    56 => Bind(socket::Bind) = OpDef { name: "BIND", since: (6, 11), ..OpDef::FILE };
    57 => Listen(socket::Listen) = OpDef { name: "LISTEN", since: (6, 11), ..OpDef::FILE };
    58 = OpDef::refused("RECV_ZC", (6, 15), Errno::EINVAL, "needs a network card with header split");
    59 => EpollWait(epoll::EpollWait)
        = OpDef { name: "EPOLL_WAIT", since: (6, 15), poll: POLLIN, ..OpDef::FILE };
    60 => ReadvFixed(rw::Rw) = OpDef { name: "READV_FIXED", since: (6, 15), ..READ };
    61 => WritevFixed(rw::Rw) = OpDef { name: "WRITEV_FIXED", since: (6, 15), ..WRITE };
    62 => Pipe(pipe::Pipe) = OpDef { name: "PIPE", since: (6, 16), ..OpDef::BASE };
}

/// The rows by opcode.
pub static OPDEFS: [OpDef; OP_COUNT] = DEFS;

/// What later kernels have; 6.18 answers as for any unknown opcode.
const NEWER_ONES: [(&str, Kernel); 2] = [("NOP128", (6, 19)), ("URING_CMD128", (6, 19))];

/// The rows as the support tables have them, newer ones at the end.
pub const OPCODES: [Row; OP_COUNT + NEWER_ONES.len()] = {
    let none = Row { name: "", value: 0, since: (0, 0), support: Support::Full };
    let mut rows = [none; OP_COUNT + NEWER_ONES.len()];
    let mut i = 0;
    while i < rows.len() {
        let (name, since, support) = if i < OP_COUNT {
            (DEFS[i].name, DEFS[i].since, DEFS[i].support)
        } else {
            let (name, since) = NEWER_ONES[i - OP_COUNT];
            (name, since, Support::Refused(Errno::EINVAL, NEWER))
        };
        rows[i] = Row { name, value: i as u64, since, support };
        i += 1;
    }
    rows
};

// No holes, in order, and what has a state is what is not refused.
const _: () = {
    let mut i = 0;
    while i < OP_COUNT {
        assert!(WRITTEN[i].0 == i);
        assert!(WRITTEN[i].1.is_empty() != DEFS[i].support.is_there());
        i += 1;
    }
};

/// What a request of an opcode without a state gets.
#[cold]
fn refusal(opcode: u8) -> Errno {
    match opdef(opcode).map(|def| def.support) {
        Some(Support::Refused(e, _)) => e,
        _ => Errno::EINVAL,
    }
}

/// The opcode of that name, in any case, with or without `IORING_OP_`.
pub fn opcode_by_name(name: &str) -> Option<u8> {
    let name = name.to_ascii_uppercase();
    let name = name.trim_start_matches("IORING_OP_");
    OPDEFS.iter().zip(0u8..).find(|(def, _)| def.name == name).map(|(_, opcode)| opcode)
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
