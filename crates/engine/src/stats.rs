//! Where the counters lie in the map of [`crate::host::Host::counters`], in `u64` words.
//!
//! The map is a file, so that a killed process keeps its counts. Words: 0 magic, 1 pid, 2 rings
//! made, 3 enter calls, 4 native io_uring calls seen, 5 setup flags (or-ed), 6 calls that came by a
//! trap, 7 sites of calls that were patched, then requests and failed requests by opcode, then refusals in the order of `support::refusal::names`.

use crate::opcode::OPDEFS;
use crate::support::refusal::COUNTERS;
use core::sync::atomic::Ordering::Relaxed;
use ringer_ring::Map;

/// Value of word 0: "ringer" and the layout's version.
pub const MAGIC: u64 = 0x7269_6e67_6572_0003;
/// Word of the rings made.
pub const RINGS: usize = 2;
/// Word of the enter calls.
pub const ENTERS: usize = 3;
/// Word of the native io_uring calls seen.
pub const NATIVE: usize = 4;
/// Word of the setup flags seen.
pub const SETUP_FLAGS: usize = 5;
/// Word of the calls that came by a trap.
pub const TRAPS: usize = 6;
/// Word of the sites that jump to the engine instead.
pub const PATCHED: usize = 7;
/// First word of the requests by opcode (64 words, the last for every opcode without a row).
pub const REQUESTS: usize = 8;
/// First word of the requests that completed with an error, by opcode (64 words).
pub const FAILED: usize = 72;
/// First word of the refusals (what is not carried out, and was asked for).
pub const REFUSED: usize = 136;
/// Size of the whole \[bytes\].
pub const LEN: usize = (REFUSED + COUNTERS) * 8;

/// The names that [`REQUESTS`] and [`FAILED`] are counted under.
pub fn opcode_names() -> impl Iterator<Item = &'static str> {
    OPDEFS.iter().map(|def| def.name).chain(core::iter::once("unknown"))
}

/// Adds `n` to a word, if counters are kept.
#[inline]
pub fn add(map: Option<&Map>, word: usize, n: u64) {
    if let Some(m) = map
        && word * 8 + 8 <= m.len()
    {
        m.w64(word * 8).fetch_add(n, Relaxed);
    }
}

/// Ors bits into a word, if counters are kept.
pub fn or(map: Option<&Map>, word: usize, bits: u64) {
    if let Some(m) = map
        && word * 8 + 8 <= m.len()
    {
        m.w64(word * 8).fetch_or(bits, Relaxed);
    }
}
