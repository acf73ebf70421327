//! Reading, writing and what else a descriptor can do, on behalf of the application.
//!
//! Every call that can block goes through [`app_call`], so that a worker can be interrupted in it.
//! What it does not do: look at buffers. Addresses go to the kernel as they came, which answers
//! `EFAULT` for bad ones.

use core::fmt::Write;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use ringer_engine::host::{HostResult, Iovec};
use ringer_uapi::Errno;

use crate::raw::{self, fd_arg, general as g};
use crate::{fdtable, thread};

/// `MSG_DONTWAIT`, for sendto(2).
const MSG_DONTWAIT: usize = 0x40;
/// `off` that stands for the file position.
const CURRENT: u64 = u64::MAX;

/// Makes a call that the application asked for, with its own addresses; interruptible.
///
/// # Errors
/// The call's; `EINTR` also when the thread was interrupted before it.
#[inline(always)]
pub(crate) fn app_call(nr: u32, args: [usize; 6]) -> HostResult<usize> {
    // SAFETY:
    // 1. Addresses of ours among the arguments are made from live references by the functions of
    //    this crate that call this one, of the sizes the call takes.
    // 2. Addresses of the application's are its own memory by its own word; the kernel checks
    //    them. It could make the very same call itself.
    Errno::demux(unsafe { thread::interruptible(nr, args) })
}

/// The count that a transfer answers; the kernel caps it at `MAX_RW_COUNT` (below 2^31).
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// `preadv2(2)`; a single buffer without flags takes the shorter way of `pread64` or `read`.
///
/// # Errors
/// The call's (`ESPIPE` for a pipe or socket with an offset).
#[inline(always)]
pub fn readv(fd: i32, iov: &[Iovec], off: u64, rwf: u32) -> HostResult<u32> {
    transfer([g::__NR_read, g::__NR_pread64, g::__NR_preadv2], fd, iov, off, rwf)
}

/// `pwritev2(2)`, as [`readv`].
///
/// # Errors
/// The call's.
#[inline(always)]
pub fn writev(fd: i32, iov: &[Iovec], off: u64, rwf: u32) -> HostResult<u32> {
    transfer([g::__NR_write, g::__NR_pwrite64, g::__NR_pwritev2], fd, iov, off, rwf)
}

#[inline(always)]
fn transfer(
    [current, at, vectored]: [u32; 3],
    fd: i32,
    iov: &[Iovec],
    off: u64,
    rwf: u32,
) -> HostResult<u32> {
    let n = match *iov {
        [Iovec { base, len }] if rwf == 0 && len != 0 => {
            let (nr, off) = if off == CURRENT { (current, 0) } else { (at, off) };
            app_call(nr, [fd_arg(fd), base as usize, len as usize, off as usize, 0, 0])
        }
        _ => {
            // The high half of the offset is not used on 64 bit; -1 is the current position.
            let (iov_at, n) = (iov.as_ptr() as usize, iov.len());
            app_call(vectored, [fd_arg(fd), iov_at, n, off as usize, 0, rwf as usize])
        }
    };
    if n == Ok(0) && iov.iter().all(|v| v.len == 0) {
        return nothing(current, fd, rwf);
    }
    n.map(count)
}

/// A transfer of no bytes. preadv2(2) and pwritev2(2) answer 0 without asking the file; io_uring
/// asks those that have the newer operations: a socket sends an empty datagram, an eventfd refuses
/// to read. What has only the older ones (a folder, inotify, an eventfd that is written) is asked
/// for nothing (rw.c `loop_rw_iter`), and here neither: its read(2) would wait all the same.
#[cold]
fn nothing(current: u32, fd: i32, rwf: u32) -> HostResult<u32> {
    if current == g::__NR_read {
        let newer = reads_by_iterator(fd)?;
        if rwf & g::RWF_NOWAIT != 0 && would_wait(fd, newer)? {
            // As preadv2(2) says of a byte.
            return Err(Errno::EOPNOTSUPP);
        }
        return if newer {
            app_call(current, [fd_arg(fd), 0, 0, 0, 0, 0]).map(count)
        } else {
            Ok(0)
        };
    }
    let flags = if rwf & g::RWF_NOWAIT == 0 { 0 } else { MSG_DONTWAIT };
    match app_call(g::__NR_sendto, [fd_arg(fd), 0, 0, flags, 0, 0]) {
        Err(Errno::ENOTSOCK) => Ok(0),
        sent => sent.map(count),
    }
}

/// Whether a file has the newer way to be read. Two flags that exclude each other are `EINVAL`
/// where flags are looked at, before anything is read (fs.h `kiocb_set_rw_flags`); what has only
/// the older way takes none at all. A kernel before 6.9 does not know the second flag, and
/// everything seems older.
fn reads_by_iterator(fd: i32) -> HostResult<bool> {
    const APPEND_OR_NOT: usize = 0x10 | 0x20;
    let byte = [Iovec { base: 0, len: 1 }];
    let at = byte.as_ptr() as usize;
    match app_call(g::__NR_preadv2, [fd_arg(fd), at, 1, usize::MAX, 0, APPEND_OR_NOT]) {
        Err(Errno::EOPNOTSUPP) => Ok(false),
        Err(Errno::EINTR) => Err(Errno::EINTR),
        _ => Ok(true),
    }
}

/// Whether a read must be waited for, by the kernel's way to tell (io_uring.c
/// `io_file_supports_nowait`): devices and what has only the older way cannot be asked not to wait,
/// and folders and files are not polled instead.
fn would_wait(fd: i32, newer: bool) -> HostResult<bool> {
    if status_flags(fd)? & g::O_NONBLOCK != 0 {
        return Ok(false);
    }
    Ok(match raw::fstat(fd)?.st_mode & g::S_IFMT {
        g::S_IFDIR => true,
        g::S_IFREG => !newer || !reads_nowait(fd),
        g::S_IFCHR => poll_now(fd, g::POLLIN) == 0,
        _ => !newer && poll_now(fd, g::POLLIN) == 0,
    })
}

/// Whether a file can be asked not to wait: a read of one byte to nowhere comes as far as that
/// question.
fn reads_nowait(fd: i32) -> bool {
    let byte = [Iovec { base: 0, len: 1 }];
    readv(fd, &byte, 0, g::RWF_NOWAIT) != Err(Errno::EOPNOTSUPP)
}

/// `fsync(2)`, or `fdatasync(2)`.
///
/// # Errors
/// The call's.
pub fn fsync(fd: i32, datasync: bool) -> HostResult<()> {
    let nr = if datasync { g::__NR_fdatasync } else { g::__NR_fsync };
    app_call(nr, [fd_arg(fd), 0, 0, 0, 0, 0]).map(drop)
}

/// `sync_file_range(2)`.
///
/// # Errors
/// The call's.
pub fn sync_file_range(fd: i32, off: u64, len: u64, flags: u32) -> HostResult<()> {
    let args = [fd_arg(fd), off as usize, len as usize, flags as usize, 0, 0];
    app_call(g::__NR_sync_file_range, args).map(drop)
}

/// `fallocate(2)`.
///
/// # Errors
/// The call's.
pub fn fallocate(fd: i32, mode: u32, off: u64, len: u64) -> HostResult<()> {
    let args = [fd_arg(fd), mode as usize, off as usize, len as usize, 0, 0];
    app_call(g::__NR_fallocate, args).map(drop)
}

/// `ftruncate(2)`.
///
/// # Errors
/// The call's.
pub fn ftruncate(fd: i32, len: u64) -> HostResult<()> {
    app_call(g::__NR_ftruncate, [fd_arg(fd), len as usize, 0, 0, 0, 0]).map(drop)
}

/// `posix_fadvise(2)`.
///
/// # Errors
/// The call's.
pub fn fadvise(fd: i32, off: u64, len: u64, advice: u32) -> HostResult<()> {
    let args = [fd_arg(fd), off as usize, len as usize, advice as usize, 0, 0];
    app_call(g::__NR_fadvise64, args).map(drop)
}

/// `madvise(2)` of the application's memory.
///
/// # Errors
/// The call's.
pub fn madvise(addr: u64, len: u64, advice: u32) -> HostResult<()> {
    let args = [addr as usize, len as usize, advice as usize, 0, 0, 0];
    app_call(g::__NR_madvise, args).map(drop)
}

/// `splice(2)`: descriptors with their offsets, -1 for the position.
///
/// # Errors
/// The call's.
pub fn splice(from: (i32, u64), to: (i32, u64), len: u32, flags: u32) -> HostResult<u32> {
    let (mut from_at, mut to_at) = (from.1, to.1);
    let at = |off: &mut u64| if *off == CURRENT { 0 } else { (&raw mut *off).expose_provenance() };
    let offs = [at(&mut from_at), at(&mut to_at)];
    let args = [fd_arg(from.0), offs[0], fd_arg(to.0), offs[1], len as usize, flags as usize];
    app_call(g::__NR_splice, args).map(count)
}

/// `tee(2)`.
///
/// # Errors
/// The call's.
pub fn tee(from: i32, to: i32, len: u32, flags: u32) -> HostResult<u32> {
    let args = [fd_arg(from), fd_arg(to), len as usize, flags as usize, 0, 0];
    app_call(g::__NR_tee, args).map(count)
}

/// Starts reading a range into the page cache.
pub fn readahead(fd: i32, off: u64, len: u64) {
    // What cannot be read ahead is read when it is read.
    let _ = raw::fadvise(fd, off, len, g::POSIX_FADV_WILLNEED);
}

/// `poll(2)` without waiting: the `POLL*` bits that hold now. A number that is not open is
/// `POLLNVAL`.
pub fn poll_now(fd: i32, events: u32) -> u32 {
    if fd < 0 {
        return g::POLLNVAL;
    }
    // All bits of poll(2) are below 2^15.
    let mut one = [g::pollfd { fd, events: events as i16, revents: 0 }];
    match raw::poll(&mut one, 0) {
        Ok(_) => u32::from(one[0].revents.cast_unsigned()),
        // No memory, or a signal: nothing is known to be ready.
        Err(_) => 0,
    }
}

/// `epoll_wait(2)` into the application's memory, of what is ready now.
///
/// # Errors
/// The call's.
pub fn epoll_ready(epfd: i32, events: u64, max: i32) -> HostResult<i32> {
    // epoll_pwait without a mask: every architecture has it.
    let args = [fd_arg(epfd), events as usize, fd_arg(max), 0, 0, 0];
    app_call(g::__NR_epoll_pwait, args).map(|n| n as i32)
}

/// Whether it is `/dev/null`.
pub fn is_null(fd: i32) -> bool {
    /// Documentation/admin-guide/devices.txt: 1, 3.
    const NULL: u64 = 1 << 8 | 3;
    raw::fstat(fd).is_ok_and(|st| st.st_mode & g::S_IFMT == g::S_IFCHR && st.st_rdev == NULL)
}

/// `fcntl(F_GETFL)`.
///
/// # Errors
/// `EBADF`.
pub fn status_flags(fd: i32) -> HostResult<u32> {
    raw::fcntl(fd, g::F_GETFL, 0).map(i32::cast_unsigned)
}

/// Whether `fd` is an eventfd, by the name that /proc gives it. Without /proc, any descriptor that
/// is no file, folder, socket or pipe passes.
///
/// # Errors
/// `EBADF`; `EINVAL`: something else.
pub fn check_eventfd(fd: i32) -> HostResult<()> {
    const NAME: &[u8] = b"anon_inode:[eventfd]";
    let mode = raw::fstat(fd)?.st_mode;
    let mut name = [0u8; NAME.len() + 1];
    let is_eventfd = match name_of(fd, &mut name) {
        Ok(n) => name.get(..n) == Some(NAME),
        Err(_) => mode & g::S_IFMT == 0,
    };
    if is_eventfd { Ok(()) } else { Err(Errno::EINVAL) }
}

/// A number that a regular file has alone, unless this descriptor of it was opened with `O_DIRECT`.
pub fn serial_writes(fd: i32) -> Option<u64> {
    let stat = raw::fstat(fd).ok().filter(|s| s.st_mode & g::S_IFMT == g::S_IFREG)?;
    let direct = status_flags(fd).is_ok_and(|flags| flags & g::O_DIRECT != 0);
    // Of two file systems inodes with one number may be mistaken for each other: they wait in vain, no more.
    (!direct).then_some(stat.st_ino ^ stat.st_dev.rotate_left(32))
}

/// What /proc calls a descriptor of the calling thread's table: the length of as much as fits.
///
/// # Errors
/// `ENOENT`: it is not open, or there is no /proc.
pub fn name_of(fd: i32, to: &mut [u8]) -> HostResult<usize> {
    let mut path = Line::default();
    let _ = write!(path, "/proc/thread-self/fd/{fd}\0");
    let (from, at) = (path.bytes.as_ptr() as usize, to.as_mut_ptr() as usize);
    // SAFETY: the kernel reads a NUL-terminated path and writes at most `to.len()` bytes of `to`.
    let ret = unsafe { raw::syscall4(g::__NR_readlinkat, fd_arg(g::AT_FDCWD), from, at, to.len()) };
    Errno::demux(ret)
}

/// A short line that is built without memory of its own.
struct Line {
    bytes: [u8; 64],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let to = self.bytes.get_mut(self.len..self.len + s.len()).ok_or(core::fmt::Error)?;
        to.copy_from_slice(s.as_bytes());
        self.len += s.len();
        Ok(())
    }
}

/// `close(2)` of an application descriptor.
///
/// # Errors
/// `EBADF`, also for a ring and for a number of the engine's.
pub fn close(fd: i32) -> HostResult<()> {
    if fdtable::is_ours(fd) || is_ring(fd) {
        return Err(Errno::EBADF);
    }
    fdtable::closed(fd);
    app_call(g::__NR_close, [fd_arg(fd), 0, 0, 0, 0, 0]).map(drop)
}

/// Whether `fd` is a ring, of this process or of the one it was forked from.
pub(crate) fn is_ring(fd: i32) -> bool {
    matches!(fdtable::ring_of(fd), Ok(_) | Err(Errno::EOWNERDEAD))
}

/// `pipe2(2)` that writes the numbers to the application's memory.
///
/// # Errors
/// The call's.
pub fn pipe_into(to: u64, flags: u32) -> HostResult<()> {
    app_call(g::__NR_pipe2, [to as usize, flags as usize, 0, 0, 0, 0]).map(drop)
}

/// `openat2(2)` with flags, mode and resolve. Where the call is not to be had (before 5.6, or an
/// old container's filter) and nothing is to be resolved specially, `openat(2)`.
///
/// # Errors
/// The call's.
pub fn openat2(dirfd: i32, path: &[u8], how: [u64; 3]) -> HostResult<i32> {
    static OLD: AtomicBool = AtomicBool::new(false);
    let path = terminated(path)?;
    let [flags, mode, resolve] = how;
    let plain = resolve == 0;
    if !(plain && OLD.load(Relaxed)) {
        let (at, len) = (how.as_ptr() as usize, size_of_val(&how));
        let ret = app_call(g::__NR_openat2, [fd_arg(dirfd), path, at, len, 0, 0]);
        match ret {
            Err(Errno::ENOSYS) if plain => OLD.store(true, Relaxed),
            // EPERM may be the filter's answer or the file's: openat(2) tells.
            Err(Errno::EPERM) if plain => {}
            other => return other.map(|fd| fd as i32),
        }
    }
    let args = [fd_arg(dirfd), path, flags as usize, mode as usize, 0, 0];
    app_call(g::__NR_openat, args).map(|fd| fd as i32)
}

/// [`openat2`] with `O_NONBLOCK`, which the file does not keep unless it was asked for.
///
/// # Errors
/// The call's.
pub fn open_now(dirfd: i32, path: &[u8], how: [u64; 3]) -> HostResult<i32> {
    let [flags, mode, resolve] = how;
    let nonblock = u64::from(g::O_NONBLOCK);
    // A place has no such flag, and its open waits for nobody.
    if flags & (nonblock | u64::from(g::O_PATH)) != 0 {
        return openat2(dirfd, path, how);
    }
    let fd = openat2(dirfd, path, [flags | nonblock, mode, resolve])?;
    // Of what was asked for the call takes what can be set. A file that was just opened like this lets it.
    let _ = raw::fcntl(fd, g::F_SETFL, flags as usize);
    Ok(fd)
}

/// The address of a path of ours, after checking that its NUL is there.
///
/// # Errors
/// `EINVAL`: not terminated.
pub(crate) fn terminated(path: &[u8]) -> HostResult<usize> {
    if path.last() == Some(&0) { Ok(path.as_ptr() as usize) } else { Err(Errno::EINVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn iov(buf: &mut [u8]) -> Iovec {
        Iovec { base: buf.as_mut_ptr() as u64, len: buf.len() as u64 }
    }

    fn file() -> i32 {
        raw::memfd_create(c"test", g::MFD_CLOEXEC).unwrap()
    }

    #[test]
    fn an_offset_leaves_the_position_and_minus_one_moves_it() {
        let fd = file();
        let mut data = *b"0123456789";
        assert_eq!(writev(fd, &[iov(&mut data)], 0, 0), Ok(10));
        let mut two = [0u8; 2];
        assert_eq!(readv(fd, &[iov(&mut two)], 4, 0), Ok(2));
        assert_eq!(&two, b"45");
        assert_eq!(readv(fd, &[iov(&mut two)], CURRENT, 0), Ok(2));
        assert_eq!(&two, b"01");
        let (mut a, mut b) = ([0u8; 1], [0u8; 3]);
        assert_eq!(readv(fd, &[iov(&mut a), iov(&mut b)], CURRENT, 0), Ok(4));
        assert_eq!((&a, &b), (b"2", b"345"));
        assert_eq!(readv(fd, &[iov(&mut a), iov(&mut b)], 8, g::RWF_HIPRI), Ok(2));
        assert_eq!((&a, b[0]), (b"8", b'9'));
        assert_eq!(fsync(fd, true), Ok(()));
        raw::close(fd).unwrap();
    }

    #[test]
    fn a_transfer_of_nothing_asks_the_file() {
        let none: [Iovec; 0] = [];
        let (a, b) = raw::socketpair(1, 2).unwrap();
        assert_eq!(writev(a, &none, CURRENT, 0), Ok(0));
        let mut byte = [0u8; 1];
        // An empty datagram is there; without one this would be EAGAIN.
        assert_eq!(readv(b, &[iov(&mut byte)], CURRENT, g::RWF_NOWAIT), Ok(0));
        let e = raw::eventfd(0, g::EFD_CLOEXEC).unwrap();
        assert_eq!(readv(e, &none, CURRENT, 0), Err(Errno::EINVAL));
        let fd = file();
        assert_eq!(readv(fd, &none, 0, 0), Ok(0));
        assert_eq!(writev(fd, &none, CURRENT, 0), Ok(0));
        for fd in [a, b, e, fd] {
            raw::close(fd).unwrap();
        }
    }

    #[test]
    fn bad_arguments_answer_the_kernels_errors() {
        let fd = file();
        let bad = Iovec { base: 16, len: 4 };
        assert_eq!(writev(fd, &[bad], 0, 0), Err(Errno::EFAULT));
        let mut b = [0u8; 4];
        assert_eq!(readv(-1, &[iov(&mut b)], 0, 0), Err(Errno::EBADF));
        assert_eq!(readv(fd, &[iov(&mut b)], 0, 1 << 30), Err(Errno::EOPNOTSUPP));
        assert_eq!(fsync(-1, false), Err(Errno::EBADF));
        let (r, w) = raw::pipe2(g::O_CLOEXEC).unwrap();
        assert_eq!(readv(r, &[iov(&mut b)], 0, 0), Err(Errno::ESPIPE));
        assert_eq!(fsync(r, false), Err(Errno::EINVAL));
        for fd in [fd, r, w] {
            raw::close(fd).unwrap();
        }
    }

    #[test]
    fn poll_now_says_what_holds_and_that_nothing_is_open() {
        let code = raw::testing::in_child(|| {
            let (r, w) = raw::pipe2(g::O_CLOEXEC).unwrap();
            assert_eq!(poll_now(r, g::POLLIN), 0);
            assert_eq!(poll_now(w, g::POLLIN | g::POLLOUT), g::POLLOUT);
            raw::close(w).unwrap();
            assert_eq!(poll_now(r, g::POLLIN), g::POLLHUP);
            assert_eq!(poll_now(-1, g::POLLIN), g::POLLNVAL);
            assert_eq!(poll_now(1 << 20, g::POLLIN), g::POLLNVAL);
            0
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn only_an_eventfd_is_one() {
        let e = raw::eventfd(0, g::EFD_CLOEXEC).unwrap();
        let (r, w) = raw::pipe2(g::O_CLOEXEC).unwrap();
        let other = raw::epoll_create().unwrap();
        assert_eq!(check_eventfd(e), Ok(()));
        assert_eq!(check_eventfd(r), Err(Errno::EINVAL));
        assert_eq!(check_eventfd(other), Err(Errno::EINVAL));
        assert_eq!(check_eventfd(-1), Err(Errno::EBADF));
        for fd in [e, r, w, other] {
            raw::close(fd).unwrap();
        }
    }

    #[test]
    fn openat2_and_names_work_on_a_folder_of_their_own() {
        use crate::names;
        let dir = std::env::temp_dir().join(std::format!("ringer-sys-{}", raw::getpid()));
        std::fs::create_dir(&dir).unwrap();
        let path = [dir.as_os_str().as_encoded_bytes(), b"\0"].concat();
        let at = openat2(g::AT_FDCWD, &path, [g::O_DIRECTORY.into(), 0, 0]).unwrap();
        let create = [(g::O_CREAT | g::O_RDWR).into(), 0o600, g::RESOLVE_BENEATH.into()];
        let fd = openat2(at, b"a\0", create).unwrap();
        assert_eq!(openat2(at, b"../x\0", create), Err(Errno::EXDEV));
        assert_eq!(openat2(at, b"a", create), Err(Errno::EINVAL), "not terminated");
        assert_eq!(close(fd), Ok(()));
        assert_eq!(close(fd), Err(Errno::EBADF));

        names::linkat((at, b"a\0"), (at, b"b\0"), 0).unwrap();
        names::symlinkat(b"b\0", at, b"c\0").unwrap();
        names::mkdirat(at, b"d\0", 0o700).unwrap();
        names::renameat2((at, b"b\0"), (at, b"d/e\0"), 0).unwrap();
        let mut stx = std::vec![0u8; 256];
        names::statx(at, b"d/e\0", 0, g::STATX_NLINK, stx.as_mut_ptr() as u64).unwrap();
        assert_eq!(ringer_uapi::bytes::u32_at(&stx, 16), 2, "stx_nlink");
        assert_eq!(names::unlinkat(at, b"d\0", g::AT_REMOVEDIR), Err(Errno::ENOTEMPTY));
        for (name, flags) in [(&b"a\0"[..], 0), (b"c\0", 0), (b"d/e\0", 0), (b"d\0", 0x200)] {
            names::unlinkat(at, name, flags).unwrap();
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().collect::<Vec<_>>().len(), 0);
        close(at).unwrap();
        std::fs::remove_dir(&dir).unwrap();
    }
}
