//! A ring: its shared pages, its state, and what threads do to it.
//!
//! ```text
//!  Ring ---- mem (descriptor)
//!    |------ state (one lock)  ----------- pages; the engine's own copies: sq_head, cq.tail;
//!    |                                     reqs, watches, timers, files, bufs, backlog
//!    '------ wait_seq (futex)              bumped when a sleeper may have something to see
//! ```
//!
//! **Rule:** the shared pages are looked at only under the state lock, which owns them: a resize puts
//! others in their place, and teardown hides them. What this module does not do: run requests (`crate::request`).

mod cq;
mod enter;
mod kin;
mod lock;
mod merge;
mod message;
mod region;
mod replayed;
mod resize;
mod setup;
mod sqpoll;
mod submit;
mod teardown;
mod wait;
mod watchers;

pub use cq::{Cq, Due};
pub(crate) use kin::{Kin, Note};
pub use lock::{StateGuard, StateLock};
pub use message::Outbox;
pub(crate) use message::{Errand, Message};
pub use region::Region;
pub use sqpoll::SqPoll;
pub use watchers::Watchers;

use crate::host::{Clock, Host, HostPages, HostRing, RingId};
use crate::opcode::opdef::Asked;
use crate::primitive::{AtomicBool, AtomicU32};
use crate::request::fate::Fates;
use crate::request::{
    Req, ahead::Ahead, aio::Transfers, apoll::Watch, held::Held, lent::Lent, own::Own,
    table::Requests, timers::Timers,
};
use crate::resource::filetable::FileTable;
use crate::resource::kbuf::Groups;
use crate::resource::napi::Napi;
use crate::resource::personality::{Acting, Personalities};
use crate::resource::restrictions::Restrictions;
use crate::resource::rsrc::BufTable;
use crate::slab::{Key, Slab};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_ring::{CqView, Geometry, SqView};
use ringer_uapi::flags::Setup;
use ringer_uapi::{Cqe, Errno};

/// See the module's doc.
#[derive(Debug)]
pub struct Ring<H: Host> {
    /// Its name.
    pub id: RingId,
    /// The flags it was set up with.
    pub setup: Setup,
    /// The CQ entries it was set up with: the kernel sizes its tables by them once and for all.
    pub cq_entries_first: u32,
    /// Everything else.
    pub state: StateLock<H>,
    /// Futex of threads that wait without leading.
    pub wait_seq: AtomicU32,
    /// Registered indices that name it; it lives as long as there are any.
    pub indices: AtomicU32,
    /// The only thread that may submit, with SINGLE_ISSUER (0: nobody yet).
    pub issuer: AtomicU32,
    /// Whether the ring waits for ENABLE_RINGS.
    pub disabled: AtomicBool,
    /// The rings that poll this one.
    pub watchers: Watchers<H>,
    /// What it has of a submission thread.
    pub sqpoll: Option<SqPoll<H>>,
    /// Whether the caller gave the memory (`SETUP_NO_MMAP`).
    pub user_memory: bool,
    /// The user that its registered memory counts for.
    pub user: Option<u32>,
    /// Its descriptor, and what gives it memory: the last to go.
    pub mem: H::Ring,
}

/// The pages of a ring of that host.
pub type Pages<H> = <<H as Host>::Ring as HostRing>::Pages;

/// What only the owner of a ring may post (DEFER_TASKRUN).
#[derive(Debug)]
pub enum Deferred {
    /// A finished request.
    Request {
        /// The request.
        key: Key,
        /// Its result.
        res: Result<i32, Errno>,
        /// Its CQE flags.
        cflags: u32,
    },
    /// What another ring sent.
    Message(Cqe),
}

/// What the lock of a ring guards.
#[derive(Debug)]
pub struct State<H: Host> {
    /// Its pages.
    pub pages: Pages<H>,
    /// Where everything lies in them.
    pub geo: Geometry,
    /// What it has in common with other processes' states of this ring, once there are any.
    pub(crate) kin: Option<Kin<H>>,
    /// Our copy of the SQ head.
    pub sq_head: u32,
    /// Completion side.
    pub cq: Cq,
    /// What is to be done once the lock is free.
    pub due: Due<H>,
    /// Requests that wait for something.
    pub reqs: Requests<H>,
    /// Descriptors watched for them.
    pub watches: Slab<Watch<H>>,
    /// Those of them that outlive a request.
    pub lent: Lent,
    /// Those of listeners that are not registered.
    pub acceptors: Vec<Key>,
    /// How many requests wait for what the poller tells: in watches, or with the host.
    pub polled: usize,
    /// A multishot poll of something ready was armed in this batch: its first event is there.
    pub poll_now: bool,
    /// The poller of the watches, made with the first one.
    pub poller: Option<Arc<H::Poller>>,
    /// What the batch under way has asked of files.
    pub asked: Asked,
    /// Reads that the disk works for.
    pub ahead: Ahead<H>,
    /// Transfers that the host carries out.
    pub aio: Transfers<H>,
    /// Times they wait for.
    pub timers: Timers,
    /// Those whose completions are held.
    pub held: Held,
    /// Chain members whose turn has come.
    pub ready: VecDeque<Box<Req<H>>>,
    /// Multishot requests in watches that let others run and go on with the next round.
    pub requeued: VecDeque<Key>,
    /// Requests held back by a drain, in order.
    pub drained: VecDeque<Box<Req<H>>>,
    /// A drain was asked for, and not every request after it has started yet.
    pub drain_active: bool,
    /// A drain in the middle of a chain: what comes after the chain drains, too.
    pub drain_next: bool,
    /// What is kept for a policy.
    pub fates: Fates,
    /// Within a batch: entries of it were taken before, and count as under way until its end.
    pub unflushed: bool,
    /// Requests on the ring itself that the kernel has on a worker: they come after the batch.
    pub put_off: VecDeque<Box<Req<H>>>,
    /// What is ready is being started.
    pub in_round: bool,
    /// Registered files.
    pub files: Option<FileTable<H>>,
    /// Registered buffers.
    pub bufs: Option<BufTable>,
    /// Provided buffers.
    pub kbufs: Groups,
    /// Registered credentials.
    pub personalities: Personalities<H>,
    /// The thread that holds the lock is a stand-in, or a worker of one. Set as `may_post` is.
    pub acting: Option<Acting<H>>,
    /// What the ring is restricted to, once it is enabled.
    pub restrictions: Option<Box<Restrictions>>,
    /// The region of [`Ring::mem`] that is registered.
    pub region: Option<Region>,
    /// How waits would poll network devices.
    pub napi: Napi,
    /// What absolute times of waits are on.
    pub clock: Clock,
    /// The steps of clocks that the ring's times were converted behind.
    pub clock_epoch: u32,
    /// Waits until a time on a clock that may step.
    pub clock_waits: u32,
    /// Registered eventfd, and whether only workers' completions signal it.
    pub eventfd: Option<(H::File, bool)>,
    /// What waits for its owner (DEFER_TASKRUN).
    pub deferred: VecDeque<Deferred>,
    /// Messages that found their target busy.
    pub outbox: Outbox<H>,
    /// The owner of a DEFER_TASKRUN ring was told that work waits, and has not come since.
    pub told: bool,
    /// The thread that is in the poller's wait, 0 for none.
    pub leader: u32,
    /// One that was not there when something came: see `wait.rs`.
    pub missed: u32,
    /// Threads asleep on `wait_seq`.
    pub sleepers: u32,
    /// The fewest completions that anybody waiting wants to see.
    pub want: u32,
    /// TIMEOUT requests completed: any wait ends when it changes.
    pub cq_timeouts: u32,
    /// It changed since counted timeouts were looked at.
    pub recount: bool,
    /// What the caller may run itself.
    pub own: Own<H>,
    /// The background reactor looks after this ring.
    pub in_care: bool,
    /// It looks again within its longest tick.
    pub care_ticks: bool,
    /// Bumped whenever a caller looks after the ring or enters or leaves the poller's wait, for the
    /// reactor's pacing.
    pub lead_epoch: u32,
    /// A caller was seen to look after the ring, and the reactor has not had to since.
    pub attended: bool,
    /// The reactor stopped ticking for this ring because a caller leads it.
    pub care_parked: bool,
    /// The reactor leads and does not look again before this time \[ns\], unless something it watches
    /// happens; 0 while it need not be told of anything.
    pub care_until: u64,
    /// It does not watch the ring's poller meanwhile.
    pub care_blind: bool,
    /// Satisfied waits in a row that did not look at the poller.
    pub unpolled: u32,
    /// Threads that use the ring, sorted, and the one that submitted last.
    pub tasks: Vec<u32>,
    pub(crate) task: u32,
    /// Limits of their workers that were registered, 0 for none.
    pub iowq_limits: [u32; 2],
    /// Requests that workers run now.
    pub running: u32,
    /// Synchronous cancels that wait for one of these to end.
    pub cancellers: u32,
    /// CQE_SKIP was used: draining is off for good.
    pub drain_off: bool,
    /// The ring is being torn down: nothing new starts.
    pub dying: bool,
    /// The thread that holds the lock may post: always, but for a foreign one on a DEFER_TASKRUN
    /// ring. Set by whoever takes the lock to make progress.
    pub may_post: bool,
    /// The registered eventfd was signalled since a poll of it reported.
    pub eventfd_told: bool,
    /// The pages are gone: nothing can be posted.
    pub unmapped: bool,
}

impl<H: Host> State<H> {
    fn new(pages: Pages<H>, geo: Geometry) -> Self {
        Self {
            pages,
            geo,
            kin: None,
            sq_head: 0,
            cq: Cq::default(),
            due: Due::default(),
            reqs: Requests::default(),
            watches: Slab::default(),
            acceptors: Vec::new(),
            polled: 0,
            poll_now: false,
            poller: None,
            asked: Asked::default(),
            ahead: Ahead::default(),
            aio: Transfers::default(),
            timers: Timers::default(),
            held: Held::default(),
            ready: VecDeque::new(),
            requeued: VecDeque::new(),
            drained: VecDeque::new(),
            drain_active: false,
            drain_next: false,
            fates: Fates::default(),
            unflushed: false,
            put_off: VecDeque::new(),
            in_round: false,
            files: None,
            bufs: None,
            kbufs: Groups::default(),
            personalities: Personalities::default(),
            acting: None,
            restrictions: None,
            region: None,
            napi: Napi::default(),
            clock: Clock::Monotonic,
            clock_epoch: 0,
            clock_waits: 0,
            eventfd: None,
            deferred: VecDeque::new(),
            outbox: Outbox::default(),
            told: false,
            leader: 0,
            missed: 0,
            sleepers: 0,
            want: u32::MAX,
            cq_timeouts: 0,
            recount: false,
            own: Own::default(),
            lent: Lent::default(),
            in_care: false,
            care_ticks: false,
            lead_epoch: 0,
            attended: false,
            care_parked: false,
            care_until: 0,
            care_blind: false,
            unpolled: 0,
            tasks: Vec::new(),
            task: 0,
            iowq_limits: [0; 2],
            running: 0,
            cancellers: 0,
            drain_off: false,
            dying: false,
            may_post: true,
            eventfd_told: false,
            unmapped: false,
        }
    }

    /// How many requests have not ended; and what others sent and the owner has not come for.
    pub(crate) fn under_way(&self) -> usize {
        let sent = self.deferred.iter().filter(|d| matches!(d, Deferred::Message(_))).count();
        self.reqs.len() + self.drained.len() + self.ready.len() + sent
    }

    /// Whether something's turn has come.
    #[inline]
    pub(crate) fn has_turns(&self) -> bool {
        !self.ready.is_empty() || !self.requeued.is_empty()
    }

    /// Writes what new pages begin with.
    fn init_pages(&self) {
        self.sq_pages().init();
        self.cq_pages().init();
        self.geo.write_sizes(self.pages.rings());
    }

    /// The submission side of the pages.
    #[inline]
    pub fn sq_pages(&self) -> SqView<'_> {
        SqView::new(self.pages.rings(), self.pages.sqes(), &self.geo)
    }

    /// The completion side of the pages.
    #[inline]
    pub fn cq_pages(&self) -> CqView<'_> {
        CqView::new(self.pages.rings(), &self.geo)
    }

    /// Whether what is submitted now must queue behind a drain.
    #[inline]
    pub fn draining(&self) -> bool {
        self.drain_active || self.drain_next
    }

    /// The completions that timeouts count: published, and not a timeout's.
    pub(crate) fn counted_completions(&self) -> u32 {
        self.cq.published.wrapping_sub(self.cq_timeouts)
    }
}

impl<H: Host> Ring<H> {
    /// A ring in which nothing has happened yet.
    fn new(
        (id, setup): (RingId, Setup),
        (mem, state): (H::Ring, State<H>),
        sqpoll: Option<SqPoll<H>>,
        user: Option<u32>,
    ) -> Self {
        Self {
            id,
            setup,
            cq_entries_first: state.geo.cq_entries,
            state: StateLock::new(state),
            wait_seq: AtomicU32::new(0),
            watchers: Watchers::default(),
            indices: AtomicU32::new(0),
            issuer: AtomicU32::new(0),
            disabled: AtomicBool::new(setup.contains(Setup::R_DISABLED)),
            sqpoll,
            user_memory: setup.contains(Setup::NO_MMAP),
            user,
            mem,
        }
    }

    /// Whether completions may appear only when the owner asks for them.
    pub fn defers(&self) -> bool {
        self.setup.contains(Setup::DEFER_TASKRUN)
    }
}
