//! One measurement in a process of its own: `bench-work NAME MILLIS` prints nanoseconds an operation.
//!
//! A program of its own, because what else a program links decides how ringer catches its calls: this
//! one makes no inline system calls, so it runs without a filter.
#![allow(clippy::print_stdout, reason = "the figure goes to stdout")]

mod disk;
mod echo;
mod work;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().context("usage: bench-work NAME MILLIS")?;
    let number: u64 = args.next().context("usage: bench-work NAME MILLIS")?.parse()?;
    if name == "echo-load" {
        return echo::load(number.try_into().context("a port")?);
    }
    println!("{}", work::measure(&name, number)?);
    Ok(())
}
