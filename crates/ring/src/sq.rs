//! The submission queue's pages: entries that the application hands over and gets back.
//!
//! ```text
//!   application                       engine
//!   store the entry
//!   tail = 1          (Release)  -->  tail? 1           (Acquire)
//!                                     copy the entry
//!   head? 1           (Acquire)  <--  head = 1          (Release)
//!   overwrite it
//! ```
//!
//! Without the first pair the engine copies half an entry, without the second one that the
//! application is overwriting. What it does not do: trust a word twice.

use crate::geometry::{SQ_DROPPED, SQ_FLAGS, SQ_HEAD, SQ_TAIL};
use crate::primitive::fence;
use crate::{Geometry, Map};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ringer_uapi::{Sqe, flags::SqRing};

/// The submission side of a ring's pages.
#[derive(Clone, Copy, Debug)]
pub struct SqView<'a> {
    rings: &'a Map,
    sqes: &'a Map,
    geo: &'a Geometry,
}

impl<'a> SqView<'a> {
    /// A view over the two regions that `geo` describes.
    pub fn new(rings: &'a Map, sqes: &'a Map, geo: &'a Geometry) -> Self {
        Self { rings, sqes, geo }
    }

    /// Zeroes head, tail, flags and dropped.
    pub fn init(&self) {
        for off in [SQ_HEAD, SQ_TAIL, SQ_DROPPED, SQ_FLAGS] {
            self.rings.w32(off).store(0, Relaxed);
        }
    }

    /// Takes over what is queued in `from`, between `head` and `tail`, and its words: every entry keeps
    /// its position. The index array stays as it is. At most `sq_entries` are queued.
    pub fn take_over(&self, from: &SqView<'_>, (head, tail): (u32, u32)) {
        let base = |view: &SqView<'_>, position: u32| {
            (position & (view.geo.sq_entries - 1)) as usize * view.geo.sqe_size as usize
        };
        let size = self.geo.sqe_size.min(from.geo.sqe_size) as usize;
        let mut at = head;
        while at != tail {
            for word in (0..size).step_by(8) {
                let w = from.sqes.w64(base(from, at) + word).load(Relaxed);
                self.sqes.w64(base(self, at) + word).store(w, Relaxed);
            }
            at = at.wrapping_add(1);
        }
        // Relaxed: who looks at them was told of these pages by a call that returned after this.
        self.rings.w32(SQ_HEAD).store(head, Relaxed);
        self.rings.w32(SQ_TAIL).store(tail, Relaxed);
        for off in [SQ_DROPPED, SQ_FLAGS] {
            self.rings.w32(off).store(from.rings.w32(off).load(Relaxed), Relaxed);
        }
    }

    /// The application's tail.
    #[inline]
    pub fn tail(&self) -> u32 {
        // Acquire: pairs with the application's Release of sq.tail (io_uring_smp_store_release in
        // liburing `__io_uring_flush_sq`), so the entries behind it are visible.
        self.rings.w32(SQ_TAIL).load(Acquire)
    }

    /// Publishes our head: the entries before it may be reused.
    #[inline]
    pub fn publish_head(&self, head: u32) {
        // Release: pairs with the application's Acquire of sq.head (`io_uring_sq_space_left`); our
        // loads of the entries happen before it overwrites them.
        self.rings.w32(SQ_HEAD).store(head, Release);
    }

    /// The index of the entry at position `head`: `None` when the array names one that does not
    /// exist (6.18 io_uring.c `io_get_sqe`).
    #[inline]
    pub fn index(&self, head: u32) -> Option<u32> {
        let slot = head & (self.geo.sq_entries - 1);
        let Some(array) = self.geo.array else { return Some(slot) };
        let i = self.rings.w32(array as usize + 4 * slot as usize).load(Relaxed);
        (i < self.geo.sq_entries).then_some(i)
    }

    /// Copies entry `index` (below `sq_entries`).
    #[inline]
    pub fn sqe(&self, index: u32) -> Sqe {
        let base = index as usize * self.geo.sqe_size as usize;
        Sqe::from_words(core::array::from_fn(|i| self.sqes.w64(base + 8 * i).load(Relaxed)))
    }

    /// Counts an entry that the index array pointed nowhere.
    pub fn count_dropped(&self) {
        let w = self.rings.w32(SQ_DROPPED);
        w.store(w.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Tells the application that entries need a wake-up from here on. A look at the tail after
    /// this sees every entry whose publisher did not see the flag:
    ///
    /// ```text
    ///   submission thread              application
    ///   flags |= NEED_WAKEUP           tail += 1
    ///   fence                          fence (liburing `sq_ring_needs_enter`)
    ///   tail? nothing: sleep           NEED_WAKEUP? no: nobody to wake
    /// ```
    pub fn set_need_wakeup(&self) {
        self.set_flags(SqRing::NEED_WAKEUP);
        // A fence, and not an ordering of the line above: that orders the flag's load and store with
        // what came before, and lets a later load overtake the store (6.18 sqpoll.c `io_sq_thread`
        // has a barrier here for the same reason).
        fence(SeqCst);
    }

    /// Sets bits of the SQ flags word.
    pub fn set_flags(&self, f: SqRing) {
        // Relaxed: the application looks at them without an order, too; `set_need_wakeup` adds what
        // that flag needs.
        self.rings.w32(SQ_FLAGS).fetch_or(f.bits(), Relaxed);
    }

    /// Clears bits of the SQ flags word.
    pub fn clear_flags(&self, f: SqRing) {
        // Relaxed: who sees a flag too long makes a call for nothing.
        self.rings.w32(SQ_FLAGS).fetch_and(!f.bits(), Relaxed);
    }

    /// The SQ flags word, for tests.
    pub fn flags(&self) -> u32 {
        self.rings.w32(SQ_FLAGS).load(Relaxed)
    }
}
