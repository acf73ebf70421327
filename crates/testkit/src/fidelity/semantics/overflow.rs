//! Section 3.14: a full completion ring and its backlog.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.14",
        a_full_ring_keeps_a_backlog,
        "Completions beyond the CQ's size wait in a backlog; CQ_OVERFLOW is set, the overflow counter stays 0."
    ),
    claim!(
        "3.14",
        a_full_ring_refuses_no_submission,
        "With a backlog submission goes on: no EBUSY."
    ),
    claim!(
        "3.14",
        nothing_overtakes_the_backlog,
        "While a backlog is there new completions go behind it, with room in the ring too."
    ),
    claim!("3.14", only_getevents_flushes, "enter without GETEVENTS does not flush the backlog."),
    claim!(
        "3.14",
        a_flush_keeps_the_order_and_clears_the_flag,
        "The backlog is flushed in order, the flag goes when it is empty."
    ),
    claim!(
        "3.14",
        a_backlogged_completion_does_not_signal,
        "The eventfd is not signalled for completions that went to the backlog."
    ),
    claim!(
        "3.14",
        an_overflow_ends_a_multishot_timeout,
        "A multishot TIMEOUT whose completion overflows ends: it comes through the backlog without MORE."
    ),
    claim!(
        "3.14",
        an_overflow_ends_a_multishot_poll,
        "A multishot poll whose completion overflows ends: it comes through the backlog without MORE."
    ),
];

/// A ring of two completions that are there, and so many more in the backlog.
fn full(more: u64) -> Res<Ring> {
    let mut ring = small_cq(2)?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    for ud in 0..more {
        submit(&mut ring, &[nop(3 + ud)])?;
    }
    Ok(ring)
}

fn a_full_ring_keeps_a_backlog() -> Outcome {
    let ring = full(2)?;
    expect("the flag", ring.sq_flags() & CQ_OVERFLOW, CQ_OVERFLOW)?;
    expect("the counter", ring.sq.load(ring.params.cq_off.overflow as usize), 0)?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    pending(&ring)
}

fn a_full_ring_refuses_no_submission() -> Outcome {
    let ring = full(100)?;
    let want: Vec<_> = (1..=102).map(|ud| (ud, 0)).collect();
    ends(&ring, &want)
}

fn nothing_overtakes_the_backlog() -> Outcome {
    let mut ring = full(1)?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    submit(&mut ring, &[nop(4)])?;
    pending(&ring)?;
    ends(&ring, &[(3, 0), (4, 0)])
}

fn only_getevents_flushes() -> Outcome {
    let ring = full(1)?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    expect("enter", ring.enter(0, 0, 0, 0, 0), Ok(0))?;
    pending(&ring)?;
    expect("enter", ring.enter(0, 0, GETEVENTS, 0, 0), Ok(0))?;
    expect("flushed", ring.reap().map(|c| c.user_data), Some(3))
}

fn a_flush_keeps_the_order_and_clears_the_flag() -> Outcome {
    let ring = full(3)?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    expect("enter", ring.enter(0, 0, GETEVENTS, 0, 0), Ok(0))?;
    expect("one is left", ring.sq_flags() & CQ_OVERFLOW, CQ_OVERFLOW)?;
    ends(&ring, &[(3, 0), (4, 0), (5, 0)])?;
    expect("none is left", ring.sq_flags() & CQ_OVERFLOW, 0)
}

fn a_backlogged_completion_does_not_signal() -> Outcome {
    let mut ring = small_cq(2)?;
    let e = must("eventfd", os::eventfd(0, libc::EFD_NONBLOCK))?;
    must("register", ring.register(reg::EVENTFD, i32s(&[e]).addr(), 1))?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    expect("posted", get(e)?, 1_u64.to_ne_bytes().to_vec())?;
    submit(&mut ring, &[nop(3)])?;
    fails("in the backlog", os::read(e, &mut [0; 8]), libc::EAGAIN)
}

fn an_overflow_ends_a_multishot_timeout() -> Outcome {
    let mut ring = small_cq(2)?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    submit(&mut ring, &[Sqe { op_flags: 64, ..timeout(&after(MS), 0, 3) }])?;
    until("the overflow", || ring.sq_flags() & CQ_OVERFLOW != 0)?;
    ends_flags(&ring, &[(1, 0, 0), (2, 0, 0), (3, -ETIME, 0)])?;
    res(&mut ring, at(op::TIMEOUT_REMOVE, 3, 4), -ENOENT)
}

fn an_overflow_ends_a_multishot_poll() -> Outcome {
    let mut ring = small_cq(2)?;
    let (r, w) = pipe()?;
    submit(&mut ring, &[poll_multi(r, IN, 3)])?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    put(w, b"x")?;
    until("the overflow", || ring.sq_flags() & CQ_OVERFLOW != 0)?;
    ends_flags(&ring, &[(1, 0, 0), (2, 0, 0), (3, IN as i32, 0)])?;
    res(&mut ring, at(op::POLL_REMOVE, 3, 4), -ENOENT)
}
