//! Reads what `--stats` left: the lines, and the counters of processes that could not write theirs.
//!
//! ```text
//!   FILE          {"event":"start"|"exit"|"native", "pid", "exe", ...}     a line each
//!   FILE.PID[.N]  u64 words, mapped by the process; removed by its exit line, so that one of a
//!                 process that is gone is the account of a killed one, or of an image that an
//!                 exec replaced
//! ```
//!
//! What it does not do: change either.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ringer_engine::stats as layout;
use ringer_engine::support::refusal;
use serde_json::{Value, json};

use crate::cli::StatsArgs;

/// How every line begins.
const LINE_START: &str = "{\"event\":";

/// Counts by opcode name.
pub(crate) type ByOpcode = BTreeMap<String, u64>;

/// What was counted of one process, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests.
    pub(crate) requests: ByOpcode,
    /// Those that ended with an error.
    pub(crate) failed: ByOpcode,
    /// What was asked for and is not carried out, by the name of its row.
    pub(crate) refused: ByOpcode,
    /// Rings made.
    pub(crate) rings: u64,
    /// Calls of io_uring_enter.
    pub(crate) enters: u64,
    /// Inline calls that came by a trap.
    pub(crate) traps: u64,
    /// Sites of inline calls that do not trap any more.
    pub(crate) patched: u64,
    /// io_uring calls that reached the kernel.
    pub(crate) native: u64,
}

impl Counts {
    /// All requests. A file may say anything: sums end at the largest number.
    pub(crate) fn total(&self) -> u64 {
        self.requests.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.requests, &other.requests),
            (&mut self.failed, &other.failed),
            (&mut self.refused, &other.refused),
        ] {
            for (name, n) in theirs {
                let mine = mine.entry(name.clone()).or_default();
                *mine = mine.saturating_add(*n);
            }
        }
        self.rings = self.rings.saturating_add(other.rings);
        self.enters = self.enters.saturating_add(other.enters);
        self.traps = self.traps.saturating_add(other.traps);
        self.patched = self.patched.saturating_add(other.patched);
        self.native = self.native.saturating_add(other.native);
    }

    fn of_line(line: &Value) -> Self {
        let by_opcode = |key: &str| {
            let rows = line[key].as_object().into_iter().flatten();
            rows.map(|(name, n)| (name.clone(), n.as_u64().unwrap_or(0))).collect()
        };
        let number = |key: &str| line[key].as_u64().unwrap_or(0);
        Self {
            requests: by_opcode("requests"),
            failed: by_opcode("errors"),
            refused: by_opcode("refused"),
            rings: number("rings"),
            enters: number("enters"),
            traps: number("traps"),
            patched: number("patched"),
            native: number("native_calls"),
        }
    }

    /// From the words of a counters file; `None` if it is none.
    fn of_words(words: &[u64]) -> Option<Self> {
        let word = |i: usize| words.get(i).copied();
        if word(0)? != layout::MAGIC {
            return None;
        }
        let by_opcode = |base: usize| {
            let rows = layout::opcode_names().zip(words.get(base..).unwrap_or(&[]));
            rows.filter(|(_, n)| **n > 0).map(|(name, n)| (name.to_owned(), *n)).collect()
        };
        let refused = refusal::names().zip(words.get(layout::REFUSED..).unwrap_or(&[]));
        Some(Self {
            requests: by_opcode(layout::REQUESTS),
            failed: by_opcode(layout::FAILED),
            refused: refused
                .filter(|(_, n)| **n > 0)
                .map(|(name, n)| (name.key().to_string(), *n))
                .collect(),
            rings: word(layout::RINGS)?,
            enters: word(layout::ENTERS)?,
            traps: word(layout::TRAPS)?,
            patched: word(layout::PATCHED)?,
            native: word(layout::NATIVE)?,
        })
    }

    fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "errors": self.failed,
            "refused": self.refused,
            "rings": self.rings,
            "enters": self.enters,
            "traps": self.traps,
            "patched": self.patched,
            "native_calls": self.native,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.requests.is_empty() {
            f.write_str("no requests, ")?;
        }
        for (name, count) in &self.requests {
            write!(f, "{count} {name}")?;
            match self.failed.get(name) {
                Some(failed) => write!(f, " ({failed} failed), ")?,
                None => f.write_str(", ")?,
            }
        }
        write!(f, "{} native io_uring calls", self.native)?;
        for (i, (key, count)) in self.refused.iter().enumerate() {
            let start = if i == 0 { "; refused:" } else { "," };
            let row = refusal::names().find(|name| name.key().to_string() == *key);
            let name = row.map_or_else(|| key.clone(), |name| name.to_string());
            write!(f, "{start} {count} {name}")?;
        }
        Ok(())
    }
}

/// How far a process got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It wrote its exit line.
    Ended,
    /// It is still there.
    Running,
    /// It is gone without an exit line: killed, or replaced by exec.
    Killed,
    /// `ringer run` left it to the kernel; nothing was counted.
    Native,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Running => "running",
            Self::Killed => "killed",
            Self::Native => "native",
        }
    }
}

/// One process that had a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u64,
    /// Its program.
    pub(crate) exe: String,
    /// How far it got.
    pub(crate) state: State,
    /// What was counted.
    pub(crate) counts: Counts,
}

/// `ringer stats FILE`: a line for each process and their sum, or JSON.
pub(crate) fn stats(args: &StatsArgs) -> anyhow::Result<u8> {
    let processes = read(&args.file)?;
    let sum = sum(&processes);
    let mut out = io::stdout().lock();
    if args.json {
        let row = |p: &Process| {
            let mut row = p.counts.json();
            row["pid"] = p.pid.into();
            row["exe"] = p.exe.clone().into();
            row["state"] = p.state.word().into();
            row
        };
        let rows: Vec<Value> = processes.iter().map(row).collect();
        writeln!(out, "{:#}", json!({ "processes": rows, "total": sum.json() }))?;
        return Ok(0);
    }
    for p in &processes {
        writeln!(out, "{:>8}  {:<8} {}: {}", p.pid, p.state.word(), p.exe, p.counts)?;
    }
    writeln!(out, "{:>8}  {} processes: {sum}", "total", processes.len())?;
    Ok(0)
}

/// The counts of all processes together.
pub(crate) fn sum(processes: &[Process]) -> Counts {
    let mut all = Counts::default();
    for process in processes {
        all.add(&process.counts);
    }
    all
}

/// All processes that a file tells of, in the order they began.
///
/// # Errors
/// The file, or one beside it, can not be read; a line is no JSON and none that was cut.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Process>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut processes = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let said = whole(line)
            .with_context(|| format!("{}, line {} is no JSON", path.display(), number + 1))?;
        if let Some(value) = said {
            take_line(&mut processes, &value);
        }
    }
    for (pid, file) in counters_beside(path)? {
        let Some(counts) = read_words(&file).as_deref().and_then(Counts::of_words) else {
            continue;
        };
        let state = if alive(pid) { State::Running } else { State::Killed };
        match open(&mut processes, pid) {
            Some(process) => *process = Process { state, counts, ..process.clone() },
            None => processes.push(Process { pid, exe: "?".into(), state, counts }),
        }
    }
    Ok(processes)
}

/// What a line says, without what a killed process began in it: the kernel may end a write between
/// two pages of the file, and the next process goes on in the same line. `None`: nothing is whole.
/// What the killed one did is in its counters all the same.
fn whole(line: &str) -> serde_json::Result<Option<Value>> {
    let broken = match serde_json::from_str(line) {
        Ok(value) => return Ok(Some(value)),
        Err(e) => e,
    };
    match line.rfind(LINE_START) {
        Some(at) => Ok(line.get(at..).and_then(|l| serde_json::from_str(l).ok())),
        None if LINE_START.starts_with(line) => Ok(None),
        None => Err(broken),
    }
}

fn take_line(processes: &mut Vec<Process>, line: &Value) {
    let pid = line["pid"].as_u64().unwrap_or(0);
    let exe = line["exe"].as_str().unwrap_or("?").to_owned();
    let state = match line["event"].as_str() {
        Some("exit") => State::Ended,
        Some("native") => State::Native,
        Some(_) | None => State::Killed,
    };
    let counts = Counts::of_line(line);
    match open(processes, pid).filter(|_| state == State::Ended) {
        Some(process) => *process = Process { pid, exe, state, counts },
        None => processes.push(Process { pid, exe, state, counts }),
    }
}

/// The oldest process of this number that no account has been found for yet.
fn open(processes: &mut [Process], pid: u64) -> Option<&mut Process> {
    processes
        .iter_mut()
        .find(|p| p.pid == pid && p.state == State::Killed && p.counts == Counts::default())
}

/// `FILE.PID` and `FILE.PID.N` beside `FILE`, oldest first.
fn counters_beside(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stem = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(&stem) else { continue };
        let mut numbers = rest.split('.').map(str::parse::<u64>);
        if let (Some(Ok(pid)), second) = (numbers.next(), numbers.next()) {
            found.push((pid, second.and_then(Result::ok).unwrap_or(0), entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(pid, _, path)| (pid, path)).collect())
}

fn read_words(path: &Path) -> Option<Vec<u64>> {
    // A FIFO or a link in a counters file's place is none of ours.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() != layout::LEN as u64 {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(layout::LEN as u64).read_to_end(&mut bytes).ok()?;
    let words = bytes.chunks_exact(8);
    Some(words.map(|w| u64::from_le_bytes(w.try_into().expect("chunks of eight"))).collect())
}

fn alive(pid: u64) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above every process number.
    const GONE: u64 = 1 << 40;

    fn words(pid: u64, opcode: usize, n: u64) -> Vec<u8> {
        let mut words = vec![0_u64; layout::LEN / 8];
        words[0] = layout::MAGIC;
        words[1] = pid;
        words[layout::RINGS] = 1;
        words[layout::REQUESTS + opcode] = n;
        words[layout::REFUSED + 58] = 2;
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    fn file(lines: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.jsonl");
        fs::write(&path, lines).unwrap();
        (folder, path)
    }

    #[test]
    fn a_start_and_an_end_are_one_process() {
        let (_keep, path) = file(
            "{\"event\":\"start\",\"pid\":7,\"exe\":\"/a\"}\n\
             {\"event\":\"exit\",\"pid\":7,\"exe\":\"/a\",\"rings\":1,\"requests\":{\"READ\":3},\
              \"errors\":{\"READ\":1},\"native_calls\":0}\n",
        );
        let [process] = &read(&path).unwrap()[..] else { panic!("one process") };
        assert_eq!((process.state, process.counts.total()), (State::Ended, 3));
        assert_eq!(process.counts.to_string(), "3 READ (1 failed), 0 native io_uring calls");
    }

    #[test]
    fn a_killed_process_keeps_its_counts() {
        let (_keep, path) = file(&format!(
            "{{\"event\":\"start\",\"pid\":{GONE},\"exe\":\"/killed\"}}\n\
             {{\"event\":\"exit\",\"pid\":7,\"exe\":\"/a\",\"requests\":{{\"READ\":3}}}}\n"
        ));
        fs::write(path.with_file_name(format!("s.jsonl.{GONE}")), words(GONE, 1, 5)).unwrap();
        let all = read(&path).unwrap();
        assert_eq!(all.len(), 2);
        let killed = &all[0];
        assert_eq!((killed.exe.as_str(), killed.state), ("/killed", State::Killed));
        assert_eq!(killed.counts.requests["READV"], 5);
        assert_eq!(killed.counts.refused["RECV_ZC"], 2);
        assert_eq!(sum(&all).total(), 8);
    }

    #[test]
    fn what_was_refused_is_named_with_its_errno() {
        let (_keep, path) = file(
            "{\"event\":\"exit\",\"pid\":7,\"exe\":\"/a\",\"requests\":{\"RECV_ZC\":12},\
              \"errors\":{\"RECV_ZC\":12},\"refused\":{\"RECV_ZC\":12,\"unknown in Opcodes\":1}}\n",
        );
        let [process] = &read(&path).unwrap()[..] else { panic!("one process") };
        let want = "12 RECV_ZC (12 failed), 0 native io_uring calls; \
                    refused: 12 RECV_ZC (EINVAL), 1 unknown in Opcodes";
        assert_eq!(process.counts.to_string(), want);
    }

    #[test]
    fn counters_of_a_replaced_image_come_first() {
        let (_keep, path) =
            file(&format!("{{\"event\":\"start\",\"pid\":{GONE},\"exe\":\"/a\"}}\n"));
        fs::write(path.with_file_name(format!("s.jsonl.{GONE}.1")), words(GONE, 0, 2)).unwrap();
        fs::write(path.with_file_name(format!("s.jsonl.{GONE}")), words(GONE, 0, 1)).unwrap();
        let all = read(&path).unwrap();
        let counts: Vec<_> = all.iter().map(|p| (p.exe.as_str(), p.counts.total())).collect();
        assert_eq!(counts, [("/a", 1), ("?", 2)]);
    }

    #[test]
    fn other_files_beside_it_are_left_alone() {
        let (_keep, path) = file("");
        fs::write(path.with_file_name("s.jsonl.bak"), "x").unwrap();
        fs::write(path.with_file_name("s.jsonl.12"), "not counters").unwrap();
        fs::write(path.with_file_name("s.jsonl.13"), vec![0; layout::LEN]).unwrap();
        assert_eq!(read(&path).unwrap(), []);
    }

    #[test]
    fn counts_that_nobody_can_have_made_add_up_to_the_largest() {
        let line = format!(
            "{{\"event\":\"exit\",\"pid\":7,\"rings\":{0},\"enters\":{0},\"native_calls\":{0},\
              \"requests\":{{\"READ\":{0},\"WRITE\":{0}}},\"errors\":{{\"READ\":{0}}}}}\n",
            u64::MAX
        );
        let (_keep, path) = file(&line.repeat(2));
        let all = read(&path).unwrap();
        let sum = sum(&all);
        assert_eq!((sum.total(), sum.rings, sum.native), (u64::MAX, u64::MAX, u64::MAX));
        assert_eq!((sum.requests["READ"], sum.failed["READ"]), (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_line_that_a_killed_process_left_unfinished_hides_nobody() {
        let whole = "{\"event\":\"exit\",\"pid\":7,\"exe\":\"/a\",\"rings\":1}";
        for cut in 0..whole.len() {
            let cut = &whole[..cut];
            let (_keep, path) = file(&format!("{cut}{whole}\n{whole}\n{cut}"));
            assert_eq!(sum(&read(&path).expect(cut)).rings, 2, "{cut}");
        }
    }

    #[test]
    fn a_line_that_is_no_json_is_named() {
        let (_keep, path) = file("{}\nnonsense\n");
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("line 2"));
    }
}
