//! The spine: NOP, plain and vectored reads and writes, fsync, registered files.

use super::{Outcome, expect, must};
use crate::os::{self, Buf};
use crate::ring::{Ring, u64s};
use crate::sqe::{self, FIXED, op};
use ringer_uapi::Sqe;

/// Writes, syncs and reads back through plain and registered descriptors, and compares.
pub fn spine(_: &str) -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    for i in 0..4 {
        ring.push(sqe::nop(i));
    }
    expect("four entries are taken", must("enter", ring.submit(4))?, 4)?;
    for i in 0..4 {
        let c = must("wait", ring.wait())?;
        expect("NOPs complete in order with 0", (c.user_data, c.res), (i, 0))?;
    }
    expect("and nothing else is posted", ring.reap().is_none(), true)?;

    let fd = must("file", os::temp_file(b""))?;
    let data: Vec<u8> = (0..8192u32).map(|i| (i * 7 % 251) as u8).collect();
    let out = Buf::of(&data);
    let r = ring.result(sqe::write(fd, out.addr(), 4096, 0, 1));
    expect("WRITE says 4096", r, Ok(4096))?;
    let iov = u64s(&[out.addr() + 4096, 1000, out.addr() + 5096, 3096]);
    let r = ring.result(sqe::rw(op::WRITEV, fd, iov.addr(), 2, 4096, 2));
    expect("WRITEV says 4096", r, Ok(4096))?;
    expect("FSYNC says 0", ring.result(Sqe { fd, ..sqe::of(op::FSYNC, 3) }), Ok(0))?;
    let datasync = Sqe { fd, op_flags: 1, ..sqe::of(op::FSYNC, 3) };
    expect("FSYNC with DATASYNC says 0", ring.result(datasync), Ok(0))?;
    read_back(&mut ring, fd, 0, &data)?;
    must("register", ring.register_files(&[-1, fd]))?;
    must("close", os::close(fd))?;
    read_back(&mut ring, 1, FIXED, &data)?;
    let write = sqe::flagged(sqe::write(1, out.addr(), 10, 100, 9), FIXED);
    expect("a write through the slot", ring.result(write), Ok(10))?;
    let fsync = Sqe { fd: 1, flags: FIXED, ..sqe::of(op::FSYNC, 3) };
    expect("fsync through the slot", ring.result(fsync), Ok(0))?;
    position(&mut ring)
}

fn read_back(ring: &mut Ring, fd: i32, flags: u8, data: &[u8]) -> Outcome {
    let back = Buf::new(8192);
    let r = ring.result(sqe::flagged(sqe::read(fd, back.addr(), 5000, 0, 4), flags));
    expect("READ says 5000", r, Ok(5000))?;
    let iov = u64s(&[back.addr() + 5000, 192, back.addr() + 5192, 100_000]);
    let readv = sqe::rw(op::READV, fd, iov.addr(), 1, 5000, 5);
    expect("READV says 192", ring.result(sqe::flagged(readv, flags)), Ok(192))?;
    let rest = sqe::read(fd, back.addr() + 5192, 3000, 5192, 6);
    expect("the rest is read", ring.result(sqe::flagged(rest, flags)), Ok(3000))?;
    expect("the bytes are the ones written", back.get(0, 8192) == data, true)?;
    let past = sqe::read(fd, back.addr(), 10, 8192, 7);
    expect("end of file is 0", ring.result(sqe::flagged(past, flags)), Ok(0))
}

fn position(ring: &mut Ring) -> Outcome {
    let fd = must("file", os::temp_file(b""))?;
    let b = Buf::of(b"abcdef");
    let here = u64::MAX;
    expect("write at the position", ring.result(sqe::write(fd, b.addr(), 3, here, 1)), Ok(3))?;
    expect("it moved", ring.result(sqe::write(fd, b.addr() + 3, 3, here, 2)), Ok(3))?;
    let back = Buf::new(6);
    expect("six bytes", ring.result(sqe::read(fd, back.addr(), 6, 0, 3)), Ok(6))?;
    expect("in order", back.get(0, 6), b"abcdef".to_vec())
}

/// `N` hot reads of a registered (or plain) file between two `getppid` calls, for call counting.
pub fn hot_reads(how: &str) -> Outcome {
    const READS: u64 = 1000;
    let (fixed, recv, late) = (how != "plain", how.ends_with("recv"), how == "late-recv");
    let mut ring = must("setup", Ring::new(8, 0))?;
    let (a, b) = must("socketpair", os::socketpair(libc::SOCK_DGRAM))?;
    let fd = if recv { a } else { must("file", os::temp_file(&[7; 4096]))? };
    let buf = Buf::new(4096);
    if fixed {
        must("register", ring.register_files(&[fd]))?;
    }
    let entry = |i| {
        let (fd, flags) = if fixed { (0, FIXED) } else { (fd, 0) };
        let opcode = if recv { op::RECV } else { op::READ };
        sqe::flagged(sqe::rw(opcode, fd, buf.addr(), 64, 0, i), flags)
    };
    let send = || os::write(b, &[1; 64]);
    for i in 0..16 {
        if recv {
            must("send", send())?;
        }
        expect("a warm read", ring.result(entry(i)), Ok(64))?;
    }
    // An index keeps the ring: what its making left to other threads is done by then.
    let index = u64s(&[u64::from(u32::MAX), ring.fd as u64]);
    expect("an index", ring.register(20, index.addr(), 1), Ok(1))?;
    must("mark", os::raw(libc::SYS_getppid, [0; 3]))?;
    for i in 0..READS {
        if late {
            // Submitted first, it has to wait.
            ring.push(entry(i));
            must("submit", ring.submit(0))?;
            must("send", send())?;
            expect("a late read", must("wait", ring.wait())?.res, 64)?;
            continue;
        }
        if recv {
            must("send", send())?;
        }
        expect("a hot read", ring.result(entry(i)), Ok(64))?;
    }
    must("mark", os::raw(libc::SYS_getppid, [0; 3]))?;
    println!("{READS}");
    Ok(())
}
