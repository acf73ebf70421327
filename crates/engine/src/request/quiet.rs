//! Registered connections that are known to be empty: a RECV on one waits without an attempt.
//!
//! ```text
//!              receive took less than it had room for
//!   unknown ----------------------------------------> quiet --RECV--> waits at once
//!      ^                                                 |
//!      '---- an edge: bytes, an end, an error -----------'
//! ```
//!
//! An edge may have come that nobody has taken from the poller. So the first RECV of a batch that would
//! rely on this looks once, without waiting, for all that follow; what the look finds for requests that
//! wait is handled when the batch ends, as task work is. Bytes that the batch itself sends are behind
//! the look:
//!
//! ```text
//!   look   RECV a -> waits   SEND b -> c is b's other end, and of this ring   RECV c -> is tried
//!                            SEND d -> its other end is not                   RECV e -> waits
//! ```
//! and so are those that anything else moved. What it does not do: know of sockets other than TCP
//! connections, of which no call tells who the other end is.

use super::aio;
use super::apoll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLPRI, EPOLLRDHUP};
use super::start::tell_owner;
use crate::engine::Engine;
use crate::host::{Connection, Host, PollEvent, Poller};
use crate::ring::{Ring, State};
use crate::slab::Key;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_uapi::Sqe;
use ringer_uapi::flags::SqeFlags;

/// Events taken by one call of a look.
const BATCH: usize = 64;
/// Calls of one look; with more to be had nothing is known.
const CALLS_MAX: usize = 4;
/// What is there to be received, or that nothing will be.
const NEWS: u32 = EPOLLIN | END;
/// From here on a short receive need not have taken all: an end, an error, or a mark of urgent data.
const END: u32 = EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
const NOP: u8 = 0;
const SEND: u8 = 26;
const RECV: u8 = 27;

/// What a batch knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Look {
    /// Nobody has looked yet.
    #[default]
    Due,
    /// Quiet connections are empty.
    Fresh,
    /// No look, or not any more.
    Stale,
}

/// See the module's doc.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    look: Look,
    /// What the look found for requests that wait.
    found: Vec<PollEvent>,
    /// Watched connections, by our end and the other, and how many watches each has.
    ends: BTreeMap<(u64, u64), u32>,
}

/// What is known of one watched file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Emptied {
    /// It was emptied, and no edge was taken since.
    quiet: bool,
    /// An edge told of what a receive stops at, and of which no further one need come.
    ended: bool,
    /// Its ends, once asked for; `Some(None)`: nothing is known of it.
    ends: Option<Option<Connection>>,
}

impl Emptied {
    /// Notes what an edge tells.
    pub(super) fn edge(&mut self, events: u32) {
        self.quiet &= events & NEWS == 0;
        self.ended |= events & END != 0;
    }
}

impl Quiet {
    /// A batch begins. `looks`: what a look finds may be handled at its end.
    pub(crate) fn begin(&mut self, looks: bool) {
        self.look = if looks { Look::Due } else { Look::Stale };
    }

    /// Whether a look found something that nobody has handled.
    #[inline(always)]
    pub(crate) fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    /// The watch of a connection goes.
    pub(super) fn forget(&mut self, emptied: &Emptied) {
        let Some(Some(c)) = emptied.ends else { return };
        let key = (c.ours, c.theirs);
        match self.ends.get_mut(&key) {
            Some(n @ 2..) => *n -= 1,
            _ => drop(self.ends.remove(&key)),
        }
    }
}

impl<H: Host> State<H> {
    /// Whether the batch has looked, so that its entries must be noted.
    #[inline(always)]
    pub(crate) fn has_looked(&self) -> bool {
        self.quiet.look == Look::Fresh
    }

    /// Notes an entry behind a look: it may move bytes to where a quiet connection receives them.
    pub(crate) fn note_entry(&mut self, sqe: &Sqe) {
        let fixed = sqe.flags & SqeFlags::FIXED_FILE.bits() != 0;
        let harmless = match sqe.opcode {
            NOP | RECV => true,
            SEND => fixed && self.sends_elsewhere(sqe.fd),
            _ => false,
        };
        if !harmless {
            self.quiet.look = Look::Stale;
        }
    }

    /// Whether what is sent on a registered file is received by nobody on this ring.
    fn sends_elsewhere(&self, slot: i32) -> bool {
        let ends = self.watch_of(slot).and_then(|w| self.watches.get(w)?.emptied.ends);
        matches!(ends, Some(Some(c)) if !self.quiet.ends.contains_key(&(c.theirs, c.ours)))
    }

    fn watch_of(&self, slot: i32) -> Option<Key> {
        self.files.as_ref()?.get(slot)?.watch()
    }
}

impl<H: Host> Engine<H> {
    /// Notes that a receive emptied a watched file.
    pub(super) fn note_emptied(&self, st: &mut State<H>, watch: Key) {
        let Some(w) = st.watches.get_mut(watch) else { return };
        if w.emptied.ends.is_none() {
            let ends = self.host().connection(w.number);
            w.emptied.ends = Some(ends);
            if let Some(c) = ends {
                *st.quiet.ends.entry((c.ours, c.theirs)).or_default() += 1;
            }
        }
        w.emptied.quiet = !w.emptied.ended && w.emptied.ends.flatten().is_some();
    }

    /// The same of a registered file by its slot, after a receive that had to wait for nothing.
    #[inline]
    pub(crate) fn note_slot_emptied(&self, st: &mut State<H>, slot: i32) {
        if let Some(watch) = st.watch_of(slot) {
            self.note_emptied(st, watch);
        }
    }

    /// Whether the connection in a slot is known to be empty.
    #[inline]
    pub(crate) fn is_empty_slot(&self, st: &mut State<H>, slot: i32) -> bool {
        if st.quiet.look == Look::Stale {
            return false;
        }
        let Some(watch) = st.watch_of(slot) else { return false };
        let quiet = |st: &State<H>| st.watches.get(watch).is_some_and(|w| w.emptied.quiet);
        if !quiet(st) {
            return false;
        }
        if st.quiet.look == Look::Due {
            st.quiet.look = self.take_edges(st);
        }
        st.quiet.look == Look::Fresh && quiet(st)
    }

    /// Takes all edges there are.
    fn take_edges(&self, st: &mut State<H>) -> Look {
        // Who leads may be owed a wake that a look would take.
        let Some(poller) = st.poller.clone().filter(|_| st.leader == 0) else { return Look::Stale };
        for _ in 0..CALLS_MAX {
            let mut events = [PollEvent::default(); BATCH];
            let Ok(n) = poller.wait(&mut events, Some(0), None) else { return Look::Stale };
            let events = events.get(..n).unwrap_or(&[]);
            for ev in events {
                take(st, *ev);
            }
            if n < BATCH {
                st.unpolled = 0;
                return Look::Fresh;
            }
        }
        Look::Stale
    }

    /// Handles what the look of a batch found. Not `now`: its owner comes for it (DEFER_TASKRUN).
    pub(crate) fn handle_found(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, now: bool) {
        if !now {
            return tell_owner(ring, st);
        }
        let found = core::mem::take(&mut st.quiet.found);
        self.on_events(ring, st, &found);
    }
}

/// One edge that a look took: whoever waits for it comes later.
fn take<H: Host>(st: &mut State<H>, ev: PollEvent) {
    if ev.token != aio::TOKEN
        && let Some(w) = st.watches.get_mut(Key::from_bits(ev.token))
    {
        w.emptied.edge(ev.events);
        if w.is_idle() {
            return;
        }
    }
    st.quiet.found.push(ev);
}
