//! Sections 3.15, 3.17, 3.19, 3.23, 3.26 and 4: wide completions, registered rings, who may do what,
//! resizing, probing, and what 6.18 does not have.

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
        needs "SETUP_CQE_MIXED"
    ),
    claim!(
        "3.15",
        a_filler_takes_the_last_slot,
        "A wide completion that does not fit before the end starts at slot 0 behind a filler with flag SKIP.",
        needs "SETUP_CQE_MIXED"
    ),
    claim!("3.15", wide_entries_double_the_stride, "With SQE128 entries lie 128 bytes apart."),
    claim!(
        "3.17",
        a_registered_ring_is_entered_by_index,
        "RING_FDS gives an index to enter by, also when the descriptor is closed.",
        needs "REGISTER_RING_FDS"
    ),
    claim!(
        "3.17",
        a_ring_index_is_the_threads_own,
        "Another thread does not see the index: EINVAL, or EBADF once it had a ring.",
        needs "REGISTER_RING_FDS"
    ),
    claim!(
        "3.17",
        a_ring_registration_checks_its_entries,
        "RING_FDS with a taken index is EBUSY, one of 16 or more EINVAL, no ring EOPNOTSUPP, a bad descriptor EBADF.",
        needs "REGISTER_RING_FDS"
    ),
    claim!(
        "3.17",
        a_ring_can_have_an_index_only,
        "REGISTERED_FD_ONLY answers an index instead of a descriptor.",
        needs "SETUP_REGISTERED_FD_ONLY"
    ),
    claim!(
        "3.19",
        a_personality_is_a_number,
        "REGISTER_PERSONALITY answers an id that entries may name; unknown ones are EINVAL.",
        needs "REGISTER_PERSONALITY"
    ),
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
        "3.23",
        a_deferred_ring_can_grow,
        "RESIZE_RINGS of a DEFER_TASKRUN ring keeps what is there.",
        needs "REGISTER_RESIZE_RINGS"
    ),
    claim!(
        "3.23",
        other_rings_do_not_grow,
        "RESIZE_RINGS of a ring without DEFER_TASKRUN is EINVAL."
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

fn wide_entries_double_the_stride() -> Outcome {
    let mut ring = with(4, Setup::SQE128.bits())?;
    runs(&mut ring, &[nop(1), nop(2), nop(3)], &[(1, 0), (2, 0), (3, 0)])?;
    expect("the second", ring.sqes.get64(128 + 32), 2)
}

const REGISTERED_RING: u32 = 16;

/// RING_FDS of one entry: the index it got.
fn index_of(fd: i32, at: u32) -> Sys<u32> {
    let arg = u64s(&[u64::from(at), u64::from(fd.cast_unsigned())]);
    register_fd(fd, 20, arg.addr(), 1).map(|_| arg.get64(0) as u32)
}

fn enter_index(index: u32) -> Sys<u64> {
    enter_fd(index.cast_signed(), 0, 0, GETEVENTS | REGISTERED_RING)
}

fn a_registered_ring_is_entered_by_index() -> Outcome {
    let mut ring = ring()?;
    let index = must("RING_FDS", index_of(ring.fd, u32::MAX))?;
    expect("enter", enter_index(index), Ok(0))?;
    close(ring.fd)?;
    ring.fd = -1;
    ring.push(nop(1));
    let enter = enter_fd(index.cast_signed(), 1, 1, GETEVENTS | REGISTERED_RING);
    expect("enter when closed", enter, Ok(1))?;
    expect("it", ring.reap().map(|c| c.user_data), Some(1))
}

fn a_ring_index_is_the_threads_own() -> Outcome {
    let ring = ring()?;
    let index = must("RING_FDS", index_of(ring.fd, u32::MAX))?;
    let seen = on_thread(move || {
        let before = enter_index(index);
        let had = Ring::new(2, 0).is_ok();
        (before, had, enter_index(index))
    })?;
    expect("another thread", seen, (Err(Errno(EINVAL)), true, Err(Errno(EBADF))))
}

fn a_ring_registration_checks_its_entries() -> Outcome {
    let ring = ring()?;
    expect("index 3", index_of(ring.fd, 3), Ok(3))?;
    fails("index 3 again", index_of(ring.fd, 3), EBUSY)?;
    fails("index 16", index_of(ring.fd, 16), EINVAL)?;
    let entry = |fd: i32| {
        let arg = u64s(&[u64::from(u32::MAX), u64::from(fd.cast_unsigned())]);
        ring.register(20, arg.addr(), 1)
    };
    fails("no ring", entry(file(b"x")?), EOPNOTSUPP)?;
    fails("closed", entry(999), EBADF)
}

fn a_ring_can_have_an_index_only() -> Outcome {
    let flags = Setup::REGISTERED_FD_ONLY | Setup::NO_MMAP;
    let (rings, sqes) = (Buf::new(4096), Buf::new(4096));
    let mut p = Params { flags: flags.bits(), ..Params::default() };
    p.cq_off.user_addr = rings.addr();
    p.sq_off.user_addr = sqes.addr();
    let before = os::count_in_proc("fd");
    let index = must("setup", setup_call(8, &mut p))?;
    expect("descriptors", os::count_in_proc("fd"), before)?;
    expect("enter", enter_index(index.cast_unsigned()), Ok(0))
}

fn a_personality_is_a_number() -> Outcome {
    let mut ring = ring()?;
    let id = must("PERSONALITY", ring.register(9, 0, 0))?;
    let named = |personality| Sqe { personality, ..nop(1) };
    res(&mut ring, named(id as u16), 0)?;
    res(&mut ring, named(id as u16 + 1), -EINVAL)?;
    expect("unregister", ring.register(10, 0, id as u32), Ok(0))?;
    res(&mut ring, named(id as u16), -EINVAL)
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

fn resize(ring: &Ring, entries: u32) -> Sys<Params> {
    let asked = Params { sq_entries: entries, ..Params::default() };
    let arg = Buf::of(&asked.to_bytes());
    ring.register(33, arg.addr(), 1)?;
    let bytes = arg.get(0, Params::SIZE).try_into().map_err(|_| Errno(EINVAL))?;
    Ok(Params::from_bytes(&bytes))
}

fn a_deferred_ring_can_grow() -> Outcome {
    let mut ring = with(4, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits())?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    let params = must("RESIZE_RINGS", resize(&ring, 32))?;
    expect("sizes", (params.sq_entries, params.cq_entries), (32, 64))?;
    let params = Params { flags: ring.params.flags, ..params };
    let mut grown = must("map", Ring::from_fd(ring.fd, params))?;
    ring.fd = -1;
    ends(&grown, &[(1, 0), (2, 0)])?;
    let all: Vec<Sqe> = (3..33).map(nop).collect();
    submit(&mut grown, &all)
}

fn other_rings_do_not_grow() -> Outcome {
    fails("RESIZE_RINGS", resize(&ring()?, 32), EINVAL)
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
