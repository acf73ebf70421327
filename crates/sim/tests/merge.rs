//! Adjacent reads become one host call and complete as if they had not.

use ringer_sim::sqe::{FIXED, with};
use ringer_sim::{BASE, Client, Rng, SIZE, Sim, pairs, sqe};
use ringer_uapi::Sqe;

/// One read of a program: (offset, length, address).
type Read = (u64, u32, u64);

fn sqes(fd: i32, reads: &[Read]) -> Vec<Sqe> {
    let one = |(i, &(off, len, addr)): (usize, &Read)| sqe::read(fd, addr, len, off, i as u64);
    reads.iter().enumerate().map(one).collect()
}

#[test]
fn adjacent_reads_are_one_host_call() {
    for fixed in [false, true] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 16, 0);
        let data: Vec<u8> = (0..64).collect();
        let (fd, buf) = (sim.file(&data, 64), sim.alloc(64));
        sim.register(ring.fd, 2, sim.fds(&[fd]), 1).expect("files");
        // The buffers lie the other way round.
        let reads: Vec<Read> = (0..8).map(|i| (8 * i, 8, buf + 56 - 8 * i)).collect();
        let all = sqes(fd, &reads).into_iter().map(|s| match fixed {
            true => with(FIXED, Sqe { fd: 0, ..s }),
            false => s,
        });
        sim.forget_calls();
        let want: Vec<_> = (0..8).map(|i| (i, 8)).collect();
        assert_eq!(pairs(&ring.run(all, 8)), want);
        assert_eq!(sim.calls().len(), 1, "{:?}", sim.calls());
        assert_eq!(sim.read(buf + 56, 8), (0..8).collect::<Vec<u8>>());
        assert_eq!(sim.read(buf, 8), (56..64).collect::<Vec<u8>>());
    }
}

#[test]
fn a_gap_another_file_or_a_link_ends_a_run() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 16, 0);
    let (a, b) = (sim.file(&[1; 64], 64), sim.file(&[2; 64], 64));
    let buf = sim.alloc(64);
    let r = |fd, off, ud| sqe::read(fd, buf, 8, off, ud);
    let reads = [
        r(a, 0, 0),
        r(a, 8, 1),
        r(a, 24, 2),
        r(b, 32, 3),
        with(sqe::LINK, r(b, 40, 4)),
        r(b, 48, 5),
    ];
    sim.forget_calls();
    assert_eq!(ring.run(reads, 6).len(), 6);
    assert_eq!(sim.count("readv"), 5);
}

#[test]
fn a_run_across_the_end_of_the_file_ends_short_and_then_empty() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 16, 0);
    let (fd, buf) = (sim.file(&[7; 20], 20), sim.alloc(64));
    let reads: Vec<Read> = (0..4).map(|i| (8 * i, 8, buf + 8 * i)).collect();
    assert_eq!(pairs(&ring.run(sqes(fd, &reads), 4)), [(0, 8), (1, 8), (2, 4), (3, 0)]);
}

#[test]
fn a_run_into_a_bad_buffer_fails_only_that_read() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 16, 0);
    let (fd, buf) = (sim.file(&[7; 64], 64), sim.alloc(64));
    let reads = [
        (0, 8, buf),
        (8, 8, ringer_sim::NOWHERE),
        (16, 8, buf + 16),
        (24, 8, BASE + SIZE as u64 - 4),
        (32, 8, buf + 32),
    ];
    let got = pairs(&ring.run(sqes(fd, &reads), 5));
    assert_eq!(got, [(0, 8), (1, -14), (2, 8), (3, 4), (4, 8)]);
}

#[test]
fn merged_reads_complete_as_unmerged_ones() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let (size, cached) = (rng.below(120), rng.below(160));
        let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
        let mut off = rng.below(20) as u64;
        let mut reads: Vec<Read> = Vec::new();
        for i in 0..12 {
            let len = rng.below(24) as u32;
            let addr = match rng.below(12) {
                0 => ringer_sim::NOWHERE,
                1 => BASE + SIZE as u64 - rng.below(24) as u64,
                _ => BASE + 1024 + 32 * i,
            };
            reads.push((off, len, addr));
            off += u64::from(len) + if rng.one_in(5) { 3 } else { 0 };
        }
        let outcome = |merge: bool| {
            let sim = Sim::default();
            sim.alloc(4096);
            let mut ring = Client::new(&sim, 16, 0);
            let fd = sim.file(&data, cached);
            let mut got = Vec::new();
            for part in if merge { vec![sqes(fd, &reads)] } else { split(sqes(fd, &reads)) } {
                let n = part.len() as u32;
                got.extend(pairs(&ring.run(part, n)));
            }
            got.sort_unstable();
            (got, sim.read(BASE + 1024, 384), ring.in_flight(), sim.held())
        };
        assert_eq!(outcome(true), outcome(false), "seed {seed}: {reads:?} of {size}");
    }
}

fn split(sqes: Vec<Sqe>) -> Vec<Vec<Sqe>> {
    sqes.into_iter().map(|s| vec![s]).collect()
}
