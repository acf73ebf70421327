//! Section 3.28: how many workers a thread has, and where they run.

use super::kit::*;
use std::thread;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.28",
        worker_limits_are_taken_and_told,
        "IOWQ_MAX_WORKERS sets the limits and answers the ones before.",
        needs "REGISTER_IOWQ_MAX_WORKERS"
    ),
    claim!(
        "3.28",
        worker_affinity_is_taken,
        "IOWQ_AFF takes a CPU mask.",
        needs "REGISTER_IOWQ_AFF"
    ),
    claim!(
        "3.28",
        the_first_limits_come_from_the_first_ring,
        "A thread's first ring sets its limits: as many as it has entries or 4 a CPU, and RLIMIT_NPROC.",
        needs "REGISTER_IOWQ_MAX_WORKERS"
    ),
    claim!(
        "3.28",
        limits_are_a_threads_on_all_its_rings,
        "Limits set on one ring are told on the thread's others, until a call there; a SQPOLL thread has its own.",
        needs "REGISTER_IOWQ_MAX_WORKERS"
    ),
    claim!(
        "3.28",
        limits_go_to_whoever_uses_the_ring,
        "A thread that has not used io_uring is told zeros; with its first submission it has the ring's limits.",
        needs "REGISTER_IOWQ_MAX_WORKERS"
    ),
    claim!(
        "3.28",
        a_limit_stops_at_the_users,
        "A limit above RLIMIT_NPROC becomes that.",
        needs "REGISTER_IOWQ_MAX_WORKERS"
    ),
    claim!(
        "3.28",
        a_limit_holds_work_back,
        "With one worker for what is unbounded, a second CONNECT that would block waits for it.",
        needs "REGISTER_IOWQ_MAX_WORKERS"
    ),
    claim!(
        "3.28",
        a_raised_limit_lets_work_go_on,
        "With a higher limit the next work to come brings workers for what was held back.",
        needs "REGISTER_IOWQ_MAX_WORKERS"
    ),
    claim!(
        "3.28",
        an_open_is_bounded_work,
        "OPENAT counts among what is bounded, a CONNECT does not.",
        needs "REGISTER_IOWQ_MAX_WORKERS"
    ),
    claim!(
        "3.28",
        workers_run_where_they_are_sent,
        "Workers that are made after IOWQ_AFF run on those CPUs, after UNREGISTER_IOWQ_AFF where their thread may.",
        needs "REGISTER_IOWQ_AFF", "UNREGISTER_IOWQ_AFF"
    ),
    claim!(
        "3.28",
        affinity_is_for_threads_that_use_io_uring,
        "IOWQ_AFF by a thread that has not used io_uring is EINVAL; a longer mask is cut, an empty one taken.",
        needs "REGISTER_IOWQ_AFF"
    ),
    claim!(
        "3.28",
        workers_end_with_the_last_ring,
        "When the last ring is gone, its idle workers end at once; the next ring gets others."
    ),
];

fn worker_limits_are_taken_and_told() -> Outcome {
    let ring = ring()?;
    let limits = i32s(&[3, 5]);
    expect("set", ring.register(19, limits.addr(), 2), Ok(0))?;
    let now = i32s(&[0, 0]);
    expect("look", ring.register(19, now.addr(), 2), Ok(0))?;
    expect("the limits", now.get64(0), 3 | 5 << 32)
}

fn worker_affinity_is_taken() -> Outcome {
    let ring = ring()?;
    let mask = u64s(&[1]);
    expect("set", ring.register(17, mask.addr(), 8), Ok(0))?;
    expect("take back", ring.register(18, 0, 0), Ok(0))
}

/// IOWQ_MAX_WORKERS: what the limits were.
fn limits(ring: &Ring, bounded: u32, unbounded: u32) -> Res<(u64, u64)> {
    let arg = u64s(&[u64::from(bounded) | u64::from(unbounded) << 32]);
    expect("IOWQ_MAX_WORKERS", ring.register(19, arg.addr(), 2), Ok(0))?;
    Ok((arg.get64(0) & 0xffff_ffff, arg.get64(0) >> 32))
}

fn nproc() -> Res<u64> {
    let limit = u64s(&[0, 0]);
    must("getrlimit", os::raw(libc::SYS_getrlimit, [libc::RLIMIT_NPROC.into(), limit.addr(), 0]))?;
    Ok(limit.get64(0).min(0x7fff_ffff))
}

fn elsewhere(body: impl FnOnce() -> Outcome + Send) -> Outcome {
    thread::scope(|s| s.spawn(body).join()).unwrap_or_else(|_| Err("a panic".into()))
}

fn the_first_limits_come_from_the_first_ring() -> Outcome {
    let most = thread::available_parallelism().map_or(1, usize::from) as u64 * 4;
    for entries in [1, 64] {
        elsewhere(|| {
            let ring = with(entries, 0)?;
            let first = (most.min(entries.into()), nproc()?);
            expect("the first", limits(&ring, 0, 0)?, first)?;
            expect("another", limits(&with(32, 0)?, 0, 0)?, first)
        })?;
    }
    Ok(())
}

fn limits_are_a_threads_on_all_its_rings() -> Outcome {
    let (ring, other, polled) = (ring()?, ring()?, with(16, Setup::SQPOLL.bits())?);
    limits(&ring, 3, 5)?;
    expect("the other ring's", limits(&other, 2, 0)?, (3, 5))?;
    expect("the first ring's", limits(&ring, 0, 0)?, (2, 5))?;
    limits(&polled, 7, 7)?;
    expect("the polled ring's", limits(&polled, 0, 0)?, (7, 7))?;
    // Each call, also one that only asks, puts the ring's own limits in force again.
    expect("not the first ring's", limits(&ring, 0, 0)?, (3, 5))
}

fn limits_go_to_whoever_uses_the_ring() -> Outcome {
    let mut ring = ring()?;
    limits(&ring, 3, 5)?;
    elsewhere(|| {
        expect("a stranger's", limits(&ring, 2, 0)?, (0, 0))?;
        submit(&mut ring, &[nop(1)])?;
        expect("a user's", limits(&ring, 0, 4)?, (2, 5))
    })?;
    expect("the first thread's", limits(&ring, 0, 0)?, (2, 4))
}

fn a_limit_stops_at_the_users() -> Outcome {
    let ring = ring()?;
    limits(&ring, 0x7fff_ffff, 0x7fff_ffff)?;
    expect("the limits", limits(&ring, 0, 0)?, (nproc()?, nproc()?))
}

fn a_limit_holds_work_back() -> Outcome {
    let mut ring = ring()?;
    limits(&ring, 1, 1)?;
    let full = Full::new()?;
    submit(&mut ring, &[full.connect(1)?, full.connect(1)?])?;
    waits(&ring)?;
    submit(&mut ring, &[cancel(1, ALL, 2)])?;
    ends_all(&ring, &[(1, -EINTR), (1, -ECANCELED), (2, 0)])
}

fn a_raised_limit_lets_work_go_on() -> Outcome {
    let mut ring = ring()?;
    limits(&ring, 1, 1)?;
    let full = Full::new()?;
    submit(&mut ring, &[full.connect(1)?, full.connect(1)?, full.connect(1)?])?;
    waits(&ring)?;
    limits(&ring, 4, 4)?;
    submit(&mut ring, &[full.connect(1)?])?;
    waits(&ring)?;
    submit(&mut ring, &[cancel(1, ALL, 2)])?;
    ends_all(&ring, &[(1, -EINTR), (1, -EINTR), (1, -EINTR), (1, -EINTR), (2, 0)])
}

fn an_open_is_bounded_work() -> Outcome {
    let mut ring = ring()?;
    limits(&ring, 1, 4)?;
    let path = std::env::temp_dir().join(format!("ringer-fifo-{}", os::pid()));
    let path = path.to_string_lossy();
    let name = Buf::of(format!("{path}\0").as_bytes());
    let mode = u64::from(libc::S_IFIFO | 0o600);
    must("mknod", os::raw(libc::SYS_mknod, [name.addr(), mode, 0]))?;
    let full = Full::new()?;
    let open = |ud| flagged(rw(op::OPENAT, libc::AT_FDCWD, name.addr(), 0, 0, ud), ASYNC);
    submit(&mut ring, &[open(1), open(2), full.connect(3)?])?;
    waits(&ring)?;
    runs(&mut ring, &[cancel(2, 0, 4)], &[(4, 0), (2, -ECANCELED)])?;
    submit(&mut ring, &[cancel(3, 0, 5)])?;
    ends_all(&ring, &[(3, -EINTR), (5, -EALREADY)])?;
    must("a writer", os::open(&path, libc::O_WRONLY))?;
    let opened = must("wait", ring.wait())?;
    let _ = std::fs::remove_file(&*path);
    expect("the first", (opened.user_data, opened.res >= 0), (1, true))
}

/// The CPUs, as far as a word goes, of thread `tid` (0: this one).
fn cpus_of(tid: u64) -> Res<u64> {
    let mask = u64s(&[0; 128]);
    must("affinity", os::raw(libc::SYS_sched_getaffinity, [tid, 1024, mask.addr()]))?;
    Ok(mask.get64(0))
}

/// The numbers of all workers.
fn workers() -> Res<Vec<u64>> {
    let mut all = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").map_err(|e| e.to_string())?.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let tid = task.file_name().to_string_lossy().parse().unwrap_or(0);
        if name.starts_with("iou-wrk-") {
            all.push(tid);
        }
    }
    Ok(all)
}

/// The CPUs of all workers, sorted.
fn cpus_of_workers() -> Res<Vec<u64>> {
    let mut all = workers()?.into_iter().map(cpus_of).collect::<Res<Vec<_>>>()?;
    all.sort_unstable();
    Ok(all)
}

fn workers_end_with_the_last_ring() -> Outcome {
    rings_end()?;
    let some = |want: bool| move || workers().is_ok_and(|w| w.is_empty() != want);
    for _ in 0..2 {
        let mut ring = ring()?;
        submit(&mut ring, &[flagged(nop(1), ASYNC)])?;
        ends_all(&ring, &[(1, 0)])?;
        until("a worker", some(true))?;
        drop(ring);
        until("no worker", some(false))?;
    }
    Ok(())
}

fn workers_run_where_they_are_sent() -> Outcome {
    let mut ring = ring()?;
    let full = Full::new()?;
    let all = cpus_of(0)?;
    // The last one, alone.
    let one = 1 << (63 - all.leading_zeros());
    let mask = u64s(&[one]);
    let mut want = Vec::new();
    for (mask, cpus) in [(mask.addr(), one), (0, all)] {
        let op = if mask == 0 { 18 } else { 17 };
        expect("affinity", ring.register(op, mask, if mask == 0 { 0 } else { 8 }), Ok(0))?;
        submit(&mut ring, &[full.connect(1)?])?;
        waits(&ring)?;
        want.push(cpus);
        want.sort_unstable();
        expect("the workers' CPUs", cpus_of_workers()?, want.clone())?;
    }
    submit(&mut ring, &[cancel(1, ALL, 2)])?;
    ends_all(&ring, &[(1, -EINTR), (1, -EINTR), (2, 0)])
}

fn affinity_is_for_threads_that_use_io_uring() -> Outcome {
    let ring = ring()?;
    let mask = u64s(&[1; 128]);
    expect("a long mask", ring.register(17, mask.addr(), 1024), Ok(0))?;
    expect("an empty one", ring.register(17, u64s(&[0]).addr(), 8), Ok(0))?;
    fails("no length", ring.register(17, mask.addr(), 0), EINVAL)?;
    fails("nothing there", ring.register(17, 8, 8), EFAULT)?;
    elsewhere(|| {
        fails("a stranger's", ring.register(17, mask.addr(), 8), EINVAL)?;
        fails("a stranger takes it back", ring.register(18, 0, 0), EINVAL)
    })
}
