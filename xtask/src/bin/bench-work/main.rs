//! One measurement in a process of its own: `bench-work WORK MILLIS [WAY]` prints what an operation takes.
//!
//! A program of its own, because what else a program links decides how ringer catches its calls: this
//! one makes no inline system calls, so it runs without a filter. `bench-inline` is the same with them.
#![allow(clippy::print_stdout, reason = "the figures go to stdout")]

mod works;

fn main() -> anyhow::Result<()> {
    works::main()
}
