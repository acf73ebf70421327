//! READ, WRITE and FSYNC through a ring, on a plain descriptor.

use super::{Queue, Transfers, What, whole};
use crate::works::job::Job;
use anyhow::{Context as _, Result};
use io_uring::{IoUring, opcode, squeue, types};

/// A ring, and what it transfers.
pub(super) struct Ring {
    ring: IoUring,
    transfers: Transfers,
}

impl Ring {
    pub(super) fn new(transfers: Transfers, job: Job) -> Result<Self> {
        let entries = (transfers.slots() as u32).next_power_of_two().max(8);
        Ok(Self { ring: job.ring(entries)?, transfers })
    }

    fn queue(&mut self, entry: &squeue::Entry) -> Result<()> {
        // SAFETY: the ring is dropped before what the entry names, which its user waits for anyway.
        unsafe { self.ring.submission().push(entry) }.context("full submission queue")
    }
}

impl Queue for Ring {
    fn push(&mut self, slot: usize, block: u64) -> Result<()> {
        let t = &self.transfers;
        let (fd, to, len) = (types::Fd(t.fd()), t.at(slot), t.len as u32);
        let offset = block * t.len as u64;
        let entry = match t.what {
            What::Read => opcode::Read::new(fd, to, len).offset(offset).build(),
            What::Write => opcode::Write::new(fd, to, len).offset(offset).build(),
        };
        self.queue(&entry.user_data(slot as u64))
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        self.ring.submit_and_wait(1)?;
        for cqe in self.ring.completion() {
            whole(cqe.result().into(), self.transfers.len)?;
            done.push(cqe.user_data() as usize);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let entry = opcode::Fsync::new(types::Fd(self.transfers.fd())).build();
        self.queue(&entry)?;
        self.ring.submit_and_wait(1)?;
        whole(self.ring.completion().next().context("no completion")?.result().into(), 0)
    }
}
