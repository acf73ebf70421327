//! [`LinuxAio`]: one context of the kernel's AIO (io_setup(2)), whose ends an eventfd in a poller tells.
//!
//! ```text
//!  io_submit --> kernel --> [ring of io_events, mapped here] --reap, no call--> engine
//!                   '-----> eventfd, edge-triggered, never read --> epoll
//! ```
//!
//! The events are read as libaio reads them; where the kernel's ring has another shape, io_getevents
//! reads them. What it does not do: wait, cancel, or know what a token means.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Release};
use rust_alloc::vec::Vec;

use ringer_engine::host::{Aio, AioDone, AioOp, HostResult, Poller};
use ringer_uapi::Errno;

use crate::poller::LinuxPoller;
use crate::raw::{self, general as g};
use crate::{fdtable, keeper};

/// `AIO_RING_MAGIC` (fs/aio.c).
const MAGIC: u32 = 0xa10a_10a1;
const IOCB_FLAG_RESFD: u32 = 1;
const CMD_PREAD: u16 = 0;
const CMD_PWRITE: u16 = 1;
const CMD_PREADV: u16 = 7;
const CMD_PWRITEV: u16 = 8;
/// Transfers handed over in one call.
const BATCH: usize = 64;

/// `struct iocb` (linux/aio_abi.h, little endian).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    reqprio: i16,
    fd: u32,
    buf: u64,
    nbytes: u64,
    offset: i64,
    reserved2: u64,
    flags: u32,
    resfd: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct IoEvent {
    data: u64,
    obj: u64,
    res: i64,
    res2: i64,
}

/// The head of `struct aio_ring`; the events follow it.
#[repr(C)]
#[derive(Debug)]
struct Head {
    id: u32,
    nr: u32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: u32,
    compat_features: u32,
    incompat_features: u32,
    header_length: u32,
}

/// The ring of events, where it has the shape that is known here.
#[derive(Clone, Copy, Debug)]
struct Events {
    at: usize,
    nr: u32,
}

impl Events {
    fn of(context: usize) -> Option<Self> {
        // SAFETY: io_setup answers the address at which the kernel mapped a `struct aio_ring`, for as
        // long as the context lives.
        let head = unsafe { &*(context as *const Head) };
        let known = head.magic == MAGIC
            && head.incompat_features == 0
            && head.header_length as usize == size_of::<Head>();
        (known && head.nr > 0).then_some(Self { at: context, nr: head.nr })
    }

    fn head(&self) -> &Head {
        // SAFETY: as in `of`; whoever has an `Events` has the context.
        unsafe { &*(self.at as *const Head) }
    }

    /// Takes what is there. One thread at a time does (the caller's lock).
    fn take(&self, to: &mut [AioDone]) -> usize {
        let head = self.head();
        // The page can be written by the program: an index is looked at after it was read.
        let mut at = head.head.load(Acquire);
        // Acquire: pairs with the kernel's barrier between the event and the tail.
        let tail = head.tail.load(Acquire);
        let mut taken = 0;
        while at != tail && at < self.nr && tail < self.nr {
            let Some(done) = to.get_mut(taken) else { break };
            let place = self.at + size_of::<Head>() + at as usize * size_of::<IoEvent>();
            // SAFETY: `at` is below the number of events that the kernel mapped behind the head.
            let event = unsafe { core::ptr::read_volatile(place as *const IoEvent) };
            *done = done_of(&event);
            taken += 1;
            at = if at + 1 == self.nr { 0 } else { at + 1 };
        }
        if taken > 0 {
            // Release: the events were read before the kernel may reuse their places.
            head.head.store(at, Release);
        }
        taken
    }
}

fn done_of(event: &IoEvent) -> AioDone {
    let res = usize::try_from(event.res).map_or_else(
        |_| Err(Errno::demux(event.res as isize).err().unwrap_or(Errno::EIO)),
        |n| Ok(u32::try_from(n).unwrap_or(u32::MAX)),
    );
    AioDone { token: event.data, res }
}

/// See the module's doc.
#[derive(Debug)]
pub struct LinuxAio {
    context: usize,
    events: Option<Events>,
    eventfd: i32,
}

impl LinuxAio {
    /// A context for so many transfers at once, whose ends `poller` reports under `token`.
    ///
    /// # Errors
    /// `EAGAIN`: the host's fs.aio-max-nr is reached. `ENOSYS`, `EPERM`: there is no AIO. `EMFILE`,
    /// `ENFILE`, `ENOMEM`.
    pub fn new(poller: &LinuxPoller, token: u64, entries: u32) -> HostResult<Self> {
        let mut context = 0usize;
        let at = &raw mut context as usize;
        // SAFETY: the kernel writes one word to `context`.
        Errno::demux(unsafe { raw::syscall2(g::__NR_io_setup, entries as usize, at) })?;
        let events = Events::of(context);
        let mut new = Self { context, events, eventfd: -1 };
        new.eventfd = fdtable::move_high(raw::eventfd(0, g::EFD_CLOEXEC | g::EFD_NONBLOCK)?);
        poller.add(new.eventfd, g::EPOLLIN | g::EPOLLET, token)?;
        Ok(new)
    }

    fn iocb(&self, op: &AioOp<'_>) -> Iocb {
        // A vector is one more thing to copy in.
        let (opcode, buf, nbytes) = match (op.iov, op.write) {
            ([v], false) => (CMD_PREAD, v.base, v.len),
            ([v], true) => (CMD_PWRITE, v.base, v.len),
            (list, false) => (CMD_PREADV, list.as_ptr() as u64, list.len() as u64),
            (list, true) => (CMD_PWRITEV, list.as_ptr() as u64, list.len() as u64),
        };
        Iocb {
            data: op.token,
            rw_flags: op.rwf,
            opcode,
            fd: op.fd.cast_unsigned(),
            buf,
            nbytes,
            offset: op.off.cast_signed(),
            flags: IOCB_FLAG_RESFD,
            resfd: self.eventfd.cast_unsigned(),
            ..Iocb::default()
        }
    }
}

impl Drop for LinuxAio {
    fn drop(&mut self) {
        // SAFETY: nothing is under way (the engine's promise), and nobody reads the events any more.
        let _ = unsafe { raw::syscall1(g::__NR_io_destroy, self.context) };
        if self.eventfd >= 0 {
            keeper::close_in_app_table(self.eventfd);
        }
    }
}

impl Aio for LinuxAio {
    fn submit(&self, ops: &[AioOp<'_>]) -> (usize, Option<Errno>) {
        let mut taken = 0;
        for some in ops.chunks(BATCH) {
            let mut blocks: Vec<Iocb> = some.iter().map(|op| self.iocb(op)).collect();
            let at: Vec<usize> =
                blocks.iter_mut().map(|b| core::ptr::from_mut(b) as usize).collect();
            // SAFETY: the kernel reads the blocks and what they point to, and writes their keys, before
            // it answers; the buffers of the vectors are the application's addresses, which it checks.
            let r = Errno::demux(unsafe {
                raw::syscall3(g::__NR_io_submit, self.context, at.len(), at.as_ptr() as usize)
            });
            match r {
                Ok(n) => {
                    taken += n;
                    if n < some.len() {
                        // Why the next one was not taken is what it answers alone.
                        return (taken, None);
                    }
                }
                Err(e) => return (taken, Some(e)),
            }
        }
        (taken, None)
    }

    fn reap(&self, to: &mut [AioDone]) -> usize {
        if let Some(events) = &self.events {
            return events.take(to);
        }
        let mut got = [IoEvent::default(); BATCH];
        let most = got.len().min(to.len());
        let now = raw::timespec(0);
        let at = [got.as_mut_ptr() as usize, core::ptr::from_ref(&now) as usize];
        // SAFETY: the kernel writes at most `most` events, and reads the time.
        let n = Errno::demux(unsafe {
            raw::syscall5(g::__NR_io_getevents, self.context, 0, most, at[0], at[1])
        });
        let n = n.unwrap_or(0);
        for (to, event) in to.iter_mut().zip(got.iter().take(n)) {
            *to = done_of(event);
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringer_engine::host::{Iovec, PollEvent};

    #[test]
    fn a_read_of_a_file_ends_with_an_event_and_its_bytes() {
        let poller = LinuxPoller::new().unwrap();
        let aio = LinuxAio::new(&poller, 7, 8).unwrap();
        let fd = raw::openat(g::AT_FDCWD, c"/proc/self/exe", g::O_RDONLY, 0).unwrap();
        let mut buf = [0u8; 64];
        let iov = [Iovec { base: buf.as_mut_ptr() as u64, len: 64 }];
        let op = AioOp { token: 99, fd, iov: &iov, off: 0, rwf: 0, write: false };
        assert_eq!(aio.submit(&[op, op]), (2, None));
        let mut events = [PollEvent::default(); 4];
        assert_eq!(poller.wait(&mut events, None, None), Ok(1));
        assert_eq!(events[0].token, 7);
        let mut done = [AioDone::default(); 8];
        let mut n = 0;
        while n < 2 {
            n += aio.reap(&mut done[n..]);
        }
        assert_eq!(done[..2], [AioDone { token: 99, res: Ok(64) }; 2]);
        assert_eq!(&buf[..4], b"\x7fELF");
        assert_eq!(aio.reap(&mut done), 0);
        raw::close(fd).unwrap();
    }

    #[test]
    fn several_buffers_are_filled_one_after_the_other() {
        let poller = LinuxPoller::new().unwrap();
        let aio = LinuxAio::new(&poller, 7, 8).unwrap();
        let fd = raw::openat(g::AT_FDCWD, c"/proc/self/exe", g::O_RDONLY, 0).unwrap();
        let mut bufs = [[0u8; 2]; 2];
        let iov = bufs.each_mut().map(|b| Iovec { base: b.as_mut_ptr() as u64, len: 2 });
        let op = AioOp { token: 1, fd, iov: &iov, off: 0, rwf: 0, write: false };
        assert_eq!(aio.submit(&[op]), (1, None));
        let mut done = [AioDone::default(); 8];
        while aio.reap(&mut done) == 0 {}
        assert_eq!(done[0], AioDone { token: 1, res: Ok(4) });
        assert_eq!(bufs.as_flattened(), b"\x7fELF");
        raw::close(fd).unwrap();
    }

    #[test]
    fn what_is_refused_is_not_taken_and_says_why_when_it_is_first() {
        let poller = LinuxPoller::new().unwrap();
        let aio = LinuxAio::new(&poller, 7, 8).unwrap();
        let fd = raw::openat(g::AT_FDCWD, c"/proc/self/exe", g::O_RDONLY, 0).unwrap();
        let iov = [Iovec { base: 0, len: 0 }];
        let good = AioOp { token: 1, fd, iov: &iov, off: 0, rwf: 0, write: false };
        let bad = AioOp { fd: -1, ..good };
        assert_eq!(aio.submit(&[good, bad]), (1, None));
        assert_eq!(aio.submit(&[bad]), (0, Some(Errno::EBADF)));
        raw::close(fd).unwrap();
    }
}
