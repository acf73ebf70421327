//! `cargo xtask bench` from rows to chart, for two works and a few milliseconds.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ringer beside xtask: `cargo test --workspace` has built it.
fn ringer() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("ringer");
    if !path.exists() {
        let build = ["build", "--quiet", "-p", "ringer-cli"];
        assert!(Command::new(env!("CARGO")).args(build).status().expect("cargo").success());
    }
    path
}

#[test]
fn a_run_leaves_every_variant_in_the_json_and_a_bar_for_each_work_in_the_chart() {
    let dir = tempfile::tempdir().expect("a folder");
    let (json, svg) = (dir.path().join("run.json"), dir.path().join("run.svg"));
    let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["bench", "--rounds", "1", "--millis", "2", "--only", "nop-b4,read-fixed-b1"])
        .arg("--ringer")
        .arg(ringer())
        .arg("--json")
        .arg(&json)
        .arg("--svg")
        .arg(&svg)
        .output()
        .expect("xtask runs");
    let tables = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{tables}{}", String::from_utf8_lossy(&out.stderr));
    assert!(tables.contains("## Hot reads"), "{tables}");
    assert!(tables.contains("rate >= 6x of kernel: "), "{tables}");

    let text = std::fs::read_to_string(json).expect("the JSON");
    let run: Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(run["machine"]["processors"].as_u64() > Some(0), "{text}");
    let read = work(&run, "read-fixed-b1");
    let rings = ["kernel", "kernel defer", "ringer", "ringer patched", "ringer trap"];
    let rivals = ["plain calls", "libaio", "POSIX AIO", "16 threads", "tokio::fs"];
    for variant in rings.into_iter().chain(rivals) {
        let series = &read["variants"][variant];
        let forbidden = variant.starts_with("kernel") && !series["failure"].is_null();
        assert!(forbidden || series["values"][0].as_f64() > Some(0.0), "{variant}: {series}");
    }

    let text = std::fs::read_to_string(svg).expect("the chart");
    let chart = roxmltree::Document::parse(&text).expect("it is XML");
    let says =
        |title: &str| chart.descendants().any(|n| n.text().is_some_and(|t| t.trim() == title));
    for name in ["nop-b4", "read-fixed-b1"] {
        let work = work(&run, name);
        let title = work["title"].as_str().expect("a title");
        // Without a kernel's figure there is no ratio to draw.
        assert_eq!(says(title), !work["ratio"].is_null(), "{title} in {text}");
    }
}

fn work<'a>(run: &'a Value, name: &str) -> &'a Value {
    let works = run["works"].as_array().expect("works");
    works.iter().find(|w| w["name"] == name).expect("the work was measured")
}
