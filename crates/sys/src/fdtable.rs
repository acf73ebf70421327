//! Which descriptor numbers are rings, and which are the engine's own.
//!
//! ```text
//!  fd -> chunk -> word:  0                      nothing known: ask fstat(2)
//!                        [0][generation][id]    a ring (a cache of what fstat would say)
//!                        [1][generation][ 0 ]   ours: the application must not see or close it
//!                        [1][generation][ 1 ]   lent: a ring has a copy of the file, see below
//!  inode list:  [ino][generation, id] ...       every live ring's pipe, for dup'd numbers
//! ```
//!
//! A ring entry is a cache and may be dropped at any time; the inode list is the truth. Words carry
//! the generation of the process that wrote them, so that in a forked child an inherited ring is
//! still known as one, but as the parent's (`EOWNERDEAD`). Everything is lock-free: the interposed
//! `close` may run in a signal handler.
//!
//! A number that is closed and reused behind the interposer's back (an inline `close`) keeps its
//! stale entry until the ring's last close is seen. Whoever would do harm by that uses
//! [`ring_of_now`] or [`ring_of_file`], which ask the kernel.
//!
//! What it does not do: own rings (`ringobj`), or close files for anybody but ourselves.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize};
use rust_alloc::boxed::Box;

use ringer_engine::host::RingId;
use ringer_uapi::Errno;

use crate::raw::{self, SysResult, general as g};
use crate::{generation, trace};

/// Numbers in one chunk.
const CHUNK: usize = 512;
/// Chunks: numbers from 2^20 on are looked up by `fstat` every time.
const CHUNKS: usize = 2048;
const OURS: u64 = 1 << 63;
const ID_BITS: u32 = 40;
const ID_MASK: u64 = (1 << ID_BITS) - 1;

type Chunk = [AtomicU64; CHUNK];

static TABLE: [AtomicPtr<Chunk>; CHUNKS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNKS];

/// This process's generation, placed as in a word.
fn stamp() -> u64 {
    u64::from(generation::current()) << ID_BITS & !OURS
}

fn chunk(index: usize) -> Option<&'static Chunk> {
    // Acquire: pairs with the publication in `make_chunk`.
    let at = TABLE.get(index)?.load(Acquire);
    // SAFETY: null, or a leaked box of atomics published by `make_chunk`.
    unsafe { at.as_ref() }
}

fn make_chunk(index: usize) -> Option<&'static Chunk> {
    let place = TABLE.get(index)?;
    let new = Box::into_raw(Box::new([const { AtomicU64::new(0) }; CHUNK]));
    // Release: publishes the zeroed words.
    if place.compare_exchange(core::ptr::null_mut(), new, AcqRel, Acquire).is_err() {
        // SAFETY: from `Box::into_raw` above, and nobody else has seen it.
        drop(unsafe { Box::from_raw(new) });
    }
    chunk(index)
}

fn word(fd: i32) -> Option<&'static AtomicU64> {
    let n = usize::try_from(fd).ok()?;
    chunk(n / CHUNK)?.get(n % CHUNK)
}

fn word_or_make(fd: i32) -> Option<&'static AtomicU64> {
    let n = usize::try_from(fd).ok()?;
    chunk(n / CHUNK).or_else(|| make_chunk(n / CHUNK))?.get(n % CHUNK)
}

/// All words in use, with their numbers.
fn words(lo: u32, hi: u32) -> impl Iterator<Item = (i32, &'static AtomicU64)> {
    let hi = (hi as usize).min(CHUNKS * CHUNK - 1);
    let lo = lo as usize;
    (lo / CHUNK..=hi / CHUNK)
        .filter_map(|c| Some((c, chunk(c)?)))
        .flat_map(|(c, words)| words.iter().enumerate().map(move |(i, w)| (c * CHUNK + i, w)))
        .filter(move |(n, _)| (lo..=hi).contains(n))
        .filter_map(|(n, w)| Some((i32::try_from(n).ok()?, w)))
}

// --- rings -----------------------------------------------------------------------------------

/// What a ring's word or stamp says in this process.
fn decode(word: u64) -> SysResult<RingId> {
    if word & !ID_MASK == stamp() { Ok(RingId(word & ID_MASK)) } else { Err(Errno::EOWNERDEAD) }
}

/// Which ring `fd` is: two loads on a hit, one `fstat` on a miss.
///
/// # Errors
/// `EBADF`: not open, `O_PATH`, or a number of the engine's own. `EOPNOTSUPP`: not a ring.
/// `EOWNERDEAD`: a ring of the process this one was forked from.
#[inline]
pub fn ring_of(fd: i32) -> SysResult<RingId> {
    match word(fd).map(|w| w.load(Relaxed)) {
        Some(known) if known != 0 && known & OURS == 0 => decode(known),
        _ => look_up(fd),
    }
}

/// As [`ring_of`], without a system call: `None` where nothing is known.
#[inline]
pub fn ring_of_known(fd: i32) -> Option<RingId> {
    let known = word(fd)?.load(Relaxed);
    if known == 0 || known & OURS != 0 { None } else { decode(known).ok() }
}

/// Whether `fd` is known as a ring of a process that this one was forked from, and as none of this one.
#[inline]
pub fn is_inherited(fd: i32) -> bool {
    let known = word(fd).map_or(0, |w| w.load(Relaxed));
    known != 0 && known & OURS == 0 && decode(known).is_err()
}

/// As [`ring_of`], but asks the kernel: for calls that are made rarely and would do harm to a file
/// that took a ring's number after an inline `close`.
///
/// # Errors
/// As [`ring_of`].
pub fn ring_of_now(fd: i32) -> SysResult<RingId> {
    closed(fd);
    look_up(fd)
}

#[cold]
fn look_up(fd: i32) -> SysResult<RingId> {
    let found = ring_of_file(fd)?;
    if is_ours(fd) {
        return Err(Errno::EBADF);
    }
    let Some(found) = found else {
        let flags = raw::fcntl(fd, g::F_GETFL, 0)?.cast_unsigned();
        return Err(if flags & g::O_PATH != 0 { Errno::EBADF } else { Errno::EOPNOTSUPP });
    };
    if let Some(w) = word_or_make(fd) {
        w.store(found, Relaxed);
    }
    decode(found)
}

/// Whether the file now behind `fd` is a ring, by its inode: `Some(_)` is one, of this process
/// or of an ancestor.
///
/// # Errors
/// `EBADF`.
pub fn ring_of_file(fd: i32) -> SysResult<Option<u64>> {
    let st = raw::fstat(fd)?;
    Ok(inodes::find(&st))
}

/// Which ring of this process a pipe is, without a system call.
pub(crate) fn ring_of_pipe(dev: u64, ino: u64) -> Option<RingId> {
    inodes::find_pipe(dev, ino).and_then(|word| decode(word).ok())
}

/// Enters a new ring: the pipe's inode, and its first number.
pub(crate) fn add_ring(st: &g::stat, id: RingId) {
    inodes::add(st, stamp() | (id.0 & ID_MASK));
}

/// Says where what is known of a ring that is shared lies (`kin::Shared`).
pub(crate) fn set_commons(pipe: (u64, u64), at: usize) {
    inodes::set_commons(pipe, at);
}

/// Where that lies for the pipe behind a number, 0 for nowhere.
pub(crate) fn commons_of(st: &g::stat) -> usize {
    inodes::commons(st.st_dev, st.st_ino)
}

/// Makes a ring of a process that this one was forked from one of this process.
pub(crate) fn adopt_ring(st: &g::stat, id: RingId) {
    inodes::adopt(st.st_dev, st.st_ino, stamp() | (id.0 & ID_MASK));
}

/// Says that `fd` is ring `id`.
pub(crate) fn bind(fd: i32, id: RingId) {
    if let Some(w) = word_or_make(fd) {
        w.store(stamp() | (id.0 & ID_MASK), Relaxed);
    }
}

/// Forgets a ring and every number that was known for it.
pub(crate) fn forget_ring(id: RingId) {
    let gone = stamp() | (id.0 & ID_MASK);
    inodes::remove(gone);
    for (_, w) in words(0, u32::MAX) {
        // Only this value goes; a number rebound meanwhile keeps its new one.
        let _ = w.compare_exchange(gone, 0, Relaxed, Relaxed);
    }
}

/// Whether this process has rings, or may have inherited some.
pub fn any_rings() -> bool {
    inodes::any()
}

// --- what the interposed close family says ---------------------------------------------------

/// The application is about to close `fd`. To be called before the close: afterwards the number
/// may already be somebody else's.
#[inline]
pub fn closed(fd: i32) {
    trace::closed(fd);
    if let Some(w) = word(fd) {
        forget_number(w);
    }
}

fn forget_number(w: &AtomicU64) {
    let known = w.load(Relaxed);
    if known != 0 && known & OURS == 0 {
        let _ = w.compare_exchange(known, 0, Relaxed, Relaxed);
    }
}

/// As [`closed`], for the numbers `lo..=hi`.
pub fn closed_range(lo: u32, hi: u32) {
    trace::closed_range();
    words(lo, hi).for_each(|(_, w)| forget_number(w));
}

/// `new` now is another number for what `old` is (dup, dup2, dup3, `F_DUPFD`).
pub fn duplicated(old: i32, new: i32) {
    trace::closed(new);
    let known = word(old).map_or(0, |w| w.load(Relaxed));
    let known = if is_lent_word(known) { 0 } else { known };
    if known & OURS != 0 {
        return;
    }
    if known == 0 {
        closed(new);
    } else if let Some(w) = word_or_make(new) {
        w.store(known, Relaxed);
    }
}

// --- numbers of the application's that are lent -----------------------------------------------

/// What makes a word say that a ring may have a copy of the number's file.
const LENT: u64 = 1;

/// Whether every close of the application's is told: set once, when its code was seen to make none by
/// itself.
static ALL_TOLD: AtomicBool = AtomicBool::new(false);

/// The application's code makes no system call but by libc's symbols (`true`), or may.
pub fn tells_closes(all: bool) {
    ALL_TOLD.store(all, Relaxed);
}

/// Marks `fd`, of which nothing else is known, as lent. False: it cannot be.
pub(crate) fn lend(fd: i32) -> bool {
    if !ALL_TOLD.load(Relaxed) {
        return false;
    }
    let lent = OURS | stamp() | LENT;
    word_or_make(fd).is_some_and(|w| {
        let known = w.load(Relaxed);
        // A mark of the process that this one was forked from says nothing here.
        let free = known == 0 || is_lent_word(known);
        known == lent || free && w.compare_exchange(known, lent, Relaxed, Relaxed).is_ok()
    })
}

/// Whether a word says that its number is lent, in whatever process.
fn is_lent_word(known: u64) -> bool {
    known & OURS != 0 && known & ID_MASK == LENT
}

/// Whether `fd` is lent.
#[inline]
pub fn is_lent(fd: i32) -> bool {
    word(fd).is_some_and(|w| w.load(Relaxed) == OURS | stamp() | LENT)
}

/// Takes the mark away: whether it was there.
#[inline]
pub fn no_longer_lent(fd: i32) -> bool {
    let taken = |w: &AtomicU64| w.compare_exchange(OURS | stamp() | LENT, 0, Relaxed, Relaxed);
    is_lent(fd) && word(fd).is_some_and(|w| taken(w).is_ok())
}

/// The lent ones among `lo..=hi`.
pub fn lent_within(lo: u32, hi: u32) -> impl Iterator<Item = i32> {
    let lent = OURS | stamp() | LENT;
    words(lo, hi).filter(move |(_, w)| w.load(Relaxed) == lent).map(|(fd, _)| fd)
}

// --- numbers of our own ----------------------------------------------------------------------

/// Whether `fd` is a number that the engine made for itself and the application must not touch.
#[inline]
pub fn is_ours(fd: i32) -> bool {
    word(fd).is_some_and(|w| {
        let known = w.load(Relaxed);
        known & OURS != 0 && known == OURS | stamp()
    })
}

/// Marks `fd` as ours. Without memory for the mark it stays an ordinary number.
pub(crate) fn mark(fd: i32) {
    if let Some(w) = word_or_make(fd) {
        w.store(OURS | stamp(), Release);
    }
}

/// Closes a number of ours in the app table. The mark goes first: once closed, the number may be
/// the application's at once.
pub(crate) fn close_ours(fd: i32) {
    if let Some(w) = word(fd) {
        w.store(0, Relaxed);
    }
    let _ = raw::close(fd);
}

/// Makes the kernel grow the calling thread's table to hold number `n - 1`, if that is allowed.
///
/// By a new descriptor of our own: closing a second one of somebody's file could drop a lock.
pub(crate) fn grow_table(n: i32) {
    let Ok(fd) = raw::eventfd(0, g::O_CLOEXEC) else { return };
    let last = usize::try_from(n - 1).unwrap_or(0);
    if let Ok(high) = raw::fcntl(fd, g::F_DUPFD_CLOEXEC, last) {
        let _ = raw::close(high);
    }
    let _ = raw::close(fd);
}

/// Makes room for the reserved range. To be called while the process has one thread, by whoever
/// runs that early: growing the table of several threads waits for a grace period of the kernel's
/// RCU, some 10 ms that io_uring_setup would take longer. Costs 2 us.
pub fn prepare() {
    grow_table(base() + 1);
}

/// First number of the reserved range: three quarters of the soft limit, but low enough that the
/// kernel's table (copied by every fork up to its highest number) stays small.
pub fn base() -> i32 {
    const HIGHEST: u64 = 1024;
    let soft = raw::rlimit(g::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    i32::try_from((soft / 4 * 3).min(HIGHEST)).unwrap_or(0)
}

/// [`base`] when it was last needed, 0 before: the limit seldom changes.
static BASE: AtomicI32 = AtomicI32::new(0);

fn refreshed_base() -> i32 {
    let base = base();
    BASE.store(base, Relaxed);
    base
}

/// A second number for `fd` in the reserved range, close-on-exec and marked.
///
/// # Errors
/// `EMFILE`: the range is full. `EBADF`.
pub fn dup_high(fd: i32) -> SysResult<i32> {
    let dup = |from: i32| raw::fcntl(fd, g::F_DUPFD_CLOEXEC, usize::try_from(from).unwrap_or(0));
    let from = match BASE.load(Relaxed) {
        0 => refreshed_base(),
        known => known,
    };
    let high = match dup(from) {
        // EINVAL: the limit was lowered below the range. EMFILE: maybe it was raised.
        Err(Errno::EINVAL | Errno::EMFILE) => dup(refreshed_base())?,
        other => other?,
    };
    mark(high);
    Ok(high)
}

/// Moves a descriptor that we just made into the reserved range.
///
/// # Errors
/// As [`dup_high`]; then it stays where it is.
pub(crate) fn take_high(fd: i32) -> SysResult<i32> {
    let high = dup_high(fd)?;
    let _ = raw::close(fd);
    Ok(high)
}

/// Moves a descriptor that we just made into the reserved range; it keeps its number (then
/// close-on-exec and marked) when the range is full.
pub fn move_high(fd: i32) -> i32 {
    take_high(fd).unwrap_or_else(|_| {
        let _ = raw::fcntl(fd, g::F_SETFD, g::FD_CLOEXEC as usize);
        mark(fd);
        fd
    })
}

/// The parts of `lo..=hi` that hold no number of ours, in order: what an interposed
/// `close_range(lo, hi)` may close.
pub fn skip_ours(lo: u32, hi: u32) -> impl Iterator<Item = (u32, u32)> {
    let ours = OURS | stamp();
    let mut next = Some(lo);
    let mut marks = words(lo, hi).filter(move |(_, w)| w.load(Relaxed) == ours);
    core::iter::from_fn(move || {
        loop {
            let start = next.filter(|s| *s <= hi)?;
            let Some((mark, _)) = marks.next() else {
                next = None;
                return Some((start, hi));
            };
            let mark = mark.cast_unsigned();
            next = mark.checked_add(1);
            if mark > start {
                return Some((start, mark - 1));
            }
        }
    })
}

/// The first act of a forked child: closes every number that was the parent's engine's, so that
/// peers see the parent's closes. The child has no POSIX locks yet, so no close can drop one.
pub fn after_fork_in_child() {
    for (fd, w) in words(0, u32::MAX) {
        let known = w.load(Relaxed);
        if is_lent_word(known) {
            // The application's own; its copies are among the others.
            w.store(0, Relaxed);
        } else if known & OURS != 0 && known != OURS | stamp() {
            w.store(0, Relaxed);
            let _ = raw::close(fd);
        }
    }
}

/// The same where parent and child share the kernel's table (`CLONE_FILES`): the parent's engine goes
/// on with its numbers, which this process must neither see nor close either.
pub fn after_fork_with_files() {
    for (_, w) in words(0, u32::MAX) {
        let known = w.load(Relaxed);
        if is_lent_word(known) {
            w.store(0, Relaxed);
        } else if known & OURS != 0 {
            w.store(OURS | stamp(), Relaxed);
        }
    }
}

/// The pipes of all live rings, of this process and of those it was forked from.
mod inodes {
    use super::*;

    const PER_NODE: usize = 64;

    /// Inode, ring, commons.
    type Slot<'a> = (&'a AtomicU64, &'a AtomicU64, &'a AtomicUsize);

    struct Node {
        /// 0: free.
        ino: [AtomicU64; PER_NODE],
        ring: [AtomicU64; PER_NODE],
        /// Where its `kin::Shared` lies, 0 for nowhere.
        commons: [AtomicUsize; PER_NODE],
        next: AtomicPtr<Node>,
    }

    static FIRST: Node = Node::new();
    /// All pipes are on one device.
    static PIPEFS: AtomicU64 = AtomicU64::new(u64::MAX);

    impl Node {
        const fn new() -> Self {
            Self {
                ino: [const { AtomicU64::new(0) }; PER_NODE],
                ring: [const { AtomicU64::new(0) }; PER_NODE],
                commons: [const { AtomicUsize::new(0) }; PER_NODE],
                next: AtomicPtr::new(core::ptr::null_mut()),
            }
        }

        fn next(&self) -> Option<&'static Node> {
            // SAFETY: null, or a leaked box published with Release in `grow`.
            unsafe { self.next.load(Acquire).as_ref() }
        }

        fn grow(&self) -> Option<&'static Node> {
            let new = Box::into_raw(Box::new(Node::new()));
            if self.next.compare_exchange(core::ptr::null_mut(), new, AcqRel, Acquire).is_err() {
                // SAFETY: from `Box::into_raw` above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
            }
            self.next()
        }

        fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
            let both = self.ino.iter().zip(self.ring.iter());
            both.zip(self.commons.iter()).map(|((ino, ring), at)| (ino, ring, at))
        }
    }

    fn nodes() -> impl Iterator<Item = &'static Node> {
        core::iter::successors(Some(&FIRST), |n| n.next())
    }

    const BUSY: u64 = u64::MAX;

    pub(super) fn add(st: &g::stat, ring: u64) {
        PIPEFS.store(st.st_dev, Relaxed);
        let mut node = Some(&FIRST);
        while let Some(n) = node {
            for (ino, at, commons) in n.slots() {
                if ino.compare_exchange(0, BUSY, Acquire, Relaxed).is_ok() {
                    at.store(ring, Relaxed);
                    commons.store(0, Relaxed);
                    // Release: pairs with the Acquire in `find`, which then reads `at`.
                    ino.store(st.st_ino, Release);
                    return;
                }
            }
            node = n.next().or_else(|| n.grow());
        }
    }

    pub(super) fn remove(ring: u64) {
        let taken = |ino: &AtomicU64| !matches!(ino.load(Acquire), 0 | BUSY);
        for (ino, at, _) in nodes().flat_map(Node::slots) {
            if taken(ino) && at.load(Relaxed) == ring {
                at.store(0, Relaxed);
                ino.store(0, Release);
            }
        }
    }

    pub(super) fn find(st: &g::stat) -> Option<u64> {
        if st.st_mode & g::S_IFMT == g::S_IFIFO { find_pipe(st.st_dev, st.st_ino) } else { None }
    }

    fn slot(dev: u64, ino: u64) -> Option<Slot<'static>> {
        if dev != PIPEFS.load(Relaxed) {
            return None;
        }
        nodes().flat_map(Node::slots).find(|(i, ..)| i.load(Acquire) == ino)
    }

    pub(super) fn find_pipe(dev: u64, ino: u64) -> Option<u64> {
        let (_, at, _) = slot(dev, ino)?;
        Some(at.load(Relaxed)).filter(|ring| *ring != 0)
    }

    pub(super) fn set_commons((dev, ino): (u64, u64), at: usize) {
        if let Some((.., commons)) = slot(dev, ino) {
            commons.store(at, Relaxed);
        }
    }

    pub(super) fn commons(dev: u64, ino: u64) -> usize {
        slot(dev, ino).map_or(0, |(.., commons)| commons.load(Relaxed))
    }

    pub(super) fn adopt(dev: u64, ino: u64, ring: u64) {
        if let Some((_, at, _)) = slot(dev, ino) {
            at.store(ring, Relaxed);
        }
    }

    pub(super) fn any() -> bool {
        if PIPEFS.load(Relaxed) == u64::MAX {
            return false;
        }
        nodes().flat_map(Node::slots).any(|(ino, ..)| ino.load(Relaxed) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_alloc::vec::Vec;

    #[test]
    fn a_range_is_closed_around_our_numbers() {
        // Far from what other tests have.
        for fd in [900_000, 900_001, 900_004, 900_009] {
            mark(fd);
        }
        let parts = |lo, hi| skip_ours(lo, hi).collect::<Vec<_>>();
        assert_eq!(parts(900_000, 900_009), [(900_002, 900_003), (900_005, 900_008)]);
        assert_eq!(parts(899_990, 900_002), [(899_990, 899_999), (900_002, 900_002)]);
        assert_eq!(parts(900_000, 900_001), []);
        assert_eq!(parts(900_005, 900_008), [(900_005, 900_008)]);
        assert_eq!(parts(900_010, u32::MAX), [(900_010, u32::MAX)]);
        assert_eq!(parts(5, 4), []);
        for fd in [900_000, 900_001, 900_004, 900_009] {
            close_ours(fd);
            assert!(!is_ours(fd));
        }
    }

    #[test]
    fn a_moved_descriptor_is_high_ours_and_close_on_exec() {
        let fd = raw::eventfd(0, 0).unwrap();
        let high = move_high(fd);
        assert!(high >= base() && is_ours(high) && !is_ours(fd));
        assert_eq!(raw::fcntl(high, g::F_GETFD, 0), Ok(g::FD_CLOEXEC as i32));
        assert_eq!(ring_of(high), Err(Errno::EBADF));
        closed(high);
        closed_range(0, u32::MAX);
        assert!(is_ours(high), "the application's closes do not reach it");
        close_ours(high);
        assert!(raw::fstat(high).is_err());
    }
}
