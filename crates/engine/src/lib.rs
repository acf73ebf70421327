//! io_uring itself: rings, requests, opcodes and resources, over a [`host::Host`].
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod host;
