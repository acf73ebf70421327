//! A ring as a program sees it that neither checks nor believes anything.
//!
//! What it does not do: assert. `ringer_sim::Client` is the well-behaved one.

use crate::scene::Scene;
use ringer_sim::{Memory, Pages, SimHost};
use ringer_uapi::{Cqe, Errno, Params, Sqe};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// `IORING_ENTER_GETEVENTS`.
pub(crate) const GETEVENTS: u32 = 1;
/// `IORING_ENTER_SQ_WAKEUP`.
pub(crate) const WAKEUP: u32 = 2;
/// `IORING_ENTER_EXT_ARG`.
pub(crate) const EXT_ARG: u32 = 8;
/// Setup flags by their bits.
pub(crate) mod setup {
    pub(crate) const IOPOLL: u32 = 1 << 0;
    pub(crate) const SQPOLL: u32 = 1 << 1;
    pub(crate) const CQSIZE: u32 = 1 << 3;
    pub(crate) const CLAMP: u32 = 1 << 4;
    pub(crate) const SUBMIT_ALL: u32 = 1 << 7;
    pub(crate) const COOP_TASKRUN: u32 = 1 << 8;
    pub(crate) const SQE128: u32 = 1 << 10;
    pub(crate) const CQE32: u32 = 1 << 11;
    pub(crate) const SINGLE_ISSUER: u32 = 1 << 12;
    pub(crate) const DEFER_TASKRUN: u32 = 1 << 13;
    pub(crate) const NO_SQARRAY: u32 = 1 << 16;
}

/// See the module's doc.
#[derive(Clone)]
pub(crate) struct RawRing {
    pub(crate) fd: i32,
    pub(crate) pages: Arc<Pages>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) params: Params,
    pub(crate) tail: u32,
    engine: Arc<ringer_engine::Engine<SimHost>>,
}

impl RawRing {
    /// setup with these parameters, and what it wrote back.
    pub(crate) fn make(scene: &Scene, entries: u32, params: &Params) -> Result<Self, Errno> {
        let at = scene.sim.put(&params.to_bytes());
        let engine = scene.sim.engine.clone();
        let fd = engine.setup(entries, at)? as i32;
        let bytes = scene.sim.read(at, Params::SIZE).try_into().map_err(|_| Errno::EFAULT)?;
        let params = Params::from_bytes(&bytes);
        let pages = scene.sim.pages(fd);
        let memory = pages.memory();
        Ok(Self { fd, pages, memory, params, tail: 0, engine })
    }

    /// A word of the rings' region.
    pub(crate) fn load(&self, off: u32) -> u32 {
        self.memory.rings.w32(off as usize).load(Acquire)
    }

    /// Stores one.
    pub(crate) fn store(&self, off: u32, value: u32) {
        self.memory.rings.w32(off as usize).store(value, Release);
    }

    /// Writes an entry at our tail, wherever that is, and moves the tail.
    pub(crate) fn push(&mut self, sqe: &Sqe) {
        let g = &self.memory.geometry;
        let slot = self.tail & (g.sq_entries - 1);
        let base = slot as usize * g.sqe_size as usize;
        for (i, word) in sqe.to_words().into_iter().enumerate() {
            self.memory.sqes.w64(base + 8 * i).store(word, Relaxed);
        }
        if let Some(array) = g.array {
            self.store(array + 4 * slot, slot);
        }
        self.tail = self.tail.wrapping_add(1);
        self.store(self.params.sq_off.tail, self.tail);
    }

    /// Entries that are neither taken nor overwritten.
    pub(crate) fn queued(&self) -> u32 {
        self.tail.wrapping_sub(self.load(self.params.sq_off.head))
    }

    /// Whether another entry fits.
    pub(crate) fn has_room(&self) -> bool {
        self.queued() < self.memory.geometry.sq_entries
    }

    /// io_uring_enter(2).
    pub(crate) fn enter(
        &self,
        submit: u32,
        min: u32,
        flags: u32,
        (arg, size): (u64, u64),
    ) -> Result<u32, Errno> {
        self.engine.enter(self.fd, submit, min, flags, arg, size).map(|n| n as u32)
    }

    /// Takes one completion.
    pub(crate) fn take(&self) -> Option<Cqe> {
        let (g, off) = (&self.memory.geometry, &self.params.cq_off);
        let head = self.load(off.head);
        if head == self.load(off.tail) {
            return None;
        }
        let slot = (head & (g.cq_entries - 1)) as usize;
        let base = off.cqes as usize + slot * g.cqe_size as usize;
        let user_data = self.memory.rings.w64(base).load(Relaxed);
        let word = self.memory.rings.w64(base + 8).load(Relaxed);
        self.store(off.head, head.wrapping_add(1));
        Some(Cqe { user_data, res: word as i32, flags: (word >> 32) as u32, big: [0; 2] })
    }

    /// Requests that have not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.engine.in_flight(self.pages.id).unwrap_or(0)
    }
}
