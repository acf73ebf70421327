//! How the three system calls of a process reach the engine.
//!
//! ```text
//!  interposed syscall() ---------------.
//!  interposed mmap() -------------------+--> entry --> root: the process's engine
//!  inline syscall --filter--> trap ----+
//!        '- patched --> stub ----------'
//!                     ^
//!  start: scan -------'     resolve: the real functions     mask, process, stats: the rest
//! ```
//! The preload library and the embeddable crate are thin coats over this one. Nothing here runs
//! libc code on a thread that libc does not know, and nothing allocates or locks in a signal
//! handler. What it does not do: know what a request is (the engine does) or make host calls of
//! its own for one (sys does).
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(any(test, feature = "test-utils"))]
pub mod bpf;
pub mod chaos;
mod decode;
pub mod entry;
pub mod env;
pub mod filter;
mod flags;
pub mod got;
pub mod mask;
pub mod objects;
pub mod patch;
pub mod process;
mod replay;
pub mod resolve;
pub mod root;
pub mod scan;
mod site;
pub mod start;
pub mod stats;
pub mod trace;
mod trampoline;
pub mod trap;
mod unwind;
pub mod waits;
