//! Calls on names, on behalf of the application. Paths are copies of ours and end in NUL.
//!
//! What it does not do: resolve anything. Folder, root and mask are the calling thread's.

use ringer_engine::host::HostResult;

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
