//! Registered connections that were emptied before: what comes next is received in its place.

use ringer_sim::sqe::{FIXED, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};
use ringer_uapi::Sqe;

const MS: u64 = 1_000_000;
const DEFER: u32 = 1 << 12 | 1 << 13;

/// Two connected pairs, all four registered, and a ring whose first two were received from once.
struct Setting {
    sim: Sim,
    ring: Client,
    fds: [i32; 4],
    buf: u64,
}

impl Setting {
    fn new(sim: Sim, flags: u32) -> Self {
        let mut ring = Client::new(&sim, 16, flags);
        let ((a, b), (c, d)) = (sim.socketpair(), sim.socketpair());
        sim.register(ring.fd, 2, sim.fds(&[a, b, c, d]), 4).expect("files");
        let buf = sim.alloc(64);
        for (slot, peer) in [(0, b), (1, a)] {
            sim.feed_later(MS, peer, b"first");
            let mut got = 0;
            while got < 5 {
                got += ring.run([recv(slot, buf, 9)], 1).iter().map(|c| c.res).sum::<i32>();
            }
        }
        Self { sim, ring, fds: [a, b, c, d], buf }
    }
}

fn recv(slot: i32, buf: u64, name: u64) -> Sqe {
    with(FIXED, sqe::recv(slot, buf, 16, name))
}

fn send(slot: i32, buf: u64, name: u64) -> Sqe {
    with(FIXED, sqe::send(slot, buf, 3, name))
}

#[test]
fn what_came_before_the_batch_is_received_in_its_place() {
    for flags in [0, DEFER] {
        let mut s = Setting::new(Sim::default(), flags);
        s.sim.feed(s.fds[1], b"more");
        let batch = [sqe::nop(1), recv(0, s.buf, 2), sqe::nop(3)];
        assert_eq!(pairs(&s.ring.run(batch, 3)), [(1, 0), (2, 4), (3, 0)]);
    }
}

#[test]
fn what_the_batch_sends_to_its_own_ring_is_received_in_its_place() {
    for flags in [0, DEFER] {
        let mut s = Setting::new(Sim::default(), flags);
        let batch = [recv(1, s.buf, 1), send(1, s.buf, 2), recv(0, s.buf, 3), sqe::nop(4)];
        assert_eq!(pairs(&s.ring.run(batch, 3)), [(2, 3), (3, 3), (4, 0)]);
    }
}

#[test]
fn a_write_to_a_plain_descriptor_of_the_other_end_is_not_overlooked() {
    let mut s = Setting::new(Sim::default(), 0);
    let batch = [
        recv(1, s.buf, 1),
        sqe::write(s.fds[1], s.buf, 3, u64::MAX, 2),
        recv(0, s.buf, 3),
        sqe::nop(4),
    ];
    assert_eq!(pairs(&s.ring.run(batch, 3)), [(2, 3), (3, 3), (4, 0)]);
}

#[test]
fn the_end_of_an_emptied_connection_is_received_every_time() {
    let mut s = Setting::new(Sim::default(), 0);
    s.sim.close(s.fds[1]);
    s.sim.register(s.ring.fd, 3, 0, 0).expect("no files");
    s.sim.register(s.ring.fd, 2, s.sim.fds(&[s.fds[0]]), 1).expect("files");
    for name in 0..4 {
        assert_eq!(pairs(&s.ring.run([recv(0, s.buf, name)], 1)), [(name, 0)]);
    }
}

#[test]
fn nothing_is_lost_or_left_between_connections_of_one_ring() {
    for seed in 0..300 {
        let options =
            Options { seed: Some(seed), preempt: 4, short_reads: 2, ..Options::default() };
        let mut s = Setting::new(Sim::new(options), if seed % 2 == 0 { 0 } else { DEFER });
        let (mut owed, mut got) = (0, 0);
        for round in 0..24u64 {
            let (from, to) = [(0, 1), (1, 0), (2, 3), (3, 2)][(seed + round) as usize % 4];
            let mut sending = round % 3 > 0;
            if sending {
                s.ring.push([send(from as i32, s.buf, 2)]);
            } else {
                s.sim.feed_later(round * MS / 7, s.fds[from], b"abc");
                owed += 3;
            }
            s.ring.push([recv(to, s.buf, 1)]);
            while sending || got < owed {
                s.ring.submit_and_wait(1);
                let all = s.ring.reap();
                let of = |name| all.iter().filter(move |c| c.user_data == name).map(|c| c.res);
                owed += of(2).sum::<i32>();
                sending &= of(2).count() == 0;
                got += of(1).sum::<i32>();
                if of(1).count() > 0 && got < owed {
                    s.ring.push([recv(to, s.buf, 1)]);
                }
            }
        }
        assert_eq!((got, s.ring.in_flight()), (owed, 0), "seed {seed}");
    }
}
