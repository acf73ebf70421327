//! Rings made and dropped: every setup, sets registered or not, requests in flight, five ways to go.

use super::super::{Outcome, expect, must};
use super::account::History;
use crate::os::{self, Buf, Errno};
use crate::ring::{GETEVENTS, Ring, SQ_WAKEUP, reg, u64s};
use crate::sqe::{self, ASYNC, FIXED, LINK, op};
use ringer_uapi::flags::Setup;
use ringer_uapi::{Params, Sqe};

/// Setup flags of the rings, in turn.
const KINDS: [Setup; 9] = [
    Setup::empty(),
    Setup::SUBMIT_ALL.union(Setup::CLAMP),
    Setup::SINGLE_ISSUER.union(Setup::DEFER_TASKRUN),
    Setup::COOP_TASKRUN.union(Setup::TASKRUN_FLAG),
    Setup::SQE128.union(Setup::CQE32),
    Setup::NO_MMAP,
    Setup::SQPOLL,
    Setup::NO_SQARRAY.union(Setup::SINGLE_ISSUER),
    Setup::IOPOLL,
];
/// Rings that may be on their way out at once: how far a pool grows is not a matter of luck then.
const TOGETHER: u64 = 64;
/// Rings before the first account, or as many as come after it: every kind with every way to go,
/// several times.
const WARM_UP: u64 = 900;
/// Rings held at once before that, with everything in flight: more than ever go away at once later.
/// Those in memory of ours are fewer, [`MEMORY_PEAK`].
const PEAK: u64 = 2 * TOGETHER;
const MEMORY_PEAK: u64 = 56;
/// Parts of the work that are told of.
const STEPS: u64 = 12;

/// What the rings share.
struct World {
    file: i32,
    pipe: (i32, i32),
    sockets: (i32, i32),
    page: Buf,
    hour: Buf,
}

impl World {
    fn new() -> Result<Self, String> {
        Ok(Self {
            file: must("file", os::temp_file(&[7; 8192]))?,
            pipe: must("pipe", os::pipe())?,
            sockets: must("socketpair", os::socketpair(libc::SOCK_STREAM))?,
            page: Buf::new(8192),
            hour: u64s(&[3600, 0]),
        })
    }

    /// Requests that never end by themselves, and some that do.
    fn entries(&self) -> [Sqe; 10] {
        let (r, a, buf) = (self.pipe.0, self.sockets.0, self.page.addr());
        let hour = |opcode, ud| sqe::rw(opcode, -1, self.hour.addr(), 1, 0, ud);
        let poll =
            |fd, multi, ud| Sqe { op_flags: 1, len: multi, ..sqe::of_fd(op::POLL_ADD, fd, ud) };
        [
            sqe::nop(1),
            sqe::read(r, buf, 64, 0, 2),
            sqe::flagged(sqe::read(r, buf, 64, 0, 3), ASYNC),
            poll(a, 0, 4),
            poll(r, 1, 5),
            hour(op::TIMEOUT, 6),
            sqe::flagged(sqe::read(self.file, buf, 512, 0, 7), ASYNC),
            sqe::rw(op::RECV, a, buf, 64, 0, 8),
            sqe::flagged(sqe::rw(op::RECV, a, buf, 64, 0, 9), LINK),
            hour(op::LINK_TIMEOUT, 10),
        ]
    }

    fn register(&self, ring: &Ring) -> Outcome {
        let files = [self.file, self.pipe.0, self.pipe.1, self.sockets.0, -1];
        must("files", ring.register_files(&files))?;
        let iovs = u64s(&[self.page.addr(), 4096, self.page.addr() + 4096, 4096]);
        must("buffers", ring.register(reg::BUFFERS, iovs.addr(), 2)).map(drop)
    }
}

/// A ring; where the last one of its kind still goes away, memory for it may be short.
fn make(kind: Setup) -> Result<Ring, String> {
    for _ in 0..1000 {
        let made = if kind.contains(Setup::NO_MMAP) {
            Ring::in_memory(16, (kind - Setup::NO_MMAP).bits())
        } else {
            let params = Params { flags: kind.bits(), sq_thread_idle: 1, ..Params::default() };
            Ring::with(16, params)
        };
        match made {
            Err(Errno(libc::ENOMEM | libc::EMFILE)) => {
                let _ = os::poll(-1, 0, 5);
            }
            made => return must("setup", made),
        }
    }
    Err("no memory for a ring for five seconds".into())
}

/// The setup of the `i`th ring; always the same if one kind is asked for.
fn kind(i: u64, only: Option<usize>) -> Setup {
    KINDS[only.unwrap_or(i as usize) % KINDS.len()]
}

/// The `i`th ring lives and goes.
fn one(world: &World, i: u64, only: Option<usize>) -> Outcome {
    let turn = i / KINDS.len() as u64;
    leave(live(world, kind(i, only), turn)?, turn)
}

/// As many rings as are ever there at once, and all their requests.
fn peak(world: &World, only: Option<usize>) -> Outcome {
    let in_memory = only.is_some_and(|_| kind(0, only).contains(Setup::NO_MMAP));
    let count = if in_memory { MEMORY_PEAK } else { PEAK };
    let rings: Result<Vec<_>, _> = (0..count).map(|i| live(world, kind(i, only), 0)).collect();
    // What a process has from the first request on that waits for a file; rings that poll have none.
    let mut waits = make(Setup::empty())?;
    let poll = sqe::of_fd(op::POLL_ADD, world.pipe.0, 1);
    waits.push(Sqe { op_flags: libc::POLLIN as u32, ..poll });
    must("submit", waits.enter(1, 0, 0, 0, 0))?;
    rings.map(drop)
}

/// A ring with requests in flight, or not, as its turn wants it.
fn live(world: &World, kind: Setup, turn: u64) -> Result<Ring, String> {
    let mut ring = make(kind)?;
    if turn.is_multiple_of(2) {
        world.register(&ring)?;
    }
    if turn % 3 != 2 {
        for (n, mut sqe) in world.entries().into_iter().enumerate() {
            if turn.is_multiple_of(2) && n == 6 {
                sqe = sqe::flagged(Sqe { fd: 0, ..sqe }, FIXED);
            }
            ring.push(sqe);
        }
        let flags = if kind.contains(Setup::SQPOLL) { SQ_WAKEUP } else { 0 };
        must("submit", ring.enter(10, 0, flags | GETEVENTS, 0, 0))?;
        let first = must("the NOP", ring.wait())?;
        expect("a request that ends", (1..=10).contains(&first.user_data), true)?;
        while ring.reap().is_some() {}
    }
    Ok(ring)
}

/// Five ways to go.
fn leave(mut ring: Ring, turn: u64) -> Outcome {
    match turn % 5 {
        0 => {}
        1 => {
            // Unmapped first, then closed.
            let fd = std::mem::replace(&mut ring.fd, -1);
            drop(ring);
            return must("close", os::close(fd)).map(drop);
        }
        2 => {
            ring.push(Sqe { op_flags: 1 | 4, ..sqe::of(op::ASYNC_CANCEL, 11) });
            must("cancel", ring.enter(1, 0, SQ_WAKEUP | GETEVENTS, 0, 0))?;
        }
        3 => {
            // ENXIO: this one had no sets.
            let _ = ring.register(reg::UNREGISTER_FILES, 0, 0);
            let _ = ring.register(reg::UNREGISTER_BUFFERS, 0, 0);
        }
        _ => {
            // By a duplicate, which goes last.
            let copy = must("dup", os::dup(ring.fd))?;
            drop(ring);
            return must("close", os::close(copy)).map(drop);
        }
    }
    drop(ring);
    Ok(())
}

/// So many rings (10,000) come and go; afterwards everything is back. `COUNT/N` makes them all of
/// the Nth kind, to find out whose leak it is.
pub fn rings(count: &str) -> Outcome {
    os::deadline(0);
    let (count, only) = count.split_once('/').unwrap_or((count, ""));
    let count: u64 = count.parse().unwrap_or(10_000);
    let only: Option<usize> = only.parse().ok();
    let world = World::new()?;
    peak(&world, only)?;
    (0..WARM_UP.min(count)).try_for_each(|i| one(&world, i, only))?;
    let mut history = History::default();
    history.take("soak-rings, warm")?;
    let (mut done, quarter) = (0, count.div_ceil(4));
    for until in [quarter, count] {
        for i in done..until {
            one(&world, i, only)?;
            if i.is_multiple_of(TOGETHER) {
                history.wait_for_descriptors()?;
            }
            if i % count.div_ceil(STEPS) == 1 {
                println!("soak-rings, {i} of {count} rings");
            }
        }
        done = until;
        history.take(&format!("soak-rings, {done} of {count} rings"))?;
    }
    must("close", os::close(world.pipe.1))?;
    expect("nobody keeps the pipe's end", os::read(world.pipe.0, &mut [0]), Ok(0))?;
    history.judge()
}
