//! Generated programs: batches of random entries end on ringer as they end on the kernel's ring.
//!
//! A failure prints the first line that differs; the seed is the last `## seed` line above it.

mod support;

use ringer_testkit::harness::{self, Under};
use support::{RINGER, blocked, natively};

/// The first line that differs, with the seed it belongs to.
fn difference(want: &str, got: &str) -> Option<String> {
    let mut seed = "";
    for (w, g) in want.lines().zip(got.lines()) {
        if w.starts_with("## ") {
            seed = w;
        }
        if w != g {
            return Some(format!("{seed}: wanted {w:?}, got {g:?}"));
        }
    }
    (want.lines().count() != got.lines().count()).then(|| format!("{seed}: another length"))
}

#[test]
fn four_hundred_generated_programs_end_as_on_the_kernels_ring() {
    let args = ["random", "0..400"];
    let Some(kernel) = natively(&args) else { return };
    for run in [harness::prog, harness::prog_inline] {
        let ours = run(RINGER, Under::Ringer, &args).ok();
        assert_eq!(difference(&kernel.stdout, &ours.stdout), None);
    }
}

#[test]
fn ten_generated_programs_end_as_recorded_on_6_18() {
    let recorded = include_str!("../../../tests/transcripts/random-6.18.txt");
    let args = ["random", "0..10"];
    if let Some(kernel) = natively(&args) {
        assert_eq!(difference(recorded, &kernel.stdout), None);
    }
    for ran in blocked(&args, &["READ", "WRITE", "READ_FIXED", "WRITE_FIXED", "LINK_TIMEOUT"]) {
        assert_eq!(difference(recorded, &ran.stdout), None);
    }
}
