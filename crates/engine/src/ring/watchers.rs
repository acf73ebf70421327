//! Rings that poll this ring: what was posted here completes their poll before the call returns, unless
//! somebody else, the reactor too, leads them just then.
//!
//! ```text
//!   enter of A: post, publish, unlock -> rings that poll A: lock, handle A's event, post, unlock
//!                                          '-> rings that poll those, and so on; LOOKS_MAX in all
//! ```
//!
//! One ring's lock is held at a time. It saves the tick that the reactor would let pass (the event
//! itself is the poller's, so that nothing is lost here). What it does not do: look after
//! DEFER_TASKRUN rings, rings that a caller leads, or what workers post: those have the reactor.

use super::{Errand, Ring};
use crate::engine::Engine;
use crate::host::Host;
use crate::primitive::AtomicBool;
use crate::resource::personality::Acting;
use crate::sync::{Mutex, mutex};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// Rings looked at for one call; what is left waits for the reactor's tick.
const LOOKS_MAX: usize = 32;

/// The rings that wait for this one. See the module's picture.
#[derive(Debug)]
pub struct Watchers<H: Host> {
    any: AtomicBool,
    rings: Mutex<H, Vec<Weak<Ring<H>>>>,
}

impl<H: Host> Default for Watchers<H> {
    fn default() -> Self {
        Self { any: AtomicBool::new(false), rings: mutex(Vec::new()) }
    }
}

impl<H: Host> Watchers<H> {
    /// `ring` waits for this one now.
    pub(crate) fn add(&self, ring: &Arc<Ring<H>>) {
        let mut rings = self.rings.lock();
        rings.retain(|r| r.strong_count() > 0);
        if !rings.iter().any(|r| core::ptr::eq(r.as_ptr(), Arc::as_ptr(ring))) {
            rings.push(Arc::downgrade(ring));
        }
        // Relaxed: who misses it leaves the event to the reactor.
        self.any.store(true, Relaxed);
    }

    /// Whether some may be there.
    pub(super) fn are_there(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// All of them; whoever waits still, or again, is added again.
    fn take(&self) -> Vec<Weak<Ring<H>>> {
        if !self.any.load(Relaxed) {
            return Vec::new();
        }
        let mut rings = self.rings.lock();
        self.any.store(false, Relaxed);
        core::mem::take(&mut *rings)
    }
}

impl<H: Host> Engine<H> {
    /// Lets the rings that poll `ring` handle what a call posted in it. With no lock held, in a
    /// thread of the application's.
    #[inline]
    pub(crate) fn tell_watchers(&self, ring: &Ring<H>) {
        if ring.watchers.are_there() {
            let mut owed = Vec::new();
            self.look_at_watchers(ring, &mut owed, None);
            self.run_errands(owed, None);
        }
    }

    /// The same; what that leads to in other rings is the caller's to do.
    #[cold]
    pub(super) fn look_at_watchers(
        &self,
        ring: &Ring<H>,
        owed: &mut Vec<Errand<H>>,
        acting: Option<&Acting<H>>,
    ) {
        let direct = ring.watchers.take();
        let mut due = direct.clone();
        for _ in 0..LOOKS_MAX {
            let Some(ring) = due.pop() else { break };
            let Some(ring) = ring.upgrade() else { continue };
            let mut st = ring.state.lock();
            if ring.defers() || st.dying || st.leader != 0 || st.polled == 0 {
                continue;
            }
            st.acting = acting.cloned();
            self.poll_events(&ring, &mut st);
            self.commit(&ring, &mut st);
            owed.append(&mut self.let_go(&ring, st));
            due.append(&mut ring.watchers.take());
        }
        // What was posted may not have been what they wait for, or nothing was.
        for watcher in direct.iter().filter_map(Weak::upgrade) {
            if watcher.state.lock().polled > 0 {
                ring.watchers.add(&watcher);
            }
        }
    }
}
