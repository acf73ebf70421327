//! SYNC_CANCEL as a step: what it may answer, and that it comes back.
//!
//! What it does not do: judge the targets (`check.rs` does, as those of ASYNC_CANCEL).

use super::app::App;
use super::program::{Cancel, Entry};
use super::rows::ALIAS;
use crate::policy::Fault;
use crate::sched::lock;
use ringer_uapi::Errno;

const SYNC_CANCEL: u32 = 24;
const ALL: u32 = 1;
const FD: u32 = 2;
const ANY: u32 = 4;
const OP: u32 = 32;
/// Longest time until an interrupted worker has put its request down \[ns\].
const LATE_NS: u64 = 50_000_000;

impl Cancel {
    /// Whether it may have taken this entry.
    pub(super) fn may_take(&self, e: &Entry) -> bool {
        let same = self.name % ALIAS == e.sqe.user_data;
        match self.flags {
            f if f & ANY != 0 => true,
            f if f & FD != 0 => self.fd == e.sqe.fd,
            f if f & OP != 0 => self.opcode == e.sqe.opcode,
            _ => same,
        }
    }

    /// Whether it takes one request, by its name.
    pub(super) fn is_by_name(&self) -> bool {
        self.flags == 0
    }
}

impl App {
    /// See the module's doc.
    pub(super) fn cancel_now(&self, c: &Cancel) {
        let keys = u64::from(c.fd.cast_unsigned()) | u64::from(c.flags) << 32;
        let (sec, nsec) = c.ns.map_or((u64::MAX, u64::MAX), |ns| (0, ns));
        let arg = self.words(0, &[c.name, keys, sec, nsec, c.opcode.into(), 0, 0, 0]);
        let (began, eintrs) = (self.sched.now(), self.sched.eintrs());
        let r = self.register(SYNC_CANCEL, arg, 1);
        let took = self.sched.now() - began;
        let counts = c.flags & (ALL | ANY) != 0;
        let poor = self.program.has(Fault::NoFile);
        let fine = match r {
            // What waits for a child or a futex is counted in any case.
            Ok(n) => n <= 1 || counts,
            Err(Errno::ENOENT) => !counts,
            Err(Errno::ETIME) => c.ns.is_some_and(|ns| took >= ns),
            Err(Errno::EINTR) => self.sched.eintrs() != eintrs,
            Err(Errno::EBADF) => c.flags & FD != 0,
            Err(Errno::ENOMEM | Errno::EMFILE) => poor,
            Err(_) => false,
        };
        assert!(fine, "{c:?} says {r:?} after {took} ns");
        let longest = c.ns.map_or(LATE_NS, |ns| ns.min(LATE_NS));
        let slow = self.program.has(Fault::Slow);
        assert!(slow || took <= longest, "{c:?} took {took} ns");
        let mut side = lock(&self.side);
        if r.is_ok() {
            side.tables.count(SYNC_CANCEL);
        }
        if r == Ok(0) && c.is_by_name() {
            side.tables.cancelled.insert(c.name);
        }
    }
}
