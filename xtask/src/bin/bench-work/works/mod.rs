//! The works that `bench` measures, each in a process of its own, through the `io-uring` crate.
//!
//! [`main`] prints what an operation took: nanoseconds (or KiB), and the processor time of the process. The
//! same code runs on the kernel's ring and under ringer; the ways without a ring are what people would use
//! instead. What it does not do: compare.

mod calls;
mod disk;
mod echo;
mod job;
mod memory;
mod queue;
mod reads;
mod sockets;
mod waits;

use anyhow::{Context as _, Result, bail};
use disk::{Cache, On};
use echo::Sockets;
use job::{Job, Sample};
use queue::What;
use reads::{Files, Hot};
use sockets::{tcp_pairs, unix_pairs};

const USAGE: &str = "usage: bench-work WORK MILLIS [WAY]";

/// Measures what the arguments say.
pub(crate) fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    limit_time();
    raise_limit();
    let (name, job) = match *args.as_slice() {
        ["echo-load", port, connections] => return echo::load(port.parse()?, connections.parse()?),
        ["accept-load", port] => return sockets::accept_load(port.parse()?),
        ["ring"] => return memory::one_ring(),
        [name, millis] => (name, Job::new(millis, None)?),
        [name, millis, way] => (name, Job::new(millis, Some(way))?),
        _ => bail!(USAGE),
    };
    let Sample { value, cpu } = measure(name, job)?;
    println!("{value} {cpu}");
    Ok(())
}

/// No work and no load runs longer, whatever happens to it: the default action of this signal ends it.
fn limit_time() {
    const SECONDS: u32 = 120;
    // SAFETY: takes no memory.
    unsafe { libc::alarm(SECONDS) };
}

/// As many descriptors as are allowed: a work may have 10,000 connections.
fn raise_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes one `rlimit`.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limits are on this stack. Where this fails, a work says that it has too few.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

/// Runs a work: `KIND[-COUNT][-bBATCH or -qdDEPTH][-tTHREADS]`.
fn measure(name: &str, job: Job) -> Result<Sample> {
    if let Some((name, threads)) = name.rsplit_once("-t")
        && let Ok(threads) = threads.parse()
    {
        return in_threads(name, job, threads);
    }
    let (name, batch) = match name.rsplit_once("-b").or_else(|| name.rsplit_once("-qd")) {
        Some((name, batch)) => (name, batch.parse().context("batch size")?),
        None => (name, 1),
    };
    let (kind, count) = match name.rsplit_once('-').and_then(|(k, n)| Some((k, number(n)?))) {
        Some((kind, count)) => (kind, count),
        None => (name, 1),
    };
    of_files(kind, job, batch, count)
        .or_else(|| of_sockets(kind, job, batch, count))
        .or_else(|| of_the_rest(kind, job, count))
        .with_context(|| format!("no such work: {name}"))?
}

/// A count, with `k` for thousands and `m` for millions.
fn number(text: &str) -> Option<usize> {
    let (digits, unit) = match text.strip_suffix(['k', 'm']) {
        Some(digits) if text.ends_with('k') => (digits, 1_000),
        Some(digits) => (digits, 1_000_000),
        None => (text, 1),
    };
    digits.parse::<usize>().ok().map(|n| n * unit)
}

/// The same in several threads at once, each with a ring of its own; what an operation takes of all of them.
fn in_threads(name: &str, job: Job, threads: usize) -> Result<Sample> {
    let name = &name;
    let all: Vec<Result<Sample>> = std::thread::scope(|scope| {
        let running: Vec<_> =
            (0..threads).map(|_| scope.spawn(move || measure(name, job))).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.map(|r| r.unwrap_or_else(|_| bail!("a thread panicked"))).collect()
    });
    // Rates add up; each thread's processor time is the process's.
    let (mut rate, mut cpu_rate) = (0.0, 0.0);
    for sample in all {
        let Sample { value, cpu } = sample?;
        rate += 1.0 / value;
        cpu_rate += 1.0 / cpu;
    }
    Ok(Sample { value: 1.0 / rate, cpu: 1.0 / cpu_rate })
}

fn of_files(kind: &str, job: Job, batch: usize, count: usize) -> Option<Result<Sample>> {
    let hot = |len, step, files| reads::reads(job, batch, Hot { len, step, files });
    Some(match kind {
        "nop" => reads::nops(job, batch),
        "read-plain" => hot(4096, 17, Files::Plain),
        "read-fixed" => hot(4096, 17, Files::Fixed),
        "read-fixed-buf" => hot(4096, 17, Files::FixedWithBuffer),
        "read512-plain" => hot(512, 17, Files::Plain),
        "read512-fixed" => hot(512, 17, Files::Fixed),
        "read64k-plain" => hot(65_536, 5, Files::Plain),
        "read64k-fixed" => hot(65_536, 5, Files::Fixed),
        "seq-plain" => hot(4096, 1, Files::Plain),
        "seq-fixed" => hot(4096, 1, Files::Fixed),
        "read-among-many" => reads::reads_among_many(job, batch),
        "read-among" => reads::reads_among(job, batch, count),
        "write-sync-disk" => disk::write_and_sync(job, On::Disk, batch),
        "write-sync-memory" => disk::write_and_sync(job, On::Memory, batch),
        "direct" => disk::window(job, Cache::Direct, What::Read, batch),
        "direct-write" => disk::window(job, Cache::Direct, What::Write, batch),
        "cold" => disk::window(job, Cache::Cold, What::Read, batch),
        _ => return None,
    })
}

fn of_sockets(kind: &str, job: Job, batch: usize, count: usize) -> Option<Result<Sample>> {
    Some(match kind {
        "recv-plain" => sockets::pings(job, Files::Plain),
        "recv-fixed" => sockets::pings(job, Files::Fixed),
        "hot-unix" => sockets::transfers(job, batch, &unix_pairs),
        "hot-tcp" => sockets::transfers(job, batch, &tcp_pairs),
        "pipe" => sockets::ping_pong(job),
        "accept-single" => sockets::accepts(job, false),
        "accept-multi" => sockets::accepts(job, true),
        "echo-plain" => echo::measure(job, Sockets::Plain, count),
        "echo-fixed" => echo::measure(job, Sockets::Fixed, count),
        "echo-multi" => echo::measure(job, Sockets::Multishot, count),
        _ => return None,
    })
}

fn of_the_rest(kind: &str, job: Job, count: usize) -> Option<Result<Sample>> {
    Some(match kind {
        "worker-plain" => waits::workers(job, Files::Plain),
        "worker-fixed" => waits::workers(job, Files::Fixed),
        "poll" => waits::polls(job),
        "poll-among" => waits::polls_among(job, count),
        "timeout-fires" => waits::timeouts_fire(job),
        "nop-among" => waits::nops_among(job, count as u64),
        "timeout-among" => waits::timeouts(job, count as u64),
        "cancel-among" => waits::cancels(job, count as u64),
        "setup" => waits::setups(job),
        "call-pread" => calls::preads(job),
        "call-getppid" => calls::getppids(job),
        "call-mmap" => calls::mmaps(job),
        "memory-rings" => memory::idle_rings(),
        "memory-engine" => memory::with_one_ring(),
        _ => return None,
    })
}
