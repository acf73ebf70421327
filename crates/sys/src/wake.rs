//! [`Wake`]: an eventfd that any number of wakers write at most once between two answers.
//!
//! ```text
//!  idle --ring: write the eventfd--> rung --ring: nothing to do--> rung
//!    ^                                 |
//!    '--- answer: read it, then forget-'
//! ```
//!
//! The lost wake-up it prevents: with the two steps of an answer the other way round, a ring in
//! between writes a count that the answer then reads, and from there on the flag says "rung" with
//! nothing in the eventfd: no wake is ever written again.
//!
//! ```text
//!   waiter                           waker
//!   wait returns
//!   read the eventfd
//!                                    note what is new; rung already: do not write
//!   rung = false
//!   look around: sees what is new
//! ```
//!
//! What it does not do: own the eventfd.

use core::sync::atomic::Ordering::AcqRel;

use crate::primitive::AtomicBool;

/// See the module's doc.
#[derive(Debug)]
pub struct Wake(AtomicBool);

impl Wake {
    /// Not rung.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Makes the current or the next wait return; `write` adds to the eventfd.
    pub fn ring(&self, write: impl FnOnce()) {
        // AcqRel: pairs with `answer`. What the waker stored before is seen by the waiter that this
        // left to find the flag set, or that our write wakes.
        if !self.0.swap(true, AcqRel) {
            write();
        }
    }

    /// After a wait that the eventfd ended; `read` empties it.
    pub fn answer(&self, read: impl FnOnce()) {
        read();
        self.0.swap(false, AcqRel);
    }
}

impl Default for Wake {
    fn default() -> Self {
        Self::new()
    }
}
