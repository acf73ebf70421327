//! Blocks of 4 KiB of a disk: with O_DIRECT, through a cold page cache, and written and flushed.
//!
//! The file is made once and kept for the next process (`bench` removes it). What it does not do: measure the
//! page cache itself; what is hot is in `reads`.

use crate::works::job::{Job, Sample, Watch, repeat};
use crate::works::queue::{Queue, Transfers, What};
use anyhow::{Result, ensure};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

const BLOCK: usize = 4096;
const BLOCKS: u64 = 65_536;
/// Steps of an odd number visit each block once before any again.
const STEP: u64 = 40_503;

/// How the file is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    Direct,
    Cold,
}

/// The file that all measurements share.
fn path() -> PathBuf {
    std::env::temp_dir().join("ringer-bench-disk")
}

fn open(cache: Cache) -> Result<File> {
    let path = path();
    let len = BLOCKS * BLOCK as u64;
    if std::fs::metadata(&path).map_or(0, |m| m.len()) != len {
        let mut new = File::create(&path)?;
        let chunk = vec![7u8; 1 << 20];
        for _ in 0..len >> 20 {
            new.write_all(&chunk)?;
        }
        new.sync_all()?;
    }
    let flags = if cache == Cache::Direct { libc::O_DIRECT } else { 0 };
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path)?;
    // SAFETY: touches no memory.
    let r = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    ensure!(r == 0, "posix_fadvise: {r}");
    Ok(file)
}

/// Keeps `depth` transfers under way until the budget is used, or each block was visited once.
pub(crate) fn window(job: Job, cache: Cache, what: What, depth: usize) -> Result<Sample> {
    let mut queue = Transfers::new(open(cache)?, what, BLOCK, depth).queue(job)?;
    let mut block = u64::from(std::process::id()) * 7919 % BLOCKS;
    let (mut issued, mut done) = (0u64, 0u64);
    let mut free: Vec<usize> = (0..depth).collect();
    let watch = Watch::start();
    loop {
        let over = watch.elapsed() >= job.budget || issued == BLOCKS;
        while !over && issued < BLOCKS {
            let Some(slot) = free.pop() else { break };
            block = (block + STEP) % BLOCKS;
            queue.push(slot, block)?;
            issued += 1;
        }
        if issued == done {
            return Ok(watch.each(done));
        }
        let before = free.len();
        queue.wait(&mut free)?;
        done += (free.len() - before) as u64;
    }
}

/// Where what is written and flushed lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Disk,
    Memory,
}

fn memory() -> Result<File> {
    // SAFETY: a fresh descriptor for a name that is a C string.
    let fd = unsafe { libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC) };
    ensure!(fd >= 0, "memfd_create");
    // SAFETY: the descriptor was made above and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Does a batch and waits for all of it.
pub(crate) fn batch(
    queue: &mut dyn Queue,
    done: &mut Vec<usize>,
    blocks: impl ExactSizeIterator<Item = u64>,
) -> Result<()> {
    let count = blocks.len();
    for (slot, block) in blocks.enumerate() {
        queue.push(slot, block)?;
    }
    done.clear();
    while done.len() < count {
        queue.wait(done)?;
    }
    Ok(())
}

/// Writes through the page cache, `count` at a time, and then flushes; each such batch is an operation.
pub(crate) fn write_and_sync(job: Job, on: On, count: usize) -> Result<Sample> {
    const SPAN: u64 = 4096;
    let file = if on == On::Disk { open(Cache::Cold)? } else { memory()? };
    file.set_len(BLOCKS * BLOCK as u64)?;
    let mut queue = Transfers::new(file, What::Write, BLOCK, count).queue(job)?;
    let (mut at, mut done) = (0u64, Vec::new());
    repeat(job, 1, || {
        let blocks = (0..count as u64).map(|i| (at + i) * STEP % SPAN);
        batch(&mut *queue, &mut done, blocks.collect::<Vec<_>>().into_iter())?;
        at += count as u64;
        queue.sync()
    })
}
