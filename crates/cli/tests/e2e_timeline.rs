//! `ringer trace --perfetto`: a timeline that others can read, here with a decoder that did not write it.

mod support;

use protobuf::CodedInputStream;
use protobuf::rt::WireType;
use ringer_testkit::harness::{Scratch, Under};
use serde_json::Value as Json;
use std::collections::HashMap;
use support::traced::{Traced, trace};

/// A field as it is on the wire.
#[derive(Clone, Debug)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// A message whose meaning is only known by its fields' numbers.
#[derive(Clone, Debug, Default)]
struct Message(Vec<(u32, Field)>);

impl Message {
    fn read(bytes: &[u8]) -> Self {
        let mut input = CodedInputStream::from_bytes(bytes);
        let mut fields = Vec::new();
        while let Some(tag) = input.read_raw_tag_or_eof().expect("a tag") {
            let (number, wire) = (tag >> 3, WireType::new(tag & 7).expect("a wire type"));
            fields.push((
                number,
                match wire {
                    WireType::Varint => Field::Number(input.read_raw_varint64().expect("a number")),
                    WireType::Fixed64 => Field::Number(input.read_fixed64().expect("8 bytes")),
                    WireType::LengthDelimited => Field::Bytes(input.read_bytes().expect("bytes")),
                    other => panic!("{other:?} in field {number}"),
                },
            ));
        }
        Self(fields)
    }

    fn all(&self, number: u32) -> impl Iterator<Item = &Field> {
        self.0.iter().filter(move |(n, _)| *n == number).map(|(_, field)| field)
    }

    fn messages(&self, number: u32) -> Vec<Self> {
        let bytes =
            |f: &Field| if let Field::Bytes(b) = f { Self::read(b) } else { panic!("{f:?}") };
        self.all(number).map(bytes).collect()
    }

    fn message(&self, number: u32) -> Option<Self> {
        self.messages(number).pop()
    }

    fn numbers(&self, number: u32) -> Vec<u64> {
        let value = |f: &Field| if let Field::Number(n) = f { *n } else { panic!("{f:?}") };
        self.all(number).map(value).collect()
    }

    fn number(&self, number: u32) -> Option<u64> {
        self.numbers(number).pop()
    }

    fn text(&self, number: u32) -> Option<String> {
        let text = |f: &Field| if let Field::Bytes(b) = f { b.clone() } else { panic!("{f:?}") };
        self.all(number).map(text).last().map(|b| String::from_utf8(b).expect("UTF-8"))
    }
}

/// A slice, instant or value of a counter (numbers: perfetto's track_event.proto).
#[derive(Debug)]
struct Event {
    at_ns: u64,
    kind: u64,
    track: u64,
    name: String,
    flows: Vec<u64>,
    counter: Option<u64>,
    notes: HashMap<String, Message>,
}

const BEGIN: u64 = 1;
const END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

/// A timeline, its events by time.
#[derive(Debug)]
struct Timeline {
    tracks: HashMap<u64, (String, Option<u64>)>,
    events: Vec<Event>,
}

impl Timeline {
    fn read(bytes: &[u8]) -> Self {
        let (mut tracks, mut events) = (HashMap::new(), Vec::new());
        for packet in Message::read(bytes).messages(1) {
            assert_eq!(packet.number(10), Some(1), "one sequence");
            if let Some(track) = packet.message(60) {
                let (uuid, parent) = (track.number(1).expect("a uuid"), track.number(5));
                assert!(parent.is_none_or(|p| tracks.contains_key(&p)), "a parent comes first");
                let name = track.text(2).or(track.message(3).and_then(|p| p.text(6)));
                assert!(tracks.insert(uuid, (name.expect("a name"), parent)).is_none());
            }
            if let Some(event) = packet.message(11) {
                assert_eq!(packet.number(58), Some(3), "the monotonic clock");
                let notes = event.messages(4).into_iter().map(|n| (n.text(10).expect("a name"), n));
                let mut flows = event.numbers(47);
                flows.extend(event.numbers(48));
                events.push(Event {
                    at_ns: packet.number(8).expect("a time"),
                    kind: event.number(9).expect("a kind"),
                    track: event.number(11).expect("a track"),
                    name: event.text(23).unwrap_or_default(),
                    flows,
                    counter: event.number(30),
                    notes: notes.collect(),
                });
            }
        }
        events.sort_by_key(|e| e.at_ns);
        let all = Self { tracks, events };
        all.check();
        all
    }

    /// Slices of one track do not overlap, and every event has a track.
    fn check(&self) {
        let mut open: HashMap<u64, &Event> = HashMap::new();
        for event in &self.events {
            assert!(self.tracks.contains_key(&event.track), "{event:?}");
            match event.kind {
                BEGIN => {
                    let other = open.insert(event.track, event);
                    assert!(other.is_none(), "{other:?} is not over: {event:?}");
                }
                END => assert!(open.remove(&event.track).is_some(), "never begun: {event:?}"),
                INSTANT | COUNTER => {}
                other => panic!("kind {other}"),
            }
        }
    }

    fn of(&self, kind: u64) -> Vec<&Event> {
        self.events.iter().filter(|e| e.kind == kind).collect()
    }

    fn track(&self, event: &Event) -> &str {
        &self.tracks[&event.track].0
    }
}

fn timeline(under: Under, argv: &[&str]) -> (Vec<Json>, Timeline) {
    let scratch = Scratch::new();
    let file = scratch.path("timeline");
    let ran: Traced = trace(under, &["--json", "--perfetto", &file.to_string_lossy()], argv);
    let (told, _) = ran.json();
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().expect("a timeline"));
    assert_eq!(mode & 0o777, 0o600);
    (told, Timeline::read(&std::fs::read(&file).expect("a timeline")))
}

#[test]
fn a_timeline_has_a_slice_for_each_request_with_its_arguments_and_result() {
    for under in Under::BLOCKED {
        let (told, timeline) = timeline(under, &["prog", "spine"]);
        let begun = timeline.of(BEGIN);
        assert_eq!((begun.len(), timeline.of(END).len()), (told.len(), told.len()));
        for request in &told {
            let id = request["id"].as_u64();
            let slice = begun.iter().find(|s| s.notes["request"].number(3) == id).expect("a slice");
            assert_eq!(Some(slice.name.as_str()), request["op"].as_str());
            assert_eq!(slice.notes["res"].number(4).map(u64::cast_signed), request["res"].as_i64());
            assert_eq!(timeline.track(slice), "ring 1");
            let file = slice.notes.get("file").and_then(|n| n.text(6));
            assert_eq!(file.as_deref(), request["file"].as_str());
            let len = slice.notes.get("len").and_then(|n| n.number(4));
            assert_eq!(len, request["args"]["len"].as_u64());
        }
        let counted: Vec<u64> = timeline.of(COUNTER).iter().filter_map(|e| e.counter).collect();
        assert_eq!((counted.len(), counted.last()), (2 * told.len(), Some(&0)));
        let process = &timeline.tracks.values().find(|(_, parent)| parent.is_none()).unwrap().0;
        assert_eq!(process, "prog");
    }
}

#[test]
fn requests_that_overlap_have_lanes_and_chains_are_flows() {
    for under in Under::BLOCKED {
        let (told, timeline) = timeline(under, &["prog", "waits", "links"]);
        let chained: Vec<&Json> = told.iter().filter(|r| r["chain"].is_u64()).collect();
        assert!(chained.len() > 3, "{told:?}");
        let begun = timeline.of(BEGIN);
        for request in &chained {
            let slice =
                begun.iter().find(|s| s.notes["request"].number(3) == request["id"].as_u64());
            let flow = slice.expect("a slice").flows.clone();
            let head =
                request["process"].as_u64().unwrap() << 40 | request["chain"].as_u64().unwrap();
            assert_eq!(flow, [head], "{request}");
        }
        let flows = begun.iter().filter(|s| !s.flows.is_empty()).count();
        assert_eq!(flows, chained.len());
        let lanes = timeline.tracks.values().filter(|(name, _)| name == "ring 1").count();
        assert!(lanes > 1, "{:?}", timeline.tracks);
    }
}

#[test]
fn completions_of_a_multishot_are_instants_in_its_slice() {
    for under in Under::BLOCKED {
        let claim = "a_multishot_poll_reports_each_wake_up";
        let (_, timeline) = timeline(under, &["fidelity", "--ringer", "--only", claim]);
        let shots: Vec<&Event> =
            timeline.of(INSTANT).into_iter().filter(|e| e.name.starts_with("POLL_ADD +")).collect();
        assert_eq!(shots.len(), 4, "{shots:?}");
        let slice = timeline.of(BEGIN).into_iter().find(|s| s.name == "POLL_ADD").expect("a slice");
        assert!(shots.iter().all(|s| s.track == slice.track && s.at_ns >= slice.at_ns));
    }
}

#[test]
fn calls_and_completions_of_no_request_are_instants_of_the_process() {
    let claim = "a_message_is_a_completion_over_there";
    let (_, timeline) = timeline(Under::BLOCKED[0], &["fidelity", "--ringer", "--only", claim]);
    let named = |name: &str| -> Vec<&Event> {
        timeline.of(INSTANT).into_iter().filter(|e| e.name == name).collect()
    };
    let (setups, messages) = (named("io_uring_setup"), named("CQE (message)"));
    assert!(setups.len() >= 2 && !messages.is_empty(), "{:?}", timeline.of(INSTANT));
    assert!(setups.iter().chain(&messages).all(|e| timeline.tracks[&e.track].1.is_none()));
}

#[test]
fn a_full_completion_queue_can_be_seen() {
    let (told, timeline) = timeline(Under::BLOCKED[0], &["prog", "waits", "overflow"]);
    let overflowed = told.iter().filter(|r| r["overflow"] == true).count();
    let shown = timeline.of(INSTANT).into_iter().filter(|e| e.name == "CQ full").count();
    assert_eq!(shown, overflowed);
    assert!(shown > 0);
}
