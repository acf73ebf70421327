//! Vectors of buffers: copied from the application at prep, and then seen as one range of bytes.
//!
//! What it does not do: touch the bytes.

use super::opdef::access_ok;
use crate::host::{Host, Iovec};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use ringer_uapi::Errno;
use ringer_uapi::bytes::u64_at;

const UIO_MAXIOV: u64 = 1024;
/// `MAX_RW_COUNT` (4 KiB pages).
pub(super) const MAX_RW_COUNT: u64 = 0x7fff_f000;

/// Buffers one after another, as a range from 0 on.
#[derive(Debug)]
pub(crate) struct Vector {
    iovs: Vec<Iovec>,
    len: u64,
}

impl Vector {
    /// From buffers that are together shorter than [`MAX_RW_COUNT`].
    pub(super) fn new(iovs: Vec<Iovec>) -> Self {
        let len = iovs.iter().map(|v| v.len).sum();
        Self { iovs, len }
    }

    /// The whole range.
    pub(super) fn whole(&self) -> Iovec {
        Iovec { base: 0, len: self.len }
    }

    /// The buffers.
    pub(super) fn iovs(&self) -> &[Iovec] {
        &self.iovs
    }

    /// The same for good.
    pub(super) fn into_iovs(self) -> Vec<Iovec> {
        self.iovs
    }

    /// The buffers that a part of the range lies in, cut to it; the whole is every buffer, also an
    /// empty one.
    pub(super) fn part(&self, part: Iovec) -> Cow<'_, [Iovec]> {
        if part == self.whole() {
            return Cow::Borrowed(&self.iovs);
        }
        let (mut skip, mut left) = (part.base, part.len);
        let mut iovs = Vec::new();
        for v in &self.iovs {
            let skipped = skip.min(v.len);
            skip -= skipped;
            let len = left.min(v.len - skipped);
            left -= len;
            if len > 0 {
                iovs.push(Iovec { base: v.base + skipped, len });
            }
        }
        Cow::Owned(iovs)
    }
}

/// Copies an array of `n` iovecs (lib/iov_iter.c `iovec_from_user`).
///
/// # Errors
/// `EINVAL`: more than 1024, or a negative length. `EFAULT`.
pub(super) fn iovec_from_user<H: Host>(host: &H, addr: u64, n: u64) -> Result<Vec<Iovec>, Errno> {
    if n > UIO_MAXIOV {
        return Err(Errno::EINVAL);
    }
    let mut raw = alloc::vec![0u8; 16 * n as usize];
    if n > 0 {
        host.copy_in(addr, &mut raw)?;
    }
    let iov = |entry: &[u8]| {
        let (base, len) = (u64_at(entry, 0), u64_at(entry, 8));
        if len > i64::MAX as u64 { Err(Errno::EINVAL) } else { Ok(Iovec { base, len }) }
    };
    raw.chunks_exact(16).map(iov).collect()
}

/// The same, each in the application's memory and together no longer than a transfer may be
/// (lib/iov_iter.c `__import_iovec`; a single one is cut before it is looked at).
///
/// # Errors
/// Those of [`iovec_from_user`], then `EFAULT`.
pub(super) fn import_iovec<H: Host>(host: &H, addr: u64, n: u64) -> Result<Vector, Errno> {
    let mut iovs = iovec_from_user(host, addr, n)?;
    if let [one] = iovs.as_mut_slice() {
        one.len = one.len.min(MAX_RW_COUNT);
    }
    let mut left = MAX_RW_COUNT;
    for v in &mut iovs {
        access_ok(*v)?;
        v.len = v.len.min(left);
        left -= v.len;
    }
    Ok(Vector::new(iovs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iov(base: u64, len: u64) -> Iovec {
        Iovec { base, len }
    }

    #[test]
    fn a_part_is_cut_out_of_the_buffers_it_lies_in() {
        let all = [iov(100, 4), iov(200, 0), iov(300, 6)];
        let v = Vector::new(all.to_vec());
        assert_eq!(v.whole(), iov(0, 10));
        assert_eq!(&*v.part(v.whole()), &all);
        assert_eq!(&*v.part(iov(0, 3)), &[iov(100, 3)]);
        assert_eq!(&*v.part(iov(3, 2)), &[iov(103, 1), iov(300, 1)]);
        assert_eq!(&*v.part(iov(4, 6)), &[iov(300, 6)]);
        assert_eq!(&*v.part(iov(9, 1)), &[iov(305, 1)]);
        assert_eq!(&*v.part(iov(10, 0)), &[]);
        assert_eq!(&*Vector::new(Vec::new()).part(iov(0, 0)), &[]);
    }
}
