//! The file that `--stats` names: made and checked here, written by the library.
//!
//! What this does not do: count. The library appends one line of JSON when a process sets up its
//! first ring and one when it ends.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde_json::{Value, json};

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

    /// The whole path of the file.
    pub(crate) fn into_path(self) -> PathBuf {
        self.path
    }
}

/// What the lines of a file add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests by opcode.
    pub(crate) requests: BTreeMap<String, u64>,
    /// io_uring calls that reached the kernel.
    pub(crate) native: u64,
}

impl Counts {
    /// All requests.
    pub(crate) fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> =
            self.requests.iter().map(|(name, count)| format!("{count} {name}")).collect();
        write!(f, "{}; {} calls reached the kernel's", list.join(", "), self.native)
    }
}

/// Adds up the exit lines of a file; a missing file is nothing counted.
///
/// # Errors
/// The file can not be read.
pub(crate) fn read(path: &Path) -> anyhow::Result<Counts> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Counts::default()),
        Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
    };
    let mut counts = Counts::default();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line)
            .with_context(|| format!("{} has a line that is no JSON", path.display()))?;
        counts.native += value["native_calls"].as_u64().unwrap_or(0);
        for (name, row) in value["requests"].as_object().into_iter().flatten() {
            *counts.requests.entry(name.clone()).or_default() += row.as_u64().unwrap_or(0);
        }
    }
    Ok(counts)
}
