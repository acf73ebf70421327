//! How the library enters and leaves a process, and what follows a dlopen(3).

use crate::{export, real};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use ringer_intercept::{got, process, start};
use ringer_sys::raw;

/// Runs before the program's own constructors and `main`.
extern "C" fn constructor() {
    real::find();
    // SAFETY: the loader runs constructors on the only thread, before the program's code.
    unsafe { start::start() };
}

/// Runs at exit(3).
extern "C" fn destructor() {
    process::end();
}

#[cfg(feature = "cdylib")]
mod hooks {
    #[used]
    #[unsafe(link_section = ".init_array")]
    static CONSTRUCTOR: extern "C" fn() = super::constructor;
    #[used]
    #[unsafe(link_section = ".fini_array")]
    static DESTRUCTOR: extern "C" fn() = super::destructor;
}

/// In the workspace nothing runs them.
#[cfg(not(feature = "cdylib"))]
const _: [extern "C" fn(); 2] = [constructor, destructor];

export! {
    /// _exit(2): no destructors run, the account is closed all the same.
    fn _exit(code: i32) -> ! {
        process::end();
        raw::exit_group(code)
    }
}

export! {
    /// _Exit(3): the same.
    fn _Exit(code: i32) -> ! {
        process::end();
        raw::exit_group(code)
    }
}

export! {
    /// _Fork(3), which runs no fork handlers.
    fn _Fork() -> i32 {
        process::about_to_fork();
        // SAFETY: the caller's own call.
        let pid = unsafe { real::_Fork() };
        if pid == 0 {
            process::forked();
        }
        pid
    }
}

/// Set when an object came that was not scanned.
static UNSCANNED: AtomicBool = AtomicBool::new(false);

/// Set when this library was not preloaded, so that objects find libc's functions before ours.
static EMBEDDED: AtomicBool = AtomicBool::new(false);

/// Serves what came since.
pub(crate) fn scan_if_due() {
    if UNSCANNED.load(Relaxed) && UNSCANNED.swap(false, Relaxed) {
        // A filter that is refused leaves the object's calls to the host: nothing else to do here.
        let _ = start::cover_objects();
        if EMBEDDED.load(Relaxed) {
            got::redirect();
        }
    }
}

/// For the embeddable crate, which loaded this library with dlopen(3): makes the objects that are
/// there already call it. Answers how many places changed.
///
/// # Safety
/// At the top of `main`: no other thread is loading or unloading objects.
#[cfg_attr(feature = "cdylib", unsafe(no_mangle))]
pub unsafe extern "C" fn ringer_install() -> i32 {
    EMBEDDED.store(true, Relaxed);
    i32::try_from(got::redirect()).unwrap_or(i32::MAX)
}

/// For the embeddable crate: the rings that the calling thread sets up from here on are under this plan, and
/// with a null pointer under none of its own. 0, or a negative errno (`EINVAL`: it is no plan).
///
/// # Safety
/// `text` is null or has `len` bytes that nobody writes to meanwhile.
#[cfg_attr(feature = "cdylib", unsafe(no_mangle))]
pub unsafe extern "C" fn ringer_chaos(text: *const u8, len: usize) -> i32 {
    let text = if text.is_null() {
        None
    } else {
        // SAFETY: the caller's promise.
        Some(unsafe { core::slice::from_raw_parts(text, len) })
    };
    match ringer_intercept::chaos::choose_for_thread(text) {
        Ok(()) => 0,
        Err(e) => -e.raw(),
    }
}

/// The same crate's: takes up to `most` acts of the calling thread's plan
/// ([`ringer_intercept::chaos::Done`]) and answers how many.
///
/// # Safety
/// `to` has room for as many, which nobody else looks at.
#[cfg_attr(feature = "cdylib", unsafe(no_mangle))]
pub unsafe extern "C" fn ringer_chaos_done(
    to: *mut ringer_intercept::chaos::Done,
    most: usize,
) -> usize {
    // SAFETY: the caller's promise.
    let to = unsafe { core::slice::from_raw_parts_mut(to, most) };
    ringer_intercept::chaos::done_by_thread(to)
}

/// The same crate's: requests of this process are written for a reader in it (1), or no more (0). 0, or a
/// negative errno (`EBUSY`: for somebody else, `ENOMEM`).
#[cfg_attr(feature = "cdylib", unsafe(no_mangle))]
pub extern "C" fn ringer_trace(on: i32) -> i32 {
    match ringer_intercept::trace::own(on != 0) {
        Ok(()) => 0,
        Err(e) => -e.raw(),
    }
}

/// The same crate's: takes records, at most `len` bytes of them, and answers how many slots they have;
/// `about` gets the position of the first, and how many records were lost.
///
/// # Safety
/// `to` has room for `len` bytes and `about` for two numbers, which nobody else looks at.
#[cfg_attr(feature = "cdylib", unsafe(no_mangle))]
pub unsafe extern "C" fn ringer_trace_take(to: *mut u8, len: usize, about: *mut [u64; 2]) -> usize {
    // SAFETY: the caller's promise.
    let to = unsafe { core::slice::from_raw_parts_mut(to, len) };
    let (position, slots, lost) = ringer_intercept::trace::take_own(to);
    // SAFETY: the caller's promise.
    unsafe { about.write([position, lost]) };
    slots
}

/// Where dlopen goes. A name without a slash is searched along the *caller's* run path, so that
/// the real function must see the caller's return address: it is jumped to, and the scan waits for
/// the first dlsym, which follows. Else 0: the caller does not matter.
extern "C" fn dlopen_target(name: *const core::ffi::c_char) -> usize {
    UNSCANNED.store(true, Relaxed);
    if name.is_null() {
        return real::at::dlopen.get();
    }
    // SAFETY: dlopen's argument is a NUL-terminated string.
    let text = unsafe { core::ffi::CStr::from_ptr(name) }.to_bytes();
    if text.contains(&b'/') { 0 } else { real::at::dlopen.get() }
}

/// dlopen of a path: the scan follows at once.
unsafe extern "C" fn dlopen_and_scan(name: usize, flags: i32) -> isize {
    // SAFETY: the caller's own call.
    let handle = unsafe { real::dlopen(name, flags) };
    scan_if_due();
    handle.max(0)
}

/// dlopen(3): see [`dlopen_target`].
///
/// # Safety
/// As the C function.
#[cfg_attr(feature = "cdylib", unsafe(no_mangle))]
#[unsafe(naked)]
pub unsafe extern "C" fn dlopen(name: usize, flags: i32) -> isize {
    core::arch::naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {target}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        "2:",
        "jmp {scan}",
        target = sym dlopen_target,
        scan = sym dlopen_and_scan,
    )
}

/// Where dlsym goes: to the real one, after a scan that is due.
extern "C" fn dlsym_target() -> usize {
    scan_if_due();
    match real::DLSYM.get() {
        0 => no_dlsym as *const () as usize,
        addr => addr,
    }
}

extern "C" fn no_dlsym() -> usize {
    0
}

/// dlsym(3): the real one finds the caller by its return address (`RTLD_NEXT`), so it is jumped to.
///
/// # Safety
/// As the C function.
#[cfg_attr(feature = "cdylib", unsafe(no_mangle))]
#[unsafe(naked)]
pub unsafe extern "C" fn dlsym(handle: usize, name: usize) -> isize {
    core::arch::naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {target}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "jmp rax",
        target = sym dlsym_target,
    )
}
