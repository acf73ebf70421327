//! The background reactor: leads rings in which requests wait while no caller does.
//!
//! ```text
//!  need_care -> [care list] -> tick 1 ms: a caller leads? -> back off, then park until it leaves
//!                                          nobody leads?  -> watch the ring's poller, run its
//!                                                            events and timers here
//! ```
//!
//! The first tick is short: who submits and waits is in its wait by then, and who does not wait has
//! nobody else. A ring that somebody was seen to wait in gets the whole tick from then on.
//!
//! No ring is left alone when its leader goes:
//!
//! ```text
//!   reactor                              leader
//!   lock: led for long: parked; unlock
//!                                        lock: leaves; parked: takes the mark, wakes the reactor
//!   wait returns: looks again, leads
//! ```
//!
//! One thread a process, made when a request first waits, asleep without a tick when it has nothing
//! to look after. What it does not do: touch DEFER_TASKRUN rings' queues; it only tells their owner.

use crate::engine::Engine;
use crate::host::{Clock, Host, HostRing, PollEvent, Poller, RingId, ThreadKind};
use crate::request::start::tell_owner;
use crate::ring::{Ring, State};
use crate::sync::{Mutex, mutex};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use ringer_uapi::Errno;

/// How often the reactor looks whether somebody leads a ring \[ns\].
const TICK_NS: u64 = 1_000_000;
/// The first tick of a ring that nobody was seen to wait in \[ns\].
const FIRST_TICK_NS: u64 = 100_000;
/// Longest pause between looks while callers lead; where one stays in its wait for longer, the ring is
/// parked \[ns\].
const TICK_MAX_NS: u64 = 8_000_000;
/// Looks in a row at a caller in its read before a worker reads, too.
const READS_MAX: u32 = 8;
/// The token of steps of clocks; no ring has it.
const STEPS: u64 = u64::MAX - 1;
/// Events taken from a ring's poller at once.
const BATCH: usize = 64;

#[derive(Debug)]
struct Care<H: Host> {
    ring: Weak<Ring<H>>,
    id: RingId,
    nested: bool,
    /// The nested poller reported something that nobody has handled.
    ready: bool,
    tick_ns: u64,
    /// [`State::lead_epoch`] at the last look, or as the care began.
    epoch: u32,
    /// Reads of the page cache that had ended at the last look, and looks since that found no more.
    reads: (u32, u32),
    /// Nobody has looked yet: the tick until then, and once more \[ns\].
    first_ns: Option<u64>,
}

#[derive(Debug)]
struct Inner<H: Host> {
    inbox: Vec<Care<H>>,
    poller: Option<Arc<H::Poller>>,
    /// It reports steps of clocks.
    steps: bool,
}

/// See the module's doc.
#[derive(Debug)]
pub struct Reactor<H: Host> {
    inner: Mutex<H, Inner<H>>,
    /// Steps that clocks made.
    pub(super) clock_epoch: AtomicU32,
}

impl<H: Host> Default for Reactor<H> {
    fn default() -> Self {
        let inner = Inner { inbox: Vec::new(), poller: None, steps: false };
        Self { inner: mutex(inner), clock_epoch: AtomicU32::new(0) }
    }
}

impl<H: Host> Engine<H> {
    /// Something in the ring waits: make sure that somebody looks after it.
    pub(crate) fn need_care(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if st.in_care {
            return;
        }
        st.care_parked = false;
        let care = Care {
            ring: Arc::downgrade(ring),
            id: ring.id,
            nested: false,
            ready: false,
            tick_ns: TICK_NS,
            reads: (st.ahead.ended(), 0),
            epoch: st.lead_epoch,
            first_ns: Some(if st.attended { TICK_NS } else { FIRST_TICK_NS }),
        };
        // Without a poller or a thread (limits) waiting callers still lead, and who waits or leaves
        // next tries again.
        st.in_care = self.hand_to_reactor(care).is_some();
        st.care_ticks = st.in_care;
    }

    /// Makes the reactor's thread, if there is none.
    ///
    /// # Errors
    /// What the host says of a poller and a thread.
    pub(crate) fn ensure_reactor(&self) -> Result<(), Errno> {
        let mut inner = self.reactor().inner.lock();
        if inner.poller.is_none() {
            let poller = Arc::new(self.host().poller()?);
            let (engine, theirs) = (self.me().ok_or(Errno::ENXIO)?, poller.clone());
            let body = Box::new(move || react(&engine, &theirs));
            self.host().spawn(ThreadKind::Reactor, body)?;
            inner.poller = Some(poller);
        }
        Ok(())
    }

    /// Has the reactor's poller report steps of clocks, if that can be had.
    pub(super) fn watch_clocks(&self) {
        if self.ensure_reactor().is_err() {
            return;
        }
        let mut inner = self.reactor().inner.lock();
        if !inner.steps
            && let Some(p) = &inner.poller
        {
            inner.steps = p.watch_clocks(STEPS).is_ok();
        }
    }

    /// Gives a ring to the reactor, which is made if there is none. `None`: it cannot be made.
    fn hand_to_reactor(&self, care: Care<H>) -> Option<()> {
        self.ensure_reactor().ok()?;
        let mut inner = self.reactor().inner.lock();
        inner.inbox.push(care);
        if let Some(p) = &inner.poller {
            p.wake();
        }
        Some(())
    }

    /// A caller leaves its wait: if the reactor had stopped looking, it must look again; if there was
    /// none to be had, there may be now.
    pub(crate) fn unpark_care(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        if !st.in_care && cares(st) {
            self.need_care(ring, st);
        }
        if !core::mem::take(&mut st.care_parked) {
            return;
        }
        self.wake_reactor(st);
    }

    /// A deadline was added that the reactor, if it sleeps for this ring, does not know.
    pub(crate) fn tell_care_of_timer(&self, st: &mut State<H>, deadline_ns: u64) {
        if deadline_ns < st.care_until {
            self.wake_reactor(st);
        }
    }

    /// A request began to wait for a file, and the reactor may sleep for a time only.
    pub(crate) fn tell_care_of_wait(&self, st: &mut State<H>) {
        if st.care_until != 0 && st.care_blind {
            self.wake_reactor(st);
        }
    }

    /// The first of some reads began that the disk brings, and the reactor may sleep for other things.
    pub(super) fn tell_care_of_read(&self, st: &mut State<H>) {
        if st.care_until > self.host().now(Clock::Monotonic).saturating_add(TICK_MAX_NS) {
            self.wake_reactor(st);
        }
    }

    fn wake_reactor(&self, st: &mut State<H>) {
        st.care_until = 0;
        if let Some(p) = &self.reactor().inner.lock().poller {
            p.wake();
        }
    }
}

fn react<H: Host>(engine: &Arc<Engine<H>>, poller: &Arc<H::Poller>) {
    let mut cares: Vec<Care<H>> = Vec::new();
    let mut events = [PollEvent::default(); BATCH];
    loop {
        cares.append(&mut engine.reactor().inner.lock().inbox);
        let mut pause: Option<u64> = None;
        cares.retain_mut(|c| match look(engine, poller, c) {
            Look::Gone => false,
            Look::Again(ns) => {
                pause = Some(pause.map_or(ns, |p: u64| p.min(ns)));
                true
            }
            Look::Events => true,
        });
        // An error (EINTR is impossible with everything blocked) only means to look again.
        let n = poller.wait(&mut events, pause, None).unwrap_or(0);
        for ev in events.get(..n).unwrap_or(&[]) {
            if ev.token == STEPS {
                engine.reactor().clock_epoch.fetch_add(1, Relaxed);
            }
            if let Some(c) = cares.iter_mut().find(|c| c.id.0 == ev.token) {
                c.ready = true;
            }
        }
    }
}

enum Look {
    /// Nothing waits in the ring any more, or the ring is gone.
    Gone,
    /// Look again after this many nanoseconds.
    Again(u64),
    /// Only an event of the nested poller, or a wake, needs another look.
    Events,
}

/// Whether something in the ring waits that somebody has to look after.
fn cares<H: Host>(st: &State<H>) -> bool {
    st.polled > 0 || !st.ahead.is_empty() || !st.timers.is_empty() || st.clock_waits > 0
}

/// Looks after one ring once.
fn look<H: Host>(engine: &Arc<Engine<H>>, poller: &H::Poller, care: &mut Care<H>) -> Look {
    let Some(ring) = care.ring.upgrade() else { return Look::Gone };
    // Who holds the lock looks after the ring just now; waiting for it would only take its time.
    let Some(mut st) = ring.state.try_lock() else {
        // Where calls follow upon each other that is so again and again.
        care.tick_ns = (2 * care.tick_ns).min(TICK_MAX_NS / 2);
        return Look::Again(care.first_ns.take().unwrap_or(care.tick_ns));
    };
    engine.sweep_lent(&mut st, false);
    let look = look_locked(engine, poller, &ring, &mut st, care);
    st.care_ticks = matches!(look, Look::Again(ns) if ns <= TICK_MAX_NS);
    if !st.care_ticks {
        engine.sweep_lent(&mut st, true);
    }
    engine.unlock(&ring, st);
    look
}

fn look_locked<H: Host>(
    engine: &Arc<Engine<H>>,
    poller: &H::Poller,
    ring: &Arc<Ring<H>>,
    st: &mut State<H>,
    care: &mut Care<H>,
) -> Look {
    st.care_until = 0;
    engine.follow_clocks(ring, st);
    let led = care.epoch != st.lead_epoch;
    st.attended |= led;
    if !cares(st) && !st.dying && led {
        // It is between two requests, most likely.
        unnest(poller, st, care);
        return Look::Again(slower(engine, st, care));
    }
    if !cares(st) || st.dying {
        unnest(poller, st, care);
        st.in_care = false;
        return Look::Gone;
    }
    if !st.ahead.is_empty() {
        tend_reads(engine, ring, st, care);
    }
    let first_ns = care.first_ns.take();
    let watched = ring.mem.polled() || st.eventfd.is_some() || ring.sqpoll.is_some();
    if (led || first_ns.is_some()) && !watched && st.leader == 0 {
        // A caller led since the last look, or has just submitted: give it a tick to come back, and
        // do not compete with it for events meanwhile.
        unnest(poller, st, care);
        return Look::Again(match first_ns {
            Some(ns) if !led => ns,
            _ => slower(engine, st, care),
        });
    }
    if st.leader != 0 {
        unnest(poller, st, care);
        return pace(engine, st, care);
    }
    st.attended = false;
    lead(engine, poller, ring, st, care)
}

/// Callers come and go: each look costs a switch, so they are left alone for longer and longer, but for
/// times that they wait for.
fn slower<H: Host>(engine: &Engine<H>, st: &mut State<H>, care: &mut Care<H>) -> u64 {
    care.epoch = st.lead_epoch;
    let now = engine.host().now(Clock::Monotonic);
    let left = st.timers.next().map_or(u64::MAX, |t| t.saturating_sub(now));
    let tick = care.tick_ns.min(TICK_MAX_NS).min(left.max(TICK_NS));
    care.tick_ns = 2 * tick;
    pause(st, now, tick)
}

/// A time that is added meanwhile is late by a shortest pause at most, should nobody lead.
fn pause<H: Host>(st: &mut State<H>, now: u64, tick: u64) -> u64 {
    st.care_until = now.saturating_add(tick - TICK_NS);
    st.care_blind = false;
    tick
}

/// A caller leads. Look less and less often while it stays in one wait, then not at all until it
/// leaves.
fn pace<H: Host>(engine: &Engine<H>, st: &mut State<H>, care: &mut Care<H>) -> Look {
    if care.epoch != st.lead_epoch {
        return Look::Again(slower(engine, st, care));
    }
    care.tick_ns *= 2;
    if care.tick_ns <= TICK_MAX_NS {
        let now = engine.host().now(Clock::Monotonic);
        return Look::Again(pause(st, now, care.tick_ns));
    }
    care.tick_ns = TICK_NS;
    st.care_parked = true;
    Look::Events
}

/// Nobody leads: do it here.
fn lead<H: Host>(
    engine: &Arc<Engine<H>>,
    poller: &H::Poller,
    ring: &Arc<Ring<H>>,
    st: &mut State<H>,
    care: &mut Care<H>,
) -> Look {
    care.tick_ns = TICK_NS;
    if !care.nested
        && let Some(inner) = &st.poller
    {
        care.nested = poller.nest(inner, care.id.0).is_ok();
    }
    if ring.defers() {
        // Readiness and expiry become completions only when the owner asks.
        if has_work(engine, st, care) {
            tell_owner(ring, st);
            engine.wake_waiters(ring, st, true);
        } else if st.told {
            // The owner may have begun to poll the ring's descriptor since.
            st.due.signal();
        }
    } else {
        engine.poll_events(ring, st);
        engine.run_timers(ring, st);
        engine.commit(ring, st);
    }
    let now = engine.host().now(Clock::Monotonic);
    let look = match st.timers.next() {
        _ if st.told => Look::Again(TICK_MAX_NS),
        Some(t) if care.nested || st.polled == 0 => Look::Again(t.saturating_sub(now).max(1)),
        Some(t) => Look::Again(t.saturating_sub(now).clamp(1, TICK_NS)),
        None if care.nested || st.polled == 0 => Look::Events,
        None => Look::Again(TICK_NS),
    };
    let tick = if st.ahead.is_alone() { TICK_MAX_NS } else { TICK_NS };
    let look = match look {
        look if st.ahead.is_empty() => look,
        Look::Again(ns) => Look::Again(ns.min(tick)),
        _ => Look::Again(tick),
    };
    st.care_blind = !care.nested;
    st.care_until = match look {
        Look::Again(ns) => now.saturating_add(ns),
        Look::Events | Look::Gone => u64::MAX,
    };
    look
}

/// Has a worker read what the disk brings where nobody has ended anything since the last look. A caller
/// that is in its read has longer, but may never come back.
fn tend_reads<H: Host>(
    engine: &Engine<H>,
    ring: &Arc<Ring<H>>,
    st: &mut State<H>,
    care: &mut Care<H>,
) {
    let (ended, looks) = care.reads;
    let looks = if ended == st.ahead.ended() { looks + 1 } else { 0 };
    care.reads = (st.ahead.ended(), looks);
    if looks > if st.ahead.is_read() { READS_MAX } else { 0 } {
        st.may_post = !ring.defers();
        engine.ahead_is_alone(ring, st);
        if st.may_post {
            engine.commit(ring, st);
        }
    }
}

/// Whether a DEFER_TASKRUN ring's owner would find something to do. Its poller is not read here:
/// an edge taken from it would be lost to the owner; being woken by it is the sign.
fn has_work<H: Host>(engine: &Arc<Engine<H>>, st: &State<H>, care: &mut Care<H>) -> bool {
    let due = st.timers.next().is_some_and(|t| t <= engine.host().now(Clock::Monotonic));
    let ready = core::mem::take(&mut care.ready) || !care.nested;
    due || !st.deferred.is_empty() || st.polled > 0 && ready
}

fn unnest<H: Host>(poller: &H::Poller, st: &State<H>, care: &mut Care<H>) {
    care.ready = false;
    if core::mem::take(&mut care.nested)
        && let Some(inner) = &st.poller
    {
        poller.unnest(inner);
    }
}
