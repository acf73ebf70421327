//! What the protocols between threads are made of: `core`'s atomics and the kernel's futex, or the
//! model checker's under `cfg(loom)`.
//!
//! What it does not do: order anything. Each use names its partner.

#[cfg(not(loom))]
pub(crate) use crate::raw::{futex_wait, futex_wake};
#[cfg(not(loom))]
pub(crate) use crate::thread::tid;
#[cfg(not(loom))]
pub(crate) use core::hint::spin_loop;
/// A word of memory that was not made as an atomic.
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::AtomicU64 as Word64;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};

/// Lets another thread go on, which this one waits for without its knowledge [50 us].
#[cfg(not(loom))]
pub(crate) fn step_aside() {
    let _ = futex_wait(&AtomicU32::new(0), 0, Some(50_000));
}

/// One side of a pair of full fences, the one that must cost nothing: the other side makes every
/// thread pass a barrier, so that only the compiler must be told.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn light_fence() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

/// The other side: makes every running thread of the process pass a full barrier. Where that is
/// refused, the window left is a store buffer's.
#[cfg(not(loom))]
pub(crate) fn heavy_fence() {
    const REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;
    const PRIVATE_EXPEDITED: usize = 1 << 3;
    for command in [REGISTER_PRIVATE_EXPEDITED, PRIVATE_EXPEDITED] {
        crate::raw::membarrier(command);
    }
}

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub use model::*;
