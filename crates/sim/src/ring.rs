//! Memory and descriptor of a ring: leaked pages that the application's side sees, too.
//!
//! ```text
//!   Pages (the descriptor) --- memory: what it shows now --- Memory: leaked, also when it is replaced
//! ```

use crate::policy::Fault;
use crate::sched::{Sched, lock};
use crate::world::World;
use ringer_engine::host::{Alone, HostPages, HostResult, HostRing, RingId};
use ringer_ring::{Geometry, Map};
use ringer_uapi::Errno;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// The memory of a ring, as application and engine share it.
#[derive(Debug)]
pub struct Memory {
    /// Where everything lies.
    pub geometry: Geometry,
    /// Heads, tails, CQEs, index array.
    pub rings: Map,
    /// SQEs.
    pub sqes: Map,
}

impl Memory {
    pub(crate) fn new(geometry: Geometry) -> Arc<Self> {
        let (rings, sqes) = (Map::leaked(geometry.rings_len()), Map::leaked(geometry.sqes_len()));
        Arc::new(Self { geometry, rings, sqes })
    }
}

/// The descriptor of a ring, and what it shows.
#[derive(Debug)]
pub struct Pages {
    /// Its name.
    pub id: RingId,
    /// What who maps it finds.
    pub(crate) memory: Mutex<Arc<Memory>>,
    /// Whether somebody polls the descriptor.
    pub polled: AtomicBool,
    /// Whether the descriptor shows `POLLIN`.
    pub readable: AtomicBool,
    /// Whether the engine said that work waits for the owner.
    pub work: AtomicBool,
    /// Where the registered region is in the application's memory.
    pub region: Mutex<Option<u64>>,
    /// Where the buffer rings of the kernel's own are.
    pub buf_rings: Mutex<BTreeMap<u16, u64>>,
    /// Whether the application still maps it.
    pub mapped: AtomicBool,
    /// How often the engine keeps it alive.
    pub kept: AtomicU32,
    /// How often the engine called [`HostRing::signal`].
    pub signals: AtomicU32,
    /// Signals that were announced and are still to come.
    pub announced: AtomicU32,
}

/// See the module's doc.
#[derive(Debug)]
pub struct SimRing {
    pub(crate) pages: Arc<Pages>,
    pub(crate) sched: Arc<Sched>,
    pub(crate) world: Arc<Mutex<World>>,
}

/// Memory as the engine has it.
#[derive(Debug)]
pub struct SimPages {
    pub(crate) memory: Arc<Memory>,
    pub(crate) world: Arc<Mutex<World>>,
}

impl SimPages {
    pub(crate) fn new(memory: Arc<Memory>, world: &Arc<Mutex<World>>) -> Self {
        lock(world).page_objects += 1;
        Self { memory, world: world.clone() }
    }
}

impl Drop for SimPages {
    fn drop(&mut self) {
        lock(&self.world).page_objects -= 1;
    }
}

impl HostPages for SimPages {
    fn rings(&self) -> &Map {
        &self.memory.rings
    }

    fn sqes(&self) -> &Map {
        &self.memory.sqes
    }
}

impl Pages {
    /// What the descriptor shows now.
    pub fn memory(&self) -> Arc<Memory> {
        lock(&self.memory).clone()
    }
}

impl Drop for SimRing {
    fn drop(&mut self) {
        lock(&self.world).ring_objects -= 1;
    }
}

impl HostRing for SimRing {
    type Pages = SimPages;
    type Commons = Alone;

    fn remake(
        &self,
        geometry: &Geometry,
        _user_memory: Option<(u64, u64)>,
        then: impl FnOnce(&Map) -> HostResult<()>,
    ) -> HostResult<SimPages> {
        if self.sched.strikes(Fault::NoFile) {
            return Err(Errno::ENOMEM);
        }
        let memory = Memory::new(*geometry);
        then(&memory.rings)?;
        Ok(SimPages::new(memory, &self.world))
    }

    fn show(&self, pages: &SimPages) {
        *lock(&self.pages.memory) = pages.memory.clone();
    }

    fn polled(&self) -> bool {
        self.pages.polled.load(Relaxed)
    }

    fn announce(&self) -> bool {
        let polled = self.polled();
        self.pages.announced.fetch_add(u32::from(polled), Relaxed);
        polled
    }

    fn signal(&self, announced: bool) {
        let before = self.pages.announced.fetch_sub(u32::from(announced), Relaxed);
        assert!(!announced || before > 0, "more was signalled than announced");
        self.pages.signals.fetch_add(1, Relaxed);
        if self.polled() {
            self.pages.readable.store(true, Relaxed);
            self.sched.changed();
        }
    }

    fn work_waits(&self, waits: bool) {
        self.pages.work.store(waits, Relaxed);
    }

    fn drain(&self) {
        self.pages.readable.store(false, Relaxed);
    }

    fn keep(&self) -> HostResult<()> {
        if self.sched.strikes(Fault::NoFile) {
            return Err(Errno::ENOMEM);
        }
        self.pages.kept.fetch_add(1, Relaxed);
        Ok(())
    }

    fn let_go(&self) {
        let before = self.pages.kept.fetch_sub(1, Relaxed);
        assert!(before > 0, "a ring is let go that nobody keeps");
    }

    fn add_region(&self, user: Option<u64>, len: u64) -> HostResult<()> {
        let mut w = lock(&self.world);
        let at = match user {
            Some(at) => {
                w.read(at, len as usize)?;
                at
            }
            None => w.alloc(len as usize).ok_or(Errno::ENOMEM)?,
        };
        *lock(&self.pages.region) = Some(at);
        Ok(())
    }

    fn drop_region(&self) {
        *lock(&self.pages.region) = None;
    }

    fn add_buf_ring(&self, group: u16, len: u64) -> HostResult<u64> {
        let at = lock(&self.world).alloc(len as usize).ok_or(Errno::ENOMEM)?;
        let before = lock(&self.pages.buf_rings).insert(group, at);
        assert_eq!(before, None, "the group has a ring");
        Ok(at)
    }

    fn drop_buf_ring(&self, group: u16) {
        assert!(lock(&self.pages.buf_rings).remove(&group).is_some(), "the group has a ring");
    }

    fn load_region(&self, at: u64, to: &mut [u64]) {
        let from = lock(&self.pages.region).expect("a region is there") + at;
        let w = lock(&self.world);
        let bytes = w.read(from, 8 * to.len()).expect("the words lie in the region");
        for (word, bytes) in to.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = ringer_uapi::bytes::u64_at(bytes, 0);
        }
    }

    fn still_mapped(&self) -> bool {
        self.pages.mapped.load(Relaxed)
    }
}
