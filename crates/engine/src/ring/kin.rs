//! What the processes that share a ring by fork(2) have in common, and how each of them keeps to it.
//!
//! ```text
//!   parent: State { sq_head, cq, reqs .. }        child: State { sq_head, cq, reqs .. }
//!                |      ^                                   |      ^
//!          unlock: sync | lock: load                  unlock: sync | lock: load
//!                v      |                                   v      |
//!   Commons: [count] -> [heads 0 | heads 1]  [bell]  [notes: what is owed, by whom]
//! ```
//!
//! Each process carries out what it submitted and posts it to the one CQ. So whoever takes the lock of
//! such a ring takes one that all have, and finds the heads as the last holder left them. Everything
//! else of [`State`](super::State) stays a process's own.
//!
//! **A process may end anywhere**, holding the lock or not. The heads have two copies, of which `count`
//! names the one that holds: one store makes a change of all of them, or none. What a request owes is in
//! a *note* from the moment that its entry is behind the head until its completion is before the tail:
//!
//! ```text
//!   taker                                      count
//!   GOAL: entries up to there are taken          7
//!   entry copied; note made, began 7             7      (owed: the entry is behind the head)
//!   head and tail synced                         8      (owed: the note, 7 < 8)
//!   completion written; note ended, ended 8      8      (owed still: nothing shows it)
//!   tail synced, then published                  9      (over: 8 < 9)
//! ```
//!
//! Who finds that the owner of a note is gone, or the holder of the lock, posts `ECANCELED` in its place
//! (what the kernel posts, once the file of such a request is ready); a timeout goes on until its time.
//!
//! What it does not do: share registered files, buffers and personalities, which each process has of
//! its own; or what counts and drains, which goes by what a process itself submitted.

use super::{Cq, Ring, State};
use crate::engine::Engine;
use crate::host::{Clock, Host, HostCommons, HostRing};
use crate::opcode::Cmd;
use crate::request::Req;
use crate::trace::Origin;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32 as Count;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use ringer_ring::Geometry;
use ringer_uapi::flags::{Setup, SqRing};
use ringer_uapi::{Cqe, Errno};

/// How long a process sleeps that waits for what others submitted, before it looks whether they live
/// \[ns\].
const LOOK_NS: u64 = 20_000_000;
/// The same for one that has to look at its poller, which no other process can wake.
const LEAD_NS: u64 = 2_000_000;
/// Fewest and most requests of all processes that can be noted.
const NOTES: (u32, u32) = (64, 4096);

/// Where things lie in the words \[bytes\].
mod at {
    /// Which copy of the heads holds, and how often that changed. 64 bits.
    pub(super) const COUNT: usize = 0;
    /// The copies: SQ head, CQ tail, published tail.
    pub(super) const HEADS: [usize; 2] = [16, 32];
    /// Futex of who waits for completions.
    pub(super) const BELL: usize = 48;
    /// How many do. A process that was killed in its sleep stays counted: a wake-up for nobody.
    pub(super) const SLEEPERS: usize = 52;
    /// Processes with completions that did not fit.
    pub(super) const BACKLOGS: usize = 56;
    /// While entries are taken: the head there will be.
    pub(super) const GOAL: usize = 60;
    /// Which process takes them, 0 for none.
    pub(super) const TAKING: usize = 64;
    /// As [`Ring::issuer`](super::Ring::issuer), a thread of any process.
    pub(super) const ISSUER: usize = 68;
    /// As [`Ring::disabled`](super::Ring::disabled).
    pub(super) const DISABLED: usize = 72;
    /// The process that made the ring, and has its submission thread.
    pub(super) const CREATOR: usize = 76;
    /// What the ring was made with.
    pub(super) const SETUP: usize = 80;
    pub(super) const SQ_ENTRIES: usize = 84;
    pub(super) const CQ_ENTRIES: usize = 88;
    /// How many notes there is room for.
    pub(super) const NOTES: usize = 92;
    /// Requests of all processes that are under way and noted.
    pub(super) const OWED: usize = 96;
    /// How many notes were ever made.
    pub(super) const MADE: usize = 100;
    /// The first note.
    pub(super) const FIRST: usize = 128;

    /// From one note to the next.
    pub(super) const STRIDE: usize = 64;
    /// In a note: the process whose request it is, 0: free.
    pub(super) const OWNER: usize = 0;
    /// Not 0: another process wants it cancelled.
    pub(super) const CANCEL: usize = 4;
    /// `COUNT` when it was made. 64 bits, as all that follow.
    pub(super) const BEGAN: usize = 8;
    /// `COUNT` when its completion was written; 0: it was not.
    pub(super) const ENDED: usize = 16;
    pub(super) const USER_DATA: usize = 24;
    /// When a timeout ends \[ns\], 0 for what is none.
    pub(super) const DEADLINE: usize = 32;
}

/// The [`HostCommons`] of a host.
pub(crate) type CommonsOf<H> = <<H as Host>::Ring as HostRing>::Commons;

/// The words in common, as this process has them.
#[derive(Debug)]
pub(crate) struct Common<H: Host> {
    host: CommonsOf<H>,
    /// How many notes there is room for.
    room: usize,
    /// Notes of this process, and how many it ever made.
    mine: Count,
    made: Count,
}

/// What a request owes, for others to see. Over when it is dropped: after its last completion.
#[derive(Debug)]
pub(crate) struct Note<H: Host> {
    common: Arc<Common<H>>,
    at: usize,
}

impl<H: Host> Drop for Note<H> {
    fn drop(&mut self) {
        let words = self.common.host.words();
        let count = words.w64(at::COUNT).load(Relaxed);
        words.w64(self.at + at::ENDED).store(count, Relaxed);
        words.w32(at::OWED).fetch_sub(1, Relaxed);
        self.common.mine.fetch_sub(1, Relaxed);
    }
}

impl<H: Host> Note<H> {
    /// It is a timeout, and ends at that time.
    pub(crate) fn set_deadline(&self, ns: u64) {
        self.common.host.words().w64(self.at + at::DEADLINE).store(ns.max(1), Relaxed);
    }
}

/// A note as somebody else sees it.
#[derive(Clone, Copy, Debug)]
struct Owed {
    at: usize,
    owner: u32,
    user_data: u64,
    deadline: u64,
}

impl<H: Host> Common<H> {
    /// How many bytes a ring of that size needs.
    fn len(geo: &Geometry) -> usize {
        at::FIRST + Self::room(geo) as usize * at::STRIDE
    }

    fn room(geo: &Geometry) -> u32 {
        geo.cq_entries.clamp(NOTES.0, NOTES.1)
    }

    fn new(host: CommonsOf<H>) -> Arc<Self> {
        let room = host.words().w32(at::NOTES).load(Relaxed).clamp(1, NOTES.1) as usize;
        Arc::new(Self { host, room, mine: Count::new(0), made: Count::new(0) })
    }

    fn get(&self, at: usize) -> u32 {
        self.host.words().w32(at).load(Relaxed)
    }

    fn set(&self, at: usize, value: u32) {
        self.host.words().w32(at).store(value, Relaxed);
    }

    /// Says what the ring is. Nobody else knows of it yet.
    fn describe(host: &CommonsOf<H>, ring: &Ring<H>, geo: &Geometry) {
        let set = |at: usize, value: u32| host.words().w32(at).store(value, Relaxed);
        host.words().w64(at::COUNT).store(1, Relaxed);
        set(at::ISSUER, ring.issuer.load(Relaxed));
        set(at::DISABLED, u32::from(ring.disabled.load(Relaxed)));
        set(at::CREATOR, host.me());
        set(at::SETUP, ring.setup.bits());
        set(at::SQ_ENTRIES, geo.sq_entries);
        set(at::CQ_ENTRIES, geo.cq_entries);
        set(at::NOTES, Self::room(geo));
    }

    /// All notes, from the one behind the `last`th on.
    fn notes_after(&self, last: usize) -> impl Iterator<Item = (usize, usize)> {
        let index = move |i| (last + i) % self.room;
        (1..=self.room).map(move |i| (index(i), at::FIRST + index(i) * at::STRIDE))
    }

    fn notes(&self) -> impl Iterator<Item = usize> {
        self.notes_after(self.room - 1).map(|(_, note)| note)
    }

    /// Whether a note stands for something that is still owed.
    fn owed(&self, note: usize) -> Option<Owed> {
        let words = self.host.words();
        // Acquire: pairs with the Release in `note`.
        let owner = words.w32(note + at::OWNER).load(Acquire);
        let word = |at: usize| words.w64(note + at).load(Relaxed);
        let count = words.w64(at::COUNT).load(Relaxed);
        let (began, ended) = (word(at::BEGAN), word(at::ENDED));
        let over = ended != 0 && ended < count;
        if owner == 0 || began >= count || over {
            return None;
        }
        let (user_data, deadline) = (word(at::USER_DATA), word(at::DEADLINE));
        Some(Owed { at: note, owner, user_data, deadline })
    }

    /// Whether a note may be used for another request: nothing was in it, or that is over.
    fn is_free(&self, note: usize) -> bool {
        let words = self.host.words();
        let word = |at: usize| words.w64(note + at).load(Relaxed);
        let ended = word(at::ENDED);
        words.w32(note + at::OWNER).load(Acquire) == 0
            || ended != 0 && ended < words.w64(at::COUNT).load(Relaxed)
    }

    /// Ends a note of a process that cannot any more.
    fn end(&self, note: usize) {
        self.host.words().w32(note + at::OWNER).store(0, Relaxed);
        self.host.words().w32(at::OWED).fetch_sub(1, Relaxed);
    }

    /// Sets right the notes of a process that ended with the lock, before the heads change again.
    #[cold]
    fn settle_notes(&self, dead: u32) {
        let words = self.host.words();
        let count = words.w64(at::COUNT).load(Relaxed);
        for note in self.notes().filter(|n| words.w32(n + at::OWNER).load(Acquire) == dead) {
            if words.w64(note + at::BEGAN).load(Relaxed) >= count {
                // Its entry is not behind the head.
                self.end(note);
            } else if words.w64(note + at::ENDED).load(Relaxed) >= count {
                // What was written is not before the tail: it is owed.
                words.w64(note + at::ENDED).store(0, Relaxed);
                words.w32(at::OWED).fetch_add(1, Relaxed);
            }
        }
    }

    /// Whether other processes have something under way.
    fn others_owe(&self) -> bool {
        self.get(at::OWED) > self.mine.load(Relaxed)
    }

    /// Sleeps until completions come.
    fn doze(&self, seq: u32, timeout_ns: Option<u64>) -> Result<(), Errno> {
        let look = self.others_owe().then_some(LOOK_NS);
        let shortest = match (timeout_ns, look) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match self.host.park(at::BELL, seq, shortest) {
            Err(Errno::ETIMEDOUT) if shortest != timeout_ns => Ok(()),
            other => other,
        }
    }

    /// See [`ring_bell`].
    fn ring_bell(&self) -> bool {
        self.host.words().w32(at::BELL).fetch_add(1, Relaxed);
        self.get(at::SLEEPERS) > 0
    }

    /// What others than this process owe.
    fn others(&self) -> Vec<Owed> {
        let me = self.host.me();
        self.notes().filter_map(|n| self.owed(n)).filter(|owed| owed.owner != me).collect()
    }
}

/// What a ring's state has of [`Common`].
#[derive(Debug)]
pub(crate) struct Kin<H: Host> {
    common: Arc<Common<H>>,
    /// The SQ head as others may find it: entries before it ended, or are noted.
    handled: u32,
    /// The index of the note that was made last.
    last: usize,
    /// Whether this process is counted in `BACKLOGS`.
    backlogged: bool,
    /// Notes that others had made at the last look at what they owe, and when that was \[ns\].
    looked: (u32, u64),
}

impl<H: Host> Kin<H> {
    fn new(common: Arc<Common<H>>) -> Self {
        Self { common, handled: 0, last: 0, backlogged: false, looked: (0, 0) }
    }

    /// The words in common.
    pub(crate) fn common(&self) -> &Arc<Common<H>> {
        &self.common
    }

    fn load(&mut self, sq_head: &mut u32, cq: &mut Cq) {
        let count = self.common.host.words().w64(at::COUNT).load(Acquire);
        let [even, odd] = at::HEADS;
        let heads = if count.is_multiple_of(2) { even } else { odd };
        *sq_head = self.common.get(heads);
        cq.tail = self.common.get(heads + 4);
        cq.published = self.common.get(heads + 8);
        self.handled = *sq_head;
    }

    /// Makes the heads as they are those that others find.
    pub(super) fn sync(&self, cq: &Cq) {
        let count = self.common.host.words().w64(at::COUNT);
        let next = count.load(Relaxed) + 1;
        let [even, odd] = at::HEADS;
        let heads = if next.is_multiple_of(2) { even } else { odd };
        self.common.set(heads, self.handled);
        self.common.set(heads + 4, cq.tail);
        self.common.set(heads + 8, cq.published);
        // Release: the copy, the notes and the CQEs before come first.
        count.store(next, Release);
    }

    /// On taking the lock.
    pub(super) fn enter(&mut self, sq_head: &mut u32, cq: &mut Cq) {
        if let Some(dead) = self.common.host.lock() {
            self.common.settle_notes(dead);
        }
        self.load(sq_head, cq);
    }

    /// The same, unless another process has the lock.
    pub(super) fn try_enter(&mut self, sq_head: &mut u32, cq: &mut Cq) -> bool {
        let Some(dead) = self.common.host.try_lock() else { return false };
        if let Some(dead) = dead {
            self.common.settle_notes(dead);
        }
        self.load(sq_head, cq);
        true
    }

    /// On letting go of it.
    pub(super) fn leave(&mut self, sq_head: u32, cq: &Cq) {
        let backlogged = !cq.backlog.is_empty();
        if backlogged != self.backlogged {
            let backlogs = self.common.host.words().w32(at::BACKLOGS);
            let by = if backlogged { 1 } else { u32::MAX };
            backlogs.fetch_add(by, Relaxed);
            self.backlogged = backlogged;
        }
        self.handled = sq_head;
        self.sync(cq);
        self.common.host.unlock();
    }

    /// Whether completions of other processes wait for room in the CQ.
    pub(super) fn others_overflow(&self) -> bool {
        self.common.get(at::BACKLOGS) > u32::from(self.backlogged)
    }

    /// Entries up to that head are being taken.
    pub(super) fn begin_taking(&mut self, goal: u32) {
        self.common.set(at::GOAL, goal);
        self.common.set(at::TAKING, self.common.host.me());
    }

    /// Whether this process has something under way.
    pub(super) fn owes(&self) -> bool {
        self.common.mine.load(Relaxed) > 0
    }

    /// What was taken before that head has ended, or is noted.
    pub(super) fn took(&mut self, head: u32, cq: &Cq) {
        self.handled = head;
        self.sync(cq);
    }

    /// No more are taken.
    pub(super) fn end_taking(&mut self, head: u32, cq: &Cq) {
        self.took(head, cq);
        self.common.set(at::TAKING, 0);
    }

    /// Notes a request. `None`: there are too many.
    fn note(&mut self, user_data: u64) -> Option<Note<H>> {
        let common = &self.common;
        let (index, at) = common.notes_after(self.last).find(|(_, n)| common.is_free(*n))?;
        self.last = index;
        let words = common.host.words();
        let count = words.w64(at::COUNT).load(Relaxed);
        words.w32(at + at::OWNER).store(0, Relaxed);
        words.w32(at + at::CANCEL).store(0, Relaxed);
        words.w64(at + at::BEGAN).store(count, Relaxed);
        words.w64(at + at::ENDED).store(0, Relaxed);
        words.w64(at + at::USER_DATA).store(user_data, Relaxed);
        words.w64(at + at::DEADLINE).store(0, Relaxed);
        // Release: pairs with the Acquire in `owed`.
        words.w32(at + at::OWNER).store(common.host.me(), Release);
        words.w32(at::OWED).fetch_add(1, Relaxed);
        words.w32(at::MADE).fetch_add(1, Relaxed);
        common.mine.fetch_add(1, Relaxed);
        common.made.fetch_add(1, Relaxed);
        Some(Note { common: common.clone(), at })
    }
}

impl<H: Host> State<H> {
    /// So many entries are going to be taken.
    #[cold]
    pub(super) fn begin_taking(&mut self, n: u32) {
        if let Some(kin) = &mut self.kin {
            kin.begin_taking(self.sq_head.wrapping_add(n));
        }
    }

    /// No more are taken. Whether something of this process is under way.
    #[cold]
    pub(super) fn end_taking(&mut self) -> bool {
        let Some(kin) = &mut self.kin else { return false };
        kin.end_taking(self.sq_head, &self.cq);
        kin.owes()
    }

    /// In a batch: what was taken has ended, or is noted.
    #[cold]
    pub(super) fn took(&mut self) {
        if let Some(kin) = &mut self.kin {
            kin.took(self.sq_head, &self.cq);
        }
    }

    /// Notes a request of a ring that others have, too.
    #[inline]
    pub(crate) fn note(&mut self, user_data: u64) -> Option<Note<H>> {
        let kin = self.kin.as_mut()?;
        let first = kin.common.mine.load(Relaxed) == 0;
        let note = kin.note(user_data);
        // Who sleeps without a limit does not look yet whether this process lives.
        self.due.bell |= first && ring_bell(self);
        note
    }

    /// Notes a request, and what follows it in its chain, that was begun before the ring was shared.
    fn note_chain(kin: &mut Kin<H>, req: &mut Req<H>) {
        let mut at = Some(req);
        while let Some(req) = at {
            req.note = kin.note(req.user_data);
            if let (
                Some(note),
                Some(Cmd::Timeout(_)),
                crate::request::Phase::Timer(Some((ns, _))),
            ) = (&req.note, &req.cmd, &req.phase)
            {
                note.set_deadline(*ns);
            }
            at = req.next.as_deref_mut();
        }
    }
}

impl<H: Host> Ring<H> {
    /// Whether the ring waits for ENABLE_RINGS.
    #[inline(always)]
    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled.load(Acquire) && self.is_disabled_among()
    }

    #[cold]
    fn is_disabled_among(&self) -> bool {
        let Some(common) = self.common() else { return true };
        if common.get(at::DISABLED) != 0 {
            return true;
        }
        // Another process has enabled it.
        self.issuer.store(common.get(at::ISSUER), Relaxed);
        self.disabled.store(false, Release);
        false
    }

    /// The ring was enabled by this process.
    pub(crate) fn tell_enabled(&self, st: &State<H>) {
        if let Some(kin) = &st.kin {
            kin.common.set(at::ISSUER, self.issuer.load(Relaxed));
            kin.common.set(at::DISABLED, 0);
        }
    }

    fn common(&self) -> Option<Arc<Common<H>>> {
        self.state.lock().kin.as_ref().map(|kin| kin.common.clone())
    }
}

// --- sharing, and taking over what was shared -------------------------------------------------------

impl<H: Host> Engine<H> {
    /// The process is about to fork: the child will have its rings, too.
    pub fn before_fork(&self) {
        for ring in self.rings().all() {
            self.share(&ring);
        }
    }

    fn share(&self, ring: &Arc<Ring<H>>) {
        let mut st = ring.state.lock();
        // Finished I/O of an IOPOLL ring is found by polling, which only its submitter can.
        if st.kin.is_some() || st.dying || ring.setup.contains(Setup::IOPOLL) {
            return;
        }
        let Ok(host) = ring.mem.share(Common::<H>::len(&st.geo)) else { return };
        Common::<H>::describe(&host, ring, &st.geo);
        let common = Common::new(host);
        if ring.defers() && ring.issuer.load(Relaxed) != 0 {
            // Nobody else may do anything with it, and its owner nothing but what it did.
            return;
        }
        let mut kin = Kin::new(common);
        let (mut sq_head, mut cq) = (st.sq_head, core::mem::take(&mut st.cq));
        let synced = (sq_head, cq.tail, cq.published);
        kin.enter(&mut sq_head, &mut cq);
        (sq_head, cq.tail, cq.published) = synced;
        kin.handled = sq_head;
        (st.sq_head, st.cq) = (sq_head, cq);
        let keys: Vec<_> = st.reqs.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(req) = st.reqs.get_mut(key) {
                State::note_chain(&mut kin, req);
            }
        }
        let State { ready, drained, put_off, .. } = &mut *st;
        for req in ready.iter_mut().chain(drained).chain(put_off) {
            State::note_chain(&mut kin, req);
        }
        let needs_relay = kin.common.mine.load(Relaxed) > 0 || ring.sqpoll.is_some();
        // Who waits does so as the only process: it has to wait anew.
        self.wake_waiters(ring, &mut st, true);
        // From here on the guard lets go of the lock in common, too.
        st.kin = Some(kin);
        self.unlock(ring, st);
        if needs_relay {
            self.ensure_relay();
        }
    }

    /// Makes `fd`, a ring of the process this one was forked from, one of this process.
    ///
    /// # Errors
    /// `EOWNERDEAD`: it was not shared. `ENOMEM`, `EMFILE`, `ENFILE`.
    pub fn adopt(&self, fd: i32) -> Result<Arc<Ring<H>>, Errno> {
        let id = self.rings().reserve()?;
        // Read once: another process may change it.
        let mut geometry = None;
        let adopted = self.host().ring_adopt(fd, id, |words| {
            let word = |at: usize| words.w32(at).load(Relaxed);
            let setup = Setup::from_bits_truncate(word(at::SETUP));
            let sizes = (word(at::SQ_ENTRIES), word(at::CQ_ENTRIES));
            geometry.insert((setup, super::setup::lay_out(sizes, setup))).1
        });
        let (mem, pages, host) = match adopted {
            Ok(made) => made,
            Err(e) => {
                self.forget_ring(id);
                if e != Errno::EEXIST {
                    return Err(e);
                }
                return self.ring(self.host().ring_of(fd)?).ok_or(Errno::EOPNOTSUPP);
            }
        };
        let common = Common::<H>::new(host);
        let (setup, geo) = geometry.ok_or(Errno::EOWNERDEAD)?;
        let mut state = State::new(pages, geo);
        state.kin = Some(Kin::new(common.clone()));
        // What a replayed program hands to a child must not be done for real there.
        state.fates.replayed = self.host().replays(id);
        state.fates.adopted = self.policy().adopts(id) || state.fates.replayed;
        let ring = Arc::new(Ring::new((id, setup), (mem, state), None, None));
        ring.issuer.store(common.get(at::ISSUER), Relaxed);
        ring.disabled.store(common.get(at::DISABLED) != 0, Relaxed);
        self.join(&mut ring.state.lock());
        self.rings().publish(ring.clone());
        Ok(ring)
    }

    /// `enter` of another process's SQPOLL ring: has its thread woken.
    ///
    /// # Errors
    /// `EOWNERDEAD`: that process is gone.
    pub(super) fn call_sq_thread(&self, ring: &Ring<H>, wakes: bool) -> Result<(), Errno> {
        let common = ring.common().ok_or(Errno::EOWNERDEAD)?;
        let creator = common.get(at::CREATOR);
        if !common.host.lives(creator) {
            return Err(Errno::EOWNERDEAD);
        }
        if wakes {
            common.host.call(creator);
        }
        Ok(())
    }
}

// --- what others owe --------------------------------------------------------------------------------

impl<H: Host> Engine<H> {
    /// Sleeps, the lock let go, until completions come from anywhere.
    pub(super) fn doze_among(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut super::StateGuard<'_, H>,
        common: &Arc<Common<H>>,
        timeout: Option<u64>,
    ) -> Result<(), Errno> {
        let words = common.host.words();
        words.w32(at::SLEEPERS).fetch_add(1, Relaxed);
        // Bumped under the lock in common, so that a bump after this is seen by the futex.
        let seq = words.w32(at::BELL).load(Relaxed);
        let r = self.unlocked(ring, st, || common.doze(seq, timeout));
        words.w32(at::SLEEPERS).fetch_sub(1, Relaxed);
        r
    }

    /// Before entries are taken: a process that took some may have ended meanwhile.
    #[cold]
    pub(super) fn attend_taker(&self, ring: &Ring<H>, st: &mut State<H>) {
        let Some(kin) = &st.kin else { return };
        let common = kin.common.clone();
        let taker = common.get(at::TAKING);
        if taker != 0 && taker != common.host.me() && !common.host.lives(taker) {
            self.take_over(ring, st, &common);
        }
    }

    /// Ends what those owe that are gone, and has the others hurry. Every [`LOOK_NS`], and when something
    /// has begun since.
    #[cold]
    pub(super) fn attend_kin(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        self.attend_taker(ring, st);
        let Some(kin) = &mut st.kin else { return };
        if !kin.common.others_owe() {
            return;
        }
        let made = kin.common.get(at::MADE).wrapping_sub(kin.common.made.load(Relaxed));
        let now = self.host().now(Clock::Monotonic);
        let (seen, at) = core::mem::replace(&mut kin.looked, (made, now));
        if seen != made || now >= at.saturating_add(LOOK_NS) {
            let common = kin.common.clone();
            self.end_dead(ring, st, &common, seen != made);
        } else {
            kin.looked.1 = at;
        }
    }

    /// Ends the entries that a process was taking when it ended.
    #[cold]
    fn take_over(&self, ring: &Ring<H>, st: &mut State<H>, common: &Common<H>) {
        let left = common.get(at::GOAL).wrapping_sub(st.sq_head).min(st.geo.sq_entries);
        for _ in 0..left {
            let sq = st.sq_pages();
            let user_data = sq.index(st.sq_head).map(|index| sq.sqe(index).user_data);
            st.sq_head = st.sq_head.wrapping_add(1);
            if let Some(user_data) = user_data {
                self.post_for(ring, st, user_data, Errno::ECANCELED);
            }
        }
        common.set(at::TAKING, 0);
        st.sq_pages().publish_head(st.sq_head);
        st.cq_pages().publish_tail(st.cq.published);
    }

    /// Posts what processes owe that are gone; calls the others, if they are to `hurry`.
    #[cold]
    fn end_dead(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, common: &Common<H>, hurry: bool) {
        let others = common.others();
        let mut owners: Vec<u32> = others.iter().map(|owed| owed.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        let (alive, dead): (Vec<u32>, Vec<u32>) =
            owners.iter().partition(|process| common.host.lives(**process));
        if hurry {
            alive.iter().for_each(|process| common.host.call(*process));
        }
        if dead.is_empty() {
            return;
        }
        let now = self.host().now(Clock::Monotonic);
        for owed in others.iter().filter(|owed| dead.contains(&owed.owner)) {
            let res = match owed.deadline {
                0 => Errno::ECANCELED,
                at if at <= now => Errno::ETIME,
                _ => continue,
            };
            self.post_for(ring, st, owed.user_data, res);
            common.end(owed.at);
        }
        self.commit(ring, st);
    }

    /// Posts what a process owes that is gone.
    fn post_for(&self, ring: &Ring<H>, st: &mut State<H>, user_data: u64, e: Errno) {
        let cqe = Cqe::new(user_data, Err(e), 0);
        let posted = ring.post(st, cqe);
        self.trace_alone(ring, &cqe, posted, Origin::Kin);
    }

    /// Asks other processes to cancel what has this user_data; how many requests that are.
    pub(crate) fn cancel_among(&self, st: &State<H>, user_data: u64, all: bool) -> usize {
        let Some(kin) = &st.kin else { return 0 };
        let common = &kin.common;
        let me = common.host.me();
        let is = |owed: &Owed| owed.owner != me && owed.user_data == user_data;
        let found = common.notes().filter_map(|n| common.owed(n)).filter(is);
        let asked: Vec<Owed> = found.take(if all { usize::MAX } else { 1 }).collect();
        for owed in &asked {
            common.set(owed.at + at::CANCEL, 1);
            common.host.call(owed.owner);
        }
        asked.len()
    }

    /// Makes the thread that other processes can call, if there is none. Without one (limits) what they
    /// ask for waits until this process looks.
    pub(crate) fn ensure_relay(&self) {
        use core::sync::atomic::Ordering::AcqRel;
        if self.relays().swap(true, AcqRel) {
            return;
        }
        let Some(engine) = self.me() else { return };
        let body = alloc::boxed::Box::new(move || {
            let mut seen = 0;
            loop {
                seen = engine.host().await_call(seen);
                engine.rings().all().iter().for_each(|ring| engine.answer_call(ring));
            }
        });
        if self.host().spawn(crate::host::ThreadKind::Reactor, body).is_err() {
            self.relays().store(false, Release);
        }
    }

    /// Does what other processes may have called for: cancels, what overflowed, what nobody here waits
    /// for, the submission thread.
    fn answer_call(&self, ring: &Arc<Ring<H>>) {
        let mut st = ring.state.lock();
        let Some(common) = st.kin.as_ref().map(|kin| kin.common.clone()) else { return };
        if st.dying {
            return;
        }
        st.may_post = !ring.defers();
        let me = common.host.me();
        for note in common.notes() {
            let asked = common.owed(note).filter(|owed| owed.owner == me);
            if let Some(owed) = asked
                && common.host.words().w32(note + at::CANCEL).swap(0, Relaxed) != 0
            {
                let key = st
                    .reqs
                    .of(owed.user_data)
                    .find(|(_, r)| r.note.as_ref().is_some_and(|n| n.at == note))
                    .map(|(key, _)| key);
                if let Some(key) = key {
                    self.cancel_one(&mut st, key);
                }
            }
        }
        if st.sq_pages().flags() & SqRing::CQ_OVERFLOW.bits() != 0 {
            ring.flush_backlog(&mut st);
        }
        if st.may_post {
            self.hurry(ring, &mut st);
        }
        if let Some(sp) = &ring.sqpoll {
            sp.kick(self.host());
        }
        self.attend_kin(ring, &mut st);
        self.run_ready_in_turns(ring, st);
    }

    /// Somebody elsewhere waits for what this process has under way.
    fn hurry(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if st.aio.in_flight() {
            self.reap_transfers(ring, st);
        }
        if st.leader == 0 {
            self.ahead_to_worker(ring, st);
            self.poll_events(ring, st);
        }
        self.run_timers(ring, st);
        self.commit(ring, st);
    }
}

/// How long a process may stay in its poller's wait on a ring that others post to.
pub(super) fn lead_for<H: Host>(st: &State<H>, timeout: Option<u64>) -> Option<u64> {
    match &st.kin {
        None => timeout,
        Some(_) => Some(timeout.map_or(LEAD_NS, |ns| ns.min(LEAD_NS))),
    }
}

/// Has everybody who waits for completions look. True: somebody sleeps, and is to be woken
/// ([`wake_all`]) once the lock is free.
pub(super) fn ring_bell<H: Host>(st: &State<H>) -> bool {
    st.kin.as_ref().is_some_and(|kin| kin.common.ring_bell())
}

/// Wakes who was told to look.
pub(super) fn wake_all<H: Host>(ring: &Ring<H>) {
    ring.mem.unpark_among(at::BELL);
}
