//! `IORING_OP_TIMEOUT` (since 5.4), `TIMEOUT_REMOVE` (5.5, update 5.11), `LINK_TIMEOUT` (5.5).
//!
//! - Reads:   timeout, link timeout: `addr` = timespec, `len` = 1, `off` = completions to wait for
//!   (or repeats, with MULTISHOT), `op_flags` = `IORING_TIMEOUT_*`. remove: `addr` = user_data;
//!   update: `off` = new timespec
//! - Rejects: `EINVAL` for set fields an operation does not use, unknown flags, two clocks,
//!   MULTISHOT with ABS, negative times, a linked timeout without a request before it; bad timespec
//!   `EFAULT`
//! - Result:  `ETIME` on expiry, 0 when the count was reached, `ECANCELED` when removed
//! - Errors:  remove: `ENOENT`
//! - Blocks:  never
//! - Source:  6.18 io_uring/timeout.c `__io_timeout_prep`, `io_timeout_remove_prep`, `io_timeout_fn`,
//!   `io_link_timeout_fn`

use super::opdef::{Cmd, IssueCx, Op, Outcome, PrepCx};
use crate::engine::Engine;
use crate::host::{Clock, Host};
use crate::request::clocks::Target;
use crate::request::timers::{At, Timers};
use crate::request::{Linked, Phase, Req};
use crate::ring::{Ring, State};
use crate::slab::Key;
use crate::support::opflags::{TIMEOUT_ACCEPTED, TIMEOUT_UPDATES};
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_uapi::bytes::i64_at;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

const ABS: u32 = 1;
const UPDATE: u32 = 2;
const BOOTTIME: u32 = 4;
const REALTIME: u32 = 8;
const LINK_TIMEOUT_UPDATE: u32 = 16;
const ETIME_SUCCESS: u32 = 32;
const MULTISHOT: u32 = 64;
const CLOCK_MASK: u32 = BOOTTIME | REALTIME;

/// A time as an entry gives it.
#[derive(Clone, Copy, Debug)]
struct When {
    ns: u64,
    clock: Clock,
    abs: bool,
}

impl When {
    fn copy<H: Host>(host: &H, addr: u64, flags: u32) -> Result<Self, Errno> {
        let ns = copy_timespec(host, addr)?;
        Ok(Self { ns, clock: clock_of(flags), abs: flags & ABS != 0 })
    }

    /// When it is over, if it begins now.
    fn target<H: Host>(&self, host: &H) -> Target {
        let clock = match self.clock {
            // hrtimer.c `hrtimer_setup`: steps do not matter to what is relative.
            Clock::Realtime if !self.abs => Clock::Monotonic,
            clock => clock,
        };
        let from = if self.abs { 0 } else { host.now(clock) };
        Target { clock, ns: from.saturating_add(self.ns) }
    }
}

fn clock_of(flags: u32) -> Clock {
    match flags & CLOCK_MASK {
        BOOTTIME => Clock::Boottime,
        REALTIME => Clock::Realtime,
        _ => Clock::Monotonic,
    }
}

/// Reads a `struct __kernel_timespec` as nanoseconds. Negative members are `EINVAL`; nanoseconds of
/// a second and more are accepted, as 6.18 does.
///
/// # Errors
/// `EFAULT`, `EINVAL`.
pub(crate) fn copy_timespec<H: Host>(host: &H, addr: u64) -> Result<u64, Errno> {
    let mut b = [0u8; 16];
    host.copy_in(addr, &mut b)?;
    let (sec, nsec) = (i64_at(&b, 0), i64_at(&b, 8));
    if sec < 0 || nsec < 0 {
        return Err(Errno::EINVAL);
    }
    Ok((sec as u64).saturating_mul(1_000_000_000).saturating_add(nsec as u64))
}

/// `IORING_OP_TIMEOUT`.
#[derive(Debug)]
pub struct Timeout {
    when: When,
    /// When it fires, once it is armed.
    target: Option<Target>,
    /// Completions to wait for, or repeats.
    off: u32,
    etime_success: bool,
    multishot: bool,
    /// Where it counts.
    counted: Option<At>,
}

/// `IORING_OP_LINK_TIMEOUT`.
#[derive(Debug)]
pub struct LinkTimeout {
    when: When,
    target: Option<Target>,
}

fn prep_common<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe, linked: bool) -> Result<When, Errno> {
    if sqe.addr3 != 0 || sqe.pad2 != 0 || sqe.buf_index != 0 || sqe.len != 1 || sqe.file_index != 0
    {
        return Err(Errno::EINVAL);
    }
    if sqe.off as u32 != 0 && linked {
        return Err(Errno::EINVAL);
    }
    let flags = sqe.op_flags;
    if flags & !TIMEOUT_ACCEPTED != 0
        || flags & CLOCK_MASK == CLOCK_MASK
        || flags & (MULTISHOT | ABS) == MULTISHOT | ABS
    {
        return Err(Errno::EINVAL);
    }
    let when = When::copy(cx.host, sqe.addr, flags)?;
    if linked && !cx.after_link {
        return Err(Errno::EINVAL);
    }
    Ok(when)
}

impl Op for Timeout {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let when = prep_common(cx, sqe, false)?;
        Ok(Self {
            when,
            target: None,
            off: sqe.off as u32,
            etime_success: sqe.op_flags & ETIME_SUCCESS != 0,
            multishot: sqe.op_flags & MULTISHOT != 0,
            counted: None,
        })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

impl Timeout {
    /// Whether expiry counts as success for links and CQE_SKIP.
    pub(crate) fn etime_is_success(&self) -> bool {
        self.etime_success
    }

    /// Where it counts, if it does.
    pub(crate) fn counted(&self) -> Option<At> {
        self.counted
    }
}

impl Op for LinkTimeout {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        Ok(Self { when: prep_common(cx, sqe, true)?, target: None })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

/// `IORING_OP_TIMEOUT_REMOVE`.
#[derive(Debug)]
pub struct TimeoutRemove {
    target: u64,
    update: Option<(u64, bool)>,
    linked: bool,
}

impl Op for TimeoutRemove {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if cx.flags.intersects(SqeFlags::FIXED_FILE | SqeFlags::BUFFER_SELECT) {
            return Err(Errno::EINVAL);
        }
        if sqe.addr3 != 0
            || sqe.pad2 != 0
            || sqe.buf_index != 0
            || sqe.len != 0
            || sqe.file_index != 0
        {
            return Err(Errno::EINVAL);
        }
        let flags = sqe.op_flags;
        if flags & TIMEOUT_UPDATES == 0 {
            if flags != 0 {
                return Err(Errno::EINVAL);
            }
            return Ok(Self { target: sqe.addr, update: None, linked: false });
        }
        if flags & CLOCK_MASK != 0 || flags & !(TIMEOUT_UPDATES | ABS) != 0 {
            return Err(Errno::EINVAL);
        }
        let ns = copy_timespec(cx.host, sqe.off)?;
        let linked = flags & LINK_TIMEOUT_UPDATE != 0;
        // LINK_TIMEOUT_UPDATE alone behaves as a removal (spec 2.7).
        let update = (flags & UPDATE != 0).then_some((ns, flags & ABS != 0));
        Ok(Self { target: sqe.addr, update, linked: linked && flags & UPDATE != 0 })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

/// What a timeout was given, and when it fires.
fn times(cmd: &mut Cmd) -> Option<(&mut When, &mut Option<Target>)> {
    match cmd {
        Cmd::Timeout(t) => Some((&mut t.when, &mut t.target)),
        Cmd::LinkTimeout(t) => Some((&mut t.when, &mut t.target)),
        _ => None,
    }
}

/// When a timeout fires whose clock may step.
pub(crate) fn steps_with(cmd: &Cmd) -> Option<Target> {
    let target = match cmd {
        Cmd::Timeout(t) => t.target,
        Cmd::LinkTimeout(t) => t.target,
        _ => None,
    };
    target.filter(|t| t.may_step())
}

/// Takes a request out of those that count.
fn stop_counting<H: Host>(timers: &mut Timers, req: &mut Req<H>) {
    if let Some(Cmd::Timeout(t)) = &mut req.cmd
        && let Some(at) = t.counted.take()
    {
        timers.uncount(at);
    }
}

/// The order in which timeouts are looked for: those that count by what they count to, then the others
/// as they came (timeout.c `io_timeout`, which sorts its list that way).
pub(crate) fn search_order<H: Host>(st: &State<H>, key: Key, req: &Req<H>) -> (bool, At) {
    let counted = match &req.cmd {
        Some(Cmd::Timeout(t)) => t.counted(),
        _ => None,
    };
    (counted.is_none(), counted.unwrap_or((st.reqs.since(key), 0)))
}

impl<H: Host> Engine<H> {
    pub(crate) fn issue_timeout(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let Some(Cmd::Timeout(t)) = &req.cmd else { return };
        let count = (t.off != 0 && !t.multishot).then_some(t.off);
        let key = self.park(ring, st, req, Phase::Timer(None));
        self.set_timer(ring, st, key);
        let Some(off) = count else { return };
        // timeout.c `io_timeout`: counted from the completions published so far, without those of
        // timeouts.
        let at = st.timers.count(st.counted_completions(), off, key);
        if let Some(Cmd::Timeout(t)) = st.reqs.get_mut(key).and_then(|r| r.cmd.as_mut()) {
            t.counted = Some(at);
        }
    }

    /// Starts (or restarts) the clock of a request.
    fn set_timer(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, key: Key) {
        let whose =
            |st: &mut State<H>| st.reqs.get_mut(key)?.cmd.as_mut().and_then(times).map(|t| *t.0);
        let Some(when) = whose(st) else { return };
        if when.clock != Clock::Monotonic {
            self.expect_steps(ring, st);
        }
        let target = when.target(self.host());
        let deadline_ns = target.deadline(self.host());
        let first = st.timers.next().is_none_or(|t| deadline_ns < t);
        let at = st.timers.arm(deadline_ns, key);
        if let Some(req) = st.reqs.get_mut(key) {
            req.phase = Phase::Timer(Some(at));
            if let (Some(note), Some(Cmd::Timeout(_))) = (&req.note, &req.cmd) {
                note.set_deadline(deadline_ns);
            }
            if let Some((_, to)) = req.cmd.as_mut().and_then(times) {
                *to = Some(target);
            }
        }
        if first {
            // Whoever sleeps until a later time must look again.
            self.wake_waiters(ring, st, true);
            self.tell_care_of_timer(st, deadline_ns);
        }
        self.need_care(ring, st);
    }

    pub(crate) fn arm_linked_timeout(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        mut lt: Req<H>,
        head: Key,
    ) -> Key {
        lt.head = Some(head);
        lt.phase = Phase::Timer(None);
        let key = st.reqs.insert(lt);
        self.set_timer(ring, st, key);
        key
    }

    /// Fires every timer that is due.
    pub(crate) fn run_timers(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if st.timers.is_empty() {
            return;
        }
        let now = self.host().now(Clock::Monotonic);
        while let Some(key) = st.timers.pop_due(now) {
            if key.bits() == 0 {
                ring.bring_forward(st);
                continue;
            }
            if self.let_go_of_held(st, key) {
                continue;
            }
            let Some(req) = st.reqs.remove(key) else { continue };
            if req.head.is_some() {
                self.fire_linked(ring, st, req);
            } else {
                self.fire_timeout(ring, st, req);
            }
        }
        if st.may_post && !st.deferred.is_empty() {
            self.run_deferred(ring, st);
        }
        self.run_ready(ring, st);
    }

    fn fire_timeout(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        stop_counting(&mut st.timers, &mut req);
        let again = match &mut req.cmd {
            Some(Cmd::Timeout(t)) if t.multishot && t.off != 1 => {
                t.off = t.off.saturating_sub(1);
                true
            }
            _ => false,
        };
        self.note_fired(ring, st);
        if !again || !st.may_post || ring.cq_would_overflow(st) {
            return self.complete(ring, st, req, Err(Errno::ETIME), 0);
        }
        self.post_more(ring, st, &req, Err(Errno::ETIME), 0);
        let key = self.park(ring, st, req, Phase::Timer(None));
        self.set_timer(ring, st, key);
    }

    /// timeout.c `io_timeout_fn`, `io_kill_timeout`: it is off the count from here on, although its
    /// completion may come later; one that is removed or cancelled is a completion as any.
    fn note_fired(&self, ring: &Ring<H>, st: &mut State<H>) {
        st.cq_timeouts = st.cq_timeouts.wrapping_add(1);
        self.wake_waiters(ring, st, true);
    }

    /// A linked timeout fires: its own CQE first, then its request's cancellation.
    fn fire_linked(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, lt: Req<H>) {
        let head = lt.head.filter(|&h| st.reqs.get(h).is_some());
        let Some(head) = head else {
            return self.complete(ring, st, lt, Err(Errno::ENOENT), 0);
        };
        if let Some(req) = st.reqs.get_mut(head) {
            req.linked = Linked::None;
        }
        // timeout.c `io_req_task_link_timeout`: what the cancel says decides the result, and of a worker
        // that it interrupts it says nothing (cancel.c `io_try_cancel`).
        let res = match st.reqs.get(head).map(|r| &r.phase) {
            // These lists answer how many they cancelled.
            Some(Phase::Waiting(w)) if !w.is_over() => Ok(1),
            _ => Err(self.would_cancel(st, head).err().unwrap_or(Errno::ETIME)),
        };
        self.complete(ring, st, lt, res, 0);
        self.cancel_one(st, head);
    }

    /// Completes counted timeouts whose number of completions was reached.
    pub(crate) fn fire_counted(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if st.timers.counts_nothing() {
            return;
        }
        let seq = st.counted_completions();
        let due: Vec<Key> = core::iter::from_fn(|| st.timers.pop_counted(seq)).collect();
        for key in due {
            if let Some(req) = self.take_timer(st, key) {
                self.note_fired(ring, st);
                self.complete(ring, st, req, Ok(0), 0);
            }
        }
        self.run_ready(ring, st);
    }

    /// Takes a timer request out of the slab and the heap.
    pub(crate) fn take_timer(&self, st: &mut State<H>, key: Key) -> Option<Req<H>> {
        let mut req = st.reqs.remove(key)?;
        if let Phase::Timer(Some(at)) = req.phase {
            st.timers.remove(at);
        }
        stop_counting(&mut st.timers, &mut req);
        Some(req)
    }

    pub(crate) fn issue_timeout_remove(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let Some(Cmd::TimeoutRemove(TimeoutRemove { target, update, linked })) = req.cmd else {
            return;
        };
        let now = if st.timers.is_empty() { 0 } else { self.host().now(Clock::Monotonic) };
        let matching = st.reqs.of(target).filter(|(_, r)| {
            let is = match &r.cmd {
                Some(Cmd::Timeout(_)) => !linked,
                Some(Cmd::LinkTimeout(_)) => linked,
                _ => false,
            };
            // One whose time has come has fired: nobody finds it any more.
            is && matches!(r.phase, Phase::Timer(at) if at.is_none_or(|(t, _)| t > now))
        });
        let found = matching.map(|(key, r)| (search_order(st, key, r), key)).min();
        let found = found.map(|(_, key)| key);
        let Some(key) = found else {
            return self.complete(ring, st, req, Err(Errno::ENOENT), 0);
        };
        self.complete(ring, st, req, Ok(0), 0);
        let Some((ns, abs)) = update else {
            if let Some(t) = self.take_timer(st, key) {
                self.cancel_later(st, t);
            }
            return;
        };
        // timeout.c `io_timeout_update`: it counts no longer, and comes last where it is looked for.
        st.reqs.renew(key);
        let State { reqs, timers, .. } = st;
        let Some(r) = reqs.get_mut(key) else { return };
        stop_counting(timers, r);
        let Some((when, _)) = r.cmd.as_mut().and_then(times) else { return };
        *when = When { ns, clock: when.clock, abs };
        if let Phase::Timer(Some(at)) = r.phase {
            st.timers.remove(at);
        }
        self.set_timer(ring, st, key);
    }
}
