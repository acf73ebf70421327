//! A thread that carries out what others give it, in the order given.
//!
//! ```text
//!  post:  push the job, bell += 1                serve:  seen = bell
//!         if asleep: wake                                take and run jobs until none is left
//!                                                        asleep = true
//!                                                        sleep while bell == seen
//! ```
//! A job pushed after the last look has changed the bell, so the sleep does not begin. Who rang
//! before `asleep` was set need not wake: all four accesses are in one order.
//!
//! What it does not do: know about descriptors; lose a job; end by itself.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32};
use rust_alloc::boxed::Box;
use rust_alloc::collections::VecDeque;
use rust_alloc::sync::Arc;

use crate::lock::{ForkMutex, Mutex};
use crate::{raw, thread};

/// Something to be done on the clerk's thread.
pub(crate) type Job = Box<dyn FnOnce() + Send + 'static>;

/// The queue of one such thread.
#[derive(Default)]
pub(crate) struct Clerk {
    jobs: ForkMutex<VecDeque<Job>>,
    bell: AtomicU32,
    asleep: AtomicBool,
    tid: AtomicU32,
    stop: AtomicBool,
}

impl core::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Clerk").field("tid", &self.tid).finish_non_exhaustive()
    }
}

/// Where the answer of a [`Clerk::call`] appears.
struct Answer<R> {
    value: Mutex<Option<R>>,
    done: AtomicU32,
}

const PENDING: u32 = 0;
const ASLEEP: u32 = 1;
const DONE: u32 = 2;

impl<R> Answer<R> {
    /// Sleeps until it is there; after a signal it may not be. Does not spin: where it was tried,
    /// the job's thread was often to run on this very CPU.
    fn wait(&self) -> bool {
        // Fails once it is done, or when this is not the first sleep.
        let _ = self.done.compare_exchange(PENDING, ASLEEP, Relaxed, Relaxed);
        let _ = raw::futex_wait(&self.done, ASLEEP, None);
        self.done.load(Acquire) == DONE
    }
}

impl Clerk {
    /// The serving thread's id, 0 before it runs.
    pub(crate) fn tid(&self) -> u32 {
        self.tid.load(Relaxed)
    }

    /// Gives a job away.
    pub(crate) fn post(&self, job: Job) {
        self.jobs.lock().push_back(job);
        self.ring();
    }

    /// Makes the clerk look around.
    pub(crate) fn ring(&self) {
        // Release: pairs with the Acquire in `seen`. SeqCst: see the module's doc.
        self.bell.fetch_add(1, SeqCst);
        if self.asleep.load(SeqCst) {
            raw::futex_wake(&self.bell, 1);
        }
    }

    /// Has `f` done and waits for its answer; does it at once on the clerk's own thread.
    pub(crate) fn call<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> R {
        if self.tid() == thread::tid() {
            return f();
        }
        let answer = Arc::new(Answer { value: Mutex::new(None), done: AtomicU32::new(0) });
        let to = Arc::clone(&answer);
        self.post(Box::new(move || {
            *to.value.lock() = Some(f());
            // Release: pairs with the Acquire below. `to` keeps the word alive for the wake.
            if to.done.swap(DONE, AcqRel) == ASLEEP {
                raw::futex_wake(&to.done, 1);
            }
        }));
        loop {
            if answer.wait()
                && let Some(value) = answer.value.lock().take()
            {
                return value;
            }
        }
    }

    /// What to hand to [`Clerk::rest`] after having looked.
    pub(crate) fn seen(&self) -> u32 {
        self.bell.load(Acquire)
    }

    /// Does everything that is queued.
    pub(crate) fn work(&self) {
        loop {
            // A statement of its own: the lock must be free while the job runs.
            let job = self.jobs.lock().pop_front();
            let Some(job) = job else { return };
            job();
        }
    }

    /// Sleeps until the bell rang after `seen`, or `timeout_ns` passed.
    pub(crate) fn rest(&self, seen: u32, timeout_ns: Option<u64>) {
        self.asleep.store(true, SeqCst);
        let _ = raw::futex_wait(&self.bell, seen, timeout_ns);
        self.asleep.store(false, Relaxed);
    }

    /// Takes the place of the serving thread.
    pub(crate) fn begin(&self) {
        self.tid.store(thread::tid(), Relaxed);
    }

    /// Serves until [`Clerk::stop`].
    pub(crate) fn serve(&self) {
        self.begin();
        while !self.stop.load(Relaxed) {
            let seen = self.seen();
            self.work();
            if !self.stop.load(Relaxed) {
                self.rest(seen, None);
            }
        }
        self.work();
    }

    /// Ends the service, after the jobs that are queued.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Relaxed);
        self.ring();
    }
}
