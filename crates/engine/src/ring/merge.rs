//! Adjacent reads of one file as one call.
//!
//! ```text
//!  READ off 0 len 4K ┐
//!  READ off 4K len 4K├─ one preadv2(RWF_NOWAIT) into three buffers ─ 12K: three completions
//!  READ off 8K len 4K┘                                             ─ less: the rest one by one
//! ```
//!
//! Requests of a batch may run in any order and at any speed, so reading a contiguous stretch at once is
//! a legal way to run them; each still posts its own CQE. A call that does not fill every buffer
//! decides only those it filled: the others are issued as if nothing had happened. What it does not
//! do: reorder, look past an entry it cannot take, or touch writes (which go to workers).
//!
//! Measured on 6.18: four 4 KiB blocks by one call cost 0.42 of four calls (decision 0007).

use super::{Ring, State};
use crate::engine::Engine;
use crate::host::{Host, HostFile, Iovec};
use crate::opcode::opdef::access_ok;
use crate::opcode::rw::{is_aligned, is_direct};
use crate::stats;
use alloc::sync::Arc;
use ringer_uapi::flags::{Setup, SqeFlags};
use ringer_uapi::{Cqe, Sqe};

/// Most entries of one call. Beyond this the saving is flat.
pub(super) const RUN_MAX: usize = 16;
/// Most bytes of one call: what the submitter copies in one go.
const RUN_BYTES_MAX: u64 = 256 * 1024;
const READ: u8 = 22;
const READ_FIXED: u8 = 4;
const RWF_NOWAIT: u32 = 8;

/// Entries that follow each other in one file.
#[derive(Debug)]
pub(super) struct Run {
    sqes: [Sqe; RUN_MAX],
    len: usize,
    bytes: u64,
}

impl Run {
    /// A run that begins with `sqe`, if that can be part of one.
    #[inline]
    pub(super) fn start<H: Host>(ring: &Ring<H>, st: &State<H>, sqe: &Sqe) -> Option<Self> {
        let ok = !ring.setup.contains(Setup::IOPOLL)
            && !st.draining()
            && st.restrictions.is_none()
            && sqe.off <= i64::MAX as u64
            && mergeable(st, sqe);
        ok.then(|| {
            let mut sqes = [Sqe::default(); RUN_MAX];
            if let Some(first) = sqes.first_mut() {
                *first = *sqe;
            }
            Self { sqes, len: 1, bytes: u64::from(sqe.len) }
        })
    }

    /// Takes `next` if it goes on where the run ends.
    #[inline]
    pub(super) fn extend<H: Host>(&mut self, st: &State<H>, next: &Sqe) -> bool {
        let [first, ..] = &self.sqes;
        let joins = next.opcode == first.opcode
            && next.fd == first.fd
            && next.flags == first.flags
            && next.off == first.off.wrapping_add(self.bytes)
            && self.bytes + u64::from(next.len) <= RUN_BYTES_MAX
            && mergeable(st, next);
        if joins && let Some(slot) = self.sqes.get_mut(self.len) {
            *slot = *next;
            self.len += 1;
            self.bytes += u64::from(next.len);
            return true;
        }
        false
    }

    /// Whether there is something to merge.
    pub(super) fn is_single(&self) -> bool {
        self.len == 1
    }

    /// Whether it takes no more.
    pub(super) fn is_full(&self) -> bool {
        self.len == RUN_MAX
    }

    fn entries(&self) -> &[Sqe] {
        self.sqes.get(..self.len).unwrap_or(&[])
    }
}

/// Whether an entry can begin a run at all.
#[inline]
pub(super) fn is_read(sqe: &Sqe) -> bool {
    sqe.opcode == READ || sqe.opcode == READ_FIXED
}

/// Whether `next` goes on where `sqe` ends: the cheap first look.
#[inline]
pub(super) fn follows(sqe: &Sqe, next: &Sqe) -> bool {
    next.opcode == sqe.opcode
        && next.fd == sqe.fd
        && next.off == sqe.off.wrapping_add(u64::from(sqe.len))
}

/// An ordinary read with nothing about it that prep would refuse.
#[inline]
fn mergeable<H: Host>(st: &State<H>, sqe: &Sqe) -> bool {
    if sqe.flags & !SqeFlags::FIXED_FILE.bits() != 0
        || sqe.ioprio != 0
        || sqe.op_flags != 0
        || sqe.personality != 0
        || sqe.pad2 != 0
        || sqe.len == 0
    {
        return false;
    }
    let range = Iovec { base: sqe.addr, len: u64::from(sqe.len) };
    match sqe.opcode {
        READ => access_ok(range).is_ok(),
        READ_FIXED => st.bufs.as_ref().is_some_and(|b| b.contains(sqe.buf_index, range)),
        _ => false,
    }
}

impl<H: Host> Engine<H> {
    /// Reads a run at once. Returns the entries that are still to be issued one by one.
    pub(super) fn submit_run<'a>(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        run: &'a Run,
    ) -> &'a [Sqe] {
        let entries = run.entries();
        let Some(first) = entries.first() else { return entries };
        let (mut fd, mut kind) = (first.fd, None);
        if first.flags & SqeFlags::FIXED_FILE.bits() != 0 {
            let node = st.files.as_ref().and_then(|t| t.get(fd));
            match node.and_then(|n| Some((n.file.number()?, n.file.kind()))) {
                Some((number, of)) => (fd, kind) = (number, Some(of)),
                None => return entries,
            }
        }
        if is_aligned(first.off | first.addr | u64::from(first.len))
            && st.asked.direct(fd, || is_direct(self.host(), fd, kind))
        {
            return entries;
        }
        let mut iovs = [Iovec::default(); RUN_MAX];
        for (v, e) in iovs.iter_mut().zip(entries) {
            *v = Iovec { base: e.addr, len: u64::from(e.len) };
        }
        let iovs = iovs.get(..entries.len()).unwrap_or(&[]);
        let Ok(mut got) = self.host().readv(fd, iovs, first.off, RWF_NOWAIT) else {
            return entries;
        };
        let mut done = 0;
        for e in entries {
            if got < e.len {
                break;
            }
            got -= e.len;
            done += 1;
            // What is taken here is done here; the rest is taken one by one.
            let trail = self.trail_of(ring, st, e, false);
            let cqe = Cqe::new(e.user_data, Ok(e.len as i32), 0);
            let posted = ring.post(st, cqe);
            self.trace_cqe(ring, trail, &cqe, posted);
        }
        let op = first.opcode as usize;
        stats::add(self.host().counters(), stats::REQUESTS + op, done as u64);
        entries.get(done..).unwrap_or(&[])
    }
}
