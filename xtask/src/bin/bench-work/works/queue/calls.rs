//! pread(2) or pwrite(2), one after the other.

use super::{Queue, Transfers};
use anyhow::Result;

/// A loop of plain calls.
pub(super) struct Calls {
    transfers: Transfers,
    done: Vec<usize>,
}

impl Calls {
    pub(super) fn new(transfers: Transfers) -> Self {
        Self { transfers, done: Vec::new() }
    }
}

impl Queue for Calls {
    fn push(&mut self, slot: usize, block: u64) -> Result<()> {
        self.transfers.job(slot, block).transfer()?;
        self.done.push(slot);
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        done.append(&mut self.done);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.transfers.file.sync_all()?)
    }
}
