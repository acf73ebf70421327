//! How a test program reaches the kernel: through libc's `syscall`, or by an instruction of its own.
//!
//! The path is a function chosen once by `main`. A program that never names [`inline`] holds no
//! `syscall` instruction for these calls, so it also tests the case without a filter.

use crate::os::Sys;
use std::sync::OnceLock;

/// One system call: number and six arguments; a negated errno on failure.
pub type Path = fn(i64, [u64; 6]) -> i64;

static PATH: OnceLock<Path> = OnceLock::new();

/// `io_uring_setup`, `io_uring_enter`, `io_uring_register`.
pub const SETUP: i64 = 425;
/// See [`SETUP`].
pub const ENTER: i64 = 426;
/// See [`SETUP`].
pub const REGISTER: i64 = 427;

/// Chooses the path for this process; the first choice stays.
pub fn choose(path: Path) {
    let _ = PATH.set(path);
}

/// Calls through the chosen path ([`through_libc`] if none was chosen).
///
/// # Errors
/// The call's errno.
pub fn sys(nr: i64, args: [u64; 6]) -> Sys<u64> {
    let r = PATH.get().copied().unwrap_or(through_libc as Path)(nr, args);
    if (-4095..0).contains(&r) { Err(crate::Errno(-r as i32)) } else { Ok(r as u64) }
}

/// Through the `syscall` function of libc, which a preloaded library can replace.
pub fn through_libc(nr: i64, a: [u64; 6]) -> i64 {
    // SAFETY: the callers of `sys` name only calls whose memory they own for the duration (ring
    // memory, `Buf`s) or addresses that are bad on purpose, which the kernel answers with EFAULT.
    let r = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if r == -1 { -i64::from(crate::os::errno().0) } else { r }
}

/// By a `syscall` instruction in this program, as liburing does on x86-64.
#[cfg(target_arch = "x86_64")]
pub fn inline(nr: i64, a: [u64; 6]) -> i64 {
    let r: i64;
    // SAFETY: as in `through_libc`; the kernel changes rax, rcx, r11 and what the call says.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") nr => r, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    r
}
