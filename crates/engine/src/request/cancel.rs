//! Cancelling requests wherever they wait: poll, worker queue, worker, timer.
//!
//! A running worker is interrupted and its request completes by itself; everything else ends here.
//!
//! ```text
//!   worker                               cancel
//!   lock: Queued -> Running; unlock
//!   tries what does not block
//!                                        lock: cancelled; it only tries: no interrupt; unlock
//!   lock: about to block? cancelled: no
//!                                        (or, when it is about to block:)
//!                                        lock: cancelled, interrupt; unlock
//!   blocks: EINTR, now or at once
//! ```
//!
//! Whoever takes a request out of `State::reqs` ends it, and only one can: a stale key finds nothing.
//! What it does not do: find members of a chain that have not started (the kernel does not either).

use super::table::hash;
use super::timers::At;
use super::{Phase, Req, ReqFile};
use crate::engine::Engine;
use crate::host::{Clock, FileKind, Host, HostFile, HostThread};
use crate::opcode::Cmd;
use crate::opcode::timeout::search_order;
use crate::ring::{Ring, State};
use crate::slab::Key;
use alloc::vec::Vec;
use core::cmp::Reverse;
use ringer_uapi::Errno;

/// `IORING_ASYNC_CANCEL_*`.
pub mod flags {
    use crate::support::opflags::ASYNC_CANCEL_ACCEPTED;
    use ringer_uapi::Errno;

    /// Cancel all that match.
    pub const ALL: u32 = 1;
    /// The key is a descriptor.
    pub const FD: u32 = 2;
    /// Everything on the ring.
    pub const ANY: u32 = 4;
    /// The descriptor is a slot.
    pub const FD_FIXED: u32 = 8;
    /// The key is user_data, to be combined with others.
    pub const USERDATA: u32 = 16;
    /// The key is an opcode.
    pub const OP: u32 = 32;

    /// Refuses unknown and contradictory flags (cancel.c `io_async_cancel_prep`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check(f: u32) -> Result<(), Errno> {
        if f & !ASYNC_CANCEL_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        if f & ANY != 0 && f & (FD | OP) != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// What to cancel.
#[derive(Debug)]
pub struct CancelKey<H: Host> {
    user_data: Option<u64>,
    file: Option<H::File>,
    opcode: Option<u8>,
    /// The key names a file, which a timeout has not (cancel.c `io_try_cancel`).
    but_timeouts: bool,
    /// A count is wanted: with ALL, and with ANY.
    counts: bool,
    /// All that match are meant, by name.
    all: bool,
}

impl<H: Host> CancelKey<H> {
    /// A key from (user_data, fd, opcode, flags), flags checked.
    ///
    /// # Errors
    /// `EBADF` for the key's descriptor or slot.
    pub fn new(
        host: &H,
        st: &State<H>,
        (user_data, fd, opcode, f): (u64, i32, u8, u32),
    ) -> Result<Self, Errno> {
        let file = if f & flags::FD == 0 {
            None
        } else if f & flags::FD_FIXED != 0 {
            let node = st.files.as_ref().and_then(|t| t.get(fd)).ok_or(Errno::EBADF)?;
            Some(node.file.clone())
        } else {
            Some(host.hold(fd)?)
        };
        Ok(Self::with_file((user_data, opcode, f), file))
    }

    /// The same with its file, if it names one. ANY looks at nothing (cancel.c `io_cancel_req_match`).
    pub(super) fn with_file((user_data, opcode, f): (u64, u8, u32), file: Option<H::File>) -> Self {
        let any = f & flags::ANY != 0;
        let by_data = f & (flags::FD | flags::OP) == 0 || f & flags::USERDATA != 0;
        Self {
            user_data: (by_data && !any).then_some(user_data),
            file: file.filter(|_| !any),
            opcode: (f & flags::OP != 0 && !any).then_some(opcode),
            but_timeouts: f & flags::FD != 0,
            counts: any || f & flags::ALL != 0,
            all: f & flags::ALL != 0,
        }
    }

    fn matches(&self, r: &Req<H>) -> bool {
        let data = self.user_data.is_none_or(|d| d == r.user_data);
        let op = self.opcode.is_none_or(|o| o == r.opcode);
        // A folder is held for a worker, and is not what the request is about.
        let file = self.file.as_ref().is_none_or(|f| match &r.file {
            _ if !r.def().needs_file => false,
            ReqFile::None => false,
            ReqFile::Held(h) => h.same_file(f),
            ReqFile::Node(n) => n.file.same_file(f),
        });
        data && op && file
    }
}

/// The lists of requests that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Waits {
    Children,
    Futexes,
}

/// Where the kernel finds a request, in the order that it searches (cancel.c `io_try_cancel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In the worker queue, as it came.
    Pending(u64),
    /// On a worker, in a call that the kernel would have there, too.
    Blocked(u64),
    /// In the table of polls, or about to be: chain by chain, the newest of a chain first.
    Polled(u64, Reverse<u64>),
    /// In the list of those that wait for children, and then of those that wait for futexes: the newest
    /// first.
    Waiting(Waits, Reverse<u64>),
    /// In the list of timeouts.
    Timer((bool, At)),
}

impl Place {
    /// io_uring.c `io_ring_ctx_alloc` sizes the table, poll.c `io_poll_req_insert` fills it.
    fn polled<H: Host>(ring: &Ring<H>, user_data: u64, since: u64) -> Self {
        let bits = ring.cq_entries_first.ilog2().saturating_sub(5).clamp(1, 8);
        Self::Polled(hash(user_data) >> (64 - bits), Reverse(since))
    }

    fn is_with_workers(self) -> bool {
        matches!(self, Self::Pending(_) | Self::Blocked(_))
    }
}

/// A request that was taken out of a watch to be cancelled, and has not been told yet.
pub(crate) fn was_polled<H: Host>(r: &Req<H>) -> bool {
    r.failed.is_some() && matches!(r.phase, Phase::Polled(_))
}

/// A read of a regular file that is on a worker only because its file has no number elsewhere: in the
/// kernel it is over by now, or waits for pages, which no cancel finds and no linked timeout ends.
pub(super) fn reads_elsewhere<H: Host>(r: &Req<H>) -> bool {
    const READS: [u8; 4] = [1, 4, 22, 60];
    let lacks = |f: &H::File| f.kind() == FileKind::Regular && f.number().is_none();
    READS.contains(&r.opcode) && !r.on_worker && r.file.file().is_some_and(lacks)
}

/// An accept that is on a worker because its listener might block: a connection is there, which the
/// kernel takes at once.
pub(super) fn accepts_elsewhere<H: Host>(r: &Req<H>) -> bool {
    const ACCEPT: u8 = 13;
    r.opcode == ACCEPT && !r.untried
}

/// Which requests a cancel looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of the ring.
    Whole,
    /// Those that are not with workers.
    NoWorkers,
}

/// How many a cancel of all says it cancelled: what waits for a worker is one, and none if something is
/// on a worker, which does not count either (io-wq.c `io_wq_cancel_cb`). A list of those that wait is
/// one with `all`, which empties it in one go (cancel.c `io_cancel_remove`).
fn counted(found: &[(Place, Key)], again: usize, all: bool) -> i32 {
    let blocked = found.iter().any(|(at, _)| matches!(at, Place::Blocked(_)));
    let pending = found.iter().any(|(at, _)| matches!(at, Place::Pending(_)));
    let mut rest = found.iter().filter(|(at, _)| !at.is_with_workers()).count();
    for list in [Waits::Children, Waits::Futexes] {
        let n =
            found.iter().filter(|(at, _)| matches!(at, Place::Waiting(l, _) if *l == list)).count();
        rest -= if all { n.saturating_sub(1) } else { 0 };
    }
    (usize::from(pending && !blocked) + rest + again) as i32
}

/// Leaves the one that a cancel takes. What is on a worker is interrupted, and then the search goes on
/// (cancel.c `io_try_cancel`).
fn one_of(found: &mut Vec<(Place, Key)>, again: usize) -> Result<i32, Errno> {
    if !matches!(found.first(), Some((Place::Blocked(_), _))) {
        found.truncate(1);
        return match found.first() {
            None if again == 0 => Err(Errno::ENOENT),
            // These lists count.
            Some((Place::Waiting(..), _)) => Ok(1),
            _ => Ok(0),
        };
    }
    let next = found.iter().position(|(at, _)| !at.is_with_workers());
    let next = next.and_then(|at| found.get(at).copied());
    found.truncate(1);
    found.extend(next);
    match next {
        None if again == 0 => Err(Errno::EALREADY),
        Some((Place::Waiting(..), _)) => Ok(1),
        _ => Ok(0),
    }
}

impl<H: Host> Engine<H> {
    /// Requests a key matches, in the kernel's order of search, and the cancel's result (cancel.c
    /// `__io_async_cancel`).
    pub(crate) fn pick_cancel(
        &self,
        ring: &Ring<H>,
        st: &State<H>,
        key: &CancelKey<H>,
        reach: Reach,
    ) -> (Result<i32, Errno>, Vec<Key>) {
        let now = if st.timers.is_empty() { 0 } else { self.host().now(Clock::Monotonic) };
        let place = |k: Key, r: &Req<H>| match r.phase {
            Phase::Queued => Some(Place::Pending(st.reqs.since(k))),
            Phase::Running { tries: false, polls: false, .. } => {
                Some(Place::Blocked(st.reqs.since(k)))
            }
            Phase::Running { .. } | Phase::Polled(_) => {
                Some(Place::polled(ring, r.user_data, st.reqs.since(k)))
            }
            // One whose time has come has fired.
            Phase::Timer(Some((t, _))) if t <= now => None,
            Phase::Timer(_) if key.but_timeouts => None,
            Phase::Timer(_) => Some(Place::Timer(search_order(st, k, r))),
            // Woken before it was looked for, if only just.
            Phase::Waiting(ref w) if w.is_over() || key.but_timeouts => None,
            Phase::Waiting(_) => {
                let child = matches!(r.cmd, Some(Cmd::Waitid(_)));
                let list = if child { Waits::Children } else { Waits::Futexes };
                Some(Place::Waiting(list, Reverse(st.reqs.since(k))))
            }
            // rw.c: what the block layer has, or waits for pages, no search finds.
            Phase::Fresh | Phase::Deferred | Phase::Aio | Phase::Ahead => None,
        };
        let matching = |(k, r): (Key, &Req<H>)| {
            let is = r.head.is_none() && key.matches(r) && !reads_elsewhere(r) && !r.is_notif();
            let at = if is { place(k, r) } else { None };
            at.filter(|at| reach == Reach::Whole || !at.is_with_workers()).map(|at| (at, k))
        };
        let mut found: Vec<(Place, Key)> = match key.user_data {
            Some(data) => st.reqs.of(data).filter_map(matching).collect(),
            None => st.reqs.iter().filter_map(matching).collect(),
        };
        found.sort_unstable();
        // poll.c: a poll that was cancelled is found again until task work ends it.
        let again = st.ready.iter().filter(|r| was_polled(r) && key.matches(r)).count();
        let res = if key.counts {
            Ok(counted(&found, again, key.all))
        } else {
            one_of(&mut found, again)
        };
        (res, found.into_iter().map(|(_, k)| k).collect())
    }

    /// What the cancel of one request that waits would answer (cancel.c `io_try_cancel`).
    ///
    /// # Errors
    /// `ENOENT`: it does not find it, or has only interrupted the worker that it is on.
    pub(crate) fn would_cancel(&self, st: &State<H>, key: Key) -> Result<(), Errno> {
        match st.reqs.get(key).map(|r| &r.phase) {
            Some(Phase::Running { tries: false, polls: false, .. } | Phase::Aio | Phase::Ahead)
            | None => Err(Errno::ENOENT),
            Some(_) => Ok(()),
        }
    }

    /// Cancels one request, or interrupts the worker it runs on.
    pub(crate) fn cancel_one(&self, st: &mut State<H>, key: Key) {
        if let Some(req) = st.reqs.get_mut(key) {
            req.cancelled = true;
        }
        match st.reqs.get(key).map(|r| &r.phase) {
            Some(Phase::Running { thread, tries, .. }) => {
                if let Some(t) = thread
                    && !tries
                {
                    t.interrupt();
                }
            }
            Some(Phase::Polled(watch)) => {
                let watch = *watch;
                if let Some(req) = st.reqs.remove(key) {
                    self.disarm(st, key, watch);
                    self.cancel_later_from(st, req, Phase::Polled(watch));
                }
            }
            Some(Phase::Queued) => {
                if let Some(req) = st.reqs.remove(key) {
                    self.cancel_later(st, req);
                }
            }
            Some(Phase::Waiting(wait)) => {
                let wait = wait.clone();
                self.cancel_wait(st, key, &wait);
            }
            Some(Phase::Timer(_)) => {
                if let Some(req) = self.take_timer(st, key) {
                    self.cancel_later(st, req);
                }
            }
            Some(Phase::Fresh | Phase::Deferred | Phase::Aio | Phase::Ahead) | None => {}
        }
    }
}
