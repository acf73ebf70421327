//! Checks and how they are printed.

use std::env;
use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// As it should be.
    Pass,
    /// Works, or is not needed, with something to know.
    Warn,
    /// Does not work.
    Fail,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Pass => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Fail => "\x1b[31m",
        }
    }
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    name: &'static str,
    status: Status,
    what: String,
    cause: Option<String>,
    fix: Option<String>,
}

impl Check {
    /// All is well.
    pub(crate) fn pass(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, status: Status::Pass, what: what.into(), cause: None, fix: None }
    }

    /// Something to know.
    pub(crate) fn warn(name: &'static str, what: impl Into<String>) -> Self {
        Self { status: Status::Warn, ..Self::pass(name, what) }
    }

    /// Does not work.
    pub(crate) fn fail(name: &'static str, what: impl Into<String>) -> Self {
        Self { status: Status::Fail, ..Self::pass(name, what) }
    }

    /// The same with its cause.
    pub(crate) fn cause(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// The same with what to do; nothing if there is nothing to say.
    pub(crate) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()).filter(|fix| !fix.is_empty()), ..self }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "status": self.status.word(),
            "what": self.what,
            "cause": self.cause,
            "fix": self.fix,
        })
    }
}

/// All lines, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    checks: Vec<Check>,
}

impl Report {
    /// Adds one.
    pub(crate) fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Whether one failed.
    pub(crate) fn failed(&self) -> bool {
        self.verdict() == Status::Fail
    }

    fn verdict(&self) -> Status {
        self.checks.iter().map(|c| c.status).max().unwrap_or(Status::Pass)
    }

    /// One object: `verdict` and `checks`.
    ///
    /// # Errors
    /// The stream's.
    pub(crate) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let checks: Vec<Value> = self.checks.iter().map(Check::json).collect();
        let all = json!({ "verdict": self.verdict().word(), "checks": checks });
        writeln!(out, "{all:#}")
    }

    /// A line each, cause and fix below it.
    ///
    /// # Errors
    /// The stream's.
    pub(crate) fn write_text(&self, out: &mut impl Write, colour: bool) -> io::Result<()> {
        for check in &self.checks {
            let word = check.status.word();
            let (on, off) = if colour { (check.status.colour(), "\x1b[0m") } else { ("", "") };
            writeln!(out, "{on}{word}{off}  {:<16} {}", check.name, check.what)?;
            for (label, text) in [("cause", &check.cause), ("fix", &check.fix)] {
                if let Some(text) = text {
                    writeln!(out, "{:23}{label}: {text}", "")?;
                }
            }
        }
        Ok(())
    }
}

/// Whether the standard output wants colours.
pub(crate) fn colour() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = env::var_os("TERM").is_none_or(|v| v == "dumb");
    io::stdout().is_terminal() && !refused && !dumb
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(colour: bool) -> String {
        let mut report = Report::default();
        report.add(Check::pass("one", "fine"));
        report.add(Check::fail("two", "broken").cause("rust").fix("oil"));
        let mut out = Vec::new();
        report.write_text(&mut out, colour).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cause_and_fix_stand_below_their_line() {
        let pad = " ".repeat(23);
        let want = format!(
            "PASS  one              fine\nFAIL  two              broken\n{pad}cause: rust\n{pad}fix: oil\n"
        );
        assert_eq!(text(false), want);
    }

    #[test]
    fn without_colour_there_is_no_escape() {
        assert!(!text(false).contains('\x1b'));
        assert!(text(true).contains("\x1b[31mFAIL\x1b[0m"));
    }

    #[test]
    fn the_worst_line_is_the_verdict() {
        let mut report = Report::default();
        assert_eq!(report.verdict(), Status::Pass);
        report.add(Check::warn("w", ""));
        assert!(!report.failed());
        report.add(Check::fail("f", ""));
        report.add(Check::pass("p", ""));
        assert!(report.failed());
    }
}
