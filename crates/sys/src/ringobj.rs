//! A ring's memory and descriptor.
//!
//! ```text
//!  memfd   0            rings: heads, tails, CQEs, index array     engine's view and the
//!          0x10000000   SQEs                                       application's: one memory
//!  pipe    read end, reopened O_RDWR: the application's descriptor (idle: POLLOUT only)
//!          write end: in the keeper's table; EPOLLERR there is the ring's last close
//!          second write end, high in the app table, once somebody polls: makes it readable
//! ```
//!
//! memfd and write end live in the keeper's table, which also makes every mapping: threads share
//! memory, so it does not matter who calls mmap, and the application's table needs one number for
//! a ring, as with the kernel. The usual mmap of the application duplicates the engine's view, which
//! needs no descriptor.
//!
//! **Young rings.** A ring is made in the application's table, with write end and memfd high in it, so that
//! io_uring_setup waits for no other thread and the first ring of a process for none to begin. Its
//! numbers come into a shelf soon (janitor), or before anything else is done with them:
//!
//! ```text
//!   young -- janitor, or who needs its write end or its memfd ---> at home
//!     '----- closed before that: the janitor sees it ------------> ended, without a shelf
//! ```
//!
//! **Readable byte.** Who writes and drops it when: `readiness`. A ring that nobody polls costs one
//! load per posted batch; the interposed epoll_ctl, poll and select say who polls. Draining needs a reader, and a reader of ours hides the last
//! close: it is made at the first drain and closed by the janitor when some 4 ms passed without
//! one, so that only the end of a ring in use is seen that much later. After draining, the CQ is
//! looked at again, so that a CQE posted meanwhile keeps its byte. Numbers in the app table are
//! checked by their inode before each use: a byte must not go into a file of the application that
//! took the number after an inline `close`.
//!
//! What it does not do: post CQEs, decide when a ring ends, or follow numbers (`fdtable`).

mod bufring;
mod memory;
mod region;
#[cfg(test)]
pub(crate) mod tests;

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicI32, AtomicUsize};
use rust_alloc::boxed::Box;
use rust_alloc::sync::Arc;
use rust_alloc::vec::Vec;

use ringer_engine::host::{HostCommons as _, HostPages, HostRing, RingId, RingSpec};
use ringer_ring::{Geometry, Map};
use ringer_uapi::flags::SqRing;
use ringer_uapi::{
    Errno, OFF_CQ_RING, OFF_MMAP_MASK, OFF_PARAM_REGION, OFF_PBUF_RING, OFF_PBUF_SHIFT,
    OFF_SQ_RING, OFF_SQES,
};

use crate::fdtable;
use crate::generation::{self, Wiped};
use crate::keeper::{self, Shelf, Wait};
use crate::kin::{LinuxCommons, Shared, Views};
use crate::lock::ForkMutex;
use crate::raw::{self, PAGE, SysResult, general as g};
use crate::readiness::{Descriptor, Readiness};
use bufring::BufRings;
use memory::Memory;
pub(crate) use memory::proc_path;
pub use memory::{owns_user_ring, unmap_around};
use region::Region;

/// No number.
const NONE: i32 = -1;

/// See the module's doc.
#[derive(Debug)]
pub struct LinuxRing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: RingId,
    /// What the descriptor shows.
    shown: ForkMutex<Shown>,
    /// What was registered beside them.
    region: ForkMutex<Option<Region>>,
    buf_rings: BufRings,
    /// Its numbers. Lock order: this, then `shown`.
    ends: ForkMutex<Ends>,
    readiness: Readiness,
    /// Where its [`Shared`] lies, 0 for nowhere.
    commons: AtomicUsize,
    /// The pipe's device and inode.
    pipe: (u64, u64),
    /// A second write end in the app table, once somebody polls.
    doorbell: AtomicI32,
    /// A read end in the app table, while drains are frequent.
    reader: ForkMutex<Reader>,
    generation: u32,
}

/// Memory, as whoever maps or waits on descriptors finds it. The lock is held while they look into it,
/// and while the probe for other mappings hides it.
#[derive(Debug)]
struct Shown {
    memory: Arc<Memory>,
    /// Its pages are gone.
    gone: bool,
}

/// The memory of a ring, as its engine has it.
#[derive(Debug)]
pub struct LinuxPages(Arc<Memory>);

impl HostPages for LinuxPages {
    #[inline]
    fn rings(&self) -> &Map {
        self.0.rings()
    }

    #[inline]
    fn sqes(&self) -> &Map {
        self.0.sqes()
    }
}

/// The ends of a ring's pipe that are ours.
#[derive(Debug)]
struct Ends {
    write_end: WriteEnd,
    /// In the shelf's table until the application has its own, and while somebody keeps the ring.
    read_end: Option<i32>,
    /// How often the ring is kept alive.
    kept: u32,
}

/// Where a write end is.
#[derive(Debug)]
enum WriteEnd {
    /// High in the application's table. The ring has no descriptor yet, or has one.
    Young(i32, Named),
    /// In a shelf's.
    Home(Home),
}

/// Whether the application was given a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    No,
    Yes,
}

/// A write end's number in a shelf's table.
#[derive(Clone, Debug)]
struct Home {
    shelf: Arc<Shelf>,
    write_end: i32,
}

/// What became of a young ring's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Housed {
    /// A shelf has them.
    AtHome,
    /// Nobody has the ring any more.
    Closed,
    /// There is no shelf to be had now.
    Not,
}

#[derive(Debug, Default)]
struct Reader {
    number: Option<i32>,
    /// Since the janitor looked last.
    used: bool,
}

/// The rings of this process.
type Rings = ForkMutex<Vec<Arc<Inner>>>;

fn rings() -> &'static Rings {
    let word = generation::wiped(Wiped::Rings);
    loop {
        let at: *const Rings = core::ptr::with_exposed_provenance(word.load(Acquire));
        // SAFETY: 0, or the address of a leaked box that was published below in this process.
        if let Some(rings) = unsafe { at.as_ref() } {
            return rings;
        }
        let new: *const Rings = Box::leak(Box::new(ForkMutex::new(Vec::new())));
        // A lost race leaks an empty list, once.
        let _ = word.compare_exchange(0, new.expose_provenance(), Release, Relaxed);
    }
}

fn find(id: RingId) -> Option<Arc<Inner>> {
    rings().lock().iter().find(|r| r.id == id).map(Arc::clone)
}

// --- making ----------------------------------------------------------------------------------

/// Numbers of a shelf that one ring uses: memfd, write end, read end.
const NUMBERS: usize = 3;

/// Makes memory and descriptor of a ring; the descriptor is not in the app table yet.
///
/// # Errors
/// `ENOMEM`, `EMFILE`, `ENFILE`, `EAGAIN`; `EFAULT` for unusable user memory.
pub fn create(spec: &RingSpec) -> SysResult<(LinuxRing, LinuxPages)> {
    let young = if has_young_rings() { make_young(spec)? } else { None };
    let (memory, ends, pipe) = young.map_or_else(|| make_at_home(spec), Ok)?;
    let pages = LinuxPages(Arc::new(memory));
    Ok((entered(spec.id, (pipe, 0), ends, &pages), pages))
}

/// A ring of this process, known as one from here on, by its pipe and where its [`Shared`] lies.
fn entered(
    id: RingId,
    (pipe, commons): ((u64, u64), usize),
    ends: Ends,
    pages: &LinuxPages,
) -> LinuxRing {
    let inner = Arc::new(Inner {
        id,
        shown: ForkMutex::new(Shown { memory: Arc::clone(&pages.0), gone: false }),
        region: ForkMutex::new(None),
        buf_rings: BufRings::default(),
        ends: ForkMutex::new(ends),
        readiness: Readiness::new(),
        commons: AtomicUsize::new(commons),
        pipe,
        doorbell: AtomicI32::new(NONE),
        reader: ForkMutex::default(),
        generation: generation::current(),
    });
    rings().lock().push(Arc::clone(&inner));
    LinuxRing(inner)
}

/// What a ring is made of: its pipe's device and inode among it.
type Made = (Memory, Ends, (u64, u64));

/// Whether the calling thread's numbers are the application's, and are so many that two more for a
/// moment are missed by nobody.
fn has_young_rings() -> bool {
    const ENOUGH: u64 = 256;
    let limit = raw::rlimit(g::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    limit >= ENOUGH && keeper::in_app_table()
}

/// A young ring; `None`: not here (no two free numbers, or none that are high).
fn make_young(spec: &RingSpec) -> SysResult<Option<Made>> {
    let RingSpec { id, geometry, user_memory } = *spec;
    let memory = match user_memory {
        Some(at) => Memory::user(&geometry, at, |_| Ok(()))?,
        None => match Memory::young(&geometry) {
            Ok(memory) => memory,
            Err(_) => return Ok(None),
        },
    };
    let Ok((read_end, write_end)) = raw::pipe2(g::O_CLOEXEC | g::O_NONBLOCK) else {
        return Ok(None);
    };
    let made = raw::fstat(write_end).and_then(|st| Ok((st, fdtable::take_high(write_end)?)));
    let _ = raw::close(read_end);
    let Ok((st, high)) = made else {
        let _ = raw::close(write_end);
        return Ok(None);
    };
    // Whoever asks for a ring is told that there is no thread to be had for it.
    keeper::get().inspect_err(|_| fdtable::close_ours(high))?;
    fdtable::add_ring(&st, id);
    let write_end = WriteEnd::Young(high, Named::No);
    let ends = Ends { write_end, read_end: None, kept: 0 };
    Ok(Some((memory, ends, (st.st_dev, st.st_ino))))
}

/// A ring whose numbers are a shelf's from the start.
fn make_at_home(spec: &RingSpec) -> SysResult<Made> {
    let keeper = keeper::get()?;
    let shelf = keeper.shelf_for(NUMBERS)?;
    let (memory, Pipe { read_end, write_end, id: pipe }) =
        made(&shelf, spec).inspect_err(|_| {
            // What was made is closed by then.
            shelf.call(|| ());
            shelf.unpromise(NUMBERS);
            keeper.retire(&shelf);
        })?;
    // The memory has promised its own.
    shelf.unpromise(NUMBERS - 2);
    let write_end = WriteEnd::Home(Home { shelf, write_end });
    Ok((memory, Ends { write_end, read_end: Some(read_end), kept: 0 }, pipe))
}

/// Memory and pipe, in one visit to the shelf.
fn made(shelf: &Arc<Shelf>, spec: &RingSpec) -> SysResult<(Memory, Pipe)> {
    let RingSpec { id, geometry, user_memory } = *spec;
    let user = user_memory.map(|at| Memory::user(&geometry, at, |_| Ok(()))).transpose()?;
    let home = Arc::clone(shelf);
    shelf.call(move || {
        let memory = user.map_or_else(|| Memory::memfd(&home, &geometry), Ok)?;
        pipe(&home, id).map(|pipe| (memory, pipe))
    })
}

/// Numbers of a shelf's, and device and inode.
struct Pipe {
    read_end: i32,
    write_end: i32,
    id: (u64, u64),
}

/// On a shelf's thread: a pipe, small, watched for its last close, and known as ring `id`.
fn pipe(shelf: &Shelf, id: RingId) -> SysResult<Pipe> {
    let (read_end, write_end) = raw::pipe2(g::O_CLOEXEC | g::O_NONBLOCK)?;
    // The shelf's own read end keeps it from being closed before the application has one.
    match watch(shelf, write_end, id).and_then(|()| raw::fstat(write_end)) {
        Ok(st) => {
            fdtable::add_ring(&st, id);
            Ok(Pipe { read_end, write_end, id: (st.st_dev, st.st_ino) })
        }
        Err(e) => {
            // In this order, so that the watcher sees nothing.
            let _ = raw::close(write_end);
            let _ = raw::close(read_end);
            Err(e)
        }
    }
}

/// On a shelf's thread: has a pipe be small, and watched for its last close.
fn watch(shelf: &Shelf, write_end: i32, id: RingId) -> SysResult<()> {
    // Little counts least against the user's pipe limit (refusal does no harm), but one byte must
    // not make the pipe full: POLLOUT would go.
    let _ = raw::fcntl(write_end, g::F_SETPIPE_SZ, 2 * PAGE);
    shelf.watch(write_end, id)
}

/// For the janitor: has a shelf take a young ring's numbers.
pub(crate) fn give_home(id: RingId) -> Housed {
    let Some(ring) = find(id) else { return Housed::AtHome };
    let mut ends = ring.ends.lock();
    match ends.write_end {
        WriteEnd::Home(_) => Housed::AtHome,
        WriteEnd::Young(number, _) if ring.is_pipe(number) && has_no_reader(number) => {
            Housed::Closed
        }
        WriteEnd::Young(..) => match ring.settle(&mut ends) {
            Ok(_) => Housed::AtHome,
            Err(Errno::EBADF) => Housed::Closed,
            Err(_) => Housed::Not,
        },
    }
}

/// Whether a pipe's last reader went.
fn has_no_reader(write_end: i32) -> bool {
    let mut fds = [g::pollfd { fd: write_end, events: 0, revents: 0 }];
    let _ = raw::poll(&mut fds, 0);
    fds.iter().any(|fd| fd.revents & POLLERR != 0)
}

/// Makes what this process needs of a ring that the one it was forked from shared.
///
/// # Errors
/// `EOWNERDEAD`: it was not shared. `EEXIST`: another thread was first. `ENOMEM`, `EMFILE`, `ENFILE`.
pub fn adopt(
    fd: i32,
    id: RingId,
    geometry: impl FnOnce(&Map) -> Geometry,
) -> SysResult<(LinuxRing, LinuxPages, LinuxCommons)> {
    static ADOPTING: ForkMutex<()> = ForkMutex::new(());
    let _one = ADOPTING.lock();
    let st = raw::fstat(fd)?;
    if fdtable::ring_of_pipe(st.st_dev, st.st_ino).is_some() {
        return Err(Errno::EEXIST);
    }
    let at = fdtable::commons_of(&st);
    let shared = Shared::at(at).ok_or(Errno::EOWNERDEAD)?;
    let commons = LinuxCommons::of(shared)?;
    let geometry = geometry(commons.words());
    let Views { rings: (_, most), sqes: (_, most_sqes), .. } = shared.views;
    if geometry.rings_len() > most || geometry.sqes_len() > most_sqes {
        // Somebody scribbled over its sizes.
        return Err(Errno::EOWNERDEAD);
    }
    let shelf = keeper::get()?.shelf_for(1)?;
    // The calling thread's table is the application's, or it could not name the number.
    let (home, path) = (Arc::clone(&shelf), proc_path(crate::thread::tid(), fd));
    let opened = shelf.call(move || {
        let end = raw::openat(g::AT_FDCWD, &path, g::O_WRONLY | g::O_NONBLOCK | g::O_CLOEXEC, 0)?;
        home.watch(end, id).map(|()| end).inspect_err(|_| {
            let _ = raw::close(end);
        })
    });
    let write_end = opened.inspect_err(|_| shelf.unpromise(1))?;
    let pages = LinuxPages(Arc::new(Memory::inherited(&geometry, &shared.views)?));
    let write_end = WriteEnd::Home(Home { shelf, write_end });
    let ends = Ends { write_end, read_end: None, kept: 0 };
    let ring = entered(id, ((st.st_dev, st.st_ino), at), ends, &pages);
    fdtable::adopt_ring(&st, id);
    fdtable::bind(fd, id);
    Ok((ring, pages, commons))
}

/// Puts the ring's descriptor at the lowest free number of the app table, close-on-exec.
///
/// # Errors
/// `EMFILE`, `ENFILE`; `ENOMEM` without /proc and without the keeper's socket.
pub fn install(ring: &LinuxRing) -> SysResult<i32> {
    let inner = &ring.0;
    let mut ends = inner.ends.lock();
    let WriteEnd::Young(number, _) = ends.write_end else {
        drop(ends);
        return install_from_home(inner);
    };
    let opened = raw::openat(g::AT_FDCWD, &own_path(number), INSTALLED, 0);
    if opened.is_ok() {
        ends.write_end = WriteEnd::Young(number, Named::Yes);
    }
    drop(ends);
    match opened {
        Ok(fd) => {
            fdtable::bind(fd, inner.id);
            keeper::home_soon(inner.id);
            Ok(fd)
        }
        Err(e @ (Errno::EMFILE | Errno::ENFILE)) => Err(e),
        // What cannot be opened by its path comes by the socket.
        Err(_) => install_from_home(inner),
    }
}

fn install_from_home(inner: &Inner) -> SysResult<i32> {
    let home = inner.home()?;
    let end = inner.ends.lock().read_end.unwrap_or(home.write_end);
    let fd = match reopen(&home.shelf, end, INSTALLED) {
        Ok(fd) => fd,
        Err(e @ (Errno::EMFILE | Errno::ENFILE)) => return Err(e),
        // /proc of another pid namespace counts our threads differently: the keeper's own view of
        // itself is always right.
        Err(_) => {
            let keeper = keeper::get()?;
            let own =
                home.shelf.call(move || raw::openat(g::AT_FDCWD, &own_path(end), INSTALLED, 0));
            let home = keeper::Home { shelf: Arc::clone(&home.shelf), number: own? };
            let fetched = keeper.fetch(&home, keeper::Cloexec::Yes);
            home.shelf.promise(1);
            keeper.close(rust_alloc::vec![home], Wait::Yes);
            fetched?
        }
    };
    fdtable::bind(fd, inner.id);
    // From here on the last close is the application's. Nobody need wait for that.
    let own = inner.ends.lock().read_end.take();
    home.shelf.close(own.into_iter().collect(), Wait::No);
    Ok(fd)
}

/// Opens a pipe end of a shelf's table once more, into the calling thread's.
fn reopen(shelf: &Shelf, number: i32, flags: u32) -> SysResult<i32> {
    raw::openat(g::AT_FDCWD, &proc_path(shelf.tid(), number), flags, 0)
}

/// A path to a number of the calling thread's own, for that thread only.
fn own_path(number: i32) -> memory::ProcPath {
    memory::thread_self_path(number)
}

impl Drop for LinuxRing {
    fn drop(&mut self) {
        if self.0.generation == generation::current() {
            rings().lock().retain(|r| !Arc::ptr_eq(r, &self.0));
            fdtable::forget_ring(self.0.id);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.generation != generation::current() {
            // A forked child: descriptors and mappings are the parent's.
            return;
        }
        let doorbell = Some(self.doorbell.swap(NONE, Relaxed)).filter(|number| *number != NONE);
        for number in [doorbell, self.reader.lock().number.take()].into_iter().flatten() {
            close_file(number, self.pipe);
        }
        let region = self.region.lock().take();
        if let Some(region) = &region {
            region.unmap();
        }
        self.buf_rings.clear();
        let mut ends = self.ends.lock();
        let kept = [ends.read_end.take(), region.and_then(|region| region.number())];
        match &ends.write_end {
            WriteEnd::Young(number, _) => close_file(*number, self.pipe),
            WriteEnd::Home(home) => {
                let numbers = kept.into_iter().flatten().chain([home.write_end]).collect();
                home.shelf.close(numbers, Wait::No);
            }
        }
        drop(ends);
        if let Some(shared) = self.shared() {
            shared.unmap();
        }
    }
}

// --- readable --------------------------------------------------------------------------------

impl Inner {
    /// Whether a number of the app table still is this ring's pipe.
    fn is_pipe(&self, number: i32) -> bool {
        is_file(number, self.pipe)
    }

    /// Its shelf, which a young ring gets now.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOMEM`: no thread to be had; `EBADF`: it is young, and cannot be reached from here.
    fn home(&self) -> SysResult<Home> {
        let mut ends = self.ends.lock();
        match &ends.write_end {
            WriteEnd::Home(home) => Ok(home.clone()),
            WriteEnd::Young(..) => self.settle(&mut ends),
        }
    }

    /// Has a shelf take what a young ring has in the application's table.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOMEM`: no thread to be had; `EBADF`: its write end is no more.
    #[cold]
    fn settle(&self, ends: &mut Ends) -> SysResult<Home> {
        let WriteEnd::Young(number, named) = ends.write_end else { return Err(Errno::EBADF) };
        if !keeper::in_app_table() || !self.is_pipe(number) {
            return Err(Errno::EBADF);
        }
        let memory = Arc::clone(&self.shown.lock().memory);
        let memfd = memory.young_number().map(|fd| (fd, g::O_RDWR | g::O_CLOEXEC));
        // Without a reader there would be no write end: a ring without a descriptor has one of ours.
        let reader = (named == Named::No).then_some((number, READER));
        let files = [reader, Some((number, DOORBELL)), memfd];
        let files: Vec<(i32, u32)> = files.into_iter().flatten().collect();
        let (shelf, there) = keeper::get()?.take_in(&files)?;
        let mut left = there.iter().copied();
        let read_end = reader.and_then(|_| left.next());
        let write_end = left.next().ok_or(Errno::EBADF)?;
        let (on, id) = (Arc::clone(&shelf), self.id);
        let watched = shelf.call(move || watch(&on, write_end, id));
        watched.inspect_err(|_| shelf.close(there.clone(), Wait::Yes))?;
        if let Some(fd) = left.next() {
            memory.settle(fd, &shelf);
        }
        fdtable::close_ours(number);
        ends.read_end = read_end;
        let home = Home { shelf, write_end };
        ends.write_end = WriteEnd::Home(home.clone());
        Ok(home)
    }

    /// In the app table. `false`: no reader is to be had here.
    fn drain_here(&self) -> bool {
        let mut reader = self.reader.lock();
        let number = match reader.number.filter(|number| self.is_pipe(*number)) {
            Some(number) => number,
            None => {
                let opened =
                    self.home().and_then(|home| reopen(&home.shelf, home.write_end, READER));
                let Ok(fd) = opened else { return false };
                let number = fdtable::move_high(fd);
                reader.number = Some(number);
                keeper::sweep_readers();
                number
            }
        };
        reader.used = true;
        empty(number);
        true
    }

    fn drain_at_home(&self) {
        // A young one that cannot be reached from here was never polled.
        let Ok(Home { shelf, write_end }) = self.home() else { return };
        shelf.call(move || {
            if let Ok(fd) = raw::openat(g::AT_FDCWD, &own_path(write_end), READER, 0) {
                empty(fd);
                let _ = raw::close(fd);
            }
        });
    }

    /// What is known of it if other processes have it, too.
    #[inline]
    fn shared(&self) -> Option<&'static Shared> {
        Shared::at(self.commons.load(Relaxed))
    }

    /// Whether somebody waits on the descriptor in a process that has the ring, too.
    #[inline]
    fn polled_elsewhere(&self) -> bool {
        self.shared().is_some_and(Shared::is_polled)
    }

    /// Somebody is about to wait on the descriptor.
    fn polled(self: &Arc<Self>) {
        if !self.readiness.is_polled() {
            self.begin_polled();
        }
        if let Some(shared) = self.shared() {
            shared.set_polled();
            self.readiness.mistrust(self);
        }
        self.readiness.look(self);
    }

    /// io_uring.h `io_sqring_full`.
    fn sq_full(&self) -> bool {
        let shown = self.shown.lock();
        if shown.gone {
            return false;
        }
        let (rings, geometry) = (shown.memory.rings(), shown.memory.geometry());
        let at = geometry.sq_offsets();
        // Acquire: as the application's own look.
        let word = |off: u32| rings.w32(off as usize).load(Acquire);
        word(at.tail).wrapping_sub(word(at.head)) == geometry.sq_entries
    }

    /// In the app table: makes a ring readable for which there is no shelf to be had.
    fn fill_young(&self) {
        if let WriteEnd::Young(number, _) = self.ends.lock().write_end
            && self.is_pipe(number)
        {
            let _ = raw::write(number, &[0]);
        }
        self.readiness.arrived();
    }

    #[cold]
    fn begin_polled(&self) {
        if keeper::in_app_table()
            && let Ok(home) = self.home()
            && let Ok(fd) = reopen(&home.shelf, home.write_end, DOORBELL)
        {
            let high = fdtable::move_high(fd);
            if self.doorbell.compare_exchange(NONE, high, Release, Relaxed).is_err() {
                fdtable::close_ours(high);
            }
        }
        self.readiness.begin();
    }
}

impl Descriptor for Arc<Inner> {
    fn fill(&self) {
        let doorbell = self.doorbell.load(Acquire);
        if doorbell != NONE && keeper::in_app_table() && self.is_pipe(doorbell) {
            // A full pipe is readable as well.
            let _ = raw::write(doorbell, &[0]);
            self.readiness.arrived();
        } else {
            let ring = Arc::clone(self);
            match self.home() {
                Ok(home) => home.shelf.post(move || {
                    let _ = raw::write(home.write_end, &[0]);
                    ring.readiness.arrived();
                }),
                Err(_) => keeper::in_app_table_do(move || ring.fill_young()),
            }
        }
    }

    fn empty(&self) {
        if !(keeper::in_app_table() && self.drain_here()) {
            self.drain_at_home();
        }
    }

    fn cq_empty(&self) -> bool {
        let shown = self.shown.lock();
        if shown.gone {
            return true;
        }
        let (rings, geometry) = (shown.memory.rings(), shown.memory.geometry());
        let at = geometry.cq_offsets();
        // What a flush of the backlog would bring counts, too.
        let flags = rings.w32(geometry.sq_offsets().flags as usize).load(Relaxed);
        if flags & SqRing::CQ_OVERFLOW.bits() != 0 {
            return false;
        }
        // Acquire: pairs with the Release of the post that stored the tail.
        rings.w32(at.tail as usize).load(Acquire) == rings.w32(at.head as usize).load(Acquire)
    }
}

/// The device and inode behind a number of the calling thread's.
fn file_of(number: i32) -> SysResult<(u64, u64)> {
    raw::fstat(number).map(|st| (st.st_dev, st.st_ino))
}

fn is_file(number: i32, file: (u64, u64)) -> bool {
    file_of(number) == Ok(file)
}

/// Closes a number of ours in the app table, from any thread, if it still is that file.
fn close_file(number: i32, file: (u64, u64)) {
    keeper::in_app_table_do(move || {
        if is_file(number, file) {
            fdtable::close_ours(number);
        }
    });
}

const READER: u32 = g::O_RDONLY | g::O_NONBLOCK | g::O_CLOEXEC;
/// How a write end is opened once more.
const DOORBELL: u32 = g::O_WRONLY | g::O_NONBLOCK | g::O_CLOEXEC;
/// How the application has a ring's descriptor.
const INSTALLED: u32 = g::O_RDWR | g::O_NONBLOCK | g::O_CLOEXEC;
const POLLERR: i16 = 8;

/// For the janitor: closes readers that were not used since it asked last; answers whether any is
/// left.
pub(crate) fn close_idle_readers() -> bool {
    let all: Vec<Arc<Inner>> = rings().lock().iter().map(Arc::clone).collect();
    let mut left = false;
    for ring in &all {
        let mut reader = ring.reader.lock();
        if core::mem::take(&mut reader.used) {
            left = true;
        } else if let Some(number) = reader.number.take() {
            close_file(number, ring.pipe);
        }
    }
    left
}

/// Reads a pipe end until nothing is left.
fn empty(fd: i32) {
    let mut bytes = [0u8; 256];
    while raw::read(fd, &mut bytes).is_ok_and(|n| n == bytes.len()) {}
}

/// The application waits on `fd`, or puts it into an epoll set (interposed epoll_ctl, poll,
/// select): a ring's descriptor becomes readable exactly when it has CQEs from here on. Cheap for
/// what is no ring.
#[inline]
pub fn polled(fd: i32) {
    if let Some(id) = ring_known_or_dup(fd)
        && let Some(ring) = find(id)
    {
        ring.polled();
    }
}

/// The same for a pipe that the engine holds to wait on it.
pub(crate) fn polled_pipe(dev: u64, ino: u64) {
    if let Some(ring) = fdtable::ring_of_pipe(dev, ino).and_then(find) {
        ring.polled();
    }
}

/// Whether `fd` is a ring, known as one, whose SQ has no room.
pub fn sq_full(fd: i32) -> bool {
    fdtable::ring_of_known(fd).and_then(find).is_some_and(|ring| ring.sq_full())
}

fn ring_known_or_dup(fd: i32) -> Option<RingId> {
    if !fdtable::any_rings() {
        return None;
    }
    fdtable::ring_of_known(fd).or_else(|| fdtable::ring_of(fd).ok())
}

/// The application is about to wait on an epoll set that may hold rings: drops bytes of CQEs that
/// it has reaped in memory since.
pub fn before_wait() {
    if !fdtable::any_rings() {
        return;
    }
    let stale = |r: &&Arc<Inner>| r.readiness.is_unquiet() && r.readiness.is_empty(*r);
    let found: Vec<Arc<Inner>> = rings().lock().iter().filter(stale).map(Arc::clone).collect();
    found.iter().for_each(|r| r.readiness.look(r));
}

impl HostRing for LinuxRing {
    type Pages = LinuxPages;
    type Commons = LinuxCommons;

    fn share(&self, len: usize) -> SysResult<LinuxCommons> {
        let inner = &self.0;
        if inner.commons.load(Relaxed) != 0 {
            return Err(Errno::EEXIST);
        }
        let views = inner.shown.lock().memory.share()?;
        let shared = Shared::make(len, views)?;
        let commons = LinuxCommons::of(shared).inspect_err(|_| shared.unmap())?;
        inner.commons.store(shared.addr(), Relaxed);
        fdtable::set_commons(inner.pipe, shared.addr());
        if inner.readiness.is_polled() {
            shared.set_polled();
        }
        Ok(commons)
    }

    fn unpark_among(&self, at: usize) {
        if let Some(shared) = self.0.shared() {
            shared.unpark(at);
        }
    }

    fn remake(
        &self,
        geometry: &Geometry,
        user_memory: Option<(u64, u64)>,
        then: impl FnOnce(&Map) -> SysResult<()>,
    ) -> SysResult<LinuxPages> {
        let memory = match user_memory {
            Some(at) => Memory::user(geometry, at, then)?,
            None => {
                let shelf = self.0.home().map_err(|_| Errno::ENOMEM)?.shelf;
                let (on, geometry) = (Arc::clone(&shelf), *geometry);
                let made = shelf.call(move || Memory::memfd(&on, &geometry));
                let memory = made.map_err(|_| Errno::ENOMEM)?;
                then(memory.rings())?;
                memory
            }
        };
        Ok(LinuxPages(Arc::new(memory)))
    }

    fn show(&self, pages: &LinuxPages) {
        let new = Arc::clone(&pages.0);
        let old = core::mem::replace(&mut self.0.shown.lock().memory, new);
        // With the lock let go.
        drop(old);
    }

    #[inline]
    fn polled(&self) -> bool {
        self.0.readiness.is_polled() || self.0.polled_elsewhere()
    }

    #[inline]
    fn announce(&self) -> bool {
        self.0.readiness.announce()
    }

    #[inline]
    fn signal(&self, announced: bool) {
        if self.0.polled_elsewhere() && !self.0.readiness.is_polled() {
            self.0.begin_polled();
        }
        self.0.readiness.posted(&self.0, announced);
    }

    fn work_waits(&self, waits: bool) {
        self.0.readiness.set_work(waits);
    }

    #[inline]
    fn drain(&self) {
        if self.0.polled_elsewhere() {
            self.0.readiness.mistrust(&self.0);
        }
        self.0.readiness.drain(&self.0);
    }

    fn keep(&self) -> SysResult<()> {
        let Home { shelf, write_end } = self.0.home()?;
        let mut ends = self.0.ends.lock();
        if ends.read_end.is_none() {
            let open = move || raw::openat(g::AT_FDCWD, &own_path(write_end), READER, 0);
            let number = shelf.call(open)?;
            shelf.promise(1);
            ends.read_end = Some(number);
        }
        ends.kept += 1;
        Ok(())
    }

    fn let_go(&self) {
        let mut ends = self.0.ends.lock();
        ends.kept -= 1;
        if ends.kept == 0
            && let Ends { write_end: WriteEnd::Home(home), read_end, .. } = &mut *ends
        {
            home.shelf.close(read_end.take().into_iter().collect(), Wait::No);
        }
    }

    fn still_mapped(&self) -> bool {
        let mut shown = self.0.shown.lock();
        let mapped = shown.memory.still_mapped();
        shown.gone = !mapped;
        mapped
    }

    fn add_region(&self, user: Option<u64>, len: u64) -> SysResult<()> {
        let region = match user {
            Some(at) => Region::user(at, len)?,
            None => {
                let (Home { shelf, .. }, size) = (self.0.home()?, Region::size_of_own(len)?);
                shelf.promise(1);
                let made = shelf.call(move || Region::own(size));
                made.inspect_err(|_| shelf.unpromise(1))?
            }
        };
        *self.0.region.lock() = Some(region);
        Ok(())
    }

    fn drop_region(&self) {
        if let Some(region) = self.0.region.lock().take() {
            region.unmap();
            if let Some(number) = region.number()
                && let Ok(home) = self.0.home()
            {
                home.shelf.close(rust_alloc::vec![number], Wait::No);
            }
        }
    }

    fn add_buf_ring(&self, group: u16, len: u64) -> SysResult<u64> {
        self.0.buf_rings.add(group, len)
    }

    fn drop_buf_ring(&self, group: u16) {
        self.0.buf_rings.remove(group);
    }

    fn load_region(&self, at: u64, to: &mut [u64]) {
        let region = self.0.region.lock();
        let Some(map) = region.as_ref().map(Region::map) else { return };
        for (word, off) in to.iter_mut().zip((at as usize..).step_by(8)) {
            *word = map.w64(off).load(Relaxed);
        }
    }
}

// --- mmap ------------------------------------------------------------------------------------

/// What an mmap of the application asks for.
#[derive(Clone, Copy, Debug)]
pub struct MmapArgs {
    /// The address hint.
    pub addr: u64,
    /// Length \[bytes\].
    pub len: u64,
    /// `PROT_*`.
    pub prot: u32,
    /// `MAP_*`.
    pub flags: u32,
    /// Offset \[bytes\].
    pub offset: u64,
}

/// What a mapping's flags may hold beside its type where it is not `MAP_SHARED_VALIDATE`
/// (include/linux/mman.h `LEGACY_MAP_MASK`).
const LEGACY_FLAGS: u32 = g::MAP_SHARED
    | g::MAP_PRIVATE
    | g::MAP_FIXED
    | g::MAP_ANONYMOUS
    | g::MAP_32BIT
    | g::MAP_ABOVE4G
    | g::MAP_GROWSDOWN
    | g::MAP_DENYWRITE
    | g::MAP_EXECUTABLE
    | g::MAP_LOCKED
    | g::MAP_NORESERVE
    | g::MAP_POPULATE
    | g::MAP_NONBLOCK
    | g::MAP_STACK
    | g::MAP_HUGETLB
    | g::MAP_HUGE_2MB
    | g::MAP_HUGE_1GB;

impl MmapArgs {
    /// What comes before the region that is asked for (mm/mmap.c `do_mmap`, memmap.c
    /// `io_uring_get_unmapped_area`): `EINVAL` for an offset within a page, no length, or an address;
    /// `ENOMEM` for a length that no address space has.
    fn check_place(&self) -> SysResult<()> {
        const PAGE_MASK: u64 = PAGE as u64 - 1;
        const TASK_SIZE: u64 = 0x7fff_ffff_f000;
        if self.len == 0 || self.offset & PAGE_MASK != 0 {
            return Err(Errno::EINVAL);
        }
        if self.len > TASK_SIZE {
            return Err(Errno::ENOMEM);
        }
        // A hint is rounded down to a page first.
        let is_fixed = self.flags & (g::MAP_FIXED | g::MAP_FIXED_NOREPLACE) != 0;
        let at = if is_fixed { self.addr } else { self.addr & !PAGE_MASK };
        if at == 0 { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// What comes behind it: `EINVAL` for a type that there is not, `EOPNOTSUPP` for flags that
    /// `MAP_SHARED_VALIDATE` knows nothing of; `EPERM` to execute.
    fn check_kind(&self) -> SysResult<()> {
        match self.flags & g::MAP_TYPE {
            g::MAP_SHARED | g::MAP_PRIVATE => {}
            g::MAP_SHARED_VALIDATE if self.flags & !LEGACY_FLAGS != 0 => {
                return Err(Errno::EOPNOTSUPP);
            }
            g::MAP_SHARED_VALIDATE => {}
            _ => return Err(Errno::EINVAL),
        }
        if self.prot & g::PROT_EXEC != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }
}

/// mmap(2) of a ring: `None` if `fd` is none, and the real call is to be made.
///
/// The answer's errors are the kernel's: those of [`MmapArgs`]' checks, between them `ENOMEM` for an
/// offset that selects nothing, and for a ring in the caller's memory; `EFAULT` for a part of a region
/// that is mapped whole.
#[inline]
pub fn ring_mmap(fd: i32, args: MmapArgs) -> Option<SysResult<usize>> {
    if fd < 0 || args.flags & g::MAP_ANONYMOUS != 0 || !fdtable::any_rings() {
        return None;
    }
    match fdtable::ring_of_now(fd) {
        Ok(id) => Some(map(id, args)),
        // A ring of the process we were forked from.
        Err(Errno::EOWNERDEAD) => Some(Err(Errno::ENOMEM)),
        Err(_) => None,
    }
}

fn map(id: RingId, args: MmapArgs) -> SysResult<usize> {
    let ring = find(id).ok_or(Errno::EBADF)?;
    args.check_place()?;
    let region = match args.offset & OFF_MMAP_MASK {
        OFF_SQ_RING | OFF_CQ_RING => memory::Region::Rings,
        OFF_SQES => memory::Region::Sqes,
        OFF_PARAM_REGION => memory::Region::Param,
        OFF_PBUF_RING => {
            // memmap.c `io_mmap_get_region`: the group is what lies between mask and shift.
            let group = (args.offset & !OFF_MMAP_MASK) >> OFF_PBUF_SHIFT;
            let group = u16::try_from(group).map_err(|_| Errno::ENOMEM)?;
            return ring.buf_rings.map(group, args);
        }
        _ => return Err(Errno::ENOMEM),
    };
    // Held while it is mapped, so that it stays what it is.
    let param = ring.region.lock();
    // A resize meanwhile comes after this mmap.
    let memory = Arc::clone(&ring.shown.lock().memory);
    let place = match region {
        memory::Region::Param => param.as_ref().and_then(|r| Some((r.number()?, 0))),
        memory::Region::Sqes | memory::Region::Rings => memory.place(region),
    };
    let least = match region {
        memory::Region::Param => param.as_ref().map_or(0, |r| r.map().len() as u64),
        memory::Region::Sqes => memory.sqes().len() as u64,
        memory::Region::Rings => 0,
    };
    if place.is_none() && !memory.has_second_view(region) {
        return Err(Errno::ENOMEM);
    }
    args.check_kind()?;
    // mm/memory.c `vm_insert_pages` puts in all there are.
    let page = PAGE as u64;
    if args.len.div_ceil(page) < least.div_ceil(page) {
        return Err(Errno::EFAULT);
    }
    let len = usize::try_from(args.len).map_err(|_| Errno::ENOMEM)?;
    if args.prot == g::PROT_READ | g::PROT_WRITE
        && args.flags & !g::MAP_POPULATE == g::MAP_SHARED
        && let Some(at) = memory.second_view(region, len, args.flags & g::MAP_POPULATE != 0)
    {
        return Ok(at);
    }
    // Of another process's ring there is nothing but the usual mapping.
    let home = ring.home()?;
    let (file, offset) = place.or_else(|| memory.place(region)).ok_or(Errno::ENOMEM)?;
    home.shelf.call(move || {
        // SAFETY: MAP_FIXED can only mean page 0 here (no other hint passed); everything else is
        // placed where nothing is.
        unsafe { raw::mmap(0, len, args.prot, args.flags, file, offset) }
    })
}
