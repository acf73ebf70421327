//! `IORING_OP_FILES_UPDATE` (since 5.6): change slots of the file table from a request.
//!
//! - Reads:   `addr` = `__s32` array; `len` = entries; `off` = first slot, or
//!   `IORING_FILE_INDEX_ALLOC`: a slot is picked for each and written back
//! - Rejects: `EINVAL` for FIXED_FILE or BUFFER_SELECT, if `op_flags` or `file_index` is set, for
//!   `len` 0
//! - Result:  slots processed, or the error of the first
//! - Errors:  `ENXIO` no table; `EINVAL` beyond it; `EFAULT`; `EBADF`
//! - Source:  6.18 io_uring/rsrc.c `io_files_update_prep`, `io_files_update`

use super::opdef::{Cmd, IssueCx, Op, Outcome, PrepCx};
use crate::engine::Engine;
use crate::host::Host;
use crate::request::Req;
use crate::ring::{Ring, State};
use alloc::sync::Arc;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, FILE_INDEX_ALLOC, Sqe};

/// See the module's doc.
#[derive(Debug)]
pub struct FilesUpdate {
    addr: u64,
    nr: u32,
    off: u32,
}

impl Op for FilesUpdate {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if cx.flags.intersects(SqeFlags::FIXED_FILE | SqeFlags::BUFFER_SELECT)
            || sqe.op_flags != 0
            || sqe.file_index != 0
            || sqe.len == 0
        {
            return Err(Errno::EINVAL);
        }
        Ok(Self { addr: sqe.addr, nr: sqe.len, off: sqe.off as u32 })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

impl<H: Host> Engine<H> {
    pub(crate) fn issue_files_update(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let Some(Cmd::FilesUpdate(FilesUpdate { addr, nr, off })) = req.cmd else { return };
        let res = if off == FILE_INDEX_ALLOC {
            self.files_update_alloc(ring, st, addr, nr)
        } else {
            self.files_update(ring, st, (off, nr), addr, 0)
        };
        self.complete(ring, st, req, res.map(|n| n as i32), 0);
    }
}
