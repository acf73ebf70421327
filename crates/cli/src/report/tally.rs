//! What the lines of a trace add up to.
//!
//! ```text
//!  line -> ops[name]      requests, errors, ways, a histogram of latencies
//!       -> files[class]   registered against plain, ways of the plain ones
//!       -> spans          from when to when: what was in flight
//!       -> slowest, errors, rings
//! ```
//! All of it is bounded, whatever the file holds: names beyond the bound share a row. A multishot
//! request has no latency here, as it lasts as long as it is wanted. What this does not do: draw, or
//! know what is good.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use hdrhistogram::Histogram;

use super::line::{End, Line, Told};

/// Most rows of a table that the trace's names make.
const NAMES_MAX: usize = 512;
/// Most files, processes and rings.
const FILES_MAX: usize = 1 << 14;
/// Most ways of a file's requests.
const WAYS_MAX: usize = 64;
/// Most requests whose span is kept.
const SPANS_MAX: usize = 1 << 22;
/// How many of the slowest are shown.
const SLOWEST: usize = 20;
/// The row of names beyond the bound.
const REST: &str = "(others)";

/// One opcode.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) in_flight: u64,
    /// Requests with more than one completion.
    pub(super) multishot: u64,
    pub(super) completions: u64,
    pub(super) bytes: u64,
    /// By the word for it.
    pub(super) ways: BTreeMap<String, u64>,
    /// Of requests with one completion \[ns\].
    pub(super) latency: Histogram<u64>,
    /// The same of those that waited for a disk.
    pub(super) disk: Histogram<u64>,
    /// The same of those that finished at once.
    pub(super) inline: Histogram<u64>,
    pub(super) total_ns: u64,
}

impl Default for Op {
    fn default() -> Self {
        Self {
            requests: 0,
            errors: 0,
            in_flight: 0,
            multishot: 0,
            completions: 0,
            bytes: 0,
            ways: BTreeMap::new(),
            latency: histogram(),
            disk: histogram(),
            inline: histogram(),
            total_ns: 0,
        }
    }
}

/// Two digits: what is shown has three, and a hundredth is less than what repeats.
fn histogram() -> Histogram<u64> {
    Histogram::new(2).unwrap_or_else(|_| unreachable!("two digits are allowed"))
}

/// It grows as it must; what no histogram holds (292 years) is not counted.
fn record(histogram: &mut Histogram<u64>, ns: u64) {
    let _ = histogram.record(ns.max(1));
}

/// A file, or all sockets or pipes of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct FileUse {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) fixed: u64,
    pub(super) bytes: u64,
    /// Ways of requests on plain descriptors, by opcode.
    pub(super) plain: BTreeMap<(String, String), u64>,
    /// Descriptors and slots, a few.
    pub(super) numbers: BTreeSet<(bool, i64)>,
    /// Whether there were more.
    pub(super) more_numbers: bool,
}

/// One of the slowest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slow {
    pub(super) latency_ns: u64,
    pub(super) submitted_ns: u64,
    pub(super) pid: u64,
    pub(super) ring: u64,
    pub(super) id: u64,
    pub(super) op: String,
    pub(super) file: String,
    pub(super) what: String,
    pub(super) res: String,
    pub(super) how: String,
}

/// A ring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RingUse {
    pub(super) requests: u64,
    pub(super) overflows: u64,
}

/// See the module's doc.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) lines: u64,
    pub(super) malformed: u64,
    pub(super) others: u64,
    /// Completions of no request.
    pub(super) alone: u64,
    /// Calls that are no submission, and how many of them failed.
    pub(super) calls: BTreeMap<String, (u64, u64)>,
    pub(super) end: Option<End>,
    pub(super) ops: BTreeMap<String, Op>,
    pub(super) files: HashMap<(u64, String), FileUse>,
    pub(super) rings: BTreeMap<(u64, u64, u64), RingUse>,
    pub(super) errors: BTreeMap<(String, String), u64>,
    /// Submission and end of requests \[ns\].
    pub(super) spans: Vec<(u64, Option<u64>)>,
    /// Requests whose span was not kept.
    pub(super) more_spans: u64,
    /// When the last thing happened \[ns\].
    pub(super) last_ns: u64,
    pub(super) first_ns: Option<u64>,
    slowest: BinaryHeap<Reverse<Slow>>,
    /// Submissions of multishot requests that go on.
    shots: HashMap<(u64, u64), u64>,
}

impl Tally {
    /// Takes a line.
    pub(super) fn add(&mut self, line: Line) {
        self.lines += 1;
        match line {
            Line::Malformed => self.malformed += 1,
            Line::Other => self.others += 1,
            Line::Alone => self.alone += 1,
            Line::Call(call) => {
                let name = room(&self.calls, &call.name(), NAMES_MAX);
                let (calls, errors) = self.calls.entry(name).or_default();
                *calls += 1;
                *errors += u64::from(call.error.is_some());
            }
            Line::End(end) => self.end = Some(end),
            Line::Told(told) => self.told(&told),
        }
    }

    /// The slowest, the worst first.
    pub(super) fn slowest(&self) -> Vec<&Slow> {
        let mut all: Vec<&Slow> = self.slowest.iter().map(|Reverse(s)| s).collect();
        all.sort_by(|a, b| b.cmp(a));
        all
    }

    /// From the first submission to the last thing that happened \[ns\].
    pub(super) fn duration_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns.unwrap_or(0))
    }

    /// Requests that were told.
    pub(super) fn requests(&self) -> u64 {
        self.ops.values().map(|op| op.requests).sum()
    }

    fn told(&mut self, told: &Told) {
        let (begun, ended) = (told.submitted_ns(), told.ended_ns());
        self.last_ns = self.last_ns.max(ended.unwrap_or(begun));
        self.first_ns = Some(self.first_ns.map_or(begun, |first| first.min(begun)));
        let (first, last) = (told.event == "request", told.state != "more");
        let name = room(&self.ops, &told.op, NAMES_MAX);
        self.ops.entry(name).or_default().add(told, first, last);
        self.ring(told, first);
        if let Some(error) = told.error.as_ref().filter(|_| told.state != "more") {
            let mut key = (told.op.clone(), error.clone());
            if self.errors.len() >= NAMES_MAX && !self.errors.contains_key(&key) {
                key = (REST.into(), REST.into());
            }
            *self.errors.entry(key).or_default() += 1;
        }
        if first {
            self.file(told);
        }
        self.span(told, last);
        if last && told.shot == 0 {
            self.slow(told);
        }
    }

    fn ring(&mut self, told: &Told, first: bool) {
        let key = (told.process, told.pid, told.ring);
        if self.rings.len() < FILES_MAX || self.rings.contains_key(&key) {
            let ring = self.rings.entry(key).or_default();
            ring.requests += u64::from(first);
            ring.overflows += u64::from(told.overflow);
        }
    }

    fn file(&mut self, told: &Told) {
        let Some(file) = told.file.as_deref() else { return };
        let mut key = (told.process, class(file));
        if self.files.len() >= FILES_MAX && !self.files.contains_key(&key) {
            key.1 = REST.into();
        }
        let usage = self.files.entry(key).or_default();
        usage.requests += 1;
        usage.fixed += u64::from(told.fixed);
        usage.errors += u64::from(told.error.is_some());
        usage.bytes = usage.bytes.saturating_add(moved(told));
        if let Some(fd) = told.fd {
            let number = (told.fixed, fd);
            let full = usage.numbers.len() >= 4 && !usage.numbers.contains(&number);
            usage.more_numbers |= full;
            if !full {
                usage.numbers.insert(number);
            }
        }
        let way = (told.op.clone(), told.how.clone().unwrap_or_default());
        if !told.fixed && (usage.plain.len() < WAYS_MAX || usage.plain.contains_key(&way)) {
            *usage.plain.entry(way).or_default() += 1;
        }
    }

    fn span(&mut self, told: &Told, last: bool) {
        let key = (told.process, told.id);
        if !last {
            if self.shots.len() < FILES_MAX {
                self.shots.insert(key, told.submitted_ns());
            }
            return;
        }
        let begun = self.shots.remove(&key).unwrap_or_else(|| told.submitted_ns());
        if self.spans.len() < SPANS_MAX {
            self.spans.push((begun, told.ended_ns()));
        } else {
            self.more_spans += 1;
        }
    }

    fn slow(&mut self, told: &Told) {
        let Some(latency_ns) = told.latency_ns else { return };
        let full = self.slowest.len() >= SLOWEST;
        if full && self.slowest.peek().is_some_and(|Reverse(s)| s.latency_ns >= latency_ns) {
            return;
        }
        let number = |name: &str| told.args.as_ref().and_then(|a| a.get(name)?.as_i64());
        let fd = told.fd.filter(|_| told.file.is_some());
        let what = [("fd", fd), ("len", number("len")), ("off", number("off"))];
        let what = what.iter().filter_map(|(name, n)| n.map(|n| format!("{name}={n}")));
        let points = told.points_to.iter().flatten();
        let points = points.filter_map(|(name, said)| Some(format!("{name}={}", said.as_str()?)));
        let what = points.chain(what);
        self.slowest.push(Reverse(Slow {
            latency_ns,
            submitted_ns: told.submitted_ns(),
            pid: told.pid,
            ring: told.ring,
            id: told.id,
            op: told.op.clone(),
            file: short(told.file.as_deref().unwrap_or_default()),
            what: short(&what.collect::<Vec<_>>().join(" ")),
            res: told.error.clone().or(told.res.map(|r| r.to_string())).unwrap_or_default(),
            how: told.how.clone().unwrap_or_default(),
        }));
        if full {
            self.slowest.pop();
        }
    }
}

impl Op {
    fn add(&mut self, told: &Told, first: bool, last: bool) {
        self.requests += u64::from(first);
        self.in_flight += u64::from(told.state == "in flight");
        self.errors += u64::from(last && told.error.is_some());
        self.completions += u64::from(told.time.is_some());
        self.bytes = self.bytes.saturating_add(moved(told));
        self.multishot += u64::from(last && told.shot > 0);
        let (Some(how), true) = (&told.how, last) else { return };
        let how = room(&self.ways, how, NAMES_MAX);
        let disk = matches!(how.as_str(), "aio" | "readahead");
        let inline = how == "inline";
        *self.ways.entry(how).or_default() += 1;
        let (Some(ns), 0) = (told.latency_ns, told.shot) else { return };
        record(&mut self.latency, ns);
        if disk {
            record(&mut self.disk, ns);
        } else if inline {
            record(&mut self.inline, ns);
        }
        self.total_ns = self.total_ns.saturating_add(ns);
    }
}

/// The name, or the row of those that have none.
fn room<V>(rows: &BTreeMap<String, V>, name: &str, max: usize) -> String {
    if rows.len() < max || rows.contains_key(name) { name.into() } else { REST.into() }
}

/// As much of a text as goes into a cell.
fn short(text: &str) -> String {
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into(),
    }
}

/// What a file is counted as: a connection has a name of its own, and there may be thousands.
fn class(file: &str) -> String {
    for (prefix, class) in [("socket:[", "sockets"), ("pipe:[", "pipes")] {
        if file.starts_with(prefix) {
            return class.into();
        }
    }
    file.chars().take(4096).collect()
}

/// Whether an opcode's result is a count of bytes.
pub(super) fn moves_bytes(op: &str) -> bool {
    ["READ", "WRITE", "SEND", "RECV", "SPLICE", "TEE"].iter().any(|p| op.starts_with(p))
}

fn moved(told: &Told) -> u64 {
    let bytes = told.res.filter(|_| moves_bytes(&told.op));
    bytes.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}
