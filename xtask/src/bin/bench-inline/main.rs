//! The same measurements as `bench-work`, by `syscall` instructions of this program.
//!
//! ```text
//!   io-uring crate -> syscall()  (libc's name, defined here)
//!                       |-- io_uring_enter -> `enter`, shaped as liburing's: a site that can be patched
//!                       '-- anything else  -> `call`
//! ```
//! What it does not do: differ in anything else; the works are the same files.
#![allow(clippy::print_stdout, reason = "the figures go to stdout")]

#[cfg(target_arch = "x86_64")]
mod inline;
#[path = "../bench-work/works/mod.rs"]
mod works;

fn main() -> anyhow::Result<()> {
    works::main()
}
