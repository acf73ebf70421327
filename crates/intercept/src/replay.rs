//! `RINGER_REPLAY`: the record that answers the requests of a process.
//!
//! It is read when the process makes its first ring, as the constructor runs in every process of a program
//! and few of them have rings. `ringer replay` has read the same file before, so that a file that cannot be
//! read here ends the process. What this does not do: answer (`ringer_sys::replay`).

use crate::stats::Path;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};
use ringer_engine::replay::{LEN_MAX, Script};
use ringer_sys::raw::{self, general as g};
use ringer_sys::replay;
use ringer_uapi::Errno;

/// What the constructor found in the environment: a leaked NUL-terminated path.
static RECORD: AtomicPtr<Path> = AtomicPtr::new(core::ptr::null_mut());
/// Bytes that are read at once.
const PART: usize = 1 << 20;

/// What is written may be something else.
static ANY_DATA: AtomicBool = AtomicBool::new(false);

/// The constructor's part: remembers the file, and whether other bytes may be written.
pub(crate) fn configure(path: &[u8], any_data: bool) {
    ANY_DATA.store(any_data, Relaxed);
    let mut copy = Box::new(Path::new());
    if !copy.push(path) {
        refuse();
    }
    RECORD.store(Box::into_raw(copy), Release);
}

/// A program that was to be replayed must not do anything for real.
fn refuse() -> ! {
    let _ = raw::write(2, b"ringer: replay: the record cannot be read in the program\n");
    raw::exit_group(125)
}

/// The first ring's part.
pub(crate) fn begin() {
    // SAFETY: null, or leaked by `configure`, never changed afterwards.
    let Some(path) = (unsafe { RECORD.load(Acquire).as_ref() }) else { return };
    match read(path).and_then(|bytes| Script::parse(bytes).ok()) {
        Some(mut script) => {
            if ANY_DATA.load(Relaxed) {
                script.forget_written();
            }
            replay::play(script);
        }
        None => refuse(),
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let fd = raw::openat(g::AT_FDCWD, path.as_c_str()?, g::O_RDONLY | g::O_CLOEXEC, 0).ok()?;
    let bytes = read_all(fd);
    let _ = raw::close(fd);
    bytes
}

fn read_all(fd: i32) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let len = bytes.len();
        if len > LEN_MAX {
            return None;
        }
        bytes.try_reserve(PART).ok()?;
        bytes.resize(len + PART, 0);
        match raw::read(fd, bytes.get_mut(len..)?) {
            Ok(0) => {
                bytes.truncate(len);
                return Some(bytes);
            }
            Ok(n) => bytes.truncate(len + n),
            Err(Errno::EINTR) => bytes.truncate(len),
            Err(_) => return None,
        }
    }
}
