//! Sockets, on behalf of the application: one call each, interruptible.
//!
//! What it does not do: wait for readiness (`MSG_DONTWAIT` and polling are the engine's choice).

use ringer_engine::host::{HostResult, Iovec, SockAddr};
use ringer_uapi::{Errno, bytes};
use rust_alloc::vec::Vec;

use crate::io::{app_call, is_ring};
use crate::raw::{self, fd_arg, general as g};
use crate::usermem;
use linux_raw_sys::net;

/// Control data beyond this is refused by the kernel's default `optmem_max` several times over.
const CONTROL_MAX: usize = 1 << 20;

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
