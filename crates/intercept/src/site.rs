//! What a `syscall` could be replaced by: which instruction before it becomes a jump, and the stub
//! that the jump leads to.
//!
//! ```text
//!  before                              after                      stub
//!    mov r9d, 8           6 bytes        jmp stub; nop --------->  mov r9d, 8
//!    xor r8d, r8d                        xor r8d, r8d               xor r8d, r8d
//!    mov eax, ebx                        mov eax, ebx               mov eax, ebx
//!    syscall                             syscall   <-- no --------  is rax enter's number?
//!    cmp rax, -4096                      cmp rax, -4096             rcx := here; trampoline
//! ```
//! Exactly one instruction of five or more bytes is overwritten, never the `syscall`, and nothing else:
//! who comes to any later instruction of the line by a jump, or was stopped there, finds what was
//! there before and traps, as always. So what has to be proved is that the bytes *are* one
//! instruction, and that whoever executes it executes the `syscall`:
//!
//! 1. the function's start is taken from the unwinding table (`unwind.rs`);
//! 2. a sweep from there meets, exactly, the `syscall` that has just trapped, so that it was in step
//!    there, and compilers put no data into functions of x86-64;
//! 3. from the overwritten instruction on nothing jumps, calls, returns or traps.
//!
//! What it does not do: look at memory or change it (`patch.rs` does).

use crate::decode::{Insn, decode};
use alloc::vec::Vec;

/// `jmp rel32`.
const JMP: u8 = 0xe9;
/// Its length \[bytes\].
pub(crate) const JMP_LEN: usize = 5;
/// `nop`.
const NOP: u8 = 0x90;
/// Most bytes that a stub runs in another place.
const MOVED_MAX: usize = 64;
/// Most bytes of a stub.
pub(crate) const STUB_MAX: usize = MOVED_MAX + 64;
/// What `syscall` is.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// io_uring_enter's number: what a stub takes to the engine.
const ENTER: u32 = linux_raw_sys::general::__NR_io_uring_enter;

/// What to do about a `syscall`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Offset of the instruction that becomes a jump, from the function's start \[bytes\].
    pub(crate) at: usize,
    /// Its length \[bytes\].
    pub(crate) len: usize,
}

/// The plan for the `syscall` at the end of `code`, which begins where its function does. `None`: it
/// cannot be proved that there is a safe one.
pub(crate) fn plan(code: &[u8]) -> Option<Plan> {
    let end = code.len().checked_sub(SYSCALL.len())?;
    let (line, last) = code.split_at_checked(end)?;
    let (mut at, mut best) = (0, None);
    while at < line.len() {
        // Within the line: an instruction that reaches into the `syscall` is out of step.
        let insn = decode(line.get(at..)?)?;
        if !moves(line.get(at..)?, insn) {
            best = None;
        } else if insn.len >= JMP_LEN {
            best = Some(Plan { at, len: insn.len });
        }
        at += insn.len;
    }
    best.filter(|plan| last == SYSCALL && end - plan.at <= MOVED_MAX)
}

/// Whether an instruction does the same in another place, and leads to the next.
fn moves(bytes: &[u8], insn: Insn) -> bool {
    let cut = insn.addr32 && insn.relative_at != 0;
    !leaves(bytes, insn) && !cut
}

/// Whether an instruction may lead to another place than the next.
pub(crate) fn leaves(bytes: &[u8], insn: Insn) -> bool {
    let op = |i: usize| bytes.get(insn.opcode_at + i).copied().unwrap_or(0);
    let reg = op(1) >> 3 & 7;
    match op(0) {
        // Jumps, loops, calls, returns, interrupts, hlt.
        0x70..=0x7f | 0xe0..=0xe3 | 0xe8..=0xeb | 0x9a => true,
        0xc2 | 0xc3 | 0xca..=0xcf | 0xf1 | 0xf4 => true,
        // call and jmp of an operand; xbegin and xabort.
        0xff => matches!(reg, 2..=5),
        0xc6 | 0xc7 => op(1) == 0xf8,
        // syscall and its kin, ud0 to ud2, jumps; what belongs to the kernel.
        0x0f => matches!(
            op(1),
            0x00 | 0x01 | 0x05..=0x0b | 0x20..=0x23 | 0x30..=0x37 | 0x80..=0x8f | 0xaa | 0xb9 | 0xff
        ),
        _ => false,
    }
}

/// What an instruction of `len` bytes at the address `from` becomes: the jump, and a nop for each byte
/// that is left of it, so that a later sweep stays in step.
pub(crate) fn replacement(from: u64, len: usize, stub: u64) -> Option<Vec<u8>> {
    let mut code = Vec::from(jump(from, stub)?);
    code.resize(len.max(JMP_LEN), NOP);
    Some(code)
}

/// The jump, for an instruction at the address `from`.
pub(crate) fn jump(from: u64, stub: u64) -> Option<[u8; JMP_LEN]> {
    let [a, b, c, d] = distance(from + JMP_LEN as u64, stub)?.to_le_bytes();
    Some([JMP, a, b, c, d])
}

fn distance(next: u64, to: u64) -> Option<i32> {
    i32::try_from(to.wrapping_sub(next).cast_signed()).ok()
}

/// Where a stub and what it stands for lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// The address of the overwritten instruction.
    pub(crate) from: u64,
    /// The address of the stub's first byte.
    pub(crate) stub: u64,
    /// The trampoline's.
    pub(crate) trampoline: u64,
}

/// The stub for `line`, the bytes from the overwritten instruction up to the `syscall`. `None`: an
/// operand lies too far from it.
pub(crate) fn stub(line: &[u8], p: Places) -> Option<Vec<u8>> {
    let mut code = Vec::with_capacity(STUB_MAX);
    while code.len() < line.len() {
        let at = code.len();
        let insn = decode(line.get(at..)?)?;
        code.extend_from_slice(line.get(at..at + insn.len)?);
        if insn.relative_at != 0 {
            let field = code.get_mut(at + insn.relative_at..)?.first_chunk_mut()?;
            let next = (at + insn.len) as u64;
            let operand = (p.from + next).wrapping_add_signed(i32::from_le_bytes(*field).into());
            *field = distance(p.stub + next, operand)?.to_le_bytes();
        }
    }
    let site = p.from + line.len() as u64;
    // Nothing here looks at the flags or changes them. lea rcx, [rax - ENTER]; jrcxz over the jump back:
    code.extend([0x48, 0x8d, 0x88]);
    code.extend(ENTER.wrapping_neg().to_le_bytes());
    code.extend([0xe3, JMP_LEN as u8]);
    let back = p.stub + code.len() as u64;
    code.extend(jump(back, site)?);
    // movabs rcx, what follows the `syscall`; jmp [rip]: the trampoline's address is what follows.
    code.extend([0x48, 0xb9]);
    code.extend((site + SYSCALL.len() as u64).to_le_bytes());
    code.extend([0xff, 0x25, 0, 0, 0, 0]);
    code.extend(p.trampoline.to_le_bytes());
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn function(parts: &[&[u8]]) -> Vec<u8> {
        // push r12; push rbp; mov rbp, rsi
        [&[0x41, 0x54, 0x55, 0x48, 0x89, 0xf5], &parts.concat()[..], &SYSCALL].concat()
    }

    const MOV_NUMBER: &[u8] = &[0xb8, 0xaa, 1, 0, 0];
    const MOV_SIZE: &[u8] = &[0x41, 0xb9, 8, 0, 0, 0];
    const XOR_SIG: &[u8] = &[0x45, 0x31, 0xc0];
    const MOV_FROM: &[u8] = &[0x44, 0x89, 0xf8];

    #[test]
    fn the_last_instruction_that_is_long_enough_becomes_the_jump() {
        let at = |parts: &[&[u8]]| plan(&function(parts)).map(|p| p.at);
        assert_eq!(at(&[MOV_NUMBER]), Some(6));
        assert_eq!(at(&[MOV_NUMBER, XOR_SIG]), Some(6));
        assert_eq!(at(&[MOV_SIZE, XOR_SIG, MOV_NUMBER]), Some(15));
        // movsxd r9, [r12+12]; cmove r10d, eax; mov eax, r15d
        let liburing: &[&[u8]] =
            &[&[0x4d, 0x63, 0x4c, 0x24, 0x0c], &[0x44, 0x0f, 0x44, 0xd0], MOV_FROM];
        assert_eq!(at(liburing), Some(6));
    }

    #[test]
    fn what_leaves_the_line_is_not_passed() {
        let leaving: [&[u8]; 9] = [
            &[0x74, 2],
            &[0x0f, 0x84, 1, 0, 0, 0],
            &[0xe8, 1, 2, 3, 4],
            &[0xff, 0xd0],
            &[0xff, 0x25, 1, 2, 3, 4],
            &[0xc3],
            &[0xe3, 1],
            &SYSCALL,
            &[0xcc],
        ];
        for insn in leaving {
            assert_eq!(plan(&function(&[MOV_NUMBER, insn, XOR_SIG])), None, "{insn:x?}");
            let behind = plan(&function(&[insn, MOV_NUMBER]));
            assert_eq!(behind, Some(Plan { at: 6 + insn.len(), len: 5 }), "{insn:x?}");
        }
    }

    #[test]
    fn a_line_without_a_long_instruction_or_out_of_step_is_left_alone() {
        assert_eq!(plan(&function(&[XOR_SIG, MOV_FROM])), None);
        assert_eq!(plan(&function(&[&[0x06]])), None);
        // The `syscall`'s bytes are the end of a longer instruction.
        assert_eq!(plan(&[0xb8, 0xaa, 1, 0x0f, 0x05]), None);
        assert_eq!(plan(&SYSCALL), None);
        assert_eq!(plan(&[]), None);
        assert_eq!(plan(&[0xb8, 0xaa, 1, 0, 0, 0x0f, 0x0b]), None);
    }

    #[test]
    fn a_sweep_stays_in_step_behind_a_site_that_was_changed() {
        let changed = replacement(0x1000, MOV_SIZE.len(), 0x9000).unwrap();
        assert_eq!((changed.len(), changed[0], changed[5]), (MOV_SIZE.len(), JMP, NOP));
        // test al, al; xor eax, eax; xor edx, edx: who jumps there goes on to trap.
        let rest = [0x84, 0xc0, 0x31, 0xc0, 0x31, 0xd2];
        assert_eq!(plan(&function(&[&changed, &rest])), None);
        let left_over = [&changed[..5], &MOV_SIZE[5..]].concat();
        // add [rax+rax*8-0x2dce3fcf], al
        assert_eq!(plan(&function(&[&left_over, &rest])), Some(Plan { at: 11, len: 7 }));
    }

    #[test]
    fn a_line_that_is_too_long_is_left_alone() {
        let long = XOR_SIG.repeat(MOVED_MAX / 3);
        assert_eq!(plan(&function(&[MOV_NUMBER, &long])), None);
    }

    #[test]
    fn an_operand_at_a_distance_stays_the_same_operand() {
        // mov eax, [rip+0x100]: at 0x1000 it names 0x1106; mov edi, 3
        let line = [0x8b, 0x05, 0, 1, 0, 0, 0xbf, 3, 0, 0, 0];
        let p = Places { from: 0x1000, stub: 0x9000, trampoline: 0x7f00_0000_1234 };
        let code = stub(&line, p).unwrap();
        let moved = i32::from_le_bytes(code[2..6].try_into().unwrap());
        assert_eq!(i64::from(moved) + 0x9006, 0x1106);
        assert_eq!(&code[6..11], &line[6..]);
        let far = Places { from: 0x1000, stub: 0x1_0000_9000, ..p };
        assert!(stub(&line, far).is_none() && jump(far.from, far.stub).is_none());
    }

    #[test]
    fn every_stub_is_short_enough() {
        let line = [XOR_SIG.repeat(21).as_slice(), &[0x90]].concat();
        assert_eq!(line.len(), MOVED_MAX);
        let p = Places { from: 0x1000, stub: 0x9000, trampoline: u64::MAX };
        assert!(stub(&line, p).unwrap().len() <= STUB_MAX);
    }
}
