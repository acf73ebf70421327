//! Fewer injections that still make a program fail: Zeller and Hildebrandt's ddmin (IEEE TSE 28, 2002).
//!
//! ```text
//!  n parts:  one part alone fails?      -> go on with it, 2 parts
//!            all but one part fail?     -> go on with those, n - 1 parts
//!            neither                    -> 2n parts, until a part is one injection
//! ```
//! What it does not do: run anything, or promise the smallest list there is (taking away any single one of
//! what is left makes the program pass).

/// Makes `all` shorter while `fails` says that the rest is enough. Asks at most `most` times: whether
/// there was time for all.
pub(super) fn shrink<T: Clone>(
    mut all: Vec<T>,
    most: usize,
    fails: &mut impl FnMut(&[T]) -> bool,
) -> (Vec<T>, bool) {
    let mut asked = 0;
    let mut parts = 2;
    while all.len() > 1 {
        let size = all.len().div_ceil(parts);
        let mut found = None;
        // Of two parts the one is what the other leaves.
        let ways = if parts == 2 { 1 } else { 2 };
        for way in 0..ways {
            for part in all.chunks(size).zip(0..).map(|(_, i)| i) {
                if asked == most {
                    return (all, false);
                }
                asked += 1;
                let inside = |at: usize| (at / size == part) == (way == 0);
                let some: Vec<T> = all
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| inside(*at))
                    .map(|(_, t)| t.clone())
                    .collect();
                if fails(&some) {
                    found = Some((some, way));
                    break;
                }
            }
            if found.is_some() {
                break;
            }
        }
        match found {
            Some((some, way)) => {
                all = some;
                parts = if way == 0 { 2 } else { (parts - 1).max(2) };
            }
            None if size == 1 => return (all, true),
            None => parts = (parts * 2).min(all.len()),
        }
    }
    (all, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_the_failure_needs() {
        for needed in [vec![0], vec![77], vec![3, 90], vec![10, 11, 50], vec![99]] {
            let mut asked = 0;
            let (left, whole) = shrink((0..100).collect(), 1000, &mut |some: &[u32]| {
                asked += 1;
                needed.iter().all(|n| some.contains(n))
            });
            assert_eq!((left, whole), (needed, true));
            assert!(asked < 100, "{asked}");
        }
    }

    #[test]
    fn a_failure_that_needs_all_keeps_all() {
        let (left, whole) = shrink((0..8).collect(), 1000, &mut |some: &[u32]| some.len() == 8);
        assert_eq!((left.len(), whole), (8, true));
    }

    #[test]
    fn without_time_the_list_stays_as_short_as_it_was() {
        let (left, whole) = shrink((0..64).collect(), 3, &mut |some: &[u32]| some.contains(&5));
        assert!(!whole && left.contains(&5) && left.len() < 64, "{left:?}");
    }
}
