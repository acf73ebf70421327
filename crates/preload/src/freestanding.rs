//! What a shared object without libc must bring along: the panic handler, the allocator, and the
//! memory functions that compiled code calls by name.
//!
//! The functions are assembly with hidden visibility: a `#[no_mangle]` one would be exported and
//! replace the *program's* `memcpy`. They use nothing above SSE2, so that no VEX-encoded
//! instruction exists in the library (`tests/object.rs` looks). The unwinder's two symbols are
//! named by the precompiled `core`; nothing unwinds here (decision 0003), so they trap.

use core::arch::global_asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use ringer_sys::raw;

#[global_allocator]
static ALLOCATOR: ringer_sys::alloc::Alloc = ringer_sys::alloc::Alloc;

/// One line, cut at its capacity: a panic must not allocate.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(s.bytes()) {
            *to = from;
            self.len += 1;
        }
        Ok(())
    }
}

/// Says what happened on stderr and ends the process by SIGABRT (decision 0003).
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut line = Line { bytes: [0; 512], len: 0 };
    let _ = write!(line, "ringer: internal error, please report: {info}");
    if let Some(end) = line.bytes.get_mut(line.len.min(511)) {
        *end = b'\n';
    }
    let _ = raw::write(2, line.bytes.get(..(line.len + 1).min(512)).unwrap_or(&[]));
    abort()
}

/// Ends the process by SIGABRT, whatever the program did to that signal.
fn abort() -> ! {
    const SIGABRT: u32 = 6;
    const SIG_UNBLOCK: u32 = 1;
    let default = [0u64; 4];
    // SAFETY: `default` is a live `kernel_sigaction` of zeroes: SIG_DFL, no flags, empty mask.
    unsafe { raw::syscall4(13, SIGABRT as usize, default.as_ptr() as usize, 0, 8) };
    let _ = raw::sigprocmask(SIG_UNBLOCK, Some(1 << (SIGABRT - 1)));
    let _ = raw::tgkill(raw::getpid(), raw::gettid(), SIGABRT);
    raw::exit_group(134)
}

global_asm!(
    // void *memcpy(void *to, const void *from, size_t n): also memmove.
    ".globl memcpy, memmove",
    ".hidden memcpy, memmove",
    ".type memcpy, @function",
    ".type memmove, @function",
    ".balign 16",
    "memcpy:",
    "memmove:",
    "mov rax, rdi",
    "cmp rdx, 16",
    "jb 20f",
    "cmp rdx, 32",
    "ja 10f",
    // 16..=32: two loads that may overlap, both before the stores.
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + rdx - 16]",
    "movups [rdi], xmm0",
    "movups [rdi + rdx - 16], xmm1",
    "ret",
    "10:",
    // to - from, unsigned: below n means that the end of `from` lies under `to`: go backwards.
    "mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "jb 15f",
    "cmp rdx, 1024",
    "jae 14f",
    // Forwards. The last 16 bytes are read before the first store can touch them.
    "movups xmm1, [rsi + rdx - 16]",
    "lea r8, [rdi + rdx - 16]",
    "12:",
    "movups xmm0, [rsi]",
    "movups [rdi], xmm0",
    "add rsi, 16",
    "add rdi, 16",
    "cmp rdi, r8",
    "jb 12b",
    "movups [r8], xmm1",
    "ret",
    "14:",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    "15:",
    // Backwards. The first 16 bytes are read before any store.
    "movups xmm1, [rsi]",
    "16:",
    "movups xmm0, [rsi + rdx - 16]",
    "movups [rdi + rdx - 16], xmm0",
    "sub rdx, 16",
    "cmp rdx, 16",
    "ja 16b",
    "movups [rdi], xmm1",
    "ret",
    "20:",
    "cmp edx, 8",
    "jae 28f",
    "cmp edx, 4",
    "jae 24f",
    "test edx, edx",
    "jz 22f",
    // 1..=3: first, middle, last.
    "movzx ecx, byte ptr [rsi]",
    "movzx r8d, byte ptr [rsi + rdx - 1]",
    "mov r9, rdx",
    "shr r9, 1",
    "movzx r10d, byte ptr [rsi + r9]",
    "mov [rdi], cl",
    "mov [rdi + r9], r10b",
    "mov [rdi + rdx - 1], r8b",
    "22:",
    "ret",
    "24:",
    "mov ecx, [rsi]",
    "mov r8d, [rsi + rdx - 4]",
    "mov [rdi], ecx",
    "mov [rdi + rdx - 4], r8d",
    "ret",
    "28:",
    "mov rcx, [rsi]",
    "mov r8, [rsi + rdx - 8]",
    "mov [rdi], rcx",
    "mov [rdi + rdx - 8], r8",
    "ret",
    ".size memcpy, . - memcpy",
    ".size memmove, . - memmove",
);

global_asm!(
    // void *memset(void *to, int byte, size_t n)
    ".globl memset",
    ".hidden memset",
    ".type memset, @function",
    ".balign 16",
    "memset:",
    "mov r9, rdi",
    "movzx eax, sil",
    "mov rcx, 0x0101010101010101",
    "imul rax, rcx",
    "cmp rdx, 16",
    "jb 40f",
    "cmp rdx, 1024",
    "jae 46f",
    "movq xmm0, rax",
    "punpcklqdq xmm0, xmm0",
    "lea r8, [rdi + rdx - 16]",
    "42:",
    "movups [rdi], xmm0",
    "add rdi, 16",
    "cmp rdi, r8",
    "jb 42b",
    "movups [r8], xmm0",
    "mov rax, r9",
    "ret",
    "46:",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r9",
    "ret",
    "40:",
    "cmp edx, 8",
    "jb 41f",
    "mov [rdi], rax",
    "mov [rdi + rdx - 8], rax",
    "mov rax, r9",
    "ret",
    "41:",
    "test edx, edx",
    "jz 44f",
    "43:",
    "mov [rdi], al",
    "inc rdi",
    "dec edx",
    "jnz 43b",
    "44:",
    "mov rax, r9",
    "ret",
    ".size memset, . - memset",
);

global_asm!(
    // int memcmp(const void *a, const void *b, size_t n): also bcmp.
    ".globl memcmp, bcmp",
    ".hidden memcmp, bcmp",
    ".type memcmp, @function",
    ".type bcmp, @function",
    ".balign 16",
    "memcmp:",
    "bcmp:",
    "xor ecx, ecx",
    "60:",
    "lea r8, [rcx + 8]",
    "cmp r8, rdx",
    "ja 62f",
    "mov rax, [rdi + rcx]",
    "cmp rax, [rsi + rcx]",
    "jne 62f",
    "mov rcx, r8",
    "jmp 60b",
    // The tail, or the eight bytes that differ.
    "62:",
    "cmp rcx, rdx",
    "jae 64f",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "jz 62b",
    "ret",
    "64:",
    "xor eax, eax",
    "ret",
    ".size memcmp, . - memcmp",
    ".size bcmp, . - bcmp",
    // size_t strlen(const char *s)
    ".globl strlen",
    ".hidden strlen",
    ".type strlen, @function",
    ".balign 16",
    "strlen:",
    "xor eax, eax",
    "66:",
    "cmp byte ptr [rdi + rax], 0",
    "je 68f",
    "inc rax",
    "jmp 66b",
    "68:",
    "ret",
    ".size strlen, . - strlen",
);

global_asm!(
    ".globl rust_eh_personality, _Unwind_Resume",
    ".hidden rust_eh_personality, _Unwind_Resume",
    ".type rust_eh_personality, @function",
    ".type _Unwind_Resume, @function",
    "rust_eh_personality:",
    "_Unwind_Resume:",
    "ud2",
    ".size rust_eh_personality, . - rust_eh_personality",
    ".size _Unwind_Resume, . - _Unwind_Resume",
);
