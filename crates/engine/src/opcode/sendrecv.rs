//! `IORING_OP_SEND`, `RECV` (since 5.6).
//!
//! - Reads:   `fd`; `addr`, `len` = buffer \[bytes\]; `op_flags` = `MSG_*`; `ioprio` =
//!   `IORING_RECVSEND_POLL_FIRST`; send: `off`, low half of `file_index` = destination address
//! - Rejects: `EINVAL`: unknown `ioprio` flag (multishot, bundle, vectorised, fixed buffer are
//!   not carried out yet), recv with `off` or `file_index`, send with `__pad3`
//! - Flags:   recv: `SOCK_NONEMPTY` if a stream has bytes left, or TCP's end; not if it was ready at
//!   once
//! - Result:  bytes; with `MSG_WAITALL` on a stream loops until all, end or error, and a datagram that
//!   was cut fails its chain
//! - Errors:  send(2), recv(2); SIGPIPE is never raised; `EAGAIN` only with `MSG_DONTWAIT`
//! - Blocks:  never: what is not ready waits for readiness; a worker with a file that has no number to
//!   poll blocks
//! - Source:  6.18 io_uring/net.c `io_sendmsg_prep`, `io_send`, `io_recvmsg_prep`, `io_recv`

use super::connect::copy_addr;
use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx, access_ok};
use crate::host::{FileKind, Host, Iovec, SockAddr};
use crate::support::opflags::RECVSEND_ACCEPTED;
use alloc::boxed::Box;
use core::cell::Cell;
use ringer_uapi::flags::CqeFlags;
use ringer_uapi::{Errno, Sqe};

const MSG_PEEK: u32 = 2;
const MSG_WAITALL: u32 = 0x100;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_NOSIGNAL: u32 = 0x4000;
const POLL_FIRST: u16 = 1;
const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;
const POLLHUP: u32 = 0x10;
const POLLRDHUP: u32 = 0x2000;

/// A transfer in progress, in either direction.
#[derive(Debug)]
struct Transfer {
    buf: Iovec,
    flags: u32,
    done: u32,
    poll_first: bool,
    never_polls: bool,
    /// The last part was as long as there was room.
    filled: bool,
    /// It was to be had whole, and there was more of it.
    cut: bool,
}

impl Transfer {
    fn prep(sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.ioprio & !RECVSEND_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        if (sqe.len as i32) < 0 {
            return Err(Errno::EINVAL);
        }
        let buf = access_ok(Iovec { base: sqe.addr, len: u64::from(sqe.len) })?;
        let poll_first = sqe.ioprio & POLL_FIRST != 0;
        Ok(Self {
            buf,
            flags: sqe.op_flags,
            done: 0,
            poll_first,
            never_polls: false,
            filled: false,
            cut: false,
        })
    }

    fn is_short(&self, res: i32) -> bool {
        self.cut || self.flags & MSG_WAITALL != 0 && (res as u64) < self.buf.len
    }

    fn rest(&self) -> Iovec {
        let done = u64::from(self.done);
        Iovec { base: self.buf.base + done, len: self.buf.len - done }
    }

    fn run<H: Host>(
        &mut self,
        cx: &IssueCx<'_, H>,
        events: u32,
        attempt: impl Fn(Iovec, u32) -> Result<u32, Errno>,
    ) -> Outcome {
        if core::mem::take(&mut self.poll_first)
            && let Some(first) =
                cx.poll_first(events, self.never_polls || self.flags & MSG_DONTWAIT != 0)
        {
            return first;
        }
        // A worker gets here only with a file that nobody can poll: it blocks, and a cancel
        // interrupts it.
        let nowait = if cx.how == Issue::Worker { 0 } else { MSG_DONTWAIT };
        loop {
            let mut part = self.rest();
            part.len = u64::from(cx.policy.share(part.len as u32));
            match attempt(part, self.flags | nowait) {
                Ok(n) => {
                    self.done += n;
                    self.filled = u64::from(n) >= part.len;
                    let more = u64::from(self.done) < self.buf.len;
                    // net.c `io_net_retry`: a datagram is all there is of it.
                    let goes_on = more && self.flags & MSG_WAITALL != 0 && cx.host.is_stream(cx.fd);
                    if n == 0 || !goes_on {
                        return Outcome::Done(Ok(self.done as i32), 0);
                    }
                }
                Err(Errno::EAGAIN) if self.flags & MSG_DONTWAIT == 0 => return Outcome::Again,
                Err(Errno::EINTR) if cx.how == Issue::Inline => {}
                Err(_) if self.done > 0 => return Outcome::Done(Ok(self.done as i32), 0),
                Err(e) => return Outcome::Done(Err(e), 0),
            }
        }
    }
}

/// `IORING_OP_SEND`.
#[derive(Debug)]
pub struct Send {
    transfer: Transfer,
    to: Option<Box<SockAddr>>,
}

impl Send {
    pub(crate) fn never_poll(&mut self) {
        self.transfer.never_polls = true;
    }

    pub(crate) fn is_short(&self, res: i32) -> bool {
        self.transfer.is_short(res)
    }

    /// What a cancel reports: bytes already moved, or nothing.
    pub(crate) fn progress(&self) -> u32 {
        self.transfer.done
    }
}

impl Op for Send {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.file_index >> 16 != 0 {
            return Err(Errno::EINVAL);
        }
        let transfer = Transfer::prep(sqe)?;
        let to = if sqe.off != 0 {
            Some(Box::new(copy_addr(cx.host, sqe.off, u64::from(sqe.file_index))?))
        } else {
            None
        };
        Ok(Self { transfer, to })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        // net.c `io_send` asks for a socket before it waits, `io_recv` after.
        if self.transfer.poll_first {
            match cx.looked_up() {
                Ok(FileKind::Socket) => {}
                Ok(_) => return Outcome::Done(Err(Errno::ENOTSOCK), 0),
                Err(e) => return Outcome::Done(Err(e), 0),
            }
        }
        let to = self.to.as_deref();
        let send = |buf, flags| cx.host.send(cx.fd, buf, flags | MSG_NOSIGNAL, to);
        self.transfer.run(cx, POLLOUT, send)
    }
}

/// `IORING_OP_RECV`.
///
/// One that is ready at once is one call, and does not look what is left (`SOCK_NONEMPTY`). One that
/// waited looks where something can be: if it took less than there was room for, it emptied the queue,
/// unless an end was reported with the bytes.
#[derive(Debug)]
pub struct Recv {
    transfer: Transfer,
    /// What the poller said since the last attempt.
    seen: Option<u32>,
}

impl Recv {
    pub(crate) fn never_poll(&mut self) {
        self.transfer.never_polls = true;
    }

    /// Notes what the poller said of the socket before the next attempt.
    pub(crate) fn woken_by(&mut self, events: u32) {
        self.seen = Some(events);
    }

    /// Whether something is left behind a receive that succeeded.
    fn leaves<H: Host>(&self, cx: &IssueCx<'_, H>, seen: Option<u32>) -> bool {
        let t = &self.transfer;
        let peeks = t.flags & MSG_PEEK != 0;
        match seen {
            None => peeks && cx.host.left_to_recv(cx.fd, true),
            Some(events) => {
                let ended = events & (POLLRDHUP | POLLHUP) != 0;
                (t.filled || peeks || ended) && cx.host.left_to_recv(cx.fd, ended)
            }
        }
    }

    pub(crate) fn is_short(&self, res: i32) -> bool {
        self.transfer.is_short(res)
    }

    /// What a cancel reports: bytes already moved, or nothing.
    pub(crate) fn progress(&self) -> u32 {
        self.transfer.done
    }
}

impl Op for Recv {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.off != 0 || sqe.file_index != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { transfer: Transfer::prep(sqe)?, seen: None })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let seen = self.seen.take();
        let cut = Cell::new(false);
        let outcome = self.transfer.run(cx, POLLIN, |buf, flags| {
            if flags & MSG_WAITALL == 0 {
                return cx.host.recv(cx.fd, buf, flags);
            }
            let (n, longer) = cx.host.recv_whole(cx.fd, buf, flags)?;
            cut.set(longer);
            Ok(n)
        });
        self.transfer.cut = cut.get();
        match outcome {
            Outcome::Done(Ok(n), _) if self.leaves(cx, seen) => {
                Outcome::Done(Ok(n), CqeFlags::SOCK_NONEMPTY.bits())
            }
            other => other,
        }
    }
}
