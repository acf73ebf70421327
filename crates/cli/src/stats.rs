//! The file that `--stats` names: made and checked here, written by the library.
//!
//! What this does not do: count, which the library does, or read, which `account` does.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde_json::json;

use crate::refusal::Refusal;

/// The variable by which the library learns of the file.
pub(crate) const VARIABLE: &str = "RINGER_STATS";

/// A checked file, open for appending.
#[derive(Debug)]
pub(crate) struct StatsFile {
    path: PathBuf,
    file: File,
}

/// Makes the file, or checks that an existing one is safe to append to.
///
/// # Errors
/// 125: it is a symbolic link, not a regular file, or another user's; or it can not be made.
pub(crate) fn create(path: &Path) -> Result<StatsFile, Refusal> {
    let refuse = |why: String| Refusal::ours(format!("will not write to {}", path.display()), why);
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::from_raw_mode(0o600)).map_err(|e| match e {
        Errno::LOOP => refuse("it is a symbolic link".into()),
        Errno::NXIO => refuse("it is not a regular file".into()),
        _ => refuse(e.to_string()),
    })?;
    let file = File::from(fd);
    let meta = file.metadata().map_err(|e| refuse(e.to_string()))?;
    if !meta.is_file() {
        return Err(refuse("it is not a regular file".into()));
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        return Err(refuse(format!("it belongs to user {}", meta.uid())));
    }
    // The program may change its folder before the library opens the file.
    let path = whole(path).ok_or_else(|| refuse("its folder has no path".into()))?;
    Ok(StatsFile { path, file })
}

fn whole(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(fs::canonicalize(folder).ok()?.join(path.file_name().unwrap_or(OsStr::new("."))))
}

impl StatsFile {
    /// Says that a program was left to the kernel's own io_uring: nothing will be counted.
    ///
    /// # Errors
    /// 125: the line can not be written.
    pub(crate) fn note_native(mut self, exe: &Path) -> Result<(), Refusal> {
        let line = json!({
            "event": "native",
            "pid": std::process::id(),
            "exe": exe.to_string_lossy(),
        });
        writeln!(self.file, "{line}").map_err(|e| {
            Refusal::ours(format!("cannot write to {}", self.path.display()), e.to_string())
        })
    }

    /// The file itself, without what was in it.
    ///
    /// # Errors
    /// 125: it can not be emptied.
    pub(crate) fn into_empty(self) -> Result<File, Refusal> {
        let emptied = self.file.set_len(0);
        emptied.map(|()| self.file).map_err(|e| {
            Refusal::ours(format!("cannot empty {}", self.path.display()), e.to_string())
        })
    }

    /// The whole path of the file.
    pub(crate) fn into_path(self) -> PathBuf {
        self.path
    }
}
