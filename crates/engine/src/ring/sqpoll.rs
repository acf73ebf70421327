//! The submission threads of SQPOLL rings.
//!
//! ```text
//!  SqPoll of a ring: its idle time, room --.
//!  SqPoll of one attached to it -----------+--> SqData of the thread: rings, `wake`
//!
//!  spin: each ring: lock, batch, unlock  --idle for the longest idle time-->  NEED_WAKEUP on all,
//!    ^                                                                          look at all once more
//!    '--- enter(SQ_WAKEUP) of any, a ring comes or goes: `wake` bumped ---  nothing: park on `wake`
//! ```
//!
//! No submission is missed: the flag is set with a full barrier before the last look at the tail,
//! and the application stores the tail before a full barrier and its look at the flag (liburing
//! `sq_ring_needs_enter`). Nor is a wake-up, or a ring that is attached:
//!
//! ```text
//!   submission thread                    application
//!   wake read, rings as I know them
//!   NEED_WAKEUP set; barrier; tail: nothing
//!                                        tail += 1; barrier; NEED_WAKEUP: enter
//!                                        (or: setup: one more ring)
//!                                        wake += 1, unpark
//!   park(wake): differs -> looks again
//! ```
//!
//! The thread ends with the last of its rings. What it does not do: serve a ring whose creator has
//! other credentials than the thread's (such a ring gets a thread of its own; LIMITATIONS.md). Source:
//! 6.18 io_uring/sqpoll.c `io_sq_thread`, `io_get_sq_data`, `io_sq_thread_finish`.

use super::Ring;
use crate::engine::Engine;
use crate::host::{Clock, Credentials, Host, ThreadKind};
use crate::primitive::{AtomicU32, bound};
use crate::request::tctx::Tctx;
use crate::sync::{Mutex, mutex};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use ringer_uapi::Errno;
use ringer_uapi::flags::{Enter, SqRing};

/// Idle time when the application gives none: one second.
const IDLE_DEFAULT_MS: u32 = 1000;
/// Turns over the rings between two looks at the clock.
const SPINS: u32 = bound(128, 1);
/// Entries that a ring has taken in its turn where others have theirs (sqpoll.c
/// `IORING_SQPOLL_CAP_ENTRIES_VALUE`).
const BATCH_SHARED: u32 = 8;
/// Longest sleep of the parked thread, so that a ring whose last user vanished is noticed \[ns\].
const PARK_NS: u64 = 3_600_000_000_000;

/// What a ring has of its submission thread. See the module's picture.
#[derive(Debug)]
pub struct SqPoll<H: Host> {
    data: Arc<SqData<H>>,
    idle_ns: u64,
    /// Futex of who waits for room in the ring (`ctx->sqo_sq_wait`).
    room: AtomicU32,
}

/// A submission thread (`struct io_sq_data`).
#[derive(Debug)]
pub(super) struct SqData<H: Host> {
    /// Whom it acts for.
    who: Credentials,
    cpu: Option<u32>,
    wake: AtomicU32,
    /// Bumped with every change of the rings.
    changes: AtomicU32,
    /// What its workers go by.
    tctx: Arc<Tctx<H>>,
    served: Mutex<H, Served<H>>,
}

/// Whom a thread serves.
#[derive(Debug)]
struct Served<H: Host> {
    /// And each one's idle time \[ns\]. The newest first; none: it has not begun, or it ends.
    rings: Vec<(Weak<Ring<H>>, u64)>,
    thread: Option<H::Thread>,
}

/// What the thread knows of that.
#[derive(Debug)]
struct Known<H: Host> {
    rings: Vec<Weak<Ring<H>>>,
    idle_ns: u64,
    changes: u32,
}

impl<H: Host> SqData<H> {
    /// A thread that acts for the caller, to be started with its first ring.
    pub(super) fn new(host: &H, cpu: Option<u32>, sq_entries: u32) -> Self {
        Self {
            who: host.credentials(),
            cpu,
            wake: AtomicU32::new(0),
            changes: AtomicU32::new(0),
            tctx: Arc::new(Tctx::new(host, sq_entries)),
            served: mutex(Served { rings: Vec::new(), thread: None }),
        }
    }

    /// Whether it may take on rings of the caller's.
    pub(super) fn acts_for_caller(&self, host: &H) -> bool {
        self.who == host.credentials()
    }

    /// Takes a ring on, the first one with a new thread.
    fn admit(
        self: &Arc<Self>,
        engine: &Engine<H>,
        (ring, idle_ns): (&Arc<Ring<H>>, u64),
    ) -> Result<(), Errno> {
        let mut served = self.served.lock();
        if served.thread.is_some() && served.rings.is_empty() {
            return Err(Errno::ENXIO);
        }
        served.rings.insert(0, (Arc::downgrade(ring), idle_ns));
        self.changed();
        if served.thread.is_none() {
            let made = self.spawn(engine).inspect_err(|_| served.rings.clear())?;
            served.thread = Some(made);
            return Ok(());
        }
        drop(served);
        self.kick(engine.host());
        Ok(())
    }

    fn spawn(self: &Arc<Self>, engine: &Engine<H>) -> Result<H::Thread, Errno> {
        let (me, e) = (self.clone(), engine.me().ok_or(Errno::ENXIO)?);
        engine.host().spawn(ThreadKind::SqPoll(self.cpu), Box::new(move || me.run(&e)))
    }

    /// A ring ends. Without others the thread does, soon.
    fn dismiss(&self, host: &H, ring: &Ring<H>) {
        let mut served = self.served.lock();
        served.rings.retain(|(r, _)| !core::ptr::eq(r.as_ptr(), ring));
        self.changed();
        drop(served);
        self.kick(host);
    }

    /// To be called under the lock of `served`.
    fn changed(&self) {
        // Release: pairs with the thread's Acquire; it finds the rings under their lock.
        self.changes.fetch_add(1, Release);
    }

    /// Wakes the parked thread.
    fn kick(&self, host: &H) {
        self.wake.fetch_add(1, Release);
        host.unpark(&self.wake, 1);
    }

    // --- the thread -----------------------------------------------------------------------------

    /// The body of the thread.
    fn run(&self, engine: &Arc<Engine<H>>) {
        let host = engine.host();
        let mut known = Known { rings: Vec::new(), idle_ns: 0, changes: 0 };
        let mut busy_until = 0;
        loop {
            if !self.is_current(&known) {
                known = self.take_stock();
                if known.rings.is_empty() {
                    return;
                }
                busy_until = host.now(Clock::Monotonic).saturating_add(known.idle_ns);
            }
            for _ in 0..SPINS {
                if self.turn(engine, &known) {
                    busy_until = 0;
                } else {
                    core::hint::spin_loop();
                }
            }
            let now = host.now(Clock::Monotonic);
            if busy_until == 0 {
                busy_until = now.saturating_add(known.idle_ns);
            }
            if now < busy_until {
                host.yield_cpu();
                continue;
            }
            self.park(host, &known);
            busy_until = host.now(Clock::Monotonic).saturating_add(known.idle_ns);
        }
    }

    /// The rings as they are now, and the longest of their idle times (sqpoll.c
    /// `io_sqd_update_thread_idle`).
    fn take_stock(&self) -> Known<H> {
        let served = self.served.lock();
        let idle_ns = served.rings.iter().map(|(_, idle_ns)| *idle_ns).max().unwrap_or(0);
        // Relaxed: bumped under the lock.
        let changes = self.changes.load(Relaxed);
        Known { rings: served.rings.iter().map(|(r, _)| r.clone()).collect(), idle_ns, changes }
    }

    fn is_current(&self, known: &Known<H>) -> bool {
        self.changes.load(Acquire) == known.changes
    }

    /// A turn over the rings. Whether one of them had something.
    fn turn(&self, engine: &Arc<Engine<H>>, known: &Known<H>) -> bool {
        let look = |had, ring: Arc<Ring<H>>| self.take_batch(engine, &ring, known) || had;
        known.rings.iter().filter_map(Weak::upgrade).fold(false, look)
    }

    /// Takes entries of a ring (sqpoll.c `__io_sq_thread`). Whether there were any, to its knowledge.
    fn take_batch(&self, engine: &Arc<Engine<H>>, ring: &Arc<Ring<H>>, known: &Known<H>) -> bool {
        if ring.disabled.load(Acquire) {
            return false;
        }
        let mut st = ring.state.lock();
        // After the tail: who attached a ring before it submitted here is known.
        if st.dying || st.sq_pages().tail() == st.sq_head || !self.is_current(known) {
            return false;
        }
        // One batch, and then others may come in: a tail far ahead would keep them, and the end of
        // the ring, waiting for as long.
        let most = if known.rings.len() > 1 { BATCH_SHARED } else { u32::MAX };
        engine.submit(ring, &mut st, most);
        engine.end_batch(ring, &mut st, true);
        engine.run_ready_in_turns(ring, st);
        if let Some(sp) = &ring.sqpoll {
            sp.room.fetch_add(1, Release);
            engine.host().unpark(&sp.room, u32::MAX);
        }
        true
    }

    /// Sleeps until woken, unless something came meanwhile.
    fn park(&self, host: &H, known: &Known<H>) {
        let seq = self.wake.load(Acquire);
        let rings = || known.rings.iter().filter_map(Weak::upgrade);
        if self.is_current(known) && rings().all(|ring| asks_to_be_woken(&ring)) {
            let _ = host.park(&self.wake, seq, Some(PARK_NS));
        }
        for ring in rings() {
            let st = ring.state.lock();
            if !st.dying {
                st.sq_pages().clear_flags(SqRing::NEED_WAKEUP);
            }
        }
    }
}

/// Whether the ring has nothing to do, after it was told that it has to say when that changes.
fn asks_to_be_woken<H: Host>(ring: &Ring<H>) -> bool {
    let st = ring.state.lock();
    if st.dying {
        return true;
    }
    st.sq_pages().set_need_wakeup();
    st.sq_pages().tail() == st.sq_head || ring.disabled.load(Acquire)
}

impl<H: Host> SqPoll<H> {
    pub(super) fn new(data: Arc<SqData<H>>, idle_ms: u32) -> Self {
        let idle_ms = if idle_ms == 0 { IDLE_DEFAULT_MS } else { idle_ms };
        Self { data, idle_ns: u64::from(idle_ms) * 1_000_000, room: AtomicU32::new(0) }
    }

    /// Its thread, for a ring that is attached.
    pub(super) fn data(&self) -> &Arc<SqData<H>> {
        &self.data
    }

    /// What workers of its thread go by.
    pub(crate) fn tctx(&self) -> &Arc<Tctx<H>> {
        &self.data.tctx
    }

    /// Begins to be served.
    ///
    /// # Errors
    /// `ENXIO` the thread it is attached to ends; of the host: no thread.
    pub(super) fn start(&self, engine: &Engine<H>, ring: &Arc<Ring<H>>) -> Result<(), Errno> {
        self.data.admit(engine, (ring, self.idle_ns))
    }

    /// The ring ends.
    pub(super) fn stop(&self, host: &H, ring: &Ring<H>) {
        self.data.dismiss(host, ring);
    }

    /// Wakes the parked thread.
    pub(crate) fn kick(&self, host: &H) {
        self.data.kick(host);
    }

    /// The SQPOLL part of `enter`.
    pub(super) fn enter(&self, engine: &Engine<H>, ring: &Ring<H>, f: Enter) {
        if f.contains(Enter::SQ_WAKEUP) {
            self.kick(engine.host());
        }
        if f.contains(Enter::SQ_WAIT) {
            self.wait_for_room(engine, ring);
        }
    }

    /// Until there is room, or a signal handler ran, which is no error; a sleeping thread is not
    /// woken (sqpoll.c `io_sqpoll_wait_sq`).
    fn wait_for_room(&self, engine: &Engine<H>, ring: &Ring<H>) {
        loop {
            let seq = self.room.load(Acquire);
            let st = ring.state.lock();
            if st.dying || st.sq_pages().tail().wrapping_sub(st.sq_head) < st.geo.sq_entries {
                return;
            }
            drop(st);
            if engine.host().park(&self.room, seq, None) == Err(Errno::EINTR) {
                return;
            }
        }
    }
}
