//! The shared pages: entries are handed over by a tail and taken back by a head.

use loom::thread::yield_now;
use ringer_engine::host::RingId;
use ringer_model::{Pages, check, spawn};
use ringer_ring::{CqView, Geometry, SqView};
use ringer_uapi::{Cqe, Sqe};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

fn pages() -> Arc<Pages> {
    let pages = Pages::new(RingId(1), Geometry::new(1, 2, false, false, true));
    SqView::new(&pages.rings, &pages.sqes, &pages.geometry).init();
    CqView::new(&pages.rings, &pages.geometry).init();
    Arc::new(pages)
}

fn nop(user_data: u64) -> Sqe {
    Sqe { user_data, ..Sqe::default() }
}

/// The application: stores entries 1..=n, each into the only slot once it is free.
fn submit(p: &Pages, n: u32) {
    let at = p.geometry.sq_offsets();
    for i in 1..=n {
        while i - p.rings.w32(at.head as usize).load(Acquire) > p.geometry.sq_entries {
            yield_now();
        }
        for (w, word) in nop(u64::from(i)).to_words().into_iter().enumerate() {
            p.sqes.w64(8 * w).store(word, Relaxed);
        }
        p.rings.w32(at.tail as usize).store(i, Release);
    }
}

/// The engine: takes entries 1..=n.
fn consume(p: &Pages, n: u32) {
    let sq = SqView::new(&p.rings, &p.sqes, &p.geometry);
    for head in 0..n {
        while sq.tail() == head {
            yield_now();
        }
        let index = sq.index(head).expect("the only slot");
        assert_eq!(sq.sqe(index).user_data, u64::from(head) + 1);
        sq.publish_head(head + 1);
    }
}

#[test]
fn an_entry_is_whole_once_its_tail_is_seen() {
    check(|| {
        let p = pages();
        let theirs = p.clone();
        let app = spawn(move || submit(&theirs, 1));
        consume(&p, 1);
        app.join().expect("the application");
    });
}

#[test]
fn an_entry_is_not_overwritten_before_it_was_copied() {
    check(|| {
        let p = pages();
        let theirs = p.clone();
        let app = spawn(move || submit(&theirs, 2));
        consume(&p, 2);
        app.join().expect("the application");
    });
}

/// The engine: posts completions 1..=n, each once there is room.
fn post(p: &Pages, n: u32) {
    let cq = CqView::new(&p.rings, &p.geometry);
    for tail in 0..n {
        while tail - cq.head() >= p.geometry.cq_entries {
            yield_now();
        }
        cq.write(tail, &Cqe::new(u64::from(tail) + 1, Ok(7), 0));
        cq.publish_tail(tail + 1);
    }
}

/// The application: takes completions 1..=n.
fn reap(p: &Pages, n: u32) {
    let at = p.geometry.cq_offsets();
    for head in 0..n {
        while p.rings.w32(at.tail as usize).load(Acquire) == head {
            yield_now();
        }
        let base = at.cqes as usize + 16 * (head & (p.geometry.cq_entries - 1)) as usize;
        assert_eq!(p.rings.w64(base).load(Relaxed), u64::from(head) + 1);
        assert_eq!(p.rings.w64(base + 8).load(Relaxed), 7);
        p.rings.w32(at.head as usize).store(head + 1, Release);
    }
}

#[test]
fn a_completion_is_whole_once_its_tail_is_seen() {
    check(|| {
        let p = pages();
        let theirs = p.clone();
        let app = spawn(move || reap(&theirs, 1));
        post(&p, 1);
        app.join().expect("the application");
    });
}

#[test]
fn a_completion_is_not_overwritten_before_it_was_taken() {
    check(|| {
        let p = pages();
        let theirs = p.clone();
        let app = spawn(move || reap(&theirs, 3));
        post(&p, 3);
        app.join().expect("the application");
    });
}
