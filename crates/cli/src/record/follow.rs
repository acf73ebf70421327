//! Runs a program and hands on what it tells, until it ends or is to end.
//!
//! ```text
//!  ringer run --native never --no-attach -- PROG      a child of ours
//!     FOLDER/PID  --records--> whoever listens        nothing is lost: who finds no room waits
//! ```
//! A record and a replay are of one process: a second one with rings is an end, too. What this does not do:
//! know what records mean.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use ringer_engine::trace::buffer::Record;

use crate::os::{self, signals};
use crate::refusal::Refusal;
use crate::trace::{self, source::Source};

/// Slots of the process's buffer: 16 MiB.
const SLOTS: u64 = 1 << 18;
/// Between two looks when there is something to see, and at most.
const SOON: Duration = Duration::from_micros(200);
const LATER: Duration = Duration::from_millis(10);
/// How long a program that was asked to end may take.
const GRACE: Duration = Duration::from_secs(2);

/// Whoever wants to know what a program does.
pub(super) trait Listener {
    /// A record, at its position. True: the program is to end.
    fn take(&mut self, position: u64, record: Record) -> bool;
    /// A second process has rings.
    fn another(&mut self);
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// The exit status, or 128 and the signal.
    pub(super) status: u8,
    /// A process had rings.
    pub(super) had_rings: bool,
    /// Records that were lost or cut off.
    pub(super) missing: u64,
}

/// Runs the program, with these variables.
///
/// # Errors
/// 125: no folder, no program.
pub(super) fn follow(
    (program, args): (&OsStr, &[OsString]),
    variables: &[(&str, &OsStr)],
    to: &mut impl Listener,
) -> anyhow::Result<Ended> {
    let folder = trace::folder()?;
    let ringer = env::current_exe().context("finding this program")?;
    os::with_children(|| {
        let mut command = Command::new(ringer);
        command.args(["run", "--native", "never", "--no-attach", "--"]).arg(program).args(args);
        command.env("RINGER_TRACE", folder.path()).env("RINGER_TRACE_SLOTS", SLOTS.to_string());
        command.envs(variables.iter().copied());
        let mut child = command
            .spawn()
            .map_err(|e| Refusal::ours("cannot start the program", e.to_string()))?;
        let held = signals::Held::hold();
        let mut following = Following { source: None, path: None, over: None };
        let status = following.run(&mut child, &held, folder.path(), to)?;
        let missing = following.source.as_ref().map_or(0, |source| {
            let (taken, told, more) = source.lost();
            [told, more, source.torn].iter().fold(taken, |sum, n| sum.saturating_add(*n))
        });
        let status = trace::code_of(status);
        Ok(Ended { status, had_rings: following.source.is_some(), missing })
    })
}

struct Following {
    source: Option<Source>,
    path: Option<PathBuf>,
    /// Since when the program is to end.
    over: Option<Instant>,
}

impl Following {
    fn run(
        &mut self,
        child: &mut Child,
        held: &signals::Held,
        folder: &Path,
        to: &mut impl Listener,
    ) -> anyhow::Result<ExitStatus> {
        let mut pause = SOON;
        loop {
            let ended = child.try_wait().context("waiting for the program")?;
            self.look(folder, to);
            let found = self.drain(ended.is_some(), to);
            if let Some(status) = ended {
                while self.drain(true, to) {}
                return Ok(status);
            }
            match self.over {
                Some(since) if since.elapsed() > GRACE => {
                    child.kill().context("ending the program")?;
                }
                Some(_) => signals::forward(child.id(), libc::SIGTERM),
                None => {}
            }
            pause = if found { SOON } else { (pause * 2).min(LATER) };
            if let Some(signal) = held.next(pause) {
                signals::forward(child.id(), signal);
            }
        }
    }

    fn look(&mut self, folder: &Path, to: &mut impl Listener) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if self.path.as_ref() == Some(&path) {
                continue;
            }
            if self.path.is_some() {
                if self.over.is_none() {
                    to.another();
                }
                self.over.get_or_insert_with(Instant::now);
            } else if let Some(source) = Source::open(&path) {
                (self.path, self.source) = (Some(path), Some(source));
            }
        }
    }

    /// Whether there was something.
    fn drain(&mut self, last: bool, to: &mut impl Listener) -> bool {
        let Some(source) = &mut self.source else { return false };
        let over = &mut self.over;
        let mut take = |position, record| {
            // What comes after that is of no interest, but its writer must not wait.
            if over.is_none() && to.take(position, record) {
                *over = Some(Instant::now());
            }
        };
        // A file that was cut tells no more; what it told stands.
        source.drain(last, &mut take).unwrap_or(false)
    }
}
