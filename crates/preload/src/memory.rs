//! mmap and munmap: ring memory is mapped by the engine's host.

use crate::{answer, export, real};
use ringer_intercept::{entry, waits};

export! {
    /// mmap(2).
    fn mmap(addr: usize, len: usize, prot: i32, flags: i32, fd: i32, off: i64) -> isize {
        answer(entry::mmap([addr, len, prot as usize, flags as usize, fd as usize, off as usize]))
    }
}

export! {
    /// mmap(2) with a 64-bit offset, which it always has here.
    fn mmap64(addr: usize, len: usize, prot: i32, flags: i32, fd: i32, off: i64) -> isize {
        answer(entry::mmap([addr, len, prot as usize, flags as usize, fd as usize, off as usize]))
    }
}

export! {
    /// munmap(2): it may have been the last mapping of a closed ring, or memory that a ring is in.
    fn munmap(addr: usize, len: usize) -> i32 {
        let r = match waits::unmap_around(addr, len) {
            Some(r) => answer(r) as i32,
            // SAFETY: the caller's own call.
            None => unsafe { real::munmap(addr, len) },
        };
        waits::unmapped();
        r
    }
}
