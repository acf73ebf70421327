//! The thread on the application's side of the keeper: it shares the application's descriptors.
//!
//! It gives young rings a home, tells the engine that a ring's last descriptor went, again and again
//! while something still maps the ring (1 ms, doubling to 16 ms, at once after a [`Janitor::poke`]),
//! closes numbers of the application's table for threads that have another, and lets go of the
//! readers that rings keep while they are polled. Without work it sleeps for good.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use rust_alloc::boxed::Box;
use rust_alloc::sync::Arc;
use rust_alloc::vec::Vec;

use ringer_engine::host::RingId;

use crate::clerk::{Clerk, Job};
use crate::lock::ForkMutex;
use crate::raw::{self, SysResult, general as g};
use crate::ringobj::{self, Housed};
use crate::thread::{self, Name, Spec, Table};

/// What to tell that a ring's last descriptor went: `false` asks to be told again.
pub type OnClosed = fn(RingId) -> bool;

static ON_CLOSED: ForkMutex<Option<OnClosed>> = ForkMutex::new(None);

/// Sets who is told about rings whose last descriptor went (the engine's `ring_closed`).
pub fn on_ring_closed(tell: OnClosed) {
    *ON_CLOSED.lock() = Some(tell);
}

/// How long a ring is young \[ns\]: one that lives shorter never has a home, and those that come in a row
/// are looked at together.
const YOUNG_NS: u64 = 1_000_000;
/// When a ring that found no home is tried again \[ns\].
const HOMELESS_NS: u64 = 16_000_000;
const FIRST_RETRY_NS: u64 = 1_000_000;
const LAST_RETRY_NS: u64 = 16_000_000;
/// How long an unused reader may hide a ring's last close, at least; at most twice that.
const SWEEP_NS: u64 = 4_000_000;

/// A ring that is closed but still mapped.
#[derive(Debug)]
struct Closing {
    ring: RingId,
    retry_ns: u64,
    due_ns: u64,
}

/// See the module's doc.
#[derive(Debug, Default)]
pub(crate) struct Janitor {
    clerk: Clerk,
    closed: ForkMutex<Vec<RingId>>,
    /// Rings whose numbers are in the application's table still.
    young: ForkMutex<Vec<RingId>>,
    /// Whether there are some.
    homing: AtomicBool,
    poked: AtomicBool,
    /// Whether some ring is closed but still mapped.
    waiting: AtomicBool,
    /// Whether some ring has a reader that hides its last close.
    sweep: AtomicBool,
}

impl Janitor {
    pub(crate) fn start() -> SysResult<Arc<Self>> {
        let janitor = Arc::new(Self::default());
        let body = Arc::clone(&janitor);
        let spec = Spec { name: Name::new("iou-janitor"), table: Table::Shared, cpu: None };
        thread::spawn(spec, Box::new(move || body.serve()))?;
        Ok(janitor)
    }

    /// The last descriptor of `ring` went.
    pub(crate) fn ring_closed(&self, ring: RingId) {
        self.closed.lock().push(ring);
        self.clerk.ring();
    }

    /// A ring is young.
    pub(crate) fn home_soon(&self, ring: RingId) {
        self.young.lock().push(ring);
        // Relaxed: who pushed after the janitor took all finds what it stored before that.
        if !self.homing.swap(true, Relaxed) {
            self.clerk.ring();
        }
    }

    /// Whether the calling thread is the janitor.
    pub(crate) fn is_me(&self) -> bool {
        self.clerk.tid() == thread::tid()
    }

    /// Gives those a home that are young no more, and answers when to look again. One that is closed
    /// already needs none.
    fn home_young(&self, due_ns: &mut Option<u64>, now_ns: u64) -> Option<u64> {
        if !self.homing.load(Relaxed) {
            return None;
        }
        let due = *due_ns.get_or_insert(now_ns + YOUNG_NS);
        if due > now_ns {
            return Some(due);
        }
        *due_ns = None;
        // Before the look, so that a ring made after it asks again.
        self.homing.store(false, Relaxed);
        let young = core::mem::take(&mut *self.young.lock());
        let mut homeless = Vec::new();
        for ring in young {
            match ringobj::give_home(ring) {
                Housed::AtHome => {}
                Housed::Closed => self.closed.lock().push(ring),
                Housed::Not => homeless.push(ring),
            }
        }
        if homeless.is_empty() {
            return None;
        }
        self.young.lock().append(&mut homeless);
        self.homing.store(true, Relaxed);
        *due_ns = Some(now_ns + HOMELESS_NS);
        *due_ns
    }

    /// Somebody unmapped something: a good moment to look again.
    pub(crate) fn poke(&self) {
        if self.waiting.load(Relaxed) {
            self.poked.store(true, Release);
            self.clerk.ring();
        }
    }

    /// Does something in the application's table, soon.
    pub(crate) fn post(&self, job: Job) {
        self.clerk.post(job);
    }

    /// A ring got a reader: look after it until it is idle.
    pub(crate) fn sweep(&self) {
        if !self.sweep.swap(true, Relaxed) {
            self.clerk.ring();
        }
    }

    /// Closes readers that were not used since the last time; answers when to look again.
    fn sweep_readers(&self, due_ns: u64, now_ns: u64) -> Option<u64> {
        if !self.sweep.load(Relaxed) {
            return None;
        }
        if due_ns > now_ns {
            return Some(due_ns);
        }
        // Before the look, so that a reader made after it asks again.
        self.sweep.store(false, Relaxed);
        if ringobj::close_idle_readers() {
            self.sweep.store(true, Relaxed);
        }
        Some(now_ns + SWEEP_NS)
    }

    fn serve(&self) {
        self.clerk.begin();
        let mut closing = Vec::new();
        let (mut sweep_ns, mut home_ns) = (0, None);
        loop {
            let seen = self.clerk.seen();
            self.clerk.work();
            let now_ns = now();
            let home = self.home_young(&mut home_ns, now_ns);
            let new = core::mem::take(&mut *self.closed.lock());
            let first = |ring| Closing { ring, retry_ns: FIRST_RETRY_NS, due_ns: now_ns };
            closing.extend(new.into_iter().map(first));
            // Acquire: pairs with the Release in `poke`, so that the unmapping is seen too.
            let all = self.poked.swap(false, Acquire);
            closing.retain_mut(|c| !(all || c.due_ns <= now_ns) || told_again(c));
            self.waiting.store(!closing.is_empty(), Relaxed);
            let sweep = self.sweep_readers(sweep_ns, now_ns);
            sweep_ns = sweep.unwrap_or(sweep_ns);
            let next = closing.iter().map(|c| c.due_ns).chain(sweep).chain(home).min();
            self.clerk.rest(seen, next.map(|due| due.saturating_sub(now()).max(1)));
        }
    }
}

/// Tells about one ring; answers whether to tell again.
fn told_again(c: &mut Closing) -> bool {
    let tell = *ON_CLOSED.lock();
    if tell.is_none_or(|tell| tell(c.ring)) {
        return false;
    }
    c.due_ns = now() + c.retry_ns;
    c.retry_ns = (c.retry_ns * 2).min(LAST_RETRY_NS);
    true
}

fn now() -> u64 {
    raw::clock_gettime(g::CLOCK_MONOTONIC).unwrap_or(0)
}
