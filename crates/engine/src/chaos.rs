//! A policy that does to requests what a plan says, and decides by a seed where the plan leaves it open.
//!
//! ```text
//!  plan = seed + rules (+ only these injections)                 text: `plan`
//!
//!  entry `nth` of ring `r` --for each rule--> matches?  --> hash(seed, rule, r, nth) < p ? --> an Act
//!                                             nth=N: is it the Nth that matches in this process?
//! ```
//! A decision about an entry hangs on nothing but the seed, the rule, the ring (its number in the process) and the
//! number of the entry on that ring: neither on time nor on what other rings do (but `nth=`, which counts
//! in the whole process, and waits, which are counted when they are about to sleep). So the same submissions meet the
//! same acts again, and acts that are left out change nothing about the others, which is what lets a list
//! of them be made shorter. What this does not do: carry acts out (`request/fate.rs`), or know files.

pub mod plan;

use crate::host::RingId;
use crate::policy::{Act, Fate, Policy, Share, Submission, What};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use plan::{Injection, Plan, Rule};
use ringer_uapi::flags::SqeFlags;

/// Delays of a rule that names none: most are below the first \[ns\], one in 32 below the second.
const USUAL_NS: u64 = 2_000_000;
const LONGEST_NS: u64 = 20_000_000;
/// Probabilities are in parts of this.
pub const WHOLE: u32 = 1_000_000;

/// See the module's doc.
#[derive(Debug)]
pub struct Chaos {
    plan: Plan,
    /// How many entries matched, by rule.
    matched: Vec<AtomicU64>,
    /// Choices among ready things so far.
    picks: AtomicU64,
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Chaos {
    /// Carries a plan out.
    pub fn new(plan: Plan) -> Self {
        let matched = plan.rules.iter().map(|_| AtomicU64::new(0)).collect();
        Self { plan, matched, picks: AtomicU64::new(0) }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The number that decides about a rule and an entry; `what` tells several of them apart.
    fn dice(&self, rule: usize, ring: RingId, nth: u64, what: u64) -> u64 {
        let parts = [self.plan.seed, rule as u64, ring.ordinal(), nth, what];
        parts
            .iter()
            .fold(0, |hash: u64, part| mix((hash ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15)))
    }

    /// What a rule does to the entry or the wait that it matches.
    fn strike(&self, at: usize, ring: RingId, nth: u64) -> Option<Act> {
        let rule = self.plan.rules.get(at)?;
        let matched = self.matched.get(at)?.fetch_add(1, Relaxed) + 1;
        let hit = match rule.nth {
            Some(n) => matched == n,
            None => self.dice(at, ring, nth, 0) % u64::from(WHOLE) < u64::from(rule.chance),
        };
        let number = u16::try_from(at).ok()?;
        let allowed = self.plan.only.as_ref().is_none_or(|only| {
            only.binary_search(&Injection { ring: ring.ordinal(), nth, rule: number }).is_ok()
        });
        let what = match rule.what {
            What::Short(Share::Dice(_)) => {
                What::Short(Share::Dice(self.dice(at, ring, nth, 1) as u32))
            }
            What::Delay(0) => What::Delay(self.usual_delay(at, ring, nth)),
            what => what,
        };
        (hit && allowed).then_some(Act { rule: number, what })
    }

    fn usual_delay(&self, at: usize, ring: RingId, nth: u64) -> u64 {
        let choice = self.dice(at, ring, nth, 2);
        let most = if choice & 31 == 0 { LONGEST_NS } else { USUAL_NS };
        1 + (choice >> 5) % most
    }
}

impl Policy for Chaos {
    fn next_ready(&self, n: usize) -> usize {
        let nth = self.picks.fetch_add(1, Relaxed);
        let choice = self.dice(usize::MAX, RingId(0), nth, 3);
        if self.plan.reorders() { (choice % n.max(1) as u64) as usize } else { 0 }
    }

    fn share(&self, len: u32) -> u32 {
        len
    }

    fn adopts(&self, _ring: RingId) -> bool {
        true
    }

    fn wants_paths(&self, _ring: RingId) -> bool {
        self.plan.rules.iter().any(|rule| rule.path.is_some())
    }

    fn fate(&self, of: &Submission<'_>) -> Option<Box<Fate>> {
        let rules = self.plan.rules.iter().enumerate();
        let acts: Vec<Act> = rules
            .filter(|(_, rule)| rule.what != What::Interrupt && matches(rule, of))
            .filter_map(|(at, _)| self.strike(at, of.ring, of.nth))
            .collect();
        (!acts.is_empty()).then(|| Box::new(Fate { nth: of.nth, number: of.number, acts }))
    }

    fn interrupts(&self, ring: RingId, nth: u64) -> Option<Act> {
        let rules = self.plan.rules.iter().enumerate();
        rules
            .filter(|(_, rule)| rule.what == What::Interrupt)
            .filter(|(_, rule)| rule.ring.is_none_or(|r| r == ring.ordinal()))
            .find_map(|(at, _)| self.strike(at, ring, nth))
    }
}

fn matches(rule: &Rule, of: &Submission<'_>) -> bool {
    let selects = of.sqe.flags & SqeFlags::BUFFER_SELECT.bits() != 0;
    rule.takes(of.sqe.opcode)
        && rule.ring.is_none_or(|ring| ring == of.ring.ordinal())
        && rule.fd.is_none_or(|fd| of.number == Some(fd))
        && (!rule.selects || selects)
        && rule.path.as_ref().is_none_or(|glob| of.path.is_some_and(|path| glob.matches(path)))
}

#[cfg(all(test, not(loom)))]
mod tests;
