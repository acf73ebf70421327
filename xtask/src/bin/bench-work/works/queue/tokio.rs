//! `tokio::fs`: a task for each block, which seeks and then reads or writes.
//!
//! Its files copy through a buffer of their own that is not aligned, so this cannot do `O_DIRECT`. Each slot
//! opens the file anew: a position belongs to an open file.

use super::{Queue, Transfers, What};
use anyhow::{Context as _, Result};
use std::io::SeekFrom;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// A file and a buffer that travel with the task.
type Slot = (File, Vec<u8>);

/// The runtime, its tasks, and the slots without one.
pub(super) struct Tokio {
    runtime: Runtime,
    tasks: JoinSet<Result<(usize, Slot)>>,
    slots: Vec<Option<Slot>>,
    transfers: Transfers,
}

async fn transfer(slot: &mut Slot, what: What, offset: u64) -> Result<()> {
    let (file, buffer) = slot;
    file.seek(SeekFrom::Start(offset)).await?;
    match what {
        What::Read => {
            file.read_exact(buffer).await?;
        }
        What::Write => {
            file.write_all(buffer).await?;
            file.flush().await?;
        }
    }
    Ok(())
}

impl Tokio {
    pub(super) fn new(transfers: Transfers) -> Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        let path = format!("/proc/self/fd/{}", transfers.fd());
        let slots = (0..transfers.slots()).map(|_| {
            let file = std::fs::File::options().read(true).write(true).open(&path)?;
            Ok(Some((File::from_std(file), vec![7u8; transfers.len])))
        });
        let slots = slots.collect::<Result<_>>()?;
        Ok(Self { runtime, tasks: JoinSet::new(), slots, transfers })
    }

    fn give_back(&mut self, (at, slot): (usize, Slot), done: &mut Vec<usize>) {
        self.slots[at] = Some(slot);
        done.push(at);
    }
}

impl Queue for Tokio {
    fn push(&mut self, slot: usize, block: u64) -> Result<()> {
        let (what, offset) = (self.transfers.what, block * self.transfers.len as u64);
        let mut taken = self.slots[slot].take().context("a slot that is under way")?;
        let task = async move {
            transfer(&mut taken, what, offset).await?;
            Ok((slot, taken))
        };
        self.tasks.spawn_on(task, self.runtime.handle());
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        let first = self.runtime.block_on(self.tasks.join_next()).context("nothing to wait for")?;
        self.give_back(first??, done);
        while let Some(more) = self.tasks.try_join_next() {
            self.give_back(more??, done);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let (file, _) = self.slots[0].as_ref().context("the first slot is under way")?;
        Ok(self.runtime.block_on(file.sync_all())?)
    }
}
