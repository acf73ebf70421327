//! Events as lines: for people, or JSON.
//!
//! ```text
//!   0.012004 [4711] ring1 #7 READ fd=5</etc/passwd> addr=0x7f... len=4096 off=0 user_data=0x1 = 978 <inline 3.1us>
//!   |        |      |     |  |    what was submitted                                           |     how it ran,
//!   when it  pid:   which |  opcode                                                     result and   since the
//!   completed tid  ring   request                                                    flags of the CQE  submission
//! ```
//! What the traced program chose (paths) is told without control characters: it cannot write to the
//! terminal. What this does not do: choose what is shown.

use std::fmt::Write;

use ringer_engine::host::RingId;
use ringer_engine::resource::regdef::REGISTER;
use ringer_engine::support::rings;
use ringer_engine::trace::buffer::{CalledRecord, Field, ToldRecord};
use ringer_engine::trace::{Call, Origin, Went};
use ringer_uapi::Errno;
use ringer_uapi::flags::{CqeFlags, SqeFlags};
use serde_json::{Map, Value as Json, json};

use super::bytes::Bytes;
use super::entry::{self, Target, Value};
use super::join::{Event, Process, Request};

/// Where a CQE's flags keep the buffer.
const BUFFER_SHIFT: u32 = 16;
/// `IORING_REGISTER_USE_REGISTERED_RING`.
const USE_REGISTERED_RING: u32 = 1 << 31;
/// `AT_FDCWD`.
const HERE: i32 = -100;

/// A line for people.
pub(super) fn text(event: &Event<'_>, start_ns: u64) -> String {
    let Event { request, told } = event;
    let taken = &request.taken;
    let at_ns = told.map_or(taken.time_ns, |t| t.time_ns);
    let mut line = format!("{:>12.6} [{}", seconds(at_ns, start_ns), request.pid);
    if u64::from(taken.tid) != request.pid {
        let _ = write!(line, ":{}", taken.tid);
    }
    let _ = write!(line, "] ring{} #{} ", request.ring(), request.id);
    if request.told == 0 {
        line.push_str(&entry::opcode(taken.sqe.opcode));
        submission(&mut line, request);
    } else {
        let _ = write!(line, "+{} {}", request.told, entry::opcode(taken.sqe.opcode));
    }
    match told {
        None => line.push_str(" = ? <in flight at exit>"),
        Some(told) => completion(&mut line, event, told),
    }
    line
}

fn submission(line: &mut String, request: &Request) {
    if let Some((name, number)) = descriptor(request) {
        let _ = write!(line, " {name}={number}");
    }
    if let Some(file) = &request.file {
        let _ = write!(line, "<{}>", printable(file));
    }
    let args = entry::args(&request.taken.sqe);
    for arg in &args {
        let _ = match (pointee(request, arg.field), &arg.value) {
            (Some(bytes), _) => write!(line, " {}={}", arg.name, bytes.said()),
            (None, Value::Number(n)) => write!(line, " {}={n}", arg.name),
            (None, Value::Hex(n)) => write!(line, " {}={n:#x}", arg.name),
            (None, Value::Text(t)) => write!(line, " {}={t}", arg.name),
        };
    }
    if let Some(bytes) = pointee(request, Some(Field::Within)) {
        let _ = write!(line, " to={}", bytes.said());
    }
    if let Some(bytes) = &request.written {
        let _ = write!(line, " data={}", bytes.said());
    }
    let _ = write!(line, " user_data={:#x}", request.taken.sqe.user_data);
    if let Some(chain) = request.chain {
        let _ = write!(line, " chain=#{chain}");
    }
}

/// What an argument points to.
fn pointee(request: &Request, field: Option<Field>) -> Option<&Bytes> {
    request.points.iter().find(|p| Some(p.head.field) == field)
}

/// What a request points to, with the names of the arguments.
pub(super) fn pointees(request: &Request) -> Vec<(&'static str, String)> {
    let args = entry::args(&request.taken.sqe);
    let found = args.iter().filter_map(|a| Some((a.name, pointee(request, a.field)?.said())));
    let within = pointee(request, Some(Field::Within)).map(|p| ("to", p.said()));
    found.chain(within).collect()
}

/// What `fd` is called and its value, if it is anything.
pub(super) fn descriptor(request: &Request) -> Option<(&'static str, String)> {
    let sqe = &request.taken.sqe;
    let fixed = sqe.flags & SqeFlags::FIXED_FILE.bits() != 0;
    match entry::target(sqe) {
        Target::File if fixed => Some(("fd", format!("fixed:{}", sqe.fd))),
        Target::File => Some(("fd", sqe.fd.to_string())),
        Target::Folder if sqe.fd == HERE => Some(("at", "AT_FDCWD".into())),
        Target::Folder => Some(("at", sqe.fd.to_string())),
        Target::Other(name) => Some((name, sqe.fd.to_string())),
        Target::Unused if matches!(sqe.fd, 0 | -1) => None,
        Target::Unused => Some(("fd", sqe.fd.to_string())),
    }
}

fn completion(line: &mut String, event: &Event<'_>, told: &ToldRecord) {
    let _ = match error(told.res) {
        Some(name) => write!(line, " = -{name}"),
        None => write!(line, " = {}", told.res),
    };
    let flags = flags(told.flags);
    if !flags.is_empty() {
        let _ = write!(line, " {flags}");
    }
    if let Some(bid) = buffer(told.flags) {
        let _ = write!(line, " bid={bid}");
    }
    if let Some(bytes) = &event.request.read {
        let _ = write!(line, " data={}", bytes.said());
    }
    match told.went {
        Went::Posted => {}
        Went::Backlog => line.push_str(" (CQ full: overflow)"),
        Went::Nowhere => line.push_str(" (no CQE)"),
    }
    let latency = duration(event.latency_ns().unwrap_or(0));
    let _ = write!(line, " <{} {latency}>", told.how.word());
}

/// A completion of no request, for people.
pub(super) fn alone(process: &Process, told: &ToldRecord, start_ns: u64) -> String {
    let at = seconds(told.time_ns, start_ns);
    let mut line = format!(
        "{at:>12.6} [{}] ring{} {}",
        process.pid,
        RingId(told.ring).ordinal(),
        origin(told.origin)
    );
    let _ = write!(line, " user_data={:#x} = {}", told.user_data, told.res);
    let flags = flags(told.flags);
    if !flags.is_empty() {
        let _ = write!(line, " {flags}");
    }
    if told.went == Went::Backlog {
        line.push_str(" (CQ full: overflow)");
    }
    line
}

/// The same as JSON.
pub(super) fn alone_json(process: &Process, told: &ToldRecord, start_ns: u64) -> Json {
    json!({
        "event": "alone",
        "origin": origin(told.origin),
        "process": process.serial,
        "pid": process.pid,
        "ring": RingId(told.ring).ordinal(),
        "time": seconds(told.time_ns, start_ns),
        "user_data": format!("{:#x}", told.user_data),
        "res": told.res,
        "cqe_flags": flags(told.flags),
        "overflow": told.went == Went::Backlog,
    })
}

/// Whose a completion is that is no request's.
pub(super) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Request => "(request)",
        Origin::Message => "(message)",
        Origin::Tag => "(tag)",
        Origin::Kin => "(process gone)",
    }
}

/// A call's name and arguments.
pub(super) fn call(called: &CalledRecord) -> (&'static str, Vec<(&'static str, String)>) {
    match called.call {
        Call::Setup { entries, flags, .. } => {
            let flags = entry::names(rings::SETUP, "SETUP_", flags.into());
            let flags = if flags.is_empty() { "0".into() } else { flags };
            ("io_uring_setup", vec![("entries", entries.to_string()), ("flags", flags)])
        }
        Call::Register { fd, opcode, arg, nr } => {
            let by_index = opcode & USE_REGISTERED_RING != 0;
            let fd = if by_index { format!("ring:{fd}") } else { fd.to_string() };
            let args = vec![
                ("fd", fd),
                ("op", registered(opcode & !USE_REGISTERED_RING)),
                ("arg", format!("{arg:#x}")),
                ("nr_args", nr.to_string()),
            ];
            ("io_uring_register", args)
        }
    }
}

/// A register operation by name, or its number.
fn registered(opcode: u32) -> String {
    let row = REGISTER.iter().find(|row| row.value == u64::from(opcode));
    row.map_or_else(|| opcode.to_string(), |row| row.name.to_owned())
}

/// A call's result: a number, or an errno by name.
pub(super) fn answer(called: &CalledRecord) -> String {
    let res = i32::try_from(called.result).ok();
    res.and_then(error).map_or_else(|| called.result.to_string(), |name| format!("-{name}"))
}

/// A call, for people.
pub(super) fn called(process: &Process, called: &CalledRecord, start_ns: u64) -> String {
    let at = seconds(called.time_ns, start_ns);
    let (name, args) = call(called);
    let mut line = format!("{at:>12.6} [{}", process.pid);
    if u64::from(called.tid) != process.pid {
        let _ = write!(line, ":{}", called.tid);
    }
    let _ = write!(line, "] {name}");
    for (name, value) in args {
        let _ = write!(line, " {name}={value}");
    }
    let _ = write!(line, " = {}", answer(called));
    if let Call::Setup { ring: ring @ 1.., .. } = called.call {
        let _ = write!(line, " ring{}", RingId(ring).ordinal());
    }
    line
}

/// The same as JSON.
pub(super) fn called_json(process: &Process, called: &CalledRecord, start_ns: u64) -> Json {
    let (name, args) = call(called);
    let args: Map<String, Json> = args.into_iter().map(|(n, v)| (n.to_owned(), v.into())).collect();
    let ring = if let Call::Setup { ring: ring @ 1.., .. } = called.call {
        Some(RingId(ring).ordinal())
    } else {
        None
    };
    json!({
        "event": "call",
        "call": name,
        "process": process.serial,
        "pid": process.pid,
        "tid": called.tid,
        "time": seconds(called.time_ns, start_ns),
        "args": args,
        "ring": ring,
        "res": called.result,
        "error": i32::try_from(called.result).ok().and_then(error),
    })
}

/// The same as one JSON object.
pub(super) fn json(event: &Event<'_>, start_ns: u64) -> Json {
    let Event { request, told } = event;
    let taken = &request.taken;
    let mut object = Map::new();
    let mut put = |name: &str, value: Json| object.insert(name.to_owned(), value);
    put("event", if request.told == 0 { "request".into() } else { "cqe".into() });
    put("process", request.process.into());
    put("pid", request.pid.into());
    put("tid", taken.tid.into());
    put("ring", request.ring().into());
    put("id", request.id.into());
    put("op", entry::opcode(taken.sqe.opcode).into());
    put("submitted", seconds(taken.time_ns, start_ns).into());
    if request.told == 0 {
        put("fd", taken.sqe.fd.into());
        put("fixed", (taken.sqe.flags & SqeFlags::FIXED_FILE.bits() != 0).into());
        put("file", request.file.as_deref().into());
        put("args", args(request));
        put("chain", request.chain.into());
        put(
            "points_to",
            pointees(request)
                .into_iter()
                .map(|(n, said)| (n.to_owned(), said.into()))
                .collect::<Map<_, _>>()
                .into(),
        );
        put("written", request.written.as_ref().map(Bytes::said).into());
    }
    put("user_data", format!("{:#x}", taken.sqe.user_data).into());
    match told {
        None => {
            put("state", "in flight".into());
            put("res", Json::Null);
        }
        Some(told) => {
            put("state", if event.is_last() { "done".into() } else { "more".into() });
            put("shot", request.told.into());
            put("time", seconds(told.time_ns, start_ns).into());
            put("latency_ns", event.latency_ns().into());
            put("res", told.res.into());
            put("error", error(told.res).into());
            put("cqe_flags", flags(told.flags).into());
            put("bid", buffer(told.flags).into());
            put("how", told.how.word().into());
            put("posted", (told.went != Went::Nowhere).into());
            put("overflow", (told.went == Went::Backlog).into());
            put("read", request.read.as_ref().map(Bytes::said).into());
        }
    }
    Json::Object(object)
}

fn args(request: &Request) -> Json {
    let one = |arg: entry::Arg| {
        let value = match arg.value {
            Value::Number(n) => json!(n),
            // Addresses have more bits than a JSON number is sure to keep.
            Value::Hex(n) => json!(format!("{n:#x}")),
            Value::Text(t) => json!(t),
        };
        (arg.name.to_owned(), value)
    };
    Json::Object(entry::args(&request.taken.sqe).into_iter().map(one).collect())
}

/// The errno's name, or its number, of a result that is one.
pub(super) fn error(res: i32) -> Option<String> {
    let number = u16::try_from(-i64::from(res)).ok().filter(|n| (1..4096).contains(n))?;
    Some(Errno::from_raw(number).name().map_or_else(|| number.to_string(), str::to_owned))
}

/// A CQE's flags by name.
pub(super) fn flags(flags: u32) -> String {
    let of_buffer = if buffer(flags).is_some() { u32::MAX << BUFFER_SHIFT } else { 0 };
    entry::names(rings::CQE, "CQE_", (flags & !of_buffer).into())
}

/// The buffer that a CQE's flags name.
pub(super) fn buffer(flags: u32) -> Option<u32> {
    (flags & CqeFlags::BUFFER.bits() != 0).then_some(flags >> BUFFER_SHIFT)
}

fn seconds(at_ns: u64, start_ns: u64) -> f64 {
    at_ns.saturating_sub(start_ns) as f64 / 1e9
}

/// A time in the unit that fits.
pub(super) fn duration(ns: u64) -> String {
    let ns_f = ns as f64;
    match ns {
        0..1_000_000 => format!("{:.1}us", ns_f / 1e3),
        1_000_000..1_000_000_000 => format!("{:.3}ms", ns_f / 1e6),
        _ => format!("{:.3}s", ns_f / 1e9),
    }
}

/// Without control characters.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_numbers_or_errnos_by_name() {
        assert_eq!(error(12), None);
        assert_eq!(error(-2).as_deref(), Some("ENOENT"));
        assert_eq!(error(-4095).as_deref(), Some("4095"));
        assert_eq!(error(i32::MIN), None);
    }

    #[test]
    fn a_buffer_is_told_apart_from_the_flags() {
        let bits = 7 << BUFFER_SHIFT | CqeFlags::BUFFER.bits() | CqeFlags::MORE.bits();
        assert_eq!((buffer(bits), flags(bits).as_str()), (Some(7), "F_BUFFER|F_MORE"));
        assert_eq!((buffer(1 << 20), flags(1 << 20).as_str()), (None, "0x100000"));
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        assert_eq!(printable("/a\u{1b}[2J\n"), "/a\\u{1b}[2J\\n");
    }
}
