//! Section 1.1: SPLICE and TEE.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        a_splice_moves_between_a_file_and_a_pipe,
        "SPLICE takes offsets from addr and off, -1 for a pipe or a file's position; it does not move a position that is not used.",
        needs "SPLICE"
    ),
    claim!(
        "1.1",
        a_tee_leaves_what_it_copies,
        "TEE copies from one pipe to another and leaves the bytes.",
        needs "TEE"
    ),
    claim!(
        "1.1",
        a_splice_that_fails_says_why,
        "SPLICE of no pipe is EINVAL, with an offset of a pipe ESPIPE, of no file EBADF on either side, also of no bytes; TEE to a file EINVAL.",
        needs "SPLICE", "TEE"
    ),
    claim!(
        "1.1",
        a_splice_waits_on_a_worker,
        "SPLICE from an empty pipe waits, and another request does not; it ends when bytes come.",
        needs "SPLICE"
    ),
    claim!(
        "1.1",
        a_splice_that_waits_is_cancelled,
        "A cancel of a SPLICE that waits on its worker is EALREADY, and the SPLICE ends with 512 (ERESTARTSYS).",
        needs "SPLICE"
    ),
    claim!(
        "1.1",
        a_linked_timeout_does_not_end_a_splice,
        "A LINK_TIMEOUT of a SPLICE that waits on its worker does not fire, and is cancelled when the SPLICE ends.",
        needs "SPLICE"
    ),
    claim!(
        "1.1",
        a_splice_of_a_slot_holds_it,
        "SPLICE from a slot that is emptied while it waits ends on the old file; its tag comes after it.",
        needs "SPLICE", "SPLICE_F_FD_IN_FIXED"
    ),
    claim!(
        "1.1",
        a_failed_splice_breaks_its_chain,
        "SPLICE and TEE that fail, or move fewer bytes than asked for, cancel what is linked to them.",
        needs "SPLICE", "TEE"
    ),
    claim!(
        "1.1",
        a_splice_works_while_locks_are_held,
        "SPLICE between a file and a pipe works while the process holds a POSIX lock, which stays.",
        needs "SPLICE"
    ),
];

const POSITION: u64 = u64::MAX;

fn splice(from: (i32, u64), to: (i32, u64), len: u32, ud: u64) -> Sqe {
    let file_index = from.0.cast_unsigned();
    Sqe { file_index, ..rw(op::SPLICE, to.0, from.1, len, to.1, ud) }
}

fn tee(from: i32, to: i32, len: u32, ud: u64) -> Sqe {
    Sqe { file_index: from.cast_unsigned(), len, ..of_fd(op::TEE, to, ud) }
}

fn a_splice_moves_between_a_file_and_a_pipe() -> Outcome {
    let (mut ring, f, (r, w)) = (ring()?, file(b"abcdef")?, pipe()?);
    must("lseek", os::raw(libc::SYS_lseek, [i64::from(f).cast_unsigned(), 0, 0]))?;
    res(&mut ring, splice((f, 2), (w, POSITION), 3, 1), 3)?;
    expect("through the pipe", get(r)?, b"cde".to_vec())?;
    expect("the position", os::state::position(f), Ok(0))?;
    res(&mut ring, splice((f, POSITION), (w, POSITION), 3, 2), 3)?;
    expect("the position", os::state::position(f), Ok(3))?;
    res(&mut ring, splice((r, POSITION), (f, 4), 64, 3), 3)?;
    let content = std::fs::read(format!("/proc/self/fd/{f}")).map_err(|e| e.to_string())?;
    expect("the file", content, b"abcdabc".to_vec())
}

fn a_tee_leaves_what_it_copies() -> Outcome {
    let (mut ring, (r, w), (r2, w2)) = (ring()?, pipe()?, pipe()?);
    put(w, b"abcd")?;
    res(&mut ring, tee(r, w2, 3, 1), 3)?;
    expect("the copy", get(r2)?, b"abc".to_vec())?;
    expect("what is left", get(r)?, b"abcd".to_vec())
}

fn a_splice_that_fails_says_why() -> Outcome {
    let (mut ring, f, (r, w), (_r2, w2)) = (ring()?, file(b"abcd")?, pipe()?, pipe()?);
    put(w, b"abcd")?;
    res(&mut ring, splice((f, 0), (f, 0), 1, 1), -EINVAL)?;
    res(&mut ring, splice((r, 0), (w2, POSITION), 1, 2), -ESPIPE)?;
    res(&mut ring, splice((r, POSITION), (w2, 0), 1, 3), -ESPIPE)?;
    // What they are open for comes before the offsets.
    res(&mut ring, splice((w, 0), (w2, POSITION), 1, 11), -EBADF)?;
    res(&mut ring, splice((f, 0), (r, 0), 1, 12), -EBADF)?;
    res(&mut ring, splice((999, POSITION), (w2, POSITION), 1, 4), -EBADF)?;
    res(&mut ring, splice((r, POSITION), (999, POSITION), 1, 5), -EBADF)?;
    res(&mut ring, splice((999, POSITION), (w2, POSITION), 0, 6), -EBADF)?;
    res(&mut ring, splice((r, POSITION), (w2, POSITION), 0, 7), 0)?;
    res(&mut ring, tee(r, f, 1, 8), -EINVAL)?;
    res(&mut ring, Sqe { op_flags: 1 << 31, ..tee(0, w2, 1, 9) }, -EBADF)?;
    res(&mut ring, Sqe { op_flags: 16, ..tee(r, w2, 1, 10) }, -EINVAL)
}

fn a_splice_waits_on_a_worker() -> Outcome {
    let (mut ring, (r, w), (r2, w2)) = (ring()?, pipe()?, pipe()?);
    submit(&mut ring, &[splice((r, POSITION), (w2, POSITION), 3, 1)])?;
    runs(&mut ring, &[nop(2)], &[(2, 0)])?;
    waits(&ring)?;
    put(w, b"abc")?;
    ends(&ring, &[(1, 3)])?;
    expect("what came", get(r2)?, b"abc".to_vec())
}

/// Waits until a worker sleeps in a pipe.
fn sleeps_in_a_pipe() -> Outcome {
    until("a worker in a pipe", || {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let text = |p: std::path::PathBuf, what| std::fs::read_to_string(p.join(what));
        tasks.into_iter().any(|t| {
            let worker = text(t.path(), "comm").is_ok_and(|c| c.starts_with("iou-wrk"));
            worker && text(t.path(), "wchan").is_ok_and(|w| w.contains("pipe"))
        })
    })
}

fn a_splice_that_waits_is_cancelled() -> Outcome {
    let (mut ring, (r, _w), (_r2, w2)) = (ring()?, pipe()?, pipe()?);
    submit(&mut ring, &[splice((r, POSITION), (w2, POSITION), 3, 1)])?;
    sleeps_in_a_pipe()?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(1, -512), (2, -EALREADY)])
}

fn a_linked_timeout_does_not_end_a_splice() -> Outcome {
    let (mut ring, (r, w), (_r2, w2), soon) = (ring()?, pipe()?, pipe()?, after(MS));
    let head = flagged(splice((r, POSITION), (w2, POSITION), 3, 1), LINK);
    submit(&mut ring, &[head, link_timeout(&soon, 2)])?;
    sleeps_in_a_pipe()?;
    waits(&ring)?;
    put(w, b"abc")?;
    ends_all(&ring, &[(1, 3), (2, -ECANCELED)])
}

fn a_splice_of_a_slot_holds_it() -> Outcome {
    let (mut ring, (r, w), (r2, w2)) = (ring()?, pipe()?, pipe()?);
    let (fds, tags) = (i32s(&[r]), u64s(&[77]));
    let arg = u64s(&[1, 0, fds.addr(), tags.addr()]);
    must("register", ring.register(reg::FILES2, arg.addr(), 32))?;
    let from_slot = splice((0, POSITION), (w2, POSITION), 3, 1);
    submit(&mut ring, &[Sqe { op_flags: 1 << 31, ..from_slot }])?;
    sleeps_in_a_pipe()?;
    must("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0))?;
    close(r)?;
    waits(&ring)?;
    put(w, b"abc")?;
    ends(&ring, &[(1, 3), (77, 0)])?;
    expect("what came", get(r2)?, b"abc".to_vec())
}

fn a_failed_splice_breaks_its_chain() -> Outcome {
    let (mut ring, f, (r, w), (_r2, w2)) = (ring()?, file(b"abcd")?, pipe()?, pipe()?);
    put(w, b"abcd")?;
    let cases = [
        (splice((f, 0), (f, 0), 1, 1), -EINVAL),
        (splice((f, 2), (w2, POSITION), 9, 1), 2),
        (tee(r, w2, 9, 1), 4),
        (tee(999, w2, 9, 1), -EBADF),
    ];
    for (sqe, want) in cases {
        submit(&mut ring, &[flagged(sqe, LINK), nop(2)])?;
        ends_all(&ring, &[(1, want), (2, -ECANCELED)])?;
    }
    Ok(())
}

fn a_splice_works_while_locks_are_held() -> Outcome {
    let (mut ring, f, (r, w)) = (ring()?, file(b"abcdef")?, pipe()?);
    let witness = must("open", os::open(&format!("/proc/self/fd/{f}"), libc::O_RDWR))?;
    must("lock", os::posix_lock(f, libc::F_WRLCK, 0, 1))?;
    must("register", ring.register_files(&[f]))?;
    res(&mut ring, splice((f, 2), (w, POSITION), 3, 1), 3)?;
    let from_slot = splice((0, 0), (w, POSITION), 2, 2);
    res(&mut ring, Sqe { op_flags: 1 << 31, ..from_slot }, 2)?;
    expect("through the pipe", get(r)?, b"cdeab".to_vec())?;
    put(w, b"xy")?;
    res(&mut ring, flagged(splice((r, POSITION), (0, 0), 2, 3), FIXED), 2)?;
    let child = os::in_child(|| {
        i32::from(!os::state::lock_in_the_way(witness, 0, 1).is_ok_and(|l| l.is_some()))
    });
    expect("the lock, seen by a child", child, Ok(0))
}
