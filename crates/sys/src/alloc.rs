//! Our own allocator: nothing of libc's, no lock, usable in a signal handler and in a forked child.
//!
//! ```text
//!  <= 32 KiB  22 size classes (2^n and 1.5 * 2^n), each a lock-free list of free blocks (`freelist`)
//!             empty: mmap a chunk, cut it, push the blocks; the first few from a little that is
//!             there already, as each page touched anew costs microseconds
//!  larger     mmap, mremap, munmap
//!  mmap fails: from the reserve, [ taken ... | next -> untouched ]
//! ```
//!
//! Lock-free means: an allocation inside a signal handler that interrupted one, or in a child whose
//! parent was forked in the middle of one, works. A fork (or kill) between two steps loses at most
//! the blocks that were on their way. Blocks of a class stay with it: memory of small blocks is
//! reused, never returned, so it is bounded by the peak.
//!
//! **Reserve:** a failed allocation ends the program, which the kernel's io_uring would not: there
//! the system call answers `ENOMEM`. So that a program at its memory limit gets as far as such an
//! answer, [`reserve`] maps a range before the first ring, untouched until mmap(2) fails.
//! What it does not do: per-thread caches, returning small blocks to the kernel.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize};

use crate::freelist::FreeList;
use crate::raw::{self, PAGE, general as g};

/// The allocator: `#[global_allocator] static ALLOC: Alloc = Alloc;`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alloc;

/// Smallest block \[bytes\].
const MIN: usize = 16;
/// Largest block that comes from a class \[bytes\].
const MAX: usize = 32 * 1024;
/// Least amount to ask of the kernel for a class \[bytes\].
const CHUNK: usize = 16 * 1024;
/// What the first small blocks of all classes come from \[bytes\].
const EARLY: usize = 32 * 1024;
/// Most that a class takes of that at once \[bytes\].
const EARLY_CHUNK: usize = 1024;
/// Address space of the reserve \[bytes\]; no page of it is resident before it is needed.
const RESERVE: usize = 2 << 20;
/// Largest allocation that the reserve serves: what is larger follows a program's wish (the size of
/// a ring or a table) and may fail \[bytes\].
const RESERVE_MAX: usize = 128 * 1024;
/// 16, 24 (unused), 32, 48, 64, ... 24576, 32768: two classes for each doubling.
const CLASSES: usize = 2 * (MAX / MIN).ilog2() as usize + 1;

/// Free blocks of one size; each block's first word is the address of the next one.
#[derive(Debug)]
struct List(FreeList);

static FREE: [List; CLASSES] = [const { List(FreeList::new()) }; CLASSES];

/// The class for a layout and its block size, or `None` for memory straight from the kernel.
fn class(layout: Layout) -> Option<(&'static List, usize)> {
    let size = layout.size().max(layout.align()).max(MIN);
    if size > MAX || layout.align() > PAGE {
        return None;
    }
    let above = size.next_power_of_two();
    let middle = above / 4 * 3;
    // Blocks of 1.5 * 2^n are aligned to 2^(n-1); keep them for what needs no more than 16.
    let fits_middle = size <= middle && layout.align() <= 16 && middle.is_multiple_of(16);
    let index = 2 * (above / MIN).ilog2() as usize - usize::from(fits_middle);
    FREE.get(index).map(|list| (list, if fits_middle { middle } else { above }))
}

/// The link word of a block.
fn link(block: usize) -> &'static AtomicU64 {
    let at: *mut u64 = core::ptr::with_exposed_provenance_mut(block);
    // SAFETY: blocks lie in chunks that are never unmapped, 16-aligned. A block that was just
    // taken by somebody else may change under this word: the load is atomic, and the tag makes the
    // following compare-exchange fail.
    unsafe { AtomicU64::from_ptr(at) }
}

impl List {
    fn pop(&self) -> Option<usize> {
        self.0.pop(link)
    }

    /// Pushes a chain whose inner links are set.
    fn push(&self, first: usize, last: usize) {
        self.0.push(first, last, link);
    }

    /// Asks the kernel for a chunk of blocks, keeps all but one. The first block's bytes are zero.
    #[cold]
    fn refill(&self, size: usize) -> Option<usize> {
        let (first, chunk) = early(size).or_else(|| Self::fresh(size))?;
        let count = chunk / size;
        if count > 1 {
            let block = |i: usize| first + i * size;
            for i in 1..count - 1 {
                link(block(i)).store(block(i + 1) as u64, Relaxed);
            }
            self.push(block(1), block(count - 1));
        }
        Some(first)
    }

    /// Zero pages for blocks of a size: where, and how many bytes.
    fn fresh(size: usize) -> Option<(usize, usize)> {
        let align = size.next_power_of_two().clamp(PAGE, MAX);
        let chunk = CHUNK.max(4 * size).next_multiple_of(PAGE);
        map_aligned(chunk, align).map(|at| (at, chunk)).or_else(|| {
            // No more of it than is needed now.
            let little = size.next_multiple_of(PAGE);
            RESERVED.take(little, align).map(|at| (at, little))
        })
    }
}

/// Zero bytes that are handed out from their start, once.
#[repr(align(4096))]
struct Early([AtomicU64; EARLY / 8]);

static EARLY_BYTES: Early = Early([const { AtomicU64::new(0) }; EARLY / 8]);
static EARLY_USED: AtomicUsize = AtomicUsize::new(0);

/// A few blocks of a size, while there are any: where, and how many bytes.
fn early(size: usize) -> Option<(usize, usize)> {
    if size > 2 * PAGE {
        return None;
    }
    let (len, align) = (size.max(EARLY_CHUNK), size.next_power_of_two().min(PAGE));
    let after = |used: usize| Some(used.next_multiple_of(align) + len).filter(|end| *end <= EARLY);
    let used = EARLY_USED.fetch_update(Relaxed, Relaxed, after).ok()?;
    Some((EARLY_BYTES.0.as_ptr().expose_provenance() + used.next_multiple_of(align), len))
}

/// A range of zero pages that is handed out from its start, once.
struct Reserve {
    /// 0 before [`reserve`].
    next: AtomicUsize,
    end: AtomicUsize,
}

static RESERVED: Reserve = Reserve { next: AtomicUsize::new(0), end: AtomicUsize::new(0) };

/// Maps the reserve, if there is none. To be called before the first ring. Without memory for it
/// there is none: the mapping of the ring itself answers `ENOMEM` then.
pub fn reserve() {
    if RESERVED.next.load(Relaxed) != 0 {
        return;
    }
    let Ok(at) = raw::mmap_anonymous(RESERVE) else { return };
    if RESERVED.end.compare_exchange(0, at + RESERVE, Relaxed, Relaxed).is_ok() {
        // Release: pairs with the Acquire in `take`, which then reads `end`.
        RESERVED.next.store(at, Release);
    } else {
        unmap(at, RESERVE);
    }
}

impl Reserve {
    /// `len` bytes at a multiple of `align`, both multiples of a page.
    #[cold]
    fn take(&self, len: usize, align: usize) -> Option<usize> {
        let start = |next: usize| next.next_multiple_of(align);
        let after = |next: usize| {
            let end = start(next).checked_add(len)?;
            (next != 0 && end <= self.end.load(Relaxed)).then_some(end)
        };
        self.next.fetch_update(Relaxed, Acquire, after).ok().map(start)
    }
}

/// Fresh zero pages at a multiple of `align` (a power of two, at least a page).
fn map_aligned(len: usize, align: usize) -> Option<usize> {
    if align <= PAGE {
        return raw::mmap_anonymous(len).ok();
    }
    let at = raw::mmap_anonymous(len.checked_add(align)?).ok()?;
    let start = at.next_multiple_of(align);
    unmap(at, start - at);
    unmap(start + len, at + align - start);
    Some(start)
}

/// Gives pages back that nobody uses.
fn unmap(at: usize, len: usize) {
    if len > 0 {
        // SAFETY: only called for ranges of mappings of this module that are not in use (any more).
        let _ = unsafe { raw::munmap(at, len) };
    }
}

fn pages(size: usize) -> Option<usize> {
    size.checked_next_multiple_of(PAGE)
}

impl Alloc {
    /// Zeroed memory straight from the kernel.
    fn big(layout: Layout) -> *mut u8 {
        let align = layout.align().max(PAGE);
        let fresh = |len| {
            map_aligned(len, align)
                .or_else(|| (len <= RESERVE_MAX).then(|| RESERVED.take(len, align)).flatten())
        };
        pages(layout.size().max(1))
            .and_then(fresh)
            .map_or(null_mut(), core::ptr::with_exposed_provenance_mut)
    }
}

// SAFETY: a block is handed out by exactly one successful pop (or refill, or mmap) and comes back
// only by `dealloc`; class sizes and alignments are at least the layout's (asserted in the tests).
unsafe impl GlobalAlloc for Alloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout) {
            Some((list, size)) => list
                .pop()
                .or_else(|| list.refill(size))
                .map_or(null_mut(), core::ptr::with_exposed_provenance_mut),
            None => Self::big(layout),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let block = ptr.expose_provenance();
        match class(layout) {
            Some((list, _)) => list.push(block, block),
            None => unmap(block, pages(layout.size().max(1)).unwrap_or(0)),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class(layout).is_none() {
            return Self::big(layout);
        }
        // SAFETY: the caller's promise is the same.
        let ptr = unsafe { self.alloc(layout) };
        if !ptr.is_null() {
            // SAFETY: a block of at least `layout.size()` bytes that nobody else has.
            unsafe { ptr.write_bytes(0, layout.size()) };
        }
        ptr
    }

    unsafe fn realloc(&self, ptr: *mut u8, old: Layout, new_size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(new_size, old.align()) else { return null_mut() };
        match (class(old), class(new)) {
            (Some((_, a)), Some((_, b))) if a == b => return ptr,
            (None, None) if old.align() <= PAGE => {
                let moved = remap(ptr, old.size(), new_size);
                if !moved.is_null() {
                    return moved;
                }
            }
            _ => {}
        }
        // SAFETY: `new` is not empty (the caller's promise).
        let to = unsafe { self.alloc(new) };
        if !to.is_null() {
            // SAFETY: both blocks hold the smaller of the two sizes, and the new one is nobody's.
            unsafe { to.copy_from_nonoverlapping(ptr, old.size().min(new_size)) };
            // SAFETY: the caller's promise about `ptr` and `old`.
            unsafe { self.dealloc(ptr, old) };
        }
        to
    }
}

/// Grows or shrinks pages; the kernel may move them.
fn remap(ptr: *mut u8, old: usize, new: usize) -> *mut u8 {
    let (Some(old), Some(new)) = (pages(old), pages(new)) else { return null_mut() };
    if old == new {
        return ptr;
    }
    // SAFETY: the caller of `realloc` gives the old block up.
    unsafe { raw::mremap(ptr.expose_provenance(), old, new, g::MREMAP_MAYMOVE, 0) }
        .map_or(null_mut(), core::ptr::with_exposed_provenance_mut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn every_class_is_large_and_aligned_enough() {
        for size in 1..=MAX {
            for align in [1, 8, 16, 64, 4096] {
                let Some((_, block)) = class(layout(size, align)) else {
                    panic!("{size} {align} has no class")
                };
                assert!(block >= size && block <= MAX, "{size} in {block}");
                assert!(align <= 16 || block.is_multiple_of(align), "{block} for {align}");
                assert!(block.is_multiple_of(16));
            }
        }
        assert!(class(layout(MAX + 1, 8)).is_none());
        assert!(class(layout(8, 2 * PAGE)).is_none());
    }

    #[test]
    fn classes_differ_in_their_lists() {
        let mut seen: Vec<(usize, usize)> = (1..=MAX)
            .filter_map(|n| class(layout(n, 8)))
            .map(|(list, block)| (core::ptr::from_ref(list) as usize, block))
            .collect();
        seen.dedup();
        let mut lists: Vec<usize> = seen.iter().map(|s| s.0).collect();
        lists.sort_unstable();
        lists.dedup();
        assert_eq!(lists.len(), seen.len(), "a list serves one block size");
        assert_eq!(seen.len(), CLASSES - 1);
    }

    /// A block filled with a value that belongs to its owner.
    struct Owned(*mut u8, Layout, u8);
    impl Owned {
        fn new(size: usize, align: usize, value: u8) -> Self {
            let layout = layout(size, align);
            // SAFETY: the layout is not empty.
            let p = unsafe { Alloc.alloc(layout) };
            assert!(!p.is_null() && p.addr().is_multiple_of(align));
            // SAFETY: the block is ours.
            unsafe { p.write_bytes(value, size) };
            Self(p, layout, value)
        }
        fn check(&self) {
            // SAFETY: the block is ours and written.
            let bytes = unsafe { core::slice::from_raw_parts(self.0, self.1.size()) };
            assert!(bytes.iter().all(|&b| b == self.2), "somebody else wrote here");
        }
        fn resize(&mut self, size: usize) {
            self.check();
            // SAFETY: ours, with its layout.
            let p = unsafe { Alloc.realloc(self.0, self.1, size) };
            assert!(!p.is_null());
            let kept = size.min(self.1.size());
            (self.0, self.1) = (p, layout(size, self.1.align()));
            // SAFETY: `kept` bytes were written before.
            let bytes = unsafe { core::slice::from_raw_parts(p, kept) };
            assert!(bytes.iter().all(|&b| b == self.2));
            // SAFETY: ours.
            unsafe { p.write_bytes(self.2, size) };
        }
    }
    impl Drop for Owned {
        fn drop(&mut self) {
            self.check();
            // SAFETY: ours, with its layout.
            unsafe { Alloc.dealloc(self.0, self.1) };
        }
    }

    fn churn(seed: u64, rounds: usize) {
        let mut x = seed;
        let mut next = move |n: usize| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x % n as u64) as usize
        };
        let mut live: Vec<Owned> = Vec::new();
        for _ in 0..rounds {
            match next(4) {
                0 | 1 => {
                    let most = if next(50) == 0 { 200_000 } else { 700 };
                    let size = 1 + next(most);
                    live.push(Owned::new(size, 1 << next(8), seed as u8));
                }
                2 if !live.is_empty() => {
                    let i = next(live.len());
                    live.swap_remove(i);
                }
                _ if !live.is_empty() => {
                    let i = next(live.len());
                    live[i].resize(1 + next(2_000));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn blocks_of_many_threads_never_overlap() {
        let threads: Vec<_> =
            (1..=4).map(|i| std::thread::spawn(move || churn(0x9e37 * i, 20_000))).collect();
        for t in threads {
            t.join().unwrap();
        }
    }

    #[test]
    fn an_allocation_works_in_a_child_of_a_busy_parent() {
        use core::sync::atomic::AtomicBool;
        static STOP: AtomicBool = AtomicBool::new(false);
        let busy = std::thread::spawn(|| {
            while !STOP.load(Relaxed) {
                churn(77, 100);
            }
        });
        for _ in 0..50 {
            let code = raw::testing::in_child(|| {
                churn(5, 200);
                0
            });
            assert_eq!(code, 0);
        }
        STOP.store(true, Relaxed);
        busy.join().unwrap();
    }

    #[test]
    fn at_the_memory_limit_the_reserve_serves_what_is_small() {
        let code = raw::testing::in_child(|| {
            reserve();
            let limit = [0u64, u64::MAX];
            let at = limit.as_ptr() as usize;
            // SAFETY: the kernel reads the new limit.
            let set = unsafe { raw::syscall4(g::__NR_prlimit64, 0, g::RLIMIT_AS as usize, at, 0) };
            if set != 0 || raw::mmap_anonymous(PAGE).is_ok() {
                return 1;
            }
            // SAFETY: not empty.
            let fresh = |size| unsafe { Alloc.alloc_zeroed(layout(size, 8)) };
            let mut taken = 0;
            loop {
                let size = [64, 1024, 5000, 30_000, 70_000][taken % 5];
                let at = fresh(size);
                if at.is_null() {
                    break;
                }
                // SAFETY: `size` bytes, ours.
                if unsafe { core::slice::from_raw_parts(at, size) }.iter().any(|b| *b != 0) {
                    return 2;
                }
                // SAFETY: as above.
                unsafe { at.write_bytes(0xff, size) };
                taken += 1;
            }
            i32::from(taken < 50 || !fresh(RESERVE_MAX + 1).is_null()) * 3
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn zeroed_memory_is_zero_after_reuse() {
        for size in [24, 4000, 100_000] {
            drop(Owned::new(size, 8, 0xff));
            // SAFETY: not empty.
            let p = unsafe { Alloc.alloc_zeroed(layout(size, 8)) };
            // SAFETY: ours, zeroed.
            let bytes = unsafe { core::slice::from_raw_parts(p, size) };
            assert!(bytes.iter().all(|&b| b == 0));
            // SAFETY: ours.
            unsafe { Alloc.dealloc(p, layout(size, 8)) };
        }
    }
}
