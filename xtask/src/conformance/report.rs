//! The tier's report: reasons by kind, who is unexpected and how to repeat it, the counts.
//!
//! What it does not do: decide (see `verdict`).

use super::verdict::As;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How many lines of a test's words are shown when it is unexpected.
const TAIL: usize = 6;

/// All verdicts by name.
#[derive(Debug)]
pub(crate) struct Report {
    verdicts: BTreeMap<String, As>,
}

impl Report {
    pub(crate) fn new(verdicts: impl Iterator<Item = (String, As)>) -> Self {
        Self { verdicts: verdicts.collect() }
    }

    fn count(&self, is: impl Fn(&As) -> bool) -> usize {
        self.verdicts.values().filter(|v| is(v)).count()
    }

    /// How many are not what their row says.
    pub(crate) fn unexpected(&self) -> usize {
        self.count(|v| matches!(v, As::Unexpected(_)))
    }

    /// Prints everything; `log` says where a test's words are.
    pub(crate) fn print(&self, log: &dyn Fn(&str) -> PathBuf) {
        for (name, verdict) in &self.verdicts {
            match verdict {
                As::Failed(why) => println!("fails    {name}: {why}"),
                As::Skipped(why) => println!("skipped  {name}: {why}"),
                _ => {}
            }
        }
        for (name, verdict) in &self.verdicts {
            if let As::Unexpected(why) = verdict {
                println!(
                    "UNEXPECTED {name}: {why}\n  repeat: cargo xtask conformance --only {name}"
                );
                tail(&log(name));
            }
        }
        println!("{}", self.listed());
        println!("{}", self.summary());
    }

    /// What is not a pass and expected, counted.
    fn listed(&self) -> String {
        let mut issues: BTreeMap<u32, usize> = BTreeMap::new();
        for verdict in self.verdicts.values() {
            if let As::Later(issue, _) = verdict {
                *issues.entry(*issue).or_default() += 1;
            }
        }
        let fails = self.count(|v| matches!(v, As::Failed(_)));
        let later: Vec<_> = issues.iter().map(|(i, n)| format!("{n} later (issue {i})")).collect();
        format!("conformance, listed: {fails} listed to fail; {}", later.join(", "))
    }

    fn summary(&self) -> String {
        let passed = self.count(|v| *v == As::Passed);
        let skipped = self.count(|v| matches!(v, As::Skipped(_)));
        format!("conformance: {passed} passed, {} failed, {skipped} skipped", self.unexpected())
    }
}

fn tail(log: &std::path::Path) {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        println!("  | {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_and_listed_failures_are_counted_apart_from_passes() {
        let report = Report::new(
            [
                ("a", As::Passed),
                ("b", As::Later(5, "TEE".into())),
                ("c", As::Later(5, "SPLICE".into())),
                ("d", As::Failed("w".into())),
                ("e", As::Skipped("w".into())),
                ("f", As::Unexpected("w".into())),
            ]
            .map(|(name, verdict)| (name.to_owned(), verdict))
            .into_iter(),
        );
        assert_eq!(report.summary(), "conformance: 1 passed, 1 failed, 1 skipped");
        assert_eq!(report.listed(), "conformance, listed: 1 listed to fail; 2 later (issue 5)");
        assert_eq!(report.unexpected(), 1);
    }
}
