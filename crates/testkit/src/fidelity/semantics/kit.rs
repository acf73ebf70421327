//! What the claims share: rings, submissions, and what must be seen in the completion ring.
//!
//! Everything fails with words. What it does not do: know what a kernel does.

pub(super) use crate::fidelity::Claim;
pub(super) use crate::os::{self, Buf, Errno, Sys};
pub(super) use crate::programs::{Outcome, expect, must};
pub(super) use crate::ring::{EXT_ARG, GETEVENTS, Ring, SQ_WAKEUP, i32s, reg, setup_call, u64s};
pub(super) use crate::sqe::{
    ASYNC, DRAIN, FIXED, HARDLINK, LINK, flagged, nop, of, of_fd, op, read, rw, write,
};
pub(super) use libc::{
    EALREADY, EBADF, EBUSY, ECANCELED, EEXIST, EFAULT, EINTR, EINVAL, EIO, EMFILE, ENFILE, ENOBUFS,
    ENOENT, ENOMEM, ENOTCONN, ENOTSOCK, ENOTTY, ENXIO, EOPNOTSUPP, EOVERFLOW, EPERM, EPIPE, ESPIPE,
    ETIME,
};
pub(super) use ringer_uapi::flags::Setup;
pub(super) use ringer_uapi::{Cqe, Params, Sqe};

/// A line of a `CLAIMS` list: section, function, sentence, and after `needs` what it can not do
/// without. The function's name is the claim's.
macro_rules! claim {
    ($section:literal, $run:ident, $says:literal $(, needs $($need:literal),+)?) => {
        Claim {
            name: stringify!($run),
            section: $section,
            says: $says,
            needs: &[$($($need),+)?],
            run: $run,
        }
    };
}
pub(super) use claim;

/// What a step of a claim answers.
pub(super) type Res<T> = Result<T, String>;

/// `IOSQE_CQE_SKIP_SUCCESS`.
pub(super) const SKIP: u8 = 0x40;
/// `IOSQE_BUFFER_SELECT`.
pub(super) const SELECT: u8 = 0x20;
/// `IORING_CQE_F_MORE`.
pub(super) const MORE: u32 = 2;
/// poll(2)'s.
pub(super) const IN: u32 = libc::POLLIN as u32;
/// poll(2)'s.
pub(super) const OUT: u32 = libc::POLLOUT as u32;
/// poll(2)'s.
pub(super) const HUP: u32 = libc::POLLHUP as u32;
/// A millisecond \[ns\].
pub(super) const MS: u64 = 1_000_000;
/// `IORING_SQ_CQ_OVERFLOW`.
pub(super) const CQ_OVERFLOW: u32 = 2;

/// For claims about the end of a ring: whether there is one to see here.
pub(super) fn rings_end() -> Outcome {
    crate::harness::rings_end()
        .then_some(())
        .ok_or_else(|| "skip: no ring ends here any more".into())
}

/// A ring of 16 entries without flags.
pub(super) fn ring() -> Res<Ring> {
    with(16, 0)
}

/// A ring with flags.
pub(super) fn with(entries: u32, flags: u32) -> Res<Ring> {
    must("setup", Ring::new(entries, flags))
}

/// A ring whose CQ is as small as its SQ.
pub(super) fn small_cq(entries: u32) -> Res<Ring> {
    let flags = Setup::CQSIZE.bits();
    must("setup", Ring::with(entries, Params { flags, cq_entries: entries, ..Params::default() }))
}

/// Pushes, submits, and answers how many were taken.
pub(super) fn take(ring: &mut Ring, sqes: &[Sqe]) -> Res<u32> {
    sqes.iter().for_each(|s| ring.push(*s));
    must("submit", ring.submit(0))
}

/// Submits all of them in one batch.
pub(super) fn submit(ring: &mut Ring, sqes: &[Sqe]) -> Outcome {
    let n = take(ring, sqes)?;
    expect("entries taken", n, sqes.len() as u32)
}

/// The next `n` completions.
pub(super) fn wait_for(ring: &Ring, n: usize) -> Res<Vec<Cqe>> {
    (0..n).map(|_| must("wait", ring.wait())).collect()
}

/// The next completions are these, in this order: (user_data, res). Ends at the first that differs.
pub(super) fn ends(ring: &Ring, want: &[(u64, i32)]) -> Outcome {
    each(ring, want, |c| (c.user_data, c.res))
}

/// What a look at the next completions sees, one after the other.
pub(super) fn each<T: PartialEq + Copy + std::fmt::Debug>(
    ring: &Ring,
    want: &[T],
    look: impl Fn(Cqe) -> T,
) -> Outcome {
    let mut got = Vec::new();
    for want in want {
        got.push(look(must("wait", ring.wait())?));
        if got.last() != Some(want) {
            break;
        }
    }
    expect("completions", got.as_slice(), want)
}

/// The next completions are these, in whatever order.
pub(super) fn ends_all(ring: &Ring, want: &[(u64, i32)]) -> Outcome {
    let mut got: Vec<_> =
        wait_for(ring, want.len())?.iter().map(|c| (c.user_data, c.res)).collect();
    got.sort_unstable();
    let mut want = want.to_vec();
    want.sort_unstable();
    expect("completions", got, want)
}

/// The next completions are these, with their flags: (user_data, res, flags).
pub(super) fn ends_flags(ring: &Ring, want: &[(u64, i32, u32)]) -> Outcome {
    each(ring, want, |c| (c.user_data, c.res, c.flags))
}

/// Submits all of them, and the next completions are these, in this order.
pub(super) fn runs(ring: &mut Ring, sqes: &[Sqe], want: &[(u64, i32)]) -> Outcome {
    submit(ring, sqes)?;
    ends(ring, want)
}

/// One request on an idle ring ends with this result.
pub(super) fn res(ring: &mut Ring, sqe: Sqe, want: i32) -> Outcome {
    let c = must("one", ring.one(sqe))?;
    expect("the result", (c.user_data, c.res), (sqe.user_data, want))
}

/// Nothing is there to reap.
pub(super) fn pending(ring: &Ring) -> Outcome {
    expect("a completion", ring.reap().map(|c| (c.user_data, c.res)), None)
}

/// Nothing was or is owed: the next completion is a NOP's.
pub(super) fn no_more(ring: &mut Ring) -> Outcome {
    let c = must("nop", ring.one(nop(0xfeed)))?;
    expect("no more completions", (c.user_data, c.res), (0xfeed, 0))
}

/// Looks until it is so, for two seconds.
pub(super) fn until(what: &str, mut is: impl FnMut() -> bool) -> Outcome {
    let end = os::clock(libc::CLOCK_MONOTONIC) + 2000 * MS;
    while !is() {
        if os::clock(libc::CLOCK_MONOTONIC) > end {
            return Err(format!("{what}: not within two seconds"));
        }
        let _ = os::poll(-1, 0, 1);
    }
    Ok(())
}

/// A call that must fail with this errno.
pub(super) fn fails<T: std::fmt::Debug>(what: &str, r: Sys<T>, errno: i32) -> Outcome {
    match r {
        Err(e) if e == Errno(errno) => Ok(()),
        other => Err(format!("{what}: {other:?}, wanted {}", os::name(errno))),
    }
}

/// `struct __kernel_timespec`.
pub(super) fn after(ns: u64) -> Buf {
    u64s(&[ns / 1_000_000_000, ns % 1_000_000_000])
}

/// An hour: longer than anything here lives.
pub(super) fn hour() -> Buf {
    after(3_600_000 * MS)
}

/// TIMEOUT with a count.
pub(super) fn timeout(ts: &Buf, count: u64, ud: u64) -> Sqe {
    rw(op::TIMEOUT, -1, ts.addr(), 1, count, ud)
}

/// LINK_TIMEOUT.
pub(super) fn link_timeout(ts: &Buf, ud: u64) -> Sqe {
    rw(op::LINK_TIMEOUT, -1, ts.addr(), 1, 0, ud)
}

/// POLL_ADD.
pub(super) fn poll_add(fd: i32, events: u32, ud: u64) -> Sqe {
    Sqe { op_flags: events, ..of_fd(op::POLL_ADD, fd, ud) }
}

/// POLL_ADD with `IORING_POLL_ADD_MULTI`.
pub(super) fn poll_multi(fd: i32, events: u32, ud: u64) -> Sqe {
    Sqe { len: 1, ..poll_add(fd, events, ud) }
}

/// An opcode whose target is a `user_data`: POLL_REMOVE, TIMEOUT_REMOVE, ASYNC_CANCEL.
pub(super) fn at(opcode: u8, target: u64, ud: u64) -> Sqe {
    Sqe { addr: target, ..of_fd(opcode, -1, ud) }
}

/// ASYNC_CANCEL with flags.
pub(super) fn cancel(target: u64, flags: u32, ud: u64) -> Sqe {
    Sqe { op_flags: flags, ..at(op::ASYNC_CANCEL, target, ud) }
}

/// A NOP that answers `res` (`IORING_NOP_INJECT_RESULT`).
pub(super) fn nop_with(res: i32, ud: u64) -> Sqe {
    Sqe { op_flags: 1, len: res.cast_unsigned(), ..nop(ud) }
}

/// A NOP that is refused at submission.
pub(super) fn refused(ud: u64) -> Sqe {
    Sqe { op_flags: 0x4000, ..nop(ud) }
}

/// (read end, write end).
pub(super) fn pipe() -> Res<(i32, i32)> {
    must("pipe", os::pipe())
}

/// A connected pair of `AF_UNIX` stream sockets.
pub(super) fn pair() -> Res<(i32, i32)> {
    must("socketpair", os::socketpair(libc::SOCK_STREAM))
}

/// write(2) of all of it.
pub(super) fn put(fd: i32, bytes: &[u8]) -> Outcome {
    let n = must("write", os::write(fd, bytes))?;
    expect("bytes written", n, bytes.len())
}

/// read(2) of what is there, up to 64 bytes.
pub(super) fn get(fd: i32) -> Res<Vec<u8>> {
    let mut b = [0; 64];
    let n = must("read", os::read(fd, &mut b))?;
    Ok(b[..n].to_vec())
}

/// A temporary file holding that.
pub(super) fn file(content: &[u8]) -> Res<i32> {
    must("file", os::temp_file(content))
}

/// close(2).
pub(super) fn close(fd: i32) -> Outcome {
    must("close", os::close(fd)).map(|_| ())
}

/// Whether the other end of a pipe or socket is gone.
pub(super) fn hung_up(fd: i32) -> Res<bool> {
    let bits = must("poll", os::poll(fd, libc::POLLIN, 0))?;
    Ok(bits & libc::POLLHUP != 0)
}

/// Runs `body` on a thread of its own, to its end.
pub(super) fn on_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Res<T> {
    std::thread::spawn(body).join().map_err(|_| "the thread panicked".to_owned())
}

/// io_uring_enter(2) on a bare descriptor, for other threads.
pub(super) fn enter_fd(fd: i32, submit: u32, min: u32, flags: u32) -> Sys<u64> {
    let fd = i64::from(fd).cast_unsigned();
    crate::call::sys(crate::call::ENTER, [fd, submit.into(), min.into(), flags.into(), 0, 0])
}

/// io_uring_register(2) on a bare descriptor.
pub(super) fn register_fd(fd: i32, opcode: u32, arg: u64, nr: u32) -> Sys<u64> {
    let fd = i64::from(fd).cast_unsigned();
    crate::call::sys(crate::call::REGISTER, [fd, opcode.into(), arg, nr.into(), 0, 0])
}

/// `IORING_CQE_F_BUFFER`.
pub(super) const BUFFER: u32 = 1;
/// `IORING_CQE_F_BUF_MORE`.
pub(super) const BUF_MORE: u32 = 16;

/// The same request with a buffer of that group.
pub(super) fn select(sqe: Sqe, group: u16) -> Sqe {
    Sqe { flags: sqe.flags | SELECT, buf_index: group, ..sqe }
}

/// A ring of provided buffers (`REGISTER_PBUF_RING`) with its memory.
pub(super) struct BufRing {
    ring: Buf,
    /// Where the buffers lie, 64 bytes apart but for larger ones.
    pub(super) data: Buf,
    group: u16,
    entries: u16,
    tail: u16,
}

impl BufRing {
    /// Registers a ring of so many entries as a group, with `IOU_PBUF_RING_*` flags.
    pub(super) fn new(ring: &Ring, group: u16, entries: u16, flags: u16) -> Res<Self> {
        Self::with(ring, group, entries, flags, 0)
    }

    /// The same, with `min_left`.
    pub(super) fn with(
        ring: &Ring,
        group: u16,
        entries: u16,
        flags: u16,
        min_left: u64,
    ) -> Res<Self> {
        let mem = Buf::new(4096);
        let shape = u64::from(entries) | u64::from(group) << 32 | u64::from(flags) << 48;
        let arg = u64s(&[mem.addr(), shape, min_left, 0, 0]);
        must("PBUF_RING", ring.register(22, arg.addr(), 1))?;
        Ok(Self { ring: mem, data: Buf::new(16 << 10), group, entries, tail: 0 })
    }

    /// Adds a buffer: the `id`th 64 bytes of the data, or more.
    pub(super) fn add(&mut self, id: u16, len: u32) {
        self.add_at(self.data.addr() + 64 * u64::from(id), id, len);
    }

    /// Adds a buffer at an address.
    pub(super) fn add_at(&mut self, addr: u64, id: u16, len: u32) {
        let slot = usize::from(self.tail % self.entries);
        self.ring.put64(16 * slot, addr);
        // The tail lies in the upper half of the first entry's last word.
        let tail = if slot == 0 { u64::from(self.tail) << 48 } else { 0 };
        self.ring.put64(16 * slot + 8, u64::from(len) | u64::from(id) << 32 | tail);
        self.tail = self.tail.wrapping_add(1);
        let first = self.ring.get64(8) & !(0xffff << 48);
        self.ring.put64(8, first | u64::from(self.tail) << 48);
    }

    /// What the entry of a slot says of its length.
    pub(super) fn entry_len(&self, slot: usize) -> u32 {
        self.ring.get64(16 * slot + 8) as u32
    }

    /// How many buffers were taken (`REGISTER_PBUF_STATUS`).
    pub(super) fn head(&self, ring: &Ring) -> Res<u32> {
        let arg = u64s(&[u64::from(self.group), 0, 0, 0, 0]);
        must("PBUF_STATUS", ring.register(26, arg.addr(), 1))?;
        Ok((arg.get64(0) >> 32) as u32)
    }
}

/// A TCP connection over loopback: (client, server).
pub(super) fn tcp() -> Res<(i32, i32)> {
    let (listener, port) = must("listener", os::tcp_listener())?;
    let client = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    let addr = Buf::of(&os::loopback(port));
    let fd = i64::from(client).cast_unsigned();
    must("connect", os::raw(libc::SYS_connect, [fd, addr.addr(), 16]))?;
    let listener = i64::from(listener).cast_unsigned();
    let server = must("accept", os::raw(libc::SYS_accept, [listener, 0, 0]))?;
    Ok((client, server as i32))
}

/// `IORING_ASYNC_CANCEL_*`.
pub(super) const ALL: u32 = 1;
/// See [`ALL`].
pub(super) const FD: u32 = 2;
/// See [`ALL`].
pub(super) const ANY: u32 = 4;
/// See [`ALL`].
pub(super) const FD_FIXED: u32 = 8;
/// See [`ALL`].
pub(super) const USERDATA: u32 = 16;
/// See [`ALL`].
pub(super) const OP: u32 = 32;

/// A unix listener without room: who connects blocks a worker.
pub(super) struct Full {
    addr: Buf,
    len: u64,
}

impl Full {
    pub(super) fn new() -> Res<Self> {
        // sun_family, then a name of no file.
        let mut name = libc::AF_UNIX.to_ne_bytes()[..2].to_vec();
        name.extend(format!("\0ringer-full-{}", os::pid()).bytes());
        let full = Self { addr: Buf::of(&name), len: name.len() as u64 };
        let (listener, first) = (full.socket()?, full.socket()?);
        must("bind", os::raw(libc::SYS_bind, [listener, full.addr.addr(), full.len]))?;
        must("listen", os::listen(listener as i32, 0))?;
        must("connect", os::raw(libc::SYS_connect, [first, full.addr.addr(), full.len]))?;
        Ok(full)
    }

    fn socket(&self) -> Res<u64> {
        let fd = must("socket", os::socket(libc::AF_UNIX, libc::SOCK_STREAM))?;
        Ok(i64::from(fd).cast_unsigned())
    }

    /// A CONNECT that blocks.
    pub(super) fn connect(&self, ud: u64) -> Res<Sqe> {
        let socket = self.socket()? as i32;
        Ok(rw(op::CONNECT, socket, self.addr.addr(), 0, self.len, ud))
    }
}

/// Nothing completes within 20 ms.
pub(super) fn waits(ring: &Ring) -> Outcome {
    match os::poll(ring.fd, libc::POLLIN, 20) {
        Ok(0) => Ok(()),
        other => Err(format!("poll says {other:?} within 20 ms: {:?}", ring.reap())),
    }
}

/// `IORING_ENTER_ABS_TIMER`.
pub(super) const ABS_TIMER: u32 = 32;
