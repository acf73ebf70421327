//! `ringer top`: what the user's processes do with their rings, just now.
//!
//! ```text
//!   find (folders, sockets) -> watch (one memory a process) -> meter (rates) -> rows, once an interval
//!                                                                 '-> view (a terminal) or plain
//! ```
//! A process is watched from the moment it is found until it ends or this does: nothing of it is stopped
//! or started again, and one that nobody watches does nothing for it. What this does not do: keep
//! requests; `ringer trace` shows them.

mod find;
mod meter;
mod plain;
mod watch;

use std::io;
use std::time::{Duration, Instant};

use crate::cli::TopArgs;
use crate::os::signals;
use crate::refusal::Refusal;

use watch::Watch;

/// Between two reads when there was something, and at most.
const SOON: Duration = Duration::from_millis(2);
const LATER: Duration = Duration::from_millis(20);
/// Between two looks for new processes.
const LOOK: Duration = Duration::from_millis(500);
/// How long a process that was named may take to show up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows until it is told to stop.
///
/// # Errors
/// There is no such process, or none that can be watched; the output cannot be written.
pub(crate) fn top(args: &TopArgs) -> anyhow::Result<u8> {
    let signals = signals::Held::hold();
    let mut watch = Watch::new(args.pid);
    find_named(args, &mut watch)?;
    lines(args, &mut watch, &signals)?;
    Ok(0)
}

/// Waits a moment for a process that was named.
fn find_named(args: &TopArgs, watch: &mut Watch) -> Result<(), Refusal> {
    let Some(pid) = args.pid else { return Ok(()) };
    let start = Instant::now();
    loop {
        watch.look();
        watch.read();
        if !watch.is_empty() && !watch.is_asking() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE && watch.is_empty() {
            let why = watch.warnings.first().cloned().unwrap_or_else(|| {
                "it has no socket: it has no ring older than a moment, runs without ringer, was \
                 started with --no-attach, or is another user's"
                    .into()
            });
            return Err(Refusal::ours(format!("cannot watch process {pid}"), why)
                .fix("ringer run --native never -- PROG, and ringer doctor for the folder"));
        }
        std::thread::sleep(SOON);
    }
}

/// One block an interval.
fn lines(args: &TopArgs, watch: &mut Watch, signals: &signals::Held) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let interval = args.interval;
    let (mut due, mut look, mut left) = (Instant::now() + interval, Instant::now(), args.count);
    let mut pause = SOON;
    loop {
        if Instant::now() >= look {
            watch.look();
            look = Instant::now() + LOOK;
        }
        pause = if watch.read() { SOON } else { (pause * 2).min(LATER) };
        for warning in watch.warnings.drain(..) {
            eprintln!("ringer: top: {warning}");
        }
        if Instant::now() >= due {
            plain::print(&mut out, &watch.rows())?;
            due += interval;
            left = left.map(|n| n.saturating_sub(1));
        }
        if left == Some(0) || args.pid.is_some() && watch.is_empty() {
            return Ok(());
        }
        if signals.next(pause).is_some_and(signals::ends) {
            return Ok(());
        }
    }
}
