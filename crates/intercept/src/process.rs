//! What must happen when the process forks, when it ends, and when a thread of it ends.
//!
//! A fork is seen through libc's own list of handlers (pthread_atfork(3)), so that daemon(3),
//! forkpty(3) and every other caller inside libc is seen, too. `_Fork` runs no handlers and is
//! interposed. A raw clone(2) is seen only when it comes through syscall(2).
//!
//! A thread's end is seen through a key of libc's (pthread_key_create(3)), in the last of its rounds, so
//! that what else runs at a thread's end still finds its registered rings. A raw exit(2) is not seen.

use crate::resolve::Real;
use crate::stats;
use core::ffi::{c_int, c_uint, c_void};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use ringer_sys::{attach, fdtable, generation, thread};

/// glibc's, exported; its `pthread_atfork` is in the static part of libc.
pub static REGISTER_ATFORK: Real = Real::new(c"__register_atfork");
/// musl's.
pub static PTHREAD_ATFORK: Real = Real::new(c"pthread_atfork");

/// See [`watch_thread`].
pub static PTHREAD_KEY_CREATE: Real = Real::new(c"pthread_key_create");
/// See [`watch_thread`].
pub static PTHREAD_SETSPECIFIC: Real = Real::new(c"pthread_setspecific");

type KeyCreate = extern "C" fn(*mut c_uint, extern "C" fn(*mut c_void)) -> c_int;
type SetSpecific = extern "C" fn(c_uint, *const c_void) -> c_int;

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
            register(Some(before_fork), None, Some(in_child));
        }
        (addr, _) => {
            // SAFETY: glibc's `__register_atfork` has this signature (LSB); no object handle means
            // that the handler stays until the process ends, as our code does.
            let register = unsafe { core::mem::transmute::<usize, RegisterAtfork>(addr) };
            register(Some(before_fork), None, Some(in_child), core::ptr::null_mut());
        }
    }
}

/// The last act before a fork: the child will have the rings, too. Doing it twice does nothing.
pub extern "C" fn before_fork() {
    crate::entry::aside(|| crate::root::get_own().into_iter().for_each(|e| e.before_fork()));
}

/// The first act in a forked child: whatever was the parent's engine's goes, so that its peers see
/// the parent's closes. Doing it twice does nothing.
pub extern "C" fn in_child() {
    generation::after_fork();
    fdtable::after_fork_in_child();
}

/// The process ends, in whatever way it knows of: what others see of it goes, and its account is closed.
/// Possibly in a signal handler. Doing it twice does nothing.
pub fn end() {
    attach::unlink();
    stats::end();
}

/// As [`before_fork`], for forks that libc's list does not see.
pub fn about_to_fork() {
    if WATCHING.load(Relaxed) {
        before_fork();
    }
}

/// As [`in_child`], for forks that libc's list does not see.
pub fn forked() {
    if WATCHING.load(Relaxed) {
        in_child();
    }
}

/// The same in a child that shares its parent's descriptor table (`CLONE_FILES`): what it closed would
/// be closed for the parent, too.
pub fn forked_with_files() {
    if WATCHING.load(Relaxed) {
        generation::after_fork();
        fdtable::after_fork_with_files();
    }
}

/// How often libc calls what keys hold at a thread's end (`PTHREAD_DESTRUCTOR_ITERATIONS`).
const ROUNDS: usize = 4;
/// The key, with [`HAS_KEY`]; a forked child inherits key and values, and what they lead to finds
/// nothing there.
static KEY: AtomicU64 = AtomicU64::new(0);
const HAS_KEY: u64 = 1 << 32;

/// Has threads that get a word watched from here on: at the first ring, while few keys are taken,
/// because a value for a low key needs no memory.
pub fn watch_threads() {
    let addr = PTHREAD_KEY_CREATE.get();
    if addr == 0 || KEY.load(Relaxed) != 0 {
        return;
    }
    // SAFETY: pthread_key_create(3) has this signature in every libc.
    let create = unsafe { core::mem::transmute::<usize, KeyCreate>(addr) };
    let mut key = 0;
    if create(&raw mut key, at_end) == 0 {
        KEY.store(HAS_KEY | u64::from(key), Relaxed);
        thread::on_word(watch_thread);
    }
}

/// The calling thread's end is to be told.
fn watch_thread() {
    set_round(1);
}

fn set_round(round: usize) {
    let addr = PTHREAD_SETSPECIFIC.get();
    let key = KEY.load(Relaxed);
    if addr == 0 || key & HAS_KEY == 0 {
        return;
    }
    // SAFETY: pthread_setspecific(3) has this signature in every libc.
    let set = unsafe { core::mem::transmute::<usize, SetSpecific>(addr) };
    // Without memory for it the end of this thread is not seen.
    let _ = set(key as c_uint, core::ptr::without_provenance(round));
}

/// What libc calls in a thread that ends, once a round.
extern "C" fn at_end(round: *mut c_void) {
    if round.addr() < ROUNDS {
        set_round(round.addr() + 1);
    } else {
        crate::entry::thread_ended();
    }
}
