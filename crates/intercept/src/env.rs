//! The RINGER_ variables of the environment.
//!
//! They are read once, by the constructor, from `environ` itself, before the program can change it.
//! In a process with more rights than its caller (AT_SECURE: setuid, file capabilities) all of them
//! are ignored: a caller must not name a file for it to write.

use crate::objects;
use crate::resolve::Real;
use core::ffi::{CStr, c_char, c_ulong};
use ringer_sys::raw::{self, general as g};

/// `AT_SECURE` of getauxval(3).
const AT_SECURE: c_ulong = 23;
/// No environment has more variables than this; a table without an end stops here.
const VARIABLES_MAX: usize = 1 << 20;

/// Whether the process must not trust its environment.
pub fn secure(getauxval: &Real) -> bool {
    let addr = getauxval.get();
    if addr == 0 {
        // No libc to ask: what the kernel sets AT_SECURE for in the first place.
        let id = |nr| {
            // SAFETY: takes nothing and touches nothing.
            unsafe { raw::syscall0(nr) }
        };
        return id(g::__NR_getuid) != id(g::__NR_geteuid)
            || id(g::__NR_getgid) != id(g::__NR_getegid);
    }
    // SAFETY: libc's `getauxval` has the signature of getauxval(3).
    let getauxval =
        unsafe { core::mem::transmute::<usize, extern "C" fn(c_ulong) -> c_ulong>(addr) };
    getauxval(AT_SECURE) != 0
}

/// The process's environment as `environ` points to it now.
#[derive(Debug)]
pub struct Environ(*mut *mut c_char);

impl Environ {
    /// The table, if libc has one.
    ///
    /// # Safety
    /// Nobody changes the environment while the value is used: the constructor's situation.
    pub unsafe fn current() -> Option<Self> {
        let at = objects::environ_location() as *const *mut *mut c_char;
        if at.is_null() {
            return None;
        }
        // SAFETY: the location of libc's variable.
        let table = unsafe { at.read() };
        (!table.is_null()).then_some(Self(table))
    }

    fn entry(&self, i: usize) -> Option<&CStr> {
        // SAFETY: the caller goes up from 0 and stops at the NULL that ends the table.
        let at = unsafe { self.0.add(i) };
        // SAFETY: as above: an entry of the table.
        let text = unsafe { at.read() };
        if text.is_null() {
            return None;
        }
        // SAFETY: an entry that is not NULL is a NUL-terminated string.
        Some(unsafe { CStr::from_ptr(text) })
    }

    fn find(&self, name: &[u8]) -> Option<(usize, &[u8])> {
        (0..VARIABLES_MAX).map_while(|i| Some((i, self.entry(i)?.to_bytes()))).find_map(
            |(i, text)| {
                let value = text.strip_prefix(name)?.strip_prefix(b"=")?;
                Some((i, value))
            },
        )
    }

    /// The value of a variable.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.find(name).map(|(_, value)| value)
    }

    /// Removes a variable, as unsetenv(3) does: what follows moves up.
    pub fn remove(&self, name: &[u8]) {
        let Some((mut i, _)) = self.find(name) else { return };
        loop {
            // SAFETY: `i` is below the NULL's index, so `i + 1` is in the table.
            let next = unsafe { self.0.add(i + 1) };
            // SAFETY: as above.
            let text = unsafe { next.read() };
            // SAFETY: as above; the table is writable memory of the process.
            let slot = unsafe { self.0.add(i) };
            // SAFETY: as above.
            unsafe { slot.write(text) };
            if text.is_null() {
                return;
            }
            i += 1;
        }
    }
}

/// A decimal number.
pub fn number<T: core::str::FromStr>(text: &[u8]) -> Option<T> {
    core::str::from_utf8(text).ok()?.parse().ok()
}
