//! Numbers as people read them.

/// A time in the unit that fits.
pub(super) fn time(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => three(value / 1e3, "µs"),
        1_000_000..1_000_000_000 => three(value / 1e6, "ms"),
        _ => three(value / 1e9, "s"),
    }
}

fn three(value: f64, unit: &str) -> String {
    let places = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.places$} {unit}")
}

/// A power of ten of nanoseconds.
pub(super) fn round_time(power: u32) -> String {
    let value = 10_u64.saturating_pow(power % 3);
    let unit = ["ns", "µs", "ms", "s", "ks", "Ms"].get(power as usize / 3).copied();
    unit.map_or_else(|| format!("1e{power} ns"), |unit| format!("{value} {unit}"))
}

/// A time on an axis of that length, all in one unit.
pub(super) fn axis_time(ns: f64, length_ns: f64) -> String {
    let (by, unit) = match length_ns {
        0.0..2e3 => (1.0, "ns"),
        2e3..2e6 => (1e3, "µs"),
        2e6..2e9 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let value = ns / by;
    if value == value.round() { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// A count, short.
pub(super) fn count(n: f64) -> String {
    let (by, unit) = match n {
        0.0..1e4 => return format!("{n:.0}"),
        1e4..1e6 => (1e3, "k"),
        1e6..1e9 => (1e6, "M"),
        _ => (1e9, "G"),
    };
    let value = n / by;
    let places = usize::from(value < 99.95 && value != value.round());
    format!("{value:.places$}{unit}")
}

/// A count, whole.
pub(super) fn whole(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..10_240 => format!("{} B", whole(n)),
        10_240..10_485_760 => format!("{:.1} KiB", n as f64 / 1024.0),
        10_485_760..10_737_418_240 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// A part of a whole.
pub(super) fn share(part: u64, whole: u64) -> String {
    let percent = 100.0 * part as f64 / (whole as f64).max(1.0);
    match percent {
        _ if part == 0 => "0%".into(),
        _ if part == whole => "100%".into(),
        0.0..0.1 => "< 0.1%".into(),
        99.9.. => "> 99.9%".into(),
        1.0..99.0 => format!("{percent:.0}%"),
        _ => format!("{percent:.1}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(
            [time(999), time(1_500), time(99_960), time(2_000_000_000)],
            ["999 ns", "1.50 µs", "100 µs", "2.00 s"]
        );
        assert_eq!([round_time(3), round_time(5), round_time(40)], ["1 µs", "100 µs", "1e40 ns"]);
        assert_eq!([count(9_999.0), count(12_000.0), count(1_250_000.0)], ["9999", "12k", "1.2M"]);
        assert_eq!([whole(0), whole(1_000), whole(1_234_567)], ["0", "1,000", "1,234,567"]);
        assert_eq!(
            [share(0, 5), share(1, 2_000), share(5, 5), share(1_999, 2_000)],
            ["0%", "< 0.1%", "100%", "> 99.9%"]
        );
    }
}
