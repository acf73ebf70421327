//! What waits: sockets, polls, timers, links, cancellation, workers, overflow; one transcript.

use super::{Outcome, expect, must};
use crate::os::{self, Buf, Errno, Sys};
use crate::ring::{EXT_ARG, GETEVENTS, Ring, u64s};
use crate::sqe::{self, ASYNC, DRAIN, FIXED, HARDLINK, LINK, op};
use crate::transcript::{self, Part, Transcript};
use ringer_uapi::{Cqe, Params, Sqe};

const PARTS: &[(&str, Part)] = &[
    ("pipes", pipes),
    ("sockets", sockets),
    ("accept", accept),
    ("poll", poll),
    ("timeouts", timeouts),
    ("links", links),
    ("link-timeout", link_timeout),
    ("cancel", cancel),
    ("overflow", overflow),
    ("enter", enter),
    ("names", names),
];

/// Prints the transcript, or the parts named.
pub fn transcript(only: &str) -> Outcome {
    transcript::print(PARTS, only)
}

fn ring() -> Result<Ring, String> {
    must("setup", Ring::new(16, 0))
}

/// The next `n` completions by `user_data`, whatever order they came in.
fn sorted(t: &mut Transcript, ring: &Ring, n: usize) -> Outcome {
    let mut all: Vec<Cqe> = Vec::new();
    for _ in 0..n {
        all.push(must("wait", ring.wait())?);
    }
    all.sort_by_key(|c| c.user_data);
    all.into_iter().for_each(|c| t.cqe(c));
    Ok(())
}

fn one(t: &mut Transcript, ring: &mut Ring, sqe: Sqe) -> Outcome {
    t.cqe(must("one", ring.one(sqe))?);
    Ok(())
}

fn queue(ring: &mut Ring, sqe: Sqe) -> Outcome {
    ring.push(sqe);
    must("submit", ring.submit(0)).map(|_| ())
}

fn pipes(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let buf = Buf::new(1 << 20);
    for (i, flags) in [0, ASYNC].into_iter().enumerate() {
        let (r, w) = must("pipe", os::pipe())?;
        let i = 10 * i as u64;
        queue(&mut ring, sqe::flagged(sqe::read(r, buf.addr(), 100, 0, i), flags))?;
        t.seen("an empty pipe waits", ring.reap().is_none());
        must("write", os::write(w, b"seven b"))?;
        sorted(t, &ring, 1)?;
        one(t, &mut ring, sqe::flagged(sqe::write(w, buf.addr(), 1 << 20, 0, i + 1), flags))?;
        queue(&mut ring, sqe::flagged(sqe::write(w, buf.addr(), 10, 0, i + 2), flags))?;
        t.seen("a full pipe waits", ring.reap().is_none());
        must("read", os::read(r, &mut vec![0; 65536]))?;
        sorted(t, &ring, 1)?;
        must("close", os::close(w))?;
        must("read", os::read(r, &mut vec![0; 65536]))?;
        one(t, &mut ring, sqe::flagged(sqe::read(r, buf.addr(), 10, 0, i + 3), flags))?;
    }
    t.part("an O_NONBLOCK descriptor waits too; RWF_NOWAIT does not");
    let (r, w) = must("pipe", os::pipe())?;
    must("fcntl", os::fcntl(r, libc::F_SETFL, libc::O_NONBLOCK))?;
    let nowait = Sqe { op_flags: 8, ..sqe::read(r, buf.addr(), 10, 0, 30) };
    one(t, &mut ring, nowait)?;
    queue(&mut ring, sqe::read(r, buf.addr(), 10, 0, 31))?;
    t.seen("pending", ring.reap().is_none());
    t.part("a closed descriptor does not end a pending request");
    must("close", os::close(r))?;
    t.seen("pending", ring.reap().is_none());
    must("write", os::write(w, b"hello"))?;
    sorted(t, &ring, 1)?;
    let e = must("eventfd", os::eventfd(0, 0))?;
    queue(&mut ring, sqe::read(e, buf.addr(), 8, 0, 32))?;
    t.seen("an eventfd waits", ring.reap().is_none());
    must("write", os::write(e, &7u64.to_ne_bytes()))?;
    sorted(t, &ring, 1)?;
    t.seen("its value", buf.get64(0));
    t.part("a write with RWF_NOWAIT that has no such way answers EAGAIN");
    one(t, &mut ring, Sqe { op_flags: 8, ..sqe::write(e, buf.addr(), 8, 0, 33) })?;
    Ok(())
}

fn sockets(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let buf = Buf::new(4096);
    let (a, b) = must("socketpair", os::socketpair(libc::SOCK_STREAM))?;
    must("register", ring.register_files(&[a, b]))?;
    for (i, fixed) in [false, true].into_iter().enumerate() {
        let (a, b, f) = if fixed { (0, 1, FIXED) } else { (a, b, 0) };
        let i = 10 * i as u64;
        let send = |fd, n, ud| sqe::flagged(sqe::rw(op::SEND, fd, buf.addr(), n, 0, ud), f);
        let recv = |fd, n, ud| sqe::flagged(sqe::rw(op::RECV, fd, buf.addr(), n, 0, ud), f);
        queue(&mut ring, recv(b, 100, i))?;
        t.seen("nothing to receive: waits", ring.reap().is_none());
        queue(&mut ring, send(a, 64, i + 1))?;
        sorted(t, &ring, 2)?;
        one(t, &mut ring, send(b, 10, i + 2))?;
        one(t, &mut ring, recv(a, 4, i + 3))?;
        one(t, &mut ring, recv(a, 100, i + 4))?;
        one(t, &mut ring, Sqe { op_flags: libc::MSG_DONTWAIT as u32, ..recv(a, 9, i + 5) })?;
        let all = Sqe { op_flags: libc::MSG_WAITALL as u32, ..recv(a, 20, i + 6) };
        queue(&mut ring, all)?;
        queue(&mut ring, send(b, 12, i + 7))?;
        queue(&mut ring, send(b, 12, i + 8))?;
        sorted(t, &ring, 3)?;
        one(t, &mut ring, recv(a, 100, i + 9))?;
    }
    let file = must("file", os::temp_file(b"x"))?;
    one(t, &mut ring, sqe::rw(op::RECV, file, buf.addr(), 10, 0, 30))?;
    one(t, &mut ring, sqe::rw(op::SEND, file, buf.addr(), 10, 0, 31))?;
    must("shutdown", os::shutdown(a, libc::SHUT_WR))?;
    one(t, &mut ring, sqe::rw(op::RECV, b, buf.addr(), 10, 0, 32))?;
    must("shutdown", os::shutdown(b, libc::SHUT_RDWR))?;
    one(t, &mut ring, sqe::rw(op::SEND, a, buf.addr(), 10, 0, 33))
}

fn accept(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let (listener, port) = must("listener", os::tcp_listener())?;
    let addr = Buf::of(&os::loopback(port));
    queue(&mut ring, sqe::of_fd(op::ACCEPT, listener, 1))?;
    t.seen("nobody there: waits", ring.reap().is_none());
    let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    let c = must("socket", os::socket(libc::AF_INET, flags))?;
    queue(&mut ring, sqe::rw(op::CONNECT, c, addr.addr(), 0, 16, 2))?;
    let mut pair = [must("wait", ring.wait())?, must("wait", ring.wait())?];
    pair.sort_by_key(|c| c.user_data);
    t.seen("accepted", pair[0].res > 2);
    t.cqe(pair[1]);
    let s = pair[0].res;
    let buf = Buf::of(b"over loopback");
    one(t, &mut ring, sqe::rw(op::SEND, c, buf.addr(), 13, 0, 3))?;
    let got = Buf::new(64);
    one(t, &mut ring, sqe::rw(op::RECV, s, got.addr(), 64, 0, 4))?;
    t.seen("received", String::from_utf8(got.get(0, 13)));
    t.part("refused, and already connected");
    one(t, &mut ring, sqe::rw(op::CONNECT, c, addr.addr(), 0, 16, 5))?;
    must("close", os::close(listener))?;
    let c = must("socket", os::socket(libc::AF_INET, flags))?;
    one(t, &mut ring, sqe::rw(op::CONNECT, c, addr.addr(), 0, 16, 6))?;
    one(t, &mut ring, sqe::of_fd(op::ACCEPT, c, 7))?;
    one(t, &mut ring, sqe::rw(op::CONNECT, c, 16, 0, 16, 8))?;
    one(t, &mut ring, sqe::of_fd(op::CLOSE, s, 9))?;
    one(t, &mut ring, sqe::of_fd(op::CLOSE, s, 10))?;
    let own = ring.fd;
    one(t, &mut ring, sqe::of_fd(op::CLOSE, own, 11))
}

fn poll_add(fd: i32, events: u32, ud: u64) -> Sqe {
    Sqe { op_flags: events, ..sqe::of_fd(op::POLL_ADD, fd, ud) }
}

fn poll(t: &mut Transcript) -> Outcome {
    const IN: u32 = libc::POLLIN as u32;
    const OUT: u32 = libc::POLLOUT as u32;
    let mut ring = ring()?;
    let (r, w) = must("pipe", os::pipe())?;
    must("register", ring.register_files(&[r, w]))?;
    one(t, &mut ring, poll_add(w, OUT, 1))?;
    one(t, &mut ring, sqe::flagged(poll_add(1, OUT, 2), FIXED))?;
    queue(&mut ring, poll_add(r, IN, 3))?;
    queue(&mut ring, sqe::flagged(poll_add(0, IN, 4), FIXED))?;
    t.seen("waiting", ring.reap().is_none());
    must("write", os::write(w, b"x"))?;
    sorted(t, &ring, 2)?;
    one(t, &mut ring, poll_add(999, IN, 5))?;
    one(t, &mut ring, Sqe { addr: 1, ..poll_add(r, IN, 6) })?;
    one(t, &mut ring, Sqe { len: 4, ..poll_add(r, IN, 7) })?;
    t.part("remove");
    must("read", os::read(r, &mut [0]))?;
    let remove = |target, ud| Sqe { addr: target, ..sqe::of_fd(op::POLL_REMOVE, -1, ud) };
    one(t, &mut ring, remove(8, 9))?;
    queue(&mut ring, poll_add(r, IN, 8))?;
    queue(&mut ring, remove(8, 10))?;
    sorted(t, &ring, 2)?;
    t.part("multishot");
    queue(&mut ring, Sqe { len: 1, ..poll_add(r, IN, 11) })?;
    for _ in 0..2 {
        must("write", os::write(w, b"x"))?;
        sorted(t, &ring, 1)?;
        must("read", os::read(r, &mut [0]))?;
    }
    queue(&mut ring, remove(11, 12))?;
    sorted(t, &ring, 2)?;
    t.part("hang-up and files that never wait");
    queue(&mut ring, poll_add(r, 0, 13))?;
    must("unregister", ring.register(3, 0, 0))?;
    must("close", os::close(w))?;
    sorted(t, &ring, 1)?;
    let file = must("file", os::temp_file(b"x"))?;
    one(t, &mut ring, poll_add(file, IN | OUT, 14))
}

/// `struct __kernel_timespec` of so many nanoseconds.
fn timespec(ns: u64) -> Buf {
    u64s(&[ns / 1_000_000_000, ns % 1_000_000_000])
}

fn timeout(ts: &Buf, count: u64, ud: u64) -> Sqe {
    sqe::rw(op::TIMEOUT, -1, ts.addr(), 1, count, ud)
}

const MS: u64 = 1_000_000;

fn timeouts(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let (short, long, zero) = (timespec(5 * MS), timespec(3_600_000 * MS), timespec(0));
    let before = os::clock(libc::CLOCK_MONOTONIC);
    one(t, &mut ring, timeout(&short, 0, 1))?;
    t.seen("not early", os::clock(libc::CLOCK_MONOTONIC) - before >= 5 * MS);
    one(t, &mut ring, timeout(&zero, 0, 2))?;
    let end = timespec(os::clock(libc::CLOCK_MONOTONIC) + 5 * MS);
    one(t, &mut ring, Sqe { op_flags: 1, ..timeout(&end, 0, 3) })?;
    t.seen("absolute, not early", os::clock(libc::CLOCK_MONOTONIC) >= end.get64(0) * 1000 * MS);
    t.part("counted");
    queue(&mut ring, timeout(&long, 2, 4))?;
    queue(&mut ring, sqe::nop(5))?;
    t.seen("one of two", std::iter::from_fn(|| ring.reap()).count());
    queue(&mut ring, sqe::nop(6))?;
    sorted(t, &ring, 2)?;
    t.part("removed");
    let remove = |target, ud| Sqe { addr: target, ..sqe::of_fd(op::TIMEOUT_REMOVE, -1, ud) };
    queue(&mut ring, timeout(&long, 0, 7))?;
    queue(&mut ring, remove(7, 8))?;
    sorted(t, &ring, 2)?;
    one(t, &mut ring, remove(7, 9))?;
    t.part("updated");
    queue(&mut ring, timeout(&long, 0, 10))?;
    let update = Sqe { op_flags: 2, off: short.addr(), ..remove(10, 11) };
    queue(&mut ring, update)?;
    sorted(t, &ring, 2)?;
    t.part("errors");
    one(t, &mut ring, Sqe { len: 2, ..timeout(&short, 0, 12) })?;
    one(t, &mut ring, Sqe { addr: 16, ..timeout(&short, 0, 13) })?;
    let negative = u64s(&[u64::MAX, 0]);
    one(t, &mut ring, timeout(&negative, 0, 14))?;
    one(t, &mut ring, Sqe { op_flags: 12, ..timeout(&short, 0, 15) })?;
    one(t, &mut ring, Sqe { op_flags: 1 << 20, ..timeout(&short, 0, 16) })?;
    t.part("multishot and success");
    queue(&mut ring, Sqe { op_flags: 64, ..timeout(&short, 2, 17) })?;
    sorted(t, &ring, 2)?;
    one(t, &mut ring, Sqe { op_flags: 32, ..timeout(&short, 0, 18) })
}

fn links(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(64);
    let bad = |ud| sqe::read(999, buf.addr(), 4, 0, ud);
    let mut chain = |what: &str, sqes: &[Sqe]| -> Outcome {
        t.part(what);
        for s in sqes {
            ring.push(*s);
        }
        t.call("submit", ring.submit(0));
        for _ in sqes {
            t.cqe(must("wait", ring.wait())?);
        }
        Ok(())
    };
    let link = |s| sqe::flagged(s, LINK);
    let hard = |s| sqe::flagged(s, HARDLINK);
    let write = |ud| sqe::write(w, buf.addr(), 4, 0, ud);
    let read = |n, ud| sqe::read(r, buf.addr(), n, 0, ud);
    chain("write then read", &[link(write(1)), read(4, 2)])?;
    chain("a failure cancels the rest", &[link(bad(3)), link(sqe::nop(4)), sqe::nop(5)])?;
    chain("a hard link goes on", &[hard(bad(6)), hard(sqe::nop(7)), sqe::nop(8)])?;
    chain("a short read breaks it", &[link(write(9)), link(read(8, 10)), sqe::nop(11)])?;
    let wrong = sqe::of(200, 13);
    chain("a submission error fails all", &[link(sqe::nop(12)), link(wrong), sqe::nop(14)])?;
    chain("also with a hard link", &[hard(sqe::nop(15)), hard(wrong), sqe::nop(16)])?;
    chain("an open end", &[sqe::nop(17), link(sqe::nop(18))])?;
    t.part("drain waits for everything before it");
    ring.push(read(4, 20));
    ring.push(sqe::flagged(sqe::nop(21), DRAIN));
    ring.push(sqe::nop(22));
    t.call("submit", ring.submit(0));
    t.seen("all wait", ring.reap().is_none());
    must("write", os::write(w, b"four"))?;
    for _ in 0..3 {
        t.cqe(must("wait", ring.wait())?);
    }
    Ok(())
}

fn link_timeout(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(64);
    let (short, long) = (timespec(5 * MS), timespec(3_600_000 * MS));
    let limit = |ts: &Buf, ud| sqe::rw(op::LINK_TIMEOUT, -1, ts.addr(), 1, 0, ud);
    let read = |ud| sqe::flagged(sqe::read(r, buf.addr(), 4, 0, ud), LINK);
    t.part("it fires");
    ring.push(read(1));
    ring.push(limit(&short, 2));
    t.call("submit", ring.submit(0));
    sorted(t, &ring, 2)?;
    t.part("it does not");
    ring.push(read(3));
    ring.push(limit(&long, 4));
    t.call("submit", ring.submit(0));
    must("write", os::write(w, b"four"))?;
    sorted(t, &ring, 2)?;
    t.part("on a worker");
    ring.push(sqe::flagged(read(5), ASYNC));
    ring.push(limit(&short, 6));
    t.call("submit", ring.submit(0));
    sorted(t, &ring, 2)?;
    t.part("alone");
    one(t, &mut ring, limit(&short, 7))
}

fn cancel(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(64);
    let cancel =
        |key, flags, ud| Sqe { addr: key, op_flags: flags, ..sqe::of_fd(op::ASYNC_CANCEL, -1, ud) };
    for (i, flags) in [(0, 0), (10, ASYNC)] {
        queue(&mut ring, sqe::flagged(sqe::read(r, buf.addr(), 4, 0, i + 1), flags))?;
        t.seen("waiting", ring.reap().is_none());
        queue(&mut ring, cancel(i + 1, 0, i + 2))?;
        sorted(t, &ring, 2)?;
        one(t, &mut ring, cancel(i + 1, 0, i + 3))?;
    }
    t.part("by descriptor, all of them; and any");
    for ud in 20..23 {
        queue(&mut ring, sqe::read(r, buf.addr(), 4, 0, ud))?;
    }
    queue(&mut ring, Sqe { fd: r, ..cancel(0, 1 | 2, 23) })?;
    sorted(t, &ring, 4)?;
    let ts = timespec(3_600_000 * MS);
    queue(&mut ring, timeout(&ts, 0, 30))?;
    queue(&mut ring, poll_add(r, 1, 31))?;
    queue(&mut ring, cancel(0, 4, 32))?;
    sorted(t, &ring, 3)?;
    one(t, &mut ring, cancel(0, 4, 33))?;
    one(t, &mut ring, cancel(0, 2 | 4, 34))?;
    one(t, &mut ring, cancel(0, 1 << 20, 35))?;
    t.part("the data is still there for the next one");
    must("write", os::write(w, b"four"))?;
    one(t, &mut ring, sqe::read(r, buf.addr(), 4, 0, 36))
}

fn overflow(t: &mut Transcript) -> Outcome {
    let params = Params { flags: 8, cq_entries: 4, ..Params::default() };
    let mut ring = must("setup", Ring::with(4, params))?;
    for i in 0..12 {
        queue(&mut ring, sqe::nop(i))?;
    }
    t.seen("overflow flag", ring.sq_flags() & 2);
    t.seen("overflow counter", ring.sq.load(ring.params.cq_off.overflow as usize));
    let first: Vec<u64> = std::iter::from_fn(|| ring.reap()).map(|c| c.user_data).collect();
    t.seen("in the ring", first);
    t.call("without GETEVENTS", ring.enter(0, 0, 0, 0, 0));
    t.seen("still nothing", ring.reap().is_none());
    queue(&mut ring, sqe::nop(12))?;
    t.seen("nothing overtakes", ring.reap().is_none());
    let mut rest = Vec::new();
    while rest.len() < 9 {
        let n = must("flush", ring.enter(0, 1, GETEVENTS, 0, 0))?;
        expect("a flush submits nothing", n, 0)?;
        rest.extend(std::iter::from_fn(|| ring.reap()).map(|c| c.user_data));
    }
    t.seen("then the backlog in order", rest);
    t.seen("overflow flag", ring.sq_flags() & 2);
    Ok(())
}

fn enter(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let ts = timespec(5 * MS);
    let arg = u64s(&[0, 8, ts.addr()]);
    let wait = |r: &Ring, n| r.enter(0, n, GETEVENTS | EXT_ARG, arg.addr(), 24);
    t.call("a timed wait", wait(&ring, 1));
    queue(&mut ring, sqe::nop(1))?;
    t.call("one is there, one wanted", wait(&ring, 1));
    t.call("one is there, two wanted", wait(&ring, 2));
    sorted(t, &ring, 1)?;
    t.call("submit more than there is", ring.enter(3, 1, GETEVENTS | EXT_ARG, arg.addr(), 24));
    t.part("a signal");
    must("sigaction", os::on_signal(libc::SIGALRM, nothing, libc::SA_RESTART))?;
    let me = os::pid();
    let helper = must("fork", os::fork())?;
    if helper == 0 {
        loop {
            let _ = os::kill(me, libc::SIGALRM);
            let _ = os::poll(-1, 0, 5);
        }
    }
    t.call("a wait", ring.enter(0, 1, GETEVENTS, 0, 0));
    must("kill", os::kill(helper, libc::SIGKILL))?;
    must("wait", os::wait(helper))?;
    Ok(())
}

extern "C" fn nothing(_: i32) {}

fn path(s: &str) -> Buf {
    Buf::of(format!("{s}\0").as_bytes())
}

fn names(t: &mut Transcript) -> Outcome {
    let dir = std::env::temp_dir().join(format!("names.{}", os::pid()));
    std::fs::create_dir(&dir).map_err(|e| e.to_string())?;
    let d = must("open", os::open(&dir.to_string_lossy(), libc::O_DIRECTORY))?;
    let r = names_in(t, d);
    std::fs::remove_dir_all(&dir).map_err(|e| e.to_string())?;
    r
}

fn names_in(t: &mut Transcript, d: i32) -> Outcome {
    let mut ring = ring()?;
    let (a, b, sub) = (path("a"), path("b"), path("sub"));
    let open = |name: &Buf, flags: i32, ud| Sqe {
        op_flags: flags as u32,
        ..sqe::rw(op::OPENAT, d, name.addr(), 0o600, 0, ud)
    };
    one(t, &mut ring, open(&a, libc::O_RDWR, 1))?;
    let fd: Sys<i32> = ring.result(open(&a, libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC, 2));
    let fd = must("create", fd)?;
    let cloexec = os::fcntl(fd, libc::F_GETFD, 0);
    t.seen("close-on-exec", cloexec);
    one(t, &mut ring, sqe::write(fd, a.addr(), 2, 0, 3))?;
    one(t, &mut ring, open(&a, libc::O_CREAT | libc::O_EXCL, 4))?;
    one(t, &mut ring, Sqe { addr: 16, ..open(&a, 0, 5) })?;
    let stx = Buf::new(256);
    let statx = |name: &Buf, ud| sqe::rw(op::STATX, d, name.addr(), 0x7ff, stx.addr(), ud);
    one(t, &mut ring, statx(&a, 6))?;
    t.seen("size", stx.get64(40));
    one(t, &mut ring, statx(&b, 7))?;
    one(t, &mut ring, Sqe { off: 16, ..statx(&a, 8) })?;
    let two = |opcode, from: &Buf, to: &Buf, ud| Sqe {
        fd: d,
        addr: from.addr(),
        len: d as u32,
        off: to.addr(),
        ..sqe::of(opcode, ud)
    };
    one(t, &mut ring, two(op::RENAMEAT, &a, &b, 9))?;
    one(t, &mut ring, two(op::RENAMEAT, &a, &b, 10))?;
    one(t, &mut ring, two(op::LINKAT, &b, &a, 11))?;
    one(t, &mut ring, two(op::LINKAT, &b, &a, 12))?;
    let at = |opcode, name: &Buf, len, ud| sqe::rw(opcode, d, name.addr(), len, 0, ud);
    one(t, &mut ring, at(op::MKDIRAT, &sub, 0o700, 13))?;
    one(t, &mut ring, at(op::MKDIRAT, &sub, 0o700, 14))?;
    let target = path("target");
    let symlink = Sqe { fd: d, addr: target.addr(), off: b.addr(), ..sqe::of(op::SYMLINKAT, 15) };
    one(t, &mut ring, symlink)?;
    one(t, &mut ring, at(op::UNLINKAT, &b, 0, 16))?;
    one(t, &mut ring, Sqe { user_data: 17, ..symlink })?;
    one(t, &mut ring, at(op::UNLINKAT, &sub, 0, 18))?;
    let rmdir = Sqe { op_flags: libc::AT_REMOVEDIR as u32, ..at(op::UNLINKAT, &sub, 0, 19) };
    one(t, &mut ring, rmdir)?;
    one(t, &mut ring, Sqe { flags: FIXED, ..at(op::UNLINKAT, &a, 0, 20) })?;
    one(t, &mut ring, sqe::of_fd(op::CLOSE, fd, 21))?;
    t.seen("closed", os::fcntl(fd, libc::F_GETFD, 0));
    one(t, &mut ring, sqe::of_fd(op::CLOSE, fd, 22))?;
    epoll_ctl(t, &mut ring)
}

fn epoll_ctl(t: &mut Transcript, ring: &mut Ring) -> Outcome {
    let ep = must("epoll", os::epoll_create())?;
    let e = must("eventfd", os::eventfd(1, 0))?;
    let event = Buf::of(&[1, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0]);
    let ctl = |what: u32, ud| Sqe {
        off: event.addr(),
        ..sqe::rw(op::EPOLL_CTL, ep, e as u64, what, 0, ud)
    };
    let ctl = |what, ud| Sqe { off: e as u64, addr: event.addr(), ..ctl(what, ud) };
    one(t, ring, ctl(1, 30))?;
    one(t, ring, ctl(1, 31))?;
    t.seen("ready", os::epoll_wait(ep, 0));
    one(t, ring, ctl(2, 32))?;
    one(t, ring, ctl(2, 33))?;
    let none: Sys<_> = os::epoll_wait(ep, 0);
    expect("removed", none, Ok::<_, Errno>(None))
}
