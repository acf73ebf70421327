//! Posting completions: the only code that writes CQEs.
//!
//! ```text
//!  post -> room and no backlog -> CQE body           tail > published: written, not yet visible
//!      '-> backlog (FIFO)      -> CQ_OVERFLOW set
//!  commit -> publish tail -> counted timeouts -> wake, eventfd, readable
//! ```
//!
//! Nothing is lost and nothing overtakes: while the backlog holds something, everything new goes
//! behind it (6.18 io_uring.c `io_cqring_event_overflow`). What it does not do: decide whether the
//! caller may post now; DEFER_TASKRUN rings queue in `State::deferred` instead.

use super::{Ring, State};
use crate::engine::Engine;
use crate::host::{Host, HostRing, Poller};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Release;
use ringer_uapi::Cqe;
use ringer_uapi::flags::SqRing;

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

    /// Moves what fits from the backlog into the ring (only `enter` with GETEVENTS does).
    pub fn flush_backlog(&self, st: &mut State<H>) {
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

impl<H: Host> Engine<H> {
    /// Makes written completions visible and tells everybody who waits for them.
    pub(crate) fn commit(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        while st.cq.tail != st.cq.published && !st.unmapped {
            let count = st.cq.tail.wrapping_sub(st.cq.published);
            ring.cq().publish_tail(st.cq.tail);
            st.cq.published = st.cq.tail;
            self.wake_waiters(ring, st, false);
            self.tell_eventfd(ring, st, count);
            ring.mem.signal();
            // Counted timeouts that this reached complete now, and are themselves published in the
            // next round.
            self.fire_counted(ring, st);
        }
    }

    fn tell_eventfd(&self, ring: &Ring<H>, st: &mut State<H>, count: u32) {
        let from_worker = core::mem::take(&mut st.cq.from_worker);
        if let Some((file, async_only)) = &st.eventfd
            && count > 0
            && (!*async_only || from_worker)
            && !ring.cq().eventfd_disabled()
        {
            self.host().eventfd_signal(file);
        }
    }

    /// Wakes whoever waits on this ring, if there is enough to see or `always`.
    pub(crate) fn wake_waiters(&self, ring: &Ring<H>, st: &State<H>, always: bool) {
        if !st.leader && st.sleepers == 0 {
            return;
        }
        if !always && ring.cq_ready(st) < st.want {
            return;
        }
        if st.leader
            && let Some(p) = &st.poller
        {
            p.wake();
        }
        if st.sleepers > 0 {
            ring.wait_seq.fetch_add(1, Release);
            self.host().unpark(&ring.wait_seq, u32::MAX);
        }
    }
}
