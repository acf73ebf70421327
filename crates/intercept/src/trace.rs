//! `RINGER_TRACE`: the buffer of a traced process, in the folder that `ringer trace` made.
//!
//! ```text
//!  FOLDER/7       process 7, mapped shared; FOLDER/7.1 what it is after an exec
//! ```
//! A process makes its own at its first ring, a forked child like any other: never through a symbolic
//! link, and only where nothing is yet. Its space is allocated at once, since a page that memory runs
//! out for later would be a SIGBUS in the program. `ringer trace` reads and removes the files. What
//! this does not do: write records (`ringer_sys::trace`).
//!
//! [`own`]: the same for a reader in the process itself (`ringer::trace`), in memory of its own.

use crate::stats::{Path, create_new, pointer};
use alloc::boxed::Box;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};
use ringer_engine::host::Clock;
use ringer_engine::trace::buffer::{Buffer, HEADER, SLOT, is_size};
use ringer_ring::Map;
use ringer_sys::clock;
use ringer_sys::lock::ForkMutex;
use ringer_sys::raw::{self, general as g};
use ringer_sys::trace::{self, Level};
use ringer_uapi::Errno;

/// What the constructor found in the environment: a leaked NUL-terminated path.
static FOLDER: AtomicPtr<Path> = AtomicPtr::new(core::ptr::null_mut());
/// Slots of a buffer: 8 MiB, unless the environment says something else.
static SLOTS: AtomicU64 = AtomicU64::new(1 << 17);
/// Writers wait for room.
static WHOLE: AtomicBool = AtomicBool::new(false);

/// The constructor's part: remembers the folder.
pub(crate) fn configure(folder: &[u8], slots: Option<u64>) {
    let mut copy = Box::new(Path::new());
    if copy.push(folder) {
        FOLDER.store(Box::into_raw(copy), Release);
    }
    if let Some(slots) = slots.filter(|&n| is_size(n)) {
        SLOTS.store(slots, Relaxed);
    }
}

/// The constructor's part: how much is kept of what requests read and write.
pub(crate) fn keep_data(limit: u32, hidden: bool) {
    trace::keep_data(limit, hidden);
}

/// The constructor's part: nothing is to be lost, and all bytes are told.
pub(crate) fn keep_all(level: Level) {
    WHOLE.store(true, Relaxed);
    trace::keep_all(level);
}

/// The first ring's part: makes the buffer, before there is an engine that would ask for it.
pub(crate) fn begin() {
    // SAFETY: null, or leaked by `configure`, never changed afterwards.
    let folder = unsafe { FOLDER.load(Acquire).as_ref() };
    if OWN.lock().on_in == raw::getpid() {
        return;
    }
    // Without one of its own a forked child must not go on in its parent's.
    trace::set_buffer(folder.and_then(make));
}

fn make(folder: &Path) -> Option<&'static Buffer> {
    let len = HEADER + SLOTS.load(Relaxed) as usize * SLOT;
    let at = map_new(folder, len)?;
    // SAFETY:
    // 1. `at` is a fresh page-aligned mapping of `len` bytes that is never unmapped.
    // 2. It is used through this `Map` only, which is atomic.
    let map = unsafe { Map::new(at, len) };
    let buffer = Buffer::over(map)?;
    buffer.named(name_of_program());
    buffer.begin(raw::getpid(), clock::now(Clock::Monotonic), 0);
    let buffer = if WHOLE.load(Relaxed) { buffer.patient(trace::pause) } else { buffer };
    Some(Box::leak(Box::new(buffer)))
}

/// What the kernel calls the process: whoever reads the buffer may come when it is gone.
fn name_of_program() -> [u8; 16] {
    let mut name = [0; 16];
    let flags = g::O_RDONLY | g::O_CLOEXEC;
    if let Ok(fd) = raw::openat(g::AT_FDCWD, c"/proc/self/comm", flags, 0) {
        let n = raw::read(fd, &mut name).unwrap_or(0);
        let _ = raw::close(fd);
        // The line's end.
        if let Some(last) = n.checked_sub(1).and_then(|at| name.get_mut(at)) {
            *last = 0;
        }
    }
    name
}

fn map_new(folder: &Path, len: usize) -> Option<NonNull<u8>> {
    let (fd, _) = create_new(folder, '/')?;
    let prot = g::PROT_READ | g::PROT_WRITE;
    // Mapped page by page at the first touch it would be the requests that pay.
    let how = g::MAP_SHARED | g::MAP_POPULATE;
    let at = raw::fallocate(fd, len as u64).and_then(|()| {
        // SAFETY: a new mapping at an address of the kernel's choice.
        unsafe { raw::mmap(0, len, prot, how, fd, 0) }
    });
    let _ = raw::close(fd);
    at.ok().and_then(pointer)
}

/// The buffer of [`own`], and where its reader is.
struct Own {
    buffer: Option<&'static Buffer>,
    sessions: u64,
    next: u64,
    /// In which process requests are written to it; 0: in none.
    on_in: u32,
}

static OWN: ForkMutex<Own> = ForkMutex::new(Own { buffer: None, sessions: 0, next: 0, on_in: 0 });
/// Slots of it: room for 21,000 requests between two looks.
const OWN_SLOTS: usize = 1 << 16;

/// Has the requests of this process written for a reader in it, or no more.
///
/// # Errors
/// `EBUSY`: they are written for somebody. `ENOMEM`.
pub fn own(on: bool) -> Result<(), Errno> {
    let mut own = OWN.lock();
    let was_on = own.on_in == raw::getpid();
    if was_on == on {
        return if on { Err(Errno::EBUSY) } else { Ok(()) };
    }
    if !on {
        own.on_in = 0;
        crate::root::trace_requests(false);
        trace::set_buffer(None);
        return Ok(());
    }
    let buffer = match own.buffer {
        Some(buffer) => buffer,
        None => own_buffer().ok_or(Errno::ENOMEM)?,
    };
    own.buffer = Some(buffer);
    own.sessions += 1;
    buffer.begin(raw::getpid(), clock::now(Clock::Monotonic), own.sessions);
    own.next = buffer.first();
    if !trace::try_set_buffer(buffer) {
        return Err(Errno::EBUSY);
    }
    own.on_in = raw::getpid();
    crate::root::trace_requests(true);
    Ok(())
}

/// Takes records of it: the position of the first, how many slots they have, and how many found no room.
pub fn take_own(to: &mut [u8]) -> (u64, usize, u64) {
    let mut own = OWN.lock();
    let Some(buffer) = own.buffer else { return (0, 0, 0) };
    let position = own.next;
    let n = buffer.take(position, to);
    own.next = position.wrapping_add(n as u64);
    (position, n, buffer.lost())
}

fn own_buffer() -> Option<&'static Buffer> {
    let len = HEADER + OWN_SLOTS * SLOT;
    let (prot, how) = (g::PROT_READ | g::PROT_WRITE, g::MAP_PRIVATE | g::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = pointer(unsafe { raw::mmap(0, len, prot, how, -1, 0) }.ok()?)?;
    // SAFETY:
    // 1. `at` is a fresh page-aligned mapping of `len` bytes that is never unmapped.
    // 2. It is used through this `Map` only, which is atomic.
    let map = unsafe { Map::new(at, len) };
    Some(Box::leak(Box::new(Buffer::over(map)?)))
}
