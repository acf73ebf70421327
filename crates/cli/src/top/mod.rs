//! `ringer top`: what the user's processes do with their rings, just now.
//!
//! ```text
//!   find (folders, sockets) -> watch (one memory a process) -> meter (rates) -> rows, once an interval
//!                                                                 '-> view (a terminal) or plain
//! ```
//! A process is watched from the moment it is found until it ends or this does: nothing of it is stopped
//! or started again, and one that nobody watches does nothing for it. What this does not do: keep
//! requests; `ringer trace` shows them.

pub(crate) mod find;
mod meter;
mod plain;
mod view;
pub(crate) mod watch;

use std::env;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossterm::event::{self, Event};
use ratatui::DefaultTerminal;

use crate::cli::TopArgs;
use crate::os::signals;

use view::{View, Wish};
use watch::Watch;

/// Between two reads when there was something, and at most.
const SOON: Duration = Duration::from_millis(2);
const LATER: Duration = Duration::from_millis(20);
/// Between two looks for new processes.
const LOOK: Duration = Duration::from_millis(500);
/// When a terminal shows something first.
const FIRST: Duration = Duration::from_millis(300);

/// Shows until it is told to stop.
///
/// # Errors
/// There is no such process, or none that can be watched; the output cannot be written.
pub(crate) fn top(args: &TopArgs) -> anyhow::Result<u8> {
    let signals = signals::Held::hold();
    let mut watch = Watch::new(args.pid);
    if let Some(pid) = args.pid {
        watch.find(pid)?;
    }
    if args.plain || !io::stdout().is_terminal() {
        lines(args, &mut watch, &signals)?;
    } else {
        screen(args, &mut watch, &signals)?;
    }
    Ok(0)
}

/// When what is next.
struct Pace<'a> {
    args: &'a TopArgs,
    due: Instant,
    look: Instant,
    left: Option<u64>,
    pause: Duration,
}

impl<'a> Pace<'a> {
    fn new(args: &'a TopArgs) -> Self {
        let now = Instant::now();
        Self { args, due: now + args.interval, look: now, left: args.count, pause: SOON }
    }

    /// Reads what is there; whether it is time to show something.
    fn step(&mut self, watch: &mut Watch) -> bool {
        let now = Instant::now();
        if now >= self.look {
            watch.look();
            self.look = now + LOOK;
        }
        self.pause = if watch.read() { SOON } else { (self.pause * 2).min(LATER) };
        let due = now >= self.due;
        if due {
            // After a stop nothing is made up for.
            self.due = (self.due + self.args.interval).max(now);
            self.left = self.left.map(|n| n.saturating_sub(1));
        }
        due
    }

    fn is_over(&self, watch: &Watch) -> bool {
        self.left == Some(0) || self.args.pid.is_some() && watch.is_empty()
    }
}

/// One block an interval.
fn lines(args: &TopArgs, watch: &mut Watch, signals: &signals::Held) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut pace = Pace::new(args);
    loop {
        let due = pace.step(watch);
        for warning in watch.warnings.drain(..) {
            eprintln!("ringer: top: {warning}");
        }
        if due {
            plain::print(&mut out, &watch.rows())?;
        }
        if pace.is_over(watch) || signals.next(pace.pause).is_some_and(signals::ends) {
            return Ok(());
        }
    }
}

/// The terminal while it is ours; a panic gives it back, too.
struct Screen(DefaultTerminal);

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// The view.
fn screen(args: &TopArgs, watch: &mut Watch, signals: &signals::Held) -> anyhow::Result<()> {
    const WHAT: &str = "using the terminal (--plain needs none)";
    let mut screen = Screen(ratatui::try_init().context(WHAT)?);
    let colours = env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let mut view = View::new(colours);
    let mut pace = Pace::new(args);
    // Nobody wants to look at an empty screen for so long.
    pace.due = Instant::now() + FIRST.min(args.interval);
    let mut stale = false;
    loop {
        if pace.step(watch) {
            view.set(watch.rows());
            stale = true;
        }
        view.warning = watch.warnings.last().cloned();
        if stale {
            screen.0.draw(|frame| view.draw(frame)).context(WHAT)?;
            stale = false;
        }
        if pace.is_over(watch) || signals.next(Duration::ZERO).is_some_and(signals::ends) {
            return Ok(());
        }
        if event::poll(pace.pause).context(WHAT)? {
            match event::read().context(WHAT)? {
                Event::Key(key) => match view.key(key) {
                    Wish::Quit => return Ok(()),
                    Wish::Draw => stale = true,
                    Wish::Nothing => {}
                },
                Event::Resize(..) => stale = true,
                _ => {}
            }
        }
    }
}
