//! Section 3.8: ASYNC_CANCEL.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.8",
        a_cancel_by_name_answers_0,
        "A cancel that finds its target answers 0, the target ECANCELED."
    ),
    claim!("3.8", a_cancel_that_finds_nothing_is_enoent, "A cancel that finds nothing is ENOENT."),
    claim!(
        "3.8",
        a_cancel_behind_a_workers_error_finds_itself_if_it_is_there,
        "A cancel that follows a failed request runs on its worker only if that posted the error."
    ),
    claim!(
        "3.8",
        a_cancel_takes_one_of_three,
        "Without ALL one of three requests of the same name goes."
    ),
    claim!("3.8", a_cancel_of_all_counts, "With ALL the answer is how many, 0 for none."),
    claim!("3.8", a_cancel_of_any_counts, "ANY takes everything and answers how many, 0 for none."),
    claim!(
        "3.8",
        a_cancel_by_descriptor_goes_by_the_file,
        "FD finds requests on the same open file through another number."
    ),
    claim!(
        "3.8",
        a_cancel_by_slot_finds_fixed_files,
        "FD with FD_FIXED finds requests on a slot's file."
    ),
    claim!("3.8", a_cancel_by_opcode, "OP finds requests of the opcode in `len`."),
    claim!("3.8", keys_can_be_combined, "USERDATA with FD needs both to match."),
    claim!("3.8", any_excludes_other_keys, "ANY with FD or OP is EINVAL."),
    claim!("3.8", a_cancel_by_descriptor_skips_timeouts, "FD does not find timeouts."),
    claim!(
        "3.8",
        a_cancel_is_posted_before_its_target,
        "The cancel's completion comes first, then its target's."
    ),
    claim!(
        "3.8",
        a_target_comes_after_the_batch,
        "A cancelled request completes behind the other entries of the cancel's batch."
    ),
    claim!("3.8", a_cancel_never_finds_itself, "A cancel that names itself is ENOENT."),
    claim!(
        "3.8",
        a_cancel_before_its_target_finds_nothing,
        "A cancel submitted before its target in a batch is ENOENT."
    ),
    claim!(
        "3.8",
        a_cancel_stops_a_request_on_a_worker,
        "A blocking read on a worker is interrupted by a cancel and takes no data."
    ),
    claim!(
        "3.8",
        a_connect_that_waits_is_cancelled,
        "A CONNECT of a blocking TCP socket that waits is cancelled: 0 and ECANCELED, on a worker as well."
    ),
    claim!(
        "3.8",
        a_connect_that_blocks_is_interrupted,
        "A CONNECT to a unix listener without room blocks a worker: the cancel is EALREADY, the request EINTR."
    ),
    claim!(
        "3.8",
        a_cancelled_futex_counts_one,
        "A cancel of a futex wait answers 1.",
        needs "FUTEX_WAIT"
    ),
    claim!(
        "3.8",
        a_cancelled_waitid_counts_one,
        "A cancel of a WAITID answers 1.",
        needs "WAITID"
    ),
    claim!(
        "3.8",
        a_cancel_does_not_count_what_a_worker_is_in,
        "With ALL, requests that block on workers are interrupted and not counted."
    ),
    claim!(
        "3.8",
        a_cancel_looks_on_behind_what_a_worker_is_in,
        "Without ALL, a request that blocks on a worker is interrupted and the next of that name cancelled: 0."
    ),
    claim!("3.8", any_looks_at_no_name, "ANY with USERDATA takes requests of every name."),
    claim!(
        "3.8",
        a_cancels_targets_end_before_what_follows_it,
        "A cancel behind a cancel in one chain does not find the first one's targets any more."
    ),
    claim!(
        "3.8",
        a_chain_that_its_batch_cuts_runs_on_a_worker,
        "A link on the last entry of a batch sends it to a worker, where a cancel finds itself."
    ),
    claim!(
        "3.8",
        an_open_is_not_found_by_its_folder,
        "A cancel by descriptor finds no OPENAT by the folder that its path starts from, also of a direct one while the process has a POSIX lock."
    ),
    claim!(
        "3.8",
        a_buffered_write_is_on_a_worker_whatever_it_writes,
        "A cancel behind a buffered write of nothing finds itself on the write's worker."
    ),
];

const CANCELED: i32 = -ECANCELED;

/// A ring with reads of an empty pipe pending: (ring, read end, write end).
fn reading(names: &[u64]) -> Res<(Ring, i32, i32)> {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    let all: Vec<Sqe> = names.iter().map(|&ud| read(r, buf.addr(), 8, 0, ud)).collect();
    submit(&mut ring, &all)?;
    buf.leak();
    Ok((ring, r, w))
}

fn a_cancel_by_name_answers_0() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(1, CANCELED), (2, 0)])
}

fn a_cancel_that_finds_nothing_is_enoent() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    res(&mut ring, cancel(7, 0, 2), -ENOENT)
}

fn a_cancel_takes_one_of_three() -> Outcome {
    let (mut ring, _r, w) = reading(&[1, 1, 1])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(1, CANCELED), (2, 0)])?;
    close(w)?;
    ends(&ring, &[(1, 0), (1, 0)])
}

fn a_cancel_of_all_counts() -> Outcome {
    let (mut ring, ..) = reading(&[1, 1, 5])?;
    submit(&mut ring, &[cancel(1, ALL, 2)])?;
    ends_all(&ring, &[(1, CANCELED), (1, CANCELED), (2, 2)])?;
    res(&mut ring, cancel(1, ALL, 3), 0)
}

fn a_cancel_of_any_counts() -> Outcome {
    let (mut ring, r, _w) = reading(&[1])?;
    let ts = hour();
    submit(&mut ring, &[timeout(&ts, 0, 2), poll_add(r, IN, 3)])?;
    submit(&mut ring, &[cancel(0, ANY | ALL, 4)])?;
    ends_all(&ring, &[(1, CANCELED), (2, CANCELED), (3, CANCELED), (4, 3)])?;
    res(&mut ring, cancel(0, ANY, 5), 0)
}

fn a_cancel_by_descriptor_goes_by_the_file() -> Outcome {
    let (mut ring, r, _w) = reading(&[1])?;
    let copy = must("dup", os::dup(r))?;
    let (other, _w2) = pipe()?;
    res(&mut ring, Sqe { fd: other, ..cancel(0, FD, 2) }, -ENOENT)?;
    submit(&mut ring, &[Sqe { fd: copy, ..cancel(0, FD, 3) }])?;
    ends_all(&ring, &[(1, CANCELED), (3, 0)])
}

fn a_cancel_by_slot_finds_fixed_files() -> Outcome {
    let mut ring = ring()?;
    let ((r, _w), (r2, _w2), buf) = (pipe()?, pipe()?, Buf::new(8));
    must("register", ring.register_files(&[r, r2]))?;
    submit(&mut ring, &[flagged(read(1, buf.addr(), 8, 0, 1), FIXED)])?;
    res(&mut ring, Sqe { fd: 0, ..cancel(0, FD | FD_FIXED, 2) }, -ENOENT)?;
    submit(&mut ring, &[Sqe { fd: 1, ..cancel(0, FD | FD_FIXED, 3) }])?;
    ends_all(&ring, &[(1, CANCELED), (3, 0)])
}

fn a_cancel_by_opcode() -> Outcome {
    let (mut ring, r, _w) = reading(&[1])?;
    submit(&mut ring, &[poll_add(r, IN, 2)])?;
    submit(&mut ring, &[Sqe { len: u32::from(op::POLL_ADD), ..cancel(0, OP | ALL, 3) }])?;
    ends_all(&ring, &[(2, CANCELED), (3, 1)])?;
    res(&mut ring, Sqe { len: u32::from(op::RECV), ..cancel(0, OP, 4) }, -ENOENT)
}

fn keys_can_be_combined() -> Outcome {
    let (mut ring, r, _w) = reading(&[1, 5])?;
    submit(&mut ring, &[Sqe { fd: r, ..cancel(5, FD | USERDATA | ALL, 2) }])?;
    ends_all(&ring, &[(5, CANCELED), (2, 1)])?;
    res(&mut ring, Sqe { fd: r, ..cancel(9, FD | USERDATA, 3) }, -ENOENT)
}

fn any_excludes_other_keys() -> Outcome {
    let (mut ring, r, _w) = reading(&[1])?;
    res(&mut ring, Sqe { fd: r, ..cancel(0, ANY | FD, 2) }, -EINVAL)?;
    res(&mut ring, cancel(0, ANY | OP, 3), -EINVAL)
}

fn a_cancel_by_descriptor_skips_timeouts() -> Outcome {
    let mut ring = ring()?;
    let ts = hour();
    submit(&mut ring, &[timeout(&ts, 0, 1)])?;
    let (r, _w) = pipe()?;
    res(&mut ring, Sqe { fd: r, ..cancel(0, FD | ALL, 2) }, 0)?;
    no_more(&mut ring)
}

fn a_cancel_is_posted_before_its_target() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    runs(&mut ring, &[cancel(1, 0, 2)], &[(2, 0), (1, CANCELED)])
}

fn a_target_comes_after_the_batch() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    runs(&mut ring, &[cancel(1, 0, 2), nop(3)], &[(2, 0), (3, 0), (1, CANCELED)])
}

fn a_cancel_never_finds_itself() -> Outcome {
    let mut ring = ring()?;
    res(&mut ring, cancel(1, 0, 1), -ENOENT)?;
    res(&mut ring, cancel(0, ANY | ALL, 2), 0)
}

fn a_cancel_before_its_target_finds_nothing() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[cancel(2, 0, 1), read(r, buf.addr(), 8, 0, 2)])?;
    ends(&ring, &[(1, -ENOENT)])?;
    put(w, b"x")?;
    ends(&ring, &[(2, 1)])
}

fn a_cancel_stops_a_request_on_a_worker() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[flagged(read(r, buf.addr(), 8, 0, 1), ASYNC)])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    let mut all = wait_for(&ring, 2)?;
    all.sort_by_key(|c| c.user_data);
    expect("the target", [CANCELED, -EINTR].contains(&all[0].res), true)?;
    expect("the cancel", [0, -EALREADY].contains(&all[1].res), true)?;
    put(w, b"abc")?;
    expect("the data is there", get(r)?, b"abc".to_vec())
}

fn a_cancelled_futex_counts_one() -> Outcome {
    let mut ring = ring()?;
    let word = Buf::new(64);
    // FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, any bit.
    let mask = u64::from(u32::MAX);
    let wait = Sqe { addr: word.addr(), off: 0, addr3: mask, fd: 0x82, ..of(51, 1) };
    submit(&mut ring, &[wait])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(1, CANCELED), (2, 1)])
}

fn a_cancelled_waitid_counts_one() -> Outcome {
    let mut ring = ring()?;
    let child = must("fork", os::fork())?;
    if child == 0 {
        os::deadline(10);
        loop {
            let _ = os::poll(-1, 0, 1000);
        }
    }
    // len: idtype P_PID, file_index: options WEXITED.
    let wait = Sqe { len: 1, fd: child, file_index: 4, ..of(50, 1) };
    submit(&mut ring, &[wait])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    let seen = ends_all(&ring, &[(1, CANCELED), (2, 1)]);
    must("kill", os::kill(child, libc::SIGKILL))?;
    must("wait", os::wait(child))?;
    seen
}

fn a_connect_that_waits_is_cancelled() -> Outcome {
    let (listener, port) = must("listener", os::tcp_listener())?;
    must("listen", os::listen(listener, 0))?;
    let mut ring = ring()?;
    // The first one fills the queue of a backlog of 0; whoever comes then is not answered.
    for _ in 0..2 {
        let client =
            must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK))?;
        let _ = os::state::connect(client, port);
    }
    let addr = Buf::of(&os::loopback(port));
    for flags in [0, ASYNC] {
        let client = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
        submit(&mut ring, &[flagged(rw(op::CONNECT, client, addr.addr(), 0, 16, 1), flags)])?;
        waits(&ring).map_err(|e| format!("{flags:#x}: {e}"))?;
        runs(&mut ring, &[cancel(1, 0, 2)], &[(2, 0), (1, -ECANCELED)])?;
    }
    Ok(())
}

fn a_cancel_behind_a_workers_error_finds_itself_if_it_is_there() -> Outcome {
    let mut ring = ring()?;
    let socket = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    let event = must("eventfd", os::eventfd(0, 0))?;
    let cases = [
        // On no worker, on one and posted there, on one and posted by task work.
        (rw(op::CONNECT, socket, 0, 0, 0, 1), 0, -EINVAL, -ENOENT),
        (of_fd(op::FSYNC, r, 1), ASYNC, -EINVAL, -EALREADY),
        (read(w, buf.addr(), 1, u64::MAX, 1), ASYNC, -EBADF, -ENOENT),
        (write(r, buf.addr(), 1, u64::MAX, 1), ASYNC, -EBADF, -ENOENT),
        // Polled for in vain: a worker does it in the end.
        (write(event, buf.addr(), 8, 0, 1), 0, 8, -EALREADY),
    ];
    for (head, flags, error, answer) in cases {
        let chain = [flagged(head, HARDLINK | flags), cancel(2, 0, 2)];
        runs(&mut ring, &chain, &[(1, error), (2, answer)])?;
    }
    Ok(())
}

fn a_connect_that_blocks_is_interrupted() -> Outcome {
    let mut ring = ring()?;
    let full = Full::new()?;
    submit(&mut ring, &[full.connect(1)?])?;
    waits(&ring)?;
    // The worker may be quicker to tell of its end.
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(2, -EALREADY), (1, -EINTR)])
}

fn a_cancel_does_not_count_what_a_worker_is_in() -> Outcome {
    let mut ring = ring()?;
    let full = Full::new()?;
    submit(&mut ring, &[full.connect(1)?, full.connect(1)?])?;
    waits(&ring)?;
    submit(&mut ring, &[cancel(1, ALL, 2)])?;
    ends_all(&ring, &[(2, 0), (1, -EINTR), (1, -EINTR)])
}

fn a_cancel_looks_on_behind_what_a_worker_is_in() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    let full = Full::new()?;
    submit(&mut ring, &[full.connect(1)?])?;
    waits(&ring)?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(2, 0), (1, CANCELED), (1, -EINTR)])
}

fn any_looks_at_no_name() -> Outcome {
    let (mut ring, ..) = reading(&[1])?;
    runs(&mut ring, &[cancel(7, ANY | USERDATA, 2)], &[(2, 1), (1, CANCELED)])
}

fn a_cancels_targets_end_before_what_follows_it() -> Outcome {
    let (mut ring, (r, _w), buf) = (ring()?, pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    submit(&mut ring, &[flagged(cancel(0, ANY, 2), HARDLINK), cancel(0, ANY, 3)])?;
    ends(&ring, &[(2, 1), (1, -ECANCELED), (3, 0)])
}

fn an_open_is_not_found_by_its_folder() -> Outcome {
    let mut ring = ring()?;
    must("register", ring.register_files(&[-1]))?;
    let dir = std::env::temp_dir();
    let path = dir.join(format!("fifo.folder.{}", os::pid()));
    let name = Buf::of(format!("{}\0", path.display()).as_bytes());
    let short = Buf::of(format!("fifo.folder.{}\0", os::pid()).as_bytes());
    let mode = u64::from(libc::S_IFIFO | 0o600);
    must("mkfifo", os::raw(libc::SYS_mknod, [name.addr(), mode, 0]))?;
    let folder = must("open", os::open(&dir.to_string_lossy(), libc::O_DIRECTORY))?;
    let locked = file(b"x")?;
    for lock in [libc::F_UNLCK, libc::F_WRLCK] {
        must("lock", os::posix_lock(locked, lock, 0, 1))?;
        let open = rw(op::OPENAT, folder, short.addr(), 0, 0, 1);
        submit(&mut ring, &[flagged(Sqe { file_index: 1, ..open }, ASYNC)])?;
        waits(&ring)?;
        res(&mut ring, Sqe { fd: folder, ..cancel(0, FD, 2) }, -ENOENT)?;
        let other = must("open", os::open(&path.to_string_lossy(), libc::O_WRONLY))?;
        ends(&ring, &[(1, 0)])?;
        close(other)?;
    }
    std::fs::remove_file(&path).map_err(|e| e.to_string())
}

fn a_chain_that_its_batch_cuts_runs_on_a_worker() -> Outcome {
    let mut ring = ring()?;
    runs(&mut ring, &[flagged(cancel(2, 0, 2), LINK)], &[(2, -EALREADY)])?;
    runs(&mut ring, &[cancel(2, 0, 2)], &[(2, -ENOENT)])
}

fn a_buffered_write_is_on_a_worker_whatever_it_writes() -> Outcome {
    let (mut ring, fd, buf) = (ring()?, file(b"abc")?, Buf::of(b"x"));
    for len in [1, 0] {
        let head = flagged(write(fd, buf.addr(), len, 0, 1), HARDLINK);
        runs(&mut ring, &[head, cancel(2, 0, 2)], &[(1, len as i32), (2, -EALREADY)])?;
    }
    Ok(())
}
