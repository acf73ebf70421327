//! The trace as ui.perfetto.dev opens it.
//!
//! ```text
//!   process            fio [4711]
//!    |- lanes          ring 1              [READ.....][READ...]         one name, so shown as one track
//!    |                 ring 1                 [READ.......]             a lane holds what does not overlap
//!    |- instants       ring 1 overflow           ' CQ full
//!    |- counter        ring 1 in flight    1  2  1    2   1
//! ```
//! A slice is a request from its submission to its last completion; the completions of a multishot
//! before that are instants in it, and chains are flows from slice to slice. A slice is written when it
//! ends, as only then all is known of it: readers sort by time. What this does not do: choose what is
//! shown.

mod proto;

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

use prost::Message;
use ringer_engine::host::RingId;
use ringer_engine::trace::Went;
use ringer_engine::trace::buffer::{CalledRecord, ToldRecord};
use ringer_uapi::flags::SqeFlags;
use rustix::time::{ClockId, clock_gettime};

use super::entry;
use super::join::{Event, Request};
use super::show;
use proto::{
    ChildOrder, Clock, ClockSnapshot, CounterDescriptor, DebugAnnotation, EventType,
    ProcessDescriptor, Trace, TracePacket, TrackDescriptor, TrackEvent, Value,
};

/// `BUILTIN_CLOCK_*` of what the clocks are here.
const REALTIME: u32 = 1;
const MONOTONIC: u32 = 3;
const BOOTTIME: u32 = 6;
/// All is written by one writer.
const SEQUENCE: u32 = 1;
/// Most rings that are drawn: a program may make any number of them.
const RINGS_MAX: usize = 1 << 14;
/// Tracks of a ring, in order.
const KINDS: i32 = 3;

/// See the module's doc.
pub(super) struct Perfetto {
    out: Box<dyn Write>,
    tracks: u64,
    processes: HashMap<u64, u64>,
    rings: HashMap<(u64, u64), Ring>,
    /// Where the open requests are.
    lanes: HashMap<(u64, u64), usize>,
    /// Requests of rings beyond the bound.
    undrawn: u64,
    /// Why the output takes no more.
    broken: Option<io::Error>,
}

/// A ring's tracks.
#[derive(Debug, Default)]
struct Ring {
    lanes: Vec<Lane>,
    free: BTreeSet<usize>,
    in_flight: i64,
    counter: Option<u64>,
    overflow: Option<u64>,
}

/// One line of requests that do not overlap.
#[derive(Debug, Default)]
struct Lane {
    track: Option<u64>,
    /// When its last request ended.
    ended_ns: u64,
}

impl Perfetto {
    /// One that has written nothing but what the clocks were.
    pub(super) fn new(out: Box<dyn Write>) -> Self {
        let mut new = Self {
            out,
            tracks: 0,
            processes: HashMap::new(),
            rings: HashMap::new(),
            lanes: HashMap::new(),
            undrawn: 0,
            broken: None,
        };
        let clocks = [
            (BOOTTIME, ClockId::Boottime),
            (MONOTONIC, ClockId::Monotonic),
            (REALTIME, ClockId::Realtime),
        ];
        let clock = |(number, id)| {
            let now = clock_gettime(id);
            let ns = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
            Clock { clock_id: Some(number), timestamp: Some(ns) }
        };
        let snapshot = ClockSnapshot { clocks: clocks.map(clock).into() };
        new.put(TracePacket { clock_snapshot: Some(snapshot), ..TracePacket::default() });
        new
    }

    /// A process with a buffer was found.
    pub(super) fn process(&mut self, serial: u64, pid: u64, name: &str) {
        let uuid = self.track(TrackDescriptor {
            process: Some(ProcessDescriptor {
                pid: i32::try_from(pid).ok(),
                process_name: Some(name.to_owned()),
            }),
            child_ordering: Some(ChildOrder::Explicit.into()),
            ..TrackDescriptor::default()
        });
        self.processes.insert(serial, uuid);
    }

    /// Nothing more of a process comes, and that many records of it were lost.
    pub(super) fn ended(&mut self, serial: u64, at_ns: u64, lost: u64) {
        if let Some(track) = self.processes.remove(&serial)
            && lost > 0
        {
            let event = TrackEvent {
                name: Some(format!("{lost} records were lost")),
                ..event(EventType::Instant, track)
            };
            self.at(at_ns, event);
        }
        self.rings.retain(|(process, _), _| *process != serial);
        self.lanes.retain(|(process, _), _| *process != serial);
    }

    /// A call ended: an instant of its process.
    pub(super) fn called(&mut self, serial: u64, called: &CalledRecord) {
        let Some(&track) = self.processes.get(&serial) else { return };
        let (name, args) = show::call(called);
        let mut notes: Vec<DebugAnnotation> =
            args.into_iter().map(|(name, value)| note(name, Value::Text(value))).collect();
        notes.push(note("result", Value::Text(show::answer(called))));
        let what = TrackEvent {
            name: Some(name.into()),
            debug_annotations: notes,
            ..event(EventType::Instant, track)
        };
        self.at(called.time_ns, what);
    }

    /// A completion of no request: an instant of its process.
    pub(super) fn alone(&mut self, serial: u64, told: &ToldRecord) {
        let Some(&track) = self.processes.get(&serial) else { return };
        let what = TrackEvent {
            name: Some(format!("CQE {}", show::origin(told.origin))),
            debug_annotations: vec![
                note("ring", Value::Uint(RingId(told.ring).ordinal())),
                note("user_data", Value::Pointer(told.user_data)),
                note("res", Value::Int(told.res.into())),
            ],
            ..event(EventType::Instant, track)
        };
        self.at(told.time_ns, what);
    }

    /// A request was submitted: it gets a lane.
    pub(super) fn taken(&mut self, request: &Request) {
        let key = (request.process, request.ring());
        if self.rings.len() >= RINGS_MAX && !self.rings.contains_key(&key) {
            self.undrawn = self.undrawn.saturating_add(1);
            return;
        }
        let ring = self.rings.entry(key).or_default();
        let begun_ns = request.taken.time_ns;
        // Another thread's clock may have been looked at before the end of what was here.
        let fits = |lane: &usize| ring.lanes.get(*lane).is_some_and(|l| l.ended_ns <= begun_ns);
        let lane = ring.free.iter().copied().find(fits).unwrap_or(ring.lanes.len());
        ring.free.remove(&lane);
        if lane == ring.lanes.len() {
            ring.lanes.push(Lane::default());
        }
        self.lanes.insert((request.process, request.id), lane);
        self.count(request, 1, begun_ns);
    }

    /// A request completed, or never will. `shown`: it is to be drawn.
    pub(super) fn told(&mut self, event: &Event<'_>, shown: bool) {
        let request = event.request;
        if shown {
            self.draw(event);
        }
        if event.is_last() {
            let ended_ns = event.told.map(|t| t.time_ns.max(request.taken.time_ns));
            self.leave(request, ended_ns);
        }
    }

    /// Nothing more of a request will be known.
    pub(super) fn forgotten(&mut self, request: &Request) {
        self.leave(request, Some(request.taken.time_ns));
    }

    /// Writes what is left; how many requests are not in it, as there were too many rings.
    ///
    /// # Errors
    /// The writer's.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        match self.broken.take() {
            Some(e) => Err(e),
            None => self.out.flush().map(|()| self.undrawn),
        }
    }

    fn draw(&mut self, event: &Event<'_>) {
        let request = event.request;
        let Some(lane) = self.lane_of(request) else { return };
        match event.told {
            Some(told) if !event.is_last() => {
                let what = TrackEvent {
                    name: Some(format!(
                        "{} +{}",
                        entry::opcode(request.taken.sqe.opcode),
                        request.told
                    )),
                    debug_annotations: results(told).into_iter().chain(read(request)).collect(),
                    ..self::event(EventType::Instant, lane)
                };
                self.at(told.time_ns.max(request.taken.time_ns), what);
            }
            told => self.slice(event, told, lane),
        }
        if let Some(told) = event.told.filter(|t| t.went == Went::Backlog) {
            let Some(track) = self.side_track(request, 1) else { return };
            let what = TrackEvent {
                name: Some("CQ full".into()),
                debug_annotations: vec![
                    note("op", Value::Text(entry::opcode(request.taken.sqe.opcode).into())),
                    note("request", Value::Uint(request.id)),
                ],
                ..self::event(EventType::Instant, track)
            };
            self.at(told.time_ns, what);
        }
    }

    fn slice(&mut self, event: &Event<'_>, told: Option<&ToldRecord>, lane: u64) {
        let request = event.request;
        let mut notes = arguments(request);
        let mut categories = vec!["io_uring".to_owned()];
        match told {
            Some(told) => {
                notes.extend(results(told));
                notes.extend(read(request));
                if request.told > 0 {
                    notes.push(note("completions", Value::Uint(request.told + 1)));
                }
                if told.res < 0 {
                    categories.push("failed".into());
                }
            }
            None => notes.push(note("state", Value::Text("in flight at exit".into()))),
        }
        let (mut flow_ids, mut terminating_flow_ids) = (Vec::new(), Vec::new());
        if let Some(chain) = request.chain {
            let id = request.process << 40 | chain;
            let links = SqeFlags::from_bits_truncate(request.taken.sqe.flags);
            if links.intersects(SqeFlags::IO_LINK | SqeFlags::IO_HARDLINK) {
                flow_ids.push(id);
            } else {
                terminating_flow_ids.push(id);
            }
        }
        let begin = TrackEvent {
            name: Some(entry::opcode(request.taken.sqe.opcode).into()),
            categories,
            debug_annotations: notes,
            flow_ids,
            terminating_flow_ids,
            ..self::event(EventType::SliceBegin, lane)
        };
        self.at(request.taken.time_ns, begin);
        if let Some(told) = told {
            let end = self::event(EventType::SliceEnd, lane);
            self.at(told.time_ns.max(request.taken.time_ns), end);
        }
    }

    /// The request needs its lane no more. `None`: it has it for ever.
    fn leave(&mut self, request: &Request, ended_ns: Option<u64>) {
        let Some(lane) = self.lanes.remove(&(request.process, request.id)) else { return };
        let Some(ended_ns) = ended_ns else { return };
        if let Some(ring) = self.rings.get_mut(&(request.process, request.ring())) {
            ring.free.insert(lane);
            if let Some(lane) = ring.lanes.get_mut(lane) {
                lane.ended_ns = lane.ended_ns.max(ended_ns);
            }
        }
        self.count(request, -1, ended_ns);
    }

    fn count(&mut self, request: &Request, more: i64, at_ns: u64) {
        let Some(track) = self.side_track(request, 2) else { return };
        let Some(ring) = self.rings.get_mut(&(request.process, request.ring())) else { return };
        ring.in_flight += more;
        let value = Some(ring.in_flight);
        self.at(at_ns, TrackEvent { counter_value: value, ..event(EventType::Counter, track) });
    }

    /// The track of a request's lane.
    fn lane_of(&mut self, request: &Request) -> Option<u64> {
        let lane = *self.lanes.get(&(request.process, request.id))?;
        let key = (request.process, request.ring());
        if let Some(track) = self.rings.get(&key)?.lanes.get(lane)?.track {
            return Some(track);
        }
        let descriptor = self.of_ring(request, 0, "")?;
        let track = self.track(descriptor);
        self.rings.get_mut(&key)?.lanes.get_mut(lane)?.track = Some(track);
        Some(track)
    }

    /// The track of a ring's overflows (1) or counter (2).
    fn side_track(&mut self, request: &Request, which: i32) -> Option<u64> {
        let key = (request.process, request.ring());
        let ring = self.rings.get(&key)?;
        if let Some(track) = if which == 1 { ring.overflow } else { ring.counter } {
            return Some(track);
        }
        let mut descriptor =
            self.of_ring(request, which, if which == 1 { " overflow" } else { " in flight" })?;
        if which == 2 {
            descriptor.counter = Some(CounterDescriptor { unit_name: Some("requests".into()) });
        }
        let track = self.track(descriptor);
        let ring = self.rings.get_mut(&key)?;
        *(if which == 1 { &mut ring.overflow } else { &mut ring.counter }) = Some(track);
        Some(track)
    }

    fn of_ring(&self, request: &Request, which: i32, what: &str) -> Option<TrackDescriptor> {
        let number = i32::try_from(request.ring()).unwrap_or(i32::MAX);
        Some(TrackDescriptor {
            parent_uuid: Some(*self.processes.get(&request.process)?),
            name: Some(format!("ring {}{what}", request.ring())),
            sibling_order_rank: Some(number.saturating_mul(KINDS).saturating_add(which)),
            ..TrackDescriptor::default()
        })
    }

    /// Writes a track's description; its number.
    fn track(&mut self, mut descriptor: TrackDescriptor) -> u64 {
        self.tracks += 1;
        descriptor.uuid = Some(self.tracks);
        self.put(TracePacket { track_descriptor: Some(descriptor), ..TracePacket::default() });
        self.tracks
    }

    fn at(&mut self, ns: u64, event: TrackEvent) {
        self.put(TracePacket {
            timestamp: Some(ns),
            timestamp_clock_id: Some(MONOTONIC),
            track_event: Some(event),
            ..TracePacket::default()
        });
    }

    fn put(&mut self, mut packet: TracePacket) {
        packet.trusted_packet_sequence_id = Some(SEQUENCE);
        if self.broken.is_none() {
            let bytes = Trace { packet: vec![packet] }.encode_to_vec();
            self.broken = self.out.write_all(&bytes).err();
        }
    }
}

fn event(kind: EventType, track: u64) -> TrackEvent {
    TrackEvent { r#type: Some(kind.into()), track_uuid: Some(track), ..TrackEvent::default() }
}

fn note(name: &str, value: Value) -> DebugAnnotation {
    DebugAnnotation { name: Some(name.to_owned()), value: Some(value) }
}

/// What was submitted.
fn arguments(request: &Request) -> Vec<DebugAnnotation> {
    let taken = &request.taken;
    let mut notes = vec![
        note("request", Value::Uint(request.id)),
        note("thread", Value::Uint(taken.tid.into())),
    ];
    if let Some((name, number)) = show::descriptor(request) {
        notes.push(note(name, Value::Text(number)));
    }
    if let Some(file) = &request.file {
        notes.push(note("file", Value::Text(show::printable(file))));
    }
    for arg in entry::args(&taken.sqe) {
        let value = match arg.value {
            entry::Value::Number(n) => Value::Int(n),
            entry::Value::Hex(n) => Value::Pointer(n),
            entry::Value::Text(t) => Value::Text(t),
        };
        notes.push(note(arg.name, value));
    }
    let points = show::pointees(request).into_iter();
    notes.extend(points.map(|(name, said)| note(&format!("*{name}"), Value::Text(said))));
    if let Some(bytes) = &request.written {
        notes.push(note("written", Value::Text(bytes.said())));
    }
    notes.push(note("user_data", Value::Pointer(taken.sqe.user_data)));
    if let Some(chain) = request.chain {
        notes.push(note("chain", Value::Uint(chain)));
    }
    notes
}

fn read(request: &Request) -> Option<DebugAnnotation> {
    request.read.as_ref().map(|bytes| note("read", Value::Text(bytes.said())))
}

/// What came of it.
fn results(told: &ToldRecord) -> Vec<DebugAnnotation> {
    let mut notes = vec![
        note("res", Value::Int(told.res.into())),
        note("how", Value::Text(told.how.word().into())),
    ];
    if let Some(error) = show::error(told.res) {
        notes.push(note("error", Value::Text(error)));
    }
    let flags = show::flags(told.flags);
    if !flags.is_empty() {
        notes.push(note("cqe_flags", Value::Text(flags)));
    }
    if let Some(bid) = show::buffer(told.flags) {
        notes.push(note("bid", Value::Uint(bid.into())));
    }
    match told.went {
        Went::Posted => {}
        Went::Backlog => notes.push(note("overflow", Value::Bool(true))),
        Went::Nowhere => notes.push(note("posted", Value::Bool(false))),
    }
    notes
}
