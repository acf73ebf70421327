//! `IORING_OP_CONNECT` (since 5.5): connect a socket.
//!
//! - Reads:   `fd`; `addr` = address; `off` = its length \[bytes\]
//! - Rejects: `EINVAL` if `len buf_index op_flags file_index` is set, or for a length over 128;
//!   bad address `EFAULT`
//! - Result:  0
//! - Errors:  connect(2)
//! - Blocks:  a socket without O_NONBLOCK is connected in a worker (its flag is the program's, and
//!   shared with whoever shares the file); with it, the request waits for writability
//! - Source:  6.18 io_uring/net.c `io_connect_prep`, `io_connect`

use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx};
use super::rw::is_nonblocking;
use crate::host::{Host, SockAddr};
use alloc::boxed::Box;
use ringer_uapi::{Errno, Sqe};

const POLLOUT: u32 = 4;

const AF_UNIX: u16 = 1;

/// See the module's doc.
#[derive(Debug)]
pub struct Connect {
    to: Box<SockAddr>,
    in_progress: bool,
}

/// net/socket.c `move_addr_to_kernel`.
pub(crate) fn copy_addr<H: Host>(host: &H, addr: u64, len: u64) -> Result<SockAddr, Errno> {
    let mut a = SockAddr { bytes: [0; 128], len: len as u32 };
    let Some(to) = usize::try_from(len).ok().and_then(|n| a.bytes.get_mut(..n)) else {
        return Err(Errno::EINVAL);
    };
    if !to.is_empty() {
        host.copy_in(addr, to)?;
    }
    Ok(a)
}

impl Connect {
    /// Whether the kernel waits by poll for the connection of a blocking socket, too. Only a unix
    /// listener without room makes it block a worker.
    pub(crate) fn polls(&self) -> bool {
        u16::from_ne_bytes([self.to.bytes[0], self.to.bytes[1]]) != AF_UNIX
    }
}

impl Op for Connect {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.len != 0 || sqe.buf_index != 0 || sqe.op_flags != 0 || sqe.file_index != 0 {
            return Err(Errno::EINVAL);
        }
        let to = Box::new(copy_addr(cx.host, sqe.addr, sqe.off & 0xffff_ffff)?);
        Ok(Self { to, in_progress: false })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        if self.in_progress {
            if cx.host.poll_now(cx.fd, POLLOUT) == 0 {
                return Outcome::Again;
            }
            return cx.host.socket_error(cx.fd).into();
        }
        if cx.how == Issue::Inline && !is_nonblocking(cx.host, cx.fd) {
            // What is no socket, or no descriptor at all, says so without blocking.
            return match cx.host.listening(cx.fd) {
                Err(e) => Outcome::Done(Err(e), 0),
                Ok(_) => Outcome::Punt,
            };
        }
        match cx.host.connect(cx.fd, &self.to) {
            Err(Errno::EINPROGRESS) => {
                self.in_progress = true;
                Outcome::Again
            }
            // EAGAIN as well: a unix listener's backlog is full. Such a socket is writable all the time,
            // so the kernel polls in vain, gives up (poll.c APOLL_MAX_RETRY), and tells it.
            r => r.into(),
        }
    }
}
