//! The submission thread and polled completion with registered files.

use super::{Outcome, expect, must};
use crate::os::{self, Buf};
use crate::ring::{GETEVENTS, Ring, SQ_WAKEUP};
use crate::sqe::{self, FIXED};
use ringer_uapi::Params;
use ringer_uapi::flags::{Setup, SqRing};

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
    let c = must("one", ring.one(sqe::of(sqe::op::RECV, 2)))?;
    println!("recv {}", os::name(-c.res));
    expect("NOP is allowed", ring.result(sqe::nop(3)), Ok(0))?;
    expect("idle, GETEVENTS returns", ring.enter(0, 1, GETEVENTS, 0, 0), Ok(0))
}
