//! Which legal choice the engine makes where the ABI leaves one open.
//!
//! The default is the plain one; a seeded one (simulation) or a hostile one (chaos) can take its
//! place. A policy sees no user memory and makes no system call.

use core::fmt::Debug;

/// Choices the ABI leaves to the kernel.
pub trait Policy: Send + Sync + Debug {
    /// Which of `n` ready things (n > 0) goes next.
    fn next_ready(&self, n: usize) -> usize;
    /// How much of a transfer of `len` bytes is attempted at once (1..=len).
    fn share(&self, len: u32) -> u32;
    /// Whether [`Policy::delay`] may be more than 0. Asked once.
    fn delays(&self) -> bool {
        false
    }
    /// How long the completion of a request that has ended is held \[ns\].
    fn delay(&self) -> u64 {
        0
    }
}

/// First come, first served; everything at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Policy for Plain {
    fn next_ready(&self, _n: usize) -> usize {
        0
    }

    fn share(&self, len: u32) -> u32 {
        len
    }
}
