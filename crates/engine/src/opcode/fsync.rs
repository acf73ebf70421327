//! `IORING_OP_FSYNC` (since 5.1): write a file's data (and metadata) to its device.
//!
//! - Reads:   `fd`; `op_flags` = `IORING_FSYNC_DATASYNC`; `off`, `len` = range, which user space
//!   can only widen to the whole file
//! - Rejects: `EINVAL` if `addr`, `buf_index` or `file_index` is set, or an unknown flag
//! - Result:  0
//! - Errors:  at issue: `EINVAL` for a negative offset; then fsync(2)
//! - Blocks:  yes, so it always goes to a worker
//! - Source:  6.18 io_uring/sync.c `io_fsync_prep`, `io_fsync`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use crate::host::{FileKind, Host};
use crate::support::opflags::FSYNC_ACCEPTED;
use ringer_uapi::{Errno, Sqe};

const DATASYNC: u32 = 1;

/// See the module's doc.
#[derive(Debug)]
pub struct Fsync {
    datasync: bool,
}

impl Op for Fsync {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { addr: 0, buf_index: 0, file_index: 0, off, op_flags, .. } = *sqe else {
            return Err(Errno::EINVAL);
        };
        if op_flags & !FSYNC_ACCEPTED != 0 || (off as i64) < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { datasync: op_flags & DATASYNC != 0 })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        match cx.host.fsync(cx.fd, self.datasync) {
            // A place (O_PATH) in the table is found, and has nothing to write (sync.c
            // `vfs_fsync_range`).
            Err(Errno::EBADF) if cx.kind == Some(FileKind::Other) => {
                Outcome::Done(Err(Errno::EINVAL), 0)
            }
            done => done.into(),
        }
    }
}
