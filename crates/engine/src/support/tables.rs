//! The tables: which rows there are, and where a program meets them.
//!
//! What it does not do: hold the rows of opcodes, register operations and flags, which stand beside
//! what they are about.

use super::row::Row;
use super::{opflags, rings};
use crate::opcode::opdef::OPCODES;
use crate::resource::regdef::REGISTER;

/// Where in an SQE a program says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `flags`.
    Flags,
    /// `ioprio`.
    Ioprio,
    /// The union of per-op flags.
    OpFlags,
    /// `len`.
    Len,
    /// `attr_type_mask`.
    AttrMask,
}

/// Where a table's things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `sqe->opcode`.
    Opcode,
    /// The operation of `io_uring_register(2)`.
    Register,
    /// `io_uring_params.flags`.
    Setup,
    /// The flags of `io_uring_enter(2)`.
    Enter,
    /// A field of the SQEs of these opcodes (none: of all).
    Sqe(Field, &'static [u8]),
    /// A structure that a register operation or a request points to.
    Argument,
    /// What a program is told: it asks for nothing, so nothing is refused.
    Told,
}

impl Place {
    /// Whether the values are bits and not numbers.
    pub const fn is_bits(self) -> bool {
        !matches!(self, Self::Opcode | Self::Register)
    }

    /// Whether the rows name all that may stand there, so that anything else is unknown.
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Opcode | Self::Register | Self::Setup | Self::Enter)
            || matches!(self, Self::Sqe(Field::Flags, _))
    }

    /// Whether a program passes it, so that there is an errno for a wrong one.
    pub const fn is_asked(self) -> bool {
        !matches!(self, Self::Told)
    }
}

/// Things of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// What it lists.
    pub title: &'static str,
    /// Where a program meets it.
    pub about: &'static str,
    /// The same for code.
    pub place: Place,
    /// In ABI order.
    pub rows: &'static [Row],
}

impl Table {
    /// How many rows are full, partial, refused, and refused because 6.18 lacks them as well.
    pub fn counts(&self) -> [usize; 4] {
        let newer = self.rows.iter().filter(|r| r.is_newer()).count();
        let of = |word| self.rows.iter().filter(|r| r.support.word() == word).count();
        [of("full"), of("partial"), of("refused") - newer, newer]
    }
}

/// How many tables there are.
pub const COUNT: usize = 26;

const ALL: [Table; COUNT] = [
    Table {
        title: "Opcodes",
        about: "`sqe->opcode`. 6.18 has 63 (0 to 62).",
        place: Place::Opcode,
        rows: &OPCODES,
    },
    Table {
        title: "SQE flags",
        about: "`sqe->flags`.",
        place: Place::Sqe(Field::Flags, &[]),
        rows: rings::SQE,
    },
    Table {
        title: "Register operations",
        about: "`io_uring_register(2)`. 6.18 has 36 (0 to 35).",
        place: Place::Register,
        rows: &REGISTER,
    },
    Table {
        title: "Setup flags",
        about: "`io_uring_params.flags`.",
        place: Place::Setup,
        rows: rings::SETUP,
    },
    Table {
        title: "Enter flags",
        about: "`io_uring_enter(2)`.",
        place: Place::Enter,
        rows: rings::ENTER,
    },
    Table {
        title: "Features",
        about: "`io_uring_params.features`. The bit of a refused one is not set; the errno is \
                that of who uses it all the same.",
        place: Place::Told,
        rows: rings::FEATURES,
    },
    Table {
        title: "CQE flags",
        about: "`cqe->flags`. A refused one is never set: what would set it answers with the \
                errno.",
        place: Place::Told,
        rows: rings::CQE,
    },
    Table {
        title: "SQ ring flags",
        about: "The SQ ring's flags word, written by ringer.",
        place: Place::Told,
        rows: rings::SQ_RING,
    },
    Table {
        title: "CQ ring flags",
        about: "The CQ ring's flags word, written by the program.",
        place: Place::Argument,
        rows: rings::CQ_RING,
    },
    Table {
        title: "NOP flags",
        about: "`sqe->nop_flags`.",
        place: Place::Sqe(Field::OpFlags, &[0]),
        rows: opflags::NOP,
    },
    Table {
        title: "Read and write flags",
        about: "`sqe->rw_flags` of the reads and writes. What the host's kernel does not know it \
                answers with `EOPNOTSUPP`.",
        place: Place::Sqe(Field::OpFlags, opflags::READS_AND_WRITES),
        rows: opflags::RWF,
    },
    Table {
        title: "Read and write attributes",
        about: "`sqe->attr_type_mask` of the reads and writes.",
        place: Place::Sqe(Field::AttrMask, opflags::READS_AND_WRITES),
        rows: opflags::RW_ATTR,
    },
    Table {
        title: "FSYNC flags",
        about: "`sqe->fsync_flags`.",
        place: Place::Sqe(Field::OpFlags, &[3]),
        rows: opflags::FSYNC,
    },
    Table {
        title: "POLL_ADD flags",
        about: "`sqe->len` of POLL_ADD.",
        place: Place::Sqe(Field::Len, &[6]),
        rows: opflags::POLL_ADD,
    },
    Table {
        title: "POLL_REMOVE flags",
        about: "`sqe->len` of POLL_REMOVE, beside POLL_ADD_MULTI.",
        place: Place::Sqe(Field::Len, &[7]),
        rows: opflags::POLL_REMOVE,
    },
    Table {
        title: "TIMEOUT and LINK_TIMEOUT flags",
        about: "`sqe->timeout_flags`; TIMEOUT_REMOVE takes TIMEOUT_ABS.",
        place: Place::Sqe(Field::OpFlags, &[11, 15]),
        rows: opflags::TIMEOUT,
    },
    Table {
        title: "TIMEOUT_REMOVE flags",
        about: "`sqe->timeout_flags` of TIMEOUT_REMOVE.",
        place: Place::Sqe(Field::OpFlags, &[12]),
        rows: opflags::TIMEOUT_REMOVE,
    },
    Table {
        title: "ACCEPT flags",
        about: "`sqe->ioprio` of ACCEPT.",
        place: Place::Sqe(Field::Ioprio, &[13]),
        rows: opflags::ACCEPT,
    },
    Table {
        title: "Cancel flags",
        about: "`sqe->cancel_flags` of ASYNC_CANCEL.",
        place: Place::Sqe(Field::OpFlags, &[14]),
        rows: opflags::ASYNC_CANCEL,
    },
    Table {
        title: "Send and receive flags",
        about: "`sqe->ioprio` of SEND, RECV and their kin.",
        place: Place::Sqe(Field::Ioprio, opflags::SENDS_AND_RECEIVES),
        rows: opflags::RECVSEND,
    },
    Table {
        title: "SPLICE and TEE flags",
        about: "`sqe->splice_flags`, beside those of splice(2).",
        place: Place::Sqe(Field::OpFlags, &[30, 33]),
        rows: opflags::SPLICE,
    },
    Table {
        title: "MSG_RING flags",
        about: "`sqe->msg_ring_flags`.",
        place: Place::Sqe(Field::OpFlags, &[40]),
        rows: opflags::MSG_RING,
    },
    Table {
        title: "FIXED_FD_INSTALL flags",
        about: "`sqe->install_fd_flags`.",
        place: Place::Sqe(Field::OpFlags, &[54]),
        rows: opflags::INSTALL,
    },
    Table {
        title: "URING_CMD flags",
        about: "`sqe->uring_cmd_flags`.",
        place: Place::Sqe(Field::OpFlags, &[46]),
        rows: opflags::URING_CMD,
    },
    Table {
        title: "Socket commands",
        about: "`sqe->cmd_op` of URING_CMD.",
        place: Place::Argument,
        rows: opflags::SOCKET_COMMANDS,
    },
    Table {
        title: "Registration flags and values",
        about: "In the structures and arrays that register operations, FILES_UPDATE and direct \
                descriptors use.",
        place: Place::Argument,
        rows: opflags::RESOURCES,
    },
];

/// Everything that can be asked about.
pub static TABLES: [Table; COUNT] = ALL;

/// How many rows there are in all.
pub const ROWS: usize = {
    let (mut n, mut i) = (0, 0);
    while i < ALL.len() {
        n += ALL[i].rows.len();
        i += 1;
    }
    n
};

/// Every row with its table, in the order of the tables.
pub fn rows() -> impl Iterator<Item = (&'static Table, &'static Row)> {
    TABLES.iter().flat_map(|t| t.rows.iter().map(move |r| (t, r)))
}
