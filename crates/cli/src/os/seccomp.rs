//! Filters over the three io_uring calls, for the demo (a blocker) and doctor (what is allowed).
//!
//! ```text
//!   nr = load [0]              arch = load [4]
//!   arch != ours          ->   allow          (a 32-bit call is not our concern here)
//!   nr in 425..=427       ->   the verdict
//!   anything else         ->   allow
//! ```

use std::io;

/// What the filter answers to an io_uring call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// `EPERM`, as Docker's, containerd's and Kubernetes' default profiles answer.
    Eperm,
    /// SIGSYS: what ringer's own net uses.
    Trap,
}

/// How the filter may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// By the capability CAP_SYS_ADMIN.
    Capability,
    /// By giving up new privileges for good (`no_new_privs`).
    NoNewPrivs,
}

const ARCH_X86_64: u32 = 0xc000_003e;
const SETUP: u32 = 425;
const REGISTER: u32 = 427;

/// The program; see the module's header for it in words.
fn program(verdict: Verdict) -> [libc::sock_filter; 7] {
    let answer = match verdict {
        Verdict::Eperm => libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(),
        Verdict::Trap => libc::SECCOMP_RET_TRAP,
    };
    let load = |at| insn(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), at);
    let jump = |op, skip, k| insn(libc::BPF_JMP | op | libc::BPF_K, skip, k);
    let ret = |k| insn(libc::BPF_RET | libc::BPF_K, (0, 0), k);
    [
        load(4),                                  // A = arch
        jump(libc::BPF_JEQ, (0, 4), ARCH_X86_64), // if A != x86-64 goto allow
        load(0),                                  // A = nr
        jump(libc::BPF_JGE, (0, 2), SETUP),       // if A < 425 goto allow
        jump(libc::BPF_JGT, (1, 0), REGISTER),    // if A > 427 goto allow
        ret(answer),
        ret(libc::SECCOMP_RET_ALLOW),
    ]
}

fn insn(code: u32, (jt, jf): (u8, u8), k: u32) -> libc::sock_filter {
    // Every code of classic BPF is below 256.
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Installs the filter on the calling thread, for good; an exec keeps it.
///
/// # Errors
/// seccomp(2): `EACCES` without the privilege, `EINVAL` without filters in the kernel, or what an
/// outer filter answers.
pub(crate) fn install(verdict: Verdict, privilege: Privilege) -> io::Result<()> {
    if privilege == Privilege::NoNewPrivs {
        // SAFETY: plain numbers; the call touches no memory.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    }
    let mut program = program(verdict);
    let len = u16::try_from(program.len()).expect("seven instructions");
    let fprog = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY:
    // 1. `fprog` and the instructions it points to live until the call returns; the kernel copies.
    // 2. A refused program changes nothing.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const fprog)
    })
}

fn check(answer: libc::c_long) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers to (arch, nr): the handful of instructions it uses, interpreted.
    fn run(program: &[libc::sock_filter], arch: u32, nr: u32) -> u32 {
        let (mut pc, mut a) = (0, 0);
        loop {
            let i = program[pc];
            pc += 1;
            let code = u32::from(i.code);
            if code == libc::BPF_RET | libc::BPF_K {
                return i.k;
            }
            if code & 7 == libc::BPF_LD {
                a = if i.k == 4 { arch } else { nr };
                continue;
            }
            let taken = match code & 0xf0 {
                libc::BPF_JEQ => a == i.k,
                libc::BPF_JGE => a >= i.k,
                libc::BPF_JGT => a > i.k,
                _ => panic!("an instruction the program does not use"),
            };
            pc += usize::from(if taken { i.jt } else { i.jf });
        }
    }

    #[test]
    fn exactly_the_three_calls_get_the_verdict() {
        let p = program(Verdict::Eperm);
        for nr in 0..1000 {
            let refused = run(&p, ARCH_X86_64, nr) != libc::SECCOMP_RET_ALLOW;
            assert_eq!(refused, (425..=427).contains(&nr), "call {nr}");
        }
        assert_eq!(run(&p, ARCH_X86_64, 426), libc::SECCOMP_RET_ERRNO | 1);
        assert_eq!(run(&program(Verdict::Trap), ARCH_X86_64, 425), libc::SECCOMP_RET_TRAP);
        assert_eq!(run(&p, 0x4000_0003, 425), libc::SECCOMP_RET_ALLOW, "a 32-bit call");
    }
}
