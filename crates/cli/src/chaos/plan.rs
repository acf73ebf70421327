//! From what the command was asked to a plan: rules from options and from a TOML file.
//!
//! ```toml
//! [[rule]]
//! errno = "EIO"                 # or: short = true | bytes, delay = "5ms", worker = true, ...
//! op = ["read", "readv"]
//! path = "*.db"
//! p = 0.1
//! ```
//! A table is the same words as an option's (`errno=EIO op=read,readv path=*.db p=0.1`), so that there is
//! one reader of rules and one set of complaints. What this does not do: decide anything.

use std::fs;
use std::path::Path;

use ringer_engine::chaos::plan::{Injection, Plan, Rule};
use toml::{Table, Value};

use crate::cli::ChaosArgs;
use crate::refusal::Refusal;

/// The plan of a seed.
pub(super) struct Plans {
    rules: Vec<Rule>,
    only: Option<Vec<Injection>>,
}

impl Plans {
    /// What the command was asked.
    ///
    /// # Errors
    /// A rule makes no sense, or needs `--illegal`; the file cannot be read.
    pub(super) fn of(args: &ChaosArgs) -> Result<Self, Refusal> {
        let mut rules = Vec::new();
        let given = !args.rule.is_empty() || args.rules.is_some();
        if !given || args.legal {
            rules.extend(Plan::legal(0).rules);
        }
        if let Some(path) = &args.rules {
            rules.extend(read(path)?);
        }
        for text in &args.rule {
            rules.push(rule(text, "--rule")?);
        }
        if let Some(rule) = rules.iter().find(|rule| !rule.what.is_legal() && !args.illegal) {
            let why = format!("\"{rule}\" is nothing that a kernel may do");
            return Err(Refusal::ours("cannot run under these rules", why)
                .fix("--illegal, if that is what is to be tried"));
        }
        let only = args.only.as_ref().map(|list| injections(list)).transpose()?;
        Ok(Self { rules, only })
    }

    /// With this seed.
    pub(super) fn with(&self, seed: u64) -> Plan {
        self.only_these(seed, self.only.clone())
    }

    /// With this seed, and only these injections.
    pub(super) fn only_these(&self, seed: u64, only: Option<Vec<Injection>>) -> Plan {
        let only = only.map(|mut only| {
            only.sort_unstable();
            only
        });
        Plan { seed, rules: self.rules.clone(), only }
    }
}

fn injections(list: &str) -> Result<Vec<Injection>, Refusal> {
    // @FILE: a list may be longer than a command line.
    let text = match list.strip_prefix('@') {
        None => list.to_owned(),
        Some(path) => fs::read_to_string(path)
            .map_err(|e| Refusal::ours(format!("cannot read {path}"), e.to_string()))?,
    };
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty());
    words
        .map(|w| Injection::parse(w).map_err(|e| Refusal::ours("cannot use --only", e.to_string())))
        .collect()
}

fn rule(text: &str, from: &str) -> Result<Rule, Refusal> {
    Rule::parse(text).map_err(|e| {
        Refusal::ours(format!("cannot use {from} \"{text}\""), e.to_string())
            .fix("ringer chaos --help says what a rule is made of")
    })
}

fn read(path: &Path) -> Result<Vec<Rule>, Refusal> {
    let what = || format!("cannot use the rules of {}", path.display());
    let refuse = |why: String| Refusal::ours(what(), why);
    let text = fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    let table: Table = text.parse().map_err(|e: toml::de::Error| refuse(e.to_string()))?;
    if let Some(key) = table.keys().find(|key| *key != "rule") {
        return Err(refuse(format!("\"{key}\" is not known")).fix("tables called [[rule]]"));
    }
    let Some(Value::Array(tables)) = table.get("rule") else {
        return Err(refuse("it has no [[rule]]".into()));
    };
    tables.iter().map(|t| rule(&words(t).map_err(refuse)?, &path.display().to_string())).collect()
}

/// A table as the words of an option.
fn words(table: &Value) -> Result<String, String> {
    let table = table.as_table().ok_or("a rule is a table")?;
    let words = table.iter().filter_map(|(key, value)| match value {
        Value::Boolean(true) => Some(Ok(key.clone())),
        Value::Boolean(false) => None,
        value => Some(one(key, value).map(|text| format!("{key}={text}"))),
    });
    words.collect::<Result<Vec<_>, _>>().map(|words| words.join(" "))
}

fn one(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.contains(char::is_whitespace) => {
            Err(format!("{key} = {value:?}: a value has no blanks; ? matches one in a path"))
        }
        Value::String(text) => Ok(text.clone()),
        Value::Integer(n) => Ok(n.to_string()),
        // As decimals, never as 1e-6.
        Value::Float(x) if key == "p" => Ok(format!("{x:.6}")),
        Value::Array(list) => {
            let all: Result<Vec<_>, _> = list.iter().map(|v| one(key, v)).collect();
            all.map(|all| all.join(","))
        }
        value => Err(format!("{key} = {value:?} is of no use here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_toml(text: &str) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("written");
        let rules = read(file.path()).map_err(|e| e.to_string())?;
        Ok(rules.iter().map(Rule::to_string).collect())
    }

    #[test]
    fn a_table_says_what_an_option_says() {
        let text = "[[rule]]\nerrno = \"EIO\"\nop = [\"read\", \"readv\"]\npath = \"*.db\"\np = 0.1\n\
                    [[rule]]\nshort = true\n[[rule]]\nshort = 512\nnth = 3\nselects = false\n";
        let want = ["errno=EIO op=READV,READ path=*.db p=0.100000", "short", "short=512 nth=3"];
        assert_eq!(of_toml(text), Ok(want.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        for text in [
            "",
            "rule = 1",
            "[[rule]]\nfoo = true\nworker = true",
            "[[rule]]\nworker = true\npath = \"a b\"",
            "[[rule]]\nworker = true\nop = []",
            "[[rules]]\nworker = true",
            "[[rule]]\nworker = true\np = 2.0",
            "[[rule]",
        ] {
            assert!(of_toml(text).is_err(), "{text}");
        }
    }
}
