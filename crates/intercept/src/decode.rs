//! Lengths of x86-64 instructions, to tell a `syscall` from two bytes that look like one, and what
//! an instruction has that ties it to its place.
//!
//! Written from the opcode maps of the Intel manual, volume 2, appendix A. What it does not do:
//! name instructions or operands. A length that is wrong for an instruction that compilers never
//! emit costs one vote in `scan.rs`; `site.rs` takes a sweep that begins where a function does and
//! meets a `syscall` that was executed.

/// Which immediate follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Imm {
    None,
    Byte,
    /// 4 bytes, 2 under an operand-size prefix.
    Z,
    Word,
    /// 4 bytes whatever the prefixes: a near branch.
    Rel32,
    /// 8 bytes with REX.W, else as `Z`: `mov r, imm`.
    V,
    /// A memory offset of address size.
    Moffs,
    /// enter: a word and a byte.
    Enter,
    /// `test` only for /0 and /1 of the group: a byte.
    TestByte,
    /// `test` only for /0 and /1 of the group: `Z`.
    TestZ,
}

/// One instruction, as far as `scan.rs`, `site.rs` and `flags.rs` ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Insn {
    /// Length \[bytes\].
    pub(crate) len: usize,
    /// Offset of the opcode's first byte (after prefixes).
    pub(crate) opcode_at: usize,
    /// The REX prefix, 0 without one.
    pub(crate) rex: u8,
    /// Offset of ModRM, 0 without one.
    pub(crate) modrm_at: usize,
    /// Offset of the 4-byte distance from the next instruction to an operand in memory, if that is how
    /// it is named; 0 otherwise.
    pub(crate) relative_at: usize,
    /// An address-size prefix: addresses are cut to 32 bits.
    pub(crate) addr32: bool,
}

fn one_byte(op: u8) -> Option<(bool, Imm)> {
    let shape = match op {
        // add, or, adc, sbb, and, sub, xor, cmp
        0x00..=0x3f => match op & 7 {
            0..=3 => (true, Imm::None),
            4 => (false, Imm::Byte),
            5 => (false, Imm::Z),
            _ => return None,
        },
        0x40..=0x4f | 0x60..=0x62 | 0x82 | 0x9a | 0xc4 | 0xc5 | 0xce | 0xd4..=0xd6 | 0xea => {
            return None;
        }
        0x63 | 0x84..=0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => (true, Imm::None),
        0x68 | 0xa9 => (false, Imm::Z),
        0xe8 | 0xe9 => (false, Imm::Rel32),
        0x69 | 0x81 | 0xc7 => (true, Imm::Z),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => (false, Imm::Byte),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => (true, Imm::Byte),
        0xa0..=0xa3 => (false, Imm::Moffs),
        0xb8..=0xbf => (false, Imm::V),
        0xc2 | 0xca => (false, Imm::Word),
        0xc8 => (false, Imm::Enter),
        0xf6 => (true, Imm::TestByte),
        0xf7 => (true, Imm::TestZ),
        _ => (false, Imm::None),
    };
    Some(shape)
}

fn two_byte(op: u8) -> Option<(bool, Imm)> {
    let shape = match op {
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x39 | 0x3b..=0x3f | 0xa6 | 0xa7 => return None,
        0x05..=0x09
        | 0x0b
        | 0x0e
        | 0x30..=0x37
        | 0x77
        | 0xa0..=0xa2
        | 0xa8..=0xaa
        | 0xc8..=0xcf => (false, Imm::None),
        0x80..=0x8f => (false, Imm::Rel32),
        0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => (true, Imm::Byte),
        _ => (true, Imm::None),
    };
    Some(shape)
}

/// What stands before the opcode.
struct Prefixes {
    len: usize,
    /// No operand-size prefix.
    wide: bool,
    addr32: bool,
    rex: u8,
}

fn prefixes(code: &[u8]) -> Option<Prefixes> {
    let mut p = Prefixes { len: 0, wide: true, addr32: false, rex: 0 };
    loop {
        match *code.get(p.len)? {
            0x66 => p.wide = false,
            0x67 => p.addr32 = true,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => {}
            _ => break,
        }
        p.len += 1;
        if p.len > 14 {
            return None;
        }
    }
    if let b @ 0x40..=0x4f = *code.get(p.len)? {
        p.rex = b;
        p.len += 1;
    }
    Some(p)
}

/// The opcode at the start of `code`: its length, whether ModRM follows, and which immediate.
fn opcode(code: &[u8]) -> Option<(usize, bool, Imm)> {
    let at = |i: usize| code.get(i).copied();
    let op = at(0)?;
    let (len, (modrm, imm)) = match op {
        0x0f => match at(1)? {
            0x38 => (3, (true, Imm::None)),
            0x3a => (3, (true, Imm::Byte)),
            second => (2, two_byte(second)?),
        },
        // VEX and EVEX: payload, opcode, ModRM; the map says whether an immediate follows.
        0xc5 => (3, vector(1, at(2)?)?),
        0xc4 => (4, vector(at(1)? & 0x1f, at(3)?)?),
        0x62 => (5, vector(at(1)? & 7, at(4)?)?),
        _ => (1, one_byte(op)?),
    };
    Some((len, modrm, imm))
}

fn vector(map: u8, op: u8) -> Option<(bool, Imm)> {
    match (map, op) {
        (1, 0x77) => Some((false, Imm::None)),
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) | (3, _) => Some((true, Imm::Byte)),
        (1 | 2 | 5 | 6, _) => Some((true, Imm::None)),
        _ => None,
    }
}

/// What ModRM says.
struct Operands {
    /// Length of ModRM, SIB and displacement \[bytes\].
    len: usize,
    /// The reg field.
    reg: u8,
    /// A distance from the next instruction.
    relative: bool,
}

/// ModRM and what follows it at the start of `code`.
fn operands(code: &[u8]) -> Option<Operands> {
    let modrm = *code.first()?;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let has_sib = mode != 3 && rm == 4;
    let base = if has_sib { *code.get(1)? & 7 } else { rm };
    let displacement = match mode {
        0 if base == 5 => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    let len = 1 + usize::from(has_sib) + displacement;
    Some(Operands { len, reg: modrm >> 3 & 7, relative: mode == 0 && rm == 5 })
}

/// Decodes the instruction at the start of `code`; `None` if none starts there or it is cut off.
pub(crate) fn decode(code: &[u8]) -> Option<Insn> {
    let p = prefixes(code)?;
    let (opcode_len, modrm, imm) = opcode(code.get(p.len..)?)?;
    let mut len = p.len + opcode_len;
    let (mut reg, mut relative_at) = (0, 0);
    let modrm_at = if modrm { len } else { 0 };
    if modrm {
        let operands = operands(code.get(len..)?)?;
        relative_at = if operands.relative { len + 1 } else { 0 };
        len += operands.len;
        reg = operands.reg;
    }
    let z = if p.wide || p.rex & 8 != 0 { 4 } else { 2 };
    len += match imm {
        Imm::None => 0,
        Imm::Byte => 1,
        Imm::Word => 2,
        Imm::Z => z,
        Imm::Rel32 => 4,
        Imm::V if p.rex & 8 != 0 => 8,
        Imm::V => z,
        Imm::Moffs if p.addr32 => 4,
        Imm::Moffs => 8,
        Imm::Enter => 3,
        Imm::TestByte => usize::from(reg < 2),
        Imm::TestZ => usize::from(reg < 2) * z,
    };
    let (opcode_at, rex, addr32) = (p.len, p.rex, p.addr32);
    let insn = Insn { len, opcode_at, rex, modrm_at, relative_at, addr32 };
    (len <= 15 && len <= code.len()).then_some(insn)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn lengths_match_the_assembler() {
        // Bytes as GNU as emits them.
        let cases: [(&[u8], &str); 22] = [
            (&[0x0f, 0x05], "syscall"),
            (&[0xb8, 0xaa, 1, 0, 0], "mov eax, 426"),
            (&[0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8], "movabs rax, imm64"),
            (&[0x66, 0xb8, 1, 2], "mov ax, imm16"),
            (&[0x48, 0xc7, 0xc0, 0xaa, 1, 0, 0], "mov rax, 426"),
            (&[0x44, 0x89, 0xc0], "mov eax, r8d"),
            (&[0x4d, 0x63, 0x4e, 0x0c], "movsxd r9, [r14+12]"),
            (&[0x48, 0x8b, 0x44, 0x24, 0x08], "mov rax, [rsp+8]"),
            (&[0x48, 0x8b, 0x05, 1, 2, 3, 4], "mov rax, [rip+x]"),
            (&[0x8b, 0x04, 0x25, 1, 2, 3, 4], "mov eax, [abs]"),
            (&[0xf6, 0xc1, 1], "test cl, 1"),
            (&[0xf6, 0xd1], "not cl"),
            (&[0xf7, 0x44, 0x24, 4, 1, 0, 0, 0], "test dword [rsp+4], 1"),
            (&[0x0f, 0x84, 1, 2, 3, 4], "je rel32"),
            (&[0xf3, 0x0f, 0x1e, 0xfa], "endbr64"),
            (&[0x66, 0x0f, 0x3a, 0x0f, 0xc1, 8], "palignr xmm0, xmm1, 8"),
            (&[0xc5, 0xf8, 0x77], "vzeroupper"),
            (&[0xc4, 0xe3, 0x7d, 0x39, 0xc1, 1], "vextracti128"),
            (&[0x62, 0xf1, 0x7c, 0x48, 0x28, 0x44, 0x24, 1], "vmovaps zmm0, [rsp+64]"),
            (&[0x41, 0xff, 0xd4], "call r12"),
            (&[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], "nopw"),
            (&[0xc8, 1, 0, 0], "enter 1, 0"),
        ];
        for (bytes, text) in cases {
            assert_eq!(decode(bytes).map(|i| i.len), Some(bytes.len()), "{text}");
            let cut = bytes.get(..bytes.len() - 1).unwrap_or(&[]);
            assert_ne!(decode(cut).map(|i| i.len), Some(bytes.len()), "{text}, cut");
        }
    }

    #[test]
    fn an_operand_at_a_distance_from_the_next_instruction_is_seen() {
        let cases: [(&[u8], usize, &str); 6] = [
            (&[0x48, 0x8b, 0x05, 1, 2, 3, 4], 3, "mov rax, [rip+x]"),
            (&[0x80, 0x3d, 1, 2, 3, 4, 9], 2, "cmp byte [rip+x], 9"),
            (&[0xc5, 0xf8, 0x28, 0x05, 1, 2, 3, 4], 4, "vmovaps xmm0, [rip+x]"),
            (&[0x8b, 0x04, 0x25, 1, 2, 3, 4], 0, "mov eax, [abs]"),
            (&[0x8b, 0x45, 5], 0, "mov eax, [rbp+5]"),
            (&[0x89, 0xe8], 0, "mov eax, ebp"),
        ];
        for (bytes, at, text) in cases {
            assert_eq!(decode(bytes).map(|i| i.relative_at), Some(at), "{text}");
        }
    }

    #[test]
    fn invalid_opcodes_do_not_decode() {
        for op in [0x06u8, 0x27, 0x60, 0x82, 0x9a, 0xce, 0xea] {
            assert_eq!(decode(&[op, 0, 0, 0, 0, 0, 0, 0]), None, "{op:#x}");
        }
    }
}
