use crate::bytes::{put_u32, put_u64, u32_at, u64_at};
use linux_raw_sys::io_uring::io_uring_params;

/// `struct io_uring_params`, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct Params {
    pub sq_entries: u32,
    pub cq_entries: u32,
    pub flags: u32,
    pub sq_thread_cpu: u32,
    pub sq_thread_idle: u32,
    pub features: u32,
    pub wq_fd: u32,
    pub resv: [u32; 3],
    pub sq_off: SqOffsets,
    pub cq_off: CqOffsets,
}

/// `struct io_sqring_offsets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct SqOffsets {
    pub head: u32,
    pub tail: u32,
    pub ring_mask: u32,
    pub ring_entries: u32,
    pub flags: u32,
    pub dropped: u32,
    pub array: u32,
    pub user_addr: u64,
}

/// `struct io_cqring_offsets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct CqOffsets {
    pub head: u32,
    pub tail: u32,
    pub ring_mask: u32,
    pub ring_entries: u32,
    pub overflow: u32,
    pub cqes: u32,
    pub flags: u32,
    pub user_addr: u64,
}

const SQ_OFF: usize = 40;
const CQ_OFF: usize = 80;

impl Params {
    /// `sizeof(struct io_uring_params)` \[bytes\].
    pub const SIZE: usize = 120;

    /// Decodes the bytes a program handed to setup.
    pub fn from_bytes(b: &[u8; Self::SIZE]) -> Self {
        let at = |off| u32_at(b, off);
        Self {
            sq_entries: at(0),
            cq_entries: at(4),
            flags: at(8),
            sq_thread_cpu: at(12),
            sq_thread_idle: at(16),
            features: at(20),
            wq_fd: at(24),
            resv: [at(28), at(32), at(36)],
            sq_off: SqOffsets {
                head: at(SQ_OFF),
                tail: at(SQ_OFF + 4),
                ring_mask: at(SQ_OFF + 8),
                ring_entries: at(SQ_OFF + 12),
                flags: at(SQ_OFF + 16),
                dropped: at(SQ_OFF + 20),
                array: at(SQ_OFF + 24),
                user_addr: u64_at(b, SQ_OFF + 32),
            },
            cq_off: CqOffsets {
                head: at(CQ_OFF),
                tail: at(CQ_OFF + 4),
                ring_mask: at(CQ_OFF + 8),
                ring_entries: at(CQ_OFF + 12),
                overflow: at(CQ_OFF + 16),
                cqes: at(CQ_OFF + 20),
                flags: at(CQ_OFF + 24),
                user_addr: u64_at(b, CQ_OFF + 32),
            },
        }
    }

    /// The bytes to write back.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut b = [0; Self::SIZE];
        let head = [
            self.sq_entries,
            self.cq_entries,
            self.flags,
            self.sq_thread_cpu,
            self.sq_thread_idle,
            self.features,
            self.wq_fd,
            self.resv[0],
            self.resv[1],
            self.resv[2],
        ];
        let s = &self.sq_off;
        let sq = [s.head, s.tail, s.ring_mask, s.ring_entries, s.flags, s.dropped, s.array];
        let c = &self.cq_off;
        let cq = [c.head, c.tail, c.ring_mask, c.ring_entries, c.overflow, c.cqes, c.flags];
        for (words, base) in [(&head[..], 0), (&sq[..], SQ_OFF), (&cq[..], CQ_OFF)] {
            for (i, &w) in words.iter().enumerate() {
                put_u32(&mut b, base + 4 * i, w);
            }
        }
        put_u64(&mut b, SQ_OFF + 32, s.user_addr);
        put_u64(&mut b, CQ_OFF + 32, c.user_addr);
        b
    }
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<io_uring_params>() == Params::SIZE);
    assert!(offset_of!(io_uring_params, sq_off) == SQ_OFF);
    assert!(offset_of!(io_uring_params, cq_off) == CQ_OFF);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip() {
        let mut b = [0u8; Params::SIZE];
        for (i, x) in b.iter_mut().enumerate() {
            // resv1 words of the offset structures (offsets 68..72 and 108..112) are not kept.
            *x = if (68..72).contains(&i) || (108..112).contains(&i) { 0 } else { i as u8 };
        }
        assert_eq!(Params::from_bytes(&b).to_bytes(), b);
    }
}
