//! What must not be true when nobody can run and the clock is about to move.
//!
//! - a thread waits in `enter` for completions, or for room, that are there: a lost wake-up
//! - somebody polls the ring, completions are there, or deferred work, and its descriptor does not show it
//! - completions were published, and the registered eventfd was not signalled
//! - a multishot poll is armed, its pipe was written to, and it has not told
//! - a request can go on, and nobody has looked at it for [`LATE_NS`], or at all while somebody waits:
//!   a lost edge, a lost timer
//!
//! What it does not do: judge requests in chains, behind drains, or in a world without threads or
//! descriptors: those may wait for what cannot be seen from outside.

use super::app::{App, Waiter};
use super::neighbour::Neighbour;
use super::program::{Entry, Program};
use super::rows::is_timestamps;
use crate::client::Client;
use crate::object::{POLLERR, POLLHUP, POLLIN, POLLOUT};
use crate::policy::Fault;
use crate::sched::{Jump, Watchman, lock};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// Longest time until somebody looks: the reactor's ticks, and a worker's look at a private file.
const LATE_NS: u64 = 25_000_000;
const IOPOLL: u32 = 1;
const DEFER_TASKRUN: u32 = 1 << 13;
const OVERFLOW: u32 = 2;
const UPDATE: u32 = 2;
const SKIP: u8 = 64;

/// What a request waits for.
#[derive(Clone, Copy, Debug)]
enum For {
    Events(i32, u32),
    Time(u64),
    /// Another completion for everything that is written to this pipe.
    News(i32),
    /// Completions for what was sent on this socket, if the CQ had room meanwhile.
    Stamps(i32),
}

/// What a watchman remembers between two jumps.
#[derive(Debug, Default)]
struct Memory {
    /// Since when a request can go on, and how many completions it had then.
    since: BTreeMap<u64, (usize, u64)>,
    /// What a multishot had told of: completions, and the edge of its file then.
    told: BTreeMap<u64, (usize, u64)>,
    /// What was sent on a socket, and whether somebody who waits must be told.
    sent: BTreeMap<u64, (u64, bool)>,
    /// Completions taken at the last jump.
    taken: u32,
    /// Completions published and signals of the eventfd.
    published: (u32, u64),
    bell_changes: u64,
    /// Timeouts that had fired when a wait was seen first.
    fired: BTreeMap<u64, usize>,
}

/// What a request waits for, if it is one that can be judged.
fn waits_for(program: &Program, e: &Entry) -> Option<For> {
    let s = &e.sqe;
    let updates = |o: &&Entry| matches!(o.sqe.opcode, 7 | 12) && o.sqe.addr == s.user_data;
    let goes_on_beside = |o: &&Entry| {
        o.sqe.opcode == 13
            && o.sqe.ioprio & 1 != 0
            && o.sqe.fd == s.fd
            && o.sqe.user_data != s.user_data
    };
    match s.opcode {
        1 | 4 | 10 | 22 | 27 | 49 | 60 if s.fd > 1 => Some(For::Events(s.fd, POLLIN)),
        2 | 5 | 9 | 23 | 26 | 47 | 48 | 61 if s.fd > 1 => Some(For::Events(s.fd, POLLOUT)),
        6 if s.fd > 1 && s.len == 0 && !program.entries().iter().any(updates) => {
            Some(For::Events(s.fd, s.op_flags & (POLLIN | POLLOUT) | POLLERR))
        }
        6 if matches!(s.fd, 2 | 4) && !program.entries().iter().any(updates) => {
            (s.op_flags & POLLIN != 0).then_some(For::News(s.fd))
        }
        11 if s.op_flags & !UPDATE == 0 && !program.entries().iter().any(updates) => {
            e.owes.expires.map(For::Time)
        }
        46 if is_timestamps(s) && !program.resizes() => Some(For::Stamps(s.fd)),
        // Another one that goes on may have every connection: the first in the queue does.
        13 if matches!(s.fd, 11 | 12) && !program.entries().iter().any(goes_on_beside) => {
            Some(For::Events(s.fd, POLLIN))
        }
        _ => None,
    }
}

/// Single requests that can be judged, by user_data.
fn judged(program: &Program) -> BTreeMap<u64, For> {
    let blind = program.numberless
        || program.posix_locks
        || program.meddles
        || program.limits_workers()
        || program.setup & IOPOLL != 0
        || program.has(Fault::NoThread)
        || program.has(Fault::NoFile)
        || program.entries().iter().any(|e| e.sqe.flags & 2 != 0);
    if blind {
        return BTreeMap::new();
    }
    let entries = program.entries();
    let mut before = 0;
    let single = |e: &&Entry| {
        let alone = (before | e.sqe.flags) & 12 == 0;
        before = e.sqe.flags & 12;
        // What CQE_SKIP hides ends unseen.
        alone && e.sqe.flags & SKIP == 0
    };
    let singles: Vec<&Entry> = entries.into_iter().filter(single).collect();
    let judge = |e: &Entry| waits_for(program, e).map(|w| (e.sqe.user_data, w));
    singles.into_iter().filter_map(judge).collect()
}

/// See the module's doc.
pub(crate) fn watchman(app: &App, neighbour: Option<Neighbour>) -> Watchman {
    let app = app.clone();
    let judged = judged(&app.program);
    let mut memory = Memory::default();
    Box::new(move |jump| {
        lost_wake(&app, jump, &mut memory)
            .or_else(|| silent_bell(&app, jump, &mut memory))
            .or_else(|| late(&app, jump, &judged, &mut memory))
            .or_else(|| neighbour.as_ref().and_then(|n| n.overlooked(jump.next)))
    })
}

fn lost_wake(app: &App, jump: &Jump, memory: &mut Memory) -> Option<String> {
    let side = lock(&app.side);
    if side.closing {
        return None;
    }
    let ready = side.client.ready();
    let pages = &side.client.pages;
    let shows = ready > 0 || pages.work.load(Relaxed);
    if pages.polled.load(Relaxed) && shows && !pages.readable.load(Relaxed) {
        return Some(format!("the ring does not look readable with {ready} at {} ns", jump.now));
    }
    let g = &side.client.memory.geometry;
    let roomers = lock(&app.roomers);
    if side.client.queued() < g.sq_entries
        && let Some(task) = roomers.iter().find(|t| jump.waiting.contains(t))
    {
        return Some(format!("a lost wake-up at {} ns: task {task} waits for room", jump.now));
    }
    let waiters = lock(&app.waiters);
    // Who is slow computes the end of its wait late; so does who lets a waiter fall asleep before.
    let sleeps = |e: &&Entry| matches!(e.sqe.opcode, 51 | 53);
    let slow = app.program.has(Fault::Slow) || app.program.entries().iter().any(sleeps);
    let enough = |w: &Waiter| w.enough_at.is_some_and(|at| !slow && jump.now > at) && ready > 0;
    // io_uring.c `io_cqring_wait`: a timeout that fires ends it. Others may take its completion.
    let fired = app.fired(&side);
    let mut ended = |w: &Waiter| {
        let first = *memory.fired.entry(w.nr).or_insert(fired);
        !app.program.has_threads() && fired > first
    };
    let lost = waiters.iter().find(|(task, w)| {
        let there = ready >= w.min.min(g.cq_entries);
        jump.waiting.contains(task) && (there || enough(w) || ended(w))
    });
    lost.map(|(task, w)| {
        format!(
            "a lost wake-up at {} ns: task {task} waits for {}, {ready} are there, {fired} timeouts",
            jump.now, w.min
        )
    })
}

/// Every publication of completions signals the registered eventfd.
fn silent_bell(app: &App, jump: &Jump, memory: &mut Memory) -> Option<String> {
    let side = lock(&app.side);
    let t = &side.tables;
    if side.finishing || side.closing || t.bell != Some(false) || t.muted {
        return None;
    }
    let bell = app.bell.upgrade()?;
    let (tail, signals) = (side.client.cq_tail(), bell.edge());
    let changes = std::mem::replace(&mut memory.bell_changes, t.bell_changes);
    let before = std::mem::replace(&mut memory.published, (tail, signals));
    let silent = changes == t.bell_changes && before.0 != tail && before.1 == signals;
    silent.then(|| format!("completion {tail} at {} ns was not told to the eventfd", jump.now))
}

fn late(
    app: &App,
    jump: &Jump,
    judged: &BTreeMap<u64, For>,
    memory: &mut Memory,
) -> Option<String> {
    let side = lock(&app.side);
    let overflow = side.client.sq_flags() & OVERFLOW != 0;
    note_sent(app, &side.client, judged, memory);
    if side.closing || overflow || side.client.queued() > 0 || nobody_asks(app, jump) {
        memory.since.clear();
        memory.sent.values_mut().for_each(|(_, due)| *due = false);
        return None;
    }
    // Who waits leads, or has somebody lead: what can go on goes on at once. A timeout ticks from when it
    // was taken, which is not known; the end of a stream waits for what is on its way.
    let led = somebody_waits(app, jump) && !app.program.has(Fault::Late);
    let mut ended = lock(&app.world).ledger.ended.clone();
    // What was cancelled and not taken yet has ended, too.
    ended.extend(side.client.peek_ended());
    let ended = &ended;
    let shown: Vec<u64> = side.client.peek().collect();
    for (ud, what) in judged {
        let Some(pushed) = side.pushed.get(ud) else { continue };
        let taken = side.log.iter().filter(|s| s.ud == *ud).count();
        let n = taken + shown.iter().filter(|s| **s == *ud).count();
        let able = if let For::News(fd) = *what {
            !ended.contains(ud) && has_news(app, fd, memory.told.entry(*ud).or_default(), n)
        } else if let For::Stamps(_) = what {
            !ended.contains(ud) && memory.sent.get(ud).is_some_and(|(_, due)| *due)
        } else {
            let waits = !ended.contains(ud) && !shown.contains(ud);
            waits && can_go_on(app, *what, (*pushed, jump.now))
        };
        if !able {
            memory.since.remove(ud);
            continue;
        }
        let since = memory.since.entry(*ud).or_insert((n, jump.now));
        if since.0 != n {
            // A multishot accept had one, and there is another.
            *since = (n, jump.now);
        }
        let first = since.1;
        let at_once = led && matches!(what, For::Events(..) | For::Stamps(_));
        let patience = if at_once { 0 } else { LATE_NS };
        if jump.next - first > patience {
            return Some(format!(
                "request {ud} can go on since {first} ns, at {} ns nobody has looked at it: {what:?}",
                jump.now
            ));
        }
    }
    None
}

/// On a ring that defers, nothing happens until somebody asks.
fn nobody_asks(app: &App, jump: &Jump) -> bool {
    app.program.setup & DEFER_TASKRUN != 0 && !somebody_waits(app, jump)
}

fn somebody_waits(app: &App, jump: &Jump) -> bool {
    lock(&app.waiters).keys().any(|t| jump.waiting.contains(t))
}

/// Whether a pipe was written to, and is readable, since a multishot told of it the last time.
fn has_news(app: &App, fd: i32, told: &mut (usize, u64), n: usize) -> bool {
    let Ok(open) = lock(&app.world).open(fd) else { return false };
    let edge = open.edge();
    if told.0 != n {
        *told = (n, edge);
    }
    edge != told.1 && open.mask() & POLLIN != 0
}

fn can_go_on(app: &App, what: For, (pushed, now): (u64, u64)) -> bool {
    let mask = |fd| lock(&app.world).open(fd).map_or(0, |o| o.mask());
    // Errors of a datagram socket are timestamps, which end no transfer.
    let of = |fd: i32| if matches!(fd, 8 | 9) { 0 } else { POLLERR | POLLHUP };
    match what {
        For::Time(ns) => pushed + ns <= now,
        For::Events(fd, events) => mask(fd) & (events | of(fd)) != 0,
        For::News(_) | For::Stamps(_) => false,
    }
}

/// Notes what was sent since the last jump. What found the CQ full then waits for what is sent next.
fn note_sent(app: &App, client: &Client, judged: &BTreeMap<u64, For>, memory: &mut Memory) {
    let (tail, cq_entries) = (client.cq_tail(), client.memory.geometry.cq_entries);
    let before = std::mem::replace(&mut memory.taken, tail.wrapping_sub(client.ready()));
    // One may have a filler before it.
    let had_room = tail.wrapping_sub(before) + 3 <= cq_entries;
    for (ud, what) in judged {
        let For::Stamps(fd) = *what else { continue };
        let Ok(open) = lock(&app.world).open(fd) else { continue };
        let (edge, due) = memory.sent.entry(*ud).or_default();
        let new = std::mem::replace(edge, open.edge_for(0)) != *edge;
        *due = (*due || new) && had_room && open.mask() & POLLERR != 0;
    }
}
