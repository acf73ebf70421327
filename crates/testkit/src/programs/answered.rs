//! Requests of the kinds that a record can answer, and a few that it can not, each told in a line.

use super::{Outcome, must};
use crate::os::{self, Buf};
use crate::ring::{Ring, i32s, u64s};
use crate::sqe::{self, HARDLINK, LINK, op};
use ringer_uapi::Sqe;

/// `IORING_REGISTER_BUFFERS`.
const REGISTER_BUFFERS: u32 = 0;
/// `AT_FDCWD`.
const HERE: i32 = -100;
/// `IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN`.
const DEFER: u32 = 1 << 12 | 1 << 13;
/// `POLLIN`.
const POLLIN: u32 = 1;

/// Says what requests come to and what they bring. `arg`: a file to read, and perhaps after a comma what
/// is to be different: `defer` (the ring), `longer` (a read), `more`, `fewer` (requests), `bytes` (a write),
/// `path` (an open), `big` (much more is read).
pub fn answered(arg: &str) -> Outcome {
    let (path, change) = arg.split_once(',').unwrap_or((arg, ""));
    let mut ring = must("setup", Ring::new(32, if change == "defer" { DEFER } else { 0 }))?;
    let name = if change == "path" { "/etc" } else { path };
    let path = Buf::of(&[name.as_bytes(), b"\0"].concat());
    let open = sqe::rw(op::OPENAT, HERE, path.addr(), 0, 0, 1);
    let file = say(&mut ring, "open", open)?;
    reads(&mut ring, file, &path, change)?;
    if change == "big" {
        read_much(&mut ring, file)?;
    }
    writes(&mut ring, change)?;
    waits(&mut ring)?;
    say(&mut ring, "close", sqe::of_fd(op::CLOSE, file, 9))?;
    if change != "fewer" {
        say(&mut ring, "the last", sqe::nop(9))?;
    }
    if change == "more" {
        say(&mut ring, "one more", sqe::nop(10))?;
    }
    Ok(())
}

/// Submits an entry alone and says its result.
fn say(ring: &mut Ring, what: &str, sqe: Sqe) -> Result<i32, String> {
    let c = must(what, ring.one(sqe))?;
    println!("{what}: {} flags {:#x}", c.res, c.flags);
    Ok(c.res)
}

fn reads(ring: &mut Ring, file: i32, path: &Buf, change: &str) -> Outcome {
    let stat = Buf::new(256);
    let basic = Sqe { off: stat.addr(), ..sqe::rw(op::STATX, HERE, path.addr(), 0x7ff, 0, 2) };
    say(ring, "statx", basic)?;
    println!("its size: {}", stat.get64(40));
    let buf = Buf::new(4096);
    let len = if change == "longer" { 17 } else { 16 };
    say(ring, "read", sqe::read(file, buf.addr(), len, 0, 3))?;
    println!("it brought {:?}", String::from_utf8_lossy(&buf.get(0, 16)));
    // More pieces than a trace remembers, and more bytes than are in the file.
    let iov: Vec<u64> = (0..8).flat_map(|i| [buf.addr() + i * 512, 300]).collect();
    let iov = u64s(&iov);
    let n = say(ring, "readv", sqe::rw(op::READV, file, iov.addr(), 8, 8, 4))?;
    println!("it brought {:x}", sum(&buf.get(0, 4096)));
    must("buffers", ring.register(REGISTER_BUFFERS, u64s(&[buf.addr(), 4096]).addr(), 1))?;
    must("files", ring.register_files(&[file]))?;
    buf.fill(0);
    let fixed = sqe::rw(op::READ_FIXED, 0, buf.addr() + 64, 2000, 0, 5);
    say(ring, "read_fixed", sqe::flagged(fixed, sqe::FIXED))?;
    println!("it brought {:x}, {n}", sum(&buf.get(0, 4096)));
    // What a failed head does to its chain.
    ring.push(sqe::flagged(sqe::read(-1, buf.addr(), 1, 0, 6), LINK));
    ring.push(sqe::flagged(sqe::nop(7), HARDLINK));
    ring.push(sqe::nop(8));
    must("chain", ring.submit(3))?;
    for _ in 0..3 {
        let c = must("chain", ring.wait())?;
        println!("chain: {} of {}", c.res, c.user_data);
    }
    Ok(())
}

/// More at once than a record's buffer holds.
fn read_much(ring: &mut Ring, file: i32) -> Outcome {
    const LEN: u32 = 1 << 20;
    let bufs: Vec<Buf> = (0..24).map(|_| Buf::new(LEN as usize)).collect();
    for (i, buf) in (0..).zip(&bufs) {
        ring.push(sqe::read(file, buf.addr(), LEN, i * u64::from(LEN), i));
    }
    must("much", ring.submit(24))?;
    for _ in &bufs {
        let c = must("much", ring.wait())?;
        let brought = bufs.get(c.user_data as usize).map(|b| sum(&b.get(0, LEN as usize)));
        println!("much: {} is {} of {brought:x?}", c.user_data, c.res);
    }
    Ok(())
}

fn writes(ring: &mut Ring, change: &str) -> Outcome {
    let to = must("memfd", os::memfd(&[]))?;
    let byte = if change == "bytes" { 8 } else { 7 };
    let buf = Buf::of(&[byte; 3000]);
    say(ring, "write", sqe::write(to, buf.addr(), 3000, 0, 11))?;
    let iov = u64s(&[buf.addr(), 10, buf.addr() + 20, 30]);
    say(ring, "writev", sqe::rw(op::WRITEV, to, iov.addr(), 2, 3000, 12))?;
    say(ring, "fsync", sqe::of_fd(op::FSYNC, to, 13))?;
    must("close", os::close(to)).map(drop)
}

fn waits(ring: &mut Ring) -> Outcome {
    let (a, b) = must("socketpair", os::socketpair(1))?;
    let buf = Buf::new(64);
    // Two that wait, one that ends them.
    ring.push(sqe::rw(op::RECV, a, buf.addr(), 64, 0, 21));
    ring.push(Sqe { op_flags: POLLIN, ..sqe::of_fd(op::POLL_ADD, a, 22) });
    must("wait", ring.submit(0))?;
    let words = Buf::of(b"hello");
    ring.push(sqe::rw(op::SEND, b, words.addr(), 5, 0, 23));
    must("send", ring.submit(2))?;
    let mut came: Vec<(u64, i32)> = Vec::new();
    for _ in 0..2 {
        let c = must("send", ring.wait())?;
        came.push((c.user_data, c.res));
    }
    ring.push(Sqe { addr: 22, ..sqe::of(op::ASYNC_CANCEL, 24) });
    must("cancel", ring.submit(1))?;
    let deadline = u64s(&[0, 2_000_000]);
    ring.push(sqe::rw(op::TIMEOUT, -1, deadline.addr(), 1, 0, 25));
    // The timeout ends a wait for more than there will be.
    must("timeout", ring.submit(4))?;
    while let Some(c) = ring.reap() {
        came.push((c.user_data, c.res));
    }
    // A completion that is looked at, and not done with until the next entry is taken.
    ring.push(sqe::nop(31));
    must("unseen", ring.submit(1))?;
    println!("there are {}", ring.cq_waiting());
    ring.push(sqe::nop(32));
    must("unseen", ring.submit(2))?;
    while let Some(c) = ring.reap() {
        came.push((c.user_data, c.res));
    }
    println!("waits: {came:?}");
    println!("it brought {:?}", String::from_utf8_lossy(&buf.get(0, 8)));
    for fd in [a, b] {
        must("close", os::close(fd))?;
    }
    Ok(())
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(5381, |sum: u64, b| sum.wrapping_mul(33) ^ u64::from(*b))
}

/// One request, or ring, that no record answers, by name.
pub fn unanswered(what: &str) -> Outcome {
    let flags = match what {
        "sqpoll" => 2,
        "iopoll" => 1,
        _ => 0,
    };
    let mut ring = must("setup", Ring::new(8, flags))?;
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(64);
    let one = match what {
        "accept" => sqe::of_fd(op::ACCEPT, must("listener", os::tcp_listener())?.0, 1),
        "multishot" => Sqe { op_flags: POLLIN, len: 1, ..sqe::of_fd(op::POLL_ADD, r, 1) },
        "select" => sqe::flagged(sqe::read(r, buf.addr(), 1, 0, 1), 1 << 5),
        "direct" => Sqe { file_index: 1, ..sqe::rw(op::OPENAT, HERE, buf.addr(), 0, 0, 1) },
        "unlink" => sqe::rw(op::UNLINKAT, HERE, buf.addr(), 0, 0, 1),
        "files" => sqe::rw(op::FILES_UPDATE, -1, i32s(&[0]).addr(), 1, 0, 1),
        _ => sqe::nop(1),
    };
    ring.push(sqe::nop(2));
    must("first", ring.submit(1))?;
    if what == "thread" {
        std::thread::scope(|s| {
            s.spawn(|| {
                ring.push(sqe::nop(3));
                ring.submit(1)
            });
        });
    }
    if what == "process" {
        let code = os::in_child(|| i32::from(Ring::new(8, 0).is_err()));
        must("child", code)?;
    }
    ring.push(one);
    must("submit", ring.submit(0))?;
    // Whoever records it ends it here.
    must("write", os::write(w, b"1"))?;
    os::poll(-1, 0, 20_000).map(drop).map_err(|e| format!("{e:?}"))
}
