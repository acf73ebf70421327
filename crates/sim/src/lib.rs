//! A [`Host`](ringer_engine::host::Host) in RAM, on a virtual clock, in an order that a seed decides.
//!
//! ```text
//!  test = application (task 0) -- client: SQEs, CQEs --+         pages: the same words
//!     | enter                                          v
//!     v                                            engine -- trait Host --> SimHost
//!  sched: one baton, one clock <-- workers, reactor, SQ thread      '- world: memory, fds, files
//! ```
//!
//! A run is a function of its seed: same seed, same interleaving, same partial transfers, same
//! results. Waiting costs nothing: when nobody can run, the clock jumps; when nothing can ever happen,
//! the test fails and says who waits for what. [`simulate`] draws programs from seeds and checks them.
//! What it does not do: model what depends on the real kernel (paths beyond names, socket families and
//! messages, credentials): that is the real host's tests' part.
#![forbid(unsafe_code)]

mod aio;
mod child;
mod client;
pub mod errno;
mod files;
mod futex;
mod host;
mod kit;
mod names;
mod net;
mod object;
mod policy;
mod poller;
mod quiet;
mod ring;
mod rng;
mod sched;
pub mod simulate;
pub mod sqe;
mod task;
mod transfer;
mod world;

pub use client::Client;
pub use host::{Options, SimFile, SimHost, SimThread};
pub use policy::{Chaos, Fault, Plain, Policy, Rates, Seeded};
pub use poller::SimPoller;
pub use ring::{Memory, Pages, SimPages, SimRing};
pub use rng::Rng;
pub use sched::{Jump, Lock, RelaxBaton};
pub use world::{BASE, SIZE};

use names::Node;
use object::{Body, Open, RamFile};
use policy::Choices;
use ringer_engine::Engine;
use ringer_engine::chaos::plan::Plan;
use ringer_engine::host::Clock;
use ringer_uapi::Errno;
use sched::{Sched, lock};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use world::{Entry, World};

/// Capacity of pipes and sockets \[bytes\].
const STREAM: usize = 4096;
/// Memory that nobody has: `EFAULT`.
pub const NOWHERE: u64 = 0x1000;

/// (user_data, res) of completions, in order.
pub fn pairs(cqes: &[ringer_uapi::Cqe]) -> Vec<(u64, i32)> {
    cqes.iter().map(|c| (c.user_data, c.res)).collect()
}

/// The name of a ring, read back from its pages.
pub type RingId = ringer_engine::host::RingId;

/// A world with one process in it. The thread that makes it is the application.
#[derive(Debug)]
pub struct Sim {
    /// The engine under test.
    pub engine: Arc<Engine<SimHost>>,
    sched: Arc<Sched>,
    world: Arc<Mutex<World>>,
    adopts: Arc<AtomicBool>,
}

impl Default for Sim {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Sim {
    /// A world without files.
    pub fn new(options: Options) -> Self {
        let rates = Rates::NONE
            .with(Fault::Preempt, options.preempt)
            .with(Fault::Short, options.short_reads)
            .with(Fault::Share, 2)
            .with(Fault::Eintr, options.eintr);
        let policy: Arc<dyn Policy> = match options.seed {
            Some(seed) => Arc::new(Seeded::new(seed, rates)),
            None => Arc::new(Plain),
        };
        Self::with_policy(options, policy)
    }

    /// A world in the plain order, in which the engine does to requests what a plan says.
    ///
    /// # Panics
    /// The text is no plan.
    pub fn under(plan: &str) -> Self {
        let plan = Plan::parse(plan).unwrap_or_else(|e| panic!("{e}"));
        Self::with(Options::default(), Arc::new(Plain), Some(plan))
    }

    /// A world without files in which `policy` makes every choice.
    pub fn with_policy(options: Options, policy: Arc<dyn Policy>) -> Self {
        let plan = options.meddles.map(Plan::legal);
        Self::with(options, policy, plan)
    }

    fn with(options: Options, policy: Arc<dyn Policy>, plan: Option<Plan>) -> Self {
        let sched = Sched::new(policy);
        let world = Arc::new(Mutex::new(World::new()));
        let host = SimHost {
            sched: sched.clone(),
            world: world.clone(),
            options,
            no_threads: AtomicU32::new(0),
            lent: Mutex::default(),
            cold_names: AtomicBool::new(false),
            no_files: AtomicU32::new(0),
        };
        let adopts = Arc::new(AtomicBool::new(true));
        let choices = Choices::new(sched.clone(), plan, adopts.clone());
        Self { engine: Engine::with_policy(host, Box::new(choices)), sched, world, adopts }
    }

    /// Everything the seed can make unpleasant.
    pub fn nasty(seed: u64) -> Self {
        Self::new(Options {
            seed: Some(seed),
            preempt: 5,
            short_reads: 3,
            eintr: 9,
            numberless: seed % 5 == 1,
            no_nowait: seed % 7 == 2,
            posix_locks: false,
            meddles: None,
            lends: false,
        })
    }

    // --- memory --------------------------------------------------------------------------------

    /// Fresh zeroed memory, 64-aligned; whole pages lie on a page.
    ///
    /// # Panics
    /// If it is used up.
    pub fn alloc(&self, len: usize) -> u64 {
        lock(&self.world).alloc(len).expect("simulated memory")
    }

    /// Fresh memory with this in it.
    pub fn put(&self, bytes: &[u8]) -> u64 {
        let addr = self.alloc(bytes.len());
        self.write(addr, bytes);
        addr
    }

    /// Stores into memory.
    pub fn write(&self, addr: u64, bytes: &[u8]) {
        lock(&self.world).write(addr, bytes).expect("memory of the application");
    }

    /// Loads from memory.
    pub fn read(&self, addr: u64, len: usize) -> Vec<u8> {
        lock(&self.world).read(addr, len).expect("memory of the application").to_vec()
    }

    /// A `struct __kernel_timespec` of so many nanoseconds.
    pub fn timespec(&self, ns: u64) -> u64 {
        let (sec, nsec) = ((ns / 1_000_000_000).to_ne_bytes(), (ns % 1_000_000_000).to_ne_bytes());
        self.put(&[sec, nsec].concat())
    }

    /// Descriptors as an `__s32` array.
    pub fn fds(&self, fds: &[i32]) -> u64 {
        self.put(&fds.iter().flat_map(|fd| fd.to_ne_bytes()).collect::<Vec<u8>>())
    }

    /// Words as an array.
    pub fn words(&self, words: &[u64]) -> u64 {
        self.put(&words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>())
    }

    // --- files ---------------------------------------------------------------------------------

    fn install(&self, open: Arc<Open>) -> i32 {
        lock(&self.world).install(Entry::Open(open)).expect("a free descriptor")
    }

    fn open(&self, fd: i32) -> Arc<Open> {
        lock(&self.world).open(fd).expect("an open descriptor")
    }

    /// A regular file of which the first `cached` bytes are in the page cache.
    pub fn file(&self, data: &[u8], cached: usize) -> i32 {
        let file = RamFile { data: data.to_vec(), cached, ..RamFile::default() };
        self.install(Open::regular(Arc::new(Mutex::new(file))))
    }

    /// Whether a policy that meddles does so on rings that are set up from here on.
    pub fn meddle(&self, adopts: bool) {
        self.adopts.store(adopts, Relaxed);
    }

    /// A regular file with a name (without the NUL).
    pub fn named(&self, name: &str, data: &[u8]) {
        let file = RamFile { data: data.to_vec(), cached: data.len(), ..RamFile::default() };
        let key = [name.as_bytes(), b"\0"].concat();
        lock(&self.world).names.insert(key, Node::File(Arc::new(Mutex::new(file))));
    }

    /// Gives a regular file with a name an extended attribute (both without the NUL).
    pub fn attribute(&self, name: &str, attribute: &str, value: &[u8]) {
        let [name, attribute] = [name, attribute].map(|n| [n.as_bytes(), b"\0"].concat());
        match lock(&self.world).names.get(&name) {
            Some(Node::File(file)) => lock(file).xattrs.insert(attribute, value.to_vec()),
            _ => panic!("not a regular file"),
        };
    }

    /// What a regular file holds.
    pub fn contents(&self, fd: i32) -> Vec<u8> {
        match &self.open(fd).body {
            Body::Regular { file, .. } => lock(file).data.clone(),
            _ => panic!("not a regular file"),
        }
    }

    /// (read end, write end).
    pub fn pipe(&self) -> (i32, i32) {
        let (r, w) = Open::pipe(STREAM);
        (self.install(r), self.install(w))
    }

    /// Two connected stream sockets.
    pub fn socketpair(&self) -> (i32, i32) {
        let (a, b) = Open::socketpair(STREAM);
        (self.install(a), self.install(b))
    }

    /// An eventfd.
    pub fn eventfd(&self) -> i32 {
        self.install(Open::event(0))
    }

    /// The count of an eventfd, which stays as it is.
    pub fn event_count(&self, fd: i32) -> u64 {
        match &self.open(fd).body {
            Body::Event { count, .. } => count.load(Relaxed),
            _ => panic!("not an eventfd"),
        }
    }

    /// close(2) of a file.
    pub fn close(&self, fd: i32) {
        let lent = lock(&self.engine.host().lent).remove(&fd);
        if lent {
            self.engine.number_closing(fd);
        }
        let gone = lock(&self.world).fds.remove(&fd);
        assert!(gone.is_some(), "descriptor {fd} is not open");
        drop(gone);
        self.sched.changed();
    }

    /// write(2) of the application to a pipe, socket or eventfd, by itself.
    pub fn feed(&self, fd: i32, bytes: &[u8]) {
        feed(&self.open(fd), bytes);
        self.sched.changed();
    }

    /// The same, once the clock has moved on by `ns`.
    pub fn feed_later(&self, ns: u64, fd: i32, bytes: &[u8]) {
        let (open, bytes) = (self.open(fd), bytes.to_vec());
        self.sched.at(ns, Box::new(move || feed(&open, &bytes)));
    }

    /// close(2), once the clock has moved on by `ns`.
    pub fn close_later(&self, ns: u64, fd: i32) {
        let world = self.world.clone();
        self.sched.at(
            ns,
            Box::new(move || {
                let gone = lock(&world).fds.remove(&fd);
                drop(gone);
            }),
        );
    }

    /// read(2) of the application from a pipe or socket, by itself: what is there.
    pub fn eat(&self, fd: i32, max: usize) -> Vec<u8> {
        let open = self.open(fd);
        let Body::Stream { rx: Some(chan), .. } = &open.body else { panic!("cannot be read") };
        let bytes = chan.take(max, false);
        self.sched.changed();
        bytes
    }

    /// Whether a number, if it is one, can be read as a stream, and written to.
    pub fn streams(&self, fd: i32) -> (bool, bool) {
        let open = lock(&self.world).open(fd);
        match open.as_ref().map(|o| &o.body) {
            Ok(Body::Stream { rx, tx, .. }) => (rx.is_some(), tx.is_some()),
            _ => (false, false),
        }
    }

    /// Whether the other end of a pipe or socket is closed everywhere.
    pub fn peer_gone(&self, fd: i32) -> bool {
        self.open(fd).peer_gone()
    }

    /// How many files the engine holds now.
    pub fn held(&self) -> usize {
        lock(&self.world).held()
    }

    // --- trouble -------------------------------------------------------------------------------

    /// The next `n` starts of a thread fail.
    pub fn no_threads(&self, n: u32) {
        self.engine.host().no_threads.store(n, Relaxed);
    }

    /// The next `n` references to a file cannot be made.
    pub fn no_files(&self, n: u32) {
        self.engine.host().no_files.store(n, Relaxed);
    }

    /// Whether names have to be looked up on the disk.
    pub fn cold_names(&self, cold: bool) {
        self.engine.host().cold_names.store(cold, Relaxed);
    }

    /// The soft RLIMIT_NOFILE.
    pub fn limit_files(&self, n: usize) {
        lock(&self.world).nofile = n;
    }

    /// A signal handler of the application runs when the clock has moved on by `ns`.
    pub fn signal_later(&self, ns: u64) {
        let sched = self.sched.clone();
        self.sched.at(ns, Box::new(move || sched.signal(0)));
    }

    // --- time and threads ----------------------------------------------------------------------

    /// Nanoseconds on the virtual clock.
    pub fn now(&self) -> u64 {
        self.sched.now()
    }

    /// Once the clock has moved on by `after`, the real-time clock is set ahead by `ns`, or the machine
    /// has been suspended for so long.
    pub fn step_clock_later(&self, after: u64, clock: Clock, ns: u64) {
        let world = self.world.clone();
        let step = move || {
            let mut w = lock(&world);
            w.clocks[usize::from(clock == Clock::Realtime)] += ns;
            w.steps.fetch_add(1, Relaxed);
        };
        self.sched.at(after, Box::new(step));
    }

    /// The application sleeps: others run, the clock moves.
    pub fn sleep(&self, ns: u64) {
        self.sched.sleep(ns);
    }

    /// Lets workers, reactor and SQ thread run until all of them wait; the clock stands still.
    pub fn run_workers(&self) {
        self.sched.settle();
    }

    /// How often the clock has jumped because nobody could run.
    pub fn jumps(&self) -> u64 {
        self.sched.jumps()
    }

    /// How many threads there are beside the application's first.
    pub fn threads(&self) -> usize {
        self.sched.threads()
    }

    /// Starts another thread of the application.
    pub fn start<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Arc<Engine<SimHost>>) -> T + Send + 'static,
    ) -> Thread<T> {
        let (result, engine) = (Arc::new(Mutex::new(None)), self.engine.clone());
        let theirs = result.clone();
        let run = Box::new(move || {
            let answer = body(&engine);
            engine.thread_ended();
            *lock(&theirs) = Some(answer);
        });
        let task = self.sched.spawn("thread".to_owned(), true, run).expect("a thread");
        let mut w = lock(&self.world);
        let user = w.user(self.sched.tid());
        w.users.insert(Sched::tid_of(task), user);
        drop(w);
        Thread { task, result, sched: self.sched.clone() }
    }

    /// Runs `body` on another thread of the application, to its end.
    pub fn on_another_thread<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Arc<Engine<SimHost>>) -> T + Send + 'static,
    ) -> T {
        self.start(body).join()
    }

    // --- calls and the end ---------------------------------------------------------------------

    /// Forgets the host calls so far.
    pub fn forget_calls(&self) {
        lock(&self.world).calls.clear();
    }

    /// The host calls about files since then: name and descriptor (or count).
    pub fn calls(&self) -> Vec<(&'static str, i32)> {
        lock(&self.world).calls.clone()
    }

    /// How many of them have this name.
    pub fn count(&self, name: &str) -> usize {
        lock(&self.world).calls.iter().filter(|c| c.0 == name).count()
    }

    /// The pages of the ring that was made last.
    pub(crate) fn newest_pages(&self) -> Arc<Pages> {
        let w = lock(&self.world);
        w.rings.last_key_value().expect("a ring was made").1.clone()
    }

    /// The pages of a ring.
    pub fn pages(&self, fd: i32) -> Arc<Pages> {
        let w = lock(&self.world);
        match w.entry(fd) {
            Ok(Entry::Ring(id)) => w.rings[id].clone(),
            other => panic!("descriptor {fd} is no ring: {other:?}"),
        }
    }

    /// Closes a ring's last descriptor; ticks until it is torn down. Returns the ticks.
    pub fn close_ring(&self, fd: i32) -> u32 {
        let id = self.pages(fd).id;
        lock(&self.world).fds.remove(&fd);
        self.end_ring(id)
    }

    /// Ticks until a ring without a descriptor is torn down. Returns the ticks.
    pub(crate) fn end_ring(&self, id: RingId) -> u32 {
        for tick in 0..1000 {
            if self.engine.ring_closed(id) {
                return tick;
            }
            self.sched.sleep(1_000_000);
        }
        panic!("ring {id:?} is still alive after 1000 ticks");
    }

    /// A register call.
    ///
    /// # Errors
    /// The call's.
    pub fn register(&self, fd: i32, op: u32, arg: u64, nr: u32) -> Result<usize, Errno> {
        self.engine.register(fd, op, arg, nr)
    }
}

/// A thread of the application.
#[derive(Debug)]
pub struct Thread<T> {
    task: usize,
    result: Arc<Mutex<Option<T>>>,
    sched: Arc<Sched>,
}

impl<T> Thread<T> {
    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.sched.is_done(self.task)
    }

    /// Waits for its end.
    pub fn join(self) -> T {
        self.sched.await_end(self.task);
        let result = lock(&self.result).take();
        result.expect("a thread that did not panic")
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.sched.finish();
    }
}

fn feed(open: &Open, bytes: &[u8]) {
    match &open.body {
        Body::Stream { tx: Some(chan), .. } => {
            let n = bytes.len().min(chan.room());
            chan.put(bytes.get(..n).unwrap_or(&[]));
        }
        // The body was just matched.
        Body::Event { .. } => drop(open.signal(1)),
        _ => panic!("cannot be fed"),
    }
}
