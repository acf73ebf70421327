//! Section 1.1, O_DIRECT: transfers that no thread waits in.

use super::kit::*;
use std::os::unix::fs::OpenOptionsExt as _;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        direct_transfers_end_with_their_bytes,
        "READ, WRITE, READV, READ_FIXED of an O_DIRECT file, more than the ring has entries, end with all bytes, plain and registered."
    ),
    claim!(
        "1.1",
        a_direct_read_ends_short_at_the_end_of_its_file,
        "A READ of an O_DIRECT file that reaches its end is short, one behind it 0."
    ),
    claim!(
        "1.1",
        a_bad_direct_read_is_answered_as_pread_is,
        "A READ of an O_DIRECT file with an odd address, offset or length, or with memory that is none, ends as pread(2) does."
    ),
    claim!(
        "1.1",
        a_close_behind_a_direct_read_takes_no_file_away,
        "CLOSE behind READs of an O_DIRECT file in one batch: the READs end with their bytes."
    ),
    claim!(
        "1.1",
        no_cancel_finds_a_direct_read,
        "A cancel of an O_DIRECT READ that is under way, or has ended, is ENOENT."
    ),
    claim!(
        "1.1",
        a_registered_file_stays_until_its_direct_read_ends,
        "UNREGISTER_FILES with an O_DIRECT READ under way: the tag comes behind it."
    ),
];

const BLOCK: usize = 4096;
const BLOCKS: usize = 24;

/// Memory that begins at a page.
fn pages(n: usize) -> Res<Buf> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    must("mmap", Buf::map(n * BLOCK, flags, -1, 0))
}

/// An O_DIRECT file of so many bytes, each block filled with its number; nothing of it is dirty in the
/// page cache, which a worker would have to write first.
fn direct_file(len: usize) -> Res<i32> {
    let fd = dirty_file(len)?;
    must("fsync", os::fsync(fd))?;
    Ok(fd)
}

fn dirty_file(len: usize) -> Res<i32> {
    let path = std::env::temp_dir().join(format!("ringer-direct-{}", std::process::id()));
    let content: Vec<u8> = (0..len).map(|at| (at / BLOCK) as u8).collect();
    std::fs::write(&path, content).map_err(|e| format!("write: {e}"))?;
    let mut how = std::fs::OpenOptions::new();
    let opened = how.read(true).write(true).custom_flags(libc::O_DIRECT).open(&path);
    let _ = std::fs::remove_file(&path);
    let file = opened.map_err(|e| format!("O_DIRECT: {e}"))?;
    Ok(std::os::fd::IntoRawFd::into_raw_fd(file))
}

fn block(fd: i32, to: &Buf, n: usize) -> Sqe {
    let at = (n * BLOCK) as u64;
    read(fd, to.addr() + at, BLOCK as u32, at, n as u64)
}

fn holds(buf: &Buf, blocks: std::ops::Range<usize>) -> Outcome {
    for n in blocks {
        if buf.get(n * BLOCK, BLOCK) != vec![n as u8; BLOCK] {
            return Err(format!("block {n} has other bytes"));
        }
    }
    Ok(())
}

fn direct_transfers_end_with_their_bytes() -> Outcome {
    let mut ring = with(8, 0)?;
    let (fd, buf) = (direct_file(BLOCKS * BLOCK)?, pages(BLOCKS)?);
    must("files", ring.register_files(&[fd]))?;
    let iovs = u64s(&[buf.addr(), buf.len() as u64]);
    must("buffers", ring.register(0, iovs.addr(), 1))?;
    let all: Vec<_> = (0..BLOCKS).map(|n| (n as u64, BLOCK as i32)).collect();
    for fixed in [false, true] {
        buf.fill(0xee);
        for some in (0..BLOCKS).collect::<Vec<_>>().chunks(8) {
            let sqes: Vec<_> = some
                .iter()
                .map(
                    |&n| if fixed { flagged(block(0, &buf, n), FIXED) } else { block(fd, &buf, n) },
                )
                .collect();
            submit(&mut ring, &sqes)?;
        }
        ends_all(&ring, &all)?;
        holds(&buf, 0..BLOCKS)?;
    }
    buf.put(0, &[9; BLOCK]);
    let write = rw(op::WRITE, fd, buf.addr(), BLOCK as u32, (3 * BLOCK) as u64, 1);
    res(&mut ring, write, BLOCK as i32)?;
    let two = u64s(&[buf.addr() + 3 * 4096, 4096, buf.addr() + 2 * 4096, 4096]);
    res(&mut ring, rw(op::READV, fd, two.addr(), 2, (2 * BLOCK) as u64, 2), 8192)?;
    let firsts = [buf.get(2 * BLOCK, 1)[0], buf.get(3 * BLOCK, 1)[0]];
    expect("blocks 2 and 3, each in the other's place", firsts, [9, 2])?;
    let to = buf.addr() + 5 * 4096;
    res(&mut ring, rw(op::READ_FIXED, fd, to, BLOCK as u32, (3 * BLOCK) as u64, 3), 4096)?;
    expect("by the registered buffer", buf.get(5 * BLOCK, 1)[0], 9)
}

fn a_direct_read_ends_short_at_the_end_of_its_file() -> Outcome {
    let mut ring = ring()?;
    let (fd, buf) = (direct_file(BLOCK + 100)?, pages(4)?);
    res(&mut ring, read(fd, buf.addr(), 2 * BLOCK as u32, 0, 1), BLOCK as i32 + 100)?;
    res(&mut ring, read(fd, buf.addr(), BLOCK as u32, 2 * BLOCK as u64, 2), 0)
}

fn a_bad_direct_read_is_answered_as_pread_is() -> Outcome {
    let mut ring = ring()?;
    let (fd, buf) = (direct_file(4 * BLOCK)?, pages(4)?);
    for (addr, len, off) in [
        (buf.addr() + 1, 4096, 0),
        (buf.addr(), 100, 0),
        (buf.addr(), 4096, 7),
        (buf.addr() + 8, 24, 8),
        (4096, 4096, 0),
        (4096, 4096, 512),
        (buf.addr(), 512, 512),
        (buf.addr(), 4096, 1 << 40),
        (buf.addr(), 4096, 1 << 62),
    ] {
        let want = os::read_to(fd, addr, len, off);
        res(&mut ring, read(fd, addr, len, off as u64, 1), want)?;
    }
    Ok(())
}

fn a_close_behind_a_direct_read_takes_no_file_away() -> Outcome {
    for file in [direct_file, dirty_file] {
        let mut ring = with(32, 0)?;
        let (fd, buf) = (file(BLOCKS * BLOCK)?, pages(BLOCKS)?);
        let mut sqes: Vec<_> = (0..BLOCKS).map(|n| block(fd, &buf, n)).collect();
        sqes.push(of_fd(op::CLOSE, fd, 99));
        submit(&mut ring, &sqes)?;
        let all = (0..BLOCKS).map(|n| (n as u64, BLOCK as i32));
        ends_all(&ring, &all.chain([(99, 0)]).collect::<Vec<_>>())?;
        holds(&buf, 0..BLOCKS)?;
    }
    Ok(())
}

fn no_cancel_finds_a_direct_read() -> Outcome {
    let mut ring = ring()?;
    let (fd, buf) = (direct_file(BLOCKS * BLOCK)?, pages(BLOCKS)?);
    for n in 0..BLOCKS {
        submit(&mut ring, &[block(fd, &buf, n), cancel(n as u64, 0, 100)])?;
        ends_all(&ring, &[(n as u64, BLOCK as i32), (100, -ENOENT)])?;
    }
    Ok(())
}

fn a_registered_file_stays_until_its_direct_read_ends() -> Outcome {
    let mut ring = ring()?;
    let (fd, buf) = (direct_file(BLOCKS * BLOCK)?, pages(BLOCKS)?);
    let (fds, tags) = (i32s(&[fd]), u64s(&[77]));
    let arg = Buf::new(32);
    arg.store(0, 1);
    arg.put64(16, fds.addr());
    arg.put64(24, tags.addr());
    must("files", ring.register(13, arg.addr(), 32))?;
    close(fd)?;
    submit(&mut ring, &[flagged(block(0, &buf, 1), FIXED), flagged(block(0, &buf, 2), FIXED)])?;
    must("unregister", ring.register(3, 0, 0))?;
    let got = wait_for(&ring, 3)?;
    expect("the last one", got[2].user_data, 77)?;
    holds(&buf, 1..3)
}
