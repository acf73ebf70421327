//! The Linux host: everything that touches the real kernel or the application's memory.
//!
//! ```text
//!  host.rs      impl Host for LinuxHost: one line for each call, delegating
//!  io net names thin calls            usermem  copies that survive bad pointers
//!  thread       raw threads, record   signals  fault and interrupt handlers, chaining
//!  alloc        our own allocator     lock     the futex lock under every mutex
//!  standin      pages for ring memory that vanished
//!  aio          the kernel's AIO, for O_DIRECT
//!  poller       epoll + wake          clock    clock_gettime    identity  who a thread is
//!  clerk latch wake readiness   protocols between threads     primitive  atomics and futex of these
//!  keeper file ringobj fdtable posixlock       where descriptors and rings live
//!  raw          typed system calls    arch/    everything that is per-architecture
//! ```
//!
//! Nothing here calls libc, uses `std`, sets `errno` or formats; any function may run on a thread
//! that libc does not know. Under `cfg(loom)` only the protocols between threads are compiled, over
//! the model checker's primitives (`crates/model`). What it does not do: know about SQEs, CQEs or requests.
#![no_std]
#![cfg_attr(loom, allow(dead_code, reason = "who calls it is not compiled into a model"))]
extern crate alloc as rust_alloc;
#[cfg(any(test, loom))]
extern crate std;

#[cfg(not(loom))]
pub mod aio;
#[cfg(not(loom))]
pub mod alloc;
pub mod arch;
#[cfg(not(loom))]
pub mod attach;
#[cfg(not(loom))]
pub mod child;
pub mod clerk;
#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod cpu;
pub mod freelist;
#[cfg(not(loom))]
pub mod futex;
pub mod generation;
#[cfg(not(loom))]
pub mod host;
#[cfg(not(loom))]
pub mod identity;
#[cfg(not(loom))]
pub mod io;
pub mod latch;
pub mod lock;
#[cfg(not(loom))]
pub mod names;
#[cfg(not(loom))]
pub mod net;
#[cfg(not(loom))]
pub mod pin;
#[cfg(not(loom))]
pub mod poller;
#[cfg(not(loom))]
mod primitive;
#[cfg(loom)]
pub mod primitive;
pub mod raw;
pub mod readiness;
#[cfg(not(loom))]
pub mod replay;
#[cfg(not(loom))]
pub mod signals;
#[cfg(not(loom))]
mod standin;
#[cfg(not(loom))]
pub mod thread;
#[cfg(not(loom))]
pub mod trace;
#[cfg(not(loom))]
pub mod usermem;
pub mod wake;

#[cfg(not(loom))]
pub use host::LinuxHost;

#[cfg(not(loom))]
pub mod fdtable;
#[cfg(not(loom))]
pub mod file;
#[cfg(not(loom))]
pub mod keeper;
#[cfg(not(loom))]
pub mod kin;
#[cfg(not(loom))]
pub mod posixlock;
#[cfg(not(loom))]
pub mod ringobj;

// The unit tests make threads that libc does not know: nothing of its malloc may run on them.
#[cfg(all(test, not(loom)))]
#[global_allocator]
static ALLOC: alloc::Alloc = alloc::Alloc;
