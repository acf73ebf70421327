//! Cancellation wherever a request can be (spec 3.8).

use ringer_sim::errno::{EALREADY, ECANCELED, EINTR, ENOENT};
use ringer_sim::sqe::{ASYNC, DRAIN, LINK, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};

const ALL: u32 = 1;
const FD: u32 = 2;
const ANY: u32 = 4;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;
const MS: u64 = 1_000_000;

#[test]
fn a_cancel_comes_before_its_target() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, _w), buf) = (sim.pipe(), sim.alloc(4));
    ring.push([sqe::read(r, buf, 4, 0, 1)]);
    ring.submit();
    assert_eq!(pairs(&ring.run([sqe::cancel(1, 0, 2)], 2)), [(2, 0), (1, ECANCELED)]);
    assert_eq!((ring.in_flight(), sim.held()), (0, 0));
}

#[test]
fn a_cancel_before_its_target_finds_nothing() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(4));
    let got = ring.run([sqe::cancel(1, 0, 2), sqe::read(r, buf, 4, 0, 1)], 1);
    assert_eq!(pairs(&got), [(2, ENOENT)]);
    sim.feed(w, b"data");
    assert_eq!(pairs(&ring.wait(1)), [(1, 4)]);
}

#[test]
fn without_all_one_of_three_goes_and_with_all_the_count_is_told() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (r, _w) = sim.pipe();
    ring.push((0..3).map(|_| sqe::poll(r, 1, 7)));
    ring.submit();
    assert_eq!(pairs(&ring.run([sqe::cancel(7, 0, 1)], 2)), [(1, 0), (7, ECANCELED)]);
    let got = ring.run([sqe::cancel(7, ALL, 2)], 3);
    assert_eq!(pairs(&got), [(2, 2), (7, ECANCELED), (7, ECANCELED)]);
    assert_eq!(pairs(&ring.run([sqe::cancel(7, ALL, 3)], 1)), [(3, 0)]);
}

#[test]
fn a_timer_is_cancelled_too() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(1000 * MS);
    ring.push([sqe::timeout(ts, 3, 1)]);
    ring.submit();
    assert_eq!(pairs(&ring.run([sqe::cancel(1, 0, 2)], 2)), [(2, 0), (1, ECANCELED)]);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_request_in_the_worker_queue_never_runs() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, a) = (sim.file(b"", 0), sim.put(b"abcd"));
    let write = with(ASYNC, sqe::write(fd, a, 4, 0, 1));
    assert_eq!(pairs(&ring.run([write, sqe::cancel(1, 0, 2)], 2)), [(2, 0), (1, ECANCELED)]);
    sim.sleep(10 * MS);
    assert_eq!(sim.contents(fd), b"");
    assert_eq!((ring.in_flight(), sim.held()), (0, 0));
}

#[test]
fn a_request_that_a_worker_armed_is_cancelled() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, _w), buf) = (sim.pipe(), sim.alloc(4));
    ring.push([with(ASYNC, sqe::read(r, buf, 4, 0, 1))]);
    ring.submit();
    sim.run_workers();
    assert_eq!(pairs(&ring.run([sqe::cancel(1, 0, 2)], 2)), [(2, 0), (1, ECANCELED)]);
    assert_eq!((ring.in_flight(), sim.held()), (0, 0));
}

#[test]
fn a_blocked_worker_is_interrupted() {
    // Without numbers in the application's table a pipe can only be read by a worker that blocks.
    let sim = Sim::new(Options { numberless: true, ..Options::default() });
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, _w), buf) = (sim.pipe(), sim.alloc(4));
    sim.register(ring.fd, 2, sim.fds(&[r]), 1).expect("files");
    ring.push([with(sqe::FIXED, sqe::read(0, buf, 4, 0, 1))]);
    ring.submit();
    sim.run_workers();
    let got = pairs(&ring.run([sqe::cancel(1, 0, 2)], 2));
    assert_eq!(got.first(), Some(&(2, EALREADY)));
    assert!(matches!(got.get(1), Some((1, ECANCELED | EINTR))), "{got:?}");
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_member_that_has_not_started_is_not_found() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, _w), buf) = (sim.pipe(), sim.alloc(4));
    ring.push([with(LINK, sqe::read(r, buf, 4, 0, 1)), sqe::nop(2)]);
    ring.submit();
    assert_eq!(pairs(&ring.run([sqe::cancel(2, 0, 3)], 1)), [(3, ENOENT)]);
    let got = ring.run([sqe::cancel(1, 0, 4)], 3);
    assert_eq!(pairs(&got), [(4, 0), (1, ECANCELED), (2, ECANCELED)]);
}

#[test]
fn a_cancel_by_descriptor_compares_files() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, _w), (other, _x), ts) = (sim.pipe(), sim.pipe(), sim.timespec(1000 * MS));
    sim.register(ring.fd, 2, sim.fds(&[r]), 1).expect("files");
    ring.push([
        sqe::poll(r, 1, 1),
        with(sqe::FIXED, sqe::poll(0, 1, 2)),
        sqe::poll(other, 1, 3),
        sqe::timeout(ts, 0, 4),
    ]);
    ring.submit();
    let mut got = pairs(&ring.run([sqe::cancel_fd(r, 5)], 3));
    got.sort_unstable();
    assert_eq!(got, [(1, ECANCELED), (2, ECANCELED), (5, 2)]);
    let mut rest = pairs(&ring.run([sqe::cancel(0, ANY, 6)], 3));
    rest.sort_unstable();
    assert_eq!(rest, [(3, ECANCELED), (4, ECANCELED), (6, 2)]);
}

#[test]
fn whatever_the_race_a_cancelled_request_posts_once() {
    for seed in 0..200 {
        let sim = Sim::new(Options { seed: Some(seed), preempt: 2, ..Options::default() });
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf, fd) = (sim.pipe(), sim.alloc(64), sim.file(&[3; 32], 0));
        sim.feed_later(MS * (seed % 3), w, b"data");
        ring.push([
            with(ASYNC, sqe::read(r, buf, 4, 0, 1)),
            sqe::read(fd, buf + 32, 32, 0, 2),
            sqe::poll(r, 1, 3),
        ]);
        ring.submit();
        sim.sleep(seed % 4 * MS / 2);
        ring.push((1..4).map(|t| sqe::cancel(t, 0, 10 + t)));
        ring.submit();
        let mut got: Vec<u64> = ring.wait(6).iter().map(|c| c.user_data).collect();
        got.sort_unstable();
        assert_eq!(got, [1, 2, 3, 11, 12, 13], "seed {seed}");
        sim.sleep(20 * MS);
        ring.poke();
        assert_eq!((ring.ready(), ring.in_flight(), sim.held()), (0, 0, 0), "seed {seed}");
    }
}

#[test]
fn no_thread_to_be_had_cancels_the_request() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    sim.no_threads(1);
    assert_eq!(pairs(&ring.run([with(ASYNC, sqe::nop(1))], 1)), [(1, ECANCELED)]);
    assert_eq!(pairs(&ring.run([with(ASYNC, sqe::nop(2))], 1)), [(2, 0)]);
}

#[test]
fn a_cancelled_read_tells_what_it_has_already() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    // Half of the file is cached: the other half is for a worker, which the cancel comes before.
    let (fd, buf) = (sim.file(&[7; 64], 32), sim.alloc(64));
    let read = sqe::read(fd, buf, 64, sqe::POS, 1);
    let got = pairs(&ring.run([read, sqe::cancel(1, 0, 2)], 2));
    assert_eq!(got, [(2, 0), (1, 32)]);
    // Nothing is lost: the position is where the told bytes end.
    assert_eq!(pairs(&ring.run([sqe::read(fd, buf, 64, sqe::POS, 3)], 1)), [(3, 32)]);
}

#[test]
fn a_read_that_no_worker_can_be_had_for_tells_what_it_has_already() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(&[7; 64], 32), sim.alloc(64));
    sim.no_threads(1);
    assert_eq!(pairs(&ring.run([sqe::read(fd, buf, 64, sqe::POS, 1)], 1)), [(1, 32)]);
    sim.no_files(1);
    let (fd, buf) = (sim.file(&[7; 64], 32), sim.alloc(64));
    assert_eq!(pairs(&ring.run([sqe::read(fd, buf, 64, sqe::POS, 2)], 1)), [(2, 32)]);
}

#[test]
fn a_cancel_on_a_worker_finds_itself() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (r, _w) = sim.pipe();
    let by_file = |ud| ringer_uapi::Sqe { op_flags: FD, ..sqe::cancel_fd(r, ud) };
    assert_eq!(pairs(&ring.run([with(ASYNC, by_file(1))], 1)), [(1, EALREADY)]);
    let by_data = with(ASYNC, sqe::cancel(2, 0, 2));
    assert_eq!(pairs(&ring.run([by_data], 1)), [(2, EALREADY)]);
    assert_eq!(pairs(&ring.run([with(ASYNC, sqe::cancel(9, 0, 3))], 1)), [(3, ENOENT)]);
    assert_eq!(pairs(&ring.run([by_file(4)], 1)), [(4, ENOENT)]);
}

#[test]
fn a_cancel_behind_what_a_drain_held_back_finds_itself() {
    for setup in [0, SINGLE_ISSUER | DEFER_TASKRUN] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, setup);
        let chain = [with(DRAIN | LINK, sqe::nop(1)), sqe::cancel(2, 0, 2)];
        assert_eq!(pairs(&ring.run(chain, 2)), [(1, 0), (2, EALREADY)]);
    }
}

#[test]
fn a_cancel_on_a_worker_comes_after_what_its_batch_completes() {
    for setup in [0, SINGLE_ISSUER | DEFER_TASKRUN] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, setup);
        let hour = sim.timespec(3600 * 1_000 * MS);
        ring.push([sqe::timeout(hour, 2, 1)]);
        ring.submit();
        // The two reach the timeout's count before a worker comes to the cancel.
        ring.push([with(ASYNC, sqe::cancel(1, 0, 2)), sqe::nop(3), sqe::nop(4)]);
        ring.submit();
        let mut got = pairs(&ring.wait(4));
        got.sort_unstable();
        assert_eq!(got, [(1, 0), (2, ENOENT), (3, 0), (4, 0)], "setup {setup:#x}");
    }
}
