//! Section 3.8: ASYNC_CANCEL and SYNC_CANCEL.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.8",
        a_cancel_by_name_answers_0,
        "A cancel that finds its target answers 0, the target ECANCELED."
    ),
    claim!("3.8", a_cancel_that_finds_nothing_is_enoent, "A cancel that finds nothing is ENOENT."),
    claim!(
        "3.8",
        a_cancel_takes_one_of_three,
        "Without ALL one of three requests of the same name goes."
    ),
    claim!("3.8", a_cancel_of_all_counts, "With ALL the answer is how many, 0 for none."),
    claim!("3.8", a_cancel_of_any_counts, "ANY takes everything and answers how many, 0 for none."),
    claim!(
        "3.8",
        a_cancel_by_descriptor_goes_by_the_file,
        "FD finds requests on the same open file through another number."
    ),
    claim!(
        "3.8",
        a_cancel_by_slot_finds_fixed_files,
        "FD with FD_FIXED finds requests on a slot's file."
    ),
    claim!("3.8", a_cancel_by_opcode, "OP finds requests of the opcode in `len`."),
    claim!("3.8", keys_can_be_combined, "USERDATA with FD needs both to match."),
    claim!("3.8", any_excludes_other_keys, "ANY with FD or OP is EINVAL."),
    claim!("3.8", a_cancel_by_descriptor_skips_timeouts, "FD does not find timeouts."),
    claim!(
        "3.8",
        a_cancel_is_posted_before_its_target,
        "The cancel's completion comes first, then its target's."
    ),
    claim!(
        "3.8",
        a_target_comes_after_the_batch,
        "A cancelled request completes behind the other entries of the cancel's batch."
    ),
    claim!("3.8", a_cancel_never_finds_itself, "A cancel that names itself is ENOENT."),
    claim!(
        "3.8",
        a_cancel_before_its_target_finds_nothing,
        "A cancel submitted before its target in a batch is ENOENT."
    ),
    claim!(
        "3.8",
        a_cancel_stops_a_request_on_a_worker,
        "A blocking read on a worker is interrupted by a cancel and takes no data."
    ),
    claim!(
        "3.8",
        a_cancelled_futex_counts_one,
        "A cancel of a futex wait answers 1.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "3.8",
        a_cancelled_waitid_counts_one,
        "A cancel of a WAITID answers 1.",
        needs "WAITID"
    ),
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
];

const ALL: u32 = 1;
const FD: u32 = 2;
const ANY: u32 = 4;
const FD_FIXED: u32 = 8;
const USERDATA: u32 = 16;
const OP: u32 = 32;
const CANCELED: i32 = -ECANCELED;

/// A ring with reads of an empty pipe pending: (ring, read end, write end).
fn reading(names: &[u64]) -> Res<(Ring, i32, i32)> {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    let all: Vec<Sqe> = names.iter().map(|&ud| read(r, buf.addr(), 8, 0, ud)).collect();
    submit(&mut ring, &all)?;
    buf.leak();
    Ok((ring, r, w))
}

fn a_cancel_by_name_answers_0() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(1, CANCELED), (2, 0)])
}

fn a_cancel_that_finds_nothing_is_enoent() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    res(&mut ring, cancel(7, 0, 2), -ENOENT)
}

fn a_cancel_takes_one_of_three() -> Outcome {
    let (mut ring, _r, w) = reading(&[1, 1, 1])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(1, CANCELED), (2, 0)])?;
    close(w)?;
    ends(&ring, &[(1, 0), (1, 0)])
}

fn a_cancel_of_all_counts() -> Outcome {
    let (mut ring, ..) = reading(&[1, 1, 5])?;
    submit(&mut ring, &[cancel(1, ALL, 2)])?;
    ends_all(&ring, &[(1, CANCELED), (1, CANCELED), (2, 2)])?;
    res(&mut ring, cancel(1, ALL, 3), 0)
}

fn a_cancel_of_any_counts() -> Outcome {
    let (mut ring, r, _w) = reading(&[1])?;
    let ts = hour();
    submit(&mut ring, &[timeout(&ts, 0, 2), poll_add(r, IN, 3)])?;
    submit(&mut ring, &[cancel(0, ANY | ALL, 4)])?;
    ends_all(&ring, &[(1, CANCELED), (2, CANCELED), (3, CANCELED), (4, 3)])?;
    res(&mut ring, cancel(0, ANY, 5), 0)
}

fn a_cancel_by_descriptor_goes_by_the_file() -> Outcome {
    let (mut ring, r, _w) = reading(&[1])?;
    let copy = must("dup", os::dup(r))?;
    let (other, _w2) = pipe()?;
    res(&mut ring, Sqe { fd: other, ..cancel(0, FD, 2) }, -ENOENT)?;
    submit(&mut ring, &[Sqe { fd: copy, ..cancel(0, FD, 3) }])?;
    ends_all(&ring, &[(1, CANCELED), (3, 0)])
}

fn a_cancel_by_slot_finds_fixed_files() -> Outcome {
    let mut ring = ring()?;
    let ((r, _w), (r2, _w2), buf) = (pipe()?, pipe()?, Buf::new(8));
    must("register", ring.register_files(&[r, r2]))?;
    submit(&mut ring, &[flagged(read(1, buf.addr(), 8, 0, 1), FIXED)])?;
    res(&mut ring, Sqe { fd: 0, ..cancel(0, FD | FD_FIXED, 2) }, -ENOENT)?;
    submit(&mut ring, &[Sqe { fd: 1, ..cancel(0, FD | FD_FIXED, 3) }])?;
    ends_all(&ring, &[(1, CANCELED), (3, 0)])
}

fn a_cancel_by_opcode() -> Outcome {
    let (mut ring, r, _w) = reading(&[1])?;
    submit(&mut ring, &[poll_add(r, IN, 2)])?;
    submit(&mut ring, &[Sqe { len: u32::from(op::POLL_ADD), ..cancel(0, OP | ALL, 3) }])?;
    ends_all(&ring, &[(2, CANCELED), (3, 1)])?;
    res(&mut ring, Sqe { len: u32::from(op::RECV), ..cancel(0, OP, 4) }, -ENOENT)
}

fn keys_can_be_combined() -> Outcome {
    let (mut ring, r, _w) = reading(&[1, 5])?;
    submit(&mut ring, &[Sqe { fd: r, ..cancel(5, FD | USERDATA | ALL, 2) }])?;
    ends_all(&ring, &[(5, CANCELED), (2, 1)])?;
    res(&mut ring, Sqe { fd: r, ..cancel(9, FD | USERDATA, 3) }, -ENOENT)
}

fn any_excludes_other_keys() -> Outcome {
    let (mut ring, r, _w) = reading(&[1])?;
    res(&mut ring, Sqe { fd: r, ..cancel(0, ANY | FD, 2) }, -EINVAL)?;
    res(&mut ring, cancel(0, ANY | OP, 3), -EINVAL)
}

fn a_cancel_by_descriptor_skips_timeouts() -> Outcome {
    let mut ring = ring()?;
    let ts = hour();
    submit(&mut ring, &[timeout(&ts, 0, 1)])?;
    let (r, _w) = pipe()?;
    res(&mut ring, Sqe { fd: r, ..cancel(0, FD | ALL, 2) }, 0)?;
    no_more(&mut ring)
}

fn a_cancel_is_posted_before_its_target() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    runs(&mut ring, &[cancel(1, 0, 2)], &[(2, 0), (1, CANCELED)])
}

fn a_target_comes_after_the_batch() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    runs(&mut ring, &[cancel(1, 0, 2), nop(3)], &[(2, 0), (3, 0), (1, CANCELED)])
}

fn a_cancel_never_finds_itself() -> Outcome {
    let mut ring = ring()?;
    res(&mut ring, cancel(1, 0, 1), -ENOENT)?;
    res(&mut ring, cancel(0, ANY | ALL, 2), 0)
}

fn a_cancel_before_its_target_finds_nothing() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[cancel(2, 0, 1), read(r, buf.addr(), 8, 0, 2)])?;
    ends(&ring, &[(1, -ENOENT)])?;
    put(w, b"x")?;
    ends(&ring, &[(2, 1)])
}

fn a_cancel_stops_a_request_on_a_worker() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[flagged(read(r, buf.addr(), 8, 0, 1), ASYNC)])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    let mut all = wait_for(&ring, 2)?;
    all.sort_by_key(|c| c.user_data);
    expect("the target", [CANCELED, -EINTR].contains(&all[0].res), true)?;
    expect("the cancel", [0, -EALREADY].contains(&all[1].res), true)?;
    put(w, b"abc")?;
    expect("the data is there", get(r)?, b"abc".to_vec())
}

fn a_cancelled_futex_counts_one() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    // FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, any bit.
    let mask = u64::from(u32::MAX);
    let wait = Sqe { addr: word.addr(), off: 0, addr3: mask, fd: 0x82, ..of(51, 1) };
    submit(&mut ring, &[wait])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(1, CANCELED), (2, 1)])
}

fn a_cancelled_waitid_counts_one() -> Outcome {
    let mut ring = ring()?;
    let child = must("fork", os::fork())?;
    if child == 0 {
        os::deadline(10);
        loop {
            let _ = os::poll(-1, 0, 1000);
        }
    }
    // len: idtype P_PID, file_index: options WEXITED.
    let wait = Sqe { len: 1, fd: child, file_index: 4, ..of(50, 1) };
    submit(&mut ring, &[wait])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    let seen = ends_all(&ring, &[(1, CANCELED), (2, 1)]);
    must("kill", os::kill(child, libc::SIGKILL))?;
    must("wait", os::wait(child))?;
    seen
}

/// `struct io_uring_sync_cancel_reg` without a time limit.
fn sync_cancel(ring: &Ring, target: u64, fd: i32, flags: u32, pad: u64) -> Sys<u64> {
    let keys = u64::from(fd.cast_unsigned()) | u64::from(flags) << 32;
    let arg = u64s(&[target, keys, u64::MAX, u64::MAX, 0, 0, 0, pad]);
    ring.register(24, arg.addr(), 1)
}

fn a_synchronous_cancel_answers_directly() -> Outcome {
    let (ring, r, _w) = reading(&[1, 2, 2])?;
    expect("one", sync_cancel(&ring, 1, -1, 0, 0), Ok(0))?;
    expect("all", sync_cancel(&ring, 0, r, FD | ALL, 0), Ok(2))?;
    fails("none", sync_cancel(&ring, 1, -1, 0, 0), ENOENT)?;
    ends_all(&ring, &[(1, CANCELED), (2, CANCELED), (2, CANCELED)])
}

fn a_synchronous_cancel_checks_its_argument() -> Outcome {
    let ring = ring()?;
    fails("a bad descriptor", sync_cancel(&ring, 0, 999, FD, 0), EBADF)?;
    fails("a bad slot", sync_cancel(&ring, 0, 5, FD | FD_FIXED, 0), EBADF)?;
    fails("padding", sync_cancel(&ring, 1, -1, 0, 1), EINVAL)?;
    fails("unknown flags", sync_cancel(&ring, 1, -1, 1 << 10, 0), EINVAL)
}
