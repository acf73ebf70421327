//! The engine's choices, made by a seed.

use crate::rng::Rng;
use crate::sched::lock;
use ringer_engine::policy::Policy;
use std::sync::Mutex;

/// Picks any ready thing, and moves any part of a transfer.
#[derive(Debug)]
pub struct Seeded(Mutex<Rng>);

impl Seeded {
    /// Choices of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(Rng::new(seed)))
    }
}

impl Policy for Seeded {
    fn next_ready(&self, n: usize) -> usize {
        lock(&self.0).below(n)
    }

    fn share(&self, len: u32) -> u32 {
        let mut rng = lock(&self.0);
        if len < 2 || rng.one_in(2) { len } else { 1 + rng.below(len as usize - 1) as u32 }
    }
}
