//! `IORING_OP_SENDMSG`, `RECVMSG` (since 5.3).
//!
//! - Reads:   `fd`; `addr` = `struct msghdr`; `op_flags` = `MSG_*`; `ioprio` =
//!   `IORING_RECVSEND_POLL_FIRST`. The header, its iovecs and a destination are copied at prep; control
//!   data, and what RECVMSG writes (the name and its length, flags, length of control data), are the
//!   application's until it completes
//! - Rejects: `EINVAL`: `off`, `file_index`, a negative `len` or name's length, unknown `ioprio` flag
//!   (BUNDLE too; multishot is not carried out yet), a negative length in the vector; bad addresses
//!   `EFAULT`; over 1024 buffers `EMSGSIZE`; control data with `MSG_CMSG_COMPAT`, which the kernel takes
//! - Flags:   RECVMSG: `SOCK_NONEMPTY` as RECV
//! - Result:  bytes; with `MSG_WAITALL` on a stream loops until all, end or error (RECVMSG: not with room
//!   for control data), and what was cut (`MSG_TRUNC`, `MSG_CTRUNC`) fails its chain
//! - Errors:  `ENOTSOCK` before it waits; sendmsg(2), recvmsg(2); SIGPIPE is never raised; `EINVAL` for a
//!   ring in the control data; `EAGAIN` only with `MSG_DONTWAIT`; `EFAULT` for where the header is to be
//!   told, after the message was taken
//! - Blocks:  never: what is not ready waits for readiness; a worker with a file that has no number to
//!   poll blocks
//! - Source:  6.18 io_uring/net.c `io_sendmsg_prep`, `io_sendmsg`, `io_recvmsg_prep`, `io_recvmsg`;
//!   net/socket.c `__copy_msghdr`, `____sys_recvmsg`

use super::connect::copy_addr;
use super::iov::{Vector, import_iovec};
use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx, access_ok};
use super::sendrecv::{MSG_NOSIGNAL, MSG_WAITALL, POLLIN, POLLOUT, Transfer};
use crate::host::{Host, Iovec, Message, Received, SockAddr};
use crate::support::opflags::{BUNDLE, RECV_ACCEPTED, SEND_ACCEPTED};
use alloc::boxed::Box;
use core::cell::Cell;
use ringer_uapi::bytes::{i32_at, u64_at};
use ringer_uapi::flags::CqeFlags;
use ringer_uapi::{Errno, Sqe};

const UIO_MAXIOV: u64 = 1024;
/// Longest address there is \[bytes\].
const SOCKADDR_STORAGE: u64 = 128;
/// `struct user_msghdr`: of these bytes prep copies all but the flags.
const MSGHDR: u64 = 56;
const COPIED: usize = 48;

const MSG_CTRUNC: u32 = 8;
const MSG_TRUNC: u32 = 0x20;
const MSG_ERRQUEUE: u32 = 0x2000;
const MSG_CMSG_COMPAT: u32 = 1 << 31;

/// What prep copies of a `struct user_msghdr`.
#[derive(Debug)]
pub(super) struct Header {
    name: u64,
    name_len: u64,
    pub(super) iov: (u64, u64),
    /// Address and length.
    control: (u64, u64),
}

impl Header {
    /// net.c `io_copy_msghdr_from_user`, and what `__copy_msghdr` refuses before it looks at the name.
    pub(super) fn copy<H: Host>(host: &H, addr: u64) -> Result<Self, Errno> {
        let mut raw = [0; COPIED];
        access_ok(Iovec { base: addr, len: MSGHDR })?;
        host.copy_in(addr, &mut raw)?;
        let name = u64_at(&raw, 0);
        let name_len = if name == 0 { 0 } else { i32_at(&raw, 8) };
        let name_len = u64::try_from(name_len).map_err(|_| Errno::EINVAL)?;
        Ok(Self {
            name,
            name_len: name_len.min(SOCKADDR_STORAGE),
            iov: (u64_at(&raw, 16), u64_at(&raw, 24)),
            control: (u64_at(&raw, 32), u64_at(&raw, 40)),
        })
    }

    /// The destination, if there is one; then there may not be too many buffers.
    pub(super) fn destination<H: Host>(&self, host: &H) -> Result<Option<SockAddr>, Errno> {
        let named = self.name_len > 0;
        let to = if named { Some(copy_addr(host, self.name, self.name_len)?) } else { None };
        self.count()?;
        Ok(to)
    }

    fn count(&self) -> Result<(), Errno> {
        if self.iov.1 > UIO_MAXIOV { Err(Errno::EMSGSIZE) } else { Ok(()) }
    }
}

/// A message that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) to: Option<SockAddr>,
    pub(super) vector: Vector,
    pub(super) control: (u64, u64),
    pub(super) transfer: Transfer,
}

impl Sending {
    /// The message of a header whose buffers were copied.
    pub(super) fn of(to: Option<SockAddr>, header: &Header, vector: Vector, sqe: &Sqe) -> Self {
        let transfer = Transfer::new(vector.whole(), sqe.op_flags, sqe.ioprio);
        Self { to, vector, control: header.control, transfer }
    }

    /// Whether descriptors may go along, which are numbers of the application's table.
    pub(super) fn has_control(&self) -> bool {
        self.control.1 != 0
    }

    /// Sends, without the flags of `but`. `import`: an error that its buffers have.
    pub(super) fn run<H: Host>(
        &mut self,
        cx: &IssueCx<'_, H>,
        but: u32,
        import: Result<(), Errno>,
    ) -> Outcome {
        let Self { to, vector, control, transfer } = self;
        transfer.run_one(cx, POLLOUT, |part, flags| {
            import?;
            // net.c `io_sendmsg`: control data goes with the first bytes.
            let control = if part.base == 0 { *control } else { (0, 0) };
            let message = Message { name: to.as_ref(), iovs: &vector.part(part), control };
            cx.host.sendmsg(cx.fd, &message, (flags | MSG_NOSIGNAL) & !but)
        })
    }
}

/// `IORING_OP_SENDMSG`.
#[derive(Debug)]
pub struct Sendmsg(Box<Sending>);

impl Sendmsg {
    pub(super) fn transfer(&self) -> &Transfer {
        &self.0.transfer
    }

    pub(super) fn transfer_mut(&mut self) -> &mut Transfer {
        &mut self.0.transfer
    }

    pub(crate) fn has_control(&self) -> bool {
        self.0.has_control()
    }
}

impl Op for Sendmsg {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let fields = sqe.off != 0 || sqe.file_index != 0 || (sqe.len as i32) < 0;
        if fields || sqe.ioprio & !(SEND_ACCEPTED & !BUNDLE) != 0 {
            return Err(Errno::EINVAL);
        }
        let header = Header::copy(cx.host, sqe.addr)?;
        let to = header.destination(cx.host)?;
        let vector = import_iovec(cx.host, header.iov.0, header.iov.1)?;
        Ok(Self(Box::new(Sending::of(to, &header, vector, sqe))))
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        match self.0.transfer.needs_socket(cx) {
            Ok(()) => self.0.run(cx, 0, Ok(())),
            Err(e) => Outcome::Done(Err(e), 0),
        }
    }
}

/// Where a receive tells what came.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// The application's header.
    header: u64,
    /// Where the sender's name goes, or 0.
    name: u64,
    /// The header is a `struct compat_msghdr` (`MSG_CMSG_COMPAT`, which no compat ring has to ask for).
    compat: bool,
}

impl Told {
    /// net/socket.c `____sys_recvmsg`, `move_addr_to_user`.
    fn tell<H: Host>(self, host: &H, got: &Received) -> Result<(), Errno> {
        let [name_len_at, control_len_at, flags_at] =
            if self.compat { [4, 20, 24] } else { [8, 40, 48] };
        if self.name != 0 {
            let mut room = [0; 4];
            host.copy_in(self.header + name_len_at, &mut room)?;
            let room = usize::try_from(i32::from_ne_bytes(room)).map_err(|_| Errno::EINVAL)?;
            let name = got.name.bytes.get(..room.min(got.name.len as usize));
            host.copy_out(self.name, name.unwrap_or(&got.name.bytes))?;
            host.copy_out(self.header + name_len_at, &got.name.len.to_ne_bytes())?;
        }
        host.copy_out(self.header + flags_at, &got.flags.to_ne_bytes())?;
        let len = got.control_len.to_ne_bytes();
        let len = if self.compat { &len[..4] } else { &len[..] };
        host.copy_out(self.header + control_len_at, len)
    }
}

/// A message that is to come.
#[derive(Debug)]
struct Receiving {
    told: Told,
    vector: Vector,
    control: (u64, u64),
    transfer: Transfer,
    /// The flags; those of the transfer have `MSG_WAITALL` only if it goes on when it is short.
    flags: u32,
    /// What the poller said since the last attempt.
    seen: Option<u32>,
}

/// `IORING_OP_RECVMSG`.
#[derive(Debug)]
pub struct Recvmsg(Box<Receiving>);

impl Recvmsg {
    pub(super) fn transfer(&self) -> &Transfer {
        &self.0.transfer
    }

    pub(super) fn transfer_mut(&mut self) -> &mut Transfer {
        &mut self.0.transfer
    }

    /// Whether descriptors may come along, which become numbers of the application's table.
    pub(crate) fn has_control(&self) -> bool {
        self.0.control.1 != 0
    }

    /// Notes what the poller said of the socket before the next attempt.
    pub(crate) fn woken_by(&mut self, events: u32) {
        self.0.seen = Some(events);
    }
}

impl Op for Recvmsg {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let fields = sqe.off != 0 || sqe.file_index != 0 || (sqe.len as i32) < 0;
        if fields || sqe.ioprio & !(RECV_ACCEPTED & !BUNDLE) != 0 {
            return Err(Errno::EINVAL);
        }
        let header = Header::copy(cx.host, sqe.addr)?;
        header.count()?;
        let vector = import_iovec(cx.host, header.iov.0, header.iov.1)?;
        let (control, flags) = (header.control, sqe.op_flags);
        // net.c `io_recvmsg`: no partial retry with control data.
        let goes_on = if control.1 == 0 { flags } else { flags & !MSG_WAITALL };
        let transfer = Transfer::new(vector.whole(), goes_on, sqe.ioprio);
        let compat = flags & MSG_CMSG_COMPAT != 0;
        let told = Told { header: sqe.addr, name: header.name, compat };
        Ok(Self(Box::new(Receiving { told, vector, control, transfer, flags, seen: None })))
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let Receiving { told, vector, control, transfer, flags, seen } = &mut *self.0;
        if let Err(e) = transfer.needs_socket(cx) {
            return Outcome::Done(Err(e), 0);
        }
        let seen = seen.take();
        let whole = *flags & MSG_WAITALL;
        let cut = Cell::new(false);
        let outcome = transfer.run_one(cx, POLLIN, |part, flags| {
            let got = cx.host.recvmsg(cx.fd, &vector.part(part), *control, flags | whole)?;
            cut.set(whole != 0 && got.flags & (MSG_TRUNC | MSG_CTRUNC) != 0);
            told.tell(cx.host, &got)?;
            Ok(got.bytes)
        });
        transfer.cut = cut.get();
        match outcome {
            // Of errors nobody can wait in the call.
            Outcome::Again if cx.how == Issue::Worker && *flags & MSG_ERRQUEUE != 0 => {
                Outcome::Done(Err(Errno::EAGAIN), 0)
            }
            Outcome::Done(Ok(n), _) if transfer.leaves(cx, seen) => {
                Outcome::Done(Ok(n), CqeFlags::SOCK_NONEMPTY.bits())
            }
            other => other,
        }
    }
}
