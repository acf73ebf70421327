//! URING_CMD: which files have commands, and what those of sockets answer.
//!
//! Never with MULTISHOT and BUFFER_SELECT together: 6.18 does not end that (docs/design/testing.md).

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "2.6",
        sockets_tell_what_is_queued,
        "SIOCINQ and SIOCOUTQ answer bytes for TCP and UDP; EOPNOTSUPP for AF_UNIX, EINVAL for a listener.",
        needs "URING_CMD", "SOCKET_URING_OP_SIOCINQ", "SOCKET_URING_OP_SIOCOUTQ"
    ),
    claim!(
        "2.6",
        socket_options_are_set_and_read,
        "SETSOCKOPT and GETSOCKOPT do what the calls do, with their errors; GETSOCKOPT for SOL_SOCKET only.",
        needs "URING_CMD", "SOCKET_URING_OP_GETSOCKOPT", "SOCKET_URING_OP_SETSOCKOPT"
    ),
    claim!(
        "2.6",
        a_command_needs_a_file_that_has_some,
        "URING_CMD of a pipe, a folder, an eventfd or /dev/zero is EOPNOTSUPP, of /dev/null 0 whatever the command.",
        needs "URING_CMD"
    ),
    claim!(
        "2.6",
        flags_of_a_command_are_checked,
        "URING_CMD takes FIXED; MULTISHOT goes with BUFFER_SELECT only, and not with FIXED.",
        needs "URING_CMD", "URING_CMD_FIXED"
    ),
    claim!(
        "2.6",
        a_ring_that_polls_for_io_has_no_commands_of_sockets,
        "URING_CMD of a socket, of /dev/null and of a file on an IOPOLL ring is EOPNOTSUPP.",
        needs "URING_CMD"
    ),
    claim!(
        "2.6",
        a_command_is_the_same_on_every_ring,
        "URING_CMD of a registered socket, of 128-byte entries, with wide completions and on a worker.",
        needs "URING_CMD"
    ),
    claim!(
        "2.6",
        a_transmit_timestamp_needs_wide_completions,
        "TX_TIMESTAMP is EINVAL without CQE32 or CQE_MIXED.",
        needs "SOCKET_URING_OP_TX_TIMESTAMP"
    ),
];

const SIOCINQ: u64 = 0;
const SIOCOUTQ: u64 = 1;
const GETSOCKOPT: u64 = 2;
const SETSOCKOPT: u64 = 3;
const TX_TIMESTAMP: u64 = 4;

/// The command is the low half of `off`.
fn command(fd: i32, cmd: u64, ud: u64) -> Sqe {
    rw(op::URING_CMD, fd, 0, 0, cmd, ud)
}

/// (level, name), value and its length.
fn option(fd: i32, cmd: u64, (level, name): (i32, i32), (value, len): (u64, i32)) -> Sqe {
    let addr = u64::from(level.cast_unsigned()) | u64::from(name.cast_unsigned()) << 32;
    Sqe { addr, file_index: len.cast_unsigned(), addr3: value, ..command(fd, cmd, 1) }
}

fn sockets_tell_what_is_queued() -> Outcome {
    let (mut ring, (a, b), (c, d)) = (ring()?, tcp()?, pair()?);
    put(b, b"abc")?;
    must("poll", os::poll(a, libc::POLLIN, 1000))?;
    res(&mut ring, command(a, SIOCINQ, 1), 3)?;
    res(&mut ring, command(b, SIOCINQ, 1), 0)?;
    res(&mut ring, command(a, SIOCOUTQ, 1), 0)?;
    let (to, from) = must("udp", os::state::udp_pair())?;
    put(to, b"abcde")?;
    put(to, b"fg")?;
    must("poll", os::poll(from, libc::POLLIN, 1000))?;
    res(&mut ring, command(from, SIOCINQ, 1), 5)?;
    put(c, b"abcd")?;
    res(&mut ring, command(d, SIOCINQ, 1), -EOPNOTSUPP)?;
    res(&mut ring, command(d, SIOCOUTQ, 1), -EOPNOTSUPP)?;
    let (listener, _) = must("listener", os::tcp_listener())?;
    res(&mut ring, command(listener, SIOCINQ, 1), -EINVAL)?;
    res(&mut ring, command(a, 5, 1), -EOPNOTSUPP)?;
    res(&mut ring, command(a, 6, 1), -EOPNOTSUPP)?;
    res(&mut ring, command(d, 6, 1), -EOPNOTSUPP)
}

fn socket_options_are_set_and_read() -> Outcome {
    let mut ring = ring()?;
    for fd in [tcp()?.0, pair()?.0, must("udp", os::state::udp_pair())?.0] {
        let value = Buf::new(64);
        let at = value.addr();
        let keep = (libc::SOL_SOCKET, libc::SO_KEEPALIVE);
        value.store(0, 1);
        res(&mut ring, option(fd, SETSOCKOPT, keep, (at, 4)), 0)?;
        value.store(0, 9);
        res(&mut ring, option(fd, GETSOCKOPT, keep, (at, 4)), 4)?;
        expect("what was set", value.load(0), 1)?;
        // A longer one is cut, a shorter one, too.
        res(&mut ring, option(fd, GETSOCKOPT, keep, (at, 16)), 4)?;
        res(&mut ring, option(fd, GETSOCKOPT, keep, (at, 2)), 2)?;
        res(&mut ring, option(fd, GETSOCKOPT, keep, (at, 0)), 0)?;
        res(&mut ring, option(fd, GETSOCKOPT, keep, (at, -1)), -EINVAL)?;
        res(&mut ring, option(fd, GETSOCKOPT, keep, (8, 4)), -EFAULT)?;
        res(&mut ring, option(fd, SETSOCKOPT, keep, (8, 4)), -EFAULT)?;
        res(&mut ring, option(fd, SETSOCKOPT, keep, (at, 2)), -EINVAL)?;
        res(&mut ring, option(fd, SETSOCKOPT, keep, (at, -1)), -EINVAL)?;
        let none = (libc::SOL_SOCKET, 9999);
        res(&mut ring, option(fd, GETSOCKOPT, none, (at, 4)), -libc::ENOPROTOOPT)?;
        res(&mut ring, option(fd, SETSOCKOPT, none, (at, 4)), -libc::ENOPROTOOPT)?;
        let tcp = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
        res(&mut ring, option(fd, GETSOCKOPT, tcp, (at, 4)), -EOPNOTSUPP)?;
    }
    let (value, fd) = (Buf::new(64), tcp()?.0);
    value.store(0, 1);
    let tcp = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
    res(&mut ring, option(fd, SETSOCKOPT, tcp, (value.addr(), 4)), 0)
}

fn a_command_needs_a_file_that_has_some() -> Outcome {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    let open = |path, flags| must("open", os::open(path, flags));
    let e = must("eventfd", os::eventfd(0, 0))?;
    let zero = open("/dev/zero", libc::O_RDWR)?;
    let folder = open("/tmp", libc::O_DIRECTORY)?;
    for fd in [r, w, e, zero, folder, file(b"x")?] {
        for cmd in [0, 2, 77] {
            res(&mut ring, command(fd, cmd, 1), -EOPNOTSUPP)?;
        }
    }
    let null = open("/dev/null", libc::O_RDWR)?;
    for cmd in [0, 2, 77] {
        res(&mut ring, command(null, cmd, 1), 0)?;
    }
    res(&mut ring, command(open("/dev/null", libc::O_PATH)?, 0, 1), -EBADF)?;
    res(&mut ring, command(-1, 0, 1), -EBADF)
}

fn flags_of_a_command_are_checked() -> Outcome {
    let mut ring = ring()?;
    let null = must("open", os::open("/dev/null", libc::O_RDWR))?;
    let with = |op_flags, flags| Sqe { op_flags, ..flagged(command(null, 0, 1), flags) };
    res(&mut ring, with(1, 0), 0)?;
    res(&mut ring, Sqe { buf_index: 99, ..with(1, 0) }, 0)?;
    res(&mut ring, with(2, 0), -EINVAL)?;
    res(&mut ring, with(3, 0), -EINVAL)?;
    res(&mut ring, with(3, SELECT), -EINVAL)?;
    res(&mut ring, with(0, SELECT), -EINVAL)?;
    res(&mut ring, with(1, SELECT), -EINVAL)?;
    for bit in 2..32 {
        res(&mut ring, with(1 << bit, 0), -EINVAL)?;
    }
    res(&mut ring, Sqe { ioprio: 1, ..with(0, 0) }, -EINVAL)
}

fn a_ring_that_polls_for_io_has_no_commands_of_sockets() -> Outcome {
    let mut ring = with(8, Setup::IOPOLL.bits())?;
    let null = must("open", os::open("/dev/null", libc::O_RDWR))?;
    for fd in [tcp()?.0, null, file(b"x")?] {
        res(&mut ring, command(fd, 0, 1), -EOPNOTSUPP)?;
    }
    Ok(())
}

fn a_command_is_the_same_on_every_ring() -> Outcome {
    let (a, b) = tcp()?;
    put(b, b"abc")?;
    must("poll", os::poll(a, libc::POLLIN, 1000))?;
    for flags in [Setup::SQE128, Setup::CQE32, Setup::CQE_MIXED, Setup::SQE128 | Setup::CQE32] {
        let mut ring = with(8, flags.bits())?;
        must("files", ring.register_files(&[a]))?;
        res(&mut ring, flagged(command(0, SIOCINQ, 1), FIXED), 3)?;
        res(&mut ring, flagged(command(a, SIOCINQ, 1), ASYNC), 3)?;
        res(&mut ring, flagged(command(9, SIOCINQ, 1), FIXED), -EBADF)?;
        submit(&mut ring, &[command(a, SIOCINQ, 1)])?;
        ends_flags(&ring, &[(1, 3, 0)])?;
    }
    Ok(())
}

fn a_transmit_timestamp_needs_wide_completions() -> Outcome {
    for fd in [tcp()?.0, pair()?.0] {
        res(&mut ring()?, command(fd, TX_TIMESTAMP, 1), -EINVAL)?;
    }
    Ok(())
}
