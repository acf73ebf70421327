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
//! Nothing is lost and nothing overtakes: while the backlog holds something, everything new goes
//! behind it (6.18 io_uring.c `io_cqring_event_overflow`). What it does not do: decide whether the
//! caller may post now; DEFER_TASKRUN rings queue in `State::deferred` instead.

use super::{Ring, State};
use crate::engine::Engine;
use crate::host::{Host, HostRing, Poller};
use crate::sync::MutexGuard;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use ringer_uapi::flags::{CqeFlags, SqRing};
use ringer_uapi::{Cqe, Errno};

/// What the holder of a ring's lock owes to others once it has let go.
#[derive(Debug)]
pub struct Due<H: Host> {
    sleepers: bool,
    leader: bool,
    pub(super) signal: bool,
    eventfd: Option<H::File>,
}

impl<H: Host> Default for Due<H> {
    fn default() -> Self {
        Self { sleepers: false, leader: false, signal: false, eventfd: None }
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
        st.cq.published.wrapping_sub(self.cq().head()).min(self.geo.cq_entries)
    }

    fn cq_full(&self, st: &State<H>) -> bool {
        st.cq.tail.wrapping_sub(self.cq().head()) >= self.geo.cq_entries
    }

    /// Whether the next completion would go to the backlog (which ends a multishot).
    pub fn cq_would_overflow(&self, st: &State<H>) -> bool {
        !st.unmapped && (!st.cq.backlog.is_empty() || self.cq_full(st))
    }

    /// Writes one completion, or puts it into the backlog. Returns false for the backlog.
    #[inline]
    pub fn post(&self, st: &mut State<H>, cqe: Cqe) -> bool {
        if st.unmapped {
            return true;
        }
        if !st.cq.backlog.is_empty() || self.cq_full(st) {
            st.cq.backlog.push_back(cqe);
            self.sq().set_flags(SqRing::CQ_OVERFLOW);
            return false;
        }
        self.cq().write(st.cq.tail, &cqe);
        st.cq.tail = st.cq.tail.wrapping_add(1);
        true
    }

    /// Writes one completion of a request that goes on. False: the backlog took it, which ends a
    /// multishot.
    pub fn post_more(
        &self,
        st: &mut State<H>,
        user_data: u64,
        res: Result<i32, Errno>,
        cflags: u32,
    ) -> bool {
        self.post(st, Cqe::new(user_data, res, cflags | CqeFlags::MORE.bits()))
    }

    /// Moves what fits from the backlog into the ring (only `enter` with GETEVENTS does).
    pub fn flush_backlog(&self, st: &mut State<H>) {
        if st.unmapped {
            return;
        }
        while !st.cq.backlog.is_empty() && !self.cq_full(st) {
            if let Some(cqe) = st.cq.backlog.pop_front() {
                self.cq().write(st.cq.tail, &cqe);
                st.cq.tail = st.cq.tail.wrapping_add(1);
            }
        }
        if st.cq.backlog.is_empty() {
            self.sq().clear_flags(SqRing::CQ_OVERFLOW);
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
            && !self.cq().eventfd_disabled()
        {
            st.due.eventfd = Some(file.clone());
        }
    }
}

impl<H: Host> Engine<H> {
    /// Makes written completions visible and tells everybody who waits for them.
    pub(crate) fn commit(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        while st.cq.tail != st.cq.published && !st.unmapped {
            let count = st.cq.tail.wrapping_sub(st.cq.published);
            ring.cq().publish_tail(st.cq.tail);
            st.cq.published = st.cq.tail;
            self.wake_waiters(ring, st, false);
            if count > 0 {
                ring.tell_eventfd(st);
            }
            st.due.signal = true;
            // Counted timeouts that this reached complete now, and are themselves published in the
            // next round.
            self.fire_counted(ring, st);
        }
    }

    /// Lets go of a ring's lock, then does what its holder left to do for others: a waiter that is
    /// woken earlier would run into the lock.
    pub(crate) fn unlock(&self, ring: &Ring<H>, mut st: MutexGuard<'_, H, State<H>>) {
        let due = core::mem::take(&mut st.due);
        let leader = if due.leader { st.poller.clone() } else { None };
        drop(st);
        if due.sleepers {
            self.host().unpark(&ring.wait_seq, u32::MAX);
        }
        if let Some(p) = leader {
            p.wake();
        }
        if let Some(file) = due.eventfd {
            self.host().eventfd_signal(&file);
        }
        if due.signal {
            ring.mem.signal();
        }
    }

    /// Notes that whoever waits on this ring is to be woken ([`Engine::unlock`] does), if there is
    /// enough to see or `always`.
    pub(crate) fn wake_waiters(&self, ring: &Ring<H>, st: &mut State<H>, always: bool) {
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
