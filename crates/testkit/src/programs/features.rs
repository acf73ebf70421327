//! What the features word promises, and flags that only a program of their own shows.

use super::{Outcome, expect, must};
use crate::os::{self, Buf, Errno};
use crate::ring::{EXT_ARG, GETEVENTS, Ring, i32s, reg, u64s};
use crate::sqe::{self, LINK, op};
use ringer_uapi::Sqe;
use ringer_uapi::flags::Setup;

const MS: u64 = 1_000_000;
const MINUTE: u64 = 60_000 * MS;
const SQ_WAIT: u32 = 4;
const ABS_TIMER: u32 = 32;
const NO_IOWAIT: u32 = 128;
const ETIME: Result<u32, Errno> = Err(Errno(libc::ETIME));

/// Shows one after the other.
///
/// # Errors
/// What did not hold.
pub fn features(_: &str) -> Outcome {
    submitted_is_stable()?;
    a_linked_file_is_found_late()?;
    a_minimal_wait()?;
    enter_flags()?;
    a_muted_eventfd()?;
    nops_and_synced_writes()?;
    flags_of_a_write_in_order()
}

fn ring(flags: u32) -> Result<Ring, String> {
    must("setup", Ring::new(8, flags))
}

/// `FEAT_SUBMIT_STABLE`: what an entry points to may change once it was submitted.
fn submitted_is_stable() -> Outcome {
    let mut ring = ring(0)?;
    let (r, w) = must("pipe", os::pipe())?;
    let (buf, other) = (Buf::new(8), Buf::new(8));
    let iovec = u64s(&[buf.addr(), 4]);
    let when = u64s(&[0, 5 * MS]);
    ring.push(sqe::rw(op::READV, r, iovec.addr(), 1, 0, 1));
    ring.push(sqe::rw(op::TIMEOUT, -1, when.addr(), 1, 0, 2));
    expect("submitted", must("submit", ring.submit(0))?, 2)?;
    iovec.put64(0, other.addr());
    iovec.put64(8, 1);
    when.put64(0, 3600);
    ring.sqes.fill(0xff);
    let c = must("wait", ring.wait())?;
    expect("the timeout", (c.user_data, c.res), (2, -libc::ETIME))?;
    must("write", os::write(w, b"data"))?;
    let c = must("wait", ring.wait())?;
    expect("the read", (c.user_data, c.res), (1, 4))?;
    expect("its buffer", buf.get(0, 4), b"data".to_vec())
}

/// `FEAT_LINKED_FILE`: a linked request's descriptor is looked up when it starts.
fn a_linked_file_is_found_late() -> Outcome {
    let mut ring = ring(0)?;
    let [(first, to_first), (second, _keep), (third, to_third)] =
        [must("pipe", os::pipe())?, must("pipe", os::pipe())?, must("pipe", os::pipe())?];
    let buf = Buf::new(8);
    ring.push(sqe::flagged(sqe::read(first, buf.addr(), 4, 0, 1), LINK));
    ring.push(sqe::read(second, buf.addr(), 4, 0, 2));
    must("submit", ring.submit(0))?;
    must("dup2", os::dup2(third, second))?;
    must("write", os::write(to_third, b"late"))?;
    must("write", os::write(to_first, b"then"))?;
    for user_data in [1, 2] {
        let c = must("wait", ring.wait())?;
        expect("a read", (c.user_data, c.res), (user_data, 4))?;
    }
    expect("what was read last", buf.get(0, 4), b"late".to_vec())
}

fn wait_for(ring: &Ring, min: u32, flags: u32, [min_wait_us, ts]: [u64; 2]) -> Result<u32, Errno> {
    let arg = u64s(&[0, min_wait_us << 32, ts]);
    ring.enter(0, min, GETEVENTS | EXT_ARG | flags, arg.addr(), 24)
}

/// `FEAT_MIN_TIMEOUT`: after the minimal wait one completion is enough.
fn a_minimal_wait() -> Outcome {
    let mut ring = ring(0)?;
    ring.push(sqe::nop(1));
    must("submit", ring.submit(0))?;
    let minute = u64s(&[60, 0]);
    let before = os::clock(libc::CLOCK_MONOTONIC);
    expect("a wait for two", wait_for(&ring, 2, 0, [20_000, minute.addr()]), Ok(0))?;
    let took = os::clock(libc::CLOCK_MONOTONIC) - before;
    expect("it took at least the minimum", took >= 20 * MS, true)?;
    expect("and not the timeout", took < MINUTE, true)?;
    expect("the completion", ring.reap().map(|c| c.user_data), Some(1))
}

/// `ENTER_ABS_TIMER`, `ENTER_NO_IOWAIT`, `ENTER_SQ_WAIT`.
fn enter_flags() -> Outcome {
    let plain = ring(0)?;
    let now = os::clock(libc::CLOCK_MONOTONIC);
    let [past, soon] =
        [now - MS, now + 20 * MS].map(|ns| u64s(&[ns / 1_000_000_000, ns % 1_000_000_000]));
    expect("a time that passed", wait_for(&plain, 1, ABS_TIMER, [0, past.addr()]), ETIME)?;
    expect("a time to come", wait_for(&plain, 1, ABS_TIMER | NO_IOWAIT, [0, soon.addr()]), ETIME)?;
    expect("it came", os::clock(libc::CLOCK_MONOTONIC) >= now + 20 * MS, true)?;
    expect("SQ_WAIT without SQPOLL", plain.enter(0, 0, SQ_WAIT, 0, 0), Ok(0))?;
    let mut polled = ring(Setup::SQPOLL.bits())?;
    expect("SQ_WAIT with room", polled.enter(0, 0, SQ_WAIT, 0, 0), Ok(0))?;
    for i in 0..8 {
        polled.push(sqe::nop(i));
    }
    expect("SQ_WAIT of a full queue", polled.enter(0, 0, SQ_WAIT | 2, 0, 0), Ok(0))?;
    expect("some were taken", polled.sq_head() > 0, true)?;
    for i in 0..8 {
        let c = must("wait", polled.wait())?;
        expect("in order", c.user_data, i)?;
    }
    Ok(())
}

/// `CQ_EVENTFD_DISABLED`: no signal while the program says so.
fn a_muted_eventfd() -> Outcome {
    let mut ring = ring(0)?;
    let event = must("eventfd", os::eventfd(0, libc::EFD_NONBLOCK))?;
    must("register", ring.register(reg::EVENTFD, i32s(&[event]).addr(), 1))?;
    let flags = ring.params.cq_off.flags as usize;
    let mut count = [0; 8];
    ring.sq.store(flags, 1);
    must("a NOP", ring.result(sqe::nop(1)))?;
    expect("muted", os::read(event, &mut count), Err(Errno(libc::EAGAIN)))?;
    ring.sq.store(flags, 0);
    must("a NOP", ring.result(sqe::nop(2)))?;
    expect("heard", os::read(event, &mut count), Ok(8))?;
    expect("once", u64::from_ne_bytes(count), 1)
}

/// `NOP_TW` and the flags of preadv2(2) that ask for more than a plain transfer.
fn nops_and_synced_writes() -> Outcome {
    const TW: u32 = 16;
    const INJECT: u32 = 1;
    let mut ring = ring(0)?;
    let nop = Sqe { op_flags: TW | INJECT, len: 7, ..sqe::nop(1) };
    expect("a NOP by task work", ring.result(nop), Ok(7))?;
    let file = must("a file", os::temp_file(b"before"))?;
    let buf = Buf::of(b"after!");
    for (i, rwf) in [libc::RWF_DSYNC, libc::RWF_SYNC, libc::RWF_APPEND].into_iter().enumerate() {
        let write = sqe::write(file, buf.addr(), 6, 0, i as u64);
        let write = Sqe { op_flags: rwf.cast_unsigned(), ..write };
        expect("a write", ring.result(write), Ok(6))?;
    }
    let back = Buf::new(16);
    expect("a read", ring.result(sqe::read(file, back.addr(), 16, 0, 9)), Ok(12))?;
    expect("written over and appended", back.get(0, 12), b"after!after!".to_vec())
}

/// A descriptor that is none comes before the flags, an unknown flag before two that contradict
/// each other, and all before the buffer.
fn flags_of_a_write_in_order() -> Outcome {
    const UNKNOWN: u32 = 1 << 20;
    const NOAPPEND: u32 = 0x20;
    let [sync, append] = [libc::RWF_SYNC, libc::RWF_APPEND].map(i32::cast_unsigned);
    let mut ring = ring(0)?;
    let file = must("a file", os::temp_file(b"before"))?;
    for (fd, rwf, errno) in [
        (999, sync | UNKNOWN, libc::EBADF),
        (999, append | NOAPPEND, libc::EBADF),
        (file, sync | UNKNOWN, libc::EOPNOTSUPP),
        (file, append | NOAPPEND | UNKNOWN, libc::EOPNOTSUPP),
        (file, append | NOAPPEND, libc::EINVAL),
        (file, append | NOAPPEND | sync, libc::EINVAL),
        (file, append | sync, libc::EFAULT),
    ] {
        let write = Sqe { op_flags: rwf, ..sqe::write(fd, 0x10, 6, 0, 1) };
        expect(&format!("flags {rwf:#x}"), ring.result(write), Err(Errno(errno)))?;
    }
    Ok(())
}
