//! Who closes, copies or sends a descriptor, and who takes a POSIX lock.
//!
//! The engine's own numbers do not exist for the program: closing one is `EBADF`, a range skips
//! them, and putting something else in their place is `EBUSY`. A ring's number that is closed or
//! replaced is forgotten before the call: afterwards it may be somebody else's.

use crate::{export, fail, real};
use ringer_intercept::entry;
use ringer_sys::raw::{self, general as g};
use ringer_sys::{fdtable, posixlock, usermem};
use ringer_uapi::Errno;
use ringer_uapi::bytes::{i32_at, u64_at};

export! {
    /// close(2).
    fn close(fd: i32) -> i32 {
        if fdtable::is_ours(fd) {
            return fail(Errno::EBADF);
        }
        before_close(fd);
        // SAFETY: the caller's own call.
        unsafe { real::close(fd) }
    }
}

/// What is about a number that the program closes or puts something else at: a ring says what it has
/// come to, no ring keeps a copy of the file, and the number is forgotten.
pub(crate) fn before_close(fd: i32) {
    if let Some(ring) = fdtable::ring_of_known(fd) {
        entry::ring_closing(ring);
    }
    if fdtable::is_lent(fd) {
        entry::number_closing(fd);
    }
    fdtable::closed(fd);
}

export! {
    /// dup(2).
    fn dup(fd: i32) -> i32 {
        if fdtable::is_ours(fd) {
            return fail(Errno::EBADF);
        }
        // SAFETY: the caller's own call.
        let r = unsafe { real::dup(fd) };
        copied(fd, r)
    }
}

/// Tells of a descriptor's second number, if there is one.
fn copied(old: i32, new: i32) -> i32 {
    if new >= 0 {
        fdtable::duplicated(old, new);
    }
    new
}

/// What stands against putting `old` at `new`.
pub(crate) fn before_dup2(old: i32, new: i32) -> Result<(), Errno> {
    if fdtable::is_ours(old) {
        return Err(Errno::EBADF);
    }
    if fdtable::is_ours(new) {
        // dup(2): "This may be returned by dup2() or dup3() during a race condition with open(2)."
        return Err(Errno::EBUSY);
    }
    if old != new {
        before_close(new);
    }
    Ok(())
}

export! {
    /// dup2(2).
    fn dup2(old: i32, new: i32) -> i32 {
        if let Err(e) = before_dup2(old, new) {
            return fail(e);
        }
        // SAFETY: the caller's own call.
        let r = unsafe { real::dup2(old, new) };
        copied(old, r)
    }
}

export! {
    /// dup3(2).
    fn dup3(old: i32, new: i32, flags: i32) -> i32 {
        if let Err(e) = before_dup2(old, new) {
            return fail(e);
        }
        // SAFETY: the caller's own call.
        let r = unsafe { real::dup3(old, new, flags) };
        copied(old, r)
    }
}

/// close_range(2) without the engine's numbers; `close` does the real call on a part.
pub(crate) fn close_range_parts(
    first: u32,
    last: u32,
    flags: u32,
    mut close: impl FnMut(u32, u32) -> isize,
) -> isize {
    const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;
    let sets_cloexec = flags & CLOSE_RANGE_CLOEXEC != 0;
    if first > last || sets_cloexec {
        return close(first, last);
    }
    fdtable::lent_within(first, last).for_each(entry::number_closing);
    fdtable::closed_range(first, last);
    for (lo, hi) in fdtable::skip_ours(first, last) {
        let r = close(lo, hi);
        if r < 0 {
            return r;
        }
    }
    0
}

export! {
    /// close_range(2).
    fn close_range(first: u32, last: u32, flags: i32) -> i32 {
        let r = close_range_parts(first, last, flags as u32, |lo, hi| {
            // SAFETY: the caller's own call, on a part.
            unsafe { real::close_range(lo, hi, flags) as isize }
        });
        r as i32
    }
}

export! {
    /// closefrom(3).
    fn closefrom(first: i32) -> () {
        let first = first.max(0) as u32;
        let closed = close_range_parts(first, u32::MAX, 0, |lo, hi| {
            Errno::mux(raw::close_range(lo, hi, 0).map(|()| 0))
        });
        if closed < 0 {
            // No close_range(2) (before 5.9, or refused): one by one up to the limit.
            let limit = raw::rlimit(g::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft.min(1 << 20));
            for fd in (first as i32..limit as i32).filter(|&fd| !fdtable::is_ours(fd)) {
                let _ = raw::close(fd);
            }
        }
    }
}

const F_DUPFD: i32 = 0;
const F_SETLK: i32 = 6;
const F_SETLKW: i32 = 7;
const F_DUPFD_CLOEXEC: i32 = 1030;

/// What must happen before fcntl(2) with `cmd`.
pub(crate) fn before_fcntl(fd: i32, cmd: i32) -> Result<(), Errno> {
    if fdtable::is_ours(fd) {
        return Err(Errno::EBADF);
    }
    if matches!(cmd, F_SETLK | F_SETLKW) {
        posixlock::before_posix_lock();
    }
    Ok(())
}

/// What must happen after it.
pub(crate) fn after_fcntl(fd: i32, cmd: i32, ret: i32) -> i32 {
    if matches!(cmd, F_DUPFD | F_DUPFD_CLOEXEC) { copied(fd, ret) } else { ret }
}

export! {
    /// fcntl(2). Its third argument is an integer, a pointer or nothing; all come in a register.
    fn fcntl(fd: i32, cmd: i32, arg: usize) -> i32 {
        if let Err(e) = before_fcntl(fd, cmd) {
            return fail(e);
        }
        // SAFETY: the caller's own call.
        let r = unsafe { real::fcntl(fd, cmd, arg) };
        after_fcntl(fd, cmd, r)
    }
}

export! {
    /// fcntl(2) for large files, which all are here.
    fn fcntl64(fd: i32, cmd: i32, arg: usize) -> i32 {
        if let Err(e) = before_fcntl(fd, cmd) {
            return fail(e);
        }
        // A libc before 2.28 has the one name only.
        let r = if real::at::fcntl64.get() == 0 {
            // SAFETY: the caller's own call.
            unsafe { real::fcntl(fd, cmd, arg) }
        } else {
            // SAFETY: the caller's own call.
            unsafe { real::fcntl64(fd, cmd, arg) }
        };
        after_fcntl(fd, cmd, r)
    }
}

export! {
    /// lockf(3): a POSIX lock by another name.
    fn lockf(fd: i32, cmd: i32, len: i64) -> i32 {
        posixlock::before_posix_lock();
        // SAFETY: the caller's own call.
        unsafe { real::lockf(fd, cmd, len) }
    }
}

export! {
    /// lockf(3) for large files.
    fn lockf64(fd: i32, cmd: i32, len: i64) -> i32 {
        posixlock::before_posix_lock();
        // SAFETY: the caller's own call.
        unsafe { real::lockf64(fd, cmd, len) }
    }
}

// --- descriptors in messages -----------------------------------------------------------------

/// Size of `struct msghdr`, and of `struct mmsghdr` which has a count behind it \[bytes\].
const MSGHDR: usize = 56;
const MMSGHDR: usize = 64;
/// `SCM_MAX_FD` descriptors and some other control messages: more the kernel refuses (EINVAL or
/// ETOOMANYREFS) whatever they are \[bytes\].
const CONTROL_MAX: usize = 2048;

/// Refuses control data that holds a ring, as 6.18 does (`__scm_send`: io_uring files), or one of
/// the engine's own numbers.
pub(crate) fn check_message(msg: usize) -> Result<(), Errno> {
    if msg == 0 || !fdtable::any_rings() {
        return Ok(());
    }
    let mut header = [0u8; MSGHDR];
    // A bad pointer is the real call's to refuse.
    if usermem::copy_in(msg as u64, &mut header).is_err() {
        return Ok(());
    }
    let (at, len) = (u64_at(&header, 32), u64_at(&header, 40) as usize);
    if at == 0 || len < 16 {
        return Ok(());
    }
    let mut control = [0u8; CONTROL_MAX];
    let part = control.get_mut(..len.min(CONTROL_MAX)).unwrap_or(&mut []);
    if usermem::copy_in(at, part).is_err() {
        return Ok(());
    }
    let mut rest = &*part;
    while rest.len() >= 16 {
        let len = u64_at(rest, 0) as usize;
        let Some(data) = rest.get(16..len) else { break };
        const RIGHTS: (i32, i32) = (1, 1); // SOL_SOCKET, SCM_RIGHTS
        if (i32_at(rest, 8), i32_at(rest, 12)) == RIGHTS {
            data.chunks_exact(4).try_for_each(|fd| check_sendable(i32_at(fd, 0)))?;
        }
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or(&[]);
    }
    Ok(())
}

fn check_sendable(fd: i32) -> Result<(), Errno> {
    if fdtable::is_ours(fd) {
        return Err(Errno::EBADF);
    }
    match fdtable::ring_of_file(fd) {
        Ok(Some(_)) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

export! {
    /// sendmsg(2).
    fn sendmsg(fd: i32, msg: usize, flags: i32) -> isize {
        if let Err(e) = check_message(msg) {
            return fail(e) as isize;
        }
        // SAFETY: the caller's own call.
        unsafe { real::sendmsg(fd, msg, flags) }
    }
}

/// How many of `n` messages may be sent: those before the first that may not.
///
/// # Errors
/// The first one's.
pub(crate) fn check_messages(msgs: usize, n: u32) -> Result<u32, Errno> {
    const UIO_MAXIOV: u32 = 1024;
    for i in 0..n.min(UIO_MAXIOV) {
        if let Err(e) = check_message(msgs + i as usize * MMSGHDR) {
            return if i == 0 { Err(e) } else { Ok(i) };
        }
    }
    Ok(n)
}

export! {
    /// sendmmsg(2): what comes before a refused message is sent, as the kernel does.
    fn sendmmsg(fd: i32, msgs: usize, n: u32, flags: i32) -> i32 {
        match check_messages(msgs, n) {
            Err(e) => fail(e),
            // SAFETY: the caller's own call, on the first messages.
            Ok(n) => unsafe { real::sendmmsg(fd, msgs, n, flags) },
        }
    }
}
