//! Requests that wait: timeouts, polls, cancellations, workers; and rings that come and go.
//!
//! What it does not do: connections, which are in `sockets` and `echo`.

use crate::works::job::{Job, Sample, Way, repeat};
use crate::works::queue::{Transfers, What};
use crate::works::reads::{Files, round};
use anyhow::{Context as _, Result, bail, ensure};
use io_uring::{IoUring, Probe, opcode, squeue, types};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// A request that goes to a worker: fsync of a file in memory, which costs nothing itself.
pub(crate) fn workers(job: Job, files: Files) -> Result<Sample> {
    // SAFETY: a fresh descriptor for a name that is a C string.
    let fd = unsafe { libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC) };
    ensure!(fd >= 0, "memfd_create");
    // SAFETY: the descriptor was made above and nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    if !job.way.is_ring() {
        let mut queue = Transfers::new(file, What::Write, 1, 1).queue(job)?;
        return repeat(job, 1, || queue.sync());
    }
    let mut ring = job.ring(8)?;
    if files == Files::Fixed {
        ring.submitter().register_files(&[file.as_raw_fd()])?;
    }
    repeat(job, 1, || {
        let e = match files {
            Files::Fixed => opcode::Fsync::new(types::Fixed(0)).build(),
            _ => opcode::Fsync::new(types::Fd(file.as_raw_fd())).build(),
        };
        round(&mut ring, &[e], 0)
    })
}

fn eventfd() -> Result<File> {
    // SAFETY: takes no memory.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    ensure!(fd >= 0, "eventfd");
    // SAFETY: the descriptor was made above and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// An eventfd is polled, becomes readable, and the poll completes.
pub(crate) fn polls(job: Job) -> Result<Sample> {
    let event = eventfd()?;
    match job.way {
        Way::Ring | Way::Defer => polls_by_ring(job, job.ring(8)?, &event),
        Way::Epoll => polls_by_epoll(job, &event),
        way => bail!("{way:?} cannot poll"),
    }
}

fn poll(event: &File) -> squeue::Entry {
    opcode::PollAdd::new(types::Fd(event.as_raw_fd()), libc::POLLIN as u32).build()
}

/// The same while so many polls of another eventfd wait, which is registered: under ringer each request on a plain
/// descriptor that waits holds one of its own, and those are limited.
pub(crate) fn polls_among(job: Job, count: usize) -> Result<Sample> {
    let (mut ring, never) = (job.ring(256)?, eventfd()?);
    ring.submitter().register_files(&[never.as_raw_fd()])?;
    let waits = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).build();
    for at in (0..count).step_by(256) {
        let entries = vec![waits.clone(); 256.min(count - at)];
        // SAFETY: the entries name no memory.
        unsafe { ring.submission().push_multiple(&entries) }.context("full submission queue")?;
        ring.submit()?;
    }
    polls_by_ring(job, ring, &eventfd()?)
}

fn signal(mut event: &File) -> Result<()> {
    event.write_all(&1u64.to_ne_bytes()).context("eventfd")
}

fn consume(mut event: &File) -> Result<()> {
    event.read_exact(&mut [0; 8]).context("eventfd")
}

fn polls_by_ring(job: Job, mut ring: IoUring, event: &File) -> Result<Sample> {
    let e = poll(event);
    repeat(job, 1, || {
        // SAFETY: the entry names no memory.
        unsafe { ring.submission().push(&e) }.context("full submission queue")?;
        ring.submit()?;
        signal(event)?;
        ring.submit_and_wait(1)?;
        let cqe = ring.completion().next().context("no completion")?;
        ensure!(cqe.result() == i32::from(libc::POLLIN), "poll: {}", cqe.result());
        consume(event)
    })
}

fn polls_by_epoll(job: Job, event: &File) -> Result<Sample> {
    // SAFETY: takes no memory.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    ensure!(fd >= 0, "epoll_create1");
    // SAFETY: the descriptor was made above and nobody else has it.
    let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut once =
        libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLONESHOT) as u32, u64: 0 };
    let (epfd, fd) = (epoll.as_raw_fd(), event.as_raw_fd());
    let mut how = libc::EPOLL_CTL_ADD;
    repeat(job, 1, || {
        // SAFETY: the event is on this stack.
        let r = unsafe { libc::epoll_ctl(epfd, how, fd, &raw mut once) };
        ensure!(r == 0, "epoll_ctl");
        how = libc::EPOLL_CTL_MOD;
        signal(event)?;
        let mut out = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: there is room for one event.
        let n = unsafe { libc::epoll_wait(epfd, &raw mut out, 1, -1) };
        ensure!(n == 1, "epoll_wait");
        consume(event)
    })
}

static HOUR: types::Timespec = types::Timespec::new().sec(3600);
static MOMENT: types::Timespec = types::Timespec::new().nsec(1);

/// A timeout that is over as soon as it is armed.
pub(crate) fn timeouts_fire(job: Job) -> Result<Sample> {
    let mut ring = job.ring(8)?;
    let e = opcode::Timeout::new(&raw const MOMENT).build();
    repeat(job, 1, || round(&mut ring, std::slice::from_ref(&e), -libc::ETIME))
}

fn timeout(name: u64) -> squeue::Entry {
    opcode::Timeout::new(&raw const HOUR).build().user_data(name)
}

/// A ring in which so many timeouts wait; their names count from 0.
fn waiting(job: Job, count: u64) -> Result<IoUring> {
    let mut ring = job.ring(256)?;
    let names: Vec<u64> = (0..count).collect();
    for names in names.chunks(256) {
        let entries: Vec<_> = names.iter().map(|&name| timeout(name)).collect();
        // SAFETY: what they point to is a constant.
        unsafe { ring.submission().push_multiple(&entries) }.context("full submission queue")?;
        ring.submit()?;
    }
    Ok(ring)
}

pub(crate) fn nops_among(job: Job, count: u64) -> Result<Sample> {
    let mut ring = waiting(job, count)?;
    repeat(job, 1, || round(&mut ring, &[opcode::Nop::new().build()], 0))
}

/// Two requests, and two results in whatever order.
fn pair(ring: &mut IoUring, entries: [squeue::Entry; 2], want: [i32; 2]) -> Result<()> {
    // SAFETY: what they point to is a constant.
    unsafe { ring.submission().push_multiple(&entries) }.context("full submission queue")?;
    ring.submit_and_wait(2)?;
    let mut got: Vec<i32> = ring.completion().map(|c| c.result()).collect();
    got.sort_unstable();
    ensure!(got == want, "results {got:?} instead of {want:?}");
    Ok(())
}

/// A timeout is armed and removed while others wait; what both take.
pub(crate) fn timeouts(job: Job, count: u64) -> Result<Sample> {
    let mut ring = waiting(job, count)?;
    repeat(job, 1, || {
        let entries = [timeout(count), opcode::TimeoutRemove::new(count).build()];
        pair(&mut ring, entries, [-libc::ECANCELED, 0])
    })
}

/// One of those that wait is cancelled and comes back; what both take.
pub(crate) fn cancels(job: Job, count: u64) -> Result<Sample> {
    let mut ring = waiting(job, count)?;
    let mut name = 0;
    repeat(job, 1, || {
        name = (name + 7919) % count;
        let entries = [opcode::AsyncCancel::new(name).build(), timeout(name)];
        pair(&mut ring, entries, [-libc::ECANCELED, 0])
    })
}

/// A ring is made, asked what it can do, and closed.
pub(crate) fn setups(job: Job) -> Result<Sample> {
    repeat(job, 1, || {
        let r = job.ring(8)?;
        let mut probe = Probe::new();
        r.submitter().register_probe(&mut probe)?;
        ensure!(probe.is_supported(opcode::Nop::CODE), "no NOP");
        Ok(())
    })
}
