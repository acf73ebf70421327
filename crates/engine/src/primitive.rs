//! The engine's atomics: `core`'s, or the model checker's under `cfg(loom)`.
//!
//! Words that are only ever touched under a lock or count something ([`crate::stats`], file nodes,
//! generations) stay `core`'s: a model has nothing to say about them. What it does not do: order
//! anything; each use names its partner.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32};

/// A vector that grows while others look at what it has.
#[cfg(not(loom))]
pub(crate) use boxcar::Vec as GrowOnly;

/// The same for models, which have few of anything: all there is, made at once, so that looking at it is
/// no event of the model.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct GrowOnly<T> {
    all: alloc::vec::Vec<T>,
    used: core::sync::atomic::AtomicUsize,
}

#[cfg(loom)]
impl<R: lock_api::RawRwLock, T> GrowOnly<lock_api::RwLock<R, Option<T>>> {
    const ROOM: usize = 8;

    pub(crate) fn new() -> Self {
        let all = (0..Self::ROOM).map(|_| lock_api::RwLock::new(None)).collect();
        Self { all, used: core::sync::atomic::AtomicUsize::new(0) }
    }

    pub(crate) fn push(&self, _none: lock_api::RwLock<R, Option<T>>) -> usize {
        let at = self.used.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        assert!(at < Self::ROOM, "a model has few rings");
        at
    }

    pub(crate) fn get(&self, at: usize) -> Option<&lock_api::RwLock<R, Option<T>>> {
        self.all.get(at)
    }

    pub(crate) fn count(&self) -> usize {
        self.used.load(core::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &lock_api::RwLock<R, Option<T>>)> {
        self.all.iter().take(self.count()).enumerate()
    }
}

/// A bound of a loop: as it is, or small enough for a model to run through.
pub(crate) const fn bound(real: u32, model: u32) -> u32 {
    if cfg!(loom) { model } else { real }
}
