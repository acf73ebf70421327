//! Cancel against completion: a request ends once, whoever comes first.

use crate::sqe;
use ringer_engine::host::FileKind;
use ringer_model::{App, GETEVENTS, Machine, check, spawn};
use ringer_uapi::Params;

const ECANCELED: i32 = -125;
const EALREADY: i32 = -114;
const EINTR: i32 = -4;
const ENOENT: i32 = -2;

/// Results of request 1 and of the cancel 2; nothing else may have ended.
fn ended(app: &App) -> (i32, i32) {
    let mut got = app.wait(2);
    got.sort_unstable();
    let [(1, request), (2, cancel)] = got[..] else { panic!("{got:?}") };
    assert_eq!(app.take(), None);
    assert_eq!(app.engine.in_flight(app.pages.id), Some(0));
    (request, cancel)
}

#[test]
fn a_request_is_ended_once_when_a_cancel_meets_its_worker() {
    check(|| {
        let app = App::new(Machine::default(), 2, Params::default());
        app.push(&sqe::on_worker(sqe::nop(1)));
        app.push(&sqe::cancel(1, 2));
        app.submit();
        app.submit();
        match ended(&app) {
            (0, ENOENT | EALREADY | 0) | (ECANCELED, 0) => {}
            other => panic!("{other:?}"),
        }
        app.end();
    });
}

/// A read that blocks for ever (nobody writes) meets a cancel: it must end.
fn cancel_of_a_blocked_read(kind: FileKind) {
    let machine = Machine::default();
    let (_file, fd) = machine.file(kind);
    let app = App::new(machine, 2, Params::default());
    app.push(&sqe::on_worker(sqe::read(fd, 1)));
    app.push(&sqe::cancel(1, 2));
    app.submit();
    app.submit();
    match ended(&app) {
        (ECANCELED, 0 | EALREADY) | (EINTR, EALREADY) => {}
        other => panic!("{other:?}"),
    }
    app.end();
}

#[test]
fn a_cancel_reaches_a_worker_that_began_before_its_maker_returned() {
    check(|| cancel_of_a_blocked_read(FileKind::Regular));
}

#[test]
fn a_cancel_between_a_workers_try_and_its_blocking_call_is_not_lost() {
    check(|| cancel_of_a_blocked_read(FileKind::Other));
}

/// The call comes back, and then the request has ended.
#[test]
fn a_synchronous_cancel_is_woken_by_the_worker_it_interrupts() {
    check(|| {
        let machine = Machine::default();
        let (_file, fd) = machine.file(FileKind::Regular);
        let key = [1u64, u64::MAX >> 32, u64::MAX, u64::MAX, 0, 0, 0, 0];
        let arg = machine.put(&key.map(u64::to_ne_bytes).concat());
        let app = App::new(machine, 2, Params::default());
        app.push(&sqe::on_worker(sqe::read(fd, 1)));
        app.submit();
        assert_eq!(app.engine.register(app.fd, 24, arg, 1), Ok(0));
        assert_eq!(app.engine.in_flight(app.pages.id), Some(0));
        let (name, res) = app.wait(1)[0];
        assert!(name == 1 && [ECANCELED, EINTR].contains(&res), "{name}: {res}");
        app.end();
    });
}

#[test]
fn a_poll_is_ended_once_when_a_cancel_meets_its_event() {
    check(|| {
        let machine = Machine::default();
        let (file, fd) = machine.file(FileKind::Socket);
        let app = App::new(machine, 2, Params::default());
        app.push(&sqe::poll(fd, 1));
        app.submit();
        app.push(&sqe::cancel(1, 2));
        let theirs = app.clone();
        let leader = spawn(move || theirs.enter(0, 1, GETEVENTS));
        file.put();
        app.submit();
        // Before anything is taken that it waits for.
        assert_eq!(leader.join().expect("the leader"), Ok(0));
        match ended(&app) {
            (1, ENOENT) | (ECANCELED, 0) => {}
            other => panic!("{other:?}"),
        }
    });
}
