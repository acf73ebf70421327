//! `IORING_OP_FSETXATTR`, `SETXATTR`, `FGETXATTR`, `GETXATTR` (since 5.19): extended attributes.
//!
//! - Reads:   `fd`, or `addr3` = path; `addr` = name; `off`, `len` = value and its length \[bytes\];
//!   set: `op_flags` = `XATTR_CREATE`, `XATTR_REPLACE`
//! - Rejects: with a path FIXED_FILE `EBADF`; flags `EINVAL`; name `EFAULT`, empty or over 255 bytes
//!   `ERANGE`; set: value over 64 KiB `E2BIG`, bad `EFAULT`; path `EFAULT`, `ENAMETOOLONG`, empty
//!   `ENOENT`
//! - Result:  set: 0; get: length of the value
//! - Errors:  fsetxattr(2), setxattr(2), fgetxattr(2), getxattr(2)
//! - Blocks:  yes, so all go to a worker; the value to set is copied before
//! - Source:  6.18 io_uring/xattr.c `__io_setxattr_prep`, `__io_getxattr_prep`; fs/xattr.c
//!   `setxattr_copy`

use super::opdef::{IssueCx, Op, Outcome, PrepCx};
use crate::host::{Attributed, Host, Iovec};
use alloc::boxed::Box;
use alloc::vec;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

/// `XATTR_CREATE`, `XATTR_REPLACE`.
const SET_FLAGS: u32 = 1 | 2;
/// `XATTR_NAME_MAX` and the NUL.
const NAME_MAX: usize = 256;
/// `XATTR_SIZE_MAX`.
const SIZE_MAX: u32 = 65_536;
const SETXATTR: u8 = 42;
const GETXATTR: u8 = 44;

/// fs/xattr.c `import_xattr_name`.
fn copy_name<H: Host>(host: &H, addr: u64) -> Result<Box<[u8]>, Errno> {
    match host.copy_text(addr, NAME_MAX) {
        Ok(name) if name.len() > 1 => Ok(name),
        Ok(_) | Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        Err(e) => Err(e),
    }
}

/// Refuses a slot where there is a path.
fn no_slot<H: Host>(cx: &PrepCx<'_, H>, by_path: bool) -> Result<(), Errno> {
    let refused = by_path && cx.flags.contains(SqeFlags::FIXED_FILE);
    if refused { Err(Errno::EBADF) } else { Ok(()) }
}

/// The path, if it has one.
fn copy_path<H: Host>(
    cx: &PrepCx<'_, H>,
    by_path: bool,
    addr: u64,
) -> Result<Option<Box<[u8]>>, Errno> {
    by_path.then(|| cx.host.copy_path(addr)).transpose()
}

fn whom(path: Option<&[u8]>, fd: i32) -> Attributed<'_> {
    path.map_or(Attributed::File(fd), Attributed::Path)
}

/// `IORING_OP_FSETXATTR`, `SETXATTR`.
#[derive(Debug)]
pub struct Set {
    path: Option<Box<[u8]>>,
    name: Box<[u8]>,
    value: Box<[u8]>,
    flags: u32,
}

impl Op for Set {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let by_path = sqe.opcode == SETXATTR;
        no_slot(cx, by_path)?;
        if sqe.op_flags & !SET_FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        let name = copy_name(cx.host, sqe.addr)?;
        if sqe.len > SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        let mut value = vec![0; sqe.len as usize];
        if sqe.len != 0 {
            cx.host.copy_in(sqe.off, &mut value)?;
        }
        let path = copy_path(cx, by_path, sqe.addr3)?;
        Ok(Self { path, name, value: value.into(), flags: sqe.op_flags })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let whom = whom(self.path.as_deref(), cx.fd);
        cx.host.set_xattr(whom, &self.name, &self.value, self.flags).into()
    }
}

/// `IORING_OP_FGETXATTR`, `GETXATTR`.
#[derive(Debug)]
pub struct Get {
    path: Option<Box<[u8]>>,
    name: Box<[u8]>,
    to: Iovec,
}

impl Op for Get {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let by_path = sqe.opcode == GETXATTR;
        no_slot(cx, by_path)?;
        if sqe.op_flags != 0 {
            return Err(Errno::EINVAL);
        }
        let name = copy_name(cx.host, sqe.addr)?;
        let path = copy_path(cx, by_path, sqe.addr3)?;
        Ok(Self { path, name, to: Iovec { base: sqe.off, len: sqe.len.into() } })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let whom = whom(self.path.as_deref(), cx.fd);
        cx.host.get_xattr(whom, &self.name, self.to).map(|n| n as i32).into()
    }
}
