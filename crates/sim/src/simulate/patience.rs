//! Runs that never end: a thread that spins without a call of the host holds the baton for good, and
//! no scheduler sees it. A second thread looks at the wall's clock, says which program it was, and ends
//! the process.
//!
//! What it does not do: end the run, which nobody can.

use super::program::Program;
use crate::sched::lock;
use std::collections::BTreeMap;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

/// Longest run. The longest legal one takes a hundredth of it.
const LONGEST: Duration = Duration::from_secs(60);

static RUNS: Mutex<BTreeMap<u64, (Instant, Program)>> = Mutex::new(BTreeMap::new());
static LOOKS: Once = Once::new();

/// A run that is under way.
#[derive(Debug)]
pub(super) struct Run(u64);

impl Run {
    /// From here on the clock ticks for it.
    pub(super) fn begin(program: &Program) -> Self {
        LOOKS.call_once(|| drop(std::thread::spawn(look)));
        let mut runs = lock(&RUNS);
        let id = runs.last_key_value().map_or(0, |(id, _)| id + 1);
        runs.insert(id, (Instant::now(), program.clone()));
        Self(id)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        lock(&RUNS).remove(&self.0);
    }
}

fn look() {
    loop {
        std::thread::sleep(LONGEST / 10);
        let runs = lock(&RUNS);
        if let Some((_, program)) = runs.values().find(|(began, _)| began.elapsed() > LONGEST) {
            tell(program);
            std::process::exit(1);
        }
    }
}

#[expect(clippy::print_stderr, reason = "nobody is left to return it to")]
fn tell(program: &Program) {
    eprintln!(
        "simulation: FAILED seed {0}: a thread spins: no end after {LONGEST:?}",
        program.seed
    );
    eprintln!(
        "{program}again: cargo xtask simulate --seeds {0}..{1}",
        program.seed,
        program.seed + 1
    );
}
