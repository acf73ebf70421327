//! `ringer run`: becomes the program, with ringer's library in it.
//!
//! ```text
//!   find program -> kernel's io_uring will do? --yes, --native auto--> exec
//!                        | no
//!                   install library -> prove that it loads -> exec with LD_PRELOAD
//! ```
//!
//! The program gets this process: its number, descriptors, signals and exit status are its own.
//! What this does not do: stay around, or print anything when all is well.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ringer_engine::trace::channel;

use crate::cli::{NativeChoice, RunArgs};
use crate::kernel::Native;
use crate::library;
use crate::os;
use crate::probe;
use crate::program::{self, Program};
use crate::refusal::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Refusal};
use crate::stats;

const LD_PRELOAD: &str = "LD_PRELOAD";

/// Runs it. Returns only to say why not.
pub(crate) fn run(args: &RunArgs) -> Refusal {
    match prepare_and_exec(args) {
        Ok(never) => match never {},
        Err(refusal) => refusal,
    }
}

fn prepare_and_exec(args: &RunArgs) -> Result<std::convert::Infallible, Refusal> {
    os::hold_standard_descriptors();
    refuse_elevated()?;
    let stats = args.stats.as_deref().map(stats::create).transpose()?;
    if args.native == NativeChoice::Auto && args.shuffle.is_none() && Native::ask().will_do() {
        let path = program::locate(&args.program)?;
        if let Some(file) = stats {
            file.note_native(&path)?;
        }
        return Err(exec(&path, args, env::vars_os()));
    }
    let program = program::find(&args.program)?;
    let library = library::install()?;
    let preload = preload(&library, env::var_os(LD_PRELOAD));
    os::with_children(|| probe::prove(&program, &library, &preload))?;
    let changes = Changes { preload, stats: stats.map(stats::StatsFile::into_path), args };
    Err(exec_with(&program, &changes))
}

/// With more rights than its caller ringer starts nothing and writes no file.
///
/// # Errors
/// 125: it has more.
pub(crate) fn refuse_elevated() -> Result<(), Refusal> {
    if !os::elevated() {
        return Ok(());
    }
    let why = "ringer was started with more rights than its caller has (setuid or capabilities)";
    Err(Refusal::ours("cannot run", why)
        .fix("remove the setuid bit and the file capabilities from ringer"))
}

struct Changes<'a> {
    preload: OsString,
    stats: Option<PathBuf>,
    args: &'a RunArgs,
}

fn exec_with(program: &Program, changes: &Changes<'_>) -> Refusal {
    let mut env: Vec<(OsString, OsString)> = env::vars_os()
        .filter(|(name, _)| name != LD_PRELOAD && name != probe::HANDSHAKE)
        .filter(|(name, _)| changes.stats.is_none() || name != stats::VARIABLE)
        .collect();
    env.push((LD_PRELOAD.into(), changes.preload.clone()));
    if let Some(path) = &changes.stats {
        env.push((stats::VARIABLE.into(), path.into()));
    }
    if changes.args.no_trap {
        env.push(("RINGER_NO_TRAP".into(), "1".into()));
    }
    if changes.args.no_patch {
        env.push(("RINGER_NO_PATCH".into(), "1".into()));
    }
    if changes.args.no_attach {
        env.push((channel::FORBIDDEN.into(), "1".into()));
    }
    if let Some(seed) = changes.args.shuffle {
        env.push(("RINGER_SHUFFLE".into(), seed.to_string().into()));
    }
    exec(&program.path, changes.args, env.into_iter())
}

/// Ours first, so that it sees the calls before any other preloaded library; once only.
fn preload(library: &Path, old: Option<OsString>) -> OsString {
    let mut all = library.as_os_str().as_bytes().to_vec();
    let old = old.unwrap_or_default();
    for name in old.as_bytes().split(|b| b" :\t\n".contains(b)) {
        if !name.is_empty() && name != library.as_os_str().as_bytes() {
            all.push(b':');
            all.extend_from_slice(name);
        }
    }
    OsString::from_vec(all)
}

fn exec(path: &Path, args: &RunArgs, env: impl Iterator<Item = (OsString, OsString)>) -> Refusal {
    let envp: Vec<CString> =
        env.filter_map(|(name, value)| c_string(&joined(name, &value))).collect();
    let mut argv = vec![args.program.clone()];
    argv.extend(args.args.iter().cloned());
    let error = exec_as(path, &argv, &envp);
    if error.raw_os_error() != Some(libc::ENOEXEC) {
        return failed(path, &error);
    }
    // As execvp: what the kernel does not know is a shell script.
    argv.splice(0..1, [OsString::from("/bin/sh"), path.into()]);
    failed(path, &exec_as(Path::new("/bin/sh"), &argv, &envp))
}

fn exec_as(path: &Path, argv: &[OsString], envp: &[CString]) -> io::Error {
    let argv: Vec<CString> = argv.iter().filter_map(|arg| c_string(arg)).collect();
    match c_string(path.as_os_str()) {
        Some(path) => os::execve(&path, &argv, envp),
        None => io::ErrorKind::InvalidInput.into(),
    }
}

fn failed(path: &Path, error: &io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::NotFound => EXIT_NOT_FOUND,
        _ => EXIT_NOT_EXECUTABLE,
    };
    Refusal::ours(format!("cannot run {}", path.display()), error.to_string()).code(code)
}

fn joined(mut name: OsString, value: &OsStr) -> OsString {
    name.push("=");
    name.push(value);
    name
}

/// Arguments and variables came from the kernel, so they hold no NUL.
fn c_string(text: &OsStr) -> Option<CString> {
    CString::new(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_library_comes_first_and_once() {
        let ours = Path::new("/run/ringer/r.so");
        let with = |old: Option<&str>| preload(ours, old.map(OsString::from));
        assert_eq!(with(None), "/run/ringer/r.so");
        assert_eq!(with(Some("")), "/run/ringer/r.so");
        assert_eq!(with(Some("/a.so b.so:/run/ringer/r.so")), "/run/ringer/r.so:/a.so:b.so");
    }
}
