//! A region of the model checker's words, in the place of shared pages (`cfg(loom)` only).
//!
//! ```text
//!  w32: heads, tails, flags, index array   loom atomics: a load may see any store that its
//!                                          ordering allows
//!  w64: SQEs, CQEs                         bodies: handed over by a tail, taken back by a head;
//!                                          two accesses with no such order between them fail
//! ```
//!
//! A word is one or the other: nobody looks at half a body. What it does not do: model a program that
//! scribbles over entries it gave away (that one gets wrong values, as from the kernel).

use crate::primitive::AtomicU32;
use core::sync::atomic::{AtomicU64, Ordering};
use loom::cell::UnsafeCell;
use std::boxed::Box;
use std::sync::OnceLock;

/// Words of the header, in both regions alike.
const HEADER: usize = 16;

/// See the module's doc.
#[derive(Debug)]
pub struct Map {
    words: Box<[OnceLock<AtomicU32>]>,
    bodies: Box<[Body]>,
    len: usize,
}

impl Map {
    /// A region of zeroes. To be made inside of the model, before its threads.
    pub fn leaked(len: usize) -> Self {
        // The checker counts the making of a word as an access: those of the header, which are used
        // without an order, are made now.
        let word = |i| if i < HEADER { OnceLock::from(AtomicU32::new(0)) } else { OnceLock::new() };
        Self {
            words: (0..len.div_ceil(4)).map(word).collect(),
            bodies: (0..len.div_ceil(8)).map(|_| Body::new()).collect(),
            len: len.next_multiple_of(8),
        }
    }

    /// Length \[bytes\].
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the region is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The word at byte `off`.
    pub fn w32(&self, off: usize) -> &AtomicU32 {
        assert!(off.is_multiple_of(4), "offset of our own geometry");
        self.words[off / 4].get_or_init(|| AtomicU32::new(0))
    }

    /// The double word at byte `off`.
    pub fn w64(&self, off: usize) -> &Body {
        assert!(off.is_multiple_of(8), "offset of our own geometry");
        &self.bodies[off / 8]
    }
}

/// Eight bytes of an entry. Its accesses are told to the model checker, which fails the model when
/// two of them, one a store, are not ordered by something else.
#[derive(Debug)]
pub struct Body {
    value: AtomicU64,
    access: UnsafeCell<()>,
}

// SAFETY: `value` is an atomic, and `access` guards nothing: no pointer to its unit is followed, it
// only notes who came when, and the model checker runs its threads one at a time.
unsafe impl Sync for Body {}

impl Body {
    fn new() -> Self {
        Self { value: AtomicU64::new(0), access: UnsafeCell::new(()) }
    }

    /// As of an atomic.
    pub fn load(&self, order: Ordering) -> u64 {
        self.access.with(|_| self.value.load(order))
    }

    /// As of an atomic.
    pub fn store(&self, value: u64, order: Ordering) {
        self.access.with_mut(|_| self.value.store(value, order));
    }

    /// As of an atomic.
    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.access.with_mut(|_| self.value.fetch_add(value, order))
    }

    /// As of an atomic.
    ///
    /// # Errors
    /// What it was, where that is not `current`.
    pub fn compare_exchange_weak(
        &self,
        current: u64,
        new: u64,
        ok: Ordering,
        other: Ordering,
    ) -> Result<u64, u64> {
        self.access.with_mut(|_| self.value.compare_exchange_weak(current, new, ok, other))
    }

    /// As of an atomic.
    pub fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        self.access.with_mut(|_| self.value.fetch_or(value, order))
    }
}
