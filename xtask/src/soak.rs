//! `cargo xtask soak`: nothing leaks, whatever comes and goes and for how long.
//!
//! ```text
//!  together   native   the soak programs on the kernel's own io_uring, short: they are right
//!             rings    10,000 rings of all kinds made and dropped, by libc's calls and by inline ones
//!             rings-*  rings of one kind each
//!             forks    children of a process with rings, killed in flight; the parent's account
//!             races    shared memory of rings rewritten by a second thread
//!             mixed    five threads of mixed, checked work
//!  alone      kills    1,000 programs under ringer, killed in flight, looked at from outside
//! ```
//! Everything but `native` runs under ringer with the kernel's io_uring refused. What *back* means is
//! in `testkit/src/programs/soak/account.rs`; from outside it means: no process, no thread, no open
//! pipe, no lock and no file of a killed program is left. `--hour` is an hour of mixed work and of
//! races, and ten times the rings and kills. What it does not do: judge speed.

use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Minutes of mixed work and of races
    #[arg(long, conflicts_with = "hour")]
    minutes: Option<u64>,
    /// An hour of mixed work and of races, and ten times the rings and kills
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

/// How a part runs.
type Run = Box<dyn Fn(&Kit) -> Result<End> + Send + Sync>;

/// A part: its name and how it runs.
type Part = (&'static str, Run);

/// Programs under ringer at once, killed one after the other.
const TOGETHER: usize = 8;
/// Parts at once that mostly wait for idle workers to end.
const LANES: usize = 5;
/// Rings of one kind each: their number in `programs/soak/rings.rs`.
const KINDS: [(&str, u64); 6] = [
    ("rings-plain", 0),
    ("rings-defer", 2),
    ("rings-wide", 4),
    ("rings-memory", 5),
    ("rings-sqpoll", 6),
    ("rings-iopoll", 8),
];

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
    let folder = plan.binaries.clone().map_or_else(crate::kit::build, Ok)?;
    let kit = Kit { folder, scratch: scratch.to_owned() };
    let wanted = |parts: Vec<Part>| -> Vec<Part> {
        parts.into_iter().filter(|p| p.0.contains(&plan.only)).collect()
    };
    let mut ends = kit.all(LANES, &wanted(together(plan)))?;
    ends.extend(kit.all(1, &wanted(alone(plan)))?);
    let count = |which: fn(&Result<End>) -> bool| ends.iter().filter(|e| which(e)).count();
    let failed = count(|e| e.is_err());
    let passed = count(|e| matches!(e, Ok(End::Passed)));
    let skipped = count(|e| matches!(e, Ok(End::Skipped(_))));
    println!("soak: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed)
}

/// A program of the kit under ringer, and how many seconds it may take.
fn soak(binary: &'static str, name: &'static str, arg: String, limit: u64) -> Run {
    Box::new(move |kit: &Kit| finish(kit.ringer(binary, &[name, &arg]), limit))
}

impl Plan {
    /// Times the usual number of rings and kills.
    fn times(&self) -> u64 {
        if self.hour { 10 } else { 1 }
    }

    fn seconds(&self, usual: u64) -> u64 {
        if self.hour { 3600 } else { self.minutes.map_or(usual, |m| 60 * m) }
    }
}

fn together(plan: &Plan) -> Vec<Part> {
    let times = plan.times();
    let (count, limit) = (move |n: u64| (times * n).to_string(), 240 * times);
    let (racing, mixed) = (plan.seconds(10), plan.seconds(10));
    let races = soak("prog", "soak-races", racing.to_string(), racing + 120);
    let mut parts: Vec<Part> = vec![
        ("native", Box::new(native)),
        ("mixed", soak("prog", "soak-mixed", mixed.to_string(), mixed + mixed / 4 + 120)),
        ("rings", soak("prog", "soak-rings", count(10_000), limit)),
        ("races", races),
        ("rings-inline", soak("prog-inline", "soak-rings", count(2_500), limit)),
        ("forks", soak("prog", "soak-forks", count(300), limit)),
        ("kin", soak("prog", "soak-kin", count(400), limit)),
    ];
    let one = |(name, kind): (&'static str, u64)| -> Part {
        (name, soak("prog", "soak-rings", format!("{}/{kind}", count(1_500)), limit))
    };
    parts.extend(KINDS.map(one));
    parts
}

fn alone(plan: &Plan) -> Vec<Part> {
    let victims = 1_000 * plan.times() as usize;
    vec![("kills", Box::new(move |kit: &Kit| kills(kit, victims)))]
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

    /// Runs parts, so many at once, and what came of each.
    ///
    /// # Errors
    /// Files were left behind.
    fn all(&self, lanes: usize, parts: &[Part]) -> Result<Vec<Result<End>>> {
        let next = AtomicUsize::new(0);
        let lane = || {
            let take = || parts.get(next.fetch_add(1, Ordering::Relaxed));
            std::iter::from_fn(take).map(|part| self.tell(part)).collect::<Vec<_>>()
        };
        let ends: Vec<_> = std::thread::scope(|s| {
            let lanes: Vec<_> = (0..lanes).map(|_| s.spawn(lane)).collect();
            lanes.into_iter().filter_map(|l| l.join().ok()).flatten().collect()
        });
        if ends.len() != parts.len() {
            bail!("a part panicked");
        }
        self.is_clean()?;
        Ok(ends)
    }

    /// Runs a part and tells of it.
    fn tell(&self, (name, run): &Part) -> Result<End> {
        let start = Instant::now();
        println!("-- {name}");
        let end = run(self);
        let seconds = start.elapsed().as_secs();
        match &end {
            Ok(End::Passed) => println!("ok      {name} ({seconds} s)"),
            Ok(End::Skipped(why)) => println!("skipped {name}: {why}"),
            Err(e) => {
                println!("FAILED  {name} ({seconds} s): {e:#}");
                println!("        cargo xtask soak --only {name}");
            }
        }
        end
    }

    /// Nothing was left in the folder for temporary files.
    fn is_clean(&self) -> Result<()> {
        let left: Vec<_> = std::fs::read_dir(&self.scratch)?.flatten().map(|e| e.path()).collect();
        if left.is_empty() { Ok(()) } else { bail!("files were left behind: {left:?}") }
    }
}

/// Runs a program to its end, in so many seconds. What it said last belongs to how it failed.
fn finish(mut command: Command, limit: u64) -> Result<End> {
    let start = Instant::now();
    let mut child = command.stderr(Stdio::piped()).spawn().context("starting it")?;
    let errors = child.stderr.take().context("its errors")?;
    let told = std::thread::spawn(|| {
        let mut last = String::new();
        for line in BufReader::new(errors).split(b'\n') {
            last = String::from_utf8_lossy(&line?).into_owned();
            eprintln!("{last}");
        }
        std::io::Result::Ok(last)
    });
    // Until nobody has the other end: who outlives the program is seen by the tier's own limit.
    let last = || told.join().map_err(|_| anyhow!("a panic"))?.context("its errors");
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(End::Passed),
            Some(status) => bail!("{status}: {}", last()?),
            None if start.elapsed() > Duration::from_secs(limit) => {
                child.kill()?;
                child.wait()?;
                bail!("no end after {limit} s: {}", last()?);
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The programs themselves, where their claims are the kernel's own.
fn native(kit: &Kit) -> Result<End> {
    if let Some(why) = ringer_testkit::harness::kernel_lacks() {
        return Ok(End::Skipped(why));
    }
    let programs =
        [["soak-rings", "90"], ["soak-forks", "24"], ["soak-mixed", "3"], ["soak-races", "1"]];
    std::thread::scope(|s| {
        let run = |args: [&'static str; 2]| {
            s.spawn(move || finish(kit.command(&["prog", args[0], args[1]]), 120))
        };
        let ends: Vec<_> = programs.map(run).into_iter().map(|end| end.join()).collect();
        for (args, end) in programs.iter().zip(ends) {
            end.map_err(|_| anyhow!("a panic"))?.with_context(|| args.join(" "))?;
        }
        Ok(End::Passed)
    })
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
