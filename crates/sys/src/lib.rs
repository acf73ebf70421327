//! The Linux host: everything that touches the real kernel or the application's memory.
//!
//! ```text
//!  host.rs      impl Host for LinuxHost: one line for each call, delegating
//!  io net names thin calls            usermem  copies that survive bad pointers
//!  thread       raw threads, record   signals  fault and interrupt handlers, chaining
//!  alloc        our own allocator     lock     the futex lock under every mutex
//!  standin      pages for ring memory that vanished
//!  poller       epoll + wake          clock    clock_gettime    identity  who a thread is
//!  keeper file ringobj fdtable posixlock       where descriptors and rings live
//!  raw          typed system calls    arch/    everything that is per-architecture
//! ```
//!
//! Nothing here calls libc, uses `std`, sets `errno` or formats; any function may run on a thread
//! that libc does not know. What it does not do: know about SQEs, CQEs or requests.
#![no_std]
extern crate alloc as rust_alloc;
#[cfg(test)]
extern crate std;

pub mod alloc;
pub mod arch;
pub mod clock;
pub mod cpu;
pub mod generation;
pub mod host;
pub mod identity;
pub mod io;
pub mod lock;
pub mod names;
pub mod net;
pub mod pin;
pub mod poller;
pub mod raw;
pub mod signals;
mod standin;
pub mod thread;
pub mod usermem;

pub use host::LinuxHost;

pub mod fdtable;
pub mod file;
pub mod keeper;
pub mod posixlock;
pub mod ringobj;

// The unit tests make threads that libc does not know: nothing of its malloc may run on them.
#[cfg(test)]
#[global_allocator]
static ALLOC: alloc::Alloc = alloc::Alloc;
