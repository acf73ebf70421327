//! What a buggy program does: bad pointers, scribbled indices, races, closed and reused numbers.

use super::{Outcome, expect, must};
use crate::call::{self, ENTER, SETUP};
use crate::os::{self, Buf, Errno};
use crate::ring::{EXT_ARG, GETEVENTS, Ring};
use crate::sqe::{self, op};
use crate::transcript::{self, Part, Transcript};
use ringer_uapi::{Params, Sqe};
use std::sync::atomic::{AtomicBool, Ordering};

const NOWHERE: u64 = 0x10;

const PARTS: &[(&str, Part)] = &[
    ("setup", bad_setup),
    ("enter", bad_enter),
    ("requests", bad_requests),
    ("array", scribbled_array),
    ("tail", scribbled_tail),
    ("tails", tails),
];

/// Bad pointers and numbers everywhere a call takes one, indices scribbled on; prints the
/// transcript.
pub fn transcript(only: &str) -> Outcome {
    transcript::print(PARTS, only)
}

fn bad_setup(t: &mut Transcript) -> Outcome {
    let setup = |n: u64, p: u64| call::sys(SETUP, [n, p, 0, 0, 0, 0]).map(|_| "a ring");
    t.call("NULL params", setup(8, 0));
    t.call("bad params", setup(8, NOWHERE));
    let zero = Buf::new(Params::SIZE);
    t.call("0 entries", setup(0, zero.addr()));
    t.call("too many entries", setup(32_769, zero.addr()));
    let reserved = Buf::new(Params::SIZE);
    reserved.put(28, &[1]);
    t.call("reserved field", setup(8, reserved.addr()));
    for bit in [19, 20, 31] {
        let unknown = Buf::new(Params::SIZE);
        unknown.put(8, &(1u32 << bit).to_ne_bytes());
        t.call(&format!("flag {bit}"), setup(8, unknown.addr()));
    }
    Ok(())
}

fn bad_enter(t: &mut Transcript) -> Outcome {
    let ring = must("setup", Ring::new(8, 0))?;
    let file = must("file", os::temp_file(b"0123456789"))?;
    t.call("unknown flag, bad descriptor", call::sys(ENTER, [u64::MAX, 0, 0, 1 << 8, 0, 0]));
    t.call("closed descriptor", call::sys(ENTER, [999, 0, 0, 0, 0, 0]));
    t.call("a file", call::sys(ENTER, [file as u64, 0, 0, 0, 0, 0]));
    t.call("wrong size of a signal mask", ring.enter(0, 1, GETEVENTS, NOWHERE, 4));
    t.call("bad signal mask", ring.enter(0, 1, GETEVENTS, NOWHERE, 8));
    t.call("wrong size of EXT_ARG", ring.enter(0, 1, GETEVENTS | EXT_ARG, NOWHERE, 23));
    t.call("bad EXT_ARG", ring.enter(0, 1, GETEVENTS | EXT_ARG, NOWHERE, 24));
    let arg = crate::ring::u64s(&[0, 0, NOWHERE]);
    t.call("bad timespec in it", ring.enter(0, 1, GETEVENTS | EXT_ARG, arg.addr(), 24));
    t.call("nothing to do", ring.enter(5, 0, 0, 0, 0));
    Ok(())
}

fn bad_requests(t: &mut Transcript) -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    let file = must("file", os::temp_file(b"0123456789"))?;
    requests(t, &mut ring, file)
}

fn requests(t: &mut Transcript, ring: &mut Ring, file: i32) -> Outcome {
    let ro = Buf::new(4096);
    must("mprotect", ro.protect(libc::PROT_READ))?;
    let closed = 999;
    let rows = [
        ("opcode 63", sqe::of(63, 1)),
        ("opcode 255", sqe::of(255, 2)),
        ("read to nowhere", sqe::read(file, NOWHERE, 4, 0, 3)),
        ("read to read-only memory", sqe::read(file, ro.addr(), 4, 0, 4)),
        ("write from nowhere", sqe::write(file, NOWHERE, 4, 0, 5)),
        ("readv without iovecs", sqe::rw(op::READV, file, NOWHERE, 1, 0, 6)),
        ("readv with 1025", sqe::rw(op::READV, file, ro.addr(), 1025, 0, 7)),
        ("closed descriptor", sqe::read(closed, ro.addr(), 4, 0, 8)),
        ("descriptor -1", sqe::read(-1, ro.addr(), 4, 0, 9)),
        ("negative offset", sqe::read(file, ro.addr(), 4, u64::MAX - 1, 10)),
        ("read of nothing at nowhere", sqe::read(file, NOWHERE, 0, 0, 11)),
        ("fsync with an address", Sqe { fd: file, addr: 1, ..sqe::of(op::FSYNC, 12) }),
        ("fsync with an unknown flag", Sqe { fd: file, op_flags: 2, ..sqe::of(op::FSYNC, 13) }),
        ("nop with an unknown flag", Sqe { op_flags: 64, ..sqe::of(op::NOP, 14) }),
        ("unknown RWF", Sqe { op_flags: 1 << 20, ..sqe::read(file, ro.addr(), 1, 0, 15) }),
        ("unknown personality", Sqe { personality: 9, ..sqe::nop(16) }),
        ("unknown IOSQE bit", Sqe { flags: 0x80, ..sqe::nop(17) }),
        ("buffer select on a NOP", Sqe { flags: 0x20, ..sqe::nop(18) }),
        ("ioprio on an fsync", Sqe { fd: file, ioprio: 1, ..sqe::of(op::FSYNC, 19) }),
        ("bad ioprio class", Sqe { ioprio: 7 << 13, ..sqe::read(file, ro.addr(), 1, 0, 20) }),
    ];
    for (what, sqe) in rows {
        t.call(what, ring.result(sqe));
    }
    Ok(())
}

fn scribbled_array(t: &mut Transcript) -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    let sq = ring.params.sq_off;
    t.part("index array: good, out of range, good");
    for i in 0..3 {
        ring.push(sqe::nop(i));
    }
    ring.sq.store(sq.array as usize + 4, 1000);
    t.call("submit", ring.submit(0));
    t.seen("dropped", ring.sq.load(sq.dropped as usize));
    t.seen("head", ring.sq_head());
    t.call("the rest", ring.enter(3, 0, 0, 0, 0));
    t.seen("dropped", ring.sq.load(sq.dropped as usize));
    let reaped: Vec<u64> = std::iter::from_fn(|| ring.reap()).map(|c| c.user_data).collect();
    t.seen("completions", reaped);
    Ok(())
}

fn scribbled_tail(t: &mut Transcript) -> Outcome {
    t.part("CQ tail scribbled on: the next completion puts it right");
    let mut ring = must("setup", Ring::new(8, 0))?;
    let (sq, cq) = (ring.params.sq_off, ring.params.cq_off);
    ring.push(sqe::nop(9));
    ring.sq.store(cq.tail as usize, 1_000_000);
    t.call("submit", ring.submit(0));
    t.seen("tail", ring.cq_tail());
    t.part("masks and sizes scribbled on: not looked at");
    for off in [sq.ring_mask, sq.ring_entries, cq.ring_mask, cq.ring_entries] {
        ring.sq.store(off as usize, 0xdead_beef);
    }
    for i in 20..24 {
        ring.push(sqe::nop(i));
    }
    t.call("submit", ring.submit(0));
    t.seen("tail", ring.cq_tail());
    Ok(())
}

fn tails(t: &mut Transcript) -> Outcome {
    t.part("SQ tail far ahead: no more than the ring holds");
    let ring = must("setup", Ring::new(8, 0))?;
    ring.sq.store(ring.params.sq_off.tail as usize, 1000);
    t.call("submit 1000", ring.enter(1000, 0, 0, 0, 0));
    t.seen("head", ring.sq_head());
    t.seen("posted", ring.cq_tail());
    t.part("SQ tail behind the head");
    ring.sq.store(ring.params.sq_off.tail as usize, 4);
    let n = ring.enter(8, 0, 0, 0, 0);
    t.call("submit 8", n);
    t.part("SQ head scribbled on: ours is not looked at");
    let mut ring = must("setup", Ring::new(8, 0))?;
    ring.push(sqe::nop(1));
    ring.sq.store(ring.params.sq_off.head as usize, 5000);
    t.call("submit", ring.submit(0));
    t.seen("head", ring.sq_head());
    Ok(())
}

/// Another thread rewrites SQEs while they are read; every entry taken still posts one completion.
pub fn racing_writer(_: &str) -> Outcome {
    const ROUNDS: u32 = 20_000;
    let mut ring = must("setup", Ring::new(8, 0))?;
    let buf = Buf::new(4096);
    let file = must("file", os::temp_file(b"0123456789"))?;
    let stop = AtomicBool::new(false);
    let (sqes, addr) = (ring.sqes.addr(), buf.addr());
    std::thread::scope(|s| {
        s.spawn(|| {
            let memory = Buf::adopt(sqes, 8 * 64);
            let choices = [
                sqe::nop(1),
                sqe::read(file, addr, 8, 0, 2),
                sqe::read(file, NOWHERE, 8, 0, 3),
                sqe::rw(op::READV, file, NOWHERE, 900, 0, 4),
                sqe::of(200, 5),
                sqe::flagged(sqe::read(70_000, addr, 8, 0, 6), sqe::FIXED),
                sqe::flagged(sqe::nop(7), 0x80),
            ];
            let mut i = 0usize;
            while !stop.load(Ordering::Relaxed) {
                i = i
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let words = choices[(i >> 33) % choices.len()].to_words();
                let (slot, word) = ((i >> 40) % 8, (i >> 50) % 8);
                memory.put64(64 * slot + 8 * word, words[word]);
            }
            memory.leak();
        });
        let r = race(&mut ring, ROUNDS);
        stop.store(true, Ordering::Relaxed);
        r
    })
}

/// Reads of the writer's making that must complete before the race counts as run.
const SEEN_MIN: u32 = 20;

fn race(ring: &mut Ring, rounds: u32) -> Outcome {
    let mut taken = 0;
    let mut posted = 0;
    // Until the writer was seen at work: entries whose opcode *and* user_data it replaced by a read's.
    let (mut done, mut reads) = (0, 0);
    while done < rounds || reads < SEEN_MIN {
        done += 1;
        for _ in 0..4 {
            ring.push(sqe::nop(0));
        }
        let mut left = 4;
        while left > 0 {
            let n = must("enter", ring.submit(0))?;
            expect("something is taken", n > 0, true)?;
            taken += n;
            left -= n;
        }
        while posted < taken {
            let cqe = must("wait", ring.wait())?;
            reads += u32::from(cqe.user_data == 2 && cqe.res == 8);
            posted += 1;
        }
    }
    expect("one completion each", ring.reap().is_none(), true)?;
    println!("one completion each: {}", posted == taken && taken >= 4 * rounds);
    Ok(())
}

/// Rings unmapped, everything closed, numbers reused.
pub fn numbers(_: &str) -> Outcome {
    let bad = |e: i32| Err(Errno(e));
    let mut ring = must("setup", Ring::new(8, 0))?;
    let copy = must("dup", os::dup(ring.fd))?;
    ring.push(sqe::nop(1));
    let fd = ring.fd;
    ring.fd = copy;
    expect("a duplicate is the ring", ring.submit(1), Ok(1))?;
    expect("and shows its completion", ring.reap().map(|c| c.user_data), Some(1))?;
    ring.fd = fd;
    must("close", os::close(fd))?;
    expect("a closed ring", ring.enter(0, 0, 0, 0, 0), bad(libc::EBADF))?;
    let file = must("file", os::memfd(b"0123456789"))?;
    expect("its number is reused", file, fd)?;
    expect("a file by that number", ring.enter(0, 0, 0, 0, 0), bad(libc::EOPNOTSUPP))?;
    let buf = Buf::new(16);
    ring.fd = copy;
    expect("is read by that number", ring.result(sqe::read(fd, buf.addr(), 10, 0, 2)), Ok(10))?;
    // The other way round: a ring where a file was.
    let other = must("second ring", Ring::new(8, 0))?;
    must("dup2", os::dup2(other.fd, fd))?;
    expect("is a ring again", call::sys(ENTER, [fd as u64, 0, 0, 0, 0, 0]), Ok(0))?;
    unmapped()?;
    must("close_range", os::close_range(3, u32::MAX))?;
    expect("after closing everything", ring.enter(0, 0, 0, 0, 0), bad(libc::EBADF))?;
    ring.fd = -1;
    other.abandon();
    let mut fresh = must("a new ring after that", Ring::new(8, 0))?;
    expect("it works", fresh.result(sqe::nop(4)), Ok(0))?;
    let file = must("file", os::memfd(b"0123456789"))?;
    must("register", fresh.register_files(&[file]))?;
    let s = sqe::flagged(sqe::read(0, buf.addr(), 10, 0, 5), sqe::FIXED);
    expect("with files", fresh.result(s), Ok(10))?;
    must("close_range", os::close_range(3, u32::MAX))?;
    fresh.abandon();
    Ok(())
}

fn unmapped() -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    ring.push(sqe::nop(1));
    let fd = ring.fd;
    ring.fd = -1;
    drop(ring);
    let r = call::sys(ENTER, [fd as u64, 1, 1, u64::from(GETEVENTS), 0, 0]);
    expect("a ring nobody maps still takes its entry", r, Ok(1))?;
    must("close", os::close(fd)).map(|_| ())
}

/// Limits reached: the kernel's errno or a completed request with it, nothing lost.
pub fn exhaustion(what: &str) -> Outcome {
    let buf = Buf::new(64);
    let file = must("file", os::temp_file(b"0123456789"))?;
    let mut ring = must("setup", Ring::new(8, 0))?;
    let read = |flags| sqe::flagged(sqe::read(file, buf.addr(), 10, 0, 1), flags);
    match what {
        "descriptors" => {
            must("limit", os::limit(libc::RLIMIT_NOFILE, 16))?;
            while os::dup(0).is_ok() {}
            expect("no room for a ring", Ring::new(8, 0).map(|_| ()), Err(Errno(libc::EMFILE)))?;
        }
        "memory" => must("limit", os::limit(libc::RLIMIT_AS, 0))?,
        "threads" => must("limit", os::limit(libc::RLIMIT_NPROC, 0))?,
        _ => return Err(format!("no such limit: {what:?}")),
    }
    expect("an inline read goes on", ring.result(read(0)), Ok(10))?;
    // Without any worker to be had the kernel cancels what waits for one.
    let worked = |r: crate::Sys<i32>| match r {
        Err(Errno(libc::ECANCELED)) => Ok(10),
        r => r,
    };
    expect("and one that wants a worker", worked(ring.result(read(sqe::ASYNC))), Ok(10))?;
    if what != "memory" {
        let r = ring.register_files(&[file]);
        expect("and a registration", r, Ok(0))?;
        let s = sqe::flagged(sqe::read(0, buf.addr(), 10, 0, 2), sqe::FIXED | sqe::ASYNC);
        expect("and its use", worked(ring.result(s)), Ok(10))?;
    }
    expect("inline reads still go on", ring.result(read(0)), Ok(10))
}
