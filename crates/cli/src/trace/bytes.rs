//! Bytes of the traced program as text: data as strace(1) shows strings, and what requests point to.
//!
//! They are a stranger's: whatever they are, a line of printable ASCII comes of them. What this does not
//! do: find them.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use ringer_engine::trace::buffer::{DataHead, DataKind};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Bytes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bytes {
    /// What they are.
    pub(super) head: DataHead,
    /// The first of them.
    pub(super) kept: Vec<u8>,
}

impl Bytes {
    /// A path, if it is one.
    pub(super) fn text(&self) -> Option<String> {
        let is = self.head.kind == DataKind::Text;
        is.then(|| String::from_utf8_lossy(&self.kept).into_owned())
    }

    /// As one word for a line.
    pub(super) fn said(&self) -> String {
        let kept = &self.kept[..];
        match self.head.kind {
            _ if self.head.hidden => format!("<{} bytes>", self.head.total),
            DataKind::Written | DataKind::Read | DataKind::Text => {
                let more = if (kept.len() as u64) < self.head.total { "..." } else { "" };
                format!("\"{}\"{more}", escaped(kept))
            }
            DataKind::Address => address(kept).unwrap_or_else(|| raw(kept)),
            DataKind::Time => time(kept).unwrap_or_else(|| raw(kept)),
            DataKind::OpenHow => open_how(kept).unwrap_or_else(|| raw(kept)),
        }
    }
}

/// What is printable as it is, the rest as in C.
pub(super) fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn raw(bytes: &[u8]) -> String {
    let mut out = String::from("0x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn address(bytes: &[u8]) -> Option<String> {
    let (family, rest) = bytes.split_at_checked(2)?;
    let port = |rest: &[u8]| Some(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
    match u16::from_le_bytes(family.try_into().ok()?) {
        AF_INET => {
            let ip: [u8; 4] = rest.get(2..6)?.try_into().ok()?;
            Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port(rest)?)).to_string())
        }
        AF_INET6 => {
            let ip: [u8; 16] = rest.get(6..22)?.try_into().ok()?;
            let scope = u32::from_le_bytes(rest.get(22..26).unwrap_or(&[0; 4]).try_into().ok()?);
            let address = SocketAddrV6::new(Ipv6Addr::from(ip), port(rest)?, 0, scope);
            Some(SocketAddr::V6(address).to_string())
        }
        AF_UNIX => Some(match rest.split_first() {
            None => "unix:".into(),
            Some((0, name)) => format!("unix:@{}", escaped(name)),
            Some(_) => {
                let path = rest.split(|b| *b == 0).next().unwrap_or(rest);
                format!("unix:{}", escaped(path))
            }
        }),
        _ => None,
    }
}

fn time(bytes: &[u8]) -> Option<String> {
    let (seconds, ns) = (word(bytes, 0)?.cast_signed(), word(bytes, 8)?.cast_signed());
    if !(0..1_000_000_000).contains(&ns) {
        return Some(format!("{{{seconds}s,{ns}ns}}"));
    }
    let text = format!("{seconds}.{ns:09}");
    Some(format!("{}s", text.trim_end_matches('0').trim_end_matches('.')))
}

fn open_how(bytes: &[u8]) -> Option<String> {
    let (flags, mode, resolve) = (word(bytes, 0)?, word(bytes, 8)?, word(bytes, 16)?);
    Some(format!("{{flags={flags:#x},mode=0{mode:o},resolve={resolve:#x}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringer_engine::trace::buffer::Field;

    fn said(kind: DataKind, kept: &[u8], total: u64) -> String {
        let head = DataHead { request: 1, kind, field: Field::Addr, total, hidden: false };
        Bytes { head, kept: kept.to_vec() }.said()
    }

    #[test]
    fn data_is_shown_as_strings_are() {
        assert_eq!(said(DataKind::Read, b"GET /\r\n\"\x1b\xff", 9), r#""GET /\r\n\"\x1b\xff""#);
        assert_eq!(said(DataKind::Written, b"ab", 3), "\"ab\"...");
    }

    #[test]
    fn addresses_and_times_are_shown_by_name() {
        let inet = [2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(said(DataKind::Address, &inet, 16), "127.0.0.1:8080");
        let mut inet6 = [0; 28];
        inet6[0] = 10;
        inet6[3] = 80;
        inet6[23] = 1;
        assert_eq!(said(DataKind::Address, &inet6, 28), "[::1]:80");
        assert_eq!(said(DataKind::Address, b"\x01\0/run/x\0junk", 10), "unix:/run/x");
        assert_eq!(said(DataKind::Address, b"\x01\0\0name", 7), "unix:@name");
        assert_eq!(said(DataKind::Address, b"\x10\0\x01", 3), "0x100001");
        let mut ts = [0; 16];
        ts[0] = 1;
        ts[8..12].copy_from_slice(&500_000_000_u32.to_le_bytes());
        assert_eq!(said(DataKind::Time, &ts, 16), "1.5s");
        ts[15] = 0xff;
        assert!(said(DataKind::Time, &ts, 16).starts_with("{1s,-"));
        let mut how = [0; 24];
        (how[0], how[8]) = (2, 0o44);
        assert_eq!(said(DataKind::OpenHow, &how, 24), "{flags=0x2,mode=044,resolve=0x0}");
    }

    #[test]
    fn bytes_that_are_too_few_are_shown_raw() {
        for kind in [DataKind::Address, DataKind::Time, DataKind::OpenHow] {
            assert_eq!(said(kind, &[2], 1), "0x02");
            assert_eq!(said(kind, &[], 0), "0x");
        }
    }
}
