//! System calls that no ring is involved in: what a program pays for ringer that does something else.
//!
//! What it does not do: make a ring.

use crate::works::job::{Job, Sample, repeat};
use crate::works::reads::hot_file;
use anyhow::{Result, ensure};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

const BLOCK: usize = 4096;
const BLOCKS: u64 = 256;

pub(crate) fn preads(job: Job) -> Result<Sample> {
    let file = hot_file()?;
    let mut buf = [0u8; BLOCK];
    let mut at = 0u64;
    repeat(job, 1, || {
        at = (at + 17) % BLOCKS;
        file.read_exact_at(&mut buf, at * BLOCK as u64)?;
        Ok(())
    })
}

pub(crate) fn getppids(job: Job) -> Result<Sample> {
    repeat(job, 1, || {
        std::hint::black_box(std::os::unix::process::parent_id());
        Ok(())
    })
}

/// A page is mapped and unmapped.
pub(crate) fn mmaps(job: Job) -> Result<Sample> {
    let file = hot_file()?;
    let (fd, anywhere) = (file.as_raw_fd(), std::ptr::null_mut());
    repeat(job, 1, || {
        // SAFETY: a fresh mapping at an address the kernel picks.
        let p = unsafe { libc::mmap(anywhere, BLOCK, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
        ensure!(p != libc::MAP_FAILED, "mmap");
        // SAFETY: the mapping made above, which nobody else has.
        unsafe { libc::munmap(p, BLOCK) };
        Ok(())
    })
}
