//! `cargo xtask model`: the protocols between threads, over all interleavings.
//!
//! Builds `crates/model` with `--cfg loom` in a target folder of its own (the flag changes every
//! crate below), then runs each model in a process of its own, because one that fails ends its
//! process. What it does not do: find which ordering is wrong; a failing model says which two accesses
//! or which sleepers met.

use anyhow::{Context, Result, ensure};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Preemptions of one execution: most races need one or two (style.md 2.11).
const PREEMPTIONS: u32 = 2;
/// In the long form.
const PREEMPTIONS_LONG: u32 = 3;
/// A model that is not done by then has failed: it covers less than it claims.
const TIME: Duration = Duration::from_secs(120);
/// In the long form.
const TIME_LONG: Duration = Duration::from_secs(1800);
/// Decisions of one execution; more is a loop that never ends.
const BRANCHES: usize = 20_000;
/// Where the build goes, below the workspace.
const TARGET: &str = "target/model";
/// Lines of a failed model's output that are shown.
const LINES: usize = 12;

struct Running {
    name: String,
    child: Child,
    since: Instant,
}

/// Runs the models whose name contains `only`.
pub(crate) fn run(long: bool, only: &str) -> Result<()> {
    let bound = if long { PREEMPTIONS_LONG } else { PREEMPTIONS };
    let time = if long { TIME_LONG } else { TIME };
    println!("models with at most {bound} preemptions (building with --cfg loom first)");
    let program = build()?;
    let mut left: VecDeque<String> = list(&program, only)?.into();
    ensure!(!left.is_empty(), "no model has {only:?} in its name");
    let (mut passed, mut failed) = (0, 0);
    let mut running: Vec<Running> = Vec::new();
    let slots = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    while !left.is_empty() || !running.is_empty() {
        while running.len() < slots
            && let Some(name) = left.pop_front()
        {
            running.push(start(&program, name, bound)?);
        }
        let (over, rest): (Vec<_>, Vec<_>) = running
            .into_iter()
            .map(|mut r| (is_over(&mut r, time), r))
            .partition(|(over, _)| *over);
        running = rest.into_iter().map(|(_, r)| r).collect();
        if over.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        for (_, r) in over {
            if report(r, time)? { passed += 1 } else { failed += 1 }
        }
    }
    println!("model: {passed} passed, {failed} failed, 0 skipped");
    ensure!(failed == 0, "a race, or an ordering that is too weak: see above");
    Ok(())
}

/// Whether a model's process ended; one that took too long is ended here.
fn is_over(r: &mut Running, time: Duration) -> bool {
    if r.since.elapsed() > time {
        // It may have ended just now.
        let _ = r.child.kill();
        return true;
    }
    !matches!(r.child.try_wait(), Ok(None))
}

/// Says what became of a model. True: it passed.
fn report(r: Running, time: Duration) -> Result<bool> {
    let (name, took) = (r.name, r.since.elapsed());
    let out = r.child.wait_with_output()?;
    let (stdout, stderr) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let covered = stdout.lines().find_map(|l| l.trim().strip_prefix(&format!("{name}: ")));
    if out.status.success()
        && let Some(covered) = covered
    {
        println!("ok      {name}: {covered}");
        return Ok(true);
    }
    println!("FAILED  {name} after {:.1} s", took.as_secs_f64());
    if took > time {
        println!("        not done within {} s", time.as_secs());
    }
    let worth = |l: &&str| !l.trim().is_empty() && !l.starts_with("note:");
    let before = |l: &&str| !l.starts_with("stack backtrace:");
    for line in stderr.lines().take_while(before).filter(worth).take(LINES) {
        println!("        {line}");
    }
    println!("        again, that one alone: cargo xtask model --only {name}");
    println!("        (with LOOM_LOG=trace or RUST_BACKTRACE=1 for how it came about)");
    Ok(false)
}

fn start(program: &Path, name: String, bound: u32) -> Result<Running> {
    let child = Command::new(program)
        .args(["--exact", &name, "--nocapture"])
        .env("LOOM_MAX_PREEMPTIONS", bound.to_string())
        .env("LOOM_MAX_BRANCHES", BRANCHES.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    Ok(Running { name, child, since: Instant::now() })
}

/// Builds the models; where they are.
fn build() -> Result<PathBuf> {
    let out = Command::new(env!("CARGO"))
        .args(["test", "--quiet", "-p", "ringer-model", "--test", "protocols", "--no-run"])
        .args(["--target-dir", TARGET, "--message-format", "json-render-diagnostics"])
        .env("RUSTFLAGS", "--cfg loom")
        // Executions by the hundred thousand want an optimiser, and assertions.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
        .env("CARGO_PROFILE_DEV_DEBUG", "1")
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    ensure!(out.status.success(), "the models do not build");
    executable(&String::from_utf8_lossy(&out.stdout)).context("cargo named no test program")
}

/// The test program among cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .filter(|m| m["target"]["name"] == "protocols")
        .find_map(|m| m["executable"].as_str().map(PathBuf::from))
}

fn list(program: &Path, only: &str) -> Result<Vec<String>> {
    let out = Command::new(program).arg("--list").output()?;
    let out = String::from_utf8_lossy(&out.stdout);
    let names = out.lines().filter_map(|l| l.strip_suffix(": test"));
    Ok(names.filter(|n| n.contains(only)).map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"loom"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"protocols"},"executable":"/t/protocols-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/protocols-1")));
        assert_eq!(executable(""), None);
    }
}
