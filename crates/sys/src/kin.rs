//! Processes that share rings by fork(2): who they are, whether they live, and the memory and the lock
//! that they have in common.
//!
//! ```text
//!  process table   [number, pid, start, stack, namespace, calls] ...   one for all of a lineage
//!  a ring's page   lock | the engine's words                           one for each shared ring
//! ```
//!
//! Both are anonymous shared memory, at the same address in every process: whoever knows it was forked
//! from one that made it.
//!
//! **The lock** names its holder. Who waits for it looks from time to time whether that process lives,
//! and takes it from one that does not. It is held for as long as a batch of requests is begun, never
//! while something is waited for, so it is spun for and slept on in short naps, and unlocking costs one
//! store.
//!
//! **Whether a process lives** is more than whether its number is in use: the number may be another's by
//! now, it may be a zombie, or have executed another program. /proc/PID/stat tells all three (start time,
//! state, address of the stack). What cannot be known, as across pid namespaces, is taken for alive.
//!
//! What it does not do: know what the words mean (the engine's `ring::kin` does).

use core::ffi::CStr;
use core::fmt::Write as _;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
use rust_alloc::boxed::Box;

use ringer_engine::host::{HostCommons, HostResult};
use ringer_ring::Map;
use ringer_uapi::Errno;

use crate::generation;
use crate::raw::{self, SysResult, general as g};
use crate::thread;

// --- memory in common --------------------------------------------------------------------------------

/// Anonymous memory that children forked from here on share.
///
/// # Errors
/// `ENOMEM`.
fn shared(len: usize) -> SysResult<usize> {
    let (prot, flags) = (g::PROT_READ | g::PROT_WRITE, g::MAP_SHARED | g::MAP_ANONYMOUS);
    // SAFETY: a new mapping, where nothing is.
    unsafe { raw::mmap(0, len, prot, flags, -1, 0) }
}

/// Memory at an address that [`shared`] answered, here or in a process this one was forked from.
fn map_of(at: usize, len: usize) -> SysResult<Map> {
    let base = core::ptr::NonNull::new(core::ptr::with_exposed_provenance_mut(at));
    // SAFETY:
    // 1. `shared` made it page-aligned and of that length, and nothing unmaps it: in a child it is
    //    inherited at the same address.
    // 2. Only `Map`s look at it, in any process.
    base.map(|base| unsafe { Map::new(base, len) }).ok_or(Errno::ENOMEM)
}

// --- the process table -------------------------------------------------------------------------------

/// Processes that share rings at the same time, at most.
const PROCESSES: u32 = 1024;
/// From one to the next \[bytes\].
const STRIDE: usize = 64;
const TABLE_LEN: usize = PROCESSES as usize * STRIDE;

/// In an entry of the table.
mod entry {
    /// 0: free. Else the entry's place and 1, and a multiple of the table's length, so that no number
    /// is used twice.
    pub(super) const NUMBER: usize = 0;
    /// Futex; how often it was called.
    pub(super) const CALLS: usize = 4;
    pub(super) const PID: usize = 8;
    pub(super) const START: usize = 16;
    pub(super) const STACK: usize = 24;
    pub(super) const NAMESPACE: usize = 32;
}

/// The table of this process's lineage; a child has its parent's.
static TABLE: AtomicPtr<Map> = AtomicPtr::new(core::ptr::null_mut());
/// Generation and number of this process, if it has one.
static ME: AtomicU64 = AtomicU64::new(0);

fn table() -> SysResult<&'static Map> {
    // Acquire: pairs with the publication below.
    let known = TABLE.load(Acquire);
    // SAFETY: null, or a leaked box that was published below, in this process or an ancestor.
    if let Some(table) = unsafe { known.as_ref() } {
        return Ok(table);
    }
    let new = Box::into_raw(Box::new(map_of(shared(TABLE_LEN)?, TABLE_LEN)?));
    // A lost race leaks an empty table, once.
    match TABLE.compare_exchange(core::ptr::null_mut(), new, AcqRel, Acquire) {
        // SAFETY: from `Box::into_raw` above, and never freed.
        Ok(_) => Ok(unsafe { &*new }),
        // SAFETY: published by another thread, and never freed.
        Err(first) => Ok(unsafe { &*first }),
    }
}

/// Where the entry of a process lies.
fn entry_of(number: u32) -> usize {
    (number.wrapping_sub(1) % PROCESSES) as usize * STRIDE
}

/// What tells a process from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    pid: u64,
    start: u64,
    stack: u64,
}

/// The number of this process, which it gets with the first call.
///
/// # Errors
/// `ENOMEM`: no memory, or all numbers are taken by processes that live.
fn me() -> SysResult<u32> {
    let known = ME.load(Relaxed);
    let generation = generation::current();
    if (known >> 32) as u32 == generation {
        return Ok(known as u32);
    }
    let table = table()?;
    // Without /proc there are no rings.
    let stat = Stat::read(None).ok_or(Errno::ENOMEM)?;
    let number = claim(table)?;
    let at = entry_of(number);
    table.w64(at + entry::PID).store(stat.id.pid, Relaxed);
    table.w64(at + entry::START).store(stat.id.start, Relaxed);
    table.w64(at + entry::STACK).store(stat.id.stack, Relaxed);
    table.w64(at + entry::NAMESPACE).store(namespace(), Relaxed);
    // Release: pairs with the Acquire in `lives`, which then finds the rest.
    table.w32(at + entry::NUMBER).store(number, Release);
    let mine = u64::from(generation) << 32 | u64::from(number);
    // Another thread may have been first.
    match ME.compare_exchange(known, mine, Relaxed, Relaxed) {
        Ok(_) => Ok(number),
        Err(first) => {
            table.w32(at + entry::NUMBER).store(0, Relaxed);
            Ok(first as u32)
        }
    }
}

/// An entry's number while its owner fills it in: no process has it.
const CLAIMED: u32 = u32::MAX;

/// Takes a free entry, or one whose process is gone.
fn claim(table: &Map) -> SysResult<u32> {
    let take = |index: u32, was: u32| {
        let word = table.w32(index as usize * STRIDE + entry::NUMBER);
        word.compare_exchange(was, CLAIMED, AcqRel, Relaxed).is_ok()
    };
    let number = |index: u32| table.w32(index as usize * STRIDE + entry::NUMBER).load(Acquire);
    if let Some(index) = (0..PROCESSES).find(|index| number(*index) == 0 && take(*index, 0)) {
        // Unlike any number that the entry had before: those of ended processes are not freed.
        return Ok(index + 1);
    }
    let dead = |index: &u32| {
        let was = number(*index);
        was != CLAIMED && !lives(table, was) && take(*index, was)
    };
    let index = (0..PROCESSES).find(dead).ok_or(Errno::ENOMEM)?;
    let calls = table.w32(index as usize * STRIDE + entry::CALLS);
    // As good as a count of its own: what it had before is far below.
    let turn = calls.fetch_add(1 << 20, Relaxed) >> 20;
    Ok((turn + 1).wrapping_mul(PROCESSES).wrapping_add(index + 1))
}

/// Whether that process still runs the program it ran when it got its number.
fn lives(table: &Map, number: u32) -> bool {
    let at = entry_of(number);
    if table.w32(at + entry::NUMBER).load(Acquire) != number {
        return false;
    }
    let word = |off: usize| table.w64(at + off).load(Relaxed);
    if word(entry::NAMESPACE) != namespace() {
        return true;
    }
    let was =
        Identity { pid: word(entry::PID), start: word(entry::START), stack: word(entry::STACK) };
    let pid = u32::try_from(was.pid).unwrap_or(0);
    if !raw::process_exists(pid) {
        return false;
    }
    // Hidden from this user: its number is in use, which is all there is to know.
    let Some(stat) = Stat::read(Some(pid)) else { return true };
    let same_program = was.stack == 0 || stat.id.stack == 0 || was.stack == stat.id.stack;
    !stat.ended && was.start == stat.id.start && same_program
}

/// Which pid namespace this process is in, 0 where that cannot be seen.
fn namespace() -> u64 {
    let Ok(fd) = raw::openat(g::AT_FDCWD, c"/proc/self/ns/pid", g::O_RDONLY | g::O_CLOEXEC, 0)
    else {
        return 0;
    };
    let ino = raw::fstat(fd).map_or(0, |st| st.st_ino);
    let _ = raw::close(fd);
    ino
}

/// What proc_pid_stat(5) tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    id: Identity,
    /// A zombie, its threads gone, too.
    ended: bool,
}

impl Stat {
    /// Of that process, or of the calling one.
    fn read(pid: Option<u32>) -> Option<Self> {
        let mut path = Text::default();
        match pid {
            None => path.write_str("/proc/self/stat"),
            Some(pid) => write!(path, "/proc/{pid}/stat"),
        }
        .ok()?;
        let fd = raw::openat(g::AT_FDCWD, path.c_str()?, g::O_RDONLY | g::O_CLOEXEC, 0).ok()?;
        let mut text = [0u8; 1024];
        let read = raw::read(fd, &mut text);
        let _ = raw::close(fd);
        Self::parse(text.get(..read.ok()?)?)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let number = |field: &[u8]| core::str::from_utf8(field).ok()?.trim().parse::<u64>().ok();
        let pid = number(text.split(|b| *b == b' ').next()?)?;
        // The name may hold anything, also what looks like its end.
        let behind = text.iter().rposition(|b| *b == b')')? + 2;
        let mut fields = text.get(behind..)?.split(|b| *b == b' ');
        // Fields 3, 20, 22 and 28.
        let state = *fields.next()?.first()?;
        let threads = number(fields.nth(16)?)?;
        let start = number(fields.nth(1)?)?;
        let stack = number(fields.nth(5)?)?;
        let ended = matches!(state, b'Z' | b'X') && threads <= 1;
        Some(Self { id: Identity { pid, start, stack }, ended })
    }
}

/// A short text with a NUL behind it.
#[derive(Debug)]
struct Text([u8; 40], usize);

impl Default for Text {
    fn default() -> Self {
        Self([0; 40], 0)
    }
}

impl Text {
    fn c_str(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.0).ok()
    }
}

impl core::fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let end = self.1 + s.len();
        // The last byte stays NUL.
        let room = self.0.get_mut(self.1..end).filter(|_| end < 40).ok_or(core::fmt::Error)?;
        room.copy_from_slice(s.as_bytes());
        self.1 = end;
        Ok(())
    }
}

// --- what a shared ring has ------------------------------------------------------------------------------

/// In a shared ring's page, before the engine's words.
mod head {
    /// Who holds the lock, 0: nobody.
    pub(super) const HOLDER: usize = 0;
    /// Somebody in one of the processes waits on the ring's descriptor.
    pub(super) const POLLED: usize = 4;
    pub(super) const SIZE: usize = 64;
}

/// Where the memory of a shared ring lies, at the same place in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Views {
    /// Address and length of the rings.
    pub(crate) rings: (usize, usize),
    /// Address and length of the SQEs.
    pub(crate) sqes: (usize, usize),
    /// The memory is the application's.
    pub(crate) is_users: bool,
}

/// What a process knows of a ring that it shared. A child inherits a copy of it, which no other process can
/// change: the page itself is as hostile as any memory that others write.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Address and length of the page.
    page: (usize, usize),
    /// See [`Views`].
    pub(crate) views: Views,
}

impl Shared {
    /// Makes the page of a ring.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn make(len: usize, views: Views) -> SysResult<&'static Self> {
        let whole = head::SIZE + len;
        let new = Self { page: (shared(whole)?, whole), views };
        // A number that was closed may still lead to it: it is never freed.
        Ok(Box::leak(Box::new(new)))
    }

    /// What lies at an address that [`Shared::addr`] answered, here or in an ancestor; `None` for 0.
    pub(crate) fn at(addr: usize) -> Option<&'static Self> {
        let at: *const Self = core::ptr::with_exposed_provenance(addr);
        // SAFETY: 0, or the address of a leaked box of this process's or inherited, which never changes.
        unsafe { at.as_ref() }
    }

    /// Where this lies.
    pub(crate) fn addr(&'static self) -> usize {
        core::ptr::from_ref(self).expose_provenance()
    }

    fn head(&self) -> SysResult<Map> {
        map_of(self.page.0, head::SIZE)
    }

    /// Whether somebody in any process waits on the ring's descriptor.
    #[inline]
    pub(crate) fn is_polled(&self) -> bool {
        self.head().is_ok_and(|m| m.w32(head::POLLED).load(Relaxed) != 0)
    }

    /// Somebody does.
    pub(crate) fn set_polled(&self) {
        if let Ok(m) = self.head() {
            m.w32(head::POLLED).store(1, Relaxed);
        }
    }

    /// Wakes who sleeps on the word at that byte of the engine's.
    pub(crate) fn unpark(&self, at: usize) {
        if let Ok(page) = map_of(self.page.0, self.page.1) {
            raw::futex_wake_among(page.w32(head::SIZE + at), u32::MAX);
        }
    }

    /// The ring is gone in this process: so is its page.
    pub(crate) fn unmap(&self) {
        // SAFETY: a page of `make`'s or inherited; the caller is the last to use it here.
        let _ = unsafe { raw::munmap(self.page.0, self.page.1) };
    }
}

/// See the module's doc.
#[derive(Debug)]
pub struct LinuxCommons {
    page: Map,
    words: Map,
    me: u32,
}

impl LinuxCommons {
    /// The page of a ring, made here or inherited.
    ///
    /// # Errors
    /// `ENOMEM`: this process gets no number.
    pub(crate) fn of(shared: &Shared) -> SysResult<Self> {
        let (at, len) = shared.page;
        let page = map_of(at, len)?;
        let words = map_of(at + head::SIZE, len - head::SIZE)?;
        Ok(Self { page, words, me: me()? })
    }

    fn holder(&self) -> &AtomicU32 {
        self.page.w32(head::HOLDER)
    }

    fn take(&self, from: u32) -> bool {
        // Acquire: pairs with the Release of the unlock.
        self.holder().compare_exchange(from, self.me, Acquire, Relaxed).is_ok()
    }

    #[cold]
    fn lock_contended(&self) -> Option<u32> {
        for round in 0_u32.. {
            let holder = self.holder().load(Relaxed);
            if holder == 0 && self.take(0) {
                return None;
            }
            // A process that is gone; and this one, in a child whose number is new.
            if holder != 0
                && round % LOOK_EVERY == LOOK_EVERY - 1
                && !self.lives(holder)
                && self.take(holder)
            {
                return Some(holder);
            }
            if round < SPINS {
                core::hint::spin_loop();
            } else {
                let _ = raw::futex_wait(&AtomicU32::new(0), 0, Some(NAP_NS));
            }
        }
        None
    }
}

/// How often to look before sleeping \[pauses\].
const SPINS: u32 = 200;
/// How long then \[ns\]: with the timer's slack some 100 us.
const NAP_NS: u64 = 50_000;
/// Looks until it is asked whether the holder lives.
const LOOK_EVERY: u32 = SPINS + 20;

impl HostCommons for LinuxCommons {
    fn words(&self) -> &Map {
        &self.words
    }

    #[inline]
    fn lock(&self) -> Option<u32> {
        if self.take(0) { None } else { self.lock_contended() }
    }

    fn try_lock(&self) -> Option<Option<u32>> {
        self.take(0).then_some(None)
    }

    #[inline]
    fn unlock(&self) {
        // Release: pairs with the Acquire of the next holder.
        self.holder().store(0, Release);
    }

    fn me(&self) -> u32 {
        self.me
    }

    fn lives(&self, process: u32) -> bool {
        process == self.me || table().is_ok_and(|table| lives(table, process))
    }

    fn park(&self, at: usize, expected: u32, timeout_ns: Option<u64>) -> HostResult<()> {
        thread::park_among(self.words.w32(at), expected, timeout_ns)
    }

    fn call(&self, process: u32) {
        let Ok(table) = table() else { return };
        let calls = table.w32(entry_of(process) + entry::CALLS);
        // Release: pairs with the Acquire in `await_call`; what it is about was written before.
        calls.fetch_add(1, Release);
        raw::futex_wake_among(calls, 1);
    }
}

/// Sleeps until another process calls this one, unless one has since `seen` was the answer.
pub(crate) fn await_call(seen: u32) -> u32 {
    let Ok((table, me)) = table().and_then(|table| Ok((table, me()?))) else {
        // It cannot be called. Nobody waits for this thread.
        let _ = thread::park(&AtomicU32::new(0), 0, None);
        return seen;
    };
    let calls = table.w32(entry_of(me) + entry::CALLS);
    if calls.load(Acquire) == seen {
        // Whatever ends the sleep, the word is looked at.
        let _ = thread::park_among(calls, seen, None);
    }
    calls.load(Acquire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::testing::in_child;

    #[test]
    fn a_name_that_looks_like_fields_is_read_over() {
        let text = b"77 (a) R 1 (b)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 3 18 99 20 21 22 23 24 4096 x";
        let id = Identity { pid: 77, start: 99, stack: 4096 };
        assert_eq!(Stat::parse(text), Some(Stat { id, ended: false }));
    }

    #[test]
    fn this_process_lives_and_has_one_number() {
        let (me, table) = (me().unwrap(), table().unwrap());
        assert_eq!(super::me(), Ok(me));
        assert!(lives(table, me));
        assert!(!lives(table, me + PROCESSES), "a number that nobody has");
    }

    #[test]
    fn the_lock_of_a_child_that_was_killed_is_taken_from_it() {
        let none = Views { rings: (0, 0), sqes: (0, 0), is_users: false };
        let shared = Shared::make(64, none).unwrap();
        let commons = LinuxCommons::of(shared).unwrap();
        let code = in_child(move || {
            let theirs = LinuxCommons::of(shared).unwrap();
            assert_eq!(theirs.lock(), None);
            theirs.words().w32(0).store(theirs.me(), Relaxed);
            0
        });
        assert_eq!(code, 0);
        let child = commons.words().w32(0).load(Relaxed);
        assert_ne!(child, commons.me());
        assert_eq!(commons.try_lock(), None);
        assert_eq!(commons.lock(), Some(child));
        commons.unlock();
        assert_eq!(commons.lock(), None);
        commons.unlock();
    }
}
