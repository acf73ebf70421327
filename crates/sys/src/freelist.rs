//! [`FreeList`]: a lock-free stack of free blocks whose head carries a tag.
//!
//! ```text
//!  head = [ 44 bits block address | 20 bits tag ] -> block -> block -> 0
//! ```
//!
//! The race that the tag prevents, with blocks A -> B -> C on the list:
//!
//! ```text
//!   one thread                       another
//!   head A, its next is B
//!                                    takes A, takes B, gives A back: A -> C
//!   head is still A? no: the tag is another one, so look again
//! ```
//!
//! Without it the head would become B, which somebody has. The tag counts changes, so that a head
//! that came back after exactly 2^20 of them during one pop would be needed to confuse it. What it does
//! not do: own blocks, or know where their link words are (the caller says).

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use crate::primitive::{AtomicU64, Word64};

/// See the module's doc.
#[derive(Debug)]
pub struct FreeList(AtomicU64);

const TAG_BITS: u32 = 20;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;

/// Blocks are 16-aligned and below 2^48, so their address takes 44 bits.
const fn pack(block: usize, tag: u64) -> u64 {
    (block as u64) << (TAG_BITS - 4) | (tag & TAG_MASK)
}

const fn block_of(head: u64) -> usize {
    (head >> TAG_BITS << 4) as usize
}

impl FreeList {
    /// An empty list.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes a block; `link` is a block's link word.
    #[inline]
    pub fn pop<'a>(&self, link: impl Fn(usize) -> &'a Word64) -> Option<usize> {
        // Acquire: pairs with the Release of the push that linked the block.
        let mut head = self.0.load(Acquire);
        loop {
            let block = block_of(head);
            if block == 0 {
                return None;
            }
            // If the block is no longer free this is rubbish, but then the head has changed.
            let next = link(block).load(Relaxed);
            let new = pack(next as usize, head + 1);
            match self.0.compare_exchange_weak(head, new, Acquire, Acquire) {
                Ok(_) => return Some(block),
                Err(now) => head = now,
            }
        }
    }

    /// Gives back a chain of blocks whose inner links are set.
    #[inline]
    pub fn push<'a>(&self, first: usize, last: usize, link: impl Fn(usize) -> &'a Word64) {
        let mut head = self.0.load(Relaxed);
        loop {
            link(last).store(block_of(head) as u64, Relaxed);
            let new = pack(first, head + 1);
            // Release: what was done to the blocks, their links too, comes before who pops them.
            match self.0.compare_exchange_weak(head, new, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

impl Default for FreeList {
    fn default() -> Self {
        Self::new()
    }
}
