//! Completions that a policy keeps back for a while.
//!
//! ```text
//!   request ends --no delay----> complete.rs
//!        '-------delay--> held --its time--> complete.rs
//! ```
//! When a completion comes is up to whoever carries requests out; so is in which order those of requests
//! that do not depend on each other do. A program that is right goes on whatever a policy makes of that.
//! Nothing of a held request is visible, no cancel finds it (it has ended), and what waits for it waits on:
//! its chain, drains, the end of its ring. What it does not do: hold what goes on (multishot), what a
//! linked timeout may still end, or anything of an IOPOLL ring, which posts what it finds.

use super::{Phase, Req};
use crate::engine::Engine;
use crate::host::{Clock, Host};
use crate::ring::{Deferred, Ring, State};
use crate::slab::Key;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_uapi::Errno;

/// A request that has ended, and with what.
#[derive(Clone, Copy, Debug)]
struct Ended {
    key: Key,
    res: Result<i32, Errno>,
    cflags: u32,
    /// By a worker, which an eventfd may be for.
    by_worker: bool,
}

/// Those of a ring that are held.
#[derive(Debug, Default)]
pub struct Held(Vec<Ended>);

impl<H: Host> Engine<H> {
    /// Holds a request that has ended.
    pub(super) fn hold(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        mut req: Req<H>,
        (res, cflags): (Result<i32, Errno>, u32),
        ns: u64,
    ) {
        let by_worker = req.is_told_by_worker(ring, res);
        self.keep_file(st, &mut req);
        req.phase = Phase::Deferred;
        let key = st.reqs.insert(req);
        st.held.0.push(Ended { key, res, cflags, by_worker });
        self.wake_at(ring, st, ns, key);
    }

    /// Has somebody look at a ring after so many nanoseconds: at a held request, or (key 0) at what is behind a
    /// backlog.
    pub(super) fn wake_at(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, ns: u64, key: Key) {
        let at = self.host().now(Clock::Monotonic).saturating_add(ns);
        let first = st.timers.next().is_none_or(|t| at < t);
        st.timers.arm(at, key);
        if first {
            // Whoever sleeps until a later time must look again.
            self.wake_waiters(ring, st, true);
            self.tell_care_of_timer(st, at);
        }
        self.need_care(ring, st);
    }

    /// Ends a held request whose time has come. False: it is none.
    pub(crate) fn let_go_of_held(&self, st: &mut State<H>, key: Key) -> bool {
        let Some(at) = st.held.0.iter().position(|h| h.key == key) else { return false };
        let Ended { key, res, cflags, by_worker } = st.held.0.swap_remove(at);
        st.cq.from_worker |= by_worker;
        st.deferred.push_back(Deferred::Request { key, res, cflags });
        true
    }

    /// The ring ends: none is held any longer.
    pub(crate) fn end_held(&self, st: &mut State<H>) {
        for Ended { key, res, cflags, by_worker } in core::mem::take(&mut st.held.0) {
            st.cq.from_worker |= by_worker;
            st.deferred.push_back(Deferred::Request { key, res, cflags });
        }
    }
}
