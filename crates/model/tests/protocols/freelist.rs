//! The allocator's lists of free blocks.

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use ringer_model::{check, spawn};
use ringer_sys::freelist::FreeList;
use std::sync::Arc;

/// Blocks of 16 bytes at "addresses" 16, 32, ...: link words, and whose they are.
struct Heap {
    list: FreeList,
    links: Vec<AtomicU64>,
    owner: Vec<UnsafeCell<()>>,
}

// SAFETY: `owner` guards nothing: it only notes who came when.
unsafe impl Sync for Heap {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Heap {}

impl Heap {
    fn new(blocks: usize) -> Arc<Self> {
        let heap = Self {
            list: FreeList::new(),
            links: (0..blocks).map(|_| AtomicU64::new(0)).collect(),
            owner: (0..blocks).map(|_| UnsafeCell::new(())).collect(),
        };
        (1..=blocks).rev().for_each(|i| heap.give(16 * i));
        Arc::new(heap)
    }

    fn link(&self, block: usize) -> &AtomicU64 {
        &self.links[block / 16 - 1]
    }

    fn take(&self) -> Option<usize> {
        let block = self.list.pop(|b| self.link(b))?;
        self.write(block);
        Some(block)
    }

    /// As its owner does: two owners at once fail the model.
    fn write(&self, block: usize) {
        self.owner[block / 16 - 1].with_mut(|_| ());
    }

    fn give(&self, block: usize) {
        self.write(block);
        self.list.push(block, block, |b| self.link(b));
    }
}

#[test]
fn a_block_that_came_back_meanwhile_does_not_confuse_a_pop() {
    check(|| {
        let heap = Heap::new(3);
        let theirs = heap.clone();
        let other = spawn(move || {
            let (a, b) = (theirs.take(), theirs.take());
            if let Some(a) = a {
                theirs.give(a);
            }
            b
        });
        let mut mine = [heap.take(), heap.take()];
        let theirs = other.join().expect("the other thread");
        mine.sort_unstable();
        assert!(mine[0].is_none() || mine[0] != mine[1], "{mine:?}");
        assert!(theirs.is_none() || !mine.contains(&theirs), "{mine:?} and {theirs:?}");
    });
}

#[test]
fn what_was_written_to_a_block_comes_before_its_next_owner() {
    check(|| {
        let heap = Heap::new(1);
        let theirs = heap.clone();
        let other = spawn(move || {
            if let Some(block) = theirs.take() {
                theirs.give(block);
            }
        });
        if let Some(block) = heap.take() {
            heap.give(block);
        }
        other.join().expect("the other thread");
        assert_eq!(heap.take(), Some(16));
    });
}
