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
    shelf: Arc<Shelf>,
    /// In the shelf's table.
    write_end: i32,
    /// In the shelf's table until the application has its own, and while somebody keeps the ring.
    read_end: ForkMutex<ReadEnd>,
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

/// See [`Inner::read_end`].
#[derive(Debug)]
struct ReadEnd {
    number: Option<i32>,
    /// How often the ring is kept alive.
    kept: u32,
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
    let pages = LinuxPages(Arc::new(memory));
    let inner = Arc::new(Inner {
        id: spec.id,
        shown: ForkMutex::new(Shown { memory: Arc::clone(&pages.0), gone: false }),
        region: ForkMutex::new(None),
        buf_rings: BufRings::default(),
        shelf,
        write_end,
        read_end: ForkMutex::new(ReadEnd { number: Some(read_end), kept: 0 }),
        readiness: Readiness::new(),
        commons: AtomicUsize::new(0),
        pipe,
        doorbell: AtomicI32::new(NONE),
        reader: ForkMutex::default(),
        generation: generation::current(),
    });
    rings().lock().push(Arc::clone(&inner));
    Ok((LinuxRing(inner), pages))
}

/// Memory and pipe, in one visit to the shelf.
fn made(shelf: &Arc<Shelf>, spec: &RingSpec) -> SysResult<(Memory, Pipe)> {
    let RingSpec { id, geometry, user_memory } = *spec;
    let user = user_memory.map(|at| Memory::user(shelf, &geometry, at, |_| Ok(()))).transpose()?;
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
    // Little counts least against the user's pipe limit (refusal does no harm), but one byte must
    // not make the pipe full: POLLOUT would go.
    let _ = raw::fcntl(write_end, g::F_SETPIPE_SZ, 2 * PAGE);
    // The shelf's own read end keeps it from being closed before the application has one.
    match shelf.watch(write_end, id).and_then(|()| raw::fstat(write_end)) {
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
    let (home, path) = (Arc::clone(&shelf), memory::proc_path(crate::thread::tid(), fd));
    let opened = shelf.call(move || {
        let end = raw::openat(g::AT_FDCWD, &path, g::O_WRONLY | g::O_NONBLOCK | g::O_CLOEXEC, 0)?;
        home.watch(end, id).map(|()| end).inspect_err(|_| {
            let _ = raw::close(end);
        })
    });
    let write_end = opened.inspect_err(|_| shelf.unpromise(1))?;
    let pages = LinuxPages(Arc::new(Memory::inherited(&shelf, &geometry, &shared.views)?));
    let inner = Arc::new(Inner {
        id,
        shown: ForkMutex::new(Shown { memory: Arc::clone(&pages.0), gone: false }),
        region: ForkMutex::new(None),
        buf_rings: BufRings::default(),
        shelf,
        write_end,
        read_end: ForkMutex::new(ReadEnd { number: None, kept: 0 }),
        readiness: Readiness::new(),
        commons: AtomicUsize::new(at),
        pipe: (st.st_dev, st.st_ino),
        doorbell: AtomicI32::new(NONE),
        reader: ForkMutex::default(),
        generation: generation::current(),
    });
    rings().lock().push(Arc::clone(&inner));
    fdtable::adopt_ring(&st, id);
    fdtable::bind(fd, id);
    Ok((LinuxRing(inner), pages, commons))
}

/// Puts the ring's descriptor at the lowest free number of the app table, close-on-exec.
///
/// # Errors
/// `EMFILE`, `ENFILE`; `ENOMEM` without /proc and without the keeper's socket.
pub fn install(ring: &LinuxRing) -> SysResult<i32> {
    let inner = &ring.0;
    let end = inner.read_end.lock().number.ok_or(Errno::EBADF)?;
    let flags = g::O_RDWR | g::O_NONBLOCK | g::O_CLOEXEC;
    let fd = match reopen(&inner.shelf, end, flags) {
        Ok(fd) => fd,
        Err(e @ (Errno::EMFILE | Errno::ENFILE)) => return Err(e),
        // /proc of another pid namespace counts our threads differently: the keeper's own view of
        // itself is always right.
        Err(_) => {
            let own = inner.shelf.call(move || raw::openat(g::AT_FDCWD, &own_path(end), flags, 0));
            let home = keeper::Home { shelf: Arc::clone(&inner.shelf), number: own? };
            let keeper = keeper::get()?;
            let fetched = keeper.fetch(&home, keeper::Cloexec::Yes);
            inner.shelf.promise(1);
            keeper.close(rust_alloc::vec![home], Wait::Yes);
            fetched?
        }
    };
    fdtable::bind(fd, inner.id);
    // From here on the last close is the application's. Nobody need wait for that.
    let own = inner.read_end.lock().number.take();
    inner.shelf.close(own.into_iter().collect(), Wait::No);
    Ok(fd)
}

/// Opens a pipe end of a shelf's table once more, into the calling thread's.
fn reopen(shelf: &Shelf, number: i32, flags: u32) -> SysResult<i32> {
    raw::openat(g::AT_FDCWD, &memory::proc_path(shelf.tid(), number), flags, 0)
}

/// On a shelf's thread: a path to its own number.
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
            let pipe = self.pipe;
            keeper::in_app_table_do(move || close_pipe(number, pipe));
        }
        let read_end = self.read_end.lock().number.take();
        let mut numbers: Vec<i32> =
            [Some(self.write_end), read_end].into_iter().flatten().collect();
        if let Some(region) = self.region.lock().take() {
            region.unmap();
            numbers.extend(region.number());
        }
        self.buf_rings.clear();
        self.shelf.close(numbers, Wait::No);
        if let Some(shared) = self.shared() {
            shared.unmap();
        }
    }
}

// --- readable --------------------------------------------------------------------------------

impl Inner {
    /// Whether a number of the app table still is this ring's pipe.
    fn is_pipe(&self, number: i32) -> bool {
        is_pipe(number, self.pipe)
    }

    /// In the app table. `false`: no reader is to be had here.
    fn drain_here(&self) -> bool {
        let mut reader = self.reader.lock();
        let number = match reader.number.filter(|number| self.is_pipe(*number)) {
            Some(number) => number,
            None => {
                let Ok(fd) = reopen(&self.shelf, self.write_end, READER) else { return false };
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

    /// On the shelf's thread.
    fn drain_at_home(&self) {
        if let Ok(fd) = raw::openat(g::AT_FDCWD, &own_path(self.write_end), READER, 0) {
            empty(fd);
            let _ = raw::close(fd);
        }
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

    #[cold]
    fn begin_polled(&self) {
        if keeper::in_app_table()
            && let Ok(fd) =
                reopen(&self.shelf, self.write_end, g::O_WRONLY | g::O_NONBLOCK | g::O_CLOEXEC)
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
            self.shelf.post(move || {
                let _ = raw::write(ring.write_end, &[0]);
                ring.readiness.arrived();
            });
        }
    }

    fn empty(&self) {
        if !(keeper::in_app_table() && self.drain_here()) {
            let ring = Arc::clone(self);
            self.shelf.call(move || ring.drain_at_home());
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

fn is_pipe(number: i32, pipe: (u64, u64)) -> bool {
    raw::fstat(number).is_ok_and(|st| (st.st_dev, st.st_ino) == pipe)
}

/// In the app table: closes a number of ours, if it still is.
fn close_pipe(number: i32, pipe: (u64, u64)) {
    if is_pipe(number, pipe) {
        fdtable::close_ours(number);
    }
}

const READER: u32 = g::O_RDONLY | g::O_NONBLOCK | g::O_CLOEXEC;

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
            close_pipe(number, ring.pipe);
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
        let shelf = &self.0.shelf;
        let memory = match user_memory {
            Some(at) => Memory::user(shelf, geometry, at, then)?,
            None => {
                let (home, geometry) = (Arc::clone(shelf), *geometry);
                let made = shelf.call(move || Memory::memfd(&home, &geometry));
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
        let inner = &self.0;
        let mut end = inner.read_end.lock();
        if end.number.is_none() {
            let path = own_path(inner.write_end);
            let number = inner.shelf.call(move || raw::openat(g::AT_FDCWD, &path, READER, 0))?;
            inner.shelf.promise(1);
            end.number = Some(number);
        }
        end.kept += 1;
        Ok(())
    }

    fn let_go(&self) {
        let mut end = self.0.read_end.lock();
        end.kept -= 1;
        if end.kept == 0 {
            let number = end.number.take();
            self.0.shelf.close(number.into_iter().collect(), Wait::No);
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
                let (shelf, size) = (&self.0.shelf, Region::size_of_own(len)?);
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
            self.0.shelf.close(region.number().into_iter().collect(), Wait::No);
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
    let (file, offset) = place.ok_or(Errno::ENOMEM)?;
    ring.shelf.call(move || {
        // SAFETY: MAP_FIXED can only mean page 0 here (no other hint passed); everything else is
        // placed where nothing is.
        unsafe { raw::mmap(0, len, args.prot, args.flags, file, offset) }
    })
}
