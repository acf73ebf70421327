//! Rings whose requests a record answers.
//!
//! ```text
//!  entry taken ------Host::replay--------------> completions, posted at once
//!  wait would sleep --Host::replay_to_who_waits--> one more
//! ```
//! No request is made of an entry: what it waited for, its chain and who cancelled it are in the recorded
//! results. What this does not do: compare, or write the program's memory (both are the host's).

use super::{Ring, State};
use crate::engine::Engine;
use crate::host::Host;
use crate::replay::{Answer, Replayed};
use crate::stats;
use alloc::sync::Arc;
use ringer_uapi::Sqe;

/// `IORING_OP_TIMEOUT`.
const TIMEOUT: u8 = 11;

impl<H: Host> Engine<H> {
    /// An entry of such a ring was taken.
    #[cold]
    pub(super) fn replay(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, sqe: &Sqe) {
        // Whoever watches sees it before anything is made of it.
        let _ = self.trail_of(ring, st, sqe, false);
        st.fates.entries += 1;
        let op = sqe.opcode.min(63) as usize;
        stats::add(self.host().counters(), stats::REQUESTS + op, 1);
        let of = Replayed { ring: ring.id.0, nth: st.fates.entries, sqe };
        for answer in self.host().replay(&of) {
            self.post_answer(ring, st, &answer);
        }
    }

    /// A wait on such a ring is about to sleep. Whether it need not.
    #[cold]
    pub(super) fn replay_to_who_waits(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) -> bool {
        if let Some(answer) = self.host().replay_to_who_waits(ring.id) {
            self.post_answer(ring, st, &answer);
            self.commit(ring, st);
            return true;
        }
        false
    }

    fn post_answer(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, answer: &Answer) {
        st.fates.timed |= answer.opcode == TIMEOUT;
        ring.post(st, answer.cqe);
    }
}
