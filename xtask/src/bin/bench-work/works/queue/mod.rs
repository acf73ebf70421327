//! Blocks of a file, read or written in any of the ways that people use.
//!
//! ```text
//!   push(slot, block) ... wait() -> slots that are done       sync() -> all of it is on the disk
//! ```
//! Each slot has memory of its own and one transfer at a time. What it does not do: measure.

mod calls;
mod libaio;
mod pool;
mod posix;
mod ring;
mod tokio;

use crate::works::job::{Job, Way};
use anyhow::{Result, bail, ensure};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::fd::RawFd;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Read,
    Write,
}

/// One way to transfer blocks.
pub(crate) trait Queue {
    /// Asks for one block; it may be done at once, or not begin before the next `wait`.
    fn push(&mut self, slot: usize, block: u64) -> Result<()>;
    /// Waits until something is done and adds its slots.
    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()>;
    /// Waits until what was written is on the disk. Nothing else is under way.
    fn sync(&mut self) -> Result<()>;
}

/// What is transferred: blocks of one length of one file, and memory for so many at a time.
pub(crate) struct Transfers {
    pub(crate) file: File,
    pub(crate) what: What,
    pub(crate) len: usize,
    memory: Vec<u8>,
    skew: usize,
}

impl Transfers {
    const PAGE: usize = 4096;

    pub(crate) fn new(file: File, what: What, len: usize, slots: usize) -> Self {
        let memory = vec![7u8; slots * len + Self::PAGE];
        let skew = memory.as_ptr().align_offset(Self::PAGE);
        Self { file, what, len, memory, skew }
    }

    /// Where a slot's block lies.
    fn at(&self, slot: usize) -> *mut u8 {
        debug_assert!((slot + 1) * self.len + self.skew <= self.memory.len(), "slot {slot}");
        self.memory.as_ptr().wrapping_add(self.skew + slot * self.len).cast_mut()
    }

    fn slots(&self) -> usize {
        (self.memory.len() - Self::PAGE) / self.len
    }

    fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    fn job(&self, slot: usize, block: u64) -> Block {
        let offset = block * self.len as u64;
        Block { fd: self.fd(), what: self.what, at: self.at(slot) as usize, len: self.len, offset }
    }

    /// The queue that carries the transfers out in the job's way.
    pub(crate) fn queue(self, job: Job) -> Result<Box<dyn Queue>> {
        Ok(match job.way {
            Way::Ring | Way::Defer => Box::new(ring::Ring::new(self, job)?),
            Way::Calls => Box::new(calls::Calls::new(self)),
            Way::Libaio => Box::new(libaio::Context::new(self)?),
            Way::Posix => Box::new(posix::Posix::new(self)),
            Way::Pool => Box::new(pool::Pool::new(self)),
            Way::Tokio => Box::new(tokio::Tokio::new(self)?),
            Way::Epoll => bail!("a file is always ready"),
        })
    }
}

/// One transfer by one system call, for whatever thread makes it.
#[derive(Clone, Copy, Debug)]
struct Block {
    fd: RawFd,
    what: What,
    at: usize,
    len: usize,
    offset: u64,
}

impl Block {
    fn transfer(self) -> Result<()> {
        let (at, offset) = (self.at as *mut libc::c_void, self.offset.cast_signed());
        let n = match self.what {
            // SAFETY: the block of a slot: `len` bytes that nobody else has until the transfer is done.
            What::Read => unsafe { libc::pread(self.fd, at, self.len, offset) },
            // SAFETY: as above.
            What::Write => unsafe { libc::pwrite(self.fd, at, self.len, offset) },
        };
        whole(n as i64, self.len)
    }
}

/// A transfer is whole, or this is an error.
fn whole(result: i64, len: usize) -> Result<()> {
    ensure!(result == len as i64, "a transfer of {len} bytes came to {result}");
    Ok(())
}
