//! [`Latch`]: words that a signal handler reads while somebody changes them.
//!
//! ```text
//!  turn: even -> half 0 is valid, odd -> half 1; a writer fills the other one, then adds 1
//! ```
//!
//! A reader never waits for a writer, which may be the thread it interrupted. What it must notice:
//!
//! ```text
//!   reader                     writers, one after the other
//!   turn 4: reads half 0
//!                              fills half 1, turn 5
//!                              fills half 0 ...
//!   reads the rest of half 0
//!   turn is not 4: again
//! ```
//!
//! What it does not do: keep writers apart (its owner's lock does).

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::primitive::{AtomicU32, AtomicU64, fence};

/// See the module's doc.
#[derive(Debug)]
pub struct Latch<const N: usize> {
    turn: AtomicU32,
    words: [[AtomicU64; N]; 2],
}

impl<const N: usize> Latch<N> {
    /// Zeroes.
    pub const fn new() -> Self {
        Self { turn: AtomicU32::new(0), words: [const { [const { AtomicU64::new(0) }; N] }; 2] }
    }

    /// What was set last, whole.
    pub fn get(&self) -> [u64; N] {
        loop {
            // Acquire: pairs with the Release in `set`.
            let turn = self.turn.load(Acquire);
            let words = self.half(turn).each_ref().map(|w| w.load(Relaxed));
            // Pairs with the fence in `set`: who saw a word of the change after next sees the turn of
            // the next one.
            fence(Acquire);
            if self.turn.load(Relaxed) == turn {
                return words;
            }
        }
    }

    /// Sets all words. Under the owner's lock only.
    pub fn set(&self, new: [u64; N]) {
        let turn = self.turn.load(Relaxed).wrapping_add(1);
        fence(Release);
        for (word, value) in self.half(turn).iter().zip(new) {
            word.store(value, Relaxed);
        }
        self.turn.store(turn, Release);
    }

    fn half(&self, turn: u32) -> &[AtomicU64; N] {
        let [even, odd] = &self.words;
        if turn.is_multiple_of(2) { even } else { odd }
    }
}

impl<const N: usize> Default for Latch<N> {
    fn default() -> Self {
        Self::new()
    }
}
