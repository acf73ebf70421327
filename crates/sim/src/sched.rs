//! One processor, a virtual clock, and a baton: which thread runs is the seed's choice.
//!
//! ```text
//!  task 0: the application (the test)     tasks 1..: what `Host::spawn` started, real threads
//!     |  holds the baton                     |  wait on their condition variables
//!     '-- park, poller wait, blocking read, contended lock --> pass it on
//!              nobody can run: the clock jumps to the next deadline
//!              no deadline either: deadlock, told to the test as a panic that lists who waits
//! ```
//!
//! A worker's body loops and parks, and a closure cannot be suspended: so tasks are threads, of which
//! exactly the holder of the baton runs. With a seed the baton also goes on at every host call once in
//! a while, and to anybody who can run; without, it stays until its holder waits, and goes to the
//! lowest number. What it does not do: run two things at once; races within one call are a model
//! checker's business.

use crate::policy::{Fault, Policy};
use crate::quiet::{hush, is_hushed, text};
use crate::task::{Task, Wait};
use ringer_uapi::Errno;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Clock jumps without the application running that count as a livelock.
const JUMPS_MAX: u32 = 100_000;
/// Turns of other tasks without the application running that count as a livelock, too.
const TURNS_MAX: u32 = 200_000;
/// Turns in all that count as one: no program here needs a tenth of it.
const TOTAL_MAX: u64 = 500_000;
/// Calls of the host in one turn that count as one.
const CALLS_MAX: u64 = 1_000_000;
/// Turns of a contended lock's waiter without anybody else getting on.
const SPINS_MAX: u32 = 64;
/// What [`RelaxBaton`] waits for.
const CONTENDED: Wait = Wait::Spin;
/// Longest sleep of a slow thread \[ns\].
const SLOW_NS: u64 = 2_000_000;

/// A std lock whose poison says nothing here: the panic that made it is reported by itself.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unwinds a task when the simulation is over.
struct Over;

type Action = Box<dyn FnOnce() + Send>;

/// What is true when nobody can run and the clock is about to move.
#[derive(Debug)]
pub struct Jump {
    /// The clock \[ns\].
    pub now: u64,
    /// What it will be.
    pub next: u64,
    /// Tasks that wait for something to happen, by number (0 is the application's first).
    pub waiting: Vec<usize>,
}

/// Looks at the world at every [`Jump`]; what it says is wrong ends the run.
pub(crate) type Watchman = Box<dyn FnMut(&Jump) -> Option<String> + Send>;

struct Inner {
    tasks: Vec<Task>,
    current: usize,
    now: u64,
    version: u64,
    over: bool,
    verdict: Option<String>,
    /// Clock jumps in all, and since the application last ran.
    jumped: u64,
    jumps: u32,
    /// Turns of others since the application last ran, and of everybody ever.
    turns: u32,
    total: u64,
    agenda: BTreeMap<(u64, u64), Action>,
    agenda_seq: u64,
    watchman: Option<Watchman>,
}

/// See the module's doc.
pub(crate) struct Sched {
    inner: Mutex<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) policy: Arc<dyn Policy>,
    /// Nothing goes wrong any more.
    calm: AtomicBool,
    /// Calls of the host since the baton last went on.
    calls: AtomicU64,
    /// How often each fault struck.
    struck: [AtomicU64; Fault::ALL.len()],
}

impl fmt::Debug for Sched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sched").finish_non_exhaustive()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<(Arc<Sched>, usize)>> = const { RefCell::new(None) };
}

/// The task that runs on this thread.
fn me() -> usize {
    CURRENT.with_borrow(|c| c.as_ref().map_or(0, |(_, id)| *id))
}

/// The lock under every mutex of the engine: contention passes the baton on.
pub type Lock = spin::mutex::SpinMutex<(), RelaxBaton>;

/// The lock that callers of a ring share.
pub(crate) type SharedLock = spin::rwlock::RwLock<(), RelaxBaton>;

/// See [`Lock`].
#[derive(Debug)]
pub struct RelaxBaton;

impl spin::RelaxStrategy for RelaxBaton {
    fn relax() {
        match CURRENT.with_borrow(Clone::clone) {
            Some((sched, _)) => sched.pass(CONTENDED),
            None => std::thread::yield_now(),
        }
    }
}

impl Sched {
    /// A scheduler whose task 0 is the calling thread.
    pub(crate) fn new(policy: Arc<dyn Policy>) -> Arc<Self> {
        let inner = Inner {
            tasks: Vec::new(),
            current: 0,
            now: 1_000_000_000,
            version: 0,
            over: false,
            verdict: None,
            jumped: 0,
            jumps: 0,
            turns: 0,
            total: 0,
            agenda: BTreeMap::new(),
            agenda_seq: 0,
            watchman: None,
        };
        let inner = Mutex::new(inner);
        let sched = Arc::new(Self {
            inner,
            threads: Mutex::default(),
            policy,
            calm: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            struck: Default::default(),
        });
        lock(&sched.inner).tasks.push(Task::new("application", true));
        CURRENT.set(Some((sched.clone(), 0)));
        sched
    }

    pub(crate) fn now(&self) -> u64 {
        lock(&self.inner).now
    }

    /// The calling task's number, as a thread id.
    pub(crate) fn tid(&self) -> u32 {
        Self::tid_of(me())
    }

    /// The number of a task as a thread.
    pub(crate) fn tid_of(task: usize) -> u32 {
        task as u32 + 1
    }

    /// Something that somebody may wait for has changed.
    pub(crate) fn changed(&self) {
        lock(&self.inner).version += 1;
    }

    /// Does something when the clock reaches `ns` from now.
    pub(crate) fn at(&self, ns: u64, action: Action) {
        let mut inner = lock(&self.inner);
        inner.agenda_seq += 1;
        let key = (inner.now.saturating_add(ns), inner.agenda_seq);
        inner.agenda.insert(key, action);
    }

    /// Whether this happens to whoever runs now.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let strikes = !self.calm.load(Relaxed) && self.policy.strikes(fault);
        if strikes {
            self.struck[fault as usize].fetch_add(1, Relaxed);
        }
        strikes
    }

    /// How often each fault struck.
    pub(crate) fn struck(&self) -> [u64; Fault::ALL.len()] {
        std::array::from_fn(|i| self.struck[i].load(Relaxed))
    }

    /// From here on nothing goes wrong.
    pub(crate) fn calm(&self) {
        self.calm.store(true, Relaxed);
    }

    /// Whether a signal ends a wait that the caller is about to begin.
    pub(crate) fn signalled(&self) -> bool {
        let strikes = lock(&self.inner).tasks[me()].app && self.strikes(Fault::Eintr);
        lock(&self.inner).tasks[me()].eintrs += u64::from(strikes);
        strikes
    }

    /// How often a signal ended a wait of the calling task, or would have if it had not been over.
    pub(crate) fn eintrs(&self) -> u64 {
        lock(&self.inner).tasks[me()].eintrs
    }

    /// Looks at the world before every jump of the clock.
    pub(crate) fn watch(&self, watchman: Option<Watchman>) {
        lock(&self.inner).watchman = watchman;
    }

    /// The calling task.
    pub(crate) fn me(&self) -> usize {
        me()
    }

    /// A place where another task may go on instead, if the policy wants it.
    pub(crate) fn breathe(&self) {
        if self.calls.fetch_add(1, Relaxed) > CALLS_MAX {
            let mut inner = lock(&self.inner);
            let name = inner.tasks[me()].name.clone();
            inner.verdict.get_or_insert_with(|| format!("livelock: {name} never waits"));
            drop(inner);
            self.pass(Wait::Ready);
        }
        if self.strikes(Fault::Slow) {
            let until = self.now() + self.policy.amount(SLOW_NS);
            self.pass(Wait::Slow { until });
        } else if self.strikes(Fault::Preempt) {
            self.pass(Wait::Ready);
        }
    }

    /// Waits until `look` finds something.
    ///
    /// # Errors
    /// `EINTR`; `EAGAIN` when the clock passed `until` (a deadline that has passed never waits).
    pub(crate) fn wait_for<T>(
        &self,
        until: Option<u64>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Errno> {
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            let wait = {
                let mut inner = lock(&self.inner);
                let task = &mut inner.tasks[me()];
                if task.stopped || task.take_interrupt() {
                    return Err(Errno::EINTR);
                }
                if until.is_some_and(|t| t <= inner.now) {
                    return Err(Errno::EAGAIN);
                }
                Wait::Change { version: inner.version, until }
            };
            self.pass(wait);
        }
    }

    /// A futex wait on the word at `addr`, whose value the caller has compared.
    pub(crate) fn park(&self, addr: usize, timeout: Option<u64>) -> Result<(), Errno> {
        let until = {
            let mut inner = lock(&self.inner);
            let now = inner.now;
            let task = &mut inner.tasks[me()];
            task.woken = false;
            if task.take_interrupt() {
                return Err(Errno::EINTR);
            }
            timeout.map(|ns| now.saturating_add(ns))
        };
        self.pass(Wait::Park { addr, until });
        let mut inner = lock(&self.inner);
        let task = &mut inner.tasks[me()];
        if task.woken {
            Ok(())
        } else if task.take_interrupt() {
            Err(Errno::EINTR)
        } else {
            Err(Errno::ETIMEDOUT)
        }
    }

    /// A futex wake.
    pub(crate) fn unpark(&self, addr: usize, n: u32) {
        let mut left = n;
        for task in &mut lock(&self.inner).tasks {
            if left > 0
                && !task.woken
                && matches!(task.wait, Wait::Park { addr: a, .. } if a == addr)
            {
                task.woken = true;
                left -= 1;
            }
        }
    }

    /// Interrupts the call a task is in, and all it makes until [`Sched::clear_interrupt`]; a futex
    /// wait is none.
    pub(crate) fn interrupt(&self, task: usize) {
        lock(&self.inner).tasks[task].stopped = true;
    }

    /// Whether the calling task is interrupted.
    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.inner).tasks[me()].stopped
    }

    /// A signal handler of a task ran: the wait it is in is over; if it is in none, nothing happens.
    pub(crate) fn signal(&self, task: usize) {
        let mut inner = lock(&self.inner);
        let task = &mut inner.tasks[task];
        task.interrupted = matches!(task.wait, Wait::Change { .. } | Wait::Park { .. });
    }

    pub(crate) fn clear_interrupt(&self, task: usize) {
        lock(&self.inner).tasks[task].stopped = false;
    }

    /// Lets everybody else run until all of them wait; the clock stands still.
    pub(crate) fn settle(&self) {
        self.pass(Wait::Idle);
    }

    /// Sleeps.
    pub(crate) fn sleep(&self, ns: u64) {
        let until = self.now().saturating_add(ns);
        // Nothing is looked for, so only the time ends it.
        while self.wait_for(Some(until), || None::<()>) == Err(Errno::EINTR) {}
    }

    /// Lets time pass in the middle of something: not a wait that anybody could have to end.
    pub(crate) fn step_aside(&self, ns: u64) {
        let until = self.now().saturating_add(ns);
        self.pass(Wait::Slow { until });
    }

    /// Starts a task; it runs when its turn comes.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: String,
        app: bool,
        body: Box<dyn FnOnce() + Send>,
    ) -> Result<usize, Errno> {
        let id = {
            let mut inner = lock(&self.inner);
            inner.tasks.push(Task::new(&name, app));
            inner.tasks.len() - 1
        };
        let sched = self.clone();
        let hushed = is_hushed();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            hush(hushed);
            sched.run(id, body);
        });
        lock(&self.threads).push(thread.map_err(|_| Errno::EAGAIN)?);
        Ok(id)
    }

    fn run(self: Arc<Self>, id: usize, body: Box<dyn FnOnce() + Send>) {
        CURRENT.set(Some((self.clone(), id)));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            self.await_turn(id);
            body();
        }));
        if let Err(why) = ended
            && !why.is::<Over>()
        {
            let mut inner = lock(&self.inner);
            let name = inner.tasks[id].name.clone();
            inner.verdict.get_or_insert_with(|| format!("{name} panicked: {}", text(&*why)));
        }
        CURRENT.set(None);
        let mut inner = lock(&self.inner);
        inner.tasks[id].wait = Wait::Done;
        inner.version += 1;
        // What it held on its way out is free.
        inner.tasks.iter_mut().for_each(|t| t.spins = 0);
        if !inner.over {
            drop(self.choose(inner));
        }
    }

    /// Whether a task has ended.
    pub(crate) fn is_done(&self, task: usize) -> bool {
        lock(&self.inner).tasks[task].wait == Wait::Done
    }

    pub(crate) fn jumps(&self) -> u64 {
        lock(&self.inner).jumped
    }

    /// Tasks that have not ended, without the application's first.
    pub(crate) fn threads(&self) -> usize {
        lock(&self.inner).tasks.iter().skip(1).filter(|t| t.wait != Wait::Done).count()
    }

    /// Waits until a task has ended.
    pub(crate) fn await_end(&self, task: usize) {
        // Only the end is looked for: an interrupt is nothing to somebody who joins.
        while self.wait_for(None, || self.is_done(task).then_some(())) == Err(Errno::EINTR) {}
    }

    /// Gives the baton away and comes back with it.
    fn pass(&self, wait: Wait) {
        let id = me();
        let mut inner = lock(&self.inner);
        if inner.over {
            drop(inner);
            leave(id);
            return;
        }
        let spinning = wait == Wait::Spin;
        let spun = std::mem::replace(&mut inner.tasks[id].contends, spinning);
        if !(spinning && spun) {
            // It got on: also who comes to a lock now may have let another one go before.
            inner.tasks.iter_mut().for_each(|t| t.spins = 0);
        }
        inner.tasks[id].spins += u32::from(spinning);
        inner.tasks[id].wait = wait;
        drop(self.choose(inner));
        self.await_turn(id);
    }

    /// Waits for the baton.
    fn await_turn(&self, id: usize) {
        let mut inner = lock(&self.inner);
        let turn = inner.tasks[id].turn.clone();
        while inner.current != id && !inner.over {
            inner = turn.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.over && id != 0 {
            drop(inner);
            leave(id);
            return;
        }
        inner.tasks[id].wait = Wait::Ready;
        if id != 0 {
            return;
        }
        inner.jumps = 0;
        inner.turns = 0;
        if let Some(why) = inner.verdict.take() {
            inner.over = true;
            drop(inner);
            panic!("{why}");
        }
    }

    /// Gives the baton to somebody who can run, moving the clock if nobody can.
    fn choose<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.calls.store(0, Relaxed);
        loop {
            if inner.verdict.is_some() {
                break inner.give(0);
            }
            let able = inner.able();
            inner.turns += 1;
            inner.total += 1;
            if inner.turns > TURNS_MAX || inner.total > TOTAL_MAX {
                inner.total = 0;
                inner.verdict = Some(format!("livelock: {}", inner.waits()));
                continue;
            }
            if !able.is_empty() {
                let n = self.policy.pick(able.len());
                break inner.give(able[n]);
            }
            if inner.tasks[0].wait == Wait::Idle {
                break inner.give(0);
            }
            let Some(next) = inner.next_time() else {
                inner.verdict = Some(format!("deadlock: {}", inner.waits()));
                continue;
            };
            if let Some(wrong) = inner.inspect(next) {
                let waits = inner.waits();
                inner.verdict = Some(format!("{wrong}; {waits}"));
                continue;
            }
            inner.jumped += 1;
            inner.jumps += 1;
            if inner.jumps > JUMPS_MAX {
                inner.verdict = Some(format!("livelock: {}", inner.waits()));
                continue;
            }
            inner.now = inner.now.max(next);
            while let Some(entry) = inner.agenda.first_entry().filter(|e| e.key().0 <= next) {
                let action = entry.remove();
                drop(inner);
                action();
                inner = lock(&self.inner);
                inner.version += 1;
            }
        }
        inner
    }

    /// Ends every task but the calling one, and waits for them.
    pub(crate) fn finish(&self) {
        {
            let mut inner = lock(&self.inner);
            inner.over = true;
            inner.agenda.clear();
            for t in &inner.tasks {
                t.turn.notify_all();
            }
        }
        for t in core::mem::take(&mut *lock(&self.threads)) {
            // A panic of a task was kept as the verdict.
            let _ = t.join();
        }
        CURRENT.set(None);
        let verdict = lock(&self.inner).verdict.take();
        if let Some(why) = verdict
            && !std::thread::panicking()
        {
            panic!("{why}");
        }
    }
}

impl Inner {
    fn give(&mut self, id: usize) {
        self.current = id;
        self.tasks[id].turn.notify_all();
    }

    fn able(&self) -> Vec<usize> {
        let ready = |t: &Task| match t.wait {
            Wait::Ready => true,
            Wait::Spin => t.spins < SPINS_MAX,
            Wait::Change { version, until } => {
                let interrupted = t.interrupted || t.stopped;
                version != self.version || interrupted || until.is_some_and(|u| u <= self.now)
            }
            Wait::Park { until, .. } => {
                t.woken || t.interrupted || until.is_some_and(|u| u <= self.now)
            }
            Wait::Slow { until } => until <= self.now,
            Wait::Idle | Wait::Done => false,
        };
        let of = |spin: bool| {
            let tasks = self.tasks.iter().enumerate();
            tasks.filter(move |(_, t)| ready(t) && (t.wait == Wait::Spin) == spin).map(|(i, _)| i)
        };
        let able: Vec<usize> = of(false).collect();
        // Who waits for a lock goes on only when nobody else can, or the seed wants it.
        if able.is_empty() { of(true).collect() } else { able }
    }

    /// Asks the watchman, unless somebody is merely slow: what he does next is not late yet.
    fn inspect(&mut self, next: u64) -> Option<String> {
        let slow = |t: &Task| matches!(t.wait, Wait::Slow { .. } | Wait::Spin);
        if self.tasks.iter().any(slow) {
            return None;
        }
        let waits = |t: &Task| matches!(t.wait, Wait::Change { .. } | Wait::Park { .. });
        let tasks = self.tasks.iter().enumerate();
        let waiting = tasks.filter(|(_, t)| waits(t)).map(|(i, _)| i).collect();
        let jump = Jump { now: self.now, next, waiting };
        self.watchman.as_mut().and_then(|w| w(&jump))
    }

    fn next_time(&self) -> Option<u64> {
        let tasks = self.tasks.iter().filter_map(|t| t.wait.until());
        tasks.chain(self.agenda.keys().map(|k| k.0)).min()
    }

    fn waits(&self) -> String {
        let all: Vec<String> =
            self.tasks.iter().map(|t| format!("{} {:?}", t.name, t.wait)).collect();
        format!("nobody can go on at {} ns: {}", self.now, all.join("; "))
    }
}

/// The simulation is over: a task unwinds from wherever it waits.
fn leave(id: usize) {
    if id != 0 && !std::thread::panicking() {
        resume_unwind(Box::new(Over));
    }
}
