//! `io_uring_enter(2)`: submit, then wait.
//!
//! Order of checks and what is returned: 6.18 io_uring.c `SYSCALL_DEFINE6(io_uring_enter)`,
//! `io_get_ext_arg`.

use super::wait::WaitArg;
use super::{Ring, State};
use crate::engine::Engine;
use crate::host::{Host, SigMask};
use crate::request::start::{owner_came, tell_owner};
use crate::rings::Visit;
use crate::stats;
use crate::support::rings::ENTER_ACCEPTED;
use crate::support::{Place, refusal};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use ringer_uapi::Errno;
use ringer_uapi::bytes::{i64_at, u32_at, u64_at};
use ringer_uapi::flags::{Enter, Setup};

/// `sizeof(sigset_t)` in the kernel \[bytes\].
const SIGSET_SIZE: u64 = 8;
/// `sizeof(struct io_uring_getevents_arg)` \[bytes\].
const GETEVENTS_ARG_SIZE: u64 = 24;

impl<H: Host> Engine<H> {
    /// `io_uring_enter(2)`. Returns the number of entries consumed, or 0 after a mere wait.
    ///
    /// # Errors
    /// `EINVAL` unknown flags or wrong argument size; `EBADF`, `EOPNOTSUPP`; `EBADFD` disabled ring;
    /// `EEXIST` wrong thread on a SINGLE_ISSUER ring; `EOWNERDEAD` SQ thread gone; of the wait, if
    /// nothing was submitted: `ETIME`, `EINTR`, `EFAULT`, `EINVAL`.
    pub fn enter(
        &self,
        fd: i32,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        argp: u64,
        argsz: u64,
    ) -> Result<usize, Errno> {
        if flags & !ENTER_ACCEPTED != 0 {
            self.note_refused(|count| refusal::of_flags(Place::Enter, flags, count));
            return Err(Errno::EINVAL);
        }
        let flags = Enter::from_bits_truncate(flags);
        let ring = self.visit(fd, flags.contains(Enter::REGISTERED_RING))?;
        stats::add(self.host().counters(), stats::ENTERS, 1);
        if ring.is_disabled() {
            return Err(Errno::EBADFD);
        }
        let submitted = if let Some(sqpoll) = &ring.sqpoll {
            sqpoll.enter(self, &ring, flags);
            to_submit
        } else if ring.setup.contains(Setup::SQPOLL) {
            self.call_sq_thread(&ring, flags.contains(Enter::SQ_WAKEUP))?;
            to_submit
        } else if to_submit > 0 {
            self.check_issuer(&ring)?;
            self.become_task();
            let want = flags.contains(Enter::GETEVENTS).then_some(min_complete);
            // A timeout or a mask can end a wait before its completions do.
            let plain = !flags.contains(Enter::EXT_ARG) && argp == 0;
            let (n, done) = self.submit_locked(&ring, to_submit, want, plain);
            if n != to_submit || done {
                return Ok(n as usize);
            }
            n
        } else {
            0
        };
        if !flags.contains(Enter::GETEVENTS) {
            return Ok(submitted as usize);
        }
        let waited = self.wait_arg(&ring, flags, (argp, argsz)).and_then(|arg| {
            if ring.setup.contains(Setup::DEFER_TASKRUN) {
                self.check_issuer(&ring)?;
            }
            self.wait_cq(&ring, self.effective_min(&ring, min_complete), arg, submitted > 0)
        });
        if submitted > 0 { Ok(submitted as usize) } else { waited.map(|()| 0) }
    }

    /// On an IOPOLL ring the wait polls and returns when nothing is in flight (spec 3.25).
    fn effective_min(&self, ring: &Ring<H>, min: u32) -> u32 {
        if !ring.setup.contains(Setup::IOPOLL) {
            return min;
        }
        let st = ring.state.lock();
        let in_flight = st.reqs.len() as u32;
        min.min(in_flight + ring.cq_ready(&st))
    }

    /// Submits. Returns how many entries were taken, and whether that already ends the call: nothing
    /// is wanted, or all of it is there and nothing else waits to be looked at.
    #[inline(always)]
    fn submit_locked(
        &self,
        ring: &Arc<Ring<H>>,
        n: u32,
        want: Option<u32>,
        plain: bool,
    ) -> (u32, bool) {
        let mut st = ring.state.lock();
        st.may_post = true;
        st.own.may_keep(plain && want.is_some());
        let taken = self.submit(ring, &mut st, n);
        // Of a call that took less than it was to, this was all.
        let want = want.filter(|_| taken == n);
        self.run_and_commit(ring, &mut st, want.is_some());
        st.own.may_keep(false);
        if st.own.has_some() {
            st = self.run_own(ring, st, want);
        }
        let quiet = st.reqs.is_empty() && st.cq.backlog.is_empty() && st.deferred.is_empty();
        let done = want.is_none_or(|min| quiet && min > 0 && ring.cq_ready(&st) >= min);
        self.unlock(ring, st);
        self.tell_watchers(ring);
        (taken, done)
    }

    /// Ends a batch: what it completed, then what that leads to.
    pub(crate) fn run_and_commit(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, getevents: bool) {
        self.end_batch(ring, st, getevents);
        if !ring.defers() {
            self.run_ready(ring, st);
        } else if getevents {
            owner_came(ring, st);
            self.run_task_work(ring, st);
        } else if st.has_turns() {
            tell_owner(ring, st);
        }
        self.commit(ring, st);
    }

    /// io_uring.c `io_submit_state_end`: what a batch completed is out, and counted, before what it
    /// leads to runs.
    pub(super) fn end_batch(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, getevents: bool) {
        if st.aio.is_due() {
            self.hand_over(ring, st);
        }
        // Timeouts whose count this reaches end in task work, which may be the owner's.
        let may_post = st.may_post;
        st.may_post &= !ring.defers();
        self.commit(ring, st);
        st.may_post = may_post;
        self.run_put_off(ring, st);
        // Whoever leads is told by the poller itself; a look would take the wake it may be owed.
        if st.poll_now && st.leader == 0 && (getevents || !ring.defers()) {
            self.poll_events(ring, st);
        }
        if !st.ready.is_empty() {
            self.flush(ring, st);
        }
    }

    /// Whether the calling thread may submit: the owner of a SINGLE_ISSUER ring, anybody on another
    /// (`issuer` stays 0 there).
    pub(crate) fn check_issuer(&self, ring: &Ring<H>) -> Result<(), Errno> {
        let owner = ring.issuer.load(Relaxed);
        if owner == 0 || owner == self.host().tid() { Ok(()) } else { Err(Errno::EEXIST) }
    }

    fn wait_arg(
        &self,
        ring: &Ring<H>,
        flags: Enter,
        (argp, argsz): (u64, u64),
    ) -> Result<WaitArg, Errno> {
        if !flags.contains(Enter::EXT_ARG) {
            return Ok(WaitArg { mask_at: (argp, argsz), ..WaitArg::default() });
        }
        if flags.contains(Enter::EXT_ARG_REG) {
            return self.registered_arg(ring, flags, (argp, argsz));
        }
        if argsz != GETEVENTS_ARG_SIZE {
            return Err(Errno::EINVAL);
        }
        let mut b = [0u8; GETEVENTS_ARG_SIZE as usize];
        self.host().copy_in(argp, &mut b)?;
        let (sigmask, sigmask_sz) = (u64_at(&b, 0), u32_at(&b, 8));
        let (min_wait_usec, ts) = (u32_at(&b, 12), u64_at(&b, 16));
        let mut arg = WaitArg::default();
        if ts != 0 {
            let mut b = [0u8; 16];
            self.host().copy_in(ts, &mut b)?;
            let time = (i64_at(&b, 0), i64_at(&b, 8));
            arg.deadline = Some(self.deadline(ring, time, flags));
        }
        if min_wait_usec != 0 {
            arg.min_wait = Some(u64::from(min_wait_usec) * 1000);
        }
        arg.mask_at = (sigmask, u64::from(sigmask_sz));
        Ok(arg)
    }

    /// Reads a wait's signal mask (signal.c `set_user_sigmask`); only a wait that has to wait does.
    pub(super) fn wait_mask(&self, (addr, size): (u64, u64)) -> Result<Option<SigMask>, Errno> {
        if addr == 0 {
            return Ok(None);
        }
        if size != SIGSET_SIZE {
            return Err(Errno::EINVAL);
        }
        let mut b = [0u8; 8];
        self.host().copy_in(addr, &mut b)?;
        Ok(Some(u64_at(&b, 0)))
    }

    /// The ring that a call names by its descriptor, or by the calling thread's index, for the whole call.
    ///
    /// # Errors
    /// `EBADF`, `EOPNOTSUPP`, `EOWNERDEAD` (another process's that is not shared) of a descriptor; `EINVAL`, `EBADF` of an index.
    #[inline]
    pub(crate) fn visit(&self, fd: i32, by_index: bool) -> Result<Visit<'_, H>, Errno> {
        if by_index {
            return self.rings().visit(self.registered_ring(fd)?).ok_or(Errno::EBADF);
        }
        let id = match self.host().ring_of(fd) {
            Err(Errno::EOWNERDEAD) => self.adopt(fd)?.id,
            known => known?,
        };
        self.rings().visit(id).ok_or(Errno::EOPNOTSUPP)
    }
}
