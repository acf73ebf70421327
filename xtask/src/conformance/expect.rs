//! `expected.toml`: what each test of the suite is to come to under ringer, and why.
//!
//! ```text
//!   version = "2.15"
//!   [tests]
//!   nop = "pass"
//!   ring-query = { pass = "...", no_ring = true }       makes no ring, and that is right
//!   conn-unreach = { fail = "why" }                     listed difference, or the kernel fails too
//!   zcrx = { skip = "why" }                             says itself that it cannot run here
//!   splice = { later = 5, why = "SPLICE" }              needs what the tables do not call full
//!   fadvise = { later = 5, why = "FADVISE", passes = true }   leaves early and calls it a pass
//!   fsnotify = { pass = "", eperm = "why" }             the other blocker refuses what the test needs
//!   tee = { later = 5, why = "TEE", seconds = 10 }    hangs: its own deadline
//!   iopoll = { pass = "", long = "why" }                only with --long, else a counted skip
//! ```
//! What it does not do: judge (see `verdict`).

use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// What a test is to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// It passes, on rings that ringer made.
    Pass,
    /// It fails, for a reason that is listed.
    Fail(String),
    /// It says itself that it cannot run.
    Skip(String),
    /// It needs what another issue brings; `passes` when it leaves early and calls that a pass.
    Later { issue: u32, why: String, passes: bool },
}

/// One test's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) expect: Expect,
    /// A pass without a ring is right for this test.
    pub(crate) no_ring: bool,
    /// Why Docker's profile cannot be the blocker: then it is the one that refuses io_uring alone.
    pub(crate) eperm: Option<String>,
    /// A deadline of its own \[s\], for what is known to hang.
    pub(crate) seconds: Option<u64>,
    /// Why it runs only with `--long`.
    pub(crate) long: Option<String>,
}

impl Row {
    /// A row that says nothing else.
    pub(crate) fn of(expect: Expect) -> Self {
        Self { expect, no_ring: false, eperm: None, seconds: None, long: None }
    }
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The suite's version that the rows are about.
    pub(crate) version: String,
    /// One row a test.
    pub(crate) rows: BTreeMap<String, Row>,
}

impl Expected {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse().context("not TOML")?;
        let version = table.get("version").and_then(Value::as_str).context("no version")?;
        let tests = table.get("tests").and_then(Value::as_table).context("no [tests]")?;
        let rows = tests
            .iter()
            .map(|(name, value)| Ok((name.clone(), row(value).with_context(|| name.clone())?)))
            .collect::<Result<_>>()?;
        Ok(Self { version: version.to_owned(), rows })
    }
}

fn row(value: &Value) -> Result<Row> {
    match value {
        Value::String(word) if word == "pass" => Ok(Row::of(Expect::Pass)),
        Value::Table(keys) => from_keys(keys),
        _ => bail!("neither \"pass\" nor a table"),
    }
}

fn from_keys(keys: &Table) -> Result<Row> {
    const KNOWN: [&str; 10] =
        ["pass", "fail", "skip", "later", "why", "passes", "no_ring", "eperm", "seconds", "long"];
    for key in keys.keys() {
        ensure!(KNOWN.contains(&key.as_str()), "unknown key {key}");
    }
    let outcomes = KNOWN[..4].iter().filter(|k| keys.contains_key(**k)).count();
    ensure!(outcomes == 1, "exactly one of pass, fail, skip, later is needed");
    let expect = if keys.contains_key("pass") {
        Expect::Pass
    } else if keys.contains_key("fail") {
        Expect::Fail(reason(keys, "fail")?)
    } else if keys.contains_key("skip") {
        Expect::Skip(reason(keys, "skip")?)
    } else {
        Expect::Later {
            issue: number(keys, "later")?,
            why: reason(keys, "why")?,
            passes: flag(keys, "passes")?,
        }
    };
    let why = |key: &str| keys.contains_key(key).then(|| reason(keys, key)).transpose();
    let (eperm, long) = (why("eperm")?, why("long")?);
    let seconds = keys.contains_key("seconds").then(|| number(keys, "seconds")).transpose()?;
    Ok(Row {
        expect,
        no_ring: flag(keys, "no_ring")?,
        eperm,
        seconds: seconds.map(u64::from),
        long,
    })
}

fn reason(keys: &Table, key: &str) -> Result<String> {
    let text = keys.get(key).and_then(Value::as_str).unwrap_or_default().trim();
    ensure!(!text.is_empty(), "{key} needs a reason");
    Ok(text.to_owned())
}

fn number(keys: &Table, key: &str) -> Result<u32> {
    let number = keys.get(key).and_then(Value::as_integer).unwrap_or_default();
    let positive = u32::try_from(number).ok().filter(|&n| n > 0);
    positive.with_context(|| format!("{key} needs a number"))
}

fn flag(keys: &Table, key: &str) -> Result<bool> {
    match keys.get(key) {
        None => Ok(false),
        Some(value) => value.as_bool().with_context(|| format!("{key} is true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(row: &str) -> Result<Row> {
        let all = Expected::parse(&format!("version = \"1\"\n[tests]\nt = {row}\n"))?;
        Ok(all.rows["t"].clone())
    }

    #[test]
    fn each_kind_of_row_is_read() {
        assert_eq!(one("\"pass\"").unwrap().expect, Expect::Pass);
        assert_eq!(one("{ fail = \"w\" }").unwrap().expect, Expect::Fail("w".into()));
        assert_eq!(one("{ skip = \"w\" }").unwrap().expect, Expect::Skip("w".into()));
        let later = Expect::Later { issue: 5, why: "TEE".into(), passes: true };
        assert_eq!(one("{ later = 5, why = \"TEE\", passes = true }").unwrap().expect, later);
        let eperm = one("{ pass = \"\", eperm = \"w\" }").unwrap();
        assert_eq!((eperm.expect, eperm.eperm.as_deref()), (Expect::Pass, Some("w")));
        let long = one("{ pass = \"\", long = \"two minutes\", no_ring = true }").unwrap();
        assert_eq!((long.long.as_deref(), long.no_ring), (Some("two minutes"), true));
    }

    #[test]
    fn a_row_without_its_reason_is_refused() {
        for bad in [
            "\"fail\"",
            "{ fail = \"\" }",
            "{ skip = \" \" }",
            "{ later = 5 }",
            "{ later = 5, why = \"w\", seconds = 0 }",
            "{ later = 0, why = \"w\" }",
            "{ later = \"five\", why = \"w\" }",
            "{ pass = \"\", long = \"\" }",
            "{ pass = \"\", eperm = \"\" }",
        ] {
            assert!(one(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_row_that_says_two_things_or_something_unknown_is_refused() {
        assert!(one("{ pass = \"\", fail = \"w\" }").is_err());
        assert!(one("{ flaky = true }").is_err());
        assert!(one("{ pass = \"\", retries = 3 }").is_err());
        assert!(one("{ pass = \"\", no_ring = 1 }").is_err());
        assert!(one("7").is_err());
    }

    #[test]
    fn a_test_that_is_listed_twice_is_refused() {
        let twice = "version = \"1\"\n[tests]\nt = \"pass\"\nt = { fail = \"w\" }\n";
        assert!(Expected::parse(twice).is_err());
    }
}
