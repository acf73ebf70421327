//! Completions late and in any legal order, as a seed decides (`ringer run --shuffle`).
//!
//! Half of them come at once, the others within 2 ms, and one in 64 within 20. The order of decisions is that
//! in which requests end, so one thread that does the same again meets the same. What it does not do: anything
//! that only a wrong kernel would do.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use ringer_engine::policy::Policy;

/// Usual and longest delays \[ns\].
const USUAL_NS: u64 = 2_000_000;
const LONGEST_NS: u64 = 20_000_000;

static CHOSEN: AtomicBool = AtomicBool::new(false);
static SEED: AtomicU64 = AtomicU64::new(0);

/// Engines that are made from here on shuffle.
pub(crate) fn choose(seed: u64) {
    SEED.store(seed, Relaxed);
    CHOSEN.store(true, Relaxed);
}

/// The policy, if one was chosen.
pub(crate) fn chosen() -> Option<Shuffle> {
    CHOSEN.load(Relaxed).then(|| Shuffle(AtomicU64::new(SEED.load(Relaxed))))
}

/// See the module's doc.
#[derive(Debug)]
pub(crate) struct Shuffle(AtomicU64);

impl Shuffle {
    /// The next number of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
    fn next(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let z = self.0.fetch_add(GAMMA, Relaxed).wrapping_add(GAMMA);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Policy for Shuffle {
    fn next_ready(&self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn share(&self, len: u32) -> u32 {
        len
    }

    fn delays(&self) -> bool {
        true
    }

    fn delay(&self) -> u64 {
        let choice = self.next();
        match choice & 63 {
            0 => (choice >> 6) % LONGEST_NS,
            n if n & 1 == 1 => (choice >> 6) % USUAL_NS,
            _ => 0,
        }
    }
}
