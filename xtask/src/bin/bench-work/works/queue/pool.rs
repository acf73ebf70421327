//! 16 threads that take transfers from a queue: a lock and a condition on either side.

use super::{Block, Queue, Transfers};
use anyhow::{Result, anyhow};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

const THREADS: usize = 16;

enum Task {
    Transfer(usize, Block),
    Sync(RawFd),
    End,
}

/// Values that some threads put in and others wait for.
struct Channel<T> {
    values: Mutex<VecDeque<T>>,
    filled: Condvar,
}

impl<T> Channel<T> {
    fn new() -> Self {
        Self { values: Mutex::default(), filled: Condvar::new() }
    }

    fn put(&self, value: T) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).push_back(value);
        self.filled.notify_one();
    }

    fn take(&self) -> T {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match values.pop_front() {
                Some(value) => return value,
                None => {
                    values = self.filled.wait(values).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn take_more(&self) -> VecDeque<T> {
        std::mem::take(&mut *self.values.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A slot that is done, or why not.
type Done = Result<usize, String>;

/// The pool.
pub(super) struct Pool {
    transfers: Transfers,
    tasks: Arc<Channel<Task>>,
    done: Arc<Channel<Done>>,
    threads: Vec<JoinHandle<()>>,
}

fn work(tasks: &Channel<Task>, done: &Channel<Done>) {
    loop {
        let result = match tasks.take() {
            Task::Transfer(slot, block) => block.transfer().map(|()| slot),
            // SAFETY: takes no memory.
            Task::Sync(fd) => match unsafe { libc::fsync(fd) } {
                0 => Ok(0),
                _ => Err(std::io::Error::last_os_error().into()),
            },
            Task::End => return,
        };
        done.put(result.map_err(|e| e.to_string()));
    }
}

impl Pool {
    pub(super) fn new(transfers: Transfers) -> Self {
        let (tasks, done) = (Arc::new(Channel::new()), Arc::new(Channel::new()));
        let start = |_| {
            let (tasks, done) = (Arc::clone(&tasks), Arc::clone(&done));
            std::thread::spawn(move || work(&tasks, &done))
        };
        let threads = (0..THREADS).map(start).collect();
        Self { transfers, tasks, done, threads }
    }
}

impl Queue for Pool {
    fn push(&mut self, slot: usize, block: u64) -> Result<()> {
        self.tasks.put(Task::Transfer(slot, self.transfers.job(slot, block)));
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        done.push(self.done.take().map_err(|e| anyhow!(e))?);
        for more in self.done.take_more() {
            done.push(more.map_err(|e| anyhow!(e))?);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.tasks.put(Task::Sync(self.transfers.fd()));
        self.done.take().map_err(|e| anyhow!(e))?;
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for _ in &self.threads {
            self.tasks.put(Task::End);
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing under way either.
            let _ = thread.join();
        }
    }
}
