//! Section 2.6's `SOCK_NONEMPTY`: what a receive and an accept say of what is left in the queue;
//! and how a connect waits.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "2.6",
        a_recv_says_whether_bytes_are_left,
        "A RECV of a stream sets SOCK_NONEMPTY while bytes are left, not on the one that empties it.", needs "SOCK_NONEMPTY_AT_ONCE"
    ),
    claim!(
        "2.6",
        a_recv_that_waited_says_whether_bytes_are_left,
        "So does one that had to wait, and one on a registered file."
    ),
    claim!("2.6", a_peek_leaves_bytes, "A RECV with MSG_PEEK leaves what it read, and says so."),
    claim!(
        "2.6",
        a_tcp_end_counts_as_left,
        "Behind TCP's end every RECV says SOCK_NONEMPTY, also the one that reads the end.", needs "SOCK_NONEMPTY_AT_ONCE"
    ),
    claim!(
        "2.6",
        a_unix_end_does_not_count_as_left,
        "AF_UNIX says only what bytes are left, whatever end was closed.", needs "SOCK_NONEMPTY_AT_ONCE"
    ),
    claim!(
        "2.6",
        a_shutdown_of_ones_own_side_does_not_count_as_left,
        "shutdown(SHUT_RD) of the receiver itself leaves nothing.", needs "SOCK_NONEMPTY_AT_ONCE"
    ),
    claim!(
        "1.1",
        an_accept_needs_a_free_number,
        "ACCEPT into the program's table is EMFILE when no number is free, single or multishot, and the connection stays queued."
    ),
    claim!(
        "2.6",
        a_datagram_says_nothing_of_the_next,
        "Datagram and SEQPACKET sockets never say SOCK_NONEMPTY."
    ),
    claim!(
        "2.6",
        a_recv_of_nothing_says_whether_bytes_are_left,
        "A RECV of 0 bytes says of TCP whether bytes are left.", needs "SOCK_NONEMPTY_AT_ONCE"
    ),
    claim!(
        "2.6",
        bytes_below_the_low_water_mark_are_left,
        "SO_RCVLOWAT does not matter: what is left is left.", needs "SOCK_NONEMPTY_AT_ONCE"
    ),
    claim!("2.6", a_failed_recv_says_nothing, "A RECV that fails carries no flags."),
    claim!(
        "2.6",
        an_accept_says_whether_connections_are_left,
        "ACCEPT from a TCP listener sets SOCK_NONEMPTY while another connection is queued."
    ),
    claim!(
        "2.6",
        a_direct_accept_says_whether_connections_are_left,
        "So does ACCEPT into the table, also when the table has no place for it."
    ),
    claim!(
        "3.11",
        accepts_of_one_listener_take_turns,
        "Of several accepts that wait at one listener the first gets the first connection."
    ),
    claim!(
        "2.6",
        an_accept_of_a_unix_socket_says_nothing,
        "ACCEPT from an AF_UNIX listener never sets it."
    ),
    claim!(
        "3.8",
        a_cancel_stops_the_connect_of_a_blocking_socket,
        "A CONNECT that has to wait waits by poll, whatever the socket: a cancel is 0, it ECANCELED."
    ),
    claim!(
        "3.11",
        a_datagram_read_ends_when_its_socket_is_shut_down,
        "RECV and READ of a datagram socket end with 0 when it is shut down, before or after."
    ),
    claim!(
        "2.6",
        a_recv_of_no_file_is_ebadf_whatever_it_waits_for,
        "RECV of no file with POLL_FIRST and MSG_DONTWAIT is EBADF."
    ),
];

/// `IORING_CQE_F_SOCK_NONEMPTY`.
const LEFT: u32 = 4;
const PEEK: u32 = libc::MSG_PEEK as u32;
const WAITALL: u32 = libc::MSG_WAITALL as u32;

/// A receive: (bytes asked for, MSG_*), (result, flags).
type Round = ((u32, u32), (i32, u32));

/// Receives that follow each other.
fn receives(fd: i32, rounds: &[Round]) -> Outcome {
    let mut ring = ring()?;
    let buf = Buf::new(64);
    let mut seen = Vec::new();
    for ((len, op_flags), _) in rounds {
        let recv = Sqe { op_flags: *op_flags, ..rw(op::RECV, fd, buf.addr(), *len, 0, 1) };
        let c = must("recv", ring.one(recv))?;
        seen.push((c.res, c.flags));
    }
    let want: Vec<_> = rounds.iter().map(|r| r.1).collect();
    expect("results and flags", seen, want)
}

fn a_recv_says_whether_bytes_are_left() -> Outcome {
    for (to, from) in [tcp()?, pair()?] {
        put(to, b"abcdefgh")?;
        receives(from, &[((4, 0), (4, LEFT)), ((3, 0), (3, LEFT)), ((1, 0), (1, 0))])?;
        put(to, b"abcdefgh")?;
        receives(from, &[((4, WAITALL), (4, LEFT)), ((9, 0), (4, 0))])?;
    }
    Ok(())
}

fn a_recv_that_waited_says_whether_bytes_are_left() -> Outcome {
    for (to, from) in [tcp()?, pair()?] {
        let mut ring = ring()?;
        let buf = Buf::new(64);
        must("register", ring.register_files(&[from]))?;
        for (fd, flags) in [(from, 0), (0, FIXED)] {
            for (len, want) in [(3, (3, LEFT)), (7, (1, 0)), (4, (4, 0)), (5, (4, 0))] {
                submit(&mut ring, &[flagged(rw(op::RECV, fd, buf.addr(), len, 0, 1), flags)])?;
                if len != 7 {
                    pending(&ring)?;
                    put(to, b"abcd")?;
                }
                ends_flags(&ring, &[(1, want.0, want.1)])?;
            }
            submit(&mut ring, &[flagged(rw(op::RECV, fd, buf.addr(), 9, 0, 2), flags)])?;
            pending(&ring)?;
            put(to, b"abcd")?;
            ends_flags(&ring, &[(2, 4, 0)])?;
        }
    }
    Ok(())
}

fn a_peek_leaves_bytes() -> Outcome {
    for (to, from) in [tcp()?, pair()?] {
        put(to, b"abcd")?;
        receives(from, &[((4, PEEK), (4, LEFT)), ((9, PEEK), (4, LEFT)), ((9, 0), (4, 0))])?;
    }
    Ok(())
}

fn a_tcp_end_counts_as_left() -> Outcome {
    let (to, from) = tcp()?;
    put(to, b"abcdefgh")?;
    must("shutdown", os::shutdown(to, libc::SHUT_WR))?;
    receives(from, &[((4, 0), (4, LEFT)), ((9, 0), (4, LEFT)), ((9, 0), (0, LEFT))])?;
    receives(from, &[((9, WAITALL), (0, LEFT))])?;
    let (to, from) = tcp()?;
    let mut ring = ring()?;
    let buf = Buf::new(64);
    submit(&mut ring, &[rw(op::RECV, from, buf.addr(), 9, 0, 1)])?;
    pending(&ring)?;
    put(to, b"abcd")?;
    must("shutdown", os::shutdown(to, libc::SHUT_WR))?;
    // Whether the end had come when the bytes were taken is a matter of moments.
    let first = must("wait", ring.wait())?;
    expect("the bytes", first.res, 4)?;
    submit(&mut ring, &[rw(op::RECV, from, buf.addr(), 9, 0, 2)])?;
    ends_flags(&ring, &[(2, 0, LEFT)])
}

fn a_unix_end_does_not_count_as_left() -> Outcome {
    let (to, from) = pair()?;
    put(to, b"abcdefgh")?;
    must("shutdown", os::shutdown(to, libc::SHUT_WR))?;
    receives(from, &[((4, 0), (4, LEFT)), ((9, 0), (4, 0)), ((9, 0), (0, 0))])?;
    let (to, from) = pair()?;
    put(to, b"abcdefgh")?;
    close(to)?;
    receives(from, &[((4, 0), (4, LEFT)), ((4, 0), (4, 0)), ((9, 0), (0, 0))])
}

fn a_shutdown_of_ones_own_side_does_not_count_as_left() -> Outcome {
    for (to, from) in [tcp()?, pair()?] {
        put(to, b"abcdefgh")?;
        must("shutdown", os::shutdown(from, libc::SHUT_RD))?;
        receives(from, &[((4, 0), (4, LEFT)), ((4, 0), (4, 0)), ((4, 0), (0, 0))])?;
    }
    Ok(())
}

fn a_datagram_says_nothing_of_the_next() -> Outcome {
    for kind in [libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
        let (to, from) = must("socketpair", os::socketpair(kind))?;
        put(to, b"abcd")?;
        put(to, b"efgh")?;
        receives(from, &[((4, PEEK), (4, 0)), ((4, 0), (4, 0)), ((2, 0), (2, 0))])?;
    }
    let (to, from) = must("udp", os::state::udp_pair())?;
    put(to, b"abcd")?;
    put(to, b"efgh")?;
    receives(from, &[((4, PEEK), (4, 0)), ((4, 0), (4, 0)), ((2, 0), (2, 0))])
}

fn a_recv_of_nothing_says_whether_bytes_are_left() -> Outcome {
    let (to, from) = tcp()?;
    put(to, b"abcd")?;
    receives(from, &[((0, 0), (0, LEFT)), ((4, 0), (4, 0))])
}

fn bytes_below_the_low_water_mark_are_left() -> Outcome {
    for (to, from) in [tcp()?, pair()?] {
        must("SO_RCVLOWAT", os::state::low_water(from, 8))?;
        put(to, b"abcdefgh")?;
        receives(from, &[((4, 0), (4, LEFT)), ((3, 0), (3, LEFT)), ((1, 0), (1, 0))])?;
    }
    Ok(())
}

fn a_failed_recv_says_nothing() -> Outcome {
    const DONTWAIT: u32 = libc::MSG_DONTWAIT as u32;
    for (_to, from) in [tcp()?, pair()?] {
        receives(from, &[((4, DONTWAIT), (-libc::EAGAIN, 0))])?;
    }
    Ok(())
}

/// Connects to the listener's port.
fn client(port: u16) -> Res<i32> {
    let fd = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    must("connect", os::state::connect(fd, port))?;
    Ok(fd)
}

fn an_accept_says_whether_connections_are_left() -> Outcome {
    let (listener, port) = must("listener", os::tcp_listener())?;
    let mut ring = ring()?;
    let accept = |ud| of_fd(op::ACCEPT, listener, ud);
    let _clients = [client(port)?, client(port)?];
    for (ud, flags) in [(1, LEFT), (2, 0)] {
        let c = must("accept", ring.one(accept(ud)))?;
        expect("accepted", (c.res >= 0, c.flags), (true, flags))?;
    }
    submit(&mut ring, &[accept(3)])?;
    pending(&ring)?;
    let _late = client(port)?;
    let c = must("accept", ring.wait())?;
    expect("accepted", (c.res >= 0, c.flags), (true, 0))
}

fn a_direct_accept_says_whether_connections_are_left() -> Outcome {
    let (listener, port) = must("listener", os::tcp_listener())?;
    let mut ring = ring()?;
    must("register", ring.register_files(&[-1]))?;
    let accept = |slot| Sqe { file_index: slot, ..of_fd(op::ACCEPT, listener, 1) };
    let _clients = [client(port)?, client(port)?, client(port)?];
    for (slot, want) in [(1, (0, LEFT)), (u32::MAX, (-ENFILE, LEFT)), (1, (0, 0))] {
        let c = must("accept", ring.one(accept(slot)))?;
        expect("accepted", (c.res, c.flags), want)?;
    }
    Ok(())
}

fn accepts_of_one_listener_take_turns() -> Outcome {
    let (listener, port) = must("listener", os::tcp_listener())?;
    let copy = must("dup", os::dup(listener))?;
    let mut ring = ring()?;
    for (fd, flags, ud) in [(listener, 0, 1), (copy, 0, 2), (listener, ASYNC, 3)] {
        submit(&mut ring, &[flagged(of_fd(op::ACCEPT, fd, ud), flags)])?;
        // Until a worker waits for the listener, too.
        expect("within 10 ms", os::poll(ring.fd, libc::POLLIN, 10), Ok(0))?;
    }
    for ud in 1..4 {
        let client = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
        must("connect", os::state::connect(client, port))?;
        let c = must("accept", ring.wait())?;
        expect("accepted", (c.user_data, c.res >= 0), (ud, true))?;
    }
    Ok(())
}

fn an_accept_of_a_unix_socket_says_nothing() -> Outcome {
    let listener = must("socket", os::socket(libc::AF_UNIX, libc::SOCK_STREAM))?;
    // An address of the family alone binds to an abstract name that nobody else has.
    let addr = Buf::of(&[1, 0]);
    let call = |nr, fd: i32, addr: &Buf, len: u64| {
        os::raw(nr, [i64::from(fd).cast_unsigned(), addr.addr(), len])
    };
    must("bind", call(libc::SYS_bind, listener, &addr, 2))?;
    must("listen", os::listen(listener, 8))?;
    let (name, len) = (Buf::new(128), i32s(&[128]));
    must("name", call(libc::SYS_getsockname, listener, &name, len.addr()))?;
    let len = u64::from(len.load(0));
    let mut ring = ring()?;
    for _ in 0..2 {
        let fd = must("socket", os::socket(libc::AF_UNIX, libc::SOCK_STREAM))?;
        must("connect", call(libc::SYS_connect, fd, &name, len))?;
    }
    for ud in [1, 2] {
        let c = must("accept", ring.one(of_fd(op::ACCEPT, listener, ud)))?;
        expect("accepted", (c.res >= 0, c.flags), (true, 0))?;
    }
    Ok(())
}

fn a_cancel_stops_the_connect_of_a_blocking_socket() -> Outcome {
    let (listener, port) = must("listener", os::tcp_listener())?;
    // With one connection queued, the next one is not answered.
    must("listen", os::listen(listener, 0))?;
    let _first = client(port)?;
    let fd = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    let addr = Buf::of(&os::loopback(port));
    let mut ring = ring()?;
    submit(&mut ring, &[rw(op::CONNECT, fd, addr.addr(), 0, 16, 1)])?;
    pending(&ring)?;
    runs(&mut ring, &[cancel(1, 0, 2)], &[(2, 0)])?;
    ends(&ring, &[(1, -ECANCELED)])
}

fn a_datagram_read_ends_when_its_socket_is_shut_down() -> Outcome {
    let udp = || must("socket", os::socket(libc::AF_INET, libc::SOCK_DGRAM));
    let unix = || must("socketpair", os::socketpair(libc::SOCK_DGRAM)).map(|(a, _)| a);
    let buf = Buf::new(8);
    let (mut first, mut second) = (ring()?, ring()?);
    for fd in [unix()?, udp()?] {
        // A UDP socket is shut down only if it is connected.
        let _ = os::state::connect(fd, 9);
        for how in [libc::SHUT_RD, libc::SHUT_RDWR] {
            let recv = rw(op::RECV, fd, buf.addr(), 8, 0, 1);
            if how == libc::SHUT_RD {
                submit(&mut first, &[recv])?;
                pending(&first)?;
            }
            let shutdown = rw(op::SHUTDOWN, fd, 0, how as u32, 0, 2);
            runs(&mut second, &[shutdown], &[(2, 0)])?;
            if how == libc::SHUT_RD {
                ends(&first, &[(1, 0)])?;
            }
            runs(&mut first, &[recv], &[(1, 0)])?;
            runs(&mut first, &[read(fd, buf.addr(), 8, 0, 3)], &[(3, 0)])?;
        }
    }
    Ok(())
}

fn a_recv_of_no_file_is_ebadf_whatever_it_waits_for() -> Outcome {
    let (mut ring, buf) = (ring()?, Buf::new(8));
    let recv = rw(op::RECV, 999, buf.addr(), 8, 0, 1);
    let sqe = Sqe { ioprio: 1, op_flags: libc::MSG_DONTWAIT as u32, ..recv };
    runs(&mut ring, &[sqe], &[(1, -EBADF)])
}

fn an_accept_needs_a_free_number() -> Outcome {
    let mut ring = ring()?;
    let (listener, port) = must("listener", os::tcp_listener())?;
    let client = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    let addr = Buf::of(&os::loopback(port));
    let fd = i64::from(client).cast_unsigned();
    must("connect", os::raw(libc::SYS_connect, [fd, addr.addr(), 16]))?;
    let next = must("dup", os::raw(libc::SYS_dup, [fd, 0, 0]))?;
    close(next as i32)?;
    must("limit", os::limit(libc::RLIMIT_NOFILE, next.cast_unsigned()))?;
    let accept = of_fd(op::ACCEPT, listener, 1);
    res(&mut ring, accept, -EMFILE)?;
    res(&mut ring, Sqe { ioprio: 1, ..accept }, -EMFILE)?;
    must("no limit", os::limit(libc::RLIMIT_NOFILE, next.cast_unsigned() + 8))?;
    let c = must("accept", ring.one(accept))?;
    expect("a connection", c.res >= 0, true)
}
