//! Rings of other sizes under the same descriptor, with requests under way.

use ringer_ring::{CqView, Geometry, Map, SqView};
use ringer_sim::sqe::{ASYNC, with};
use ringer_sim::{Client, Sim, pairs, sqe};
use ringer_uapi::{Cqe, Errno, Params};
use std::sync::atomic::Ordering::Relaxed;

const GETEVENTS: u32 = 1;
const CQ_OVERFLOW: u32 = 2;
/// `IORING_SQ_NEED_WAKEUP | IORING_SQ_TASKRUN`.
const LOOK: u32 = 5;
const CQSIZE: u32 = 1 << 3;
const TASKRUN_FLAG: u32 = 1 << 9;
/// SINGLE_ISSUER, DEFER_TASKRUN.
const DEFER: u32 = 1 << 12 | 1 << 13;
const RESIZE_RINGS: u32 = 33;

/// The register call alone.
fn ask(sim: &Sim, ring: &Client, sq: u32, cq: u32) -> Result<usize, Errno> {
    let asked = Params { sq_entries: sq, cq_entries: cq, flags: CQSIZE, ..Params::default() };
    let arg = sim.put(&asked.to_bytes());
    sim.register(ring.fd, RESIZE_RINGS, arg, 1)
}

fn resize(sim: &Sim, ring: &mut Client, sq: u32, cq: u32) {
    assert_eq!(ask(sim, ring, sq, cq), Ok(0));
    ring.remap();
}

#[test]
fn requests_of_every_kind_end_in_the_new_rings() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, DEFER);
    let (r, w) = sim.pipe();
    let buf = sim.alloc(64);
    ring.push([
        sqe::nop(1),
        sqe::read(r, buf, 4, 0, 2),
        with(ASYNC, sqe::nop(3)),
        sqe::timeout(sim.timespec(1000), 0, 4),
    ]);
    ring.submit();
    resize(&sim, &mut ring, 16, 16);
    sim.feed(w, b"abcd");
    resize(&sim, &mut ring, 2, 4);
    let mut got = pairs(&ring.wait(4));
    got.sort_unstable();
    assert_eq!(got, [(1, 0), (2, 4), (3, 0), (4, -62)]);
    assert_eq!(sim.page_objects(), 1, "the old ones are gone");
}

#[test]
fn what_has_no_room_stays_where_it_is() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 8, DEFER);
    ring.push((1..9).map(sqe::nop));
    assert_eq!(ring.enter(5, 0, 0), Ok(5));
    assert_eq!(ask(&sim, &ring, 2, 16), Err(Errno::EOVERFLOW), "three entries");
    assert_eq!(ask(&sim, &ring, 4, 4), Err(Errno::EOVERFLOW), "five completions");
    assert_eq!(sim.page_objects(), 1, "what was made for it is gone");
    resize(&sim, &mut ring, 4, 8);
    assert_eq!((ring.queued(), ring.ready()), (3, 5));
    ring.submit();
    let want: Vec<_> = (1..9).map(|ud| (ud, 0)).collect();
    assert_eq!(pairs(&ring.reap()), want);
}

#[test]
fn a_backlog_waits_for_its_owner() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 2, DEFER);
    for ud in 0..3 {
        ring.push([sqe::nop(2 * ud), sqe::nop(2 * ud + 1)]);
        ring.submit();
    }
    resize(&sim, &mut ring, 2, 64);
    assert_eq!((ring.ready(), ring.sq_flags()), (4, CQ_OVERFLOW | LOOK));
    ring.poke();
    assert_eq!((ring.ready(), ring.sq_flags()), (6, LOOK));
}

#[test]
fn what_the_owner_is_told_goes_along() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 2, DEFER | TASKRUN_FLAG);
    ring.push([with(ASYNC, sqe::nop(1))]);
    ring.submit();
    sim.sleep(1000);
    resize(&sim, &mut ring, 4, 8);
    assert_eq!(ring.sq_flags(), LOOK);
    assert_eq!(ring.enter(0, 1, GETEVENTS), Ok(0));
    assert_eq!((ring.ready(), ring.sq_flags()), (1, 1), "it came for its work");
}

#[test]
fn an_application_that_lies_about_its_queues_gets_nowhere() {
    let sim = Sim::default();
    let mut ring = Client::new(&sim, 4, DEFER);
    let word = |ring: &Client, off: u32, value| {
        ring.memory.rings.w32(off as usize).store(value, Relaxed);
    };
    let (s, c) = (ring.params.sq_off, ring.params.cq_off);
    word(&ring, s.tail, 100);
    assert_eq!(ask(&sim, &ring, 8, 16), Err(Errno::EOVERFLOW));
    word(&ring, s.tail, u32::MAX);
    assert_eq!(ask(&sim, &ring, 8, 16), Err(Errno::EOVERFLOW));
    word(&ring, s.tail, 0);
    for head in [1, u32::MAX / 2] {
        word(&ring, c.head, head);
        assert_eq!(ask(&sim, &ring, 8, 16), Err(Errno::EOVERFLOW));
    }
    word(&ring, c.head, 0);
    // More than there is, but not more than there will be: entries of before, again.
    word(&ring, s.tail, 7);
    assert_eq!(ask(&sim, &ring, 8, 16), Ok(0));
    ring.remap();
    assert_eq!(ring.enter(9, 0, 0), Ok(7));
}

#[test]
fn positions_may_come_round() {
    let pages = |g: &Geometry| (Map::leaked(g.rings_len()), Map::leaked(g.sqes_len()));
    let (small, large) =
        (Geometry::new(4, 8, true, true, true), Geometry::new(16, 32, true, true, true));
    let (a, b) = (pages(&small), pages(&large));
    let (from, to) = (SqView::new(&a.0, &a.1, &small), SqView::new(&b.0, &b.1, &large));
    let (head, tail) = (u32::MAX - 1, 2);
    for (slot, word) in [(2, 20), (3, 30), (0, 40), (1, 50)] {
        a.1.w64(128 * slot + 120).store(word, Relaxed);
    }
    to.take_over(&from, (head, tail));
    let words = [14, 15, 0, 1, 2].map(|slot: usize| b.1.w64(128 * slot + 120).load(Relaxed));
    assert_eq!(words, [20, 30, 40, 50, 0]);
    let (from, to) = (CqView::new(&a.0, &small), CqView::new(&b.0, &large));
    for at in [u32::MAX - 1, u32::MAX, 0, 1] {
        from.write(at, &Cqe { big: [u64::from(at), 7], ..Cqe::new(1, Ok(0), 0) });
    }
    to.take_over(&from, (head, tail));
    let big = |slot: usize| b.0.w64(64 + 32 * slot + 16).load(Relaxed);
    assert_eq!([30, 31, 0, 1, 2].map(big), [0xffff_fffe, 0xffff_ffff, 0, 1, 0]);
}
