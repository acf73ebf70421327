//! `IORING_OP_EPOLL_CTL` (since 5.6), `EPOLL_WAIT` (since 6.15): change an epoll set, take what is ready.
//!
//! - Reads:   `fd` = epoll descriptor; change: `len` = operation, `off` = target, `addr` = event; wait:
//!   `addr`, `len` = room for events \[events\]
//! - Rejects: `EINVAL` if `buf_index` or `file_index` is set, wait: also `off`, `op_flags`; change: bad
//!   event pointer `EFAULT`
//! - Result:  0; how many events
//! - Errors:  epoll_ctl(2), epoll_wait(2)
//! - Blocks:  no; a wait for which nothing is ready waits for readiness of the set
//! - Source:  6.18 io_uring/epoll.c `io_epoll_ctl_prep`, `io_epoll_wait_prep`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use crate::host::Host;
use ringer_uapi::bytes::{u32_at, u64_at};
use ringer_uapi::{Errno, Sqe};

const EPOLL_CTL_DEL: i32 = 2;

/// `IORING_OP_EPOLL_CTL`.
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

/// `IORING_OP_EPOLL_WAIT`.
#[derive(Debug)]
pub struct EpollWait {
    events: u64,
    max: i32,
}

impl Op for EpollWait {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { off: 0, op_flags: 0, buf_index: 0, file_index: 0, addr, len, .. } = *sqe else {
            return Err(Errno::EINVAL);
        };
        Ok(Self { events: addr, max: len as i32 })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        match cx.host.epoll_ready(cx.fd, self.events, self.max) {
            Ok(0) => Outcome::Again,
            taken => taken.into(),
        }
    }
}
