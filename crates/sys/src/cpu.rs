//! Which CPUs threads may use.

use crate::raw::{self, general as g};

/// Bits of CPUs, as many as any kernel is configured for.
type Mask = [u64; 128];

/// How many CPUs the calling thread may run on, at least 1.
pub fn count() -> u32 {
    affinity().iter().map(|word| word.count_ones()).sum::<u32>().max(1)
}

/// Whether `cpu` is among them (so it is online).
pub fn allowed(cpu: u32) -> bool {
    affinity().get(cpu as usize / 64).is_some_and(|word| word >> (cpu % 64) & 1 != 0)
}

fn affinity() -> Mask {
    ask().0
}

/// The calling thread's mask, and how many bytes of it the kernel wrote.
fn ask() -> (Mask, usize) {
    let mut mask: Mask = [0; 128];
    let (len, at) = (size_of_val(&mask), mask.as_mut_ptr() as usize);
    // SAFETY: the kernel writes at most `len` bytes.
    let written = unsafe { raw::syscall3(g::__NR_sched_getaffinity, 0, len, at) };
    (mask, usize::try_from(written).unwrap_or(0))
}

/// How long the kernel's masks are \[bytes\].
pub fn mask_len() -> usize {
    ask().1.next_multiple_of(8).max(8)
}

/// Has the calling thread run on these CPUs, or on those of them that it was bound to (6.18
/// kernel/sched/core.c `__set_cpus_allowed_ptr`). Where there is none it stays as it is.
pub fn run_on(cpus: &[u64]) {
    let now = affinity();
    let both = || cpus.iter().zip(now).map(|(a, b)| a & b);
    let meet = both().any(|word| word != 0);
    let mut mask: Mask = [0; 128];
    for (i, word) in mask.iter_mut().enumerate() {
        let asked = cpus.get(i).copied().unwrap_or(0);
        *word = if meet { asked & now.get(i).copied().unwrap_or(0) } else { asked };
    }
    let (len, at) = (size_of_val(&mask), mask.as_ptr() as usize);
    // SAFETY: the kernel reads `len` bytes.
    let _ = unsafe { raw::syscall3(g::__NR_sched_setaffinity, 0, len, at) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_where_it_is_sent_and_stays_where_it_may_be() {
        std::thread::spawn(|| {
            let all = affinity();
            let first = (0..8192).find(|cpu| allowed(*cpu)).unwrap();
            let mut one = [0; 128];
            one[first as usize / 64] = 1 << (first % 64);
            run_on(&[0; 128]);
            assert_eq!(affinity(), all, "nowhere");
            run_on(&one);
            assert_eq!((affinity(), count()), (one, 1));
            run_on(&all);
            assert_eq!(affinity(), one, "bound already");
        })
        .join()
        .unwrap();
        assert!(mask_len() >= 8 && mask_len().is_multiple_of(8));
    }

    #[test]
    fn counts_agree_with_the_standard_library() {
        assert_eq!(count() as usize, std::thread::available_parallelism().unwrap().get());
        assert!((0..8_192).any(allowed));
        assert!(!allowed(8_192) && !allowed(u32::MAX));
    }
}
