//! What a chain owes that is refused before it starts (spec 3.4, 3.6).

use ringer_sim::errno::{ECANCELED, EINVAL};
use ringer_sim::sqe::{DRAIN, HARD, LINK, SKIP, with};
use ringer_sim::{Client, Sim, pairs, sqe};

fn refused(ud: u64) -> ringer_uapi::Sqe {
    ringer_uapi::Sqe { opcode: 200, user_data: ud, ..Default::default() }
}

fn hour(sim: &Sim) -> u64 {
    sim.put(&[3600u64, 0].map(u64::to_ne_bytes).concat())
}

#[test]
fn the_timeout_of_a_quiet_head_is_told() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = hour(&sim);
    let timeout = with(LINK, sqe::link_timeout(ts, 2));
    ring.push([with(LINK | SKIP, sqe::nop(1)), timeout, refused(3)]);
    ring.submit();
    assert_eq!(pairs(&ring.reap()), [(1, ECANCELED), (2, ECANCELED)]);
}

#[test]
fn a_quiet_timeout_of_the_head_is_not() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = hour(&sim);
    let timeout = with(LINK | SKIP, sqe::link_timeout(ts, 2));
    ring.push([with(LINK, sqe::nop(1)), timeout, refused(3)]);
    ring.submit();
    assert_eq!(pairs(&ring.reap()), [(1, ECANCELED), (3, EINVAL)]);
}

#[test]
fn a_drain_within_holds_what_follows() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 1 << 7);
    let (r, w) = sim.pipe();
    let (into, from) = (sim.alloc(4), sim.put(b"abcd"));
    let chain = [with(HARD, sqe::nop(2)), with(HARD | DRAIN, sqe::nop(3)), refused(4)];
    ring.push([sqe::read(r, into, 4, 0, 1)]);
    ring.push(chain);
    ring.push([sqe::nop(5)]);
    ring.submit();
    assert_eq!(pairs(&ring.reap()), [(2, ECANCELED), (3, ECANCELED), (4, EINVAL)]);
    let other = Client::new(&sim, 8, 0).run([sqe::write(w, from, 4, 0, 9)], 1);
    assert_eq!(pairs(&other), [(9, 4)]);
    assert_eq!(pairs(&ring.wait(2)), [(1, 4), (5, 0)]);
}
