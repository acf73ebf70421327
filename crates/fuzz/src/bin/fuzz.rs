//! The driver that needs no tools: replays the corpus of a target, then mutates it for a while.
//!
//! ```text
//!  ringer-fuzz --list
//!  ringer-fuzz --target NAME [--seconds N] [--seed N] [--state FOLDER]    0 passed, 1 failed
//!  ringer-fuzz --target NAME FILE...                                      replays these only
//! ```
//! The input is in `FOLDER/NAME.input` before it runs, so it is there whatever becomes of the
//! process: a panic, an abort, a fault, or no end (the watchdog's). What it does not do: look at
//! coverage, or minimise; libFuzzer does both (`cargo xtask fuzz --guided`).
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use anyhow::{Context, Result, bail};
use clap::Parser;
use ringer_fuzz::{Mutator, TARGETS, Target, corpus, named};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// An input that takes longer than this is one that does not end.
const INPUT_MAX: Duration = Duration::from_secs(60);

/// Fuzzes one target.
#[derive(Debug, Parser)]
struct Args {
    /// Print the names of all targets and what they try
    #[arg(long)]
    list: bool,
    /// The target
    #[arg(long, default_value = "")]
    target: String,
    /// For how long to mutate
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Decides every mutation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the input that runs is kept
    #[arg(long, default_value = "target/fuzz")]
    state: PathBuf,
    /// Inputs to replay, instead of corpus and mutations
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        TARGETS.iter().for_each(|t| println!("{}\t{}", t.name, t.about));
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("ringer-fuzz: {e:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything passed.
fn run(args: &Args) -> Result<bool> {
    let Some(target) = named(&args.target) else {
        bail!("no target {:?}; --list names them", args.target);
    };
    std::fs::create_dir_all(&args.state).context("the state folder")?;
    let mut runner = Runner::new(*target, &args.state)?;
    for file in &args.files {
        let input = std::fs::read(file).with_context(|| file.display().to_string())?;
        if !runner.one(&input) {
            return Ok(false);
        }
        println!("passed  {} {}", target.name, file.display());
    }
    if !args.files.is_empty() {
        return Ok(true);
    }
    let corpus = corpus(target.name);
    for (path, input) in &corpus {
        if !runner.one(input) {
            eprintln!("ringer-fuzz: that was {}", path.display());
            return Ok(false);
        }
    }
    let (kept, start) = (corpus.len(), Instant::now());
    let inputs = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let mut mutator = Mutator::new(args.seed, inputs, target.len_max);
    let mut runs = 0_u64;
    while start.elapsed() < Duration::from_secs(args.seconds) {
        if !runner.one(&mutator.input()) {
            return Ok(false);
        }
        runs += 1;
    }
    let rate = runs as f64 / start.elapsed().as_secs_f64().max(0.001);
    println!("ok      {:<12} {runs:>8} runs, {rate:>8.0}/s, corpus {kept}", target.name);
    Ok(true)
}

/// Runs inputs one by one, each where it can be found afterwards.
struct Runner {
    target: Target,
    path: PathBuf,
    file: File,
    clock: Arc<AtomicU64>,
}

impl Runner {
    fn new(target: Target, state: &Path) -> Result<Self> {
        let path = state.join(format!("{}.input", target.name));
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let clock = Arc::new(AtomicU64::new(0));
        let (theirs, replay) = (clock.clone(), replay(&target, &path));
        std::thread::spawn(move || watch(&theirs, &replay));
        Ok(Self { target, path, file, clock })
    }

    /// Whether the input passed. One that did not has been told of.
    fn one(&mut self, input: &[u8]) -> bool {
        if let Err(e) = self.file.set_len(0).and_then(|()| self.file.write_all_at(input, 0)) {
            eprintln!("ringer-fuzz: {}: {e}", self.path.display());
            return false;
        }
        self.clock.fetch_add(1, Relaxed);
        let passed = std::panic::catch_unwind(|| (self.target.run)(input)).is_ok();
        if !passed {
            eprintln!("ringer-fuzz: {} failed, see above", self.target.name);
            eprintln!("{}", replay(&self.target, &self.path));
        }
        passed
    }
}

fn replay(target: &Target, path: &Path) -> String {
    format!("replay: cargo run -p ringer-fuzz -- --target {} {}", target.name, path.display())
}

/// Ends the process when the same input runs for too long.
fn watch(clock: &AtomicU64, replay: &str) {
    let mut last = (clock.load(Relaxed), Instant::now());
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = clock.load(Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > INPUT_MAX {
            eprintln!("ringer-fuzz: no end after {INPUT_MAX:?}\n{replay}");
            std::process::exit(1);
        }
    }
}
