//! Cancelling requests wherever they wait: poll, worker queue, worker, timer.
//!
//! A running worker is interrupted and its request completes by itself; everything else ends here.
//!
//! ```text
//!   worker                               cancel
//!   lock: Queued -> Running; unlock
//!   tries what does not block
//!                                        lock: cancelled; it only tries: no interrupt; unlock
//!   lock: about to block? cancelled: no
//!                                        (or, when it is about to block:)
//!                                        lock: cancelled, interrupt; unlock
//!   blocks: EINTR, now or at once
//! ```
//!
//! Whoever takes a request out of `State::reqs` ends it, and only one can: a stale key finds nothing.
//! What it does not do: find members of a chain that have not started (the kernel does not either).

use super::{Phase, ReqFile};
use crate::engine::Engine;
use crate::host::{Host, HostFile, HostThread};
use crate::ring::State;
use crate::slab::Key;
use alloc::vec::Vec;
use ringer_uapi::Errno;

/// `IORING_ASYNC_CANCEL_*`.
pub mod flags {
    use crate::support::opflags::ASYNC_CANCEL_ACCEPTED;
    use ringer_uapi::Errno;

    /// Cancel all that match.
    pub const ALL: u32 = 1;
    /// The key is a descriptor.
    pub const FD: u32 = 2;
    /// Everything on the ring.
    pub const ANY: u32 = 4;
    /// The descriptor is a slot.
    pub const FD_FIXED: u32 = 8;
    /// The key is user_data, to be combined with others.
    pub const USERDATA: u32 = 16;
    /// The key is an opcode.
    pub const OP: u32 = 32;

    /// Refuses unknown and contradictory flags (cancel.c `io_async_cancel_prep`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check(f: u32) -> Result<(), Errno> {
        if f & !ASYNC_CANCEL_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        if f & ANY != 0 && f & (FD | OP) != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// What to cancel.
#[derive(Debug)]
pub struct CancelKey<H: Host> {
    user_data: Option<u64>,
    file: Option<H::File>,
    opcode: Option<u8>,
    all: bool,
    any: bool,
}

impl<H: Host> CancelKey<H> {
    /// A key from (user_data, fd, opcode, flags), flags checked.
    ///
    /// # Errors
    /// `EBADF` for the key's descriptor or slot.
    pub fn new(
        host: &H,
        st: &State<H>,
        (user_data, fd, opcode, f): (u64, i32, u8, u32),
    ) -> Result<Self, Errno> {
        let file = if f & flags::FD == 0 {
            None
        } else if f & flags::FD_FIXED != 0 {
            let node = st.files.as_ref().and_then(|t| t.get(fd)).ok_or(Errno::EBADF)?;
            Some(node.file.clone())
        } else {
            Some(host.hold(fd)?)
        };
        let by_data = f & (flags::FD | flags::OP | flags::ANY) == 0 || f & flags::USERDATA != 0;
        Ok(Self {
            user_data: by_data.then_some(user_data),
            file,
            opcode: (f & flags::OP != 0).then_some(opcode),
            all: f & flags::ALL != 0,
            any: f & flags::ANY != 0,
        })
    }
}

impl<H: Host> Engine<H> {
    /// Requests a key matches, in the kernel's order of search, and the cancel's result.
    pub(crate) fn pick_cancel(
        &self,
        st: &State<H>,
        key: &CancelKey<H>,
    ) -> (Result<i32, Errno>, Vec<Key>) {
        let mut found: Vec<(u8, Key)> = st
            .reqs
            .iter()
            .filter(|(_, r)| r.head.is_none())
            .filter_map(|(k, r)| {
                let rank = match r.phase {
                    Phase::Queued | Phase::Running { .. } => 0,
                    Phase::Polled(_) => 1,
                    Phase::Timer(_) => 2,
                    Phase::Fresh | Phase::Deferred => return None,
                };
                let data = key.user_data.is_none_or(|d| d == r.user_data);
                let op = key.opcode.is_none_or(|o| o == r.opcode);
                let file = key.file.as_ref().is_none_or(|f| match &r.file {
                    ReqFile::None => false,
                    ReqFile::Held(h) => h.same_file(f),
                    ReqFile::Node(n) => n.file.same_file(f),
                });
                (data && op && file).then_some((rank, k))
            })
            .collect();
        found.sort_unstable_by_key(|&(rank, _)| rank);
        let mut keys: Vec<Key> = found.into_iter().map(|(_, k)| k).collect();
        if key.all || key.any {
            return (Ok(keys.len() as i32), keys);
        }
        keys.truncate(1);
        let res = match keys.first() {
            None => Err(Errno::ENOENT),
            Some(&k) if !self.can_cancel(st, k) => Err(Errno::EALREADY),
            Some(_) => Ok(0),
        };
        (res, keys)
    }

    /// Whether a request can be cancelled for sure: the kernel would not have it on a worker.
    pub(crate) fn can_cancel(&self, st: &State<H>, key: Key) -> bool {
        let blocks = |p: &Phase<H>| matches!(p, Phase::Running { tries: false, polls: false, .. });
        st.reqs.get(key).is_some_and(|r| !blocks(&r.phase))
    }

    /// Cancels one request, or interrupts the worker it runs on.
    pub(crate) fn cancel_one(&self, st: &mut State<H>, key: Key) {
        if let Some(req) = st.reqs.get_mut(key) {
            req.cancelled = true;
        }
        match st.reqs.get(key).map(|r| &r.phase) {
            Some(Phase::Running { thread, tries, .. }) => {
                if let Some(t) = thread
                    && !tries
                {
                    t.interrupt();
                }
            }
            Some(Phase::Polled(watch)) => {
                let watch = *watch;
                if let Some(req) = st.reqs.remove(key) {
                    self.disarm(st, key, watch);
                    self.cancel_later(st, req);
                }
            }
            Some(Phase::Queued) => {
                if let Some(req) = st.reqs.remove(key) {
                    self.cancel_later(st, req);
                }
            }
            Some(Phase::Timer(_)) => {
                if let Some(req) = self.take_timer(st, key) {
                    self.cancel_later(st, req);
                }
            }
            Some(Phase::Fresh | Phase::Deferred) | None => {}
        }
    }
}
