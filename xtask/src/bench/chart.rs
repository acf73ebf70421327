//! The ratios to the kernel as a chart: one bar a work, on a logarithmic axis around 1.
//!
//! ```text
//!   NOP                    0.5        1         2         4
//!   batch 1  ...............          |############|######   7.9x     | target
//! ```
//! It has no background, and colours that are seen on white and on black. What it does not do: show times.

use super::figures::{Figure, Measured};
use super::works::{SECTIONS, Target};
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const WIDTH: i32 = 860;
const LEFT: i32 = 310;
const RIGHT: i32 = 805;
/// What is between the names and the axis: room for the number of a bar that begins at its end.
const MARGIN: i32 = 46;
const TOP: i32 = 64;
const ROW: i32 = 19;
/// The ends of the axis; what lies beyond stops there and still says its number.
const RANGE: (f64, f64) = (0.125, 16.0);

const TEXT: RGBColor = RGBColor(0x76, 0x80, 0x8a);
const GRID: RGBColor = RGBColor(0x9a, 0xa3, 0xad);
const AHEAD: RGBColor = RGBColor(0x2f, 0x81, 0xd6);
const BEHIND: RGBColor = RGBColor(0xd2, 0x7b, 0x22);

/// A line of the chart.
enum Line {
    Heading(&'static str),
    Bar { title: &'static str, ratio: f64, target: Option<f64> },
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws the works of which both sides were measured.
pub(crate) fn draw(all: &[Measured], path: &Path) -> Result<()> {
    let lines = lines(all);
    let bottom = TOP + ROW * i32::try_from(lines.len())?;
    let area = SVGBackend::new(path, (WIDTH.cast_unsigned(), (bottom + 12).cast_unsigned()))
        .into_drawing_area();
    axis(&area, bottom)?;
    for (i, line) in (0..).zip(&lines) {
        one(&area, line, TOP + i * ROW)?;
    }
    let title = font(15).pos(Pos::new(HPos::Left, VPos::Center));
    write(
        &area,
        "Kernel's io_uring / ringer, time of an operation (1 = the same)",
        &title,
        (8, 16),
    )?;
    let legend = font(12).pos(Pos::new(HPos::Left, VPos::Center));
    write(&area, "to the right ringer is faster; a tick is a target", &legend, (8, 34))?;
    area.present().map_err(|e| anyhow!("{e}"))
}

fn lines(all: &[Measured]) -> Vec<Line> {
    let mut lines = Vec::new();
    for section in SECTIONS.iter().filter(|s| s.chart) {
        let measured =
            section.works.iter().filter_map(|w| all.iter().find(|m| m.work.name == w.name));
        let bars: Vec<_> = measured.filter_map(bar).collect();
        if !bars.is_empty() {
            lines.push(Line::Heading(section.title));
            lines.extend(bars);
        }
    }
    lines
}

fn bar(m: &Measured) -> Option<Line> {
    let ratio = m.ratio(Figure::Value)?.median;
    let target = m.work.targets.iter().find_map(|t| match t {
        Target::Best(r) | Target::Defer(r) => Some(*r),
        _ => None,
    });
    Some(Line::Bar { title: m.work.title, ratio, target })
}

/// Where a ratio lies from left to right.
fn across(ratio: f64) -> i32 {
    let (low, high) = RANGE;
    let part = (ratio.clamp(low, high) / low).ln() / (high / low).ln();
    LEFT + (part * f64::from(RIGHT - LEFT)).round() as i32
}

/// A size in pixels: the backend divides what it is told by this.
fn size(pixels: i32) -> f64 {
    f64::from(pixels) * 1.24
}

fn font(pixels: i32) -> TextStyle<'static> {
    ("sans-serif", size(pixels)).into_font().color(&TEXT)
}

fn write(area: &Area<'_>, text: &str, style: &TextStyle<'_>, at: (i32, i32)) -> Result<()> {
    area.draw_text(text, style, at).map_err(|e| anyhow!("{e}"))
}

fn rectangle(area: &Area<'_>, corners: [(i32, i32); 2], style: ShapeStyle) -> Result<()> {
    area.draw(&Rectangle::new(corners, style)).map_err(|e| anyhow!("{e}"))
}

fn axis(area: &Area<'_>, bottom: i32) -> Result<()> {
    for ratio in [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0] {
        let x = across(ratio);
        let width = if ratio == 1.0 { 2 } else { 1 };
        rectangle(area, [(x, TOP - 4), (x + width, bottom)], GRID.mix(0.35).filled())?;
        let style = font(11).pos(Pos::new(HPos::Center, VPos::Center));
        write(area, &format!("{ratio}x"), &style, (x, TOP - 12))?;
    }
    Ok(())
}

fn one(area: &Area<'_>, line: &Line, y: i32) -> Result<()> {
    let middle = y + ROW / 2;
    match *line {
        Line::Heading(title) => {
            let style = ("sans-serif", size(13)).into_font().style(FontStyle::Bold).color(&TEXT);
            write(area, title, &style.pos(Pos::new(HPos::Left, VPos::Center)), (8, middle))
        }
        Line::Bar { title, ratio, target } => {
            let right = font(12).pos(Pos::new(HPos::Right, VPos::Center));
            write(area, title, &right, (LEFT - MARGIN, middle))?;
            let (one, end) = (across(1.0), across(ratio));
            let colour = if ratio >= 1.0 { AHEAD } else { BEHIND };
            let (from, to) = (one.min(end), one.max(end).max(one.min(end) + 1));
            rectangle(area, [(from, y + 4), (to, y + ROW - 4)], colour.filled())?;
            if let Some(target) = target {
                let x = across(target);
                rectangle(area, [(x - 1, y + 1), (x + 1, y + ROW - 1)], TEXT.filled())?;
            }
            value(area, ratio, target, (from, to, middle))
        }
    }
}

/// The number, on the far side of the bar from 1 and clear of the target's tick.
fn value(
    area: &Area<'_>,
    ratio: f64,
    target: Option<f64>,
    (from, to, y): (i32, i32, i32),
) -> Result<()> {
    let tick = target.map(across);
    let near = |x: i32, tick: i32| (x - tick).abs() < 50;
    let text = format!("{ratio:.2}");
    if ratio >= 1.0 {
        let x = tick.filter(|&t| t >= to && near(to, t)).map_or(to, |t| t) + 5;
        let style = font(11).pos(Pos::new(HPos::Left, VPos::Center));
        return write(area, &text, &style, (x, y));
    }
    let x = tick.filter(|&t| t <= from && near(from, t)).map_or(from, |t| t) - 5;
    let style = font(11).pos(Pos::new(HPos::Right, VPos::Center));
    write(area, &text, &style, (x, y))
}
