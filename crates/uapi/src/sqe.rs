use linux_raw_sys::io_uring::io_uring_sqe;

/// A submission queue entry, read once and then ours.
///
/// Field names are the header's; where the header has a union, the name is the most general
/// member's: `off` is also `addr2` (and `cmd_op` in its low half), `op_flags` is every
/// `*_flags` union member, `file_index` is also `splice_fd_in`, `optlen` and `addr_len`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sqe {
    /// `IORING_OP_*`.
    pub opcode: u8,
    /// `IOSQE_*` bits, unknown ones included.
    pub flags: u8,
    /// Priority, or per-op flags for sockets.
    pub ioprio: u16,
    /// Descriptor, or slot with `IOSQE_FIXED_FILE`.
    pub fd: i32,
    /// File offset, second address or count.
    pub off: u64,
    /// User address.
    pub addr: u64,
    /// Length \[bytes\] or count.
    pub len: u32,
    /// The per-op flags union.
    pub op_flags: u32,
    /// Handed back in the CQE.
    pub user_data: u64,
    /// Registered buffer index or buffer group.
    pub buf_index: u16,
    /// Registered credentials, 0 for none.
    pub personality: u16,
    /// Slot + 1 for direct descriptors, `splice_fd_in`, `optlen`, `addr_len`.
    pub file_index: u32,
    /// Third address.
    pub addr3: u64,
    /// `attr_type_mask` for reads and writes.
    pub pad2: u64,
}

impl Sqe {
    /// Decodes the eight words of a 64-byte entry.
    pub const fn from_words(w: [u64; 8]) -> Self {
        Self {
            opcode: w[0] as u8,
            flags: (w[0] >> 8) as u8,
            ioprio: (w[0] >> 16) as u16,
            fd: (w[0] >> 32) as i32,
            off: w[1],
            addr: w[2],
            len: w[3] as u32,
            op_flags: (w[3] >> 32) as u32,
            user_data: w[4],
            buf_index: w[5] as u16,
            personality: (w[5] >> 16) as u16,
            file_index: (w[5] >> 32) as u32,
            addr3: w[6],
            pad2: w[7],
        }
    }

    /// The eight words of the 64-byte entry; the inverse of [`Sqe::from_words`].
    pub const fn to_words(&self) -> [u64; 8] {
        [
            self.opcode as u64
                | (self.flags as u64) << 8
                | (self.ioprio as u64) << 16
                | (self.fd as u32 as u64) << 32,
            self.off,
            self.addr,
            self.len as u64 | (self.op_flags as u64) << 32,
            self.user_data,
            self.buf_index as u64
                | (self.personality as u64) << 16
                | (self.file_index as u64) << 32,
            self.addr3,
            self.pad2,
        ]
    }
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<io_uring_sqe>() == 64);
    assert!(offset_of!(io_uring_sqe, opcode) == 0);
    assert!(offset_of!(io_uring_sqe, flags) == 1);
    assert!(offset_of!(io_uring_sqe, ioprio) == 2);
    assert!(offset_of!(io_uring_sqe, fd) == 4);
    assert!(offset_of!(io_uring_sqe, len) == 24);
    assert!(offset_of!(io_uring_sqe, user_data) == 32);
    assert!(offset_of!(io_uring_sqe, personality) == 42);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_every_field() {
        let s = Sqe {
            opcode: 1,
            flags: 2,
            ioprio: 3,
            fd: -4,
            off: 5,
            addr: 6,
            len: 7,
            op_flags: 8,
            user_data: 9,
            buf_index: 10,
            personality: 11,
            file_index: 12,
            addr3: 13,
            pad2: 14,
        };
        assert_eq!(Sqe::from_words(s.to_words()), s);
    }
}
