//! `RINGER_STATS`: counters in a mapped file, and two lines of JSON for each process with rings.
//!
//! ```text
//!  FILE        {"event":"start","pid":7,"exe":"/usr/bin/fio","setup_flags":2}     first ring
//!              {"event":"exit","pid":7,...,"requests":{"READ":9},"native_calls":0}
//!  FILE.7      the counters themselves (`ringer_engine::stats` has the layout), mapped shared;
//!              removed by the exit line, so that one left behind is a killed process's account
//! ```
//! A line is one write(2) to a file opened with O_APPEND, so that processes do not mix theirs. The
//! file is opened for each line (no descriptor stays in the program), never through a symbolic link,
//! and only if it is a regular file of the caller. The exit line is written from the destructor or
//! from `_exit`, possibly in a signal handler: it allocates nothing and takes no lock.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};
use ringer_engine::stats as layout;
use ringer_engine::support::refusal;
use ringer_ring::Map;
use ringer_sys::generation;
use ringer_sys::host::LinuxHost;
use ringer_sys::raw::{self, general as g};

/// Longest path that is accepted \[bytes\].
const PATH_MAX: usize = 4096;
/// Longest line: a path, and a name and a number for every counter \[bytes\].
const TEXT_MAX: usize = 24 * 1024;
/// Names tried for the counters file of a process id that is there already (an exec).
const NAMES: u32 = 16;

/// What the constructor found in the environment: a leaked NUL-terminated path.
static FILE: AtomicPtr<Path> = AtomicPtr::new(core::ptr::null_mut());
/// The counters of the process of [`OWNER`]'s generation.
static COUNTERS: AtomicPtr<Account> = AtomicPtr::new(core::ptr::null_mut());
static OWNER: AtomicU32 = AtomicU32::new(0);

/// A NUL-terminated path.
pub(crate) struct Path {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl Path {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; PATH_MAX], len: 0 }
    }

    pub(crate) fn as_c_str(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(self.bytes.get(..=self.len)?).ok()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    pub(crate) fn push(&mut self, more: &[u8]) -> bool {
        // One byte stays for the NUL.
        let free = self.bytes.get_mut(self.len..PATH_MAX - 1).unwrap_or(&mut []);
        if more.len() > free.len() {
            return false;
        }
        for (to, from) in free.iter_mut().zip(more) {
            *to = *from;
        }
        self.len += more.len();
        true
    }
}

impl Write for Path {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.push(s.as_bytes()) { Ok(()) } else { Err(fmt::Error) }
    }
}

/// What a process with rings keeps for its exit line.
struct Account {
    map: Map,
    file: Option<Path>,
    ended: AtomicBool,
}

/// The constructor's part: remembers the path.
pub fn configure(path: &[u8]) {
    let mut copy = Box::new(Path::new());
    if copy.push(path) {
        FILE.store(Box::into_raw(copy), Release);
    }
}

fn file() -> Option<&'static Path> {
    // SAFETY: null, or leaked by `configure`, never changed afterwards.
    unsafe { FILE.load(Acquire).as_ref() }
}

/// The first ring's part: makes the counters, hands them to the host, writes the start line.
pub fn begin(setup_flags: u32) {
    let Some(stats) = file() else { return };
    let Some((at, name)) = make_counters(stats) else { return };
    // SAFETY:
    // 1. `at` is a fresh page-aligned mapping of `LEN` bytes that is never unmapped.
    // 2. It is used through this `Map` only, which is atomic.
    let map = unsafe { Map::new(at, layout::LEN) };
    map.w64(0).store(layout::MAGIC, Relaxed);
    map.w64(8).store(u64::from(raw::getpid()), Relaxed);
    let account: &'static Account =
        Box::leak(Box::new(Account { map, file: name, ended: AtomicBool::new(false) }));
    LinuxHost::set_counters(&account.map);
    OWNER.store(generation::current(), Relaxed);
    COUNTERS.store(core::ptr::from_ref(account).cast_mut(), Release);
    Line::with(|line| {
        let _ = line.head("start");
        let _ = writeln!(line, ",\"setup_flags\":{setup_flags}}}");
        line.append_to(stats);
    });
}

/// A shared file of zeroes, or without one private memory.
fn make_counters(stats: &Path) -> Option<(NonNull<u8>, Option<Path>)> {
    let Some((fd, name)) = create_new(stats, '.') else {
        return raw::mmap_anonymous(layout::LEN).ok().and_then(pointer).map(|at| (at, None));
    };
    let prot = g::PROT_READ | g::PROT_WRITE;
    let at = raw::ftruncate(fd, layout::LEN as u64).and_then(|()| {
        // SAFETY: a new mapping at an address of the kernel's choice.
        unsafe { raw::mmap(0, layout::LEN, prot, g::MAP_SHARED, fd, 0) }
    });
    let _ = raw::close(fd);
    at.ok().and_then(pointer).map(|at| (at, Some(name)))
}

/// A new file that is named after this process, `before` its number: never through a symbolic link, and
/// only where nothing is yet.
pub(crate) fn create_new(stem: &Path, before: char) -> Option<(i32, Path)> {
    for n in 0..NAMES {
        let mut name = Path::new();
        let named = name.push(stem.as_bytes())
            && write!(name, "{before}{}", raw::getpid()).is_ok()
            && (n == 0 || write!(name, ".{n}").is_ok());
        let path = name.as_c_str().filter(|_| named)?;
        let flags = g::O_RDWR | g::O_CREAT | g::O_EXCL | g::O_NOFOLLOW | g::O_CLOEXEC;
        match raw::openat(g::AT_FDCWD, path, flags, 0o600) {
            Ok(fd) => return Some((fd, name)),
            Err(ringer_uapi::Errno::EEXIST) => {}
            Err(_) => return None,
        }
    }
    None
}

pub(crate) fn pointer(at: usize) -> Option<NonNull<u8>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(at))
}

/// Adds one to a word of this process's account, if it has one.
pub(crate) fn count(word: usize) {
    // SAFETY: null, or leaked by `begin`.
    let account = unsafe { COUNTERS.load(Acquire).as_ref() };
    if OWNER.load(Relaxed) == generation::current() {
        layout::add(account.map(|a| &a.map), word, 1);
    }
}

/// The end's part, once: the exit line, and the counters file goes.
pub fn end() {
    let Some(stats) = file() else { return };
    // SAFETY: null, or leaked by `begin`.
    let Some(account) = (unsafe { COUNTERS.load(Acquire).as_ref() }) else { return };
    // A forked child without rings of its own sees its parent's account; so does a vfork child.
    let parents = OWNER.load(Relaxed) != generation::current()
        || account.map.w64(8).load(Relaxed) != u64::from(raw::getpid());
    if parents || account.ended.swap(true, Relaxed) {
        return;
    }
    let written = Line::with(|line| line.end(&account.map).is_ok() && line.append_to(stats));
    if written == Some(true)
        && let Some(name) = account.file.as_ref().and_then(Path::as_c_str)
    {
        // SAFETY: `name` is a live NUL-terminated string.
        unsafe {
            raw::syscall3(g::__NR_unlinkat, raw::fd_arg(g::AT_FDCWD), name.as_ptr() as usize, 0)
        };
    }
}

/// A line being put together, in memory that is there from the start.
///
/// Everything is in here because the caller may be on a small signal stack.
struct Line {
    text: Text,
    exe: [u8; PATH_MAX],
}

/// Bytes that were written so far.
struct Text {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

/// The one line, and whether somebody has it.
struct TheLine {
    taken: AtomicBool,
    line: UnsafeCell<Line>,
}

// SAFETY: `with` is the only way to the line, and `taken` lets one caller in at a time.
unsafe impl Sync for TheLine {}

static THE_LINE: TheLine = TheLine {
    taken: AtomicBool::new(false),
    line: UnsafeCell::new(Line { text: Text { bytes: [0; TEXT_MAX], len: 0 }, exe: [0; PATH_MAX] }),
};

impl Line {
    /// Lends the one line; `None` if somebody has it (a handler on top of `begin`).
    fn with<R>(f: impl FnOnce(&mut Self) -> R) -> Option<R> {
        if THE_LINE.taken.swap(true, Acquire) {
            return None;
        }
        // SAFETY: the flag makes this the only reference until it is cleared below.
        let line = unsafe { &mut *THE_LINE.line.get() };
        line.text.len = 0;
        let r = f(line);
        THE_LINE.taken.store(false, Release);
        Some(r)
    }

    fn head(&mut self, event: &str) -> fmt::Result {
        write!(self, "{{\"event\":\"{event}\",\"pid\":{},\"exe\":\"", raw::getpid())?;
        let at = [c"/proc/self/exe".as_ptr() as usize, self.exe.as_mut_ptr() as usize];
        // SAFETY: the kernel writes at most `PATH_MAX` bytes to `exe`.
        let len = unsafe { raw::syscall3(g::__NR_readlink, at[0], at[1], PATH_MAX) };
        self.escape_exe(len.max(0) as usize)?;
        self.write_str("\"")
    }

    /// The path as a JSON string's inside; what is not UTF-8 becomes U+FFFD.
    fn escape_exe(&mut self, len: usize) -> fmt::Result {
        let Self { text, exe } = self;
        for chunk in exe.get(..len).unwrap_or(&[]).utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' | '\\' => write!(text, "\\{c}")?,
                    c if (c as u32) < 0x20 => write!(text, "\\u{:04x}", c as u32)?,
                    c => text.write_char(c)?,
                }
            }
            if !chunk.invalid().is_empty() {
                text.write_char('\u{fffd}')?;
            }
        }
        Ok(())
    }

    fn end(&mut self, map: &Map) -> fmt::Result {
        self.head("exit")?;
        let word = |i: usize| map.w64(i * 8).load(Relaxed);
        write!(
            self,
            ",\"rings\":{},\"enters\":{},\"traps\":{},\"patched\":{},\"native_calls\":{},\"setup_flags\":{}",
            word(layout::RINGS),
            word(layout::ENTERS),
            word(layout::TRAPS),
            word(layout::PATCHED),
            word(layout::NATIVE),
            word(layout::SETUP_FLAGS),
        )?;
        for (name, base) in [("requests", layout::REQUESTS), ("errors", layout::FAILED)] {
            write!(self, ",\"{name}\":{{")?;
            let mut comma = "";
            for (i, name) in layout::opcode_names().enumerate().filter(|(i, _)| word(base + i) != 0)
            {
                write!(self, "{comma}\"{name}\":{}", word(base + i))?;
                comma = ",";
            }
            self.write_str("}")?;
        }
        self.write_str(",\"refused\":{")?;
        let mut comma = "";
        for (i, name) in refusal::names().enumerate() {
            let n = word(layout::REFUSED + i);
            if n != 0 {
                write!(self, "{comma}\"{}\":{n}", name.key())?;
                comma = ",";
            }
        }
        self.write_str("}")?;
        self.write_str("}\n")
    }

    fn append_to(&self, file: &Path) -> bool {
        let how = g::O_WRONLY | g::O_CREAT | g::O_APPEND;
        let flags = how | g::O_NOFOLLOW | g::O_NONBLOCK | g::O_CLOEXEC;
        let Some(path) = file.as_c_str() else { return false };
        let Ok(fd) = raw::openat(g::AT_FDCWD, path, flags, 0o600) else { return false };
        // SAFETY: takes nothing and touches nothing.
        let me = unsafe { raw::syscall0(g::__NR_geteuid) };
        let good = raw::fstat(fd)
            .is_ok_and(|st| st.st_mode & g::S_IFMT == g::S_IFREG && st.st_uid as isize == me);
        let line = self.text.bytes.get(..self.text.len).unwrap_or(&[]);
        let written = good && raw::write(fd, line) == Ok(line.len());
        let _ = raw::close(fd);
        written
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.text.write_str(s)
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let free = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
        if s.len() > free.len() {
            return Err(fmt::Error);
        }
        for (to, from) in free.iter_mut().zip(s.bytes()) {
            *to = from;
        }
        self.len += s.len();
        Ok(())
    }
}
