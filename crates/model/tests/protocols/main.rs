//! One model for each race that a protocol between threads prevents. `cargo xtask model` runs them.
//!
//! Each was seen to fail with one ordering or one step of its protocol weakened; the commit that
//! brought it says which. What they do not do: run without `--cfg loom`.
#![cfg(loom)]

mod cancel;
mod freelist;
mod futex;
mod latch;
mod lead;
mod locks;
mod messages;
mod overflow;
mod pages;
mod readiness;
mod resize;
mod sqe;
mod sqpoll;
mod teardown;
mod waits;
mod workers;
