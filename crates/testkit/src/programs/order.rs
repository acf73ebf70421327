//! In which order requests end that do not depend on each other, and those that do.

use super::{Outcome, expect, must};
use crate::os::{self, Buf};
use crate::ring::{GETEVENTS, Ring};
use crate::sqe::{self, ASYNC, DRAIN, LINK};

const ROUNDS: u64 = 16;
const EACH: u64 = 8;

/// What the request with this user_data comes to \[bytes\].
fn length(user_data: u64) -> i32 {
    match user_data {
        ud if ud >= EACH => 0,
        ud if ud % 4 == 1 => 1,
        _ => 64,
    }
}

/// Says how many rounds of requests came in another order than they were submitted in. Each comes once, a
/// chain in its order, a drain behind everything, and what a read is said to have read is there.
pub fn order(_: &str) -> Outcome {
    let mut ring = must("setup", Ring::new(64, 0))?;
    let file = must("file", os::temp_file(&[7; 4096]))?;
    let (r, w) = must("pipe", os::pipe())?;
    let mut others = 0;
    for round in 0..ROUNDS {
        let bufs: Vec<Buf> = (0..EACH).map(|_| Buf::new(64)).collect();
        for (i, buf) in (0..EACH).zip(&bufs) {
            // At once, on a worker, when a pipe has it.
            let read = match i % 4 {
                0 => sqe::flagged(sqe::read(file, buf.addr(), 64, 0, i), ASYNC),
                1 => sqe::read(r, buf.addr(), 1, 0, i),
                _ => sqe::read(file, buf.addr(), 64, 0, i),
            };
            ring.push(read);
        }
        for i in 0..3 {
            let link = if i < 2 { LINK } else { 0 };
            ring.push(sqe::flagged(sqe::nop(100 + i), link));
        }
        ring.push(sqe::flagged(sqe::nop(200), DRAIN));
        must("submit", ring.submit(0))?;
        must("write", os::write(w, &vec![7; EACH as usize / 4]))?;
        let mut came = Vec::new();
        while came.len() < EACH as usize + 4 {
            must("wait", ring.enter(0, 1, GETEVENTS, 0, 0))?;
            while let Some(c) = ring.reap() {
                let len = length(c.user_data);
                expect(&format!("round {round}, request {}", c.user_data), c.res, len)?;
                if let Some(buf) = bufs.get(c.user_data as usize) {
                    expect("its bytes", buf.get(0, len as usize), vec![7; len as usize])?;
                }
                came.push(c.user_data);
            }
        }
        expect("the drain", came.last(), Some(&200))?;
        let chain: Vec<u64> = came.iter().copied().filter(|ud| (100..200).contains(ud)).collect();
        expect("the chain", chain, vec![100, 101, 102])?;
        let reads: Vec<u64> = came.iter().copied().filter(|ud| *ud < EACH && ud % 4 > 1).collect();
        let mut sorted = reads.clone();
        sorted.sort_unstable();
        others += u64::from(reads != sorted);
        sorted.dedup();
        expect("reads at once", sorted.len(), EACH as usize / 2)?;
    }
    println!("other orders {}", if others > 0 { "seen" } else { "none" });
    Ok(())
}
