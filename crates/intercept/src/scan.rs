//! Which loaded objects could make an io_uring call without going through a libc symbol.
//!
//! A filter costs every system call of the program, so it is installed only if this scan finds a
//! need. An object counts if its code holds a `syscall` instruction with one of our numbers in eax,
//! or any other `syscall` instruction beside an instruction that loads one of our numbers, which
//! may be on its way there:
//! ```text
//!  bytes 0f 05 --> an instruction there?   --> last value of eax? --> 425..=427: yes
//!                  vote of decodings that      straight line          else: a load of 425..=427
//!                  start before; neighbours    backwards                    anywhere?
//!                  that compilers emit
//! ```
//! libc and the loader
//! are left out: their wrappers are symbols that we interpose, and nothing trapped may be called
//! in a vfork child. What it does not do: see code that is generated or mapped later by hand.

use crate::decode::{Insn, decode};
use crate::objects::{self, Next, Object};
use alloc::vec::Vec;
use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
    _mm_set1_epi8, _mm_setzero_si128,
};

/// Addresses `lo..hi` of executable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub lo: u64,
    /// The address after the last.
    pub hi: u64,
}

/// System call numbers that the engine answers: setup, enter, register.
const OURS: core::ops::RangeInclusive<u32> = 425..=427;
/// How far before a `syscall` the decodings start \[bytes\].
const LOOK_BACK: usize = 64;
/// Decodings that vote on whether `0f 05` is an instruction.
const VOTERS: usize = 16;

/// How the file names begin of objects that are never looked at.
const LEFT_OUT: [&[u8]; 17] = [
    b"libc.so",
    b"libc-2.",
    b"libc.musl",
    b"ld-linux",
    b"ld-musl",
    b"ld-2.",
    b"libpthread.so",
    b"libpthread-2.",
    b"librt.so",
    b"librt-2.",
    b"libdl.so",
    b"libdl-2.",
    b"libm.so",
    b"libm-2.",
    b"libresolv.so",
    b"libresolv-2.",
    b"linux-vdso",
];

/// Calls that close a number, or make it another file's: close, dup2, dup3, `close_range`.
const CLOSES: [u32; 4] = [3, 33, 292, 436];
/// How the file name begins of the one that closes only what it made: rings.
const CLOSES_RINGS: &[u8] = b"liburing.so";

/// Objects that were looked at.
#[derive(Debug, Default)]
pub struct Seen {
    /// Some of them may close descriptors by a system call of their own.
    pub closes: bool,
    /// By [`fingerprint`].
    prints: Vec<u64>,
    /// What of them needs a trap, the newest last.
    covered: Vec<Code>,
}

/// A piece of code that may make our calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code {
    range: Range,
    /// The table of its object that says where functions begin, if it has one.
    pub(crate) functions: Option<Range>,
    /// The lowest address of its object.
    pub(crate) lowest: u64,
}

impl Seen {
    /// Nothing was looked at.
    pub const fn new() -> Self {
        Self { closes: false, prints: Vec::new(), covered: Vec::new() }
    }

    /// What is known of the code at an address.
    pub(crate) fn code_at(&self, at: u64) -> Option<Code> {
        self.covered.iter().rev().find(|c| (c.range.lo..c.range.hi).contains(&at)).copied()
    }
}

/// The executable ranges of the loaded objects that need a trap, of those not seen before.
pub fn needed(seen: &mut Seen) -> Vec<Range> {
    let mut found = Vec::new();
    objects::walk(|object| {
        let print = fingerprint(object);
        if !left_out(object) && !seen.prints.contains(&print) {
            seen.prints.push(print);
            seen.closes |= add_ranges(object, &mut found);
        }
        Next::Go
    });
    seen.covered.extend_from_slice(&found);
    found.iter().map(|code| code.range).collect()
}

/// Name and place of an object (FNV-1a): the same file at the same address holds the same code.
fn fingerprint(object: &Object<'_>) -> u64 {
    let place = object.bias.to_ne_bytes();
    object
        .name
        .iter()
        .chain(&place)
        .fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Whether an object is never looked at: ourselves, libc's family, the loader, the vDSO.
pub(crate) fn left_out(object: &Object<'_>) -> bool {
    object.is_ours() || LEFT_OUT.iter().any(|name| object.file_name().starts_with(name))
}

/// Adds what of an object needs a trap; answers whether it may close descriptors.
fn add_ranges(object: &Object<'_>, found: &mut Vec<Code>) -> bool {
    let carried = object.code().map(|(at, len)| {
        // SAFETY: an executable PT_LOAD segment of a loaded object is mapped for `p_filesz` bytes,
        // readable as all executable memory of x86-64 is; nobody unloads it under the loader's lock.
        let code = unsafe { core::slice::from_raw_parts(at as *const u8, len) };
        carried_by(code)
    });
    let all = carried.fold(Carried::default(), |a, b| Carried {
        calls: a.calls || b.calls,
        closes: a.closes || b.closes,
    });
    if all.calls {
        let range = |(at, len): (usize, usize)| Range { lo: at as u64, hi: (at + len) as u64 };
        let (functions, lowest) = (object.functions().map(range), object.lowest() as u64);
        found.extend(object.code().map(|code| Code { range: range(code), functions, lowest }));
    }
    all.closes && !object.file_name().starts_with(CLOSES_RINGS)
}

/// The length of the instruction at the start of `code`, if one starts there.
#[cfg(any(test, feature = "test-utils"))]
pub fn insn_len(code: &[u8]) -> Option<usize> {
    decode(code).map(|insn| insn.len)
}

/// What code could do by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Make one of the three calls.
    pub calls: bool,
    /// Close a descriptor, or make its number another file's.
    pub closes: bool,
}

/// What `code` could do by system calls of its own.
pub fn carried_by(code: &[u8]) -> Carried {
    let (mut found, mut any) = (Carried::default(), false);
    for at in Pairs::new(code, [0x0f, 0x05]) {
        match inspect(code, at) {
            Site::NotCode => {}
            Site::Known(nr) => {
                found.calls |= OURS.contains(&nr);
                found.closes |= CLOSES.contains(&nr);
                any = true;
            }
            Site::Unknown => (any, found.closes) = (true, true),
        }
        if found.calls && found.closes {
            return found;
        }
    }
    found.calls = found.calls || any && OURS.into_iter().any(|nr| loads(code, nr));
    found
}

/// Whether some instruction may load `nr` into a register, a stack slot or a field: the number on
/// its way to a `syscall` elsewhere in the object.
fn loads(code: &[u8], nr: u32) -> bool {
    let [a, b, rest @ ..] = nr.to_le_bytes();
    Pairs::new(code, [a, b]).any(|at| {
        // c7 /0: the immediate follows ModRM, perhaps SIB, and no, one or four displacement bytes.
        let before = |n: usize| at.checked_sub(n).and_then(|i| code.get(i)).copied().unwrap_or(0);
        code.get(at + 2..at + 4) == Some(&rest)
            && (matches!(before(1), 0xb8..=0xbf | 0x68)
                || [2, 3, 4, 6, 7].into_iter().any(|n| before(n) == 0xc7))
    })
}

/// What the bytes `0f 05` at a place are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    /// Part of other instructions, or of data.
    NotCode,
    /// The call with this number.
    Known(u32),
    /// A call whose number comes from elsewhere.
    Unknown,
}

fn inspect(code: &[u8], at: usize) -> Site {
    let first = at.saturating_sub(LOOK_BACK);
    let step = LOOK_BACK / VOTERS;
    let starts = (first..at).step_by(step.max(1)).chain(core::iter::once(at));
    let (mut voters, mut ayes) = (0, 0);
    let (mut path, mut attempt) = (Path::new(), Path::new());
    for start in starts.filter(|&s| s < at) {
        voters += 1;
        if attempt.run(code, start, at) {
            ayes += 1;
            if attempt.len > path.len {
                core::mem::swap(&mut attempt, &mut path);
            }
        }
    }
    // Decodings of the same bytes fall into step within a few instructions, so a real one gets
    // nearly all votes and a chance pair nearly none.
    if voters > 0 && ayes * 2 < voters {
        return Site::NotCode;
    }
    if path.passes_oddities(code) || oddities_after(code, at) {
        return Site::NotCode;
    }
    path.number(code)
}

/// How many instructions on either side must look compiled.
const NEIGHBOURS: usize = 10;

/// Whether what follows a place is data rather than code, up to the end of the straight line.
fn oddities_after(code: &[u8], mut at: usize) -> bool {
    for _ in 0..NEIGHBOURS {
        let bytes = code.get(at..).unwrap_or(&[]);
        let Some(insn) = decode(bytes) else { return bytes.len() > 15 };
        match bytes.get(insn.opcode_at) {
            Some(0xc3 | 0xe9 | 0xeb | 0xcc) => return false,
            Some(&op) if is_odd(op) => return true,
            _ => at += insn.len,
        }
    }
    false
}

/// Opcodes that stand a hundred times in any table of random bytes and hardly ever near a system
/// call: string and port operations, flags, x87, far transfers, absolute addresses, interrupts.
const fn is_odd(op: u8) -> bool {
    matches!(op, 0x6c..=0x6f | 0x86 | 0x8e | 0x91..=0x97 | 0x9b..=0xa7 | 0xaa..=0xaf | 0xc8 | 0xca
        | 0xcb | 0xcd | 0xcf | 0xd2..=0xe7 | 0xec..=0xef | 0xf1 | 0xf4 | 0xf5 | 0xf8..=0xfd)
}

/// The instructions that lead to a place, newest last.
struct Path {
    starts: [usize; LOOK_BACK],
    len: usize,
}

impl Path {
    const fn new() -> Self {
        Self { starts: [0; LOOK_BACK], len: 0 }
    }

    /// Decodes from `start`; whether an instruction begins exactly at `goal`.
    fn run(&mut self, code: &[u8], start: usize, goal: usize) -> bool {
        self.len = 0;
        let mut at = start;
        while at < goal {
            let len = match decode(code.get(at..).unwrap_or(&[])) {
                Some(insn) => {
                    if let Some(slot) = self.starts.get_mut(self.len) {
                        *slot = at;
                        self.len += 1;
                    }
                    insn.len
                }
                // Data or padding: nothing before it leads here.
                None => {
                    self.len = 0;
                    1
                }
            };
            at += len;
        }
        at == goal
    }

    /// Whether one of the last instructions is none that compilers emit there.
    fn passes_oddities(&self, code: &[u8]) -> bool {
        let last = self.starts.get(self.len.saturating_sub(NEIGHBOURS)..self.len).unwrap_or(&[]);
        last.iter().any(|&at| {
            let bytes = code.get(at..).unwrap_or(&[]);
            decode(bytes).and_then(|i| bytes.get(i.opcode_at)).is_none_or(|&op| is_odd(op))
        })
    }

    /// The value of eax at the end of the path, as far as a straight line gives it.
    fn number(&self, code: &[u8]) -> Site {
        for &at in self.starts.get(..self.len).unwrap_or(&[]).iter().rev() {
            let bytes = code.get(at..).unwrap_or(&[]);
            let Some(insn) = decode(bytes) else { return Site::Unknown };
            match effect(bytes, insn) {
                Effect::None => {}
                Effect::Eax(value) => return Site::Known(value),
                Effect::Unclear => return Site::Unknown,
            }
        }
        Site::Unknown
    }
}

/// What an instruction does to eax.
enum Effect {
    None,
    Eax(u32),
    Unclear,
}

fn effect(bytes: &[u8], insn: Insn) -> Effect {
    let op = |i: usize| bytes.get(insn.opcode_at + i).copied().unwrap_or(0);
    let word = |i: usize| u32::from_le_bytes([op(i), op(i + 1), op(i + 2), op(i + 3)]);
    // Register numbers as REX extends them; memory operands write no register.
    let reg = op(1) >> 3 & 7 | (insn.rex & 4) << 1;
    let is_register = op(1) >> 6 == 3;
    let rm = op(1) & 7 | (insn.rex & 1) << 3;
    let rm_is_eax = is_register && rm == 0;
    match op(0) {
        0xb8 if insn.rex & 1 == 0 => Effect::Eax(word(1)),
        0xb8..=0xbf => Effect::None,
        0xc7 if rm_is_eax => Effect::Eax(word(2)),
        0x31 | 0x33 if rm_is_eax && reg == 0 => Effect::Eax(0),
        // Stores and register moves to something else; tests and compares; push; nops.
        0x88 | 0x89 | 0xc6 | 0xc7 | 0x01 | 0x09 | 0x21 | 0x29 | 0x31 if !rm_is_eax => Effect::None,
        0x8a | 0x8b | 0x8d | 0x63 | 0x03 | 0x0b | 0x23 | 0x2b | 0x33 if reg != 0 => Effect::None,
        0x80 | 0x81 | 0x83 | 0xc1 | 0xd1 | 0xd3 if !rm_is_eax => Effect::None,
        0x38..=0x3d | 0x84 | 0x85 | 0xa8 | 0xa9 | 0x90 | 0x50..=0x57 | 0x68 | 0x6a => Effect::None,
        // pop of anything but rax.
        0x59..=0x5f => Effect::None,
        0x0f if matches!(op(1), 0x1e | 0x1f | 0x0d | 0x18 | 0x10 | 0x11 | 0x28 | 0x29 | 0x6f) => {
            Effect::None
        }
        0x0f if matches!(op(1), 0x40..=0x4f | 0xb6 | 0xb7 | 0xbe | 0xbf) => {
            if op(2) >> 3 & 7 | (insn.rex & 4) << 1 == 0 { Effect::Unclear } else { Effect::None }
        }
        _ => Effect::Unclear,
    }
}

/// The places of a pair of bytes.
struct Pairs<'a> {
    code: &'a [u8],
    pair: [u8; 2],
    at: usize,
}

impl<'a> Pairs<'a> {
    const fn new(code: &'a [u8], pair: [u8; 2]) -> Self {
        Self { code, pair, at: 0 }
    }

    /// Goes on to the first block that has one, or to where none fits any more.
    fn skip_blocks(&mut self) {
        while let Some(block) =
            self.code.get(self.at..).and_then(<[u8]>::first_chunk::<{ BLOCK + 1 }>)
        {
            // SAFETY: every x86-64 processor has SSE2.
            if unsafe { has_pair(block, self.pair) } {
                return;
            }
            self.at += BLOCK;
        }
    }
}

/// Whether a block has a pair, 16 places at a time. By hand: the library is built without vectors of the
/// compiler's own making (`trampoline.rs`).
#[target_feature(enable = "sse2")]
fn has_pair(block: &[u8; BLOCK + 1], pair: [u8; 2]) -> bool {
    let [first, second] = pair;
    let first = _mm_set1_epi8(first.cast_signed());
    let second = _mm_set1_epi8(second.cast_signed());
    let mut any = _mm_setzero_si128();
    for at in (0..BLOCK).step_by(16) {
        let firsts = _mm_cmpeq_epi8(sixteen(block, at), first);
        let seconds = _mm_cmpeq_epi8(sixteen(block, at + 1), second);
        any = _mm_or_si128(any, _mm_and_si128(firsts, seconds));
    }
    _mm_movemask_epi8(any) != 0
}

/// The bytes of a block from `at` on.
#[target_feature(enable = "sse2")]
fn sixteen(block: &[u8; BLOCK + 1], at: usize) -> __m128i {
    let eight = |at: usize| {
        let bytes = block.get(at..).and_then(<[u8]>::first_chunk);
        i64::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    _mm_set_epi64x(eight(at + 8), eight(at))
}

/// Places looked at together: this is the scan's inner loop, what a program pays for each byte of
/// its code.
const BLOCK: usize = 64;

impl Iterator for Pairs<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.skip_blocks();
        let rest = self.code.get(self.at..)?;
        let found = self.at + rest.windows(2).position(|w| w == self.pair)?;
        self.at = found + 1;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// `mov edi, 3; mov eax, nr; syscall; ret` in a function of ordinary instructions.
    fn function(load: &[u8]) -> Vec<u8> {
        let mut code: Vec<u8> = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20].repeat(9);
        code.extend([0xbf, 3, 0, 0, 0]);
        code.extend(load);
        code.extend([0x0f, 0x05, 0xc9, 0xc3]);
        code
    }

    #[test]
    fn each_way_of_loading_one_of_the_three_numbers_counts() {
        for nr in [0xa9, 0xaa, 0xab] {
            assert!(carried_by(&function(&[0xb8, nr, 1, 0, 0])).calls, "mov eax, imm32");
            assert!(
                carried_by(&function(&[0x48, 0xc7, 0xc0, nr, 1, 0, 0])).calls,
                "mov rax, imm32"
            );
            assert!(carried_by(&function(&[0x41, 0xb8, nr, 1, 0, 0, 0x44, 0x89, 0xc0])).calls);
        }
    }

    #[test]
    fn a_wrapper_counts_beside_a_load_of_one_of_the_three_numbers() {
        let wrappers: [&[u8]; 3] =
            [&[0x89, 0xf8], &[0x48, 0x8b, 0x44, 0x24, 8], &[0xe8, 0, 0, 0, 0]];
        let loads: [&[u8]; 5] = [
            &[0xbf, 0xaa, 1, 0, 0],
            &[0x41, 0xb8, 0xaa, 1, 0, 0],
            &[0x68, 0xaa, 1, 0, 0],
            &[0xc7, 0x44, 0x24, 8, 0xaa, 1, 0, 0],
            &[0x48, 0xc7, 0xc7, 0xaa, 1, 0, 0],
        ];
        for wrapper in wrappers {
            assert!(!carried_by(&function(wrapper)).calls);
            for load in loads {
                let mut code = function(wrapper);
                code.extend(load);
                assert!(carried_by(&code).calls, "{wrapper:x?} {load:x?}");
            }
        }
    }

    #[test]
    fn another_known_number_does_not_count() {
        assert!(!carried_by(&function(&[0xb8, 0xca, 0, 0, 0])).calls, "futex");
        assert!(!carried_by(&function(&[0x31, 0xc0])).calls, "read");
        // Argument moves between the number and the call.
        assert!(
            !carried_by(&function(&[0xb8, 1, 0, 0, 0, 0x48, 0x89, 0xda, 0x4d, 0x31, 0xd2])).calls
        );
    }

    #[test]
    fn a_known_number_beside_a_stray_load_of_ours_counts() {
        let mut code = function(&[0xb8, 0xca, 0, 0, 0]);
        code.extend([0xb8, 0xaa, 1, 0, 0, 0xeb, 0xf0]);
        assert!(carried_by(&code).calls);
    }

    #[test]
    fn the_bytes_inside_another_instruction_do_not_count() {
        // mov dword [rax], 0x050f0000 and friends: 0f 05 in an immediate.
        assert!(!carried_by(&function(&[0xc7, 0x00, 0, 0, 0x0f, 0x05, 0xb8, 0xca, 0, 0, 0])).calls);
        let lea = [0x48, 0x8d, 0x05, 0x0f, 0x05, 0, 0];
        let mut code: Vec<u8> = [0x48, 0x89, 0xfb, 0x53].repeat(20);
        code.extend(lea);
        code.extend([0xc3; 8]);
        assert!(!carried_by(&code).calls);
    }

    #[test]
    fn code_without_the_bytes_does_not_count() {
        assert!(!carried_by(&[]).calls);
        assert!(!carried_by(&[0x0f]).calls);
        assert!(!carried_by(&[0xb8, 0xaa, 1, 0, 0, 0xc3]).calls);
    }

    #[test]
    fn pairs_are_found_at_every_alignment_and_at_the_end() {
        for lead in 0..40 {
            let mut code = std::vec![0x90; lead];
            code.extend([0x0f, 0x05]);
            assert_eq!(Pairs::new(&code, [0x0f, 0x05]).collect::<Vec<_>>(), [lead]);
        }
    }

    #[test]
    fn any_bytes_are_scanned_without_a_panic_and_rarely_look_like_a_call() {
        let mut seed = 1u64;
        let mut noise = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        };
        let mut code: Vec<u8> = (0..1 << 20).map(|_| noise()).collect();
        // One chance pair in 64 KiB would be few: plant one every 256 bytes.
        code.chunks_mut(256).for_each(|c| c[100..102].copy_from_slice(&[0x0f, 0x05]));
        let sites = Pairs::new(&code, [0x0f, 0x05]);
        let (mut all, mut taken) = (0, 0);
        for at in sites {
            all += 1;
            taken += usize::from(inspect(&code, at) != Site::NotCode);
        }
        assert!(all >= 4096);
        assert!(taken * 50 < all, "{taken} of {all}");
        for cut in 0..64 {
            let _ = carried_by(&code[cut..cut + 166]).calls;
        }
    }
}
