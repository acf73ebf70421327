//! What a way of doing something costs beside another: the figures of docs/bench.md.
//!
//! They are looked up in the table itself, which is carried along, so that advice never says anything
//! else than what was measured last. What this does not do: judge whether the advice fits.

/// The project's measurements.
const TABLE: &str = include_str!("../../../../docs/bench.md");
/// Whose figures are taken.
const COLUMN: &str = "ringer";

/// A cell: a median and its quartiles \[ns an operation\].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) median: f64,
    low: f64,
    high: f64,
}

/// Two ways to do the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// What the one costs.
    pub(super) dear: Cell,
    /// What the other costs.
    pub(super) cheap: Cell,
    /// Rows of the table.
    rows: (&'static str, &'static str),
}

impl Pair {
    /// The two rows in ringer's column; `None`: the table has no such row any more.
    pub(super) fn of(dear: &'static str, cheap: &'static str) -> Option<Self> {
        Some(Self { dear: cell(dear, COLUMN)?, cheap: cell(cheap, COLUMN)?, rows: (dear, cheap) })
    }

    /// What an operation saves \[ns\]; `None`: not more than the measurement varies.
    pub(super) fn saving_ns(&self) -> Option<f64> {
        (self.dear.low > self.cheap.high).then_some(self.dear.median - self.cheap.median)
    }

    /// Where the figures are from.
    pub(super) fn source(&self) -> String {
        let (dear, cheap) = self.rows;
        let rows = if dear == cheap {
            format!("“{dear}”")
        } else {
            format!("“{dear}” and “{cheap}”")
        };
        format!("docs/bench.md, {rows}, column {COLUMN}; {}", machine())
    }
}

/// When and on what it was measured.
fn machine() -> &'static str {
    let line = TABLE.lines().find(|l| l.contains("cargo xtask bench")).unwrap_or("");
    let facts = line.split_once(", ").map_or(line, |(_, facts)| facts);
    facts.split(", virtual").next().unwrap_or(facts).trim_end_matches('.')
}

/// The cell of the first row with that name whose table has that column.
fn cell(row: &str, column: &str) -> Option<Cell> {
    let mut at = None;
    for line in TABLE.lines().filter(|l| l.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells.first() == Some(&"work") {
            at = cells.iter().position(|c| *c == column);
        } else if cells.first() == Some(&row)
            && let Some(found) = at.and_then(|at| parse(cells.get(at)?))
        {
            return Some(found);
        }
    }
    None
}

/// `1,719 [1,710..1,751]`, or a median alone.
fn parse(cell: &str) -> Option<Cell> {
    let number = |text: &str| text.trim().replace(',', "").parse::<f64>().ok();
    let Some((median, rest)) = cell.split_once('[') else {
        let median = number(cell)?;
        return Some(Cell { median, low: median, high: median });
    };
    let (low, high) = rest.trim_end_matches(']').split_once("..")?;
    Some(Cell { median: number(median)?, low: number(low)?, high: number(high)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_a_median_and_quartiles() {
        assert_eq!(
            parse("1,719 [1,710..1,751]"),
            Some(Cell { median: 1719.0, low: 1710.0, high: 1751.0 })
        );
        assert_eq!(parse("280").map(|c| c.median), Some(280.0));
        assert_eq!(parse("1.11 [0.99..1.13] ms"), None);
    }

    #[test]
    fn what_varies_more_than_it_differs_saves_nothing() {
        let cell = |median: f64| Cell { median, low: median - 10.0, high: median + 10.0 };
        let pair = |dear, cheap| Pair { dear: cell(dear), cheap: cell(cheap), rows: ("", "") };
        assert_eq!(pair(100.0, 50.0).saving_ns(), Some(50.0));
        assert_eq!(pair(100.0, 90.0).saving_ns(), None);
    }

    #[test]
    fn every_row_that_advice_is_drawn_from_is_in_the_table() {
        for (dear, cheap) in [
            ("Worker hand-off, plain", "Worker hand-off, registered"),
            ("Receive that waits, plain", "Receive that waits, registered"),
            ("4 KiB, plain, batch 1", "4 KiB, registered, batch 1"),
            ("O_DIRECT read, 1 at a time", "O_DIRECT read, 32 at a time"),
        ] {
            assert!(Pair::of(dear, cheap).is_some(), "{dear}, {cheap}");
        }
        assert!(Pair::of("no such row", "Worker hand-off, plain").is_none());
        assert!(machine().contains("Linux"), "{}", machine());
    }
}
