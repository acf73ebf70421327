//! Completions published, and who sleeps until there are enough of them.

use crate::sqe;
use ringer_engine::host::FileKind;
use ringer_model::{App, GETEVENTS, Machine, check, spawn};
use ringer_uapi::Params;

fn app(machine: Machine, entries: u32) -> App {
    App::new(machine, entries, Params::default())
}

#[test]
fn a_waiter_does_not_miss_a_cqe_published_between_its_check_and_its_sleep() {
    check(|| {
        let app = app(Machine::default(), 1);
        let theirs = app.clone();
        let poster = spawn(move || {
            theirs.push(&sqe::nop(1));
            theirs.submit();
        });
        assert_eq!(app.wait(1), [(1, 0)]);
        poster.join().expect("the poster");
    });
}

#[test]
fn a_waiter_for_two_is_not_left_asleep_by_two_posters() {
    check(|| {
        let app = app(Machine::default(), 2);
        app.push(&sqe::nop(1));
        app.push(&sqe::nop(2));
        let theirs = app.clone();
        let poster = spawn(move || theirs.submit());
        let theirs = app.clone();
        let waiter = spawn(move || theirs.enter(0, 2, GETEVENTS));
        app.submit();
        assert_eq!(waiter.join().expect("the waiter"), Ok(0));
        poster.join().expect("the poster");
        assert_eq!(app.wait(2), [(1, 0), (2, 0)]);
    });
}

#[test]
fn of_two_waiters_neither_sleeps_past_its_cqe() {
    check(|| {
        let app = app(Machine::default(), 2);
        app.push(&sqe::nop(1));
        app.push(&sqe::nop(2));
        let theirs = app.clone();
        let one = spawn(move || theirs.enter(0, 1, GETEVENTS));
        let theirs = app.clone();
        let two = spawn(move || theirs.enter(0, 2, GETEVENTS));
        app.submit();
        // Before there is what the other one waits for.
        assert_eq!(one.join().expect("a waiter"), Ok(0));
        app.submit();
        assert_eq!(two.join().expect("a waiter"), Ok(0));
    });
}

#[test]
fn a_sleeper_learns_of_a_timer_armed_after_it_slept() {
    check(|| {
        let machine = Machine::default();
        let ms = [0u64.to_ne_bytes(), 1_000_000u64.to_ne_bytes()].concat();
        let at = machine.put(&ms);
        let app = app(machine, 1);
        app.push(&sqe::timeout(at, 1));
        let theirs = app.clone();
        let armer = spawn(move || theirs.submit());
        assert_eq!(app.wait(1), [(1, -62)]);
        armer.join().expect("who armed");
    });
}

#[test]
fn who_is_told_by_an_eventfd_finds_the_cqe() {
    check(|| {
        let machine = Machine::default();
        let (event, number) = machine.file(FileKind::Other);
        let at = machine.put(&number.to_ne_bytes());
        let app = app(machine, 1);
        // IORING_REGISTER_EVENTFD.
        assert_eq!(app.engine.register(app.fd, 4, at, 1), Ok(0));
        app.push(&sqe::nop(1));
        let theirs = app.clone();
        let poster = spawn(move || theirs.submit());
        event.take(app.world(), true).expect("a signal");
        assert_eq!(app.take().map(|c| c.user_data), Some(1));
        poster.join().expect("the poster");
    });
}
