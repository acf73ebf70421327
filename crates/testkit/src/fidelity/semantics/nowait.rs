//! Section 2.7's `RWF_NOWAIT`, a promise of the submitter, which a worker does not keep; and what else the
//! submitter tries without waiting.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "2.7",
        a_nowait_write_to_a_file_is_eagain,
        "A buffered WRITE with RWF_NOWAIT is EAGAIN on a filesystem that cannot, of 0 bytes too."
    ),
    claim!(
        "2.7",
        a_nowait_write_on_a_worker_waits,
        "With ASYNC, or behind a worker's request in a chain, RWF_NOWAIT has no meaning."
    ),
    claim!(
        "2.7",
        a_nowait_write_to_an_eventfd_waits_behind_a_worker,
        "Of a file that polls, RWF_NOWAIT has no meaning behind a worker's request; with ASYNC it has."
    ),
    claim!(
        "2.7",
        a_nowait_write_behind_deferred_work_is_eagain,
        "A DEFER_TASKRUN ring starts what follows a worker's request where it posts: EAGAIN."
    ),
    claim!(
        "3.9",
        a_direct_open_without_a_table_fails_before_its_file_is_looked_at,
        "A direct open with O_PATH and no table is ENXIO; with a table it fills its slot."
    ),
    claim!(
        "1.1",
        an_open_of_a_fifo_is_tried_without_waiting,
        "OPENAT of a FIFO without a partner is a descriptor for reading, which is no O_NONBLOCK one, and ENXIO for writing.",
        needs "OPENAT"
    ),
    claim!(
        "1.1",
        an_open_of_a_fifo_on_a_worker_waits,
        "With ASYNC an OPENAT of a FIFO waits for the other end.",
        needs "OPENAT"
    ),
    claim!(
        "3.4",
        a_write_of_nothing_to_an_eventfd_asks_whether_it_would_wait,
        "A write of nothing with RWF_NOWAIT to a blocking eventfd is EAGAIN, to another one 0."
    ),
];

const NOWAIT: u32 = 8;

fn nowait_write(fd: i32, buf: &Buf, len: u32, ud: u64) -> Sqe {
    Sqe { op_flags: NOWAIT, ..write(fd, buf.addr(), len, 0, ud) }
}

/// A file whose buffered writes wait.
fn waiting_file(ring: &mut Ring) -> Res<(i32, Buf)> {
    let fd = file(b"abcdefgh")?;
    let buf = Buf::of(b"ABCDEFGH");
    let probe = Buf::new(8);
    let read = must("read", ring.one(Sqe { op_flags: NOWAIT, ..read(fd, probe.addr(), 4, 0, 1) }))?;
    if read.res == -EOPNOTSUPP {
        return Err("skip: this filesystem knows no RWF_NOWAIT".to_owned());
    }
    if must("write", ring.one(nowait_write(fd, &buf, 4, 1)))?.res == 4 {
        return Err("skip: this filesystem writes without waiting".to_owned());
    }
    Ok((fd, buf))
}

fn a_nowait_write_to_a_file_is_eagain() -> Outcome {
    let mut ring = ring()?;
    let (fd, buf) = waiting_file(&mut ring)?;
    res(&mut ring, nowait_write(fd, &buf, 4, 1), -libc::EAGAIN)?;
    res(&mut ring, nowait_write(fd, &buf, 0, 1), -libc::EAGAIN)?;
    must("register", ring.register_files(&[fd]))?;
    res(&mut ring, flagged(nowait_write(0, &buf, 4, 1), FIXED), -libc::EAGAIN)
}

fn behind_a_worker(ring: &mut Ring, want: [i32; 2]) -> Outcome {
    let (fd, buf) = waiting_file(ring)?;
    for (ud, len) in [(1, 4), (5, 0)] {
        let head = flagged(of_fd(op::FSYNC, fd, ud), HARDLINK);
        let then = [nowait_write(fd, &buf, len, ud + 1), nop(ud + 2)];
        let res = if len == 0 { want[1] } else { want[0] };
        runs(
            ring,
            &[head, flagged(then[0], HARDLINK), then[1]],
            &[(ud, 0), (ud + 1, res), (ud + 2, 0)],
        )?;
    }
    Ok(())
}

fn a_nowait_write_on_a_worker_waits() -> Outcome {
    let mut ring = ring()?;
    let (fd, buf) = waiting_file(&mut ring)?;
    res(&mut ring, flagged(nowait_write(fd, &buf, 4, 1), ASYNC), 4)?;
    res(&mut ring, flagged(nowait_write(fd, &buf, 0, 1), ASYNC), 0)?;
    behind_a_worker(&mut ring, [4, 0])
}

fn a_nowait_write_to_an_eventfd_waits_behind_a_worker() -> Outcome {
    let (mut ring, f, one) = (ring()?, file(b"abcd")?, u64s(&[1]));
    let e = must("eventfd", os::eventfd(0, 0))?;
    let write = nowait_write(e, &one, 8, 2);
    res(&mut ring, write, -libc::EAGAIN)?;
    res(&mut ring, flagged(write, ASYNC), -libc::EAGAIN)?;
    runs(&mut ring, &[flagged(of_fd(op::FSYNC, f, 1), LINK), write], &[(1, 0), (2, 8)])
}

fn a_nowait_write_behind_deferred_work_is_eagain() -> Outcome {
    let flags = Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN;
    let mut ring = with(16, flags.bits())?;
    let (fd, buf) = waiting_file(&mut ring)?;
    for len in [4, 0] {
        // A worker that lets go of its request after the owner has posted it goes on with the next.
        let mut seen = Vec::new();
        for _ in 0..16 {
            let head = flagged(of_fd(op::FSYNC, fd, 1), HARDLINK);
            submit(&mut ring, &[head, flagged(nowait_write(fd, &buf, len, 2), HARDLINK), nop(3)])?;
            let got = wait_for(&ring, 3)?;
            let got: Vec<_> = got.iter().map(|c| (c.user_data, c.res)).collect();
            let [(1, 0), (2, write), (3, 0)] = got[..] else {
                return Err(format!("completions: {got:?}"));
            };
            seen.push(write);
        }
        let others = seen.iter().filter(|res| **res != -libc::EAGAIN);
        let late = others.clone().all(|res| *res == len.cast_signed());
        expect(&format!("EAGAIN among {seen:?}"), late && others.count() < seen.len(), true)?;
    }
    Ok(())
}

fn a_direct_open_without_a_table_fails_before_its_file_is_looked_at() -> Outcome {
    let mut ring = ring()?;
    let name = Buf::of(b"/\0");
    let open = Sqe {
        op_flags: libc::O_PATH as u32,
        file_index: 1,
        ..rw(op::OPENAT, libc::AT_FDCWD, name.addr(), 0, 0, 1)
    };
    res(&mut ring, open, -ENXIO)?;
    let mut sparse = ring;
    must("register", sparse.register_files(&[-1]))?;
    res(&mut sparse, open, 0)?;
    let byte = Buf::new(8);
    res(&mut sparse, flagged(read(0, byte.addr(), 1, 0, 1), FIXED), -EBADF)
}

fn a_write_of_nothing_to_an_eventfd_asks_whether_it_would_wait() -> Outcome {
    let mut ring = ring()?;
    for (flags, answer) in [(0, -libc::EAGAIN), (libc::EFD_NONBLOCK, 0)] {
        let e = must("eventfd", os::eventfd(0, flags))?;
        let sqe = rw(op::WRITEV, e, 0, 0, 0, 1);
        runs(&mut ring, &[Sqe { op_flags: libc::RWF_NOWAIT as u32, ..sqe }], &[(1, answer)])?;
    }
    Ok(())
}

/// A new FIFO's path, and what opens it.
fn fifo(what: &str) -> Res<(std::path::PathBuf, Buf)> {
    let path = std::env::temp_dir().join(format!("fifo.{what}.{}", os::pid()));
    let name = Buf::of(format!("{}\0", path.display()).as_bytes());
    let mode = u64::from(libc::S_IFIFO | 0o600);
    must("mkfifo", os::raw(libc::SYS_mknod, [name.addr(), mode, 0]))?;
    Ok((path, name))
}

fn open_fifo(name: &Buf, how: i32, ud: u64) -> Sqe {
    Sqe { op_flags: how as u32, ..rw(op::OPENAT, libc::AT_FDCWD, name.addr(), 0, 0, ud) }
}

fn an_open_of_a_fifo_is_tried_without_waiting() -> Outcome {
    let (path, name) = fifo("inline")?;
    let mut ring = ring()?;
    let alone = must("OPENAT", ring.one(open_fifo(&name, libc::O_WRONLY, 1)))?.res;
    let reader = must("OPENAT", ring.one(open_fifo(&name, libc::O_RDONLY, 2)))?.res;
    let writer = must("OPENAT", ring.one(open_fifo(&name, libc::O_WRONLY, 3)))?.res;
    let append = libc::O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK;
    let kept = must("OPENAT", ring.one(open_fifo(&name, append, 4)))?.res;
    let _ = std::fs::remove_file(path);
    expect("for writing", alone, -ENXIO)?;
    let flags = |fd: i32| {
        let fd = u64::from(fd.cast_unsigned());
        os::raw(libc::SYS_fcntl, [fd, libc::F_GETFL as u64, 0]).map(|f| f as i32)
    };
    let shown = libc::O_NONBLOCK | libc::O_APPEND;
    expect("the reader's flags", flags(reader).map(|f| f & shown), Ok(0))?;
    expect("the writer's flags", flags(writer).map(|f| f & shown), Ok(0))?;
    expect("those of one that asked", flags(kept).map(|f| f & shown), Ok(shown))
}

fn an_open_of_a_fifo_on_a_worker_waits() -> Outcome {
    let (path, name) = fifo("worker")?;
    let mut ring = ring()?;
    submit(&mut ring, &[flagged(open_fifo(&name, libc::O_RDONLY, 1), ASYNC)])?;
    let alone = os::poll(ring.fd, libc::POLLIN, 50);
    submit(&mut ring, &[flagged(open_fifo(&name, libc::O_WRONLY, 2), ASYNC)])?;
    let mut both: Vec<_> =
        wait_for(&ring, 2)?.iter().map(|c| (c.user_data, c.res.min(0))).collect();
    both.sort_unstable();
    let _ = std::fs::remove_file(path);
    expect("completions of the first", alone, Ok(0))?;
    expect("both", both, vec![(1, 0), (2, 0)])
}
