//! The worker queue: threads for what would block the submitter.
//!
//! ```text
//!  Iowq -- Pool (identity, class) -- queue of (ring, key)    idle: a futex of each idle worker
//!            |                          workers <= max, made by the submitting thread
//!            '-- worker: pop, lock ring, take the command, unlock, run it, lock, settle
//!
//!  private worker: settle -- what it lets start --> follower (one a process and identity): start
//! ```
//!
//! A worker acts for the identity of the thread that queued the request, because that thread made
//! it (`Host::spawn`); a thread whose identity changed gets a pool of its own. The queue holds keys
//! only: a request that was cancelled meanwhile is simply not found. Who fell idle last is woken
//! first: the others stay idle for long enough to end, however much work goes on.
//!
//! Nobody tells when a worker sleeps (6.18 io-wq.c `io_wq_worker_sleeping`), so each request that
//! may wait has a worker woken or made for it: the first of two may block until the second runs. One
//! that is over at once leaves the next to its worker, and those of a thread run in their order:
//!
//! ```text
//!   at hand (woken or made and on the way, or at one that is over at once)
//!     >= queued that may wait  +  (1, if any other is queued)         -- or all workers are made
//! ```
//!
//! Writes of one regular file run one after the other, in the order they were queued (io_uring.c
//! `io_prep_async_work`, io-wq.c `io_get_next_work`): the first is queued, the others wait behind it, and the
//! worker that has run it goes on with them, or queues the next if something else is queued.
//!
//! With the last ring all go (io-wq.c `io_wq_set_exit_on_idle`); no worker misses that it was the
//! last:
//!
//! ```text
//!   worker                               who forgets the last ring
//!                                        no ring is left
//!   queue locked: sees that, ends
//!   or: idle; queue unlocked
//!                                        queue locked: wakes who is idle
//! ```
//!
//! A private worker has none of the app's descriptors, so it starts nothing: what its completion
//! sets free (the rest of a chain, what a drain held back) goes to the follower, which has them and
//! never blocks. The follower is made with the private work, by the thread that queues it. What it
//! does not do: interrupt (`cancel.rs`).

use super::cancel::{accepts_elsewhere, reads_elsewhere};
use super::start::after_direct;
use super::tctx::Tctx;
use super::{Phase, Req, ReqFile};
use crate::engine::Engine;
use crate::host::{Host, HostFile, HostThread as _, Identity, ThreadKind};
use crate::opcode::opdef::O_PATH;
use crate::opcode::{Cmd, Issue, IssueCx, Op as _, Outcome};
use crate::primitive::AtomicU32;
use crate::resource::personality::Acting;
use crate::ring::{Ring, State, StateGuard};
use crate::slab::Key;
use crate::sync::{Mutex, mutex};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use ringer_uapi::Errno;
use ringer_uapi::flags::Setup;

/// How long an idle worker stays \[ns\] (io-wq.c `WORKER_IDLE_TIMEOUT`).
const IDLE_NS: u64 = 5_000_000_000;
/// How often a private worker looks at a file that is not ready \[ns\].
const PRIVATE_RETRY_NS: u64 = 1_000_000;
/// Most workers for what may block for ever. The kernel's bound is RLIMIT_NPROC.
const UNBOUNDED_MAX: u32 = 512;

/// Kinds of work with limits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Regular files and block devices: bounded by the number of CPUs.
    Bounded,
    /// Everything else.
    Unbounded,
    /// On files that have no number in the app table: workers with a table of their own.
    Private,
    /// What a private worker's completions let start.
    Follow,
}

/// What is queued.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Where it goes, if workers are shared.
    pub(crate) class: Class,
    /// What the kernel counts it among.
    pub(crate) bounded: bool,
    /// It is over at once, whatever happens.
    pub(crate) brief: bool,
    /// One at a time of those with the same.
    pub(crate) serial: Option<u64>,
    /// The thread that submitted it.
    pub(crate) task: u32,
}

impl Work {
    fn class_for(self, owned: bool) -> Class {
        match self.class {
            Class::Bounded | Class::Unbounded if owned && self.bounded => Class::Bounded,
            Class::Bounded | Class::Unbounded if owned => Class::Unbounded,
            class => class,
        }
    }
}

/// See the module's doc.
#[derive(Debug)]
pub struct Iowq<H: Host> {
    pools: Mutex<H, Vec<Arc<Pool<H>>>>,
}

#[derive(Debug)]
struct Pool<H: Host> {
    identity: Identity,
    class: Class,
    /// Whose workers they are; `None`: all threads' that have none of their own.
    owner: Option<Arc<Tctx<H>>>,
    shared_max: u32,
    queue: Mutex<H, Queue<H>>,
}

#[derive(Debug)]
struct Item<H: Host> {
    ring: Arc<Ring<H>>,
    key: Key,
    brief: bool,
    /// One at a time of those with the same.
    serial: Option<u64>,
}

#[derive(Debug)]
struct Queue<H: Host> {
    items: VecDeque<Item<H>>,
    /// What is queued or runs of those that run one at a time, and what waits behind that.
    serial: BTreeMap<u64, VecDeque<Item<H>>>,
    /// Items that may wait.
    waiting: u32,
    /// Workers at hand (module's doc). One that was quicker than whoever made it counts -1 until then.
    at_hand: i32,
    /// Who sleeps and was not woken, the last one on top.
    idle: Vec<Arc<AtomicU32>>,
    workers: u32,
    /// Followers: private requests under way, for which a worker stays.
    expected: u32,
}

impl<H: Host> Pool<H> {
    fn max(&self) -> u32 {
        // io-wq.c counts an idle worker, too.
        match &self.owner {
            Some(tctx) => tctx.limit(self.class != Class::Unbounded).max(1),
            None => self.shared_max,
        }
    }

    /// One request less that a follower stays for; also after the last ring it may have been the last.
    fn expect_no_more(&self, engine: Option<&Engine<H>>) {
        self.queue.lock().expected -= 1;
        if let Some(engine) = engine.filter(|e| e.rings().is_unused()) {
            self.wake_idle(engine.host());
        }
    }

    /// Has its idle workers look whether they are wanted.
    fn wake_idle(&self, host: &H) {
        let mut q = self.queue.lock();
        let words: Vec<_> = core::iter::from_fn(|| q.wake()).collect();
        drop(q);
        words.iter().for_each(|word| host.unpark(word, 1));
    }
}

impl<H: Host> Queue<H> {
    fn push(&mut self, item: Item<H>) {
        if let Some(key) = item.serial {
            if let Some(behind) = self.serial.get_mut(&key) {
                behind.push_back(item);
                return;
            }
            self.serial.insert(key, VecDeque::new());
        }
        self.push_now(item);
    }

    fn push_now(&mut self, item: Item<H>) {
        self.waiting += u32::from(!item.brief);
        self.items.push_back(item);
    }

    /// The next for a worker that is at hand; it stays so with one that is over at once.
    fn pop(&mut self) -> Option<Item<H>> {
        let item = self.items.pop_front();
        if item.as_ref().is_none_or(|item| !item.brief) {
            self.at_hand -= 1;
        }
        self.waiting -= u32::from(item.as_ref().is_some_and(|item| !item.brief));
        item
    }

    /// What waits behind an item that is over, for whoever ran it.
    fn behind(&mut self, over: &Item<H>) -> Option<Item<H>> {
        let key = over.serial?;
        let next = self.serial.get_mut(&key)?.pop_front();
        if next.is_none() {
            self.serial.remove(&key);
        }
        next
    }

    /// What whoever ran an item goes on with: what waits behind it, unless others are queued, who were there
    /// first.
    fn after(&mut self, over: &Item<H>) -> Option<Item<H>> {
        let next = self.behind(over)?;
        if self.items.is_empty() {
            return Some(next);
        }
        self.push_now(next);
        None
    }

    /// Withdraws a request for which no worker could be made.
    fn withdraw(&mut self, ring: &Arc<Ring<H>>, key: Key) {
        let is = |i: &Item<H>| i.key == key && Arc::ptr_eq(&i.ring, ring);
        for behind in self.serial.values_mut() {
            behind.retain(|i| !is(i));
        }
        let Some(item) = self.items.iter().rposition(is).and_then(|at| self.items.remove(at))
        else {
            return;
        };
        self.waiting -= u32::from(!item.brief);
        if let Some(next) = self.behind(&item) {
            self.push_now(next);
        }
    }

    /// Whether what is queued has as many workers at hand as it needs.
    fn is_served(&self) -> bool {
        let needed = self.waiting + u32::from(self.items.len() > self.waiting as usize);
        // Nothing queued needs nobody, also where a worker was quicker than its maker.
        self.items.is_empty() || i64::from(self.at_hand) >= i64::from(needed)
    }

    /// A worker goes to sleep until its word is not 0.
    fn sleeps(&mut self, word: &Arc<AtomicU32>) {
        word.store(0, Relaxed);
        self.idle.push(word.clone());
    }

    /// Takes the worker that fell idle last, to be woken by its word.
    fn wake(&mut self) -> Option<Arc<AtomicU32>> {
        let word = self.idle.pop()?;
        word.store(1, Relaxed);
        self.at_hand += 1;
        Some(word)
    }

    /// A worker is up again, and at hand. Whether somebody woke it.
    fn is_up(&mut self, word: &Arc<AtomicU32>) -> bool {
        let Some(at) = self.idle.iter().rposition(|w| Arc::ptr_eq(w, word)) else { return true };
        self.idle.remove(at);
        self.at_hand += 1;
        false
    }
}

/// Where a worker finds its own thread, filled in by whoever made it.
type Slot<H> = Arc<Mutex<H, Option<Arc<<H as Host>::Thread>>>>;

impl<H: Host> Default for Iowq<H> {
    fn default() -> Self {
        Self { pools: mutex(Vec::new()) }
    }
}

impl<H: Host> Iowq<H> {
    fn pool(
        &self,
        host: &H,
        (identity, class): (Identity, Class),
        owner: Option<Arc<Tctx<H>>>,
    ) -> Arc<Pool<H>> {
        let mut pools = self.pools.lock();
        let same = |p: &&Arc<Pool<H>>| {
            let owners = p.owner.as_ref().map(Arc::as_ptr) == owner.as_ref().map(Arc::as_ptr);
            p.class == class && p.identity == identity && owners
        };
        if let Some(p) = pools.iter().find(same) {
            return p.clone();
        }
        let shared_max = match class {
            Class::Bounded | Class::Private => 4 * host.cpus(),
            Class::Unbounded => UNBOUNDED_MAX,
            Class::Follow => 1,
        };
        let idle = Vec::new();
        let items = VecDeque::new();
        let serial = BTreeMap::new();
        let queue = Queue { items, serial, waiting: 0, at_hand: 0, idle, workers: 0, expected: 0 };
        let queue = mutex(queue);
        let pool = Arc::new(Pool { identity, class, owner, shared_max, queue });
        pools.push(pool.clone());
        pool
    }

    /// Queues a parked request, and wakes or makes a worker for it.
    ///
    /// # Errors
    /// What the host says when there is no worker at all and none can be made.
    pub(crate) fn queue(
        &self,
        engine: &Engine<H>,
        ring: &Arc<Ring<H>>,
        key: Key,
        work: Work,
    ) -> Result<(), Errno> {
        let host = engine.host();
        let owner = engine.users().owner(ring, work.task);
        let class = work.class_for(owner.is_some());
        let pool = self.pool(host, (host.identity(), class), owner);
        if class == Class::Private {
            self.expect_follower(engine, pool.identity)?;
        }
        let mut q = pool.queue.lock();
        q.push(Item { ring: ring.clone(), key, brief: work.brief, serial: work.serial });
        if q.is_served() {
            return Ok(());
        }
        if let Some(word) = q.wake() {
            drop(q);
            host.unpark(&word, 1);
            return Ok(());
        }
        if q.workers >= pool.max() {
            return Ok(());
        }
        q.workers += 1;
        drop(q);
        let made = spawn_worker(engine, &pool);
        let mut q = pool.queue.lock();
        let Err(e) = made else {
            // Not before: had it failed, what others left to it meanwhile would be left to nobody.
            q.at_hand += 1;
            return Ok(());
        };
        q.workers -= 1;
        if q.workers > 0 {
            return Ok(());
        }
        q.withdraw(ring, key);
        drop(q);
        if class == Class::Private {
            self.expect_no_more(engine, pool.identity);
        }
        Err(e)
    }

    /// A follower of that identity, made by the calling thread if there is none, which stays until the
    /// answer is dropped.
    ///
    /// # Errors
    /// As [`Iowq::queue`].
    pub(crate) fn expect(
        &self,
        engine: &Engine<H>,
        identity: Identity,
    ) -> Result<Expected<H>, Errno> {
        self.expect_follower(engine, identity)?;
        let pool = self.pool(engine.host(), (identity, Class::Follow), None);
        Ok(Expected { pool, engine: engine.me().as_ref().map(Arc::downgrade).unwrap_or_default() })
    }

    /// Makes sure that a follower is there and stays until [`Iowq::expect_no_more`].
    fn expect_follower(&self, engine: &Engine<H>, identity: Identity) -> Result<(), Errno> {
        let pool = self.pool(engine.host(), (identity, Class::Follow), None);
        let mut q = pool.queue.lock();
        q.expected += 1;
        if q.workers > 0 {
            return Ok(());
        }
        q.workers += 1;
        drop(q);
        let made = spawn_worker(engine, &pool);
        let mut q = pool.queue.lock();
        match made {
            Ok(()) => q.at_hand += 1,
            Err(_) => (q.workers, q.expected) = (q.workers - 1, q.expected - 1),
        }
        made
    }

    fn expect_no_more(&self, engine: &Engine<H>, identity: Identity) {
        self.pool(engine.host(), (identity, Class::Follow), None).expect_no_more(Some(engine));
    }

    /// The last ring is gone: idle workers end now.
    pub(crate) fn end_idle(&self, host: &H) {
        // Not with the list locked: who wakes holds no lock.
        let pools = self.pools.lock().clone();
        pools.iter().for_each(|p| p.wake_idle(host));
    }

    /// Gives a parked request to the follower, in order.
    pub(crate) fn follow(&self, host: &H, identity: Identity, ring: &Arc<Ring<H>>, key: Key) {
        let pool = self.pool(host, (identity, Class::Follow), None);
        let mut q = pool.queue.lock();
        q.push(Item { ring: ring.clone(), key, brief: false, serial: None });
        if let Some(word) = q.wake() {
            drop(q);
            host.unpark(&word, 1);
        }
    }
}

/// See [`Iowq::expect`].
#[derive(Debug)]
pub(crate) struct Expected<H: Host> {
    pool: Arc<Pool<H>>,
    engine: Weak<Engine<H>>,
}

impl<H: Host> Expected<H> {
    /// Whose follower it is.
    pub(crate) fn identity(&self) -> Identity {
        self.pool.identity
    }
}

impl<H: Host> Drop for Expected<H> {
    fn drop(&mut self) {
        self.pool.expect_no_more(self.engine.upgrade().as_deref());
    }
}

fn spawn_worker<H: Host>(engine: &Engine<H>, pool: &Arc<Pool<H>>) -> Result<(), Errno> {
    let Some(engine) = engine.me() else { return Err(Errno::ENXIO) };
    let kind = if pool.class == Class::Private { ThreadKind::Private } else { ThreadKind::Worker };
    let slot: Slot<H> = Arc::new(mutex(None));
    let (pool, theirs) = (pool.clone(), slot.clone());
    let host_of = engine.clone();
    // The worker asks for its own handle with each request and waits here for it: one that began
    // without could not be interrupted.
    let mut handle = slot.lock();
    let thread = host_of.host().spawn(kind, Box::new(move || work(&engine, &pool, &theirs)))?;
    *handle = Some(Arc::new(thread));
    Ok(())
}

/// Notes that a running request is about to block, so that a cancel interrupts it. False: it was
/// cancelled already.
fn may_block<H: Host>(ring: &Ring<H>, key: Key) -> bool {
    let mut st = ring.state.lock();
    let Some(req) = st.reqs.get_mut(key) else { return false };
    if let Phase::Running { tries, .. } = &mut req.phase {
        *tries = false;
    }
    !req.cancelled
}

/// What a thread of that identity is that runs a request, if not an ordinary one.
fn acting_on<H: Host>(me: Identity, req: &Req<H>) -> Option<Acting<H>> {
    let origin = req.creds.as_ref()?.origin.clone()?;
    me.is_own().then_some(Acting { me, origin })
}

/// Who runs a queued request.
pub(crate) struct Runner<H: Host> {
    pub(crate) class: Class,
    pub(crate) identity: Identity,
    /// How a cancel reaches it; `None`: it does not.
    pub(crate) thread: Option<Arc<H::Thread>>,
    /// It is the thread that submitted it, which goes on with what follows.
    pub(crate) caller: bool,
}

/// The body of a worker.
fn work<H: Host>(engine: &Arc<Engine<H>>, pool: &Arc<Pool<H>>, slot: &Slot<H>) {
    let word = Arc::new(AtomicU32::new(0));
    if let Some(tctx) = &pool.owner {
        tctx.place(engine.host());
    }
    if pool.identity.is_own() {
        engine.host().set_identity(pool.identity);
    }
    let mut at_hand = true;
    loop {
        let mut q = pool.queue.lock();
        q.at_hand += i32::from(!at_hand);
        if let Some(item) = q.pop() {
            at_hand = item.brief;
            // A limit was raised since it was queued.
            let lacks = !q.is_served() && q.idle.is_empty() && q.workers < pool.max();
            let more = lacks && matches!(pool.class, Class::Bounded | Class::Unbounded);
            q.workers += u32::from(more);
            drop(q);
            if more {
                let made = spawn_worker(engine, pool).is_ok();
                let mut q = pool.queue.lock();
                (q.at_hand, q.workers) =
                    if made { (q.at_hand + 1, q.workers) } else { (q.at_hand, q.workers - 1) };
            }
            let mut next = Some(item);
            while let Some(item) = next {
                run_item(engine, pool, slot, &item);
                next = item.serial.and_then(|_| pool.queue.lock().after(&item));
            }
            continue;
        }
        if q.expected == 0 && engine.rings().is_unused() {
            q.workers -= 1;
            return;
        }
        q.sleeps(&word);
        drop(q);
        let slept = engine.host().park(&word, 0, Some(IDLE_NS));
        let mut q = pool.queue.lock();
        // Who was woken as its time ran out has a request to run.
        let over = !q.is_up(&word) && slept == Err(Errno::ETIMEDOUT);
        if over && q.items.is_empty() && q.expected == 0 {
            q.at_hand -= 1;
            q.workers -= 1;
            return;
        }
        at_hand = true;
    }
}

fn run_item<H: Host>(
    engine: &Arc<Engine<H>>,
    pool: &Arc<Pool<H>>,
    slot: &Slot<H>,
    Item { ring, key, .. }: &Item<H>,
) {
    if pool.class == Class::Follow {
        return engine.start_queued(ring, *key, pool);
    }
    let thread = slot.lock().clone();
    let runner = Runner { class: pool.class, identity: pool.identity, thread, caller: false };
    engine.run_queued(ring, *key, &runner);
    if pool.class == Class::Private {
        engine.iowq().expect_no_more(engine, pool.identity);
    }
}

impl<H: Host> Engine<H> {
    /// Runs one queued request on the calling thread, unless it was cancelled meanwhile.
    pub(super) fn run_queued(&self, ring: &Arc<Ring<H>>, key: Key, by: &Runner<H>) {
        let class = by.class;
        let thread = by.thread.clone();
        let mut st = ring.state.lock();
        let State { reqs, kbufs, .. } = &mut *st;
        let Some(req) = reqs.get_mut(key).filter(|r| matches!(r.phase, Phase::Queued)) else {
            return;
        };
        let tried = class == Class::Private && req.is_tried_first();
        let early = if req.selects() { self.select_for_worker(kbufs, req, class) } else { None };
        let Some(mut cmd) = req.cmd.take() else { return };
        let (file, input) = (req.file.file().cloned(), req.input().cloned());
        let (fd, pollable) = (req.fd, req.is_pollable());
        let polls = pollable && class != Class::Private;
        // net.c `io_connect` is only tried, on a worker as well; then the kernel polls.
        let certain = matches!(&cmd, Cmd::Connect(c) if c.polls());
        req.phase = Phase::Running { thread, tries: polls, polls: certain };
        let timed = polls && !accepts_elsewhere(req);
        st.running += 1;
        if timed {
            // Here the kernel tries it, and goes on to wait.
            self.start_linked(ring, &mut st, key);
        }
        drop(st);

        let how = if polls || tried { Issue::Inline } else { Issue::Worker };
        let files = [file.as_ref(), input.as_ref()];
        let outcome = match early {
            Some(outcome) => outcome,
            None if by.caller => self
                .host()
                .as_in_a_wait(|| self.attempt(ring, key, &mut cmd, (class, files, fd, how))),
            None => self.attempt(ring, key, &mut cmd, (class, files, fd, how)),
        };
        // Once its completion can be seen, nothing here keeps a file open: peers see the close.
        drop((file, input));
        let direct = match outcome {
            Outcome::Direct { fd, slot, cflags } => Some((self.host().take(fd), slot, cflags)),
            _ => None,
        };

        let mut st = ring.state.lock();
        st.running -= 1;
        let Some(mut req) = st.reqs.remove(key) else { return };
        req.cmd = Some(cmd);
        // Only who runs is interrupted: nobody does any more, and what follows was not meant.
        if let Phase::Running { thread: Some(t), .. } =
            core::mem::replace(&mut req.phase, Phase::Fresh)
        {
            t.clear_interrupt();
        }
        if req.kbuf.is_some() {
            self.after_worker(&mut st.kbufs, &mut req, outcome);
        }
        let outcome = self.left_by_worker(ring, &mut st, &mut req, (outcome, certain));
        let ends = !matches!(outcome, Outcome::Again | Outcome::Punt) && !req.goes_on();
        req.on_worker |= ends && (!pollable || req.polls_in_vain()) && !reads_elsewhere(&req);
        st.may_post = by.caller || !ring.defers();
        st.acting = acting_on(by.identity, &req);
        let turn = if class == Class::Private { None } else { self.turn_of(&st, &req) };
        let outcome = match direct {
            Some((file, slot, cflags)) => {
                let res = self.install_direct(ring, &mut st, file, slot);
                after_direct(&req, res, cflags)
            }
            None => outcome,
        };
        let outcome = match outcome {
            // What was cancelled meanwhile, or whose ring ends, does not go on.
            Outcome::More(res, flags) if req.cancelled || st.dying => Outcome::Done(Ok(res), flags),
            other => other,
        };
        self.settle(ring, &mut st, req, outcome);
        if let Some(watch) = turn {
            self.serve(ring, &mut st, watch, false);
        }
        self.after_run(ring, st, by);
    }

    /// What a run leaves to others, once its request is settled.
    fn after_run<'a>(&self, ring: &'a Arc<Ring<H>>, mut st: StateGuard<'a, H>, by: &Runner<H>) {
        if st.cancellers > 0 {
            self.wake_waiters(ring, &mut st, true);
        }
        if by.caller {
            return self.unlock(ring, st);
        }
        let here = by.class != Class::Private && !by.identity.is_own();
        self.after_read_by_worker(ring, &mut st, here);
        if by.class == Class::Private {
            let follower = st.acting.as_ref().map_or(by.identity, |a| a.origin.identity());
            self.hand_on_ready(ring, &mut st, follower);
        } else if !st.ready.is_empty() {
            // Its completion is out, and counted, before what it leads to runs.
            self.flush(ring, &mut st);
        }
        self.run_ready_in_turns(ring, st);
    }

    /// What an attempt without the lock comes to under it. `certain`: no signal ends such a call.
    fn left_by_worker(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        req: &mut Req<H>,
        (outcome, certain): (Outcome, bool),
    ) -> Outcome {
        match outcome {
            // io-wq.c `io_worker_handle_work`: work that was cancelled while it ran does not begin to
            // wait, where nobody would look for it again.
            Outcome::Again | Outcome::Punt if req.cancelled || st.dying => {
                Outcome::Done(Err(Errno::ECANCELED), 0)
            }
            // Calls of these rows no signal ends (nor does the kernel's cancel): it came before the
            // call, where io_uring.c `io_wq_submit_work` cancels.
            Outcome::Done(Err(Errno::EINTR), f)
                if (certain || req.def().force_async) && req.cancelled =>
            {
                Outcome::Done(Err(Errno::ECANCELED), f)
            }
            // file.c `fget`: no lookup by number finds a place, and the call may say something else.
            Outcome::Done(Err(_), f) if req.def().force_async && self.is_place(req) => {
                req.file = ReqFile::None;
                Outcome::Done(Err(Errno::EBADF), f)
            }
            // An edge that came since found nobody in the file's watch.
            Outcome::Again if req.is_watched() => self.issue_inline(ring, st, req),
            other => other,
        }
    }

    /// Whether the descriptor that a request named is no file but a place.
    fn is_place(&self, req: &Req<H>) -> bool {
        let ReqFile::Held(file) = &req.file else { return false };
        let flags = file.number().map(|n| self.host().status_flags(n));
        req.def().needs_file && flags.is_some_and(|f| f.is_ok_and(|f| f & O_PATH != 0))
    }

    /// Issues a command on this worker: what does not block first, if there is such a way.
    fn attempt(
        &self,
        ring: &Ring<H>,
        key: Key,
        cmd: &mut Cmd,
        (class, [file, input], fd, how): (Class, [Option<&H::File>; 2], i32, Issue),
    ) -> Outcome {
        let from = match input.map(|input| self.number_here(class, Some(input), -1)).transpose() {
            Ok(Some(None)) => return Outcome::Punt,
            Ok(number) => number.flatten(),
            Err(e) => return Outcome::Done(Err(e), 0),
        };
        if let (Cmd::Splice(c) | Cmd::Tee(c), Some(from)) = (&mut *cmd, from) {
            c.take_from(from);
        }
        let outcome = self.attempt_on(ring, key, cmd, (class, file, fd, how));
        if let (Some(input), Some(from)) = (input, from) {
            if class == Class::Private {
                self.host().give_back(from);
            } else if outcome == Outcome::Done(Err(Errno::EBADF), 0) && input.number() != Some(from)
            {
                // The number was withdrawn just then.
                return Outcome::Punt;
            }
        }
        outcome
    }

    /// The same, once it is known what it takes from.
    fn attempt_on(
        &self,
        ring: &Ring<H>,
        key: Key,
        cmd: &mut Cmd,
        (class, file, fd, how): (Class, Option<&H::File>, i32, Issue),
    ) -> Outcome {
        let fd = match self.number_here(class, file, fd) {
            Ok(Some(fd)) => fd,
            // Withdrawn since it was queued, for the program's first POSIX lock.
            Ok(None) => return Outcome::Punt,
            Err(e) => return Outcome::Done(Err(e), 0),
        };
        let iopoll = ring.setup.contains(Setup::IOPOLL);
        let (kind, policy) = (file.map(HostFile::kind), self.policy());
        let mut cx = IssueCx { host: self.host(), fd, kind, how, iopoll, policy, asked: None };
        let mut outcome = cmd.issue(&cx);
        if outcome == Outcome::Ahead {
            // It was sent here to wait.
            outcome = Outcome::Punt;
        }
        if outcome == Outcome::Punt && may_block(ring, key) {
            cx.how = Issue::Worker;
            outcome = cmd.issue(&cx);
        }
        if class == Class::Private && outcome == Outcome::Again {
            // Not ready, and no number that the ring's poller could watch: look again later instead
            // of at once.
            let never = AtomicU32::new(0);
            let _ = self.host().park(&never, 0, Some(PRIVATE_RETRY_NS));
        }
        if class == Class::Private && file.is_some() {
            self.host().give_back(fd);
        } else if outcome == Outcome::Done(Err(Errno::EBADF), 0)
            && file.is_some_and(|f| f.number() != Some(fd))
        {
            // The number was withdrawn just then.
            return Outcome::Punt;
        }
        outcome
    }

    /// The request's file as a number of this thread's table; `None`: it has none any more.
    fn number_here(
        &self,
        class: Class,
        file: Option<&H::File>,
        fd: i32,
    ) -> Result<Option<i32>, Errno> {
        match file {
            Some(f) if class == Class::Private => self.host().borrow(f).map(Some),
            Some(f) => Ok(f.number()),
            None => Ok(Some(fd)),
        }
    }

    /// A private worker cannot start anything: the app table is not its own.
    fn hand_on_ready(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, identity: Identity) {
        let mut handed = false;
        while st.may_post
            && let Some(mut req) = st.ready.pop_front()
        {
            if req.failed.is_some() && !handed {
                self.start(ring, st, *req);
                continue;
            }
            handed = true;
            req.phase = Phase::Queued;
            req.trail.reached(&req.phase);
            let key = st.reqs.insert(*req);
            self.iowq().follow(self.host(), identity, ring, key);
        }
    }

    /// Starts a request that was handed on, unless it was cancelled meanwhile.
    fn start_queued(&self, ring: &Arc<Ring<H>>, key: Key, pool: &Pool<H>) {
        let mut st = ring.state.lock();
        if !st.reqs.get(key).is_some_and(|r| matches!(r.phase, Phase::Queued)) {
            return;
        }
        let Some(mut req) = st.reqs.remove(key) else { return };
        req.phase = Phase::Fresh;
        st.may_post = !ring.defers();
        st.acting = acting_on(pool.identity, &req);
        let turn = self.turn_of(&st, &req);
        self.start(ring, &mut st, req);
        if let Some(watch) = turn {
            self.serve(ring, &mut st, watch, false);
        }
        self.run_ready_in_turns(ring, st);
    }
}
