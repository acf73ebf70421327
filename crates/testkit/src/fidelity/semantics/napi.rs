//! Section 4: busy polling, of which a program sees the settings.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "4",
        busy_polling_is_set_and_told,
        "NAPI takes a time of at most 10 ms, and tells the settings before; UNREGISTER_NAPI tells time and preference.",
        needs "REGISTER_NAPI", "UNREGISTER_NAPI"
    ),
    claim!(
        "4",
        busy_polling_checks_after_it_told,
        "NAPI tells the settings, then refuses an unknown operation or tracking; a reserved field, or IOPOLL, before.",
        needs "REGISTER_NAPI"
    ),
    claim!(
        "4",
        devices_are_named_with_static_tracking_only,
        "An id is added once and removed once, with static tracking, and forgotten with new settings.",
        needs "REGISTER_NAPI"
    ),
    claim!(
        "4",
        a_wait_with_busy_polling_ends_in_time,
        "With busy polling set a wait ends with its completion, or at its time.",
        needs "REGISTER_NAPI"
    ),
];

/// What NAPI takes and tells: time, preference, operation, parameter.
type Settings = (u64, u64, u64, u64);

fn call(ring: &Ring, op: u32, s: Settings) -> (Sys<u64>, Settings) {
    let (time, prefer, opcode, param) = s;
    let arg = u64s(&[time | prefer << 32 | opcode << 40, param]);
    let r = ring.register(op, arg.addr(), 1);
    let (a, b) = (arg.get64(0), arg.get64(8));
    (r, (a & 0xffff_ffff, a >> 32 & 0xff, a >> 40, b))
}

const SET: u32 = 27;
const UNSET: u32 = 28;
const REGISTER: u64 = 0;
const ADD: u64 = 1;
const REMOVE: u64 = 2;
const STATIC: u64 = 1;
const NOTHING: u64 = 255;

fn busy_polling_is_set_and_told() -> Outcome {
    let ring = ring()?;
    let set = |s| call(&ring, SET, s);
    expect("the first", set((100, 1, REGISTER, 0)), (Ok(0), (0, 0, 0, NOTHING)))?;
    expect("the second", set((u64::from(u32::MAX), 7, REGISTER, STATIC)), (Ok(0), (100, 1, 0, 0)))?;
    expect("the third", set((5, 0, REGISTER, 0)), (Ok(0), (10_000, 1, 0, STATIC)))?;
    expect("the end", call(&ring, UNSET, (9, 9, 9, 9)), (Ok(0), (5, 0, 0, 0)))?;
    expect("without an address", ring.register(UNSET, 0, 1), Ok(0))?;
    expect("none", set((1, 0, REGISTER, 0)), (Ok(0), (0, 0, 0, NOTHING)))
}

fn busy_polling_checks_after_it_told() -> Outcome {
    let ring = ring()?;
    let invalid = Err(Errno(EINVAL));
    let told = (0, 0, 0, NOTHING);
    expect("an operation", call(&ring, SET, (5, 1, 3, 0)), (invalid, told))?;
    expect("a tracking", call(&ring, SET, (5, 1, REGISTER, 2)), (invalid, told))?;
    expect("reserved", call(&ring, SET, (5, 1, 0, 1 << 32)), (invalid, (5, 1, 0, 1 << 32)))?;
    expect("a pad", call(&ring, SET, (5, 1, 1 << 8, 0)), (invalid, (5, 1, 1 << 8, 0)))?;
    expect("nothing was set", call(&ring, UNSET, (9, 9, 9, 9)), (Ok(0), (0, 0, 0, 0)))?;
    let polls = with(8, Setup::IOPOLL.bits())?;
    expect("IOPOLL", call(&polls, SET, (5, 1, 0, 0)), (invalid, (5, 1, 0, 0)))?;
    fails("IOPOLL, whatever the address", polls.register(SET, 8, 1), EINVAL)?;
    expect("unset there", polls.register(UNSET, 0, 1), Ok(0))
}

fn devices_are_named_with_static_tracking_only() -> Outcome {
    let ring = ring()?;
    let id = |op, id| call(&ring, SET, (0, 0, op, id)).0;
    let set = |tracking| call(&ring, SET, (7, 0, REGISTER, tracking)).0;
    fails("inactive", id(ADD, 9000), EINVAL)?;
    expect("dynamic", set(0), Ok(0))?;
    fails("with dynamic tracking", id(ADD, 9000), EINVAL)?;
    expect("static", set(STATIC), Ok(0))?;
    fails("a number of no device", id(ADD, 1), EINVAL)?;
    expect("added", id(ADD, 9000), Ok(0))?;
    fails("added again", id(ADD, 9000), EEXIST)?;
    expect("removed", id(REMOVE, 9000), Ok(0))?;
    fails("removed again", id(REMOVE, 9000), ENOENT)?;
    expect("added", id(ADD, u64::from(u32::MAX)), Ok(0))?;
    expect("set anew", set(STATIC), Ok(0))?;
    fails("forgotten", id(REMOVE, u64::from(u32::MAX)), ENOENT)
}

fn a_wait_with_busy_polling_ends_in_time() -> Outcome {
    let mut ring = ring()?;
    expect("set", call(&ring, SET, (1000, 1, REGISTER, 0)).0, Ok(0))?;
    let (a, b) = must("sockets", os::socketpair(libc::SOCK_STREAM))?;
    let buf = Buf::new(8);
    submit(&mut ring, &[rw(op::RECV, a, buf.addr(), 8, 0, 1)])?;
    let arg = u64s(&[0, 8, after(3 * MS).leak()]);
    fails("a wait", ring.enter(0, 1, GETEVENTS | EXT_ARG, arg.addr(), 24), ETIME)?;
    put(b, b"abc")?;
    ends(&ring, &[(1, 3)])
}
