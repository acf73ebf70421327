//! What a caller submits and waits for, and runs itself instead of a worker.

use ringer_sim::errno::{EBADF, ECANCELED};
use ringer_sim::sqe::{ASYNC, DRAIN, LINK, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};

const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;
const MODES: [u32; 2] = [0, SINGLE_ISSUER | DEFER_TASKRUN];

fn racy(seed: u64) -> Sim {
    Sim::new(Options { seed: Some(seed), preempt: 2, ..Options::default() })
}

#[test]
fn who_waits_for_one_fsync_needs_no_worker() {
    for flags in MODES {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, flags);
        let file = sim.file(b"x", 1);
        for n in 0..3 {
            ring.push([sqe::fsync(file, n)]);
            assert_eq!(ring.submit_and_wait(1), 1);
            assert_eq!(pairs(&ring.reap()), [(n, 0)]);
        }
        assert_eq!((sim.threads(), ring.in_flight(), sim.held()), (0, 0, 0));
    }
}

#[test]
fn who_does_not_wait_for_it_has_a_worker() {
    for flags in MODES {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, flags);
        let file = sim.file(b"x", 1);
        ring.push([sqe::fsync(file, 1)]);
        ring.submit();
        assert!(sim.threads() > 0, "nobody runs it");
        assert_eq!(pairs(&ring.wait(1)), [(1, 0)]);
        // A wait that has enough already.
        ring.push([sqe::nop(2), sqe::fsync(file, 3)]);
        ring.submit_and_wait(1);
        assert_eq!(pairs(&ring.wait(2)), [(2, 0), (3, 0)]);
        assert_eq!((ring.in_flight(), sim.held()), (0, 0));
    }
}

#[test]
fn nothing_waits_behind_it_that_could_end_the_wait() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), file, buf) = (sim.pipe(), sim.file(b"x", 1), sim.alloc(8));
    ring.push([sqe::read(r, buf, 1, 0, 1)]);
    ring.submit();
    let before = sim.threads();
    ring.push([sqe::fsync(file, 2)]);
    ring.submit_and_wait(1);
    assert!(sim.threads() > before, "the caller ran it, and would not have seen the pipe");
    sim.feed(w, b"a");
    assert_eq!(pairs(&ring.wait(2)), [(2, 0), (1, 1)]);
}

#[test]
fn more_than_one_go_to_workers_side_by_side() {
    for seed in 0..100 {
        let sim = racy(seed);
        let mut ring = Client::new(&sim, 8, MODES[seed as usize % 2]);
        let file = sim.file(b"x", 1);
        ring.push((0..4).map(|n| sqe::fsync(file, n)));
        ring.submit_and_wait(4);
        let mut got = pairs(&ring.reap());
        got.sort_unstable();
        assert_eq!(got, [(0, 0), (1, 0), (2, 0), (3, 0)], "seed {seed}");
        assert!(sim.threads() > 0);
    }
}

#[test]
fn a_chain_goes_on_behind_it_and_a_drain_waits_for_it() {
    for seed in 0..100 {
        let sim = racy(seed);
        let mut ring = Client::new(&sim, 8, MODES[seed as usize % 2]);
        let file = sim.file(b"x", 1);
        ring.push([with(LINK, sqe::fsync(file, 1)), with(LINK, sqe::fsync(file, 2)), sqe::nop(3)]);
        ring.submit_and_wait(3);
        assert_eq!(pairs(&ring.reap()), [(1, 0), (2, 0), (3, 0)], "seed {seed}");
        ring.push([sqe::fsync(file, 4), with(DRAIN, sqe::nop(5))]);
        ring.submit_and_wait(2);
        assert_eq!(pairs(&ring.reap()), [(4, 0), (5, 0)], "seed {seed}");
        assert_eq!((ring.in_flight(), sim.held()), (0, 0));
    }
}

#[test]
fn who_asks_for_a_worker_gets_one() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let file = sim.file(b"x", 1);
    ring.push([with(ASYNC, sqe::fsync(file, 1))]);
    ring.submit_and_wait(1);
    assert_eq!(pairs(&ring.reap()), [(1, 0)]);
    assert!(sim.threads() > 0);
}

#[test]
fn without_a_thread_to_be_had_it_still_runs() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let file = sim.file(b"x", 1);
    sim.no_threads(8);
    ring.push([sqe::fsync(file, 1)]);
    ring.submit_and_wait(1);
    assert_eq!(pairs(&ring.reap()), [(1, 0)]);
    ring.push([sqe::fsync(file, 2)]);
    ring.submit();
    assert_eq!(pairs(&ring.wait(1)), [(2, ECANCELED)], "nobody to hand it to");
}

#[test]
fn who_waits_for_writes_does_them_one_after_the_other() {
    for seed in 0..100 {
        for flags in MODES {
            let sim = racy(seed);
            let mut ring = Client::new(&sim, 16, flags);
            let (file, other, buf) =
                (sim.file(&[0; 64], 64), sim.file(&[0; 8], 8), sim.put(b"abcdefgh"));
            ring.push((0..8).map(|n| sqe::write(file, buf + n, 1, n, n)));
            ring.push([sqe::write(other, buf, 8, 0, 8), sqe::fsync(file, 9)]);
            ring.submit_and_wait(10);
            let mut got = pairs(&ring.reap());
            got.sort_unstable();
            let want: Vec<_> = (0..8).map(|n| (n, 1)).chain([(8, 8), (9, 0)]).collect();
            assert_eq!(got, want, "seed {seed}");
            assert_eq!(sim.contents(file)[..8], *b"abcdefgh");
            assert_eq!(sim.contents(other), b"abcdefgh");
            assert_eq!((sim.threads(), ring.in_flight(), sim.held()), (0, 0, 0), "seed {seed}");
        }
    }
}

#[test]
fn a_number_that_is_closed_within_the_batch_is_looked_up_anew() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (file, buf) = (sim.file(&[0; 8], 8), sim.put(b"abcd"));
    ring.push([
        sqe::write(file, buf, 4, 0, 1),
        sqe::close(file, 2),
        sqe::write(file, buf, 4, 0, 3),
    ]);
    ring.submit_and_wait(3);
    let mut got = pairs(&ring.reap());
    got.sort_unstable();
    assert_eq!(got, [(1, 4), (2, 0), (3, EBADF)]);
    assert_eq!(sim.held(), 0);
}

#[test]
fn a_write_and_the_fsync_behind_it_need_no_worker() {
    for flags in MODES {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, flags);
        let (file, buf) = (sim.file(&[0; 8], 8), sim.put(b"abcd"));
        ring.push([with(LINK, sqe::write(file, buf, 4, 0, 1)), sqe::fsync(file, 2)]);
        ring.submit_and_wait(2);
        assert_eq!(pairs(&ring.reap()), [(1, 4), (2, 0)]);
        assert_eq!((sim.threads(), sim.held()), (0, 0));
    }
}
