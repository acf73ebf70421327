//! The submission thread and polled completion with registered files.

use super::{Outcome, expect, must};
use crate::os::{self, Buf};
use crate::ring::{GETEVENTS, Ring, SQ_WAKEUP};
use crate::sqe::{self, FIXED, op};
use ringer_uapi::flags::{Setup, SqRing};
use ringer_uapi::{Params, Sqe};

/// 100,000 fixed reads by the submission thread, with no enter call while it is awake.
pub fn sqpoll_reads(_: &str) -> Outcome {
    const READS: u64 = 100_000;
    const DEPTH: u64 = 32;
    let params =
        Params { flags: Setup::SQPOLL.bits(), sq_thread_idle: 20_000, ..Params::default() };
    let mut ring = must("setup", Ring::with(DEPTH as u32, params))?;
    let file = must("file", os::temp_file(&[5; 4096]))?;
    must("register", ring.register_files(&[file]))?;
    must("close", os::close(file))?;
    let buf = Buf::new(4096);
    let (mut sent, mut done, mut enters) = (0, 0, 0);
    while done < READS {
        while sent < READS && sent - done < DEPTH / 2 {
            ring.push(sqe::flagged(sqe::read(0, buf.addr(), 64, 0, sent), FIXED));
            sent += 1;
        }
        while let Some(c) = ring.reap() {
            expect("a read by the submission thread", c.res, 64)?;
            done += 1;
        }
        if ring.sq_flags() & SqRing::NEED_WAKEUP.bits() != 0 {
            // A thread that got no processor for long may doze off; a busy machine shows it.
            must("wake", ring.enter(0, 0, SQ_WAKEUP, 0, 0))?;
            enters += 1;
            // Woken, it says so once it gets a processor: asking again meanwhile is not its doing.
            while ring.sq_flags() & SqRing::NEED_WAKEUP.bits() != 0 {
                let _ = os::yield_now();
            }
        }
        let _ = os::yield_now();
    }
    println!("reads {done} enters {enters}");
    expect("hardly any enter", enters <= 20, true)
}

/// An idle submission thread says so, burns nothing, and wakes when called.
pub fn sqpoll_idle(_: &str) -> Outcome {
    let params = Params { flags: Setup::SQPOLL.bits(), sq_thread_idle: 10, ..Params::default() };
    let mut ring = must("setup", Ring::with(8, params))?;
    let asleep = |r: &Ring| r.sq_flags() & SqRing::NEED_WAKEUP.bits() != 0;
    while !asleep(&ring) {
        let _ = os::poll(-1, 0, 1);
    }
    let before = os::clock(libc::CLOCK_PROCESS_CPUTIME_ID);
    let _ = os::poll(-1, 0, 500);
    let burnt = os::clock(libc::CLOCK_PROCESS_CPUTIME_ID) - before;
    println!("burnt {burnt}");
    if burnt > 2_000_000 {
        return Err(format!("half a second of idleness took {burnt} ns of CPU"));
    }
    ring.push(sqe::nop(1));
    let _ = os::poll(-1, 0, 20);
    expect("asleep, it takes nothing", ring.reap().is_none(), true)?;
    expect("enter answers to_submit", ring.enter(1, 0, SQ_WAKEUP, 0, 0), Ok(1))?;
    let c = must("wait", ring.wait())?;
    expect("woken, it works", (c.user_data, c.res), (1, 0))
}

/// IOPOLL: who may, who may not, and completion inside GETEVENTS only.
pub fn iopoll(_: &str) -> Outcome {
    let mut ring = must("setup", Ring::new(8, Setup::IOPOLL.bits()))?;
    let file = must("file", os::temp_file(&[5; 8192]))?;
    let page = Buf::new(4096);
    let c = must("one", ring.one(sqe::read(file, page.addr(), 4096, 0, 1)))?;
    println!("buffered {}", os::name(-c.res));
    let c = must("one", ring.one(sqe::of(op::RECV, 2)))?;
    println!("recv {}", os::name(-c.res));
    expect("NOP is allowed", ring.result(sqe::nop(3)), Ok(0))?;
    expect("idle, GETEVENTS returns", ring.enter(0, 1, GETEVENTS, 0, 0), Ok(0))
}

/// Rings that poll rings: what is posted in the first completes the polls of the others, without a
/// call. The kernel does it before the post returns, ringer unless its reactor leads just then.
pub fn rings_poll_rings(_: &str) -> Outcome {
    for flags in [Setup::empty(), Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN] {
        let params = Params { flags: flags.bits(), ..Params::default() };
        let mut first = must("setup", Ring::with(8, params))?;
        let mut rest = Vec::new();
        let mut polled = first.fd;
        for _ in 0..3 {
            let mut ring = must("setup", Ring::new(8, 0))?;
            ring.push(poll_add(polled, 0, 1));
            expect("a poll of a ring is taken", ring.enter(1, 0, 0, 0, 0), Ok(1))?;
            expect("nothing is there yet", ring.reap().is_none(), true)?;
            polled = ring.fd;
            rest.push(ring);
        }
        first.push(sqe::nop(2));
        expect("a NOP is taken", first.enter(1, 0, 0, 0, 0), Ok(1))?;
        for ring in &mut rest {
            // A poll that never completes hangs here until the harness ends it.
            let seen = loop {
                match ring.reap() {
                    Some(c) => break (c.user_data, c.res),
                    None => std::thread::yield_now(),
                }
            };
            expect("the poll's completion, without a call", seen, (1, libc::POLLIN.into()))?;
        }
        two_poll_each_other(&mut first, &mut rest)?;
    }
    Ok(())
}

/// Two multishot polls that feed each other come to rest.
fn two_poll_each_other(first: &mut Ring, rest: &mut [Ring]) -> Outcome {
    const MULTI: u32 = 1;
    let [a, b, ..] = rest else { return Err("two rings are needed".into()) };
    for (ring, other) in [(&mut *a, b.fd), (&mut *b, first.fd)] {
        ring.push(poll_add(other, MULTI, 3));
        expect("a multishot poll is taken", ring.enter(1, 0, 0, 0, 0), Ok(1))?;
    }
    b.push(poll_add(a.fd, MULTI, 4));
    expect("the way back is taken", b.enter(1, 0, 0, 0, 0), Ok(1))?;
    b.push(sqe::nop(5));
    expect("a NOP between them is taken", b.enter(1, 1, GETEVENTS, 0, 0), Ok(1))
}

fn poll_add(fd: i32, len: u32, ud: u64) -> Sqe {
    Sqe { op_flags: libc::POLLIN as u32, len, ..sqe::of_fd(op::POLL_ADD, fd, ud) }
}
