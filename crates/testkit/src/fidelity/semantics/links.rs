//! Section 3.6: links, hard links, linked timeouts and drains.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.6",
        a_linked_timeout_ends_in_task_work,
        "A linked timeout whose request is done counts as completed after what follows in the chain has run."
    ),
    claim!(
        "3.6",
        a_chain_ends_with_its_batch,
        "An open LINK at the end of a batch joins nothing of the next."
    ),
    claim!(
        "3.6",
        members_run_one_after_the_other,
        "A member starts when the one before it has ended, other requests meanwhile."
    ),
    claim!(
        "3.6",
        a_submission_error_cancels_the_whole_chain,
        "A refused entry anywhere in a chain: nothing of it runs, head and rest are cancelled in order."
    ),
    claim!(
        "3.6",
        a_submission_error_cancels_a_hard_chain_too,
        "A HARDLINK does not save a chain from a refused entry."
    ),
    claim!(
        "3.6",
        a_failed_member_cancels_the_rest,
        "After a LINK member that failed all others are ECANCELED."
    ),
    claim!(
        "3.6",
        a_hardlink_survives_a_failed_head,
        "After a HARDLINK member that failed the next one runs."
    ),
    claim!(
        "3.6",
        a_hard_link_holds_for_one_step,
        "hard(EIO), link(ENXIO), nop: the second runs, the third is cancelled."
    ),
    claim!(
        "3.6",
        a_short_read_breaks_a_chain,
        "A READ of fewer bytes than asked for fails its chain, at the end of file too."
    ),
    claim!(
        "3.6",
        a_short_write_breaks_a_chain,
        "A WRITE of fewer bytes than asked for fails its chain."
    ),
    claim!("3.6", a_short_vectored_or_fixed_read_breaks_a_chain, "So do READV and READ_FIXED."),
    claim!(
        "3.6",
        a_short_recv_does_not_break_a_chain,
        "A RECV of fewer bytes, or at the end, does not fail its chain."
    ),
    claim!(
        "3.6",
        a_short_recv_with_waitall_breaks_a_chain,
        "A RECV with MSG_WAITALL that got fewer bytes fails its chain."
    ),
    claim!(
        "3.6",
        a_truncated_recv_with_waitall_breaks_a_chain,
        "A RECV with MSG_WAITALL of a datagram that was cut fails its chain."
    ),
    claim!(
        "3.6",
        successors_come_after_the_batch,
        "A chain's second member completes behind the other entries of its batch."
    ),
    claim!(
        "3.6",
        cancelled_members_come_after_the_batch,
        "Members that are cancelled complete behind the other entries of their batch."
    ),
    claim!(
        "3.6",
        a_positive_result_is_success,
        "A NOP with a positive result does not fail its chain."
    ),
    claim!(
        "3.6",
        a_short_splice_breaks_a_chain,
        "A SPLICE of fewer bytes than asked for fails its chain.",
        needs "SPLICE"
    ),
    claim!(
        "3.6",
        a_loud_failure_shows_the_quiet_rest,
        "When the member that fails has no CQE_SKIP, the cancelled rest posts, with CQE_SKIP too."
    ),
    claim!(
        "3.6",
        a_quiet_failure_hides_the_rest,
        "When the member that fails has CQE_SKIP, it posts and the cancelled rest does not."
    ),
    claim!(
        "3.6",
        a_member_that_waits_is_not_found,
        "A cancel of a member that has not started is ENOENT."
    ),
    claim!(
        "3.6",
        a_cancelled_head_cancels_the_chain,
        "Cancelling the running head cancels the rest."
    ),
    claim!(
        "3.6",
        a_linked_timeout_fires_before_its_request_ends,
        "A LINK_TIMEOUT that fires posts ETIME, then its request ECANCELED."
    ),
    claim!(
        "3.6",
        a_linked_timeout_is_cancelled_by_its_request,
        "When the request ends first, it posts, then the LINK_TIMEOUT ECANCELED."
    ),
    claim!(
        "3.6",
        the_chain_goes_by_the_timed_request,
        "The member behind a LINK_TIMEOUT goes by the request's result."
    ),
    claim!(
        "3.6",
        a_linked_timeout_starts_with_its_request,
        "A LINK_TIMEOUT runs from when its request is issued."
    ),
    claim!(
        "3.6",
        a_linked_timeout_does_not_overtake_a_read,
        "A READ of what a file has in memory is not cancelled by a LINK_TIMEOUT of no time, which finds nothing or is ECANCELED, also while the process has a POSIX lock."
    ),
    claim!(
        "3.6",
        a_linked_timeout_does_not_run_while_a_worker_is_tried,
        "The LINK_TIMEOUT of an OPENAT with IOSQE_ASYNC does not run while a worker waits for the other end of a FIFO, that of a READ that waits by poll does."
    ),
    claim!(
        "3.6",
        a_linked_timeout_interrupts_a_worker,
        "A LINK_TIMEOUT interrupts a CONNECT that a worker is in, whether it asked for one or not: EINTR, and ENOENT for the timeout."
    ),
    claim!(
        "3.6",
        what_follows_a_read_of_a_file_is_on_no_worker,
        "READ_MULTISHOT behind a READ of what a file has in memory looks for a buffer at once, none is ENOBUFS, also while the process has a POSIX lock."
    ),
    claim!(
        "3.6",
        two_linked_timeouts_in_a_row_fail_the_chain,
        "A second LINK_TIMEOUT in a row is refused and the chain with it."
    ),
    claim!("3.6", a_linked_timeout_alone_is_refused, "A LINK_TIMEOUT behind nothing is EINVAL."),
    claim!(
        "3.6",
        a_quiet_linked_timeout_hides_its_end,
        "CQE_SKIP on a LINK_TIMEOUT hides its ECANCELED."
    ),
    claim!(
        "3.6",
        a_quiet_pair_shows_the_requests_end_only,
        "With CQE_SKIP on both, a LINK_TIMEOUT that fires posts the request's ECANCELED only."
    ),
    claim!(
        "3.6",
        a_drain_waits_for_everything_before_it,
        "A DRAIN starts when all earlier requests have ended."
    ),
    claim!(
        "3.6",
        later_submissions_queue_behind_a_drain,
        "What is submitted after a DRAIN waits for it, in later calls as well."
    ),
    claim!(
        "3.6",
        a_drain_waits_for_a_multishot,
        "A DRAIN behind a multishot waits until that ends."
    ),
    claim!(
        "3.6",
        a_cancel_behind_a_drain_is_stuck,
        "A cancel behind a DRAIN waits like any other request: only SYNC_CANCEL resolves a DRAIN behind a multishot.",
        needs "REGISTER_SYNC_CANCEL"
    ),
    claim!(
        "3.6",
        a_drain_in_a_chain_holds_its_head,
        "A DRAIN in the middle of a chain holds the chain's head and the request behind the chain."
    ),
    claim!(
        "3.6",
        a_bad_entry_behind_a_drain_fails_at_once,
        "A refused entry behind a DRAIN fails at once."
    ),
    claim!(
        "3.6",
        what_meets_a_drain_whose_turn_has_come_queues_behind_it,
        "What meets a DRAIN whose turn comes with task work queues behind it, and what is submitted then waits for it."
    ),
    claim!(
        "3.6",
        what_a_drain_held_back_is_a_workers,
        "On a DEFER_TASKRUN ring what a DRAIN held back ends on a worker: a call that has enough returns without it."
    ),
    claim!(
        "3.6",
        members_of_a_refused_chain_end_after_the_batch,
        "The head of a chain that is refused ends at once, what follows it in task work."
    ),
];

const CANCELED: i32 = -ECANCELED;

fn a_chain_ends_with_its_batch() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[flagged(read(r, buf.addr(), 8, 0, 1), LINK)])?;
    submit(&mut ring, &[nop(2)])?;
    ends(&ring, &[(2, 0)])?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1)])
}

fn members_run_one_after_the_other() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[flagged(read(r, buf.addr(), 1, 0, 1), LINK), nop(2), nop(3)])?;
    ends(&ring, &[(3, 0)])?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, 0)])
}

fn a_submission_error_cancels_the_whole_chain() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::of(b"abcd"));
    let head = flagged(write(w, buf.addr(), 4, 0, 1), LINK);
    let chain = [head, flagged(refused(2), LINK), flagged(nop(3), LINK), nop(4)];
    runs(&mut ring, &chain, &[(1, CANCELED), (2, -EINVAL), (3, CANCELED), (4, CANCELED)])?;
    expect("nothing was written", os::poll(r, libc::POLLIN, 0), Ok(0))
}

fn a_submission_error_cancels_a_hard_chain_too() -> Outcome {
    let mut ring = ring()?;
    let h = |s| flagged(s, HARDLINK);
    runs(
        &mut ring,
        &[h(nop(1)), h(refused(2)), nop(3)],
        &[(1, CANCELED), (2, -EINVAL), (3, CANCELED)],
    )
}

fn a_failed_member_cancels_the_rest() -> Outcome {
    let mut ring = ring()?;
    let l = |s| flagged(s, LINK);
    let chain = [l(nop(1)), l(nop_with(-EIO, 2)), l(nop(3)), nop(4)];
    runs(&mut ring, &chain, &[(1, 0), (2, -EIO), (3, CANCELED), (4, CANCELED)])
}

fn a_hardlink_survives_a_failed_head() -> Outcome {
    let mut ring = ring()?;
    let h = |s| flagged(s, HARDLINK);
    runs(&mut ring, &[h(nop_with(-EIO, 1)), h(nop(2)), nop(3)], &[(1, -EIO), (2, 0), (3, 0)])
}

fn a_hard_link_holds_for_one_step() -> Outcome {
    let mut ring = ring()?;
    let head = flagged(nop_with(-EIO, 1), HARDLINK);
    let chain = [head, flagged(nop_with(-ENXIO, 2), LINK), nop(3)];
    runs(&mut ring, &chain, &[(1, -EIO), (2, -ENXIO), (3, CANCELED)])
}

fn a_short_read_breaks_a_chain() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(16));
    let chain = |ud| [flagged(read(r, buf.addr(), 10, 0, ud), LINK), nop(ud + 1)];
    put(w, b"abcd")?;
    runs(&mut ring, &chain(1), &[(1, 4), (2, CANCELED)])?;
    close(w)?;
    runs(&mut ring, &chain(3), &[(3, 0), (4, CANCELED)])
}

fn a_short_write_breaks_a_chain() -> Outcome {
    let mut ring = ring()?;
    let ((_r, w), buf) = (pipe()?, Buf::new(1 << 20));
    must("fcntl", os::fcntl(w, libc::F_SETPIPE_SZ, 4096))?;
    runs(
        &mut ring,
        &[flagged(write(w, buf.addr(), 1 << 20, 0, 1), LINK), nop(2)],
        &[(1, 4096), (2, CANCELED)],
    )
}

fn a_short_vectored_or_fixed_read_breaks_a_chain() -> Outcome {
    let mut ring = ring()?;
    let (f, buf) = (file(b"abcd")?, Buf::new(4096));
    let iov = u64s(&[buf.addr(), 10]);
    must("register", ring.register(reg::BUFFERS, iov.addr(), 1))?;
    let head = flagged(rw(op::READV, f, iov.addr(), 1, 0, 1), LINK);
    runs(&mut ring, &[head, nop(2)], &[(1, 4), (2, CANCELED)])?;
    let head = flagged(rw(op::READ_FIXED, f, buf.addr(), 10, 0, 3), LINK);
    runs(&mut ring, &[head, nop(4)], &[(3, 4), (4, CANCELED)])
}

fn a_short_recv_does_not_break_a_chain() -> Outcome {
    let mut ring = ring()?;
    let ((a, b), buf) = (pair()?, Buf::new(16));
    let chain = |ud| [flagged(rw(op::RECV, a, buf.addr(), 10, 0, ud), LINK), nop(ud + 1)];
    put(b, b"abcd")?;
    runs(&mut ring, &chain(1), &[(1, 4), (2, 0)])?;
    close(b)?;
    runs(&mut ring, &chain(3), &[(3, 0), (4, 0)])
}

fn waitall(fd: i32, buf: &Buf, len: u32, ud: u64) -> Sqe {
    let op_flags = libc::MSG_WAITALL as u32;
    flagged(Sqe { op_flags, ..rw(op::RECV, fd, buf.addr(), len, 0, ud) }, LINK)
}

fn a_short_recv_with_waitall_breaks_a_chain() -> Outcome {
    let mut ring = ring()?;
    let ((a, b), buf) = (pair()?, Buf::new(16));
    put(b, b"abcd")?;
    close(b)?;
    runs(&mut ring, &[waitall(a, &buf, 10, 1), nop(2)], &[(1, 4), (2, CANCELED)])
}

fn a_truncated_recv_with_waitall_breaks_a_chain() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = must("socketpair", os::socketpair(libc::SOCK_DGRAM))?;
    let buf = Buf::new(16);
    put(b, b"abcdefgh")?;
    runs(&mut ring, &[waitall(a, &buf, 4, 1), nop(2)], &[(1, 4), (2, CANCELED)])
}

fn successors_come_after_the_batch() -> Outcome {
    let mut ring = ring()?;
    let chain = [flagged(nop(1), LINK), nop(2), nop(3)];
    runs(&mut ring, &chain, &[(1, 0), (3, 0), (2, 0)])
}

fn cancelled_members_come_after_the_batch() -> Outcome {
    let mut ring = ring()?;
    let chain = [flagged(nop_with(-EIO, 1), LINK), nop(2), nop(3)];
    runs(&mut ring, &chain, &[(1, -EIO), (3, 0), (2, CANCELED)])
}

fn a_positive_result_is_success() -> Outcome {
    runs(&mut ring()?, &[flagged(nop_with(5, 1), LINK), nop(2)], &[(1, 5), (2, 0)])
}

fn a_short_splice_breaks_a_chain() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), (_r2, w2)) = (pipe()?, pipe()?);
    put(w, b"abcd")?;
    let all = u64::MAX;
    let splice = Sqe { file_index: r as u32, ..rw(30, w2, all, 10, all, 1) };
    runs(&mut ring, &[flagged(splice, LINK), nop(2)], &[(1, 4), (2, CANCELED)])
}

fn a_loud_failure_shows_the_quiet_rest() -> Outcome {
    let mut ring = ring()?;
    let chain =
        [flagged(nop_with(-EIO, 1), LINK), flagged(nop(2), LINK | SKIP), flagged(nop(3), SKIP)];
    runs(&mut ring, &chain, &[(1, -EIO), (2, CANCELED), (3, CANCELED)])
}

fn a_quiet_failure_hides_the_rest() -> Outcome {
    let mut ring = ring()?;
    let chain = [flagged(nop_with(-EIO, 1), LINK | SKIP), flagged(nop(2), LINK), nop(3)];
    runs(&mut ring, &chain, &[(1, -EIO)])?;
    no_more(&mut ring)
}

fn a_member_that_waits_is_not_found() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[flagged(read(r, buf.addr(), 1, 0, 1), LINK), nop(2)])?;
    res(&mut ring, cancel(2, 0, 3), -ENOENT)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, 0)])
}

fn a_cancelled_head_cancels_the_chain() -> Outcome {
    let mut ring = ring()?;
    let ((r, _w), buf) = (pipe()?, Buf::new(8));
    submit(
        &mut ring,
        &[flagged(read(r, buf.addr(), 1, 0, 1), LINK), flagged(nop(2), LINK), nop(3)],
    )?;
    submit(&mut ring, &[cancel(1, 0, 4)])?;
    ends_all(&ring, &[(1, CANCELED), (2, CANCELED), (3, CANCELED), (4, 0)])
}

/// A read of an empty pipe with a timeout behind it.
fn timed(ring: &mut Ring, ts: &Buf, bits: (u8, u8)) -> Res<i32> {
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    let head = flagged(read(r, buf.addr(), 1, 0, 1), LINK | bits.0);
    submit(ring, &[head, flagged(link_timeout(ts, 2), bits.1)])?;
    buf.leak();
    Ok(w)
}

fn a_linked_timeout_fires_before_its_request_ends() -> Outcome {
    let mut ring = ring()?;
    timed(&mut ring, &after(2 * MS), (0, 0))?;
    ends(&ring, &[(2, -ETIME), (1, CANCELED)])
}

fn a_linked_timeout_is_cancelled_by_its_request() -> Outcome {
    let mut ring = ring()?;
    let w = timed(&mut ring, &hour(), (0, 0))?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, CANCELED)])
}

fn the_chain_goes_by_the_timed_request() -> Outcome {
    let mut ring = ring()?;
    let ts = hour();
    let l = |s| flagged(s, LINK);
    let good = [l(nop(1)), l(link_timeout(&ts, 2)), nop(3)];
    submit(&mut ring, &good)?;
    ends_all(&ring, &[(1, 0), (2, CANCELED), (3, 0)])?;
    let bad = [l(nop_with(-EIO, 1)), l(link_timeout(&ts, 2)), nop(3)];
    submit(&mut ring, &bad)?;
    ends_all(&ring, &[(1, -EIO), (2, CANCELED), (3, CANCELED)])
}

fn a_linked_timeout_starts_with_its_request() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf, ts) = (pipe()?, Buf::new(8), after(30 * MS));
    let l = |s| flagged(s, LINK);
    let chain =
        [l(read(r, buf.addr(), 1, 0, 1)), l(read(r, buf.addr(), 1, 0, 2)), link_timeout(&ts, 3)];
    submit(&mut ring, &chain)?;
    // Longer than the linked timeout, which does not run yet.
    submit(&mut ring, &[timeout(&after(60 * MS), 0, 4)])?;
    ends(&ring, &[(4, -ETIME)])?;
    put(w, b"x")?;
    let issued = os::clock(libc::CLOCK_MONOTONIC);
    ends(&ring, &[(1, 1)])?;
    ends_all(&ring, &[(2, CANCELED), (3, -ETIME)])?;
    expect("the full time", os::clock(libc::CLOCK_MONOTONIC) - issued >= 30 * MS, true)
}

fn a_linked_timeout_does_not_overtake_a_read() -> Outcome {
    let mut ring = ring()?;
    let (fd, buf, ts) = (file(b"abc")?, Buf::new(8), after(0));
    must("register", ring.register_files(&[fd]))?;
    let locked = file(b"x")?;
    for lock in [libc::F_UNLCK, libc::F_WRLCK] {
        must("lock", os::posix_lock(locked, lock, 0, 1))?;
        for sqe in [read(fd, buf.addr(), 8, 0, 1), flagged(read(0, buf.addr(), 8, 0, 1), FIXED)] {
            submit(&mut ring, &[flagged(sqe, sqe.flags | LINK), link_timeout(&ts, 2)])?;
            ends(&ring, &[(1, 3)])?;
            let late = must("wait", ring.wait())?;
            let told = (late.user_data, [CANCELED, -ENOENT].contains(&late.res));
            expect("the timeout, that it cancelled nothing", told, (2, true))?;
        }
    }
    Ok(())
}

fn a_linked_timeout_does_not_run_while_a_worker_is_tried() -> Outcome {
    let mut ring = ring()?;
    let path = std::env::temp_dir().join(format!("fifo.linked.{}", os::pid()));
    let name = Buf::of(format!("{}\0", path.display()).as_bytes());
    let mode = u64::from(libc::S_IFIFO | 0o600);
    must("mkfifo", os::raw(libc::SYS_mknod, [name.addr(), mode, 0]))?;
    let ((r, _w), buf, ts) = (pipe()?, Buf::new(8), after(MS));
    let both = |s| flagged(s, ASYNC | LINK);
    submit(&mut ring, &[both(read(r, buf.addr(), 8, 0, 1)), link_timeout(&ts, 2)])?;
    ends(&ring, &[(2, -ETIME), (1, CANCELED)])?;
    let open = rw(op::OPENAT, libc::AT_FDCWD, name.addr(), 0, 0, 1);
    submit(&mut ring, &[both(open), link_timeout(&ts, 2)])?;
    waits(&ring)?;
    let other = must("open", os::open(&path.to_string_lossy(), libc::O_WRONLY));
    std::fs::remove_file(&path).map_err(|e| e.to_string())?;
    let opened = must("wait", ring.wait())?;
    expect("it is open", (opened.user_data, opened.res > 2 && other? > 2), (1, true))?;
    ends(&ring, &[(2, CANCELED)])
}

fn a_linked_timeout_interrupts_a_worker() -> Outcome {
    let (mut ring, full, ts) = (ring()?, Full::new()?, after(50 * MS));
    for flags in [LINK, ASYNC | LINK] {
        submit(&mut ring, &[flagged(full.connect(1)?, flags), link_timeout(&ts, 2)])?;
        ends_all(&ring, &[(2, -ENOENT), (1, -EINTR)])?;
    }
    Ok(())
}

fn what_follows_a_read_of_a_file_is_on_no_worker() -> Outcome {
    let mut ring = ring()?;
    let (fd, buf, (_r, w)) = (file(b"abc")?, Buf::new(8), pipe()?);
    must("register", ring.register_files(&[fd]))?;
    let locked = file(b"x")?;
    for lock in [libc::F_UNLCK, libc::F_WRLCK] {
        must("lock", os::posix_lock(locked, lock, 0, 1))?;
        // On a worker it would wait first.
        let first = flagged(read(0, buf.addr(), 3, 0, 1), FIXED | LINK);
        let then = select(rw(49, w, 0, 0, 0, 2), 1);
        runs(&mut ring, &[first, then], &[(1, 3), (2, -ENOBUFS)])?;
    }
    Ok(())
}

fn two_linked_timeouts_in_a_row_fail_the_chain() -> Outcome {
    let mut ring = ring()?;
    let ts = hour();
    let l = |s| flagged(s, LINK);
    expect(
        "taken",
        take(&mut ring, &[l(nop(1)), l(link_timeout(&ts, 2)), link_timeout(&ts, 3)])?,
        3,
    )?;
    ends_all(&ring, &[(1, CANCELED), (2, CANCELED), (3, -EINVAL)])
}

fn a_linked_timeout_alone_is_refused() -> Outcome {
    let mut ring = ring()?;
    res(&mut ring, link_timeout(&hour(), 1), -EINVAL)?;
    expect("taken", take(&mut ring, &[nop(1), link_timeout(&hour(), 2)])?, 2)?;
    ends_all(&ring, &[(1, 0), (2, -EINVAL)])
}

fn a_quiet_linked_timeout_hides_its_end() -> Outcome {
    let mut ring = ring()?;
    let w = timed(&mut ring, &hour(), (0, SKIP))?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1)])?;
    no_more(&mut ring)
}

fn a_quiet_pair_shows_the_requests_end_only() -> Outcome {
    let mut ring = ring()?;
    timed(&mut ring, &after(2 * MS), (SKIP, SKIP))?;
    ends(&ring, &[(1, CANCELED)])?;
    no_more(&mut ring)
}

fn a_drain_waits_for_everything_before_it() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 1, 0, 1), flagged(nop(2), DRAIN)])?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, 0)])
}

fn later_submissions_queue_behind_a_drain() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 1, 0, 1), flagged(nop(2), DRAIN), nop(3)])?;
    submit(&mut ring, &[nop(4)])?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1)])?;
    ends_all(&ring, &[(2, 0), (3, 0), (4, 0)])
}

fn a_drain_waits_for_a_multishot() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    submit(&mut ring, &[poll_multi(r, IN, 1)])?;
    submit(&mut ring, &[flagged(nop(2), DRAIN)])?;
    put(w, b"x")?;
    ends_flags(&ring, &[(1, IN as i32, MORE)])?;
    pending(&ring)
}

fn a_cancel_behind_a_drain_is_stuck() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    submit(&mut ring, &[poll_multi(r, IN, 1)])?;
    submit(&mut ring, &[flagged(nop(2), DRAIN)])?;
    submit(&mut ring, &[cancel(1, 0, 3)])?;
    put(w, b"x")?;
    ends_flags(&ring, &[(1, IN as i32, MORE)])?;
    pending(&ring)?;
    // struct io_uring_sync_cancel_reg: addr, fd, flags, timeout, pad.
    let arg = u64s(&[1, u64::from(u32::MAX), u64::MAX, u64::MAX, 0, 0, 0, 0]);
    expect("SYNC_CANCEL", ring.register(24, arg.addr(), 1), Ok(0))?;
    ends(&ring, &[(1, CANCELED)])?;
    ends_all(&ring, &[(2, 0), (3, -ENOENT)])
}

fn a_drain_in_a_chain_holds_its_head() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    let l = |s| flagged(s, LINK);
    submit(&mut ring, &[read(r, buf.addr(), 1, 0, 1), l(nop(2)), flagged(nop(3), DRAIN), nop(4)])?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, 0), (3, 0), (4, 0)])
}

fn a_bad_entry_behind_a_drain_fails_at_once() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 1, 0, 1), flagged(nop(2), DRAIN)])?;
    submit(&mut ring, &[refused(3)])?;
    ends(&ring, &[(3, -EINVAL)])?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, 0)])
}

fn what_meets_a_drain_whose_turn_has_come_queues_behind_it() -> Outcome {
    let flags = Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN;
    let (mut ring, ts) = (with(8, flags.bits())?, hour());
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[timeout(&ts, 1, 1), flagged(nop(2), DRAIN)])?;
    // It is told at once, and the count is reached.
    submit(&mut ring, &[refused(3)])?;
    submit(&mut ring, &[read(r, buf.addr(), 1, 0, 4)])?;
    ends(&ring, &[(3, -EINVAL), (1, 0), (2, 0)])?;
    submit(&mut ring, &[nop(5)])?;
    must("a look", ring.enter(0, 0, GETEVENTS, 0, 0))?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(4, 1), (5, 0)])
}

fn what_a_drain_held_back_is_a_workers() -> Outcome {
    let flags = Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN;
    let (mut ring, ts) = (with(8, flags.bits())?, hour());
    submit(&mut ring, &[timeout(&ts, 1, 1), flagged(nop(2), DRAIN)])?;
    ring.push(refused(3));
    expect("taken", ring.enter(1, 1, GETEVENTS, 0, 0), Ok(1))?;
    let seen: Vec<u64> = std::iter::from_fn(|| ring.reap()).map(|c| c.user_data).collect();
    expect("what is there", seen, vec![3, 1])?;
    ends(&ring, &[(2, 0)])
}

fn members_of_a_refused_chain_end_after_the_batch() -> Outcome {
    let all = Setup::SUBMIT_ALL;
    for flags in [all, all | Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN] {
        let mut ring = with(8, flags.bits())?;
        let chain = [flagged(nop(1), HARDLINK), flagged(refused(2), LINK), nop(3)];
        submit(&mut ring, &[chain[0], chain[1], chain[2], nop(4), nop(5)])?;
        if flags.contains(Setup::DEFER_TASKRUN) {
            expect("posted", ring.cq_tail(), 3)?;
        }
        ends(&ring, &[(1, -ECANCELED), (4, 0), (5, 0), (2, -EINVAL), (3, -ECANCELED)])?;
    }
    Ok(())
}

fn a_linked_timeout_ends_in_task_work() -> Outcome {
    let (mut ring, ts) = (ring()?, hour());
    submit(&mut ring, &[timeout(&ts, 2, 1)])?;
    let lt = flagged(link_timeout(&ts, 3), LINK);
    submit(&mut ring, &[flagged(nop(2), LINK), lt, at(op::TIMEOUT_REMOVE, 1, 4)])?;
    ends_all(&ring, &[(1, -ECANCELED), (2, 0), (3, -ECANCELED), (4, 0)])
}
