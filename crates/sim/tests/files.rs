//! Registered files and buffers: what a request asks of the host, updates, tags, direct descriptors.

use ringer_sim::errno::{EBADF, EFAULT, EINVAL, ENFILE, ENXIO};
use ringer_sim::sqe::{FIXED, HARD, LINK, with};
use ringer_sim::{Client, Fault, Options, Rates, Seeded, Sim, pairs, sqe};
use ringer_uapi::{Errno, FILE_INDEX_ALLOC};
use std::sync::Arc;

const BUFFERS: u32 = 0;
const UNREGISTER_BUFFERS: u32 = 1;
const FILES: u32 = 2;
const UNREGISTER_FILES: u32 = 3;
const FILES_UPDATE: u32 = 6;
const FILES2: u32 = 13;
const FILES_UPDATE2: u32 = 14;
const BUFFERS2: u32 = 15;
const BUFFERS_UPDATE: u32 = 16;
const FILE_ALLOC_RANGE: u32 = 25;
const IOPOLL: u32 = 1;
const NO_MMAP: u32 = 1 << 14;
const O_CREAT: u32 = 0o100;

fn register(sim: &Sim, ring: &Client, fds: &[i32]) -> Result<usize, Errno> {
    sim.register(ring.fd, FILES, sim.fds(fds), fds.len() as u32)
}

fn update(sim: &Sim, ring: &Client, offset: u32, fds: &[i32]) -> Result<usize, Errno> {
    let arg = sim.words(&[u64::from(offset), sim.fds(fds)]);
    sim.register(ring.fd, FILES_UPDATE, arg, fds.len() as u32)
}

/// FILES2 or BUFFERS2 with tags.
fn tagged(sim: &Sim, ring: &Client, op: u32, data: u64, tags: &[u64]) -> Result<usize, Errno> {
    let arg = sim.words(&[tags.len() as u64, 0, data, sim.words(tags)]);
    sim.register(ring.fd, op, arg, 32)
}

#[test]
fn a_fixed_read_asks_the_host_for_the_read_and_nothing_else() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(&[7; 96], 96), sim.alloc(64));
    register(&sim, &ring, &[fd]).expect("files");
    sim.close(fd);
    sim.forget_calls();
    for i in 0..5 {
        let read = with(FIXED, sqe::read(0, buf, 8, 16 * i, i));
        assert_eq!(pairs(&ring.run([read], 1)), [(i, 8)]);
    }
    let names: Vec<_> = sim.calls().into_iter().map(|c| c.0).collect();
    assert_eq!(names, ["readv"; 5]);
}

#[test]
fn a_fixed_receive_that_waits_takes_no_reference() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((a, b), buf) = (sim.socketpair(), sim.alloc(8));
    register(&sim, &ring, &[a]).expect("files");
    sim.feed(b, b"warm");
    ring.run([with(FIXED, sqe::recv(0, buf, 8, 0))], 1);
    for round in 0..3 {
        sim.forget_calls();
        ring.push([with(FIXED, sqe::recv(0, buf, 8, 1))]);
        ring.submit();
        sim.feed(b, b"data");
        assert_eq!(pairs(&ring.wait(1)), [(1, 4)]);
        let (hold, add, del) = (sim.count("hold"), sim.count("epoll_add"), sim.count("epoll_del"));
        assert_eq!((hold, add, del), (0, usize::from(round == 0), 0), "round {round}");
    }
}

#[test]
fn a_failed_registration_leaves_nothing() {
    let sim = Sim::default();
    let ring = Client::new(&sim, 8, 0);
    let fd = sim.file(b"", 0);
    assert_eq!(register(&sim, &ring, &[fd, 999]), Err(Errno::EBADF));
    assert_eq!(register(&sim, &ring, &[fd, ring.fd]), Err(Errno::EBADF));
    sim.no_files(1);
    assert_eq!(register(&sim, &ring, &[fd]), Err(Errno::ENOMEM));
    assert_eq!(sim.held(), 0);
    assert_eq!(sim.register(ring.fd, UNREGISTER_FILES, 0, 0), Err(Errno::ENXIO));
    assert_eq!(register(&sim, &ring, &[fd]), Ok(0));
    assert_eq!(register(&sim, &ring, &[fd]), Err(Errno::EBUSY));
}

#[test]
fn a_failed_update_empties_the_slot() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(&[7; 8], 8), sim.alloc(8));
    register(&sim, &ring, &[fd, fd, fd]).expect("files");
    assert_eq!(update(&sim, &ring, 0, &[fd, 999, fd]), Ok(1));
    assert_eq!(update(&sim, &ring, 0, &[999]), Err(Errno::EBADF));
    let reads = (0..3).map(|s| with(FIXED, sqe::read(s, buf, 8, 0, s as u64)));
    assert_eq!(pairs(&ring.run(reads, 3)), [(0, EBADF), (1, EBADF), (2, 8)]);
    assert_eq!(sim.held(), 1);
}

#[test]
fn an_updated_slot_closes_its_file_in_the_call() {
    let sim = Sim::default();
    let ring = Client::new(&sim, 8, 0);
    let (r, w) = sim.pipe();
    register(&sim, &ring, &[w]).expect("files");
    sim.close(w);
    assert!(!sim.peer_gone(r));
    assert_eq!(update(&sim, &ring, 0, &[-2]), Ok(1));
    assert!(!sim.peer_gone(r));
    assert_eq!(update(&sim, &ring, 0, &[-1]), Ok(1));
    assert!(sim.peer_gone(r));
}

#[test]
fn a_request_in_flight_keeps_its_file_past_unregister() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let ((r, w), buf) = (sim.pipe(), sim.alloc(8));
    let fds = sim.fds(&[r]);
    tagged(&sim, &ring, FILES2, fds, &[77]).expect("files");
    sim.close(r);
    ring.push([with(FIXED, sqe::read(0, buf, 8, 0, 1))]);
    ring.submit();
    assert_eq!(sim.register(ring.fd, UNREGISTER_FILES, 0, 0), Ok(0));
    assert!(!sim.peer_gone(w));
    assert_eq!(ring.ready(), 0);
    sim.feed(w, b"data");
    assert_eq!(pairs(&ring.wait(2)), [(1, 4), (77, 0)]);
    assert!(sim.peer_gone(w));
}

#[test]
fn tags_come_when_the_slot_is_emptied_and_in_descending_order_at_unregister() {
    let sim = Sim::default();
    let ring = Client::new(&sim, 8, 0);
    let fd = sim.file(b"", 0);
    let fds = sim.fds(&[fd, fd, fd]);
    tagged(&sim, &ring, FILES2, fds, &[10, 11, 12]).expect("files");
    assert_eq!(update(&sim, &ring, 1, &[-1]), Ok(1));
    assert_eq!(pairs(&ring.reap()), [(11, 0)]);
    assert_eq!(sim.register(ring.fd, UNREGISTER_FILES, 0, 0), Ok(0));
    assert_eq!(pairs(&ring.reap()), [(12, 0), (10, 0)]);
}

#[test]
fn a_read_that_nobody_has_polled_for_yet_keeps_its_file() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, IOPOLL);
    let (fd, buf) = (sim.file(&[7; 64], 64), sim.alloc(64));
    sim.make_direct(fd);
    tagged(&sim, &ring, FILES2, sim.fds(&[fd]), &[5]).expect("files");
    ring.push([with(FIXED, sqe::read(0, buf, 8, 0, 1))]);
    ring.submit();
    assert_eq!(sim.register(ring.fd, UNREGISTER_FILES, 0, 0), Ok(0));
    ring.poke();
    assert_eq!(pairs(&ring.reap()), [(1, 8), (5, 0)]);
}

#[test]
fn a_tag_needs_a_file() {
    let sim = Sim::default();
    let ring = Client::new(&sim, 8, 0);
    let fd = sim.file(b"", 0);
    let fds = sim.fds(&[fd, -1]);
    assert_eq!(tagged(&sim, &ring, FILES2, fds, &[1, 2]), Err(Errno::EINVAL));
    assert_eq!(tagged(&sim, &ring, FILES2, fds, &[1, 0]), Ok(0));
    let data = sim.fds(&[-2]);
    let arg = sim.words(&[0, data, sim.words(&[5]), 1]);
    assert_eq!(sim.register(ring.fd, FILES_UPDATE2, arg, 32), Err(Errno::EINVAL));
    assert_eq!(ring.ready(), 0);
}

#[test]
fn teardown_posts_polled_requests_then_buffer_tags_then_file_tags() {
    for seed in 0..30 {
        let sim = Sim::new(Options { seed: Some(seed), preempt: 3, ..Options::default() });
        let mut params = ringer_uapi::Params { flags: NO_MMAP, ..Default::default() };
        params.cq_off.user_addr = 0x10_0000;
        params.sq_off.user_addr = 0x20_0000;
        let mut ring = Client::try_new(&sim, 8, params).expect("a ring");
        let (fd, buf, (r, _w)) = (sim.file(b"", 0), sim.alloc(64), sim.pipe());
        let fds = sim.fds(&[fd, fd]);
        tagged(&sim, &ring, FILES2, fds, &[10, 11]).expect("files");
        let iovs = sim.words(&[buf, 32, buf + 32, 32]);
        tagged(&sim, &ring, BUFFERS2, iovs, &[20, 21]).expect("buffers");
        ring.push([sqe::read(r, buf, 4, 0, 1)]);
        ring.submit();
        sim.close_ring(ring.fd);
        let want = [(1, -125), (21, 0), (20, 0), (11, 0), (10, 0)];
        assert_eq!(pairs(&ring.reap()), want, "seed {seed}");
        assert_eq!(sim.held(), 0, "seed {seed}");
    }
}

#[test]
fn what_a_worker_starts_while_its_ring_ends_is_ended_too() {
    let slow = Rates::NONE.with(Fault::Slow, 3);
    for seed in 0..60 {
        let sim = Sim::with_policy(Options::default(), Arc::new(Seeded::new(seed, slow)));
        let mut params = ringer_uapi::Params { flags: NO_MMAP, ..Default::default() };
        (params.cq_off.user_addr, params.sq_off.user_addr) = (4096, 8192);
        let mut ring = Client::try_new(&sim, 8, params).expect("a ring");
        let ((a, _b), buf) = (sim.socketpair(), sim.alloc(64));
        let sync = with(HARD, sqe::fsync(sim.file(b"x", 1), 1));
        ring.push([sync, sqe::recv(a, buf, 8, 2)]);
        ring.submit();
        sim.run_workers();
        sim.close_ring(ring.fd);
        let mut ended: Vec<u64> = ring.reap().iter().map(|c| c.user_data).collect();
        ended.sort_unstable();
        assert_eq!(ended, [1, 2], "seed {seed}");
    }
}

#[test]
fn a_ring_that_is_still_mapped_outlives_its_descriptor() {
    use std::sync::atomic::Ordering::Relaxed;
    let sim = Sim::default();
    let ring = Client::new(&sim, 8, 0);
    let (r, w) = sim.pipe();
    register(&sim, &ring, &[w]).expect("files");
    sim.close(w);
    ring.pages.mapped.store(true, Relaxed);
    assert!(!sim.engine.ring_closed(ring.pages.id));
    assert!(!sim.peer_gone(r));
    ring.pages.mapped.store(false, Relaxed);
    assert!(sim.engine.ring_closed(ring.pages.id));
    assert!(sim.peer_gone(r));
}

#[test]
fn fixed_buffers_bound_what_a_request_may_touch() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(&[7; 64], 64), sim.alloc(64));
    let bad = sim.words(&[ringer_sim::NOWHERE, 32]);
    assert_eq!(sim.register(ring.fd, BUFFERS, bad, 1), Err(Errno::EFAULT));
    let iovs = sim.words(&[buf, 32, 0, 0]);
    assert_eq!(sim.register(ring.fd, BUFFERS, iovs, 2), Ok(0));
    let reads = [
        sqe::read_fixed(fd, buf + 16, 16, 0, (0, 1)),
        sqe::read_fixed(fd, buf + 16, 17, 0, (0, 2)),
        sqe::read_fixed(fd, buf, 8, 0, (1, 3)),
        sqe::read_fixed(fd, buf, 8, 0, (9, 4)),
    ];
    let got = pairs(&ring.run(reads, 4));
    assert_eq!(got, [(1, 16), (2, EFAULT), (3, EFAULT), (4, EFAULT)]);
    assert_eq!(sim.register(ring.fd, UNREGISTER_BUFFERS, 0, 0), Ok(0));
}

/// A ring with one registered buffer, and a poll of `gate` that a fixed read of `r` is linked to.
fn fixed_read_behind_a_gate(sim: &Sim, (gate, r): (i32, i32), buf: u64, range: u64) -> Client {
    let mut ring = Client::new(sim, 8, 0);
    tagged(sim, &ring, BUFFERS2, sim.words(&[range, 64]), &[10]).expect("buffers");
    ring.push([with(LINK, sqe::poll(gate, 1, 1)), sqe::read_fixed(r, buf, 4, 0, (0, 2))]);
    ring.submit();
    ring
}

#[test]
fn a_linked_fixed_read_uses_the_buffer_that_its_slot_has_when_it_begins() {
    let cases = |buf| [(buf, buf + 64, EFAULT), (buf + 64, buf, 4)];
    for case in 0..2 {
        let sim = Sim::default();
        let ((gate, opens), (r, w), buf) = (sim.pipe(), sim.pipe(), sim.alloc(128));
        let (first, then, res) = cases(buf)[case];
        let mut ring = fixed_read_behind_a_gate(&sim, (gate, r), buf, first);
        let arg = sim.words(&[0, sim.words(&[then, 64]), sim.words(&[20]), 1]);
        assert_eq!(sim.register(ring.fd, BUFFERS_UPDATE, arg, 32), Ok(1));
        assert_eq!(pairs(&ring.reap()), [(10, 0)], "nobody uses the first buffer");
        sim.feed(w, b"abcd");
        sim.feed(opens, b"x");
        assert_eq!(pairs(&ring.wait(2)), [(1, 1), (2, res)]);
    }
}

#[test]
fn direct_opens_take_the_slots_of_the_range_until_it_is_full() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    sim.named("f", b"hello");
    let (path, buf) = (sim.put(b"f\0"), sim.alloc(8));
    let open = |slot, ud| sqe::open(path, 0, slot, ud);
    assert_eq!(pairs(&ring.run([open(1, 1)], 1)), [(1, ENXIO)]);
    register(&sim, &ring, &[-1, -1, -1, -1]).expect("a sparse table");
    assert_eq!(pairs(&ring.run([open(5, 1)], 1)), [(1, EINVAL)]);
    let range = sim.words(&[1 | 2 << 32, 0]);
    assert_eq!(sim.register(ring.fd, FILE_ALLOC_RANGE, range, 0), Ok(0));
    let all = (1..4).map(|ud| open(FILE_INDEX_ALLOC, ud));
    assert_eq!(pairs(&ring.run(all, 3)), [(1, 1), (2, 2), (3, ENFILE)]);
    assert_eq!(sim.held(), 2);
    assert_eq!(pairs(&ring.run([open(1, 4)], 1)), [(4, 0)]);
    let read = with(FIXED, sqe::read(0, buf, 8, 0, 5));
    assert_eq!(pairs(&ring.run([read], 1)), [(5, 5)]);
    let closes = [sqe::close_direct(1, 6), sqe::close_direct(1, 7), sqe::close_direct(9, 8)];
    assert_eq!(pairs(&ring.run(closes, 3)), [(6, 0), (7, EBADF), (8, EINVAL)]);
    assert_eq!(pairs(&ring.run([open(FILE_INDEX_ALLOC, 9)], 1)), [(9, 1)]);
}

#[test]
fn a_slot_filled_by_name_moves_where_alloc_looks_next() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    sim.named("f", b"hello");
    let path = sim.put(b"f\0");
    register(&sim, &ring, &[-1, -1, -1]).expect("a sparse table");
    let opens = [2, FILE_INDEX_ALLOC, FILE_INDEX_ALLOC].into_iter().zip(1..);
    let opens = opens.map(|(slot, ud)| sqe::open(path, 0, slot, ud));
    assert_eq!(pairs(&ring.run(opens, 3)), [(1, 0), (2, 2), (3, 0)]);
}

#[test]
fn alloc_stays_in_its_range_whatever_slot_was_filled_or_emptied_by_name() {
    for (range, elsewhere) in [((2, 2), 0), ((0, 2), 3)] {
        let sim = Sim::default();
        let mut ring = Client::new(&sim, 8, 0);
        sim.named("f", b"hello");
        let path = sim.put(b"f\0");
        register(&sim, &ring, &[-1; 4]).expect("a sparse table");
        let arg = sim.words(&[range.1 << 32 | range.0, 0]);
        assert_eq!(sim.register(ring.fd, FILE_ALLOC_RANGE, arg, 0), Ok(0));
        let open = |slot, ud| sqe::open(path, 0, slot, ud);
        assert_eq!(pairs(&ring.run([open(elsewhere + 1, 1)], 1)), [(1, 0)]);
        let first = range.0 as i32;
        assert_eq!(pairs(&ring.run([open(FILE_INDEX_ALLOC, 2)], 1)), [(2, first)]);
        assert_eq!(update(&sim, &ring, elsewhere, &[-1]), Ok(1));
        assert_eq!(pairs(&ring.run([open(FILE_INDEX_ALLOC, 3)], 1)), [(3, first + 1)]);
        assert_eq!(pairs(&ring.run([open(FILE_INDEX_ALLOC, 4)], 1)), [(4, ENFILE)]);
    }
}

#[test]
fn a_direct_open_on_a_worker_ends_in_its_slot() {
    for posix_locks in [false, true] {
        let sim = Sim::new(Options { posix_locks, ..Options::default() });
        let mut ring = Client::new(&sim, 8, 0);
        register(&sim, &ring, &[-1, -1]).expect("a sparse table");
        let path = sim.put(b"new\0");
        sim.cold_names(true);
        assert_eq!(pairs(&ring.run([sqe::open(path, O_CREAT, 2, 1)], 1)), [(1, 0)]);
        assert_eq!(sim.held(), 1);
        let buf = sim.put(b"data");
        let write = with(FIXED, sqe::write(1, buf, 4, 0, 2));
        assert_eq!(pairs(&ring.run([write], 1)), [(2, 4)]);
    }
}

#[test]
fn an_update_with_alloc_writes_the_slots_back() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, 0);
    let fd = sim.file(b"", 0);
    register(&sim, &ring, &[fd, -1, -1]).expect("files");
    let array = sim.fds(&[fd, fd, 999]);
    assert_eq!(pairs(&ring.run([sqe::files_update(array, 3, FILE_INDEX_ALLOC, 1)], 1)), [(1, 2)]);
    let back: Vec<i32> =
        sim.read(array, 12).chunks_exact(4).map(|b| ringer_uapi::bytes::i32_at(b, 0)).collect();
    assert_eq!(back, [1, 2, 999]);
}

#[test]
fn files_without_a_number_are_read_by_private_workers() {
    let sim = Sim::new(Options { numberless: true, ..Options::default() });
    let mut ring = Client::new(&sim, 8, 0);
    let (fd, buf) = (sim.file(&[7; 64], 64), sim.alloc(64));
    register(&sim, &ring, &[fd]).expect("files");
    let reads = (0..4).map(|i| with(FIXED, sqe::read(0, buf, 8, 8 * i, i)));
    let mut got = pairs(&ring.run(reads, 4));
    got.sort_unstable();
    assert_eq!(got, [(0, 8), (1, 8), (2, 8), (3, 8)]);
    sim.sleep(1_000_000);
    assert_eq!((sim.held(), ring.in_flight()), (0, 0));
}

#[test]
fn the_limit_on_descriptors_bounds_a_table() {
    let sim = Sim::default();
    let ring = Client::new(&sim, 8, 0);
    sim.limit_files(3);
    assert_eq!(register(&sim, &ring, &[-1; 4]), Err(Errno::EMFILE));
    assert_eq!(register(&sim, &ring, &[-1; 3]), Ok(0));
}
