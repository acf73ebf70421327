//! `impl Host`: the calls of the engine, in RAM. What it does not model answers `ENOSYS`.

use crate::aio::SimAio;
use crate::names::Node;
use crate::object::{Body, Open, POLLNVAL};
use crate::policy::Fault;
use crate::poller::SimPoller;
use crate::ring::{Memory, Pages, SimPages, SimRing};
use crate::sched::{Lock, Sched, SharedLock, lock};
use crate::world::{Entry, World};
use ringer_engine::host::{
    Attributed, Child, Clock, Credentials, FileKind, Futex, FutexWord, Host, HostFile, HostResult,
    HostThread, Identity, Iovec, Message, Received, RingId, RingSpec, SockAddr, ThreadKind,
    TxTimestamp, check_region,
};
use ringer_ring::Map;
use ringer_uapi::Errno;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// How unkind the world is. With no seed everything is as kind as it can be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Decides every choice; `None` is the plain order.
    pub seed: Option<u64>,
    /// The baton goes on at one in so many host calls (0: never).
    pub preempt: u32,
    /// Streams give less than was asked for, once in so many calls (0: never).
    pub short_reads: u32,
    /// A wait of the application ends with `EINTR` once in so many times (0: never).
    pub eintr: u32,
    /// Held files have no number in the application's table: private workers do everything.
    pub numberless: bool,
    /// Streams know no `RWF_NOWAIT`, as some devices.
    pub no_nowait: bool,
    /// The program may hold POSIX locks.
    pub posix_locks: bool,
    /// The engine's policy does to requests what a kernel may, as this seed decides.
    pub meddles: Option<u64>,
    /// Copies of files may outlive the requests that wait for them: the closes of the application are told.
    pub lends: bool,
}

/// A file that the engine holds, under a number of its own.
#[derive(Clone, Debug)]
pub struct SimFile(Arc<Held>);

#[derive(Debug)]
struct Held {
    open: Arc<Open>,
    number: Option<i32>,
    world: Arc<Mutex<World>>,
    sched: Arc<Sched>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let gone = self.number.and_then(|n| lock(&self.world).fds.remove(&n));
        drop(gone);
        self.sched.changed();
    }
}

impl HostFile for SimFile {
    fn kind(&self) -> FileKind {
        self.0.open.kind()
    }

    fn number(&self) -> Option<i32> {
        self.0.number
    }

    fn same_file(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.open, &other.0.open)
    }

    fn another(&self) -> HostResult<Self> {
        if self.0.number.is_none() || self.0.sched.strikes(Fault::NoFile) {
            return Err(Errno::EMFILE);
        }
        let (open, world) = (self.0.open.clone(), self.0.world.clone());
        let number = Some(lock(&world).install_held(open.clone()));
        Ok(Self(Arc::new(Held { open, number, world, sched: self.0.sched.clone() })))
    }
}

/// A thread that the engine started.
#[derive(Debug)]
pub struct SimThread {
    task: usize,
    sched: Arc<Sched>,
}

impl HostThread for SimThread {
    fn interrupt(&self) {
        self.sched.interrupt(self.task);
    }

    fn clear_interrupt(&self) {
        self.sched.clear_interrupt(self.task);
    }
}

/// See the module's doc.
#[derive(Debug)]
pub struct SimHost {
    pub(crate) sched: Arc<Sched>,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) options: Options,
    /// The next so many starts of a thread fail.
    pub(crate) no_threads: AtomicU32,
    /// Numbers that are lent.
    pub(crate) lent: Mutex<BTreeSet<i32>>,
    /// Names are not in the dentry cache.
    pub(crate) cold_names: AtomicBool,
    /// The next so many references to a file cannot be made.
    pub(crate) no_files: AtomicU32,
}

impl SimHost {
    pub(crate) fn call(&self, name: &'static str, fd: i32) {
        self.sched.breathe();
        lock(&self.world).calls.push((name, fd));
    }

    /// A call that an interrupt of its thread ends, also one that came before it.
    pub(crate) fn app_call(&self, name: &'static str, fd: i32) -> HostResult<()> {
        self.call(name, fd);
        if self.sched.is_stopped() { Err(Errno::EINTR) } else { Ok(()) }
    }

    pub(crate) fn open(&self, fd: i32) -> HostResult<Arc<Open>> {
        lock(&self.world).open(fd)
    }

    fn held(&self, open: Arc<Open>) -> SimFile {
        let number =
            (!self.options.numberless).then(|| lock(&self.world).install_held(open.clone()));
        let (world, sched) = (self.world.clone(), self.sched.clone());
        SimFile(Arc::new(Held { open, number, world, sched }))
    }

    fn fails(left: &AtomicU32) -> bool {
        left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok()
    }

    /// Whether what was cached is not there after all.
    pub(crate) fn forgets(&self) -> bool {
        self.sched.strikes(Fault::Again)
    }

    /// Whether no descriptor is to be had.
    pub(crate) fn fails_to_open(&self) -> bool {
        Self::fails(&self.no_files) || self.sched.strikes(Fault::NoFile)
    }
}

impl Host for SimHost {
    type Lock = Lock;
    type Shared = SharedLock;
    type Poller = SimPoller;
    type Aio = SimAio;
    type File = SimFile;
    type Ring = SimRing;
    type Thread = SimThread;

    fn ring_create(&self, spec: &RingSpec) -> HostResult<(SimRing, SimPages)> {
        if let Some((rings, sqes)) = spec.user_memory {
            check_region(rings, spec.geometry.rings_len())?;
            check_region(sqes, spec.geometry.sqes_len())?;
        }
        let memory = Memory::new(spec.geometry);
        let pages = Arc::new(Pages {
            id: spec.id,
            memory: Mutex::new(memory.clone()),
            polled: AtomicBool::new(false),
            readable: AtomicBool::new(false),
            work: AtomicBool::new(false),
            region: Mutex::new(None),
            buf_rings: Mutex::default(),
            mapped: AtomicBool::new(false),
            kept: AtomicU32::new(0),
            signals: AtomicU32::new(0),
            announced: AtomicU32::new(0),
        });
        let mut w = lock(&self.world);
        w.rings.insert(spec.id, pages.clone());
        w.ring_objects += 1;
        drop(w);
        let ring = SimRing { pages, sched: self.sched.clone(), world: self.world.clone() };
        Ok((ring, SimPages::new(memory, &self.world)))
    }

    fn ring_install(&self, ring: &SimRing) -> HostResult<i32> {
        lock(&self.world).install(Entry::Ring(ring.pages.id))
    }

    fn ring_of(&self, fd: i32) -> HostResult<RingId> {
        match lock(&self.world).entry(fd)? {
            Entry::Ring(id) => Ok(*id),
            Entry::Open(_) => Err(Errno::EOPNOTSUPP),
        }
    }

    fn copy_in(&self, addr: u64, to: &mut [u8]) -> HostResult<()> {
        to.copy_from_slice(lock(&self.world).read(addr, to.len())?);
        Ok(())
    }

    fn copy_out(&self, addr: u64, from: &[u8]) -> HostResult<()> {
        lock(&self.world).write(addr, from)
    }

    fn copy_text(&self, addr: u64, max: usize) -> HostResult<Box<[u8]>> {
        let w = lock(&self.world);
        let mut path = Vec::new();
        for i in 0..max as u64 {
            let b = w.read(addr.wrapping_add(i), 1)?[0];
            path.push(b);
            if b == 0 {
                return Ok(path.into());
            }
        }
        Err(Errno::ENAMETOOLONG)
    }

    fn check_pinnable(&self, addr: u64, len: u64) -> HostResult<()> {
        lock(&self.world).read(addr, usize::try_from(len).map_err(|_| Errno::EFAULT)?).map(|_| ())
    }

    fn now(&self, clock: Clock) -> u64 {
        self.sched.breathe();
        match clock {
            Clock::Monotonic => self.sched.now(),
            Clock::Boottime => self.sched.now() + lock(&self.world).clocks[0],
            Clock::Realtime => self.sched.now() + lock(&self.world).clocks[1],
        }
    }

    fn tid(&self) -> u32 {
        self.sched.tid()
    }

    fn is_alive(&self, _tid: u32) -> bool {
        // Rings are the application's, which outlives them.
        true
    }

    fn thread_word(&self) -> u64 {
        lock(&self.world).words.get(&self.sched.tid()).copied().unwrap_or(0)
    }

    fn set_thread_word(&self, word: u64) {
        lock(&self.world).words.insert(self.sched.tid(), word);
    }

    fn identity(&self) -> Identity {
        let (w, tid) = (lock(&self.world), self.sched.tid());
        w.given.get(&tid).copied().unwrap_or(Identity(w.user(tid)))
    }

    fn set_identity(&self, identity: Identity) {
        lock(&self.world).given.insert(self.sched.tid(), identity);
    }

    fn credentials(&self) -> Credentials {
        Credentials(lock(&self.world).user(self.sched.tid()))
    }

    fn park(&self, word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) -> HostResult<()> {
        self.sched.breathe();
        if word.load(Relaxed) != expected {
            return Err(Errno::EAGAIN);
        }
        if self.sched.signalled() {
            return Err(Errno::EINTR);
        }
        if self.sched.strikes(Fault::Wake) {
            return Ok(());
        }
        self.sched.park(std::ptr::from_ref(word).addr(), timeout_ns)
    }

    fn yield_cpu(&self) {
        self.sched.step_aside(100_000);
    }

    fn unpark(&self, word: &AtomicU32, n: u32) {
        self.sched.unpark(std::ptr::from_ref(word).addr(), n);
        self.sched.breathe();
    }

    fn spawn(&self, kind: ThreadKind, body: Box<dyn FnOnce() + Send>) -> HostResult<SimThread> {
        if Self::fails(&self.no_threads) || self.sched.strikes(Fault::NoThread) {
            return Err(Errno::EAGAIN);
        }
        let task = self.sched.spawn(format!("{kind:?}"), false, body)?;
        let mut w = lock(&self.world);
        let user = w.user(self.sched.tid());
        w.users.insert(Sched::tid_of(task), user);
        drop(w);
        // A new thread may run before its maker goes on.
        self.sched.breathe();
        Ok(SimThread { task, sched: self.sched.clone() })
    }

    fn poller(&self) -> HostResult<SimPoller> {
        if self.sched.strikes(Fault::NoFile) {
            return Err(Errno::EMFILE);
        }
        Ok(SimPoller::new(self.sched.clone(), self.world.clone()))
    }

    fn aio(&self, poller: &SimPoller, token: u64, _entries: u32) -> HostResult<SimAio> {
        if self.sched.strikes(Fault::NoFile) {
            return Err(Errno::EAGAIN);
        }
        let bell = Open::event(0);
        poller.add_own(&bell, token);
        Ok(SimAio::new(bell, self.sched.clone(), self.world.clone()))
    }

    fn cpus(&self) -> u32 {
        2
    }

    fn cpu_allowed(&self, cpu: u32) -> bool {
        cpu < 2
    }

    fn beyond_cpuset(&self, cpus: &[u64]) -> bool {
        // The machine has four, the process two of them.
        cpus.first().is_some_and(|word| word & 0b1100 != 0)
    }

    fn nproc(&self) -> u32 {
        1 << 16
    }

    fn cpu_mask_len(&self) -> usize {
        8
    }

    fn run_on(&self, cpus: &[u64]) {
        self.call("run_on", cpus.first().map_or(0, |w| *w as i32));
    }

    fn nofile(&self) -> u64 {
        lock(&self.world).nofile as u64
    }

    fn futex_sleep(&self, words: &[FutexWord], _of: &[Futex], mask: u32) -> HostResult<u32> {
        self.sleep_on_words(words, mask)
    }

    fn futex_move(&self, word: &FutexWord, to: Futex) -> HostResult<bool> {
        self.move_sleeper(word, to)
    }

    fn futex_wait(&self, on: &[Futex], mask: u32) -> HostResult<u32> {
        self.sleep_on(on, mask)
    }

    fn futex_wake(&self, futex: Futex, mask: u32) -> HostResult<u32> {
        self.wake_sleepers(futex, mask)
    }

    fn waitid(&self, which: i32, id: i32, options: i32) -> HostResult<Option<Child>> {
        self.wait_for_child(which, id, options)
    }

    fn hold(&self, fd: i32) -> HostResult<SimFile> {
        self.call("hold", fd);
        let open = self.open(fd)?;
        if self.fails_to_open() {
            return Err(Errno::EMFILE);
        }
        Ok(self.held(open))
    }

    fn lend(&self, fd: i32, _file: &SimFile) -> bool {
        if self.options.lends {
            lock(&self.lent).insert(fd);
        }
        self.options.lends
    }

    fn is_lent(&self, fd: i32) -> bool {
        lock(&self.lent).contains(&fd)
    }

    fn is_still(&self, fd: i32, file: &SimFile) -> bool {
        self.open(fd).is_ok_and(|open| Arc::ptr_eq(&open, &file.0.open))
    }

    fn adopt(&self, fds: &[i32]) -> HostResult<Vec<SimFile>> {
        self.call("adopt", fds.len() as i32);
        let opens: Vec<_> = fds.iter().map(|&fd| self.open(fd)).collect::<Result<_, _>>()?;
        if self.fails_to_open() {
            return Err(Errno::ENOMEM);
        }
        Ok(opens.into_iter().map(|o| self.held(o)).collect())
    }

    fn take(&self, fd: i32) -> HostResult<SimFile> {
        self.call("take", fd);
        let entry = lock(&self.world).fds.remove(&fd);
        match entry {
            Some(_) if self.fails_to_open() => Err(Errno::EMFILE),
            Some(Entry::Open(o)) => Ok(self.held(o)),
            Some(Entry::Ring(_)) | None => Err(Errno::EBADF),
        }
    }

    fn release(&self, files: Vec<SimFile>) {
        drop(files);
        self.sched.changed();
    }

    fn borrow(&self, file: &SimFile) -> HostResult<i32> {
        self.call("borrow", -1);
        if self.sched.strikes(Fault::NoFile) {
            return Err(Errno::EMFILE);
        }
        Ok(lock(&self.world).install_held(file.0.open.clone()))
    }

    fn give_back(&self, fd: i32) {
        let gone = lock(&self.world).fds.remove(&fd);
        drop(gone);
        self.sched.changed();
    }

    fn install(&self, file: &SimFile, _cloexec: bool) -> HostResult<i32> {
        lock(&self.world).install(Entry::Open(file.0.open.clone()))
    }

    fn may_hold_posix_locks(&self) -> bool {
        self.options.posix_locks
    }

    fn kind(&self, fd: i32) -> HostResult<FileKind> {
        self.call("kind", fd);
        match lock(&self.world).entry(fd)? {
            Entry::Open(o) => Ok(o.kind()),
            Entry::Ring(_) => Ok(FileKind::Other),
        }
    }

    fn serial_writes(&self, fd: i32) -> Option<u64> {
        self.call("fstat", fd);
        let open = self.open(fd).ok()?;
        let direct = open.flags.load(Relaxed) & 0o40000 != 0;
        match &open.body {
            Body::Regular { file, .. } if !direct => Some(Arc::as_ptr(file).addr() as u64),
            _ => None,
        }
    }

    fn status_flags(&self, fd: i32) -> HostResult<u32> {
        self.call("status_flags", fd);
        match lock(&self.world).entry(fd)? {
            Entry::Open(o) => Ok(o.flags.load(Relaxed)),
            Entry::Ring(_) => Ok(2),
        }
    }

    fn readv(&self, fd: i32, iov: &[Iovec], off: u64, rwf: u32) -> HostResult<u32> {
        self.app_call("readv", fd)?;
        self.transfer(fd, iov, off, (rwf, false))
    }

    fn writev(&self, fd: i32, iov: &[Iovec], off: u64, rwf: u32) -> HostResult<u32> {
        self.app_call("writev", fd)?;
        self.transfer(fd, iov, off, (rwf, true))
    }

    fn fsync(&self, fd: i32, _datasync: bool) -> HostResult<()> {
        self.app_call("fsync", fd)?;
        match self.open(fd)?.kind() {
            FileKind::Regular => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn sync_file_range(&self, fd: i32, off: u64, _len: u64, flags: u32) -> HostResult<()> {
        self.sync_range(fd, off, flags)
    }

    fn fallocate(&self, fd: i32, mode: u32, off: u64, len: u64) -> HostResult<()> {
        self.allocate(fd, mode, off, len)
    }

    fn ftruncate(&self, fd: i32, len: u64) -> HostResult<()> {
        self.truncate(fd, len)
    }

    fn fadvise(&self, fd: i32, _off: u64, _len: u64, advice: u32) -> HostResult<()> {
        self.advise_file(fd, advice)
    }

    fn madvise(&self, addr: u64, len: u64, advice: u32) -> HostResult<()> {
        self.advise_memory(addr, len, advice)
    }

    fn splice(&self, from: (i32, u64), to: (i32, u64), len: u32, _flags: u32) -> HostResult<u32> {
        self.move_bytes("splice", from, to, len)
    }

    fn tee(&self, from: i32, to: i32, len: u32, _flags: u32) -> HostResult<u32> {
        self.move_bytes("tee", (from, u64::MAX), (to, u64::MAX), len)
    }

    fn readahead(&self, fd: i32, off: u64, len: u64) {
        self.call("readahead", fd);
        self.bring(fd, off.saturating_add(len));
    }

    fn poll_now(&self, fd: i32, events: u32) -> u32 {
        self.call("poll", fd);
        match self.open(fd) {
            Ok(o) => o.mask() & (events | 0x18),
            Err(_) => POLLNVAL,
        }
    }

    fn recv(&self, fd: i32, buf: Iovec, flags: u32) -> HostResult<u32> {
        self.receive(fd, &[buf], flags).map(|(n, _)| n)
    }

    fn send(&self, fd: i32, buf: Iovec, flags: u32, _to: Option<&SockAddr>) -> HostResult<u32> {
        self.transmit(fd, &[buf], flags)
    }

    fn recvmsg(
        &self,
        fd: i32,
        iovs: &[Iovec],
        _control: (u64, u64),
        flags: u32,
    ) -> HostResult<Received> {
        const MSG_TRUNC: u32 = 0x20;
        let (bytes, longer) = self.receive(fd, iovs, flags)?;
        let name = SockAddr { bytes: [0; 128], len: 0 };
        let flags = if longer { MSG_TRUNC } else { 0 };
        Ok(Received { bytes, name, control_len: 0, flags })
    }

    fn sendmsg(&self, fd: i32, message: &Message<'_>, flags: u32) -> HostResult<u32> {
        self.transmit(fd, message.iovs, flags)
    }

    fn sends_zero_copy(&self, fd: i32) -> HostResult<bool> {
        self.is_listening(fd)?;
        Ok(!matches!(self.open(fd)?.end().body, Body::Dgram { .. }))
    }

    fn socket(&self, family: i32, kind: u32, _protocol: i32) -> HostResult<i32> {
        self.make_socket(family, kind)
    }

    fn bind(&self, fd: i32, to: &SockAddr) -> HostResult<()> {
        self.bind_to(fd, to)
    }

    fn listen(&self, fd: i32, backlog: i32) -> HostResult<()> {
        self.let_listen(fd, backlog)
    }

    fn listening(&self, fd: i32) -> HostResult<bool> {
        self.is_listening(fd)
    }

    fn accept(&self, fd: i32, _addr: u64, _addrlen: u64, _flags: u32) -> HostResult<i32> {
        self.accept_from(fd)
    }

    fn connect(&self, fd: i32, to: &SockAddr) -> HostResult<()> {
        self.connect_to(fd, to)
    }

    fn socket_error(&self, fd: i32) -> HostResult<()> {
        self.connect_error(fd)
    }

    fn is_stream(&self, fd: i32) -> bool {
        self.open(fd).is_ok_and(|o| !matches!(o.body, Body::Dgram { .. }))
    }

    /// Datagram sockets do from then on.
    fn tells_timestamps(&self, fd: i32) -> HostResult<bool> {
        self.call("getsockopt", fd);
        let open = self.open(fd)?;
        let Body::Dgram { sent, .. } = &open.body else { return Ok(false) };
        sent.ask();
        Ok(true)
    }

    fn take_timestamp(&self, fd: i32) -> HostResult<Option<TxTimestamp>> {
        self.call("recvmsg", fd);
        let open = self.open(fd)?;
        let Body::Dgram { sent, .. } = &open.body else { return Err(Errno::EAGAIN) };
        let key = sent.take().ok_or(Errno::EAGAIN)?;
        Ok(Some(TxTimestamp { key, kind: 0, hardware: false, at: [key.into(), !u64::from(key)] }))
    }

    fn unread(&self, fd: i32) -> HostResult<i32> {
        self.call("unread", fd);
        match &self.open(fd)?.body {
            Body::Stream { rx: Some(chan), .. } => {
                let (came, went) = (chan.total_in.load(Relaxed), chan.total_out.load(Relaxed));
                Ok((came - went) as i32)
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn shutdown(&self, fd: i32, how: i32) -> HostResult<()> {
        self.shut_down(fd, how)
    }

    fn epoll_ctl(&self, ep: i32, op: i32, fd: i32, event: Option<(u32, u64)>) -> HostResult<()> {
        self.change_epoll(ep, op, fd, event)
    }

    fn epoll_ready(&self, epfd: i32, events: u64, max: i32) -> HostResult<i32> {
        self.take_ready(epfd, events, max)
    }

    fn openat2(&self, _dirfd: i32, path: &[u8], how: [u64; 3]) -> HostResult<i32> {
        self.open_name(path, how)
    }

    fn close(&self, fd: i32) -> HostResult<()> {
        self.app_call("close", fd)?;
        let mut w = lock(&self.world);
        w.open(fd)?;
        let gone = w.fds.remove(&fd);
        drop(w);
        lock(&self.lent).remove(&fd);
        drop(gone);
        self.sched.changed();
        Ok(())
    }

    fn pipe(&self, _flags: u32) -> HostResult<[i32; 2]> {
        self.make_pipe()
    }

    fn pipe_into(&self, to: u64, _flags: u32) -> HostResult<()> {
        let ends = self.make_pipe()?;
        let bytes: Vec<u8> = ends.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
        let done = lock(&self.world).write(to, &bytes);
        if done.is_err() {
            let mut w = lock(&self.world);
            let gone = ends.map(|fd| w.fds.remove(&fd));
            drop(w);
            drop(gone);
        }
        done
    }

    fn statx(&self, _dir: i32, path: &[u8], _flags: u32, _mask: u32, buf: u64) -> HostResult<()> {
        self.stat_name(path, buf)
    }

    fn unlinkat(&self, _dirfd: i32, path: &[u8], flags: u32) -> HostResult<()> {
        self.unlink_name(path, flags)
    }

    fn renameat2(&self, from: (i32, &[u8]), to: (i32, &[u8]), flags: u32) -> HostResult<()> {
        self.rename_name(from.1, to.1, flags)
    }

    fn mkdirat(&self, _dirfd: i32, path: &[u8], _mode: u32) -> HostResult<()> {
        self.make_name("mkdirat", path, Node::Directory)
    }

    fn symlinkat(&self, _target: &[u8], _dirfd: i32, path: &[u8]) -> HostResult<()> {
        self.make_name("symlinkat", path, Node::Link)
    }

    fn linkat(&self, from: (i32, &[u8]), to: (i32, &[u8]), _flags: u32) -> HostResult<()> {
        self.link_name(from.1, to.1)
    }

    fn set_xattr(
        &self,
        whom: Attributed<'_>,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> HostResult<()> {
        self.set_attribute(whom, name, value, flags)
    }

    fn get_xattr(&self, whom: Attributed<'_>, name: &[u8], to: Iovec) -> HostResult<u32> {
        self.get_attribute(whom, name, to)
    }

    fn check_eventfd(&self, fd: i32) -> HostResult<()> {
        match self.open(fd)?.body {
            Body::Event { .. } => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn eventfd_signal(&self, file: &SimFile) {
        // Only eventfds are registered (`check_eventfd`).
        let _ = file.0.open.signal(1);
        self.sched.changed();
    }

    fn counters(&self) -> Option<&Map> {
        None
    }
}
