//! Reads of files that are not in the page cache: who reads them, and when.

use ringer_sim::errno::{EBADF, ENOENT};
use ringer_sim::sqe::{ASYNC, LINK, with};
use ringer_sim::{Client, Sim, pairs, sqe};

const MS: u64 = 1_000_000;
const BLOCK: usize = 100;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;

/// A file of so many blocks, each filled with its number, of which nothing is cached.
fn cold_file(sim: &Sim, blocks: usize) -> i32 {
    let data: Vec<u8> = (0..blocks * BLOCK).map(|at| (at / BLOCK) as u8).collect();
    sim.file(&data, 0)
}

fn block(fd: i32, buf: u64, n: usize) -> ringer_uapi::Sqe {
    let at = (n * BLOCK) as u64;
    sqe::read(fd, buf + at, BLOCK as u32, at, n as u64)
}

#[test]
fn who_waits_for_nothing_else_reads_without_a_worker() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (cold_file(&sim, 8), sim.alloc(4096));
    assert_eq!(ring.run((0..8).map(|n| block(fd, buf, n)), 8).len(), 8);
    assert_eq!(sim.read(buf + 700, BLOCK), [7; BLOCK]);
    assert_eq!((sim.threads(), sim.held()), (1, 0), "only the reactor");
}

#[test]
fn all_end_however_they_are_waited_for() {
    for seed in 0..300 {
        let sim = Sim::nasty(seed);
        let flags = if seed % 2 == 0 { SINGLE_ISSUER | DEFER_TASKRUN } else { 0 };
        let mut ring = Client::new(&sim, 16, flags);
        let (fd, buf) = (cold_file(&sim, 16), sim.alloc(16 * BLOCK));
        ring.push((0..16).map(|n| block(fd, buf, n)));
        ring.submit();
        let mut got = Vec::new();
        while got.len() < 16 {
            let left = 16 - got.len() as u32;
            got.extend(ring.wait(left.min(1 + (seed % 3) as u32)));
            sim.sleep(seed % 5 * MS / 2);
        }
        for n in 0..16 {
            assert_eq!(sim.read(buf + (n * BLOCK) as u64, BLOCK), vec![n as u8; BLOCK]);
        }
        assert_eq!((ring.in_flight(), sim.held()), (0, 0), "seed {seed}");
    }
}

#[test]
fn nobody_has_to_wait_for_them() {
    for seed in 0..100 {
        let sim = Sim::nasty(seed);
        let mut ring = Client::new(&sim, 8, 0);
        let (fd, buf) = (cold_file(&sim, 8), sim.alloc(4096));
        ring.push((0..8).map(|n| block(fd, buf, n)));
        ring.submit();
        sim.sleep(200 * MS);
        assert_eq!(ring.reap().len(), 8, "seed {seed}");
        // The next ones do not have to wait for a tick first.
        let fd = cold_file(&sim, 8);
        ring.push((0..8).map(|n| block(fd, buf, n)));
        ring.submit();
        sim.sleep(200 * MS);
        assert_eq!(ring.reap().len(), 8, "seed {seed}");
    }
}

#[test]
fn a_timeout_that_is_near_is_kept() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (cold_file(&sim, 8), sim.alloc(4096));
    ring.push([block(fd, buf, 0)]);
    ring.submit();
    let before = sim.now();
    let _ = ring.wait_ns(&sim, 2, MS);
    assert!(sim.now() - before < 2 * MS);
    sim.sleep(50 * MS);
    assert_eq!(pairs(&ring.reap()), [(0, 100)]);
}

#[test]
fn what_else_is_waited_for_is_not_late() {
    for seed in 0..100 {
        let sim = Sim::nasty(seed);
        let mut ring = Client::new(&sim, 8, 0);
        let (fd, buf, (r, w)) = (cold_file(&sim, 8), sim.alloc(4096), sim.pipe());
        sim.feed_later(MS, w, b"x");
        let reads = (0..4).map(|n| block(fd, buf, n));
        let pipe = sqe::read(r, buf + 2000, 1, u64::MAX, 9);
        let mut got = pairs(&ring.run(reads.chain([pipe]), 5));
        got.sort_unstable();
        assert_eq!(got, [(0, 100), (1, 100), (2, 100), (3, 100), (9, 1)], "seed {seed}");
    }
}

#[test]
fn a_close_behind_it_in_the_batch_takes_no_file_away() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 16, 0);
    let (fd, buf) = (cold_file(&sim, 8), sim.alloc(4096));
    let reads = (0..3).map(|n| block(fd, buf, n));
    let mut got = pairs(&ring.run(reads.chain([sqe::close(fd, 20), block(fd, buf, 7)]), 5));
    got.sort_unstable();
    assert_eq!(got, [(0, 100), (1, 100), (2, 100), (7, EBADF), (20, 0)]);
    assert_eq!(sim.held(), 0);
}

#[test]
fn a_chain_goes_on_behind_it() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (cold_file(&sim, 8), sim.alloc(4096));
    let chain = [with(LINK, block(fd, buf, 0)), with(LINK | ASYNC, block(fd, buf, 4)), sqe::nop(9)];
    assert_eq!(pairs(&ring.run(chain, 3)), [(0, 100), (4, 100), (9, 0)]);
}

#[test]
fn no_cancel_finds_what_waits_for_pages() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (cold_file(&sim, 8), sim.alloc(4096));
    ring.push([block(fd, buf, 1)]);
    ring.submit();
    assert_eq!(pairs(&ring.run([sqe::cancel(1, 0, 9)], 1)), [(9, ENOENT)]);
    assert_eq!(pairs(&ring.wait(1)), [(1, 100)]);
}

#[test]
fn a_ring_that_is_closed_ends_them() {
    for seed in 0..200 {
        let sim = Sim::nasty(seed);
        let mut ring = Client::new(&sim, 16, 0);
        let (fd, buf) = (cold_file(&sim, 16), sim.alloc(16 * BLOCK));
        ring.push((0..16).map(|n| block(fd, buf, n)));
        ring.submit();
        sim.close_ring(ring.fd);
        // A worker that comes to one that was cancelled finds nothing.
        sim.sleep(10 * MS);
        assert_eq!((sim.held(), sim.ring_objects()), (0, 0), "seed {seed}");
    }
}
