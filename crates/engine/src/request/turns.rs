//! Turns: of the accepts that wait at one listener the first gets the first connection.
//!
//! The kernel wakes one of them a connection (`poll_exclusive` in io_uring/opdef.c). Here they wait in
//! one watch, and an edge is for the first; whoever ends passes the turn on while the listener still
//! looks ready:
//!
//! ```text
//!   edge -> first waiter -> accepts at once, or on a worker (a blocking listener)
//!                                  '-- done, cancelled: ready still? -> next waiter
//! ```
//!
//! What it does not do: arm (`apoll` does), or say how many connections there are.

use super::Req;
use super::apoll::EPOLLIN;
use super::edges::Edge;
use crate::engine::Engine;
use crate::host::{Host, HostFile};
use crate::opcode::Cmd;
use crate::ring::{Ring, State};
use crate::slab::Key;
use alloc::sync::Arc;

/// Whether a request accepts connections.
pub(super) fn accepts<H: Host>(req: &Req<H>) -> bool {
    matches!(req.cmd, Some(Cmd::Accept(_)))
}

impl<H: Host> Engine<H> {
    /// The watch that accepts of a listener wait in.
    pub(super) fn acceptors_of(&self, st: &State<H>, file: &H::File) -> Option<Key> {
        let is = |w: &&Key| st.watches.get(**w).is_some_and(|w| w.file.same_file(file));
        st.acceptors.iter().find(is).copied()
    }

    /// The watch whose turn a request passes on when it ends.
    pub(super) fn turn_of(&self, st: &State<H>, req: &Req<H>) -> Option<Key> {
        req.file.file().filter(|_| accepts(req)).and_then(|file| self.acceptors_of(st, file))
    }

    /// Lets those who wait accept, one after another, while the listener looks ready. `ready`: it
    /// does now.
    pub(super) fn serve(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        watch: Key,
        mut ready: bool,
    ) {
        while let Some(w) = st.watches.get_mut(watch) {
            let first = w.waiters.iter().position(|(k, _)| st.reqs.get(*k).is_some_and(accepts));
            let Some(first) = first else { break };
            ready = ready || self.host().poll_now(w.number, EPOLLIN) != 0;
            if st.dying || !core::mem::take(&mut ready) {
                break;
            }
            let (key, want) = w.waiters.remove(first);
            st.polled -= 1;
            let under_way = st.reqs.len();
            self.retry(ring, st, key, (watch, Edge::plain(EPOLLIN), want));
            if st.reqs.len() >= under_way {
                // On a worker, or waiting again.
                break;
            }
        }
        self.drop_idle_watch(st, watch);
    }
}
