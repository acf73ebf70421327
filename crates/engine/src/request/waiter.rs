//! Waiters: threads that sleep in the kernel for requests that it has on lists of its own.
//!
//! ```text
//!  FUTEX_WAIT -- submitter: gives the wait -> [waiter: asleep on words of ours]
//!                           moves the sleeper to the futexes of the request, one by one
//!                futex(2) of anybody: wakes it, and counts it -> result, then lock, complete
//!                cancel: interrupts it, and waits until it is off the queues -> ECANCELED
//!  WAITID     -- the same with nothing to move
//! ```
//!
//! A wake-up after the submission must find the sleeper, one after a cancel must not, and sleepers are
//! woken in the order they were submitted. So it is not left to the waiter when it begins: it sleeps on
//! a word that nobody else knows, and the submitter moves it with a requeue, which answers whether it
//! was there to be moved. A change of the value since the submitter looked is found behind that:
//!
//! ```text
//!   submitter                            another thread
//!   looks: value as expected
//!                                        changes it, wakes: nobody is there
//!   moves the sleeper
//!   looks again: differs -> takes the sleeper back, EAGAIN
//! ```
//!
//! A waiter gives its result before it wants the ring's lock, so the lock's holder may wait for one:
//! for the sleep before the move, and for the end of a sleep that was interrupted. Who was woken
//! first is the kernel's answer to the waiter: `EINTR`, or a result. Source: 6.18 io_uring/futex.c
//! `io_futex_wait`, `io_futexv_wait`, `__io_futex_cancel`; waitid.c `io_waitid`. What it does not do:
//! keep a place in a queue over a stop of the whole process, which has the kernel begin the call anew.

use super::{Phase, Req};
use crate::engine::Engine;
use crate::host::{Futex, FutexWord, Host, HostThread as _, Identity, ThreadKind};
use crate::opcode::waitid::{finish, tell_child};
use crate::primitive::{AtomicU32, bound};
use crate::resource::personality::Acting;
use crate::ring::{Ring, State};
use crate::slab::Key;
use crate::sync::{Mutex, mutex};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use ringer_uapi::Errno;

/// How long an idle waiter stays \[ns\].
const IDLE_NS: u64 = 5_000_000_000;
/// Looks for a sleeper that is about to sleep, before the looker sleeps in between.
const EAGER_LOOKS: u32 = bound(64, 2);
/// How long then \[ns\].
const PAUSE_NS: u64 = 50_000;

/// How far a wait is; it only grows.
mod stage {
    /// The waiter has not begun.
    pub(super) const GIVEN: u32 = 0;
    /// It is about to sleep on words of ours.
    pub(super) const ASLEEP: u32 = 1;
    /// It sleeps on the futexes themselves: something had the first call begin anew.
    pub(super) const DIRECT: u32 = 2;
    /// There is a result.
    pub(super) const OVER: u32 = 3;
}

/// What a waiter sleeps in.
#[derive(Debug)]
pub(crate) enum Call {
    /// On any of these.
    Futexes {
        /// Words of ours, one for each: not 0 once its sleeper was moved.
        words: Box<[FutexWord]>,
        /// See [`Host::futex_sleep`].
        of: Box<[Futex]>,
        /// See [`Host::futex_sleep`].
        mask: u32,
    },
    /// Until a child changes.
    Child {
        /// waitid(2)'s idtype.
        which: i32,
        /// waitid(2)'s id.
        id: i32,
        /// waitid(2)'s options.
        options: i32,
        /// Where to tell of it.
        info: u64,
    },
}

impl Call {
    /// A wait for futexes that were looked at.
    pub(crate) fn futexes(of: Box<[Futex]>, mask: u32) -> Self {
        let words = of.iter().map(|_| FutexWord::default()).collect();
        Self::Futexes { words, of, mask }
    }
}

/// A request that waits, as its waiter knows it.
#[derive(Debug)]
pub struct Wait<H: Host> {
    call: Call,
    waiter: Arc<Waiter<H>>,
    /// Who its waiter acts for, as the thread did that submitted it.
    acting: Option<Acting<H>>,
    stage: AtomicU32,
    result: Mutex<H, Option<Result<i32, Errno>>>,
}

impl<H: Host> Wait<H> {
    /// Whether it came to something, so that nothing can be taken back.
    pub(crate) fn is_over(&self) -> bool {
        // Acquire: pairs with the Release in `reach`.
        self.stage.load(Acquire) == stage::OVER
    }

    fn reach(&self, host: &H, stage: u32) {
        // Release: what was done up to here, and the result, come before.
        self.stage.store(stage, Release);
        host.unpark(&self.stage, u32::MAX);
    }

    /// Sleeps until it is further than `stage`.
    fn outlast(&self, host: &H, stage: u32) {
        loop {
            // Acquire: pairs with the Release in `reach`.
            let now = self.stage.load(Acquire);
            if now > stage {
                return;
            }
            // Whatever ends the sleep, the stage is looked at.
            let _ = host.park(&self.stage, now, None);
        }
    }

    /// Interrupts its waiter, unless it came to something. What it came to: `ECANCELED`, if nothing
    /// else did. To be called while it is known that the waiter has no other request.
    fn take_back(&self, host: &H) -> Result<i32, Errno> {
        if !self.is_over() {
            let thread = self.waiter.thread.lock().clone();
            if let Some(t) = thread {
                t.interrupt();
            }
        }
        self.outlast(host, stage::DIRECT);
        self.result.lock().unwrap_or(Err(Errno::ECANCELED))
    }

    /// On the waiter: sleeps.
    fn run(&self, host: &H) {
        let res = match &self.call {
            Call::Futexes { words, of, mask } => self.sleep(host, (words, of), *mask),
            Call::Child { which, id, options, info } => {
                finish(host, *info, host.waitid(*which, *id, *options))
            }
        };
        *self.result.lock() = Some(match res {
            Err(Errno::EINTR) => Err(Errno::ECANCELED),
            other => other,
        });
        self.reach(host, stage::OVER);
    }

    fn sleep(
        &self,
        host: &H,
        (words, of): (&[FutexWord], &[Futex]),
        mask: u32,
    ) -> Result<i32, Errno> {
        self.reach(host, stage::ASLEEP);
        let woken = match host.futex_sleep(words, of, mask) {
            Err(Errno::EAGAIN) => {
                // Its place is lost. What was changed since it was taken, it may have been woken for.
                self.reach(host, stage::DIRECT);
                match host.futex_wait(of, mask) {
                    Err(Errno::EAGAIN) => Ok(changed(host, of).unwrap_or(0)),
                    other => other,
                }
            }
            other => other,
        };
        woken.map(|i| first_of(of, i).cast_signed())
    }

    /// On the submitter: makes the sleeper one on the request's futexes.
    ///
    /// # Errors
    /// `EAGAIN`: one had another value meanwhile; `EFAULT`, `EINVAL`: it is no futex.
    fn place(&self, host: &H) -> Result<(), Errno> {
        let Call::Futexes { words, of, .. } = &self.call else { return Ok(()) };
        self.outlast(host, stage::GIVEN);
        for (word, futex) in words.iter().zip(of) {
            if !self.move_one(host, word, *futex)? {
                return Ok(());
            }
            // A call that begins anew finds it.
            word.value.store(1, Relaxed);
        }
        match changed(host, of) {
            Some(_) => Err(Errno::EAGAIN),
            None => Ok(()),
        }
    }

    /// Moves the sleeper on one word, as soon as it is there. False: it sleeps on none any more.
    fn move_one(&self, host: &H, word: &FutexWord, to: Futex) -> Result<bool, Errno> {
        let mut looks = 0;
        while !host.futex_move(word, to)? {
            // Acquire: pairs with the Release in `reach`.
            if self.stage.load(Acquire) > stage::ASLEEP {
                return Ok(false);
            }
            looks += 1;
            if looks < EAGER_LOOKS {
                host.yield_cpu();
            } else {
                // It may have a lower priority than this thread.
                let _ = host.park(&AtomicU32::new(0), 0, Some(PAUSE_NS));
            }
        }
        Ok(true)
    }
}

/// Which of these holds another value than it is waited for with, if any does.
pub(crate) fn changed<H: Host>(host: &H, of: &[Futex]) -> Option<u32> {
    let differs = |f: &Futex| {
        let mut b = [0; 4];
        // What cannot be read any more, nobody can change either.
        host.copy_in(f.addr, &mut b).is_ok() && u32::from_ne_bytes(b) != f.val
    };
    of.iter().position(differs).and_then(|i| u32::try_from(i).ok())
}

/// The place of the first that is the same futex as the `i`th: who is woken there claims the request,
/// and the others count and change nothing (futex.c `io_futexv_claim`). A call tells the last instead.
fn first_of(of: &[Futex], i: u32) -> u32 {
    let is = |f: &Futex, g: &Futex| (f.addr, f.flags) == (g.addr, g.flags);
    let first = of.get(i as usize).and_then(|woken| of.iter().position(|f| is(f, woken)));
    first.map_or(i, |at| at as u32)
}

/// A thread that waits, for one request at a time.
#[derive(Debug)]
struct Waiter<H: Host> {
    identity: Identity,
    /// Filled in by whoever made it, before it has a request.
    thread: Mutex<H, Option<Arc<H::Thread>>>,
    /// Not 0 when there is something to do.
    bell: AtomicU32,
    work: Mutex<H, Option<Work<H>>>,
}

/// A request, and what to do for it.
#[derive(Debug)]
struct Work<H: Host> {
    ring: Arc<Ring<H>>,
    key: Key,
    wait: Arc<Wait<H>>,
}

/// Those that have nothing to do.
#[derive(Debug)]
pub struct Waiters<H: Host> {
    idle: Mutex<H, Vec<Arc<Waiter<H>>>>,
}

impl<H: Host> Default for Waiters<H> {
    fn default() -> Self {
        Self { idle: mutex(Vec::new()) }
    }
}

impl<H: Host> Waiters<H> {
    /// One that acts for the calling thread, made if there is none.
    ///
    /// # Errors
    /// What the host says of a thread.
    fn one(&self, engine: &Engine<H>) -> Result<Arc<Waiter<H>>, Errno> {
        let identity = engine.host().identity();
        let mut idle = self.idle.lock();
        if let Some(at) = idle.iter().rposition(|w| w.identity == identity) {
            return Ok(idle.remove(at));
        }
        drop(idle);
        let (thread, work) = (mutex(None), mutex(None));
        let waiter = Arc::new(Waiter { identity, thread, bell: AtomicU32::new(0), work });
        let (engine, theirs) = (engine.me().ok_or(Errno::ENXIO)?, waiter.clone());
        let host_of = engine.clone();
        let body = Box::new(move || serve(&engine, &theirs));
        let thread = host_of.host().spawn(ThreadKind::Worker, body)?;
        *waiter.thread.lock() = Some(Arc::new(thread));
        Ok(waiter)
    }

    /// The last ring is gone: those that have nothing to do end now.
    pub(crate) fn end_idle(&self, host: &H) {
        let idle = self.idle.lock().clone();
        idle.iter().for_each(|w| w.ring(host, None));
    }

    /// Whether a waiter that has nothing to do may end.
    fn leave(&self, waiter: &Arc<Waiter<H>>) -> bool {
        let mut idle = self.idle.lock();
        let at = idle.iter().position(|w| Arc::ptr_eq(w, waiter));
        at.map(|at| idle.remove(at)).is_some()
    }
}

impl<H: Host> Waiter<H> {
    fn give(&self, host: &H, work: Work<H>) {
        self.ring(host, Some(work));
    }

    /// Has it look for work, and whether it is wanted.
    fn ring(&self, host: &H, work: Option<Work<H>>) {
        let mut place = self.work.lock();
        if work.is_some() {
            *place = work;
        }
        // Relaxed: under the lock of `work`, as it is cleared. What was so before is found after that.
        self.bell.store(1, Relaxed);
        drop(place);
        host.unpark(&self.bell, 1);
    }

    /// The next request; `None`: there was none for long, or the last ring is gone.
    fn next(self: &Arc<Self>, engine: &Engine<H>) -> Option<Work<H>> {
        let mut over = false;
        loop {
            let mut place = self.work.lock();
            self.bell.store(0, Relaxed);
            let work = place.take();
            drop(place);
            if work.is_some() {
                return work;
            }
            // Who is not among the idle any more has a request to come.
            if (over || engine.rings().is_unused()) && engine.waiters().leave(self) {
                return None;
            }
            let slept = engine.host().park(&self.bell, 0, Some(IDLE_NS));
            over = slept == Err(Errno::ETIMEDOUT);
        }
    }
}

/// The body of a waiter.
fn serve<H: Host>(engine: &Arc<Engine<H>>, me: &Arc<Waiter<H>>) {
    if me.identity.is_own() {
        engine.host().set_identity(me.identity);
    }
    while let Some(Work { ring, key, wait }) = me.next(engine) {
        wait.run(engine.host());
        engine.end_wait(&ring, key, &wait);
        drop((ring, wait));
        engine.waiters().idle.lock().push(me.clone());
    }
}

impl<H: Host> Engine<H> {
    /// Lets a request wait; what can be told at once was told.
    pub(crate) fn wait_for(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        mut req: Req<H>,
        call: Call,
    ) {
        let Ok(waiter) = self.waiters().one(self) else {
            // The kernel has no thread that it could lack, only memory.
            return self.complete(ring, st, req, Err(Errno::ENOMEM), 0);
        };
        // Task work ends it from here on, whoever began it.
        req.on_worker = false;
        let (stage, result) = (AtomicU32::new(stage::GIVEN), mutex(None));
        let (theirs, acting) = (waiter.clone(), st.acting.clone());
        let wait = Arc::new(Wait { call, waiter: theirs, acting, stage, result });
        let key = self.park(ring, st, req, Phase::Waiting(wait.clone()));
        waiter.give(self.host(), Work { ring: ring.clone(), key, wait: wait.clone() });
        if let Err(e) = wait.place(self.host()) {
            let res = match wait.take_back(self.host()) {
                Err(Errno::ECANCELED) => Err(e),
                woken => woken,
            };
            if let Some(mut req) = st.reqs.remove(key) {
                req.phase = Phase::Fresh;
                self.complete(ring, st, req, res, 0);
            }
        }
    }

    /// Takes a waiting request out of the call it is in. False: it came to something just now, and its
    /// waiter ends it.
    pub(crate) fn cancel_wait(&self, st: &mut State<H>, key: Key, wait: &Arc<Wait<H>>) -> bool {
        if wait.take_back(self.host()) != Err(Errno::ECANCELED) {
            return false;
        }
        let Some(req) = st.reqs.remove(key) else { return false };
        if let Call::Child { info, .. } = &wait.call {
            // waitid.c `__io_waitid_cancel`: whether it could be told does not matter any more.
            let _ = tell_child(self.host(), *info, None);
        }
        self.cancel_later(st, req);
        true
    }

    /// On the waiter: ends its request, unless a cancel did.
    fn end_wait(&self, ring: &Arc<Ring<H>>, key: Key, wait: &Arc<Wait<H>>) {
        let mut st = ring.state.lock();
        // Nobody finds this waiter by a request from here on, so nobody interrupts it.
        let thread = wait.waiter.thread.lock().clone();
        if let Some(t) = thread {
            t.clear_interrupt();
        }
        let is = |r: &Req<H>| matches!(&r.phase, Phase::Waiting(w) if Arc::ptr_eq(w, wait));
        if !st.reqs.get(key).is_some_and(is) {
            return self.unlock(ring, st);
        }
        let Some(mut req) = st.reqs.remove(key) else { return };
        let res = wait.result.lock().unwrap_or(Err(Errno::ECANCELED));
        req.phase = Phase::Fresh;
        st.may_post = !ring.defers();
        st.acting = wait.acting.clone();
        self.complete(ring, &mut st, req, res, 0);
        if !st.ready.is_empty() {
            // Its completion is out, and counted, before what it leads to runs.
            self.flush(ring, &mut st);
        }
        self.run_ready_in_turns(ring, st);
    }
}
