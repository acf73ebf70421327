//! From the program's code, in the middle of a function, to the engine and back.
//!
//! ```text
//!  program's stack:  [ red zone | flags, registers | xmm0-15 | frames of the engine ... ]
//!  entry(nr, a..f); everything back; rax := result; jmp rcx
//! ```
//! What the program sees is what the `syscall` instruction does: rax the result, rcx the address
//! after it, r11 the flags, everything else as it was. The red zone below its stack pointer is
//! stepped over (liburing keeps data there). Of the vector state xmm0-15 are saved, and no more: the
//! library holds no instruction that changes any other part of it (x87 and MMX, the upper halves
//! and AVX-512, MXCSR; the test `it_holds_no_vector_extension` reads its disassembly), and the
//! kernel's calls change none.
//!
//! What it does not do: change stacks. The engine needs some 16 KiB below the caller's stack pointer;
//! C and Rust threads have that, a goroutine has not (and Go replaces the handler: LIMITATIONS).

use crate::{entry, patch};
use core::arch::global_asm;

unsafe extern "C" {
    /// Where `trap.rs` sends a thread: registers as at the `syscall`, rcx = where to return to.
    static ringer_trampoline: u8;
    /// The same for a stub of a patched site.
    static ringer_patched: u8;
}

/// The address that a trapped thread goes on at.
pub(crate) fn for_trap() -> u64 {
    (&raw const ringer_trampoline).expose_provenance() as u64
}

/// The address that the stub of a patched site jumps to.
pub(crate) fn for_stub() -> u64 {
    (&raw const ringer_patched).expose_provenance() as u64
}

#[allow(clippy::too_many_arguments, reason = "a system call's number, arguments and place")]
extern "C" fn from_trap(
    nr: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    after: usize,
) -> isize {
    let answer = entry::entry(nr, [a, b, c, d, e, f]);
    patch::trapped(nr, after as u64);
    answer
}

extern "C" fn from_stub(
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
    ".macro ringer_enter name, callee",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    ".balign 16",
    "\\name:",
    // Whoever unwinds ends here. libgcc aborts on a frame without a CFA before it looks at rip.
    ".cfi_startproc simple",
    ".cfi_def_cfa rsp, 8",
    ".cfi_undefined rip",
    // Step over the red zone; lea and push leave the flags alone.
    "lea rsp, [rsp - 128]",
    "pushfq",
    "push rbp",
    "mov rbp, rsp",
    "cld",
    "push rcx",
    "push rdi",
    "push rsi",
    "push rdx",
    "push r10",
    "push r8",
    "push r9",
    "sub rsp, 256",
    "and rsp, -16",
    "movaps [rsp], xmm0",
    "movaps [rsp + 16], xmm1",
    "movaps [rsp + 32], xmm2",
    "movaps [rsp + 48], xmm3",
    "movaps [rsp + 64], xmm4",
    "movaps [rsp + 80], xmm5",
    "movaps [rsp + 96], xmm6",
    "movaps [rsp + 112], xmm7",
    "movaps [rsp + 128], xmm8",
    "movaps [rsp + 144], xmm9",
    "movaps [rsp + 160], xmm10",
    "movaps [rsp + 176], xmm11",
    "movaps [rsp + 192], xmm12",
    "movaps [rsp + 208], xmm13",
    "movaps [rsp + 224], xmm14",
    "movaps [rsp + 240], xmm15",
    // callee(nr, a, b, c, d, e, f, after): the last two on the stack, rsp 16-aligned at the call.
    "push rcx",
    "push r9",
    "mov r9, r8",
    "mov r8, r10",
    "mov rcx, rdx",
    "mov rdx, rsi",
    "mov rsi, rdi",
    "mov rdi, rax",
    "call \\callee",
    "movaps xmm0, [rsp + 16]",
    "movaps xmm1, [rsp + 32]",
    "movaps xmm2, [rsp + 48]",
    "movaps xmm3, [rsp + 64]",
    "movaps xmm4, [rsp + 80]",
    "movaps xmm5, [rsp + 96]",
    "movaps xmm6, [rsp + 112]",
    "movaps xmm7, [rsp + 128]",
    "movaps xmm8, [rsp + 144]",
    "movaps xmm9, [rsp + 160]",
    "movaps xmm10, [rsp + 176]",
    "movaps xmm11, [rsp + 192]",
    "movaps xmm12, [rsp + 208]",
    "movaps xmm13, [rsp + 224]",
    "movaps xmm14, [rsp + 240]",
    "movaps xmm15, [rsp + 256]",
    "mov rcx, [rbp - 8]",
    "mov rdi, [rbp - 16]",
    "mov rsi, [rbp - 24]",
    "mov rdx, [rbp - 32]",
    "mov r8, [rbp - 48]",
    "mov r9, [rbp - 56]",
    // r11 = flags, as the syscall instruction leaves it.
    "mov r11, [rbp + 8]",
    "test r11d, 0x44500",
    "jnz 2f",
    // The six arithmetic flags, which are all that can differ: `popfq` costs 15 ns.
    "mov r10, rax",
    "mov eax, r11d",
    "shl eax, 8",
    "bt r11d, 11",
    "setc al",
    "add al, 127",
    "sahf",
    "mov rax, r10",
    "mov r10, [rbp - 40]",
    "mov rsp, rbp",
    "pop rbp",
    "lea rsp, [rsp + 136]",
    // Not `ret`: a shadow stack knows no call.
    "jmp rcx",
    // The trap, direction, nested-task or alignment flag was set.
    "2:",
    "mov r10, [rbp - 40]",
    "mov rsp, rbp",
    "pop rbp",
    "popfq",
    "lea rsp, [rsp + 128]",
    "jmp rcx",
    ".cfi_endproc",
    ".size \\name, . - \\name",
    ".endm",
    ".pushsection .text.ringer_trampoline, \"ax\", @progbits",
    "ringer_enter ringer_trampoline, {trap}",
    "ringer_enter ringer_patched, {stub}",
    ".popsection",
    ".purgem ringer_enter",
    trap = sym from_trap,
    stub = sym from_stub,
);
