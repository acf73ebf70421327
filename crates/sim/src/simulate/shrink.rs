//! A failing program made small: taken apart as long as something still goes wrong.
//!
//! The same thing has to go wrong, but for the numbers in it. What it does not do: prove that nothing
//! smaller fails.

use super::attempt;
use super::draw::{flags_of, mend};
use super::program::{Program, Step};
use crate::policy::Fault;
use std::time::{Duration, Instant};

/// Most programs tried, and the longest time it may take.
const TRIES: u32 = 600;
const TIME: Duration = Duration::from_secs(20);

struct Shrinker {
    best: Program,
    why: String,
    left: u32,
    until: Instant,
}

impl Shrinker {
    /// Takes over a smaller program if it fails, too.
    fn offer(&mut self, smaller: Program) -> bool {
        if self.left == 0 || Instant::now() > self.until {
            return false;
        }
        self.left -= 1;
        let Err(why) = attempt(&smaller) else { return false };
        if gist(&why) != gist(&self.why) {
            return false;
        }
        self.best = smaller;
        self.why = why;
        true
    }

    fn steps(&mut self) -> bool {
        let mut better = false;
        let mut size = self.best.steps.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut p = self.best.clone();
                p.steps.drain(at..(at + size).min(p.steps.len()));
                if self.offer(p) {
                    better = true;
                } else {
                    at += size;
                }
            }
            if size == 1 {
                return better;
            }
            size = size.div_ceil(2);
        }
    }

    /// Tries every entry of every batch, in threads as well: taken out, and without each flag.
    fn entries(&mut self) -> bool {
        let mut better = false;
        for at in 0..self.best.steps.len() {
            let inner = match self.best.steps.get(at) {
                Some(Step::Thread(steps)) => steps.len(),
                _ => 1,
            };
            for within in 0..inner {
                better |= self.batch(at, within);
            }
        }
        better
    }

    fn batch(&mut self, at: usize, within: usize) -> bool {
        let (mut better, mut i) = (false, 0);
        loop {
            let mut p = self.best.clone();
            let Some(Step::Submit(batch) | Step::SubmitAndWait(batch, ..)) =
                locate(&mut p, at, within)
            else {
                return better;
            };
            if i >= batch.len() {
                return better;
            }
            batch.remove(i);
            mend(batch);
            if self.offer(p) {
                better = true;
                continue;
            }
            let flags: Vec<u8> = match locate(&mut self.best, at, within) {
                Some(Step::Submit(batch) | Step::SubmitAndWait(batch, ..)) => {
                    batch.get(i).map(|e| flags_of(e).collect()).unwrap_or_default()
                }
                _ => Vec::new(),
            };
            for flag in flags {
                let mut p = self.best.clone();
                let Some(Step::Submit(batch) | Step::SubmitAndWait(batch, ..)) =
                    locate(&mut p, at, within)
                else {
                    continue;
                };
                if let Some(e) = batch.get_mut(i) {
                    e.sqe.flags &= !flag;
                }
                let before = batch.len();
                mend(batch);
                better |= batch.len() == before && self.offer(p);
            }
            i += 1;
        }
    }

    fn world(&mut self) -> bool {
        let mut better = false;
        for fault in Fault::ALL {
            if self.best.rates.of(fault) != 0 {
                let mut p = self.best.clone();
                p.rates = p.rates.with(fault, 0);
                better |= self.offer(p);
            }
        }
        let simpler: [fn(&mut Program); 10] = [
            |p| p.neighbour = false,
            |p| p.indexed = false,
            |p| p.tags = false,
            |p| p.polled = false,
            |p| p.numberless = false,
            |p| p.no_nowait = false,
            |p| p.posix_locks = false,
            |p| p.meddles = false,
            |p| p.eventfd = None,
            |p| p.unregisters = false,
        ];
        for change in simpler {
            let mut p = self.best.clone();
            change(&mut p);
            if p.to_string() != self.best.to_string() {
                better |= self.offer(p);
            }
        }
        better
    }
}

/// What goes wrong, without numbers.
fn gist(why: &str) -> String {
    let plain = why.chars().filter(|c| c.is_alphabetic() || *c == ' ');
    plain.take(60).collect()
}

fn locate(p: &mut Program, at: usize, within: usize) -> Option<&mut Step> {
    match p.steps.get_mut(at)? {
        Step::Thread(steps) => steps.get_mut(within),
        step => Some(step),
    }
}

/// The smallest program found that fails, and how it does. `why` is how the given one fails.
pub fn shrink(program: &Program, why: String) -> (Program, String) {
    let mut s = Shrinker { best: program.clone(), why, left: TRIES, until: Instant::now() + TIME };
    loop {
        let mut better = s.steps();
        better |= s.entries();
        better |= s.world();
        if !better {
            return (s.best, s.why);
        }
    }
}
