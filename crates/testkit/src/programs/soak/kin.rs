//! Processes that have a ring together and are killed in it: what they owe comes all the same, once.
//!
//! ```text
//!   child: entry, entry, entry, enter, entry ... until it is killed
//!   parent: reaps meanwhile; afterwards: as many completions as entries were taken, each of another
//! ```
//! An entry's user_data is its place in the queue, so no two that were taken have the same. What it does
//! not do: run on the kernel's ring, where what a killed process polls for ends when it is ready.

use super::super::{Outcome, expect, must};
use crate::os::{self, Buf};
use crate::ring::{GETEVENTS, Ring, u64s};
use crate::sqe::{self, ASYNC, LINK, op};
use ringer_uapi::Sqe;
use std::collections::HashSet;

/// Completions that may wait before the child submits more.
const WAITING_MAX: u32 = 64;
/// Longest life of a child \[us\].
const LIFE_US: u64 = 20_000;
/// How long what is owed may take \[ns\].
const PATIENCE_NS: u64 = 5_000_000_000;
/// `IORING_ASYNC_CANCEL_ALL`, `_ANY`.
const CANCEL_EVERYTHING: u32 = 1 | 4;

/// The processes' ring, and what its requests are about.
struct Scene {
    ring: Ring,
    file: i32,
    silent: i32,
    page: Buf,
    soon: Buf,
    /// Of the parent: the completions it saw.
    seen: HashSet<u64>,
}

impl Scene {
    fn push(&mut self, sqe: Sqe) {
        let user_data = u64::from(self.ring.tail());
        self.ring.push(Sqe { user_data, ..sqe });
    }

    /// What ends at once, on a worker, with time, with a cancel, and in a chain.
    fn batch(&mut self) {
        let buf = self.page.addr();
        self.push(sqe::nop(0));
        self.push(sqe::read(self.file, buf, 64, 0, 0));
        self.push(sqe::flagged(sqe::read(self.file, buf, 64, 0, 0), ASYNC));
        let poll = u64::from(self.ring.tail());
        self.push(Sqe { op_flags: 1, ..sqe::of_fd(op::POLL_ADD, self.silent, 0) });
        self.push(sqe::rw(op::TIMEOUT, -1, self.soon.addr(), 1, 0, 0));
        self.push(sqe::flagged(sqe::nop(0), LINK));
        self.push(sqe::nop(0));
        self.push(sqe::rw(op::ASYNC_CANCEL, -1, poll, 0, 0, 0));
    }

    /// The child's.
    fn submit_for_ever(&mut self) -> ! {
        self.ring.catch_up();
        loop {
            while self.ring.cq_waiting() > WAITING_MAX {
                let _ = os::yield_now();
            }
            self.batch();
            if self.ring.submit(0).is_err() {
                os::exit_now(1);
            }
        }
    }

    fn reap(&mut self) -> Outcome {
        while let Some(c) = self.ring.reap() {
            if !self.seen.insert(c.user_data) {
                return Err(format!("a second completion of {}: {}", c.user_data, c.res));
            }
        }
        Ok(())
    }

    /// The parent's, a child killed: everything that was taken is over.
    fn settle(&mut self) -> Outcome {
        self.ring.catch_up();
        let left = self.ring.tail().wrapping_sub(self.ring.sq_head());
        // The call that the child was killed in may have had them.
        must("enter", self.ring.enter(left, 0, 0, 0, 0))?;
        expect("what was left", self.ring.tail(), self.ring.sq_head())?;
        self.push(Sqe { op_flags: CANCEL_EVERYTHING, ..sqe::of(op::ASYNC_CANCEL, 0) });
        must("submit", self.ring.submit(0))?;
        let end = os::clock(libc::CLOCK_MONOTONIC) + PATIENCE_NS;
        while self.seen.len() < self.ring.sq_head() as usize {
            self.reap()?;
            if self.seen.len() < self.ring.sq_head() as usize {
                must("wait", self.ring.enter(0, 1, GETEVENTS, 0, 0))?;
            }
            if os::clock(libc::CLOCK_MONOTONIC) > end {
                return Err(self.missing());
            }
        }
        expect("completions", self.seen.len(), self.ring.sq_head() as usize)
    }

    fn missing(&self) -> String {
        let taken = u64::from(self.ring.sq_head());
        let missing: Vec<u64> = (0..taken).filter(|ud| !self.seen.contains(ud)).take(8).collect();
        format!("{} of {taken} came, without {missing:?}", self.seen.len())
    }
}

/// One child after the other submits, and is killed at any point on its way.
fn rounds(mut scene: Scene, count: u64) -> Outcome {
    for i in 0..count {
        let child = must("fork", os::fork())?;
        if child == 0 {
            scene.submit_for_ever();
        }
        let life = i.wrapping_mul(2_654_435_761) % LIFE_US * 1000;
        let end = os::clock(libc::CLOCK_MONOTONIC) + life;
        while os::clock(libc::CLOCK_MONOTONIC) < end {
            scene.reap()?;
            must("look", scene.ring.enter(0, 0, GETEVENTS, 0, 0))?;
        }
        must("kill", os::kill(child, libc::SIGKILL))?;
        expect("the child", must("wait", os::wait(child))?, 128 + libc::SIGKILL)?;
        scene.settle().map_err(|why| format!("child {i}, {} us old: {why}", life / 1000))?;
    }
    println!("soak-kin, {count} killed, {} requests", scene.seen.len());
    Ok(())
}

/// So many children (200) of a process are killed in a ring of its own, half of them in one that lies in
/// the application's memory.
pub fn kin(count: &str) -> Outcome {
    os::deadline(0);
    let count: u64 = count.parse().unwrap_or(200);
    let file = must("file", os::temp_file(&[7; 4096]))?;
    for ring in [Ring::new(256, 0), Ring::in_shared_memory(256, 0)] {
        let (silent, _speaks) = must("pipe", os::pipe())?;
        let (page, soon) = (Buf::new(4096), u64s(&[0, 2_000_000]));
        let ring = must("setup", ring)?;
        let seen = HashSet::new();
        rounds(Scene { ring, file, silent, page, soon, seen }, count.div_ceil(2))?;
    }
    Ok(())
}
