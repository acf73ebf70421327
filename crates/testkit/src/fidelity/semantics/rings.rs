//! Sections 3.15, 3.19, 3.26 and 4: wide completions, who may do what, probing, and what 6.18 does not
//! have.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.15",
        a_wide_completion_has_zeros,
        "With CQE32 every completion has 32 bytes, the second half zero."
    ),
    claim!(
        "3.15",
        a_wide_completion_takes_two_slots,
        "On a CQE_MIXED ring a wide completion takes two slots and has flag 32.",
        needs "SETUP_CQE_MIXED", "CQE_F_32"
    ),
    claim!(
        "3.15",
        a_filler_takes_the_last_slot,
        "A wide completion that does not fit before the end starts at slot 0 behind a filler with flag SKIP.",
        needs "SETUP_CQE_MIXED", "CQE_F_SKIP"
    ),
    claim!("3.15", wide_entries_double_the_stride, "With SQE128 entries lie 128 bytes apart."),
    claim!(
        "3.19",
        restrictions_hold_once_enabled,
        "Restrictions are enforced after ENABLE_RINGS: EACCES for other register operations and opcodes.",
        needs "REGISTER_RESTRICTIONS"
    ),
    claim!(
        "3.19",
        required_flags_must_be_there,
        "A required flag that is missing is EACCES, one that is not allowed too.",
        needs "REGISTER_RESTRICTIONS"
    ),
    claim!(
        "3.19",
        restrictions_need_a_disabled_ring,
        "REGISTER_RESTRICTIONS of an enabled ring is EBADFD.",
        needs "REGISTER_RESTRICTIONS"
    ),
    claim!(
        "3.19",
        restrictions_are_registered_once,
        "A second REGISTER_RESTRICTIONS is EBUSY; one that failed leaves nothing; 103 entries are taken, 104 are EINVAL.",
        needs "REGISTER_RESTRICTIONS"
    ),
    claim!(
        "3.19",
        restrictions_to_nothing_forbid_everything,
        "REGISTER_RESTRICTIONS of no entries forbids all operations and opcodes, on a ring with a submission thread as well.",
        needs "REGISTER_RESTRICTIONS"
    ),
    claim!(
        "3.19",
        a_restriction_is_looked_at_after_the_flags,
        "An unknown opcode or flag is EINVAL and a selection EOPNOTSUPP in spite of restrictions, a stray field EACCES.",
        needs "REGISTER_RESTRICTIONS"
    ),
    claim!(
        "3.19",
        reads_in_a_row_are_restricted,
        "Each of several adjacent reads is EACCES where READ is not allowed, or not without a flag.",
        needs "REGISTER_RESTRICTIONS"
    ),
    claim!(
        "3.26",
        a_probe_tells_63_opcodes,
        "PROBE says that 62 is the last opcode and numbers them.",
        needs "PROBE_ALL"
    ),
    claim!(
        "3.26",
        a_probe_takes_zeros_only,
        "PROBE of memory that is not zero is EINVAL; nr 0 is fine, 257 is not."
    ),
    claim!(
        "3.26",
        a_query_fills_its_headers,
        "QUERY fills op 0, answers EOPNOTSUPP in the header of another, 0 for an empty list.",
        needs "REGISTER_QUERY"
    ),
    claim!(
        "3.26",
        a_query_says_in_its_header_what_is_wrong,
        "QUERY of no size or with a reserved word set is 0, the header's result EINVAL; op 0 fills 48 bytes.",
        needs "REGISTER_QUERY"
    ),
    claim!(
        "3.26",
        a_query_needs_no_ring_and_an_end,
        "QUERY takes descriptor -1; a list that leads to itself is ERANGE, one that leads nowhere EFAULT.",
        needs "REGISTER_QUERY"
    ),
    claim!("4", opcodes_beyond_the_last_are_refused, "Opcodes from 63 on are EINVAL."),
    claim!(
        "4",
        receiving_without_a_copy_is_refused,
        "RECV_ZC without a queue of its own is EINVAL."
    ),
    claim!("4", newer_setup_flags_are_refused, "Setup flags from bit 19 on are EINVAL."),
    claim!("4", newer_registrations_are_refused, "Register operations from 36 on are EINVAL."),
    claim!(
        "4",
        commands_need_files_that_know_them,
        "URING_CMD of a regular file is EOPNOTSUPP, of /dev/null 0.",
        needs "URING_CMD"
    ),
    claim!(
        "4",
        a_socket_knows_some_commands,
        "URING_CMD SIOCINQ answers what is there, GETSOCKNAME, which is newer, EOPNOTSUPP.",
        needs "URING_CMD"
    ),
    claim!(
        "4",
        read_attributes_are_refused,
        "A READ with an attribute mask on a file without protection information is EINVAL."
    ),
    claim!("4", a_priority_class_is_checked, "An ioprio of class 7 is EINVAL."),
    claim!(
        "3.15",
        a_wide_completion_waits_for_two_slots,
        "On a CQE_MIXED ring a wide completion with one slot of room goes to the backlog.", needs "SETUP_CQE_MIXED"
    ),
    claim!(
        "3.15",
        a_wide_nop_needs_a_ring_of_wide_completions,
        "NOP_CQE32 is EINVAL on a ring of narrow completions, and has no second half when it is cancelled.",
        needs "NOP_CQE32"
    ),
    claim!(
        "4",
        a_cpu_that_is_not_there_is_refused,
        "SQ_AFF with a CPU that is not there is EINVAL."
    ),
    claim!("4", no_iowait_is_accepted, "ENTER_NO_IOWAIT is accepted."),
];

fn a_wide_completion_has_zeros() -> Outcome {
    let mut ring = with(8, Setup::CQE32.bits())?;
    ring.sq.get(0, 0);
    for ud in 0..20 {
        let c = must("one", ring.one(nop(ud)))?;
        expect("a completion", (c.user_data, c.res, c.big), (ud, 0, [0, 0]))?;
    }
    Ok(())
}

/// A NOP with a wide completion (`IORING_NOP_CQE32`): its halves are `off` and `addr`.
fn wide_nop(ud: u64) -> Sqe {
    Sqe { op_flags: 32, off: 0x11, addr: 0x22, ..nop(ud) }
}

/// The flags of a slot of a mixed ring.
fn slot(ring: &Ring, at: usize) -> (u64, u32) {
    let base = ring.params.cq_off.cqes as usize + 16 * at;
    (ring.sq.get64(base), (ring.sq.get64(base + 8) >> 32) as u32)
}

const F_32: u32 = 1 << 15;
const F_SKIP: u32 = 1 << 5;

fn a_wide_completion_takes_two_slots() -> Outcome {
    let mut ring = with(4, Setup::CQE_MIXED.bits())?;
    submit(&mut ring, &[nop(1), wide_nop(2), nop(3)])?;
    expect("the tail", ring.cq_tail(), 4)?;
    expect("the first", slot(&ring, 0), (1, 0))?;
    expect("the wide one", slot(&ring, 1), (2, F_32))?;
    let half = ring.params.cq_off.cqes as usize + 32;
    expect("its halves", [ring.sq.get64(half), ring.sq.get64(half + 8)], [0x11, 0x22])?;
    expect("the last", slot(&ring, 3), (3, 0))
}

fn a_filler_takes_the_last_slot() -> Outcome {
    let mut ring = with(4, Setup::CQE_MIXED.bits())?;
    submit(&mut ring, &[nop(1), nop(2), nop(3), nop(4)])?;
    submit(&mut ring, &[nop(5), nop(6), nop(7)])?;
    // Seven of eight are used: take them.
    ring.sq.store(ring.params.cq_off.head as usize, 7);
    submit(&mut ring, &[wide_nop(8)])?;
    expect("the tail", ring.cq_tail(), 10)?;
    expect("the filler", slot(&ring, 7), (0, F_SKIP))?;
    expect("the wide one", slot(&ring, 0), (8, F_32))
}

fn a_wide_completion_waits_for_two_slots() -> Outcome {
    let mut ring = with(4, Setup::CQE_MIXED.bits())?;
    submit(&mut ring, &[nop(1), nop(2), nop(3), nop(4)])?;
    submit(&mut ring, &[nop(5), nop(6), nop(7), wide_nop(8)])?;
    // The filler took the last slot.
    expect("the tail", ring.cq_tail(), 8)?;
    expect("a backlog", ring.sq_flags() & CQ_OVERFLOW, CQ_OVERFLOW)?;
    ring.sq.store(ring.params.cq_off.head as usize, 1);
    must("enter", ring.enter(0, 0, GETEVENTS, 0, 0))?;
    expect("one slot is not enough", ring.cq_tail(), 8)?;
    ring.sq.store(ring.params.cq_off.head as usize, 2);
    must("enter", ring.enter(0, 0, GETEVENTS, 0, 0))?;
    expect("two are", (ring.cq_tail(), slot(&ring, 0)), (10, (8, F_32)))?;
    expect("no backlog", ring.sq_flags() & CQ_OVERFLOW, 0)
}

fn a_wide_nop_needs_a_ring_of_wide_completions() -> Outcome {
    let both = (Setup::CQE32 | Setup::CQE_MIXED).bits();
    fails("both", Ring::new(4, both).map(drop), EINVAL)?;
    res(&mut ring()?, wide_nop(1), -EINVAL)?;
    for flags in [Setup::CQE32, Setup::CQE_MIXED] {
        let mut ring = with(8, flags.bits())?;
        let c = must("one", ring.one(wide_nop(1)))?;
        let flag = if flags == Setup::CQE_MIXED { F_32 } else { 0 };
        expect("a wide one", (c.res, c.flags, c.big), (0, flag, [0x11, 0x22]))?;
        submit(&mut ring, &[flagged(nop_with(-5, 2), LINK), wide_nop(3)])?;
        expect("the failed one", must("wait", ring.wait())?.res, -5)?;
        let c = must("wait", ring.wait())?;
        expect("the cancelled one", (c.user_data, c.res, c.flags), (3, -ECANCELED, 0))?;
    }
    Ok(())
}

fn wide_entries_double_the_stride() -> Outcome {
    let mut ring = with(4, Setup::SQE128.bits())?;
    runs(&mut ring, &[nop(1), nop(2), nop(3)], &[(1, 0), (2, 0), (3, 0)])?;
    expect("the second", ring.sqes.get64(128 + 32), 2)
}

/// `struct io_uring_restriction`: kind and argument.
fn restrict(ring: &Ring, all: &[(u64, u64)]) -> Sys<u64> {
    let words: Vec<u64> = all.iter().flat_map(|&(kind, what)| [kind | what << 16, 0]).collect();
    let arg = u64s(&words);
    ring.register(11, arg.addr(), all.len() as u32)
}

const EACCES: i32 = libc::EACCES;

fn restrictions_hold_once_enabled() -> Outcome {
    let mut ring = with(8, Setup::R_DISABLED.bits())?;
    must("RESTRICTIONS", restrict(&ring, &[(0, 2), (1, u64::from(op::NOP))]))?;
    let e = must("eventfd", os::eventfd(0, 0))?;
    let arg = i32s(&[e]);
    expect("free before", ring.register(reg::EVENTFD, arg.addr(), 1), Ok(0))?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    fails("another", ring.register(reg::UNREGISTER_EVENTFD, 0, 0), EACCES)?;
    expect("a listed one", ring.register_files(&[e]), Ok(0))?;
    res(&mut ring, nop(1), 0)?;
    res(&mut ring, of_fd(op::FSYNC, e, 2), -EACCES)
}

fn required_flags_must_be_there() -> Outcome {
    let mut ring = with(8, Setup::R_DISABLED.bits())?;
    let nop_only = (1, u64::from(op::NOP));
    must("RESTRICTIONS", restrict(&ring, &[nop_only, (2, LINK.into()), (3, ASYNC.into())]))?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    res(&mut ring, nop(1), -EACCES)?;
    res(&mut ring, flagged(nop(2), ASYNC | DRAIN), -EACCES)?;
    res(&mut ring, flagged(nop(3), ASYNC), 0)
}

fn restrictions_need_a_disabled_ring() -> Outcome {
    fails("enabled", restrict(&ring()?, &[(0, 2)]), libc::EBADFD)
}

fn restrictions_are_registered_once() -> Outcome {
    let mut ring = with(8, Setup::R_DISABLED.bits())?;
    let nop_only = (1, u64::from(op::NOP));
    for bad in [(0, 36), (1, 63), (4, 0)] {
        fails("a bad entry", restrict(&ring, &[nop_only, bad]), EINVAL)?;
    }
    fails("too many", restrict(&ring, &[nop_only; 104]), EINVAL)?;
    expect("the most", restrict(&ring, &[nop_only; 103]), Ok(0))?;
    fails("again", restrict(&ring, &[nop_only]), EBUSY)?;
    fails("again, badly", restrict(&ring, &[(4, 0)]), EBUSY)?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    fails("too late", restrict(&ring, &[nop_only]), EACCES)?;
    res(&mut ring, nop(1), 0)
}

fn restrictions_to_nothing_forbid_everything() -> Outcome {
    for flags in [Setup::R_DISABLED, Setup::R_DISABLED | Setup::SQPOLL] {
        let mut ring = with(8, flags.bits())?;
        fails("no array", ring.register(11, 0, 0), EINVAL)?;
        expect("no entries", restrict(&ring, &[]), Ok(0))?;
        must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
        ring.push(nop(1));
        must("enter", ring.enter(1, 1, GETEVENTS | SQ_WAKEUP, 0, 0))?;
        ends(&ring, &[(1, -EACCES)])?;
        for opcode in [0, 2, 3, 12, 35] {
            fails("an operation", ring.register(opcode, 0, 0), EACCES)?;
        }
        fails("an unknown one", ring.register(36, 0, 0), EINVAL)?;
    }
    Ok(())
}

fn a_restriction_is_looked_at_after_the_flags() -> Outcome {
    let mut ring = with(8, Setup::R_DISABLED.bits())?;
    must("RESTRICTIONS", restrict(&ring, &[(1, u64::from(op::READ)), (3, ASYNC.into())]))?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    res(&mut ring, of(200, 1), -EINVAL)?;
    res(&mut ring, flagged(nop(2), 0x80), -EINVAL)?;
    res(&mut ring, flagged(nop(3), SELECT), -EOPNOTSUPP)?;
    res(&mut ring, Sqe { ioprio: 1, personality: 9, ..flagged(nop(4), ASYNC) }, -EACCES)?;
    res(&mut ring, Sqe { ioprio: 7 << 13, ..read(-1, 0, 1, 0, 5) }, -EACCES)?;
    res(&mut ring, Sqe { personality: 9, ..flagged(read(-1, 0, 1, 0, 6), ASYNC) }, -EINVAL)
}

fn reads_in_a_row_are_restricted() -> Outcome {
    let (f, b) = (file(&[7; 64])?, Buf::new(64));
    let part = |n: u64| read(f, b.addr() + 16 * n, 16, 16 * n, n);
    let three = [part(0), part(1), part(2)];
    for of in [(1, u64::from(op::NOP)), (3, ASYNC.into())] {
        let mut ring = with(8, (Setup::R_DISABLED | Setup::SUBMIT_ALL).bits())?;
        must("RESTRICTIONS", restrict(&ring, &[of]))?;
        must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
        runs(&mut ring, &three, &[(0, -EACCES), (1, -EACCES), (2, -EACCES)])?;
    }
    expect("what was read", b.get(0, 48), vec![0; 48])
}

fn a_probe_tells_63_opcodes() -> Outcome {
    let (ring, buf) = (ring()?, Buf::new(16 + 8 * 256));
    expect("PROBE", ring.register(reg::PROBE, buf.addr(), 256), Ok(0))?;
    expect("last, length", buf.get(0, 2), vec![62, 63])?;
    for op in 0..63_u8 {
        let entry = buf.get(16 + 8 * usize::from(op), 4);
        expect("an opcode", (entry[0], entry[2] & 1), (op, 1))?;
    }
    Ok(())
}

fn a_probe_takes_zeros_only() -> Outcome {
    let (ring, buf) = (ring()?, Buf::new(16 + 8 * 257));
    expect("none", ring.register(reg::PROBE, buf.addr(), 0), Ok(0))?;
    fails("257", ring.register(reg::PROBE, buf.addr(), 257), EINVAL)?;
    buf.fill(0);
    expect("256", ring.register(reg::PROBE, buf.addr(), 256), Ok(0))?;
    fails("not zero", ring.register(reg::PROBE, buf.addr(), 256), EINVAL)
}

fn a_query_fills_its_headers() -> Outcome {
    let (ring, data, second) = (ring()?, Buf::new(64), Buf::new(64));
    expect("an empty list", ring.register(35, 0, 0), Ok(0))?;
    // {next, data, op, size, result, reserved}
    let last = u64s(&[0, second.addr(), 9 | 48 << 32, 0, 0]);
    let first = u64s(&[last.addr(), data.addr(), 48 << 32, 0, 0]);
    expect("QUERY", ring.register(35, first.addr(), 0), Ok(0))?;
    expect("the first's result", first.get64(24) as u32, 0)?;
    expect("opcodes", data.get64(0) as u32, 63)?;
    let unknown = (last.get64(24) as u32).cast_signed();
    expect("the other's", unknown, -EOPNOTSUPP)
}

/// What QUERY says of a header with that size word and reserved word: result and size.
fn queried(size: u64, reserved: u64) -> Res<(i32, u32)> {
    let data = Buf::new(64);
    let header = u64s(&[0, data.addr(), size << 32, reserved << 32, 0]);
    expect("QUERY", register_fd(-1, 35, header.addr(), 0), Ok(0))?;
    Ok((header.load(24).cast_signed(), header.load(20)))
}

fn a_query_says_in_its_header_what_is_wrong() -> Outcome {
    expect("all of it", queried(48, 0)?, (0, 48))?;
    expect("room for more", queried(60, 0)?, (0, 48))?;
    expect("no size", queried(0, 0)?.0, -EINVAL)?;
    let nowhere = u64s(&[0, u64::MAX, 0, 0, 0]);
    expect("no size, nowhere", register_fd(-1, 35, nowhere.addr(), 0), Ok(0))?;
    expect("a reserved word", queried(48, 1)?.0, -EINVAL)
}

fn a_query_needs_no_ring_and_an_end() -> Outcome {
    let data = Buf::new(64);
    let header = u64s(&[0, data.addr(), 48 << 32, 0, 0]);
    header.put64(0, header.addr());
    fails("a loop", register_fd(-1, 35, header.addr(), 0), libc::ERANGE)?;
    header.put64(0, 16);
    header.put64(16, 48 << 32);
    header.put64(24, 0);
    fails("nowhere", register_fd(-1, 35, header.addr(), 0), EFAULT)
}

fn opcodes_beyond_the_last_are_refused() -> Outcome {
    let mut ring = ring()?;
    for opcode in [63, 64, 200, 255] {
        res(&mut ring, of(opcode, 1), -EINVAL)?;
    }
    Ok(())
}

fn receiving_without_a_copy_is_refused() -> Outcome {
    let (a, _b) = pair()?;
    res(&mut ring()?, Sqe { ioprio: 2, ..of_fd(58, a, 1) }, -EINVAL)
}

fn newer_setup_flags_are_refused() -> Outcome {
    for bit in 19..32 {
        let mut p = Params { flags: 1 << bit, ..Params::default() };
        fails("setup", setup_call(8, &mut p), EINVAL)?;
    }
    Ok(())
}

fn newer_registrations_are_refused() -> Outcome {
    let ring = ring()?;
    for opcode in [36, 37, 40, 100] {
        fails("register", ring.register(opcode, 0, 0), EINVAL)?;
    }
    Ok(())
}

/// URING_CMD: the command is the low half of `off`.
fn command(fd: i32, cmd: u64, ud: u64) -> Sqe {
    rw(46, fd, 0, 0, cmd, ud)
}

fn commands_need_files_that_know_them() -> Outcome {
    let mut ring = ring()?;
    let null = must("open", os::open("/dev/null", libc::O_RDWR))?;
    res(&mut ring, command(file(b"x")?, 0, 1), -EOPNOTSUPP)?;
    res(&mut ring, command(null, 0, 2), 0)
}

fn a_socket_knows_some_commands() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, tcp()?);
    put(b, b"abc")?;
    must("poll", os::poll(a, libc::POLLIN, 1000))?;
    res(&mut ring, command(a, 0, 1), 3)?;
    res(&mut ring, command(a, 5, 2), -EOPNOTSUPP)
}

fn read_attributes_are_refused() -> Outcome {
    let (mut ring, f, buf) = (ring()?, file(b"abcd")?, Buf::new(64));
    let attr = Sqe { pad2: 1, addr3: buf.addr(), ..read(f, buf.addr(), 4, 0, 1) };
    res(&mut ring, attr, -EINVAL)
}

fn a_priority_class_is_checked() -> Outcome {
    let (mut ring, f, buf) = (ring()?, file(b"abcd")?, Buf::new(64));
    let with = |ioprio| Sqe { ioprio, ..read(f, buf.addr(), 4, 0, 1) };
    res(&mut ring, with(7 << 13), -EINVAL)?;
    res(&mut ring, with(2 << 13 | 4), 4)
}

fn a_cpu_that_is_not_there_is_refused() -> Outcome {
    let flags = (Setup::SQPOLL | Setup::SQ_AFF).bits();
    let mut p = Params { flags, sq_thread_cpu: 4000, ..Params::default() };
    fails("setup", setup_call(8, &mut p), EINVAL)
}

fn no_iowait_is_accepted() -> Outcome {
    expect("enter", ring()?.enter(0, 0, GETEVENTS | 128, 0, 0), Ok(0))
}
