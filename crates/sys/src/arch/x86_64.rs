//! x86-64: the system call instruction, and the few routines that must be written in assembly.
//!
//! What it does not do: know any system call by name (`raw.rs` does).

use core::arch::{asm, global_asm};

/// `TASK_SIZE_MAX` with four-level paging: no user address lies at or above it.
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Size of a page \[bytes\].
pub const PAGE: usize = 4096;

/// Makes a system call with six arguments.
///
/// # Safety
/// The call must not, by what these arguments mean to the kernel, break an invariant of this
/// program: change or unmap memory that Rust owns, or close a descriptor that something relies on.
#[inline(always)]
pub unsafe fn syscall6(nr: u32, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let ret: isize;
    // SAFETY: the kernel changes rax, rcx and r11 only (all declared), uses no stack of ours, and
    // what the call itself does is the caller's promise.
    unsafe {
        asm!("syscall", inlateout("rax") nr as usize => ret, in("rdi") a, in("rsi") b,
             in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

macro_rules! syscall {
    ($name:ident, $n:literal, $($arg:ident = $reg:tt),*) => {
        #[doc = concat!("Makes a system call with ", stringify!($n), " arguments.")]
        ///
        /// # Safety
        /// As for [`syscall6`].
        #[inline(always)]
        pub unsafe fn $name(nr: u32, $($arg: usize),*) -> isize {
            let ret: isize;
            // SAFETY: as in `syscall6`.
            unsafe {
                asm!("syscall", inlateout("rax") nr as usize => ret, $(in($reg) $arg,)*
                     lateout("rcx") _, lateout("r11") _, options(nostack));
            }
            ret
        }
    };
}
syscall!(syscall0, 0,);
syscall!(syscall1, 1, a = "rdi");
syscall!(syscall2, 2, a = "rdi", b = "rsi");
syscall!(syscall3, 3, a = "rdi", b = "rsi", c = "rdx");
syscall!(syscall4, 4, a = "rdi", b = "rsi", c = "rdx", d = "r10");
syscall!(syscall5, 5, a = "rdi", b = "rsi", c = "rdx", d = "r10", e = "r8");

/// The registers of an interrupted thread, as `struct ucontext` holds them (the mask follows
/// `reserved`; asm/ucontext.h, asm/sigcontext.h).
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs, reason = "the names are the kernel's")]
pub struct Ucontext {
    pub flags: u64,
    pub link: u64,
    pub stack: [u64; 3],
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub eflags: u64,
    pub segments: u64,
    pub err: u64,
    pub trapno: u64,
    pub oldmask: u64,
    pub cr2: u64,
    pub fpstate: u64,
    pub reserved: [u64; 8],
    pub sigmask: u64,
}
const _: () = assert!(core::mem::offset_of!(Ucontext, rip) == 40 + 16 * 8);
const _: () = assert!(core::mem::offset_of!(Ucontext, sigmask) == 296);

// Everything below is position-independent, uses no stack of its own between its entry and its
// return, and changes only registers that the C calling convention lets a callee change.
global_asm!(
    // What a signal handler of ours returns to. The bytes are those that unwinders and debuggers
    // recognise (`mov $15, %rax; syscall`).
    ".pushsection .text.ringer_sigreturn,\"ax\",@progbits",
    ".globl ringer_sigreturn",
    ".hidden ringer_sigreturn",
    ".type ringer_sigreturn,@function",
    // They look for the byte before a return address: this one is no function's that has a table.
    "nop",
    "ringer_sigreturn:",
    ".byte 0x48,0xc7,0xc0,0x0f,0x00,0x00,0x00",
    "syscall",
    ".size ringer_sigreturn, . - ringer_sigreturn",
    ".popsection",
    // The table of interruptible calls: one entry that matches nothing, so that the linker knows
    // the section, and its bounds, relative to themselves.
    ".pushsection ringer_interruptible,\"aR\",@progbits",
    ".balign 4",
    ".long 0, 0, 0",
    ".popsection",
    ".pushsection .rodata.ringer_interruptible_bounds,\"a\",@progbits",
    ".globl ringer_interruptible_bounds",
    ".hidden ringer_interruptible_bounds",
    ".hidden __start_ringer_interruptible, __stop_ringer_interruptible",
    ".balign 4",
    "ringer_interruptible_bounds:",
    ".long __start_ringer_interruptible - .",
    ".long __stop_ringer_interruptible - .",
    ".popsection",
    // ringer_clone(flags, stack, ptid, ctid, tls): the new thread pops entry and argument.
    ".pushsection .text.ringer_clone,\"ax\",@progbits",
    ".globl ringer_clone",
    ".hidden ringer_clone",
    ".type ringer_clone,@function",
    "ringer_clone:",
    "mov r10, rcx",
    "mov eax, 56",
    "syscall",
    "test rax, rax",
    "jz 2f",
    "ret",
    "2:",
    "xor ebp, ebp",
    "pop rax",
    "pop rdi",
    "call rax",
    "ud2",
    ".size ringer_clone, . - ringer_clone",
    ".popsection",
    // The thread record: initial-exec TLS, zero in every thread that libc makes.
    ".pushsection .tbss.ringer_thread_record,\"awT\",@nobits",
    ".globl ringer_thread_record",
    ".hidden ringer_thread_record",
    ".type ringer_thread_record,@tls_object",
    ".p2align 6",
    "ringer_thread_record:",
    ".zero 128",
    ".size ringer_thread_record, 128",
    ".popsection",
    // ringer_user_copy(to, from, len): 0, or -EFAULT. Small copies go by words: `rep movsb` takes
    // some 10 ns to start.
    ".pushsection .text.ringer_user,\"ax\",@progbits",
    ".globl ringer_user_begin, ringer_user_end, ringer_user_fault, ringer_user_copy",
    ".globl ringer_user_load32, ringer_user_load64, ringer_user_store32, ringer_user_store64",
    ".globl ringer_user_touch",
    ".hidden ringer_user_touch",
    ".hidden ringer_user_begin, ringer_user_end, ringer_user_fault, ringer_user_copy",
    ".hidden ringer_user_load32, ringer_user_load64, ringer_user_store32, ringer_user_store64",
    ".type ringer_user_copy,@function",
    "ringer_user_begin:",
    "ringer_user_copy:",
    "mov rcx, rdx",
    "cmp rdx, 256",
    "ja 4f",
    "shr rcx, 3",
    "jz 3f",
    "2:",
    "mov rax, qword ptr [rsi]",
    "mov qword ptr [rdi], rax",
    "add rsi, 8",
    "add rdi, 8",
    "dec rcx",
    "jnz 2b",
    "3:",
    "and edx, 7",
    "jz 6f",
    "5:",
    "mov al, byte ptr [rsi]",
    "mov byte ptr [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec edx",
    "jnz 5b",
    "jmp 6f",
    "4:",
    "rep movsb",
    "6:",
    "xor eax, eax",
    "ret",
    // ringer_user_load32/64(from, to), ringer_user_store32/64(to, value): 0, or -EFAULT.
    ".type ringer_user_load32,@function",
    "ringer_user_load32:",
    "mov eax, dword ptr [rdi]",
    "mov dword ptr [rsi], eax",
    "xor eax, eax",
    "ret",
    ".type ringer_user_load64,@function",
    "ringer_user_load64:",
    "mov rax, qword ptr [rdi]",
    "mov qword ptr [rsi], rax",
    "xor eax, eax",
    "ret",
    ".type ringer_user_store32,@function",
    "ringer_user_store32:",
    "mov dword ptr [rdi], esi",
    "xor eax, eax",
    "ret",
    ".type ringer_user_store64,@function",
    "ringer_user_store64:",
    "mov qword ptr [rdi], rsi",
    "xor eax, eax",
    "ret",
    // ringer_user_touch(at): a write that changes nothing, atomically. 0, or -EFAULT.
    ".type ringer_user_touch,@function",
    "ringer_user_touch:",
    "lock or byte ptr [rdi], 0",
    "xor eax, eax",
    "ret",
    "ringer_user_end:",
    "ringer_user_fault:",
    "mov rax, -14",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn ringer_sigreturn();
    static ringer_interruptible_bounds: [i32; 2];
    fn ringer_clone(
        flags: usize,
        stack: usize,
        ptid: *mut u32,
        ctid: *mut u32,
        tls: usize,
    ) -> isize;
    fn ringer_user_begin();
    fn ringer_user_end();
    fn ringer_user_fault();
    fn ringer_user_copy(to: u64, from: u64, len: usize) -> isize;
    fn ringer_user_load32(from: u64, to: *mut u32) -> isize;
    fn ringer_user_load64(from: u64, to: *mut u64) -> isize;
    fn ringer_user_store32(to: u64, value: u32) -> isize;
    fn ringer_user_store64(to: u64, value: u64) -> isize;
    fn ringer_user_touch(at: u64) -> isize;
    static __ehdr_start: u8;
    static etext: u8;
}

/// Address of the code that a signal handler returns to (`sa_restorer`).
pub fn sigreturn_addr() -> usize {
    ringer_sigreturn as *const () as usize
}

/// Whether `ip` lies in this library's (or program's) own code.
pub(crate) fn is_own_code(ip: u64) -> bool {
    // Both are addresses that the linker defines; they are never read.
    let (start, end) = (&raw const __ehdr_start as u64, &raw const etext as u64);
    start <= ip && ip < end
}

/// Makes a call that [`interrupted_ip`] can end with `EINTR` while `flag` is not zero.
///
/// Inlined, with an entry in a table for each place, because the first `ret` after a system call
/// can be slow: some processors lose its prediction in the kernel (70 ns on a Zen with safe-ret).
///
/// # Safety
/// As for [`syscall6`]; `flag` is readable.
#[inline(always)]
pub(crate) unsafe fn interruptible(
    nr: u32,
    [a, b, c, d, e, f]: [usize; 6],
    flag: *const u32,
) -> isize {
    let ret: isize;
    // SAFETY: as in `syscall6`. From 2 to 3 the call has not been made, or is to be restarted: a
    // handler that finds the thread there may send it to 4, which leaves as the call would.
    unsafe {
        asm!(
            "2:",
            "cmp dword ptr [rcx], 0",
            "jne 4f",
            "syscall",
            "3:",
            ".pushsection .text.ringer_interrupted,\"ax\",@progbits",
            "4:",
            "mov rax, -4",
            "jmp 3b",
            ".popsection",
            ".pushsection ringer_interruptible,\"aR\",@progbits",
            ".balign 4",
            ".long 2b - .",
            ".long 3b - .",
            ".long 4b - .",
            ".popsection",
            inlateout("rax") nr as usize => ret, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, inlateout("rcx") flag => _, lateout("r11") _,
            options(nostack)
        );
    }
    ret
}

/// One place where [`interruptible`] was inlined: addresses relative to each field's own.
#[repr(C)]
#[derive(Debug)]
struct InterruptibleCall {
    begin: i32,
    end: i32,
    leave: i32,
}

/// The address that a field of the table stands for.
fn absolute(field: &i32) -> u64 {
    (core::ptr::from_ref(field) as u64).wrapping_add_signed(i64::from(*field))
}

/// Where to go on instead of `ip`, if `ip` lies in an interruptible call before the call was made
/// (or where the kernel is about to restart it).
pub(crate) fn interrupted_ip(ip: u64) -> Option<u64> {
    // SAFETY: the linker fills these two words; nothing ever changes them.
    let [start, stop] = unsafe { &ringer_interruptible_bounds };
    let (start, stop) = (absolute(start) as usize, absolute(stop) as usize);
    let count = (stop - start) / size_of::<InterruptibleCall>();
    let first: *const InterruptibleCall = core::ptr::with_exposed_provenance(start);
    // SAFETY: the linker puts all entries, each of this layout, between these two addresses.
    let calls = unsafe { core::slice::from_raw_parts(first, count) };
    calls
        .iter()
        .find(|call| absolute(&call.begin) <= ip && ip < absolute(&call.end))
        .map(|call| absolute(&call.leave))
}

/// Where to go on instead of `ip` after a fault, if `ip` lies in a user memory routine.
pub(crate) fn user_fault_ip(ip: u64) -> Option<u64> {
    let begin = ringer_user_begin as *const () as u64;
    let end = ringer_user_end as *const () as u64;
    (begin <= ip && ip < end).then_some(ringer_user_fault as *const () as u64)
}

/// Copies `len` bytes; a fault on either side is `-EFAULT`, with a part copied.
///
/// # Safety
/// The side that belongs to Rust is valid for `len` bytes; the other one belongs to the
/// application, and this process's Rust code sees it through nothing but this module and atomics.
#[inline]
pub(crate) unsafe fn user_copy(to: u64, from: u64, len: usize) -> isize {
    // SAFETY: the caller's promise; the routine keeps the C calling convention, also when a fault
    // leads to `ringer_user_fault` (no stack used, only caller-saved registers changed).
    unsafe { ringer_user_copy(to, from, len) }
}

/// Whether the byte at `at` can be written; its value stays.
pub(crate) fn user_touch(at: u64) -> bool {
    // SAFETY: an atomic `or` with 0 changes no byte, whoever owns it; otherwise as `user_copy`.
    unsafe { ringer_user_touch(at) == 0 }
}

macro_rules! user_word {
    ($load:ident, $store:ident, $asm_load:ident, $asm_store:ident, $t:ty) => {
        /// Loads an application's word; `None` after a fault.
        #[inline]
        pub(crate) fn $load(from: u64) -> Option<$t> {
            let mut value = 0;
            // SAFETY: reads application memory or faults into the fixup; writes `value`, which is
            // ours. Calling convention as in `user_copy`.
            (unsafe { $asm_load(from, &raw mut value) } == 0).then_some(value)
        }
        /// Stores to an application's word; false after a fault.
        ///
        /// # Safety
        /// No memory of Rust's lies at `to`: it is an address the application gave.
        #[inline]
        pub(crate) unsafe fn $store(to: u64, value: $t) -> bool {
            // SAFETY: the caller's promise; calling convention as in `user_copy`.
            unsafe { $asm_store(to, value) == 0 }
        }
    };
}
user_word!(user_load32, user_store32, ringer_user_load32, ringer_user_store32, u32);
user_word!(user_load64, user_store64, ringer_user_load64, ringer_user_store64, u64);

/// clone(2) onto `stack`, whose two lowest words are the entry function and its argument.
///
/// # Safety
/// `stack` and `tls` point into memory that belongs to the new thread until `*ctid` is cleared;
/// `stack` is 16-aligned; the entry function does not return.
pub(crate) unsafe fn clone(flags: u32, stack: usize, tid: *mut u32, tls: usize) -> isize {
    // SAFETY: the caller's promise; the parent returns as from any function.
    unsafe { ringer_clone(flags as usize, stack, tid, tid, tls) }
}

/// Where the calling thread's record is.
#[inline(always)]
pub(crate) fn thread_record() -> *const u8 {
    let at: usize;
    // SAFETY: reads the record's offset from the GOT and the thread pointer from fs:0, which holds
    // it in every thread of glibc, musl and ours (x86-64 TLS ABI, variant II).
    unsafe {
        asm!("mov {at}, qword ptr [rip + ringer_thread_record@GOTTPOFF]",
             "add {at}, qword ptr fs:[0]", at = out(reg) at, options(nostack, readonly, pure));
    }
    core::ptr::with_exposed_provenance(at)
}

/// How far below the thread pointer the record lies \[bytes\].
pub(crate) fn thread_record_below() -> usize {
    let offset: isize;
    // SAFETY: reads a GOT entry.
    unsafe {
        asm!("mov {at}, qword ptr [rip + ringer_thread_record@GOTTPOFF]", at = out(reg) offset,
             options(nostack, readonly, pure, preserves_flags));
    }
    offset.unsigned_abs()
}
