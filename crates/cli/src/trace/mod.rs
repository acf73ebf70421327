//! `ringer trace`: every request of a program and of what it starts, a line each.
//!
//! ```text
//!   folder 0700 --RINGER_TRACE--> ringer run --native never -- PROG      (a child of ours)
//!      |                             | first ring of a process
//!      | PID, PID.1, ...  <----------' makes its buffer and writes records
//!      '-> source (bytes -> records) -> join (-> events) -> filter -> show, table, perfetto
//! ```
//! Everything is drained while the program runs; at its end once more, and what is open then was in
//! flight. A process that outlives the program is not followed further. What this does not do: look at
//! the program's memory (the program's own process does, and data only if asked), or slow a program down
//! that writes faster than lines can be printed: records are lost then, and how many is said.

mod bytes;
pub(crate) mod entry;
mod filter;
mod join;
mod perfetto;
mod running;
mod show;
pub(crate) mod source;
mod table;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use ringer_engine::trace::buffer::{self, CalledRecord, ToldRecord};
use serde_json::json;
use tempfile::TempDir;

use crate::cli::TraceArgs;
use crate::os::signals;
use crate::refusal::Refusal;
use crate::{os, run, stats};

use filter::Filter;
use join::{Event, Listener, Process, Request};
use perfetto::Perfetto;
use source::Source;
use table::Table;

/// The variable by which the library learns of the folder.
const VARIABLE: &str = "RINGER_TRACE";
/// The variable that says how many slots a buffer has.
const SLOTS: &str = "RINGER_TRACE_SLOTS";
/// The variables that say how much is kept of what requests read and write, and whether only its length.
const DATA: &str = "RINGER_TRACE_DATA";
const REDACT: &str = "RINGER_TRACE_REDACT";
/// Where the folder is made if it can be: memory, so that nothing is written to a disk.
const MEMORY: &str = "/dev/shm";
/// Between two looks when there is something to see, and at most.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(20);
/// Most buffers of one trace.
const SOURCES_MAX: usize = 4096;

/// Runs the program to its end; its exit status, or 128 and the signal that ended it.
///
/// # Errors
/// 125: an option makes no sense, the output or the folder cannot be made, the program not be started.
pub(crate) fn trace(args: &TraceArgs) -> anyhow::Result<u8> {
    os::hold_standard_descriptors();
    run::refuse_elevated()?;
    let filter = Filter::of(args)?;
    let out = output(args)?;
    let perfetto = args.perfetto.as_deref().map(file).transpose()?.map(Perfetto::new);
    let folder = folder()?;
    let mut session = Session {
        args,
        filter,
        out,
        table: Table::default(),
        perfetto,
        processes: Vec::new(),
        known: HashSet::new(),
        begun: 0,
        alone: 0,
        start_ns: None,
        ended: Totals::default(),
        broken: None,
    };
    if let Some(pid) = args.pid {
        session.follow_running(pid)?;
        session.finish()?;
        return Ok(0);
    }
    let status = os::with_children(|| -> anyhow::Result<ExitStatus> {
        let mut child = start(args, folder.path())?;
        let signals = signals::Held::hold();
        session.follow(&mut child, &signals, folder.path())
    })?;
    session.finish()?;
    Ok(code_of(status))
}

fn start(args: &TraceArgs, folder: &Path) -> anyhow::Result<Child> {
    let ringer = env::current_exe().context("finding this program")?;
    let slots = slots(args);
    Command::new(ringer)
        .args(["run", "--native", "never", "--"])
        .args(&args.program)
        .args(&args.args)
        .env(VARIABLE, folder)
        .env(SLOTS, slots.to_string())
        .env(DATA, args.data.to_string())
        .env(REDACT, if args.redact { "1" } else { "0" })
        .spawn()
        .map_err(|e| Refusal::ours("cannot start the program", e.to_string()).into())
}

/// Slots of a process's buffer.
fn slots(args: &TraceArgs) -> u64 {
    (args.buffer * 1024 / buffer::SLOT as u64).next_power_of_two()
}

/// A status as a shell says it: 128 and the signal that ended it.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// A folder that nobody else can look into, in memory if possible.
pub(crate) fn folder() -> Result<TempDir, Refusal> {
    let make = |place: &Path| {
        tempfile::Builder::new()
            .prefix("ringer-trace-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(place)
    };
    make(Path::new(MEMORY)).or_else(|_| make(&env::temp_dir())).map_err(|e| {
        let what = format!("cannot make a folder in {MEMORY} or {}", env::temp_dir().display());
        Refusal::ours(what, e.to_string()).fix("TMPDIR=a folder that you may write to")
    })
}

fn output(args: &TraceArgs) -> Result<Box<dyn Write>, Refusal> {
    match &args.output {
        None => Ok(Box::new(BufWriter::new(io::stderr()))),
        Some(path) => file(path),
    }
}

/// A file that nobody else can read: what a program reads and writes is in it.
///
/// # Errors
/// 125: see [`stats::create`]; or its mode cannot be changed.
pub(crate) fn file(path: &Path) -> Result<Box<dyn Write>, Refusal> {
    let file = stats::create(path)?.into_empty()?;
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(|e| {
        Refusal::ours(format!("cannot hide {} from others", path.display()), e.to_string())
    })?;
    Ok(Box::new(BufWriter::new(file)))
}

/// What is said at the end.
#[derive(Debug, Default)]
struct Totals {
    processes: u64,
    requests: u64,
    lost_requests: u64,
    lost_completions: u64,
    /// Data, what requests point to, calls.
    lost_others: u64,
    torn: u64,
    strays: u64,
}

/// A trace under way.
struct Session<'a> {
    args: &'a TraceArgs,
    filter: Filter,
    out: Box<dyn Write>,
    table: Table,
    perfetto: Option<Perfetto>,
    processes: Vec<Traced>,
    known: HashSet<PathBuf>,
    /// Processes so far.
    begun: u64,
    /// Completions of no request.
    alone: u64,
    /// When the first buffer was made.
    start_ns: Option<u64>,
    ended: Totals,
    /// Why the output takes no more.
    broken: Option<io::Error>,
}

/// A process with a buffer.
#[derive(Debug)]
struct Traced {
    source: Source,
    process: Process,
    /// It could be looked for by its number: it is in our pid namespace.
    was_seen: bool,
}

impl Session<'_> {
    /// Drains until the program ends.
    fn follow(
        &mut self,
        child: &mut Child,
        signals: &signals::Held,
        folder: &Path,
    ) -> anyhow::Result<ExitStatus> {
        let mut pause = SOON;
        loop {
            let ended = child.try_wait().context("waiting for the program")?;
            self.look_for_buffers(folder);
            let found = self.drain(ended.is_some());
            if let Some(status) = ended {
                return Ok(status);
            }
            if let Err(e) = self.out.flush() {
                self.broken.get_or_insert(e);
            }
            pause = if found { SOON } else { (pause * 2).min(LATER) };
            if let Some(signal) = signals.next(pause) {
                signals::forward(child.id(), signal);
            }
        }
    }

    fn look_for_buffers(&mut self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten().take(SOURCES_MAX) {
            let path = entry.path();
            if self.known.contains(&path) || self.processes.len() >= SOURCES_MAX {
                continue;
            }
            if let Some(source) = Source::open(&path) {
                self.known.insert(path);
                self.start_ns.get_or_insert(source.born_ns);
                let was_seen = source.is_alive();
                let traced = self.begin(source, was_seen);
                self.processes.push(traced);
            }
        }
    }

    fn begin(&mut self, source: Source, was_seen: bool) -> Traced {
        self.begun += 1;
        let process = Process::new(self.begun, source.pid);
        if let Some(perfetto) = &mut self.perfetto {
            perfetto.process(self.begun, source.pid, &source.program());
        }
        Traced { source, process, was_seen }
    }

    /// Takes what is there of every process. `last`: the program is over.
    fn drain(&mut self, last: bool) -> bool {
        let mut found = false;
        let mut running = Vec::new();
        for mut traced in std::mem::take(&mut self.processes) {
            // Asked before the last look, so that nothing is written after it.
            let over = last || traced.was_seen && !traced.source.is_alive();
            found |= self.drain_one(&mut traced, over);
            if over {
                self.end(traced);
            } else {
                running.push(traced);
            }
        }
        self.processes = running;
        found
    }

    fn drain_one(&mut self, traced: &mut Traced, over: bool) -> bool {
        let Traced { source, process, .. } = traced;
        let mut take = |position, record| process.take(position, record, self);
        // A file that was cut tells no more; what it told stands.
        source.drain(over, &mut take).unwrap_or(false)
    }

    fn end(&mut self, mut traced: Traced) {
        traced.process.end(self);
        let (requests, completions, others) = traced.source.lost();
        if let Some(perfetto) = &mut self.perfetto {
            let lost = requests.saturating_add(completions).saturating_add(others);
            perfetto.ended(traced.process.serial, traced.source.born_ns, lost);
        }
        let ended = &mut self.ended;
        ended.processes += 1;
        ended.requests = ended.requests.saturating_add(traced.process.requests);
        ended.strays = ended.strays.saturating_add(traced.process.strays);
        ended.torn = ended.torn.saturating_add(traced.source.torn);
        ended.lost_requests = ended.lost_requests.saturating_add(requests);
        ended.lost_completions = ended.lost_completions.saturating_add(completions);
        ended.lost_others = ended.lost_others.saturating_add(others);
        self.known.remove(&traced.source.remove());
    }

    fn tell(&mut self, event: &Event<'_>) {
        let (chosen, slow) = (self.filter.has(event), self.filter.is_slow(event));
        if let Some(perfetto) = &mut self.perfetto {
            perfetto.told(event, chosen && slow);
        }
        if !chosen {
            return;
        }
        if self.args.count {
            self.table.add(event);
        } else if self.tells_lines() && self.broken.is_none() && slow {
            let start_ns = self.start_ns.unwrap_or(0);
            let written = if self.args.json {
                writeln!(self.out, "{}", show::json(event, start_ns))
            } else {
                writeln!(self.out, "{}", show::text(event, start_ns))
            };
            self.broken = written.err();
        }
    }

    /// A line that belongs to no request.
    fn line(&mut self, line: impl FnOnce(u64, bool) -> String) {
        let tells = self.tells_lines() && !self.args.count && self.filter.has_calls();
        if tells && self.broken.is_none() {
            let line = line(self.start_ns.unwrap_or(0), self.args.json);
            self.broken = writeln!(self.out, "{line}").err();
        }
    }

    fn program(&self) -> Vec<String> {
        let words = self.args.program.iter().chain(&self.args.args);
        words.map(|w| w.to_string_lossy().into_owned()).collect()
    }

    /// A timeline alone is enough for who asked for one alone.
    fn tells_lines(&self) -> bool {
        self.perfetto.is_none() || self.args.output.is_some() || self.args.json
    }

    /// The table, and what is to be said about the whole.
    fn finish(mut self) -> anyhow::Result<()> {
        if let Some(e) = self.broken.take() {
            return Err(e).context("writing the trace");
        }
        if self.args.count {
            self.table.print(&mut *self.out)?;
        }
        let t = &self.ended;
        if self.args.json {
            let end = json!({
                "event": "end",
                "program": self.program(),
                "filter": self.filter.said,
                "processes": t.processes,
                "requests": t.requests,
                "lost_requests": t.lost_requests,
                "lost_completions": t.lost_completions,
                "torn": t.torn,
                "strays": t.strays,
                "alone": self.alone,
                "lost_others": t.lost_others,
            });
            writeln!(self.out, "{end}")?;
        }
        self.out.flush().context("writing the trace")?;
        if let Some(perfetto) = self.perfetto.take() {
            let undrawn = perfetto.finish().context("writing the timeline")?;
            if undrawn > 0 {
                eprintln!(
                    "ringer: trace: {undrawn} requests are not in the timeline: too many rings"
                );
            }
        }
        self.warn();
        Ok(())
    }

    /// What a reader of the trace has to know.
    fn warn(&self) {
        let t = &self.ended;
        if t.processes == 0 {
            eprintln!(
                "ringer: trace: no process made a ring that ringer carries out; to see why: ringer doctor {}",
                self.args.program.as_deref().unwrap_or_default().to_string_lossy()
            );
        }
        if t.lost_requests > 0 || t.lost_completions > 0 {
            eprintln!(
                "ringer: trace: {} requests and {} completions were lost: they came faster than they \
                 could be written; of those in flight some may have ended. \
                 To lose fewer: -c, -e OP or --buffer KIB",
                t.lost_requests, t.lost_completions
            );
        }
        if t.lost_others > 0 {
            eprintln!(
                "ringer: trace: {} records of data, of what requests point to or of calls were lost. To lose \
                 fewer: --buffer KIB",
                t.lost_others
            );
        }
        if t.torn > 0 {
            eprintln!("ringer: trace: {} records were cut off by the end of their process", t.torn);
        }
        if t.strays > 0 {
            eprintln!("ringer: trace: {} completions of requests that are not known", t.strays);
        }
    }
}

impl Listener for Session<'_> {
    fn taken(&mut self, request: &Request) {
        if let Some(perfetto) = &mut self.perfetto {
            perfetto.taken(request);
        }
    }

    fn told(&mut self, event: &Event<'_>) {
        self.tell(event);
    }

    fn alone(&mut self, process: &Process, told: &ToldRecord) {
        self.alone = self.alone.saturating_add(1);
        if let Some(perfetto) = &mut self.perfetto {
            perfetto.alone(process.serial, told);
        }
        self.line(|start_ns, json| {
            if json {
                show::alone_json(process, told, start_ns).to_string()
            } else {
                show::alone(process, told, start_ns)
            }
        });
    }

    fn called(&mut self, process: &Process, called: &CalledRecord) {
        if let Some(perfetto) = &mut self.perfetto {
            perfetto.called(process.serial, called);
        }
        self.line(|start_ns, json| {
            if json {
                show::called_json(process, called, start_ns).to_string()
            } else {
                show::called(process, called, start_ns)
            }
        });
    }

    fn forgotten(&mut self, request: &Request) {
        if let Some(perfetto) = &mut self.perfetto {
            perfetto.forgotten(request);
        }
    }
}
