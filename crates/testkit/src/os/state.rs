//! Looking at what a program left: positions, locks, bytes that wait, readiness, threads that run.
//!
//! Nothing here blocks, and nothing here changes what it looks at but [`take_waiting`].

use super::{Errno, Sys, check, check_fd, errno};

/// A POSIX lock as another open file description sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Whether it excludes readers too.
    pub exclusive: bool,
    /// First byte.
    pub start: i64,
    /// Bytes; 0 to the end.
    pub len: i64,
}

/// The first POSIX lock that bars a write lock of `start..start+len` through `fd`, a description
/// of its own: an open-file-description lock conflicts with this process's ordinary locks, too.
///
/// # Errors
/// fcntl(2)'s.
pub fn lock_in_the_way(fd: i32, start: i64, len: i64) -> Sys<Option<Lock>> {
    // SAFETY: a flock of zeros is a valid one.
    let mut l: libc::flock = unsafe { std::mem::zeroed() };
    l.l_type = libc::F_WRLCK as i16;
    l.l_start = start;
    l.l_len = len;
    // SAFETY: the structure lives until the call returns.
    let r = unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &raw mut l) };
    check_fd(r)?;
    if i32::from(l.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let exclusive = i32::from(l.l_type) == libc::F_WRLCK;
    Ok(Some(Lock { exclusive, start: l.l_start, len: l.l_len }))
}

/// The file position.
///
/// # Errors
/// lseek(2)'s.
pub fn position(fd: i32) -> Sys<i64> {
    // SAFETY: plain values.
    let r = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    if r == -1 { Err(errno()) } else { Ok(r) }
}

/// Reads what waits in a pipe or socket: at most `buf` in one go, `EAGAIN` when nothing does.
///
/// # Errors
/// preadv2(2)'s.
pub fn take_waiting(fd: i32, buf: &mut [u8]) -> Sys<usize> {
    let iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: the iovec and what it names live until the call returns.
    let r = unsafe { libc::preadv2(fd, &raw const iov, 1, -1, libc::RWF_NOWAIT) };
    check(r as i64).map(|n| n as usize)
}

/// Whether a thread of this process runs or is about to, but for the calling one and the submission
/// threads of io_uring, which look for work all the time.
pub fn others_run() -> bool {
    let me = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter(|t| Some(t.file_name().as_os_str()) != me.file_name()).any(|t| {
        // PID (name) state
        let stat = std::fs::read_to_string(t.path().join("stat")).unwrap_or_default();
        let runs = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'));
        runs && !stat.contains("(iou-sqp-")
    })
}

/// timerfd_create(2) on the monotonic clock.
///
/// # Errors
/// The call's.
pub fn timerfd() -> Sys<i32> {
    // SAFETY: plain values.
    let r = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
    check_fd(r)
}

/// Arms a timerfd to expire once.
///
/// # Errors
/// timerfd_settime(2)'s.
pub fn arm(fd: i32, nanoseconds: i64) -> Sys<()> {
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let it_value = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
    let t = libc::itimerspec { it_interval: zero, it_value };
    // SAFETY: the structure lives until the call returns.
    let r = unsafe { libc::timerfd_settime(fd, 0, &raw const t, std::ptr::null_mut()) };
    check_fd(r).map(|_| ())
}

/// Arms a timerfd for a moment that is past, and waits until it has expired.
///
/// # Errors
/// timerfd_settime(2)'s, timerfd_gettime(2)'s.
pub fn expire(fd: i32) -> Sys<()> {
    arm(fd, 1)?;
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut left = libc::itimerspec { it_interval: zero, it_value: zero };
    loop {
        // SAFETY: the structure lives until the call returns.
        check_fd(unsafe { libc::timerfd_gettime(fd, &raw mut left) })?;
        // The clock is past it now; the interrupt that notes it comes at once, on this CPU or another.
        std::thread::sleep(std::time::Duration::from_micros(500));
        if left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0 {
            return Ok(());
        }
    }
}

/// Sets `SO_RCVLOWAT`.
///
/// # Errors
/// setsockopt(2)'s.
pub fn low_water(fd: i32, bytes: i32) -> Sys<()> {
    let at = (&raw const bytes).cast();
    // SAFETY: the option's value is an int that lives until the call returns.
    let r = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, at, 4) };
    check_fd(r).map(|_| ())
}

/// The port a socket is bound to.
fn port_of(fd: i32) -> Sys<u16> {
    let mut got = [0u8; 16];
    let mut len = got.len() as u32;
    // SAFETY: address and length are the array's.
    let r = unsafe { libc::getsockname(fd, got.as_mut_ptr().cast(), &raw mut len) };
    check_fd(r)?;
    Ok(u16::from_be_bytes([got[2], got[3]]))
}

/// connect(2) to a port of 127.0.0.1.
///
/// # Errors
/// The call's.
pub fn connect(fd: i32, port: u16) -> Sys<()> {
    let addr = super::loopback(port);
    // SAFETY: address and length are the array's.
    let r = unsafe { libc::connect(fd, addr.as_ptr().cast(), addr.len() as u32) };
    check_fd(r).map(|_| ())
}

fn bind_any(fd: i32) -> Sys<u16> {
    let addr = super::loopback(0);
    // SAFETY: address and length are the array's.
    let r = unsafe { libc::bind(fd, addr.as_ptr().cast(), addr.len() as u32) };
    check_fd(r)?;
    port_of(fd)
}

/// Two UDP sockets on 127.0.0.1, connected to each other.
///
/// # Errors
/// The calls'.
pub fn udp_pair() -> Sys<(i32, i32)> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    let a = super::socket(libc::AF_INET, kind)?;
    let b = super::socket(libc::AF_INET, kind)?;
    let (at_a, at_b) = (bind_any(a)?, bind_any(b)?);
    connect(a, at_b)?;
    connect(b, at_a)?;
    Ok((a, b))
}

/// Two TCP sockets on 127.0.0.1, connected to each other.
///
/// # Errors
/// The calls'.
pub fn tcp_pair() -> Sys<(i32, i32)> {
    let (listener, port) = super::tcp_listener()?;
    let a = super::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC)?;
    connect(a, port)?;
    // SAFETY: no address is asked for.
    let r = unsafe {
        libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC)
    };
    let b = check_fd(r);
    super::close(listener)?;
    let b = b?;
    for fd in [a, b] {
        no_delay(fd)?;
    }
    Ok((a, b))
}

fn no_delay(fd: i32) -> Sys<()> {
    let on = 1i32;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
    // SAFETY: address and length are the variable's.
    let r = unsafe { libc::setsockopt(fd, level, name, (&raw const on).cast(), 4) };
    check_fd(r).map(|_| ())
}

/// A port of 127.0.0.1 that nobody listens on: bound, so that nobody else gets it.
///
/// # Errors
/// The calls'.
pub fn closed_port() -> Sys<(i32, u16)> {
    let fd = super::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC)?;
    bind_any(fd).map(|port| (fd, port))
}

/// The events an epoll instance has ready now: (events, data), by data.
///
/// # Errors
/// epoll_wait(2)'s.
pub fn ready(ep: i32) -> Sys<Vec<(u32, u64)>> {
    let mut e = [libc::epoll_event { events: 0, u64: 0 }; 16];
    // SAFETY: room for sixteen events, which lives until the call returns.
    let r = unsafe { libc::epoll_wait(ep, e.as_mut_ptr(), 16, 0) };
    let n = usize::try_from(check_fd(r)?).map_err(|_| Errno(libc::EINVAL))?;
    let mut got: Vec<_> = e[..n].iter().map(|e| (e.events, e.u64)).collect();
    got.sort_by_key(|&(_, data)| data);
    Ok(got)
}
