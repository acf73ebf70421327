//! Pipes and sockets: readiness, partial transfers, polls, and who waits for whom.

use ringer_sim::errno::{EAGAIN, ECANCELED};
use ringer_sim::sqe::{FIXED, LINK, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};
use ringer_uapi::{Errno, Sqe};

const MORE: u32 = 2;
const MSG_WAITALL: u32 = 0x100;
const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;
const POLLHUP: i32 = 0x10;
const MS: u64 = 1_000_000;

fn seeded(seed: u64) -> Sim {
    let (preempt, short_reads) = (4, 2);
    Sim::new(Options { seed: Some(seed), preempt, short_reads, ..Options::default() })
}

#[test]
fn a_receive_of_everything_collects_all_pieces() {
    for seed in 0..100 {
        let sim = seeded(seed);
        let mut ring = Client::new(&sim, 8, 0);
        let ((a, b), buf) = (sim.socketpair(), sim.alloc(64));
        let sent: Vec<u8> = (0..60).collect();
        for (i, part) in sent.chunks(7).enumerate() {
            sim.feed_later(i as u64 * MS / 2, b, part);
        }
        let all = Sqe { op_flags: MSG_WAITALL, ..sqe::recv(a, buf, 60, 1) };
        assert_eq!(pairs(&ring.run([all], 1)), [(1, 60)], "seed {seed}");
        assert_eq!(sim.read(buf, 60), sent, "seed {seed}");
        assert_eq!((ring.in_flight(), sim.held()), (0, 0), "seed {seed}");
    }
}

#[test]
fn bytes_sent_and_received_in_pieces_keep_their_order() {
    for seed in 0..100 {
        let sim = seeded(seed);
        let mut ring = Client::new(&sim, 8, 0);
        let (a, b) = sim.socketpair();
        let data: Vec<u8> = (0..200).map(|i| (i * 7) as u8).collect();
        let (from, to) = (sim.put(&data), sim.alloc(256));
        let (mut sent, mut got) = (0, 0);
        while got < 200 {
            let mut batch = vec![sqe::recv(b, to + got, 200 - got as u32, 2)];
            if sent < 200 {
                batch.push(sqe::send(a, from + sent, (200 - sent as u32).min(50), 1));
            }
            let n = batch.len() as u32;
            for c in ring.run(batch, n) {
                assert!(c.res > 0, "seed {seed}: {c:?}");
                let to = if c.user_data == 1 { &mut sent } else { &mut got };
                *to += c.res as u64;
            }
        }
        assert_eq!(sim.read(to, 200), data, "seed {seed}");
    }
}

#[test]
fn the_end_of_a_stream_breaks_a_link_only_for_waitall() {
    for (flags, next) in [(0, 0), (MSG_WAITALL, ECANCELED)] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, 0);
        let ((a, b), buf) = (sim.socketpair(), sim.alloc(8));
        sim.close(b);
        let recv = Sqe { op_flags: flags, ..sqe::recv(a, buf, 8, 1) };
        assert_eq!(pairs(&ring.run([with(LINK, recv), sqe::nop(2)], 2)), [(1, 0), (2, next)]);
    }
}

#[test]
fn a_cancelled_receive_of_everything_reports_what_it_has() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((a, b), buf) = (sim.socketpair(), sim.alloc(8));
    sim.feed(b, b"abc");
    ring.push([Sqe { op_flags: MSG_WAITALL, ..sqe::recv(a, buf, 8, 1) }]);
    ring.submit();
    assert_eq!(pairs(&ring.run([sqe::cancel(1, 0, 2)], 2)), [(2, 0), (1, 3)]);
}

#[test]
fn an_armed_request_keeps_its_file_open_and_its_peer_sees_the_close_after_it() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
    ring.push([sqe::read(r, buf, 8, 0, 1), sqe::poll(r, POLLIN, 2)]);
    ring.submit();
    sim.close(r);
    assert!(!sim.peer_gone(w));
    sim.feed(w, b"data");
    let mut got = pairs(&ring.wait(1));
    got.extend(pairs(&ring.wait(2 - got.len() as u32)));
    got.sort_unstable();
    assert_eq!(got, [(1, 4), (2, 1)]);
    assert!(sim.peer_gone(w));
}

#[test]
fn two_reads_of_one_pipe_share_what_comes() {
    for fixed in [0, FIXED] {
        for seed in 0..50 {
            let sim = seeded(seed);
            let mut ring = Client::new(&sim, 8, 0);
            let ((r, w), buf) = (sim.pipe(), sim.alloc(32));
            sim.register(ring.fd, 2, sim.fds(&[r]), 1).expect("files");
            let fd = if fixed == 0 { r } else { 0 };
            let read = |i| with(fixed, sqe::read(fd, buf + 8 * i, 4, 0, i));
            ring.push((0..3).map(read));
            ring.submit();
            sim.feed_later(MS, w, b"1234");
            sim.feed_later(2 * MS, w, b"56789abc");
            let mut total = 0;
            let mut seen = 0;
            while seen < 3 {
                for c in ring.wait(1) {
                    assert!(c.res > 0, "seed {seed}: {c:?}");
                    (total, seen) = (total + c.res, seen + 1);
                }
            }
            assert!((3..=12).contains(&total), "seed {seed}");
            assert_eq!(ring.in_flight(), 0);
        }
    }
}

#[test]
fn a_multishot_poll_tells_of_every_write_until_it_is_removed() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (r, w) = sim.pipe();
    ring.push([sqe::poll_multi(r, POLLIN, 1)]);
    ring.submit();
    for _ in 0..3 {
        sim.feed(w, b"x");
        let got: Vec<_> = ring.wait(1).iter().map(|c| (c.user_data, c.res, c.flags)).collect();
        assert_eq!(got, [(1, 1, MORE)]);
    }
    assert_eq!(pairs(&ring.run([sqe::poll_remove(1, 2)], 2)), [(2, 0), (1, ECANCELED)]);
    assert_eq!((ring.in_flight(), sim.held()), (0, 0));
}

#[test]
fn a_multishot_poll_of_both_directions_tells_the_one_that_woke_it() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (a, b) = sim.socketpair();
    sim.register(ring.fd, 2, sim.fds(&[a]), 1).expect("files");
    let slot = with(FIXED, sqe::poll_multi(0, POLLIN | POLLOUT, 2));
    for (poll, ud) in [(sqe::poll_multi(a, POLLIN | POLLOUT, 1), 1), (slot, 2)] {
        let told = |ring: &mut Client| -> Vec<_> {
            ring.wait(1).iter().map(|c| (c.user_data, c.res as u32, c.flags)).collect()
        };
        ring.push([poll]);
        ring.submit();
        assert_eq!(told(&mut ring), [(ud, POLLOUT, MORE)]);
        for _ in 0..2 {
            sim.feed(b, b"x");
            assert_eq!(told(&mut ring), [(ud, POLLIN, MORE)]);
        }
        assert_eq!(pairs(&ring.run([sqe::poll_remove(ud, 3)], 2)), [(3, 0), (ud, ECANCELED)]);
        sim.eat(a, 8);
    }
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn an_overflow_ends_a_multishot_poll() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 1, 0);
    let (r, w) = sim.pipe();
    ring.push([sqe::poll_multi(r, POLLIN, 1)]);
    ring.submit();
    for _ in 0..4 {
        sim.feed(w, b"x");
        sim.sleep(5 * MS);
    }
    let mut got = ring.reap();
    ring.poke();
    got.extend(ring.reap());
    let more: Vec<_> = got.iter().map(|c| (c.user_data, c.flags & MORE)).collect();
    assert_eq!(more, [(1, MORE), (1, MORE), (1, 0)]);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_closed_peer_is_a_hangup_for_who_polls() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (r, w) = sim.pipe();
    sim.close_later(3 * MS, w);
    let got = pairs(&ring.run([sqe::poll(r, POLLIN, 1)], 1));
    assert_eq!(got, [(1, POLLHUP)]);
}

#[test]
fn a_vector_is_filled_in_order_and_stops_at_a_bad_member() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(b"0123456789", 10), sim.alloc(16));
    let good = sim.words(&[buf + 8, 4, buf, 4]);
    let bad = sim.words(&[buf, 4, ringer_sim::NOWHERE, 4]);
    let reads = [
        sqe::vectored(1, fd, good, 2, 1, 1),
        sqe::vectored(1, fd, bad, 2, 0, 2),
        sqe::vectored(1, fd, ringer_sim::NOWHERE, 2, 0, 3),
    ];
    let got = pairs(&ring.run(reads, 3));
    assert_eq!(got, [(1, 8), (2, 4), (3, -14)]);
    assert_eq!(sim.read(buf + 8, 4), b"1234");
}

#[test]
fn two_threads_that_wait_both_get_what_they_wait_for() {
    for seed in 0..100 {
        let sim = seeded(seed);
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), (s, x), buf) = (sim.pipe(), sim.pipe(), sim.alloc(16));
        ring.push([sqe::read(r, buf, 1, 0, 1), sqe::read(s, buf + 8, 1, 0, 2)]);
        ring.submit();
        sim.feed_later(MS * (1 + seed % 3), w, b"a");
        sim.feed_later(2 * MS, x, b"b");
        let fd = ring.fd;
        let wait = |min| sim.start(move |e| e.enter(fd, 0, min, 1, 0, 0));
        let (one, two, three) = (wait(1), wait(2), wait(2));
        assert_eq!((one.join(), two.join(), three.join()), (Ok(0), Ok(0), Ok(0)), "seed {seed}");
        let mut got = pairs(&ring.reap());
        got.sort_unstable();
        assert_eq!(got, [(1, 1), (2, 1)], "seed {seed}");
    }
}

#[test]
fn who_leaves_a_wait_early_hands_the_lead_over() {
    for seed in 0..100 {
        let sim = seeded(seed);
        let mut ring = Client::new(&sim, 8, 0);
        let ((r, w), buf) = (sim.pipe(), sim.alloc(16));
        ring.push([sqe::read(r, buf, 1, 0, 1)]);
        ring.submit();
        let arg = sim.words(&[0, 0, sim.timespec(2 * MS)]);
        let fd = ring.fd;
        let short = sim.start(move |e| e.enter(fd, 0, 1, 1 | 8, arg, 24));
        let long = sim.start(move |e| e.enter(fd, 0, 1, 1, 0, 0));
        sim.feed_later(20 * MS, w, b"a");
        assert_eq!(short.join(), Err(Errno::ETIME), "seed {seed}");
        assert_eq!(long.join(), Ok(0), "seed {seed}");
        assert_eq!(pairs(&ring.reap()), [(1, 1)], "seed {seed}");
    }
}

#[test]
fn what_polls_first_sees_what_was_there_before_it() {
    const POLL_FIRST: u16 = 1;
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((a, b), buf) = (sim.socketpair(), sim.alloc(16));
    sim.register(ring.fd, 2, sim.fds(&[a]), 1).expect("files");
    // The first one makes the watch of the registered socket and takes its edge.
    let first = Sqe { ioprio: POLL_FIRST, ..with(FIXED, sqe::recv(0, buf, 4, 1)) };
    ring.push([first]);
    ring.submit();
    sim.feed(b, b"twice as");
    assert_eq!(pairs(&ring.wait(1)), [(1, 4)]);
    let second = Sqe { user_data: 2, ..first };
    assert_eq!(pairs(&ring.run([second], 1)), [(2, 4)]);
}

#[test]
fn a_full_listener_is_told_to_a_nonblocking_connect_and_waited_for_by_a_blocking_one() {
    for nonblocking in [true, false] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, 0);
        let (listener, fd) = (sim.listener(b"here", true, 1), sim.socket(nonblocking));
        assert!(sim.dial(b"here") && !sim.dial(b"here"));
        let addr = sim.put(b"here");
        ring.push([Sqe { opcode: 16, fd, addr, off: 4, user_data: 1, ..Sqe::default() }]);
        ring.submit();
        sim.sleep(10 * MS);
        if nonblocking {
            assert_eq!(pairs(&ring.reap()), [(1, EAGAIN)]);
            continue;
        }
        assert_eq!(ring.ready(), 0);
        // Somebody accepts, and there is room.
        let accept = Sqe { opcode: 13, fd: listener, user_data: 2, ..Sqe::default() };
        let mut got = pairs(&ring.run([accept], 2));
        got.sort_unstable();
        assert_eq!(got[0], (1, 0));
        assert!(got[1].1 >= 0);
    }
}

#[test]
fn a_datagram_is_all_that_a_receive_of_everything_gets() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((a, b), buf) = (sim.datagrams(), sim.put(&[7; 100]));
    let all = Sqe { op_flags: MSG_WAITALL, ..sqe::recv(a, buf, 100, 1) };
    ring.push([with(LINK, all), sqe::nop(2)]);
    ring.submit();
    // Less than everything breaks the link, as from a stream.
    assert_eq!(pairs(&ring.run([sqe::send(b, buf, 5, 3)], 3)), [(3, 5), (1, 5), (2, ECANCELED)]);
}

#[test]
fn the_wrong_end_of_a_pipe_is_ebadf_whatever_the_file_knows() {
    for no_nowait in [false, true] {
        let sim = Sim::new(Options { no_nowait, ..Options::default() });
        let (mut ring, (r, w)) = (Client::new(&sim, 8, 0), sim.pipe());
        let buf = sim.alloc(8);
        assert_eq!(pairs(&ring.run([sqe::read(w, buf, 8, u64::MAX, 1)], 1)), [(1, -9)]);
        assert_eq!(pairs(&ring.run([sqe::write(r, buf, 8, u64::MAX, 2)], 1)), [(2, -9)]);
    }
}
