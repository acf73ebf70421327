//! Posting completions: the only code that writes CQEs.
//!
//! ```text
//!  post -> room and no backlog -> CQE body           tail > published: written, not yet visible
//!      '-> backlog (FIFO)      -> CQ_OVERFLOW set
//!  commit -> publish tail -> counted timeouts -> wake, eventfd, readable
//! ```
//!
//! ```text
//!   waiter                               poster
//!                                        CQ full: backlog 3
//!   takes 1, 2 in memory
//!                                        room, but a backlog: 4 goes behind 3
//!   enter: flushes 3, then 4
//! ```
//!
//! On a CQE_MIXED ring everything is counted in slots of 16 bytes, of which some completions take two.
//!
//! Nothing is lost and nothing overtakes: while the backlog holds something, everything new goes
//! behind it (6.18 io_uring.c `io_cqring_event_overflow`). What it does not do: decide whether the
//! caller may post now; DEFER_TASKRUN rings queue in `State::deferred` instead.

use super::kin::{ring_bell, wake_all};
use super::{Errand, Ring, State, StateGuard};
use crate::engine::Engine;
use crate::host::{Host, HostRing, Poller};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use ringer_uapi::Cqe;
use ringer_uapi::flags::{CqeFlags, Setup, SqRing};

/// What the holder of a ring's lock owes to others once it has let go.
#[derive(Debug)]
pub struct Due<H: Host> {
    sleepers: bool,
    leader: bool,
    pub(super) signal: bool,
    /// Who waits on a ring that other processes have, too, in any of them.
    pub(super) bell: bool,
    /// The host was told that completions come.
    announced: bool,
    eventfd: Option<H::File>,
    /// For other rings.
    pub(crate) errands: Vec<Errand<H>>,
}

impl<H: Host> Default for Due<H> {
    fn default() -> Self {
        Self {
            sleepers: false,
            leader: false,
            signal: false,
            bell: false,
            announced: false,
            eventfd: None,
            errands: Vec::new(),
        }
    }
}

impl<H: Host> Due<H> {
    /// The ring's descriptor is to be made readable.
    pub(crate) fn signal(&mut self) {
        self.signal = true;
    }
}

/// The engine's side of a completion queue.
#[derive(Debug, Default)]
pub struct Cq {
    /// Our tail, including what is written but not published.
    pub tail: u32,
    /// The tail the application sees (the kernel's `cached_cq_tail` at the last flush).
    pub published: u32,
    /// What did not fit.
    pub backlog: VecDeque<Cqe>,
    /// Some of that a policy put there.
    pub behind: bool,
    /// Something a worker finished is among the unpublished.
    pub from_worker: bool,
}

impl<H: Host> Ring<H> {
    /// How many published completions the application has not taken.
    pub fn cq_ready(&self, st: &State<H>) -> u32 {
        if st.unmapped {
            return 0;
        }
        // The head is the application's: whatever it scribbled, no more than the ring holds.
        st.cq.published.wrapping_sub(st.cq_pages().head()).min(st.geo.cq_entries)
    }

    fn cq_full(&self, st: &State<H>) -> bool {
        st.cq.tail.wrapping_sub(st.cq_pages().head()) >= st.geo.cq_entries
    }

    /// Whether the next completion would go to the backlog (which ends a multishot).
    pub fn cq_would_overflow(&self, st: &State<H>) -> bool {
        !st.unmapped && (!st.cq.backlog.is_empty() || self.cq_full(st))
    }

    /// Whether a completion of 32 bytes would not go to the backlog.
    pub(crate) fn has_room_for_wide(&self, st: &State<H>) -> bool {
        if st.unmapped || !st.cq.backlog.is_empty() {
            return false;
        }
        let last = st.geo.cq_entries - 1;
        let slots = match self.setup.contains(Setup::CQE_MIXED) {
            // A filler comes first.
            true if st.cq.tail & last == last => 3,
            true => 2,
            false => 1,
        };
        let used = st.cq.tail.wrapping_sub(st.cq_pages().head());
        used.checked_add(slots).is_some_and(|n| n <= st.geo.cq_entries)
    }

    /// Writes one completion, or puts it into the backlog. Returns false for the backlog.
    #[inline]
    pub fn post(&self, st: &mut State<H>, cqe: Cqe) -> bool {
        if st.unmapped {
            return true;
        }
        if !st.cq.backlog.is_empty() || !self.write(st, &cqe) {
            st.cq.backlog.push_back(cqe);
            st.sq_pages().set_flags(SqRing::CQ_OVERFLOW);
            return false;
        }
        true
    }

    /// Writes one completion where there is room for it.
    #[inline]
    fn write(&self, st: &mut State<H>, cqe: &Cqe) -> bool {
        if cqe.flags & CqeFlags::F_32.bits() != 0 && self.setup.contains(Setup::CQE_MIXED) {
            return self.write_wide(st, cqe);
        }
        if self.cq_full(st) {
            return false;
        }
        st.cq_pages().write(st.cq.tail, cqe);
        st.cq.tail = st.cq.tail.wrapping_add(1);
        true
    }

    /// The same for one of two slots, which must be neighbours: a filler takes the last slot before
    /// the wrap, also where there is no room behind it (io_uring.c `io_cqe_cache_refill`; where 6.18
    /// then puts the next narrow one into the filler's slot, and shows an old entry after it, this
    /// goes behind the backlog as everything does).
    #[cold]
    fn write_wide(&self, st: &mut State<H>, cqe: &Cqe) -> bool {
        let last = st.geo.cq_entries - 1;
        if st.cq.tail & last == last {
            if self.cq_full(st) {
                return false;
            }
            st.cq_pages().write(st.cq.tail, &Cqe::new(0, Ok(0), CqeFlags::SKIP.bits()));
            st.cq.tail = st.cq.tail.wrapping_add(1);
        }
        if st.cq.tail.wrapping_add(1).wrapping_sub(st.cq_pages().head()) >= st.geo.cq_entries {
            return false;
        }
        st.cq_pages().write(st.cq.tail, cqe);
        st.cq_pages().write_half(st.cq.tail, cqe);
        st.cq.tail = st.cq.tail.wrapping_add(2);
        true
    }

    /// Posts what no request of the ring ended with: ahead of what is completed and not yet visible
    /// (io_uring.c `io_post_aux_cqe`, which does not wait for `__io_submit_flush_completions`).
    pub(super) fn post_ahead(&self, st: &mut State<H>, cqe: Cqe) {
        let tail = st.cq.tail;
        let at = st.cq.published;
        // Entries of two sizes cannot be moved by one.
        let moves = at != tail && !self.setup.contains(Setup::CQE_MIXED);
        if !moves || st.unmapped || self.cq_would_overflow(st) {
            self.post(st, cqe);
            return;
        }
        st.cq_pages().move_up(at, tail);
        st.cq_pages().write(at, &cqe);
        st.cq.tail = tail.wrapping_add(1);
    }

    /// Puts a completion behind the backlog though there may be room, as if there were none: whoever looks
    /// sees IORING_SQ_CQ_OVERFLOW and a descriptor that is ready, and comes for it.
    pub(crate) fn post_behind(&self, st: &mut State<H>, cqe: Cqe) {
        st.cq.backlog.push_back(cqe);
        st.cq.behind = true;
        st.sq_pages().set_flags(SqRing::CQ_OVERFLOW);
        self.mem.work_waits(true);
        self.tell_eventfd(st);
        st.due.signal();
    }

    /// Nobody has come for what a policy put behind the backlog. Who counts what is under way, and has more room
    /// than that, need never come: the kernel's queue would not have been full.
    pub(crate) fn bring_forward(&self, st: &mut State<H>) {
        if st.cq.behind && st.may_post {
            self.flush_backlog(st);
        }
    }

    /// Moves what fits from the backlog into the ring (only `enter` with GETEVENTS does).
    pub fn flush_backlog(&self, st: &mut State<H>) {
        if st.unmapped {
            return;
        }
        while let Some(cqe) = st.cq.backlog.front().copied() {
            if !self.write(st, &cqe) {
                return;
            }
            st.cq.backlog.pop_front();
        }
        if core::mem::take(&mut st.cq.behind) && !st.told {
            self.mem.work_waits(false);
        }
        if st.kin.as_ref().is_none_or(|kin| !kin.others_overflow()) {
            st.sq_pages().clear_flags(SqRing::CQ_OVERFLOW);
        }
    }
}

impl<H: Host> Ring<H> {
    /// Notes that the registered eventfd is to be signalled, unless it is muted or wants to hear of
    /// workers only.
    pub(crate) fn tell_eventfd(&self, st: &mut State<H>) {
        let from_worker = core::mem::take(&mut st.cq.from_worker);
        if let Some((file, async_only)) = &st.eventfd
            && (!*async_only || from_worker)
            && !st.cq_pages().eventfd_disabled()
        {
            st.due.eventfd = Some(file.clone());
            st.eventfd_told = true;
        }
    }
}

impl<H: Host> Engine<H> {
    /// Makes written completions visible and tells everybody who waits for them.
    pub(crate) fn commit(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if st.aio.is_due() {
            self.hand_over(ring, st);
        }
        while (st.cq.tail != st.cq.published || st.recount) && !st.unmapped {
            st.recount = false;
            if st.cq.tail == st.cq.published {
                // A timeout fired silently: what counts goes by that, too.
                self.fire_counted(ring, st);
                continue;
            }
            // Once for all that this holder of the lock publishes.
            st.due.announced = st.due.announced || ring.mem.announce();
            st.cq.published = st.cq.tail;
            if let Some(kin) = &st.kin {
                kin.sync(&st.cq);
            }
            st.cq_pages().publish_tail(st.cq.tail);
            self.wake_waiters(ring, st, false);
            ring.tell_eventfd(st);
            st.due.signal = true;
            // Counted timeouts that this reached complete now, and are themselves published in the
            // next round.
            self.fire_counted(ring, st);
        }
    }

    /// The same before something else runs under this lock, which may look at the eventfd.
    pub(crate) fn flush(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        self.commit(ring, st);
        if let Some(file) = st.due.eventfd.take() {
            self.host().eventfd_signal(&file);
        }
    }

    /// Lets go of a ring's lock, then does what its holder left to do for others: a waiter that is
    /// woken earlier would run into the lock.
    #[inline]
    pub(crate) fn unlock(&self, ring: &Arc<Ring<H>>, mut st: StateGuard<'_, H>) {
        if st.aio.is_due() {
            self.commit(ring, &mut st);
        }
        let acting = st.acting.take();
        let owed = self.let_go(ring, st);
        if !owed.is_empty() {
            self.run_errands(owed, acting.as_ref());
        }
    }

    /// Lets go of a ring's lock in the same way while `f` runs.
    pub(crate) fn unlocked<R>(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut StateGuard<'_, H>,
        f: impl FnOnce() -> R,
    ) -> R {
        if st.aio.is_due() {
            self.hand_over(ring, st);
        }
        let due = take_due(ring, st);
        let acting = st.acting.take();
        let answer = StateGuard::unlocked(st, || {
            let owed = self.pay(ring, due);
            if !owed.is_empty() {
                self.run_errands(owed, acting.as_ref());
            }
            f()
        });
        st.acting = acting;
        answer
    }

    /// As [`Engine::unlock`] under another ring's lock: what is left to do for other rings is the
    /// caller's.
    #[inline]
    pub(super) fn let_go(&self, ring: &Arc<Ring<H>>, mut st: StateGuard<'_, H>) -> Vec<Errand<H>> {
        let due = take_due(ring, &mut st);
        st.acting = None;
        drop(st);
        self.pay(ring, due)
    }

    #[inline(always)]
    fn pay(&self, ring: &Ring<H>, (due, leader): Owed<H>) -> Vec<Errand<H>> {
        // Before who waits wakes and looks at it.
        if let Some(file) = due.eventfd {
            self.host().eventfd_signal(&file);
        }
        if due.sleepers {
            self.host().unpark(&ring.wait_seq, u32::MAX);
        }
        if due.bell {
            wake_all(ring);
        }
        if let Some(p) = leader {
            p.wake();
        }
        if due.signal {
            ring.mem.signal(due.announced);
        }
        due.errands
    }

    /// Notes that whoever waits on this ring is to be woken ([`Engine::unlock`] does), if there is
    /// enough to see or `always`.
    pub(crate) fn wake_waiters(&self, ring: &Ring<H>, st: &mut State<H>, always: bool) {
        if st.kin.is_some() {
            return wake_kin(st);
        }
        if st.leader == 0 && st.sleepers == 0 {
            return;
        }
        if !always && ring.cq_ready(st) < st.want {
            return;
        }
        if st.leader != 0 {
            st.due.leader = true;
        }
        if st.sleepers > 0 && !st.due.sleepers {
            // Relaxed: `sleep` (wait.rs) reads it under the same lock.
            ring.wait_seq.fetch_add(1, Relaxed);
            st.due.sleepers = true;
        }
    }
}

/// The same on a ring that other processes have, too, whatever they want to see.
#[cold]
fn wake_kin<H: Host>(st: &mut State<H>) {
    st.due.leader |= st.leader != 0;
    st.due.bell |= ring_bell(st);
}

/// What is due, and the poller whose leader is to be woken.
type Owed<H> = (Due<H>, Option<Arc<<H as Host>::Poller>>);

#[inline(always)]
fn take_due<H: Host>(ring: &Arc<Ring<H>>, st: &mut State<H>) -> Owed<H> {
    let mut due = core::mem::take(&mut st.due);
    if st.outbox.claim() {
        due.errands.push(Errand::Deliver(ring.clone()));
    }
    let leader = if due.leader { st.poller.clone() } else { None };
    (due, leader)
}
