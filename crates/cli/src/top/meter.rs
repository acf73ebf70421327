//! What one process does: rates of its rings and opcodes since the last look.
//!
//! ```text
//!   State records (10 a second and ring)  -> requests and completions a second, what waits where
//!   Taken, Told records, joined           -> opcodes: completions, errors, latencies
//! ```
//! Rates of rings come from the rings' own counters: what was submitted before anybody watched counts,
//! and records that found no room do. Numbers are a stranger's: nothing here divides by them or trusts
//! that they go up. What this does not do: read, or print.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringer_engine::trace::RingState;
use ringer_engine::trace::buffer::Record;

use crate::trace::join::{Event, Process};

/// A ring that is silent for so long is gone: it is told of ten times a second, unless it is busy each time.
const SILENCE: Duration = Duration::from_secs(3);
/// Most rings of a process that are kept.
const RINGS_MAX: usize = 4096;
/// Longest latency that is told apart \[ns\].
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// A ring since the last look.
#[derive(Debug)]
struct Ring {
    base_ns: u64,
    base: RingState,
    last_ns: u64,
    last: RingState,
    heard: Instant,
    shown: (f64, f64),
}

impl Ring {
    /// Requests and completions a second.
    fn rates(&mut self) -> (f64, f64) {
        let passed = self.last_ns.saturating_sub(self.base_ns) as f64 / 1e9;
        if passed > 0.0 {
            // What seems to be more than half of all numbers went down.
            let count = |from: u32, to: u32| match to.wrapping_sub(from) {
                n if n > u32::MAX / 2 => 0.0,
                n => f64::from(n) / passed,
            };
            let (base, last) = (&self.base, &self.last);
            self.shown = (count(base.taken, last.taken), count(base.told, last.told));
            (self.base_ns, self.base) = (self.last_ns, self.last);
        }
        self.shown
    }
}

/// An opcode since the last look.
#[derive(Debug)]
struct Opcode {
    told: u64,
    errors: u64,
    latency: Histogram<u32>,
}

impl Opcode {
    fn new() -> Option<Self> {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 2).ok()?;
        Some(Self { told: 0, errors: 0, latency })
    }
}

/// See the module's doc.
#[derive(Debug)]
pub(super) struct Meter {
    join: Process,
    rings: BTreeMap<u64, Ring>,
    opcodes: BTreeMap<u8, Opcode>,
    since: Instant,
}

/// A ring, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RingRow {
    /// Which of the process's, from 1.
    pub(super) number: u64,
    /// A second.
    pub(super) requests: f64,
    /// A second.
    pub(super) completions: f64,
    /// As it was at last.
    pub(super) state: RingState,
}

/// An opcode, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OpcodeRow {
    /// Its number.
    pub(super) opcode: u8,
    /// A second.
    pub(super) completions: f64,
    /// A second.
    pub(super) errors: f64,
    /// Median and 99th percentile of what completed once \[ns\].
    pub(super) latency_ns: Option<(u64, u64)>,
}

/// What a process did since the last look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// Its rings, by number.
    pub(super) rings: Vec<RingRow>,
    /// Its opcodes, the busiest first.
    pub(super) opcodes: Vec<OpcodeRow>,
    /// Median and 99th percentile over all of them \[ns\].
    pub(super) latency_ns: Option<(u64, u64)>,
}

impl Meter {
    pub(super) fn new(pid: u64) -> Self {
        let (rings, opcodes) = (BTreeMap::new(), BTreeMap::new());
        Self { join: Process::new(pid), rings, opcodes, since: Instant::now() }
    }

    /// Takes a record.
    pub(super) fn take(&mut self, position: u64, record: Record) {
        if let Record::State { time_ns, state } = record {
            return self.state(time_ns, state);
        }
        let Self { join, opcodes, .. } = self;
        join.take(position, record, &mut |event| count(opcodes, event));
    }

    fn state(&mut self, time_ns: u64, state: RingState) {
        let heard = Instant::now();
        let room = self.rings.len() < RINGS_MAX;
        match self.rings.get_mut(&state.ring) {
            Some(ring) => (ring.last_ns, ring.last, ring.heard) = (time_ns, state, heard),
            None if !room => {}
            None => {
                let (base_ns, last_ns, shown) = (time_ns, time_ns, (0.0, 0.0));
                let new = Ring { base_ns, base: state, last_ns, last: state, heard, shown };
                self.rings.insert(state.ring, new);
            }
        }
    }

    /// What it did since the last time.
    pub(super) fn read(&mut self) -> Reading {
        let seconds = self.since.elapsed().as_secs_f64().max(1e-3);
        self.since = Instant::now();
        self.rings.retain(|_, ring| ring.heard.elapsed() < SILENCE);
        let rings = self.rings.iter_mut().map(|(name, ring)| {
            let (requests, completions) = ring.rates();
            RingRow { number: name >> 16, requests, completions, state: ring.last }
        });
        let mut reading = Reading { rings: rings.collect(), ..Reading::default() };
        let mut all = Opcode::new();
        for (&opcode, o) in &mut self.opcodes {
            reading.opcodes.push(OpcodeRow {
                opcode,
                completions: o.told as f64 / seconds,
                errors: o.errors as f64 / seconds,
                latency_ns: percentiles(&o.latency),
            });
            if let Some(all) = &mut all {
                // The same bounds: they fit.
                let _ = all.latency.add(&o.latency);
            }
            (o.told, o.errors) = (0, 0);
            o.latency.reset();
        }
        reading.opcodes.sort_by(|a, b| b.completions.total_cmp(&a.completions));
        reading.latency_ns = all.and_then(|all| percentiles(&all.latency));
        reading
    }
}

fn count(opcodes: &mut BTreeMap<u8, Opcode>, event: &Event<'_>) {
    let Some(told) = event.told else { return };
    let opcode = event.request.taken.sqe.opcode;
    if let Entry::Vacant(place) = opcodes.entry(opcode)
        && let Some(new) = Opcode::new()
    {
        place.insert(new);
    }
    let Some(o) = opcodes.get_mut(&opcode) else { return };
    o.told += 1;
    o.errors += u64::from(told.res < 0);
    // Of a multishot request each completion is longer after the submission, which means nothing.
    if event.is_last()
        && event.request.told == 0
        && let Some(ns) = event.latency_ns()
    {
        o.latency.saturating_record(ns.max(1));
    }
}

fn percentiles(latency: &Histogram<u32>) -> Option<(u64, u64)> {
    let at = |q| latency.value_at_quantile(q);
    (!latency.is_empty()).then(|| (at(0.5), at(0.99)))
}
