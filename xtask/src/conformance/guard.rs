//! A process between the runner and a test, so that no test outlives a runner that was killed.
//!
//! ```text
//!   runner --pipe, never written to--> guard (own group) --> test (its group)
//!          <--outcome, as a word------
//!   the runner dies, however: the pipe ends -> the guard ends the test's whole group
//! ```
//! PR_SET_PDEATHSIG would reach the test alone and not what it forked. What it does not do: outlive
//! a SIGKILL of its own.

use super::child;
use super::verdict::Outcome;
use anyhow::{Context as _, Result};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The guard's command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the command's words go.
    #[arg(long)]
    log: PathBuf,
    /// How long it may take \[ms\].
    #[arg(long)]
    millis: u64,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The guard's own part: runs the command here, and ends it when standard input ends.
pub(crate) fn main(args: &Args) -> Result<()> {
    let limit = Duration::from_millis(args.millis);
    let alone = || {
        let mut sink = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut sink);
    };
    let outcome = child::run(&args.command, Path::new("."), &args.log, limit, Some(alone))?;
    // Nobody may be there any more to hear it.
    let _ = writeln!(std::io::stdout(), "{outcome}");
    Ok(())
}

/// Runs `argv` in `cwd` behind a guard; `exe` is this program.
pub(crate) fn run(
    exe: &Path,
    argv: &[String],
    (cwd, log): (&Path, &Path),
    limit: Duration,
) -> Result<Outcome> {
    let mut command = Command::new(exe);
    command.arg("conformance-guard").arg("--log").arg(log);
    command.arg("--millis").arg(limit.as_millis().to_string()).arg("--").args(argv);
    command.current_dir(cwd).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut guard = command.spawn().with_context(|| format!("start {}", exe.display()))?;
    // Held until the guard has ended; nothing is written.
    let _alive = guard.stdin.take();
    let said = guard.wait_with_output()?;
    let word = String::from_utf8_lossy(&said.stdout);
    Outcome::parse(word.trim()).with_context(|| format!("the guard said {word:?}: {}", said.status))
}
