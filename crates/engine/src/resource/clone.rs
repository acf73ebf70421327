//! `IORING_REGISTER_CLONE_BUFFERS` (since 6.12): registered buffers of one ring for another.
//!
//! ```text
//!  source    | 0 | 1 | 2 | 3 |              src_off 1, nr 2
//!                \   \
//!  before    | a | b | c |                  dst_off 1, DST_REPLACE: b and c go, with their tags
//!  after     | a | 1'| 2'|                  a clone has no tag
//! ```
//! Two rings are two locks. As the kernel does, the ring lets go of its own, then takes both in one
//! order for all, and looks again at what may have changed meanwhile.
//!
//! Source: 6.18 io_uring/rsrc.c `io_register_clone_buffers`, `io_clone_buffers`, `lock_two_rings`. What
//! it does not do: know of rings of other processes.

use super::regdef::Call;
use super::rsrc::BufTable;
use crate::engine::Engine;
use crate::host::Host;
use crate::ring::{Ring, State};
use crate::support::opflags::{CLONE_ACCEPTED, DST_REPLACE, SRC_REGISTERED};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use ringer_uapi::bytes::{all_zero, u32_at};
use ringer_uapi::{Errno, REG_BUFFERS_MAX};

/// `struct io_uring_clone_buffers`, read.
#[derive(Clone, Copy, Debug)]
struct Range {
    replaces: bool,
    src_off: u32,
    dst_off: u32,
    /// 0: all of the source's.
    nr: u32,
}

impl Range {
    /// The slots of the source and of the target, for tables of these sizes: (first there, first here,
    /// how many).
    fn slots(self, src_len: usize, dst_len: usize) -> Result<(usize, usize, usize), Errno> {
        if self.nr == 0 && (self.src_off != 0 || self.dst_off != 0) {
            return Err(Errno::EINVAL);
        }
        if dst_len > 0 && !self.replaces {
            return Err(Errno::EBUSY);
        }
        let src_len = src_len as u32;
        if src_len == 0 {
            return Err(Errno::ENXIO);
        }
        let nr = if self.nr == 0 { src_len } else { self.nr };
        if nr > src_len {
            return Err(Errno::EINVAL);
        }
        let end = nr.checked_add(self.src_off).ok_or(Errno::EOVERFLOW)?;
        if end > src_len {
            return Err(Errno::EOVERFLOW);
        }
        let end = nr.checked_add(self.dst_off).ok_or(Errno::EOVERFLOW)?;
        if end > REG_BUFFERS_MAX {
            return Err(Errno::EINVAL);
        }
        Ok((self.src_off as usize, self.dst_off as usize, nr as usize))
    }
}

/// A clone that needs another ring's lock.
#[derive(Debug)]
pub(super) struct Clone<H: Host> {
    from: Arc<Ring<H>>,
    range: Range,
}

impl<H: Host> Engine<H> {
    /// Does it, or leaves it in `call.clone` for when the ring's lock is free.
    pub(super) fn clone_buffers(&self, call: &mut Call<'_, '_, H>) -> Result<u32, Errno> {
        if call.arg == 0 || call.nr != 1 {
            return Err(Errno::EINVAL);
        }
        let mut b = [0u8; 32];
        self.host().copy_in(call.arg, &mut b)?;
        let (src_fd, flags) = (u32_at(&b, 0) as i32, u32_at(&b, 4));
        if flags & !CLONE_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let range = Range {
            replaces: flags & DST_REPLACE != 0,
            src_off: u32_at(&b, 8),
            dst_off: u32_at(&b, 12),
            nr: u32_at(&b, 16),
        };
        if !range.replaces && call.st.bufs.is_some() {
            return Err(Errno::EBUSY);
        }
        if !all_zero(b.get(20..).unwrap_or(&[])) {
            return Err(Errno::EINVAL);
        }
        let from = self.visit(src_fd, flags & SRC_REGISTERED != 0)?.clone();
        if !Arc::ptr_eq(&from, call.ring) {
            call.clone = Some(Clone { from, range });
            return Ok(0);
        }
        let table = call.st.bufs.as_ref();
        let new = cloned(table, table, range)?;
        self.replace_buffers(call.ring, call.st, new);
        Ok(0)
    }

    /// Clones from another ring; no lock is held.
    pub(super) fn clone_between(
        &self,
        ring: &Arc<Ring<H>>,
        Clone { from, range }: &Clone<H>,
    ) -> Result<u32, Errno> {
        // The smaller name first, whoever clones from whom.
        let (there, mut here);
        if from.id < ring.id {
            there = from.state.lock();
            here = ring.state.lock();
        } else {
            here = ring.state.lock();
            there = from.state.lock();
        }
        here.may_post = true;
        let owner = from.issuer.load(Relaxed);
        let new = if there.dying {
            // Its last descriptor was closed since it was looked up.
            Err(Errno::EBADF)
        } else if owner != 0 && owner != self.host().tid() {
            Err(Errno::EEXIST)
        } else if from.user != ring.user {
            Err(Errno::EINVAL)
        } else {
            cloned(there.bufs.as_ref(), here.bufs.as_ref(), *range)
        };
        // Nothing was done with the source.
        drop(there);
        let done = new.map(|table| {
            self.replace_buffers(ring, &mut here, table);
            0
        });
        self.commit(ring, &mut here);
        self.unlock(ring, here);
        done
    }

    fn replace_buffers(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, new: BufTable) {
        // Those that stay are in both.
        for node in st.bufs.replace(new).into_iter().flat_map(BufTable::into_nodes) {
            self.put_buf(ring, st, node);
        }
    }
}

/// The table that a clone comes to.
fn cloned(src: Option<&BufTable>, dst: Option<&BufTable>, range: Range) -> Result<BufTable, Errno> {
    let len = |t: Option<&BufTable>| t.map_or(0, BufTable::len);
    let (from, to, nr) = range.slots(len(src), len(dst))?;
    let none = BufTable::default();
    Ok(dst.unwrap_or(&none).with_clones(src.unwrap_or(&none), from, to, nr))
}
