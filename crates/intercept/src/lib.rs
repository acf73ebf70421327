//! How the three system calls of a process reach the engine.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod decode;
pub mod filter;
pub mod objects;
pub mod resolve;
pub mod scan;
