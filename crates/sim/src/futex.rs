//! Futexes: one queue of sleepers, each under the keys it sleeps on.
//!
//! ```text
//!  sleepers: [ who: mask, woken by ]     queue: (key, who, which of its keys), in order
//! ```
//!
//! A move takes an entry out and puts it last under another key, as a requeue does. What it does not
//! do: tell private futexes from shared ones.

use crate::host::SimHost;
use crate::sched::lock;
use crate::world::World;
use ringer_engine::host::{Futex, FutexWord, HostResult};
use ringer_uapi::Errno;
use ringer_uapi::bytes::u32_at;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// What is slept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Ours(usize),
    Theirs(u64),
}

#[derive(Debug)]
struct Sleeper {
    mask: u32,
    woken: Option<u32>,
}

/// See the module's doc.
#[derive(Debug, Default)]
pub(crate) struct Futexes {
    sleepers: BTreeMap<u64, Sleeper>,
    queue: Vec<(Key, u64, u32)>,
    next: u64,
}

impl Futexes {
    fn sleep(&mut self, keys: impl Iterator<Item = Key>, mask: u32) -> u64 {
        self.next += 1;
        let who = self.next;
        self.sleepers.insert(who, Sleeper { mask, woken: None });
        self.queue.extend(keys.zip(0..).map(|(key, i)| (key, who, i)));
        who
    }

    fn leave(&mut self, who: u64) -> Option<u32> {
        self.queue.retain(|(_, w, _)| *w != who);
        self.sleepers.remove(&who).and_then(|s| s.woken)
    }

    fn wake(&mut self, key: Key, n: u32, mask: u32) -> u32 {
        let mut woken = 0;
        let Self { sleepers, queue, .. } = self;
        queue.retain(|(k, who, i)| {
            let hit = *k == key && woken < n;
            let Some(s) = sleepers.get_mut(who).filter(|s| hit && s.mask & mask != 0) else {
                return true;
            };
            // The last one that woke it is told, as the kernel does.
            s.woken = s.woken.max(Some(*i));
            woken += 1;
            false
        });
        woken
    }
}

impl World {
    fn value(&self, futex: Futex) -> HostResult<u32> {
        if !futex.addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        self.read(futex.addr, 4).map(|b| u32_at(b, 0))
    }

    /// The application wakes so many itself.
    pub(crate) fn wake_futex(&mut self, addr: u64, n: u32) {
        self.wake(addr, n, u32::MAX);
    }

    fn wake(&mut self, addr: u64, n: u32, mask: u32) -> u32 {
        let woken = self.futexes.wake(Key::Theirs(addr), n, mask);
        self.ledger.woken += u64::from(woken);
        woken
    }
}

impl SimHost {
    fn asleep(&self, who: u64) -> HostResult<u32> {
        let world = &self.world;
        let woken = || lock(world).futexes.sleepers.get(&who).and_then(|s| s.woken);
        let slept = self.sched.wait_for(None, woken);
        // Who was woken is, whatever else ended the sleep.
        match lock(world).futexes.leave(who) {
            Some(i) => Ok(i),
            None => slept,
        }
    }

    pub(crate) fn sleep_on_words(&self, words: &[FutexWord], mask: u32) -> HostResult<u32> {
        self.app_call("futex_sleep", -1)?;
        if words.iter().any(|w| w.value.load(Relaxed) != 0) {
            return Err(Errno::EAGAIN);
        }
        let keys = words.iter().map(|w| Key::Ours(std::ptr::from_ref(w).addr()));
        let who = lock(&self.world).futexes.sleep(keys, mask);
        self.sched.changed();
        self.asleep(who)
    }

    pub(crate) fn sleep_on(&self, on: &[Futex], mask: u32) -> HostResult<u32> {
        self.app_call("futex_wait", -1)?;
        let mut w = lock(&self.world);
        for f in on {
            if w.value(*f)? != f.val {
                return Err(Errno::EAGAIN);
            }
        }
        let who = w.futexes.sleep(on.iter().map(|f| Key::Theirs(f.addr)), mask);
        drop(w);
        self.asleep(who)
    }

    pub(crate) fn move_sleeper(&self, word: &FutexWord, to: Futex) -> HostResult<bool> {
        self.call("futex_move", -1);
        let from = Key::Ours(std::ptr::from_ref(word).addr());
        let mut w = lock(&self.world);
        w.value(to)?;
        if word.value.load(Relaxed) != 0 {
            return Err(Errno::EAGAIN);
        }
        let queue = &mut w.futexes.queue;
        let Some(at) = queue.iter().position(|(key, ..)| *key == from) else { return Ok(false) };
        let (_, who, i) = queue.remove(at);
        queue.push((Key::Theirs(to.addr), who, i));
        drop(w);
        self.sched.changed();
        Ok(true)
    }

    pub(crate) fn wake_sleepers(&self, futex: Futex, mask: u32) -> HostResult<u32> {
        self.call("futex_wake", -1);
        if mask == 0 {
            return Err(Errno::EINVAL);
        }
        let mut w = lock(&self.world);
        w.value(futex)?;
        let n = w.wake(futex.addr, futex.val, mask);
        drop(w);
        self.sched.changed();
        Ok(n)
    }
}
