//! `IORING_OP_STATX` (since 5.6): a file's attributes by name.
//!
//! - Reads:   `fd` = directory; `addr` = path; `op_flags` = `AT_*`; `len` = mask; `off` = result
//! - Rejects: `EINVAL` if `buf_index` or `file_index` is set; FIXED_FILE `EBADF`; path `EFAULT`,
//!   `ENAMETOOLONG`
//! - Result:  0
//! - Errors:  statx(2); a reserved mask bit `EINVAL`
//! - Blocks:  yes, so it always goes to a worker
//! - Source:  6.18 io_uring/statx.c `io_statx_prep`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use crate::host::Host;
use alloc::boxed::Box;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

/// `AT_SYMLINK_NOFOLLOW`, `AT_NO_AUTOMOUNT`, `AT_EMPTY_PATH`, `AT_STATX_SYNC_TYPE`.
const AT_ACCEPTED: u32 = 0x100 | 0x800 | 0x1000 | 0x6000;

/// See the module's doc.
#[derive(Debug)]
pub struct Statx {
    dirfd: i32,
    path: Box<[u8]>,
    flags: u32,
    mask: u32,
    buf: u64,
}

impl Op for Statx {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.buf_index != 0 || sqe.file_index != 0 {
            return Err(Errno::EINVAL);
        }
        if cx.flags.contains(SqeFlags::FIXED_FILE) {
            return Err(Errno::EBADF);
        }
        // Other than statx(2), no path at all is not the empty one.
        let path = cx.host.copy_path_for(sqe.addr, sqe.op_flags)?;
        Ok(Self { dirfd: sqe.fd, path, flags: sqe.op_flags, mask: sqe.len, buf: sqe.off })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        // stat.c `vfs_statx`; statx(2) of the empty path does not come as far.
        if self.flags & !AT_ACCEPTED != 0 {
            return Outcome::Done(Err(Errno::EINVAL), 0);
        }
        cx.host.statx(self.dirfd, &self.path, self.flags, self.mask, self.buf).into()
    }
}
