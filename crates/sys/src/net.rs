//! Sockets, on behalf of the application: one call each, interruptible.
//!
//! What it does not do: wait for readiness (`MSG_DONTWAIT` and polling are the engine's choice).

use ringer_engine::host::{HostResult, Iovec, SockAddr};
use ringer_uapi::{Errno, bytes};
use rust_alloc::vec::Vec;

use crate::io::{self, app_call, is_ring};
use crate::raw::{self, fd_arg, general as g};
use crate::usermem;
use linux_raw_sys::net;

/// Control data beyond this is refused by the kernel's default `optmem_max` several times over.
const CONTROL_MAX: usize = 1 << 20;
const IPPROTO_TCP: i32 = 6;
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

/// `struct user_msghdr` without name and control data, and its buffer.
#[repr(C)]
struct OneBuffer {
    name: u64,
    name_len: u64,
    iov: u64,
    iov_len: u64,
    control: u64,
    control_len: u64,
    flags: u64,
    buf: [u64; 2],
}

/// `recvmsg(2)` into one buffer: bytes, and whether the message was longer.
///
/// # Errors
/// The call's.
pub fn recv_whole(fd: i32, buf: Iovec, flags: u32) -> HostResult<(u32, bool)> {
    let (control, control_len, buf) = (0, 0, [buf.base, buf.len]);
    let mut msg =
        OneBuffer { name: 0, name_len: 0, iov: 0, iov_len: 1, control, control_len, flags: 0, buf };
    let at = (&raw mut msg).expose_provenance();
    msg.iov = (at + core::mem::offset_of!(OneBuffer, buf)) as u64;
    // recvmsg(2) refuses a flag that is about control data only, recvfrom(2) takes it.
    let flags = (flags & !MSG_CMSG_COMPAT) as usize;
    let n = app_call(g::__NR_recvmsg, [fd_arg(fd), at, flags, 0, 0, 0])?;
    // The kernel wrote it behind the compiler's back.
    let told = core::hint::black_box(&msg).flags as u32;
    Ok((count(n), told & (net::MSG_TRUNC | net::MSG_CTRUNC) != 0))
}

/// `struct user_msghdr`.
#[repr(C)]
struct Message {
    name: u64,
    name_len: u64,
    iov: u64,
    iov_len: u64,
    control: u64,
    control_len: u64,
    flags: u64,
}

impl Message {
    fn of(bufs: &[Iovec], to: Option<&SockAddr>) -> Self {
        let (name, name_len) = to.map_or((0, 0), address);
        let (name, name_len) = (name as u64, name_len as u64);
        let (iov, iov_len) = (bufs.as_ptr().expose_provenance() as u64, bufs.len() as u64);
        Self { name, name_len, iov, iov_len, control: 0, control_len: 0, flags: 0 }
    }
}

/// `recvmsg(2)` into several buffers: bytes, and whether the message was longer.
///
/// # Errors
/// The call's.
pub fn recv_many(fd: i32, bufs: &[Iovec], flags: u32) -> HostResult<(u32, bool)> {
    let mut msg = Message::of(bufs, None);
    let at = (&raw mut msg).expose_provenance();
    let flags = (flags & !MSG_CMSG_COMPAT) as usize;
    let n = app_call(g::__NR_recvmsg, [fd_arg(fd), at, flags, 0, 0, 0])?;
    // The kernel wrote it behind the compiler's back.
    let told = core::hint::black_box(&msg).flags as u32;
    Ok((count(n), told & (net::MSG_TRUNC | net::MSG_CTRUNC) != 0))
}

/// `sendmsg(2)` of several buffers.
///
/// # Errors
/// The call's.
pub fn send_many(fd: i32, bufs: &[Iovec], flags: u32, to: Option<&SockAddr>) -> HostResult<u32> {
    let mut msg = Message::of(bufs, to);
    let at = (&raw mut msg).expose_provenance();
    let flags = (flags & !MSG_CMSG_COMPAT) as usize;
    app_call(g::__NR_sendmsg, [fd_arg(fd), at, flags, 0, 0, 0]).map(count)
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

/// `recvmsg(2)` with the application's `msghdr`.
///
/// # Errors
/// The call's.
pub fn recvmsg(fd: i32, msg: u64, flags: u32) -> HostResult<u32> {
    app_call(g::__NR_recvmsg, [fd_arg(fd), msg as usize, flags as usize, 0, 0, 0]).map(count)
}

/// `sendmsg(2)` with the application's `msghdr`.
///
/// # Errors
/// The call's; `EINVAL` for a ring in the control data.
pub fn sendmsg(fd: i32, msg: u64, flags: u32) -> HostResult<u32> {
    if carries_ring(msg) {
        return Err(Errno::EINVAL);
    }
    app_call(g::__NR_sendmsg, [fd_arg(fd), msg as usize, flags as usize, 0, 0, 0]).map(count)
}

/// Whether the control data of the `msghdr` at `msg` would pass a ring's descriptor, which the
/// kernel refuses since 6.x (unix_attach_fds: a ring could keep itself alive). What cannot be read
/// carries none: the call itself then says what is wrong.
pub fn carries_ring(msg: u64) -> bool {
    let field = |off: u64| msg.checked_add(off).ok_or(Errno::EFAULT).and_then(usermem::load64);
    // struct msghdr: msg_control at 32, msg_controllen at 40.
    let (Ok(control), Ok(len)) = (field(32), field(40)) else { return false };
    if control == 0 || len == 0 {
        return false;
    }
    let mut data: Vec<u8> = Vec::new();
    let len = (len as usize).min(CONTROL_MAX);
    if data.try_reserve_exact(len).is_err() {
        return false;
    }
    data.resize(len, 0);
    usermem::copy_in(control, &mut data).is_ok() && control_has_ring(&data)
}

/// Walks `cmsghdr`s: u64 length (header included), i32 level, i32 type, then data, 8-aligned.
fn control_has_ring(mut data: &[u8]) -> bool {
    const HEADER: usize = 16;
    const SCM_RIGHTS: i32 = 1;
    while data.len() >= HEADER {
        let len = bytes::u64_at(data, 0) as usize;
        let rights = bytes::i32_at(data, 8) == net::SOL_SOCKET.cast_signed()
            && bytes::i32_at(data, 12) == SCM_RIGHTS;
        let Some(body) = data.get(HEADER..len) else { return false };
        let fds = body.as_chunks::<4>().0.iter().map(|b| i32::from_ne_bytes(*b));
        if rights && fds.into_iter().any(is_ring) {
            return true;
        }
        let Some(rest) = data.get(len.next_multiple_of(8)..) else { return false };
        data = rest;
    }
    false
}

/// `accept4(2)`; `addr` and `addrlen` are user addresses or 0.
///
/// # Errors
/// The call's.
pub fn accept(fd: i32, addr: u64, addrlen: u64, flags: u32) -> HostResult<i32> {
    let args = [fd_arg(fd), addr as usize, addrlen as usize, flags as usize, 0, 0];
    app_call(g::__NR_accept4, args).map(|fd| fd as i32)
}

/// `connect(2)`.
///
/// # Errors
/// The call's.
pub fn connect(fd: i32, to: &SockAddr) -> HostResult<()> {
    let (at, len) = address(to);
    app_call(g::__NR_connect, [fd_arg(fd), at, len, 0, 0, 0]).map(drop)
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
        assert!(!control_has_ring(&one), "a descriptor, but not a ring");
        for len in [0, 1, 15, 16, 17, 24, 25, u64::MAX, u64::MAX - 6] {
            bytes::put_u64(&mut one, 0, len);
            assert!(!control_has_ring(&one));
        }
        assert!(!carries_ring(0) && !carries_ring(u64::MAX - 8));
    }
}
