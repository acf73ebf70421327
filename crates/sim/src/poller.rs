//! A poller with epoll's edge-triggered rules over files in RAM.
//!
//! An entry is reported when something happened at its file, of the kind that it asks for or of no
//! kind, since it was last reported (or added, or modified) and a bit that was asked for holds now. An
//! entry goes when its file does.

use crate::object::{Open, POLLERR, POLLHUP, POLLIN};
use crate::policy::Fault;
use crate::sched::{Sched, lock};
use crate::world::World;
use ringer_engine::host::{HostResult, PollEvent, Poller, SigMask};
use ringer_uapi::Errno;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

#[derive(Debug)]
struct Entry {
    open: Weak<Open>,
    events: u32,
    token: u64,
    seen: Option<u64>,
}

#[derive(Debug)]
struct Nested {
    set: Weak<Set>,
    token: u64,
    seen: u64,
}

#[derive(Debug, Default)]
struct Set {
    entries: Mutex<BTreeMap<i32, Entry>>,
    nested: Mutex<Vec<Nested>>,
    woken: AtomicBool,
    /// Steps of clocks: their token, and how many were told.
    steps: Mutex<Option<(u64, u64)>>,
}

impl Set {
    /// What is ready: reported at most once an edge if `take`.
    fn ready(&self, max: usize, take: bool) -> Vec<PollEvent> {
        let mut found = Vec::new();
        lock(&self.entries).retain(|_, e| {
            let Some(open) = e.open.upgrade() else { return false };
            let mask = open.mask() & (e.events | POLLERR | POLLHUP);
            let edge = open.edge_for(e.events);
            if mask != 0 && e.seen != Some(edge) && found.len() < max {
                found.push(PollEvent { events: mask, token: e.token });
                if take {
                    e.seen = Some(edge);
                }
            }
            true
        });
        found
    }

    /// Changes with everything that could make the set ready. A sum would not: what goes and what
    /// comes could make up for each other.
    fn edge(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        for (fd, e) in &*lock(&self.entries) {
            (*fd, e.token, e.open.upgrade().map(|o| o.edge_for(e.events))).hash(&mut hash);
        }
        hash.finish()
    }

    fn stepped(&self, found: &mut Vec<PollEvent>, max: usize, steps: u64) {
        let mut mine = lock(&self.steps);
        if let Some((token, told)) = &mut *mine
            && *told != steps
            && found.len() < max
        {
            *told = steps;
            found.push(PollEvent { events: 1, token: *token });
        }
    }

    fn nested_ready(&self, found: &mut Vec<PollEvent>, max: usize) {
        lock(&self.nested).retain_mut(|n| {
            let Some(set) = n.set.upgrade() else { return false };
            let edge = set.edge();
            if edge != n.seen && found.len() < max && !set.ready(1, false).is_empty() {
                n.seen = edge;
                found.push(PollEvent { events: 1, token: n.token });
            }
            true
        });
    }
}

/// See the module's doc.
#[derive(Debug)]
pub struct SimPoller {
    set: Arc<Set>,
    sched: Arc<Sched>,
    world: Arc<Mutex<World>>,
    steps: Arc<AtomicU64>,
}

impl SimPoller {
    pub(crate) fn new(sched: Arc<Sched>, world: Arc<Mutex<World>>) -> Self {
        let mut w = lock(&world);
        w.pollers += 1;
        let steps = w.steps.clone();
        drop(w);
        Self { set: Arc::default(), sched, world, steps }
    }

    fn entry(&self, fd: i32, events: u32, token: u64) -> HostResult<Entry> {
        let open = lock(&self.world).open(fd)?;
        if open.kind() == ringer_engine::host::FileKind::Regular {
            return Err(Errno::EPERM);
        }
        Ok(Entry { open: Arc::downgrade(&open), events, token, seen: None })
    }
}

impl SimPoller {
    /// Watches a file of the host's own, which has no number.
    pub(crate) fn add_own(&self, open: &Arc<Open>, token: u64) {
        let entry = Entry { open: Arc::downgrade(open), events: POLLIN, token, seen: None };
        lock(&self.set.entries).insert(-1, entry);
    }
}

impl Drop for SimPoller {
    fn drop(&mut self) {
        lock(&self.world).pollers -= 1;
    }
}

impl Poller for SimPoller {
    fn add(&self, fd: i32, events: u32, token: u64) -> HostResult<()> {
        lock(&self.world).calls.push(("epoll_add", fd));
        let entry = self.entry(fd, events, token)?;
        let mut entries = lock(&self.set.entries);
        if entries.get(&fd).is_some_and(|e| e.open.strong_count() > 0) {
            return Err(Errno::EEXIST);
        }
        entries.insert(fd, entry);
        drop(entries);
        self.sched.changed();
        Ok(())
    }

    fn modify(&self, fd: i32, events: u32, token: u64) -> HostResult<()> {
        lock(&self.world).calls.push(("epoll_mod", fd));
        let entry = self.entry(fd, events, token)?;
        let mut entries = lock(&self.set.entries);
        *entries.get_mut(&fd).ok_or(Errno::ENOENT)? = entry;
        drop(entries);
        self.sched.changed();
        Ok(())
    }

    fn remove(&self, fd: i32) {
        lock(&self.world).calls.push(("epoll_del", fd));
        lock(&self.set.entries).remove(&fd);
    }

    fn wait(
        &self,
        events: &mut [PollEvent],
        timeout_ns: Option<u64>,
        _mask: Option<SigMask>,
    ) -> HostResult<usize> {
        let until = timeout_ns.map(|ns| self.sched.now().saturating_add(ns));
        let max = events.len();
        if timeout_ns != Some(0) && self.sched.signalled() {
            return Err(Errno::EINTR);
        }
        if timeout_ns != Some(0) && self.sched.strikes(Fault::Wake) {
            return Ok(0);
        }
        let found = self.sched.wait_for(until, || {
            let mut found = self.set.ready(max, true);
            self.set.nested_ready(&mut found, max);
            self.set.stepped(&mut found, max, self.steps.load(Relaxed));
            (self.set.woken.swap(false, Relaxed) || !found.is_empty()).then_some(found)
        });
        match found {
            Ok(found) => {
                // What was true at the look may be over before anybody acts on it.
                self.sched.breathe();
                for (to, from) in events.iter_mut().zip(&found) {
                    *to = *from;
                }
                Ok(found.len())
            }
            Err(Errno::EAGAIN) => Ok(0),
            Err(e) => Err(e),
        }
    }

    fn wake(&self) {
        self.set.woken.store(true, Relaxed);
        self.sched.changed();
    }

    fn watch_clocks(&self, token: u64) -> HostResult<()> {
        if self.sched.strikes(Fault::NoFile) {
            return Err(Errno::EMFILE);
        }
        *lock(&self.set.steps) = Some((token, self.steps.load(Relaxed)));
        Ok(())
    }

    fn nest(&self, inner: &Self, token: u64) -> HostResult<()> {
        if lock(&self.world).no_nesting || self.sched.strikes(Fault::NoFile) {
            return Err(Errno::ENOSPC);
        }
        let set = Arc::downgrade(&inner.set);
        lock(&self.set.nested).push(Nested { set, token, seen: 0 });
        Ok(())
    }

    fn unnest(&self, inner: &Self) {
        let gone = |n: &Nested| n.set.ptr_eq(&Arc::downgrade(&inner.set));
        lock(&self.set.nested).retain(|n| !gone(n));
    }
}
