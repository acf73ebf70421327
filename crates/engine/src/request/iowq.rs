//! The worker queue: threads for what would block the submitter.
//!
//! ```text
//!  Iowq -- Pool (identity, class) -- queue of (ring, key)    seq: futex that idle workers park on
//!            |                          workers <= max, made by the submitting thread
//!            '-- worker: pop, lock ring, take the command, unlock, run it, lock, settle
//! ```
//!
//! A worker acts for the identity of the thread that queued the request, because that thread made
//! it (`Host::spawn`); a thread whose identity changed gets a pool of its own. The queue holds keys
//! only: a request that was cancelled meanwhile is simply not found. What it does not do: interrupt
//! (`cancel.rs`).

use super::Phase;
use crate::engine::Engine;
use crate::host::{FileKind, Host, HostFile, Identity, ThreadKind};
use crate::opcode::{Cmd, Issue, IssueCx, Op as _, Outcome};
use crate::primitive::AtomicU32;
use crate::ring::{Ring, State};
use crate::slab::Key;
use crate::sync::{Mutex, mutex};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering::Acquire, Ordering::Release};
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
    max: u32,
    queue: Mutex<H, Queue<H>>,
    seq: AtomicU32,
}

#[derive(Debug)]
struct Queue<H: Host> {
    items: VecDeque<(Arc<Ring<H>>, Key)>,
    idle: u32,
    workers: u32,
}

/// Where a worker finds its own thread, filled in by whoever made it.
type Slot<H> = Arc<Mutex<H, Option<Arc<<H as Host>::Thread>>>>;

impl<H: Host> Default for Iowq<H> {
    fn default() -> Self {
        Self { pools: mutex(Vec::new()) }
    }
}

impl<H: Host> Iowq<H> {
    fn pool(&self, host: &H, class: Class) -> Arc<Pool<H>> {
        let identity = host.identity();
        let mut pools = self.pools.lock();
        if let Some(p) = pools.iter().find(|p| p.class == class && p.identity == identity) {
            return p.clone();
        }
        let max = match class {
            Class::Bounded | Class::Private => 4 * host.cpus(),
            Class::Unbounded => UNBOUNDED_MAX,
        };
        let queue = mutex(Queue { items: VecDeque::new(), idle: 0, workers: 0 });
        let pool = Arc::new(Pool { identity, class, max, queue, seq: AtomicU32::new(0) });
        pools.push(pool.clone());
        pool
    }

    /// Queues a parked request, and makes a worker if none is idle.
    ///
    /// # Errors
    /// What the host says when there is no worker at all and none can be made.
    pub(crate) fn queue(
        &self,
        engine: &Engine<H>,
        ring: &Arc<Ring<H>>,
        key: Key,
        class: Class,
    ) -> Result<(), Errno> {
        let host = engine.host();
        let pool = self.pool(host, class);
        let mut q = pool.queue.lock();
        q.items.push_back((ring.clone(), key));
        // An idle worker that was woken and has not run yet still counts as idle, so there must be
        // one for each queued request: the first of two may block until the second runs.
        if q.idle as usize >= q.items.len() {
            drop(q);
            pool.seq.fetch_add(1, Release);
            host.unpark(&pool.seq, 1);
            return Ok(());
        }
        if q.workers >= pool.max {
            return Ok(());
        }
        q.workers += 1;
        drop(q);
        let Err(e) = spawn_worker(engine, &pool) else { return Ok(()) };
        let mut q = pool.queue.lock();
        q.workers -= 1;
        if q.workers > 0 {
            return Ok(());
        }
        q.items.retain(|(r, k)| *k != key || !Arc::ptr_eq(r, ring));
        Err(e)
    }

    /// The current limits: (bounded, unbounded), for IOWQ_MAX_WORKERS.
    pub(crate) fn limits(&self, host: &H) -> (u32, u32) {
        (4 * host.cpus(), UNBOUNDED_MAX)
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

/// The body of a worker.
fn work<H: Host>(engine: &Arc<Engine<H>>, pool: &Arc<Pool<H>>, slot: &Slot<H>) {
    loop {
        let seq = pool.seq.load(Acquire);
        let mut q = pool.queue.lock();
        if let Some((ring, key)) = q.items.pop_front() {
            drop(q);
            engine.run_queued(&ring, key, pool.class, slot);
            continue;
        }
        q.idle += 1;
        drop(q);
        let slept = engine.host().park(&pool.seq, seq, Some(IDLE_NS));
        let mut q = pool.queue.lock();
        q.idle -= 1;
        if slept == Err(Errno::ETIMEDOUT) && q.items.is_empty() {
            q.workers -= 1;
            return;
        }
    }
}

impl<H: Host> Engine<H> {
    /// Runs one queued request on the calling worker, unless it was cancelled meanwhile.
    fn run_queued(&self, ring: &Arc<Ring<H>>, key: Key, class: Class, slot: &Slot<H>) {
        let thread = slot.lock().clone();
        let mut st = ring.state.lock();
        let Some(req) = st.reqs.get_mut(key).filter(|r| matches!(r.phase, Phase::Queued)) else {
            return;
        };
        let Some(mut cmd) = req.cmd.take() else { return };
        if let Some(t) = &thread {
            crate::host::HostThread::clear_interrupt(&**t);
        }
        let file = req.file.file().cloned();
        let (fd, def) = (req.fd, req.def());
        let polls = def.poll != 0
            && class != Class::Private
            && file.as_ref().is_some_and(|f| f.kind() != FileKind::Regular);
        // net.c `io_connect` is only tried, on a worker as well; then the kernel polls.
        let certain = matches!(&cmd, Cmd::Connect(c) if c.polls());
        req.phase = Phase::Running { thread, tries: polls, polls: certain };
        st.running += 1;
        drop(st);

        let how = if polls { Issue::Inline } else { Issue::Worker };
        let outcome = self.attempt(ring, key, &mut cmd, (class, file.as_ref(), fd, how));
        // Once its completion can be seen, nothing here keeps the file open: peers see the close.
        drop(file);
        let direct = match outcome {
            Outcome::Direct { fd, slot } => Some((self.host().take(fd), slot)),
            _ => None,
        };

        let mut st = ring.state.lock();
        st.running -= 1;
        let Some(mut req) = st.reqs.remove(key) else { return };
        req.cmd = Some(cmd);
        req.phase = Phase::Fresh;
        // io-wq.c `io_worker_handle_work`: work that was cancelled while it ran does not begin to
        // wait, where nobody would look for it again.
        let outcome = match outcome {
            Outcome::Again | Outcome::Punt if req.cancelled || st.dying => {
                Outcome::Done(Err(Errno::ECANCELED), 0)
            }
            Outcome::Done(Err(Errno::EINTR), f) if certain && req.cancelled => {
                Outcome::Done(Err(Errno::ECANCELED), f)
            }
            other => other,
        };
        st.cq.from_worker = true;
        st.may_post = !ring.defers();
        match direct {
            Some((file, slot)) => {
                let res = file.and_then(|f| self.install_direct(ring, &mut st, f, slot));
                self.complete(ring, &mut st, req, res, 0);
            }
            None => self.settle(ring, &mut st, req, outcome),
        }
        if class == Class::Private {
            self.requeue_ready(ring, &mut st);
        } else {
            self.run_ready(ring, &mut st);
        }
        self.commit(ring, &mut st);
        st.may_post = true;
        self.unlock(ring, st);
    }

    /// Issues a command on this worker: what does not block first, if there is such a way.
    fn attempt(
        &self,
        ring: &Ring<H>,
        key: Key,
        cmd: &mut Cmd,
        (class, file, fd, how): (Class, Option<&H::File>, i32, Issue),
    ) -> Outcome {
        let fd = match self.number_here(class, file, fd) {
            Ok(fd) => fd,
            Err(e) => return Outcome::Done(Err(e), 0),
        };
        let iopoll = ring.setup.contains(Setup::IOPOLL);
        let (kind, policy) = (file.map(HostFile::kind), self.policy());
        let mut cx = IssueCx { host: self.host(), fd, kind, how, iopoll, policy };
        let mut outcome = cmd.issue(&cx);
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
        }
        outcome
    }

    /// The request's file as a number of this thread's table.
    fn number_here(&self, class: Class, file: Option<&H::File>, fd: i32) -> Result<i32, Errno> {
        match file {
            Some(f) if class == Class::Private => self.host().borrow(f),
            Some(f) => f.number().ok_or(Errno::EBADF),
            None => Ok(fd),
        }
    }

    /// A private worker cannot issue what follows in a chain: the app table is not its own.
    fn requeue_ready(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        while st.may_post
            && let Some(mut req) = st.ready.pop_front()
        {
            req.flags |= ringer_uapi::flags::SqeFlags::ASYNC;
            self.start(ring, st, *req);
        }
    }
}
