//! Which legal choice the engine makes where the ABI leaves one open, and what else becomes of a request.
//!
//! ```text
//!  ring made --adopts--> no: as if there were no policy
//!                        yes: each entry taken --fate--> acts, kept with the request (request/fate.rs)
//!                             each wait that would sleep --interrupts--> EINTR
//! ```
//! The default is the plain one; a seeded one (simulation) or a hostile one ([`crate::chaos`]) can take
//! its place. A policy sees no user memory and makes no system call.

use crate::host::RingId;
use crate::trace::Injected;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::{self, Debug};
use ringer_uapi::{Errno, Sqe};

/// Choices the ABI leaves to the kernel.
pub trait Policy: Send + Sync + Debug {
    /// Which of `n` ready things (n > 0) goes next.
    fn next_ready(&self, n: usize) -> usize;
    /// How much of a transfer of `len` bytes is attempted at once (1..=len).
    fn share(&self, len: u32) -> u32;
    /// Whether [`Policy::fate`] and [`Policy::interrupts`] are asked on a ring; called on the thread that
    /// sets it up.
    fn adopts(&self, _ring: RingId) -> bool {
        false
    }
    /// Whether [`Submission::path`] is looked at: to find it is a system call.
    fn wants_paths(&self, _ring: RingId) -> bool {
        false
    }
    /// An entry was taken: what becomes of its request.
    fn fate(&self, _of: &Submission<'_>) -> Option<Box<Fate>> {
        None
    }
    /// A wait is about to sleep, the `nth` of the ring from 1: the act that ends it with `EINTR` instead.
    fn interrupts(&self, _ring: RingId, _nth: u64) -> Option<Act> {
        None
    }
    /// An act was carried out, perhaps to less than was said.
    fn did(&self, _what: &Injected) {}
    /// The ring is gone.
    fn forgets(&self, _ring: RingId) {}
}

/// An entry, as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// The ring.
    pub ring: RingId,
    /// Which of the ring's entries it is, from 1.
    pub nth: u64,
    /// The entry, as it was read once.
    pub sqe: &'a Sqe,
    /// The number in the program's table of what `fd` stands for, if it stands for one.
    pub number: Option<i32>,
    /// What the kernel calls that file, if the policy wants it and it has a name.
    pub path: Option<&'a [u8]>,
}

/// Everything that a policy does to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Which of the ring's entries it is, from 1.
    pub nth: u64,
    /// The number in the program's table of its file, if it has one.
    pub number: Option<i32>,
    /// What is still to be done.
    pub acts: Vec<Act>,
}

/// One thing that is done, and the rule that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// Which rule, from 0.
    pub rule: u16,
    /// What.
    pub what: What,
}

/// What can be done to a request or to a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The request ends with this error, and nothing of it is tried.
    Fail(Errno),
    /// It moves less than was asked for: at most so many bytes, or as the number decides.
    Short(Share),
    /// Its completion is held for so long \[ns\].
    Delay(u64),
    /// It goes to a worker, as with `IOSQE_ASYNC`.
    Worker,
    /// Its completion goes behind the backlog, as when the queue is full.
    Overflow,
    /// A wait ends with `EINTR`, as by a signal.
    Interrupt,
    /// Not legal: it has no completion.
    Lose,
    /// Not legal: it has its last completion twice.
    Twice,
}

/// How much of a transfer is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many bytes, if that is less.
    Bytes(u32),
    /// A part that this number decides.
    Dice(u32),
}

impl What {
    /// A word for people and for plans.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fail(_) => "errno",
            Self::Short(_) => "short",
            Self::Delay(_) => "delay",
            Self::Worker => "worker",
            Self::Overflow => "overflow",
            Self::Interrupt => "interrupt",
            Self::Lose => "lose",
            Self::Twice => "twice",
        }
    }

    /// Whether a kernel may do the same.
    pub const fn is_legal(self) -> bool {
        !matches!(self, Self::Lose | Self::Twice)
    }
}

/// What became of the request or the wait, for people.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail(e) => write!(f, "failed with {e:?}"),
            Self::Short(Share::Bytes(n) | Share::Dice(n)) => write!(f, "moved {n} bytes at most"),
            Self::Delay(ns) => write!(f, "completed {:.3} ms late", *ns as f64 / 1e6),
            Self::Worker => f.write_str("went to a worker"),
            Self::Overflow => f.write_str("completed behind a full queue"),
            Self::Interrupt => f.write_str("ended with EINTR"),
            Self::Lose => f.write_str("was not completed"),
            Self::Twice => f.write_str("was completed twice"),
        }
    }
}

impl Fate {
    /// Takes the first act that `is` one.
    pub(crate) fn take(&mut self, is: impl Fn(&What) -> bool) -> Option<Act> {
        let at = self.acts.iter().position(|act| is(&act.what))?;
        Some(self.acts.remove(at))
    }
}

/// First come, first served; everything at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Policy for Plain {
    fn next_ready(&self, _n: usize) -> usize {
        0
    }

    fn share(&self, len: u32) -> u32 {
        len
    }
}
