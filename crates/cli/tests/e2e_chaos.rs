//! `ringer chaos`: what it does to a program is what it says, again and again, and no more than is legal.

mod support;

use ringer_testkit::harness::{self, Scratch};
use std::process::Command;
use support::RINGER;

/// What a command came to.
struct Came {
    code: i32,
    stdout: String,
    stderr: String,
}

fn prog() -> String {
    harness::binaries(RINGER).join("prog").to_string_lossy().into_owned()
}

/// `ringer chaos` with these options on that program of the kit.
fn chaos(options: &[&str], program: &[&str]) -> Came {
    let prog = prog();
    let program = [&[prog.as_str()], program].concat();
    chaos_on(options, &program)
}

fn chaos_on(options: &[&str], program: &[&str]) -> Came {
    let mut command = Command::new("timeout");
    command.args(["120", RINGER, "chaos"]).args(options).arg("--").args(program);
    let out = command.output().expect("timeout(1)");
    Came {
        code: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

#[test]
fn a_program_that_takes_short_reads_for_whole_ones_is_found_and_the_injection_named() {
    let came = chaos(&["--runs", "6", "--seed", "2"], &["copy-careless"]);
    assert_eq!(came.code, 1, "{}{}", came.stdout, came.stderr);
    assert!(
        came.stdout.starts_with("6 runs, seeds 2 to 7: 0 passed, 6 failed; "),
        "{}",
        came.stdout
    );
    let enough = came.stdout.lines().find(|l| l.contains("injections are enough"));
    assert!(enough.is_some_and(|l| l.starts_with("  1 of ")), "{}", came.stdout);
    assert!(came.stdout.contains(" bytes at most\n"), "{}", came.stdout);
    // What is to be typed fails again.
    let repeat = came.stdout.lines().find_map(|l| l.strip_prefix("  repeat: ringer "));
    let line = format!("{RINGER} {}", repeat.unwrap_or_else(|| panic!("{}", came.stdout)));
    let again = Command::new("/bin/sh").args(["-c", &line]).output().expect("a shell");
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{said}");
    assert!(said.contains("exit status 1; 1 injections (1 short)"), "{said}");
}

#[test]
fn a_careful_program_survives_every_seed() {
    let came = chaos(&["--runs", "20", "--seed", "1"], &["copy-careful"]);
    assert_eq!(came.code, 0, "{}{}", came.stdout, came.stderr);
    assert!(came.stdout.starts_with("20 runs, seeds 1 to 20: 20 passed, 0 failed; "));
    for what in ["delay", "interrupt", "overflow", "short", "worker"] {
        assert!(came.stdout.contains(&format!(" {what}")), "no {what}: {}", came.stdout);
    }
}

#[test]
fn the_same_seed_does_the_same_to_the_same_submissions() {
    let of = |seed: &str| {
        let scratch = Scratch::new();
        let file = scratch.path("done");
        let name = file.to_string_lossy();
        // What is late, or is done to waits, changes what the program submits next.
        let rules = ["--rule", "worker p=0.3", "--rule", "overflow p=0.2"];
        let options = [&["--seed", seed, "-o", &name][..], &rules].concat();
        let came = chaos(&options, &["order"]);
        assert_eq!(came.code, 0, "{}", came.stderr);
        let text = std::fs::read_to_string(&file).expect("the list");
        let mut lines: Vec<String> =
            text.lines().filter_map(|l| l.split_whitespace().next().map(str::to_owned)).collect();
        lines.sort();
        lines
    };
    let first = of("7");
    assert!(first.len() > 3, "{first:?}");
    assert_eq!(first, of("7"));
    assert_ne!(first, of("8"));
}

#[test]
fn a_rule_fails_the_request_that_it_names() {
    let came = chaos(&["--rule", "errno=EIO op=read nth=3"], &["copy-careful"]);
    assert_eq!(came.code, 1);
    assert!(came.stderr.contains("piece 2: EIO"), "{}", came.stderr);
    assert!(
        came.stderr.contains("failed with EIO (rule errno=EIO op=READ nth=3)"),
        "{}",
        came.stderr
    );
    let path = chaos(&["--rule", "errno=ENOSPC op=write path=/nowhere/*"], &["copy-careful"]);
    assert_eq!(path.code, 0, "{}", path.stderr);
    assert!(path.stderr.contains("nothing was injected"), "{}", path.stderr);
    let path = chaos(&["--rule", "errno=ENOSPC op=write path=/tmp/*"], &["copy-careful"]);
    assert!(path.stderr.contains("ENOSPC"), "{}", path.stderr);
}

#[test]
fn rules_of_a_file_are_rules() {
    let scratch = Scratch::new();
    let file = scratch.path("rules.toml");
    std::fs::write(&file, "[[rule]]\nerrno = \"EIO\"\nop = [\"write\"]\nnth = 1\n")
        .expect("written");
    let came = chaos(&["--rules", &file.to_string_lossy()], &["copy-careful"]);
    assert_eq!(came.code, 1);
    assert!(came.stderr.contains(": EIO"), "{}", came.stderr);
    std::fs::write(&file, "[[rule]]\nerror = \"EIO\"\n").expect("written");
    let came = chaos(&["--rules", &file.to_string_lossy()], &["copy-careful"]);
    assert_eq!(came.code, 125);
    assert!(came.stderr.contains("\"error=EIO\": no word of a rule"), "{}", came.stderr);
}

#[test]
fn what_no_kernel_does_needs_to_be_asked_for() {
    let refused = chaos(&["--rule", "lose op=read nth=3"], &["copy-careful"]);
    assert_eq!(refused.code, 125);
    assert!(refused.stderr.contains("--illegal"), "{}", refused.stderr);
    let lost = ["--illegal", "--rule", "lose op=read nth=3", "--limit", "2"];
    let came = chaos(&lost, &["copy-careful"]);
    assert_eq!(came.code, 124, "{}", came.stderr);
    assert!(
        came.stderr.contains("it had not ended after 2 s; 1 injections (1 lose)"),
        "{}",
        came.stderr
    );
    let twice = chaos(&["--illegal", "--rule", "twice op=nop nth=1"], &["order"]);
    assert_eq!(twice.code, 1, "{}", twice.stderr);
}

#[test]
fn a_program_that_fails_by_itself_is_not_hunted() {
    let came = chaos_on(&["--runs", "3"], &["false"]);
    assert_eq!(came.code, 125);
    assert!(
        came.stderr.contains("the program fails without chaos: exit status 1"),
        "{}",
        came.stderr
    );
}

#[test]
fn a_program_without_rings_is_said_to_have_none() {
    let came = chaos_on(&[], &["true"]);
    assert_eq!(came.code, 0);
    assert!(came.stderr.contains("no process made a ring"), "{}", came.stderr);
}

#[test]
fn each_run_of_a_hunt_has_the_folder_that_it_is_given() {
    // Two runs in one folder would find each other's file.
    let script = "set -C; echo > {}/mine && exec \"$0\" copy-careful";
    let came = chaos_on(
        &["--runs", "4", "-j", "4", "--rule", "delay p=0.5"],
        &["/bin/sh", "-c", script, &prog()],
    );
    assert_eq!(came.code, 0, "{}{}", came.stdout, came.stderr);
}

#[test]
fn a_forked_child_is_under_the_same_plan() {
    let came = chaos(&["--rule", "delay=1ms p=0.5", "--seed", "3"], &["children"]);
    assert_eq!(came.code, 0, "{}", came.stderr);
    assert!(came.stderr.contains(" injections ("), "{}", came.stderr);
}

#[test]
fn a_ring_that_a_child_has_of_its_parent_is_under_the_plan_there_too() {
    let came = chaos(&["--rule", "delay p=0.5", "--seed", "1"], &["soak-kin", "10"]);
    assert_eq!(came.code, 0, "{}", came.stderr);
    let injected = came.stderr.split("; ").find_map(|s| s.split_once(" injections"));
    let injected = injected.and_then(|(n, _)| n.parse::<u32>().ok());
    // The parent's own are a dozen.
    assert!(injected.is_some_and(|n| n > 100), "{}", came.stderr);
}
