//! An edge-triggered poller of a model.
//!
//! A descriptor is reported once for each thing that happened at its file (and once when it is
//! added ready), if it is readable when the report is made. What it does not do: watch for anything
//! but readability.

use crate::file::File;
use crate::host::World;
use crate::{lock, quiet, sleep};
use loom::sync::{Condvar, Mutex};
use ringer_engine::host::{HostResult, PollEvent, Poller, SigMask};
use ringer_uapi::Errno;
use std::sync::{Arc, Weak};

const POLLIN: u32 = 1;

#[derive(Debug)]
struct Entry {
    file: Arc<File>,
    number: i32,
    token: u64,
}

#[derive(Debug, Default)]
struct Ready {
    woken: bool,
    numbers: Vec<i32>,
    nested: Vec<u64>,
}

/// What a poller watches, and what happened.
#[derive(Debug)]
pub(crate) struct Set {
    ready: Mutex<Ready>,
    changed: Condvar,
    entries: std::sync::Mutex<Vec<Entry>>,
    parents: std::sync::Mutex<Vec<(Weak<Set>, u64)>>,
}

impl Set {
    fn note(&self, what: impl FnOnce(&mut Ready)) {
        what(&mut lock(&self.ready));
        self.changed.notify_all();
        let parents: Vec<_> =
            quiet(&self.parents).iter().filter_map(|(p, t)| Some((p.upgrade()?, *t))).collect();
        for (parent, token) in parents {
            lock(&parent.ready).nested.push(token);
            parent.changed.notify_all();
        }
    }

    /// Something happened at a file.
    pub(crate) fn event(&self, number: i32) {
        self.note(|r| {
            if !r.numbers.contains(&number) {
                r.numbers.push(number);
            }
        });
    }

    /// Makes its sleepers look around.
    pub(crate) fn shake(&self) {
        drop(lock(&self.ready));
        self.changed.notify_all();
    }

    fn report(&self, ready: &mut Ready, events: &mut [PollEvent]) -> usize {
        let mut n = 0;
        let mut tell = |token, bits| {
            if let Some(to) = events.get_mut(n) {
                *to = PollEvent { events: bits, token };
                n += 1;
            }
        };
        for number in std::mem::take(&mut ready.numbers) {
            let found = quiet(&self.entries)
                .iter()
                .find(|e| e.number == number)
                .map(|e| (e.file.clone(), e.token));
            if let Some((file, token)) = found
                && file.readable()
            {
                tell(token, POLLIN);
            }
        }
        for token in std::mem::take(&mut ready.nested) {
            tell(token, POLLIN);
        }
        n
    }
}

/// See the module's doc.
#[derive(Debug)]
pub struct ModelPoller {
    set: Arc<Set>,
    world: Arc<World>,
}

impl ModelPoller {
    pub(crate) fn new(world: Arc<World>) -> Self {
        let set = Arc::new(Set {
            ready: Mutex::new(Ready::default()),
            changed: Condvar::new(),
            entries: std::sync::Mutex::default(),
            parents: std::sync::Mutex::default(),
        });
        quiet(&world.sets).push(Arc::downgrade(&set));
        Self { set, world }
    }
}

impl Poller for ModelPoller {
    fn add(&self, fd: i32, _events: u32, token: u64) -> HostResult<()> {
        let file = self.world.file(fd)?;
        let mut entries = quiet(&self.set.entries);
        if entries.iter().any(|e| e.number == fd) {
            return Err(Errno::EEXIST);
        }
        entries.push(Entry { file: file.clone(), number: fd, token });
        drop(entries);
        file.watch(&self.set);
        if file.readable() {
            self.set.event(fd);
        }
        Ok(())
    }

    fn modify(&self, fd: i32, events: u32, token: u64) -> HostResult<()> {
        self.remove(fd);
        self.add(fd, events, token)
    }

    fn remove(&self, fd: i32) {
        if let Ok(file) = self.world.file(fd) {
            file.unwatch(&self.set);
        }
        quiet(&self.set.entries).retain(|e| e.number != fd);
    }

    fn wait(
        &self,
        events: &mut [PollEvent],
        timeout_ns: Option<u64>,
        _mask: Option<SigMask>,
    ) -> HostResult<usize> {
        let (mut passed, mut asked) = (timeout_ns == Some(0), false);
        let mut ready = lock(&self.set.ready);
        loop {
            let woken = std::mem::take(&mut ready.woken);
            let n = self.set.report(&mut ready, events);
            if woken || n > 0 || passed {
                return Ok(n);
            }
            if !std::mem::replace(&mut asked, true) {
                drop(ready);
                passed = self.world.passes(timeout_ns);
                ready = lock(&self.set.ready);
                continue;
            }
            if self.world.is_over() {
                drop(ready);
                self.world.leave();
            }
            ready = sleep(&self.set.changed, ready);
        }
    }

    fn wake(&self) {
        self.set.note(|r| r.woken = true);
    }

    fn nest(&self, inner: &Self, token: u64) -> HostResult<()> {
        quiet(&inner.set.parents).push((Arc::downgrade(&self.set), token));
        let already = {
            let r = lock(&inner.set.ready);
            r.woken || !r.numbers.is_empty()
        };
        if already {
            lock(&self.set.ready).nested.push(token);
        }
        Ok(())
    }

    fn unnest(&self, inner: &Self) {
        let me = Arc::downgrade(&self.set);
        quiet(&inner.set.parents).retain(|(p, _)| !p.ptr_eq(&me));
    }
}
