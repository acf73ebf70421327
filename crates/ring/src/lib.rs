//! The only code that looks at a ring's shared pages.
//!
//! ```text
//!  offset 0        head/tail words, masks, flags     [`Geometry`] says where
//!  offset 64       CQEs, 16 or 32 bytes each         written here, then the tail is published
//!  after them      the SQ index array (optional)     read once, checked after the load
//!  another map     SQEs, 64 or 128 bytes each        eight relaxed loads, then ours
//! ```
//!
//! The application stores to these pages at any time. Everything here is an atomic access to a
//! `u32` or `u64`, every index that came from the pages is masked or checked after its load, and no
//! value read can panic or loop. What it does not do: own the memory (the host does) or decide
//! anything (the engine does).
#![no_std]
#[cfg(feature = "test-utils")]
extern crate alloc;
#[cfg(loom)]
extern crate std;

mod cq;
mod geometry;
#[cfg(not(loom))]
mod map;
#[cfg(loom)]
#[path = "map/model.rs"]
mod map;
mod primitive;
mod sq;

pub use cq::CqView;
pub use geometry::Geometry;
pub use map::Map;
pub use sq::SqView;
