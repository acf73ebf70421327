//! Setup as one transcript: sizes, flag combinations, what is written back, the descriptor itself.

use super::{Outcome, must};
use crate::os::{self, Buf, Sys};
use crate::ring::{GETEVENTS, Ring, reg, setup_call};
use crate::sqe;
use crate::transcript::{self, Part, Transcript};
use ringer_uapi::Params;

const PARTS: &[(&str, Part)] = &[
    ("sizes", sizes),
    ("large-sizes", large_sizes),
    ("flags", flags),
    ("written-back", written_back),
    ("descriptor", descriptor),
    ("mappings", mappings),
    ("poll-mask", poll_mask),
    ("probe", probe),
    ("eventfd", eventfd),
];

/// Prints the transcript, or the parts named.
pub fn transcript(only: &str) -> Outcome {
    transcript::print(PARTS, only)
}

/// Sets up, says what sizes came back, closes.
fn try_setup(entries: u32, params: Params) -> Sys<(u32, u32)> {
    let mut p = params;
    let fd = setup_call(entries, &mut p)?;
    let _ = os::close(fd);
    Ok((p.sq_entries, p.cq_entries))
}

const CQSIZE: u32 = 8;
const CLAMP: u32 = 16;

fn sizes(t: &mut Transcript) -> Outcome {
    t.part("sizes: (sq, cq)");
    try_sizes(
        t,
        &[
            (1, 0, 0),
            (3, 0, 0),
            (8, 0, 99),
            (512, 0, 0),
            (32_769, 0, 0),
            (0, CLAMP, 0),
            (8, CQSIZE, 0),
            (8, CQSIZE, 4),
            (5, CQSIZE, 5),
            (8, CQSIZE, 8),
            (8, CQSIZE, 9),
            (8, CQSIZE, 65_537),
            (32_768, CQSIZE | CLAMP, 16),
        ],
    );
    Ok(())
}

fn large_sizes(t: &mut Transcript) -> Outcome {
    // Ring memory counts against RLIMIT_MEMLOCK for everybody but root.
    if os::raw(libc::SYS_geteuid, [0; 3]) != Ok(0) {
        return Err("skip: needs root, or much locked memory".to_owned());
    }
    try_sizes(
        t,
        &[
            (4096, 0, 0),
            (32_768, 0, 0),
            (32_769, CLAMP, 0),
            (u32::MAX, CLAMP, 0),
            (8, CQSIZE | CLAMP, 100_000),
        ],
    );
    Ok(())
}

/// Rows of (entries, flags, CQ entries).
fn try_sizes(t: &mut Transcript, rows: &[(u32, u32, u32)]) {
    for &(entries, flags, cq) in rows {
        let p = Params { flags, cq_entries: cq, ..Params::default() };
        t.call(&format!("setup({entries}, flags {flags:#x}, cq {cq})"), try_setup(entries, p));
    }
}

fn flags(t: &mut Transcript) -> Outcome {
    t.part("flags alone");
    for bit in 0..21 {
        let p = Params { flags: 1 << bit, cq_entries: 16, ..Params::default() };
        t.call(&format!("bit {bit}"), try_setup(8, p));
    }
    t.part("flags together");
    let bits = |b: &[u32]| b.iter().fold(0, |f, b| f | 1 << b);
    for combination in [
        &[1u32, 2][..],
        &[1, 8],
        &[1, 9],
        &[8, 9],
        &[9, 12, 13],
        &[12, 13],
        &[1, 12],
        &[0, 1],
        &[0, 17],
        &[10, 11],
        &[11, 18],
        &[3, 4, 6, 7, 8, 16],
    ] {
        let p = Params { flags: bits(combination), cq_entries: 16, ..Params::default() };
        t.call(&format!("bits {combination:?}"), try_setup(8, p));
    }
    let nowhere = Params { flags: 1 << 5, wq_fd: 999, ..Params::default() };
    t.call("ATTACH_WQ to a closed descriptor", try_setup(8, nowhere));
    let cpu = Params { flags: 2 | 4, sq_thread_cpu: 4000, ..Params::default() };
    t.call("SQ_AFF to a CPU that is not there", try_setup(8, cpu));
    Ok(())
}

fn written_back(t: &mut Transcript) -> Outcome {
    for flags in [0, 1 << 10, 1 << 11, 1 << 16, 1 << 18] {
        let mut p = Params { flags, features: 77, sq_entries: 5, ..Params::default() };
        p.sq_off.head = 99;
        let r = setup_call(8, &mut p);
        t.seen(&format!("flags {flags:#x}"), r.map(|fd| os::close(fd).map(|_| p)));
    }
    let mut p = Params { flags: 1 << 31, features: 77, ..Params::default() };
    t.call("an error", setup_call(8, &mut p));
    t.seen("leaves the parameters alone", p.features);
    Ok(())
}

fn descriptor(t: &mut Transcript) -> Outcome {
    let ring = must("setup", Ring::new(8, 0))?;
    let spare = must("dup", os::dup(0))?;
    must("close", os::close(spare))?;
    let second = must("setup", Ring::new(8, 0))?;
    t.seen("the lowest free number", second.fd == spare);
    t.seen("close-on-exec", os::fcntl(ring.fd, libc::F_GETFD, 0));
    let status = os::fcntl(ring.fd, libc::F_GETFL, 0);
    t.seen("access mode", status.map(|f| f & libc::O_ACCMODE));
    t.seen("read", os::read(ring.fd, &mut [0; 8]));
    t.seen("write", os::write(ring.fd, &[0; 8]));
    Ok(())
}

fn mappings(t: &mut Transcript) -> Outcome {
    let ring = must("setup", Ring::new(8, 0))?;
    let map = |off, len| Buf::map(len, libc::MAP_SHARED, ring.fd, off).map(|b| b.load(16));
    for (off, what) in [
        (0, "SQ ring: mask"),
        (0x800_0000, "CQ ring: the same memory"),
        (4096, "low bits are ignored"),
        (0x1000_0000, "SQEs"),
        (0x3000_0000, "nothing there"),
        (0x8000_0000, "no buffer ring"),
    ] {
        t.call(what, map(off, 4096));
    }
    let private = Buf::map(4096, libc::MAP_PRIVATE, ring.fd, 0).map(|b| b.load(16));
    t.call("MAP_PRIVATE", private);
    let memory = must("setup", Ring::in_memory(8, 0))?;
    let r = Buf::map(4096, libc::MAP_SHARED, memory.fd, 0).map(|_| ());
    t.call("a ring in the caller's memory", r);
    Ok(())
}

fn poll_mask(t: &mut Transcript) -> Outcome {
    const ALL: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP;
    let mut ring = must("setup", Ring::new(4, 0))?;
    let ep = must("epoll", os::epoll_create())?;
    let edge = must("epoll", os::epoll_create())?;
    let (rd, et) = (libc::EPOLLIN as u32, libc::EPOLLET as u32);
    must("add", os::epoll_add(ep, ring.fd, rd))?;
    must("add", os::epoll_add(edge, ring.fd, rd | et))?;
    let show = |t: &mut Transcript, ring: &Ring, what: &str| {
        let level = os::epoll_wait(ep, 0).map(|e| e.map(|e| e.0));
        let edge = os::epoll_wait(edge, 0).map(|e| e.map(|e| e.0));
        t.seen(what, (os::poll(ring.fd, ALL, 0), level, edge));
    };
    show(t, &ring, "idle");
    ring.push(sqe::nop(1));
    must("submit", ring.submit(0))?;
    show(t, &ring, "one completion");
    show(t, &ring, "still there");
    ring.push(sqe::nop(2));
    must("submit", ring.submit(0))?;
    show(t, &ring, "another");
    while ring.reap().is_some() {}
    must("enter", ring.enter(0, 0, GETEVENTS, 0, 0))?;
    show(t, &ring, "reaped");
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(8);
    ring.push(sqe::read(r, buf.addr(), 8, 0, 3));
    must("submit", ring.submit(0))?;
    show(t, &ring, "a pending read");
    must("write", os::write(w, b"x"))?;
    let woken = os::epoll_wait(ep, 10_000).map(|e| e.map(|e| e.0));
    t.seen("epoll_wait is woken by its completion", woken);
    t.cqe(must("wait", ring.wait())?);
    Ok(())
}

fn probe(t: &mut Transcript) -> Outcome {
    let ring = must("setup", Ring::new(4, 0))?;
    let buf = Buf::new(16 + 8 * 256);
    t.call("256 ops", ring.register(reg::PROBE, buf.addr(), 256));
    t.seen("last op, count", buf.get(0, 2));
    t.call("not zeroed", ring.register(reg::PROBE, buf.addr(), 256));
    let small = Buf::new(16);
    t.call("0 ops", ring.register(reg::PROBE, small.addr(), 0));
    t.call("NULL", ring.register(reg::PROBE, 0, 1));
    t.call("257 ops", ring.register(reg::PROBE, small.addr(), 257));
    t.call("an unknown register opcode", ring.register(36, 0, 0));
    t.call("ENABLE_RINGS of an enabled ring", ring.register(reg::ENABLE_RINGS, 0, 0));
    Ok(())
}

fn eventfd(t: &mut Transcript) -> Outcome {
    let mut ring = must("setup", Ring::new(4, 0))?;
    let e = must("eventfd", os::eventfd(0, libc::EFD_NONBLOCK))?;
    let arg = crate::ring::i32s(&[e]);
    let wrong = crate::ring::i32s(&[0]);
    let closed = crate::ring::i32s(&[999]);
    t.call("unregister, none", ring.register(reg::UNREGISTER_EVENTFD, 0, 0));
    t.call("nr 2", ring.register(reg::EVENTFD, arg.addr(), 2));
    t.call("NULL", ring.register(reg::EVENTFD, 0, 1));
    t.call("not an eventfd", ring.register(reg::EVENTFD, wrong.addr(), 1));
    t.call("closed", ring.register(reg::EVENTFD, closed.addr(), 1));
    t.call("register", ring.register(reg::EVENTFD, arg.addr(), 1));
    t.call("again", ring.register(reg::EVENTFD, arg.addr(), 1));
    let mut count = [0; 8];
    t.seen("before", os::read(e, &mut count));
    ring.push(sqe::nop(1));
    ring.push(sqe::nop(2));
    must("submit", ring.submit(0))?;
    t.seen("after a batch", os::read(e, &mut count).map(|_| u64::from_ne_bytes(count)));
    t.call("unregister", ring.register(reg::UNREGISTER_EVENTFD, 0, 0));
    Ok(())
}
