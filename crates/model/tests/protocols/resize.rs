//! Other pages under a ring beside those who look at them: nobody looks at the old ones afterwards, and
//! what completes is in one or the other, once.
//!
//! The host's pages fail a model in which a resize has no order with a look of the engine, or the
//! engine looks at the old ones after it.

use crate::sqe;
use ringer_engine::host::FileKind;
use ringer_model::{App, GETEVENTS, Machine, Options, check, spawn};
use ringer_uapi::{Errno, Params};

/// A ring of one entry that only its owner posts in; TASKRUN_FLAG: others tell it in the pages.
fn deferred(machine: Machine) -> App {
    let params = Params { flags: 1 << 9 | 1 << 12 | 1 << 13, ..Params::default() };
    App::new(machine, 1, params)
}

#[test]
fn what_a_worker_completes_is_in_the_new_rings() {
    check(|| {
        let mut app = deferred(Machine::default());
        app.push(&sqe::on_worker(sqe::nop(1)));
        app.submit();
        // The worker tells the owner, before or after.
        app.resize(2, 4);
        app.push(&sqe::nop(2));
        app.submit();
        let mut got = app.wait(2);
        got.sort_unstable();
        assert_eq!(got, [(1, 0), (2, 0)]);
        app.end();
    });
}

#[test]
fn what_was_completed_is_taken_along() {
    check(|| {
        let mut app = deferred(Machine::default());
        app.push(&sqe::nop(1));
        app.submit();
        app.push(&sqe::on_worker(sqe::nop(2)));
        app.submit();
        app.resize(1, 1);
        assert_eq!(app.wait(2), [(1, 0), (2, 0)]);
        app.end();
    });
}

#[test]
fn a_message_arrives_in_the_old_rings_or_the_new_ones() {
    check(|| {
        let mut to = deferred(Machine::default());
        let from = to.beside(1, Params::default());
        from.push(&sqe::message(to.fd, 10, 1));
        let theirs = from.clone();
        let sender = spawn(move || theirs.submit());
        to.resize(2, 4);
        assert_eq!(to.wait(1), [(10, 0)]);
        sender.join().expect("the sender");
        assert_eq!(from.wait(1), [(1, 0)]);
        to.end();
    });
}

#[test]
fn an_event_that_the_reactor_sees_is_in_the_new_rings() {
    check(|| {
        let options = Options { reactor: true, workers: 0, polled: true, ..Options::default() };
        let machine = Machine::new(options);
        let (file, fd) = machine.file(FileKind::Pipe);
        let mut app = deferred(machine);
        app.push(&sqe::poll(fd, 1));
        app.submit();
        let feeder = spawn(move || file.put());
        app.resize(2, 4);
        assert_eq!(app.wait(1), [(1, 1)]);
        feeder.join().expect("the feeder");
        app.end();
    });
}

#[test]
fn a_disabled_ring_may_be_resized_by_two() {
    check(|| {
        // R_DISABLED: nobody owns it yet.
        let params = Params { flags: 1 << 6 | 1 << 12 | 1 << 13, ..Params::default() };
        let mut app = App::new(Machine::default(), 1, params);
        let mut theirs = app.clone();
        let other = spawn(move || theirs.resize(4, 8));
        app.resize(2, 4);
        other.join().expect("the other thread");
        assert_eq!(app.engine.register(app.fd, 12, 0, 0), Ok(0), "enabled");
        let mut app = App { pages: app.world().pages(app.fd), ..app };
        app.push(&sqe::nop(1));
        app.submit();
        assert_eq!(app.wait(1), [(1, 0)]);
        app.resize(1, 2);
        assert_eq!(app.take(), None);
    });
}

#[test]
fn a_ring_is_not_resized_after_its_end() {
    check(|| {
        let app = deferred(Machine::default());
        let id = app.pages.id;
        let theirs = app.clone();
        let asked = Params { sq_entries: 2, ..Params::default() };
        let arg = app.engine.host().put(&asked.to_bytes());
        let closer = spawn(move || {
            while !theirs.engine.ring_closed(id) {
                loom::thread::yield_now();
            }
        });
        // A call that found the ring just before its last descriptor went.
        let call = app.engine.register(app.fd, 33, arg, 1);
        assert!(matches!(call, Ok(0) | Err(Errno::EBADF | Errno::EOPNOTSUPP)), "{call:?}");
        closer.join().expect("the host");
        assert_eq!(app.enter(0, 0, GETEVENTS), Err(Errno::EOPNOTSUPP));
    });
}
