//! Section 3.16: the arguments of a wait.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.16",
        a_plain_argument_is_a_mask_of_8_bytes,
        "Without EXT_ARG a mask needs size 8, NULL goes with any; other sizes are EINVAL."
    ),
    claim!(
        "3.16",
        bad_wait_arguments_are_efault,
        "An argument, mask or time that can not be read is EFAULT."
    ),
    claim!("3.16", an_extended_argument_has_24_bytes, "EXT_ARG with another size is EINVAL."),
    claim!(
        "3.16",
        a_time_that_has_passed_is_etime,
        "An absolute time in the past is ETIME at once."
    ),
    claim!("3.16", a_negative_time_is_etime, "A negative relative time is ETIME at once."),
    claim!(
        "3.16",
        a_wait_for_fewer_than_none_does_not_sleep,
        "A min_complete above 2^31 is negative: the wait answers 0 at once, but its mask is looked at."
    ),
    claim!(
        "3.16",
        an_absolute_wait_ends_at_its_time,
        "With ABS_TIMER a wait ends at that time of the monotonic clock, not before."
    ),
    claim!(
        "3.16",
        a_mask_holds_for_the_wait_only,
        "A signal that the wait's mask lets in ends it, and the thread's own mask is back after it."
    ),
    claim!(
        "3.16",
        a_minimum_time_ends_a_wait_for_more,
        "With one there and four wanted, min_wait_usec passes and the wait answers 0."
    ),
    claim!(
        "3.16",
        after_the_minimum_the_first_completion_ends_the_wait,
        "With none there after min_wait_usec the wait goes on to the time limit: ETIME."
    ),
    claim!(
        "3.16",
        a_minimum_alone_is_the_limit,
        "Without a time limit min_wait_usec is one: ETIME."
    ),
];

fn now() -> u64 {
    os::clock(libc::CLOCK_MONOTONIC)
}

/// enter with EXT_ARG: for `n`, at least `us`, by `ts`.
fn wait(ring: &Ring, n: u32, us: u64, ts: u64, flags: u32) -> Sys<u32> {
    let arg = u64s(&[0, 8 | us << 32, ts]);
    ring.enter(0, n, GETEVENTS | EXT_ARG | flags, arg.addr(), 24)
}

fn a_plain_argument_is_a_mask_of_8_bytes() -> Outcome {
    let mut ring = ring()?;
    let mask = u64s(&[0]);
    submit(&mut ring, &[nop(1)])?;
    fails("5 bytes", with(4, 0)?.enter(0, 1, GETEVENTS, mask.addr(), 5), EINVAL)?;
    expect("8 bytes", ring.enter(0, 1, GETEVENTS, mask.addr(), 8), Ok(0))?;
    expect("NULL", ring.enter(0, 1, GETEVENTS, 0, 5), Ok(0))
}

fn bad_wait_arguments_are_efault() -> Outcome {
    let ring = ring()?;
    let wait = |min, arg: u64| ring.enter(0, min, GETEVENTS | EXT_ARG, arg, 24);
    fails("the argument", wait(1, 16), EFAULT)?;
    fails("the time", wait(1, u64s(&[0, 8, 16]).addr()), EFAULT)?;
    fails("the mask", wait(1, u64s(&[16, 8, 0]).addr()), EFAULT)?;
    fails("the plain mask", ring.enter(0, 1, GETEVENTS, 16, 8), EFAULT)
}

fn an_extended_argument_has_24_bytes() -> Outcome {
    let ring = ring()?;
    let arg = u64s(&[0, 8, 0, 0]);
    for size in [0, 8, 23, 32] {
        fails("enter", ring.enter(0, 0, GETEVENTS | EXT_ARG, arg.addr(), size), EINVAL)?;
    }
    Ok(())
}

fn a_time_that_has_passed_is_etime() -> Outcome {
    let past = after(MS);
    fails("enter", wait(&ring()?, 1, 0, past.addr(), ABS_TIMER), ETIME)
}

fn a_negative_time_is_etime() -> Outcome {
    let negative = u64s(&[u64::MAX, 0]);
    fails("enter", wait(&ring()?, 1, 0, negative.addr(), 0), ETIME)
}

fn a_wait_for_fewer_than_none_does_not_sleep() -> Outcome {
    let deferred = (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits();
    for flags in [0, Setup::SINGLE_ISSUER.bits(), deferred] {
        let ring = with(8, flags)?;
        for min in [(1 << 31) + 1, u32::MAX] {
            expect(
                "enter",
                wait(&ring, min, 0, after(now() + 3600 * 1000 * MS).addr(), ABS_TIMER),
                Ok(0),
            )?;
            expect("with no time", ring.enter(0, min, GETEVENTS, 0, 0), Ok(0))?;
            fails("the mask", ring.enter(0, min, GETEVENTS, 16, 8), EFAULT)?;
        }
    }
    Ok(())
}

fn an_absolute_wait_ends_at_its_time() -> Outcome {
    let end = now() + 5 * MS;
    fails("enter", wait(&ring()?, 1, 0, after(end).addr(), ABS_TIMER), ETIME)?;
    expect("not early", now() >= end, true)
}

extern "C" fn nothing(_: i32) {}

fn a_mask_holds_for_the_wait_only() -> Outcome {
    let ring = ring()?;
    must("sigaction", os::on_signal(libc::SIGUSR1, nothing, 0))?;
    os::block_all_signals(true);
    must("raise", os::raise(libc::SIGUSR1))?;
    let none = u64s(&[0]);
    fails("let in", ring.enter(0, 1, GETEVENTS, none.addr(), 8), EINTR)?;
    // Blocked again: it stays pending, and a wait without a mask goes its time.
    must("raise", os::raise(libc::SIGUSR1))?;
    fails("blocked", wait(&ring, 1, 0, after(2 * MS).addr(), 0), ETIME)?;
    fails("let in", ring.enter(0, 1, GETEVENTS, none.addr(), 8), EINTR)?;
    os::block_all_signals(false);
    Ok(())
}

fn a_minimum_time_ends_a_wait_for_more() -> Outcome {
    let mut ring = ring()?;
    submit(&mut ring, &[nop(1)])?;
    let before = now();
    expect("enter", wait(&ring, 4, 20_000, hour().addr(), 0), Ok(0))?;
    expect("not early", now() - before >= 20 * MS, true)
}

fn after_the_minimum_the_first_completion_ends_the_wait() -> Outcome {
    let mut ring = ring()?;
    let before = now();
    fails("enter", wait(&ring, 4, 5_000, after(15 * MS).addr(), 0), ETIME)?;
    expect("not early", now() - before >= 15 * MS, true)?;
    submit(&mut ring, &[flagged(timeout(&after(30 * MS), 0, 1), 0)])?;
    expect("enter", wait(&ring, 4, 1_000, hour().addr(), 0), Ok(0))?;
    ends(&ring, &[(1, -ETIME)])
}

fn a_minimum_alone_is_the_limit() -> Outcome {
    let before = now();
    fails("enter", wait(&ring()?, 1, 5_000, 0, 0), ETIME)?;
    expect("not early", now() - before >= 5 * MS, true)
}
