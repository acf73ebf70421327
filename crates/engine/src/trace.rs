//! What a trace is told of a request: that it was taken, and each of its completions; and of calls.
//!
//! ```text
//!  SQE taken -> Host::trace_taken -> its name in the trace -> Req::trail, or kept on the stack
//!  CQE       -> Host::trace_told(that name, how it ran, posted | behind the backlog | nowhere)
//!  CQE of no request (a message, a tag) -> the same without a name
//!  io_uring_setup, io_uring_register    -> Host::trace_called
//! ```
//! Without a trace every name is 0, and that is all that is looked at on the way. The layout of what
//! a host may keep is in [`buffer`]. What this does not do: read clocks, find paths or store anything
//! (the host does).

pub mod buffer;
pub mod channel;
mod state;

pub use state::RingState;

use crate::engine::Engine;
use crate::host::{Host, HostFile};
use crate::opcode::opdef;
use crate::policy::Act;
use crate::request::{Phase, Req};
use crate::ring::{Ring, State};
use ringer_uapi::flags::{CqeFlags, SqeFlags};
use ringer_uapi::{Cqe, Errno, Sqe};

/// `IORING_OP_CLOSE`: it needs no file, and yet `fd` is one.
const CLOSE: u8 = 19;

/// Where a request was when it went on for the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum How {
    /// On the thread that submitted it.
    #[default]
    Inline = 0,
    /// It waited for its file to be ready.
    Polled = 1,
    /// On a worker, or behind another ring's owner.
    Worker = 2,
    /// The host's asynchronous I/O carried it out.
    Aio = 3,
    /// Its pages were read ahead, then it was tried again.
    Ahead = 4,
    /// It waited for a time.
    Timer = 5,
    /// A thread waited in a call for it.
    Waiter = 6,
    /// Whoever submitted it ran it, instead of waiting for a worker.
    Caller = 7,
}

impl How {
    /// All, by number.
    pub const ALL: [Self; 8] = [
        Self::Inline,
        Self::Polled,
        Self::Worker,
        Self::Aio,
        Self::Ahead,
        Self::Timer,
        Self::Waiter,
        Self::Caller,
    ];

    /// A word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Polled => "polled",
            Self::Worker => "worker",
            Self::Aio => "aio",
            Self::Ahead => "readahead",
            Self::Timer => "timer",
            Self::Waiter => "waiter",
            Self::Caller => "caller",
        }
    }
}

/// Where a completion went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Went {
    /// Into the completion queue, or to the owner who alone may write there.
    Posted = 0,
    /// Behind the backlog of a full queue.
    Backlog = 1,
    /// Nowhere: the request asked for none, or its chain tells nothing.
    Nowhere = 2,
}

impl Went {
    /// All, by number.
    pub const ALL: [Self; 3] = [Self::Posted, Self::Backlog, Self::Nowhere];

    fn of(posted: bool) -> Self {
        if posted { Self::Posted } else { Self::Backlog }
    }
}

/// A request's name in the trace (0: none), and how it ran so far.
///
/// ```text
///  63        56 55                                    0
///  [ How      | what Host::trace_taken answered        ]     0: not traced
/// ```
/// One word, which is in a register on the way of what finishes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail(u64);

/// Bits of a trail that are the name.
const NAME_BITS: u32 = 56;

impl Trail {
    /// The trail of a request that was just taken.
    #[inline]
    pub const fn new(name: u64) -> Self {
        Self(name & ((1 << NAME_BITS) - 1))
    }

    /// The same of one that ran so.
    #[must_use]
    pub const fn with(self, how: How) -> Self {
        Self(self.name() | (how as u64) << NAME_BITS)
    }

    /// What the host called it; 0: it is not traced.
    pub const fn name(self) -> u64 {
        self.0 & ((1 << NAME_BITS) - 1)
    }

    /// How it ran, by number.
    pub const fn how(self) -> u64 {
        self.0 >> NAME_BITS
    }

    #[inline(always)]
    const fn is_traced(self) -> bool {
        self.0 != 0
    }

    /// The request waits, or is somebody else's now.
    #[inline]
    pub(crate) fn reached<H: Host>(&mut self, phase: &Phase<H>) {
        if self.is_traced() {
            *self = self.with(match phase {
                Phase::Polled(_) => How::Polled,
                Phase::Queued | Phase::Running { .. } => How::Worker,
                Phase::Aio => How::Aio,
                Phase::Ahead => How::Ahead,
                Phase::Timer(_) => How::Timer,
                Phase::Waiting(_) => How::Waiter,
                Phase::Fresh | Phase::Deferred => return,
            });
        }
    }
}

/// A submission.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// The ring's name ([`crate::host::RingId`]).
    pub ring: u64,
    /// The entry, as it was read once.
    pub sqe: &'a Sqe,
    /// The number in the program's table of what `fd` stands for, if it stands for one.
    pub number: Option<i32>,
    /// It follows the one before it in a chain.
    pub linked: bool,
    /// The completion queue's head: what its taker is done with.
    pub seen: u32,
}

/// A completion.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The ring's name.
    pub ring: u64,
    /// Whose it is, and how that ran.
    pub trail: Trail,
    /// What the completion hands back.
    pub user_data: u64,
    /// Its result.
    pub res: i32,
    /// Its flags.
    pub flags: u32,
    /// See [`Went`].
    pub went: Went,
    /// See [`Origin`].
    pub origin: Origin,
    /// Where the provided buffer begins that it tells of, or 0.
    pub lent: u64,
}

/// Whose a completion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// A request's.
    Request = 0,
    /// Another ring sent it, or its thread.
    Message = 1,
    /// A file or a buffer is not used any more.
    Tag = 2,
    /// A request's of another process that had the ring, too, and is gone.
    Kin = 3,
}

impl Origin {
    /// All, by number.
    pub const ALL: [Self; 4] = [Self::Request, Self::Message, Self::Tag, Self::Kin];
}

/// A call that is no submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `io_uring_setup(2)`.
    Setup {
        /// As asked for.
        entries: u32,
        /// `IORING_SETUP_*`, as far as they could be read.
        flags: u32,
        /// The ring's name, if it was made.
        ring: u64,
    },
    /// `io_uring_register(2)`.
    Register {
        /// The ring's descriptor, or its index.
        fd: i32,
        /// `IORING_REGISTER_*`, and whether `fd` is an index.
        opcode: u32,
        /// The address.
        arg: u64,
        /// `nr_args`.
        nr: u32,
    },
}

/// A call that ended.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    /// Which.
    pub call: Call,
    /// What it answered.
    pub result: Result<usize, Errno>,
}

/// Something that a policy did to a request, or (opcode 0, no user data) to a wait.
#[derive(Clone, Copy, Debug)]
pub struct Injected {
    /// The ring's name.
    pub ring: u64,
    /// Which of the ring's entries, or waits, from 1.
    pub nth: u64,
    /// What, and by which rule.
    pub act: Act,
    /// The request's opcode.
    pub opcode: u8,
    /// The number in the program's table of its file, if it has one.
    pub number: Option<i32>,
    /// What its completion hands back.
    pub user_data: u64,
    /// Its name in the trace, if it has one.
    pub trail: Trail,
}

impl<H: Host> Engine<H> {
    /// An entry is taken: the trail of its request. `linked`: it follows another in a chain.
    #[inline(always)]
    pub(crate) fn trail_of(&self, ring: &Ring<H>, st: &State<H>, sqe: &Sqe, linked: bool) -> Trail {
        Trail::new(if self.traces() { self.note_taken(ring, st, sqe, linked) } else { 0 })
    }

    #[cold]
    #[inline(never)]
    fn note_taken(&self, ring: &Ring<H>, st: &State<H>, sqe: &Sqe, linked: bool) -> u64 {
        let number = self.number_of(st, sqe);
        let seen = st.cq_pages().head();
        self.host().trace_taken(&Taken { ring: ring.id.0, sqe, number, linked, seen })
    }

    /// The number in the program's table of what `fd` of an entry stands for, if it stands for one.
    pub(crate) fn number_of(&self, st: &State<H>, sqe: &Sqe) -> Option<i32> {
        let takes_file = opdef(sqe.opcode).is_some_and(|d| d.needs_file) || sqe.opcode == CLOSE;
        if sqe.flags & SqeFlags::FIXED_FILE.bits() != 0 {
            st.files.as_ref().and_then(|t| t.get(sqe.fd)).and_then(|node| node.file.number())
        } else {
            Some(sqe.fd).filter(|&fd| takes_file && fd >= 0)
        }
    }

    /// A completion of the request with this trail was posted (or not: to the backlog).
    #[inline(always)]
    pub(crate) fn trace_cqe(&self, ring: &Ring<H>, trail: Trail, cqe: &Cqe, posted: bool) {
        if trail.is_traced() {
            self.note_told(ring, trail, *cqe, Went::of(posted), 0);
        }
    }

    /// The same of one that may have a provided buffer, which is asked for only if somebody traces.
    #[inline(always)]
    pub(crate) fn trace_cqe_lent(
        &self,
        ring: &Ring<H>,
        trail: Trail,
        (cqe, posted): (&Cqe, bool),
        lent: impl FnOnce() -> u64,
    ) {
        if trail.is_traced() {
            self.note_told(ring, trail, *cqe, Went::of(posted), lent());
        }
    }

    /// A completion of no request was posted.
    #[inline]
    pub(crate) fn trace_alone(&self, ring: &Ring<H>, cqe: &Cqe, posted: bool, origin: Origin) {
        if self.traces() {
            let (trail, went) = (Trail::default(), Went::of(posted));
            let Cqe { user_data, res, flags, .. } = *cqe;
            let ring = ring.id.0;
            self.host().trace_told(&Told {
                ring,
                trail,
                user_data,
                res,
                flags,
                went,
                origin,
                lent: 0,
            });
        }
    }

    /// A call ended.
    #[inline]
    pub(crate) fn trace_call(&self, call: impl FnOnce() -> Call, result: Result<usize, Errno>) {
        if self.traces() {
            self.host().trace_called(&Called { call: call(), result });
        }
    }

    /// Posts a completion of a request that goes on. False: the backlog took it, which ends a multishot.
    pub(crate) fn post_more(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        req: &Req<H>,
        res: Result<i32, Errno>,
        cflags: u32,
    ) -> bool {
        self.post_shot_of(ring, st, (req.user_data, req.trail), (res, cflags), |_| req.lent())
    }

    /// The same of a request that is somewhere else.
    pub(crate) fn post_shot_of(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        (user_data, trail): (u64, Trail),
        (res, cflags): (Result<i32, Errno>, u32),
        lent: impl FnOnce(&State<H>) -> u64,
    ) -> bool {
        let cqe = Cqe::new(user_data, res, cflags | CqeFlags::MORE.bits());
        let posted = ring.post(st, cqe);
        self.trace_cqe_lent(ring, trail, (&cqe, posted), || lent(st));
        posted
    }

    /// A request ends without a completion.
    #[inline(always)]
    pub(crate) fn trace_silent(
        &self,
        ring: &Ring<H>,
        req: &Req<H>,
        res: Result<i32, Errno>,
        cflags: u32,
    ) {
        if req.trail.is_traced() {
            let cqe = Cqe::new(req.user_data, res, cflags);
            self.note_told(ring, req.trail, cqe, Went::Nowhere, 0);
        }
    }

    /// By value: a completion whose address is asked for would be written to memory when nobody traces.
    #[inline(always)]
    fn note_told(&self, ring: &Ring<H>, trail: Trail, cqe: Cqe, went: Went, lent: u64) {
        self.tell_host(ring.id.0, trail, (cqe.user_data, lent), (cqe.res, cqe.flags, went));
    }

    #[cold]
    #[inline(never)]
    fn tell_host(
        &self,
        ring: u64,
        trail: Trail,
        (user_data, lent): (u64, u64),
        (res, flags, went): (i32, u32, Went),
    ) {
        let origin = Origin::Request;
        self.host().trace_told(&Told { ring, trail, user_data, res, flags, went, origin, lent });
    }
}
