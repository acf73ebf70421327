//! Section 3.16: regions of wait arguments, and the clock of a ring.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
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
    claim!(
        "3.16",
        a_registered_argument_is_checked,
        "In a region unknown flags are EINVAL, a bad mask EFAULT or EINVAL, padding is not looked at.",
        needs "ENTER_EXT_ARG_REG", "REG_WAIT_TS"
    ),
    claim!(
        "3.16",
        a_registered_argument_is_read_at_each_wait,
        "What the program writes into a region holds for the next wait: minimum, time, absolute time, mask.",
        needs "ENTER_EXT_ARG_REG", "REG_WAIT_TS"
    ),
    claim!(
        "3.16",
        a_region_without_the_flag_holds_no_arguments,
        "MEM_REGION without REG_WAIT_ARG works on an enabled ring, and a wait there is EFAULT.",
        needs "REGISTER_MEM_REGION"
    ),
    claim!(
        "3.16",
        a_polling_ring_takes_no_registered_argument,
        "On an IOPOLL ring EXT_ARG_REG is EINVAL.",
        needs "ENTER_EXT_ARG_REG"
    ),
    claim!(
        "3.16",
        a_region_is_checked_field_by_field,
        "MEM_REGION says EINVAL, EFAULT, E2BIG or EOVERFLOW in the kernel's order, and takes nothing then.",
        needs "REGISTER_MEM_REGION", "MEM_REGION_TYPE_USER"
    ),
    claim!(
        "3.16",
        a_region_of_the_callers_outlives_its_mapping,
        "The caller may unmap a registered region: waits still find what was there.",
        needs "REGISTER_MEM_REGION", "MEM_REGION_TYPE_USER"
    ),
    claim!(
        "3.16",
        a_region_of_the_rings_own_is_mapped,
        "Without TYPE_USER MEM_REGION answers the offset at which the ring's descriptor maps zeroed memory.",
        needs "REGISTER_MEM_REGION", "MEM_REGION_REG_WAIT_ARG"
    ),
    claim!(
        "3.16",
        a_clock_is_checked,
        "REGISTER_CLOCK knows the monotonic and the boot clock, and may go back.",
        needs "REGISTER_CLOCK"
    ),
];

/// `IORING_ENTER_EXT_ARG_REG`.
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
    described(ring, &[page.addr(), 4096, 1, 0, 0, 0, 0, 0], flags)
}

/// MEM_REGION with `struct io_uring_region_desc` {address, size, flags | id, offset, reserved}.
fn described(ring: &Ring, desc: &[u64; 8], flags: u64) -> Sys<u64> {
    let desc = u64s(desc);
    let arg = u64s(&[desc.addr(), flags, 0, 0]);
    ring.register(34, arg.addr(), 1)
}

/// Writes `struct io_uring_reg_wait` at byte `at`: {seconds, nanoseconds, minimum | flags, mask, size}.
fn write_arg(page: &Buf, at: usize, words: [u64; 5]) {
    words.into_iter().enumerate().for_each(|(i, w)| page.put64(at + 8 * i, w));
}

fn wait_at(ring: &Ring, at: u64, flags: u32) -> Sys<u32> {
    ring.enter(0, 1, GETEVENTS | EXT_ARG | EXT_ARG_REG | flags, at, 64)
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

/// enter with EXT_ARG and an absolute time.
fn wait_until(ring: &Ring, ns: u64) -> Sys<u32> {
    let arg = u64s(&[0, 8, after(ns).leak()]);
    ring.enter(0, 1, GETEVENTS | EXT_ARG | ABS_TIMER, arg.addr(), 24)
}

fn a_ring_can_wait_by_another_clock() -> Outcome {
    let ring = ring()?;
    expect("CLOCK", clock(&ring, libc::CLOCK_BOOTTIME, 0), Ok(0))?;
    let end = os::clock(libc::CLOCK_BOOTTIME) + 5 * MS;
    fails("enter", wait_until(&ring, end), ETIME)?;
    expect("not early", os::clock(libc::CLOCK_BOOTTIME) >= end, true)?;
    fails("the real-time clock", clock(&ring, libc::CLOCK_REALTIME, 0), EINVAL)
}

fn clock(ring: &Ring, id: i32, reserved: u64) -> Sys<u64> {
    let arg = u64s(&[u64::from(id.cast_unsigned()), reserved]);
    ring.register(29, arg.addr(), 0)
}

fn a_clock_is_checked() -> Outcome {
    let ring = ring()?;
    fails("the raw clock", clock(&ring, libc::CLOCK_MONOTONIC_RAW, 0), EINVAL)?;
    fails("reserved", clock(&ring, libc::CLOCK_BOOTTIME, 1 << 32), EINVAL)?;
    expect("boot", clock(&ring, libc::CLOCK_BOOTTIME, 0), Ok(0))?;
    expect("back", clock(&ring, libc::CLOCK_MONOTONIC, 0), Ok(0))?;
    let end = os::clock(libc::CLOCK_MONOTONIC) + 2 * MS;
    fails("enter", wait_until(&ring, end), ETIME)?;
    expect("not early", os::clock(libc::CLOCK_MONOTONIC) >= end, true)
}

const TS: u64 = 1 << 32;

fn a_registered_argument_is_checked() -> Outcome {
    let (ring, page) = with_region()?;
    write_arg(&page, 0, [0, MS, 2 << 32, 0, 0]);
    fails("flags", wait_at(&ring, 0, 0), EINVAL)?;
    write_arg(&page, 0, [0, MS, TS, 8, 8]);
    fails("a bad mask", wait_at(&ring, 0, 0), EFAULT)?;
    write_arg(&page, 0, [0, MS, TS, 8, 4]);
    fails("a mask's size", wait_at(&ring, 0, 0), EINVAL)?;
    write_arg(&page, 0, [0, MS, TS, 0, 1 << 32]);
    (5..8).for_each(|i| page.put64(8 * i, 1));
    fails("padding", wait_at(&ring, 0, 0), ETIME)?;
    write_arg(&page, 0, [u64::MAX, 0, TS, 0, 0]);
    fails("a negative time", wait_at(&ring, 0, 0), ETIME)?;
    write_arg(&page, 4096 - 64, [0, 0, TS, 0, 0]);
    fails("the last", wait_at(&ring, 4096 - 64, 0), ETIME)?;
    fails("one word on", wait_at(&ring, 4096 - 56, 0), EFAULT)?;
    fails("around", wait_at(&ring, u64::MAX - 63, 0), EFAULT)?;
    // The size comes first, and without EXT_ARG nobody looks.
    fails("another size", ring.enter(0, 1, GETEVENTS | EXT_ARG | EXT_ARG_REG, 4, 24), EINVAL)?;
    expect("no EXT_ARG", ring.enter(0, 0, GETEVENTS | EXT_ARG_REG, 0, 8), Ok(0))
}

extern "C" fn nothing(_: i32) {}

fn a_registered_argument_is_read_at_each_wait() -> Outcome {
    let (ring, page) = with_region()?;
    let now = || os::clock(libc::CLOCK_MONOTONIC);
    let before = now();
    write_arg(&page, 64, [0, 0, 4_000, 0, 0]);
    fails("the minimum", wait_at(&ring, 64, 0), ETIME)?;
    expect("not early", now() - before >= 4 * MS, true)?;
    let end = now() + 3 * MS;
    write_arg(&page, 64, [end / (1000 * MS), end % (1000 * MS), TS, 0, 0]);
    fails("absolute", wait_at(&ring, 64, ABS_TIMER), ETIME)?;
    expect("not early", now() >= end, true)?;
    must("sigaction", os::on_signal(libc::SIGUSR1, nothing, 0))?;
    os::block_all_signals(true);
    must("raise", os::raise(libc::SIGUSR1))?;
    let mask = u64s(&[0]);
    write_arg(&page, 64, [3600, 0, TS, mask.addr(), 8]);
    fails("the mask", wait_at(&ring, 64, 0), EINTR)?;
    os::block_all_signals(false);
    Ok(())
}

fn a_region_without_the_flag_holds_no_arguments() -> Outcome {
    let (ring, page) = (ring()?, Buf::new(4096));
    expect("enabled", region(&ring, &page, 0), Ok(0))?;
    fails("a second", region(&ring, &page, 0), EBUSY)?;
    fails("a wait", wait_at(&ring, 0, 0), EFAULT)
}

fn a_polling_ring_takes_no_registered_argument() -> Outcome {
    let ring = with(8, Setup::IOPOLL.bits() | Setup::R_DISABLED.bits())?;
    let page = Buf::new(4096);
    expect("region", region(&ring, &page, 1), Ok(0))?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    write_arg(&page, 0, [0, MS, TS, 0, 0]);
    fails("a wait", wait_at(&ring, 0, 0), EINVAL)
}

fn a_region_is_checked_field_by_field() -> Outcome {
    let (ring, page) = (with(8, Setup::R_DISABLED.bits())?, Buf::new(8192));
    let at = page.addr();
    const USER: u64 = 1;
    let bad = [
        ("reserved", [at, 4096, USER, 0, 0, 0, 0, 1], EINVAL),
        ("flags", [at, 4096, 2, 0, 0, 0, 0, 0], EINVAL),
        ("an address of no use", [at, 4096, 0, 0, 0, 0, 0, 0], EFAULT),
        ("no address", [0, 4096, USER, 0, 0, 0, 0, 0], EFAULT),
        ("an id", [at, 4096, USER | 1 << 32, 0, 0, 0, 0, 0], EINVAL),
        ("an offset", [at, 4096, USER, 1, 0, 0, 0, 0], EINVAL),
        ("no size", [at, 0, USER, 0, 0, 0, 0, 0], EINVAL),
        ("a size", [at, 100, USER, 0, 0, 0, 0, 0], EINVAL),
        ("an address", [at + 8, 4096, USER, 0, 0, 0, 0, 0], EINVAL),
        ("too much", [at, (1 << 44) + 1, USER, 0, 0, 0, 0, 0], libc::E2BIG),
        ("around", [4096u64.wrapping_neg(), 8192, USER, 0, 0, 0, 0, 0], EOVERFLOW),
        ("nothing there", [1 << 16, 4096, USER, 0, 0, 0, 0, 0], EFAULT),
        ("more than there is", [0, 1 << 42, 0, 0, 0, 0, 0, 0], ENOMEM),
        ("an id, but an address first", [at, 100, 1 << 32, 0, 0, 0, 0, 0], EFAULT),
    ];
    for (what, desc, errno) in &bad {
        fails(what, described(&ring, desc, 1), *errno)?;
    }
    must("protect", page.protect(libc::PROT_READ))?;
    fails("to read only", described(&ring, &[at, 4096, USER, 0, 0, 0, 0, 0], 1), EFAULT)?;
    must("protect", page.protect(libc::PROT_READ | libc::PROT_WRITE))?;
    fails("flags of the call", region(&ring, &page, 2), EINVAL)?;
    fails("the description", ring.register(34, u64s(&[8, 0, 0, 1]).addr(), 1), EFAULT)?;
    expect("two pages", described(&ring, &[at, 8192, USER, 0, 0, 0, 0, 0], 1), Ok(0))?;
    fails("a second, whatever it is", ring.register(34, 8, 1), EBUSY)
}

fn a_region_of_the_callers_outlives_its_mapping() -> Outcome {
    let (ring, page) = with_region()?;
    write_arg(&page, 0, [0, 2 * MS, TS, 0, 0]);
    drop(page);
    let before = os::clock(libc::CLOCK_MONOTONIC);
    fails("a wait", wait_at(&ring, 0, 0), ETIME)?;
    expect("not early", os::clock(libc::CLOCK_MONOTONIC) - before >= 2 * MS, true)
}

fn a_region_of_the_rings_own_is_mapped() -> Outcome {
    let ring = with(8, Setup::R_DISABLED.bits())?;
    let at = |len, off| Buf::map(len, libc::MAP_SHARED, ring.fd, off);
    const OFFSET: u64 = 0x2000_0000;
    fails("none yet", at(4096, OFFSET), ENOMEM)?;
    let desc = u64s(&[0, 8192, 0, 0, 0, 0, 0, 0]);
    expect("region", ring.register(34, u64s(&[desc.addr(), 1, 0, 0]).addr(), 1), Ok(0))?;
    expect("its offset", (desc.get64(0), desc.get64(8), desc.get64(24)), (0, 8192, OFFSET))?;
    let (page, again) = (must("map", at(8192, OFFSET))?, must("map", at(16384, OFFSET + 4096))?);
    fails("less than all", at(4096, OFFSET), EFAULT)?;
    expect("zeroed", (0..1024).all(|i| page.get64(8 * i) == 0), true)?;
    write_arg(&page, 0, [0, 2 * MS, TS, 0, 0]);
    expect("one memory", again.get64(8), 2 * MS)?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    fails("a wait", wait_at(&ring, 0, 0), ETIME)?;
    // The caller's own memory is mapped nowhere.
    let (ring, mine) = (with(8, 0)?, Buf::new(4096));
    expect("mine", region(&ring, &mine, 0), Ok(0))?;
    fails("no offset", Buf::map(4096, libc::MAP_SHARED, ring.fd, OFFSET), ENOMEM)
}
