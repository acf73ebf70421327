//! `IORING_OP_FUTEX_WAIT`, `FUTEX_WAKE`, `FUTEX_WAITV` (since 6.7): sleep on futexes, and wake.
//!
//! - Reads:   wait, wake: `addr` = word; `off` = value it holds, or how many to wake; `addr3` = mask;
//!   `fd` = `FUTEX2_*` flags. waitv: `addr` = array of `struct futex_waitv`, `len` of them
//! - Rejects: `EINVAL` if `len op_flags buf_index file_index` is set (waitv: `fd off op_flags buf_index
//!   file_index addr3`), for other flags and sizes than 32 bits, a value or a mask beyond that, a count
//!   of 0 or above 128, reserved fields; bad array `EFAULT`
//! - Result:  wait: 0. waitv: which futex. wake: how many it woke
//! - Errors:  `EINVAL` no mask, not aligned; `EFAULT`; wait, waitv: `EAGAIN` another value;
//!   `ECANCELED`; `ENOMEM`, `ENOSYS` where the host has no thread or no futex_waitv(2)
//! - Blocks:  waits do, in a waiter of their own (`request::waiter`)
//! - Source:  6.18 io_uring/futex.c `io_futex_prep`, `io_futexv_prep`, `io_futex_wait`,
//!   `io_futexv_wait`, `io_futex_wake`; kernel/futex/syscalls.c `futex_parse_waitv`

use super::opdef::{Cmd, IssueCx, Op, Outcome, PrepCx};
use crate::engine::Engine;
use crate::host::{Futex, Host, Iovec};
use crate::opcode::opdef::access_ok;
use crate::request::Req;
use crate::request::waiter::Call;
use crate::ring::{Ring, State};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_uapi::bytes::{u32_at, u64_at};
use ringer_uapi::{Errno, Sqe};

/// `FUTEX2_SIZE_U32`.
const SIZE_U32: u32 = 2;
/// `FUTEX2_SIZE_MASK`.
const SIZE_MASK: u32 = 3;
/// `FUTEX2_NUMA`: the word is followed by the number of its node.
const NUMA: u32 = 4;
/// `FUTEX2_MPOL`: its node is what the memory's policy says.
const MPOL: u32 = 8;
/// `FUTEX2_PRIVATE`.
const PRIVATE: u32 = 128;
/// `FUTEX2_VALID_MASK`.
const VALID: u32 = SIZE_MASK | NUMA | MPOL | PRIVATE;
/// `FUTEX_WAITV_MAX`.
const WAITV_MAX: u32 = 128;
/// `sizeof(struct futex_waitv)` \[bytes\].
const WAITV_SIZE: usize = 24;
/// `FUTEX_BITSET_MATCH_ANY`.
const ANY: u32 = u32::MAX;

/// A value or a mask of a 32-bit futex.
fn narrow(v: u64) -> Result<u32, Errno> {
    u32::try_from(v).map_err(|_| Errno::EINVAL)
}

/// Checks the flags of a futex.
fn check_flags(flags: u32) -> Result<u32, Errno> {
    if flags & !VALID != 0 || flags & SIZE_MASK != SIZE_U32 {
        Err(Errno::EINVAL)
    } else {
        Ok(flags)
    }
}

/// A word and a mask.
fn prep_one(sqe: &Sqe) -> Result<(Futex, u32), Errno> {
    let Sqe { len: 0, op_flags: 0, buf_index: 0, file_index: 0, addr, off, addr3, fd, .. } = *sqe
    else {
        return Err(Errno::EINVAL);
    };
    let flags = check_flags(fd.cast_unsigned())?;
    Ok((Futex { addr, flags, val: narrow(off)? }, narrow(addr3)?))
}

/// What makes an address one of a futex, as far as can be told without the kernel
/// (kernel/futex/core.c `get_futex_key`).
fn check_address(f: &Futex) -> Result<(), Errno> {
    let size = if f.flags & NUMA != 0 { 8 } else { 4 };
    if !f.addr.is_multiple_of(size) {
        return Err(Errno::EINVAL);
    }
    access_ok(Iovec { base: f.addr, len: size }).map(drop)
}

/// Whether these can be waited for now: addresses first, then values
/// (kernel/futex/waitwake.c `futex_wait_multiple_setup`). Of one with a node only the host knows
/// whether that is one, which comes before its value: it is looked at when it is waited for.
fn look<H: Host>(host: &H, of: &[Futex]) -> Result<(), Errno> {
    of.iter().try_for_each(check_address)?;
    of.iter().try_for_each(|f| {
        let mut b = [0; 4];
        host.copy_in(f.addr, &mut b)?;
        if f.flags & NUMA != 0 || u32::from_ne_bytes(b) == f.val {
            Ok(())
        } else {
            Err(Errno::EAGAIN)
        }
    })
}

/// `IORING_OP_FUTEX_WAIT`.
#[derive(Debug)]
pub struct FutexWait {
    futex: Futex,
    mask: u32,
}

impl Op for FutexWait {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        prep_one(sqe).map(|(futex, mask)| Self { futex, mask })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

/// `IORING_OP_FUTEX_WAKE`.
#[derive(Debug)]
pub struct FutexWake {
    futex: Futex,
    mask: u32,
}

impl Op for FutexWake {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        prep_one(sqe).map(|(futex, mask)| Self { futex, mask })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.futex_wake(self.futex, self.mask).map(u32::cast_signed).into()
    }
}

/// `IORING_OP_FUTEX_WAITV`.
#[derive(Debug)]
pub struct FutexWaitv {
    of: Box<[Futex]>,
}

impl Op for FutexWaitv {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe {
            fd: 0,
            buf_index: 0,
            file_index: 0,
            off: 0,
            op_flags: 0,
            addr3: 0,
            addr,
            len: n @ 1..=WAITV_MAX,
            ..
        } = *sqe
        else {
            return Err(Errno::EINVAL);
        };
        let of: Result<Vec<Futex>, Errno> = (0..u64::from(n))
            .map(|i| read_waiter(cx.host, addr.wrapping_add(i * WAITV_SIZE as u64)))
            .collect();
        Ok(Self { of: of?.into_boxed_slice() })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

/// Reads a `struct futex_waitv`: value, address, flags, nothing.
fn read_waiter<H: Host>(host: &H, at: u64) -> Result<Futex, Errno> {
    let mut b = [0; WAITV_SIZE];
    host.copy_in(at, &mut b)?;
    if u32_at(&b, 20) != 0 {
        return Err(Errno::EINVAL);
    }
    let flags = check_flags(u32_at(&b, 16))?;
    Ok(Futex { addr: u64_at(&b, 8), flags, val: narrow(u64_at(&b, 0))? })
}

impl<H: Host> Engine<H> {
    pub(crate) fn issue_futex_wait(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let (of, mask) = match &req.cmd {
            Some(Cmd::FutexWait(w)) if w.mask == 0 => {
                return self.complete(ring, st, req, Err(Errno::EINVAL), 0);
            }
            Some(Cmd::FutexWait(w)) => (Box::from([w.futex]), w.mask),
            Some(Cmd::FutexWaitv(w)) => (w.of.clone(), ANY),
            _ => return,
        };
        if let Err(e) = look(self.host(), &of) {
            return self.complete(ring, st, req, Err(e), 0);
        }
        self.wait_for(ring, st, req, Call::futexes(of, mask));
    }
}
