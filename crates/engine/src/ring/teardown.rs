//! The end of a ring: after its last descriptor and its last mapping.
//!
//! ```text
//!  last descriptor gone -> somebody maps it? -> try again on a tick
//!                          nobody: cancel all -> workers, transfers done? -> polled I/O -> buffers -> files
//! ```
//!
//! Calls under way and the pages are looked at under the lock, and who comes to the lock later finds
//! the ring dying. Else a call could come in between and sleep for ever:
//!
//! ```text
//!   caller                               host: last descriptor gone
//!   finds the ring
//!                                        nobody is in it
//!   visits it; lock; submit; unlock
//!                                        lock; probe: unmapped, dying; unlock
//!   lock; waits for what nobody posts
//! ```
//!
//! The order is the kernel's (6.18 io_uring.c `io_ring_exit_work`, `io_ring_ctx_free`), visible as
//! tag CQEs in memory the caller gave. What it does not do: notice the last close (the host does).

use super::{Ring, State};
use crate::engine::Engine;
use crate::host::{Host, HostRing, RingId};
use crate::request::Phase;
use crate::request::aio::Transfers;
use crate::resource::personality::Personalities;
use crate::slab::Key;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Acquire;
use ringer_uapi::Errno;

impl<H: Host> Engine<H> {
    /// The host saw the ring's last descriptor go. True: the ring is torn down. False: something
    /// still maps it or runs in it; call again on a tick.
    pub fn ring_closed(&self, id: RingId) -> bool {
        let Some(ring) = self.ring(id) else { return true };
        let mut st = ring.state.lock();
        // Under the lock: who counts itself after this look finds the ring dying, and who did before
        // is seen, though it may not hold the lock now (it sleeps, or is between two steps).
        // Acquire: pairs with the Release of a leaving call.
        if self.rings().is_visited(id) || ring.indices.load(Acquire) > 0 {
            return false;
        }
        if !st.dying {
            if !ring.user_memory {
                if ring.mem.still_mapped() {
                    return false;
                }
                st.unmapped = true;
            }
            self.start_dying(&ring, &mut st);
        }
        // Each time, as the kernel does: a worker may have begun its call since, or have started what
        // follows in its chain.
        self.cancel_started(&mut st);
        self.reap_transfers(&ring, &mut st);
        // Who was woken just now ends its request by itself.
        let woken = st.reqs.iter().any(|(_, r)| matches!(r.phase, Phase::Waiting(_)));
        if st.running > 0 || woken || !st.aio.is_idle() {
            self.unlock(&ring, st);
            return false;
        }
        self.finish_dying(&ring, &mut st);
        self.unlock(&ring, st);
        // Who came meanwhile is on the way out.
        self.try_forget_ring(id)
    }

    /// A number of the ring is about to be closed, perhaps the one that its callers have: what its
    /// requests got by now is posted first. The kernel's ring has it as soon as it comes, by task work
    /// of a thread that needs no descriptor (6.18 io_uring.c `io_req_normal_work_add`); who looks after
    /// the ring here may be a tick away, and a caller that comes later finds the number closed.
    pub fn ring_closing(&self, id: RingId) {
        let Some(ring) = self.ring(id) else { return };
        let mut st = ring.state.lock();
        // A DEFER_TASKRUN ring posts only in its owner's calls, and who leads is there already.
        if !(ring.defers() || st.dying || st.leader != 0) {
            if st.polled > 0 {
                self.poll_events(&ring, &mut st);
            }
            self.run_timers(&ring, &mut st);
            self.commit(&ring, &mut st);
        }
        self.unlock(&ring, st);
    }

    /// A ring whose installation failed. Its name is still its maker's to forget.
    pub(crate) fn abandon(&self, ring: &Arc<Ring<H>>) {
        let mut st = ring.state.lock();
        st.unmapped = !ring.user_memory;
        self.start_dying(ring, &mut st);
        self.finish_dying(ring, &mut st);
        self.unlock(ring, st);
    }

    fn start_dying(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        st.dying = true;
        st.may_post = true;
        if let Some(sp) = &ring.sqpoll {
            sp.stop(self.host(), ring);
        }
        self.end_lent(st);
        self.cancel_started(st);
        self.end_ahead(ring, st);
        self.end_held(st);
        while let Some(req) = st.drained.pop_front() {
            self.complete(ring, st, *req, Err(Errno::ECANCELED), 0);
        }
        self.end_ready(ring, st);
        self.commit(ring, st);
    }

    /// Ends what was to start: with its own error, if it has one.
    fn end_ready(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        while let Some(req) = st.ready.pop_front() {
            let e = req.failed.unwrap_or(Errno::ECANCELED);
            self.complete(ring, st, *req, Err(e), 0);
        }
    }

    /// Cancels what waits, and interrupts what runs on workers.
    fn cancel_started(&self, st: &mut State<H>) {
        let keys: Vec<Key> =
            st.reqs.iter().filter(|(_, r)| r.head.is_none()).map(|(k, _)| k).collect();
        for key in keys {
            self.cancel_one(st, key);
        }
    }

    fn finish_dying(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        st.may_post = true;
        self.run_deferred(ring, st);
        st.outbox.clear();
        self.end_ready(ring, st);
        if let Some(bufs) = st.bufs.take() {
            for node in bufs.into_nodes() {
                self.put_buf(ring, st, node);
            }
        }
        if let Some(files) = st.files.take() {
            self.drop_files(ring, st, files);
        }
        self.commit(ring, st);
        if st.fates.adopted {
            self.policy().forgets(ring.id);
        }
        st.eventfd = None;
        st.personalities = Personalities::default();
        st.aio = Transfers::default();
        st.poller = None;
    }
}
