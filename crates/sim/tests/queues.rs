//! The two queues: index array, overflow and backlog, who may submit, when completions appear.

use ringer_sim::sqe::{ASYNC, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};
use ringer_uapi::Errno;
use std::sync::atomic::Ordering::Release;

const GETEVENTS: u32 = 1;
const MORE: u32 = 2;
const SQ_WAKEUP: u32 = 2;
const SQ_WAIT: u32 = 4;
const CQ_OVERFLOW: u32 = 2;
const CQSIZE: u32 = 1 << 3;
const TASKRUN: u32 = 4;
const R_DISABLED: u32 = 1 << 6;
const SUBMIT_ALL: u32 = 1 << 7;
const TASKRUN_FLAG: u32 = 1 << 9;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER: u32 = 1 << 13;
const NO_SQARRAY: u32 = 1 << 16;
const ENABLE_RINGS: u32 = 12;
const MS: u64 = 1_000_000;

#[test]
fn an_index_out_of_range_ends_the_batch_uncounted() {
    for setup in [0, SUBMIT_ALL] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 4, setup);
        ring.push_at(&sqe::nop(1), None);
        ring.push_at(&sqe::nop(2), Some(4));
        ring.push_at(&sqe::nop(3), None);
        assert_eq!(ring.enter(3, 0, 0), Ok(1));
        assert_eq!((ring.sq_head(), ring.dropped()), (2, 1));
        assert_eq!(pairs(&ring.reap()), [(1, 0)]);
        assert_eq!(ring.enter(3, 0, 0), Ok(1));
        assert_eq!(pairs(&ring.reap()), [(3, 0)]);
    }
}

#[test]
fn the_index_array_may_name_any_entry_again() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 4, 0);
    ring.push_at(&sqe::nop(1), None);
    ring.push_at(&sqe::nop(2), Some(0));
    assert_eq!(ring.enter(9, 0, 0), Ok(2));
    assert_eq!(pairs(&ring.reap()), [(1, 0), (1, 0)]);
}

#[test]
fn without_the_array_entries_come_in_slot_order() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 4, NO_SQARRAY);
    for round in 0..3 {
        let got = ring.run((0..3).map(|i| sqe::nop(10 * round + i)), 3);
        let want: Vec<_> = (0..3).map(|i| (10 * round + i, 0)).collect();
        assert_eq!(pairs(&got), want);
    }
}

#[test]
fn a_rings_state_says_what_waits_where_and_what_went_through() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 2, 0);
    let ((read, _write), buf) = (sim.pipe(), sim.alloc(8));
    ring.run([sqe::nop(1)], 1);
    ring.push([sqe::read(read, buf, 8, 0, 2)]);
    ring.submit();
    for i in 0..3 {
        ring.push([sqe::nop(2 * i), sqe::nop(2 * i + 1)]);
        ring.submit();
    }
    let mut states = Vec::new();
    sim.engine.ring_states(&mut |state| states.push(*state));
    let [s] = states[..] else { panic!("{states:?}") };
    assert_eq!((s.in_flight, s.polled, s.workers), (1, 1, 0), "{s:?}");
    assert_eq!((s.cq_ready, s.cq_entries, s.backlog), (4, 4, 2), "{s:?}");
    assert_eq!((s.taken, s.told), (8, 7), "{s:?}");
}

#[test]
fn nothing_overtakes_the_backlog() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 2, 0);
    for i in 0..3u64 {
        ring.push([sqe::nop(2 * i), sqe::nop(2 * i + 1)]);
        ring.submit();
    }
    assert_eq!((ring.ready(), ring.sq_flags() & CQ_OVERFLOW), (4, CQ_OVERFLOW));
    // Room, but what waits in the backlog is older than the next completion.
    assert_eq!(ring.take().map(|c| c.user_data), Some(0));
    ring.push([sqe::nop(6)]);
    ring.submit();
    assert_eq!(ring.ready(), 3);
    let mut all = pairs(&ring.reap());
    while ring.sq_flags() & CQ_OVERFLOW != 0 {
        ring.poke();
        all.extend(pairs(&ring.reap()));
    }
    let want: Vec<_> = (1..7).map(|i| (i, 0)).collect();
    assert_eq!(all, want);
}

#[test]
fn a_plain_enter_leaves_the_backlog_alone() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 1, 0);
    for i in 0..3 {
        ring.push([sqe::nop(i)]);
        ring.submit();
    }
    assert_eq!(ring.reap().len(), 2);
    assert_eq!(ring.enter(0, 0, 0), Ok(0));
    assert_eq!((ring.ready(), ring.sq_flags() & CQ_OVERFLOW), (0, CQ_OVERFLOW));
    ring.poke();
    assert_eq!((ring.ready(), ring.sq_flags() & CQ_OVERFLOW), (1, 0));
}

#[test]
fn a_wait_for_more_than_the_queue_holds_ends_when_it_is_full() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 2, 0);
    for i in 0..6 {
        ring.push([sqe::nop(i)]);
        ring.submit();
    }
    assert_eq!(ring.enter(0, 100, 1), Ok(0));
    assert_eq!(ring.ready(), 4);
}

#[test]
fn deferred_completions_appear_only_when_asked_for() {
    for seed in 0..40 {
        let sim = Sim::new(Options { seed: Some(seed), preempt: 3, ..Options::default() });
        let mut ring = Client::new(&sim, 8, SINGLE_ISSUER | DEFER | TASKRUN_FLAG);
        let ((r, w), buf, fd) = (sim.pipe(), sim.alloc(64), sim.file(&[1; 32], 0));
        let poll = sqe::poll(r, 1, 3);
        ring.push([sqe::read(r, buf, 4, 0, 1), sqe::read(fd, buf + 32, 32, 0, 2), poll]);
        ring.submit();
        sim.feed(w, b"data");
        sim.run_workers();
        sim.sleep(20 * MS);
        assert_eq!(ring.ready(), 0, "seed {seed}");
        assert_eq!(ring.sq_flags() & TASKRUN, TASKRUN, "seed {seed}");
        assert_eq!(ring.enter(0, 0, 0), Ok(0));
        assert_eq!(ring.ready(), 0, "seed {seed}");
        let mut got = pairs(&ring.wait(2));
        got.sort_unstable();
        assert!(got.contains(&(1, 4)) && got.contains(&(2, 32)), "seed {seed}: {got:?}");
        assert_eq!(ring.sq_flags() & TASKRUN, 0, "seed {seed}");
    }
}

#[test]
fn a_default_ring_shows_completions_without_a_call() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(4));
    ring.push([sqe::read(r, buf, 4, 0, 1)]);
    ring.submit();
    sim.feed(w, b"data");
    sim.sleep(10 * MS);
    assert_eq!(pairs(&ring.reap()), [(1, 4)]);
}

#[test]
fn only_the_issuer_submits_registers_and_gets_deferred_events() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, SINGLE_ISSUER | DEFER);
    ring.push([sqe::nop(1)]);
    let fd = ring.fd;
    let got = sim.on_another_thread(move |e| {
        let array = ringer_sim::BASE;
        [
            e.enter(fd, 1, 0, 0, 0, 0),
            e.register(fd, 2, array, 1),
            e.enter(fd, 0, 0, 1, 0, 0),
            e.enter(fd, 0, 0, 0, 0, 0),
        ]
    });
    let no = Err(Errno::EEXIST);
    assert_eq!(got, [no, no, no, Ok(0)]);
    assert_eq!(ring.submit(), 1);
    assert_eq!(pairs(&ring.wait(1)), [(1, 0)]);
}

#[test]
fn the_issuer_of_a_disabled_ring_is_who_enables_it() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, SINGLE_ISSUER | R_DISABLED);
    ring.push([sqe::nop(1)]);
    assert_eq!(ring.enter(1, 0, 0), Err(Errno::EBADFD));
    let fd = ring.fd;
    let got = sim.on_another_thread(move |e| {
        (e.register(fd, ENABLE_RINGS, 0, 0), e.enter(fd, 1, 0, 0, 0, 0))
    });
    assert_eq!(got, (Ok(0), Ok(1)));
    assert_eq!(ring.enter(1, 0, 0), Err(Errno::EEXIST));
    assert_eq!(pairs(&ring.reap()), [(1, 0)]);
}

#[test]
fn fewer_entries_than_asked_for_end_the_call_without_a_wait() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    ring.push([sqe::nop(1)]);
    assert_eq!(ring.enter(2, 5, 1), Ok(1));
}

#[test]
fn a_wait_ends_with_its_timeout_or_a_signal() {
    let sim = Sim::default();
    let ring = Client::new(&sim, 8, 0);
    let start = sim.now();
    assert_eq!(ring.wait_ns(&sim, 1, 3 * MS), Err(Errno::ETIME));
    assert_eq!(sim.now() - start, 3 * MS);
    sim.signal_later(MS);
    assert_eq!(ring.wait_ns(&sim, 1, 3 * MS), Err(Errno::EINTR));
    assert_eq!(sim.now() - start, 4 * MS);
}

#[test]
fn an_eventfd_counts_batches_and_not_what_overflowed() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 1, 0);
    let fd = sim.eventfd();
    sim.register(ring.fd, 4, sim.fds(&[fd]), 1).expect("eventfd");
    for i in 0..4 {
        ring.push([sqe::nop(i)]);
        ring.submit();
    }
    assert_eq!((ring.ready(), sim.event_count(fd)), (2, 2));
}

#[test]
fn an_async_eventfd_is_told_by_workers_only() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 4, 0);
    let fd = sim.eventfd();
    sim.register(ring.fd, 7, sim.fds(&[fd]), 1).expect("eventfd");
    ring.run([sqe::nop(1)], 1);
    assert_eq!(sim.event_count(fd), 0);
    ring.run([with(ASYNC, sqe::nop(2))], 1);
    assert_eq!(sim.event_count(fd), 1);
}

#[test]
fn a_submitter_does_not_take_the_wake_of_the_thread_that_leads() {
    let sim = Sim::default();
    let params = ringer_uapi::Params { flags: CQSIZE, cq_entries: 4, ..Default::default() };
    let mut ring = Client::try_new(&sim, 4, params).expect("a ring");
    let ((never, _keep), (_also, w), fd) = (sim.pipe(), sim.pipe(), ring.fd);
    ring.push([sqe::poll(never, 1, 9)]);
    ring.submit();
    let waiter = sim.start(move |e| e.enter(fd, 0, 3, GETEVENTS, 0, 0));
    sim.run_workers();
    ring.push((1..5).map(sqe::nop));
    ring.submit();
    // The waiter is woken and has not run. A multishot poll of something ready speaks with its batch,
    // for which its submitter looks; in a full queue it publishes nothing.
    ring.push([sqe::poll_multi(w, 4, 5)]);
    ring.submit();
    sim.run_workers();
    assert!(waiter.is_over(), "asleep with {} completions", ring.ready());
    assert_eq!(waiter.join(), Ok(0));
}

#[test]
fn a_submission_thread_takes_entries_without_a_call_and_sleeps_when_idle() {
    for seed in 0..20 {
        let sim = Sim::new(Options { seed: Some(seed), preempt: 4, ..Options::default() });
        let params =
            ringer_uapi::Params { flags: 2, sq_thread_idle: 2, ..ringer_uapi::Params::default() };
        let mut ring = Client::try_new(&sim, 8, params).expect("a ring");
        ring.push([sqe::nop(1), sqe::nop(2)]);
        sim.sleep(MS);
        assert_eq!(pairs(&ring.reap()), [(1, 0), (2, 0)], "seed {seed}");
        assert_eq!(ring.sq_flags() & 1, 0);
        sim.sleep(10 * MS);
        assert_eq!(ring.sq_flags() & 1, 1, "seed {seed}: NEED_WAKEUP");
        ring.push([sqe::nop(3)]);
        sim.sleep(10 * MS);
        assert_eq!(ring.ready(), 0, "seed {seed}");
        ring.enter(1, 0, 2).expect("SQ_WAKEUP");
        sim.sleep(MS);
        assert_eq!(pairs(&ring.reap()), [(3, 0)], "seed {seed}");
        sim.close_ring(ring.fd);
    }
}

#[test]
fn a_signal_ends_the_wait_for_room_and_nobody_wakes_the_sleeping_thread_for_it() {
    let sim = Sim::default();
    let params =
        ringer_uapi::Params { flags: 2, sq_thread_idle: 2, ..ringer_uapi::Params::default() };
    let mut ring = Client::try_new(&sim, 2, params).expect("a ring");
    sim.sleep(10 * MS);
    assert_eq!(ring.sq_flags() & 1, 1, "NEED_WAKEUP");
    ring.push([sqe::nop(1), sqe::nop(2)]);
    sim.signal_later(MS);
    assert_eq!(ring.enter(7, 0, SQ_WAIT), Ok(7));
    assert_eq!(ring.queued(), 2, "the thread sleeps on");
    assert_eq!(ring.enter(0, 0, SQ_WAIT | SQ_WAKEUP), Ok(0));
    assert_eq!(ring.queued(), 0);
    sim.close_ring(ring.fd);
}

#[test]
fn a_signal_or_a_timeout_is_no_error_beside_a_completion() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    ring.push([sqe::nop(1)]);
    ring.submit();
    sim.signal_later(MS);
    assert_eq!(ring.enter(0, 2, GETEVENTS), Ok(0));
    assert_eq!(ring.wait_ns(&sim, 2, MS), Ok(0));
    assert_eq!(pairs(&ring.reap()), [(1, 0)]);
}

#[test]
fn a_multishot_poll_of_something_ready_speaks_with_its_own_batch() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 2, 0);
    let (r, w) = sim.pipe();
    sim.feed(w, b"data");
    ring.push([sqe::poll_multi(r, 1, 1)]);
    ring.submit();
    // Four fit: what comes later finds no room, and would end the poll.
    for ud in 2..6 {
        ring.push([sqe::nop(ud)]);
        ring.submit();
    }
    let got: Vec<_> = ring.reap().iter().map(|c| (c.user_data, c.flags)).collect();
    assert_eq!(got, [(1, MORE), (2, 0), (3, 0), (4, 0)]);
}

#[test]
fn a_submission_thread_lets_others_in_though_the_tail_is_far_ahead() {
    const SQPOLL: u32 = 2;
    const SKIP_SUCCESS: u8 = 0x40;
    const FAR: u32 = 100_000;
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, SQPOLL);
    ring.push((0..8).map(|i| with(SKIP_SUCCESS, sqe::nop(i))));
    let tail = ring.params.sq_off.tail as usize;
    ring.memory.rings.w32(tail).store(FAR, Release);
    ring.enter(0, 0, SQ_WAKEUP).expect("wake");
    sim.sleep(1);
    // Whoever needs the ring's lock gets it between two batches.
    sim.register(ring.fd, 2, sim.fds(&[sim.pipe().0]), 1).expect("files");
    assert!((1..FAR).contains(&ring.sq_head()), "{}", ring.sq_head());
}
