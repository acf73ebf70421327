//! Puts the records of one process together: submissions with their completions and files.
//!
//! ```text
//!   Name  -> names[number]                      what the number stands for from now on
//!   Taken -> open[position + 1] = Request       file: names[number], as of now; chain: that of the
//!                                               ring's request before it, if it is linked to that
//!   Data  -> open[name]: what it points to, or reads and writes
//!   Told  -> open[name]: an Event; without F_MORE the request is over
//!            without a name: a completion of no request
//!   end   -> what is open was in flight
//! ```
//! The records are a stranger's: a completion of no request is counted and dropped, and of requests
//! that never end the oldest are forgotten. What this does not do: read, or print.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use ringer_engine::host::RingId;
use ringer_engine::trace::buffer::{
    CalledRecord, DataHead, DataKind, Record, TakenRecord, ToldRecord,
};
use ringer_engine::trace::{Origin, Went};
use ringer_uapi::flags::{CqeFlags, SqeFlags};

use super::bytes::Bytes;

/// Most requests of a process that are kept while they are in flight.
const OPEN_MAX: usize = 1 << 20;
/// Most numbers whose files are known.
const NAMES_MAX: usize = 1 << 16;
/// Most things that a request points to.
const POINTS_MAX: usize = 4;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    /// The process: which one of the trace, from 1. An exec begins another.
    pub(super) process: u64,
    /// Its number.
    pub(super) pid: u64,
    /// Which of the process's requests it is, from 1.
    pub(super) id: u64,
    /// Its submission.
    pub(super) taken: TakenRecord,
    /// What its file was called then.
    pub(super) file: Option<Rc<str>>,
    /// The id of the first request of its chain; its own if others may follow it. Not if that is lost.
    pub(super) chain: Option<u64>,
    /// What it points to.
    pub(super) points: Vec<Bytes>,
    /// What it writes.
    pub(super) written: Option<Bytes>,
    /// What its next completion tells was read.
    pub(super) read: Option<Bytes>,
    /// Completions so far.
    pub(super) told: u64,
}

impl Request {
    /// Which of the process's rings, from 1.
    pub(super) fn ring(&self) -> u64 {
        RingId(self.taken.ring).ordinal()
    }
}

/// Whoever wants to know what became of requests.
pub(super) trait Listener {
    /// A request was submitted.
    fn taken(&mut self, request: &Request);
    /// One completed, or will not.
    fn told(&mut self, event: &Event<'_>);
    /// A completion of no request.
    fn alone(&mut self, process: &Process, told: &ToldRecord);
    /// A call ended.
    fn called(&mut self, process: &Process, called: &CalledRecord);
    /// One is forgotten, as too many are open: nothing is known of its end.
    fn forgotten(&mut self, request: &Request);
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
    /// Which one of the trace, from 1.
    pub(super) serial: u64,
    /// Requests seen.
    pub(super) requests: u64,
    /// Completions of requests that nothing is known of.
    pub(super) strays: u64,
    /// Its number.
    pub(super) pid: u64,
    open: BTreeMap<u64, Request>,
    names: HashMap<i32, Rc<str>>,
    /// Of each ring the chain of its last request.
    chains: HashMap<u64, Option<u64>>,
}

impl Process {
    /// One that nothing is known of.
    pub(super) fn new(serial: u64, pid: u64) -> Self {
        Self {
            serial,
            pid,
            requests: 0,
            strays: 0,
            open: BTreeMap::new(),
            names: HashMap::new(),
            chains: HashMap::new(),
        }
    }

    /// Takes a record; the listener gets what comes of it.
    pub(super) fn take(&mut self, position: u64, record: Record, to: &mut impl Listener) {
        match record {
            Record::Name { number, text, whole } => self.name(number, &text, whole),
            Record::Taken(taken) => self.begin(position.wrapping_add(1), taken, to),
            Record::Told(told) if told.origin != Origin::Request => to.alone(self, &told),
            Record::Told(told) => self.tell(&told, to),
            Record::Data(head, kept) => self.data(Bytes { head, kept }),
            Record::Called(called) => to.called(self, &called),
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

    fn begin(&mut self, key: u64, taken: TakenRecord, to: &mut impl Listener) {
        self.requests += 1;
        if self.open.len() >= OPEN_MAX
            && let Some((_, oldest)) = self.open.pop_first()
        {
            to.forgotten(&oldest);
        }
        let request = Request {
            process: self.serial,
            pid: self.pid,
            id: self.requests,
            file: self.names.get(&taken.number).filter(|_| taken.number >= 0).cloned(),
            chain: self.chain(&taken),
            taken,
            points: Vec::new(),
            written: None,
            read: None,
            told: 0,
        };
        to.taken(&request);
        self.open.insert(key, request);
    }

    /// The chain of the request that is just beginning.
    fn chain(&mut self, taken: &TakenRecord) -> Option<u64> {
        if self.chains.len() >= NAMES_MAX {
            self.chains.clear();
        }
        let last = self.chains.entry(taken.ring).or_default();
        let links = SqeFlags::from_bits_truncate(taken.sqe.flags)
            .intersects(SqeFlags::IO_LINK | SqeFlags::IO_HARDLINK);
        let chain = if taken.linked { *last } else { links.then_some(self.requests) };
        *last = chain;
        chain
    }

    fn data(&mut self, bytes: Bytes) {
        let DataHead { request, kind, .. } = bytes.head;
        let Some(request) = self.open.get_mut(&request) else { return };
        match kind {
            DataKind::Written => request.written = Some(bytes),
            DataKind::Read => request.read = Some(bytes),
            _ if request.points.len() < POINTS_MAX => request.points.push(bytes),
            _ => {}
        }
    }

    fn tell(&mut self, told: &ToldRecord, to: &mut impl Listener) {
        let Some(request) = self.open.get_mut(&told.request) else {
            self.strays += 1;
            return;
        };
        to.told(&Event { request, told: Some(told) });
        request.told += 1;
        request.read = None;
        if is_last(told) {
            self.open.remove(&told.request);
        }
    }

    /// Nothing more comes: what is open was in flight.
    pub(super) fn end(&mut self, to: &mut impl Listener) {
        for request in std::mem::take(&mut self.open).values() {
            to.told(&Event { request, told: None });
        }
    }
}
