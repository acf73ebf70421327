//! Registered files and buffers: what a request asks of the host, updates, tags, direct descriptors.

use ringer_sim::sqe::{FIXED, with};
use ringer_sim::{Client, Options, Sim, pairs, sqe};
use ringer_uapi::{Errno, FILE_INDEX_ALLOC};

const BUFFERS: u32 = 0;
const UNREGISTER_BUFFERS: u32 = 1;
const FILES: u32 = 2;
const UNREGISTER_FILES: u32 = 3;
const FILES_UPDATE: u32 = 6;
const FILES2: u32 = 13;
const FILES_UPDATE2: u32 = 14;
const BUFFERS2: u32 = 15;
const FILE_ALLOC_RANGE: u32 = 25;
const NO_MMAP: u32 = 1 << 14;
const EBADF: i32 = -9;
const EFAULT: i32 = -14;
const ENFILE: i32 = -23;
const EINVAL: i32 = -22;
const ENXIO: i32 = -6;
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
