//! The comparison: each work on the kernel's ring and under ringer, alternating, in one run.
//!
//! A round measures every variant once, in turn, each in a fresh process; the tables show medians
//! over the rounds and ratios of medians. The machine's noise is in the spread (min to max).

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was asked for on the command line.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) millis: u64,
    pub(crate) only: String,
    pub(crate) ringer: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
}

const WORKS: &[&str] = &[
    "nop-b1",
    "nop-b32",
    "read-plain-b1",
    "read-fixed-b1",
    "read-plain-b32",
    "read-fixed-b32",
    "read-fixed-buf-b32",
    "read-among-many-b32",
    "seq-plain-b32",
    "seq-fixed-b32",
    "recv-plain",
    "recv-fixed",
    "hot-unix-default-b32",
    "hot-unix-defer-b32",
    "hot-tcp-default-b32",
    "hot-tcp-defer-b32",
    "worker-plain",
    "worker-fixed",
    "nop-among-1m",
    "timeout-among-1",
    "timeout-among-1m",
    "cancel-among-1",
    "cancel-among-100k",
    "echo-plain-default",
    "echo-plain-default-cpu",
    "echo-plain-defer",
    "echo-plain-defer-cpu",
    "echo-fixed-default",
    "echo-fixed-default-cpu",
    "echo-fixed-defer",
    "echo-fixed-defer-cpu",
    "echo-multi-default",
    "echo-multi-default-cpu",
    "echo-multi-defer",
    "echo-multi-defer-cpu",
    "direct-qd32",
    "direct-qd32-cpu",
    "cold-qd32",
    "cold-qd32-cpu",
    "setup",
    "call-pread",
    "call-hot-unix-b32",
    "call-hot-tcp-b32",
    "call-recv",
    "call-echo",
    "call-echo-cpu",
    "call-getppid",
    "call-mmap",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Kernel,
    Ringer,
}

struct Row {
    name: &'static str,
    kernel: Vec<f64>,
    ringer: Vec<f64>,
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let ringer = match &plan.ringer {
        Some(p) => p.clone(),
        None => build_ringer()?,
    };
    let mut rows: Vec<Row> = WORKS
        .iter()
        .filter(|w| w.contains(&plan.only))
        .map(|&name| Row { name, kernel: Vec::new(), ringer: Vec::new() })
        .collect();
    for i in 0..plan.rounds {
        eprintln!("round {} of {}", i + 1, plan.rounds);
        for row in &mut rows {
            if let Ok(ns) = once(On::Kernel, &ringer, row.name, plan.millis) {
                row.kernel.push(ns);
            }
            row.ringer.push(once(On::Ringer, &ringer, row.name, plan.millis)?);
        }
    }
    // What the disk works share; there is none if they did not run.
    let _ = std::fs::remove_file(std::env::temp_dir().join("ringer-bench-disk"));
    print_table(&rows);
    if let Some(path) = &plan.json {
        std::fs::write(path, json(&rows)).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn build_ringer() -> Result<PathBuf> {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "-p", "ringer-cli", "-p", "xtask"])
        .status()?;
    ensure!(status.success(), "building ringer failed");
    let me = std::env::current_exe()?;
    Ok(me.parent().context("own folder")?.join("ringer"))
}

fn once(on: On, ringer: &Path, name: &str, millis: u64) -> Result<f64> {
    let work = std::env::current_exe()?.with_file_name("bench-work");
    let mut cmd = match on {
        On::Kernel => Command::new(&work),
        On::Ringer => {
            let mut c = Command::new(ringer);
            c.args(["run", "--native", "never", "--"]).arg(&work);
            c
        }
    };
    let out = cmd.args([name, &millis.to_string()]).output()?;
    ensure!(out.status.success(), "{name} failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(String::from_utf8(out.stdout)?.trim().parse()?)
}

fn median(v: &[f64]) -> f64 {
    let mut s = v.to_vec();
    s.sort_by(f64::total_cmp);
    s.get(s.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(v: &[f64]) -> (f64, f64) {
    v.iter().fold((f64::INFINITY, 0.0), |(lo, hi), &x| (x.min(lo), x.max(hi)))
}

fn print_table(rows: &[Row]) {
    println!("| work | kernel ns/op | ringer ns/op | kernel / ringer | spread (min..max) |");
    println!("|---|---|---|---|---|");
    for r in rows {
        let (k, u) = (median(&r.kernel), median(&r.ringer));
        let (lo, hi) = spread(&r.ringer);
        println!("| {} | {k:.0} | {u:.0} | {:.2}x | {lo:.0}..{hi:.0} |", r.name, k / u);
    }
}

fn json(rows: &[Row]) -> String {
    let all: Vec<_> = rows
        .iter()
        .map(|r| {
            serde_json::json!({
                "work": r.name, "kernel_ns": r.kernel, "ringer_ns": r.ringer,
                "ratio": median(&r.kernel) / median(&r.ringer),
            })
        })
        .collect();
    serde_json::Value::from(all).to_string()
}
