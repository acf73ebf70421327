//! libc's `syscall` as this program defines it: the instruction itself, and errno as libc leaves it.
//!
//! The linker binds the calls of this program to this one, which a preloaded library cannot replace.
//! What it does not do: cancellation, or any other architecture.

use libc::{c_int, c_long};
use std::arch::asm;

/// What `syscall` in libc does. It is declared variadic there; the first six arguments of such a call
/// come in registers and the seventh on the stack, as those of this function do.
///
/// # Safety
/// As the system call.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let result = if number == libc::SYS_io_uring_enter {
        // SAFETY: what the caller says of its arguments.
        unsafe { enter([a, b, c, d, e, f]) }
    } else {
        // SAFETY: what the caller says of its arguments.
        unsafe { call(number, [a, b, c, d, e, f]) }
    };
    if !(-4095..0).contains(&result) {
        return result;
    }
    // SAFETY: the address of this thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: it is the thread's own.
    unsafe { *errno = -result as c_int };
    -1
}

/// `io_uring_enter` as liburing makes it: the number goes into eax right before the instruction.
///
/// # Safety
/// As the system call.
#[inline(never)]
unsafe fn enter(a: [usize; 6]) -> c_long {
    let result: c_long;
    // SAFETY: the caller says what holds of the arguments; the kernel changes rax, rcx and r11.
    unsafe {
        asm!("mov eax, 426", "syscall", out("rax") result, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            out("rcx") _, out("r11") _, options(nostack));
    }
    result
}

/// Any other call.
///
/// # Safety
/// As the system call.
#[inline(never)]
unsafe fn call(number: c_long, a: [usize; 6]) -> c_long {
    let result: c_long;
    // SAFETY: as in `enter`.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}
