//! The registered files of a ring: what `IOSQE_FIXED_FILE` indexes.
//!
//! ```text
//!  slot 0   slot 1   slot 2 ...        alloc range [lo, hi), hint
//!    |        .        |
//!   node ---------- node               a request in flight holds the node, not the slot
//!    | file, tag, watch                a node whose last holder goes posts its tag, closes its file
//! ```
//!
//! An inline request borrows the node under the ring's lock: no reference is taken or dropped for
//! it. What it does not do: keep descriptors (the host's [`HostFile`](crate::host::HostFile) does).

use crate::host::Host;
use crate::slab::Key;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use ringer_uapi::{Errno, FILE_INDEX_ALLOC};

/// A registered file.
#[derive(Debug)]
pub struct FileNode<H: Host> {
    /// The file.
    pub file: H::File,
    /// Posted when it goes, unless 0.
    pub tag: u64,
    /// The watch that requests on this node wait in, once one had to wait (a [`Key`], or 0).
    /// Written under the ring's lock.
    watch: AtomicU64,
}

impl<H: Host> FileNode<H> {
    /// A node without a watch.
    pub fn new(file: H::File, tag: u64) -> Arc<Self> {
        Arc::new(Self { file, tag, watch: AtomicU64::new(0) })
    }

    /// The node's watch.
    pub fn watch(&self) -> Option<Key> {
        Some(self.watch.load(Relaxed)).filter(|&w| w != 0).map(Key::from_bits)
    }

    /// Remembers the node's watch.
    pub fn set_watch(&self, key: Option<Key>) {
        self.watch.store(key.map_or(0, Key::bits), Relaxed);
    }
}

/// Where a file went, and what was there before.
pub type Installed<H> = (u32, Option<Arc<FileNode<H>>>);

/// See the module's doc.
#[derive(Debug)]
pub struct FileTable<H: Host> {
    slots: Vec<Option<Arc<FileNode<H>>>>,
    range: (u32, u32),
    hint: u32,
}

impl<H: Host> FileTable<H> {
    /// A table; `None` is an empty slot.
    pub fn new(slots: Vec<Option<Arc<FileNode<H>>>>) -> Self {
        let n = slots.len() as u32;
        Self { slots, range: (0, n), hint: 0 }
    }

    /// Number of slots.
    pub fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The file in a slot, for a request's `fd`.
    #[inline]
    pub fn get(&self, fd: i32) -> Option<&Arc<FileNode<H>>> {
        self.slots.get(usize::try_from(fd).ok()?)?.as_ref()
    }

    /// Sets the range that ALLOC picks from.
    ///
    /// # Errors
    /// `EOVERFLOW`; `EINVAL` beyond the table (6.18 filetable.c `io_register_file_alloc_range`).
    pub fn set_range(&mut self, off: u32, len: u32) -> Result<(), Errno> {
        let end = off.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        if end > self.len() {
            return Err(Errno::EINVAL);
        }
        self.range = (off, end);
        self.hint = off;
        Ok(())
    }

    /// A free slot of the range, next-fit from the hint (`io_file_bitmap_get`).
    ///
    /// A slot outside the range that was filled or emptied by name leaves the hint there; the search
    /// then begins with the range.
    fn free_slot(&self) -> Option<u32> {
        let (lo, hi) = self.range;
        let free = |i: &u32| self.slots.get(*i as usize).is_some_and(Option::is_none);
        let start = if (lo..hi).contains(&self.hint) { self.hint } else { lo };
        (start..hi).find(free).or_else(|| (lo..start).find(free))
    }

    /// Puts a file into a slot and returns the slot and what was there.
    ///
    /// # Errors
    /// `EINVAL` beyond the table; `ENFILE` when ALLOC finds none.
    pub fn install(&mut self, slot: u32, node: Arc<FileNode<H>>) -> Result<Installed<H>, Errno> {
        let slot = match slot {
            FILE_INDEX_ALLOC => self.free_slot().ok_or(Errno::ENFILE)?,
            slot => slot,
        };
        let cell = self.slots.get_mut(slot as usize).ok_or(Errno::EINVAL)?;
        let old = cell.replace(node);
        if old.is_none() {
            // `io_file_bitmap_set`: a slot that gets filled, by name too, moves the hint.
            self.hint = slot + 1;
        }
        Ok((slot, old))
    }

    /// Empties a slot and returns what was there.
    ///
    /// # Errors
    /// `EINVAL` beyond the table.
    pub fn clear(&mut self, slot: u32) -> Result<Option<Arc<FileNode<H>>>, Errno> {
        let cell = self.slots.get_mut(slot as usize).ok_or(Errno::EINVAL)?;
        let old = cell.take();
        if old.is_some() {
            // `io_file_bitmap_clear`: a freed slot is the next one picked.
            self.hint = slot;
        }
        Ok(old)
    }

    /// All nodes, from the last slot down, as the kernel drops them.
    pub fn into_nodes(self) -> impl Iterator<Item = Arc<FileNode<H>>> {
        self.slots.into_iter().rev().flatten()
    }
}
