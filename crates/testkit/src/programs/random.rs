//! Random batches with one right answer: the same seed prints the same text on any io_uring.
//!
//! Each round fills a pipe, submits a batch of up to eight random entries (links, hard links,
//! drains, workers, fixed files and buffers, bad fields), waits for one completion each, and prints
//! them by `user_data`. Entries touch regions of their own, so that no order shows in the results.

use super::{Outcome, expect, must};
use crate::os::{self, Buf};
use crate::ring::{Ring, i32s, reg, u64s};
use crate::sqe::{self, ASYNC, DRAIN, FIXED, HARDLINK, LINK, op};
use crate::transcript::Transcript;
use ringer_uapi::{Cqe, Params, Sqe};

const ROUNDS: u64 = 12;
/// Bytes of a region: each entry of a round has one in memory and one in the file.
const REGION: u64 = 256;

/// Prints the texts of the seeds `from..to`.
pub fn transcript(range: &str) -> Outcome {
    let (from, to) = range.split_once("..").ok_or("a range of seeds, as 0..10")?;
    let number = |s: &str| s.parse::<u64>().map_err(|e| e.to_string());
    for seed in number(from)?..number(to)? {
        let mut t = Transcript::default();
        t.seen("## seed", seed);
        one_seed(&mut t, seed)?;
        t.print();
    }
    Ok(())
}

/// A small generator, so that a seed means the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

struct Scene {
    ring: Ring,
    file: i32,
    /// Read by at most one entry of a batch.
    pipe: (i32, i32),
    /// Written only.
    sink: (i32, i32),
    memory: Buf,
    hour: Buf,
    dice: Dice,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for fd in [self.file, self.pipe.0, self.pipe.1, self.sink.0, self.sink.1] {
            let _ = os::close(fd);
        }
    }
}

fn one_seed(t: &mut Transcript, seed: u64) -> Outcome {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    // SUBMIT_ALL, COOP_TASKRUN, NO_SQARRAY, DEFER_TASKRUN with SINGLE_ISSUER, CQE32
    let flags = dice.pick(&[0, 1 << 7, 1 << 8, 1 << 16, 1 << 12 | 1 << 13, 1 << 11]);
    t.seen("setup flags", flags);
    let ring = must("setup", Ring::with(8, Params { flags, ..Params::default() }))?;
    let content: Vec<u8> = (0..16 * REGION).map(|i| (i / 7) as u8).collect();
    let memory = Buf::new(8192);
    let iov = u64s(&[memory.addr(), 4096, memory.addr() + 4096, 4096]);
    must("buffers", ring.register(reg::BUFFERS, iov.addr(), 2))?;
    let mut s = Scene {
        ring,
        file: must("file", os::temp_file(&content))?,
        pipe: must("pipe", os::pipe())?,
        sink: must("pipe", os::pipe())?,
        memory,
        hour: u64s(&[3600, 0]),
        dice,
    };
    must("files", s.ring.register_files(&[s.file, -1, s.pipe.0, s.sink.1]))?;
    for round in 0..ROUNDS {
        one_round(t, &mut s, round)?;
    }
    Ok(())
}

fn one_round(t: &mut Transcript, s: &mut Scene, round: u64) -> Outcome {
    if s.dice.one_in(4) {
        let fds = i32s(&[s.dice.pick(&[-1, -2, s.file, 999])]);
        // Not the sink's slot: what was meant for the sink would overwrite the file.
        let arg = u64s(&[s.dice.pick(&[0, 1, 2, 4]), fds.addr()]);
        t.call("update", s.ring.register(reg::FILES_UPDATE, arg.addr(), 1));
    }
    must("fill", os::write(s.pipe.1, &[round as u8; 100]))?;
    let n = 1 + s.dice.below(8);
    let mut batch = Vec::new();
    // One entry of a batch may take from the pipe, so that nobody competes for its bytes.
    let mut reads = false;
    for i in 0..n {
        batch.push(entry(s, i, &mut reads));
        let previous = batch.len().checked_sub(2).and_then(|p| batch.get(p)).copied();
        let linked = previous.is_some_and(|p: Sqe| p.flags & (LINK | HARDLINK) != 0);
        if linked && s.dice.one_in(6) {
            let limit = sqe::rw(op::LINK_TIMEOUT, -1, s.hour.addr(), 1, 0, i);
            if let Some(last) = batch.last_mut() {
                *last = limit;
            }
        }
    }
    for sqe in &batch {
        s.ring.push(*sqe);
    }
    let (mut taken, mut said) = (0, Vec::new());
    while taken < n {
        let now = must("submit", s.ring.submit(0))?;
        expect("something is taken", now > 0, true)?;
        taken += u64::from(now);
        said.push(now);
    }
    t.seen("submitted", said);
    let mut all: Vec<Cqe> = Vec::new();
    for _ in 0..n {
        all.push(must("wait", s.ring.wait())?);
    }
    all.sort_by_key(|c| c.user_data);
    for (c, sqe) in all.into_iter().zip(&batch) {
        t.seen("op, flags", (sqe.opcode, sqe.flags));
        t.cqe(c);
    }
    after(t, s)
}

/// What the round left: bytes in memory, in the file and in the pipe.
fn after(t: &mut Transcript, s: &mut Scene) -> Outcome {
    let sum = |b: &[u8]| b.iter().fold(0u32, |h, &x| h.rotate_left(5) ^ u32::from(x));
    t.seen("memory", sum(&s.memory.get(0, 8 * REGION as usize)));
    let back = std::fs::read(format!("/proc/self/fd/{}", s.file)).map_err(|e| e.to_string())?;
    t.seen("file", (back.len(), sum(&back)));
    for (what, fd) in [("pipe", s.pipe.0), ("sink", s.sink.0)] {
        must("nonblocking", os::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK))?;
        let mut left = 0;
        while let Ok(n @ 1..) = os::read(fd, &mut [0; 4096]) {
            left += n;
        }
        must("blocking", os::fcntl(fd, libc::F_SETFL, 0))?;
        t.seen(what, left);
    }
    expect("nothing else is posted", s.ring.reap().is_none(), true)
}

fn entry(s: &mut Scene, i: u64, reads: &mut bool) -> Sqe {
    let region = s.memory.addr() + i * REGION;
    let at = (i + 8 * s.dice.below(2)) * REGION + s.dice.below(3) * 20;
    let len = s.dice.pick(&[0, 1, 64, 200]);
    let d = &mut s.dice;
    let mut sqe = match d.below(13) {
        0 => Sqe { op_flags: d.pick(&[0, 0, 1]), len: d.below(9) as u32, ..sqe::nop(i) },
        1 | 2 => sqe::read(s.file, region, len, at, i),
        3 => sqe::read(s.file, region, 200, 16 * REGION - 100, i),
        4 => sqe::write(s.file, region, len, i * REGION, i),
        5 => Sqe { fd: s.file, op_flags: d.below(3) as u32, ..sqe::of(op::FSYNC, i) },
        6 => {
            let buf_index = d.below(3) as u16;
            Sqe { buf_index, ..sqe::rw(op::READ_FIXED, s.file, region, len, at, i) }
        }
        7 => {
            let buf_index = 0;
            Sqe { buf_index, ..sqe::rw(op::WRITE_FIXED, s.file, region, len, i * REGION, i) }
        }
        8 if !*reads => {
            *reads = true;
            sqe::read(s.pipe.0, region, d.pick(&[10, 100, 200]), at, i)
        }
        9 => sqe::write(s.sink.1, region, d.pick(&[1, 50]), 0, i),
        10 => Sqe { op_flags: 4, ..sqe::of_fd(op::POLL_ADD, s.sink.1, i) },
        11 => Sqe { addr: 0x7777, ..sqe::of_fd(op::ASYNC_CANCEL, -1, i) },
        12 => sqe::of(d.pick(&[63, 200]), i),
        _ => sqe::read(d.pick(&[999, -1]), region, 8, at, i),
    };
    if d.one_in(4) && ![op::NOP, op::ASYNC_CANCEL].contains(&sqe.opcode) {
        // The slots: file, empty, pipe, sink; each keeps what it is for.
        sqe.fd = match sqe.fd {
            fd if fd == s.pipe.0 => 2,
            fd if fd == s.sink.1 => 3,
            _ => d.pick(&[0, 0, 1, 4]),
        };
        sqe.flags |= FIXED;
    }
    sqe.flags |= d.pick(&[0, 0, 0, 0, LINK, LINK, HARDLINK, ASYNC, DRAIN, LINK | ASYNC]);
    if d.one_in(25) {
        spoil(d, &mut sqe);
    }
    sqe
}

/// Makes one field wrong.
fn spoil(d: &mut Dice, sqe: &mut Sqe) {
    match d.below(5) {
        0 => sqe.flags |= 0x80,
        1 => sqe.personality = 7,
        2 => sqe.ioprio = 7 << 13,
        3 => sqe.addr = 16,
        _ => sqe.file_index = 5,
    }
}
