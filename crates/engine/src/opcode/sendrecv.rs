//! `IORING_OP_SEND`, `RECV` (since 5.6).
//!
//! - Reads:   `fd`; `addr`, `len` = buffer \[bytes\]; `op_flags` = `MSG_*`; `ioprio` =
//!   `IORING_RECVSEND_*`; send: `off`, low half of `file_index` = destination address; with
//!   BUFFER_SELECT: `buf_index` = group, `len` = how much of a buffer at most; multishot: `file_index` =
//!   how much at all; bundle: as many buffers as it takes, one behind the other; send, vectorised: `addr`,
//!   `len` = iovec array \[entries\]
//! - Rejects: `EINVAL`: unknown `ioprio` flag (fixed buffer is not carried out yet), recv with `off`, one
//!   that is no multishot with `file_index`, a multishot without BUFFER_SELECT or with `MSG_WAITALL`,
//!   send with `__pad3`; a bad iovec array as READV
//! - Flags:   recv: `SOCK_NONEMPTY` if a stream has bytes left, or TCP's end; not if a single one was
//!   ready at once
//! - Result:  bytes; with `MSG_WAITALL` on a stream loops until all, end or error, and a datagram that
//!   was cut fails its chain; multishot: bytes of each receive, with MORE, until end, error, `file_index`
//! - Errors:  send(2), recv(2); SIGPIPE is never raised; `EAGAIN` only with `MSG_DONTWAIT`; `ENOBUFS`
//! - Blocks:  never: what is not ready waits for readiness; a worker with a file that has no number to
//!   poll blocks
//! - Source:  6.18 io_uring/net.c `io_sendmsg_prep`, `io_send`, `io_recvmsg_prep`, `io_recv`,
//!   `io_recv_finish`

use super::connect::copy_addr;
use super::iov::{MAX_RW_COUNT, Vector, import_iovec};
use super::opdef::{Cmd, Issue, IssueCx, Op, Outcome, PrepCx, access_ok};
use crate::host::{FileKind, Host, Iovec, Message, SockAddr};
use crate::support::opflags::{BUNDLE, RECV_ACCEPTED, SEND_ACCEPTED, VECTORIZED};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;
use ringer_uapi::flags::{CqeFlags, SqeFlags};
use ringer_uapi::{Errno, Sqe};

const MSG_OOB: u32 = 1;
const MSG_PEEK: u32 = 2;
pub(super) const MSG_WAITALL: u32 = 0x100;
const MSG_DONTWAIT: u32 = 0x40;
pub(super) const MSG_NOSIGNAL: u32 = 0x4000;
const POLL_FIRST: u16 = 1;
pub(super) const MULTISHOT: u16 = 2;
pub(super) const POLLIN: u32 = 1;
pub(super) const POLLOUT: u32 = 4;
const POLLHUP: u32 = 0x10;
const POLLRDHUP: u32 = 0x2000;

/// A transfer in progress, in either direction.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// The buffer; of several, all of their range.
    buf: Iovec,
    /// Several buffers.
    many: Option<Box<Vector>>,
    bundle: bool,
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
        Self {
            buf,
            many: None,
            bundle: ioprio & BUNDLE != 0,
            flags,
            done: 0,
            poll_first: ioprio & POLL_FIRST != 0,
            never_polls: false,
            filled: false,
            cut: false,
        }
    }

    /// `selects`: its buffer is a provided one, of which only the length is known yet.
    fn prep(sqe: &Sqe, selects: bool) -> Result<Self, Errno> {
        let len = u64::from(sqe.len);
        let buf = if selects {
            Iovec { base: 0, len }
        } else {
            access_ok(Iovec { base: sqe.addr, len })?
        };
        Ok(Self::new(buf, sqe.op_flags, sqe.ioprio))
    }

    /// Whether it is for one buffer, without flags.
    fn is_plain(&self) -> bool {
        self.flags == 0 && self.buf.len > 0 && self.many.is_none() && !self.bundle
    }

    /// From here on what asks to be polled for first does not wait.
    pub(crate) fn never_poll(&mut self) {
        self.never_polls = true;
    }

    /// What a cancel reports: bytes already moved, or nothing.
    pub(crate) fn progress(&self) -> u32 {
        self.done
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

    /// How much it is to move, before anything was; `None`: it may not be cut.
    pub(crate) fn whole_len(&self) -> Option<u32> {
        // Of urgent data another byte would be the urgent one.
        let whole = self.flags & (MSG_WAITALL | MSG_OOB) != 0;
        let fits = self.done == 0 && !whole && !self.bundle;
        u32::try_from(self.buf.len).ok().filter(|_| fits)
    }

    /// Lets it move the first `len` bytes only.
    pub(crate) fn shorten(&mut self, len: u32) {
        self.buf.len = self.buf.len.min(len.into());
    }

    /// Where the first byte of it all is; 0: in several buffers.
    pub(crate) fn base(&self) -> u64 {
        if self.many.is_none() { self.buf.base } else { 0 }
    }

    pub(super) fn take_buffer(&mut self, buf: Iovec) -> Result<(), Errno> {
        self.many = None;
        self.buf.len = buf.len.min(MAX_RW_COUNT);
        self.buf = access_ok(Iovec { base: buf.base, len: self.buf.len })?;
        Ok(())
    }

    /// Takes buffers that are to be one behind the other; a system call looks at where they are.
    fn take_buffers(&mut self, bufs: Vector) -> Result<(), Errno> {
        if let [one] = *bufs.iovs() {
            return self.take_buffer(one);
        }
        self.buf = bufs.whole();
        self.many = Some(Box::new(bufs));
        Ok(())
    }

    /// What a worker first comes to with one that is to wait first.
    pub(super) fn waits_first(&mut self) -> Option<Outcome> {
        let dont_wait = self.never_polls || self.flags & MSG_DONTWAIT != 0;
        let first = if dont_wait { Outcome::Done(Err(Errno::EAGAIN), 0) } else { Outcome::Again };
        core::mem::take(&mut self.poll_first).then_some(first)
    }

    /// What is to be done before the first attempt, and before a buffer is selected for it.
    pub(super) fn wait_first<H: Host>(
        &mut self,
        cx: &IssueCx<'_, H>,
        events: u32,
    ) -> Option<Outcome> {
        let first = core::mem::take(&mut self.poll_first);
        let dont_wait = self.never_polls || self.flags & MSG_DONTWAIT != 0;
        first.then(|| cx.poll_first(events, dont_wait)).flatten()
    }

    /// Whether a result breaks a link.
    pub(crate) fn is_short(&self, res: i32) -> bool {
        self.cut || self.flags & MSG_WAITALL != 0 && (res as u64) < self.buf.len
    }

    fn rest(&self) -> Iovec {
        let done = u64::from(self.done);
        Iovec { base: self.buf.base.wrapping_add(done), len: self.buf.len - done }
    }

    fn attempt<H: Host>(
        &self,
        cx: &IssueCx<'_, H>,
        flags: u32,
        call: &impl Fn(&[Iovec], u32) -> Result<u32, Errno>,
    ) -> (u64, Result<u32, Errno>) {
        let mut part = self.rest();
        part.len = u64::from(cx.policy.share(part.len as u32));
        match &self.many {
            None => (part.len, call(&[part], flags)),
            Some(many) => (part.len, call(&many.part(part), flags)),
        }
    }

    /// The whole of a plain transfer in one call, for the loops that it returns to: behind a system call
    /// each return is mispredicted (decision 0001). `None`: it is none, or a signal came first.
    #[inline(always)]
    fn run_plain<H: Host>(
        &mut self,
        cx: &IssueCx<'_, H>,
        call: impl FnOnce(Iovec) -> Result<u32, Errno>,
    ) -> Option<Outcome> {
        let whole = u64::from(cx.policy.share(self.buf.len as u32)) == self.buf.len;
        if !self.is_plain() || self.poll_first || self.done > 0 || !whole {
            return None;
        }
        match call(self.buf) {
            Ok(n) => {
                self.done = n;
                self.filled = u64::from(n) >= self.buf.len;
                Some(Outcome::Done(Ok(n as i32), 0))
            }
            Err(Errno::EAGAIN) => Some(Outcome::Again),
            Err(Errno::EINTR) => None,
            Err(e) => Some(Outcome::Done(Err(e), 0)),
        }
    }

    /// The same of one buffer, or of one range of several.
    pub(super) fn run_one<H: Host>(
        &mut self,
        cx: &IssueCx<'_, H>,
        events: u32,
        call: impl Fn(Iovec, u32) -> Result<u32, Errno>,
    ) -> Outcome {
        self.run(cx, events, |bufs, flags| call(bufs.first().copied().unwrap_or_default(), flags))
    }

    fn run<H: Host>(
        &mut self,
        cx: &IssueCx<'_, H>,
        events: u32,
        call: impl Fn(&[Iovec], u32) -> Result<u32, Errno>,
    ) -> Outcome {
        if let Some(first) = self.wait_first(cx, events) {
            return first;
        }
        // A worker gets here only with a file that nobody can poll: it blocks, and a cancel
        // interrupts it.
        let nowait = if cx.how == Issue::Worker { 0 } else { MSG_DONTWAIT };
        loop {
            let (room, moved) = self.attempt(cx, self.flags | nowait, &call);
            match moved {
                Ok(n) => {
                    self.done += n;
                    self.filled = u64::from(n) >= room;
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
    /// It waited: then it is the last of its bundles.
    woken: bool,
    /// Its buffers are provided ones.
    selects: bool,
}

impl Send {
    /// How much it asks of a provided buffer; 0: what it has.
    pub(crate) fn asks(&self) -> u64 {
        self.transfer.buf.len
    }

    /// Takes the provided buffers that were selected for it.
    ///
    /// # Errors
    /// `EFAULT` beyond the end of user space.
    pub(crate) fn take_buffers(&mut self, bufs: Vec<Iovec>) -> Result<(), Errno> {
        self.transfer.take_buffers(Vector::new(bufs))
    }

    /// Whether it sends all buffers there are.
    pub(crate) fn is_bundle(&self) -> bool {
        self.transfer.bundle
    }

    /// Notes that its socket became ready.
    pub(crate) fn woken(&mut self) {
        self.woken = true;
    }

    /// Whether another bundle follows one that was sent at once; it asks anew (net.c
    /// `io_send_finish`).
    pub(crate) fn goes_on(&mut self) -> bool {
        let goes_on = self.transfer.bundle && !self.woken;
        if goes_on {
            (self.transfer.buf.len, self.transfer.done) = (0, 0);
        }
        goes_on
    }

    /// Whether it first waits, and how that ends if it does not come to an attempt.
    pub(crate) fn wait_first<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Option<Outcome> {
        // net.c `io_send` asks for a socket before it waits, `io_recv` after.
        if let Err(e) = self.transfer.needs_socket(cx) {
            return Some(Outcome::Done(Err(e), 0));
        }
        self.transfer.wait_first(cx, POLLOUT)
    }

    /// What it first comes to, if it waits first.
    pub(crate) fn waits_first(&mut self) -> Option<Outcome> {
        self.transfer.waits_first()
    }
}

impl Op for Send {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if (sqe.len as i32) < 0 || sqe.ioprio & !SEND_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let to = destination(cx.host, sqe)?;
        let selects = cx.flags.contains(SqeFlags::BUFFER_SELECT);
        let vector = sqe.ioprio & VECTORIZED != 0 && !selects;
        // What stands behind an address of an array is looked at below.
        let mut transfer = Transfer::prep(sqe, selects || vector)?;
        if transfer.bundle {
            transfer.flags |= MSG_WAITALL;
        }
        if vector {
            let bufs = import_iovec(cx.host, sqe.addr, u64::from(sqe.len))?;
            transfer.take_buffers(bufs)?;
        }
        Ok(Self { transfer, to, woken: false, selects })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        if let Some(first) = self.wait_first(cx) {
            return first;
        }
        let to = self.to.as_deref();
        let send = |bufs: &[Iovec], flags| match bufs {
            [one] => cx.host.send(cx.fd, *one, flags | MSG_NOSIGNAL, to),
            many => {
                let message = Message { name: to, iovs: many, control: (0, 0) };
                cx.host.sendmsg(cx.fd, &message, flags | MSG_NOSIGNAL)
            }
        };
        match self.transfer.run(cx, POLLOUT, send) {
            // A bundle of one buffer that is not provided goes on, with nothing.
            Outcome::Done(Ok(n @ 1..), flags) if !self.selects && self.goes_on() => {
                self.transfer.many = None;
                Outcome::More(n, flags)
            }
            other => other,
        }
    }

    #[inline(always)]
    fn issue_first<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        if self.to.is_some() {
            return self.issue(cx);
        }
        let flags = MSG_DONTWAIT | MSG_NOSIGNAL;
        match self.transfer.run_plain(cx, |buf| cx.host.send(cx.fd, buf, flags, None)) {
            Some(outcome) => outcome,
            None => self.issue(cx),
        }
    }
}

/// What a multishot receive goes by.
#[derive(Debug)]
pub(super) struct Shots {
    /// The most of one receive, 0: what a buffer has.
    each: u32,
    /// What is left of all of them, if that has an end.
    left: Option<u32>,
    /// Whether the socket says what is left, which a stream does.
    tells: Option<bool>,
    /// Nothing was left, as far as the receive could tell.
    rests: bool,
    /// A bundle was as long as it may be, and others run before the next (`IORING_RECV_MSHOT_CAP`).
    yields: bool,
    /// Its end may be there nevertheless, of which no edge may tell any more.
    looks: bool,
}

/// `IORING_OP_RECV`.
///
/// A single one that is ready at once is one call, and does not look what is left (`SOCK_NONEMPTY`).
/// One that waited looks where something can be: if it took less than there was room for, it emptied the
/// queue, unless an end was reported with the bytes.
#[derive(Debug)]
pub struct Recv {
    transfer: Transfer,
    /// What the poller said since the last attempt.
    seen: Option<u32>,
    shots: Option<Box<Shots>>,
}

impl Recv {
    /// Notes what the poller said of the socket before the next attempt.
    pub(crate) fn woken_by(&mut self, events: u32) {
        self.seen = Some(events);
    }

    /// Whether something is left behind a receive that succeeded.
    fn leaves<H: Host>(&self, cx: &IssueCx<'_, H>, seen: Option<u32>) -> bool {
        match &self.shots {
            Some(_) => Shots::leaves(&self.transfer, cx, seen),
            None => self.transfer.leaves(cx, seen),
        }
    }

    /// How much it asks of a provided buffer; 0: what it has.
    pub(crate) fn asks(&self) -> u64 {
        self.transfer.buf.len
    }

    /// Takes the provided buffer that was selected for it.
    ///
    /// # Errors
    /// `EFAULT` beyond the end of user space.
    pub(crate) fn take_buffer(&mut self, buf: Iovec) -> Result<(), Errno> {
        self.transfer.take_buffer(buf)
    }

    /// The same of several.
    ///
    /// # Errors
    /// As [`Self::take_buffer`].
    pub(crate) fn take_buffers(&mut self, bufs: Vec<Iovec>) -> Result<(), Errno> {
        self.transfer.take_buffers(Vector::new(bufs))
    }

    /// Whether it receives into as many buffers as there is something for, and how much of that at
    /// most: 0 for no limit.
    pub(crate) fn bundle(&self) -> Option<u64> {
        let left = self.shots.as_ref().and_then(|s| s.left);
        self.transfer.bundle.then(|| u64::from(left.unwrap_or(0)))
    }

    /// What a bundle may append to what it received, 0 for nothing (net.c `io_recv_finish`).
    pub(crate) fn appends<H: Host>(&self, cx: &IssueCx<'_, H>) -> u64 {
        let each = self.shots.as_ref().map_or(0, |s| u64::from(s.each));
        let over = each > 0 && u64::from(self.transfer.done) >= each;
        let whole = u64::from(self.transfer.done) == self.transfer.buf.len;
        if over || !whole || self.transfer.flags & MSG_WAITALL != 0 {
            return 0;
        }
        let queued = u64::from(cx.host.queued(cx.fd));
        if queued > 1 { queued } else { 0 }
    }

    /// Receives what is to be appended, into other buffers. Answers how much that was.
    pub(crate) fn append<H: Host>(&mut self, cx: &IssueCx<'_, H>, bufs: Vec<Iovec>) -> u32 {
        let before = core::mem::take(&mut self.transfer.done);
        let more = match self.transfer.take_buffers(Vector::new(bufs)) {
            Ok(()) => match self.receive(cx) {
                Outcome::Done(Ok(n), _) => n.cast_unsigned(),
                _ => 0,
            },
            Err(_) => 0,
        };
        self.transfer.done = before + more;
        more
    }

    /// One receive.
    pub(crate) fn receive<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let cut = Cell::new(false);
        let outcome = self.transfer.run(cx, POLLIN, |bufs, flags| match bufs {
            [one] if flags & MSG_WAITALL == 0 => cx.host.recv(cx.fd, *one, flags),
            _ => {
                let (n, longer) = cx.host.recv_many(cx.fd, bufs, flags)?;
                cut.set(longer && flags & MSG_WAITALL != 0);
                Ok(n)
            }
        });
        self.transfer.cut = cut.get();
        outcome
    }

    /// What a receive comes to. `last`: it used the last buffer of a bundle.
    pub(crate) fn finish<H: Host>(
        &mut self,
        cx: &IssueCx<'_, H>,
        outcome: Outcome,
        last: bool,
    ) -> Outcome {
        let seen = self.seen;
        if self.shots.is_none() {
            self.seen = None;
        }
        match outcome {
            Outcome::Done(Ok(n), _) if n > 0 && self.shots.is_some() => {
                let Some(shots) = &mut self.shots else { return outcome };
                match shots.shot(&mut self.transfer, cx, n, seen) {
                    Outcome::More(n, flags) if last => Outcome::Done(Ok(n), flags),
                    other => other,
                }
            }
            Outcome::Done(Ok(n), _) if self.leaves(cx, seen) => {
                Outcome::Done(Ok(n), CqeFlags::SOCK_NONEMPTY.bits())
            }
            other => other,
        }
    }

    /// Whether others are to run before it goes on.
    pub(crate) fn yields(&mut self) -> bool {
        self.shots.as_mut().is_some_and(|s| core::mem::take(&mut s.yields))
    }

    /// Whether it first waits, and how that ends if it does not come to an attempt.
    pub(crate) fn wait_first<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Option<Outcome> {
        self.transfer.wait_first(cx, POLLIN)
    }

    /// What it first comes to, if it waits first.
    pub(crate) fn waits_first(&mut self) -> Option<Outcome> {
        self.transfer.waits_first()
    }

    /// Whether it goes on after a completion.
    pub(crate) fn is_multishot(&self) -> bool {
        self.shots.is_some()
    }

    /// Whether it is a single one, into one buffer and without flags.
    pub(crate) fn is_plain(&self) -> bool {
        self.shots.is_none() && self.transfer.is_plain()
    }

    /// Whether it waits at once, without a buffer: nothing was left.
    pub(crate) fn rests<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> bool {
        self.shots.as_mut().is_some_and(|shots| shots.rests(cx))
    }
}

impl Shots {
    /// With `each` as the most of one receive, and `left` as that of all.
    pub(super) fn new(each: u32, left: Option<u32>) -> Self {
        Self { each, left, tells: None, rests: false, yields: false, looks: false }
    }

    fn leaves<H: Host>(transfer: &Transfer, cx: &IssueCx<'_, H>, seen: Option<u32>) -> bool {
        match seen {
            None => cx.host.left_to_recv(cx.fd, true),
            seen => transfer.leaves(cx, seen),
        }
    }

    /// Whether it waits at once, without a buffer: nothing was left.
    pub(super) fn rests<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> bool {
        core::mem::take(&mut self.rests) && (!self.looks || cx.host.poll_now(cx.fd, POLLIN) == 0)
    }

    /// What a receive of something comes to (net.c `io_recv_finish`).
    pub(super) fn shot<H: Host>(
        &mut self,
        transfer: &mut Transfer,
        cx: &IssueCx<'_, H>,
        n: i32,
        seen: Option<u32>,
    ) -> Outcome {
        let tells = self.tells.unwrap_or_else(|| cx.host.tells_what_is_left(cx.fd));
        let left = tells && Self::leaves(transfer, cx, seen);
        let flags = if left { CqeFlags::SOCK_NONEMPTY.bits() } else { 0 };
        self.tells = Some(tells);
        self.yields = transfer.bundle && self.each > 0 && n.cast_unsigned() >= self.each;
        self.rests = tells && !left;
        self.looks = seen.is_none_or(|events| events & (POLLRDHUP | POLLHUP) != 0);
        if let Some(all) = &mut self.left {
            *all = all.saturating_sub(n.cast_unsigned());
            if *all == 0 {
                return Outcome::Done(Ok(n), flags);
            }
        }
        transfer.buf.len = u64::from(self.each);
        transfer.done = 0;
        Outcome::More(n, flags)
    }
}

impl Op for Recv {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.off != 0 || (sqe.len as i32) < 0 || sqe.ioprio & !RECV_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let selects = cx.flags.contains(SqeFlags::BUFFER_SELECT);
        let multi = sqe.ioprio & MULTISHOT != 0;
        if multi && (!selects || sqe.op_flags & MSG_WAITALL != 0) || !multi && sqe.file_index != 0 {
            return Err(Errno::EINVAL);
        }
        let left = (sqe.file_index != 0).then_some(sqe.file_index);
        let shots = multi.then(|| Box::new(Shots::new(sqe.len, left)));
        Ok(Self { transfer: Transfer::prep(sqe, selects)?, seen: None, shots })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let outcome = self.receive(cx);
        self.finish(cx, outcome, false)
    }

    #[inline(always)]
    fn issue_first<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        match self.transfer.run_plain(cx, |buf| cx.host.recv(cx.fd, buf, MSG_DONTWAIT)) {
            Some(outcome) if self.shots.is_none() && self.seen.is_none() => outcome,
            Some(outcome) => self.finish(cx, outcome, false),
            None => self.issue(cx),
        }
    }
}
