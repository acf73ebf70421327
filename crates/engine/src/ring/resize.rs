//! Rings of other sizes under the same descriptor (`IORING_REGISTER_RESIZE_RINGS`).
//!
//! ```text
//!   old pages                           new pages
//!   SQ, head to tail    -- copied -->   the same positions, another mask; the index array is empty
//!   CQ, head to tail    -- copied -->   the same positions, another mask
//!   flags and counters  -- copied -->   with NEED_WAKEUP and TASKRUN: "have a look"
//!        |
//!        '-- let go: who maps them still has them, and nobody else
//! ```
//!
//! It happens under the ring's lock, as everything that looks at the pages, and both `State::pages` and
//! what the host shows at the descriptor change before it is let go: a completion of a worker, a message
//! or a timer comes before, and is copied, or after, and finds the new pages. The backlog stays where it
//! is, also where there is room for it now.
//!
//! Source: 6.18 register.c `io_register_resize_rings`, io_uring.c `io_uring_fill_params`, `rings_size`.
//! What it does not do: tell the application where the index array is; as the kernel, it leaves that
//! word of the parameters as it was.

use super::setup::{lay_out, sizes};
use super::{Pages, Ring, State};
use crate::engine::Engine;
use crate::host::{Host, HostPages, HostRing};
use alloc::sync::Arc;
use ringer_ring::{CqView, Geometry, Map, SqView};
use ringer_uapi::flags::{Setup, SqRing};
use ringer_uapi::{CqOffsets, Errno, Params, SqOffsets};

/// What the parameters may ask for (`RESIZE_FLAGS`).
const TAKEN: Setup = Setup::CQSIZE.union(Setup::CLAMP);
/// What stays as it was set up (`COPY_FLAGS`).
const INHERITED: Setup = Setup::NO_SQARRAY
    .union(Setup::SQE128)
    .union(Setup::CQE32)
    .union(Setup::NO_MMAP)
    .union(Setup::CQE_MIXED);

impl<H: Host> Engine<H> {
    /// `IORING_REGISTER_RESIZE_RINGS`; `arg` is the user address of `struct io_uring_params`.
    ///
    /// # Errors
    /// `EINVAL` a ring without DEFER_TASKRUN, other flags than CQSIZE and CLAMP, sizes, alignment;
    /// `EFAULT` parameters, user memory; `EOVERFLOW` what waits in the old rings has no room in the new
    /// ones; `ENOMEM`.
    pub(crate) fn resize_rings(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        arg: u64,
    ) -> Result<u32, Errno> {
        if !ring.defers() {
            return Err(Errno::EINVAL);
        }
        if st.unmapped {
            // The last descriptor was closed between the caller's look at it and our lock.
            return Err(Errno::EBADF);
        }
        let mut bytes = [0u8; Params::SIZE];
        self.host().copy_in(arg, &mut bytes)?;
        let mut p = Params::from_bytes(&bytes);
        if p.flags & !TAKEN.bits() != 0 {
            return Err(Errno::EINVAL);
        }
        p.flags |= ring.setup.intersection(INHERITED).bits();
        let geo = written(&mut p)?;
        let user = ring.user_memory.then_some((p.cq_off.user_addr, p.sq_off.user_addr));
        // The sizes and the parameters are out before there is a place for the SQEs.
        let tell = |rings: &Map| {
            geo.write_sizes(rings);
            self.host().copy_out(arg, &p.to_bytes())
        };
        let pages = ring.mem.remake(&geo, user, tell)?;
        // What is written is visible, so that the tail says how much is to be taken along.
        self.commit(ring, st);
        take_over(st, (&pages, &geo))?;
        ring.mem.show(&pages);
        st.geo = geo;
        st.pages = pages;
        Ok(0)
    }
}

/// The sizes that the parameters ask for; writes into them what they are told.
fn written(p: &mut Params) -> Result<Geometry, Errno> {
    let flags = Setup::from_bits_truncate(p.flags);
    let geo = lay_out(sizes(p.sq_entries, p, flags)?, flags);
    let (sq, cq) = (p.sq_off, p.cq_off);
    // Addresses are told back where they are used.
    let user = |at: u64| if flags.contains(Setup::NO_MMAP) { at } else { 0 };
    p.sq_entries = geo.sq_entries;
    p.cq_entries = geo.cq_entries;
    p.sq_off = SqOffsets { array: sq.array, user_addr: user(sq.user_addr), ..geo.sq_offsets() };
    p.cq_off = CqOffsets { user_addr: user(cq.user_addr), ..geo.cq_offsets() };
    Ok(geo)
}

/// Copies into new pages what waits in those of the ring.
fn take_over<H: Host>(st: &State<H>, (pages, geo): (&Pages<H>, &Geometry)) -> Result<(), Errno> {
    let (sq, tail) = (SqView::new(pages.rings(), pages.sqes(), geo), st.sq_pages().tail());
    if tail.wrapping_sub(st.sq_head) > geo.sq_entries {
        return Err(Errno::EOVERFLOW);
    }
    sq.take_over(&st.sq_pages(), (st.sq_head, tail));
    let (cq, head) = (CqView::new(pages.rings(), geo), st.cq_pages().head());
    if st.cq.published.wrapping_sub(head) > geo.cq_entries {
        return Err(Errno::EOVERFLOW);
    }
    cq.take_over(&st.cq_pages(), (head, st.cq.published));
    // What the application may miss on the old pages: it is to look, at worst for nothing.
    sq.set_flags(SqRing::NEED_WAKEUP | SqRing::TASKRUN);
    Ok(())
}
