//! `SOCKET_URING_OP_TX_TIMESTAMP` of URING_CMD (since 6.17): tells a socket's transmit timestamps.
//!
//! ```text
//!   issue -> armed for EPOLLERR --woken--> takes what is in the error queue: a completion each, MORE
//!                 ^                                  |
//!                 '--- nothing left, or no room -----'
//! ```
//!
//! - Result:  the timestamp's key; flags: MORE, TSTAMP_HW, its type from bit 17; second half: `struct
//!   io_timespec`
//! - Errors:  `ECANCELED` when it is cancelled: nothing else ends it. `EOPNOTSUPP` of a socket with
//!   SO_ZEROCOPY, whose notifications come the same way and cannot be put back
//! - Source:  6.18 io_uring/cmd_net.c `io_uring_cmd_timestamp`, `io_process_timestamp_skb`; uring_cmd.c
//!   `io_cmd_poll_multishot`, `io_uring_cmd_post_mshot_cqe32`
//!
//! What it does not do: keep what comes with its packet, or an error, apart from timestamps: an entry of
//! the queue can be looked at only by taking it, so a queue whose timestamps would not be told is not
//! touched, and of one that is read errors are lost (LIMITATIONS.md).

use super::Cmd;
use crate::engine::Engine;
use crate::host::{Host, HostFile, TxTimestamp};
use crate::request::Req;
use crate::ring::{Ring, State};
use crate::slab::Key;
use alloc::sync::Arc;
use ringer_uapi::flags::{CqeFlags, Setup};
use ringer_uapi::{Cqe, Errno};

/// Most that one turn takes from a queue under the ring's lock.
const TAKEN_MAX: usize = 1024;
/// `IORING_CQE_F_TSTAMP_HW`.
const TSTAMP_HW: u32 = 1 << 16;
/// `IORING_TIMESTAMP_TYPE_SHIFT`.
const TYPE_SHIFT: u32 = 17;

/// Whether a request tells timestamps.
pub(crate) fn is_timestamps<H: Host>(req: &Req<H>) -> bool {
    matches!(&req.cmd, Some(Cmd::UringCmd(c)) if c.is_timestamps())
}

impl<H: Host> Engine<H> {
    /// A wake-up of a request that waits for timestamps: tells those that are there, and waits on.
    pub(crate) fn tell_timestamps(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: Req<H>,
        (watch, want): (Key, u32),
    ) {
        let number = req.file.file().and_then(HostFile::number);
        let number = match number.map(|n| Ok((n, self.host().tells_timestamps(n)?))) {
            Some(Ok((n, true))) => n,
            // Whatever woke it, none is for it.
            Some(Ok((_, false))) | None => return self.wait_on(ring, st, req, (watch, want)),
            Some(Err(e)) => return self.complete(ring, st, req, Err(e), 0),
        };
        for _ in 0..TAKEN_MAX {
            if !st.may_post || !ring.has_room_for_wide(st) {
                return self.wait_on(ring, st, req, (watch, want));
            }
            match self.host().take_timestamp(number) {
                Ok(Some(t)) => {
                    let cqe = completion(ring, req.user_data, t);
                    let posted = ring.post(st, cqe);
                    self.trace_cqe(ring, req.trail, &cqe, posted);
                }
                Ok(None) => {}
                Err(Errno::EAGAIN) => return self.wait_on(ring, st, req, (watch, want)),
                Err(e) => return self.complete(ring, st, req, Err(e), 0),
            }
        }
        self.requeue(ring, st, req);
    }
}

fn completion<H: Host>(ring: &Ring<H>, user_data: u64, t: TxTimestamp) -> Cqe {
    let wide = if ring.setup.contains(Setup::CQE_MIXED) { CqeFlags::F_32.bits() } else { 0 };
    let hardware = if t.hardware { TSTAMP_HW } else { 0 };
    let flags = CqeFlags::MORE.bits() | wide | hardware | t.kind << TYPE_SHIFT;
    Cqe { big: t.at, ..Cqe::new(user_data, Ok(t.key.cast_signed()), flags) }
}
