//! TX_TIMESTAMP of URING_CMD: what a socket's error queue has of transmit timestamps, told as it comes.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "2.6",
        transmit_timestamps_are_told_as_they_come,
        "TX_TIMESTAMP tells the timestamps that are there and those that come, each with MORE, its key as result, its type from bit 17 and its time in the second half; a cancel ends it.",
        needs "SOCKET_URING_OP_TX_TIMESTAMP"
    ),
    claim!(
        "2.6",
        transmit_timestamps_have_types,
        "TX_TIMESTAMP tells a datagram's way through the queue (1) before its leaving (0), and the acknowledgement of a stream's bytes (2) after both.",
        needs "SOCKET_URING_OP_TX_TIMESTAMP"
    ),
    claim!(
        "2.6",
        transmit_timestamps_come_after_the_batch,
        "What TX_TIMESTAMP finds is told after what the rest of its batch completed, also where a worker begins it.",
        needs "SOCKET_URING_OP_TX_TIMESTAMP"
    ),
    claim!(
        "2.6",
        a_timestamp_with_its_packet_stays,
        "TX_TIMESTAMP leaves alone what comes with its packet (no SOF_TIMESTAMPING_OPT_TSONLY), and what nobody asked to be told of (no SOF_TIMESTAMPING_SOFTWARE).",
        needs "SOCKET_URING_OP_TX_TIMESTAMP"
    ),
    claim!(
        "2.6",
        timestamps_that_find_no_room_stay,
        "TX_TIMESTAMP leaves what finds no room in the CQ in the error queue, and tells it at the latest with the next that comes.",
        needs "SOCKET_URING_OP_TX_TIMESTAMP"
    ),
    claim!(
        "2.6",
        a_wait_for_timestamps_ends_as_any_other,
        "TX_TIMESTAMP waits at any socket, ends with its linked timeout, by descriptor and by opcode, and is no poll to POLL_REMOVE; CQE_SKIP hides nothing.",
        needs "SOCKET_URING_OP_TX_TIMESTAMP"
    ),
    claim!(
        "2.6",
        a_wait_for_timestamps_hears_of_nothing_else,
        "TX_TIMESTAMP goes on when its socket has bytes to read, an error or a hang-up.",
        needs "SOCKET_URING_OP_TX_TIMESTAMP"
    ),
];

const SETSOCKOPT: u64 = 3;
const TX_TIMESTAMP: u64 = 4;
/// `SO_TIMESTAMPING` and its `SOF_TIMESTAMPING_*`.
const SO_TIMESTAMPING: u64 = 37;
const TX_SOFTWARE: i32 = 1 << 1;
const SOFTWARE: i32 = 1 << 4;
const OPT_ID: i32 = 1 << 7;
const TX_SCHED: i32 = 1 << 8;
const TX_ACK: i32 = 1 << 9;
const OPT_TSONLY: i32 = 1 << 11;
/// The usual ones.
const USUAL: i32 = SOFTWARE | TX_SOFTWARE | OPT_ID | OPT_TSONLY;
/// `IORING_CQE_F_32`.
const F_32: u32 = 1 << 15;
/// `IORING_TIMESTAMP_TYPE_SHIFT`.
const TYPE: u32 = 17;

fn wide() -> Res<Ring> {
    with(16, Setup::CQE32.bits())
}

fn stamps(fd: i32, ud: u64) -> Sqe {
    rw(op::URING_CMD, fd, 0, 0, TX_TIMESTAMP, ud)
}

/// Has a socket take timestamps.
fn ask(ring: &mut Ring, fd: i32, what: i32) -> Outcome {
    let value = i32s(&[what]);
    let command = rw(op::URING_CMD, fd, 1 | SO_TIMESTAMPING << 32, 0, SETSOCKOPT, 1);
    res(ring, Sqe { file_index: 4, addr3: value.addr(), ..command }, 0)
}

/// A UDP socket that takes them, and its peer.
fn udp(ring: &mut Ring, what: i32) -> Res<(i32, i32)> {
    let (to, from) = must("udp", os::state::udp_pair())?;
    ask(ring, to, what)?;
    Ok((to, from))
}

/// Something is in the socket's error queue.
fn stamped(fd: i32) -> Outcome {
    let got = must("poll", os::poll(fd, 0, 2000))?;
    expect("an error", got & libc::POLLERR, libc::POLLERR)
}

/// How many bytes the first of the error queue has.
fn in_queue(ring: &mut Ring, fd: i32, want: i32) -> Outcome {
    let buf = Buf::new(512);
    let flags = (libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT).cast_unsigned();
    let take = rw(op::RECV, fd, buf.addr(), 512, 0, 0xbeef);
    res(ring, Sqe { op_flags: flags, ..take }, want)
}

fn transmit_timestamps_are_told_as_they_come() -> Outcome {
    let deferred = Setup::CQE32 | Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN;
    for flags in [Setup::CQE32, Setup::CQE_MIXED, deferred] {
        let mut ring = with(16, flags.bits())?;
        let more = if flags.contains(Setup::CQE_MIXED) { MORE | F_32 } else { MORE };
        for fixed in [0, FIXED] {
            let began = os::clock(libc::CLOCK_REALTIME) / 1_000_000_000;
            let (to, _) = udp(&mut ring, USUAL)?;
            put(to, b"one")?;
            put(to, b"two")?;
            stamped(to)?;
            let fd = if fixed == 0 {
                to
            } else {
                must("files", ring.register_files(&[to]))?;
                0
            };
            ring.push(flagged(stamps(fd, 7), fixed));
            must("submit", ring.submit(2))?;
            let mut got = wait_for(&ring, 2)?;
            put(to, b"three")?;
            got.extend(wait_for(&ring, 1)?);
            let told: Vec<_> = got.iter().map(|c| (c.user_data, c.res, c.flags)).collect();
            expect("timestamps", told, vec![(7, 0, more), (7, 1, more), (7, 2, more)])?;
            let ended = os::clock(libc::CLOCK_REALTIME) / 1_000_000_000;
            for c in &got {
                let [seconds, ns] = c.big;
                let now = (began..=ended).contains(&seconds) && ns < 1_000_000_000;
                expect(&format!("{seconds}.{ns} is now"), now, true)?;
            }
            submit(&mut ring, &[cancel(7, 0, 8)])?;
            ends_all(&ring, &[(7, -ECANCELED), (8, 0)])?;
            no_more(&mut ring)?;
        }
    }
    Ok(())
}

fn transmit_timestamps_have_types() -> Outcome {
    let mut ring = wide()?;
    let (to, _) = udp(&mut ring, USUAL | TX_SCHED)?;
    put(to, b"one")?;
    stamped(to)?;
    submit(&mut ring, &[stamps(to, 7)])?;
    ends_flags(&ring, &[(7, 0, MORE | 1 << TYPE), (7, 0, MORE)])?;
    let (a, b) = tcp()?;
    ask(&mut ring, a, USUAL | TX_SCHED | TX_ACK)?;
    submit(&mut ring, &[stamps(a, 9)])?;
    put(a, b"four")?;
    expect("bytes", get(b)?.len(), 4)?;
    ends_flags(&ring, &[(9, 3, MORE | 1 << TYPE), (9, 3, MORE), (9, 3, MORE | 2 << TYPE)])
}

fn transmit_timestamps_come_after_the_batch() -> Outcome {
    let mut ring = wide()?;
    for flags in [0, ASYNC] {
        let (to, _) = udp(&mut ring, USUAL)?;
        put(to, b"one")?;
        stamped(to)?;
        submit(&mut ring, &[flagged(stamps(to, 7), flags), nop(8)])?;
        ends(&ring, &[(8, 0), (7, 0)])?;
        runs(&mut ring, &[cancel(7, ALL, 9)], &[(9, 1), (7, -ECANCELED)])?;
    }
    Ok(())
}

fn a_timestamp_with_its_packet_stays() -> Outcome {
    let mut ring = wide()?;
    // The packet's own headers come along.
    for (what, first) in [(USUAL & !OPT_TSONLY, 3 + 42), (USUAL & !SOFTWARE, 0)] {
        let (to, _) = udp(&mut ring, what)?;
        put(to, b"one")?;
        stamped(to)?;
        submit(&mut ring, &[stamps(to, 7)])?;
        waits(&ring)?;
        put(to, b"two")?;
        waits(&ring)?;
        in_queue(&mut ring, to, first)?;
        in_queue(&mut ring, to, first)?;
        in_queue(&mut ring, to, -libc::EAGAIN)?;
        ask(&mut ring, to, USUAL)?;
        put(to, b"four")?;
        ends(&ring, &[(7, 2)])?;
    }
    Ok(())
}

fn timestamps_that_find_no_room_stay() -> Outcome {
    for (kind, entries) in [(Setup::CQE32, 2), (Setup::CQE_MIXED, 4)] {
        let flags = (kind | Setup::CQSIZE).bits();
        let params = Params { flags, cq_entries: entries, ..Params::default() };
        let mut ring = must("setup", Ring::with(2, params))?;
        let mut other = wide()?;
        let (to, _) = udp(&mut other, USUAL)?;
        (0..4).try_for_each(|_| put(to, b"one"))?;
        stamped(to)?;
        submit(&mut ring, &[stamps(to, 7)])?;
        until("a full CQ", || ring.cq_tail() == entries)?;
        in_queue(&mut other, to, 0)?;
        ends(&ring, &[(7, 0), (7, 1)])?;
        put(to, b"one")?;
        ends(&ring, &[(7, 3), (7, 4)])?;
        in_queue(&mut other, to, -libc::EAGAIN)?;
    }
    Ok(())
}

fn a_wait_for_timestamps_ends_as_any_other() -> Outcome {
    let mut ring = wide()?;
    let (to, _) = udp(&mut ring, USUAL)?;
    let (unix, listener) = (pair()?.0, must("listener", os::tcp_listener())?.0);
    let soon = after(MS);
    for fd in [to, unix, tcp()?.0, listener] {
        let linked = flagged(stamps(fd, 7), LINK);
        runs(&mut ring, &[linked, link_timeout(&soon, 8)], &[(8, -ETIME), (7, -ECANCELED)])?;
    }
    submit(&mut ring, &[stamps(unix, 7), stamps(to, 8)])?;
    runs(&mut ring, &[at(op::POLL_REMOVE, 7, 1)], &[(1, -ENOENT)])?;
    let by_file = Sqe { fd: unix, ..cancel(0, FD, 1) };
    runs(&mut ring, &[by_file], &[(1, 0), (7, -ECANCELED)])?;
    let by_opcode = Sqe { len: u32::from(op::URING_CMD), ..cancel(0, OP, 1) };
    runs(&mut ring, &[by_opcode], &[(1, 0), (8, -ECANCELED)])?;
    submit(&mut ring, &[flagged(stamps(to, 7), SKIP)])?;
    put(to, b"one")?;
    ends_flags(&ring, &[(7, 0, MORE)])?;
    runs(&mut ring, &[cancel(7, 0, 1)], &[(1, 0), (7, -ECANCELED)])
}

fn a_wait_for_timestamps_hears_of_nothing_else() -> Outcome {
    let mut ring = wide()?;
    let (a, b) = tcp()?;
    ask(&mut ring, a, USUAL)?;
    submit(&mut ring, &[stamps(a, 7)])?;
    put(b, b"bytes")?;
    must("poll", os::poll(a, libc::POLLIN, 1000))?;
    pending(&ring)?;
    put(a, b"one")?;
    ends(&ring, &[(7, 2)])?;
    close(b)?;
    until("a hang-up", || hung_up(a).unwrap_or(false))?;
    waits(&ring)?;
    runs(&mut ring, &[cancel(7, 0, 8)], &[(8, 0), (7, -ECANCELED)])
}
