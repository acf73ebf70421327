//! A row: one thing that a program may name or be told, how far it is carried out, and the masks
//! that rows give.
//!
//! What it does not do: know where the thing stands (`tables` does).

use ringer_uapi::Errno;

/// The kernel that a thing came with: major and minor number.
pub type Kernel = (u8, u8);

/// How far a thing is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Everything that 6.18 does.
    Full,
    /// With a gap, named here.
    Partial(&'static str),
    /// Not at all: the errno that whoever asks gets, and why.
    Refused(Errno, &'static str),
}

impl Support {
    /// Whether it is carried out, if only in part.
    pub const fn is_there(&self) -> bool {
        !matches!(self, Self::Refused(..))
    }

    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial(_) => "partial",
            Self::Refused(..) => "refused",
        }
    }

    /// The issue that carries out what is refused, if its note names one: "... (issue 5)".
    pub fn issue(&self) -> Option<u32> {
        let Self::Refused(_, why) = self else { return None };
        why.rsplit_once("(issue ")?.1.strip_suffix(')')?.parse().ok()
    }

    /// What is to be said beyond the word; empty for [`Support::Full`].
    pub const fn note(&self) -> &'static str {
        match self {
            Self::Full => "",
            Self::Partial(note) | Self::Refused(_, note) => note,
        }
    }
}

/// One thing that a program may name, or be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The header's name without `IORING_`; opcodes also without `OP_`.
    pub name: &'static str,
    /// Its number, or its bit.
    pub value: u64,
    /// The kernel that io_uring has it from.
    pub since: Kernel,
    /// See [`Support`].
    pub support: Support,
}

impl Row {
    /// Whether it came after 6.18.
    pub fn is_newer(&self) -> bool {
        self.since > (6, 18)
    }
}

/// The bits that are let in: all but those whose row answers `EINVAL`. One that is refused with
/// another errno gets it where it is used.
pub const fn accepted(rows: &[Row]) -> u32 {
    let mut mask = 0;
    let mut i = 0;
    while i < rows.len() {
        let einval = match rows[i].support {
            Support::Refused(e, _) => e.raw() == Errno::EINVAL.raw(),
            Support::Full | Support::Partial(_) => false,
        };
        if !einval {
            mask |= rows[i].value as u32;
        }
        i += 1;
    }
    mask
}

/// The bits that are carried out, if only in part.
pub const fn carried_out(rows: &[Row]) -> u32 {
    let mut mask = 0;
    let mut i = 0;
    while i < rows.len() {
        if rows[i].support.is_there() {
            mask |= rows[i].value as u32;
        }
        i += 1;
    }
    mask
}

/// The rows of one flag set: name, the header's if it is another, kernel, support; the bits are
/// those of the typed set.
macro_rules! flag_rows {
    (@name $prefix:literal $name:ident) => { concat!($prefix, stringify!($name)) };
    (@name $prefix:literal $name:ident $header:literal) => { $header };
    ($set:ident $prefix:literal:
        $($name:ident $(as $header:literal)? ($major:literal, $minor:literal) $support:expr;)+) => {
        &[$(crate::support::Row {
            name: crate::support::row::flag_rows!(@name $prefix $name $($header)?),
            value: $set::$name.bits() as u64,
            since: ($major, $minor),
            support: $support,
        }),+]
    };
}
pub(crate) use flag_rows;
