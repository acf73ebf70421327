//! What must happen when the process forks, ends, or begins.
//!
//! A fork is seen through libc's own list of handlers (pthread_atfork(3)), so that daemon(3),
//! forkpty(3) and every other caller inside libc is seen, too. `_Fork` runs no handlers and is
//! interposed. A raw clone(2) is seen only when it comes through syscall(2).

use crate::resolve::Real;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use ringer_sys::{fdtable, generation};

/// glibc's, exported; its `pthread_atfork` is in the static part of libc.
pub static REGISTER_ATFORK: Real = Real::new(c"__register_atfork");
/// musl's.
pub static PTHREAD_ATFORK: Real = Real::new(c"pthread_atfork");

type Handler = Option<extern "C" fn()>;
type RegisterAtfork = extern "C" fn(Handler, Handler, Handler, *mut c_void) -> c_int;
type PthreadAtfork = extern "C" fn(Handler, Handler, Handler) -> c_int;

static WATCHING: AtomicBool = AtomicBool::new(false);

/// Asks libc to tell us of forks. Once, at the first ring: before it there is nothing to undo.
pub fn watch_forks() {
    if WATCHING.swap(true, Relaxed) {
        return;
    }
    match (REGISTER_ATFORK.get(), PTHREAD_ATFORK.get()) {
        (0, 0) => {}
        (0, addr) => {
            // SAFETY: musl's `pthread_atfork` has the signature of pthread_atfork(3).
            let register = unsafe { core::mem::transmute::<usize, PthreadAtfork>(addr) };
            register(None, None, Some(in_child));
        }
        (addr, _) => {
            // SAFETY: glibc's `__register_atfork` has this signature (LSB); no object handle means
            // that the handler stays until the process ends, as our code does.
            let register = unsafe { core::mem::transmute::<usize, RegisterAtfork>(addr) };
            register(None, None, Some(in_child), core::ptr::null_mut());
        }
    }
}

/// The first act in a forked child: whatever was the parent's engine's goes, so that its peers see
/// the parent's closes. Doing it twice does nothing.
pub extern "C" fn in_child() {
    generation::after_fork();
    fdtable::after_fork_in_child();
}

/// As [`in_child`], for forks that libc's list does not see.
pub fn forked() {
    if WATCHING.load(Relaxed) {
        in_child();
    }
}
