//! [`LinuxHost`]: trait Host for the real kernel, one line for each call.
//!
//! It holds nothing: what there is to hold belongs to the process (descriptor tables, keeper,
//! signal actions) and lives behind generations, so that a forked child starts afresh.
//! What it does not do: decide anything.

use core::sync::atomic::Ordering::{Acquire, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32};
use rust_alloc::boxed::Box;
use rust_alloc::vec::Vec;

use ringer_engine::host::{
    Adopted, Attributed, Child, Clock, Credentials, FileKind, Futex, FutexWord, Host, HostResult,
    Identity, Iovec, Message, Received, RingId, RingSpec, SockAddr, SockOpt, ThreadKind,
    TxTimestamp,
};
use ringer_engine::replay::{Answer, Replayed};
use ringer_engine::trace::{Called, Injected, Taken, Told};
use ringer_ring::{Geometry, Map};

use crate::aio::LinuxAio;
use crate::file::LinuxFile;
use crate::lock::{FutexLock, SharedLock};
use crate::poller::LinuxPoller;
use crate::raw::{self, general as g};
use crate::ringobj::{LinuxPages, LinuxRing};
use crate::thread::{LinuxThread, Name, Spec, Table};
use crate::{
    alloc, child, clock, cpu, fdtable, file, futex, identity, io, keeper, kin, names, net, pin,
    posixlock, replay, ringobj, signals, thread, trace, usermem,
};

static COUNTERS: AtomicPtr<Map> = AtomicPtr::new(core::ptr::null_mut());

/// The real kernel, as this process sees it.
#[derive(Debug)]
pub struct LinuxHost(());

impl LinuxHost {
    /// Sets memory aside (`alloc.rs`), installs the fault and interrupt handlers (`signals.rs`) and
    /// remembers who the process is.
    /// To be made right before the first ring, not at load.
    pub fn new() -> Self {
        alloc::reserve();
        signals::set_user_rings(ringobj::owns_user_ring);
        signals::install();
        identity::start();
        Self(())
    }

    /// Names the map that [`Host::counters`] answers from now on.
    pub fn set_counters(map: &'static Map) {
        // Release: pairs with the Acquire in `counters`.
        COUNTERS.store(core::ptr::from_ref(map).cast_mut(), Release);
    }
}

impl Default for LinuxHost {
    fn default() -> Self {
        Self::new()
    }
}

/// A thread with a table of its own, in which files can be borrowed.
fn spawn_private(body: Box<dyn FnOnce() + Send + 'static>) -> HostResult<LinuxThread> {
    let keep = keeper::private_keep();
    let spec = Spec { name: Name::worker(), table: Table::Private(keep.as_slice()), cpu: None };
    let body = move || {
        // Without the mark it would take its numbers for the application's. There are 512 marks
        // and far fewer private threads.
        if let Some(_own) = keeper::own_table() {
            body();
        }
    };
    thread::spawn(spec, Box::new(body))
}

impl Host for LinuxHost {
    type Lock = FutexLock;
    type Shared = SharedLock;
    type Poller = LinuxPoller;
    type Aio = LinuxAio;
    type File = LinuxFile;
    type Ring = LinuxRing;
    type Thread = LinuxThread;

    fn ring_create(&self, spec: &RingSpec) -> HostResult<(LinuxRing, LinuxPages)> {
        ringobj::create(spec)
    }
    fn ring_install(&self, ring: &LinuxRing) -> HostResult<i32> {
        ringobj::install(ring)
    }
    fn ring_adopt(
        &self,
        fd: i32,
        id: RingId,
        geometry: impl FnOnce(&Map) -> Geometry,
    ) -> HostResult<Adopted<Self>> {
        ringobj::adopt(fd, id, geometry)
    }
    fn await_call(&self, seen: u32) -> u32 {
        kin::await_call(seen)
    }
    #[inline]
    fn ring_of(&self, fd: i32) -> HostResult<RingId> {
        fdtable::ring_of(fd)
    }

    #[inline]
    fn copy_in(&self, addr: u64, to: &mut [u8]) -> HostResult<()> {
        usermem::copy_in(addr, to)
    }
    #[inline]
    fn copy_out(&self, addr: u64, from: &[u8]) -> HostResult<()> {
        usermem::copy_out(addr, from)
    }
    fn copy_text(&self, addr: u64, max: usize) -> HostResult<Box<[u8]>> {
        usermem::copy_text(addr, max)
    }
    fn check_pinnable(&self, addr: u64, len: u64) -> HostResult<()> {
        pin::check(addr, len)
    }

    fn now(&self, clock: Clock) -> u64 {
        clock::now(clock)
    }
    #[inline]
    fn tid(&self) -> u32 {
        thread::tid()
    }
    fn is_alive(&self, tid: u32) -> bool {
        thread::is_alive(tid)
    }
    #[inline]
    fn thread_word(&self) -> u64 {
        thread::word()
    }
    fn set_thread_word(&self, word: u64) {
        thread::set_word(word);
    }
    fn identity(&self) -> Identity {
        identity::current()
    }
    fn set_identity(&self, identity: Identity) {
        identity::give(identity);
    }
    fn memory_user(&self) -> Option<u32> {
        pin::memory_user()
    }

    fn credentials(&self) -> Credentials {
        identity::credentials()
    }
    fn park(&self, word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) -> HostResult<()> {
        thread::park(word, expected, timeout_ns)
    }
    fn yield_cpu(&self) {
        raw::sched_yield();
    }
    fn unpark(&self, word: &AtomicU32, n: u32) {
        raw::futex_wake(word, n);
    }
    fn spawn(
        &self,
        kind: ThreadKind,
        body: Box<dyn FnOnce() + Send + 'static>,
    ) -> HostResult<LinuxThread> {
        let (name, cpu) = match kind {
            ThreadKind::Worker => (Name::worker(), None),
            ThreadKind::Reactor => (Name::new("iou-reactor"), None),
            ThreadKind::SqPoll(cpu) => (Name::sq_poll(), cpu),
            ThreadKind::Private => return spawn_private(body),
        };
        thread::spawn(Spec { name, table: Table::Shared, cpu }, body)
    }
    fn poller(&self) -> HostResult<LinuxPoller> {
        LinuxPoller::new()
    }
    fn aio(&self, poller: &LinuxPoller, token: u64, entries: u32) -> HostResult<LinuxAio> {
        LinuxAio::new(poller, token, entries)
    }
    fn cpus(&self) -> u32 {
        cpu::count()
    }
    fn cpu_allowed(&self, cpu: u32) -> bool {
        cpu::allowed(cpu)
    }

    fn beyond_cpuset(&self, cpus: &[u64]) -> bool {
        cpu::beyond_cpuset(cpus)
    }
    fn nproc(&self) -> u32 {
        let soft = raw::rlimit(g::RLIMIT_NPROC).map_or(u64::MAX, |(soft, _)| soft);
        // The kernel's counts are signed.
        u32::try_from(soft).unwrap_or(u32::MAX).min(i32::MAX as u32)
    }
    fn cpu_mask_len(&self) -> usize {
        cpu::mask_len()
    }
    fn run_on(&self, cpus: &[u64]) {
        cpu::run_on(cpus);
    }
    fn nofile(&self) -> u64 {
        // The resource exists; a filter that refuses the question gets the usual value.
        raw::rlimit(g::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
    }

    fn futex_sleep(&self, words: &[FutexWord], of: &[Futex], mask: u32) -> HostResult<u32> {
        futex::sleep(words, of, mask)
    }
    fn futex_move(&self, word: &FutexWord, to: Futex) -> HostResult<bool> {
        futex::move_to(word, to)
    }
    fn futex_wait(&self, on: &[Futex], mask: u32) -> HostResult<u32> {
        futex::wait(on, mask)
    }
    fn futex_wake(&self, futex: Futex, mask: u32) -> HostResult<u32> {
        futex::wake(futex, mask)
    }
    fn waitid(&self, which: i32, id: i32, options: i32) -> HostResult<Option<Child>> {
        child::waitid(which, id, options)
    }

    fn as_in_a_wait<R>(&self, f: impl FnOnce() -> R) -> R {
        let _asleep = thread::Asleep::new();
        f()
    }
    fn hold(&self, fd: i32) -> HostResult<LinuxFile> {
        file::hold(fd)
    }
    fn lend(&self, fd: i32, file: &LinuxFile) -> bool {
        file.may_be_lent() && fdtable::lend(fd)
    }
    fn is_lent(&self, fd: i32) -> bool {
        fdtable::is_lent(fd)
    }
    fn is_still(&self, fd: i32, file: &LinuxFile) -> bool {
        file.is_still(fd)
    }
    fn adopt(&self, fds: &[i32]) -> HostResult<Vec<LinuxFile>> {
        file::adopt(fds)
    }
    fn take(&self, fd: i32) -> HostResult<LinuxFile> {
        file::take(fd)
    }
    fn release(&self, files: Vec<LinuxFile>) {
        file::release(files);
    }
    fn house(&self, file: &LinuxFile) -> HostResult<()> {
        file::house(file)
    }
    fn borrow(&self, file: &LinuxFile) -> HostResult<i32> {
        file::borrow(file)
    }
    fn give_back(&self, fd: i32) {
        file::give_back(fd);
    }
    fn install(&self, file: &LinuxFile, cloexec: bool) -> HostResult<i32> {
        file::install(file, cloexec)
    }
    #[inline]
    fn may_hold_posix_locks(&self) -> bool {
        posixlock::may_hold()
    }
    fn kind(&self, fd: i32) -> HostResult<FileKind> {
        file::kind(fd)
    }
    fn status_flags(&self, fd: i32) -> HostResult<u32> {
        io::status_flags(fd)
    }
    fn serial_writes(&self, fd: i32) -> Option<u64> {
        io::serial_writes(fd)
    }

    #[inline(always)]
    fn readv(&self, fd: i32, iov: &[Iovec], off: u64, rwf: u32) -> HostResult<u32> {
        io::readv(fd, iov, off, rwf)
    }
    #[inline(always)]
    fn writev(&self, fd: i32, iov: &[Iovec], off: u64, rwf: u32) -> HostResult<u32> {
        io::writev(fd, iov, off, rwf)
    }
    fn fsync(&self, fd: i32, datasync: bool) -> HostResult<()> {
        io::fsync(fd, datasync)
    }
    fn sync_file_range(&self, fd: i32, off: u64, len: u64, flags: u32) -> HostResult<()> {
        io::sync_file_range(fd, off, len, flags)
    }
    fn fallocate(&self, fd: i32, mode: u32, off: u64, len: u64) -> HostResult<()> {
        io::fallocate(fd, mode, off, len)
    }
    fn ftruncate(&self, fd: i32, len: u64) -> HostResult<()> {
        io::ftruncate(fd, len)
    }
    fn fadvise(&self, fd: i32, off: u64, len: u64, advice: u32) -> HostResult<()> {
        io::fadvise(fd, off, len, advice)
    }
    fn madvise(&self, addr: u64, len: u64, advice: u32) -> HostResult<()> {
        io::madvise(addr, len, advice)
    }
    fn splice(&self, from: (i32, u64), to: (i32, u64), len: u32, flags: u32) -> HostResult<u32> {
        io::splice(from, to, len, flags)
    }
    fn tee(&self, from: i32, to: i32, len: u32, flags: u32) -> HostResult<u32> {
        io::tee(from, to, len, flags)
    }
    fn readahead(&self, fd: i32, off: u64, len: u64) {
        io::readahead(fd, off, len);
    }
    fn poll_now(&self, fd: i32, events: u32) -> u32 {
        io::poll_now(fd, events)
    }

    #[inline(always)]
    fn recv(&self, fd: i32, buf: Iovec, flags: u32) -> HostResult<u32> {
        net::recv(fd, buf, flags)
    }

    #[inline(always)]
    fn send(&self, fd: i32, buf: Iovec, flags: u32, to: Option<&SockAddr>) -> HostResult<u32> {
        net::send(fd, buf, flags, to)
    }
    fn recvmsg(
        &self,
        fd: i32,
        iovs: &[Iovec],
        control: (u64, u64),
        flags: u32,
    ) -> HostResult<Received> {
        net::recvmsg(fd, iovs, control, flags)
    }
    fn sendmsg(&self, fd: i32, message: &Message<'_>, flags: u32) -> HostResult<u32> {
        net::sendmsg(fd, message, flags)
    }
    fn sends_zero_copy(&self, fd: i32) -> HostResult<bool> {
        net::sends_zero_copy(fd)
    }
    fn socket(&self, family: i32, kind: u32, protocol: i32) -> HostResult<i32> {
        net::socket(family, kind, protocol)
    }
    fn bind(&self, fd: i32, to: &SockAddr) -> HostResult<()> {
        net::bind(fd, to)
    }
    fn listen(&self, fd: i32, backlog: i32) -> HostResult<()> {
        net::listen(fd, backlog)
    }
    fn listening(&self, fd: i32) -> HostResult<bool> {
        net::listening(fd)
    }
    fn accept(&self, fd: i32, addr: u64, addrlen: u64, flags: u32) -> HostResult<i32> {
        net::accept(fd, addr, addrlen, flags)
    }
    fn connect(&self, fd: i32, to: &SockAddr) -> HostResult<()> {
        net::connect(fd, to)
    }
    fn socket_error(&self, fd: i32) -> HostResult<()> {
        net::socket_error(fd)
    }
    fn is_stream(&self, fd: i32) -> bool {
        net::is_stream(fd)
    }
    fn is_byte_stream(&self, fd: i32) -> bool {
        net::is_byte_stream(fd)
    }
    fn left_to_recv(&self, fd: i32, may_have_ended: bool) -> bool {
        net::left_to_recv(fd, may_have_ended)
    }

    fn recv_many(&self, fd: i32, bufs: &[Iovec], flags: u32) -> HostResult<(u32, bool)> {
        net::recv_many(fd, bufs, flags)
    }

    fn queued(&self, fd: i32) -> u32 {
        net::queued(fd)
    }

    fn tells_what_is_left(&self, fd: i32) -> bool {
        net::tells_what_is_left(fd)
    }
    fn left_to_accept(&self, fd: i32) -> bool {
        net::left_to_accept(fd)
    }
    fn unread(&self, fd: i32) -> HostResult<i32> {
        net::unread(fd)
    }
    fn unsent(&self, fd: i32) -> HostResult<i32> {
        net::unsent(fd)
    }
    fn getsockopt(&self, fd: i32, option: SockOpt) -> HostResult<i32> {
        net::getsockopt(fd, option)
    }
    fn setsockopt(&self, fd: i32, option: SockOpt) -> HostResult<()> {
        net::setsockopt(fd, option)
    }
    fn tells_timestamps(&self, fd: i32) -> HostResult<bool> {
        net::tells_timestamps(fd)
    }
    fn take_timestamp(&self, fd: i32) -> HostResult<Option<TxTimestamp>> {
        net::take_timestamp(fd)
    }
    fn is_null(&self, fd: i32) -> bool {
        io::is_null(fd)
    }
    fn shutdown(&self, fd: i32, how: i32) -> HostResult<()> {
        net::shutdown(fd, how)
    }
    fn epoll_ctl(&self, epfd: i32, op: i32, fd: i32, event: Option<(u32, u64)>) -> HostResult<()> {
        raw::epoll_ctl(epfd, op.cast_unsigned(), fd, event)
    }

    fn epoll_ready(&self, epfd: i32, events: u64, max: i32) -> HostResult<i32> {
        io::epoll_ready(epfd, events, max)
    }

    fn openat2(&self, dirfd: i32, path: &[u8], how: [u64; 3]) -> HostResult<i32> {
        io::openat2(dirfd, path, how)
    }
    fn open_now(&self, dirfd: i32, path: &[u8], how: [u64; 3]) -> HostResult<i32> {
        io::open_now(dirfd, path, how)
    }
    fn close(&self, fd: i32) -> HostResult<()> {
        io::close(fd)
    }
    fn pipe(&self, flags: u32) -> HostResult<[i32; 2]> {
        raw::pipe2(flags).map(|(r, w)| [r, w])
    }
    fn pipe_into(&self, to: u64, flags: u32) -> HostResult<()> {
        io::pipe_into(to, flags)
    }
    fn statx(&self, dirfd: i32, path: &[u8], flags: u32, mask: u32, buf: u64) -> HostResult<()> {
        names::statx(dirfd, path, flags, mask, buf)
    }
    fn unlinkat(&self, dirfd: i32, path: &[u8], flags: u32) -> HostResult<()> {
        names::unlinkat(dirfd, path, flags)
    }
    fn renameat2(&self, from: (i32, &[u8]), to: (i32, &[u8]), flags: u32) -> HostResult<()> {
        names::renameat2(from, to, flags)
    }
    fn mkdirat(&self, dirfd: i32, path: &[u8], mode: u32) -> HostResult<()> {
        names::mkdirat(dirfd, path, mode)
    }
    fn symlinkat(&self, target: &[u8], dirfd: i32, path: &[u8]) -> HostResult<()> {
        names::symlinkat(target, dirfd, path)
    }
    fn linkat(&self, from: (i32, &[u8]), to: (i32, &[u8]), flags: u32) -> HostResult<()> {
        names::linkat(from, to, flags)
    }

    fn set_xattr(
        &self,
        whom: Attributed<'_>,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> HostResult<()> {
        names::set_xattr(whom, name, value, flags)
    }
    fn get_xattr(&self, whom: Attributed<'_>, name: &[u8], to: Iovec) -> HostResult<u32> {
        names::get_xattr(whom, name, to)
    }

    fn check_eventfd(&self, fd: i32) -> HostResult<()> {
        io::check_eventfd(fd)
    }
    fn eventfd_signal(&self, file: &LinuxFile) {
        file.signal_eventfd();
    }
    fn counters(&self) -> Option<&Map> {
        let map = COUNTERS.load(Acquire);
        // SAFETY: only `set_counters` stores here, and it stores a `&'static Map`.
        unsafe { map.as_ref() }
    }
    fn traces(&self) -> bool {
        trace::is_on()
    }
    fn trace_taken(&self, t: &Taken<'_>) -> u64 {
        trace::taken(t)
    }
    fn trace_told(&self, t: &Told) {
        trace::told(t);
    }
    fn trace_called(&self, c: &Called) {
        trace::called(c);
    }
    fn trace_injected(&self, i: &Injected) {
        trace::injected(i);
    }
    fn replays(&self, _ring: RingId) -> bool {
        replay::is_on()
    }
    fn replay(&self, of: &Replayed<'_>) -> Vec<Answer> {
        replay::answer(of)
    }
    fn replay_to_who_waits(&self, ring: RingId) -> Option<Answer> {
        replay::answer_to_who_waits(ring)
    }
    fn path_of(&self, fd: i32, to: &mut [u8]) -> HostResult<usize> {
        io::name_of(fd, to)
    }
}
