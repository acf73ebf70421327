//! Interposition after the fact: the global offset tables of what is loaded already.
//!
//! ```text
//!  object's code -- call *slot --> slot: address of libc's close     before
//!                                  slot: address of ours             after
//! ```
//! A preloaded library is found first by the loader and needs none of this. The embedded one is
//! loaded last, so every slot of every object that names a symbol we export is rewritten; the
//! names are those of our own dynamic symbol table. Slots that the loader sealed (RELRO) are opened
//! for the moment of the change. libc and the loader keep theirs: they are what we call.
//!
//! What it does not do: change function pointers that the program has copied already, or undo.

use crate::objects::{self, Next, Object};
use crate::resolve::Tables;
use crate::scan;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use ringer_sys::raw::{self, PAGE, general as g};

/// `PT_GNU_RELRO` of elf(5).
const PT_GNU_RELRO: u32 = 0x6474_e552;
/// `R_X86_64_64`, `R_X86_64_GLOB_DAT`, `R_X86_64_JUMP_SLOT`.
const ADDRESSES: [u32; 3] = [1, 6, 7];

/// `Elf64_Rela`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Rela {
    offset: u64,
    info: u64,
    addend: i64,
}

/// Rewrites the slots of all loaded objects; answers how many changed.
pub fn redirect() -> usize {
    let mut ours = None;
    objects::walk(|object| {
        if !object.is_ours() {
            return Next::Go;
        }
        ours = Tables::of(object);
        Next::Stop
    });
    let Some(ours) = ours else { return 0 };
    let mut changed = 0;
    objects::walk(|object| {
        if !scan::left_out(object)
            && let Some(tables) = Tables::of(object)
        {
            changed += redirect_object(object, &tables, &ours);
        }
        Next::Go
    });
    changed
}

fn redirect_object(object: &Object<'_>, tables: &Tables, ours: &Tables) -> usize {
    let mut changed = 0;
    for rela in tables.relocations() {
        let symbol = (rela.info >> 32) as usize;
        if symbol == 0 || rela.addend != 0 || !ADDRESSES.contains(&(rela.info as u32)) {
            continue;
        }
        let slot = object.bias.wrapping_add(rela.offset as usize);
        if let Some(target) = ours.lookup(tables.name(symbol)) {
            changed += usize::from(write_slot(object, slot, target));
        }
    }
    changed
}

/// Puts `target` into `slot`; answers whether that was a change.
fn write_slot(object: &Object<'_>, slot: usize, target: usize) -> bool {
    // SAFETY: a relocation of a loaded object names an aligned word of its data, mapped while the
    // walk holds the loader's lock; other threads read it with plain loads of a word.
    let word = unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(slot)) };
    if word.load(Relaxed) == target as u64 {
        return false;
    }
    let sealed = is_sealed(object, slot);
    let page = slot & !(PAGE - 1);
    if sealed && protect(page, g::PROT_READ | g::PROT_WRITE).is_err() {
        return false;
    }
    word.store(target as u64, Relaxed);
    if sealed {
        // Left open where the kernel refuses: the program works, as it would without RELRO.
        let _ = protect(page, g::PROT_READ);
    }
    true
}

fn is_sealed(object: &Object<'_>, slot: usize) -> bool {
    object.headers.iter().filter(|h| h.p_type == PT_GNU_RELRO).any(|h| {
        let at = object.bias.wrapping_add(h.p_vaddr as usize);
        // The loader seals whole pages only: the part page at the end stays writable.
        let end = (at + h.p_memsz as usize) & !(PAGE - 1);
        (at & !(PAGE - 1)..end).contains(&slot)
    })
}

fn protect(page: usize, prot: u32) -> raw::SysResult<()> {
    // SAFETY: the page belongs to an object's data and stays readable throughout; making it
    // writable lets nobody break an invariant of ours.
    unsafe { raw::mprotect(page, PAGE, prot) }
}
