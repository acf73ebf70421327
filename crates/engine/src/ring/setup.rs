//! `io_uring_setup(2)`: check, size, make memory, start the submission thread, install.
//!
//! Order of checks: 6.18 io_uring.c `io_uring_setup`, `io_uring_sanitise_params`,
//! `io_uring_fill_params`, then, with the memory there, `io_sq_offload_create`.

use super::sqpoll::SqData;
use super::{Ring, SqPoll, State};
use crate::engine::Engine;
use crate::host::{Host, RingId, RingSpec};
use crate::resource::ringfd::FIRST_FREE as FIRST_FREE_INDEX;
use crate::stats;
use crate::support::rings::{FEATURES_REPORTED, SETUP_ACCEPTED};
use crate::support::{Place, refusal};
use crate::trace::Call;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use ringer_ring::Geometry;
use ringer_uapi::flags::Setup;
use ringer_uapi::{CQ_ENTRIES_MAX, Errno, Params, SQ_ENTRIES_MAX};

fn check_flags(f: Setup) -> Result<(), Errno> {
    let has = |x| f.contains(x);
    let taskrun = Setup::COOP_TASKRUN | Setup::TASKRUN_FLAG | Setup::DEFER_TASKRUN;
    let wrong = has(Setup::SQPOLL) && f.intersects(taskrun)
        || has(Setup::TASKRUN_FLAG) && !f.intersects(Setup::COOP_TASKRUN | Setup::DEFER_TASKRUN)
        || has(Setup::REGISTERED_FD_ONLY) && !has(Setup::NO_MMAP)
        || has(Setup::HYBRID_IOPOLL) && !has(Setup::IOPOLL)
        || has(Setup::CQE32 | Setup::CQE_MIXED)
        || has(Setup::DEFER_TASKRUN) && !has(Setup::SINGLE_ISSUER);
    if wrong { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Entry counts as powers of two.
pub(super) fn sizes(entries: u32, p: &Params, f: Setup) -> Result<(u32, u32), Errno> {
    let clamp = f.contains(Setup::CLAMP);
    let bound = |n: u32, max: u32| match n {
        0 => Err(Errno::EINVAL),
        n if n > max && !clamp => Err(Errno::EINVAL),
        n => Ok(n.min(max).next_power_of_two()),
    };
    let sq = bound(entries, SQ_ENTRIES_MAX)?;
    if !f.contains(Setup::CQSIZE) {
        return Ok((sq, 2 * sq));
    }
    let cq = bound(p.cq_entries, CQ_ENTRIES_MAX)?;
    if cq < sq {
        return Err(Errno::EINVAL);
    }
    // io_uring.c `rings_size`: a wide completion has two slots.
    let room = if f.contains(Setup::CQE_MIXED) { 2 } else { 1 };
    if cq < room { Err(Errno::EOVERFLOW) } else { Ok((sq, cq)) }
}

/// Where everything lies in rings of these sizes.
pub(super) fn lay_out((sq, cq): (u32, u32), f: Setup) -> Geometry {
    Geometry::new(
        sq,
        cq,
        f.contains(Setup::SQE128),
        f.contains(Setup::CQE32),
        !f.contains(Setup::NO_SQARRAY),
    )
}

impl<H: Host> Engine<H> {
    /// `io_uring_setup(2)`; `params` is the user address of `struct io_uring_params`. Returns the
    /// descriptor.
    ///
    /// # Errors
    /// `EFAULT` params or user memory; `EINVAL` reserved fields, flags, sizes, alignment, CPU;
    /// `EOVERFLOW` no room for a wide completion; `ENXIO` bad `wq_fd`, or its thread ends; `ENOMEM`,
    /// `EMFILE`, `ENFILE`.
    pub fn setup(&self, entries: u32, params: u64) -> Result<usize, Errno> {
        let made = self.setup_ring(entries, params);
        let ring = made.map_or(0, |(_, id)| id.0);
        let result = made.map(|(fd, _)| fd as usize);
        self.trace_call(|| Call::Setup { entries, flags: self.flags_of(params), ring }, result);
        result
    }

    /// The flags as they stand in the application's memory, for a trace.
    fn flags_of(&self, params: u64) -> u32 {
        let mut bytes = [0u8; Params::SIZE];
        let copied = self.host().copy_in(params, &mut bytes);
        copied.map_or(0, |()| Params::from_bytes(&bytes).flags)
    }

    fn setup_ring(&self, entries: u32, params: u64) -> Result<(i32, RingId), Errno> {
        let mut bytes = [0u8; Params::SIZE];
        self.host().copy_in(params, &mut bytes)?;
        let mut p = Params::from_bytes(&bytes);
        if p.resv != [0; 3] {
            return Err(Errno::EINVAL);
        }
        if p.flags & !SETUP_ACCEPTED != 0 {
            self.note_refused(|count| refusal::of_flags(Place::Setup, p.flags, count));
            return Err(Errno::EINVAL);
        }
        let flags = Setup::from_bits_truncate(p.flags);
        check_flags(flags)?;
        let (sq, cq) = sizes(entries, &p, flags)?;
        let user_memory =
            flags.contains(Setup::NO_MMAP).then_some((p.cq_off.user_addr, p.sq_off.user_addr));
        let geometry = lay_out((sq, cq), flags);
        let id = self.rings().reserve()?;
        let spec = RingSpec { id, geometry, user_memory };
        let fd = self.make(flags, &spec, (params, &mut p)).inspect_err(|_| {
            self.forget_ring(id);
        })?;
        let counters = self.host().counters();
        stats::add(counters, stats::RINGS, 1);
        stats::or(counters, stats::SETUP_FLAGS, u64::from(flags.bits()));
        Ok((fd, id))
    }

    /// Makes and installs a ring whose flags and sizes were checked.
    fn make(
        &self,
        flags: Setup,
        spec: &RingSpec,
        (addr, p): (u64, &mut Params),
    ) -> Result<i32, Errno> {
        let geo = spec.geometry;
        let (mem, pages) = self.host().ring_create(spec)?;
        let sqpoll = self.check_sqpoll(flags, p, geo.sq_entries)?;
        let mut state = State::new(pages, geo);
        state.fates.replayed = self.host().replays(spec.id);
        state.fates.adopted = self.policy().adopts(spec.id) || state.fates.replayed;
        state.init_pages();
        let user = self.host().memory_user();
        let ring = Arc::new(Ring::new((spec.id, flags), (mem, state), sqpoll, user));
        if flags.contains(Setup::SINGLE_ISSUER) && !flags.contains(Setup::R_DISABLED) {
            ring.issuer.store(self.host().tid(), Relaxed);
        }
        p.sq_entries = geo.sq_entries;
        p.cq_entries = geo.cq_entries;
        p.features = FEATURES_REPORTED;
        // Where there is no array its place keeps what the caller wrote (`io_uring_fill_params`).
        let array = p.sq_off.array;
        p.sq_off = geo.sq_offsets();
        if flags.contains(Setup::NO_SQARRAY) {
            p.sq_off.array = array;
        }
        p.cq_off = geo.cq_offsets();
        if let Some((rings, sqes)) = spec.user_memory {
            p.cq_off.user_addr = rings;
            p.sq_off.user_addr = sqes;
        }
        // io_uring_create: the parameters are written back before the descriptor exists.
        self.host().copy_out(addr, &p.to_bytes())?;
        if let Some(sp) = &ring.sqpoll {
            sp.start(self, &ring)?;
        }
        self.join(&mut ring.state.lock());
        self.rings().publish(ring.clone());
        self.name(&ring).inspect_err(|_| self.abandon(&ring))
    }

    /// Gives a new ring a descriptor, or an index of the calling thread's only.
    fn name(&self, ring: &Arc<Ring<H>>) -> Result<i32, Errno> {
        self.become_task();
        if ring.setup.contains(Setup::REGISTERED_FD_ONLY) {
            return self.add_index(ring, FIRST_FREE_INDEX).map(u32::cast_signed);
        }
        self.host().ring_install(&ring.mem)
    }

    /// sqpoll.c `io_sq_offload_create`: who is attached does not choose a CPU.
    fn check_sqpoll(&self, flags: Setup, p: &Params, sq: u32) -> Result<Option<SqPoll<H>>, Errno> {
        let attached = self.check_attached(flags, p.wq_fd.cast_signed())?;
        if !flags.contains(Setup::SQPOLL) {
            let stray = flags.contains(Setup::SQ_AFF);
            return if stray { Err(Errno::EINVAL) } else { Ok(None) };
        }
        if let Some(data) = attached.filter(|data| data.acts_for_caller(self.host())) {
            return Ok(Some(SqPoll::new(data, p.sq_thread_idle)));
        }
        let cpu = flags.contains(Setup::SQ_AFF).then_some(p.sq_thread_cpu);
        if let Some(c) = cpu
            && !self.host().cpu_allowed(c)
        {
            return Err(Errno::EINVAL);
        }
        let data = Arc::new(SqData::new(self.host(), cpu, sq));
        Ok(Some(SqPoll::new(data, p.sq_thread_idle)))
    }

    /// The submission thread that an ATTACH_WQ ring is to share (sqpoll.c `io_attach_sq_data`): none
    /// without SQPOLL, nor with another process' ring, which `io_get_sq_data` takes for no error.
    fn check_attached(&self, flags: Setup, fd: i32) -> Result<Option<Arc<SqData<H>>>, Errno> {
        if !flags.contains(Setup::ATTACH_WQ) {
            return Ok(None);
        }
        let target = match self.host().ring_of(fd) {
            Ok(id) => self.ring(id).ok_or(Errno::ENXIO)?,
            Err(Errno::EBADF) => return Err(Errno::ENXIO),
            Err(Errno::EOWNERDEAD) => return Ok(None),
            Err(_) => return Err(Errno::EINVAL),
        };
        if !flags.contains(Setup::SQPOLL) {
            return Ok(None);
        }
        let sqpoll = target.sqpoll.as_ref().ok_or(Errno::EINVAL)?;
        Ok(Some(sqpoll.data().clone()))
    }
}
