//! The only unsafe code of this crate: loading the library, and calling its one function.

use crate::{Error, Installed};
use std::ffi::{CStr, CString, c_int, c_void};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::{Mutex, PoisonError};

/// The library, as the build script made it.
static LIBRARY: &[u8] = include_bytes!(env!("RINGER_PRELOAD_SO"));
const INSTALL: &CStr = c"ringer_install";

/// Whether the kernel gave the process a loader (`AT_BASE` is the loader's address).
pub(crate) fn is_dynamic() -> bool {
    // SAFETY: getauxval reads the process's own auxiliary vector.
    unsafe { libc::getauxval(libc::AT_BASE) != 0 }
}

/// Asks for a ring with a null pointer: `EFAULT` says that somebody is there.
pub(crate) fn kernel_answers() -> bool {
    // SAFETY: a null pointer is refused before anything is made or written.
    let ret = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, 0) };
    ret == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

type Done = [u64; 5];

/// Puts the calling thread's rings under a plan, or under none.
pub(crate) fn chaos(text: Option<&str>) -> Result<(), i32> {
    let Some(chaos) = find(libc::RTLD_DEFAULT, c"ringer_chaos") else { return Err(libc::ENOSYS) };
    // SAFETY: the library that this crate built defines it with this type.
    let chaos: unsafe extern "C" fn(*const u8, usize) -> c_int =
        unsafe { std::mem::transmute(chaos) };
    let (at, len) = text.map_or((std::ptr::null(), 0), |t| (t.as_ptr(), t.len()));
    // SAFETY: a text that lives as long as the call.
    match unsafe { chaos(at, len) } {
        0 => Ok(()),
        e => Err(-e),
    }
}

/// Takes what that plan did since.
pub(crate) fn chaos_done() -> Vec<Done> {
    let Some(done) = find(libc::RTLD_DEFAULT, c"ringer_chaos_done") else { return Vec::new() };
    // SAFETY: as in `chaos`.
    let done: unsafe extern "C" fn(*mut Done, usize) -> usize =
        unsafe { std::mem::transmute(done) };
    let mut all = Vec::new();
    loop {
        let mut part = [[0; 5]; 256];
        // SAFETY: room for as many as is said.
        let n = unsafe { done(part.as_mut_ptr(), part.len()) };
        all.extend(part.iter().take(n));
        if n < part.len() {
            return all;
        }
    }
}

/// Has the requests of this process traced for [`trace_take`], or no more.
pub(crate) fn trace(on: bool) -> Result<(), i32> {
    let Some(trace) = find(libc::RTLD_DEFAULT, c"ringer_trace") else { return Err(libc::ENOSYS) };
    // SAFETY: the library that this crate built defines it with this type.
    let trace: extern "C" fn(c_int) -> c_int = unsafe { std::mem::transmute(trace) };
    match trace(on.into()) {
        0 => Ok(()),
        e => Err(-e),
    }
}

/// Takes records: the position of the first, their slots, and how many were lost so far.
pub(crate) fn trace_take(to: &mut [u8]) -> (u64, usize, u64) {
    let Some(take) = find(libc::RTLD_DEFAULT, c"ringer_trace_take") else { return (0, 0, 0) };
    // SAFETY: as in `trace`.
    let take: unsafe extern "C" fn(*mut u8, usize, *mut [u64; 2]) -> usize =
        unsafe { std::mem::transmute(take) };
    let mut about = [0; 2];
    // SAFETY: room for as many bytes as is said, and for two numbers.
    let slots = unsafe { take(to.as_mut_ptr(), to.len(), &raw mut about) };
    let [position, lost] = about;
    (position, slots, lost)
}

pub(crate) fn install() -> Result<Installed, Error> {
    if !is_dynamic() {
        return Err(Error::Static);
    }
    // Who finds the library there must find that it serves, too.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if find(libc::RTLD_DEFAULT, INSTALL).is_some() {
        return Ok(Installed::Before);
    }
    let memory = memory().map_err(Error::Memory)?;
    let path = CString::new(format!("/proc/self/fd/{}", memory.as_raw_fd()))
        .expect("a number holds no NUL");
    // SAFETY: the library's constructor is fit to run at any time; it is never unloaded.
    // RTLD_GLOBAL makes it visible to the next `install`.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        return Err(Error::Refused(last_error()));
    }
    let Some(install) = find(handle, INSTALL) else { return Err(Error::NoEffect) };
    // SAFETY: the library that this crate built defines it with this type.
    let install: unsafe extern "C" fn() -> c_int = unsafe { std::mem::transmute(install) };
    // SAFETY: the caller is asked to be at the top of `main`.
    match unsafe { install() } {
        0 => Err(Error::NoEffect),
        places => Ok(Installed::Now { places: usize::try_from(places).unwrap_or(0) }),
    }
}

/// The library in an anonymous, sealed file.
fn memory() -> std::io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a NUL-terminated string.
    let mut fd = unsafe { libc::memfd_create(c"libringer_preload.so".as_ptr(), flags | MFD_EXEC) };
    if fd == -1 {
        // A kernel before 6.3 does not know MFD_EXEC; there every memfd is executable.
        // SAFETY: as above.
        fd = unsafe { libc::memfd_create(c"libringer_preload.so".as_ptr(), flags) };
    }
    if fd == -1 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(LIBRARY)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: seals take an integer.
    if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } == -1 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(file)
}

/// `MFD_EXEC` of linux/memfd.h.
const MFD_EXEC: libc::c_uint = 0x10;

fn find(handle: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `name` is a NUL-terminated string; the handle is RTLD_DEFAULT or dlopen's.
    let at = unsafe { libc::dlsym(handle, name.as_ptr()) };
    (!at.is_null()).then_some(at)
}

fn last_error() -> String {
    // SAFETY: dlerror answers NULL or a string that stays until the thread's next dl call.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "it does not say why".into();
    }
    // SAFETY: not null, so a NUL-terminated string.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The calling thread's number.
pub(crate) fn tid() -> u32 {
    // SAFETY: takes nothing and touches nothing.
    unsafe { libc::gettid() }.cast_unsigned()
}
