//! `IORING_OP_SOCKET` (since 5.19), `BIND`, `LISTEN` (since 6.11): make a socket, name it, let it listen.
//!
//! - Reads:   socket: `fd` = family, `off` = type and flags, `len` = protocol, `file_index`; bind: `fd`,
//!   `addr`, `off` = address and its length \[bytes\]; listen: `fd`, `len` = backlog
//! - Rejects: `EINVAL` for set fields an operation does not use; socket: for flags other than
//!   `SOCK_CLOEXEC`, `SOCK_NONBLOCK` and for direct with SOCK_CLOEXEC; bind: for a length over 128; bad
//!   address `EFAULT`
//! - Result:  descriptor, 0 or the slot for direct ones; 0
//! - Errors:  socket(2), bind(2), listen(2); see `resource::filetable` for slots
//! - Blocks:  no, but for a bind that makes a file (AF_UNIX), which goes to a worker
//! - Source:  6.18 io_uring/net.c `io_socket_prep`, `io_bind_prep`, `io_listen_prep`

use super::connect::copy_addr;
use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx};
use super::openclose::direct_slot;
use crate::host::{Host, SockAddr};
use alloc::boxed::Box;
use ringer_uapi::{Errno, Sqe};

const SOCK_TYPE_MASK: u32 = 0xf;
const SOCK_CLOEXEC: u32 = 0o2_000_000;
const SOCK_NONBLOCK: u32 = 0o4000;
const AF_UNIX: u16 = 1;

/// `IORING_OP_SOCKET`.
#[derive(Debug)]
pub struct Socket {
    family: i32,
    kind: u32,
    protocol: i32,
    slot: Option<u32>,
    /// It is there, whatever becomes of the slot.
    made: bool,
}

impl Socket {
    /// Whether the socket is there: that it finds no slot does not fail it (net.c `io_socket`).
    pub(crate) fn was_made(&self) -> bool {
        self.made
    }
}

impl Op for Socket {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { addr: 0, op_flags: 0, buf_index: 0, fd, off, len, file_index, .. } = *sqe else {
            return Err(Errno::EINVAL);
        };
        let (kind, slot) = (off as u32, direct_slot(file_index));
        let flags = kind & !SOCK_TYPE_MASK;
        let allowed = if slot.is_some() { SOCK_NONBLOCK } else { SOCK_CLOEXEC | SOCK_NONBLOCK };
        if flags & !allowed != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { family: fd, kind, protocol: len as i32, slot, made: false })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        match (cx.host.socket(self.family, self.kind, self.protocol), self.slot) {
            (Ok(fd), Some(slot)) => {
                self.made = true;
                Outcome::Direct { fd, slot, cflags: 0 }
            }
            (made, _) => made.into(),
        }
    }
}

/// `IORING_OP_BIND`.
#[derive(Debug)]
pub struct Bind {
    to: Box<SockAddr>,
}

impl Bind {
    /// Whether it makes a file, so that it begins on a worker (net.c `io_bind_file_create`).
    pub(crate) fn blocks(&self) -> bool {
        let [a, b, first, ..] = self.to.bytes;
        self.to.len > 2 && u16::from_ne_bytes([a, b]) == AF_UNIX && first != 0
    }
}

impl Op for Bind {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { len: 0, buf_index: 0, op_flags: 0, file_index: 0, addr, off, .. } = *sqe else {
            return Err(Errno::EINVAL);
        };
        Ok(Self { to: Box::new(copy_addr(cx.host, addr, off & 0xffff_ffff)?) })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        if cx.how == Issue::Inline && self.blocks() {
            return Outcome::Punt;
        }
        cx.host.bind(cx.fd, &self.to).into()
    }
}

/// `IORING_OP_LISTEN`.
#[derive(Debug)]
pub struct Listen {
    backlog: i32,
}

impl Op for Listen {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { addr: 0, off: 0, buf_index: 0, op_flags: 0, file_index: 0, len, .. } = *sqe
        else {
            return Err(Errno::EINVAL);
        };
        Ok(Self { backlog: len as i32 })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.listen(cx.fd, self.backlog).into()
    }
}
