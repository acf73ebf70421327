//! A run as JSON: the machine, every sample, what was concluded.
//!
//! What it does not do: read it back.

use super::figures::{Figure, Measured, Series, Spread, verdict};
use super::works::{SECTIONS, Unit};
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::process::Command;

/// The whole run.
pub(crate) fn text(all: &[Measured], millis: u64) -> Result<String> {
    let works: Vec<_> = all.iter().map(|m| work(m, all)).collect();
    let run = json!({ "machine": machine()?, "millis": millis, "works": works });
    Ok(serde_json::to_string_pretty(&run)?)
}

fn machine() -> Result<Value> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let date = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output()?;
    Ok(json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "processors": std::thread::available_parallelism()?.get(),
        "kernel": kernel.trim(),
        "date": String::from_utf8_lossy(&date.stdout).trim(),
    }))
}

fn work(m: &Measured, all: &[Measured]) -> Value {
    let section = SECTIONS.iter().find(|s| s.works.iter().any(|w| w.name == m.work.name));
    let variants: Map<String, Value> =
        m.series.iter().map(|s| (s.variant.label().to_owned(), series(s))).collect();
    let verdicts = m.work.targets.iter().map(|&t| verdict(t, m, all));
    let targets: Vec<_> =
        verdicts.map(|v| json!({ "asked": v.asked, "found": v.found, "met": v.met })).collect();
    json!({
        "name": m.work.name,
        "title": m.work.title,
        "section": section.map(|s| s.title),
        "unit": if m.work.unit == Unit::Kib { "KiB" } else { "ns" },
        "variants": variants,
        "ratio": m.ratio(Figure::Value).map(spread),
        "cpu_ratio": m.ratio(Figure::Cpu).map(spread),
        "targets": targets,
    })
}

fn series(s: &Series) -> Value {
    let of = |figure: fn(super::figures::Sample) -> f64| {
        s.rounds.iter().map(|r| r.map(figure)).collect::<Vec<_>>()
    };
    json!({
        "median": s.spread(Figure::Value).map(|s| s.median),
        "values": of(|s| s.value),
        "cpu_ns": of(|s| s.cpu),
        "failure": s.failure,
    })
}

fn spread(s: Spread) -> Value {
    json!({ "low": s.low, "median": s.median, "high": s.high })
}
