//! The `ringer` command: run programs with io_uring where the kernel refuses it.
//!
//! ```text
//!   run     program -> kernel -> library -> probe -> exec       (nothing stays behind)
//!   doctor  the same modules, asked instead of used             (PASS / WARN / FAIL)
//!   stats   account: lines and left-over counters
//!   chaos   run as a child under a plan, once or many times, and what was done to it
//!   trace   run as a child that writes to shared buffers, and their reader
//!   record  run as a child, and all that it was answered; replay: answered by that
//!   report  a page of what trace wrote
//!   top     reader of memory that running processes write to while they are watched
//!   demo    os::seccomp blocks, run unblocks, os::uring is the program in between
//! ```
//!
//! Exit statuses of `run` are env(1)'s; everything ringer says starts with `ringer:` and goes to
//! the standard error. What the command does not do: io_uring itself, which is in the library that
//! it carries.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "output belongs to the CLI")]

mod account;
mod chaos;
mod cli;
mod demo;
mod doctor;
mod elf;
mod host;
mod kernel;
mod library;
mod os;
mod probe;
mod program;
mod record;
mod refusal;
mod report;
mod run;
mod stats;
mod top;
mod trace;

use std::ffi::OsString;
use std::io;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::{Cli, Command};
use crate::refusal::{EXIT_OURS, Refusal};

/// Status of a wrong command line, but for `run`, where it is [`EXIT_OURS`].
const EXIT_USAGE: u8 = 2;
const EXIT_FAILED: u8 = 1;

/// What `main` does; the entry point is in `os`, because std's start-up must not run.
#[cfg_attr(test, expect(dead_code, reason = "the test harness brings its own main"))]
fn start(args: Vec<OsString>) -> u8 {
    let runs = ["run", "trace", "chaos", "record", "replay"];
    let usage = if args.get(1).is_some_and(|a| runs.iter().any(|name| a == name)) {
        EXIT_OURS
    } else {
        EXIT_USAGE
    };
    let parsed = match Cli::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(e) => {
            let asked = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            os::ignore_sigpipe();
            let _ = e.print();
            return if asked { 0 } else { usage };
        }
    };
    if let Command::Run(args) = &parsed.command {
        return say(&run::run(args).into());
    }
    os::ignore_sigpipe();
    match dispatch(parsed.command) {
        Ok(code) => code,
        Err(e) if is_closed_pipe(&e) => 0,
        Err(e) => say(&e),
    }
}

fn dispatch(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Run(args) => Err(run::run(&args).into()),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Stats(args) => account::stats(&args),
        Command::Trace(args) => trace::trace(&args),
        Command::Chaos(args) => chaos::chaos(&args),
        Command::Report(args) => report::report(&args),
        Command::Record(args) => record::record(&args),
        Command::Replay(args) => record::replay(&args),
        Command::Top(args) => top::top(&args),
        Command::Probe => Ok(0),
        Command::DemoProgram(args) => demo::program::program(&args),
        Command::DemoBlocked(args) => demo::blocked(&args),
        Command::DoctorTrial(args) => doctor::trial::trial(args.trial),
    }
}

/// Prints the error and gives the exit status.
fn say(e: &anyhow::Error) -> u8 {
    eprintln!("ringer: {e:#}");
    e.downcast_ref::<Refusal>().map_or(EXIT_FAILED, |refusal| refusal.code)
}

/// Whoever read our output has seen enough.
fn is_closed_pipe(e: &anyhow::Error) -> bool {
    e.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}
