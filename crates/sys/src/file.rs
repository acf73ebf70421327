//! References to open files that do not depend on the application's descriptor numbers.
//!
//! ```text
//!  LinuxFile = Arc { home: a number in a shelf of the keeper      registered, taken, or no other way
//!                    number: a high number in the app table }     sockets, pipes, ...: always if one
//!                                                                 is free; regular files: only while
//!                                                                 no POSIX lock can exist
//! ```
//!
//! At least one of the two exists. A registered file has a home, so that nothing the application
//! closes, and no lack of numbers, can take it away; its number is a cache for inline calls. A file
//! held for one waiting request has a number only, if that is allowed.
//!
//! Numbers of regular files are listed, so that `posixlock` can withdraw them. What it does not do: read or write; know which request holds a file.

mod same;
#[cfg(test)]
mod tests;

use core::sync::atomic::AtomicI32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use rust_alloc::collections::BTreeMap;
use rust_alloc::sync::{Arc, Weak};
use rust_alloc::vec::Vec;

use lock_api::{MappedMutexGuard, MutexGuard};
use ringer_engine::host::{FileKind, HostFile};
use ringer_uapi::Errno;

use crate::keeper::{self, Cloexec, Facts, Home, Settled, Wait};
use crate::lock::{ForkLock, ForkMutex};
use crate::raw::{self, SysResult, general as g};
use crate::{fdtable, generation, posixlock, ringobj};

/// No number.
const NONE: i32 = -1;

/// See the module's doc.
#[derive(Clone, Debug)]
pub struct LinuxFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facts: Facts,
    home: ForkMutex<Option<Home>>,
    number: AtomicI32,
    /// Where [`Inner::number`] was replaced by a placeholder; still ours to close.
    withdrawn: AtomicI32,
    generation: u32,
}

/// Numbers in the app table whose close could drop a POSIX lock. See `posixlock` for the lock.
///
/// An entry whose file is gone waits for the janitor, or for the first POSIX lock. With the
/// generation of the process whose numbers these are.
static LOCKABLE: ForkMutex<(u32, Listed)> = ForkMutex::new((0, Listed::new()));

/// Numbers and their files.
type Listed = BTreeMap<i32, Weak<Inner>>;

/// The list, empty in a forked child: the numbers were the parent's.
fn lockable_numbers() -> MappedMutexGuard<'static, ForkLock, Listed> {
    MutexGuard::map(LOCKABLE.lock(), |(generation, listed)| {
        if *generation != generation::current() {
            // However far its last holder in the parent got.
            core::mem::forget(core::mem::take(listed));
            *generation = generation::current();
        }
        listed
    })
}

fn kind_of(facts: &Facts) -> FileKind {
    match facts.kind() {
        g::S_IFREG | g::S_IFBLK => FileKind::Regular,
        g::S_IFDIR => FileKind::Directory,
        g::S_IFSOCK => FileKind::Socket,
        g::S_IFIFO => FileKind::Pipe,
        _ => FileKind::Other,
    }
}

/// What `fd` is.
///
/// # Errors
/// `EBADF`.
pub fn kind(fd: i32) -> SysResult<FileKind> {
    Facts::of(fd).map(|facts| kind_of(&facts))
}

/// Whether closing a number of the file in the app table could drop a POSIX lock. Such locks are
/// possible on pipes and character devices too; nobody uses them there, and those must be polled
/// by number.
fn lockable(facts: &Facts) -> bool {
    matches!(facts.kind(), g::S_IFREG | g::S_IFBLK | g::S_IFDIR)
}

impl Inner {
    fn new(facts: Facts, home: Option<Home>) -> Arc<Self> {
        Arc::new(Self {
            facts,
            home: ForkMutex::new(home),
            number: AtomicI32::new(NONE),
            withdrawn: AtomicI32::new(NONE),
            generation: generation::current(),
        })
    }

    /// Gives the file a number of the app table, a second one for `fd`, if it may have one.
    ///
    /// # Errors
    /// `EPERM`: it may not. `EMFILE`: none is free. `EBADF`.
    fn cache_number(self: &Arc<Self>, fd: i32) -> SysResult<()> {
        if !keeper::in_app_table() {
            return Err(Errno::EPERM);
        }
        if !lockable(&self.facts) {
            self.number.store(fdtable::dup_high(fd)?, Release);
            return Ok(());
        }
        let mut listed = lockable_numbers();
        if posixlock::may_hold() {
            return Err(Errno::EPERM);
        }
        let number = fdtable::dup_high(fd)?;
        listed.insert(number, Arc::downgrade(self));
        self.number.store(number, Release);
        Ok(())
    }

    /// Gives up every number in the app table, and takes the home out for closing.
    fn dissolve(&self) -> Option<Home> {
        let home = self.home.lock().take();
        if self.generation != generation::current() {
            // In a forked child: `after_fork_in_child` closes the numbers, the keeper and what
            // it holds are the parent's.
            core::mem::forget(home);
            return None;
        }
        let withdrawn = self.withdrawn.swap(NONE, Relaxed);
        if withdrawn != NONE {
            keeper::close_in_app_table(withdrawn);
        }
        self.give_up_number();
        home
    }

    fn give_up_number(&self) {
        let number = self.number.swap(NONE, Relaxed);
        if number != NONE && !lockable(&self.facts) {
            keeper::close_in_app_table(number);
        } else if number != NONE {
            keeper::in_app_table_do(move || close_lockable(number));
        }
    }
}

/// In the app table: closes the number of a file that is gone, unless that was done already or the
/// process may hold locks by now; then the number has to stay, as an open file of ours.
fn close_lockable(number: i32) {
    let mut listed = lockable_numbers();
    if posixlock::may_hold() {
        // Not withdrawn means that it could not be.
        return;
    }
    if listed.remove(&number).is_some() {
        // Under the lock: a first POSIX lock comes before the look or after the close.
        fdtable::close_ours(number);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        close_homes(self.dissolve().into_iter().collect(), Wait::No);
    }
}

fn close_homes(homes: Vec<Home>, wait: Wait) {
    if !homes.is_empty()
        && let Ok(keeper) = keeper::get()
    {
        keeper.close(homes, wait);
    }
}

/// Before the first POSIX lock: gives the listed files homes and replaces their numbers.
/// `from_now_on` is what makes [`posixlock::may_hold`] say so.
pub(crate) fn withdraw_lockable_numbers(from_now_on: impl FnOnce()) {
    // Dropped after the lock: a last reference dissolves its file, which takes the lock.
    let mut kept = Vec::new();
    let mut listed = lockable_numbers();
    from_now_on();
    if !listed.is_empty() {
        withdraw(&mut listed, &mut kept);
    }
    drop(listed);
}

fn withdraw(listed: &mut Listed, kept: &mut Vec<LinuxFile>) {
    let flags = g::O_PATH | g::O_CLOEXEC;
    let placeholder = raw::openat(g::AT_FDCWD, c"/", flags, 0);
    listed.retain(|number, file| {
        let Some(file) = file.upgrade() else {
            // Its close is on its way, and need not wait: no lock is held yet.
            fdtable::close_ours(*number);
            return false;
        };
        let housed = give_home(&file, *number);
        kept.push(LinuxFile(Arc::clone(&file)));
        let (Ok(()), Ok(placeholder)) = (housed, placeholder) else { return true };
        file.number.store(NONE, Release);
        file.withdrawn.store(*number, Relaxed);
        raw::dup3(placeholder, *number, g::O_CLOEXEC).is_err()
    });
    if let Ok(placeholder) = placeholder {
        let _ = raw::close(placeholder);
    }
}

/// Sees to it that the file behind the calling thread's `fd` has a home.
fn give_home(file: &Inner, fd: i32) -> SysResult<()> {
    let mut home = file.home.lock();
    if home.is_none() {
        *home = keeper::get()?.bring(&[fd])?.into_iter().map(|(home, _)| home).next();
    }
    Ok(())
}

impl LinuxFile {
    /// Sends 1 to an eventfd, from any thread.
    pub fn signal_eventfd(&self) {
        let one = 1u64.to_ne_bytes();
        if let Some(number) = self.number() {
            // A private worker's table has other numbers.
            let held = self.clone();
            keeper::in_app_table_do(move || {
                let _ = raw::write(number, &one);
                drop(held);
            });
        } else if let Some(home) = &*self.0.home.lock() {
            let number = home.number;
            let _ = home.shelf.call(move || raw::write(number, &one));
        }
    }

    /// Whether a copy may outlive its request as far as the file goes: no ring's (a pipe) may.
    pub(crate) fn may_be_lent(&self) -> bool {
        let Facts { dev, ino, .. } = self.0.facts;
        keeper::in_app_table() && fdtable::ring_of_pipe(dev, ino).is_none()
    }

    /// Whether the application's number `fd` is this file, of which there is no second one: a socket
    /// or a pipe.
    pub(crate) fn is_still(&self, fd: i32) -> bool {
        keeper::in_app_table() && Facts::of(fd).is_ok_and(|now| now == self.0.facts)
    }

    fn fetch(&self, cloexec: Cloexec) -> SysResult<i32> {
        let home = self.0.home.lock();
        home.as_ref().map_or(Err(Errno::EMFILE), |home| keeper::get()?.fetch(home, cloexec))
    }
}

impl HostFile for LinuxFile {
    fn kind(&self) -> FileKind {
        kind_of(&self.0.facts)
    }

    /// One load. Only threads that share the application's table may use it.
    #[inline]
    fn number(&self) -> Option<i32> {
        // Acquire: pairs with the Release of `cache_number`; free on x86.
        Some(self.0.number.load(Acquire)).filter(|number| *number != NONE)
    }

    /// A device of its own is a disk. Of the file systems that have none, those on top of local ones are
    /// named.
    fn is_local(&self) -> bool {
        // btrfs, overlayfs, tmpfs, zfs.
        const ON_DISKS: [u64; 4] = [0x9123_683e, 0x794c_7630, 0x0102_1994, 0x2fc1_2fc1];
        let major = self.0.facts.dev >> 8 & 0xfff | self.0.facts.dev >> 32 & !0xfff;
        major != 0
            || self
                .number()
                .is_some_and(|fd| raw::file_system(fd).is_ok_and(|magic| ON_DISKS.contains(&magic)))
    }

    /// Where that cannot be told, by inode, which takes two opens of one file for one, and is not used
    /// for files that share the anonymous inode.
    fn same_file(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) {
            return true;
        }
        if self.0.facts != other.0.facts {
            return false;
        }
        // Nothing opens a socket a second time.
        if self.0.facts.kind() == g::S_IFSOCK {
            return true;
        }
        same::same(&self.0, &other.0).unwrap_or(self.0.facts.kind() != 0)
    }

    fn another(&self) -> SysResult<Self> {
        let number = self.number().ok_or(Errno::EMFILE)?;
        let inner = Inner::new(self.0.facts, None);
        inner.cache_number(number)?;
        Ok(Self(inner))
    }
}

// --- what trait Host asks --------------------------------------------------------------------

/// Holds the file behind `fd` for a request that must wait: one `fstat`, one `fcntl`.
///
/// # Errors
/// `EBADF`; `EMFILE`, `ENOMEM`, `EAGAIN` when no descriptor is to be had anywhere.
pub fn hold(fd: i32) -> SysResult<LinuxFile> {
    if fdtable::is_ours(fd) {
        return Err(Errno::EBADF);
    }
    let facts = Facts::of(fd)?;
    if facts.kind() == g::S_IFIFO {
        // A ring's descriptor is a pipe, readable only once somebody wants to know.
        ringobj::polled_pipe(facts.dev, facts.ino);
    }
    let inner = Inner::new(facts, None);
    match inner.cache_number(fd) {
        Ok(()) => {}
        Err(Errno::EBADF) => return Err(Errno::EBADF),
        Err(_) => give_home(&inner, fd)?,
    }
    Ok(LinuxFile(inner))
}

/// Holds many files, all or none, in the keeper; numbers that occur twice are held once.
///
/// # Errors
/// `EBADF` for a closed number, an `O_PATH` file, a ring, or a number of the engine's own;
/// `ENOMEM`, `EAGAIN`.
pub fn adopt(fds: &[i32]) -> SysResult<Vec<LinuxFile>> {
    if fds.iter().any(|fd| fdtable::is_ours(*fd)) {
        return Err(Errno::EBADF);
    }
    let mut once: Vec<i32> = fds.to_vec();
    once.sort_unstable();
    once.dedup();
    let homes = keeper::get()?.bring(&once)?;
    let files: BTreeMap<i32, LinuxFile> =
        once.into_iter().zip(homes).map(|(fd, settled)| (fd, housed(fd, settled))).collect();
    fds.iter().map(|fd| files.get(fd).cloned().ok_or(Errno::EBADF)).collect()
}

/// A file with a home, and with a number if `fd` still is the same file.
fn housed(fd: i32, (home, facts): Settled) -> LinuxFile {
    let inner = Inner::new(facts, Some(home));
    let cached = inner.cache_number(fd).is_ok();
    let number = inner.number.load(Relaxed);
    if cached && Facts::of(number).is_ok_and(|now| now != facts) {
        // The application exchanged it behind our back; the home is what was registered.
        inner.give_up_number();
    }
    LinuxFile(inner)
}

/// Turns a descriptor that the calling thread's call just made into a held file; the number is
/// free afterwards. A socket or pipe only moves up in the app table; the rest gets a home.
///
/// # Errors
/// `EMFILE`, `ENOMEM`, `EAGAIN`.
pub fn take(fd: i32) -> SysResult<LinuxFile> {
    let taken = Facts::of(fd).and_then(|mut facts| {
        if lockable(&facts) && raw::fcntl(fd, g::F_GETFL, 0)?.cast_unsigned() & g::O_PATH != 0 {
            // A place and no file: no lock goes with it (fs/open.c `filp_flush`).
            facts.mode &= !g::S_IFMT;
        }
        let inner = Inner::new(facts, None);
        let moved = !lockable(&facts) && inner.cache_number(fd).is_ok();
        if !moved {
            give_home(&inner, fd)?;
            // A number is a luxury.
            let _ = inner.cache_number(fd);
        }
        Ok(LinuxFile(inner))
    });
    let _ = raw::close(fd);
    taken
}

/// Drops references; what only these kept open is closed on return.
pub fn release(files: Vec<LinuxFile>) {
    let last = files.into_iter().filter_map(|file| Arc::into_inner(file.0));
    // Each drop then finds nothing left to do.
    close_homes(last.filter_map(|inner| inner.dissolve()).collect(), Wait::Yes);
}

/// Makes sure that a private thread can have the file: one that only has a number gets a home.
///
/// # Errors
/// `EMFILE`, `ENOMEM`.
pub fn house(file: &LinuxFile) -> SysResult<()> {
    match file.number() {
        Some(number) if keeper::in_app_table() => give_home(&file.0, number),
        _ => Ok(()),
    }
}

/// In a private thread: puts the file into its table.
///
/// # Errors
/// `EMFILE`: no number, or the file has no home that can be reached. `ENOMEM`.
pub fn borrow(file: &LinuxFile) -> SysResult<i32> {
    file.fetch(Cloexec::Yes)
}

/// Ends a [`borrow`].
pub fn give_back(fd: i32) {
    let _ = raw::close(fd);
}

/// Gives the file the lowest free number of the app table.
///
/// # Errors
/// `EMFILE`.
pub fn install(file: &LinuxFile, cloexec: bool) -> SysResult<i32> {
    let cmd = if cloexec { g::F_DUPFD_CLOEXEC } else { g::F_DUPFD };
    match file.number() {
        Some(number) => raw::fcntl(number, cmd, 0),
        None => file.fetch(if cloexec { Cloexec::Yes } else { Cloexec::No }),
    }
}
