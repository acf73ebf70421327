//! A task of the scheduler, and what it waits for.

use std::sync::{Arc, Condvar};

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: it can run.
    Ready,
    /// A lock that somebody holds.
    Spin,
    /// Any change of the world since this version, a time, an interrupt.
    Change {
        version: u64,
        until: Option<u64>,
    },
    /// A wake-up of the futex word at this address, a time, an interrupt.
    Park {
        addr: usize,
        until: Option<u64>,
    },
    /// A time, and nothing else: a slow thread.
    Slow {
        until: u64,
    },
    /// That nobody else can run.
    Idle,
    Done,
}

impl Wait {
    pub(crate) fn until(self) -> Option<u64> {
        match self {
            Self::Change { until, .. } | Self::Park { until, .. } => until,
            Self::Slow { until } => Some(until),
            Self::Ready | Self::Spin | Self::Idle | Self::Done => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) name: String,
    /// A thread of the application: signals are delivered to it.
    pub(crate) app: bool,
    pub(crate) wait: Wait,
    pub(crate) woken: bool,
    pub(crate) interrupted: bool,
    /// Interrupted by the engine: every call it makes answers `EINTR`, until that is cleared.
    pub(crate) stopped: bool,
    /// How often it was.
    pub(crate) eintrs: u64,
    /// It waited for a lock when it had its last turn.
    pub(crate) contends: bool,
    pub(crate) spins: u32,
    pub(crate) turn: Arc<Condvar>,
}

impl Task {
    pub(crate) fn new(name: &str, app: bool) -> Self {
        Self {
            name: name.to_owned(),
            app,
            wait: Wait::Ready,
            woken: false,
            interrupted: false,
            stopped: false,
            eintrs: 0,
            contends: false,
            spins: 0,
            turn: Arc::new(Condvar::new()),
        }
    }
    /// Whether it was interrupted, once.
    pub(crate) fn take_interrupt(&mut self) -> bool {
        let was = std::mem::take(&mut self.interrupted);
        self.eintrs += u64::from(was);
        was
    }
}
