//! [`Readiness`]: a byte in the pipe behind a ring's descriptor while the ring has CQEs, or work for its
//! owner.
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
//! Work that its owner has not come for counts as a CQE: `work` is set where the tail would be published.
//!
//! A byte may stay behind with `readable` set when the CQ is reaped in memory; the next wait drops it.
//! A byte may also still be under way then, and would wake that wait with nothing to see, so a wait
//! that finds the CQ empty lets it arrive first:
//!
//! ```text
//!  poster                         poller
//!  coming += 1
//!  publish CQ tail
//!                                 reap in memory, find the CQ empty
//!  write a byte                   while coming != 0: wait
//!  readable = true, coming -= 1
//!                                 readable: drain
//! ```
//!
//! What it does not do: know what the pipe is made of ([`Descriptor`] does), or wait for long: a
//! signal handler may poll in the middle of its own thread's post.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::primitive::{AtomicBool, AtomicU32, heavy_fence, light_fence, step_aside};

/// How often a poller steps aside for a byte under way; some 10 ms where each time is 50 us.
const PATIENCE: u32 = 200;

/// The pipe and the queue that a [`Readiness`] is about.
pub trait Descriptor {
    /// Writes a byte, at once or soon, and then calls [`Readiness::arrived`].
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
    /// Work waits for the ring's owner, which no CQE shows yet.
    work: AtomicBool,
    /// Posts between the publication of their CQE and the arrival of its byte.
    coming: AtomicU32,
}

impl Readiness {
    /// Nobody polls.
    pub const fn new() -> Self {
        Self {
            polled: AtomicBool::new(false),
            readable: AtomicBool::new(false),
            work: AtomicBool::new(false),
            coming: AtomicU32::new(0),
        }
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

    /// A CQE is about to be published. `true`: its byte is announced, and [`Readiness::posted`]
    /// must be told.
    #[inline]
    pub fn announce(&self) -> bool {
        let polled = self.is_polled();
        if polled {
            // Ordered before the CQE by the Release of the tail's store.
            self.coming.fetch_add(1, Relaxed);
        }
        polled
    }

    /// Whether work waits for the owner, as [`Readiness::posted`] is about to say; or no longer.
    pub fn set_work(&self, waits: bool) {
        // Release: as the store of the CQ tail, whose place it takes.
        self.work.store(waits, Release);
    }

    /// Whether there is nothing to be readable for.
    #[inline]
    pub fn is_empty(&self, pipe: &impl Descriptor) -> bool {
        // Acquire: pairs with the Release in `set_work`.
        !self.work.load(Acquire) && pipe.cq_empty()
    }

    /// A CQE was published.
    #[inline]
    pub fn posted(&self, pipe: &impl Descriptor, announced: bool) {
        // Pairs with the heavy one in `begin`.
        light_fence();
        // Nobody polls: it was not announced.
        if !self.is_polled() {
            return;
        }
        if !announced {
            self.coming.fetch_add(1, Relaxed);
        }
        pipe.fill();
    }

    /// Others write and drain, too: a byte may be in the pipe that was not written here, and one that
    /// was may be gone.
    pub fn mistrust(&self, pipe: &impl Descriptor) {
        // Release: as in `arrived`.
        self.readable.store(self.is_empty(pipe), Release);
    }

    /// The byte of a post is in the pipe.
    pub fn arrived(&self) {
        // After the byte: a byte that is there when all is quiet has the flag set. Release: pairs
        // with the Acquire in `drain`.
        self.readable.store(true, Release);
        // Release: who sees the count go sees the flag.
        self.coming.fetch_sub(1, Release);
    }

    /// The CQ was found empty: makes the descriptor unreadable again.
    #[inline]
    pub fn drain(&self, pipe: &impl Descriptor) {
        if !self.is_readable() || !self.readable.swap(false, Acquire) {
            return;
        }
        pipe.empty();
        if !self.is_empty(pipe) {
            self.fill(pipe);
        }
    }

    fn fill(&self, pipe: &impl Descriptor) {
        self.coming.fetch_add(1, Relaxed);
        pipe.fill();
    }

    /// From here on every post is seen.
    pub fn begin(&self) {
        self.polled.store(true, Relaxed);
        heavy_fence();
    }

    /// Somebody is about to wait, after [`Readiness::begin`].
    pub fn look(&self, pipe: &impl Descriptor) {
        if !self.is_empty(pipe) {
            if !self.readable.load(Acquire) {
                self.fill(pipe);
            }
            return;
        }
        // Acquire: pairs with the Release in `arrived`.
        for _ in 0..PATIENCE {
            if self.coming.load(Acquire) == 0 {
                break;
            }
            step_aside();
        }
        self.drain(pipe);
    }

    /// Whether a wait would have something to drop, if the CQ is empty.
    #[inline]
    pub fn is_unquiet(&self) -> bool {
        self.is_readable() || self.coming.load(Relaxed) != 0
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}
