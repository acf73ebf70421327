//! `ringer doctor --support [WORD]`: the engine's tables for people, or as JSON.
//!
//! Summary, then a table after the other; on a terminal notes are wrapped to its width, elsewhere a
//! row is a line. What it does not do: know a row, which are the engine's.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;
use ringer_engine::support::{Row, Support, TABLES, Table};
use serde_json::{Value, json};

use crate::doctor::report;

/// Narrower than this, notes are not wrapped any more \[columns\].
const NOTE_WIDTH_MIN: usize = 24;

/// How to print.
#[derive(Clone, Copy, Debug)]
struct Style {
    colour: bool,
    /// Columns; `None`: as long as they are.
    width: Option<usize>,
}

impl Style {
    fn of_stdout() -> Self {
        let out = io::stdout();
        let size = || rustix::termios::tcgetwinsize(&out).ok().map(|size| size.ws_col.into());
        let width = if out.is_terminal() { size().filter(|&n| n > 0) } else { None };
        Self { colour: report::colour(), width }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The word for a row, padded and in its colour.
    fn word(self, support: &Support) -> String {
        let code = match support {
            Support::Full => "32",
            Support::Partial(_) => "33",
            Support::Refused(..) => "31",
        };
        self.paint(code, &format!("{:<7}", support.word()))
    }
}

/// Prints the rows whose name holds `word`: all of them for an empty one.
///
/// # Errors
/// No row is named so; the stream's.
pub(crate) fn support(word: &str, as_json: bool) -> anyhow::Result<u8> {
    let wanted = wanted(word);
    let chosen: Vec<(&Table, Vec<&Row>)> = TABLES
        .iter()
        .map(|table| (table, table.rows.iter().filter(|r| r.name.contains(&wanted)).collect()))
        .filter(|(_, rows): &(_, Vec<_>)| !rows.is_empty())
        .collect();
    if chosen.is_empty() {
        bail!("nothing in io_uring's tables is named {word}; `ringer doctor --support` lists them");
    }
    let mut out = io::stdout().lock();
    if as_json {
        let tables: Vec<Value> =
            chosen.iter().map(|(table, rows)| table_json(table, rows)).collect();
        writeln!(out, "{:#}", json!({ "tables": tables }))?;
        return Ok(0);
    }
    let style = Style::of_stdout();
    if word.is_empty() {
        summary(&mut out, style)?;
    }
    for (i, (table, rows)) in chosen.iter().enumerate() {
        if i > 0 || word.is_empty() {
            writeln!(out)?;
        }
        section(&mut out, style, table, rows)?;
    }
    Ok(0)
}

/// A name as the tables have it: headers say `IORING_OP_READ`, people `read`.
fn wanted(word: &str) -> String {
    let word = word.to_uppercase();
    let word = word.strip_prefix("IORING_").unwrap_or(&word);
    word.strip_prefix("OP_").unwrap_or(word).to_owned()
}

fn summary(out: &mut impl Write, style: Style) -> io::Result<()> {
    let mut all = [0; 4];
    writeln!(out, "What ringer carries out of Linux 6.18's io_uring\n")?;
    writeln!(out, "{}", counts_line("", ["full", "partial", "refused", "newer"]))?;
    for table in &TABLES {
        let counts = table.counts();
        writeln!(out, "{}", counts_line(short(table.title), counts))?;
        all.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
    writeln!(out, "{}", style.paint("1", &counts_line("all", all)))
}

fn counts_line<T: std::fmt::Display>(
    title: &str,
    [full, partial, refused, newer]: [T; 4],
) -> String {
    format!("{title:<32} {full:>7} {partial:>7} {refused:>7} {newer:>7}")
}

/// A title that fits its column.
fn short(title: &str) -> &str {
    title.strip_prefix("Flags of ").unwrap_or(title)
}

fn section(out: &mut impl Write, style: Style, table: &Table, rows: &[&Row]) -> io::Result<()> {
    writeln!(out, "{}", style.paint("1", table.title))?;
    for line in wrapped(&table.about.replace('`', ""), style.width.map(|w| w.saturating_sub(2))) {
        writeln!(out, "  {line}")?;
    }
    let values: Vec<String> = rows.iter().map(|row| value(table, row)).collect();
    let widest = |lens: &mut dyn Iterator<Item = usize>| lens.max().unwrap_or(0);
    let value_width = widest(&mut values.iter().map(String::len));
    let name_width = widest(&mut rows.iter().map(|row| row.name.len()));
    for (row, value) in rows.iter().zip(&values) {
        let (major, minor) = row.since;
        let since = format!("{major}.{minor}");
        let head = format!("  {value:>value_width$}  {:<name_width$}  {since:<4}  ", row.name);
        let indent = head.len() + "refused  ".len();
        let room = style.width.map(|w| w.saturating_sub(indent));
        let note = wrapped(&said(&row.support), room);
        let mut notes = note.iter();
        let first = notes.next().map_or_else(String::new, |line| format!("  {line}"));
        writeln!(out, "{}", format!("{head}{}{first}", style.word(&row.support)).trim_end())?;
        for line in notes {
            writeln!(out, "{:indent$}{line}", "")?;
        }
    }
    Ok(())
}

fn value(table: &Table, row: &Row) -> String {
    if table.place.is_bits() { format!("{:#x}", row.value) } else { row.value.to_string() }
}

fn said(support: &Support) -> String {
    match support {
        Support::Full | Support::Partial(_) => support.note().to_owned(),
        Support::Refused(errno, why) => format!("{errno}: {why}"),
    }
}

/// Lines of at most `room` columns, broken between words; one line if there is no limit, or next to
/// no room.
fn wrapped(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room.filter(|&n| n >= NOTE_WIDTH_MIN) else { return vec![text.to_owned()] };
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn table_json(table: &Table, rows: &[&Row]) -> Value {
    let rows: Vec<Value> = rows.iter().map(|row| row_json(row)).collect();
    json!({ "title": table.title, "about": table.about, "rows": rows })
}

fn row_json(row: &Row) -> Value {
    let errno = match row.support {
        Support::Refused(errno, _) => Some(errno.to_string()),
        Support::Full | Support::Partial(_) => None,
    };
    let (major, minor) = row.since;
    json!({
        "name": row.name,
        "value": row.value,
        "since": format!("{major}.{minor}"),
        "support": row.support.word(),
        "errno": errno,
        "note": Some(row.support.note()).filter(|note| !note.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_the_headers_name_and_by_its_own() {
        assert_eq!(wanted("IORING_OP_READ"), "READ");
        assert_eq!(wanted("IORING_SETUP_SQPOLL"), "SETUP_SQPOLL");
        assert_eq!(wanted("read"), "READ");
    }

    #[test]
    fn notes_break_between_words_and_not_where_there_is_no_room() {
        let text = "one two three four five six seven eight";
        assert_eq!(wrapped(text, Some(24)), ["one two three four five", "six seven eight"]);
        assert_eq!(wrapped(text, Some(10)), [text]);
        assert_eq!(wrapped(text, None), [text]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [80, 120] {
            let mut out = Vec::new();
            let style = Style { colour: false, width: Some(width) };
            summary(&mut out, style).unwrap();
            for table in &TABLES {
                let rows: Vec<&Row> = table.rows.iter().collect();
                section(&mut out, style, table, &rows).unwrap();
            }
            for line in String::from_utf8(out).unwrap().lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }
}
