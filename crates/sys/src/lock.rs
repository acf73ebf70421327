//! [`FutexLock`], the lock under every mutex of the engine: three states, a short spin, a futex.
//!
//! ```text
//!  0 free --lock--> 1 held --a waiter came--> 2 held, somebody sleeps
//!    ^----unlock-----|                          |
//!    ^----unlock + wake one --------------------'
//! ```
//!
//! The lost wake-up it prevents, by marking the word and sleeping on the mark:
//!
//! ```text
//!   waiter                                 holder
//!   1 held: not mine
//!   swap: 2
//!                                          swap: 0, was 2 -> wakes one
//!   sleep while 2: differs -> tries again
//! ```
//!
//! It recovers nothing: a holder that dies, or that a fork left behind in the parent, leaves it
//! held ([`ForkLock`] and fresh roots in the child are the answer to that). It is not
//! recursive, not fair, and must not be taken in a signal handler that may have interrupted its
//! holder.

use core::sync::atomic::{Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::generation;
use crate::primitive::{AtomicU32, futex_wait, futex_wake, spin_loop, step_aside};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// How often to look before sleeping \[pauses\]: about a microsecond, less than a futex round trip.
const SPINS: u32 = if cfg!(loom) { 1 } else { 40 };

/// A 4-byte futex mutex.
#[derive(Debug)]
pub struct FutexLock(AtomicU32);

impl FutexLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Frees the lock whatever its state. For the only thread of a forked child, about locks whose
    /// holder stayed behind in the parent.
    pub fn reset(&self) {
        self.0.store(FREE, Release);
    }

    #[cold]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            if self.0.load(Relaxed) == FREE
                && self.0.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok()
            {
                return;
            }
            spin_loop();
        }
        // Acquire: pairs with the Release of the unlock that stored FREE. From here on we must
        // leave CONTENDED behind, since we cannot know whether others sleep too.
        while self.0.swap(CONTENDED, Acquire) != FREE {
            // Any return (woken, EAGAIN, EINTR) leads to another try.
            let _ = futex_wait(&self.0, CONTENDED, None);
        }
    }
}

impl Default for FutexLock {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: `lock` and `try_lock` return with the lock only after a FREE -> HELD/CONTENDED change
// that is atomic, so that at most one thread has it until that thread's `unlock` stores FREE.
unsafe impl lock_api::RawMutex for FutexLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "lock_api asks for this constant")]
    const INIT: Self = Self::new();
    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        if self.0.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {
            self.lock_contended();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        // Release: pairs with the Acquire of the next holder.
        if self.0.swap(FREE, Release) == CONTENDED {
            futex_wake(&self.0, 1);
        }
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.load(Relaxed) != FREE
    }
}

/// A lock that many share, an atomic addition each way; who takes it alone takes it when nobody has it.
///
/// ```text
///  0 free --share--> n shared --let go--> 0
///  0 free --take alone--> ALONE; ALONE + n: so many came meanwhile, and sleep until it is let go
/// ```
/// Nobody who shares it wakes one that wants it alone: that one tries again by itself, and a stream of
/// others can keep it waiting. [`lock_api::RawRwLock::is_locked`] acquires what those did who let go of it.
#[derive(Debug)]
pub struct SharedLock(AtomicU32);

/// Somebody has it alone.
const ALONE: u32 = 1 << 31;

impl SharedLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The calling thread is counted already: it waits until nobody has it alone.
    #[cold]
    fn wait_to_share(&self) {
        loop {
            // Acquire: pairs with the Release of who had it alone.
            let now = self.0.load(Acquire);
            if now & ALONE == 0 {
                return;
            }
            // Whatever changed it, the next look tells.
            let _ = futex_wait(&self.0, now, None);
        }
    }
}

impl Default for SharedLock {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: somebody has it alone only after the change 0 -> ALONE, when nobody shares it; who counts
// himself in while ALONE is set returns only after it was taken away; who counts himself in before makes
// that change impossible until he is counted out.
unsafe impl lock_api::RawRwLock for SharedLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "lock_api asks for this constant")]
    const INIT: Self = Self::new();
    type GuardMarker = lock_api::GuardSend;

    #[inline(always)]
    fn lock_shared(&self) {
        // Acquire: pairs with the Release of who had it alone.
        if self.0.fetch_add(1, Acquire) & ALONE != 0 {
            self.wait_to_share();
        }
    }

    fn try_lock_shared(&self) -> bool {
        let now = self.0.load(Relaxed);
        now & ALONE == 0 && self.0.compare_exchange(now, now + 1, Acquire, Relaxed).is_ok()
    }

    #[inline(always)]
    unsafe fn unlock_shared(&self) {
        // Release: pairs with the Acquire of who takes it alone, and of `is_locked`.
        self.0.fetch_sub(1, Release);
    }

    fn lock_exclusive(&self) {
        while !self.try_lock_exclusive() {
            step_aside();
        }
    }

    fn try_lock_exclusive(&self) -> bool {
        self.0.compare_exchange(0, ALONE, Acquire, Relaxed).is_ok()
    }

    unsafe fn unlock_exclusive(&self) {
        // Release: pairs with the Acquire of who shares it next.
        if self.0.fetch_sub(ALONE, Release) != ALONE {
            futex_wake(&self.0, u32::MAX);
        }
    }

    fn is_locked(&self) -> bool {
        // Acquire: see the type's doc.
        self.0.load(Acquire) != 0
    }
}

/// A [`FutexLock`] that a fork frees: its word holds the generation of the holder's process, and a
/// word of another generation counts as free, because its holder stayed behind in the parent.
///
/// What it guards must be usable however far its holder got.
#[derive(Debug)]
pub struct ForkLock(AtomicU32);

impl ForkLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Whether somebody of this process (`own`: its generation, shifted) holds it.
    fn is_live(word: u32, own: u32) -> bool {
        word != FREE && word & !3 == own
    }

    fn take(&self, own: u32, state: u32) -> bool {
        let word = self.0.load(Relaxed);
        !Self::is_live(word, own)
            && self.0.compare_exchange(word, own | state, Acquire, Relaxed).is_ok()
    }

    #[cold]
    fn lock_contended(&self, own: u32) {
        for _ in 0..SPINS {
            if self.take(own, HELD) {
                return;
            }
            spin_loop();
        }
        // As in `FutexLock::lock_contended`.
        while !self.take(own, CONTENDED) {
            let held = own | HELD;
            let _ = self.0.compare_exchange(held, own | CONTENDED, Relaxed, Relaxed);
            let _ = futex_wait(&self.0, own | CONTENDED, None);
        }
    }
}

impl Default for ForkLock {
    fn default() -> Self {
        Self::new()
    }
}

/// The calling process's generation, where a lock word holds it.
fn own_generation() -> u32 {
    generation::current() << 2
}

// SAFETY: as for `FutexLock`; the additional change "word of another generation -> held" is atomic
// too, and no thread of this process holds a lock whose word has another generation.
unsafe impl lock_api::RawMutex for ForkLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "lock_api asks for this constant")]
    const INIT: Self = Self::new();
    type GuardMarker = lock_api::GuardSend;

    fn lock(&self) {
        let own = own_generation();
        if !self.take(own, HELD) {
            self.lock_contended(own);
        }
    }

    fn try_lock(&self) -> bool {
        self.take(own_generation(), HELD)
    }

    unsafe fn unlock(&self) {
        // Release: pairs with the Acquire of the next holder.
        if self.0.swap(FREE, Release) & 3 == CONTENDED {
            futex_wake(&self.0, 1);
        }
    }
}

/// A mutex over [`FutexLock`].
pub type Mutex<T> = lock_api::Mutex<FutexLock, T>;
/// Its guard.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, FutexLock, T>;
/// A mutex over [`ForkLock`].
pub type ForkMutex<T> = lock_api::Mutex<ForkLock, T>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;
    use std::vec::Vec;

    #[test]
    fn contending_threads_lose_no_increment() {
        static COUNT: Mutex<u64> = Mutex::new(0);
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..20_000).for_each(|_| *COUNT.lock() += 1)))
            .collect();
        for t in threads {
            t.join().unwrap();
        }
        assert_eq!(*COUNT.lock(), 80_000);
    }

    #[test]
    fn a_sleeper_is_woken_by_unlock() {
        static LOCK: Mutex<u32> = Mutex::new(1);
        let guard = LOCK.lock();
        let t = std::thread::spawn(|| *LOCK.lock());
        // The waiter marks the lock before it sleeps: that state, not time, is what we wait for.
        // SAFETY: only looks at the state; the guard stays with us.
        let raw = unsafe { LOCK.raw() };
        while raw.0.load(Relaxed) != CONTENDED {
            std::thread::yield_now();
        }
        drop(guard);
        assert_eq!(t.join().unwrap(), 1);
    }

    #[test]
    fn try_lock_refuses_while_held_and_reset_frees() {
        let lock = FutexLock::new();
        assert!(lock_api::RawMutex::try_lock(&lock));
        assert!(!lock_api::RawMutex::try_lock(&lock));
        lock.reset();
        assert!(lock_api::RawMutex::try_lock(&lock));
    }

    #[test]
    fn a_lock_held_at_fork_is_free_in_the_child() {
        static LOCK: ForkMutex<u32> = ForkMutex::new(5);
        let guard = LOCK.lock();
        let code = raw::testing::in_child(|| {
            let first = LOCK.try_lock().map(|g| *g);
            let held = LOCK.lock();
            i32::from(!(first == Some(5) && LOCK.try_lock().is_none() && *held == 5))
        });
        assert_eq!(code, 0);
        assert!(LOCK.try_lock().is_none(), "the parent still holds it");
        drop(guard);
        assert!(LOCK.try_lock().is_some());
    }

    #[test]
    fn contending_threads_lose_no_increment_under_a_fork_lock() {
        static COUNT: ForkMutex<u64> = ForkMutex::new(0);
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..20_000).for_each(|_| *COUNT.lock() += 1)))
            .collect();
        for t in threads {
            t.join().unwrap();
        }
        assert_eq!(*COUNT.lock(), 80_000);
    }
}
