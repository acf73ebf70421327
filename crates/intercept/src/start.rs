//! The constructor's work, and what a dlopen(3) repeats of it.
//!
//! ```text
//!  start:   unblock the three signals -> RINGER_ variables -> scan -> filter, if needed
//!  later:   objects that came since   ------------------------^
//! ```
//! No engine, thread or descriptor is made here: a program that never sets up a ring has paid for
//! the scan, and for a filter only if its own code could make the calls.

use crate::env::{self, Environ};
use crate::scan::{self, Seen};
use crate::{chaos, filter, mask, patch, replay, resolve::Real, stats, trace, trap};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use ringer_engine::chaos::plan::Plan;
use ringer_engine::trace::channel;
use ringer_sys::attach;
use ringer_sys::lock::ForkMutex;
use ringer_sys::raw::{self, general as g};
use ringer_sys::signals::NEVER_BLOCKED;
use ringer_sys::trace::Level;
use ringer_uapi::Errno;

/// libc's.
pub static GETAUXVAL: Real = Real::new(c"getauxval");

/// The objects that were scanned, and under its lock the filter of those that need one and the changes
/// to their code.
pub(crate) static SEEN: ForkMutex<Seen> = ForkMutex::new(Seen::new());
static NO_TRAP: AtomicBool = AtomicBool::new(false);

/// Runs once, before the program's own code, on the only thread.
///
/// # Safety
/// Called by the loader or at the top of `main`: nobody changes the environment meanwhile.
pub unsafe fn start() {
    unblock();
    if !env::secure(&GETAUXVAL) {
        // SAFETY: the caller's promise.
        if let Some(environ) = unsafe { Environ::current() } {
            read_variables(&environ);
        }
    }
    inherited_filter();
    let _ = cover_objects();
}

/// SIGSYS, SIGSEGV and SIGBUS may have been blocked by whoever started the program.
fn unblock() {
    if let Ok(before) = raw::sigprocmask(g::SIG_UNBLOCK, Some(NEVER_BLOCKED)) {
        mask::changed(g::SIG_SETMASK, before);
    }
}

fn read_variables(environ: &Environ) {
    NO_TRAP.store(environ.get(b"RINGER_NO_TRAP").is_some_and(|v| v == b"1"), Relaxed);
    if environ.get(b"RINGER_NO_PATCH").is_some_and(|v| v == b"1") {
        patch::forbid();
    }
    if let Some(seed) = environ.get(b"RINGER_SHUFFLE").and_then(env::number) {
        chaos::choose(Plan::late(seed));
    }
    if let Some(text) = environ.get(b"RINGER_CHAOS").filter(|p| !p.is_empty()) {
        chaos::choose_text(text);
    }
    if let Some(path) = environ.get(b"RINGER_REPLAY").filter(|p| !p.is_empty()) {
        let any = environ.get(b"RINGER_REPLAY_ANY_DATA").is_some_and(|v| v == b"1");
        replay::configure(path, any);
    }
    if let Some(path) = environ.get(b"RINGER_STATS").filter(|p| !p.is_empty()) {
        stats::configure(path);
    }
    if let Some(folder) = environ.get(b"RINGER_TRACE").filter(|p| !p.is_empty()) {
        let slots: Option<u32> = environ.get(b"RINGER_TRACE_SLOTS").and_then(env::number);
        trace::configure(folder, slots.map(u64::from));
        if environ.get(b"RINGER_TRACE_REQUESTS").is_some_and(|v| v == b"0") {
            ringer_sys::trace::leave_requests_out();
        }
        let data = environ.get(b"RINGER_TRACE_DATA").and_then(env::number);
        let hidden = environ.get(b"RINGER_TRACE_REDACT").is_some_and(|v| v == b"1");
        trace::keep_data(data.unwrap_or(0), hidden);
        match environ.get(b"RINGER_TRACE_ALL") {
            Some(b"sums") => trace::keep_all(Level::Sums),
            Some(b"whole") => trace::keep_all(Level::Whole),
            _ => {}
        }
    }
    if environ.get(channel::FORBIDDEN.as_bytes()).is_none_or(|v| v != b"1") {
        attach::allow(environ.get(b"XDG_RUNTIME_DIR"));
    }
    if let Some(fd) = environ.get(b"RINGER_HANDSHAKE").and_then(env::number) {
        let _ = raw::write(fd, b"ringer\n");
        let _ = raw::close(fd);
        environ.remove(b"RINGER_HANDSHAKE");
    }
}

/// A filter of the image before this one may name addresses that now are ours, if addresses are
/// not random: then its traps must find a handler, whatever this image needs itself.
fn inherited_filter() {
    const PR_GET_SECCOMP: u32 = 21;
    const SECCOMP_MODE_FILTER: i32 = 2;
    const ADDR_NO_RANDOMIZE: isize = 0x0004_0000;
    const ASK: usize = 0xffff_ffff;
    // SAFETY: the option takes no arguments and touches no memory.
    if unsafe { raw::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) } != Ok(SECCOMP_MODE_FILTER) {
        return;
    }
    // SAFETY: this value asks and changes nothing.
    let persona = unsafe { raw::syscall1(g::__NR_personality, ASK) };
    if persona < 0 || persona & ADDR_NO_RANDOMIZE != 0 {
        trap::arm();
    }
}

/// Scans what is not covered yet and installs a filter for it, if it needs one.
///
/// # Errors
/// seccomp(2)'s: the calls of those objects go to the host unseen.
pub fn cover_objects() -> Result<(), Errno> {
    if NO_TRAP.load(Relaxed) {
        return Ok(());
    }
    let mut seen = SEEN.lock();
    let program = filter::program(&scan::needed(&mut seen));
    ringer_sys::fdtable::tells_closes(!seen.closes);
    if program.is_empty() {
        return Ok(());
    }
    trap::arm();
    filter::install(&program).map(drop)
}
