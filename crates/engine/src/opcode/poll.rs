//! `IORING_OP_POLL_ADD` (since 5.1), `POLL_REMOVE` (since 5.1, update since 5.13).
//!
//! - Reads:   add: `fd`; `op_flags` = `POLL*`/`EPOLL*` mask; `len` = `IORING_POLL_ADD_MULTI`.
//!   remove: `addr` = user_data; `len` = update flags; `off` = new user_data; `op_flags` = new mask
//! - Rejects: add: `EINVAL` if `buf_index off addr` is set, for other flags (ADD_LEVEL too), for
//!   MULTI with CQE_SKIP. remove: `EINVAL` if `buf_index file_index` is set, for other flags, for
//!   ADD_MULTI alone, for a new value without its flag
//! - Result:  add: the ready mask. remove: 0
//! - Errors:  add: `EBADF`. remove: `ENOENT` none found
//! - Blocks:  never
//! - Source:  6.18 io_uring/poll.c `io_poll_add_prep`, `io_poll_remove_prep`, `io_poll_remove`

use super::opdef::{Cmd, IssueCx, Op, Outcome, PrepCx};
use crate::engine::Engine;
use crate::host::{FileKind, Host, HostFile};
use crate::request::cancel::was_polled;
use crate::request::{Phase, Req};
use crate::ring::{Ring, State};
use crate::slab::Key;
use crate::support::opflags::{POLL_ADD_ACCEPTED, POLL_REMOVE_ACCEPTED};
use alloc::sync::Arc;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

const ADD_MULTI: u32 = 1;
const UPDATE_EVENTS: u32 = 2;
const UPDATE_USER_DATA: u32 = 4;
const EPOLLONESHOT: u32 = 1 << 30;
pub(crate) const O_PATH: u32 = 0o10_000_000;
const POLLPRI: u32 = 2;
const POLLERR: u32 = 8;
const POLLHUP: u32 = 0x10;
const POLLNVAL: u32 = 0x20;
const POLLRDHUP: u32 = 0x2000;
/// IN, RDNORM, RDBAND.
const ARRIVALS: u32 = 1 | 0x40 | 0x80;
/// fs/select.c: what a file without a poll operation always is: IN, OUT, RDNORM, WRNORM.
pub(crate) const DEFAULT_POLLMASK: u32 = 1 | 4 | 0x40 | 0x100;

/// `IORING_OP_POLL_ADD`.
#[derive(Debug)]
pub struct PollAdd {
    events: u32,
    multi: bool,
    /// It was ready when it was armed: what is reported first is no wake-up.
    ready: bool,
}

impl PollAdd {
    /// Whether it stays armed.
    pub fn multishot(&self) -> bool {
        self.multi
    }

    /// Whether what is reported next was there when it was armed.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// The same, asked once for each report.
    pub(crate) fn was_ready(&mut self) -> bool {
        core::mem::take(&mut self.ready)
    }
}

/// What is always reported (poll.c `IO_POLL_UNMASK` and `io_poll_parse_events`).
fn parse_events(mask: u32) -> u32 {
    mask | POLLERR | POLLHUP | POLLNVAL | POLLRDHUP
}

impl Op for PollAdd {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.buf_index != 0 || sqe.off != 0 || sqe.addr != 0 || sqe.len & !POLL_ADD_ACCEPTED != 0
        {
            return Err(Errno::EINVAL);
        }
        let multi = sqe.len & ADD_MULTI != 0;
        if multi && cx.flags.contains(SqeFlags::CQE_SKIP_SUCCESS) {
            return Err(Errno::EINVAL);
        }
        // poll.c tells a multishot by the bit that an epoll one-shot has.
        let multi = multi && sqe.op_flags & EPOLLONESHOT == 0;
        Ok(Self { events: parse_events(sqe.op_flags), multi, ready: false })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

/// `IORING_OP_POLL_REMOVE`.
#[derive(Debug)]
pub struct PollRemove {
    target: u64,
    events: Option<u32>,
    user_data: Option<u64>,
}

impl Op for PollRemove {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.buf_index != 0 || sqe.file_index != 0 {
            return Err(Errno::EINVAL);
        }
        let flags = sqe.len;
        if flags & !POLL_REMOVE_ACCEPTED != 0 || flags == ADD_MULTI {
            return Err(Errno::EINVAL);
        }
        let new_data = flags & UPDATE_USER_DATA != 0;
        let new_events = flags & UPDATE_EVENTS != 0;
        if !new_data && sqe.off != 0 || !new_events && sqe.op_flags != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            target: sqe.addr,
            events: new_events.then(|| parse_events(sqe.op_flags)),
            user_data: new_data.then_some(sqe.off),
        })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

impl<H: Host> Engine<H> {
    pub(crate) fn issue_poll_add(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        let Some(Cmd::PollAdd(PollAdd { events, multi, .. })) = req.cmd else { return };
        if let Err(e) = self.find_file(st, &mut req) {
            return self.complete(ring, st, req, Err(e), 0);
        }
        if let Some(FileKind::Regular | FileKind::Directory) = req.file.kind() {
            // It may have no number here to poll by (the program holds POSIX locks), and needs none.
            let plain = !req.flags.contains(SqeFlags::FIXED_FILE);
            if plain && self.host().status_flags(req.fd).is_ok_and(|f| f & O_PATH != 0) {
                return self.complete(ring, st, req, Err(Errno::EBADF), 0);
            }
            let ready = DEFAULT_POLLMASK & events;
            let res = if ready == 0 { Err(Errno::EINVAL) } else { Ok(ready as i32) };
            return self.complete(ring, st, req, res, 0);
        }
        let Some(number) = req.file.file().and_then(HostFile::number) else {
            return self.complete(ring, st, req, Err(Errno::ENOMEM), 0);
        };
        // What the ring signalled before is not what this poll waits for.
        st.eventfd_told &= !multi;
        let ready = self.host().poll_now(number, events & 0xffff) & events;
        if ready & POLLNVAL != 0 {
            return self.complete(ring, st, req, Err(Errno::EBADF), 0);
        }
        if ready != 0 && !multi {
            return self.complete(ring, st, req, Ok(ready as i32), 0);
        }
        // A multishot that is ready already gets its first event from the poller: adding a ready
        // descriptor reports it at once.
        st.poll_now |= ready != 0;
        if let Some(Cmd::PollAdd(p)) = &mut req.cmd {
            p.ready = ready != 0;
        }
        // Data on a socket wakes for IN and PRI, but a wake-up does not match by PRI alone (poll.c
        // `io_poll_wake`, `IO_ASYNC_POLL_COMMON`): nothing that arrives ends such a poll.
        let deaf = req.file.kind() == Some(FileKind::Socket) && events & ARRIVALS == 0;
        let wait_for = if deaf { events & !(POLLPRI & !ready) } else { events };
        self.arm(ring, st, req, wait_for);
    }

    /// The poll request with this user_data, armed; the newest, as poll.c `io_poll_find` has it.
    fn find_poll(&self, st: &State<H>, user_data: u64) -> Option<(Key, Key)> {
        st.reqs.of(user_data).find_map(|(key, r)| match (&r.cmd, &r.phase) {
            (Some(Cmd::PollAdd(_)), Phase::Polled(w)) => Some((key, *w)),
            _ => None,
        })
    }

    pub(crate) fn issue_poll_remove(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let Some(Cmd::PollRemove(PollRemove { target, events, user_data })) = req.cmd else {
            return;
        };
        let Some((key, watch)) = self.find_poll(st, target) else {
            // poll.c `io_poll_disarm`: one that was cancelled is there until task work ends it.
            let is = |r: &Req<H>| matches!(r.cmd, Some(Cmd::PollAdd(_))) && r.user_data == target;
            let again = st.ready.iter().any(|r| was_polled(r) && is(r));
            let e = if again { Errno::EALREADY } else { Errno::ENOENT };
            return self.complete(ring, st, req, Err(e), 0);
        };
        // Completed while the target still counts as under way, so that no drain ends in between.
        self.complete(ring, st, req, Ok(0), 0);
        let Some(mut poll) = st.reqs.remove(key) else { return };
        self.disarm(st, key, watch);
        if events.is_none() && user_data.is_none() {
            return self.cancel_later(st, poll);
        }
        if let Some(data) = user_data {
            poll.user_data = data;
        }
        if let (Some(mask), Some(Cmd::PollAdd(p))) = (events, &mut poll.cmd) {
            // poll.c `io_poll_remove`: the low 16 bits are replaced.
            // One-shot or multishot is not among them.
            p.events = p.events & !0xffff | mask & 0xffff;
        }
        poll.phase = Phase::Fresh;
        self.issue_poll_add(ring, st, poll);
    }
}
