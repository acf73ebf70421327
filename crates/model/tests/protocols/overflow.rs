//! The backlog of a full completion queue.

use crate::sqe;
use ringer_model::{App, GETEVENTS, Machine, check, spawn};
use ringer_uapi::Params;

#[test]
fn a_backlogged_cqe_is_flushed_to_a_waiter_in_its_order() {
    check(|| {
        let app = App::new(Machine::default(), 1, Params::default());
        let theirs = app.clone();
        let poster = spawn(move || {
            for i in 1..=3 {
                theirs.push(&sqe::nop(i));
                theirs.submit();
            }
        });
        assert_eq!(app.wait(3), [(1, 0), (2, 0), (3, 0)]);
        poster.join().expect("the poster");
    });
}

#[test]
fn a_flush_beside_a_poster_loses_nothing() {
    check(|| {
        let app = App::new(Machine::default(), 1, Params::default());
        for i in 1..=3 {
            app.push(&sqe::nop(i));
            app.submit();
        }
        assert!(app.overflowed());
        app.push(&sqe::nop(4));
        let theirs = app.clone();
        let poster = spawn(move || theirs.submit());
        let mut all = vec![app.take().expect("the oldest").user_data];
        assert_eq!(app.enter(0, 0, GETEVENTS), Ok(0));
        poster.join().expect("the poster");
        while all.len() < 4 {
            match app.take() {
                Some(c) => all.push(c.user_data),
                None => {
                    assert!(app.overflowed());
                    assert_eq!(app.enter(0, 0, GETEVENTS), Ok(0));
                }
            }
        }
        assert_eq!(all, [1, 2, 3, 4]);
        assert!(!app.overflowed());
    });
}
