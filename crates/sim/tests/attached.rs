//! Submission threads that several rings share.

use ringer_sim::{Client, Sim, pairs, sqe};
use ringer_uapi::{Errno, Params};

const SQPOLL: u32 = 1 << 1;
const ATTACH_WQ: u32 = 1 << 5;
const SQ_WAKEUP: u32 = 2;
const NEED_WAKEUP: u32 = 1;
const MS: u64 = 1_000_000;

fn polled(sim: &Sim, idle_ms: u32) -> Client {
    let params = Params { flags: SQPOLL, sq_thread_idle: idle_ms, ..Params::default() };
    Client::try_new(sim, 16, params).expect("a ring")
}

fn try_attach(sim: &Sim, to: &Client, idle_ms: u32) -> Result<Client, Errno> {
    let (flags, wq_fd) = (SQPOLL | ATTACH_WQ, to.fd.cast_unsigned());
    Client::try_new(sim, 16, Params { flags, wq_fd, sq_thread_idle: idle_ms, ..Params::default() })
}

fn attached(sim: &Sim, to: &Client, idle_ms: u32) -> Client {
    try_attach(sim, to, idle_ms).expect("an attached ring")
}

fn sleeps(ring: &Client) -> bool {
    ring.sq_flags() & NEED_WAKEUP != 0
}

fn works(ring: &mut Client) {
    ring.push([sqe::nop(7)]);
    ring.enter(1, 0, SQ_WAKEUP).expect("wake");
    assert_eq!(pairs(&ring.wait(1)), [(7, 0)]);
}

#[test]
fn one_thread_serves_them_until_the_last_has_gone() {
    let sim = Sim::default();
    let mut first = polled(&sim, 1);
    let mut second = attached(&sim, &first, 1);
    let mut third = attached(&sim, &second, 1);
    [&mut first, &mut second, &mut third].into_iter().for_each(works);
    assert_eq!(sim.threads(), 1);
    sim.close_ring(first.fd);
    works(&mut second);
    sim.close_ring(third.fd);
    works(&mut second);
    assert_eq!(sim.threads(), 1);
    sim.close_ring(second.fd);
    sim.sleep(MS);
    assert_eq!(sim.threads(), 0);
}

#[test]
fn the_thread_idles_after_the_longest_time_of_its_rings() {
    let sim = Sim::default();
    let first = polled(&sim, 2);
    sim.sleep(5 * MS);
    assert!(sleeps(&first));
    let second = attached(&sim, &first, 50);
    sim.sleep(40 * MS);
    assert!(!sleeps(&first) && !sleeps(&second));
    sim.sleep(20 * MS);
    assert!(sleeps(&first) && sleeps(&second));
    let third = attached(&sim, &first, 200);
    sim.sleep(100 * MS);
    assert!(!sleeps(&first));
    sim.close_ring(third.fd);
    sim.close_ring(second.fd);
    sim.sleep(5 * MS);
    assert!(sleeps(&first));
}

#[test]
fn a_wakeup_of_one_ring_is_one_of_all() {
    let sim = Sim::default();
    let mut first = polled(&sim, 1);
    let second = attached(&sim, &first, 1);
    sim.sleep(5 * MS);
    first.push([sqe::nop(1)]);
    sim.sleep(5 * MS);
    assert_eq!(first.ready(), 0);
    second.enter(0, 0, SQ_WAKEUP).expect("wake");
    sim.sleep(1);
    assert_eq!(pairs(&first.reap()), [(1, 0)]);
}

#[test]
fn a_ring_without_a_thread_is_none_and_leaves_nothing_behind() {
    let sim = Sim::default();
    sim.no_threads(1);
    let params = Params { flags: SQPOLL, ..Params::default() };
    assert_eq!(Client::try_new(&sim, 16, params).map(drop), Err(Errno::EAGAIN));
    let first = polled(&sim, 1);
    sim.no_threads(1);
    works(&mut attached(&sim, &first, 1));
    assert_eq!(sim.threads(), 1);
}

#[test]
fn a_thread_whose_last_ring_has_gone_takes_no_other() {
    let sim = Sim::default();
    let first = polled(&sim, 1);
    let fd = first.fd;
    sim.close_ring(fd);
    assert_eq!(try_attach(&sim, &first, 1).map(drop), Err(Errno::ENXIO));
}
