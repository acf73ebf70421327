//! A look on a terminal of any size.
//!
//! ```text
//!   totals                                     always, and alone where there is no more room
//!   sparkline of requests a second             from 14 lines on
//!   processes, or the rings and opcodes of the selected one
//!   why the selected one is not watched, keys
//! ```
//! Columns that do not fit are left out, the least telling first. What this does not do: read keys from a
//! terminal, or remember anything but what the user chose.

mod columns;
#[cfg(test)]
mod tests;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Clear, Paragraph, RenderDirection, Row as TableRow, Sparkline, Table, TableState,
};

use super::plain::duration;
use super::watch::Row;
use crate::trace::entry;
use columns::fitting;

const HELP: [&str; 11] = [
    " q, Ctrl-C    quit",
    " s            sort by the next column",
    " Up, Down     select a process",
    " Enter        its opcodes and rings, and back",
    " h            this, and back",
    "",
    " FLIGHT  requests that have not ended",
    " ARMED   of these, wait for their file",
    " WORK    of these, on workers",
    " LATE    completions in the backlog",
    " P50 P99 from submission to completion",
];
const HELP_WIDTH: u16 = 48;

/// By what processes are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Requests a second, most first.
    #[default]
    Requests,
    /// Most in flight first.
    Flight,
    /// Slowest first.
    P99,
    /// By number.
    Pid,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Requests => Self::Flight,
            Self::Flight => Self::P99,
            Self::P99 => Self::Pid,
            Self::Pid => Self::Requests,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Flight => "in flight",
            Self::P99 => "p99",
            Self::Pid => "pid",
        }
    }

    fn order(self, rows: &mut [Row]) {
        let p99 = |r: &Row| r.reading.latency_ns.map_or(0, |(_, p99)| p99);
        match self {
            Self::Requests => rows.sort_by(|a, b| b.requests().total_cmp(&a.requests())),
            Self::Flight => rows.sort_by(|a, b| b.in_flight().total_cmp(&a.in_flight())),
            Self::P99 => rows.sort_by_key(|r| std::cmp::Reverse(p99(r))),
            Self::Pid => rows.sort_by_key(|r| r.pid),
        }
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing.
    Nothing,
    /// To see something else.
    Draw,
    /// To end.
    Quit,
}

/// See the module's doc.
#[derive(Debug, Default)]
pub(super) struct View {
    rows: Vec<Row>,
    sort: Sort,
    /// The selected process.
    selected: Option<u32>,
    detail: bool,
    help: bool,
    colours: bool,
    /// Requests a second of all, the last look last.
    history: Vec<f64>,
    /// The last thing to be told.
    pub(super) warning: Option<String>,
}

impl View {
    /// One with colours or without.
    pub(super) fn new(colours: bool) -> Self {
        Self { colours, ..Self::default() }
    }

    /// Takes a look.
    pub(super) fn set(&mut self, rows: Vec<Row>) {
        /// More than any terminal is wide.
        const HISTORY: usize = 1024;
        self.rows = rows;
        self.sort.order(&mut self.rows);
        self.history.push(self.sum(Row::requests));
        let old = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..old);
        if self.current().is_none() {
            // It ended.
            self.detail = false;
            self.selected = self.rows.first().map(|r| r.pid);
        }
    }

    fn place(&self) -> Option<usize> {
        self.rows.iter().position(|r| Some(r.pid) == self.selected)
    }

    fn current(&self) -> Option<&Row> {
        self.rows.get(self.place()?)
    }

    fn sum(&self, of: impl Fn(&Row) -> f64) -> f64 {
        self.rows.iter().map(of).sum()
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Wish::Quit,
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => self.detail = false,
            KeyCode::Char('h' | '?') => self.help = !self.help,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.sort.order(&mut self.rows);
            }
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Enter => self.detail = !self.detail && self.current().is_some(),
            _ => return Wish::Nothing,
        }
        Wish::Draw
    }

    fn step(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        let to = self.place().unwrap_or(0).saturating_add_signed(by).min(last);
        self.selected = self.rows.get(to).map(|r| r.pid);
    }

    /// Draws it all.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let height = frame.area().height;
        let lines = |least: u16, n: u16| Constraint::Length(if height >= least { n } else { 0 });
        let areas = Layout::vertical([
            Constraint::Length(1),
            lines(14, 6),
            Constraint::Min(0),
            lines(7, 1),
            lines(4, 1),
        ]);
        let [totals, spark, main, note, keys] = areas.areas(frame.area());
        frame.render_widget(self.totals(totals.width), totals);
        self.sparkline(frame, spark);
        match self.current().filter(|_| self.detail) {
            Some(row) => self.one(frame, main, row),
            None => self.all(frame, main),
        }
        frame.render_widget(self.note(), note);
        frame.render_widget(self.keys(), keys);
        if self.help {
            Self::help(frame);
        }
    }

    fn totals(&self, width: u16) -> Line<'static> {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let rings: usize = self.rows.iter().map(|r| r.reading.rings.len()).sum();
        let of = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let count = |of: fn(&super::meter::RingRow) -> u32| {
            number(self.sum(|row| row.sum(|ring| f64::from(of(ring)))))
        };
        let processes = of(self.rows.len(), "process").replace("processs", "processes");
        let words = [
            "ringer top".to_owned(),
            format!("{} req/s", number(self.sum(Row::requests))),
            format!("{} done/s", number(self.sum(|r| r.sum(|ring| ring.completions)))),
            format!("{} in flight", number(self.sum(Row::in_flight))),
            format!("{} armed", count(|r| r.state.polled)),
            format!("{} on workers", count(|r| r.state.workers)),
            format!("{} late", count(|r| r.state.backlog)),
            processes,
            of(rings, "ring"),
        ];
        // Whole words, as many as fit; the first is cut if need be.
        let mut left = usize::from(width);
        let fit = words.into_iter().enumerate().map_while(|(i, word)| {
            let text = if i == 0 { word } else { format!("  {word}") };
            let fits = i == 0 || text.len() <= left;
            left = left.saturating_sub(text.len());
            fits.then(|| Span::styled(text, if i == 0 { bold } else { Style::new() }))
        });
        Line::from(fit.collect::<Vec<_>>())
    }

    fn sparkline(&self, frame: &mut Frame<'_>, area: Rect) {
        let (history, whose) = match self.current().filter(|_| self.detail) {
            Some(row) => (&row.history, format!("{} {}", row.pid, row.program)),
            None => (&self.history, "all".to_owned()),
        };
        let newest = history.iter().rev().take(area.width.into());
        let data: Vec<u64> = newest.map(|&n| n.max(0.0) as u64).collect();
        let most = data.iter().copied().max().unwrap_or(0);
        let title = format!(" requests/s of {whose}, at most {} ", number(most as f64));
        let spark = Sparkline::default()
            .block(Block::bordered().title(title))
            .direction(RenderDirection::RightToLeft)
            .style(self.colour(Color::Cyan))
            .data(data);
        frame.render_widget(spark, area);
    }

    fn all(&self, frame: &mut Frame<'_>, area: Rect) {
        if self.rows.is_empty() {
            let text = "no process of this user has a ring that ringer carries out:\n\
                        ringer run --native never -- PROG";
            return frame.render_widget(Paragraph::new(text), area);
        }
        let columns = fitting(area.width);
        let rows = self.rows.iter().map(|row| {
            let style = match &row.refused {
                Some(_) => Style::new().add_modifier(Modifier::DIM),
                None if columns::late(row) > 0.0 => self.colour(Color::Yellow),
                None => Style::new(),
            };
            TableRow::new(columns.iter().map(|c| c.cell(row))).style(style)
        });
        let table = Table::new(rows, columns.iter().map(|c| c.width()))
            .header(bold(columns.iter().map(|c| c.title())))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let mut state = TableState::new().with_selected(self.place());
        frame.render_stateful_widget(table, area, &mut state);
    }

    /// The rings and opcodes of a process.
    fn one(&self, frame: &mut Frame<'_>, area: Rect, row: &Row) {
        // The opcodes first: a process has few, and many rings.
        let opcodes = u16::try_from(row.reading.opcodes.len()).unwrap_or(u16::MAX);
        let upper = Constraint::Max(opcodes.saturating_add(2));
        let [upper, lower] = Layout::vertical([upper, Constraint::Min(0)]).areas(area);
        let rows = row.reading.opcodes.iter().map(|o| {
            let [p50, p99] = [o.latency_ns.map(|l| l.0), o.latency_ns.map(|l| l.1)].map(time);
            let style = if o.errors > 0.0 { self.colour(Color::Red) } else { Style::new() };
            let cells = [number(o.completions), number(o.errors), p50, p99];
            let name = entry::opcode(o.opcode).into_owned();
            TableRow::new([Line::from(name)].into_iter().chain(cells.map(right))).style(style)
        });
        let widths = [20, 8, 8, 8, 8].map(Constraint::Length);
        let titles = ["OPCODE", "DONE/S", "ERR/S", "P50", "P99"];
        frame.render_widget(Table::new(rows, widths).header(header(titles)), upper);
        let rows = row.reading.rings.iter().map(|ring| {
            let s = &ring.state;
            let cells = [
                number(ring.requests),
                number(ring.completions),
                s.in_flight.to_string(),
                s.polled.to_string(),
                s.workers.to_string(),
                s.backlog.to_string(),
                format!("{}/{}", s.cq_ready, s.cq_entries),
            ];
            let style = if s.backlog > 0 { self.colour(Color::Yellow) } else { Style::new() };
            let first = [Line::from(ring.number.to_string())];
            TableRow::new(first.into_iter().chain(cells.map(right))).style(style)
        });
        let widths = [8, 8, 8, 8, 8, 8, 8, 12].map(Constraint::Length);
        let titles = ["RING", "REQ/S", "DONE/S", "FLIGHT", "ARMED", "WORK", "LATE", "CQ"];
        frame.render_widget(Table::new(rows, widths).header(header(titles)), lower);
    }

    /// What there is to know about the selected process, or about all.
    fn note(&self) -> Line<'static> {
        let of_row = self.current().and_then(|row| match (&row.refused, row.lost) {
            (Some(why), _) => Some(format!("{} is not watched: {why}", row.pid)),
            (None, 0) => None,
            (None, n) => Some(format!("{}: {n} records found no room: opcodes lack them", row.pid)),
        });
        let text = of_row.or_else(|| self.warning.clone()).unwrap_or_default();
        Line::from(text).style(self.colour(Color::Yellow))
    }

    fn keys(&self) -> Line<'static> {
        let enter = if self.detail { "back" } else { "opcodes" };
        let sort = self.sort.word();
        Line::from(format!(
            "q quit  s sort: {sort}  \u{2191}\u{2193} select  Enter {enter}  h help"
        ))
        .style(Style::new().add_modifier(Modifier::DIM))
    }

    fn help(frame: &mut Frame<'_>) {
        let whole = frame.area();
        let text = HELP.map(Line::from).to_vec();
        let height = u16::try_from(text.len() + 2).unwrap_or(u16::MAX).min(whole.height);
        let width = HELP_WIDTH.min(whole.width);
        let (x, y) = ((whole.width - width) / 2, (whole.height - height) / 2);
        let area = Rect { x: whole.x + x, y: whole.y + y, width, height };
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" help ")), area);
    }

    fn colour(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
}

/// The titles; all but the first, which is a name's, stand to the right.
fn header(titles: impl IntoIterator<Item = &'static str>) -> TableRow<'static> {
    let cells = titles.into_iter().enumerate().map(|(i, title)| match i {
        0 => Line::from(title),
        _ => right(title.into()),
    });
    bold(cells)
}

fn bold(cells: impl Iterator<Item = Line<'static>>) -> TableRow<'static> {
    TableRow::new(cells).style(Style::new().add_modifier(Modifier::BOLD))
}

fn right(text: String) -> Line<'static> {
    Line::from(text).right_aligned()
}

fn time(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".into(), duration)
}

/// A count or a rate for people.
fn number(n: f64) -> String {
    match n {
        n if n <= 0.0 || n.is_nan() => "0".into(),
        n if n < 0.95 => format!("{n:.1}"),
        n if n < 1e4 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.1}k", n / 1e3),
        n => format!("{:.2}M", n / 1e6),
    }
}
