//! All bytes of a trace that is a record, or is compared with one.
//!
//! ```text
//!  taken:  what is written, sent or named -> its Sum, a Data record
//!          a read's buffers               -> READS[name]            (Level::Whole)
//!  told:   READS[name] -> Data records of all that was read, before the completion
//! ```
//! What [`super::data`] shows is the beginning, and what finds no place is not shown; here nothing may be
//! missing. What this does not do: provided buffers, and what comes with messages (`ringer record` refuses
//! both).

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use ringer_engine::host::Iovec;
use ringer_engine::replay::Sum;
use ringer_engine::trace::Told;
use ringer_engine::trace::buffer::{Buffer, DATA_MAX, DataHead, DataKind, Field};
use ringer_uapi::Sqe;
use rust_alloc::collections::BTreeMap;
use rust_alloc::vec::Vec;

use super::data::{Buffers, Way, transfer, word};
use crate::lock::ForkMutex;
use crate::usermem::{copy_in, copy_text};

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    /// What a trace shows.
    Some = 0,
    /// Sums of what requests point to.
    Sums = 1,
    /// The same, and all that they read.
    Whole = 2,
}

static LEVEL: AtomicU32 = AtomicU32::new(0);
/// Where reads that are under way go, by name.
static READS: ForkMutex<BTreeMap<u64, Vec<Iovec>>> = ForkMutex::new(BTreeMap::new());

/// `IORING_OP_STATX`, and what it writes \[bytes\].
const STATX: u8 = 21;
const STATX_LEN: u64 = 256;
/// `UIO_MAXIOV`.
const PIECES_MAX: u64 = 1024;
/// Longest path.
const PATH_MAX: usize = 4096;
/// Bytes that are summed up at once.
const PART: usize = 4096;

pub(super) fn configure(level: Level) {
    LEVEL.store(level as u32, Relaxed);
}

pub(super) fn is_on() -> bool {
    LEVEL.load(Relaxed) != Level::Some as u32
}

/// A request was taken.
pub(super) fn taken(buffer: &Buffer, name: u64, sqe: &Sqe) {
    if let Some(sum) = sum_of(sqe) {
        tell(buffer, (name, DataKind::Written, 8), &sum.to_le_bytes());
    }
    if LEVEL.load(Relaxed) == Level::Whole as u32
        && let Some(pieces) = brought(sqe)
    {
        READS.lock().insert(name, pieces);
    }
}

/// A request completes.
pub(super) fn told(buffer: &Buffer, t: &Told) {
    let Some(pieces) = READS.lock().remove(&t.trail.name()) else { return };
    let mut left = match u64::try_from(t.res) {
        // STATX is the only one that says 0 and brings something.
        Ok(0) if pieces.iter().all(|p| p.len == STATX_LEN) => STATX_LEN,
        Ok(n) => n,
        Err(_) => return,
    };
    for piece in pieces {
        let (mut at, mut here) = (piece.base, piece.len.min(left));
        left -= here;
        while here > 0 {
            let mut bytes = [0; DATA_MAX];
            let part = here.min(DATA_MAX as u64);
            let Some(to) = bytes.get_mut(..part as usize) else { return };
            if copy_in(at, to).is_err() {
                return;
            }
            tell(buffer, (t.trail.name(), DataKind::Read, part), to);
            (at, here) = (at.wrapping_add(part), here - part);
        }
    }
}

fn tell(buffer: &Buffer, (request, kind, total): (u64, DataKind, u64), bytes: &[u8]) {
    buffer.data(&DataHead { request, kind, field: Field::Addr, total, hidden: false }, bytes);
}

/// The buffers that a request brings something to.
pub(crate) fn brought(sqe: &Sqe) -> Option<Vec<Iovec>> {
    if sqe.opcode == STATX {
        return Some(Vec::from([Iovec { base: sqe.off, len: STATX_LEN }]));
    }
    match transfer(sqe)? {
        (Way::In, buffers) => Some(pieces(buffers)),
        (Way::Out, _) => None,
    }
}

/// The sum of what a request points to: bytes that it moves out, lengths that it brings, a path.
pub(crate) fn sum_of(sqe: &Sqe) -> Option<u64> {
    let mut sum = Sum::default();
    if matches!(sqe.opcode, 18 | 28 | STATX) {
        // An address that is wrong is in the result.
        let path = copy_text(sqe.addr, PATH_MAX).unwrap_or_default();
        sum.bytes(&path);
        return Some(sum.get());
    }
    let (way, buffers) = transfer(sqe)?;
    if way == Way::In && matches!(buffers, Buffers::Plain(..)) {
        return None;
    }
    for piece in pieces(buffers) {
        sum.word(piece.len);
        if way == Way::Out {
            add(&mut sum, piece);
        }
    }
    Some(sum.get())
}

fn add(sum: &mut Sum, piece: Iovec) {
    let (mut at, mut left) = (piece.base, piece.len);
    while left > 0 {
        let mut bytes = [0; PART];
        let part = left.min(PART as u64);
        let Some(to) = bytes.get_mut(..part as usize) else { return };
        if copy_in(at, to).is_err() {
            // The request ends with an error there, or with a page.
            return;
        }
        sum.bytes(to);
        (at, left) = (at.wrapping_add(part), left - part);
    }
}

fn pieces(buffers: Buffers) -> Vec<Iovec> {
    let (base, count) = match buffers {
        Buffers::Plain(base, len) => return Vec::from([Iovec { base, len }]),
        Buffers::Vector(base, count) => (base, count),
        Buffers::Message(at) => {
            let field = |offset: u64| word(at.wrapping_add(offset)).unwrap_or(0);
            (field(16), field(24))
        }
    };
    let mut pieces = Vec::new();
    for i in 0..count.min(PIECES_MAX) {
        let at = base.wrapping_add(i * 16);
        let (Some(base), Some(len)) = (word(at), word(at.wrapping_add(8))) else { break };
        pieces.push(Iovec { base, len });
    }
    pieces
}
