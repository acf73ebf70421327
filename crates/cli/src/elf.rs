//! Reads the few fields of an ELF header that say how a program is loaded.
//!
//! What it does not do: sections, symbols, or trust in the file: every offset is checked by the
//! read that uses it, and sizes are bounded.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// `EM_X86_64`: the machine this build is for.
const MACHINE: u16 = 62;
const ELFCLASS64: u8 = 2;
const ELFDATA2LSB: u8 = 1;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PHDR_LEN: usize = 56;
/// More headers than any real program has.
const PHDRS_MAX: u16 = 512;
const PATH_MAX: u64 = 4096;
const PF_X: u32 = 1;

/// A part of the file that is mapped executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// File offset \[bytes\].
    pub(crate) off: u64,
    /// Length in the file \[bytes\].
    pub(crate) len: u64,
}

/// What kind of file it is, for whoever loads programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Elf {
    /// Loaded by `interpreter`, which can load ringer's library too.
    Dynamic {
        /// `PT_INTERP`.
        interpreter: PathBuf,
        /// Its executable segments.
        texts: Vec<Text>,
    },
    /// A program without a loader.
    Static,
    /// Another machine's program, with words for which.
    Foreign(String),
    /// Starts like an ELF file and is not a program.
    Broken(&'static str),
    /// Something else.
    Other,
}

/// Reads the header of an open file.
pub(crate) fn read(file: &File) -> Elf {
    let mut header = [0_u8; 64];
    if file.read_exact_at(&mut header[..5], 0).is_err() || header[..4] != *b"\x7fELF" {
        return Elf::Other;
    }
    // A 32-bit file may be shorter than a 64-bit header: the rest may be missing.
    if file.read_exact_at(&mut header, 0).is_err() && header[4] == ELFCLASS64 {
        return Elf::Broken("its header is cut short");
    }
    let (kind, machine) = (u16_at(&header, 16), u16_at(&header, 18));
    if header[4] != ELFCLASS64 || header[5] != ELFDATA2LSB || machine != MACHINE {
        return Elf::Foreign(machine_name(machine, header[4], header[5]));
    }
    if !matches!(kind, ET_EXEC | ET_DYN) {
        return Elf::Broken("it is an object or core file, not a program");
    }
    segments(file, &header)
}

/// The executable segments of a shared library or a program; empty if it is neither.
pub(crate) fn texts(file: &File) -> Vec<Text> {
    let mut header = [0_u8; 64];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) if header[..4] == *b"\x7fELF" && header[4] == ELFCLASS64 => {}
        Ok(()) | Err(_) => return Vec::new(),
    }
    let Ok(phdrs) = phdrs(file, &header) else { return Vec::new() };
    phdrs.chunks_exact(PHDR_LEN).filter_map(text).collect()
}

fn segments(file: &File, header: &[u8; 64]) -> Elf {
    let phdrs = match phdrs(file, header) {
        Ok(bytes) => bytes,
        Err(why) => return Elf::Broken(why),
    };
    let Some(interp) = phdrs.chunks_exact(PHDR_LEN).find(|p| u32_at(p, 0) == PT_INTERP) else {
        return Elf::Static;
    };
    let (off, len) = (u64_at(interp, 8), u64_at(interp, 32));
    if !(2..=PATH_MAX).contains(&len) {
        return Elf::Broken("the name of its loader is empty or too long");
    }
    let mut name = vec![0; len as usize];
    if file.read_exact_at(&mut name, off).is_err() || name.pop() != Some(0) {
        return Elf::Broken("the name of its loader is cut short");
    }
    let interpreter =
        PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(name));
    Elf::Dynamic { interpreter, texts: phdrs.chunks_exact(PHDR_LEN).filter_map(text).collect() }
}

fn text(phdr: &[u8]) -> Option<Text> {
    let executable = u32_at(phdr, 0) == PT_LOAD && u32_at(phdr, 4) & PF_X != 0;
    executable.then(|| Text { off: u64_at(phdr, 8), len: u64_at(phdr, 32) })
}

fn phdrs(file: &File, header: &[u8; 64]) -> Result<Vec<u8>, &'static str> {
    let (size, count) = (u16_at(header, 54), u16_at(header, 56));
    if usize::from(size) != PHDR_LEN || count > PHDRS_MAX {
        return Err("its program headers are not of the usual size");
    }
    let mut phdrs = vec![0; PHDR_LEN * usize::from(count)];
    file.read_exact_at(&mut phdrs, u64_at(header, 32))
        .map_err(|_| "its program headers are cut short")?;
    Ok(phdrs)
}

fn machine_name(machine: u16, class: u8, data: u8) -> String {
    let bits = if class == ELFCLASS64 { 64 } else { 32 };
    let name = match (machine, data) {
        (3, _) => "i386",
        (MACHINE, _) => "x86-64 (x32)",
        (40 | 0x2800, _) => "ARM",
        (183, _) => "aarch64",
        (243, _) => "RISC-V",
        (21 | 0x1500, _) => "POWER",
        (22 | 0x1600, _) => "s390",
        (8 | 0x0800, _) => "MIPS",
        _ => return format!("machine {machine} of the ELF list, {bits}-bit"),
    };
    format!("{name}, {bits}-bit")
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from(u16_at(b, at)) | u32::from(u16_at(b, at + 2)) << 16
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read_bytes(bytes: &[u8]) -> Elf {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read(&file)
    }

    fn header(class: u8, kind: u16, machine: u16, phdrs: u16) -> Vec<u8> {
        let mut h = vec![0; 64];
        h[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
        h[16..18].copy_from_slice(&kind.to_le_bytes());
        h[18..20].copy_from_slice(&machine.to_le_bytes());
        h[32] = 64;
        h[54] = 56;
        h[56..58].copy_from_slice(&phdrs.to_le_bytes());
        h
    }

    #[test]
    fn this_test_program_is_dynamic_and_has_text() {
        let Elf::Dynamic { interpreter, texts } = read(&File::open("/proc/self/exe").unwrap())
        else {
            panic!("the test program has a loader")
        };
        assert!(interpreter.is_absolute() && !texts.is_empty());
    }

    #[test]
    fn a_program_without_a_loader_is_static() {
        assert_eq!(read_bytes(&header(2, ET_EXEC, MACHINE, 0)), Elf::Static);
        assert_eq!(read_bytes(&header(2, ET_DYN, MACHINE, 0)), Elf::Static);
    }

    #[test]
    fn another_machine_is_named() {
        let Elf::Foreign(name) = read_bytes(&header(2, ET_EXEC, 183, 0)) else { panic!() };
        assert_eq!(name, "aarch64, 64-bit");
        // A 32-bit header has 52 bytes.
        let Elf::Foreign(name) = read_bytes(&header(1, ET_EXEC, 3, 0)[..52]) else { panic!() };
        assert_eq!(name, "i386, 32-bit");
    }

    #[test]
    fn files_cut_anywhere_are_answered_without_a_panic() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for len in (0..2048).chain([4096]) {
            let elf = read_bytes(&whole[..len]);
            assert!(len >= 64 || matches!(elf, Elf::Other | Elf::Broken(_)), "{len}: {elf:?}");
        }
        assert!(matches!(read_bytes(&header(2, ET_DYN, MACHINE, 9999)), Elf::Broken(_)));
        assert!(matches!(read_bytes(&header(2, 1, MACHINE, 0)), Elf::Broken(_)));
        assert_eq!(read_bytes(b"#!/bin/sh\n"), Elf::Other);
    }
}
