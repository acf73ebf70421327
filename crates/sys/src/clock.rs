//! Nanoseconds, by the vDSO where there is one (20 ns; the system call takes 70 and more).
//!
//! The function is looked up once, in the image that `AT_SYSINFO_EHDR` of /proc/self/auxv names,
//! with loads that survive bad addresses. What it does not do: sleep.

use core::mem::offset_of;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use ringer_engine::host::Clock;

use crate::raw::{self, general as g};
use crate::usermem::{load32, load64};

type ClockGettime = unsafe extern "C" fn(i32, *mut g::__kernel_timespec) -> i32;

const UNKNOWN: usize = 0;
const NONE: usize = 1;
static VDSO: AtomicUsize = AtomicUsize::new(UNKNOWN);

/// Nanoseconds on a clock.
pub fn now(clock: Clock) -> u64 {
    let id = match clock {
        Clock::Monotonic => g::CLOCK_MONOTONIC,
        Clock::Boottime => g::CLOCK_BOOTTIME,
        Clock::Realtime => g::CLOCK_REALTIME,
    };
    match VDSO.load(Relaxed) {
        NONE => by_system_call(id),
        UNKNOWN => {
            VDSO.store(find_clock_gettime().unwrap_or(NONE), Relaxed);
            by_system_call(id)
        }
        at => by_vdso(at, id),
    }
}

/// The three clocks exist on every kernel.
fn by_system_call(id: u32) -> u64 {
    raw::clock_gettime(id).unwrap_or(0)
}

fn by_vdso(at: usize, id: u32) -> u64 {
    let mut ts = raw::timespec(0);
    let at: *const () = core::ptr::with_exposed_provenance(at);
    // SAFETY: the address of `__vdso_clock_gettime` of this process's vDSO, which never moves.
    let call: ClockGettime = unsafe { core::mem::transmute(at) };
    // SAFETY: it writes one timespec, uses a little stack and no thread-locals.
    if unsafe { call(id.cast_signed(), &raw mut ts) } != 0 {
        return by_system_call(id);
    }
    ts.tv_sec.cast_unsigned() * 1_000_000_000 + ts.tv_nsec.cast_unsigned()
}

/// The address of the vDSO's ELF header.
fn vdso_base() -> Option<u64> {
    const AT_SYSINFO_EHDR: u64 = 33;
    let fd = raw::openat(g::AT_FDCWD, c"/proc/self/auxv", g::O_RDONLY | g::O_CLOEXEC, 0).ok()?;
    // Some 20 pairs of 16 bytes; one read gives all.
    let mut pairs = [0u8; 1024];
    let read = raw::read(fd, &mut pairs);
    let _ = raw::close(fd);
    let (words, _) = pairs.get(..read.ok()?)?.as_chunks::<8>();
    let (entries, _) = words.as_chunks::<2>();
    entries
        .iter()
        .find(|[key, _]| u64::from_ne_bytes(*key) == AT_SYSINFO_EHDR)
        .map(|[_, value]| u64::from_ne_bytes(*value))
        .filter(|&base| base != 0)
}

/// Walks the dynamic symbols of the vDSO. Every address is loaded through `usermem`.
fn find_clock_gettime() -> Option<usize> {
    const PT_LOAD: u32 = 1;
    const PT_DYNAMIC: u32 = 2;
    const DT_STRTAB: u64 = 5;
    const DT_SYMTAB: u64 = 6;
    const SYM_LEN: u64 = size_of::<Sym>() as u64;

    let base = vdso_base()?;
    let headers = base + load64(base + offset_of!(Header, phoff) as u64).ok()?;
    let count = load32(base + offset_of!(Header, phentsize) as u64).ok()? >> 16;
    let (mut slide, mut dynamic) = (None, None);
    for i in 0..u64::from(count.min(16)) {
        let at = headers + i * size_of::<Segment>() as u64;
        let vaddr = load64(at + offset_of!(Segment, vaddr) as u64).ok()?;
        match load32(at).ok()? {
            PT_LOAD if slide.is_none() => slide = Some(base.wrapping_sub(vaddr)),
            PT_DYNAMIC => dynamic = Some(vaddr),
            _ => {}
        }
    }
    let slide = slide?;
    let mut entry = slide.wrapping_add(dynamic?);
    let (mut strings, mut symbols) = (None, None);
    loop {
        let (tag, value) = (load64(entry).ok()?, load64(entry + 8).ok()?);
        match tag {
            0 => break,
            DT_STRTAB => strings = Some(slide.wrapping_add(value)),
            DT_SYMTAB => symbols = Some(slide.wrapping_add(value)),
            _ => {}
        }
        entry += 16;
    }
    let (strings, symbols) = (strings?, symbols?);
    // The string table follows the symbols in every vDSO; it holds a dozen of them.
    let count = strings.checked_sub(symbols)? / SYM_LEN;
    (0..count.min(64)).map(|i| symbols + i * SYM_LEN).find_map(|at| {
        let name = strings + u64::from(load32(at + offset_of!(Sym, name) as u64).ok()?);
        let value = load64(at + offset_of!(Sym, value) as u64).ok()?;
        (value != 0 && is_name(name)).then_some(slide.wrapping_add(value) as usize)
    })
}

fn is_name(at: u64) -> bool {
    let mut name = [0u8; 21];
    crate::usermem::copy_in(at, &mut name).is_ok() && &name == b"__vdso_clock_gettime\0"
}

/// `Elf64_Ehdr`.
#[repr(C)]
struct Header {
    ident: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    phoff: u64,
    shoff: u64,
    flags: u32,
    ehsize: u16,
    /// Padding aside, `phnum` is the high half of the word that starts here.
    phentsize: u16,
    phnum: u16,
}

/// `Elf64_Phdr`.
#[repr(C)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
}

/// `Elf64_Sym`.
#[repr(C)]
struct Sym {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clock_lies_between_two_system_calls() {
        assert!(find_clock_gettime().is_some(), "this kernel has a vDSO");
        for (clock, id) in [
            (Clock::Monotonic, g::CLOCK_MONOTONIC),
            (Clock::Boottime, g::CLOCK_BOOTTIME),
            (Clock::Realtime, g::CLOCK_REALTIME),
        ] {
            now(clock);
            let before = by_system_call(id);
            let between = now(clock);
            let after = by_system_call(id);
            assert!(before <= between && between <= after, "{before} {between} {after}");
        }
    }
}
