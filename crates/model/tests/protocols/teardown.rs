//! The end of a ring beside calls and completions that are still under way.
//!
//! The host's pages fail a model in which the probe of the end has no order with a look of the engine,
//! or the engine looks after it was told that they are gone.

use crate::sqe;
use loom::thread::yield_now;
use ringer_engine::host::FileKind;
use ringer_model::{App, GETEVENTS, Machine, check, spawn};
use ringer_uapi::{Errno, Params};

/// The host's part: again on each tick, until the ring is gone.
fn close(app: &App) {
    while !app.engine.ring_closed(app.pages.id) {
        yield_now();
    }
    assert_eq!(app.engine.in_flight(app.pages.id), None);
}

#[test]
fn a_ring_is_not_probed_while_a_call_is_in_it() {
    check(|| {
        // COOP_TASKRUN and TASKRUN_FLAG.
        let params = Params { flags: 1 << 8 | 1 << 9, ..Params::default() };
        let app = App::new(Machine::default(), 1, params);
        app.push(&sqe::nop(1));
        let theirs = app.clone();
        // A call that found the ring just before its last descriptor went.
        let caller = spawn(move || theirs.enter(1, 1, GETEVENTS));
        close(&app);
        let call = caller.join().expect("the caller");
        assert!(matches!(call, Ok(0 | 1) | Err(Errno::EOPNOTSUPP)), "{call:?}");
    });
}

#[test]
fn an_idle_worker_ends_with_the_last_ring() {
    check(|| {
        let app = App::new(Machine::default(), 1, Params::default());
        app.push(&sqe::on_worker(sqe::nop(1)));
        assert_eq!(app.enter(1, 1, GETEVENTS), Ok(1));
        // Nobody ends the machine: a worker that slept on would never be woken.
        close(&app);
    });
}

#[test]
fn a_call_that_waits_keeps_its_ring() {
    check(|| {
        let app = App::new(Machine::default(), 1, Params::default());
        app.push(&sqe::on_worker(sqe::nop(1)));
        let theirs = app.clone();
        let caller = spawn(move || theirs.enter(1, 1, GETEVENTS));
        close(&app);
        let call = caller.join().expect("the caller");
        // Who submitted was in the ring, and sees what it waited for.
        assert!(call != Ok(1) || app.take().is_some_and(|c| c.user_data == 1), "{call:?}");
        app.end();
    });
}

#[test]
fn a_ring_that_registers_is_not_probed() {
    check(|| {
        let machine = Machine::default();
        let (_file, fd) = machine.file(FileKind::Other);
        let at = machine.put(&fd.to_ne_bytes());
        let app = App::new(machine, 1, Params::default());
        let theirs = app.clone();
        // IORING_REGISTER_FILES.
        let caller = spawn(move || theirs.engine.register(theirs.fd, 2, at, 1));
        close(&app);
        let call = caller.join().expect("the caller");
        assert!(matches!(call, Ok(0) | Err(Errno::EOPNOTSUPP)), "{call:?}");
    });
}

#[test]
fn a_completion_beside_the_end_of_its_ring_goes_nowhere() {
    check(|| {
        let app = App::new(Machine::default(), 1, Params::default());
        app.push(&sqe::on_worker(sqe::nop(1)));
        app.submit();
        close(&app);
        app.end();
    });
}

#[test]
fn a_worker_that_blocks_as_its_ring_ends_is_interrupted() {
    check(|| {
        let machine = Machine::default();
        // Nobody ever writes.
        let (file, fd) = machine.file(FileKind::Regular);
        let app = App::new(machine, 1, Params::default());
        app.push(&sqe::on_worker(sqe::read(fd, 1)));
        app.submit();
        close(&app);
        assert!(!file.is_busy(), "the ring is gone, and a worker still reads for it");
        app.end();
    });
}
