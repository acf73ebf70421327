//! Register calls that need more than their numbers: synchronous cancels, limits and CPUs of workers,
//! and the region that waits find their argument in.
//!
//! What it does not do: wait by that argument (`Run::enter_within` does).

use super::Run;
use crate::differential::program::{Fd, Register};
use crate::os::{Buf, Sys};

const IOWQ_AFF: u32 = 17;
const NO_IOWQ_AFF: u32 = 18;
const IOWQ_MAX_WORKERS: u32 = 19;
const SYNC_CANCEL: u32 = 24;
const MEM_REGION: u32 = 34;
/// Length of the region \[bytes\].
const REGION_LEN: u64 = 4096;
/// Nobody waits longer for a worker \[s\].
const LIMIT_S: u64 = 2;

impl Run<'_> {
    /// Makes one of these calls; `None`: it is none of them.
    pub(super) fn call(&mut self, r: &Register) -> Option<Sys<u64>> {
        Some(match r {
            Register::SyncCancel(name, fd, flags, op) => self.sync_cancel(*name, *fd, *flags, *op),
            Register::Workers(bounded, rest) => self.workers(*bounded, *rest),
            Register::Affinity(Some(cpus)) => {
                let mask = self.place(&[*cpus]);
                self.ring.register(IOWQ_AFF, mask, 8)
            }
            Register::Affinity(None) => self.ring.register(NO_IOWQ_AFF, 0, 0),
            Register::Region(own, waits) => self.add_region(*own, *waits),
            _ => return None,
        })
    }

    fn sync_cancel(&mut self, name: u64, fd: Fd, flags: u32, op: u8) -> Sys<u64> {
        let fd = u64::from(self.scene.number(fd).cast_unsigned());
        let words = [name, fd | u64::from(flags) << 32, LIMIT_S, 0, op.into(), 0, 0, 0];
        let arg = self.place(&words);
        self.ring.register(SYNC_CANCEL, arg, 1)
    }

    /// Sets limits, and answers what is told then. What was there before is other programs'.
    fn workers(&mut self, bounded: u32, rest: u32) -> Sys<u64> {
        let arg = self.place(&[u64::from(bounded) | u64::from(rest) << 32]);
        self.limited = true;
        self.ring.register(IOWQ_MAX_WORKERS, arg, 2)?;
        let arg = self.place(&[0]);
        self.ring.register(IOWQ_MAX_WORKERS, arg, 2)?;
        Ok(self.consts.get64(self.used - 8))
    }

    fn add_region(&mut self, own: bool, waits: bool) -> Sys<u64> {
        let page = Buf::map(REGION_LEN as usize, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)?;
        let (addr, kind) = if own { (0, 0) } else { (page.addr(), 1) };
        let desc = self.place(&[addr, REGION_LEN, kind, 0, 0, 0, 0, 0]);
        let offset = self.used - 40;
        let arg = self.place(&[desc, waits.into(), 0, 0]);
        let answer = self.ring.register(MEM_REGION, arg, 1)?;
        let page = if own {
            let at = self.consts.get64(offset);
            Buf::map(REGION_LEN as usize, libc::MAP_SHARED, self.ring.fd, at)?
        } else {
            page
        };
        self.region = Some((page, waits));
        Ok(answer)
    }

    /// Limits and CPUs are the thread's and would be the next program's.
    pub(super) fn unlimit(&mut self) {
        if std::mem::take(&mut self.limited) {
            let arg = self.place(&[64 | 1024 << 32]);
            let _ = self.ring.register(IOWQ_MAX_WORKERS, arg, 2);
        }
        let _ = self.ring.register(NO_IOWQ_AFF, 0, 0);
    }
}
