//! Where the engine's descriptors live: threads with descriptor tables of their own.
//!
//! ```text
//!  application's table        N (high) ---- socket pair ---- M     router's table (shelf 0)
//!    callers, workers   <-- descriptors travel as messages -->       homes, memfds, write ends
//!  a private thread's table   N                                      epoll <- watcher thread
//!  shelf 1, 2, ...'s table    N, homes ...                         the first one's watcher: `attach`
//!  janitor: shares the application's table, tells the engine about last closes
//! ```
//!
//! Nothing in a shelf's table is visible to the application's `closefrom`, inherited by fork, or
//! able to drop a POSIX lock by its close: such locks belong to the application's table. Orders
//! travel through memory ([`clerk::Clerk`]); only descriptors need the socket. All use of the
//! socket is serialised by its lock, so that every message meets its receiver.
//!
//! Router and janitor are there with the first ring: a program that has no thread left afterwards can
//! register files. What the janitor does it does behind the application's back, so it never takes a
//! low number of that table, not even for a moment: a program may count on the lowest free one.
//!
//! A shelf holds as many numbers as RLIMIT_NOFILE allows. When the shelves are full, or there is no
//! socket (the application's table had no two free numbers), files are *carried*: a new shelf is
//! cloned from the caller and closes everything but them, which needs no free number anywhere.
//!
//! In a forked child nothing of this exists; it is made again when first needed. What it does not
//! do: know what a file is for, or touch the application's numbers.

mod janitor;
pub(crate) mod passing;
#[cfg(test)]
mod tests;

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize};
use rust_alloc::boxed::Box;
use rust_alloc::sync::Arc;
use rust_alloc::vec::Vec;

use ringer_engine::host::RingId;
use ringer_uapi::Errno;

use crate::attach::Attach;
use crate::clerk::Clerk;
use crate::fdtable;
use crate::generation::{self, Wiped};
use crate::lock::ForkMutex;
use crate::raw::{self, SysResult, general as g};
use crate::ringobj::proc_path;
use crate::thread::{self, Name, Spec, Table};
use janitor::Janitor;
pub use janitor::{OnClosed, on_ring_closed};
pub(crate) use passing::Cloexec;

/// Numbers of a shelf that stay free for passing files on and for its own needs (`attach` has four at
/// most).
const SPARE: usize = 8;
/// What a shelf's table has room for from the start: growing it later, with a watcher that shares
/// it, costs a grace period of the kernel's RCU (milliseconds).
const TABLE_START: i32 = 2048;
/// Numbers that `thread::spawn` fills (0, 1, 2).
const FILLED: usize = 3;
const AF_UNIX: u32 = 1;
const SOCK_SEQPACKET: u32 = 5;

// --- whose table does this thread have -------------------------------------------------------

/// Threads with tables of their own, as generation and id; 0 is free.
static OWN_TABLE: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

fn me() -> u64 {
    u64::from(generation::current()) << 32 | u64::from(thread::tid())
}

/// Says that the calling thread has a descriptor table of its own, until the answer is dropped.
/// `None`: too many have; then the thread must not touch files.
pub fn own_table() -> Option<OwnTable> {
    let free = |w: &&AtomicU64| w.compare_exchange(0, me(), AcqRel, Relaxed).is_ok();
    OWN_TABLE.iter().find(free).map(OwnTable)
}

/// See [`own_table`].
#[derive(Debug)]
pub struct OwnTable(&'static AtomicU64);

impl Drop for OwnTable {
    fn drop(&mut self) {
        self.0.store(0, Relaxed);
    }
}

/// Whether numbers of the calling thread are numbers of the application. Not for hot paths.
pub fn in_app_table() -> bool {
    // Only threads of ours can have another table.
    let me = me();
    !thread::is_ours() || OWN_TABLE.iter().all(|w| w.load(Relaxed) != me)
}

// --- shelves ---------------------------------------------------------------------------------

/// A thread with a table, which does what it is told with its numbers.
#[derive(Debug)]
pub(crate) struct Shelf {
    clerk: Clerk,
    /// Numbers in use, or promised.
    used: AtomicUsize,
    /// Which socket's application end is in the table too (its inode), 0: none.
    socket: u64,
    /// The epoll descriptor that watches write ends, once there is one.
    watch: ForkMutex<Option<i32>>,
}

impl Shelf {
    /// Starts a shelf that keeps `keep` of the calling thread's numbers.
    fn start(keep: &[i32], socket: u64) -> SysResult<Arc<Self>> {
        let shelf = Arc::new(Self {
            clerk: Clerk::default(),
            used: AtomicUsize::new(FILLED + keep.len()),
            socket,
            watch: ForkMutex::new(None),
        });
        // Refused, or before 5.9: a copy, of which everything else is closed.
        shelf.begin(Table::Unshared(keep)).or_else(|_| shelf.begin(Table::Private(keep)))?;
        Ok(shelf)
    }

    fn begin(self: &Arc<Self>, table: Table<'_>) -> SysResult<()> {
        let body = Arc::clone(self);
        let spec = Spec { name: Name::new("iou-keeper"), table, cpu: None };
        let serve = move || {
            let _own = own_table();
            fdtable::grow_table(TABLE_START);
            body.clerk.serve();
        };
        thread::spawn(spec, Box::new(serve)).map(drop)
    }

    /// How many more numbers it can take.
    fn room(&self) -> usize {
        let limit = raw::rlimit(g::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        limit.saturating_sub(self.used.load(Relaxed) + SPARE)
    }

    /// Numbers of its own: what fills 0, 1 and 2, and its socket end.
    fn own(&self) -> usize {
        FILLED + usize::from(self.socket != 0)
    }

    /// Whether a new shelf would have no more room.
    fn as_new(&self) -> bool {
        let watching = usize::from(self.watch.lock().is_some());
        self.used.load(Relaxed) <= self.own() + watching
    }

    /// Has `f` done in the shelf's table.
    pub(crate) fn call<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> R {
        self.clerk.call(f)
    }

    /// As [`Shelf::call`], without waiting.
    pub(crate) fn post(&self, f: impl FnOnce() + Send + 'static) {
        self.clerk.post(Box::new(f));
    }

    /// Counts numbers as used that are about to be.
    pub(crate) fn promise(&self, count: usize) {
        self.used.fetch_add(count, Relaxed);
    }

    /// Gives back what was promised and not used.
    pub(crate) fn unpromise(&self, count: usize) {
        self.used.fetch_sub(count, Relaxed);
    }

    /// The serving thread's id: `/proc/self/task/<id>/fd` shows the table.
    pub(crate) fn tid(&self) -> u32 {
        match self.clerk.tid() {
            // It has just been started: the first answer tells.
            0 => self.call(thread::tid),
            tid => tid,
        }
    }

    /// Closes numbers of the shelf, on return if `wait`.
    pub(crate) fn close(self: &Arc<Self>, numbers: Vec<i32>, wait: Wait) {
        let shelf = Arc::clone(self);
        let job = move || {
            let count = numbers.len();
            close_all(&numbers);
            shelf.used.fetch_sub(count, Relaxed);
        };
        match wait {
            Wait::Yes => self.call(job),
            Wait::No => self.clerk.post(Box::new(job)),
        }
    }

    /// On the shelf's thread: watches a pipe's write end. When the last reader goes, `ring` is
    /// closed.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`, `EAGAIN`.
    pub(crate) fn watch(&self, write_end: i32, ring: RingId) -> SysResult<()> {
        let epoll = self.watcher()?;
        // EPOLLERR need not be asked for. One shot: it stays true.
        raw::epoll_ctl(epoll, g::EPOLL_CTL_ADD, write_end, Some((g::EPOLLONESHOT, ring.0)))
    }

    /// On the shelf's thread: the epoll descriptor, with a thread that waits on it.
    fn watcher(&self) -> SysResult<i32> {
        let mut watch = self.watch.lock();
        if let Some(epoll) = *watch {
            return Ok(epoll);
        }
        let janitor = Arc::clone(&get()?.janitor);
        let epoll = raw::epoll_create()?;
        let spec = Spec { name: Name::new("iou-watcher"), table: Table::Shared, cpu: None };
        let body = move || {
            let _own = own_table();
            // Here and not before: the first ring is not to wait for it.
            watch_forever(epoll, &janitor, Attach::begin(epoll));
        };
        if let Err(e) = thread::spawn(spec, Box::new(body)) {
            let _ = raw::close(epoll);
            return Err(e);
        }
        self.used.fetch_add(1, Relaxed);
        *watch = Some(epoll);
        Ok(epoll)
    }
}

/// Closes numbers of the calling thread's table.
pub(crate) fn close_all(numbers: &[i32]) {
    for number in numbers {
        let _ = raw::close(*number);
    }
}

fn watch_forever(epoll: i32, janitor: &Janitor, mut attach: Option<Attach>) {
    loop {
        let mut events = [g::epoll_event { events: 0, data: 0 }; 16];
        let timeout_ms = attach.as_ref().map_or(-1, Attach::timeout_ms);
        let Ok(n) = raw::epoll_pwait(epoll, &mut events, timeout_ms, None) else { continue };
        for event in events.iter().take(n) {
            let data = event.data;
            if !attach.as_mut().is_some_and(|a| a.event(data)) {
                janitor.ring_closed(RingId(data));
            }
        }
        if let Some(attach) = &mut attach {
            attach.tick();
        }
    }
}

/// Whether a close is done on return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Yes,
    No,
}

/// A file's number in a shelf. Whoever has it must hand it to [`Keeper::close`] in the end.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) number: i32,
}

/// What fstat(2) says about a file, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) mode: u32,
}

impl Facts {
    /// # Errors
    /// `EBADF`.
    pub(crate) fn of(fd: i32) -> SysResult<Self> {
        raw::fstat(fd).map(|st| Self { dev: st.st_dev, ino: st.st_ino, mode: st.st_mode })
    }

    /// The type bits.
    pub(crate) fn kind(&self) -> u32 {
        self.mode & g::S_IFMT
    }
}

/// A file that has just got a home.
pub(crate) type Settled = (Home, Facts);

// --- the keeper ------------------------------------------------------------------------------

/// The socket pair between the application's table and the router's.
#[derive(Debug)]
struct Socket {
    app_end: i32,
    /// Inode of the application's end, against a number that was closed behind our back.
    ino: u64,
    router: Arc<Shelf>,
    router_end: i32,
}

impl Socket {
    /// Makes pair and router. Needs two free numbers for a moment, one for good.
    fn make() -> SysResult<Self> {
        let (app_end, router_end) = raw::socketpair(AF_UNIX, SOCK_SEQPACKET | g::O_CLOEXEC)?;
        let app_end = fdtable::move_high(app_end);
        let made = raw::fstat(app_end)
            .and_then(|st| Shelf::start(&[router_end], 0).map(|router| (st.st_ino, router)));
        let _ = raw::close(router_end);
        match made {
            Ok((ino, router)) => Ok(Self { app_end, ino, router, router_end }),
            Err(e) => {
                fdtable::close_ours(app_end);
                Err(e)
            }
        }
    }

    /// Takes back what [`Socket::make`] made.
    fn unmake(&self) {
        self.router.clerk.stop();
        fdtable::close_ours(self.app_end);
    }

    /// Whether the calling thread's number still is our end.
    fn intact(&self) -> bool {
        raw::fstat(self.app_end)
            .is_ok_and(|st| st.st_ino == self.ino && st.st_mode & g::S_IFMT == g::S_IFSOCK)
    }

    /// From the calling thread's table to the router's, or through it to another shelf's.
    fn up(&self, fds: &[i32], to: &Shelf) -> SysResult<Vec<Looked>> {
        passing::send(self.app_end, fds)?;
        let (app_end, router_end) = (self.app_end, self.router_end);
        if core::ptr::eq(to, &raw const *self.router) {
            return to.call(move || passing::receive(router_end, Cloexec::Yes).and_then(look));
        }
        self.router.call(move || pass_on(router_end))?;
        to.call(move || passing::receive(app_end, Cloexec::Yes).and_then(look))
    }

    /// From the router's table into the socket, for a reader at the application's end.
    fn down(&self, numbers: Vec<i32>) -> SysResult<()> {
        let end = self.router_end;
        self.router.call(move || passing::send(end, &numbers))
    }
}

/// Everything there is, for one process.
#[derive(Debug)]
pub(crate) struct Keeper {
    socket: ForkMutex<Option<Socket>>,
    // Lock order: socket, then shelves.
    shelves: ForkMutex<Vec<Arc<Shelf>>>,
    janitor: Arc<Janitor>,
}

static MAKING: ForkMutex<()> = ForkMutex::new(());

fn existing() -> Option<&'static Keeper> {
    let at = generation::wiped(Wiped::Keeper).load(Acquire);
    let at: *const Keeper = core::ptr::with_exposed_provenance(at);
    // SAFETY: 0, or the address of a leaked box that `get` published in this process.
    unsafe { at.as_ref() }
}

/// The keeper of this process, made when there is none.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`: no thread to be had.
pub(crate) fn get() -> SysResult<&'static Keeper> {
    if let Some(keeper) = existing() {
        return Ok(keeper);
    }
    let _one = MAKING.lock();
    if let Some(keeper) = existing() {
        return Ok(keeper);
    }
    // First of all, while nobody shares the application's table in a single-threaded program: see
    // `fdtable::prepare`. No socket now is no reason to give up: files can be carried.
    let socket = Socket::make().ok();
    let shelves = socket.iter().map(|s| Arc::clone(&s.router)).collect();
    let janitor = Janitor::start().inspect_err(|_| socket.iter().for_each(Socket::unmake))?;
    let new = Box::new(Keeper {
        socket: ForkMutex::new(socket),
        shelves: ForkMutex::new(shelves),
        janitor,
    });
    let keeper: &'static Keeper = Box::leak(new);
    let at = core::ptr::from_ref(keeper).expose_provenance();
    generation::wiped(Wiped::Keeper).store(at, Release);
    Ok(keeper)
}

/// Something was unmapped: rings that were kept alive by a mapping may go now. Cheap.
pub fn poke() {
    if let Some(keeper) = existing() {
        keeper.janitor.poke();
    }
}

/// A ring has a reader of its own for a while: see `ringobj`.
pub(crate) fn sweep_readers() {
    if let Some(keeper) = existing() {
        keeper.janitor.sweep();
    }
}

/// A ring's numbers are in the application's table, and want a shelf: see `ringobj`.
pub(crate) fn home_soon(ring: RingId) {
    if let Some(keeper) = existing() {
        keeper.janitor.home_soon(ring);
    }
}

/// The number that a private thread's table must keep, so that files can be borrowed there.
pub fn private_keep() -> Option<i32> {
    get().ok()?.with_socket(|s| Ok(s.app_end)).ok()
}

/// Does something in the application's table: at once, or soon if the calling thread has another.
pub(crate) fn in_app_table_do(job: impl FnOnce() + Send + 'static) {
    if in_app_table() {
        job();
    } else if let Some(keeper) = existing() {
        keeper.janitor.post(Box::new(job));
    }
}

/// Closes a number of ours in the application's table, from any thread.
pub(crate) fn close_in_app_table(number: i32) {
    in_app_table_do(move || fdtable::close_ours(number));
}

impl Keeper {
    /// Runs `f` with the socket; makes a new one where the old was closed by the application.
    ///
    /// # Errors
    /// `EMFILE`: there is none and none can be made from here.
    fn with_socket<R>(&self, f: impl FnOnce(&Socket) -> SysResult<R>) -> SysResult<R> {
        let mut socket = self.socket.lock();
        if socket.as_ref().is_none_or(|s| !s.intact()) {
            // The janitor works behind the application's back.
            if !in_app_table() || self.janitor.is_me() {
                return Err(Errno::EMFILE);
            }
            let new = Socket::make().map_err(|_| Errno::EMFILE)?;
            self.shelves.lock().insert(0, Arc::clone(&new.router));
            *socket = Some(new);
        }
        socket.as_ref().map_or(Err(Errno::EMFILE), f)
    }

    /// The first shelf with any room that `suits`, and how many of `count` numbers it promises.
    fn reserve_some(
        &self,
        count: usize,
        suits: impl Fn(&Shelf) -> bool,
    ) -> SysResult<(Arc<Shelf>, usize)> {
        let shelves = self.shelves.lock();
        let mut rooms = shelves.iter().filter(|s| suits(s)).map(|s| (s, s.room()));
        let (shelf, room) = rooms.find(|(_, room)| *room > 0).ok_or(Errno::EMFILE)?;
        let count = count.min(room);
        shelf.used.fetch_add(count, Relaxed);
        Ok((Arc::clone(shelf), count))
    }

    fn new_shelf(&self, keep: &[i32]) -> SysResult<Arc<Shelf>> {
        let (app_end, ino) =
            self.with_socket(|s| Ok((Some(s.app_end), s.ino))).unwrap_or((None, 0));
        let keep: Vec<i32> = keep.iter().copied().chain(app_end).collect();
        let shelf = Shelf::start(&keep, ino)?;
        self.shelves.lock().push(Arc::clone(&shelf));
        Ok(shelf)
    }

    /// A shelf that can take `count` numbers more, promised to the caller; or an empty one, where
    /// the limit lets none take so many. Who uses nothing of it hands it to [`Keeper::retire`].
    ///
    /// # Errors
    /// `EAGAIN`, `ENOMEM`: no thread to be had.
    pub(crate) fn shelf_for(&self, count: usize) -> SysResult<Arc<Shelf>> {
        let promised = |s: &Shelf| s.used.fetch_add(count, Relaxed);
        let suits = |s: &&Arc<Shelf>| s.room() >= count || s.as_new();
        if let Some(shelf) = self.shelves.lock().iter().find(suits) {
            promised(shelf);
            return Ok(Arc::clone(shelf));
        }
        let shelf = self.new_shelf(&[])?;
        promised(&shelf);
        Ok(shelf)
    }

    /// Opens files once more in a shelf's table: numbers of ours in the calling thread's, each with the
    /// flags to open it with. What there was is the caller's to close.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOMEM`: no thread to be had.
    pub(crate) fn take_in(&self, files: &[(i32, u32)]) -> SysResult<(Arc<Shelf>, Vec<i32>)> {
        let (shelf, count, tid) = (self.shelf_for(files.len())?, files.len(), thread::tid());
        let wanted = files.to_vec();
        let opened = shelf.call(move || {
            let mut there = Vec::new();
            let all = wanted.into_iter().try_for_each(|(number, flags)| {
                let path = proc_path(tid, number);
                raw::openat(g::AT_FDCWD, &path, flags, 0).map(|new| there.push(new))
            });
            all.map(|()| there.clone()).inspect_err(|_| close_all(&there))
        });
        if let Ok(there) = opened {
            return Ok((shelf, there));
        }
        // Of another pid namespace's /proc, or of another user: a copy of the table has them.
        shelf.unpromise(count);
        self.retire(&shelf);
        let numbers: Vec<i32> = files.iter().map(|(number, _)| *number).collect();
        Ok((self.new_shelf(&numbers)?, numbers))
    }

    /// Gives the files behind numbers of the calling thread's table a home, all or none.
    ///
    /// # Errors
    /// `EBADF`: a closed number, an `O_PATH` file or a ring. `EAGAIN`, `ENOMEM`.
    pub(crate) fn bring(&self, fds: &[i32]) -> SysResult<Vec<Settled>> {
        let mut homes: Vec<Settled> = Vec::new();
        homes.try_reserve(fds.len()).map_err(|_| Errno::ENOMEM)?;
        let mut rest = fds;
        while !rest.is_empty() {
            match self.bring_some(rest) {
                Ok(mut some) => {
                    rest = rest.get(some.len()..).unwrap_or(&[]);
                    homes.append(&mut some);
                }
                Err(e) => {
                    self.close(homes.into_iter().map(|(home, _)| home).collect(), Wait::Yes);
                    return Err(e);
                }
            }
        }
        Ok(homes)
    }

    fn bring_some(&self, fds: &[i32]) -> SysResult<Vec<Settled>> {
        match self.send(fds) {
            // The socket could not (`EMFILE`, `ETOOMANYREFS`, ...): a clone can.
            Err(e) if e != Errno::EBADF => self.carry(fds),
            done => done,
        }
    }

    /// By the socket.
    fn send(&self, fds: &[i32]) -> SysResult<Vec<Settled>> {
        self.with_socket(|socket| {
            let router = &*socket.router;
            let reach = |s: &Shelf| core::ptr::eq(s, router) || s.socket == socket.ino;
            // In transit through a full router, a few of its spare numbers are used.
            let most = passing::BATCH.min(router.room().max(SPARE / 2));
            let (shelf, count) = self.reserve_some(fds.len().min(most), reach)?;
            let fds = fds.get(..count).unwrap_or(fds);
            match socket.up(fds, &shelf) {
                Ok(looked) => Ok(settled(&shelf, looked)),
                Err(e) => {
                    shelf.unpromise(count);
                    // EINVAL: a ring of the kernel's own, which may not be passed.
                    Err(if e == Errno::EINVAL { Errno::EBADF } else { e })
                }
            }
        })
    }

    /// By cloning a shelf from the calling thread, which keeps the numbers themselves.
    fn carry(&self, fds: &[i32]) -> SysResult<Vec<Settled>> {
        let limit = raw::rlimit(g::RLIMIT_NOFILE).map_or(64, |(soft, _)| soft);
        let most = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(2 * SPARE).max(1);
        let fds = fds.get(..most.min(fds.len())).unwrap_or(fds);
        fds.iter().try_for_each(|fd| acceptable(*fd).map(drop))?;
        let shelf = self.new_shelf(fds)?;
        let numbers = fds.to_vec();
        match shelf.call(move || look(numbers)) {
            Ok(looked) => Ok(settled(&shelf, looked)),
            Err(e) => {
                shelf.unpromise(fds.len());
                self.retire(&shelf);
                Err(e)
            }
        }
    }

    /// Puts a home's file into the calling thread's table, at the lowest free number.
    ///
    /// # Errors
    /// `EMFILE`: no free number, or the home cannot be reached from here. `ENOMEM`.
    pub(crate) fn fetch(&self, home: &Home, cloexec: Cloexec) -> SysResult<i32> {
        let number = home.number;
        self.with_socket(|socket| {
            if Arc::ptr_eq(&home.shelf, &socket.router) {
                socket.down(rust_alloc::vec![number])?;
            } else if home.shelf.socket == socket.ino {
                let (end, back) = (socket.app_end, socket.router_end);
                home.shelf.call(move || passing::send(end, &[number]))?;
                socket.router.call(move || pass_on(back))?;
            } else {
                return Err(Errno::EMFILE);
            }
            let got = passing::receive(socket.app_end, cloexec)?;
            got.first().copied().ok_or(Errno::EMFILE)
        })
    }

    /// Closes homes.
    pub(crate) fn close(&self, mut homes: Vec<Home>, wait: Wait) {
        while let Some(first) = homes.pop() {
            let shelf = first.shelf;
            let mut numbers = rust_alloc::vec![first.number];
            homes.retain(|h| {
                let here = Arc::ptr_eq(&h.shelf, &shelf);
                if here {
                    numbers.push(h.number);
                }
                !here
            });
            shelf.close(numbers, wait);
            self.retire(&shelf);
        }
    }

    /// Ends a shelf that was cloned for files which are all gone.
    pub(crate) fn retire(&self, shelf: &Arc<Shelf>) {
        let mut shelves = self.shelves.lock();
        // The first stays, which is the router if there is one; so does a shelf with rings, or a watcher.
        let first = shelves.first().is_some_and(|first| Arc::ptr_eq(first, shelf));
        if first || shelf.used.load(Relaxed) > shelf.own() {
            return;
        }
        shelves.retain(|s| !Arc::ptr_eq(s, shelf));
        shelf.clerk.stop();
    }

    /// The threads with the tables, all that was posted to them done.
    #[cfg(test)]
    pub(crate) fn shelf_tids(&self) -> Vec<u32> {
        self.shelves.lock().iter().map(|s| s.call(thread::tid)).collect()
    }
}

/// Sends descriptors over a socket of a test's.
#[cfg(test)]
pub(crate) fn send_for_test(socket: i32, fds: &[i32]) {
    assert_eq!(passing::send(socket, fds), Ok(()));
}

/// On the router's thread: hands a message's files back into the socket, for another reader.
fn pass_on(router_end: i32) -> SysResult<()> {
    let transit = passing::receive(router_end, Cloexec::Yes)?;
    let sent = passing::send(router_end, &transit);
    close_all(&transit);
    sent
}

/// A number that may stay, with what it is.
type Looked = (i32, Facts);

/// On a shelf's thread, where nobody can exchange them any more: all files may stay, or all are
/// closed.
fn look(numbers: Vec<i32>) -> SysResult<Vec<Looked>> {
    let facts: SysResult<Vec<Looked>> =
        numbers.iter().map(|n| acceptable(*n).map(|facts| (*n, facts))).collect();
    facts.inspect_err(|_| close_all(&numbers))
}

fn settled(shelf: &Arc<Shelf>, looked: Vec<Looked>) -> Vec<Settled> {
    let home = |(number, facts)| (Home { shelf: Arc::clone(shelf), number }, facts);
    looked.into_iter().map(home).collect()
}

/// Whether the file may be registered, and what it is.
fn acceptable(fd: i32) -> SysResult<Facts> {
    let flags = raw::fcntl(fd, g::F_GETFL, 0)?.cast_unsigned();
    if flags & g::O_PATH != 0 || fdtable::ring_of_file(fd)?.is_some() {
        return Err(Errno::EBADF);
    }
    Facts::of(fd)
}
