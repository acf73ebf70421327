//! Times that requests wait for, and counted timeouts.
//!
//! A B-tree by (deadline, sequence): arming, removing and firing are O(log n). All deadlines are on
//! CLOCK_MONOTONIC \[ns\]; other clocks are converted when armed. What it does not do: sleep; the
//! leader of the ring sleeps until [`Timers::next`].

use crate::slab::Key;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// See the module's doc.
#[derive(Debug, Default)]
pub struct Timers {
    by_time: BTreeMap<(u64, u64), Key>,
    seq: u64,
    /// Timeouts that also end when the CQ reaches a sequence number.
    pub counted: Vec<(u32, Key)>,
}

impl Timers {
    /// Adds a deadline; the returned pair removes it.
    pub fn arm(&mut self, deadline_ns: u64, key: Key) -> (u64, u64) {
        self.seq += 1;
        let at = (deadline_ns, self.seq);
        self.by_time.insert(at, key);
        at
    }

    /// Removes a deadline.
    pub fn remove(&mut self, at: (u64, u64)) {
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
}
