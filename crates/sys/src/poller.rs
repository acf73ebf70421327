//! [`LinuxPoller`]: epoll with a wake-up that works from any thread.
//!
//! ```text
//!  epoll (high, close-on-exec) --- watched descriptors, token = the engine's
//!        |---- eventfd, token u64::MAX --- wake(): written once until the next wait drains it
//!        '---- timerfd, if asked for ----- never due; readable when its clock was set (timerfd_create(2),
//!                                          TFD_TIMER_CANCEL_ON_SET), and after a suspend
//! ```
//!
//! One thread at a time waits. What it does not do: restart after `EINTR`, survive that the
//! application closes its two numbers (interception keeps them from its close family).

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicI32};
use rust_alloc::sync::Arc;

use ringer_engine::host::{HostResult, PollEvent, Poller, SigMask};
use ringer_uapi::Errno;

use crate::raw::{self, general as g};
use crate::wake::Wake;
use crate::{fdtable, keeper, signals, thread};

/// The token of the eventfd; the engine's own never has this value.
const WAKE: u64 = u64::MAX;
/// No number.
const NONE: i32 = -1;
/// In 2262, as late as the clock goes \[ns\].
const NEVER_NS: u64 = i64::MAX as u64;
/// Events taken from the kernel at once.
const BATCH: usize = 64;

/// The number that wakes: it stays while a wake from another table is on its way.
#[derive(Debug)]
struct Waker(i32);

impl Drop for Waker {
    fn drop(&mut self) {
        keeper::close_in_app_table(self.0);
    }
}

/// An epoll set of ours.
#[derive(Debug)]
pub struct LinuxPoller {
    epoll: i32,
    eventfd: Arc<Waker>,
    woken: Wake,
    /// The timerfd.
    clock: AtomicI32,
}

impl LinuxPoller {
    /// A new, empty set.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> HostResult<Self> {
        let epoll = fdtable::move_high(raw::epoll_create()?);
        let eventfd = match raw::eventfd(0, g::EFD_CLOEXEC | g::EFD_NONBLOCK) {
            Ok(fd) => fdtable::move_high(fd),
            Err(e) => {
                fdtable::close_ours(epoll);
                return Err(e);
            }
        };
        let waker = Arc::new(Waker(eventfd));
        let clock = AtomicI32::new(NONE);
        let new = Self { epoll, eventfd: waker, woken: Wake::new(), clock };
        raw::epoll_ctl(epoll, g::EPOLL_CTL_ADD, eventfd, Some((g::EPOLLIN, WAKE)))?;
        Ok(new)
    }

    fn ctl(&self, op: u32, fd: i32, event: Option<(u32, u64)>) -> HostResult<()> {
        raw::epoll_ctl(self.epoll, op, fd, event)
    }

    /// After the eventfd was reported.
    fn drain(&self) {
        self.woken.answer(|| {
            // EAGAIN: drained already.
            let _ = raw::read(self.eventfd.0, &mut [0u8; 8]);
        });
    }
}

impl Drop for LinuxPoller {
    fn drop(&mut self) {
        keeper::close_in_app_table(self.epoll);
        let clock = *self.clock.get_mut();
        if clock != NONE {
            keeper::close_in_app_table(clock);
        }
    }
}

impl Poller for LinuxPoller {
    fn add(&self, fd: i32, events: u32, token: u64) -> HostResult<()> {
        self.ctl(g::EPOLL_CTL_ADD, fd, Some((events, token)))
    }

    fn modify(&self, fd: i32, events: u32, token: u64) -> HostResult<()> {
        self.ctl(g::EPOLL_CTL_MOD, fd, Some((events, token)))
    }

    fn remove(&self, fd: i32) {
        // Whoever closed the last descriptor of the file has removed it.
        let _ = self.ctl(g::EPOLL_CTL_DEL, fd, None);
    }

    fn wait(
        &self,
        events: &mut [PollEvent],
        timeout_ns: Option<u64>,
        mask: Option<SigMask>,
    ) -> HostResult<usize> {
        let mut got = [g::epoll_event { events: 0, data: 0 }; BATCH];
        // Never more than the caller has room for: what stays in the kernel's ready list comes next
        // time, even if a wake-up took a place.
        let room = events.len().min(BATCH);
        let mask = mask.map(|m| m & !signals::NEVER_BLOCKED);
        let got = got.get_mut(..room).unwrap_or_default();
        // A look without waiting happens under the engine's locks.
        let asleep = (timeout_ns != Some(0)).then(thread::Asleep::new);
        let n = epoll_wait(self.epoll, got, timeout_ns, mask.as_ref());
        drop(asleep);
        let n = n?;
        let mut filled = 0;
        for &g::epoll_event { events: bits, data: token } in got.iter().take(n) {
            if token == WAKE {
                self.drain();
            } else if let Some(to) = events.get_mut(filled) {
                *to = PollEvent { events: bits, token };
                filled += 1;
            }
        }
        Ok(filled)
    }

    fn wake(&self) {
        self.woken.ring(|| {
            // A private worker's table has other numbers: the write is made in the application's.
            let waker = Arc::clone(&self.eventfd);
            keeper::in_app_table_do(move || {
                let _ = raw::write(waker.0, &1u64.to_ne_bytes());
            });
        });
    }

    fn watch_clocks(&self, token: u64) -> HostResult<()> {
        if !keeper::in_app_table() {
            return Err(Errno::EPERM);
        }
        let fd =
            fdtable::move_high(raw::timerfd(g::CLOCK_REALTIME, g::TFD_CLOEXEC | g::TFD_NONBLOCK)?);
        let flags = g::TFD_TIMER_ABSTIME | g::TFD_TIMER_CANCEL_ON_SET;
        // Each step is an edge, read or not.
        let watched = raw::timerfd_set(fd, flags, NEVER_NS)
            .and_then(|()| self.add(fd, g::EPOLLIN | g::EPOLLET, token));
        if watched.is_err() || self.clock.compare_exchange(NONE, fd, Relaxed, Relaxed).is_err() {
            fdtable::close_ours(fd);
        }
        watched
    }

    fn nest(&self, inner: &Self, token: u64) -> HostResult<()> {
        self.add(inner.epoll, g::EPOLLIN | g::EPOLLET, token)
    }

    fn unnest(&self, inner: &Self) {
        self.remove(inner.epoll);
    }
}

/// `epoll_pwait2`, or `epoll_pwait` where the kernel (before 5.11) or a filter has none.
fn epoll_wait(
    epoll: i32,
    events: &mut [g::epoll_event],
    timeout_ns: Option<u64>,
    mask: Option<&SigMask>,
) -> HostResult<usize> {
    static OLD: AtomicBool = AtomicBool::new(false);
    if !OLD.load(Relaxed) {
        let ts = timeout_ns.map(raw::timespec);
        let ts_at = ts.as_ref().map_or(0, |t| core::ptr::from_ref(t) as usize);
        let mask_at = mask.map_or(0, |m| core::ptr::from_ref(m) as usize);
        let at = events.as_mut_ptr() as usize;
        let args = [raw::fd_arg(epoll), at, events.len(), ts_at, mask_at, 8];
        // SAFETY: the kernel writes at most `events.len()` events, reads timespec and mask.
        let ret = Errno::demux(unsafe { raw::syscall6(g::__NR_epoll_pwait2, args) });
        // A filter may answer EPERM for a call it does not know; this call has no EPERM.
        if !matches!(ret, Err(Errno::ENOSYS | Errno::EPERM)) {
            return ret;
        }
        OLD.store(true, Relaxed);
    }
    // Rounded up: a timeout must never end early.
    let ms = timeout_ns.map_or(-1, |ns| i32::try_from(ns.div_ceil(1_000_000)).unwrap_or(i32::MAX));
    raw::epoll_pwait(epoll, events, ms, mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::{Name, Spec, Table};
    use rust_alloc::boxed::Box;
    use rust_alloc::sync::Arc;

    const NOW: Option<u64> = Some(0);

    #[test]
    fn a_readable_descriptor_is_reported_with_its_token() {
        let p = LinuxPoller::new().unwrap();
        let (r, w) = raw::pipe2(g::O_CLOEXEC).unwrap();
        p.add(r, g::EPOLLIN, 77).unwrap();
        assert_eq!(p.add(r, g::EPOLLIN, 78), Err(Errno::EEXIST));
        let mut got = [PollEvent::default(); 4];
        assert_eq!(p.wait(&mut got, NOW, None), Ok(0));
        raw::write(w, b"x").unwrap();
        assert_eq!(p.wait(&mut got, None, None), Ok(1));
        assert_eq!(got[0], PollEvent { events: g::EPOLLIN, token: 77 });
        p.remove(r);
        assert_eq!(p.wait(&mut got, NOW, None), Ok(0));
        raw::close(r).unwrap();
        raw::close(w).unwrap();
    }

    #[test]
    fn a_regular_file_cannot_be_watched() {
        let p = LinuxPoller::new().unwrap();
        let fd = raw::openat(g::AT_FDCWD, c"/proc/self/exe", g::O_RDONLY, 0).unwrap();
        assert_eq!(p.add(fd, g::EPOLLIN, 1), Err(Errno::EPERM));
        raw::close(fd).unwrap();
    }

    #[test]
    fn a_wake_before_the_wait_and_one_during_it_both_end_it() {
        let p = Arc::new(LinuxPoller::new().unwrap());
        let mut got = [PollEvent::default(); 4];
        p.wake();
        p.wake();
        assert_eq!(p.wait(&mut got, None, None), Ok(0));
        assert_eq!(p.wait(&mut got, Some(1), None), Ok(0), "one wait drains both");
        for _ in 0..2_000 {
            let waker = p.clone();
            let t = std::thread::spawn(move || waker.wake());
            assert_eq!(p.wait(&mut got, None, None), Ok(0));
            t.join().unwrap();
        }
    }

    #[test]
    fn a_wake_from_a_private_workers_table_is_written_in_the_applications() {
        const A_WHILE: Option<u64> = Some(10_000_000_000);
        // What `wake` asks for help: every private worker was made with it.
        assert!(keeper::private_keep().is_some());
        let (outer, inner) = (LinuxPoller::new().unwrap(), Arc::new(LinuxPoller::new().unwrap()));
        outer.nest(&inner, 9).unwrap();
        let (waker, number) = (inner.clone(), inner.eventfd.0);
        let (tx, rx) = std::sync::mpsc::channel();
        let body = move || {
            let _own = keeper::own_table();
            // Here the eventfd's number is a pipe's.
            let (r, w) = raw::pipe2(g::O_CLOEXEC | g::O_NONBLOCK).unwrap();
            let placed = raw::dup3(w, number, g::O_CLOEXEC);
            waker.wake();
            tx.send((placed, raw::read(r, &mut [0u8; 8]))).unwrap();
        };
        let spec = Spec { name: Name::worker(), table: Table::Private(&[]), cpu: None };
        let worker = thread::spawn(spec, Box::new(body)).unwrap();
        let mut got = [PollEvent::default(); 2];
        assert_eq!(outer.wait(&mut got, A_WHILE, None), Ok(1), "nobody was woken");
        assert_eq!(got[0].token, 9);
        assert_eq!(inner.wait(&mut got, NOW, None), Ok(0), "only a wake");
        assert_eq!(rx.recv().unwrap(), (Ok(number), Err(Errno::EAGAIN)), "into a file of its own");
        worker.join();
    }

    #[test]
    fn a_nested_poller_is_ready_when_something_in_it_is() {
        let (outer, inner) = (LinuxPoller::new().unwrap(), LinuxPoller::new().unwrap());
        outer.nest(&inner, 9).unwrap();
        let mut got = [PollEvent::default(); 2];
        assert_eq!(outer.wait(&mut got, NOW, None), Ok(0));
        inner.wake();
        assert_eq!(outer.wait(&mut got, None, None), Ok(1));
        assert_eq!(got[0].token, 9);
        assert_eq!(outer.wait(&mut got, NOW, None), Ok(0), "edge-triggered");
        assert_eq!(inner.wait(&mut got, NOW, None), Ok(0), "only a wake");
        outer.unnest(&inner);
        inner.wake();
        assert_eq!(outer.wait(&mut got, NOW, None), Ok(0));
    }

    #[test]
    fn a_clock_that_nobody_sets_says_nothing_and_its_number_goes() {
        let p = LinuxPoller::new().unwrap();
        p.watch_clocks(8).unwrap();
        assert_eq!(p.wait(&mut [PollEvent::default(); 2], NOW, None), Ok(0));
        let fd = p.clock.load(Relaxed);
        assert!(raw::fstat(fd).is_ok());
        drop(p);
        assert!(raw::fstat(fd).is_err());
    }

    #[test]
    fn a_wake_never_costs_an_event() {
        let p = LinuxPoller::new().unwrap();
        let (r, w) = raw::pipe2(g::O_CLOEXEC).unwrap();
        p.add(r, g::EPOLLIN | g::EPOLLET, 5).unwrap();
        raw::write(w, b"x").unwrap();
        p.wake();
        let mut one = [PollEvent::default(); 1];
        let total: usize = (0..2).map(|_| p.wait(&mut one, NOW, None).unwrap()).sum();
        assert_eq!((total, one[0].token), (1, 5));
        raw::close(r).unwrap();
        raw::close(w).unwrap();
    }
}
