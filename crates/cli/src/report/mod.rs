//! `ringer report`: a trace as one page of HTML.
//!
//! ```text
//!  trace.jsonl -> line (JSON, or malformed) -> tally (sums) -> flight -> advice <- measured
//!                                                     '----------+--------'
//!                                                             page, chart -> report.html
//! ```
//! The trace may come from anywhere, and so may the names in it: lines are bounded, what is not a line
//! of ours is counted and said, and all text is escaped. What this does not do: zoom (`ringer trace
//! --perfetto` is for that), or run a program.

mod advice;
mod chart;
mod flight;
mod line;
mod measured;
mod page;
mod tally;
mod units;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::Context;

use crate::cli::ReportArgs;
use crate::refusal::Refusal;
use crate::{os, trace};
use line::{LEN_MAX, Line};
use tally::Tally;

/// Reads the trace and writes the page.
///
/// # Errors
/// The trace cannot be read, or has nothing that `ringer trace --json` writes; the page cannot be written.
pub(crate) fn report(args: &ReportArgs) -> anyhow::Result<u8> {
    os::hold_standard_descriptors();
    let name = args.trace.display().to_string();
    if args.output.is_none() && io::stdout().is_terminal() {
        let refusal = Refusal::ours("will not write a page to a terminal", "no file was named");
        return Err(refusal.code(1).fix(format!("ringer report {name} -o report.html")).into());
    }
    let tally = read(&mut *open(&args.trace)?).with_context(|| format!("reading {name}"))?;
    if tally.requests() == 0 && tally.end.is_none() {
        let why = format!("none of its {} lines is one of ringer trace --json", tally.lines);
        let refusal = Refusal::ours(format!("cannot make a report of {name}"), why);
        return Err(refusal.code(1).fix(format!("ringer trace --json -o {name} -- PROG")).into());
    }
    if tally.malformed > 0 {
        eprintln!(
            "ringer: report: {} of {} lines are none of ringer trace --json, and were left out",
            tally.malformed, tally.lines
        );
    }
    let page = page::page(&tally, &name);
    match &args.output {
        None => io::stdout().write_all(page.as_bytes()).context("writing the page")?,
        Some(path) => {
            let mut out = trace::file(path).map_err(|refusal| refusal.code(1))?;
            out.write_all(page.as_bytes())
                .and_then(|()| out.flush())
                .context("writing the page")?;
        }
    }
    Ok(0)
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).map_err(|e| {
        let refusal = Refusal::ours(format!("cannot read {}", path.display()), e.to_string());
        refusal.code(1).fix(format!("ringer trace --json -o {} -- PROG", path.display()))
    })?;
    Ok(Box::new(BufReader::with_capacity(1 << 18, file)))
}

/// Adds all lines up; one that is too long is malformed, and what is left of it is passed over.
fn read(from: &mut dyn BufRead) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if from.take(LEN_MAX).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(tally);
        }
        if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LEN_MAX {
            pass_over(from)?;
            tally.add(Line::Malformed);
        } else if bytes.trim_ascii().is_empty() {
            // An empty line is none.
        } else {
            tally.add(line::line(&bytes));
        }
    }
}

fn pass_over(from: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let there = from.fill_buf()?;
        let (n, over) = match there.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (there.len(), there.is_empty()),
        };
        from.consume(n);
        if over {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
