//! The submission thread: when it sleeps, and who wakes it.

use crate::sqe;
use ringer_model::{App, GETEVENTS, Machine, Options, SQ_WAIT, SQ_WAKEUP, check};
use ringer_uapi::Params;

/// `IORING_SETUP_SQPOLL`.
const SQPOLL: u32 = 2;
/// `IORING_SETUP_ATTACH_WQ`.
const ATTACH_WQ: u32 = 1 << 5;
/// `IORING_SETUP_R_DISABLED`.
const R_DISABLED: u32 = 1 << 6;
/// `IORING_REGISTER_ENABLE_RINGS`.
const ENABLE_RINGS: u32 = 12;

/// A ring with a submission thread that soon falls asleep.
fn app(flags: u32) -> App {
    let params = Params { flags: SQPOLL | flags, sq_thread_idle: 1, ..Params::default() };
    let machine = Machine::new(Options { hasty: true, ..Options::default() });
    App::new(machine, 1, params)
}

/// One more ring of its thread.
fn attached(to: &App) -> App {
    let (flags, wq_fd) = (SQPOLL | ATTACH_WQ, to.fd.cast_unsigned());
    to.beside(1, Params { flags, wq_fd, sq_thread_idle: 1, ..Params::default() })
}

fn submit(app: &App, user_data: u64) {
    app.push(&sqe::nop(user_data));
    wake(app);
}

fn wake(app: &App) {
    if app.needs_wakeup() {
        assert_eq!(app.enter(1, 0, SQ_WAKEUP), Ok(1));
    }
}

/// The last descriptor goes. A model in which the thread does not end then does not end either.
fn close(app: &App) {
    assert!(app.engine.ring_closed(app.pages.id));
}

#[test]
fn an_entry_published_as_the_sq_thread_falls_asleep_is_not_missed() {
    check(|| {
        let app = app(0);
        submit(&app, 1);
        assert_eq!(app.wait(1), [(1, 0)]);
        close(&app);
    });
}

#[test]
fn a_sq_thread_about_to_sleep_notices_the_end_of_its_ring() {
    check(|| {
        let app = app(0);
        app.push(&sqe::nop(1));
        close(&app);
    });
}

#[test]
fn who_waits_for_room_is_told_when_there_is_some() {
    check(|| {
        let app = app(0);
        submit(&app, 1);
        assert_eq!(app.enter(0, 0, SQ_WAIT), Ok(0));
        assert!(app.has_room());
        close(&app);
    });
}

#[test]
fn a_sq_thread_that_fell_asleep_on_a_disabled_ring_is_woken_when_it_is_enabled() {
    check(|| {
        let app = app(R_DISABLED);
        app.push(&sqe::nop(1));
        assert_eq!(app.engine.register(app.fd, ENABLE_RINGS, 0, 0), Ok(0));
        assert_eq!(app.enter(0, 1, GETEVENTS), Ok(0));
        assert_eq!(app.take().map(|c| c.user_data), Some(1));
        close(&app);
    });
}

#[test]
fn a_ring_attached_as_the_sq_thread_falls_asleep_is_served() {
    check(|| {
        let first = app(0);
        let second = attached(&first);
        submit(&second, 1);
        assert_eq!(second.wait(1), [(1, 0)]);
        close(&first);
        close(&second);
    });
}

#[test]
fn a_wakeup_of_one_ring_is_not_lost_on_the_other() {
    check(|| {
        let first = app(0);
        let second = attached(&first);
        first.push(&sqe::nop(1));
        submit(&second, 2);
        wake(&first);
        assert_eq!(first.wait(1), [(1, 0)]);
        assert_eq!(second.wait(1), [(2, 0)]);
        close(&second);
        close(&first);
    });
}

#[test]
fn a_sq_thread_whose_first_ring_ends_serves_the_other() {
    check(|| {
        let first = app(0);
        let second = attached(&first);
        close(&first);
        submit(&second, 1);
        assert_eq!(second.wait(1), [(1, 0)]);
        close(&second);
    });
}
