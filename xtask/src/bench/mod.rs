//! The comparison: each work on the kernel's ring, under ringer and by what people would use instead, in one run.
//!
//! ```text
//!   works -> round: every variant of every work once, each in a fresh process -> figures -> report, json, chart
//! ```
//! The variants of a work follow each other, in another order every round. The tables show medians over the
//! rounds and quartiles. What it does not do: judge a run; a missed target is shown, not an error.

mod chart;
mod figures;
mod json;
mod report;
mod run;
mod works;

use anyhow::{Context as _, Result, ensure};
use figures::Measured;
use run::Programs;
use std::io::Write as _;
use std::path::PathBuf;
use works::{SECTIONS, Variant};

/// What was asked for on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Rounds; the tables show medians over them.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Milliseconds for each measurement.
    #[arg(long, default_value_t = 150)]
    millis: u64,
    /// Only works with one of these names, or whose names contain it; separated by commas.
    #[arg(long, default_value = "")]
    only: String,
    /// Say what would be measured, and what is asked of it.
    #[arg(long)]
    list: bool,
    /// The ringer binary (default: built here, in release).
    #[arg(long)]
    ringer: Option<PathBuf>,
    /// Write every sample as JSON here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw the ratios to the kernel as SVG here.
    #[arg(long)]
    svg: Option<PathBuf>,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        let whole = |part: &str| SECTIONS.iter().flat_map(|s| s.works).any(|w| w.name == part);
        let wants = |part: &str| if whole(part) { name == part } else { name.contains(part) };
        self.only.split(',').any(|part| wants(part.trim()))
    }
}

/// Runs it.
///
/// # Errors
/// No work has such a name, a file cannot be written, or a work failed under ringer (after all of the output).
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let works = SECTIONS.iter().flat_map(|s| s.works).filter(|w| plan.wants(w.name));
    let mut all: Vec<Measured> = works.map(Measured::new).collect();
    ensure!(!all.is_empty(), "no work's name contains {:?}; see --list", plan.only);
    if plan.list {
        say(&report::list(&all));
        return Ok(());
    }
    let programs = Programs::find(plan.ringer.as_deref())?;
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for measured in &mut all {
            once(&programs, measured, round, plan.millis);
        }
    }
    // What the disk works share; there is none if they did not run.
    let _ = std::fs::remove_file(std::env::temp_dir().join("ringer-bench-disk"));
    say(&report::tables(&all));
    if let Some(path) = &plan.json {
        let text = json::text(&all, plan.millis)?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &plan.svg {
        chart::draw(&all, path).with_context(|| format!("draw {}", path.display()))?;
    }
    fail_with_ringer(&all)
}

/// To stdout; a reader that has seen enough is no failure.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// One round of a work. The order turns, so that none is always measured after the same one.
fn once(programs: &Programs, measured: &mut Measured, round: usize, millis: u64) {
    let (name, count) = (measured.work.name, measured.series.len());
    for i in 0..count {
        let Some(series) = measured.series.get_mut((i + round) % count) else { continue };
        let sample = programs.measure(name, series.variant, millis);
        if let Err(error) = &sample {
            series.failure = Some(format!("{error:#}"));
        }
        series.rounds.push(sample.ok());
    }
}

/// The kernel's io_uring may be forbidden here, and a rival missing; ringer has no excuse.
fn fail_with_ringer(all: &[Measured]) -> Result<()> {
    let ours = |v: Variant| !v.is_kernel() && !v.is_rival();
    let failed = all.iter().flat_map(|m| &m.series).filter(|s| ours(s.variant));
    let count = failed.filter(|s| s.failure.is_some()).count();
    ensure!(count == 0, "{count} measurements failed under ringer");
    Ok(())
}
