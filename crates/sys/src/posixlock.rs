//! Whether this process may hold POSIX (fcntl) locks, and what follows from that.
//!
//! Closing *any* descriptor of an inode in the application's table drops the process's POSIX locks
//! on that inode (fs/locks.c `locks_remove_posix`, called by `filp_close`). While the process has
//! never taken one, a number for a regular file in that table is harmless; from the first lock on
//! no such number may be made or closed there.
//!
//! ```text
//!  unknown --/proc/locks names us, or cannot be read--> maybe   (locks survive exec)
//!     '------it does not--------------------------------> no --before_posix_lock()--> maybe
//! ```
//!
//! The step from `no` to `maybe` withdraws the numbers that exist, before the lock is taken. Numbers
//! are made under the same lock that the step holds, so there are only two orders:
//!
//! ```text
//!  a request                           the first fcntl(F_SETLK)
//!  lock; state is no; dup; list; unlock
//!                                      lock; state = maybe; unlock
//!                                      for each in the list: home in the keeper, then
//!                                        dup3(placeholder, number)     closes the dup: no lock yet
//!                                      fcntl: the lock is taken
//!  or
//!                                      lock; state = maybe; unlock ...
//!  lock; state is maybe: no dup; unlock
//! ```
//!
//! The number is not closed but replaced, by a descriptor that answers `EBADF` to reading and
//! writing (`O_PATH`), and stays ours until its file goes: a thread that has asked for the number
//! and not yet made its call gets `EBADF`, never somebody else's file. Who gets `EBADF` on a number
//! of ours asks for the number again and finds none. A thread already inside its call is not
//! disturbed: the kernel holds the file for it.
//!
//! What it does not do: know about locks through open file descriptions or flock(2), which no
//! foreign close drops; notice an inline `fcntl` (a listed limitation).

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::file;
use crate::generation::{self, Wiped};
use crate::raw::{self, SysResult, general as g};

const UNKNOWN: usize = 0;
const NO: usize = 1;
const MAYBE: usize = 2;

fn state() -> &'static AtomicUsize {
    generation::wiped(Wiped::PosixLocks)
}

/// Whether this process may hold POSIX locks. One load once known.
#[inline]
pub fn may_hold() -> bool {
    match state().load(Acquire) {
        NO => false,
        UNKNOWN => find_out(),
        _ => true,
    }
}

#[cold]
fn find_out() -> bool {
    let held = named_in_proc_locks().unwrap_or(true);
    let known = if held { MAYBE } else { NO };
    // A failed exchange means that somebody else knows better.
    let _ = state().compare_exchange(UNKNOWN, known, Release, Relaxed);
    state().load(Acquire) == MAYBE
}

/// To be called right before a POSIX lock is taken (`F_SETLK`, `F_SETLKW` with other than
/// `F_UNLCK`; lockf). Cheap from the second time on.
#[inline]
pub fn before_posix_lock() {
    if state().load(Acquire) != MAYBE {
        file::withdraw_lockable_numbers(|| state().store(MAYBE, Release));
    }
}

/// Whether `/proc/locks` lists a POSIX lock of this process.
fn named_in_proc_locks() -> SysResult<bool> {
    // The pid as the mounted /proc counts.
    let mut link = [0u8; 24];
    let pid = readlink_self(&mut link)?;
    let fd = raw::openat(g::AT_FDCWD, c"/proc/locks", g::O_RDONLY | g::O_CLOEXEC, 0)?;
    let found = scan(fd, pid);
    let _ = raw::close(fd);
    found
}

fn readlink_self(to: &mut [u8]) -> SysResult<&[u8]> {
    let path = c"/proc/self";
    // SAFETY: the kernel reads a live string and writes at most `to.len()` bytes to `to`.
    let n = unsafe {
        raw::syscall4(
            g::__NR_readlinkat,
            raw::fd_arg(g::AT_FDCWD),
            path.as_ptr() as usize,
            to.as_mut_ptr() as usize,
            to.len(),
        )
    };
    let n = ringer_uapi::Errno::demux(n)?;
    Ok(to.get(..n).unwrap_or(&[]))
}

/// Reads lines of `1: POSIX  ADVISORY  WRITE 1234 08:01:123 0 EOF` (`1: -> ...` for waiters).
fn scan(fd: i32, pid: &[u8]) -> SysResult<bool> {
    let mut line = Line::default();
    let mut buf = [0u8; 1024];
    loop {
        let n = raw::read(fd, &mut buf)?;
        for byte in buf.iter().take(n) {
            if line.ends_with(*byte) {
                if line.is_posix_of(pid) {
                    return Ok(true);
                }
                line = Line::default();
            }
        }
        if n == 0 {
            return Ok(line.is_posix_of(pid));
        }
    }
}

/// The start of a line; the fields that matter come early.
struct Line {
    bytes: [u8; 96],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 96], len: 0 }
    }
}

impl Line {
    fn ends_with(&mut self, byte: u8) -> bool {
        if let Some(place) = self.bytes.get_mut(self.len)
            && byte != b'\n'
        {
            *place = byte;
            self.len += 1;
        }
        byte == b'\n'
    }

    fn is_posix_of(&self, pid: &[u8]) -> bool {
        let text = self.bytes.get(..self.len).unwrap_or(&[]);
        let mut fields = text.split(|b| *b == b' ').filter(|f| !f.is_empty());
        let posix = fields.any(|f| f == b"POSIX");
        posix && fields.nth(2) == Some(pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, pid: &str) -> bool {
        let mut line = Line::default();
        assert!(!text.bytes().any(|b| line.ends_with(b)));
        line.is_posix_of(pid.as_bytes())
    }

    #[test]
    fn only_posix_locks_of_the_pid_count() {
        assert!(names("1: POSIX  ADVISORY  WRITE 1234 08:01:123 0 EOF", "1234"));
        assert!(names("3: -> POSIX  ADVISORY  READ  1234 08:01:123 128 128", "1234"));
        assert!(!names("1: POSIX  ADVISORY  WRITE 12345 08:01:123 0 EOF", "1234"));
        assert!(!names("1: FLOCK  ADVISORY  WRITE 1234 08:01:123 0 EOF", "1234"));
        assert!(!names("1: OFDLCK ADVISORY  WRITE -1 08:01:1234 0 EOF", "1234"));
        assert!(!names("", "1234"));
    }
}
