//! The process's engine: made at its first ring, gone in a forked child.
//!
//! ```text
//!  word in the wiped page:  0 --first setup--> MAKING --> address of the engine (never freed)
//!                           ^------------- fork (the kernel wipes the child's page) -----'
//! ```
//! The word is the only root. A child starts with 0 and makes an engine of its own when it sets up
//! a ring; what the parent's engine owned stays in the child's copy of the memory, unused.
//!
//! A child made by vfork(2) shares the memory and would find its parent's engine, whose threads
//! and descriptor table are not its own; [`get_or_make`] refuses it, by the process id.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};
use ringer_engine::Engine;
use ringer_engine::host::RingId;
use ringer_sys::attach::{self, Hooks};
use ringer_sys::generation::{Wiped, wiped};
use ringer_sys::host::LinuxHost;
use ringer_sys::keeper;
use ringer_sys::raw::{self, general as g};
use ringer_uapi::Errno;

const MAKING: usize = 1;
/// The process that made the engine behind the word.
static OWNER: AtomicU32 = AtomicU32::new(0);

fn word() -> &'static AtomicUsize {
    wiped(Wiped::Root)
}

/// The engine, if this process has one.
#[inline]
pub fn get() -> Option<&'static Engine<LinuxHost>> {
    // Acquire: pairs with the Release in `make`.
    let at = word().load(Acquire);
    if at <= MAKING {
        return None;
    }
    // SAFETY: any other value is the address of an engine that `make` leaked.
    Some(unsafe { &*core::ptr::with_exposed_provenance(at) })
}

/// The engine, if this process has one of its own: not its parent's, as a child of vfork(2) would.
pub fn get_own() -> Option<&'static Engine<LinuxHost>> {
    get().filter(|_| OWNER.load(Relaxed) == raw::getpid())
}

/// The engine, made now if need be; `setup_flags` is asked for what the account of this process
/// begins with, once the host can survive a bad address.
///
/// # Errors
/// `EPERM`: in a child of vfork(2).
pub fn get_or_make(setup_flags: impl FnOnce() -> u32) -> Result<&'static Engine<LinuxHost>, Errno> {
    let engine = match get() {
        Some(engine) => engine,
        None => make(setup_flags),
    };
    if OWNER.load(Relaxed) == raw::getpid() { Ok(engine) } else { Err(Errno::EPERM) }
}

#[cold]
fn make(setup_flags: impl FnOnce() -> u32) -> &'static Engine<LinuxHost> {
    loop {
        match word().compare_exchange(0, MAKING, Acquire, Acquire) {
            Ok(_) => break,
            Err(MAKING) => {
                // SAFETY: takes nothing and touches nothing.
                unsafe { raw::syscall0(g::__NR_sched_yield) };
            }
            Err(_) => {
                if let Some(engine) = get() {
                    return engine;
                }
            }
        }
    }
    let host = LinuxHost::new();
    crate::stats::begin(setup_flags());
    crate::trace::begin();
    crate::replay::begin();
    let engine = Arc::into_raw(Engine::with_policy(host, Box::new(crate::chaos::Plans)));
    OWNER.store(raw::getpid(), Relaxed);
    keeper::on_ring_closed(ring_closed);
    attach::serve(Hooks {
        trace: trace_requests,
        states: |tell| get().into_iter().for_each(|engine| engine.ring_states(tell)),
    });
    crate::process::watch_forks();
    crate::process::watch_threads();
    // Release: pairs with the Acquire in `get`.
    word().store(engine.expose_provenance(), Release);
    // SAFETY: from `Arc::into_raw`, and the reference it stands for is never given back.
    unsafe { &*engine }
}

/// Has requests traced from now on, or no more, if there is an engine: one that is made later asks.
pub(crate) fn trace_requests(on: bool) {
    if let Some(engine) = get() {
        engine.set_traces(on);
    }
}

/// The keeper saw a ring's last descriptor go.
fn ring_closed(id: RingId) -> bool {
    get().is_none_or(|engine| engine.ring_closed(id))
}
