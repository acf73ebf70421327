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
use crate::request::cancel::{CancelKey, Reach, flags};
use crate::ring::{Ring, State};
use alloc::sync::Arc;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

const ASYNC_CANCEL: u8 = 14;

/// See the module's doc.
#[derive(Debug)]
pub struct AsyncCancel {
    user_data: u64,
    fd: i32,
    opcode: u8,
    flags: u32,
}

impl AsyncCancel {
    /// Whether a cancel with this key is one of its own targets. It holds the file it looks for.
    fn matches(&self, own: u64) -> bool {
        let by_data =
            self.flags & (flags::FD | flags::OP) == 0 || self.flags & flags::USERDATA != 0;
        let by_op = self.flags & flags::OP != 0;
        (!by_op || self.opcode == ASYNC_CANCEL) && (!by_data || self.user_data == own)
    }

    /// Whether the key is user_data and nothing else.
    fn goes_by_data(&self) -> bool {
        self.flags & (flags::FD | flags::OP | flags::ANY) == 0
    }
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
        let (mut res, targets) = self.pick_cancel(ring, st, &key, Reach::Whole);
        let on_worker = req.on_worker && ring.sqpoll.is_none();
        if res == Err(Errno::ENOENT) && on_worker && c.matches(req.user_data) {
            // cancel.c `__io_async_cancel`: among the running work it finds itself.
            res = Err(Errno::EALREADY);
        }
        if res == Err(Errno::EALREADY) && ring.sqpoll.is_some() {
            // It is interrupted, but the last search is among those that submit by calls
            // (`ctx->tctx_list`), and the thread is none of them.
            res = Err(Errno::ENOENT);
        }
        if (res == Err(Errno::ENOENT) || c.flags & flags::ALL != 0) && c.goes_by_data() {
            let all = c.flags & flags::ALL != 0;
            let elsewhere = self.cancel_among(st, c.user_data, all);
            if elsewhere > 0 {
                res = if all { res.map(|n| n + elsewhere as i32) } else { Ok(0) };
            }
        }
        // Its targets end in task work, after its own CQE and before what follows it in its chain.
        for t in targets {
            self.cancel_one(st, t);
        }
        self.complete(ring, st, req, res, 0);
    }
}
