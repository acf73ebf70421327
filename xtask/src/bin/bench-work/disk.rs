//! Random reads of 4 KiB from a disk, 32 at a time: with O_DIRECT, and through a cold page cache.
//!
//! The file is made once and kept for the next process (`bench` removes it). What it does not do:
//! write.

use anyhow::{Context, Result, ensure};
use io_uring::{IoUring, opcode, types};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const BLOCKS: u64 = 65_536;
const DEPTH: usize = 32;

/// How the file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    Direct,
    Cold,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Nanoseconds a read.
    Time,
    /// Processor time of the process a read \[ns\].
    Cpu,
}

/// The file that all measurements share.
pub(crate) fn path() -> PathBuf {
    std::env::temp_dir().join("ringer-bench-disk")
}

fn open(reads: Reads) -> Result<File> {
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
    let flags = if reads == Reads::Direct { libc::O_DIRECT } else { 0 };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
    // SAFETY: touches no memory.
    let r = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    ensure!(r == 0, "posix_fadvise: {r}");
    Ok(file)
}

pub(crate) fn cpu() -> Duration {
    // SAFETY: all zero is a valid `rusage`.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one `rusage`.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut used) };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    of(used.ru_utime) + of(used.ru_stime)
}

/// Keeps 32 reads under way until the budget is used, or each block was read once.
pub(crate) fn measure(reads: Reads, figure: Figure, budget: Duration) -> Result<f64> {
    let file = open(reads)?;
    let mut ring = IoUring::new(64).context("io_uring_setup")?;
    let memory = vec![0u8; (DEPTH + 1) * BLOCK];
    let skew = memory.as_ptr().align_offset(BLOCK);
    let base = memory.as_ptr().wrapping_add(skew).cast_mut();
    // Steps of an odd number visit each block once.
    let seed = u64::from(std::process::id());
    let (mut at, mut issued, mut done) = (seed * 7919 % BLOCKS, 0u64, 0u64);
    let mut free: Vec<usize> = (0..DEPTH).collect();
    let (start, cpu_before) = (Instant::now(), cpu());
    loop {
        let over = start.elapsed() >= budget || issued == BLOCKS;
        while !over && issued < BLOCKS {
            let Some(slot) = free.pop() else { break };
            at = (at + 40_503) % BLOCKS;
            let (fd, to) = (types::Fd(file.as_raw_fd()), base.wrapping_add(slot * BLOCK));
            let e = opcode::Read::new(fd, to, BLOCK as u32).offset(at * BLOCK as u64).build();
            // SAFETY: the file and the slot's block outlive the read; no other read has the slot.
            unsafe { ring.submission().push(&e.user_data(slot as u64)) }.context("full queue")?;
            issued += 1;
        }
        if issued == done {
            break;
        }
        ring.submit_and_wait(1)?;
        for cqe in ring.completion() {
            ensure!(cqe.result() == BLOCK as i32, "read: {}", cqe.result());
            free.push(cqe.user_data() as usize);
            done += 1;
        }
    }
    let spent = match figure {
        Figure::Time => start.elapsed(),
        Figure::Cpu => cpu().saturating_sub(cpu_before),
    };
    Ok(spent.as_nanos() as f64 / done as f64)
}
