//! Programs of every opcode in an unkind world: nothing that must hold is ever broken.
//!
//! `RINGER_SIM_SEED=N` runs one seed, `RINGER_SIM_SEEDS=N` so many; `cargo xtask simulate` runs as
//! long as it is told to.

use ringer_engine::opcode::{OPDEFS, Support};
use ringer_sim::simulate::{self, Summary};
use std::collections::BTreeSet;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|s| s.parse().ok())
}

/// Runs seeds; panics with the smallest failing program.
fn over(seeds: std::ops::Range<u64>) -> Summary {
    let mut all = Summary::default();
    for seed in seeds {
        match simulate::simulate(seed) {
            Ok(s) => all.add(&s),
            Err(failure) => panic!("{failure}"),
        }
    }
    all
}

#[test]
fn every_row_has_a_workload_in_the_simulator() {
    let drawn: BTreeSet<u8> = simulate::opcodes().collect();
    for (opcode, def) in OPDEFS.iter().enumerate() {
        let carried_out = def.support != Support::None;
        let has = drawn.contains(&(opcode as u8));
        assert!(has || !carried_out, "{} needs a row in simulate/rows.rs", def.name);
    }
}

#[test]
fn one_seed() {
    let seed = number("RINGER_SIM_SEED").unwrap_or(0);
    println!("{}", simulate::draw(seed));
    over(seed..seed + 1);
}

#[test]
fn nothing_that_must_hold_is_ever_broken() {
    over(0..number("RINGER_SIM_SEEDS").unwrap_or(1000));
}
