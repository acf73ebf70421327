use crate::Errno;

/// A completion queue entry, by value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cqe {
    /// The submission's `user_data`.
    pub user_data: u64,
    /// Result: a count or value, or a negated errno.
    pub res: i32,
    /// `IORING_CQE_F_*`.
    pub flags: u32,
    /// The second half on a ring with 32-byte entries.
    pub big: [u64; 2],
}

impl Cqe {
    /// The entry for a result. The one place where an [`Errno`] is negated.
    pub const fn new(user_data: u64, res: Result<i32, Errno>, flags: u32) -> Self {
        let res = match res {
            Ok(v) => v,
            Err(e) => -e.raw(),
        };
        Self { user_data, res, flags, big: [0; 2] }
    }
}
