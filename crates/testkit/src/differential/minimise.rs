//! Cuts a program down while it still differs: steps, entries, flags, fields.
//!
//! Each candidate is run again everywhere; what is not stable on the kernel does not count as
//! differing. It stops when nothing more can go, or after so many candidates.

use super::program::{Entry, Fd, Program, Step, Val};

/// Candidates tried before it is good enough.
const TRIES: u32 = 400;

/// The smallest program found for which `differs` holds; `p` is one.
pub fn minimise(p: Program, mut differs: impl FnMut(&Program) -> bool) -> Program {
    let mut cut = Cut { best: p, tries: 0, differs: &mut differs };
    loop {
        let before = cut.best.clone();
        cut.steps();
        cut.entries();
        cut.setup();
        cut.simplify();
        if cut.best == before || cut.tries >= TRIES {
            return cut.best;
        }
    }
}

/// What follows entries waits for them: without that a candidate would differ by who is faster.
fn settle_everything(p: &mut Program) {
    let steps = std::mem::take(&mut p.steps);
    for step in steps {
        let open = matches!(p.steps.last(), Some(Step::Submit { .. }));
        let settles = matches!(step, Step::Settle);
        if open && !settles {
            p.steps.push(Step::Settle);
        }
        if !settles || open {
            p.steps.push(step);
        }
    }
    if matches!(p.steps.last(), Some(Step::Submit { .. })) {
        p.steps.push(Step::Settle);
    }
}

struct Cut<'a> {
    best: Program,
    tries: u32,
    differs: &'a mut dyn FnMut(&Program) -> bool,
}

impl Cut<'_> {
    fn keep(&mut self, mut candidate: Program) -> bool {
        settle_everything(&mut candidate);
        if candidate == self.best || self.tries >= TRIES {
            return false;
        }
        self.tries += 1;
        let differs = (self.differs)(&candidate);
        if differs {
            self.best = candidate;
        }
        differs
    }

    /// Whole steps, in runs of halving length, from the end.
    fn steps(&mut self) {
        let mut run = self.best.steps.len().next_power_of_two() / 2;
        while run > 0 {
            let mut end = self.best.steps.len();
            while end > 0 {
                let from = end.saturating_sub(run);
                let mut candidate = self.best.clone();
                candidate.steps.drain(from..end);
                self.keep(candidate);
                end = from.min(self.best.steps.len());
            }
            run /= 2;
        }
    }

    /// (step, entry) of every entry, from the end.
    fn places(&self) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        for (s, step) in self.best.steps.iter().enumerate() {
            if let Step::Submit { sqes, .. } = step {
                all.extend((0..sqes.len()).map(|e| (s, e)));
            }
        }
        all.reverse();
        all
    }

    fn entries(&mut self) {
        for (s, e) in self.places() {
            let mut candidate = self.best.clone();
            // What was cut meanwhile may have taken settles with it.
            if let Some(Step::Submit { sqes, wait }) = candidate.steps.get_mut(s)
                && e < sqes.len()
            {
                sqes.remove(e);
                *wait = (*wait).min(sqes.len() as u32);
            }
            self.keep(candidate);
        }
    }

    fn setup(&mut self) {
        for b in 0..32 {
            let mut candidate = self.best.clone();
            candidate.setup.flags &= !(1 << b);
            // One is of no use without the other.
            if candidate.setup.flags & (1 << 12) == 0 {
                candidate.setup.flags &= !(1 << 13 | 1 << 9);
            }
            if candidate.setup.flags & (1 << 3) == 0 {
                candidate.setup.cq_entries = 0;
            }
            self.keep(candidate);
        }
    }

    /// Flags and fields of entries, one at a time; waits.
    fn simplify(&mut self) {
        for s in 0..self.best.steps.len() {
            let mut candidate = self.best.clone();
            // What was kept before may have cut the end off.
            match candidate.steps.get_mut(s) {
                Some(Step::Submit { wait, .. }) => *wait = 0,
                Some(_) => continue,
                None => break,
            }
            self.keep(candidate);
        }
        for place in self.places() {
            for b in 0..8 {
                self.edit(place, |e| e.flags &= !(1 << b));
            }
            self.edit(place, |e| *e = Entry { id: e.id, flags: e.flags, ..Entry::default() });
            self.edit(place, |e| e.op_flags = 0);
            self.edit(place, |e| e.ioprio = 0);
            self.edit(place, |e| e.personality = 0);
            self.edit(place, |e| e.file_index = 0);
            self.edit(place, |e| e.buf_index = 0);
            self.edit(place, |e| e.off = Val::default());
            self.edit(place, |e| e.addr = Val::default());
            self.edit(place, |e| e.fd = Fd::default());
        }
    }

    fn edit(&mut self, (s, i): (usize, usize), change: impl FnOnce(&mut Entry)) {
        let mut candidate = self.best.clone();
        if let Some(Step::Submit { sqes, .. }) = candidate.steps.get_mut(s)
            && let Some(e) = sqes.get_mut(i)
        {
            change(e);
        }
        self.keep(candidate);
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Setup;
    use super::*;

    fn nop(id: u64) -> Entry {
        Entry { id, ..Entry::default() }
    }

    #[test]
    fn what_does_not_matter_goes_and_what_does_stays() {
        let batch = |ids: std::ops::Range<u64>| Step::Submit {
            sqes: ids.map(|id| Entry { flags: 4, op_flags: 9, ..nop(id) }).collect(),
            wait: 1,
        };
        let setup = Setup { flags: 1 << 7 | 1 << 8, entries: 8, cq_entries: 0, other: None };
        let steps = vec![batch(1..4), Step::Settle, batch(4..9), Step::Settle, batch(9..12)];
        let p = Program { seed: 1, setup, steps };
        let culprit = |e: &Entry| e.id == 6 && e.flags & 4 != 0;
        let differs = |p: &Program| {
            p.setup.flags & (1 << 8) != 0
                && p.steps
                    .iter()
                    .any(|s| matches!(s, Step::Submit { sqes, .. } if sqes.iter().any(culprit)))
        };
        let small = minimise(p, differs);
        let sqes = vec![Entry { flags: 4, ..nop(6) }];
        assert_eq!(small.steps, [Step::Submit { sqes, wait: 0 }, Step::Settle]);
        assert_eq!(small.setup.flags, 1 << 8);
    }
}
