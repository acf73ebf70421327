//! Whether a function still asks for the flags, or for r11, after a `syscall`.
//!
//! ```text
//!    syscall            keeps the flags, and leaves them in r11 too
//!    test eax, eax      writes all six arithmetic flags: nobody reads the old ones
//!    js   1f            two ways on, both are followed
//!    ret                neither the flags nor r11 go to a caller
//! 1: mov  r11, [rdi]    writes r11 before anything names it
//! ```
//! A patched site that nobody asks keeps neither. What is proved:
//!
//! 1. on every way on, all six arithmetic flags are written before anything that may read one, and r11
//!    before anything else that names it. `ret` and `call` end both: neither is passed to a function
//!    or back (psABI of x86-64, 3.2.1 and 3.2.3);
//! 2. nothing in the function sets the direction flag, which is clear where a function begins and
//!    where a call comes back (3.2.1): it is clear at the site, and the engine keeps it so.
//!
//! The other flags (trap, alignment, identification) are not the engine's to change. An instruction
//! that is not known, a way that leaves the function and one that is too long ask for everything.
//! What it does not do: tell which registers are free. Compilers know of a function in the same file
//! which of them it leaves alone (`-fipa-ra`), so that `ret` does not end those.

use crate::decode::{Insn, decode};
use crate::site;
use alloc::vec::Vec;

/// Most instructions that are looked at after a site.
const STEPS_MAX: usize = 256;
/// Nobody has written the arithmetic flags yet.
const FLAGS: u8 = 1;
/// Nobody has written r11 yet.
const R11: u8 = 2;
/// r11 without the bit that REX has.
const R11_LOW: u8 = 3;

/// Whether anything that runs after offset `after` of the whole function `code`, behind a `syscall`,
/// may tell what that left in the flags or in r11.
pub(crate) fn are_asked_for(code: &[u8], after: usize) -> bool {
    !never_backward(code) || !are_written(code, after)
}

/// Whether no instruction sets the direction flag.
fn never_backward(code: &[u8]) -> bool {
    let mut at = 0;
    while let Some(bytes) = code.get(at..).filter(|b| !b.is_empty()) {
        let Some(insn) = decode(bytes) else { return false };
        // popf, iret, std
        if matches!(bytes.get(insn.opcode_at), Some(0x9d | 0xcf | 0xfd)) {
            return false;
        }
        at += insn.len;
    }
    true
}

/// Whether all ways on from `after` write both before they read them.
fn are_written(code: &[u8], after: usize) -> bool {
    let (mut ways, mut seen) = (Vec::from([(after, FLAGS | R11)]), Vec::new());
    for _ in 0..STEPS_MAX {
        let Some(way) = ways.pop() else { return true };
        if way.1 == 0 || seen.contains(&way) {
            continue;
        }
        seen.push(way);
        let Some((live, on)) = step(code, way.0, way.1) else { return false };
        ways.extend(on.into_iter().flatten().map(|at| (at, live)));
    }
    false
}

/// Where an instruction leads.
enum Flow {
    On,
    End,
    To(i32),
    OnOrTo(i32),
}

/// What is left of `live` after the instruction at `at`, and where it leads; `None`: it may read some.
fn step(code: &[u8], at: usize, live: u8) -> Option<(u8, [Option<usize>; 2])> {
    let bytes = code.get(at..)?;
    let insn = decode(bytes)?;
    let next = at + insn.len;
    let to = |by: i32| next.checked_add_signed(by as isize).filter(|&to| to < code.len());
    match flow(bytes, insn)? {
        Flow::End => Some((0, [None, None])),
        Flow::To(by) => Some((live, [Some(to(by)?), None])),
        Flow::OnOrTo(_) if live & FLAGS != 0 => None,
        Flow::OnOrTo(by) => Some((live, [Some(next), Some(to(by)?)])),
        Flow::On => {
            let left = after_flags(bytes, insn, live)? & after_r11(bytes, insn, live)?;
            Some((left, [Some(next), None]))
        }
    }
}

/// The byte `i` of an instruction's opcode, or what follows it.
fn op(bytes: &[u8], insn: Insn, i: usize) -> u8 {
    bytes.get(insn.opcode_at + i).copied().unwrap_or(0)
}

fn flow(bytes: &[u8], insn: Insn) -> Option<Flow> {
    let rel8 = || bytes.get(insn.len - 1).map(|&b| i32::from(b.cast_signed()));
    let rel32 = || {
        let field = bytes.get(insn.len.checked_sub(4)?..insn.len)?.first_chunk()?;
        Some(i32::from_le_bytes(*field))
    };
    let (first, second) = (op(bytes, insn, 0), op(bytes, insn, 1));
    let flow = match (first, second) {
        (0xff, _) if second >> 3 & 7 == 2 => Flow::End,
        (0xc2 | 0xc3 | 0xe8, _) => Flow::End,
        (0x70..=0x7f, _) => Flow::OnOrTo(rel8()?),
        (0x0f, 0x80..=0x8f) => Flow::OnOrTo(rel32()?),
        (0xeb, _) => Flow::To(rel8()?),
        (0xe9, _) => Flow::To(rel32()?),
        _ if site::leaves(bytes, insn) => return None,
        _ => return Some(Flow::On),
    };
    // A prefix of the operand size cuts the address; that of bnd or of `rep ret` says nothing.
    let plain = bytes.get(..insn.opcode_at)?.iter().all(|b| matches!(b, 0xf2 | 0xf3));
    (plain || first == 0xff).then_some(flow)
}

/// What is left of `live` as far as the flags go; `None`: it may read them.
fn after_flags(bytes: &[u8], insn: Insn, live: u8) -> Option<u8> {
    let (first, second) = (op(bytes, insn, 0), op(bytes, insn, 1));
    let reg = second >> 3 & 7;
    let writes = match first {
        // add, or, and, sub, xor, cmp; not adc and sbb
        0x00..=0x3f => first & 7 <= 5 && !matches!(first >> 3, 2 | 3),
        0x80 | 0x81 | 0x83 => !matches!(reg, 2 | 3),
        0x84 | 0x85 | 0xa8 | 0xa9 => true,
        // test and neg
        0xf6 | 0xf7 => matches!(reg, 0 | 1 | 3),
        _ => false,
    };
    let keeps = match first {
        // push, pop, mov, movsxd, lea, xchg, nop, cdqe, cqo, leave
        0x50..=0x5f | 0x63 | 0x68 | 0x6a | 0x86..=0x8b | 0x8d | 0x90..=0x99 => true,
        0xa0..=0xa3 | 0xb0..=0xbf | 0xc9 => true,
        0xc6 | 0xc7 => reg == 0,
        0x0f if moves_vectors(second) => true,
        // nop and endbr, movd and movq, movzx and movsx, bswap
        0x0f => {
            matches!(second, 0x1e | 0x1f | 0x6e | 0x7e | 0xb6 | 0xb7 | 0xbe | 0xbf | 0xc8..=0xcf)
        }
        _ => false,
    };
    if writes { Some(live & !FLAGS) } else { (keeps || live & FLAGS == 0).then_some(live) }
}

/// The second byte of instructions between vector registers, or such a one and memory.
fn moves_vectors(second: u8) -> bool {
    matches!(second, 0x10..=0x17 | 0x28 | 0x29 | 0x57 | 0x6f | 0x7f | 0xd6 | 0xef)
}

/// What is left of `live` as far as r11 goes; `None`: it may read it.
fn after_r11(bytes: &[u8], insn: Insn, live: u8) -> Option<u8> {
    let first = op(bytes, insn, 0);
    if matches!(first, 0x62 | 0xc4 | 0xc5) {
        // VEX and EVEX name registers in their own way.
        return (live & R11 == 0).then_some(live);
    }
    let names = names_r11(bytes, insn)?;
    let whole = !bytes.get(..insn.opcode_at)?.contains(&0x66);
    let writes = match first {
        // mov, lea, movsxd
        0x8b | 0x8d | 0x63 => names == Names::Reg,
        // movzx and movsx
        0x0f => matches!(op(bytes, insn, 1), 0xb6 | 0xb7 | 0xbe | 0xbf) && names == Names::Reg,
        // mov r11, imm
        0xbb => names == Names::Opcode,
        _ => false,
    };
    match names {
        Names::Nowhere => Some(live),
        // It is xmm11.
        Names::Reg if first == 0x0f && moves_vectors(op(bytes, insn, 1)) => Some(live),
        _ if writes && whole => Some(live & !R11),
        _ => (live & R11 == 0).then_some(live),
    }
}

/// How an instruction names r11, or another register with the same bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Nowhere,
    /// In ModRM's reg field alone.
    Reg,
    /// In the opcode.
    Opcode,
    /// As the other operand, or in its address.
    Otherwise,
}

fn names_r11(bytes: &[u8], insn: Insn) -> Option<Names> {
    let is = |bit: u8, low: u8| insn.rex & bit != 0 && low & 7 == R11_LOW;
    if insn.modrm_at == 0 {
        let last = usize::from(op(bytes, insn, 0) == 0x0f);
        let here = is(1, op(bytes, insn, last));
        return Some(if here { Names::Opcode } else { Names::Nowhere });
    }
    let modrm = *bytes.get(insn.modrm_at)?;
    let other = if modrm >> 6 != 3 && modrm & 7 == 4 {
        let sib = *bytes.get(insn.modrm_at + 1)?;
        is(1, sib) || is(2, sib >> 3)
    } else {
        is(1, modrm)
    };
    Some(match (is(4, modrm >> 3), other) {
        (_, true) => Names::Otherwise,
        (true, false) => Names::Reg,
        (false, false) => Names::Nowhere,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSCALL: &[u8] = &[0x0f, 0x05];
    const RET: &[u8] = &[0xc3];
    const TEST: &[u8] = &[0x85, 0xc0];
    const MOV_AWAY: &[u8] = &[0x89, 0xc3];
    const MOV_R11: &[u8] = &[0x4c, 0x8b, 0x5c, 0x24, 8];

    /// mov eax, 426; syscall; what follows.
    fn asked(follows: &[&[u8]]) -> bool {
        let before = [&[0xb8, 0xaa, 1, 0, 0], SYSCALL].concat();
        are_asked_for(&[&before[..], &follows.concat()].concat(), before.len())
    }

    #[test]
    fn a_return_and_a_call_end_both() {
        let ends: [(&[u8], &str); 5] = [
            (RET, "ret"),
            (&[0xf3, 0xc3], "rep ret"),
            (&[0xc2, 8, 0], "ret 8"),
            (&[0xe8, 1, 2, 3, 4], "call"),
            (&[0x41, 0xff, 0xd4], "call r12"),
        ];
        for (end, text) in ends {
            assert!(!asked(&[end]), "{text}");
            assert!(!asked(&[MOV_AWAY, end]), "mov, {text}");
        }
    }

    #[test]
    fn what_may_read_the_flags_asks_unless_all_six_were_written() {
        let reads: [(&[u8], &str); 12] = [
            (&[0x72, 0], "jc"),
            (&[0x0f, 0x84, 0, 0, 0, 0], "je rel32"),
            (&[0x0f, 0x92, 0xc0], "setc al"),
            (&[0x0f, 0x44, 0xc1], "cmove eax, ecx"),
            (&[0x11, 0xc8], "adc eax, ecx"),
            (&[0x83, 0xd8, 0], "sbb eax, 0"),
            (&[0x9c], "pushfq"),
            (&[0x9f], "lahf"),
            (&[0xff, 0xc0], "inc eax, which keeps carry"),
            (&[0xd3, 0xe0], "shl eax, cl, which may keep all"),
            (&[0xd1, 0xd0], "rcl eax, 1"),
            (&[0xc5, 0xf8, 0x77], "vzeroupper, which is not known"),
        ];
        let writes: [(&[u8], &str); 8] = [
            (TEST, "test eax, eax"),
            (&[0x48, 0x85, 0xc0], "test rax, rax"),
            (&[0x48, 0x3d, 0, 0xf0, 0xff, 0xff], "cmp rax, -4096"),
            (&[0x83, 0xf8, 0xf5], "cmp eax, -11"),
            (&[0x31, 0xd2], "xor edx, edx"),
            (&[0x48, 0x83, 0xc4, 8], "add rsp, 8"),
            (&[0xf6, 0xc1, 1], "test cl, 1"),
            (&[0xf7, 0xd8], "neg eax"),
        ];
        for (read, text) in reads {
            assert!(asked(&[read, RET]), "{text}");
            assert!(asked(&[MOV_AWAY, read, RET]), "mov, {text}");
            for (write, first) in writes {
                // r11 is written first: of instructions with VEX it is not known what they name.
                assert!(!asked(&[MOV_R11, write, read, RET]), "{first}, {text}");
            }
        }
    }

    #[test]
    fn both_ways_of_a_branch_are_followed() {
        let (setc, over_ret): (&[u8], &[u8]) = (&[0x0f, 0x92, 0xc0], &[0x78, 1]);
        assert!(!asked(&[TEST, over_ret, RET, RET]));
        // The flags of the test are what setc reads.
        assert!(!asked(&[TEST, over_ret, RET, setc, RET]));
        let r11 = &[0x4c, 0x89, 0xd8];
        assert!(asked(&[TEST, over_ret, RET, r11, RET]));
        assert!(asked(&[TEST, &[0x78, 3], r11, RET]));
        // jmp over the ret to setc
        assert!(asked(&[&[0xeb, 1], RET, setc, RET]));
        assert!(!asked(&[&[0xe9, 3, 0, 0, 0], setc, RET]));
        // A loop that comes to nothing else.
        assert!(!asked(&[TEST, &[0x79, 0xfc], RET]));
        assert!(!asked(&[MOV_AWAY, &[0xeb, 0xfc]]));
    }

    #[test]
    fn what_leaves_by_a_way_that_is_not_followed_asks() {
        let ways: [(&[u8], &str); 8] = [
            (&[0xff, 0xe0], "jmp rax"),
            (&[0xff, 0x25, 0, 0, 0, 0], "jmp [rip]"),
            (&[0xe9, 0, 1, 0, 0], "jmp out of the function"),
            (&[0xeb, 0x80], "jmp before it"),
            (&[0x66, 0xe9, 0, 0, 0, 0], "jmp with a cut address"),
            (SYSCALL, "syscall"),
            (&[0x0f, 0x0b], "ud2"),
            (&[], "the end"),
        ];
        for (way, text) in ways {
            assert!(asked(&[MOV_AWAY, way]), "{text}");
        }
        assert!(asked(&[&MOV_AWAY.repeat(STEPS_MAX), RET]));
    }

    #[test]
    fn what_names_r11_asks_unless_it_was_written() {
        let reads: [(&[u8], &str); 10] = [
            (&[0x4c, 0x89, 0xd8], "mov rax, r11"),
            (&[0x49, 0x8b, 0x03], "mov rax, [r11]"),
            (&[0x4a, 0x8b, 0x04, 0x18], "mov rax, [rax+r11]"),
            (&[0x49, 0x8b, 0x44, 0x03, 8], "mov rax, [r11+rax+8]"),
            (&[0x4d, 0x8b, 0x5b, 8], "mov r11, [r11+8]"),
            (&[0x66, 0x44, 0x8b, 0xd8], "mov r11w, ax"),
            (&[0x44, 0x8a, 0xd8], "mov r11b, al"),
            (&[0x4c, 0x01, 0xd8], "add rax, r11"),
            (&[0x41, 0x53], "push r11"),
            (&[0xc4, 0xe2, 0xa0, 0xf2, 0xc1], "andn rax, r11, rcx"),
        ];
        let writes: [(&[u8], &str); 4] = [
            (MOV_R11, "mov r11, [rsp+8]"),
            (&[0x41, 0xbb, 1, 0, 0, 0], "mov r11d, 1"),
            (&[0x44, 0x0f, 0xb6, 0xd8], "movzx r11d, al"),
            (&[0x4c, 0x8d, 0x58, 8], "lea r11, [rax+8]"),
        ];
        for (read, text) in reads {
            assert!(asked(&[TEST, read, RET]), "{text}");
            for (write, first) in writes {
                assert!(!asked(&[TEST, write, read, RET]), "{first}, {text}");
            }
        }
        // xmm11 is no r11, but for what r11 points to; rbx, rdx and r12 are others.
        assert!(!asked(&[&[0x44, 0x0f, 0x11, 0x1f], RET]));
        assert!(asked(&[&[0x45, 0x0f, 0x11, 0x1b], RET]));
        assert!(!asked(&[&[0x89, 0xd8], &[0x49, 0x8b, 0x04, 0x24], RET]));
    }

    #[test]
    fn a_function_that_may_go_backward_asks() {
        for (insn, text) in [(0xfd, "std"), (0x9d, "popfq"), (0xcf, "iret")] {
            assert!(asked(&[RET, &[insn], RET]), "{text}");
        }
        assert!(!asked(&[RET, &[0xfc], RET]), "cld");
        // Not in step, or cut off.
        assert!(asked(&[RET, &[0x06]]));
        assert!(asked(&[RET, &[0xb8, 1]]));
    }
}
