//! Whether two references are to one open file, and not only to one inode.
//!
//! kcmp(2) says it, where it is allowed. Where it is not, a mark is put on one of them and looked for
//! on the other: who is sent SIGIO (fcntl(2), `F_SETOWN_EX`), which belongs to an open file and means
//! nothing where O_ASYNC is off and nobody holds a lease. A file that has an owner keeps it.
//!
//! ```text
//!   owners differ               -> two
//!   nobody's, nobody's          -> mark a: b has it -> one, b has not -> two; unmark a
//!   somebody's, the same one's  -> cannot be told
//! ```

use rust_alloc::sync::Arc;

use ringer_uapi::Errno;

use super::{Inner, NONE};
use crate::keeper::{self, Shelf};
use crate::lock::ForkMutex;
use crate::raw::{self, SysResult, general as g};
use crate::thread;
use core::sync::atomic::Ordering::Acquire;

/// Where an open file can be had: a number, here or in a shelf's table.
enum Place {
    Here(i32),
    There(Arc<Shelf>, i32),
}

impl Place {
    fn of(file: &Inner) -> Option<Self> {
        let number = file.number.load(Acquire);
        if number != NONE && keeper::in_app_table() {
            return Some(Self::Here(number));
        }
        file.home.lock().as_ref().map(|home| Self::There(Arc::clone(&home.shelf), home.number))
    }

    /// A thread and its number.
    fn task(&self) -> (u32, i32) {
        match self {
            Self::Here(number) => (thread::tid(), *number),
            Self::There(shelf, number) => (shelf.tid(), *number),
        }
    }

    /// Has a call made on the file.
    fn call<R: Send + 'static>(&self, f: impl FnOnce(i32) -> R + Send + 'static) -> R {
        match self {
            Self::Here(number) => f(*number),
            Self::There(shelf, number) => {
                let number = *number;
                shelf.call(move || f(number))
            }
        }
    }
}

/// Whether both are one open file; `None`: nobody can say.
pub(super) fn same(a: &Inner, b: &Inner) -> Option<bool> {
    // One lock at a time: cancel compares both ways round.
    let (a, b) = (Place::of(a)?, Place::of(b)?);
    by_kcmp(a.task(), b.task()).or_else(|| by_owner(&a, &b))
}

/// `kcmp(2)` of two (thread, number); the threads may have different tables.
fn by_kcmp(a: (u32, i32), b: (u32, i32)) -> Option<bool> {
    const KCMP_FILE: usize = 0;
    let (task_a, task_b) = (a.0 as usize, b.0 as usize);
    let (fd_a, fd_b) = (raw::fd_arg(a.1), raw::fd_arg(b.1));
    // SAFETY: touches no memory.
    let order = unsafe { raw::syscall5(g::__NR_kcmp, task_a, task_b, KCMP_FILE, fd_a, fd_b) };
    Errno::demux(order).ok().map(|order| order == 0)
}

/// `struct f_owner_ex`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Owner {
    kind: i32,
    pid: i32,
}

impl Owner {
    fn of(fd: i32) -> SysResult<Self> {
        let mut owner = Self::default();
        raw::fcntl(fd, g::F_GETOWN_EX, &raw mut owner as usize)?;
        Ok(owner)
    }

    fn set(self, fd: i32) -> SysResult<()> {
        raw::fcntl(fd, g::F_SETOWN_EX, &raw const self as usize).map(|_| ())
    }

    fn is_nobody(self) -> bool {
        self.pid == 0
    }
}

fn by_owner(a: &Place, b: &Place) -> Option<bool> {
    /// One mark at a time.
    static MARKING: ForkMutex<()> = ForkMutex::new(());
    const TID: i32 = 0;
    let _alone = MARKING.lock();
    let (of_a, of_b) = (a.call(Owner::of).ok()?, b.call(Owner::of).ok()?);
    match (of_a.is_nobody(), of_b.is_nobody()) {
        (true, true) => {}
        (false, false) if of_a == of_b => return None,
        _ => return Some(false),
    }
    let mark = Owner { kind: TID, pid: thread::tid().cast_signed() };
    a.call(move |fd| mark.set(fd)).ok()?;
    let seen = b.call(Owner::of);
    // Whoever gave it an owner meanwhile wins.
    a.call(move |fd| {
        if Owner::of(fd) == Ok(mark) {
            let _ = of_a.set(fd);
        }
    });
    Some(seen.ok()? == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_opens_of_one_file_are_told_apart_by_a_mark_that_goes() {
        let code = raw::testing::in_child(|| {
            marked();
            0
        });
        assert_eq!(code, 0, "see stderr");
    }

    fn marked() {
        let open = || raw::openat(g::AT_FDCWD, c"/proc/self/exe", g::O_RDONLY, 0).unwrap();
        let (r, w) = raw::pipe2(g::O_CLOEXEC).unwrap();
        let event = |n| raw::eventfd(n, g::EFD_CLOEXEC).unwrap();
        let (file, sock) = (open(), raw::socketpair(1, 1).unwrap().0);
        let dup = |fd| raw::fcntl(fd, g::F_DUPFD_CLOEXEC, 0).unwrap();
        let is = |a, b| by_owner(&Place::Here(a), &Place::Here(b));
        for (one, other) in [(file, open()), (r, w), (event(0), event(0)), (sock, event(0))] {
            assert_eq!(is(one, other), Some(false));
            assert_eq!((is(one, dup(one)), is(dup(other), other)), (Some(true), Some(true)));
            assert_eq!(Owner::of(one).map(Owner::is_nobody), Ok(true));
        }
        let me = Owner { kind: 1, pid: raw::getpid().cast_signed() };
        me.set(file).unwrap();
        assert_eq!((is(file, open()), is(open(), file)), (Some(false), Some(false)));
        assert_eq!((is(file, dup(file)), Owner::of(file)), (None, Ok(me)));
    }
}
