//! `cargo xtask fidelity`: the fidelity matrix on the kernel and on ringer, and its page.
//!
//! ```text
//!   fidelity                                          the kernel's io_uring
//!   blocked eperm  -- ringer run -- fidelity          ringer, calls through libc
//!   blocked docker -- ringer run -- fidelity-inline   ringer, calls trapped
//! ```
//! On a host whose kernel refuses io_uring the recorded native run stands in for the first. What it
//! does not do: decide what is open (`ringer_testkit::fidelity::open`).

use anyhow::{Context as _, Result, ensure};
use ringer_testkit::block::Profile;
use ringer_testkit::fidelity::report::{self, Line};
use ringer_testkit::fidelity::runner::Verdict;
use ringer_testkit::harness::{self, Under};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The generated page.
const PAGE: &str = "docs/fidelity.md";
/// The recorded native run.
pub(crate) const RECORDED: &str = "tests/transcripts/fidelity-6.18.txt";
/// The recorded native tables of `errno_order`.
const TABLES: &str = "tests/transcripts/errno-order-6.18.txt";

/// The command line.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) check: bool,
    pub(crate) record: bool,
    pub(crate) only: String,
    pub(crate) ringer: Option<PathBuf>,
}

/// Runs the matrix; then writes the page, or with `check` compares it.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<()> {
    let ringer = match &plan.ringer {
        Some(path) => path.clone(),
        None => crate::kit::build()?.join("ringer"),
    };
    let folder = ringer.parent().context("the ringer binary lies in no folder")?;
    harness::prebuilt(folder);
    // The kernel's largest rings take pieces of 4 MiB, or are ENOMEM: memory that is all page cache has
    // none left (6.18 memmap.c `io_region_allocate_pages`). Who may not asks for nothing.
    let _ = std::fs::write("/proc/sys/vm/compact_memory", "1");
    if plan.record {
        return record(root, folder, &plan.only);
    }
    let lines = columns(&ringer.to_string_lossy(), &plan.only);
    println!("fidelity: {}", report::summary(&lines));
    let failed = lines.iter().filter(|l| l.verdict == Verdict::Fail).count();
    ensure!(failed == 0, "{failed} claims failed; repeat one: cargo xtask fidelity --only NAME");
    if plan.only.is_empty() {
        pages(root, plan.check)?;
    }
    Ok(())
}

/// All three columns, failures told as they are met.
fn columns(ringer: &str, only: &str) -> Vec<Line> {
    let mut all = Vec::new();
    if harness::kernel_has_io_uring() {
        all.extend(column(ringer, "native", Under::Kernel, "fidelity", only));
    } else {
        println!("native: this kernel refuses io_uring; {RECORDED} stands in");
    }
    let [eperm, docker] = [Profile::Eperm, Profile::Docker].map(Under::Blocked);
    all.extend(column(ringer, "ringer", eperm, "fidelity", only));
    all.extend(column(ringer, "ringer, trapped", docker, "fidelity-inline", only));
    all
}

fn column(ringer: &str, name: &str, under: Under, program: &str, only: &str) -> Vec<Line> {
    let started = std::time::Instant::now();
    let program = harness::binaries(ringer).join(program);
    let program = program.to_string_lossy();
    let mut argv = vec![program.as_ref(), "--only", only];
    if under != Under::Kernel {
        argv.push("--ringer");
    }
    let ran = harness::run_within(600, ringer, under, &argv);
    let mut lines = report::parse(&ran.stdout);
    for claim in report::missing(&lines, only) {
        let why = format!("never judged: the run ended with exit code {}", ran.code);
        lines.push(Line { name: claim.to_owned(), verdict: Verdict::Fail, why });
    }
    for l in &lines {
        match l.verdict {
            Verdict::Fail => println!("FAILED  {name}: {}: {}", l.name, l.why),
            Verdict::Skip => println!("skipped {name}: {}: {}", l.name, l.why),
            Verdict::Pass | Verdict::Open => {}
        }
    }
    let seconds = started.elapsed().as_secs_f32();
    println!("{name}: {} ({seconds:.1} s)", report::summary(&lines));
    lines
}

fn pages(root: &Path, check: bool) -> Result<()> {
    for (path, text) in [(PAGE, report::page()), (RECORDED, report::recorded())] {
        let old = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        if check {
            ensure!(old == text, "{path} is stale: run `cargo xtask fidelity` and commit it");
        } else if old != text {
            std::fs::write(root.join(path), text)?;
            println!("wrote {path}");
        }
    }
    Ok(())
}

/// Writes what this kernel answers as the table that the errno-order claims compare with.
fn record(root: &Path, folder: &Path, only: &str) -> Result<()> {
    let out = Command::new(folder.join("fidelity")).args(["--record", only]).output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout)?;
    if only.is_empty() {
        std::fs::write(root.join(TABLES), text)?;
        println!("wrote {TABLES}; build again to compare with it");
    } else {
        print!("{text}");
    }
    Ok(())
}
