//! Memory and descriptor of a ring in a model.
//!
//! Every look of the engine at the pages is told to the model checker as a read, the probe of a ring's
//! end and a resize as a write: one without an order to the other fails the model, which is the engine's
//! rule "under the lock". What it does not do: model the pipe behind
//! a real ring's descriptor (`ringer_sys::readiness` has its own models).

use crate::host::World;
use crate::{lock, sleep};
use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use ringer_engine::host::{Alone, HostPages, HostResult, HostRing, RingId};
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
    /// The engine was told that they are gone, or that others are in their place.
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

/// Pages as the engine has them.
#[derive(Debug)]
pub struct ModelPages(pub(crate) Arc<Pages>);

impl ModelPages {
    fn look(&self) -> &Pages {
        assert!(!self.0.gone.load(Relaxed), "the engine looks at pages that are gone");
        self.0.looks.with(|_| ());
        &self.0
    }
}

impl HostPages for ModelPages {
    fn rings(&self) -> &Map {
        &self.look().rings
    }

    fn sqes(&self) -> &Map {
        &self.look().sqes
    }
}

/// The descriptor of a ring. What it shows is the world's.
#[derive(Debug)]
pub struct ModelRing {
    /// The pages it was made with, which count its signals.
    pub(crate) pages: Arc<Pages>,
    pub(crate) world: Arc<World>,
}

impl HostRing for ModelRing {
    type Pages = ModelPages;
    type Commons = Alone;

    fn remake(
        &self,
        geometry: &Geometry,
        _user_memory: Option<(u64, u64)>,
        then: impl FnOnce(&Map) -> HostResult<()>,
    ) -> HostResult<ModelPages> {
        let pages = Arc::new(Pages::new(self.pages.id, *geometry));
        then(&pages.rings)?;
        Ok(ModelPages(pages))
    }

    fn show(&self, pages: &ModelPages) {
        let old = self.world.show(&pages.0);
        old.looks.with_mut(|_| ());
        old.gone.store(true, Relaxed);
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
        let pages = self.world.shown(self.pages.id).unwrap_or_else(|| self.pages.clone());
        pages.looks.with_mut(|_| ());
        let mapped = pages.mapped.load(Relaxed);
        pages.gone.store(!mapped, Relaxed);
        mapped
    }
}
