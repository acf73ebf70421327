//! What a test came to, and whether that is what its row says.
//!
//! ```text
//!   exit 0 -> Pass    77 -> Skip    other -> Fail    signal -> Died    no end -> TimedOut
//!   Outcome x Row -> As::{Passed, Failed, Skipped, Later} or Unexpected(why)
//! ```
//! A timeout is a failure like any other and never a skip; a pass that was not expected is as
//! unexpected as a failure. What it does not do: run anything.

use super::expect::{Expect, Row};
use std::fmt;

/// How the suite says that a test cannot run.
const EXIT_SKIP: i32 = 77;

/// What a run of a test came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Skip,
    Fail(i32),
    Died(i32),
    TimedOut,
    NotBuilt,
}

impl Outcome {
    /// From an exit code.
    pub(crate) fn of_code(code: i32) -> Self {
        match code {
            0 => Self::Pass,
            EXIT_SKIP => Self::Skip,
            code => Self::Fail(code),
        }
    }

    /// From the words of [`fmt::Display`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |prefix: &str| text.strip_prefix(prefix)?.parse().ok();
        match text {
            "pass" => Some(Self::Pass),
            "skip" => Some(Self::Skip),
            "timeout" => Some(Self::TimedOut),
            "not built" => Some(Self::NotBuilt),
            _ => number("exit ").map(Self::Fail).or_else(|| number("signal ").map(Self::Died)),
        }
    }

    fn failed(self) -> bool {
        matches!(self, Self::Fail(_) | Self::Died(_) | Self::TimedOut)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Skip => f.write_str("skip"),
            Self::Fail(code) => write!(f, "exit {code}"),
            Self::Died(signal) => write!(f, "signal {signal}"),
            Self::TimedOut => f.write_str("timeout"),
            Self::NotBuilt => f.write_str("not built"),
        }
    }
}

/// A run under ringer: its outcome and what `--stats` counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    /// Rings that ringer made, over all processes.
    pub(crate) rings: u64,
    /// Calls that reached the kernel's own io_uring.
    pub(crate) native_calls: u64,
}

/// What a test counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// It passed, as its row says.
    Passed,
    /// It failed, as its row says.
    Failed(String),
    /// It skipped itself, as its row says, or runs only with `--long`.
    Skipped(String),
    /// It waits for an issue.
    Later(u32, String),
    /// It is not what its row says, or has none.
    Unexpected(String),
}

/// Judges a run by its row and by the kernel's outcome where that is known.
pub(crate) fn judge(row: Option<&Row>, ran: &Ran, native: Option<Outcome>) -> As {
    let Some(row) = row else {
        return As::Unexpected(format!("{}, but it is not listed", ran.outcome));
    };
    if ran.native_calls != 0 {
        return As::Unexpected(format!("{} calls reached the kernel's io_uring", ran.native_calls));
    }
    match (&row.expect, ran.outcome) {
        (Expect::Pass, Outcome::Pass) => passed(row, ran, native),
        (Expect::Fail(why), outcome) if outcome.failed() => As::Failed(why.clone()),
        (Expect::Skip(why), Outcome::Skip | Outcome::NotBuilt) => As::Skipped(why.clone()),
        (Expect::Later { issue, why, passes: false }, outcome)
            if outcome.failed() || outcome == Outcome::Skip =>
        {
            As::Later(*issue, why.clone())
        }
        (Expect::Later { issue, why, passes: true }, Outcome::Pass) => {
            As::Later(*issue, why.clone())
        }
        (Expect::Pass, outcome) => As::Unexpected(format!("{outcome}, to pass")),
        (Expect::Fail(_), outcome) => As::Unexpected(format!("{outcome}, listed to fail")),
        (Expect::Skip(_), outcome) => As::Unexpected(format!("{outcome}, listed to skip")),
        (Expect::Later { issue, .. }, outcome) => {
            As::Unexpected(format!("{outcome}, listed as later (issue {issue})"))
        }
    }
}

fn passed(row: &Row, ran: &Ran, native: Option<Outcome>) -> As {
    match native {
        Some(other) if other != Outcome::Pass => {
            return As::Unexpected(format!("pass, but on the kernel: {other}"));
        }
        _ => {}
    }
    if (ran.rings == 0) == row.no_ring {
        As::Passed
    } else if row.no_ring {
        As::Unexpected(format!("pass on {} rings, listed to make none", ran.rings))
    } else {
        As::Unexpected("pass, but no ring of ringer's was made".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(expect: Expect) -> Row {
        Row::of(expect)
    }

    fn ran(outcome: Outcome) -> Ran {
        Ran { outcome, rings: 1, native_calls: 0 }
    }

    fn rows() -> [Row; 4] {
        [
            row(Expect::Pass),
            row(Expect::Fail("w".into())),
            row(Expect::Skip("w".into())),
            row(Expect::Later { issue: 5, why: "w".into(), passes: false }),
        ]
    }

    fn unexpected(verdict: &As) -> bool {
        matches!(verdict, As::Unexpected(_))
    }

    #[test]
    fn every_outcome_that_its_row_names_is_expected() {
        let [pass, fail, skip, later] = rows();
        let w = || "w".to_owned();
        assert_eq!(judge(Some(&pass), &ran(Outcome::Pass), None), As::Passed);
        assert_eq!(judge(Some(&fail), &ran(Outcome::Fail(1)), None), As::Failed(w()));
        assert_eq!(judge(Some(&skip), &ran(Outcome::Skip), None), As::Skipped(w()));
        for outcome in [Outcome::Fail(1), Outcome::Skip, Outcome::Died(6), Outcome::TimedOut] {
            assert_eq!(judge(Some(&later), &ran(outcome), None), As::Later(5, w()));
        }
    }

    #[test]
    fn an_unexpected_pass_is_an_error() {
        for row in &rows()[1..] {
            assert!(unexpected(&judge(Some(row), &ran(Outcome::Pass), None)), "{row:?}");
        }
    }

    #[test]
    fn a_timeout_or_a_signal_is_a_failure_and_never_a_skip() {
        let [pass, fail, skip, _] = rows();
        for outcome in [Outcome::TimedOut, Outcome::Died(11)] {
            assert!(unexpected(&judge(Some(&pass), &ran(outcome), None)));
            assert!(unexpected(&judge(Some(&skip), &ran(outcome), None)));
            assert_eq!(judge(Some(&fail), &ran(outcome), None), As::Failed("w".into()));
        }
    }

    #[test]
    fn a_skip_where_a_pass_is_due_is_an_error() {
        let [pass, fail, ..] = rows();
        assert!(unexpected(&judge(Some(&pass), &ran(Outcome::Skip), None)));
        assert!(unexpected(&judge(Some(&fail), &ran(Outcome::Skip), None)));
    }

    #[test]
    fn a_test_without_a_row_is_an_error_whatever_it_comes_to() {
        for outcome in [Outcome::Pass, Outcome::Skip, Outcome::Fail(1)] {
            assert!(unexpected(&judge(None, &ran(outcome), None)));
        }
    }

    #[test]
    fn a_pass_on_the_kernels_ring_or_on_none_proves_nothing() {
        let pass = row(Expect::Pass);
        let native = Ran { native_calls: 3, ..ran(Outcome::Pass) };
        assert!(unexpected(&judge(Some(&pass), &native, None)));
        let none = Ran { rings: 0, ..ran(Outcome::Pass) };
        assert!(unexpected(&judge(Some(&pass), &none, None)));
        let ringless = Row { no_ring: true, ..pass };
        assert_eq!(judge(Some(&ringless), &none, None), As::Passed);
        assert!(unexpected(&judge(Some(&ringless), &ran(Outcome::Pass), None)));
    }

    #[test]
    fn a_pass_where_the_kernel_does_not_pass_is_an_error() {
        let pass = row(Expect::Pass);
        assert!(unexpected(&judge(Some(&pass), &ran(Outcome::Pass), Some(Outcome::Skip))));
        let verdict = judge(Some(&pass), &ran(Outcome::Pass), Some(Outcome::Pass));
        assert_eq!(verdict, As::Passed);
    }

    #[test]
    fn a_test_that_leaves_early_is_counted_as_later_and_flagged_when_it_fails() {
        let early = row(Expect::Later { issue: 5, why: "w".into(), passes: true });
        assert_eq!(judge(Some(&early), &ran(Outcome::Pass), None), As::Later(5, "w".into()));
        assert!(unexpected(&judge(Some(&early), &ran(Outcome::Fail(1)), None)));
    }

    #[test]
    fn a_listed_test_that_was_not_built_may_only_be_skipped() {
        let [pass, _, skip, later] = rows();
        assert!(unexpected(&judge(Some(&pass), &ran(Outcome::NotBuilt), None)));
        assert!(unexpected(&judge(Some(&later), &ran(Outcome::NotBuilt), None)));
        let verdict = judge(Some(&skip), &ran(Outcome::NotBuilt), None);
        assert_eq!(verdict, As::Skipped("w".into()));
    }

    #[test]
    fn outcomes_are_written_and_read_alike() {
        use Outcome::{Died, Fail, NotBuilt, Pass, Skip, TimedOut};
        for outcome in [Pass, Skip, Fail(1), Died(11), TimedOut, NotBuilt] {
            assert_eq!(Outcome::parse(&outcome.to_string()), Some(outcome));
        }
        assert_eq!(Outcome::parse("exit one"), None);
        assert_eq!([0, 77, 1].map(Outcome::of_code), [Pass, Skip, Fail(1)]);
    }
}
