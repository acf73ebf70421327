//! The two regions of a ring: a memfd's, or the caller's (`SETUP_NO_MMAP`).
//!
//! What it does not do: look into the regions, but for checking that an alias is one.

use core::ffi::CStr;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicUsize, fence};

use ringer_engine::host::check_region;
use ringer_ring::{Geometry, Map};
use ringer_uapi::{Errno, OFF_SQES};
use rust_alloc::sync::Arc;

use crate::fdtable;
use crate::generation;
use crate::keeper::{self, Shelf, Wait};
use crate::kin::Views;
use crate::lock::ForkMutex;
use crate::raw::{self, PAGE, SysResult, general as g};
use crate::standin;
use crate::thread;

/// Memory of one ring, both regions: ours until the last reference goes, and the application's as long
/// as it maps it.
#[derive(Debug)]
pub(super) struct Memory {
    rings: Map,
    sqes: Map,
    from: From,
    geometry: Geometry,
    generation: u32,
}

/// Where the regions come from.
#[derive(Debug)]
enum From {
    /// A memfd, with the file offset of the SQEs.
    Memfd { memfd: ForkMutex<Memfd>, sqes_off: u64 },
    /// A ring's of the process that this one was forked from, and whether it is that one's application's.
    Inherited { is_users: bool },
    /// The caller's memory: for each region whether it is an alias of ours, to be unmapped.
    User { rings_alias: bool, sqes_alias: bool },
}

/// Where a memfd is.
#[derive(Debug)]
enum Memfd {
    /// Here in the application's table, with its device and inode.
    Young(i32, (u64, u64)),
    /// There in the shelf's.
    Home(i32, Arc<Shelf>),
}

/// Which region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    Rings,
    Sqes,
    /// Registered (`region`).
    Param,
}

/// Since 5.14.
const MADV_POPULATE_WRITE: u32 = 23;

pub(super) const fn pages(len: usize) -> usize {
    len.next_multiple_of(PAGE)
}

impl Memory {
    /// A memfd's. On the shelf's thread.
    pub(super) fn memfd(shelf: &Arc<Shelf>, geometry: &Geometry) -> SysResult<Self> {
        let made = Self::made(geometry, |fd| Ok(Memfd::Home(fd, Arc::clone(shelf))))?;
        shelf.promise(1);
        Ok(made)
    }

    /// A memfd's, whose number is high in the application's table.
    pub(super) fn young(geometry: &Geometry) -> SysResult<Self> {
        Self::made(geometry, |fd| {
            let file = super::file_of(fd)?;
            Ok(Memfd::Young(fdtable::take_high(fd)?, file))
        })
    }

    fn made(geometry: &Geometry, place: impl FnOnce(i32) -> SysResult<Memfd>) -> SysResult<Self> {
        let fd = create_memfd()?;
        let filled = Self::fill_memfd(fd, geometry.rings_len(), geometry.sqes_len());
        let made = filled.and_then(|(rings, sqes, sqes_off)| {
            let memfd = place(fd).inspect_err(|_| [&rings, &sqes].into_iter().for_each(unmap))?;
            Ok((rings, sqes, From::Memfd { memfd: ForkMutex::new(memfd), sqes_off }))
        });
        let (rings, sqes, from) = made.inspect_err(|_| {
            let _ = raw::close(fd);
        })?;
        Ok(Self { rings, sqes, from, geometry: *geometry, generation: generation::current() })
    }

    /// The young memfd's number in the application's table.
    pub(super) fn young_number(&self) -> Option<i32> {
        let From::Memfd { memfd, .. } = &self.from else { return None };
        match *memfd.lock() {
            Memfd::Young(fd, _) => Some(fd),
            Memfd::Home(..) => None,
        }
    }

    /// Its memfd is in a shelf's table, too, and the application's lets go of it.
    pub(super) fn settle(&self, fd: i32, shelf: &Arc<Shelf>) {
        let From::Memfd { memfd, .. } = &self.from else { return };
        let was = core::mem::replace(&mut *memfd.lock(), Memfd::Home(fd, Arc::clone(shelf)));
        was.close();
    }

    fn fill_memfd(fd: i32, rings_len: usize, sqes_len: usize) -> SysResult<(Map, Map, u64)> {
        // Where the application's offset would put them, so that a map longer than the rings does
        // not reach them; right behind the rings where RLIMIT_FSIZE forbids that.
        let sqes_off = [OFF_SQES, pages(rings_len) as u64]
            .into_iter()
            .find(|off| raw::ftruncate(fd, off + pages(sqes_len) as u64).is_ok())
            .ok_or(Errno::ENOMEM)?;
        let seals = g::F_SEAL_SHRINK | g::F_SEAL_GROW;
        raw::fcntl(fd, g::F_ADD_SEALS, seals as usize)?;
        let rings = view(fd, 0, rings_len)?;
        let sqes = view(fd, sqes_off, sqes_len).inspect_err(|_| unmap(&rings))?;
        Ok((rings, sqes, sqes_off))
    }

    /// The caller's, at (rings, SQEs); `then` is called between the two.
    pub(super) fn user(
        geometry: &Geometry,
        at: (u64, u64),
        then: impl FnOnce(&Map) -> SysResult<()>,
    ) -> SysResult<Self> {
        let (rings, rings_alias) = user_region((at.0, geometry.rings_len()))?;
        let second = then(&rings).and_then(|()| user_region((at.1, geometry.sqes_len())));
        let (sqes, sqes_alias) = second.inspect_err(|_| drop_user_region(&rings, rings_alias))?;
        let from = From::User { rings_alias, sqes_alias };
        Ok(Self { rings, sqes, from, geometry: *geometry, generation: generation::current() })
    }

    /// What a process that this one was forked from shared.
    pub(super) fn inherited(geometry: &Geometry, views: &Views) -> SysResult<Self> {
        let rings = as_map(views.rings.0, views.rings.1)?;
        let sqes = as_map(views.sqes.0, views.sqes.1)?;
        let from = From::Inherited { is_users: views.is_users };
        Ok(Self { rings, sqes, from, geometry: *geometry, generation: generation::current() })
    }

    /// Lets children that are forked from here on have our views, too.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: memory of the application's of which a child gets a copy.
    pub(super) fn share(&self) -> SysResult<Views> {
        let is_users = match &self.from {
            From::Memfd { .. } => false,
            From::Inherited { is_users } => *is_users,
            From::User { rings_alias: true, sqes_alias: true } => true,
            From::User { .. } => return Err(Errno::EOPNOTSUPP),
        };
        let views = [&self.rings, &self.sqes].map(|map| (map.addr(), map.len()));
        for (at, len) in views {
            // SAFETY: our own views; takes nothing away from this process.
            unsafe { raw::madvise(at, pages(len), g::MADV_DOFORK) }?;
        }
        let [rings, sqes] = views;
        Ok(Views { rings, sqes, is_users })
    }

    pub(super) fn rings(&self) -> &Map {
        &self.rings
    }

    pub(super) fn sqes(&self) -> &Map {
        &self.sqes
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The shelf's number and the file offset to map, once it is settled.
    pub(super) fn place(&self, region: Region) -> Option<(i32, u64)> {
        let From::Memfd { memfd, sqes_off } = &self.from else { return None };
        let Memfd::Home(fd, _) = *memfd.lock() else { return None };
        match region {
            Region::Rings => Some((fd, 0)),
            Region::Sqes => Some((fd, *sqes_off)),
            Region::Param => None,
        }
    }

    /// Whether [`Memory::second_view`] may work.
    pub(super) fn has_second_view(&self, region: Region) -> bool {
        let is_users = matches!(self.from, From::User { .. } | From::Inherited { is_users: true });
        !is_users && region != Region::Param
    }

    /// Maps a region of the memfd once more, readable and writable, without asking the shelf for its
    /// descriptor; inherited by fork. `None`: this way does not work here.
    pub(super) fn second_view(&self, region: Region, len: usize, populate: bool) -> Option<usize> {
        if !self.has_second_view(region) {
            return None;
        }
        let view = if region == Region::Rings { &self.rings } else { &self.sqes };
        view_again(view.addr(), len, populate)
    }

    /// Whether somebody else still maps the memfd. Our own views are hidden behind reserved
    /// addresses meanwhile, so that nobody's mmap takes their place.
    pub(super) fn still_mapped(&self) -> bool {
        let From::Memfd { memfd, sqes_off } = &self.from else { return false };
        let views = [
            (self.rings.addr(), self.rings.len(), 0),
            (self.sqes.addr(), self.sqes.len(), *sqes_off),
        ];
        let look = move |fd| {
            views.iter().for_each(|(at, len, _)| hide(*at, *len));
            let sealed = raw::fcntl(fd, g::F_ADD_SEALS, g::F_SEAL_WRITE as usize);
            if sealed.is_ok() {
                return false;
            }
            views.iter().for_each(|(at, len, off)| show(*at, *len, fd, *off));
            true
        };
        match &*memfd.lock() {
            Memfd::Home(fd, shelf) => {
                let fd = *fd;
                shelf.call(move || look(fd))
            }
            Memfd::Young(fd, file) => {
                keeper::in_app_table() && super::is_file(*fd, *file) && look(*fd)
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.generation != generation::current() {
            // A forked child: descriptors and mappings are the parent's.
            return;
        }
        match &self.from {
            From::Memfd { memfd, .. } => {
                unmap(&self.rings);
                unmap(&self.sqes);
                memfd.lock().close();
            }
            From::Inherited { .. } => {
                unmap(&self.rings);
                unmap(&self.sqes);
            }
            From::User { rings_alias, sqes_alias } => {
                drop_user_region(&self.rings, *rings_alias);
                drop_user_region(&self.sqes, *sqes_alias);
            }
        }
    }
}

impl Memfd {
    fn close(&self) {
        match self {
            Self::Home(fd, shelf) => shelf.close(rust_alloc::vec![*fd], Wait::No),
            Self::Young(fd, file) => super::close_file(*fd, *file),
        }
    }
}

/// Maps what a view of ours shows once more, for the application.
pub(super) fn view_again(view: usize, len: usize, populate: bool) -> Option<usize> {
    let len = len.checked_next_multiple_of(PAGE)?;
    // SAFETY: with an old size of 0 nothing is moved or unmapped.
    let at = unsafe { raw::mremap(view, 0, len, g::MREMAP_MAYMOVE, 0) }.ok()?;
    // SAFETY: takes nothing away from this process.
    if unsafe { raw::madvise(at, len, g::MADV_DOFORK) }.is_err() {
        // SAFETY: our new mapping, seen by nobody.
        let _ = unsafe { raw::munmap(at, len) };
        return None;
    }
    if populate {
        // As mmap(2): what cannot be had now comes with the first access.
        // SAFETY: faults pages in; changes no contents.
        let _ = unsafe { raw::madvise(at, len, MADV_POPULATE_WRITE) };
    }
    Some(at)
}

pub(super) fn create_memfd() -> SysResult<i32> {
    let flags = g::MFD_CLOEXEC | g::MFD_ALLOW_SEALING;
    // Since 6.3; a system may insist on it.
    match raw::memfd_create(c"io_uring", flags | g::MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => raw::memfd_create(c"io_uring", flags),
        made => made,
    }
}

fn map_at(addr: usize, len: usize, flags: u32, fd: i32, off: u64) -> SysResult<usize> {
    let prot = g::PROT_READ | g::PROT_WRITE;
    // SAFETY: callers with MAP_FIXED name a range that they own.
    let at = unsafe { raw::mmap(addr, pages(len), prot, flags, fd, off) }?;
    // A forked child has no use for the engine's view, and its copy would keep the ring alive.
    // SAFETY: takes nothing away from this process.
    let _ = unsafe { raw::madvise(at, pages(len), g::MADV_DONTFORK) };
    Ok(at)
}

pub(super) fn view(fd: i32, off: u64, len: usize) -> SysResult<Map> {
    let at = map_at(0, len, g::MAP_SHARED | g::MAP_POPULATE, fd, off)?;
    as_map(at, len)
}

fn as_map(at: usize, len: usize) -> SysResult<Map> {
    let base = NonNull::new(core::ptr::with_exposed_provenance_mut(at)).ok_or(Errno::ENOMEM)?;
    // SAFETY:
    // 1. `at` is page-aligned and `len` bytes from it are mapped (by the callers) until
    //    the region is dropped, which comes with the last reference to it.
    // 2. Only `Map`'s atomics touch it in this process.
    Ok(unsafe { Map::new(base, len) })
}

pub(super) fn unmap(map: &Map) {
    // SAFETY: a view of ours; the caller was the last to use it.
    let _ = unsafe { raw::munmap(map.addr(), pages(map.len())) };
}

/// Replaces a view of ours by reserved addresses.
fn hide(at: usize, len: usize) {
    let flags = g::MAP_PRIVATE | g::MAP_ANONYMOUS | g::MAP_FIXED | g::MAP_NORESERVE;
    // SAFETY: the range is our own view, which nothing accesses during `still_mapped`.
    let _ = unsafe { raw::mmap(at, pages(len), g::PROT_NONE, flags, -1, 0) };
}

/// Puts the view back.
fn show(at: usize, len: usize, fd: i32, off: u64) {
    // The range is ours, reserved by `hide`. A refusal (no memory for page tables) leaves it
    // unreadable; there is nothing else to be done, and fixed-up accesses survive it.
    let _ = map_at(at, len, g::MAP_SHARED | g::MAP_FIXED, fd, off);
}

// --- memory of the caller --------------------------------------------------------------------

/// Most regions used in place at once.
const IN_PLACE_MAX: usize = 1024;
/// Regions used in place: (start, end), 0 when free. Read by the fault handler.
static IN_PLACE: [(AtomicUsize, AtomicUsize); IN_PLACE_MAX] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; IN_PLACE_MAX];
/// So many of them were ever used: munmap(2) of a program with few such rings looks at few.
static IN_PLACE_USED: AtomicUsize = AtomicUsize::new(0);

fn in_use() -> impl Iterator<Item = &'static (AtomicUsize, AtomicUsize)> {
    // Acquire: pairs with the Release of `enter_in_place`.
    IN_PLACE.iter().take(IN_PLACE_USED.load(Acquire))
}

/// The process whose rings these are: a forked child has none of them.
static OWNER: AtomicU32 = AtomicU32::new(0);
static ENTERING: ForkMutex<()> = ForkMutex::new(());

/// Whether `addr` lies in a ring's memory that belongs to the application and is used where it is.
/// Such a page may vanish under the engine; the fault handler then puts an empty one there.
/// Async-signal-safe.
pub fn owns_user_ring(addr: usize) -> bool {
    in_use().any(|(start, end)| {
        // Acquire: pairs with the Release of `enter_in_place`.
        let start = start.load(Acquire);
        start > 1 && addr >= start && addr < end.load(Relaxed)
    })
}

fn enter_in_place(at: usize, len: usize) -> SysResult<()> {
    let _one = ENTERING.lock();
    if OWNER.swap(generation::current(), AcqRel) != generation::current() {
        IN_PLACE.iter().for_each(|(start, _)| start.store(0, Relaxed));
    }
    let claimed = |(_, (start, _)): &(usize, &(AtomicUsize, AtomicUsize))| {
        start.compare_exchange(0, 1, AcqRel, Relaxed).is_ok()
    };
    let (index, (start, end)) = IN_PLACE.iter().enumerate().find(claimed).ok_or(Errno::ENOMEM)?;
    IN_PLACE_USED.fetch_max(index + 1, Release);
    end.store(at + pages(len), Relaxed);
    start.store(at, Release);
    Ok(())
}

/// Whether a ring uses some of the range in place.
fn in_place(from: usize, to: usize) -> bool {
    in_use().any(|(start, end)| {
        let start = start.load(Acquire);
        start > 1 && start < to && from < end.load(Relaxed)
    })
}

/// munmap(2) of the application's where a ring uses some of the range: those pages stay until the
/// ring is gone, as if they were pinned, and nobody else gets their addresses. `None`: none does.
pub fn unmap_around(at: usize, len: usize) -> Option<SysResult<()>> {
    let end = at.checked_add(len.checked_next_multiple_of(PAGE)?)?;
    let is_mine = OWNER.load(Acquire) == generation::current();
    if !is_mine || !at.is_multiple_of(PAGE) || !in_place(at, end) {
        return None;
    }
    let mut from = at;
    for page in (at..end).step_by(PAGE) {
        if owns_user_ring(page) && standin::replace(page) {
            // Before the look: pairs with the fence of `leave_in_place`. Either that sees our page,
            // or we see that the ring has left, and would be alone with it.
            fence(SeqCst);
            if !owns_user_ring(page) {
                standin::take_back(page, page + PAGE);
            }
            if let Err(e) = unmap_range(from, page) {
                return Some(Err(e));
            }
            from = page + PAGE;
        }
    }
    Some(unmap_range(from, end))
}

fn unmap_range(from: usize, to: usize) -> SysResult<()> {
    if from == to {
        return Ok(());
    }
    // SAFETY: the application unmaps this range, and no ring uses it.
    unsafe { raw::munmap(from, to - from) }
}

fn leave_in_place(at: usize, len: usize) {
    let stop = at + pages(len);
    let left = |(start, end): &(AtomicUsize, AtomicUsize)| {
        end.load(Relaxed) == stop && start.compare_exchange(at, 0, AcqRel, Relaxed).is_ok()
    };
    if !in_use().any(left) {
        return;
    }
    // Pairs with the fence of `unmap_around`.
    fence(SeqCst);
    if !in_place(at, stop) {
        return standin::take_back(at, stop);
    }
    // Rings may share memory, and a ring may be given what it has, in other sizes.
    let free = (at..stop).step_by(PAGE).filter(|page| !owns_user_ring(*page));
    free.for_each(|page| standin::take_back(page, page + PAGE));
}

/// The caller's memory as a region: an alias where it is shared memory, so that the caller's munmap
/// does not matter, or in place.
pub(super) fn user_region((at, len): (u64, usize)) -> SysResult<(Map, bool)> {
    check_region(at, len)?;
    let at = usize::try_from(at).map_err(|_| Errno::EFAULT)?;
    check_writable(at, len)?;
    if let Some(alias) = alias(at, len) {
        return Ok((as_map(alias, len)?, true));
    }
    enter_in_place(at, len)?;
    Ok((as_map(at, len)?, false))
}

/// # Errors
/// `EFAULT`: not mapped, or not writable.
fn check_writable(at: usize, len: usize) -> SysResult<()> {
    // SAFETY: faults pages in; changes no contents.
    match unsafe { raw::madvise(at, pages(len), MADV_POPULATE_WRITE) } {
        Ok(()) => Ok(()),
        // Before 5.14: write every page's first word back to it.
        Err(Errno::EINVAL) => crate::usermem::touch(at as u64, pages(len) as u64),
        Err(_) => Err(Errno::EFAULT),
    }
}

/// Maps shared memory a second time: `mremap` with an old size of 0 (EINVAL for private memory).
fn alias(at: usize, len: usize) -> Option<usize> {
    // SAFETY: with an old size of 0 nothing is moved or unmapped.
    let second = unsafe { raw::mremap(at, 0, pages(len), g::MREMAP_MAYMOVE, 0) }.ok()?;
    // The range may cross mappings: then the second is something else behind the first's end.
    if check_writable(second, len).is_ok() && same_memory(at, second, pages(len)) {
        // SAFETY: takes nothing away from this process.
        let _ = unsafe { raw::madvise(second, pages(len), g::MADV_DONTFORK) };
        return Some(second);
    }
    // SAFETY: our new mapping, seen by nobody.
    let _ = unsafe { raw::munmap(second, pages(len)) };
    None
}

/// Whether a change through `b` shows in `a`, on every page. The caller is in io_uring_setup with
/// this memory; it is as it was afterwards.
fn same_memory(a: usize, b: usize, len: usize) -> bool {
    let (Ok(a), Ok(b)) = (as_map(a, len), as_map(b, len)) else { return false };
    (0..len / PAGE).map(|page| page * PAGE).all(|off| {
        let was = b.w64(off).load(Relaxed);
        b.w64(off).store(!was, Relaxed);
        let same = a.w64(off).load(Relaxed) == !was;
        b.w64(off).store(was, Relaxed);
        same
    })
}

pub(super) fn drop_user_region(map: &Map, alias: bool) {
    if alias {
        unmap(map);
    } else {
        leave_in_place(map.addr(), map.len());
    }
}

// --- paths -----------------------------------------------------------------------------------

/// `/proc/self/task/<tid>/fd/<number>` without formatting machinery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcPath {
    bytes: [u8; 64],
    len: usize,
}

impl ProcPath {
    fn new() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }

    fn text(mut self, text: &[u8]) -> Self {
        // The longest path has 46 bytes; the last byte always stays NUL.
        for (to, from) in self.bytes.iter_mut().take(63).skip(self.len).zip(text) {
            *to = *from;
        }
        self.len += text.len();
        self
    }

    fn number(self, number: u32) -> Self {
        let mut digits = [0u8; 10];
        let mut rest = number;
        let mut count = 0;
        for place in digits.iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        self.text(digits.get(10 - count..).unwrap_or(&[]))
    }
}

impl Deref for ProcPath {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// A number of another thread of this process.
pub(crate) fn proc_path(tid: u32, number: i32) -> ProcPath {
    ProcPath::new()
        .text(b"/proc/self/task/")
        .number(tid)
        .text(b"/fd/")
        .number(number.cast_unsigned())
}

/// A number of the calling thread, whatever its id is called in the mounted /proc. Only that thread
/// may use the path.
pub(super) fn thread_self_path(number: i32) -> ProcPath {
    // The shorter way takes half the time, and leads to the first thread's table.
    let first = raw::getpid() == thread::tid();
    let table: &[u8] = if first { b"/proc/self/fd/" } else { b"/proc/thread-self/fd/" };
    ProcPath::new().text(table).number(number.cast_unsigned())
}
