//! `IORING_OP_FTRUNCATE` (since 6.9): set the length of an open file.
//!
//! - Reads:   `fd`; `off` = new length \[bytes\]
//! - Rejects: `EINVAL` if any of `op_flags addr len buf_index file_index addr3` is set
//! - Result:  0
//! - Errors:  ftruncate(2): `EINVAL` (negative, no regular file, not open for writing), `EFBIG`,
//!   `EPERM`
//! - Blocks:  yes, so it always goes to a worker
//! - Source:  6.18 io_uring/truncate.c `io_ftruncate_prep`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use super::sync::of_place;
use crate::host::Host;
use ringer_uapi::{Errno, Sqe};

/// See the module's doc.
#[derive(Debug)]
pub struct Ftruncate {
    len: u64,
}

impl Op for Ftruncate {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe {
            op_flags: 0, addr: 0, len: 0, buf_index: 0, file_index: 0, addr3: 0, off, ..
        } = *sqe
        else {
            return Err(Errno::EINVAL);
        };
        Ok(Self { len: off })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        // open.c `do_ftruncate`: it is no regular file that is written.
        of_place(cx, cx.host.ftruncate(cx.fd, self.len), Errno::EINVAL)
    }
}
