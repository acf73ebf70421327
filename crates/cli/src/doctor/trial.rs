//! Things that can not be undone in a process: tried in a child, which ends with the answer.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use clap::ValueEnum;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::os::seccomp::{self, Privilege, Verdict};
use crate::os::{self, uring};

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "__doctor-trial";
/// The child did the forbidden call and lived.
const EXIT_NOT_TRAPPED: u8 = 200;
/// The error has no number.
const EXIT_NO_NUMBER: u8 = 201;

/// What to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trial {
    /// A trapping filter by capability, then a trapped call.
    FilterByCapability,
    /// The same after `no_new_privs`.
    FilterByNoNewPrivs,
    /// A descriptor table of its own, as the keeper thread has.
    PrivateTable,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It works.
    Works,
    /// The kernel or a filter refused with this errno.
    Refused(i32),
    /// The filter went in, and a call did not trap.
    NotTrapped,
}

/// Tries it in a child.
///
/// # Errors
/// No child is to be had.
pub(crate) fn run(trial: Trial) -> io::Result<Outcome> {
    let name = trial.to_possible_value().expect("no variant is skipped");
    let status = Command::new("/proc/self/exe")
        .args([SUBCOMMAND, name.get_name()])
        .env_remove("LD_PRELOAD")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(match (status.code(), status.signal()) {
        (Some(0), _) | (_, Some(libc::SIGSYS)) => Outcome::Works,
        (Some(code), _) if code == i32::from(EXIT_NOT_TRAPPED) => Outcome::NotTrapped,
        (Some(code), _) => Outcome::Refused(code),
        (None, _) => Outcome::Refused(libc::EINTR),
    })
}

/// The child's side. A trapped call ends it with SIGSYS, so success may not return.
pub(crate) fn trial(trial: Trial) -> anyhow::Result<u8> {
    let privilege = match trial {
        Trial::FilterByCapability => Privilege::Capability,
        Trial::FilterByNoNewPrivs => Privilege::NoNewPrivs,
        Trial::PrivateTable => return Ok(os::unshare_table().map_or_else(code, |()| 0)),
    };
    // The SIGSYS that ends this child is no crash to report.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if let Err(e) = seccomp::install(Verdict::Trap, privilege) {
        return Ok(code(e));
    }
    let _ = uring::native_opcodes();
    Ok(EXIT_NOT_TRAPPED)
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function of a result's error")]
fn code(e: io::Error) -> u8 {
    e.raw_os_error().and_then(|n| u8::try_from(n).ok()).unwrap_or(EXIT_NO_NUMBER)
}
