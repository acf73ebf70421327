//! The only module of the command with `unsafe`: what std and rustix have no safe form for.
//!
//! - the entry point without std's start-up ([`entry`]): `run` hands its process on to a program,
//!   and that program must find signals and descriptors as the caller left them, while std's
//!   start-up ignores SIGPIPE and opens /dev/null on closed standard descriptors;
//! - `execve` that resets nothing;
//! - raw `io_uring_*` calls, by libc's `syscall` and by an instruction of our own ([`uring`]);
//! - seccomp filters for the demo and for doctor ([`seccomp`]);
//! - signals that are waited for while a program is traced ([`signals`]).
//!
//! What it does not do: decide anything, or print.
#![allow(unsafe_code, reason = "the one module that may; see its header")]

pub(crate) mod entry;
pub(crate) mod seccomp;
pub(crate) mod signals;
pub(crate) mod uring;

use std::ffi::CString;
use std::io;
use std::os::raw::c_char;

/// Whether the kernel started this process with more rights than its caller has (`AT_SECURE`).
pub(crate) fn elevated() -> bool {
    // SAFETY: getauxval reads the vector the kernel left for this process; any key is allowed.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Replaces this process: `path` is used as it is, nothing else about the process changes.
///
/// Returns only on failure, with execve(2)'s error.
pub(crate) fn execve(path: &CString, argv: &[CString], envp: &[CString]) -> io::Error {
    let argv = pointers(argv);
    let envp = pointers(envp);
    // SAFETY:
    // 1. `path` is NUL-terminated, both vectors end with a null pointer (`pointers`).
    // 2. The strings they point to are borrowed for the whole call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Makes descriptors 0, 1 and 2 open in this process only, so that a file opened later cannot be
/// taken for the standard error; they are closed again by an exec.
pub(crate) fn hold_standard_descriptors() {
    loop {
        // SAFETY: the path is a NUL-terminated literal; the call makes a descriptor or fails.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd > 2 {
            // SAFETY: `fd` was made above and nobody else knows it.
            unsafe { libc::close(fd) };
        }
        if !(0..=2).contains(&fd) {
            return;
        }
    }
}

/// Makes a write to a closed pipe an error instead of a signal.
pub(crate) fn ignore_sigpipe() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Gives the calling thread a descriptor table of its own.
///
/// # Errors
/// close_range(2)'s: `ENOSYS` before 5.9, `EPERM` if a filter refuses it.
pub(crate) fn unshare_table() -> io::Result<()> {
    let unshare = libc::CLOSE_RANGE_UNSHARE;
    // SAFETY: plain numbers; the range is one descriptor that cannot be open.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, unshare) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `f` with children waitable, whatever the caller of this process set SIGCHLD to.
///
/// With SIGCHLD ignored the kernel reaps children itself and a wait finds none.
pub(crate) fn with_children<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: SIG_DFL runs no code of ours.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let result = f();
    if before == libc::SIG_IGN {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    }
    result
}
