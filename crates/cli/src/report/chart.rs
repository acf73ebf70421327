//! The report's charts, as SVG that goes into the page.
//!
//! ```text
//!  plotters -> <svg ... fill="#2F6FD6">      each colour stands for a role
//!  page     -> [fill="#2F6FD6"]{fill:var(--c0)}   and the page says what it is, light and dark
//! ```
//! Coordinates are pixels; text from the trace (names of opcodes) goes through plotters, which escapes it.
//! What this does not do: compute.

use hdrhistogram::Histogram;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::flight::Flight;
use super::units;

/// Text and lines.
pub(super) const INK: RGBColor = RGBColor(0x56, 0x5F, 0x69);
/// Lines behind.
pub(super) const GRID: RGBColor = RGBColor(0xD8, 0xDE, 0xE4);
/// What is drawn, in order.
pub(super) const SERIES: [RGBColor; 8] = [
    RGBColor(0x2F, 0x6F, 0xD6),
    RGBColor(0xC7, 0x6A, 0x15),
    RGBColor(0x1F, 0x8A, 0x70),
    RGBColor(0x8A, 0x4F, 0xC4),
    RGBColor(0xC2, 0x3B, 0x5A),
    RGBColor(0x8A, 0x7A, 0x12),
    RGBColor(0x3F, 0x8F, 0xA8),
    RGBColor(0x7A, 0x6A, 0x5E),
];
/// Width of a chart over the whole page, and of one of two.
const WIDE: i32 = 1040;
const HALF: i32 = 508;
/// Buckets of a histogram in a power of ten.
const DECADE: usize = 10;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A box within a chart: left, top, right, bottom.
#[derive(Clone, Copy, Debug)]
struct Frame(i32, i32, i32, i32);

/// Draws into a string; `label` is what a screen reader says.
fn svg(size: (i32, i32), label: &str, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut out = String::new();
    let size = (size.0.cast_unsigned(), size.1.cast_unsigned());
    let area = SVGBackend::with_string(&mut out, size).into_drawing_area();
    // Into a string nothing fails.
    let _ = draw(&area).and_then(|()| area.present());
    drop(area);
    let label = label.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    out.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1)
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), (h, px): (HPos, i32)) -> Drawn {
    // The backend divides what it is told by this.
    let font = ("sans-serif", f64::from(px) * 1.24).into_font().color(&INK);
    area.draw_text(text, &font.pos(Pos::new(h, VPos::Center)), at)
}

fn bar(area: &Area<'_>, corners: [(i32, i32); 2], colour: RGBColor) -> Drawn {
    area.draw(&Rectangle::new(corners, colour.filled()))
}

fn line(area: &Area<'_>, points: Vec<(i32, i32)>, colour: RGBColor, width: u32) -> Drawn {
    area.draw(&PathElement::new(points, colour.stroke_width(width)))
}

/// The step between lines of an axis that reaches `max`: 1, 2 or 5 of a power of ten.
fn step(max: f64, lines: f64) -> f64 {
    let rough = (max / lines).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
    steps.into_iter().find(|s| *s >= rough * 0.999).unwrap_or(rough)
}

/// Lines and numbers of a vertical axis from 0 to `max`, whole numbers only; where a value is.
fn vertical(
    area: &Area<'_>,
    frame: Frame,
    max: f64,
) -> Result<impl Fn(f64) -> i32, DrawingAreaErrorKind<std::io::Error>> {
    let Frame(left, top, right, bottom) = frame;
    let step = step(max, 4.0).max(1.0);
    let top_value = (max / step).ceil().max(1.0) * step;
    let at = move |v: f64| bottom - (v / top_value * f64::from(bottom - top)).round() as i32;
    for i in 0..=(top_value / step).round() as i32 {
        let value = f64::from(i) * step;
        line(area, vec![(left, at(value)), (right, at(value))], GRID, 1)?;
        write(area, &units::count(value), (left - 6, at(value)), (HPos::Right, 12))?;
    }
    Ok(at)
}

/// Numbers of a horizontal axis of time.
fn time_axis(area: &Area<'_>, frame: Frame, length_ns: u64) -> Drawn {
    let Frame(left, _, right, bottom) = frame;
    let length = (length_ns as f64).max(1.0);
    let step = step(length, 8.0);
    for i in 0..=(length / step).floor() as i32 {
        let ns = f64::from(i) * step;
        let x = left + (ns / length * f64::from(right - left)).round() as i32;
        line(area, vec![(x, bottom), (x, bottom + 4)], INK, 1)?;
        write(area, &units::axis_time(ns, length), (x, bottom + 14), (HPos::Center, 12))?;
    }
    Ok(())
}

/// A square and what it stands for; where the next goes.
fn legend(
    area: &Area<'_>,
    at: (i32, i32),
    text: &str,
    colour: RGBColor,
) -> Result<i32, DrawingAreaErrorKind<std::io::Error>> {
    bar(area, [(at.0, at.1 - 5), (at.0 + 10, at.1 + 5)], colour)?;
    write(area, text, (at.0 + 15, at.1), (HPos::Left, 12))?;
    Ok(at.0 + 15 + 7 * i32::try_from(text.len()).unwrap_or(0) + 16)
}

/// What was in flight, most and mean of each part.
pub(super) fn in_flight(flight: &Flight, length_ns: u64) -> String {
    let frame = Frame(56, 30, WIDE - 14, 206);
    let label = format!("Requests in flight over time, at most {}", flight.most());
    svg((WIDE, 232), &label, |area| {
        let at = vertical(area, frame, flight.most() as f64)?;
        let Frame(left, _, right, bottom) = frame;
        let width = f64::from(right - left) / flight.peak.len().max(1) as f64;
        let x = |i: usize| left + (i as f64 * width).round() as i32;
        for (i, mean) in flight.mean.iter().enumerate().filter(|(_, m)| **m > 0.0) {
            bar(area, [(x(i), at(*mean)), (x(i + 1), bottom)], SERIES[0])?;
        }
        let steps = flight.peak.iter().enumerate();
        let steps = steps.flat_map(|(i, n)| [(x(i), at(*n as f64)), (x(i + 1), at(*n as f64))]);
        line(area, steps.collect(), SERIES[1], 2)?;
        time_axis(area, frame, length_ns)?;
        let next = legend(area, (left, 12), "mean", SERIES[0])?;
        legend(area, (next, 12), "most at once", SERIES[1]).map(|_| ())
    })
}

/// How many ended, as a rate.
pub(super) fn rate(flight: &Flight, length_ns: u64) -> String {
    let frame = Frame(56, 14, WIDE - 14, 126);
    let per_second = |n: u64| n as f64 * 1e9 / flight.part_ns as f64;
    let most = flight.ended.iter().copied().max().unwrap_or(0);
    let label = format!("Requests that ended a second, at most {}", units::count(per_second(most)));
    svg((WIDE, 152), &label, |area| {
        let at = vertical(area, frame, per_second(most))?;
        let Frame(left, _, right, bottom) = frame;
        let width = f64::from(right - left) / flight.ended.len().max(1) as f64;
        let x = |i: usize| left + (i as f64 * width).round() as i32;
        for (i, n) in flight.ended.iter().enumerate().filter(|(_, n)| **n > 0) {
            let top = at(per_second(*n)).min(bottom - 1);
            bar(area, [(x(i), top), (x(i + 1), bottom)], SERIES[2])?;
        }
        time_axis(area, frame, length_ns)
    })
}

/// The powers of ten that some histograms lie between \[ns\].
pub(super) fn decades<'a>(all: impl Iterator<Item = &'a Histogram<u64>>) -> (u32, u32) {
    let mut range = (u32::MAX, 0);
    for one in all.filter(|h| !h.is_empty()) {
        range.0 = range.0.min(one.min().max(1).ilog10());
        range.1 = range.1.max(one.max().max(1).ilog10() + 1);
    }
    if range.0 < range.1 { range } else { (3, 4) }
}

/// One opcode's latencies between two powers of ten.
pub(super) fn latencies(op: &str, histogram: &Histogram<u64>, (low, high): (u32, u32)) -> String {
    let buckets = (high - low) as usize * DECADE;
    let mut counts = vec![0_u64; buckets];
    for value in histogram.iter_recorded() {
        let log = (value.value_iterated_to() as f64).max(1.0).log10() - f64::from(low);
        let bucket = (log * DECADE as f64).floor().max(0.0) as usize;
        if let Some(n) = counts.get_mut(bucket.min(buckets - 1)) {
            *n += value.count_since_last_iteration();
        }
    }
    let frame = Frame(52, 46, HALF - 26, 168);
    let Frame(left, top, right, bottom) = frame;
    let across = |ns: f64| {
        let part = (ns.max(1.0).log10() - f64::from(low)) / f64::from(high - low);
        left + (part.clamp(0.0, 1.0) * f64::from(right - left)).round() as i32
    };
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)]
        .map(|(name, q)| (name, histogram.value_at_quantile(q)));
    let said = quantiles.map(|(name, ns)| format!("{name} {}", units::time(ns)));
    let label = format!("Latencies of {op}: {}", said.join(", "));
    svg((HALF, 196), &label, |area| {
        let at = vertical(area, frame, counts.iter().copied().max().unwrap_or(0) as f64)?;
        for (i, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let x = |i: usize| left + (i as f64 / buckets as f64 * f64::from(right - left)) as i32;
            let top = at(*n as f64).min(bottom - 2);
            bar(area, [(x(i), top), ((x(i + 1) - 1).max(x(i) + 1), bottom)], SERIES[0])?;
        }
        for power in low..=high {
            let ns = 10_f64.powi(power.cast_signed());
            line(area, vec![(across(ns), bottom), (across(ns), bottom + 4)], INK, 1)?;
            write(area, &units::round_time(power), (across(ns), bottom + 14), (HPos::Center, 12))?;
        }
        for (row, (text, (_, ns))) in (0..).zip(said.iter().zip(quantiles)) {
            let (x, y) = (across(ns as f64), 9 + row * 13);
            line(area, vec![(x, y), (x, bottom)], SERIES[1], 1)?;
            // A label right of its line meets no other: those of larger shares begin lower.
            let room = x + 6 * i32::try_from(text.len()).unwrap_or(0) < right + 26;
            let (h, beside) = if room { (HPos::Left, 5) } else { (HPos::Right, -5) };
            write(area, text, (x + beside, y), (h, 12))?;
        }
        line(area, vec![(left, top), (left, bottom), (right, bottom)], GRID, 1)
    })
}

/// How the requests of each opcode ran: parts of a bar for each.
pub(super) fn ways(rows: &[(&str, Vec<u64>)], names: &[&str]) -> String {
    let (left, right, top, height) = (170, WIDE - 60, 34, 24);
    let bottom = top + height * i32::try_from(rows.len()).unwrap_or(0);
    svg((WIDE, bottom + 6), "How the requests of each opcode ran", |area| {
        let mut next = left;
        let used = |way: usize| rows.iter().any(|(_, r)| r.get(way).is_some_and(|n| *n > 0));
        for (_, (name, colour)) in names.iter().zip(SERIES).enumerate().filter(|(i, _)| used(*i)) {
            next = legend(area, (next, 14), name, colour)?;
        }
        for (i, (op, counts)) in (0..).zip(rows) {
            let (y, total) = (top + i * height, counts.iter().sum::<u64>());
            write(area, op, (left - 8, y + height / 2), (HPos::Right, 12))?;
            write(
                area,
                &units::count(total as f64),
                (right + 6, y + height / 2),
                (HPos::Left, 12),
            )?;
            let mut before = 0;
            for (n, colour) in counts.iter().zip(SERIES).filter(|(n, _)| **n > 0) {
                let x = |n: u64| left + (n as f64 / total as f64 * f64::from(right - left)) as i32;
                let (from, to) = (x(before), x(before + n));
                bar(area, [(from, y + 3), (to.max(from + 1), y + height - 3)], colour)?;
                before += n;
            }
        }
        Ok(())
    })
}
