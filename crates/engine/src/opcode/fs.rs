//! `IORING_OP_RENAMEAT`, `UNLINKAT` (since 5.11), `MKDIRAT`, `SYMLINKAT`, `LINKAT` (since 5.15).
//!
//! - Reads:   `fd` = directory, `addr` = path; rename and link: `len` = second directory, `off` =
//!   second path, `op_flags`; symlink: `addr` = target, `off` = path; mkdir: `len` = mode
//! - Rejects: `EINVAL` for set fields an operation does not use; FIXED_FILE `EBADF`; unlink: flags
//!   other than `AT_REMOVEDIR` `EINVAL`; paths `EFAULT`, `ENAMETOOLONG`, empty `ENOENT`
//! - Result:  0
//! - Errors:  renameat2(2), unlinkat(2), mkdirat(2), symlinkat(2), linkat(2)
//! - Blocks:  yes, so all go to a worker
//! - Source:  6.18 io_uring/fs.c `io_renameat_prep` and its neighbours

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use crate::host::Host;
use alloc::boxed::Box;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

const AT_REMOVEDIR: u32 = 0x200;

/// The two checks all five share, in the kernel's order.
fn refuse<H: Host>(cx: &PrepCx<'_, H>, stray: bool) -> Result<(), Errno> {
    if stray {
        return Err(Errno::EINVAL);
    }
    if cx.flags.contains(SqeFlags::FIXED_FILE) {
        return Err(Errno::EBADF);
    }
    Ok(())
}

/// A directory and a path below it.
#[derive(Debug)]
struct At {
    dirfd: i32,
    path: Box<[u8]>,
}

/// `IORING_OP_RENAMEAT`.
#[derive(Debug)]
pub struct Rename {
    from: At,
    to: At,
    flags: u32,
}

impl Op for Rename {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        refuse(cx, sqe.buf_index != 0 || sqe.file_index != 0)?;
        let from = At { dirfd: sqe.fd, path: cx.host.copy_path(sqe.addr)? };
        let to = At { dirfd: sqe.len as i32, path: cx.host.copy_path(sqe.off)? };
        Ok(Self { from, to, flags: sqe.op_flags })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let (from, to) = (&self.from, &self.to);
        cx.host.renameat2((from.dirfd, &from.path), (to.dirfd, &to.path), self.flags).into()
    }
}

/// `IORING_OP_UNLINKAT`.
#[derive(Debug)]
pub struct Unlink {
    at: At,
    flags: u32,
}

impl Op for Unlink {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        refuse(cx, sqe.off != 0 || sqe.len != 0 || sqe.buf_index != 0 || sqe.file_index != 0)?;
        if sqe.op_flags & !AT_REMOVEDIR != 0 {
            return Err(Errno::EINVAL);
        }
        let at = At { dirfd: sqe.fd, path: cx.host.copy_path(sqe.addr)? };
        Ok(Self { at, flags: sqe.op_flags })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.unlinkat(self.at.dirfd, &self.at.path, self.flags).into()
    }
}

/// `IORING_OP_MKDIRAT`.
#[derive(Debug)]
pub struct Mkdir {
    at: At,
    mode: u32,
}

impl Op for Mkdir {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        refuse(cx, sqe.off != 0 || sqe.op_flags != 0 || sqe.buf_index != 0 || sqe.file_index != 0)?;
        let at = At { dirfd: sqe.fd, path: cx.host.copy_path(sqe.addr)? };
        Ok(Self { at, mode: sqe.len })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.mkdirat(self.at.dirfd, &self.at.path, self.mode).into()
    }
}

/// `IORING_OP_SYMLINKAT`.
#[derive(Debug)]
pub struct Symlink {
    target: Box<[u8]>,
    at: At,
}

impl Op for Symlink {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        refuse(cx, sqe.len != 0 || sqe.op_flags != 0 || sqe.buf_index != 0 || sqe.file_index != 0)?;
        let target = cx.host.copy_path(sqe.addr)?;
        let at = At { dirfd: sqe.fd, path: cx.host.copy_path(sqe.off)? };
        Ok(Self { target, at })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.symlinkat(&self.target, self.at.dirfd, &self.at.path).into()
    }
}

/// `IORING_OP_LINKAT`.
#[derive(Debug)]
pub struct Link {
    from: At,
    to: At,
    flags: u32,
}

impl Op for Link {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        refuse(cx, sqe.buf_index != 0 || sqe.file_index != 0)?;
        let from = At { dirfd: sqe.fd, path: cx.host.copy_path_for(sqe.addr, sqe.op_flags)? };
        let to = At { dirfd: sqe.len as i32, path: cx.host.copy_path(sqe.off)? };
        Ok(Self { from, to, flags: sqe.op_flags })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let (from, to) = (&self.from, &self.to);
        cx.host.linkat((from.dirfd, &from.path), (to.dirfd, &to.path), self.flags).into()
    }
}
