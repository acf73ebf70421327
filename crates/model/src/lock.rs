//! [`Lock`], under every mutex of the engine in a model: loom's own, so that contention is a
//! decision of the model checker.
//!
//! The futex lock of the real host has models of its own. What it does not do: spin.

use loom::sync::{Mutex, MutexGuard};
use ringer_sys::primitive::AtomicBool;
use std::cell::UnsafeCell;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

/// See the module's doc.
pub struct Lock {
    /// The guard of whoever holds it. Dropped before the mutex.
    held: UnsafeCell<Option<MutexGuard<'static, ()>>>,
    /// On the heap, so that a guard's reference survives a move of the `Lock`; made when first
    /// taken, because loom has no constants.
    mutex: OnceLock<Box<Mutex<()>>>,
    /// Loom takes an unlock for no event of its own, so it would never try what a `try_lock` finds
    /// before it: both look at this, and their order is a decision.
    freed: AtomicBool,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

// SAFETY: the threads of a model are coroutines of one thread of std, which nothing here leaves.
unsafe impl Send for Lock {}
// SAFETY: as for `Send`; `held` is touched by the mutex's holder only.
unsafe impl Sync for Lock {}

impl Lock {
    fn mutex(&self) -> &Mutex<()> {
        self.mutex.get_or_init(|| Box::new(Mutex::new(())))
    }

    fn keep(&self, guard: MutexGuard<'_, ()>) {
        // SAFETY: the guard borrows the boxed mutex, which lives as long as `self`, and `self` keeps
        // the guard: it is dropped in `unlock`, or before the mutex (field order).
        let guard: MutexGuard<'static, ()> = unsafe { std::mem::transmute(guard) };
        // SAFETY: the caller just got the mutex, so nobody else is here.
        unsafe { *self.held.get() = Some(guard) };
    }
}

// SAFETY: exclusion is loom's mutex': `lock` and `try_lock` return with its guard put away, and only
// `unlock` takes it out again.
unsafe impl lock_api::RawMutex for Lock {
    #[allow(clippy::declare_interior_mutable_const, reason = "lock_api asks for this constant")]
    const INIT: Self =
        Self { held: UnsafeCell::new(None), mutex: OnceLock::new(), freed: AtomicBool::new(false) };
    type GuardMarker = lock_api::GuardSend;

    fn lock(&self) {
        self.keep(crate::lock(self.mutex()));
    }

    fn try_lock(&self) -> bool {
        self.freed.load(Relaxed);
        let Ok(guard) = self.mutex().try_lock() else { return false };
        self.keep(guard);
        true
    }

    unsafe fn unlock(&self) {
        self.freed.store(true, Relaxed);
        // SAFETY: the caller holds the lock (contract of `unlock`).
        let guard = unsafe { (*self.held.get()).take() };
        drop(guard);
    }
}
