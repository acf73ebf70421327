//! What cannot be replayed, and why.
//!
//! A request can if its results and its bytes are all that the program learns of it, and nothing comes of
//! it by itself later. Everything else is refused where it is first seen: a list of what can be, so that
//! what is new is refused, too. What this does not do: end the program.

use std::fmt::Write;

use ringer_engine::host::RingId;
use ringer_engine::trace::Call;
use ringer_uapi::Sqe;
use ringer_uapi::flags::{Setup, SqeFlags};

use crate::trace::entry::{self, Arg, Target, Value};

/// `IORING_POLL_ADD_MULTI`, `IORING_TIMEOUT_MULTISHOT`.
const POLL_MULTI: u32 = 1 << 0;
const TIMEOUT_MULTI: u32 = 1 << 6;
/// `IORING_RECV_MULTISHOT`, `IORING_RECVSEND_BUNDLE`.
const RECV_MULTI: u16 = 1 << 1;
const BUNDLE: u16 = 1 << 4;
/// `IORING_REGISTER_USE_REGISTERED_RING`.
const USE_REGISTERED_RING: u32 = 1 << 31;

const SETUP: [(Setup, &str); 6] = [
    (Setup::SQPOLL, "a thread of the kernel's submits for it (IORING_SETUP_SQPOLL)"),
    (Setup::IOPOLL, "it finds completions by polling (IORING_SETUP_IOPOLL)"),
    (Setup::SQE128, "its entries have 128 bytes (IORING_SETUP_SQE128)"),
    (Setup::SQE_MIXED, "its entries may have 128 bytes (IORING_SETUP_SQE_MIXED)"),
    (Setup::CQE32, "its completions have 32 bytes (IORING_SETUP_CQE32)"),
    (Setup::CQE_MIXED, "its completions may have 32 bytes (IORING_SETUP_CQE_MIXED)"),
];

/// Why a call that succeeded is too much; `None`: it is not.
pub(super) fn of_call(call: &Call) -> Option<String> {
    match *call {
        Call::Setup { flags, ring, .. } => {
            let flags = Setup::from_bits_retain(flags);
            let (_, why) = SETUP.iter().find(|(flag, _)| flags.contains(*flag))?;
            Some(format!("ring {}: {why}", RingId(ring).ordinal()))
        }
        Call::Register { opcode, .. } => {
            let why = match opcode & !USE_REGISTERED_RING {
                0..=6 | 8..=21 | 25 | 27..=30 | 32..=35 => return None,
                7 => "its eventfd tells some completions only",
                22 | 23 | 26 => "the ring has provided buffers",
                24 => "a cancel that waits is answered by what is under way",
                31 => "rings send each other messages",
                _ => "what comes of it is not known",
            };
            Some(format!("io_uring_register opcode {}: {why}", opcode & !USE_REGISTERED_RING))
        }
    }
}

/// Why an entry is too much; `None`: it is not.
pub(super) fn of_entry(sqe: &Sqe) -> Option<&'static str> {
    if sqe.flags & SqeFlags::BUFFER_SELECT.bits() != 0 {
        return Some("it takes a provided buffer");
    }
    match sqe.opcode {
        6 | 7 if sqe.len & POLL_MULTI != 0 => Some("it is a multishot request"),
        11 if sqe.op_flags & TIMEOUT_MULTI != 0 => Some("it is a multishot request"),
        27 if sqe.ioprio & RECV_MULTI != 0 => Some("it is a multishot request"),
        26 | 27 if sqe.ioprio & BUNDLE != 0 => Some("it takes provided buffers"),
        18 | 19 | 28 if sqe.file_index != 0 => Some("its descriptor is a direct one"),
        1 | 2 | 4 | 5 | 22 | 23 | 60 | 61 if sqe.pad2 != 0 => Some("it has attributes"),
        0..=9 | 11 | 12 | 14..=19 | 21..=24 | 26..=28 | 34 | 55 | 60 | 61 => None,
        10 => Some("addresses and descriptors may come with a message"),
        13 | 45 | 54 | 62 => Some("it makes descriptors"),
        25 => Some("it changes the program's memory"),
        20 => Some("it changes the registered files"),
        29 | 59 => Some("it works on an epoll instance, which ordinary calls use, too"),
        30 | 33 => Some("its bytes never are in the program's memory"),
        31 | 32 => Some("it provides buffers"),
        35..=39 | 41..=44 => Some("it works on names of files, which ordinary calls use, too"),
        40 => Some("rings send each other messages"),
        46 => Some("what it does is a driver's affair"),
        47 | 48 => Some("it tells of its buffers separately"),
        49 | 58 => Some("it is a multishot request"),
        50 => Some("children are ordinary calls' affair, too"),
        51..=53 => Some("it waits for memory, or wakes who does"),
        56 | 57 => Some("it sets a socket up, which ordinary calls use, too"),
        _ => Some("what comes of it is not known"),
    }
}

/// A submission as one reads it, without addresses.
pub(super) fn said(sqe: &Sqe) -> String {
    let mut text = entry::opcode(sqe.opcode).into_owned();
    let fixed = sqe.flags & SqeFlags::FIXED_FILE.bits() != 0;
    let _ = match entry::target(sqe) {
        Target::File if fixed => write!(text, " fd=fixed:{}", sqe.fd),
        Target::File | Target::Folder => write!(text, " fd={}", sqe.fd),
        Target::Other(name) => write!(text, " {name}={}", sqe.fd),
        Target::Unused => Ok(()),
    };
    let is_address = |arg: &Arg| arg.field.is_some() && matches!(arg.value, Value::Hex(_));
    for arg in entry::args(sqe).iter().filter(|arg| !is_address(arg)) {
        let _ = match &arg.value {
            Value::Number(n) => write!(text, " {}={n}", arg.name),
            Value::Hex(n) => write!(text, " {}={n:#x}", arg.name),
            Value::Text(t) => write!(text, " {}={t}", arg.name),
        };
    }
    text
}
