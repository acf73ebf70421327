//! `ringer run --shuffle`: completions come late and in another order, and nothing else changes.

mod support;

use ringer_testkit::harness::{self, Under};
use support::{RINGER, everywhere};

#[test]
fn requests_end_in_the_order_they_were_submitted_in() {
    for ran in everywhere(&["order"], &["READ", "NOP"]) {
        assert_eq!(ran.stdout, "other orders none\n");
    }
}

#[test]
fn a_shuffled_ring_has_other_orders_and_the_same_results() {
    let prog = harness::binaries(RINGER).join("prog").to_string_lossy().into_owned();
    for seed in ["RINGER_SHUFFLE=1", "RINGER_SHUFFLE=2", "RINGER_SHUFFLE=4294967295"] {
        let ran = harness::run(RINGER, Under::BLOCKED[0], &["env", seed, &prog, "order"]).ok();
        assert_eq!(ran.proved(&["READ", "NOP"]).stdout, "other orders seen\n", "{seed}");
    }
}

#[test]
fn a_shuffled_program_is_ringers_where_the_kernel_would_do() {
    let prog = harness::binaries(RINGER).join("prog");
    let mut command = std::process::Command::new(RINGER);
    command.args(["run", "--shuffle", "7", "--"]).arg(prog).arg("order");
    let out = command.output().expect("ringer starts");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "other orders seen\n");
}
