//! Section 3.5: TIMEOUT, its removal and its update.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.5",
        a_timeout_fires_with_etime,
        "A TIMEOUT that expires is ETIME, not before its time."
    ),
    claim!("3.5", no_time_fires_at_once, "A TIMEOUT of no time fires at once."),
    claim!("3.5", many_nanoseconds_are_accepted, "A second and more in tv_nsec is accepted."),
    claim!("3.5", a_negative_time_is_refused, "A negative time is EINVAL."),
    claim!(
        "3.5",
        a_reached_count_is_0,
        "A TIMEOUT whose count of other completions is reached ends with 0."
    ),
    claim!(
        "3.5",
        nops_before_it_count,
        "NOPs before a counted TIMEOUT in the same batch count for it."
    ),
    claim!(
        "3.5",
        two_counted_timeouts_end_with_one_completion,
        "Two TIMEOUTs that count to one both end with the next completion."
    ),
    claim!(
        "3.5",
        a_fired_timeout_does_not_count,
        "A TIMEOUT's own completion does not count for another."
    ),
    claim!(
        "3.5",
        a_reached_count_ends_in_task_work,
        "On a DEFER_TASKRUN ring a TIMEOUT whose count is reached ends at GETEVENTS."
    ),
    claim!(
        "3.5",
        a_timeout_is_taken_off_the_count_when_it_fires,
        "A TIMEOUT that fired and has not ended yet is taken off the count of others already."
    ),
    claim!(
        "3.5",
        an_absolute_time_is_kept_on_each_clock,
        "With ABS the time is one of the monotonic, boot or real-time clock."
    ),
    claim!("3.5", two_clocks_are_refused, "BOOTTIME and REALTIME together are EINVAL."),
    claim!("3.5", an_immediate_argument_is_refused, "IMMEDIATE_ARG, which is newer, is EINVAL."),
    claim!(
        "3.5",
        a_multishot_repeats_so_many_times,
        "A MULTISHOT fires `off` times: ETIME and MORE, the last one without."
    ),
    claim!(
        "3.5",
        an_endless_multishot_goes_on_until_removed,
        "A MULTISHOT with `off` 0 repeats until it is removed."
    ),
    claim!("3.5", a_multishot_is_not_absolute, "MULTISHOT with ABS is EINVAL."),
    claim!(
        "3.5",
        a_removal_answers_0_and_cancels,
        "TIMEOUT_REMOVE answers 0, its target ECANCELED."
    ),
    claim!(
        "3.5",
        a_removal_finds_nothing,
        "TIMEOUT_REMOVE of what is not there, or over, is ENOENT."
    ),
    claim!(
        "3.5",
        a_removal_does_not_find_a_linked_timeout,
        "TIMEOUT_REMOVE of an armed LINK_TIMEOUT is ENOENT."
    ),
    claim!(
        "3.5",
        a_removal_does_not_find_other_requests,
        "TIMEOUT_REMOVE of a pending read or poll is ENOENT."
    ),
    claim!(
        "3.5",
        a_poll_removal_does_not_find_a_timeout,
        "POLL_REMOVE of a TIMEOUT is ENOENT, ASYNC_CANCEL finds it."
    ),
    claim!("3.5", an_update_retimes, "An update answers 0 and the timeout fires at the new time."),
    claim!("3.5", an_update_may_be_absolute, "An update takes an absolute time with ABS."),
    claim!(
        "3.5",
        an_update_does_not_change_the_clock,
        "An update with a clock's flag, or a negative time, is EINVAL."
    ),
    claim!(
        "3.5",
        an_updated_counted_timeout_counts_no_more,
        "A counted TIMEOUT that is updated goes by time only."
    ),
    claim!(
        "3.5",
        an_update_retimes_a_linked_timeout,
        "LINK_TIMEOUT_UPDATE with UPDATE retimes an armed LINK_TIMEOUT, UPDATE alone does not find it."
    ),
    claim!("3.5", expiry_breaks_a_chain, "ETIME fails a chain."),
    claim!("3.5", expiry_can_be_success, "With ETIME_SUCCESS the chain goes on."),
    claim!(
        "3.5",
        expiry_is_posted_in_spite_of_skip,
        "ETIME is posted in spite of CQE_SKIP unless ETIME_SUCCESS says that it is a success."
    ),
    claim!(
        "3.5",
        a_count_is_reached_before_a_worker_removes_it,
        "What a batch completes at once counts before its ASYNC cancels and removals run."
    ),
    claim!(
        "3.5",
        a_workers_completion_counts_before_what_follows_it,
        "A completion on a worker counts before the cancel behind it in its chain runs."
    ),
    claim!(
        "3.5",
        a_drained_timeout_counts_from_its_own_start,
        "A counted TIMEOUT behind a drain does not count those of its batch that went before it."
    ),
    claim!(
        "3.5",
        a_silent_timeout_ends_those_that_count,
        "A TIMEOUT that fires without a completion takes the count back by one, which ends all that count."
    ),
    claim!(
        "3.5",
        a_count_is_unsigned,
        "A TIMEOUT that counts to more than two to the 31 is not reached by one completion."
    ),
    claim!(
        "3.5",
        of_timeouts_with_one_name_those_that_count_go_first,
        "A removal takes the TIMEOUT that counts to the least, and the oldest of those that do not count last."
    ),
    claim!(
        "3.5",
        an_updated_timeout_is_looked_for_last,
        "A TIMEOUT that is updated goes behind the others of its name."
    ),
];

fn now() -> u64 {
    os::clock(libc::CLOCK_MONOTONIC)
}

const ABS: u32 = 1;
const UPDATE: u32 = 2;
const BOOTTIME: u32 = 4;
const REALTIME: u32 = 8;
const LINKED: u32 = 16;
const SUCCESS: u32 = 32;
const MULTI: u32 = 64;

fn with_flags(op_flags: u32, sqe: Sqe) -> Sqe {
    Sqe { op_flags, ..sqe }
}

fn update(target: u64, ts: &Buf, flags: u32, ud: u64) -> Sqe {
    let off = ts.addr();
    Sqe { off, op_flags: UPDATE | flags, ..at(op::TIMEOUT_REMOVE, target, ud) }
}

fn a_timeout_fires_with_etime() -> Outcome {
    let before = now();
    res(&mut ring()?, timeout(&after(5 * MS), 0, 1), -ETIME)?;
    expect("not early", now() - before >= 5 * MS, true)
}

fn no_time_fires_at_once() -> Outcome {
    res(&mut ring()?, timeout(&after(0), 0, 1), -ETIME)
}

fn many_nanoseconds_are_accepted() -> Outcome {
    let mut ring = ring()?;
    let ts = u64s(&[0, 2_000_000_000]);
    let all = [timeout(&ts, 0, 1), at(op::TIMEOUT_REMOVE, 1, 2)];
    submit(&mut ring, &all)?;
    ends_all(&ring, &[(1, -ECANCELED), (2, 0)])
}

fn a_negative_time_is_refused() -> Outcome {
    let mut ring = ring()?;
    for ts in [[u64::MAX, 0], [0, u64::MAX]] {
        res(&mut ring, timeout(&u64s(&ts), 0, 1), -EINVAL)?;
    }
    Ok(())
}

fn a_reached_count_is_0() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&hour(), 2, 1)])?;
    submit(&mut ring, &[nop(2)])?;
    ends(&ring, &[(2, 0)])?;
    pending(&ring)?;
    submit(&mut ring, &[nop(3)])?;
    ends_all(&ring, &[(1, 0), (3, 0)])
}

fn nops_before_it_count() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[nop(1), nop(2), timeout(&hour(), 1, 3)])?;
    ends_all(&ring, &[(1, 0), (2, 0), (3, 0)])
}

fn two_counted_timeouts_end_with_one_completion() -> Outcome {
    let mut ring = ring()?;
    let ts = hour();
    submit(&mut ring, &[timeout(&ts, 1, 1), timeout(&ts, 1, 2)])?;
    pending(&ring)?;
    submit(&mut ring, &[nop(3)])?;
    ends_all(&ring, &[(1, 0), (2, 0), (3, 0)])
}

const DEFER: u32 = Setup::SINGLE_ISSUER.bits() | Setup::DEFER_TASKRUN.bits();

fn a_reached_count_ends_in_task_work() -> Outcome {
    let (mut ring, ts) = (with(8, DEFER)?, hour());
    submit(&mut ring, &[timeout(&ts, 1, 1)])?;
    submit(&mut ring, &[nop(2)])?;
    expect("posted", ring.cq_tail(), 1)?;
    ends(&ring, &[(2, 0), (1, 0)])
}

fn a_timeout_is_taken_off_the_count_when_it_fires() -> Outcome {
    let (mut ring, ts) = (with(8, DEFER)?, hour());
    submit(&mut ring, &[timeout(&ts, 1, 1), timeout(&ts, 3, 2)])?;
    for id in 3..=5 {
        submit(&mut ring, &[nop(id)])?;
    }
    // The first timeout, which is not there yet, is the step that misses.
    submit(&mut ring, &[at(op::TIMEOUT_REMOVE, 2, 6)])?;
    ends(&ring, &[(3, 0), (4, 0), (5, 0), (6, 0), (1, 0), (2, -ECANCELED)])
}

fn a_fired_timeout_does_not_count() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&hour(), 1, 1)])?;
    submit(&mut ring, &[timeout(&after(0), 0, 2)])?;
    ends(&ring, &[(2, -ETIME)])?;
    pending(&ring)?;
    submit(&mut ring, &[nop(3)])?;
    ends_all(&ring, &[(1, 0), (3, 0)])
}

fn an_absolute_time_is_kept_on_each_clock() -> Outcome {
    let mut ring = ring()?;
    let clocks = [
        (0, libc::CLOCK_MONOTONIC),
        (BOOTTIME, libc::CLOCK_BOOTTIME),
        (REALTIME, libc::CLOCK_REALTIME),
    ];
    for (flag, clock) in clocks {
        let end = os::clock(clock) + 3 * MS;
        res(&mut ring, with_flags(ABS | flag, timeout(&after(end), 0, 1)), -ETIME)?;
        expect("not early", os::clock(clock) >= end, true)?;
    }
    Ok(())
}

fn two_clocks_are_refused() -> Outcome {
    res(&mut ring()?, with_flags(BOOTTIME | REALTIME, timeout(&after(0), 0, 1)), -EINVAL)
}

fn an_immediate_argument_is_refused() -> Outcome {
    res(&mut ring()?, with_flags(128, timeout(&after(0), 0, 1)), -EINVAL)
}

fn a_multishot_repeats_so_many_times() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[with_flags(MULTI, timeout(&after(MS), 3, 1))])?;
    ends_flags(&ring, &[(1, -ETIME, MORE), (1, -ETIME, MORE), (1, -ETIME, 0)])?;
    no_more(&mut ring)
}

fn an_endless_multishot_goes_on_until_removed() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[with_flags(MULTI, timeout(&after(2 * MS), 0, 1))])?;
    ends_flags(&ring, &[(1, -ETIME, MORE); 4])?;
    submit(&mut ring, &[at(op::TIMEOUT_REMOVE, 1, 2)])?;
    let mut last = Vec::new();
    while last.len() < 2 {
        let c = must("wait", ring.wait())?;
        if (c.user_data, c.res, c.flags) != (1, -ETIME, MORE) {
            last.push((c.user_data, c.res, c.flags));
        }
    }
    last.sort_unstable();
    expect("removed", last, vec![(1, -ECANCELED, 0), (2, 0, 0)])
}

fn a_multishot_is_not_absolute() -> Outcome {
    res(&mut ring()?, with_flags(MULTI | ABS, timeout(&after(0), 0, 1)), -EINVAL)
}

fn a_removal_answers_0_and_cancels() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&hour(), 0, 1)])?;
    submit(&mut ring, &[at(op::TIMEOUT_REMOVE, 1, 2)])?;
    ends_all(&ring, &[(1, -ECANCELED), (2, 0)])
}

fn a_removal_finds_nothing() -> Outcome {
    let mut ring = ring()?;
    res(&mut ring, at(op::TIMEOUT_REMOVE, 1, 2), -ENOENT)?;
    res(&mut ring, timeout(&after(0), 0, 1), -ETIME)?;
    res(&mut ring, at(op::TIMEOUT_REMOVE, 1, 2), -ENOENT)
}

fn a_removal_does_not_find_a_linked_timeout() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf, ts) = (pipe()?, Buf::new(8), hour());
    submit(&mut ring, &[flagged(read(r, buf.addr(), 8, 0, 1), LINK), link_timeout(&ts, 2)])?;
    res(&mut ring, at(op::TIMEOUT_REMOVE, 2, 3), -ENOENT)?;
    put(w, b"x")?;
    ends_all(&ring, &[(1, 1), (2, -ECANCELED)])
}

fn a_removal_does_not_find_other_requests() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1), poll_add(r, IN, 2)])?;
    res(&mut ring, at(op::TIMEOUT_REMOVE, 1, 3), -ENOENT)?;
    res(&mut ring, at(op::TIMEOUT_REMOVE, 2, 3), -ENOENT)?;
    put(w, b"x")
}

fn a_poll_removal_does_not_find_a_timeout() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&hour(), 0, 1)])?;
    res(&mut ring, at(op::POLL_REMOVE, 1, 2), -ENOENT)?;
    submit(&mut ring, &[cancel(1, 0, 3)])?;
    ends_all(&ring, &[(1, -ECANCELED), (3, 0)])
}

fn an_update_retimes() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&hour(), 0, 1)])?;
    res(&mut ring, update(1, &after(2 * MS), 0, 2), 0)?;
    ends(&ring, &[(1, -ETIME)])?;
    res(&mut ring, update(1, &after(MS), 0, 2), -ENOENT)
}

fn an_update_may_be_absolute() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&hour(), 0, 1)])?;
    let end = now() + 20 * MS;
    res(&mut ring, update(1, &after(end), ABS, 2), 0)?;
    ends(&ring, &[(1, -ETIME)])?;
    expect("not early", now() >= end, true)
}

fn an_update_does_not_change_the_clock() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&hour(), 0, 1)])?;
    res(&mut ring, update(1, &after(MS), BOOTTIME, 2), -EINVAL)?;
    res(&mut ring, update(1, &after(MS), REALTIME, 2), -EINVAL)?;
    res(&mut ring, update(1, &u64s(&[u64::MAX, 0]), 0, 2), -EINVAL)?;
    no_more(&mut ring)
}

fn an_updated_counted_timeout_counts_no_more() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&hour(), 2, 1)])?;
    res(&mut ring, update(1, &hour(), 0, 2), 0)?;
    for ud in 3..6 {
        res(&mut ring, nop(ud), 0)?;
    }
    submit(&mut ring, &[at(op::TIMEOUT_REMOVE, 1, 6)])?;
    ends_all(&ring, &[(1, -ECANCELED), (6, 0)])
}

fn an_update_retimes_a_linked_timeout() -> Outcome {
    let mut ring = ring()?;
    let ((r, _w), buf, ts) = (pipe()?, Buf::new(8), hour());
    submit(&mut ring, &[flagged(read(r, buf.addr(), 8, 0, 1), LINK), link_timeout(&ts, 2)])?;
    res(&mut ring, update(2, &after(MS), 0, 3), -ENOENT)?;
    res(&mut ring, update(2, &after(2 * MS), LINKED, 4), 0)?;
    ends_all(&ring, &[(1, -ECANCELED), (2, -ETIME)])
}

fn expiry_breaks_a_chain() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[flagged(timeout(&after(MS), 0, 1), LINK), nop(2)])?;
    ends(&ring, &[(1, -ETIME), (2, -ECANCELED)])
}

fn expiry_can_be_success() -> Outcome {
    let mut ring = ring()?;
    let ts = after(MS);
    let first = with_flags(SUCCESS, timeout(&ts, 0, 1));
    submit(&mut ring, &[flagged(first, LINK), nop(2)])?;
    ends(&ring, &[(1, -ETIME), (2, 0)])
}

fn expiry_is_posted_in_spite_of_skip() -> Outcome {
    let mut ring = ring()?;
    let ts = after(MS);
    submit(&mut ring, &[flagged(timeout(&ts, 0, 1), SKIP)])?;
    ends(&ring, &[(1, -ETIME)])?;
    let quiet = flagged(with_flags(SUCCESS, timeout(&ts, 0, 2)), SKIP);
    submit(&mut ring, &[quiet, timeout(&after(20 * MS), 0, 3)])?;
    ends(&ring, &[(3, -ETIME)])
}

fn a_count_is_reached_before_a_worker_removes_it() -> Outcome {
    for flags in [0, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits()] {
        for (remove, answer) in
            [(at(op::TIMEOUT_REMOVE, 1, 2), -ENOENT), (cancel(1, 0, 2), -ENOENT)]
        {
            let (mut ring, ts) = (with(8, flags)?, hour());
            submit(&mut ring, &[timeout(&ts, 1, 1)])?;
            submit(&mut ring, &[flagged(remove, ASYNC), nop(3)])?;
            ends_all(&ring, &[(1, 0), (2, answer), (3, 0)])?;
        }
    }
    Ok(())
}

fn a_workers_completion_counts_before_what_follows_it() -> Outcome {
    let (ts, path) = (hour(), Buf::of(b"/nowhere/x\0"));
    let unlink = rw(op::UNLINKAT, libc::AT_FDCWD, path.addr(), 0, 0, 2);
    for flags in [Setup::empty(), Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN] {
        let mut ring = with(16, flags.bits())?;
        submit(&mut ring, &[timeout(&ts, 1, 1)])?;
        submit(&mut ring, &[flagged(unlink, HARDLINK), cancel(1, 0, 3)])?;
        ends_all(&ring, &[(1, 0), (2, -ENOENT), (3, -ENOENT)])?;
    }
    Ok(())
}

fn a_drained_timeout_counts_from_its_own_start() -> Outcome {
    let (mut ring, ts) = (ring()?, hour());
    submit(&mut ring, &[flagged(nop(1), LINK), flagged(nop(2), DRAIN)])?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    submit(&mut ring, &[nop(3), nop(4), nop(5), timeout(&ts, 2, 6)])?;
    ends_all(&ring, &[(3, 0), (4, 0), (5, 0)])?;
    pending(&ring)
}

fn a_count_is_unsigned() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&hour(), 0x9000_0000, 1), timeout(&hour(), 0xffff_ffff, 2)])?;
    res(&mut ring, nop(3), 0)?;
    pending(&ring)?;
    submit(&mut ring, &[at(op::TIMEOUT_REMOVE, 1, 4), at(op::TIMEOUT_REMOVE, 2, 5)])?;
    ends_all(&ring, &[(1, -ECANCELED), (2, -ECANCELED), (4, 0), (5, 0)])
}

/// TIMEOUT 1, and a NOP behind it whose end says which one it was.
fn told_apart(ring: &mut Ring, ts: &Buf, count: u64, ud: u64) -> Outcome {
    submit(ring, &[flagged(timeout(ts, count, 1), LINK), nop(ud)])
}

/// A removal of TIMEOUT 1 takes the one with that NOP.
fn takes(ring: &mut Ring, ud: u64) -> Outcome {
    submit(ring, &[at(op::TIMEOUT_REMOVE, 1, 2)])?;
    ends_all(ring, &[(1, -ECANCELED), (2, 0), (ud, -ECANCELED)])
}

fn of_timeouts_with_one_name_those_that_count_go_first() -> Outcome {
    let (mut ring, ts) = (ring()?, hour());
    for (count, ud) in [(0, 11), (90, 12), (80, 13), (0, 14), (90, 15)] {
        told_apart(&mut ring, &ts, count, ud)?;
    }
    [13, 12, 15, 11, 14].into_iter().try_for_each(|ud| takes(&mut ring, ud))
}

fn an_updated_timeout_is_looked_for_last() -> Outcome {
    let (mut ring, ts) = (ring()?, hour());
    (11..14).try_for_each(|ud| told_apart(&mut ring, &ts, 0, ud))?;
    res(&mut ring, update(1, &ts, 0, 2), 0)?;
    [12, 13, 11].into_iter().try_for_each(|ud| takes(&mut ring, ud))
}

fn a_silent_timeout_ends_those_that_count() -> Outcome {
    let (mut ring, ts, now) = (ring()?, hour(), after(0));
    let silent = |ud| flagged(with_flags(SUCCESS, timeout(&now, 0, ud)), SKIP);
    submit(&mut ring, &[timeout(&ts, 2, 1), timeout(&ts, 0xffff, 2)])?;
    submit(&mut ring, &[silent(3)])?;
    ends_all(&ring, &[(1, 0), (2, 0)])?;
    no_more(&mut ring)
}
