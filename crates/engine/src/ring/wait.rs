//! Waiting for completions: the caller leads.
//!
//! ```text
//!  wait -- something watched, nobody leads --> lead: poller.wait, handle events, look again
//!     '--- otherwise --------------------------> sleep on wait_seq until a poster bumps it
//! ```
//!
//! The lost wake-up it prevents:
//!
//! ```text
//!   waiter (lock held)                 poster (worker, other thread)
//!   ready < min
//!   seq = wait_seq; sleepers += 1
//!   unlock
//!                                      lock, post, publish
//!                                      sleepers > 0: wait_seq += 1, unpark
//!   park(wait_seq, seq): differs -> returns at once
//! ```
//!
//! Who leaves while others sleep hands leadership over by waking them. Source of the rules: 6.18
//! io_uring.c `io_cqring_wait`.

use super::kin::lead_for;
use super::{Ring, State, StateGuard};
use crate::engine::Engine;
use crate::host::{Clock, Host, HostRing, PollEvent, Poller, SigMask};
use crate::primitive::bound;
use crate::request::clocks::Target;
use crate::request::start::owner_came;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use ringer_uapi::Errno;

/// Events taken from the poller at once.
const BATCH: usize = 64;
/// How long a sleeper relies on whoever leads \[ns\]: that one may have left its wait by siglongjmp(3), or
/// ended in it, and never come back.
const BEHIND_NS: u64 = 500_000_000;
/// The same once that was seen of it.
const MISSED_NS: u64 = 5_000_000;
/// Waits in a row that may be satisfied without looking at the poller.
const UNPOLLED_MAX: u32 = 4;

/// How long and under what mask to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WaitArg {
    /// When it ends.
    pub(crate) deadline: Option<Target>,
    /// After this long \[ns\] one completion is enough.
    pub(crate) min_wait: Option<u64>,
    /// Address and size of the mask that is in force during the wait.
    pub(crate) mask_at: (u64, u64),
}

/// How long a wait goes on, and for how many completions.
#[derive(Debug)]
struct Span {
    deadline: Option<Target>,
    min_deadline: Option<u64>,
    want: u32,
}

impl Span {
    fn new<H: Host>(host: &H, arg: &WaitArg, want: u32) -> Self {
        let min_deadline = arg.min_wait.map(|ns| host.now(Clock::Monotonic).saturating_add(ns));
        Self { deadline: arg.deadline, min_deadline, want }
    }

    fn until<H: Host>(&self, host: &H) -> Option<u64> {
        // io_uring.c `io_cqring_schedule_timeout`: until the minimum is over, nothing else is armed.
        self.min_deadline.or_else(|| self.deadline.map(|d| d.deadline(host)))
    }

    /// Whether time ends the wait, with `ready` completions there.
    fn expire<H: Host>(&mut self, host: &H, ready: u32) -> Option<Result<(), Errno>> {
        let until = self.until(host)?;
        let now = host.now(Clock::Monotonic);
        if now < until {
            return None;
        }
        if self.min_deadline.take_if(|m| now >= *m).is_some() {
            if ready > 0 {
                return Some(Ok(()));
            }
            // From here the first completion is enough; without a timeout this was all of it.
            self.want = self.want.min(1);
            if self.deadline.is_some_and(|d| now < d.deadline(host)) {
                return None;
            }
        }
        Some(Err(Errno::ETIME))
    }
}

impl<H: Host> Engine<H> {
    /// Runs what is pending, then waits until `min` completions can be seen. `looked`: the call
    /// submitted, and ran what was pending then.
    ///
    /// # Errors
    /// `ETIME`: the deadline. `EINTR`: a signal handler ran.
    pub(crate) fn wait_cq(
        &self,
        ring: &Arc<Ring<H>>,
        min: u32,
        arg: WaitArg,
        looked: bool,
    ) -> Result<(), Errno> {
        let mut st = ring.state.lock();
        // io_cqring_wait takes it for signed, and for fewer than none finds enough wherever it looks,
        // but not before the mask. (Of the least of all it never finds enough.)
        let (min, negative) = if min > 1 << 31 { (0, true) } else { (min, false) };
        self.catch_up(ring, &mut st, min, looked);
        let timeouts = st.cq_timeouts;
        let steps = arg.deadline.is_some_and(Target::may_step);
        if steps {
            st.clock_waits += 1;
            self.expect_steps(ring, &mut st);
            self.need_care(ring, &mut st);
        }
        let mut span = Span::new(self.host(), &arg, min.min(st.geo.cq_entries));
        // io_cqring_wait: a call that finds enough there never looks at its mask.
        let waits = negative || ring.cq_ready(&st) < span.want;
        let mask = if waits { self.wait_mask(arg.mask_at) } else { Ok(None) };
        // A policy is asked once for a call.
        let mut asks = st.fates.adopted;
        let result = loop {
            let mask = match mask {
                Ok(mask) => mask,
                Err(e) => break Err(e),
            };
            if st.kin.is_some() {
                self.attend_kin(ring, &mut st);
            }
            if !st.cq.backlog.is_empty() {
                // io_uring.c `io_cqring_wait`: what did not fit may, now.
                ring.flush_backlog(&mut st);
                self.commit(ring, &mut st);
            }
            let ready = ring.cq_ready(&st);
            if ready >= span.want || st.cq_timeouts != timeouts || st.dying {
                break Ok(());
            }
            if !st.deferred.is_empty() {
                // A worker's, which ended meanwhile.
                self.after_wait(ring, &mut st);
                continue;
            }
            if let Some(over) = span.expire(self.host(), ready) {
                break over;
            }
            if st.fates.replayed {
                if self.replay_to_who_waits(ring, &mut st) {
                    continue;
                }
                if core::mem::take(&mut st.fates.timed) && ready > 0 {
                    // io_cqring_wait: one that fired ended the wait.
                    break Ok(());
                }
            } else if asks && self.interrupts(ring, &mut st) {
                break Err(Errno::EINTR);
            }
            asks = false;
            let r;
            let until = span.until(self.host());
            (st, r) = self.wait_once(ring, st, span.want, until, mask);
            if r == Err(Errno::EINTR) && ring.cq_ready(&st) < span.want {
                break r;
            }
        };
        st.clock_waits -= u32::from(steps);
        self.leave_wait(ring, &mut st);
        let empty = ring.cq_ready(&st) == 0;
        if empty {
            // Under the lock: a completion published after this look signals after it, too.
            ring.mem.drain();
        }
        self.unlock(ring, st);
        self.tell_watchers(ring);
        match result {
            // io_cqring_wait: a wait error is told only when there is nothing to see.
            Err(Errno::ETIME | Errno::EINTR) if !empty => Ok(()),
            r => r,
        }
    }

    /// What every `enter` with GETEVENTS does first.
    fn catch_up(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, min: u32, looked: bool) {
        st.may_post = true;
        if st.unmapped {
            // The last descriptor was closed between the caller's look at it and our lock.
            return;
        }
        // Also a caller who never has to sleep looks after the ring: see `poll_events` below.
        st.lead_epoch = st.lead_epoch.wrapping_add(1);
        if st.aio.in_flight() {
            self.reap_transfers(ring, st);
        }
        st.ahead.calls(self.host().tid());
        if !st.ahead.is_empty() && (min == 0 || ring.cq_ready(st) >= min) {
            // A wait that is satisfied already would never look.
            self.look_again(ring, st);
        }
        // What a worker has come to since is there for a call that needs it, and for the next.
        if !(looked && ring.defers()) {
            owner_came(ring, st);
            self.run_task_work(ring, st);
        }
        self.run_timers(ring, st);
        self.commit(ring, st);
        if !st.cq.backlog.is_empty() {
            ring.flush_backlog(st);
            self.commit(ring, st);
        }
        // A wait that is satisfied already would never look at the poller.
        if ring.cq_ready(st) >= min && st.polled > 0 && st.leader == 0 {
            st.unpolled += 1;
            if min == 0 || st.unpolled >= UNPOLLED_MAX {
                self.poll_events(ring, st);
                self.commit(ring, st);
            }
        }
    }

    /// Handles what is ready now, without waiting; how much that is.
    pub(crate) fn poll_events(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) -> usize {
        st.unpolled = 0;
        st.poll_now = false;
        let Some(poller) = st.poller.clone() else { return 0 };
        let mut events = [PollEvent::default(); BATCH];
        let n = poller.wait(&mut events, Some(0), None).unwrap_or(0);
        self.on_events(ring, st, events.get(..n).unwrap_or(&[]));
        n
    }

    /// Leads or sleeps once.
    fn wait_once<'a>(
        &self,
        ring: &'a Arc<Ring<H>>,
        mut st: StateGuard<'a, H>,
        want: u32,
        until: Option<u64>,
        mask: Option<SigMask>,
    ) -> (StateGuard<'a, H>, Result<(), Errno>) {
        if !st.ahead.is_empty() {
            if mask.is_none() && self.waits_for_disk(ring, &st, want, until) {
                let (mut st, r) = self.read_oldest(ring, st);
                self.after_wait(ring, &mut st);
                return (st, r);
            }
            self.ahead_to_worker(ring, &mut st);
            self.after_wait(ring, &mut st);
            if ring.cq_ready(&st) >= want {
                return (st, Ok(()));
            }
        }
        st.want = st.want.min(want);
        let needs_poller = st.polled > 0 || mask.is_some();
        // A handler that interrupted this thread's own wait leads in its place, and so does a thread
        // that left its wait by siglongjmp.
        let me = self.host().tid();
        let free = st.leader == 0 || st.leader == me;
        let poller = if needs_poller && free { self.poller_of(&mut st).ok() } else { None };
        let Some(poller) = poller else {
            let timeout = self.remaining(&st, until);
            return self.sleep(ring, st, timeout);
        };
        let timeout = lead_for(&st, self.remaining(&st, until));
        st.leader = me;
        st.lead_epoch = st.lead_epoch.wrapping_add(1);
        self.unlock(ring, st);
        let mut events = [PollEvent::default(); BATCH];
        let r = poller.wait(&mut events, timeout, mask);
        let mut st = ring.state.lock();
        st.leader = 0;
        st.unpolled = 0;
        st.lead_epoch = st.lead_epoch.wrapping_add(1);
        if st.sleepers == 0 {
            st.want = u32::MAX;
        }
        st.may_post = true;
        if let Ok(n) = r {
            self.on_events(ring, &mut st, events.get(..n).unwrap_or(&[]));
        }
        self.after_wait(ring, &mut st);
        (st, r.map(|_| ()))
    }

    fn sleep<'a>(
        &self,
        ring: &'a Arc<Ring<H>>,
        mut st: StateGuard<'a, H>,
        timeout: Option<u64>,
    ) -> (StateGuard<'a, H>, Result<(), Errno>) {
        let (leader, epoch) = (st.leader, st.lead_epoch);
        let trust = if st.missed == leader { MISSED_NS } else { BEHIND_NS };
        // No model has a thread that leaves its wait, and in all of them time passes at once.
        let looks =
            bound(1, 0) != 0 && leader != 0 && st.polled > 0 && timeout.is_none_or(|ns| ns > trust);
        let mut r = self.doze(ring, &mut st, if looks { Some(trust) } else { timeout });
        if looks && r == Err(Errno::ETIMEDOUT) {
            r = Ok(());
            let stays = st.leader == leader && st.lead_epoch == epoch && !st.dying;
            if stays && self.poll_events(ring, &mut st) > 0 {
                // Whoever leads would have had these. It stays in the books, so that it is woken if it
                // is there after all.
                st.missed = leader;
            }
        }
        self.after_wait(ring, &mut st);
        (st, r)
    }

    /// Sleeps, the lock let go, until somebody bumps `wait_seq`.
    pub(crate) fn doze(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut StateGuard<'_, H>,
        timeout: Option<u64>,
    ) -> Result<(), Errno> {
        if let Some(common) = st.kin.as_ref().map(|kin| kin.common().clone()) {
            let r = self.doze_among(ring, st, &common, timeout);
            st.may_post = true;
            return r;
        }
        st.sleepers += 1;
        // Relaxed: read and bumped under the lock, so a bump after this is seen by the futex.
        let seq = ring.wait_seq.load(Relaxed);
        let r = self.unlocked(ring, st, || self.host().park(&ring.wait_seq, seq, timeout));
        st.sleepers -= 1;
        if st.sleepers == 0 && st.leader == 0 {
            st.want = u32::MAX;
        }
        st.may_post = true;
        r
    }

    /// Posts what was deferred and starts what has its turn.
    #[inline]
    pub(crate) fn run_task_work(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if !st.deferred.is_empty() || st.has_turns() {
            self.run_deferred(ring, st);
            self.run_ready(ring, st);
        }
    }

    fn after_wait(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if st.told {
            owner_came(ring, st);
        }
        self.run_task_work(ring, st);
        self.run_timers(ring, st);
        if !st.cq.backlog.is_empty() {
            ring.flush_backlog(st);
        }
        self.commit(ring, st);
    }

    fn remaining(&self, st: &State<H>, until: Option<u64>) -> Option<u64> {
        let until = match (until, st.timers.next()) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        };
        Some(until.saturating_sub(self.host().now(Clock::Monotonic)))
    }

    fn leave_wait(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if st.sleepers > 0 && st.leader == 0 && (st.polled > 0 || !st.ahead.is_empty()) {
            self.wake_waiters(ring, st, true);
        }
        if st.leader == 0 {
            self.unpark_care(ring, st);
        }
    }
}
