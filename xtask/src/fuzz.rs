//! `cargo xtask fuzz`: every fuzz target for a while, each in a process of its own.
//!
//! ```text
//!  corpus, then seeded mutations (crates/fuzz, any stable Rust)        the tier that CI runs
//!  --guided: the same functions under libFuzzer (fuzz/, C++ compiler)  finds new inputs
//!  --guided --keep: the smallest set of inputs with the same coverage replaces the corpus
//! ```
//!
//! Instrumentation is a flag of stable rustc, so `--guided` needs neither nightly nor cargo-fuzz.
//! What it does not do: know what a target checks.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What cargo-fuzz sets, without a sanitizer: edges, comparisons, a table of them.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Inputs and logs of a run.
const STATE: &str = "target/fuzz";

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Minutes for all targets together
    #[arg(long, conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// Seconds for all targets together
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only this target
    #[arg(long, default_value = "")]
    target: String,
    /// Decides every mutation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Guided by coverage: libFuzzer, built with the C++ compiler of this machine
    #[arg(long)]
    guided: bool,
    /// Then keep the smallest set of inputs with the same coverage as the corpus
    #[arg(long, requires = "guided")]
    keep: bool,
}

/// Runs the targets one by one and counts.
///
/// # Errors
/// A target failed, or nothing could be built.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let driver = driver()?;
    let targets = targets(&driver, &plan.target)?;
    let seconds = plan.minutes.map_or(plan.seconds, |m| 60 * m);
    let each = (seconds / targets.len() as u64).max(1);
    std::fs::create_dir_all(STATE)?;
    println!("fuzz: {} targets, {each} s each, seed {}", targets.len(), plan.seed);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    if plan.guided && !has_cxx() {
        println!("skipped {} targets: libFuzzer is C++ and there is no c++ here", targets.len());
        skipped = targets.len();
    } else {
        for name in &targets {
            let done = if plan.guided {
                guided(plan, name, each)?
            } else {
                plain(&driver, plan, name, each)?
            };
            if done { passed += 1 } else { failed += 1 }
        }
    }
    println!("fuzz: {passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 { bail!("{failed} fuzz targets failed") } else { Ok(()) }
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn has_cxx() -> bool {
    let cxx = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    Command::new(cxx).arg("--version").output().is_ok_and(|out| out.status.success())
}

/// The driver, built with every check on; and, as the tests are, with the features of the whole workspace:
/// for itself alone much of it would be built again.
fn driver() -> Result<PathBuf> {
    let mut c = cargo();
    c.args(["build", "--quiet", "--workspace", "--bin", "ringer-fuzz"]);
    if !c.status().context("start cargo")?.success() {
        bail!("the fuzz targets do not build");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(target.join("debug/ringer-fuzz"))
}

/// All targets, or the one of this name.
fn targets(driver: &Path, only: &str) -> Result<Vec<String>> {
    let out = Command::new(driver).arg("--list").output().context("the driver")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned);
    let names: Vec<String> = names.filter(|n| only.is_empty() || n == only).collect();
    if names.is_empty() {
        bail!("no target {only:?}; there are:\n{text}");
    }
    Ok(names)
}

/// Whether a target passed. What it says goes to the terminal.
fn plain(driver: &Path, plan: &Plan, name: &str, seconds: u64) -> Result<bool> {
    let mut c = Command::new(driver);
    c.args(["--target", name, "--state", STATE]);
    c.args(["--seconds", &seconds.to_string(), "--seed", &plan.seed.to_string()]);
    let status = c.status().context("the driver")?;
    if status.success() {
        return Ok(true);
    }
    // The driver tells of a panic itself; of what ended it, only the input is left.
    let kept = Path::new(STATE).join(format!("{name}.failed"));
    let _ = std::fs::copy(Path::new(STATE).join(format!("{name}.input")), &kept);
    println!("FAILED  {name} ({status}); the input is {}", kept.display());
    println!("        cargo run -p ringer-fuzz -- --target {name} {}", kept.display());
    Ok(false)
}

fn guided(plan: &Plan, name: &str, seconds: u64) -> Result<bool> {
    let binary = build_guided(name)?;
    let kept = Path::new("fuzz/corpus").join(name);
    let found = Path::new(STATE).join("found").join(name);
    for folder in [&kept, &found] {
        std::fs::create_dir_all(folder)?;
    }
    let failures = format!("-artifact_prefix={STATE}/{name}-");
    let mut c = Command::new(&binary);
    c.args(["-print_final_stats=1", "-timeout=60", "-rss_limit_mb=6000", "-verbosity=0"]);
    c.arg(format!("-max_total_time={seconds}")).arg(format!("-seed={}", plan.seed));
    c.arg(&failures).arg(&found).arg(&kept);
    let out = c.output().context("libFuzzer")?;
    let text = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() {
        println!("FAILED  {name} ({}); the inputs are {STATE}/{name}-*\n{text}", out.status);
        println!("        cargo run -p ringer-fuzz -- --target {name} INPUT");
        return Ok(false);
    }
    let stat = |what: &str| {
        let line = text.lines().find(|l| l.contains(what)).unwrap_or("");
        line.rsplit(' ').next().unwrap_or("?").to_owned()
    };
    let (runs, rate) = (stat("number_of_executed_units"), stat("average_exec_per_sec"));
    println!("ok      {name:<12} {runs:>8} runs, {rate:>8}/s, guided");
    if plan.keep {
        keep(&binary, name, &kept, &found)?;
    }
    Ok(true)
}

/// The smallest set with the coverage of both folders becomes the corpus.
fn keep(binary: &Path, name: &str, kept: &Path, found: &Path) -> Result<()> {
    let merged = Path::new(STATE).join("merged").join(name);
    let _ = std::fs::remove_dir_all(&merged);
    std::fs::create_dir_all(&merged)?;
    let mut c = Command::new(binary);
    c.args(["-set_cover_merge=1", "-use_counters=0", "-verbosity=0"])
        .arg(&merged)
        .arg(kept)
        .arg(found);
    if !c.output()?.status.success() {
        bail!("{name}: libFuzzer did not merge the corpus");
    }
    std::fs::remove_dir_all(kept)?;
    std::fs::create_dir_all(kept)?;
    let mut count = 0;
    for entry in std::fs::read_dir(&merged)? {
        let entry = entry?;
        std::fs::copy(entry.path(), kept.join(entry.file_name()))?;
        count += 1;
    }
    println!("kept    {name:<12} {count:>8} inputs");
    Ok(())
}

fn build_guided(name: &str) -> Result<PathBuf> {
    let target = std::env::current_dir()?.join("target/fuzz-guided");
    let mut c = cargo();
    c.args(["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml"]);
    c.args(["--target", TRIPLE, "--bin", name]).arg("--target-dir").arg(&target);
    if !c.env("RUSTFLAGS", INSTRUMENTED).status()?.success() {
        bail!("{name} does not build under libFuzzer");
    }
    Ok(target.join(TRIPLE).join("release").join(name))
}
