//! The application's memory: copies and word accesses in which a bad address is `EFAULT`.
//!
//! The routines are assembly in `arch/`; a SIGSEGV or SIGBUS inside them goes on at their `EFAULT`
//! exit (`signals.rs`) once [`crate::signals::install`] has run. A copy of a few words costs about a
//! nanosecond, a fault about 1.5 us. Before that, in a program that made no ring yet, the kernel is
//! asked about each page first, by a futex call that changes nothing (0.2 to 0.4 us). What they do not do: make two reads of the same word
//! agree (the application may change it any time: read once, check the copy).

use ringer_uapi::Errno;
use rust_alloc::boxed::Box;
use rust_alloc::vec::Vec;

use crate::raw::{self, PAGE, SysResult, TASK_SIZE, general as g};
use crate::{arch, signals};

/// Whether `addr..addr+len` lies below the end of user space, as access_ok() says.
fn is_user(addr: u64, len: usize) -> bool {
    addr.checked_add(len as u64).is_some_and(|end| end <= TASK_SIZE)
}

/// What is about to be done to the application's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

#[inline(always)]
fn checked(addr: u64, len: usize, access: Access) -> SysResult<()> {
    if !is_user(addr, len) {
        return Err(Errno::EFAULT);
    }
    if signals::ready() { Ok(()) } else { ask(addr, len, access) }
}

/// Asks the kernel whether `addr..addr+len`, below the end of user space, can be accessed.
///
/// One aligned word of every page is enough. FUTEX_CMP_REQUEUE of nobody reads it and compares;
/// FUTEX_WAKE_OP with "add 0" writes it back atomically. A waiter of the application's on that very
/// word could be woken for nothing, which a futex user must expect.
#[cold]
fn ask(addr: u64, len: usize, access: Access) -> SysResult<()> {
    const ADD_ZERO: usize = (g::FUTEX_OP_ADD << 28) as usize;
    let op = match access {
        Access::Read => g::FUTEX_CMP_REQUEUE,
        Access::Write => g::FUTEX_WAKE_OP,
    };
    let op = (op | g::FUTEX_PRIVATE_FLAG) as usize;
    let (mut at, end) = (addr as usize, addr as usize + len);
    // This page of the stack can be accessed. Often what a caller points at lies there.
    let local = 0u8;
    let stack = &raw const local as usize & !(PAGE - 1);
    if at >= stack && end <= stack + PAGE {
        return Ok(());
    }
    while at < end {
        let word = at & !3;
        // SAFETY: reads or rewrites a word of the application's, as it asked for; wakes, moves and
        // stores nothing.
        let ret = unsafe { raw::syscall6(g::__NR_futex, [word, op, 0, 0, word, ADD_ZERO]) };
        if Errno::demux(ret) == Err(Errno::EFAULT) {
            return Err(Errno::EFAULT);
        }
        at = (at | (PAGE - 1)) + 1;
    }
    Ok(())
}

fn faulted(ret: isize) -> SysResult<()> {
    if ret == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies from the application.
///
/// # Errors
/// `EFAULT`; a part may have been copied.
#[inline]
pub fn copy_in(addr: u64, to: &mut [u8]) -> SysResult<()> {
    checked(addr, to.len(), Access::Read)?;
    // SAFETY: `to` is ours for its length; the other side is the application's.
    faulted(unsafe { arch::user_copy(to.as_mut_ptr() as u64, addr, to.len()) })
}

/// Copies to the application.
///
/// # Errors
/// `EFAULT`; a part may have been copied.
#[inline]
pub fn copy_out(addr: u64, from: &[u8]) -> SysResult<()> {
    checked(addr, from.len(), Access::Write)?;
    // SAFETY: `from` is ours for its length; the other side is the application's, which asked for
    // the bytes there.
    faulted(unsafe { arch::user_copy(addr, from.as_ptr() as u64, from.len()) })
}

/// Copies a NUL-terminated text, the NUL included, as strncpy_from_user() does.
///
/// # Errors
/// `EFAULT`; `ENAMETOOLONG`: `max` bytes without a NUL; `ENOMEM`.
pub fn copy_text(addr: u64, max: usize) -> SysResult<Box<[u8]>> {
    let mut text: Vec<u8> = Vec::new();
    while text.len() < max {
        let from = addr.checked_add(text.len() as u64).ok_or(Errno::EFAULT)?;
        // Not across a page: the string may end right before an unmapped one.
        let piece = (PAGE - from as usize % PAGE).min(256).min(max - text.len());
        let start = text.len();
        text.try_reserve(piece).map_err(|_| Errno::ENOMEM)?;
        text.resize(start + piece, 0);
        let new = text.get_mut(start..).unwrap_or_default();
        copy_in(from, new)?;
        if let Some(nul) = new.iter().position(|&b| b == 0) {
            text.truncate(start + nul + 1);
            return Ok(text.into_boxed_slice());
        }
    }
    Err(Errno::ENAMETOOLONG)
}

/// Loads a word.
///
/// # Errors
/// `EFAULT`.
#[inline]
pub fn load32(addr: u64) -> SysResult<u32> {
    checked(addr, 4, Access::Read)?;
    arch::user_load32(addr).ok_or(Errno::EFAULT)
}

/// Loads a double word.
///
/// # Errors
/// `EFAULT`.
#[inline]
pub fn load64(addr: u64) -> SysResult<u64> {
    checked(addr, 8, Access::Read)?;
    arch::user_load64(addr).ok_or(Errno::EFAULT)
}

/// Stores a word.
///
/// # Errors
/// `EFAULT`.
#[inline]
pub fn store32(addr: u64, value: u32) -> SysResult<()> {
    checked(addr, 4, Access::Write)?;
    // SAFETY: an address that the application gave for this.
    if unsafe { arch::user_store32(addr, value) } { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Stores a double word.
///
/// # Errors
/// `EFAULT`.
#[inline]
pub fn store64(addr: u64, value: u64) -> SysResult<()> {
    checked(addr, 8, Access::Write)?;
    // SAFETY: an address that the application gave for this.
    if unsafe { arch::user_store64(addr, value) } { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Whether every page of `addr..addr+len` can be written; changes nothing.
///
/// # Errors
/// `EFAULT`.
pub fn touch(addr: u64, len: u64) -> SysResult<()> {
    let end = addr.checked_add(len).filter(|&end| end <= TASK_SIZE).ok_or(Errno::EFAULT)?;
    if !signals::ready() {
        let len = usize::try_from(len).map_err(|_| Errno::EFAULT)?;
        return ask(addr, len, Access::Write);
    }
    let mut at = addr;
    while at < end {
        if !arch::user_touch(at) {
            return Err(Errno::EFAULT);
        }
        at = (at | (PAGE as u64 - 1)) + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The NUL included \[bytes\].
    const PATH_MAX: usize = 4096;

    /// Three pages of which the middle one is `prot`.
    fn three_pages(prot: u32) -> u64 {
        signals::install();
        let at = raw::mmap_anonymous(3 * PAGE).unwrap();
        // SAFETY: the new mapping is only used through this module.
        unsafe { raw::mprotect(at + PAGE, PAGE, prot) }.unwrap();
        at as u64
    }

    #[test]
    fn copies_of_every_small_size_are_exact() {
        let from: Vec<u8> = (0..600u32).map(|i| (i * 7) as u8).collect();
        for len in (0..300).chain([511, 512, 600]) {
            let mut to = std::vec![0u8; 601];
            copy_in(from.as_ptr() as u64, &mut to[..len]).unwrap();
            assert_eq!(to[..len], from[..len]);
            assert!(to[len..].iter().all(|&b| b == 0));
            let mut back = std::vec![0u8; 601];
            copy_out(back.as_mut_ptr() as u64, &from[..len]).unwrap();
            assert_eq!(back, to);
        }
    }

    #[test]
    fn bad_memory_is_efault_from_both_sides() {
        let none = three_pages(g::PROT_NONE);
        let page = PAGE as u64;
        for (at, len) in [
            (none + page, 8),
            (none + page - 4, 8),
            (none + page - 1, 2),
            (none + page - 1000, 1001),
            (16, 8),
            (0, 1),
        ] {
            let mut buf = std::vec![1u8; len];
            assert_eq!(copy_in(at, &mut buf), Err(Errno::EFAULT), "{at:x} {len}");
            assert_eq!(copy_out(at, &buf), Err(Errno::EFAULT), "{at:x} {len}");
        }
        assert_eq!(load32(none + page), Err(Errno::EFAULT));
        assert_eq!(load64(none + page - 4), Err(Errno::EFAULT));
        assert_eq!(store32(none + page, 1), Err(Errno::EFAULT));
        assert_eq!(store64(none + page - 4, 1), Err(Errno::EFAULT));
        assert_eq!(store64(none + page - 8, 5), Ok(()));
        assert_eq!(load64(none + page - 8), Ok(5));
    }

    #[test]
    fn before_the_handlers_stand_the_kernel_tells_good_memory_from_bad() {
        use Access::{Read, Write};
        let (page, fault) = (PAGE as u64, Err(Errno::EFAULT));
        let none = three_pages(g::PROT_NONE);
        for access in [Read, Write] {
            assert_eq!(ask(none, PAGE, access), Ok(()));
            assert_eq!(ask(none + page - 3, 3, access), Ok(()));
            assert_eq!(ask(none + page - 3, 4, access), fault);
            assert_eq!(ask(none + page + 7, 1, access), fault);
            assert_eq!(ask(none, 3 * PAGE, access), fault);
            assert_eq!(ask(8, 8, access), fault);
            assert_eq!(ask(8, 0, access), Ok(()));
        }
        let read_only = three_pages(g::PROT_READ);
        store64(read_only, 0x1234_5678_9abc_def0).unwrap();
        assert_eq!(ask(read_only + page, PAGE, Read), Ok(()));
        assert_eq!(ask(read_only + page, PAGE, Write), fault);
        assert_eq!(ask(read_only, 2 * PAGE, Write), fault);
        assert_eq!(ask(read_only, 8, Write), Ok(()));
        assert_eq!(load64(read_only), Ok(0x1234_5678_9abc_def0), "asking changes nothing");
    }

    #[test]
    fn addresses_beyond_user_space_are_efault_untouched() {
        let mut buf = [0u8; 16];
        for at in [TASK_SIZE - 8, TASK_SIZE, 1 << 47, 1 << 63, u64::MAX - 7, u64::MAX] {
            assert_eq!(copy_in(at, &mut buf), Err(Errno::EFAULT), "{at:x}");
            assert_eq!(copy_out(at, &buf), Err(Errno::EFAULT), "{at:x}");
            assert_eq!(touch(at, 16), Err(Errno::EFAULT));
        }
        assert_eq!(copy_in(0, &mut []), Ok(()));
    }

    #[test]
    fn a_truncated_file_is_efault() {
        signals::install();
        let fd = raw::memfd_create(c"test", 0).unwrap();
        raw::ftruncate(fd, 2 * PAGE as u64).unwrap();
        // SAFETY: a new mapping, wherever the kernel likes.
        let at =
            unsafe { raw::mmap(0, 2 * PAGE, g::PROT_READ | g::PROT_WRITE, g::MAP_SHARED, fd, 0) };
        let at = at.unwrap() as u64;
        assert_eq!(store64(at + PAGE as u64, 1), Ok(()));
        raw::ftruncate(fd, PAGE as u64).unwrap();
        assert_eq!(load64(at + PAGE as u64), Err(Errno::EFAULT));
        assert_eq!(touch(at, 2 * PAGE as u64), Err(Errno::EFAULT));
        assert_eq!(load64(at), Ok(0));
        raw::close(fd).unwrap();
    }

    #[test]
    fn a_fault_is_survived_on_a_thread_of_ours() {
        use crate::thread::{Name, Spec, Table, spawn};
        let (tx, rx) = std::sync::mpsc::channel();
        let spec = Spec { name: Name::new("test"), table: Table::Shared, cpu: None };
        let t = spawn(spec, Box::new(move || tx.send(load64(8)).unwrap())).unwrap();
        assert_eq!(rx.recv().unwrap(), Err(Errno::EFAULT));
        t.join();
    }

    #[test]
    fn paths_end_where_getname_says() {
        let none = three_pages(g::PROT_NONE);
        let page = PAGE as u64;
        copy_out(none + page - 4, b"abc\0").unwrap();
        assert_eq!(&*copy_text(none + page - 4, PATH_MAX).unwrap(), b"abc\0");
        copy_out(none + page - 1, b"d").unwrap();
        assert_eq!(copy_text(none + page - 4, PATH_MAX), Err(Errno::EFAULT));
        assert_eq!(copy_text(0, PATH_MAX), Err(Errno::EFAULT));

        let mut long = std::vec![b'x'; PATH_MAX];
        assert_eq!(copy_text(long.as_ptr() as u64, PATH_MAX), Err(Errno::ENAMETOOLONG));
        long[PATH_MAX - 1] = 0;
        assert_eq!(copy_text(long.as_ptr() as u64, PATH_MAX).unwrap().len(), PATH_MAX);
    }

    #[test]
    fn touch_sees_read_only_memory_and_changes_nothing() {
        let at = three_pages(g::PROT_READ);
        store64(at, 0x1234).unwrap();
        assert_eq!(touch(at, PAGE as u64), Ok(()));
        assert_eq!(touch(at, PAGE as u64 + 1), Err(Errno::EFAULT));
        assert_eq!(load64(at), Ok(0x1234));
    }
}
