//! The registered region as a step, and waits that find their argument there.
//!
//! Each thread has a place of its own in the region. What it does not do: judge the waits (`app.rs`).

use super::app::App;
use crate::sched::lock;
use ringer_engine::host::{Clock, Host as _};
use ringer_uapi::Errno;

const MEM_REGION: u32 = 34;
const CLOCK: u32 = 29;
const PAGE: u64 = 4096;
/// `sizeof(struct io_uring_reg_wait)`.
const ENTRY: u64 = 64;

/// The region as the application knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    /// Waits find arguments there.
    waits: bool,
    /// Where it is in the application's memory.
    at: u64,
}

impl App {
    /// Registers a region; arguments of waits only while the ring is `disabled`.
    pub(super) fn add_region(&self, own: bool, disabled: bool) {
        let there = lock(&self.side).tables.region.is_some();
        let user = if own { 0 } else { lock(&self.world).alloc(PAGE as usize).expect("memory") };
        let desc = self.words(64, &[user, PAGE, u64::from(!own), 0, 0, 0, 0, 0]);
        let arg = self.words(0, &[desc, u64::from(disabled), 0, 0]);
        let legal: &[Errno] = if there { &[Errno::EBUSY] } else { &[] };
        let done = self.call(MEM_REGION, arg, 1, legal).is_some();
        assert_eq!(done, !there, "a second region");
        let mut side = lock(&self.side);
        if done {
            let at = lock(&side.client.pages.region).expect("what was just registered");
            assert!(own || at == user, "the caller's memory is where it was");
            side.tables.region = Some(Region { waits: disabled, at });
        }
    }

    /// Writes a wait's argument into the region: its offset, or `None` without a region for that.
    pub(super) fn region_argument(&self, words: [u64; 5]) -> Option<u64> {
        let region = lock(&self.side).tables.region.filter(|r| r.waits)?;
        let offset = self.sched.me() as u64 * ENTRY % PAGE;
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        lock(&self.world).write(region.at + offset, &bytes).expect("the region's memory");
        Some(offset)
    }

    pub(super) fn set_clock(&self, boot: bool) {
        let arg = self.words(64, &[if boot { 7 } else { 1 }, 0]);
        if self.call(CLOCK, arg, 0, &[]).is_some() {
            let clock = if boot { Clock::Boottime } else { Clock::Monotonic };
            lock(&self.side).tables.clock = clock;
        }
    }

    /// A time on the ring's clock.
    pub(super) fn on_clock(&self, ns: u64) -> u64 {
        let clock = lock(&self.side).tables.clock;
        self.engine.host().now(clock) + ns
    }
}
