//! `cargo xtask soak`: nothing leaks, whatever comes and goes and for how long.
//!
//! ```text
//!  native   the soak programs on the kernel's own io_uring, short: they are right
//!  rings    10,000 rings made and dropped, by libc's calls and by inline ones
//!  forks    300 children of a process with rings, killed in flight; the parent's account
//!  kills    1,000 programs under ringer, killed in flight, looked at from outside
//!  mixed    five threads of mixed, checked work for minutes (--hour: for an hour)
//! ```
//! Everything but `native` runs under ringer with the kernel's io_uring refused. What *back* means is
//! in `testkit/src/programs/soak/account.rs`; from outside it means: no process, no thread, no open
//! pipe, no lock and no file of a killed program is left. What it does not do: judge speed.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Minutes of mixed work
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// An hour of mixed work, and ten times the rings and kills
    #[arg(long)]
    hour: bool,
    /// Only parts whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// The folder of ringer, prog and blocked (default: built here, in release)
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// The kit's binaries.
struct Kit {
    folder: PathBuf,
    /// `TMPDIR` of everything that runs: empty again at the end.
    scratch: PathBuf,
}

/// What became of a part.
enum End {
    Passed,
    Skipped(&'static str),
}

/// A part: its name and how it runs.
type Part<'a> = (&'static str, Box<dyn Fn(&Kit) -> Result<End> + 'a>);

/// Programs under ringer at once, killed one after the other.
const TOGETHER: usize = 8;

/// Runs all parts and counts.
///
/// # Errors
/// A part failed, or the binaries do not build.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let scratch = std::env::temp_dir().join(format!("ringer-soak-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let done = count(plan, &scratch);
    let _ = std::fs::remove_dir_all(&scratch);
    match done? {
        0 => Ok(()),
        failed => bail!("{failed} soaks failed"),
    }
}

fn count(plan: &Plan, scratch: &Path) -> Result<usize> {
    let folder = plan.binaries.clone().map_or_else(build, Ok)?;
    let kit = Kit { folder, scratch: scratch.to_owned() };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, part) in parts(plan).into_iter().filter(|p| p.0.contains(&plan.only)) {
        let start = Instant::now();
        println!("-- {name}");
        match part(&kit).and_then(|end| kit.is_clean().map(|()| end)) {
            Ok(End::Passed) => {
                passed += 1;
                println!("ok      {name} ({} s)", start.elapsed().as_secs());
            }
            Ok(End::Skipped(why)) => {
                skipped += 1;
                println!("skipped {name}: {why}");
            }
            Err(e) => {
                failed += 1;
                println!("FAILED  {name}: {e:#}\n        cargo xtask soak --only {name}");
            }
        }
    }
    println!("soak: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed)
}

fn parts(plan: &Plan) -> Vec<Part<'static>> {
    let (times, seconds) = if plan.hour { (10, 3600) } else { (1, 60 * plan.minutes) };
    let rings = move |n: u64| (times * n).to_string();
    let soak = |binary: &'static str, name: &'static str, arg: String, limit: u64| {
        Box::new(move |kit: &Kit| kit.soak(binary, &[name, &arg], limit))
            as Box<dyn Fn(&Kit) -> Result<End>>
    };
    vec![
        ("native", Box::new(native)),
        ("rings", soak("prog", "soak-rings", rings(10_000), 300 * times)),
        ("rings-inline", soak("prog-inline", "soak-rings", rings(5_000), 150 * times)),
        ("forks", soak("prog", "soak-forks", rings(300), 300 * times)),
        ("kills", Box::new(move |kit: &Kit| kills(kit, 1_000 * times as usize))),
        ("mixed", soak("prog", "soak-mixed", seconds.to_string(), seconds + 120)),
    ]
}

fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut c = Command::new(cargo);
    c.args(["build", "--quiet", "--release", "--bins", "-p", "ringer-cli", "-p", "ringer-testkit"]);
    if !c.status().context("cargo")?.success() {
        bail!("the binaries do not build");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(std::fs::canonicalize(target.join("release"))?)
}

impl Kit {
    fn command(&self, words: &[&str]) -> Command {
        let [binary, args @ ..] = words else { unreachable!("a program") };
        let mut c = Command::new(self.folder.join(binary));
        c.args(args).env("TMPDIR", &self.scratch).stdin(Stdio::null());
        c
    }

    /// A program of the kit under ringer where the kernel's io_uring is refused.
    fn ringer(&self, binary: &str, args: &[&str]) -> Command {
        let [ringer, binary] = ["ringer", binary].map(|b| self.folder.join(b));
        let mut c = self.command(&["blocked", "--profile", "eperm", "--"]);
        c.arg(ringer).args(["run", "--native", "never", "--"]).arg(binary).args(args);
        c
    }

    fn soak(&self, binary: &str, args: &[&str], limit: u64) -> Result<End> {
        finish(self.ringer(binary, args), limit)
    }

    /// Nothing was left in the folder for temporary files.
    fn is_clean(&self) -> Result<()> {
        let left: Vec<_> = std::fs::read_dir(&self.scratch)?.flatten().map(|e| e.path()).collect();
        if left.is_empty() { Ok(()) } else { bail!("files were left behind: {left:?}") }
    }
}

/// Runs a program to its end, in so many seconds.
fn finish(mut command: Command, limit: u64) -> Result<End> {
    let start = Instant::now();
    let mut child = command.spawn().context("starting it")?;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(End::Passed),
            Some(status) => bail!("{status}"),
            None if start.elapsed() > Duration::from_secs(limit) => {
                child.kill()?;
                child.wait()?;
                bail!("no end after {limit} s");
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The programs themselves, where their claims are the kernel's own.
fn native(kit: &Kit) -> Result<End> {
    let probe = kit.command(&["prog", "soak-rings", "1"]).output()?;
    let text = String::from_utf8_lossy(&probe.stderr);
    if text.contains("setup: ENOSYS") || text.contains("setup: EPERM") {
        return Ok(End::Skipped("this host has no io_uring of its own"));
    }
    for args in [["soak-rings", "900"], ["soak-forks", "60"], ["soak-mixed", "5"]] {
        let mut words = vec!["prog"];
        words.extend(args);
        finish(kit.command(&words), 120).with_context(|| args.join(" "))?;
    }
    Ok(End::Passed)
}

/// A program in flight.
struct Victim {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    threads: BTreeSet<u32>,
}

impl Victim {
    fn new(kit: &Kit, n: usize, mark: &str) -> Result<Self> {
        let kind = ["plain", "sqpoll", "defer"][n % 3];
        let mut command = kit.ringer("prog", &["soak-victim", kind]);
        let mut child = command.env(MARK, mark).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Self { child, output, threads: BTreeSet::new() })
    }

    /// Waits until everything is in flight.
    fn is_busy(&mut self) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line != "busy\n" {
            bail!("a victim said {line:?} and {:?}", self.child.wait());
        }
        let tasks = format!("/proc/{}/task", self.child.id());
        let tasks = std::fs::read_dir(tasks)?.flatten();
        self.threads = tasks.filter_map(|t| t.file_name().to_str()?.parse().ok()).collect();
        Ok(())
    }

    /// Killed, and nothing is left: no thread, no holder of its output.
    fn kill(mut self) -> Result<usize> {
        self.child.kill()?;
        self.child.wait()?;
        // Blocks for as long as anybody has the other end.
        self.output.read_to_end(&mut Vec::new())?;
        let alive = |t: &&u32| Path::new("/proc").join(t.to_string()).exists();
        match self.threads.iter().find(alive) {
            Some(thread) => bail!("thread {thread} outlived its process"),
            None => Ok(self.threads.len()),
        }
    }
}

/// In the environment of every victim, and of whatever it may have started.
const MARK: &str = "RINGER_SOAK_MARK";

/// Processes that have the mark in their environment.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let has_it = |path: &PathBuf| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|&b| b == 0).any(|entry| entry == wanted.as_bytes())
    };
    processes.map(|p| p.path()).filter(has_it).map(|p| p.display().to_string()).collect()
}

/// The owners of all file locks.
fn lock_owners() -> BTreeSet<u32> {
    let text = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    text.lines().filter_map(|l| l.split_whitespace().nth(4)?.parse().ok()).collect()
}

/// So many programs are killed in flight; looked at from outside.
fn kills(kit: &Kit, count: usize) -> Result<End> {
    let mark = format!("{}", std::process::id());
    let own = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let before = own();
    let (mut killed, mut threads) = (0, 0);
    while killed < count {
        let together = TOGETHER.min(count - killed);
        let mut victims = Vec::new();
        for n in 0..together {
            victims.push(Victim::new(kit, killed + n, &mark)?);
        }
        victims.iter_mut().try_for_each(Victim::is_busy)?;
        let ids: BTreeSet<u32> = victims.iter().map(|v| v.child.id()).collect();
        for victim in victims {
            threads += victim.kill()?;
        }
        killed += together;
        if let Some(id) = lock_owners().intersection(&ids).next() {
            bail!("process {id} is gone and still has a lock");
        }
        if killed % 200 < TOGETHER || killed == count {
            let left = marked(&mark);
            if !left.is_empty() {
                bail!("processes were left behind: {left:?}");
            }
            println!("kills, {killed} of {count} programs with {threads} threads: nothing is left");
        }
    }
    if own() != before {
        bail!("{} descriptors here, {before} before", own());
    }
    Ok(End::Passed)
}
