//! FUTEX_WAIT, FUTEX_WAKE and FUTEX_WAITV against futex(2): who is asleep when, who is woken, in
//! which order, and what a cancel of them says.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        a_futex_wait_is_asleep_when_it_is_submitted,
        "A futex(2) wake right after the submission of FUTEX_WAIT wakes it and counts it.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "1.1",
        a_shared_futex_is_woken_by_another_process,
        "FUTEX_WAIT on a shared futex is woken by another process, which counts it.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "1.1",
        futex_waits_are_woken_in_their_order,
        "Of several FUTEX_WAITs those submitted first are woken first.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "1.1",
        a_futex_wait_hears_its_mask,
        "FUTEX_WAIT is woken only by a mask that shares a bit with its own.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "1.1",
        another_value_is_told_at_once,
        "FUTEX_WAIT and FUTEX_WAITV of another value complete with EAGAIN in the submission.",
        needs "FUTEX_WAIT", "FUTEX_WAITV"
    ),
    claim!(
        "1.1",
        a_waitv_says_which_futex_woke_it,
        "FUTEX_WAITV is asleep on all its futexes and answers the index of the one that was woken.",
        needs "FUTEX_WAITV"
    ),
    claim!(
        "1.1",
        a_waitv_answers_the_first_of_a_futex,
        "FUTEX_WAITV that names a futex twice counts as two and answers the first of them, however many are woken.",
        needs "FUTEX_WAITV"
    ),
    claim!(
        "1.1",
        a_waitv_of_128_futexes_waits,
        "FUTEX_WAITV takes 128 futexes.",
        needs "FUTEX_WAITV"
    ),
    claim!(
        "1.1",
        a_futex_wake_wakes_callers_and_requests,
        "FUTEX_WAKE wakes threads in futex(2) and FUTEX_WAITs alike, as many as asked for, and 0 for 0.",
        needs "FUTEX_WAIT", "FUTEX_WAKE"
    ),
    claim!(
        "1.1",
        a_futex_wait_can_be_requeued,
        "futex(2) FUTEX_CMP_REQUEUE moves a FUTEX_WAIT to another futex, where it is woken.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "1.1",
        only_futexes_of_32_bits_are_taken,
        "Of the FUTEX2_* flags NUMA, MPOL and PRIVATE are taken, of the sizes 32 bits.",
        needs "FUTEX_WAIT", "FUTEX_WAKE", "FUTEX_WAITV"
    ),
    claim!(
        "1.1",
        a_futex_of_a_node_is_waited_for,
        "FUTEX_WAIT with FUTEX2_NUMA is woken by FUTEX_WAKE with it; 8 bytes are its alignment.",
        needs "FUTEX_WAIT", "FUTEX_WAKE"
    ),
    claim!(
        "1.1",
        a_futex_wait_that_was_cancelled_is_not_woken,
        "After the cancel of a FUTEX_WAIT or FUTEX_WAITV no wake counts it.",
        needs "FUTEX_WAIT", "FUTEX_WAITV"
    ),
    claim!(
        "3.8",
        a_cancel_of_futexes_takes_the_newest,
        "Without ALL the newest of the FUTEX_WAITs that match is cancelled; ALL counts all of them as one, ANY each.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "3.8",
        a_futex_is_not_found_by_a_file,
        "A cancel by descriptor finds no FUTEX_WAIT.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "3.8",
        a_linked_timeout_of_a_futex_wait_answers_one,
        "LINK_TIMEOUT behind a FUTEX_WAIT answers 1 when it cancels it.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "2.5",
        a_synchronous_cancel_of_a_futex_answers_one,
        "SYNC_CANCEL of a FUTEX_WAIT answers 1.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "3.6",
        a_chain_goes_on_when_its_futex_is_woken,
        "What is linked behind a FUTEX_WAIT runs when it is woken, not when the value differs.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "3.6",
        a_cancelled_futex_wait_breaks_no_chain,
        "What is linked behind a FUTEX_WAIT or FUTEX_WAITV that is cancelled runs, and CQE_SKIP hides it.",
        needs "FUTEX_WAIT", "FUTEX_WAITV"
    ),
    claim!(
        "1.1",
        a_futex_wait_on_a_worker_waits_as_any,
        "FUTEX_WAIT with IOSQE_ASYNC is asleep soon and takes no worker.",
        needs "FUTEX_WAIT"
    ),
];

/// FUTEX2_SIZE_U32.
const SHARED: i32 = 2;
/// The same with FUTEX2_PRIVATE.
const PRIVATE: i32 = 0x82;
const NUMA: i32 = 4;
const MPOL: i32 = 8;
const ANY_BIT: u64 = 0xffff_ffff;

fn wait_on(word: u64, value: u64, mask: u64, flags: i32, ud: u64) -> Sqe {
    Sqe { addr3: mask, ..rw(op::FUTEX_WAIT, flags, word, 0, value, ud) }
}

fn wake_of(word: u64, n: u64, mask: u64, flags: i32, ud: u64) -> Sqe {
    Sqe { addr3: mask, ..rw(op::FUTEX_WAKE, flags, word, 0, n, ud) }
}

/// `struct futex_waitv`s: (value, address, flags).
fn waiters(of: &[(u64, u64, i32)]) -> Buf {
    let words =
        of.iter().flat_map(|(val, addr, flags)| [*val, *addr, u64::from(flags.cast_unsigned())]);
    u64s(&words.collect::<Vec<_>>())
}

fn waitv(of: &Buf, n: usize, ud: u64) -> Sqe {
    rw(op::FUTEX_WAITV, 0, of.addr(), n as u32, 0, ud)
}

/// futex(2) FUTEX_WAKE_BITSET: how many it woke.
fn wake(word: u64, n: u64, mask: u64, flags: i32) -> Res<i64> {
    let private = if flags & 0x80 != 0 { libc::FUTEX_PRIVATE_FLAG } else { 0 };
    let op = (libc::FUTEX_WAKE_BITSET | private) as u64;
    must("futex", os::raw6(libc::SYS_futex, [word, op, n, 0, 0, mask]))
}

fn wakes(word: &Buf, n: u64, flags: i32, want: i64) -> Outcome {
    expect("woken", wake(word.addr(), n, ANY_BIT, flags)?, want)
}

fn a_futex_wait_is_asleep_when_it_is_submitted() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    for flags in [PRIVATE, SHARED, PRIVATE] {
        for _ in 0..20 {
            submit(&mut ring, &[wait_on(word.addr(), 0, ANY_BIT, flags, 1)])?;
            wakes(&word, 1, flags, 1)?;
            ends(&ring, &[(1, 0)])?;
        }
        wakes(&word, 1, flags, 0)?;
    }
    Ok(())
}

fn a_shared_futex_is_woken_by_another_process() -> Outcome {
    let mut ring = ring()?;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let word = must("map", Buf::map(4096, flags, -1, 0))?;
    submit(&mut ring, &[wait_on(word.addr(), 0, ANY_BIT, SHARED, 1)])?;
    let at = word.addr();
    let woken =
        must("child", os::in_child(move || wake(at, 9, ANY_BIT, SHARED).map_or(99, |n| n as i32)))?;
    expect("woken", woken, 1)?;
    ends(&ring, &[(1, 0)])
}

fn futex_waits_are_woken_in_their_order() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    for flags in [PRIVATE, SHARED] {
        let all = [1, 2, 3, 4].map(|ud| wait_on(word.addr(), 0, ANY_BIT, flags, ud));
        submit(&mut ring, &all)?;
        wakes(&word, 2, flags, 2)?;
        ends_all(&ring, &[(1, 0), (2, 0)])?;
        wakes(&word, 1, flags, 1)?;
        ends(&ring, &[(3, 0)])?;
        pending(&ring)?;
        wakes(&word, 9, flags, 1)?;
        ends(&ring, &[(4, 0)])?;
    }
    Ok(())
}

fn a_futex_wait_hears_its_mask() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    submit(&mut ring, &[1, 2, 6].map(|mask| wait_on(word.addr(), 0, mask, PRIVATE, mask)))?;
    expect("another bit", wake(word.addr(), 9, 8, PRIVATE)?, 0)?;
    expect("the second bit", wake(word.addr(), 9, 2, PRIVATE)?, 2)?;
    ends_all(&ring, &[(2, 0), (6, 0)])?;
    expect("the first bit", wake(word.addr(), 9, 1, PRIVATE)?, 1)?;
    ends(&ring, &[(1, 0)])
}

fn another_value_is_told_at_once() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    word.store(0, 5);
    let at = word.addr();
    let of = waiters(&[(5, at, PRIVATE), (1, at + 4, SHARED)]);
    submit(&mut ring, &[wait_on(at, 4, ANY_BIT, PRIVATE, 1), waitv(&of, 2, 2)])?;
    let seen = [(); 2].map(|()| ring.reap().map(|c| (c.user_data, c.res)));
    expect("at once", seen, [Some((1, -libc::EAGAIN)), Some((2, -libc::EAGAIN))])?;
    wakes(&word, 9, PRIVATE, 0)
}

fn a_waitv_says_which_futex_woke_it() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    let at = word.addr();
    let of = waiters(&[(0, at, PRIVATE), (0, at + 4, SHARED), (0, at + 8, PRIVATE)]);
    for (i, flags) in [(0, PRIVATE), (1, SHARED), (2, PRIVATE)] {
        submit(&mut ring, &[waitv(&of, 3, 1)])?;
        expect("woken", wake(at + 4 * i, 9, ANY_BIT, flags)?, 1)?;
        ends(&ring, &[(1, i as i32)])?;
        for (j, flags) in [(0, PRIVATE), (1, SHARED), (2, PRIVATE)] {
            expect("nobody", wake(at + 4 * j, 9, ANY_BIT, flags)?, 0)?;
        }
    }
    Ok(())
}

fn a_waitv_answers_the_first_of_a_futex() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    let at = word.addr();
    let of = waiters(&[(0, at + 4, SHARED), (0, at, PRIVATE), (0, at, PRIVATE), (0, at, SHARED)]);
    for n in [1, 2, 9] {
        submit(&mut ring, &[waitv(&of, 4, 1)])?;
        expect("woken", wake(at, n, ANY_BIT, PRIVATE)?, n.min(2) as i64)?;
        ends(&ring, &[(1, 1)])?;
    }
    submit(&mut ring, &[waitv(&of, 4, 1)])?;
    expect("woken", wake(at, 9, ANY_BIT, SHARED)?, 1)?;
    ends(&ring, &[(1, 3)])
}

fn a_waitv_of_128_futexes_waits() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(1024);
    let of: Vec<_> = (0..128).map(|i| (0, word.addr() + 4 * i, PRIVATE)).collect();
    let of = waiters(&of);
    submit(&mut ring, &[waitv(&of, 128, 1)])?;
    expect("woken", wake(word.addr() + 4 * 127, 1, ANY_BIT, PRIVATE)?, 1)?;
    ends(&ring, &[(1, 127)])
}

fn a_futex_wake_wakes_callers_and_requests() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    let at = word.addr();
    let op = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
    let caller = std::thread::spawn(move || os::raw6(libc::SYS_futex, [at, op, 0, 0, 0, 0]));
    let mut woken = 0;
    until("the caller sleeps", || {
        let one = ring.one(wake_of(at, 1, ANY_BIT, PRIVATE, 7));
        woken = one.map_or(-1, |c| c.res);
        woken != 0
    })?;
    expect("woken", woken, 1)?;
    expect("the caller", caller.join().ok(), Some(Ok(0)))?;
    submit(&mut ring, &[1, 2, 3].map(|ud| wait_on(at, 0, ANY_BIT, PRIVATE, ud)))?;
    res(&mut ring, wake_of(at, 0, ANY_BIT, PRIVATE, 8), 0)?;
    submit(&mut ring, &[wake_of(at, 2, ANY_BIT, PRIVATE, 9)])?;
    ends_all(&ring, &[(9, 2), (1, 0), (2, 0)])?;
    // As a signed number it is below 1, and one is woken before that is looked at.
    submit(&mut ring, &[wake_of(at, 0xffff_ffff, ANY_BIT, PRIVATE, 9)])?;
    ends_all(&ring, &[(9, 1), (3, 0)])
}

fn a_futex_wait_can_be_requeued() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    let at = word.addr();
    submit(&mut ring, &[wait_on(at, 0, ANY_BIT, PRIVATE, 1)])?;
    let op = (libc::FUTEX_CMP_REQUEUE | libc::FUTEX_PRIVATE_FLAG) as u64;
    let moved = must("requeue", os::raw6(libc::SYS_futex, [at, op, 0, 9, at + 4, 0]))?;
    expect("moved", moved, 1)?;
    expect("here", wake(at, 9, ANY_BIT, PRIVATE)?, 0)?;
    expect("there", wake(at + 4, 9, ANY_BIT, PRIVATE)?, 1)?;
    ends(&ring, &[(1, 0)])
}

fn only_futexes_of_32_bits_are_taken() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    word.store(0, 5);
    word.store(4, u32::MAX);
    let at = word.addr();
    for flags in [0, 1, 3, 0x12, 0x80, 0x81, 0x83, 0x1_0002, i32::MIN | 2] {
        res(&mut ring, wait_on(at, 4, ANY_BIT, flags, 1), -EINVAL)?;
        res(&mut ring, wake_of(at, 1, ANY_BIT, flags, 2), -EINVAL)?;
        res(&mut ring, waitv(&waiters(&[(4, at, flags)]), 1, 3), -EINVAL)?;
    }
    for more in [0, NUMA, MPOL, NUMA | MPOL] {
        for flags in [SHARED | more, PRIVATE | more] {
            res(&mut ring, wait_on(at, 4, ANY_BIT, flags, 1), -libc::EAGAIN)?;
            res(&mut ring, wake_of(at, 1, ANY_BIT, flags, 2), 0)?;
            res(&mut ring, waitv(&waiters(&[(4, at, flags)]), 1, 3), -libc::EAGAIN)?;
        }
    }
    Ok(())
}

fn a_futex_of_a_node_is_waited_for() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    let at = word.addr();
    for flags in [PRIVATE | NUMA, SHARED | NUMA, PRIVATE | MPOL, PRIVATE | NUMA | MPOL] {
        // FUTEX_NO_NODE: the kernel chooses.
        word.store(4, u32::MAX);
        submit(&mut ring, &[wait_on(at, 0, ANY_BIT, flags, 1)])?;
        res(&mut ring, wake_of(at + 4, 1, ANY_BIT, PRIVATE | NUMA, 2), -EINVAL)?;
        submit(&mut ring, &[wake_of(at, 9, ANY_BIT, flags, 2)])?;
        ends_all(&ring, &[(1, 0), (2, 1)])?;
        expect("the node", flags & NUMA == 0 || word.load(4) < 1024, true)?;
    }
    res(&mut ring, wait_on(at + 4, u64::from(word.load(4)), ANY_BIT, PRIVATE | NUMA, 1), -EINVAL)
}

fn a_futex_wait_that_was_cancelled_is_not_woken() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    let of = waiters(&[(0, word.addr(), PRIVATE), (0, word.addr() + 4, PRIVATE)]);
    for wait in [wait_on(word.addr(), 0, ANY_BIT, PRIVATE, 1), waitv(&of, 2, 1)] {
        submit(&mut ring, &[wait])?;
        runs(&mut ring, &[cancel(1, 0, 2)], &[(2, 1), (1, -ECANCELED)])?;
        wakes(&word, 9, PRIVATE, 0)?;
        res(&mut ring, cancel(1, 0, 2), -ENOENT)?;
        submit(&mut ring, &[wait])?;
        wakes(&word, 9, PRIVATE, 1)?;
        ends(&ring, &[(1, 0)])?;
    }
    Ok(())
}

fn a_cancel_of_futexes_takes_the_newest() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    let of_op = Sqe { len: op::FUTEX_WAIT.into(), ..cancel(0, OP, 9) };
    let waits = [1, 2, 3].map(|ud| wait_on(word.addr(), 0, ANY_BIT, PRIVATE, ud));
    submit(&mut ring, &waits)?;
    runs(&mut ring, &[of_op], &[(9, 1), (3, -ECANCELED)])?;
    submit(&mut ring, &[Sqe { op_flags: OP | ALL, ..of_op }])?;
    ends_all(&ring, &[(9, 1), (1, -ECANCELED), (2, -ECANCELED)])?;
    submit(&mut ring, &waits)?;
    submit(&mut ring, &[cancel(0, ANY, 9)])?;
    ends_all(&ring, &[(9, 3), (1, -ECANCELED), (2, -ECANCELED), (3, -ECANCELED)])?;
    submit(&mut ring, &waits)?;
    submit(&mut ring, &[cancel(0, ANY | ALL, 9)])?;
    ends_all(&ring, &[(9, 1), (1, -ECANCELED), (2, -ECANCELED), (3, -ECANCELED)])?;
    res(&mut ring, cancel(0, ANY | ALL, 9), 0)?;
    wakes(&word, 9, PRIVATE, 0)
}

fn a_futex_is_not_found_by_a_file() -> Outcome {
    let mut ring = ring()?;
    let (word, (r, _w)) = (Buf::new(64), pipe()?);
    submit(&mut ring, &[wait_on(word.addr(), 0, ANY_BIT, PRIVATE, 1)])?;
    res(&mut ring, Sqe { fd: r, ..cancel(1, FD | USERDATA, 9) }, -ENOENT)?;
    res(&mut ring, Sqe { fd: r, ..cancel(0, FD | ALL, 9) }, 0)?;
    wakes(&word, 1, PRIVATE, 1)?;
    ends(&ring, &[(1, 0)])
}

fn a_linked_timeout_of_a_futex_wait_answers_one() -> Outcome {
    let mut ring = ring()?;
    let (word, soon, long) = (Buf::new(64), after(MS), hour());
    let wait = flagged(wait_on(word.addr(), 0, ANY_BIT, PRIVATE, 1), LINK);
    runs(&mut ring, &[wait, link_timeout(&soon, 2)], &[(2, 1), (1, -ECANCELED)])?;
    submit(&mut ring, &[wait, link_timeout(&long, 2)])?;
    wakes(&word, 9, PRIVATE, 1)?;
    ends(&ring, &[(1, 0), (2, -ECANCELED)])
}

fn a_synchronous_cancel_of_a_futex_answers_one() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    submit(&mut ring, &[wait_on(word.addr(), 0, ANY_BIT, PRIVATE, 1)])?;
    let arg = u64s(&[1, u64::from(u32::MAX), u64::MAX, u64::MAX, 0, 0, 0, 0]);
    expect("the cancel", ring.register(24, arg.addr(), 1), Ok(1))?;
    ends(&ring, &[(1, -ECANCELED)])
}

fn a_chain_goes_on_when_its_futex_is_woken() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    let wait = |value| flagged(wait_on(word.addr(), value, ANY_BIT, PRIVATE, 1), LINK);
    let again = flagged(wait_on(word.addr() + 4, 0, ANY_BIT, PRIVATE, 2), LINK);
    submit(&mut ring, &[wait(0), again, nop(3)])?;
    waits(&ring)?;
    wakes(&word, 1, PRIVATE, 1)?;
    ends(&ring, &[(1, 0)])?;
    until("the second is asleep", || {
        wake(word.addr() + 4, 1, ANY_BIT, PRIVATE).is_ok_and(|n| n == 1)
    })?;
    ends(&ring, &[(2, 0), (3, 0)])?;
    runs(&mut ring, &[wait(7), nop(3)], &[(1, -libc::EAGAIN), (3, -ECANCELED)])
}

fn a_cancelled_futex_wait_breaks_no_chain() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    let of = waiters(&[(0, word.addr(), PRIVATE)]);
    for wait in [wait_on(word.addr(), 0, ANY_BIT, PRIVATE, 1), waitv(&of, 1, 1)] {
        submit(&mut ring, &[flagged(wait, LINK), nop(2)])?;
        submit(&mut ring, &[cancel(1, 0, 3)])?;
        ends(&ring, &[(3, 1), (1, -ECANCELED), (2, 0)])?;
        submit(&mut ring, &[flagged(wait, LINK | SKIP), nop(2)])?;
        runs(&mut ring, &[cancel(1, 0, 3)], &[(3, 1), (2, 0)])?;
    }
    Ok(())
}

fn a_futex_wait_on_a_worker_waits_as_any() -> Outcome {
    let mut ring = ring()?;
    // One worker of each kind at most.
    let most = i32s(&[1, 1]);
    must("limits", ring.register(19, most.addr(), 2))?;
    let word = Buf::new(64);
    submit(
        &mut ring,
        &[1, 2, 3].map(|ud| flagged(wait_on(word.addr(), 0, ANY_BIT, PRIVATE, ud), ASYNC)),
    )?;
    let mut woken = 0;
    until("all of them are asleep", || {
        woken += wake(word.addr(), 1, ANY_BIT, PRIVATE).unwrap_or(0);
        woken == 3
    })?;
    ends_all(&ring, &[(1, 0), (2, 0), (3, 0)])?;
    submit(&mut ring, &[flagged(wait_on(word.addr(), 1, ANY_BIT, PRIVATE, 4), ASYNC)])?;
    ends(&ring, &[(4, -libc::EAGAIN)])
}
