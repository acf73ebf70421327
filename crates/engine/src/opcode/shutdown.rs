//! `IORING_OP_SHUTDOWN` (since 5.11): close one or both directions of a socket.
//!
//! - Reads:   `fd`; `len` = how
//! - Rejects: `EINVAL` if `off addr op_flags buf_index file_index` is set
//! - Result:  0
//! - Errors:  shutdown(2): `EINVAL` bad how, `ENOTSOCK`, `ENOTCONN`
//! - Blocks:  it may, so it always goes to a worker
//! - Source:  6.18 io_uring/net.c `io_shutdown_prep`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use crate::host::Host;
use ringer_uapi::{Errno, Sqe};

/// See the module's doc.
#[derive(Debug)]
pub struct Shutdown {
    how: i32,
}

impl Op for Shutdown {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { off: 0, addr: 0, op_flags: 0, buf_index: 0, file_index: 0, len, .. } = *sqe
        else {
            return Err(Errno::EINVAL);
        };
        Ok(Self { how: len as i32 })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.shutdown(cx.fd, self.how).into()
    }
}
