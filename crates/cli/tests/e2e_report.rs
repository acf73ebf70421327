//! `ringer report`: a page of a trace that was just made.

mod support;

use ringer_testkit::harness::{Scratch, Under};
use std::process::{Command, Output};
use support::RINGER;
use support::traced::trace;

fn report(args: &[&str]) -> Output {
    Command::new(RINGER).arg("report").args(args).output().expect("ringer")
}

#[test]
fn a_trace_becomes_a_page_with_its_requests() {
    let scratch = Scratch::new();
    let ran = trace(Under::BLOCKED[0], &["--json"], &["prog", "spine"]).ok();
    let (lines, page) = (scratch.path("trace.jsonl"), scratch.path("page.html"));
    std::fs::write(&lines, ran.lines.join("\n")).unwrap();
    let out = report(&[&lines.to_string_lossy(), "-o", &page.to_string_lossy()]);
    assert_eq!((out.status.code(), out.stderr.len(), out.stdout.len()), (Some(0), 0, 0), "{out:?}");
    let html = std::fs::read_to_string(&page).unwrap();
    for part in ["prog spine", "<dd>21</dd>", ">READ</code>", ">FSYNC</code>", "</html>"] {
        assert!(html.contains(part), "{part} is not in {html}");
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&page.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let piped = report(&[&lines.to_string_lossy()]);
    assert_eq!(String::from_utf8_lossy(&piped.stdout), html);
}

#[test]
fn a_file_that_is_no_trace_is_refused_with_the_way_to_make_one() {
    let scratch = Scratch::new();
    let file = scratch.path("notes.txt");
    std::fs::write(&file, "not a trace\n").unwrap();
    let missing = scratch.path("missing");
    for path in [&file, &missing] {
        let out = report(&[&path.to_string_lossy()]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!((out.status.code(), out.stdout.len()), (Some(1), 0), "{said}");
        assert!(said.contains("ringer trace --json -o"), "{said}");
    }
}
