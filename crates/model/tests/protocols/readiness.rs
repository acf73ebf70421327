//! What makes a waiting thread's descriptor readable: the byte of a ring, the eventfd of a poller.

use loom::sync::{Condvar, Mutex};
use ringer_engine::host::RingId;
use ringer_model::{Pages, check, spawn};
use ringer_ring::{CqView, Geometry, SqView};
use ringer_sys::readiness::{Descriptor, Readiness};
use ringer_sys::wake::Wake;
use ringer_uapi::Cqe;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A kernel object with a count that somebody can sleep on: a pipe, an eventfd.
struct Count {
    count: Mutex<u32>,
    more: Condvar,
}

impl Count {
    fn new() -> Self {
        Self { count: Mutex::new(0), more: Condvar::new() }
    }

    fn add(&self) {
        *self.count.lock().expect("a count") += 1;
        self.more.notify_all();
    }

    fn take_all(&self) {
        *self.count.lock().expect("a count") = 0;
    }

    fn get(&self) -> u32 {
        *self.count.lock().expect("a count")
    }

    fn wait(&self) {
        let mut n = self.count.lock().expect("a count");
        while *n == 0 {
            n = self.more.wait(n).expect("a count");
        }
    }
}

struct Ring {
    pages: Pages,
    pipe: Count,
    readiness: Readiness,
}

impl Descriptor for Ring {
    fn fill(&self) {
        self.pipe.add();
        self.readiness.arrived();
    }

    fn empty(&self) {
        self.pipe.take_all();
    }

    fn cq_empty(&self) -> bool {
        let (at, rings) = (self.pages.geometry.cq_offsets(), &self.pages.rings);
        rings.w32(at.tail as usize).load(Acquire) == rings.w32(at.head as usize).load(Acquire)
    }
}

impl Ring {
    fn new() -> Arc<Self> {
        let pages = Pages::new(RingId(1), Geometry::new(1, 2, false, false, true));
        SqView::new(&pages.rings, &pages.sqes, &pages.geometry).init();
        CqView::new(&pages.rings, &pages.geometry).init();
        Arc::new(Self { pages, pipe: Count::new(), readiness: Readiness::new() })
    }

    /// The engine: posts the n-th CQE.
    fn post(&self, n: u32) {
        let announced = self.readiness.announce();
        let cq = CqView::new(&self.pages.rings, &self.pages.geometry);
        cq.write(n - 1, &Cqe::new(u64::from(n), Ok(0), 0));
        cq.publish_tail(n);
        self.readiness.posted(self, announced);
    }

    /// The engine: says that work waits for the owner of a ring that defers.
    fn tell_owner(&self) {
        self.readiness.set_work(true);
        self.readiness.posted(self, false);
    }

    /// The application: takes what is there, in memory.
    fn reap(&self) {
        let (at, rings) = (self.pages.geometry.cq_offsets(), &self.pages.rings);
        let tail = rings.w32(at.tail as usize).load(Acquire);
        rings.w32(at.head as usize).store(tail, Release);
    }

    /// How many CQEs the application has taken.
    fn taken(&self) -> u32 {
        let at = self.pages.geometry.cq_offsets();
        self.pages.rings.w32(at.head as usize).load(Relaxed)
    }

    /// The same; then the engine drains, as it does when a call finds nothing left.
    fn reap_and_drain(&self) {
        self.reap();
        if self.readiness.is_empty(self) {
            self.readiness.drain(self);
        }
    }
}

#[test]
fn who_begins_to_poll_as_a_cqe_is_posted_finds_the_byte() {
    check(|| {
        let ring = Ring::new();
        let theirs = ring.clone();
        let poster = spawn(move || theirs.post(1));
        ring.readiness.begin();
        ring.readiness.look(&*ring);
        // epoll_wait(2).
        ring.pipe.wait();
        assert!(!ring.cq_empty());
        poster.join().expect("the poster");
    });
}

#[test]
fn a_drain_does_not_swallow_the_byte_of_a_cqe_posted_meanwhile() {
    check(|| {
        let ring = Ring::new();
        ring.readiness.begin();
        ring.post(1);
        let theirs = ring.clone();
        let poster = spawn(move || theirs.post(2));
        ring.reap_and_drain();
        poster.join().expect("the poster");
        let bytes = ring.pipe.get();
        assert!(ring.cq_empty() || bytes > 0, "a CQE without a byte");
        assert!(bytes == 0 || ring.readiness.is_readable(), "a byte that no drain would drop");
    });
}

#[test]
fn who_begins_to_poll_as_work_is_told_finds_the_byte() {
    check(|| {
        let ring = Ring::new();
        let theirs = ring.clone();
        let teller = spawn(move || theirs.tell_owner());
        ring.readiness.begin();
        ring.readiness.look(&*ring);
        ring.pipe.wait();
        teller.join().expect("who tells");
        // A look with an empty CQ leaves it.
        ring.readiness.look(&*ring);
        assert!(ring.pipe.get() > 0, "work without a byte");
        // The owner comes.
        ring.readiness.set_work(false);
        ring.readiness.look(&*ring);
        assert_eq!(ring.pipe.get(), 0, "readable with nothing to see");
    });
}

#[test]
fn a_drain_does_not_swallow_the_byte_of_work_told_meanwhile() {
    check(|| {
        let ring = Ring::new();
        ring.readiness.begin();
        ring.post(1);
        let theirs = ring.clone();
        let teller = spawn(move || theirs.tell_owner());
        ring.reap_and_drain();
        teller.join().expect("who tells");
        assert!(ring.pipe.get() > 0, "work without a byte");
    });
}

#[test]
fn a_byte_left_behind_by_a_reaped_cqe_is_dropped_by_the_next_wait() {
    check(|| {
        let ring = Ring::new();
        ring.readiness.begin();
        let theirs = ring.clone();
        let poster = spawn(move || theirs.post(1));
        ring.reap_and_drain();
        poster.join().expect("the poster");
        ring.reap();
        ring.readiness.look(&*ring);
        assert_eq!(ring.pipe.get(), 0, "readable with nothing to see");
    });
}

#[test]
fn a_wait_after_a_reaped_cqe_lets_its_byte_arrive_first() {
    check(|| {
        let ring = Ring::new();
        ring.readiness.begin();
        let theirs = ring.clone();
        let poster = spawn(move || theirs.post(1));
        ring.reap();
        if ring.cq_empty() && ring.taken() == 1 {
            ring.readiness.look(&*ring);
            assert_eq!(ring.pipe.get(), 0, "a wait ends with nothing to see");
            poster.join().expect("the poster");
            assert_eq!(ring.pipe.get(), 0, "a wait ends with nothing to see");
        } else {
            poster.join().expect("the poster");
        }
    });
}

#[test]
fn a_wake_between_a_waiters_read_and_its_look_is_not_lost() {
    check(|| {
        let wake = Arc::new((Wake::new(), Count::new()));
        let news = Arc::new([zero(), zero(), zero()]);
        // One of them again after the other's: that is lost when the flag says what is not so.
        let wakers: Vec<_> = [0..1, 1..3]
            .into_iter()
            .map(|which| {
                let (wake, news) = (wake.clone(), news.clone());
                spawn(move || {
                    for n in &news[which] {
                        n.store(1, Relaxed);
                        wake.0.ring(|| wake.1.add());
                    }
                })
            })
            .collect();
        while news.iter().any(|n| n.load(Relaxed) == 0) {
            // epoll_wait(2) with the eventfd in the set.
            wake.1.wait();
            wake.0.answer(|| wake.1.take_all());
        }
        for w in wakers {
            w.join().expect("a waker");
        }
    });
}

fn zero() -> loom::sync::atomic::AtomicU32 {
    loom::sync::atomic::AtomicU32::new(0)
}
