//! The report of traces that are as they should be, and of files that are nothing of the kind.

use super::*;
use serde_json::{Value, json};

/// A completed request.
fn told(id: u64, op: &str, with: Value) -> Value {
    let mut line = json!({
        "event": "request", "process": 1, "pid": 7, "tid": 7, "ring": 1, "id": id, "op": op,
        "submitted": id as f64 * 1e-6, "fd": 3, "fixed": false, "file": "/data", "args": {"len": 4096},
        "user_data": "0x1", "state": "done", "shot": 0, "time": id as f64 * 1e-6 + 1e-5,
        "latency_ns": 10_000, "res": 4096, "error": null, "cqe_flags": "", "how": "inline",
        "posted": true, "overflow": false,
    });
    let fields = with.as_object().into_iter().flatten();
    for (name, value) in fields {
        line[name] = value.clone();
    }
    line
}

fn end() -> Value {
    json!({"event": "end", "program": ["prog", "<x>"], "filter": null, "processes": 1, "requests": 1,
        "lost_requests": 0, "lost_completions": 0, "torn": 0, "strays": 0})
}

fn tally(lines: &[Value]) -> Tally {
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    read(&mut text.as_bytes()).expect("bytes in memory")
}

fn page(lines: &[Value]) -> String {
    page::page(&tally(lines), "trace.jsonl")
}

#[test]
fn a_table_has_the_percentiles_of_an_opcode() {
    let mut lines: Vec<Value> =
        (1..=100).map(|i| told(i, "READ", json!({"latency_ns": i * 1_000}))).collect();
    lines.push(end());
    let tally = tally(&lines);
    let read = &tally.ops["READ"];
    assert_eq!((read.requests, read.bytes, read.total_ns), (100, 409_600, 5_050_000));
    for (q, ns) in [(0.5, 50_000_u64), (0.99, 99_000), (1.0, 100_000)] {
        assert!(read.latency.value_at_quantile(q).abs_diff(ns) < ns / 50, "{q}");
    }
    let slowest: Vec<u64> = tally.slowest().iter().map(|s| s.latency_ns).collect();
    assert_eq!(slowest, (81..=100).rev().map(|i| i * 1_000).collect::<Vec<u64>>());
}

#[test]
fn a_multishot_has_completions_and_no_latency() {
    let shot = |n: u64, state: &str| {
        told(
            1,
            "RECV",
            json!({"event": if n == 0 {"request"} else {"cqe"}, "shot": n, "state": state}),
        )
    };
    let tally = tally(&[shot(0, "more"), shot(1, "more"), shot(2, "done"), end()]);
    let recv = &tally.ops["RECV"];
    assert_eq!((recv.requests, recv.completions, recv.multishot), (1, 3, 1));
    assert_eq!((recv.latency.len(), tally.spans.len()), (0, 1));
}

#[test]
fn nothing_of_a_trace_becomes_markup() {
    let bad = "</code><script>alert(1)</script>\"'&<svg onload=x>";
    let lines = [
        told(1, bad, json!({"file": bad, "how": bad, "error": bad, "res": -1})),
        told(2, "READ", json!({"file": bad})),
        json!({"event": "end", "program": [bad], "filter": bad, "processes": 1, "requests": 2}),
    ];
    let page = page(&lines);
    for markup in ["<script", "<svg onload", "</code><script", "alert(1)</s"] {
        let at = page.find(markup);
        assert!(at.is_none(), "{markup}: {:?}", at.map(|at| &page[at - 80..at + 40]));
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn the_page_needs_nothing_else_and_its_charts_are_well_formed() {
    let page =
        page(&[told(1, "R<&\"D", json!({})), told(2, "WRITE", json!({"how": "worker"})), end()]);
    for reference in ["http:", "https:", "src=", "href=", "@import", "url("] {
        let all = page.matches(reference).count();
        // The charts' namespace is a name, no address.
        let named = page.matches("xmlns=\"http:").count();
        assert_eq!(all, if reference == "http:" { named } else { 0 }, "{reference}");
    }
    let charts: Vec<&str> = page.split("<svg ").skip(1).collect();
    assert_eq!(charts.len(), 5);
    for chart in charts {
        let end = chart.find("</svg>").expect("an end");
        let text = format!("<svg {}</svg>", &chart[..end]);
        let parsed = roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let root = parsed.root_element();
        assert!(root.attribute("aria-label").is_some_and(|l| !l.is_empty()));
    }
}

#[test]
fn lines_that_are_none_are_counted_and_said() {
    let mut text = format!("{}\n", told(1, "READ", json!({})));
    for bad in [
        "{",
        "[]",
        "7",
        "null",
        "\"request\"",
        "{\"event\":5}",
        "{\"event\":\"request\"}",
        "\u{0}\u{1}",
        &told(2, "READ", json!({"submitted": -1.0})).to_string(),
        &told(2, "READ", json!({"time": 1e300})).to_string(),
        &told(2, "READ", json!({"id": -5})).to_string(),
        &told(2, &"x".repeat(65), json!({})).to_string(),
    ] {
        text.push_str(bad);
        text.push('\n');
    }
    let mut bytes = text.into_bytes();
    bytes.extend([0xff, 0xfe, b'\n', b'\n']);
    bytes.extend(vec![b'['; LEN_MAX as usize * 2]);
    bytes.push(b'\n');
    bytes.extend(format!("{}\n{{\"event\":\"later\"}}", end()).bytes());
    let tally = read(&mut &bytes[..]).expect("bytes in memory");
    assert_eq!((tally.requests(), tally.malformed, tally.others), (1, 14, 1));
    let page = page::page(&tally, "x");
    assert!(page.contains("14 of 17 lines are nothing that"), "{page}");
    assert!(page.contains("1 lines are of kinds"));
}

#[test]
fn a_trace_without_an_end_and_one_with_losses_say_so() {
    assert!(page(&[told(1, "READ", json!({}))]).contains("it was cut"));
    let mut lost = end();
    lost["lost_requests"] = 1_234.into();
    assert!(page(&[lost]).contains("1,234 requests and 0 completions came faster"));
}

#[test]
fn extreme_numbers_are_drawn_all_the_same() {
    let most = json!({"latency_ns": u64::MAX, "res": i64::MIN, "fd": i64::MAX, "submitted": 3.1e8,
        "ring": u64::MAX, "pid": u64::MAX, "process": u64::MAX, "state": "in flight"});
    let least = json!({"latency_ns": 0, "submitted": 0.0, "time": 0.0});
    let page = page(&[told(u64::MAX, "READ", most), told(0, "READ", least), end()]);
    assert!(page.contains("</html>"));
}

#[test]
fn a_saving_is_stated_for_hand_offs_and_not_for_what_costs_the_same() {
    let worker = (0..200).map(|i| told(i, "FSYNC", json!({"how": "worker", "file": "/log"})));
    let inline = (200..500).map(|i| told(i, "READ", json!({"file": "/data"})));
    let few = (500..520).map(|i| told(i, "FSYNC", json!({"how": "worker", "file": "/few"})));
    let lines: Vec<Value> = worker.chain(inline).chain(few).chain([end()]).collect();
    let tally = tally(&lines);
    let flight = flight::Flight::of(&tally.spans, (0, tally.duration_ns()), 10);
    let all = advice::of(&tally, &flight);
    let [log, data] = &all[..] else { panic!("{all:?}") };
    assert!(log.seen.contains("200 of 200 requests (100%) on fd 3 </log>"), "{log:?}");
    assert!(log.advice.contains("would save about") && !log.fine, "{log:?}");
    assert!(log.source.as_ref().is_some_and(|s| s.contains("Worker hand-off, plain")), "{log:?}");
    assert!(data.seen.contains("300 of 520 requests on files (58%)") && data.fine, "{data:?}");
    assert!(data.advice.contains("Nothing to gain"), "{data:?}");
}

#[test]
fn registered_files_get_no_advice() {
    let lines: Vec<Value> =
        (0..200).map(|i| told(i, "FSYNC", json!({"how": "worker", "fixed": true}))).collect();
    let tally = tally(&lines);
    let flight = flight::Flight::of(&tally.spans, (0, tally.duration_ns()), 10);
    assert!(advice::of(&tally, &flight).is_empty());
}

#[test]
fn calls_and_completions_of_nobody_are_counted() {
    let call = json!({"event": "call", "call": "io_uring_register", "args": {"op": "<b>FILES"},
        "res": -22, "error": "EINVAL"});
    let alone = json!({"event": "alone", "origin": "(tag)"});
    let tally = tally(&[call.clone(), call, alone, told(1, "NOP", json!({})), end()]);
    assert_eq!((tally.alone, tally.malformed, tally.others), (1, 0, 0));
    assert_eq!(tally.calls["io_uring_register <b>FILES"], (2, 2));
    assert!(page::page(&tally, "x").contains("io_uring_register &lt;b&gt;FILES"));
}
