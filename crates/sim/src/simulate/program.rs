//! A program of the simulated application: what it submits, what it does meanwhile, and how unkind
//! the world is. Everything in it can be taken out, which is how a failure becomes small.

use super::mailbox::MSG_RING;
use super::rows::{INSTALL, WIDE_NOP, is_timestamps, notifies};
use crate::errno::{EACCES, EINVAL, EPERM};
use crate::policy::{Chaos, Fault, Plain, Policy, Rates, Seeded};
use ringer_engine::opcode::opdef;
use ringer_uapi::{Cqe, Sqe};
use std::fmt;
use std::sync::Arc;

/// `IORING_SETUP_SQPOLL` and `IORING_SETUP_ATTACH_WQ`.
const SHARED: u32 = 1 << 1 | 1 << 5;
/// Entries that a submission thread of several rings takes of one at a time.
const BATCH_SHARED: usize = 8;

/// The personality of user 0, registered from the start; there is no other when entries are submitted.
pub(crate) const PERSONALITY: u16 = 1;

const SKIP: u8 = 64;
/// `IORING_CQE_F_MORE`.
const MORE: u32 = 2;

/// An opcode that there is not.
pub(crate) const BAD: u8 = 99;

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

/// What ends a wait, apart from completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A time from now.
    For,
    /// A time on the clock.
    Until,
    /// A time from now; a signal mask is in force.
    Masked,
    /// A time from now; the argument is in the registered region, if there is one.
    Region,
    /// A signal.
    Bare,
}

/// How a thread waits for completions.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For how many.
    pub min: u32,
    /// At most so many nanoseconds.
    pub ns: u64,
    /// After so many microseconds the first one is enough (0: it never is).
    pub enough_us: u32,
    /// See [`How`].
    pub how: How,
}

/// What becomes of a slot.
#[derive(Clone, Copy, Debug)]
pub enum Put {
    /// Nothing.
    Skip,
    /// It is emptied.
    Empty,
    /// What was there from the start, with this tag (0: none).
    Same(u64),
}

impl Put {
    pub(crate) fn tag(self) -> u64 {
        if let Self::Same(tag) = self { tag } else { 0 }
    }
}

/// What SYNC_CANCEL is to cancel.
#[derive(Clone, Copy, Debug)]
pub struct Cancel {
    /// A user_data.
    pub name: u64,
    /// A descriptor or slot.
    pub fd: i32,
    /// `IORING_ASYNC_CANCEL_*`.
    pub flags: u32,
    /// An opcode.
    pub opcode: u8,
    /// How long it may wait \[ns\].
    pub ns: Option<u64>,
}

/// A call of `io_uring_register(2)`, or what goes with it.
#[derive(Clone, Debug)]
pub enum Change {
    /// Updates slots from this one on.
    Files(u32, Vec<Put>),
    /// Registers all files that are open, with tags from this one on (0: without).
    AllFiles(u64),
    /// Takes the files away.
    NoFiles,
    /// Updates buffers from this one on.
    Buffers(u32, Vec<Put>),
    /// Registers the buffers, with tags from this one on (0: without).
    AllBuffers(u64),
    /// Takes the buffers away.
    NoBuffers,
    /// Registers the eventfd: true for workers' completions only.
    Bell(bool),
    /// Takes the eventfd away.
    NoBell,
    /// Whether the eventfd is not to be signalled (`IORING_CQ_EVENTFD_DISABLED`).
    Mute(bool),
    /// Copies so many buffers of the mailbox from a slot on over those with the same numbers; 0: all,
    /// to where none are.
    Clone(u32, u32),
    /// Registers the thread's credentials, and takes them away.
    Personality,
    /// An operation that only asks.
    Ask(u32),
    /// Sends a message without a request, to the mailbox or to the program's ring.
    Post(bool),
    /// Cancels requests.
    Cancel(Cancel),
    /// Registers a region: of the ring's own, or of the caller's memory.
    Region(bool),
    /// How many workers a thread has at most: bounded ones, and the rest.
    Limits(u32, u32),
    /// Busy polling for so many microseconds, or none any more.
    Napi(Option<u32>),
    /// Which CPUs they run on, a bit each (0: all).
    Cpus(u64),
    /// Absolute times of waits are of the boot clock, or of the monotonic one.
    Clock(bool),
    /// Rings of so many entries.
    Resize(u32, u32),
}

impl Change {
    /// Whether what a request finds may be another after it.
    pub(crate) fn reshapes(&self) -> bool {
        matches!(
            self,
            Self::Clone(..)
                | Self::Files(..)
                | Self::AllFiles(_)
                | Self::NoFiles
                | Self::Buffers(..)
                | Self::AllBuffers(_)
                | Self::NoBuffers
        )
    }
}

/// What the application does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Queues whole chains and submits them.
    Submit(Vec<Entry>),
    /// The same in one call that also waits.
    SubmitAndWait(Vec<Entry>, Patience),
    /// Waits for completions and takes what is there.
    Wait(Patience),
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
    /// The thread becomes this user.
    Become(u64),
    /// Registers something.
    Register(Change),
    /// Another thread does these.
    Thread(Vec<Step>),
    /// Closes the ring's descriptor, and unmaps it after so many nanoseconds: the end of the program.
    CloseRing(u64),
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
    /// The engine's policy does to requests what a kernel may.
    pub meddles: bool,
    /// `IORING_SETUP_*`.
    pub setup: u32,
    /// Entries of both queues.
    pub entries: (u32, u32),
    /// An eventfd is registered: `Some(true)` for workers' completions only.
    pub eventfd: Option<bool>,
    /// The ring is restricted to every opcode but this one, once it is enabled.
    pub forbids: Option<u8>,
    /// Threads register the ring and name it by their index.
    pub indexed: bool,
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

    /// The second half of a completion, if its entry is a NOP that asks for one, or it tells when
    /// something was sent: the key, both ways.
    pub(crate) fn second_half(&self, cqe: &Cqe) -> Option<[u64; 2]> {
        let entries = self.entries();
        let entry = entries.iter().find(|e| e.sqe.user_data == cqe.user_data)?;
        if is_timestamps(&entry.sqe) && cqe.flags & MORE != 0 {
            let key = u64::from(cqe.res.cast_unsigned());
            return Some([key, !key]);
        }
        let wide = entry.sqe.opcode == 0 && entry.sqe.op_flags & WIDE_NOP != 0;
        wide.then_some([entry.sqe.off, entry.sqe.addr])
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

    /// What an entry is refused with before it starts.
    pub(crate) fn refusal(&self, e: &Entry) -> Option<i32> {
        match (e.sqe.opcode, e.sqe.personality) {
            (BAD, _) => Some(EINVAL),
            (op, _) if self.forbids == Some(op) => Some(EACCES),
            // msg_ring.c takes none.
            (MSG_RING, 1..) => Some(EINVAL),
            (INSTALL, PERSONALITY) => Some(EPERM),
            // net.c `io_send_zc_prep`.
            (op, _) if notifies(op) && e.sqe.flags & SKIP != 0 => Some(EINVAL),
            (_, 0 | PERSONALITY) => None,
            _ => Some(EINVAL),
        }
    }

    /// Entries that are taken at once: of more, a chain might be cut.
    pub fn batch_max(&self) -> usize {
        batch_max(self.setup, self.entries.0)
    }

    /// Whether more than one thread of the application works with the ring.
    pub fn has_threads(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::Thread(_)))
    }

    /// Whether tables change while requests run.
    pub fn reshapes(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::Register(c) if c.reshapes()))
    }

    /// Whether the rings change.
    pub fn resizes(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::Register(Change::Resize(..))))
    }

    /// Whether work may have to wait for a worker.
    pub fn limits_workers(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::Register(Change::Limits(..))))
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
    let names = names.into_iter().chain([(32, "SELECT")]);
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
        ("addr3", s.addr3),
        ("personality", u64::from(s.personality)),
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
            Step::SubmitAndWait(entries, patience) => {
                writeln!(f, "    submit, and {patience:?}")?;
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
            (self.meddles, "a policy meddles"),
            (self.eventfd.is_some(), "eventfd"),
            (self.indexed, "indices"),
            (self.tags, "tags"),
            (self.neighbour, "another ring"),
            (self.polled, "a polled ring"),
            (self.unregisters, "unregisters"),
        ];
        for (_, what) in facts.into_iter().filter(|(is, _)| *is) {
            writeln!(f, "  with {what}")?;
        }
        if let Some(op) = self.forbids {
            writeln!(f, "  restricted: no {}", opdef(op).map_or("?", |d| d.name))?;
        }
        list(f, &self.steps)
    }
}

/// Entries that a ring with these flags takes at once.
pub(crate) fn batch_max(setup: u32, entries: u32) -> usize {
    let shared = setup & SHARED == SHARED;
    if shared { BATCH_SHARED.min(entries as usize) } else { entries as usize }
}
