//! `libringer_preload.so`: the constructor and the exported symbols, nothing else.
//!
//! ```text
//!  io_uring   syscall mmap mmap64 munmap                      -> the engine
//!  knowledge  close dup2 fcntl epoll_ctl poll ... setuid ...  -> told to sys, then the real one
//!  safety     sigprocmask sigaction ...                       -> without SIGSYS SIGSEGV SIGBUS
//!  life       constructor, destructor, _exit, _Fork, dlopen
//! ```
//! An exported function does its part and calls the real one of the next object (`real.rs`), so
//! that it is a cancellation point exactly if the real one is, and other preloaded libraries see the
//! call. `tests/object.rs` holds the lists of all symbols this library defines and asks for.
//!
//! In the workspace this crate is an ordinary library whose functions have mangled names, so that
//! `cargo test --workspace` does not interpose on itself; the feature `cdylib` makes the real one.
#![no_std]
#![allow(non_snake_case, reason = "exported functions are named as in C")]

pub mod descriptors;
#[cfg(feature = "cdylib")]
mod freestanding;
pub mod identity;
pub mod life;
pub mod masks;
pub mod memory;
mod real;
pub mod syscall;
pub mod waits;

use ringer_uapi::Errno;

/// Defines a function that the shared object exports under its own name.
macro_rules! export {
    ($(#[$doc:meta])* fn $name:ident($($a:ident: $t:ty),* $(,)?) -> $r:ty $body:block) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As the C function of this name.
        #[cfg_attr(feature = "cdylib", unsafe(no_mangle))]
        pub unsafe extern "C" fn $name($($a: $t),*) -> $r $body
    };
}
pub(crate) use export;

/// C's way to fail: errno, and -1.
fn fail(errno: Errno) -> i32 {
    ringer_intercept::objects::set_errno(errno.raw());
    -1
}

/// C's way to answer a raw result.
fn answer(ret: isize) -> isize {
    match Errno::demux(ret) {
        Ok(_) => ret,
        Err(e) => fail(e) as isize,
    }
}
