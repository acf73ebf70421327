//! What rings and the engine hold in memory, as the kernel's `smaps_rollup` counts it \[KiB\].
//!
//! What it does not do: see what the kernel itself allocates for a ring, its own or of epoll and eventfds.

use crate::works::job::{Job, Sample};
use anyhow::{Context as _, Result};
use io_uring::{IoUring, opcode};

/// What this process has resident \[KiB\].
fn resident_kib() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|l| l.strip_prefix("Rss:")).context("no Rss line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A ring that has carried something out.
fn used() -> Result<IoUring> {
    let mut ring = Job::new("0", None)?.ring(8)?;
    super::reads::round(&mut ring, &[opcode::Nop::new().build()], 0)?;
    Ok(ring)
}

/// What a ring of 8 entries maps \[KiB\]: a page of both queues, one of submission entries.
const MAPPED_KIB: f64 = 8.0;

/// What each of many idle rings adds beyond what it maps.
pub(crate) fn idle_rings() -> Result<Sample> {
    const RINGS: usize = 200;
    let mut rings = Vec::with_capacity(RINGS);
    // The first brings the engine.
    rings.push(used()?);
    let before = resident_kib()?;
    for _ in 0..RINGS {
        rings.push(used()?);
    }
    let each = (resident_kib()? - before) / RINGS as f64;
    Ok(Sample { value: each - MAPPED_KIB, cpu: 0.0 })
}

/// The whole process, with one ring.
pub(crate) fn with_one_ring() -> Result<Sample> {
    let _ring = used()?;
    Ok(Sample { value: resident_kib()?, cpu: 0.0 })
}

/// Nothing but one ring, used once and left to the exit: for the time from start to end of a process.
pub(crate) fn one_ring() -> Result<()> {
    used().map(std::mem::forget)
}
