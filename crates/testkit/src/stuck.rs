//! Where a program that takes too long is: its processes and their threads, as `/proc` shows them.
//!
//! ```text
//!   run ---- ends in time ------------------------> nothing is looked at
//!    '------ SECONDS are over: one look at all below it, told with the failure
//! ```
//!
//! It looks from outside, so it asks nothing of a process that may hang in any place. What it does not
//! do: end anything.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// When a run is looked at \[s\]: shortly before a program of the kit ends itself.
const SECONDS: u64 = 55;

/// A watch over one run.
#[derive(Debug)]
pub(crate) struct Watch {
    over: Sender<()>,
    looker: JoinHandle<String>,
}

impl Watch {
    /// Watches the process `pid` and all below it.
    pub(crate) fn over(pid: u32) -> Self {
        let (over, wait) = channel();
        let looker =
            std::thread::spawn(move || match wait.recv_timeout(Duration::from_secs(SECONDS)) {
                Err(RecvTimeoutError::Timeout) => look(pid),
                _ => String::new(),
            });
        Self { over, looker }
    }

    /// The run is over; what was seen of it, if it took that long.
    pub(crate) fn seen(self) -> String {
        // The looker may have ended before: it has looked.
        let _ = self.over.send(());
        self.looker.join().unwrap_or_default()
    }
}

/// One line a thread, of `pid` and all below it.
fn look(pid: u32) -> String {
    let mut seen = format!("after {SECONDS} s:\n");
    let mut left = vec![pid];
    while let Some(pid) = left.pop() {
        for task in tasks(pid) {
            let said = |what: &str| {
                fs::read_to_string(task.join(what)).unwrap_or_default().trim().to_owned()
            };
            let (name, place, call) = (said("comm"), said("wchan"), said("syscall"));
            // A String takes whatever is written to it.
            let _ = writeln!(seen, "  {} {name}: in {place}, call {call}", task.display());
            left.extend(said("children").split(' ').filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    seen
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    tasks.map(|all| all.flatten().map(|t| t.path()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_names_the_call_each_thread_waits_in() {
        let (go, wait) = channel::<()>();
        let sleeper = std::thread::Builder::new()
            .name("sleeper".into())
            .spawn(move || wait.recv())
            .expect("a thread");
        let seen = loop {
            let seen = look(std::process::id());
            // 202: futex.
            if seen.lines().any(|l| l.contains(" sleeper: in futex") && l.contains("call 202 ")) {
                break seen;
            }
            std::thread::yield_now();
        };
        assert!(seen.starts_with("after 55 s:\n"), "{seen}");
        drop(go);
        assert!(sleeper.join().expect("it ends").is_err());
    }

    #[test]
    fn a_run_that_ends_in_time_is_not_looked_at() {
        assert_eq!(Watch::over(std::process::id()).seen(), "");
    }
}
