//! FUTEX_WAIT and WAITID: threads that wait, what wakes them and what takes them back.

use ringer_sim::errno::{EAGAIN, ECANCELED, ECHILD, ENOENT, ENOMEM};
use ringer_sim::sqe::{LINK, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};

const MS: u64 = 1_000_000;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;

#[test]
fn waits_are_asleep_when_they_are_submitted_and_woken_in_order() {
    for flags in [0, SINGLE_ISSUER | DEFER_TASKRUN] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, flags);
        let word = sim.alloc(8);
        ring.push([1, 2, 3].map(|ud| sqe::futex_wait(word, ud)));
        ring.submit();
        sim.wake_futex(word, 2);
        let mut got = pairs(&ring.wait(2));
        got.sort_unstable();
        assert_eq!(got, [(1, 0), (2, 0)]);
        assert_eq!(ring.in_flight(), 1);
        let mut got = pairs(&ring.run([sqe::futex_wake(word, 9, 4)], 2));
        got.sort_unstable();
        assert_eq!(got, [(3, 0), (4, 1)]);
        assert_eq!(ring.in_flight(), 0);
    }
}

#[test]
fn another_value_is_told_at_once() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let word = sim.alloc(8);
    sim.write(word, &[7]);
    ring.push([sqe::futex_wait(word, 1)]);
    ring.submit();
    assert_eq!(pairs(&ring.reap()), [(1, EAGAIN)]);
}

#[test]
fn who_was_taken_back_is_not_woken() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let word = sim.alloc(8);
    let got = ring.run([sqe::futex_wait(word, 1), sqe::cancel(1, 0, 2)], 2);
    assert_eq!(pairs(&got), [(2, 1), (1, ECANCELED)]);
    assert_eq!(pairs(&ring.run([sqe::futex_wake(word, 9, 3)], 1)), [(3, 0)]);
    // The same thread waits again.
    ring.push([sqe::futex_wait(word, 1)]);
    ring.submit();
    sim.wake_futex(word, 1);
    assert_eq!(pairs(&ring.wait(1)), [(1, 0)]);
}

#[test]
fn a_linked_timeout_takes_a_wait_back() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (word, ts) = (sim.alloc(8), sim.timespec(5 * MS));
    let got = ring.run([with(LINK, sqe::futex_wait(word, 1)), sqe::link_timeout(ts, 2)], 2);
    assert_eq!(pairs(&got), [(2, 1), (1, ECANCELED)]);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_child_is_waited_for_and_told_of() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let info = sim.alloc(128);
    sim.child(77);
    ring.push([with(LINK, sqe::waitid(77, info, 1)), sqe::nop(2)]);
    ring.submit();
    sim.run_workers();
    assert_eq!(pairs(&ring.reap()), []);
    sim.end_child(77, 9);
    assert_eq!(pairs(&ring.wait(2)), [(1, 0), (2, 0)]);
    assert_eq!(sim.read(info, 4), 17i32.to_ne_bytes());
    assert_eq!(sim.read(info + 24, 4), 9i32.to_ne_bytes());
    assert_eq!(pairs(&ring.run([sqe::waitid(77, info, 3)], 1)), [(3, ECHILD)]);
}

#[test]
fn a_wait_ends_once_whoever_comes_first() {
    for seed in 0..300 {
        let options = Options { seed: Some(seed), preempt: 2, ..Options::default() };
        let sim = Sim::new(options);
        let mut ring = Client::new(&sim, 8, 0);
        let word = sim.alloc(8);
        ring.push([sqe::futex_wait(word, 1)]);
        ring.submit();
        let cancel = sqe::cancel(1, 0, 2);
        let mut got = pairs(&ring.run([sqe::futex_wake(word, 1, 3), cancel], 3));
        got.sort_unstable();
        // Woken before it was cancelled, always; whether the cancel still finds it is a race.
        assert!(matches!(got[..], [(1, 0), (2, ENOENT | 1), (3, 1)]), "seed {seed}: {got:?}");
        assert_eq!(ring.in_flight(), 0);
    }
}

#[test]
fn a_wait_without_a_thread_is_out_of_memory() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let word = sim.alloc(8);
    sim.no_threads(1);
    assert_eq!(pairs(&ring.run([sqe::futex_wait(word, 1)], 1)), [(1, ENOMEM)]);
}

#[test]
fn the_end_of_a_ring_takes_its_waits_back() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let word = sim.alloc(8);
    sim.child(77);
    ring.push([sqe::futex_wait(word, 1), sqe::waitid(77, 0, 2)]);
    ring.submit();
    sim.close_ring(ring.fd);
    sim.run_workers();
    assert_eq!(sim.ring_objects(), 0);
}
