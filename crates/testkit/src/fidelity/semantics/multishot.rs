//! Section 3.12: multishot requests, and how each of them ends.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.12",
        a_multishot_accept_goes_on,
        "ACCEPT with MULTISHOT posts a descriptor with MORE for each connection.",
        needs "ACCEPT_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_accept_ends_when_slots_run_out,
        "A multishot ACCEPT into slots ends with ENFILE.",
        needs "ACCEPT_MULTISHOT"
    ),
    claim!(
        "3.12",
        an_overflow_ends_a_multishot_accept,
        "A multishot ACCEPT whose completion overflows ends, the descriptor is delivered without MORE.",
        needs "ACCEPT_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_cancelled_multishot_accept_ends,
        "A multishot ACCEPT that is cancelled ends with ECANCELED.",
        needs "ACCEPT_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_accept_takes_all_there_are,
        "A multishot ACCEPT posts every connection that waits when it is submitted, on any kind of ring, of a listener with or without O_NONBLOCK.",
        needs "ACCEPT_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_accept_that_must_not_wait_ends,
        "A multishot ACCEPT with DONTWAIT takes what is there and ends with EAGAIN.",
        needs "ACCEPT_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_accept_chooses_its_slots,
        "A multishot ACCEPT into one slot is EINVAL.",
        needs "ACCEPT_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_accept_goes_on_after_a_worker,
        "A multishot ACCEPT with IOSQE_ASYNC waits for readiness before anything, also of a pipe, and goes on; of a regular file it is EBADFD.",
        needs "ACCEPT_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_recv_ends_with_the_stream,
        "RECV with MULTISHOT goes on until EOF: 0 without MORE.",
        needs "RECV_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_recv_ends_without_buffers,
        "A multishot RECV ends with ENOBUFS at the attempt that finds no buffer.",
        needs "RECV_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_recv_has_a_total_cap,
        "A multishot RECV with `optlen` ends once the sum reaches it.",
        needs "RECV_MULTISHOT"
    ),
    claim!(
        "3.12",
        an_overflow_ends_a_multishot_recv,
        "A multishot RECV whose completion overflows ends: length and buffer are delivered without MORE.",
        needs "RECV_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_recv_works_on_a_worker,
        "A multishot RECV with IOSQE_ASYNC on a blocking socket works.",
        needs "RECV_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_poll_works_on_a_worker,
        "A multishot POLL_ADD with IOSQE_ASYNC works."
    ),
    claim!(
        "3.12",
        a_linked_timeout_waits_for_a_multishot_on_a_worker,
        "The LINK_TIMEOUT of a multishot READ, RECV or ACCEPT with IOSQE_ASYNC starts when there is something to do, not before."
    ),
    claim!("3.12", a_total_cap_needs_a_multishot, "`optlen` of a single RECV is EINVAL."),
    claim!(
        "3.12",
        a_multishot_read_ends_with_the_stream,
        "READ_MULTISHOT goes on until EOF: 0 without MORE.",
        needs "READ_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_read_ends_without_buffers,
        "READ_MULTISHOT ends with ENOBUFS when data is left and no buffer.",
        needs "READ_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_read_without_a_buffer_waits_for_bytes,
        "READ_MULTISHOT that was woken and used the last buffer goes on until there is something to read.",
        needs "READ_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_read_needs_a_file_to_poll,
        "READ_MULTISHOT of a regular file is EBADFD.",
        needs "READ_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_recvmsg_writes_a_header,
        "RECVMSG with MULTISHOT puts a header, the name's and the control's area and the payload into the buffer.",
        needs "RECV_MULTISHOT", "REGISTER_PBUF_RING"
    ),
    claim!(
        "3.12",
        a_buffer_too_small_for_the_header_is_efault,
        "A multishot RECVMSG into a buffer smaller than its header is EFAULT.",
        needs "RECV_MULTISHOT", "REGISTER_PBUF_RING"
    ),
    claim!(
        "3.12",
        a_multishot_on_a_worker_is_timed_from_its_first_event,
        "A LINK_TIMEOUT of a multishot ACCEPT, RECV or READ_MULTISHOT that begins on a worker starts when the first event has come.",
        needs "ACCEPT_MULTISHOT", "RECV_MULTISHOT", "READ_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_multishot_accept_behind_a_drain_waits_first,
        "A multishot ACCEPT that meets a DRAIN waits for readiness before it finds out that its file is no socket.",
        needs "ACCEPT_MULTISHOT"
    ),
    claim!(
        "3.12",
        a_send_bundle_ends_without_buffers,
        "A SEND bundle ends when its buffers are gone.",
        needs "RECVSEND_BUNDLE"
    ),
];

const ACCEPT_MULTISHOT: u16 = 1;
const RECV_MULTISHOT: u16 = 2;

fn accept(fd: i32, slot: u32, ud: u64) -> Sqe {
    Sqe { ioprio: ACCEPT_MULTISHOT, file_index: slot, ..of_fd(op::ACCEPT, fd, ud) }
}

/// A listener and a function that connects to it.
fn listener() -> Res<(i32, impl Fn() -> Outcome)> {
    let (fd, port) = must("listener", os::tcp_listener())?;
    let connect = move || {
        let c = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
        let addr = Buf::of(&os::loopback(port));
        let c = i64::from(c).cast_unsigned();
        must("connect", os::raw(libc::SYS_connect, [c, addr.addr(), 16])).map(|_| ())
    };
    Ok((fd, connect))
}

fn a_multishot_accept_goes_on() -> Outcome {
    let mut ring = ring()?;
    let (fd, connect) = listener()?;
    submit(&mut ring, &[accept(fd, 0, 1)])?;
    for _ in 0..3 {
        connect()?;
        let c = must("wait", ring.wait())?;
        expect("a descriptor, MORE", (c.res > 2, c.flags & MORE), (true, MORE))?;
    }
    Ok(())
}

fn a_multishot_accept_ends_when_slots_run_out() -> Outcome {
    let mut ring = ring()?;
    let (fd, connect) = listener()?;
    must("register", ring.register_files(&[-1, -1]))?;
    submit(&mut ring, &[accept(fd, u32::MAX, 1)])?;
    for (res, more) in [(0, MORE), (1, MORE), (-ENFILE, 0)] {
        connect()?;
        let c = must("wait", ring.wait())?;
        expect("slot, MORE", (c.res, c.flags & MORE), (res, more))?;
    }
    Ok(())
}

fn an_overflow_ends_a_multishot_accept() -> Outcome {
    let mut ring = small_cq(2)?;
    let (fd, connect) = listener()?;
    submit(&mut ring, &[accept(fd, 0, 3)])?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    connect()?;
    until("the overflow", || ring.sq_flags() & CQ_OVERFLOW != 0)?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    let c = must("wait", ring.wait())?;
    expect("a descriptor, no MORE", (c.res > 2, c.flags & MORE), (true, 0))
}

fn a_cancelled_multishot_accept_ends() -> Outcome {
    let mut ring = ring()?;
    let (fd, _connect) = listener()?;
    submit(&mut ring, &[accept(fd, 0, 1)])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(1, -ECANCELED), (2, 0)])
}

fn a_multishot_accept_takes_all_there_are() -> Outcome {
    let defers = (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits();
    for (flags, nonblock) in
        [(0, 0), (0, libc::O_NONBLOCK), (defers, 0), (defers, libc::O_NONBLOCK)]
    {
        let mut ring = with(64, flags)?;
        let (fd, connect) = listener()?;
        let own = must("F_GETFL", os::fcntl(fd, libc::F_GETFL, 0))?;
        must("F_SETFL", os::fcntl(fd, libc::F_SETFL, own | nonblock))?;
        for _ in 0..3 {
            connect()?;
        }
        submit(&mut ring, &[accept(fd, 0, 1)])?;
        for left in [true, true, false] {
            let c = must("wait", ring.wait())?;
            expect(
                "a descriptor, flags",
                (c.res > 2, c.flags),
                (true, MORE | u32::from(left) << 2),
            )?;
        }
        connect()?;
        expect("one more", next(&ring)?.1, true)?;
        submit(&mut ring, &[cancel(1, 0, 2)])?;
        ends_all(&ring, &[(1, -ECANCELED), (2, 0)])?;
    }
    Ok(())
}

fn a_multishot_accept_that_must_not_wait_ends() -> Outcome {
    let mut ring = ring()?;
    let (fd, connect) = listener()?;
    connect()?;
    submit(&mut ring, &[Sqe { ioprio: ACCEPT_MULTISHOT | 2, ..accept(fd, 0, 1) }])?;
    expect("a descriptor, MORE", next(&ring)?.1, true)?;
    expect("the end", next(&ring)?, (-libc::EAGAIN, false))
}

fn a_multishot_accept_chooses_its_slots() -> Outcome {
    let mut ring = ring()?;
    let (fd, _connect) = listener()?;
    must("register", ring.register_files(&[-1, -1]))?;
    res(&mut ring, accept(fd, 1, 1), -EINVAL)
}

fn a_multishot_accept_goes_on_after_a_worker() -> Outcome {
    let mut ring = ring()?;
    let (fd, connect) = listener()?;
    res(&mut ring, flagged(accept(file(b"x")?, 0, 9), ASYNC), -libc::EBADFD)?;
    let (r, w) = pipe()?;
    submit(&mut ring, &[flagged(accept(r, 0, 8), ASYNC)])?;
    waits(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(8, -ENOTSOCK)])?;
    submit(&mut ring, &[flagged(accept(fd, 0, 1), ASYNC)])?;
    for _ in 0..3 {
        waits(&ring)?;
        connect()?;
        let (fd, more) = next(&ring)?;
        expect("a descriptor, MORE", (fd > 2, more), (true, true))?;
    }
    Ok(())
}

fn recv(fd: i32, cap: u32, ud: u64) -> Sqe {
    let recv = rw(op::RECV, fd, 0, 0, 0, ud);
    Sqe { ioprio: RECV_MULTISHOT, file_index: cap, ..select(recv, 1) }
}

/// The next completion: result, whether MORE.
fn next(ring: &Ring) -> Res<(i32, bool)> {
    let c = must("wait", ring.wait())?;
    Ok((c.res, c.flags & MORE != 0))
}

fn receiving(flags: u8, buffers: u16, cap: u32) -> Res<(Ring, BufRing, i32)> {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..buffers).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[flagged(recv(a, cap, 1), flags)])?;
    Ok((ring, group, b))
}

fn a_multishot_recv_ends_with_the_stream() -> Outcome {
    let (ring, _group, b) = receiving(0, 8, 0)?;
    for _ in 0..3 {
        put(b, b"abc")?;
        expect("a piece", next(&ring)?, (3, true))?;
    }
    close(b)?;
    expect("the end", next(&ring)?, (0, false))
}

fn a_multishot_recv_ends_without_buffers() -> Outcome {
    let (ring, _group, b) = receiving(0, 1, 0)?;
    put(b, b"abc")?;
    expect("a piece", next(&ring)?, (3, true))?;
    put(b, b"def")?;
    expect("no buffer", next(&ring)?, (-ENOBUFS, false))
}

fn a_multishot_recv_has_a_total_cap() -> Outcome {
    let (ring, _group, b) = receiving(0, 8, 5)?;
    put(b, b"abc")?;
    expect("a piece", next(&ring)?, (3, true))?;
    put(b, b"def")?;
    let (n, more) = next(&ring)?;
    expect("the last", (n > 0, more), (true, false))
}

fn an_overflow_ends_a_multishot_recv() -> Outcome {
    let (mut ring, (a, b)) = (small_cq(2)?, pair()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..8).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[recv(a, 0, 3)])?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    put(b, b"abc")?;
    until("the overflow", || ring.sq_flags() & CQ_OVERFLOW != 0)?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    let c = must("wait", ring.wait())?;
    expect("length, flags", (c.res, c.flags & (MORE | BUFFER)), (3, BUFFER))
}

fn a_multishot_recv_works_on_a_worker() -> Outcome {
    let (ring, _group, b) = receiving(ASYNC, 8, 0)?;
    for _ in 0..2 {
        put(b, b"abc")?;
        expect("a piece", next(&ring)?, (3, true))?;
    }
    Ok(())
}

fn a_multishot_accept_behind_a_drain_waits_first() -> Outcome {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    submit(&mut ring, &[flagged(nop(1), DRAIN), accept(r, 0, 2)])?;
    ends(&ring, &[(1, 0)])?;
    waits(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(2, -ENOTSOCK)])
}

fn a_multishot_on_a_worker_is_timed_from_its_first_event() -> Outcome {
    let (mut ring, (l, connect), (s, t), (r, w)) = (ring()?, listener()?, pair()?, pipe()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    group.add(0, 16);
    group.add(1, 16);
    let happens: [(Sqe, &dyn Fn() -> Outcome); 3] = [
        (accept(l, 0, 1), &connect),
        (recv(s, 0, 1), &|| put(t, b"abc")),
        (read_multi(r, 1), &|| put(w, b"abc")),
    ];
    for (sqe, event) in happens {
        let (soon, later) = (after(MS), after(30 * MS));
        let timed = Sqe { flags: sqe.flags | ASYNC | LINK, ..sqe };
        submit(&mut ring, &[timed, link_timeout(&soon, 2), timeout(&later, 0, 3)])?;
        ends(&ring, &[(3, -ETIME)])?;
        event()?;
        let first = must("wait", ring.wait())?;
        expect("the first", (first.user_data, first.flags & MORE), (1, MORE))?;
        ends_all(&ring, &[(1, -ECANCELED), (2, -ETIME)])?;
    }
    Ok(())
}

fn a_multishot_poll_works_on_a_worker() -> Outcome {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    submit(&mut ring, &[flagged(poll_multi(r, IN, 1), ASYNC)])?;
    // Before the poll is armed a wake-up may be seen as readiness: one at a time.
    for _ in 0..2 {
        put(w, b"x")?;
        ends_flags(&ring, &[(1, IN as i32, MORE)])?;
    }
    Ok(())
}

fn a_total_cap_needs_a_multishot() -> Outcome {
    let ((a, _b), buf) = (pair()?, Buf::new(16));
    let sqe = Sqe { file_index: 5, ..rw(op::RECV, a, buf.addr(), 16, 0, 1) };
    res(&mut ring()?, sqe, -EINVAL)
}

fn read_multi(fd: i32, ud: u64) -> Sqe {
    select(rw(49, fd, 0, 0, 0, ud), 1)
}

fn reading(buffers: u16) -> Res<(Ring, BufRing, i32)> {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    put(w, b"twenty bytes of data")?;
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..buffers).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[read_multi(r, 1)])?;
    Ok((ring, group, w))
}

fn a_multishot_read_ends_with_the_stream() -> Outcome {
    let (ring, _group, w) = reading(8)?;
    expect("a piece", next(&ring)?, (16, true))?;
    expect("the rest", next(&ring)?, (4, true))?;
    close(w)?;
    expect("the end", next(&ring)?, (0, false))
}

fn a_multishot_read_ends_without_buffers() -> Outcome {
    let (ring, _group, _w) = reading(1)?;
    expect("a piece", next(&ring)?, (16, true))?;
    expect("no buffer", next(&ring)?, (-ENOBUFS, false))
}

fn a_multishot_read_without_a_buffer_waits_for_bytes() -> Outcome {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    group.add(0, 16);
    submit(&mut ring, &[read_multi(r, 1)])?;
    put(w, b"abc")?;
    expect("a piece", next(&ring)?, (3, true))?;
    waits(&ring)?;
    put(w, b"def")?;
    expect("no buffer", next(&ring)?, (-ENOBUFS, false))
}

fn a_multishot_read_needs_a_file_to_poll() -> Outcome {
    let mut ring = ring()?;
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    group.add(0, 16);
    res(&mut ring, read_multi(file(b"abc")?, 1), -libc::EBADFD)
}

fn a_linked_timeout_waits_for_a_multishot_on_a_worker() -> Outcome {
    let ((r, w), (a, b), (listener, connect)) = (pipe()?, pair()?, listener()?);
    let mut ring = ring()?;
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..4).for_each(|id| group.add(id, 16));
    let ts = after(MS);
    let mut starts = |sqe: Sqe, arrives: &dyn Fn() -> Outcome| {
        submit(&mut ring, &[flagged(sqe, ASYNC | LINK), link_timeout(&ts, 2)])?;
        waits(&ring)?;
        arrives()?;
        let shot = next(&ring)?;
        expect("something, MORE", (shot.0 > 0, shot.1), (true, true))?;
        ends_all(&ring, &[(1, -ECANCELED), (2, -ETIME)])
    };
    starts(read_multi(r, 1), &|| put(w, b"x"))?;
    starts(recv(a, 0, 1), &|| put(b, b"x"))?;
    starts(accept(listener, 0, 1), &|| connect().map(drop))
}

/// RECVMSG multishot with an area for a name of 8 bytes and for 16 of control.
fn recvmsg(buffer: u32, payload: &[u8]) -> Res<(Cqe, BufRing)> {
    let mut ring = ring()?;
    let (a, b) = must("socketpair", os::socketpair(libc::SOCK_DGRAM))?;
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    group.add(0, buffer);
    // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags.
    let msg = u64s(&[0, 8, 0, 0, 0, 16, 0]);
    let recv = Sqe { ioprio: RECV_MULTISHOT, ..select(rw(10, a, msg.addr(), 1, 0, 1), 1) };
    submit(&mut ring, &[recv])?;
    put(b, payload)?;
    Ok((must("wait", ring.wait())?, group))
}

fn a_multishot_recvmsg_writes_a_header() -> Outcome {
    let (c, group) = recvmsg(64, b"abc")?;
    expect("length, MORE", (c.res, c.flags & MORE), (16 + 8 + 16 + 3, MORE))?;
    expect("name, control", group.data.get64(0), 0)?;
    expect("payload, flags", group.data.get64(8), 3)?;
    expect("the bytes", group.data.get(40, 3), b"abc".to_vec())
}

fn a_buffer_too_small_for_the_header_is_efault() -> Outcome {
    let (c, _group) = recvmsg(20, b"abc")?;
    expect("result, MORE", (c.res, c.flags & MORE), (-EFAULT, 0))
}

fn a_send_bundle_ends_without_buffers() -> Outcome {
    let (mut ring, (a, _b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (0..2).for_each(|id| group.add(id, 64));
    let send = Sqe { ioprio: 16, ..select(rw(op::SEND, a, 0, 0, 0, 1), 1) };
    submit(&mut ring, &[send])?;
    expect("all of them", next(&ring)?, (128, false))?;
    no_more(&mut ring)
}
