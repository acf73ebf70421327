//! `IORING_OP_SPLICE` (since 5.7), `TEE` (since 5.8): move or copy between a pipe and a file.
//!
//! - Reads:   `fd` = to; `file_index` = from, a slot with `SPLICE_F_FD_IN_FIXED`; `addr`, `off` = offsets
//!   from and to, -1 = the position (a pipe has no other); `len`; `op_flags` = `SPLICE_F_*`
//! - Rejects: `EINVAL` for unknown flags; tee: for set offsets
//! - Result:  bytes; fewer than asked for fail the chain
//! - Errors:  splice(2), tee(2); `EBADF` for either file; cancelled while it waits 512, which 6.18 tells
//! - Blocks:  yes, so both go to a worker
//! - Source:  6.18 io_uring/splice.c `__io_splice_prep`, `io_splice`

use super::opdef::{IssueCx, O_PATH, Op, Outcome, PrepCx};
use super::rw::{O_ACCMODE, O_RDONLY, O_WRONLY};
use crate::host::Host;
use crate::support::opflags::SPLICE_ACCEPTED;
use ringer_uapi::{Errno, Sqe};

const FD_IN_FIXED: u32 = 1 << 31;
/// What a wait in a pipe that a signal ends comes to within the kernel, and 6.18 shows.
const ERESTARTSYS: Errno = Errno::from_raw(512);
const TEE: u8 = 33;

/// See the module's doc.
#[derive(Debug)]
pub struct Splice {
    tee: bool,
    /// Offsets from and to.
    offs: [u64; 2],
    len: u32,
    flags: u32,
    from: i32,
}

impl Splice {
    /// Where it takes from: a number, and whether it is a slot.
    pub(crate) fn input(&self) -> (i32, bool) {
        (self.from, self.flags & FD_IN_FIXED != 0)
    }

    /// The number that this file has for the thread that runs it.
    pub(crate) fn take_from(&mut self, number: i32) {
        self.from = number;
    }

    /// Whether a result breaks a link.
    pub(crate) fn is_short(&self, res: i32) -> bool {
        res != self.len as i32
    }
}

impl Op for Splice {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let tee = sqe.opcode == TEE;
        if tee && (sqe.addr != 0 || sqe.off != 0) || sqe.op_flags & !SPLICE_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let (offs, from) = ([sqe.addr, sqe.off], sqe.file_index as i32);
        Ok(Self { tee, offs, len: sqe.len, flags: sqe.op_flags, from })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let (flags, len) = (self.flags & !FD_IN_FIXED, self.len);
        if len == 0 {
            let both = is_file(cx.host, cx.fd) && is_file(cx.host, self.from);
            return Outcome::Done(if both { Ok(0) } else { Err(Errno::EBADF) }, 0);
        }
        let moved = if self.tee {
            cx.host.tee(self.from, cx.fd, len, flags)
        } else {
            cx.host.splice((self.from, self.offs[0]), (cx.fd, self.offs[1]), len, flags)
        };
        // splice.c `do_splice` looks at what the files are open for before splice(2)'s offsets.
        let wrong = |fd, way| cx.host.status_flags(fd).is_ok_and(|f| f & O_ACCMODE == way);
        match moved {
            Err(Errno::ESPIPE) if wrong(self.from, O_WRONLY) || wrong(cx.fd, O_RDONLY) => {
                Outcome::Done(Err(Errno::EBADF), 0)
            }
            Err(Errno::EINTR) => Outcome::Done(Err(ERESTARTSYS), 0),
            moved => moved.map(|n| n as i32).into(),
        }
    }
}

/// Whether a number is a file's, as a lookup says: splice(2) of nothing does not ask.
fn is_file<H: Host>(host: &H, fd: i32) -> bool {
    host.status_flags(fd).is_ok_and(|flags| flags & O_PATH == 0)
}
