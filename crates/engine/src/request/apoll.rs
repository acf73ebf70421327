//! Armed poll: requests that wait until their file is ready.
//!
//! ```text
//!  req --waits in--> Watch --number, edge-triggered--> poller
//!                      |  one a request on a plain descriptor: made and removed with it
//!                      |  one a registered file: made once, shared, no call for each request
//!                      '  one a multishot poll, with one entry or two (`edges`)
//! ```
//!
//! No edge is lost: a request waits only after its own attempt said "not ready", and an edge that
//! comes after that attempt is handled after the ring's lock is free again, when the request is in
//! the watch:
//!
//! ```text
//!   submitter (lock held)            leader
//!   recv -> EAGAIN
//!                                    wait returns the edge of new data
//!   push into watch                  lock ...
//!   unlock                           ... finds the request, tries again
//! ```
//!
//! What it does not do: wait (`ring::wait` and `reactor` do).

use super::edges::{self, Edge, edge_of, tells_wakes};
use super::lent::end_of;
use super::select::Shot;
use super::turns::accepts;
use super::{Phase, Req, ReqFile, aio};
use crate::engine::Engine;
use crate::host::{FileKind, Host, HostFile, PollEvent, Poller};
use crate::opcode::poll::{DEFAULT_POLLMASK, O_PATH};
use crate::opcode::tx_timestamp::is_timestamps;
use crate::opcode::{Cmd, Outcome};
use crate::ring::{Ring, State};
use crate::slab::Key;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use ringer_uapi::Errno;
use ringer_uapi::flags::SqeFlags;

/// How often a file may look ready without being so (6.18 io_uring/poll.c).
const APOLL_MAX_RETRY: u32 = 128;
pub(super) const EPOLLIN: u32 = 1;
pub(super) const EPOLLPRI: u32 = 2;
pub(super) const EPOLLOUT: u32 = 4;
pub(super) const EPOLLERR: u32 = 8;
pub(super) const EPOLLHUP: u32 = 0x10;
pub(super) const EPOLLRDHUP: u32 = 0x2000;
const EPOLLET: u32 = 1 << 31;
/// Everything a watch of a registered file asks for.
const ANY: u32 = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP;
/// Conditions that wake every waiter.
const ALWAYS: u32 = EPOLLERR | EPOLLHUP;
/// Bits of a poll request that are about waking and not about readiness.
const HOW: u32 = 0xf000_0000;

/// A watched descriptor. See the module's picture.
#[derive(Debug)]
pub struct Watch<H: Host> {
    pub(super) file: H::File,
    pub(super) number: i32,
    pub(super) waiters: Vec<(Key, u32)>,
    /// Registered files that it is for: those that were registered under one number are one.
    nodes: u32,
    /// The entry for room, under its own number, of a watch that has two.
    pub(super) room: Option<H::File>,
    /// The ring that it is.
    of: Option<Weak<Ring<H>>>,
    /// It may look ready to those who found nothing, and no edge comes then: a datagram socket that was shut
    /// down (6.18 net/core/datagram.c `datagram_poll`).
    deceives: bool,
    /// What the poller reports of it.
    pub(super) ask: u32,
    /// The application's number that it was made for, if it may stay without a request (`lent.rs`).
    pub(super) lent: Option<i32>,
}

impl<H: Host> Watch<H> {
    fn new(file: H::File, number: i32) -> Self {
        let (waiters, room, of, lent) = (Vec::new(), None, None, None);
        Self { file, number, waiters, nodes: 0, room, of, deceives: false, ask: 0, lent }
    }
}

/// Whether a multishot poll watches the ring's own eventfd, and the ring signalled it: each
/// completion would bring the next (poll.c `io_poll_wake`, `EPOLL_URING_WAKE`).
fn woke_itself<H: Host>(st: &mut State<H>, req: &Req<H>) -> bool {
    let own = st.eventfd_told
        && st
            .eventfd
            .as_ref()
            .is_some_and(|(own, _)| req.file.file().is_some_and(|watched| watched.same_file(own)));
    if own {
        st.eventfd_told = false;
    }
    own
}

/// Whether an edge is for who waits for `want`.
fn hits(seen: u32, want: u32) -> bool {
    seen & (want | ALWAYS) != 0 || want & EPOLLIN != 0 && seen & EPOLLRDHUP != 0
}

/// Whether the thread that has the lock can receive for a request where it waits: a multishot RECV
/// that is nothing else.
fn shoots<H: Host>(st: &State<H>, key: Key) -> bool {
    let simple = |req: &Req<H>| {
        matches!(&req.cmd, Some(Cmd::Recv(c)) if c.is_multishot() && c.bundle().is_none())
            && req.kbuf.is_none()
            && req.creds.is_none()
            && !req.on_worker
            && !req.untried
    };
    st.may_post && !st.dying && st.acting.is_none() && st.reqs.get(key).is_some_and(simple)
}

impl<H: Host> Engine<H> {
    /// Lets a request wait until its file shows one of `events`, then tries again.
    pub(crate) fn arm(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>, events: u32) {
        match self.watch_for(st, &mut req, events) {
            Ok(Some(watch)) if self.is_deceived(st, &req, watch, events) => {
                let outcome = self.issue_inline(ring, st, &mut req);
                if outcome == Outcome::Again {
                    // A call that waits is answered.
                    req.gave_up = true;
                    return self.punt(ring, st, req);
                }
                self.settle(ring, st, req, outcome);
            }
            Ok(Some(watch)) => {
                self.note_polled_ring(st, &req, watch);
                // It looks first when it is woken, and the poller tells it what was there already.
                st.poll_now |= is_timestamps(&req) && self.looks_ready(&req, events);
                self.park_in(ring, st, req, (watch, events));
                self.tell_care_of_wait(st);
                self.need_care(ring, st);
            }
            // No worker can wait for a mask, or an error.
            Ok(None) if matches!(req.cmd, Some(Cmd::PollAdd(_))) || is_timestamps(&req) => {
                self.complete(ring, st, req, Err(Errno::ENOMEM), 0);
            }
            Ok(None) => self.punt(ring, st, req),
            Err(Errno::EPERM) if matches!(req.cmd, Some(Cmd::PollAdd(_))) => {
                // fs/select.c DEFAULT_POLLMASK: what has no poll is always ready.
                // poll.c `__io_arm_poll_handler`: nothing of interest and nothing to wait for.
                let mask = DEFAULT_POLLMASK & events;
                let res = if mask == 0 { Err(Errno::EINVAL) } else { Ok(mask as i32) };
                self.complete(ring, st, req, res, 0);
            }
            Err(Errno::EPERM) => self.punt(ring, st, req),
            Err(e) => self.complete(ring, st, req, Err(e), 0),
        }
    }

    /// Whether a request that found nothing would wait for an edge that has been.
    fn is_deceived(&self, st: &State<H>, req: &Req<H>, watch: Key, events: u32) -> bool {
        let transfers = !accepts(req) && !matches!(req.cmd, Some(Cmd::PollAdd(_)));
        transfers
            && st.watches.get(watch).is_some_and(|w| w.deceives)
            && self.looks_ready(req, events)
    }

    /// A ring that polls another one, or itself, is told of what is posted there. No ring can be
    /// registered, and a descriptor of one looks like a pipe's.
    fn note_polled_ring(&self, st: &mut State<H>, req: &Req<H>, watch: Key) {
        if !matches!(req.file, ReqFile::Held(_))
            || req.file.kind() != Some(FileKind::Pipe)
            || !self.rings().may_be_several() && !matches!(req.cmd, Some(Cmd::PollAdd(_)))
        {
            return;
        }
        let polled = self.host().ring_of(req.fd).ok().and_then(|id| self.ring(id));
        if let Some(polled) = polled
            && let Some(w) = st.watches.get_mut(watch)
        {
            w.of = Some(Arc::downgrade(&polled));
        }
    }

    /// Stores a request that waits in a watch.
    fn park_in(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: Req<H>,
        (watch, want): (Key, u32),
    ) -> Key {
        let keeps_turn = accepts(&req) && matches!(req.phase, Phase::Polled(_));
        let key = self.park(ring, st, req, Phase::Polled(watch));
        if let Some(w) = st.watches.get_mut(watch) {
            let at = if keeps_turn { 0 } else { w.waiters.len() };
            w.waiters.insert(at, (key, want));
            if let Some(of) = w.of.as_ref().and_then(Weak::upgrade) {
                of.watchers.add(ring);
            }
            st.polled += 1;
        }
        if st.leader == 0 && st.sleepers > 0 {
            // Whoever sleeps now must look at the poller instead.
            self.wake_waiters(ring, st, true);
        }
        key
    }

    /// A multishot request that the kernel has on a worker is not tried there, but armed; its linked
    /// timeout starts with the first event (io_uring.c `io_wq_submit_work`).
    pub(super) fn arm_multishot(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        let events = req.def().poll;
        // Also what fails there ends in task work.
        req.on_worker = false;
        if let Err(e) = self.find_file(st, &mut req) {
            return self.fail_from_worker(ring, st, req, e);
        }
        if let Some(FileKind::Regular | FileKind::Directory) = req.file.kind() {
            // What was opened with O_PATH is no file.
            let plain = !req.flags.contains(SqeFlags::FIXED_FILE);
            let found = !plain || self.host().status_flags(req.fd).is_ok_and(|f| f & O_PATH == 0);
            let e = if found { Errno::EBADFD } else { Errno::EBADF };
            return self.fail_from_worker(ring, st, req, e);
        }
        req.untried = true;
        match self.looks_ready(&req, events) {
            // Its poll is for one event, which is there (poll.c `__io_arm_poll_handler`): no worker goes
            // on with it then.
            true if matches!(req.cmd, Some(Cmd::Send(_))) => {
                self.fail_from_worker(ring, st, req, Errno::ECANCELED);
            }
            true => self.requeue(ring, st, req),
            false => self.arm(ring, st, req, events),
        }
    }

    /// Ends what a worker could not begin in task work, of which it is the worker who tells the owner
    /// (io_uring.c `io_req_task_queue_fail`).
    fn fail_from_worker(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>, e: Errno) {
        st.cq.from_worker |= ring.defers();
        self.complete(ring, st, req, Err(e), 0);
    }

    /// Lets others run before a multishot request that has more to do goes on; meanwhile it is in its
    /// watch, where a cancel finds it (net.c `MULTISHOT_MAX_RETRY`, poll.c `IOU_POLL_REQUEUE`).
    pub(crate) fn requeue(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        let events = req.waits_for();
        let Ok(Some(watch)) = self.watch_for(st, &mut req, events) else {
            return self.arm(ring, st, req, events);
        };
        let key = self.park_in(ring, st, req, (watch, events));
        st.requeued.push_back(key);
    }

    /// Goes on with up to `most` of those that were requeued by now. Returns how many.
    pub(super) fn run_requeued(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        most: usize,
    ) -> usize {
        let turns = most.min(st.requeued.len());
        for _ in 0..turns {
            let Some(key) = st.requeued.pop_front() else { break };
            let Some(&Phase::Polled(watch)) = st.reqs.get(key).map(|r| &r.phase) else { continue };
            let Some(w) = st.watches.get_mut(watch) else { continue };
            let Some(at) = w.waiters.iter().position(|(k, _)| *k == key) else { continue };
            let (_, want) = w.waiters.remove(at);
            st.polled -= 1;
            // What it missed may be the end.
            self.retry(ring, st, key, (watch, Edge::plain(want | EPOLLRDHUP), want));
            self.drop_idle_watch(st, watch);
        }
        turns
    }

    /// The watch for a request, found or made. `None`: the file has no number to watch.
    pub(crate) fn watch_for(
        &self,
        st: &mut State<H>,
        req: &mut Req<H>,
        events: u32,
    ) -> Result<Option<Key>, Errno> {
        if let Phase::Polled(w) = req.phase
            && st.watches.get(w).is_some()
        {
            return Ok(Some(w));
        }
        let ask = (events & !HOW | end_of(req)) | EPOLLET;
        if let Some(lent) = self.borrow_watch(st, req, ask) {
            return Ok(Some(lent));
        }
        self.find_file(st, req)?;
        if tells_wakes(req) {
            return self.watch_alone(st, req, events);
        }
        let known = match &req.file {
            ReqFile::Node(node) => node.watch(),
            ReqFile::Held(file) if accepts(req) => self.acceptors_of(st, file),
            _ => None,
        };
        let watch = match known {
            Some(w) => w,
            None => {
                let Some(file) = req.file.file().cloned() else { return Err(Errno::EBADF) };
                let Some(number) = file.number() else { return Ok(None) };
                let watch = self.watch(st, req, (file, number), ask)?;
                self.lend(st, req, watch);
                watch
            }
        };
        if accepts(req) && !st.acceptors.contains(&watch) {
            st.acceptors.push(watch);
        }
        Ok(Some(watch))
    }

    /// A watch of a file that had none of its own.
    fn watch(
        &self,
        st: &mut State<H>,
        req: &Req<H>,
        (file, number): (H::File, i32),
        ask: u32,
    ) -> Result<Key, Errno> {
        let shared = matches!(req.file, ReqFile::Node(_));
        let ask = if shared { ANY | EPOLLET } else { ask };
        let poller = self.poller_of(st)?;
        let deceives = shared && file.kind() == FileKind::Socket && !self.host().is_stream(number);
        let mut watch = st.watches.insert(Watch { ask, deceives, ..Watch::new(file, number) });
        if let Err(e) = poller.add(number, ask, watch.bits()) {
            st.watches.remove(watch);
            // Registered under one number twice, or back in a copy that is lent: both wait in the first one's.
            let twin = st.watches.iter().find(|(_, w)| w.number == number && w.room.is_none());
            watch = twin.map(|(w, _)| w).filter(|_| e == Errno::EEXIST).ok_or(e)?;
            self.widen(st, watch, ask)?;
        }
        if let (ReqFile::Node(node), Some(w)) = (&req.file, st.watches.get_mut(watch)) {
            w.nodes += 1;
            node.set_watch(Some(watch));
        }
        Ok(watch)
    }

    /// A watch for one multishot poll.
    fn watch_alone(
        &self,
        st: &mut State<H>,
        req: &Req<H>,
        events: u32,
    ) -> Result<Option<Key>, Errno> {
        let file = match &req.file {
            ReqFile::Node(node) => node.file.another().ok(),
            held => held.file().cloned(),
        };
        let Some(file) = file else { return Ok(None) };
        let Some(number) = file.number() else { return Ok(None) };
        let poller = self.poller_of(st)?;
        let two = edges::halves(events & !HOW).and_then(|two| Some((file.another().ok()?, two)));
        let (room, ask) = match two {
            Some((room, (arrivals, _))) => (Some(room), arrivals),
            // With no number to be had, what holds is told.
            None => (None, events & !HOW),
        };
        let watch = st.watches.insert(Watch { room, ..Watch::new(file, number) });
        let mut added = poller.add(number, ask | EPOLLET, watch.bits());
        let second = st.watches.get(watch).and_then(|w| w.room.as_ref()?.number());
        if let (Ok(()), Some(second)) = (added, second) {
            let ask = events & !HOW & !ask;
            added = poller.add(second, ask | EPOLLET, watch.bits() | edges::ROOM);
            if added.is_err() {
                poller.remove(number);
            }
        }
        if let Err(e) = added {
            st.watches.remove(watch);
            return Err(e);
        }
        Ok(Some(watch))
    }

    /// A registered file that was watched is gone.
    pub(crate) fn unwatch_node(&self, st: &mut State<H>, watch: Key) {
        if let Some(w) = st.watches.get_mut(watch) {
            w.nodes -= 1;
        }
        self.drop_idle_watch(st, watch);
    }

    pub(crate) fn poller_of(&self, st: &mut State<H>) -> Result<Arc<H::Poller>, Errno> {
        if let Some(p) = &st.poller {
            return Ok(p.clone());
        }
        let p = Arc::new(self.host().poller()?);
        st.poller = Some(p.clone());
        Ok(p)
    }

    /// Takes a waiting request out of its watch, which goes with it if it was the request's own.
    pub(crate) fn disarm(&self, st: &mut State<H>, key: Key, watch: Key) {
        if let Some(w) = st.watches.get_mut(watch) {
            let before = w.waiters.len();
            w.waiters.retain(|&(k, _)| k != key);
            st.polled -= before - w.waiters.len();
        }
        self.drop_idle_watch(st, watch);
    }

    pub(super) fn drop_idle_watch(&self, st: &mut State<H>, watch: Key) {
        // Somebody has to end what is lent and lies idle.
        let stays = st.care_ticks && !st.dying;
        let unused =
            |w: &Watch<H>| w.nodes == 0 && w.waiters.is_empty() && !(stays && w.lent.is_some());
        let idle = st.watches.get(watch).is_some_and(unused);
        if idle
            && let Some(w) = st.watches.remove(watch)
            && let Some(p) = &st.poller
        {
            st.acceptors.retain(|a| *a != watch);
            w.lent.into_iter().for_each(|fd| st.lent.forget(fd));
            p.remove(w.number);
            if let Some(second) = w.room.as_ref().and_then(HostFile::number) {
                p.remove(second);
            }
            drop((w.file, w.room));
        }
    }

    /// Handles what the poller reported.
    pub(crate) fn on_events(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, events: &[PollEvent]) {
        for i in 0..events.len() {
            if events.get(i).is_some_and(|ev| ev.token == aio::TOKEN) {
                self.reap_transfers(ring, st);
                continue;
            }
            let Some((watch, edge)) = edge_of(st, events, i) else { continue };
            let Some(w) = st.watches.get_mut(watch) else { continue };
            if let [(key, want)] = *w.waiters.as_slice()
                && hits(edge.seen, want)
                && st.reqs.get(key).is_some_and(|req| !accepts(req))
            {
                self.serve_alone(ring, st, key, (watch, edge, want));
                continue;
            }
            let mut due = Vec::new();
            let mut turn = false;
            w.waiters.retain(|&(key, want)| {
                let mut hit = hits(edge.seen, want);
                if hit && st.reqs.get(key).is_some_and(accepts) {
                    turn = true;
                    hit = false;
                }
                if hit {
                    due.push((key, want));
                }
                !hit
            });
            st.polled -= due.len();
            while !due.is_empty() {
                let next = self.policy().next_ready(due.len()).min(due.len() - 1);
                let (key, want) = due.remove(next);
                self.retry(ring, st, key, (watch, edge, want));
            }
            if turn {
                self.serve(ring, st, watch, true);
            }
            self.drop_idle_watch(st, watch);
        }
        self.run_ready(ring, st);
    }

    /// An edge that is for the only one in its watch.
    fn serve_alone(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        key: Key,
        (watch, edge, want): (Key, Edge, u32),
    ) {
        let shot = if shoots(st, key) { self.shoot(ring, st, key, edge.seen) } else { Shot::Again };
        if shot == Shot::Stays {
            return;
        }
        if let Some(w) = st.watches.get_mut(watch) {
            w.waiters.clear();
            st.polled -= 1;
        }
        match shot {
            Shot::Again | Shot::Stays => self.retry(ring, st, key, (watch, edge, want)),
            Shot::Requeue => {
                if let Some(req) = st.reqs.remove(key) {
                    self.requeue(ring, st, req);
                }
            }
            Shot::Ends(outcome) => {
                if let Some(req) = st.reqs.remove(key) {
                    self.settle(ring, st, req, outcome);
                }
            }
        }
        self.drop_idle_watch(st, watch);
    }

    /// Puts a request that was woken back into the watch that it came from.
    pub(crate) fn wait_on(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: Req<H>,
        watch: (Key, u32),
    ) {
        self.park_in(ring, st, req, watch);
    }

    /// One more attempt of a request whose file became ready.
    pub(super) fn retry(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        key: Key,
        (watch, edge, want): (Key, Edge, u32),
    ) {
        let Some(mut req) = st.reqs.remove(key) else { return };
        req.untried = false;
        if let Some(Cmd::PollAdd(p)) = &req.cmd {
            let told = if p.is_ready() { edge.seen } else { edge.told(req.file.kind()) };
            let mask = told & (want | ALWAYS) & !HOW;
            if !p.multishot() {
                return self.complete(ring, st, req, Ok(mask as i32), 0);
            }
            return self.poll_shot(ring, st, req, mask, (watch, want));
        }
        if st.dying {
            return self.complete(ring, st, req, Err(Errno::ECANCELED), 0);
        }
        if is_timestamps(&req) {
            return self.tell_timestamps(ring, st, req, (watch, want));
        }
        match &mut req.cmd {
            Some(Cmd::Recv(c)) => c.woken_by(edge.seen),
            Some(Cmd::Recvmsg(c)) => c.woken_by(edge.seen),
            Some(Cmd::Send(c)) => c.woken(),
            _ => {}
        }
        let mut outcome = self.issue_inline(ring, st, &mut req);
        for _ in 0..APOLL_MAX_RETRY {
            if outcome != Outcome::Again {
                break;
            }
            if !self.looks_ready(&req, want) {
                // Straight back into the watch it came from.
                self.park_in(ring, st, req, (watch, want));
                return;
            }
            outcome = self.issue_inline(ring, st, &mut req);
        }
        if outcome == Outcome::Again {
            // As a datagram socket that was shut down: a call that waits is answered.
            req.gave_up = true;
            outcome = Outcome::Punt;
        }
        if req.on_worker && !matches!(outcome, Outcome::More(..)) {
            // io_uring.c `io_req_task_submit`: back to a worker, which ends it.
            req.phase = Phase::Fresh;
        }
        self.settle(ring, st, req, outcome);
    }

    /// Whether a file shows now what its request could not use.
    fn looks_ready(&self, req: &Req<H>, want: u32) -> bool {
        let number = req.file.file().and_then(HostFile::number);
        number.is_some_and(|n| self.host().poll_now(n, want & !HOW) != 0)
    }

    /// One completion of a multishot poll; it stays armed unless the CQ overflowed, or a ring woke it:
    /// two that poll each other would go on for ever (poll.c `io_poll_wake`, `EPOLL_URING_WAKE`).
    pub(crate) fn poll_shot(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        mut req: Req<H>,
        mask: u32,
        (watch, want): (Key, u32),
    ) {
        let first = match &mut req.cmd {
            Some(Cmd::PollAdd(p)) => p.was_ready(),
            _ => false,
        };
        let by_ring = !first && st.watches.get(watch).is_some_and(|w| w.of.is_some());
        if !st.may_post || ring.cq_would_overflow(st) || woke_itself(st, &req) || by_ring {
            return self.complete(ring, st, req, Ok(mask as i32), 0);
        }
        self.post_more(ring, st, &req, Ok(mask as i32), 0);
        self.park_in(ring, st, req, (watch, want));
    }
}
