//! `cargo xtask conformance`: liburing's own tests on ringer, judged by `expected.toml`.
//!
//! ```text
//!   source    Debian's source package, fetched and built under target/conformance
//!   runner    each test on the kernel (or its record) and under ringer where it is refused
//!   verdict   outcome x row of tests/conformance/expected.toml
//!   report    who is not what its row says; the counts
//! ```
//! What it does not do: keep any of the suite's code.

mod child;
mod expect;
pub(crate) mod guard;
mod native;
mod report;
mod runner;
mod source;
mod verdict;

use anyhow::{Context as _, Result, bail, ensure};
use expect::Expected;
use runner::{Runner, Test};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use verdict::{As, Ran};

/// The rows.
const EXPECTED: &str = "tests/conformance/expected.toml";

/// The command line.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) native: bool,
    pub(crate) long: bool,
    pub(crate) only: String,
    pub(crate) jobs: usize,
    pub(crate) source: Option<PathBuf>,
    pub(crate) ringer: Option<PathBuf>,
}

/// Runs the tier; an error when anything is not what its row says.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<()> {
    let text = fs::read_to_string(root.join(EXPECTED)).context(EXPECTED)?;
    let expected = Expected::parse(&text).context(EXPECTED)?;
    let ringer = match &plan.ringer {
        Some(path) => path.canonicalize()?,
        None => crate::kit::build()?.join("ringer"),
    };
    ringer_testkit::harness::prebuilt(ringer.parent().context("the binary lies in no folder")?);
    let cache = cache(root)?;
    let tree = match tree(&cache, plan, &expected.version) {
        Ok(tree) => tree,
        Err(source::Missing::Here(why)) => return nothing(&why),
        Err(source::Missing::Broken(e)) => return Err(e),
    };
    let tier = Tier { root, plan, expected, tree, logs: cache.join("logs"), ringer };
    tier.run()
}

fn cache(root: &Path) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let cache = target.unwrap_or_else(|| root.join("target")).join("conformance");
    fs::create_dir_all(&cache)?;
    Ok(cache.canonicalize()?)
}

fn tree(cache: &Path, plan: &Plan, version: &str) -> Result<PathBuf, source::Missing> {
    let Some(given) = &plan.source else { return source::built(cache, version) };
    let tree = given.canonicalize().map_err(|e| source::Missing::Broken(e.into()))?;
    source::build(&tree).map_err(source::Missing::Broken)?;
    Ok(tree)
}

fn nothing(why: &str) -> Result<()> {
    println!("skipped: liburing's tests: {why}");
    println!("conformance: 0 passed, 0 failed, 1 skipped");
    Ok(())
}

struct Tier<'a> {
    root: &'a Path,
    plan: &'a Plan,
    expected: Expected,
    tree: PathBuf,
    logs: PathBuf,
    ringer: PathBuf,
}

impl Tier<'_> {
    fn run(&self) -> Result<()> {
        let (tests, left_out) = self.tests()?;
        ensure!(!tests.is_empty() || !left_out.is_empty(), "no test is called so");
        let native = self.native(&tests)?;
        let ringer = self.ringer.to_string_lossy();
        let runner = Runner::ringer(&ringer, &self.logs, self.plan.jobs);
        println!("{} tests under ringer, io_uring refused", tests.len());
        let judged = |name: &str, ran: &Ran| {
            verdict::judge(self.expected.rows.get(name), ran, native.get(name).copied())
        };
        let progress = Progress::new(tests.len());
        let ran = runner.run(tests, |test, ran, took| {
            progress.say(&test.name, &ran.outcome.to_string(), &judged(&test.name, ran), took);
        })?;
        let verdicts = ran.iter().map(|(name, ran)| (name.clone(), judged(name, ran)));
        let report = report::Report::new(verdicts.chain(left_out));
        report.print(&|name| runner.log(name));
        match report.unexpected() {
            0 => Ok(()),
            n => bail!("{n} tests are not what {EXPECTED} says"),
        }
    }

    /// What is to run, and what only `--long` runs.
    fn tests(&self) -> Result<(Vec<Test>, Verdicts)> {
        let listed = self.expected.rows.keys().cloned();
        let all: BTreeSet<String> =
            source::programs(&self.tree)?.into_iter().chain(listed).collect();
        let (mut run, mut left_out) = (Vec::new(), Vec::new());
        for name in all.into_iter().filter(|n| n.contains(&self.plan.only)) {
            let row = self.expected.rows.get(&name);
            match row.and_then(|r| r.long.clone()) {
                Some(why) if !self.plan.long => {
                    left_out.push((name, As::Skipped(format!("only with --long: {why}"))));
                }
                _ => run.push(Test::new(&self.tree, &name, row)),
            }
        }
        Ok((run, left_out))
    }

    /// The kernel's outcomes: recorded, or run here, or unknown where the kernel refuses.
    fn native(&self, tests: &[Test]) -> Result<native::Outcomes> {
        let (release, version) = (native::release(), &self.expected.version);
        let path = native::path(self.root, &release);
        if !self.plan.native
            && let Ok(text) = fs::read_to_string(&path)
            && let Some(outcomes) = native::parse(&text, version).context("native record")?
        {
            println!("on the kernel: as recorded in {}", path.display());
            return Ok(outcomes);
        }
        if let Some(why) = ringer_testkit::harness::kernel_lacks() {
            println!("on the kernel: unknown, and there is no record: {why}");
            return Ok(native::Outcomes::new());
        }
        println!("{} tests on the kernel's io_uring", tests.len());
        let ringer = self.ringer.to_string_lossy();
        let runner = Runner::native(&ringer, &self.logs, self.plan.jobs);
        let progress = Progress::new(tests.len());
        let ran = runner.run(tests.to_vec(), |test, ran, took| {
            progress.say(&test.name, &ran.outcome.to_string(), &As::Passed, took);
        })?;
        let mut outcomes: native::Outcomes =
            ran.into_iter().map(|(name, ran)| (name, ran.outcome)).collect();
        if self.plan.native {
            // What was not run now stays as it was recorded.
            let text = fs::read_to_string(&path).unwrap_or_default();
            for (name, old) in native::parse(&text, version).ok().flatten().unwrap_or_default() {
                outcomes.entry(name).or_insert(old);
            }
            fs::write(&path, native::text(&outcomes, version, &release))?;
            println!("recorded in {}", path.display());
        }
        Ok(outcomes)
    }
}

/// Verdicts that need no run.
type Verdicts = Vec<(String, As)>;

/// A line for each test that ended.
struct Progress {
    total: usize,
    done: AtomicUsize,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { total, done: AtomicUsize::new(0) }
    }

    fn say(&self, name: &str, outcome: &str, verdict: &As, took: Duration) {
        let n = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let mark = match verdict {
            As::Unexpected(_) => "  UNEXPECTED",
            _ => "",
        };
        println!("[{n:3}/{}] {name}: {outcome} ({:.1} s){mark}", self.total, took.as_secs_f32());
    }
}
