//! What waits on a ring go by: the region that holds their arguments, and the clock.
//!
//! ```text
//!  MEM_REGION (ring disabled, REG_WAIT_ARG)  -->  State::region: memory of the caller's or the ring's
//!  enter(EXT_ARG | EXT_ARG_REG, offset)      -->  struct io_uring_reg_wait there, each word read once
//!  CLOCK                                     -->  State::clock: what ABS_TIMER is a time of
//! ```
//!
//! Source: 6.18 register.c `io_register_mem_region`, `io_register_clock`, memmap.c `io_create_region`,
//! io_uring.c `io_get_ext_arg_reg`. What it does not do: hold the memory (the host does).

use super::wait::WaitArg;
use super::{Ring, State};
use crate::engine::Engine;
use crate::host::{Clock, Host, HostRing};
use core::sync::atomic::Ordering::Acquire;
use ringer_uapi::bytes::{all_zero, put_u64, u32_at, u64_at};
use ringer_uapi::flags::{Enter, Setup};
use ringer_uapi::{Errno, OFF_PARAM_REGION};

const PAGE: u64 = 4096;
/// `IORING_MEM_REGION_REG_WAIT_ARG`.
const REG_WAIT_ARG: u64 = 1;
/// `IORING_MEM_REGION_TYPE_USER`.
const TYPE_USER: u32 = 1;
/// `IORING_REG_WAIT_TS`.
const WAIT_TS: u32 = 1;
/// `sizeof(struct io_uring_reg_wait)` \[bytes\].
const REG_WAIT_SIZE: u64 = 64;

/// The region that is registered with a ring.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// Length \[bytes\].
    pub len: u64,
    /// Whether waits may find their arguments there.
    pub waits: bool,
}

/// `struct io_uring_region_desc`.
struct Desc {
    user: Option<u64>,
    size: u64,
}

impl Desc {
    /// Checks in the kernel's order (`io_create_region`).
    fn check(b: &[u8; 64]) -> Result<Self, Errno> {
        let (user, size, flags) = (u64_at(b, 0), u64_at(b, 8), u32_at(b, 16));
        let (id, offset) = (u32_at(b, 20), u64_at(b, 24));
        if !all_zero(b.get(32..).unwrap_or(&[])) || flags & !TYPE_USER != 0 {
            return Err(Errno::EINVAL);
        }
        if (flags & TYPE_USER != 0) != (user != 0) {
            return Err(Errno::EFAULT);
        }
        if size == 0 || offset != 0 || id != 0 {
            return Err(Errno::EINVAL);
        }
        if size / PAGE > i32::MAX as u64 {
            return Err(Errno::E2BIG);
        }
        if (user | size) % PAGE != 0 {
            return Err(Errno::EINVAL);
        }
        user.checked_add(size).ok_or(Errno::EOVERFLOW)?;
        Ok(Self { user: (user != 0).then_some(user), size })
    }
}

impl<H: Host> Engine<H> {
    /// `IORING_REGISTER_MEM_REGION`.
    ///
    /// # Errors
    /// `EBUSY` there is one; `EFAULT`; `EINVAL` reserved fields, unknown flags, arguments of waits on an
    /// enabled ring, sizes; `E2BIG`, `EOVERFLOW`, `ENOMEM`.
    pub(crate) fn register_mem_region(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        arg: u64,
    ) -> Result<u32, Errno> {
        if st.region.is_some() {
            return Err(Errno::EBUSY);
        }
        let mut reg = [0u8; 32];
        self.host().copy_in(arg, &mut reg)?;
        let (at, flags) = (u64_at(&reg, 0), u64_at(&reg, 8));
        let mut b = [0u8; 64];
        self.host().copy_in(at, &mut b)?;
        if !all_zero(reg.get(16..).unwrap_or(&[])) || flags & !REG_WAIT_ARG != 0 {
            return Err(Errno::EINVAL);
        }
        let waits = flags & REG_WAIT_ARG != 0;
        if waits && !ring.disabled.load(Acquire) {
            return Err(Errno::EINVAL);
        }
        let desc = Desc::check(&b)?;
        ring.mem.add_region(desc.user, desc.size)?;
        if desc.user.is_none() {
            put_u64(&mut b, 24, OFF_PARAM_REGION);
        }
        self.host().copy_out(at, &b).inspect_err(|_| ring.mem.drop_region())?;
        st.region = Some(Region { len: desc.size, waits });
        Ok(0)
    }

    /// `IORING_REGISTER_CLOCK`.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` reserved fields, another clock than the monotonic and the boot clock.
    pub(crate) fn register_clock(&self, st: &mut State<H>, arg: u64) -> Result<u32, Errno> {
        const MONOTONIC: u32 = 1;
        const BOOTTIME: u32 = 7;
        let mut b = [0u8; 16];
        self.host().copy_in(arg, &mut b)?;
        if !all_zero(b.get(4..).unwrap_or(&[])) {
            return Err(Errno::EINVAL);
        }
        st.clock = match u32_at(&b, 0) {
            MONOTONIC => Clock::Monotonic,
            BOOTTIME => Clock::Boottime,
            _ => return Err(Errno::EINVAL),
        };
        Ok(0)
    }

    /// The argument of a wait at an offset of the region.
    ///
    /// # Errors
    /// `EINVAL` another size, unknown flags, a ring that polls for I/O; `EFAULT` beyond the region, or
    /// not aligned.
    pub(super) fn registered_arg(
        &self,
        ring: &Ring<H>,
        flags: Enter,
        (at, size): (u64, u64),
    ) -> Result<WaitArg, Errno> {
        // io_uring.c `io_validate_ext_arg`: who polls reads no argument there.
        let polls = ring.setup.contains(Setup::IOPOLL) && ring.sqpoll.is_none();
        if polls || size != REG_WAIT_SIZE {
            return Err(Errno::EINVAL);
        }
        let mut w = [0u64; 5];
        {
            let st = ring.state.lock();
            let len = st.region.filter(|r| r.waits).map_or(0, |r| r.len);
            let fits = at.checked_add(REG_WAIT_SIZE).is_some_and(|end| end <= len);
            if at % 8 != 0 || !fits {
                return Err(Errno::EFAULT);
            }
            ring.mem.load_region(at, &mut w);
        }
        let [sec, nsec, min_and_flags, mask, mask_size] = w;
        let (min_usec, f) = (min_and_flags as u32, (min_and_flags >> 32) as u32);
        if f & !WAIT_TS != 0 {
            return Err(Errno::EINVAL);
        }
        let time = (sec.cast_signed(), nsec.cast_signed());
        let timed = f & WAIT_TS != 0;
        Ok(WaitArg {
            deadline: timed.then(|| self.deadline(ring, time, flags)),
            min_wait: (min_usec != 0).then_some(u64::from(min_usec) * 1000),
            mask_at: (mask, mask_size & u64::from(u32::MAX)),
        })
    }

    /// A wait's timespec as a deadline on CLOCK_MONOTONIC \[ns\]. Negative times have passed.
    pub(super) fn deadline(&self, ring: &Ring<H>, (sec, nsec): (i64, i64), flags: Enter) -> u64 {
        let ns = sec.saturating_mul(1_000_000_000).saturating_add(nsec).max(0).cast_unsigned();
        let now = |clock| self.host().now(clock);
        if !flags.contains(Enter::ABS_TIMER) {
            return now(Clock::Monotonic).saturating_add(ns);
        }
        let clock = ring.state.lock().clock;
        match clock {
            Clock::Monotonic => ns,
            // The other one first: what passes between the two makes it late, never early.
            other => ns.saturating_sub(now(other)).saturating_add(now(Clock::Monotonic)),
        }
    }
}
