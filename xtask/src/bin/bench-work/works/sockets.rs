//! Sockets and pipes within one process, and connections that come one after the other.
//!
//! What it does not do: keep many connections busy, which is `echo`.

use crate::works::echo::{Load, listen};
use crate::works::job::{Job, Sample, Watch, repeat, stay_on};
use crate::works::reads::{Files, round};
use anyhow::{Context as _, Result, ensure};
use io_uring::{IoUring, cqueue, opcode, types};
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// What a transfer carries \[bytes\].
const TRANSFER: usize = 64;

/// A receive that has to wait, then the bytes arrive, then it completes.
pub(crate) fn pings(job: Job, files: Files) -> Result<Sample> {
    let (mut here, mut there) = UnixStream::pair()?;
    let mut buf = [0u8; TRANSFER];
    if !job.way.is_ring() {
        return repeat(job, 1, || {
            there.write_all(&[1; TRANSFER])?;
            Ok(here.read_exact(&mut buf)?)
        });
    }
    let mut ring = job.ring(8)?;
    if files == Files::Fixed {
        ring.submitter().register_files(&[here.as_raw_fd()])?;
    }
    repeat(job, 1, || {
        let len = buf.len() as u32;
        let e = match files {
            Files::Fixed => opcode::Recv::new(types::Fixed(0), buf.as_mut_ptr(), len).build(),
            _ => opcode::Recv::new(types::Fd(here.as_raw_fd()), buf.as_mut_ptr(), len).build(),
        };
        // SAFETY: `buf` and `here` outlive the request, which is waited for below.
        unsafe { ring.submission().push(&e) }.context("full submission queue")?;
        ring.submit()?;
        there.write_all(&[1; TRANSFER])?;
        ring.submit_and_wait(1)?;
        let cqe = ring.completion().next().context("no completion")?;
        ensure!(cqe.result() == TRANSFER as i32, "recv: {}", cqe.result());
        Ok(())
    })
}

/// So many pairs of connected sockets.
pub(crate) type Pairs = Vec<(OwnedFd, OwnedFd)>;

pub(crate) fn unix_pairs(count: usize) -> Result<Pairs> {
    let pair = |_| UnixStream::pair().map(|(a, b)| (a.into(), b.into()));
    Ok((0..count).map(pair).collect::<std::io::Result<_>>()?)
}

pub(crate) fn tcp_pairs(count: usize) -> Result<Pairs> {
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

/// Transfers that need not wait, on registered sockets: half of a batch sends, the other half receives.
pub(crate) fn transfers(
    job: Job,
    batch: usize,
    pairs: &dyn Fn(usize) -> Result<Pairs>,
) -> Result<Sample> {
    let pairs = pairs(batch / 2)?;
    if !job.way.is_ring() {
        return plain_transfers(job, &pairs);
    }
    let mut ring = job.ring(256)?;
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
    repeat(job, entries.len(), || round(&mut ring, &entries, TRANSFER as i32))
}

/// The same by plain calls.
fn plain_transfers(job: Job, pairs: &Pairs) -> Result<Sample> {
    let mut bytes = [0u8; TRANSFER];
    let (at, len, now) = (bytes.as_mut_ptr(), TRANSFER, libc::MSG_DONTWAIT);
    repeat(job, 2 * pairs.len(), || {
        for (here, _) in pairs {
            // SAFETY: the bytes live on this stack.
            let n = unsafe { libc::send(here.as_raw_fd(), at.cast(), len, now) };
            ensure!(n == TRANSFER as isize, "{n} bytes sent");
        }
        for (_, there) in pairs {
            // SAFETY: as above, and nobody else has them.
            let n = unsafe { libc::recv(there.as_raw_fd(), at.cast(), len, now) };
            ensure!(n == TRANSFER as isize, "{n} bytes received");
        }
        Ok(())
    })
}

/// Sends back what comes, until nothing more comes.
fn answer(mut from: PipeReader, mut to: PipeWriter) {
    let mut byte = [0];
    while from.read_exact(&mut byte).is_ok() && to.write_all(&byte).is_ok() {}
}

/// A byte goes through a pipe to a thread with plain calls, and comes back through another.
pub(crate) fn ping_pong(job: Job) -> Result<Sample> {
    // One processor: what is measured is two changes of thread, not how deep the other one slept.
    stay_on(0);
    let (from_here, mut to_there) = std::io::pipe()?;
    let (mut from_there, to_here) = std::io::pipe()?;
    let other = std::thread::spawn(move || answer(from_here, to_here));
    let sample = if job.way.is_ring() {
        ping_pong_by_ring(job, to_there.as_raw_fd(), from_there.as_raw_fd())
    } else {
        let mut byte = [1];
        repeat(job, 1, || {
            to_there.write_all(&byte)?;
            Ok(from_there.read_exact(&mut byte)?)
        })
    };
    drop(to_there);
    // It ends with the pipe; a panic there was seen as a short read here.
    let _ = other.join();
    sample
}

fn ping_pong_by_ring(job: Job, to: RawFd, from: RawFd) -> Result<Sample> {
    let mut ring = job.ring(8)?;
    let (out, mut back) = ([1u8], [0u8]);
    repeat(job, 1, || {
        let entries = [
            opcode::Write::new(types::Fd(to), out.as_ptr(), 1).build(),
            opcode::Read::new(types::Fd(from), back.as_mut_ptr(), 1).build(),
        ];
        round(&mut ring, &entries, 1)
    })
}

/// Connections that a load makes and closes, accepted and closed.
pub(crate) fn accepts(job: Job, multishot: bool) -> Result<Sample> {
    stay_on(0);
    let (listener, port) = listen()?;
    let _load = Load::start(&["accept-load", &port.to_string()])?;
    if !job.way.is_ring() {
        return repeat(job, 1, || {
            drop(listener.accept()?);
            Ok(())
        });
    }
    let mut acceptor = Acceptor { ring: job.ring(256)?, listener, multishot };
    acceptor.arm()?;
    let (warm, mut watch) = (Watch::start(), Watch::start());
    let (mut counts, mut accepted) = (false, 0);
    while !counts || watch.elapsed() < job.budget {
        let more = acceptor.turn()?;
        accepted += more;
        if !counts && warm.elapsed() > job.budget / 8 {
            (counts, accepted, watch) = (true, 0, Watch::start());
        }
    }
    Ok(watch.each(accepted))
}

struct Acceptor {
    ring: IoUring,
    listener: TcpListener,
    multishot: bool,
}

impl Acceptor {
    fn arm(&mut self) -> Result<()> {
        let (fd, nowhere) = (types::Fd(self.listener.as_raw_fd()), std::ptr::null_mut());
        let e = match self.multishot {
            true => opcode::AcceptMulti::new(fd).build(),
            false => opcode::Accept::new(fd, nowhere, std::ptr::null_mut()).build(),
        };
        // SAFETY: the entry names no memory.
        unsafe { self.ring.submission().push(&e) }.context("full submission queue")
    }

    /// Waits for connections, closes them, and says how many there were.
    fn turn(&mut self) -> Result<u64> {
        self.ring.submit_and_wait(1)?;
        let mut accepted = 0;
        while let Some((fd, flags)) = self.next() {
            ensure!(fd >= 0, "accept: {fd}");
            // SAFETY: a fresh descriptor that the request made for us.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            accepted += 1;
            if !cqueue::more(flags) {
                self.arm()?;
            }
        }
        Ok(accepted)
    }

    fn next(&mut self) -> Option<(i32, u32)> {
        self.ring.completion().next().map(|cqe| (cqe.result(), cqe.flags()))
    }
}

/// The load: connects and resets, until nobody listens any more.
pub(crate) fn accept_load(port: u16) -> Result<()> {
    /// So many at most; the port numbers of the connections are free at once after a reset.
    const CONNECTIONS: u64 = 2_000_000;
    stay_on(1);
    for _ in 0..CONNECTIONS {
        let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return Ok(()) };
        reset_at_close(&stream)?;
    }
    Ok(())
}

/// Closing this socket resets the connection, so that no port stays taken.
pub(crate) fn reset_at_close(stream: &TcpStream) -> Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (fd, len) = (stream.as_raw_fd(), size_of_val(&linger) as u32);
    let at = (&raw const linger).cast();
    // SAFETY: the option's value is on this stack.
    let r = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, at, len) };
    ensure!(r == 0, "SO_LINGER");
    Ok(())
}
