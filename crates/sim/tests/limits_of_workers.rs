//! How many workers a thread has, and where they run (spec 3.28).

use ringer_sim::errno::{ECANCELED, EINTR};
use ringer_sim::sqe::{ASYNC, FIXED, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};
use ringer_uapi::Errno;

fn limits(sim: &Sim, ring: &Client, bounded: u64, unbounded: u64) -> (u32, u32) {
    let arg = sim.words(&[bounded | unbounded << 32]);
    sim.register(ring.fd, 19, arg, 2).expect("limits");
    let told = ringer_uapi::bytes::u64_at(&sim.read(arg, 8), 0);
    (told as u32, (told >> 32) as u32)
}

/// A world in which reads of a pipe by slot block workers.
fn blocking(setup: u32) -> (Sim, Client, i32) {
    let sim = Sim::new(Options { numberless: true, ..Options::default() });
    let ring = Client::new(&sim, 8, setup);
    let (r, w) = sim.pipe();
    sim.register(ring.fd, 2, sim.fds(&[r]), 1).expect("files");
    (sim, ring, w)
}

fn reads(sim: &Sim, ring: &mut Client, names: std::ops::Range<u64>) {
    let buf = sim.alloc(64);
    ring.push(names.map(|ud| with(FIXED, sqe::read(0, buf, 1, 0, ud))));
    ring.submit();
    sim.run_workers();
}

#[test]
fn no_more_workers_than_the_limit_and_the_rest_waits_its_turn() {
    let (sim, mut ring, w) = blocking(0);
    assert_eq!(limits(&sim, &ring, 1, 1), (8, 1 << 16));
    reads(&sim, &mut ring, 0..3);
    let threads = sim.threads();
    sim.feed(w, b"abc");
    assert_eq!(pairs(&ring.wait(3)), [(0, 1), (1, 1), (2, 1)]);
    // The follower, and the one.
    assert!(threads <= 2, "{threads} threads");
}

#[test]
fn who_waits_for_a_worker_is_cancelled_and_who_has_one_is_interrupted() {
    let (sim, mut ring, _w) = blocking(0);
    limits(&sim, &ring, 1, 1);
    reads(&sim, &mut ring, 7..9);
    let got = pairs(&ring.run([sqe::cancel(8, 0, 1)], 2));
    assert_eq!(got, [(1, 0), (8, ECANCELED)]);
    let got = pairs(&ring.run([sqe::cancel(7, 0, 2)], 2));
    assert!(matches!(got.last(), Some((7, EINTR | ECANCELED))), "{got:?}");
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn another_threads_workers_are_its_own() {
    let (sim, mut ring, w) = blocking(0);
    limits(&sim, &ring, 1, 1);
    reads(&sim, &mut ring, 0..1);
    // On a ring that another thread submits to, the blocked worker holds nothing.
    let other = Client::new(&sim, 8, 0);
    let fd = other.fd;
    let mut other = other;
    other.push([with(ASYNC, sqe::nop(5))]);
    let taken = sim.on_another_thread(move |engine| engine.enter(fd, 1, 0, 0, 0, 0));
    assert_eq!(taken, Ok(1));
    assert_eq!(pairs(&other.wait(1)), [(5, 0)]);
    sim.feed(w, b"a");
    assert_eq!(pairs(&ring.wait(1)), [(0, 1)]);
}

#[test]
fn workers_are_sent_to_their_cpus() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let mask = sim.words(&[2]);
    sim.register(ring.fd, 17, mask, 8).expect("CPUs");
    assert_eq!(pairs(&ring.run([with(ASYNC, sqe::nop(1))], 1)), [(1, 0)]);
    assert_eq!(sim.calls().iter().filter(|c| **c == ("run_on", 2)).count(), 1);
    sim.register(ring.fd, 18, 0, 0).expect("all of them");
}

#[test]
fn workers_are_not_sent_beyond_the_cpuset() {
    let sim = Sim::default();
    let ring = Client::new(&sim, 8, 0);
    for (cpus, want) in
        [(0b0101, Err(Errno::EINVAL)), (0b1000, Err(Errno::EINVAL)), (0b1_0001, Ok(0))]
    {
        let mask = sim.words(&[cpus]);
        assert_eq!(sim.register(ring.fd, 17, mask, 8), want, "{cpus:#b}");
    }
}

#[test]
fn a_submission_threads_limits_are_its_rings() {
    const SQPOLL: u32 = 2;
    let (sim, ring, _w) = blocking(SQPOLL);
    let mine = Client::new(&sim, 4, 0);
    assert_eq!(limits(&sim, &ring, 2, 3), (8, 1 << 16));
    assert_eq!(limits(&sim, &ring, 0, 0), (2, 3));
    // The first ring was the thread's first, too.
    assert_eq!(limits(&sim, &mine, 0, 0), (8, 1 << 16));
}
