//! `IORING_OP_NOP` (since 5.1): completes at once.
//!
//! - Reads:   `op_flags`; `len` = result, with `INJECT_RESULT`
//! - Rejects: `EINVAL` for an unknown flag and for those not carried out yet
//!   (`FILE`, `FIXED_FILE`, `FIXED_BUFFER`, `CQE32`)
//! - Result:  0, or the injected one
//! - Source:  6.18 io_uring/nop.c `io_nop_prep`

use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx};
use crate::host::Host;
use crate::support::opflags::NOP_ACCEPTED;
use ringer_uapi::{Errno, Sqe};

const INJECT_RESULT: u32 = 1;

/// See the module's doc.
#[derive(Debug)]
pub struct Nop {
    res: i32,
}

impl Op for Nop {
    #[inline(always)]
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.op_flags & !NOP_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let inject = sqe.op_flags & INJECT_RESULT != 0;
        Ok(Self { res: if inject { sqe.len as i32 } else { 0 } })
    }

    #[inline(always)]
    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        debug_assert!(matches!(cx.how, Issue::Inline | Issue::Worker));
        match u16::try_from(self.res.unsigned_abs()) {
            Ok(e) if self.res < 0 => Outcome::Done(Err(Errno::from_raw(e)), 0),
            _ => Outcome::Done(Ok(self.res), 0),
        }
    }
}
