//! Section 3.1: what becomes of a file when its number is closed behind requests that waited on it.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.1",
        whoever_closes_after_a_receive_ends_the_connection,
        "After receives that waited, closing the socket by close, dup2, close_range or CLOSE shows its peer the end at once."
    ),
    claim!(
        "3.1",
        two_rings_let_go_of_what_one_closes,
        "The same where two rings received on it, and one of them closes it."
    ),
    claim!(
        "3.1",
        a_receive_that_waits_keeps_the_file_open,
        "A RECV that waits on a closed number gets what comes still; then its peer sees the end."
    ),
    claim!(
        "3.1",
        the_next_request_waits_on_the_file_that_has_the_number_now,
        "After a close that no ring hears of, RECV on the number waits for the socket that took it."
    ),
    claim!(
        "3.1",
        a_connection_is_waited_on_in_both_directions_in_turn,
        "READ and WRITE on one end of a stream wait in turn, for bytes and for room, and each ends when its own comes."
    ),
    claim!(
        "3.1",
        a_datagram_socket_that_was_shut_down_ends_each_receive,
        "RECV on a datagram socket that was shut down is 0 each time, registered or not, whether an earlier one waited or not."
    ),
    claim!(
        "3.1",
        a_forked_child_keeps_the_numbers_that_requests_waited_on,
        "A child made by fork, or by clone with CLONE_FILES, has the sockets and pipes that its parent received on."
    ),
    claim!(
        "3.1",
        a_pipes_writer_learns_that_its_reader_went,
        "After a READ that waited, closing the read end of a pipe breaks it for the writer at once."
    ),
];

const DEFER: u32 = Setup::SINGLE_ISSUER.union(Setup::DEFER_TASKRUN).bits();
const MODES: [u32; 2] = [0, DEFER];

fn recv(fd: i32, buf: &Buf, ud: u64) -> Sqe {
    rw(op::RECV, fd, buf.addr(), buf.len() as u32, 0, ud)
}

/// Whether the other end of a connection is closed.
fn ended(fd: i32) -> Res<bool> {
    let mut byte = 0u8;
    // SAFETY: one byte.
    let n =
        unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    Ok(n == 0)
}

/// Receives that wait, and get what the peer then sends.
fn receive(ring: &mut Ring, (here, there): (i32, i32), buf: &Buf, times: u64) -> Outcome {
    for ud in 0..times {
        submit(ring, &[recv(here, buf, ud)])?;
        put(there, b"more")?;
        ends(ring, &[(ud, 4)])?;
    }
    Ok(())
}

/// Ways to close a number.
const WAYS: [fn(&mut Ring, i32) -> Outcome; 4] = [
    |_, fd| close(fd),
    |_, fd| {
        let other = file(b"")?;
        // SAFETY: both numbers are this test's.
        let r = unsafe { libc::dup2(other, fd) };
        expect("dup2", r, fd)
    },
    |_, fd| {
        // SAFETY: the number is this test's.
        let r = unsafe { libc::close_range(fd as u32, fd as u32, 0) };
        expect("close_range", r, 0)
    },
    |ring, fd| runs(ring, &[rw(op::CLOSE, fd, 0, 0, 0, 77)], &[(77, 0)]),
];

fn whoever_closes_after_a_receive_ends_the_connection() -> Outcome {
    for (way, flags) in WAYS.iter().flat_map(|way| MODES.map(|flags| (way, flags))) {
        for (here, there) in [pair()?, tcp()?] {
            let (mut ring, buf) = (with(8, flags)?, Buf::new(16));
            receive(&mut ring, (here, there), &buf, 3)?;
            way(&mut ring, here)?;
            expect("the end", ended(there)?, true)?;
        }
    }
    Ok(())
}

fn two_rings_let_go_of_what_one_closes() -> Outcome {
    for way in WAYS {
        let ((here, there), buf) = (pair()?, Buf::new(16));
        let (mut one, mut other) = (with(8, 0)?, with(8, DEFER)?);
        for _ in 0..2 {
            receive(&mut one, (here, there), &buf, 2)?;
            receive(&mut other, (here, there), &buf, 2)?;
        }
        way(&mut one, here)?;
        expect("the end", ended(there)?, true)?;
    }
    Ok(())
}

fn a_receive_that_waits_keeps_the_file_open() -> Outcome {
    for flags in MODES {
        let ((here, there), buf) = (pair()?, Buf::new(16));
        let mut ring = with(8, flags)?;
        receive(&mut ring, (here, there), &buf, 2)?;
        submit(&mut ring, &[recv(here, &buf, 9)])?;
        close(here)?;
        expect("not yet", ended(there)?, false)?;
        put(there, b"last")?;
        ends(&ring, &[(9, 4)])?;
        until("the peer sees the end", || ended(there) == Ok(true))?;
    }
    Ok(())
}

/// Closes a number from within libc.
fn fclose(fd: i32) -> Outcome {
    // SAFETY: the number is this test's, and the mode a C string.
    let stream = unsafe { libc::fdopen(fd, c"r+".as_ptr()) };
    expect("fdopen", stream.is_null(), false)?;
    // SAFETY: from fdopen, and nobody else has it.
    let r = unsafe { libc::fclose(stream) };
    expect("fclose", r, 0)
}

fn the_next_request_waits_on_the_file_that_has_the_number_now() -> Outcome {
    for flags in MODES {
        let ((here, there), buf) = (pair()?, Buf::new(16));
        let mut ring = with(8, flags)?;
        receive(&mut ring, (here, there), &buf, 2)?;
        fclose(here)?;
        let (mut new, peer) = pair()?;
        if new != here {
            // SAFETY: both numbers are this test's.
            let r = unsafe { libc::fcntl(new, libc::F_DUPFD, here) };
            expect("the number", r, here)?;
            close(new)?;
            new = here;
        }
        receive(&mut ring, (new, peer), &buf, 2)?;
        until("the old peer sees the end", || ended(there) == Ok(true))?;
    }
    Ok(())
}

fn a_connection_is_waited_on_in_both_directions_in_turn() -> Outcome {
    let ((here, there), small, big) = (pair()?, Buf::new(16), Buf::new(1 << 20));
    let mut ring = with(8, 0)?;
    let write = |ud| rw(op::WRITE, here, big.addr(), 1 << 20, u64::MAX, ud);
    for _ in 0..3 {
        receive(&mut ring, (here, there), &small, 2)?;
        submit(&mut ring, &[write(5)])?;
        let first = wait_for(&ring, 1)?.iter().map(|c| c.res).sum::<i32>();
        submit(&mut ring, &[write(6)])?;
        pending(&ring)?;
        let mut got = take_all(there, first as usize)?;
        let second = wait_for(&ring, 1)?.iter().map(|c| c.res).sum::<i32>();
        got += take_all(there, second as usize)?;
        expect("all of it", got, (first + second) as usize)?;
    }
    Ok(())
}

/// Reads until it has so many bytes.
fn take_all(fd: i32, want: usize) -> Res<usize> {
    let mut got = 0;
    while got < want {
        let some = get(fd)?.len();
        expect("the end", some == 0, false)?;
        got += some;
    }
    Ok(got)
}

fn a_datagram_socket_that_was_shut_down_ends_each_receive() -> Outcome {
    for (fixed, flags) in [(false, 0), (true, 0), (false, DEFER), (true, DEFER)] {
        let (mut ring, buf) = (with(8, flags)?, Buf::new(16));
        let (here, there) = must("socketpair", os::socketpair(libc::SOCK_DGRAM))?;
        must("files", ring.register_files(&[here]))?;
        let of = |ud| match fixed {
            true => flagged(recv(0, &buf, ud), FIXED),
            false => recv(here, &buf, ud),
        };
        for ud in 0..2 {
            submit(&mut ring, &[of(ud)])?;
            put(there, b"more")?;
            ends(&ring, &[(ud, 4)])?;
        }
        submit(&mut ring, &[of(5)])?;
        // SAFETY: takes no memory.
        expect("shutdown", unsafe { libc::shutdown(here, libc::SHUT_RD) }, 0)?;
        ends(&ring, &[(5, 0)])?;
        for ud in 6..9 {
            runs(&mut ring, &[of(ud)], &[(ud, 0)])?;
        }
    }
    Ok(())
}

/// In a child: says whether it has the number, and leaves.
fn tell(fd: i32) -> ! {
    // SAFETY: safe in the child of a program with threads.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    // SAFETY: as above.
    unsafe { libc::_exit(i32::from(flags < 0)) }
}

fn forked_child_has(fd: i32) -> Res<bool> {
    // SAFETY: the child only makes calls that are safe in one of a program with threads.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        tell(fd);
    }
    child_status(pid)
}

/// A child with its parent's table.
fn cloned_child_has(fd: i32) -> Res<bool> {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: clone with these flags is fork(2) but for the table; no stack, and no pointer, is passed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        tell(fd);
    }
    child_status(pid as i32)
}

extern "C" fn close_and_leave(fd: *mut libc::c_void) -> i32 {
    // SAFETY: safe in such a child.
    let r = unsafe { libc::close(fd.addr() as i32) };
    i32::from(r != 0)
}

/// Closes the number in a child as of vfork(2), which has a table of its own and its parent's memory.
fn vforked_child_closes(fd: i32) -> Res<bool> {
    let mut stack = vec![0u128; 4096];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end;
    let arg = std::ptr::without_provenance_mut(fd as usize);
    // SAFETY: the child runs on a stack of its own, which lives until it has left, and makes one call.
    let pid = unsafe { libc::clone(close_and_leave, top.cast(), flags, arg) };
    child_status(pid)
}

fn child_status(pid: i32) -> Res<bool> {
    let mut status = 0;
    // SAFETY: one integer is written.
    let r = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    expect("the child", r, pid)?;
    Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
}

fn a_forked_child_keeps_the_numbers_that_requests_waited_on() -> Outcome {
    for flags in MODES {
        let ((here, there), (r, w), buf) = (pair()?, pipe()?, Buf::new(16));
        let mut ring = with(8, flags)?;
        receive(&mut ring, (here, there), &buf, 3)?;
        submit(&mut ring, &[rw(op::READ, r, buf.addr(), 16, 0, 7)])?;
        put(w, b"more")?;
        ends(&ring, &[(7, 4)])?;
        for fd in [here, r] {
            expect("after fork", forked_child_has(fd)?, true)?;
            expect("after clone", cloned_child_has(fd)?, true)?;
            expect("a vfork's close", vforked_child_closes(fd)?, true)?;
            expect("still", os::close(fd).is_ok(), true)?;
        }
        expect("the end", ended(there)?, true)?;
    }
    Ok(())
}

fn a_pipes_writer_learns_that_its_reader_went() -> Outcome {
    for (way, flags) in WAYS.iter().flat_map(|way| MODES.map(|flags| (way, flags))) {
        let ((r, w), buf) = (pipe()?, Buf::new(16));
        let mut ring = with(8, flags)?;
        for ud in 0..3 {
            submit(&mut ring, &[rw(op::READ, r, buf.addr(), 16, 0, ud)])?;
            put(w, b"more")?;
            ends(&ring, &[(ud, 4)])?;
        }
        way(&mut ring, r)?;
        let mut fds = [libc::pollfd { fd: w, events: 0, revents: 0 }];
        // SAFETY: one entry.
        let n = unsafe { libc::poll(fds.as_mut_ptr(), 1, 0) };
        expect("broken", (n, fds[0].revents), (1, libc::POLLERR))?;
    }
    Ok(())
}
