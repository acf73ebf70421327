//! Section 3.18: messages between rings.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.18",
        a_message_is_a_completion_over_there,
        "MSG_RING posts its user_data and result to the target and answers 0.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_to_itself_comes_first,
        "A message to the own ring is posted before the sender's completion.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_can_carry_flags,
        "With FLAGS_PASS the message's flags are `file_index`, without it that is EINVAL.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_to_a_full_ring_waits_there,
        "A message to a full ring goes to its backlog, the sender gets 0.",
        needs "MSG_RING"
    ),
    claim!("3.18", a_message_needs_a_ring, "MSG_RING to a file that is no ring is EBADFD.",
        needs "MSG_RING"),
    claim!(
        "3.18",
        a_message_reaches_a_deferred_ring,
        "A message to a DEFER_TASKRUN ring appears at its owner's GETEVENTS.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_file_can_be_sent,
        "SEND_FD moves a registered file into the target's table: 0 for a slot, the slot for ALLOC, and a completion there.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_file_is_sent_to_a_table,
        "SEND_FD without a target table is ENXIO, from an empty slot EBADF, to itself EINVAL.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_needs_no_ring_of_its_own,
        "SEND_MSG_RING sends a message without a ring.",
        needs "REGISTER_SEND_MSG_RING"
    ),
];

/// MSG_RING DATA: (user_data, res) over there.
fn data(to: &Ring, user_data: u64, res: u32, ud: u64) -> Sqe {
    rw(40, to.fd, 0, res, user_data, ud)
}

fn a_message_is_a_completion_over_there() -> Outcome {
    let (mut from, to) = (ring()?, ring()?);
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    ends_flags(&to, &[(77, 5, 0)])
}

fn a_message_to_itself_comes_first() -> Outcome {
    let mut ring = ring()?;
    let message = data(&ring, 77, 5, 1);
    runs(&mut ring, &[message], &[(77, 5), (1, 0)])
}

fn a_message_can_carry_flags() -> Outcome {
    let (mut from, to) = (ring()?, ring()?);
    let flagged = |op_flags| Sqe { file_index: 1 << 16, op_flags, ..data(&to, 77, 5, 1) };
    res(&mut from, flagged(2), 0)?;
    ends_flags(&to, &[(77, 5, 1 << 16)])?;
    res(&mut from, flagged(0), -EINVAL)
}

fn a_message_to_a_full_ring_waits_there() -> Outcome {
    let (mut from, mut to) = (ring()?, small_cq(2)?);
    submit(&mut to, &[nop(1), nop(2)])?;
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    ends(&to, &[(1, 0), (2, 0), (77, 5)])
}

fn a_message_needs_a_ring() -> Outcome {
    let mut from = ring()?;
    let sqe = rw(40, file(b"x")?, 0, 0, 0, 1);
    let c = must("one", from.one(sqe))?;
    expect("the result", c.res, -libc::EBADFD)
}

fn a_message_reaches_a_deferred_ring() -> Outcome {
    let mut from = ring()?;
    let to = with(8, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits())?;
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    ends(&to, &[(77, 5)])
}

/// MSG_RING SEND_FD: from slot `addr3` to slot+1 `file_index`.
fn send(to: &Ring, from: u64, slot: u32, ud: u64) -> Sqe {
    Sqe { addr3: from, file_index: slot, ..rw(40, to.fd, 1, 0, 77, ud) }
}

fn a_file_can_be_sent() -> Outcome {
    let (mut from, mut to) = (ring()?, ring()?);
    let (f, buf) = (file(b"abcd")?, Buf::new(8));
    must("register", from.register_files(&[f]))?;
    must("register", to.register_files(&[-1, -1, -1]))?;
    res(&mut from, send(&to, 0, 2, 1), 0)?;
    ends(&to, &[(77, 0)])?;
    res(&mut from, send(&to, 0, u32::MAX, 2), 2)?;
    ends(&to, &[(77, 2)])?;
    res(&mut from, Sqe { op_flags: 1, ..send(&to, 0, 1, 3) }, 0)?;
    for slot in 0..3 {
        res(&mut to, flagged(read(slot, buf.addr(), 4, 0, 4), FIXED), 4)?;
    }
    Ok(())
}

fn a_file_is_sent_to_a_table() -> Outcome {
    let (mut from, to) = (ring()?, ring()?);
    must("register", from.register_files(&[file(b"x")?, -1]))?;
    res(&mut from, send(&to, 0, 1, 1), -ENXIO)?;
    must("register", to.register_files(&[-1]))?;
    res(&mut from, send(&to, 1, 1, 2), -EBADF)?;
    res(&mut from, send(&to, 0, 5, 3), -EINVAL)?;
    let own = send(&from, 0, 2, 4);
    res(&mut from, own, -EINVAL)
}

fn a_message_needs_no_ring_of_its_own() -> Outcome {
    let to = ring()?;
    let bytes: Vec<u8> =
        data(&to, 77, 5, 0).to_words().iter().flat_map(|w| w.to_ne_bytes()).collect();
    let sqe = Buf::of(&bytes);
    expect("SEND_MSG_RING", register_fd(-1, 31, sqe.addr(), 1), Ok(0))?;
    ends(&to, &[(77, 5)])
}
