//! `cargo xtask conformance`: its rows against the support tables, and who runs when it is killed.

use ringer_engine::support::{Support, rows};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const EXPECTED: &str = include_str!("../../tests/conformance/expected.toml");
const NATIVE: &str = include_str!("../../tests/conformance/native-6.18.toml");
const LIMITATIONS: &str = include_str!("../../LIMITATIONS.md");

/// The tests' rows in which `key` is, as (test, row).
fn with_key(key: &str) -> Vec<(String, toml::Table)> {
    let file: toml::Table = EXPECTED.parse().expect("TOML");
    let tests = file["tests"].as_table().expect("[tests]").clone();
    let tables = tests.into_iter().filter_map(|(name, row)| match row {
        toml::Value::Table(row) if row.contains_key(key) => Some((name, row)),
        _ => None,
    });
    tables.collect()
}

/// The issue that brings a row of the support tables: `Err` when nothing is missing there.
fn brought_by(name: &str) -> Result<i64, String> {
    let named: Vec<_> = rows().filter(|(_, row)| row.name == name).collect();
    let Some((_, row)) = named.first() else { return Err(format!("no row is called {name}")) };
    if row.support == Support::Full {
        return Err(format!("{name} is full"));
    }
    // A partial row that names none is completed with the request machinery.
    let issue = row.support.note().split("(issue ").nth(1).and_then(|n| n.split(')').next());
    Ok(issue.and_then(|n| n.parse().ok()).unwrap_or(4))
}

#[test]
fn what_a_test_waits_for_is_not_full_and_comes_with_the_issue_it_names() {
    for (test, row) in with_key("later") {
        let (issue, why) = (row["later"].as_integer(), row["why"].as_str().expect("a reason"));
        let last = match why.strip_prefix("LIMITATIONS.md: ") {
            Some(words) => {
                let line = LIMITATIONS.lines().find(|l| l.contains(words));
                let line = line.unwrap_or_else(|| panic!("{test}: no limit says {words:?}"));
                let named = issue.filter(|n| line.contains(&format!("(issue {n})")));
                Ok(named.unwrap_or_else(|| panic!("{test}: the limit names another issue: {line}")))
            }
            None => why.split(", ").map(brought_by).try_fold(0, |a, b| b.map(|b| b.max(a))),
        };
        assert_eq!(last.map(Some), Ok(issue), "{test}: {why}");
    }
}

#[test]
fn a_test_listed_to_fail_names_a_partial_row_or_fails_on_the_kernel() {
    let native: toml::Table = NATIVE.parse().expect("TOML");
    for (test, row) in with_key("fail") {
        let why = row["fail"].as_str().expect("a reason");
        let partial = rows().any(|(_, r)| {
            matches!(r.support, Support::Partial(_)) && why.starts_with(&format!("{}: ", r.name))
        });
        let kernel = native["tests"][&test].as_str() != Some("pass");
        assert!(partial || kernel, "{test}: {why}");
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// Waits until the process is gone or a zombie; one that lives on hangs the test and is seen.
fn ended(pid: &str) {
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ") {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_test_and_what_it_forked_end_with_a_runner_that_is_killed() {
    let at = ringer_testkit::harness::Scratch::new();
    for folder in ["tests/conformance", "suite/test", "bin"] {
        fs::create_dir_all(at.path(folder)).unwrap();
    }
    let rows = "version = \"1\"\n[tests]\nhang = \"pass\"\n";
    fs::write(at.path("tests/conformance/expected.toml"), rows).unwrap();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let series = release.split('.').take(2).collect::<Vec<_>>().join(".");
    fs::write(at.path(&format!("tests/conformance/native-{series}.toml")), rows).unwrap();
    fs::write(at.path("suite/built-for-conformance"), "").unwrap();
    fs::write(at.path("suite/test/hang.t"), "").unwrap();
    fs::write(at.path("bin/ringer"), "").unwrap();
    let pids = at.path("pids");
    let hang = format!(
        "#!/bin/sh\nsleep 1000 &\necho $$ $! >{0}.new\nmv {0}.new {0}\nwait\n",
        pids.display()
    );
    script(&at.path("bin/blocked"), &hang);

    let mut runner = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["conformance", "--source", "suite", "--ringer", "bin/ringer"])
        .env("CARGO_TARGET_DIR", at.path("target"))
        .current_dir(at.path("."))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let words = loop {
        match fs::read_to_string(&pids) {
            Ok(words) => break words,
            Err(_) => assert!(runner.try_wait().unwrap().is_none(), "the runner ended early"),
        }
        std::thread::yield_now();
    };
    runner.kill().unwrap();
    runner.wait().unwrap();
    words.split_whitespace().for_each(ended);
}
