//! Which CPUs the calling thread may use.

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
    let mut mask: Mask = [0; 128];
    let (len, at) = (size_of_val(&mask), mask.as_mut_ptr() as usize);
    // SAFETY: the kernel writes at most `len` bytes.
    let _ = unsafe { raw::syscall3(g::__NR_sched_getaffinity, 0, len, at) };
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_the_standard_library() {
        assert_eq!(count() as usize, std::thread::available_parallelism().unwrap().get());
        assert!((0..8_192).any(allowed));
        assert!(!allowed(8_192) && !allowed(u32::MAX));
    }
}
