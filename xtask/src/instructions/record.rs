//! What was recorded: the figures, and the tools that they hold for.
//!
//! What it does not do: compare (`super`).

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

/// Where.
const FILE: &str = "xtask/instructions.toml";

/// What the figures depend on beside the source, as the tools name themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tools {
    rustc: String,
    valgrind: String,
}

impl Tools {
    /// Those that are here.
    ///
    /// # Errors
    /// One is not.
    pub(super) fn here() -> Result<Self> {
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
        Ok(Self { rustc: version(&rustc)?, valgrind: version("valgrind")? })
    }
}

impl std::fmt::Display for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} and {}", self.rustc, self.valgrind)
    }
}

fn version(program: &str) -> Result<String> {
    let out = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("there is no {program}"))?;
    Ok(String::from_utf8(out.stdout)?.trim().into())
}

/// Instructions of a round, by the name of the work; and with which tools.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) tools: Tools,
    pub(super) figures: BTreeMap<String, f64>,
}

impl Record {
    /// The one of this source; empty if there is none.
    pub(super) fn read() -> Result<Self> {
        match std::fs::read_to_string(FILE) {
            Ok(text) => Self::parse(&text).with_context(|| format!("read {FILE}")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).with_context(|| format!("read {FILE}")),
        }
    }

    pub(super) fn write(&self) -> Result<()> {
        std::fs::write(FILE, self.text()?).with_context(|| format!("write {FILE}"))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let tool = |name: &str| {
            table
                .get(name)
                .and_then(|t| t.as_str())
                .map(String::from)
                .with_context(|| format!("no {name}"))
        };
        let tools = Tools { rustc: tool("rustc")?, valgrind: tool("valgrind")? };
        let works = table.get("works").and_then(|w| w.as_table()).context("no works")?;
        let figure = |(name, v): (&String, &toml::Value)| {
            Ok((name.clone(), v.as_float().with_context(|| format!("{name} is not a figure"))?))
        };
        Ok(Self { tools, figures: works.iter().map(figure).collect::<Result<_>>()? })
    }

    fn text(&self) -> Result<String> {
        let mut text = String::from(
            "# Instructions of ringer's library for a round of each work of xtask/src/bin/instructions-work.\n\
             # Written by `cargo xtask instructions --record`, compared by `cargo xtask instructions`.\n",
        );
        writeln!(text, "rustc = {:?}\nvalgrind = {:?}", self.tools.rustc, self.tools.valgrind)?;
        writeln!(text, "\n[works]")?;
        self.figures
            .iter()
            .try_for_each(|(name, figure)| writeln!(text, "{name} = {figure:.1}"))?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let tools = Tools { rustc: "rustc 1".into(), valgrind: "valgrind-2".into() };
        let figures = BTreeMap::from([("nop-b1".into(), 12.5), ("read-b1".into(), 300.0)]);
        let written = Record { tools: tools.clone(), figures: figures.clone() };
        let read = Record::parse(&written.text().unwrap()).unwrap();
        assert_eq!((read.tools, read.figures), (tools, figures));
    }
}
