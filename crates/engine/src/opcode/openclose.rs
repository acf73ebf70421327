//! `IORING_OP_OPENAT`, `OPENAT2`, `CLOSE` (since 5.6; direct descriptors since 5.15).
//!
//! - Reads:   open: `fd` = directory, `addr` = path, `op_flags`/`len` = flags and mode, or
//!   `off`/`len` = `struct open_how` and its size, `file_index` = slot + 1 or ALLOC.
//!   close: `fd`, or `file_index` = slot + 1
//! - Rejects: open: `buf_index` `EINVAL`; FIXED_FILE `EBADF`; how shorter than 24 `EINVAL`, a longer
//!   one with a set tail `E2BIG`; path `EFAULT`, `ENAMETOOLONG`, empty `ENOENT`; direct with O_CLOEXEC `EINVAL`.
//!   close: `off addr len op_flags buf_index` `EINVAL`; FIXED_FILE `EBADF`; `fd` with
//!   `file_index` `EINVAL`
//! - Result:  descriptor; 0 for a chosen slot; the slot for ALLOC
//! - Errors:  openat2(2), close(2); see `resource::filetable` for slots
//! - Blocks:  what the dentry cache does not answer, and all that create or truncate, go to a worker;
//!   the others are opened as with O_NONBLOCK, which a FIFO shows
//! - Source:  6.18 io_uring/openclose.c `__io_openat_prep`, `io_openat2`, `io_close_prep`

use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx};
use crate::host::Host;
use alloc::boxed::Box;
use ringer_uapi::bytes::{all_zero, u64_at};
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, FILE_INDEX_ALLOC, Sqe};

const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;
const O_CLOEXEC: u64 = 0o2_000_000;
const O_PATH: u64 = 0o10_000_000;
const O_TMPFILE: u64 = 0o20_000_000;
/// fs/open.c `VALID_OPEN_FLAGS`.
const VALID_OPEN_FLAGS: u64 = 0o37_777_703;
/// fs/open.c `O_PATH_FLAGS`: O_DIRECTORY, O_NOFOLLOW, O_PATH, O_CLOEXEC.
const O_PATH_FLAGS: u64 = 0o200_000 | 0o400_000 | O_PATH | O_CLOEXEC;
const S_IALLUGO: u64 = 0o7777;
const RESOLVE_CACHED: u64 = 0x20;
const OPEN_HOW_SIZE: u32 = 24;

/// See the module's doc.
#[derive(Debug)]
pub struct Open {
    path: Box<[u8]>,
    /// flags, mode, resolve.
    how: [u64; 3],
    slot: Option<u32>,
}

/// `file_index` as the ABI encodes a slot: 0 none, n = slot n-1, all ones = ALLOC.
pub(crate) fn direct_slot(file_index: u32) -> Option<u32> {
    match file_index {
        0 => None,
        FILE_INDEX_ALLOC => Some(FILE_INDEX_ALLOC),
        n => Some(n - 1),
    }
}

impl Open {
    /// Whether it makes a direct descriptor.
    pub(crate) fn is_direct(&self) -> bool {
        self.slot.is_some()
    }

    /// Whether it makes a place and no file, whose close drops no lock.
    pub(crate) fn is_place(&self) -> bool {
        self.how[0] & O_PATH != 0
    }

    fn copy_how<H: Host>(host: &H, addr: u64, size: u32) -> Result<[u64; 3], Errno> {
        if size < OPEN_HOW_SIZE {
            return Err(Errno::EINVAL);
        }
        // lib/usercopy.c: the tail, in order, before what is known.
        let mut at = OPEN_HOW_SIZE;
        let mut chunk = [0u8; 64];
        while at < size {
            let part = &mut chunk[..(size - at).min(64) as usize];
            host.copy_in(addr.wrapping_add(u64::from(at)), part)?;
            if !all_zero(part) {
                return Err(Errno::E2BIG);
            }
            at += part.len() as u32;
        }
        let mut known = [0u8; OPEN_HOW_SIZE as usize];
        host.copy_in(addr, &mut known)?;
        Ok([u64_at(&known, 0), u64_at(&known, 8), u64_at(&known, 16)])
    }

    /// fs/open.c `build_open_how`: openat(2) ignores what openat2(2) refuses.
    fn build_how(flags: u32, mode: u32) -> [u64; 3] {
        let mut flags = u64::from(flags) & VALID_OPEN_FLAGS;
        if flags & O_PATH != 0 {
            flags &= O_PATH_FLAGS;
        }
        let creates = flags & (O_CREAT | O_TMPFILE) != 0;
        [flags, if creates { u64::from(mode) & S_IALLUGO } else { 0 }, 0]
    }
}

impl Op for Open {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let how = if sqe.opcode == 28 {
            Self::copy_how(cx.host, sqe.off, sqe.len)?
        } else {
            Self::build_how(sqe.op_flags, sqe.len)
        };
        if sqe.buf_index != 0 {
            return Err(Errno::EINVAL);
        }
        if cx.flags.contains(SqeFlags::FIXED_FILE) {
            return Err(Errno::EBADF);
        }
        let path = cx.host.copy_path(sqe.addr)?;
        let slot = direct_slot(sqe.file_index);
        if slot.is_some() && how[0] & O_CLOEXEC != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { path, how, slot })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let [flags, mode, resolve] = self.how;
        let slow = flags & (O_CREAT | O_TRUNC | O_TMPFILE) != 0;
        let inline = cx.how == Issue::Inline;
        if inline && slow {
            return Outcome::Punt;
        }
        if inline && self.slot.is_some() && cx.host.may_hold_posix_locks() {
            // What is wrong with `how` is said at once, before any path is looked at.
            let nowhere = cx.host.openat2(-1, b"\0", self.how);
            return match nowhere {
                Err(Errno::EINVAL) => Outcome::Done(Err(Errno::EINVAL), 0),
                _ => Outcome::Punt,
            };
        }
        let opened = if inline {
            cx.host.open_now(cx.fd, &self.path, [flags, mode, resolve | RESOLVE_CACHED])
        } else {
            cx.host.openat2(cx.fd, &self.path, self.how)
        };
        match opened {
            Err(Errno::EAGAIN) if inline && resolve & RESOLVE_CACHED == 0 => Outcome::Punt,
            Err(e) => Outcome::Done(Err(e), 0),
            Ok(fd) => match self.slot {
                Some(slot) => Outcome::Direct { fd, slot, cflags: 0 },
                None => Outcome::Done(Ok(fd), 0),
            },
        }
    }
}

/// See the module's doc.
#[derive(Debug)]
pub struct Close {
    fd: i32,
    slot: Option<u32>,
}

impl Close {
    /// The slot to empty, for a direct close.
    pub(crate) fn slot(&self) -> Option<u32> {
        self.slot
    }

    /// The number to close, for any other.
    pub(crate) fn number(&self) -> Option<i32> {
        self.slot.is_none().then_some(self.fd)
    }
}

impl Op for Close {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { off: 0, addr: 0, len: 0, op_flags: 0, buf_index: 0, fd, file_index, .. } = *sqe
        else {
            return Err(Errno::EINVAL);
        };
        if cx.flags.contains(SqeFlags::FIXED_FILE) {
            return Err(Errno::EBADF);
        }
        if file_index != 0 && fd != 0 {
            return Err(Errno::EINVAL);
        }
        // ALLOC has no meaning here: it is slot 0xfffffffe, beyond every table.
        Ok(Self { fd, slot: file_index.checked_sub(1) })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        cx.host.close(self.fd).into()
    }
}
