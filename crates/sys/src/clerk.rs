//! A thread that carries out what others give it, in the order given.
//!
//! ```text
//!  post:  push the job, bell += 1                serve:  seen = bell
//!         if asleep: wake                                take and run jobs until none is left
//!                                                        asleep = true
//!                                                        sleep while bell == seen
//! ```
//! A job pushed after the last look has changed the bell, so the sleep does not begin. Who finds
//! `asleep` not set need not wake, and the lost wake-up that this could be is prevented by a full
//! fence on each side, so that one of them sees the other:
//!
//! ```text
//!   poster                                clerk
//!                                         takes the last job, finds none
//!   push; bell = seen + 1
//!   fence                                 asleep = true
//!   asleep? no: do not wake               fence (in futex(2))
//!                                         sleep while bell == seen: differs -> looks again
//! ```
//!
//! What it does not do: know about descriptors; lose a job; end by itself.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use rust_alloc::boxed::Box;
use rust_alloc::collections::VecDeque;
use rust_alloc::sync::Arc;

use crate::lock::{ForkMutex, Mutex};
use crate::primitive::{AtomicBool, AtomicU32, fence, futex_wait, futex_wake, tid};

/// Something to be done on the clerk's thread.
pub type Job = Box<dyn FnOnce() + Send + 'static>;

/// The queue of one such thread.
#[derive(Default)]
pub struct Clerk {
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
        let _ = futex_wait(&self.done, ASLEEP, None);
        self.done.load(Relaxed) == DONE
    }
}

impl Clerk {
    /// The serving thread's id, 0 before it runs.
    pub fn tid(&self) -> u32 {
        self.tid.load(Relaxed)
    }

    /// Gives a job away.
    pub fn post(&self, job: Job) {
        self.jobs.lock().push_back(job);
        self.ring();
    }

    /// Makes the clerk look around.
    pub fn ring(&self) {
        // Release: pairs with the Acquire in `seen`. The fence: with the one of futex(2) in
        // `rest`, see the module's doc.
        self.bell.fetch_add(1, Release);
        fence(SeqCst);
        if self.asleep.load(Relaxed) {
            futex_wake(&self.bell, 1);
        }
    }

    /// Has `f` done and waits for its answer; does it at once on the clerk's own thread.
    pub fn call<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> R {
        if self.tid() == tid() {
            return f();
        }
        let answer = Arc::new(Answer { value: Mutex::new(None), done: AtomicU32::new(0) });
        let to = Arc::clone(&answer);
        self.post(Box::new(move || {
            *to.value.lock() = Some(f());
            // Relaxed, here and in `wait`: the lock above orders the value. `to` keeps the word alive
            // for the wake.
            if to.done.swap(DONE, Relaxed) == ASLEEP {
                futex_wake(&to.done, 1);
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
    pub fn seen(&self) -> u32 {
        self.bell.load(Acquire)
    }

    /// Does everything that is queued.
    pub fn work(&self) {
        loop {
            // A statement of its own: the lock must be free while the job runs.
            let job = self.jobs.lock().pop_front();
            let Some(job) = job else { return };
            job();
        }
    }

    /// Sleeps until the bell rang after `seen`, or `timeout_ns` passed.
    pub fn rest(&self, seen: u32, timeout_ns: Option<u64>) {
        // Relaxed: futex(2) has a full barrier before its look at the bell, which is the fence here.
        self.asleep.store(true, Relaxed);
        let _ = futex_wait(&self.bell, seen, timeout_ns);
        self.asleep.store(false, Relaxed);
    }

    /// Takes the place of the serving thread.
    pub fn begin(&self) {
        self.tid.store(tid(), Relaxed);
    }

    /// Serves until [`Clerk::stop`].
    pub fn serve(&self) {
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
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
        self.ring();
    }
}
