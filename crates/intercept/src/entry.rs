//! The one entry of the three system calls and of mmap, whichever way they came.
//!
//! ```text
//!  interposed symbol  --.
//!  syscall(2) wrapper --+--> entry(nr, a..f) --> engine            (a ring exists or is made)
//!  trampoline         --'                    '-> the real kernel   (mmap of anything else)
//! ```
//! Results are the kernel's raw ones: a value, or a negated errno.
//!
//! **A handler inside the engine.** A signal handler may interrupt this thread while it holds locks
//! of the engine and make a call itself, which natively cannot happen: the kernel delivers signals
//! on the way out. Each thread counts how deep it is; a call that comes in on top of another gets
//! `EAGAIN` instead of a deadlock. What a handler may do with certainty is what signal-safety(7)
//! allows: write, and let the main loop submit. A handler that leaves by siglongjmp(3) is noticed
//! at the next call by the stack pointer.

use crate::root;
use core::sync::atomic::Ordering::Relaxed;
use ringer_engine::Engine;
use ringer_engine::host::RingId;
use ringer_engine::support::rings::ENTER_ACCEPTED;
use ringer_sys::host::LinuxHost;
use ringer_sys::raw::{self, fd_arg, general as g};
use ringer_sys::ringobj::{self, MmapArgs};
use ringer_sys::{fdtable, thread, usermem};
use ringer_uapi::Errno;
use ringer_uapi::flags::Enter;

/// Offset of `flags` in `struct io_uring_params` \[bytes\].
const PARAMS_FLAGS: u64 = 8;

type Answer = Result<usize, Errno>;

/// Carries out one of `io_uring_setup`, `io_uring_enter`, `io_uring_register` and `mmap`.
#[inline]
pub fn entry(nr: usize, args: [usize; 6]) -> isize {
    match nr as u32 {
        g::__NR_mmap => mmap(args),
        nr => inside(|| Errno::mux(call(nr, args))),
    }
}

/// Carries out `io_uring_enter`, for who knows that it is that.
#[inline(always)]
pub(crate) fn enter([a, b, c, d, e, f]: [usize; 6]) -> isize {
    inside(|| enter_engine(a as i32, b as u32, c as u32, d as u32, e as u64, f as u64))
}

/// The calling thread is about to end: what goes with it goes.
pub fn thread_ended() {
    aside(|| root::get().into_iter().for_each(|engine| engine.thread_ended()));
}

/// A number of a ring is about to be closed. A child of vfork(2) closes its own, and leaves its parent's
/// engine alone.
#[cold]
pub fn ring_closing(id: RingId) {
    aside(|| root::get_own().into_iter().for_each(|engine| engine.ring_closing(id)));
}

/// A lent number is about to be closed, or to become another file's. A child of vfork(2) closes its own.
#[cold]
pub fn number_closing(fd: i32) {
    aside(|| {
        if let Some(engine) = root::get_own()
            && fdtable::no_longer_lent(fd)
        {
            engine.number_closing(fd);
        }
    });
}

/// Does something else that allocates or locks, unless the thread is inside the engine already.
#[cold]
pub(crate) fn aside(work: impl FnOnce()) {
    let _ = inside(|| {
        work();
        0
    });
}

/// Counts the thread in and out of the engine.
#[inline(always)]
fn inside(call: impl FnOnce() -> isize) -> isize {
    let record = thread::record();
    let [_, entered_at, ..] = &record.scratch;
    let here = stack_pointer();
    // Only this thread and its own signal handlers, which leave the count as they found it, touch
    // it: a plain load and store are enough.
    if record.depth.load(Relaxed) != 0 && !was_left(here, entered_at.load(Relaxed)) {
        return Errno::mux(Err(Errno::EAGAIN));
    }
    entered_at.store(here, Relaxed);
    record.depth.store(1, Relaxed);
    let answer = call();
    record.depth.store(0, Relaxed);
    answer
}

/// An address in the caller's part of the stack.
#[inline(always)]
fn stack_pointer() -> u64 {
    let here = 0u8;
    core::hint::black_box(&raw const here).expose_provenance() as u64
}

/// Whether the call that was entered at `entered_at` never came back: a handler left it by
/// siglongjmp(3), so that the stack is now shorter than it was. On an alternate stack that
/// comparison means nothing, and the call below is taken to be there.
#[cold]
fn was_left(here: u64, entered_at: u64) -> bool {
    const SS_ONSTACK: u32 = 1;
    let mut now = [0u64; 3];
    // SAFETY: the kernel writes one `stack_t` of 24 bytes to `now`.
    let ret = unsafe { raw::syscall2(g::__NR_sigaltstack, 0, now.as_mut_ptr() as usize) };
    here > entered_at && ret == 0 && now[1] as u32 & SS_ONSTACK == 0
}

/// Numbers as the caller has them in registers, and an answer in one.
fn enter_engine(fd: i32, submit: u32, min: u32, flags: u32, argp: u64, argsz: u64) -> isize {
    let engine = match root::get() {
        Some(engine) => Ok(engine),
        None => without_engine(fd, flags),
    };
    Errno::mux(engine.and_then(|e| e.enter(fd, submit, min, flags, argp, argsz)))
}

#[inline]
fn call(nr: u32, [a, b, c, d, e, f]: [usize; 6]) -> Answer {
    match nr {
        g::__NR_io_uring_enter => {
            let engine = match root::get() {
                Some(engine) => engine,
                None => without_engine(a as i32, d as u32)?,
            };
            engine.enter(a as i32, b as u32, c as u32, d as u32, e as u64, f as u64)
        }
        g::__NR_io_uring_setup => setup(a as u32, b as u64),
        g::__NR_io_uring_register => register(a as i32, b as u32, c as u64, d as u32),
        _ => Err(Errno::ENOSYS),
    }
}

// Functions of their own: what they need of the stack io_uring_enter must not, which may be called on 16 KiB of it.
#[inline(never)]
fn setup(entries: u32, params: u64) -> Answer {
    // A bad address is the engine's to refuse.
    let flags = || usermem::load32(params + PARAMS_FLAGS).unwrap_or(0);
    root::get_or_make(flags)?.setup(entries, params)
}

#[inline(never)]
fn register(fd: i32, opcode: u32, arg: u64, nr: u32) -> Answer {
    // Some of it may be asked without a ring (fd -1, `IORING_REGISTER_QUERY`).
    let engine = root::get().map_or_else(|| root::get_or_make(|| 0), Ok)?;
    engine.register(fd, opcode, arg, nr)
}

/// What a process without rings hears: flags that there are not, an index of a thread that has none,
/// a descriptor that is none. A ring of its parent's may be one of its own from here on.
#[cold]
fn without_engine(fd: i32, flags: u32) -> Result<&'static Engine<LinuxHost>, Errno> {
    let by_index = flags & Enter::REGISTERED_RING.bits() != 0;
    if flags & !ENTER_ACCEPTED != 0 || by_index {
        return Err(Errno::EINVAL);
    }
    match fdtable::ring_of(fd) {
        Err(Errno::EOWNERDEAD) => root::get_or_make(|| 0),
        known => known.and(Err(Errno::EBADF)),
    }
}

/// The application does something with a number that may be a ring of the process which this one was
/// forked from: it is one of its own then, if that one shared it.
#[inline]
pub fn adopt_inherited(fd: i32) {
    if fdtable::is_inherited(fd) {
        aside(|| root::get_or_make(|| 0).into_iter().for_each(|e| drop(e.adopt(fd))));
    }
}

/// mmap(2): a ring's memory, or the real call.
pub fn mmap([addr, len, prot, flags, fd, offset]: [usize; 6]) -> isize {
    let number = fd as i32;
    if flags as u32 & g::MAP_ANONYMOUS == 0 {
        adopt_inherited(number);
    }
    if number >= 0
        && flags as u32 & g::MAP_ANONYMOUS == 0
        && fdtable::any_rings()
        && let Some(answer) = ringobj::ring_mmap(
            number,
            MmapArgs {
                addr: addr as u64,
                len: len as u64,
                prot: prot as u32,
                flags: flags as u32,
                offset: offset as u64,
            },
        )
    {
        return Errno::mux(answer);
    }
    // The magic lets the call pass our own filter; the kernel takes the low half as the descriptor.
    let marked = fd_arg(number) & 0xffff_ffff | raw::MMAP_MAGIC as usize;
    // SAFETY: the program's own call with the program's own arguments.
    unsafe { raw::syscall6(g::__NR_mmap, [addr, len, prot, flags, marked, offset]) }
}
