//! What a program wanted and did not get: which rows a refused request or call named.
//!
//! ```text
//!  prep says EINVAL -> rows of its opcode and flags that are refused with EINVAL -> a count each
//! ```
//! Runs on the way of a refusal only. Counters stand in the order of the rows, one more a table for
//! what no row of it names. What it does not do: count a request that any kernel refuses, unless
//! what it names is refused here as well.

use super::row::{Row, Support};
use super::tables::{Field, Place, ROWS, TABLES, Table};
use ringer_uapi::{Errno, Sqe};

/// How many counters there are.
pub const COUNTERS: usize = ROWS + super::tables::COUNT;

/// The name of a counter.
#[derive(Clone, Copy, Debug)]
pub enum Name {
    /// A refused row.
    Row(&'static Row),
    /// Something that this table has no row for.
    Unknown(&'static Table),
}

impl Name {
    /// The row's name, or the table's title and whether it is that.
    pub fn key(&self) -> Key {
        match self {
            Self::Row(row) => Key { unknown: "", name: row.name },
            Self::Unknown(table) => Key { unknown: "unknown in ", name: table.title },
        }
    }
}

/// A counter's name without its errno, to be written.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    unknown: &'static str,
    name: &'static str,
}

impl core::fmt::Display for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}{}", self.unknown, self.name)
    }
}

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.key())?;
        match self {
            Self::Row(Row { support: Support::Refused(e, _), .. }) => write!(f, " ({e})"),
            Self::Row(_) | Self::Unknown(_) => Ok(()),
        }
    }
}

/// The names of all counters, in their order.
pub fn names() -> impl Iterator<Item = Name> {
    super::tables::rows().map(|(_, r)| Name::Row(r)).chain(TABLES.iter().map(Name::Unknown))
}

/// Tells which counters a request that was refused with `e` raises.
#[cold]
pub fn of_sqe(sqe: &Sqe, e: Errno, mut count: impl FnMut(usize)) {
    if number(Place::Opcode, sqe.opcode.into(), &mut count) {
        return;
    }
    each(|i, base, table| {
        let Place::Sqe(field, ops) = table.place else { return };
        if ops.is_empty() || ops.contains(&sqe.opcode) {
            bits((i, base, table), field_of(sqe, field), e, &mut count);
        }
    });
}

/// Tells which counters a refused register operation raises.
#[cold]
pub fn of_register(opcode: u32, mut count: impl FnMut(usize)) {
    number(Place::Register, opcode.into(), &mut count);
}

/// Tells which counters refused flags of setup or enter raise.
#[cold]
pub fn of_flags(place: Place, flags: u32, mut count: impl FnMut(usize)) {
    each(|i, base, table| {
        if table.place == place {
            bits((i, base, table), flags.into(), Errno::EINVAL, &mut count);
        }
    });
}

/// Every table with its number and its first row's counter.
fn each(mut f: impl FnMut(usize, usize, &Table)) {
    let mut base = 0;
    for (i, table) in TABLES.iter().enumerate() {
        f(i, base, table);
        base += table.rows.len();
    }
}

/// A number that is refused, or that no row has. Whether it was one.
fn number(place: Place, value: u64, count: &mut impl FnMut(usize)) -> bool {
    let mut refused = false;
    each(|i, base, table| {
        if table.place != place {
            return;
        }
        let counter = match table.rows.iter().position(|r| r.value == value) {
            Some(at) if table.rows.get(at).is_some_and(|r| r.support.is_there()) => return,
            Some(at) => base + at,
            None => ROWS + i,
        };
        count(counter);
        refused = true;
    });
    refused
}

fn bits(
    (i, base, table): (usize, usize, &Table),
    set: u64,
    e: Errno,
    count: &mut impl FnMut(usize),
) {
    let mut left = set;
    for (at, row) in table.rows.iter().enumerate() {
        left &= !row.value;
        let refused = matches!(row.support, Support::Refused(errno, _) if errno == e);
        if refused && set & row.value != 0 {
            count(base + at);
        }
    }
    if left != 0 && e == Errno::EINVAL && table.place.is_whole() {
        count(ROWS + i);
    }
}

fn field_of(sqe: &Sqe, field: Field) -> u64 {
    match field {
        Field::Flags => sqe.flags.into(),
        Field::Ioprio => sqe.ioprio.into(),
        Field::OpFlags => sqe.op_flags.into(),
        Field::Len => sqe.len.into(),
        Field::AttrMask => sqe.pad2,
    }
}
