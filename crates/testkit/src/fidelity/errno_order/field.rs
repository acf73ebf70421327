//! Ways to spoil a submission entry: one field set to a value it should not have.
//!
//! What it does not do: know which op gives a field a meaning. The kernel's recorded answer does.

use super::bench::Bench;
use Field::{
    Addr, Addr3, BufIndex, Fd, FileIndex, Flags, Ioprio, Len, Off, OpFlags, Pad2, Personality,
};
use ringer_uapi::Sqe;

/// A field of the entry; two spoils of the same field are never combined.
#[allow(missing_docs, reason = "the names are the header's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Flags,
    Ioprio,
    Fd,
    Off,
    Addr,
    Len,
    OpFlags,
    BufIndex,
    Personality,
    FileIndex,
    Addr3,
    Pad2,
}

/// How a spoil changes its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The value is stored.
    To(u64),
    /// Bits are added.
    Or(u64),
    /// `IOSQE_FIXED_FILE` with this slot: 0 holds the op's file, 1 is empty.
    Slot(i32),
    /// A descriptor of another kind.
    Other(Kind),
}

/// A descriptor that is not what the op works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain file.
    Memfd,
    /// Opened with `O_PATH`.
    Path,
    /// A ring.
    Ring,
}

/// One field spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoil {
    /// Which.
    pub field: Field,
    change: Change,
}

/// `field` holds `value`.
pub const fn to(field: Field, value: u64) -> Spoil {
    Spoil { field, change: Change::To(value) }
}

/// More bits of `sqe->flags`.
pub const fn flag(bits: u8) -> Spoil {
    Spoil { field: Flags, change: Change::Or(bits as u64) }
}

/// A registered file in place of the descriptor.
pub const fn slot(n: i32) -> Spoil {
    Spoil { field: Fd, change: Change::Slot(n) }
}

/// Another kind of file.
pub const fn other(kind: Kind) -> Spoil {
    Spoil { field: Fd, change: Change::Other(kind) }
}

impl Spoil {
    /// Whether it needs the op's `fd` to be a descriptor.
    pub fn is_of_files(&self) -> bool {
        matches!(self.change, Change::Slot(_) | Change::Other(_))
    }

    /// `ioprio=0x1`, as the transcript has it.
    pub fn label(&self) -> String {
        let name = format!("{:?}", self.field).to_lowercase();
        match self.change {
            Change::To(v) if v > u64::from(u32::MAX) => format!("{name}={:#x}", v),
            Change::To(v) => format!("{name}={v:#x}"),
            Change::Or(v) => format!("{name}|{v:#x}"),
            Change::Slot(n) => format!("slot={n}"),
            Change::Other(kind) => format!("fd={kind:?}"),
        }
    }

    /// Spoils an entry.
    pub fn apply(&self, bench: &Bench, s: &mut Sqe) {
        match self.change {
            Change::To(v) => store(s, self.field, v),
            Change::Or(bits) => s.flags |= bits as u8,
            Change::Slot(n) => {
                s.flags |= crate::sqe::FIXED;
                s.fd = n;
            }
            Change::Other(kind) => s.fd = bench.number_of(kind),
        }
    }
}

fn store(s: &mut Sqe, field: Field, v: u64) {
    match field {
        Flags => s.flags = v as u8,
        Ioprio => s.ioprio = v as u16,
        Fd => s.fd = v as u32 as i32,
        Off => s.off = v,
        Addr => s.addr = v,
        Len => s.len = v as u32,
        OpFlags => s.op_flags = v as u32,
        BufIndex => s.buf_index = v as u16,
        Personality => s.personality = v as u16,
        FileIndex => s.file_index = v as u32,
        Addr3 => s.addr3 = v,
        Pad2 => s.pad2 = v,
    }
}

/// An address of the kernel's half.
pub const KERNEL: u64 = 0xffff_8000_0000_0000;
/// An address where nothing is mapped.
pub const NOWHERE: u64 = 0x10;
/// A descriptor that nobody has.
pub const CLOSED: u64 = 999;
/// All bits of a 32-bit field.
pub const ALL32: u64 = 0xffff_ffff;

/// What every op is spoiled with; the order is the transcript's.
pub const COMMON: &[Spoil] = &[
    flag(0x80),
    flag(0x20),
    flag(0x40),
    flag(0x42),
    flag(0x10),
    flag(0x4),
    flag(0x8),
    to(Ioprio, 1),
    to(Ioprio, 0xe000),
    to(Fd, ALL32),
    to(Fd, CLOSED),
    slot(0),
    slot(1),
    other(Kind::Memfd),
    other(Kind::Path),
    to(Off, 1),
    to(Off, u64::MAX),
    to(Off, NOWHERE << 32),
    to(Addr, 0),
    to(Addr, NOWHERE),
    to(Addr, KERNEL),
    to(Len, 0),
    to(Len, 1),
    to(Len, ALL32),
    to(OpFlags, 1),
    to(OpFlags, 0x4000_0000),
    to(OpFlags, ALL32),
    to(BufIndex, 1),
    to(Personality, 9),
    to(FileIndex, 1),
    to(FileIndex, 3),
    to(FileIndex, 99),
    to(FileIndex, ALL32),
    to(Addr3, 1),
    to(Pad2, 1),
];

/// `flags` of exactly these bits.
pub const fn flags(bits: u8) -> Spoil {
    to(Flags, bits as u64)
}
