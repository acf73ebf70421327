//! Section 3.23: rings of other sizes under the same descriptor.
//!
//! What it does not do: errors of single fields (`errno_order`).

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.23",
        a_deferred_ring_can_grow,
        "RESIZE_RINGS of a DEFER_TASKRUN ring keeps what is there, with an index array and without.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        a_deferred_ring_can_shrink,
        "RESIZE_RINGS to less keeps what is there at its positions, also behind a wrap.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        other_rings_do_not_grow,
        "RESIZE_RINGS of a ring without DEFER_TASKRUN is EINVAL."
    ),
    claim!(
        "3.23",
        only_its_owner_resizes_a_ring,
        "RESIZE_RINGS by another thread is EEXIST; a disabled ring is resized by anybody.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        a_resize_takes_heads_tails_and_words_along,
        "Heads, tails, dropped, overflow and flags keep their values; NEED_WAKEUP and TASKRUN are set, the index array is zero.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        a_resize_tells_sizes_and_offsets,
        "RESIZE_RINGS writes sizes, inherited flags and offsets back, and leaves features, the index array's offset and reserved words alone.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        what_has_no_room_is_not_resized,
        "RESIZE_RINGS to less than what waits is EOVERFLOW, the parameters are written, and the ring goes on as it was.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        a_backlog_outlives_a_resize,
        "A backlog stays one after a resize that makes room, until GETEVENTS flushes it; nothing is lost.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        requests_under_way_end_in_the_new_rings,
        "Polls, reads, worker requests and timeouts of before a resize complete in the new rings.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        messages_arrive_in_the_new_rings,
        "A message to a ring that was resized arrives in its new rings.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        wide_entries_and_completions_are_taken_along,
        "With SQE128, CQE32 and CQE_MIXED whole entries and completions are taken along.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        a_mixed_ring_has_room_for_a_wide_completion,
        "One CQ entry on a CQE_MIXED ring is EOVERFLOW, at setup and at a resize.",
        needs "REGISTER_RESIZE_RINGS", "SETUP_CQE_MIXED"
    ),
    claim!(
        "3.23",
        old_mappings_outlive_a_resize,
        "What a program mapped before a resize stays as it was and is read by nobody.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        a_ring_is_resized_many_times,
        "A ring that is resized again and again works and leaves neither descriptors nor mappings behind.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        a_resized_ring_is_polled_as_before,
        "The descriptor of a resized ring is readable while its new rings have completions.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        a_ring_in_the_callers_memory_moves_there,
        "A NO_MMAP ring is resized into memory of the caller's, also into what it has, which is not cleared.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        the_callers_memory_is_checked_in_turns,
        "RESIZE_RINGS of a NO_MMAP ring checks the rings' memory, writes sizes and parameters, then checks the entries' memory.",
        needs "REGISTER_RESIZE_RINGS"
    ),
];

const DEFER: u32 = Setup::SINGLE_ISSUER.union(Setup::DEFER_TASKRUN).bits();
/// `IORING_SQ_NEED_WAKEUP | IORING_SQ_TASKRUN`.
const LOOK: u32 = 5;

/// A ring that can be resized.
fn deferred(entries: u32, flags: Setup) -> Res<Ring> {
    with(entries, DEFER | flags.bits())
}

/// Parameters of a resize; a CQ of no entries is as large as it comes.
fn sized(sq: u32, cq: u32) -> Params {
    let flags = if cq == 0 { 0 } else { Setup::CQSIZE.bits() };
    Params { sq_entries: sq, cq_entries: cq, flags, ..Params::default() }
}

fn resize(ring: &mut Ring, sq: u32, cq: u32) -> Res<Params> {
    let mut asked = sized(sq, cq);
    must("RESIZE_RINGS", ring.resize(&mut asked))?;
    Ok(asked)
}

/// Submits `n` of what is queued, and no more.
fn submit_some(ring: &Ring, n: u32) -> Outcome {
    expect("entries taken", ring.enter(n, 0, 0, 0, 0), Ok(n))
}

fn queue(ring: &mut Ring, uds: std::ops::Range<u64>) {
    uds.for_each(|ud| ring.push(nop(ud)));
}

fn oks(uds: std::ops::Range<u64>) -> Vec<(u64, i32)> {
    uds.map(|ud| (ud, 0)).collect()
}

fn a_deferred_ring_can_grow() -> Outcome {
    for flags in [Setup::empty(), Setup::NO_SQARRAY] {
        let mut ring = deferred(4, flags)?;
        queue(&mut ring, 1..5);
        submit_some(&ring, 2)?;
        let told = resize(&mut ring, 20, 0)?;
        expect("sizes", (told.sq_entries, told.cq_entries), (32, 64))?;
        ends(&ring, &oks(1..3))?;
        queue(&mut ring, 5..35);
        submit_some(&ring, 32)?;
        ends(&ring, &oks(3..35))?;
        no_more_by_hand(&mut ring)?;
    }
    Ok(())
}

/// As [`no_more`], for rings whose entries were not submitted by [`Ring::submit`].
fn no_more_by_hand(ring: &mut Ring) -> Outcome {
    ring.push(nop(0xfeed));
    submit_some(ring, 1)?;
    ends(ring, &[(0xfeed, 0)])
}

fn a_deferred_ring_can_shrink() -> Outcome {
    for flags in [Setup::empty(), Setup::NO_SQARRAY] {
        let mut ring = deferred(16, flags)?;
        // So that positions lie beyond every size from here on.
        for ud in 100..145 {
            queue(&mut ring, ud..ud + 1);
            submit_some(&ring, 1)?;
            ends(&ring, &oks(ud..ud + 1))?;
        }
        queue(&mut ring, 1..6);
        submit_some(&ring, 3)?;
        let told = resize(&mut ring, 2, 4)?;
        expect("sizes", (told.sq_entries, told.cq_entries), (2, 4))?;
        expect("head, tail", (ring.sq_head(), ring.cq_tail()), (48, 48))?;
        submit_some(&ring, 1)?;
        ends(&ring, &oks(1..5))?;
        submit_some(&ring, 1)?;
        ends(&ring, &oks(5..6))?;
        no_more_by_hand(&mut ring)?;
    }
    Ok(())
}

fn other_rings_do_not_grow() -> Outcome {
    for flags in [0, Setup::SINGLE_ISSUER.bits(), Setup::SQPOLL.bits(), Setup::COOP_TASKRUN.bits()]
    {
        fails("RESIZE_RINGS", with(4, flags)?.resize(&mut sized(32, 0)), EINVAL)?;
    }
    Ok(())
}

/// RESIZE_RINGS by a thread that is not the ring's.
fn resized_elsewhere(fd: i32) -> Res<Sys<u64>> {
    let arg = Buf::of(&sized(32, 0).to_bytes()).leak();
    on_thread(move || register_fd(fd, reg::RESIZE_RINGS, arg, 1))
}

fn only_its_owner_resizes_a_ring() -> Outcome {
    let ring = deferred(4, Setup::empty())?;
    fails("another thread", resized_elsewhere(ring.fd)?, EEXIST)?;
    let mut ring = deferred(4, Setup::R_DISABLED)?;
    expect("another thread", resized_elsewhere(ring.fd)?, Ok(0))?;
    expect("this one", resize(&mut ring, 8, 0)?.sq_entries, 8)?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    fails("another thread", resized_elsewhere(ring.fd)?, EEXIST)?;
    runs(&mut ring, &[nop(1), nop(2)], &oks(1..3))
}

/// SQ head, tail, dropped, flags; CQ head, tail, overflow, flags.
fn words(ring: &Ring) -> [u32; 8] {
    let (s, c) = (&ring.params.sq_off, &ring.params.cq_off);
    [s.head, s.tail, s.dropped, s.flags, c.head, c.tail, c.overflow, c.flags]
        .map(|off| ring.sq.load(off as usize))
}

/// Both masks, both sizes.
fn sizes(ring: &Ring) -> [u32; 4] {
    let (s, c) = (&ring.params.sq_off, &ring.params.cq_off);
    [s.ring_mask, c.ring_mask, s.ring_entries, c.ring_entries].map(|off| ring.sq.load(off as usize))
}

fn a_resize_takes_heads_tails_and_words_along() -> Outcome {
    let mut ring = deferred(4, Setup::empty())?;
    queue(&mut ring, 1..5);
    submit_some(&ring, 3)?;
    ends(&ring, &oks(1..2))?;
    let (s, c) = (ring.params.sq_off, ring.params.cq_off);
    for (off, value) in [(s.dropped, 5), (s.flags, 0xf0), (c.overflow, 9), (c.flags, 1)] {
        ring.sq.store(off as usize, value);
    }
    must("RESIZE_RINGS", ring.resize_only(&mut sized(8, 32)))?;
    let grown = Params { sq_entries: 8, cq_entries: 32, ..ring.params };
    let array = 64 + 16 * 32;
    let grown = Params { sq_off: ringer_uapi::SqOffsets { array, ..s }, ..grown };
    let mut grown = must("map", Ring::from_fd(ring.fd, grown))?;
    ring.fd = -1;
    expect("words", words(&grown), [3, 4, 5, 0xf0 | LOOK, 1, 3, 9, 1])?;
    expect("sizes", sizes(&grown), [7, 31, 8, 32])?;
    expect("the index array", grown.sq.get(array as usize, 32), vec![0; 32])?;
    let at = |slot: usize| grown.sqes.get64(64 * slot + 32);
    expect("entries", [0, 1, 2, 3, 4].map(at), [0, 0, 0, 4, 0])?;
    grown.sq.store(s.dropped as usize, 0);
    grown.sq.store(array as usize + 12, 3);
    submit_some(&grown, 1)?;
    ends(&grown, &oks(2..5))?;
    // The flags tell of nothing, and go only with what they would tell of.
    must("GETEVENTS", grown.enter(0, 0, GETEVENTS, 0, 0))?;
    expect("flags", grown.sq_flags(), 0xf0 | LOOK)?;
    queue(&mut grown, 5..6);
    submit_some(&grown, 1)?;
    ends(&grown, &oks(5..6))
}

fn a_resize_tells_sizes_and_offsets() -> Outcome {
    let ring = deferred(4, Setup::SQE128 | Setup::CQE32 | Setup::TASKRUN_FLAG)?;
    let arg = Buf::new(Params::SIZE);
    arg.fill(0xee);
    [(0, 5), (4, 0), (8, 0)].into_iter().for_each(|(off, word)| arg.store(off, word));
    must("RESIZE_RINGS", ring.register(reg::RESIZE_RINGS, arg.addr(), 1))?;
    let at = |range: std::ops::Range<usize>| range.map(|i| arg.load(4 * i)).collect::<Vec<_>>();
    let wide = (Setup::SQE128 | Setup::CQE32).bits();
    expect("sizes, flags", at(0..3), vec![8, 16, wide])?;
    expect("the rest", at(3..10), vec![0xeeee_eeee; 7])?;
    expect("the SQ's offsets", at(10..20), vec![0, 4, 16, 24, 36, 32, 0xeeee_eeee, 0, 0, 0])?;
    expect("the CQ's offsets", at(20..30), vec![8, 12, 20, 28, 44, 64, 40, 0, 0, 0])
}

fn what_has_no_room_is_not_resized() -> Outcome {
    let mut ring = deferred(8, Setup::empty())?;
    queue(&mut ring, 1..9);
    submit_some(&ring, 5)?;
    let before = (words(&ring), sizes(&ring));
    for (sq, cq, told) in [(2, 16, (2, 16)), (4, 4, (4, 4)), (1, 1, (1, 1))] {
        let mut asked = sized(sq, cq);
        fails("RESIZE_RINGS", ring.resize_only(&mut asked), EOVERFLOW)?;
        expect("told", (asked.sq_entries, asked.cq_entries), told)?;
        expect("the ring", (words(&ring), sizes(&ring)), before)?;
    }
    submit_some(&ring, 3)?;
    ends(&ring, &oks(1..9))?;
    queue(&mut ring, 9..17);
    submit_some(&ring, 8)?;
    ends(&ring, &oks(9..17))
}

fn a_backlog_outlives_a_resize() -> Outcome {
    let mut ring = deferred(2, Setup::empty())?;
    for ud in [1, 3, 5, 7] {
        queue(&mut ring, ud..ud + 2);
        submit_some(&ring, 2)?;
    }
    resize(&mut ring, 8, 0)?;
    expect("what can be seen", ring.cq_tail(), 4)?;
    expect("flags", ring.sq_flags(), CQ_OVERFLOW | LOOK)?;
    queue(&mut ring, 9..10);
    submit_some(&ring, 1)?;
    expect("what can be seen", ring.cq_tail(), 4)?;
    must("GETEVENTS", ring.enter(0, 0, GETEVENTS, 0, 0))?;
    expect("what can be seen", ring.cq_tail(), 9)?;
    expect("flags", ring.sq_flags(), LOOK)?;
    ends(&ring, &oks(1..10))
}

fn requests_under_way_end_in_the_new_rings() -> Outcome {
    let mut ring = deferred(8, Setup::empty())?;
    let ((r, w), (polled, other)) = (pipe()?, pipe()?);
    let (blocked, into) = (file(b"")?, Buf::of(b"abcd"));
    let (buf, ts) = (Buf::new(64), after(20 * MS));
    let on_worker = flagged(write(blocked, into.addr(), 4, 0, 4), ASYNC);
    let sqes = [
        read(r, buf.addr(), 4, 0, 1),
        poll_add(polled, IN, 2),
        timeout(&ts, 0, 3),
        on_worker,
        poll_multi(polled, IN, 5),
    ];
    submit(&mut ring, &sqes)?;
    resize(&mut ring, 32, 0)?;
    put(w, b"abcd")?;
    put(other, b"x")?;
    let got = must_sorted(&ring, 5)?;
    let in_ = IN.cast_signed();
    expect("completions", got, vec![(1, 4), (2, in_), (3, -ETIME), (4, 4), (5, in_)])?;
    resize(&mut ring, 2, 2)?;
    put(other, b"x")?;
    ends(&ring, &[(5, in_)])
}

fn must_sorted(ring: &Ring, n: usize) -> Res<Vec<(u64, i32)>> {
    let mut all: Vec<_> = wait_for(ring, n)?.iter().map(|c| (c.user_data, c.res)).collect();
    all.sort_unstable();
    Ok(all)
}

fn messages_arrive_in_the_new_rings() -> Outcome {
    let (mut to, mut from) = (deferred(2, Setup::empty())?, ring()?);
    let message = |ud| Sqe { off: 70 + ud, len: 7, ..of_fd(40, to.fd, ud) };
    let (first, second) = (message(1), message(2));
    res(&mut from, first, 0)?;
    resize(&mut to, 8, 0)?;
    res(&mut from, second, 0)?;
    ends(&to, &[(71, 7), (72, 7)])
}

/// A NOP with a wide completion.
fn wide_nop(ud: u64) -> Sqe {
    Sqe { op_flags: 32, off: 100 + ud, addr: 200 + ud, ..nop(ud) }
}

fn wide_entries_and_completions_are_taken_along() -> Outcome {
    for flags in [Setup::SQE128, Setup::CQE32, Setup::SQE128 | Setup::CQE32, Setup::CQE_MIXED] {
        let mut ring = deferred(4, flags)?;
        let wide = flags.intersects(Setup::CQE32 | Setup::CQE_MIXED);
        let entry = |ud| if wide { wide_nop(ud) } else { nop(ud) };
        (1..5).for_each(|ud| ring.push(entry(ud)));
        submit_some(&ring, 2)?;
        resize(&mut ring, 16, 0)?;
        submit_some(&ring, 2)?;
        resize(&mut ring, 4, 8)?;
        for ud in 1..5 {
            let c = must("wait", ring.wait())?;
            let big = if wide { [100 + ud, 200 + ud] } else { [0, 0] };
            expect("a completion", (c.user_data, c.res, c.big), (ud, 0, big))?;
        }
    }
    Ok(())
}

fn a_mixed_ring_has_room_for_a_wide_completion() -> Outcome {
    let flags = DEFER | Setup::CQE_MIXED.bits();
    let one = Params { flags: flags | Setup::CQSIZE.bits(), cq_entries: 1, ..Params::default() };
    fails("setup", setup_call(1, &mut one.clone()), EOVERFLOW)?;
    fails("RESIZE_RINGS", with(4, flags)?.resize(&mut sized(1, 1)), EOVERFLOW)
}

fn old_mappings_outlive_a_resize() -> Outcome {
    let mut ring = deferred(4, Setup::empty())?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    let mut old = must("map", Ring::from_fd(ring.fd, ring.params))?;
    resize(&mut ring, 16, 0)?;
    expect("the old words", words(&old), [2, 2, 0, 0, 0, 2, 0, 0])?;
    ends(&old, &oks(1..3))?;
    // Nobody takes entries from there, nor sees that these completions were taken.
    (70..74).for_each(|ud| old.push(nop(ud)));
    old.fd = -1;
    ends(&ring, &oks(1..3))?;
    expect("of the old entries", ring.enter(4, 0, 0, 0, 0), Ok(0))?;
    submit(&mut ring, &[nop(3), nop(4)])?;
    ends(&ring, &oks(3..5))?;
    expect("the old words", words(&old), [2, 6, 0, 0, 2, 2, 0, 0])
}

fn a_ring_is_resized_many_times() -> Outcome {
    let mut ring = deferred(4, Setup::empty())?;
    let (r, w) = pipe()?;
    let buf = Buf::new(64);
    let mut ud = 0;
    let mut round = |ring: &mut Ring| -> Outcome {
        for entries in [1, 64, 2, 512, 4] {
            submit(ring, &[read(r, buf.addr(), 1, 0, ud)])?;
            resize(ring, entries, 0)?;
            put(w, b"x")?;
            ends(ring, &[(ud, 1)])?;
            ud += 1;
        }
        Ok(())
    };
    (0..10).try_for_each(|_| round(&mut ring))?;
    let count = || (os::count_in_proc("fd"), os::count_in_proc("map_files"));
    let (fds, maps) = count();
    (0..100).try_for_each(|_| round(&mut ring))?;
    let (fds_after, maps_after) = count();
    // What a request needed to wait may stay for the next one; what else the process maps meanwhile is little.
    expect("descriptors are left", fds_after > fds + 10, false)?;
    expect("mappings are left", maps_after > maps + 10, false)
}

fn a_resized_ring_is_polled_as_before() -> Outcome {
    let mut ring = deferred(4, Setup::empty())?;
    let readable = |ring: &Ring| must("poll", os::poll(ring.fd, libc::POLLIN, 0));
    expect("before", readable(&ring)?, 0)?;
    submit(&mut ring, &[nop(1)])?;
    expect("with a completion", readable(&ring)?, libc::POLLIN)?;
    resize(&mut ring, 16, 0)?;
    expect("taken along", readable(&ring)?, libc::POLLIN)?;
    ends(&ring, &oks(1..2))?;
    expect("taken", readable(&ring)?, 0)?;
    submit(&mut ring, &[nop(2)])?;
    expect("with another", readable(&ring)?, libc::POLLIN)?;
    ends(&ring, &oks(2..3))?;
    expect("taken", readable(&ring)?, 0)
}

fn a_ring_in_the_callers_memory_moves_there() -> Outcome {
    let mut ring = must("setup", Ring::in_memory(4, DEFER))?;
    queue(&mut ring, 1..5);
    submit_some(&ring, 2)?;
    let (sq, sqes) = (Buf::new(64 << 10), Buf::new(64 << 10));
    // The index array of the new rings, the flags, an entry that nothing is queued in.
    let array = 64 + 16 * 16;
    sq.store(array, 77);
    sq.store(ring.params.sq_off.flags as usize, 0xffff);
    sqes.put64(64 * 7 + 32, 88);
    let mut asked = sized(8, 0);
    must("RESIZE_RINGS", ring.resize_in(&mut asked, sq, sqes))?;
    let (sq, sqes) = (ring.sq.addr(), ring.sqes.addr());
    expect("addresses", (asked.cq_off.user_addr, asked.sq_off.user_addr), (sq, sqes))?;
    expect("flags", asked.flags, Setup::NO_MMAP.bits())?;
    expect("what was there", (ring.sq.load(array), ring.sqes.get64(64 * 7 + 32)), (77, 88))?;
    expect("words", words(&ring), [2, 4, 0, LOOK, 0, 2, 0, 0])?;
    ends(&ring, &oks(1..3))?;
    submit_some(&ring, 2)?;
    ends(&ring, &oks(3..5))?;
    queue(&mut ring, 5..10);
    submit_some(&ring, 2)?;
    // The memory that it has: nothing is where it was not.
    let mut same = sized(8, 0);
    (same.cq_off.user_addr, same.sq_off.user_addr) = (sq, sqes);
    must("RESIZE_RINGS", ring.resize_only(&mut same))?;
    submit_some(&ring, 3)?;
    ends(&ring, &oks(5..10))?;
    no_more_by_hand(&mut ring)
}

fn the_callers_memory_is_checked_in_turns() -> Outcome {
    let ring = must("setup", Ring::in_memory(4, DEFER))?;
    let (sq, sqes) = (Buf::new(8192), Buf::new(8192));
    // The CQ's size in the parameters, the SQ's mask in the new rings.
    let (untold, told) = ((0, 0), (16, 7));
    let turn = |rings: u64, entries: u64, errno: i32, want: (u32, u32)| {
        let mut asked = sized(8, 0);
        (asked.cq_off.user_addr, asked.sq_off.user_addr) = (rings, entries);
        sq.fill(0);
        fails("RESIZE_RINGS", ring.resize_only(&mut asked), errno)?;
        let mask = sq.load(ring.params.sq_off.ring_mask as usize);
        expect("what was written", (asked.cq_entries, mask), want)
    };
    turn(0, sqes.addr(), EFAULT, untold)?;
    turn(sq.addr() + 64, 0, EINVAL, untold)?;
    turn(4096, sqes.addr() + 64, EFAULT, untold)?;
    turn(sq.addr(), 0, EFAULT, told)?;
    turn(sq.addr(), sqes.addr() + 64, EINVAL, told)?;
    turn(sq.addr(), 4096, EFAULT, told)?;
    // The parameters cannot be written: before the entries' memory, after the rings'.
    let mut asked = sized(8, 0);
    (asked.cq_off.user_addr, asked.sq_off.user_addr) = (sq.addr(), sqes.addr() + 64);
    let arg = Buf::of(&asked.to_bytes());
    must("mprotect", arg.protect(libc::PROT_READ))?;
    let call = || ring.register(reg::RESIZE_RINGS, arg.addr(), 1);
    fails("parameters that cannot be written", call(), EFAULT)?;
    must("mprotect", arg.protect(libc::PROT_READ | libc::PROT_WRITE))?;
    arg.put64(112, sq.addr() + 64);
    must("mprotect", arg.protect(libc::PROT_READ))?;
    fails("the rings' memory, too", call(), EINVAL)?;
    runs(&mut { ring }, &[nop(1), nop(2)], &oks(1..3))
}
