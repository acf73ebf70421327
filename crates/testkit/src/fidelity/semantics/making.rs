//! Section 1.1: what makes descriptors and names sockets. Slots are of section 3.9 (`files`).

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        a_socket_is_made,
        "SOCKET takes the family from fd, type and flags from off, the protocol from len, and answers a descriptor.",
        needs "SOCKET"
    ),
    claim!(
        "1.1",
        a_socket_that_is_not_made_says_why,
        "SOCKET of no family is EAFNOSUPPORT, of a wrong protocol EPROTONOSUPPORT; unknown flags and close-on-exec with a slot are EINVAL.",
        needs "SOCKET"
    ),
    claim!(
        "1.1",
        a_socket_without_a_slot_does_not_break_its_chain,
        "SOCKET that finds no slot does not cancel what is linked to it; one that is not made does.",
        needs "SOCKET"
    ),
    claim!(
        "1.1",
        a_socket_is_bound_and_listens,
        "SOCKET into a slot, BIND and LISTEN there in one chain: then it can be connected to.",
        needs "SOCKET", "BIND", "LISTEN"
    ),
    claim!(
        "1.1",
        a_bind_that_fails_says_why,
        "BIND of a pipe is ENOTSOCK, of a taken address EADDRINUSE, with one too long EINVAL, with a bad one EFAULT; LISTEN of a pipe is ENOTSOCK, of a datagram socket EOPNOTSUPP.",
        needs "BIND", "LISTEN"
    ),
    claim!(
        "5.3",
        a_bind_that_makes_a_file_runs_on_a_worker,
        "EVENTFD_ASYNC is signalled for a BIND to a path, not for one to a name or a port.",
        needs "BIND"
    ),
    claim!(
        "1.1",
        a_pipe_is_made,
        "PIPE writes two descriptors with the flags of pipe2(2); a bad address is EFAULT and makes none.",
        needs "PIPE"
    ),
    claim!(
        "3.9",
        a_direct_pipe_that_fails_leaves_its_slots_empty,
        "PIPE into the last slot is EINVAL, with a bad address EFAULT, and what was in the slots is gone; with close-on-exec it is EINVAL at issue, without a table ENXIO, and the chain is broken.",
        needs "PIPE"
    ),
    claim!(
        "3.9",
        an_installed_descriptor_is_of_a_slot,
        "FIXED_FD_INSTALL without FIXED_FILE or of an empty slot is EBADF, without a free number EMFILE.",
        needs "FIXED_FD_INSTALL"
    ),
    claim!(
        "3.9",
        an_installed_descriptor_has_no_personality,
        "FIXED_FD_INSTALL with a personality is EPERM.",
        needs "FIXED_FD_INSTALL"
    ),
];

fn socket(family: i32, kind: i32, ud: u64) -> Sqe {
    Sqe { off: u64::from(kind.cast_unsigned()), ..of_fd(op::SOCKET, family, ud) }
}

fn bind(fd: i32, addr: &Buf, len: u64, ud: u64) -> Sqe {
    rw(op::BIND, fd, addr.addr(), 0, len, ud)
}

fn pipe_at(to: u64, flags: i32, ud: u64) -> Sqe {
    Sqe { op_flags: flags.cast_unsigned(), ..rw(op::PIPE, 0, to, 0, 0, ud) }
}

fn a_socket_is_made() -> Outcome {
    let mut ring = ring()?;
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    for (kind, cloexec, nonblock) in
        [(kind, libc::FD_CLOEXEC, libc::O_NONBLOCK), (libc::SOCK_DGRAM, 0, 0)]
    {
        let fd = must("SOCKET", ring.result(socket(libc::AF_UNIX, kind, 1)))?;
        expect("F_GETFD", os::fcntl(fd, libc::F_GETFD, 0), Ok(cloexec))?;
        let flags = must("F_GETFL", os::fcntl(fd, libc::F_GETFL, 0))?;
        expect("O_NONBLOCK", flags & libc::O_NONBLOCK, nonblock)?;
    }
    Ok(())
}

fn a_socket_that_is_not_made_says_why() -> Outcome {
    let mut ring = ring()?;
    must("register", ring.register_files(&[-1]))?;
    res(&mut ring, socket(99, libc::SOCK_STREAM, 1), -libc::EAFNOSUPPORT)?;
    let wrong = Sqe { len: 250, ..socket(libc::AF_UNIX, libc::SOCK_STREAM, 2) };
    res(&mut ring, wrong, -libc::EPROTONOSUPPORT)?;
    res(&mut ring, socket(libc::AF_UNIX, libc::SOCK_STREAM | 0x10, 3), -EINVAL)?;
    let cloexec = socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 4);
    res(&mut ring, Sqe { file_index: 1, ..cloexec }, -EINVAL)
}

/// What a link does behind a request that ends with this.
fn leads_to(ring: &mut Ring, sqe: Sqe, want: [i32; 2]) -> Outcome {
    submit(ring, &[flagged(sqe, LINK), nop(2)])?;
    let what = format!("opcode {} and what follows", sqe.opcode);
    let ended = wait_for(ring, 2)?;
    let of = |ud| ended.iter().find(|c| c.user_data == ud).map(|c| c.res);
    expect(&what, [of(1), of(2)], want.map(Some))
}

fn a_socket_without_a_slot_does_not_break_its_chain() -> Outcome {
    let mut ring = ring()?;
    let into = |file_index, family| Sqe { file_index, ..socket(family, libc::SOCK_STREAM, 1) };
    leads_to(&mut ring, into(1, libc::AF_UNIX), [-ENXIO, 0])?;
    must("register", ring.register_files(&[-1]))?;
    res(&mut ring, into(u32::MAX, libc::AF_UNIX), 0)?;
    leads_to(&mut ring, into(u32::MAX, libc::AF_UNIX), [-ENFILE, 0])?;
    leads_to(&mut ring, into(2, libc::AF_UNIX), [-EINVAL, 0])?;
    leads_to(&mut ring, into(1, 99), [-libc::EAFNOSUPPORT, -ECANCELED])
}

fn a_socket_is_bound_and_listens() -> Outcome {
    let mut ring = ring()?;
    let name = format!("\0ringer-bound-{}", os::pid());
    let mut addr = libc::AF_UNIX.to_ne_bytes()[..2].to_vec();
    addr.extend(name.bytes());
    let (len, addr) = (addr.len() as u64, Buf::of(&addr));
    must("register", ring.register_files(&[-1]))?;
    let make = Sqe { file_index: 1, ..socket(libc::AF_UNIX, libc::SOCK_STREAM, 1) };
    let listen = Sqe { len: 5, ..of_fd(op::LISTEN, 0, 3) };
    let chain = [
        flagged(make, LINK),
        flagged(bind(0, &addr, len, 2), FIXED | LINK),
        flagged(listen, FIXED),
    ];
    runs(&mut ring, &chain, &[(1, 0), (2, 0), (3, 0)])?;
    let client = must("socket", os::socket(libc::AF_UNIX, libc::SOCK_STREAM))?;
    res(&mut ring, rw(op::CONNECT, client, addr.addr(), 0, len, 4), 0)
}

fn a_bind_that_fails_says_why() -> Outcome {
    let (mut ring, (r, _w)) = (ring()?, pipe()?);
    let (_listener, port) = must("listener", os::tcp_listener())?;
    let addr = Buf::of(&os::loopback(port));
    let fd = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    let udp = must("socket", os::socket(libc::AF_INET, libc::SOCK_DGRAM))?;
    res(&mut ring, bind(r, &addr, 16, 1), -ENOTSOCK)?;
    res(&mut ring, bind(fd, &addr, 16, 2), -libc::EADDRINUSE)?;
    res(&mut ring, bind(fd, &addr, 129, 3), -EINVAL)?;
    res(&mut ring, Sqe { addr: 8, ..bind(fd, &addr, 16, 4) }, -EFAULT)?;
    res(&mut ring, of_fd(op::LISTEN, r, 5), -ENOTSOCK)?;
    res(&mut ring, of_fd(op::LISTEN, udp, 6), -EOPNOTSUPP)
}

fn a_bind_that_makes_a_file_runs_on_a_worker() -> Outcome {
    let event = must("eventfd", os::eventfd(0, 0))?;
    let arg = i32s(&[event]);
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().join("socket");
    let unix = |name: &str| {
        let mut addr = libc::AF_UNIX.to_ne_bytes()[..2].to_vec();
        addr.extend(name.bytes());
        (libc::AF_UNIX, addr)
    };
    let cases = [
        (unix(&path.to_string_lossy()), true),
        (unix(&format!("\0ringer-named-{}", os::pid())), false),
        ((libc::AF_INET, os::loopback(0).to_vec()), false),
    ];
    for ((family, addr), told) in cases {
        let mut ring = ring()?;
        must("register", ring.register(7, arg.addr(), 1))?;
        let fd = must("socket", os::socket(family, libc::SOCK_STREAM))?;
        let (len, addr) = (addr.len() as u64, Buf::of(&addr));
        runs(&mut ring, &[bind(fd, &addr, len, 1)], &[(1, 0)])?;
        let signalled = || os::poll(event, libc::POLLIN, 0) == Ok(libc::POLLIN);
        if told {
            until("a signal of the path", signalled)?;
            let _ = get(event)?;
        } else {
            expect("a signal", signalled(), false)?;
        }
    }
    Ok(())
}

fn a_pipe_is_made() -> Outcome {
    let (mut ring, fds) = (ring()?, Buf::new(8));
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECT;
    for (flags, cloexec) in [(0, 0), (flags, libc::FD_CLOEXEC)] {
        res(&mut ring, pipe_at(fds.addr(), flags, 1), 0)?;
        let word = fds.get64(0);
        let [r, w] = [word as u32, (word >> 32) as u32].map(u32::cast_signed);
        put(w, b"abc")?;
        expect("through it", get(r)?, b"abc".to_vec())?;
        expect("F_GETFD", os::fcntl(r, libc::F_GETFD, 0), Ok(cloexec))?;
        let got = must("F_GETFL", os::fcntl(w, libc::F_GETFL, 0))?;
        let own = libc::O_NONBLOCK | libc::O_DIRECT;
        expect("F_GETFL", got & own, flags & own)?;
    }
    let free = must("dup", os::dup(0))?;
    close(free)?;
    res(&mut ring, pipe_at(8, 0, 2), -EFAULT)?;
    expect("the next number", os::dup(0), Ok(free))?;
    res(&mut ring, pipe_at(fds.addr(), libc::O_APPEND, 3), -EINVAL)
}

fn a_direct_pipe_that_fails_leaves_its_slots_empty() -> Outcome {
    let (mut ring, fds) = (ring()?, Buf::new(8));
    let into = |file_index, to, flags| Sqe { file_index, ..pipe_at(to, flags, 1) };
    leads_to(&mut ring, into(1, fds.addr(), 0), [-ENXIO, -ECANCELED])?;
    let (a, b) = (file(b"a")?, file(b"b")?);
    must("register", ring.register_files(&[a, b]))?;
    leads_to(&mut ring, into(1, fds.addr(), libc::O_CLOEXEC), [-EINVAL, -ECANCELED])?;
    let there = |ring: &mut Ring, slot| {
        let buf = Buf::new(8);
        ring.result(flagged(read(slot, buf.addr(), 1, 0, 5), FIXED))
    };
    expect("both are there", [there(&mut ring, 0), there(&mut ring, 1)], [Ok(1), Ok(1)])?;
    leads_to(&mut ring, into(2, fds.addr(), 0), [-EINVAL, -ECANCELED])?;
    expect("the last", there(&mut ring, 1), Err(Errno(EBADF)))?;
    expect("the first", there(&mut ring, 0), Ok(1))?;
    leads_to(&mut ring, into(1, 8, 0), [-EFAULT, -ECANCELED])?;
    expect("the first", there(&mut ring, 0), Err(Errno(EBADF)))
}

fn an_installed_descriptor_is_of_a_slot() -> Outcome {
    let mut ring = ring()?;
    must("register", ring.register_files(&[file(b"a")?, -1]))?;
    let install = |slot, flags| flagged(of_fd(op::FIXED_FD_INSTALL, slot, 1), flags);
    res(&mut ring, install(0, 0), -EBADF)?;
    res(&mut ring, install(1, FIXED), -EBADF)?;
    res(&mut ring, install(2, FIXED), -EBADF)?;
    res(&mut ring, Sqe { op_flags: 2, ..install(0, FIXED) }, -EINVAL)
}

fn an_installed_descriptor_has_no_personality() -> Outcome {
    let mut ring = ring()?;
    must("register", ring.register_files(&[file(b"a")?]))?;
    let id = must("personality", ring.register(9, 0, 0))?;
    let install = flagged(of_fd(op::FIXED_FD_INSTALL, 0, 1), FIXED);
    res(&mut ring, Sqe { personality: id as u16, ..install }, -EPERM)
}
