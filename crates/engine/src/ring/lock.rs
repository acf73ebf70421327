//! The lock of a ring's state: of this process, and of all that share the ring.
//!
//! ```text
//!   lock:   this process's mutex -> the lock in common -> heads as the last holder left them
//!   unlock: heads for the next holder -> the lock in common -> the mutex
//! ```
//!
//! A ring that was never shared has the mutex alone, and looks at one word more. What it does not do:
//! know what is in common ([`super::kin`] does).

use super::State;
use crate::host::Host;
use crate::sync::{Mutex, MutexGuard, mutex};
use core::ops::{Deref, DerefMut};

/// See the module's doc.
#[derive(Debug)]
pub struct StateLock<H: Host>(Mutex<H, State<H>>);

impl<H: Host> StateLock<H> {
    pub(super) fn new(state: State<H>) -> Self {
        Self(mutex(state))
    }

    /// Takes the lock.
    #[inline(always)]
    pub fn lock(&self) -> StateGuard<'_, H> {
        let mut guard = self.0.lock();
        if guard.kin.is_some() {
            enter(&mut guard);
        }
        StateGuard(guard)
    }

    /// The same, if nobody has it.
    #[inline]
    pub fn try_lock(&self) -> Option<StateGuard<'_, H>> {
        let mut guard = self.0.try_lock()?;
        let State { kin, sq_head, cq, .. } = &mut *guard;
        let free = kin.as_mut().is_none_or(|kin| kin.try_enter(sq_head, cq));
        free.then(|| StateGuard(guard))
    }
}

#[cold]
fn enter<H: Host>(st: &mut State<H>) {
    if let State { kin: Some(kin), sq_head, cq, .. } = st {
        kin.enter(sq_head, cq);
    }
}

#[cold]
fn leave<H: Host>(st: &mut State<H>) {
    if let State { kin: Some(kin), sq_head, cq, .. } = st {
        kin.leave(*sq_head, cq);
    }
}

/// A ring's state, locked.
#[derive(Debug)]
pub struct StateGuard<'a, H: Host>(MutexGuard<'a, H, State<H>>);

impl<H: Host> StateGuard<'_, H> {
    /// Lets go of the lock while `f` runs.
    pub fn unlocked<R>(s: &mut Self, f: impl FnOnce() -> R) -> R {
        if s.kin.is_some() {
            leave(s);
        }
        let answer = MutexGuard::<H, State<H>>::unlocked(&mut s.0, f);
        if s.kin.is_some() {
            enter(s);
        }
        answer
    }
}

impl<H: Host> Deref for StateGuard<'_, H> {
    type Target = State<H>;

    #[inline(always)]
    fn deref(&self) -> &State<H> {
        &self.0
    }
}

impl<H: Host> DerefMut for StateGuard<'_, H> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut State<H> {
        &mut self.0
    }
}

impl<H: Host> Drop for StateGuard<'_, H> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0.kin.is_some() {
            leave(&mut self.0);
        }
    }
}
