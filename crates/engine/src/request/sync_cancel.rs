//! `IORING_REGISTER_SYNC_CANCEL` (since 6.0): a cancel that is a call, and waits until it is done.
//!
//! ```text
//!  look: cancels what matches --> nothing is left on a worker --> 0, the count, ENOENT
//!    ^         '-> EALREADY: a worker was interrupted: sleep, the lock let go --> ETIME, EINTR
//!    '---------------- a request left its worker: woken (State::cancellers) --'
//! ```
//!
//! Being no request it stands behind no drain. It counts as a call under way in the ring, so the ring's
//! end waits for it. Source: 6.18 io_uring/cancel.c `io_sync_cancel`. On a ring that defers the
//! kernel's call is not woken and sleeps until its limit, or a signal; here it returns. What it does not
//! do: look for requests (`cancel.rs`).

use super::cancel::{CancelKey, Reach, flags};
use crate::engine::Engine;
use crate::host::{Clock, Host};
use crate::ring::{Ring, State, StateGuard};
use crate::support::opflags::ASYNC_CANCEL_ACCEPTED;
use alloc::sync::Arc;
use ringer_uapi::Errno;
use ringer_uapi::bytes::{all_zero, i32_at, i64_at, u32_at, u64_at};

/// `sizeof(struct io_uring_sync_cancel_reg)` \[bytes\].
const SIZE: usize = 64;

/// The argument, checked.
struct Wanted<H: Host> {
    user_data: u64,
    fd: i32,
    opcode: u8,
    flags: u32,
    /// Seconds and nanoseconds to wait at most; `None`: for ever.
    limit: Option<(i64, i64)>,
    /// The file of a plain descriptor.
    file: Option<H::File>,
}

impl<H: Host> Wanted<H> {
    /// Reads the argument.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` unknown flags, padding; `EBADF` the key's descriptor.
    fn read(host: &H, arg: u64) -> Result<Self, Errno> {
        let mut b = [0u8; SIZE];
        host.copy_in(arg, &mut b)?;
        let f = u32_at(&b, 12);
        let (opcode, pad) = b.get(32..).and_then(<[u8]>::split_first).ok_or(Errno::EINVAL)?;
        if f & !ASYNC_CANCEL_ACCEPTED != 0 || !all_zero(pad) {
            return Err(Errno::EINVAL);
        }
        let limit = (i64_at(&b, 16), i64_at(&b, 24));
        let fd = i32_at(&b, 8);
        let plain = f & flags::FD != 0 && f & flags::FD_FIXED == 0;
        Ok(Self {
            user_data: u64_at(&b, 0),
            fd,
            opcode: *opcode,
            flags: f,
            limit: (limit != (-1, -1)).then_some(limit),
            file: if plain { Some(host.hold(fd)?) } else { None },
        })
    }

    /// The key as it is now: a slot may have another file after each sleep.
    fn key(&self, host: &H, st: &State<H>) -> Result<CancelKey<H>, Errno> {
        if self.flags & flags::FD_FIXED != 0 {
            return CancelKey::new(host, st, (self.user_data, self.fd, self.opcode, self.flags));
        }
        Ok(CancelKey::with_file((self.user_data, self.opcode, self.flags), self.file.clone()))
    }

    /// When the wait ends, on CLOCK_MONOTONIC \[ns\]. A time that no clock reaches wraps and has passed
    /// (`ktime_add_ns`).
    fn deadline(&self, host: &H) -> Option<i64> {
        let (sec, nsec) = self.limit?;
        let ns = sec.saturating_mul(1_000_000_000);
        let whole = ns == i64::MAX || ns == i64::MIN;
        let ns = if whole { ns } else { ns.wrapping_add(nsec) };
        Some(ns.wrapping_add(host.now(Clock::Monotonic).cast_signed()))
    }
}

impl<H: Host> Engine<H> {
    /// See the module's doc. The caller holds the ring's lock.
    ///
    /// # Errors
    /// `ENOENT` nothing matches; `ETIME`, `EINTR` while a worker still had a request; those of
    /// [`Wanted::read`]; `EBADF` an empty slot.
    pub(crate) fn sync_cancel(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut StateGuard<'_, H>,
        arg: u64,
    ) -> Result<u32, Errno> {
        let wanted = Wanted::read(self.host(), arg)?;
        let mut res = self.look(ring, st, &wanted);
        if res == Err(Errno::EALREADY) {
            st.cancellers += 1;
            res = self.outlast(ring, st, &wanted);
            st.cancellers -= 1;
        }
        // What was cancelled ends in task work, before the call returns.
        self.run_and_commit(ring, st, false);
        res
    }

    /// Cancels what matches now.
    fn look(&self, ring: &Ring<H>, st: &mut State<H>, wanted: &Wanted<H>) -> Result<u32, Errno> {
        let key = wanted.key(self.host(), st)?;
        // What the submission thread gave to workers, no other thread finds (`ctx->tctx_list`).
        let reach = if ring.sqpoll.is_some() { Reach::NoWorkers } else { Reach::Whole };
        let (res, targets) = self.pick_cancel(ring, st, &key, reach);
        for t in targets {
            self.cancel_one(st, t);
        }
        res.map(i32::cast_unsigned)
    }

    /// Looks again, each time a worker is done with something, until nothing is left.
    fn outlast(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut StateGuard<'_, H>,
        wanted: &Wanted<H>,
    ) -> Result<u32, Errno> {
        let deadline = wanted.deadline(self.host());
        let mut slept = Ok(());
        loop {
            match self.look(ring, st, wanted) {
                Err(Errno::EALREADY) => {}
                Ok(_) | Err(Errno::ENOENT) => return Ok(0),
                other => return other,
            }
            self.run_task_work(ring, st);
            self.commit(ring, st);
            if let Err(e @ Errno::EINTR) = slept {
                return Err(e);
            }
            let left = deadline.map(|at| at.saturating_sub(self.now_signed()));
            if left.is_some_and(|ns| ns <= 0) {
                return Err(Errno::ETIME);
            }
            slept = self.doze(ring, st, left.map(i64::cast_unsigned));
            if slept == Err(Errno::ETIMEDOUT) {
                return Err(Errno::ETIME);
            }
        }
    }

    fn now_signed(&self) -> i64 {
        self.host().now(Clock::Monotonic).cast_signed()
    }
}
