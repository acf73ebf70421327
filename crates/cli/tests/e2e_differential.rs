//! Generated programs end on ringer as they end on the kernel's ring.
//!
//! A failure prints the seed, the program cut down, and the command that repeats it. Where the host
//! has no io_uring to ask, what a 6.18 kernel saw of some programs is on record.

mod support;

use ringer_engine::opcode::{OPDEFS, Support};
use ringer_testkit::differential::allowed::Allowed;
use ringer_testkit::differential::campaign::{self, Plan, Record};
use ringer_testkit::differential::judge::{Judge, PATIENCE_MS, Verdict};
use ringer_testkit::differential::{DRAWS, Rows, draws, generate};
use ringer_testkit::harness;
use std::collections::BTreeSet;
use support::RINGER;

fn rows() -> Rows {
    let drawn = OPDEFS.iter().filter(|d| d.support.is_there());
    Rows::new(drawn.map(|d| (d.name, d.support == Support::Full)))
}

fn plan(seeds: std::ops::Range<u64>, blocked: bool) -> Plan {
    let (kit, ringer) = (harness::binaries(RINGER).to_owned(), RINGER.into());
    Plan { seeds, budget: None, jobs: 2, kit, ringer, blocked, talk: false, cut: true }
}

#[test]
fn generated_programs_end_as_on_the_kernels_ring() {
    if !harness::kernel_has_io_uring() {
        eprintln!("skipped on the kernel's ring, which this host refuses: the record is compared");
        return;
    }
    let allowed = Allowed::ours().expect("differential/allowed.toml");
    let report = campaign::run(&plan(0..100, false), &rows(), &allowed);
    for failure in &report.failed {
        eprintln!("{failure}");
    }
    eprintln!("{report}; allowed differences: {}", allowed.len());
    assert!(report.failed.is_empty(), "{report}");
    assert!(report.passed > 50, "too few programs are stable on this kernel: {report}");
}

#[test]
fn recorded_programs_end_as_recorded_on_6_18() {
    let recorded = include_str!("../../../tests/transcripts/differential-6.18.jsonl");
    let allowed = Allowed::ours().expect("differential/allowed.toml");
    let plan = plan(0..0, true);
    let mut judge = Judge::new(plan.kernel(), plan.ringers(), &allowed);
    for line in recorded.lines() {
        let Record { program, saw } = serde_json::from_str(line).expect("a record");
        let verdict = judge.against(&saw, &program, PATIENCE_MS);
        assert!(matches!(verdict, Verdict::Same(_)), "{verdict:?}\n{program}");
    }
}

#[test]
fn what_the_generator_says_it_draws_is_what_it_draws() {
    let rows = rows();
    let drawn: BTreeSet<&str> =
        (0..3000).flat_map(|seed| draws::names_in(&generate(seed, &rows))).collect();
    let said: BTreeSet<&str> = DRAWS.iter().copied().collect();
    let unsaid: Vec<_> = drawn.difference(&said).collect();
    let undrawn: Vec<_> = said.difference(&drawn).collect();
    assert!(unsaid.is_empty() && undrawn.is_empty(), "unsaid {unsaid:?}, never drawn {undrawn:?}");
    assert_eq!(rows.without_a_shape(), Vec::<&str>::new(), "rows that nothing compares");
}
