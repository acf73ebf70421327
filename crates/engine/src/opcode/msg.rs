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
use super::iov::{MAX_RW_COUNT, Vector, import_iovec};
use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx, access_ok};
use super::sendrecv::{MSG_NOSIGNAL, MSG_WAITALL, MULTISHOT, POLLIN, POLLOUT, Shots, Transfer};
use crate::host::{Host, Iovec, Message, Received, SockAddr};
use crate::support::opflags::{BUNDLE, RECV_ACCEPTED, SEND_ACCEPTED};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;
use ringer_uapi::bytes::{i32_at, u64_at};
use ringer_uapi::flags::{CqeFlags, SqeFlags};
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
    /// As it came, also without a name.
    name_room: i32,
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
            name_room: i32_at(&raw, 8),
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

/// Where a message goes that is received into a provided buffer.
#[derive(Debug)]
struct Selecting {
    /// How much of a buffer it asks for; 0: what it has.
    asks: u64,
    /// A multishot: room for a name and for control data, which stand before the bytes.
    shots: Option<Shots>,
    room: (u64, u64),
    /// Where the buffer of this receive begins.
    at: u64,
}

/// `struct io_uring_recvmsg_out`.
const OUT: u64 = 16;

impl Selecting {
    /// net.c `io_msg_copy_hdr`, `io_recvmsg_mshot_prep`.
    fn prep<H: Host>(host: &H, header: &Header, multi: bool) -> Result<Self, Errno> {
        let asks = match header.iov.1 {
            0 => 0,
            1 => {
                let mut entry = [0; 16];
                host.copy_in(header.iov.0, &mut entry)?;
                // Of which the kernel keeps 32 bits.
                u64::from(u64_at(&entry, 8) as u32)
            }
            _ => return Err(Errno::EINVAL),
        };
        let name = u64::try_from(header.name_room);
        if multi && name.is_err() {
            return Err(Errno::EOVERFLOW);
        }
        let room = (name.unwrap_or(0), header.control.1);
        if multi && (OUT + room.0).checked_add(room.1).is_none_or(|n| n > i32::MAX as u64) {
            return Err(Errno::EOVERFLOW);
        }
        Ok(Self { asks, shots: multi.then(|| Shots::new(0, None)), room, at: 0 })
    }

    /// What stands before the bytes.
    fn head(&self) -> u64 {
        OUT + self.room.0 + self.room.1
    }

    /// Tells of a message in front of its bytes, and answers how long all of it is (net.c
    /// `io_recvmsg_multishot`).
    fn tell<H: Host>(&self, host: &H, got: &Received, room: u64) -> Result<i32, Errno> {
        let name_len = if self.room.0 == 0 { 0 } else { u64::from(got.name.len) };
        let control_len = got.control_len.min(self.room.1);
        let words = [name_len as u32, control_len as u32, got.bytes, got.flags & !MSG_CMSG_COMPAT];
        let mut out = [0; OUT as usize + SOCKADDR_STORAGE as usize];
        for (to, word) in out.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        let (_, name) = out.split_at_mut(OUT as usize);
        name.copy_from_slice(&got.name.bytes);
        let len = OUT + name_len.min(self.room.0).min(SOCKADDR_STORAGE);
        host.copy_out(self.at, out.get(..len as usize).unwrap_or(&out))?;
        Ok((self.head() + u64::from(got.bytes).min(room)) as i32)
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
    select: Option<Selecting>,
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

    /// Where the first byte is of what its completion counts: what stands before a message of many
    /// included.
    pub(crate) fn base(&self) -> u64 {
        let shot = self.0.select.as_ref().filter(|s| s.shots.is_some());
        shot.map_or(self.0.transfer.base(), |s| s.at)
    }

    /// How much it asks of a provided buffer; 0: what it has.
    pub(crate) fn asks(&self) -> u64 {
        self.0.select.as_ref().map_or(0, |s| s.asks)
    }

    /// Takes the provided buffer that was selected for it (net.c `io_recvmsg_prep_multishot`).
    ///
    /// # Errors
    /// `EFAULT`: beyond the end of user space, or too small for what stands before the bytes.
    pub(crate) fn take_buffer(&mut self, buf: Iovec) -> Result<(), Errno> {
        let Receiving { vector, control, transfer, select: Some(select), .. } = &mut *self.0 else {
            return Ok(());
        };
        let mut bytes = access_ok(Iovec { base: buf.base, len: buf.len.min(MAX_RW_COUNT) })?;
        if select.shots.is_some() {
            let head = select.head();
            bytes.len = bytes.len.checked_sub(head).ok_or(Errno::EFAULT)?;
            bytes.base += head;
            select.at = buf.base;
            *control = (bytes.base - select.room.1, select.room.1);
        }
        *vector = Vector::new(alloc::vec![bytes]);
        transfer.take_buffer(vector.whole())
    }

    /// Whether it first waits, or has nothing to wait for, and how that ends.
    pub(crate) fn wait_first<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Option<Outcome> {
        if let Err(e) = self.0.transfer.needs_socket(cx) {
            return Some(Outcome::Done(Err(e), 0));
        }
        let rests = |r: &mut Receiving| {
            let shots = r.select.as_mut().and_then(|s| s.shots.as_mut());
            shots.is_some_and(|s| s.rests(cx)).then_some(Outcome::Again)
        };
        self.0.transfer.wait_first(cx, POLLIN).or_else(|| rests(&mut self.0))
    }

    /// What it first comes to, if it waits first.
    pub(crate) fn waits_first(&mut self) -> Option<Outcome> {
        self.0.transfer.waits_first()
    }

    /// Whether it goes on after a completion.
    pub(crate) fn is_multishot(&self) -> bool {
        self.0.select.as_ref().is_some_and(|s| s.shots.is_some())
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
        let selects = cx.flags.contains(SqeFlags::BUFFER_SELECT);
        let multi = sqe.ioprio & MULTISHOT != 0;
        let fields = sqe.off != 0 || sqe.file_index != 0 || (sqe.len as i32) < 0;
        let flags = sqe.op_flags;
        if fields
            || sqe.ioprio & !(RECV_ACCEPTED & !BUNDLE) != 0
            || multi && (!selects || flags & MSG_WAITALL != 0)
        {
            return Err(Errno::EINVAL);
        }
        let header = Header::copy(cx.host, sqe.addr)?;
        header.count()?;
        let (select, vector) = if selects {
            (Some(Selecting::prep(cx.host, &header, multi)?), Vector::new(Vec::new()))
        } else {
            (None, import_iovec(cx.host, header.iov.0, header.iov.1)?)
        };
        let control = header.control;
        // net.c `io_recvmsg`: no partial retry with control data.
        let goes_on = if control.1 == 0 { flags } else { flags & !MSG_WAITALL };
        let transfer = Transfer::new(vector.whole(), goes_on, sqe.ioprio);
        let compat = flags & MSG_CMSG_COMPAT != 0;
        let told = Told { header: sqe.addr, name: header.name, compat };
        let seen = None;
        Ok(Self(Box::new(Receiving { told, vector, control, transfer, flags, seen, select })))
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let Receiving { told, vector, control, transfer, flags, seen, select } = &mut *self.0;
        if let Err(e) = transfer.needs_socket(cx) {
            return Outcome::Done(Err(e), 0);
        }
        let shots = select.as_mut().filter(|s| s.shots.is_some());
        let came = if shots.is_some() { *seen } else { seen.take() };
        let whole = *flags & MSG_WAITALL;
        let cut = Cell::new(false);
        let last = Cell::new(None);
        let outcome = transfer.run_one(cx, POLLIN, |part, flags| {
            let got = cx.host.recvmsg(cx.fd, &vector.part(part), *control, flags | whole)?;
            cut.set(whole != 0 && got.flags & (MSG_TRUNC | MSG_CTRUNC) != 0);
            match &shots {
                Some(_) => last.set(Some(got)),
                None => told.tell(cx.host, &got)?,
            }
            Ok(got.bytes)
        });
        transfer.cut = cut.get();
        match (outcome, shots) {
            (Outcome::Done(Ok(_), _), Some(select)) => {
                let got = last.take();
                shot(cx, select, (transfer, vector.whole().len), (got, came))
            }
            // Of errors nobody can wait in the call.
            (Outcome::Again, _) if cx.how == Issue::Worker && *flags & MSG_ERRQUEUE != 0 => {
                Outcome::Done(Err(Errno::EAGAIN), 0)
            }
            (Outcome::Done(Ok(n), _), None) if transfer.leaves(cx, came) => {
                Outcome::Done(Ok(n), CqeFlags::SOCK_NONEMPTY.bits())
            }
            (other, _) => other,
        }
    }
}

/// What a message comes to that a multishot received: one without bytes is the last.
fn shot<H: Host>(
    cx: &IssueCx<'_, H>,
    select: &mut Selecting,
    (transfer, room): (&mut Transfer, u64),
    (got, seen): (Option<Received>, Option<u32>),
) -> Outcome {
    let Some(got) = got else { return Outcome::Done(Ok(0), 0) };
    let all = match select.tell(cx.host, &got, room) {
        Ok(all) => all,
        Err(e) => return Outcome::Done(Err(e), 0),
    };
    let Some(shots) = &mut select.shots else { return Outcome::Done(Ok(all), 0) };
    match shots.shot(transfer, cx, all, seen) {
        Outcome::More(n, flags) if got.bytes == 0 => Outcome::Done(Ok(n), flags),
        other => other,
    }
}
