//! What a caller would hand to workers and then do nothing but wait for, it runs itself.
//!
//! ```text
//!  enter, to submit and wait: punted -> kept (no worker is woken) -> end of the batch:
//!      they are all the ring has under way, and the wait needs the next, or it is short --> run it here
//!      anything else                                                                    --> the worker queue
//! ```
//!
//! A hand-off and back is two wake-ups; where the other processor sleeps they cost more than what most such
//! requests take. Running them here holds the caller past what else could end its wait, so that only what waits for
//! a disk of this machine is kept, and only where nothing else is under way, the wait has no timeout and no
//! mask, and the ring is not shared: then a signal's handler, a message or another thread's completion is
//! late by no more than the disk takes (as in `ahead.rs`, decision 0014). Writes through the page cache are kept
//! by the batch: a worker would do them one after the other, too (6.18 io-wq.c `IO_WQ_WORK_HASHED`), and file systems
//! that know `RWF_NOWAIT` for them have the submitter do all. What waits for the device itself is kept once, or
//! the call would wait for it in a row.
//!
//! Nothing is kept when the call returns. What it does not do: run what could change a file's size by a
//! call of its own (the signal of RLIMIT_FSIZE would be the application's), or whatever asks for a worker
//! by `IOSQE_ASYNC`.

use super::iowq::{Class, Runner, Work};
use super::{Linked, Phase, Req, ReqFile};
use crate::engine::Engine;
use crate::host::{Clock, Host, HostFile, Identity};
use crate::opcode::Cmd;
use crate::ring::{Ring, State, StateGuard};
use crate::slab::Key;
use crate::trace::How;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use ringer_uapi::flags::{Setup, SqeFlags};

/// See the module's doc.
#[derive(Debug)]
pub struct Own<H: Host> {
    /// The call that holds the lock submits, then waits for nothing but completions.
    may: bool,
    kept: VecDeque<(Key, Work, Kept)>,
    /// The file behind a number of the application's that the last one of them holds.
    held: Option<(i32, H::File)>,
}

impl<H: Host> Default for Own<H> {
    fn default() -> Self {
        Self { may: false, kept: VecDeque::new(), held: None }
    }
}

impl<H: Host> Own<H> {
    /// The call that holds the lock begins to submit, or has done so.
    #[inline(always)]
    pub(crate) fn may_keep(&mut self, may: bool) {
        self.may = may;
        self.held = None;
    }

    /// A number may name another file from here on.
    #[inline(always)]
    pub(crate) fn forget_file(&mut self) {
        self.held = None;
    }

    /// The file that another of the batch holds by this number.
    pub(super) fn file_of(&self, fd: i32) -> Option<H::File> {
        self.held.as_ref().filter(|(of, _)| *of == fd).map(|(_, file)| file.clone())
    }

    /// Whether one of them waits for the device.
    fn has_long(&self) -> bool {
        self.kept.iter().any(|(_, _, kept)| *kept == Kept::Long)
    }

    /// Whether something is kept.
    #[inline(always)]
    pub(crate) fn has_some(&self) -> bool {
        !self.kept.is_empty()
    }
}

/// `O_DIRECT`, `O_DSYNC`, `O_SYNC`: a write waits for the device.
const TO_DEVICE: u32 = 0o40_000 | 0o10_000 | 0o4_000_000;
/// How long short ones go on when the wait has what it needs \[ns\].
const BUDGET_NS: u64 = 100_000;
/// Setups whose submitters are not the callers, or whose waits poll.
const NOT_HERE: Setup = Setup::SQPOLL.union(Setup::IOPOLL);

impl<H: Host> Engine<H> {
    /// How a request that goes to a worker of this class may wait for its submitter's decision, if it may.
    #[inline]
    pub(super) fn may_be_own(
        &self,
        ring: &Ring<H>,
        st: &State<H>,
        req: &Req<H>,
        class: Class,
    ) -> Option<Kept> {
        let may = st.own.may
            && class == Class::Bounded
            && st.reqs.len() == st.own.kept.len()
            && st.kin.is_none()
            && !ring.setup.intersects(NOT_HERE)
            && !req.flags.contains(SqeFlags::ASYNC)
            && req.creds.is_none()
            && matches!(req.linked, Linked::None);
        if !may {
            return None;
        }
        let file = req.file.file()?;
        // What was asked about the file of another one holds still.
        let known = st.own.file_of(req.fd).is_some_and(|held| held.number() == file.number());
        if !known && !file.is_local() {
            return None;
        }
        let number = file.number()?;
        let to_device =
            || !known && self.host().status_flags(number).is_ok_and(|flags| flags & TO_DEVICE != 0);
        kept_as(req, to_device).filter(|as_| *as_ == Kept::Short || !st.own.has_long())
    }

    /// Keeps a parked request back from the worker queue.
    pub(super) fn keep_own(&self, st: &mut State<H>, (key, work): (Key, Work), kept: Kept) {
        if kept == Kept::Short
            && let Some(Req { fd, file: ReqFile::Held(file), .. }) = st.reqs.get(key)
        {
            st.own.held = Some((*fd, file.clone()));
        }
        st.own.kept.push_back((key, work, kept));
    }

    /// At the end of a batch: runs what was kept while the caller is to wait for it (`want` completions), and
    /// queues the rest.
    #[cold]
    #[inline(never)]
    pub(crate) fn run_own<'a>(
        &self,
        ring: &'a Arc<Ring<H>>,
        mut st: StateGuard<'a, H>,
        want: Option<u32>,
    ) -> StateGuard<'a, H> {
        let until = self.host().now(Clock::Monotonic).saturating_add(BUDGET_NS);
        while let Some((key, work, kept)) = st.own.kept.pop_front() {
            let alone = st.reqs.len() == st.own.kept.len() + 1
                && st.sleepers == 0
                && st.leader == 0
                && st.drained.is_empty()
                && st.ready.is_empty()
                && st.timers.next().is_none();
            let needed = want.is_some_and(|want| ring.cq_ready(&st) < want);
            // Who has enough is held up by no more than a hand-off would take.
            let quick = kept == Kept::Short && self.host().now(Clock::Monotonic) < until;
            if !alone || !(needed || want.is_some() && quick) {
                self.queue_own(ring, &mut st, (key, work));
                continue;
            }
            if let Some(req) = st.reqs.get_mut(key) {
                req.trail = req.trail.with(How::Caller);
            }
            // The others are found by a cancel meanwhile, as in a queue, and by a call that submits: it queues
            // them, should this one never come back (siglongjmp).
            self.unlock(ring, st);
            // Only a stand-in's identity would matter, and none submits.
            let by =
                Runner { class: work.class, identity: Identity(0), thread: None, caller: true };
            self.run_queued(ring, key, &by);
            st = ring.state.lock();
            st.may_post = true;
            st.own.may = true;
            self.run_and_commit(ring, &mut st, true);
            st.own.may = false;
        }
        st
    }

    fn queue_own(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, (key, work): (Key, Work)) {
        let here = st.reqs.get(key).is_some_and(|r| matches!(r.phase, Phase::Queued));
        if here && !self.queue_parked(ring, st, key, work) {
            self.commit(ring, st);
        }
    }
}

/// How a request is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It copies to memory.
    Short,
    /// It waits for the device.
    Long,
}

/// How a request would be kept; `None`: not at all. `to_device`: whether its file's writes wait for it.
fn kept_as<H: Host>(req: &Req<H>, to_device: impl FnOnce() -> bool) -> Option<Kept> {
    match req.cmd.as_ref()? {
        Cmd::Fsync(_) | Cmd::SyncFileRange(_) => Some(Kept::Long),
        Cmd::Write(c) | Cmd::Writev(c) | Cmd::WriteFixed(c) | Cmd::WritevFixed(c) => {
            Some(if c.has_flags() || to_device() { Kept::Long } else { Kept::Short })
        }
        _ => None,
    }
}
