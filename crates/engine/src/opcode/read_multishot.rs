//! `IORING_OP_READ_MULTISHOT` (since 6.7): reads into provided buffers until its end.
//!
//! - Reads:   `fd`; `off`; `op_flags` = `RWF_*`; `ioprio`; `buf_index` = group
//! - Rejects: no BUFFER_SELECT `EINVAL`; as READ; `addr` or `len` set `EINVAL`
//! - Result:  bytes of each read, with MORE; 0 at the end
//! - Errors:  `EBADFD` a file that cannot be polled; `ENOBUFS`, after the last buffer was used only
//!   when there is more to read; as READ
//! - Blocks:  never: waits for readiness
//! - Source:  6.18 io_uring/rw.c `io_read_mshot_prep`, `io_read_mshot`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use super::rw::Rw;
use crate::host::{Host, Iovec};
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

const POLLIN: u32 = 1;

/// See the module's doc.
#[derive(Debug)]
pub struct ReadMultishot {
    read: Rw,
    /// It read once, and looks whether there is more.
    looks: bool,
}

impl ReadMultishot {
    pub(crate) fn take_buffer(&mut self, buf: Iovec) -> Result<(), Errno> {
        self.read.take_buffer(buf)
    }

    /// Where the buffer begins that it took last.
    pub(crate) fn base(&self) -> u64 {
        self.read.base()
    }

    /// Whether it waits at once, without a buffer.
    pub(crate) fn rests<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> bool {
        core::mem::take(&mut self.looks) && cx.host.poll_now(cx.fd, POLLIN) == 0
    }
}

impl Op for ReadMultishot {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if !cx.flags.contains(SqeFlags::BUFFER_SELECT) {
            return Err(Errno::EINVAL);
        }
        let read = Rw::prep(cx, sqe)?;
        if sqe.addr != 0 || sqe.len != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { read, looks: false })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        match self.read.issue(cx) {
            Outcome::Done(Ok(n), flags) if n > 0 => {
                self.looks = true;
                Outcome::More(n, flags)
            }
            other => other,
        }
    }
}
