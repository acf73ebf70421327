//! Random programs: every request posts exactly the completions it owes, whatever the interleaving.
//!
//! A program is chains of random entries in random batches; the world feeds its pipes at random
//! times, transfers short, interrupts waits and preempts threads. What is checked needs no model of
//! the engine: each user_data once, members of a chain in order, nothing after a broken link but
//! `ECANCELED`, reads of files exact, nothing left over.

use ringer_sim::errno::{EBADF, ECANCELED, EINTR, EINVAL, EIO, ENOMEM, ETIME};
use ringer_sim::sqe::{ASYNC, DRAIN, FIXED, HARD, LINK, SKIP, with};
use ringer_sim::{Client, Rng, Sim, sqe};
use ringer_uapi::{Cqe, Errno, Sqe};
use std::collections::HashMap;

const SQPOLL: u32 = 2;
const SQ_WAKEUP: u32 = 2;
const MS: u64 = 1_000_000;
const FILE: usize = 700;
const MSG_WAITALL: u32 = 0x100;

/// How many seeds: more of them by `RINGER_SIM_SEEDS`.
fn seeds() -> std::ops::Range<u64> {
    let n = std::env::var("RINGER_SIM_SEEDS").ok().and_then(|s| s.parse().ok());
    0..n.unwrap_or(200)
}

/// What a completion of an entry may say.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owes {
    Exactly(i32),
    /// A read of the file at (offset, length).
    File(usize, usize),
    Bytes(i32),
    /// A write to a pipe whose end the program closes at some time.
    Sent(i32),
    Poll,
    Timeout,
    Cancel,
    LinkTimeout,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    sqe: Sqe,
    owes: Owes,
}

struct World {
    file: i32,
    pipes: Vec<(i32, i32)>,
    sockets: (i32, i32),
    buf: u64,
    rng: Rng,
    skips: bool,
}

impl World {
    fn new(sim: &Sim, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xfeed);
        let data: Vec<u8> = (0..FILE).map(|i| i as u8).collect();
        let file = sim.file(&data, rng.below(FILE + 1));
        let pipes = (0..3).map(|_| sim.pipe()).collect();
        let sockets = sim.socketpair();
        Self { file, pipes, sockets, buf: sim.alloc(4096), rng, skips: seed.is_multiple_of(4) }
    }

    fn pipe(&mut self) -> (i32, i32) {
        let at = self.rng.below(self.pipes.len());
        self.pipes[at]
    }

    /// A descriptor for slot or number of the same file.
    fn pick_fixed(&mut self, slot: i32, sqe: Sqe) -> Sqe {
        if self.rng.one_in(3) { with(FIXED, Sqe { fd: slot, ..sqe }) } else { sqe }
    }

    fn entry(&mut self, sim: &Sim, ud: u64) -> Entry {
        let len = 1 + self.rng.below(200);
        let (sqe, owes) = match self.rng.below(13) {
            0 => (sqe::nop(ud), Owes::Exactly(0)),
            1 => (sqe::nop_with(EIO, ud), Owes::Exactly(EIO)),
            2 | 3 => {
                let off = self.rng.below(FILE + 20);
                let s = sqe::read(self.file, self.buf, len as u32, off as u64, ud);
                (self.pick_fixed(0, s), Owes::File(off, len))
            }
            4 => {
                let at = self.rng.below(self.pipes.len());
                let s = sqe::read(self.pipes[at].0, self.buf, len as u32, 0, ud);
                (self.pick_fixed(at as i32 + 1, s), Owes::Bytes(len as i32))
            }
            5 => {
                let n = 1 + self.rng.below(20) as u32;
                (sqe::write(self.pipe().1, self.buf, n, 0, ud), Owes::Sent(n as i32))
            }
            6 => (sqe::poll(self.pipe().0, 1, ud), Owes::Poll),
            7 => {
                let ts = sim.timespec(self.rng.below(20) as u64 * MS / 2);
                (sqe::timeout(ts, self.rng.below(3) as u32, ud), Owes::Timeout)
            }
            8 => {
                // By user_data, all of that, or simply everything.
                let flags = *[0, 0, 0, 1, 4].get(self.rng.below(5)).unwrap_or(&0);
                (sqe::cancel(self.rng.below(ud as usize + 1) as u64, flags, ud), Owes::Cancel)
            }
            9 => {
                let s = sqe::recv(self.sockets.0, self.buf, len as u32, ud);
                let op_flags = if self.rng.one_in(2) { MSG_WAITALL } else { 0 };
                (Sqe { op_flags, ..s }, Owes::Bytes(len as i32))
            }
            10 => (sqe::send(self.sockets.1, self.buf, 30, ud), Owes::Sent(30)),
            11 => {
                let target = self.rng.below(ud as usize + 1) as u64;
                match self.rng.one_in(2) {
                    true => (sqe::poll_remove(target, ud), Owes::Cancel),
                    false => (sqe::timeout_remove(target, ud), Owes::Cancel),
                }
            }
            _ => match self.rng.below(8) {
                0 => (Sqe { opcode: 99, ..sqe::nop(ud) }, Owes::Exactly(EINVAL)),
                _ => (sqe::fsync(self.file, ud), Owes::Exactly(0)),
            },
        };
        let flags = if self.rng.one_in(5) { ASYNC } else { 0 };
        Entry { sqe: with(flags, sqe), owes }
    }

    /// A chain: entries from user_data `first` on.
    fn chain(&mut self, sim: &Sim, first: u64) -> Vec<Entry> {
        let n = if self.rng.one_in(2) { 1 } else { 1 + self.rng.below(4) };
        let mut chain: Vec<Entry> = Vec::new();
        for i in 0..n {
            let ud = first + chain.len() as u64;
            let mut e = self.entry(sim, ud);
            if i + 1 < n {
                e.sqe.flags |= if self.rng.one_in(3) { HARD } else { LINK };
            }
            if self.skips && self.rng.one_in(4) {
                e.sqe.flags |= SKIP;
            } else if !self.skips && self.rng.one_in(12) {
                e.sqe.flags |= DRAIN;
            }
            chain.push(e);
            if i + 1 < n && e.sqe.opcode != 99 && self.rng.one_in(4) {
                let ts = sim.timespec(self.rng.below(6) as u64 * MS);
                let lt = with(LINK, sqe::link_timeout(ts, ud + 1));
                chain.push(Entry { sqe: lt, owes: Owes::LinkTimeout });
            }
        }
        if let Some(last) = chain.last_mut() {
            last.sqe.flags &= !(LINK | HARD);
        }
        chain
    }
}

fn fails(e: &Entry, res: i32) -> bool {
    let short = match e.sqe.opcode {
        22 | 23 => res != e.sqe.len as i32,
        27 => e.sqe.op_flags & MSG_WAITALL != 0 && res != e.sqe.len as i32,
        _ => false,
    };
    res < 0 || short
}

fn check_result(e: &Entry, res: i32) -> bool {
    if res == ECANCELED {
        return true;
    }
    match e.owes {
        Owes::Exactly(r) => res == r,
        // Less is what it had when it was cancelled.
        Owes::File(off, len) => {
            let all = FILE.saturating_sub(off).min(len) as i32;
            res == all || (1..all).contains(&res) || res == EINTR
        }
        Owes::Bytes(max) => (0..=max).contains(&res) || res == EINTR,
        Owes::Sent(max) => (1..=max).contains(&res) || res == EINTR || res == EBADF,
        Owes::Poll => res > 0 || res == ENOMEM,
        Owes::Timeout => res == ETIME || res == 0,
        Owes::Cancel => res >= 0 || [-2, -114].contains(&res),
        Owes::LinkTimeout => [ETIME, -2, -114].contains(&res),
    }
}

/// Checks one chain against the completions: user_data to (when, result).
fn check_chain(chain: &[Entry], got: &HashMap<u64, (usize, i32)>) {
    let bad = chain.iter().any(|e| e.sqe.opcode == 99);
    let mut last = 0;
    let mut broken = false;
    let mut quiet = false;
    for e in chain {
        let ud = e.sqe.user_data;
        let skip = e.sqe.flags & SKIP != 0;
        let Some(&(when, res)) = got.get(&ud) else {
            assert!(skip || quiet || skip_before(chain, ud), "{ud} posted nothing: {chain:?}");
            continue;
        };
        assert!(check_result(e, res), "{ud} says {res}: {e:?}");
        if e.owes == Owes::LinkTimeout {
            continue;
        }
        assert!(when + 1 > last, "{ud} overtook its chain: {chain:?} {got:?}");
        last = when + 1;
        if bad {
            assert!(res == ECANCELED || e.sqe.opcode == 99, "{ud} ran in a bad chain: {res}");
            continue;
        }
        if broken {
            assert_eq!(res, ECANCELED, "{ud} ran behind a broken link: {chain:?}");
        }
        if fails(e, res) && e.sqe.flags & HARD == 0 {
            let timeout_next = chain.iter().any(|n| n.sqe.user_data == ud + 1);
            broken |= e.sqe.flags & LINK != 0 && timeout_next;
            quiet |= skip;
        }
    }
}

/// Whether a member before this one may have failed with CQE_SKIP, which silences the rest.
fn skip_before(chain: &[Entry], ud: u64) -> bool {
    chain.iter().any(|e| e.sqe.flags & SKIP != 0 && (e.sqe.user_data < ud || e.sqe.opcode == 99))
}

/// Submits all that is queued, waking the submission thread if there is one.
fn submit_all(sim: &Sim, ring: &Client) {
    while ring.queued() > 0 {
        ring.enter(ring.queued(), 0, SQ_WAKEUP).expect("submit");
        if ring.params.flags & SQPOLL != 0 {
            sim.sleep(MS / 4);
        }
    }
}

/// The application does one of the things that applications do between two batches.
fn linger(sim: &Sim, world: &mut World, ring: &Client) {
    let ns = world.rng.below(4) as u64 * MS;
    match world.rng.below(4) {
        0 => sim.sleep(ns),
        1 => sim.run_workers(),
        _ => match ring.wait_ns(sim, 1 + world.rng.below(20) as u32, ns) {
            Ok(_) | Err(Errno::ETIME | Errno::EINTR) => {}
            Err(e) => panic!("wait: {e}"),
        },
    }
}

fn run(seed: u64, setup: u32) {
    let sim = Sim::nasty(seed);
    let mut world = World::new(&sim, seed);
    let mut ring = Client::new(&sim, 16, setup);
    let slots: Vec<i32> =
        std::iter::once(world.file).chain(world.pipes.iter().map(|p| p.0)).collect();
    sim.register(ring.fd, 2, sim.fds(&slots), slots.len() as u32).expect("files");
    for _ in 0..6 {
        let (t, w) = (world.rng.below(12) as u64 * MS, world.pipe().1);
        sim.feed_later(t, w, b"some bytes from elsewhere");
    }
    let mut chains = Vec::new();
    let mut next = 1u64;
    let mut cqes: Vec<Cqe> = Vec::new();
    for _ in 0..4 {
        let mut batch = 0;
        while batch < 10 {
            let chain = world.chain(&sim, next);
            if batch + chain.len() > 16 {
                break;
            }
            next += chain.len() as u64;
            batch += chain.len();
            ring.push(chain.iter().map(|e| e.sqe));
            chains.push(chain);
        }
        submit_all(&sim, &ring);
        if world.rng.one_in(2) {
            cqes.extend(ring.reap());
        }
        linger(&sim, &mut world, &ring);
    }
    // Whatever still waits for a pipe sees its end.
    for (_, w) in world.pipes.clone() {
        sim.close(w);
    }
    sim.close(world.sockets.1);
    for _ in 0..60 {
        ring.poke();
        cqes.extend(ring.reap());
        sim.sleep(MS);
    }
    let mut got = HashMap::new();
    for (when, c) in cqes.iter().enumerate() {
        assert_eq!(got.insert(c.user_data, (when, c.res)), None, "{} posted twice", c.user_data);
    }
    assert!(got.keys().all(|ud| (1..next).contains(ud)), "completions of nobody");
    for chain in &chains {
        check_chain(chain, &got);
    }
    assert_eq!(ring.in_flight(), 0, "requests were left over");
    sim.register(ring.fd, 3, 0, 0).expect("unregister");
    assert_eq!(sim.held(), 0, "files were left over");
    sim.close_ring(ring.fd);
}

fn over_seeds(setup: u32) {
    for seed in seeds() {
        let r = std::panic::catch_unwind(|| run(seed, setup));
        assert!(r.is_ok(), "seed {seed} of setup {setup:#x} failed (see above)");
    }
}

#[test]
fn every_request_posts_exactly_what_it_owes() {
    over_seeds(0);
}

#[test]
fn every_request_posts_exactly_what_it_owes_with_deferred_completions() {
    over_seeds(1 << 12 | 1 << 13);
}

#[test]
fn every_request_posts_exactly_what_it_owes_with_submit_all() {
    over_seeds(1 << 7);
}

#[test]
fn every_request_posts_exactly_what_it_owes_to_a_submission_thread() {
    over_seeds(SQPOLL);
}

#[test]
fn closing_a_ring_in_the_middle_of_anything_leaves_nothing() {
    for seed in seeds() {
        let sim = Sim::nasty(seed);
        let mut world = World::new(&sim, seed);
        let mut ring = Client::new(&sim, 16, 0);
        let slots: Vec<i32> =
            std::iter::once(world.file).chain(world.pipes.iter().map(|p| p.0)).collect();
        sim.register(ring.fd, 2, sim.fds(&slots), slots.len() as u32).expect("files");
        let mut next = 1;
        for _ in 0..4 {
            let chain = world.chain(&sim, next);
            next += chain.len() as u64;
            ring.push(chain.iter().map(|e| e.sqe));
            submit_all(&sim, &ring);
        }
        linger(&sim, &mut world, &ring);
        sim.close_ring(ring.fd);
        sim.sleep(20 * MS);
        assert_eq!(sim.held(), 0, "seed {seed}");
    }
}
