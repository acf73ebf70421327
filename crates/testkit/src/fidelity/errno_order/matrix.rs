//! A recorded table: every spoil alone and every two of them together, one letter a result.
//!
//! ```text
//!   ## FSYNC
//!   a=0 b=EINVAL c=EBADF
//!   a            base
//!   b            flags|0x80
//!   bc           fd=0xffffffff        the first spoil with this one, then this one alone
//! ```
//! What it does not do: know what a spoil is. A [`Subject`] runs its own cells.

use std::collections::HashMap;

/// What a table is about.
pub trait Subject {
    /// Heading in the transcript.
    fn name(&self) -> String;
    /// The spoils' names.
    fn labels(&self) -> Vec<String>;
    /// Whether two spoils can be combined.
    fn combine(&self, a: usize, b: usize) -> bool;
    /// Whether a cell belongs to the claim at hand.
    fn wanted(&self, _spoils: &[usize]) -> bool {
        true
    }
    /// Runs a valid subject with these spoils. `expected` says how long a wait is worth.
    ///
    /// # Errors
    /// What kept it from being run.
    fn cell(&mut self, spoils: &[usize], expected: Option<&str>) -> Result<String, String>;
}

/// A cell's place for two spoils that can not be combined.
const APART: u8 = b'-';
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Runs all cells and answers the table's text.
///
/// # Errors
/// What kept a cell from being run, or too many different results.
pub fn record(subject: &mut impl Subject) -> Result<String, String> {
    let labels = subject.labels();
    let mut letters = Letters::default();
    let mut lines = vec![(vec![letters.of(subject.cell(&[], None)?)?], "base".to_owned())];
    for (i, label) in labels.iter().enumerate() {
        let mut line = Vec::new();
        for j in 0..i {
            line.push(if subject.combine(j, i) {
                letters.of(subject.cell(&[j, i], None)?)?
            } else {
                APART
            });
        }
        line.push(letters.of(subject.cell(&[i], None)?)?);
        lines.push((line, label.clone()));
    }
    let mut text = format!("## {}\n{}\n", subject.name(), letters.legend());
    let width = labels.len() + 1;
    for (line, label) in lines {
        let cells = String::from_utf8_lossy(&line).into_owned();
        text.push_str(&format!("{cells:width$} {label}\n"));
    }
    Ok(text)
}

#[derive(Default)]
struct Letters {
    results: Vec<String>,
    by_result: HashMap<String, u8>,
}

impl Letters {
    fn of(&mut self, result: String) -> Result<u8, String> {
        if let Some(&letter) = self.by_result.get(&result) {
            return Ok(letter);
        }
        let letter = *LETTERS.get(self.results.len()).ok_or("more results than letters")?;
        self.results.push(result.clone());
        self.by_result.insert(result, letter);
        Ok(letter)
    }

    fn legend(&self) -> String {
        let pairs = self.results.iter().zip(LETTERS);
        pairs.map(|(r, &l)| format!("{}={r}", char::from(l))).collect::<Vec<_>>().join(" ")
    }
}

/// A parsed table.
struct Table<'a> {
    results: HashMap<u8, &'a str>,
    /// Cells and label by line; the first is the base.
    lines: Vec<(&'a [u8], &'a str)>,
}

fn table<'a>(transcript: &'a str, name: &str) -> Result<Table<'a>, String> {
    let heading = format!("## {name}\n");
    let start = transcript.find(&heading).ok_or_else(|| format!("no table of {name}"))?;
    let body = &transcript[start + heading.len()..];
    let body = &body[..body.find("\n## ").unwrap_or(body.len())];
    let mut lines = body.lines();
    let legend = lines.next().unwrap_or("");
    let results = legend
        .split(' ')
        .filter_map(|p| p.split_once('='))
        .map(|(l, r)| (l.as_bytes()[0], r))
        .collect();
    let lines = lines
        .filter_map(|l| l.split_once(' '))
        .map(|(cells, label)| (cells.as_bytes(), label.trim_start()))
        .collect();
    Ok(Table { results, lines })
}

impl Table<'_> {
    fn expected(&self, line: usize, at: usize) -> Result<Option<&str>, String> {
        let letter = self.lines.get(line).and_then(|(cells, _)| cells.get(at));
        match letter {
            Some(&APART) => Ok(None),
            Some(l) => Ok(self.results.get(l).copied()),
            None => Err("the table is too short: record it again".to_owned()),
        }
    }
}

/// Differences beyond this many are only counted.
const SHOWN_MAX: usize = 12;

/// Runs the wanted cells and compares them with the recorded table.
///
/// # Errors
/// The cells that differ.
pub fn compare(transcript: &str, subject: &mut impl Subject) -> Result<(), String> {
    let labels = subject.labels();
    let table = table(transcript, &subject.name())?;
    let recorded: Vec<&str> = table.lines.iter().skip(1).map(|(_, l)| *l).collect();
    if recorded != labels {
        return Err("the table is of other spoils: record it again".to_owned());
    }
    let mut differ = Vec::new();
    let mut ran = 0;
    for line in 0..=labels.len() {
        for at in 0..line.max(1) {
            let spoils: Vec<usize> = match (line, at + 1) {
                (0, _) => vec![],
                (i, last) if last == i => vec![i - 1],
                (i, _) => vec![at, i - 1],
            };
            let Some(expected) = table.expected(line, at)? else { continue };
            if !subject.wanted(&spoils) {
                continue;
            }
            ran += 1;
            let seen = subject.cell(&spoils, Some(expected))?;
            if seen != expected {
                let names: Vec<&str> = spoils.iter().map(|&i| labels[i].as_str()).collect();
                differ.push(format!("[{}] {seen}, 6.18 {expected}", names.join(" ")));
            }
        }
    }
    if differ.is_empty() && ran > 0 {
        return Ok(());
    }
    let n = differ.len();
    differ.truncate(SHOWN_MAX);
    Err(format!("{n} of {ran} differ: {}", differ.join("; ")))
}
