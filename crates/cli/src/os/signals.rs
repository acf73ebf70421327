//! Signals while a program of ours runs: it gets them, we go on until it ends.
//!
//! What the terminal sends (SIGINT, SIGQUIT) the program has by itself; SIGTERM and SIGHUP come to
//! us only and are sent on: they are blocked and waited for. Who runs many programs, some at a time, hears
//! of them by [`heard`]. What this does not do: anything else in a handler.

use std::mem::MaybeUninit;
use std::time::Duration;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::process::{Pid, Signal, kill_process};

/// Signals that are blocked, to be taken by [`Held::next`].
pub(crate) struct Held(libc::sigset_t);

impl Held {
    /// Blocks them; to be called once the program is started, which would inherit that.
    pub(crate) fn hold() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: writes one set.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: written just above.
        let mut set = unsafe { set.assume_init() };
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD] {
            // SAFETY: a set and a signal that exists.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: a set, and none is asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        Self(set)
    }

    /// The next one within `timeout`.
    pub(crate) fn next(&self, timeout: Duration) -> Option<i32> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: a set and a time, and no details are asked for.
        let signal = unsafe {
            libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const timeout)
        };
        (signal > 0).then_some(signal)
    }
}

static HEARD: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    HEARD.store(true, Relaxed);
}

/// From here on SIGINT, SIGTERM and SIGHUP end nothing: [`heard`] tells of them. Programs that are
/// started have them as ever.
pub(crate) fn hear() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let handler: extern "C" fn(libc::c_int) = note;
        // SAFETY: a handler that does nothing but store to an atomic.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Whether one of them came.
pub(crate) fn heard() -> bool {
    HEARD.load(Relaxed)
}

/// Whether a signal asks to end.
pub(crate) fn ends(signal: i32) -> bool {
    signal != libc::SIGCHLD
}

/// Sends a signal on, if the program does not have it already.
pub(crate) fn forward(pid: u32, signal: i32) {
    let signal = match signal {
        libc::SIGTERM => Signal::TERM,
        libc::SIGHUP => Signal::HUP,
        _ => return,
    };
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
