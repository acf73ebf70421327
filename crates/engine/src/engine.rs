//! The engine of one process: its rings and the threads that serve them.
//!
//! North side: [`Engine::setup`], [`Engine::enter`], [`Engine::register`], as the three system
//! calls. What it does not do: know how the calls got here.

use crate::host::{Host, RingId};
use crate::policy::{Plain, Policy};
use crate::request::iowq::Iowq;
use crate::request::reactor::Reactor;
use crate::request::tctx::Users;
use crate::request::waiter::Waiters;
use crate::resource::personality::Known;
use crate::resource::ringfd::Tasks;
use crate::ring::{Deferred, Ring};
use crate::stats;
use crate::sync::{Mutex, mutex};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use ringer_uapi::Errno;

/// See the module's doc.
#[derive(Debug)]
pub struct Engine<H: Host> {
    host: H,
    policy: Box<dyn Policy>,
    /// What the policy says of that.
    delays: bool,
    /// What the host says of that.
    traces: bool,
    me: Weak<Self>,
    rings: Mutex<H, Vec<Place<H>>>,
    /// Places that are not free. Written with `rings` locked.
    taken: AtomicU32,
    generation: AtomicU64,
    iowq: Iowq<H>,
    tasks: Tasks<H>,
    users: Users<H>,
    personalities: Known<H>,
    reactor: Reactor<H>,
    waiters: Waiters<H>,
    /// Whether there is a thread that other processes can call.
    relays: AtomicBool,
}

/// A place in the table of rings.
#[derive(Debug)]
enum Place<H: Host> {
    Free,
    /// A setup is under way.
    Reserved,
    Live(Arc<Ring<H>>),
}

/// The low bits of a [`RingId`] are its place in the table; the rest makes it unique.
const INDEX_BITS: u32 = 16;
/// Generations come round after 16 million setups: the host keeps 40 bits of a name.
const GENERATION_MASK: u64 = (1 << 24) - 1;

impl<H: Host> Engine<H> {
    /// An engine without rings.
    pub fn new(host: H) -> Arc<Self> {
        Self::with_policy(host, Box::new(Plain))
    }

    /// An engine that lets `policy` choose where the ABI leaves a choice.
    pub fn with_policy(host: H, policy: Box<dyn Policy>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            traces: host.traces(),
            host,
            delays: policy.delays(),
            policy,
            me: me.clone(),
            rings: mutex(Vec::new()),
            taken: AtomicU32::new(0),
            generation: AtomicU64::new(1),
            iowq: Iowq::default(),
            tasks: Tasks::default(),
            users: Users::default(),
            personalities: Known::default(),
            reactor: Reactor::default(),
            waiters: Waiters::default(),
            relays: AtomicBool::new(false),
        })
    }

    /// The south side.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// How many requests of a ring have not ended: waiting, running, held back or not posted yet; and
    /// what others sent and its owner has not come for. `None` once the ring is torn down.
    pub fn in_flight(&self, id: RingId) -> Option<usize> {
        let ring = self.ring(id)?;
        let st = ring.state.lock();
        let sent = st.deferred.iter().filter(|d| matches!(d, Deferred::Message(_))).count();
        Some(st.reqs.len() + st.drained.len() + st.ready.len() + sent)
    }

    pub(crate) fn policy(&self) -> &dyn Policy {
        &*self.policy
    }

    /// Whether completions may be held.
    #[inline]
    pub(crate) fn delays(&self) -> bool {
        self.delays
    }

    /// Whether requests are traced.
    #[inline]
    pub(crate) fn traces(&self) -> bool {
        self.traces
    }

    /// For threads that the engine starts.
    pub(crate) fn me(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    pub(crate) fn iowq(&self) -> &Iowq<H> {
        &self.iowq
    }

    pub(crate) fn known(&self) -> &Known<H> {
        &self.personalities
    }

    pub(crate) fn users(&self) -> &Users<H> {
        &self.users
    }

    pub(crate) fn tasks(&self) -> &Tasks<H> {
        &self.tasks
    }

    pub(crate) fn waiters(&self) -> &Waiters<H> {
        &self.waiters
    }

    pub(crate) fn reactor(&self) -> &Reactor<H> {
        &self.reactor
    }

    /// Whether there is a thread that other processes can call.
    pub(crate) fn relays(&self) -> &AtomicBool {
        &self.relays
    }

    /// The rings there are.
    pub(crate) fn rings(&self) -> Vec<Arc<Ring<H>>> {
        let live = |p: &Place<H>| if let Place::Live(ring) = p { Some(ring.clone()) } else { None };
        self.rings.lock().iter().filter_map(live).collect()
    }

    /// Counts what was asked for and is not carried out. Never on the way of what works.
    #[cold]
    #[inline(never)]
    pub(crate) fn note_refused(&self, which: impl FnOnce(&mut dyn FnMut(usize))) {
        let counters = self.host.counters();
        if counters.is_some() {
            which(&mut |counter| stats::add(counters, stats::REFUSED + counter, 1));
        }
    }

    /// Reserves a name for a new ring.
    ///
    /// # Errors
    /// `ENFILE`: 65,536 rings.
    pub(crate) fn reserve_ring(&self) -> Result<RingId, Errno> {
        let mut rings = self.rings.lock();
        let index = match rings.iter().position(|p| matches!(p, Place::Free)) {
            Some(i) => i,
            None => {
                rings.push(Place::Free);
                rings.len() - 1
            }
        };
        if index >> INDEX_BITS != 0 {
            return Err(Errno::ENFILE);
        }
        if let Some(place) = rings.get_mut(index) {
            *place = Place::Reserved;
            self.taken.fetch_add(1, Relaxed);
        }
        let generation = self.generation.fetch_add(1, Relaxed) & GENERATION_MASK;
        Ok(RingId(generation << INDEX_BITS | index as u64))
    }

    /// Puts a ring at the place that was reserved for it.
    pub(crate) fn publish_ring(&self, ring: Arc<Ring<H>>) {
        let index = index_of(ring.id);
        if let Some(place) = self.rings.lock().get_mut(index) {
            *place = Place::Live(ring);
        }
    }

    /// The ring with this name.
    #[inline]
    pub(crate) fn ring(&self, id: RingId) -> Option<Arc<Ring<H>>> {
        match self.rings.lock().get(index_of(id))? {
            Place::Live(ring) if ring.id == id => Some(ring.clone()),
            Place::Live(_) | Place::Reserved | Place::Free => None,
        }
    }

    /// Whether there may be more than one ring.
    pub(crate) fn has_other_rings(&self) -> bool {
        self.rings.lock().iter().filter(|p| matches!(p, Place::Live(_))).nth(1).is_some()
    }

    /// Whether there is no ring, nor a setup under way.
    pub(crate) fn is_unused(&self) -> bool {
        self.taken.load(Relaxed) == 0
    }

    /// Frees a ring's place, or a reserved one. The workers go with the last.
    pub(crate) fn forget_ring(&self, id: RingId) {
        let mut rings = self.rings.lock();
        let Some(place) = rings.get_mut(index_of(id)) else { return };
        if matches!(place, Place::Free) || matches!(place, Place::Live(r) if r.id != id) {
            return;
        }
        *place = Place::Free;
        let last = self.taken.fetch_sub(1, Relaxed) == 1;
        drop(rings);
        if last {
            self.iowq.end_idle(&self.host);
            self.waiters.end_idle(&self.host);
        }
    }
}

fn index_of(id: RingId) -> usize {
    (id.0 & ((1 << INDEX_BITS) - 1)) as usize
}
