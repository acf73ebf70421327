//! Section 3.3: what `enter` answers, and when a wait ends.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.3",
        an_empty_queue_answers_nothing,
        "enter with to_submit and an empty SQ answers 0."
    ),
    claim!(
        "3.3",
        fewer_than_asked_returns_without_waiting,
        "When fewer than to_submit were there, enter does not wait."
    ),
    claim!(
        "3.3",
        a_submission_hides_how_its_wait_ended,
        "After a submission a wait's timeout is not told."
    ),
    claim!(
        "3.3",
        a_timed_wait_with_nothing_there_is_etime,
        "A wait that times out with an empty CQ is ETIME."
    ),
    claim!(
        "3.3",
        a_timed_wait_with_something_there_is_0,
        "A wait that times out with a completion there answers 0."
    ),
    claim!(
        "3.3",
        a_signal_ends_a_wait_whatever_its_handler_says,
        "A signal ends a wait with EINTR, SA_RESTART or not."
    ),
    claim!(
        "3.3",
        a_wait_for_more_than_the_cq_holds_ends_when_it_is_full,
        "min_complete is clamped to the CQ's size."
    ),
    claim!("3.3", getevents_for_none_flushes, "GETEVENTS with a minimum of 0 flushes the backlog."),
    claim!(
        "3.3",
        a_fired_timeout_ends_a_wait_for_more,
        "A waiter returns when a TIMEOUT fires, however many it waits for."
    ),
    claim!("3.3", a_full_backlog_ends_a_wait, "A wait with a full CQ and a backlog returns 0."),
    claim!(
        "3.3",
        a_disabled_ring_is_ebadfd,
        "enter of an R_DISABLED ring is EBADFD until it is enabled."
    ),
    claim!(
        "3.3",
        a_linked_timeout_does_not_end_a_wait_for_more,
        "A LINK_TIMEOUT that fires is no reason for a waiter to return early."
    ),
];

/// Waits for `n` with a time limit.
fn timed(ring: &Ring, submit: u32, n: u32, ns: u64) -> Sys<u32> {
    let ts = after(ns);
    let arg = u64s(&[0, 8, ts.addr()]);
    ring.enter(submit, n, GETEVENTS | EXT_ARG, arg.addr(), 24)
}

fn an_empty_queue_answers_nothing() -> Outcome {
    expect("enter", ring()?.enter(5, 0, 0, 0, 0), Ok(0))
}

fn fewer_than_asked_returns_without_waiting() -> Outcome {
    let mut ring = ring()?;
    ring.push(nop(1));
    // Had it waited for five, it would still be there.
    expect("enter", ring.enter(3, 5, GETEVENTS, 0, 0), Ok(1))?;
    expect("enter", ring.enter(3, 5, GETEVENTS, 0, 0), Ok(0))
}

fn a_submission_hides_how_its_wait_ended() -> Outcome {
    let mut ring = ring()?;
    let ((r, _w), buf) = (pipe()?, Buf::new(8));
    ring.push(read(r, buf.addr(), 8, 0, 1));
    expect("enter", timed(&ring, 1, 1, 2 * MS), Ok(1))?;
    pending(&ring)
}

fn a_timed_wait_with_nothing_there_is_etime() -> Outcome {
    fails("enter", timed(&ring()?, 0, 1, 2 * MS), ETIME)
}

fn a_timed_wait_with_something_there_is_0() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[nop(1)])?;
    expect("enter", timed(&ring, 0, 2, 2 * MS), Ok(0))
}

extern "C" fn nothing(_: i32) {}

fn a_signal_ends_a_wait_whatever_its_handler_says() -> Outcome {
    let ring = ring()?;
    for flags in [0, libc::SA_RESTART] {
        must("sigaction", os::on_signal(libc::SIGUSR1, nothing, flags))?;
        let me = os::pid();
        let helper = must("fork", os::fork())?;
        if helper == 0 {
            os::deadline(5);
            loop {
                let _ = os::kill(me, libc::SIGUSR1);
                let _ = os::poll(-1, 0, 2);
            }
        }
        let r = ring.enter(0, 1, GETEVENTS, 0, 0);
        must("kill", os::kill(helper, libc::SIGKILL))?;
        // The helper's last signals may interrupt this one, too.
        while os::wait(helper) == Err(Errno(EINTR)) {}
        fails("enter", r, EINTR)?;
    }
    Ok(())
}

fn a_wait_for_more_than_the_cq_holds_ends_when_it_is_full() -> Outcome {
    let mut ring = small_cq(4)?;
    submit(&mut ring, &[nop(1), nop(2), nop(3), nop(4)])?;
    expect("enter", ring.enter(0, 1000, GETEVENTS, 0, 0), Ok(0))
}

fn getevents_for_none_flushes() -> Outcome {
    let mut ring = small_cq(2)?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    submit(&mut ring, &[nop(3)])?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    pending(&ring)?;
    expect("enter", ring.enter(0, 0, GETEVENTS, 0, 0), Ok(0))?;
    expect("flushed", ring.reap().map(|c| c.user_data), Some(3))
}

fn a_fired_timeout_ends_a_wait_for_more() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[timeout(&after(5 * MS), 0, 1)])?;
    expect("enter", ring.enter(0, 5, GETEVENTS, 0, 0), Ok(0))?;
    ends(&ring, &[(1, -ETIME)])
}

fn a_full_backlog_ends_a_wait() -> Outcome {
    let mut ring = small_cq(2)?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    submit(&mut ring, &[nop(3)])?;
    expect("enter", ring.enter(0, 2, GETEVENTS, 0, 0), Ok(0))?;
    ends(&ring, &[(1, 0), (2, 0), (3, 0)])
}

fn a_disabled_ring_is_ebadfd() -> Outcome {
    let mut ring = with(8, Setup::R_DISABLED.bits())?;
    fails("enter", ring.enter(0, 0, 0, 0, 0), libc::EBADFD)?;
    fails("enter", ring.enter(0, 1, GETEVENTS, 0, 0), libc::EBADFD)?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    res(&mut ring, nop(1), 0)
}

fn a_linked_timeout_does_not_end_a_wait_for_more() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    let short = after(5 * MS);
    let pair = [flagged(read(r, buf.addr(), 8, 0, 1), LINK), link_timeout(&short, 2)];
    submit(&mut ring, &pair)?;
    let last = read(r, buf.addr(), 8, 0, 3);
    submit(&mut ring, &[last])?;
    let fd = ring.fd;
    let waiter = std::thread::spawn(move || enter_fd(fd, 0, 3, GETEVENTS));
    until("the linked timeout fires", || ring.cq_tail() == 2)?;
    expect("the waiter is still there", waiter.is_finished(), false)?;
    put(w, b"x")?;
    expect("the wait", waiter.join().map_err(|_| "panicked")?, Ok(0))
}
