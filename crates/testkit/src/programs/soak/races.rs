//! A second thread rewrites everything that is shared, while requests run on rings of every kind.
//!
//! ```text
//!  main      push, enter, wait for 1 ms at most ... close while the writer still writes
//!  writer    heads, tails, flags, index array, CQEs | words of SQEs | iovecs, timespecs, buffers
//! ```
//! Every call returns, the process lives, other rings work as ever, and when a ring is gone nothing
//! of it is left. What the requests of such a ring answer is nobody's claim. What is written stays
//! harmless to the program itself: descriptors and addresses are only those of the soak's own world.

use super::super::{Outcome, expect, must};
use super::account::History;
use crate::os::{self, Buf, Errno};
use crate::ring::{EXT_ARG, GETEVENTS, Ring, SQ_WAKEUP, reg, u64s};
use crate::sqe::{self, ASYNC, DRAIN, FIXED, HARDLINK, LINK, op};
use ringer_uapi::flags::Setup;
use ringer_uapi::{Params, Sqe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const KINDS: [Setup; 10] = [
    Setup::empty(),
    Setup::NO_MMAP,
    Setup::SINGLE_ISSUER.union(Setup::DEFER_TASKRUN),
    Setup::SQPOLL,
    Setup::SQE128.union(Setup::CQE32),
    Setup::NO_MMAP.union(Setup::SQPOLL),
    Setup::NO_SQARRAY.union(Setup::SINGLE_ISSUER),
    Setup::IOPOLL,
    Setup::COOP_TASKRUN.union(Setup::TASKRUN_FLAG).union(Setup::SUBMIT_ALL),
    Setup::NO_MMAP.union(Setup::SINGLE_ISSUER).union(Setup::DEFER_TASKRUN),
];
const ENTRIES: u32 = 16;
/// Calls on a ring, and the words that must have been written meanwhile.
const CALLS: usize = 150;
const WRITTEN_MIN: u64 = 2_000;
/// Buffers, iovecs and the like \[bytes\]; a transfer that is longer runs into what nobody may touch.
const ARENA: usize = 64 << 10;
/// More than any file or pipe here holds \[bytes\].
const WALL: usize = 1 << 20;
/// Seconds that a ring may take before the process is ended as hung.
const HUNG_S: u32 = 30;
/// How much more anonymous memory may weigh at the end \[KiB\]: a submission queue whose tail was
/// written far ahead makes as many requests as there is time for, and an allocator keeps the memory
/// of the most there ever were.
const SLACK_KIB: u64 = 256 << 10;
/// Rings before the first account.
const WARM_UP: u64 = 3 * KINDS.len() as u64;

/// xorshift.
#[derive(Clone, Copy)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What all rings share.
struct World {
    arena: Buf,
    file: i32,
    /// No request of a racing ring is of this one.
    right: i32,
    pipe: (i32, i32),
    sockets: (i32, i32),
}

impl World {
    fn new() -> Result<Self, String> {
        let whole = Buf::new(ARENA + WALL).leak();
        let wall = Buf::adopt(whole + ARENA as u64, WALL);
        must("mprotect", wall.protect(libc::PROT_NONE))?;
        wall.leak();
        let nonblocking = |fd| os::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK | libc::O_RDWR);
        let sockets = must("socketpair", os::socketpair(libc::SOCK_STREAM))?;
        must("fcntl", nonblocking(sockets.0))?;
        Ok(Self {
            arena: Buf::adopt(whole, ARENA),
            file: must("file", os::temp_file(&[7; 8192]))?,
            right: must("file", os::temp_file(b"right"))?,
            pipe: must("pipe", os::pipe())?,
            sockets,
        })
    }

    fn register(&self, ring: &Ring) -> Outcome {
        must("files", ring.register_files(&[self.file, self.pipe.0, self.pipe.1, -1]))?;
        let iovs = u64s(&[self.arena.addr(), ARENA as u64]);
        must("buffers", ring.register(reg::BUFFERS, iovs.addr(), 1)).map(drop)
    }

    /// An address that a request may have: of the arena, of the wall, of nothing.
    fn address(&self, rng: &mut Rng) -> u64 {
        match rng.below(16) {
            0 => 0x10,
            1 => self.arena.addr() + ARENA as u64 - 8,
            _ => self.arena.addr() + 8 * rng.below(ARENA / 8) as u64,
        }
    }

    /// An entry, right or wrong.
    fn entry(&self, rng: &mut Rng) -> Sqe {
        let fds = [self.file, self.pipe.0, self.pipe.1, self.sockets.0, self.sockets.1];
        let (fd, addr) = (rng.of(&fds), self.address(rng));
        let len = rng.of(&[0, 1, 8, 64, 4096, 1 << 20]);
        let ud = rng.next();
        const MOVES: [u8; 8] = [
            op::READ,
            op::WRITE,
            op::READV,
            op::WRITEV,
            op::READ_FIXED,
            op::WRITE_FIXED,
            op::RECV,
            op::SEND,
        ];
        let sqe = match rng.below(11) {
            0 => sqe::nop(ud),
            1 => Sqe { op_flags: 1, len: rng.of(&[0, 1]), ..sqe::of_fd(op::POLL_ADD, fd, ud) },
            2 => sqe::rw(rng.of(&[op::TIMEOUT, op::LINK_TIMEOUT]), -1, addr, 1, 0, ud),
            3 => sqe::rw(op::ASYNC_CANCEL, fd, ud, 0, 0, ud),
            4 => sqe::rw(rng.of(&[op::POLL_REMOVE, op::TIMEOUT_REMOVE]), -1, ud, 0, 0, ud),
            5 => sqe::rw(op::SENDMSG, fd, addr, 1, 0, ud),
            6 => Sqe { fd, ..sqe::of(op::FSYNC, ud) },
            7 => sqe::rw(rng.of(&[63, 200, 255]), fd, addr, len, 0, ud),
            _ => sqe::rw(rng.of(&MOVES), fd, addr, len.min(64), rng.of(&[0, 8, 4096]), ud),
        };
        let flags = rng.of(&[0, 0, 0, 0, ASYNC, LINK, HARDLINK, DRAIN, FIXED, 0x80]);
        let fd = if flags == FIXED { rng.of(&[0, 1, 2, 3, 70_000]) } else { sqe.fd };
        sqe::flagged(Sqe { fd, ..sqe }, flags)
    }

    /// A word of an iovec, a timespec, a message header.
    fn word(&self, rng: &mut Rng) -> u64 {
        match rng.below(4) {
            0 => self.address(rng),
            1 => rng.of(&[0, 1, 8, 100, 4096, ARENA as u64]),
            2 => rng.of(&[u64::MAX, 1 << 40, 1 << 63, 999_999_999, 1_000_000_000]),
            _ => 0,
        }
    }
}

/// The pages of a ring, for whoever writes there beside its owner.
struct Pages {
    sq: Buf,
    sqes: Buf,
    params: Params,
}

impl Pages {
    fn of(ring: &Ring) -> Self {
        let adopt = |b: &Buf| Buf::adopt(b.addr(), b.len());
        Self { sq: adopt(&ring.sq), sqes: adopt(&ring.sqes), params: ring.params }
    }

    /// Everything is the ring's again.
    fn leak(self) {
        self.sq.leak();
        self.sqes.leak();
    }

    /// Writes one word somewhere.
    fn scribble(&self, world: &World, rng: &mut Rng) {
        let (sq, cq) = (&self.params.sq_off, &self.params.cq_off);
        let heads = [sq.head, sq.tail, cq.head, cq.tail];
        let rest = [sq.flags, sq.dropped, cq.overflow, cq.flags, sq.ring_mask, cq.ring_entries];
        let any = rng.next() as u32;
        let value = rng.of(&[0, 1, 5, ENTRIES, 1 << 20, u32::MAX, any]);
        match rng.below(16) {
            0 => self.sq.store(rng.of(&heads) as usize, value),
            1 => {
                let at = rng.of(&heads) as usize;
                self.sq.store(at, self.sq.load(at).wrapping_add(value % 4));
            }
            2 => self.sq.store(rng.of(&rest) as usize, value),
            3 => self.sq.store(4 * rng.below(self.sq.len() / 4), value),
            4..8 => {
                let at = sq.array as usize + 4 * rng.below(ENTRIES as usize);
                self.sq.store(at.min(self.sq.len() - 4) & !3, value);
            }
            8..12 => {
                let words = world.entry(rng).to_words();
                let stride = if self.params.flags & Setup::SQE128.bits() != 0 { 128 } else { 64 };
                let (slot, word) = (rng.below(ENTRIES as usize), rng.below(8));
                self.sqes.put64(stride * slot + 8 * word, words[word]);
            }
            _ => world.arena.put64(8 * rng.below(ARENA / 8), world.word(rng)),
        }
    }
}

fn make(kind: Setup) -> Result<Ring, String> {
    for _ in 0..1000 {
        let made = if kind.contains(Setup::NO_MMAP) {
            Ring::in_memory(ENTRIES, (kind - Setup::NO_MMAP).bits())
        } else {
            let params = Params { flags: kind.bits(), sq_thread_idle: 1, ..Params::default() };
            Ring::with(ENTRIES, params)
        };
        match made {
            // The last ones still go away.
            Err(Errno(libc::ENOMEM)) => {
                let _ = os::poll(-1, 0, 5);
            }
            made => return must("setup", made),
        }
    }
    Err("no memory for a ring for five seconds".into())
}

/// A ring lives among races, and ends among them.
fn one(world: &World, seed: u64) -> Outcome {
    os::deadline(HUNG_S);
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let kind = KINDS[seed as usize % KINDS.len()];
    let mut ring = make(kind)?;
    world.register(&ring)?;
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let (pages, mut theirs) = (Pages::of(&ring), Rng(rng.next() | 1));
    std::thread::scope(|s| {
        let writer = s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                pages.scribble(world, &mut theirs);
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        let done = race(world, &mut ring, &mut rng, &written);
        // The ring ends while its memory is still written to.
        let closed = os::close(ring.fd);
        ring.fd = -1;
        for _ in 0..rng.below(20) {
            let _ = os::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        let writer = writer.join().map_err(|_| "the writer panicked".to_owned());
        done.and(must("close", closed).map(drop)).and(writer)
    })?;
    pages.leak();
    drop(ring);
    healthy(world)
}

fn race(world: &World, ring: &mut Ring, rng: &mut Rng, written: &AtomicU64) -> Outcome {
    // A wait of a millisecond at most, whatever the heads say.
    let limit = u64s(&[0, 1_000_000]);
    let wait = u64s(&[0, 0, limit.addr()]);
    let mut calls = 0;
    while calls < CALLS || written.load(Ordering::Relaxed) < WRITTEN_MIN {
        calls += 1;
        let some = rng.below(5) as u32;
        (0..some).for_each(|_| ring.push(world.entry(rng)));
        let answer = match rng.below(8) {
            0 => ring.enter(some, 1, GETEVENTS | EXT_ARG | SQ_WAKEUP, wait.addr(), 24),
            1 => ring.enter(u32::MAX, 0, SQ_WAKEUP, 0, 0),
            2 => ring.enter(0, 0, GETEVENTS, 0, 0),
            _ => ring.enter(some, 0, SQ_WAKEUP, 0, 0),
        };
        // EBUSY, EBADR, ETIME, EAGAIN and the like are what a ring says in such a state.
        if let Err(Errno(libc::EBADF | libc::ENOSYS | libc::EOWNERDEAD | libc::EFAULT)) = answer {
            return Err(format!("a ring answers: {answer:?}"));
        }
    }
    Ok(())
}

/// Others are none the worse for it.
fn healthy(world: &World) -> Outcome {
    let mut ring = must("setup", Ring::new(4, 0))?;
    let page = Buf::new(4096);
    expect("an entry", ring.result(sqe::nop(1)), Ok(0))?;
    for flags in [0, ASYNC] {
        page.fill(0);
        let read = sqe::flagged(sqe::read(world.right, page.addr(), 5, 0, 2), flags);
        expect("a read", ring.result(read), Ok(5))?;
        expect("its bytes", page.get(0, 5), b"right".to_vec())?;
    }
    Ok(())
}

/// Races for so many seconds (60), from a seed on (`SECONDS/SEED`).
pub fn races(how: &str) -> Outcome {
    let (seconds, seed) = how.split_once('/').unwrap_or((how, ""));
    let (seconds, first): (u64, u64) = (seconds.parse().unwrap_or(60), seed.parse().unwrap_or(1));
    let world = World::new()?;
    let mut seed = first;
    let mut run = |count: u64, until: u64| {
        let start = seed;
        while seed < start + count || os::clock(libc::CLOCK_MONOTONIC) < until {
            one(&world, seed).map_err(|why| format!("soak-races 0/{seed}: {why}"))?;
            seed += 1;
            if (seed - first).is_multiple_of(200) {
                println!("soak-races, {} rings", seed - first);
            }
        }
        os::deadline(0);
        Ok::<u64, String>(seed - first)
    };
    if seconds == 0 {
        return run(1, 0).map(drop);
    }
    let mut history = History::default();
    let mut until = os::clock(libc::CLOCK_MONOTONIC);
    for (what, count, quarters) in [("warm", WARM_UP, 0), ("a quarter", 0, 1), ("all", 0, 3)] {
        until = until.max(os::clock(libc::CLOCK_MONOTONIC)) + seconds * quarters * 250_000_000;
        let rings = run(count, until)?;
        history.take(&format!("soak-races, {what}, {rings} rings"))?;
    }
    history.judge_within(SLACK_KIB)
}
