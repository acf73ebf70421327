//! A file of a model: a number of bytes, a way to wait for them, and who watches.

use crate::host::{World, interrupted};
use crate::poller::Set;
use crate::{lock, quiet, sleep};
use loom::sync::{Condvar, Mutex};
use ringer_engine::host::{FileKind, HostFile, HostResult};
use ringer_uapi::Errno;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// See the module's doc.
#[derive(Debug)]
pub struct File {
    /// What it is. `Regular` is never polled, `Other` knows no `RWF_NOWAIT` and promises more than
    /// it has.
    pub kind: FileKind,
    number: i32,
    bytes: Mutex<u32>,
    /// Threads asleep in a read.
    asleep: AtomicU32,
    more: Condvar,
    watchers: std::sync::Mutex<Vec<Weak<Set>>>,
}

impl File {
    pub(crate) fn new(kind: FileKind, number: i32) -> Self {
        Self {
            kind,
            number,
            bytes: Mutex::new(0),
            asleep: AtomicU32::new(0),
            more: Condvar::new(),
            watchers: std::sync::Mutex::default(),
        }
    }

    /// The other end writes one byte.
    pub fn put(&self) {
        *lock(&self.bytes) += 1;
        self.more.notify_all();
        let watchers: Vec<_> = quiet(&self.watchers).iter().filter_map(Weak::upgrade).collect();
        for set in watchers {
            set.event(self.number);
        }
    }

    /// Reads a byte; `wait` sleeps until there is one.
    ///
    /// # Errors
    /// `EAGAIN`; `EINTR`: the thread was interrupted.
    pub fn take(&self, world: &World, wait: bool) -> HostResult<u32> {
        let mut bytes = lock(&self.bytes);
        while *bytes == 0 {
            if !wait {
                return Err(Errno::EAGAIN);
            }
            if interrupted() {
                return Err(Errno::EINTR);
            }
            if world.is_over() {
                drop(bytes);
                world.leave();
            }
            self.asleep.fetch_add(1, Relaxed);
            bytes = sleep(&self.more, bytes);
            self.asleep.fetch_sub(1, Relaxed);
        }
        *bytes -= 1;
        Ok(1)
    }

    /// Whether a thread sleeps in a read.
    pub fn is_busy(&self) -> bool {
        self.asleep.load(Relaxed) > 0
    }

    /// Whether there is a byte.
    pub fn readable(&self) -> bool {
        *lock(&self.bytes) > 0
    }

    /// Makes its sleepers look around.
    pub(crate) fn shake(&self) {
        drop(lock(&self.bytes));
        self.more.notify_all();
    }

    pub(crate) fn watch(&self, set: &Arc<Set>) {
        quiet(&self.watchers).push(Arc::downgrade(set));
    }

    pub(crate) fn unwatch(&self, set: &Arc<Set>) {
        quiet(&self.watchers).retain(|w| !w.ptr_eq(&Arc::downgrade(set)));
    }
}

/// A file that the engine holds.
#[derive(Clone, Debug)]
pub struct Held(pub(crate) Arc<File>);

impl HostFile for Held {
    fn kind(&self) -> FileKind {
        self.0.kind
    }

    fn number(&self) -> Option<i32> {
        Some(self.0.number)
    }

    fn same_file(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
