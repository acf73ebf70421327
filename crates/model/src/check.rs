//! Running one model through its interleavings.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Most decisions of one execution; more is a loop that never ends.
const BRANCHES_MAX: usize = 20_000;
/// Preemptions when `LOOM_MAX_PREEMPTIONS` does not say (style.md 2.11: 2 on push).
const PREEMPTIONS: usize = 2;

/// Runs a model through every interleaving with at most `LOOM_MAX_PREEMPTIONS` preemptions.
#[allow(clippy::print_stdout, reason = "the run is to say how much it covered")]
pub fn check(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = builder.max_branches.max(BRANCHES_MAX);
    let bound = builder.preemption_bound.unwrap_or(PREEMPTIONS);
    builder.preemption_bound = Some(bound);
    let (ran, start) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let count = ran.clone();
    let once = move || {
        count.fetch_add(1, Relaxed);
        ringer_sys::primitive::reset();
        f();
    };
    if std::env::var_os("LOOM_LOG").is_some() {
        // With loom's own log, and bounds from the environment.
        loom::model(once);
    } else {
        builder.check(once);
    }
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a model");
    let (n, s) = (ran.load(Relaxed), start.elapsed().as_secs_f64());
    println!("  {name}: {n} interleavings, {bound} preemptions, {s:.1} s");
}
