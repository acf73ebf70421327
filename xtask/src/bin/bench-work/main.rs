//! One measurement in a process of its own: `bench-work NAME MILLIS` prints nanoseconds an operation.
//!
//! A program of its own, because what else a program links decides how ringer catches its calls: this
//! one makes no inline system calls, so it runs without a filter.
#![allow(clippy::print_stdout, reason = "the figure goes to stdout")]

mod work;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().context("usage: bench-work NAME MILLIS")?;
    let millis = args.next().context("usage: bench-work NAME MILLIS")?.parse()?;
    println!("{}", work::measure(&name, millis)?);
    Ok(())
}
