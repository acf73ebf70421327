//! Memory and descriptor of a ring in a model.
//!
//! Every look of the engine at the pages is told to the model checker as a read, and the probe of a
//! ring's end as a write: one without an order to the other fails the model, which is the engine's
//! rule "under the lock, or while the ring counts a call". What it does not do: model the pipe behind
//! a real ring's descriptor (`ringer_sys::readiness` has its own models).

use crate::host::World;
use crate::{lock, sleep};
use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use ringer_engine::host::{HostResult, HostRing, RingId};
use ringer_ring::{Geometry, Map};
use ringer_uapi::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The pages, as application and engine share them.
#[derive(Debug)]
pub struct Pages {
    /// Its name.
    pub id: RingId,
    /// Where everything lies.
    pub geometry: Geometry,
    /// Heads, tails, CQEs, index array.
    pub rings: Map,
    /// SQEs.
    pub sqes: Map,
    /// Whether the application still maps them.
    pub mapped: AtomicBool,
    /// The engine was told that they are gone.
    gone: AtomicBool,
    looks: UnsafeCell<()>,
    signals: Mutex<u32>,
    signalled: Condvar,
}

// SAFETY: all but `looks` is `Sync`, and `looks` guards nothing: it only notes who came when.
unsafe impl Sync for Pages {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Pages {}

impl Pages {
    /// Pages of zeroes, still to be initialised.
    pub fn new(id: RingId, geometry: Geometry) -> Self {
        Self {
            id,
            geometry,
            rings: Map::leaked(geometry.rings_len()),
            sqes: Map::leaked(geometry.sqes_len()),
            mapped: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            looks: UnsafeCell::new(()),
            signals: Mutex::new(0),
            signalled: Condvar::new(),
        }
    }

    /// Sleeps until the engine made the descriptor readable more than `seen` times; returns how
    /// often it did.
    pub fn await_signal(&self, seen: u32) -> u32 {
        let mut n = lock(&self.signals);
        while *n <= seen {
            n = sleep(&self.signalled, n);
        }
        *n
    }
}

/// See the module's doc.
#[derive(Debug)]
pub struct ModelRing {
    pub(crate) pages: Arc<Pages>,
    pub(crate) world: Arc<World>,
}

impl ModelRing {
    fn look(&self) -> &Pages {
        assert!(!self.pages.gone.load(Relaxed), "the engine looks at pages that are gone");
        self.pages.looks.with(|_| ());
        &self.pages
    }
}

impl HostRing for ModelRing {
    fn rings(&self) -> &Map {
        &self.look().rings
    }

    fn sqes(&self) -> &Map {
        &self.look().sqes
    }

    fn polled(&self) -> bool {
        self.world.options.polled
    }

    fn announce(&self) -> bool {
        false
    }

    fn signal(&self, _announced: bool) {
        *lock(&self.pages.signals) += 1;
        self.pages.signalled.notify_all();
    }

    fn work_waits(&self, _waits: bool) {}

    fn drain(&self) {}

    fn keep(&self) -> HostResult<()> {
        Ok(())
    }

    fn let_go(&self) {}
    fn add_region(&self, _user: Option<u64>, _len: u64) -> HostResult<()> {
        Err(Errno::ENOMEM)
    }

    fn drop_region(&self) {}

    fn load_region(&self, _at: u64, _to: &mut [u64]) {}

    fn still_mapped(&self) -> bool {
        self.pages.looks.with_mut(|_| ());
        let mapped = self.pages.mapped.load(Relaxed);
        self.pages.gone.store(!mapped, Relaxed);
        mapped
    }
}
