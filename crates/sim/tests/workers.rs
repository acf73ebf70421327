//! Workers, the reactor and waiting callers: nobody is forgotten, in whatever order they run.

use ringer_sim::errno::ECANCELED;
use ringer_sim::sqe::{ASYNC, DRAIN, FIXED, HARD, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};

const EXT_ARG: u32 = 8;
const GETEVENTS: u32 = 1;
const MS: u64 = 1_000_000;
const SEEDS: u64 = 200;

fn racy(seed: u64) -> Options {
    Options { seed: Some(seed), preempt: 2, ..Options::default() }
}

#[test]
fn a_waiter_is_woken_by_a_worker_in_any_order() {
    for seed in 0..SEEDS {
        let sim = Sim::new(racy(seed));
        let mut ring = Client::new(&sim, 8, 0);
        for i in 0..4 {
            ring.push([with(ASYNC, sqe::nop(2 * i)), with(ASYNC, sqe::nop(2 * i + 1))]);
            ring.submit_and_wait(2);
            assert_eq!(ring.wait(2).len(), 2, "seed {seed}");
        }
        assert_eq!(ring.in_flight(), 0);
    }
}

#[test]
fn what_is_over_at_once_runs_in_the_order_it_was_queued() {
    for seed in 0..SEEDS {
        let sim = Sim::new(racy(seed));
        let mut ring = Client::new(&sim, 8, 0);
        for _ in 0..2 {
            ring.push((0..4).map(|i| with(ASYNC, sqe::nop(i))));
            ring.submit();
            let got: Vec<u64> = ring.wait(4).iter().map(|c| c.user_data).collect();
            assert_eq!(got, [0, 1, 2, 3], "seed {seed}");
        }
    }
}

#[test]
fn one_request_has_one_worker_made_for_it() {
    for seed in 0..SEEDS {
        let sim = Sim::new(Options { no_nowait: true, ..racy(seed) });
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
        ring.push([with(ASYNC, sqe::read(r, buf, 1, 0, 1))]);
        ring.submit();
        sim.run_workers();
        // The reactor may be there, too.
        assert!(sim.threads() <= 2, "seed {seed}: {} threads", sim.threads());
        sim.feed(w, b"a");
        assert_eq!(pairs(&ring.wait(1)), [(1, 1)], "seed {seed}");
    }
}

#[test]
fn what_is_over_at_once_does_not_wait_for_what_is_not() {
    for seed in 0..SEEDS {
        let sim = Sim::new(Options { no_nowait: true, ..racy(seed) });
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
        let reads = |names: [u64; 2]| names.map(|n| with(ASYNC, sqe::read(r, buf, 1, 0, n)));
        let nops = |names: [u64; 2]| names.map(|n| with(ASYNC, sqe::nop(n)));
        ring.push(nops([1, 2]));
        ring.push(reads([10, 11]));
        ring.push(nops([3, 4]));
        ring.submit();
        let mut got: Vec<u64> = ring.wait(4).iter().map(|c| c.user_data).collect();
        got.sort_unstable();
        assert_eq!(got, [1, 2, 3, 4], "seed {seed}");
        sim.feed(w, b"ab");
        assert_eq!(ring.wait(2).len(), 2, "seed {seed}");
    }
}

#[test]
fn a_cancel_is_never_lost_between_an_attempt_and_the_wait_after_it() {
    for no_nowait in [false, true] {
        for seed in 0..SEEDS {
            let sim = Sim::new(Options { no_nowait, ..racy(seed) });
            let mut ring = Client::new(&sim, 8, 0);
            let ((r, _w), buf) = (sim.pipe(), sim.alloc(8));
            ring.push([with(ASYNC, sqe::read(r, buf, 4, 0, 1))]);
            ring.submit();
            if seed % 2 == 0 {
                sim.sleep(1);
            }
            // Nothing ever comes: only the cancel can end it.
            ring.push([sqe::cancel(1, 0, 2)]);
            ring.submit();
            let mut got = pairs(&ring.wait(2));
            got.sort_unstable();
            assert_eq!(got, [(1, ECANCELED), (2, 0)], "seed {seed}");
        }
    }
}

#[test]
fn the_first_request_of_a_new_worker_is_interrupted_as_any_other() {
    for seed in 0..SEEDS {
        let sim = Sim::new(Options { numberless: true, ..racy(seed) });
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, _w), buf) = (sim.pipe(), sim.alloc(8));
        sim.register(ring.fd, 2, sim.fds(&[r]), 1).expect("files");
        ring.push([with(FIXED, sqe::read(0, buf, 4, 0, 1))]);
        ring.submit();
        sim.run_workers();
        // It blocks now, and nothing ever comes: only an interrupt can end it.
        ring.push([sqe::cancel(1, 0, 2)]);
        ring.submit();
        assert_eq!(ring.wait(2).len(), 2, "seed {seed}");
        assert_eq!((ring.in_flight(), sim.held()), (0, 0));
    }
}

#[test]
fn a_device_without_nowait_is_read_once_it_is_ready() {
    for seed in 0..SEEDS {
        let sim = Sim::new(Options { no_nowait: true, ..racy(seed) });
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
        sim.feed_later(MS, w, b"data");
        assert_eq!(pairs(&ring.run([sqe::read(r, buf, 4, 0, 1)], 1)), [(1, 4)], "seed {seed}");
        assert_eq!((ring.in_flight(), sim.held()), (0, 0));
    }
}

#[test]
fn a_request_that_blocks_its_worker_holds_nobody_up() {
    for seed in 0..SEEDS {
        let sim = Sim::new(Options { numberless: true, ..racy(seed) });
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf) = (sim.pipe(), sim.put(b"databuff"));
        sim.register(ring.fd, 2, sim.fds(&[r, w]), 2).expect("files");
        // One idle worker, and then two requests of which the first ends only after the second.
        ring.run([with(FIXED, sqe::write(1, buf, 1, 0, 9))], 1);
        sim.run_workers();
        sim.eat(r, 1);
        let both =
            [with(FIXED, sqe::read(0, buf, 4, 0, 1)), with(FIXED, sqe::write(1, buf + 4, 4, 0, 2))];
        let mut got = pairs(&ring.run(both, 2));
        got.sort_unstable();
        assert_eq!(got, [(1, 4), (2, 4)], "seed {seed}");
        assert_eq!(sim.read(buf, 4), b"buff");
    }
}

#[test]
fn a_receive_that_nobody_can_poll_for_blocks_and_does_not_spin() {
    let sim = Sim::new(Options { numberless: true, ..Options::default() });
    let mut ring = Client::new(&sim, 8, 0);
    let ((a, b), buf) = (sim.socketpair(), sim.alloc(8));
    sim.register(ring.fd, 2, sim.fds(&[a]), 1).expect("files");
    ring.push([with(FIXED, sqe::recv(0, buf, 8, 1))]);
    ring.submit();
    sim.forget_calls();
    sim.sleep(50 * MS);
    assert_eq!(sim.count("recv"), 1);
    sim.feed(b, b"data");
    assert_eq!(pairs(&ring.wait(1)), [(1, 4)]);
    // And a cancel interrupts it.
    ring.push([with(FIXED, sqe::recv(0, buf, 8, 2))]);
    ring.submit();
    sim.run_workers();
    assert_eq!(pairs(&ring.run([sqe::cancel(2, 0, 3)], 2)), [(3, -114), (2, -4)]);
}

#[test]
fn who_leaves_a_long_wait_leaves_the_ring_to_the_reactor() {
    for seed in 0..50 {
        let sim = Sim::new(racy(seed));
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
        ring.push([sqe::read(r, buf, 4, 0, 1)]);
        ring.submit();
        // Long enough for the reactor to stop looking.
        let arg = sim.words(&[0, 0, sim.timespec(200 * MS)]);
        let fd = ring.fd;
        sim.start(move |e| e.enter(fd, 0, 1, GETEVENTS | EXT_ARG, arg, 24)).join().unwrap_err();
        assert_eq!(ring.ready(), 0);
        sim.feed(w, b"data");
        sim.sleep(20 * MS);
        assert_eq!(pairs(&ring.reap()), [(1, 4)], "seed {seed}");
    }
}

#[test]
fn a_reactor_with_nothing_to_do_does_not_tick() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
    sim.feed_later(MS, w, b"data");
    ring.run([sqe::read(r, buf, 4, 0, 1)], 1);
    sim.sleep(100 * MS);
    let before = sim.jumps();
    sim.sleep(1000 * MS);
    assert_eq!(sim.jumps() - before, 1, "only the sleeper's own time");
}

#[test]
fn an_idle_worker_leaves_after_its_time() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    ring.run([with(ASYNC, sqe::nop(1))], 1);
    sim.run_workers();
    assert_eq!(sim.threads(), 1);
    sim.sleep(6000 * MS);
    assert_eq!(sim.threads(), 0);
    assert_eq!(pairs(&ring.run([with(ASYNC, sqe::nop(2))], 1)), [(2, 0)]);
}

#[test]
fn a_waiter_wakes_for_a_timer_that_was_armed_while_it_slept() {
    for seed in 0..50 {
        let sim = Sim::new(racy(seed));
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, _w), buf) = (sim.pipe(), sim.alloc(8));
        if seed % 2 == 0 {
            // The waiter leads; without this it sleeps.
            ring.push([sqe::read(r, buf, 4, 0, 1)]);
            ring.submit();
        }
        let arg = sim.words(&[0, 0, sim.timespec(1000 * MS)]);
        let fd = ring.fd;
        let waiter = sim.start(move |e| e.enter(fd, 0, 1, GETEVENTS | EXT_ARG, arg, 24));
        // Long enough for the reactor to leave the ring to its waiter.
        sim.sleep(100 * MS);
        ring.push([sqe::timeout(sim.timespec(MS), 0, 2)]);
        ring.submit();
        let from = sim.now();
        waiter.join().expect("a completion to wait for");
        assert_eq!(sim.now() - from, MS, "seed {seed}");
    }
}

#[test]
fn a_worker_whose_request_was_cancelled_does_not_begin_to_block() {
    for seed in 0..2 * SEEDS {
        let sim = Sim::new(Options { no_nowait: true, ..racy(seed) });
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf) = (sim.pipe(), sim.alloc(16));
        // Both see that the device is ready, one of them gets what there is.
        sim.feed(w, b"data");
        let reads = [1, 2].map(|ud| with(ASYNC, sqe::read(r, buf, 4, 0, ud)));
        ring.push(reads);
        ring.submit();
        ring.push([sqe::cancel(1, 0, 3), sqe::cancel(2, 0, 4)]);
        ring.submit();
        // Nothing more comes: the other one has to end by its cancel.
        assert_eq!(ring.wait(4).len(), 4, "seed {seed}");
        assert_eq!((ring.in_flight(), sim.held()), (0, 0), "seed {seed}");
    }
}

#[test]
fn what_a_cancelled_worker_leads_to_is_not_interrupted() {
    for seed in 0..2 * SEEDS {
        let sim = Sim::new(Options { no_nowait: true, ..racy(seed) });
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), (to, _from), buf) =
            (sim.pipe(), sim.socketpair(), sim.put(b"databuffdatabuff"));
        sim.feed(w, b"data");
        // One of two readers blocks its worker, which goes on with the chain once it is interrupted.
        for ud in [1, 2] {
            let read = with(ASYNC | HARD, sqe::read(r, buf, 4, 0, ud));
            ring.push([read, sqe::send(to, buf + 8, 4, 10 + ud)]);
        }
        ring.submit();
        sim.run_workers();
        ring.push([sqe::cancel(1, 0, 3), sqe::cancel(2, 0, 4)]);
        ring.submit();
        let got = pairs(&ring.wait(6));
        assert_eq!(got.len(), 6, "seed {seed}");
        // A send may be short.
        let sent = got.iter().filter(|&&(ud, res)| ud > 10 && res > 0);
        assert_eq!(sent.count(), 2, "seed {seed}: {got:?}");
        assert_eq!((ring.in_flight(), sim.held()), (0, 0), "seed {seed}");
    }
}

/// More than a worker starts at once.
const MUCH: u64 = 3_000;

/// A ring where a worker is about to set free what a drain held back: reads of a cached file.
fn held_back(sim: &Sim) -> Client {
    let mut ring = Client::new(sim, 4096, 0);
    let (fd, buf) = (sim.file(b"data", 4), sim.alloc(4));
    ring.push([with(ASYNC, sqe::nop(1)), with(DRAIN, sqe::nop(2))]);
    ring.push((0..MUCH).map(|n| sqe::read(fd, buf, 4, 0, 3 + n)));
    ring.submit();
    sim.forget_calls();
    ring
}

#[test]
fn a_worker_that_sets_much_free_lets_go_meanwhile() {
    let sim = Sim::default();
    let mut ring = held_back(&sim);
    sim.sleep(MS / 20);
    let first = u64::from(ring.ready());
    assert!((2..MUCH).contains(&first), "{first} at once");
    assert_eq!((ring.wait(2 + MUCH as u32).len() as u64, ring.in_flight()), (2 + MUCH, 0));
}

#[test]
fn a_worker_starts_no_more_once_its_ring_ends() {
    let sim = Sim::default();
    let ring = held_back(&sim);
    // The worker sets them free, and lets go for a while.
    sim.sleep(MS / 20);
    let started = sim.count("readv");
    assert!((1..MUCH as usize).contains(&started), "{started} were started");
    sim.close_ring(ring.fd);
    sim.run_workers();
    assert_eq!(sim.count("readv"), started);
    assert_eq!(sim.held(), 0);
}

#[test]
fn workers_end_with_the_last_ring() {
    for numberless in [false, true] {
        for seed in 0..SEEDS {
            let sim = Sim::new(Options { numberless, ..racy(seed) });
            let (mut ring, other) = (Client::new(&sim, 8, 0), Client::new(&sim, 8, 0));
            let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
            sim.register(ring.fd, 2, sim.fds(&[r]), 1).expect("files");
            sim.feed(w, b"ab");
            let reads = [1, 2].map(|ud| with(ASYNC | FIXED, sqe::read(0, buf, 1, 0, ud)));
            ring.push(reads);
            ring.submit();
            assert_eq!(ring.wait(2).len(), 2, "seed {seed}");
            sim.close_ring(ring.fd);
            sim.run_workers();
            assert!(sim.threads() > 0, "seed {seed}: the other ring keeps them");
            sim.close_ring(other.fd);
            sim.run_workers();
            assert_eq!(sim.threads(), 0, "seed {seed}");
        }
    }
}

#[test]
fn a_ring_that_nobody_waits_in_is_looked_after_at_once() {
    for seed in 0..SEEDS {
        let sim = Sim::new(racy(seed));
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
        ring.push([sqe::read(r, buf, 1, 0, 1)]);
        ring.submit();
        sim.feed_later(MS / 2, w, b"a");
        sim.sleep(MS / 2 + MS / 8);
        assert_eq!(ring.completions(), 1, "seed {seed}");
    }
}

/// 6.18 io_uring.c `io_prep_async_work`: writes of a regular file are hashed by its inode.
#[test]
fn writes_to_one_file_run_in_the_order_they_were_queued() {
    for seed in 0..SEEDS {
        let sim = Sim::new(racy(seed));
        let mut ring = Client::new(&sim, 16, 0);
        let (one, other, buf) = (sim.file(b"-", 1), sim.file(b"-", 1), sim.alloc(8));
        sim.write(buf, b"abcdefgh");
        let write = |fd, i: u64| with(ASYNC, sqe::write(fd, buf + i, 1, 0, i));
        ring.push((0..8).map(|i| write(if i % 3 == 2 { other } else { one }, i)));
        ring.submit();
        let got: Vec<u64> = ring.wait(8).iter().map(|c| c.user_data).collect();
        let of = |fd: u64| {
            got.iter().copied().filter(move |i| (i % 3 == 2) == (fd == 1)).collect::<Vec<_>>()
        };
        assert_eq!((of(0), of(1)), (vec![0, 1, 3, 4, 6, 7], vec![2, 5]), "seed {seed}");
        assert_eq!(
            (sim.contents(one), sim.contents(other)),
            (b"h".to_vec(), b"f".to_vec()),
            "seed {seed}"
        );
    }
}

#[test]
fn a_write_that_was_cancelled_does_not_hold_up_those_behind_it() {
    for seed in 0..SEEDS {
        let sim = Sim::new(racy(seed));
        let mut ring = Client::new(&sim, 16, 0);
        let (fd, buf) = (sim.file(b"-", 1), sim.alloc(8));
        sim.write(buf, b"abcdefgh");
        ring.push((0..6).map(|i| with(ASYNC, sqe::write(fd, buf + i, 1, 0, i))));
        ring.push([sqe::cancel(1, 0, 20), sqe::cancel(3, 0, 21)]);
        ring.submit();
        let got = ring.wait(8);
        assert_eq!((got.len(), ring.in_flight()), (8, 0), "seed {seed}");
        assert_eq!(sim.contents(fd), b"f", "seed {seed}");
    }
}
