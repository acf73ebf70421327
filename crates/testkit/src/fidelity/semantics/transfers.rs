//! Section 1.1, the lines below the table: what transfers of any kind have in common.

use super::kit::*;
use std::sync::atomic::{AtomicU32, Ordering};

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        a_transfer_of_nothing_asks_the_file,
        "READ, READV and WRITE of no bytes are 0 for pipes, sockets, files and folders, EINVAL for a timerfd and a read of an eventfd."
    ),
    claim!(
        "1.1",
        a_read_of_nothing_waits_for_an_old_file,
        "A READ of no bytes from a blocking inotify waits for its first event and leaves it there; with O_NONBLOCK it is 0 at once."
    ),
    claim!(
        "1.1",
        a_stream_is_written_once,
        "A WRITE of 1 MiB to an empty pipe ends with its 64 KiB, a SEND of 8 MiB with what the socket takes."
    ),
    claim!("1.1", a_write_without_room_waits, "A WRITE to a full pipe waits for room."),
    claim!("1.1", a_recv_with_waitall_loops, "RECV with MSG_WAITALL goes on until it has all."),
    claim!(
        "1.1",
        a_loop_that_ends_early_tells_its_bytes,
        "RECV with MSG_WAITALL that is cancelled, or meets the end, ends with the bytes so far."
    ),
    claim!(
        "1.1",
        nonblocking_files_wait_all_the_same,
        "READ, WRITE, RECV and ACCEPT of O_NONBLOCK pipes, sockets, eventfds, timerfds and listeners stay pending."
    ),
    claim!(
        "1.1",
        only_flags_of_the_request_are_eagain,
        "MSG_DONTWAIT, RWF_NOWAIT and ACCEPT_DONTWAIT end with EAGAIN."
    ),
    claim!(
        "1.1",
        pipes_and_eventfds_have_no_offset,
        "Pipes and eventfds ignore any offset; a socket with another than 0 or -1 is ESPIPE."
    ),
    claim!("1.1", an_appending_file_has_no_offset, "O_APPEND wins over the offset."),
    claim!(
        "1.1",
        a_broken_pipe_raises_sigpipe_inline_only,
        "WRITE to a broken pipe raises SIGPIPE when it runs inline, none on a worker; SEND never does."
    ),
    claim!(
        "1.0",
        a_number_may_change_hands_in_a_chain,
        "dup2 over the number while the predecessor waits: the member reads the new file."
    ),
    claim!(
        "1.0",
        a_chain_opens_a_slot_and_reads_it,
        "A direct open linked to a READ of the same slot works."
    ),
];

/// Of recv(2).
const WAITALL: u32 = libc::MSG_WAITALL as u32;
/// Of recv(2).
const DONTWAIT: u32 = libc::MSG_DONTWAIT as u32;

/// RECV of so many bytes with `MSG_*`.
fn recv(fd: i32, b: &Buf, len: u32, flags: u32, ud: u64) -> Sqe {
    Sqe { op_flags: flags, ..rw(op::RECV, fd, b.addr(), len, 0, ud) }
}

/// The same file without waiting.
fn nonblocking(fd: i32) -> Res<i32> {
    let flags = must("F_GETFL", os::fcntl(fd, libc::F_GETFL, 0))?;
    must("F_SETFL", os::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    Ok(fd)
}

/// A pipe with no room left.
fn full_pipe() -> Res<(i32, i32)> {
    let (r, w) = pipe()?;
    put(w, &vec![0; 65536])?;
    Ok((r, w))
}

/// READ, READV and WRITE of no bytes, in this order.
fn nothing_of(ring: &mut Ring, fd: i32, want: [i32; 3]) -> Outcome {
    let (b, iov) = (Buf::new(8), u64s(&[0, 0]));
    let got = [
        must("READ", ring.one(read(fd, b.addr(), 0, 0, 1)))?.res,
        must("READV", ring.one(rw(op::READV, fd, iov.addr(), 1, 0, 2)))?.res,
        must("WRITE", ring.one(write(fd, b.addr(), 0, 0, 3)))?.res,
    ];
    expect("the results", got, want)
}

fn a_transfer_of_nothing_asks_the_file() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    nothing_of(&mut ring, r, [0, 0, -EBADF])?;
    nothing_of(&mut ring, w, [-EBADF, -EBADF, 0])?;
    nothing_of(&mut ring, pair()?.0, [0, 0, 0])?;
    nothing_of(&mut ring, file(b"x")?, [0, 0, 0])?;
    let folder = must("open", os::open("/tmp", libc::O_DIRECTORY))?;
    nothing_of(&mut ring, folder, [0, 0, -EBADF])?;
    nothing_of(&mut ring, must("eventfd", os::eventfd(1, 0))?, [-EINVAL, -EINVAL, 0])?;
    nothing_of(&mut ring, must("timerfd", os::state::timerfd())?, [-EINVAL; 3])
}

fn a_read_of_nothing_waits_for_an_old_file() -> Outcome {
    let mut ring = ring()?;
    let fd = must("inotify", os::inotify(libc::IN_NONBLOCK))?;
    nothing_of(&mut ring, fd, [0, 0, -EBADF])?;
    let fd = must("inotify", os::inotify(0))?;
    let path = std::env::temp_dir().join(format!("ringer-watched-{}", os::pid()));
    let path = path.to_string_lossy();
    close(must("create", os::open(&path, libc::O_CREAT | libc::O_RDWR))?)?;
    let name = Buf::of(format!("{path}\0").as_bytes());
    let watch = [i64::from(fd).cast_unsigned(), name.addr(), u64::from(libc::IN_OPEN)];
    must("inotify_add_watch", os::raw(libc::SYS_inotify_add_watch, watch))?;
    let b = Buf::new(8);
    submit(&mut ring, &[read(fd, b.addr(), 0, 0, 1), read(fd, b.addr(), 0, 0, 2)])?;
    pending(&ring)?;
    close(must("open", os::open(&path, libc::O_RDONLY))?)?;
    std::fs::remove_file(&*path).map_err(|e| e.to_string())?;
    ends_all(&ring, &[(1, 0), (2, 0)])?;
    let bits = must("poll", os::poll(fd, libc::POLLIN, 0))?;
    expect("the event is there", bits, libc::POLLIN)
}

fn a_stream_is_written_once() -> Outcome {
    let (mut ring, big) = (ring()?, Buf::new(8 << 20));
    res(&mut ring, write(pipe()?.1, big.addr(), 1 << 20, 0, 1), 65536)?;
    let (a, _b) = pair()?;
    let sent = must("SEND", ring.one(rw(op::SEND, a, big.addr(), 8 << 20, 0, 2)))?.res;
    expect("something, not all", sent > 0 && sent < 8 << 20, true)
}

fn a_write_without_room_waits() -> Outcome {
    let (mut ring, (r, w), b) = (ring()?, full_pipe()?, Buf::of(b"x"));
    submit(&mut ring, &[write(w, b.addr(), 1, 0, 1)])?;
    pending(&ring)?;
    must("read", os::read(r, &mut [0; 8192]))?;
    ends(&ring, &[(1, 1)])
}

fn a_recv_with_waitall_loops() -> Outcome {
    let (mut ring, (a, b), buf) = (ring()?, pair()?, Buf::new(8));
    submit(&mut ring, &[recv(a, &buf, 8, WAITALL, 1)])?;
    put(b, b"abc")?;
    until("it takes them", || os::poll(a, libc::POLLIN, 0) == Ok(0))?;
    pending(&ring)?;
    put(b, b"defgh")?;
    ends(&ring, &[(1, 8)])?;
    expect("the bytes", buf.get(0, 8), b"abcdefgh".to_vec())
}

fn a_loop_that_ends_early_tells_its_bytes() -> Outcome {
    let (mut ring, (a, b), buf) = (ring()?, pair()?, Buf::new(8));
    for ud in [1, 2] {
        submit(&mut ring, &[recv(a, &buf, 8, WAITALL, ud)])?;
        put(b, b"abc")?;
        until("it takes them", || os::poll(a, libc::POLLIN, 0) == Ok(0))?;
        if ud == 1 {
            runs(&mut ring, &[cancel(1, 0, 9)], &[(9, 0), (1, 3)])?;
        }
    }
    close(b)?;
    ends(&ring, &[(2, 3)])
}

fn nonblocking_files_wait_all_the_same() -> Outcome {
    let (mut ring, b) = (ring()?, Buf::new(8));
    let read_of = |fd, ud| Ok::<_, String>(read(nonblocking(fd)?, b.addr(), 8, 0, ud));
    let (listener, _) = must("listener", os::tcp_listener())?;
    let all = [
        read_of(pipe()?.0, 1)?,
        read_of(pair()?.0, 2)?,
        read_of(must("eventfd", os::eventfd(0, 0))?, 3)?,
        read_of(must("timerfd", os::state::timerfd())?, 4)?,
        recv(nonblocking(pair()?.0)?, &b, 8, 0, 5),
        of_fd(op::ACCEPT, nonblocking(listener)?, 6),
        write(nonblocking(full_pipe()?.1)?, b.addr(), 8, 0, 7),
    ];
    submit(&mut ring, &all)?;
    pending(&ring)?;
    runs(&mut ring, &[cancel(0, 4, 9)], &[(9, all.len() as i32)])
}

fn only_flags_of_the_request_are_eagain() -> Outcome {
    let (mut ring, b) = (ring()?, Buf::new(8));
    let (listener, _) = must("listener", os::tcp_listener())?;
    res(&mut ring, recv(pair()?.0, &b, 8, DONTWAIT, 1), -libc::EAGAIN)?;
    let nowait = Sqe { op_flags: libc::RWF_NOWAIT as u32, ..read(pipe()?.0, b.addr(), 8, 0, 2) };
    res(&mut ring, nowait, -libc::EAGAIN)?;
    res(&mut ring, Sqe { ioprio: 2, ..of_fd(op::ACCEPT, listener, 3) }, -libc::EAGAIN)
}

fn pipes_and_eventfds_have_no_offset() -> Outcome {
    let (mut ring, b, (r, w), (a, _b)) = (ring()?, Buf::new(8), pipe()?, pair()?);
    res(&mut ring, write(w, b.addr(), 8, 7, 1), 8)?;
    res(&mut ring, read(r, b.addr(), 8, 1 << 40, 2), 8)?;
    res(&mut ring, read(must("eventfd", os::eventfd(3, 0))?, b.addr(), 8, 7, 3), 8)?;
    res(&mut ring, write(a, b.addr(), 8, u64::MAX, 4), 8)?;
    res(&mut ring, write(a, b.addr(), 8, 7, 5), -ESPIPE)?;
    res(&mut ring, read(a, b.addr(), 8, 7, 6), -ESPIPE)
}

fn an_appending_file_has_no_offset() -> Outcome {
    let (mut ring, b, f) = (ring()?, Buf::of(b"xy"), file(b"abcd")?);
    must("F_SETFL", os::fcntl(f, libc::F_SETFL, libc::O_APPEND))?;
    res(&mut ring, write(f, b.addr(), 2, 0, 1), 2)?;
    let back = Buf::new(8);
    res(&mut ring, read(f, back.addr(), 8, 0, 2), 6)?;
    expect("the file", back.get(0, 6), b"abcdxy".to_vec())
}

static RAISED: AtomicU32 = AtomicU32::new(0);

extern "C" fn raised(_: i32) {
    RAISED.fetch_add(1, Ordering::Relaxed);
}

fn a_broken_pipe_raises_sigpipe_inline_only() -> Outcome {
    let (mut ring, b, (r, w), (s, peer)) = (ring()?, Buf::new(8), pipe()?, pair()?);
    must("sigaction", os::on_signal(libc::SIGPIPE, raised, 0))?;
    close(r)?;
    close(peer)?;
    let count = |what: &str, n| expect(what, RAISED.load(Ordering::Relaxed), n);
    res(&mut ring, rw(op::SEND, s, b.addr(), 8, 0, 1), -EPIPE)?;
    count("after SEND", 0)?;
    res(&mut ring, flagged(write(w, b.addr(), 8, 0, 2), ASYNC), -EPIPE)?;
    count("after a worker's WRITE", 0)?;
    res(&mut ring, write(w, b.addr(), 8, 0, 3), -EPIPE)?;
    count("after WRITE", 1)
}

fn a_number_may_change_hands_in_a_chain() -> Outcome {
    let (mut ring, (r, w), old, new) = (ring()?, pipe()?, file(b"old")?, file(b"new")?);
    let (a, b) = (Buf::new(8), Buf::new(8));
    let head = flagged(read(r, a.addr(), 1, 0, 1), LINK);
    submit(&mut ring, &[head, read(old, b.addr(), 3, 0, 2)])?;
    must("dup2", os::dup2(new, old))?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, 3)])?;
    expect("what was read", b.get(0, 3), b"new".to_vec())
}

fn a_chain_opens_a_slot_and_reads_it() -> Outcome {
    let (mut ring, f, b) = (ring()?, file(b"abc")?, Buf::new(8));
    must("register", ring.register_files(&[-1]))?;
    let path = Buf::of(format!("/proc/self/fd/{f}\0").as_bytes());
    let open = Sqe { file_index: 1, ..rw(op::OPENAT, libc::AT_FDCWD, path.addr(), 0, 0, 1) };
    let then = flagged(read(0, b.addr(), 3, 0, 2), FIXED);
    runs(&mut ring, &[flagged(open, LINK), then], &[(1, 0), (2, 3)])
}
