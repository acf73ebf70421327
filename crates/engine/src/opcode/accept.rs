//! `IORING_OP_ACCEPT` (since 5.5; direct since 5.15): take a connection.
//!
//! - Reads:   `fd`; `addr`, `off` = address and its length (user pointers, or 0); `op_flags` =
//!   `SOCK_CLOEXEC | SOCK_NONBLOCK`; `ioprio` = `IORING_ACCEPT_*`; `file_index`
//! - Rejects: `EINVAL` if `len` or `buf_index` is set, for unknown flags, for direct with
//!   SOCK_CLOEXEC, for multishot into one slot
//! - Result:  descriptor; 0 or the slot for direct ones; multishot: with MORE for each connection, until
//!   an error
//! - Errors:  accept4(2); `EAGAIN` with `IORING_ACCEPT_DONTWAIT`
//! - Blocks:  a listener without O_NONBLOCK is accepted from in a worker once it is ready, because
//!   another process may take the connection in between
//! - Source:  6.18 io_uring/net.c `io_accept_prep`, `io_accept`

use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx};
use super::openclose::direct_slot;
use super::rw::is_nonblocking;
use crate::host::Host;
use crate::support::opflags::ACCEPT_ACCEPTED;
use ringer_uapi::flags::CqeFlags;
use ringer_uapi::{Errno, FILE_INDEX_ALLOC, Sqe};

const SOCK_CLOEXEC: u32 = 0o2_000_000;
const SOCK_NONBLOCK: u32 = 0o4000;
const MULTISHOT: u16 = 1;
const DONTWAIT: u16 = 2;
const POLL_FIRST: u16 = 4;
const POLLIN: u32 = 1;

/// See the module's doc.
#[derive(Debug)]
pub struct Accept {
    addr: u64,
    addrlen: u64,
    flags: u32,
    multishot: bool,
    dont_wait: bool,
    poll_first: bool,
    never_polls: bool,
    slot: Option<u32>,
}

impl Op for Accept {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.len != 0 || sqe.buf_index != 0 || sqe.ioprio & !ACCEPT_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let slot = direct_slot(sqe.file_index);
        let multishot = sqe.ioprio & MULTISHOT != 0;
        let one_slot = slot.is_some_and(|slot| slot != FILE_INDEX_ALLOC);
        if slot.is_some() && sqe.op_flags & SOCK_CLOEXEC != 0 || multishot && one_slot {
            return Err(Errno::EINVAL);
        }
        if sqe.op_flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            addr: sqe.addr,
            addrlen: sqe.off,
            flags: sqe.op_flags,
            multishot,
            dont_wait: sqe.ioprio & DONTWAIT != 0,
            poll_first: sqe.ioprio & POLL_FIRST != 0,
            never_polls: false,
            slot,
        })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        if cx.how == Issue::Inline {
            if core::mem::take(&mut self.poll_first)
                && let Some(first) = cx.poll_first(POLLIN, self.never_polls)
            {
                return first;
            }
            match cx.host.listening(cx.fd) {
                Ok(true) => {}
                // net/core/sock.c `sock_no_accept`, inet_connection_sock.c `inet_csk_accept`.
                Ok(false) if !cx.host.is_stream(cx.fd) => {
                    return Outcome::Done(Err(Errno::EOPNOTSUPP), 0);
                }
                Ok(false) => return Outcome::Done(Err(Errno::EINVAL), 0),
                Err(e) => return Outcome::Done(Err(e), 0),
            }
            if cx.host.poll_now(cx.fd, POLLIN) == 0 {
                return self.not_ready();
            }
            if !is_nonblocking(cx.host, cx.fd) {
                return Outcome::Punt;
            }
        }
        match cx.host.accept(cx.fd, self.addr, self.addrlen, self.flags) {
            Ok(fd) => {
                let left = cx.host.left_to_accept(cx.fd);
                let cflags = if left { CqeFlags::SOCK_NONEMPTY.bits() } else { 0 };
                match self.slot {
                    Some(slot) => Outcome::Direct { fd, slot, cflags },
                    None if self.multishot => Outcome::More(fd, cflags),
                    None => Outcome::Done(Ok(fd), cflags),
                }
            }
            Err(Errno::EAGAIN) => self.not_ready(),
            Err(e) => Outcome::Done(Err(e), 0),
        }
    }
}

impl Accept {
    /// Whether it goes on after a connection.
    pub(crate) fn is_multishot(&self) -> bool {
        self.multishot
    }

    /// Whether the connection goes into a slot.
    pub(crate) fn is_direct(&self) -> bool {
        self.slot.is_some()
    }

    pub(crate) fn never_poll(&mut self) {
        self.never_polls = true;
    }

    fn not_ready(&self) -> Outcome {
        if self.dont_wait { Outcome::Done(Err(Errno::EAGAIN), 0) } else { Outcome::Again }
    }
}
