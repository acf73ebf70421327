//! A TCP echo of many connections: the server is measured, the load is a process of its own.
//!
//! ```text
//!   bench-work echo-...            bench-work echo-load PORT CONNECTIONS (never under ringer)
//!   processor 0: ring, RECV -> SEND -> RECV ...  <=== loopback connections ===>  epoll, processor 1
//! ```
//! One message is in flight on each connection. What it does not do: count what the load costs.

use crate::works::job::{Job, Sample, Watch, Way, stay_on};
use crate::works::sockets::reset_at_close;
use anyhow::{Context, Result, bail, ensure};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Release;

/// So many wait to be accepted at most.
const BACKLOG: i32 = 4096;
const MESSAGE: usize = 64;
/// A completion's name is the connection's number, with this when it is a SEND's, and the provided buffer
/// that it sends from above.
const SENT: u64 = 1 << 16;
/// Length of a provided buffer \[bytes\].
const PROVIDED_LEN: usize = 512;

/// A ring of provided buffers, and their memory behind it.
struct Group {
    memory: Vec<u8>,
    skew: usize,
    count: u16,
    tail: u16,
}

impl Group {
    const PAGE: usize = 4096;
    /// Length of an entry of the ring \[bytes\].
    const ENTRY: usize = 16;

    /// Twice as many buffers as connections: one receives while the one before it is sent.
    fn new(ring: &IoUring, connections: usize) -> Result<Self> {
        let count = (2 * connections).next_power_of_two().clamp(256, 32_768) as u16;
        let memory = vec![0; Self::PAGE + count as usize * (Self::ENTRY + PROVIDED_LEN)];
        let skew = memory.as_ptr().align_offset(Self::PAGE);
        let mut group = Self { memory, skew, count, tail: 0 };
        let base = group.base() as u64;
        // SAFETY: the memory lies at a page and is the group's, which the server keeps beside its ring.
        unsafe { ring.submitter().register_buf_ring_with_flags(base, count, 0, 0) }
            .context("register a ring of buffers")?;
        (0..count).for_each(|id| group.give(id));
        Ok(group)
    }

    fn base(&mut self) -> *mut u8 {
        self.memory.as_mut_ptr().wrapping_add(self.skew)
    }

    fn buffer(&mut self, id: u16) -> *mut u8 {
        let ring = self.count as usize * Self::ENTRY;
        self.base().wrapping_add(ring + id as usize * PROVIDED_LEN)
    }

    /// Puts a buffer into the ring.
    fn give(&mut self, id: u16) {
        let entries = self.base().cast::<types::BufRingEntry>();
        let at = entries.wrapping_add((self.tail % self.count) as usize);
        let buffer = self.buffer(id) as u64;
        // SAFETY: one of the entries that the memory begins with; the kernel reads those before the
        // tail only.
        let entry = unsafe { &mut *at };
        entry.set_addr(buffer);
        entry.set_len(PROVIDED_LEN as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the address of the first entry of the ring.
        let tail = unsafe { types::BufRingEntry::tail(entries) };
        // SAFETY: it lies in the memory, is aligned, and is written here only.
        unsafe { (*tail.cast::<AtomicU16>()).store(self.tail, Release) };
    }
}

/// How the server receives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// One RECV a message.
    Plain,
    /// The same on registered connections.
    Fixed,
    /// One RECV a connection, into provided buffers.
    Multishot,
}

/// The load's process, which ends with its connections.
pub(crate) struct Load(Child);

impl Load {
    /// This program with other arguments; never under ringer.
    pub(crate) fn start(args: &[&str]) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(args)
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .context("starting the load")?;
        Ok(Self(child))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have gone already, with its connections.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn listen() -> Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // SAFETY: takes no memory; once more, for a longer queue.
    let r = unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) };
    ensure!(r == 0, "listen");
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

fn accept(listener: &TcpListener, connections: usize) -> Result<Vec<TcpStream>> {
    (0..connections)
        .map(|_| {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
        .collect()
}

/// Repeats `turn`, which says how many messages it has echoed, until the budget is used.
fn repeat(job: Job, mut turn: impl FnMut() -> Result<u64>) -> Result<Sample> {
    let warm = Watch::start();
    while warm.elapsed() < job.budget / 8 {
        turn()?;
    }
    let watch = Watch::start();
    let mut echoed = 0;
    while watch.elapsed() < job.budget {
        for _ in 0..16 {
            echoed += turn()?;
        }
    }
    Ok(watch.each(echoed))
}

struct Server {
    ring: IoUring,
    kind: Sockets,
    sockets: Vec<TcpStream>,
    buffers: Vec<[u8; 4096]>,
    group: Option<Group>,
}

impl Server {
    fn new(job: Job, kind: Sockets, sockets: Vec<TcpStream>) -> Result<Self> {
        // Two requests a connection at most, and one turn submits them all.
        let entries = (2 * sockets.len()).next_power_of_two().clamp(256, 32_768);
        let ring = job.ring(entries as u32)?;
        let buffers = vec![[0; 4096]; sockets.len()];
        if kind == Sockets::Fixed {
            let numbers: Vec<_> = sockets.iter().map(|s| s.as_raw_fd()).collect();
            ring.submitter().register_files(&numbers)?;
        }
        let group = match kind {
            Sockets::Multishot => Some(Group::new(&ring, sockets.len())?),
            _ => None,
        };
        let mut server = Self { ring, kind, sockets, buffers, group };
        for at in 0..server.sockets.len() {
            server.receive(at)?;
        }
        Ok(server)
    }

    fn receive(&mut self, at: usize) -> Result<()> {
        let (to, len) = (self.buffers[at].as_mut_ptr(), self.buffers[at].len() as u32);
        let e = match self.kind {
            Sockets::Plain => opcode::Recv::new(self.plain(at), to, len).build(),
            Sockets::Fixed => opcode::Recv::new(types::Fixed(at as u32), to, len).build(),
            Sockets::Multishot => opcode::RecvMulti::new(self.plain(at), 0).build(),
        };
        self.push(e.user_data(at as u64))
    }

    /// Sends a message back from where it was received into.
    fn send(&mut self, at: usize, len: u32, buffer: Option<u16>) -> Result<()> {
        let (from, id) = match (&mut self.group, buffer) {
            (Some(group), Some(id)) => (group.buffer(id).cast_const(), id),
            _ => (self.buffers[at].as_ptr(), 0),
        };
        let e = match self.kind {
            Sockets::Fixed => opcode::Send::new(types::Fixed(at as u32), from, len).build(),
            _ => opcode::Send::new(self.plain(at), from, len).build(),
        };
        self.push(e.user_data(at as u64 | SENT | u64::from(id) << 32))
    }

    fn plain(&self, at: usize) -> types::Fd {
        types::Fd(self.sockets[at].as_raw_fd())
    }

    fn push(&mut self, e: squeue::Entry) -> Result<()> {
        // SAFETY: the socket and its buffer live as long as the ring, and a connection has one request.
        unsafe { self.ring.submission().push(&e) }.context("full submission queue")
    }

    /// Waits for something and answers all that is there; says how many messages were sent.
    fn turn(&mut self) -> Result<u64> {
        self.ring.submit_and_wait(1)?;
        let mut echoed = 0;
        while let Some((name, result, flags)) = self.next() {
            let at = (name & (SENT - 1)) as usize;
            ensure!(result > 0, "connection {at}: {result}");
            if name & SENT == 0 {
                self.send(at, result.cast_unsigned(), cqueue::buffer_select(flags))?;
                if self.kind == Sockets::Multishot && !cqueue::more(flags) {
                    self.receive(at)?;
                }
                continue;
            }
            echoed += 1;
            match &mut self.group {
                Some(group) => group.give((name >> 32) as u16),
                None => self.receive(at)?,
            }
        }
        Ok(echoed)
    }

    fn next(&mut self) -> Option<(u64, i32, u32)> {
        self.ring.completion().next().map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()))
    }
}

/// What a message takes a server of so many connections.
pub(crate) fn measure(job: Job, kind: Sockets, connections: usize) -> Result<Sample> {
    stay_on(0);
    let (listener, port) = listen()?;
    let _load = Load::start(&["echo-load", &port.to_string(), &connections.to_string()])?;
    let sockets = accept(&listener, connections)?;
    match job.way {
        Way::Ring | Way::Defer => {
            let mut server = Server::new(job, kind, sockets)?;
            repeat(job, || server.turn())
        }
        Way::Epoll => with_epoll(job, sockets),
        way => bail!("no echo by {way:?}"),
    }
}

/// A server with epoll and plain calls.
fn with_epoll(job: Job, mut sockets: Vec<TcpStream>) -> Result<Sample> {
    let mut epoll = Epoll::new(&sockets)?;
    let mut buffer = [0; 4096];
    repeat(job, || {
        let mut echoed = 0;
        for at in epoll.wait()? {
            let n = sockets[at].read(&mut buffer)?;
            ensure!(n > 0, "connection {at} was closed");
            sockets[at].write_all(&buffer[..n])?;
            echoed += 1;
        }
        Ok(echoed)
    })
}

/// The load: sends a message on every connection and each answer back, until the server closes.
pub(crate) fn load(port: u16, connections: usize) -> Result<()> {
    stay_on(1);
    let mut sockets = (0..connections)
        .map(|_| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_nodelay(true)?;
            reset_at_close(&stream)?;
            Ok(stream)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut epoll = Epoll::new(&sockets)?;
    let mut buffer = [7; MESSAGE];
    for socket in &mut sockets {
        socket.write_all(&buffer)?;
    }
    loop {
        for at in epoll.wait()? {
            // Whatever goes wrong here is the server's end.
            let Ok(n @ 1..) = sockets[at].read(&mut buffer) else { return Ok(()) };
            let Ok(()) = sockets[at].write_all(&buffer[..n]) else { return Ok(()) };
        }
    }
}

/// A set of connections, and room for what is ready.
struct Epoll(OwnedFd, Vec<libc::epoll_event>);

impl Epoll {
    fn new(sockets: &[TcpStream]) -> Result<Self> {
        // SAFETY: takes no memory.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        ensure!(fd >= 0, "epoll_create1");
        // SAFETY: the descriptor was made above and nobody else has it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        for (at, socket) in sockets.iter().enumerate() {
            watch(epoll.as_raw_fd(), socket.as_raw_fd(), at)?;
        }
        let room = sockets.len().min(1024);
        Ok(Self(epoll, vec![libc::epoll_event { events: 0, u64: 0 }; room]))
    }

    /// The connections that have something to read.
    fn wait(&mut self) -> Result<Vec<usize>> {
        let (max, forever) = (self.1.len() as i32, -1);
        // SAFETY: the array has room for that many.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), self.1.as_mut_ptr(), max, forever) };
        let n = usize::try_from(n).context("epoll_wait")?;
        Ok(self.1[..n].iter().map(|e| e.u64 as usize).collect())
    }
}

fn watch(epoll: RawFd, socket: RawFd, at: usize) -> Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: at as u64 };
    // SAFETY: the event is on this stack.
    let r = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket, &raw mut event) };
    ensure!(r == 0, "epoll_ctl");
    Ok(())
}
