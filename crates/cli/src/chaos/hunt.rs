//! Many seeds, several at once, and the fewest injections of those that failed.
//!
//! ```text
//!  without injections: must pass          seeds: base, base + 1, ...   JOBS at a time
//!  failures: the first few are repeated with the very list of what was done, then with less of it
//! ```
//! What it does not do: run a program twice in the same folder at the same time unless the program does
//! (`{}` among the arguments is a folder of each run's own).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ringer_engine::chaos::plan::Injection;

use super::plan::Plans;
use super::run::{Done, Job, Ran};
use super::shrink::shrink;
use super::{INTERRUPTED, command, counted, counts, job, line, random, warn};
use crate::cli::ChaosArgs;
use crate::os::signals;
use crate::refusal::Refusal;

/// Most seeds that are said beside those.
const SEEDS_MAX: usize = 16;
/// Failures that are made smaller.
const SHRUNK_MAX: usize = 3;
/// Runs that are spent on one of them.
const RUNS_MAX: usize = 300;
/// Times that a failure is tried again with nothing left out.
const TRIES: usize = 5;
/// Chances of a failure that is half as likely as not.
const CHANCES: usize = 2;
/// What a run may take, if nothing is said: so many times the first, and at least \[s\].
const TIMES: u32 = 20;
const LEAST: Duration = Duration::from_secs(10);

/// A seed that failed.
struct Failure {
    seed: u64,
    ran: Ran,
}

/// What all runs came to.
#[derive(Default)]
struct Found {
    failures: Vec<Failure>,
    counts: BTreeMap<&'static str, u64>,
    ended: u64,
    more: bool,
    error: Option<anyhow::Error>,
}

/// Runs `runs` seeds: 1 if one of them failed.
///
/// # Errors
/// The program fails without injections; it cannot be started.
pub(super) fn hunt(args: &ChaosArgs, plans: &Plans, runs: u64) -> anyhow::Result<u8> {
    let base = args.seed.unwrap_or_else(random);
    signals::hear();
    let mut job = job(args, true);
    let started = Instant::now();
    let first = job.run(&plans.only_these(base, Some(Vec::new())), &signals::heard)?;
    if !first.ended.is_well() {
        eprintln!("{}", first.words);
        let why = format!("{}, with rings of ringer's and nothing injected", first.ended);
        return Err(Refusal::ours("the program fails without chaos", why)
            .fix("a command that ends with status 0 when nothing goes wrong")
            .into());
    }
    warn(args, std::slice::from_ref(&first));
    let limit = job.limit.unwrap_or_else(|| LEAST.max(started.elapsed() * TIMES));
    job.limit = Some(limit);
    let found = run_all(args, (&job, plans), (base, runs));
    if let Some(e) = found.error {
        return Err(e);
    }
    let (ended, failed) = (found.ended, found.failures.len() as u64);
    println!(
        "{ended} runs, seeds {base} to {}: {} passed, {failed} failed; {}",
        base.wrapping_add(runs - 1),
        ended - failed,
        counted(&found.counts)
    );
    if ended < runs {
        println!("interrupted: {} of {runs} seeds were not tried", runs - ended);
    }
    if found.more {
        println!("of some runs more was injected than is kept");
    }
    for failure in found.failures.iter().take(SHRUNK_MAX) {
        println!("\nseed {}: {}", failure.seed, failure.ran.ended);
        for said in failure.ran.words.lines() {
            println!("  | {said}");
        }
        if args.no_shrink || signals::heard() {
            println!("  {}", counted(&counts(&failure.ran.done)));
            println!("  repeat: {}", command(args, failure.seed, None));
        } else {
            shorten_with(args, (&job, plans), failure.seed, &failure.ran)?;
        }
    }
    if let Some([next, ..]) = found.failures.get(SHRUNK_MAX..) {
        let more = found.failures.len() - SHRUNK_MAX;
        let others = found.failures.iter().skip(SHRUNK_MAX);
        let said: Vec<String> = others.take(SEEDS_MAX).map(|f| f.seed.to_string()).collect();
        let rest = if more > SEEDS_MAX { ", ..." } else { "" };
        println!("\n{more} more seeds failed: {}{rest}", said.join(", "));
        println!("  the first of them: {}", command(args, next.seed, None));
    }
    if signals::heard() {
        return Ok(INTERRUPTED);
    }
    Ok(u8::from(failed > 0))
}

fn run_all(args: &ChaosArgs, (job, plans): (&Job<'_>, &Plans), (base, runs): (u64, u64)) -> Found {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let found = Mutex::new(Found::default());
    let bar = bar(runs);
    let worker = || {
        loop {
            let n = next.fetch_add(1, Relaxed);
            if n >= runs || stop.load(Relaxed) || signals::heard() {
                return;
            }
            let seed = base.wrapping_add(n);
            let ran = job.run(&plans.with(seed), &|| stop.load(Relaxed) || signals::heard());
            if signals::heard() {
                return;
            }
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match ran {
                Ok(ran) => found.take(seed, ran),
                Err(e) => {
                    found.error.get_or_insert(e);
                    stop.store(true, Relaxed);
                }
            }
            bar.set_message(format!("{} failed", found.failures.len()));
            bar.inc(1);
        }
    };
    std::thread::scope(|s| {
        for _ in 0..jobs(args) {
            s.spawn(worker);
        }
    });
    bar.finish_and_clear();
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn jobs(args: &ChaosArgs) -> usize {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    args.jobs.map_or(all, |n| n.max(1))
}

impl Found {
    fn take(&mut self, seed: u64, ran: Ran) {
        for (word, n) in counts(&ran.done) {
            *self.counts.entry(word).or_default() += n;
        }
        self.ended += 1;
        self.more |= ran.more;
        if !ran.ended.is_well() {
            self.failures.push(Failure { seed, ran });
            // Of the others only the seed is said.
            self.failures.sort_by_key(|f| f.seed);
            for other in self.failures.iter_mut().skip(SHRUNK_MAX) {
                other.ran.done = Vec::new();
            }
        }
    }
}

fn bar(runs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {msg}, {eta} to go");
    let bar = ProgressBar::new(runs).with_message("0 failed");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Finds fewer injections of a seed that failed, and says them.
///
/// # Errors
/// The program cannot be started.
pub(super) fn shorten(args: &ChaosArgs, plans: &Plans, seed: u64, ran: &Ran) -> anyhow::Result<()> {
    shorten_with(args, (&job(args, true), plans), seed, ran)
}

fn shorten_with(
    args: &ChaosArgs,
    (job, plans): (&Job<'_>, &Plans),
    seed: u64,
    ran: &Ran,
) -> anyhow::Result<()> {
    let mut all: Vec<Injection> = ran.done.iter().map(Done::injection).collect();
    all.sort_unstable();
    all.dedup();
    let bar = ProgressBar::new_spinner();
    let mut error = None;
    let mut runs = 0;
    // What was done in the last run that failed: with its values.
    let mut last: Vec<Done> = ran.done.clone();
    let mut fails = |some: &[Injection]| {
        runs += 1;
        bar.set_message(format!("seed {seed}: run {runs}, {} injections", some.len()));
        bar.tick();
        match job.run(&plans.only_these(seed, Some(some.to_vec())), &signals::heard) {
            _ if signals::heard() => false,
            Ok(ran) if !ran.ended.is_well() => {
                last = ran.done;
                true
            }
            Ok(_) => false,
            Err(e) => {
                error.get_or_insert(e);
                false
            }
        }
    };
    let failed = (0..TRIES).filter(|_| fails(&all)).count();
    // One that does not fail each time is given as many chances as it takes to fail almost surely.
    let chances = if failed == TRIES { 1 } else { CHANCES * TRIES / failed.max(1) };
    let mut fails = |some: &[Injection]| (0..chances).any(|_| fails(some));
    let repeats = failed > 0;
    let (left, whole) =
        if repeats { shrink(all, RUNS_MAX / chances, &mut fails) } else { (all.clone(), false) };
    bar.finish_and_clear();
    if let Some(e) = error {
        return Err(e);
    }
    let plan = plans.only_these(seed, Some(left.clone()));
    if !repeats {
        println!(
            "  it did not fail again in {TRIES} runs with the same injections: it depends on time, too"
        );
        println!("  {}", counted(&counts(&ran.done)));
        println!("  repeat: {}", command(args, seed, None));
        return Ok(());
    }
    println!(
        "  {} of {} injections are enough ({runs} runs{}{})",
        left.len(),
        ran.done.len(),
        if chances == 1 { String::new() } else { format!(", it failed {failed} times of {TRIES}") },
        if whole { "" } else { ", not to the end" }
    );
    for done in last.iter().filter(|d| left.contains(&d.injection())) {
        println!("  {}", line(&plan, done));
    }
    println!("  repeat: {}", command(args, seed, Some(&left)));
    Ok(())
}
