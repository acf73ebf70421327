//! Which CPUs threads may use.

use crate::lock::ForkMutex;
use crate::raw::{self, general as g};
use crate::thread::{self, Name, Spec, Table};
use rust_alloc::boxed::Box;
use rust_alloc::sync::Arc;

/// Bits of CPUs, as many as any kernel is configured for.
type Mask = [u64; 128];

/// How many CPUs the calling thread may run on, at least 1.
// Not within its callers: masks are large, and so would their frames be.
#[inline(never)]
pub fn count() -> u32 {
    affinity().iter().map(|word| word.count_ones()).sum::<u32>().max(1)
}

/// Whether `cpu` is in the process's cpuset and online.
pub fn allowed(cpu: u32) -> bool {
    names(&affinity(), cpu) || of_cpuset().is_some_and(|mask| names(&mask, cpu))
}

/// The CPUs that any thread of this process may be sent to: those of its cpuset that are online.
/// `None`: nobody can say.
///
/// A thread that asks for all CPUs gets just these (6.18 kernel/sched/syscalls.c
/// `__sched_setaffinity`); so one is made that asks.
fn of_cpuset() -> Option<Mask> {
    let answer = Arc::new(ForkMutex::new(None));
    let theirs = Arc::clone(&answer);
    let body = move || {
        let all: Mask = [u64::MAX; 128];
        *theirs.lock() = send(&all).then(affinity);
    };
    let spec = Spec { name: Name::worker(), table: Table::Shared, cpu: None };
    thread::spawn(spec, Box::new(body)).ok()?.join();
    *answer.lock()
}

/// Whether `cpus` names one of the machine's that the cpuset lacks (6.18 lib/bitmap.c: bits beyond
/// `nr_cpu_ids` are not looked at). `false` where nobody can say.
pub fn beyond_cpuset(cpus: &[u64]) -> bool {
    let possible = possible().and_then(|text| last_cpu(&text));
    match (possible, of_cpuset()) {
        (Some(last), Some(may)) => lacks(&may, cpus, last),
        _ => false,
    }
}

/// Whether `may` lacks one of `cpus` up to the `last`.
fn lacks(may: &[u64], cpus: &[u64], last: u32) -> bool {
    (0..=last).any(|cpu| names(cpus, cpu) && !names(may, cpu))
}

fn names(mask: &[u64], cpu: u32) -> bool {
    mask.get(cpu as usize / 64).is_some_and(|word| word >> (cpu % 64) & 1 != 0)
}

/// The list of CPUs that the machine may have, as the kernel writes it.
fn possible() -> Option<[u8; 64]> {
    let path = c"/sys/devices/system/cpu/possible";
    let fd = raw::openat(g::AT_FDCWD, path, g::O_RDONLY | g::O_CLOEXEC, 0).ok()?;
    let mut text = [0; 64];
    let read = raw::read(fd, &mut text);
    let _ = raw::close(fd);
    // A list that does not fit has holes: nobody's machine.
    read.is_ok_and(|n| n < text.len()).then_some(text)
}

/// The last number of a list such as `0-63`.
fn last_cpu(list: &[u8]) -> Option<u32> {
    let digits = list.split(|b| !b.is_ascii_digit()).rfind(|part| !part.is_empty())?;
    let add = |n: u32, digit: &u8| n.checked_mul(10)?.checked_add((digit - b'0').into());
    digits.iter().try_fold(0, add).filter(|cpu| *cpu < 8192)
}

/// Binds the calling thread. Whether that worked.
fn send(mask: &Mask) -> bool {
    let (len, at) = (size_of_val(mask), mask.as_ptr() as usize);
    // SAFETY: the kernel reads `len` bytes.
    let ret = unsafe { raw::syscall3(g::__NR_sched_setaffinity, 0, len, at) };
    ret == 0
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
    send(&mask);
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
    fn a_cpu_that_the_machine_has_and_the_cpuset_lacks_is_beyond_it() {
        for (list, last) in [("0\n", 0), ("0-63\n", 63), ("0,4-7\n\0\0", 7)] {
            assert_eq!(last_cpu(list.as_bytes()), Some(last));
        }
        assert_eq!((last_cpu(b"\n"), last_cpu(b"0-99999999999")), (None, None));
        assert!(lacks(&[0b0011], &[0b0101], 3));
        assert!(!lacks(&[0b0011], &[0b0101], 1), "no machine's");
        assert!(lacks(&[1], &[0, 1], 64) && !lacks(&[1], &[1], 64));
        let everything = [u64::MAX; 128];
        let may = of_cpuset().unwrap();
        let last = last_cpu(&possible().unwrap()).unwrap();
        assert_eq!(beyond_cpuset(&everything), lacks(&may, &everything, last));
        assert!(!beyond_cpuset(&may) && allowed(0) == (may[0] & 1 != 0));
    }

    #[test]
    fn counts_agree_with_the_standard_library() {
        assert_eq!(count() as usize, std::thread::available_parallelism().unwrap().get());
        assert!((0..8_192).any(allowed));
        assert!(!allowed(8_192) && !allowed(u32::MAX));
    }
}
