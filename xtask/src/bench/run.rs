//! One measurement: which program with which arguments, and what it printed.
//!
//! ```text
//!   kernel, rivals   bench-work WORK MILLIS WAY
//!   ringer           ringer run --native never -- bench-work ...
//!   patched, trap    ringer run --native never [--no-patch] -- bench-inline ...
//!   start-...        the time of a whole program, over and over
//! ```
//! What it does not do: limit how long a work takes; each stops by itself.

use super::figures::Sample;
use super::works::Variant;
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The programs that take part.
#[derive(Debug)]
pub(crate) struct Programs {
    ringer: PathBuf,
    work: PathBuf,
    inline: PathBuf,
}

impl Programs {
    /// The given ringer, and the works beside this program; or all of them built now.
    pub(crate) fn find(ringer: Option<&Path>) -> Result<Self> {
        let (ringer, works) = match ringer {
            Some(path) => {
                let me = std::env::current_exe()?;
                (path.to_path_buf(), me.parent().context("own folder")?.to_path_buf())
            }
            None => {
                let kit = crate::kit::build()?;
                (kit.join("ringer"), kit)
            }
        };
        Ok(Self { ringer, work: works.join("bench-work"), inline: works.join("bench-inline") })
    }

    /// Runs a work once.
    pub(crate) fn measure(&self, name: &str, variant: Variant, millis: u64) -> Result<Sample> {
        match name {
            "start-true" => self.whole(variant, Path::new("true"), &[], millis),
            "start-ring" => self.whole(variant, &self.work, &["ring"], millis),
            _ => self.once(name, variant, millis),
        }
    }

    fn once(&self, name: &str, variant: Variant, millis: u64) -> Result<Sample> {
        let program = match variant {
            Variant::Patched | Variant::Trap => &self.inline,
            _ => &self.work,
        };
        let way = match variant {
            Variant::KernelDefer | Variant::RingerDefer => "defer",
            Variant::Rival(name) => name,
            _ => "ring",
        };
        let millis = millis.to_string();
        let mut command = self.command(variant, program);
        // An error is told in a line.
        let out = command.args([name, &millis, way]).env("RUST_LIB_BACKTRACE", "0").output()?;
        let why = String::from_utf8_lossy(&out.stderr);
        let why: Vec<_> = why.split_whitespace().collect();
        ensure!(out.status.success(), "{}: {}", out.status, why.join(" "));
        parse(&String::from_utf8(out.stdout)?)
    }

    /// The time from start to end of a program, on average over the budget.
    fn whole(&self, on: Variant, program: &Path, args: &[&str], millis: u64) -> Result<Sample> {
        let budget = Duration::from_millis(millis);
        let (start, mut runs) = (Instant::now(), 0u32);
        while runs == 0 || start.elapsed() < budget {
            let status = self.command(on, program).args(args).stdout(Stdio::null()).status()?;
            ensure!(status.success(), "{} came to {status}", program.display());
            runs += 1;
        }
        let value = start.elapsed().as_nanos() as f64 / f64::from(runs);
        Ok(Sample { value, cpu: 0.0 })
    }

    fn command(&self, variant: Variant, program: &Path) -> Command {
        if variant.is_kernel() || variant.is_rival() {
            return Command::new(program);
        }
        let mut command = Command::new(&self.ringer);
        command.args(["run", "--native", "never"]);
        if variant == Variant::Trap {
            command.arg("--no-patch");
        }
        command.arg("--").arg(program);
        command
    }
}

fn parse(text: &str) -> Result<Sample> {
    let (value, cpu) = text.trim().split_once(' ').context("two figures")?;
    Ok(Sample { value: value.parse()?, cpu: cpu.parse()? })
}
