//! `IORING_OP_FADVISE`, `MADVISE` (since 5.6): say how a range of a file or of memory will be used.
//!
//! - Reads:   file: `fd`, `off`, `addr` = length \[bytes\]; memory: `addr`, `off` = length \[bytes\];
//!   of both `len` = length where that is 0, `op_flags` = advice
//! - Rejects: `EINVAL` if `buf_index` or `file_index` is set
//! - Result:  0
//! - Errors:  posix_fadvise(2): `EINVAL` bad advice, `ESPIPE`; madvise(2): `EINVAL` unaligned or bad
//!   advice, `ENOMEM` a hole
//! - Blocks:  yes, so they go to a worker, but for a file's `NORMAL`, `RANDOM` and `SEQUENTIAL`, which
//!   only note something; an error of a file's fails the chain, of memory not
//! - Source:  6.18 io_uring/advise.c `io_fadvise_prep`, `io_madvise_prep`

use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx};
use crate::host::Host;
use ringer_uapi::{Errno, Sqe};

/// `POSIX_FADV_NORMAL`, `RANDOM`, `SEQUENTIAL` are the first ones.
const SEQUENTIAL: u32 = 2;

/// The length: of 64 bits, or the short one.
fn length(long: u64, short: u32) -> u64 {
    if long == 0 { short.into() } else { long }
}

/// `IORING_OP_FADVISE`.
#[derive(Debug)]
pub struct Fadvise {
    off: u64,
    len: u64,
    advice: u32,
}

impl Fadvise {
    /// Whether it may block, so that it begins on a worker (advise.c `io_fadvise_force_async`).
    pub(crate) fn blocks(&self) -> bool {
        self.advice > SEQUENTIAL
    }
}

impl Op for Fadvise {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { buf_index: 0, file_index: 0, off, addr, len, op_flags, .. } = *sqe else {
            return Err(Errno::EINVAL);
        };
        Ok(Self { off, len: length(addr, len), advice: op_flags })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        if cx.how == Issue::Inline && self.blocks() {
            return Outcome::Punt;
        }
        cx.host.fadvise(cx.fd, self.off, self.len, self.advice).into()
    }
}

/// `IORING_OP_MADVISE`.
#[derive(Debug)]
pub struct Madvise {
    addr: u64,
    len: u64,
    advice: u32,
}

impl Op for Madvise {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { buf_index: 0, file_index: 0, off, addr, len, op_flags, .. } = *sqe else {
            return Err(Errno::EINVAL);
        };
        Ok(Self { addr, len: length(off, len), advice: op_flags })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.madvise(self.addr, self.len, self.advice).into()
    }
}
