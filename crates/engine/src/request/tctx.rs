//! What a thread that uses io_uring brings along: how many workers it may have, and on which CPUs.
//!
//! ```text
//!  Users -- Tctx of thread 7 -- limits (bounded, unbounded), CPUs --> pools of its own (iowq)
//!    |        ^ set by a call of thread 7, or of another on a ring that 7 uses (State::tasks)
//!    '----- Tctx of thread 8 -- nothing was set --> the pools that all share
//! ```
//!
//! A submission thread has one that its rings share. Source: 6.18 io_uring/tctx.c, io-wq.c
//! `io_wq_max_workers`, `io_wq_cpu_affinity`. What it does not do: notice the end of a thread that made
//! and registered no ring (one that gets its number later has its limits).

use crate::engine::Engine;
use crate::host::Host;
use crate::ring::{Ring, State};
use crate::sync::{Mutex, mutex};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32};
use ringer_uapi::Errno;
use ringer_uapi::bytes::{put_u32, u32_at};

/// Workers for what is bounded, and for the rest.
pub(crate) type Limits = [u32; 2];

/// See the module's doc.
#[derive(Debug)]
pub struct Tctx<H: Host> {
    limits: [AtomicU32; 2],
    /// As a bit each; `None`: those of the thread.
    cpus: Mutex<H, Option<Vec<u64>>>,
    /// Something was set.
    own: AtomicBool,
}

impl<H: Host> Tctx<H> {
    /// tctx.c `io_init_wq_offload`: from the first ring that it uses.
    pub(crate) fn new(host: &H, sq_entries: u32) -> Self {
        let bounded = sq_entries.min(4 * host.cpus());
        let limits = [AtomicU32::new(bounded), AtomicU32::new(host.nproc())];
        Self { limits, cpus: mutex(None), own: AtomicBool::new(false) }
    }

    /// Whether its workers are its own.
    pub(crate) fn is_own(&self) -> bool {
        self.own.load(Relaxed)
    }

    pub(crate) fn limit(&self, bounded: bool) -> u32 {
        let [of_bounded, rest] = &self.limits;
        if bounded { of_bounded } else { rest }.load(Relaxed)
    }

    /// Takes limits that are not 0, and answers those before (io-wq.c `io_wq_max_workers`).
    fn set_limits(&self, host: &H, new: Limits) -> Limits {
        let before = [self.limit(true), self.limit(false)];
        for (limit, new) in self.limits.iter().zip(new).filter(|(_, new)| *new != 0) {
            limit.store(new.min(host.nproc()), Relaxed);
            self.own.store(true, Relaxed);
        }
        before
    }

    fn set_cpus(&self, cpus: Option<Vec<u64>>) {
        *self.cpus.lock() = cpus;
        self.own.store(true, Relaxed);
    }

    /// Puts the calling thread, a new worker, where it belongs.
    pub(crate) fn place(&self, host: &H) {
        if let Some(cpus) = &*self.cpus.lock() {
            host.run_on(cpus);
        }
    }
}

/// See the module's doc.
#[derive(Debug)]
pub struct Users<H: Host> {
    all: Mutex<H, BTreeMap<u32, Arc<Tctx<H>>>>,
    /// Anybody ever set anything.
    any_own: AtomicBool,
}

impl<H: Host> Default for Users<H> {
    fn default() -> Self {
        Self { all: mutex(BTreeMap::new()), any_own: AtomicBool::new(false) }
    }
}

impl<H: Host> Users<H> {
    fn get(&self, tid: u32) -> Option<Arc<Tctx<H>>> {
        self.all.lock().get(&tid).cloned()
    }

    /// A thread ended.
    pub(crate) fn forget(&self, tid: u32) {
        self.all.lock().remove(&tid);
    }

    /// The one that work of thread `tid` on a ring is done for, if it has workers of its own.
    pub(crate) fn owner(&self, ring: &Ring<H>, tid: u32) -> Option<Arc<Tctx<H>>> {
        if !self.any_own.load(Relaxed) {
            return None;
        }
        let tctx = ring.sqpoll.as_ref().map(|sp| sp.tctx().clone()).or_else(|| self.get(tid));
        tctx.filter(|t| t.is_own())
    }
}

impl<H: Host> Engine<H> {
    /// The calling thread uses a ring (tctx.c `__io_uring_add_tctx_node`).
    #[cold]
    pub(crate) fn join(&self, st: &mut State<H>) {
        let tid = self.host().tid();
        st.task = tid;
        let Err(at) = st.tasks.binary_search(&tid) else { return };
        st.tasks.insert(at, tid);
        let tctx = self
            .users()
            .all
            .lock()
            .entry(tid)
            .or_insert_with(|| Arc::new(Tctx::new(self.host(), st.geo.sq_entries)))
            .clone();
        if st.iowq_limits != [0; 2] {
            tctx.set_limits(self.host(), st.iowq_limits);
        }
    }

    /// The one that a registration on a ring is about.
    fn tctx_of(&self, ring: &Ring<H>) -> Option<Arc<Tctx<H>>> {
        let of_thread = ring.sqpoll.as_ref().map(|sp| sp.tctx().clone());
        of_thread.or_else(|| self.users().get(self.host().tid()))
    }

    /// `IORING_REGISTER_IOWQ_AFF`: `len` bytes of a mask; more than the kernel's masks have do not
    /// count.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` the thread has not used io_uring, or a CPU is not in its cpuset.
    pub(crate) fn iowq_aff(&self, ring: &Ring<H>, arg: u64, len: u32) -> Result<u32, Errno> {
        self.tctx_of(ring).ok_or(Errno::EINVAL)?;
        let mut bytes = vec![0u8; self.host().cpu_mask_len()];
        let len = bytes.len().min(len as usize);
        if let Some(bytes) = bytes.get_mut(..len) {
            self.host().copy_in(arg, bytes)?;
        }
        let word = |b: &[u8]| b.iter().rev().fold(0, |w, b| w << 8 | u64::from(*b));
        let asked: Vec<u64> = bytes.chunks(8).map(word).collect();
        // io-wq.c `io_wq_cpu_affinity`.
        if self.host().beyond_cpuset(&asked) {
            return Err(Errno::EINVAL);
        }
        self.set_iowq_aff(ring, Some(asked))
    }

    /// The same, and `IORING_UNREGISTER_IOWQ_AFF`.
    pub(crate) fn set_iowq_aff(
        &self,
        ring: &Ring<H>,
        cpus: Option<Vec<u64>>,
    ) -> Result<u32, Errno> {
        let tctx = self.tctx_of(ring).ok_or(Errno::EINVAL)?;
        tctx.set_cpus(cpus);
        self.users().any_own.store(true, Relaxed);
        Ok(0)
    }

    /// `IORING_REGISTER_IOWQ_MAX_WORKERS`: also for every thread that uses the ring, or will.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` a number that is negative.
    pub(crate) fn iowq_max_workers(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        arg: u64,
    ) -> Result<u32, Errno> {
        let mut b = [0u8; 8];
        self.host().copy_in(arg, &mut b)?;
        let new = [u32_at(&b, 0), u32_at(&b, 4)];
        if new.iter().any(|n| *n > i32::MAX as u32) {
            return Err(Errno::EINVAL);
        }
        for (limit, new) in st.iowq_limits.iter_mut().zip(new).filter(|(_, new)| *new != 0) {
            *limit = new;
            self.users().any_own.store(true, Relaxed);
        }
        // Who has not used io_uring has no workers.
        let before = self.tctx_of(ring).map_or([0; 2], |t| t.set_limits(self.host(), new));
        put_u32(&mut b, 0, before[0]);
        put_u32(&mut b, 4, before[1]);
        self.host().copy_out(arg, &b)?;
        if ring.sqpoll.is_none() {
            for tctx in st.tasks.iter().filter_map(|tid| self.users().get(*tid)) {
                tctx.set_limits(self.host(), st.iowq_limits);
            }
        }
        Ok(0)
    }
}
