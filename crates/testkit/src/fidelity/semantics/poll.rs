//! Sections 3.7 and 3.27: POLL_ADD, POLL_REMOVE, and a ring that is polled itself.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!("3.7", a_poll_answers_the_ready_mask, "A POLL_ADD ends with the events that hold."),
    claim!(
        "3.7",
        errors_and_hang_ups_need_not_be_asked_for,
        "ERR and HUP are reported whatever was asked for."
    ),
    claim!(
        "3.7",
        a_poll_of_a_bad_descriptor_is_ebadf,
        "POLL_ADD of a closed descriptor is EBADF, not POLLNVAL."
    ),
    claim!(
        "3.7",
        a_file_that_never_waits_is_ready_at_once,
        "A regular file and /dev/null complete a poll at once."
    ),
    claim!(
        "3.7",
        a_multishot_poll_of_such_a_file_is_one_shot,
        "A multishot poll of a regular file posts one completion without MORE."
    ),
    claim!(
        "3.7",
        a_multishot_poll_reports_each_wake_up,
        "A multishot poll posts a completion with MORE for each wake-up, and one at once if it is ready."
    ),
    claim!(
        "3.7",
        a_multishot_poll_reports_what_woke_it,
        "A multishot poll of a writable socket that data arrives at reports IN alone."
    ),
    claim!(
        "3.7",
        each_end_of_a_connection_is_told_what_woke_it,
        "Over TCP and AF_UNIX a multishot poll of IN and OUT tells arrivals alone, room alone, and the end \
         of the peer with all that holds."
    ),
    claim!(
        "3.7",
        a_multishot_poll_of_an_eventfd_tells_the_direction,
        "A multishot poll of IN and OUT of an eventfd tells IN for a write, OUT for a read."
    ),
    claim!(
        "3.7",
        a_multishot_poll_of_a_pipe_tells_its_end_with_what_holds,
        "A multishot poll of a pipe that can be read and written tells IN for a write, OUT for a read of a \
         full one."
    ),
    claim!(
        "3.7",
        a_multishot_poll_of_a_registered_file_tells_what_woke_it,
        "A multishot poll of a registered file tells as one of its descriptor, beside other requests on it."
    ),
    claim!(
        "3.7",
        an_updated_multishot_poll_tells_what_woke_it,
        "A multishot poll whose events were updated tells what holds once, then what woke it."
    ),
    claim!(
        "3.7",
        a_sockets_arrival_is_all_that_it_wakes_for,
        "A poll of a socket for IN and PRI that data wakes reports both; one that is ready reports what \
         holds."
    ),
    claim!(
        "3.7",
        a_poll_for_pri_alone_is_not_woken_by_data,
        "A poll of a socket for PRI alone stays for data, and for urgent data."
    ),
    claim!(
        "3.7",
        of_exclusive_polls_one_is_woken,
        "Of polls with EPOLLEXCLUSIVE a write wakes the one that was armed first; the hang-up ends all.",
        needs "POLL_EXCLUSIVE"
    ),
    claim!(
        "3.7",
        an_error_is_told_with_what_holds,
        "A multishot poll of a UDP socket whose peer is not there tells the error that its datagram brings, \
         and the room that the datagram leaves: what holds."
    ),
    claim!(
        "3.7",
        a_multishot_poll_stays_after_a_hang_up,
        "A multishot poll stays armed after HUP."
    ),
    claim!(
        "3.7",
        a_removed_multishot_poll_ends_without_more,
        "A multishot poll that is removed ends with ECANCELED without MORE."
    ),
    claim!(
        "3.7",
        a_poll_of_its_own_ring_is_one_shot,
        "A multishot poll of its own ring posts once, without MORE."
    ),
    claim!(
        "3.7",
        a_poll_of_another_ring_is_one_shot,
        "A multishot poll of another ring ends with the first completion there that woke it."
    ),
    claim!("3.7", level_polls_are_refused, "IORING_POLL_ADD_LEVEL is EINVAL."),
    claim!("3.7", a_poll_keeps_its_file_open, "Closing the descriptor does not end a poll."),
    claim!(
        "3.7",
        a_poll_removal_answers_0_and_cancels,
        "POLL_REMOVE answers 0, its target ECANCELED."
    ),
    claim!(
        "3.7",
        a_poll_removal_finds_nothing,
        "POLL_REMOVE of what is not there is ENOENT, of a pending read too."
    ),
    claim!(
        "3.7",
        an_update_changes_the_events,
        "An update of the events answers 0, and the poll goes by the new ones."
    ),
    claim!(
        "3.7",
        an_update_to_what_holds_ends_the_poll_at_once,
        "An updated poll completes at once if it is ready."
    ),
    claim!(
        "3.7",
        an_update_changes_the_user_data,
        "An update of user_data answers 0, and the poll completes under the new one."
    ),
    claim!(
        "3.7",
        an_update_keeps_the_kind_of_poll,
        "An update with MULTI does not make a one-shot poll a multishot."
    ),
    claim!(
        "3.7",
        exclusive_and_edge_bits_are_accepted,
        "EPOLLEXCLUSIVE and EPOLLET in the mask are accepted."
    ),
    claim!(
        "3.27",
        a_ring_is_readable_while_completions_are_there,
        "A ring polls IN and RDNORM while a completion is there."
    ),
    claim!("3.27", a_ring_is_readable_with_a_backlog, "A ring polls IN while a backlog is there."),
    claim!(
        "3.27",
        a_ring_is_writable_while_the_sq_has_room,
        "A ring polls OUT and WRNORM while the SQ is not full."
    ),
    claim!(
        "3.27",
        an_epoll_set_knows_whether_the_sq_has_room,
        "epoll sees a ring writable while the SQ is not full, as poll(2) does.",
        needs "EPOLL_SQ_FULL"
    ),
    claim!("3.27", a_ring_never_hangs_up, "A ring never polls HUP."),
    claim!(
        "3.27",
        each_posting_is_an_edge,
        "epoll with EPOLLET reports each posting, older completions unread."
    ),
    claim!("3.27", a_completion_wakes_epoll, "A completion wakes epoll_wait on the ring."),
    claim!(
        "3.27",
        deferred_work_is_readable_to_poll,
        "poll(2) of a DEFER_TASKRUN ring shows IN for work that is not posted yet."
    ),
    claim!(
        "3.27",
        deferred_work_that_was_done_is_not_readable,
        "When the owner has come and reaped in memory, the ring is not readable any more."
    ),
    claim!(
        "3.27",
        a_deferred_message_is_readable,
        "poll(2) of a DEFER_TASKRUN ring shows IN for a message that is not posted yet.",
        needs "MSG_RING"
    ),
    claim!(
        "3.27",
        deferred_work_is_readable_to_epoll,
        "epoll on a DEFER_TASKRUN ring shows IN for work that is not posted yet."
    ),
    claim!(
        "3.9",
        a_cancelled_poll_is_there_until_task_work_ends_it,
        "POLL_REMOVE of a poll that the same batch has cancelled is EALREADY."
    ),
    claim!(
        "3.8",
        of_polls_with_one_name_the_newest_goes_first,
        "POLL_REMOVE and ASYNC_CANCEL take the poll of a name that was armed last."
    ),
    claim!(
        "3.8",
        polls_are_cancelled_chain_by_chain,
        "A cancel of ANY ends polls in the order of their hashes, those of one hash newest first."
    ),
];

fn a_poll_answers_the_ready_mask() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), (a, b)) = (pipe()?, pair()?);
    res(&mut ring, poll_add(w, OUT, 1), OUT as i32)?;
    submit(&mut ring, &[poll_add(r, IN, 2)])?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(2, IN as i32)])?;
    put(b, b"x")?;
    res(&mut ring, poll_add(a, IN | OUT, 3), (IN | OUT) as i32)
}

fn errors_and_hang_ups_need_not_be_asked_for() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), (r2, w2)) = (pipe()?, pipe()?);
    submit(&mut ring, &[poll_add(r, 0, 1)])?;
    close(w)?;
    ends(&ring, &[(1, HUP as i32)])?;
    close(r2)?;
    res(&mut ring, poll_add(w2, 0, 2), i32::from(libc::POLLERR))
}

fn a_poll_of_a_bad_descriptor_is_ebadf() -> Outcome {
    res(&mut ring()?, poll_add(999, IN, 1), -EBADF)
}

fn a_file_that_never_waits_is_ready_at_once() -> Outcome {
    let mut ring = ring()?;
    let null = must("open", os::open("/dev/null", libc::O_RDWR))?;
    for fd in [file(b"x")?, null] {
        res(&mut ring, poll_add(fd, IN | OUT, 1), (IN | OUT) as i32)?;
    }
    Ok(())
}

fn a_multishot_poll_of_such_a_file_is_one_shot() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[poll_multi(file(b"x")?, IN, 1)])?;
    ends_flags(&ring, &[(1, IN as i32, 0)])?;
    res(&mut ring, at(op::POLL_REMOVE, 1, 2), -ENOENT)
}

fn a_multishot_poll_reports_each_wake_up() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    put(w, b"x")?;
    submit(&mut ring, &[poll_multi(r, IN, 1)])?;
    ends_flags(&ring, &[(1, IN as i32, MORE)])?;
    for _ in 0..3 {
        put(w, b"x")?;
        ends_flags(&ring, &[(1, IN as i32, MORE)])?;
    }
    Ok(())
}

fn a_multishot_poll_reports_what_woke_it() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = pair()?;
    submit(&mut ring, &[poll_multi(a, IN | OUT, 1)])?;
    ends_flags(&ring, &[(1, OUT as i32, MORE)])?;
    put(b, b"x")?;
    ends_flags(&ring, &[(1, IN as i32, MORE)])
}

/// A multishot poll of IN and OUT of a connection, told apart.
fn tells_apart(ring: &mut Ring, (a, b): (i32, i32)) -> Outcome {
    submit(ring, &[poll_multi(a, IN | OUT, 1)])?;
    ends_flags(ring, &[(1, OUT as i32, MORE)])?;
    for _ in 0..2 {
        put(b, b"x")?;
        ends_flags(ring, &[(1, IN as i32, MORE)])?;
    }
    must("shutdown", os::shutdown(b, libc::SHUT_WR))?;
    let end = IN | OUT | libc::POLLRDHUP as u32;
    ends_flags(ring, &[(1, end as i32, MORE)])?;
    submit(ring, &[at(op::POLL_REMOVE, 1, 2)])?;
    ends_all(ring, &[(1, -ECANCELED), (2, 0)])
}

fn each_end_of_a_connection_is_told_what_woke_it() -> Outcome {
    let mut ring = ring()?;
    tells_apart(&mut ring, pair()?)?;
    tells_apart(&mut ring, tcp()?)?;
    // Room, which the peer makes.
    let (a, b) = pair()?;
    put(a, b"x")?;
    submit(&mut ring, &[poll_multi(a, IN | OUT, 1)])?;
    ends_flags(&ring, &[(1, OUT as i32, MORE)])?;
    put(b, b"x")?;
    ends_flags(&ring, &[(1, IN as i32, MORE)])?;
    get(b)?;
    ends_flags(&ring, &[(1, OUT as i32, MORE)])?;
    close(b)?;
    let all = IN | OUT | HUP | libc::POLLRDHUP as u32;
    ends_flags(&ring, &[(1, all as i32, MORE)])
}

fn a_multishot_poll_of_an_eventfd_tells_the_direction() -> Outcome {
    let mut ring = ring()?;
    let event = must("eventfd", os::eventfd(0, 0))?;
    submit(&mut ring, &[poll_multi(event, IN | OUT, 1)])?;
    ends_flags(&ring, &[(1, OUT as i32, MORE)])?;
    for _ in 0..2 {
        put(event, &1u64.to_ne_bytes())?;
        ends_flags(&ring, &[(1, IN as i32, MORE)])?;
    }
    get(event)?;
    ends_flags(&ring, &[(1, OUT as i32, MORE)])
}

fn a_multishot_poll_of_a_pipe_tells_its_end_with_what_holds() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    let both = must("reopen", os::open(&format!("/proc/self/fd/{r}"), libc::O_RDWR))?;
    submit(&mut ring, &[poll_multi(both, IN | OUT, 1)])?;
    ends_flags(&ring, &[(1, OUT as i32, MORE)])?;
    for _ in 0..2 {
        put(w, b"x")?;
        ends_flags(&ring, &[(1, IN as i32, MORE)])?;
    }
    submit(&mut ring, &[at(op::POLL_REMOVE, 1, 2)])?;
    ends_all(&ring, &[(1, -ECANCELED), (2, 0)])
}

fn a_multishot_poll_of_a_registered_file_tells_what_woke_it() -> Outcome {
    let mut ring = ring()?;
    let ((a, b), buf) = (pair()?, Buf::new(8));
    must("FILES", ring.register_files(&[a]))?;
    let fixed = |s: Sqe| flagged(Sqe { fd: 0, ..s }, FIXED);
    // The file is watched for others already, and was told ready.
    submit(&mut ring, &[fixed(read(0, buf.addr(), 8, 0, 9))])?;
    put(b, b"y")?;
    ends(&ring, &[(9, 1)])?;
    submit(&mut ring, &[fixed(poll_multi(0, IN | OUT, 1)), fixed(poll_multi(0, IN, 2))])?;
    ends_flags(&ring, &[(1, OUT as i32, MORE)])?;
    put(b, b"x")?;
    let mut both = wait_for(&ring, 2)?;
    both.sort_unstable_by_key(|c| c.user_data);
    let both: Vec<_> = both.iter().map(|c| (c.user_data, c.res, c.flags)).collect();
    expect("woken", both, vec![(1, IN as i32, MORE), (2, IN as i32, MORE)])?;
    no_more(&mut ring)
}

fn an_updated_multishot_poll_tells_what_woke_it() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = pair()?;
    submit(&mut ring, &[poll_multi(a, IN, 1)])?;
    submit(&mut ring, &[update(1, 2, IN | OUT, 0, 2)])?;
    ends_all(&ring, &[(1, OUT as i32), (2, 0)])?;
    put(b, b"x")?;
    ends_flags(&ring, &[(1, IN as i32, MORE)])
}

const PRI: u32 = libc::POLLPRI as u32;

fn a_sockets_arrival_is_all_that_it_wakes_for() -> Outcome {
    let mut ring = ring()?;
    for (a, b) in [pair()?, tcp()?] {
        submit(&mut ring, &[poll_add(a, IN | PRI, 1)])?;
        pending(&ring)?;
        put(b, b"x")?;
        ends(&ring, &[(1, (IN | PRI) as i32)])?;
        res(&mut ring, poll_add(a, IN | PRI, 2), IN as i32)?;
        submit(&mut ring, &[poll_multi(a, IN | OUT | PRI, 3)])?;
        ends_flags(&ring, &[(3, (IN | OUT) as i32, MORE)])?;
        put(b, b"x")?;
        ends_flags(&ring, &[(3, (IN | PRI) as i32, MORE)])?;
    }
    Ok(())
}

fn a_poll_for_pri_alone_is_not_woken_by_data() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = tcp()?;
    submit(&mut ring, &[poll_add(a, PRI, 1)])?;
    put(b, b"x")?;
    waits(&ring)?;
    let (mut other, byte) = (with(4, 0)?, Buf::of(b"u"));
    let urgent = libc::MSG_OOB.cast_unsigned();
    res(&mut other, Sqe { op_flags: urgent, ..rw(op::SEND, b, byte.addr(), 1, 0, 2) }, 1)?;
    expect("urgent data", os::poll(a, libc::POLLPRI, 0), Ok(libc::POLLPRI))?;
    waits(&ring)
}

fn an_error_is_told_with_what_holds() -> Outcome {
    // Room and the error are two wake-ups: what looks after both came tells both at once.
    let flags = Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN;
    let mut ring = with(8, flags.bits())?;
    // A port that was somebody's, and is nobody's.
    let gone = must("socket", os::socket(libc::AF_INET, libc::SOCK_DGRAM))?;
    let fd = i64::from(gone).cast_unsigned();
    let (addr, len) = (Buf::of(&os::loopback(0)), u64s(&[16]));
    must("bind", os::raw(libc::SYS_bind, [fd, addr.addr(), 16]))?;
    must("name", os::raw(libc::SYS_getsockname, [fd, addr.addr(), len.addr()]))?;
    close(gone)?;
    let a = must("socket", os::socket(libc::AF_INET, libc::SOCK_DGRAM))?;
    let fd = i64::from(a).cast_unsigned();
    must("connect", os::raw(libc::SYS_connect, [fd, addr.addr(), 16]))?;
    submit(&mut ring, &[poll_multi(a, IN | OUT, 1)])?;
    ends_flags(&ring, &[(1, OUT as i32, MORE)])?;
    put(a, b"x")?;
    until("the error", || os::poll(a, 0, 0).is_ok_and(|seen| seen & libc::POLLERR != 0))?;
    ends_flags(&ring, &[(1, OUT as i32 | i32::from(libc::POLLERR), MORE)])
}

fn of_exclusive_polls_one_is_woken() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    let bit = libc::EPOLLEXCLUSIVE.cast_unsigned();
    for ud in 1..4 {
        submit(&mut ring, &[poll_add(r, IN | bit, ud)])?;
    }
    put(w, b"x")?;
    ends(&ring, &[(1, IN as i32)])?;
    no_more(&mut ring)?;
    put(w, b"x")?;
    ends(&ring, &[(2, IN as i32)])?;
    no_more(&mut ring)?;
    close(w)?;
    ends(&ring, &[(3, (IN | HUP) as i32)])
}

fn a_multishot_poll_stays_after_a_hang_up() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    submit(&mut ring, &[poll_multi(r, IN, 1)])?;
    close(w)?;
    ends_flags(&ring, &[(1, HUP as i32, MORE)])?;
    submit(&mut ring, &[at(op::POLL_REMOVE, 1, 2)])?;
    ends_all(&ring, &[(1, -ECANCELED), (2, 0)])
}

fn a_removed_multishot_poll_ends_without_more() -> Outcome {
    let mut ring = ring()?;
    let (r, _w) = pipe()?;
    submit(&mut ring, &[poll_multi(r, IN, 1)])?;
    submit(&mut ring, &[at(op::POLL_REMOVE, 1, 2)])?;
    let mut all: Vec<_> =
        wait_for(&ring, 2)?.iter().map(|c| (c.user_data, c.res, c.flags)).collect();
    all.sort_unstable();
    expect("completions", all, vec![(1, -ECANCELED, 0), (2, 0, 0)])
}

fn a_poll_of_its_own_ring_is_one_shot() -> Outcome {
    let mut ring = ring()?;
    let own = ring.fd;
    submit(&mut ring, &[poll_multi(own, IN, 1)])?;
    submit(&mut ring, &[nop(2)])?;
    ends(&ring, &[(2, 0)])?;
    until("the poll fires", || ring.cq_tail() == 2)?;
    ends_flags(&ring, &[(1, IN as i32, 0)])
}

fn a_poll_of_another_ring_is_one_shot() -> Outcome {
    let (mut ring, mut other) = (ring()?, ring()?);
    submit(&mut ring, &[poll_multi(other.fd, IN, 1)])?;
    res(&mut other, nop(2), 0)?;
    ends_flags(&ring, &[(1, IN as i32, 0)])?;
    // One for which there is something already, which no wake-up told of.
    submit(&mut other, &[nop(3)])?;
    submit(&mut ring, &[poll_multi(other.fd, IN, 4)])?;
    ends_flags(&ring, &[(4, IN as i32, MORE)])?;
    submit(&mut other, &[nop(5)])?;
    ends_flags(&ring, &[(4, IN as i32, 0)])?;
    no_more(&mut ring)
}

fn level_polls_are_refused() -> Outcome {
    let (r, _w) = pipe()?;
    res(&mut ring()?, Sqe { len: 8, ..poll_add(r, IN, 1) }, -EINVAL)
}

fn a_poll_keeps_its_file_open() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    submit(&mut ring, &[poll_add(r, IN, 1)])?;
    close(r)?;
    // With the last reader gone this would fail.
    put(w, b"x")?;
    ends(&ring, &[(1, IN as i32)])
}

fn a_poll_removal_answers_0_and_cancels() -> Outcome {
    let mut ring = ring()?;
    let (r, _w) = pipe()?;
    submit(&mut ring, &[poll_add(r, IN, 1)])?;
    submit(&mut ring, &[at(op::POLL_REMOVE, 1, 2)])?;
    ends_all(&ring, &[(1, -ECANCELED), (2, 0)])
}

fn a_poll_removal_finds_nothing() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    res(&mut ring, at(op::POLL_REMOVE, 1, 2), -ENOENT)?;
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    res(&mut ring, at(op::POLL_REMOVE, 1, 2), -ENOENT)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1)])
}

/// POLL_REMOVE with `IORING_POLL_UPDATE_EVENTS` (2), `_USER_DATA` (4), `POLL_ADD_MULTI` (1).
fn update(target: u64, kind: u32, events: u32, new: u64, ud: u64) -> Sqe {
    Sqe { len: kind, op_flags: events, off: new, ..at(op::POLL_REMOVE, target, ud) }
}

fn an_update_changes_the_events() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = pair()?;
    submit(&mut ring, &[poll_add(a, libc::POLLPRI as u32, 1)])?;
    res(&mut ring, update(1, 2, IN, 0, 2), 0)?;
    pending(&ring)?;
    put(b, b"x")?;
    ends(&ring, &[(1, IN as i32)])
}

fn an_update_to_what_holds_ends_the_poll_at_once() -> Outcome {
    let mut ring = ring()?;
    let (a, _b) = pair()?;
    submit(&mut ring, &[poll_add(a, IN, 1)])?;
    submit(&mut ring, &[update(1, 2, OUT, 0, 2)])?;
    ends_all(&ring, &[(1, OUT as i32), (2, 0)])
}

fn an_update_changes_the_user_data() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    submit(&mut ring, &[poll_add(r, IN, 1)])?;
    res(&mut ring, update(1, 4, 0, 77, 2), 0)?;
    put(w, b"x")?;
    ends(&ring, &[(77, IN as i32)])
}

fn an_update_keeps_the_kind_of_poll() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    submit(&mut ring, &[poll_add(r, IN, 1)])?;
    res(&mut ring, update(1, 3, IN, 0, 2), 0)?;
    put(w, b"x")?;
    ends_flags(&ring, &[(1, IN as i32, 0)])?;
    res(&mut ring, at(op::POLL_REMOVE, 1, 3), -ENOENT)
}

fn exclusive_and_edge_bits_are_accepted() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    let bits = [libc::EPOLLEXCLUSIVE, libc::EPOLLET].map(i32::cast_unsigned);
    for (ud, bit) in [1, 2].into_iter().zip(bits) {
        submit(&mut ring, &[poll_add(r, IN | bit, ud)])?;
    }
    pending(&ring)?;
    put(w, b"x")?;
    ends_all(&ring, &[(1, IN as i32), (2, IN as i32)])
}

const ALL: i16 = 0x7fff;

fn polled(ring: &Ring) -> Res<i16> {
    must("poll", os::poll(ring.fd, ALL, 0))
}

const READABLE: i16 = libc::POLLIN | libc::POLLRDNORM;
const WRITABLE: i16 = libc::POLLOUT | libc::POLLWRNORM;

fn a_ring_is_readable_while_completions_are_there() -> Outcome {
    let mut ring = ring()?;
    expect("idle", polled(&ring)? & READABLE, 0)?;
    submit(&mut ring, &[nop(1)])?;
    expect("one there", polled(&ring)? & READABLE, READABLE)?;
    ends(&ring, &[(1, 0)])?;
    expect("reaped", polled(&ring)? & READABLE, 0)
}

fn a_ring_is_readable_with_a_backlog() -> Outcome {
    let mut ring = small_cq(2)?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    submit(&mut ring, &[nop(3)])?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    pending(&ring)?;
    expect("the backlog", polled(&ring)? & READABLE, READABLE)
}

fn a_ring_is_writable_while_the_sq_has_room() -> Outcome {
    let mut ring = with(2, 0)?;
    expect("room", polled(&ring)? & WRITABLE, WRITABLE)?;
    ring.push(nop(1));
    expect("room", polled(&ring)? & WRITABLE, WRITABLE)?;
    ring.push(nop(2));
    expect("full", polled(&ring)? & WRITABLE, 0)?;
    expect("only that", must("poll", os::poll(ring.fd, libc::POLLOUT, 5))?, 0)?;
    expect("taken", must("submit", ring.submit(0))?, 2)?;
    expect("room", polled(&ring)? & (WRITABLE | READABLE), WRITABLE | READABLE)?;
    ring.push(nop(3));
    ring.push(nop(4));
    expect("full again", polled(&ring)? & (WRITABLE | READABLE), READABLE)
}

fn an_epoll_set_knows_whether_the_sq_has_room() -> Outcome {
    let mut ring = with(2, 0)?;
    let ep = must("epoll", os::epoll_create())?;
    must("add", os::epoll_add(ep, ring.fd, OUT))?;
    expect("room", must("epoll", os::epoll_wait(ep, 0))?.map(|e| e.0), Some(OUT))?;
    ring.push(nop(1));
    ring.push(nop(2));
    expect("full", must("epoll", os::epoll_wait(ep, 0))?.map(|e| e.0), None)
}

fn a_ring_never_hangs_up() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[nop(1)])?;
    let never = libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR;
    expect("hang-ups and errors", polled(&ring)? & never, 0)
}

fn each_posting_is_an_edge() -> Outcome {
    let mut ring = ring()?;
    let ep = must("epoll", os::epoll_create())?;
    let bits = IN | libc::EPOLLET.cast_unsigned();
    must("add", os::epoll_add(ep, ring.fd, bits))?;
    for ud in 1..4 {
        submit(&mut ring, &[nop(ud)])?;
        expect("an edge", must("epoll", os::epoll_wait(ep, 1000))?.map(|e| e.0), Some(IN))?;
        expect("one", os::epoll_wait(ep, 0), Ok(None))?;
    }
    Ok(())
}

fn a_completion_wakes_epoll() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    let ep = must("epoll", os::epoll_create())?;
    must("add", os::epoll_add(ep, ring.fd, IN))?;
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    expect("idle", os::epoll_wait(ep, 0), Ok(None))?;
    put(w, b"x")?;
    expect("woken", must("epoll", os::epoll_wait(ep, 5000))?.map(|e| e.0), Some(IN))
}

/// A DEFER_TASKRUN ring with a read that has become ready and is not posted.
fn deferred() -> Res<Ring> {
    let mut ring = with(8, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits())?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    buf.leak();
    put(w, b"x")?;
    Ok(ring)
}

fn deferred_work_is_readable_to_poll() -> Outcome {
    let ring = deferred()?;
    until("poll shows IN", || os::poll(ring.fd, libc::POLLIN, 0) == Ok(libc::POLLIN))?;
    for _ in 0..3 {
        expect("it stays", os::poll(ring.fd, libc::POLLIN, 0), Ok(libc::POLLIN))?;
    }
    pending(&ring)
}

fn deferred_work_that_was_done_is_not_readable() -> Outcome {
    let ring = deferred()?;
    let shows = || os::poll(ring.fd, libc::POLLIN, 0);
    until("poll shows IN", || shows() == Ok(libc::POLLIN))?;
    ends(&ring, &[(1, 1)])?;
    for _ in 0..3 {
        expect("idle", shows(), Ok(0))?;
        let _ = os::poll(-1, 0, 10);
    }
    Ok(())
}

fn a_deferred_message_is_readable() -> Outcome {
    let to = with(8, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits())?;
    let mut from = ring()?;
    let shows = || os::poll(to.fd, libc::POLLIN, 0);
    expect("idle", shows(), Ok(0))?;
    res(&mut from, rw(40, to.fd, 0, 5, 77, 1), 0)?;
    expect("readable", shows(), Ok(libc::POLLIN))?;
    pending(&to)?;
    ends(&to, &[(77, 5)])?;
    expect("idle", shows(), Ok(0))
}

fn deferred_work_is_readable_to_epoll() -> Outcome {
    let ring = deferred()?;
    let ep = must("epoll", os::epoll_create())?;
    must("add", os::epoll_add(ep, ring.fd, IN))?;
    expect("epoll", must("epoll", os::epoll_wait(ep, 5000))?.map(|e| e.0), Some(IN))?;
    pending(&ring)
}

fn a_cancelled_poll_is_there_until_task_work_ends_it() -> Outcome {
    let (mut ring, (r, _w)) = (ring()?, pipe()?);
    submit(&mut ring, &[poll_add(r, IN, 1)])?;
    submit(&mut ring, &[cancel(1, 0, 2), at(op::POLL_REMOVE, 1, 3)])?;
    ends_all(&ring, &[(1, -ECANCELED), (2, 0), (3, -EALREADY)])
}

fn of_polls_with_one_name_the_newest_goes_first() -> Outcome {
    let (mut ring, (r, _w)) = (ring()?, pipe()?);
    for ud in 11..15 {
        submit(&mut ring, &[flagged(poll_add(r, IN, 1), LINK), nop(ud)])?;
    }
    for (ud, opcode) in [(14, op::POLL_REMOVE), (13, op::ASYNC_CANCEL), (12, op::POLL_REMOVE)] {
        submit(&mut ring, &[at(opcode, 1, 2)])?;
        ends_all(&ring, &[(1, -ECANCELED), (2, 0), (ud, -ECANCELED)])?;
    }
    Ok(())
}

fn polls_are_cancelled_chain_by_chain() -> Outcome {
    // 256 completions: 32 a chain make 8 chains.
    let (mut ring, (r, _w)) = (with(128, 0)?, pipe()?);
    let polls: Vec<_> = (1..=40).map(|ud| poll_add(r, IN, ud)).collect();
    submit(&mut ring, &polls)?;
    let hash = |ud: u64| ud.wrapping_mul(0x61c8_8646_80b5_83eb) >> 61;
    let mut order: Vec<u64> = (1..=40).rev().collect();
    order.sort_by_key(|&ud| hash(ud));
    submit(&mut ring, &[Sqe { op_flags: 4, ..at(op::ASYNC_CANCEL, 0, 99) }])?;
    ends(&ring, &[(99, 40)])?;
    let want: Vec<_> = order.into_iter().map(|ud| (ud, -ECANCELED)).collect();
    ends(&ring, &want)
}
