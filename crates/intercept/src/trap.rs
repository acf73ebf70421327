//! The net under everything else: an inline call of ours arrives as SIGSYS and leaves through here.
//!
//! ```text
//!  program   syscall (425..427, mmap) -- filter --> SIGSYS
//!  handler   is it ours? rip := trampoline, rcx := where it was; sigreturn
//!  program's stack, normal context:
//!            [ red zone | flags, registers | xsave area | frames of the engine ... ]
//!            entry(nr, a..f); everything back; rax := result; jmp rcx
//! ```
//! The handler allocates nothing, locks nothing and touches nothing but the interrupted context, so
//! it does not matter what the program was doing. The engine then runs as if the program had called
//! a function, on the same path as an interposed call, signals can be delivered, and a wait is an
//! ordinary wait. What the program sees is what the instruction does: rax the result, rcx the
//! address after it, r11 the flags, everything else as it was, x87, SSE, AVX and AVX-512 state
//! included. The red zone below its stack pointer is stepped over (liburing keeps data there).
//!
//! `sys::signals` owns the handler itself and calls [`on_trap`] from it; its flags and their
//! reasons are there. A SIGSYS that is not ours goes on to the program's own action.
//!
//! What it does not do: change stacks. The engine needs some 16 KiB below the caller's stack pointer;
//! C and Rust threads have that, a goroutine has not (and Go replaces the handler: LIMITATIONS).

use crate::{entry, filter};
use core::arch::global_asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use core::sync::atomic::{AtomicU32, Ordering};
use ringer_sys::arch::Ucontext;
use ringer_sys::raw::general as g;
use ringer_sys::signals::{self, SigInfo};

/// `SYS_SECCOMP` of siginfo: a filter's RET_TRAP, as opposed to a signal that somebody sent.
const SYS_SECCOMP: i32 = 1;

/// State components that are saved: x87, SSE, AVX, and AVX-512's three. Not the tile registers
/// (8 KiB, and nothing in the engine can touch them), nor protection keys, which are not state
/// but permission.
const COMPONENTS: u32 = 0b1110_0111;
/// The legacy area and the header of an xsave area \[bytes\].
const XSAVE_MIN: u32 = 576;

/// What `xsavec64` is asked to save; 0 until [`arm`] and where the processor has none: then the
/// trampoline uses `fxsave64`, which is enough because the engine holds no AVX instruction.
static XSAVE_MASK: AtomicU32 = AtomicU32::new(0);
/// Room for it on the stack \[bytes\].
static XSAVE_LEN: AtomicU32 = AtomicU32::new(XSAVE_MIN);

/// Makes ready for traps: measures the vector state and installs the handler.
pub fn arm() {
    measure();
    signals::set_trap(on_trap);
}

#[allow(unused_unsafe, reason = "newer toolchains make these intrinsics safe")]
fn measure() {
    const OSXSAVE: u32 = 1 << 27;
    const XSAVEC: u32 = 1 << 1;
    // SAFETY: every x86-64 processor has cpuid.
    let basic = unsafe { __cpuid(1) };
    // SAFETY: as above; a leaf that does not exist answers zeroes or another leaf's data, and
    // OSXSAVE says that this one exists.
    let extended = unsafe { __cpuid_count(0xd, 1) };
    if basic.ecx & OSXSAVE == 0 || extended.eax & XSAVEC == 0 {
        return;
    }
    let mask = enabled_components() & COMPONENTS;
    let mut len = XSAVE_MIN;
    for i in (2..8).filter(|i| mask & 1 << i != 0) {
        // SAFETY: cpuid, as above.
        let part = unsafe { __cpuid_count(0xd, i) };
        const ALIGNED: u32 = 1 << 1;
        if part.ecx & ALIGNED != 0 {
            len = len.next_multiple_of(64);
        }
        len += part.eax;
    }
    XSAVE_LEN.store(len.next_multiple_of(64), Ordering::Relaxed);
    XSAVE_MASK.store(mask, Ordering::Relaxed);
}

fn enabled_components() -> u32 {
    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: OSXSAVE was checked by the only caller's caller.
        #[allow(unused_unsafe, reason = "newer toolchains make the intrinsic safe")]
        unsafe {
            _xgetbv(0)
        }
    }
    // SAFETY: `measure` calls this only after OSXSAVE said that the instruction exists.
    (unsafe { xcr0() }) as u32
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
    context.rip = (&raw const ringer_trampoline) as u64;
    true
}

unsafe extern "C" {
    /// Where [`on_trap`] sends a thread: registers as at the `syscall`, rcx = where to return to.
    static ringer_trampoline: u8;
}

/// What the trampoline calls.
extern "C" fn from_trap(
    nr: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    entry::entry(nr, [a, b, c, d, e, f])
}

global_asm!(
    ".pushsection .text.ringer_trampoline, \"ax\", @progbits",
    ".globl ringer_trampoline",
    ".hidden ringer_trampoline",
    ".type ringer_trampoline, @function",
    ".balign 16",
    "ringer_trampoline:",
    ".cfi_startproc simple",
    ".cfi_undefined rip",
    // Step over the red zone; lea and push leave the flags alone.
    "lea rsp, [rsp - 128]",
    "pushfq",
    "push rbp",
    "mov rbp, rsp",
    "cld",
    "push rbx",
    "push r12",
    "push rcx",
    "push rdi",
    "push rsi",
    "push rdx",
    "push r10",
    "push r8",
    "push r9",
    "mov rbx, rax",
    // The xsave area, 64-aligned, its header zero as xrstor wants it.
    "mov eax, dword ptr [rip + {len}]",
    "sub rsp, rax",
    "and rsp, -64",
    "mov r12, rsp",
    "xor eax, eax",
    "mov [rsp + 512], rax",
    "mov [rsp + 520], rax",
    "mov [rsp + 528], rax",
    "mov [rsp + 536], rax",
    "mov [rsp + 544], rax",
    "mov [rsp + 552], rax",
    "mov [rsp + 560], rax",
    "mov [rsp + 568], rax",
    "xor edx, edx",
    "mov eax, dword ptr [rip + {mask}]",
    "test eax, eax",
    "jz 2f",
    "xsavec64 [rsp]",
    "jmp 3f",
    "2:",
    "fxsave64 [rsp]",
    "3:",
    // from_trap(nr, a, b, c, d, e, f): the seventh on the stack, rsp 16-aligned at the call.
    "sub rsp, 8",
    "push qword ptr [rbp - 72]",
    "mov rdi, rbx",
    "mov rsi, [rbp - 32]",
    "mov rdx, [rbp - 40]",
    "mov rcx, [rbp - 48]",
    "mov r8, [rbp - 56]",
    "mov r9, [rbp - 64]",
    "call {entry}",
    "mov rbx, rax",
    "xor edx, edx",
    "mov eax, dword ptr [rip + {mask}]",
    "test eax, eax",
    "jz 4f",
    "xrstor64 [r12]",
    "jmp 5f",
    "4:",
    "fxrstor64 [r12]",
    "5:",
    "mov rax, rbx",
    "mov r9, [rbp - 72]",
    "mov r8, [rbp - 64]",
    "mov r10, [rbp - 56]",
    "mov rdx, [rbp - 48]",
    "mov rsi, [rbp - 40]",
    "mov rdi, [rbp - 32]",
    "mov rcx, [rbp - 24]",
    "mov r12, [rbp - 16]",
    "mov rbx, [rbp - 8]",
    "mov rsp, rbp",
    "pop rbp",
    // r11 = flags, as the syscall instruction leaves it. Not `ret`: a shadow stack knows no call.
    "mov r11, [rsp]",
    "popfq",
    "lea rsp, [rsp + 128]",
    "jmp rcx",
    ".cfi_endproc",
    ".size ringer_trampoline, . - ringer_trampoline",
    ".popsection",
    len = sym XSAVE_LEN,
    mask = sym XSAVE_MASK,
    entry = sym from_trap,
);
