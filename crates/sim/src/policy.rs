//! Who goes next, how much of it, and what goes wrong: every choice of the world, and of the engine.
//!
//! ```text
//!  scheduler: pick(tasks)       host: part(bytes), strikes(fault), amount(delay)
//!        '------------- Policy: Plain | Seeded | Chaos -------------'
//!  engine: next_ready(waiters), share(bytes) -- by way of Choices
//! ```
//!
//! All of it is legal: a kernel may do the same. What it does not do: decide what the application does
//! (the workload's part), or corrupt anything.

use crate::rng::Rng;
use crate::sched::{Sched, lock};
use ringer_engine::chaos::Chaos as Meddler;
use ringer_engine::chaos::plan::Plan;
use ringer_engine::host::RingId;
use ringer_engine::policy::{Act, Fate, Submission};
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Something unpleasant that may happen at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The thread that runs loses the processor.
    Preempt,
    /// A thread sleeps in the middle of something, locks in hand.
    Slow,
    /// A stream gives or takes less than it could.
    Short,
    /// The engine asks for less than it could.
    Share,
    /// A wait of the application ends by a signal.
    Eintr,
    /// A wait ends for no reason.
    Wake,
    /// A cached file is not there after all.
    Again,
    /// What was sent arrives later.
    Late,
    /// No thread is to be had.
    NoThread,
    /// No descriptor is to be had.
    NoFile,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Preempt,
        Self::Slow,
        Self::Short,
        Self::Share,
        Self::Eintr,
        Self::Wake,
        Self::Again,
        Self::Late,
        Self::NoThread,
        Self::NoFile,
    ];
}

/// How often each fault happens: once in so many chances, 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates([u32; Fault::ALL.len()]);

impl Rates {
    /// No faults.
    pub const NONE: Self = Self([0; Fault::ALL.len()]);

    /// The same with this fault once in `n` chances.
    #[must_use]
    pub fn with(mut self, fault: Fault, n: u32) -> Self {
        self.0[fault as usize] = n;
        self
    }

    /// Once in so many chances.
    pub const fn of(&self, fault: Fault) -> u32 {
        self.0[fault as usize]
    }
}

/// The choices. See the module's picture.
pub trait Policy: Send + Sync + Debug {
    /// Which of `n` things that can go on does (n > 0).
    fn pick(&self, n: usize) -> usize;
    /// How many of `n` bytes a transfer moves that moves less (1..=n).
    fn part(&self, n: usize) -> usize;
    /// How long, below `n`.
    fn amount(&self, n: u64) -> u64;
    /// Whether this happens now.
    fn strikes(&self, fault: Fault) -> bool;
}

/// First come, first served, everything at once, and nothing goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Policy for Plain {
    fn pick(&self, _n: usize) -> usize {
        0
    }

    fn part(&self, n: usize) -> usize {
        n
    }

    fn amount(&self, _n: u64) -> u64 {
        0
    }

    fn strikes(&self, _fault: Fault) -> bool {
        false
    }
}

/// Streams of choices that do not disturb each other: what one fault does is the same without another.
#[derive(Debug)]
struct Streams {
    picks: Mutex<Rng>,
    sizes: Mutex<Rng>,
    faults: [Mutex<Rng>; Fault::ALL.len()],
}

impl Streams {
    fn new(seed: u64) -> Self {
        let stream =
            |i: u64| Mutex::new(Rng::new(seed ^ (i + 1).wrapping_mul(0xd1b5_4a32_d192_ed03)));
        let faults = Fault::ALL.map(|f| stream(2 + f as u64));
        Self { picks: stream(0), sizes: stream(1), faults }
    }

    fn pick(&self, n: usize) -> usize {
        lock(&self.picks).below(n)
    }

    fn size(&self, n: u64) -> u64 {
        lock(&self.sizes).below(n as usize) as u64
    }

    fn one_in(&self, fault: Fault, n: u32) -> bool {
        n != 0 && lock(&self.faults[fault as usize]).one_in(n)
    }
}

/// Anything that can happen, as a seed decides.
#[derive(Debug)]
pub struct Seeded {
    streams: Streams,
    rates: Rates,
}

impl Seeded {
    /// Choices of `seed` with these faults.
    pub fn new(seed: u64, rates: Rates) -> Self {
        Self { streams: Streams::new(seed), rates }
    }
}

impl Policy for Seeded {
    fn pick(&self, n: usize) -> usize {
        self.streams.pick(n)
    }

    fn part(&self, n: usize) -> usize {
        if n < 2 { n } else { 1 + self.streams.size(n as u64) as usize }
    }

    fn amount(&self, n: u64) -> u64 {
        self.streams.size(n)
    }

    fn strikes(&self, fault: Fault) -> bool {
        self.streams.one_in(fault, self.rates.of(fault))
    }
}

/// As bad as the rules allow: the last one first, a byte at a time, every fault that has a rate nearly
/// as often as the program survives.
#[derive(Debug)]
pub struct Chaos {
    streams: Streams,
    rates: Rates,
}

/// Once in so many picks somebody else's turn comes: without that it would be no scheduler.
const FAIR: u32 = 6;

impl Chaos {
    /// Chaos with these faults; their rates say only which.
    pub fn new(seed: u64, rates: Rates) -> Self {
        Self { streams: Streams::new(seed), rates }
    }
}

impl Policy for Chaos {
    fn pick(&self, n: usize) -> usize {
        let fair = lock(&self.streams.sizes).one_in(FAIR);
        if fair { self.streams.pick(n) } else { n - 1 }
    }

    fn part(&self, _n: usize) -> usize {
        1
    }

    fn amount(&self, n: u64) -> u64 {
        // Nothing at all, or as long as there is.
        if self.streams.size(2) == 0 { 0 } else { n.saturating_sub(1) }
    }

    fn strikes(&self, fault: Fault) -> bool {
        let often = match fault {
            Fault::Preempt | Fault::Short | Fault::Share | Fault::Again | Fault::Late => 2,
            Fault::Eintr | Fault::Wake => 3,
            Fault::Slow | Fault::NoThread | Fault::NoFile => 8,
        };
        self.rates.of(fault) != 0 && self.streams.one_in(fault, often)
    }
}

/// The engine's choices, made by the world's policy.
#[derive(Debug)]
pub(crate) struct Choices {
    sched: Arc<Sched>,
    meddler: Option<Meddler>,
    adopts: Arc<AtomicBool>,
}

impl Choices {
    pub(crate) fn new(sched: Arc<Sched>, plan: Option<Plan>, adopts: Arc<AtomicBool>) -> Self {
        Self { sched, meddler: plan.map(Meddler::new), adopts }
    }
}

impl ringer_engine::policy::Policy for Choices {
    fn next_ready(&self, n: usize) -> usize {
        self.sched.policy.pick(n)
    }

    fn share(&self, len: u32) -> u32 {
        let less = len > 1 && self.sched.strikes(Fault::Share);
        if less { self.sched.policy.part(len as usize) as u32 } else { len }
    }

    fn adopts(&self, ring: RingId) -> bool {
        self.adopts.load(Relaxed) && self.meddler.as_ref().is_some_and(|m| m.adopts(ring))
    }

    fn fate(&self, of: &Submission<'_>) -> Option<Box<Fate>> {
        self.meddler.as_ref()?.fate(of)
    }

    fn interrupts(&self, ring: RingId, nth: u64) -> Option<Act> {
        self.meddler.as_ref()?.interrupts(ring, nth)
    }
}
