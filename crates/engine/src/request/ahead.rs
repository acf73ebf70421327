//! Reads of what the page cache does not have yet: the disk works, and somebody looks again.
//!
//! ```text
//!  issue --EAGAIN--> readahead --> list, the oldest first --looked at again, no wait--> Done
//!                                    |  a caller waits, for reads only: it reads the oldest
//!                                    |  nobody does for a tick, or for other things, too:
//!                                    '  the oldest goes to a worker, and then the next
//! ```
//!
//! All of the list is under way on the disk, so that who waits for the oldest waits for one read, and
//! finds most of the others behind it. A caller waits in that read, past signals and for what comes
//! meanwhile from other threads, as long as the disk takes; one with a deadline that near does not
//! ([`NEAR_NS`]). What is read so stays in the list until it is over, and nobody else ends it: its memory
//! is written until then. A thread that leaves its read by siglongjmp takes it up with its next call. As in the kernel, no cancel finds a read that
//! waits for pages (rw.c `io_async_buf_func`). A caller reads for those who
//! are what it is. Whoever is made by the background thread, which comes last, is what the process was
//! at its start: a file that is open is read all the same.
//!
//! What it does not do: reads that move a position, are told to be asynchronous, select a buffer, are
//! a submission thread's, or are of what a network or a program serves; workers have these.

use super::{Phase, Req, ReqFile};
use crate::engine::Engine;
use crate::host::{Clock, Host, HostFile, HostRing, Identity};
use crate::opcode::Outcome;
use crate::ring::{Ring, State, StateGuard};
use crate::slab::Key;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use ringer_uapi::Errno;
use ringer_uapi::flags::{Setup, SqeFlags};

/// A caller whose wait ends sooner than this leaves the reading to a worker \[ns\].
const NEAR_NS: u64 = 10_000_000;
/// Reads in a row that are not there yet before a look ends.
const MISSES_MAX: u32 = 2;
/// After so many ends, or bytes, a look is over: meanwhile the disk is given nothing new.
const LOOK_MAX: (u32, u32) = (64, 128 * 1024);

/// See the module's doc.
#[derive(Debug)]
pub struct Ahead<H: Host> {
    list: VecDeque<Key>,
    /// The thread that waits in the read of one of them, which nobody else may end meanwhile. It is
    /// not there any more if it calls again.
    reading: Option<(u32, Key)>,
    /// What a worker reads for the others; a stale key: none does.
    worker: Option<Key>,
    /// Nobody came to wait the last time: what is submitted goes to a worker at once.
    alone: bool,
    /// Who all in the list are read for.
    identity: Identity,
    /// How many have left the list.
    ended: u32,
    /// A batch of entries is being taken: between two transfers of it nothing of the ring's could put
    /// another file under a number.
    in_batch: bool,
    /// Who submits it, once that was asked.
    who: Option<Identity>,
    /// What a number was found to be in it, if on a disk: held once for all reads of it.
    recent: Option<(i32, Option<H::File>)>,
}

impl<H: Host> Default for Ahead<H> {
    fn default() -> Self {
        Self {
            list: VecDeque::new(),
            reading: None,
            worker: None,
            alone: false,
            identity: Identity::default(),
            ended: 0,
            in_batch: false,
            who: None,
            recent: None,
        }
    }
}

impl<H: Host> Ahead<H> {
    /// Whether nothing is in the list.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A batch begins or ends.
    #[inline]
    pub(crate) fn batch(&mut self, begins: bool) {
        self.in_batch = begins;
        self.who = None;
        self.recent = None;
    }

    /// A number may name another file from here on.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.recent = None;
    }

    /// Whether a caller waits in the read of the oldest, as far as is known.
    pub(super) fn is_read(&self) -> bool {
        self.reading.is_some()
    }

    /// The calling thread is in no read: one that it was in has ended, and it left it by siglongjmp, or
    /// a handler calls that interrupted it.
    #[inline]
    pub(crate) fn calls(&mut self, tid: u32) {
        if self.reading.is_some_and(|(reader, _)| reader == tid) {
            self.reading = None;
        }
    }

    /// The oldest, from a place in the list on, that nobody reads.
    fn oldest(&self, from: usize) -> Option<(usize, Key)> {
        let taken = self.reading.map(|(_, key)| key);
        let free = self.list.iter().copied().enumerate().skip(from);
        free.take(2).find(|(_, key)| Some(*key) != taken)
    }

    /// Whether nobody came to wait for them.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// A number that changes whenever one leaves.
    pub(super) fn ended(&self) -> u32 {
        self.ended
    }

    fn remove(&mut self, at: usize) {
        self.list.remove(at);
        self.ended = self.ended.wrapping_add(1);
    }
}

impl<H: Host> Req<H> {
    /// Whether it may be read by whoever comes to wait.
    fn may_be_ahead(&self) -> bool {
        let flags = SqeFlags::BUFFER_SELECT | SqeFlags::CQE_SKIP_SUCCESS;
        self.creds.is_none()
            && self.kbuf.is_none()
            && !self.on_worker
            && !self.flags.intersects(flags)
    }
}

impl<H: Host> Engine<H> {
    /// Keeps a read that found its pages missing, or sends it to a worker.
    pub(crate) fn read_ahead(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        let ours = ring.sqpoll.is_none()
            && !ring.setup.contains(Setup::IOPOLL)
            && !st.dying
            && st.acting.is_none()
            && req.may_be_ahead()
            && self.reads_for_submitter(st);
        let number = if ours { self.hold_for_disk(st, &mut req) } else { None };
        let range = req.rw().and_then(|rw| rw.readahead_range());
        let (Some(number), Some((off, len))) = (number, range) else {
            return self.punt(ring, st, req);
        };
        self.host().readahead(number, off, len);
        let key = self.park(ring, st, req, Phase::Ahead);
        st.ahead.list.push_back(key);
        if st.ahead.list.len() == 1 {
            self.tell_care_of_read(st);
        }
        self.need_care(ring, st);
        // Who waits already, or waits elsewhere, cannot take it up.
        let waits = st.sleepers > 0 || st.leader != 0 || st.ahead.is_read();
        if waits || st.ahead.alone || ring.mem.polled() || st.eventfd.is_some() {
            self.ahead_to_worker(ring, st);
        }
    }

    /// Holds the file of a read, once for all of a batch, if it is on a disk: its number.
    fn hold_for_disk(&self, st: &mut State<H>, req: &mut Req<H>) -> Option<i32> {
        let shares = st.ahead.in_batch
            && matches!(req.file, ReqFile::None)
            && !req.flags.contains(SqeFlags::FIXED_FILE);
        if shares
            && let Some((fd, file)) = &st.ahead.recent
            && *fd == req.fd
        {
            req.file = ReqFile::Held(file.clone()?);
        } else {
            self.find_file(st, req).ok()?;
            let file = req.file.file().filter(|file| file.is_local()).cloned();
            if shares {
                st.ahead.recent = Some((req.fd, file.clone()));
            }
            file?;
        }
        req.file.file()?.number()
    }

    /// Whether the list is for whom the calling thread is; an empty one becomes that.
    fn reads_for_submitter(&self, st: &mut State<H>) -> bool {
        let who = st.ahead.who.unwrap_or_else(|| self.host().identity());
        st.ahead.who = st.ahead.in_batch.then_some(who);
        if st.ahead.is_empty() {
            st.ahead.identity = who;
        }
        st.ahead.identity == who
    }

    /// Has a worker read the oldest, if nobody reads.
    pub(crate) fn ahead_to_worker(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if st.ahead.worker.is_some_and(|key| st.reqs.get(key).is_some()) {
            return;
        }
        while let Some((at, key)) = st.ahead.oldest(0) {
            st.ahead.remove(at);
            let Some(mut req) = st.reqs.remove(key) else { continue };
            req.phase = Phase::Fresh;
            st.ahead.worker = self.punted(ring, st, req);
            return;
        }
    }

    /// A worker has ended something: the list goes on, if it was read for it or nobody else looks.
    /// `here`: it may read for all, and has the application's numbers.
    pub(super) fn after_read_by_worker(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, here: bool) {
        if st.ahead.is_empty() || st.dying || st.ahead.is_read() {
            return;
        }
        if !here {
            // The background thread comes.
            return self.wake_waiters(ring, st, true);
        }
        self.look_here(ring, st);
        if st.sleepers > 0 && st.leader == 0 {
            // Who sleeps may read by itself.
            self.wake_waiters(ring, st, true);
        } else if st.ahead.alone || st.leader != 0 {
            self.ahead_to_worker(ring, st);
        }
    }

    /// Nobody has ended any for a tick.
    pub(super) fn ahead_is_alone(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        st.ahead.alone = true;
        self.ahead_to_worker(ring, st);
    }

    /// Tries those again that may be there by now, on a calling thread.
    pub(crate) fn look_again(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if self.host().identity() == st.ahead.identity {
            self.look_here(ring, st);
        }
    }

    fn look_here(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        let (mut at, mut missed, mut ended, mut bytes) = (0, 0, 0, 0u32);
        while missed < MISSES_MAX
            && ended < LOOK_MAX.0
            && bytes < LOOK_MAX.1
            && let Some((place, key)) = st.ahead.oldest(at)
        {
            at = place;
            let outcome = self.try_again(st, key);
            if outcome == Some(Outcome::Ahead) {
                at += 1;
                missed += 1;
                continue;
            }
            st.ahead.remove(at);
            ended += 1;
            if let Some(Outcome::Done(Ok(n), _)) = outcome {
                bytes = bytes.saturating_add(n.cast_unsigned());
            }
            if let (Some(outcome), Some(req)) = (outcome, st.reqs.remove(key)) {
                self.settle(ring, st, req, outcome);
            }
        }
    }

    fn try_again(&self, st: &mut State<H>, key: Key) -> Option<Outcome> {
        let req = st.reqs.get_mut(key)?;
        let number = req.file.file().and_then(HostFile::number);
        match (number, req.rw_mut()) {
            (Some(fd), Some(rw)) => Some(rw.read_now(self.host(), fd)),
            // Withdrawn since, for the program's first POSIX lock.
            _ => Some(Outcome::Punt),
        }
    }

    /// Whether a caller that waits for `want` completions gets all of them from the list, and nothing
    /// else could be late by it.
    pub(crate) fn waits_for_disk(
        &self,
        ring: &Ring<H>,
        st: &State<H>,
        want: u32,
        until: Option<u64>,
    ) -> bool {
        let listed = st.ahead.list.len();
        let soon = |until| self.host().now(Clock::Monotonic).saturating_add(NEAR_NS) > until;
        !st.ahead.is_read()
            && listed == st.reqs.len()
            && listed as u64 >= u64::from(want.saturating_sub(ring.cq_ready(st)))
            && !until.is_some_and(soon)
            && self.host().identity() == st.ahead.identity
    }

    /// Reads the oldest on the calling thread, which waits in it, with the lock let go.
    ///
    /// # Errors
    /// `EINTR`: the read was interrupted.
    pub(crate) fn read_oldest<'a>(
        &self,
        ring: &'a Arc<Ring<H>>,
        mut st: StateGuard<'a, H>,
    ) -> (StateGuard<'a, H>, Result<(), Errno>) {
        st.ahead.alone = false;
        let Some(&key) = st.ahead.list.front() else { return (st, Ok(())) };
        let found = st.reqs.get(key).and_then(|req| Some((req.rw()?, req.file.file()?)));
        let found = found.map(|(rw, file)| (rw.clone(), file.clone()));
        let mut result = Ok(());
        if let Some((mut rw, file)) = found
            && let Some(number) = file.number()
        {
            let me = self.host().tid();
            st.ahead.reading = Some((me, key));
            st.lead_epoch = st.lead_epoch.wrapping_add(1);
            self.unlock(ring, st);
            let outcome = rw.read_waiting(self.host(), number);
            let withdrawn = file.number() != Some(number);
            // Once its completion can be seen, nothing here keeps a file open.
            drop(file);
            st = ring.state.lock();
            st.ahead.calls(me);
            st.lead_epoch = st.lead_epoch.wrapping_add(1);
            st.may_post = true;
            match outcome {
                Outcome::Done(Err(Errno::EBADF), _) if withdrawn => {}
                Outcome::Done(Err(e @ Errno::EINTR), _) => result = Err(e),
                outcome => self.end_oldest(ring, &mut st, key, outcome),
            }
        }
        self.look_here(ring, &mut st);
        (st, result)
    }

    /// Ends what was read, unless somebody else did meanwhile.
    fn end_oldest(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, key: Key, outcome: Outcome) {
        let Some(at) = st.ahead.list.iter().position(|k| *k == key) else { return };
        st.ahead.remove(at);
        if let Some(req) = st.reqs.remove(key) {
            self.settle(ring, st, req, outcome);
        }
    }

    /// Ends all of them: the ring does.
    pub(crate) fn end_ahead(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        while let Some(key) = st.ahead.list.pop_front() {
            if let Some(req) = st.reqs.remove(key) {
                self.complete(ring, st, req, Err(Errno::ECANCELED), 0);
            }
        }
        st.ahead.forget();
    }
}
