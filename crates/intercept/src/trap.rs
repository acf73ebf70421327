//! The net under everything else: an inline call of ours arrives as SIGSYS and leaves through here.
//!
//! ```text
//!  program   syscall (425..427, mmap) -- filter --> SIGSYS
//!  handler   is it ours? rip := trampoline, rcx := where it was; sigreturn
//!  program   trampoline -> entry(nr, a..f) -> behind the syscall
//! ```
//! The handler allocates nothing, locks nothing and touches nothing but the interrupted context, so
//! it does not matter what the program was doing. The engine then runs as if the program had called
//! a function, on the same path as an interposed call, signals can be delivered, and a wait is an
//! ordinary wait. A site that traps again and again is patched (`patch.rs`).
//!
//! `sys::signals` owns the handler itself and calls [`on_trap`] from it; its flags and their
//! reasons are there. A SIGSYS that is not ours goes on to the program's own action.
//!
//! What it does not do: save anything (`trampoline.rs` does).

use crate::{filter, trampoline};
use ringer_sys::arch::Ucontext;
use ringer_sys::raw::general as g;
use ringer_sys::signals::{self, SigInfo};

/// `SYS_SECCOMP` of siginfo: a filter's RET_TRAP, as opposed to a signal that somebody sent.
const SYS_SECCOMP: i32 = 1;

/// Makes ready for traps.
pub fn arm() {
    signals::set_trap(on_trap);
}

/// The part of the SIGSYS handler that is ours. Answers whether the signal was.
///
/// # Safety
/// Called from a SIGSYS handler with what the kernel passed to it.
unsafe extern "C" fn on_trap(info: &SigInfo, context: &mut Ucontext) -> bool {
    let ours = matches!(info.syscall.cast_unsigned(), 425..=427 | g::__NR_mmap);
    let from_us = info.code == SYS_SECCOMP && info.errno == i32::from(filter::TRAP_DATA);
    if !from_us || info.arch != filter::ARCH_X86_64 || !ours {
        return false;
    }
    // rax still holds the number: the kernel rolled the call back before it sent the signal.
    context.rcx = context.rip;
    context.rip = trampoline::for_trap();
    true
}
