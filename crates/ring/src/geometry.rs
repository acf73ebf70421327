use crate::Map;
use core::sync::atomic::Ordering::Relaxed;
use ringer_uapi::{CqOffsets, SqOffsets};

/// Where everything lies in a ring's two regions; offsets are those observed on 6.18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// SQ entries, a power of two.
    pub sq_entries: u32,
    /// CQ entries (16-byte slots unless `cqe_size` is 32), a power of two.
    pub cq_entries: u32,
    /// 64, or 128 with `SETUP_SQE128` \[bytes\].
    pub sqe_size: u32,
    /// 16, or 32 with `SETUP_CQE32` \[bytes\].
    pub cqe_size: u32,
    /// Offset of the SQ index array, `None` with `SETUP_NO_SQARRAY`.
    pub array: Option<u32>,
}

pub(crate) const SQ_HEAD: usize = 0;
pub(crate) const SQ_TAIL: usize = 4;
pub(crate) const CQ_HEAD: usize = 8;
pub(crate) const CQ_TAIL: usize = 12;
pub(crate) const SQ_MASK: usize = 16;
pub(crate) const CQ_MASK: usize = 20;
pub(crate) const SQ_ENTRIES: usize = 24;
pub(crate) const CQ_ENTRIES: usize = 28;
pub(crate) const SQ_DROPPED: usize = 32;
pub(crate) const SQ_FLAGS: usize = 36;
pub(crate) const CQ_FLAGS: usize = 40;
pub(crate) const CQ_OVERFLOW: usize = 44;
pub(crate) const CQES: usize = 64;

impl Geometry {
    /// Lays a ring out. Entry counts are powers of two within the ABI's limits.
    pub fn new(sq_entries: u32, cq_entries: u32, sqe128: bool, cqe32: bool, array: bool) -> Self {
        let cqe_size = if cqe32 { 32 } else { 16 };
        // io_uring.c `rings_size` shifts header and entries together for 32-byte CQEs.
        let after_cqes = (CQES as u32 + cq_entries * 16) << u32::from(cqe32);
        Self {
            sq_entries,
            cq_entries,
            sqe_size: if sqe128 { 128 } else { 64 },
            cqe_size,
            array: array.then(|| after_cqes.next_multiple_of(64)),
        }
    }

    /// Size of the region that holds both rings \[bytes\].
    pub fn rings_len(&self) -> usize {
        match self.array {
            Some(off) => off as usize + 4 * self.sq_entries as usize,
            None => (CQES + 16 * self.cq_entries as usize) * (self.cqe_size as usize / 16),
        }
    }

    /// Size of the region that holds the SQEs \[bytes\].
    pub fn sqes_len(&self) -> usize {
        self.sq_entries as usize * self.sqe_size as usize
    }

    /// Writes masks and sizes where the application finds them.
    pub fn write_sizes(&self, rings: &Map) {
        let words = [
            (SQ_MASK, self.sq_entries - 1),
            (SQ_ENTRIES, self.sq_entries),
            (CQ_MASK, self.cq_entries - 1),
            (CQ_ENTRIES, self.cq_entries),
        ];
        for (off, word) in words {
            rings.w32(off).store(word, Relaxed);
        }
    }

    /// What setup writes to `params.sq_off`.
    pub fn sq_offsets(&self) -> SqOffsets {
        SqOffsets {
            head: SQ_HEAD as u32,
            tail: SQ_TAIL as u32,
            ring_mask: SQ_MASK as u32,
            ring_entries: SQ_ENTRIES as u32,
            flags: SQ_FLAGS as u32,
            dropped: SQ_DROPPED as u32,
            array: self.array.unwrap_or(0),
            user_addr: 0,
        }
    }

    /// What setup writes to `params.cq_off`.
    pub fn cq_offsets(&self) -> CqOffsets {
        CqOffsets {
            head: CQ_HEAD as u32,
            tail: CQ_TAIL as u32,
            ring_mask: CQ_MASK as u32,
            ring_entries: CQ_ENTRIES as u32,
            overflow: CQ_OVERFLOW as u32,
            cqes: CQES as u32,
            flags: CQ_FLAGS as u32,
            user_addr: 0,
        }
    }
}
