//! The application of a run: threads that carry out steps, and what they write down.

use super::program::{Entry, Program, Step};
use super::rows::{ADDRESSES, ALIAS};
use super::run::OVERFLOW;
use crate::kit::{Flow, feed};
use crate::object::{Body, Net, Open, Queue};
use crate::sched::{Sched, lock};
use crate::world::World;
use crate::{Client, SimHost, net};
use ringer_engine::Engine;
use ringer_uapi::{Errno, Sqe};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

pub(crate) const GETEVENTS: u32 = 1;
const SQ_WAKEUP: u32 = 2;
/// `IORING_SQ_NEED_WAKEUP`.
const NEED_WAKEUP: u32 = 1;
const EXT_ARG: u32 = 8;
const ABS_TIMER: u32 = 32;
const SQPOLL: u32 = 2;
/// As many as there are.
const ALL: u32 = 1000;
/// user_data of what the end of a run submits.
pub(crate) const FINAL: u64 = 1 << 32;
/// Tag of the registered file in slot 0.
pub(crate) const TAG: u64 = 1 << 33;
const MS: u64 = 1_000_000;

/// Descriptors that read something which comes and goes.
pub(crate) const ALL_FLOWS: [i32; 6] = [2, 4, 6, 7, 8, 9];

/// A completion as the application saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) ud: u64,
    pub(crate) res: i32,
    pub(crate) more: bool,
    /// When it was taken.
    pub(crate) at: u64,
    /// The run was being ended.
    pub(crate) late: bool,
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
    pub(crate) closing: bool,
    pub(crate) finishing: bool,
    pub(crate) overflowed: bool,
}

impl Ringside {
    /// Queues entries if there is room.
    fn try_push(&mut self, sqes: &[Sqe], now: u64) -> bool {
        let room = self.client.pages.geometry.sq_entries - self.client.queued();
        if (room as usize) < sqes.len() {
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

/// One thread's hands. See the module's doc.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) engine: Arc<Engine<SimHost>>,
    pub(crate) sched: Arc<Sched>,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) side: Arc<Mutex<Ringside>>,
    /// Who waits in `enter`, for how many.
    pub(crate) waiters: Arc<Mutex<BTreeMap<usize, u32>>>,
    pub(crate) flows: Arc<BTreeMap<i32, Flow>>,
    pub(crate) program: Arc<Program>,
    pub(crate) fd: i32,
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
        lock(&self.side).closing
    }

    /// `enter`, watched for lost wake-ups.
    pub(crate) fn enter(
        &self,
        submit: u32,
        min: u32,
        flags: u32,
        (arg, size): (u64, u64),
    ) -> Result<usize, Errno> {
        let me = self.sched.me();
        if flags & GETEVENTS != 0 && min > 0 {
            lock(&self.waiters).insert(me, min);
        }
        let r = self.engine.enter(self.fd, submit, min, flags, arg, size);
        lock(&self.waiters).remove(&me);
        r
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
                // As liburing does: only a thread that says it sleeps is woken.
                if lock(&self.side).client.sq_flags() & NEED_WAKEUP != 0 {
                    self.expect(self.enter(queued, 0, SQ_WAKEUP, (0, 0)).map(drop));
                }
                self.sched.sleep(MS / 4);
                continue;
            }
            self.expect(self.enter(if exact { queued } else { ALL }, 0, 0, (0, 0)).map(drop));
        }
        panic!("entries that nobody takes");
    }

    /// A call that may fail only because the ring is gone.
    fn expect(&self, r: Result<(), Errno>) {
        let gone = matches!(r, Err(Errno::EBADF | Errno::EOPNOTSUPP)) && self.closing();
        assert!(r.is_ok() || gone, "enter says {r:?}");
    }

    /// Queues entries at once, so that no other thread comes between the members of a chain.
    pub(crate) fn push(&self, sqes: &[Sqe]) {
        while !self.closing() && !lock(&self.side).try_push(sqes, self.sched.now()) {
            self.submit_all();
        }
    }

    fn submit(&self, entries: &[Entry], wait: Option<(u32, u64)>) {
        for (addr, bytes) in entries.iter().flat_map(|e| &e.memory) {
            lock(&self.world).write(*addr, bytes).expect("memory of the application");
        }
        let sqes: Vec<Sqe> = entries.iter().map(|e| e.sqe).collect();
        for chains in whole_chains(&sqes, self.program.entries.0 as usize) {
            self.push(chains);
            if let Some((min, ns)) = wait.filter(|_| !self.sqpoll()) {
                let queued = lock(&self.side).client.queued();
                self.wait(queued, min, ns);
            }
            self.submit_all();
            let mut side = lock(&self.side);
            let there = side.log.len() + side.client.ready() as usize;
            side.issued.extend(chains.iter().map(|s| (s.user_data, there)));
        }
    }

    /// Takes what can be seen.
    pub(crate) fn reap(&self) {
        let mut side = lock(&self.side);
        if side.closing {
            return;
        }
        let (at, late) = (self.sched.now(), side.finishing);
        side.overflowed |= side.client.sq_flags() & OVERFLOW != 0;
        for c in side.client.reap() {
            let more = c.flags & 2 != 0;
            if !more && c.user_data < FINAL {
                lock(&self.world).ledger.ended.insert(c.user_data % ALIAS);
            }
            side.log.push(Seen { ud: c.user_data, res: c.res, more, at, late });
        }
    }

    fn wait(&self, submit: u32, min: u32, ns: u64) {
        let ts = self.scratch + 32;
        // Now and then until a time, mostly for a time.
        let until = min.is_multiple_of(3);
        let when = if until { self.sched.now() + ns } else { ns };
        let flags = GETEVENTS | EXT_ARG | if until { ABS_TIMER } else { 0 };
        let words = [0, 0, ts, 0, when / 1_000_000_000, when % 1_000_000_000];
        let bytes: Vec<u8> = words.iter().flat_map(|w: &u64| w.to_ne_bytes()).collect();
        lock(&self.world).write(self.scratch, &bytes).expect("scratch memory");
        let from = self.sched.now();
        let r = self.enter(submit, min, flags, (self.scratch, 24));
        let took = self.sched.now() - from;
        match r {
            Err(Errno::ETIME) => {
                assert!(took >= ns, "a wait of {ns} ns ended after {took}");
            }
            Err(Errno::EINTR) | Ok(_) => {}
            Err(e) => self.expect(Err(e)),
        }
        let slow = self.program.has(crate::policy::Fault::Slow);
        assert!(slow || took <= ns + MS, "a wait of {ns} ns took {took}");
        self.reap();
    }

    pub(crate) fn poke(&self) {
        self.expect(self.enter(0, 0, GETEVENTS, (0, 0)).map(drop));
    }

    fn open(&self, fd: i32) -> Option<Arc<Open>> {
        lock(&self.world).open(fd).ok()
    }

    /// Writes to a descriptor after a while, if it is still open then.
    pub(crate) fn feed(&self, ns: u64, fd: i32, n: usize) {
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
            Step::SubmitAndWait(entries, min, ns) => self.submit(entries, Some((*min, *ns))),
            Step::Wait(min, ns) => self.wait(0, *min, *ns),
            Step::Reap => self.reap(),
            Step::Poke => {
                if self.sched.me() == 0 {
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
            Step::Unregister => {
                // ENXIO the second time.
                let _ = self.engine.register(self.fd, 3, 0, 0);
            }
            // The first thread's own business (run.rs).
            Step::Thread(_) | Step::CloseRing => {}
        }
    }
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
