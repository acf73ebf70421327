//! What `ringer run` costs over starting the program. Alone in its binary: nothing runs beside it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whole start-up of ringer: looking, comparing, proving, exec.
const OVERHEAD_MAX: Duration = Duration::from_millis(10);
/// Pairs of runs, of which the quickest count: noise of a shared machine only ever adds.
const RUNS: usize = 40;

fn time(command: &mut Command) -> Duration {
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("it starts");
    assert!(status.success(), "{command:?}: {status}");
    start.elapsed()
}

#[test]
fn running_true_takes_at_most_ten_milliseconds_more() {
    let ringer = env!("CARGO_BIN_EXE_ringer");
    let (mut plain, mut ours) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        plain = plain.min(time(&mut Command::new("true")));
        ours =
            ours.min(time(Command::new(ringer).args(["run", "--native", "never", "--", "true"])));
    }
    let over = ours.saturating_sub(plain);
    assert!(over <= OVERHEAD_MAX, "{over:?} over {plain:?}");
}
