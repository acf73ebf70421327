//! What one process does: rates of its rings and opcodes since the last look.
//!
//! ```text
//!   State records (10 a second and ring)  -> requests and completions a second, what waits where
//!   Taken, Told records                   -> opcodes: completions, errors, latencies
//! ```
//! Of a request in flight three words are kept, where `trace::join` keeps all of it and its file. Rates of rings come from the rings' own counters: what was submitted before anybody watched counts,
//! and records that found no room do. Numbers are a stranger's: nothing here divides by them or trusts
//! that they go up. What this does not do: read, or print.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringer_engine::host::RingId;
use ringer_engine::trace::buffer::{Record, TakenRecord, ToldRecord};
use ringer_engine::trace::{RingState, Went};
use ringer_uapi::flags::CqeFlags;

/// A ring that is silent for so long is gone: it is told of ten times a second, unless it is busy each time.
const SILENCE: Duration = Duration::from_secs(3);
/// Most requests of a process that are kept while they are in flight: of more the oldest are forgotten.
const OPEN_MAX: usize = 1 << 20;
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

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Open {
    time_ns: u64,
    opcode: u8,
    /// It completed, and goes on.
    told: bool,
}

/// See the module's doc.
#[derive(Debug)]
pub(super) struct Meter {
    open: BTreeMap<u64, Open>,
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
    pub(super) fn new() -> Self {
        let (open, rings, opcodes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { open, rings, opcodes, since: Instant::now() }
    }

    /// Takes a record.
    pub(super) fn take(&mut self, position: u64, record: Record) {
        match record {
            Record::Taken(taken) => self.begin(position.wrapping_add(1), &taken),
            Record::Told(told) => self.told(&told),
            Record::State { time_ns, state } => self.state(time_ns, state),
            // Of no use to a count.
            Record::Name { .. } | Record::Injected(_) | Record::Data(..) | Record::Called(_) => {}
        }
    }

    fn begin(&mut self, name: u64, taken: &TakenRecord) {
        if self.open.len() >= OPEN_MAX {
            self.open.pop_first();
        }
        let open = Open { time_ns: taken.time_ns, opcode: taken.sqe.opcode, told: false };
        self.open.insert(name, open);
    }

    fn told(&mut self, told: &ToldRecord) {
        let Some(open) = self.open.get_mut(&told.request) else { return };
        let last = told.went == Went::Nowhere || told.flags & CqeFlags::MORE.bits() == 0;
        let Open { time_ns, opcode, told: before } = *open;
        open.told = true;
        if last {
            self.open.remove(&told.request);
        }
        if let Entry::Vacant(place) = self.opcodes.entry(opcode)
            && let Some(new) = Opcode::new()
        {
            place.insert(new);
        }
        let Some(o) = self.opcodes.get_mut(&opcode) else { return };
        o.told += 1;
        o.errors += u64::from(told.res < 0);
        // Of a multishot request each completion is longer after the submission, which means nothing.
        if last && !before {
            o.latency.saturating_record(told.time_ns.saturating_sub(time_ns).max(1));
        }
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
            RingRow { number: RingId(*name).ordinal(), requests, completions, state: ring.last }
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

fn percentiles(latency: &Histogram<u32>) -> Option<(u64, u64)> {
    let at = |q| latency.value_at_quantile(q);
    (!latency.is_empty()).then(|| (at(0.5), at(0.99)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringer_engine::trace::{How, Origin};
    use ringer_uapi::Sqe;

    fn taken(time_ns: u64, opcode: u8) -> Record {
        let sqe = Sqe { opcode, ..Sqe::default() };
        Record::Taken(TakenRecord {
            time_ns,
            ring: 1 << 16,
            tid: 1,
            number: -1,
            seen: 0,
            linked: false,
            sqe,
        })
    }

    fn told(time_ns: u64, request: u64, res: i32, flags: u32) -> Record {
        let (how, went, user_data) = (How::Inline, Went::Posted, 0);
        Record::Told(ToldRecord {
            time_ns,
            ring: 1 << 16,
            request,
            res,
            flags,
            how,
            went,
            user_data,
            origin: Origin::Request,
        })
    }

    fn state(time_ns: u64, taken: u32, told: u32) -> Record {
        let state = RingState { ring: 2 << 16, taken, told, in_flight: 3, ..RingState::default() };
        Record::State { time_ns, state }
    }

    #[test]
    fn a_ring_has_the_rates_of_its_own_counters_also_where_they_wrap() {
        let mut meter = Meter::new();
        meter.take(0, state(1_000_000_000, u32::MAX - 9, 5));
        meter.take(1, state(1_500_000_000, 40, 30));
        let rings = meter.read().rings;
        let [ring] = &rings[..] else { panic!("{rings:?}") };
        assert_eq!((ring.number, ring.requests, ring.completions), (2, 100.0, 50.0));
        // Nothing new: what was seen last stands.
        assert_eq!(meter.read().rings, rings);
        // Time and counters that go down are no reason for anything.
        meter.take(2, state(1, 7, 7));
        meter.take(3, state(3_500_000_000, 20, 30));
        let ring = &meter.read().rings[0];
        assert_eq!((ring.requests, ring.completions), (0.0, 0.0));
    }

    #[test]
    fn latencies_are_of_requests_that_complete_once() {
        let mut meter = Meter::new();
        for (position, record) in [
            (0, taken(1_000, 22)),
            (2, taken(1_000, 22)),
            (4, taken(1_000, 6)),
            (6, told(2_000, 1, -5, 0)),
            (7, told(9_000, 3, 4, 0)),
            (8, told(5_000, 5, 1, 2)),
            (9, told(9_000_000, 5, 1, 0)),
            // Of no request.
            (10, told(9_000, 5, 1, 0)),
            (11, told(9_000, 77, 1, 0)),
        ] {
            meter.take(position, record);
        }
        let reading = meter.read();
        let of = |opcode| reading.opcodes.iter().find(|o| o.opcode == opcode).unwrap();
        let (read, poll) = (of(22), of(6));
        assert_eq!((read.completions, read.errors * 2.0), (poll.completions, read.completions));
        let (p50, p99) = read.latency_ns.unwrap();
        assert!((1_000..=1_010).contains(&p50) && (8_000..=8_080).contains(&p99), "{p50} {p99}");
        assert_eq!((poll.latency_ns, reading.latency_ns), (None, read.latency_ns));
        assert!(meter.open.is_empty());
        assert_eq!(meter.read().latency_ns, None);
    }
}
