//! A program of the simulated application: what it submits, what it does meanwhile, and how unkind
//! the world is. Everything in it can be taken out, which is how a failure becomes small.

use crate::policy::{Chaos, Fault, Plain, Policy, Rates, Seeded};
use ringer_engine::opcode::opdef;
use ringer_uapi::Sqe;
use std::fmt;
use std::sync::Arc;

/// Which policy makes the choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// See [`Plain`].
    Plain,
    /// See [`Seeded`].
    Seeded,
    /// See [`Chaos`].
    Chaos,
}

/// What the completions of an entry may say, apart from what can happen to any request.
#[derive(Clone, Copy, Debug)]
pub struct Owes {
    /// Results that are successes, both ends included.
    pub ok: (i32, i32),
    /// Errors that the world may give reason for.
    pub errors: &'static [i32],
    /// It is not over before so many nanoseconds have passed, if it expires.
    pub expires: Option<u64>,
}

/// An entry: what is submitted, the memory it points to, and what it owes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The submission.
    pub sqe: Sqe,
    /// Written before it is submitted.
    pub memory: Vec<(u64, Vec<u8>)>,
    /// See [`Owes`].
    pub owes: Owes,
}

/// What the application does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Queues whole chains and submits them.
    Submit(Vec<Entry>),
    /// The same in one call that also waits for so many completions, so many nanoseconds at most.
    SubmitAndWait(Vec<Entry>, u32, u64),
    /// Waits for so many completions, so many nanoseconds at most, and takes what is there.
    Wait(u32, u64),
    /// Takes what is there.
    Reap,
    /// Runs what is pending, without a wait.
    Poke,
    /// Does something else for so many nanoseconds.
    Sleep(u64),
    /// Lets everybody else run until all wait.
    Settle,
    /// Writes so many bytes to a descriptor after so many nanoseconds.
    Feed(u64, i32, usize),
    /// Reads at most so many bytes from a descriptor.
    Eat(i32, usize),
    /// Connects to a listener after so many nanoseconds.
    Dial(u64, u8),
    /// A signal handler runs after so many nanoseconds.
    Signal(u64),
    /// Closes a descriptor.
    Close(i32),
    /// Takes away the registered files.
    Unregister,
    /// Another thread does these.
    Thread(Vec<Step>),
    /// Closes the ring: the end of the program.
    CloseRing,
}

/// See the module's doc.
#[derive(Clone, Debug)]
pub struct Program {
    /// Of the policy's choices.
    pub seed: u64,
    /// See [`Kind`].
    pub kind: Kind,
    /// Which faults, how often.
    pub rates: Rates,
    /// Held files have no number in the application's table.
    pub numberless: bool,
    /// Streams know no `RWF_NOWAIT`.
    pub no_nowait: bool,
    /// The program may hold POSIX locks.
    pub posix_locks: bool,
    /// `IORING_SETUP_*`.
    pub setup: u32,
    /// Entries of both queues.
    pub entries: (u32, u32),
    /// An eventfd is registered: `Some(true)` for workers' completions only.
    pub eventfd: Option<bool>,
    /// The registered files have tags.
    pub tags: bool,
    /// There is another ring, which only the reactor looks after.
    pub neighbour: bool,
    /// Somebody polls the ring's descriptor.
    pub polled: bool,
    /// The tables are taken away before the ring is closed.
    pub unregisters: bool,
    /// What the application does.
    pub steps: Vec<Step>,
}

impl Program {
    /// Who makes the choices.
    pub fn policy(&self) -> Arc<dyn Policy> {
        match self.kind {
            Kind::Plain => Arc::new(Plain),
            Kind::Seeded => Arc::new(Seeded::new(self.seed, self.rates)),
            Kind::Chaos => Arc::new(Chaos::new(self.seed, self.rates)),
        }
    }

    /// All entries, in the order of the text.
    pub fn entries(&self) -> Vec<&Entry> {
        fn collect<'a>(steps: &'a [Step], all: &mut Vec<&'a Entry>) {
            for step in steps {
                match step {
                    Step::Submit(entries) | Step::SubmitAndWait(entries, ..) => all.extend(entries),
                    Step::Thread(steps) => collect(steps, all),
                    _ => {}
                }
            }
        }
        let mut all = Vec::new();
        collect(&self.steps, &mut all);
        all
    }

    /// Whether more than one thread of the application works with the ring.
    pub fn has_threads(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::Thread(_)))
    }

    /// Whether this can happen.
    pub fn has(&self, fault: Fault) -> bool {
        self.kind != Kind::Plain && self.rates.of(fault) != 0
    }
}

fn line(f: &mut fmt::Formatter<'_>, e: &Entry) -> fmt::Result {
    let s = &e.sqe;
    let name = opdef(s.opcode).map_or("?", |d| d.name);
    write!(f, "      {:>3}: {name} fd {}", s.user_data, s.fd)?;
    let names =
        [(1, "FIXED"), (2, "DRAIN"), (4, "LINK"), (8, "HARDLINK"), (16, "ASYNC"), (64, "SKIP")];
    for (bit, flag) in names {
        if s.flags & bit != 0 {
            write!(f, " {flag}")?;
        }
    }
    let fields = [
        ("opcode", if name == "?" { u64::from(s.opcode) } else { 0 }),
        ("ioprio", u64::from(s.ioprio)),
        ("off", s.off),
        ("addr", s.addr),
        ("len", u64::from(s.len)),
        ("op_flags", u64::from(s.op_flags)),
        ("buf_index", u64::from(s.buf_index)),
        ("file_index", u64::from(s.file_index)),
    ];
    for (field, value) in fields.into_iter().filter(|(_, v)| *v != 0) {
        write!(f, " {field} {value:#x}")?;
    }
    if let Some(ns) = e.owes.expires {
        write!(f, " after {ns} ns")?;
    }
    writeln!(f)
}

fn list(f: &mut fmt::Formatter<'_>, steps: &[Step]) -> fmt::Result {
    for step in steps {
        match step {
            Step::Submit(entries) => {
                writeln!(f, "    submit")?;
                entries.iter().try_for_each(|e| line(f, e))?;
            }
            Step::SubmitAndWait(entries, min, ns) => {
                writeln!(f, "    submit and wait for {min}, {ns} ns")?;
                entries.iter().try_for_each(|e| line(f, e))?;
            }
            Step::Thread(steps) => {
                writeln!(f, "    thread {{")?;
                list(f, steps)?;
                writeln!(f, "    }}")?;
            }
            other => writeln!(f, "    {other:?}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sq, cq) = self.entries;
        writeln!(
            f,
            "  setup {:#x}, {sq} and {cq} entries, {:?} {:#x}",
            self.setup, self.kind, self.seed
        )?;
        let faults: Vec<String> = Fault::ALL
            .iter()
            .filter(|x| self.has(**x))
            .map(|x| format!("{x:?} 1/{}", self.rates.of(*x)))
            .collect();
        writeln!(f, "  faults: {}", faults.join(", "))?;
        let facts = [
            (self.numberless, "files without numbers"),
            (self.no_nowait, "no RWF_NOWAIT"),
            (self.posix_locks, "POSIX locks"),
            (self.eventfd.is_some(), "eventfd"),
            (self.tags, "tags"),
            (self.neighbour, "another ring"),
            (self.polled, "a polled ring"),
            (self.unregisters, "unregisters"),
        ];
        for (_, what) in facts.into_iter().filter(|(is, _)| *is) {
            writeln!(f, "  with {what}")?;
        }
        list(f, &self.steps)
    }
}
