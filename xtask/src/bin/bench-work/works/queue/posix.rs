//! aio_read(3), aio_write(3) and aio_fsync(3): POSIX AIO, which glibc does with threads.

use super::{Queue, Transfers, What, whole};
use anyhow::{Result, ensure};
use std::ptr::{null, null_mut};

/// A control block for each slot; those that are under way in a list.
pub(super) struct Posix {
    transfers: Transfers,
    blocks: Box<[libc::aiocb]>,
    under_way: Vec<usize>,
}

fn empty() -> libc::aiocb {
    // SAFETY: all zero is a valid `aiocb`: no notification, no priority.
    let mut block: libc::aiocb = unsafe { std::mem::zeroed() };
    block.aio_sigevent.sigev_notify = libc::SIGEV_NONE;
    block
}

impl Posix {
    pub(super) fn new(transfers: Transfers) -> Self {
        let blocks = (0..transfers.slots()).map(|_| empty()).collect();
        Self { transfers, blocks, under_way: Vec::new() }
    }

    fn block(&mut self, slot: usize) -> *mut libc::aiocb {
        self.blocks.as_mut_ptr().wrapping_add(slot)
    }

    fn suspend(&mut self) -> Result<()> {
        let base = self.blocks.as_ptr();
        let list: Vec<_> = self.under_way.iter().map(|&slot| base.wrapping_add(slot)).collect();
        // SAFETY: the pointers are to `blocks`, which lie still.
        let r = unsafe { libc::aio_suspend(list.as_ptr(), list.len() as i32, null()) };
        ensure!(r == 0, "aio_suspend: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// A slot's result, or none while it is under way.
    fn result(&mut self, slot: usize) -> Result<Option<i64>> {
        let block = self.block(slot);
        // SAFETY: a block that was given to one of the calls.
        let error = unsafe { libc::aio_error(block) };
        if error == libc::EINPROGRESS {
            return Ok(None);
        }
        ensure!(error == 0, "a transfer failed: {}", std::io::Error::from_raw_os_error(error));
        // SAFETY: it is done, and this is asked once.
        Ok(Some(unsafe { libc::aio_return(block) } as i64))
    }
}

impl Queue for Posix {
    fn push(&mut self, slot: usize, block: u64) -> Result<()> {
        let t = &self.transfers;
        let mut control = empty();
        control.aio_fildes = t.fd();
        control.aio_buf = t.at(slot).cast();
        control.aio_nbytes = t.len;
        control.aio_offset = (block * t.len as u64).cast_signed();
        let what = t.what;
        self.blocks[slot] = control;
        let block = self.block(slot);
        let r = match what {
            // SAFETY: the block and its buffer live until the queue goes, which waits for them.
            What::Read => unsafe { libc::aio_read(block) },
            // SAFETY: as above.
            What::Write => unsafe { libc::aio_write(block) },
        };
        ensure!(r == 0, "aio: {}", std::io::Error::last_os_error());
        self.under_way.push(slot);
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        self.suspend()?;
        let len = self.transfers.len;
        for slot in std::mem::take(&mut self.under_way) {
            match self.result(slot)? {
                Some(result) => {
                    whole(result, len)?;
                    done.push(slot);
                }
                None => self.under_way.push(slot),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let mut control = empty();
        control.aio_fildes = self.transfers.fd();
        self.blocks[0] = control;
        let block = self.block(0);
        // SAFETY: as in `push`.
        let r = unsafe { libc::aio_fsync(libc::O_SYNC, block) };
        ensure!(r == 0, "aio_fsync: {}", std::io::Error::last_os_error());
        self.under_way.push(0);
        self.suspend()?;
        self.under_way.clear();
        whole(self.result(0)?.unwrap_or(-1), 0)
    }
}

impl Drop for Posix {
    fn drop(&mut self) {
        // SAFETY: cancels what has not begun of this file.
        unsafe { libc::aio_cancel(self.transfers.fd(), null_mut()) };
        while let Some(slot) = self.under_way.pop() {
            while matches!(self.result(slot), Ok(None)) {
                std::thread::yield_now();
            }
        }
    }
}
