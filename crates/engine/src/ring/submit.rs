//! Submission: from SQ entries to started requests.
//!
//! ```text
//!  tail (theirs) -> index array -> SQE copy -> checks, prep -> single: start
//!                                                           -> chain: gather to its end, start head
//! ```
//!
//! What an entry leads to (the next member of a chain, cancelled requests, a drained one) waits in
//! `State::ready` until the batch has been taken, as the kernel's task work does; on a DEFER_TASKRUN
//! ring until GETEVENTS. Order of checks: 6.18 io_uring.c `io_init_req`, `io_submit_sqe`, `io_submit_sqes`.

use super::merge::{Run, follows, is_read};
use super::{Ring, State};
use crate::engine::Engine;
use crate::host::Host;
use crate::opcode::nop::looks_up;
use crate::opcode::{Cmd, Op, Outcome, PrepCx, opdef};
use crate::request::start::{find_buffer, is_ring_op};
use crate::request::{Linked, Notif, Phase, Req, ReqFile};
use crate::resource::personality::Creds;
use crate::stats;
use crate::support::refusal;
use crate::support::rings::SQE_ACCEPTED;
use crate::trace::Trail;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_uapi::flags::{Setup, SqeFlags};
use ringer_uapi::{Cqe, Errno, Sqe};

/// `IORING_OP_LINK_TIMEOUT`: the opcode counts here, also of an entry that failed.
const LINK_TIMEOUT: u8 = 15;

/// An entry, and what its request is called in a trace.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    sqe: &'a Sqe,
    trail: Trail,
}

/// Whether the batch goes on after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    GoOn,
    Stop,
}

impl<H: Host> Engine<H> {
    /// Takes up to `n` entries. Returns how many were consumed.
    #[inline]
    pub(crate) fn submit(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, n: u32) -> u32 {
        if st.dying {
            // The last descriptor was closed between the caller's look at it and our lock.
            return 0;
        }
        // A submission thread has what its ring keeps for it.
        if ring.sqpoll.is_none() && st.task != self.host().tid() {
            self.join(st);
        }
        let shared = st.kin.is_some();
        if shared {
            self.attend_taker(ring, st);
        }
        let queued = st.sq_pages().tail().wrapping_sub(st.sq_head).min(st.geo.sq_entries);
        let left = queued.min(n);
        let mut chain: Vec<Req<H>> = Vec::new();
        let mut taken = 0;
        st.asked.forget();
        st.own.forget_file();
        st.ahead.calls(st.task);
        st.ahead.batch(true);
        st.unflushed = false;
        if shared {
            st.begin_taking(left);
        }
        while taken < left {
            let index = st.sq_pages().index(st.sq_head);
            st.sq_head = st.sq_head.wrapping_add(1);
            let Some(index) = index else {
                st.sq_pages().count_dropped();
                break;
            };
            taken += 1;
            let sqe = st.sq_pages().sqe(index);
            if is_read(&sqe)
                && !st.fates.adopted
                && chain.is_empty()
                && left - taken > 0
                && next_entry(st).is_some_and(|next| follows(&sqe, &next))
                && let Some(run) = Run::start(ring, st, &sqe)
            {
                let more = self.gather(ring, st, run, left - taken);
                if more > 0 {
                    taken += more;
                    st.unflushed = true;
                    continue;
                }
            }
            let batch = self.submit_one(ring, st, &sqe, &mut chain);
            st.unflushed |= chain.is_empty();
            if shared && chain.is_empty() {
                st.took();
            }
            if batch == Batch::Stop && !ring.setup.contains(Setup::SUBMIT_ALL) {
                break;
            }
        }
        // An open link on the last entry joins nothing; what it heads goes to a worker (io_uring.c
        // `io_submit_state_end`).
        if let Some(head) = chain.first_mut() {
            head.follow_worker();
            self.start_chain(ring, st, chain);
        }
        st.sq_pages().publish_head(st.sq_head);
        if shared && st.end_taking() {
            self.ensure_relay();
        }
        st.ahead.batch(false);
        st.unflushed = false;
        if !st.drained.is_empty() {
            self.release_drained(st);
        }
        taken
    }

    /// Takes the entries that continue a read (at most `left`) and reads them all at once. Returns
    /// how many it took; with none, the read is issued as any other.
    #[inline]
    fn gather(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut run: Run, left: u32) -> u32 {
        let mut more = 0;
        while more < left && !run.is_full() {
            // An entry that does not fit stays in the queue: it was only looked at, and is read again,
            // and then once and for all, when its turn comes.
            let Some(next) = next_entry(st) else { break };
            if !run.extend(st, &next) {
                break;
            }
            st.sq_head = st.sq_head.wrapping_add(1);
            more += 1;
        }
        if run.is_single() {
            return 0;
        }
        for sqe in self.submit_run(ring, st, &run) {
            self.submit_short(ring, st, sqe);
        }
        if st.kin.is_some() {
            st.took();
        }
        more
    }

    #[inline(always)]
    fn submit_one(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        sqe: &Sqe,
        chain: &mut Vec<Req<H>>,
    ) -> Batch {
        if !is_transfer(sqe.opcode) {
            st.asked.forget();
            st.own.forget_file();
            st.ahead.forget();
            if st.aio.is_due() {
                self.hand_over(ring, st);
            }
        }
        if chain.is_empty() && sqe.flags & !SqeFlags::FIXED_FILE.bits() == 0 {
            let def = opdef(sqe.opcode);
            let special = sqe.file_index != 0 || sqe.personality != 0 || looks_up(sqe);
            let special = special || st.fates.adopted;
            if !st.draining() && def.is_some_and(|d| d.inline_first()) && !special {
                return self.submit_short(ring, st, sqe);
            }
        }
        if st.fates.replayed {
            self.replay(ring, st, sqe);
            return Batch::GoOn;
        }
        let req = self.prep_req(ring, st, sqe, chain.last());
        let failed = req.failed;
        if chain.is_empty() && !req.links() {
            if failed.is_some() {
                self.fail_chain(ring, st, req);
                return Batch::Stop;
            }
            self.start_or_drain(ring, st, req);
            return Batch::GoOn;
        }
        let ends = !req.links();
        chain.push(req);
        if !ends {
            return Batch::GoOn;
        }
        self.start_chain(ring, st, core::mem::take(chain));
        if failed.is_some() { Batch::Stop } else { Batch::GoOn }
    }

    /// The short way for an entry that neither links nor drains and is tried inline first: one that
    /// finishes at once never becomes a [`Req`].
    #[inline(always)]
    fn submit_short(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, sqe: &Sqe) -> Batch {
        if self.traces() {
            return self.submit_traced(ring, st, sqe);
        }
        self.submit_plain(ring, st, Entry { sqe, trail: Trail::default() })
    }

    /// The same with a trace: a copy of its own, so that the other has nothing of it.
    #[cold]
    #[inline(never)]
    fn submit_traced(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, sqe: &Sqe) -> Batch {
        let trail = self.trail_of(ring, st, sqe, false);
        self.submit_plain(ring, st, Entry { sqe, trail })
    }

    #[inline(always)]
    fn submit_plain(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, entry: Entry<'_>) -> Batch {
        let sqe = entry.sqe;
        stats::add(self.host().counters(), stats::REQUESTS + sqe.opcode as usize, 1);
        match sqe.opcode {
            0 => self.submit_typed(ring, st, entry, Cmd::Nop),
            4 => self.submit_typed(ring, st, entry, Cmd::ReadFixed),
            5 => self.submit_typed(ring, st, entry, Cmd::WriteFixed),
            22 => self.submit_typed(ring, st, entry, Cmd::Read),
            23 => self.submit_typed(ring, st, entry, Cmd::Write),
            26 => self.submit_typed(ring, st, entry, Cmd::Send),
            27 => self.submit_typed(ring, st, entry, Cmd::Recv),
            _ => self.submit_typed(ring, st, entry, |c: Cmd| c),
        }
    }

    /// Prepares and issues a state of a known type: the hot ones are never moved into a [`Cmd`].
    #[inline(always)]
    fn submit_typed<T: Op>(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        entry: Entry<'_>,
        into_cmd: impl FnOnce(T) -> Cmd,
    ) -> Batch {
        let sqe = entry.sqe;
        let prepared = self
            .refuse(ring, st, sqe, true)
            .and_then(|flags| T::prep(&self.prep_cx(ring, st, flags, false), sqe));
        let mut op = match prepared {
            Ok(op) => op,
            Err(e) => {
                self.note_refused(|count| refusal::of_sqe(sqe, e, count));
                self.post_plain(ring, st, entry, Err(e), 0);
                return Batch::Stop;
            }
        };
        let fixed = sqe.flags & SqeFlags::FIXED_FILE.bits() != 0;
        let outcome = self.issue_plain(ring, st, (sqe.opcode, sqe.fd, fixed), &mut op);
        if let Outcome::Done(res, cflags) = outcome
            && (res.is_err() || !ring.setup.contains(Setup::IOPOLL))
        {
            self.post_plain(ring, st, entry, res, cflags);
            return Batch::GoOn;
        }
        self.settle_plain(ring, st, entry, (into_cmd(op), outcome));
        Batch::GoOn
    }

    /// An entry that did not finish at once becomes a request.
    #[cold]
    fn settle_plain(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        Entry { sqe, trail }: Entry<'_>,
        (cmd, outcome): (Cmd, Outcome),
    ) {
        let mut req = self.request(sqe, Some(cmd), None);
        req.trail = trail;
        req.note = st.note(req.user_data);
        find_buffer(st, &mut req);
        match outcome {
            // Many wait for devices, and a request is large.
            Outcome::Aio => self.queue_aio(ring, st, req),
            Outcome::Ahead => self.read_ahead(ring, st, req),
            outcome => self.settle(ring, st, req, outcome),
        }
    }

    #[inline(always)]
    fn post_plain(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        Entry { sqe, trail }: Entry<'_>,
        res: Result<i32, Errno>,
        cflags: u32,
    ) {
        if res.is_err() {
            stats::add(self.host().counters(), stats::FAILED + sqe.opcode as usize, 1);
        }
        let cqe = Cqe::new(sqe.user_data, res, cflags);
        let posted = ring.post(st, cqe);
        self.trace_cqe(ring, trail, &cqe, posted);
    }

    /// Links the members and starts the head, or fails them all.
    fn start_chain(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut chain: Vec<Req<H>>) {
        let failed = chain.iter().any(|r| r.failed.is_some());
        let within = chain.iter().skip(1).any(|r| r.flags.contains(SqeFlags::IO_DRAIN));
        let mut next = None;
        while let Some(mut req) = chain.pop() {
            req.next = next.take();
            next = Some(Box::new(req));
        }
        let Some(mut head) = next else { return };
        if failed {
            return self.fail_chain(ring, st, *head);
        }
        if within {
            head.flags |= SqeFlags::IO_DRAIN;
        }
        self.start_or_drain(ring, st, *head);
    }

    #[inline]
    fn start_or_drain(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let drains = req.flags.contains(SqeFlags::IO_DRAIN);
        if st.drain_active {
            // io_uring.c `io_drain_req`: from a drain on everything goes through the queue, until
            // something without the flag gets through it at once.
            st.drained.push_back(Box::new(req));
            self.release_drained(st);
            st.drain_active = drains || !st.drained.is_empty();
        } else if req.on_worker && is_ring_op(&req) {
            // A worker comes to it once the batch has been taken.
            st.put_off.push_back(Box::new(req));
        } else {
            self.start(ring, st, req);
        }
    }

    /// Makes a request of an entry. A submission error is left in `failed`.
    #[inline]
    fn prep_req(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        sqe: &Sqe,
        before: Option<&Req<H>>,
    ) -> Req<H> {
        let trail = self.trail_of(ring, st, sqe, before.is_some());
        let fate = if st.fates.adopted { self.fate_of(ring, st, sqe) } else { None };
        let asked = before.is_none() && st.drain_next;
        let mut notif = Notif::None;
        let (cmd, failed) = match self.checked_prep(ring, st, sqe, (before, &mut notif)) {
            Ok(cmd) => (Some(cmd), None),
            Err(e) => {
                self.note_refused(|count| refusal::of_sqe(sqe, e, count));
                (None, Some(e))
            }
        };
        // What has no row counts as one opcode beyond the last.
        let op = sqe.opcode.min(63) as usize;
        stats::add(self.host().counters(), stats::REQUESTS + op, 1);
        let mut req = self.request(sqe, cmd, failed);
        req.trail = trail;
        req.note = st.note(req.user_data);
        req.notif = notif;
        if let Some(who) = st.personalities.get(sqe.personality) {
            req.creds = Some(Box::new(Creds { who: who.clone(), origin: None }));
        }
        if asked && !st.drain_next {
            req.flags |= SqeFlags::IO_DRAIN;
        }
        // io_uring.c `io_init_req`: what meets a drain takes the slow path, each member of a chain.
        req.on_worker |= st.drain_active;
        if let Some(fate) = fate {
            self.fated(ring, &mut req, fate);
        }
        req
    }

    fn request(&self, sqe: &Sqe, cmd: Option<Cmd>, failed: Option<Errno>) -> Req<H> {
        Req {
            user_data: sqe.user_data,
            opcode: sqe.opcode.min(63),
            flags: SqeFlags::from_bits_truncate(sqe.flags),
            fd: sqe.fd,
            cmd,
            file: ReqFile::None,
            input: None,
            buf: None,
            kbuf: None,
            buf_group: sqe.buf_index,
            next: None,
            failed,
            creds: None,
            linked: Linked::None,
            notif: Notif::None,
            phase: Phase::Fresh,
            head: None,
            cancelled: false,
            gave_up: false,
            untried: false,
            hushed: false,
            on_worker: sqe.flags & SqeFlags::ASYNC.bits() != 0,
            task: self.host().tid(),
            note: None,
            trail: Trail::default(),
            fate: None,
        }
    }

    #[inline]
    fn checked_prep(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        sqe: &Sqe,
        (before, notif): (Option<&Req<H>>, &mut Notif),
    ) -> Result<Cmd, Errno> {
        let flags = self.refuse(ring, st, sqe, before.is_none())?;
        *notif = Notif::of(sqe, flags);
        let after_link = before.is_some_and(|b| b.links() && b.opcode != LINK_TIMEOUT);
        Cmd::prep(&self.prep_cx(ring, st, flags, after_link), sqe)
    }

    #[inline(always)]
    fn prep_cx<'a>(
        &'a self,
        ring: &Ring<H>,
        st: &'a State<H>,
        flags: SqeFlags,
        after_link: bool,
    ) -> PrepCx<'a, H> {
        let bufs = st.bufs.as_ref();
        PrepCx { host: self.host(), bufs, flags, after_link, setup: ring.setup }
    }

    /// The checks that come before any opcode's own (6.18 io_uring.c `io_init_req`). `heads`: it is
    /// the first of its chain, or alone.
    #[inline(always)]
    fn refuse(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        sqe: &Sqe,
        heads: bool,
    ) -> Result<SqeFlags, Errno> {
        let def = opdef(sqe.opcode).ok_or(Errno::EINVAL)?;
        if sqe.flags & !SQE_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let flags = SqeFlags::from_bits_truncate(sqe.flags);
        if sqe.flags != 0 {
            check_flags(st, flags, def.buffer_select)?;
        }
        if st.drain_next || flags.contains(SqeFlags::IO_DRAIN) || st.restrictions.is_some() {
            note_drain(st, flags, heads);
            restrict(st, sqe)?;
            drain_next(st, heads);
        }
        if sqe.ioprio != 0 && !def.ioprio {
            return Err(Errno::EINVAL);
        }
        if ring.setup.contains(Setup::IOPOLL) && !def.iopoll {
            return Err(Errno::EINVAL);
        }
        if sqe.personality != 0 && st.personalities.get(sqe.personality).is_none() {
            return Err(Errno::EINVAL);
        }
        Ok(flags)
    }
}

/// Whether an entry can only join what is to be handed over (`request::aio`).
fn is_transfer(opcode: u8) -> bool {
    matches!(opcode, 1 | 2 | 4 | 5 | 22 | 23)
}

/// A copy of the next entry, which stays in the queue.
#[inline]
fn next_entry<H: Host>(st: &State<H>) -> Option<Sqe> {
    let sq = st.sq_pages();
    sq.index(st.sq_head).map(|index| sq.sqe(index))
}

/// From here on what is submitted drains, also if this entry is refused below (io_uring.c
/// `io_init_drain`). A drain within a chain is one of its head, and of what follows the chain.
fn note_drain<H: Host>(st: &mut State<H>, flags: SqeFlags, heads: bool) {
    if flags.contains(SqeFlags::IO_DRAIN) {
        st.drain_active = true;
        st.drain_next |= !heads;
    }
}

/// What follows a chain with a drain in it drains; an entry that is refused before leaves that to the
/// next one.
fn drain_next<H: Host>(st: &mut State<H>, heads: bool) {
    if heads && core::mem::take(&mut st.drain_next) {
        st.drain_active = true;
    }
}

/// io_uring.c `io_check_restriction`. Entries are taken from enabled rings only.
fn restrict<H: Host>(st: &State<H>, sqe: &Sqe) -> Result<(), Errno> {
    match &st.restrictions {
        Some(r) if !r.allows_entry(sqe.opcode, sqe.flags) => Err(Errno::EACCES),
        _ => Ok(()),
    }
}

fn check_flags<H: Host>(st: &mut State<H>, flags: SqeFlags, selects: bool) -> Result<(), Errno> {
    if flags.contains(SqeFlags::BUFFER_SELECT) && !selects {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags.contains(SqeFlags::CQE_SKIP_SUCCESS) {
        st.drain_off = true;
    }
    if flags.contains(SqeFlags::IO_DRAIN) && st.drain_off {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}
