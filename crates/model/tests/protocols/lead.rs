//! Who waits in a ring's poller: callers in turn, or the reactor.

use crate::sqe;
use ringer_engine::host::FileKind;
use ringer_model::{App, GETEVENTS, Machine, Options, check, spawn};
use ringer_uapi::{Errno, Params};

fn app(machine: Machine, entries: u32) -> App {
    App::new(machine, entries, Params::default())
}

#[test]
fn an_event_between_the_attempt_and_the_watch_is_handled() {
    check(|| {
        let machine = Machine::default();
        let (file, fd) = machine.file(FileKind::Socket);
        let app = app(machine, 1);
        app.push(&sqe::recv(fd, 1));
        let writer = spawn(move || file.put());
        app.submit();
        assert_eq!(app.wait(1), [(1, 1)]);
        writer.join().expect("the writer");
    });
}

#[test]
fn a_sleeper_takes_the_lead_when_the_first_request_waits() {
    check(|| {
        let machine = Machine::default();
        let (file, fd) = machine.file(FileKind::Socket);
        let app = app(machine, 1);
        app.push(&sqe::poll(fd, 1));
        let theirs = app.clone();
        let other = spawn(move || {
            theirs.submit();
            file.put();
        });
        assert_eq!(app.wait(1), [(1, 1)]);
        other.join().expect("who submitted");
    });
}

#[test]
fn a_leader_that_leaves_hands_the_poller_to_a_sleeper() {
    check(|| {
        let machine = Machine::default();
        let (file, fd) = machine.file(FileKind::Socket);
        let app = app(machine, 1);
        app.push(&sqe::poll(fd, 1));
        app.submit();
        let theirs = app.clone();
        let brief = spawn(move || theirs.wait_ns(1, 1_000_000));
        let theirs = app.clone();
        let patient = spawn(move || theirs.enter(0, 1, GETEVENTS));
        assert_eq!(brief.join().expect("who gives up"), Err(Errno::ETIME));
        // Only the other one can see this.
        file.put();
        assert_eq!(patient.join().expect("who stays"), Ok(0));
    });
}

#[test]
fn who_waits_for_more_leads_when_who_waited_for_less_has_left() {
    check(|| {
        let machine = Machine::default();
        let (file, fd) = machine.file(FileKind::Socket);
        let (later, fd2) = machine.file(FileKind::Socket);
        let app = app(machine, 2);
        app.push(&sqe::poll(fd, 1));
        app.push(&sqe::poll(fd2, 2));
        assert_eq!(app.enter(2, 0, 0), Ok(2));
        let theirs = app.clone();
        let one = spawn(move || theirs.enter(0, 1, GETEVENTS));
        let theirs = app.clone();
        let both = spawn(move || theirs.enter(0, 2, GETEVENTS));
        file.put();
        assert_eq!(one.join().expect("who waits for one"), Ok(0));
        later.put();
        assert_eq!(both.join().expect("who waits for both"), Ok(0));
    });
}

#[test]
fn a_poster_wakes_the_leader() {
    check(|| {
        let machine = Machine::default();
        let (_file, fd) = machine.file(FileKind::Socket);
        let app = app(machine, 2);
        app.push(&sqe::poll(fd, 1));
        app.submit();
        app.push(&sqe::nop(2));
        let theirs = app.clone();
        let poster = spawn(move || theirs.submit());
        assert_eq!(app.wait(1), [(2, 0)]);
        poster.join().expect("the poster");
    });
}

#[test]
fn a_ring_that_its_leader_left_is_looked_after_by_the_reactor() {
    check(|| {
        let machine = Machine::new(Options { reactor: true, ..Options::default() });
        let (file, fd) = machine.file(FileKind::Socket);
        let (later, fd2) = machine.file(FileKind::Socket);
        let app = app(machine, 2);
        app.push(&sqe::poll(fd, 1));
        app.push(&sqe::poll(fd2, 2));
        assert_eq!(app.enter(2, 0, 0), Ok(2));
        let theirs = app.clone();
        let writer = spawn(move || {
            file.put();
            drop(theirs);
        });
        // Leads, or finds what the reactor posted.
        assert_eq!(app.wait(1), [(1, 1)]);
        let told = app.pages.await_signal(0);
        later.put();
        // Nobody calls: only the reactor can post this.
        while app.take().is_none() {
            app.pages.await_signal(told);
        }
        writer.join().expect("the writer");
        app.end();
    });
}

#[test]
fn a_request_that_waits_in_an_unattended_ring_is_taken_care_of() {
    check(|| {
        let machine = Machine::new(Options { reactor: true, ..Options::default() });
        let (file, fd) = machine.file(FileKind::Socket);
        let app = app(machine, 1);
        app.push(&sqe::recv(fd, 1));
        let writer = spawn(move || file.put());
        app.submit();
        let mut told = 0;
        while app.take().is_none() {
            told = app.pages.await_signal(told);
        }
        writer.join().expect("the writer");
        app.end();
    });
}
