//! How many requests were in flight, and how many ended, over the time of a trace.
//!
//! What this does not do: draw.

/// The time in equal parts.
#[derive(Debug)]
pub(super) struct Flight {
    /// What one part lasts \[ns\].
    pub(super) part_ns: u64,
    /// Most that were in flight at once in each part.
    pub(super) peak: Vec<u64>,
    /// Mean of what was in flight in each part.
    pub(super) mean: Vec<f64>,
    /// Requests that ended in each part.
    pub(super) ended: Vec<u64>,
}

impl Flight {
    /// Adds spans up over `duration_ns` from `first_ns` on; an open one lasts to the end.
    pub(super) fn of(
        spans: &[(u64, Option<u64>)],
        (first_ns, duration_ns): (u64, u64),
        parts: usize,
    ) -> Self {
        let part_ns = duration_ns.div_ceil(parts as u64).max(1);
        let mut flight =
            Self { part_ns, peak: vec![0; parts], mean: vec![0.0; parts], ended: vec![0; parts] };
        // Ends before beginnings: a request that begins as another ends is not beside it.
        let mut changes: Vec<(u64, i64)> = Vec::with_capacity(spans.len() * 2);
        for &(begun, ended) in spans {
            let begun = begun.saturating_sub(first_ns);
            changes.push((begun, 1));
            if let Some(ended) = ended {
                let ended = ended.saturating_sub(first_ns).max(begun);
                // One that took no time was there all the same.
                changes.push((ended + u64::from(ended == begun), -1));
                let at = flight.part(ended);
                if let Some(n) = flight.ended.get_mut(at) {
                    *n += 1;
                }
            }
        }
        changes.sort_unstable();
        let (mut now, mut since) = (0_u64, 0);
        for (at, change) in changes {
            flight.hold(now, since, at);
            since = at;
            now = now.saturating_add_signed(change);
        }
        flight.hold(now, since, duration_ns);
        flight
    }

    fn part(&self, at_ns: u64) -> usize {
        ((at_ns / self.part_ns) as usize).min(self.peak.len().saturating_sub(1))
    }

    /// `n` were in flight from `from` to `to`.
    fn hold(&mut self, n: u64, from: u64, to: u64) {
        if n == 0 || to <= from {
            return;
        }
        for part in self.part(from)..=self.part(to - 1) {
            let (begin, end) = (part as u64 * self.part_ns, (part as u64 + 1) * self.part_ns);
            let inside = to.min(end).saturating_sub(from.max(begin));
            if let (Some(peak), Some(mean)) = (self.peak.get_mut(part), self.mean.get_mut(part)) {
                *peak = (*peak).max(n);
                *mean += n as f64 * inside as f64 / self.part_ns as f64;
            }
        }
    }

    /// Most that were in flight at once.
    pub(super) fn most(&self) -> u64 {
        self.peak.iter().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_counted_and_what_touches_is_not() {
        let flight = Flight::of(&[(0, Some(50)), (50, Some(100)), (75, None)], (0, 100), 2);
        assert_eq!(flight.peak, [1, 2]);
        assert_eq!(flight.mean, [1.0, 1.5]);
        assert_eq!(flight.ended, [0, 2]);
    }

    #[test]
    fn a_trace_of_nothing_and_one_of_no_time_are_no_trouble() {
        assert_eq!(Flight::of(&[], (0, 0), 3).peak, [0, 0, 0]);
        let flight = Flight::of(&[(5, Some(5))], (5, 0), 2);
        assert_eq!((flight.ended[0] + flight.ended[1], flight.most()), (1, 1));
    }
}
