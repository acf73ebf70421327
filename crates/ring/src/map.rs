use crate::primitive::{AtomicU32, AtomicU64};
use core::ptr::NonNull;

/// A region shared with the application, seen as atomic words.
///
/// Invariant (from [`Map::new`]'s caller): `base..base+len` stays mapped readable and writable
/// while the `Map` is used, and this process touches it only through atomics.
#[derive(Debug)]
pub struct Map {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the type hands out only `&AtomicU32`/`&AtomicU64`, which are `Sync`, and the region
// does not belong to a thread.
unsafe impl Send for Map {}
// SAFETY: as for `Send`.
unsafe impl Sync for Map {}

impl Map {
    /// Wraps a mapping.
    ///
    /// # Safety
    /// 1. `base` is 8-aligned and `base..base+len` is readable and writable until the last use.
    /// 2. This process reads and writes the region through atomics only (the application's own
    ///    racing accesses may yield wrong values, never unsoundness).
    pub const unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    /// A region of zeroes that is never freed, at least `len` bytes long: a simulator's ring pages.
    #[cfg(feature = "test-utils")]
    pub fn leaked(len: usize) -> Self {
        let words: alloc::vec::Vec<AtomicU64> =
            (0..len.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        let words: &'static [AtomicU64] = words.leak();
        let base = NonNull::from(words).cast::<u8>();
        // SAFETY:
        // 1. `base` points to `len` bytes or more of 8-aligned atomics that were leaked just above,
        //    so they stay readable and writable for ever; the shared reference to them ended here.
        // 2. Only this `Map` (and who asks it) knows the address, and `Map` hands out atomics only.
        unsafe { Self::new(base, len.next_multiple_of(8)) }
    }

    /// Length \[bytes\].
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the region is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of the first byte.
    pub fn addr(&self) -> usize {
        self.base.as_ptr() as usize
    }

    /// The word at byte `off`. Offsets are computed from the engine's own geometry, never taken
    /// from the pages unmasked.
    #[inline]
    pub fn w32(&self, off: usize) -> &AtomicU32 {
        assert!(off.is_multiple_of(4) && off + 4 <= self.len, "offset of our own geometry");
        // SAFETY:
        // 1. `off + 4 <= len` and `off` is 4-aligned (asserted), `base` is 8-aligned (invariant).
        // 2. The region outlives `self` (invariant); every bit pattern is a valid u32.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().wrapping_add(off).cast()) }
    }

    /// The double word at byte `off`.
    #[inline]
    pub fn w64(&self, off: usize) -> &AtomicU64 {
        assert!(off.is_multiple_of(8) && off + 8 <= self.len, "offset of our own geometry");
        // SAFETY: as in `w32`, with 8 for 4.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().wrapping_add(off).cast()) }
    }
}
