//! SYNC_CANCEL: a cancel that is a call, and waits for workers (spec 3.8).

use ringer_sim::errno::{ECANCELED, EINTR};
use ringer_sim::sqe::{ASYNC, FIXED, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};
use ringer_uapi::{Errno, Sqe};

const ALL: u64 = 1;
const FD: u64 = 2;
const FD_FIXED: u64 = 8;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;
const MS: u64 = 1_000_000;
const FOR_EVER: (u64, u64) = (u64::MAX, u64::MAX);

fn sync_cancel(
    sim: &Sim,
    ring: &Client,
    (name, fd, flags): (u64, i32, u64),
    (sec, nsec): (u64, u64),
) -> Result<usize, Errno> {
    let keys = u64::from(fd.cast_unsigned()) | flags << 32;
    let arg = sim.words(&[name, keys, sec, nsec, 0, 0, 0, 0]);
    sim.register(ring.fd, 24, arg, 1)
}

const BLOCKS: Options = Options {
    seed: None,
    preempt: 0,
    short_reads: 0,
    eintr: 0,
    numberless: true,
    no_nowait: false,
    posix_locks: false,
    meddles: None,
    lends: false,
};

/// A world in which a read of an empty pipe by slot blocks a worker, and such a read.
fn blocking(options: Options, setup: u32) -> (Sim, Client, Sqe) {
    let sim = Sim::new(options);
    let ring = Client::new(&sim, 8, setup);
    let ((r, _w), buf) = (sim.pipe(), sim.alloc(4));
    sim.register(ring.fd, 2, sim.fds(&[r]), 1).expect("files");
    let read = with(FIXED, sqe::read(0, buf, 4, 0, 1));
    (sim, ring, read)
}

#[test]
fn a_blocked_worker_is_waited_for() {
    for setup in [0, SINGLE_ISSUER | DEFER_TASKRUN] {
        let (sim, mut ring, read) = blocking(BLOCKS, setup);
        ring.push([read]);
        ring.submit();
        sim.run_workers();
        assert_eq!(sync_cancel(&sim, &ring, (1, -1, 0), FOR_EVER), Ok(0));
        assert!(
            ring.in_flight() == 0 || setup != 0,
            "nothing is left to post but what is deferred"
        );
        let got = pairs(&ring.wait(1));
        assert!(matches!(got[..], [(1, ECANCELED | EINTR)]), "{got:?}");
        assert_eq!(sync_cancel(&sim, &ring, (1, -1, 0), FOR_EVER), Err(Errno::ENOENT));
    }
}

#[test]
fn a_time_that_has_passed_or_that_no_clock_reaches_ends_it() {
    for limit in [(0, 0), (u64::MAX, 5), (i64::MAX as u64, 0)] {
        let (sim, mut ring, read) = blocking(BLOCKS, 0);
        ring.push([read]);
        ring.submit();
        sim.run_workers();
        let r = sync_cancel(&sim, &ring, (1, -1, 0), limit);
        assert_eq!(r, Err(Errno::ETIME), "{limit:?}");
        assert_eq!(ring.wait(1).len(), 1);
    }
}

#[test]
fn all_does_not_wait_and_does_not_count_workers() {
    let (sim, mut ring, read) = blocking(BLOCKS, 0);
    let ts = sim.timespec(1000 * MS);
    ring.push([read, sqe::timeout(ts, 0, 1)]);
    ring.submit();
    sim.run_workers();
    assert_eq!(sync_cancel(&sim, &ring, (1, -1, ALL), FOR_EVER), Ok(1));
    assert_eq!(ring.wait(2).len(), 2);
}

#[test]
fn what_waits_for_a_worker_counts_as_one() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, _w), buf) = (sim.pipe(), sim.alloc(4));
    let read = |ud| with(ASYNC, sqe::read(r, buf, 4, 0, ud));
    let got = pairs(&ring.run([read(1), read(1), sqe::cancel(1, 1, 2)], 3));
    assert_eq!(got, [(2, 1), (1, ECANCELED), (1, ECANCELED)]);
}

#[test]
fn a_slot_is_looked_up_each_time() {
    let (sim, mut ring, read) = blocking(BLOCKS, 0);
    ring.push([read]);
    ring.submit();
    sim.run_workers();
    let key = (0, 0, FD | FD_FIXED);
    assert_eq!(sync_cancel(&sim, &ring, key, FOR_EVER), Ok(0));
    assert_eq!(ring.wait(1).len(), 1);
    sim.register(ring.fd, 3, 0, 0).expect("no files any more");
    assert_eq!(sync_cancel(&sim, &ring, key, FOR_EVER), Err(Errno::EBADF));
    assert_eq!(sim.held(), 0);
}

#[test]
fn whatever_the_race_it_comes_back_and_the_request_posts_once() {
    for seed in 0..300 {
        let options = Options { seed: Some(seed), preempt: 2, ..BLOCKS };
        let (sim, mut ring, read) = blocking(options, 0);
        // The ring has 0, the read end 1.
        sim.feed_later(MS * (seed % 3), 2, b"data");
        ring.push([read]);
        ring.submit();
        sim.sleep(seed % 4 * MS / 2);
        let r = sync_cancel(&sim, &ring, (1, -1, 0), FOR_EVER);
        assert!(matches!(r, Ok(0) | Err(Errno::ENOENT)), "seed {seed}: {r:?}");
        assert_eq!(ring.wait(1).len(), 1, "seed {seed}");
        sim.sleep(20 * MS);
        ring.poke();
        assert_eq!((ring.ready(), ring.in_flight()), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_signal_ends_it_unless_the_worker_is_done() {
    let mut seen = Vec::new();
    for seed in 0..60 {
        let options = Options { seed: Some(seed), preempt: 3, eintr: 2, ..BLOCKS };
        let (sim, mut ring, read) = blocking(options, 0);
        ring.push([read]);
        ring.submit();
        sim.run_workers();
        seen.push(sync_cancel(&sim, &ring, (1, -1, 0), FOR_EVER));
        assert_eq!(ring.wait(1).len(), 1, "seed {seed}");
    }
    assert!(seen.iter().all(|r| matches!(r, Ok(0) | Err(Errno::EINTR))), "{seen:?}");
    assert!(seen.contains(&Ok(0)) && seen.contains(&Err(Errno::EINTR)), "{seen:?}");
}
