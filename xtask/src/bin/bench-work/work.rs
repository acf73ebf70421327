//! The works that `bench` measures, each in a process of its own, through the `io-uring` crate.
//!
//! [`measure`] answers nanoseconds an operation. The same code runs on the kernel's ring, under
//! ringer, and (names that begin with `call-`) without a ring. What it does not do: compare.

use crate::disk::{self, Figure, Reads};
use crate::echo::{self, Mode, Sockets};
use anyhow::{Context, Result, bail, ensure};
use io_uring::{IoUring, Probe, opcode, squeue, types};
use std::fs::File;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const FILE_BLOCKS: u64 = 256;

/// Runs the work called `name` for about `millis` and returns nanoseconds an operation.
pub(crate) fn measure(name: &str, millis: u64) -> Result<f64> {
    let budget = Duration::from_millis(millis);
    let (kind, batch) = match name.rsplit_once("-b") {
        Some((k, b)) => (k, b.parse::<usize>().context("batch size")?),
        None => (name, 1),
    };
    match kind {
        "nop" => nops(batch, budget),
        "read-plain" => reads(batch, budget, Files::Plain),
        "read-fixed" => reads(batch, budget, Files::Fixed),
        "read-fixed-buf" => reads(batch, budget, Files::FixedWithBuffer),
        "read-among-many" => reads_among_many(batch, budget),
        "seq-plain" => sequential(batch, budget, Files::Plain),
        "seq-fixed" => sequential(batch, budget, Files::Fixed),
        "recv-plain" => pings(budget, Files::Plain),
        "recv-fixed" => pings(budget, Files::Fixed),
        "hot-unix-defer" => transfers(batch, budget, Mode::DeferTaskrun, &unix_pairs),
        "hot-unix-default" => transfers(batch, budget, Mode::Default, &unix_pairs),
        "hot-tcp-defer" => transfers(batch, budget, Mode::DeferTaskrun, &tcp_pairs),
        "hot-tcp-default" => transfers(batch, budget, Mode::Default, &tcp_pairs),
        "worker-plain" => workers(budget, Files::Plain),
        "worker-fixed" => workers(budget, Files::Fixed),
        "nop-among-1m" => nops_among(1_000_000, budget),
        "timeout-among-1" => timeouts(1, budget),
        "timeout-among-1m" => timeouts(1_000_000, budget),
        "cancel-among-1" => cancels(1, budget),
        "cancel-among-100k" => cancels(100_000, budget),
        "setup" => setups(budget),
        "call-pread" => preads(budget),
        "call-hot-unix" => plain_transfers(batch, budget, &unix_pairs),
        "call-hot-tcp" => plain_transfers(batch, budget, &tcp_pairs),
        "call-recv" => plain_pings(budget),
        "call-getppid" => getppids(budget),
        "call-mmap" => mmaps(budget),
        _ => of_figure(name, budget),
    }
}

/// Works of which processor time is a figure, too: what all threads of the process used.
fn of_figure(name: &str, budget: Duration) -> Result<f64> {
    let (work, figure) = match name.strip_suffix("-cpu") {
        Some(work) => (work, Figure::Cpu),
        None => (name, Figure::Time),
    };
    let echo = |mode, sockets| echo::with_a_ring(mode, sockets, figure, budget);
    match work {
        "echo-plain-default" => echo(Mode::Default, Sockets::Plain),
        "echo-plain-defer" => echo(Mode::DeferTaskrun, Sockets::Plain),
        "echo-fixed-default" => echo(Mode::Default, Sockets::Fixed),
        "echo-fixed-defer" => echo(Mode::DeferTaskrun, Sockets::Fixed),
        "echo-multi-default" => echo(Mode::Default, Sockets::Multishot),
        "echo-multi-defer" => echo(Mode::DeferTaskrun, Sockets::Multishot),
        "call-echo" => echo::with_epoll(figure, budget),
        "direct-qd32" => disk::measure(Reads::Direct, figure, budget),
        "cold-qd32" => disk::measure(Reads::Cold, figure, budget),
        _ => bail!("no such work: {name}"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    Plain,
    Fixed,
    FixedWithBuffer,
}

/// Repeats `batch` until the budget is used; nanoseconds for each of its `n` operations.
fn repeat(budget: Duration, n: usize, mut batch: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..16 {
        batch()?;
    }
    let start = Instant::now();
    let mut rounds = 0u64;
    while start.elapsed() < budget {
        for _ in 0..32 {
            batch()?;
        }
        rounds += 32;
    }
    Ok(start.elapsed().as_nanos() as f64 / (rounds * n as u64) as f64)
}

fn ring(entries: u32) -> Result<IoUring> {
    IoUring::new(entries).context("io_uring_setup")
}

fn round(ring: &mut IoUring, entries: &[squeue::Entry], want: i32) -> Result<()> {
    // SAFETY: the descriptors and buffers that the entries name outlive this call, which waits for
    // all of their completions (the callers below own both).
    unsafe { ring.submission().push_multiple(entries) }.context("full submission queue")?;
    ring.submit_and_wait(entries.len())?;
    let mut n = 0;
    for cqe in ring.completion() {
        ensure!(cqe.result() == want, "result {} instead of {want}", cqe.result());
        n += 1;
    }
    ensure!(n == entries.len(), "{n} completions for {} requests", entries.len());
    Ok(())
}

fn nops(batch: usize, budget: Duration) -> Result<f64> {
    let mut ring = ring(256)?;
    let entries = vec![opcode::Nop::new().build(); batch];
    repeat(budget, batch, || round(&mut ring, &entries, 0))
}

fn hot_file() -> Result<File> {
    let path = std::env::temp_dir().join(format!("ringer-bench-{}", std::process::id()));
    let mut f = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    f.write_all(&vec![7u8; BLOCK * FILE_BLOCKS as usize])?;
    Ok(f)
}

/// Reads at offsets without order.
fn reads(batch: usize, budget: Duration, files: Files) -> Result<f64> {
    read_by(batch, budget, files, 17)
}

/// Reads one block after the other.
fn sequential(batch: usize, budget: Duration, files: Files) -> Result<f64> {
    read_by(batch, budget, files, 1)
}

fn read_by(batch: usize, budget: Duration, files: Files, step: u64) -> Result<f64> {
    let file = hot_file()?;
    let mut ring = ring(256)?;
    let mut bufs = vec![0u8; BLOCK * batch];
    if files != Files::Plain {
        ring.submitter().register_files(&[file.as_raw_fd()])?;
    }
    if files == Files::FixedWithBuffer {
        let v = libc::iovec { iov_base: bufs.as_mut_ptr().cast(), iov_len: bufs.len() };
        // SAFETY: `bufs` outlives the ring: it is dropped after it, at the end of this function.
        unsafe { ring.submitter().register_buffers(&[v]) }?;
    }
    let mut at = 0u64;
    repeat(budget, batch, || {
        let entries: Vec<_> = (0..batch)
            .map(|i| {
                at = (at + step) % FILE_BLOCKS;
                let to = bufs.as_mut_ptr().wrapping_add(i * BLOCK);
                read_entry(files, file.as_raw_fd(), to, at * BLOCK as u64)
            })
            .collect();
        round(&mut ring, &entries, BLOCK as i32)
    })
}

fn read_entry(files: Files, fd: RawFd, to: *mut u8, off: u64) -> squeue::Entry {
    let len = BLOCK as u32;
    match files {
        Files::Plain => opcode::Read::new(types::Fd(fd), to, len).offset(off).build(),
        Files::Fixed => opcode::Read::new(types::Fixed(0), to, len).offset(off).build(),
        Files::FixedWithBuffer => {
            opcode::ReadFixed::new(types::Fixed(0), to, len, 0).offset(off).build()
        }
    }
}

/// The same of 10,000 registered files and 16,384 registered buffers, another of each every time.
fn reads_among_many(batch: usize, budget: Duration) -> Result<f64> {
    const FILES: u64 = 10_000;
    const BUFFERS: usize = 16_384;
    let file = hot_file()?;
    let mut ring = ring(256)?;
    let mut bufs = vec![0u8; BLOCK * batch];
    let base = bufs.as_mut_ptr();
    let part = |i: usize| base.wrapping_add(i % batch * BLOCK);
    let all: Vec<_> =
        (0..BUFFERS).map(|i| libc::iovec { iov_base: part(i).cast(), iov_len: BLOCK }).collect();
    ring.submitter().register_files(&vec![file.as_raw_fd(); FILES as usize])?;
    // SAFETY: `bufs` outlives the ring's requests, each of which is waited for below.
    unsafe { ring.submitter().register_buffers(&all) }?;
    let mut at = 0u64;
    repeat(budget, batch, || {
        let entries: Vec<_> = (0..batch)
            .map(|i| {
                at += 1;
                let (block, slot) = (at * 17 % FILE_BLOCKS, at * 7919 % FILES);
                let index = (at as usize * 127 % (BUFFERS / batch)) * batch + i;
                let (to, len) = (part(i), BLOCK as u32);
                opcode::ReadFixed::new(types::Fixed(slot as u32), to, len, index as u16)
                    .offset(block * BLOCK as u64)
                    .build()
            })
            .collect();
        round(&mut ring, &entries, BLOCK as i32)
    })
}

/// A receive that has to wait, then the byte arrives, then it completes.
fn pings(budget: Duration, files: Files) -> Result<f64> {
    let (here, mut there) = UnixStream::pair()?;
    let mut ring = ring(8)?;
    if files == Files::Fixed {
        ring.submitter().register_files(&[here.as_raw_fd()])?;
    }
    let mut buf = [0u8; 64];
    repeat(budget, 1, || {
        let len = buf.len() as u32;
        let e = match files {
            Files::Fixed => opcode::Recv::new(types::Fixed(0), buf.as_mut_ptr(), len).build(),
            _ => opcode::Recv::new(types::Fd(here.as_raw_fd()), buf.as_mut_ptr(), len).build(),
        };
        // SAFETY: `buf` and `here` outlive the request, which is waited for below.
        unsafe { ring.submission().push(&e) }.context("full submission queue")?;
        ring.submit()?;
        there.write_all(&[1; 64])?;
        ring.submit_and_wait(1)?;
        let cqe = ring.completion().next().context("no completion")?;
        ensure!(cqe.result() == 64, "recv: {}", cqe.result());
        Ok(())
    })
}

/// A request that goes to a worker: fsync of a file in memory, which costs nothing itself.
/// So many pairs of connected sockets.
type Pairs = Vec<(OwnedFd, OwnedFd)>;

fn unix_pairs(count: usize) -> Result<Pairs> {
    let pair = |_| UnixStream::pair().map(|(a, b)| (a.into(), b.into()));
    Ok((0..count).map(pair).collect::<std::io::Result<_>>()?)
}

fn tcp_pairs(count: usize) -> Result<Pairs> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut pairs = Pairs::new();
    for _ in 0..count {
        let here = TcpStream::connect(listener.local_addr()?)?;
        let (there, _) = listener.accept()?;
        here.set_nodelay(true)?;
        pairs.push((here.into(), there.into()));
    }
    Ok(pairs)
}

/// What a transfer carries \[bytes\].
const TRANSFER: usize = 64;

/// Transfers that need not wait, on registered sockets: half of a batch sends, the other half receives.
fn transfers(
    batch: usize,
    budget: Duration,
    mode: Mode,
    pairs: &dyn Fn(usize) -> Result<Pairs>,
) -> Result<f64> {
    let mut ring = mode.ring(256)?;
    let pairs = pairs(batch / 2)?;
    let numbers: Vec<_> = pairs.iter().flat_map(|(a, b)| [a.as_raw_fd(), b.as_raw_fd()]).collect();
    ring.submitter().register_files(&numbers)?;
    let mut bytes = vec![[0u8; TRANSFER]; pairs.len()];
    let sends = bytes.iter().enumerate().map(|(i, b)| {
        opcode::Send::new(types::Fixed(2 * i as u32), b.as_ptr(), TRANSFER as u32).build()
    });
    let mut entries: Vec<_> = sends.collect();
    let receives = bytes.iter_mut().enumerate().map(|(i, b)| {
        opcode::Recv::new(types::Fixed(2 * i as u32 + 1), b.as_mut_ptr(), TRANSFER as u32).build()
    });
    entries.extend(receives);
    repeat(budget, entries.len(), || round(&mut ring, &entries, TRANSFER as i32))
}

/// The same by plain calls.
fn plain_transfers(
    batch: usize,
    budget: Duration,
    pairs: &dyn Fn(usize) -> Result<Pairs>,
) -> Result<f64> {
    let pairs = pairs(batch / 2)?;
    let mut bytes = [0u8; TRANSFER];
    repeat(budget, batch, || {
        for (here, _) in &pairs {
            // SAFETY: the bytes live on this stack.
            let n = unsafe {
                libc::send(here.as_raw_fd(), bytes.as_ptr().cast(), TRANSFER, libc::MSG_DONTWAIT)
            };
            ensure!(n == TRANSFER as isize, "{n} bytes sent");
        }
        for (_, there) in &pairs {
            // SAFETY: as above, and nobody else has them.
            let n = unsafe {
                libc::recv(
                    there.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    TRANSFER,
                    libc::MSG_DONTWAIT,
                )
            };
            ensure!(n == TRANSFER as isize, "{n} bytes received");
        }
        Ok(())
    })
}

fn workers(budget: Duration, files: Files) -> Result<f64> {
    // SAFETY: a fresh descriptor for a name that is a C string.
    let fd = unsafe { libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC) };
    ensure!(fd >= 0, "memfd_create");
    // SAFETY: the descriptor was made above and nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    let mut ring = ring(8)?;
    if files == Files::Fixed {
        ring.submitter().register_files(&[file.as_raw_fd()])?;
    }
    repeat(budget, 1, || {
        let e = match files {
            Files::Fixed => opcode::Fsync::new(types::Fixed(0)).build(),
            _ => opcode::Fsync::new(types::Fd(file.as_raw_fd())).build(),
        };
        round(&mut ring, &[e], 0)
    })
}

static HOUR: types::Timespec = types::Timespec::new().sec(3600);

fn timeout(name: u64) -> squeue::Entry {
    opcode::Timeout::new(&raw const HOUR).build().user_data(name)
}

/// A ring in which so many timeouts wait; their names count from 0.
fn waiting(count: u64) -> Result<IoUring> {
    let mut ring = ring(256)?;
    let names: Vec<u64> = (0..count).collect();
    for names in names.chunks(256) {
        let entries: Vec<_> = names.iter().map(|&name| timeout(name)).collect();
        // SAFETY: what they point to is a constant.
        unsafe { ring.submission().push_multiple(&entries) }.context("full submission queue")?;
        ring.submit()?;
    }
    Ok(ring)
}

fn nops_among(count: u64, budget: Duration) -> Result<f64> {
    let mut ring = waiting(count)?;
    repeat(budget, 1, || round(&mut ring, &[opcode::Nop::new().build()], 0))
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

/// A timeout is armed and removed while others wait; nanoseconds for both.
fn timeouts(count: u64, budget: Duration) -> Result<f64> {
    let mut ring = waiting(count)?;
    repeat(budget, 1, || {
        let entries = [timeout(count), opcode::TimeoutRemove::new(count).build()];
        pair(&mut ring, entries, [-libc::ECANCELED, 0])
    })
}

/// One of those that wait is cancelled and comes back; nanoseconds for both.
fn cancels(count: u64, budget: Duration) -> Result<f64> {
    let mut ring = waiting(count)?;
    let mut name = 0;
    repeat(budget, 1, || {
        name = (name + 7919) % count;
        let entries = [opcode::AsyncCancel::new(name).build(), timeout(name)];
        pair(&mut ring, entries, [-libc::ECANCELED, 0])
    })
}

fn setups(budget: Duration) -> Result<f64> {
    repeat(budget, 1, || {
        let r = ring(8)?;
        let mut probe = Probe::new();
        r.submitter().register_probe(&mut probe)?;
        ensure!(probe.is_supported(opcode::Nop::CODE), "no NOP");
        Ok(())
    })
}

fn preads(budget: Duration) -> Result<f64> {
    use std::os::unix::fs::FileExt as _;
    let file = hot_file()?;
    let mut buf = [0u8; BLOCK];
    let mut at = 0u64;
    repeat(budget, 1, || {
        at = (at + 17) % FILE_BLOCKS;
        file.read_exact_at(&mut buf, at * BLOCK as u64)?;
        Ok(())
    })
}

fn plain_pings(budget: Duration) -> Result<f64> {
    use std::io::Read as _;
    let (mut here, mut there) = UnixStream::pair()?;
    let mut buf = [0u8; 64];
    repeat(budget, 1, || {
        there.write_all(&[1; 64])?;
        here.read_exact(&mut buf)?;
        Ok(())
    })
}

fn getppids(budget: Duration) -> Result<f64> {
    repeat(budget, 1, || {
        std::hint::black_box(std::os::unix::process::parent_id());
        Ok(())
    })
}

fn mmaps(budget: Duration) -> Result<f64> {
    let file = hot_file()?;
    repeat(budget, 1, || {
        // SAFETY: a fresh mapping at an address the kernel picks.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BLOCK,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        ensure!(p != libc::MAP_FAILED, "mmap");
        // SAFETY: the mapping made above, which nobody else has.
        unsafe { libc::munmap(p, BLOCK) };
        Ok(())
    })
}
