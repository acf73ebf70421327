//! The worker queue: what is queued is run, whatever the workers are about to do.

use crate::sqe;
use ringer_engine::host::FileKind;
use ringer_model::{App, Machine, Options, check};
use ringer_uapi::Params;

/// A ring on a machine with so many workers.
fn app(machine: Machine) -> App {
    App::new(machine, 4, Params::default())
}

#[test]
fn a_request_queued_as_the_worker_falls_idle_is_run() {
    check(|| {
        let app = app(Machine::default());
        for i in 1..=2 {
            app.push(&sqe::on_worker(sqe::nop(i)));
            app.submit();
        }
        assert_eq!(app.wait(2), [(1, 0), (2, 0)]);
        app.end();
    });
}

#[test]
fn a_request_queued_as_the_last_worker_gives_up_is_run() {
    check(|| {
        let app = app(Machine::new(Options { workers: 2, impatient: true, ..Options::default() }));
        for i in 1..=2 {
            app.push(&sqe::on_worker(sqe::nop(i)));
            app.submit();
        }
        let mut got = app.wait(2);
        got.sort_unstable();
        assert_eq!(got, [(1, 0), (2, 0)]);
        app.end();
    });
}

#[test]
fn a_request_does_not_wait_behind_one_that_waits_for_it() {
    check(|| {
        let machine = Machine::new(Options { workers: 2, ..Options::default() });
        let (_file, fd) = machine.file(FileKind::Regular);
        let (full, before) = machine.file(FileKind::Regular);
        let app = app(machine);
        // One worker, idle by now or not.
        full.put();
        app.push(&sqe::on_worker(sqe::read(before, 1)));
        app.submit();
        assert_eq!(app.wait(1), [(1, 1)]);
        // The read blocks until the write has run.
        app.push(&sqe::on_worker(sqe::read(fd, 2)));
        app.push(&sqe::on_worker(sqe::write(fd, 3)));
        app.submit();
        app.submit();
        let mut got = app.wait(2);
        got.sort_unstable();
        assert_eq!(got, [(2, 1), (3, 1)]);
        app.end();
    });
}

#[test]
fn a_completion_that_its_owner_must_post_wakes_it() {
    check(|| {
        // SINGLE_ISSUER, DEFER_TASKRUN.
        let params = Params { flags: 1 << 12 | 1 << 13, ..Params::default() };
        let app = App::new(Machine::default(), 1, params);
        app.push(&sqe::on_worker(sqe::nop(1)));
        app.submit();
        assert_eq!(app.wait(1), [(1, 0)]);
        app.end();
    });
}
