//! Memory and descriptor of a ring: leaked pages that the application's side sees, too.

use crate::sched::{Sched, lock};
use crate::world::World;
use ringer_engine::host::{HostRing, RingId};
use ringer_ring::{Geometry, Map};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// The pages of a ring, as application and engine share them.
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
    /// Whether somebody polls the descriptor.
    pub polled: AtomicBool,
    /// Whether the descriptor shows `POLLIN`.
    pub readable: AtomicBool,
    /// Whether the application still maps it.
    pub mapped: AtomicBool,
    /// How often the engine called [`HostRing::signal`].
    pub signals: AtomicU32,
}

/// See the module's doc.
#[derive(Debug)]
pub struct SimRing {
    pub(crate) pages: Arc<Pages>,
    pub(crate) sched: Arc<Sched>,
    pub(crate) world: Arc<Mutex<World>>,
}

impl Drop for SimRing {
    fn drop(&mut self) {
        lock(&self.world).ring_objects -= 1;
    }
}

impl HostRing for SimRing {
    fn rings(&self) -> &Map {
        &self.pages.rings
    }

    fn sqes(&self) -> &Map {
        &self.pages.sqes
    }

    fn polled(&self) -> bool {
        self.pages.polled.load(Relaxed)
    }

    fn signal(&self) {
        self.pages.signals.fetch_add(1, Relaxed);
        if self.polled() {
            self.pages.readable.store(true, Relaxed);
            self.sched.changed();
        }
    }

    fn drain(&self) {
        self.pages.readable.store(false, Relaxed);
    }

    fn still_mapped(&self) -> bool {
        self.pages.mapped.load(Relaxed)
    }
}
