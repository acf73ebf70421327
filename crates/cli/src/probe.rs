//! Proves that the library will be loaded before the program is started.
//!
//! Two short children, at the same time:
//!
//! ```text
//!   LOADER --list IMAGE      with the program's own LD_PRELOAD: the loader that will load the
//!                            program says which objects it maps; ours must be among them
//!   ringer __probe           with RINGER_HANDSHAKE=1 and a pipe as descriptor 1: the library's
//!                            constructor writes there
//! ```
//!
//! The loader's list mode maps the program and never runs it. What neither child can show is a
//! gain of privileges at exec, which `program` refuses from reading, and a security module that
//! treats this one program differently (LIMITATIONS.md).

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::program::Program;
use crate::refusal::Refusal;

/// The hidden subcommand of the second child.
pub(crate) const SUBCOMMAND: &str = "__probe";
/// The variable that names the descriptor to write to.
pub(crate) const HANDSHAKE: &str = "RINGER_HANDSHAKE";
/// Variables that would make a child do more than be looked at.
const NOT_INHERITED: [&str; 3] = ["RINGER_STATS", "LD_TRACE_LOADED_OBJECTS", "LD_DEBUG"];

/// Checks that `library` gets loaded into `program` when LD_PRELOAD is `preload`.
///
/// # Errors
/// 125, with the loader's own words.
pub(crate) fn prove(program: &Program, library: &Path, preload: &OsStr) -> Result<(), Refusal> {
    let listing = start_listing(program, preload);
    let shake = handshake(preload);
    check_listing(program, library, listing.and_then(Child::wait_with_output))?;
    match shake {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::ours(
            format!("{} does not start", library.display()),
            "a program that loads it never hears from it",
        )
        .fix("see `ringer doctor`")),
        Err(e) => Err(Refusal::ours("cannot try ringer's library", e.to_string())),
    }
}

/// Whether a program that loads the library hears from it.
///
/// # Errors
/// No child or no pipe is to be had.
pub(crate) fn handshake(preload: &OsStr) -> io::Result<bool> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new("/proc/self/exe");
    quiet(&mut command, preload)
        .arg(SUBCOMMAND)
        .env(HANDSHAKE, "1")
        // Whether a filter may be set is doctor's question; the scan for it costs milliseconds.
        .env("RINGER_NO_TRAP", "1")
        .stdout(writer)
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    // The command holds the pipe's other end.
    drop(command);
    let mut heard = Vec::new();
    let read = reader.read_to_end(&mut heard);
    child.wait()?;
    read.map(|n| n > 0)
}

fn start_listing(program: &Program, preload: &OsStr) -> io::Result<Child> {
    let mut command = Command::new(&program.loader);
    quiet(&mut command, preload)
        .arg("--list")
        .arg(absolute(&program.image))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn()
}

/// A loader takes a bare name for a library to search.
fn absolute(path: &Path) -> OsString {
    std::path::absolute(path).map_or_else(|_| path.into(), Into::into)
}

fn quiet<'a>(command: &'a mut Command, preload: &OsStr) -> &'a mut Command {
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command.env("LD_PRELOAD", preload).stdin(Stdio::null())
}

fn check_listing(
    program: &Program,
    library: &Path,
    out: io::Result<Output>,
) -> Result<(), Refusal> {
    let what = format!("cannot run {} under ringer", program.path.display());
    let out = out.map_err(|e| {
        let loader = program.loader.display();
        Refusal::ours(&what, format!("its loader {loader} does not start: {e}"))
    })?;
    let wanted = library.as_os_str().as_bytes();
    if out.stdout.split(|&b| b == b'\n').any(|line| contains(line, wanted)) {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&out.stderr);
    let words = words.lines().find(|l| !l.trim().is_empty()).unwrap_or("it does not say why");
    Err(Refusal::ours(
        what,
        format!("its loader {} does not load ringer's library: {words}", program.loader.display()),
    )
    .fix("see `ringer doctor PROG`"))
}

/// The objects the loader would map for a program, by path.
pub(crate) fn objects(program: &Program) -> Vec<std::path::PathBuf> {
    let out = start_listing(program, OsStr::new("")).and_then(Child::wait_with_output);
    let Ok(out) = out else { return Vec::new() };
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // "\tlibc.so.6 => /lib/libc.so.6 (0x...)", or "\t/lib64/ld-linux-x86-64.so.2 (0x...)".
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let path = line.split_once("=> ").map_or(line, |(_, path)| path);
            let path = path.rsplit_once(" (0x").map_or(path, |(path, _)| path);
            path.starts_with('/').then(|| path.into())
        })
        .collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
