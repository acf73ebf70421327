//! The smallest claims: a request, its completion, and what the host was asked for it.

use ringer_engine::host::{Clock, Host};
use ringer_sim::{Client, Sim, pairs, sqe};

#[test]
fn a_nop_completes_with_zero() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    assert_eq!(pairs(&ring.run([sqe::nop(7)], 1)), [(7, 0)]);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_cached_read_is_one_host_call() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(b"hello world", 11), sim.alloc(64));
    sim.forget_calls();
    assert_eq!(pairs(&ring.run([sqe::read(fd, buf, 5, 6, 1)], 1)), [(1, 5)]);
    assert_eq!(sim.read(buf, 5), b"world");
    assert_eq!(sim.calls(), [("readv", fd)]);
}

#[test]
fn an_uncached_read_goes_to_a_worker() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(b"hello world", 0), sim.alloc(64));
    assert_eq!(pairs(&ring.run([sqe::read(fd, buf, 5, 6, 1)], 1)), [(1, 5)]);
    assert_eq!(sim.read(buf, 5), b"world");
    assert_eq!(sim.held(), 0);
}

#[test]
#[should_panic(expected = "never waits")]
fn a_thread_that_never_waits_is_told() {
    let sim = Sim::default();
    let endless = sim.start(|e| while e.host().now(Clock::Monotonic) != 0 {});
    endless.join();
}
