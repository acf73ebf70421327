//! The engine's atomics: `core`'s, or the model checker's under `cfg(loom)`.
//!
//! Words that are only ever touched under a lock or count something ([`crate::stats`], file nodes,
//! generations) stay `core`'s: a model has nothing to say about them. What it does not do: order
//! anything; each use names its partner.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32};

/// A bound of a loop: as it is, or small enough for a model to run through.
pub(crate) const fn bound(real: u32, model: u32) -> u32 {
    if cfg!(loom) { model } else { real }
}
