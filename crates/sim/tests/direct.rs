//! `O_DIRECT` transfers, which the host carries out while no thread waits in them.

use ringer_sim::errno::{EBADF, ENOENT};
use ringer_sim::sqe::{LINK, with};
use ringer_sim::{Client, Sim, pairs, sqe};

const MS: u64 = 1_000_000;
const BLOCK: usize = 512;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;

/// A file of so many blocks, each filled with its number.
fn direct_file(sim: &Sim, blocks: usize) -> i32 {
    let data: Vec<u8> = (0..blocks * BLOCK).map(|at| (at / BLOCK) as u8).collect();
    let fd = sim.file(&data, 0);
    sim.make_direct(fd);
    fd
}

fn block(fd: i32, buf: u64, n: usize) -> ringer_uapi::Sqe {
    sqe::read(fd, buf + (n * BLOCK) as u64, BLOCK as u32, (n * BLOCK) as u64, n as u64)
}

#[test]
fn a_transfer_needs_no_thread() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (direct_file(&sim, 4), sim.alloc(4096));
    assert_eq!(pairs(&ring.run([block(fd, buf, 3)], 1)), [(3, 512)]);
    assert_eq!(sim.read(buf + 3 * 512, 512), [3; 512]);
    assert_eq!((sim.count("readv"), sim.threads()), (0, 1), "only the reactor");
}

#[test]
fn more_than_there_is_room_for_end_all_the_same() {
    for seed in 0..200 {
        let sim = Sim::nasty(seed);
        let flags = if seed % 2 == 0 { SINGLE_ISSUER | DEFER_TASKRUN } else { 0 };
        let mut ring = Client::new(&sim, 16, flags);
        let (fd, buf) = (direct_file(&sim, 16), sim.alloc(16 * BLOCK));
        let mut got = pairs(&ring.run((0..16).map(|n| block(fd, buf, n)), 16));
        got.sort_unstable();
        let want: Vec<_> = (0..16).map(|n| (n, 512)).collect();
        assert_eq!(got, want, "seed {seed}");
        for n in 0..16 {
            assert_eq!(sim.read(buf + (n * BLOCK) as u64, BLOCK), vec![n as u8; BLOCK]);
        }
        assert_eq!((ring.in_flight(), sim.held()), (0, 0), "seed {seed}");
    }
}

#[test]
fn nobody_has_to_call_for_their_ends() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (direct_file(&sim, 8), sim.alloc(4096));
    ring.push((0..8).map(|n| block(fd, buf, n)));
    ring.submit();
    sim.sleep(50 * MS);
    assert_eq!(ring.reap().len(), 8);
}

#[test]
fn a_close_behind_it_in_the_batch_takes_no_file_away() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 16, 0);
    let (fd, buf) = (direct_file(&sim, 8), sim.alloc(4096));
    let reads = (0..6).map(|n| block(fd, buf, n));
    let mut got = pairs(&ring.run(reads.chain([sqe::close(fd, 20), block(fd, buf, 7)]), 8));
    got.sort_unstable();
    assert_eq!(
        got,
        [(0, 512), (1, 512), (2, 512), (3, 512), (4, 512), (5, 512), (7, EBADF), (20, 0)]
    );
}

#[test]
fn a_chain_goes_on_when_the_transfer_has_ended() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (direct_file(&sim, 8), sim.alloc(4096));
    let write = sqe::write(fd, buf, 512, 512, 2);
    let chain = [with(LINK, block(fd, buf, 0)), with(LINK, write), block(fd, buf, 1)];
    assert_eq!(pairs(&ring.run(chain, 3)), [(0, 512), (2, 512), (1, 512)]);
    assert_eq!(sim.read(buf + 512, 512), [0; 512]);
}

#[test]
fn no_cancel_finds_what_the_device_has() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (direct_file(&sim, 8), sim.alloc(4096));
    ring.push([block(fd, buf, 1)]);
    ring.submit();
    assert_eq!(pairs(&ring.run([sqe::cancel(1, 0, 9)], 1)), [(9, ENOENT)]);
    assert_eq!(pairs(&ring.wait(1)), [(1, 512)]);
}

#[test]
fn a_linked_timeout_finds_nothing_either() {
    for seed in 0..100 {
        let sim = Sim::nasty(seed);
        let mut ring = Client::new(&sim, 8, 0);
        let (fd, buf, ts) = (direct_file(&sim, 8), sim.alloc(4096), sim.timespec(seed * MS / 50));
        let chain = [with(LINK, block(fd, buf, 1)), sqe::link_timeout(ts, 2)];
        let got = pairs(&ring.run(chain, 2));
        assert!(got.contains(&(1, 512)), "seed {seed}: {got:?}");
        assert_eq!(ring.in_flight(), 0, "seed {seed}");
    }
}

#[test]
fn a_ring_that_is_closed_waits_for_them() {
    for seed in 0..200 {
        let sim = Sim::nasty(seed);
        let mut ring = Client::new(&sim, 16, 0);
        let (fd, buf) = (direct_file(&sim, 16), sim.alloc(16 * BLOCK));
        ring.push((0..16).map(|n| block(fd, buf, n)));
        ring.submit();
        sim.close_ring(ring.fd);
        for n in 0..16 {
            assert_eq!(sim.read(buf + (n * BLOCK) as u64, BLOCK), vec![n as u8; BLOCK]);
        }
        assert_eq!((sim.held(), sim.ring_objects()), (0, 0), "seed {seed}");
    }
}
