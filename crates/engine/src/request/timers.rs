//! Times that requests wait for, and numbers of completions that timeouts count to.
//!
//! Two B-trees, by (deadline, sequence) and by (count, sequence): arming, removing and firing are
//! O(log n), what is due comes in the order it was armed. All deadlines are on CLOCK_MONOTONIC
//! \[ns\]; other clocks are converted (`clocks`). What it does not do: sleep; the leader of the ring
//! sleeps until [`Timers::next`].

use crate::slab::Key;
use alloc::collections::BTreeMap;

/// A place in one of the trees; taking it out needs it.
pub type At = (u64, u64);

/// See the module's doc.
#[derive(Debug, Default)]
pub struct Timers {
    by_time: BTreeMap<At, Key>,
    by_count: BTreeMap<At, Key>,
    seq: u64,
    /// Completions so far: as the ring counts them, which wraps, and in full.
    reached: (u32, u64),
}

impl Timers {
    /// Adds a deadline; what is returned removes it.
    pub fn arm(&mut self, deadline_ns: u64, key: Key) -> At {
        self.seq += 1;
        let at = (deadline_ns, self.seq);
        self.by_time.insert(at, key);
        at
    }

    /// Removes a deadline.
    pub fn remove(&mut self, at: At) {
        self.by_time.remove(&at);
    }

    /// The next deadline \[ns\].
    pub fn next(&self) -> Option<u64> {
        self.by_time.first_key_value().map(|(&(t, _), _)| t)
    }

    /// Takes one request whose deadline is not after `now_ns`.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<Key> {
        let entry = self.by_time.first_entry()?;
        (entry.key().0 <= now_ns).then(|| entry.remove())
    }

    /// Whether nothing waits for a time.
    pub fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    /// Waits for `off` completions more than the `seq` there are; what is returned removes it.
    pub fn count(&mut self, seq: u32, off: u32, key: Key) -> At {
        self.seq += 1;
        let at = (self.advance(seq) + u64::from(off), self.seq);
        self.by_count.insert(at, key);
        at
    }

    /// Removes a count.
    pub fn uncount(&mut self, at: At) {
        self.by_count.remove(&at);
    }

    /// Takes one request whose count is reached, now that there are `seq` completions.
    pub fn pop_counted(&mut self, seq: u32) -> Option<Key> {
        let reached = self.advance(seq);
        let entry = self.by_count.first_entry()?;
        (entry.key().0 <= reached).then(|| entry.remove())
    }

    /// Whether nothing counts.
    pub fn counts_nothing(&self) -> bool {
        self.by_count.is_empty()
    }

    /// The completions in full. A timeout that fires silently is taken off and never posted: a step
    /// back, which for timeout.c `io_flush_timeouts` is a step around, past every count.
    fn advance(&mut self, seq: u32) -> u64 {
        let step = u64::from(seq.wrapping_sub(self.reached.0));
        self.reached = (seq, self.reached.1 + step);
        self.reached.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_deadlines_fire_in_arming_order() {
        let mut t = Timers::default();
        let (a, b) = (Key::from_bits(1), Key::from_bits(2));
        t.arm(5, a);
        t.arm(5, b);
        assert_eq!(t.pop_due(4), None);
        assert_eq!(t.pop_due(5), Some(a));
        assert_eq!(t.pop_due(5), Some(b));
        assert!(t.is_empty());
    }

    #[test]
    fn a_count_beyond_half_the_range_is_far_away_and_not_reached() {
        let mut t = Timers::default();
        let (far, near) = (Key::from_bits(1), Key::from_bits(2));
        t.count(u32::MAX, 0x9000_0000, far);
        t.count(u32::MAX, 2, near);
        assert_eq!(t.pop_counted(0), None);
        assert_eq!(t.pop_counted(1), Some(near));
        assert_eq!(t.pop_counted(0x7000_0000), None);
        assert_eq!(t.pop_counted(0x8fff_ffff), Some(far));
        assert!(t.counts_nothing());
    }

    #[test]
    fn a_step_back_is_past_every_count() {
        let mut t = Timers::default();
        let (a, b) = (Key::from_bits(1), Key::from_bits(2));
        t.count(7, u32::MAX, a);
        t.count(7, 1, b);
        assert_eq!(t.pop_counted(6), Some(b));
        assert_eq!(t.pop_counted(6), Some(a));
    }
}
