//! What a thread submitted, and what came of it, for tests.
//!
//! ```no_run
//! #[test]
//! fn a_commit_is_one_write_and_one_fsync_behind_it() {
//!     let trace = ringer::trace::Trace::begin().unwrap();
//!     commit(); // on this thread
//!     let ops: Vec<_> = trace.requests().iter().map(|r| (r.op, r.linked)).collect();
//!     assert_eq!(ops, [("WRITE", false), ("FSYNC", true)]);
//! }
//! # fn commit() {}
//! ```
//!
//! ```text
//!  library: every request of the process --records--> SHARED --by submitting thread--> Trace, Trace, ...
//! ```
//! All threads' requests are written while there is a [`Trace`]; each has those that its own thread submitted.
//! What this does not do: keep data, or follow other processes (`ringer trace` does).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ringer_engine::host::RingId;
use ringer_engine::opcode::opdef;
use ringer_engine::trace::Went;
use ringer_engine::trace::buffer::{Record, SLOT, TakenRecord, ToldRecord, read};
use ringer_uapi::Errno;
use ringer_uapi::flags::{CqeFlags, SqeFlags};

use crate::load;

/// Slots that are taken at once.
const WINDOW: usize = 1024;

/// Why nothing is traced.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The process cannot be served.
    Install(crate::Error),
    /// Somebody else has the trace of this process: `ringer trace`, `ringer top`.
    Busy,
    /// This thread has a [`Trace`].
    Begun,
    /// The library that is there is of another version, or had no memory (errno).
    Library(i32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install(e) => write!(f, "{e}"),
            Self::Busy => {
                f.write_str("somebody else traces this process (ringer trace, ringer top)")
            }
            Self::Begun => f.write_str("this thread has a trace"),
            Self::Library(errno) => {
                write!(f, "the library that serves this process traces nothing (errno {errno})")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Install(e) = self { Some(e) } else { None }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Which of the process's rings, from 1.
    pub ring: u64,
    /// The opcode's name (`READ`), `?` if there is none.
    pub op: &'static str,
    /// Its number.
    pub opcode: u8,
    /// `sqe->fd`: a descriptor, or with `fixed` a slot.
    pub fd: i32,
    /// Whether it has `IOSQE_FIXED_FILE`.
    pub fixed: bool,
    /// Whether it follows the request before it in a chain.
    pub linked: bool,
    /// `sqe->len`.
    pub len: u32,
    /// `sqe->off`.
    pub off: u64,
    /// `sqe->user_data`.
    pub user_data: u64,
    /// Its completions so far, in order.
    pub completions: Vec<Completion>,
}

/// A completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completion {
    /// `cqe->res`.
    pub res: i32,
    /// `cqe->flags`.
    pub flags: u32,
    /// How the request ran: `inline`, `polled`, `worker`, ...
    pub how: &'static str,
    /// From the submission to here \[ns\].
    pub latency_ns: u64,
    /// Whether it is in the completion queue, or behind it: not with `IOSQE_CQE_SKIP_SUCCESS`.
    pub posted: bool,
    /// Whether it found the queue full.
    pub overflow: bool,
}

impl Request {
    /// Whether no more completions will come.
    pub fn is_over(&self) -> bool {
        let last = self.completions.last();
        last.is_some_and(|c| !c.posted || c.flags & CqeFlags::MORE.bits() == 0)
    }
}

impl Completion {
    /// The errno's name, of a result that is one.
    pub fn error(&self) -> Option<&'static str> {
        let errno = u16::try_from(-i64::from(self.res)).ok().filter(|n| (1..4096).contains(n))?;
        Some(Errno::from_raw(errno).name().unwrap_or("?"))
    }
}

/// A trace of the calling thread's requests, from [`Trace::begin`] until it is dropped.
#[derive(Debug)]
pub struct Trace {
    tid: u32,
    // It is its thread's.
    _mine: PhantomData<*const ()>,
}

impl Trace {
    /// Begins one; loads the library if it is not there yet ([`crate::install`]).
    ///
    /// # Errors
    /// See [`Error`].
    pub fn begin() -> Result<Self, Error> {
        crate::install().map_err(Error::Install)?;
        let tid = load::tid();
        let mut shared = shared();
        if shared.threads.contains_key(&tid) {
            return Err(Error::Begun);
        }
        if shared.threads.is_empty() {
            load::trace(true).map_err(|e| match e {
                libc::EBUSY => Error::Busy,
                e => Error::Library(e),
            })?;
        } else {
            // What was before is not this one's.
            shared.drain();
        }
        shared.threads.insert(tid, BTreeMap::new());
        Ok(Self { tid, _mine: PhantomData })
    }

    /// What this thread submitted since the beginning, in order, each with its completions so far.
    pub fn requests(&self) -> Vec<Request> {
        let mut shared = shared();
        shared.drain();
        let all = shared.threads.get(&self.tid).map(|all| all.values().map(|(_, r)| r.clone()));
        all.into_iter().flatten().collect()
    }

    /// How many records of the process were lost since it is traced: they came too fast.
    pub fn lost(&self) -> u64 {
        let mut shared = shared();
        shared.drain();
        shared.lost
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut shared = shared();
        shared.threads.remove(&self.tid);
        if shared.threads.is_empty() {
            *shared = Shared::default();
            // It was there to begin.
            let _ = load::trace(false);
        }
    }
}

/// What is known of requests of threads with a trace.
#[derive(Debug, Default)]
struct Shared {
    /// Of each thread its requests, by name, with the time of submission.
    threads: HashMap<u32, BTreeMap<u64, (u64, Request)>>,
    /// Whose a name is.
    names: HashMap<u64, u32>,
    lost: u64,
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

/// The one there is.
struct Guard(MutexGuard<'static, Option<Shared>>);

fn shared() -> Guard {
    let mut guard = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    guard.get_or_insert_default();
    Guard(guard)
}

impl std::ops::Deref for Guard {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        self.0.as_ref().expect("made by `shared`")
    }
}

impl std::ops::DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Shared {
        self.0.as_mut().expect("made by `shared`")
    }
}

impl Shared {
    fn drain(&mut self) {
        let mut slots = vec![0; WINDOW * SLOT];
        loop {
            let (position, n, lost) = load::trace_take(&mut slots);
            self.lost = lost;
            let mut at = 0;
            while at < n {
                let rest = slots.get(at * SLOT..n * SLOT).unwrap_or(&[]);
                let Some((record, len)) = read(rest, position.wrapping_add(at as u64)) else {
                    break;
                };
                self.take(position.wrapping_add(at as u64), &record);
                at += len;
            }
            if n == 0 {
                return;
            }
        }
    }

    fn take(&mut self, position: u64, record: &Record) {
        match record {
            Record::Taken(taken) => self.taken(position.wrapping_add(1), taken),
            Record::Told(told) => self.told(told),
            // What no request asked for, and what is of no use to a test.
            _ => {}
        }
    }

    fn taken(&mut self, name: u64, taken: &TakenRecord) {
        let Some(mine) = self.threads.get_mut(&taken.tid) else { return };
        let sqe = &taken.sqe;
        let request = Request {
            ring: RingId(taken.ring).ordinal(),
            op: opdef(sqe.opcode).map_or("?", |def| def.name),
            opcode: sqe.opcode,
            fd: sqe.fd,
            fixed: sqe.flags & SqeFlags::FIXED_FILE.bits() != 0,
            linked: taken.linked,
            len: sqe.len,
            off: sqe.off,
            user_data: sqe.user_data,
            completions: Vec::new(),
        };
        mine.insert(name, (taken.time_ns, request));
        self.names.insert(name, taken.tid);
    }

    fn told(&mut self, told: &ToldRecord) {
        let Some(tid) = self.names.get(&told.request) else { return };
        let Some((begun_ns, request)) =
            self.threads.get_mut(tid).and_then(|mine| mine.get_mut(&told.request))
        else {
            return;
        };
        request.completions.push(Completion {
            res: told.res,
            flags: told.flags,
            how: told.how.word(),
            latency_ns: told.time_ns.saturating_sub(*begun_ns),
            posted: told.went != Went::Nowhere,
            overflow: told.went == Went::Backlog,
        });
        if request.is_over() {
            self.names.remove(&told.request);
        }
    }
}
