//! The bug report's program and its relatives: a ring with both polls, descriptor 1 registered, and
//! an exit that cleans nothing up.
//!
//! Each prints `leaving <CLOCK_MONOTONIC ns>` as its last act, so that whoever waits for it can
//! say how long the exit took.

use super::{Outcome, must};
use crate::os::{self, Buf};
use crate::ring::Ring;
use crate::sqe::{self, op};
use std::sync::atomic::Ordering;

const BOTH_POLLS: u32 = 3;

fn make() -> Result<(), String> {
    let ring = must("setup", Ring::new(16, BOTH_POLLS))?;
    must("register", ring.register_files(&[1]))?;
    ring.abandon();
    Ok(())
}

fn stamp() {
    let line = format!("leaving {}\n", os::clock(libc::CLOCK_MONOTONIC));
    let _ = os::write(1, line.as_bytes());
}

extern "C" fn leave_in_handler(_: i32) {
    // Formatting allocates, which a handler that interrupted the allocator may not; this one
    // interrupts raise(3) only.
    stamp();
    os::exit_now(0);
}

/// Ends in the way named.
pub fn leave(how: &str) -> Outcome {
    match how {
        "many" => return many(),
        "fork-parent-first" => return fork_order(true),
        "fork-child-first" => return fork_order(false),
        "be-killed-busy" => return be_killed_busy(),
        _ => make()?,
    }
    match how {
        "return" => stamp(),
        "exit-now" => {
            stamp();
            os::exit_now(0);
        }
        "exit" => {
            stamp();
            std::process::exit(0);
        }
        "thread" => {
            let t = std::thread::spawn(|| {
                stamp();
                std::process::exit(0)
            });
            let _: Result<(), _> = t.join();
        }
        "signal" => {
            must("sigaction", os::on_signal(libc::SIGUSR1, leave_in_handler, 0))?;
            must("raise", os::raise(libc::SIGUSR1))?;
        }
        "be-killed" => {
            println!("ready");
            loop {
                let _ = os::poll(-1, 0, -1);
            }
        }
        _ => return Err(format!("no such way to leave: {how:?}")),
    }
    Ok(())
}

/// Does a NOP, then waits to be killed with a READ and a RECV in flight.
fn be_killed_busy() -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    must("a NOP", ring.result(sqe::nop(1)))?;
    let (r, _w) = must("pipe", os::pipe())?;
    let (a, _b) = must("socketpair", os::socketpair(libc::SOCK_STREAM))?;
    let buf = Buf::new(16);
    ring.push(sqe::read(r, buf.addr(), 8, 0, 2));
    ring.push(sqe::rw(op::RECV, a, buf.addr() + 8, 8, 0, 3));
    must("enter", ring.submit(0))?;
    println!("ready");
    loop {
        let _ = os::poll(-1, 0, -1);
    }
}

/// Forks with the ring there; the named side leaves first, the other when it is gone.
fn fork_order(parent_first: bool) -> Outcome {
    make()?;
    let (r, w) = must("pipe", os::pipe())?;
    let child = must("fork", os::fork())?;
    let first = (child == 0) != parent_first;
    if first {
        must("close", os::close(r))?;
    } else {
        must("close", os::close(w))?;
        // End of file: the other side's exit closed the write end.
        must("read", os::read(r, &mut [0]))?;
        if child != 0 {
            super::expect("the child's exit code", must("wait", os::wait(child))?, 0)?;
        }
    }
    stamp();
    if child == 0 {
        os::exit_now(0);
    }
    Ok(())
}

/// 64 processes at once; the slowest exit, measured from inside.
fn many() -> Outcome {
    const N: usize = 64;
    let map = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let shared = must("mmap", Buf::map(4096, map, -1, 0))?;
    let mut children = Vec::new();
    for i in 0..N {
        let pid = must("fork", os::fork())?;
        if pid == 0 {
            if make().is_err() {
                os::exit_now(1);
            }
            shared.word(0).fetch_add(1, Ordering::AcqRel);
            // Everybody has a ring before anybody leaves.
            while shared.load(0) < N as u32 {
                let _ = os::yield_now();
            }
            shared.put64(8 + 8 * i, os::clock(libc::CLOCK_MONOTONIC));
            os::exit_now(0);
        }
        children.push(pid);
    }
    let mut slowest = 0;
    for (i, pid) in children.into_iter().enumerate() {
        super::expect("a child's exit code", must("wait", os::wait(pid))?, 0)?;
        slowest = slowest.max(os::clock(libc::CLOCK_MONOTONIC) - shared.get64(8 + 8 * i));
    }
    println!("slowest {slowest}");
    stamp();
    Ok(())
}
