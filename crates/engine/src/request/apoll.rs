//! Armed poll: requests that wait until their file is ready.
//!
//! ```text
//!  req --waits in--> Watch --number, edge-triggered--> poller
//!                      |  one a request on a plain descriptor: made and removed with it
//!                      '  one a registered file: made once, shared, no call for each request
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

use super::{Phase, Req, ReqFile};
use crate::engine::Engine;
use crate::host::{Host, HostFile, PollEvent, Poller};
use crate::opcode::poll::DEFAULT_POLLMASK;
use crate::opcode::{Cmd, Outcome};
use crate::ring::{Ring, State};
use crate::slab::Key;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_uapi::Errno;

const EPOLLIN: u32 = 1;
const EPOLLPRI: u32 = 2;
const EPOLLOUT: u32 = 4;
const EPOLLERR: u32 = 8;
const EPOLLHUP: u32 = 0x10;
const EPOLLRDHUP: u32 = 0x2000;
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
    file: H::File,
    number: i32,
    waiters: Vec<(Key, u32)>,
    shared: bool,
}

impl<H: Host> Watch<H> {
    /// The number it is watched under.
    pub fn number(&self) -> i32 {
        self.number
    }
}

impl<H: Host> Engine<H> {
    /// Lets a request wait until its file shows one of `events`, then tries again.
    pub(crate) fn arm(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>, events: u32) {
        match self.watch_for(st, &mut req, events) {
            Ok(Some(watch)) => {
                self.park_in(ring, st, req, (watch, events));
                self.tell_care_of_wait(st);
                self.need_care(ring, st);
            }
            // No worker can wait for a mask.
            Ok(None) if matches!(req.cmd, Some(Cmd::PollAdd(_))) => {
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

    /// Stores a request that waits in a watch.
    fn park_in(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: Req<H>,
        (watch, want): (Key, u32),
    ) {
        let key = self.park(ring, st, req, Phase::Polled(watch));
        if let Some(w) = st.watches.get_mut(watch) {
            w.waiters.push((key, want));
            st.polled += 1;
        }
        if st.leader == 0 && st.sleepers > 0 {
            // Whoever sleeps now must look at the poller instead.
            self.wake_waiters(ring, st, true);
        }
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
        self.find_file(st, req)?;
        if let ReqFile::Node(node) = &req.file
            && let Some(w) = node.watch()
        {
            return Ok(Some(w));
        }
        let Some(file) = req.file.file().cloned() else { return Err(Errno::EBADF) };
        let Some(number) = file.number() else { return Ok(None) };
        let shared = matches!(req.file, ReqFile::Node(_));
        let poller = self.poller_of(st)?;
        let watch = st.watches.insert(Watch { file, number, waiters: Vec::new(), shared });
        let ask = if shared { ANY } else { events & !HOW };
        if let Err(e) = poller.add(number, ask | EPOLLET, watch.bits()) {
            st.watches.remove(watch);
            return Err(e);
        }
        if let ReqFile::Node(node) = &req.file {
            node.set_watch(Some(watch));
        }
        Ok(Some(watch))
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

    fn drop_idle_watch(&self, st: &mut State<H>, watch: Key) {
        let idle = st.watches.get(watch).is_some_and(|w| !w.shared && w.waiters.is_empty());
        if idle
            && let Some(w) = st.watches.remove(watch)
            && let Some(p) = &st.poller
        {
            p.remove(w.number);
            drop(w.file);
        }
    }

    /// Handles what the poller reported.
    pub(crate) fn on_events(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, events: &[PollEvent]) {
        for ev in events {
            let watch = Key::from_bits(ev.token);
            let Some(w) = st.watches.get_mut(watch) else { continue };
            let mut due = Vec::new();
            w.waiters.retain(|&(key, want)| {
                let hit = ev.events & (want | ALWAYS) != 0
                    || want & EPOLLIN != 0 && ev.events & EPOLLRDHUP != 0;
                if hit {
                    due.push((key, want));
                }
                !hit
            });
            st.polled -= due.len();
            while !due.is_empty() {
                let next = self.policy().next_ready(due.len()).min(due.len() - 1);
                let (key, want) = due.remove(next);
                self.retry(ring, st, key, (watch, ev.events, want));
            }
            self.drop_idle_watch(st, watch);
        }
        self.run_ready(ring, st);
    }

    /// One more attempt of a request whose file became ready.
    fn retry(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        key: Key,
        (watch, seen, want): (Key, u32, u32),
    ) {
        let Some(mut req) = st.reqs.remove(key) else { return };
        if let Some(Cmd::PollAdd(p)) = &req.cmd {
            let mask = seen & (want | ALWAYS) & !HOW;
            if !p.multishot() {
                return self.complete(ring, st, req, Ok(mask as i32), 0);
            }
            return self.poll_shot(ring, st, req, mask, (watch, want));
        }
        if st.dying {
            return self.complete(ring, st, req, Err(Errno::ECANCELED), 0);
        }
        let outcome = self.issue_inline(ring, st, &mut req);
        if outcome == Outcome::Again {
            // Straight back into the watch it came from.
            return self.park_in(ring, st, req, (watch, want));
        }
        self.settle(ring, st, req, outcome);
    }

    /// One completion of a multishot poll; it stays armed unless the CQ overflowed.
    pub(crate) fn poll_shot(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: Req<H>,
        mask: u32,
        (watch, want): (Key, u32),
    ) {
        if !st.may_post || ring.cq_would_overflow(st) {
            return self.complete(ring, st, req, Ok(mask as i32), 0);
        }
        ring.post_more(st, req.user_data, Ok(mask as i32), 0);
        self.park_in(ring, st, req, (watch, want));
    }
}
