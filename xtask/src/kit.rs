//! The release build that the tiers run: ringer, the programs of `crates/testkit`, and those of xtask.
//!
//! Always together, by one command: cargo builds a dependency again for each set of packages that wants
//! other features of it, and `cargo xtask` itself is one such set.
//! What it does not do: the clients (`tests/clients`), which are a workspace of their own.

use anyhow::{Context as _, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// Builds all of it; the folder that it is in.
pub(crate) fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--bins"]);
    cargo.args(["-p", "ringer-cli", "-p", "ringer-testkit", "-p", "xtask"]);
    ensure!(cargo.status().context("start cargo")?.success(), "ringer and the kit do not build");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(std::fs::canonicalize(target.join("release"))?)
}
