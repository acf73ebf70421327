//! One child with a deadline: its own process group, ended as a whole.
//!
//! ```text
//!   spawn (own group) -> wait without reaping -> [deadline, or nobody waits any more: kill the
//!   group] -> kill what the child left in its group -> reap
//! ```
//! The group is signalled only while its leader is unreaped, so that its number is surely ours.
//! What it does not do: judge.

use super::verdict::Outcome;
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Runs `argv` in `cwd` with its output in `log`, for at most `limit`, and no longer than `alone`
/// does not return.
pub(crate) fn run(
    argv: &[String],
    cwd: &Path,
    log: &Path,
    limit: Duration,
    alone: Option<impl FnOnce() + Send + 'static>,
) -> Result<Outcome> {
    let (prog, args) = argv.split_first().context("no command")?;
    let out = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut command = Command::new(prog);
    command.args(args).current_dir(cwd).process_group(0);
    command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
    // Before the child: some tests count on the next process number being their own thread's.
    let watch = Watch::new(alone);
    let mut child = command.spawn().with_context(|| format!("start {prog}"))?;
    let in_time = watch.ends_within(Pid::from_child(&child), limit);
    let status = child.wait()?;
    Ok(if in_time { outcome(status) } else { Outcome::TimedOut })
}

/// The threads that wait for a child's end, and for the end of whoever wants to know.
struct Watch {
    child: Sender<Pid>,
    waiter: JoinHandle<()>,
    end: Receiver<bool>,
}

impl Watch {
    fn new(alone: Option<impl FnOnce() + Send + 'static>) -> Self {
        let (ended, end) = channel();
        if let Some(alone) = alone {
            let ended = ended.clone();
            // It ends with the process: what it waits for may never come.
            std::thread::spawn(move || {
                alone();
                let _ = ended.send(false);
            });
        }
        let (child, begun) = channel();
        let waiter = std::thread::spawn(move || {
            let Ok(pid) = begun.recv() else { return };
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), how));
            let _ = ended.send(true);
        });
        Self { child, waiter, end }
    }

    /// Waits for the leader's end, ends its group, and says whether the end came in time.
    fn ends_within(self, pid: Pid, limit: Duration) -> bool {
        let _ = self.child.send(pid);
        let in_time = self.end.recv_timeout(limit) == Ok(true);
        // Nobody may be left in it: an error says so.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        let _ = self.waiter.join();
        in_time
    }
}

fn outcome(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (_, Some(signal)) => Outcome::Died(signal),
        (Some(code), None) => Outcome::of_code(code),
        (None, None) => Outcome::Fail(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringer_testkit::harness::Scratch;

    fn sh(script: &str, limit: Duration) -> (Outcome, String) {
        let scratch = Scratch::new();
        let argv = ["sh", "-c", script].map(str::to_owned);
        let cwd = scratch.path(".");
        let outcome = run(&argv, &cwd, &scratch.path("log"), limit, None::<fn()>).unwrap();
        (outcome, std::fs::read_to_string(scratch.path("log")).unwrap())
    }

    const AMPLE: Duration = Duration::from_secs(60);

    #[test]
    fn exit_codes_and_signals_are_told_apart() {
        assert_eq!(sh("echo out; echo err >&2", AMPLE), (Outcome::Pass, "out\nerr\n".into()));
        assert_eq!(sh("exit 77", AMPLE).0, Outcome::Skip);
        assert_eq!(sh("exit 3", AMPLE).0, Outcome::Fail(3));
        assert_eq!(sh("kill -SEGV $$", AMPLE).0, Outcome::Died(11));
    }

    #[test]
    fn a_child_that_does_not_end_is_a_timeout_and_takes_its_group_along() {
        let (outcome, log) = sh("sleep 1000 & echo $!; wait", Duration::from_millis(300));
        assert_eq!(outcome, Outcome::TimedOut);
        ended(log.trim());
    }

    #[test]
    fn what_a_child_leaves_behind_in_its_group_is_ended() {
        let (outcome, log) = sh("sleep 1000 >/dev/null 2>&1 & echo $!", AMPLE);
        assert_eq!(outcome, Outcome::Pass);
        ended(log.trim());
    }

    /// Waits until the process is gone or a zombie; one that lives on hangs the test and is seen.
    fn ended(pid: &str) {
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        loop {
            let stat = state();
            if stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ") {
                return;
            }
            std::thread::yield_now();
        }
    }
}
