//! io_uring itself: rings, requests, opcodes and resources, over a [`host::Host`].
//!
//! ```text
//!  enter -> ring/submit -> opcode/opdef -> prep -> issue ---- Outcome --> ring/cq
//!                            request/link, drain    |  ^ issue again
//!                                                   v  |
//!                        request/{apoll, iowq, timers, reactor}   request/cancel reaches all
//! ```
//!
//! One lock a ring ([`ring::Ring`]'s state) guards everything of that ring, as `uring_lock` and the
//! completion lock together do in the kernel; `docs/design/locking.md` has the order. What this
//! crate does not do: make system calls, name threads, read clocks (all are [`host::Host`]'s), or
//! say `unsafe`.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod chaos;
pub mod engine;
pub mod host;
pub mod opcode;
pub mod policy;
mod primitive;
pub mod replay;
pub mod request;
pub mod resource;
pub mod ring;
mod rings;
pub mod slab;
pub mod stats;
pub mod support;
pub mod sync;
pub mod trace;

pub use engine::Engine;
