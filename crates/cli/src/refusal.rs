//! What the command says when it can not do what was asked: what, why, and what to do.

use std::error::Error;
use std::fmt;

/// ringer itself failed (`env(1)`'s 125).
pub(crate) const EXIT_OURS: u8 = 125;
/// The program is there and can not be executed.
pub(crate) const EXIT_NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
pub(crate) const EXIT_NOT_FOUND: u8 = 127;

/// One error of ours, for a person: printed as up to three lines.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The exit status it ends with.
    pub(crate) code: u8,
    /// What failed.
    pub(crate) what: String,
    /// The likely cause.
    pub(crate) why: String,
    /// What would help; empty if nothing is known to.
    pub(crate) fix: String,
}

impl Refusal {
    /// A failure of ringer's own, status 125.
    pub(crate) fn ours(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { code: EXIT_OURS, what: what.into(), why: why.into(), fix: String::new() }
    }

    /// The same with another exit status.
    pub(crate) fn code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// The same with a way out.
    pub(crate) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)?;
        if !self.fix.is_empty() {
            write!(f, "\nringer: to fix it: {}", self.fix)?;
        }
        Ok(())
    }
}

impl Error for Refusal {}
