//! What a caller would hand to a worker and then do nothing but wait for, it runs itself.
//!
//! ```text
//!  enter, to submit and wait: punted -> kept (no worker is woken) -> end of the batch:
//!      it is all the ring has under way, and the wait needs it -> run here
//!      anything else                                            -> the worker queue
//! ```
//!
//! A hand-off and back is two wake-ups; where the other processor sleeps they cost more than what most such
//! requests take. Running it here holds the caller past what else could end its wait, so that only what waits for a
//! disk of this machine is kept, and only where nothing else is under way, the wait has no timeout and no
//! mask, and the ring is not shared: then a signal's handler, a message or another thread's completion is
//! late by no more than the disk takes (as in `ahead.rs`, decision 0014).
//!
//! Nothing is kept once the lock is let go. What it does not do: run what could change a file's size by a
//! call of its own (the signal of RLIMIT_FSIZE would be the application's), or whatever asks for a worker
//! by `IOSQE_ASYNC`.

use super::iowq::{Class, Runner, Work};
use super::{Linked, Req};
use crate::engine::Engine;
use crate::host::{Host, HostFile as _, Identity};
use crate::opcode::Cmd;
use crate::ring::{Ring, State, StateGuard};
use crate::slab::Key;
use crate::trace::How;
use alloc::sync::Arc;
use ringer_uapi::Errno;
use ringer_uapi::flags::{Setup, SqeFlags};

/// See the module's doc.
#[derive(Debug, Default)]
pub struct Own {
    /// The call that holds the lock submits, then waits for nothing but completions.
    may: bool,
    kept: Option<(Key, Work)>,
}

impl Own {
    /// The call that holds the lock begins to submit, or has done so.
    #[inline(always)]
    pub(crate) fn may_keep(&mut self, may: bool) {
        self.may = may;
    }

    /// Whether something is kept.
    #[inline(always)]
    pub(crate) fn is_some(&self) -> bool {
        self.kept.is_some()
    }
}

/// Setups whose submitters are not the callers, or whose waits poll.
const NOT_HERE: Setup = Setup::SQPOLL.union(Setup::IOPOLL);

impl<H: Host> Engine<H> {
    /// Whether a request that goes to a worker of this class may wait for its submitter's decision.
    #[inline]
    pub(super) fn may_be_own(
        &self,
        ring: &Ring<H>,
        st: &State<H>,
        req: &Req<H>,
        class: Class,
    ) -> bool {
        let short = |cmd: &Cmd| {
            matches!(
                cmd,
                Cmd::Fsync(_)
                    | Cmd::SyncFileRange(_)
                    | Cmd::Write(_)
                    | Cmd::Writev(_)
                    | Cmd::WriteFixed(_)
                    | Cmd::WritevFixed(_)
            )
        };
        st.own.may
            && class == Class::Bounded
            && st.reqs.is_empty()
            && st.kin.is_none()
            && !ring.setup.intersects(NOT_HERE)
            && req.cmd.as_ref().is_some_and(short)
            && !req.flags.contains(SqeFlags::ASYNC)
            && req.creds.is_none()
            && matches!(req.linked, Linked::None)
            && req.file.file().is_some_and(H::File::is_local)
    }

    /// Keeps a parked request back from the worker queue.
    pub(super) fn keep_own(&self, st: &mut State<H>, key: Key, work: Work) {
        st.own.kept = Some((key, work));
    }

    /// At the end of a batch: runs what was kept if the caller is to wait for it (`want` completions), or
    /// queues it.
    #[cold]
    #[inline(never)]
    pub(crate) fn run_own<'a>(
        &self,
        ring: &'a Arc<Ring<H>>,
        mut st: StateGuard<'a, H>,
        want: Option<u32>,
    ) -> StateGuard<'a, H> {
        let Some((key, work)) = st.own.kept.take() else { return st };
        let alone = st.reqs.len() == 1
            && st.sleepers == 0
            && st.leader == 0
            && st.drained.is_empty()
            && st.ready.is_empty()
            && st.timers.next().is_none();
        if !alone || want.is_none_or(|want| ring.cq_ready(&st) >= want) {
            if self.iowq().queue(self, ring, key, work).is_err()
                && let Some(req) = st.reqs.remove(key)
            {
                // io-wq.c `io_wq_enqueue`: no worker could be made, the work is cancelled.
                self.end_failed(ring, &mut st, req, Errno::ECANCELED);
                self.commit(ring, &mut st);
            }
            return st;
        }
        if let Some(req) = st.reqs.get_mut(key) {
            req.trail = req.trail.with(How::Caller);
        }
        self.unlock(ring, st);
        // Only a stand-in's would matter, and none submits.
        let runner = Runner { class: work.class, identity: Identity(0), thread: None };
        self.run_queued(ring, key, &runner);
        let mut st = ring.state.lock();
        st.may_post = true;
        self.run_and_commit(ring, &mut st, true);
        st
    }
}
