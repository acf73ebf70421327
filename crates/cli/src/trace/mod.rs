//! `ringer trace`: every request of a program and of what it starts, a line each.
//!
//! ```text
//!   folder 0700 --RINGER_TRACE--> ringer run --native never -- PROG      (a child of ours)
//!      |                             | first ring of a process
//!      | PID, PID.1, ...  <----------' makes its buffer and writes records
//!      '-> source (bytes -> records) -> join (-> events) -> filter -> show, table
//! ```
//! Everything is drained while the program runs; at its end once more, and what is open then was in
//! flight. A process that outlives the program is not followed further. What this does not do: keep
//! data (no buffer of the program is looked at), or slow a program down that writes faster than lines
//! can be printed: records are lost then, and how many is said.

pub(crate) mod entry;
mod join;
mod running;
mod show;
pub(crate) mod source;
mod table;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use ringer_engine::trace::buffer;
use serde_json::json;
use tempfile::TempDir;

use crate::cli::TraceArgs;
use crate::os::signals;
use crate::refusal::Refusal;
use crate::{os, run, stats};

use join::{Event, Process};
use source::Source;
use table::Table;

/// The variable by which the library learns of the folder.
const VARIABLE: &str = "RINGER_TRACE";
/// The variable that says how many slots a buffer has.
const SLOTS: &str = "RINGER_TRACE_SLOTS";
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
    let folder = folder()?;
    let mut session = Session {
        args,
        filter,
        out,
        table: Table::default(),
        processes: Vec::new(),
        known: HashSet::new(),
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
        .spawn()
        .map_err(|e| Refusal::ours("cannot start the program", e.to_string()).into())
}

/// Slots of a process's buffer.
fn slots(args: &TraceArgs) -> u64 {
    (args.buffer * 1024 / buffer::SLOT as u64).next_power_of_two()
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// A folder that nobody else can look into, in memory if possible.
pub(crate) fn folder() -> Result<TempDir, Refusal> {
    let make = |place: &Path| {
        tempfile::Builder::new()
            .prefix("ringer-trace-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
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
        Some(path) => Ok(Box::new(BufWriter::new(stats::create(path)?.into_empty()?))),
    }
}

/// Which events are told.
#[derive(Debug)]
struct Filter {
    /// Opcodes; empty: all.
    only: HashSet<u8>,
    slow_ns: u64,
}

impl Filter {
    fn of(args: &TraceArgs) -> Result<Self, Refusal> {
        let words = args.only.iter().flat_map(|list| list.split(','));
        let only = words.filter(|w| !w.is_empty()).map(opcode_of).collect::<Result<_, _>>()?;
        let slow = args.slow.unwrap_or(0.0);
        if !slow.is_finite() || slow < 0.0 {
            return Err(Refusal::ours("cannot trace", "--slow wants milliseconds, 0 or more"));
        }
        Ok(Self { only, slow_ns: (slow * 1e6) as u64 })
    }

    fn has(&self, event: &Event<'_>) -> bool {
        self.only.is_empty() || self.only.contains(&event.request.taken.sqe.opcode)
    }

    fn is_slow(&self, event: &Event<'_>) -> bool {
        event.latency_ns().is_none_or(|ns| ns >= self.slow_ns)
    }
}

fn opcode_of(word: &str) -> Result<u8, Refusal> {
    let name = word.trim().to_ascii_uppercase();
    let name = name.trim_start_matches("IORING_OP_");
    let rows = ringer_engine::opcode::OPDEFS.iter().zip(0..);
    let found = rows.filter(|(def, _)| def.name == name).map(|(_, opcode)| opcode).next();
    found.ok_or_else(|| {
        Refusal::ours(format!("cannot trace {word}"), "no opcode has that name")
            .fix("ringer doctor --support lists them")
    })
}

/// What is said at the end.
#[derive(Debug, Default)]
struct Totals {
    processes: u64,
    requests: u64,
    lost_requests: u64,
    lost_completions: u64,
    torn: u64,
    strays: u64,
}

/// A trace under way.
struct Session<'a> {
    args: &'a TraceArgs,
    filter: Filter,
    out: Box<dyn Write>,
    table: Table,
    processes: Vec<Traced>,
    known: HashSet<PathBuf>,
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
                let (process, was_seen) = (Process::new(source.pid), source.is_alive());
                self.processes.push(Traced { source, process, was_seen });
            }
        }
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
        let mut take = |position, record| {
            process.take(position, record, &mut |event| self.tell(event));
        };
        // A file that was cut tells no more; what it told stands.
        source.drain(over, &mut take).unwrap_or(false)
    }

    fn end(&mut self, mut traced: Traced) {
        traced.process.end(&mut |event| self.tell(event));
        let (requests, completions) = traced.source.lost();
        let ended = &mut self.ended;
        ended.processes += 1;
        ended.requests = ended.requests.saturating_add(traced.process.requests);
        ended.strays = ended.strays.saturating_add(traced.process.strays);
        ended.torn = ended.torn.saturating_add(traced.source.torn);
        ended.lost_requests = ended.lost_requests.saturating_add(requests);
        ended.lost_completions = ended.lost_completions.saturating_add(completions);
        self.known.remove(&traced.source.remove());
    }

    fn tell(&mut self, event: &Event<'_>) {
        if !self.filter.has(event) {
            return;
        }
        if self.args.count {
            self.table.add(event);
        } else if self.broken.is_none() && self.filter.is_slow(event) {
            let start_ns = self.start_ns.unwrap_or(0);
            let written = if self.args.json {
                writeln!(self.out, "{}", show::json(event, start_ns))
            } else {
                writeln!(self.out, "{}", show::text(event, start_ns))
            };
            self.broken = written.err();
        }
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
                "processes": t.processes,
                "requests": t.requests,
                "lost_requests": t.lost_requests,
                "lost_completions": t.lost_completions,
                "torn": t.torn,
                "strays": t.strays,
            });
            writeln!(self.out, "{end}")?;
        }
        self.out.flush().context("writing the trace")?;
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
        if t.torn > 0 {
            eprintln!("ringer: trace: {} records were cut off by the end of their process", t.torn);
        }
        if t.strays > 0 {
            eprintln!("ringer: trace: {} completions of requests that are not known", t.strays);
        }
    }
}
