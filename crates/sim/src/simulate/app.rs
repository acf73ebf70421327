//! The application of a run: threads that carry out steps, and what they write down.

use super::mailbox::{self, Mailbox, OWN};
use super::program::{Entry, How, Patience, Program, Step};
use super::rows::{ADDRESSES, ALIAS, CHILDREN, word_of};
use super::run::OVERFLOW;
use super::tables::Tables;
use crate::errno::ECANCELED;
use crate::kit::{Flow, feed};
use crate::object::{Body, Net, Open, Queue};
use crate::policy::Fault;
use crate::sched::{Sched, lock};
use crate::world::{Entry as Named, World};
use crate::{Client, SimHost, net};
use ringer_engine::Engine;
use ringer_uapi::{Errno, Sqe};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

pub(crate) const GETEVENTS: u32 = 1;
const SQ_WAKEUP: u32 = 2;
const SQ_WAIT: u32 = 4;
/// `IORING_SQ_NEED_WAKEUP`.
const NEED_WAKEUP: u32 = 1;
const EXT_ARG: u32 = 8;
const ABS_TIMER: u32 = 32;
const EXT_ARG_REG: u32 = 64;
/// `IORING_REG_WAIT_TS`.
const REG_WAIT_TS: u64 = 1;
const NO_IOWAIT: u32 = 128;
const REGISTERED_RING: u32 = 16;
/// `IORING_REGISTER_USE_REGISTERED_RING`.
const USE_REGISTERED_RING: u32 = 1 << 31;
const RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;
const IOPOLL: u32 = 1;
const SQPOLL: u32 = 2;
const TIMEOUT: u8 = 11;
const SKIP: u8 = 64;
/// As many as there are.
const ALL: u32 = 1000;
/// user_data of what the end of a run submits.
pub(crate) const FINAL: u64 = 1 << 32;
/// Tag of the registered file in slot 0.
pub(crate) const TAG: u64 = 1 << 33;
const MS: u64 = 1_000_000;

/// The epoll set, and a name in it that no descriptor has.
const EPOLL: i32 = 17;
const ALWAYS: i32 = -1;

/// Descriptors that read something which comes and goes.
pub(crate) const ALL_FLOWS: [i32; 6] = [2, 4, 6, 7, 8, 9];

/// A completion as the application saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) ud: u64,
    pub(crate) res: i32,
    pub(crate) more: bool,
    /// It says that a buffer is free.
    pub(crate) notif: bool,
    /// When it was taken.
    pub(crate) at: u64,
    /// The run was being ended.
    pub(crate) late: bool,
    /// The provided buffer that it names.
    pub(crate) buffer: Option<u32>,
}

/// What all threads of the application share.
#[derive(Debug)]
pub(crate) struct Ringside {
    pub(crate) client: Client,
    pub(crate) log: Vec<Seen>,
    /// Entries in the order of their submission, and when that was.
    pub(crate) order: Vec<u64>,
    pub(crate) pushed: BTreeMap<u64, u64>,
    /// Completions that were there, taken or not, when the submission was over.
    pub(crate) issued: BTreeMap<u64, usize>,
    /// What the application itself put into and took out of flows, by the descriptor that reads.
    pub(crate) fed: BTreeMap<i32, u64>,
    pub(crate) eaten: BTreeMap<i32, u64>,
    /// See [`Tables`].
    pub(crate) tables: Tables,
    /// See [`Mailbox`].
    pub(crate) mailbox: Option<Mailbox>,
    /// Calls of `enter` with each flag.
    pub(crate) entered: [u64; 32],
    /// The descriptor is closed, the ring is mapped still.
    pub(crate) adrift: bool,
    pub(crate) closing: bool,
    pub(crate) finishing: bool,
    pub(crate) overflowed: bool,
}

impl Ringside {
    /// Queues entries if there is room among `max`.
    fn try_push(&mut self, sqes: &[Sqe], max: usize, now: u64) -> bool {
        if self.client.queued() as usize + sqes.len() > max {
            return false;
        }
        for sqe in sqes {
            self.pushed.insert(sqe.user_data, now);
            self.order.push(sqe.user_data);
        }
        self.client.push(sqes.iter().copied());
        true
    }
}

/// What a thread in `enter` waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) min: u32,
    /// From here on one is enough.
    pub(crate) enough_at: Option<u64>,
    /// Which wait of the run this is.
    pub(crate) nr: u64,
}

/// What was so when a wait began.
struct Before {
    at: u64,
    eintrs: u64,
    timeouts: usize,
}

/// One thread's hands. See the module's doc.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) engine: Arc<Engine<SimHost>>,
    pub(crate) sched: Arc<Sched>,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) side: Arc<Mutex<Ringside>>,
    /// Who waits in `enter`, for what.
    pub(crate) waiters: Arc<Mutex<BTreeMap<usize, Waiter>>>,
    /// Who waits there for room in the submission queue.
    pub(crate) roomers: Arc<Mutex<BTreeSet<usize>>>,
    /// A single entry that was submitted has been issued.
    pub(crate) issues_at_once: bool,
    /// Opcodes of entries.
    pub(crate) opcodes: Arc<BTreeMap<u64, u8>>,
    pub(crate) flows: Arc<BTreeMap<i32, Flow>>,
    pub(crate) program: Arc<Program>,
    /// The ring's descriptor, if it has one.
    pub(crate) fd: Option<i32>,
    /// This thread's index of the ring, if it uses one.
    pub(crate) index: Option<i32>,
    /// Where this thread's wait arguments lie.
    pub(crate) scratch: u64,
    /// The eventfd, as long as anybody has it.
    pub(crate) bell: Weak<Open>,
    /// The sockets that connect.
    pub(crate) callers: Vec<Weak<Open>>,
}

/// The descriptor that reads what this one writes.
pub(crate) fn reader_of(fd: i32) -> i32 {
    match fd {
        3 => 2,
        5 => 4,
        6 => 7,
        7 => 6,
        8 => 9,
        9 => 8,
        other => other,
    }
}

impl App {
    fn sqpoll(&self) -> bool {
        self.program.setup & SQPOLL != 0
    }

    fn closing(&self) -> bool {
        let side = lock(&self.side);
        side.closing || side.adrift
    }

    /// What calls of this thread name the ring by.
    fn name(&self) -> i32 {
        self.index.or(self.fd).unwrap_or(-1)
    }

    /// `io_uring_register(2)`.
    pub(crate) fn register(&self, op: u32, arg: u64, nr: u32) -> Result<usize, Errno> {
        let by_index = if self.index.is_some() { USE_REGISTERED_RING } else { 0 };
        self.engine.register(self.name(), op | by_index, arg, nr)
    }

    /// The same hands with an index of the ring that is the calling thread's, if the program uses them
    /// and the ring is still there.
    pub(crate) fn with_index(&self) -> Self {
        let Some(fd) = self.fd.filter(|_| self.program.indexed) else { return self.clone() };
        let by_descriptor = Self { index: None, ..self.clone() };
        let entry = [u64::from(u32::MAX), u64::from(fd.cast_unsigned())];
        for _ in 0..1000 {
            let at = self.words(0, &entry);
            match by_descriptor.register(RING_FDS, at, 1) {
                Ok(n) => {
                    assert_eq!(n, 1, "rings registered");
                    lock(&self.side).tables.count(RING_FDS);
                    let index = lock(&self.world).read(at, 4).expect("scratch memory")[0];
                    return Self { index: Some(index.into()), ..by_descriptor };
                }
                // No descriptor to be had: the world gets better.
                Err(Errno::ENOMEM) if self.program.has(Fault::NoFile) => {}
                r => {
                    self.expect(r.map(drop));
                    break;
                }
            }
        }
        by_descriptor
    }

    /// Gives the index up, after which it means nothing.
    pub(crate) fn forget_index(&self) {
        let Some(index) = self.index else { return };
        let at = self.words(0, &[index as u64, 0]);
        assert_eq!(self.register(UNREGISTER_RING_FDS, at, 1), Ok(1), "rings unregistered");
        lock(&self.side).tables.count(UNREGISTER_RING_FDS);
        let again = self.register(UNREGISTER_RING_FDS, at, 1);
        assert_eq!(again, Err(Errno::EBADF), "an index that was given up");
    }

    /// `enter`, watched for lost wake-ups. `enough_us` is what the argument says.
    pub(crate) fn enter(
        &self,
        (submit, min, enough_us): (u32, u32, u32),
        flags: u32,
        (arg, size): (u64, u64),
    ) -> Result<usize, Errno> {
        let me = self.sched.me();
        if flags & GETEVENTS != 0 && min > 0 {
            let enough_at = (enough_us > 0).then(|| self.sched.now() + 1000 * u64::from(enough_us));
            let nr = lock(&self.side).entered.iter().sum();
            lock(&self.waiters).insert(me, Waiter { min, enough_at, nr });
        }
        let by_index = if self.index.is_some() { REGISTERED_RING } else { 0 };
        let flags = flags | by_index;
        (0..32).filter(|b| flags >> b & 1 != 0).for_each(|b| lock(&self.side).entered[b] += 1);
        let r = self.engine.enter(self.name(), submit, min, flags, arg, size);
        lock(&self.waiters).remove(&me);
        r
    }

    /// Waits until the submission thread has taken something.
    fn await_room(&self) {
        let me = self.sched.me();
        let asleep = lock(&self.side).client.sq_flags() & NEED_WAKEUP != 0;
        let flags = SQ_WAIT | if asleep { SQ_WAKEUP } else { 0 };
        let eintrs = self.sched.eintrs();
        lock(&self.roomers).insert(me);
        let r = self.enter((0, 0, 0), flags, (0, 0));
        lock(&self.roomers).remove(&me);
        self.expect(r.map(drop));
        let side = lock(&self.side);
        let full = side.client.queued() == side.client.memory.geometry.sq_entries;
        let excused = self.program.has_threads() || self.sched.eintrs() != eintrs || side.adrift;
        assert!(!full || excused, "a wait for room ended without room");
    }

    /// Submits all that is queued, whatever stops a batch.
    pub(crate) fn submit_all(&self) {
        let exact = !self.program.has_threads();
        for _ in 0..1000 {
            let queued = lock(&self.side).client.queued();
            if queued == 0 || self.closing() {
                return;
            }
            if self.sqpoll() {
                self.wake();
                self.sched.sleep(MS / 4);
                continue;
            }
            let submit = if exact { queued } else { ALL };
            self.expect(self.enter((submit, 0, 0), 0, (0, 0)).map(drop));
        }
        panic!("entries that nobody takes");
    }

    /// Whether a full queue is waited for in the kernel.
    fn uses_room(&self) -> bool {
        self.sqpoll() && self.program.seed.is_multiple_of(2)
    }

    /// As liburing does: only a submission thread that says it sleeps is woken.
    fn wake(&self) {
        if lock(&self.side).client.sq_flags() & NEED_WAKEUP != 0 {
            self.expect(self.enter((0, 0, 0), SQ_WAKEUP, (0, 0)).map(drop));
        }
    }

    /// A call that may fail only because the ring is gone.
    fn expect(&self, r: Result<(), Errno>) {
        let gone = matches!(r, Err(Errno::EBADF | Errno::EOPNOTSUPP)) && self.closing();
        assert!(r.is_ok() || gone, "enter says {r:?}");
    }

    /// Queues entries at once, so that no other thread comes between the members of a chain.
    pub(crate) fn push(&self, sqes: &[Sqe]) {
        let max = self.program.batch_max();
        while !self.closing() && !lock(&self.side).try_push(sqes, max, self.sched.now()) {
            if self.uses_room() {
                self.await_room();
            }
            self.submit_all();
        }
    }

    fn submit(&self, entries: &[Entry], wait: Option<Patience>) {
        for (addr, bytes) in entries.iter().flat_map(|e| &e.memory) {
            lock(&self.world).write(*addr, bytes).expect("memory of the application");
        }
        let me = self.fd.unwrap_or(mailbox::FD);
        let own = |s: Sqe| if s.fd == OWN { Sqe { fd: me, ..s } } else { s };
        let sqes: Vec<Sqe> = entries.iter().map(|e| own(e.sqe)).collect();
        for chains in whole_chains(&sqes, self.program.batch_max()) {
            self.push(chains);
            // What is queued now another thread may have taken before the call, which would then take as
            // many of what came since: a part of a chain.
            if let Some(patience) = wait.filter(|_| !self.sqpoll()) {
                let shared = self.program.has_threads();
                if shared {
                    self.submit_all();
                }
                let queued = if shared { 0 } else { lock(&self.side).client.queued() };
                self.wait(queued, patience);
            }
            if self.uses_room() {
                // Whoever comes next waits for room.
                self.wake();
            } else {
                self.submit_all();
            }
            let mut side = lock(&self.side);
            let there = side.log.len() + side.client.completions();
            side.issued.extend(chains.iter().map(|s| (s.user_data, there)));
        }
        self.note_users(entries);
    }

    /// Takes what can be seen.
    pub(crate) fn reap(&self) {
        if !lock(&self.side).closing {
            self.take_all();
        }
    }

    /// The same, whatever became of the ring.
    pub(crate) fn take_all(&self) {
        let mut side = lock(&self.side);
        let (at, late) = (self.sched.now(), side.finishing);
        side.overflowed |= side.client.sq_flags() & OVERFLOW != 0;
        for c in side.client.reap() {
            let more = c.flags & 2 != 0;
            if !more && c.user_data < FINAL {
                lock(&self.world).ledger.ended.insert(c.user_data % ALIAS);
            }
            let half = self.program.second_half(&c);
            assert!(c.big == [0; 2] || Some(c.big) == half, "{c:?} has a half of its own");
            assert!(c.res < 0 || half.is_none_or(|h| c.big == h), "{c:?} lacks its second half");
            let notif = c.flags & 8 != 0;
            let buffer = (c.flags & 1 != 0).then_some(c.flags >> 16);
            side.log.push(Seen { ud: c.user_data, res: c.res, more, notif, at, late, buffer });
        }
    }

    fn wait(&self, submit: u32, p: Patience) {
        let before = self.before_wait();
        let (flags, arg) = self.wait_argument(&p);
        let over = Arc::new(AtomicBool::new(p.how != How::Bare));
        nudge_later(&self.sched, self.sched.me(), p.ns, &over);
        let r = self.enter((submit, p.min, p.enough_us), flags, arg);
        over.store(true, Relaxed);
        let took = self.sched.now() - before.at;
        match r {
            Err(Errno::ETIME) => {
                assert!(took >= p.ns, "a wait of {} ns ended after {took}", p.ns);
            }
            Err(Errno::EINTR) => {
                let signalled = self.sched.eintrs() != before.eintrs;
                let signalled = signalled || self.program.meddles;
                assert!(signalled, "a wait was interrupted by nobody after {took} ns");
            }
            Ok(n) if submit == 0 || n == submit as usize => self.check_wait(&p, &before, took),
            Ok(_) => {}
            Err(e) => self.expect(Err(e)),
        }
        let slow = self.program.has(Fault::Slow);
        let longest = p.ns.max(1000 * u64::from(p.enough_us)) + MS;
        assert!(slow || took <= longest, "a wait of {longest} ns took {took}");
        self.reap();
    }

    /// Flags and argument of a wait.
    fn wait_argument(&self, p: &Patience) -> (u32, (u64, u64)) {
        let quiet = if p.ns.is_multiple_of(3) { NO_IOWAIT } else { 0 };
        if p.how == How::Bare {
            return (GETEVENTS | quiet, (0, 0));
        }
        let (ts, mask) = (self.scratch + 32, self.scratch + 48);
        let (until, when) = match p.how {
            How::Until => (ABS_TIMER, self.on_clock(p.ns)),
            _ => (0, p.ns),
        };
        let (sec, nsec) = (when / 1_000_000_000, when % 1_000_000_000);
        let min_and_flags = u64::from(p.enough_us) | REG_WAIT_TS << 32;
        if p.how == How::Region
            && let Some(offset) = self.region_argument([sec, nsec, min_and_flags, 0, 0])
        {
            return (GETEVENTS | EXT_ARG | EXT_ARG_REG | quiet, (offset, 64));
        }
        let (mask, size) = if p.how == How::Masked { (mask, 8) } else { (0, 0) };
        let sizes = size | u64::from(p.enough_us) << 32;
        let words = [mask, sizes, ts, 0, sec, nsec, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|w: &u64| w.to_ne_bytes()).collect();
        lock(&self.world).write(self.scratch, &bytes).expect("scratch memory");
        (GETEVENTS | EXT_ARG | until | quiet, (self.scratch, 24))
    }

    fn before_wait(&self) -> Before {
        let (at, eintrs) = (self.sched.now(), self.sched.eintrs());
        Before { at, eintrs, timeouts: self.timeouts_shown() }
    }

    /// Completions of timeouts that fired, which end a wait.
    fn timeouts_shown(&self) -> usize {
        self.fired(&lock(&self.side))
    }

    /// The same for who has the lock.
    pub(crate) fn fired(&self, side: &Ringside) -> usize {
        let fired = |(ud, res): &(u64, i32)| {
            // Tags and messages are no request's.
            let timeout = *ud < FINAL && self.opcodes.get(&(ud % ALIAS)) == Some(&TIMEOUT);
            timeout && *res != ECANCELED
        };
        side.client.peek_results().filter(fired).count()
    }

    /// A wait that ends without an error has what it waited for, or a reason.
    fn check_wait(&self, p: &Patience, before: &Before, took: u64) {
        let hidden = |e: &&Entry| e.sqe.opcode == TIMEOUT && e.sqe.flags & SKIP != 0;
        let blind = self.program.has_threads()
            || self.program.setup & IOPOLL != 0
            || self.closing()
            || self.program.entries().iter().any(hidden);
        let timeouts = self.timeouts_shown();
        let side = lock(&self.side);
        let (there, cq) = (side.client.ready(), side.client.memory.geometry.cq_entries);
        let enough = p.enough_us > 0 && took >= 1000 * u64::from(p.enough_us) && there > 0;
        let over = p.how != How::Bare && took >= p.ns;
        let fine = there >= p.min.min(cq)
            || over
            || enough
            || self.sched.eintrs() != before.eintrs
            // Interrupted, with something to see.
            || self.program.meddles
            || timeouts != before.timeouts
            || self.a_timeout_may_have_overflowed(&side);
        assert!(blind || fine, "a wait for {} ended after {took} ns with {there}", p.min);
    }

    /// Whether a timeout that nobody has seen may stand behind a full queue: it ends a wait as one that can
    /// be seen does (timeout.c `io_timeout_fn` counts before it posts).
    fn a_timeout_may_have_overflowed(&self, side: &Ringside) -> bool {
        let ended = &lock(&self.world).ledger.ended;
        let unseen = |ud: &u64| self.opcodes.get(ud) == Some(&TIMEOUT) && !ended.contains(ud);
        side.client.sq_flags() & OVERFLOW != 0 && side.pushed.keys().any(unseen)
    }

    pub(crate) fn poke(&self) {
        self.expect(self.enter((0, 0, 0), GETEVENTS, (0, 0)).map(drop));
    }

    fn open(&self, fd: i32) -> Option<Arc<Open>> {
        lock(&self.world).open(fd).ok()
    }

    /// Writes to a descriptor after a while, if it is still open then.
    pub(crate) fn feed(&self, ns: u64, fd: i32, n: usize) {
        if let Some(word) = word_of(fd) {
            let world = self.world.clone();
            let n = (n % 3) as u32;
            return self.after(ns, Box::new(move || lock(&world).wake_futex(word, n)));
        }
        if fd >= CHILDREN {
            let world = self.world.clone();
            let status = n as i32;
            return self.after(ns, Box::new(move || lock(&world).end_child(fd, status)));
        }
        let Some(open) = self.open(fd).map(|o| Arc::downgrade(&o)) else { return };
        let side = self.side.clone();
        let action = move || {
            let Some(open) = open.upgrade() else { return };
            let bytes: Vec<u8> = (0..n).map(|i| 1 + (i % 100) as u8).collect();
            *lock(&side).fed.entry(reader_of(fd)).or_default() += feed(&open, &bytes);
        };
        self.after(ns, Box::new(action));
    }

    fn after(&self, ns: u64, action: Box<dyn FnOnce() + Send>) {
        if ns == 0 {
            action();
            self.sched.changed();
        } else {
            self.sched.at(ns, action);
        }
    }

    /// Takes at most `n` bytes, or a message, out of a flow.
    pub(crate) fn eat(&self, fd: i32, n: usize) {
        if self.open(fd).is_none() && !lock(&self.side).finishing {
            return;
        }
        let got = match self.flows.get(&fd) {
            Some(Flow::Bytes(chan)) => chan.take(n, false).len() as u64,
            Some(Flow::Messages(queue)) => queue.take().map_or(0, |_| 1),
            None => 0,
        };
        *lock(&self.side).eaten.entry(fd).or_default() += got;
        self.sched.changed();
    }

    /// Connects somebody to a listener after a while; who it was hangs up at once.
    pub(crate) fn dial(&self, ns: u64, which: usize) {
        let world = self.world.clone();
        let addr = ADDRESSES[which % ADDRESSES.len()];
        let action = move || {
            // Nobody listening, or no room: the call is not answered.
            let _ = net::join(&world, &Open::net(Net::Idle), addr);
        };
        self.after(ns, Box::new(action));
    }

    /// Ends the connections that were made.
    pub(crate) fn hang_up(&self) {
        for open in self.callers.iter().filter_map(Weak::upgrade) {
            if let Body::Stream { rx, tx, .. } = &open.end().body {
                let chans = [rx, tx].into_iter().flatten();
                chans.filter(|c| !c.is_shut()).for_each(|c| c.shut());
            }
        }
    }

    /// Sends a message into a queue that has none.
    pub(crate) fn send_message(&self, fd: i32, queue: &Queue) {
        if !queue.is_empty() {
            return;
        }
        let sent = queue.put(&[1; 9]).map_or(0, |()| 1);
        *lock(&self.side).fed.entry(fd).or_default() += sent;
        self.sched.changed();
    }

    /// Signals the eventfd, if anybody has it.
    pub(crate) fn ring_bell(&self) {
        if let Some(open) = self.bell.upgrade() {
            feed(&open, &[]);
            self.sched.changed();
        }
    }

    /// Puts something that is always ready into the epoll set.
    pub(crate) fn fill_epoll(&self) {
        let ready = Open::event(1);
        let mut w = lock(&self.world);
        if let Ok(set) = w.open(EPOLL)
            && let Body::Epoll(set) = &set.body
            && !lock(set).contains_key(&ALWAYS)
        {
            lock(set).insert(ALWAYS, (1, 0, Arc::downgrade(&ready)));
            // It stays open.
            let _ = w.install(Named::Open(ready));
        }
        drop(w);
        self.sched.changed();
    }

    /// Accepts and drops everybody who waits at a listener.
    pub(crate) fn answer(&self, which: usize) {
        let addr = ADDRESSES[which % ADDRESSES.len()];
        let listener = lock(&self.world).listeners.get(addr).and_then(Weak::upgrade);
        let Some(listener) = listener else { return };
        if let Body::Net { state, .. } = &listener.body
            && let Net::Listening { backlog, .. } = &mut *lock(state)
        {
            backlog.clear();
        }
        self.sched.changed();
    }

    pub(crate) fn step(&self, step: &Step) {
        if self.closing() {
            return;
        }
        match step {
            Step::Submit(entries) => self.submit(entries, None),
            Step::SubmitAndWait(entries, patience) => self.submit(entries, Some(*patience)),
            Step::Wait(patience) => self.wait(0, *patience),
            Step::Reap => self.reap(),
            Step::Poke => {
                if self.sched.me() == 0 {
                    self.look_in();
                    self.poke();
                }
                self.reap();
            }
            Step::Sleep(ns) => self.sched.sleep(*ns),
            Step::Settle => self.sched.settle(),
            Step::Feed(ns, fd, n) => self.feed(*ns, *fd, *n),
            Step::Eat(fd, n) => self.eat(*fd, *n),
            Step::Dial(ns, which) => self.dial(*ns, *which as usize),
            Step::Signal(ns) => {
                let sched = self.sched.clone();
                self.after(*ns, Box::new(move || sched.signal(0)));
            }
            Step::Close(fd) => {
                let gone = lock(&self.world).fds.remove(fd);
                drop(gone);
                self.sched.changed();
            }
            Step::Become(user) => {
                lock(&self.world).users.insert(self.sched.tid(), *user);
            }
            Step::Register(change) => self.change(change),
            // The first thread's own business (run.rs).
            Step::Thread(_) | Step::CloseRing(_) => {}
        }
    }
}

/// A signal for a task that waits, after a while, and again until its wait is over.
fn nudge_later(sched: &Arc<Sched>, task: usize, ns: u64, over: &Arc<AtomicBool>) {
    if over.load(Relaxed) {
        return;
    }
    let (by, over) = (sched.clone(), over.clone());
    let nudge = move || {
        if !over.load(Relaxed) {
            by.signal(task);
            nudge_later(&by, task, MS / 2, &over);
        }
    };
    sched.at(ns, Box::new(nudge));
}

/// Pieces of a batch that fit into the queue, cut between chains.
fn whole_chains(sqes: &[Sqe], max: usize) -> Vec<&[Sqe]> {
    let (mut pieces, mut from, mut cut) = (Vec::new(), 0, 0);
    for (i, sqe) in sqes.iter().enumerate() {
        if i + 1 - from > max && cut > from {
            pieces.push(&sqes[from..cut]);
            from = cut;
        }
        if sqe.flags & 12 == 0 {
            cut = i + 1;
        }
    }
    pieces.push(&sqes[from..]);
    pieces
}
