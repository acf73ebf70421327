//! `IORING_OP_SEND`, `RECV` (since 5.6).
//!
//! - Reads:   `fd`; `addr`, `len` = buffer \[bytes\]; `op_flags` = `MSG_*`; `ioprio` =
//!   `IORING_RECVSEND_POLL_FIRST`; send: `off`, low half of `file_index` = destination address;
//!   with `IORING_SEND_VECTORIZED` `addr`, `len` = iovec array \[entries\], copied
//! - Rejects: `EINVAL`: unknown `ioprio` flag (multishot and bundle are not carried out yet), recv
//!   with `off` or `file_index`, send with `__pad3`, an address over 128 bytes
//! - Flags:   recv: `SOCK_NONEMPTY` if a stream has bytes left, or TCP's end; not if it was ready at
//!   once
//! - Result:  bytes; with `MSG_WAITALL` on a stream loops until all, end or error, and a datagram that
//!   was cut fails its chain
//! - Errors:  send(2), recv(2); SIGPIPE is never raised; `EAGAIN` only with `MSG_DONTWAIT`
//! - Blocks:  never: what is not ready waits for readiness; a worker with a file that has no number to
//!   poll blocks
//! - Source:  6.18 io_uring/net.c `io_sendmsg_prep`, `io_send`, `io_recvmsg_prep`, `io_recv`

use super::connect::copy_addr;
use super::iov::{Vector, import_iovec};
use super::opdef::{Cmd, Issue, IssueCx, Op, Outcome, PrepCx, access_ok};
use crate::host::{FileKind, Host, Iovec, Message, SockAddr};
use crate::support::opflags::{RECV_ACCEPTED, SEND_ACCEPTED, VECTORIZED};
use alloc::boxed::Box;
use core::cell::Cell;
use ringer_uapi::flags::CqeFlags;
use ringer_uapi::{Errno, Sqe};

const MSG_PEEK: u32 = 2;
pub(super) const MSG_WAITALL: u32 = 0x100;
const MSG_DONTWAIT: u32 = 0x40;
pub(super) const MSG_NOSIGNAL: u32 = 0x4000;
const POLL_FIRST: u16 = 1;
pub(super) const POLLIN: u32 = 1;
pub(super) const POLLOUT: u32 = 4;
const POLLHUP: u32 = 0x10;
const POLLRDHUP: u32 = 0x2000;

/// A transfer in progress, in either direction.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// Where the bytes are, or are to be; of a vector, which part of it.
    buf: Iovec,
    pub(super) flags: u32,
    done: u32,
    poll_first: bool,
    never_polls: bool,
    /// The last part was as long as there was room.
    filled: bool,
    /// It was to be had whole, and there was more of it.
    pub(super) cut: bool,
}

impl Transfer {
    pub(super) fn new(buf: Iovec, flags: u32, ioprio: u16) -> Self {
        let poll_first = ioprio & POLL_FIRST != 0;
        let (never_polls, filled, cut) = (false, false, false);
        Self { buf, flags, done: 0, poll_first, never_polls, filled, cut }
    }

    /// From here on what asks to be polled for first does not wait.
    pub(crate) fn never_poll(&mut self) {
        self.never_polls = true;
    }

    /// What a cancel reports: bytes already moved, or nothing.
    pub(crate) fn progress(&self) -> u32 {
        self.done
    }

    /// Whether a result breaks a link.
    pub(crate) fn is_short(&self, res: i32) -> bool {
        self.cut || self.flags & MSG_WAITALL != 0 && (res as u64) < self.buf.len
    }

    /// net.c asks for a socket before it waits, but in `io_recv`. What does not wait is told by its
    /// call.
    pub(super) fn needs_socket<H: Host>(&self, cx: &IssueCx<'_, H>) -> Result<(), Errno> {
        if self.poll_first { is_socket(cx) } else { Ok(()) }
    }

    /// Whether something is left behind a receive that succeeded. `seen`: what the poller said, if it
    /// waited.
    pub(super) fn leaves<H: Host>(&self, cx: &IssueCx<'_, H>, seen: Option<u32>) -> bool {
        let peeks = self.flags & MSG_PEEK != 0;
        match seen {
            None => peeks && cx.host.left_to_recv(cx.fd, true),
            Some(events) => {
                let ended = events & (POLLRDHUP | POLLHUP) != 0;
                (self.filled || peeks || ended) && cx.host.left_to_recv(cx.fd, ended)
            }
        }
    }

    fn rest(&self) -> Iovec {
        let done = u64::from(self.done);
        Iovec { base: self.buf.base + done, len: self.buf.len - done }
    }

    pub(super) fn run<H: Host>(
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

/// Whether the request's file is a socket.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub(super) fn is_socket<H: Host>(cx: &IssueCx<'_, H>) -> Result<(), Errno> {
    if cx.looked_up()? == FileKind::Socket { Ok(()) } else { Err(Errno::ENOTSOCK) }
}

/// `sqe->addr2`, `addr_len`: the destination of a send, if it has one (net.c `io_send_setup`).
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub(super) fn destination<H: Host>(host: &H, sqe: &Sqe) -> Result<Option<Box<SockAddr>>, Errno> {
    if sqe.file_index >> 16 != 0 {
        return Err(Errno::EINVAL);
    }
    if sqe.off == 0 {
        return Ok(None);
    }
    copy_addr(host, sqe.off, u64::from(sqe.file_index)).map(|to| Some(Box::new(to)))
}

impl Cmd {
    /// The transfer of a request on a socket.
    pub(crate) fn transfer(&self) -> Option<&Transfer> {
        match self {
            Self::Send(c) => Some(&c.transfer),
            Self::Recv(c) => Some(&c.transfer),
            Self::Sendmsg(c) => Some(c.transfer()),
            Self::Recvmsg(c) => Some(c.transfer()),
            Self::SendZc(c) | Self::SendmsgZc(c) => Some(c.transfer()),
            _ => None,
        }
    }

    /// The same to change.
    pub(crate) fn transfer_mut(&mut self) -> Option<&mut Transfer> {
        match self {
            Self::Send(c) => Some(&mut c.transfer),
            Self::Recv(c) => Some(&mut c.transfer),
            Self::Sendmsg(c) => Some(c.transfer_mut()),
            Self::Recvmsg(c) => Some(c.transfer_mut()),
            Self::SendZc(c) | Self::SendmsgZc(c) => Some(c.transfer_mut()),
            _ => None,
        }
    }
}

/// `IORING_OP_SEND`.
#[derive(Debug)]
pub struct Send {
    transfer: Transfer,
    to: Option<Box<SockAddr>>,
    vector: Option<Box<Vector>>,
}

impl Op for Send {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if (sqe.len as i32) < 0 || sqe.ioprio & !SEND_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let to = destination(cx.host, sqe)?;
        let (buf, vector) = if sqe.ioprio & VECTORIZED == 0 {
            (access_ok(Iovec { base: sqe.addr, len: u64::from(sqe.len) })?, None)
        } else {
            let vector = import_iovec(cx.host, sqe.addr, u64::from(sqe.len))?;
            (vector.whole(), Some(Box::new(vector)))
        };
        Ok(Self { transfer: Transfer::new(buf, sqe.op_flags, sqe.ioprio), to, vector })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        if let Err(e) = self.transfer.needs_socket(cx) {
            return Outcome::Done(Err(e), 0);
        }
        let to = self.to.as_deref();
        let vector = self.vector.as_deref();
        self.transfer.run(cx, POLLOUT, |buf, flags| match vector {
            None => cx.host.send(cx.fd, buf, flags | MSG_NOSIGNAL, to),
            Some(vector) => {
                let message = Message { name: to, iovs: &vector.part(buf), control: (0, 0) };
                cx.host.sendmsg(cx.fd, &message, flags | MSG_NOSIGNAL)
            }
        })
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
    /// Notes what the poller said of the socket before the next attempt.
    pub(crate) fn woken_by(&mut self, events: u32) {
        self.seen = Some(events);
    }
}

impl Op for Recv {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let fields = sqe.off != 0 || sqe.file_index != 0 || (sqe.len as i32) < 0;
        if fields || sqe.ioprio & !RECV_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let buf = access_ok(Iovec { base: sqe.addr, len: u64::from(sqe.len) })?;
        Ok(Self { transfer: Transfer::new(buf, sqe.op_flags, sqe.ioprio), seen: None })
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
            Outcome::Done(Ok(n), _) if self.transfer.leaves(cx, seen) => {
                Outcome::Done(Ok(n), CqeFlags::SOCK_NONEMPTY.bits())
            }
            other => other,
        }
    }
}
