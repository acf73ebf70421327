//! The completion queue's pages: entries that the engine hands over and gets back.
//!
//! ```text
//!   engine                            application
//!   store the entry
//!   tail = 1          (Release)  -->  tail? 1           (Acquire)
//!                                     read the entry
//!   head? 1           (Acquire)  <--  head = 1          (Release)
//!   overwrite it
//! ```
//!
//! What it does not do: decide when to publish, or what does not fit (the engine does).

use crate::geometry::{CQ_FLAGS, CQ_HEAD, CQ_OVERFLOW, CQ_TAIL, CQES};
use crate::{Geometry, Map};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use ringer_uapi::Cqe;

/// The completion side of a ring's pages.
#[derive(Clone, Copy, Debug)]
pub struct CqView<'a> {
    rings: &'a Map,
    geo: &'a Geometry,
}

impl<'a> CqView<'a> {
    /// A view over the region that `geo` describes.
    pub fn new(rings: &'a Map, geo: &'a Geometry) -> Self {
        Self { rings, geo }
    }

    /// Zeroes head, tail, flags and overflow.
    pub fn init(&self) {
        for off in [CQ_HEAD, CQ_TAIL, CQ_FLAGS, CQ_OVERFLOW] {
            self.rings.w32(off).store(0, Relaxed);
        }
    }

    /// Takes over what waits in `from`, between `head` and `tail`, and its words: every slot keeps its
    /// position. At most `cq_entries` wait.
    pub fn take_over(&self, from: &CqView<'_>, (head, tail): (u32, u32)) {
        let base = |view: &CqView<'_>, position: u32| {
            let slot = (position & (view.geo.cq_entries - 1)) as usize;
            CQES + slot * view.geo.cqe_size as usize
        };
        let size = self.geo.cqe_size.min(from.geo.cqe_size) as usize;
        let mut at = head;
        while at != tail {
            for word in (0..size).step_by(8) {
                let w = from.rings.w64(base(from, at) + word).load(Relaxed);
                self.rings.w64(base(self, at) + word).store(w, Relaxed);
            }
            at = at.wrapping_add(1);
        }
        // Relaxed: who looks at them was told of these pages by a call that returned after this.
        self.rings.w32(CQ_HEAD).store(head, Relaxed);
        self.rings.w32(CQ_TAIL).store(tail, Relaxed);
        for off in [CQ_FLAGS, CQ_OVERFLOW] {
            self.rings.w32(off).store(from.rings.w32(off).load(Relaxed), Relaxed);
        }
    }

    /// The application's head.
    #[inline]
    pub fn head(&self) -> u32 {
        // Acquire: pairs with the application's Release of cq.head (`io_uring_cq_advance`); its
        // loads of the entries happen before we overwrite them.
        self.rings.w32(CQ_HEAD).load(Acquire)
    }

    /// Stores an entry at position `tail`; invisible until [`CqView::publish_tail`].
    #[inline]
    pub fn write(&self, tail: u32, cqe: &Cqe) {
        let slot = (tail & (self.geo.cq_entries - 1)) as usize;
        let base = CQES + slot * self.geo.cqe_size as usize;
        self.rings.w64(base).store(cqe.user_data, Relaxed);
        let word = u64::from(cqe.res as u32) | u64::from(cqe.flags) << 32;
        self.rings.w64(base + 8).store(word, Relaxed);
        if self.geo.cqe_size == 32 {
            self.rings.w64(base + 16).store(cqe.big[0], Relaxed);
            self.rings.w64(base + 24).store(cqe.big[1], Relaxed);
        }
    }

    /// Stores the second half of an entry of 32 bytes that began at `tail`, in the slot behind it.
    pub fn write_half(&self, tail: u32, cqe: &Cqe) {
        let slot = (tail.wrapping_add(1) & (self.geo.cq_entries - 1)) as usize;
        let base = CQES + slot * self.geo.cqe_size as usize;
        self.rings.w64(base).store(cqe.big[0], Relaxed);
        self.rings.w64(base + 8).store(cqe.big[1], Relaxed);
    }

    /// Makes room at position `at` for one more entry: those from there to `tail`, which are invisible
    /// yet, move up by one. What the application wrote over them meanwhile moves as it is.
    pub fn move_up(&self, at: u32, tail: u32) {
        let size = self.geo.cqe_size as usize;
        let base = |n: u32| CQES + (n & (self.geo.cq_entries - 1)) as usize * size;
        let mut to = tail;
        while to != at {
            let from = to.wrapping_sub(1);
            for word in (0..size).step_by(8) {
                let w = self.rings.w64(base(from) + word).load(Relaxed);
                self.rings.w64(base(to) + word).store(w, Relaxed);
            }
            to = from;
        }
    }

    /// Publishes our tail.
    #[inline]
    pub fn publish_tail(&self, tail: u32) {
        // Release: pairs with the application's Acquire of cq.tail (io_uring_smp_load_acquire in
        // liburing `__io_uring_peek_cqe`).
        self.rings.w32(CQ_TAIL).store(tail, Release);
    }

    /// Whether the application muted its eventfd (`IORING_CQ_EVENTFD_DISABLED`).
    pub fn eventfd_disabled(&self) -> bool {
        self.rings.w32(CQ_FLAGS).load(Relaxed) & 1 != 0
    }

    /// Counts a completion that was really lost (no memory for the backlog).
    pub fn count_overflow(&self) {
        let w = self.rings.w32(CQ_OVERFLOW);
        w.store(w.load(Relaxed).wrapping_add(1), Relaxed);
    }
}
