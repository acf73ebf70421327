//! The real functions behind the symbols that the library exports.
//!
//! ```text
//!  exe   preload (us)   other preloads   libc   ...      search order of the loader
//!                       `------ first definition wins ------'      as RTLD_NEXT does
//! ```
//!
//! `dlsym` may not exist and may not be async-signal-safe, so this is a resolver of our own: it
//! reads the dynamic section and the hash table of every object after us (then, for the embedded
//! case in which we were loaded last, of every object but us). It runs once, in the constructor or
//! at the first call that comes earlier; afterwards a name costs one relaxed load.

use crate::got::Rela;
use crate::objects::{self, Next, Object, PT_DYNAMIC};
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const DT_NULL: u64 = 0;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_PLTRELSZ: u64 = 2;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_JMPREL: u64 = 23;
const DT_VERSYM: u64 = 0x6fff_fff0;
/// Bit of a version index: not the default version of the name.
const VERSYM_HIDDEN: u16 = 0x8000;

/// `Elf64_Sym`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Sym {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

/// The tables of one object that a lookup needs, as addresses.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tables {
    bias: usize,
    strtab: usize,
    symtab: usize,
    gnu_hash: usize,
    hash: usize,
    versym: usize,
    /// Relocation tables, (address, size in bytes): of data, of the procedure linkage table.
    rela: (usize, usize),
    jmprel: (usize, usize),
}

/// Reads a value of the loader's tables.
///
/// # Safety
/// `addr` lies in a mapped table of an object, which its tables' own indices guarantee.
unsafe fn load<T: Copy>(addr: usize) -> T {
    // SAFETY: the caller's promise; tables are aligned for their entries, but nothing rests on it.
    unsafe { (addr as *const T).read_unaligned() }
}

impl Tables {
    /// Finds the tables of an object; `None` if it has no dynamic section or no symbols.
    pub(crate) fn of(object: &Object<'_>) -> Option<Self> {
        let dynamic = object.headers.iter().find(|h| h.p_type == PT_DYNAMIC)?;
        let base = object.bias.wrapping_add(dynamic.p_vaddr as usize);
        let mut t = Self { bias: object.bias, ..Self::default() };
        for i in 0..dynamic.p_memsz as usize / 16 {
            // SAFETY: inside the dynamic section, whose size the header gives.
            let tag: u64 = unsafe { load(base + 16 * i) };
            // SAFETY: as above, the second word of the pair.
            let value: u64 = unsafe { load(base + 16 * i + 8) };
            // glibc relocates these pointers in place, musl and the vDSO do not.
            let at = match value as usize {
                v if v < object.bias => v.wrapping_add(object.bias),
                v => v,
            };
            match tag {
                DT_NULL => break,
                DT_STRTAB => t.strtab = at,
                DT_SYMTAB => t.symtab = at,
                DT_GNU_HASH => t.gnu_hash = at,
                DT_HASH => t.hash = at,
                DT_VERSYM => t.versym = at,
                DT_RELA => t.rela.0 = at,
                DT_RELASZ => t.rela.1 = value as usize,
                DT_JMPREL => t.jmprel.0 = at,
                DT_PLTRELSZ => t.jmprel.1 = value as usize,
                _ => {}
            }
        }
        (t.strtab != 0 && t.symtab != 0).then_some(t)
    }

    /// Address of the default version of `name`, if this object defines it.
    pub(crate) fn lookup(&self, name: &CStr) -> Option<usize> {
        let sym = if self.gnu_hash != 0 { self.by_gnu_hash(name) } else { self.by_hash(name) }?;
        let addr = self.bias.wrapping_add(sym.value as usize);
        const STT_GNU_IFUNC: u8 = 10;
        if sym.info & 0xf != STT_GNU_IFUNC {
            return Some(addr);
        }
        // SAFETY: the value of an IFUNC symbol is a resolver without arguments (gABI extension).
        let resolver = unsafe { core::mem::transmute::<usize, extern "C" fn() -> usize>(addr) };
        Some(resolver())
    }

    /// The name of symbol `index`.
    pub(crate) fn name(&self, index: usize) -> &CStr {
        // SAFETY: a relocation's symbol index lies in the symbol table.
        let sym: Sym = unsafe { load(self.symtab + index * size_of::<Sym>()) };
        self.string(sym.name)
    }

    /// All relocations of the object.
    pub(crate) fn relocations(&self) -> impl Iterator<Item = Rela> + use<> {
        [self.rela, self.jmprel].into_iter().flat_map(|(at, len)| {
            (0..len / size_of::<Rela>()).map(move |i| {
                // SAFETY: inside a relocation table, whose size the dynamic section gives.
                unsafe { load(at + i * size_of::<Rela>()) }
            })
        })
    }

    fn string(&self, offset: u32) -> &CStr {
        // SAFETY: a symbol's name is a NUL-terminated string of the object's string table.
        unsafe { CStr::from_ptr((self.strtab + offset as usize) as *const _) }
    }

    fn symbol(&self, index: usize, name: &CStr) -> Option<Sym> {
        // SAFETY: the hash table names only symbols of the table.
        let sym: Sym = unsafe { load(self.symtab + index * size_of::<Sym>()) };
        if sym.section == 0 || sym.value == 0 || self.string(sym.name) != name {
            return None;
        }
        if self.versym != 0 {
            // SAFETY: the version table has an entry for every symbol.
            let version: u16 = unsafe { load(self.versym + 2 * index) };
            if version & VERSYM_HIDDEN != 0 {
                return None;
            }
        }
        Some(sym)
    }

    /// The GNU hash table: header (buckets, first symbol, bloom words, shift), bloom filter of
    /// 64-bit words, buckets, then one hash a symbol whose lowest bit ends a chain.
    fn by_gnu_hash(&self, name: &CStr) -> Option<Sym> {
        let mut h: u32 = 5381;
        for &b in name.to_bytes() {
            h = h.wrapping_mul(33).wrapping_add(u32::from(b));
        }
        // SAFETY: the four words of the header.
        let [buckets, first, bloom_words, _shift]: [u32; 4] = unsafe { load(self.gnu_hash) };
        let bucket_base = self.gnu_hash + 16 + 8 * bloom_words as usize;
        // SAFETY: a bucket number below the count.
        let mut i: u32 = unsafe { load(bucket_base + 4 * (h.checked_rem(buckets)?) as usize) };
        if i < first {
            return None;
        }
        let chain_base = bucket_base + 4 * buckets as usize;
        loop {
            // SAFETY: chains hold a hash for each symbol from `first` on and end with bit 0 set.
            let chained: u32 = unsafe { load(chain_base + 4 * (i - first) as usize) };
            if chained | 1 == h | 1
                && let Some(sym) = self.symbol(i as usize, name)
            {
                return Some(sym);
            }
            if chained & 1 != 0 {
                return None;
            }
            i += 1;
        }
    }

    /// The System V hash table: bucket count, symbol count, buckets, chains.
    fn by_hash(&self, name: &CStr) -> Option<Sym> {
        if self.hash == 0 {
            return None;
        }
        // SAFETY: the two words of the header.
        let [_buckets, symbols]: [u32; 2] = unsafe { load(self.hash) };
        (0..symbols as usize).find_map(|i| self.symbol(i, name))
    }
}

/// A real function, found once.
#[derive(Debug)]
pub struct Real {
    name: &'static CStr,
    addr: AtomicUsize,
}

impl Real {
    /// Names a function; [`resolve_all`] or the first [`Real::get`] finds it.
    pub const fn new(name: &'static CStr) -> Self {
        Self { name, addr: AtomicUsize::new(0) }
    }

    /// Its address, 0 if no object has it.
    #[inline]
    pub fn get(&self) -> usize {
        // Relaxed: the value is an address of code that was mapped before we were.
        match self.addr.load(Ordering::Relaxed) {
            0 => self.find(),
            addr => addr,
        }
    }

    /// Looks the name up, unless that was done in vain before.
    #[cold]
    fn find(&self) -> usize {
        if ALL_RESOLVED.load(Ordering::Relaxed) {
            return 0;
        }
        search(&[self]);
        self.addr.load(Ordering::Relaxed)
    }
}

/// Set by the constructor's pass: a name that is still missing exists nowhere.
static ALL_RESOLVED: AtomicBool = AtomicBool::new(false);

/// Finds every function of the list in one walk over the objects.
pub fn resolve_all(list: &[&Real]) {
    search(list);
    ALL_RESOLVED.store(true, Ordering::Relaxed);
}

fn search(list: &[&Real]) {
    let mut after_us = false;
    objects::walk(|object| {
        if object.is_ours() {
            after_us = true;
        } else if after_us {
            resolve_in(object, list);
        }
        Next::Go
    });
    // Embedded: everything stands before us.
    objects::walk(|object| {
        if !object.is_ours() {
            resolve_in(object, list);
        }
        Next::Go
    });
}

fn resolve_in(object: &Object<'_>, list: &[&Real]) {
    // The vDSO holds other names, and its tables are not relocated.
    if object.file_name().starts_with(b"linux-vdso") {
        return;
    }
    let Some(tables) = Tables::of(object) else { return };
    for real in list.iter().filter(|r| r.addr.load(Ordering::Relaxed) == 0) {
        if let Some(addr) = tables.lookup(real.name) {
            real.addr.store(addr, Ordering::Relaxed);
        }
    }
}
