//! From the program's code, in the middle of a function, to the engine and back.
//!
//! ```text
//!  program's stack:  [ red zone | flags, registers | xmm0-7 | frames of the engine ... ]
//!  entry(nr, a..f); everything back; rax := result; jmp rcx
//! ```
//! What the program sees is what the `syscall` instruction does: rax the result, rcx the address
//! after it, r11 the flags, everything else as it was; but for r11 and the arithmetic flags where it
//! never looks at them (`flags.rs`). The red zone below its stack pointer is stepped over (liburing
//! keeps data there). Of the vector state xmm0-7 are saved, and no more: the library holds no
//! instruction that names any other part of it (xmm8-15, x87 and MMX, the upper halves and AVX-512,
//! MXCSR; the test `it_holds_no_vector_extension` reads its disassembly; the compiler is told to leave
//! loops scalar, and what moves structures takes four), and the kernel's calls change none.
//!
//! What it does not do: change stacks. The engine needs some 16 KiB below the caller's stack pointer;
//! C and Rust threads have that, a goroutine has not (and Go replaces the handler: LIMITATIONS).

use crate::{entry, patch};
use core::arch::global_asm;

unsafe extern "C" {
    /// Where `trap.rs` sends a thread: registers as at the `syscall`, rcx = where to return to.
    static ringer_trampoline: u8;
    /// The same for a stub of a patched site, where rax is io_uring_enter's number.
    static ringer_patched: u8;
    /// The same, and the direction flag is clear; r11 and the arithmetic flags come back as anything.
    static ringer_patched_bare: u8;
}

/// The address that a trapped thread goes on at.
pub(crate) fn for_trap() -> u64 {
    (&raw const ringer_trampoline).expose_provenance() as u64
}

/// The address that the stub of a patched site jumps to: of one whose function may ask for the flags, or
/// does not.
pub(crate) fn for_stub(flags_are_asked_for: bool) -> u64 {
    let bare = &raw const ringer_patched_bare;
    let keeping = &raw const ringer_patched;
    (if flags_are_asked_for { keeping } else { bare }).expose_provenance() as u64
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

extern "C" fn from_stub(a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    entry::enter([a, b, c, d, e, f])
}

global_asm!(
    // The arguments are in a system call's registers. A stub's are those of the function that it calls,
    // but for the fourth; the trap's begin with the number, and two go by the stack.
    ".macro ringer_enter name, callee, stub, flags",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    ".balign 64",
    "\\name:",
    // Whoever unwinds ends here. libgcc aborts on a frame without a CFA before it looks at rip.
    ".cfi_startproc simple",
    ".cfi_def_cfa rsp, 8",
    ".cfi_undefined rip",
    // Step over the red zone; lea and push leave the flags alone.
    "lea rsp, [rsp - 128]",
    ".if \\flags",
    "pushfq",
    "cld",
    ".endif",
    "push rbp",
    "mov rbp, rsp",
    "push rcx",
    "push rdi",
    "push rsi",
    "push rdx",
    "push r10",
    "push r8",
    "push r9",
    "sub rsp, 128",
    "and rsp, -16",
    "movaps [rsp], xmm0",
    "movaps [rsp + 16], xmm1",
    "movaps [rsp + 32], xmm2",
    "movaps [rsp + 48], xmm3",
    "movaps [rsp + 64], xmm4",
    "movaps [rsp + 80], xmm5",
    "movaps [rsp + 96], xmm6",
    "movaps [rsp + 112], xmm7",
    ".if \\stub",
    // callee(a, b, c, d, e, f)
    "mov rcx, r10",
    "call \\callee",
    ".else",
    // callee(nr, a, b, c, d, e, f, after)
    "push rcx",
    "push r9",
    "mov r9, r8",
    "mov r8, r10",
    "mov rcx, rdx",
    "mov rdx, rsi",
    "mov rsi, rdi",
    "mov rdi, rax",
    "call \\callee",
    "lea rsp, [rsp + 16]",
    ".endif",
    "movaps xmm0, [rsp]",
    "movaps xmm1, [rsp + 16]",
    "movaps xmm2, [rsp + 32]",
    "movaps xmm3, [rsp + 48]",
    "movaps xmm4, [rsp + 64]",
    "movaps xmm5, [rsp + 80]",
    "movaps xmm6, [rsp + 96]",
    "movaps xmm7, [rsp + 112]",
    "mov rcx, [rbp - 8]",
    "mov rdi, [rbp - 16]",
    "mov rsi, [rbp - 24]",
    "mov rdx, [rbp - 32]",
    "mov r8, [rbp - 48]",
    "mov r9, [rbp - 56]",
    ".if \\flags",
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
    ".else",
    "mov r10, [rbp - 40]",
    "mov rsp, rbp",
    "pop rbp",
    "lea rsp, [rsp + 128]",
    "jmp rcx",
    ".endif",
    ".cfi_endproc",
    ".size \\name, . - \\name",
    ".endm",
    ".pushsection .text.ringer_trampoline, \"ax\", @progbits",
    "ringer_enter ringer_trampoline, {trap}, 0, 1",
    "ringer_enter ringer_patched, {stub}, 1, 1",
    "ringer_enter ringer_patched_bare, {stub}, 1, 0",
    ".popsection",
    ".purgem ringer_enter",
    trap = sym from_trap,
    stub = sym from_stub,
);
