//! `IORING_OP_PIPE` (since 6.16): make a pipe.
//!
//! - Reads:   `addr` = where the two numbers go; `op_flags` = those of pipe2(2); `file_index`
//! - Rejects: `EINVAL` if `fd`, `off` or `addr3` is set, for unknown flags
//! - Result:  0; the numbers are descriptors, or the slots of direct ones: the chosen one and the next,
//!   or any two
//! - Errors:  pipe2(2); direct with O_CLOEXEC `EINVAL`; see `resource::filetable` for slots. What was
//!   put into a slot before an error is taken out again
//! - Blocks:  no
//! - Source:  6.18 io_uring/openclose.c `io_pipe_prep`, `io_pipe_fixed`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use super::openclose::direct_slot;
use crate::engine::Engine;
use crate::host::Host;
use crate::opcode::Cmd;
use crate::request::Req;
use crate::ring::{Ring, State};
use alloc::sync::Arc;
use ringer_uapi::{Errno, FILE_INDEX_ALLOC, Sqe};

const O_CLOEXEC: u32 = 0o2_000_000;
/// `O_CLOEXEC`, `O_NONBLOCK`, `O_DIRECT`, `O_NOTIFICATION_PIPE`.
const FLAGS: u32 = O_CLOEXEC | 0o4000 | 0o40_000 | 0o200;

/// See the module's doc.
#[derive(Clone, Copy, Debug)]
pub struct Pipe {
    to: u64,
    flags: u32,
    slot: Option<u32>,
}

impl Pipe {
    /// Whether it makes direct descriptors.
    pub(crate) fn is_direct(&self) -> bool {
        self.slot.is_some()
    }
}

impl Op for Pipe {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { fd: 0, off: 0, addr3: 0, addr, op_flags, file_index, .. } = *sqe else {
            return Err(Errno::EINVAL);
        };
        if op_flags & !FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { to: addr, flags: op_flags, slot: direct_slot(file_index) })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.pipe_into(self.to, self.flags).into()
    }
}

impl<H: Host> Engine<H> {
    /// A pipe into two slots.
    pub(crate) fn issue_pipe(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let Some(Cmd::Pipe(cmd)) = req.cmd else { return };
        let res = self.pipe_direct(ring, st, cmd);
        self.complete(ring, st, req, res.map(|()| 0), 0);
    }

    fn pipe_direct(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, cmd: Pipe) -> Result<(), Errno> {
        if cmd.flags & O_CLOEXEC != 0 {
            return Err(Errno::EINVAL);
        }
        let ends = self.host().pipe(cmd.flags)?.map(|fd| self.host().take(fd));
        let mut slot = cmd.slot.unwrap_or(FILE_INDEX_ALLOC);
        let (mut filled, mut n) = ([0; 2], 0);
        let mut done = Ok(());
        for end in ends {
            match done.and_then(|()| self.place_direct(ring, st, end, slot)) {
                Ok(at) => {
                    filled[n] = at;
                    n += 1;
                }
                Err(e) => done = Err(e),
            }
            if slot != FILE_INDEX_ALLOC {
                slot += 1;
            }
        }
        let numbers = u64::from(filled[0]) | u64::from(filled[1]) << 32;
        done = done.and_then(|()| self.host().copy_out(cmd.to, &numbers.to_le_bytes()));
        if done.is_err() {
            for at in &filled[..n] {
                // It was filled just now.
                let _ = self.close_direct(ring, st, *at);
            }
        }
        done
    }
}
