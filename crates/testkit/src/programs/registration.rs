//! Registration of files as one transcript: every row of the 2019 patch's tables.
//!
//! `IORING_REGISTER_FILES`, `IORING_UNREGISTER_FILES`, `IORING_REGISTER_FILES_UPDATE` and
//! `IOSQE_FIXED_FILE` on read, write, fsync and poll: errors in the kernel's order, and what holds
//! when files are closed, numbers reused, slots changed and requests in flight.

use super::{Outcome, must};
use crate::os::{self, Buf};
use crate::ring::{GETEVENTS, Ring, i32s, reg};
use crate::sqe::{self, FIXED, op};
use crate::transcript::{self, Part, Transcript};
use ringer_uapi::Sqe;

/// The parts, each with rings of its own.
const PARTS: &[(&str, Part)] = &[
    ("errors", register_errors),
    ("limits", limits),
    ("unregister", unregister_errors),
    ("indices", indices),
    ("references", references),
    ("updates", updates),
    ("in-flight", in_flight),
    ("kinds", kinds_of_ring),
];

/// Prints the transcript, or the parts named (`errors,limits`).
pub fn transcript(only: &str) -> Outcome {
    transcript::print(PARTS, only)
}

fn file(content: &[u8]) -> Result<i32, String> {
    must("file", os::temp_file(content))
}

/// Registers, writes the answer down and takes the set away again if there is one.
fn attempt(t: &mut Transcript, ring: &Ring, what: &str, arg: u64, nr: u32) {
    let r = ring.register(reg::FILES, arg, nr);
    t.call(&format!("register(FILES, {what})"), r);
    let left = ring.register(reg::UNREGISTER_FILES, 0, 0);
    t.call("  unregister", left);
}

fn register_errors(t: &mut Transcript) -> Outcome {
    t.part("register: errors, and nothing stays registered");
    let ring = must("setup", Ring::new(8, 0))?;
    let other = must("setup", Ring::new(8, 0))?;
    let (a, b) = (file(b"a")?, file(b"b")?);
    let closed = must("dup", os::dup(a))?;
    must("close", os::close(closed))?;
    let path = must("open", os::open("/", libc::O_PATH))?;
    let rows: &[(&str, Vec<i32>)] = &[
        ("two files", vec![a, b]),
        ("one file three times", vec![a, a, a]),
        ("an empty slot between", vec![a, -1, b]),
        ("only empty slots", vec![-1, -1]),
        ("a closed descriptor last", vec![a, b, closed]),
        ("a closed descriptor first", vec![closed, a]),
        ("minus two", vec![a, -2]),
        ("minus three", vec![-3]),
        ("an O_PATH descriptor", vec![a, path]),
        ("the ring itself", vec![a, ring.fd]),
        ("another ring", vec![other.fd]),
    ];
    for (what, fds) in rows {
        attempt(t, &ring, what, i32s(fds).addr(), fds.len() as u32);
    }
    let array = i32s(&[a, b]);
    attempt(t, &ring, "nr 0", array.addr(), 0);
    attempt(t, &ring, "NULL, nr 0", 0, 0);
    attempt(t, &ring, "NULL, nr 2", 0, 2);
    attempt(t, &ring, "an unmapped array", 8, 2);
    let edge = Buf::new(8192);
    edge.put(4088, &a.to_ne_bytes());
    edge.put(4092, &a.to_ne_bytes());
    let hole = Buf::adopt(edge.addr() + 4096, 4096);
    must("mprotect", hole.protect(libc::PROT_NONE))?;
    hole.leak();
    attempt(t, &ring, "an array that runs into a hole", edge.addr() + 4088, 3);
    attempt(t, &ring, "the part before the hole", edge.addr() + 4088, 2);
    busy(t, &ring, a);
    Ok(())
}

fn busy(t: &mut Transcript, ring: &Ring, a: i32) {
    t.part("register: a set exists");
    t.call("register(FILES, one)", ring.register_files(&[a]));
    t.call("register(FILES, again)", ring.register_files(&[a]));
    let array = i32s(&[a]);
    t.call("register(FILES, again, nr 0)", ring.register(reg::FILES, array.addr(), 0));
    t.call("register(FILES, again, NULL)", ring.register(reg::FILES, 0, 1));
    t.call("register(FILES, again, bad)", ring.register_files(&[-7]));
    t.call("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0));
}

fn limits(t: &mut Transcript) -> Outcome {
    t.part("register: limits");
    let ring = must("setup", Ring::new(8, 0))?;
    let a = file(b"a")?;
    must("limit", os::limit(libc::RLIMIT_NOFILE, 64))?;
    for n in [63usize, 64, 65] {
        let fds = i32s(&vec![a; n]);
        attempt(t, &ring, &format!("{n} with RLIMIT_NOFILE 64"), fds.addr(), n as u32);
    }
    attempt(t, &ring, "a bad pointer, nr 0xffffffff", 8, u32::MAX);
    attempt(t, &ring, "NULL, nr 0xffffffff", 0, u32::MAX);
    must("limit", os::limit(libc::RLIMIT_NOFILE, 1024))
}

fn unregister_errors(t: &mut Transcript) -> Outcome {
    t.part("unregister");
    let ring = must("setup", Ring::new(8, 0))?;
    let a = file(b"a")?;
    let un = |arg, nr| ring.register(reg::UNREGISTER_FILES, arg, nr);
    t.call("without a set", un(0, 0));
    t.call("without a set, with an argument", un(8, 0));
    t.call("without a set, with a count", un(0, 1));
    t.call("register", ring.register_files(&[a]));
    t.call("with an argument", un(8, 0));
    t.call("with a count", un(0, 1));
    t.call("properly", un(0, 0));
    t.call("twice", un(0, 0));
    t.call("a bad ring", {
        let r = crate::call::sys(crate::call::REGISTER, [u64::MAX, 3, 0, 0, 0, 0]);
        r.map(|_| ())
    });
    let not_a_ring = a as u64;
    let r = crate::call::sys(crate::call::REGISTER, [not_a_ring, 3, 0, 0, 0, 0]);
    t.call("not a ring", r);
    Ok(())
}

fn indices(t: &mut Transcript) -> Outcome {
    t.part("fixed indices");
    let mut ring = must("setup", Ring::new(16, 0))?;
    let a = file(b"0123456789")?;
    let buf = Buf::new(4096);
    let fixed = |i: i32, ud| sqe::flagged(sqe::read(i, buf.addr(), 4, 2, ud), FIXED);
    t.cqe(must("one", ring.one(fixed(0, 1)))?);
    t.call("register", ring.register_files(&[a, -1, a]));
    for (i, index) in [0, 1, 2, 3, 4, -1, i32::MAX, i32::MIN].into_iter().enumerate() {
        t.cqe(must("one", ring.one(fixed(index, 10 + i as u64)))?);
    }
    t.seen("bytes", String::from_utf8(buf.get(0, 4)));
    t.cqe(must("one", ring.one(sqe::flagged(sqe::write(2, buf.addr(), 4, 0, 20), FIXED)))?);
    t.cqe(must("one", ring.one(Sqe { fd: 2, flags: FIXED, ..sqe::of(op::FSYNC, 21) }))?);
    t.cqe(must("one", ring.one(Sqe { fd: 1, flags: FIXED, ..sqe::of(op::FSYNC, 22) }))?);
    t.part("a bad index does not stop the batch");
    ring.push(fixed(7, 30));
    ring.push(fixed(0, 31));
    t.call("enter", ring.submit(2));
    both(t, &ring)?;
    t.part("an unknown flag does");
    ring.push(sqe::flagged(sqe::nop(40), 0x80));
    ring.push(sqe::nop(41));
    t.call("enter", ring.submit(0));
    t.call("enter", ring.submit(1));
    both(t, &ring)
}

fn both(t: &mut Transcript, ring: &Ring) -> Outcome {
    for _ in 0..2 {
        t.cqe(must("wait", ring.wait())?);
    }
    Ok(())
}

fn references(t: &mut Transcript) -> Outcome {
    t.part("the slot holds the file");
    let mut ring = must("setup", Ring::new(8, 0))?;
    let a = file(b"the old file")?;
    let buf = Buf::new(64);
    let read = |ud| sqe::flagged(sqe::read(0, buf.addr(), 12, 0, ud), FIXED);
    t.call("register", ring.register_files(&[a]));
    must("close", os::close(a))?;
    t.cqe(must("one", ring.one(read(1)))?);
    let zero = must("open", os::open("/dev/zero", libc::O_RDONLY))?;
    t.seen("the number was reused", zero == a);
    t.cqe(must("one", ring.one(read(2)))?);
    t.seen("bytes", String::from_utf8(buf.get(0, 12)));
    t.cqe(must("one", ring.one(sqe::read(zero, buf.addr(), 12, 0, 3)))?);
    t.seen("the plain descriptor is the new file", buf.get(0, 12) == [0; 12]);
    t.part("unregister closes what only the set held");
    let (r, w) = must("pipe", os::pipe())?;
    t.call("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0));
    t.call("register", ring.register_files(&[w]));
    must("close", os::close(w))?;
    t.seen("readable before", os::poll(r, libc::POLLIN, 0));
    t.call("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0));
    t.seen("hung up after", os::poll(r, libc::POLLIN, 0).map(|e| e & libc::POLLHUP != 0));
    t.seen("read", os::read(r, &mut [0; 4]));
    Ok(())
}

/// `struct io_uring_rsrc_update`: offset, resv, address of the numbers.
fn update(ring: &Ring, off: u32, fds: &[i32], nr: u32) -> crate::Sys<u64> {
    let list = i32s(fds);
    let arg = crate::ring::u64s(&[u64::from(off), list.addr()]);
    ring.register(reg::FILES_UPDATE, arg.addr(), nr)
}

fn updates(t: &mut Transcript) -> Outcome {
    t.part("update");
    let mut ring = must("setup", Ring::new(8, 0))?;
    let (a, b) = (file(b"aaaa")?, file(b"bbbb")?);
    t.call("without a set", update(&ring, 0, &[a], 1));
    t.call("register", ring.register_files(&[a, a, -1]));
    t.call("nr 0", update(&ring, 0, &[a], 0));
    t.call("NULL", ring.register(reg::FILES_UPDATE, 0, 1));
    t.call("beyond the end", update(&ring, 3, &[a], 1));
    t.call("across the end", update(&ring, 2, &[a, a], 2));
    t.call("offset overflow", update(&ring, u32::MAX, &[a, a], 2));
    t.call("slot 1 to b", update(&ring, 1, &[b], 1));
    show(t, &mut ring)?;
    t.call("clear, skip, set", update(&ring, 0, &[-1, -2, b], 3));
    show(t, &mut ring)?;
    t.call("good, closed, good", update(&ring, 0, &[a, 9999, a], 3));
    show(t, &mut ring)?;
    t.call("closed first", update(&ring, 0, &[9999], 1));
    show(t, &mut ring)?;
    t.call("the ring itself", update(&ring, 0, &[ring.fd], 1));
    let list = i32s(&[a]);
    let arg = crate::ring::u64s(&[1 << 32, list.addr()]);
    t.call("reserved field set", ring.register(reg::FILES_UPDATE, arg.addr(), 1));
    Ok(())
}

/// Reads one byte through each of three slots.
fn show(t: &mut Transcript, ring: &mut Ring) -> Outcome {
    for slot in 0..3 {
        let buf = Buf::of(b"-");
        let c = must("one", ring.one(sqe::flagged(sqe::read(slot, buf.addr(), 1, 0, 0), FIXED)))?;
        let byte = buf.get(0, 1).first().map(|&b| char::from(b));
        t.seen(&format!("  slot {slot}"), (c.res, byte));
    }
    Ok(())
}

fn in_flight(t: &mut Transcript) -> Outcome {
    t.part("unregister with a request in flight does not wait");
    let mut ring = must("setup", Ring::new(8, 0))?;
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(64);
    t.call("register", ring.register_files(&[r]));
    must("close", os::close(r))?;
    ring.push(sqe::flagged(sqe::read(0, buf.addr(), 5, 0, 1), FIXED));
    ring.push(sqe::flagged(Sqe { op_flags: 1, fd: 0, ..sqe::of(op::POLL_ADD, 2) }, FIXED));
    t.call("enter", ring.submit(0));
    t.seen("pending", ring.reap().is_none());
    t.call("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0));
    t.cqe(must("one", ring.one(sqe::flagged(sqe::read(0, buf.addr(), 5, 0, 3), FIXED)))?);
    t.call("register another", ring.register_files(&[w]));
    t.seen("still pending", ring.reap().is_none());
    t.call("write", os::write(w, b"hello"));
    let mut done = [must("wait", ring.wait())?, must("wait", ring.wait())?];
    done.sort_by_key(|c| c.user_data);
    t.cqe(done[0]);
    t.seen("polled", done[1].res & 1);
    t.seen("bytes", String::from_utf8(buf.get(0, 5)));
    t.part("an entry queued before the unregister and submitted after it");
    ring.push(sqe::flagged(sqe::write(0, buf.addr(), 5, 0, 4), FIXED));
    t.call("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0));
    t.call("enter", ring.submit(1));
    t.cqe(must("wait", ring.wait())?);
    Ok(())
}

fn kinds_of_ring(t: &mut Transcript) -> Outcome {
    t.part("kinds of ring and of file");
    let a = file(b"aaaa")?;
    for (name, flags) in [("SQPOLL", 2), ("IOPOLL", 1), ("R_DISABLED", 64), ("both polls", 3)] {
        let ring = must(name, Ring::new(8, flags))?;
        t.call(&format!("{name}: register"), ring.register_files(&[a]));
        let r = ring.enter(0, 0, GETEVENTS, 0, 0);
        t.call(&format!("{name}: enter"), r);
        t.call(&format!("{name}: unregister"), ring.register(reg::UNREGISTER_FILES, 0, 0));
    }
    let ring = must("setup", Ring::new(8, 0))?;
    let (s, _keep) = must("socketpair", os::socketpair(libc::SOCK_STREAM))?;
    let fds = [must("epoll", os::epoll_create())?, must("eventfd", os::eventfd(0, 0))?, s];
    t.call("epoll, eventfd, socket", ring.register_files(&fds));
    Ok(())
}
