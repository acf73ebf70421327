//! `IORING_OP_NOP` (since 5.1): completes at once.
//!
//! - Reads:   `op_flags`; `len` = result, with `INJECT_RESULT`; `fd` = a descriptor, with `FILE`, or a
//!   slot, with `FIXED_FILE` or IOSQE_FIXED_FILE besides; `buf_index`, with `FIXED_BUFFER`; `off` and `addr` = the second
//!   half of its completion, with `CQE32`
//! - Rejects: `EINVAL` for an unknown flag, for `CQE32` on a ring of narrow completions
//! - Result:  0, or the injected one
//! - Errors:  no such file `EBADF`; no such buffer `EFAULT`
//! - Source:  6.18 io_uring/nop.c `io_nop_prep`, `io_nop`

use super::opdef::{IssueCx, O_PATH, Op, Outcome, PrepCx};
use crate::engine::Engine;
use crate::host::Host;
use crate::opcode::Cmd;
use crate::request::Req;
use crate::ring::{Ring, State};
use crate::support::opflags::NOP_ACCEPTED;
use alloc::sync::Arc;
use ringer_uapi::flags::{Setup, SqeFlags};
use ringer_uapi::{Errno, Sqe};

const INJECT_RESULT: u32 = 1;
const FILE: u32 = 2;
const FIXED_FILE: u32 = 4;
const FIXED_BUFFER: u32 = 8;
const CQE32: u32 = 32;

/// Whether it looks at the ring's tables, or at the program's.
#[inline(always)]
pub(crate) fn looks_up(sqe: &Sqe) -> bool {
    sqe.opcode == 0 && sqe.op_flags & (FILE | FIXED_BUFFER) != 0
}

/// See the module's doc.
#[derive(Debug)]
pub struct Nop {
    res: i32,
    wide: Option<[u64; 2]>,
    flags: u32,
    buf_index: u16,
}

impl Nop {
    /// Whether it looks at the ring's tables, or at the program's.
    pub(crate) fn looks_up(&self) -> bool {
        self.flags & (FILE | FIXED_BUFFER) != 0
    }

    /// The second half of its completion, if it is to have one.
    pub(crate) fn second_half(&self) -> Option<[u64; 2]> {
        self.wide
    }
}

impl Op for Nop {
    #[inline(always)]
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.op_flags & !NOP_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let wide = sqe.op_flags & CQE32 != 0;
        if wide && !cx.setup.intersects(Setup::CQE32 | Setup::CQE_MIXED) {
            return Err(Errno::EINVAL);
        }
        let inject = sqe.op_flags & INJECT_RESULT != 0;
        let res = if inject { sqe.len as i32 } else { 0 };
        let wide = wide.then_some([sqe.off, sqe.addr]);
        Ok(Self { res, wide, flags: sqe.op_flags, buf_index: sqe.buf_index })
    }

    #[inline(always)]
    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        self.outcome(Ok(()))
    }
}

impl Nop {
    /// What it completes with, but for what it did not find.
    #[inline(always)]
    fn outcome(&self, found: Result<(), Errno>) -> Outcome {
        let res = match u16::try_from(self.res.unsigned_abs()) {
            Ok(e) if self.res < 0 => Err(Errno::from_raw(e)),
            _ => Ok(self.res),
        };
        let res = found.and(res);
        if self.wide.is_some() { Outcome::Wide(res) } else { Outcome::Done(res, 0) }
    }
}

impl<H: Host> Engine<H> {
    /// A NOP that looks something up.
    pub(crate) fn issue_nop(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let Some(Cmd::Nop(nop)) = &req.cmd else { return };
        let slot = nop.flags & FIXED_FILE != 0 || req.flags.contains(SqeFlags::FIXED_FILE);
        let file = match (nop.flags & FILE != 0, slot) {
            (true, false) => {
                self.host().status_flags(req.fd).is_ok_and(|flags| flags & O_PATH == 0)
            }
            (true, true) => st.files.as_ref().is_some_and(|t| t.get(req.fd).is_some()),
            (false, _) => true,
        };
        let buffer = || st.bufs.as_ref().is_some_and(|t| t.get(nop.buf_index).is_some());
        let outcome = nop.outcome(match nop.flags & FIXED_BUFFER {
            _ if !file => Err(Errno::EBADF),
            0 => Ok(()),
            _ => buffer().then_some(()).ok_or(Errno::EFAULT),
        });
        self.settle(ring, st, req, outcome);
    }
}
