//! What a ring is doing, for who watches: read off its state now and then, not written by requests.
//!
//! So a request costs nothing for it, what is lost or not traced counts too, and a ring in which nothing
//! happens any more is told of. What it does not do: wait. A ring that is busy at each of a few tries is
//! left out this time.

use crate::engine::Engine;
use crate::host::Host;
use crate::request::Phase;
use crate::ring::{Ring, State};

/// Tries for a ring's lock.
const TRIES: usize = 32;
/// Steps between two tries: a microsecond, as long as a short batch holds it.
const STEPS: usize = 64;

/// What a ring is doing. Counts that do not fit are the largest number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingState {
    /// Its name.
    pub ring: u64,
    /// Requests that have not ended.
    pub in_flight: u32,
    /// Those of them that wait for their file to be ready.
    pub polled: u32,
    /// Those of them that a worker has, or will have.
    pub workers: u32,
    /// Completions that did not fit into the queue.
    pub backlog: u32,
    /// Completions that the program has not taken.
    pub cq_ready: u32,
    /// Completions that the queue has room for.
    pub cq_entries: u32,
    /// Submissions taken since the ring was made, modulo 2^32.
    pub taken: u32,
    /// Completions since then, the backlog too, modulo 2^32.
    pub told: u32,
}

impl RingState {
    fn of<H: Host>(ring: &Ring<H>, st: &State<H>) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (mut polled, mut workers) = (0, 0);
        for (_, req) in st.reqs.iter() {
            match req.phase {
                Phase::Polled(_) => polled += 1,
                Phase::Queued | Phase::Running { .. } => workers += 1,
                Phase::Fresh
                | Phase::Aio
                | Phase::Ahead
                | Phase::Timer(_)
                | Phase::Waiting(_)
                | Phase::Deferred => {}
            }
        }
        let backlog = number(st.cq.backlog.len());
        Self {
            ring: ring.id.0,
            in_flight: number(st.under_way()),
            polled,
            workers,
            backlog,
            cq_ready: ring.cq_ready(st),
            cq_entries: st.geo.cq_entries,
            taken: st.sq_head,
            told: st.cq.tail.wrapping_add(backlog),
        }
    }
}

impl<H: Host> Engine<H> {
    /// Tells what each ring is doing, but for those that are busy. Waits for nobody.
    pub fn ring_states(&self, tell: &mut dyn FnMut(&RingState)) {
        self.rings().each_free(|ring| {
            let seen = (0..TRIES).find_map(|_| {
                let seen = ring.state.try_lock().map(|st| RingState::of(ring, &st));
                if seen.is_none() {
                    (0..STEPS).for_each(|_| core::hint::spin_loop());
                }
                seen
            });
            if let Some(state) = seen {
                // With the lock let go.
                tell(&state);
            }
        });
    }
}
