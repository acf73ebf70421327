//! Links, hard links, linked timeouts, CQE_SKIP and drain (spec 3.6).

use ringer_sim::errno::{ECANCELED, EINVAL, EIO, ENXIO, EOPNOTSUPP, ETIME};
use ringer_sim::sqe::{ASYNC, DRAIN, HARD, LINK, SKIP, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};

const MS: u64 = 1_000_000;
const SUBMIT_ALL: u32 = 1 << 7;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;

#[test]
fn a_chain_runs_one_after_the_other() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, a, b) = (sim.file(b"", 0), sim.put(b"abcd"), sim.alloc(4));
    let chain = [with(LINK, sqe::write(fd, a, 4, 0, 1)), sqe::read(fd, b, 4, 0, 2)];
    assert_eq!(pairs(&ring.run(chain, 2)), [(1, 4), (2, 4)]);
    assert_eq!(sim.read(b, 4), b"abcd");
}

#[test]
fn a_soft_link_breaks_at_a_failure() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let chain =
        [with(LINK, sqe::nop_with(EIO, 1)), with(LINK, sqe::nop(2)), sqe::nop(3), sqe::nop(4)];
    let got = pairs(&ring.run(chain, 4));
    assert_eq!(got, [(1, EIO), (4, 0), (2, ECANCELED), (3, ECANCELED)]);
}

#[test]
fn what_a_batch_leads_to_comes_after_it() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let chain = [with(LINK, sqe::nop(1)), sqe::nop(2), sqe::nop(3)];
    assert_eq!(pairs(&ring.run(chain, 3)), [(1, 0), (3, 0), (2, 0)]);
    let ((r, _w), buf) = (sim.pipe(), sim.alloc(8));
    ring.push([sqe::read(r, buf, 8, 0, 4)]);
    ring.submit();
    let got = pairs(&ring.run([sqe::cancel(4, 0, 5), sqe::nop(6)], 3));
    assert_eq!(got, [(5, 0), (6, 0), (4, ECANCELED)]);
}

#[test]
fn a_deferred_ring_goes_on_with_a_chain_at_getevents() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, SINGLE_ISSUER | DEFER_TASKRUN);
    ring.push([with(LINK, sqe::nop(1)), sqe::nop(2)]);
    ring.submit();
    assert_eq!(pairs(&ring.reap()), [(1, 0)]);
    assert_eq!(pairs(&ring.wait(1)), [(2, 0)]);
}

#[test]
fn a_hardlink_survives_a_failed_head() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let chain =
        [with(HARD, sqe::nop_with(EIO, 1)), with(LINK, sqe::nop_with(ENXIO, 2)), sqe::nop(3)];
    assert_eq!(pairs(&ring.run(chain, 3)), [(1, EIO), (2, ENXIO), (3, ECANCELED)]);
}

#[test]
fn a_short_read_breaks_a_link_and_not_a_hardlink() {
    for (flag, last) in [(LINK, ECANCELED), (HARD, 0)] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, 0);
        let (fd, buf) = (sim.file(b"abc", 3), sim.alloc(16));
        let chain = [with(flag, sqe::read(fd, buf, 16, 0, 1)), sqe::nop(2)];
        assert_eq!(pairs(&ring.run(chain, 2)), [(1, 3), (2, last)]);
    }
}

#[test]
fn a_bad_member_stops_the_whole_chain_before_it_starts() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, a) = (sim.file(b"", 0), sim.put(b"abcd"));
    let bad = ringer_uapi::Sqe { opcode: 200, user_data: 2, ..Default::default() };
    let chain = [with(HARD, sqe::write(fd, a, 4, 0, 1)), with(LINK, bad), sqe::nop(3)];
    assert_eq!(pairs(&ring.run(chain, 3)), [(1, ECANCELED), (2, EINVAL), (3, ECANCELED)]);
    assert_eq!(sim.contents(fd), b"");
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_bad_entry_ends_the_batch_unless_submit_all() {
    for (setup, taken) in [(0, 1), (1 << 7, 2)] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, setup);
        let bad = ringer_uapi::Sqe { opcode: 200, user_data: 1, ..Default::default() };
        ring.push([bad, sqe::nop(2)]);
        assert_eq!(ring.submit(), taken);
        let got = pairs(&ring.reap());
        assert_eq!(got.first(), Some(&(1, EINVAL)));
        assert_eq!(got.len() as u32, taken);
    }
}

#[test]
fn an_open_link_at_the_end_of_a_batch_joins_nothing() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    ring.push([with(LINK, sqe::nop_with(EIO, 1))]);
    ring.submit();
    assert_eq!(pairs(&ring.run([sqe::nop(2)], 2)), [(1, EIO), (2, 0)]);
}

#[test]
fn a_linked_timeout_fires_before_its_request_ends() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, _w), buf, ts) = (sim.pipe(), sim.alloc(8), sim.timespec(5 * MS));
    let start = sim.now();
    let chain =
        [with(LINK, sqe::read(r, buf, 8, 0, 1)), with(LINK, sqe::link_timeout(ts, 2)), sqe::nop(3)];
    assert_eq!(pairs(&ring.run(chain, 3)), [(2, ETIME), (1, ECANCELED), (3, ECANCELED)]);
    assert_eq!(sim.now() - start, 5 * MS);
    assert_eq!((ring.in_flight(), sim.held()), (0, 0));
}

#[test]
fn a_linked_timeout_follows_its_request_from_the_worker_to_the_wait() {
    for seed in 0..100 {
        let sim = Sim::new(Options { seed: Some(seed), preempt: 3, ..Options::default() });
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, _w), buf, ts) = (sim.pipe(), sim.alloc(8), sim.timespec(seed % 4 * MS));
        let read = with(LINK | ASYNC, sqe::read(r, buf, 8, 0, 1));
        let got = pairs(&ring.run([read, sqe::link_timeout(ts, 2)], 2));
        assert_eq!(got.len(), 2, "seed {seed}");
        assert!(got.contains(&(1, ECANCELED)) && got.contains(&(2, ETIME)), "seed {seed}: {got:?}");
        assert_eq!((ring.in_flight(), sim.held()), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_request_that_ends_first_cancels_its_timeout_and_the_chain_goes_on() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf, ts) = (sim.pipe(), sim.alloc(4), sim.timespec(5 * MS));
    sim.feed_later(MS, w, b"data");
    let chain =
        [with(LINK, sqe::read(r, buf, 4, 0, 1)), with(LINK, sqe::link_timeout(ts, 2)), sqe::nop(3)];
    assert_eq!(pairs(&ring.run(chain, 3)), [(1, 4), (2, ECANCELED), (3, 0)]);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_linked_timeout_on_a_request_that_never_waits_is_cancelled() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(5 * MS);
    let chain = [with(LINK, sqe::nop(1)), sqe::link_timeout(ts, 2)];
    assert_eq!(pairs(&ring.run(chain, 2)), [(1, 0), (2, ECANCELED)]);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_linked_timeout_without_a_request_fails_the_chain() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(MS);
    assert_eq!(pairs(&ring.run([sqe::link_timeout(ts, 1)], 1)), [(1, EINVAL)]);
    let two =
        [with(LINK, sqe::nop(1)), with(LINK, sqe::link_timeout(ts, 2)), sqe::link_timeout(ts, 3)];
    assert_eq!(pairs(&ring.run(two, 3)), [(1, ECANCELED), (2, ECANCELED), (3, EINVAL)]);
}

#[test]
fn skip_hides_success_and_never_failure() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let got =
        ring.run([with(SKIP, sqe::nop(1)), with(SKIP, sqe::nop_with(EIO, 2)), sqe::nop(3)], 2);
    assert_eq!(pairs(&got), [(2, EIO), (3, 0)]);
    ring.poke();
    assert_eq!(ring.ready(), 0);
}

#[test]
fn a_failure_with_skip_silences_the_rest_of_its_chain() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let quiet = [with(LINK | SKIP, sqe::nop_with(EIO, 1)), with(LINK, sqe::nop(2)), sqe::nop(3)];
    assert_eq!(pairs(&ring.run(quiet, 1)), [(1, EIO)]);
    let loud = [with(LINK, sqe::nop_with(EIO, 1)), with(LINK | SKIP, sqe::nop(2)), sqe::nop(3)];
    assert_eq!(pairs(&ring.run(loud, 3)), [(1, EIO), (2, ECANCELED), (3, ECANCELED)]);
    ring.poke();
    assert_eq!((ring.ready(), ring.in_flight()), (0, 0));
}

#[test]
fn skip_on_a_timeout_that_fires_leaves_only_its_request() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, _w), buf, ts) = (sim.pipe(), sim.alloc(8), sim.timespec(MS));
    let chain =
        [with(LINK | SKIP, sqe::read(r, buf, 8, 0, 1)), with(SKIP, sqe::link_timeout(ts, 2))];
    assert_eq!(pairs(&ring.run(chain, 1)), [(1, ECANCELED)]);
    ring.poke();
    assert_eq!(ring.ready(), 0);
}

#[test]
fn skip_on_the_timeout_alone_hides_its_cancellation() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf, ts) = (sim.pipe(), sim.alloc(4), sim.timespec(5 * MS));
    sim.feed_later(MS, w, b"data");
    let chain = [with(LINK, sqe::read(r, buf, 4, 0, 1)), with(SKIP, sqe::link_timeout(ts, 2))];
    assert_eq!(pairs(&ring.run(chain, 1)), [(1, 4)]);
    ring.poke();
    assert_eq!(ring.ready(), 0);
}

#[test]
fn a_drain_waits_for_all_before_it_and_holds_all_after_it() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(4));
    ring.push([sqe::read(r, buf, 4, 0, 1), with(DRAIN, sqe::nop(2)), sqe::nop(3)]);
    ring.submit();
    ring.push([sqe::nop(4)]);
    ring.submit();
    ring.poke();
    assert_eq!(ring.ready(), 0);
    sim.feed(w, b"data");
    assert_eq!(pairs(&ring.wait(4)), [(1, 4), (2, 0), (3, 0), (4, 0)]);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_drain_inside_a_chain_drains_the_chains_head() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(4));
    ring.push([
        sqe::read(r, buf, 4, 0, 1),
        with(LINK, sqe::nop(2)),
        with(DRAIN, sqe::nop(3)),
        sqe::nop(4),
    ]);
    ring.submit();
    ring.poke();
    assert_eq!(ring.ready(), 0);
    sim.feed(w, b"data");
    assert_eq!(pairs(&ring.wait(4)), [(1, 4), (2, 0), (3, 0), (4, 0)]);
}

#[test]
fn a_drained_worker_request_holds_the_next_one() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let slow =
        [with(ASYNC, sqe::nop(1)), with(DRAIN | ASYNC, sqe::nop(2)), with(DRAIN, sqe::nop(3))];
    assert_eq!(pairs(&ring.run(slow, 3)), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn a_bad_entry_behind_a_drain_fails_at_once() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(4));
    let bad = ringer_uapi::Sqe { opcode: 200, user_data: 3, ..Default::default() };
    ring.push([sqe::read(r, buf, 4, 0, 1), with(DRAIN, sqe::nop(2)), bad]);
    ring.submit();
    assert_eq!(pairs(&ring.reap()), [(3, EINVAL)]);
    sim.feed(w, b"data");
    assert_eq!(pairs(&ring.wait(2)), [(1, 4), (2, 0)]);
}

#[test]
fn draining_is_refused_once_skip_was_used() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let got = ring.run([with(SKIP, sqe::nop(1)), with(DRAIN, sqe::nop(2))], 1);
    assert_eq!(pairs(&got), [(2, EOPNOTSUPP)]);
}

#[test]
fn a_drain_that_is_refused_still_holds_what_follows() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, SUBMIT_ALL);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(4));
    let refused = ringer_uapi::Sqe { opcode: 11, user_data: 2, ..Default::default() };
    ring.push([sqe::read(r, buf, 4, 0, 1), with(DRAIN, refused), sqe::nop(3)]);
    ring.submit();
    ring.poke();
    assert_eq!(pairs(&ring.reap()), [(2, EINVAL)]);
    sim.feed(w, b"data");
    assert_eq!(pairs(&ring.wait(2)), [(1, 4), (3, 0)]);
}

#[test]
fn what_a_batch_ended_holds_a_drain_until_the_batch_ends() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, SUBMIT_ALL);
    let (r, _w) = sim.pipe();
    let refused = |ud| ringer_uapi::Sqe { opcode: 11, user_data: ud, ..Default::default() };
    ring.push([with(DRAIN, refused(1))]);
    ring.submit();
    // The poll is not started within its batch, so it does not end the drain: 5 waits for it.
    ring.push([refused(2), sqe::poll_multi(r, 1, 3), sqe::nop(4)]);
    ring.submit();
    ring.push([sqe::nop(5)]);
    ring.submit();
    ring.poke();
    assert_eq!(pairs(&ring.reap()), [(1, EINVAL), (2, EINVAL), (4, 0)]);
}
