//! The rows against each other.

use super::refusal::{self, COUNTERS, Name, names};
use super::*;
use crate::opcode::OPDEFS;
use crate::support::rings::{ENTER_ACCEPTED, FEATURES_REPORTED, SETUP_ACCEPTED, SQE_ACCEPTED};
use ringer_uapi::{Errno, OP_COUNT, REGISTER_COUNT, Sqe};
use std::collections::BTreeSet;
use std::string::{String, ToString as _};
use std::vec::Vec;

fn refused(sqe: &Sqe, e: Errno) -> Vec<String> {
    let mut seen = Vec::new();
    refusal::of_sqe(sqe, e, |i| seen.extend(names().nth(i).map(|n| n.to_string())));
    seen
}

#[test]
fn there_is_a_row_for_everything_that_6_18_has() {
    let count = |title: &str| TABLES.iter().find(|t| t.title == title).map(|t| t.rows.len());
    assert_eq!(count("Opcodes"), Some(OP_COUNT + 2));
    assert_eq!(count("Register operations"), Some(REGISTER_COUNT as usize + 2));
    assert_eq!(count("Setup flags"), Some(21));
    assert_eq!(count("Enter flags"), Some(8));
    assert_eq!(count("SQE flags"), Some(7));
    assert_eq!(count("Features"), Some(18));
    assert_eq!(rows().count(), ROWS);
    assert_eq!(names().count(), COUNTERS);
}

#[test]
fn names_are_unique_and_stand_in_order() {
    let mut seen = BTreeSet::new();
    for (table, row) in rows() {
        assert!(seen.insert(row.name), "{} twice ({})", row.name, table.title);
    }
    for table in TABLES.iter().filter(|t| t.place.is_bits() && t.place != Place::Argument) {
        assert!(table.rows.is_sorted_by(|a, b| a.value < b.value), "{}", table.title);
        assert!(table.rows.iter().all(|r| r.value.is_power_of_two()), "{}", table.title);
    }
}

#[test]
fn what_is_not_full_says_why() {
    for (_, row) in rows().filter(|(_, r)| r.support != Support::Full) {
        assert!(!row.support.note().is_empty(), "{}", row.name);
    }
}

#[test]
fn what_a_note_leaves_to_an_issue_is_refused_until_then() {
    for (_, row) in rows().filter(|(_, r)| r.support.note().contains("(issue")) {
        assert!(matches!(row.support.issue(), Some(4 | 5)), "{}", row.name);
    }
    assert_eq!(Support::Refused(Errno::EINVAL, "needs a card").issue(), None);
}

#[test]
fn what_is_newer_than_6_18_is_refused() {
    for (_, row) in rows().filter(|(_, r)| r.is_newer()) {
        assert!(matches!(row.support, Support::Refused(Errno::EINVAL, _)), "{}", row.name);
    }
}

#[test]
fn masks_are_what_the_rows_say() {
    assert_eq!(SETUP_ACCEPTED & !0x7ffff, 0, "6.18's mask");
    assert_eq!(ENTER_ACCEPTED, 0xff, "what is refused there has an errno of its own");
    assert_eq!(SQE_ACCEPTED, 0x7f);
    assert_eq!(FEATURES_REPORTED & !0x3ffff, 0, "6.18's features");
    for row in rings::SETUP {
        let let_in = u64::from(SETUP_ACCEPTED) & row.value != 0;
        assert_eq!(let_in, row.support.is_there(), "{}", row.name);
    }
}

#[test]
fn a_refused_opcode_is_named_and_so_are_flags() {
    let op = |opcode| Sqe { opcode, ..Sqe::default() };
    assert_eq!(refused(&op(58), Errno::EINVAL), ["RECV_ZC (EINVAL)"]);
    assert_eq!(refused(&op(64), Errno::EINVAL), ["URING_CMD128 (EINVAL)"]);
    assert_eq!(refused(&op(200), Errno::EINVAL), ["unknown in Opcodes"]);
    let level = Sqe { len: 8, ..op(6) };
    assert_eq!(refused(&level, Errno::EINVAL), ["POLL_ADD_LEVEL (EINVAL)"]);
    let bit7 = Sqe { flags: 0x80, ..op(22) };
    assert_eq!(refused(&bit7, Errno::EINVAL), ["unknown in SQE flags"]);
}

#[test]
fn a_request_that_any_kernel_refuses_names_nothing() {
    let nop = Sqe { ioprio: 1, ..Sqe::default() };
    assert_eq!(refused(&nop, Errno::EINVAL), Vec::<String>::new());
    let read = Sqe { opcode: 22, flags: 1, ..Sqe::default() };
    assert_eq!(refused(&read, Errno::EFAULT), Vec::<String>::new());
}

#[test]
fn refused_calls_are_named() {
    let mut seen = Vec::new();
    refusal::of_register(32, |i| seen.push(i));
    refusal::of_register(36, |i| seen.push(i));
    refusal::of_register(99, |i| seen.push(i));
    refusal::of_register(2, |i| seen.push(i));
    refusal::of_flags(Place::Setup, 1 << 19 | 1 << 30, |i| seen.push(i));
    let said: Vec<_> = seen.iter().map(|&i| names().nth(i).map(|n| n.to_string())).collect();
    let said: Vec<_> = said.iter().flatten().map(String::as_str).collect();
    assert_eq!(
        said,
        [
            "REGISTER_ZCRX_IFQ (EINVAL)",
            "REGISTER_ZCRX_CTRL (EINVAL)",
            "unknown in Register operations",
            "SETUP_SQE_MIXED (EINVAL)",
            "unknown in Setup flags",
        ]
    );
    assert!(matches!(names().last(), Some(Name::Unknown(_))));
}

#[test]
fn the_op_table_and_its_rows_are_one() {
    for (def, (_, row)) in OPDEFS.iter().zip(rows()) {
        assert_eq!((def.name, def.support, def.since), (row.name, row.support, row.since));
    }
}
