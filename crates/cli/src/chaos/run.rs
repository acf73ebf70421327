//! One run of the program under a plan.
//!
//! ```text
//!  folder 0700:  plan, if it is long --RINGER_CHAOS--> every process of the program
//!                trace/ <--records of what was done--  read while it runs
//! ```
//! The program is a child in a process group of its own (a hunt) or in ours (a single run, so that a
//! terminal reaches it). What has not ended in time is killed, with its group if that is its own. What this does
//! not do: say anything to people.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fmt};

use anyhow::Context;
use ringer_engine::chaos::plan::{Injection, Plan};
use ringer_engine::host::RingId;
use ringer_engine::trace::buffer::{InjectedRecord, Record};
use tempfile::TempDir;

use crate::os::signals;
use crate::refusal::Refusal;
use crate::trace::{self, source::Source};

/// Slots of a process's buffer: 64 bytes each, read many times a second.
const SLOTS: u64 = 1 << 14;
/// Longest plan that is given in the environment, where a text may have 128 KiB \[bytes\].
const INLINE_MAX: usize = 64 << 10;
/// Most injections of a run that are kept.
const KEPT_MAX: usize = 1 << 20;
/// Between two looks.
const SOON: Duration = Duration::from_millis(2);
const LATER: Duration = Duration::from_millis(20);

/// What is run, and how.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) program: &'a OsStr,
    pub(super) args: &'a [OsString],
    /// Its output goes to a file, and it gets a process group.
    pub(super) apart: bool,
    pub(super) limit: Option<Duration>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Exit(i32),
    Signal(i32),
    /// It did not, in time.
    Late(Duration),
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exit(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }

    pub(super) fn is_well(self) -> bool {
        self == Self::Exit(0)
    }

    /// As a shell says it.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Exit(code) => u8::try_from(code).unwrap_or(u8::MAX),
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::Late(_) => 124,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Late(limit) => write!(f, "it had not ended after {} s", limit.as_secs_f32()),
        }
    }
}

/// Something that was done.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) record: InjectedRecord,
    /// What its file was called then.
    pub(super) file: Option<Arc<str>>,
}

impl Done {
    pub(super) fn injection(&self) -> Injection {
        let ring = RingId(self.record.ring).ordinal();
        Injection { ring, nth: self.record.nth, rule: self.record.act.rule }
    }
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) ended: Ended,
    /// What was done, in order within each process.
    pub(super) done: Vec<Done>,
    /// Whether any process had a ring of ours.
    pub(super) had_rings: bool,
    /// Some of what was done is not in `done`.
    pub(super) more: bool,
    /// The end of what the program said, if it ran apart.
    pub(super) words: String,
}

impl Job<'_> {
    /// Runs the program under the plan.
    ///
    /// # Errors
    /// No folder, no program.
    pub(super) fn run(&self, plan: &Plan, until: &dyn Fn() -> bool) -> anyhow::Result<Ran> {
        let folder = trace::folder()?;
        let text = plan.to_string();
        // In the environment it reaches a program that becomes another user, too.
        let plan = if text.len() <= INLINE_MAX {
            text.into()
        } else {
            let file = folder.path().join("plan");
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            file.into_os_string()
        };
        let records = folder.path().join("trace");
        fs::create_dir(&records).with_context(|| format!("making {}", records.display()))?;
        let output = folder.path().join("output");
        let mut child = self.start(&folder, (&plan, &records, &output))?;
        let mut reader = Reader::default();
        let ended = self.follow(&mut child, &mut reader, &records, until)?;
        reader.drain(&records, true);
        let words = if self.apart { tail(&output) } else { String::new() };
        Ok(Ran {
            ended,
            had_rings: !reader.known.is_empty(),
            done: reader.done,
            more: reader.more,
            words,
        })
    }

    fn start(
        &self,
        folder: &TempDir,
        (plan, records, output): (&OsStr, &Path, &Path),
    ) -> anyhow::Result<Child> {
        let ringer = env::current_exe().context("finding this program")?;
        let mut command = Command::new(ringer);
        command.args(["run", "--native", "never", "--"]).arg(self.program);
        let mut scratch = None;
        for arg in self.args {
            command.arg(self.place(arg, folder.path(), &mut scratch)?);
        }
        command.env("RINGER_CHAOS", plan).env("RINGER_TRACE", records);
        command.env("RINGER_TRACE_REQUESTS", "0").env("RINGER_TRACE_SLOTS", SLOTS.to_string());
        if self.apart {
            let out =
                File::create(output).with_context(|| format!("making {}", output.display()))?;
            command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
        }
        command.spawn().map_err(|e| Refusal::ours("cannot start the program", e.to_string()).into())
    }

    /// The argument, `{}` in it being a folder of this run alone.
    fn place(
        &self,
        arg: &OsStr,
        folder: &Path,
        made: &mut Option<PathBuf>,
    ) -> io::Result<OsString> {
        let bytes = arg.as_bytes();
        let Some(at) = bytes.windows(2).position(|two| two == b"{}") else {
            return Ok(arg.to_owned());
        };
        let scratch = match made {
            Some(path) => path,
            None => {
                let path = folder.join("scratch");
                fs::create_dir(&path)?;
                made.insert(path)
            }
        };
        let (before, rest) = bytes.split_at(at);
        let mut whole = OsStr::from_bytes(before).to_owned();
        whole.push(&*scratch);
        whole.push(OsStr::from_bytes(rest.get(2..).unwrap_or_default()));
        Ok(whole)
    }

    fn follow(
        &self,
        child: &mut Child,
        reader: &mut Reader,
        records: &Path,
        until: &dyn Fn() -> bool,
    ) -> anyhow::Result<Ended> {
        let started = Instant::now();
        // A single run is for who sits at it: what reaches us is handed on.
        let held = (!self.apart).then(signals::Held::hold);
        let mut pause = SOON;
        loop {
            let over = has_ended(child);
            let found = reader.drain(records, false);
            if over {
                // Before its number may be another's.
                self.end_group(child);
                return Ok(Ended::of(child.wait().context("waiting for the program")?));
            }
            let late = self.limit.filter(|limit| started.elapsed() > *limit);
            if late.is_some() || until() {
                self.end_group(child);
                child.kill().context("ending the program")?;
                let _ = child.wait();
                return Ok(Ended::Late(late.unwrap_or_default()));
            }
            pause = if found { SOON } else { (pause * 2).min(LATER) };
            match &held {
                None => std::thread::sleep(pause),
                Some(held) => {
                    if let Some(signal) = held.next(pause) {
                        signals::forward(child.id(), signal);
                    }
                }
            }
        }
    }

    /// Ends what the program left behind in its group.
    fn end_group(&self, child: &Child) {
        let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group.filter(|_| self.apart) {
            // Nobody may be left.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Whether it has, and is still to be waited for.
fn has_ended(child: &Child) -> bool {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), how), Ok(None)))
}

/// Reads what the processes of a run say was done.
#[derive(Debug, Default)]
struct Reader {
    known: HashSet<PathBuf>,
    sources: Vec<(Source, HashMap<i32, Arc<str>>)>,
    done: Vec<Done>,
    more: bool,
}

impl Reader {
    /// Whether there was something.
    fn drain(&mut self, folder: &Path, last: bool) -> bool {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if !self.known.contains(&path)
                && let Some(source) = Source::open(&path)
            {
                self.known.insert(path);
                self.sources.push((source, HashMap::new()));
            }
        }
        let mut found = false;
        for (source, names) in &mut self.sources {
            let mut take = |_, record| match record {
                Record::Name { number, text, .. } => {
                    names.insert(number, String::from_utf8_lossy(&text).into());
                }
                Record::Injected(record) if self.done.len() < KEPT_MAX => {
                    let file = names.get(&record.number).filter(|name| !name.is_empty()).cloned();
                    self.done.push(Done { record, file });
                }
                Record::Injected(_) => self.more = true,
                _ => {}
            };
            // A file that was cut tells no more; what it told stands.
            found |= source.drain(last, &mut take).unwrap_or(false);
        }
        found
    }
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    const LINES: usize = 12;
    const BYTES: u64 = 8192;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let len = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(len.saturating_sub(BYTES)))?;
        file.take(BYTES).read_to_end(&mut bytes)
    });
    // Without it there is nothing to show.
    let _ = read;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or(&[]).join("\n")
}
