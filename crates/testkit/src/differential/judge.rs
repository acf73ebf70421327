//! Runs one program everywhere and says whether everybody saw the same.
//!
//! ```text
//!   Executor = a process (prog differential) that reads programs and answers texts, many in turn
//!   Judge    = one on the kernel's io_uring, some on ringer
//!   a program: kernel three times, the last not in a hurry; not the same text: set aside. Then each
//!   ringer, which is told how many completions the kernel's settles took, so that nothing depends on
//!   who is slow. Where ringer's text is another, the kernel is asked again, without being told: on a
//!   busy machine a settle may end before a worker of the kernel's has run
//! ```
//! A process that answers nothing in time is killed by its number, and that is its answer.

use super::allowed::Allowed;
use super::execute::Outcome;
use super::program::Program;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// What an executor is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// What to run.
    pub program: Program,
    /// Counts of completions to wait for at each settle.
    pub hints: Option<Vec<usize>>,
    /// How long those are waited for \[ms\].
    pub patience_ms: u64,
    /// Whether it takes its time between a batch and the next call.
    pub dawdles: bool,
}

/// How long a completion that the kernel posted may take \[ms\].
pub const PATIENCE_MS: u64 = 4000;
/// The same while a difference that is known is being cut down.
pub const CUTTING_MS: u64 = 250;
/// How long a whole program may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Programs that one process runs before it is replaced.
const TURNS: u32 = 250;

/// Where an executor runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it is called in reports.
    pub name: String,
    /// The command line.
    pub argv: Vec<String>,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It ended and saw this.
    Saw(Outcome),
    /// It did not end, or ended the process.
    Broke(String),
}

#[derive(Debug)]
struct Running {
    child: Child,
    to: ChildStdin,
    from: Receiver<String>,
    turns: u32,
}

/// A process that runs programs.
#[derive(Debug)]
pub struct Executor {
    place: Place,
    running: Option<Running>,
}

impl Executor {
    /// One that is started when it is first asked.
    pub fn new(place: Place) -> Self {
        Self { place, running: None }
    }

    fn start(&self) -> Result<Running, String> {
        let (prog, args) = self.place.argv.split_first().ok_or("no command")?;
        let mut c = Command::new(prog);
        c.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = c.spawn().map_err(|e| format!("{prog}: {e}"))?;
        let to = child.stdin.take().ok_or("no stdin")?;
        let out = child.stdout.take().ok_or("no stdout")?;
        let (send, from) = channel();
        // Ends with the process: its pipe does.
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Running { child, to, from, turns: 0 })
    }

    fn stop(&mut self) -> String {
        let Some(mut r) = self.running.take() else { return String::new() };
        drop(r.to);
        // A process that is well ends when it has nothing to read.
        for _ in 0..200 {
            if let Ok(Some(status)) = r.child.try_wait() {
                return status.to_string();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = r.child.kill();
        let _ = r.child.wait();
        "killed".to_owned()
    }

    /// Runs a program once.
    pub fn run(&mut self, p: &Program, hints: Option<&[usize]>, patience_ms: u64) -> Answer {
        self.run_as(p, hints, patience_ms, false)
    }

    /// The same, perhaps dawdling.
    fn run_as(
        &mut self,
        p: &Program,
        hints: Option<&[usize]>,
        patience_ms: u64,
        dawdles: bool,
    ) -> Answer {
        if self.running.as_ref().is_some_and(|r| r.turns >= TURNS) {
            self.stop();
        }
        if self.running.is_none() {
            match self.start() {
                Ok(r) => self.running = Some(r),
                Err(e) => return Answer::Broke(e),
            }
        }
        let program = p.clone();
        let request = Request { program, hints: hints.map(<[_]>::to_vec), patience_ms, dawdles };
        match self.ask(&request) {
            Ok(outcome) => {
                if outcome.stuck {
                    self.stop();
                }
                Answer::Saw(outcome)
            }
            Err(why) => Answer::Broke(why),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Outcome, String> {
        let r = self.running.as_mut().ok_or("not running")?;
        r.turns += 1;
        let line = serde_json::to_string(request).map_err(|e| e.to_string())?;
        let sent = writeln!(r.to, "{line}").and_then(|()| r.to.flush());
        let answer = match sent {
            Ok(()) => r.from.recv_timeout(DEADLINE),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(line) => serde_json::from_str::<Result<Outcome, String>>(&line)
                .map_err(|e| format!("an answer of no kind: {e}"))?,
            Err(RecvTimeoutError::Timeout) => {
                let _ = r.child.kill();
                self.stop();
                Err(format!("hung: nothing in {} s", DEADLINE.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!("ended: {}", self.stop())),
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where two texts part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Who differs from the kernel.
    pub place: String,
    /// What the kernel's run said there, with a line before it.
    pub kernel: String,
    /// What the other's said.
    pub other: String,
}

/// What a program came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same everywhere; so many lines were excused.
    Same(usize),
    /// Nothing to compare with, and why.
    Aside(&'static str),
    /// Not the same.
    Differs(Difference),
}

/// The kernel's executor and the others.
#[derive(Debug)]
pub struct Judge<'a> {
    kernel: Executor,
    others: Vec<Executor>,
    allowed: &'a Allowed,
}

impl<'a> Judge<'a> {
    /// With a process in each place.
    pub fn new(kernel: Place, others: Vec<Place>, allowed: &'a Allowed) -> Self {
        let others = others.into_iter().map(Executor::new).collect();
        Self { kernel: Executor::new(kernel), others, allowed }
    }

    /// The kernel's text, if it is the same three times.
    ///
    /// # Errors
    /// Why there is none.
    pub fn kernel(&mut self, p: &Program) -> Result<Outcome, &'static str> {
        let Answer::Saw(first) = self.kernel.run(p, None, PATIENCE_MS) else {
            return Err("the kernel's run did not end");
        };
        for dawdles in [false, true] {
            match self.kernel.run_as(p, Some(&first.counts), PATIENCE_MS, dawdles) {
                Answer::Saw(again) if again == first => {}
                Answer::Saw(_) => return Err("the kernel's runs differ"),
                Answer::Broke(_) => return Err("the kernel's run did not end"),
            }
        }
        Ok(first)
    }

    /// Runs a program everywhere.
    pub fn judge(&mut self, p: &Program, patience_ms: u64) -> Verdict {
        let want = match self.kernel(p) {
            Ok(want) => want,
            Err(why) => return Verdict::Aside(why),
        };
        let verdict = self.against(&want, p, patience_ms);
        if matches!(verdict, Verdict::Differs(_)) && !self.says_again(&want, p) {
            return Verdict::Aside("the kernel's runs differ");
        }
        verdict
    }

    /// Whether the kernel's text is the same again, each of twenty times, and not hurried by a count: what
    /// differs is rare, and so is the kernel's other answer.
    fn says_again(&mut self, want: &Outcome, p: &Program) -> bool {
        (0..20).all(|_| self.kernel.run(p, None, PATIENCE_MS) == Answer::Saw(want.clone()))
    }

    /// Runs a program on ringer and compares with a text of the kernel's.
    pub fn against(&mut self, want: &Outcome, p: &Program, patience_ms: u64) -> Verdict {
        let mut excused = 0;
        for other in &mut self.others {
            let place = other.place.name.clone();
            match other.run(p, Some(&want.counts), patience_ms) {
                Answer::Broke(why) => {
                    let kernel = "an end".to_owned();
                    return Verdict::Differs(Difference { place, kernel, other: why });
                }
                Answer::Saw(got) => match compare(want, &got, self.allowed) {
                    Ok(n) => excused += n,
                    Err((kernel, other)) => {
                        return Verdict::Differs(Difference { place, kernel, other });
                    }
                },
            }
        }
        Verdict::Same(excused)
    }
}

/// Lines excused, or the first two that differ.
fn compare(want: &Outcome, got: &Outcome, allowed: &Allowed) -> Result<usize, (String, String)> {
    let mut excused = 0;
    let n = want.lines.len().max(got.lines.len());
    for i in 0..n {
        let line = |o: &Outcome| o.lines.get(i).cloned().unwrap_or_else(|| "(no line)".to_owned());
        let (w, g) = (line(want), line(got));
        if w == g {
            continue;
        }
        if allowed.excuses(&w, &g) {
            excused += 1;
            continue;
        }
        let before = i.checked_sub(1).map_or("the start", |b| want.lines[b].as_str());
        return Err((format!("{w}   (after: {before})"), g));
    }
    Ok(excused)
}
