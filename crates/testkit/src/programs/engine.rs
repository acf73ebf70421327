//! What the engine owes in odd places: drains, broken chains, counted timeouts, wait arguments,
//! deferred work, two workers; one transcript.

use super::{Outcome, must};
use crate::call;
use crate::os::{self, Buf};
use crate::ring::{EXT_ARG, GETEVENTS, Ring, i32s, reg, u64s};
use crate::sqe::{self, DRAIN, FIXED, HARDLINK, LINK, op};
use crate::transcript::{self, Part, Transcript};
use ringer_uapi::flags::Setup;
use ringer_uapi::{Cqe, Sqe};

const SKIP: u8 = 0x40;
const IN: u32 = libc::POLLIN as u32;
const OUT: u32 = libc::POLLOUT as u32;
const MS: u64 = 1_000_000;

const PARTS: &[(&str, Part)] = &[
    ("drain", drain),
    ("broken-chains", broken_chains),
    ("link-timeouts", link_timeouts),
    ("counted", counted),
    ("polls", polls),
    ("wait-arguments", wait_arguments),
    ("deferred", deferred),
    ("two-workers", two_workers),
    ("registration-order", registration_order),
    ("closed-underway", closed_underway),
];

/// Prints the transcript, or the parts named.
pub fn transcript(only: &str) -> Outcome {
    transcript::print(PARTS, only)
}

fn ring() -> Result<Ring, String> {
    must("setup", Ring::new(16, 0))
}

fn queue(ring: &mut Ring, sqes: &[Sqe]) -> Outcome {
    sqes.iter().for_each(|s| ring.push(*s));
    must("submit", ring.submit(0)).map(|_| ())
}

fn next(t: &mut Transcript, ring: &Ring, n: usize) -> Outcome {
    for _ in 0..n {
        t.cqe(must("wait", ring.wait())?);
    }
    Ok(())
}

fn sorted(t: &mut Transcript, ring: &Ring, n: usize) -> Outcome {
    let mut all: Vec<Cqe> = Vec::new();
    for _ in 0..n {
        all.push(must("wait", ring.wait())?);
    }
    all.sort_by_key(|c| c.user_data);
    all.into_iter().for_each(|c| t.cqe(c));
    Ok(())
}

/// Nothing more comes: a NOP is the next completion.
fn quiet(t: &mut Transcript, ring: &mut Ring) -> Outcome {
    let c = must("nop", ring.one(sqe::nop(999)))?;
    t.seen("and no more", c.user_data == 999);
    Ok(())
}

fn failing(ud: u64, res: i32) -> Sqe {
    Sqe { op_flags: 1, len: res.cast_unsigned(), ..sqe::nop(ud) }
}

fn refused(ud: u64) -> Sqe {
    Sqe { op_flags: 0x4000, ..sqe::nop(ud) }
}

fn drain(t: &mut Transcript) -> Outcome {
    let buf = Buf::new(64);
    let f = sqe::flagged;
    let (r, w) = must("pipe", os::pipe())?;
    let (r2, w2) = must("pipe", os::pipe())?;
    let read = |fd, ud| sqe::read(fd, buf.addr(), 4, 0, ud);
    t.part("what comes after a drain waits for it, too, in later calls as well");
    let mut a = ring()?;
    queue(&mut a, &[f(read(r, 1), DRAIN), sqe::nop(2)])?;
    queue(&mut a, &[sqe::nop(3)])?;
    t.seen("all wait", a.reap().is_none());
    must("write", os::write(w, b"abcd"))?;
    next(t, &a, 1)?;
    sorted(t, &a, 2)?;
    t.part("one drain at a time");
    let all = [read(r, 1), f(read(r2, 2), DRAIN), sqe::nop(3), f(sqe::nop(4), DRAIN), sqe::nop(5)];
    queue(&mut a, &all)?;
    must("write", os::write(w, b"abcd"))?;
    next(t, &a, 1)?;
    t.seen("the rest waits", a.reap().is_none());
    must("write", os::write(w2, b"abcd"))?;
    next(t, &a, 4)?;
    t.part("in the middle of a chain it holds for the head and for what follows the chain");
    let all = [read(r, 1), f(sqe::nop(2), LINK), f(sqe::nop(3), LINK | DRAIN), read(r2, 4)];
    queue(&mut a, &all)?;
    queue(&mut a, &[sqe::nop(5)])?;
    t.seen("all wait", a.reap().is_none());
    must("write", os::write(w, b"abcd"))?;
    next(t, &a, 3)?;
    t.seen("the rest waits", a.reap().is_none());
    must("write", os::write(w2, b"abcd"))?;
    next(t, &a, 2)
}

fn chain(t: &mut Transcript, what: &str, sqes: &[Sqe], n: usize) -> Outcome {
    t.part(what);
    let mut ring = ring()?;
    sqes.iter().for_each(|s| ring.push(*s));
    t.call("submit", ring.submit(0));
    sorted(t, &ring, n)?;
    quiet(t, &mut ring)
}

fn broken_chains(t: &mut Transcript) -> Outcome {
    let f = sqe::flagged;
    let nop = |ud, bits| f(sqe::nop(ud), bits);
    let bad = |ud, bits| f(refused(ud), bits);
    chain(t, "a wrong second, quiet", &[nop(1, LINK), bad(2, LINK | SKIP), nop(3, 0)], 3)?;
    chain(t, "a quiet head", &[nop(1, LINK | SKIP), bad(2, LINK), nop(3, 0)], 1)?;
    chain(t, "a wrong, quiet head", &[bad(1, LINK | SKIP), nop(2, LINK), nop(3, SKIP)], 1)?;
    chain(t, "a wrong, loud head", &[bad(1, LINK), nop(2, LINK | SKIP), nop(3, SKIP)], 3)?;
    let fails = |ud, bits| f(failing(ud, -5), bits);
    chain(t, "a quiet failure", &[fails(1, LINK | SKIP), nop(2, LINK), nop(3, 0)], 1)?;
    chain(t, "a loud failure", &[fails(1, LINK), nop(2, LINK | SKIP), nop(3, SKIP)], 3)?;
    chain(t, "a result that is no errno", &[f(failing(1, -100_000), LINK), nop(2, 0)], 2)?;
    chain(t, "hard, then soft", &[fails(1, HARDLINK), fails(2, LINK), nop(3, 0)], 3)
}

fn link_timeouts(t: &mut Transcript) -> Outcome {
    let f = sqe::flagged;
    let (r, _w) = must("pipe", os::pipe())?;
    let buf = Buf::new(64);
    let (short, long) = (u64s(&[0, 5 * MS]), u64s(&[3600, 0]));
    let read = |bits| f(sqe::read(r, buf.addr(), 4, 0, 1), LINK | bits);
    let after = |ts: &Buf, ud, bits| f(sqe::rw(op::LINK_TIMEOUT, -1, ts.addr(), 1, 0, ud), bits);
    chain(t, "a quiet one fires", &[read(0), after(&short, 2, SKIP)], 1)?;
    chain(t, "both quiet", &[read(SKIP), after(&short, 2, SKIP)], 1)?;
    chain(t, "a quiet request", &[read(SKIP), after(&short, 2, 0)], 2)?;
    chain(t, "not needed, quiet", &[f(sqe::nop(1), LINK), after(&long, 2, SKIP)], 1)?;
    let wrong = Sqe { op_flags: 0x4000, ..after(&short, 2, LINK) };
    let two = [f(sqe::nop(1), LINK), wrong, after(&short, 3, 0)];
    chain(t, "behind a wrong one", &two, 3)?;
    let then = [read(0), after(&short, 2, LINK), sqe::nop(3)];
    chain(t, "the chain goes by the request", &then, 3)
}

fn counted(t: &mut Transcript) -> Outcome {
    let long = u64s(&[3600, 0]);
    let timeout = |count, ud| sqe::rw(op::TIMEOUT, -1, long.addr(), 1, count, ud);
    let remove = |ud| Sqe { addr: 2, ..sqe::of_fd(op::TIMEOUT_REMOVE, -1, ud) };
    chain(t, "a removed timeout counts", &[timeout(2, 1), timeout(0, 2), remove(3)], 3)?;
    let cancel = Sqe { addr: 2, ..sqe::of_fd(op::ASYNC_CANCEL, -1, 3) };
    let all = [timeout(3, 1), timeout(0, 2), cancel, sqe::nop(4)];
    chain(t, "a cancelled one, too", &all, 4)
}

fn polls(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let (r, w) = must("pipe", os::pipe())?;
    let file = must("file", os::temp_file(b"x"))?;
    let add = |fd, events, multi, ud| Sqe {
        op_flags: events,
        len: multi,
        ..sqe::of_fd(op::POLL_ADD, fd, ud)
    };
    t.part("an update does not make it multishot");
    queue(&mut ring, &[add(r, IN, 0, 1)])?;
    let update = Sqe { addr: 1, len: 3, op_flags: IN, ..sqe::of_fd(op::POLL_REMOVE, -1, 2) };
    t.cqe(must("update", ring.one(update))?);
    must("write", os::write(w, b"x"))?;
    next(t, &ring, 1)?;
    t.part("a file that never waits: ready once, or of no interest");
    must("register", ring.register_files(&[file]))?;
    for (multi, ud) in [(0, 3), (1, 4)] {
        t.cqe(must("poll", ring.one(add(file, IN | OUT, multi, ud)))?);
        t.cqe(must("poll", ring.one(sqe::flagged(add(0, IN | OUT, multi, ud), FIXED)))?);
        t.cqe(must("poll", ring.one(add(file, libc::POLLPRI as u32, multi, ud)))?);
    }
    t.part("also when its descriptor is closed and the program holds a POSIX lock");
    let other = must("file", os::temp_file(b"y"))?;
    must("lock", os::posix_lock(other, libc::F_WRLCK, 0, 1))?;
    must("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0))?;
    must("register", ring.register_files(&[file]))?;
    must("close", os::close(file))?;
    for (events, ud) in [(IN | OUT, 6), (libc::POLLPRI as u32, 7)] {
        t.cqe(must("poll", ring.one(sqe::flagged(add(0, events, 0, ud), FIXED)))?);
    }
    t.part("a fixed buffer that is not there, on a descriptor that is not");
    t.cqe(must("read", ring.one(sqe::rw(op::READ_FIXED, 999, 64, 5, 0, 5)))?);
    quiet(t, &mut ring)
}

fn wait_arguments(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    let mut wait = |what: &str, min, flags, arg: &[u64], addr: Option<u64>, size| {
        let arg = u64s(arg);
        let addr = addr.unwrap_or(arg.addr());
        t.call(what, ring.enter(0, min, GETEVENTS | flags, addr, size));
    };
    wait("a bad mask, nothing to wait for", 0, 0, &[], Some(16), 8);
    wait("a short mask, nothing to wait for", 0, 0, &[], Some(16), 5);
    wait("a bad mask", 1, 0, &[], Some(16), 8);
    wait("a short mask", 1, 0, &[], Some(16), 5);
    wait("a bad argument, nothing to wait for", 0, EXT_ARG, &[], Some(16), 24);
    wait("its bad mask, nothing to wait for", 0, EXT_ARG, &[16, 8, 0], None, 24);
    wait("its bad mask", 1, EXT_ARG, &[16, 8, 0], None, 24);
    wait("its short mask", 1, EXT_ARG, &[16, 5, 0], None, 24);
    wait("its bad time, nothing to wait for", 0, EXT_ARG, &[0, 0, 16], None, 24);
    wait("no region", 0, EXT_ARG | 64, &[], Some(0), 64);
    wait("no region, wrong size", 0, EXT_ARG | 64, &[], Some(0), 24);
    let short = u64s(&[0, MS]);
    let before = os::clock(libc::CLOCK_MONOTONIC);
    let least = 30_000 << 32;
    wait("the minimum is longer than the time", 1, EXT_ARG, &[0, least, short.addr()], None, 24);
    t.seen("it held", os::clock(libc::CLOCK_MONOTONIC) - before >= 30 * MS);
    ring.push(sqe::nop(1));
    let taken = ring.enter(1, 1, GETEVENTS, 16, 8);
    t.call("satisfied by what was submitted", taken);
    next(t, &ring, 1)?;
    t.part("no ring is registered");
    let fd = ring.fd;
    for index in [-1, 0, 15, 16] {
        ring.fd = index;
        t.call("enter", ring.enter(0, 0, 16, 0, 0));
        t.call("register", ring.register(reg::FILES | 1 << 31, 0, 0));
    }
    ring.fd = fd;
    Ok(())
}

fn deferred(t: &mut Transcript) -> Outcome {
    let flags = Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN | Setup::TASKRUN_FLAG;
    let mut ring = must("setup", Ring::new(8, flags.bits()))?;
    let event = must("eventfd", os::eventfd(0, 0))?;
    must("register", ring.register(reg::EVENTFD, i32s(&[event]).addr(), 1))?;
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(64);
    let mut count = [0; 8];
    let mut told = |t: &mut Transcript, what: &str| -> Outcome {
        must("eventfd", os::read(event, &mut count))?;
        t.seen(what, u64::from_ne_bytes(count));
        Ok(())
    };
    t.part("work arrives: the eventfd says so before the completion is there");
    queue(&mut ring, &[sqe::read(r, buf.addr(), 4, 0, 1)])?;
    must("write", os::write(w, b"abcd"))?;
    told(t, "signals")?;
    t.seen("TASKRUN", ring.sq_flags() & 4);
    t.seen("no completion", ring.reap().is_none());
    next(t, &ring, 1)?;
    told(t, "signals for the completion")?;
    t.part("a timeout");
    let short = u64s(&[0, 5 * MS]);
    queue(&mut ring, &[sqe::rw(op::TIMEOUT, -1, short.addr(), 1, 0, 2)])?;
    told(t, "signals")?;
    t.seen("TASKRUN", ring.sq_flags() & 4);
    t.seen("no completion", ring.reap().is_none());
    next(t, &ring, 1)?;
    told(t, "signals for the completion")?;
    t.seen("TASKRUN", ring.sq_flags() & 4);
    Ok(())
}

/// Two requests on workers, the first of which waits for the second: each needs its own.
fn two_workers(t: &mut Transcript) -> Outcome {
    let dir = std::env::temp_dir().join(format!("two-workers.{}", os::pid()));
    std::fs::create_dir(&dir).map_err(|e| e.to_string())?;
    let fifo = dir.join("fifo").to_string_lossy().into_owned();
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    made.map_err(|e| e.to_string())?;
    let path = Buf::of(format!("{fifo}\0").as_bytes());
    let open = |flags: i32, ud| {
        let at = sqe::rw(op::OPENAT, libc::AT_FDCWD, path.addr(), 0, 0, ud);
        sqe::flagged(Sqe { op_flags: flags.cast_unsigned(), ..at }, sqe::ASYNC)
    };
    let mut ring = ring()?;
    let mut opened = 0;
    for _ in 0..20 {
        // One worker has just become idle.
        must("nop", ring.one(sqe::flagged(sqe::nop(1), sqe::ASYNC)))?;
        queue(&mut ring, &[open(libc::O_RDONLY, 2), open(libc::O_WRONLY, 3)])?;
        for _ in 0..2 {
            let fd = must("wait", ring.wait())?.res;
            opened += u32::from(fd >= 0);
            must("close", os::close(fd))?;
        }
    }
    t.seen("opened", opened);
    std::fs::remove_dir_all(&dir).map_err(|e| e.to_string())
}

fn registration_order(t: &mut Transcript) -> Outcome {
    let mut ring = ring()?;
    // The last descriptor of a page that nothing follows.
    let page = Buf::new(8192);
    let guard = Buf::adopt(page.addr() + 4096, 4096);
    must("protect", guard.protect(libc::PROT_NONE))?;
    guard.leak();
    let last = page.addr() + 4092;
    for fd in [999, -1, -2, ring.fd, 0] {
        page.put(4092, &fd.to_ne_bytes());
        t.call("one, and one that cannot be read", ring.register(reg::FILES, last, 2));
    }
    t.part("slots without a table");
    t.call("an empty range", ring.register(reg::FILE_ALLOC_RANGE, u64s(&[0, 0]).addr(), 0));
    t.call("a range", ring.register(reg::FILE_ALLOC_RANGE, u64s(&[1 << 32, 0]).addr(), 0));
    let null = Buf::of(b"/dev/null\0");
    for slot in [u32::MAX, 1] {
        let open = sqe::rw(op::OPENAT, libc::AT_FDCWD, null.addr(), 0, 0, 1);
        t.cqe(must("open", ring.one(Sqe { file_index: slot, ..open }))?);
    }
    Ok(())
}

/// One thread enters a ring in a loop, another closes and unmaps it.
fn closed_underway(t: &mut Transcript) -> Outcome {
    let mut ended = 0;
    for _ in 0..300 {
        let ring = ring()?;
        let fd = ring.fd.cast_unsigned();
        let entering = std::thread::spawn(move || {
            let enter = [u64::from(fd), 1, 0, u64::from(GETEVENTS), 0, 0];
            let mut calls = 0;
            while call::sys(call::ENTER, enter).is_ok() && calls < 2000 {
                calls += 1;
            }
        });
        drop(ring);
        entering.join().map_err(|_| "the thread panicked")?;
        ended += 1;
    }
    t.seen("ended", ended);
    Ok(())
}
