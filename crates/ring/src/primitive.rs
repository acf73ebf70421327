//! The atomics of the shared pages: `core`'s, or the model checker's under `cfg(loom)`.
//!
//! What it does not do: order anything. `sq.rs` and `cq.rs` name each ordering and its partner.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, fence};
