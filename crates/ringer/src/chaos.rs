//! Chaos for tests: the rings of a thread get short transfers, late completions, interrupted waits, errors.
//!
//! ```no_run
//! #[test]
//! fn my_copy_survives_whatever_a_kernel_may_do() {
//!     ringer::chaos::survive(0..50, || {
//!         my_copy("a", "b"); // sets up its rings on this thread; panics if something is wrong
//!     });
//! }
//!
//! #[test]
//! fn an_error_on_the_third_read_is_told() {
//!     let plan = ringer::chaos::Plan::new(1).rule("errno=EIO op=READ nth=3").unwrap();
//!     let chaos = plan.begin().unwrap();
//!     let result = std::panic::catch_unwind(|| my_copy("a", "b"));
//!     assert!(result.is_err() && chaos.done().len() == 1);
//! }
//! # fn my_copy(_: &str, _: &str) {}
//! ```
//! Rules are those of `ringer chaos` (`ringer chaos --help`). Rings of other threads, and those that were there
//! before, are left alone, so tests may run side by side. The library is loaded if it is not there yet
//! ([`crate::install`]); the first test that needs it should begin before it has made rings. What this
//! does not do: decide anything about rings of the kernel's own.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ringer_engine::chaos::plan::{self, Rule};
use ringer_engine::opcode::opdef;
use ringer_engine::policy::What;
use ringer_engine::trace::buffer::from_words;

use crate::load;

/// What is to be done to requests: a seed and rules.
#[derive(Clone, Debug)]
pub struct Plan(plan::Plan);

/// Why there is no chaos.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A rule makes no sense: the word, and what it should be.
    Rule(String),
    /// A rule does what no kernel may; see [`Plan::illegal_rule`].
    Illegal(String),
    /// This thread has a plan in force.
    Begun,
    /// The process cannot be served.
    Install(crate::Error),
    /// The library that is there is of another version.
    Library(i32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(why) => write!(f, "no rule: {why}"),
            Self::Illegal(rule) => write!(f, "\"{rule}\" is nothing that a kernel may do"),
            Self::Begun => f.write_str("this thread has a plan in force"),
            Self::Install(e) => write!(f, "{e}"),
            Self::Library(errno) => {
                write!(f, "the library that serves this process takes no plan (errno {errno})")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Install(e) = self { Some(e) } else { None }
    }
}

impl Plan {
    /// Nothing, until there are rules.
    pub fn new(seed: u64) -> Self {
        Self(plan::Plan { seed, ..plan::Plan::default() })
    }

    /// What a program that is right must survive: short transfers, workers, late completions in any legal
    /// order, waits that signals end, completions behind a full queue.
    pub fn legal(seed: u64) -> Self {
        Self(plan::Plan::legal(seed))
    }

    /// The same and a rule, such as `errno=EIO op=READ,READV path=*.db p=0.1`.
    ///
    /// # Errors
    /// [`Error::Rule`], [`Error::Illegal`].
    pub fn rule(self, rule: &str) -> Result<Self, Error> {
        let parsed = Rule::parse(rule).map_err(|e| Error::Rule(e.to_string()))?;
        if !parsed.what.is_legal() {
            return Err(Error::Illegal(rule.to_owned()));
        }
        self.illegal_rule(rule)
    }

    /// The same and a rule that may be one that no kernel follows (`lose`, `twice`).
    ///
    /// # Errors
    /// [`Error::Rule`].
    pub fn illegal_rule(mut self, rule: &str) -> Result<Self, Error> {
        self.0.rules.push(Rule::parse(rule).map_err(|e| Error::Rule(e.to_string()))?);
        Ok(self)
    }

    /// Rings that the calling thread sets up from here on are under the plan, until the answer is dropped:
    /// then those that are set up are no longer, and those that are stay so.
    ///
    /// # Errors
    /// [`Error::Begun`], [`Error::Install`], [`Error::Library`].
    pub fn begin(&self) -> Result<Chaos, Error> {
        if IN_FORCE.get() {
            return Err(Error::Begun);
        }
        crate::install().map_err(Error::Install)?;
        load::chaos(Some(&self.0.to_string())).map_err(Error::Library)?;
        IN_FORCE.set(true);
        Ok(Chaos(PhantomData))
    }
}

thread_local! {
    static IN_FORCE: Cell<bool> = const { Cell::new(false) };
}

/// A plan in force. It is its thread's; a forked child's rings are under none.
#[derive(Debug)]
pub struct Chaos(PhantomData<*const ()>);

impl Chaos {
    /// What was done since this was asked the last time, in order.
    pub fn done(&self) -> Vec<Injected> {
        load::chaos_done().into_iter().filter_map(Injected::of).collect()
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        IN_FORCE.set(false);
        // It was there to begin.
        let _ = load::chaos(None);
    }
}

/// Something that was done to a request or to a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injected {
    /// Which of the process's rings, from 1.
    pub ring: u64,
    /// Which of the ring's entries, or of its waits, from 1.
    pub nth: u64,
    /// Which rule of the plan, from 0.
    pub rule: u16,
    /// The opcode's name (`READ`); of a wait "wait".
    pub op: &'static str,
    /// The request's user data; of a wait 0.
    pub user_data: u64,
    /// What, in words.
    pub what: String,
}

impl Injected {
    fn of([ring, nth, who, value, user_data]: [u64; 5]) -> Option<Self> {
        let what = from_words(who >> 24 & 0xff, value)?;
        let op = match what {
            What::Interrupt => "wait",
            _ => opdef((who >> 16) as u8).map_or("?", |def| def.name),
        };
        Some(Self { ring, nth, rule: who as u16, op, user_data, what: what.to_string() })
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ring, nth, rule, op, user_data, what } = self;
        write!(f, "{ring}:{nth}:{rule} {op} user_data={user_data:#x}: {what}")
    }
}

/// Runs `body` once under [`Plan::legal`] of each seed.
///
/// # Panics
/// As `body` does, after the seed and what was injected were printed; if there can be no chaos.
#[allow(clippy::print_stderr, reason = "a failed test says how to repeat it")]
pub fn survive(seeds: Range<u64>, mut body: impl FnMut()) {
    for seed in seeds {
        let chaos = Plan::legal(seed).begin().unwrap_or_else(|e| panic!("no chaos: {e}"));
        let Err(payload) = catch_unwind(AssertUnwindSafe(&mut body)) else { continue };
        eprintln!("ringer: chaos: it fails with seed {seed}; what was injected:");
        for injected in chaos.done() {
            eprintln!("  {injected}");
        }
        resume_unwind(payload);
    }
}
