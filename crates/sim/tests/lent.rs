//! Watches of plain descriptors that outlive their request.

use ringer_sim::errno::ECANCELED;
use ringer_sim::{Client, Options, Sim, pairs, sqe};

const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;
const MODES: [u32; 2] = [0, SINGLE_ISSUER | DEFER_TASKRUN];
const MS: u64 = 1_000_000;

fn lending() -> Sim {
    Sim::new(Options { lends: true, ..Options::default() })
}

fn racy(seed: u64) -> Sim {
    Sim::new(Options {
        lends: true,
        seed: Some(seed),
        preempt: 3,
        short_reads: 4,
        ..Options::default()
    })
}

/// A read of a pipe that waits and then gets a byte.
fn waits(sim: &Sim, ring: &mut Client, (r, w): (i32, i32), buf: u64, ud: u64) {
    ring.push([sqe::read(r, buf, 1, 0, ud)]);
    ring.submit();
    sim.feed(w, b"x");
    assert_eq!(pairs(&ring.wait(1)), [(ud, 1)]);
}

#[test]
fn the_next_read_waits_in_the_watch_of_the_last() {
    for flags in MODES {
        let sim = lending();
        let mut ring = Client::new(&sim, 8, flags);
        let (ends, buf) = (sim.pipe(), sim.alloc(8));
        waits(&sim, &mut ring, ends, buf, 1);
        assert_eq!(sim.held(), 1, "it went with its request");
        for ud in 2..20 {
            waits(&sim, &mut ring, ends, buf, ud);
            assert_eq!(sim.held(), 1);
        }
    }
}

#[test]
fn without_a_host_that_lends_it_goes_with_its_request() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (ends, buf) = (sim.pipe(), sim.alloc(8));
    waits(&sim, &mut ring, ends, buf, 1);
    assert_eq!(sim.held(), 0);
}

#[test]
fn a_close_that_is_told_ends_it_and_so_does_a_close_by_a_ring() {
    for flags in MODES {
        let sim = lending();
        let (mut ring, mut other) = (Client::new(&sim, 8, flags), Client::new(&sim, 8, 0));
        let buf = sim.alloc(8);
        let ends = sim.pipe();
        waits(&sim, &mut ring, ends, buf, 1);
        waits(&sim, &mut other, ends, buf, 2);
        assert_eq!(sim.held(), 2);
        sim.close(ends.0);
        assert_eq!(sim.held(), 0);
        let ends = sim.pipe();
        waits(&sim, &mut ring, ends, buf, 3);
        waits(&sim, &mut other, ends, buf, 4);
        ring.push([sqe::close(ends.0, 5)]);
        assert_eq!(ring.submit_and_wait(1), 1);
        assert_eq!(pairs(&ring.reap()), [(5, 0)]);
        assert_eq!(sim.held(), 0);
    }
}

#[test]
fn a_request_that_waits_keeps_it_until_its_end() {
    let sim = lending();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
    waits(&sim, &mut ring, (r, w), buf, 1);
    ring.push([sqe::read(r, buf, 1, 0, 2)]);
    ring.submit();
    sim.close(r);
    assert_eq!(sim.held(), 1);
    sim.feed(w, b"y");
    assert_eq!(pairs(&ring.wait(1)), [(2, 1)]);
    assert_eq!(sim.held(), 0);
}

#[test]
fn a_close_that_nobody_tells_is_seen_by_the_next_request_on_the_number() {
    let sim = lending();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
    waits(&sim, &mut ring, (r, w), buf, 1);
    let (new, peer) = sim.pipe();
    sim.move_unseen(new, r);
    ring.push([sqe::read(r, buf, 1, 0, 2)]);
    ring.submit();
    sim.feed(peer, b"z");
    assert_eq!(pairs(&ring.wait(1)), [(2, 1)]);
}

#[test]
fn what_lies_idle_goes_after_a_while() {
    for flags in MODES {
        let sim = lending();
        let mut ring = Client::new(&sim, 8, flags);
        let (ends, buf) = (sim.pipe(), sim.alloc(8));
        for ud in 0..5 {
            waits(&sim, &mut ring, ends, buf, ud);
        }
        sim.sleep(100 * MS);
        assert_eq!(sim.held(), 0);
        waits(&sim, &mut ring, ends, buf, 9);
    }
}

#[test]
fn it_ends_with_its_ring() {
    let sim = lending();
    let mut ring = Client::new(&sim, 8, 0);
    let (ends, more, buf) = (sim.pipe(), sim.pipe(), sim.alloc(8));
    waits(&sim, &mut ring, ends, buf, 1);
    waits(&sim, &mut ring, more, buf, 2);
    ring.push([sqe::read(more.0, buf, 1, 0, 3)]);
    ring.submit();
    sim.close_ring(ring.fd);
    assert_eq!(sim.held(), 0);
}

#[test]
fn a_cancel_leaves_it_for_the_next() {
    let sim = lending();
    let mut ring = Client::new(&sim, 8, 0);
    let (ends, buf) = (sim.pipe(), sim.alloc(8));
    ring.push([sqe::read(ends.0, buf, 1, 0, 1)]);
    ring.submit();
    ring.push([sqe::cancel(1, 0, 2)]);
    ring.submit();
    let mut got = pairs(&ring.wait(2));
    got.sort_unstable();
    assert_eq!(got, [(1, ECANCELED), (2, 0)]);
    waits(&sim, &mut ring, ends, buf, 3);
    assert_eq!(sim.held(), 1);
}

#[test]
fn both_directions_of_a_stream_wait_in_turn() {
    for seed in 0..200 {
        let sim = racy(seed);
        let mut ring = Client::new(&sim, 8, MODES[seed as usize % 2]);
        let ((a, b), buf) = (sim.socketpair(), sim.alloc(8));
        for round in 0..6 {
            ring.push([sqe::recv(a, buf, 4, round)]);
            ring.submit();
            sim.feed(b, b"q");
            assert_eq!(pairs(&ring.wait(1)), [(round, 1)], "seed {seed}");
            ring.push([sqe::send(a, buf, 1, 100 + round)]);
            ring.submit();
            assert_eq!(pairs(&ring.wait(1)), [(100 + round, 1)], "seed {seed}");
            assert_eq!(sim.eat(b, 9).len(), 1);
        }
    }
}
