//! Where processes that can be watched are found: sockets in folders that nobody else may enter.
//!
//! ```text
//!   $XDG_RUNTIME_DIR/ringer, /run/user/UID/ringer, /tmp/ringer-UID      real folders, UID's, mode 0700
//!      '-- PID, PID.1       connected through the folder's descriptor
//! ```
//! A socket at which nobody listens, and whose process is no more, is removed: killed processes leave
//! theirs. What this does not do: speak to anybody.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ringer_engine::trace::channel::{FOLDER, FOLDER_ELSEWHERE};
use rustix::fs::{Access, AtFlags, Dir, Mode, OFlags, access};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};
use rustix::process::{Pid, geteuid, test_kill_process};

/// Most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 4096;

/// A folder with sockets.
#[derive(Debug)]
pub(super) struct Folder {
    dir: File,
    uid: u32,
}

/// A socket, by its folder's place in the list and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The process, as it knows itself.
    pub(super) pid: u32,
    text: String,
}

impl Name {
    fn of(text: &str) -> Option<Self> {
        let (pid, more) = text.split_once('.').unwrap_or((text, "1"));
        more.parse::<u32>().ok()?;
        Some(Self { pid: pid.parse().ok()?, text: text.to_owned() })
    }
}

/// What a look found besides folders.
pub(crate) type Refused = Vec<String>;

/// The folders of the user whose processes are looked for: the owner of `pid`, or the caller.
pub(super) fn folders(pid: Option<u32>) -> (Vec<Folder>, Refused) {
    let me = geteuid().as_raw();
    let owner = |pid: u32| Some(Path::new("/proc").join(pid.to_string()).metadata().ok()?.uid());
    let uid = pid.and_then(owner).unwrap_or(me);
    let candidates = runtime_folder()
        .filter(|_| uid == me)
        .into_iter()
        .chain([format!("/run/user/{uid}/{FOLDER}").into(), elsewhere(uid)]);
    let (mut found, mut refused) = (Vec::<Folder>::new(), Vec::new());
    for path in candidates {
        match Folder::open(&path, uid) {
            Ok(new) if found.iter().any(|old| old.is(&new)) => {}
            Ok(new) => found.push(new),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => refused.push(format!("{} is not looked into: {e}", path.display())),
        }
    }
    (found, refused)
}

fn runtime_folder() -> Option<PathBuf> {
    let runtime = PathBuf::from(env::var_os("XDG_RUNTIME_DIR")?);
    runtime.is_absolute().then(|| runtime.join(FOLDER))
}

fn elsewhere(uid: u32) -> PathBuf {
    format!("{FOLDER_ELSEWHERE}{uid}").into()
}

/// The folder in which a program that is started now would have its socket. Nothing is made.
///
/// # Errors
/// What is wrong with each that it would try.
pub(crate) fn place() -> Result<PathBuf, Refused> {
    let uid = geteuid().as_raw();
    let mut refused = Vec::new();
    for path in runtime_folder().into_iter().chain([elsewhere(uid)]) {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let found = match Folder::open(&path, uid) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                access(parent, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
            }
            found => found.map(drop),
        };
        match found {
            Ok(()) => return Ok(path),
            Err(e) => refused.push(format!("{}: {e}", path.display())),
        }
    }
    Err(refused)
}

impl Folder {
    /// # Errors
    /// It is a link, somebody else's, or others may enter it.
    fn open(path: &Path, uid: u32) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let meta = dir.metadata()?;
        if meta.uid() != uid {
            let whose = format!("it belongs to user {}, not {uid}", meta.uid());
            return Err(io::Error::other(whose));
        }
        if meta.mode() & 0o077 != 0 {
            let how = format!("others may enter it (mode {:04o}): chmod 700", meta.mode() & 0o7777);
            return Err(io::Error::other(how));
        }
        Ok(Self { dir, uid })
    }

    fn is(&self, other: &Self) -> bool {
        let id = |f: &Self| f.dir.metadata().map(|m| (m.dev(), m.ino())).ok();
        id(self) == id(other)
    }

    /// The sockets there.
    pub(super) fn names(&self) -> Vec<Name> {
        let Ok(entries) = Dir::read_from(&self.dir) else { return Vec::new() };
        let named = entries.flatten().take(ENTRIES_MAX);
        named.filter_map(|e| Name::of(e.file_name().to_str().ok()?)).collect()
    }

    /// Connects to a socket, if the user's own process listens there. One that is dead is removed.
    ///
    /// # Errors
    /// `Ok(None)`: nobody is there. `EPERM`: somebody else is. `EAGAIN`: it has no time. connect(2)'s.
    pub(super) fn connect(&self, name: &Name) -> Result<Option<(OwnedFd, u32)>, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // Through the descriptor: it is the folder that was checked, and the path is short.
        let path = format!("/proc/self/fd/{}/{}", self.dir.as_raw_fd(), name.text);
        match connect(&socket, &SocketAddrUnix::new(path.as_str())?) {
            Ok(()) => {}
            Err(Errno::CONNREFUSED) => {
                self.remove_dead(name);
                return Ok(None);
            }
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e),
        }
        // Who listens, as the kernel noted it then.
        let peer = sockopt::socket_peercred(&socket)?;
        if peer.uid.as_raw() != self.uid && !peer.uid.is_root() {
            return Err(Errno::PERM);
        }
        let pid = peer.pid.as_raw_pid().cast_unsigned();
        Ok(Some((socket, if pid == 0 { name.pid } else { pid })))
    }

    fn remove_dead(&self, name: &Name) {
        let pid = i32::try_from(name.pid).ok().and_then(Pid::from_raw);
        if pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH)) {
            let _ = rustix::fs::unlinkat(self.dir.as_fd(), name.text.as_str(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_process_and_perhaps_a_number() {
        let pid = |text| Name::of(text).map(|n| n.pid);
        assert_eq!((pid("12"), pid("12.1")), (Some(12), Some(12)));
        assert_eq!([pid("x"), pid("12.x"), pid("../12"), pid("12."), pid("-1")], [None; 5]);
    }
}
