//! The bytes that a trace shows of a request: what it points to, and if asked what it moves.
//!
//! ```text
//!  taken:  path, address, time          -> Data records
//!          a write's buffers            -> the first bytes, a Data record
//!          a read's buffers             -> PLACES[name]
//!  told:   PLACES[name], or the provided buffer -> the first bytes, a Data record before the completion
//! ```
//! Everything is copied with a fault fixup: an address that is wrong has no record, and the request's own
//! answer says why. Others may write there meanwhile, so that what is shown is not always what was
//! moved. Of a read that finds no place, no data is shown. What this does not do: choose.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use ringer_engine::host::Iovec;
use ringer_engine::trace::Told;
use ringer_engine::trace::buffer::{Buffer, DATA_MAX, DataHead, DataKind, Field};
use ringer_uapi::Sqe;
use ringer_uapi::flags::{CqeFlags, SqeFlags};

use crate::usermem::copy_in;

/// Bytes of data that are kept; 0: none is looked at.
static LIMIT: AtomicU32 = AtomicU32::new(0);
/// No byte of data is kept, its length only.
static HIDDEN: AtomicBool = AtomicBool::new(false);

/// Buffers of a request that are remembered.
const PIECES: usize = 4;
/// Reads that are remembered at once.
const READS: usize = 1024;
/// Places that are tried for one.
const TRIES: usize = 16;
/// The name in a place that is being filled.
const BUSY: u64 = u64::MAX;
/// `IORING_SEND_VECTORIZED`.
const VECTORIZED: u16 = 1 << 5;
/// Longest text.
const TEXT_MAX: usize = 512;
/// `sizeof(struct sockaddr_storage)`.
const ADDRESS_MAX: u64 = 128;
/// A text is not read across a page at once: the next may not be there.
const PAGE: usize = 4096;

/// Where a read goes: the name of its request (0: nobody's), and the buffers.
struct Place {
    name: AtomicU64,
    pieces: [(AtomicU64, AtomicU64); PIECES],
}

static PLACES: [Place; READS] = [const {
    Place {
        name: AtomicU64::new(0),
        pieces: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; PIECES],
    }
}; READS];

/// Says how much data is kept, and whether its length only.
pub(super) fn configure(limit: u32, hidden: bool) {
    LIMIT.store(limit.min(DATA_MAX as u32), Relaxed);
    HIDDEN.store(hidden, Relaxed);
}

/// Requests of another buffer have the same names.
pub(super) fn forget() {
    for place in &PLACES {
        place.name.store(0, Relaxed);
    }
}

fn limit() -> usize {
    LIMIT.load(Relaxed) as usize
}

/// A request was taken.
pub(super) fn taken(buffer: &Buffer, name: u64, sqe: &Sqe) {
    points_to(buffer, name, sqe);
    // The completion knows which provided buffers were used.
    if limit() == 0 || sqe.flags & SqeFlags::BUFFER_SELECT.bits() != 0 {
        return;
    }
    match moves(sqe) {
        Some((Way::Out, pieces)) => {
            let total = pieces.iter().fold(0_u64, |sum, p| sum.saturating_add(p.len));
            keep(buffer, name, DataKind::Written, (&pieces, total));
        }
        Some((Way::In, pieces)) => remember(name, &pieces),
        None => {}
    }
}

/// A request completes.
pub(super) fn told(buffer: &Buffer, t: &Told) {
    if limit() == 0 || t.trail.name() == 0 {
        return;
    }
    let last = t.flags & CqeFlags::MORE.bits() == 0;
    let remembered = recall(t.trail.name(), last);
    let Some(total) = u64::try_from(t.res).ok().filter(|n| *n > 0) else { return };
    let pieces = match remembered {
        _ if t.lent != 0 => one(t.lent, total),
        Some(pieces) => pieces,
        None => return,
    };
    keep(buffer, t.trail.name(), DataKind::Read, (&pieces, total));
}

type Pieces = [Iovec; PIECES];

fn one(base: u64, len: u64) -> Pieces {
    let mut pieces = [Iovec::default(); PIECES];
    let [first, ..] = &mut pieces;
    *first = Iovec { base, len };
    pieces
}

/// The beginning of an array of `struct iovec`.
fn vector(base: u64, count: u64) -> Pieces {
    let mut pieces = [Iovec::default(); PIECES];
    for (i, piece) in (0..count).zip(&mut pieces) {
        let Some(at) = base.checked_add(i * 16) else { break };
        let (Some(base), Some(len)) = (word(at), word(at.wrapping_add(8))) else { break };
        *piece = Iovec { base, len };
    }
    pieces
}

/// The buffers of a `struct msghdr`.
fn message(at: u64) -> Pieces {
    let field = |offset: u64| word(at.wrapping_add(offset)).unwrap_or(0);
    vector(field(16), field(24))
}

pub(super) fn word(at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    copy_in(at, &mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Into the program.
    In,
    /// Out of it.
    Out,
}

/// How the buffers of a transfer are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    /// Address and length of one.
    Plain(u64, u64),
    /// Address and length of an array of `struct iovec`.
    Vector(u64, u64),
    /// The address of a `struct msghdr`.
    Message(u64),
}

/// What of the program's memory a transfer is about.
pub(super) fn transfer(sqe: &Sqe) -> Option<(Way, Buffers)> {
    let plain = Buffers::Plain(sqe.addr, sqe.len.into());
    let many = Buffers::Vector(sqe.addr, sqe.len.into());
    Some(match sqe.opcode {
        4 | 22 | 27 => (Way::In, plain),
        1 | 60 => (Way::In, many),
        10 => (Way::In, Buffers::Message(sqe.addr)),
        26 | 47 if sqe.ioprio & VECTORIZED != 0 => (Way::Out, many),
        5 | 23 | 26 | 47 => (Way::Out, plain),
        2 | 61 => (Way::Out, many),
        9 | 48 => (Way::Out, Buffers::Message(sqe.addr)),
        _ => return None,
    })
}

/// The first buffers of a transfer.
fn moves(sqe: &Sqe) -> Option<(Way, Pieces)> {
    let (way, told) = transfer(sqe)?;
    let pieces = match told {
        Buffers::Plain(base, len) => one(base, len),
        Buffers::Vector(base, count) => vector(base, count),
        Buffers::Message(at) => message(at),
    };
    Some((way, pieces))
}

fn remember(name: u64, pieces: &Pieces) {
    for i in 0..TRIES {
        let Some(place) = PLACES.get((name as usize + i) % READS) else { return };
        if place.name.compare_exchange(0, BUSY, Acquire, Relaxed).is_err() {
            continue;
        }
        for ((base, len), piece) in place.pieces.iter().zip(pieces) {
            base.store(piece.base, Relaxed);
            len.store(piece.len, Relaxed);
        }
        // Release: who finds the name finds its buffers.
        return place.name.store(name, Release);
    }
}

fn recall(name: u64, last: bool) -> Option<Pieces> {
    let mut tried = (0..TRIES).filter_map(|i| PLACES.get((name as usize + i) % READS));
    let place = tried.find(|p| p.name.load(Acquire) == name)?;
    let mut pieces = [Iovec::default(); PIECES];
    for (piece, (base, len)) in pieces.iter_mut().zip(&place.pieces) {
        *piece = Iovec { base: base.load(Relaxed), len: len.load(Relaxed) };
    }
    if last {
        // Release: its buffers were read.
        place.name.store(0, Release);
    }
    Some(pieces)
}

/// Writes the beginning of what is in the buffers.
fn keep(buffer: &Buffer, request: u64, kind: DataKind, (pieces, total): (&Pieces, u64)) {
    let hidden = HIDDEN.load(Relaxed);
    let mut bytes = [0; DATA_MAX];
    let most = if hidden { 0 } else { limit().min(usize::try_from(total).unwrap_or(DATA_MAX)) };
    let mut kept = 0;
    for piece in pieces {
        let len = usize::try_from(piece.len).unwrap_or(DATA_MAX).min(most - kept);
        let Some(to) = bytes.get_mut(kept..kept + len) else { break };
        if copy_in(piece.base, to).is_err() {
            break;
        }
        kept += len;
    }
    let head = DataHead { request, kind, field: Field::Addr, total, hidden };
    buffer.data(&head, bytes.get(..kept).unwrap_or(&[]));
}

/// Writes what a request points to.
fn points_to(buffer: &Buffer, request: u64, sqe: &Sqe) {
    use Field::{Addr, Addr3, Off, Within};
    let text = |field, at| text(buffer, request, (field, at));
    let fixed = |kind, field, (at, len)| fixed(buffer, (request, kind, field), (at, len));
    match sqe.opcode {
        18 | 21 | 36 | 37 => text(Addr, sqe.addr),
        28 => {
            text(Addr, sqe.addr);
            fixed(DataKind::OpenHow, Off, (sqe.off, u64::from(sqe.len).min(24)));
        }
        35 | 38 | 39 => {
            text(Addr, sqe.addr);
            text(Off, sqe.off);
        }
        41 | 43 => text(Addr, sqe.addr),
        42 | 44 => {
            text(Addr3, sqe.addr3);
            text(Addr, sqe.addr);
        }
        16 | 56 => fixed(DataKind::Address, Addr, (sqe.addr, sqe.off.min(ADDRESS_MAX))),
        26 | 47 if sqe.off != 0 => {
            let len = u64::from(sqe.file_index & 0xffff).min(ADDRESS_MAX);
            fixed(DataKind::Address, Off, (sqe.off, len));
        }
        9 | 48 => {
            let name = (word(sqe.addr), word(sqe.addr.wrapping_add(8)));
            if let (Some(at), Some(len)) = name
                && at != 0
            {
                // The length is an int.
                fixed(DataKind::Address, Within, (at, (len & 0xffff_ffff).min(ADDRESS_MAX)));
            }
        }
        11 | 15 => fixed(DataKind::Time, Addr, (sqe.addr, 16)),
        12 if sqe.off != 0 => fixed(DataKind::Time, Off, (sqe.off, 16)),
        _ => {}
    }
}

fn fixed(buffer: &Buffer, (request, kind, field): (u64, DataKind, Field), (at, len): (u64, u64)) {
    let mut bytes = [0; ADDRESS_MAX as usize];
    let Some(to) = bytes.get_mut(..len as usize).filter(|to| !to.is_empty()) else { return };
    if copy_in(at, to).is_ok() {
        buffer.data(&DataHead { request, kind, field, total: len, hidden: false }, to);
    }
}

/// A text up to its NUL, of a longer one the beginning.
fn text(buffer: &Buffer, request: u64, (field, at): (Field, u64)) {
    let mut bytes = [0; TEXT_MAX];
    let mut len = 0;
    let mut ended = false;
    while len < TEXT_MAX && !ended {
        let from = at.wrapping_add(len as u64);
        let piece = (PAGE - from as usize % PAGE).min(TEXT_MAX - len).min(64);
        let Some(to) = bytes.get_mut(len..len + piece) else { return };
        if copy_in(from, to).is_err() {
            return;
        }
        let nul = to.iter().position(|b| *b == 0);
        ended = nul.is_some();
        len += nul.unwrap_or(piece);
    }
    // Who knows how much there is of one that did not end.
    let total = if ended { len as u64 } else { len as u64 + 1 };
    let head = DataHead { request, kind: DataKind::Text, field, total, hidden: false };
    buffer.data(&head, bytes.get(..len).unwrap_or(&[]));
}
