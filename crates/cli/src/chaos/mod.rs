//! `ringer chaos`: a program's requests are cut, delayed, failed as a seed and rules decide.
//!
//! ```text
//!  plan: rules -> what every seed does          run: one run, and what was done in it
//!  single:  run -> say how it ended, what was done, how to repeat it
//!  hunt:    run without -> runs of many seeds, some at a time -> shrink the failures -> say
//! ```
//! A seed decides the same about the same submissions again ([`ringer_engine::chaos`]), so a failure is a
//! seed, or a few injections of it. What this does not do: know whether the program's output is right; it
//! fails by its exit status, a signal or by not ending.

mod hunt;
mod plan;
mod run;
mod shrink;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ringer_engine::chaos::plan::{Injection, Plan, Rule};
use ringer_engine::policy::What;

use crate::cli::ChaosArgs;
use crate::os::signals;
use crate::trace::entry;
use crate::{os, run as ringer_run, stats};

use plan::Plans;
use run::{Done, Job, Ran};

/// Status after SIGINT and its kind, as a shell has it.
const INTERRUPTED: u8 = 130;
/// Most injections that are said one by one.
const SAID_MAX: usize = 20;

/// Runs the program; its exit status after a single run, 1 if a hunt found something.
///
/// # Errors
/// 125: a rule makes no sense, the program cannot be started, or fails without chaos.
pub(crate) fn chaos(args: &ChaosArgs) -> anyhow::Result<u8> {
    os::hold_standard_descriptors();
    ringer_run::refuse_elevated()?;
    let plans = Plans::of(args)?;
    os::with_children(|| match args.runs {
        Some(runs) => hunt::hunt(args, &plans, runs),
        None => single(args, &plans),
    })
}

fn single(args: &ChaosArgs, plans: &Plans) -> anyhow::Result<u8> {
    let seed = args.seed.unwrap_or_else(random);
    let plan = plans.with(seed);
    let job = job(args, args.shrink);
    if job.apart {
        signals::hear();
    }
    let ran = job.run(&plan, &|| job.apart && signals::heard())?;
    if job.apart && signals::heard() {
        return Ok(INTERRUPTED);
    }
    if let Some(path) = &args.output {
        write_all(path, &plan, &ran.done)?;
    }
    if job.apart {
        eprintln!("{}", ran.words);
    }
    warn(args, std::slice::from_ref(&ran));
    eprintln!("ringer: chaos: seed {seed}: {}; {}", ran.ended, counted(&counts(&ran.done)));
    if !ran.ended.is_well() {
        if args.shrink {
            hunt::shorten(args, plans, seed, &ran)?;
        } else {
            eprint!("{}", listed(&plan, &ran.done));
            eprintln!("  repeat: {}", command(args, seed, None));
            eprintln!(
                "  fewer:  {}",
                command(args, seed, None).replacen("chaos", "chaos --shrink", 1)
            );
        }
    }
    Ok(ran.ended.code())
}

fn job(args: &ChaosArgs, apart: bool) -> Job<'_> {
    let limit = args.limit.map(|s| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX));
    Job { program: &args.program, args: &args.args, apart, limit }
}

fn random() -> u64 {
    // Short enough to be typed again.
    RandomState::new().hash_one(std::process::id()) % 1_000_000_000
}

/// What was done, by what it was.
type Counts = BTreeMap<&'static str, u64>;

fn counts(done: &[Done]) -> Counts {
    let mut counts = Counts::new();
    for one in done {
        *counts.entry(one.record.act.what.word()).or_default() += 1;
    }
    counts
}

fn counted(counts: &Counts) -> String {
    let total: u64 = counts.values().sum();
    let each: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
    match total {
        0 => "nothing was injected".into(),
        n => format!("{n} injections ({})", each.join(", ")),
    }
}

/// One line for each of the first, with the rules that they are from.
fn listed(plan: &Plan, done: &[Done]) -> String {
    let mut text = String::new();
    for one in done.iter().take(SAID_MAX) {
        let _ = writeln!(text, "  {}", line(plan, one));
    }
    if done.len() > SAID_MAX {
        let _ = writeln!(text, "  and {} more (-o FILE has all)", done.len() - SAID_MAX);
    }
    text
}

/// `1:17:0 READ </tmp/x>: moved 512 bytes at most (short p=0.250000)`.
fn line(plan: &Plan, done: &Done) -> String {
    let record = &done.record;
    let mut text = format!("{} ", done.injection());
    if record.act.what == What::Interrupt {
        text.push_str("a wait");
    } else {
        let _ = write!(text, "{} user_data={:#x}", entry::opcode(record.opcode), record.user_data);
    }
    if let Some(file) = &done.file {
        let _ = write!(text, " <{}>", file.escape_debug());
    }
    let _ = write!(text, ": {}", record.act.what);
    // What is done without rules needs none.
    let own = |rule: &&Rule| !Plan::legal(0).rules.contains(rule);
    if let Some(rule) = plan.rules.get(usize::from(record.act.rule)).filter(own) {
        let _ = write!(text, " (rule {rule})");
    }
    text
}

fn write_all(path: &Path, plan: &Plan, done: &[Done]) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(stats::create(path)?.into_empty()?);
    for one in done {
        writeln!(file, "{}", line(plan, one))?;
    }
    file.flush().with_context(|| format!("writing {}", path.display()))
}

/// What whoever reads the result has to know.
fn warn(args: &ChaosArgs, runs: &[Ran]) {
    if !runs.is_empty() && runs.iter().all(|ran| !ran.had_rings) {
        eprintln!(
            "ringer: chaos: no process made a ring that ringer carries out, so nothing was tried; to see why: ringer doctor {}",
            args.program.to_string_lossy()
        );
    }
    if runs.iter().any(|ran| ran.more) {
        eprintln!("ringer: chaos: more was injected than is kept");
    }
}

/// The command that does the same again.
fn command(args: &ChaosArgs, seed: u64, only: Option<&[Injection]>) -> String {
    let mut words = vec!["ringer chaos".to_owned(), format!("--seed {seed}")];
    words.extend(args.rule.iter().map(|rule| format!("--rule {}", quoted(rule.as_ref()))));
    words.extend(args.rules.iter().map(|path| format!("--rules {}", quoted(path.as_os_str()))));
    words.extend(args.legal.then(|| "--legal".to_owned()));
    words.extend(args.illegal.then(|| "--illegal".to_owned()));
    words.extend(args.limit.map(|limit| format!("--limit {limit}")));
    match (only, &args.only) {
        (Some(only), _) => {
            let list: Vec<String> = only.iter().map(Injection::to_string).collect();
            words.push(format!("--only {}", list.join(",")));
        }
        (None, Some(list)) => words.push(format!("--only {list}")),
        (None, None) => {}
    }
    words.push("--".to_owned());
    words.push(quoted(&args.program));
    words.extend(args.args.iter().map(|arg: &OsString| quoted(arg)));
    words.join(" ")
}

/// For a shell.
fn quoted(word: &std::ffi::OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_comes_out_of_a_shell_as_it_went_in() {
        for word in ["plain", "a b", "it's", "", "$(x)", "*", "--a=b"] {
            let out = std::process::Command::new("/bin/sh")
                .args(["-c", &format!("printf %s {}", quoted(word.as_ref()))])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&out.stdout), word);
        }
    }
}
