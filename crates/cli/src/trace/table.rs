//! The table of `-c`: what was spent on each opcode, as strace(1) has it for system calls.
//!
//! What it does not do: add up latencies of requests that did not end.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::entry;
use super::join::Event;

#[derive(Debug, Default)]
struct Row {
    calls: u64,
    errors: u64,
    in_flight: u64,
    ended: u64,
    total_ns: u64,
    max_ns: u64,
}

/// See the module's doc.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<u8, Row>);

impl Table {
    /// Counts the event, if it is a request's last.
    pub(super) fn add(&mut self, event: &Event<'_>) {
        if !event.is_last() {
            return;
        }
        let row = self.0.entry(event.request.taken.sqe.opcode).or_default();
        row.calls += 1;
        let (Some(told), Some(ns)) = (event.told, event.latency_ns()) else {
            row.in_flight += 1;
            return;
        };
        row.errors += u64::from(told.res < 0);
        row.ended += 1;
        row.total_ns = row.total_ns.saturating_add(ns);
        row.max_ns = row.max_ns.max(ns);
    }

    /// Prints it, the dearest opcode first.
    ///
    /// # Errors
    /// The writer's.
    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.total_ns));
        let sum =
            |of: fn(&Row) -> u64| self.0.values().map(of).fold(0, |a: u64, b| a.saturating_add(b));
        let total = Row {
            calls: sum(|r| r.calls),
            errors: sum(|r| r.errors),
            in_flight: sum(|r| r.in_flight),
            ended: sum(|r| r.ended),
            total_ns: sum(|r| r.total_ns),
            max_ns: self.0.values().map(|r| r.max_ns).max().unwrap_or(0),
        };
        writeln!(
            out,
            "{:>6} {:>11} {:>12} {:>12} {:>9} {:>9} {:>9} opcode",
            "% time", "seconds", "mean usecs", "max usecs", "requests", "errors", "in flight"
        )?;
        let rule = ["-"; 7].iter().zip([6, 11, 12, 12, 9, 9, 9]);
        let rule: Vec<String> = rule.map(|(dash, n)| dash.repeat(n)).collect();
        writeln!(out, "{} ----------------", rule.join(" "))?;
        for (opcode, row) in rows {
            line(out, row, total.total_ns, &entry::opcode(*opcode))?;
        }
        writeln!(out, "{} ----------------", rule.join(" "))?;
        line(out, &total, total.total_ns, "total")
    }
}

fn line(out: &mut dyn Write, row: &Row, all_ns: u64, name: &str) -> io::Result<()> {
    let micros = |ns: f64| ns / 1e3;
    writeln!(
        out,
        "{:>6.2} {:>11.6} {:>12.1} {:>12.1} {:>9} {:>9} {:>9} {name}",
        100.0 * row.total_ns as f64 / (all_ns as f64).max(1.0),
        row.total_ns as f64 / 1e9,
        micros(row.total_ns as f64 / (row.ended as f64).max(1.0)),
        micros(row.max_ns as f64),
        row.calls,
        row.errors,
        row.in_flight,
    )
}
