//! What a policy does to requests: each act as it is said, and nothing besides.

use ringer_sim::errno::{ECANCELED, EINTR, EIO};
use ringer_sim::sqe::{ASYNC, LINK, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};
use ringer_uapi::{Errno, Sqe};

const GETEVENTS: u32 = 1;
const OVERFLOW: u32 = 2;
const MS: u64 = 1_000_000;

#[test]
fn a_cut_read_says_how_much_it_read_and_breaks_its_link() {
    let sim = Sim::under("rule short=10 op=READ");
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(&[7; 64], 64), sim.put(&[0; 64]));
    ring.push([with(LINK, sqe::read(fd, buf, 64, 0, 1)), sqe::nop(2)]);
    ring.submit();
    assert_eq!(pairs(&ring.wait(2)), [(1, 10), (2, ECANCELED)]);
    assert_eq!(sim.read(buf, 64), [[7; 10].as_slice(), &[0; 54]].concat());
}

#[test]
fn an_error_ends_a_request_of_which_nothing_was_tried() {
    let sim = Sim::under("rule errno=EIO op=WRITE nth=2");
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(b"----", 4), sim.put(b"abcd"));
    ring.push((0..3).map(|i| sqe::write(fd, buf + i, 1, i, i)));
    ring.submit();
    let mut got = pairs(&ring.wait(3));
    got.sort_unstable();
    assert_eq!(got, [(0, 1), (1, EIO), (2, 1)]);
    assert_eq!(sim.contents(fd), b"a-c-");
}

#[test]
fn datagrams_are_left_whole_and_streams_are_not() {
    let sim = Sim::under("rule short=1");
    let mut ring = Client::new(&sim, 8, 0);
    let buf = sim.put(b"abcdefgh");
    let ((a, b), (c, d)) = (sim.datagrams(), sim.socketpair());
    ring.push([sqe::send(a, buf, 8, 1), sqe::recv(b, buf, 8, 2)]);
    ring.push([sqe::send(c, buf, 8, 3), sqe::recv(d, buf, 8, 4)]);
    ring.submit();
    let mut got = pairs(&ring.wait(4));
    got.sort_unstable();
    assert_eq!(got, [(1, 8), (2, 8), (3, 1), (4, 1)]);
}

#[test]
fn what_asks_for_all_of_a_stream_is_left_whole() {
    const MSG_WAITALL: u32 = 0x100;
    let sim = Sim::under("rule short=1");
    let mut ring = Client::new(&sim, 8, 0);
    let (buf, (a, b)) = (sim.put(b"abcdefgh"), sim.socketpair());
    let whole = |sqe: Sqe| Sqe { op_flags: MSG_WAITALL, ..sqe };
    ring.push([whole(sqe::send(a, buf, 8, 1)), whole(sqe::recv(b, buf, 8, 2))]);
    ring.submit();
    assert_eq!(pairs(&ring.wait(2)), [(1, 8), (2, 8)]);
}

#[test]
fn a_late_completion_of_a_worker_tells_an_eventfd_that_is_for_workers() {
    let sim = Sim::under("rule delay=5ms op=READ");
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf, bell) = (sim.file(&[7; 64], 64), sim.alloc(64), sim.eventfd());
    sim.register(ring.fd, 7, sim.fds(&[bell]), 1).expect("eventfd");
    ring.push([with(ASYNC, sqe::read(fd, buf, 64, 0, 1))]);
    ring.submit();
    sim.sleep(MS);
    assert_eq!((ring.ready(), sim.event_count(bell)), (0, 0));
    sim.sleep(20 * MS);
    assert_eq!((ring.ready(), sim.event_count(bell)), (1, 1));
}

#[test]
fn what_is_behind_a_full_queue_is_had_by_who_comes() {
    let sim = Sim::under("rule overflow nth=2");
    let mut ring = Client::new(&sim, 8, 0);
    ring.push((0..3).map(sqe::nop));
    ring.submit();
    assert_eq!((ring.ready(), ring.sq_flags() & OVERFLOW), (1, OVERFLOW), "and what is behind it");
    assert_eq!(pairs(&ring.wait(3)), [(0, 0), (1, 0), (2, 0)]);
    assert_eq!(ring.sq_flags() & OVERFLOW, 0);
}

#[test]
fn what_is_behind_a_full_queue_comes_to_who_only_looks() {
    let sim = Sim::under("rule overflow nth=2");
    let mut ring = Client::new(&sim, 8, 0);
    ring.push((0..3).map(sqe::nop));
    ring.submit();
    for _ in 0..100 {
        sim.sleep(MS);
        if ring.ready() == 3 {
            return;
        }
    }
    panic!("{} are there", ring.ready());
}

#[test]
fn a_wait_is_interrupted_once_and_the_next_is_not() {
    let sim = Sim::under("rule interrupt nth=1");
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(4));
    ring.push([sqe::read(r, buf, 4, 0, 1)]);
    ring.submit();
    assert_eq!(ring.enter(0, 1, GETEVENTS), Err(Errno::EINTR));
    sim.feed_later(MS, w, b"abcd");
    assert_eq!(ring.enter(0, 1, GETEVENTS), Ok(0));
    assert_eq!(pairs(&ring.reap()), [(1, 4)]);
    assert_eq!(EINTR, -Errno::EINTR.raw());
}

#[test]
fn what_no_kernel_does_is_done_as_it_is_said() {
    let sim = Sim::under("rule lose nth=1\nrule twice nth=2");
    let mut ring = Client::new(&sim, 8, 0);
    ring.push((1..4).map(sqe::nop));
    ring.submit();
    assert_eq!(pairs(&ring.reap()), [(2, 0), (2, 0), (3, 0)]);
    assert_eq!(ring.in_flight(), 0);
}

/// A worker that goes on with writes of one file lets others in (6.18 io-wq.c `io_get_next_work`).
#[test]
fn writes_of_one_file_without_end_do_not_keep_a_read_from_its_worker() {
    for seed in 0..50 {
        let sim = Sim::new(Options { seed: Some(seed), preempt: 2, ..Options::default() });
        let mut ring = Client::new(&sim, 64, 0);
        // One worker for files.
        let limits = sim.put(&[1_u32.to_ne_bytes(), 0_u32.to_ne_bytes()].concat());
        sim.register(ring.fd, 19, limits, 2).expect("limits");
        let (hot, other, buf) = (sim.file(b"-", 1), sim.file(b"x", 1), sim.alloc(8));
        let write = |n| with(ASYNC, sqe::write(hot, buf, 1, 0, n));
        ring.push((0..48).map(write));
        ring.push([with(ASYNC, sqe::read(other, buf + 4, 1, 0, 1000))]);
        ring.submit();
        let mut writes = 48;
        loop {
            let got = ring.wait(1);
            if got.iter().any(|c| c.user_data == 1000) {
                break;
            }
            assert!(writes < 100, "seed {seed}: the read never came");
            // As many again, while the worker has others.
            let more = writes..writes + got.len() as u64;
            ring.push(more.clone().map(write));
            ring.submit();
            writes = more.end;
        }
    }
}
