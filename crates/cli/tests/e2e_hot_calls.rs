//! The saving that registered files are for: how many system calls a hot request takes.
//!
//! strace counts the calls between two `getppid` marks of the program; without strace the claim
//! is not tested here, which is said.
#![allow(clippy::print_stderr, reason = "a skip says why")]

mod support;

use ringer_testkit::harness::{self, Under};
use std::collections::BTreeMap;
use std::process::Command;
use support::RINGER;

/// Calls by name between the marks, and how many requests were made there; `None` without strace.
fn counted(program: &str, how: &str) -> Option<(BTreeMap<String, u64>, u64)> {
    let scratch = harness::Scratch::new();
    let (log, bin) = (scratch.path("log"), harness::binaries(RINGER).join(program));
    let argv = [bin.to_str().expect("a path"), "hot-reads", how];
    let line = harness::command(RINGER, Under::Ringer, &scratch.path("stats"), &argv);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&log).args(&line);
    // A thread makes a socket for readers once, at about the first mark: no request's calls.
    let out = strace.env("RINGER_NO_ATTACH", "1").output();
    let Ok(out) = out else {
        eprintln!("skipped: strace is not installed");
        return None;
    };
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if !out.status.success() && said.contains("ptrace") {
        eprintln!("skipped: strace may not trace here: {said}");
        return None;
    }
    assert!(out.status.success(), "{said}");
    let requests: u64 = String::from_utf8_lossy(&out.stdout).trim().parse().expect("a count");
    let mut calls = BTreeMap::new();
    let mut marks = 0;
    for line in std::fs::read_to_string(&log).expect("the log").lines() {
        // "1234 name(args..." or "1234 <... name resumed>..."
        let Some((_, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        if name == "getppid" {
            marks += 1;
        } else if marks == 1 && !name.contains(' ') {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(marks, 2, "the marks were not seen");
    Some((calls, requests))
}

/// Calls that are not part of a request but may happen beside it (ticks of other threads).
const BESIDE: u64 = 20;

#[track_caller]
fn exactly(program: &str, how: &str, request: &[&str], also: &str) {
    let Some((mut calls, n)) = counted(program, how) else { return };
    let of_request: u64 = request.iter().filter_map(|c| calls.remove(*c)).sum();
    assert_eq!(of_request, n, "{how}: {calls:?}");
    if !also.is_empty() {
        assert_eq!(calls.remove(also), Some(n), "{how}: {calls:?}");
    }
    for forbidden in ["fstat", "newfstatat", "dup", "fcntl", "epoll_ctl", "close"] {
        assert_eq!(calls.get(forbidden), None, "{how}: {calls:?}");
    }
    let rest: u64 = calls.values().sum();
    assert!(rest <= BESIDE, "{how}: {calls:?}");
}

const READ: &[&str] = &["preadv2", "pread64", "preadv", "read", "readv"];

#[test]
fn a_hot_fixed_read_is_one_system_call() {
    exactly("prog", "fixed", READ, "");
}

#[test]
fn a_ready_fixed_recv_is_one_system_call() {
    exactly("prog", "recv", &["recvfrom"], "write");
}

#[test]
fn a_hot_plain_read_of_a_file_is_one_system_call_too() {
    exactly("prog", "plain", READ, "");
}

#[test]
fn a_fixed_recv_that_waits_takes_no_reference_and_no_epoll_change() {
    let Some((calls, n)) = counted("prog", "late-recv") else { return };
    let of = |name: &str| calls.get(name).copied().unwrap_or(0);
    for per_request in ["fstat", "newfstatat", "dup", "fcntl", "epoll_ctl", "close"] {
        assert!(of(per_request) <= BESIDE, "{per_request}: {calls:?}");
    }
    // One that finds nothing, one that finds the data; strace cuts a few lines in two.
    assert!(of("recvfrom") <= 2 * n + BESIDE, "{calls:?}");
}
