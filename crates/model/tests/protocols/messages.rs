//! Rings that message each other: no thread waits for a ring with another one in hand.

use crate::sqe;
use ringer_model::{App, GETEVENTS, Machine, check, spawn};
use ringer_uapi::Params;

fn two(entries: u32) -> (App, App) {
    let a = App::new(Machine::default(), entries, Params::default());
    let b = a.beside(1, Params::default());
    (a, b)
}

#[test]
fn two_rings_that_message_each_other_get_on() {
    check(|| {
        let (a, b) = two(1);
        a.push(&sqe::message(b.fd, 10, 1));
        b.push(&sqe::message(a.fd, 20, 2));
        let theirs = b.clone();
        let other = spawn(move || theirs.submit());
        a.submit();
        other.join().expect("the other thread");
        let sorted = |mut v: Vec<(u64, i32)>| {
            v.sort_unstable();
            v
        };
        assert_eq!(sorted(a.wait(2)), [(1, 0), (20, 0)]);
        assert_eq!(sorted(b.wait(2)), [(2, 0), (10, 0)]);
    });
}

#[test]
fn a_message_to_a_busy_ring_wakes_who_waits_there() {
    check(|| {
        let (a, b) = two(1);
        a.push(&sqe::message(b.fd, 10, 1));
        let theirs = b.clone();
        let waiter = spawn(move || theirs.enter(0, 1, GETEVENTS));
        a.submit();
        assert_eq!(waiter.join().expect("the waiter"), Ok(0));
        assert_eq!(b.take().map(|c| c.user_data), Some(10));
        assert_eq!(a.wait(1), [(1, 0)]);
    });
}

#[test]
fn messages_of_one_ring_stay_in_order() {
    check(|| {
        let (a, b) = two(2);
        a.push(&sqe::message(b.fd, 10, 1));
        a.push(&sqe::message(b.fd, 11, 2));
        b.push(&sqe::nop(3));
        let theirs = a.clone();
        let sender = spawn(move || theirs.enter(2, 0, 0));
        // Holds the target's lock at the first message, not at the second.
        b.submit();
        assert_eq!(sender.join().expect("the sender"), Ok(2));
        assert_eq!(a.wait(2), [(1, 0), (2, 0)]);
        let got = b.wait(3);
        let messages: Vec<u64> = got.iter().map(|c| c.0).filter(|&d| d != 3).collect();
        assert_eq!(messages, [10, 11]);
    });
}

#[test]
fn messages_of_two_threads_of_a_ring_all_arrive() {
    check(|| {
        let (a, b) = two(1);
        a.push(&sqe::message(b.fd, 10, 1));
        let (theirs, to) = (a.clone(), b.fd);
        let other = spawn(move || {
            theirs.submit();
            theirs.push(&sqe::message(to, 11, 2));
            theirs.submit();
        });
        b.push(&sqe::nop(3));
        b.submit();
        assert_eq!(a.wait(2), [(1, 0), (2, 0)]);
        other.join().expect("the other thread");
        assert_eq!(b.wait(3).len(), 3);
    });
}

#[test]
fn a_ring_that_ends_is_not_messaged_in_its_pages() {
    check(|| {
        let (a, b) = two(1);
        a.push(&sqe::message(b.fd, 10, 1));
        let theirs = a.clone();
        let sender = spawn(move || theirs.submit());
        while !b.engine.ring_closed(b.pages.id) {
            loom::thread::yield_now();
        }
        sender.join().expect("the sender");
        assert_eq!(a.wait(1).first().map(|c| c.0), Some(1));
    });
}

#[test]
fn two_rings_that_clone_each_other_get_on() {
    check(|| {
        let (a, b) = two(1);
        let range =
            a.engine.host().put(&[0x10_0000u64.to_ne_bytes(), 64u64.to_ne_bytes()].concat());
        for ring in [&a, &b] {
            assert_eq!(ring.engine.register(ring.fd, 0, range, 1), Ok(0));
        }
        // `struct io_uring_clone_buffers`: the source, DST_REPLACE, all of it.
        let from = |fd: i32| {
            let words = [fd as u64 | 2 << 32, 0, 0, 0];
            a.engine.host().put(&words.map(u64::to_ne_bytes).concat())
        };
        let (of_b, of_a) = (from(b.fd), from(a.fd));
        let theirs = b.clone();
        let other = spawn(move || theirs.engine.register(theirs.fd, 30, of_a, 1));
        assert_eq!(a.engine.register(a.fd, 30, of_b, 1), Ok(0));
        assert_eq!(other.join().expect("the other thread"), Ok(0));
    });
}
