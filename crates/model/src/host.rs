//! [`Machine`], the Host of a model: loom's threads, locks and waits, files of bytes.
//!
//! What it does not model answers `ENOSYS`. Its own bookkeeping is in locks of std, which the model
//! checker does not see, so that it adds no order between threads that the real host does not.

use crate::file::{File, Held};
use crate::futex::Sleepers;
use crate::lock::Lock;
use crate::poller::{ModelPoller, Set};
use crate::quiet;
use crate::ring::{ModelPages, ModelRing, Pages};
use loom::sync::atomic::AtomicU32;
use ringer_engine::host::{
    Aio, AioDone, AioOp, Attributed, Child, Clock, Credentials, FileKind, Futex, FutexWord, Host,
    HostResult, HostThread, Identity, Iovec, Message, Received, RingId, RingSpec, SockAddr,
    ThreadKind,
};
use ringer_ring::Map;
use ringer_sys::lock::SharedLock;
use ringer_sys::primitive::Futexes;
use ringer_uapi::Errno;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32 as Count, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

const RWF_NOWAIT: u32 = 8;
const MSG_DONTWAIT: u32 = 0x40;
const POLLIN: u32 = 1;
/// First address of the application's memory.
const BASE: u64 = 0x10_0000;
/// First number of a ring's descriptor.
const RING_FD: i32 = 100;
/// A timeout up to here passes at once; a longer one never, unless [`Options::impatient`] \[ns\].
const SHORT_NS: u64 = 2_000_000_000;
/// How many timeouts pass before anybody else has done anything: enough for the reactor to stop
/// looking after a ring that is led.
const PASSES_MAX: u32 = 6;

/// What a model's machine is like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A reactor can be made. Without, waiting callers alone lead their rings.
    pub reactor: bool,
    /// Workers that can be made.
    pub workers: u32,
    /// Long timeouts pass, too: idle workers leave.
    pub impatient: bool,
    /// A second passes between any two looks at the clock: a submission thread is idle at once.
    pub hasty: bool,
    /// Somebody polls rings' descriptors.
    pub polled: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { reactor: false, workers: 1, impatient: false, hasty: false, polled: false }
    }
}

/// Unwinds an engine's thread at the end of a model.
struct Over;

/// What there is in a machine.
#[derive(Debug, Default)]
pub struct World {
    pub(crate) options: Options,
    pub(crate) sets: Mutex<Vec<Weak<Set>>>,
    files: Mutex<Vec<Arc<File>>>,
    rings: Mutex<Vec<Arc<Pages>>>,
    memory: Mutex<Vec<u8>>,
    futexes: Futexes,
    pub(crate) sleepers: Sleepers,
    clock: AtomicU64,
    passes: Count,
    workers: Count,
    over: AtomicBool,
}

impl World {
    pub(crate) fn file(&self, fd: i32) -> HostResult<Arc<File>> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        quiet(&self.files).get(at).cloned().ok_or(Errno::EBADF)
    }

    /// The pages that a ring's descriptor shows now.
    pub fn pages(&self, fd: i32) -> Arc<Pages> {
        quiet(&self.rings)[(fd - RING_FD) as usize].clone()
    }

    /// The same by the ring's name, once it has a descriptor.
    pub(crate) fn shown(&self, id: RingId) -> Option<Arc<Pages>> {
        quiet(&self.rings).iter().find(|p| p.id == id).cloned()
    }

    /// Puts pages in the place of those that their ring's descriptor shows, which are returned.
    pub(crate) fn show(&self, pages: &Arc<Pages>) -> Arc<Pages> {
        let mut rings = quiet(&self.rings);
        let place = rings.iter_mut().find(|p| p.id == pages.id).expect("a ring with a descriptor");
        std::mem::replace(place, pages.clone())
    }

    /// Puts bytes into fresh memory.
    pub(crate) fn put(&self, bytes: &[u8]) -> u64 {
        let mut m = quiet(&self.memory);
        let at = BASE + m.len() as u64;
        m.extend_from_slice(bytes);
        at
    }

    /// Changes a word.
    pub(crate) fn store(&self, addr: u64, value: u32) {
        let mut m = quiet(&self.memory);
        let at = (addr - BASE) as usize;
        m[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    /// Whether a timeout passes, while the caller has nothing else to do; the clock goes on with it.
    /// Called without a lock: when many have passed, others get a turn first.
    pub(crate) fn passes(&self, timeout_ns: Option<u64>) -> bool {
        let Some(ns) = timeout_ns else { return false };
        if ns > SHORT_NS && !self.options.impatient {
            return false;
        }
        self.clock.fetch_add(ns, Relaxed);
        if self.passes.fetch_add(1, Relaxed) >= PASSES_MAX {
            loom::thread::yield_now();
        }
        true
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// Ends the calling thread of the engine, which holds no lock.
    pub(crate) fn leave(&self) -> ! {
        std::panic::resume_unwind(Box::new(Over));
    }

    /// The model is over: sleepers of the engine leave.
    pub(crate) fn end(&self) {
        self.over.store(true, Relaxed);
        self.shake();
    }

    fn shake(&self) {
        self.futexes.shake();
        self.sleepers.shake();
        let sets: Vec<_> = quiet(&self.sets).iter().filter_map(Weak::upgrade).collect();
        sets.iter().for_each(|s| s.shake());
        self.shake_files();
    }

    fn shake_files(&self) {
        let files = quiet(&self.files).clone();
        files.iter().for_each(|f| f.shake());
    }
}

#[derive(Debug, Default)]
struct Record {
    /// The checker's, so that who comes first, an interrupt or its clearing, is a decision.
    interrupted: ringer_sys::primitive::AtomicBool,
}

loom::thread_local! {
    static ME: RefCell<Option<Arc<Record>>> = RefCell::new(None);
}

/// Whether the calling thread's next blocking call is to answer `EINTR`.
pub(crate) fn interrupted() -> bool {
    ME.with(|me| me.borrow().as_ref().is_some_and(|r| r.interrupted.load(Relaxed)))
}

/// A thread that the engine started.
#[derive(Debug)]
pub struct Thread {
    record: Arc<Record>,
    world: Arc<World>,
}

impl HostThread for Thread {
    fn interrupt(&self) {
        self.record.interrupted.store(true, Relaxed);
        self.world.shake_files();
        self.world.sleepers.shake();
    }

    fn clear_interrupt(&self) {
        self.record.interrupted.store(false, Relaxed);
    }
}

/// See the module's doc.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(crate) world: Arc<World>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Machine {
    /// A machine without files.
    pub fn new(options: Options) -> Self {
        Self { world: Arc::new(World { options, ..World::default() }) }
    }

    /// A new, empty file and its number.
    pub fn file(&self, kind: FileKind) -> (Arc<File>, i32) {
        let mut files = quiet(&self.world.files);
        let number = files.len() as i32;
        let file = Arc::new(File::new(kind, number));
        files.push(file.clone());
        (file, number)
    }

    /// An address with these bytes.
    pub fn put(&self, bytes: &[u8]) -> u64 {
        self.world.put(bytes)
    }
}

/// Files are read by threads here.
#[derive(Debug)]
pub enum NoAio {}

impl Aio for NoAio {
    fn submit(&self, _ops: &[AioOp<'_>]) -> (usize, Option<Errno>) {
        match *self {}
    }

    fn reap(&self, _to: &mut [AioDone]) -> usize {
        match *self {}
    }
}

impl Host for Machine {
    type Lock = Lock;
    type Shared = SharedLock;
    type Poller = ModelPoller;
    type Aio = NoAio;
    type File = Held;
    type Ring = ModelRing;
    type Thread = Thread;

    fn ring_create(&self, spec: &RingSpec) -> HostResult<(ModelRing, ModelPages)> {
        let pages = Arc::new(Pages::new(spec.id, spec.geometry));
        Ok((ModelRing { pages: pages.clone(), world: self.world.clone() }, ModelPages(pages)))
    }

    fn ring_install(&self, ring: &ModelRing) -> HostResult<i32> {
        let mut rings = quiet(&self.world.rings);
        rings.push(ring.pages.clone());
        Ok(RING_FD + rings.len() as i32 - 1)
    }

    fn ring_of(&self, fd: i32) -> HostResult<RingId> {
        let at = usize::try_from(fd - RING_FD).map_err(|_| Errno::EOPNOTSUPP)?;
        quiet(&self.world.rings).get(at).map(|p| p.id).ok_or(Errno::EBADF)
    }

    fn copy_in(&self, addr: u64, to: &mut [u8]) -> HostResult<()> {
        let m = quiet(&self.world.memory);
        let at = addr.checked_sub(BASE).ok_or(Errno::EFAULT)? as usize;
        to.copy_from_slice(m.get(at..at + to.len()).ok_or(Errno::EFAULT)?);
        Ok(())
    }

    fn copy_out(&self, addr: u64, from: &[u8]) -> HostResult<()> {
        let mut m = quiet(&self.world.memory);
        let at = addr.checked_sub(BASE).ok_or(Errno::EFAULT)? as usize;
        m.get_mut(at..at + from.len()).ok_or(Errno::EFAULT)?.copy_from_slice(from);
        Ok(())
    }

    fn copy_text(&self, _addr: u64, _max: usize) -> HostResult<Box<[u8]>> {
        Err(Errno::ENOSYS)
    }

    fn check_pinnable(&self, _addr: u64, _len: u64) -> HostResult<()> {
        Ok(())
    }

    fn now(&self, _clock: Clock) -> u64 {
        let step = if self.world.options.hasty { 1_000_000_000 } else { 0 };
        self.world.clock.fetch_add(step, Relaxed)
    }

    fn tid(&self) -> u32 {
        ringer_sys::primitive::tid()
    }

    fn is_alive(&self, _tid: u32) -> bool {
        true
    }

    fn thread_word(&self) -> u64 {
        // Every thread has used a ring before: nothing here asks for an index.
        1
    }

    fn set_thread_word(&self, _word: u64) {}

    fn identity(&self) -> Identity {
        Identity(0)
    }

    fn set_identity(&self, _identity: Identity) {}

    fn credentials(&self) -> Credentials {
        Credentials(0)
    }

    fn park(&self, word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) -> HostResult<()> {
        let passes = self.world.passes(timeout_ns);
        let given_up = || passes || self.world.is_over();
        let r = self.world.futexes.wait(word, expected, given_up);
        if timeout_ns.is_none() && self.world.is_over() {
            self.world.leave();
        }
        r
    }

    fn yield_cpu(&self) {
        // Who yields waits for time to pass.
        self.world.clock.fetch_add(SHORT_NS, Relaxed);
        loom::thread::yield_now();
    }

    fn unpark(&self, word: &AtomicU32, n: u32) {
        self.world.futexes.wake(word, n);
    }

    fn spawn(&self, kind: ThreadKind, body: Box<dyn FnOnce() + Send>) -> HostResult<Thread> {
        let refused = match kind {
            ThreadKind::Reactor => !self.world.options.reactor,
            ThreadKind::SqPoll(_) => false,
            ThreadKind::Worker | ThreadKind::Private => {
                self.world.workers.fetch_add(1, Relaxed) >= self.world.options.workers
            }
        };
        if refused {
            return Err(Errno::EAGAIN);
        }
        let record = Arc::new(Record::default());
        let theirs = record.clone();
        crate::spawn(move || {
            ME.with(|me| *me.borrow_mut() = Some(theirs));
            let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            if let Err(payload) = end
                && !payload.is::<Over>()
            {
                std::panic::resume_unwind(payload);
            }
        });
        Ok(Thread { record, world: self.world.clone() })
    }

    fn poller(&self) -> HostResult<ModelPoller> {
        Ok(ModelPoller::new(self.world.clone()))
    }

    fn aio(&self, _poller: &ModelPoller, _token: u64, _entries: u32) -> HostResult<NoAio> {
        Err(Errno::ENOSYS)
    }

    fn cpus(&self) -> u32 {
        1
    }

    fn cpu_allowed(&self, _cpu: u32) -> bool {
        true
    }

    fn nproc(&self) -> u32 {
        1 << 16
    }

    fn cpu_mask_len(&self) -> usize {
        8
    }

    fn run_on(&self, _cpus: &[u64]) {}

    fn nofile(&self) -> u64 {
        1024
    }

    fn futex_sleep(&self, words: &[FutexWord], _of: &[Futex], _mask: u32) -> HostResult<u32> {
        self.world.sleepers.sleep(&self.world, words)
    }

    fn futex_move(&self, word: &FutexWord, to: Futex) -> HostResult<bool> {
        self.world.sleepers.move_to(word, to.addr)
    }

    fn futex_wait(&self, _on: &[Futex], _mask: u32) -> HostResult<u32> {
        Err(Errno::ENOSYS)
    }

    fn futex_wake(&self, futex: Futex, _mask: u32) -> HostResult<u32> {
        Ok(self.world.sleepers.wake(futex.addr, futex.val))
    }

    fn waitid(&self, _which: i32, _id: i32, _options: i32) -> HostResult<Option<Child>> {
        Err(Errno::ECHILD)
    }

    fn hold(&self, fd: i32) -> HostResult<Held> {
        self.world.file(fd).map(Held)
    }

    fn adopt(&self, fds: &[i32]) -> HostResult<Vec<Held>> {
        fds.iter().map(|&fd| self.hold(fd)).collect()
    }

    fn take(&self, _fd: i32) -> HostResult<Held> {
        Err(Errno::ENOSYS)
    }

    fn release(&self, files: Vec<Held>) {
        drop(files);
    }

    fn borrow(&self, _file: &Held) -> HostResult<i32> {
        Err(Errno::ENOSYS)
    }

    fn give_back(&self, _fd: i32) {}

    fn install(&self, _file: &Held, _cloexec: bool) -> HostResult<i32> {
        Err(Errno::ENOSYS)
    }

    fn may_hold_posix_locks(&self) -> bool {
        false
    }

    fn kind(&self, fd: i32) -> HostResult<FileKind> {
        self.world.file(fd).map(|f| f.kind)
    }

    fn status_flags(&self, _fd: i32) -> HostResult<u32> {
        Ok(2)
    }

    fn readv(&self, fd: i32, _iov: &[Iovec], _off: u64, rwf: u32) -> HostResult<u32> {
        let file = self.world.file(fd)?;
        let wait = rwf & RWF_NOWAIT == 0;
        if !wait && file.kind == FileKind::Other {
            return Err(Errno::EOPNOTSUPP);
        }
        file.take(&self.world, wait)
    }

    fn writev(&self, fd: i32, _iov: &[Iovec], _off: u64, rwf: u32) -> HostResult<u32> {
        if rwf & RWF_NOWAIT != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        self.world.file(fd)?.put();
        Ok(1)
    }

    fn fsync(&self, _fd: i32, _datasync: bool) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn sync_file_range(&self, _fd: i32, _off: u64, _len: u64, _flags: u32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn fallocate(&self, _fd: i32, _mode: u32, _off: u64, _len: u64) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn ftruncate(&self, _fd: i32, _len: u64) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn fadvise(&self, _fd: i32, _off: u64, _len: u64, _advice: u32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn madvise(&self, _addr: u64, _len: u64, _advice: u32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn splice(
        &self,
        _from: (i32, u64),
        _to: (i32, u64),
        _len: u32,
        _flags: u32,
    ) -> HostResult<u32> {
        Err(Errno::ENOSYS)
    }

    fn tee(&self, _from: i32, _to: i32, _len: u32, _flags: u32) -> HostResult<u32> {
        Err(Errno::ENOSYS)
    }

    fn readahead(&self, _fd: i32, _off: u64, _len: u64) {}

    fn poll_now(&self, fd: i32, events: u32) -> u32 {
        // Of what knows no RWF_NOWAIT, somebody else takes the byte that this promises.
        let ready = |f: Arc<File>| f.kind == FileKind::Other || f.readable();
        self.world.file(fd).map_or(0x20, |f| if ready(f) { POLLIN & events } else { 0 })
    }

    fn recv(&self, fd: i32, _buf: Iovec, flags: u32) -> HostResult<u32> {
        self.world.file(fd)?.take(&self.world, flags & MSG_DONTWAIT == 0)
    }

    fn send(&self, _fd: i32, _buf: Iovec, _flags: u32, _to: Option<&SockAddr>) -> HostResult<u32> {
        Err(Errno::ENOSYS)
    }

    fn recvmsg(
        &self,
        _fd: i32,
        _iovs: &[Iovec],
        _control: (u64, u64),
        _flags: u32,
    ) -> HostResult<Received> {
        Err(Errno::ENOSYS)
    }

    fn sendmsg(&self, _fd: i32, _message: &Message<'_>, _flags: u32) -> HostResult<u32> {
        Err(Errno::ENOSYS)
    }

    fn sends_zero_copy(&self, _fd: i32) -> HostResult<bool> {
        Err(Errno::ENOSYS)
    }

    fn socket(&self, _family: i32, _kind: u32, _protocol: i32) -> HostResult<i32> {
        Err(Errno::ENOSYS)
    }

    fn bind(&self, _fd: i32, _to: &SockAddr) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn listen(&self, _fd: i32, _backlog: i32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn listening(&self, _fd: i32) -> HostResult<bool> {
        Ok(false)
    }

    fn accept(&self, _fd: i32, _addr: u64, _addrlen: u64, _flags: u32) -> HostResult<i32> {
        Err(Errno::ENOSYS)
    }

    fn connect(&self, _fd: i32, _to: &SockAddr) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn socket_error(&self, _fd: i32) -> HostResult<()> {
        Ok(())
    }

    fn shutdown(&self, _fd: i32, _how: i32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn epoll_ctl(&self, _ep: i32, _op: i32, _fd: i32, _ev: Option<(u32, u64)>) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn epoll_ready(&self, _epfd: i32, _events: u64, _max: i32) -> HostResult<i32> {
        Err(Errno::ENOSYS)
    }

    fn openat2(&self, _dirfd: i32, _path: &[u8], _how: [u64; 3]) -> HostResult<i32> {
        Err(Errno::ENOSYS)
    }

    fn close(&self, _fd: i32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn pipe(&self, _flags: u32) -> HostResult<[i32; 2]> {
        Err(Errno::ENOSYS)
    }

    fn pipe_into(&self, _to: u64, _flags: u32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn statx(&self, _dir: i32, _path: &[u8], _flags: u32, _mask: u32, _buf: u64) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn unlinkat(&self, _dirfd: i32, _path: &[u8], _flags: u32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn renameat2(&self, _from: (i32, &[u8]), _to: (i32, &[u8]), _flags: u32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn mkdirat(&self, _dirfd: i32, _path: &[u8], _mode: u32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn symlinkat(&self, _target: &[u8], _dirfd: i32, _path: &[u8]) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn linkat(&self, _from: (i32, &[u8]), _to: (i32, &[u8]), _flags: u32) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn set_xattr(
        &self,
        _whom: Attributed<'_>,
        _name: &[u8],
        _value: &[u8],
        _flags: u32,
    ) -> HostResult<()> {
        Err(Errno::ENOSYS)
    }

    fn get_xattr(&self, _whom: Attributed<'_>, _name: &[u8], _to: Iovec) -> HostResult<u32> {
        Err(Errno::ENOSYS)
    }

    fn check_eventfd(&self, fd: i32) -> HostResult<()> {
        self.world.file(fd).map(|_| ())
    }

    fn eventfd_signal(&self, file: &Held) {
        file.0.put();
    }

    fn counters(&self) -> Option<&Map> {
        None
    }
}
