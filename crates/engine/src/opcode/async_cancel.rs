//! `IORING_OP_ASYNC_CANCEL` (since 5.5): cancel requests by user_data, file or opcode.
//!
//! - Reads:   `addr` = user_data; `fd` = descriptor or slot; `len` = opcode; `op_flags` =
//!   `IORING_ASYNC_CANCEL_*`
//! - Rejects: `EINVAL` if `off` or `file_index` is set, for unknown flags, for FD or OP with ANY
//! - Result:  0, or the number cancelled with ALL or ANY
//! - Errors:  `ENOENT` none; `EALREADY` running in a worker; `EBADF` key descriptor
//! - Source:  6.18 io_uring/cancel.c `io_async_cancel_prep`, `__io_async_cancel`

use super::opdef::{Cmd, IssueCx, Op, Outcome, PrepCx};
use crate::engine::Engine;
use crate::host::Host;
use crate::request::Req;
use crate::request::cancel::{CancelKey, flags};
use crate::ring::{Ring, State};
use alloc::sync::Arc;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

/// See the module's doc.
#[derive(Debug)]
pub struct AsyncCancel {
    user_data: u64,
    fd: i32,
    opcode: u8,
    flags: u32,
}

impl Op for AsyncCancel {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if cx.flags.contains(SqeFlags::BUFFER_SELECT) || sqe.off != 0 || sqe.file_index != 0 {
            return Err(Errno::EINVAL);
        }
        let mut f = sqe.op_flags;
        flags::check(f)?;
        if cx.flags.contains(SqeFlags::FIXED_FILE) {
            f |= flags::FD_FIXED;
        }
        Ok(Self { user_data: sqe.addr, fd: sqe.fd, opcode: sqe.len as u8, flags: f })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

impl<H: Host> Engine<H> {
    pub(crate) fn issue_async_cancel(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let Some(Cmd::AsyncCancel(c)) = &req.cmd else { return };
        let key = match CancelKey::new(self.host(), st, (c.user_data, c.fd, c.opcode, c.flags)) {
            Ok(k) => k,
            Err(e) => return self.complete(ring, st, req, Err(e), 0),
        };
        let (res, targets) = self.pick_cancel(st, &key);
        // The cancel's own CQE comes first, then its targets'.
        self.complete(ring, st, req, res, 0);
        for t in targets {
            self.cancel_one(st, t);
        }
    }
}
