//! The futex locks and the clerk of the real host.

use lock_api::{RawMutex, RawRwLock};
use loom::cell::UnsafeCell;
use ringer_model::{check, spawn};
use ringer_sys::clerk::Clerk;
use ringer_sys::lock::{ForkLock, FutexLock, SharedLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Something that a lock of type `L` guards, as the model checker sees it.
struct Guarded<L> {
    lock: L,
    value: UnsafeCell<u32>,
}

// SAFETY: `value` is only touched under the lock, which is what the model checks.
unsafe impl<L> Sync for Guarded<L> {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl<L> Send for Guarded<L> {}

impl<L: RawMutex> Guarded<L> {
    fn new() -> Arc<Self> {
        Arc::new(Self { lock: L::INIT, value: UnsafeCell::new(0) })
    }

    fn add(&self) {
        self.lock.lock();
        // SAFETY: the lock is held; the model checker fails the model if that means nothing.
        self.value.with_mut(|v| unsafe { *v += 1 });
        // SAFETY: taken above.
        unsafe { self.lock.unlock() };
    }
}

/// `threads` threads add under the lock: nobody sleeps for ever, and no two are in at once.
fn contend<L: RawMutex + 'static>(threads: u32) {
    let g = Guarded::<L>::new();
    let all: Vec<_> = (1..threads)
        .map(|_| {
            let g = g.clone();
            spawn(move || g.add())
        })
        .collect();
    g.add();
    for t in all {
        t.join().expect("a thread of the model");
    }
    g.lock.lock();
    // SAFETY: the lock is held.
    assert_eq!(g.value.with(|v| unsafe { *v }), threads);
    // SAFETY: taken above.
    unsafe { g.lock.unlock() };
}

#[test]
fn an_unlock_does_not_miss_a_waiter_about_to_sleep() {
    check(|| contend::<FutexLock>(2));
}

#[test]
fn of_two_waiters_both_are_woken() {
    check(|| contend::<FutexLock>(3));
}

#[test]
fn an_unlock_of_a_fork_lock_does_not_miss_a_waiter_about_to_sleep() {
    check(|| contend::<ForkLock>(2));
}

#[test]
fn of_two_waiters_for_a_fork_lock_both_are_woken() {
    check(|| contend::<ForkLock>(3));
}

#[test]
fn a_job_given_as_the_clerk_falls_asleep_is_done() {
    check(|| {
        let clerk = Arc::new(Clerk::default());
        let (theirs, done) = (clerk.clone(), Arc::new(AtomicU32::new(0)));
        let serving = spawn(move || theirs.serve());
        for _ in 0..2 {
            let done = done.clone();
            clerk.post(Box::new(move || {
                done.fetch_add(1, Relaxed);
            }));
        }
        clerk.stop();
        serving.join().expect("the clerk");
        assert_eq!(done.load(Relaxed), 2);
    });
}

#[test]
fn an_answer_is_not_missed_by_a_caller_about_to_sleep() {
    check(|| {
        let clerk = Arc::new(Clerk::default());
        let theirs = clerk.clone();
        let serving = spawn(move || theirs.serve());
        assert_eq!(clerk.call(|| 7), 7);
        clerk.stop();
        serving.join().expect("the clerk");
    });
}

/// Looks at the value while the lock is shared.
fn look(g: &Guarded<SharedLock>) -> u32 {
    g.lock.lock_shared();
    // SAFETY: the lock is shared; the model checker fails the model if somebody changes it now.
    let seen = g.value.with(|v| unsafe { *v });
    // SAFETY: shared above.
    unsafe { g.lock.unlock_shared() };
    seen
}

#[test]
fn who_has_a_shared_lock_alone_is_alone_and_leaves_nobody_asleep() {
    check(|| {
        let new = || Guarded { lock: SharedLock::new(), value: UnsafeCell::new(0) };
        let g = Arc::new(new());
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let g = g.clone();
                spawn(move || look(&g))
            })
            .collect();
        let alone = g.lock.try_lock_exclusive();
        if alone {
            // SAFETY: nobody else is in; the model checker fails the model otherwise.
            g.value.with_mut(|v| unsafe { *v = 7 });
            // SAFETY: taken above.
            unsafe { g.lock.unlock_exclusive() };
        }
        for t in readers {
            let seen = t.join().expect("a thread of the model");
            assert!(seen == 0 || alone && seen == 7);
        }
        assert!(!g.lock.is_locked());
        assert_eq!(look(&g), if alone { 7 } else { 0 });
    });
}

#[test]
fn who_finds_a_shared_lock_free_sees_what_was_done_under_it() {
    check(|| {
        let g = Arc::new(Guarded { lock: SharedLock::new(), value: UnsafeCell::new(0) });
        let theirs = g.clone();
        let visitor = spawn(move || {
            theirs.lock.lock_shared();
            // SAFETY: only this thread changes it, while it shares the lock.
            theirs.value.with_mut(|v| unsafe { *v = 3 });
            // SAFETY: shared above.
            unsafe { theirs.lock.unlock_shared() };
        });
        if g.lock.try_lock_exclusive() {
            // SAFETY: nobody else is in.
            let seen = g.value.with(|v| unsafe { *v });
            assert!(seen == 0 || seen == 3);
            // SAFETY: taken above.
            unsafe { g.lock.unlock_exclusive() };
        }
        visitor.join().expect("a thread of the model");
    });
}
