//! `cargo xtask`: chores of the project.
//!
//! `bench` measures ringer beside the kernel's io_uring and plain system calls; the tiers beyond `cargo
//! test` are `fidelity`, `conformance` (liburing's own tests), `containers`, `simulate`, `model`,
//! `instructions`, `fuzz` and `soak`.
//! What it does not do: run tests (`cargo test --workspace`, `.ci/run`).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod bench;
mod conformance;
mod containers;
mod differential;
mod fidelity;
mod fuzz;
mod instructions;
mod kit;
mod model;
mod simulate;
mod soak;
mod tables;

use anyhow::Result;
use clap::Parser;
use std::path::PathBuf;

/// Chores of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Measure: the kernel's io_uring, ringer and what people use instead, alternating, in one run.
    Bench(bench::Plan),
    /// Run the fidelity matrix on the kernel and on ringer; write docs/fidelity.md.
    Fidelity {
        /// Only say whether the page is current.
        #[arg(long)]
        check: bool,
        /// Record what this kernel answers to the errno-order tables instead.
        #[arg(long)]
        record: bool,
        /// Only claims whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
        /// The ringer binary (default: built here, in release).
        #[arg(long)]
        ringer: Option<PathBuf>,
    },
    /// Random programs of every opcode in the simulator, checked.
    Simulate {
        /// Seeds, A..B.
        #[arg(long, default_value = "0..100000")]
        seeds: String,
        /// Stop after this many minutes.
        #[arg(long)]
        minutes: Option<f64>,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Count what the hot paths cost, and compare it with what is recorded.
    Instructions(instructions::Plan),
    /// Run the fuzz targets: corpus, then mutations; or guided by coverage.
    Fuzz(fuzz::Plan),
    /// Soak: rings, kills and mixed work under ringer; nothing leaks.
    Soak(soak::Plan),
    /// Check the protocols between threads, over all interleavings.
    Model {
        /// More preemptions: minutes instead of seconds.
        #[arg(long)]
        long: bool,
        /// Only models whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Run liburing's own tests (Debian's source package) on the kernel and on ringer.
    Conformance {
        /// Run them on the kernel's io_uring first and record what they come to.
        #[arg(long)]
        native: bool,
        /// Run those as well that take minutes or a quiet machine.
        #[arg(long)]
        long: bool,
        /// Only tests whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
        /// Tests at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// A source tree of the suite instead of the fetched one.
        #[arg(long)]
        source: Option<PathBuf>,
        /// The ringer binary (default: built here, in release).
        #[arg(long)]
        ringer: Option<PathBuf>,
    },
    /// Run real programs under ringer in containers with the stock profile.
    Containers(containers::Plan),
    /// Run one command for a runner; end it when the runner ends.
    #[command(hide = true)]
    ConformanceGuard(conformance::guard::Args),
    /// Compare random programs on the kernel's io_uring and on ringer.
    Differential(differential::Args),
    /// Write SUPPORT.md from the tables of opcodes, register operations and flags.
    Tables {
        /// Only say whether it is current.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Bench(plan) => bench::run(&plan),
        Task::Fidelity { check, record, only, ringer } => fidelity::run(
            std::path::Path::new("."),
            &fidelity::Plan { check, record, only, ringer },
        ),
        Task::Simulate { seeds, minutes, jobs } => {
            simulate::run(&simulate::Plan { seeds, minutes, jobs })
        }
        Task::Instructions(plan) => instructions::run(&plan),
        Task::Fuzz(plan) => fuzz::run(&plan),
        Task::Soak(plan) => soak::run(&plan),
        Task::Model { long, only } => model::run(long, &only),
        Task::Conformance { native, long, only, jobs, source, ringer } => conformance::run(
            std::path::Path::new("."),
            &conformance::Plan { native, long, only, jobs, source, ringer },
        ),
        Task::Containers(plan) => containers::run(&plan),
        Task::ConformanceGuard(args) => conformance::guard::main(&args),
        Task::Differential(args) => differential::run(&args),
        Task::Tables { check } => tables::run(std::path::Path::new("."), check),
    }
}
