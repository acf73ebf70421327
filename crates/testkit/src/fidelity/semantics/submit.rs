//! Sections 3.2 and 3.4: heads, tails, the index array, and what a bad entry does to its batch.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.2",
        a_scribbled_cq_tail_is_put_right,
        "The next post stores the true CQ tail whatever a program wrote there."
    ),
    claim!(
        "3.2",
        a_scribbled_sq_head_is_put_right,
        "The SQ head in ring memory is written, never read."
    ),
    claim!("3.2", no_more_than_is_queued_is_taken, "to_submit may be more than what is queued."),
    claim!(
        "3.2",
        no_more_than_the_queue_holds_is_taken,
        "A tail that runs ahead by more than the entries submits each slot once."
    ),
    claim!(
        "3.2",
        a_bad_index_ends_the_batch_and_is_dropped,
        "An index beyond the entries is skipped, counted as dropped, not in the result, and ends the batch."
    ),
    claim!(
        "3.2",
        a_bad_index_ends_the_batch_with_submit_all_too,
        "SUBMIT_ALL does not go on behind a bad index."
    ),
    claim!(
        "3.2",
        entries_may_be_reused_once_submitted,
        "A submitted entry, its timespec and its iovec are not read again."
    ),
    claim!(
        "3.2",
        the_head_is_published_after_the_batch,
        "After enter the SQ head stands where the batch ended."
    ),
    claim!(
        "3.4",
        a_submission_error_is_a_completion,
        "An entry that is refused posts its errno and counts as submitted."
    ),
    claim!(
        "3.4",
        a_submission_error_stops_the_batch,
        "Without SUBMIT_ALL a batch stops right behind a refused entry."
    ),
    claim!(
        "3.4",
        submit_all_goes_on_behind_an_error,
        "With SUBMIT_ALL a batch goes on behind a refused entry."
    ),
    claim!(
        "3.4",
        a_refused_member_does_not_stop_the_batch,
        "A refused entry that carries LINK does not stop the batch: the chain is gathered to its end."
    ),
    claim!(
        "3.4",
        a_refused_last_member_stops_the_batch,
        "A refused entry that ends its chain stops the batch."
    ),
    claim!(
        "3.4",
        an_empty_path_stops_the_batch,
        "An empty path is ENOENT at submission, but for STATX and the old path of LINKAT with AT_EMPTY_PATH."
    ),
    claim!(
        "3.4",
        an_execution_error_does_not_stop_the_batch,
        "A bad descriptor does not stop the batch."
    ),
    claim!(
        "3.4",
        a_submission_thread_goes_on_behind_an_error,
        "An SQPOLL thread goes on behind a refused entry."
    ),
];

fn a_scribbled_cq_tail_is_put_right() -> Outcome {
    let mut ring = ring()?;
    res(&mut ring, nop(1), 0)?;
    ring.sq.store(ring.params.cq_off.tail as usize, 77);
    submit(&mut ring, &[nop(2)])?;
    expect("the tail", ring.cq_tail(), 2)?;
    ends(&ring, &[(2, 0)])
}

fn a_scribbled_sq_head_is_put_right() -> Outcome {
    let mut ring = ring()?;
    res(&mut ring, nop(1), 0)?;
    ring.sq.store(ring.params.sq_off.head as usize, 77);
    runs(&mut ring, &[nop(2)], &[(2, 0)])?;
    expect("the head", ring.sq_head(), 2)
}

fn no_more_than_is_queued_is_taken() -> Outcome {
    let mut ring = ring()?;
    ring.push(nop(1));
    ring.push(nop(2));
    expect("enter", ring.enter(100, 0, 0, 0, 0), Ok(2))?;
    ends(&ring, &[(1, 0), (2, 0)])
}

fn no_more_than_the_queue_holds_is_taken() -> Outcome {
    let mut ring = with(4, 0)?;
    (1..=4).for_each(|i| ring.push(nop(i)));
    ring.sq.store(ring.params.sq_off.tail as usize, 100);
    expect("enter", ring.enter(100, 0, 0, 0, 0), Ok(4))?;
    ends(&ring, &[(1, 0), (2, 0), (3, 0), (4, 0)])
}

fn bad_index(flags: u32) -> Outcome {
    let mut ring = with(8, flags)?;
    (1..=3).for_each(|i| ring.push(nop(i)));
    ring.sq.store(ring.params.sq_off.array as usize + 4, 1000);
    expect("the good one before", ring.enter(3, 0, 0, 0, 0), Ok(1))?;
    expect("dropped", ring.sq.load(ring.params.sq_off.dropped as usize), 1)?;
    expect("the head moved past it", ring.sq_head(), 2)?;
    ends(&ring, &[(1, 0)])?;
    pending(&ring)?;
    expect("the good one behind", ring.enter(1, 0, 0, 0, 0), Ok(1))?;
    ends(&ring, &[(3, 0)])
}

fn a_bad_index_ends_the_batch_and_is_dropped() -> Outcome {
    bad_index(0)
}

fn a_bad_index_ends_the_batch_with_submit_all_too() -> Outcome {
    bad_index(Setup::SUBMIT_ALL.bits())
}

fn entries_may_be_reused_once_submitted() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(64));
    let iov = u64s(&[buf.addr(), 4]);
    let ts = hour();
    let readv = rw(op::READV, r, iov.addr(), 1, 0, 1);
    submit(&mut ring, &[readv, timeout(&ts, 0, 2)])?;
    ring.sqes.fill(0xff);
    iov.fill(0xff);
    ts.fill(0);
    put(w, b"abcdefgh")?;
    ends(&ring, &[(1, 4)])?;
    expect("the bytes", buf.get(0, 5), b"abcd\0".to_vec())?;
    no_more(&mut ring)
}

fn the_head_is_published_after_the_batch() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[nop(1), nop(2), nop(3)])?;
    expect("the head", ring.sq_head(), 3)
}

fn a_submission_error_is_a_completion() -> Outcome {
    let mut ring = ring()?;
    expect("taken", take(&mut ring, &[refused(1)])?, 1)?;
    ends(&ring, &[(1, -EINVAL)])
}

fn a_submission_error_stops_the_batch() -> Outcome {
    let mut ring = ring()?;
    expect("taken", take(&mut ring, &[nop(1), refused(2), nop(3)])?, 2)?;
    ends_all(&ring, &[(1, 0), (2, -EINVAL)])?;
    pending(&ring)?;
    expect("then", take(&mut ring, &[])?, 1)?;
    ends(&ring, &[(3, 0)])
}

fn submit_all_goes_on_behind_an_error() -> Outcome {
    let mut ring = with(8, Setup::SUBMIT_ALL.bits())?;
    submit(&mut ring, &[nop(1), refused(2), nop(3)])?;
    ends_all(&ring, &[(1, 0), (2, -EINVAL), (3, 0)])
}

fn a_refused_member_does_not_stop_the_batch() -> Outcome {
    let mut ring = ring()?;
    let all = [flagged(nop(1), LINK), flagged(refused(2), LINK), nop(3), nop(4)];
    let cancelled = -ECANCELED;
    submit(&mut ring, &all)?;
    ends_all(&ring, &[(1, cancelled), (2, -EINVAL), (3, cancelled), (4, 0)])
}

fn a_refused_last_member_stops_the_batch() -> Outcome {
    let mut ring = ring()?;
    expect("taken", take(&mut ring, &[flagged(nop(1), LINK), refused(2), nop(3)])?, 2)?;
    ends_all(&ring, &[(1, -ECANCELED), (2, -EINVAL)])?;
    pending(&ring)?;
    expect("then", take(&mut ring, &[])?, 1)?;
    ends(&ring, &[(3, 0)])
}

fn an_empty_path_stops_the_batch() -> Outcome {
    let (none, name, room) = (Buf::of(b"\0"), Buf::of(b"no/such\0"), Buf::new(256));
    let (cwd, none, name) = (libc::AT_FDCWD, none.addr(), name.addr());
    // AT_FDCWD as the second folder; what follows the empty path is not looked at.
    let second = cwd.cast_unsigned();
    for (what, entry) in [
        ("OPENAT", rw(op::OPENAT, cwd, none, 0, 0, 1)),
        ("UNLINKAT", rw(op::UNLINKAT, cwd, none, 0, 0, 1)),
        ("MKDIRAT", rw(op::MKDIRAT, cwd, none, 0o700, 0, 1)),
        ("SYMLINKAT from", rw(op::SYMLINKAT, cwd, none, 0, name, 1)),
        ("SYMLINKAT to", rw(op::SYMLINKAT, cwd, name, 0, none, 1)),
        ("LINKAT from", rw(op::LINKAT, cwd, none, second, name, 1)),
        ("LINKAT to", rw(op::LINKAT, cwd, name, second, none, 1)),
        ("RENAMEAT from", rw(op::RENAMEAT, cwd, none, second, name, 1)),
        ("RENAMEAT to", rw(op::RENAMEAT, cwd, name, second, none, 1)),
        ("STATX", rw(op::STATX, cwd, none, 0, room.addr(), 1)),
    ] {
        let mut ring = ring()?;
        expect(what, take(&mut ring, &[entry, nop(2)])?, 1)?;
        ends(&ring, &[(1, -ENOENT)])?;
        expect("then", take(&mut ring, &[])?, 1)?;
        ends(&ring, &[(2, 0)])?;
    }
    let mut ring = ring()?;
    let op_flags = libc::AT_EMPTY_PATH.cast_unsigned();
    let stat = Sqe { op_flags, ..rw(op::STATX, cwd, none, 0, room.addr(), 1) };
    let link = Sqe { op_flags, ..rw(op::LINKAT, cwd, none, second, name, 2) };
    submit(&mut ring, &[stat, link, nop(3)])?;
    ends_all(&ring, &[(1, 0), (2, -ENOENT), (3, 0)])
}

fn an_execution_error_does_not_stop_the_batch() -> Outcome {
    let mut ring = ring()?;
    let buf = Buf::new(8);
    submit(&mut ring, &[read(999, buf.addr(), 8, 0, 1), nop(2)])?;
    ends_all(&ring, &[(1, -EBADF), (2, 0)])
}

fn a_submission_thread_goes_on_behind_an_error() -> Outcome {
    let mut ring = with(8, Setup::SQPOLL.bits())?;
    [nop(1), refused(2), nop(3)].into_iter().for_each(|s| ring.push(s));
    expect("enter", ring.enter(3, 0, SQ_WAKEUP, 0, 0), Ok(3))?;
    ends_all(&ring, &[(1, 0), (2, -EINVAL), (3, 0)])
}
