//! exported
use ringer_sys::raw;
/// `syscall(2)` of libc.
#[cfg_attr(feature = "cdylib", unsafe(no_mangle))]
pub extern "C" fn syscall(
    nr: i64,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i64 {
    // SAFETY: passed through.
    let r = unsafe { raw::syscall6(nr as u32, [a, b, c, d, e, f]) };
    r as i64
}
