//! The application's side of a ring: what liburing does, in safe Rust.

use crate::{Memory, Pages, Sim, SimHost};
use ringer_engine::Engine;
use ringer_uapi::flags::{CqeFlags, Setup};
use ringer_uapi::{Cqe, Errno, Params, Sqe};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const GETEVENTS: u32 = 1;
const EXT_ARG: u32 = 8;
/// `IORING_CQE_F_MORE`.
const MORE: u32 = 2;
const REGISTERED_FD_ONLY: u32 = 1 << 15;

/// A ring as its application sees it.
#[derive(Debug)]
pub struct Client {
    /// The descriptor, or the index that it has instead.
    pub fd: i32,
    /// What it shows.
    pub pages: Arc<Pages>,
    /// What of it is mapped.
    pub memory: Arc<Memory>,
    /// What setup wrote back.
    pub params: Params,
    engine: Arc<Engine<SimHost>>,
    tail: u32,
    submitted: u32,
}

impl Client {
    /// A ring with these setup flags.
    ///
    /// # Errors
    /// setup's.
    pub fn try_new(sim: &Sim, entries: u32, params: Params) -> Result<Self, Errno> {
        let addr = sim.put(&params.to_bytes());
        let fd = sim.engine.setup(entries, addr)? as i32;
        let bytes = sim.read(addr, Params::SIZE);
        let bytes: [u8; Params::SIZE] = bytes.try_into().map_err(|_| Errno::EFAULT)?;
        let params = Params::from_bytes(&bytes);
        let indexed = params.flags & REGISTERED_FD_ONLY != 0;
        let pages = if indexed { sim.newest_pages() } else { sim.pages(fd) };
        let engine = sim.engine.clone();
        let memory = pages.memory();
        Ok(Self { fd, pages, memory, params, engine, tail: 0, submitted: 0 })
    }

    /// A ring with these setup flags, which must work.
    pub fn new(sim: &Sim, entries: u32, flags: u32) -> Self {
        Self::try_new(sim, entries, Params { flags, ..Params::default() }).expect("a ring")
    }

    /// Queues an entry, with whatever index the array should hold for it.
    pub fn push_at(&mut self, sqe: &Sqe, index: Option<u32>) {
        let g = &self.memory.geometry;
        let slot = self.tail & (g.sq_entries - 1);
        let base = slot as usize * g.sqe_size as usize;
        for (i, w) in sqe.to_words().into_iter().enumerate() {
            self.memory.sqes.w64(base + 8 * i).store(w, Relaxed);
        }
        if let Some(array) = g.array {
            let at = array as usize + 4 * slot as usize;
            self.memory.rings.w32(at).store(index.unwrap_or(slot), Relaxed);
        }
        self.tail = self.tail.wrapping_add(1);
        self.memory.rings.w32(self.params.sq_off.tail as usize).store(self.tail, Release);
    }

    /// Queues entries.
    pub fn push(&mut self, sqes: impl IntoIterator<Item = Sqe>) {
        for sqe in sqes {
            let full = self.tail.wrapping_sub(self.sq_head()) >= self.memory.geometry.sq_entries;
            assert!(!full, "the submission queue is full");
            self.push_at(&sqe, None);
        }
    }

    /// io_uring_enter(2).
    ///
    /// # Errors
    /// The call's.
    pub fn enter(&self, submit: u32, min: u32, flags: u32) -> Result<u32, Errno> {
        self.engine.enter(self.fd, submit, min, flags, 0, 0).map(|n| n as u32)
    }

    /// Maps what the descriptor shows now, after a resize; what is queued gets its place in the index
    /// array, which is new.
    pub fn remap(&mut self) {
        self.memory = self.pages.memory();
        let g = &self.memory.geometry;
        let Some(array) = g.array else { return };
        let mut at = self.sq_head();
        while at != self.tail {
            let slot = at & (g.sq_entries - 1);
            self.memory.rings.w32(array as usize + 4 * slot as usize).store(slot, Relaxed);
            at = at.wrapping_add(1);
        }
    }

    /// Entries that the engine has not taken yet.
    pub fn queued(&self) -> u32 {
        self.tail.wrapping_sub(self.sq_head())
    }

    /// Submits what was queued and waits for `min` completions, through interrupts; returns what
    /// was submitted.
    pub fn submit_and_wait(&mut self, min: u32) -> u32 {
        let n = self.tail.wrapping_sub(self.submitted);
        let flags = if min > 0 { GETEVENTS } else { 0 };
        let taken = self.enter(n, min, flags).or_else(eintr).expect("enter");
        self.submitted = self.sq_head();
        taken
    }

    /// Submits what was queued.
    pub fn submit(&mut self) -> u32 {
        self.submit_and_wait(0)
    }

    /// Waits for `min` completions and takes all that are there; an interrupted wait goes on.
    pub fn wait(&mut self, min: u32) -> Vec<Cqe> {
        let mut all = self.reap();
        while (all.len() as u32) < min {
            self.enter(0, min - all.len() as u32, GETEVENTS).or_else(eintr).expect("wait");
            all.extend(self.reap());
        }
        all
    }

    /// Waits at most `ns` with a timeout argument.
    ///
    /// # Errors
    /// `ETIME`, `EINTR`.
    pub fn wait_ns(&self, sim: &Sim, min: u32, ns: u64) -> Result<usize, Errno> {
        let arg = sim.words(&[0, 0, sim.timespec(ns)]);
        self.engine.enter(self.fd, 0, min, GETEVENTS | EXT_ARG, arg, 24)
    }

    /// Runs what is pending without waiting.
    pub fn poke(&self) {
        self.enter(0, 0, GETEVENTS).expect("enter");
    }

    /// Queues, submits, waits for `min` and takes what is there.
    pub fn run(&mut self, sqes: impl IntoIterator<Item = Sqe>, min: u32) -> Vec<Cqe> {
        self.push(sqes);
        self.submit();
        self.wait(min)
    }

    /// How many slots of completions can be seen: on a CQE_MIXED ring there are fillers among them, and
    /// some completions have two.
    pub fn ready(&self) -> u32 {
        let tail = self.memory.rings.w32(self.params.cq_off.tail as usize).load(Acquire);
        tail.wrapping_sub(self.memory.rings.w32(self.params.cq_off.head as usize).load(Relaxed))
    }

    /// Takes one completion.
    pub fn take(&self) -> Option<Cqe> {
        let word = self.memory.rings.w32(self.params.cq_off.head as usize);
        loop {
            let head = word.load(Relaxed);
            let (cqe, slots) = (self.ready() > 0).then(|| self.at(head))?;
            word.store(head.wrapping_add(slots), Release);
            if !self.is_filler(&cqe) {
                return Some(cqe);
            }
        }
    }

    /// The completion at a position, and how many slots it has.
    fn at(&self, position: u32) -> (Cqe, u32) {
        let (g, rings) = (&self.memory.geometry, &self.memory.rings);
        let slot = (position & (g.cq_entries - 1)) as usize;
        let base = self.params.cq_off.cqes as usize + slot * g.cqe_size as usize;
        let w = rings.w64(base + 8).load(Relaxed);
        let (user_data, flags) = (rings.w64(base).load(Relaxed), (w >> 32) as u32);
        let mut cqe = Cqe { user_data, res: w as i32, flags, big: [0; 2] };
        let two = self.is_mixed() && flags & CqeFlags::F_32.bits() != 0;
        if two || g.cqe_size == 32 {
            cqe.big = [16, 24].map(|off| rings.w64(base + off).load(Relaxed));
        }
        (cqe, if two { 2 } else { 1 })
    }

    fn is_mixed(&self) -> bool {
        self.params.flags & Setup::CQE_MIXED.bits() != 0
    }

    fn is_filler(&self, cqe: &Cqe) -> bool {
        self.is_mixed() && cqe.flags & CqeFlags::SKIP.bits() != 0
    }

    /// The CQ tail as the engine published it.
    pub fn cq_tail(&self) -> u32 {
        self.memory.rings.w32(self.params.cq_off.tail as usize).load(Acquire)
    }

    /// The user_data of what is there, which stays there.
    pub fn peek(&self) -> impl Iterator<Item = u64> {
        self.peek_results().map(|(user_data, _)| user_data)
    }

    /// user_data and result of what is there, which stays there.
    pub fn peek_results(&self) -> impl Iterator<Item = (u64, i32)> {
        self.peek_all().map(|c| (c.user_data, c.res))
    }

    /// The user_data of requests whose last completion is there.
    pub fn peek_ended(&self) -> impl Iterator<Item = u64> {
        self.peek_all().filter(|c| c.flags & MORE == 0).map(|c| c.user_data)
    }

    fn peek_all(&self) -> impl Iterator<Item = Cqe> {
        let mut head = self.memory.rings.w32(self.params.cq_off.head as usize).load(Relaxed);
        let tail = head.wrapping_add(self.ready());
        let all = std::iter::from_fn(move || {
            let (cqe, slots) = (head != tail).then(|| self.at(head))?;
            head = head.wrapping_add(slots);
            Some(cqe)
        });
        all.filter(|c| !self.is_filler(c))
    }

    /// How many completions are there.
    pub fn completions(&self) -> usize {
        self.peek_results().count()
    }

    /// Takes all that are there.
    pub fn reap(&self) -> Vec<Cqe> {
        std::iter::from_fn(|| self.take()).collect()
    }

    /// The SQ head as the engine published it.
    pub fn sq_head(&self) -> u32 {
        self.memory.rings.w32(self.params.sq_off.head as usize).load(Acquire)
    }

    /// The SQ flags word.
    pub fn sq_flags(&self) -> u32 {
        self.memory.rings.w32(self.params.sq_off.flags as usize).load(Relaxed)
    }

    /// Entries that the index array pointed nowhere.
    pub fn dropped(&self) -> u32 {
        self.memory.rings.w32(self.params.sq_off.dropped as usize).load(Relaxed)
    }

    /// Requests that have not ended.
    pub fn in_flight(&self) -> usize {
        self.engine.in_flight(self.pages.id).unwrap_or(0)
    }
}

/// An interrupted wait submitted nothing.
fn eintr(e: Errno) -> Result<u32, Errno> {
    if e == Errno::EINTR { Ok(0) } else { Err(e) }
}
