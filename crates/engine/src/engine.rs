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
use crate::ring::Ring;
use crate::rings::Rings;
use crate::stats;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

/// See the module's doc.
#[derive(Debug)]
pub struct Engine<H: Host> {
    host: H,
    policy: Box<dyn Policy>,
    /// What the host says of that, until a reader of a live trace comes or goes.
    traces: AtomicBool,
    me: Weak<Self>,
    rings: Rings<H>,
    iowq: Iowq<H>,
    tasks: Tasks<H>,
    users: Users<H>,
    personalities: Known<H>,
    reactor: Reactor<H>,
    waiters: Waiters<H>,
    /// Whether there is a thread that other processes can call.
    relays: AtomicBool,
}

impl<H: Host> Engine<H> {
    /// An engine without rings.
    pub fn new(host: H) -> Arc<Self> {
        Self::with_policy(host, Box::new(Plain))
    }

    /// An engine that lets `policy` choose where the ABI leaves a choice.
    pub fn with_policy(host: H, policy: Box<dyn Policy>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            traces: AtomicBool::new(host.traces()),
            host,
            policy,
            me: me.clone(),
            rings: Rings::default(),
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
        Some(st.under_way())
    }

    pub(crate) fn policy(&self) -> &dyn Policy {
        &*self.policy
    }

    /// Whether requests are traced.
    #[inline]
    pub(crate) fn traces(&self) -> bool {
        // Relaxed: a request that just misses the change is traced, or is not.
        self.traces.load(Relaxed)
    }

    /// Says from now on whether requests are traced. Those under way stay as they are: one that was not
    /// traced has no name to be told by, and the host knows the names of those that were.
    pub fn set_traces(&self, traces: bool) {
        self.traces.store(traces, Relaxed);
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

    /// The table of rings.
    pub(crate) fn rings(&self) -> &Rings<H> {
        &self.rings
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

    /// The ring with this name, which may end at any time.
    pub(crate) fn ring(&self, id: RingId) -> Option<Arc<Ring<H>>> {
        self.rings.get(id)
    }

    /// Frees a ring's place, or a reserved one. The workers go with the last.
    pub(crate) fn forget_ring(&self, id: RingId) {
        self.forgotten(self.rings.forget(id));
    }

    /// As [`Engine::forget_ring`]; false if somebody is in the ring.
    pub(crate) fn try_forget_ring(&self, id: RingId) -> bool {
        self.rings.try_forget(id).map(|last| self.forgotten(last)).is_some()
    }

    fn forgotten(&self, last: bool) {
        if last {
            self.iowq.end_idle(&self.host);
            self.waiters.end_idle(&self.host);
        }
    }
}
