//! A ring: its shared pages, its state, and what threads do to it.
//!
//! ```text
//!  Ring ---- mem (pages, descriptor)        the engine's own copies: sq_head, cq.tail
//!    |------ state (one lock)  ----------- reqs, watches, timers, files, bufs, backlog
//!    '------ wait_seq (futex)               bumped when a sleeper may have something to see
//! ```
//!
//! **Rule:** the shared pages are looked at only under the state lock, or with `active` counted up;
//! teardown relies on it. What this module does not do: run requests (`crate::request`).

mod cq;
mod enter;
mod merge;
mod setup;
mod sqpoll;
mod submit;
mod teardown;
mod wait;

pub use cq::{Cq, Due};
pub use sqpoll::SqPoll;

use crate::host::{Host, HostRing, RingId};
use crate::primitive::{AtomicBool, AtomicU32};
use crate::request::{Req, apoll::Watch, timers::Timers};
use crate::resource::filetable::FileTable;
use crate::resource::rsrc::BufTable;
use crate::slab::{Key, Slab};
use crate::sync::Mutex;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use ringer_ring::{CqView, Geometry, SqView};
use ringer_uapi::Errno;
use ringer_uapi::flags::Setup;

/// See the module's doc.
#[derive(Debug)]
pub struct Ring<H: Host> {
    /// Its name.
    pub id: RingId,
    /// The flags it was set up with.
    pub setup: Setup,
    /// Where everything lies in its pages.
    pub geo: Geometry,
    /// Its pages and descriptor.
    pub mem: H::Ring,
    /// Everything else.
    pub state: Mutex<H, State<H>>,
    /// Futex of threads that wait without leading.
    pub wait_seq: AtomicU32,
    /// Calls under way in this ring.
    pub active: AtomicU32,
    /// The only thread that may submit, with SINGLE_ISSUER (0: nobody yet).
    pub issuer: AtomicU32,
    /// Whether the ring waits for ENABLE_RINGS.
    pub disabled: AtomicBool,
    /// The submission thread.
    pub sqpoll: Option<Arc<SqPoll<H>>>,
    /// Whether the caller gave the memory (`SETUP_NO_MMAP`).
    pub user_memory: bool,
}

/// A finished request that only its owner may post (DEFER_TASKRUN).
#[derive(Debug)]
pub struct Deferred {
    /// The request.
    pub key: Key,
    /// Its result.
    pub res: Result<i32, Errno>,
    /// Its CQE flags.
    pub cflags: u32,
}

/// What the lock of a ring guards.
#[derive(Debug)]
pub struct State<H: Host> {
    /// Our copy of the SQ head.
    pub sq_head: u32,
    /// Completion side.
    pub cq: Cq,
    /// What is to be done once the lock is free.
    pub due: Due<H>,
    /// Requests that wait for something.
    pub reqs: Slab<Req<H>>,
    /// Descriptors watched for them.
    pub watches: Slab<Watch<H>>,
    /// How many requests wait in watches.
    pub polled: usize,
    /// The poller of the watches, made with the first one.
    pub poller: Option<Arc<H::Poller>>,
    /// Times they wait for.
    pub timers: Timers,
    /// Chain members whose turn has come.
    pub ready: VecDeque<Box<Req<H>>>,
    /// Requests held back by a drain, in order.
    pub drained: VecDeque<Box<Req<H>>>,
    /// A drain was asked for, and not every request after it has started yet.
    pub drain_active: bool,
    /// A drain in the middle of a chain: what comes after the chain drains, too.
    pub drain_next: bool,
    /// Registered files.
    pub files: Option<FileTable<H>>,
    /// Registered buffers.
    pub bufs: Option<BufTable>,
    /// Registered eventfd, and whether only workers' completions signal it.
    pub eventfd: Option<(H::File, bool)>,
    /// Finished requests that wait for their owner (DEFER_TASKRUN).
    pub deferred: VecDeque<Deferred>,
    /// The owner of a DEFER_TASKRUN ring was told that work waits, and has not come since.
    pub told: bool,
    /// The thread that is in the poller's wait, 0 for none.
    pub leader: u32,
    /// Threads asleep on `wait_seq`.
    pub sleepers: u32,
    /// The fewest completions that anybody waiting wants to see.
    pub want: u32,
    /// TIMEOUT requests completed: any wait ends when it changes.
    pub cq_timeouts: u32,
    /// The background reactor looks after this ring.
    pub in_care: bool,
    /// Bumped whenever a caller looks after the ring or enters or leaves the poller's wait, for the
    /// reactor's pacing.
    pub lead_epoch: u32,
    /// The reactor stopped ticking for this ring because a caller leads it.
    pub care_parked: bool,
    /// The reactor leads and does not look again before this time \[ns\], unless something it watches
    /// happens; 0 while it need not be told of anything.
    pub care_until: u64,
    /// It does not watch the ring's poller meanwhile.
    pub care_blind: bool,
    /// Satisfied waits in a row that did not look at the poller.
    pub unpolled: u32,
    /// Requests that workers run now.
    pub running: u32,
    /// CQE_SKIP was used: draining is off for good.
    pub drain_off: bool,
    /// The ring is being torn down: nothing new starts.
    pub dying: bool,
    /// The thread that holds the lock may post: always, but for a foreign one on a DEFER_TASKRUN
    /// ring. Set by whoever takes the lock to make progress.
    pub may_post: bool,
    /// The pages are gone: nothing can be posted.
    pub unmapped: bool,
}

impl<H: Host> State<H> {
    fn new() -> Self {
        Self {
            sq_head: 0,
            cq: Cq::default(),
            due: Due::default(),
            reqs: Slab::default(),
            watches: Slab::default(),
            polled: 0,
            poller: None,
            timers: Timers::default(),
            ready: VecDeque::new(),
            drained: VecDeque::new(),
            drain_active: false,
            drain_next: false,
            files: None,
            bufs: None,
            eventfd: None,
            deferred: VecDeque::new(),
            told: false,
            leader: 0,
            sleepers: 0,
            want: u32::MAX,
            cq_timeouts: 0,
            in_care: false,
            lead_epoch: 0,
            care_parked: false,
            care_until: 0,
            care_blind: false,
            unpolled: 0,
            running: 0,
            drain_off: false,
            dying: false,
            may_post: true,
            unmapped: false,
        }
    }

    /// Whether what is submitted now must queue behind a drain.
    #[inline]
    pub fn draining(&self) -> bool {
        self.drain_active || self.drain_next
    }
}

impl<H: Host> Ring<H> {
    /// The submission side of the pages.
    pub fn sq(&self) -> SqView<'_> {
        SqView::new(self.mem.rings(), self.mem.sqes(), &self.geo)
    }

    /// The completion side of the pages.
    pub fn cq(&self) -> CqView<'_> {
        CqView::new(self.mem.rings(), &self.geo)
    }

    /// Whether completions may appear only when the owner asks for them.
    pub fn defers(&self) -> bool {
        self.setup.contains(Setup::DEFER_TASKRUN)
    }
}
