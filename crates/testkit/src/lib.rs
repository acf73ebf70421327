//! What the tests share: blockers, a ring client with two call paths, transcripts, a harness.
//!
//! ```text
//!   crates/cli/tests/e2e_*.rs, bin/programs        bin/prog, bin/prog-inline
//!        | harness: ringer run, blocked, stats          | programs: one behaviour each
//!        v                                              v
//!   block (two seccomp profiles) <- bin/blocked    ring (client) -> call (libc | inline)
//!        \________________________ os (every unsafe line of the kit) ____/
//! ```
//! The test programs know nothing of ringer: they run the same on the kernel's own io_uring, which
//! is how each of them is checked first. What this crate does not do: link the engine.
#![allow(clippy::print_stdout, reason = "test programs answer on stdout")]
#![allow(clippy::print_stderr, reason = "and complain on stderr")]

pub mod block;
pub mod call;
pub mod differential;
pub mod fidelity;
pub mod harness;
pub mod os;
pub mod programs;
pub mod ring;
pub mod sqe;
mod stuck;
pub mod transcript;

pub use os::{Errno, Sys};
pub use ring::{Layout, Ring};
