//! `--stats` and `ringer stats` from outside, with the demo's program.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ringer_testkit::harness;
use serde_json::Value;

use crate::support::{Ended, RINGER, end, ringer};

/// A wait for a state that always comes; longer than any machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

fn program<'a>(stats: &'a Path, from: &'a Path, to: &'a Path) -> [&'a str; 12] {
    let name = |path: &'a Path| path.to_str().expect("a name");
    let [stats, from, to] = [stats, from, to].map(name);
    let exe = RINGER;
    [
        "run",
        "--native",
        "never",
        "--stats",
        stats,
        "--",
        exe,
        "__demo-program",
        "--calls",
        "libc",
        from,
        to,
    ]
}

fn report(file: &Path) -> Value {
    let Ended { code, out, err } = end(ringer(["stats", "--json"]).arg(file));
    assert!(code == 0 && err.is_empty(), "{err}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn what_was_done_is_what_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let [stats, from, to] = ["s", "from", "to"].map(|name| folder.path().join(name));
    // Three blocks of 64 KiB and a bit, three times.
    fs::write(&from, vec![7; 3 * 65536 + 5]).expect("a file");
    end(&mut ringer(program(&stats, &from, &to)));
    assert_eq!(fs::read(&to).expect("the copy"), fs::read(&from).expect("the file"));
    let report = report(&stats);
    let requests = &report["total"]["requests"];
    assert_eq!(requests["READ_FIXED"], 12, "{report:#}");
    assert_eq!(requests["WRITE_FIXED"], 12, "{report:#}");
    assert_eq!(requests["SEND"], requests["RECV"], "{report:#}");
    assert_eq!(report["total"]["native_calls"], 0, "{report:#}");
    assert_eq!(report["processes"][0]["state"], "ended", "{report:#}");
    assert_eq!(report["processes"].as_array().map(Vec::len), Some(1), "{report:#}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3, "no counters are left");
}

#[test]
fn a_killed_program_keeps_what_was_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let [stats, from, to] = ["s", "from", "to"].map(|name| folder.path().join(name));
    fs::write(&from, vec![7; 64 << 20]).expect("a file");
    let mut command = ringer(program(&stats, &from, &to));
    let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let start = Instant::now();
    // The program is at work once its copy has a length.
    while !fs::metadata(&to).is_ok_and(|meta| meta.len() > 0) {
        assert!(start.elapsed() < PATIENCE && child.try_wait().expect("a wait").is_none());
        std::thread::yield_now();
    }
    child.kill().expect("a kill");
    child.wait().expect("a wait");
    let report = report(&stats);
    let process = &report["processes"][0];
    assert_eq!(process["state"], "killed", "{report:#}");
    assert!(process["requests"]["READ_FIXED"].as_u64() > Some(0), "{report:#}");
    assert!(process["exe"].as_str().is_some_and(|exe| exe.ends_with("ringer")), "{report:#}");
}

#[test]
fn a_missing_file_is_an_error_with_a_name() {
    end(&mut ringer(["stats", "/nonexistent/file"])).refused(1, &["/nonexistent/file"]);
}

#[test]
fn what_was_asked_for_and_refused_is_counted_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let stats = folder.path().join("s");
    let program = harness::binaries(RINGER).join("prog");
    let mut run = ringer(["run", "--native", "never", "--stats"]);
    let Ended { code, err, .. } = end(run.arg(&stats).arg("--").arg(program).arg("wishes"));
    assert!(code == 0 && err.is_empty(), "{err}");
    let report = report(&stats);
    let want = serde_json::json!({
        "RECV_ZC": 12,
        "POLL_ADD_LEVEL": 3,
        "RW_ATTR_FLAG_PI": 2,
        "SETUP_SQE_MIXED": 1,
        "REGISTER_ZCRX_CTRL": 1,
        "unknown in Opcodes": 1,
        "unknown in Setup flags": 1,
        "unknown in Register operations": 1,
    });
    assert_eq!(report["total"]["refused"], want, "{report:#}");
    assert_eq!(report["total"]["requests"]["unknown"], 1, "{report:#}");
    assert_eq!(report["total"]["requests"]["NOP"], 1, "{report:#}");
    let Ended { out, .. } = end(ringer(["stats"]).arg(&stats));
    assert!(out.contains("refused: 3 POLL_ADD_LEVEL (EINVAL), "), "{out}");
    assert!(out.contains(", 12 RECV_ZC (EINVAL)"), "{out}");
}

#[test]
fn a_program_without_wishes_has_none_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let [stats, from, to] = ["s", "from", "to"].map(|name| folder.path().join(name));
    fs::write(&from, [7; 5]).expect("a file");
    end(&mut ringer(program(&stats, &from, &to)));
    assert_eq!(report(&stats)["total"]["refused"], serde_json::json!({}));
    let Ended { out, .. } = end(ringer(["stats"]).arg(&stats));
    assert!(!out.contains("refused"), "{out}");
}
