//! Copies a file with batches of reads and writes, with care for what may come of each, or without.
//!
//! ```text
//!  careful:   bytes that are missing are asked for again
//!  careless:  a read or a write that succeeds has moved what it was asked for
//! ```

use super::{Outcome, expect, must};
use crate::os::{self, Buf, Errno};
use crate::ring::{GETEVENTS, Ring};
use crate::sqe;

/// `IORING_OP_READ`, `IORING_OP_WRITE`.
const READ: u8 = 22;
const WRITE: u8 = 23;
/// Bytes of a piece, and how many there are.
const PIECE: u32 = 1024;
const PIECES: u64 = 32;
/// Pieces that are under way at a time.
const DEPTH: u64 = 8;

/// A piece under way.
#[derive(Clone, Copy)]
struct Piece {
    at: u64,
    writes: bool,
    done: u32,
    len: u32,
}

/// Takes what short transfers leave for done.
pub fn careless(_: &str) -> Outcome {
    copy(false)
}

/// Survives whatever a kernel may do.
pub fn careful(_: &str) -> Outcome {
    copy(true)
}

fn copy(careful: bool) -> Outcome {
    let content: Vec<u8> = (0..PIECES * u64::from(PIECE)).map(|i| (i % 251) as u8).collect();
    let (from, to) = (must("file", os::temp_file(&content))?, must("file", os::temp_file(&[]))?);
    let mut ring = must("setup", Ring::new(16, 0))?;
    let bufs: Vec<Buf> = (0..PIECES).map(|_| Buf::new(PIECE as usize)).collect();
    let mut pieces: Vec<Piece> = (0..PIECES)
        .map(|i| Piece { at: i * u64::from(PIECE), writes: false, done: 0, len: PIECE })
        .collect();
    let entry = |i: u64, p: &Piece| {
        let (fd, opcode) = if p.writes { (to, WRITE) } else { (from, READ) };
        let done = u64::from(p.done);
        let addr = bufs.get(i as usize).map_or(0, Buf::addr);
        sqe::rw(opcode, fd, addr + done, p.len - p.done, p.at + done, i)
    };
    let mut next = 0;
    let mut under_way = 0;
    while next < PIECES || under_way > 0 {
        while next < PIECES && under_way < DEPTH {
            if let Some(p) = pieces.get(next as usize) {
                ring.push(entry(next, p));
            }
            (next, under_way) = (next + 1, under_way + 1);
        }
        must("submit", ring.submit(0))?;
        wait(&ring)?;
        while let Some(c) = ring.reap() {
            let Some(p) = pieces.get_mut(c.user_data as usize) else {
                return Err(format!("user_data {}", c.user_data));
            };
            if c.res <= 0 {
                return Err(format!("piece {}: {}", c.user_data, os::name(-c.res)));
            }
            p.done = if careful { p.done + c.res.cast_unsigned() } else { p.len };
            if p.done == p.len {
                if p.writes {
                    under_way -= 1;
                    continue;
                }
                (p.writes, p.done) = (true, 0);
            }
            ring.push(entry(c.user_data, p));
        }
    }
    let mut copied = vec![0; content.len()];
    let n = must(
        "read",
        os::read(must("dup", os::open(&format!("/proc/self/fd/{to}"), 0))?, &mut copied),
    )?;
    expect("bytes of the copy", n, content.len())?;
    expect("the copy", copied == content, true)
}

/// Waits for a completion, or for a signal.
fn wait(ring: &Ring) -> Outcome {
    match ring.enter(0, 1, GETEVENTS, 0, 0) {
        Err(Errno(libc::EINTR)) => Ok(()),
        r => must("wait", r).map(drop),
    }
}
