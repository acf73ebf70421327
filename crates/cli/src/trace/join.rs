//! Puts the records of one process together: submissions with their completions and files.
//!
//! ```text
//!   Name  -> names[number]                      what the number stands for from now on
//!   Taken -> open[position + 1] = Request       file: names[number], as of now
//!   Told  -> open[name]: an Event; without F_MORE the request is over
//!   end   -> what is open was in flight
//! ```
//! The records are a stranger's: a completion of no request is counted and dropped, and of requests
//! that never end the oldest are forgotten. What this does not do: read, or print.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use ringer_engine::trace::Went;
use ringer_engine::trace::buffer::{Record, TakenRecord, ToldRecord};
use ringer_uapi::flags::CqeFlags;

/// Most requests of a process that are kept while they are in flight.
const OPEN_MAX: usize = 1 << 20;
/// Most numbers whose files are known.
const NAMES_MAX: usize = 1 << 16;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    /// The process.
    pub(super) pid: u64,
    /// Which of the process's requests it is, from 1.
    pub(super) id: u64,
    /// Its submission.
    pub(super) taken: TakenRecord,
    /// What its file was called then.
    pub(super) file: Option<Rc<str>>,
    /// Completions so far.
    pub(super) told: u64,
}

impl Request {
    /// Which of the process's rings, from 1.
    pub(super) fn ring(&self) -> u64 {
        self.taken.ring >> 16
    }
}

/// Something to tell of a request.
#[derive(Debug)]
pub(super) struct Event<'a> {
    /// Whose.
    pub(super) request: &'a Request,
    /// The completion; `None`: the request was in flight at the end.
    pub(super) told: Option<&'a ToldRecord>,
}

impl Event<'_> {
    /// Whether nothing more of the request will come.
    pub(super) fn is_last(&self) -> bool {
        self.told.is_none_or(is_last)
    }

    /// From the submission to here \[ns\].
    pub(super) fn latency_ns(&self) -> Option<u64> {
        self.told.map(|t| t.time_ns.saturating_sub(self.request.taken.time_ns))
    }
}

fn is_last(told: &ToldRecord) -> bool {
    told.went == Went::Nowhere || told.flags & CqeFlags::MORE.bits() == 0
}

/// See the module's doc.
#[derive(Debug)]
pub(super) struct Process {
    /// Requests seen.
    pub(super) requests: u64,
    /// Completions of requests that nothing is known of.
    pub(super) strays: u64,
    pid: u64,
    open: BTreeMap<u64, Request>,
    names: HashMap<i32, Rc<str>>,
}

impl Process {
    /// One that nothing is known of.
    pub(super) fn new(pid: u64) -> Self {
        Self { requests: 0, strays: 0, pid, open: BTreeMap::new(), names: HashMap::new() }
    }

    /// Takes a record; `tell` gets what comes of it.
    pub(super) fn take(
        &mut self,
        position: u64,
        record: Record,
        tell: &mut impl FnMut(&Event<'_>),
    ) {
        match record {
            Record::Name { number, text, whole } => self.name(number, &text, whole),
            Record::Taken(taken) => self.begin(position.wrapping_add(1), taken),
            Record::Told(told) => self.tell(&told, tell),
            // `ringer chaos` tells of these.
            Record::Injected(_) => {}
            // `ringer top` has them: no request's.
            Record::State { .. } => {}
        }
    }

    fn name(&mut self, number: i32, text: &[u8], whole: bool) {
        if text.is_empty() {
            // Nothing is open there, or there is no /proc.
            self.names.remove(&number);
            return;
        }
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let mut name = String::from_utf8_lossy(text).into_owned();
        if !whole {
            name.push_str("...");
        }
        self.names.insert(number, name.into());
    }

    fn begin(&mut self, key: u64, taken: TakenRecord) {
        self.requests += 1;
        if self.open.len() >= OPEN_MAX {
            self.open.pop_first();
        }
        let file = self.names.get(&taken.number).filter(|_| taken.number >= 0).cloned();
        let request = Request { pid: self.pid, id: self.requests, taken, file, told: 0 };
        self.open.insert(key, request);
    }

    fn tell(&mut self, told: &ToldRecord, tell: &mut impl FnMut(&Event<'_>)) {
        let Some(request) = self.open.get_mut(&told.request) else {
            self.strays += 1;
            return;
        };
        tell(&Event { request, told: Some(told) });
        request.told += 1;
        if is_last(told) {
            self.open.remove(&told.request);
        }
    }

    /// Nothing more comes: what is open was in flight.
    pub(super) fn end(&mut self, tell: &mut impl FnMut(&Event<'_>)) {
        for request in std::mem::take(&mut self.open).values() {
            tell(&Event { request, told: None });
        }
    }
}
