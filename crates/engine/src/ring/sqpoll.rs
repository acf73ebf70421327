//! The submission thread of a SQPOLL ring.
//!
//! ```text
//!  spin: lock, take a batch, unlock    --idle for `idle_ns`-->  NEED_WAKEUP set, look once more
//!    ^                                                            |  nothing: park on `wake`
//!    '------------------ enter(SQ_WAKEUP) bumps `wake` -----------'
//! ```
//!
//! No submission is missed: the flag is set with a full barrier before the last look at the tail,
//! and the application stores the tail before a full barrier and its look at the flag (liburing
//! `sq_ring_needs_enter`). Nor is a wake-up:
//!
//! ```text
//!   submission thread                    application
//!   wake read
//!   NEED_WAKEUP set; barrier; tail: nothing
//!                                        tail += 1; barrier; NEED_WAKEUP: enter
//!                                        wake += 1, unpark
//!   park(wake): differs -> looks again
//! ```
//!
//! What it does not do: share a thread between rings (ATTACH_WQ gives each
//! its own; LIMITATIONS.md). Source: 6.18 io_uring/sqpoll.c `io_sq_thread`.

use super::Ring;
use crate::engine::Engine;
use crate::host::{Clock, Host, ThreadKind};
use crate::primitive::{AtomicBool, AtomicU32, bound};
use crate::request::tctx::Tctx;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{Ordering::Acquire, Ordering::Release};
use ringer_uapi::Errno;
use ringer_uapi::flags::{Enter, SqRing};

/// Idle time when the application gives none: one second.
const IDLE_DEFAULT_MS: u32 = 1000;
/// Empty looks at the tail between two looks at the clock.
const SPINS: u32 = bound(128, 1);
/// Longest sleep of the parked thread, so that a ring whose last user vanished is noticed \[ns\].
const PARK_NS: u64 = 3_600_000_000_000;

/// See the module's doc.
#[derive(Debug)]
pub struct SqPoll<H: Host> {
    idle_ns: u64,
    cpu: Option<u32>,
    wake: AtomicU32,
    room: AtomicU32,
    stop: AtomicBool,
    /// What its workers go by.
    pub(crate) tctx: Arc<Tctx<H>>,
    thread: crate::sync::Mutex<H, Option<H::Thread>>,
}

/// What one look at the ring found.
enum Found {
    Work,
    Nothing,
    Over,
}

impl<H: Host> SqPoll<H> {
    pub(super) fn new(idle_ms: u32, cpu: Option<u32>, tctx: Tctx<H>) -> Self {
        let idle_ms = if idle_ms == 0 { IDLE_DEFAULT_MS } else { idle_ms };
        Self {
            idle_ns: u64::from(idle_ms) * 1_000_000,
            cpu,
            wake: AtomicU32::new(0),
            room: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            tctx: Arc::new(tctx),
            thread: crate::sync::mutex(None),
        }
    }

    pub(super) fn start(
        self: &Arc<Self>,
        engine: &Engine<H>,
        ring: &Arc<Ring<H>>,
    ) -> Result<(), Errno> {
        let (me, weak) = (self.clone(), Arc::downgrade(ring));
        let e = engine.me().ok_or(Errno::ENXIO)?;
        let body = Box::new(move || me.run(&e, &weak));
        let thread = engine.host().spawn(ThreadKind::SqPoll(self.cpu), body)?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Ends the thread, soon.
    pub(super) fn stop(&self, host: &H) {
        self.stop.store(true, Release);
        self.kick(host);
    }

    /// Wakes the parked thread.
    pub(crate) fn kick(&self, host: &H) {
        self.wake.fetch_add(1, Release);
        host.unpark(&self.wake, 1);
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

    /// The body of the thread.
    fn run(&self, engine: &Arc<Engine<H>>, weak: &Weak<Ring<H>>) {
        let host = engine.host();
        let mut busy_until = host.now(Clock::Monotonic).saturating_add(self.idle_ns);
        loop {
            for _ in 0..SPINS {
                match self.look(engine, weak) {
                    Found::Work => {
                        busy_until = 0;
                    }
                    Found::Nothing => core::hint::spin_loop(),
                    Found::Over => return,
                }
            }
            let now = host.now(Clock::Monotonic);
            if busy_until == 0 {
                busy_until = now.saturating_add(self.idle_ns);
            }
            if now < busy_until {
                host.yield_cpu();
                continue;
            }
            if !self.park(engine, weak) {
                return;
            }
            busy_until = host.now(Clock::Monotonic).saturating_add(self.idle_ns);
        }
    }

    fn look(&self, engine: &Arc<Engine<H>>, weak: &Weak<Ring<H>>) -> Found {
        if self.stop.load(Acquire) {
            return Found::Over;
        }
        let Some(ring) = weak.upgrade() else { return Found::Over };
        if ring.disabled.load(Acquire) {
            return Found::Nothing;
        }
        let mut st = ring.state.lock();
        if st.dying {
            return Found::Over;
        }
        if st.sq_pages().tail() == st.sq_head {
            return Found::Nothing;
        }
        // One batch, and then others may come in: a tail far ahead would keep them, and the end of
        // the ring, waiting for as long.
        engine.submit(&ring, &mut st, u32::MAX);
        engine.end_batch(&ring, &mut st, true);
        engine.run_ready_in_turns(&ring, st);
        self.room.fetch_add(1, Release);
        engine.host().unpark(&self.room, u32::MAX);
        Found::Work
    }

    /// Sleeps until woken. False: the ring is gone.
    fn park(&self, engine: &Arc<Engine<H>>, weak: &Weak<Ring<H>>) -> bool {
        let seq = self.wake.load(Acquire);
        {
            let Some(ring) = weak.upgrade() else { return false };
            let st = ring.state.lock();
            if st.dying || self.stop.load(Acquire) {
                return false;
            }
            st.sq_pages().set_need_wakeup();
            if st.sq_pages().tail() != st.sq_head && !ring.disabled.load(Acquire) {
                st.sq_pages().clear_flags(SqRing::NEED_WAKEUP);
                return true;
            }
        }
        let _ = engine.host().park(&self.wake, seq, Some(PARK_NS));
        let Some(ring) = weak.upgrade() else { return false };
        let st = ring.state.lock();
        if st.dying {
            return false;
        }
        st.sq_pages().clear_flags(SqRing::NEED_WAKEUP);
        true
    }
}
