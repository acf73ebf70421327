//! The socket that readers connect to: where it lies, who may speak there, and its end.
//!
//! It is bound through the folder's descriptor, so that nobody puts another folder in its place after
//! the check, and a long path fits. What this does not do: hold a conversation.

use core::ffi::CStr;
use core::fmt::Write;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr};
use rust_alloc::boxed::Box;
use rust_alloc::ffi::CString;
use rust_alloc::string::String;
use rust_alloc::vec::Vec;

use ringer_engine::trace::channel::{Answer, FOLDER, FOLDER_ELSEWHERE, NAMES};
use ringer_uapi::Errno;

use crate::raw::{self, SysResult, general as g};

const AF_UNIX: u16 = 1;
const SOCK_SEQPACKET: u32 = 5;
const SOL_SOCKET: usize = 1;
const SO_PEERCRED: usize = 17;
/// Connections that wait to be taken.
const BACKLOG: usize = 8;

/// Whether there is to be a socket.
static ALLOWED: AtomicBool = AtomicBool::new(false);
/// `XDG_RUNTIME_DIR`, leaked.
static RUNTIME: AtomicPtr<Vec<u8>> = AtomicPtr::new(core::ptr::null_mut());
/// This process's socket, leaked.
static PUBLISHED: AtomicPtr<Published> = AtomicPtr::new(core::ptr::null_mut());

/// A socket's path and whose it is.
struct Published {
    path: CString,
    pid: u32,
}

/// The constructor's part: there may be a socket, below this folder if it is one (`XDG_RUNTIME_DIR`).
pub fn allow(runtime: Option<&[u8]>) {
    if let Some(folder) = runtime.filter(|f| f.starts_with(b"/")) {
        RUNTIME.store(Box::into_raw(Box::new(folder.to_vec())), Release);
    }
    ALLOWED.store(true, Relaxed);
}

/// From here on nobody watches: the program is about to set a filter of system calls, which may apply to
/// the watcher, too, and end the process for what the program itself never calls.
pub fn forbid() {
    ALLOWED.store(false, Relaxed);
}

pub(super) fn is_allowed() -> bool {
    ALLOWED.load(Relaxed)
}

/// Removes the socket's name, at the process's end. Takes no lock and no memory; a child does nothing.
pub fn unlink() {
    let at = PUBLISHED.load(Acquire);
    // SAFETY: null, or leaked by `listen_in`.
    let Some(published) = (unsafe { at.as_ref() }) else { return };
    // Once: at the second time another process may have the number.
    if published.pid == raw::getpid()
        && PUBLISHED.compare_exchange(at, core::ptr::null_mut(), Relaxed, Relaxed).is_ok()
    {
        let _ = unlink_at(g::AT_FDCWD, &published.path);
    }
}

/// A listening socket of this process's, if it may and can have one.
pub(super) fn listen() -> Option<i32> {
    if !is_allowed() {
        return None;
    }
    // SAFETY: null, or leaked by `allow`.
    let runtime = unsafe { RUNTIME.load(Acquire).as_ref() };
    let below = runtime.map(|r| [r.as_slice(), b"/", FOLDER.as_bytes()].concat());
    let mut elsewhere = String::from(FOLDER_ELSEWHERE);
    let _ = write!(elsewhere, "{}", euid());
    let folders = below.into_iter().chain([elsewhere.into_bytes()]);
    folders.flat_map(CString::new).find_map(|folder| listen_in(&folder).ok())
}

fn listen_in(folder: &CString) -> SysResult<i32> {
    let dir = open_folder(folder)?;
    let bound = bind(dir).and_then(|(socket, name)| {
        // SAFETY: plain numbers.
        let listens = unsafe { raw::syscall2(g::__NR_listen, raw::fd_arg(socket), BACKLOG) };
        match Errno::demux(listens) {
            Ok(_) => Ok((socket, name)),
            Err(e) => {
                let _ = unlink_at(dir, &name);
                let _ = raw::close(socket);
                Err(e)
            }
        }
    });
    if bound.is_ok() {
        sweep(dir);
    }
    let _ = raw::close(dir);
    let (socket, name) = bound?;
    let path = [folder.as_bytes(), b"/", name.as_bytes()].concat();
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let published = Box::new(Published { path, pid: raw::getpid() });
    PUBLISHED.store(Box::into_raw(published), Release);
    Ok(socket)
}

/// Makes the folder if there is none, and opens it if nobody else may enter it.
///
/// # Errors
/// `EPERM`: it is somebody else's, or open to others. The calls'.
fn open_folder(folder: &CString) -> SysResult<i32> {
    const PRIVATE: usize = 0o700;
    // SAFETY: `folder` is a live NUL-terminated string.
    let made = unsafe {
        let at = folder.as_ptr() as usize;
        raw::syscall3(g::__NR_mkdirat, raw::fd_arg(g::AT_FDCWD), at, PRIVATE)
    };
    match Errno::demux(made) {
        Ok(_) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(e),
    }
    let flags = g::O_PATH | g::O_DIRECTORY | g::O_NOFOLLOW | g::O_CLOEXEC;
    let dir = raw::openat(g::AT_FDCWD, folder, flags, 0)?;
    let is_ours = |st: g::stat| st.st_uid == euid() && st.st_mode & 0o077 == 0;
    match raw::fstat(dir) {
        Ok(st) if is_ours(st) => Ok(dir),
        other => {
            let _ = raw::close(dir);
            Err(other.err().unwrap_or(Errno::EPERM))
        }
    }
}

/// A socket that is bound in the folder, and its name there.
fn bind(dir: i32) -> SysResult<(i32, CString)> {
    let socket = socket()?;
    for n in 0..NAMES {
        let mut name = String::new();
        let _ = write!(name, "{}", raw::getpid());
        if n > 0 {
            let _ = write!(name, ".{n}");
        }
        let address = Address::of(dir, &name);
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        let mut bound = address.apply(g::__NR_bind, socket);
        // Of the program before an exec, or of a dead process that had the number; where somebody listens
        // that is a process of another namespace.
        if bound == Err(Errno::EADDRINUSE) && is_deserted(&address) {
            let _ = unlink_at(dir, &name);
            bound = address.apply(g::__NR_bind, socket);
        }
        match bound {
            Ok(()) => return Ok((socket, name)),
            Err(Errno::EADDRINUSE) => {}
            Err(e) => {
                let _ = raw::close(socket);
                return Err(e);
            }
        }
    }
    let _ = raw::close(socket);
    Err(Errno::EADDRINUSE)
}

/// Removes sockets whose processes were killed, a few at a time: each that comes clears more than it
/// leaves itself.
fn sweep(dir: i32) {
    const LOOKS: usize = 64;
    let mut entries = [0u64; 256];
    let Ok(readable) = raw::openat(dir, c".", g::O_RDONLY | g::O_DIRECTORY | g::O_CLOEXEC, 0)
    else {
        return;
    };
    let (to, len) = (entries.as_mut_ptr() as usize, size_of_val(&entries));
    // SAFETY: the kernel writes at most as many bytes.
    let n = unsafe { raw::syscall3(g::__NR_getdents64, raw::fd_arg(readable), to, len) };
    let _ = raw::close(readable);
    let bytes: Vec<u8> = entries.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let mut rest = bytes.get(..usize::try_from(n).unwrap_or(0)).unwrap_or(&[]);
    for _ in 0..LOOKS {
        // ino, off: 16 bytes; length of the entry: 2; type: 1; the name and a NUL.
        let Some(&[low, high]) = rest.get(16..18) else { return };
        let entry = rest.get(19..usize::from(u16::from_ne_bytes([low, high])));
        let Some(name) = entry.and_then(|e| CStr::from_bytes_until_nul(e).ok()) else { return };
        if is_dead(name) && is_deserted(&Address::of(dir, name.to_str().unwrap_or(""))) {
            let _ = unlink_at(dir, name);
        }
        rest = rest.get(usize::from(u16::from_ne_bytes([low, high]))..).unwrap_or(&[]);
    }
}

/// Whether a name is that of a process which is not there.
fn is_dead(name: &CStr) -> bool {
    let text = name.to_str().unwrap_or("");
    let pid = text.split('.').next().and_then(|pid| pid.parse().ok());
    pid.is_some_and(|pid: u32| pid > 0 && !raw::process_exists(pid))
}

fn is_deserted(address: &Address) -> bool {
    let Ok(socket) = socket() else { return false };
    let refused = address.apply(g::__NR_connect, socket) == Err(Errno::ECONNREFUSED);
    let _ = raw::close(socket);
    refused
}

fn socket() -> SysResult<i32> {
    let kind = SOCK_SEQPACKET | g::O_CLOEXEC | g::O_NONBLOCK;
    // SAFETY: plain numbers.
    let new = unsafe { raw::syscall3(g::__NR_socket, AF_UNIX.into(), kind as usize, 0) };
    Errno::demux(new).map(|fd| fd as i32)
}

/// `struct sockaddr_un`.
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; 108],
}

impl Address {
    fn of(dir: i32, name: &str) -> Self {
        let mut text = String::new();
        // The thread's own table: `/proc/self` is the program's.
        let _ = write!(text, "/proc/thread-self/fd/{dir}/{name}");
        let mut path = [0; 108];
        // The last byte stays the NUL.
        for (to, from) in path.iter_mut().take(107).zip(text.bytes()) {
            *to = from;
        }
        Self { family: AF_UNIX, path }
    }

    /// bind(2) or connect(2).
    fn apply(&self, call: u32, socket: i32) -> SysResult<()> {
        let at = core::ptr::from_ref(self) as usize;
        // SAFETY: the kernel reads the address, which is as long as that.
        let ret = unsafe { raw::syscall3(call, raw::fd_arg(socket), at, size_of::<Self>()) };
        Errno::demux(ret).map(drop)
    }
}

fn unlink_at(dir: i32, name: &CStr) -> SysResult<()> {
    // SAFETY: `name` is a live NUL-terminated string.
    let ret =
        unsafe { raw::syscall3(g::__NR_unlinkat, raw::fd_arg(dir), name.as_ptr() as usize, 0) };
    Errno::demux(ret).map(drop)
}

/// A connection.
///
/// # Errors
/// accept4(2)'s; `EAGAIN`: there is none.
pub(super) fn accept(listener: i32) -> SysResult<i32> {
    let flags = (g::O_CLOEXEC | g::O_NONBLOCK) as usize;
    // SAFETY: no address is asked for.
    let new = unsafe { raw::syscall4(g::__NR_accept4, raw::fd_arg(listener), 0, 0, flags) };
    Errno::demux(new).map(|fd| fd as i32)
}

/// Who connected, if it is the process's own user, or root. The kernel noted that when it connected.
pub(super) fn trusted_peer(socket: i32) -> Option<u32> {
    // pid, uid, gid.
    let mut who = [0u32; 3];
    let mut len = size_of_val(&who) as u32;
    let (to, len) = (who.as_mut_ptr() as usize, &raw mut len as usize);
    // SAFETY: the kernel writes at most as many bytes as the length says, and the length.
    let ret = unsafe {
        raw::syscall5(g::__NR_getsockopt, raw::fd_arg(socket), SOL_SOCKET, SO_PEERCRED, to, len)
    };
    let [pid, uid, _] = who;
    (ret == 0 && (uid == 0 || uid == euid())).then_some(pid)
}

/// Sends an answer; a peer that takes none is none.
///
/// # Errors
/// write(2)'s.
pub(super) fn say(socket: i32, answer: Answer) -> SysResult<()> {
    const MSG_NOSIGNAL: usize = 0x4000;
    let bytes = answer.to_bytes();
    let (from, len) = (bytes.as_ptr() as usize, bytes.len());
    // SAFETY: the kernel reads the bytes; there is no address.
    let ret = unsafe {
        raw::syscall6(g::__NR_sendto, [raw::fd_arg(socket), from, len, MSG_NOSIGNAL, 0, 0])
    };
    Errno::demux(ret).map(drop)
}

fn euid() -> u32 {
    // SAFETY: takes nothing and touches nothing.
    (unsafe { raw::syscall0(g::__NR_geteuid) }) as u32
}
