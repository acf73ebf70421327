//! `IORING_OP_FSYNC` (since 5.1), `SYNC_FILE_RANGE` (since 5.2), `FALLOCATE` (since 5.6).
//!
//! - Reads:   `fd`; fsync: `op_flags` = `IORING_FSYNC_DATASYNC`, `off`, `len` = range \[bytes\], which
//!   user space can only widen to the whole file; sync range: `off`, `len`, `op_flags` =
//!   `SYNC_FILE_RANGE_*`; allocate: `off`, `addr` = length \[bytes\], `len` = mode
//! - Rejects: `EINVAL` for set fields an operation does not use (`addr` of the first two, `op_flags`
//!   of the last, `buf_index`, `file_index`), fsync: for an unknown flag or a negative offset
//! - Result:  0
//! - Errors:  fsync(2), sync_file_range(2), fallocate(2)
//! - Blocks:  yes, so all go to a worker
//! - Source:  6.18 io_uring/sync.c `io_fsync_prep`, `io_sfr_prep`, `io_fallocate_prep`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use crate::host::{FileKind, Host};
use crate::support::opflags::FSYNC_ACCEPTED;
use ringer_uapi::{Errno, Sqe};

const DATASYNC: u32 = 1;

/// `IORING_OP_FSYNC`.
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
        // sync.c `vfs_fsync_range`: there is nothing to write.
        of_place(cx, cx.host.fsync(cx.fd, self.datasync), Errno::EINVAL)
    }
}

/// What a call says that does not know a place (`O_PATH`): the kernel finds one in a slot, and its own
/// call then says this.
pub(super) fn of_place<H: Host>(
    cx: &IssueCx<'_, H>,
    done: Result<(), Errno>,
    of_a_place: Errno,
) -> Outcome {
    match done {
        Err(Errno::EBADF) if cx.kind == Some(FileKind::Other) => Outcome::Done(Err(of_a_place), 0),
        done => done.into(),
    }
}

/// `IORING_OP_SYNC_FILE_RANGE`.
#[derive(Debug)]
pub struct SyncFileRange {
    off: u64,
    len: u32,
    flags: u32,
}

impl Op for SyncFileRange {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { addr: 0, buf_index: 0, file_index: 0, off, len, op_flags, .. } = *sqe else {
            return Err(Errno::EINVAL);
        };
        Ok(Self { off, len, flags: op_flags })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.sync_file_range(cx.fd, self.off, self.len.into(), self.flags).into()
    }
}

/// `IORING_OP_FALLOCATE`.
#[derive(Debug)]
pub struct Fallocate {
    off: u64,
    len: u64,
    mode: u32,
}

impl Op for Fallocate {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { op_flags: 0, buf_index: 0, file_index: 0, off, addr, len, .. } = *sqe else {
            return Err(Errno::EINVAL);
        };
        Ok(Self { off, len: addr, mode: len })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.fallocate(cx.fd, self.mode, self.off, self.len).into()
    }
}
