//! Starting the command, as oneself or as nobody.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Debian's `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// The binary under test.
pub(crate) const RINGER: &str = env!("CARGO_BIN_EXE_ringer");

/// `ringer ARGS`, with nothing of the caller's that would change it.
pub(crate) fn ringer<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    clean(Command::new(RINGER), args)
}

/// `ringer run --native never -- ARGS`.
pub(crate) fn under<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = ringer(["run", "--native", "never", "--"]);
    command.args(args);
    command
}

fn clean<S: AsRef<OsStr>>(mut c: Command, args: impl IntoIterator<Item = S>) -> Command {
    for name in [
        "LD_PRELOAD",
        "RINGER_STATS",
        "RINGER_NO_TRAP",
        "RINGER_NO_PATCH",
        "RINGER_SHUFFLE",
        "RINGER_HANDSHAKE",
        "NO_COLOR",
    ] {
        c.env_remove(name);
    }
    c.args(args).stdin(Stdio::null());
    c
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit status, or 128 + signal as a shell says.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs it to its end.
pub(crate) fn end(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the command starts");
    Ended {
        code: status.code().or(status.signal().map(|n| 128 + n)).unwrap_or(-1),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

impl Ended {
    /// Asserts status 0 and silence on the standard error; gives the output.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        self.out
    }

    /// Asserts a refusal with this status that says all of `words`, and nothing on the output.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("ringer: ") && self.out.is_empty(), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {self:?}");
        }
    }
}

/// Whether the tests run as root.
pub(crate) fn root(why: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root {why}");
    }
    root
}

/// An executable file with these contents.
pub(crate) fn executable(folder: &Path, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, contents).expect("a file");
    mode(&path, 0o755);
    path
}

/// Sets a file's mode.
pub(crate) fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// A user of no importance with a home, and ringer where that user can start it.
pub(crate) struct User {
    pub(crate) folder: TempDir,
    uid: u32,
}

impl User {
    /// The caller, or nobody if the caller is root. The home's mode is 0700.
    pub(crate) fn new() -> Self {
        let me = rustix::process::geteuid();
        let uid = if me.is_root() { NOBODY } else { me.as_raw() };
        let folder = tempfile::tempdir().expect("a folder");
        mode(folder.path(), 0o755);
        let user = Self { folder, uid };
        fs::copy(RINGER, user.path("ringer")).expect("a copy of ringer");
        mode(&user.path("ringer"), 0o755);
        user.folder_of("home", 0o700);
        user.folder_of("run", 0o700);
        user
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a folder that belongs to the user.
    pub(crate) fn folder_of(&self, name: &str, bits: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("mkdir");
        mode(&path, bits);
        self.own(&path);
        path
    }

    /// Gives a file to the user.
    pub(crate) fn own(&self, path: &Path) {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.uid)).expect("chown");
        }
    }

    /// `ringer run --native never -- ARGS` as the user.
    pub(crate) fn under(&self, args: &[&str]) -> Command {
        let mut command = self.command(&self.path("ringer"));
        command.args(["run", "--native", "never", "--"]).args(args);
        command
    }

    /// A program as the user.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut c = Command::new("setpriv");
            let id = self.uid.to_string();
            c.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--bounding-set=-all", "--"]);
            c.arg(program);
            c
        } else {
            Command::new(program)
        };
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// The library files in a folder.
    pub(crate) fn libraries(&self, folder: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path(folder).join("ringer")) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

/// A program's view of itself: whether ringer's library is mapped into it.
pub(crate) const MAPPED: [&str; 4] = ["grep", "-c", "libringer_preload", "/proc/self/maps"];
