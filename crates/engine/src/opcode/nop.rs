//! `IORING_OP_NOP` (since 5.1): completes at once.
//!
//! - Reads:   `op_flags`; `len` = result, with `INJECT_RESULT`; `off` and `addr` = the second half of
//!   its completion, with `CQE32`
//! - Rejects: `EINVAL` for an unknown flag and for those not carried out yet
//!   (`FILE`, `FIXED_FILE`, `FIXED_BUFFER`), for `CQE32` on a ring of narrow completions
//! - Result:  0, or the injected one
//! - Source:  6.18 io_uring/nop.c `io_nop_prep`

use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx};
use crate::host::Host;
use crate::support::opflags::NOP_ACCEPTED;
use ringer_uapi::flags::Setup;
use ringer_uapi::{Errno, Sqe};

const INJECT_RESULT: u32 = 1;
const CQE32: u32 = 32;

/// See the module's doc.
#[derive(Debug)]
pub struct Nop {
    res: i32,
    wide: Option<[u64; 2]>,
}

impl Nop {
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
        Ok(Self { res, wide: wide.then_some([sqe.off, sqe.addr]) })
    }

    #[inline(always)]
    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        debug_assert!(matches!(cx.how, Issue::Inline | Issue::Worker));
        let res = match u16::try_from(self.res.unsigned_abs()) {
            Ok(e) if self.res < 0 => Err(Errno::from_raw(e)),
            _ => Ok(self.res),
        };
        if self.wide.is_some() { Outcome::Wide(res) } else { Outcome::Done(res, 0) }
    }
}
