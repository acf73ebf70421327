//! Mixed work for minutes: several threads, rings of several kinds, every byte checked.
//!
//! ```text
//!  worker 0..4   ring of its own kind; batch: files, pipe, socket, timeouts, cancels, polls; check
//!  main          every so often: all stop, drop their rings, account, go on with new ones
//! ```

use super::super::{Outcome, expect, must};
use super::account::History;
use crate::os::{self, Buf};
use crate::ring::{GETEVENTS, Ring, SQ_WAKEUP, reg, u64s};
use crate::sqe::{self, ASYNC, FIXED, LINK, op};
use ringer_uapi::flags::Setup;
use ringer_uapi::{Params, Sqe};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

const KINDS: [Setup; 5] = [
    Setup::empty(),
    Setup::SINGLE_ISSUER.union(Setup::DEFER_TASKRUN),
    Setup::SQPOLL,
    Setup::COOP_TASKRUN.union(Setup::SQE128).union(Setup::CQE32),
    Setup::SUBMIT_ALL,
];
/// Work between two accounts, in quarters of all; the first is the warm-up.
const SPANS: [u64; 3] = [1, 1, 3];
const BLOCK: usize = 4096;
const BLOCKS: u64 = 64;
const ETIME: i32 = -libc::ETIME;
const ECANCELED: i32 = -libc::ECANCELED;

/// Everything that the threads share.
struct Shared {
    stop: AtomicBool,
    pause: AtomicBool,
    barrier: Barrier,
    batches: AtomicU64,
}

/// A worker's files and memory.
struct Bench {
    ring: Ring,
    file: i32,
    pipe: (i32, i32),
    sockets: (i32, i32),
    memory: Buf,
    millisecond: Buf,
    hour: Buf,
    seed: u64,
    is_sqpoll: bool,
}

/// The bytes of block `n` in round `round`.
fn pattern(n: u64, round: u64) -> Vec<u8> {
    let words = (0..BLOCK as u64 / 8).map(|i| (n << 48 | i << 32 | i) ^ round.wrapping_mul(0x9e37));
    words.flat_map(u64::to_ne_bytes).collect()
}

impl Bench {
    fn new(worker: usize, seed: u64) -> Result<Self, String> {
        let kind = KINDS[worker % KINDS.len()];
        let params = Params { flags: kind.bits(), sq_thread_idle: 1, ..Params::default() };
        let ring = must("setup", Ring::with(32, params))?;
        let bench = Self {
            ring,
            file: must("file", os::temp_file(&vec![0; BLOCK * BLOCKS as usize]))?,
            pipe: must("pipe", os::pipe())?,
            sockets: must("socketpair", os::socketpair(libc::SOCK_STREAM))?,
            memory: Buf::new(8 * BLOCK),
            millisecond: u64s(&[0, 1_000_000]),
            hour: u64s(&[3600, 0]),
            seed,
            is_sqpoll: kind.contains(Setup::SQPOLL),
        };
        must("files", bench.ring.register_files(&[bench.file, bench.pipe.0, bench.sockets.0]))?;
        let iovs = u64s(&[bench.memory.addr(), 8 * BLOCK as u64]);
        must("buffers", bench.ring.register(reg::BUFFERS, iovs.addr(), 1))?;
        Ok(bench)
    }

    fn close(self) -> Outcome {
        let fds = [self.file, self.pipe.0, self.pipe.1, self.sockets.0, self.sockets.1];
        drop(self.ring);
        fds.into_iter().try_for_each(|fd| must("close", os::close(fd)).map(drop))
    }

    fn at(&self, block: usize) -> u64 {
        self.memory.addr() + (block * BLOCK) as u64
    }

    /// A choice.
    fn below(&mut self, n: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) % n
    }

    /// A batch and its results: what each entry must say.
    fn batch(&mut self, round: u64) -> Outcome {
        let (mut owed, mut entries) = (BTreeMap::new(), Vec::new());
        let mut post = |sqe: Sqe, res: i32| {
            owed.insert(sqe.user_data, res);
            entries.push(sqe);
        };
        let block = self.below(BLOCKS);
        self.memory.put(0, &pattern(block, round));
        self.memory.put(BLOCK, &[0; BLOCK]);
        let off = block * BLOCK as u64;
        // Written, then read back behind it, plain or registered, here or on a worker.
        let flags = [0, FIXED, ASYNC, FIXED | ASYNC][self.below(4) as usize];
        let fd = if flags & FIXED == 0 { self.file } else { 0 };
        let write = sqe::write(fd, self.at(0), BLOCK as u32, off, 1);
        post(sqe::flagged(write, flags | LINK), BLOCK as i32);
        let opcode = if self.below(2) == 0 { op::READ } else { op::READ_FIXED };
        let read = sqe::rw(opcode, fd, self.at(1), BLOCK as u32, off, 2);
        post(sqe::flagged(read, flags), BLOCK as i32);
        // A pipe that is read before it is written.
        let is_fixed = self.below(2) == 0;
        let (fd, flags) = if is_fixed { (1, FIXED) } else { (self.pipe.0, 0) };
        let read = sqe::read(fd, self.at(2), 512, 0, 3);
        post(sqe::flagged(read, flags), 512);
        let write = sqe::write(self.pipe.1, self.at(0), 512, 0, 4);
        post(write, 512);
        // A socket, the same.
        let (fd, flags) = if is_fixed { (2, FIXED) } else { (self.sockets.0, 0) };
        let recv = sqe::rw(op::RECV, fd, self.at(3), 1024, 0, 5);
        post(sqe::flagged(recv, flags), 1024);
        post(sqe::rw(op::SEND, self.sockets.1, self.at(0), 1024, 0, 6), 1024);
        // Time passes, or is called off.
        if self.below(4) == 0 {
            let ms = self.millisecond.addr();
            post(sqe::rw(op::TIMEOUT, -1, ms, 1, 0, 7), ETIME);
        }
        let hour = self.hour.addr();
        post(sqe::rw(op::TIMEOUT, -1, hour, 1, 0, 8), ECANCELED);
        post(sqe::rw(op::TIMEOUT_REMOVE, -1, 8, 0, 0, 9), 0);
        // Somebody waits for what never comes, and is told so.
        let poll = Sqe { op_flags: 2, ..sqe::of_fd(op::POLL_ADD, self.sockets.1, 10) };
        post(poll, ECANCELED);
        post(sqe::rw(op::ASYNC_CANCEL, -1, 10, 0, 0, 11), 0);
        post(sqe::flagged(sqe::nop(12), ASYNC), 0);
        self.ring.push_together(entries);
        self.settle(owed)?;
        self.check(block, round)
    }

    fn settle(&mut self, mut owed: BTreeMap<u64, i32>) -> Outcome {
        let n = owed.len() as u32;
        let wake = if self.is_sqpoll { SQ_WAKEUP } else { 0 };
        let mut left = n;
        while left > 0 {
            left -= must("submit", self.ring.enter(left, 0, wake, 0, 0))?;
        }
        while !owed.is_empty() {
            while let Some(c) = self.ring.reap() {
                expect("the result of each entry", Some(c.res), owed.remove(&c.user_data))
                    .map_err(|why| format!("{why}: {c:?}"))?;
            }
            if !owed.is_empty() {
                must("wait", self.ring.enter(0, 1, GETEVENTS | wake, 0, 0))?;
            }
        }
        Ok(())
    }

    fn check(&self, block: u64, round: u64) -> Outcome {
        let right = pattern(block, round);
        for (what, at, len) in [("file", 1, BLOCK), ("pipe", 2, 512), ("socket", 3, 1024)] {
            if self.memory.get(at * BLOCK, len) != right[..len] {
                return Err(format!("other bytes from the {what} in round {round}"));
            }
        }
        Ok(())
    }
}

/// Works until told to stop. Nobody is left waiting at the barrier: what fails ends the process.
fn worker(n: usize, shared: &Shared) {
    if let Err(why) = work(n, shared) {
        eprintln!("soak-mixed: worker {n}: {why}");
        os::exit_now(1);
    }
}

fn work(n: usize, shared: &Shared) -> Outcome {
    let mut round = 0;
    while !shared.stop.load(Ordering::Acquire) {
        let mut bench = Bench::new(n, round ^ n as u64)?;
        while !shared.pause.load(Ordering::Acquire) {
            round += 1;
            bench.batch(round)?;
            shared.batches.fetch_add(1, Ordering::Relaxed);
            if round % 2000 == 0 {
                bench.close()?;
                bench = Bench::new(n, round)?;
            }
        }
        bench.close()?;
        // In step with main and all others: here everything is dropped, there everybody goes on.
        shared.barrier.wait();
        shared.barrier.wait();
    }
    Ok(())
}

/// Lets the workers work for so long, and says every ten seconds how far they are.
fn wait(ms: u64, shared: &Shared) {
    let now = || os::clock(libc::CLOCK_MONOTONIC) / 1_000_000;
    let start = now();
    let mut told = 0;
    while now() < start + ms {
        let _ = os::poll(-1, 0, 50);
        if (now() - start) / 10_000 > told {
            told += 1;
            println!("soak-mixed, {} batches", shared.batches.load(Ordering::Relaxed));
        }
    }
}

/// Mixed work for so many seconds (60).
pub fn mixed(seconds: &str) -> Outcome {
    os::deadline(0);
    let seconds: u64 = seconds.parse().unwrap_or(60);
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        pause: AtomicBool::new(false),
        barrier: Barrier::new(KINDS.len() + 1),
        batches: AtomicU64::new(0),
    });
    let spawn = |n: usize| {
        let theirs = shared.clone();
        std::thread::spawn(move || worker(n, &theirs))
    };
    let workers: Vec<_> = (0..KINDS.len()).map(spawn).collect();
    let mut history = History::default();
    for (turn, quarters) in SPANS.into_iter().enumerate() {
        wait(seconds * quarters * 250, &shared);
        shared.pause.store(true, Ordering::Release);
        shared.barrier.wait();
        let batches = shared.batches.load(Ordering::Relaxed);
        history.take(&format!("soak-mixed, {batches} batches"))?;
        shared.stop.store(turn + 1 == SPANS.len(), Ordering::Release);
        shared.pause.store(false, Ordering::Release);
        shared.barrier.wait();
    }
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked".to_owned())?;
    }
    expect("work was done", shared.batches.load(Ordering::Relaxed) > 100, true)?;
    history.judge()
}
