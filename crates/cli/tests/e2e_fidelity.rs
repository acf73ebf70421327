//! Every claim of the fidelity matrix holds on the kernel, and on ringer unless it is open.
#![allow(clippy::print_stderr, reason = "a skip says why")]

mod support;

use ringer_engine::opcode::OPDEFS;
use ringer_testkit::block::Profile;
use ringer_testkit::fidelity::all;
use ringer_testkit::fidelity::errno_order::OPCODES;
use ringer_testkit::fidelity::report;
use ringer_testkit::fidelity::runner::Verdict;
use ringer_testkit::harness::{self, Under};
use support::RINGER;

/// Runs the matrix and fails with the claims that failed.
#[track_caller]
fn holds(under: Under, program: &str) {
    let program = harness::binaries(RINGER).join(program);
    let program = program.to_string_lossy();
    let argv: &[&str] = if under == Under::Kernel { &[&program] } else { &[&program, "--ringer"] };
    let ran = harness::run_within(300, RINGER, under, argv);
    let lines = report::parse(&ran.stdout);
    for l in lines.iter().filter(|l| l.verdict == Verdict::Skip) {
        eprintln!("skipped {}: {}", l.name, l.why);
    }
    let failed: Vec<String> = lines
        .iter()
        .filter(|l| l.verdict == Verdict::Fail)
        .map(|l| format!("{}: {}", l.name, l.why))
        .collect();
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), ran.stderr);
    let missing = report::missing(&lines, "");
    assert!(missing.is_empty(), "never judged: {missing:?} (exit code {})", ran.code);
    if under != Under::Kernel {
        assert_eq!(ran.stats.native_calls(), 0, "calls to the kernel's io_uring");
    }
}

/// Whether this process is root's: the owner of its own folder in /proc.
fn privileged() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

#[test]
fn every_claim_holds_on_the_kernels_ring() {
    if !privileged() {
        // RLIMIT_MEMLOCK (ENOMEM) and CAP_NET_ADMIN (EPERM) answer an ordinary user before what is claimed.
        eprintln!(
            "skipped on the kernel's ring: its answers are on record for a privileged process"
        );
    } else if harness::kernel_has_io_uring() {
        holds(Under::Kernel, "fidelity");
    } else {
        eprintln!("skipped on the kernel's ring, which this host refuses: recorded instead");
    }
}

#[test]
fn every_claim_that_is_not_open_holds_through_libc() {
    holds(Under::Blocked(Profile::Eperm), "fidelity");
}

#[test]
fn every_claim_that_is_not_open_holds_trapped() {
    holds(Under::Blocked(Profile::Docker), "fidelity-inline");
}

#[test]
fn the_recorded_native_run_holds_every_claim() {
    let recorded = include_str!("../../../tests/transcripts/fidelity-6.18.txt");
    assert!(recorded.starts_with("# native run of the fidelity matrix on Linux 6.18\n"));
    assert_eq!(recorded, report::recorded(), "run `cargo xtask fidelity` and commit the file");
    let failed: Vec<_> =
        report::parse(recorded).into_iter().filter(|l| l.verdict != Verdict::Pass).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn the_page_lists_every_claim() {
    let page = include_str!("../../../docs/fidelity.md");
    assert!(page == report::page(), "docs/fidelity.md is stale: run `cargo xtask fidelity`");
    assert_eq!(page.lines().filter(|l| l.starts_with("| `")).count(), all().count());
}

#[test]
fn the_op_table_has_the_opcodes_names() {
    for (name, def) in OPCODES.iter().zip(&OPDEFS) {
        assert_eq!(def.name, *name);
    }
}
