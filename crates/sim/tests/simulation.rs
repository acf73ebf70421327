//! Programs of every opcode in an unkind world: nothing that must hold is ever broken.
//!
//! `RINGER_SIM_SEED=N` runs one seed, `RINGER_SIM_SEEDS=N` so many; `cargo xtask simulate` runs as
//! long as it is told to.

use ringer_engine::opcode::OPDEFS;
use ringer_engine::support::{Place, rows};
use ringer_sim::simulate::{self, Program, Step, Summary};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|s| s.parse().ok())
}

/// Runs seeds on all processors; panics with the smallest failing program.
fn over(seeds: std::ops::Range<u64>) -> Summary {
    let all = Mutex::new((Summary::default(), Vec::new()));
    let next = AtomicU64::new(seeds.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            let failed = all.lock().is_ok_and(|all| !all.1.is_empty());
            if failed || !seeds.contains(&seed) {
                return;
            }
            let outcome = simulate::simulate(seed);
            let mut all = all.lock().expect("nobody panics with it");
            match outcome {
                Ok(s) => all.0.add(&s),
                Err(failure) => all.1.push(failure.to_string()),
            }
        }
    };
    std::thread::scope(|scope| {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        (0..jobs).for_each(|_| drop(scope.spawn(work)));
    });
    let (summary, failures) = all.into_inner().expect("nobody panics with it");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    summary
}

#[test]
fn every_row_has_a_workload_in_the_simulator() {
    let drawn: BTreeSet<u8> = simulate::opcodes().collect();
    for (opcode, def) in OPDEFS.iter().enumerate() {
        let carried_out = def.support.is_there();
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
fn the_same_seed_is_the_same_run() {
    for seed in 0..40 {
        let run = || format!("{:?}", simulate::attempt(&simulate::draw(seed)));
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn nothing_that_must_hold_is_ever_broken_and_everything_happens() {
    let all = over(0..number("RINGER_SIM_SEEDS").unwrap_or(3000));
    for opcode in simulate::opcodes() {
        // A linked timeout has no success.
        let done = all.succeeded[opcode as usize] > 0 || opcode == 15;
        assert!(done, "opcode {opcode} never succeeds: {all:?}");
        assert!(all.failed[opcode as usize] > 0, "opcode {opcode} never fails: {all:?}");
    }
    let rare = [all.more, all.cancelled, all.overflows, all.cut, all.tags, all.seen_to_the_end];
    assert!(rare.iter().chain(&all.struck).all(|n| *n > 0), "something never happens: {all:?}");
    every_carried_out_row(Place::Register, |op| all.registered[op as usize]);
    every_carried_out_row(Place::Enter, |flag| all.entered[flag.trailing_zeros() as usize]);
    every_carried_out_row(Place::Setup, |flag| all.set_up[flag.trailing_zeros() as usize]);
}

/// Whatever the support tables say is carried out in this place has happened.
fn every_carried_out_row(place: Place, count: impl Fn(u64) -> u64) {
    for (_, row) in rows().filter(|(t, r)| t.place == place && r.support.is_there()) {
        assert!(count(row.value) > 0, "{} never happens: draw it in simulate/draw.rs", row.name);
    }
}

#[test]
fn a_failure_becomes_small_and_says_how_to_repeat_it() {
    // A world that breaks a promise: what a program's first NOP owes is said to be something else.
    let wrong = |program: &mut Program| {
        let Some(Step::Submit(batch)) = program.steps.first_mut() else { return false };
        let nop = batch.iter_mut().find(|e| e.sqe.opcode == 0 && e.owes.ok == (0, 0));
        nop.map(|e| e.owes.ok = (3, 3)).is_some()
    };
    let mut spoilt = (0..200).map(simulate::draw).filter_map(|mut p| wrong(&mut p).then_some(p));
    let fails = |p: Program| {
        let why = simulate::attempt(&p).err()?;
        (p.entries().len() > 20).then_some((p, why))
    };
    let (program, why) = spoilt.find_map(fails).expect("a program that owes what it cannot give");
    let (least, why) = simulate::shrink(&program, why);
    assert!(why.contains("that cannot be"), "{why}");
    assert_eq!(least.entries().len(), 1, "{least}");
    let failure = simulate::Failure { seed: 7, why: why.clone(), least: Box::new((least, why)) };
    assert!(failure.to_string().contains("RINGER_SIM_SEED=7 cargo test -p ringer-sim"));
}
