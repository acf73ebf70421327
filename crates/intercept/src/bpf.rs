//! An interpreter of the filter's few instructions, to test a filter before it is ever installed.
//!
//! ```text
//!  program -> check: what the kernel refuses, and any instruction beyond the filter's six
//!          -> run(call): the answer, and in how many steps
//! ```
//! Jumps go forward only, so a checked program ends. Written from the description in
//! Documentation/networking/filter.rst and seccomp(2). What it does not do: run in a process; it is
//! compiled for tests only.

use crate::filter::{ARCH, IP_HIGH, IP_LOW, Insn, JEQ_K, JGE_K, JGT_K, JSET_K, LD_W_ABS};
use crate::filter::{MAX_LEN, NR, RET_K};

/// `sizeof(struct seccomp_data)` \[bytes\].
const DATA_LEN: u32 = 64;

/// A call as the kernel shows it to a filter.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Address of the instruction after the call's.
    pub ip: u64,
    /// Arguments.
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, at: u32) -> u32 {
        let wide = |v: u64, high: bool| if high { (v >> 32) as u32 } else { v as u32 };
        match at {
            NR => self.nr,
            ARCH => self.arch,
            IP_LOW | IP_HIGH => wide(self.ip, at == IP_HIGH),
            _ => wide(self.args[(at as usize - 16) / 8], at % 8 == 4),
        }
    }
}

/// Why a program is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No instruction, or more than the kernel takes.
    Length,
    /// Not one of the filter's instructions, at this place.
    Code(usize),
    /// A word that `struct seccomp_data` does not have.
    Load(usize),
    /// A jump beyond the end.
    Jump(usize),
    /// The last instruction does not return.
    End,
}

/// Whether the kernel would take the program, and this interpreter can run it.
///
/// # Errors
/// The first reason against it.
pub fn check(program: &[Insn]) -> Result<(), Refused> {
    if program.is_empty() || program.len() > MAX_LEN {
        return Err(Refused::Length);
    }
    for (at, insn) in program.iter().enumerate() {
        match insn.code {
            LD_W_ABS if insn.k >= DATA_LEN || !insn.k.is_multiple_of(4) => {
                return Err(Refused::Load(at));
            }
            LD_W_ABS | RET_K => {}
            JEQ_K | JGT_K | JGE_K | JSET_K => {
                if at + 1 + usize::from(insn.jt.max(insn.jf)) >= program.len() {
                    return Err(Refused::Jump(at));
                }
            }
            _ => return Err(Refused::Code(at)),
        }
    }
    if program.last().is_some_and(|i| i.code == RET_K) { Ok(()) } else { Err(Refused::End) }
}

/// What a program that [`check`] took says to a call, and in how many steps.
///
/// # Panics
/// When the program is not one of those.
pub fn run(program: &[Insn], call: &Call) -> (u32, usize) {
    let (mut pc, mut a, mut steps) = (0, 0u32, 0);
    loop {
        let i = program[pc];
        pc += 1;
        steps += 1;
        let holds = match i.code {
            LD_W_ABS => {
                a = call.word(i.k);
                continue;
            }
            RET_K => return (i.k, steps),
            JEQ_K => a == i.k,
            JGT_K => a > i.k,
            JGE_K => a >= i.k,
            JSET_K => a & i.k != 0,
            code => panic!("code {code:#x}"),
        };
        pc += usize::from(if holds { i.jt } else { i.jf });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(program: &[(u16, u8, u8, u32)]) -> Option<Refused> {
        let insns: std::vec::Vec<Insn> =
            program.iter().map(|&(code, jt, jf, k)| Insn::new(code, jt, jf, k)).collect();
        check(&insns).err()
    }

    #[test]
    fn a_program_that_the_kernel_refuses_is_refused() {
        let ret = (RET_K, 0, 0, 7);
        assert_eq!(refused(&[ret]), None);
        assert_eq!(refused(&[]), Some(Refused::Length));
        assert_eq!(refused(&[ret; MAX_LEN + 1]), Some(Refused::Length));
        assert_eq!(refused(&[(LD_W_ABS, 0, 0, 60), ret]), None);
        assert_eq!(refused(&[(LD_W_ABS, 0, 0, 64), ret]), Some(Refused::Load(0)));
        assert_eq!(refused(&[(LD_W_ABS, 0, 0, 3), ret]), Some(Refused::Load(0)));
        assert_eq!(refused(&[(JEQ_K, 0, 1, 0), ret]), Some(Refused::Jump(0)));
        assert_eq!(refused(&[(JEQ_K, 1, 0, 0), ret, ret]), None);
        assert_eq!(refused(&[(0x16, 0, 0, 0), ret]), Some(Refused::Code(0)));
        assert_eq!(refused(&[ret, (LD_W_ABS, 0, 0, 0)]), Some(Refused::End));
    }
}
