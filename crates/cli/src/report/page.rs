//! The page: one file, no network, no scripts.
//!
//! Text goes through maud, which escapes it; only the charts go in as they are. What this does not do:
//! compute.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::advice::{self, Advice};
use super::chart;
use super::flight::Flight;
use super::tally::{Op, Tally, moves_bytes};
use super::units::{bytes, share, time, whole};

/// Parts of the time axis.
const PARTS: usize = 320;
/// Most opcodes with a chart of their own, and most rows of files.
const CHARTS_MAX: usize = 12;
const FILES_MAX: usize = 20;

/// How requests run, in the order of the colours.
const WAYS: [(&str, &str); 8] = [
    ("inline", "at once, on the thread that submitted it"),
    ("polled", "it waited for its file to be ready"),
    ("worker", "on a worker thread"),
    ("aio", "the disk did it (O_DIRECT)"),
    ("readahead", "its pages were read ahead"),
    ("timer", "it waited for a time"),
    ("waiter", "a thread waited in a call for it"),
    ("caller", "whoever submitted it ran it instead of waiting for a worker"),
];

/// The whole page.
pub(super) fn page(tally: &Tally, source: &str) -> String {
    let (first_ns, length_ns) = (tally.first_ns.unwrap_or(0), tally.duration_ns());
    let flight = Flight::of(&tally.spans, (first_ns, length_ns), PARTS);
    let advice = advice::of(tally, &flight);
    let mut ops: Vec<(&str, &Op)> = tally.ops.iter().map(|(n, op)| (n.as_str(), op)).collect();
    ops.sort_by_key(|(name, op)| (std::cmp::Reverse(op.requests), *name));
    let program = program(tally);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { "ringer report: " (program) }
                style { (PreEscaped(style())) }
            }
            body {
                header {
                    p.kicker { "ringer report" }
                    h1 { code { @for word in program.split(' ') { span.word { (word) } " " } } }
                    (summary(tally, &flight))
                }
                main {
                    (warnings(tally))
                    (advised(&advice))
                    (timeline(tally, &flight, length_ns))
                    (opcodes(&ops))
                    (histograms(&ops))
                    (ways(&ops))
                    (files(tally))
                    (buffers(tally))
                    (errors(tally))
                    (slowest(tally))
                    (calls(tally))
                }
                footer {
                    p { "Drawn by ringer " (env!("CARGO_PKG_VERSION")) " from " code { (source) } ", "
                        (whole(tally.lines)) " lines. A request lasts from its submission to its completion." }
                }
            }
        }
    }
    .into_string()
}

fn program(tally: &Tally) -> String {
    let words = tally.end.as_ref().map(|end| end.program.join(" ")).unwrap_or_default();
    if words.is_empty() { "a program".into() } else { words.chars().take(300).collect() }
}

fn summary(tally: &Tally, flight: &Flight) -> Markup {
    let errors: u64 = tally.ops.values().map(|op| op.errors).sum();
    let processes: std::collections::BTreeSet<_> = tally.rings.keys().map(|k| (k.0, k.1)).collect();
    let lost = tally.end.as_ref().map(|e| e.lost_requests.saturating_add(e.lost_completions));
    let cards = [
        ("requests", whole(tally.requests()), false),
        ("duration", time(tally.duration_ns()), false),
        ("most in flight", whole(flight.most()), false),
        ("processes", whole(processes.len() as u64), false),
        ("rings", whole(tally.rings.len() as u64), false),
        ("errors", whole(errors), errors > 0),
        ("lost records", lost.map_or("unknown".into(), whole), lost != Some(0)),
    ];
    html! {
        dl.cards {
            @for (name, value, bad) in cards {
                div.bad[bad] { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// What the reader must know before believing the rest.
fn warnings(tally: &Tally) -> Markup {
    let mut all = Vec::new();
    match &tally.end {
        None => all.push(
            "The trace has no last line: it was cut, and nobody knows how many records it lacks."
                .into(),
        ),
        Some(end) => {
            if end.lost_requests > 0 || end.lost_completions > 0 {
                all.push(format!(
                    "{} requests and {} completions came faster than they could be written and are not \
                     in the trace: counts are too low, and some of what is shown as in flight had ended. \
                     ringer trace --buffer KIB makes room for more.",
                    whole(end.lost_requests),
                    whole(end.lost_completions)
                ));
            }
            if end.lost_others > 0 {
                all.push(format!(
                    "{} records of calls, of data or of what requests point to were lost.",
                    whole(end.lost_others)
                ));
            }
            if end.torn > 0 {
                all.push(format!(
                    "{} records were cut off by the end of their process.",
                    whole(end.torn)
                ));
            }
            if end.strays > 0 {
                all.push(format!(
                    "{} completions belong to no request of the trace.",
                    whole(end.strays)
                ));
            }
            if let Some(filter) = &end.filter {
                all.push(format!("The trace was asked for a part only: {filter}."));
            }
        }
    }
    if tally.malformed > 0 {
        all.push(format!(
            "{} of {} lines are nothing that ringer trace --json writes, and were left out.",
            whole(tally.malformed),
            whole(tally.lines)
        ));
    }
    if tally.others > 0 {
        all.push(format!(
            "{} lines are of kinds that this report does not show.",
            whole(tally.others)
        ));
    }
    if tally.more_spans > 0 {
        all.push(format!(
            "What was in flight is drawn without the last {} requests of the trace.",
            whole(tally.more_spans)
        ));
    }
    html! {
        @if !all.is_empty() {
            section.warnings aria-label="Warnings" { ul { @for one in all { li { (one) } } } }
        }
    }
}

fn advised(advice: &[Advice]) -> Markup {
    html! {
        section {
            h2 { "Advice" }
            @if advice.is_empty() {
                p.quiet { "Nothing in this trace has a measured way to do better." }
            }
            @for one in advice {
                article.advice.fine[one.fine] {
                    p.seen { (one.seen) }
                    p { (one.advice) }
                    @if let Some(source) = &one.source { p.source { "Source: " (source) "." } }
                }
            }
        }
    }
}

fn timeline(tally: &Tally, flight: &Flight, length_ns: u64) -> Markup {
    html! {
        @if !tally.spans.is_empty() {
            section {
                h2 { "Over time" }
                figure.wide tabindex="0" {
                    figcaption { b { "In flight" } " · requests at once, in columns of " (time(flight.part_ns)) }
                    (PreEscaped(chart::in_flight(flight, length_ns)))
                }
                figure.wide tabindex="0" {
                    figcaption { b { "Ended" } " · requests a second" }
                    (PreEscaped(chart::rate(flight, length_ns)))
                }
            }
        }
    }
}

fn opcodes(ops: &[(&str, &Op)]) -> Markup {
    let all_ns: u64 = ops.iter().map(|(_, op)| op.total_ns).fold(0, u64::saturating_add);
    html! {
        section {
            h2 { "Opcodes" }
            div.scroll tabindex="0" role="region" aria-label="Opcodes" { table {
                thead { tr {
                    th scope="col" { "opcode" }
                    @for name in ["requests", "errors", "p50", "p90", "p99", "max", "share of time", "bytes", "multishot", "in flight at exit"] {
                        th.n scope="col" { (name) }
                    }
                } }
                tbody { @for (name, op) in ops {
                    tr {
                        th scope="row" { code { (name) } }
                        td.n { (whole(op.requests)) }
                        td.n.bad[op.errors > 0] { (whole(op.errors)) }
                        @for q in [0.5, 0.9, 0.99, 1.0] {
                            td.n { @if op.latency.is_empty() { "–" } @else { (time(op.latency.value_at_quantile(q))) } }
                        }
                        td.n { (share(op.total_ns, all_ns)) }
                        td.n { @if moves_bytes(name) { (bytes(op.bytes)) } @else { "–" } }
                        td.n { @if op.multishot > 0 { (whole(op.multishot)) " → " (whole(op.completions)) } @else { "–" } }
                        td.n { @if op.in_flight > 0 { (whole(op.in_flight)) } @else { "–" } }
                    }
                } }
            } }
            p.quiet { "Percentiles are of requests with one completion. A multishot request lasts as long as it is "
                "wanted; beside it is how many completions its opcode had." }
        }
    }
}

fn histograms(ops: &[(&str, &Op)]) -> Markup {
    let drawn: Vec<_> = ops.iter().filter(|(_, op)| !op.latency.is_empty()).collect();
    let range = chart::decades(drawn.iter().map(|(_, op)| &op.latency));
    html! {
        @if !drawn.is_empty() {
            section {
                h2 { "Latencies" }
                p.quiet { "Requests by how long they took, on a logarithmic axis that all opcodes share." }
                div.pairs { @for (name, op) in drawn.iter().take(CHARTS_MAX) {
                    figure {
                        figcaption { code { (name) } " · " (whole(op.latency.len())) " requests" }
                        (PreEscaped(chart::latencies(name, &op.latency, range)))
                    }
                } }
                @if drawn.len() > CHARTS_MAX {
                    p.quiet { (drawn.len() - CHARTS_MAX) " rarer opcodes are in the table only." }
                }
            }
        }
    }
}

fn ways(ops: &[(&str, &Op)]) -> Markup {
    let row = |op: &Op| -> Vec<u64> {
        WAYS.iter().map(|(name, _)| op.ways.get(*name).copied().unwrap_or(0)).collect()
    };
    let rows: Vec<(&str, Vec<u64>)> = ops.iter().map(|(name, op)| (*name, row(op))).collect();
    let rows: Vec<_> = rows.into_iter().filter(|(_, r)| r.iter().any(|n| *n > 0)).collect();
    let used = |way: usize| rows.iter().any(|(_, r)| r.get(way).is_some_and(|n| *n > 0));
    let names = WAYS.map(|(name, _)| name);
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "How requests ran" }
                figure.wide tabindex="0" { (PreEscaped(chart::ways(&rows, &names))) }
                dl.ways { @for (i, (name, meaning)) in WAYS.iter().enumerate() { @if used(i) {
                    div { dt { (name) } dd { (meaning) ": " (whole(rows.iter().filter_map(|(_, r)| r.get(i)).sum())) } }
                } } }
                (disk(ops))
            }
        }
    }
}

/// What waiting for a disk cost, from this trace itself.
fn disk(ops: &[(&str, &Op)]) -> Markup {
    let both = ops.iter().filter(|(_, op)| op.disk.len() >= 20 && op.inline.len() >= 20);
    html! {
        @for (name, op) in both {
            p { code { (name) } ": " (share(op.disk.len(), op.latency.len()))
                " waited for the disk, half of them for more than " (time(op.disk.value_at_quantile(0.5)))
                "; half of those that finished at once took less than " (time(op.inline.value_at_quantile(0.5))) "." }
        }
    }
}

fn files(tally: &Tally) -> Markup {
    let mut all: Vec<_> = tally.files.iter().collect();
    all.sort_by_key(|(name, f)| (std::cmp::Reverse(f.requests), (*name).clone()));
    let registered: u64 = tally.files.values().map(|f| f.fixed).sum();
    let requests: u64 = tally.files.values().map(|f| f.requests).sum();
    html! {
        @if !all.is_empty() {
            section {
                h2 { "Files: registered and plain" }
                p { (share(registered, requests)) " of " (whole(requests))
                    " requests on files use a registered file (IOSQE_FIXED_FILE), the others a plain descriptor." }
                div.scroll tabindex="0" role="region" aria-label="Files" { table {
                    thead { tr {
                        th scope="col" { "file" }
                        @for name in ["requests", "registered", "plain", "bytes", "errors"] { th.n scope="col" { (name) } }
                    } }
                    tbody { @for ((_, name), f) in all.iter().take(FILES_MAX) {
                        tr {
                            th.path scope="row" { code { (name) } }
                            td.n { (whole(f.requests)) }
                            td.n { (share(f.fixed, f.requests)) }
                            td.n { (share(f.requests - f.fixed, f.requests)) }
                            td.n { (bytes(f.bytes)) }
                            td.n.bad[f.errors > 0] { (whole(f.errors)) }
                        }
                    } }
                } }
                @if all.len() > FILES_MAX { p.quiet { (whole((all.len() - FILES_MAX) as u64)) " more files." } }
            }
        }
    }
}

fn buffers(tally: &Tally) -> Markup {
    let sum = |registered: bool| -> u64 {
        let mine = |name: &str| {
            (name.starts_with("READ") || name.starts_with("WRITE"))
                && name.ends_with("_FIXED") == registered
        };
        tally.ops.iter().filter(|(name, _)| mine(name)).map(|(_, op)| op.requests).sum()
    };
    let (registered, plain) = (sum(true), sum(false));
    html! {
        @if registered + plain > 0 {
            section {
                h2 { "Buffers: registered and plain" }
                p { (share(registered, registered + plain)) " of " (whole(registered + plain))
                    " reads and writes use a registered buffer (READ_FIXED, WRITE_FIXED and their vectors), "
                    (whole(plain)) " a plain one." }
            }
        }
    }
}

fn errors(tally: &Tally) -> Markup {
    let mut all: Vec<_> = tally.errors.iter().collect();
    all.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), (*name).clone()));
    html! {
        section {
            h2 { "Errors" }
            @if all.is_empty() { p.quiet { "No request failed." } }
            @else {
                div.scroll tabindex="0" role="region" aria-label="Errors" { table {
                    thead { tr {
                        th scope="col" { "opcode" } th scope="col" { "error" }
                        th.n scope="col" { "requests" } th.n scope="col" { "of its opcode" }
                    } }
                    tbody { @for ((op, error), n) in all.iter().take(40) {
                        tr {
                            th scope="row" { code { (op) } }
                            td { code { (error) } }
                            td.n { (whole(**n)) }
                            td.n { (share(**n, tally.ops.get(op).map_or(**n, |o| o.requests))) }
                        }
                    } }
                } }
                @if all.len() > 40 { p.quiet { (all.len() - 40) " rarer kinds of errors." } }
            }
        }
    }
}

fn slowest(tally: &Tally) -> Markup {
    let all = tally.slowest();
    html! {
        @if !all.is_empty() {
            section {
                h2 { "Slowest requests" }
                div.scroll tabindex="0" role="region" aria-label="Slowest requests" { table {
                    thead { tr {
                        th.n scope="col" { "took" } th.n scope="col" { "submitted at" }
                        @for name in ["opcode", "file and arguments", "result", "how", "request"] { th scope="col" { (name) } }
                    } }
                    tbody { @for one in all {
                        tr {
                            td.n { (time(one.latency_ns)) }
                            td.n { (time(one.submitted_ns)) }
                            td { code { (one.op) } }
                            td.path { code { (one.file) } " " span.quiet { (one.what) } }
                            td { code { (one.res) } }
                            td { (one.how) }
                            td.quiet { "[" (one.pid) "] ring" (one.ring) " #" (one.id) }
                        }
                    } }
                } }
            }
        }
    }
}

fn calls(tally: &Tally) -> Markup {
    let mut all: Vec<_> = tally.calls.iter().collect();
    all.sort_by_key(|(name, (n, _))| (std::cmp::Reverse(*n), *name));
    html! {
        @if !all.is_empty() {
            section {
                h2 { "Calls" }
                div.scroll tabindex="0" role="region" aria-label="Calls" { table {
                    thead { tr {
                        th scope="col" { "call" }
                        th.n scope="col" { "calls" } th.n scope="col" { "errors" }
                    } }
                    tbody { @for (name, (n, errors)) in all.iter().take(40) {
                        tr {
                            th scope="row" { code { (name) } }
                            td.n { (whole(*n)) }
                            td.n.bad[*errors > 0] { (whole(*errors)) }
                        }
                    } }
                } }
            }
        }
        @if tally.alone > 0 {
            p { (whole(tally.alone)) " completions belong to no request: messages of other rings, and tags of "
                "files and buffers that are not used any more." }
        }
    }
}

/// The style, with the colours of the charts' roles.
fn style() -> String {
    const DARK: [&str; 8] =
        ["#6EA2F5", "#EFA356", "#4CC3A4", "#BE92F0", "#EE7B95", "#CDBB4E", "#74C3DB", "#B5A397"];
    let hex = |c: plotters::style::RGBColor| format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2);
    let light: Vec<String> = chart::SERIES.iter().map(|c| hex(*c)).collect();
    let mut roles: Vec<(String, String, &str)> = vec![
        (hex(chart::INK), "ink2".into(), "#9BA6B2"),
        (hex(chart::GRID), "grid".into(), "#2E3641"),
    ];
    roles.extend(
        light.into_iter().enumerate().zip(DARK).map(|((i, c), dark)| (c, format!("c{i}"), dark)),
    );
    let vars = |dark: bool| -> String {
        let one = |(light, name, other): &(String, String, &str)| {
            format!("--{name}:{};", if dark { other } else { light.as_str() })
        };
        roles.iter().map(one).collect()
    };
    let rules: String = roles
        .iter()
        .map(|(c, name, _)| {
            format!("svg [fill=\"{c}\"]{{fill:var(--{name})}}svg [stroke=\"{c}\"]{{stroke:var(--{name})}}")
        })
        .collect();
    format!(
        ":root{{{}}}@media (prefers-color-scheme:dark){{:root{{{}}}}}{rules}{STYLE}",
        vars(false),
        vars(true)
    )
}

const STYLE: &str = include_str!("style.css");
