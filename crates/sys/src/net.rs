//! Sockets, on behalf of the application: one call each, interruptible.
//!
//! What it does not do: wait for readiness (`MSG_DONTWAIT` and polling are the engine's choice).

use ringer_engine::host::{HostResult, Iovec, Message, Received, SockAddr, SockOpt};
use ringer_uapi::{Errno, bytes};
use rust_alloc::vec::Vec;

use crate::io::{self, app_call, is_ring};
use crate::raw::{self, fd_arg, general as g};
use crate::{fdtable, usermem};
use linux_raw_sys::net;

mod ends;
mod errqueue;

pub(crate) use ends::ends_of;
pub use errqueue::{take_timestamp, tells_timestamps};

/// Control data beyond this is refused by the kernel's default `optmem_max` several times over.
const CONTROL_MAX: usize = 1 << 20;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;
/// include/linux/socket.h.
const MSG_CMSG_COMPAT: u32 = 1 << 31;

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// `recvfrom(2)` without an address.
///
/// # Errors
/// The call's.
#[inline(always)]
pub fn recv(fd: i32, buf: Iovec, flags: u32) -> HostResult<u32> {
    let args = [fd_arg(fd), buf.base as usize, buf.len as usize, flags as usize, 0, 0];
    app_call(g::__NR_recvfrom, args).map(count)
}

/// `struct user_msghdr`.
#[repr(C)]
struct MsgHdr {
    name: u64,
    name_len: u64,
    iov: u64,
    iov_len: u64,
    control: u64,
    control_len: u64,
    flags: u64,
}

impl MsgHdr {
    fn new(name: (usize, usize), iovs: &[Iovec], control: (u64, u64)) -> Self {
        Self {
            name: name.0 as u64,
            name_len: name.1 as u64,
            iov: iovs.as_ptr().expose_provenance() as u64,
            iov_len: iovs.len() as u64,
            control: control.0,
            control_len: control.1,
            flags: 0,
        }
    }

    /// Makes the call. sendmsg(2) and recvmsg(2) refuse a flag that is about control data only, where
    /// io_uring takes it.
    fn call(&mut self, nr: u32, fd: i32, flags: u32) -> HostResult<u32> {
        let flags = if self.control_len == 0 { flags & !MSG_CMSG_COMPAT } else { flags };
        let at = (&raw mut *self).expose_provenance();
        let done = app_call(nr, [fd_arg(fd), at, flags as usize, 0, 0, 0]).map(count);
        // The kernel wrote behind the compiler's back.
        core::hint::black_box(self);
        done
    }
}

/// `recvmsg(2)` into buffers: bytes, and whether the message was longer.
///
/// # Errors
/// The call's.
pub fn recv_many(fd: i32, bufs: &[Iovec], flags: u32) -> HostResult<(u32, bool)> {
    let mut msg = MsgHdr::new((0, 0), bufs, (0, 0));
    let n = msg.call(g::__NR_recvmsg, fd, flags)?;
    Ok((n, msg.flags as u32 & (net::MSG_TRUNC | net::MSG_CTRUNC) != 0))
}

/// `sendto(2)`.
///
/// # Errors
/// The call's.
#[inline(always)]
pub fn send(fd: i32, buf: Iovec, flags: u32, to: Option<&SockAddr>) -> HostResult<u32> {
    let (at, len) = to.map_or((0, 0), address);
    let args = [fd_arg(fd), buf.base as usize, buf.len as usize, flags as usize, at, len];
    app_call(g::__NR_sendto, args).map(count)
}

/// Address and length of a copied `sockaddr`, never longer than the copy.
fn address(to: &SockAddr) -> (usize, usize) {
    (to.bytes.as_ptr() as usize, (to.len as usize).min(to.bytes.len()))
}

/// `recvmsg(2)`; control data goes to the application's memory.
///
/// # Errors
/// The call's.
pub fn recvmsg(fd: i32, iovs: &[Iovec], control: (u64, u64), flags: u32) -> HostResult<Received> {
    let mut name = SockAddr { bytes: [0; 128], len: 0 };
    let to = name.bytes.as_mut_ptr().expose_provenance();
    let mut msg = MsgHdr::new((to, name.bytes.len()), iovs, control);
    let bytes = msg.call(g::__NR_recvmsg, fd, flags)?;
    let mut name = *core::hint::black_box(&name);
    name.len = msg.name_len as u32;
    Ok(Received { bytes, name, control_len: msg.control_len, flags: msg.flags as u32 })
}

/// `sendmsg(2)`.
///
/// # Errors
/// The call's; `EINVAL` for a ring among descriptors that it passes.
pub fn sendmsg(fd: i32, message: &Message<'_>, flags: u32) -> HostResult<u32> {
    match *message {
        // Also with an empty name, which sendmsg(2) forgets and io_uring does not.
        Message { name, iovs: &[buf], control: (_, 0) } => return send(fd, buf, flags, name),
        Message { control: (_, 0), .. } => {}
        Message { control, .. } => may_pass(fd, control)?,
    }
    // UDP refuses an empty name.
    let empty = message.name.is_some_and(|name| name.len == 0);
    if empty && option(fd, net::SO_PROTOCOL)? == IPPROTO_UDP {
        return Err(Errno::EINVAL);
    }
    let name = message.name.map_or((0, 0), address);
    let mut msg = MsgHdr::new(name, message.iovs, message.control);
    msg.call(g::__NR_sendmsg, fd, flags)
}

/// Whether the control data may go over the socket: a ring's descriptor, and one of the engine's, may not
/// go with an AF_UNIX message (6.18 net/core/scm.c `scm_fp_copy`; others do not look at descriptors). What
/// cannot be read passes nothing: the call itself then says what is wrong.
fn may_pass(fd: i32, (control, len): (u64, u64)) -> HostResult<()> {
    const UNIX: i32 = net::AF_UNIX as i32;
    let mut data: Vec<u8> = Vec::new();
    let len = (len as usize).min(CONTROL_MAX);
    if control == 0 || data.try_reserve_exact(len).is_err() {
        return Ok(());
    }
    data.resize(len, 0);
    if usermem::copy_in(control, &mut data).is_err() {
        return Ok(());
    }
    match control_refusal(&data) {
        Some(e) if option(fd, net::SO_DOMAIN)? == UNIX => Err(e),
        _ => Ok(()),
    }
}

/// Walks `cmsghdr`s: u64 length (header included), i32 level, i32 type, then data, 8-aligned.
fn control_refusal(mut data: &[u8]) -> Option<Errno> {
    const HEADER: usize = 16;
    const SCM_RIGHTS: i32 = 1;
    while data.len() >= HEADER {
        let len = bytes::u64_at(data, 0) as usize;
        let rights = bytes::i32_at(data, 8) == net::SOL_SOCKET.cast_signed()
            && bytes::i32_at(data, 12) == SCM_RIGHTS;
        let body = data.get(HEADER..len)?;
        let fds = body.as_chunks::<4>().0.iter().map(|b| i32::from_ne_bytes(*b));
        for fd in fds.filter(|_| rights) {
            if fdtable::is_ours(fd) {
                return Some(Errno::EBADF);
            }
            if is_ring(fd) {
                return Some(Errno::EINVAL);
            }
        }
        data = data.get(len.next_multiple_of(8)..)?;
    }
    None
}

/// `accept4(2)`; `addr` and `addrlen` are user addresses or 0.
///
/// # Errors
/// The call's.
pub fn accept(fd: i32, addr: u64, addrlen: u64, flags: u32) -> HostResult<i32> {
    let args = [fd_arg(fd), addr as usize, addrlen as usize, flags as usize, 0, 0];
    app_call(g::__NR_accept4, args).map(|fd| fd as i32)
}

/// `socket(2)`; `kind` is type and flags.
///
/// # Errors
/// The call's.
pub fn socket(family: i32, kind: u32, protocol: i32) -> HostResult<i32> {
    let args = [fd_arg(family), kind as usize, fd_arg(protocol), 0, 0, 0];
    app_call(g::__NR_socket, args).map(|fd| fd as i32)
}

/// `bind(2)`.
///
/// # Errors
/// The call's.
pub fn bind(fd: i32, to: &SockAddr) -> HostResult<()> {
    let (at, len) = address(to);
    app_call(g::__NR_bind, [fd_arg(fd), at, len, 0, 0, 0]).map(drop)
}

/// `listen(2)`.
///
/// # Errors
/// The call's.
pub fn listen(fd: i32, backlog: i32) -> HostResult<()> {
    app_call(g::__NR_listen, [fd_arg(fd), fd_arg(backlog), 0, 0, 0, 0]).map(drop)
}

/// `connect(2)`.
///
/// # Errors
/// The call's.
pub fn connect(fd: i32, to: &SockAddr) -> HostResult<()> {
    let (at, len) = address(to);
    app_call(g::__NR_connect, [fd_arg(fd), at, len, 0, 0, 0]).map(drop)
}

/// `getsockopt(2)`: how long the value is.
///
/// # Errors
/// The call's.
pub fn getsockopt(fd: i32, option: SockOpt) -> HostResult<i32> {
    let SockOpt { level, name, value, len } = option;
    let mut len = len;
    let at = (&raw mut len).expose_provenance();
    let args = [fd_arg(fd), fd_arg(level), fd_arg(name), value as usize, at, 0];
    app_call(g::__NR_getsockopt, args)?;
    // The kernel wrote it behind the compiler's back.
    Ok(*core::hint::black_box(&len))
}

/// `setsockopt(2)`.
///
/// # Errors
/// The call's.
pub fn setsockopt(fd: i32, option: SockOpt) -> HostResult<()> {
    let SockOpt { level, name, value, len } = option;
    let args = [fd_arg(fd), fd_arg(level), fd_arg(name), value as usize, fd_arg(len), 0];
    app_call(g::__NR_setsockopt, args).map(drop)
}

/// `ioctl(SIOCINQ)`, where io_uring has it.
///
/// # Errors
/// The call's; `EOPNOTSUPP`.
pub fn unread(fd: i32) -> HostResult<i32> {
    const SIOCINQ: u32 = 0x541b;
    queue_len(fd, SIOCINQ)
}

/// `ioctl(SIOCOUTQ)`, where io_uring has it.
///
/// # Errors
/// The call's; `EOPNOTSUPP`.
pub fn unsent(fd: i32) -> HostResult<i32> {
    const SIOCOUTQ: u32 = 0x5411;
    queue_len(fd, SIOCOUTQ)
}

/// io_uring asks the protocol, and of families that programs use only those of the Internet have an
/// answer there (6.18 io_uring/cmd_net.c `io_uring_cmd_sock`).
fn queue_len(fd: i32, request: u32) -> HostResult<i32> {
    const INET: i32 = net::AF_INET as i32;
    const INET6: i32 = net::AF_INET6 as i32;
    if !matches!(option(fd, net::SO_DOMAIN)?, INET | INET6) {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut bytes = 0i32;
    let at = (&raw mut bytes).expose_provenance();
    app_call(g::__NR_ioctl, [fd_arg(fd), request as usize, at, 0, 0, 0])?;
    // The kernel wrote it behind the compiler's back.
    Ok(*core::hint::black_box(&bytes))
}

/// An integer option of the socket level.
fn option(fd: i32, name: u32) -> HostResult<i32> {
    let (mut value, mut len) = (0i32, 4u32);
    let (level, name) = (net::SOL_SOCKET as usize, name as usize);
    let (to, len_at) = (&raw mut value as usize, &raw mut len as usize);
    // SAFETY: the kernel writes one int and its length.
    let ret = unsafe { raw::syscall5(g::__NR_getsockopt, fd_arg(fd), level, name, to, len_at) };
    Errno::demux(ret).map(|_| value)
}

/// `getsockopt(SOL_SOCKET, SO_ERROR)`.
///
/// # Errors
/// The call's, or the socket's pending error.
pub fn socket_error(fd: i32) -> HostResult<()> {
    match u16::try_from(option(fd, net::SO_ERROR)?) {
        Ok(0) => Ok(()),
        Ok(error) => Err(Errno::from_raw(error)),
        Err(_) => Err(Errno::EIO),
    }
}

/// `getsockopt(SO_ACCEPTCONN)`: whether the socket listens.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub fn listening(fd: i32) -> HostResult<bool> {
    option(fd, net::SO_ACCEPTCONN).map(|v| v != 0)
}

/// `getsockopt(SO_TYPE)`: whether it is a stream, or one of sequenced packets.
pub fn is_stream(fd: i32) -> bool {
    const STREAM: i32 = net::SOCK_STREAM as i32;
    const SEQPACKET: i32 = net::SOCK_SEQPACKET as i32;
    matches!(option(fd, net::SO_TYPE), Ok(STREAM | SEQPACKET))
}

/// Whether it is a `SOCK_STREAM` socket.
pub fn is_byte_stream(fd: i32) -> bool {
    option(fd, net::SO_TYPE) == Ok(net::SOCK_STREAM as i32)
}

/// `SOCK_SUPPORT_ZC`: whether it is a TCP or a UDP socket.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub fn sends_zero_copy(fd: i32) -> HostResult<bool> {
    const STREAM: i32 = net::SOCK_STREAM as i32;
    const DGRAM: i32 = net::SOCK_DGRAM as i32;
    const INET: [i32; 2] = [net::AF_INET as i32, net::AF_INET6 as i32];
    let protocol = option(fd, net::SO_PROTOCOL)?;
    if !matches!(protocol, IPPROTO_TCP | IPPROTO_UDP)
        || !INET.contains(&option(fd, net::SO_DOMAIN)?)
    {
        return Ok(false);
    }
    Ok(matches!(
        (protocol, option(fd, net::SO_TYPE)?),
        (IPPROTO_TCP, STREAM) | (IPPROTO_UDP, DGRAM)
    ))
}

/// The start of `struct tcp_zerocopy_receive` (linux/tcp.h), up to what it says of the queue.
#[repr(C)]
#[derive(Default)]
struct Zerocopy {
    address: u64,
    length: u32,
    recv_skip_hint: u32,
    inq: u32,
    /// Not handed over: the structure ends behind `inq` for the kernel.
    padding: u32,
}

/// Whether a TCP socket has bytes or its end to read, by `getsockopt(TCP_ZEROCOPY_RECEIVE)` of
/// nothing: the only call that counts the end as `tcp_inq_hint` does. `None`: it is no TCP socket.
fn tcp_left(fd: i32) -> Option<bool> {
    const TCP_ZEROCOPY_RECEIVE: usize = 35;
    const UP_TO_INQ: u32 = core::mem::offset_of!(Zerocopy, padding) as u32;
    let (mut receive, mut len) = (Zerocopy::default(), UP_TO_INQ);
    let (to, len_at) = (&raw mut receive as usize, &raw mut len as usize);
    let (level, name) = (IPPROTO_TCP as usize, TCP_ZEROCOPY_RECEIVE);
    // SAFETY: the kernel reads and writes at most `len` bytes of the structure, and the length. With
    // an address and lengths of 0 it maps and copies nothing.
    let ret = unsafe { raw::syscall5(g::__NR_getsockopt, fd_arg(fd), level, name, to, len_at) };
    match Errno::demux(ret) {
        Ok(_) => Some(len >= UP_TO_INQ && receive.inq > 0),
        // EIO: nothing but the end. EINVAL: a page or more, and nowhere to map it.
        Err(Errno::EIO | Errno::EINVAL) => Some(true),
        Err(_) => None,
    }
}

/// Whether a receive from a TCP or AF_UNIX stream would find bytes now, or TCP's end, if that may
/// have come.
pub fn left_to_recv(fd: i32, may_have_ended: bool) -> bool {
    if may_have_ended && let Some(left) = tcp_left(fd) {
        return left;
    }
    bytes_queued(fd) > 0 && tells_what_is_left(fd)
}

/// Whether it is a TCP or AF_UNIX stream.
pub fn tells_what_is_left(fd: i32) -> bool {
    const UNIX: i32 = net::AF_UNIX as i32;
    const STREAM: i32 = net::SOCK_STREAM as i32;
    let stream = option(fd, net::SO_TYPE) == Ok(STREAM);
    let unix = || option(fd, net::SO_DOMAIN) == Ok(UNIX);
    stream && (unix() || option(fd, net::SO_PROTOCOL) == Ok(IPPROTO_TCP))
}

/// How many bytes wait in a TCP or AF_UNIX stream; 0 for any other socket.
pub fn queued(fd: i32) -> u32 {
    let n = u32::try_from(bytes_queued(fd)).unwrap_or(0);
    if n > 0 && tells_what_is_left(fd) { n } else { 0 }
}

/// `ioctl(FIONREAD)`; 0 where there is none.
fn bytes_queued(fd: i32) -> i32 {
    const FIONREAD: usize = 0x541b;
    let mut n = 0i32;
    // SAFETY: the kernel writes one int.
    let ret = unsafe { raw::syscall3(g::__NR_ioctl, fd_arg(fd), FIONREAD, &raw mut n as usize) };
    Errno::demux(ret).map_or(0, |_| n)
}

/// Whether a TCP listener has another connection now.
pub fn left_to_accept(fd: i32) -> bool {
    let ready = io::poll_now(fd, g::POLLIN) & g::POLLIN != 0;
    ready && option(fd, net::SO_PROTOCOL) == Ok(IPPROTO_TCP)
}

/// `shutdown(2)`.
///
/// # Errors
/// The call's.
pub fn shutdown(fd: i32, how: i32) -> HostResult<()> {
    app_call(g::__NR_shutdown, [fd_arg(fd), fd_arg(how), 0, 0, 0, 0]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iov(buf: &mut [u8]) -> Iovec {
        Iovec { base: buf.as_mut_ptr() as u64, len: buf.len() as u64 }
    }

    fn pair() -> (i32, i32) {
        raw::socketpair(net::AF_UNIX, net::SOCK_STREAM).unwrap()
    }

    #[test]
    fn bytes_go_through_and_an_empty_socket_would_block() {
        let (a, b) = pair();
        let mut buf = [0u8; 8];
        assert_eq!(recv(b, iov(&mut buf), net::MSG_DONTWAIT), Err(Errno::EAGAIN));
        assert_eq!(send(a, iov(&mut b"hello".to_vec()), 0, None), Ok(5));
        assert_eq!(recv(b, iov(&mut buf), 0), Ok(5));
        assert_eq!(&buf[..5], b"hello");
        assert_eq!(socket_error(a), Ok(()));
        assert_eq!(listening(a), Ok(false));
        assert_eq!(listening(-1), Err(Errno::EBADF));
        shutdown(a, 1).unwrap();
        assert_eq!(recv(b, iov(&mut buf), 0), Ok(0));
        assert_eq!(recv(-1, iov(&mut buf), 0), Err(Errno::EBADF));
        raw::close(a).unwrap();
        raw::close(b).unwrap();
    }

    #[test]
    fn a_refused_connection_says_so() {
        // SAFETY: touches no memory.
        let fd = unsafe { raw::syscall3(g::__NR_socket, net::AF_INET as usize, 1, 0) } as i32;
        let mut to = SockAddr { bytes: [0; 128], len: 16 };
        // Port 1 on loopback: family in host order, port and address in network order.
        to.bytes[..8].copy_from_slice(&[2, 0, 0, 1, 127, 0, 0, 1]);
        assert_eq!(connect(fd, &to), Err(Errno::ECONNREFUSED));
        to.len = 3;
        assert_eq!(connect(fd, &to), Err(Errno::EINVAL));
        raw::close(fd).unwrap();
    }

    #[test]
    fn control_data_of_any_shape_is_walked_safely() {
        crate::signals::install();
        let mut one = [0u8; 24];
        bytes::put_u64(&mut one, 0, 20);
        bytes::put_u32(&mut one, 8, net::SOL_SOCKET);
        bytes::put_u32(&mut one, 12, 1);
        bytes::put_u32(&mut one, 16, 0);
        assert_eq!(control_refusal(&one), None, "a descriptor, but not a ring");
        for len in [0, 1, 15, 16, 17, 24, 25, u64::MAX, u64::MAX - 6] {
            bytes::put_u64(&mut one, 0, len);
            assert_eq!(control_refusal(&one), None);
        }
        assert_eq!(may_pass(-1, (0, 8)), Ok(()));
        assert_eq!(may_pass(-1, (u64::MAX - 8, 8)), Ok(()));
    }
}
