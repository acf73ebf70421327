//! Futexes of a model: one queue of sleepers under a lock of loom, as a bucket of the kernel's is.
//!
//! ```text
//!   sleep: lock, are the words 0? queue, sleep        move: lock, is the word 0? other key, last
//!                                                     wake: lock, take the first of this key
//! ```
//! What it does not do: read the application's words (the engine looks at them), time out.

use crate::host::{World, interrupted};
use crate::{lock, sleep};
use loom::sync::{Condvar, Mutex};
use ringer_engine::host::{FutexWord, HostResult};
use ringer_uapi::Errno;
use std::sync::atomic::Ordering::Relaxed;

/// What is slept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Ours(usize),
    Theirs(u64),
}

#[derive(Debug, Default)]
struct Queue {
    /// Key, who sleeps, and on which of its keys.
    waiting: Vec<(Key, u64, u32)>,
    woken: Vec<(u64, u32)>,
    next: u64,
}

/// See the module's doc.
#[derive(Debug)]
pub(crate) struct Sleepers {
    queue: Mutex<Queue>,
    woken: Condvar,
}

impl Default for Sleepers {
    fn default() -> Self {
        Self { queue: Mutex::new(Queue::default()), woken: Condvar::new() }
    }
}

fn ours(word: &FutexWord) -> Key {
    Key::Ours(std::ptr::from_ref(word).addr())
}

impl Sleepers {
    pub(crate) fn sleep(&self, world: &World, words: &[FutexWord]) -> HostResult<u32> {
        let mut q = lock(&self.queue);
        if words.iter().any(|w| w.value.load(Relaxed) != 0) {
            return Err(Errno::EAGAIN);
        }
        q.next += 1;
        let me = q.next;
        q.waiting.extend(words.iter().zip(0..).map(|(w, i)| (ours(w), me, i)));
        loop {
            if let Some(at) = q.woken.iter().position(|(who, _)| *who == me) {
                let (_, i) = q.woken.remove(at);
                q.waiting.retain(|(_, who, _)| *who != me);
                return Ok(i);
            }
            if interrupted() {
                q.waiting.retain(|(_, who, _)| *who != me);
                return Err(Errno::EINTR);
            }
            if world.is_over() {
                drop(q);
                world.leave();
            }
            q = sleep(&self.woken, q);
        }
    }

    pub(crate) fn move_to(&self, word: &FutexWord, to: u64) -> HostResult<bool> {
        let mut q = lock(&self.queue);
        if word.value.load(Relaxed) != 0 {
            return Err(Errno::EAGAIN);
        }
        let Some(at) = q.waiting.iter().position(|(key, ..)| *key == ours(word)) else {
            return Ok(false);
        };
        let (_, who, i) = q.waiting.remove(at);
        q.waiting.push((Key::Theirs(to), who, i));
        Ok(true)
    }

    pub(crate) fn wake(&self, addr: u64, n: u32) -> u32 {
        let mut q = lock(&self.queue);
        let mut woken = 0;
        while woken < n
            && let Some(at) = q.waiting.iter().position(|(key, ..)| *key == Key::Theirs(addr))
        {
            let (_, who, i) = q.waiting.remove(at);
            q.woken.push((who, i));
            woken += 1;
        }
        drop(q);
        self.woken.notify_all();
        woken
    }

    /// Makes sleepers look around.
    pub(crate) fn shake(&self) {
        drop(lock(&self.queue));
        self.woken.notify_all();
    }
}
