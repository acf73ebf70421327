//! Section 1.1: what is done to a file as a whole or to a range of it, and advice about memory.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        an_allocation_has_its_length_in_addr,
        "FALLOCATE takes its length from addr and its mode from len; KEEP_SIZE leaves the size, a hole reads as zeroes.",
        needs "FALLOCATE"
    ),
    claim!(
        "1.1",
        an_allocation_that_fails_says_why,
        "FALLOCATE of no bytes is EINVAL, with an unknown mode EOPNOTSUPP, of a pipe ESPIPE, of a file that is only read EBADF.",
        needs "FALLOCATE"
    ),
    claim!(
        "1.1",
        a_file_is_cut_and_grown,
        "FTRUNCATE sets the length, also in a slot; a negative one, a pipe or a file that is only read is EINVAL.",
        needs "FTRUNCATE"
    ),
    claim!(
        "1.1",
        an_advice_has_its_length_in_either_field,
        "FADVISE takes its length from addr, MADVISE from off, or if that is 0 from len.",
        needs "FADVISE", "MADVISE"
    ),
    claim!(
        "1.1",
        an_advice_about_memory_is_carried_out,
        "MADVISE DONTNEED empties private memory; unaligned it is EINVAL, of a hole ENOMEM.",
        needs "MADVISE"
    ),
    claim!(
        "1.1",
        a_range_of_a_file_is_written_out,
        "SYNC_FILE_RANGE takes the three flags of sync_file_range(2) and no other; of a pipe it is ESPIPE.",
        needs "SYNC_FILE_RANGE"
    ),
    claim!(
        "1.1",
        fsync_takes_a_range,
        "FSYNC takes any offset that is not negative, also with a length beyond the end of the file.",
        needs "FSYNC"
    ),
    claim!(
        "1.1",
        a_failed_call_of_a_worker_does_not_break_its_chain,
        "FALLOCATE, FTRUNCATE, SYNC_FILE_RANGE and MADVISE that fail in their call do not cancel what is linked to them.",
        needs "FALLOCATE", "FTRUNCATE", "SYNC_FILE_RANGE", "MADVISE"
    ),
    claim!(
        "1.1",
        a_failed_advice_of_a_file_breaks_its_chain,
        "FADVISE that fails cancels what is linked to it, and so does FALLOCATE of no file.",
        needs "FADVISE", "FALLOCATE"
    ),
    claim!(
        "5.3",
        only_an_advice_that_blocks_runs_on_a_worker,
        "EVENTFD_ASYNC is signalled for FADVISE WILLNEED, FALLOCATE, FTRUNCATE, SYNC_FILE_RANGE and MADVISE, not for FADVISE RANDOM.",
        needs "FADVISE", "FALLOCATE", "FTRUNCATE", "SYNC_FILE_RANGE", "MADVISE"
    ),
];

const KEEP_SIZE: u32 = libc::FALLOC_FL_KEEP_SIZE.cast_unsigned();
const PUNCH_HOLE: u32 = libc::FALLOC_FL_PUNCH_HOLE.cast_unsigned();

fn allocate(fd: i32, mode: u32, off: u64, len: u64, ud: u64) -> Sqe {
    rw(op::FALLOCATE, fd, len, mode, off, ud)
}

fn truncate(fd: i32, len: u64, ud: u64) -> Sqe {
    Sqe { off: len, ..of_fd(op::FTRUNCATE, fd, ud) }
}

fn advise(fd: i32, advice: i32, ud: u64) -> Sqe {
    Sqe { op_flags: advice.cast_unsigned(), ..of_fd(op::FADVISE, fd, ud) }
}

fn advise_memory(addr: u64, len: u32, advice: i32, ud: u64) -> Sqe {
    Sqe { op_flags: advice.cast_unsigned(), ..rw(op::MADVISE, -1, addr, len, 0, ud) }
}

fn sync_range(fd: i32, flags: u32, ud: u64) -> Sqe {
    Sqe { op_flags: flags, ..rw(op::SYNC_FILE_RANGE, fd, 0, 4096, 0, ud) }
}

fn read_only() -> Res<i32> {
    let written = file(b"abcd")?;
    must("open", os::open(&format!("/proc/self/fd/{written}"), libc::O_RDONLY))
}

/// What is in a file.
fn content(fd: i32) -> Res<Vec<u8>> {
    std::fs::read(format!("/proc/self/fd/{fd}")).map_err(|e| e.to_string())
}

fn an_allocation_has_its_length_in_addr() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"abcdef")?);
    res(&mut ring, allocate(f, KEEP_SIZE, 0, 100, 1), 0)?;
    expect("the file", content(f)?, b"abcdef".to_vec())?;
    res(&mut ring, allocate(f, 0, 4, 4, 2), 0)?;
    expect("the file", content(f)?, b"abcdef\0\0".to_vec())?;
    res(&mut ring, allocate(f, PUNCH_HOLE | KEEP_SIZE, 1, 2, 3), 0)?;
    expect("the file", content(f)?, b"a\0\0def\0\0".to_vec())
}

fn an_allocation_that_fails_says_why() -> Outcome {
    let (mut ring, f, (r, w)) = (ring()?, file(b"abcd")?, pipe()?);
    res(&mut ring, allocate(f, 0, 0, 0, 1), -EINVAL)?;
    res(&mut ring, allocate(f, 0, 1 << 63, 1, 2), -EINVAL)?;
    res(&mut ring, allocate(f, 1 << 20, 0, 1, 3), -EOPNOTSUPP)?;
    res(&mut ring, allocate(f, PUNCH_HOLE, 0, 1, 4), -EOPNOTSUPP)?;
    res(&mut ring, allocate(w, 0, 0, 1, 5), -ESPIPE)?;
    res(&mut ring, allocate(r, 0, 0, 1, 6), -EBADF)?;
    res(&mut ring, allocate(read_only()?, 0, 0, 1, 7), -EBADF)
}

fn a_file_is_cut_and_grown() -> Outcome {
    let (mut ring, f, (_r, w)) = (ring()?, file(b"abcdef")?, pipe()?);
    res(&mut ring, truncate(f, 4, 1), 0)?;
    must("register", ring.register_files(&[f]))?;
    res(&mut ring, flagged(truncate(0, 6, 2), FIXED), 0)?;
    expect("the file", content(f)?, b"abcd\0\0".to_vec())?;
    for sqe in [truncate(f, 1 << 63, 3), truncate(w, 0, 4), truncate(read_only()?, 0, 5)] {
        res(&mut ring, sqe, -EINVAL)?;
    }
    Ok(())
}

fn an_advice_has_its_length_in_either_field() -> Outcome {
    let (mut ring, f, mem) = (ring()?, file(b"abcd")?, Buf::new(8192));
    let normal = advise(f, libc::POSIX_FADV_NORMAL, 1);
    res(&mut ring, Sqe { len: 4, ..normal }, 0)?;
    res(&mut ring, Sqe { addr: 1 << 63, len: 4, ..normal }, -EINVAL)?;
    res(&mut ring, Sqe { addr: 1 << 62, ..normal }, 0)?;
    mem.fill(7);
    let empty = advise_memory(mem.addr(), 4096, libc::MADV_DONTNEED, 2);
    res(&mut ring, empty, 0)?;
    expect("the first page", mem.get(4095, 2), vec![0, 7])?;
    mem.fill(7);
    res(&mut ring, Sqe { off: 8192, ..empty }, 0)?;
    expect("both", mem.get(4095, 2), vec![0, 0])
}

fn an_advice_about_memory_is_carried_out() -> Outcome {
    let (mut ring, mem) = (ring()?, Buf::new(4096));
    mem.fill(7);
    res(&mut ring, advise_memory(mem.addr(), 4096, libc::MADV_DONTNEED, 1), 0)?;
    expect("the page", mem.get(0, 4096), vec![0; 4096])?;
    res(&mut ring, advise_memory(mem.addr() + 1, 4096, libc::MADV_DONTNEED, 2), -EINVAL)?;
    res(&mut ring, advise_memory(mem.addr(), 4096, 99, 3), -EINVAL)?;
    res(&mut ring, advise_memory(4096, 4096, libc::MADV_DONTNEED, 4), -ENOMEM)
}

fn a_range_of_a_file_is_written_out() -> Outcome {
    let (mut ring, f, (r, _w)) = (ring()?, file(b"abcd")?, pipe()?);
    for flags in [0, 1, 2, 4, 7] {
        res(&mut ring, sync_range(f, flags, 1), 0)?;
    }
    res(&mut ring, sync_range(f, 8, 2), -EINVAL)?;
    res(&mut ring, Sqe { off: 1 << 63, ..sync_range(f, 7, 3) }, -EINVAL)?;
    res(&mut ring, sync_range(r, 7, 4), -ESPIPE)?;
    // What is wrong with the range comes first.
    res(&mut ring, sync_range(r, 8, 5), -EINVAL)
}

fn fsync_takes_a_range() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"abcd")?);
    let range = |off, len| Sqe { off, len, ..of_fd(op::FSYNC, f, 1) };
    res(&mut ring, range(1, 2), 0)?;
    res(&mut ring, range(4096, 10), 0)?;
    res(&mut ring, range(i64::MAX as u64, u32::MAX), 0)?;
    res(&mut ring, range(1 << 63, 0), -EINVAL)
}

/// What a link does behind a request that ends with this.
fn leads_to(ring: &mut Ring, sqe: Sqe, want: [i32; 2]) -> Outcome {
    submit(ring, &[flagged(sqe, LINK), nop(2)])?;
    let what = format!("opcode {} and what follows", sqe.opcode);
    let ended = wait_for(ring, 2)?;
    let of = |ud| ended.iter().find(|c| c.user_data == ud).map(|c| c.res);
    expect(&what, [of(1), of(2)], want.map(Some))
}

fn a_failed_call_of_a_worker_does_not_break_its_chain() -> Outcome {
    let (mut ring, f, (r, _w)) = (ring()?, read_only()?, pipe()?);
    leads_to(&mut ring, allocate(f, 0, 0, 1, 1), [-EBADF, 0])?;
    leads_to(&mut ring, truncate(f, 0, 1), [-EINVAL, 0])?;
    leads_to(&mut ring, sync_range(r, 7, 1), [-ESPIPE, 0])?;
    leads_to(&mut ring, advise_memory(1, 1, 0, 1), [-EINVAL, 0])
}

fn a_failed_advice_of_a_file_breaks_its_chain() -> Outcome {
    let (mut ring, (r, _w)) = (ring()?, pipe()?);
    for advice in [libc::POSIX_FADV_NORMAL, libc::POSIX_FADV_WILLNEED] {
        leads_to(&mut ring, advise(r, advice, 1), [-ESPIPE, -ECANCELED])?;
    }
    leads_to(&mut ring, allocate(999, 0, 0, 1, 1), [-EBADF, -ECANCELED])
}

fn only_an_advice_that_blocks_runs_on_a_worker() -> Outcome {
    let (f, mem) = (file(b"abcd")?, Buf::new(4096));
    let event = must("eventfd", os::eventfd(0, 0))?;
    let arg = i32s(&[event]);
    let cases = [
        (advise(f, libc::POSIX_FADV_RANDOM, 1), 0, false),
        (advise(f, libc::POSIX_FADV_WILLNEED, 1), 0, true),
        (advise(f, 99, 1), -EINVAL, true),
        (allocate(f, 0, 0, 1, 1), 0, true),
        (allocate(read_only()?, 0, 0, 1, 1), -EBADF, true),
        (truncate(f, 4, 1), 0, true),
        (sync_range(f, 7, 1), 0, true),
        (advise_memory(mem.addr(), 4096, 0, 1), 0, true),
    ];
    for (sqe, want, told) in cases {
        let mut ring = ring()?;
        must("register", ring.register(7, arg.addr(), 1))?;
        runs(&mut ring, &[sqe], &[(1, want)])?;
        let signalled = || os::poll(event, libc::POLLIN, 0) == Ok(libc::POLLIN);
        if told {
            until(&format!("a signal of opcode {}", sqe.opcode), signalled)?;
            let _ = get(event)?;
        } else {
            expect("a signal", signalled(), false)?;
        }
    }
    Ok(())
}
