//! `RINGER_TRACE`: the buffer of a traced process, in the folder that `ringer trace` made.
//!
//! ```text
//!  FOLDER/7       process 7, mapped shared; FOLDER/7.1 what it is after an exec
//! ```
//! A process makes its own at its first ring, a forked child like any other: never through a symbolic
//! link, and only where nothing is yet. Its space is allocated at once, since a page that memory runs
//! out for later would be a SIGBUS in the program. `ringer trace` reads and removes the files. What
//! this does not do: write records (`ringer_sys::trace`).

use crate::stats::{Path, create_new, pointer};
use alloc::boxed::Box;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};
use ringer_engine::host::Clock;
use ringer_engine::trace::buffer::{Buffer, HEADER, SLOT, is_size};
use ringer_ring::Map;
use ringer_sys::raw::{self, general as g};
use ringer_sys::{clock, trace};

/// What the constructor found in the environment: a leaked NUL-terminated path.
static FOLDER: AtomicPtr<Path> = AtomicPtr::new(core::ptr::null_mut());
/// Slots of a buffer: 8 MiB, unless the environment says something else.
static SLOTS: AtomicU64 = AtomicU64::new(1 << 17);

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

/// The first ring's part: makes the buffer, before there is an engine that would ask for it.
pub(crate) fn begin() {
    // SAFETY: null, or leaked by `configure`, never changed afterwards.
    let folder = unsafe { FOLDER.load(Acquire).as_ref() };
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
    let buffer = Buffer::make(map, raw::getpid(), clock::now(Clock::Monotonic))?;
    Some(Box::leak(Box::new(buffer)))
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
