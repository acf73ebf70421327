//! What the tests come to on the kernel's own io_uring: recorded once a kernel release.
//!
//! The record is reused where the kernel's release (its first two numbers) and the suite's version
//! are those it was made with; else the tests run natively here, where the kernel lets them. What
//! it does not do: say what ringer owes (`expect`).

use super::verdict::Outcome;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Outcomes by test.
pub(crate) type Outcomes = BTreeMap<String, Outcome>;

/// Where the record of this kernel's release lies.
pub(crate) fn path(root: &Path, release: &str) -> PathBuf {
    root.join(format!("tests/conformance/native-{}.toml", series(release)))
}

/// The first two numbers of a kernel's release.
pub(crate) fn series(release: &str) -> String {
    release.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

/// The kernel's release.
pub(crate) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The recorded outcomes, if they were made with this version of the suite.
pub(crate) fn parse(text: &str, version: &str) -> Result<Option<Outcomes>> {
    let table: Table = text.parse().context("not TOML")?;
    if table.get("version").and_then(Value::as_str) != Some(version) {
        return Ok(None);
    }
    let tests = table.get("tests").and_then(Value::as_table).context("no [tests]")?;
    let outcome = |value: &Value| value.as_str().and_then(Outcome::parse);
    let each = tests.iter().map(|(name, value)| {
        Ok((name.clone(), outcome(value).with_context(|| format!("{name}: {value:?}"))?))
    });
    each.collect::<Result<_>>().map(Some)
}

/// The record's text.
pub(crate) fn text(outcomes: &Outcomes, version: &str, release: &str) -> String {
    let mut text = format!(
        "# What liburing's tests come to on the kernel's own io_uring.\n\
         # Generated: cargo xtask conformance --native\n\
         version = \"{version}\"\nkernel = \"{release}\"\n\n[tests]\n"
    );
    for (name, outcome) in outcomes {
        let _ = writeln!(text, "{name} = \"{outcome}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let outcomes: Outcomes =
            [("nop".to_owned(), Outcome::Pass), ("zcrx".to_owned(), Outcome::Died(6))].into();
        let written = text(&outcomes, "2.15", "6.18.44");
        assert_eq!(parse(&written, "2.15").unwrap(), Some(outcomes));
        assert_eq!(parse(&written, "2.16").unwrap(), None);
    }

    #[test]
    fn a_record_belongs_to_a_series_of_the_kernel() {
        assert_eq!(series("6.18.44-generic"), "6.18");
        assert_eq!(series("7.0"), "7.0");
    }

    #[test]
    fn a_record_with_an_unknown_word_is_refused() {
        assert!(parse("version = \"1\"\n[tests]\nnop = \"maybe\"\n", "1").is_err());
    }
}
