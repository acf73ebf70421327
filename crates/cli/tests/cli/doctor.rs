//! `ringer doctor` from outside.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{RINGER, end, executable, ringer};

fn report(command: &mut Command) -> (i32, Value) {
    let ended = end(command);
    let value = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
    (ended.code, value)
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("a list");
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[test]
fn json_has_a_verdict_and_five_fields_a_check() {
    let (code, report) = report(&mut ringer(["doctor", "--json"]));
    let checks = report["checks"].as_array().expect("a list");
    assert!(checks.len() >= 8, "{report:#}");
    for check in checks {
        let mut keys: Vec<_> = check.as_object().expect("an object").keys().collect();
        keys.sort();
        assert_eq!(keys, ["cause", "fix", "name", "status", "what"]);
        assert!(["PASS", "WARN", "FAIL"].contains(&check["status"].as_str().expect("a word")));
        assert!(check["name"].is_string() && check["what"].is_string());
        // A check that failed says what to do.
        assert!(check["status"] != "FAIL" || check["fix"].is_string(), "{check:#}");
    }
    assert_eq!(code, i32::from(report["verdict"] == "FAIL"));
}

#[test]
fn a_filter_is_named_as_the_cause() {
    let args = ["__demo-blocked", "--", RINGER, "doctor", "--json"];
    let (code, report) = report(&mut ringer(args));
    let kernel = check(&report, "kernel io_uring");
    assert_eq!(kernel["status"], "WARN");
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    if disabled.map_or(true, |value| value.trim() == "0") {
        assert!(kernel["cause"].as_str().expect("a cause").contains("seccomp filter"), "{kernel}");
    }
    assert_eq!(check(&report, "library")["status"], "PASS", "{report:#}");
    assert_eq!(code, 0, "what the kernel refuses is no failure of ringer's");
}

#[test]
fn a_program_that_can_not_be_served_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (file[16], file[18], file[54]) = (2, 62, 56);
    let path = executable(folder.path(), "static", file);
    let (code, report) = report(ringer(["doctor", "--json"]).arg(path));
    assert_eq!(code, 1);
    assert_eq!(report["verdict"], "FAIL");
    assert!(check(&report, "program")["cause"].as_str().expect("a cause").contains("static"));
}

#[test]
fn a_program_that_calls_through_libc_needs_no_filter() {
    let (code, report) = report(&mut ringer(["doctor", "--json", "true"]));
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(check(&report, "loads ringer")["status"], "PASS");
    assert!(check(&report, "calls")["what"].as_str().expect("words").contains("no filter"));
}

#[test]
fn a_program_with_inline_calls_is_named_with_its_object() {
    // ringer itself carries one, for its demo.
    let (_, report) = report(&mut ringer(["doctor", "--json", RINGER]));
    let calls = check(&report, "calls");
    assert!(calls["what"].as_str().expect("words").contains("trap"), "{calls}");
    assert!(calls["cause"].as_str().expect("a cause").contains("ringer"), "{calls}");
}

#[test]
fn lines_start_with_their_status_and_carry_no_escapes() {
    let ended = end(ringer(["doctor", "true"]).env("TERM", "xterm"));
    assert!(ended.err.is_empty() && !ended.out.contains('\x1b'), "{ended:?}");
    for line in ended.out.lines().filter(|line| !line.starts_with(' ')) {
        assert!(["PASS  ", "WARN  ", "FAIL  "].iter().any(|s| line.starts_with(s)), "{line}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = ringer(["doctor"]).stdout(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_missing_program_is_a_failed_line() {
    let (code, report) = report(&mut ringer(["doctor", "--json", "surely-no-such-program"]));
    assert_eq!(code, 1);
    assert_eq!(check(&report, "program")["status"], "FAIL");
}

fn support(args: &[&str]) -> Value {
    let (code, tables) = report(ringer(["doctor", "--json", "--support"]).args(args));
    assert_eq!(code, 0);
    tables
}

#[test]
fn support_as_json_has_every_row_of_the_engine() {
    let tables = support(&[]);
    let rows = tables["tables"].as_array().expect("tables").iter();
    let rows: Vec<&Value> = rows.flat_map(|t| t["rows"].as_array().expect("rows")).collect();
    assert_eq!(rows.len(), ringer_engine::support::ROWS);
    for row in rows {
        let mut keys: Vec<_> = row.as_object().expect("an object").keys().collect();
        keys.sort();
        assert_eq!(keys, ["errno", "name", "note", "since", "support", "value"]);
        assert_eq!(row["errno"].is_string(), row["support"] == "refused", "{row}");
        assert_eq!(row["note"].is_null(), row["support"] == "full", "{row}");
    }
}

#[test]
fn support_finds_a_row_by_the_headers_name() {
    let tables = support(&["IORING_SETUP_SQPOLL"]);
    let [table] = &tables["tables"].as_array().expect("tables")[..] else { panic!("{tables:#}") };
    assert_eq!(table["title"], "Setup flags");
    assert_eq!(table["rows"].as_array().map(Vec::len), Some(1), "{tables:#}");
}

#[test]
fn support_in_words_is_a_line_a_row_without_escapes() {
    let ended = end(ringer(["doctor", "--support", "splice"]).env("TERM", "xterm"));
    assert!(ended.code == 0 && ended.err.is_empty(), "{ended:?}");
    assert!(!ended.out.contains('\x1b'), "{ended:?}");
    let line = ended.out.lines().find(|l| l.contains(" SPLICE ")).expect("a row");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..3], ["30", "SPLICE", "5.7"], "{line}");
}

#[test]
fn support_of_what_is_not_there_says_so() {
    end(&mut ringer(["doctor", "--support", "surely-not"])).refused(1, &["surely-not"]);
}
