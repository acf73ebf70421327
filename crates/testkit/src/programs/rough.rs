//! Rough company: signal storms, many rings, spawned programs, descriptor sweeps, a ring closed
//! under a waiter.

use super::{Outcome, expect, must};
use crate::os::{self, Buf, Errno};
use crate::ring::{GETEVENTS, Ring};
use crate::sqe::{self, ASYNC, FIXED};
use std::sync::atomic::{AtomicU32, Ordering};

static TICKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn tick(_: i32) {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// Requests of every kind while a timer signal arrives every 200 microseconds: enter may say
/// `EINTR`, no request is lost, none fails.
pub fn signal_storm(_: &str) -> Outcome {
    const ROUNDS: u64 = 3000;
    let mut ring = must("setup", Ring::new(16, 0))?;
    let file = must("file", os::temp_file(&[9; 4096]))?;
    must("register", ring.register_files(&[file]))?;
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(4096);
    must("sigaction", os::on_signal(libc::SIGALRM, tick, libc::SA_RESTART))?;
    os::deadline(0);
    must("timer", os::every(200))?;
    for round in 0..ROUNDS {
        ring.push(sqe::flagged(sqe::read(0, buf.addr(), 512, 0, 1), FIXED));
        ring.push(sqe::flagged(sqe::read(file, buf.addr(), 512, 512, 2), ASYNC));
        ring.push(sqe::read(r, buf.addr() + 1024, 8, 0, 3));
        let mut left = 3;
        while left > 0 {
            match ring.submit(0) {
                Ok(n) => left -= n,
                Err(Errno(libc::EINTR)) => {}
                Err(e) => return Err(format!("submit: {e:?}")),
            }
        }
        while os::write(w, &round.to_ne_bytes()) == Err(Errno(libc::EINTR)) {}
        let mut done = 0;
        while done < 3 {
            while let Some(c) = ring.reap() {
                expect("a result", c.res, if c.user_data == 3 { 8 } else { 512 })?;
                done += 1;
            }
            if done < 3 {
                match ring.enter(0, 1, GETEVENTS, 0, 0) {
                    Ok(_) | Err(Errno(libc::EINTR)) => {}
                    Err(e) => return Err(format!("wait: {e:?}")),
                }
            }
        }
        expect("the pipe's bytes", buf.get64(1024), round)?;
    }
    expect("signals arrived", TICKS.load(Ordering::Relaxed) > 10, true)
}

/// Two hundred rings at once, all of them working, all of them gone.
pub fn many_rings(_: &str) -> Outcome {
    let before = os::count_in_proc("fd");
    for _ in 0..2 {
        let mut rings = Vec::new();
        for _ in 0..200 {
            rings.push(must("setup", Ring::new(4, 0))?);
        }
        let file = must("file", os::temp_file(b"0123456789"))?;
        let buf = Buf::new(16);
        for (i, ring) in rings.iter_mut().enumerate() {
            let flags = if i % 2 == 0 { ASYNC } else { 0 };
            let s = sqe::flagged(sqe::read(file, buf.addr(), 10, 0, 1), flags);
            expect("a read on each", ring.result(s), Ok(10))?;
        }
        must("close", os::close(file))?;
    }
    super::lifetime::no_more_than(before + 8)
}

/// Programs spawned (vfork) while requests wait and workers work.
pub fn spawning(_: &str) -> Outcome {
    let mut ring = must("setup", Ring::new(16, 0))?;
    let file = must("file", os::temp_file(&[9; 4096]))?;
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(4096);
    for round in 0..50u64 {
        ring.push(sqe::read(r, buf.addr(), 8, 0, 1));
        ring.push(sqe::flagged(sqe::read(file, buf.addr() + 8, 64, 0, 2), ASYNC));
        must("submit", ring.submit(0))?;
        let status = std::process::Command::new("/bin/true").status();
        expect("the spawned program", status.map(|s| s.code()).ok(), Some(Some(0)))?;
        must("write", os::write(w, &round.to_ne_bytes()))?;
        for _ in 0..2 {
            let c = must("wait", ring.wait())?;
            expect("a result", c.res, if c.user_data == 1 { 8 } else { 64 })?;
        }
        expect("the pipe's bytes", buf.get64(0), round)?;
    }
    Ok(())
}

/// Every descriptor but the program's own is closed one by one, as daemons do; then overwritten.
pub fn sweeping(_: &str) -> Outcome {
    const SWEPT: i32 = 1024;
    must("limit", os::limit(libc::RLIMIT_NOFILE, SWEPT as u64))?;
    let mut ring = must("setup", Ring::new(16, 0))?;
    let file = must("file", os::temp_file(&[9; 4096]))?;
    let (a, b) = must("socketpair", os::socketpair(libc::SOCK_STREAM))?;
    must("register", ring.register_files(&[file, a]))?;
    let keep = [0, 1, 2, ring.fd, file, a, b];
    let buf = Buf::new(4096);
    let mut works = |when: &str| -> Outcome {
        for flags in [0, ASYNC, FIXED, FIXED | ASYNC] {
            let fd = if flags & FIXED == 0 { file } else { 0 };
            let s = sqe::flagged(sqe::read(fd, buf.addr(), 100, 0, 1), flags);
            expect(&format!("a read {when}, flags {flags:#x}"), ring.result(s), Ok(100))?;
            let fd = if flags & FIXED == 0 { a } else { 1 };
            ring.push(sqe::flagged(sqe::read(fd, buf.addr(), 100, 0, 1), flags));
            must("submit", ring.submit(0))?;
            must("write", os::write(b, b"12345"))?;
            let c = must("wait", ring.wait())?;
            expect(&format!("a socket {when}, flags {flags:#x}"), c.res, 5)?;
        }
        Ok(())
    };
    works("before")?;
    for fd in (0..SWEPT).filter(|fd| !keep.contains(fd)) {
        let _ = os::close(fd);
    }
    works("after closing every other number")?;
    for fd in (0..SWEPT).filter(|fd| !keep.contains(fd)) {
        let _ = os::dup2(0, fd);
    }
    works("after dup2 over every other number")?;
    for fd in (0..SWEPT).filter(|fd| !keep.contains(fd)) {
        let _ = os::close(fd);
    }
    works("after closing them again")
}

/// A ring is closed while another thread waits in it: the wait goes on and ends with its request.
pub fn closed_while_waiting(_: &str) -> Outcome {
    for _ in 0..20 {
        let mut ring = must("setup", Ring::new(4, 0))?;
        let (r, w) = must("pipe", os::pipe())?;
        let buf = Buf::new(8);
        ring.push(sqe::read(r, buf.addr(), 8, 0, 7));
        must("submit", ring.submit(0))?;
        let fd = ring.fd;
        let waiting = AtomicU32::new(0);
        let res = std::thread::scope(|s| {
            let waiter = s.spawn(|| {
                waiting.store(1, Ordering::Release);
                ring.enter(0, 1, GETEVENTS, 0, 0)
            });
            while waiting.load(Ordering::Acquire) == 0 {
                let _ = os::yield_now();
            }
            let _ = os::poll(-1, 0, 2);
            let _ = os::close(fd);
            let _ = os::close(r);
            let _ = os::write(w, b"12345678");
            waiter.join().map_err(|_| "the waiter panicked".to_owned())
        })?;
        // A waiter that had not got there yet finds the number closed.
        if res == Ok(0) {
            expect("its completion", ring.reap().map(|c| (c.user_data, c.res)), Some((7, 8)))?;
        } else {
            expect("or it came too late", res, Err(Errno(libc::EBADF)))?;
        }
        ring.fd = -1;
        must("close", os::close(w))?;
    }
    Ok(())
}
