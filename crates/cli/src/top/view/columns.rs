//! The columns of the table of processes, and which of them fit.

use ratatui::layout::Constraint;
use ratatui::text::Line;

use super::super::watch::Row;
use super::{number, time};

/// A column. The order is the one in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Pid,
    Program,
    Rings,
    Requests,
    Completions,
    Flight,
    Armed,
    Workers,
    Late,
    P50,
    P99,
    Errors,
}

/// All, the most telling first.
const BY_WORTH: [Column; 12] = [
    Column::Pid,
    Column::Program,
    Column::Requests,
    Column::Flight,
    Column::P99,
    Column::Completions,
    Column::Errors,
    Column::Late,
    Column::Armed,
    Column::Workers,
    Column::P50,
    Column::Rings,
];

/// The columns that a table has room for, in order; at least the first.
pub(super) fn fitting(width: u16) -> Vec<Column> {
    let mut left = width;
    let mut columns: Vec<Column> = BY_WORTH
        .into_iter()
        .enumerate()
        .take_while(|(i, c)| {
            // A blank between two.
            let takes = c.cells() + u16::from(*i > 0);
            let fits = *i == 0 || takes <= left;
            left = left.saturating_sub(takes);
            fits
        })
        .map(|(_, c)| c)
        .collect();
    columns.sort();
    columns
}

/// Completions in the backlogs.
pub(super) fn late(row: &Row) -> f64 {
    row.sum(|r| f64::from(r.state.backlog))
}

impl Column {
    pub(super) fn title(self) -> Line<'static> {
        let title = match self {
            Self::Pid => "PID",
            Self::Program => "PROGRAM",
            Self::Rings => "RINGS",
            Self::Requests => "REQ/S",
            Self::Completions => "DONE/S",
            Self::Flight => "FLIGHT",
            Self::Armed => "ARMED",
            Self::Workers => "WORK",
            Self::Late => "LATE",
            Self::P50 => "P50",
            Self::P99 => "P99",
            Self::Errors => "ERR/S",
        };
        self.aligned(title.into())
    }

    fn cells(self) -> u16 {
        match self {
            Self::Program => 15,
            Self::Rings => 5,
            Self::Armed | Self::Workers | Self::Late | Self::Flight => 6,
            Self::Pid | Self::Requests | Self::Completions => 7,
            Self::P50 | Self::P99 | Self::Errors => 7,
        }
    }

    pub(super) fn width(self) -> Constraint {
        Constraint::Length(self.cells())
    }

    fn aligned(self, text: String) -> Line<'static> {
        let line = Line::from(text);
        if self == Self::Program { line } else { line.right_aligned() }
    }

    pub(super) fn cell(self, row: &Row) -> Line<'static> {
        let known = |text: String| if row.refused.is_some() { "-".into() } else { text };
        let latency = row.reading.latency_ns;
        self.aligned(match self {
            Self::Pid => row.pid.to_string(),
            Self::Program => row.program.clone(),
            Self::Rings => known(row.reading.rings.len().to_string()),
            Self::Requests => known(number(row.requests())),
            Self::Completions => known(number(row.sum(|r| r.completions))),
            Self::Flight => known(number(row.in_flight())),
            Self::Armed => known(number(row.sum(|r| f64::from(r.state.polled)))),
            Self::Workers => known(number(row.sum(|r| f64::from(r.state.workers)))),
            Self::Late => known(number(late(row))),
            Self::P50 => known(time(latency.map(|l| l.0))),
            Self::P99 => known(time(latency.map(|l| l.1))),
            Self::Errors => known(number(row.reading.opcodes.iter().map(|o| o.errors).sum())),
        })
    }
}
