//! Section 3.1: RECV on registered TCP connections that an earlier one emptied.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.1",
        an_emptied_connection_is_received_in_its_place,
        "RECV on a registered connection that an earlier RECV emptied ends where it stands in its batch when bytes came before."
    ),
    claim!(
        "3.1",
        a_batch_receives_what_it_sends_itself,
        "RECV behind the SEND or the WRITE whose bytes it gets ends before the NOP behind it; one that gets nothing stays."
    ),
    claim!(
        "3.1",
        the_end_of_an_emptied_connection_is_told_each_time,
        "After a half-close each RECV on an emptied registered connection is 0."
    ),
    claim!(
        "3.1",
        a_receive_stops_at_urgent_data_once,
        "RECV stops before urgent data, and the next one gets what is behind it."
    ),
];

const DEFER: u32 = Setup::SINGLE_ISSUER.union(Setup::DEFER_TASKRUN).bits();

/// A connection whose ends are slots 0 and 1, each received from once.
struct Emptied {
    ring: Ring,
    ends: (i32, i32),
    buf: Buf,
}

impl Emptied {
    fn new(flags: u32) -> Res<Self> {
        let (mut ring, ends, buf) = (with(16, flags)?, tcp()?, Buf::new(32));
        must("files", ring.register_files(&[ends.0, ends.1]))?;
        for (slot, peer) in [(0, ends.1), (1, ends.0)] {
            submit(&mut ring, &[of_slot(op::RECV, slot, &buf, 9)])?;
            put(peer, b"first")?;
            super::kit::ends(&ring, &[(9, 5)])?;
        }
        Ok(Self { ring, ends, buf })
    }

    fn recv(&self, slot: i32, ud: u64) -> Sqe {
        of_slot(op::RECV, slot, &self.buf, ud)
    }

    fn send(&self, slot: i32, ud: u64) -> Sqe {
        of_slot(op::SEND, slot, &self.buf, ud)
    }
}

fn of_slot(opcode: u8, slot: i32, buf: &Buf, ud: u64) -> Sqe {
    flagged(rw(opcode, slot, buf.addr(), 16, 0, ud), FIXED)
}

fn each_mode(body: impl Fn(Emptied) -> Outcome) -> Outcome {
    [0, DEFER].into_iter().try_for_each(|flags| body(Emptied::new(flags)?))
}

fn an_emptied_connection_is_received_in_its_place() -> Outcome {
    each_mode(|mut s| {
        put(s.ends.1, b"more")?;
        let batch = [nop(1), s.recv(0, 2), nop(3), s.recv(1, 4)];
        runs(&mut s.ring, &batch, &[(1, 0), (2, 4), (3, 0)])?;
        put(s.ends.0, b"late")?;
        ends(&s.ring, &[(4, 4)])
    })
}

fn a_batch_receives_what_it_sends_itself() -> Outcome {
    each_mode(|mut s| {
        let batch = [s.recv(1, 1), s.send(1, 2), s.recv(0, 3), nop(4)];
        runs(&mut s.ring, &batch, &[(2, 16), (3, 16), (4, 0)])?;
        put(s.ends.0, b"late")?;
        ends(&s.ring, &[(1, 4)])
    })?;
    each_mode(|mut s| {
        let write = rw(op::WRITE, s.ends.1, s.buf.addr(), 3, u64::MAX, 2);
        let batch = [s.recv(1, 1), write, s.recv(0, 3), nop(4)];
        runs(&mut s.ring, &batch, &[(2, 3), (3, 3), (4, 0)])
    })
}

fn the_end_of_an_emptied_connection_is_told_each_time() -> Outcome {
    each_mode(|mut s| {
        let fd = i64::from(s.ends.1).cast_unsigned();
        must("shutdown", os::raw(libc::SYS_shutdown, [fd, 1, 0]))?;
        (0..3).try_for_each(|ud| {
            let batch = [s.recv(0, ud), nop(9)];
            runs(&mut s.ring, &batch, &[(ud, 0), (9, 0)])
        })
    })
}

fn a_receive_stops_at_urgent_data_once() -> Outcome {
    each_mode(|mut s| {
        let (fd, buf) = (i64::from(s.ends.1).cast_unsigned(), Buf::of(b"abc"));
        let send = |flags| os::raw6(libc::SYS_sendto, [fd, buf.addr(), 3, flags, 0, 0]);
        expect("urgent", must("send", send(libc::MSG_OOB as u64))?, 3)?;
        expect("behind it", must("send", send(0))?, 3)?;
        // The last urgent byte is no part of the stream.
        let batch = [s.recv(0, 1), s.recv(0, 2)];
        runs(&mut s.ring, &batch, &[(1, 2), (2, 3)])
    })
}
