//! Signal masks without SIGSYS, SIGSEGV and SIGBUS, and the illusion that they are in them.
//!
//! ```text
//!  program: block {INT, SYS}       kernel: block {INT}       thread's record: "SYS is blocked"
//!  program: what is blocked?       kernel: {INT}        -->  answer {INT, SYS}
//! ```
//! A trap or a fault whose signal is blocked kills the process, so the three never are. The same
//! holds for the masks of handlers and of the waits that set one. A thread starts with its
//! creator's mask but with an empty record: it sees the truth until it sets a mask itself.
//!
//! What it does not do: serve a program that blocks one of the three to fetch it with sigwait(3).

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use ringer_sys::signals::NEVER_BLOCKED;
use ringer_sys::{raw::general as g, thread};

/// The record's word with what the program believes to be blocked of the three.
fn believed() -> &'static AtomicU64 {
    let [word, ..] = &thread::record().scratch;
    word
}

/// The part of a mask that the kernel may see.
pub const fn real(mask: u64) -> u64 {
    mask & !NEVER_BLOCKED
}

/// The calling thread's mask as the program believes it to be.
pub fn shown(mask: u64) -> u64 {
    mask | believed().load(Relaxed)
}

/// Remembers what a successful sigprocmask(2) with `how` and `set` would have changed.
pub fn changed(how: u32, set: u64) {
    let word = believed();
    let (was, set) = (word.load(Relaxed), set & NEVER_BLOCKED);
    let is = match how {
        g::SIG_BLOCK => was | set,
        g::SIG_UNBLOCK => was & !set,
        _ => set,
    };
    word.store(is, Relaxed);
}

/// Highest signal number.
const SIGNALS: usize = 65;
static IN_HANDLERS: [AtomicU8; SIGNALS] = [const { AtomicU8::new(0) }; SIGNALS];

fn pack(mask: u64) -> u8 {
    let bit = |sig: u32, to: u8| if mask & 1 << (sig - 1) != 0 { to } else { 0 };
    bit(g::SIGSYS, 1) | bit(g::SIGSEGV, 2) | bit(g::SIGBUS, 4)
}

fn unpack(bits: u8) -> u64 {
    let bit = |from: u8, sig: u32| if bits & from != 0 { 1 << (sig - 1) } else { 0 };
    bit(1, g::SIGSYS) | bit(2, g::SIGSEGV) | bit(4, g::SIGBUS)
}

/// What the program believes to be blocked of the three while the handler of `sig` runs.
pub fn of_handler(sig: u32) -> u64 {
    IN_HANDLERS.get(sig as usize).map_or(0, |b| unpack(b.load(Relaxed)))
}

/// Remembers the mask of a new handler of `sig`.
pub fn set_of_handler(sig: u32, mask: u64) {
    if let Some(bits) = IN_HANDLERS.get(sig as usize) {
        bits.store(pack(mask), Relaxed);
    }
}
