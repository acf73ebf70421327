//! Section 3.11: when a provided buffer is taken, kept and given back.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.11",
        the_end_of_a_pipe_takes_a_buffer,
        "A READ at the end of a pipe takes a buffer of a ring, and one that is used bit by bit takes nothing of it."
    ),
    claim!(
        "3.11",
        a_failed_read_of_a_pipe_takes_nothing,
        "EFAULT of a READ of a pipe leaves a ring's buffer, EFAULT of a file takes it."
    ),
    claim!(
        "3.11",
        a_buffer_beyond_user_space_cannot_be_used,
        "A buffer that ends beyond user space, and one at address 0, is refused without a call."
    ),
    claim!(
        "3.11",
        a_readv_selects_by_its_one_iovec,
        "READV with BUFFER_SELECT takes the length of its one iovec; none and two are EINVAL, a bad one EFAULT."
    ),
    claim!(
        "3.11",
        a_short_read_into_a_provided_buffer_breaks_a_link,
        "A READ that fills less than the buffer that was selected breaks its chain, a RECV does not."
    ),
    claim!(
        "3.11",
        a_file_takes_all_of_an_incremental_buffer,
        "A READ of a regular file takes as much of an incremental buffer as it asked for, whatever it read."
    ),
    claim!(
        "3.11",
        an_incremental_buffer_ends_with_little_left,
        "With `min_left` a buffer in which less is left is used up; without INC it is EINVAL."
    ),
    claim!(
        "3.11",
        a_list_has_room_for_65535,
        "A list takes 65,535 buffers, then none: EOVERFLOW; a number over 65,536 is E2BIG."
    ),
    claim!(
        "3.11",
        a_listed_buffer_goes_back_to_the_front,
        "A listed buffer that a pending RECV gives back is the next one that is taken."
    ),
    claim!(
        "3.11",
        a_receive_of_all_keeps_its_buffer,
        "RECV with MSG_WAITALL that got a part keeps its buffer: the rest goes behind it."
    ),
    claim!(
        "3.11",
        a_send_takes_its_buffer_when_it_is_tried,
        "A SEND that waits has its buffer, of a ring and of a list; a cancel reports it."
    ),
    claim!(
        "3.11",
        a_send_uses_all_of_a_listed_buffer,
        "SEND from a ring takes its own length, from a list the buffer's."
    ),
    claim!(
        "3.11",
        a_send_that_fails_takes_its_buffer,
        "A SEND that fails with EPIPE reports its buffer; no socket takes none."
    ),
    claim!(
        "3.11",
        a_receive_on_a_worker_takes_its_buffer,
        "RECV with IOSQE_ASYNC that waits has taken a buffer of a ring, and has given one of a list back."
    ),
    claim!(
        "3.11",
        a_group_can_be_any,
        "Groups 0, 2047 and 65535 are groups as any; one over is none."
    ),
    claim!(
        "3.11",
        a_buffer_ring_of_65536_times_goes_on,
        "Head and tail of a ring go round: the buffer after 65,535 is the one after."
    ),
    claim!(
        "3.12",
        a_multishot_recv_takes_so_much_at_most,
        "`len` of a multishot RECV is the most of one receive."
    ),
    claim!(
        "3.12",
        a_multishot_recv_goes_on_when_its_group_is_gone,
        "A multishot RECV whose group was unregistered ends with ENOBUFS when something comes."
    ),
    claim!(
        "3.12",
        a_multishot_recv_empties_a_queue_of_datagrams,
        "A multishot RECV takes what datagrams are there, one a completion; an empty one ends it."
    ),
    claim!(
        "3.12",
        a_multishot_recv_tells_each_piece_with_skip,
        "IOSQE_CQE_SKIP_SUCCESS hides no piece of a multishot RECV."
    ),
    claim!(
        "3.12",
        a_cancelled_multishot_recv_ends,
        "A multishot RECV that is cancelled ends with ECANCELED and no buffer."
    ),
    claim!(
        "3.12",
        a_multishot_read_looks_once_at_submission,
        "READ_MULTISHOT that emptied the pipe with its last buffer waits; what comes then is ENOBUFS."
    ),
    claim!(
        "3.12",
        a_multishot_receive_outlives_many_pieces,
        "More than 32 pieces that are there at once are all received, by sockets of which each has some."
    ),
];

/// A completion's result, buffer flags and id.
fn of_buffer(c: Cqe) -> (i32, u32, u32) {
    (c.res, c.flags & (BUFFER | BUF_MORE), c.flags >> 16)
}

fn one(ring: &mut Ring, sqe: Sqe) -> Res<(i32, u32, u32)> {
    must("one", ring.one(sqe)).map(of_buffer)
}

fn next(ring: &Ring) -> Res<(i32, u32, u32)> {
    must("wait", ring.wait()).map(of_buffer)
}

fn recv(fd: i32, len: u32, ud: u64) -> Sqe {
    select(rw(op::RECV, fd, 0, len, 0, ud), 1)
}

fn send(fd: i32, len: u32, ud: u64) -> Sqe {
    select(rw(op::SEND, fd, 0, len, 0, ud), 1)
}

fn multi(fd: i32, len: u32, ud: u64) -> Sqe {
    Sqe { ioprio: 2, ..recv(fd, len, ud) }
}

fn unregister(ring: &Ring, group: u64) -> Outcome {
    let arg = u64s(&[0, group << 32, 0, 0, 0]);
    expect("unregister", ring.register(23, arg.addr(), 1), Ok(0))
}

fn provide(ring: &mut Ring, data: &Buf, len: u32, n: i32) -> Outcome {
    res(ring, Sqe { buf_index: 1, ..rw(31, n, data.addr(), len, 0, 0xfee) }, 0)
}

/// How many are in the list, which has none afterwards.
fn left(ring: &mut Ring) -> Res<i32> {
    let all = Sqe { buf_index: 1, ..of_fd(32, 65_536, 0xfee) };
    Ok(must("remove", ring.one(all))?.res)
}

fn the_end_of_a_pipe_takes_a_buffer() -> Outcome {
    for (flags, bits, head) in [(0, BUFFER, 1), (2, BUFFER | BUF_MORE, 0)] {
        let (mut ring, (r, w)) = (ring()?, pipe()?);
        let mut group = BufRing::new(&ring, 1, 4, flags)?;
        group.add(3, 16);
        close(w)?;
        expect("the end", one(&mut ring, select(read(r, 0, 16, 0, 1), 1))?, (0, bits, 3))?;
        expect("the head", group.head(&ring)?, head)?;
    }
    Ok(())
}

fn a_failed_read_of_a_pipe_takes_nothing() -> Outcome {
    let (mut ring, (r, w), f) = (ring()?, pipe()?, file(b"abcd")?);
    put(w, b"abcd")?;
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    group.add_at(4096, 5, 16);
    expect("a pipe", one(&mut ring, select(read(r, 0, 16, 0, 1), 1))?, (-EFAULT, 0, 0))?;
    expect("the head", group.head(&ring)?, 0)?;
    expect("a file", one(&mut ring, select(read(f, 0, 16, 0, 2), 1))?, (-EFAULT, BUFFER, 5))?;
    expect("the head", group.head(&ring)?, 1)
}

fn a_buffer_beyond_user_space_cannot_be_used() -> Outcome {
    let (mut ring, (r, _w), f) = (ring()?, pipe()?, file(b"abcd")?);
    let ((a, _b), mut group) = (pair()?, BufRing::new(&ring, 1, 8, 0)?);
    group.add_at(1 << 63, 5, 16);
    expect("a pipe", one(&mut ring, select(read(r, 0, 16, 0, 1), 1))?, (-EFAULT, 0, 0))?;
    expect("a socket", one(&mut ring, recv(a, 16, 2))?, (-EFAULT, 0, 0))?;
    expect("the head", group.head(&ring)?, 0)?;
    expect("a file", one(&mut ring, select(read(f, 0, 16, 0, 3), 1))?, (-EFAULT, BUFFER, 5))?;
    group.add_at(0, 6, 16);
    expect("a pipe", one(&mut ring, select(read(r, 0, 16, 0, 4), 1))?, (-ENOBUFS, 0, 0))?;
    expect("a socket", one(&mut ring, recv(a, 16, 5))?, (-ENOBUFS, 0, 0))?;
    expect("a file", one(&mut ring, select(read(f, 0, 16, 0, 6), 1))?, (-ENOBUFS, BUFFER, 6))
}

fn a_readv_selects_by_its_one_iovec() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"abcdefgh")?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (0..2).for_each(|id| group.add(id, 16));
    let iovec = u64s(&[0, 5, 0, 0]);
    let readv = |at: u64, n: u32| select(rw(op::READV, f, at, n, 0, 1), 1);
    expect("none", one(&mut ring, readv(iovec.addr(), 0))?.0, -EINVAL)?;
    expect("two", one(&mut ring, readv(iovec.addr(), 2))?.0, -EINVAL)?;
    expect("nowhere", one(&mut ring, readv(16, 1))?.0, -EFAULT)?;
    expect("one", one(&mut ring, readv(iovec.addr(), 1))?, (5, BUFFER, 0))?;
    iovec.put64(8, 0);
    expect("of no length", one(&mut ring, readv(iovec.addr(), 1))?, (8, BUFFER, 1))
}

fn a_short_read_into_a_provided_buffer_breaks_a_link() -> Outcome {
    let (mut ring, f, (a, b)) = (ring()?, file(b"abcd")?, pair()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (0..3).for_each(|id| group.add(id, 16));
    let linked = |sqe| flagged(sqe, LINK);
    runs(&mut ring, &[linked(select(read(f, 0, 4, 0, 1), 1)), nop(2)], &[(1, 4), (2, 0)])?;
    let short = select(read(f, 0, 0, 0, 1), 1);
    runs(&mut ring, &[linked(short), nop(2)], &[(1, 4), (2, -ECANCELED)])?;
    put(b, b"abcd")?;
    runs(&mut ring, &[linked(recv(a, 0, 1)), nop(2)], &[(1, 4), (2, 0)])
}

fn a_file_takes_all_of_an_incremental_buffer() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"abcd")?);
    let mut group = BufRing::new(&ring, 1, 4, 2)?;
    group.add(0, 60);
    let more = BUFFER | BUF_MORE;
    expect("of 32", one(&mut ring, select(read(f, 0, 32, 0, 1), 1))?, (4, more, 0))?;
    expect("of 20", one(&mut ring, select(read(f, 0, 20, 0, 2), 1))?, (4, more, 0))?;
    expect("where", group.data.get(32, 4), b"abcd".to_vec())?;
    expect("of the rest", one(&mut ring, select(read(f, 0, 0, 0, 3), 1))?, (4, BUFFER, 0))?;
    expect("the head", group.head(&ring)?, 1)
}

fn an_incremental_buffer_ends_with_little_left() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mem = Buf::new(4096);
    let arg = u64s(&[mem.addr(), 4 | 1 << 32, 20, 0, 0]);
    fails("without INC", ring.register(22, arg.addr(), 1), EINVAL)?;
    let mut group = BufRing::with(&ring, 1, 4, 2, 20)?;
    (0..2).for_each(|id| group.add(id, 60));
    put(b, &[7; 64])?;
    let more = BUFFER | BUF_MORE;
    expect("40 left", one(&mut ring, recv(a, 20, 1))?, (20, more, 0))?;
    expect("20 left", one(&mut ring, recv(a, 20, 2))?, (20, more, 0))?;
    expect("19 left", one(&mut ring, recv(a, 1, 3))?, (1, BUFFER, 0))?;
    expect("the head", group.head(&ring)?, 1)?;
    expect("the next", one(&mut ring, recv(a, 1, 4))?, (1, more, 1))
}

fn a_list_has_room_for_65535() -> Outcome {
    let (mut ring, data) = (ring()?, Buf::new(4096));
    let give = |n: i32, ud| Sqe { buf_index: 1, ..rw(31, n, data.addr(), 1, 0, ud) };
    res(&mut ring, give(65_537, 1), -libc::E2BIG)?;
    res(&mut ring, give(65_530, 2), 0)?;
    res(&mut ring, give(100, 3), 0)?;
    res(&mut ring, give(1, 4), -EOVERFLOW)?;
    expect("how many", left(&mut ring)?, 65_535)
}

fn a_listed_buffer_goes_back_to_the_front() -> Outcome {
    let (mut ring, (a, b), data) = (ring()?, pair()?, Buf::new(4096));
    provide(&mut ring, &data, 4, 2)?;
    submit(&mut ring, &[recv(a, 4, 1)])?;
    pending(&ring)?;
    let (c, d) = pair()?;
    put(d, b"wxyz")?;
    expect("the front", one(&mut ring, recv(c, 4, 2))?, (4, BUFFER, 0))?;
    put(b, b"abcd")?;
    expect("the next", next(&ring)?, (4, BUFFER, 1))
}

fn a_receive_of_all_keeps_its_buffer() -> Outcome {
    for listed in [false, true] {
        let (mut ring, (a, b), data) = (ring()?, pair()?, Buf::new(4096));
        let mut group = None;
        if listed {
            provide(&mut ring, &data, 8, 2)?;
        } else {
            let group = group.insert(BufRing::new(&ring, 1, 4, 0)?);
            (0..2).for_each(|id| group.add(id, 8));
        }
        put(b, b"abcd")?;
        let all = Sqe { op_flags: libc::MSG_WAITALL as u32, ..recv(a, 0, 1) };
        submit(&mut ring, &[all])?;
        pending(&ring)?;
        if let Some(group) = &group {
            expect("the head", group.head(&ring)?, 1)?;
        }
        put(b, b"efgh")?;
        expect("all of it", next(&ring)?, (8, BUFFER, 0))?;
        let bytes = group.as_ref().map_or(&data, |g| &g.data).get(0, 8);
        expect("the bytes", bytes, b"abcdefgh".to_vec())?;
    }
    Ok(())
}

/// A socket whose queue is full, and its other end.
fn full(ring: &mut Ring) -> Res<(i32, i32)> {
    let ((a, b), data) = (pair()?, Buf::new(4096));
    let now = libc::MSG_DONTWAIT as u32;
    let send = Sqe { op_flags: now, ..rw(op::SEND, a, data.addr(), 4096, 0, 1) };
    while must("send", ring.one(send))?.res > 0 {}
    Ok((a, b))
}

fn a_send_takes_its_buffer_when_it_is_tried() -> Outcome {
    let mut ring = ring()?;
    let (a, _b) = full(&mut ring)?;
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (4..6).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[send(a, 16, 1)])?;
    pending(&ring)?;
    expect("the head", group.head(&ring)?, 1)?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    let all = wait_for(&ring, 2)?;
    let c = all.iter().find(|c| c.user_data == 1).ok_or("no completion")?;
    expect("of a ring", of_buffer(*c), (-ECANCELED, BUFFER, 4))?;
    unregister(&ring, 1)?;
    let data = Buf::new(4096);
    provide(&mut ring, &data, 4, 2)?;
    submit(&mut ring, &[send(a, 4, 1)])?;
    pending(&ring)?;
    expect("the list", left(&mut ring)?, 1)?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    let all = wait_for(&ring, 2)?;
    let c = all.iter().find(|c| c.user_data == 1).ok_or("no completion")?;
    expect("of a list", of_buffer(*c), (-ECANCELED, BUFFER, 0))
}

fn a_send_uses_all_of_a_listed_buffer() -> Outcome {
    let (mut ring, (a, _b), data) = (ring()?, pair()?, Buf::new(4096));
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    group.add(0, 16);
    expect("of a ring", one(&mut ring, send(a, 5, 1))?, (5, BUFFER, 0))?;
    unregister(&ring, 1)?;
    provide(&mut ring, &data, 16, 1)?;
    expect("of a list", one(&mut ring, send(a, 5, 2))?, (16, BUFFER, 0))
}

fn a_send_that_fails_takes_its_buffer() -> Outcome {
    let (mut ring, (a, b), (r, _w)) = (ring()?, pair()?, pipe()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (0..2).for_each(|id| group.add(id, 16));
    close(b)?;
    expect("no socket", one(&mut ring, send(r, 16, 1))?, (-ENOTSOCK, 0, 0))?;
    expect("nobody there", one(&mut ring, send(a, 16, 2))?, (-EPIPE, BUFFER, 0))?;
    expect("the head", group.head(&ring)?, 1)
}

fn a_receive_on_a_worker_takes_its_buffer() -> Outcome {
    let (mut ring, (a, b), data) = (ring()?, pair()?, Buf::new(4096));
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    group.add(7, 16);
    submit(&mut ring, &[flagged(recv(a, 16, 1), ASYNC)])?;
    until("a worker took the buffer", || group.head(&ring) == Ok(1))?;
    put(b, b"abc")?;
    expect("of a ring", next(&ring)?, (3, BUFFER, 7))?;
    unregister(&ring, 1)?;
    provide(&mut ring, &data, 4, 1)?;
    submit(&mut ring, &[flagged(recv(a, 4, 1), ASYNC)])?;
    waits(&ring)?;
    expect("the list", left(&mut ring)?, 1)
}

fn a_group_can_be_any() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    put(b, b"abc")?;
    for id in [0u16, 2047, 65_535] {
        let mut group = BufRing::new(&ring, id, 4, 0)?;
        group.add(id % 8, 16);
        let c = must("one", ring.one(select(rw(op::RECV, a, 0, 1, 0, 1), id)))?;
        expect("one byte", of_buffer(c), (1, BUFFER, u32::from(id % 8)))?;
        expect("the head", group.head(&ring)?, 1)?;
    }
    let arg = u64s(&[65_536, 0, 0, 0, 0]);
    fails("one over", ring.register(26, arg.addr(), 1), ENOENT)
}

fn a_buffer_ring_of_65536_times_goes_on() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"abcd")?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    for n in 0..65_540u32 {
        group.add((n % 4) as u16, 16);
        ring.push(select(read(f, 0, 4, 0, 1), 1));
        if n % 4 == 3 {
            must("submit", ring.submit(0))?;
            for id in 0..4 {
                expect("one", next(&ring)?, (4, BUFFER, id))?;
            }
        }
    }
    expect("the head", group.head(&ring)?, 4)
}

fn a_multishot_recv_takes_so_much_at_most() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..8).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[multi(a, 5, 1)])?;
    put(b, b"abcdefgh")?;
    for (n, id) in [(5, 0), (3, 1)] {
        expect("a piece", next(&ring)?, (n, BUFFER, id))?;
    }
    Ok(())
}

fn a_multishot_recv_goes_on_when_its_group_is_gone() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..2).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[multi(a, 0, 1)])?;
    put(b, b"abc")?;
    expect("a piece", next(&ring)?, (3, BUFFER, 0))?;
    unregister(&ring, 1)?;
    waits(&ring)?;
    put(b, b"abc")?;
    let c = must("wait", ring.wait())?;
    expect("the end", (c.res, c.flags), (-ENOBUFS, 0))
}

fn a_multishot_recv_empties_a_queue_of_datagrams() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = must("socketpair", os::socketpair(libc::SOCK_DGRAM))?;
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..8).for_each(|id| group.add(id, 16));
    put(b, b"abc")?;
    put(b, b"d")?;
    submit(&mut ring, &[multi(a, 0, 1)])?;
    for (n, id) in [(3, 0), (1, 1)] {
        let c = must("wait", ring.wait())?;
        expect("a datagram", (of_buffer(c), c.flags & MORE), ((n, BUFFER, id), MORE))?;
    }
    put(b, b"")?;
    let c = must("wait", ring.wait())?;
    expect("an empty one", (c.res, c.flags), (0, 0))
}

fn a_multishot_recv_tells_each_piece_with_skip() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..8).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[flagged(multi(a, 0, 1), SKIP)])?;
    for id in 0..2 {
        put(b, b"abc")?;
        expect("a piece", next(&ring)?, (3, BUFFER, id))?;
    }
    close(b)?;
    no_more(&mut ring)
}

fn a_cancelled_multishot_recv_ends() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..8).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[multi(a, 0, 1)])?;
    put(b, b"abc")?;
    expect("a piece", next(&ring)?, (3, BUFFER, 0))?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    let all = wait_for(&ring, 2)?;
    let c = all.iter().find(|c| c.user_data == 1).ok_or("no completion")?;
    expect("the end", (c.res, c.flags), (-ECANCELED, 0))?;
    expect("the head", group.head(&ring)?, 1)
}

fn a_multishot_read_looks_once_at_submission() -> Outcome {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    put(w, b"abc")?;
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    group.add(0, 16);
    submit(&mut ring, &[select(rw(49, r, 0, 0, 0, 1), 1)])?;
    let c = must("wait", ring.wait())?;
    expect("a piece", (c.res, c.flags & MORE), (3, MORE))?;
    waits(&ring)?;
    put(w, b"abc")?;
    let c = must("wait", ring.wait())?;
    expect("no buffer", (c.res, c.flags), (-ENOBUFS, 0))
}

fn a_multishot_receive_outlives_many_pieces() -> Outcome {
    const PIECES: usize = 100;
    let mut ring = with(256, 0)?;
    let mut group = BufRing::new(&ring, 1, 256, 0)?;
    (0..200).for_each(|id| group.add(id, 1));
    let pairs = [pair()?, pair()?];
    for (_, b) in pairs {
        put(b, &[1; PIECES])?;
    }
    submit(&mut ring, &[multi(pairs[0].0, 0, 0), multi(pairs[1].0, 0, 1)])?;
    let mut counts = [0; 2];
    for c in wait_for(&ring, 2 * PIECES)? {
        expect("a piece", (c.res, c.flags & MORE), (1, MORE))?;
        counts[c.user_data as usize] += 1;
    }
    expect("each its own", counts, [PIECES; 2])
}
