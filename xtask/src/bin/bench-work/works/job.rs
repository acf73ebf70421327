//! What a work is told, and what it answers.
//!
//! What it does not do: know the works.

use anyhow::{Context as _, Result, bail};
use io_uring::{IoUring, cqueue, squeue};
use std::time::{Duration, Instant};

/// How a work is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A ring as `IoUring::new` makes it.
    Ring,
    /// One with `DEFER_TASKRUN` and `SINGLE_ISSUER`.
    Defer,
    /// One system call after the other.
    Calls,
    /// The kernel's older asynchronous calls, `io_submit(2)`.
    Libaio,
    /// POSIX AIO, which is libc's threads.
    Posix,
    /// 16 threads that take jobs from a queue.
    Pool,
    /// `tokio::fs`.
    Tokio,
    /// `epoll_wait(2)` and plain calls on what is ready.
    Epoll,
}

impl Way {
    fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "ring" => Self::Ring,
            "defer" => Self::Defer,
            "calls" => Self::Calls,
            "libaio" => Self::Libaio,
            "posix" => Self::Posix,
            "pool" => Self::Pool,
            "tokio" => Self::Tokio,
            "epoll" => Self::Epoll,
            _ => bail!("no such way: {name}"),
        })
    }

    pub(crate) fn is_ring(self) -> bool {
        matches!(self, Self::Ring | Self::Defer)
    }
}

/// How long, and in which way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) budget: Duration,
    pub(crate) way: Way,
}

impl Job {
    pub(crate) fn new(millis: &str, way: Option<&str>) -> Result<Self> {
        let budget = Duration::from_millis(millis.parse().context("milliseconds")?);
        Ok(Self { budget, way: Way::named(way.unwrap_or("ring"))? })
    }

    /// A ring of the job's mode.
    pub(crate) fn ring(self, entries: u32) -> Result<IoUring> {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
        match self.way {
            Way::Ring => {}
            Way::Defer => {
                builder.setup_single_issuer().setup_defer_taskrun();
            }
            way => bail!("this work needs a ring, not {way:?}"),
        }
        builder.build(entries).context("io_uring_setup")
    }
}

/// What an operation took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Nanoseconds; works that measure memory say KiB here.
    pub(crate) value: f64,
    /// Processor time of the whole process \[ns\].
    pub(crate) cpu: f64,
}

/// A watch on both clocks.
pub(crate) struct Watch {
    start: Instant,
    cpu: Duration,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), cpu: cpu() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Each of so many operations since the start.
    pub(crate) fn each(&self, operations: u64) -> Sample {
        let of = |spent: Duration| spent.as_nanos() as f64 / operations as f64;
        Sample { value: of(self.elapsed()), cpu: of(cpu().saturating_sub(self.cpu)) }
    }
}

fn cpu() -> Duration {
    // SAFETY: all zero is a valid `rusage`.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one `rusage`.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut used) };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    of(used.ru_utime) + of(used.ru_stime)
}

/// Batches before the clock starts: enough that an inline call site has been patched, which takes 16.
const WARM: usize = 48;

/// Repeats `batch` until the budget is used; what each of its `n` operations took.
pub(crate) fn repeat(job: Job, n: usize, mut batch: impl FnMut() -> Result<()>) -> Result<Sample> {
    let warm = Instant::now();
    for _ in 0..WARM {
        batch()?;
        if warm.elapsed() > job.budget {
            break;
        }
    }
    // The clock is read once in so many batches: often enough where one takes long.
    let stride = (WARM as u128 * 20_000 / warm.elapsed().as_nanos().max(1)).clamp(1, 32);
    let watch = Watch::start();
    let mut rounds = 0u64;
    while watch.elapsed() < job.budget {
        for _ in 0..stride {
            batch()?;
        }
        rounds += stride as u64;
    }
    Ok(watch.each(rounds * n as u64))
}

/// The calling thread stays on one processor, where there is more than one.
pub(crate) fn stay_on(processor: usize) {
    // SAFETY: an all-zero set is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below the set's 1,024.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the set is on this stack; where the processor is missing nothing changes.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}
