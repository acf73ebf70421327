//! Threads and descriptors that are not to be had: who is left does the work.

use ringer_sim::{Client, Options, Sim, pairs, sqe};
use ringer_uapi::Errno;

const EXT_ARG: u32 = 8;
const GETEVENTS: u32 = 1;
const MS: u64 = 1_000_000;
const SEEDS: u64 = 100;

fn racy(seed: u64) -> Sim {
    Sim::new(Options { seed: Some(seed), preempt: 3, ..Options::default() })
}

#[test]
fn without_a_reactor_a_sleeper_leads_what_is_submitted_beside_it() {
    for seed in 0..SEEDS {
        let sim = racy(seed);
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf, fd) = (sim.pipe(), sim.alloc(8), ring.fd);
        sim.no_threads(u32::MAX);
        // Nothing waits for readiness yet: the waiter has nothing to lead.
        let waiter = sim.start(move |e| e.enter(fd, 0, 1, GETEVENTS, 0, 0));
        sim.run_workers();
        ring.push([sqe::read(r, buf, 4, 0, 1)]);
        ring.submit();
        sim.feed(w, b"data");
        assert_eq!(waiter.join(), Ok(0), "seed {seed}");
        assert_eq!(pairs(&ring.reap()), [(1, 4)], "seed {seed}");
    }
}

#[test]
fn without_a_reactor_who_leaves_a_wait_hands_the_lead_over() {
    for seed in 0..SEEDS {
        let sim = racy(seed);
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf, fd) = (sim.pipe(), sim.alloc(8), ring.fd);
        sim.no_threads(u32::MAX);
        ring.push([sqe::read(r, buf, 4, 0, 1)]);
        ring.submit();
        let arg = sim.words(&[0, 0, sim.timespec(2 * MS)]);
        let short = sim.start(move |e| e.enter(fd, 0, 1, GETEVENTS | EXT_ARG, arg, 24));
        sim.run_workers();
        let long = sim.start(move |e| e.enter(fd, 0, 1, GETEVENTS, 0, 0));
        sim.feed_later(20 * MS, w, b"data");
        assert_eq!(short.join(), Err(Errno::ETIME), "seed {seed}");
        assert_eq!(long.join(), Ok(0), "seed {seed}");
        assert_eq!(pairs(&ring.reap()), [(1, 4)], "seed {seed}");
    }
}

#[test]
fn a_reactor_that_could_not_be_made_is_made_later() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(16));
    sim.no_threads(1);
    ring.push([sqe::read(r, buf, 4, 0, 1)]);
    ring.submit();
    sim.feed(w, b"data");
    sim.sleep(20 * MS);
    assert_eq!(ring.ready(), 0, "nobody is there to look");
    // The next request that has to wait finds that nobody cares, and a thread can be had again.
    let (s, x) = sim.pipe();
    ring.push([sqe::read(s, buf + 8, 4, 0, 2)]);
    ring.submit();
    sim.sleep(20 * MS);
    sim.feed(x, b"more");
    sim.sleep(20 * MS);
    assert_eq!(pairs(&ring.reap()), [(1, 4), (2, 4)]);
    assert_eq!(sim.threads(), 1);
}

#[test]
fn who_leaves_a_ring_that_nobody_cares_for_finds_somebody() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(16));
    sim.no_threads(1);
    ring.push([sqe::read(r, buf, 4, 0, 1)]);
    ring.submit();
    assert_eq!(ring.wait_ns(&sim, 1, 5 * MS), Err(Errno::ETIME));
    sim.feed(w, b"data");
    sim.sleep(20 * MS);
    assert_eq!(pairs(&ring.reap()), [(1, 4)]);
}

#[test]
fn a_reactor_that_cannot_watch_a_ring_looks_at_every_tick() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
    sim.no_nesting();
    ring.push([sqe::read(r, buf, 4, 0, 1)]);
    ring.submit();
    sim.sleep(20 * MS);
    sim.feed(w, b"data");
    sim.sleep(2 * MS);
    assert_eq!(pairs(&ring.reap()), [(1, 4)]);
}
