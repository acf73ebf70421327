//! The objects that the dynamic loader has mapped into this process, one after another.
//!
//! Found with `dl_iterate_phdr(3)`, the one libc function the library imports (weakly, as it does
//! `__errno_location` and `environ`: a process without them simply is not served). It takes the
//! loader's lock, so a walk is done in the constructor and after a dlopen(3), never in a handler
//! or inside the engine.
//!
//! What it does not do: judge an object; `scan.rs` and `resolve.rs` do.

use core::arch::{asm, global_asm};
use core::ffi::{CStr, c_char, c_int, c_void};

global_asm!(".weak dl_iterate_phdr", ".weak __errno_location", ".weak __environ");

/// Address that the loader bound a weak import to, 0 if nobody defines it.
macro_rules! weak_import {
    ($name:literal) => {{
        let addr: usize;
        // SAFETY: loads one word of our own relocated GOT; nothing else is touched.
        unsafe {
            asm!(concat!("mov {}, qword ptr [rip + ", $name, "@GOTPCREL]"), out(reg) addr,
                 options(nostack, readonly, preserves_flags));
        }
        addr
    }};
}

/// `PT_LOAD` of elf(5).
pub const PT_LOAD: u32 = 1;
/// `PT_DYNAMIC` of elf(5).
pub const PT_DYNAMIC: u32 = 2;
/// `PT_GNU_EH_FRAME` of elf(5): the sorted table of functions.
pub const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
/// `PF_X` of elf(5).
pub const PF_X: u32 = 1;
/// `PF_R` of elf(5).
pub const PF_R: u32 = 4;

/// `Elf64_Phdr`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Phdr {
    /// `PT_*`.
    pub p_type: u32,
    /// `PF_*`.
    pub p_flags: u32,
    /// File offset \[bytes\].
    pub p_offset: u64,
    /// Address before the load bias.
    pub p_vaddr: u64,
    p_paddr: u64,
    /// Bytes in the file.
    pub p_filesz: u64,
    /// Bytes in memory.
    pub p_memsz: u64,
    p_align: u64,
}

/// `struct dl_phdr_info`, up to the fields every libc has.
#[repr(C)]
struct PhdrInfo {
    addr: u64,
    name: *const c_char,
    phdr: *const Phdr,
    phnum: u16,
}

/// One mapped object.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// What is added to every address in the object's headers.
    pub bias: usize,
    /// The path it was loaded from; empty for the main executable.
    pub name: &'a [u8],
    /// Its program headers.
    pub headers: &'a [Phdr],
}

impl<'a> Object<'a> {
    /// The executable segments: (first byte, bytes in the file).
    pub fn code(&self) -> impl Iterator<Item = (usize, usize)> + use<'a> {
        let bias = self.bias;
        self.headers
            .iter()
            .filter(|h| h.p_type == PT_LOAD && h.p_flags & PF_X != 0)
            .map(move |h| (bias.wrapping_add(h.p_vaddr as usize), h.p_filesz as usize))
    }

    /// The table of its functions: (first byte, bytes).
    pub fn functions(&self) -> Option<(usize, usize)> {
        let header = self.headers.iter().find(|h| h.p_type == PT_GNU_EH_FRAME)?;
        Some((self.bias.wrapping_add(header.p_vaddr as usize), header.p_memsz as usize))
    }

    /// The lowest address of its segments.
    pub fn lowest(&self) -> usize {
        let segments = self.headers.iter().filter(|h| h.p_type == PT_LOAD);
        self.bias.wrapping_add(segments.map(|h| h.p_vaddr as usize).min().unwrap_or(0))
    }

    /// Whether `addr` lies in one of its segments.
    pub fn contains(&self, addr: usize) -> bool {
        self.headers.iter().filter(|h| h.p_type == PT_LOAD).any(|h| {
            let at = self.bias.wrapping_add(h.p_vaddr as usize);
            addr.wrapping_sub(at) < h.p_memsz as usize
        })
    }

    /// Whether this library itself is the object.
    pub fn is_ours(&self) -> bool {
        self.contains(walk::<&mut dyn FnMut(&Object<'_>) -> Next> as *const () as usize)
    }

    /// The last component of its path.
    pub fn file_name(&self) -> &'a [u8] {
        self.name.rsplit(|&b| b == b'/').next().unwrap_or(self.name)
    }
}

/// Whether a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To the next object.
    Go,
    /// No further.
    Stop,
}

type Iterate = unsafe extern "C" fn(
    unsafe extern "C" fn(*mut PhdrInfo, usize, *mut c_void) -> c_int,
    *mut c_void,
) -> c_int;

/// Shows every mapped object to `visit`, in the order in which symbols are searched.
///
/// Answers whether there is a loader to ask.
pub fn walk<F: FnMut(&Object<'_>) -> Next>(mut visit: F) -> bool {
    let addr = weak_import!("dl_iterate_phdr");
    if addr == 0 {
        return false;
    }
    // SAFETY: a defined `dl_iterate_phdr` has the signature of dl_iterate_phdr(3).
    let iterate = unsafe { core::mem::transmute::<usize, Iterate>(addr) };
    // SAFETY: `shim::<F>` gets back the pointer to `visit`, which lives until the call returns.
    unsafe { iterate(shim::<F>, (&raw mut visit).cast()) };
    true
}

/// Called by the loader for each object.
///
/// # Safety
/// `info` is the loader's; `visit` points to a live `F` that nobody else uses.
unsafe extern "C" fn shim<F: FnMut(&Object<'_>) -> Next>(
    info: *mut PhdrInfo,
    _size: usize,
    visit: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a live structure that it does not change during the call.
    let info = unsafe { &*info };
    // SAFETY: the loader's headers stay mapped while it holds its lock, which is during this call.
    let headers = unsafe { core::slice::from_raw_parts(info.phdr, usize::from(info.phnum)) };
    let name = if info.name.is_null() {
        &[][..]
    } else {
        // SAFETY: not null, so it is the loader's NUL-terminated name of the object.
        unsafe { CStr::from_ptr(info.name) }.to_bytes()
    };
    // SAFETY: `walk` passed a pointer to its own `visit`.
    let visit = unsafe { &mut *visit.cast::<F>() };
    c_int::from(visit(&Object { bias: info.addr as usize, name, headers }) == Next::Stop)
}

/// Sets the calling thread's `errno`. Only for threads that libc knows.
pub fn set_errno(errno: i32) {
    let addr = weak_import!("__errno_location");
    if addr == 0 {
        return;
    }
    // SAFETY: a defined `__errno_location` has the signature of the LSB's.
    let location = unsafe { core::mem::transmute::<usize, extern "C" fn() -> *mut c_int>(addr) };
    // SAFETY: libc answers the address of the thread's own int.
    unsafe { location().write(errno) };
}

/// Where libc keeps `environ`, 0 if it has none.
pub fn environ_location() -> usize {
    weak_import!("__environ")
}
