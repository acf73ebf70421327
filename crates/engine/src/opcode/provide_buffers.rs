//! `IORING_OP_PROVIDE_BUFFERS`, `REMOVE_BUFFERS` (since 5.7): lists of buffers for requests to select of.
//!
//! - Reads:   `buf_index` = group; `fd` = number of buffers; provide: `addr`, `len` = the first buffer
//!   \[bytes\], the others lie behind it; `off` = its id
//! - Rejects: `EINVAL` if `op_flags` or `file_index` is set; remove: `EINVAL` for `addr`, `len`, `off`,
//!   a number of 0 or over 65536; provide: such a number `E2BIG`, a length of 0 `EINVAL`, ranges that
//!   wrap `EOVERFLOW`, beyond user space `EFAULT`, an id over 65535 `E2BIG`, one of the last ids over it
//!   `EINVAL`
//! - Result:  provide: 0; remove: how many there were
//! - Errors:  a ring's group `EINVAL`; provide: a list that is full `EOVERFLOW`, `ENOMEM`; remove: an
//!   unknown group `ENOENT`
//! - Blocks:  never
//! - Source:  6.18 io_uring/kbuf.c `io_provide_buffers_prep`, `io_remove_buffers_prep`,
//!   `io_manage_buffers_legacy`

use super::opdef::{Cmd, IssueCx, Op, Outcome, PrepCx, access_ok};
use crate::engine::Engine;
use crate::host::{Host, Iovec};
use crate::request::Req;
use crate::resource::kbuf::Listed;
use crate::ring::{Ring, State};
use alloc::sync::Arc;
use ringer_uapi::{Errno, Sqe};

/// kbuf.c `MAX_BIDS_PER_BGID`.
const BUFFERS_MAX: u32 = 1 << 16;
/// `MAX_RW_COUNT` (4 KiB pages).
const MAX_RW_COUNT: u32 = 0x7fff_f000;

/// `IORING_OP_PROVIDE_BUFFERS`.
#[derive(Debug)]
pub struct ProvideBuffers {
    addr: u64,
    len: u32,
    nr: u32,
    id: u16,
}

/// `IORING_OP_REMOVE_BUFFERS`.
#[derive(Debug)]
pub struct RemoveBuffers {
    nr: u32,
}

/// The number of buffers; one that is negative is as large as can be.
fn number(sqe: &Sqe) -> Option<u32> {
    u32::try_from(sqe.fd).ok().filter(|n| (1..=BUFFERS_MAX).contains(n))
}

impl Op for ProvideBuffers {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.op_flags != 0 || sqe.file_index != 0 {
            return Err(Errno::EINVAL);
        }
        let nr = number(sqe).ok_or(Errno::E2BIG)?;
        if sqe.len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = u64::from(sqe.len) * u64::from(nr);
        sqe.addr.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        access_ok(Iovec { base: sqe.addr, len })?;
        let id = u16::try_from(sqe.off).map_err(|_| Errno::E2BIG)?;
        if u32::from(id) + nr > BUFFERS_MAX {
            return Err(Errno::EINVAL);
        }
        Ok(Self { addr: sqe.addr, len: sqe.len, nr, id })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

impl Op for RemoveBuffers {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.op_flags != 0 || sqe.addr != 0 || sqe.len != 0 || sqe.off != 0 || sqe.file_index != 0
        {
            return Err(Errno::EINVAL);
        }
        Ok(Self { nr: number(sqe).ok_or(Errno::EINVAL)? })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

impl<H: Host> Engine<H> {
    pub(crate) fn issue_provided(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let group = req.buf_group;
        let res = match &req.cmd {
            Some(Cmd::ProvideBuffers(p)) => {
                let first = Listed { addr: p.addr, len: p.len.min(MAX_RW_COUNT), id: p.id };
                st.kbufs.provide(group, first, (p.nr, p.len)).map(|()| 0)
            }
            Some(Cmd::RemoveBuffers(r)) => st.kbufs.remove(group, r.nr).map(|n| n as i32),
            _ => Err(Errno::EINVAL),
        };
        self.complete(ring, st, req, res, 0);
    }
}
