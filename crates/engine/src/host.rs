//! The south side: everything the engine asks of the world.
//!
//! [`Host`] is implemented by `ringer-sys` for the real kernel and by `ringer-sim` in RAM. Calls
//! never use libc, never set errno, and report the kernel's own errors. "App table" is the
//! descriptor table that the application's threads share; descriptor numbers in this trait are
//! numbers of the *calling thread's* table.
//!
//! What a host does not do: know about SQEs, CQEs or requests.

use crate::primitive::AtomicU32;
use crate::replay::{Answer, Replayed};
use crate::trace::{Called, Injected, Taken, Told};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Debug;
use ringer_ring::{Geometry, Map};
use ringer_uapi::Errno;

/// What every call of a host answers.
pub type HostResult<T> = Result<T, Errno>;

/// A ring of this process, as the host and the engine name it. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RingId(pub u64);

impl RingId {
    /// Which ring of its process it is, from 1 (the low bits are its place in the table of rings).
    pub const fn ordinal(self) -> u64 {
        self.0 >> 16
    }
}

/// An `iovec` by value: address and length \[bytes\] in the application's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Iovec {
    /// User address.
    pub base: u64,
    /// Length \[bytes\].
    pub len: u64,
}

/// What kind of file a descriptor refers to, as far as strategy depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Regular file or block device: never polled, may block on the disk.
    Regular,
    /// A directory.
    Directory,
    /// A socket: `MSG_DONTWAIT` works.
    Socket,
    /// Pipe or FIFO.
    Pipe,
    /// Anything else: eventfd, timerfd, epoll, tty, character device.
    Other,
}

/// A clock of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boottime,
    /// `CLOCK_REALTIME`.
    Realtime,
}

/// One ready descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollEvent {
    /// `EPOLL*` bits.
    pub events: u32,
    /// What [`Poller::add`] was given.
    pub token: u64,
}

/// A signal mask to hold during a wait, as rt_sigprocmask(2) lays it out.
pub type SigMask = u64;

/// A set of watched descriptors that one thread at a time waits on.
pub trait Poller: Send + Sync + Debug {
    /// Watches `fd` for `events` (`EPOLL*` bits, with `EPOLLET`, `EPOLLONESHOT` as given).
    ///
    /// # Errors
    /// `EPERM`: the file cannot be polled (regular files). `EEXIST`, `EBADF`, `ENOMEM`, `ENOSPC`.
    fn add(&self, fd: i32, events: u32, token: u64) -> HostResult<()>;
    /// Changes events and token of a watched descriptor; re-arms it.
    ///
    /// # Errors
    /// As epoll_ctl(2) `EPOLL_CTL_MOD`.
    fn modify(&self, fd: i32, events: u32, token: u64) -> HostResult<()>;
    /// Stops watching.
    fn remove(&self, fd: i32);
    /// Waits until something is ready, [`Poller::wake`] was called (0 events), a signal handler ran
    /// (`EINTR`) or `timeout_ns` passed (0 events). `None` waits without limit. The mask is in
    /// force during the wait only, atomically.
    ///
    /// # Errors
    /// `EINTR`; `EFAULT` never.
    fn wait(
        &self,
        events: &mut [PollEvent],
        timeout_ns: Option<u64>,
        mask: Option<SigMask>,
    ) -> HostResult<usize>;
    /// Makes the current or the next wait return.
    fn wake(&self);
    /// Reports under that token each time that somebody sets the real-time clock, or that the machine
    /// was suspended.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    fn watch_clocks(&self, _token: u64) -> HostResult<()> {
        Err(Errno::ENOMEM)
    }
    /// Watches another poller: ready while anything in it is (edge-triggered).
    ///
    /// # Errors
    /// As [`Poller::add`].
    fn nest(&self, inner: &Self, token: u64) -> HostResult<()>;
    /// Ends [`Poller::nest`].
    fn unnest(&self, inner: &Self);
}

/// A transfer that the host carries out by itself.
#[derive(Clone, Copy, Debug)]
pub struct AioOp<'a> {
    /// Comes back with its end.
    pub token: u64,
    /// A number of the calling thread's table; the file is held from here on.
    pub fd: i32,
    /// Where the bytes are to go, or come from. Copied.
    pub iov: &'a [Iovec],
    /// Where in the file \[bytes\].
    pub off: u64,
    /// `RWF_*` bits.
    pub rwf: u32,
    /// Whether it writes.
    pub write: bool,
}

/// The end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AioDone {
    /// What it was given.
    pub token: u64,
    /// Bytes, or the call's error.
    pub res: HostResult<u32>,
}

impl Default for AioDone {
    fn default() -> Self {
        Self { token: 0, res: Ok(0) }
    }
}

/// Transfers of `O_DIRECT` files that no thread waits in; a poller reports that some have ended.
/// Dropped when none is under way.
pub trait Aio: Send + Sync + Debug {
    /// Starts transfers in order, and answers how many; if that is none, why the first was not:
    /// `EAGAIN` where there is no room, or the call's error.
    fn submit(&self, ops: &[AioOp<'_>]) -> (usize, Option<Errno>);
    /// Takes ends that are there. One thread at a time; no call.
    fn reap(&self, to: &mut [AioDone]) -> usize;
}

/// An empty path names what the descriptor does.
const AT_EMPTY_PATH: u32 = 0x1000;

/// A reference to an open file, independent of the application's descriptor numbers.
///
/// Cloning is cheap and takes no system call. When the last clone goes, the file is closed, never
/// so that a POSIX lock of the program is dropped (design: "where engine descriptors live").
pub trait HostFile: Clone + Send + Sync + Debug + 'static {
    /// What it refers to.
    fn kind(&self) -> FileKind;
    /// A number for this file in the app table, if there is one or one can be had without risk to
    /// the program's POSIX locks. Valid while a clone lives.
    fn number(&self) -> Option<i32>;
    /// Whether both refer to the same open file as far as the host knows (cancel by descriptor).
    fn same_file(&self, other: &Self) -> bool;
    /// Whether its bytes come from a disk of this machine, or from memory: what waits for them waits
    /// for a short time.
    fn is_local(&self) -> bool {
        true
    }
    /// The same open file under a number of its own, which a poller takes for another one.
    ///
    /// # Errors
    /// `EMFILE`: none is to be had.
    fn another(&self) -> HostResult<Self> {
        Err(Errno::EMFILE)
    }
}

/// Memory of one ring, until it is dropped; what the application mapped of it stays as it is.
pub trait HostPages: Send + Sync + Debug {
    /// The region with heads, tails, CQEs and the index array.
    fn rings(&self) -> &Map;
    /// The region with the SQEs.
    fn sqes(&self) -> &Map;
}

/// What the processes that share a ring have in common: memory, and a lock that outlives its holder.
pub trait HostCommons: Send + Sync + Debug {
    /// The engine's part of the memory, zeroed when it was made.
    fn words(&self) -> &Map;
    /// Takes the lock. `Some`: from that process, which ended while it had it.
    fn lock(&self) -> Option<u32>;
    /// The same, unless another process has it.
    fn try_lock(&self) -> Option<Option<u32>>;
    /// Lets go of it.
    fn unlock(&self);
    /// This process among those that share rings; never 0, never used again.
    fn me(&self) -> u32;
    /// Whether another one still runs the program it ran when it got its number.
    fn lives(&self, process: u32) -> bool;
    /// As [`Host::park`], on the word at that byte of [`HostCommons::words`].
    ///
    /// # Errors
    /// As [`Host::park`].
    fn park(&self, at: usize, expected: u32, timeout_ns: Option<u64>) -> HostResult<()>;
    /// Ends [`Host::await_call`] in another process, now or when it next begins.
    fn call(&self, process: u32);
}

/// The [`HostCommons`] of a host without forks.
#[derive(Debug)]
pub enum Alone {}

impl HostCommons for Alone {
    fn words(&self) -> &Map {
        match *self {}
    }
    fn lock(&self) -> Option<u32> {
        match *self {}
    }
    fn try_lock(&self) -> Option<Option<u32>> {
        match *self {}
    }
    fn unlock(&self) {
        match *self {}
    }
    fn me(&self) -> u32 {
        match *self {}
    }
    fn lives(&self, _process: u32) -> bool {
        match *self {}
    }
    fn park(&self, _at: usize, _expected: u32, _timeout_ns: Option<u64>) -> HostResult<()> {
        match *self {}
    }
    fn call(&self, _process: u32) {
        match *self {}
    }
}

/// The descriptor of one ring, and what gives it memory.
pub trait HostRing: Send + Sync + Debug {
    /// See [`HostPages`].
    type Pages: HostPages;
    /// See [`HostCommons`].
    type Commons: HostCommons;
    /// Lets children that this process forks from here on have the ring, too, with so many bytes in
    /// common.
    ///
    /// # Errors
    /// `EEXIST`: it was shared before. `ENOMEM`; `EOPNOTSUPP`: memory that a child gets a copy of.
    fn share(&self, _len: usize) -> HostResult<Self::Commons> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Wakes who sleeps in [`HostCommons::park`] on the word at that byte, in all processes.
    fn unpark_among(&self, _at: usize) {}
    /// Makes memory of other sizes, which nobody maps yet. Calls `then` between the two regions, with
    /// the first.
    ///
    /// # Errors
    /// `EFAULT` for unusable user memory; `ENOMEM`; those of `then`.
    fn remake(
        &self,
        geometry: &Geometry,
        user_memory: Option<(u64, u64)>,
        then: impl FnOnce(&Map) -> HostResult<()>,
    ) -> HostResult<Self::Pages>;
    /// From here on the descriptor shows this memory: to who maps it, and to who asks whether there are
    /// CQEs.
    fn show(&self, pages: &Self::Pages);
    /// Whether somebody polls the ring's descriptor. Cheap.
    fn polled(&self) -> bool;
    /// CQEs are about to be published: whether [`HostRing::signal`] is to be told so. Cheap when
    /// nobody polls the ring's descriptor.
    fn announce(&self) -> bool;
    /// Makes the ring's descriptor readable, if anybody polls it. Cheap when nobody does.
    fn signal(&self, announced: bool);
    /// Whether work waits for the ring's owner that its pages do not show (DEFER_TASKRUN): with that
    /// the descriptor is readable as with a CQE. [`HostRing::signal`] follows, or a drain.
    fn work_waits(&self, waits: bool);
    /// Makes it unreadable again, if it was made readable.
    fn drain(&self);
    /// Keeps the ring alive as one more descriptor would, until [`HostRing::let_go`].
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    fn keep(&self) -> HostResult<()>;
    /// Ends one [`HostRing::keep`]; without others and without a descriptor that is a last close.
    fn let_go(&self);
    /// Takes memory of the caller's at an address, or makes memory of the ring's own that its
    /// descriptor maps at `OFF_PARAM_REGION`, as the ring's region: whole pages, and none was there.
    ///
    /// # Errors
    /// `EFAULT` memory that could not be pinned; `ENOMEM`.
    fn add_region(&self, user: Option<u64>, len: u64) -> HostResult<()>;
    /// Ends [`HostRing::add_region`].
    fn drop_region(&self);
    /// Reads words of the region, each once, from byte `at` on. They lie in it.
    fn load_region(&self, at: u64, to: &mut [u64]);
    /// Makes memory for a ring of provided buffers, which the ring's descriptor maps at `OFF_PBUF_RING`
    /// and the group, and answers its address. The group has none.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn add_buf_ring(&self, _group: u16, _len: u64) -> HostResult<u64> {
        Err(Errno::ENOMEM)
    }
    /// Ends [`HostRing::add_buf_ring`]: mappings stay.
    fn drop_buf_ring(&self, _group: u16) {}
    /// After the last descriptor went: whether some other mapping still keeps the ring alive.
    /// Called with no other access to the regions under way.
    fn still_mapped(&self) -> bool;
}

/// What setup asks of the host.
#[derive(Clone, Copy, Debug)]
pub struct RingSpec {
    /// The name the engine gives the ring.
    pub id: RingId,
    /// Sizes of the regions.
    pub geometry: Geometry,
    /// `SETUP_NO_MMAP`: the caller's addresses for (rings, SQEs). The host has both checked by
    /// [`check_region`] and for access (`EFAULT`), the rings first.
    pub user_memory: Option<(u64, u64)>,
}

/// Whether a region may lie at an address of the caller's (memmap.c `io_create_region`, 6.18).
///
/// # Errors
/// `EFAULT`: NULL. `EINVAL`: not at a page. `EOVERFLOW`: its last page ends behind the address space.
pub fn check_region(at: u64, len: usize) -> HostResult<()> {
    const PAGE: u64 = 4096;
    let pages = (len as u64).next_multiple_of(PAGE);
    match at {
        0 => Err(Errno::EFAULT),
        at if !at.is_multiple_of(PAGE) => Err(Errno::EINVAL),
        at => at.checked_add(pages).map(drop).ok_or(Errno::EOVERFLOW),
    }
}

/// Which descriptor table and duty a new thread has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadKind {
    /// Shares the application's descriptors; named `iou-wrk-<tid of the application's thread>`.
    Worker,
    /// A descriptor table of its own, empty but for what [`Host::borrow`] puts there.
    Private,
    /// The SQ poll thread, named `iou-sqp-<pid>`; `Some(cpu)` binds it.
    SqPoll(Option<u32>),
    /// Leads rings that nobody is waiting in. Not named as the kernel names workers, which is how
    /// programs count those.
    Reactor,
}

/// A thread that the host made.
pub trait HostThread: Send + Sync + Debug {
    /// Interrupts the application's call the thread is in, and all it makes before
    /// [`HostThread::clear_interrupt`]: they answer `EINTR`.
    fn interrupt(&self);
    /// Ends an interrupt, also one that found no call.
    fn clear_interrupt(&self);
}

/// The credentials, capabilities, filters and domain of a thread, as one comparable value.
///
/// Equal values mean that a worker made under one may act for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Identity(pub u64);

impl Identity {
    const OWN: u64 = 1 << 63;

    /// The identity of a stand-in, which no host gives to a thread by itself.
    pub(crate) fn own(n: u64) -> Self {
        Self(n | Self::OWN)
    }

    /// Whether it is a stand-in's.
    pub(crate) fn is_own(self) -> bool {
        self.0 & Self::OWN != 0
    }
}

/// User and groups, capabilities and whatever else goes into the rights of a thread, as one value:
/// equal ones are the same rights. Unlike an [`Identity`] it sees every change that can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Credentials(pub u64);

/// What has extended attributes.
#[derive(Clone, Copy, Debug)]
pub enum Attributed<'a> {
    /// An open file, by its number.
    File(i32),
    /// A path, NUL-terminated.
    Path(&'a [u8]),
}

/// A user `sockaddr`, copied.
#[derive(Clone, Copy, Debug)]
pub struct SockAddr {
    /// The bytes.
    pub bytes: [u8; 128],
    /// How many of them count.
    pub len: u32,
}

/// A message to send: addresses are the application's, the name is the engine's copy.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// To whom.
    pub name: Option<&'a SockAddr>,
    /// The bytes.
    pub iovs: &'a [Iovec],
    /// Address and length of control data.
    pub control: (u64, u64),
}

/// What recvmsg(2) tells of a message.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Bytes that it put into the buffers.
    pub bytes: u32,
    /// The sender's name.
    pub name: SockAddr,
    /// Bytes of control data that it wrote.
    pub control_len: u64,
    /// `MSG_*`.
    pub flags: u32,
}

/// A futex of the application's, 32 bits long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Futex {
    /// Where its word lies.
    pub addr: u64,
    /// `FUTEX2_*`: private or shared, which node.
    pub flags: u32,
    /// What the word holds while it is waited for; how many to wake.
    pub val: u32,
}

/// A word of the engine's that a waiter sleeps on, with a node behind it as a futex with
/// `FUTEX2_NUMA` has it.
#[derive(Debug)]
#[repr(C, align(8))]
pub struct FutexWord {
    /// 0 until its sleeper was moved.
    pub value: AtomicU32,
    /// `FUTEX_NO_NODE` until a host chooses one.
    pub node: AtomicU32,
}

impl Default for FutexWord {
    fn default() -> Self {
        Self { value: AtomicU32::new(0), node: AtomicU32::new(u32::MAX) }
    }
}

/// A child whose state changed, as waitid(2) tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// `CLD_*`.
    pub code: i32,
    /// Its number.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its exit status, or a signal.
    pub status: i32,
}

/// An option of a socket, as an entry gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockOpt {
    /// `SOL_*`.
    pub level: i32,
    /// `SO_*`.
    pub name: i32,
    /// User address of the value.
    pub value: u64,
    /// Its length \[bytes\].
    pub len: i32,
}

/// When something that was sent came somewhere on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxTimestamp {
    /// Which it was, as the socket counts.
    pub key: u32,
    /// `SCM_TSTAMP_*`: where it came.
    pub kind: u32,
    /// Whether the device has taken it.
    pub hardware: bool,
    /// When \[s, ns\].
    pub at: [u64; 2],
}

/// A ring that was adopted: descriptor, memory, and what it has in common with others.
pub type Adopted<H> = (
    <H as Host>::Ring,
    <<H as Host>::Ring as HostRing>::Pages,
    <<H as Host>::Ring as HostRing>::Commons,
);

/// Everything the engine asks of the world. See the module's doc for conventions.
///
/// Addresses are the application's: a bad one is `EFAULT`, never a fault.
pub trait Host: Send + Sync + Sized + 'static {
    /// The lock under every mutex of the engine. Parks on a futex after a short spin.
    type Lock: lock_api::RawMutex + Send + Sync;
    /// The lock that callers of a ring share for as long as they are in it, an atomic operation each way;
    /// `is_locked` sees (acquires) what they did before they let go of it.
    type Shared: lock_api::RawRwLock + Send + Sync;
    /// See [`Poller`].
    type Poller: Poller;
    /// See [`Aio`].
    type Aio: Aio;
    /// See [`HostFile`].
    type File: HostFile;
    /// See [`HostRing`].
    type Ring: HostRing;
    /// See [`HostThread`].
    type Thread: HostThread;

    // --- rings -------------------------------------------------------------------------------

    /// Makes memory and descriptor of a ring; the descriptor is not in the app table yet.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`, `ENFILE`; `EFAULT` for unusable user memory.
    fn ring_create(
        &self,
        spec: &RingSpec,
    ) -> HostResult<(Self::Ring, <Self::Ring as HostRing>::Pages)>;
    /// Puts the ring's descriptor at the lowest free number of the app table (close-on-exec).
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`.
    fn ring_install(&self, ring: &Self::Ring) -> HostResult<i32>;
    /// Which ring `fd` is.
    ///
    /// # Errors
    /// `EBADF`: not open. `EOPNOTSUPP`: not a ring. `EOWNERDEAD`: a ring of the process this one
    /// was forked from.
    fn ring_of(&self, fd: i32) -> HostResult<RingId>;

    /// Makes what this process needs of a ring of the one it was forked from: `fd` then is ring `id`.
    /// `geometry` reads the sizes from the words in common.
    ///
    /// # Errors
    /// `EOWNERDEAD`: it was not shared. `EEXIST`: another thread has just done that. `ENOMEM`,
    /// `EMFILE`, `ENFILE`.
    fn ring_adopt(
        &self,
        _fd: i32,
        _id: RingId,
        _geometry: impl FnOnce(&Map) -> Geometry,
    ) -> HostResult<Adopted<Self>> {
        Err(Errno::EOWNERDEAD)
    }
    /// Sleeps until another process calls, unless one has since `seen` was the answer; how many calls
    /// there were.
    fn await_call(&self, seen: u32) -> u32 {
        seen
    }

    // --- the application's memory ------------------------------------------------------------

    /// Copies from the application.
    ///
    /// # Errors
    /// `EFAULT`.
    fn copy_in(&self, addr: u64, to: &mut [u8]) -> HostResult<()>;
    /// Copies to the application.
    ///
    /// # Errors
    /// `EFAULT`.
    fn copy_out(&self, addr: u64, from: &[u8]) -> HostResult<()>;
    /// Copies a NUL-terminated text, the NUL included.
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` for `max` bytes without a NUL.
    fn copy_text(&self, addr: u64, max: usize) -> HostResult<Box<[u8]>>;
    /// The same of a path, as fs/namei.c `getname` does.
    ///
    /// # Errors
    /// As [`Host::copy_text`]; a path has 4096 bytes at most. `ENOENT`: an empty one.
    fn copy_path(&self, addr: u64) -> HostResult<Box<[u8]>> {
        self.copy_path_for(addr, 0)
    }
    /// The same for a call with these `AT_*` flags, as `getname_uflags` does.
    ///
    /// # Errors
    /// As [`Host::copy_path`]; with `AT_EMPTY_PATH` an empty one is fine.
    fn copy_path_for(&self, addr: u64, flags: u32) -> HostResult<Box<[u8]>> {
        let path = self.copy_text(addr, 4096)?;
        let fits = flags & AT_EMPTY_PATH != 0 || *path != *b"\0";
        if fits { Ok(path) } else { Err(Errno::ENOENT) }
    }
    /// Whether `addr..addr+len` could be pinned as a registered buffer (readable and writable
    /// memory, not a shared mapping of a disk file).
    ///
    /// # Errors
    /// `EFAULT`, `ENOMEM` (RLIMIT_MEMLOCK), `EOPNOTSUPP`.
    fn check_pinnable(&self, addr: u64, len: u64) -> HostResult<()>;

    // --- time, threads, waiting --------------------------------------------------------------

    /// Nanoseconds on a clock.
    fn now(&self, clock: Clock) -> u64;
    /// The calling thread.
    fn tid(&self) -> u32;
    /// A word of the calling thread's own: 0 in a new thread, and in the one thread of a forked child.
    fn thread_word(&self) -> u64;
    /// Sets it. From then on [`Engine::thread_ended`](crate::Engine::thread_ended) is called in that
    /// thread, at its end, if the host sees that.
    fn set_thread_word(&self, word: u64);
    /// Who the calling thread is. Cheap while nobody in the process ever changed identity.
    fn identity(&self) -> Identity;
    /// Whether that thread of this process has not exited.
    fn is_alive(&self, tid: u32) -> bool;
    /// Says who the calling thread, which the host made, is from now on: nothing changes its rights.
    /// Never one that [`Host::identity`] would answer.
    fn set_identity(&self, identity: Identity);
    /// What rights the calling thread has now. Some system calls.
    fn credentials(&self) -> Credentials;
    /// The user that memory counts for which the calling thread locks; `None`: it counts for nobody.
    fn memory_user(&self) -> Option<u32> {
        None
    }
    /// Sleeps while `*word == expected`.
    ///
    /// # Errors
    /// `EAGAIN`: the word differs. `EINTR`. `ETIMEDOUT`.
    fn park(&self, word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) -> HostResult<()>;
    /// Lets another thread run on this CPU.
    fn yield_cpu(&self);
    /// Wakes up to `n` sleepers on `word`.
    fn unpark(&self, word: &AtomicU32, n: u32);
    /// Starts a thread with the *calling* thread's identity, all signals blocked but SIGSYS,
    /// SIGSEGV and SIGBUS.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOMEM`: no thread to be had; `EINVAL`: the CPU does not exist.
    fn spawn(
        &self,
        kind: ThreadKind,
        body: Box<dyn FnOnce() + Send + 'static>,
    ) -> HostResult<Self::Thread>;
    /// A new, empty poller.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    fn poller(&self) -> HostResult<Self::Poller>;
    /// A place for so many transfers at once, whose ends `poller` reports under `token`, as an edge.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOSYS`, `EPERM`: not to be had, now or at all. `EMFILE`, `ENFILE`, `ENOMEM`.
    fn aio(&self, poller: &Self::Poller, token: u64, entries: u32) -> HostResult<Self::Aio>;
    /// CPUs this process may run on.
    fn cpus(&self) -> u32;
    /// Whether `cpu` is online and allowed for this process.
    fn cpu_allowed(&self, cpu: u32) -> bool;
    /// Whether these CPUs (a bit each) name one that the machine may have and that no thread of this
    /// process may be sent to: its cpuset lacks it.
    fn beyond_cpuset(&self, _cpus: &[u64]) -> bool {
        false
    }
    /// The soft RLIMIT_NPROC.
    fn nproc(&self) -> u32;
    /// How long the kernel's CPU masks are \[bytes\], a multiple of 8.
    fn cpu_mask_len(&self) -> usize;
    /// Has the calling thread run on these CPUs (a bit each), or on those of them that it was bound to;
    /// where it is if there is none.
    fn run_on(&self, cpus: &[u64]);
    /// The soft RLIMIT_NOFILE.
    fn nofile(&self) -> u64;

    // --- futexes and children of the application ---------------------------------------------

    /// Sleeps on words of the engine's, all 0, one for each futex and in its way, private or shared.
    /// The sleeper goes over to the futexes by [`Host::futex_move`], and this is which of them woke
    /// it. `mask`: which wake-ups it hears; all, if there is more than one.
    ///
    /// # Errors
    /// `EINTR`: the thread was interrupted, and no wake-up counted it. `EAGAIN`: a word is not 0,
    /// also found after something else than a wake-up had the call begin anew.
    fn futex_sleep(&self, words: &[FutexWord], of: &[Futex], mask: u32) -> HostResult<u32>;
    /// Makes the sleeper on a word that is 0 one on a futex, behind those that are there. False:
    /// nobody sleeps on the word.
    ///
    /// # Errors
    /// `EFAULT`, `EINVAL`: it is no futex. `EAGAIN`: the word is not 0.
    fn futex_move(&self, word: &FutexWord, to: Futex) -> HostResult<bool>;
    /// Sleeps on futexes: which of them woke it.
    ///
    /// # Errors
    /// As [`Host::futex_sleep`]; `EAGAIN`: one holds another value.
    fn futex_wait(&self, on: &[Futex], mask: u32) -> HostResult<u32>;
    /// Wakes up to `val` sleepers on a futex: how many it woke.
    ///
    /// # Errors
    /// `EINVAL` no mask, not aligned; `EFAULT`.
    fn futex_wake(&self, futex: Futex, mask: u32) -> HostResult<u32>;
    /// `waitid(2)`: which child it was; `None`: none, with `WNOHANG`.
    ///
    /// # Errors
    /// The call's.
    fn waitid(&self, which: i32, id: i32, options: i32) -> HostResult<Option<Child>>;

    // --- files -------------------------------------------------------------------------------

    /// Runs `f`, which waits in a call and holds nothing of the engine: a handler that interrupts it may call in.
    fn as_in_a_wait<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }
    /// Holds the file behind app descriptor `fd` for a request that must wait.
    ///
    /// # Errors
    /// `EBADF`; `EMFILE`, `ENOMEM` when no descriptor is to be had anywhere.
    fn hold(&self, fd: i32) -> HostResult<Self::File>;
    /// Whether a copy of the file that is held may stay when nothing waits for it: then the engine is told
    /// ([`crate::Engine::number_closing`]) before a call of the application closes `fd` or makes it another
    /// file's, once for each time that it was lent.
    fn lend(&self, _fd: i32, _file: &Self::File) -> bool {
        false
    }
    /// Whether `fd` is lent.
    fn is_lent(&self, _fd: i32) -> bool {
        false
    }
    /// Whether `fd` still is the file that was held by it.
    fn is_still(&self, _fd: i32, _file: &Self::File) -> bool {
        false
    }
    /// Holds many files at once (registration), all or none.
    ///
    /// # Errors
    /// `EBADF` for a closed number, an `O_PATH` file or a ring; `ENOMEM`.
    fn adopt(&self, fds: &[i32]) -> HostResult<Vec<Self::File>>;
    /// Turns descriptor `fd` of the calling thread's table, which a call just made, into a held
    /// file; the number is free afterwards, on failure too.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    fn take(&self, fd: i32) -> HostResult<Self::File>;
    /// Drops references; a file that only these kept open is closed on return.
    fn release(&self, files: Vec<Self::File>);
    /// Makes sure that [`Host::borrow`] works for a file that has a number.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    fn house(&self, _file: &Self::File) -> HostResult<()> {
        Ok(())
    }
    /// In a [`ThreadKind::Private`] thread: puts the file into this thread's table.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    fn borrow(&self, file: &Self::File) -> HostResult<i32>;
    /// Ends a [`Host::borrow`].
    fn give_back(&self, fd: i32);
    /// Gives the file a number at or above 0 in the app table (FIXED_FD_INSTALL, fd passing).
    ///
    /// # Errors
    /// `EMFILE`.
    fn install(&self, file: &Self::File, cloexec: bool) -> HostResult<i32>;
    /// Whether this process may hold POSIX (fcntl) locks: then no descriptor of a regular file may
    /// be closed in the app table, and descriptors are made in private threads.
    fn may_hold_posix_locks(&self) -> bool;
    /// What `fd` is.
    ///
    /// # Errors
    /// `EBADF`.
    fn kind(&self, fd: i32) -> HostResult<FileKind>;
    /// `fcntl(F_GETFL)`.
    ///
    /// # Errors
    /// `EBADF`.
    fn status_flags(&self, fd: i32) -> HostResult<u32>;

    // --- reading and writing -----------------------------------------------------------------

    /// `preadv2(2)`; `off` of `u64::MAX` uses and moves the position. `rwf` are `RWF_*` bits.
    ///
    /// # Errors
    /// The call's.
    fn readv(&self, fd: i32, iov: &[Iovec], off: u64, rwf: u32) -> HostResult<u32>;
    /// `pwritev2(2)`.
    ///
    /// # Errors
    /// The call's.
    fn writev(&self, fd: i32, iov: &[Iovec], off: u64, rwf: u32) -> HostResult<u32>;
    /// A number that is the file's alone, if writes of it that may wait are to run one after the other: of a
    /// regular file that was not opened with `O_DIRECT`.
    fn serial_writes(&self, _fd: i32) -> Option<u64> {
        None
    }
    /// `fsync(2)`, or `fdatasync(2)`.
    ///
    /// # Errors
    /// The call's.
    fn fsync(&self, fd: i32, datasync: bool) -> HostResult<()>;
    /// `sync_file_range(2)`.
    ///
    /// # Errors
    /// The call's.
    fn sync_file_range(&self, fd: i32, off: u64, len: u64, flags: u32) -> HostResult<()>;
    /// `fallocate(2)`.
    ///
    /// # Errors
    /// The call's.
    fn fallocate(&self, fd: i32, mode: u32, off: u64, len: u64) -> HostResult<()>;
    /// `ftruncate(2)`.
    ///
    /// # Errors
    /// The call's.
    fn ftruncate(&self, fd: i32, len: u64) -> HostResult<()>;
    /// `posix_fadvise(2)`.
    ///
    /// # Errors
    /// The call's.
    fn fadvise(&self, fd: i32, off: u64, len: u64, advice: u32) -> HostResult<()>;
    /// `madvise(2)`.
    ///
    /// # Errors
    /// The call's.
    fn madvise(&self, addr: u64, len: u64, advice: u32) -> HostResult<()>;
    /// `splice(2)`: descriptors with their offsets, `u64::MAX` for the position.
    ///
    /// # Errors
    /// The call's.
    fn splice(&self, from: (i32, u64), to: (i32, u64), len: u32, flags: u32) -> HostResult<u32>;
    /// `tee(2)`.
    ///
    /// # Errors
    /// The call's.
    fn tee(&self, from: i32, to: i32, len: u32, flags: u32) -> HostResult<u32>;
    /// Starts reading a range into the page cache; errors do not matter.
    fn readahead(&self, fd: i32, off: u64, len: u64);
    /// `poll(2)` without waiting: the `POLL*` bits of `events` (and ERR, HUP, NVAL) that hold now.
    fn poll_now(&self, fd: i32, events: u32) -> u32;

    // --- sockets -----------------------------------------------------------------------------

    /// `recvfrom(2)` without an address.
    ///
    /// # Errors
    /// The call's.
    fn recv(&self, fd: i32, buf: Iovec, flags: u32) -> HostResult<u32>;
    /// `sendto(2)`.
    ///
    /// # Errors
    /// The call's.
    fn send(&self, fd: i32, buf: Iovec, flags: u32, to: Option<&SockAddr>) -> HostResult<u32>;
    /// `recvmsg(2)` into several buffers: bytes, and whether the message was longer (`MSG_TRUNC`).
    ///
    /// # Errors
    /// The call's.
    fn recv_many(&self, fd: i32, bufs: &[Iovec], flags: u32) -> HostResult<(u32, bool)> {
        let first = bufs.first().copied().unwrap_or_default();
        self.recv(fd, first, flags).map(|n| (n, false))
    }
    /// `recvmsg(2)` into buffers; control data goes to an address and length of the application's.
    ///
    /// # Errors
    /// The call's.
    fn recvmsg(
        &self,
        fd: i32,
        iovs: &[Iovec],
        control: (u64, u64),
        flags: u32,
    ) -> HostResult<Received>;
    /// `sendmsg(2)`.
    ///
    /// # Errors
    /// The call's; `EINVAL` for a ring among descriptors that it passes.
    fn sendmsg(&self, fd: i32, message: &Message<'_>, flags: u32) -> HostResult<u32>;
    /// Whether the socket's protocol can send without a copy (`SOCK_SUPPORT_ZC`: TCP and UDP).
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`.
    fn sends_zero_copy(&self, fd: i32) -> HostResult<bool>;
    /// `socket(2)`; `kind` is type and flags.
    ///
    /// # Errors
    /// The call's.
    fn socket(&self, family: i32, kind: u32, protocol: i32) -> HostResult<i32>;
    /// `bind(2)`.
    ///
    /// # Errors
    /// The call's.
    fn bind(&self, fd: i32, to: &SockAddr) -> HostResult<()>;
    /// `listen(2)`.
    ///
    /// # Errors
    /// The call's.
    fn listen(&self, fd: i32, backlog: i32) -> HostResult<()>;
    /// `getsockopt(SO_ACCEPTCONN)`: whether the socket listens.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`.
    fn listening(&self, fd: i32) -> HostResult<bool>;
    /// `accept4(2)`; `addr` and `addrlen` are user addresses or 0.
    ///
    /// # Errors
    /// The call's.
    fn accept(&self, fd: i32, addr: u64, addrlen: u64, flags: u32) -> HostResult<i32>;
    /// `connect(2)`.
    ///
    /// # Errors
    /// The call's.
    fn connect(&self, fd: i32, to: &SockAddr) -> HostResult<()>;
    /// `getsockopt(SOL_SOCKET, SO_ERROR)`: the error of a finished asynchronous connect.
    ///
    /// # Errors
    /// The call's, or the socket's pending error.
    fn socket_error(&self, fd: i32) -> HostResult<()>;
    /// `getsockopt(SO_TYPE)`: whether what a transfer left can be had by another one (streams and
    /// sequenced packets; of a datagram the rest is gone).
    fn is_stream(&self, _fd: i32) -> bool {
        true
    }
    /// Whether it is a socket of bytes without borders (`SOCK_STREAM`): what a transfer leaves, the next
    /// one finds.
    fn is_byte_stream(&self, fd: i32) -> bool {
        self.is_stream(fd)
    }
    /// Whether a receive from a TCP or AF_UNIX stream would find bytes now, or TCP's end
    /// (6.18 net/ipv4/tcp.c `tcp_inq_hint`, net/unix/af_unix.c `inq_len`). The end is asked for only
    /// where it may have come.
    fn left_to_recv(&self, _fd: i32, _may_have_ended: bool) -> bool {
        false
    }
    /// How many bytes wait in a TCP or AF_UNIX stream; 0 for any other socket.
    fn queued(&self, _fd: i32) -> u32 {
        0
    }
    /// Whether [`Host::left_to_recv`] knows that of this socket.
    fn tells_what_is_left(&self, _fd: i32) -> bool {
        false
    }
    /// Whether a TCP listener has another connection now.
    fn left_to_accept(&self, _fd: i32) -> bool {
        false
    }
    /// `ioctl(SIOCINQ)`: bytes to be received.
    ///
    /// # Errors
    /// The call's; `EOPNOTSUPP` where io_uring has none for the socket's family.
    fn unread(&self, _fd: i32) -> HostResult<i32> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `ioctl(SIOCOUTQ)`: bytes that are not sent, or not acknowledged.
    ///
    /// # Errors
    /// As [`Host::unread`].
    fn unsent(&self, _fd: i32) -> HostResult<i32> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `getsockopt(2)`: how long the value is \[bytes\].
    ///
    /// # Errors
    /// The call's.
    fn getsockopt(&self, _fd: i32, _option: SockOpt) -> HostResult<i32> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `setsockopt(2)`.
    ///
    /// # Errors
    /// The call's.
    fn setsockopt(&self, _fd: i32, _option: SockOpt) -> HostResult<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Whether what a socket's error queue has of transmit timestamps may be taken from there: as the
    /// socket is set, they come alone and somebody asked for them.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: what may be among them nobody may take for another.
    fn tells_timestamps(&self, _fd: i32) -> HostResult<bool> {
        Ok(false)
    }
    /// Takes the first entry of the error queue of such a socket; `None`: it was no timestamp, and is
    /// lost.
    ///
    /// # Errors
    /// `EAGAIN`: there is none.
    fn take_timestamp(&self, _fd: i32) -> HostResult<Option<TxTimestamp>> {
        Err(Errno::EAGAIN)
    }
    /// Whether it is `/dev/null`.
    fn is_null(&self, _fd: i32) -> bool {
        false
    }
    /// `shutdown(2)`.
    ///
    /// # Errors
    /// The call's.
    fn shutdown(&self, fd: i32, how: i32) -> HostResult<()>;
    /// `epoll_ctl(2)` with the event's 12 bytes as two values.
    ///
    /// # Errors
    /// The call's.
    fn epoll_ctl(&self, epfd: i32, op: i32, fd: i32, event: Option<(u32, u64)>) -> HostResult<()>;

    /// `epoll_wait(2)` into user memory, of what is ready now.
    ///
    /// # Errors
    /// The call's.
    fn epoll_ready(&self, epfd: i32, events: u64, max: i32) -> HostResult<i32>;

    // --- names (paths are NUL-terminated, from `copy_path`) -----------------------------------

    /// `openat2(2)` with `how` = flags, mode, resolve.
    ///
    /// # Errors
    /// The call's.
    fn openat2(&self, dirfd: i32, path: &[u8], how: [u64; 3]) -> HostResult<i32>;
    /// The same without waiting for a partner or a lease: `O_NONBLOCK` is set for the call only.
    ///
    /// # Errors
    /// The call's; `ENXIO` for a FIFO that nobody reads.
    fn open_now(&self, dirfd: i32, path: &[u8], how: [u64; 3]) -> HostResult<i32> {
        self.openat2(dirfd, path, how)
    }
    /// `close(2)` of an application descriptor.
    ///
    /// # Errors
    /// `EBADF`, also for a ring and for a descriptor that is the engine's own.
    fn close(&self, fd: i32) -> HostResult<()>;
    /// `pipe2(2)`: numbers of both ends, the reading one first.
    ///
    /// # Errors
    /// The call's.
    fn pipe(&self, flags: u32) -> HostResult<[i32; 2]>;
    /// `pipe2(2)` that writes the numbers to user memory.
    ///
    /// # Errors
    /// The call's.
    fn pipe_into(&self, to: u64, flags: u32) -> HostResult<()>;
    /// `statx(2)` into user memory.
    ///
    /// # Errors
    /// The call's.
    fn statx(&self, dirfd: i32, path: &[u8], flags: u32, mask: u32, buf: u64) -> HostResult<()>;
    /// `unlinkat(2)`.
    ///
    /// # Errors
    /// The call's.
    fn unlinkat(&self, dirfd: i32, path: &[u8], flags: u32) -> HostResult<()>;
    /// `renameat2(2)`; each end is (dirfd, path).
    ///
    /// # Errors
    /// The call's.
    fn renameat2(&self, from: (i32, &[u8]), to: (i32, &[u8]), flags: u32) -> HostResult<()>;
    /// `mkdirat(2)`.
    ///
    /// # Errors
    /// The call's.
    fn mkdirat(&self, dirfd: i32, path: &[u8], mode: u32) -> HostResult<()>;
    /// `symlinkat(2)`.
    ///
    /// # Errors
    /// The call's.
    fn symlinkat(&self, target: &[u8], dirfd: i32, path: &[u8]) -> HostResult<()>;
    /// `linkat(2)`.
    ///
    /// # Errors
    /// The call's.
    fn linkat(&self, from: (i32, &[u8]), to: (i32, &[u8]), flags: u32) -> HostResult<()>;

    /// `setxattr(2)`, `fsetxattr(2)` of a copied name (NUL-terminated) and value.
    ///
    /// # Errors
    /// The call's.
    fn set_xattr(
        &self,
        whom: Attributed<'_>,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> HostResult<()>;
    /// `getxattr(2)`, `fgetxattr(2)` into user memory.
    ///
    /// # Errors
    /// The call's.
    fn get_xattr(&self, whom: Attributed<'_>, name: &[u8], to: Iovec) -> HostResult<u32>;

    // --- eventfd, trace ----------------------------------------------------------------------

    /// Whether `fd` is an eventfd.
    ///
    /// # Errors
    /// `EBADF`; `EINVAL`: something else.
    fn check_eventfd(&self, fd: i32) -> HostResult<()>;
    /// Adds 1 to a registered eventfd.
    fn eventfd_signal(&self, file: &Self::File);
    /// Counters that survive the process, or `None`: see `stats.rs`.
    fn counters(&self) -> Option<&Map>;
    /// Whether requests are traced. Asked once, when the engine is made.
    fn traces(&self) -> bool {
        false
    }
    /// A request was taken, and requests are traced: its name in the trace, or 0 for none.
    fn trace_taken(&self, _: &Taken<'_>) -> u64 {
        0
    }
    /// A request with a name in the trace completed, perhaps not for the last time.
    fn trace_told(&self, _: &Told) {}
    /// A call that is no submission ended, and requests are traced.
    fn trace_called(&self, _: &Called) {}
    /// A policy did something to a request or to a wait.
    fn trace_injected(&self, _: &Injected) {}
    /// Whether the requests of a ring that is being set up are answered by [`Host::replay`].
    fn replays(&self, _ring: RingId) -> bool {
        false
    }
    /// An entry of such a ring was taken: what it, or others that were taken before it, complete with now.
    fn replay(&self, _: &Replayed<'_>) -> Vec<Answer> {
        Vec::new()
    }
    /// A wait on such a ring is about to sleep: what comes instead, if anything does.
    fn replay_to_who_waits(&self, _ring: RingId) -> Option<Answer> {
        None
    }
    /// What the kernel calls the file at a number: the length of as much as fits.
    ///
    /// # Errors
    /// `ENOENT`: it is not open, or has no name.
    fn path_of(&self, _fd: i32, _to: &mut [u8]) -> HostResult<usize> {
        Err(Errno::ENOENT)
    }
}
