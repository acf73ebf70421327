//! The works as rows: what is measured, in which variants, and what is asked of ringer.
//!
//! Everything else follows from here: what runs, the tables, the JSON, the chart. What it does not do: say how a
//! work is done; `bench-work` knows each by its name.

/// Who carries a work out, in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    /// The kernel's ring as it is made by default; for a work without a ring: without ringer.
    Kernel,
    /// The kernel's with `DEFER_TASKRUN` and `SINGLE_ISSUER`.
    KernelDefer,
    /// ringer by libc's symbol.
    Ringer,
    /// The same, of a program that asks for `DEFER_TASKRUN` and `SINGLE_ISSUER`.
    RingerDefer,
    /// ringer in a program with `syscall` instructions of its own, which are patched.
    Patched,
    /// The same with `--no-patch`: each call traps.
    Trap,
    /// What people would use instead, by the name that `bench-work` has for it.
    Rival(&'static str),
}

impl Variant {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::KernelDefer => "kernel defer",
            Self::Ringer => "ringer",
            Self::RingerDefer => "ringer defer",
            Self::Patched => "ringer patched",
            Self::Trap => "ringer trap",
            Self::Rival("calls") => "plain calls",
            Self::Rival("posix") => "POSIX AIO",
            Self::Rival("pool") => "16 threads",
            Self::Rival("tokio") => "tokio::fs",
            Self::Rival(name) => name,
        }
    }

    pub(crate) fn is_kernel(self) -> bool {
        matches!(self, Self::Kernel | Self::KernelDefer)
    }

    /// What the ratios are of: ringer by libc's symbol.
    pub(crate) fn is_ringer(self) -> bool {
        matches!(self, Self::Ringer | Self::RingerDefer)
    }

    /// Whether it calls by `syscall` instructions of its own.
    pub(crate) fn is_inline(self) -> bool {
        matches!(self, Self::Patched | Self::Trap)
    }

    pub(crate) fn is_rival(self) -> bool {
        matches!(self, Self::Rival(_))
    }
}

/// What the figure of a work is; lower is better in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds an operation, and processor time beside them.
    Ns,
    /// Nanoseconds from start to end of a program.
    NsProgram,
    /// KiB.
    Kib,
}

/// What is asked of ringer, better of its modes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// At least so many times the rate of the kernel's better mode.
    Best(f64),
    /// At most so many times its processor time.
    Cpu(f64),
    /// At least so many times the rate of the kernel's default mode.
    Default(f64),
    /// At least so many times the rate of `DEFER_TASKRUN`.
    Defer(f64),
    /// At least so many times the rate of a rival.
    Rival(&'static str, f64),
    /// At most a tenth more processor time than ringer's own for another work.
    Flat(&'static str),
    /// At most so much.
    AtMost(f64),
    /// At most so much more than without ringer.
    Above(f64),
}

/// One row.
#[derive(Debug)]
pub(crate) struct Work {
    /// For `bench-work`, `--only` and the JSON.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) variants: &'static [Variant],
    pub(crate) targets: &'static [Target],
}

/// Works that share a table.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// Whether its ratios are bars of the chart.
    pub(crate) chart: bool,
    pub(crate) works: &'static [Work],
}

/// The same work on plain and on registered files: as (title, plain, registered).
pub(crate) const PAIRS: &[(&str, &str, &str)] = &[
    ("inline: hot read, batch 1", "read-plain-b1", "read-fixed-b1"),
    ("inline: hot reads, batch 32", "read-plain-b32", "read-fixed-b32"),
    ("polled: receive that waits", "recv-plain", "recv-fixed"),
    ("polled: echo, 64 connections", "echo-plain-64", "echo-fixed-64"),
    ("worker: fsync in memory", "worker-plain", "worker-fixed"),
];

use Target::{Above, AtMost, Best, Cpu, Default, Defer, Flat, Rival as Against};
use Variant::{Kernel, KernelDefer, Patched, Ringer, RingerDefer, Rival, Trap};

const CALLS: Variant = Rival("calls");
const LIBAIO: Variant = Rival("libaio");
const POSIX: Variant = Rival("posix");
const POOL: Variant = Rival("pool");
const TOKIO: Variant = Rival("tokio");
const EPOLL: Variant = Rival("epoll");

/// Where calls matter: every way in.
const ENTRY: &[Variant] = &[Kernel, KernelDefer, Ringer, Patched, Trap];
const HOT: &[Variant] = &[Kernel, KernelDefer, Ringer];
const HOT_RIVALS: &[Variant] =
    &[Kernel, KernelDefer, Ringer, Patched, Trap, CALLS, LIBAIO, POSIX, POOL, TOKIO];
const FILES: &[Variant] = &[Kernel, KernelDefer, Ringer, CALLS, LIBAIO, POSIX, POOL, TOKIO];
/// `tokio::fs` cannot do `O_DIRECT`.
const DIRECT: &[Variant] = &[Kernel, KernelDefer, Ringer, CALLS, LIBAIO, POSIX, POOL];
const MODES: &[Variant] = &[Kernel, KernelDefer, Ringer, RingerDefer];
const ECHO: &[Variant] = &[Kernel, KernelDefer, Ringer, RingerDefer, EPOLL];
const ECHO_ENTRY: &[Variant] = &[Kernel, KernelDefer, Ringer, RingerDefer, Patched, Trap, EPOLL];
const PIPE: &[Variant] = &[Kernel, KernelDefer, Ringer, RingerDefer, Patched, Trap, CALLS];
const CALLED: &[Variant] = &[Kernel, KernelDefer, Ringer, RingerDefer, CALLS];
const POLLED: &[Variant] = &[Kernel, KernelDefer, Ringer, RingerDefer, EPOLL];
const HANDED: &[Variant] = &[Kernel, KernelDefer, Ringer, POOL];
const PLAIN: &[Variant] = &[Kernel, Ringer];
/// Programs without a ring: without ringer, with it, and with its filter.
const OTHERS: &[Variant] = &[Kernel, Ringer, Patched];

const fn row(
    name: &'static str,
    title: &'static str,
    variants: &'static [Variant],
    targets: &'static [Target],
) -> Work {
    Work { name, title, unit: Unit::Ns, variants, targets }
}

const fn in_unit(unit: Unit, work: Work) -> Work {
    Work { unit, ..work }
}

const ECHO_TARGETS: &[Target] = &[Defer(1.0), Default(1.5)];
const ECHO_MANY: &[Target] = &[Defer(1.0), Default(1.5), Against("epoll", 1.0)];
const DISK_TARGETS: &[Target] = &[Best(0.98), Cpu(1.1)];

/// All works, in the order of the tables.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "NOP",
        chart: true,
        works: &[
            row("nop-b1", "NOP, batch 1", ENTRY, &[Best(6.0)]),
            row("nop-b4", "NOP, batch 4", ENTRY, &[Best(6.0)]),
            row("nop-b32", "NOP, batch 32", ENTRY, &[Best(6.0)]),
            row("nop-b256", "NOP, batch 256", ENTRY, &[Best(6.0)]),
        ],
    },
    Section {
        title: "Hot reads",
        chart: true,
        works: &[
            row("read-plain-b1", "4 KiB, plain, batch 1", HOT, &[Best(1.15)]),
            row("read-fixed-b1", "4 KiB, registered, batch 1", HOT_RIVALS, &[Best(1.15)]),
            row("read-plain-b32", "4 KiB, plain, batch 32", HOT, &[Best(1.0)]),
            row("read-fixed-b32", "4 KiB, registered, batch 32", HOT_RIVALS, &[Best(1.0)]),
            row("read-fixed-buf-b32", "with a registered buffer", HOT, &[Best(1.0)]),
            row("read512-plain-b1", "512 B, plain, batch 1", HOT, &[Best(1.15)]),
            row("read512-fixed-b1", "512 B, registered, batch 1", HOT, &[Best(1.15)]),
            row("read512-plain-b32", "512 B, plain, batch 32", HOT, &[Best(1.0)]),
            row("read512-fixed-b32", "512 B, registered, batch 32", HOT, &[Best(1.0)]),
            row("read64k-fixed-b1", "64 KiB, registered, batch 1", HOT, &[]),
            row("read64k-fixed-b32", "64 KiB, registered, batch 32", HOT, &[]),
            row("seq-plain-b32", "4 KiB in order, plain, batch 32", HOT, &[]),
            row("seq-fixed-b32", "4 KiB in order, registered, batch 32", HOT, &[]),
        ],
    },
    Section {
        title: "Disk, and writes with fsync",
        chart: true,
        works: &[
            row("write-sync-memory-b32", "32 writes + fsync, in memory", FILES, &[Best(1.0)]),
            row("write-sync-disk-b32", "32 writes + fsync, disk", FILES, &[Best(1.0)]),
            row("cold-qd32", "Buffered read, cold, 32 at a time", FILES, &[Best(1.1)]),
            row("direct-qd1", "O_DIRECT read, 1 at a time", DIRECT, DISK_TARGETS),
            row("direct-qd32", "O_DIRECT read, 32 at a time", DIRECT, DISK_TARGETS),
            row("direct-write-qd1", "O_DIRECT write, 1 at a time", DIRECT, DISK_TARGETS),
            row("direct-write-qd32", "O_DIRECT write, 32 at a time", DIRECT, DISK_TARGETS),
        ],
    },
    Section {
        title: "TCP echo",
        chart: true,
        works: &[
            row("echo-plain-1", "RECV a message, 1 connection", ECHO, ECHO_TARGETS),
            row("echo-multi-1", "multishot, 1 connection", ECHO, ECHO_TARGETS),
            row("echo-plain-64", "RECV a message, 64 connections", ECHO, ECHO_MANY),
            row("echo-fixed-64", "the same, registered", MODES, ECHO_TARGETS),
            row("echo-multi-64", "multishot, 64 connections", ECHO_ENTRY, ECHO_MANY),
            row("echo-plain-1k", "RECV a message, 1,000 connections", ECHO, ECHO_MANY),
            row("echo-multi-1k", "multishot, 1,000 connections", ECHO, ECHO_MANY),
        ],
    },
    Section {
        title: "Sockets and pipes",
        chart: true,
        works: &[
            row("hot-unix-b32", "Ready unix sends and receives, batch 32", CALLED, &[]),
            row("hot-tcp-b32", "Ready TCP sends and receives, batch 32", CALLED, &[]),
            row("recv-plain", "Receive that waits, plain", CALLED, &[]),
            row("recv-fixed", "Receive that waits, registered", CALLED, &[]),
            row("pipe", "Pipe ping-pong", PIPE, &[Best(1.0)]),
            row("accept-single", "Accept and close", CALLED, &[]),
            row("accept-multi", "Multishot accept and close", MODES, &[]),
        ],
    },
    Section {
        title: "Waiting, workers, rings",
        chart: true,
        works: &[
            row("poll", "Poll of an eventfd", POLLED, &[]),
            row("timeout-among-1", "Timeout, armed and removed", MODES, &[]),
            row("timeout-fires", "Timeout that is over at once", MODES, &[]),
            row("cancel-among-1", "Cancel and ask again", MODES, &[]),
            row("worker-plain", "Worker hand-off, plain", HANDED, &[Best(1.0)]),
            row("worker-fixed", "Worker hand-off, registered", HANDED, &[Best(1.0)]),
            row("setup", "Ring set up and closed", HOT, &[Best(1.0)]),
            in_unit(
                Unit::NsProgram,
                row("start-ring", "Program that exits with a ring", PLAIN, &[]),
            ),
        ],
    },
    Section {
        title: "Two threads, a ring each",
        chart: false,
        works: &[
            row("nop-b32-t2", "NOP, batch 32", HOT, &[]),
            row("read-fixed-b1-t2", "Hot 4 KiB reads, registered, batch 1", HOT, &[]),
            row("read-fixed-b32-t2", "Hot 4 KiB reads, registered, batch 32", HOT, &[]),
        ],
    },
    Section {
        title: "Growth",
        chart: false,
        works: &[
            row("nop-among-1", "NOP, 1 pending", PLAIN, &[]),
            row("nop-among-1k", "NOP, 1,000 pending", PLAIN, &[Flat("nop-among-1")]),
            row("nop-among-100k", "NOP, 100,000 pending", PLAIN, &[Flat("nop-among-1")]),
            row("nop-among-1m", "NOP, 1,000,000 pending", PLAIN, &[]),
            row(
                "timeout-among-100k",
                "Timeout, 100,000 pending",
                PLAIN,
                &[Flat("timeout-among-1")],
            ),
            row("timeout-among-1m", "Timeout, 1,000,000 pending", PLAIN, &[]),
            row("poll-among-1", "Poll, 1 pending", PLAIN, &[]),
            row("poll-among-100k", "Poll, 100,000 pending", PLAIN, &[Flat("poll-among-1")]),
            row("cancel-among-100k", "Cancel, 100,000 pending", PLAIN, &[Flat("cancel-among-1")]),
            row("cancel-among-1m", "Cancel, 1,000,000 pending", PLAIN, &[]),
            row("read-among-10-b32", "Reads of 10 registered files", PLAIN, &[]),
            row(
                "read-among-10k-b32",
                "Reads of 10,000 registered files",
                PLAIN,
                &[Flat("read-among-10-b32")],
            ),
            row("read-among-many-b32", "and of 16,384 registered buffers", PLAIN, &[]),
            row("echo-multi-10", "Echo, multishot, 10 connections", MODES, &[]),
            row("echo-multi-100", "Echo, multishot, 100 connections", MODES, &[]),
            row("echo-multi-10k", "Echo, multishot, 10,000 connections", MODES, &[]),
        ],
    },
    Section {
        title: "Cost to everything else",
        chart: false,
        works: &[
            row("call-getppid", "getppid", OTHERS, &[]),
            row("call-pread", "pread of 4 KiB", OTHERS, &[]),
            row("call-mmap", "mmap and munmap", OTHERS, &[]),
            in_unit(Unit::NsProgram, row("start-true", "`true`, from start to end", PLAIN, &[])),
        ],
    },
    Section {
        title: "Memory",
        chart: false,
        works: &[
            in_unit(
                Unit::Kib,
                row("memory-rings", "Idle ring beyond what it maps", PLAIN, &[AtMost(64.0)]),
            ),
            in_unit(
                Unit::Kib,
                row("memory-engine", "Program with one ring, resident", PLAIN, &[Above(2048.0)]),
            ),
        ],
    },
];
