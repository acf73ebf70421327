//! Times on clocks that somebody may set, or that go on while the machine is suspended.
//!
//! ```text
//!   timeout or wait -- target (clock, ns) --converted--> deadline on CLOCK_MONOTONIC
//!                                              ^ again, when the reactor's poller reports a step
//!   reactor: epoch += 1, looks at its rings --'  (a ring of an older epoch converts all of its targets)
//! ```
//!
//! A step that comes between the conversion and the arming is not lost: the ring's epoch is the one that it
//! converted by, read before the clocks were. Source: 6.18 kernel/time/hrtimer.c, whose timers are on
//! their clock (`clock_was_set`); a relative time on the real-time clock is one on the monotonic
//! (`hrtimer_setup`). What it does not do: notice steps where the host cannot report them.

use super::Phase;
use crate::engine::Engine;
use crate::host::{Clock, Host};
use crate::opcode::timeout::steps_with;
use crate::ring::{Ring, State};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// A time on a clock \[ns\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) clock: Clock,
    pub(crate) ns: u64,
}

impl Target {
    /// Whether its clock makes steps.
    pub(crate) fn may_step(self) -> bool {
        self.clock != Clock::Monotonic
    }

    /// As it is now on CLOCK_MONOTONIC \[ns\].
    pub(crate) fn deadline<H: Host>(self, host: &H) -> u64 {
        if !self.may_step() {
            return self.ns;
        }
        let left = self.ns.saturating_sub(host.now(self.clock));
        host.now(Clock::Monotonic).saturating_add(left)
    }
}

impl<H: Host> Engine<H> {
    /// Before a target of a clock that may step is converted.
    #[cold]
    pub(crate) fn expect_steps(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        self.watch_clocks();
        self.follow_clocks(ring, st);
    }

    /// Converts the ring's targets again, if a clock made a step since.
    pub(crate) fn follow_clocks(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        // Relaxed: the step was made before its report, and who converts asks the clock itself.
        let epoch = self.reactor().clock_epoch.load(Relaxed);
        if core::mem::replace(&mut st.clock_epoch, epoch) == epoch {
            return;
        }
        let moved: Vec<_> = st
            .reqs
            .iter()
            .filter_map(|(key, r)| match (&r.cmd, &r.phase) {
                (Some(cmd), Phase::Timer(Some(at))) => Some((key, *at, steps_with(cmd)?)),
                _ => None,
            })
            .collect();
        for &(key, at, target) in &moved {
            st.timers.remove(at);
            let at = st.timers.arm(target.deadline(self.host()), key);
            if let Some(req) = st.reqs.get_mut(key) {
                req.phase = Phase::Timer(Some(at));
            }
        }
        if !moved.is_empty() || st.clock_waits > 0 {
            self.wake_waiters(ring, st, true);
        }
    }
}
