//! x86-64: the system call instruction.
//!
//! What it does not do: know any system call by name (`raw.rs` does).

use core::arch::asm;

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
