//! `cargo xtask instructions`: what the hot paths cost, counted instead of timed.
//!
//! ```text
//!  ringer run -- valgrind --tool=callgrind -- instructions-work NAME   200  I1
//!                                                              NAME 16200  I2
//!  a round costs (I2 - I1) / 16000: the start is in both, so it is in neither's difference
//! ```
//! I is what all threads executed in ringer's library; the program, libc and the kernel are not in it. No
//! clock has a part in that, so a busy machine gives the same figures: over five runs none moved by 1%.
//! They do depend on the compiler, and on which system calls valgrind knows, so
//! `xtask/instructions.toml` names the two it was recorded with, and others skip. A path fails when it
//! costs more than is recorded, and also when it costs much less: what was won is recorded (`--record`),
//! or it could be lost again unseen.
//!
//! What it does not do: judge time (`cargo xtask bench`). An instruction that waits for memory counts as
//! one, one that the kernel turns into a wake-up too, and one that copies a string once for each step.

mod record;

use anyhow::{Context as _, Result, bail, ensure};
use record::{Record, Tools};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rounds of the two runs; in the first is what only the beginning costs. That differs by up to 130,000
/// (who else has file locks, what a thread of the start comes to before the end): 8 of a round of these.
const ROUNDS: [u32; 2] = [200, 16_200];
/// Rounds of what does 32 requests in one are fewer by this: 65 of some 10,000 are as little.
const FEWER: u32 = 8;
/// What a round may cost more than recorded: the larger of this share ...
const MORE: f64 = 0.03;
/// ... and so many instructions.
const MORE_MIN: f64 = 5.0;
/// What it may cost less before that has to be recorded.
const LESS: f64 = 0.10;
/// In the path of ringer's library, wherever it lies.
const LIBRARY: &str = "libringer_preload";
/// Lines of a run that failed that are shown.
const LINES: usize = 4;
/// The exit code of a work that cannot go its path here.
const UNFIT: i32 = 77;

/// What to count.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Write the figures down as what is expected
    #[arg(long)]
    record: bool,
    /// Only works whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// The folder of ringer and instructions-work (default: built here, in release)
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// What a round of a work costs.
#[derive(Debug)]
enum Cost {
    Instructions(f64),
    /// It cannot be had here.
    Unfit(String),
}

/// How a cost compares with the one that is recorded.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    More,
    Less,
    New,
}

/// Of works: passed, failed, skipped.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Counts, and compares with the record or writes it.
///
/// # Errors
/// A path costs more or much less than recorded, or could not be counted.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let record = Record::read()?;
    let tools = match fitting_tools(plan, &record) {
        Ok(tools) => tools,
        Err(why) => {
            println!("skipped: {why:#}");
            println!("instructions: 0 passed, 0 failed, {} skipped", record.figures.len().max(1));
            return Ok(());
        }
    };
    let folder = plan.binaries.clone().map_or_else(crate::kit::build, Ok)?;
    let all = names(&folder)?;
    let wanted: Vec<_> = all.iter().filter(|n| n.contains(&plan.only)).cloned().collect();
    ensure!(!wanted.is_empty(), "no work has {:?} in its name", plan.only);
    let counted = count_all(&folder, &wanted)?;
    if plan.record {
        return write(plan, tools, record, counted);
    }
    let mut tally = Tally::default();
    for (name, cost) in &counted {
        tell(name, cost, record.figures.get(name).copied(), &mut tally);
    }
    for name in record.figures.keys().filter(|name| !all.contains(name)) {
        println!("FAILED  {name}: recorded, but there is no such work");
        tally.failed += 1;
    }
    let Tally { passed, failed, skipped } = tally;
    println!("instructions: {passed} passed, {failed} failed, {skipped} skipped");
    ensure!(
        failed == 0,
        "if it is meant: cargo xtask instructions --record, and why in the commit"
    );
    Ok(())
}

/// The tools, if they can repeat the record or are to make one.
fn fitting_tools(plan: &Plan, record: &Record) -> Result<Tools> {
    let tools = Tools::here()?;
    let fit = plan.record || record.tools == tools;
    ensure!(fit, "recorded with {}, here are {tools}", record.tools);
    Ok(tools)
}

/// Compares a work with its record, and tells.
fn tell(name: &str, cost: &Result<Cost>, recorded: Option<f64>, tally: &mut Tally) {
    let now = match cost {
        Ok(Cost::Instructions(now)) => *now,
        Ok(Cost::Unfit(why)) => {
            println!("skipped {name}: {why}");
            return tally.skipped += 1;
        }
        Err(e) => {
            println!("FAILED  {name}: {e:#}");
            return tally.failed += 1;
        }
    };
    let was = recorded.map_or_else(|| "nothing".into(), |was| format!("{was:.1}"));
    let (mark, what) = match judge(now, recorded) {
        Verdict::Same => ("ok     ", ""),
        Verdict::More => ("FAILED ", ": it became dearer"),
        Verdict::Less => ("FAILED ", ": it became cheaper, and that is not recorded"),
        Verdict::New => ("FAILED ", ": it is new"),
    };
    println!("{mark} {name}: {now:.1} instructions a round, {was} recorded{what}");
    if what.is_empty() { tally.passed += 1 } else { tally.failed += 1 }
}

fn judge(now: f64, recorded: Option<f64>) -> Verdict {
    match recorded {
        None => Verdict::New,
        Some(was) if now > was + (was * MORE).max(MORE_MIN) => Verdict::More,
        Some(was) if now < was - (was * LESS).max(MORE_MIN) => Verdict::Less,
        Some(_) => Verdict::Same,
    }
}

/// Works, and what came of each.
type Counted = Vec<(String, Result<Cost>)>;

/// Counts works, as many at a time as there are processors; in their order.
fn count_all(folder: &Path, names: &[String]) -> Result<Counted> {
    let scratch = std::env::temp_dir().join(format!("ringer-instructions-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let next = AtomicUsize::new(0);
    let lane = || {
        let take = || {
            let i = next.fetch_add(1, Ordering::Relaxed);
            names.get(i).map(|name| (i, name))
        };
        std::iter::from_fn(take)
            .map(|(i, name)| (i, (name.clone(), round(folder, &scratch, name))))
            .collect::<Vec<_>>()
    };
    let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut all: Vec<_> = std::thread::scope(|s| {
        let lanes: Vec<_> = (0..lanes).map(|_| s.spawn(lane)).collect();
        lanes.into_iter().filter_map(|l| l.join().ok()).flatten().collect()
    });
    std::fs::remove_dir_all(&scratch)?;
    ensure!(all.len() == names.len(), "a count panicked");
    all.sort_by_key(|(i, _)| *i);
    Ok(all.into_iter().map(|(_, counted)| counted).collect())
}

/// What a round of a work costs.
fn round(folder: &Path, scratch: &Path, name: &str) -> Result<Cost> {
    let fewer = if name.ends_with("-b32") { FEWER } else { 1 };
    let runs = ROUNDS.map(|rounds| rounds / fewer);
    let mut sums = [0.0; 2];
    for (sum, rounds) in sums.iter_mut().zip(runs) {
        let out = scratch.join(format!("{name}.{rounds}"));
        match callgrind(folder, &out, name, rounds)? {
            Cost::Instructions(all) => *sum = all,
            unfit @ Cost::Unfit(_) => return Ok(unfit),
        }
    }
    Ok(Cost::Instructions((sums[1] - sums[0]) / f64::from(runs[1] - runs[0])))
}

/// Runs a work; what all threads executed in the library.
fn callgrind(folder: &Path, out: &Path, name: &str, rounds: u32) -> Result<Cost> {
    let mut command = Command::new(folder.join("ringer"));
    command.args(["run", "--native", "never", "--", "valgrind", "--quiet", "--tool=callgrind"]);
    // Each line says its object and its figure in full.
    command.args(["--compress-strings=no", "--compress-pos=no"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(folder.join("instructions-work")).args([name, &rounds.to_string()]);
    let ran = command.output().context("start ringer")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    if ran.status.code() == Some(UNFIT) {
        return Ok(Cost::Unfit(said.lines().last().unwrap_or_default().into()));
    }
    if !ran.status.success() {
        let said: Vec<_> = said.lines().filter(|l| !l.trim().is_empty()).take(LINES).collect();
        bail!("{}: {}", ran.status, said.join(" | "));
    }
    let text = std::fs::read_to_string(out).with_context(|| format!("read {}", out.display()))?;
    let counted = of_library(&text);
    ensure!(counted > 0, "no instruction was in {LIBRARY}: did the kernel carry it out?");
    Ok(Cost::Instructions(counted as f64))
}

/// The instructions of the library, each where it was executed.
fn of_library(profile: &str) -> u64 {
    let (mut inside, mut of_a_call, mut sum) = (false, false, 0);
    for line in profile.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            inside = object.contains(LIBRARY);
        } else if line.starts_with("calls=") {
            // The next line has what the called function cost: that is counted where it was spent.
            of_a_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit()) {
            let own = !std::mem::take(&mut of_a_call) && inside;
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            sum += cost.filter(|_| own).unwrap_or(0);
        }
    }
    sum
}

/// Writes the record; figures that were not asked for stay, if they are the same tools'.
fn write(plan: &Plan, tools: Tools, mut record: Record, counted: Counted) -> Result<()> {
    if plan.only.is_empty() {
        record.figures.clear();
    } else {
        ensure!(record.tools == tools, "the rest was recorded with {}: record all", record.tools);
    }
    record.tools = tools;
    for (name, cost) in counted {
        match cost.with_context(|| name.clone())? {
            Cost::Instructions(now) => {
                println!("{name}: {now:.1}");
                record.figures.insert(name, now);
            }
            Cost::Unfit(why) => bail!("{name} cannot be recorded here: {why}"),
        }
    }
    record.write()
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let out = Command::new(folder.join("instructions-work")).output().context("list the works")?;
    Ok(String::from_utf8(out.stdout)?.lines().map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_librarys_own_instructions_count() {
        let profile = "events: Ir\nob=/bin/work\nfn=main\n10 5\ncob=/run/libringer_preload-1.so\n\
                       cfn=syscall\ncalls=1 0\n10 900\n\nob=/run/libringer_preload-1.so\nfn=syscall\n\
                       0 7\ncalls=1 0\n0 40\n12 3\n\nob=/lib/libc.so.6\nfn=memcpy\n0 40\ntotals: 55\n";
        assert_eq!(of_library(profile), 10);
    }

    #[test]
    fn a_path_may_become_a_little_dearer_and_no_more() {
        let judge = |now| judge(now, Some(1000.0));
        assert_eq!(judge(1029.0), Verdict::Same);
        assert_eq!(judge(1031.0), Verdict::More);
        assert_eq!(judge(901.0), Verdict::Same);
        assert_eq!(judge(899.0), Verdict::Less);
        assert_eq!(super::judge(104.0, Some(100.0)), Verdict::Same);
        assert_eq!(super::judge(1.0, None), Verdict::New);
    }
}
