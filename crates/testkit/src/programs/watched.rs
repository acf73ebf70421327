//! A program that somebody looks at: it goes on until its input ends, and notes what it sees of that.
//!
//! What it does not do: hurry. A few hundred rounds a second are enough to be counted.

use super::{Outcome, expect, must};
use crate::os::{self, Buf};
use crate::ring::Ring;
use crate::sqe;
use std::collections::BTreeSet;

/// Rounds until the ring's own descriptors are where they stay.
const SETTLED: u64 = 64;
/// The read that waits all the while.
const ARMED: u64 = 1 << 32;

/// Every round a NOP, a read of a file and a read of nothing; beside them a read that waits for a pipe,
/// which is fed at the end. Says `ready` first, and which descriptors came or went.
pub fn watched(how: &str) -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    let (file, buf) = (must("memfd", os::memfd(&[7; 4096]))?, Buf::new(4096));
    let (armed, feed) = must("pipe", os::pipe())?;
    ring.push(sqe::read(armed, buf.addr(), 1, 0, ARMED));
    must("submit", ring.submit(0))?;
    let mut before = BTreeSet::new();
    let mut round = 0;
    // The end of the input is an event.
    while must("poll", os::poll(0, libc::POLLIN, 1))? == 0 {
        ring.push(sqe::nop(round));
        ring.push(sqe::read(file, buf.addr(), 4096, 0, round));
        ring.push(sqe::read(-1, buf.addr(), 4096, 0, round));
        must("submit", ring.submit(3))?;
        let mut results: Vec<i32> = (0..3).filter_map(|_| ring.reap()).map(|c| c.res).collect();
        results.sort_unstable();
        expect("a round", results, vec![-libc::EBADF, 0, 4096])?;
        round += 1;
        if round == SETTLED {
            before = descriptors();
            if how == "sandboxed" {
                sandbox()?;
            }
            println!("ready");
        } else if round > SETTLED && round % 16 == 0 {
            expect("descriptors", descriptors(), before.clone())?;
        }
    }
    must("write", os::write(feed, b"x"))?;
    let last = must("wait", ring.wait())?;
    expect("the armed read", (last.user_data, last.res), (ARMED, 1))?;
    println!("{}", if round >= SETTLED { "untouched" } else { "too short" });
    Ok(())
}

/// Has a call end the process that this program never makes, on any thread of it.
fn sandbox() -> Outcome {
    let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let is = |nr: i64, jf| libc::sock_filter { code: 0x15, jt: 0, jf, k: nr as u32 };
    let filter = [
        statement(0x20, 0),
        is(libc::SYS_accept4, 1),
        statement(0x06, libc::SECCOMP_RET_KILL_PROCESS),
        statement(0x06, libc::SECCOMP_RET_ALLOW),
    ];
    // Its socket is there by now, or would be made under the filter.
    std::thread::sleep(std::time::Duration::from_millis(100));
    must("seccomp", os::seccomp(&filter, true))
}

fn descriptors() -> BTreeSet<String> {
    let all = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    // But for the listing's own, which ends with it.
    let named = all.filter_map(|e| {
        let to = std::fs::read_link(e.path()).ok()?;
        let own = to.to_string_lossy().starts_with("/proc/");
        (!own).then(|| format!("{} {}", e.file_name().to_string_lossy(), to.display()))
    });
    named.collect()
}
