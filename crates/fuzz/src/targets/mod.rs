//! The table of targets. A row is all that a new one needs, beside its function.

mod bpf;
mod calls;
mod code;
mod files;
mod memory;
mod sqes;
mod user_memory;

/// A target: a function that must return.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the corpus folder, too.
    pub name: &'static str,
    /// What it tries, in a line.
    pub about: &'static str,
    /// Inputs are no longer than this \[bytes\].
    pub len_max: usize,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "sqes",
        about: "entries of any bytes post exactly what they owe, and the ring can be closed",
        len_max: 1024,
        run: sqes::sqes,
    },
    Target {
        name: "ring_memory",
        about: "another thread scribbles on ring memory between any two host calls",
        len_max: 768,
        run: memory::ring_memory,
    },
    Target {
        name: "ring_race",
        about: "the same, at any time at all: a real second thread",
        len_max: 768,
        run: memory::ring_race,
    },
    Target {
        name: "calls",
        about: "setup, register and enter with any arguments, around requests in flight",
        len_max: 1024,
        run: calls::calls,
    },
    Target {
        name: "filter",
        about: "the seccomp filter says what a predicate in Rust says",
        len_max: 256,
        run: bpf::filter,
    },
    Target {
        name: "bpf",
        about: "the filter's interpreter refuses any program or ends it",
        len_max: 512,
        run: bpf::interpreter,
    },
    Target {
        name: "scan",
        about: "the instruction scanner on any bytes",
        len_max: 1024,
        run: code::scan,
    },
    Target { name: "elf", about: "the ELF reader on any file", len_max: 1024, run: files::elf },
    Target {
        name: "stats",
        about: "`ringer stats` on hostile files",
        len_max: 2048,
        run: files::stats,
    },
    Target {
        name: "user_memory",
        about: "copies from and to any address never fault",
        len_max: 256,
        run: user_memory::user_memory,
    },
];

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// Runs the target of this name.
///
/// # Panics
/// When something does not hold, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = named(name).expect("a target of the table");
    (target.run)(data.get(..target.len_max).unwrap_or(data));
}
