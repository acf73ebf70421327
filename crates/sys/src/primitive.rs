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
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, fence};

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub use model::*;
