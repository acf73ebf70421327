//! `cargo xtask differential`: random programs on the kernel's io_uring and on ringer.
//!
//! What may be drawn comes from the op table; a difference is printed cut down, with its seed.

use anyhow::{Context as _, Result, bail, ensure};
use ringer_engine::opcode::OPDEFS;
use ringer_engine::support::Support;
use ringer_testkit::differential::allowed::Allowed;
use ringer_testkit::differential::campaign::{self, Plan};
use ringer_testkit::differential::{Rows, generate};
use std::path::PathBuf;
use std::time::Duration;

/// What the command line asks for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seeds, as FROM..TO.
    #[arg(long, default_value = "0..1000")]
    seeds: String,
    /// Take no new seed after so many minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// The ringer binary, the kit's binaries beside it (default: built here, in release).
    #[arg(long)]
    ringer: Option<PathBuf>,
    /// Seeds at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Refuse io_uring to ringer's processes, as a container would.
    #[arg(long)]
    blocked: bool,
    /// Print differences as they are, without cutting them down.
    #[arg(long)]
    no_cut: bool,
    /// Only print the programs.
    #[arg(long)]
    show: bool,
    /// Write what this kernel sees of the seeds here, and run nothing on ringer.
    #[arg(long)]
    record: Option<PathBuf>,
}

/// The rows of the op table that are carried out.
fn rows() -> Rows {
    let drawn = OPDEFS.iter().filter(|d| d.support.is_there());
    Rows::new(drawn.map(|d| (d.name, d.support == Support::Full)))
}

/// The folder of the kit's binaries, and ringer.
fn binaries(ringer: Option<&PathBuf>) -> Result<(PathBuf, PathBuf)> {
    if let Some(ringer) = ringer {
        let kit = ringer.parent().context("--ringer has no folder")?;
        return Ok((kit.to_owned(), ringer.clone()));
    }
    let kit = crate::kit::build()?;
    Ok((kit.clone(), kit.join("ringer")))
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let (from, to) = args.seeds.split_once("..").context("--seeds FROM..TO")?;
    let seeds = from.trim().parse()?..to.trim().parse()?;
    let rows = rows();
    if args.show {
        for seed in seeds {
            println!("seed {seed}\n{}", generate(seed, &rows));
        }
        return Ok(());
    }
    ensure!(
        ringer_testkit::harness::kernel_has_io_uring(),
        "this kernel refuses io_uring: there is nothing to compare with (e2e_differential compares \
         with a record)"
    );
    let (kit, ringer) = binaries(args.ringer.as_ref())?;
    let plan = Plan {
        seeds,
        budget: args.minutes.map(|m| Duration::from_secs_f64(60.0 * m)),
        jobs: args.jobs,
        kit,
        ringer,
        blocked: args.blocked,
        talk: true,
        cut: !args.no_cut,
    };
    if let Some(path) = &args.record {
        let lines: Vec<String> = campaign::record(&plan, &rows)
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()?;
        return Ok(std::fs::write(path, lines.join("\n") + "\n")?);
    }
    let allowed = Allowed::ours().map_err(anyhow::Error::msg)?;
    println!("rows without a shape: {:?}", rows.without_a_shape());
    println!("allowed differences: {}", allowed.len());
    let report = campaign::run(&plan, &rows, &allowed);
    println!("lines excused by allowed.toml: {}", report.excused);
    println!("{report}");
    if !report.failed.is_empty() {
        bail!("{} seeds differ", report.failed.len());
    }
    Ok(())
}
