//! Section 3.8: SYNC_CANCEL, which is a call and may wait.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.8",
        a_synchronous_cancel_answers_directly,
        "SYNC_CANCEL answers 0, a count with ALL, or ENOENT.",
        needs "REGISTER_SYNC_CANCEL"
    ),
    claim!(
        "3.8",
        a_synchronous_cancel_checks_its_argument,
        "SYNC_CANCEL with a bad descriptor is EBADF, with padding or unknown flags EINVAL.",
        needs "REGISTER_SYNC_CANCEL"
    ),
    claim!(
        "3.8",
        a_synchronous_cancel_takes_every_key,
        "SYNC_CANCEL goes by slot, by opcode, by name besides these, and by ANY, which looks at no other key.",
        needs "REGISTER_SYNC_CANCEL"
    ),
    claim!(
        "3.8",
        a_synchronous_cancel_waits_for_a_worker,
        "SYNC_CANCEL of what blocks on workers answers 0 when none has such a request any more.",
        needs "REGISTER_SYNC_CANCEL"
    ),
    claim!(
        "3.8",
        a_synchronous_cancel_ends_at_its_time,
        "SYNC_CANCEL whose time has passed is ETIME while a worker still has the request, which ends.",
        needs "REGISTER_SYNC_CANCEL"
    ),
    claim!(
        "3.8",
        a_synchronous_cancel_of_all_does_not_wait,
        "SYNC_CANCEL with ALL answers how many besides those on workers, and does not wait for these.",
        needs "REGISTER_SYNC_CANCEL"
    ),
    claim!(
        "3.8",
        a_synchronous_cancels_targets_end_with_the_call,
        "What SYNC_CANCEL took is posted when it returns, on a DEFER_TASKRUN ring when it is asked for.",
        needs "REGISTER_SYNC_CANCEL"
    ),
    claim!(
        "3.8",
        a_synchronous_cancel_finds_no_worker_of_a_submission_thread,
        "On a SQPOLL ring a cancel of what is on a worker is ENOENT; only ASYNC_CANCEL interrupts it.",
        needs "REGISTER_SYNC_CANCEL"
    ),
    claim!(
        "3.8",
        a_disabled_ring_can_be_cancelled_on,
        "SYNC_CANCEL on a disabled ring is ENOENT, by another than a SINGLE_ISSUER ring's thread EEXIST.",
        needs "REGISTER_SYNC_CANCEL"
    ),
];

const CANCELED: i32 = -ECANCELED;
/// Seconds and nanoseconds that stand for no limit.
const FOR_EVER: (u64, u64) = (u64::MAX, u64::MAX);

/// What to cancel: `struct io_uring_sync_cancel_reg`.
#[derive(Clone, Copy)]
struct Key {
    name: u64,
    fd: i32,
    flags: u32,
    opcode: u8,
    limit: (u64, u64),
    pad: u64,
}

const NAME: Key = Key { name: 0, fd: -1, flags: 0, opcode: 0, limit: FOR_EVER, pad: 0 };

fn sync_cancel(ring: &Ring, k: Key) -> Sys<u64> {
    let keys = u64::from(k.fd.cast_unsigned()) | u64::from(k.flags) << 32;
    let (sec, nsec) = k.limit;
    let arg = u64s(&[k.name, keys, sec, nsec, k.opcode.into(), 0, 0, k.pad]);
    ring.register(24, arg.addr(), 1)
}

/// A ring with reads of an empty pipe pending, and its read end.
fn reading(names: &[u64]) -> Res<(Ring, i32)> {
    let mut ring = ring()?;
    let ((r, _w), buf) = (pipe()?, Buf::new(8));
    let all: Vec<Sqe> = names.iter().map(|&ud| read(r, buf.addr(), 8, 0, ud)).collect();
    submit(&mut ring, &all)?;
    buf.leak();
    Ok((ring, r))
}

fn a_synchronous_cancel_answers_directly() -> Outcome {
    let (ring, r) = reading(&[1, 2, 2])?;
    expect("one", sync_cancel(&ring, Key { name: 1, ..NAME }), Ok(0))?;
    expect("all", sync_cancel(&ring, Key { fd: r, flags: FD | ALL, ..NAME }), Ok(2))?;
    fails("none", sync_cancel(&ring, Key { name: 1, ..NAME }), ENOENT)?;
    expect("none of all", sync_cancel(&ring, Key { name: 1, flags: ALL, ..NAME }), Ok(0))?;
    ends_all(&ring, &[(1, CANCELED), (2, CANCELED), (2, CANCELED)])
}

fn a_synchronous_cancel_checks_its_argument() -> Outcome {
    let ring = ring()?;
    let slot = Key { fd: 5, flags: FD | FD_FIXED, ..NAME };
    fails("a bad descriptor", sync_cancel(&ring, Key { fd: 999, flags: FD, ..NAME }), EBADF)?;
    fails("a bad slot", sync_cancel(&ring, slot), EBADF)?;
    fails("padding", sync_cancel(&ring, Key { name: 1, pad: 1, ..NAME }), EINVAL)?;
    fails("unknown flags", sync_cancel(&ring, Key { flags: 1 << 10, ..NAME }), EINVAL)?;
    // ANY looks at no file, but there must be one.
    fails("ANY", sync_cancel(&ring, Key { fd: 999, flags: ANY | FD, ..NAME }), EBADF)?;
    // Nobody waits, so nobody looks at the time.
    fails("a time", sync_cancel(&ring, Key { limit: (1, u64::MAX - 6), ..NAME }), ENOENT)
}

fn a_synchronous_cancel_takes_every_key() -> Outcome {
    let (mut ring, r) = reading(&[1, 2])?;
    must("register", ring.register_files(&[r]))?;
    let ts = hour();
    submit(&mut ring, &[timeout(&ts, 0, 3), poll_add(r, IN, 4)])?;
    let by = |flags, name, fd, opcode| sync_cancel(&ring, Key { name, fd, flags, opcode, ..NAME });
    expect("an opcode", by(OP, 9, -1, op::POLL_ADD), Ok(0))?;
    fails("an opcode of no name", by(OP | USERDATA, 9, -1, op::READ), ENOENT)?;
    expect("a slot and a name", by(FD | FD_FIXED | USERDATA, 2, 0, 0), Ok(0))?;
    expect("FD_FIXED alone", by(FD_FIXED, 9, 0, 0), Err(Errno(ENOENT)))?;
    ends_all(&ring, &[(2, CANCELED), (4, CANCELED)])?;
    expect("ANY and a file", by(ANY | FD, 9, r, 0), Ok(1))?;
    ends(&ring, &[(1, CANCELED)])?;
    expect("ANY, a name and an opcode", by(ANY | USERDATA | OP, 9, -1, op::READ), Ok(1))?;
    ends(&ring, &[(3, CANCELED)])
}

fn a_synchronous_cancel_waits_for_a_worker() -> Outcome {
    let mut ring = ring()?;
    let full = Full::new()?;
    submit(&mut ring, &[full.connect(1)?, full.connect(1)?, full.connect(2)?])?;
    waits(&ring)?;
    expect("two", sync_cancel(&ring, Key { name: 1, ..NAME }), Ok(0))?;
    expect(
        "there",
        (ring.reap().map(|c| c.res), ring.reap().map(|c| c.res)),
        (Some(-EINTR), Some(-EINTR)),
    )?;
    // A time that no clock reaches is long over, one in an hour is not.
    let late = Key { name: 2, limit: (3600, 0), ..NAME };
    expect("one", sync_cancel(&ring, late), Ok(0))?;
    ends(&ring, &[(2, -EINTR)])
}

fn a_synchronous_cancel_ends_at_its_time() -> Outcome {
    let mut ring = ring()?;
    let full = Full::new()?;
    // A worker that is quick has ended before the call looks a second time.
    let mut seen = Vec::new();
    for limit in [(0, 0), (u64::MAX, 0), (0, 0), (u64::MAX, 0)] {
        submit(&mut ring, &[full.connect(1)?])?;
        waits(&ring)?;
        seen.push(sync_cancel(&ring, Key { name: 1, limit, ..NAME }));
        ends(&ring, &[(1, -EINTR)])?;
    }
    let (etime, quick) = (seen.contains(&Err(Errno(ETIME))), Ok(0));
    expect("ETIME", etime && seen.iter().all(|r| [quick, Err(Errno(ETIME))].contains(r)), true)
}

fn a_synchronous_cancel_of_all_does_not_wait() -> Outcome {
    let (mut ring, _r) = reading(&[1, 1])?;
    let full = Full::new()?;
    submit(&mut ring, &[full.connect(1)?])?;
    waits(&ring)?;
    expect("all", sync_cancel(&ring, Key { name: 1, flags: ALL, ..NAME }), Ok(2))?;
    ends_all(&ring, &[(1, CANCELED), (1, CANCELED), (1, -EINTR)])
}

fn a_synchronous_cancels_targets_end_with_the_call() -> Outcome {
    let (ring, _r) = reading(&[1])?;
    expect("one", sync_cancel(&ring, Key { name: 1, ..NAME }), Ok(0))?;
    expect("posted", ring.reap().map(|c| c.res), Some(CANCELED))?;
    let mut ring = with(16, Setup::SINGLE_ISSUER.bits() | Setup::DEFER_TASKRUN.bits())?;
    let (r, _w) = pipe()?;
    submit(&mut ring, &[poll_add(r, IN, 1)])?;
    expect("one", sync_cancel(&ring, Key { name: 1, ..NAME }), Ok(0))?;
    pending(&ring)?;
    ends(&ring, &[(1, CANCELED)])
}

fn a_synchronous_cancel_finds_no_worker_of_a_submission_thread() -> Outcome {
    let mut ring = with(16, Setup::SQPOLL.bits())?;
    let (full, (r, _w)) = (Full::new()?, pipe()?);
    ring.push_together([full.connect(1)?, poll_add(r, IN, 2)]);
    must("wake", ring.enter(2, 0, SQ_WAKEUP, 0, 0))?;
    // The thread takes both, in this order.
    until("armed", || sync_cancel(&ring, Key { name: 2, ..NAME }) == Ok(0))?;
    ends(&ring, &[(2, CANCELED)])?;
    waits(&ring)?;
    fails("on a worker", sync_cancel(&ring, Key { name: 1, ..NAME }), ENOENT)?;
    ring.push(cancel(1, 0, 3));
    must("wake", ring.enter(1, 0, SQ_WAKEUP, 0, 0))?;
    ends_all(&ring, &[(3, -ENOENT), (1, -EINTR)])
}

fn a_disabled_ring_can_be_cancelled_on() -> Outcome {
    let off = with(16, Setup::R_DISABLED.bits())?;
    fails("disabled", sync_cancel(&off, Key { name: 1, ..NAME }), ENOENT)?;
    let ring = with(16, Setup::SINGLE_ISSUER.bits())?;
    let theirs =
        std::thread::scope(|s| s.spawn(|| sync_cancel(&ring, Key { name: 1, ..NAME })).join());
    expect("another thread", theirs.map_err(|_| "panic"), Ok(Err(Errno(EEXIST))))
}
