//! Requests that a worker holds: who waits for them, and who gives them up.
//!
//! What it does not do: run them elsewhere than on the ring it is given (see `harness`).

use super::{Outcome, expect, must};
use crate::os::{self, Buf};
use crate::ring::Ring;
use crate::sqe::{self, ASYNC, LINK, op};
use ringer_uapi::Sqe;
use ringer_uapi::flags::Setup;

const EOPNOTSUPP: i32 = -libc::EOPNOTSUPP;

/// A wait on an IOPOLL ring ends with the write that a worker finishes while it sleeps.
pub fn iopoll_waits(_: &str) -> Outcome {
    let mut ring = must("setup", Ring::new(8, Setup::IOPOLL.bits()))?;
    let dir = std::env::temp_dir();
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_DIRECT;
    let file = match os::open(&dir.to_string_lossy(), flags) {
        Ok(file) => file,
        Err(e) => return Err(format!("skip: no O_DIRECT in {}: {e:?}", dir.display())),
    };
    let page = Buf::of(&[7; 4096]);
    for i in 0..64 {
        let write = sqe::write(file, page.addr(), 4096, i * 4096, i);
        ring.push(sqe::flagged(write, ASYNC));
        must("submit and wait", ring.submit(1))?;
        let cqe = must("wait", ring.wait())?;
        if cqe.res == EOPNOTSUPP {
            return Err("skip: this file system is not polled".to_owned());
        }
        expect("a polled write", (cqe.user_data, cqe.res), (i, 4096))?;
    }
    Ok(())
}

/// The kernel waits for a connection by poll, also for a blocking socket: giving it up is certain.
pub fn connect_given_up(_: &str) -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    let listener = must("socket", tcp())?;
    let (full, port) = must("listener", os::tcp_listener())?;
    must("no backlog", os::listen(full, 0))?;
    let addr = Buf::of(&os::loopback(port));
    let connect = |fd: i32, ud: u64| sqe::rw(op::CONNECT, fd, addr.addr(), 0, 16, ud);
    // One is let in to wait for accept; the next one's handshake never ends.
    expect("the first", ring.result(connect(listener, 1)), Ok(0))?;
    let ms = Buf::new(16);
    ms.put64(8, 1_000_000);
    for asynchronous in [0, ASYNC] {
        let fd = must("socket", tcp())?;
        ring.push(sqe::flagged(connect(fd, 2), LINK | asynchronous));
        let timeout = Sqe { addr: ms.addr(), len: 1, ..sqe::of(op::LINK_TIMEOUT, 3) };
        ring.push(timeout);
        must("submit", ring.submit(0))?;
        let mut ends = [must("wait", ring.wait())?, must("wait", ring.wait())?];
        ends.sort_by_key(|c| c.user_data);
        let ends = ends.map(|c| (c.user_data, c.res));
        expect("by its timeout", ends, [(2, -libc::ECANCELED), (3, -libc::ETIME)])?;
        must("close", os::close(fd))?;
    }
    Ok(())
}

fn tcp() -> os::Sys<i32> {
    os::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC)
}

/// Workers that may be held at once wherever there is a CPU.
const HELD: usize = 4;

/// Some requests hold a worker each until all are let go; from then on one at a time is enough, and
/// the other workers end though there always is work.
pub fn workers_end(_: &str) -> Outcome {
    let path = format!("{}/workers-end.{}", std::env::temp_dir().display(), os::pid());
    let name = Buf::of(format!("{path}\0").as_bytes());
    must("mkfifo", os::raw(libc::SYS_mknod, [name.addr(), u64::from(libc::S_IFIFO | 0o600), 0]))?;
    let done = hold_and_let_go(&path, &name);
    let _ = std::fs::remove_file(&path);
    done
}

fn hold_and_let_go(path: &str, name: &Buf) -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    let workers = os::count_workers;
    expect("a first worker", ring.result(sqe::flagged(sqe::nop(0), ASYNC)), Ok(0))?;
    let with_one = workers();
    // An open of a FIFO waits for somebody at its other end.
    for ud in 0..HELD as u64 {
        let open = sqe::rw(op::OPENAT, libc::AT_FDCWD, name.addr(), 0, 0, ud);
        ring.push(sqe::flagged(open, ASYNC));
    }
    must("submit", ring.submit(0))?;
    while workers() < with_one + HELD - 1 {
        let _ = os::yield_now();
    }
    let other_end = must("open", os::open(path, libc::O_RDWR))?;
    for _ in 0..HELD {
        let cqe = must("wait", ring.wait())?;
        expect("it was opened", cqe.res >= 0, true)?;
        must("close", os::close(cqe.res))?;
    }
    must("close", os::close(other_end))?;
    // The program's deadline ends a wait for what never comes.
    while workers() > with_one {
        expect("work", ring.result(sqe::flagged(sqe::nop(1), ASYNC)), Ok(0))?;
        let _ = os::poll(-1, 0, 20);
    }
    Ok(())
}
