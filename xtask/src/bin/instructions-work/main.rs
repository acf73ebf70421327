//! One work a given number of times: `instructions-work NAME ROUNDS`; the names, without arguments.
//!
//! Each work is a path of ringer that many programs take, with as little as possible around it. Two runs
//! that differ in rounds differ in what the rounds cost. What it does not do: count (`cargo xtask
//! instructions` does, from outside). Like `bench-work` it makes no inline system calls.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod works;

use anyhow::{Context as _, Result};

/// The exit code of a work that cannot go its path here.
const UNFIT: i32 = 77;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(name) = args.next() else {
        works::WORKS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    };
    let rounds: u32 = args.next().context("usage: instructions-work NAME ROUNDS")?.parse()?;
    let (_, make) = works::WORKS.iter().find(|w| w.0 == name).context("no such work")?;
    let mut round = match make() {
        Err(e) if e.is::<works::Unfit>() => {
            eprintln!("{e}");
            std::process::exit(UNFIT);
        }
        made => made?,
    };
    (0..rounds).try_for_each(|_| round())
}
