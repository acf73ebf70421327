//! Many seeds: jobs side by side, progress, the account at the end.

use super::allowed::Allowed;
use super::generate::generate;
use super::judge::{CUTTING_MS, Difference, Judge, PATIENCE_MS, Place, Verdict};
use super::minimise::minimise;
use super::program::Program;
use super::{Rows, execute::Outcome};
use crate::block::Profile;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What to run, and where.
#[derive(Debug)]
pub struct Plan {
    /// Seeds.
    pub seeds: Range<u64>,
    /// No new seed after so long.
    pub budget: Option<Duration>,
    /// Seeds at a time.
    pub jobs: usize,
    /// Folder of the kit's binaries.
    pub kit: std::path::PathBuf,
    /// The ringer under test.
    pub ringer: std::path::PathBuf,
    /// Whether io_uring is refused where ringer runs.
    pub blocked: bool,
    /// Say how it goes, and print differences as they are found.
    pub talk: bool,
    /// Whether a difference is cut down.
    pub cut: bool,
}

impl Plan {
    /// The kernel's place.
    pub fn kernel(&self) -> Place {
        let prog = self.kit.join("prog").to_string_lossy().into_owned();
        Place { name: "kernel".to_owned(), argv: vec![prog, "differential".to_owned()] }
    }

    /// Ringer's places: calls through libc, and calls inline.
    pub fn ringers(&self) -> Vec<Place> {
        let profile = |p| if self.blocked { Some(p) } else { None };
        vec![
            self.ringer("prog", "ringer, by libc", profile(Profile::Docker)),
            self.ringer("prog-inline", "ringer, inline", profile(Profile::Eperm)),
        ]
    }

    fn ringer(&self, prog: &str, name: &str, profile: Option<Profile>) -> Place {
        let text = |p: &Path| p.to_string_lossy().into_owned();
        let mut argv = Vec::new();
        if let Some(p) = profile {
            argv.extend([text(&self.kit.join("blocked")), "--profile".to_owned()]);
            argv.extend([p.name().to_owned(), "--".to_owned()]);
        }
        argv.push(text(&self.ringer));
        argv.extend(["run", "--native", "never", "--"].map(str::to_owned));
        argv.extend([text(&self.kit.join(prog)), "differential".to_owned()]);
        Place { name: name.to_owned(), argv }
    }
}

/// A seed that failed.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// As it was first seen.
    pub first: Difference,
    /// The program, cut down.
    pub program: Program,
    /// How the small one differs.
    pub small: Difference,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {} differs ({})", self.seed, self.first.place)?;
        writeln!(f, "  kernel: {}\n  other:  {}", self.first.kernel, self.first.other)?;
        write!(f, "the smallest program found:\n{}", self.program)?;
        writeln!(
            f,
            "  kernel: {}\n  {}:  {}",
            self.small.kernel, self.small.place, self.small.other
        )?;
        let next = self.seed + 1;
        writeln!(f, "repeat with: cargo xtask differential --seeds {}..{next}", self.seed)
    }
}

/// The account.
#[derive(Debug, Default)]
pub struct Report {
    /// Seeds that saw the same everywhere.
    pub passed: u64,
    /// Lines excused by allowed.toml.
    pub excused: usize,
    /// Seeds that did not.
    pub failed: Vec<Failure>,
    /// Seeds set aside, by reason.
    pub aside: BTreeMap<&'static str, u64>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (why, n) in &self.aside {
            writeln!(f, "set aside: {n}, {why}")?;
        }
        let (failed, skipped) = (self.failed.len(), self.aside.values().sum::<u64>());
        write!(f, "differential: {} passed, {failed} failed, {skipped} skipped", self.passed)
    }
}

/// Runs the plan.
pub fn run(plan: &Plan, rows: &Rows, allowed: &Allowed) -> Report {
    let report = Mutex::new(Report::default());
    let next = AtomicU64::new(plan.seeds.start);
    let began = Instant::now();
    let take = || {
        let over = plan.budget.is_some_and(|b| began.elapsed() > b);
        let seed = next.fetch_add(1, Ordering::Relaxed);
        (!over && seed < plan.seeds.end).then_some(seed)
    };
    let job = || {
        let mut judge = Judge::new(plan.kernel(), plan.ringers(), allowed);
        while let Some(seed) = take() {
            one(plan, &mut judge, seed, rows, &report);
        }
    };
    std::thread::scope(|s| {
        for _ in 0..plan.jobs.max(1) {
            s.spawn(job);
        }
        if plan.talk {
            s.spawn(|| progress(plan, &next, &report));
        }
    });
    report.into_inner().unwrap_or_default()
}

fn one(plan: &Plan, judge: &mut Judge<'_>, seed: u64, rows: &Rows, report: &Mutex<Report>) {
    let p = generate(seed, rows);
    let verdict = judge.judge(&p, PATIENCE_MS);
    let failure = match &verdict {
        Verdict::Differs(first) => Some(cut(plan, judge, p, first)),
        _ => None,
    };
    let Ok(mut r) = report.lock() else { return };
    match verdict {
        Verdict::Same(excused) => {
            r.passed += 1;
            r.excused += excused;
        }
        Verdict::Aside(why) => *r.aside.entry(why).or_default() += 1,
        Verdict::Differs(_) => {}
    }
    if let Some(failure) = failure {
        if plan.talk {
            println!("\n{failure}");
        }
        r.failed.push(failure);
    }
}

fn cut(plan: &Plan, judge: &mut Judge<'_>, p: Program, first: &Difference) -> Failure {
    let mut small = first.clone();
    let seed = p.seed;
    let mut differs = |candidate: &Program| match judge.judge(candidate, CUTTING_MS) {
        Verdict::Differs(d) => {
            small = d;
            true
        }
        _ => false,
    };
    let program = if plan.cut { minimise(p, &mut differs) } else { p };
    Failure { seed, first: first.clone(), program, small }
}

/// A line every ten seconds until the last seed was taken.
fn progress(plan: &Plan, next: &AtomicU64, report: &Mutex<Report>) {
    let began = Instant::now();
    let mut said = began;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let at = next.load(Ordering::Relaxed);
        if at >= plan.seeds.end || plan.budget.is_some_and(|b| began.elapsed() > b) {
            return;
        }
        if said.elapsed() < Duration::from_secs(10) {
            continue;
        }
        said = Instant::now();
        if let Ok(r) = report.lock() {
            println!("{} s, at seed {at}: {r}", began.elapsed().as_secs());
        }
    }
}

/// A program and what a kernel saw, for hosts that have no io_uring to ask.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// The program.
    pub program: Program,
    /// The kernel's text.
    pub saw: Outcome,
}

/// Records what this kernel sees of the plan's seeds; those that are not stable are left out.
pub fn record(plan: &Plan, rows: &Rows) -> Vec<Record> {
    let allowed = Allowed::default();
    let mut judge = Judge::new(plan.kernel(), Vec::new(), &allowed);
    plan.seeds
        .clone()
        .filter_map(|seed| {
            let program = generate(seed, rows);
            let saw = judge.kernel(&program).ok()?;
            Some(Record { program, saw })
        })
        .collect()
}
