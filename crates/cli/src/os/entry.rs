//! The C entry point: std's start-up does not run, so an exec'd program inherits what we did.

/// Called by the C library.
#[cfg(not(test))]
// SAFETY: the executable's one `main`; the crate root says `no_main`, so rustc makes none.
#[unsafe(no_mangle)]
extern "C" fn main(
    argc: std::os::raw::c_int,
    argv: *const *const std::os::raw::c_char,
) -> std::os::raw::c_int {
    use std::ffi::{CStr, OsStr};
    use std::os::unix::ffi::OsStrExt;
    let mut args = Vec::new();
    for i in 0..usize::try_from(argc).unwrap_or(0) {
        // SAFETY: the C library passes `argc` pointers.
        let arg = unsafe { *argv.wrapping_add(i) };
        // SAFETY: each points to a NUL-terminated string that lives as long as the process.
        let arg = unsafe { CStr::from_ptr(arg) };
        args.push(OsStr::from_bytes(arg.to_bytes()).to_owned());
    }
    crate::start(args).into()
}
