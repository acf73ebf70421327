//! [`Readiness`]: a byte in the pipe behind a ring's descriptor while the ring has CQEs.
//!
//! ```text
//!  polled     nobody ever waited on the descriptor: a post costs one load
//!  readable   a byte was written since the last drain
//! ```
//!
//! `polled` is set once, by whoever first waits on the descriptor, and one of the two sees the other:
//!
//! ```text
//!  poster                         poller
//!  publish CQ tail                polled = true
//!  (compiler fence)               membarrier(2): every running thread passes a full barrier
//!  if polled: write a byte        if CQ not empty: write a byte
//! ```
//!
//! A drain looks at the CQ again, so that a CQE posted meanwhile keeps its byte:
//!
//! ```text
//!  poster                         drainer (found the CQ empty)
//!  publish CQ tail
//!                                 readable = false
//!  write a byte
//!                                 read all bytes
//!  readable = true
//!                                 CQ not empty: write a byte
//! ```
//!
//! A byte may stay behind with `readable` set when the CQ is reaped in memory; the next wait drops it.
//! What it does not do: know what the pipe is made of ([`Descriptor`] does).

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::primitive::{AtomicBool, heavy_fence, light_fence};

/// The pipe and the queue that a [`Readiness`] is about.
pub trait Descriptor {
    /// Writes a byte.
    fn fill(&self);
    /// Reads all bytes.
    fn empty(&self);
    /// Whether the application has taken every CQE.
    fn cq_empty(&self) -> bool;
}

/// See the module's doc.
#[derive(Debug)]
pub struct Readiness {
    polled: AtomicBool,
    readable: AtomicBool,
}

impl Readiness {
    /// Nobody polls.
    pub const fn new() -> Self {
        Self { polled: AtomicBool::new(false), readable: AtomicBool::new(false) }
    }

    /// Whether somebody ever waited on the descriptor.
    #[inline]
    pub fn is_polled(&self) -> bool {
        self.polled.load(Relaxed)
    }

    /// Whether there is something to drain.
    #[inline]
    pub fn is_readable(&self) -> bool {
        self.readable.load(Relaxed)
    }

    /// A CQE was published.
    #[inline]
    pub fn posted(&self, pipe: &impl Descriptor) {
        // Pairs with the heavy one in `begin`.
        light_fence();
        if self.polled.load(Relaxed) {
            self.fill(pipe);
        }
    }

    fn fill(&self, pipe: &impl Descriptor) {
        pipe.fill();
        // After the byte: a byte that is there when all is quiet has the flag set. Release: pairs
        // with the Acquire in `drain`.
        self.readable.store(true, Release);
    }

    /// The CQ was found empty: makes the descriptor unreadable again.
    #[inline]
    pub fn drain(&self, pipe: &impl Descriptor) {
        if !self.is_readable() || !self.readable.swap(false, Acquire) {
            return;
        }
        pipe.empty();
        if !pipe.cq_empty() {
            self.fill(pipe);
        }
    }

    /// From here on every post is seen.
    pub fn begin(&self) {
        self.polled.store(true, Relaxed);
        heavy_fence();
    }

    /// Somebody is about to wait, after [`Readiness::begin`].
    pub fn look(&self, pipe: &impl Descriptor) {
        match (pipe.cq_empty(), self.readable.load(Acquire)) {
            (false, false) => self.fill(pipe),
            (true, true) => self.drain(pipe),
            _ => {}
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}
