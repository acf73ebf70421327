//! Models: the real protocols between threads, over all interleavings and all values that their
//! orderings allow.
//!
//! ```text
//!  tests/protocols  one model a race, named after it
//!     | check(..)           loom runs it again and again, another interleaving each time
//!     v
//!  App (SQEs, CQEs) -> ringer-engine over Machine, a Host of loom's locks, waits and files
//!                   -> ringer-ring: pages of loom's words       } compiled with --cfg loom, the
//!                   -> ringer-sys: locks, clerk, readiness      } same source as ever
//! ```
//!
//! `cargo xtask model` runs them; without `--cfg loom` this crate is empty. What it does not do: model
//! the real kernel (files here are bytes that are there or not), time (short timeouts pass at once,
//! long ones never), signals.
#![cfg(loom)]

mod app;
mod check;
mod file;
mod futex;
mod host;
mod lock;
mod poller;
mod ring;

pub use app::{App, GETEVENTS, SQ_WAIT, SQ_WAKEUP};
pub use check::check;
pub use file::File;
pub use host::{Machine, Options, Thread, World};
pub use lock::Lock;
pub use poller::ModelPoller;
pub use ring::{ModelPages, ModelRing, Pages};

/// A thread of a model, with room for the engine's frames.
///
/// # Panics
/// Never: loom makes threads without asking anybody.
pub fn spawn<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> loom::thread::JoinHandle<T> {
    loom::thread::Builder::new().stack_size(STACK).spawn(f).expect("loom's threads are free")
}

/// Room for a thread's frames \[words\].
const STACK: usize = 64 * 1024;

/// A lock of std around what the model checker need not know of. No thread of a model runs while
/// another holds one.
pub(crate) fn quiet<T>(m: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A lock of loom, which never poisons.
pub(crate) fn lock<T>(m: &loom::sync::Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Sleeps on a condition variable.
pub(crate) fn sleep<'a, T>(
    cv: &loom::sync::Condvar,
    guard: loom::sync::MutexGuard<'a, T>,
) -> loom::sync::MutexGuard<'a, T> {
    cv.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
}
