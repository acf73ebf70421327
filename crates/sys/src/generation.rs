//! Which process of a fork lineage this is, and words that a fork sets back to zero.
//!
//! ```text
//!  parent   page: [gen 1][root ptr][...]      COUNT 1
//!     | fork: the kernel wipes the page (MADV_WIPEONFORK); COUNT is copied
//!  child    page: [  0  ][   0    ][...]      COUNT 1
//!     | first look: COUNT 2, page[0] = 2
//! ```
//!
//! What it does not do: learn of a child that shares the memory (vfork, CLONE_VM); such a child
//! looks like its parent and must not enter the engine.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize};

use crate::raw::{self, PAGE, general as g};

/// Words of the page that others may use, by name so that nobody uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Wiped {
    /// The interception layer's root pointer.
    Root = 1,
    /// The descriptor table's.
    FdTable = 2,
    /// The keeper's.
    Keeper = 3,
    /// The ring objects'.
    Rings = 4,
    /// The POSIX lock knowledge's.
    PosixLocks = 5,
    /// Not taken.
    Spare0 = 6,
    /// Not taken.
    Spare1 = 7,
}

#[repr(C)]
struct Page {
    generation: AtomicU32,
    words: [AtomicUsize; 8],
}

static PAGE_AT: AtomicPtr<Page> = AtomicPtr::new(core::ptr::null_mut());
static COUNT: AtomicU32 = AtomicU32::new(0);
static KERNEL_WIPES: AtomicBool = AtomicBool::new(false);

#[inline(always)]
fn page() -> &'static Page {
    let at = PAGE_AT.load(Acquire);
    let at = if at.is_null() { make_page() } else { at };
    // SAFETY: `make_page` published a zeroed page that is never unmapped; zero is valid for every
    // field, also after the kernel wiped it, and all fields are atomics.
    unsafe { &*at }
}

#[cold]
fn make_page() -> *mut Page {
    // Without memory for one page at start there is nothing to go on with.
    let Ok(at) = raw::mmap_anonymous(PAGE) else { raw::exit_group(125) };
    // Old kernels and gVisor may refuse; then `after_fork` is what wipes it.
    // SAFETY: the page is new, and its contents may go on fork by design.
    let wipes = unsafe { raw::madvise(at, PAGE, g::MADV_WIPEONFORK) }.is_ok();
    KERNEL_WIPES.store(wipes, Relaxed);
    let new: *mut Page = core::ptr::with_exposed_provenance_mut(at);
    // Release: pairs with the Acquire in `page`.
    match PAGE_AT.compare_exchange(core::ptr::null_mut(), new, AcqRel, Acquire) {
        Ok(_) => new,
        Err(first) => {
            // SAFETY: nobody saw our page.
            let _ = unsafe { raw::munmap(at, PAGE) };
            first
        }
    }
}

/// The number of this process: never 0, larger in a child than in its parent.
#[inline]
pub fn current() -> u32 {
    let page = page();
    match page.generation.load(Relaxed) {
        0 => first_look(page),
        known => known,
    }
}

#[cold]
fn first_look(page: &Page) -> u32 {
    let new = COUNT.fetch_add(1, Relaxed) + 1;
    match page.generation.compare_exchange(0, new, Relaxed, Relaxed) {
        Ok(_) => new,
        Err(first) => first,
    }
}

/// A word that reads 0 in a forked child until somebody there stores to it.
#[inline]
pub fn wiped(which: Wiped) -> &'static AtomicUsize {
    &page().words[which as usize]
}

/// To be called first thing in a forked child by whoever sees the fork: does what the kernel did
/// not, where it does not know `MADV_WIPEONFORK`; elsewhere it does nothing.
pub fn after_fork() {
    let page = page();
    if !KERNEL_WIPES.load(Relaxed) {
        page.words.iter().for_each(|w| w.store(0, Relaxed));
        page.generation.store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::testing::in_child;

    #[test]
    fn a_child_has_a_later_generation_and_zero_words() {
        wiped(Wiped::Spare0).store(7, Relaxed);
        let mine = current();
        assert_ne!(mine, 0);
        let code = in_child(|| {
            let wiped_to_zero = wiped(Wiped::Spare0).load(Relaxed) == 0;
            let later = current() > mine && current() == current();
            i32::from(!(wiped_to_zero && later))
        });
        assert_eq!(code, 0);
        assert_eq!(current(), mine);
        assert_eq!(wiped(Wiped::Spare0).load(Relaxed), 7);
    }
}
