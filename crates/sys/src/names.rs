//! Calls on names, on behalf of the application. Paths are copies of ours and end in NUL.
//!
//! What it does not do: resolve anything. Folder, root and mask are the calling thread's.

use ringer_engine::host::{Attributed, HostResult, Iovec};

use crate::io::{app_call, terminated};
use crate::raw::{fd_arg, general as g};

/// `statx(2)` into user memory.
///
/// # Errors
/// The call's.
pub fn statx(dirfd: i32, path: &[u8], flags: u32, mask: u32, buf: u64) -> HostResult<()> {
    let path = terminated(path)?;
    let args = [fd_arg(dirfd), path, flags as usize, mask as usize, buf as usize, 0];
    app_call(g::__NR_statx, args).map(drop)
}

/// `unlinkat(2)`.
///
/// # Errors
/// The call's.
pub fn unlinkat(dirfd: i32, path: &[u8], flags: u32) -> HostResult<()> {
    let args = [fd_arg(dirfd), terminated(path)?, flags as usize, 0, 0, 0];
    app_call(g::__NR_unlinkat, args).map(drop)
}

/// `renameat2(2)`; each end is (dirfd, path).
///
/// # Errors
/// The call's.
pub fn renameat2(from: (i32, &[u8]), to: (i32, &[u8]), flags: u32) -> HostResult<()> {
    two_names(g::__NR_renameat2, from, to, flags)
}

/// `linkat(2)`; each end is (dirfd, path).
///
/// # Errors
/// The call's.
pub fn linkat(from: (i32, &[u8]), to: (i32, &[u8]), flags: u32) -> HostResult<()> {
    two_names(g::__NR_linkat, from, to, flags)
}

fn two_names(nr: u32, from: (i32, &[u8]), to: (i32, &[u8]), flags: u32) -> HostResult<()> {
    let (old, new) = (terminated(from.1)?, terminated(to.1)?);
    app_call(nr, [fd_arg(from.0), old, fd_arg(to.0), new, flags as usize, 0]).map(drop)
}

/// `mkdirat(2)`.
///
/// # Errors
/// The call's.
pub fn mkdirat(dirfd: i32, path: &[u8], mode: u32) -> HostResult<()> {
    let args = [fd_arg(dirfd), terminated(path)?, mode as usize, 0, 0, 0];
    app_call(g::__NR_mkdirat, args).map(drop)
}

/// `symlinkat(2)`.
///
/// # Errors
/// The call's.
pub fn symlinkat(target: &[u8], dirfd: i32, path: &[u8]) -> HostResult<()> {
    let (target, path) = (terminated(target)?, terminated(path)?);
    app_call(g::__NR_symlinkat, [target, fd_arg(dirfd), path, 0, 0, 0]).map(drop)
}

/// The call of the two, its first argument.
fn by([file, path]: [u32; 2], whom: Attributed<'_>) -> HostResult<(u32, usize)> {
    Ok(match whom {
        Attributed::File(fd) => (file, fd_arg(fd)),
        Attributed::Path(text) => (path, terminated(text)?),
    })
}

/// `fsetxattr(2)`, `setxattr(2)`.
///
/// # Errors
/// The call's.
pub fn set_xattr(whom: Attributed<'_>, name: &[u8], value: &[u8], flags: u32) -> HostResult<()> {
    let (nr, first) = by([g::__NR_fsetxattr, g::__NR_setxattr], whom)?;
    let (at, len) = (value.as_ptr() as usize, value.len());
    app_call(nr, [first, terminated(name)?, at, len, flags as usize, 0]).map(drop)
}

/// `fgetxattr(2)`, `getxattr(2)` into user memory.
///
/// # Errors
/// The call's.
pub fn get_xattr(whom: Attributed<'_>, name: &[u8], to: Iovec) -> HostResult<u32> {
    let (nr, first) = by([g::__NR_fgetxattr, g::__NR_getxattr], whom)?;
    let args = [first, terminated(name)?, to.base as usize, to.len as usize, 0, 0];
    // A value has 64 KiB at most.
    app_call(nr, args).map(|n| n as u32)
}
