//! Generated programs end on ringer as a 6.18 kernel's ring ended them, which is on record.
//!
//! So hosts without io_uring compare, too. `cargo xtask differential` asks this host's kernel about
//! any number of seeds.

mod support;

use ringer_engine::opcode::OPDEFS;
use ringer_engine::support::Support;
use ringer_testkit::differential::allowed::Allowed;
use ringer_testkit::differential::campaign::{Plan, Record};
use ringer_testkit::differential::judge::{Judge, PATIENCE_MS, Verdict};
use ringer_testkit::differential::{DRAWS, Rows, draws, generate};
use ringer_testkit::harness;
use std::collections::BTreeSet;
use support::RINGER;

fn rows() -> Rows {
    let drawn = OPDEFS.iter().filter(|d| d.support.is_there());
    Rows::new(drawn.map(|d| (d.name, d.support == Support::Full)))
}

/// Ringer under both blockers, through libc and inline.
fn places() -> Plan {
    let (kit, ringer) = (harness::binaries(RINGER).to_owned(), RINGER.into());
    let (budget, jobs) = (None, 1);
    Plan { seeds: 0..0, budget, jobs, kit, ringer, blocked: true, talk: false, cut: false }
}

#[test]
fn recorded_programs_end_as_recorded_on_6_18() {
    let recorded = include_str!("../../../tests/transcripts/differential-6.18.jsonl");
    let allowed = Allowed::ours().expect("differential/allowed.toml");
    let plan = places();
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
