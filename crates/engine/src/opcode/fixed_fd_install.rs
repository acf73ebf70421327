//! `IORING_OP_FIXED_FD_INSTALL` (since 6.8): give a registered file a descriptor.
//!
//! - Reads:   `fd` = slot; `op_flags` = `IORING_FIXED_FD_NO_CLOEXEC`
//! - Rejects: `EINVAL` if `off addr len buf_index file_index addr3` is set; no FIXED_FILE `EBADF`;
//!   unknown flags `EINVAL`; a personality `EPERM`
//! - Result:  descriptor; the slot stays
//! - Errors:  empty slot `EBADF`; `EMFILE`
//! - Blocks:  no
//! - Source:  6.18 io_uring/openclose.c `io_install_fixed_fd_prep`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use crate::engine::Engine;
use crate::host::Host;
use crate::opcode::Cmd;
use crate::request::Req;
use crate::ring::{Ring, State};
use crate::support::opflags::INSTALL_ACCEPTED;
use alloc::sync::Arc;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

const NO_CLOEXEC: u32 = 1;

/// See the module's doc.
#[derive(Clone, Copy, Debug)]
pub struct FixedFdInstall {
    cloexec: bool,
}

impl Op for FixedFdInstall {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { off: 0, addr: 0, len: 0, buf_index: 0, file_index: 0, addr3: 0, .. } = *sqe
        else {
            return Err(Errno::EINVAL);
        };
        if !cx.flags.contains(SqeFlags::FIXED_FILE) {
            return Err(Errno::EBADF);
        }
        if sqe.op_flags & !INSTALL_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        if sqe.personality != 0 {
            return Err(Errno::EPERM);
        }
        Ok(Self { cloexec: sqe.op_flags & NO_CLOEXEC == 0 })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

impl<H: Host> Engine<H> {
    pub(crate) fn issue_fixed_fd_install(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: Req<H>,
    ) {
        let Some(Cmd::FixedFdInstall(FixedFdInstall { cloexec })) = req.cmd else { return };
        let node = st.files.as_ref().and_then(|t| t.get(req.fd)).ok_or(Errno::EBADF);
        let res = node.and_then(|node| self.host().install(&node.file, cloexec));
        self.complete(ring, st, req, res, 0);
    }
}
