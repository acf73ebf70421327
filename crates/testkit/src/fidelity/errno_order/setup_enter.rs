//! The errno order of setup and enter: every two flag bits at every boundary of the sizes, and
//! every argument.

use super::calls::Place::{Arg, Flag, Long, Memory, Word};
use super::calls::{Call, Desk, HIGH, NO_RING, Patch, Row, STRUCTURE, Tries, put};
use super::field::{ALL32, CLOSED, KERNEL, NOWHERE};
use super::{Recorder, TABLES, matrix};
use crate::call::{ENTER, SETUP};
use crate::fidelity::{Claim, Outcome};
use crate::os;
use crate::sqe;

/// The 21 bits of the header, then one that nobody has.
const BITS: &[Patch] = &[
    put(Flag(0), 1),
    put(Flag(1), 1),
    put(Flag(2), 1),
    put(Flag(3), 1),
    put(Flag(4), 1),
    put(Flag(5), 1),
    put(Flag(6), 1),
    put(Flag(7), 1),
    put(Flag(8), 1),
    put(Flag(9), 1),
    put(Flag(10), 1),
    put(Flag(11), 1),
    put(Flag(12), 1),
    put(Flag(13), 1),
    put(Flag(14), 1),
    put(Flag(15), 1),
    put(Flag(16), 1),
    put(Flag(17), 1),
    put(Flag(18), 1),
    put(Flag(19), 1),
    put(Flag(20), 1),
    put(Flag(31), 1),
];
const SETUP_PARTS: &[(super::calls::Place, &str)] =
    &[(Flag(15), "SETUP_REGISTERED_FD_ONLY"), (Flag(18), "SETUP_CQE_MIXED")];
const FIELDS: &[Patch] = &[
    put(Arg(0), 0),
    put(Arg(0), 3),
    put(Arg(0), 32_768),
    put(Arg(0), 32_769),
    put(Arg(0), ALL32),
    put(Arg(1), 0),
    put(Arg(1), NOWHERE),
    put(Arg(1), KERNEL),
    put(Word(0), 1),
    put(Word(4), 1),
    put(Word(4), 5),
    put(Word(4), 65_536),
    put(Word(4), 65_537),
    put(Word(12), 9999),
    put(Word(20), ALL32),
    put(Word(24), ALL32),
    put(Word(24), NO_RING),
    put(Word(28), 1),
    put(Word(36), 1),
    put(Long(72), NOWHERE),
    put(Long(112), 4096),
    put(Memory, 1),
];

const fn setup(name: &'static str, call: fn(&mut Desk) -> Result<Call, String>) -> Row {
    Row { name, call, more: &[], common: BITS, parts: SETUP_PARTS }
}

fn of(desk: &Desk, entries: u64, cq_entries: u64) -> Call {
    desk.structure(&[cq_entries << 32, 0]);
    Call { nr: SETUP, args: [entries, desk.mem.addr(), 0, 0, 0, 0] }
}

const ROWS: &[Row] = &[
    Row { more: FIELDS, ..setup("SETUP", |d| Ok(of(d, 8, 0))) },
    setup("SETUP of no entries", |d| Ok(of(d, 0, 16))),
    setup("SETUP of one entry", |d| Ok(of(d, 1, 1))),
    setup("SETUP of 32768 entries", |d| Ok(of(d, 32_768, 65_536))),
    setup("SETUP of 32769 entries", |d| Ok(of(d, 32_769, 65_536))),
    setup("SETUP of 65537 completions", |d| Ok(of(d, 8, 65_537))),
    setup("SETUP of fewer completions", |d| Ok(of(d, 16, 5))),
];

const ENTER_PATCHES: &[Patch] = &[
    put(Arg(0), u64::MAX),
    put(Arg(0), CLOSED),
    put(Arg(0), NO_RING),
    put(Arg(0), 0),
    put(Arg(1), 0),
    put(Arg(1), 5),
    put(Arg(1), ALL32),
    put(Arg(2), 0),
    put(Arg(2), 2),
    put(Arg(3), 0),
    put(Flag(1), 1),
    put(Flag(2), 1),
    put(Flag(3), 1),
    put(Flag(4), 1),
    put(Flag(5), 1),
    put(Flag(6), 1),
    put(Flag(7), 1),
    put(Flag(8), 1),
    put(Flag(31), 1),
    put(Arg(4), 0),
    put(Arg(4), NOWHERE),
    put(Arg(4), KERNEL),
    put(Arg(4), STRUCTURE),
    put(Arg(5), 0),
    put(Arg(5), 8),
    put(Arg(5), 23),
    put(Arg(5), 24),
    put(Arg(5), 64),
];

/// Words of `struct io_uring_getevents_arg`: mask, its size and the minimal wait, timeout.
const GETEVENTS_ARG: &[Patch] = &[
    put(Long(0), NOWHERE),
    put(Word(8), 4),
    put(Word(12), 1),
    put(Long(16), NOWHERE),
    put(Long(16), KERNEL),
];

const ENTERS: &[Row] = &[
    Row {
        name: "ENTER",
        call: |d| enter(d, [1, 1, 1, 0, 0]),
        common: ENTER_PATCHES,
        more: &[],
        parts: &[],
    },
    Row {
        name: "ENTER with EXT_ARG",
        call: |d| {
            let structure = d.mem.addr();
            enter(d, [1, 1, 9, structure, 24])
        },
        common: ENTER_PATCHES,
        more: GETEVENTS_ARG,
        parts: &[],
    },
    Row {
        name: "ENTER without entries",
        call: |d| {
            let structure = d.mem.addr();
            enter(d, [0, 1, 9, structure, 24])
        },
        common: ENTER_PATCHES,
        more: GETEVENTS_ARG,
        parts: &[],
    },
];

/// Three completions are there and one entry is queued: nothing here ever waits.
fn enter(desk: &mut Desk, rest: [u64; 5]) -> Result<Call, String> {
    desk.ring = None;
    let fd = desk.ring_with(0, |_, ring| {
        for i in 0..4 {
            ring.push(sqe::nop(i));
        }
        ring.enter(3, 0, 0, 0, 0).map(drop).map_err(|e| format!("the desk: {e:?}"))
    })?;
    let _ = os::dup2(fd, HIGH);
    desk.structure(&[0, 0, 0]);
    let [submit, min, flags, arg, size] = rest;
    Ok(Call { nr: ENTER, args: [HIGH as u64, submit, min, flags, arg, size] })
}

/// What records each table.
pub(super) fn recorders() -> Vec<Recorder> {
    ROWS.iter().chain(ENTERS).map(super::calls::recorder).collect()
}

fn order(name: &str, part: &'static str) -> Outcome {
    let row = ROWS.iter().chain(ENTERS).find(|r| r.name == name).ok_or("no such row")?;
    matrix::compare(TABLES, &mut Tries::new(row, part)?)
}

macro_rules! claims {
    ($($claim:literal $section:literal $name:literal $part:literal $says:literal;)*) => {
        /// One for every boundary, and the parts.
        pub const CLAIMS: &[Claim] = &[$(Claim {
            name: $claim,
            section: $section,
            says: $says,
            needs: if $part.is_empty() { &[] as &[&str] } else { &[$part] },
            run: || order($name, $part),
        }),*];
    };
}

claims! {
    "setup_refuses_stray_fields_in_the_kernels_order" "2.2" "SETUP" ""
        "setup with one or two flag bits, sizes or fields spoiled answers as recorded.";
    "setup_of_no_entries_with_any_two_flags" "2.2" "SETUP of no entries" ""
        "Any one or two of the flag bits, with 0 entries, answer as recorded.";
    "setup_of_one_entry_with_any_two_flags" "2.2" "SETUP of one entry" ""
        "Any one or two of the flag bits, with 1 entry and 1 completion, answer as recorded.";
    "setup_of_32768_entries_with_any_two_flags" "2.2" "SETUP of 32768 entries" ""
        "Any one or two of the flag bits, at the largest sizes, answer as recorded.";
    "setup_of_32769_entries_with_any_two_flags" "2.2" "SETUP of 32769 entries" ""
        "Any one or two of the flag bits, one entry beyond the largest size, answer as recorded.";
    "setup_of_65537_completions_with_any_two_flags" "2.2" "SETUP of 65537 completions" ""
        "Any one or two of the flag bits, one completion beyond the most, answer as recorded.";
    "setup_of_fewer_completions_with_any_two_flags" "2.2" "SETUP of fewer completions" ""
        "Any one or two of the flag bits, with a smaller CQ than SQ, answer as recorded.";
    "setup_by_index_with_stray_fields" "2.2" "SETUP" "SETUP_REGISTERED_FD_ONLY"
        "REGISTERED_FD_ONLY together with anything else answers as recorded.";
    "setup_with_mixed_completions_and_stray_fields" "2.2" "SETUP" "SETUP_CQE_MIXED"
        "CQE_MIXED together with anything else answers as recorded.";
    "enter_refuses_stray_arguments_in_the_kernels_order" "2.4" "ENTER" ""
        "enter with one or two arguments or flag bits spoiled answers as recorded.";
    "enter_with_ext_arg_refuses_stray_words_in_the_kernels_order" "2.4" "ENTER with EXT_ARG" ""
        "enter with EXT_ARG, arguments, flag bits or words of its structure spoiled, answers as recorded.";
    "enter_without_entries_refuses_stray_words_in_the_kernels_order" "2.4" "ENTER without entries" ""
        "The same with nothing to submit, when errors of the wait are not hidden.";
}
