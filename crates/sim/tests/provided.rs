//! Rings of provided buffers in memory that says anything, and where a request goes on in rounds.

use ringer_sim::errno::{EFAULT, ENOBUFS};
use ringer_sim::{Client, Sim, pairs, sqe};
use ringer_uapi::Sqe;

const PBUF_RING: u32 = 22;
const MORE: u32 = 2;
const SELECT: u8 = 32;
const RECV_MULTISHOT: u16 = 2;
const BUNDLE: u16 = 16;
const INC: u64 = 2;

/// A ring of 4 entries as group 1: where it lies.
fn group(sim: &Sim, ring: &Client, flags: u64) -> u64 {
    let at = sim.alloc(4096);
    let arg = sim.words(&[at, 4 | 1 << 32 | flags << 48, 0, 0, 0]);
    assert_eq!(sim.register(ring.fd, PBUF_RING, arg, 1), Ok(0));
    at
}

/// Writes an entry; entry 0 with the ring's tail.
fn entry(sim: &Sim, at: u64, (i, tail): (u64, u64), addr: u64, len: u64) {
    let words = [addr, len | i << 32 | tail << 48];
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    sim.write(at + 16 * i, &bytes);
}

fn recv(fd: i32, ioprio: u16, ud: u64) -> Sqe {
    Sqe { flags: SELECT, buf_index: 1, ioprio, ..sqe::recv(fd, 0, 0, ud) }
}

#[test]
fn a_tail_far_ahead_gives_what_stands_in_the_entries() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((a, b), at) = (sim.socketpair(), group(&sim, &ring, 0));
    // All entries but the first are of no memory and no length.
    entry(&sim, at, (0, 0xffff), sim.alloc(64), 64);
    for (ioprio, ud, res) in [(0, 1, 3), (0, 2, ENOBUFS), (BUNDLE, 3, 0)] {
        sim.feed(b, b"abc");
        let c = ring.run([recv(a, ioprio, ud)], 1);
        assert_eq!(pairs(&c), [(ud, res)]);
    }
}

#[test]
fn incremental_entries_that_say_anything_end() {
    for (addr, len) in [(16, 64), (u64::MAX - 3, 8), (0, 0), (1 << 47, 0xffff_ffff)] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, 0);
        let ((a, b), at) = (sim.socketpair(), group(&sim, &ring, INC));
        (0..4).for_each(|i| entry(&sim, at, (i, if i == 0 { 4 } else { 0 }), addr, len));
        sim.feed(b, b"abc");
        for ioprio in [0, BUNDLE] {
            let c = ring.run([recv(a, ioprio, 1)], 1);
            // A bundle takes no bytes of a buffer without any.
            let fits = [EFAULT, ENOBUFS, 0].contains(&c[0].res);
            assert!(fits, "{addr:#x} {len:#x}: {c:?}");
        }
        assert_eq!((ring.in_flight(), sim.held()), (0, 0));
    }
}

#[test]
fn a_list_is_of_any_ids_and_never_longer_than_65535() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let give = |n: i32, ud| Sqe { buf_index: 9, ..entry_of(31, n, sim.alloc(0), 1, ud) };
    for (n, res) in [(65_536, 0), (1, -75)] {
        assert_eq!(pairs(&ring.run([give(n, 1)], 1)), [(1, res)]);
    }
    let all = Sqe { buf_index: 9, fd: 65_536, opcode: 32, user_data: 2, ..Sqe::default() };
    assert_eq!(pairs(&ring.run([all], 1)), [(2, 65_535)]);
}

fn entry_of(opcode: u8, fd: i32, addr: u64, len: u32, user_data: u64) -> Sqe {
    Sqe { opcode, fd, addr, len, user_data, ..Sqe::default() }
}

#[test]
fn two_that_have_much_to_do_take_turns_and_a_cancel_comes_between() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 256, 0);
    let at = sim.alloc(4096);
    let arg = sim.words(&[at, 256 | 1 << 32, 0, 0, 0]);
    assert_eq!(sim.register(ring.fd, PBUF_RING, arg, 1), Ok(0));
    let data = sim.alloc(256);
    (0..256).for_each(|i| entry(&sim, at, (i, if i == 0 { 256 } else { 0 }), data + i, 1));
    let pairs: Vec<(i32, i32)> = (0..2).map(|_| sim.socketpair()).collect();
    for (_, b) in &pairs {
        sim.feed(*b, &[1; 80]);
    }
    let both: Vec<Sqe> =
        pairs.iter().zip(1..).map(|((a, _), ud)| recv(*a, RECV_MULTISHOT, ud)).collect();
    let all = ring.run(both, 160);
    assert!(all.iter().all(|c| c.res == 1 && c.flags & MORE != 0), "{all:?}");
    let who: Vec<u64> = all.iter().map(|c| c.user_data).collect();
    // 33 at a time: neither has all of it before the other has begun.
    let turns = who.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(turns >= 3, "{who:?}");
    let gone = ring.run([sqe::cancel(1, 0, 9), sqe::cancel(2, 0, 9)], 4);
    assert_eq!(gone.len(), 4);
    assert_eq!((ring.in_flight(), sim.held()), (0, 0));
}
