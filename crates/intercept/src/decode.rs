//! Lengths of x86-64 instructions, to tell a `syscall` from two bytes that look like one.
//!
//! Written from the opcode maps of the Intel manual, volume 2, appendix A. What it does not do:
//! name instructions or operands; a length that is wrong for an instruction that compilers never
//! emit costs one vote in `scan.rs`, nothing else.

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

/// One instruction, as far as `scan.rs` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Insn {
    /// Length \[bytes\].
    pub(crate) len: usize,
    /// Offset of the opcode's first byte (after prefixes).
    pub(crate) opcode_at: usize,
    /// The REX prefix, 0 without one.
    pub(crate) rex: u8,
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

/// Decodes the instruction at the start of `code`; `None` if none starts there or it is cut off.
pub(crate) fn decode(code: &[u8]) -> Option<Insn> {
    let (mut at, mut wide, mut addr32, mut rex) = (0, true, false, 0u8);
    loop {
        match *code.get(at)? {
            0x66 => wide = false,
            0x67 => addr32 = true,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => {}
            _ => break,
        }
        at += 1;
        if at > 14 {
            return None;
        }
    }
    if let b @ 0x40..=0x4f = *code.get(at)? {
        rex = b;
        at += 1;
    }
    let opcode_at = at;
    let op = *code.get(at)?;
    at += 1;
    let (modrm, imm) = match op {
        0x0f => {
            let second = *code.get(at)?;
            at += 1;
            match second {
                0x38 => {
                    at += 1;
                    (true, Imm::None)
                }
                0x3a => {
                    at += 1;
                    (true, Imm::Byte)
                }
                _ => two_byte(second)?,
            }
        }
        0xc4 | 0xc5 | 0x62 => {
            // VEX and EVEX: payload, opcode, ModRM; the map says whether an immediate follows.
            let (payload, map) = match op {
                0xc5 => (1, 1),
                0xc4 => (2, *code.get(at)? & 0x1f),
                _ => (3, *code.get(at)? & 7),
            };
            let vop = *code.get(at + payload)?;
            at += payload + 1;
            match (map, vop) {
                (1, 0x77) => (false, Imm::None),
                (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) | (3, _) => (true, Imm::Byte),
                (1 | 2 | 5 | 6, _) => (true, Imm::None),
                _ => return None,
            }
        }
        _ => one_byte(op)?,
    };
    let mut reg = 0;
    if modrm {
        let m = *code.get(at)?;
        reg = m >> 3 & 7;
        at += 1;
        let (mode, rm) = (m >> 6, m & 7);
        let mut base = rm;
        if mode != 3 && rm == 4 {
            base = *code.get(at)? & 7;
            at += 1;
        }
        at += match mode {
            0 if base == 5 => 4,
            1 => 1,
            2 => 4,
            _ => 0,
        };
    }
    let z = if wide || rex & 8 != 0 { 4 } else { 2 };
    at += match imm {
        Imm::None => 0,
        Imm::Byte => 1,
        Imm::Word => 2,
        Imm::Z => z,
        Imm::Rel32 => 4,
        Imm::V if rex & 8 != 0 => 8,
        Imm::V => z,
        Imm::Moffs if addr32 => 4,
        Imm::Moffs => 8,
        Imm::Enter => 3,
        Imm::TestByte => usize::from(reg < 2),
        Imm::TestZ => usize::from(reg < 2) * z,
    };
    (at <= 15 && at <= code.len()).then_some(Insn { len: at, opcode_at, rex })
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
    fn invalid_opcodes_do_not_decode() {
        for op in [0x06u8, 0x27, 0x60, 0x82, 0x9a, 0xce, 0xea] {
            assert_eq!(decode(&[op, 0, 0, 0, 0, 0, 0, 0]), None, "{op:#x}");
        }
    }
}
