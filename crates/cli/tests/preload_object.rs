//! What the preload library is made of: which symbols it defines and asks for, what it needs, and
//! that it holds no instruction that the trampoline would have to save more state for.
#![allow(clippy::print_stderr, reason = "a skip says why")]

use std::process::Command;

const LIBRARY: &str = env!("RINGER_PRELOAD_SO");
const DEFINED: &str = include_str!("../../preload/symbols-defined.txt");
const UNDEFINED: &str = include_str!("../../preload/symbols-undefined.txt");

/// As much of an ELF file as the tests ask about.
struct Elf(Vec<u8>);

#[derive(Debug)]
struct Symbol {
    name: String,
    defined: bool,
    weak: bool,
}

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const SHT_DYNSYM: u64 = 11;

impl Elf {
    fn library() -> Self {
        Self(std::fs::read(LIBRARY).expect("the library that was just built"))
    }

    fn number(&self, at: u64, bytes: usize) -> u64 {
        let at = at as usize;
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(&self.0[at..at + bytes]);
        u64::from_le_bytes(word)
    }

    /// (type, flags, file offset, address, size in the file, size in memory) of each segment.
    fn segments(&self) -> Vec<[u64; 6]> {
        let (table, count) = (self.number(32, 8), self.number(56, 2));
        let of = |at| {
            [
                self.number(at, 4),
                self.number(at + 4, 4),
                self.number(at + 8, 8),
                self.number(at + 16, 8),
                self.number(at + 32, 8),
                self.number(at + 40, 8),
            ]
        };
        (0..count).map(|i| of(table + 56 * i)).collect()
    }

    fn file_offset(&self, address: u64) -> u64 {
        let inside = |s: &[u64; 6]| s[0] == PT_LOAD && (s[3]..s[3] + s[4]).contains(&address);
        let s = self.segments().into_iter().find(inside).expect("a mapped address");
        address - s[3] + s[2]
    }

    /// (tag, value) of each dynamic entry.
    fn dynamic(&self) -> Vec<(u64, u64)> {
        let s =
            self.segments().into_iter().find(|s| s[0] == PT_DYNAMIC).expect("a dynamic section");
        let pair = |at| (self.number(at, 8), self.number(at + 8, 8));
        (0..s[4] / 16).map(|i| pair(s[2] + 16 * i)).take_while(|p| p.0 != 0).collect()
    }

    /// The dynamic symbols; their number is in the section's header.
    fn symbols(&self) -> Vec<Symbol> {
        let tag = |t| self.dynamic().into_iter().find(|p| p.0 == t).expect("a table").1;
        let strings = self.file_offset(tag(DT_STRTAB));
        let (table, count) = (self.number(40, 8), self.number(60, 2));
        let header =
            (0..count).map(|i| table + 64 * i).find(|at| self.number(at + 4, 4) == SHT_DYNSYM);
        let header = header.expect("a section with the dynamic symbols");
        let (symbols, size) = (self.number(header + 24, 8), self.number(header + 32, 8));
        (1..size / 24).map(|i| self.symbol(symbols + 24 * i, strings)).collect()
    }

    fn symbol(&self, at: u64, strings: u64) -> Symbol {
        let name = &self.0[(strings + self.number(at, 4)) as usize..];
        let end = name.iter().position(|&b| b == 0).expect("a NUL");
        Symbol {
            name: String::from_utf8_lossy(&name[..end]).into_owned(),
            weak: self.number(at + 4, 1) >> 4 == 2,
            defined: self.number(at + 6, 2) != 0,
        }
    }
}

fn names(elf: &Elf, defined: bool) -> Vec<String> {
    let mut names: Vec<String> =
        elf.symbols().into_iter().filter(|s| s.defined == defined).map(|s| s.name).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn it_defines_the_listed_symbols_and_no_others() {
    assert_eq!(names(&Elf::library(), true), DEFINED.lines().collect::<Vec<_>>());
}

#[test]
fn it_asks_for_the_listed_symbols_and_can_do_without_each() {
    let elf = Elf::library();
    assert_eq!(names(&elf, false), UNDEFINED.lines().collect::<Vec<_>>());
    let hard: Vec<_> = elf.symbols().into_iter().filter(|s| !s.defined && !s.weak).collect();
    assert!(hard.is_empty(), "{hard:?}");
}

#[test]
fn it_needs_no_other_library() {
    assert!(Elf::library().dynamic().iter().all(|p| p.0 != DT_NEEDED));
}

#[test]
fn no_segment_is_writable_and_executable() {
    const WX: u64 = 2 | 1;
    for s in Elf::library().segments().iter().filter(|s| s[0] == PT_LOAD) {
        assert_ne!(s[1] & WX, WX, "{s:x?}");
    }
}

#[test]
fn it_holds_no_vector_extension() {
    let Ok(out) = Command::new("objdump").args(["-d", "--no-show-raw-insn", LIBRARY]).output()
    else {
        eprintln!("skipped: objdump is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let mut seen = 0;
    for line in text.lines() {
        // "    1234:\tmov    %rax,%rbx"
        let Some((_, instruction)) = line.split_once(":\t") else { continue };
        seen += 1;
        let name = instruction.split_whitespace().next().unwrap_or("");
        // The VEX and EVEX names begin with v, but for these.
        let old = ["verr", "verw"].contains(&name);
        // Of the registers that are left, the trampoline saves the first eight.
        let unsaved =
            ["%xmm8", "%xmm9", "%xmm10", "%xmm11", "%xmm12", "%xmm13", "%xmm14", "%xmm15"];
        assert!(!unsaved.iter().any(|r| instruction.contains(r)), "{line}");
        let wide = ["%ymm", "%zmm", "%k0", "%k1", "%k2", "%k3", "%k4", "%k5", "%k6", "%k7"];
        let vector =
            (name.starts_with('v') && !old) || wide.iter().any(|r| instruction.contains(r));
        assert!(!vector, "{line}");
        // BMI instructions are VEX-encoded, too.
        let bmi =
            ["andn", "bextr", "blsi", "blsmsk", "blsr", "bzhi", "mulx", "pdep", "pext", "rorx"];
        let shifts = ["sarx", "shlx", "shrx"];
        assert!(!bmi.contains(&name) && !shifts.contains(&name), "{line}");
        // x87 begins with f (fence instructions apart), MMX names its registers; arithmetic on
        // floating-point numbers leaves flags in MXCSR.
        let x87 = name.starts_with('f') || instruction.contains("%mm") || name == "emms";
        let sums = ["add", "sub", "mul", "div", "sqrt", "min", "max", "cmp", "comi", "ucomi"];
        let of_floats = ["ss", "sd", "ps", "pd"].iter().any(|e| name.ends_with(e));
        let float =
            name.starts_with("cvt") || of_floats && sums.iter().any(|s| name.starts_with(s));
        assert!(!x87 && !float && !name.contains("mxcsr"), "{line}");
    }
    assert!(seen > 5_000, "objdump showed {seen} instructions");
}
