//! What an SQE asks for, field by field, with the names that the opcode gives its fields.
//!
//! A field that the opcode's row does not name and that is not 0 is told in hex under the name that it
//! has in `struct io_uring_sqe`; so is everything of an opcode without a row. What this does not do:
//! say what an address points to (`bytes`), or print.

use std::borrow::Cow;

use ringer_engine::opcode::opdef;
use ringer_engine::support::{Row, opflags, rings};
use ringer_engine::trace::buffer::Field;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{FILE_INDEX_ALLOC, Sqe};

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arg {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) value: Value,
    /// Where it stands, if it may be an address of something that is shown.
    pub(crate) field: Option<Field>,
}

impl Arg {
    fn new(name: &'static str, value: Value) -> Self {
        Self { name, value, field: None }
    }
}

/// An argument's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A count, a length, an offset.
    Number(i64),
    /// An address, bits without names.
    Hex(u64),
    /// Names.
    Text(String),
}

/// What `fd` of an opcode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A descriptor, or with `IOSQE_FIXED_FILE` a slot.
    File,
    /// A directory that paths begin at.
    Folder,
    /// Something else, with a name.
    Other(&'static str),
    /// Nothing; said if it is set all the same.
    Unused,
}

/// Where in an SQE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Off,
    Addr,
    Len,
    Flags,
    Buf,
    Index,
    Addr3,
    Prio,
}
use At::{Addr, Addr3, Buf, Flags, Index, Len, Off, Prio};

impl At {
    /// All, with the header's name.
    const ALL: [(Self, &'static str); 8] = [
        (Addr, "addr"),
        (Len, "len"),
        (Off, "off"),
        (Flags, "op_flags"),
        (Prio, "ioprio"),
        (Buf, "buf_index"),
        (Index, "file_index"),
        (Addr3, "addr3"),
    ];

    fn field(self) -> Option<Field> {
        match self {
            Addr => Some(Field::Addr),
            Off => Some(Field::Off),
            Addr3 => Some(Field::Addr3),
            _ => None,
        }
    }

    fn of(self, sqe: &Sqe) -> u64 {
        match self {
            Off => sqe.off,
            Addr => sqe.addr,
            Len => sqe.len.into(),
            Flags => sqe.op_flags.into(),
            Buf => sqe.buf_index.into(),
            Index => sqe.file_index.into(),
            Addr3 => sqe.addr3,
            Prio => sqe.ioprio.into(),
        }
    }
}

/// How it is said.
#[derive(Clone, Copy, Debug)]
enum As {
    /// Decimal.
    Dec,
    /// Decimal with a sign, -1 being the file's position.
    Place,
    /// A descriptor in 32 bits.
    Number,
    /// Hex.
    Hex,
    /// Octal.
    Octal,
    /// Hex, unless it is 0.
    Bits,
    /// By name, unless it is 0; what has none in hex.
    Names(&'static [Row]),
    /// A slot of the table of files, unless it is 0.
    Slot,
}
use As::{Bits, Dec, Hex, Names, Number, Octal, Place, Slot};

type Shape = &'static [(At, &'static str, As)];

const RWF: (At, &str, As) = (Flags, "flags", Names(opflags::RWF));
const RECVSEND: (At, &str, As) = (Prio, "ioprio", Names(opflags::RECVSEND));
const READ: Shape = &[(Addr, "addr", Hex), (Len, "len", Dec), (Off, "off", Place), RWF];
const VECTOR: Shape = &[(Addr, "iov", Hex), (Len, "iovs", Dec), (Off, "off", Place), RWF];
const FIXED: Shape =
    &[(Addr, "addr", Hex), (Len, "len", Dec), (Off, "off", Place), (Buf, "buf", Dec), RWF];
const SEND: Shape = &[
    (Addr, "addr", Hex),
    (Len, "len", Dec),
    (Flags, "msg_flags", Bits),
    RECVSEND,
    (Off, "to", Bits),
    (Index, "to_len", Bits),
];
const MESSAGE: Shape =
    &[(Addr, "msg", Hex), (Len, "len", Dec), (Flags, "msg_flags", Bits), RECVSEND];
const PATHS: Shape =
    &[(Addr, "path", Hex), (Len, "to_fd", Number), (Off, "to_path", Hex), (Flags, "flags", Bits)];
const SPLICE: Shape = &[
    (Index, "from", Number),
    (Addr, "from_off", Place),
    (Off, "off", Place),
    (Len, "len", Dec),
    (Flags, "flags", Names(opflags::SPLICE)),
];
const TIMEOUT: Shape = &[
    (Addr, "ts", Hex),
    (Len, "len", Dec),
    (Off, "count", Dec),
    (Flags, "flags", Names(opflags::TIMEOUT)),
];
const FUTEX: Shape = &[
    (Addr, "word", Hex),
    (Off, "value", Dec),
    (Addr3, "mask", Hex),
    (Len, "len", Bits),
    (Flags, "flags", Bits),
];
const FILE_XATTR: Shape =
    &[(Addr, "name", Hex), (Off, "value", Hex), (Len, "len", Dec), (Flags, "flags", Bits)];
const PATH_XATTR: Shape = &[
    (Addr3, "path", Hex),
    (Addr, "name", Hex),
    (Off, "value", Hex),
    (Len, "len", Dec),
    (Flags, "flags", Bits),
];

/// The fields of an opcode; the man page is io_uring_enter(2), or the `io_uring_prep_*(3)` of its name.
fn shape(opcode: u8) -> Shape {
    match opcode {
        0 => &[(Flags, "flags", Names(opflags::NOP)), (Len, "result", Bits)],
        1 | 2 => VECTOR,
        3 => &[(Off, "off", Bits), (Len, "len", Bits), (Flags, "flags", Names(opflags::FSYNC))],
        4 | 5 => FIXED,
        6 => &[(Flags, "events", Hex), (Len, "flags", Names(opflags::POLL_ADD))],
        7 => &[
            (Addr, "target", Hex),
            (Off, "new_user_data", Bits),
            (Flags, "events", Bits),
            (Len, "flags", Names(opflags::POLL_REMOVE)),
        ],
        8 => &[(Off, "off", Place), (Len, "len", Dec), (Flags, "flags", Bits)],
        9 | 10 | 48 => MESSAGE,
        11 | 15 => TIMEOUT,
        12 => &[
            (Addr, "target", Hex),
            (Off, "ts", Bits),
            (Flags, "flags", Names(opflags::TIMEOUT_REMOVE)),
        ],
        13 => &[
            (Addr, "peer", Bits),
            (Off, "peer_len", Bits),
            (Flags, "sock_flags", Bits),
            (Prio, "ioprio", Names(opflags::ACCEPT)),
            (Index, "slot", Slot),
        ],
        14 => &[
            (Addr, "target", Hex),
            (Len, "op", Bits),
            (Flags, "flags", Names(opflags::ASYNC_CANCEL)),
        ],
        16 => &[(Addr, "to", Hex), (Off, "to_len", Dec)],
        17 => &[(Len, "mode", Hex), (Off, "off", Place), (Addr, "len", Dec)],
        18 => &[
            (Addr, "path", Hex),
            (Flags, "flags", Hex),
            (Len, "mode", Octal),
            (Index, "slot", Slot),
        ],
        _ => later_shape(opcode),
    }
}

/// The same of those that came after OPENAT.
fn later_shape(opcode: u8) -> Shape {
    match opcode {
        19 => &[(Index, "slot", Slot)],
        20 => &[(Addr, "fds", Hex), (Len, "count", Dec), (Off, "slot", Dec)],
        21 => &[(Addr, "path", Hex), (Flags, "flags", Bits), (Len, "mask", Hex), (Off, "buf", Hex)],
        22 | 23 | 49 => READ,
        24 => &[(Off, "off", Place), (Len, "len", Dec), (Flags, "advice", Dec)],
        25 => &[(Addr, "addr", Hex), (Len, "len", Dec), (Flags, "advice", Dec)],
        26 | 27 | 47 | 58 => SEND,
        28 => &[(Addr, "path", Hex), (Off, "how", Hex), (Len, "size", Dec), (Index, "slot", Slot)],
        29 => &[(Len, "op", Dec), (Off, "target", Dec), (Addr, "event", Hex)],
        30 | 33 => SPLICE,
        31 => &[(Addr, "addr", Hex), (Len, "len", Dec), (Off, "bid", Dec), (Buf, "group", Dec)],
        32 => &[(Buf, "group", Dec)],
        34 => &[(Len, "how", Dec)],
        35 | 39 => PATHS,
        36 => &[(Addr, "path", Hex), (Flags, "flags", Bits)],
        37 => &[(Addr, "path", Hex), (Len, "mode", Octal)],
        38 => &[(Addr, "target", Hex), (Off, "path", Hex)],
        40 => &[
            (Addr, "command", Dec),
            (Len, "res", Hex),
            (Off, "data", Hex),
            (Flags, "flags", Names(opflags::MSG_RING)),
            (Index, "to_slot", Slot),
            (Addr3, "from_slot", Bits),
        ],
        41 | 43 => FILE_XATTR,
        42 | 44 => PATH_XATTR,
        45 => &[
            (Off, "type", Hex),
            (Len, "protocol", Dec),
            (Flags, "flags", Bits),
            (Index, "slot", Slot),
        ],
        46 => &[(Off, "command", Hex), (Flags, "flags", Names(opflags::URING_CMD))],
        50 => &[
            (Len, "which", Dec),
            (Off, "info", Hex),
            (Index, "options", Hex),
            (Flags, "flags", Bits),
        ],
        51 | 52 => FUTEX,
        53 => &[(Addr, "words", Hex), (Len, "count", Dec)],
        54 => &[(Flags, "flags", Names(opflags::INSTALL))],
        55 => &[(Off, "len", Dec)],
        56 => &[(Addr, "at", Hex), (Off, "at_len", Dec)],
        57 => &[(Len, "backlog", Dec)],
        59 => &[(Addr, "events", Hex), (Len, "count", Dec)],
        60 | 61 => {
            &[(Addr, "iov", Hex), (Len, "iovs", Dec), (Off, "off", Place), (Buf, "buf", Dec), RWF]
        }
        62 => &[(Addr, "fds", Hex), (Flags, "flags", Bits), (Index, "slot", Slot)],
        _ => &[],
    }
}

/// What `fd` is.
pub(crate) fn target(sqe: &Sqe) -> Target {
    match sqe.opcode {
        31 | 32 => Target::Other("count"),
        45 => Target::Other("domain"),
        50 => Target::Other("id"),
        51 | 52 => Target::Other("futex_flags"),
        18 | 21 | 28 | 35..=39 => Target::Folder,
        19 if sqe.file_index != 0 => Target::Unused,
        19 | 29 | 40 => Target::File,
        _ if opdef(sqe.opcode).is_none_or(|d| d.needs_file) => Target::File,
        _ if sqe.flags & SqeFlags::FIXED_FILE.bits() != 0 => Target::File,
        _ => Target::Unused,
    }
}

/// The opcode by name, or its number.
pub(crate) fn opcode(opcode: u8) -> Cow<'static, str> {
    opdef(opcode).map_or_else(|| format!("OP_{opcode}").into(), |def| def.name.into())
}

/// The arguments but for `fd`.
pub(crate) fn args(sqe: &Sqe) -> Vec<Arg> {
    let shape = shape(sqe.opcode);
    let mut args: Vec<Arg> =
        shape.iter().filter_map(|&(at, name, how)| say(sqe, at, name, how)).collect();
    let selects = sqe.flags & SqeFlags::BUFFER_SELECT.bits() != 0;
    if selects {
        args.push(Arg::new("group", Value::Number(sqe.buf_index.into())));
    }
    for (at, name) in At::ALL {
        let said = shape.iter().any(|(named, ..)| *named == at) || selects && at == Buf;
        if !said && at.of(sqe) != 0 {
            args.push(Arg::new(name, Value::Hex(at.of(sqe))));
        }
    }
    if sqe.pad2 != 0 {
        args.push(Arg::new("pad2", Value::Hex(sqe.pad2)));
    }
    if sqe.personality != 0 {
        args.push(Arg::new("personality", Value::Number(sqe.personality.into())));
    }
    if sqe.flags != 0 {
        let value = Value::Text(names(rings::SQE, "IOSQE_", sqe.flags.into()));
        args.push(Arg::new("sqe", value));
    }
    args
}

fn say(sqe: &Sqe, at: At, name: &'static str, how: As) -> Option<Arg> {
    let raw = at.of(sqe);
    let value = match how {
        Bits | Slot | Names(_) if raw == 0 => return None,
        Dec => Value::Number(raw.cast_signed()),
        Number => Value::Number((raw as u32).cast_signed().into()),
        Place => Value::Number(raw.cast_signed()),
        Hex | Bits => Value::Hex(raw),
        Octal => Value::Text(format!("0{raw:o}")),
        Names(rows) => Value::Text(names(rows, "", raw)),
        Slot if raw == u64::from(FILE_INDEX_ALLOC) => Value::Text("alloc".into()),
        Slot => Value::Number(raw.cast_signed() - 1),
    };
    Some(Arg { field: at.field(), ..Arg::new(name, value) })
}

/// Bits by name, without `prefix`; those that have none in hex.
pub(crate) fn names(rows: &[Row], prefix: &str, bits: u64) -> String {
    let known = rows.iter().filter(|row| row.value != 0 && bits & row.value == row.value);
    let mut words: Vec<String> =
        known.clone().map(|row| row.name.trim_start_matches(prefix).to_owned()).collect();
    let rest = known.fold(bits, |rest, row| rest & !row.value);
    if rest != 0 {
        words.push(format!("{rest:#x}"));
    }
    words.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sqe: &Sqe) -> Vec<String> {
        let one = |a: &Arg| match &a.value {
            Value::Number(n) => format!("{}={n}", a.name),
            Value::Hex(n) => format!("{}={n:#x}", a.name),
            Value::Text(t) => format!("{}={t}", a.name),
        };
        args(sqe).iter().map(one).collect()
    }

    #[test]
    fn a_read_has_its_fields_by_name() {
        let sqe =
            Sqe { opcode: 22, addr: 0x10, len: 512, op_flags: 8, flags: 0x11, ..Sqe::default() };
        let want = ["addr=0x10", "len=512", "off=0", "flags=RWF_NOWAIT", "sqe=FIXED_FILE|ASYNC"];
        assert_eq!(said(&sqe), want);
    }

    #[test]
    fn fields_that_an_opcode_does_not_have_are_told_in_hex() {
        let sqe = Sqe { opcode: 19, addr: 3, addr3: 4, flags: 0x80, ..Sqe::default() };
        assert_eq!(said(&sqe), ["addr=0x3", "addr3=0x4", "sqe=0x80"]);
    }

    #[test]
    fn an_unknown_opcode_is_a_number_with_raw_fields() {
        let sqe = Sqe { opcode: 200, off: 7, fd: 3, ..Sqe::default() };
        assert_eq!((&*opcode(200), target(&sqe)), ("OP_200", Target::File));
        assert_eq!(said(&sqe), ["off=0x7"]);
    }

    #[test]
    fn every_opcode_says_every_field_that_is_set() {
        for opcode in 0..=255 {
            let sqe = Sqe {
                opcode,
                ioprio: 0x1000,
                off: 0x2000,
                addr: 0x3000,
                len: 0x4000,
                op_flags: 0x5000,
                buf_index: 0x600,
                file_index: 0x7000,
                addr3: 0x8000,
                ..Sqe::default()
            };
            assert_eq!(args(&sqe).len(), 8, "{opcode}: {:?}", args(&sqe));
        }
    }
}
