//! Edges: what a poller reported, and what of it woke a poll.
//!
//! A wake-up in the kernel carries what it is about, and a multishot poll tells that and not all that
//! holds (6.18 io_uring/poll.c `io_poll_wake`, `io_poll_check_events`). epoll tells what holds, but of an
//! entry that a wake-up is not about it tells nothing. So a multishot that asks for both directions has
//! two entries, under two numbers of its file:
//!
//! ```text
//!   number   IN, PRI, HUP, ... --+-- edge of one   -> woken by that: told alone
//!   another  OUT, WRBAND ------- '-- edge of both  -> what wakes everybody (a hang-up), or two
//!                                                     wake-ups: what holds, as the kernel looks then
//! ```
//!
//! Both edges of one wake-up come in one batch, but where the batch was cut between them: then two
//! completions tell what one would have told. What it does not do: tell an error's wake-up from a
//! hang-up's; what holds is told of both.

use super::Req;
use super::apoll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use crate::host::{FileKind, Host, PollEvent};
use crate::opcode::Cmd;
use crate::opcode::tx_timestamp::is_timestamps;
use crate::ring::State;
use crate::slab::Key;

const EPOLLRDNORM: u32 = 0x40;
const EPOLLRDBAND: u32 = 0x80;
const EPOLLWRNORM: u32 = 0x100;
const EPOLLWRBAND: u32 = 0x200;
/// What wake-ups of arrivals are about.
const IN: u32 = EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND;
/// What wake-ups of room are about.
const OUT: u32 = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
/// What wakes everybody.
const END: u32 = EPOLLERR | EPOLLHUP | EPOLLRDHUP;
/// In a token: the entry for room of a watch that has two.
pub(super) const ROOM: u64 = 1 << 63;

/// What an edge was about, as far as it can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woke {
    Arrival,
    Room,
    /// Everything, or more than one thing.
    All,
    /// The file has one entry.
    Unknown,
}

/// What a poller reported of one watch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    /// What holds of what was asked for.
    pub(super) seen: u32,
    woke: Woke,
}

impl Edge {
    /// Of a watch with one entry.
    pub(super) fn plain(seen: u32) -> Self {
        Self { seen, woke: Woke::Unknown }
    }

    /// What the wake-up was about, of a file of this kind. Sockets name more than what is there (6.18
    /// net/core/sock.c `sock_def_readable`, net/core/stream.c `sk_stream_write_space`).
    pub(super) fn told(self, kind: Option<FileKind>) -> u32 {
        let Self { seen, woke } = self;
        let socket = kind == Some(FileKind::Socket);
        match woke {
            Woke::Arrival if seen & IN != 0 => {
                if socket {
                    IN
                } else {
                    seen & IN
                }
            }
            Woke::Room if seen & OUT != 0 => {
                if socket {
                    OUT
                } else {
                    seen & OUT
                }
            }
            Woke::Unknown if socket && seen & IN != 0 && seen & (END | OUT) == 0 => IN,
            _ => seen,
        }
    }
}

/// The two parts of what is asked for, if both are asked for.
pub(super) fn halves(want: u32) -> Option<(u32, u32)> {
    (want & IN != 0 && want & OUT != 0).then_some((want & !OUT, want & OUT))
}

/// Whether a request has a watch to itself: it tells what woke it, or is woken before it looks.
pub(super) fn tells_wakes<H: Host>(req: &Req<H>) -> bool {
    matches!(&req.cmd, Some(Cmd::PollAdd(p)) if p.multishot()) || is_timestamps(req)
}

/// The watch that the `i`th event is of, and its edge; `None` if there is no such watch, or it was
/// told with an event before.
#[inline]
pub(super) fn edge_of<H: Host>(
    st: &State<H>,
    events: &[PollEvent],
    i: usize,
) -> Option<(Key, Edge)> {
    let ev = events.get(i)?;
    let key = Key::from_bits(ev.token & !ROOM);
    let watch = st.watches.get(key)?;
    match watch.room {
        None => Some((key, Edge::plain(ev.events))),
        Some(_) => edge_of_two(key, events, i).map(|edge| (key, edge)),
    }
}

/// The edge of a watch with two entries.
fn edge_of_two(key: Key, events: &[PollEvent], i: usize) -> Option<Edge> {
    let its = |ev: &&PollEvent| ev.token & !ROOM == key.bits();
    if events.get(..i)?.iter().any(|ev| its(&ev)) {
        return None;
    }
    let ev = events.get(i)?;
    let edge = match events.get(i + 1..)?.iter().find(its) {
        Some(other) => Edge { seen: ev.events | other.events, woke: Woke::All },
        None if ev.token & ROOM != 0 => Edge { seen: ev.events, woke: Woke::Room },
        None => Edge { seen: ev.events, woke: Woke::Arrival },
    };
    Some(edge)
}
