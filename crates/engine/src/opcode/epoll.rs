//! `IORING_OP_EPOLL_CTL` (since 5.6): change an epoll set.
//!
//! - Reads:   `fd` = epoll descriptor; `len` = operation; `off` = target; `addr` = event
//! - Rejects: `EINVAL` if `buf_index` or `file_index` is set; bad event pointer `EFAULT`
//! - Result:  0
//! - Errors:  epoll_ctl(2)
//! - Blocks:  no
//! - Source:  6.18 io_uring/epoll.c `io_epoll_ctl_prep`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use crate::host::Host;
use ringer_uapi::bytes::{u32_at, u64_at};
use ringer_uapi::{Errno, Sqe};

const EPOLL_CTL_DEL: i32 = 2;

/// See the module's doc.
#[derive(Debug)]
pub struct EpollCtl {
    epfd: i32,
    op: i32,
    fd: i32,
    event: Option<(u32, u64)>,
}

impl Op for EpollCtl {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.buf_index != 0 || sqe.file_index != 0 {
            return Err(Errno::EINVAL);
        }
        let op = sqe.len as i32;
        let event = if op == EPOLL_CTL_DEL {
            None
        } else {
            let mut b = [0u8; 12];
            cx.host.copy_in(sqe.addr, &mut b)?;
            Some((u32_at(&b, 0), u64_at(&b, 4)))
        };
        Ok(Self { epfd: sqe.fd, op, fd: sqe.off as i32, event })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.epoll_ctl(self.epfd, self.op, self.fd, self.event).into()
    }
}
