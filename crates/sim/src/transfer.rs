//! Reading and writing in RAM: what preadv2(2) and pwritev2(2) do to each kind of file.

use crate::host::SimHost;
use crate::object::{Body, Chan, Open, RamFile};
use crate::policy::Fault;
use crate::sched::lock;
use crate::world::World;
use ringer_engine::host::{HostResult, Iovec};
use ringer_uapi::Errno;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

/// Longest time that a disk takes \[ns\].
const BROUGHT_NS: u64 = 2_000_000;
const RWF_NOWAIT: u32 = 8;
/// Largest file \[bytes\].
const LARGEST: usize = 1 << 24;
/// Longest time that something sent takes to arrive \[ns\].
const LATE_NS: u64 = 3_000_000;

impl SimHost {
    /// Waits for something of a stream, or says `EAGAIN`.
    pub(crate) fn stream<T>(
        &self,
        wait: bool,
        mut look: impl FnMut() -> Option<T>,
    ) -> HostResult<T> {
        if let Some(found) = look() {
            return Ok(found);
        }
        if !wait {
            return Err(Errno::EAGAIN);
        }
        self.sched.wait_for(None, look)
    }

    fn perhaps_less(&self, n: usize) -> usize {
        if self.sched.strikes(Fault::Short) { self.sched.policy.part(n).min(n) } else { n }
    }

    /// A read from a stream, which may be shorter than what there is.
    pub(crate) fn take(
        &self,
        open: &Open,
        iov: &[Iovec],
        wait: bool,
        keep: bool,
    ) -> HostResult<u32> {
        let Body::Stream { rx: Some(chan), .. } = &open.body else { return Err(Errno::EBADF) };
        let (good, bad) = World::reach(iov);
        let asked = if bad { good } else { iov.iter().map(|v| v.len as usize).sum() };
        if asked == 0 {
            return if bad { Err(Errno::EFAULT) } else { Ok(0) };
        }
        let n = self.perhaps_less(self.there(open, chan, asked, wait)?);
        self.copy_stream(chan, iov, n, keep)
    }

    /// A receive from a connection: what there is comes in one piece, as of one packet, or not at all.
    pub(crate) fn take_packet(
        &self,
        open: &Open,
        iov: &[Iovec],
        wait: bool,
        keep: bool,
    ) -> HostResult<u32> {
        let Body::Stream { rx: Some(chan), .. } = &open.body else { return Err(Errno::EBADF) };
        let good = World::reach(iov).0;
        let asked: usize = iov.iter().map(|v| v.len as usize).sum();
        if asked == 0 {
            return Ok(0);
        }
        let n = self.there(open, chan, asked, wait)?;
        if n > good {
            return Err(Errno::EFAULT);
        }
        self.copy_stream(chan, iov, n, keep)
    }

    /// How much of what is asked for is there; 0 at the end.
    fn there(&self, open: &Open, chan: &Chan, asked: usize, wait: bool) -> HostResult<usize> {
        self.stream(wait, || match chan.len() {
            0 => open.at_end().then_some(0),
            n => Some(n.min(asked)),
        })
    }

    /// Copies `n` bytes of a stream to where they are to go.
    fn copy_stream(&self, chan: &Chan, iov: &[Iovec], n: usize, keep: bool) -> HostResult<u32> {
        let bytes = chan.take(n, keep);
        let done = lock(&self.world).scatter(iov, &bytes);
        self.sched.changed();
        done
    }

    pub(crate) fn put(&self, open: &Open, iov: &[Iovec], wait: bool) -> HostResult<u32> {
        let Body::Stream { tx: Some(chan), socket, .. } = &open.body else {
            return Err(Errno::EBADF);
        };
        let (good, bad) = World::reach(iov);
        if good == 0 {
            return if bad { Err(Errno::EFAULT) } else { Ok(0) };
        }
        let room = self.stream(wait, || match chan.room() {
            _ if open.is_broken() => Some(0),
            0 => None,
            n => Some(n),
        })?;
        if room == 0 {
            return Err(Errno::EPIPE);
        }
        let n = self.perhaps_less(good.min(room));
        let bytes = lock(&self.world).collect(iov, n)?;
        if *socket && !chan.in_transit() && self.sched.strikes(Fault::Late) {
            chan.send_late(&bytes);
            let chan = chan.clone();
            let arrive = move || chan.arrive();
            self.sched.at(self.sched.policy.amount(LATE_NS), Box::new(arrive));
        } else {
            chan.put(&bytes);
        }
        self.sched.changed();
        Ok(n as u32)
    }

    fn read_cached(&self, file: &Mutex<RamFile>, iov: &[Iovec], off: u64) -> HostResult<u32> {
        let (cached, there) = {
            let f = lock(file);
            (f.cached, f.cached.min(f.data.len()) as u64)
        };
        let has_some = World::reach(iov).0 > 0 && off < there;
        // Who copied something says so: it is forgotten before, or not at all.
        if has_some && self.forgets() {
            return Err(Errno::EAGAIN);
        }
        read_file(&self.world, file, iov, off, cached)
    }

    /// Has a file cached up to an offset, some time later.
    pub(crate) fn bring(&self, fd: i32, to: u64) {
        let Ok(open) = self.open(fd).map(|o| o.end()) else { return };
        let brought = move || {
            if let Body::Regular { file, .. } = &open.body {
                let mut f = lock(file);
                let to = usize::try_from(to).unwrap_or(usize::MAX).min(f.data.len());
                f.cached = f.cached.max(to);
            }
        };
        self.sched.at(self.sched.policy.amount(BROUGHT_NS), Box::new(brought));
    }

    /// splice(2) and tee(2): between pipes, and from or to a file.
    pub(crate) fn move_bytes(
        &self,
        call: &'static str,
        (from, from_at): (i32, u64),
        (to, to_at): (i32, u64),
        len: u32,
    ) -> HostResult<u32> {
        self.app_call(call, to)?;
        let (from, to, len) = (self.open(from)?, self.open(to)?, len as usize);
        let keep = call == "tee";
        match (&from.body, &to.body) {
            (Body::Stream { rx: Some(rx), .. }, Body::Stream { tx: Some(tx), .. }) => {
                let moved = self.stream(true, || match rx.len().min(tx.room()) {
                    _ if to.is_broken() => Some(Err(Errno::EPIPE)),
                    0 => from.at_end().then_some(Ok(0)),
                    n => {
                        let bytes = rx.take(n.min(len), keep);
                        tx.put(&bytes);
                        Some(Ok(bytes.len() as u32))
                    }
                })?;
                self.sched.changed();
                moved
            }
            (Body::Regular { file, .. }, Body::Stream { tx: Some(tx), .. }) if !keep => {
                let room = self.stream(true, || match tx.room() {
                    _ if to.is_broken() => Some(Err(Errno::EPIPE)),
                    0 => None,
                    n => Some(Ok(n)),
                })??;
                let f = lock(file);
                let at = (from_at as usize).min(f.data.len());
                let bytes = &f.data[at..f.data.len().min(at + len.min(room))];
                tx.put(bytes);
                self.sched.changed();
                Ok(bytes.len() as u32)
            }
            (Body::Stream { rx: Some(rx), .. }, Body::Regular { file, .. }) if !keep => {
                let at = usize::try_from(to_at).ok().filter(|at| *at <= LARGEST - len.min(LARGEST));
                let at = at.ok_or(Errno::EFBIG)?;
                let bytes = self.stream(true, || match rx.len() {
                    0 => from.at_end().then(Vec::new),
                    n => Some(rx.take(n.min(len), false)),
                })?;
                self.sched.changed();
                let mut f = lock(file);
                let end = at + bytes.len();
                if f.data.len() < end {
                    f.data.resize(end, 0);
                }
                f.data[at..end].copy_from_slice(&bytes);
                Ok(bytes.len() as u32)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn event(&self, open: &Open, iov: &[Iovec], wait: bool, write: bool) -> HostResult<u32> {
        let Body::Event { count, .. } = &open.body else { return Err(Errno::EINVAL) };
        if iov.iter().map(|v| v.len).sum::<u64>() < 8 {
            return Err(Errno::EINVAL);
        }
        if write {
            let b = lock(&self.world).collect(iov, 8)?;
            open.signal(ringer_uapi::bytes::u64_at(&b, 0))?;
            self.sched.changed();
            return Ok(8);
        }
        let n = self.stream(wait, || Some(count.swap(0, Relaxed)).filter(|&n| n > 0))?;
        lock(&self.world).scatter(iov, &n.to_ne_bytes())
    }

    /// preadv2(2) and pwritev2(2).
    pub(crate) fn transfer(
        &self,
        fd: i32,
        iov: &[Iovec],
        off: u64,
        (rwf, write): (u32, bool),
    ) -> HostResult<u32> {
        let open = self.open(fd)?.end();
        lock(&self.world).attempt(self.sched.tid(), iov);
        let wait = rwf & RWF_NOWAIT == 0;
        match &open.body {
            Body::Regular { file, pos } => {
                let at = if off == u64::MAX { pos.load(Relaxed) } else { off };
                let n = match write {
                    true if !wait => return Err(Errno::EAGAIN),
                    true => write_file(&self.world, file, iov, at)?,
                    false if !wait => self.read_cached(file, iov, at)?,
                    false => read_file(&self.world, file, iov, at, usize::MAX)?,
                };
                if off == u64::MAX {
                    pos.fetch_add(u64::from(n), Relaxed);
                }
                Ok(n)
            }
            Body::Epoll(_) => Err(Errno::EINVAL),
            _ if off != u64::MAX => Err(Errno::ESPIPE),
            // The wrong end of a pipe says so before anything else.
            Body::Stream { rx: None, .. } if !write => Err(Errno::EBADF),
            Body::Stream { tx: None, .. } if write => Err(Errno::EBADF),
            _ if !wait && self.options.no_nowait => Err(Errno::EOPNOTSUPP),
            Body::Stream { .. } if write => self.put(&open, iov, wait),
            Body::Stream { .. } => self.take(&open, iov, wait, false),
            Body::Event { .. } => self.event(&open, iov, wait, write),
            Body::Dgram { .. } | Body::Net { .. } => self.message(&open, iov, wait, write),
        }
    }

    /// read(2) and write(2) of a socket without a stream.
    fn message(&self, open: &Arc<Open>, iov: &[Iovec], wait: bool, write: bool) -> HostResult<u32> {
        let Body::Dgram { rx, .. } = &open.body else { return Err(Errno::ENOTCONN) };
        let len = iov.iter().map(|v| v.len as usize).sum();
        let done = if write {
            let message = lock(&self.world).collect(iov, len)?;
            self.stream(wait, || open.send(&message))?;
            Ok(len as u32)
        } else {
            let message = self.stream(wait, || rx.take())?;
            let n = message.len().min(len);
            lock(&self.world).scatter(iov, message.get(..n).unwrap_or(&[]))
        };
        self.sched.changed();
        done
    }
}

/// Reads a file; what lies at or beyond `limit` is not to be had now.
pub(crate) fn read_file(
    world: &Mutex<World>,
    file: &Mutex<RamFile>,
    iov: &[Iovec],
    off: u64,
    limit: usize,
) -> HostResult<u32> {
    let (good, bad) = World::reach(iov);
    let mut f = lock(file);
    let from = usize::try_from(off).unwrap_or(usize::MAX).min(f.data.len());
    let n = good.min(f.data.len() - from);
    if n == 0 {
        return if bad && from < f.data.len() { Err(Errno::EFAULT) } else { Ok(0) };
    }
    let n = n.min(limit.saturating_sub(from));
    if n == 0 {
        return Err(Errno::EAGAIN);
    }
    f.cached = f.cached.max(from + n);
    lock(world).scatter(iov, &f.data[from..from + n])
}

/// Writes to a file.
pub(crate) fn write_file(
    world: &Mutex<World>,
    file: &Mutex<RamFile>,
    iov: &[Iovec],
    off: u64,
) -> HostResult<u32> {
    let (good, bad) = World::reach(iov);
    if good == 0 && bad {
        return Err(Errno::EFAULT);
    }
    let bytes = lock(world).collect(iov, good)?;
    let at = usize::try_from(off).map_err(|_| Errno::EFBIG)?;
    let end = at.checked_add(good).filter(|e| *e <= LARGEST).ok_or(Errno::EFBIG)?;
    let mut f = lock(file);
    if f.data.len() < end {
        f.data.resize(end, 0);
    }
    f.data[at..end].copy_from_slice(&bytes);
    f.cached = f.cached.max(end);
    Ok(good as u32)
}
