//! Section 3.20: the eventfd of a ring.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.20",
        a_batch_signals_once,
        "Three completions of one enter signal the eventfd once, three enters three times."
    ),
    claim!(
        "3.20",
        a_ring_has_one_eventfd,
        "A second registration is EBUSY, one that is none EINVAL."
    ),
    claim!(
        "3.20",
        a_muted_eventfd_is_silent,
        "With EVENTFD_DISABLED in the CQ flags nothing is signalled."
    ),
    claim!(
        "3.20",
        an_async_eventfd_leaves_out_inline_completions,
        "EVENTFD_ASYNC does not signal what completed inline."
    ),
    claim!(
        "3.20",
        an_async_eventfd_tells_of_workers,
        "EVENTFD_ASYNC signals what a worker completed."
    ),
    claim!(
        "3.20",
        an_async_eventfd_tells_of_errors_that_are_results,
        "EVENTFD_ASYNC signals the errors of a worker's request that are its result."
    ),
    claim!(
        "3.20",
        an_async_eventfd_leaves_out_what_task_work_posts,
        "EVENTFD_ASYNC does not signal a worker's error that issue returns: task work posts it."
    ),
    claim!(
        "3.20",
        an_async_eventfd_tells_of_a_folder_that_defers,
        "On a DEFER_TASKRUN ring a READ of a folder ends on a worker, and EVENTFD_ASYNC tells of it."
    ),
    claim!(
        "3.20",
        an_async_eventfd_tells_of_what_a_worker_could_not_begin,
        "On a DEFER_TASKRUN ring a READ_MULTISHOT of a file fails by its worker, and EVENTFD_ASYNC tells of it.",
        needs "READ_MULTISHOT"
    ),
    claim!(
        "3.20",
        an_async_eventfd_tells_of_buffered_writes,
        "EVENTFD_ASYNC signals a buffered write to a file: a worker does it."
    ),
    claim!(
        "3.20",
        an_async_eventfd_tells_of_reads_of_nothing,
        "A READ of no bytes from a folder ends on a worker, also as READV; from a file, a socket or a folder with O_NONBLOCK it does not."
    ),
    claim!(
        "3.20",
        an_async_eventfd_tells_where_an_offset_is_refused,
        "On a DEFER_TASKRUN ring a worker refuses the offset -2 of a buffered WRITE and of a READ of a folder, the submitter that of a file."
    ),
    claim!(
        "3.20",
        an_async_eventfd_does_not_tell_of_a_refused_connect,
        "A CONNECT of a blocking socket is on no worker: EVENTFD_ASYNC is silent."
    ),
    claim!(
        "3.20",
        a_registered_eventfd_is_held,
        "The registration holds the eventfd when its descriptor is closed."
    ),
    claim!(
        "3.20",
        an_unregistered_eventfd_is_silent,
        "After UNREGISTER_EVENTFD nothing is signalled; a second one is ENXIO."
    ),
    claim!(
        "3.20",
        deferred_work_signals_twice,
        "On a DEFER_TASKRUN ring work that arrives signals, and its completion again."
    ),
    claim!(
        "3.20",
        a_multishot_poll_of_the_rings_own_eventfd_ends,
        "What the ring itself signalled ends a multishot POLL_ADD of its eventfd; others do not."
    ),
    claim!(
        "3.20",
        an_async_eventfd_tells_of_a_workers_read_that_was_polled,
        "A worker's request whose file becomes ready goes back to a worker: EVENTFD_ASYNC is signalled."
    ),
    claim!(
        "3.20",
        an_eventfd_is_signalled_before_what_follows,
        "What follows a worker's completion behind a drain sees the eventfd signalled by it."
    ),
];

/// A ring and its eventfd.
fn signalled(opcode: u32, flags: u32) -> Res<(Ring, i32)> {
    let ring = with(8, flags)?;
    let e = must("eventfd", os::eventfd(0, libc::EFD_NONBLOCK))?;
    must("register", ring.register(opcode, i32s(&[e]).addr(), 1))?;
    Ok((ring, e))
}

/// Signals since the last look; 0 when there were none.
fn count(e: i32) -> u64 {
    let mut b = [0; 8];
    os::read(e, &mut b).map_or(0, |_| u64::from_ne_bytes(b))
}

fn a_batch_signals_once() -> Outcome {
    let (mut ring, e) = signalled(reg::EVENTFD, 0)?;
    submit(&mut ring, &[nop(1), nop(2), nop(3)])?;
    expect("one batch", count(e), 1)?;
    for ud in 4..7 {
        submit(&mut ring, &[nop(ud)])?;
    }
    expect("three batches", count(e), 3)
}

fn a_ring_has_one_eventfd() -> Outcome {
    let (ring, e) = signalled(reg::EVENTFD, 0)?;
    fails("again", ring.register(reg::EVENTFD, i32s(&[e]).addr(), 1), EBUSY)?;
    let other = super::kit::ring()?;
    let null = must("open", os::open("/dev/null", libc::O_RDWR))?;
    fails("no eventfd", other.register(reg::EVENTFD, i32s(&[null]).addr(), 1), EINVAL)
}

fn a_muted_eventfd_is_silent() -> Outcome {
    let (mut ring, e) = signalled(reg::EVENTFD, 0)?;
    let flags = ring.params.cq_off.flags as usize;
    ring.sq.store(flags, 1);
    submit(&mut ring, &[nop(1)])?;
    expect("muted", count(e), 0)?;
    ring.sq.store(flags, 0);
    submit(&mut ring, &[nop(2)])?;
    expect("not muted", count(e), 1)
}

fn an_async_eventfd_leaves_out_inline_completions() -> Outcome {
    let (mut ring, e) = signalled(7, 0)?;
    submit(&mut ring, &[nop(1), nop(2)])?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    expect("inline", count(e), 0)
}

fn an_async_eventfd_tells_of_workers() -> Outcome {
    let (mut ring, e) = signalled(7, 0)?;
    submit(&mut ring, &[flagged(nop(1), ASYNC)])?;
    until("a signal", || count(e) > 0)?;
    ends(&ring, &[(1, 0)])
}

/// Requests on a worker: name, request, result, and whether EVENTFD_ASYNC is signalled.
type OnWorker = (&'static str, Sqe, i32, bool);

fn tells(cases: &[OnWorker]) -> Outcome {
    for (name, sqe, res, told) in cases {
        let (mut ring, e) = signalled(7, 0)?;
        submit(&mut ring, &[flagged(*sqe, ASYNC)])?;
        ends(&ring, &[(1, *res)]).map_err(|e| format!("{name}: {e}"))?;
        if *told {
            until(&format!("a signal of {name}"), || count(e) > 0)?;
        } else {
            expect(name, os::poll(e, libc::POLLIN, 10), Ok(0))?;
        }
    }
    Ok(())
}

fn an_async_eventfd_tells_of_errors_that_are_results() -> Outcome {
    let null = must("open", os::open("/dev/null", libc::O_RDWR))?;
    let socket = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    let nowhere = Buf::of(b"/nowhere/x\0");
    let (buf, path) = (Buf::new(64), nowhere.addr());
    let (addr, cwd) = (buf.addr(), libc::AT_FDCWD);
    tells(&[
        ("READ", read(null, addr, 1, 0, 1), 0, true),
        ("WRITE", write(null, addr, 1, 0, 1), 1, true),
        ("FSYNC", of_fd(op::FSYNC, null, 1), -EINVAL, true),
        ("CONNECT", rw(op::CONNECT, socket, 0, 0, 0, 1), -EINVAL, true),
        ("ACCEPT", rw(op::ACCEPT, socket, 0, 0, 0, 1), -EINVAL, true),
        ("RECV", rw(op::RECV, socket, addr, 1, 0, 1), -ENOTCONN, true),
        ("OPENAT", rw(op::OPENAT, cwd, path, 0, 0, 1), -ENOENT, true),
        ("UNLINKAT", rw(op::UNLINKAT, cwd, path, 0, 0, 1), -ENOENT, true),
        ("STATX", rw(op::STATX, cwd, path, 0, addr, 1), -ENOENT, true),
        ("CLOSE", of_fd(op::CLOSE, 999, 1), -EBADF, true),
        ("ASYNC_CANCEL", cancel(77, 0, 1), -ENOENT, true),
        ("TIMEOUT_REMOVE", at(op::TIMEOUT_REMOVE, 77, 1), -ENOENT, true),
        ("FILES_UPDATE", rw(op::FILES_UPDATE, 0, addr, 1, 0, 1), -ENXIO, true),
        ("EPOLL_CTL", rw(op::EPOLL_CTL, 999, addr, 1, 1, 1), -EBADF, true),
    ])
}

fn an_async_eventfd_leaves_out_what_task_work_posts() -> Outcome {
    let (r, w) = pipe()?;
    let event = must("eventfd", os::eventfd(0, 0))?;
    let null = must("open", os::open("/dev/null", libc::O_RDWR))?;
    let buf = Buf::new(64);
    let addr = buf.addr();
    put(w, b"abcdef")?;
    tells(&[
        ("READ without memory", read(r, 8, 1, u64::MAX, 1), -EFAULT, false),
        ("READ of the writing end", read(w, addr, 1, u64::MAX, 1), -EBADF, false),
        ("READ of no file", read(999, addr, 1, 0, 1), -EBADF, false),
        ("READ that is too short", read(event, addr, 1, u64::MAX, 1), -EINVAL, false),
        ("WRITE that is too short", write(event, addr, 1, 0, 1), -EINVAL, false),
        ("WRITE to the reading end", write(r, addr, 1, u64::MAX, 1), -EBADF, false),
        ("FSYNC of no file", of_fd(op::FSYNC, 999, 1), -EBADF, false),
        ("SEND to no socket", rw(op::SEND, null, addr, 1, 0, 1), -ENOTSOCK, false),
        ("RECV from no socket", rw(op::RECV, null, addr, 1, 0, 1), -ENOTSOCK, false),
        ("SHUTDOWN of no socket", of_fd(op::SHUTDOWN, null, 1), -ENOTSOCK, false),
        ("POLL_REMOVE of nothing", at(op::POLL_REMOVE, 77, 1), -ENOENT, false),
    ])
}

fn an_async_eventfd_does_not_tell_of_a_refused_connect() -> Outcome {
    let (mut ring, e) = signalled(7, 0)?;
    let socket = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    submit(&mut ring, &[rw(op::CONNECT, socket, 0, 0, 0, 1)])?;
    ends(&ring, &[(1, -EINVAL)])?;
    expect("a signal", os::poll(e, libc::POLLIN, 10), Ok(0))
}

fn a_registered_eventfd_is_held() -> Outcome {
    let (mut ring, e) = signalled(reg::EVENTFD, 0)?;
    let copy = must("dup", os::dup(e))?;
    close(e)?;
    submit(&mut ring, &[nop(1)])?;
    expect("the other number", count(copy), 1)
}

fn an_unregistered_eventfd_is_silent() -> Outcome {
    let (mut ring, e) = signalled(reg::EVENTFD, 0)?;
    expect("unregister", ring.register(reg::UNREGISTER_EVENTFD, 0, 0), Ok(0))?;
    submit(&mut ring, &[nop(1)])?;
    expect("silent", count(e), 0)?;
    fails("again", ring.register(reg::UNREGISTER_EVENTFD, 0, 0), ENXIO)
}

fn deferred_work_signals_twice() -> Outcome {
    let flags = Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN;
    let (mut ring, e) = signalled(reg::EVENTFD, flags.bits())?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    put(w, b"x")?;
    let mut seen = 0;
    until("work arrived", || {
        seen += count(e);
        seen > 0
    })?;
    expect("once", seen, 1)?;
    pending(&ring)?;
    ends(&ring, &[(1, 1)])?;
    until("it was posted", || count(e) == 1)
}

fn a_multishot_poll_of_the_rings_own_eventfd_ends() -> Outcome {
    let mut ring = ring()?;
    let event = must("eventfd", os::eventfd(0, 0))?;
    let arg = i32s(&[event]);
    must("register", ring.register(reg::EVENTFD, arg.addr(), 1))?;
    submit(&mut ring, &[poll_multi(event, IN, 1)])?;
    pending(&ring)?;
    runs(&mut ring, &[nop(2)], &[(2, 0)])?;
    ends_flags(&ring, &[(1, 1, 0)])?;
    let _ = get(event)?;
    submit(&mut ring, &[poll_multi(event, IN, 3)])?;
    put(event, &1u64.to_ne_bytes())?;
    ends_flags(&ring, &[(3, 1, MORE), (3, 1, 0)])?;
    no_more(&mut ring)
}

fn an_async_eventfd_tells_of_a_workers_read_that_was_polled() -> Outcome {
    let (mut ring, e) = signalled(7, 0)?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[flagged(read(r, buf.addr(), 8, 0, 1), ASYNC)])?;
    expect("within 10 ms", os::poll(ring.fd, libc::POLLIN, 10), Ok(0))?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1)])?;
    until("a signal", || count(e) > 0)
}

fn an_async_eventfd_tells_of_a_folder_that_defers() -> Outcome {
    let folder = must("open", os::open("/tmp", libc::O_RDONLY))?;
    let buf = Buf::new(64);
    for (flags, told) in [(0, false), ((Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits(), true)]
    {
        let (mut ring, e) = signalled(7, flags)?;
        submit(&mut ring, &[read(folder, buf.addr(), 1, 0, 1)])?;
        ends(&ring, &[(1, -libc::EISDIR)])?;
        expect("the eventfd", count(e) > 0, told)?;
    }
    Ok(())
}

fn an_async_eventfd_tells_of_what_a_worker_could_not_begin() -> Outcome {
    let fd = file(b"abc")?;
    for (flags, told) in [(0, false), ((Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits(), true)]
    {
        let (mut ring, e) = signalled(7, flags)?;
        submit(&mut ring, &[flagged(select(rw(49, fd, 0, 0, 0, 1), 1), ASYNC)])?;
        ends(&ring, &[(1, -libc::EBADFD)])?;
        expect("the eventfd", count(e) > 0, told)?;
    }
    Ok(())
}

fn an_async_eventfd_tells_of_buffered_writes() -> Outcome {
    let (fd, buf) = (file(b"abc")?, Buf::new(4096));
    let (mut ring, e) = signalled(7, 0)?;
    must("register", ring.register(reg::BUFFERS, u64s(&[buf.addr(), 4096]).addr(), 1))?;
    let writes = |ring: &mut Ring| {
        for opcode in [op::WRITE, op::WRITE_FIXED] {
            runs(ring, &[rw(opcode, fd, buf.addr(), 64, 0, 1)], &[(1, 64)])?;
            until("a signal", || count(e) > 0).map_err(|e| format!("opcode {opcode}: {e}"))?;
        }
        Ok(())
    };
    writes(&mut ring)?;
    // What holds a POSIX lock is worked for by threads with a table of their own.
    let locked = must("file", os::temp_file(b"x"))?;
    must("lock", os::posix_lock(locked, libc::F_WRLCK, 0, 1))?;
    writes(&mut ring)
}

fn an_async_eventfd_tells_of_reads_of_nothing() -> Outcome {
    let folder = |flags| must("open", os::open("/tmp", libc::O_RDONLY | flags));
    let (buf, iov) = (Buf::new(8), u64s(&[0, 0]));
    let files = [
        ("a folder", folder(0)?, true),
        ("a folder that does not wait", folder(libc::O_NONBLOCK)?, false),
        ("a file", file(b"abc")?, false),
        ("a socket", pair()?.0, false),
        ("a file of the kernel", must("open", os::open("/proc/self/stat", libc::O_RDONLY))?, true),
    ];
    for (name, fd, told) in files {
        let reads = [read(fd, buf.addr(), 0, 0, 1), rw(op::READV, fd, iov.addr(), 1, 0, 1)];
        for sqe in reads {
            let (mut ring, e) = signalled(7, 0)?;
            runs(&mut ring, &[sqe], &[(1, 0)])?;
            let ready = if told { Ok(libc::POLLIN) } else { Ok(0) };
            let ms = if told { 1000 } else { 10 };
            expect(name, os::poll(e, libc::POLLIN, ms), ready)?;
        }
    }
    Ok(())
}

fn an_async_eventfd_tells_where_an_offset_is_refused() -> Outcome {
    let folder = must("open", os::open("/tmp", libc::O_RDONLY))?;
    let (fd, buf) = (file(b"abc")?, Buf::new(8));
    let off = 2u64.wrapping_neg();
    let cases = [
        ("a read of a file", read(fd, buf.addr(), 1, off, 1), false),
        ("a read of nothing", read(fd, buf.addr(), 0, off, 1), false),
        ("a write", write(fd, buf.addr(), 1, off, 1), true),
        ("a write of nothing", write(fd, buf.addr(), 0, off, 1), true),
        ("a read of a folder", read(folder, buf.addr(), 1, off, 1), true),
        ("a read of nothing of a folder", read(folder, buf.addr(), 0, off, 1), true),
    ];
    for (name, sqe, told) in cases {
        let (mut ring, e) = signalled(7, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits())?;
        runs(&mut ring, &[sqe], &[(1, -EINVAL)]).map_err(|e| format!("{name}: {e}"))?;
        expect(name, count(e) > 0, told)?;
    }
    Ok(())
}

fn an_eventfd_is_signalled_before_what_follows() -> Outcome {
    let (mut ring, e) = signalled(7, 0)?;
    let path = Buf::of(b"/nowhere/x\0");
    let unlink = rw(op::UNLINKAT, libc::AT_FDCWD, path.addr(), 0, 0, 1);
    submit(&mut ring, &[unlink, flagged(poll_add(e, IN | OUT, 2), DRAIN)])?;
    ends(&ring, &[(1, -ENOENT), (2, (IN | OUT) as i32)])
}
