//! Registered buffers: address ranges that fixed reads and writes may use.
//!
//! A slot is a node that requests in flight share; its tag is posted when the slot was emptied and
//! the last of them ended. What it does not do: pin pages (user space cannot; LIMITATIONS.md).

use crate::host::{Host, Iovec};
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_uapi::Errno;

/// `SZ_1G`: the longest buffer (6.18 io_uring/rsrc.c `io_buffer_validate`).
const BUFFER_LEN_MAX: u64 = 1 << 30;

/// A registered buffer.
#[derive(Debug)]
pub struct BufNode {
    /// Where it is.
    pub range: Iovec,
    /// Posted when it goes, unless 0.
    pub tag: u64,
}

/// The registered buffers of a ring.
#[derive(Debug, Default)]
pub struct BufTable {
    slots: Vec<Option<Arc<BufNode>>>,
}

impl BufTable {
    /// So many ranges and their tags, each checked before the next is asked for; all or nothing.
    /// `{0, 0}` is an empty slot.
    ///
    /// # Errors
    /// `EFAULT`, `EOVERFLOW`, `ENOMEM`; `EINVAL` for a tag on an empty slot; those of `entry`.
    pub fn new<H: Host>(
        host: &H,
        nr: u32,
        entry: impl Fn(u32) -> Result<(Iovec, u64), Errno>,
    ) -> Result<Self, Errno> {
        let mut slots = Vec::with_capacity(nr as usize);
        for i in 0..nr {
            let (range, tag) = entry(i)?;
            slots.push(Self::node(host, range, tag)?);
        }
        Ok(Self { slots })
    }

    fn node<H: Host>(host: &H, range: Iovec, tag: u64) -> Result<Option<Arc<BufNode>>, Errno> {
        if range.base == 0 && range.len == 0 {
            return if tag == 0 { Ok(None) } else { Err(Errno::EINVAL) };
        }
        // 6.18 io_uring/rsrc.c `io_buffer_validate`.
        if range.base == 0 || range.len == 0 || range.len > BUFFER_LEN_MAX {
            return Err(Errno::EFAULT);
        }
        range
            .base
            .checked_add(range.len)
            .and_then(|e| e.checked_add(4095))
            .ok_or(Errno::EOVERFLOW)?;
        host.check_pinnable(range.base, range.len)?;
        Ok(Some(Arc::new(BufNode { range, tag })))
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The buffer in a slot.
    pub fn get(&self, index: u16) -> Option<&Arc<BufNode>> {
        self.slots.get(index as usize)?.as_ref()
    }

    /// Whether the slot holds a buffer that contains `range` (6.18 rsrc.c `validate_fixed_range`).
    pub fn contains(&self, index: u16, range: Iovec) -> bool {
        let Some(node) = self.get(index) else { return false };
        let (Some(end), buf) = (range.base.checked_add(range.len), node.range) else {
            return false;
        };
        range.base >= buf.base && end <= buf.base + buf.len
    }

    /// Replaces one slot and returns what was there.
    ///
    /// # Errors
    /// As [`BufTable::new`].
    pub fn update<H: Host>(
        &mut self,
        host: &H,
        index: usize,
        range: Iovec,
        tag: u64,
    ) -> Result<Option<Arc<BufNode>>, Errno> {
        let node = Self::node(host, range, tag)?;
        match self.slots.get_mut(index) {
            Some(slot) => Ok(core::mem::replace(slot, node)),
            None => Err(Errno::EINVAL),
        }
    }

    /// This table, with `nr` slots of another one's from `from` on copied over its own from `to` on. A
    /// copy has no tag.
    pub fn with_clones(&self, src: &Self, from: usize, to: usize, nr: usize) -> Self {
        let mut slots = self.slots.clone();
        slots.resize(slots.len().max(to + nr), None);
        let bare = |node: &Arc<BufNode>| Arc::new(BufNode { range: node.range, tag: 0 });
        let copies = src.slots.iter().skip(from).take(nr).map(|slot| slot.as_ref().map(bare));
        for (slot, copy) in slots.iter_mut().skip(to).zip(copies) {
            *slot = copy;
        }
        Self { slots }
    }

    /// All nodes, from the last slot down, as the kernel drops them.
    pub fn into_nodes(self) -> impl Iterator<Item = Arc<BufNode>> {
        self.slots.into_iter().rev().flatten()
    }
}
