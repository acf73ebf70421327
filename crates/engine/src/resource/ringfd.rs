//! Registered rings: what a thread names by a small index instead of by a descriptor.
//!
//! ```text
//!  thread --word--> Task { id, [Option<ring>; 16] }      gone with the thread, not inherited
//!                              '-- ring.indices, HostRing::keep: lives on without a descriptor
//! ```
//!
//! A thread has a [`Task`] from its first ring, submission or registration on, as the kernel's has
//! `current->io_uring`: before that an index is `EINVAL`, after it `EBADF` where nothing is. Source:
//! 6.18 io_uring/tctx.c `io_ringfd_register`, `io_ringfd_unregister`, register.c
//! `io_uring_register_get_file`. What it does not do: see threads end (the host does).

use super::regdef::Call;
use crate::engine::Engine;
use crate::host::{Host, HostRing, RingId};
use crate::ring::Ring;
use crate::sync::{Mutex, mutex};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use ringer_uapi::Errno;
use ringer_uapi::bytes::{put_u32, u32_at, u64_at};

/// `IO_RINGFD_REG_MAX`.
const RINGS_MAX: u32 = 16;
/// Any index that is free, the first one.
pub(crate) const FIRST_FREE: Range<u32> = 0..RINGS_MAX;
/// `sizeof(struct io_uring_rsrc_update)` \[bytes\].
const UPDATE_SIZE: usize = 16;
/// An entry's offset that lets the engine choose.
const ANY: u32 = u32::MAX;

/// See the module's doc.
#[derive(Debug)]
pub(crate) struct Tasks<H: Host> {
    all: Mutex<H, Vec<Task<H>>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Task<H: Host> {
    /// What its thread's word says.
    id: u64,
    rings: [Option<Arc<Ring<H>>>; RINGS_MAX as usize],
}

impl<H: Host> Default for Tasks<H> {
    fn default() -> Self {
        Self { all: mutex(Vec::new()), next: AtomicU64::new(1) }
    }
}

impl<H: Host> Engine<H> {
    /// Notes that the calling thread uses io_uring (tctx.c `__io_uring_add_tctx_node`).
    #[inline]
    pub(crate) fn become_task(&self) -> u64 {
        match self.host().thread_word() {
            0 => self.new_task(),
            id => id,
        }
    }

    #[cold]
    fn new_task(&self) -> u64 {
        let id = self.tasks().next.fetch_add(1, Relaxed);
        self.host().set_thread_word(id);
        id
    }

    /// The ring that the calling thread has registered at an index.
    ///
    /// # Errors
    /// `EINVAL`: no such index, or a thread that never used io_uring. `EBADF`: nothing is there.
    pub(crate) fn registered_ring(&self, index: i32) -> Result<RingId, Errno> {
        let id = self.host().thread_word();
        let index = u32::try_from(index).ok().filter(|i| *i < RINGS_MAX).ok_or(Errno::EINVAL)?;
        if id == 0 {
            return Err(Errno::EINVAL);
        }
        let all = self.tasks().all.lock();
        let task = all.iter().find(|t| t.id == id).ok_or(Errno::EBADF)?;
        task.rings.get(index as usize).and_then(Option::as_ref).map(|r| r.id).ok_or(Errno::EBADF)
    }

    /// Puts a ring at the first free index of those, and keeps it alive from then on.
    ///
    /// # Errors
    /// `EBUSY`: none of them is free. What the host says of one more reference.
    pub(crate) fn add_index(&self, ring: &Arc<Ring<H>>, within: Range<u32>) -> Result<u32, Errno> {
        let id = self.become_task();
        // Before the host's reference: a last close that is seen now finds the count.
        ring.indices.fetch_add(1, AcqRel);
        if let Err(e) = ring.mem.keep() {
            ring.indices.fetch_sub(1, AcqRel);
            return Err(e);
        }
        let mut all = self.tasks().all.lock();
        let at = all.iter().position(|t| t.id == id).unwrap_or(all.len());
        if at == all.len() {
            all.push(Task { id, rings: Default::default() });
        }
        let rings = all.get_mut(at).map_or(&mut [][..], |t| &mut t.rings);
        for index in within {
            if let Some(place @ None) = rings.get_mut(index as usize) {
                *place = Some(ring.clone());
                return Ok(index);
            }
        }
        drop(all);
        let_go(ring);
        Err(Errno::EBUSY)
    }

    /// Empties an index of the calling thread's, which may hold nothing.
    fn remove_index(&self, index: u32) {
        let id = self.host().thread_word();
        let mut all = self.tasks().all.lock();
        let task = all.iter_mut().find(|t| t.id == id);
        let ring = task.and_then(|t| t.rings.get_mut(index as usize)).and_then(Option::take);
        drop(all);
        if let Some(ring) = ring {
            let_go(&ring);
        }
    }

    /// The calling thread ends: to be told by the host, for a thread that has a word.
    pub fn thread_ended(&self) {
        let id = self.host().thread_word();
        let mut all = self.tasks().all.lock();
        let task = all.iter().position(|t| t.id == id).map(|at| all.swap_remove(at));
        drop(all);
        self.users().forget(self.host().tid());
        task.into_iter().flat_map(|t| t.rings).flatten().for_each(|ring| let_go(&ring));
    }

    /// REGISTER_RING_FDS: how many entries were done, or the error of the first. Each entry's index is
    /// written back.
    ///
    /// # Errors
    /// `EINVAL`: no entries or more than there are indices; of an entry: a reserved word, no such
    /// index. `EFAULT`; `EBADF`, `EOPNOTSUPP` of its descriptor; `EBUSY`.
    pub(super) fn register_ring_fds(&self, c: &Call<'_, '_, H>) -> Result<u32, Errno> {
        if c.nr == 0 || c.nr > RINGS_MAX {
            return Err(Errno::EINVAL);
        }
        self.become_task();
        super::register::each(c.nr, |i| self.register_ring_fd(entry_at(c, i)))
    }

    fn register_ring_fd(&self, at: u64) -> Result<(), Errno> {
        let mut b = [0u8; UPDATE_SIZE];
        self.host().copy_in(at, &mut b)?;
        if u32_at(&b, 4) != 0 {
            return Err(Errno::EINVAL);
        }
        let within = match u32_at(&b, 0) {
            ANY => FIRST_FREE,
            index if index < RINGS_MAX => index..index + 1,
            _ => return Err(Errno::EINVAL),
        };
        let fd = u64_at(&b, 8) as u32;
        let id = self.host().ring_of(fd.cast_signed())?;
        let ring = self.rings().visit(id).ok_or(Errno::EOPNOTSUPP)?;
        let index = self.add_index(&ring, within)?;
        put_u32(&mut b, 0, index);
        self.host().copy_out(at, &b).inspect_err(|_| self.remove_index(index))
    }

    /// UNREGISTER_RING_FDS: how many entries were done, or the error of the first. An index that holds
    /// nothing counts.
    ///
    /// # Errors
    /// `EINVAL`: no entries or more than there are indices; of an entry: a descriptor, a reserved word,
    /// no such index. `EFAULT`.
    pub(super) fn unregister_ring_fds(&self, c: &Call<'_, '_, H>) -> Result<u32, Errno> {
        if c.nr == 0 || c.nr > RINGS_MAX {
            return Err(Errno::EINVAL);
        }
        if self.host().thread_word() == 0 {
            return Ok(0);
        }
        super::register::each(c.nr, |i| {
            let mut b = [0u8; UPDATE_SIZE];
            self.host().copy_in(entry_at(c, i), &mut b)?;
            let index = u32_at(&b, 0);
            if u32_at(&b, 4) != 0 || u64_at(&b, 8) != 0 || index >= RINGS_MAX {
                return Err(Errno::EINVAL);
            }
            self.remove_index(index);
            Ok(())
        })
    }
}

fn entry_at<H: Host>(c: &Call<'_, '_, H>, i: u32) -> u64 {
    c.arg.wrapping_add(UPDATE_SIZE as u64 * u64::from(i))
}

/// A ring has an index less; without any and without a descriptor it ends, as the host will say.
fn let_go<H: Host>(ring: &Ring<H>) {
    ring.indices.fetch_sub(1, AcqRel);
    ring.mem.let_go();
}
