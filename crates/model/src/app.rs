//! The application's side of a ring: what liburing does, with its orderings.

use crate::host::{Machine, World};
use crate::ring::Pages;
use loom::sync::atomic::fence;
use ringer_engine::Engine;
use ringer_uapi::{Cqe, Errno, Params, Sqe};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// `IORING_ENTER_GETEVENTS`.
pub const GETEVENTS: u32 = 1;
/// `IORING_ENTER_SQ_WAKEUP`.
pub const SQ_WAKEUP: u32 = 2;
/// `IORING_ENTER_SQ_WAIT`.
pub const SQ_WAIT: u32 = 4;
const EXT_ARG: u32 = 8;
const CQSIZE: u32 = 8;
const RESIZE_RINGS: u32 = 33;
const NEED_WAKEUP: u32 = 1;
const CQ_OVERFLOW: u32 = 2;

/// A ring as its application sees it; clones are other threads of it.
#[derive(Clone, Debug)]
pub struct App {
    /// The engine of the process.
    pub engine: Arc<Engine<Machine>>,
    /// The descriptor.
    pub fd: i32,
    /// The pages.
    pub pages: Arc<Pages>,
}

impl App {
    /// A machine with one ring of `entries` entries and these parameters.
    ///
    /// # Panics
    /// If the parameters are refused.
    pub fn new(machine: Machine, entries: u32, params: Params) -> Self {
        Self::of(Engine::new(machine), entries, params)
    }

    /// One more ring of the same process.
    ///
    /// # Panics
    /// If the parameters are refused.
    pub fn beside(&self, entries: u32, params: Params) -> Self {
        Self::of(self.engine.clone(), entries, params)
    }

    fn of(engine: Arc<Engine<Machine>>, entries: u32, params: Params) -> Self {
        let world = engine.host().world.clone();
        let addr = world.put(&params.to_bytes());
        let fd = engine.setup(entries, addr).expect("parameters of a model") as i32;
        let pages = world.pages(fd);
        Self { engine, fd, pages }
    }

    fn word(&self, off: u32) -> &loom::sync::atomic::AtomicU32 {
        self.pages.rings.w32(off as usize)
    }

    /// Queues an entry; one thread at a time does (it is the only one that stores the tail).
    pub fn push(&self, sqe: &Sqe) {
        let (g, at) = (&self.pages.geometry, self.pages.geometry.sq_offsets());
        let tail = self.word(at.tail).load(Relaxed);
        let slot = tail & (g.sq_entries - 1);
        for (i, w) in sqe.to_words().into_iter().enumerate() {
            self.pages.sqes.w64(slot as usize * g.sqe_size as usize + 8 * i).store(w, Relaxed);
        }
        if let Some(array) = g.array {
            self.word(array + 4 * slot).store(slot, Relaxed);
        }
        self.word(at.tail).store(tail.wrapping_add(1), Release);
    }

    /// Whether the queue has room for another entry (`io_uring_sq_space_left`).
    pub fn has_room(&self) -> bool {
        let at = self.pages.geometry.sq_offsets();
        let tail = self.word(at.tail).load(Relaxed);
        tail.wrapping_sub(self.word(at.head).load(Acquire)) < self.pages.geometry.sq_entries
    }

    /// Whether the submission thread must be woken (`sq_ring_needs_enter`).
    pub fn needs_wakeup(&self) -> bool {
        fence(SeqCst);
        self.flags() & NEED_WAKEUP != 0
    }

    /// Whether completions wait in the engine (`cq_ring_needs_flush`).
    pub fn overflowed(&self) -> bool {
        self.flags() & CQ_OVERFLOW != 0
    }

    fn flags(&self) -> u32 {
        self.word(self.pages.geometry.sq_offsets().flags).load(Relaxed)
    }

    /// io_uring_enter(2).
    ///
    /// # Errors
    /// The call's.
    pub fn enter(&self, submit: u32, min: u32, flags: u32) -> Result<usize, Errno> {
        self.engine.enter(self.fd, submit, min, flags, 0, 0)
    }

    /// Waits at most `ns` for `min` completions.
    ///
    /// # Errors
    /// `ETIME`.
    pub fn wait_ns(&self, min: u32, ns: u64) -> Result<usize, Errno> {
        let at = self.world().put(&[0u64.to_ne_bytes(), ns.to_ne_bytes()].concat());
        let arg = [0u64, 0, at].map(u64::to_ne_bytes).concat();
        let arg = self.world().put(&arg);
        self.engine.enter(self.fd, 0, min, GETEVENTS | EXT_ARG, arg, 24)
    }

    /// `IORING_REGISTER_RESIZE_RINGS`, and maps what there is then.
    ///
    /// # Panics
    /// If the sizes are refused.
    pub fn resize(&mut self, sq_entries: u32, cq_entries: u32) {
        let asked = Params { sq_entries, cq_entries, flags: CQSIZE, ..Params::default() };
        let arg = self.world().put(&asked.to_bytes());
        assert_eq!(self.engine.register(self.fd, RESIZE_RINGS, arg, 1), Ok(0));
        self.pages = self.world().pages(self.fd);
    }

    /// Submits one entry that is queued already.
    ///
    /// # Panics
    /// If the engine does not take it.
    pub fn submit(&self) {
        assert_eq!(self.enter(1, 0, 0), Ok(1));
    }

    /// Takes one completion, if there is one.
    pub fn take(&self) -> Option<Cqe> {
        let at = self.pages.geometry.cq_offsets();
        let head = self.word(at.head).load(Relaxed);
        // Acquire and Release: as `io_uring_peek_cqe` and `io_uring_cq_advance`.
        if self.word(at.tail).load(Acquire) == head {
            return None;
        }
        let slot = head & (self.pages.geometry.cq_entries - 1);
        let base = at.cqes as usize + 16 * slot as usize;
        let user_data = self.pages.rings.w64(base).load(Relaxed);
        let word = self.pages.rings.w64(base + 8).load(Relaxed);
        self.word(at.head).store(head.wrapping_add(1), Release);
        let (res, flags) = (word as u32 as i32, (word >> 32) as u32);
        Some(Cqe { user_data, res, flags, big: [0; 2] })
    }

    /// Waits for `n` completions and takes them, as (user_data, res) in order.
    ///
    /// # Panics
    /// If the wait fails.
    pub fn wait(&self, n: usize) -> Vec<(u64, i32)> {
        let mut all = Vec::new();
        loop {
            while let Some(c) = self.take() {
                all.push((c.user_data, c.res));
            }
            if all.len() >= n {
                return all;
            }
            self.enter(0, 1, GETEVENTS).expect("a wait");
        }
    }

    /// Another thread's futex(2): how many it woke.
    pub fn wake_futex(&self, word: u64, n: u32) -> u32 {
        self.world().sleepers.wake(word, n)
    }

    /// Changes a word of the application's memory.
    pub fn store(&self, word: u64, value: u32) {
        self.world().store(word, value);
    }

    /// What there is in the machine.
    pub fn world(&self) -> &World {
        &self.engine.host().world
    }

    /// Ends the model's machine: threads of the engine that sleep leave. To be called when the
    /// application's own are joined.
    pub fn end(&self) {
        self.engine.host().world.end();
    }
}
