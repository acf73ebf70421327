//! NOPs, and reads of a file that is in the page cache.
//!
//! What it does not do: wait for a disk.

use crate::works::disk;
use crate::works::job::{Job, Sample, repeat};
use crate::works::queue::{Transfers, What};
use anyhow::{Context as _, Result, ensure};
use io_uring::{IoUring, opcode, squeue, types};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, RawFd};

const BLOCK: usize = 4096;
/// Length of the hot file \[bytes\]: it stays in the second level cache.
const FILE_LEN: usize = 1 << 20;
const FILE_BLOCKS: u64 = (FILE_LEN / BLOCK) as u64;

/// How a request names its file and memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    Plain,
    Fixed,
    FixedWithBuffer,
}

/// Reads of one length; each so many blocks after the last one.
#[derive(Clone, Copy)]
pub(crate) struct Hot {
    pub(crate) len: usize,
    pub(crate) step: u64,
    pub(crate) files: Files,
}

/// Submits the entries and waits for all of their results.
pub(crate) fn round(ring: &mut IoUring, entries: &[squeue::Entry], want: i32) -> Result<()> {
    // SAFETY: the descriptors and buffers that the entries name outlive this call, which waits for
    // all of their completions (the callers own both).
    unsafe { ring.submission().push_multiple(entries) }.context("full submission queue")?;
    ring.submit_and_wait(entries.len())?;
    let mut n = 0;
    for cqe in ring.completion() {
        ensure!(cqe.result() == want, "result {} instead of {want}", cqe.result());
        n += 1;
    }
    ensure!(n == entries.len(), "{n} completions for {} requests", entries.len());
    Ok(())
}

pub(crate) fn nops(job: Job, batch: usize) -> Result<Sample> {
    let mut ring = job.ring(256)?;
    let entries = vec![opcode::Nop::new().build(); batch];
    repeat(job, batch, || round(&mut ring, &entries, 0))
}

/// A file of 1 MiB that has no name any more.
pub(crate) fn hot_file() -> Result<File> {
    // Works run in several threads of one process, too.
    let name = format!("ringer-bench-{}-{:?}", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    let mut f = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    f.write_all(&vec![7u8; FILE_LEN])?;
    Ok(f)
}

pub(crate) fn reads(job: Job, batch: usize, hot: Hot) -> Result<Sample> {
    if job.way.is_ring() { by_ring(job, batch, hot) } else { by_others(job, batch, hot) }
}

fn by_others(job: Job, batch: usize, hot: Hot) -> Result<Sample> {
    let blocks = (FILE_LEN / hot.len) as u64;
    let mut queue = Transfers::new(hot_file()?, What::Read, hot.len, batch).queue(job)?;
    let (mut at, mut done) = (0u64, Vec::new());
    repeat(job, batch, || {
        let next = (0..batch).map(|_| {
            at = (at + hot.step) % blocks;
            at
        });
        disk::batch(&mut *queue, &mut done, next)
    })
}

fn by_ring(job: Job, batch: usize, hot: Hot) -> Result<Sample> {
    let file = hot_file()?;
    let mut ring = job.ring(256)?;
    let blocks = (FILE_LEN / hot.len) as u64;
    let mut bufs = vec![0u8; hot.len * batch];
    if hot.files != Files::Plain {
        ring.submitter().register_files(&[file.as_raw_fd()])?;
    }
    if hot.files == Files::FixedWithBuffer {
        let v = libc::iovec { iov_base: bufs.as_mut_ptr().cast(), iov_len: bufs.len() };
        // SAFETY: `bufs` outlives the requests, each of which is waited for below.
        unsafe { ring.submitter().register_buffers(&[v]) }?;
    }
    let mut at = 0u64;
    repeat(job, batch, || {
        let entries: Vec<_> = (0..batch)
            .map(|i| {
                at = (at + hot.step) % blocks;
                let to = bufs.as_mut_ptr().wrapping_add(i * hot.len);
                entry(hot, file.as_raw_fd(), to, at * hot.len as u64)
            })
            .collect();
        round(&mut ring, &entries, hot.len as i32)
    })
}

fn entry(hot: Hot, fd: RawFd, to: *mut u8, off: u64) -> squeue::Entry {
    let len = hot.len as u32;
    match hot.files {
        Files::Plain => opcode::Read::new(types::Fd(fd), to, len).offset(off).build(),
        Files::Fixed => opcode::Read::new(types::Fixed(0), to, len).offset(off).build(),
        Files::FixedWithBuffer => {
            opcode::ReadFixed::new(types::Fixed(0), to, len, 0).offset(off).build()
        }
    }
}

/// Which of so many is next: all in turn, none near the last one.
fn scattered(at: u64, count: usize) -> usize {
    (at * 7919 % count as u64) as usize
}

/// Reads of so many registered files, another one every time.
pub(crate) fn reads_among(job: Job, batch: usize, files: usize) -> Result<Sample> {
    let file = hot_file()?;
    let mut ring = job.ring(256)?;
    let mut bufs = vec![0u8; BLOCK * batch];
    ring.submitter().register_files(&vec![file.as_raw_fd(); files])?;
    let mut at = 0u64;
    repeat(job, batch, || {
        let entries: Vec<_> = (0..batch)
            .map(|i| {
                at += 1;
                let (slot, to) = (scattered(at, files) as u32, bufs.as_mut_ptr());
                let to = to.wrapping_add(i * BLOCK);
                opcode::Read::new(types::Fixed(slot), to, BLOCK as u32)
                    .offset(at * 17 % FILE_BLOCKS * BLOCK as u64)
                    .build()
            })
            .collect();
        round(&mut ring, &entries, BLOCK as i32)
    })
}

/// The same of 10,000 registered files and 16,384 registered buffers, another of each every time.
pub(crate) fn reads_among_many(job: Job, batch: usize) -> Result<Sample> {
    const FILES: usize = 10_000;
    const BUFFERS: usize = 16_384;
    let file = hot_file()?;
    let mut ring = job.ring(256)?;
    let mut bufs = vec![0u8; BLOCK * batch];
    let base = bufs.as_mut_ptr();
    let part = |i: usize| base.wrapping_add(i % batch * BLOCK);
    let all: Vec<_> =
        (0..BUFFERS).map(|i| libc::iovec { iov_base: part(i).cast(), iov_len: BLOCK }).collect();
    ring.submitter().register_files(&vec![file.as_raw_fd(); FILES])?;
    // SAFETY: `bufs` outlives the ring's requests, each of which is waited for below.
    unsafe { ring.submitter().register_buffers(&all) }?;
    let mut at = 0u64;
    repeat(job, batch, || {
        let entries: Vec<_> = (0..batch)
            .map(|i| {
                at += 1;
                let (block, slot) = (at * 17 % FILE_BLOCKS, scattered(at, FILES));
                let index = (at as usize * 127 % (BUFFERS / batch)) * batch + i;
                let (to, len) = (part(i), BLOCK as u32);
                opcode::ReadFixed::new(types::Fixed(slot as u32), to, len, index as u16)
                    .offset(block * BLOCK as u64)
                    .build()
            })
            .collect();
        round(&mut ring, &entries, BLOCK as i32)
    })
}
