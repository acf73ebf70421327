//! TIMEOUT by time and by count, its removal and what it does to waits (spec 3.5).

use ringer_engine::host::Clock;
use ringer_sim::errno::{ECANCELED, ENOENT, ETIME};
use ringer_sim::sqe::{LINK, with};
use ringer_sim::{Client, Sim, pairs, sqe};
use ringer_uapi::{Errno, Sqe};

const MS: u64 = 1_000_000;
const MULTISHOT: u32 = 64;

#[test]
fn a_timeout_fires_at_its_time() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(7 * MS);
    let start = sim.now();
    assert_eq!(pairs(&ring.run([sqe::timeout(ts, 0, 1)], 1)), [(1, ETIME)]);
    assert_eq!(sim.now() - start, 7 * MS);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_timeout_of_a_ring_that_was_busy_is_not_much_later_for_it() {
    for quiet in 0..10 {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf, ts) = (sim.pipe(), sim.alloc(64), sim.timespec(2 * MS));
        // Callers come and go, and the background thread looks less and less often.
        for n in 0..30 + quiet {
            sim.feed_later(MS, w, b"x");
            assert_eq!(pairs(&ring.run([sqe::read(r, buf, 1, u64::MAX, n)], 1)), [(n, 1)]);
        }
        ring.push([sqe::timeout(ts, 0, 100)]);
        ring.submit();
        // By two of the shortest pauses: one in which a caller led, and one to come back.
        sim.sleep((2 + 2) * MS + 1);
        assert_eq!(pairs(&ring.reap()), [(100, ETIME)], "{quiet}");
    }
}

#[test]
fn a_timeout_fires_without_anybody_waiting() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(7 * MS);
    ring.push([sqe::timeout(ts, 0, 1)]);
    ring.submit();
    sim.sleep(20 * MS);
    assert_eq!(pairs(&ring.reap()), [(1, ETIME)]);
}

#[test]
fn a_counted_timeout_ends_with_the_count() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(1000 * MS);
    ring.push([sqe::timeout(ts, 2, 1)]);
    ring.submit();
    ring.push([sqe::nop(2)]);
    ring.submit();
    assert_eq!(pairs(&ring.reap()), [(2, 0)]);
    ring.push([sqe::nop(3)]);
    ring.submit();
    assert_eq!(pairs(&ring.reap()), [(3, 0), (1, 0)]);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn completions_before_it_in_its_batch_count() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(1000 * MS);
    let got = ring.run([sqe::nop(1), sqe::nop(2), sqe::timeout(ts, 1, 3)], 3);
    assert_eq!(pairs(&got), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn two_counted_timeouts_end_with_the_same_completion() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(1000 * MS);
    ring.push([sqe::timeout(ts, 1, 1), sqe::timeout(ts, 1, 2)]);
    ring.submit();
    assert_eq!(pairs(&ring.run([sqe::nop(3)], 3)), [(3, 0), (1, 0), (2, 0)]);
}

#[test]
fn a_timeouts_own_completion_does_not_count() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (soon, late) = (sim.timespec(MS), sim.timespec(1000 * MS));
    ring.push([sqe::timeout(late, 1, 1), sqe::timeout(soon, 0, 2)]);
    ring.submit();
    sim.sleep(5 * MS);
    assert_eq!(pairs(&ring.reap()), [(2, ETIME)]);
    assert_eq!(pairs(&ring.run([sqe::nop(3)], 2)), [(3, 0), (1, 0)]);
}

#[test]
fn a_wait_ends_with_any_timeout() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(MS);
    ring.push([sqe::timeout(ts, 0, 1)]);
    ring.submit();
    assert_eq!(ring.enter(0, 5, 1), Ok(0));
    assert_eq!(pairs(&ring.reap()), [(1, ETIME)]);
}

#[test]
fn a_removed_timeout_is_cancelled_after_the_removal() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(1000 * MS);
    ring.push([sqe::timeout(ts, 0, 1)]);
    ring.submit();
    let got = ring.run([sqe::timeout_remove(1, 2), sqe::timeout_remove(1, 3)], 3);
    assert_eq!(got.len(), 3);
    let mut sorted = pairs(&got);
    sorted.sort_unstable();
    assert_eq!(sorted, [(1, ECANCELED), (2, 0), (3, ENOENT)]);
    assert_eq!(got.first().map(|c| c.user_data), Some(2));
}

#[test]
fn an_updated_timeout_fires_at_its_new_time() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (late, soon) = (sim.timespec(1000 * MS), sim.timespec(2 * MS));
    ring.push([sqe::timeout(late, 0, 1)]);
    ring.submit();
    let start = sim.now();
    let update = Sqe { op_flags: 2, off: soon, ..sqe::timeout_remove(1, 2) };
    assert_eq!(pairs(&ring.run([update], 2)), [(2, 0), (1, ETIME)]);
    assert_eq!(sim.now() - start, 2 * MS);
}

#[test]
fn a_multishot_timeout_repeats_as_often_as_it_says() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(MS);
    let start = sim.now();
    let got = ring.run([Sqe { op_flags: MULTISHOT, ..sqe::timeout(ts, 3, 1) }], 3);
    let more: Vec<_> = got.iter().map(|c| (c.res, c.flags & 2 != 0)).collect();
    assert_eq!(more, [(ETIME, true), (ETIME, true), (ETIME, false)]);
    assert_eq!(sim.now() - start, 3 * MS);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn an_absolute_time_that_has_passed_fires_at_once() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ts = sim.timespec(1);
    let start = sim.now();
    let got = ring.run([Sqe { op_flags: 1, ..sqe::timeout(ts, 0, 1) }], 1);
    assert_eq!((pairs(&got), sim.now()), (vec![(1, ETIME)], start));
}

#[test]
fn a_count_starts_after_the_timeouts_that_fired_before() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (soon, late) = (sim.timespec(MS), sim.timespec(1000 * MS));
    assert_eq!(pairs(&ring.run([sqe::timeout(soon, 0, 1)], 1)), [(1, ETIME)]);
    ring.push([sqe::timeout(late, 1, 2)]);
    ring.submit();
    ring.poke();
    assert_eq!(ring.ready(), 0);
    assert_eq!(pairs(&ring.run([sqe::nop(3)], 2)), [(3, 0), (2, 0)]);
}

#[test]
fn a_removed_timeout_counts_for_the_others() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let late = sim.timespec(1000 * MS);
    ring.push([sqe::timeout(late, 0, 1), sqe::timeout(late, 2, 2)]);
    ring.submit();
    let got = pairs(&ring.run([sqe::timeout_remove(1, 3)], 3));
    assert_eq!(got, [(3, 0), (1, ECANCELED), (2, 0)]);
}

#[test]
fn a_removed_timeout_does_not_end_a_wait() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let late = sim.timespec(1000 * MS);
    ring.push([sqe::timeout(late, 0, 1)]);
    ring.submit();
    let arg = sim.words(&[0, 0, sim.timespec(80 * MS)]);
    let (fd, start) = (ring.fd, sim.now());
    let waiter = sim.start(move |e| e.enter(fd, 0, 5, 1 | 8, arg, 24));
    sim.sleep(MS);
    ring.push([sqe::timeout_remove(1, 2)]);
    ring.submit();
    assert_eq!(waiter.join(), Ok(0));
    assert_eq!(sim.now() - start, 80 * MS);
}

#[test]
fn a_timeout_fires_by_itself_beside_what_waits_already() {
    const SQPOLL: u32 = 2;
    const SQ_WAKEUP: u32 = 2;
    for setup in [0, SQPOLL] {
        for pause in [0, 1, 20, 200] {
            let sim = Sim::default();
            let mut ring = Client::new(&sim, 8, setup);
            let ((r, _w), buf) = (sim.pipe(), sim.alloc(8));
            // The reactor sleeps until the pipe is ready, and has no other reason to wake.
            ring.push([sqe::read(r, buf, 8, 0, 1)]);
            ring.enter(1, 0, SQ_WAKEUP).expect("submit");
            sim.sleep(pause * MS);
            ring.push([sqe::timeout(sim.timespec(5 * MS), 0, 2)]);
            ring.enter(1, 0, SQ_WAKEUP).expect("submit");
            sim.sleep(30 * MS);
            assert_eq!(pairs(&ring.reap()), [(2, ETIME)], "setup {setup:#x}, {pause} ms");
        }
    }
}

#[test]
fn what_waits_beside_a_long_timeout_is_looked_after() {
    for pause in [0, 1, 20, 200] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
        // The reactor sleeps until the timeout, and watches nothing.
        ring.push([sqe::timeout(sim.timespec(10_000 * MS), 0, 1)]);
        ring.submit();
        sim.sleep(pause * MS);
        ring.push([sqe::read(r, buf, 8, 0, 2)]);
        ring.submit();
        sim.sleep(30 * MS);
        sim.feed(w, b"data");
        sim.sleep(30 * MS);
        assert_eq!(pairs(&ring.reap()), [(2, 4)], "{pause} ms");
    }
}

#[test]
fn a_batch_reaches_a_count_before_what_it_leads_to_runs() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let hour = sim.timespec(3_600_000 * MS);
    ring.push([sqe::timeout(hour, 2, 1)]);
    ring.submit();
    ring.push([with(LINK, sqe::nop(2)), sqe::timeout_remove(1, 3), sqe::nop(4)]);
    ring.submit();
    assert_eq!(pairs(&ring.wait(4)), [(2, 0), (4, 0), (1, 0), (3, ENOENT)]);
}

#[test]
fn a_timeout_whose_time_has_come_is_not_found() {
    for finder in [sqe::timeout_remove(1, 2), sqe::cancel(1, 0, 2)] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, 0);
        let now = sim.timespec(0);
        let mut got = pairs(&ring.run([sqe::timeout(now, 0, 1), finder], 2));
        got.sort_unstable();
        assert_eq!(got, [(1, ETIME), (2, ENOENT)]);
    }
}

const ABS: u32 = 1;
const BOOTTIME: u32 = 4;
const REALTIME: u32 = 8;
const HOUR: u64 = 3_600_000 * MS;
/// What the clocks of the world say at the start.
const BOOTED: u64 = HOUR;
const EPOCH: u64 = 1_700_000_000_000 * MS;

#[test]
fn a_timeout_fires_by_its_own_clock_when_that_is_set() {
    let whole = [(REALTIME | ABS, EPOCH + HOUR), (BOOTTIME | ABS, BOOTED + HOUR), (BOOTTIME, HOUR)];
    for (flags, time) in whole {
        let clock = if flags & REALTIME != 0 { Clock::Realtime } else { Clock::Boottime };
        for waits in [true, false] {
            let sim = Sim::default();
            let mut ring = Client::new(&sim, 8, 0);
            let ts = sim.timespec(time);
            ring.push([Sqe { op_flags: flags, ..sqe::timeout(ts, 0, 1) }]);
            ring.submit();
            let start = sim.now();
            sim.step_clock_later(5 * MS, clock, HOUR / 2);
            sim.step_clock_later(7 * MS, clock, HOUR / 2);
            if !waits {
                sim.sleep(6 * MS);
                assert_eq!(ring.reap().len(), 0, "{flags:#x}: half an hour is left");
                sim.sleep(30 * MS);
            }
            assert_eq!(pairs(&ring.wait(1)), [(1, ETIME)], "{flags:#x}");
            assert!(sim.now() - start < 40 * MS, "{flags:#x}: {}", sim.now() - start);
        }
    }
}

#[test]
fn a_relative_timeout_is_not_moved_by_the_real_time() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (ts, linked) = (sim.timespec(20 * MS), sim.timespec(EPOCH + HOUR));
    let ((r, _w), buf, start) = (sim.pipe(), sim.alloc(8), sim.now());
    ring.push([
        Sqe { op_flags: REALTIME, ..sqe::timeout(ts, 0, 1) },
        with(LINK, sqe::read(r, buf, 8, 0, 2)),
        Sqe { op_flags: REALTIME | ABS, ..sqe::link_timeout(linked, 3) },
    ]);
    ring.submit();
    sim.step_clock_later(5 * MS, Clock::Realtime, HOUR);
    let mut got = pairs(&ring.wait(2));
    got.sort_unstable();
    assert_eq!((got, sim.now() - start), (vec![(2, ECANCELED), (3, ETIME)], 5 * MS));
    assert_eq!((pairs(&ring.wait(1)), sim.now() - start), (vec![(1, ETIME)], 20 * MS));
}

#[test]
fn a_wait_ends_by_the_rings_clock_when_the_machine_was_suspended() {
    const GETEVENTS_EXT_ARG_ABS_TIMER: u32 = 1 | 8 | 32;
    for polls in [false, true] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, 0);
        sim.register(ring.fd, 29, sim.words(&[7, 0]), 0).expect("CLOCK");
        let ((r, _w), buf) = (sim.pipe(), sim.alloc(8));
        if polls {
            ring.push([sqe::read(r, buf, 8, 0, 1)]);
            ring.submit();
        }
        let arg = sim.words(&[0, 0, sim.timespec(BOOTED + HOUR)]);
        sim.step_clock_later(5 * MS, Clock::Boottime, HOUR);
        let (fd, start) = (ring.fd, sim.now());
        let ended = sim.on_another_thread(move |engine| {
            engine.enter(fd, 0, 1, GETEVENTS_EXT_ARG_ABS_TIMER, arg, 24)
        });
        assert_eq!((ended, sim.now() - start), (Err(Errno::ETIME), 5 * MS), "{polls}");
    }
}
