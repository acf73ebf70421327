//! `cargo xtask simulate`: seeds through the simulator for as long as it is told.
//!
//! What it does not do: stop at the first failure; every failing seed is told with its least program.

use anyhow::{Context as _, Result, bail};
use ringer_sim::simulate::{self, Summary};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Failures after which the rest is skipped: they say enough.
const FAILURES_MAX: u64 = 20;
const REPORT: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `A..B`.
    pub(crate) seeds: String,
    /// Stop after this long; seeds that are left count as skipped.
    pub(crate) minutes: Option<f64>,
    /// Threads.
    pub(crate) jobs: usize,
}

#[derive(Debug, Default)]
struct Tally {
    passed: AtomicU64,
    failed: AtomicU64,
    all: Mutex<Summary>,
}

fn range(text: &str) -> Result<Range<u64>> {
    let (from, to) = text.split_once("..").context("seeds are A..B")?;
    Ok(from.trim().parse()?..to.trim().parse()?)
}

/// Runs the plan; an error if any seed failed.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let seeds = range(&plan.seeds)?;
    let total = seeds.end.saturating_sub(seeds.start);
    let until = plan.minutes.map(|m| Instant::now() + Duration::from_secs_f64(60.0 * m));
    let (next, tally, began) = (AtomicU64::new(seeds.start), Tally::default(), Instant::now());
    let told = Mutex::new(began);
    let work = || {
        let over = || until.is_some_and(|t| Instant::now() >= t);
        while tally.failed.load(Relaxed) < FAILURES_MAX && !over() {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                return;
            }
            one(seed, &tally);
            progress(&told, &tally, (seed, total));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(work);
        }
    });
    report(&tally, total, began.elapsed())
}

fn one(seed: u64, tally: &Tally) {
    match simulate::simulate(seed) {
        Ok(summary) => {
            tally.passed.fetch_add(1, Relaxed);
            if let Ok(mut all) = tally.all.lock() {
                all.add(&summary);
            }
        }
        Err(failure) => {
            tally.failed.fetch_add(1, Relaxed);
            println!("simulation: FAILED {failure}\n");
        }
    }
}

fn progress(told: &Mutex<Instant>, tally: &Tally, (seed, total): (u64, u64)) {
    let Ok(mut last) = told.lock() else { return };
    if last.elapsed() >= REPORT {
        *last = Instant::now();
        let (passed, failed) = (tally.passed.load(Relaxed), tally.failed.load(Relaxed));
        println!("simulation: at seed {seed}: {passed} passed, {failed} failed of {total}");
    }
}

fn report(tally: &Tally, total: u64, took: Duration) -> Result<()> {
    let (passed, failed) = (tally.passed.load(Relaxed), tally.failed.load(Relaxed));
    let skipped = total.saturating_sub(passed + failed);
    if let Ok(all) = tally.all.lock() {
        let (requests, completions) = (all.requests, all.completions);
        println!(
            "simulation: {requests} requests, {completions} completions in {:.1} s",
            took.as_secs_f64()
        );
    }
    let why = match (skipped, failed) {
        (0, _) => "",
        (_, FAILURES_MAX..) => " (too many failures)",
        _ => " (no time left)",
    };
    println!("simulation: {passed} passed, {failed} failed, {skipped} skipped{why}");
    if failed > 0 {
        bail!("{failed} seeds failed");
    }
    Ok(())
}
