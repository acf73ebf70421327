//! Finds a program as `execvp` does and says whether ringer's library can be loaded into it.
//!
//! ```text
//!   name -- PATH --> file -- "#!" --> its interpreter (up to 4 times, as the kernel)
//!                      |   neither --> /bin/sh        (as execvp)
//!                      +-- ELF ------> loader, or why not
//! ```
//!
//! What it does not do: run anything; `probe` proves what this module concludes from reading.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::elf::{self, Elf, Text};
use crate::refusal::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Refusal};

/// `BINPRM_BUF_SIZE`: how much of a script's first line the kernel reads \[bytes\].
const SHEBANG_MAX: usize = 256;
/// How many interpreters of interpreters the kernel follows.
const SCRIPT_DEPTH_MAX: usize = 5;
/// What execvp searches when there is no PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A program that can be run, and the file that the kernel will really load.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What to exec.
    pub(crate) path: PathBuf,
    /// The ELF file: the program itself, or the interpreter of a script.
    pub(crate) image: PathBuf,
    /// The image's loader.
    pub(crate) loader: PathBuf,
    /// The image's executable segments.
    pub(crate) texts: Vec<Text>,
}

/// Finds `name` and follows it to its image.
///
/// # Errors
/// 127: not found. 126: not executable, or for another machine. 125: ringer can not be loaded
/// into it (static, or it gains privileges).
pub(crate) fn find(name: &OsStr) -> Result<Program, Refusal> {
    let path = locate(name)?;
    let mut image = path.clone();
    for _ in 0..SCRIPT_DEPTH_MAX {
        match classify(&image)? {
            Kind::Image { loader, texts } => return Ok(Program { path, image, loader, texts }),
            Kind::Script(interpreter) => {
                check_interpreter(&image, &interpreter)?;
                image = interpreter;
            }
        }
    }
    Err(cannot_run(&path, "its interpreter is a script of a script, too many times")
        .code(EXIT_NOT_EXECUTABLE))
}

enum Kind {
    Image { loader: PathBuf, texts: Vec<Text> },
    Script(PathBuf),
}

fn classify(path: &Path) -> Result<Kind, Refusal> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) => {
            let why = format!("ringer must read it to see how it is loaded: {e}");
            return Err(
                cannot_run(path, why).fix("give yourself read permission, or run it as its owner")
            );
        }
    };
    match elf::read(&file) {
        Elf::Dynamic { interpreter, texts } => {
            check_privileges(path, &file)?;
            if !interpreter.exists() {
                let why = format!("its loader {} does not exist", interpreter.display());
                return Err(cannot_run(path, why)
                    .code(EXIT_NOT_FOUND)
                    .fix("install the C library that it was built for"));
            }
            Ok(Kind::Image { loader: interpreter, texts })
        }
        Elf::Static => Err(cannot_run(
            path,
            "it is a static program: it has no dynamic loader that could load ringer's library",
        )
        .fix(
            "use a dynamically linked build of it (for Go: CGO_ENABLED=1 and -linkmode=external)",
        )),
        Elf::Foreign(machine) => Err(cannot_run(
            path,
            format!("it is built for another architecture ({machine}); this ringer is for x86-64"),
        )
        .code(EXIT_NOT_EXECUTABLE)
        .fix("use the x86-64, 64-bit build of it")),
        Elf::Broken(why) => Err(cannot_run(path, why).code(EXIT_NOT_EXECUTABLE)),
        Elf::Other => Ok(Kind::Script(interpreter(&file).unwrap_or_else(|| "/bin/sh".into()))),
    }
}

/// The interpreter of a `#!` line, as the kernel cuts it out.
fn interpreter(file: &File) -> Option<PathBuf> {
    let mut buf = [0; SHEBANG_MAX];
    let n = file.read_at(&mut buf, 0).ok()?;
    let line = buf[..n].strip_prefix(b"#!")?;
    let line = line.split(|&b| b == b'\n' || b == 0).next()?;
    let name = line.split(|&b| b == b' ' || b == b'\t').find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsString::from_vec(name.to_vec())))
}

fn check_interpreter(script: &Path, interpreter: &Path) -> Result<(), Refusal> {
    let named = format!("its interpreter {}", interpreter.display());
    match fs::metadata(interpreter) {
        Err(e) => Err(cannot_run(script, format!("{named}: {e}"))
            .code(EXIT_NOT_FOUND)
            .fix("correct the first line of the script, or install the interpreter")),
        Ok(m) if !executable(interpreter, &m) => {
            Err(cannot_run(script, format!("{named} is not executable")).code(EXIT_NOT_EXECUTABLE))
        }
        Ok(_) => Ok(()),
    }
}

/// Refuses what the loader would start with `AT_SECURE`: it ignores LD_PRELOAD then.
fn check_privileges(path: &Path, file: &File) -> Result<(), Refusal> {
    if let Some(gain) = privileges_gained(path, file) {
        return Err(cannot_run(
            path,
            format!("it {gain}, so its loader ignores LD_PRELOAD and it would run without ringer"),
        )
        .fix("run a copy of it without that, or run it as the user it would become"));
    }
    Ok(())
}

/// What an exec of the file would give the caller, in words, if it gives anything.
pub(crate) fn privileges_gained(path: &Path, file: &File) -> Option<&'static str> {
    let Ok(meta) = file.metadata() else { return None };
    let nosuid = rustix::fs::fstatvfs(file)
        .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID));
    if nosuid {
        return None;
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let mode = meta.mode();
    if mode & libc::S_ISUID != 0 && meta.uid() != uid.as_raw() && !no_new_privs() {
        return Some("is a setuid program");
    }
    let setgid = libc::S_ISGID | libc::S_IXGRP;
    if mode & setgid == setgid && meta.gid() != gid.as_raw() && !no_new_privs() {
        return Some("is a setgid program");
    }
    // no_new_privs takes the capabilities away and leaves AT_SECURE on; for root there is neither.
    let mut value = [0_u8; 64];
    let has_caps = rustix::fs::getxattr(path, "security.capability", &mut value[..]).is_ok();
    (has_caps && !uid.is_root()).then_some("carries file capabilities")
}

fn no_new_privs() -> bool {
    crate::host::status_field("NoNewPrivs").as_deref() == Some("1")
}

/// What execvp would try to execute, without a look into it.
///
/// # Errors
/// 127: not found. 126: not executable.
pub(crate) fn locate(name: &OsStr) -> Result<PathBuf, Refusal> {
    if name.as_bytes().contains(&b'/') {
        return checked(Path::new(name));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut refused = None;
    for folder in env::split_paths(&path).filter(|_| !name.is_empty()) {
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        match checked(&folder.join(name)) {
            Ok(found) => return Ok(found),
            Err(e) if e.code == EXIT_NOT_EXECUTABLE => refused = refused.or(Some(e)),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        cannot_run(Path::new(name), "no such program in PATH").code(EXIT_NOT_FOUND)
    }))
}

fn checked(path: &Path) -> Result<PathBuf, Refusal> {
    match fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(cannot_run(path, e.to_string()).code(EXIT_NOT_EXECUTABLE))
        }
        Err(e) => Err(cannot_run(path, e.to_string()).code(EXIT_NOT_FOUND)),
        Ok(m) if !executable(path, &m) => Err(cannot_run(path, "it is not an executable file")
            .code(EXIT_NOT_EXECUTABLE)
            .fix(format!("chmod +x {}, if it is a program", path.display()))),
        Ok(_) => Ok(path.to_owned()),
    }
}

fn executable(path: &Path, meta: &Metadata) -> bool {
    // access(2) says yes to root for any x bit, as exec does.
    meta.is_file()
        && meta.permissions().mode() & 0o111 != 0
        && access(path, Access::EXEC_OK).is_ok()
}

fn cannot_run(path: &Path, why: impl Into<String>) -> Refusal {
    Refusal::ours(format!("cannot run {}", path.display()), why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(text: &[u8]) -> Option<PathBuf> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        interpreter(&file)
    }

    #[test]
    fn the_first_word_of_a_shebang_is_the_interpreter() {
        assert_eq!(line(b"#!/bin/sh\nexit"), Some("/bin/sh".into()));
        assert_eq!(line(b"#! \t/usr/bin/env  -S node x\n"), Some("/usr/bin/env".into()));
        assert_eq!(line(b"#!/bin/sh"), Some("/bin/sh".into()));
        assert_eq!(line(b"#!\n/bin/sh"), None);
        assert_eq!(line(b"echo"), None);
        assert_eq!(line(b""), None);
    }
}
