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
    claim!(
        "3.16",
        an_argument_region_needs_registration,
        "EXT_ARG_REG without a region, beyond it or not aligned is EFAULT, with another size EINVAL.",
        needs "ENTER_EXT_ARG_REG"
    ),
    claim!(
        "3.16",
        a_wait_takes_its_argument_from_a_region,
        "With EXT_ARG_REG a wait takes its time from a registered region.",
        needs "ENTER_EXT_ARG_REG"
    ),
    claim!(
        "3.16",
        a_region_of_arguments_needs_a_disabled_ring,
        "MEM_REGION with REG_WAIT_ARG on an enabled ring is EINVAL, a second one EBUSY.",
        needs "REGISTER_MEM_REGION"
    ),
    claim!(
        "3.16",
        a_ring_can_wait_by_another_clock,
        "REGISTER_CLOCK makes a wait's absolute time one of that clock.",
        needs "REGISTER_CLOCK"
    ),
];

const ABS_TIMER: u32 = 32;

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

const EXT_ARG_REG: u32 = 64;

/// A disabled ring with a page of wait arguments, enabled then.
fn with_region() -> Res<(Ring, Buf)> {
    let flags = Setup::R_DISABLED | Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN;
    let ring = with(8, flags.bits())?;
    let page = Buf::new(4096);
    must("region", region(&ring, &page, 1))?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    Ok((ring, page))
}

/// MEM_REGION of memory of ours.
fn region(ring: &Ring, page: &Buf, flags: u64) -> Sys<u64> {
    let desc = u64s(&[page.addr(), 4096, 1, 0, 0, 0, 0, 0]);
    let arg = u64s(&[desc.addr(), flags, 0, 0]);
    ring.register(34, arg.addr(), 1)
}

fn an_argument_region_needs_registration() -> Outcome {
    let ring = ring()?;
    fails("enter", ring.enter(0, 1, GETEVENTS | EXT_ARG | EXT_ARG_REG, 0, 64), EFAULT)?;
    let (ring, _page) = with_region()?;
    let wait = |at, size| ring.enter(0, 1, GETEVENTS | EXT_ARG | EXT_ARG_REG, at, size);
    fails("another size", wait(0, 24), EINVAL)?;
    fails("beyond", wait(4096, 64), EFAULT)?;
    fails("not aligned", wait(4, 64), EFAULT)
}

fn a_wait_takes_its_argument_from_a_region() -> Outcome {
    let (ring, page) = with_region()?;
    // {ts, min_wait_usec, flags TS, sigmask, sigmask_sz}
    [0, 2 * MS, 1 << 32, 0].into_iter().enumerate().for_each(|(i, w)| page.put64(64 + 8 * i, w));
    let r = ring.enter(0, 1, GETEVENTS | EXT_ARG | EXT_ARG_REG, 64, 64);
    fails("a timed wait", r, ETIME)
}

fn a_region_of_arguments_needs_a_disabled_ring() -> Outcome {
    let (enabled, page) = (ring()?, Buf::new(4096));
    fails("enabled", region(&enabled, &page, 1), EINVAL)?;
    let ring = with(8, Setup::R_DISABLED.bits())?;
    expect("disabled", region(&ring, &page, 1), Ok(0))?;
    fails("a second", region(&ring, &page, 1), EBUSY)
}

fn a_ring_can_wait_by_another_clock() -> Outcome {
    let ring = ring()?;
    let arg = u64s(&[u64::from(libc::CLOCK_BOOTTIME.cast_unsigned()), 0]);
    expect("CLOCK", ring.register(29, arg.addr(), 0), Ok(0))?;
    let end = os::clock(libc::CLOCK_BOOTTIME) + 5 * MS;
    fails("enter", wait(&ring, 1, 0, after(end).addr(), ABS_TIMER), ETIME)?;
    expect("not early", os::clock(libc::CLOCK_BOOTTIME) >= end, true)?;
    let arg = u64s(&[u64::from(libc::CLOCK_REALTIME.cast_unsigned()), 0]);
    fails("the real-time clock", ring.register(29, arg.addr(), 0), EINVAL)
}
