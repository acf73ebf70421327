//! Thin, checked calls for test programs: every unsafe line of the kit but the two call paths.
//!
//! They go through libc on purpose: a preloaded library must see what an ordinary program does.
//! Addresses are plain numbers; memory that a kernel may write while we look is a [`Buf`].

pub mod state;

use std::ffi::CString;
use std::fmt;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// A positive error number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What a call answers.
pub type Sys<T> = Result<T, Errno>;

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(self.0))
    }
}

/// The symbolic name of an error number, or the number.
pub fn name(errno: i32) -> String {
    let known = u16::try_from(errno).ok().and_then(|e| ringer_uapi::Errno::from_raw(e).name());
    known.map_or_else(|| format!("E{errno}"), str::to_owned)
}

/// The calling thread's errno.
pub fn errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn check(r: i64) -> Sys<i64> {
    if r == -1 { Err(errno()) } else { Ok(r) }
}

fn check_fd(r: i32) -> Sys<i32> {
    if r == -1 { Err(errno()) } else { Ok(r) }
}

/// Wraps a libc call whose arguments are plain values.
macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $t:ty),*) = $call:expr;)*) => { $(
        $(#[$doc])*
        ///
        /// # Errors
        /// The call's.
        pub fn $name($($arg: $t),*) -> Sys<i32> {
            // SAFETY: every argument is a value; the call reads and writes no memory of ours.
            let r = unsafe { $call };
            check_fd(r)
        }
    )* };
}

plain! {
    /// fsync(2).
    fsync(fd: i32) = libc::fsync(fd);
    /// close(2).
    close(fd: i32) = libc::close(fd);
    /// ftruncate(2).
    cut(fd: i32, len: i64) = libc::ftruncate(fd, len);
    /// dup(2).
    dup(fd: i32) = libc::dup(fd);
    /// dup2(2).
    dup2(from: i32, to: i32) = libc::dup2(from, to);
    /// fcntl(2) with a value.
    fcntl(fd: i32, cmd: i32, arg: i32) = libc::fcntl(fd, cmd, arg);
    /// close_range(2).
    close_range(first: u32, last: u32) = libc::close_range(first, last, 0);
    /// eventfd(2).
    eventfd(init: u32, flags: i32) = libc::eventfd(init, flags);
    /// inotify_init1(2).
    inotify(flags: i32) = libc::inotify_init1(flags);
    /// epoll_create1(2).
    epoll_create() = libc::epoll_create1(libc::EPOLL_CLOEXEC);
    /// socket(2).
    socket(domain: i32, kind: i32) = libc::socket(domain, kind, 0);
    /// listen(2).
    listen(fd: i32, backlog: i32) = libc::listen(fd, backlog);
    /// shutdown(2).
    shutdown(fd: i32, how: i32) = libc::shutdown(fd, how);
    /// kill(2).
    kill(pid: i32, sig: i32) = libc::kill(pid, sig);
    /// raise(3).
    raise(sig: i32) = libc::raise(sig);
    /// setuid(2).
    setuid(id: u32) = libc::setuid(id);
    /// seteuid(2).
    seteuid(id: u32) = libc::seteuid(id);
    /// prctl(2) with values.
    prctl(op: i32, a: u64, b: u64, c: u64, d: u64) = libc::prctl(op, a, b, c, d);
    /// fork(2). The caller has one thread, or its child only execs or exits.
    fork() = libc::fork();
    /// sched_yield(2).
    yield_now() = libc::sched_yield();
}

/// Ends the process at once, as `_exit(2)`.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return and runs nothing of ours.
    unsafe { libc::_exit(code) }
}

/// getpid(2), as a number.
pub fn pid() -> i32 {
    std::process::id().cast_signed()
}

/// A system call by number through libc with plain values.
///
/// # Errors
/// The call's.
pub fn raw(nr: i64, a: [u64; 3]) -> Sys<i64> {
    // SAFETY: callers pass values, or addresses of memory they own.
    let r = unsafe { libc::syscall(nr, a[0], a[1], a[2]) };
    check(r)
}

/// Ignores a signal, or has it do what it does by default.
///
/// # Errors
/// The call's.
pub fn ignore_signal(sig: i32, ignore: bool) -> Sys<()> {
    let action = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: neither action is code of ours.
    let r = unsafe { libc::signal(sig, action) };
    if r == libc::SIG_ERR { Err(errno()) } else { Ok(()) }
}

/// Any call with six arguments, by libc.
///
/// # Errors
/// The call's.
pub fn raw6(nr: i64, a: [u64; 6]) -> Sys<i64> {
    // SAFETY: as in `raw`.
    let r = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
    check(r)
}

/// open(2), close-on-exec.
///
/// # Errors
/// The call's.
pub fn open(path: &str, flags: i32) -> Sys<i32> {
    let path = CString::new(path).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: the path is a NUL-terminated string that lives across the call.
    let r = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) };
    check_fd(r)
}

/// Moves a descriptor to a number that no program names; `/dev/null` is in its place.
///
/// # Errors
/// The calls'.
pub fn set_aside(fd: i32) -> Sys<OwnedFd> {
    const HIGH: i32 = 512;
    // SAFETY: takes no memory.
    let r = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, HIGH) };
    let high = check_fd(r)?;
    let null = open("/dev/null", libc::O_RDWR)?;
    // SAFETY: takes no memory.
    let r = unsafe { libc::dup2(null, fd) };
    check_fd(r)?;
    // SAFETY: takes no memory; the number was opened above.
    unsafe { libc::close(null) };
    // SAFETY: the number was made above, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(high) })
}

/// memfd_create(2) holding `content`.
///
/// # Errors
/// The call's.
pub fn memfd(content: &[u8]) -> Sys<i32> {
    // SAFETY: the name is a NUL-terminated constant.
    let r = unsafe { libc::memfd_create(c"testkit".as_ptr(), libc::MFD_CLOEXEC) };
    let fd = check_fd(r)?;
    write(fd, content)?;
    Ok(fd)
}

/// An unlinked temporary file in `TMPDIR` holding `content`.
///
/// # Errors
/// open(2)'s and write(2)'s.
pub fn temp_file(content: &[u8]) -> Sys<i32> {
    let dir = std::env::temp_dir();
    let fd = open(&dir.to_string_lossy(), libc::O_TMPFILE | libc::O_RDWR)?;
    write(fd, content)?;
    Ok(fd)
}

/// pipe2(2): (read end, write end).
///
/// # Errors
/// The call's.
pub fn pipe() -> Sys<(i32, i32)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for the two numbers.
    let r = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) };
    check_fd(r).map(|_| (fds[0], fds[1]))
}

/// socketpair(2) of `AF_UNIX`.
///
/// # Errors
/// The call's.
pub fn socketpair(kind: i32) -> Sys<(i32, i32)> {
    let mut fds = [0; 2];
    let kind = kind | libc::SOCK_CLOEXEC;
    // SAFETY: the array has room for the two numbers.
    let r = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    check_fd(r).map(|_| (fds[0], fds[1]))
}

/// read(2).
///
/// # Errors
/// The call's.
pub fn read(fd: i32, buf: &mut [u8]) -> Sys<usize> {
    // SAFETY: address and length are the slice's.
    let r = unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) };
    check(r as i64).map(|n| n as usize)
}

/// pread(2) to an address, which may be none: bytes, or the negative errno.
pub fn read_to(fd: i32, addr: u64, len: u32, off: i64) -> i32 {
    let to = addr as *mut libc::c_void;
    // SAFETY: whoever gives an address of ours means its memory to be written; the kernel refuses others.
    let r = unsafe { libc::pread(fd, to, len as usize, off) };
    check(r as i64).map_or_else(|e| -e.0, |n| n as i32)
}

/// write(2).
///
/// # Errors
/// The call's.
pub fn write(fd: i32, buf: &[u8]) -> Sys<usize> {
    // SAFETY: address and length are the slice's.
    let r = unsafe { libc::write(fd, buf.as_ptr().cast(), buf.len()) };
    check(r as i64).map(|n| n as usize)
}

/// pwrite(2).
///
/// # Errors
/// The call's.
pub fn write_at(fd: i32, buf: &[u8], off: i64) -> Sys<usize> {
    // SAFETY: address and length are the slice's.
    let r = unsafe { libc::pwrite(fd, buf.as_ptr().cast(), buf.len(), off) };
    check(r as i64).map(|n| n as usize)
}

/// A TCP listener on 127.0.0.1 with a port of the kernel's choice: (descriptor, port).
///
/// # Errors
/// The calls'.
pub fn tcp_listener() -> Sys<(i32, u16)> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC)?;
    let addr = loopback(0);
    let mut len = addr.len() as u32;
    // SAFETY: address and length are the array's.
    let r = unsafe { libc::bind(fd, addr.as_ptr().cast(), len) };
    check_fd(r)?;
    listen(fd, 64)?;
    let mut got = [0u8; 16];
    // SAFETY: address and length are the array's.
    let r = unsafe { libc::getsockname(fd, got.as_mut_ptr().cast(), &raw mut len) };
    check_fd(r)?;
    Ok((fd, u16::from_be_bytes([got[2], got[3]])))
}

/// The bytes of a `sockaddr_in` for 127.0.0.1.
pub fn loopback(port: u16) -> [u8; 16] {
    let mut a = [0; 16];
    a[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    a[2..4].copy_from_slice(&port.to_be_bytes());
    a[4..8].copy_from_slice(&[127, 0, 0, 1]);
    a
}

/// Sends one byte with a descriptor beside it (`SCM_RIGHTS`).
///
/// # Errors
/// sendmsg(2)'s.
pub fn send_fd(sock: i32, fd: i32) -> Sys<()> {
    let mut byte = [b'x'];
    let iov = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // One header of 16 bytes, one descriptor, padding: CMSG_SPACE(4) is 24.
    let mut control = [0u64; 3];
    control[0] = 20;
    control[1] = (libc::SOL_SOCKET as u64) | (libc::SCM_RIGHTS as u64) << 32;
    control[2] = u64::from(fd.cast_unsigned());
    // SAFETY: a msghdr of zeros is a valid one: no name, no data.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = (&raw const iov).cast_mut();
    msg.msg_iovlen = 1;
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = 24;
    // SAFETY: iovec, byte and control block live until the call returns.
    let r = unsafe { libc::sendmsg(sock, &raw const msg, 0) };
    check(r as i64).map(|_| ())
}

/// fcntl(F_SETLK) of the byte range `start..start+len`; `kind` is `F_RDLCK`, `F_WRLCK`, `F_UNLCK`.
///
/// # Errors
/// The call's (`EAGAIN`: somebody else holds it).
pub fn posix_lock(fd: i32, kind: i32, start: i64, len: i64) -> Sys<()> {
    // SAFETY: a flock of zeros is a valid one.
    let mut l: libc::flock = unsafe { std::mem::zeroed() };
    l.l_type = kind as i16;
    l.l_start = start;
    l.l_len = len;
    // SAFETY: the structure lives until the call returns.
    let r = unsafe { libc::fcntl(fd, libc::F_SETLK, &raw mut l) };
    check_fd(r).map(|_| ())
}

/// Waits for `pid`: exit code, or 128 + signal.
///
/// # Errors
/// waitpid(2)'s.
pub fn wait(pid: i32) -> Sys<i32> {
    let mut status = 0;
    // SAFETY: `status` lives until the call returns.
    let r = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    check_fd(r)?;
    Ok(if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    })
}

/// Runs `body` in a forked child and answers its exit code; a panic is 101.
///
/// # Errors
/// fork(2)'s.
pub fn in_child(body: impl FnOnce() -> i32) -> Sys<i32> {
    let pid = fork()?;
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
        exit_now(code);
    }
    wait(pid)
}

/// Sets the soft limit of a resource.
///
/// # Errors
/// setrlimit(2)'s.
pub fn limit(resource: u32, soft: u64) -> Sys<()> {
    let mut l = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives until the call returns.
    let r = unsafe { libc::getrlimit(resource, &raw mut l) };
    check_fd(r)?;
    l.rlim_cur = soft.min(l.rlim_max);
    // SAFETY: the structure lives until the call returns.
    let r = unsafe { libc::setrlimit(resource, &raw const l) };
    check_fd(r).map(|_| ())
}

/// Installs a signal handler with `flags` and an empty mask.
///
/// # Errors
/// sigaction(2)'s.
pub fn on_signal(sig: i32, handler: extern "C" fn(i32), flags: i32) -> Sys<()> {
    // SAFETY: a sigaction of zeros is a valid one.
    let mut act: libc::sigaction = unsafe { std::mem::zeroed() };
    act.sa_sigaction = handler as *const () as usize;
    act.sa_flags = flags;
    // SAFETY: the structure lives until the call returns; handlers of the programs only do what a
    // signal handler may.
    let r = unsafe { libc::sigaction(sig, &raw const act, std::ptr::null_mut()) };
    check_fd(r).map(|_| ())
}

/// Blocks (or unblocks) every signal for the calling thread.
pub fn block_all_signals(block: bool) {
    // SAFETY: a signal set of zeros is a valid one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives until the call returns.
    unsafe { libc::sigfillset(&raw mut set) };
    let how = if block { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: the set lives until the call returns.
    unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
}

/// Arms a one-shot real-time alarm that kills the process: no test waits for ever.
pub fn deadline(seconds: u32) {
    // SAFETY: a plain value.
    unsafe { libc::alarm(seconds) };
}

/// Sends `SIGALRM` every so many microseconds, or no more for 0.
///
/// # Errors
/// setitimer(2)'s.
pub fn every(us: i64) -> Sys<()> {
    let t = libc::timeval { tv_sec: 0, tv_usec: us };
    let timer = libc::itimerval { it_interval: t, it_value: t };
    // SAFETY: the structure lives until the call returns.
    let r = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    check_fd(r).map(|_| ())
}

/// poll(2) of one descriptor: the ready bits, 0 after `timeout_ms`.
///
/// # Errors
/// The call's.
pub fn poll(fd: i32, events: i16, timeout_ms: i32) -> Sys<i16> {
    let mut p = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one structure, which lives until the call returns.
    let r = unsafe { libc::poll(&raw mut p, 1, timeout_ms) };
    check_fd(r).map(|_| p.revents)
}

/// epoll_ctl(2) `EPOLL_CTL_ADD` with the descriptor as data.
///
/// # Errors
/// The call's.
pub fn epoll_add(ep: i32, fd: i32, events: u32) -> Sys<()> {
    let mut e = libc::epoll_event { events, u64: u64::from(fd.cast_unsigned()) };
    // SAFETY: the structure lives until the call returns.
    let r = unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &raw mut e) };
    check_fd(r).map(|_| ())
}

/// epoll_wait(2) for one event: (events, data).
///
/// # Errors
/// The call's.
pub fn epoll_wait(ep: i32, timeout_ms: i32) -> Sys<Option<(u32, u64)>> {
    let mut e = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event, which lives until the call returns.
    let r = unsafe { libc::epoll_wait(ep, &raw mut e, 1, timeout_ms) };
    let n = check_fd(r)?;
    Ok((n == 1).then_some((e.events, e.u64)))
}

/// Nanoseconds on a clock of clock_gettime(2).
pub fn clock(id: i32) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives until the call returns.
    unsafe { libc::clock_gettime(id, &raw mut t) };
    t.tv_sec.cast_unsigned() * 1_000_000_000 + t.tv_nsec.cast_unsigned()
}

/// How many entries a folder of /proc/self has (`"fd"`, `"task"`), not counting the one that
/// listing it takes.
pub fn count_in_proc(what: &str) -> usize {
    let n = std::fs::read_dir(format!("/proc/self/{what}")).map_or(0, Iterator::count);
    if what == "fd" { n - 1 } else { n }
}

/// How many of the process's threads are workers of a ring, by their names.
pub fn count_workers() -> usize {
    let names = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("iou-wrk")).count()
}

/// Installs a seccomp filter on the calling thread (`tsync`: on all).
///
/// # Errors
/// seccomp(2)'s.
pub fn seccomp(filter: &[libc::sock_filter], tsync: bool) -> Sys<()> {
    let prog = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno(libc::E2BIG))?,
        filter: filter.as_ptr().cast_mut(),
    };
    let flags = if tsync { libc::SECCOMP_FILTER_FLAG_TSYNC } else { 0 };
    let op = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: program and instructions live until the call returns.
    let r = unsafe { libc::syscall(libc::SYS_seccomp, op, flags, &raw const prog) };
    check(r).map(|_| ())
}

/// Anonymous or descriptor-backed memory that the kernel, another thread or a ring's other side
/// may change at any time: read and written by volatile bytes or atomic words only.
#[derive(Debug)]
pub struct Buf {
    base: u64,
    len: usize,
}

/// mmap(2), by libc.
pub const MMAP: i64 = libc::SYS_mmap;

impl Buf {
    /// Private zeroed memory of at least `len` bytes.
    ///
    /// # Panics
    /// When there is none to be had.
    pub fn new(len: usize) -> Self {
        Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0).expect("memory")
    }

    /// Private memory holding `content`.
    pub fn of(content: &[u8]) -> Self {
        let b = Self::new(content.len().max(1));
        b.put(0, content);
        b
    }

    /// mmap(2) readable and writable through libc.
    ///
    /// # Errors
    /// The call's.
    pub fn map(len: usize, flags: i32, fd: i32, off: u64) -> Sys<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: no address is asked for, so nothing that exists is replaced.
        let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, off as i64) };
        if p == libc::MAP_FAILED { Err(errno()) } else { Ok(Self { base: p as u64, len }) }
    }

    /// Takes over a mapping made elsewhere.
    pub fn adopt(base: u64, len: usize) -> Self {
        Self { base, len }
    }

    /// Address of the first byte.
    pub fn addr(&self) -> u64 {
        self.base
    }

    /// Length \[bytes\].
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn at<T>(&self, off: usize) -> *mut T {
        let aligned = off.is_multiple_of(align_of::<T>());
        assert!(off + size_of::<T>() <= self.len && aligned, "offset {off} outside {self:?}");
        (self.base as usize + off) as *mut T
    }

    /// A word that both sides share.
    pub fn word(&self, off: usize) -> &AtomicU32 {
        // SAFETY: `at` checked bounds and alignment, the mapping lives as long as `self`, and
        // every access to shared words is atomic.
        unsafe { AtomicU32::from_ptr(self.at(off)) }
    }

    /// The value of a shared word, acquired.
    pub fn load(&self, off: usize) -> u32 {
        self.word(off).load(Ordering::Acquire)
    }

    /// Stores a shared word, released.
    pub fn store(&self, off: usize, v: u32) {
        self.word(off).store(v, Ordering::Release);
    }

    /// A 64-bit value.
    pub fn get64(&self, off: usize) -> u64 {
        let p = self.at::<u64>(off);
        // SAFETY: `at` checked bounds and alignment; the mapping lives as long as `self`.
        unsafe { p.read_volatile() }
    }

    /// Stores a 64-bit value.
    pub fn put64(&self, off: usize, v: u64) {
        let p = self.at::<u64>(off);
        // SAFETY: `at` checked bounds and alignment; the mapping lives as long as `self`.
        unsafe { p.write_volatile(v) };
    }

    /// Copies bytes out.
    pub fn get(&self, off: usize, len: usize) -> Vec<u8> {
        (off..off + len)
            .map(|i| {
                let p = self.at::<u8>(i);
                // SAFETY: `at` checked bounds; the mapping lives as long as `self`.
                unsafe { p.read_volatile() }
            })
            .collect()
    }

    /// Copies bytes in.
    pub fn put(&self, off: usize, from: &[u8]) {
        for (i, &b) in from.iter().enumerate() {
            let p = self.at::<u8>(off + i);
            // SAFETY: `at` checked bounds; the mapping lives as long as `self`.
            unsafe { p.write_volatile(b) };
        }
    }

    /// Fills everything with one byte.
    pub fn fill(&self, b: u8) {
        // SAFETY: base and length are the mapping's.
        unsafe { std::ptr::write_bytes(self.base as *mut u8, b, self.len) };
    }

    /// Changes the protection of all of it.
    ///
    /// # Errors
    /// mprotect(2)'s.
    pub fn protect(&self, prot: i32) -> Sys<()> {
        // SAFETY: the range is ours; the programs do not touch what they made unreadable.
        let r = unsafe { libc::mprotect(self.base as *mut libc::c_void, self.len, prot) };
        check_fd(r).map(|_| ())
    }

    /// Forgets the mapping without unmapping it.
    pub fn leak(self) -> u64 {
        let a = self.base;
        std::mem::forget(self);
        a
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by us and no reference into it outlives `self`.
        unsafe { libc::munmap(self.base as *mut libc::c_void, self.len) };
    }
}

/// Replaces the process by `argv`; returns only on failure.
pub fn exec(argv: &[String]) -> Errno {
    use std::os::unix::process::CommandExt as _;
    let Some((prog, args)) = argv.split_first() else { return Errno(libc::ENOENT) };
    let e = std::process::Command::new(prog).args(args).exec();
    Errno(e.raw_os_error().unwrap_or(libc::EIO))
}
