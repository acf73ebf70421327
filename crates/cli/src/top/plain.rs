//! A look as lines, for what is no terminal.
//!
//! ```text
//!   top - 2 processes, 2 rings: 183204 requests/s, 183200 completions/s, 64 in flight
//!   4711 fio
//!     ring 1: 91602 requests/s, 91600 completions/s, 32 in flight: 0 armed, 0 on workers; ...
//!     READ: 91600/s, 0 errors/s, p50 10.2us, p99 31.0us
//! ```
//! What this does not do: choose or sort; processes come in the order in which they were found.

use std::io::{self, Write};

use crate::trace::entry;

use super::watch::Row;

/// Writes one look.
///
/// # Errors
/// The writer's.
pub(super) fn print(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    let sum = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() + 0.0;
    writeln!(
        out,
        "top - {} processes, {} rings: {:.0} requests/s, {:.0} completions/s, {:.0} in flight",
        rows.len(),
        rows.iter().map(|r| r.reading.rings.len()).sum::<usize>(),
        sum(Row::requests),
        sum(|r| r.sum(|ring| ring.completions)),
        sum(Row::in_flight),
    )?;
    for row in rows {
        process(out, row)?;
    }
    writeln!(out)?;
    out.flush()
}

fn process(out: &mut dyn Write, row: &Row) -> io::Result<()> {
    match &row.refused {
        Some(why) => return writeln!(out, "{} {}: not watched: {why}", row.pid, row.program),
        None => writeln!(out, "{} {}", row.pid, row.program)?,
    }
    for ring in &row.reading.rings {
        let s = &ring.state;
        writeln!(
            out,
            "  ring {}: {:.0} requests/s, {:.0} completions/s, {} in flight: {} armed, {} on workers; \
             {} of {} completions untaken, {} in the backlog",
            ring.number,
            ring.requests,
            ring.completions,
            s.in_flight,
            s.polled,
            s.workers,
            s.cq_ready,
            s.cq_entries,
            s.backlog,
        )?;
    }
    for o in &row.reading.opcodes {
        let name = entry::opcode(o.opcode);
        write!(out, "  {name}: {:.0}/s, {:.0} errors/s", o.completions, o.errors)?;
        match o.latency_ns {
            Some((p50, p99)) => writeln!(out, ", p50 {}, p99 {}", duration(p50), duration(p99))?,
            None => writeln!(out)?,
        }
    }
    match row.lost {
        0 => Ok(()),
        n => writeln!(out, "  {n} records found no room: opcodes lack them, rings do not"),
    }
}

/// A time for people.
pub(super) fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{:.1}us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}ms", ns as f64 / 1e6),
        _ => format!("{:.1}s", ns as f64 / 1e9),
    }
}
