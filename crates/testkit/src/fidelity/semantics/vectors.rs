//! Section 1.1: vectors of registered buffers, what NOP looks up, and the newer transfer flags.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        a_vector_of_a_registered_buffer_is_transferred,
        "READV_FIXED and WRITEV_FIXED take a vector of pieces of one registered buffer.",
        needs "READV_FIXED", "WRITEV_FIXED"
    ),
    claim!(
        "1.1",
        a_vector_lies_in_its_buffer,
        "READV_FIXED with a piece outside of its buffer, an empty piece, or no buffer is EFAULT; without pieces it reads nothing.",
        needs "READV_FIXED"
    ),
    claim!(
        "1.1",
        a_vector_has_room_for_its_pages,
        "READV_FIXED with pieces of 2^31 pages is EOVERFLOW, with more pages than 262144 ENOMEM, wherever they lie; counted are two more a piece.",
        needs "READV_FIXED"
    ),
    claim!(
        "1.1",
        a_vector_is_looked_at_when_it_is_issued,
        "READV_FIXED behind a link finds the buffer that its slot has then, and pieces as they were at submission.",
        needs "READV_FIXED"
    ),
    claim!(
        "1.1",
        a_vector_waits_for_bytes,
        "READV_FIXED from a pipe waits, and fills its pieces in order.",
        needs "READV_FIXED"
    ),
    claim!(
        "1.1",
        a_vector_needs_a_file_that_takes_one,
        "WRITEV_FIXED to an eventfd, which is written by single buffers, is EINVAL, with RWF_NOWAIT EAGAIN, and cancels what follows; WRITE_FIXED of one buffer is written.",
        needs "WRITEV_FIXED"
    ),
    claim!(
        "2.7",
        a_nop_that_finds_nothing_breaks_its_chain,
        "NOP with FILE and no file is EBADF, with FIXED_BUFFER and no buffer EFAULT, whatever result is injected, and cancels what is linked to it; a file comes before a buffer.",
        needs "NOP_FILE", "NOP_FIXED_FILE", "NOP_FIXED_BUFFER"
    ),
    claim!(
        "2.7",
        a_nop_finds_what_its_chain_left,
        "NOP with FILE is looked at when it is issued: behind a CLOSE it is EBADF.",
        needs "NOP_FILE"
    ),
    claim!(
        "2.7",
        newer_transfer_flags_are_the_hosts,
        "WRITE with RWF_NOAPPEND keeps its offset, with RWF_NOSIGNAL raises no SIGPIPE; RWF_DONTCACHE and RWF_ATOMIC answer what pwritev2(2) does.",
        needs "RWF_NOAPPEND", "RWF_NOSIGNAL", "RWF_DONTCACHE", "RWF_ATOMIC"
    ),
];

/// A ring with one registered buffer of 64 bytes.
fn registered() -> Res<(Ring, Buf)> {
    let (ring, buf) = (ring()?, Buf::new(64));
    let arg = u64s(&[buf.addr(), 64]);
    must("register", ring.register(reg::BUFFERS, arg.addr(), 1))?;
    Ok((ring, buf))
}

fn vector(opcode: u8, fd: i32, iov: &Buf, n: u32, ud: u64) -> Sqe {
    rw(opcode, fd, iov.addr(), n, 0, ud)
}

fn a_vector_of_a_registered_buffer_is_transferred() -> Outcome {
    let ((mut ring, buf), f) = (registered()?, file(b"abcdefgh")?);
    let iov = u64s(&[buf.addr() + 32, 3, buf.addr(), 2]);
    res(&mut ring, vector(op::READV_FIXED, f, &iov, 2, 1), 5)?;
    expect("the pieces", (buf.get(32, 3), buf.get(0, 2)), (b"abc".to_vec(), b"de".to_vec()))?;
    res(&mut ring, Sqe { off: 6, ..vector(op::WRITEV_FIXED, f, &iov, 2, 2) }, 5)?;
    let content = std::fs::read(format!("/proc/self/fd/{f}")).map_err(|e| e.to_string())?;
    expect("the file", content, b"abcdefabcde".to_vec())
}

fn a_vector_lies_in_its_buffer() -> Outcome {
    let ((mut ring, buf), f) = (registered()?, file(b"abcdefgh")?);
    let read = |iov: &Buf, n, ud| vector(op::READV_FIXED, f, iov, n, ud);
    let outside = u64s(&[buf.addr(), 3, buf.addr() + 60, 5]);
    res(&mut ring, read(&outside, 2, 1), -EFAULT)?;
    res(&mut ring, read(&outside, 1, 2), 3)?;
    res(&mut ring, Sqe { buf_index: 1, ..read(&outside, 1, 3) }, -EFAULT)?;
    let empty = u64s(&[buf.addr(), 3, buf.addr(), 0]);
    res(&mut ring, read(&empty, 2, 4), -EFAULT)?;
    res(&mut ring, read(&empty, 0, 5), 0)?;
    let negative = u64s(&[buf.addr(), 1 << 63]);
    res(&mut ring, read(&negative, 1, 6), -EINVAL)
}

fn a_vector_has_room_for_its_pages() -> Outcome {
    let ((mut ring, buf), f) = (registered()?, file(b"abcdefgh")?);
    for (pages, want) in [
        (1 << 31, -EOVERFLOW),
        ((1 << 31) - 2, -EOVERFLOW),
        ((1 << 31) - 3, -ENOMEM),
        ((1 << 18) - 1, -ENOMEM),
        ((1 << 18) - 2, -EFAULT),
    ] {
        let iov = u64s(&[buf.addr(), pages << 12]);
        res(&mut ring, vector(op::READV_FIXED, f, &iov, 1, 1), want)?;
    }
    Ok(())
}

fn a_vector_is_looked_at_when_it_is_issued() -> Outcome {
    let ((mut ring, buf), f, (r, w)) = (registered()?, file(b"abcdefgh")?, pipe()?);
    let other = Buf::new(64);
    let iov = u64s(&[other.addr(), 3]);
    let first = flagged(read(r, buf.addr(), 1, 0, 1), LINK);
    submit(&mut ring, &[first, vector(op::READV_FIXED, f, &iov, 1, 2)])?;
    iov.put64(0, 8);
    let (data, tags) = (u64s(&[other.addr(), 64]), u64s(&[0]));
    let arg = u64s(&[0, data.addr(), tags.addr(), 1]);
    must("update", ring.register(16, arg.addr(), 32))?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, 3)])?;
    expect("the bytes", other.get(0, 3), b"abc".to_vec())
}

fn a_vector_waits_for_bytes() -> Outcome {
    let ((mut ring, buf), (r, w)) = (registered()?, pipe()?);
    let iov = u64s(&[buf.addr() + 8, 2, buf.addr(), 8]);
    submit(&mut ring, &[vector(op::READV_FIXED, r, &iov, 2, 1)])?;
    waits(&ring)?;
    put(w, b"abc")?;
    ends(&ring, &[(1, 3)])?;
    expect("the pieces", (buf.get(8, 2), buf.get(0, 1)), (b"ab".to_vec(), b"c".to_vec()))
}

fn a_vector_needs_a_file_that_takes_one() -> Outcome {
    let (mut ring, buf) = (ring()?, Buf::new(64));
    let e = must("eventfd", os::eventfd(0, 0))?;
    let all = u64s(&[buf.addr(), 64]);
    must("buffers", ring.register(reg::BUFFERS, all.addr(), 1))?;
    buf.put64(0, 1);
    let one = u64s(&[buf.addr(), 8]);
    let write = rw(op::WRITEV_FIXED, e, one.addr(), 1, 0, 1);
    let then = [flagged(write, LINK), nop(2)];
    runs(&mut ring, &then, &[(1, -EINVAL), (2, -ECANCELED)])?;
    let nowait = Sqe { op_flags: libc::RWF_NOWAIT as u32, ..write };
    res(&mut ring, nowait, -libc::EAGAIN)?;
    res(&mut ring, flagged(nowait, ASYNC), -libc::EAGAIN)?;
    res(&mut ring, rw(op::WRITEV_FIXED, e, one.addr(), 0, 0, 3), 0)?;
    res(&mut ring, rw(op::WRITE_FIXED, e, buf.addr(), 8, 0, 4), 8)
}

fn a_nop_that_finds_nothing_breaks_its_chain() -> Outcome {
    let (mut ring, _buf) = registered()?;
    let nop_at = |flags, fd, buf_index| Sqe { op_flags: flags, fd, buf_index, ..nop(1) };
    let cases = [
        (nop_at(2, 999, 0), -EBADF),
        (nop_at(2 | 4, 0, 0), -EBADF),
        (nop_at(8, -1, 1), -EFAULT),
        (nop_at(2 | 8, 999, 1), -EBADF),
        (Sqe { len: 7, ..nop_at(1 | 8, -1, 1) }, -EFAULT),
        (Sqe { len: 7, ..nop_at(1 | 2, 999, 0) }, -EBADF),
    ];
    for (sqe, want) in cases {
        submit(&mut ring, &[flagged(sqe, LINK), nop(2)])?;
        ends_all(&ring, &[(1, want), (2, -ECANCELED)])?;
    }
    res(&mut ring, Sqe { len: 7, ..nop_at(1 | 8, -1, 0) }, 7)
}

fn a_nop_finds_what_its_chain_left() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"x")?);
    let close = flagged(of_fd(op::CLOSE, f, 1), LINK);
    let last = Sqe { op_flags: 2, fd: f, ..nop(2) };
    runs(&mut ring, &[close, last], &[(1, 0), (2, -EBADF)])
}

/// pwritev2(2) of two bytes at 0.
fn pwritev2(fd: i32, iov: &Buf, flags: u32) -> i32 {
    let fd = i64::from(fd).cast_unsigned();
    let args = [fd, iov.addr(), 1, 0, 0, flags.into()];
    match crate::call::sys(libc::SYS_pwritev2, args) {
        Ok(n) => n as i32,
        Err(e) => -e.0,
    }
}

fn newer_transfer_flags_are_the_hosts() -> Outcome {
    let (mut ring, f, b) = (ring()?, file(b"abcd")?, Buf::of(b"xy"));
    let append =
        must("open", os::open(&format!("/proc/self/fd/{f}"), libc::O_RDWR | libc::O_APPEND))?;
    let flagged = |fd, flags| Sqe { op_flags: flags, ..write(fd, b.addr(), 2, 0, 1) };
    res(&mut ring, flagged(append, 32), 2)?;
    let content = std::fs::read(format!("/proc/self/fd/{f}")).map_err(|e| e.to_string())?;
    expect("the file", content, b"xycd".to_vec())?;
    let iov = u64s(&[b.addr(), 2]);
    for flags in [64, 128] {
        let want = pwritev2(f, &iov, flags);
        res(&mut ring, flagged(f, flags), want)?;
    }
    let (a, gone) = pair()?;
    close(gone)?;
    res(&mut ring, flagged(a, 256), -EPIPE)?;
    let folder = must("open", os::open("/", libc::O_RDONLY | libc::O_DIRECTORY))?;
    for flags in [16, 32] {
        let read = Sqe { op_flags: flags, ..read(folder, b.addr(), 2, 0, 5) };
        res(&mut ring, read, -libc::EISDIR)?;
    }
    // What never can is told before anything else is looked at: there is nothing to wait for.
    let (r, w) = pipe()?;
    for (fd, opcode) in [(f, op::READ), (r, op::READ), (w, op::WRITE)] {
        let atomic = Sqe { op_flags: 64, ..rw(opcode, fd, b.addr(), 0, 1 << 62, 2) };
        res(&mut ring, atomic, -EOPNOTSUPP)?;
    }
    res(&mut ring, Sqe { op_flags: 128, ..read(r, b.addr(), 2, 0, 3) }, -EOPNOTSUPP)?;
    let before = Sqe { off: 1 << 63, ..read(r, b.addr(), 2, 0, 4) };
    put(w, b"x")?;
    res(&mut ring, before, -EINVAL)?;
    res(&mut ring, Sqe { flags: ASYNC, ..before }, -EINVAL)
}
