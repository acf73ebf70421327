//! System calls by name: typed, no libc, no errno, no cancellation points.
//!
//! Every wrapper makes exactly one call and answers the kernel's own error. A wrapper is safe where
//! the call can harm nothing that Rust relies on; otherwise it is `unsafe` and says what to promise.
//! Application addresses are plain `u64`s. What it does not do: retry (`EINTR` goes up) or decide.

use core::ffi::CStr;
use core::sync::atomic::AtomicU32;
use linux_raw_sys::general as g;
use ringer_uapi::Errno;

pub use crate::arch::{
    PAGE, TASK_SIZE, syscall0, syscall1, syscall2, syscall3, syscall4, syscall5, syscall6,
};
/// System call numbers and the kernel's structures and constants.
pub use linux_raw_sys::general;

/// What a call answers.
pub type SysResult<T> = Result<T, Errno>;

/// Put into the ignored high half of the descriptor argument of every mmap of ours, so that a trap
/// filter (which looks at it) lets the call pass to the kernel.
pub const MMAP_MAGIC: u64 = 0x5269_6e67_0000_0000;

fn ok(ret: isize) -> SysResult<()> {
    Errno::demux(ret).map(drop)
}

#[allow(clippy::cast_possible_truncation, reason = "descriptors and counts fit in an int")]
fn int(ret: isize) -> SysResult<i32> {
    Errno::demux(ret).map(|v| v as i32)
}

/// Sign-extends a descriptor as C's argument promotion would.
#[inline]
pub const fn fd_arg(fd: i32) -> usize {
    fd as isize as usize
}

// --- descriptors -----------------------------------------------------------------------------

/// `close(2)`.
///
/// # Errors
/// The call's.
pub fn close(fd: i32) -> SysResult<()> {
    // SAFETY: touches no memory; who owns the number is the caller's business.
    ok(unsafe { syscall1(g::__NR_close, fd_arg(fd)) })
}

/// `close_range(2)` with `CLOSE_RANGE_*` flags.
///
/// # Errors
/// The call's.
pub fn close_range(first: u32, last: u32, flags: u32) -> SysResult<()> {
    // SAFETY: touches no memory; who owns the numbers is the caller's business.
    ok(unsafe { syscall3(g::__NR_close_range, first as usize, last as usize, flags as usize) })
}

/// `dup3(2)`.
///
/// # Errors
/// The call's.
pub fn dup3(old: i32, new: i32, flags: u32) -> SysResult<i32> {
    // SAFETY: touches no memory.
    int(unsafe { syscall3(g::__NR_dup3, fd_arg(old), fd_arg(new), flags as usize) })
}

/// `fcntl(2)` with an integer argument (`F_DUPFD_CLOEXEC`, `F_GETFL`, `F_ADD_SEALS`, ...).
///
/// # Errors
/// The call's.
pub fn fcntl(fd: i32, cmd: u32, arg: usize) -> SysResult<i32> {
    // SAFETY: commands with integer arguments touch no memory; pointer commands get user addresses.
    int(unsafe { syscall3(g::__NR_fcntl, fd_arg(fd), cmd as usize, arg) })
}

/// `openat(2)` with a path of ours.
///
/// # Errors
/// The call's.
pub fn openat(dirfd: i32, path: &CStr, flags: u32, mode: u32) -> SysResult<i32> {
    // SAFETY: `path` is a live NUL-terminated string.
    int(unsafe {
        syscall4(
            g::__NR_openat,
            fd_arg(dirfd),
            path.as_ptr() as usize,
            flags as usize,
            mode as usize,
        )
    })
}

/// `read(2)` into memory of ours.
///
/// # Errors
/// The call's.
pub fn read(fd: i32, to: &mut [u8]) -> SysResult<usize> {
    // SAFETY: the kernel writes at most `to.len()` bytes to `to`.
    Errno::demux(unsafe { syscall3(g::__NR_read, fd_arg(fd), to.as_mut_ptr() as usize, to.len()) })
}

/// `write(2)` from memory of ours.
///
/// # Errors
/// The call's.
pub fn write(fd: i32, from: &[u8]) -> SysResult<usize> {
    // SAFETY: the kernel reads at most `from.len()` bytes of `from`.
    Errno::demux(unsafe { syscall3(g::__NR_write, fd_arg(fd), from.as_ptr() as usize, from.len()) })
}

/// `pipe2(2)`: (read end, write end).
///
/// # Errors
/// The call's.
pub fn pipe2(flags: u32) -> SysResult<(i32, i32)> {
    let mut fds = [0i32; 2];
    // SAFETY: the kernel writes two ints to `fds`.
    ok(unsafe { syscall2(g::__NR_pipe2, fds.as_mut_ptr() as usize, flags as usize) })?;
    Ok((fds[0], fds[1]))
}

/// `eventfd2(2)`.
///
/// # Errors
/// The call's.
pub fn eventfd(count: u32, flags: u32) -> SysResult<i32> {
    // SAFETY: touches no memory.
    int(unsafe { syscall2(g::__NR_eventfd2, count as usize, flags as usize) })
}

/// `timerfd_create(2)` of a clock.
///
/// # Errors
/// The call's.
pub fn timerfd(clock: u32, flags: u32) -> SysResult<i32> {
    // SAFETY: touches no memory.
    int(unsafe { syscall2(g::__NR_timerfd_create, clock as usize, flags as usize) })
}

/// `timerfd_settime(2)`: once, at or after `ns`.
///
/// # Errors
/// The call's.
pub fn timerfd_set(fd: i32, flags: u32, ns: u64) -> SysResult<()> {
    let once = g::__kernel_itimerspec { it_interval: timespec(0), it_value: timespec(ns) };
    let at = core::ptr::from_ref(&once) as usize;
    // SAFETY: the kernel reads the timespecs, and writes no old ones.
    ok(unsafe { syscall4(g::__NR_timerfd_settime, fd_arg(fd), flags as usize, at, 0) })
}

/// `memfd_create(2)`.
///
/// # Errors
/// The call's.
pub fn memfd_create(name: &CStr, flags: u32) -> SysResult<i32> {
    // SAFETY: `name` is a live NUL-terminated string.
    int(unsafe { syscall2(g::__NR_memfd_create, name.as_ptr() as usize, flags as usize) })
}

/// `ftruncate(2)`.
///
/// # Errors
/// The call's.
pub fn ftruncate(fd: i32, len: u64) -> SysResult<()> {
    // SAFETY: touches no memory that Rust sees as owned (maps of files are atomics only).
    ok(unsafe { syscall2(g::__NR_ftruncate, fd_arg(fd), len as usize) })
}

/// `fallocate(2)` of the first `len` bytes of a file: space that is there when it is written to.
///
/// # Errors
/// The call's.
pub fn fallocate(fd: i32, len: u64) -> SysResult<()> {
    // SAFETY: touches no memory that Rust sees as owned (maps of files are atomics only).
    ok(unsafe { syscall4(g::__NR_fallocate, fd_arg(fd), 0, 0, len as usize) })
}

/// `fstat(2)`.
///
/// # Errors
/// The call's.
pub fn fstat(fd: i32) -> SysResult<g::stat> {
    // SAFETY: all zero is a valid `stat` (plain integers).
    let mut st: g::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one `stat` to `st`.
    ok(unsafe { syscall2(g::__NR_fstat, fd_arg(fd), &raw mut st as usize) })?;
    Ok(st)
}

/// `fstatfs(2)`: the magic number of the file system.
///
/// # Errors
/// The call's.
pub fn file_system(fd: i32) -> SysResult<u64> {
    // struct statfs of x86-64 is 120 bytes, f_type its first word.
    let mut statfs = [0u64; 15];
    // SAFETY: the kernel writes one `struct statfs` to the array, which is as large.
    ok(unsafe { syscall2(g::__NR_fstatfs, fd_arg(fd), statfs.as_mut_ptr() as usize) })?;
    Ok(statfs[0])
}

/// `fadvise64(2)`.
///
/// # Errors
/// The call's.
pub fn fadvise(fd: i32, off: u64, len: u64, advice: u32) -> SysResult<()> {
    // SAFETY: touches no memory.
    ok(unsafe {
        syscall4(g::__NR_fadvise64, fd_arg(fd), off as usize, len as usize, advice as usize)
    })
}

/// `ioctl(2)` with an integer argument or a user address.
///
/// # Safety
/// If `arg` is an address of ours, it must be one that this request may read and write.
///
/// # Errors
/// The call's.
pub unsafe fn ioctl(fd: i32, request: u32, arg: usize) -> SysResult<i32> {
    // SAFETY: the caller's promise.
    int(unsafe { syscall3(g::__NR_ioctl, fd_arg(fd), request as usize, arg) })
}

/// `kcmp(2)` of two descriptors of this process: whether both are the same open file.
///
/// # Errors
/// `EPERM`, `ENOSYS` where it is refused; `EBADF`.
pub fn kcmp_file(a: i32, b: i32) -> SysResult<bool> {
    const KCMP_FILE: usize = 0;
    let pid = getpid() as usize;
    // SAFETY: touches no memory.
    int(unsafe { syscall5(g::__NR_kcmp, pid, pid, KCMP_FILE, fd_arg(a), fd_arg(b)) })
        .map(|order| order == 0)
}

// --- sockets and polling ---------------------------------------------------------------------

/// `socketpair(2)`.
///
/// # Errors
/// The call's.
pub fn socketpair(domain: u32, ty: u32) -> SysResult<(i32, i32)> {
    let mut fds = [0i32; 2];
    // SAFETY: the kernel writes two ints to `fds`.
    ok(unsafe {
        syscall4(g::__NR_socketpair, domain as usize, ty as usize, 0, fds.as_mut_ptr() as usize)
    })?;
    Ok((fds[0], fds[1]))
}

/// `sendmsg(2)`.
///
/// # Safety
/// If `msg` is an address of ours, everything it points at must be readable.
///
/// # Errors
/// The call's.
pub unsafe fn sendmsg(fd: i32, msg: u64, flags: u32) -> SysResult<usize> {
    // SAFETY: the caller's promise.
    Errno::demux(unsafe { syscall3(g::__NR_sendmsg, fd_arg(fd), msg as usize, flags as usize) })
}

/// `recvmsg(2)`.
///
/// # Safety
/// If `msg` is an address of ours, everything it points at must be writable by this call.
///
/// # Errors
/// The call's.
pub unsafe fn recvmsg(fd: i32, msg: u64, flags: u32) -> SysResult<usize> {
    // SAFETY: the caller's promise.
    Errno::demux(unsafe { syscall3(g::__NR_recvmsg, fd_arg(fd), msg as usize, flags as usize) })
}

/// `epoll_create1(2)`, close-on-exec.
///
/// # Errors
/// The call's.
pub fn epoll_create() -> SysResult<i32> {
    // SAFETY: touches no memory.
    int(unsafe { syscall1(g::__NR_epoll_create1, g::EPOLL_CLOEXEC as usize) })
}

/// `epoll_ctl(2)`; `event` is (events, data).
///
/// # Errors
/// The call's.
pub fn epoll_ctl(epfd: i32, op: u32, fd: i32, event: Option<(u32, u64)>) -> SysResult<()> {
    let ev = event.map(|(events, data)| g::epoll_event { events, data });
    let at = ev.as_ref().map_or(0, |e| core::ptr::from_ref(e) as usize);
    // SAFETY: `at` is NULL (EFAULT where one is needed) or a live event, which the kernel reads.
    ok(unsafe { syscall4(g::__NR_epoll_ctl, fd_arg(epfd), op as usize, fd_arg(fd), at) })
}

/// `epoll_pwait(2)` with a timeout in milliseconds, `-1` for none.
///
/// # Errors
/// The call's.
pub fn epoll_pwait(
    epfd: i32,
    events: &mut [g::epoll_event],
    timeout_ms: i32,
    mask: Option<&u64>,
) -> SysResult<usize> {
    let sig = mask.map_or(0, |m| core::ptr::from_ref(m) as usize);
    let n = events.len();
    let at = events.as_mut_ptr() as usize;
    // SAFETY: the kernel writes at most `n` events and reads the 8-byte mask.
    Errno::demux(unsafe {
        syscall6(g::__NR_epoll_pwait, [fd_arg(epfd), at, n, fd_arg(timeout_ms), sig, 8])
    })
}

/// `poll(2)` on descriptors of ours; a timeout of `-1` has no limit \[ms\].
///
/// # Errors
/// The call's.
pub fn poll(fds: &mut [g::pollfd], timeout_ms: i32) -> SysResult<usize> {
    // SAFETY: the kernel reads and writes exactly the slice.
    Errno::demux(unsafe {
        syscall3(g::__NR_poll, fds.as_mut_ptr() as usize, fds.len(), fd_arg(timeout_ms))
    })
}

// --- memory ----------------------------------------------------------------------------------

/// `mmap(2)`, marked with [`MMAP_MAGIC`] so that no filter of ours traps it.
///
/// # Safety
/// With `MAP_FIXED`, nothing that Rust uses may live at `addr..addr+len`.
///
/// # Errors
/// The call's.
pub unsafe fn mmap(
    addr: usize,
    len: usize,
    prot: u32,
    flags: u32,
    fd: i32,
    off: u64,
) -> SysResult<usize> {
    let marked = (u64::from(fd.cast_unsigned()) | MMAP_MAGIC) as usize;
    // SAFETY: the caller's promise; the kernel takes only the low half of the descriptor argument.
    Errno::demux(unsafe {
        syscall6(g::__NR_mmap, [addr, len, prot as usize, flags as usize, marked, off as usize])
    })
}

/// Fresh private zero pages, read-write, wherever the kernel likes.
///
/// # Errors
/// `ENOMEM`.
pub fn mmap_anonymous(len: usize) -> SysResult<usize> {
    let flags = g::MAP_PRIVATE | g::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED nothing existing is replaced.
    unsafe { mmap(0, len, g::PROT_READ | g::PROT_WRITE, flags, -1, 0) }
}

/// `munmap(2)`.
///
/// # Safety
/// Nothing may use `addr..addr+len` any more.
///
/// # Errors
/// The call's.
pub unsafe fn munmap(addr: usize, len: usize) -> SysResult<()> {
    // SAFETY: the caller's promise.
    ok(unsafe { syscall2(g::__NR_munmap, addr, len) })
}

/// `mremap(2)` (without `MREMAP_FIXED` the last argument is ignored).
///
/// # Safety
/// Nothing may rely on the old place afterwards unless `old_len` is 0, nor on what
/// `MREMAP_FIXED` replaces.
///
/// # Errors
/// The call's.
pub unsafe fn mremap(
    addr: usize,
    old_len: usize,
    new_len: usize,
    flags: u32,
    to: usize,
) -> SysResult<usize> {
    // SAFETY: the caller's promise.
    Errno::demux(unsafe { syscall5(g::__NR_mremap, addr, old_len, new_len, flags as usize, to) })
}

/// `mprotect(2)`.
///
/// # Safety
/// The range must stay usable for whatever Rust still does with it.
///
/// # Errors
/// The call's.
pub unsafe fn mprotect(addr: usize, len: usize, prot: u32) -> SysResult<()> {
    // SAFETY: the caller's promise.
    ok(unsafe { syscall3(g::__NR_mprotect, addr, len, prot as usize) })
}

/// `madvise(2)`.
///
/// # Safety
/// The advice must not discard contents that something relies on.
///
/// # Errors
/// The call's.
pub unsafe fn madvise(addr: usize, len: usize, advice: u32) -> SysResult<()> {
    // SAFETY: the caller's promise.
    ok(unsafe { syscall3(g::__NR_madvise, addr, len, advice as usize) })
}

// --- futex -----------------------------------------------------------------------------------

/// Sleeps while `*word == expected`, private to this process. A timeout is relative
/// \[ns\]; without one a signal handler with `SA_RESTART` restarts the wait unseen.
///
/// # Errors
/// `EAGAIN`: the word differs. `EINTR`. `ETIMEDOUT`.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) -> SysResult<()> {
    let ts = timeout_ns.map(timespec);
    let at = ts.as_ref().map_or(0, |t| core::ptr::from_ref(t) as usize);
    let op = (g::FUTEX_WAIT | g::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel reads the word and, if given, the timespec; both are live.
    ok(unsafe { syscall4(g::__NR_futex, word.as_ptr() as usize, op, expected as usize, at) })
}

/// Wakes up to `n` sleepers on `word`, private to this process.
pub fn futex_wake(word: &AtomicU32, n: u32) {
    let op = (g::FUTEX_WAKE | g::FUTEX_PRIVATE_FLAG) as usize;
    let n = n.min(i32::MAX.cast_unsigned()) as usize;
    // SAFETY: the address is only a key; the kernel does not touch the word.
    let _woken = unsafe { syscall3(g::__NR_futex, word.as_ptr() as usize, op, n) };
}

/// The same as [`futex_wait`] on a word that other processes have, too.
///
/// # Errors
/// As [`futex_wait`].
pub fn futex_wait_among(word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) -> SysResult<()> {
    let ts = timeout_ns.map(timespec);
    let at = ts.as_ref().map_or(0, |t| core::ptr::from_ref(t) as usize);
    let (word, op) = (word.as_ptr() as usize, g::FUTEX_WAIT as usize);
    // SAFETY: the kernel reads the word and, if given, the timespec; both are live.
    ok(unsafe { syscall4(g::__NR_futex, word, op, expected as usize, at) })
}

/// The same as [`futex_wake`] on a word that other processes have, too.
pub fn futex_wake_among(word: &AtomicU32, n: u32) {
    let n = n.min(i32::MAX.cast_unsigned()) as usize;
    // SAFETY: the kernel reads nothing of the word, which names the memory it lies in.
    let _woken =
        unsafe { syscall3(g::__NR_futex, word.as_ptr() as usize, g::FUTEX_WAKE as usize, n) };
}

/// Whether a process has that number: `kill(2)` with signal 0.
pub fn process_exists(pid: u32) -> bool {
    // SAFETY: sends nothing.
    let ret = unsafe { syscall2(g::__NR_kill, pid as usize, 0) };
    ok(ret) != Err(Errno::ESRCH)
}

/// `membarrier(2)` without flags; a kernel or a filter may refuse.
pub fn membarrier(command: usize) {
    // SAFETY: touches no memory.
    let _ = unsafe { syscall3(g::__NR_membarrier, command, 0, 0) };
}

/// Nanoseconds as a `timespec`.
pub const fn timespec(ns: u64) -> g::__kernel_timespec {
    g::__kernel_timespec {
        tv_sec: (ns / 1_000_000_000).cast_signed(),
        tv_nsec: (ns % 1_000_000_000).cast_signed(),
    }
}

// --- processes, threads, signals -------------------------------------------------------------

/// `getpid(2)`.
pub fn getpid() -> u32 {
    // SAFETY: touches no memory.
    (unsafe { syscall0(g::__NR_getpid) }) as u32
}

/// `gettid(2)`; see `thread::tid` for the cached one.
pub fn gettid() -> u32 {
    // SAFETY: touches no memory.
    (unsafe { syscall0(g::__NR_gettid) }) as u32
}

/// `sched_yield(2)`.
pub fn sched_yield() {
    // SAFETY: touches no memory. It cannot fail.
    let _ = unsafe { syscall0(g::__NR_sched_yield) };
}

/// `tgkill(2)`.
///
/// # Errors
/// `ESRCH`: the thread is gone.
pub fn tgkill(pid: u32, tid: u32, sig: u32) -> SysResult<()> {
    // SAFETY: touches no memory.
    ok(unsafe { syscall3(g::__NR_tgkill, pid as usize, tid as usize, sig as usize) })
}

/// `prctl(2)` with integer arguments.
///
/// # Safety
/// An option that takes an address must get one that suits it.
///
/// # Errors
/// The call's.
pub unsafe fn prctl(option: u32, a: usize, b: usize, c: usize, d: usize) -> SysResult<i32> {
    // SAFETY: the caller's promise.
    int(unsafe { syscall5(g::__NR_prctl, option as usize, a, b, c, d) })
}

/// `rt_sigprocmask(2)`: applies `set` (if any) by `how`, answers the mask before.
///
/// # Errors
/// `EINVAL` for an unknown `how`.
pub fn sigprocmask(how: u32, set: Option<u64>) -> SysResult<u64> {
    let mut old = 0u64;
    let new = set.as_ref().map_or(0, |s| core::ptr::from_ref(s) as usize);
    // SAFETY: the kernel reads 8 bytes from `new` unless NULL, and writes 8 to `old`.
    ok(unsafe { syscall4(g::__NR_rt_sigprocmask, how as usize, new, &raw mut old as usize, 8) })?;
    Ok(old)
}

/// The limit (soft, hard) of a resource of this process.
///
/// # Errors
/// `EINVAL` for an unknown resource.
pub fn rlimit(resource: u32) -> SysResult<(u64, u64)> {
    let mut lim = [0u64; 2];
    // SAFETY: the kernel writes one rlimit64 (two u64) to `lim`.
    ok(unsafe { syscall4(g::__NR_prlimit64, 0, resource as usize, 0, lim.as_mut_ptr() as usize) })?;
    Ok((lim[0], lim[1]))
}

/// `clock_gettime(2)` by system call \[ns\].
///
/// # Errors
/// `EINVAL` for an unknown clock.
pub fn clock_gettime(clock: u32) -> SysResult<u64> {
    let mut ts = timespec(0);
    // SAFETY: the kernel writes one timespec to `ts`.
    ok(unsafe { syscall2(g::__NR_clock_gettime, clock as usize, &raw mut ts as usize) })?;
    Ok(ts.tv_sec.cast_unsigned() * 1_000_000_000 + ts.tv_nsec.cast_unsigned())
}

/// Ends the process with `code`.
pub fn exit_group(code: i32) -> ! {
    loop {
        // SAFETY: does not return; the loop is for the compiler.
        unsafe { syscall1(g::__NR_exit_group, fd_arg(code)) };
    }
}

/// `fork` and `wait` for unit tests, without libc's handlers.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Runs `f` in a forked child (which no other test's threads or forks disturb); answers its
    /// exit code, 101 after a panic, or 256 + the signal that ended it.
    pub(crate) fn in_child(f: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child runs `f`, which takes no lock of libc's, and ends by exit_group.
        let pid = unsafe { syscall0(g::__NR_fork) };
        assert!(pid >= 0, "fork: {pid}");
        if pid == 0 {
            // No lock of the standard library may be waited for: a thread that stayed behind in the
            // parent may hold it. Only a failure takes some.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
            if let Err(what) = &result {
                let text = what.downcast_ref::<std::string::String>().map_or("", |s| s);
                let _ = write(2, std::format!("in a child: {text}\n").as_bytes());
            }
            exit_group(result.unwrap_or(101));
        }
        let mut status = 0i32;
        // SAFETY: the kernel writes one int to `status`.
        let got = unsafe { syscall4(g::__NR_wait4, pid as usize, &raw mut status as usize, 0, 0) };
        assert_eq!(got, pid);
        if status & 0x7f == 0 { status >> 8 & 0xff } else { 256 + (status & 0x7f) }
    }
}
