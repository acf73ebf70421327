//! Messages between rings (MSG_RING), and errands: what a thread does for other rings when it has let
//! go of its own.
//!
//! ```text
//!  sender's lock held:  target free -> post there, let go of it        it is only tried for
//!                       target busy -> outbox (the request is Queued)
//!  sender's lock free:  letter by letter: lock target, post, let go; lock sender, complete
//! ```
//!
//! Nobody waits for a ring with another one in hand, so two that message each other get on:
//!
//! ```text
//!   thread of A (A locked)               thread of B (B locked)
//!   tries B: busy, outbox                tries A: busy, outbox
//!   unlocks A; waits for B
//!                                        unlocks B; waits for A
//!   has B: posts, unlocks; locks A, completes
//!                                        has A: posts, unlocks; locks B, completes
//! ```
//!
//! Messages of a ring stay in order: while the outbox holds something, or one of it is on its way, what
//! comes later queues behind it, and one thread at a time delivers. That is the one that put the first
//! letter in, before anybody else sees it: it has the application's descriptors.
//!
//! Source: 6.18 io_uring/msg_ring.c `io_double_lock_ctx`, which tries, too, and leaves what fails to a
//! worker; `io_msg_remote_post`, `io_msg_tw_fd_complete`. What it does not do: check (the opcode does).

use super::{Deferred, Ring, State};
use crate::engine::Engine;
use crate::host::Host;
use crate::request::start::tell_owner;
use crate::request::{Phase, Req};
use crate::resource::personality::Acting;
use crate::slab::Key;
use crate::trace::Origin;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use ringer_uapi::flags::Setup;
use ringer_uapi::{Cqe, Errno, FILE_INDEX_ALLOC};

/// What is sent.
#[derive(Debug)]
pub(crate) enum Message<H: Host> {
    /// A completion.
    Data(Cqe),
    /// A registered file.
    File {
        /// The file.
        file: H::File,
        /// Where it goes: slot + 1, or [`FILE_INDEX_ALLOC`].
        slot: u32,
        /// The `user_data` of the completion that tells of it.
        tell: Option<u64>,
    },
}

/// A message that could not be posted at once, of a request that is [`Phase::Queued`].
#[derive(Debug)]
struct Letter<H: Host> {
    key: Key,
    to: Arc<Ring<H>>,
    message: Message<H>,
}

/// See the module's doc.
#[derive(Debug)]
pub struct Outbox<H: Host> {
    letters: VecDeque<Letter<H>>,
    /// Some thread delivers.
    claimed: bool,
}

impl<H: Host> Default for Outbox<H> {
    fn default() -> Self {
        Self { letters: VecDeque::new(), claimed: false }
    }
}

impl<H: Host> Outbox<H> {
    /// Whether the caller, who is about to let go of the ring, is to deliver.
    #[inline]
    pub(super) fn claim(&mut self) -> bool {
        !self.letters.is_empty() && !core::mem::replace(&mut self.claimed, true)
    }

    /// Forgets all letters: their requests have ended.
    pub(super) fn clear(&mut self) {
        self.letters.clear();
    }
}

/// What a thread owes to a ring, with no lock held.
#[derive(Debug)]
pub(crate) enum Errand<H: Host> {
    /// The next letter of its outbox.
    Deliver(Arc<Ring<H>>),
    /// What a message led to there: chains that go on, rings that poll it.
    LookAfter(Arc<Ring<H>>),
    /// A request closes this number, of which others may have a copy.
    Closing(i32),
}

impl<H: Host> Ring<H> {
    /// Whether what others have for this ring is its owner's to take (`io_msg_need_remote`).
    fn is_remote(&self) -> bool {
        self.defers() && !self.setup.contains(Setup::IOPOLL)
    }
}

impl<H: Host> Engine<H> {
    /// Sends a message of a request, which ends with it.
    pub(crate) fn send(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: Req<H>,
        (to, message): (Arc<Ring<H>>, Message<H>),
    ) {
        if Arc::ptr_eq(&to, ring) && !ring.setup.contains(Setup::IOPOLL) {
            let res = self.receive(ring, st, message);
            return self.complete(ring, st, req, res, 0);
        }
        let waits = st.outbox.claimed || !st.outbox.letters.is_empty();
        // A file for a ring that defers is its owner's task work, and so is the rest of the request.
        let later = waits || to.is_remote() && matches!(message, Message::File { .. });
        if !later && let Some(mut there) = to.state.try_lock() {
            there.may_post = !to.defers();
            there.acting = st.acting.clone();
            let res = self.receive(&to, &mut there, message);
            self.commit(&to, &mut there);
            let more = !there.ready.is_empty() || to.watchers.are_there();
            st.due.errands.append(&mut self.let_go(&to, there));
            if more {
                st.due.errands.push(Errand::LookAfter(to.clone()));
            }
            return self.complete(ring, st, req, res, 0);
        }
        let key = self.park(ring, st, req, Phase::Queued);
        st.outbox.letters.push_back(Letter { key, to, message });
    }

    /// Sends a message of nobody's; no lock is held.
    pub(crate) fn send_alone(&self, to: &Arc<Ring<H>>, message: Message<H>) -> Result<u32, Errno> {
        let (res, owed) = self.post_over(to, message, None);
        self.run_errands(owed, None);
        res.map(|_| 0)
    }

    /// Locks the target and posts.
    fn post_over(
        &self,
        to: &Arc<Ring<H>>,
        message: Message<H>,
        acting: Option<&Acting<H>>,
    ) -> (Result<i32, Errno>, Vec<Errand<H>>) {
        let mut there = to.state.lock();
        there.may_post = !to.defers();
        there.acting = acting.cloned();
        let res = self.receive(to, &mut there, message);
        self.commit(to, &mut there);
        let mut owed = self.let_go(to, there);
        owed.push(Errand::LookAfter(to.clone()));
        (res, owed)
    }

    /// What a message comes to in its target, whose lock is held. The result is the sender's.
    fn receive(
        &self,
        to: &Arc<Ring<H>>,
        st: &mut State<H>,
        message: Message<H>,
    ) -> Result<i32, Errno> {
        if st.dying {
            // Its last descriptor was closed since it was looked up: nobody sees it.
            return Ok(0);
        }
        match message {
            Message::Data(cqe) if to.is_remote() => {
                st.deferred.push_back(Deferred::Message(cqe));
                self.trace_alone(to, &cqe, true, Origin::Message);
                tell_owner(to, st);
                self.wake_waiters(to, st, true);
                Ok(0)
            }
            Message::Data(cqe) => {
                let posted = !to.cq_would_overflow(st);
                to.post_ahead(st, cqe);
                self.trace_alone(to, &cqe, posted, Origin::Message);
                Ok(0)
            }
            Message::File { file, slot, tell } => {
                if to.is_remote() && !self.host().is_alive(to.issuer.load(Relaxed)) {
                    return Err(Errno::EOWNERDEAD);
                }
                let slot = match slot {
                    0 if st.files.is_none() => return Err(Errno::ENXIO),
                    0 => return Err(Errno::EINVAL),
                    FILE_INDEX_ALLOC => FILE_INDEX_ALLOC,
                    n => n - 1,
                };
                let res = self.install_direct(to, st, Ok(file), slot)?;
                if let Some(user_data) = tell {
                    let cqe = Cqe::new(user_data, Ok(res), 0);
                    let posted = to.post(st, cqe);
                    self.trace_alone(to, &cqe, posted, Origin::Message);
                }
                Ok(res)
            }
        }
    }

    /// Does what was owed when a lock was let go, and what that leads to. `acting`: what the calling
    /// thread is, if not an ordinary one; it starts nothing of other rings' with rights of its own.
    #[cold]
    pub(super) fn run_errands(&self, mut owed: Vec<Errand<H>>, acting: Option<&Acting<H>>) {
        while let Some(errand) = owed.pop() {
            match errand {
                Errand::Deliver(ring) => self.deliver(ring, &mut owed, acting),
                Errand::LookAfter(ring) => self.look_after(ring, &mut owed, acting),
                Errand::Closing(fd) => self.number_closing(fd),
            }
        }
    }

    /// Posts the next letter of an outbox that this thread claimed, and ends its request.
    fn deliver(&self, ring: Arc<Ring<H>>, owed: &mut Vec<Errand<H>>, acting: Option<&Acting<H>>) {
        let mut st = ring.state.lock();
        let letter = loop {
            let Some(letter) = st.outbox.letters.pop_front() else {
                st.outbox.claimed = false;
                return;
            };
            // One that was cancelled meanwhile is not found.
            if let Some(req) = st.reqs.get_mut(letter.key) {
                req.phase = Phase::Running { thread: None, tries: false, polls: false };
                break letter;
            }
        };
        st.running += 1;
        drop(st);
        let (res, mut after) = self.post_over(&letter.to, letter.message, acting);
        let mut st = ring.state.lock();
        st.running -= 1;
        st.may_post = !ring.defers();
        st.acting = acting.cloned();
        if let Some(mut req) = st.reqs.remove(letter.key) {
            req.phase = Phase::Fresh;
            self.complete(&ring, &mut st, req, res, 0);
        }
        let over = self.run_turn(&ring, &mut st);
        owed.append(&mut self.let_go(&ring, st));
        if !over {
            owed.push(Errand::LookAfter(ring.clone()));
        }
        owed.push(Errand::Deliver(ring));
        owed.append(&mut after);
    }

    /// Starts what a message let start in its target, and lets the rings that poll it see it.
    fn look_after(
        &self,
        ring: Arc<Ring<H>>,
        owed: &mut Vec<Errand<H>>,
        acting: Option<&Acting<H>>,
    ) {
        let mut st = ring.state.lock();
        if st.dying {
            return;
        }
        st.may_post = !ring.defers();
        st.acting = acting.cloned();
        let over = self.run_turn(&ring, &mut st);
        owed.append(&mut self.let_go(&ring, st));
        self.look_at_watchers(&ring, owed, acting);
        if !over {
            owed.push(Errand::LookAfter(ring));
        }
    }
}
