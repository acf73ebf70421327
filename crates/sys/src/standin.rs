//! Pages that stand in for ring memory of the application's that vanished while a ring used it.
//!
//! ```text
//!  munmap of ring memory -> replace: a shared page there with its bytes, a second view of it here
//!  fault in ring memory  -> put: the same with zeros, where nothing is            (in a handler)
//!  ring gone             -> take_back: a store here shows there? then it is still ours: unmap both
//! ```
//!
//! The kernel pins such memory, so that a program may unmap it as soon as it closed the ring; what
//! it unmapped is to be free once the ring is, and nobody else's before. A page that took the place of an inaccessible one is
//! not entered: nobody could tell whether the program uses it again. What it does not do: know
//! which addresses are ring memory (`ringobj`).

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use ringer_uapi::Errno;

use crate::raw::{self, PAGE, general as g};
use crate::usermem::{load64, store64};

/// How many pages are remembered at once; one more stays where it is.
const PLACES: usize = 512;
/// A place that is being filled or emptied.
const CLAIMED: usize = 1;

/// The page's address, 0 for none; and that of our view.
struct Place {
    at: AtomicUsize,
    view: AtomicUsize,
}

static TABLE: [Place; PLACES] =
    [const { Place { at: AtomicUsize::new(0), view: AtomicUsize::new(0) } }; PLACES];

/// Puts an empty page at `page`, where nothing is. Async-signal-safe.
pub(crate) fn put(page: usize) -> bool {
    let flags = g::MAP_SHARED | g::MAP_ANONYMOUS | g::MAP_FIXED_NOREPLACE;
    // SAFETY: replaces nothing.
    match unsafe { raw::mmap(page, PAGE, g::PROT_READ | g::PROT_WRITE, flags, -1, 0) } {
        Ok(at) => {
            remember(at);
            true
        }
        // Another thread was faster.
        Err(Errno::EEXIST) => true,
        Err(_) => false,
    }
}

/// Puts a page with the same bytes at `page`, which the application is about to unmap. False: there
/// is no memory for it.
pub(crate) fn replace(page: usize) -> bool {
    let flags = g::MAP_SHARED | g::MAP_ANONYMOUS;
    // SAFETY: new memory.
    let Ok(new) = (unsafe { raw::mmap(0, PAGE, g::PROT_READ | g::PROT_WRITE, flags, -1, 0) })
    else {
        return false;
    };
    for off in (0..PAGE).step_by(8) {
        // What cannot be read stays zero.
        if let Ok(word) = load64((page + off) as u64) {
            let _ = store64((new + off) as u64, word);
        }
    }
    let flags = g::MREMAP_MAYMOVE | g::MREMAP_FIXED;
    // SAFETY: moves our new page; what it replaces the application has given up.
    if unsafe { raw::mremap(new, PAGE, PAGE, flags, page) }.is_err() {
        // SAFETY: ours, seen by nobody.
        let _ = unsafe { raw::munmap(new, PAGE) };
        return false;
    }
    remember(page);
    true
}

/// Enters a page of ours. One that cannot be entered stays until the process ends.
fn remember(at: usize) {
    // SAFETY: with an old size of 0 nothing is moved or unmapped.
    let view = unsafe { raw::mremap(at, 0, PAGE, g::MREMAP_MAYMOVE, 0) };
    let Ok(view) = view else { return };
    for page in [at, view] {
        // A forked child has no ring here.
        // SAFETY: takes nothing away from this process.
        let _ = unsafe { raw::madvise(page, PAGE, g::MADV_DONTFORK) };
    }
    let claimed = |p: &&Place| p.at.compare_exchange(0, CLAIMED, AcqRel, Relaxed).is_ok();
    match TABLE.iter().find(claimed) {
        Some(place) => {
            place.view.store(view, Relaxed);
            // Release: pairs with the Acquire in `take_back`.
            place.at.store(at, Release);
        }
        // SAFETY: our new view, seen by nobody.
        None => drop(unsafe { raw::munmap(view, PAGE) }),
    }
}

/// The ring at `start..end` is gone: unmaps what stood in for its memory and still does.
pub(crate) fn take_back(start: usize, end: usize) {
    for place in &TABLE {
        let at = place.at.load(Acquire);
        if at <= CLAIMED || !(start..end).contains(&at) {
            continue;
        }
        if place.at.compare_exchange(at, CLAIMED, AcqRel, Relaxed).is_err() {
            // Somebody else takes it back.
            continue;
        }
        let view = place.view.load(Relaxed);
        let pages: &[usize] = if is_ours(at, view) { &[at, view] } else { &[view] };
        for page in pages {
            // SAFETY: pages of ours, as was just seen, that nothing uses any more.
            let _ = unsafe { raw::munmap(*page, PAGE) };
        }
        place.at.store(0, Release);
    }
}

/// Whether both are the same page: the application may have put something of its own there since.
/// In a forked child neither is.
fn is_ours(at: usize, view: usize) -> bool {
    let (at, view) = (at as u64, view as u64);
    let Ok(was) = load64(view) else { return false };
    store64(view, !was).is_ok() && load64(at) == Ok(!was)
}
