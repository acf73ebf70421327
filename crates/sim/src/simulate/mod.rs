//! Seeds to verdicts: random programs of every opcode in an unkind world, checked.
//!
//! ```text
//!  seed --draw--> Program --run--> record --check--> Summary
//!                    ^                '-- anything wrong: a panic, caught
//!                    '-- shrink: without this step, entry, flag, fault: still wrong?
//! ```
//!
//! What it does not do: compare with the kernel (the differential tier does).

mod app;
mod cancel;
mod check;
mod draw;
mod mailbox;
mod neighbour;
mod patience;
mod program;
mod region;
mod resize;
mod rows;
mod run;
mod shrink;
mod tables;
mod watch;

pub use draw::draw;
pub use program::{Change, Entry, How, Kind, Owes, Patience, Program, Put, Step};
pub use shrink::shrink;

use crate::policy::Fault;
use crate::quiet::{hush, is_hushed, text};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What runs did.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Requests submitted.
    pub requests: u64,
    /// Completions seen.
    pub completions: u64,
    /// Completions with a result and with an error, by opcode.
    pub succeeded: [u64; 64],
    /// See `succeeded`.
    pub failed: [u64; 64],
    /// Completions that said that more come, and those that said that they were cancelled.
    pub more: u64,
    /// See `more`.
    pub cancelled: u64,
    /// Runs in which the completion queue overflowed, and in which the ring was closed early.
    pub overflows: u64,
    /// See `overflows`.
    pub cut: u64,
    /// How often each [`Fault`] struck.
    pub struck: [u64; Fault::ALL.len()],
    /// Register calls that did something, by operation.
    pub registered: [u64; 64],
    /// Calls of `enter` with each flag, and rings with each setup flag, by bit.
    pub entered: [u64; 32],
    /// See `entered`.
    pub set_up: [u64; 32],
    /// Tags that came.
    pub tags: u64,
    /// Rings in memory of the application of which everything was seen to the end.
    pub seen_to_the_end: u64,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            requests: 0,
            completions: 0,
            succeeded: [0; 64],
            failed: [0; 64],
            more: 0,
            cancelled: 0,
            overflows: 0,
            cut: 0,
            struck: [0; Fault::ALL.len()],
            registered: [0; 64],
            entered: [0; 32],
            set_up: [0; 32],
            tags: 0,
            seen_to_the_end: 0,
        }
    }
}

impl Summary {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.completions += other.completions;
        self.more += other.more;
        self.cancelled += other.cancelled;
        self.overflows += other.overflows;
        self.cut += other.cut;
        let sum = |to: &mut [u64], from: &[u64]| {
            to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
        };
        sum(&mut self.succeeded, &other.succeeded);
        sum(&mut self.failed, &other.failed);
        sum(&mut self.struck, &other.struck);
        sum(&mut self.registered, &other.registered);
        sum(&mut self.entered, &other.entered);
        sum(&mut self.set_up, &other.set_up);
        self.tags += other.tags;
        self.seen_to_the_end += other.seen_to_the_end;
    }
}

/// A program that shows something wrong.
#[derive(Debug)]
pub struct Failure {
    /// The seed it was drawn from.
    pub seed: u64,
    /// What is wrong.
    pub why: String,
    /// The smallest program found that still shows something wrong, and what that is.
    pub least: Box<(Program, String)>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (program, why) = &*self.least;
        writeln!(f, "seed {}: {}", self.seed, self.why)?;
        writeln!(f, "least program ({} requests): {why}", program.entries().len())?;
        write!(f, "{program}")?;
        write!(
            f,
            "again: RINGER_SIM_SEED={} cargo test -p ringer-sim --test simulation one_seed -- --nocapture",
            self.seed
        )
    }
}

/// Opcodes that programs are drawn from.
pub fn opcodes() -> impl Iterator<Item = u8> {
    rows::ROWS.iter().map(|r| r.0)
}

/// Runs a program and checks it.
///
/// # Errors
/// What is wrong.
pub fn attempt(program: &Program) -> Result<Summary, String> {
    let was = is_hushed();
    hush(true);
    let _watched = patience::Run::begin(program);
    let r = catch_unwind(AssertUnwindSafe(|| run::run(program)));
    hush(was);
    r.map_err(|why| text(&*why))
}

/// Runs the program of a seed.
///
/// # Errors
/// What is wrong, in the smallest program that could be found for it.
pub fn simulate(seed: u64) -> Result<Summary, Failure> {
    let program = draw(seed);
    attempt(&program).map_err(|why| {
        let least = Box::new(shrink(&program, why.clone()));
        Failure { seed, why, least }
    })
}
