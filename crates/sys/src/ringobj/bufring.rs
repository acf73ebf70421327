//! Rings of provided buffers in memory of the kernel's (`IOU_PBUF_RING_MMAP`).
//!
//! Shared anonymous memory, mapped once for the engine, which reads it as any memory of the
//! application's, and once more for each mmap of the ring's descriptor: that needs no descriptor of its
//! own, however many groups there are. What it does not do: know what is in it.

use ringer_uapi::Errno;
use rust_alloc::collections::BTreeMap;

use super::MmapArgs;
use super::memory::view_again;
use crate::lock::ForkMutex;
use crate::pin;
use crate::raw::{self, PAGE, SysResult, general as g};

/// The rings of one ring, by group.
#[derive(Debug, Default)]
pub(super) struct BufRings(ForkMutex<BTreeMap<u16, Memory>>);

#[derive(Clone, Copy, Debug)]
struct Memory {
    at: usize,
    /// Whole pages.
    len: usize,
}

impl Memory {
    fn new(len: u64) -> SysResult<Self> {
        if len > pin::memlock() {
            return Err(Errno::ENOMEM);
        }
        let len = usize::try_from(len).map_err(|_| Errno::ENOMEM)?;
        let prot = g::PROT_READ | g::PROT_WRITE;
        let flags = g::MAP_SHARED | g::MAP_ANONYMOUS | g::MAP_POPULATE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { raw::mmap(0, len, prot, flags, -1, 0) }.map_err(|_| Errno::ENOMEM)?;
        // A forked child has no use for the engine's view.
        // SAFETY: takes nothing away from this process.
        let _ = unsafe { raw::madvise(at, len, g::MADV_DONTFORK) };
        Ok(Self { at, len })
    }

    fn unmap(self) {
        // SAFETY: a view of ours, whose ring is gone: nobody looks there any more.
        let _ = unsafe { raw::munmap(self.at, self.len) };
    }
}

impl BufRings {
    /// Makes memory for a group, and answers its address.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn add(&self, group: u16, len: u64) -> SysResult<u64> {
        let memory = Memory::new(len)?;
        if let Some(old) = self.0.lock().insert(group, memory) {
            old.unmap();
        }
        Ok(memory.at as u64)
    }

    /// Ends it.
    pub(super) fn remove(&self, group: u16) {
        if let Some(memory) = self.0.lock().remove(&group) {
            memory.unmap();
        }
    }

    /// Ends all.
    pub(super) fn clear(&self) {
        core::mem::take(&mut *self.0.lock()).into_values().for_each(Memory::unmap);
    }

    /// Maps a group's memory for the application.
    ///
    /// # Errors
    /// `ENOMEM` no such group; those of the kind of mapping; `EFAULT` too short.
    pub(super) fn map(&self, group: u16, args: MmapArgs) -> SysResult<usize> {
        let rings = self.0.lock();
        let memory = rings.get(&group).ok_or(Errno::ENOMEM)?;
        args.check_kind()?;
        // What else there may be is nothing to mmap(2).
        let prot = args.prot & (g::PROT_READ | g::PROT_WRITE);
        let populate = args.flags & g::MAP_POPULATE != 0;
        let len = usize::try_from(args.len).map_err(|_| Errno::ENOMEM)?;
        if len.div_ceil(PAGE) < memory.len / PAGE {
            return Err(Errno::EFAULT);
        }
        let at = view_again(memory.at, len, populate).ok_or(Errno::ENOMEM)?;
        if prot != g::PROT_READ | g::PROT_WRITE {
            // SAFETY: a mapping that nobody has seen yet.
            unsafe { raw::mprotect(at, len.next_multiple_of(PAGE), prot) }?;
        }
        Ok(at)
    }
}
