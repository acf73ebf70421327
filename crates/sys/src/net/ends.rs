//! What the two ends of a socket are called, as text for a trace.
//!
//! ```text
//!   " 127.0.0.1:80->127.0.0.1:40112"     " [::1]:80"     " unix:/run/x"     " ->unix:@name"
//! ```
//! What it does not do: allocate, or look anything up.

use core::fmt::{self, Write};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::raw::{self, fd_arg, general as g};
use linux_raw_sys::net;

/// Longest address of any family that is told (`struct sockaddr_un`) \[bytes\].
const ADDRESS_MAX: usize = 110;

/// Writes as much as fits; how much that is \[bytes\].
pub(crate) fn ends_of(fd: i32, to: &mut [u8]) -> usize {
    let mut line = Line { to, len: 0 };
    let mut at = [0; ADDRESS_MAX];
    // What does not fit is left out.
    if let Some(a) = ask(g::__NR_getsockname, fd, &mut at).and_then(address) {
        let _ = write!(line, " {a}");
    }
    let begun = line.len > 0;
    if let Some(a) = ask(g::__NR_getpeername, fd, &mut at).and_then(address) {
        let _ = write!(line, "{}->{a}", if begun { "" } else { " " });
    }
    line.len
}

fn ask(call: u32, fd: i32, at: &mut [u8; ADDRESS_MAX]) -> Option<&[u8]> {
    let mut len = ADDRESS_MAX as u32;
    let (to, len_at) = (at.as_mut_ptr() as usize, &raw mut len as usize);
    // SAFETY: the kernel writes at most `len` bytes to `at`, and the length.
    let ret = unsafe { raw::syscall3(call, fd_arg(fd), to, len_at) };
    if ret < 0 {
        return None;
    }
    at.get(..len as usize)
}

/// An address that has a name.
enum Address<'a> {
    Inet(SocketAddr),
    Unix(&'a [u8]),
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix([0, name @ ..]) => write!(f, "unix:@{}", name.escape_ascii()),
            Self::Unix(path) => {
                let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
                write!(f, "unix:{}", path.get(..end).unwrap_or(&[]).escape_ascii())
            }
        }
    }
}

fn address(bytes: &[u8]) -> Option<Address<'_>> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let family = u32::from(u16::from_ne_bytes(*family));
    let port = || rest.first_chunk::<2>().map(|b| u16::from_be_bytes(*b));
    match family {
        net::AF_INET => {
            let ip = rest.get(2..)?.first_chunk::<4>()?;
            Some(Address::Inet(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(*ip), port()?))))
        }
        net::AF_INET6 => {
            let ip = rest.get(6..)?.first_chunk::<16>()?;
            let scope = rest.get(22..)?.first_chunk::<4>().map_or(0, |b| u32::from_ne_bytes(*b));
            let address = SocketAddrV6::new(Ipv6Addr::from(*ip), port()?, 0, scope);
            Some(Address::Inet(SocketAddr::V6(address)))
        }
        // One without a name is told by its number alone.
        net::AF_UNIX if !rest.is_empty() => Some(Address::Unix(rest)),
        _ => None,
    }
}

/// Text in memory that somebody else has.
struct Line<'a> {
    to: &'a mut [u8],
    len: usize,
}

impl Write for Line<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let free = self.to.get_mut(self.len..).unwrap_or(&mut []);
        for (to, from) in free.iter_mut().zip(s.bytes()) {
            *to = from;
            self.len += 1;
        }
        if s.len() > free.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;
    use std::string::String;

    fn said(fd: &impl AsRawFd) -> String {
        let mut to = [0; 208];
        let n = ends_of(fd.as_raw_fd(), &mut to);
        String::from_utf8_lossy(&to[..n]).into_owned()
    }

    #[test]
    fn both_ends_of_a_connection_are_told_and_one_of_a_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let at = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(at).expect("a connection");
        let from = stream.local_addr().expect("an address");
        assert_eq!(
            (said(&listener), said(&stream)),
            (std::format!(" {at}"), std::format!(" {from}->{at}"))
        );
        let six = TcpListener::bind("[::1]:0").map(|l| (said(&l), l.local_addr().expect("one")));
        assert!(six.is_err() || six.is_ok_and(|(said, at)| said == std::format!(" {at}")));
    }

    #[test]
    fn a_socket_without_a_name_has_none_and_a_short_place_is_not_left() {
        let (a, _b) = UnixDatagram::pair().expect("a pair");
        assert_eq!(said(&a), "");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let mut to = [b'-'; 6];
        assert_eq!((ends_of(listener.as_raw_fd(), &mut to[..5]), to), (5, *b" 127.-"));
        assert_eq!(ends_of(-1, &mut to), 0);
    }
}
