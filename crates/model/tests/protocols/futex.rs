//! Waits for futexes: who is asleep when, and who takes a sleeper off.

use crate::sqe;
use ringer_model::{App, Machine, check, spawn};
use ringer_uapi::Params;

const EAGAIN: i32 = -11;
const ECANCELED: i32 = -125;
const ENOENT: i32 = -2;

/// A ring, and a word of 0.
fn app() -> (App, u64) {
    let machine = Machine::default();
    let word = machine.put(&[0; 8]);
    (App::new(machine, 2, Params::default()), word)
}

/// A ring whose wait on a futex was woken.
fn woken() -> App {
    let (app, word) = app();
    app.push(&sqe::futex_wait(word, 1));
    app.submit();
    assert_eq!(app.wake_futex(word, 9), 1);
    assert_eq!(app.wait(1), [(1, 0)]);
    app
}

#[test]
fn a_wake_up_after_the_submission_of_a_futex_wait_finds_it() {
    check(|| {
        woken().end();
    });
}

#[test]
fn an_idle_waiter_ends_with_the_last_ring() {
    check(|| {
        let app = woken();
        // Nobody ends the machine: a waiter that slept on would never be woken.
        while !app.engine.ring_closed(app.pages.id) {
            loom::thread::yield_now();
        }
    });
}

#[test]
fn a_change_while_a_futex_wait_begins_is_not_lost() {
    check(|| {
        let (app, word) = app();
        let theirs = app.clone();
        let waker = spawn(move || {
            theirs.store(word, 1);
            theirs.wake_futex(word, 9)
        });
        app.push(&sqe::futex_wait(word, 1));
        app.submit();
        let woken = waker.join().expect("the waker");
        match app.wait(1)[..] {
            [(1, 0)] => assert_eq!(woken, 1),
            [(1, EAGAIN)] => assert_eq!(woken, 0),
            ref other => panic!("{other:?}"),
        }
        app.end();
    });
}

#[test]
fn a_cancel_and_a_wake_up_agree_on_who_took_a_futex_wait() {
    check(|| {
        let (app, word) = app();
        app.push(&sqe::futex_wait(word, 1));
        app.submit();
        let theirs = app.clone();
        let waker = spawn(move || theirs.wake_futex(word, 9));
        app.push(&sqe::cancel(1, 2));
        app.submit();
        let woken = waker.join().expect("the waker");
        let mut got = app.wait(2);
        got.sort_unstable();
        match got[..] {
            // Woken while it was looked for: what the cancel says is of a moment before.
            [(1, 0), (2, ENOENT | 1)] => assert_eq!(woken, 1),
            [(1, ECANCELED), (2, 1)] => assert_eq!(woken, 0),
            ref other => panic!("{other:?}"),
        }
        assert_eq!(app.wake_futex(word, 9), 0);
        assert_eq!(app.engine.in_flight(app.pages.id), Some(0));
        app.end();
    });
}
