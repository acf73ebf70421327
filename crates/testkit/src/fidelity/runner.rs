//! Runs claims, one forked child each, and prints a line a claim.
//!
//! `fidelity [--ringer] [--list] [--only SUBSTR]`: with `--ringer` claims that need something
//! of [`open`] are expected to fail. A claim that hangs or dies fails alone: its child has a
//! deadline, and is killed when it blocked even that. The exit code is 1 after a failure.

use super::{Claim, Outcome, all, open};
use crate::os;
use std::io::Write as _;
use std::process::ExitCode;

/// A claim that takes longer hangs [s].
const DEADLINE_S: u32 = 10;

/// What a claim came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// This host can not show it.
    Skip,
    /// It does not, and what it needs is listed as open.
    Open,
}

impl Verdict {
    /// The word in the output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Open => "open",
        }
    }

    /// The verdict of that word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Pass, Self::Fail, Self::Skip, Self::Open].into_iter().find(|v| v.word() == word)
    }
}

/// The `fidelity` binaries.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = super::semantics::after_exec(&args) {
        return code;
    }
    let has = |flag: &str| args.iter().any(|a| a == flag);
    let only = args.iter().position(|a| a == "--only").and_then(|at| args.get(at + 1));
    let only = only.map_or("", String::as_str);
    if let Some(op) = args.iter().position(|a| a == "--record") {
        return super::errno_order::record(args.get(op + 1).map_or("", String::as_str));
    }
    let chosen = all().filter(|c| c.name.contains(only));
    if has("--list") {
        chosen.for_each(|c| println!("{}", c.name));
        return ExitCode::SUCCESS;
    }
    let mut failed = false;
    for claim in chosen {
        let (verdict, why) = judged(claim, in_child(claim), has("--ringer"));
        failed |= verdict == Verdict::Fail;
        println!("{}\t{}\t{}", claim.name, verdict.word(), why.replace(['\n', '\t'], " "));
        let _ = std::io::stdout().flush();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The verdict on an outcome, and the words beside it.
fn judged(claim: &Claim, outcome: Outcome, on_ringer: bool) -> (Verdict, String) {
    let open = if on_ringer { open::of(claim.needs) } else { None };
    match (outcome, open) {
        (Ok(()), None) => (Verdict::Pass, String::new()),
        (Ok(()), Some(open)) => (Verdict::Fail, format!("holds, but is listed as open ({open})")),
        (Err(why), _) if why.starts_with("skip: ") => (Verdict::Skip, why[6..].to_owned()),
        (Err(why), Some(open)) => (Verdict::Open, format!("{open}: {why}")),
        (Err(why), None) => (Verdict::Fail, why),
    }
}

/// Runs a claim in a process of its own.
fn in_child(claim: &Claim) -> Outcome {
    let said = |r: os::Sys<i32>| r.map_err(|e| format!("the runner itself: {e:?}"));
    let (from, to) = os::pipe().map_err(|e| format!("the runner itself: {e:?}"))?;
    let pid = said(os::fork())?;
    if pid == 0 {
        child(claim, to);
    }
    said(os::close(to))?;
    let answered = os::poll(from, libc::POLLIN, 1000 * (DEADLINE_S as i32 + 2));
    let mut text = vec![0; 8192];
    let n = match answered {
        Ok(bits) if bits != 0 => os::read(from, &mut text).unwrap_or(0),
        _ => 0,
    };
    if n == 0 {
        // Gone already, or beyond its deadline with the alarm blocked.
        let _ = os::kill(pid, libc::SIGKILL);
    }
    let code = said(os::wait(pid));
    said(os::close(from))?;
    match (n, code?) {
        (0, 142) => Err(format!("did not end within {DEADLINE_S} s")),
        (0, 101) => Err("panicked".to_owned()),
        (0, code) => Err(format!("died with exit code {code}")),
        (n, 0) if text[..n] == *b"ok" => Ok(()),
        (n, 0) => Err(String::from_utf8_lossy(&text[..n]).into_owned()),
        (_, code) => Err(format!("ended, then died with exit code {code}")),
    }
}

fn child(claim: &Claim, to: i32) -> ! {
    os::deadline(DEADLINE_S);
    let run = claim.run;
    let code = match std::panic::catch_unwind(run) {
        Ok(outcome) => {
            let text = outcome.err().unwrap_or_else(|| "ok".to_owned());
            let end = text.floor_char_boundary(4000);
            i32::from(os::write(to, &text.as_bytes()[..end]).is_err())
        }
        Err(_) => 101,
    };
    os::exit_now(code)
}
