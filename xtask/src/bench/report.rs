//! The tables that people read, as Markdown.
//!
//! What it does not do: compute; the figures come from `figures`.

use super::figures::{Figure, Measured, Series, Spread, Verdict, asked, verdict};
use super::works::{PAIRS, SECTIONS, Section, Unit, Variant};
use std::fmt::Write as _;

/// What would be measured, a line each.
pub(crate) fn list(all: &[Measured]) -> String {
    let mut out = String::new();
    for m in all {
        let variants: Vec<_> = m.work.variants.iter().map(|v| v.label()).collect();
        let _ = writeln!(out, "{:<22} {} [{}]", m.work.name, m.work.title, variants.join(", "));
        for &target in m.work.targets {
            let _ = writeln!(out, "{:<22} {}", "", asked(target));
        }
    }
    out
}

const HOW_TO_READ: &str = "\
Medians over the rounds; in brackets quartiles. A ratio is the median of kernel / ringer over the
rounds, of the better mode of each: above 1 ringer takes less; behind a patched or trapping ringer it is that one's.
cpu is the same of processor time. Without a unit: nanoseconds an operation.
";

/// A table for each section that was measured, and what there is to say below them.
pub(crate) fn tables(all: &[Measured]) -> String {
    let mut out = String::new();
    for section in SECTIONS {
        let rows: Vec<_> = section.works.iter().filter_map(|w| named(all, w.name)).collect();
        if !rows.is_empty() {
            out.push_str(&table(section, &rows, all));
        }
    }
    out + &pairs(all) + &failures(all) + HOW_TO_READ
}

fn named<'a>(all: &'a [Measured], name: &str) -> Option<&'a Measured> {
    all.iter().find(|m| m.work.name == name)
}

fn table(section: &Section, rows: &[&Measured], all: &[Measured]) -> String {
    let mut variants: Vec<_> = rows.iter().flat_map(|m| m.work.variants).copied().collect();
    variants.sort_unstable();
    variants.dedup();
    let labels: Vec<_> = variants.iter().map(|v| v.label()).collect();
    let mut out = format!(
        "## {}\n\n| work | {} | time | cpu | targets |\n|---|{}---|---|---|\n",
        section.title,
        labels.join(" | "),
        "---|".repeat(variants.len()),
    );
    for row in rows {
        let _ =
            writeln!(out, "| {} | {} |", row.work.title, cells(row, &variants, all).join(" | "));
    }
    out.push('\n');
    out
}

fn cells(row: &Measured, variants: &[Variant], all: &[Measured]) -> Vec<String> {
    let unit = row.work.unit;
    let cell = |v: &Variant| match row.series(*v) {
        None => String::new(),
        Some(s) => s.spread(Figure::Value).map_or_else(
            || "failed".into(),
            |spread| cell_of(unit, *v, spread) + &beside_kernel(row, s),
        ),
    };
    let mut cells: Vec<String> = variants.iter().map(cell).collect();
    let compares = |s: &Spread| unit != Unit::Kib && s.median.is_finite();
    cells.push(row.ratio(Figure::Value).filter(compares).map_or_else(String::new, ratio));
    cells.push(row.ratio(Figure::Cpu).map_or_else(String::new, ratio));
    let verdicts = row.work.targets.iter().map(|&t| verdict(t, row, all));
    cells.push(verdicts.map(|v| judged(&v)).collect::<Vec<_>>().join("; "));
    cells
}

fn judged(v: &Verdict) -> String {
    match v.found {
        Some(found) if v.met => format!("{}: {found:.2} met", v.asked),
        Some(found) => format!("{}: {found:.2} **missed**", v.asked),
        None => format!("{}: not measured", v.asked),
    }
}

/// A median, with its quartiles where it is one side of the ratio.
fn cell_of(unit: Unit, variant: Variant, s: Spread) -> String {
    let figure = |value: f64| match unit {
        Unit::Ns => thousands(value),
        Unit::NsProgram => format!("{:.2}", value / 1e6),
        Unit::Kib => format!("{value:.0}"),
    };
    let mut cell = figure(s.median);
    if variant.is_kernel() || variant.is_ringer() {
        let _ = write!(cell, " [{}..{}]", figure(s.low), figure(s.high));
    }
    match unit {
        Unit::Ns => cell,
        Unit::NsProgram => cell + " ms",
        Unit::Kib => cell + " KiB",
    }
}

fn ratio(s: Spread) -> String {
    format!("{:.2}x [{:.2}..{:.2}]", s.median, s.low, s.high)
}

/// The ratios of a variant that has no columns for them.
fn beside_kernel(row: &Measured, series: &Series) -> String {
    let of = |figure| row.beside_kernel(series, figure).map(|s| s.median);
    match (of(Figure::Value), of(Figure::Cpu)) {
        (Some(time), Some(cpu)) => format!(" {time:.2}x, cpu {cpu:.2}x"),
        (Some(time), None) => format!(" {time:.2}x"),
        _ => String::new(),
    }
}

/// A whole number, three digits at a time.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Registered files against plain ones, on both sides.
fn pairs(all: &[Measured]) -> String {
    let mut out = String::new();
    for (title, plain, fixed) in PAIRS {
        let (Some(plain), Some(fixed)) = (named(all, plain), named(all, fixed)) else { continue };
        if out.is_empty() {
            out.push_str("## Plain against registered files\n\n");
            out.push_str("| request | kernel | ringer |\n|---|---|---|\n");
        }
        let saved = |v: Variant| {
            let spread = plain.series(v)?.over(fixed.series(v)?, Figure::Value)?;
            Some(ratio(spread))
        };
        let cell = |v| saved(v).unwrap_or_default();
        let (kernel, ringer) = (cell(Variant::Kernel), cell(Variant::Ringer));
        let _ = writeln!(out, "| {title} | {kernel} | {ringer} |");
    }
    if !out.is_empty() {
        out.push_str("\nPlain / registered: above 1 the registered file is cheaper.\n\n");
    }
    out
}

fn failures(all: &[Measured]) -> String {
    let mut out = String::new();
    for (m, s) in all.iter().flat_map(|m| m.series.iter().map(move |s| (m, s))) {
        if let Some(why) = &s.failure {
            let missing = s.rounds.iter().filter(|r| r.is_none()).count();
            let of = s.rounds.len();
            let (name, label) = (m.work.name, s.variant.label());
            let _ = writeln!(out, "- {name} by {label}: {missing} of {of} failed: {why}");
        }
    }
    if !out.is_empty() {
        out.insert_str(0, "## Failed\n\n");
        out.push('\n');
    }
    out
}
