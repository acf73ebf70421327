//! Section 3.20: the eventfd of a ring.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.20",
        a_batch_signals_once,
        "Three completions of one enter signal the eventfd once, three enters three times."
    ),
    claim!(
        "3.20",
        a_ring_has_one_eventfd,
        "A second registration is EBUSY, one that is none EINVAL."
    ),
    claim!(
        "3.20",
        a_muted_eventfd_is_silent,
        "With EVENTFD_DISABLED in the CQ flags nothing is signalled."
    ),
    claim!(
        "3.20",
        an_async_eventfd_leaves_out_inline_completions,
        "EVENTFD_ASYNC does not signal what completed inline."
    ),
    claim!(
        "3.20",
        an_async_eventfd_tells_of_workers,
        "EVENTFD_ASYNC signals what a worker completed."
    ),
    claim!(
        "3.20",
        a_registered_eventfd_is_held,
        "The registration holds the eventfd when its descriptor is closed."
    ),
    claim!(
        "3.20",
        an_unregistered_eventfd_is_silent,
        "After UNREGISTER_EVENTFD nothing is signalled; a second one is ENXIO."
    ),
    claim!(
        "3.20",
        deferred_work_signals_twice,
        "On a DEFER_TASKRUN ring work that arrives signals, and its completion again."
    ),
];

/// A ring and its eventfd.
fn signalled(opcode: u32, flags: u32) -> Res<(Ring, i32)> {
    let ring = with(8, flags)?;
    let e = must("eventfd", os::eventfd(0, libc::EFD_NONBLOCK))?;
    must("register", ring.register(opcode, i32s(&[e]).addr(), 1))?;
    Ok((ring, e))
}

/// Signals since the last look; 0 when there were none.
fn count(e: i32) -> u64 {
    let mut b = [0; 8];
    os::read(e, &mut b).map_or(0, |_| u64::from_ne_bytes(b))
}

fn a_batch_signals_once() -> Outcome {
    let (mut ring, e) = signalled(reg::EVENTFD, 0)?;
    submit(&mut ring, &[nop(1), nop(2), nop(3)])?;
    expect("one batch", count(e), 1)?;
    for ud in 4..7 {
        submit(&mut ring, &[nop(ud)])?;
    }
    expect("three batches", count(e), 3)
}

fn a_ring_has_one_eventfd() -> Outcome {
    let (ring, e) = signalled(reg::EVENTFD, 0)?;
    fails("again", ring.register(reg::EVENTFD, i32s(&[e]).addr(), 1), EBUSY)?;
    let other = super::kit::ring()?;
    let null = must("open", os::open("/dev/null", libc::O_RDWR))?;
    fails("no eventfd", other.register(reg::EVENTFD, i32s(&[null]).addr(), 1), EINVAL)
}

fn a_muted_eventfd_is_silent() -> Outcome {
    let (mut ring, e) = signalled(reg::EVENTFD, 0)?;
    let flags = ring.params.cq_off.flags as usize;
    ring.sq.store(flags, 1);
    submit(&mut ring, &[nop(1)])?;
    expect("muted", count(e), 0)?;
    ring.sq.store(flags, 0);
    submit(&mut ring, &[nop(2)])?;
    expect("not muted", count(e), 1)
}

fn an_async_eventfd_leaves_out_inline_completions() -> Outcome {
    let (mut ring, e) = signalled(7, 0)?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    expect("inline", count(e), 0)
}

fn an_async_eventfd_tells_of_workers() -> Outcome {
    let (mut ring, e) = signalled(7, 0)?;
    submit(&mut ring, &[flagged(nop(1), ASYNC)])?;
    until("a signal", || count(e) > 0)?;
    ends(&ring, &[(1, 0)])
}

fn a_registered_eventfd_is_held() -> Outcome {
    let (mut ring, e) = signalled(reg::EVENTFD, 0)?;
    let copy = must("dup", os::dup(e))?;
    close(e)?;
    submit(&mut ring, &[nop(1)])?;
    expect("the other number", count(copy), 1)
}

fn an_unregistered_eventfd_is_silent() -> Outcome {
    let (mut ring, e) = signalled(reg::EVENTFD, 0)?;
    expect("unregister", ring.register(reg::UNREGISTER_EVENTFD, 0, 0), Ok(0))?;
    submit(&mut ring, &[nop(1)])?;
    expect("silent", count(e), 0)?;
    fails("again", ring.register(reg::UNREGISTER_EVENTFD, 0, 0), ENXIO)
}

fn deferred_work_signals_twice() -> Outcome {
    let flags = Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN;
    let (mut ring, e) = signalled(reg::EVENTFD, flags.bits())?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    put(w, b"x")?;
    let mut seen = 0;
    until("work arrived", || {
        seen += count(e);
        seen > 0
    })?;
    expect("once", seen, 1)?;
    pending(&ring)?;
    ends(&ring, &[(1, 1)])?;
    until("it was posted", || count(e) == 1)
}
