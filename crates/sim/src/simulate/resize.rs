//! Rings of other sizes as a step: what is queued and what is there goes along, or nothing changes.
//!
//! What it does not do: make the submission queue smaller than it was set up, or a chain would not fit.

use super::app::App;
use super::rows::ARENA;
use crate::sched::lock;
use ringer_uapi::{Errno, Params};

const RESIZE_RINGS: u32 = 33;
const CQSIZE: u32 = 1 << 3;
const DEFER_TASKRUN: u32 = 1 << 13;
const NO_MMAP: u32 = 1 << 14;
/// Where in a thread's scratch memory the parameters are.
const PARAMS: u64 = 1024;

impl App {
    /// Asks for rings of that size.
    pub(super) fn resize(&self, sq: u32, cq: u32) {
        let setup = self.program.setup;
        let mut asked =
            Params { sq_entries: sq, cq_entries: cq, flags: CQSIZE, ..Params::default() };
        if setup & NO_MMAP != 0 {
            // As at setup: somewhere.
            (asked.cq_off.user_addr, asked.sq_off.user_addr) = (ARENA, ARENA + 4096);
        }
        let at = self.scratch + PARAMS;
        lock(&self.world).write(at, &asked.to_bytes()).expect("scratch memory");
        let waits = || {
            let side = lock(&self.side);
            (side.client.queued(), side.client.ready(), side.client.sq_head())
        };
        let before = waits();
        let defers = setup & DEFER_TASKRUN != 0;
        let fits = before.0 <= sq && before.1 <= cq;
        let legal: &[Errno] = match (defers, fits) {
            (false, _) => &[Errno::EINVAL],
            (true, false) => &[Errno::EOVERFLOW],
            (true, true) => &[],
        };
        if self.call(RESIZE_RINGS, at, 1, legal).is_none() {
            return;
        }
        assert!(defers && fits, "rings of {sq} and {cq} entries hold {before:?}");
        lock(&self.side).client.remap();
        assert_eq!(waits(), before, "what a resize took along");
        let side = lock(&self.side);
        let g = &side.client.memory.geometry;
        assert_eq!((g.sq_entries, g.cq_entries), (sq, cq), "what was asked for");
    }
}
