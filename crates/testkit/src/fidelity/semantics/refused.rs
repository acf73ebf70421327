//! Sections 1.0 and 3.6: what a refused entry still does to its neighbours.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.6",
        what_is_refused_first_still_links,
        "An unknown opcode, an unknown flag, a selection that is not to be had and a stray field cancel the rest of their chain."
    ),
    claim!(
        "1.0",
        what_is_refused_for_opcode_or_flags_does_not_drain,
        "A chain's member with IO_DRAIN that is refused for its opcode, for an unknown flag or for BUFFER_SELECT makes nothing wait."
    ),
    claim!(
        "1.0",
        what_is_refused_for_its_fields_drains,
        "A chain's member with IO_DRAIN that is refused for ioprio, personality or its own fields makes the next request wait for all before."
    ),
    claim!(
        "1.0",
        a_restricted_entry_drains_and_links,
        "A chain's member with IO_DRAIN that a restriction refuses cancels its chain and makes the next request wait.",
        needs "REGISTER_RESTRICTIONS"
    ),
];

/// Entries that are refused before their flags are taken up.
fn refused_first() -> [(Sqe, i32); 3] {
    let bit7 = Sqe { flags: 0x80, ..nop(2) };
    [(of(200, 2), -EINVAL), (bit7, -EINVAL), (flagged(nop(2), SELECT), -EOPNOTSUPP)]
}

/// Entries that are refused after it.
fn refused_later() -> [(Sqe, i32); 3] {
    let ioprio = Sqe { ioprio: 1, ..nop(2) };
    let personality = Sqe { personality: 77, ..nop(2) };
    [(ioprio, -EINVAL), (personality, -EINVAL), (refused(2), -EINVAL)]
}

fn what_is_refused_first_still_links() -> Outcome {
    let mut ring = ring()?;
    for (bad, errno) in refused_first().into_iter().chain(refused_later()) {
        let chain = [flagged(nop(1), LINK), flagged(bad, LINK), flagged(nop(3), HARDLINK), nop(4)];
        let cancelled = |ud| (ud, -ECANCELED);
        let want = [cancelled(1), (2, errno), cancelled(3), cancelled(4)];
        runs(&mut ring, &chain, &want)?;
        runs(&mut ring, &[flagged(bad, LINK), nop(4)], &[(2, errno), cancelled(4)])?;
    }
    Ok(())
}

/// Behind a pending read a chain with that entry as its last member, and then a NOP: whether that
/// one has to wait for the read.
fn next_waits(ring: &mut Ring, (bad, errno): (Sqe, i32)) -> Res<bool> {
    let (r, w) = pipe()?;
    let b = Buf::new(8);
    submit(ring, &[read(r, b.addr(), 1, 0, 9)])?;
    let chain = [flagged(nop(1), LINK), flagged(bad, DRAIN)];
    runs(ring, &chain, &[(1, -ECANCELED), (2, errno)])?;
    submit(ring, &[nop(5)])?;
    let first = os::poll(ring.fd, libc::POLLIN, 50) == Ok(0);
    put(w, b"x")?;
    let both = if first { [(9, 1), (5, 0)] } else { [(5, 0), (9, 1)] };
    ends(ring, &both)?;
    Ok(first)
}

fn what_is_refused_for_opcode_or_flags_does_not_drain() -> Outcome {
    for bad in refused_first() {
        expect("the next waits", next_waits(&mut ring()?, bad)?, false)?;
    }
    Ok(())
}

fn what_is_refused_for_its_fields_drains() -> Outcome {
    for bad in refused_later() {
        expect("the next waits", next_waits(&mut ring()?, bad)?, true)?;
    }
    Ok(())
}

fn a_restricted_entry_drains_and_links() -> Outcome {
    let mut ring = with(8, Setup::R_DISABLED.bits())?;
    // Register restrictions: opcodes NOP and READ, flags LINK and DRAIN.
    let entry = |kind: u64, what: u8| kind | u64::from(what) << 16;
    let words: Vec<u64> = [entry(1, op::NOP), entry(1, op::READ), entry(2, LINK | DRAIN)]
        .into_iter()
        .flat_map(|e| [e, 0])
        .collect();
    let arg = u64s(&words);
    must("RESTRICTIONS", ring.register(11, arg.addr(), 3))?;
    must("enable", ring.register(reg::ENABLE_RINGS, 0, 0))?;
    let bad = (of(op::CLOSE, 2), -libc::EACCES);
    expect("the next waits", next_waits(&mut ring, bad)?, true)
}
