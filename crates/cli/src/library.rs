//! Puts the embedded library where the loader can map it and nobody else can change it.
//!
//! ```text
//!   root:  /run/ringer            others:  $XDG_RUNTIME_DIR/ringer
//!          /var/cache/ringer               ~/.cache/ringer
//!          /dev/shm, /tmp (last)           /dev/shm, /tmp (last)
//!     0755, world readable                   0700
//!       `-- libringer_preload-<hash of the contents>.so     0644, owned by the caller
//! ```
//!
//! A place that can not serve (missing, read-only, noexec, a name that LD_PRELOAD would split) is
//! passed over. A place that somebody may have prepared (another owner, writable by others, a
//! symbolic link, other bytes) is an error: ringer refuses to go on.
//!
//! Every folder on the way belongs to root or the caller and is writable by nobody else, unless
//! it is sticky. The proof is the comparison of all bytes at each run; the hash only gives
//! different versions different names, so that a program that runs keeps its library.
//!
//! What it does not do: remove old versions (a program may still map them).

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstatvfs, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::refusal::Refusal;

/// The library, as the build script of this very binary made it.
pub(crate) static LIBRARY: Library<'static> =
    Library::new(include_bytes!(env!("RINGER_PRELOAD_SO")), env!("RINGER_PRELOAD_HASH"));

/// Contents, and the hash that names them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library<'a> {
    bytes: &'a [u8],
    hash: &'a str,
}

impl<'a> Library<'a> {
    const fn new(bytes: &'a [u8], hash: &'a str) -> Self {
        Self { bytes, hash }
    }

    /// The name of its file.
    pub(crate) fn file_name(&self) -> String {
        format!("libringer_preload-{}.so", self.hash)
    }
}

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// How much of a stored library is read at once \[bytes\].
const PART: usize = 64 * 1024;

/// A folder that could hold the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Exists already, and is checked up to the root.
    pub(crate) parent: PathBuf,
    /// Ours, made if it is missing.
    pub(crate) name: String,
    /// The mode it is made with.
    pub(crate) mode: u32,
}

/// Why a place was not used.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It can not serve; the next one may.
    Unsuitable(String),
    /// Somebody may have prepared it.
    Suspicious(Refusal),
}

/// Puts the library into the first suitable place and gives its path.
///
/// # Errors
/// 125: a place was prepared by somebody, or none can serve.
pub(crate) fn install() -> Result<PathBuf, Refusal> {
    let mut reasons = Vec::new();
    for place in places() {
        match install_in(&place, LIBRARY) {
            Ok(path) => return Ok(path),
            Err(Trouble::Suspicious(refusal)) => return Err(refusal),
            Err(Trouble::Unsuitable(why)) => {
                reasons.push(format!("{}: {why}", place.parent.join(&place.name).display()));
            }
        }
    }
    Err(Refusal::ours("cannot put ringer's library anywhere", reasons.join("; ")).fix(
        "set XDG_RUNTIME_DIR to a folder of your own on a file system without noexec \
         (root: make /run or /var/cache one)",
    ))
}

/// The places in order of preference for the caller.
pub(crate) fn places() -> Vec<Place> {
    let uid = rustix::process::geteuid();
    let place = |parent: PathBuf, name: &str, mode| Place { parent, name: name.to_owned(), mode };
    let personal = format!("ringer-{}", uid.as_raw());
    if uid.is_root() {
        return vec![
            place("/run".into(), "ringer", 0o755),
            place("/var/cache".into(), "ringer", 0o755),
            place("/dev/shm".into(), &personal, 0o755),
            place("/tmp".into(), &personal, 0o755),
        ];
    }
    let mut places = Vec::new();
    if let Some(dir) = absolute(env::var_os("XDG_RUNTIME_DIR")) {
        places.push(place(dir, "ringer", 0o700));
    }
    let cache = absolute(env::var_os("XDG_CACHE_HOME"))
        .or_else(|| Some(absolute(env::var_os("HOME"))?.join(".cache")));
    if let Some(dir) = cache {
        places.push(place(dir, "ringer", 0o700));
    }
    places.push(place("/dev/shm".into(), &personal, 0o700));
    places.push(place("/tmp".into(), &personal, 0o700));
    places
}

fn absolute(value: Option<std::ffi::OsString>) -> Option<PathBuf> {
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Puts a library into one place, or proves that they are there.
pub(crate) fn install_in(place: &Place, library: Library<'_>) -> Result<PathBuf, Trouble> {
    let parent = real_parent(place)?;
    let folder = parent.join(&place.name);
    let path = folder.join(library.file_name());
    check_splittable(&path)?;
    check_ancestors(&parent)?;
    let dir = open_folder(&parent, place, &folder)?;
    let noexec = fstatvfs(&dir).map_err(unsuitable("looking at its file system"))?;
    if noexec.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(Trouble::Unsuitable("its file system is mounted noexec".into()));
    }
    match compare(&dir, &path, library.bytes)? {
        Stored::Same => {}
        Stored::Missing => {
            write(&dir, &path, library.bytes)?;
            // What counts is what is there now, whoever wrote it.
            if compare(&dir, &path, library.bytes)? != Stored::Same {
                return Err(suspicious(&path, "it vanished while ringer looked"));
            }
        }
    }
    Ok(path)
}

/// The parent without symbolic links: what the loader is told has none either.
fn real_parent(place: &Place) -> Result<PathBuf, Trouble> {
    if let Ok(parent) = fs::canonicalize(&place.parent) {
        return Ok(parent);
    }
    // A first run may find ~/.cache missing; its own parent must be there.
    let (Some(grand), Some(name)) = (place.parent.parent(), place.parent.file_name()) else {
        return Err(Trouble::Unsuitable("it does not exist".into()));
    };
    if name != OsStr::new(".cache") {
        return Err(Trouble::Unsuitable("it does not exist".into()));
    }
    let grand = fs::canonicalize(grand).map_err(|e| Trouble::Unsuitable(e.to_string()))?;
    check_ancestors(&grand)?;
    let made = grand.join(name);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&made)
        .map_err(|e| Trouble::Unsuitable(e.to_string()))?;
    fs::canonicalize(made).map_err(|e| Trouble::Unsuitable(e.to_string()))
}

/// LD_PRELOAD is split at spaces and colons, and `$` starts a name to expand.
fn check_splittable(path: &Path) -> Result<(), Trouble> {
    let bad = |&b: &u8| b.is_ascii_whitespace() || b.is_ascii_control() || b":;$".contains(&b);
    if path.as_os_str().as_bytes().iter().any(bad) {
        let why = "its name has a character that LD_PRELOAD does not allow (space, colon, $)";
        return Err(Trouble::Unsuitable(why.into()));
    }
    Ok(())
}

/// Every folder from the root down belongs to root or the caller, and nobody else can rename or
/// replace what is in it.
fn check_ancestors(folder: &Path) -> Result<(), Trouble> {
    let me = rustix::process::geteuid().as_raw();
    let mut at = PathBuf::new();
    for component in folder.components() {
        at.push(component);
        debug_assert!(matches!(component, Component::RootDir | Component::Normal(_)));
        let meta = fs::symlink_metadata(&at).map_err(|e| Trouble::Unsuitable(e.to_string()))?;
        let owner_ok = meta.uid() == 0 || meta.uid() == me;
        let open = meta.mode() & GROUP_OR_OTHERS_WRITE != 0 && meta.mode() & STICKY == 0;
        if !meta.is_dir() || !owner_ok || open {
            let why = format!("others can change what is in {}", at.display());
            return Err(Trouble::Unsuitable(why));
        }
    }
    Ok(())
}

fn open_folder(parent: &Path, place: &Place, folder: &Path) -> Result<OwnedFd, Trouble> {
    match fs::DirBuilder::new().mode(place.mode).create(folder) {
        // The umask may have taken bits that others need.
        Ok(()) => fs::set_permissions(folder, fs::Permissions::from_mode(place.mode))
            .map_err(|e| Trouble::Unsuitable(e.to_string()))?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(Trouble::Unsuitable(format!("it can not be made: {e}"))),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = openat(CWD, parent, flags, Mode::empty()).map_err(unsuitable("opening it"))?;
    let dir = openat(&parent, place.name.as_str(), flags, Mode::empty()).map_err(|e| match e {
        Errno::LOOP | Errno::NOTDIR => suspicious(folder, "it is not a folder, or a symbolic link"),
        Errno::ACCESS => suspicious(folder, "it belongs to another user"),
        _ => Trouble::Unsuitable(e.to_string()),
    })?;
    let stat = rustix::fs::fstat(&dir).map_err(unsuitable("looking at it"))?;
    check_owner(folder, stat.st_uid, stat.st_mode)?;
    Ok(dir)
}

fn check_owner(path: &Path, uid: u32, mode: u32) -> Result<(), Trouble> {
    if uid != rustix::process::geteuid().as_raw() {
        return Err(suspicious(path, format!("it belongs to user {uid}, not to you")));
    }
    if mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(suspicious(path, "others can write to it"));
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    Same,
    Missing,
}

/// Compares what is stored with `bytes`; anything but the same or nothing is suspicious.
fn compare(dir: &OwnedFd, path: &Path, bytes: &[u8]) -> Result<Stored, Trouble> {
    // NONBLOCK: a planted FIFO must not hang us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match openat(dir, name_of(path), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Stored::Missing),
        Err(Errno::LOOP) => return Err(suspicious(path, "it is a symbolic link")),
        Err(e) => return Err(suspicious(path, format!("it can not be read: {e}"))),
    };
    let file = File::from(fd);
    let meta = file.metadata().map_err(|e| suspicious(path, e.to_string()))?;
    if !meta.is_file() {
        return Err(suspicious(path, "it is not a regular file"));
    }
    check_owner(path, meta.uid(), meta.mode())?;
    if is_same(file, bytes).map_err(|e| suspicious(path, e.to_string()))? {
        return Ok(Stored::Same);
    }
    Err(suspicious(path, "its contents are not the library of this ringer"))
}

/// Whether a file holds exactly these bytes, read part by part: memory for all of it at once would
/// take longer to come than the reading.
fn is_same(mut file: File, bytes: &[u8]) -> io::Result<bool> {
    let mut part = vec![0; PART];
    let mut rest = bytes;
    loop {
        let len = match file.read(&mut part) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            len => len?,
        };
        let read = part.get(..len).unwrap_or(&[]);
        match rest.strip_prefix(read) {
            None => return Ok(false),
            Some(_) if len == 0 => return Ok(rest.is_empty()),
            Some(left) => rest = left,
        }
    }
}

/// Writes a temporary file and renames it: no reader ever sees a part.
fn write(dir: &OwnedFd, path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    let temporary = format!(".{}.{}", name_of(path).to_string_lossy(), std::process::id());
    // A left-over of a killed process with our number; nobody else can write here.
    let _ = unlinkat(dir, temporary.as_str(), rustix::fs::AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(dir, temporary.as_str(), flags, Mode::from_raw_mode(0o600))
        .map_err(unsuitable("making a file in it"))?;
    let mut file = File::from(fd);
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(0o644)))
        .and_then(|()| Ok(renameat(dir, temporary.as_str(), dir, name_of(path))?));
    written.map_err(|e| {
        let _ = unlinkat(dir, temporary.as_str(), rustix::fs::AtFlags::empty());
        Trouble::Unsuitable(format!("writing to it: {e}"))
    })
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().expect("built by joining a file name")
}

fn unsuitable(doing: &'static str) -> impl Fn(Errno) -> Trouble {
    move |e| Trouble::Unsuitable(format!("{doing}: {e}"))
}

fn suspicious(path: &Path, why: impl Into<String>) -> Trouble {
    let path = path.display();
    Trouble::Suspicious(
        Refusal::ours(format!("will not use {path}"), why)
            .fix(format!("look at it, and if you do not need it: rm -r '{path}'")),
    )
}

#[cfg(test)]
mod tests;
