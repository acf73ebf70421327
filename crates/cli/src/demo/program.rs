//! The io_uring program that the demo runs: it knows nothing of ringer.
//!
//! It copies a file and echoes messages over loopback TCP, with registered files and, for the
//! copy, registered buffers:
//!
//! ```text
//!   copy   each buffer: READ_FIXED(slot 0) -> WRITE_FIXED(slot 1) -> next block
//!   echo   each pair:   SEND(client) -> RECV(server) -> SEND(server) -> RECV(client) -> compare
//! ```
//!
//! Each part runs a few times; the line of JSON it prints holds the medians.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::json;

use crate::cli::{Calls, DemoProgramArgs};
use crate::os::uring::{Buffer, CallPath, Op, Ring};

/// Blocks in flight.
const DEPTH: u16 = 32;
/// Size of a block \[bytes\].
const BLOCK: u32 = 64 << 10;
/// Connections that echo at the same time.
const PAIRS: u16 = 8;
/// Size of a message \[bytes\].
const MESSAGE: u32 = 512;
/// Messages in a pass, all connections together.
const MESSAGES: u64 = 16_000;
/// Passes of which the median counts.
const PASSES: usize = 3;

/// Copies, echoes, prints one line.
pub(crate) fn program(args: &DemoProgramArgs) -> anyhow::Result<u8> {
    let path = match args.calls {
        Calls::Libc => CallPath::Libc,
        Calls::Inline => CallPath::Inline,
    };
    let copy = median(|| copy(path, &args.from, &args.to))?;
    let echo = median(|| echo(path))?;
    let line = json!({
        "copy_us": micros(copy),
        "echo_us": micros(echo),
        "messages": MESSAGES,
    });
    writeln!(io::stdout(), "{line}")?;
    Ok(0)
}

fn median(mut pass: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..PASSES {
        times.push(pass()?);
    }
    times.sort();
    Ok(times[PASSES / 2])
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const FROM: u32 = 0;
const TO: u32 = 1;

/// Copies a file; the time from the first request to the last completion.
fn copy(path: CallPath, from: &Path, to: &Path) -> anyhow::Result<Duration> {
    let source = File::open(from).with_context(|| format!("opening {}", from.display()))?;
    let target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)
        .with_context(|| format!("making {}", to.display()))?;
    let len = source.metadata()?.len();
    let mut ring =
        Ring::new(path, 2 * u32::from(DEPTH), (DEPTH, BLOCK)).context("io_uring_setup")?;
    ring.register_files(&[source.as_fd(), target.as_fd()]).context("registering files")?;
    ring.register_buffers().context("registering buffers")?;
    let start = Instant::now();
    let mut copy = Copy { len, next: 0, offsets: [0; DEPTH as usize], busy: 0 };
    for index in 0..DEPTH {
        copy.read_next(&mut ring, index)?;
    }
    while copy.busy > 0 {
        ring.submit_and_wait(1).context("io_uring_enter")?;
        while let Some(cqe) = ring.reap() {
            copy.step(&mut ring, cqe.user_data, cqe.res)?;
        }
    }
    Ok(start.elapsed())
}

/// Where a copy stands.
struct Copy {
    len: u64,
    /// Offset of the next block to read.
    next: u64,
    /// What each buffer holds, or is about to.
    offsets: [u64; DEPTH as usize],
    /// Buffers with a request in flight.
    busy: u16,
}

/// `user_data` is the buffer's index, with this bit for a write.
const WRITING: u64 = 1 << 32;

impl Copy {
    fn read_next(&mut self, ring: &mut Ring, index: u16) -> anyhow::Result<()> {
        if self.next >= self.len {
            return Ok(());
        }
        let buffer = Buffer { index, len: self.block(self.next) };
        self.offsets[usize::from(index)] = self.next;
        let op = Op::ReadFixed { slot: FROM, buffer, off: self.next };
        self.next += u64::from(buffer.len);
        self.busy += 1;
        push(ring, op, index.into())
    }

    fn step(&mut self, ring: &mut Ring, user_data: u64, res: i32) -> anyhow::Result<()> {
        let index = u16::try_from(user_data & !WRITING).context("a user_data of ours")?;
        let off = self.offsets[usize::from(index)];
        let buffer = Buffer { index, len: self.block(off) };
        let name = if user_data & WRITING == 0 { "READ_FIXED" } else { "WRITE_FIXED" };
        whole(name, res, buffer.len)?;
        self.busy -= 1;
        if user_data & WRITING != 0 {
            return self.read_next(ring, index);
        }
        self.busy += 1;
        push(ring, Op::WriteFixed { slot: TO, buffer, off }, user_data | WRITING)
    }

    fn block(&self, off: u64) -> u32 {
        u32::try_from((self.len - off).min(BLOCK.into())).expect("a block fits")
    }
}

/// Echoes all messages once; the time from the first request to the last completion.
fn echo(path: CallPath) -> anyhow::Result<Duration> {
    let sockets = connections().context("loopback connections")?;
    let mut ring =
        Ring::new(path, 4 * u32::from(PAIRS), (3 * PAIRS, MESSAGE)).context("io_uring_setup")?;
    let files: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    ring.register_files(&files).context("registering sockets")?;
    let start = Instant::now();
    let mut left = MESSAGES;
    let mut running = 0;
    for pair in 0..PAIRS {
        running += u16::from(begin(&mut ring, pair, &mut left)?);
    }
    while running > 0 {
        ring.submit_and_wait(1).context("io_uring_enter")?;
        while let Some(cqe) = ring.reap() {
            running -= u16::from(advance(&mut ring, cqe.user_data, cqe.res, &mut left)?);
        }
    }
    Ok(start.elapsed())
}

/// Sockets 2i (client) and 2i + 1 (server).
fn connections() -> io::Result<Vec<TcpStream>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut sockets = Vec::new();
    for _ in 0..PAIRS {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        for socket in [client, server] {
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// What a completion belongs to: `user_data` is pair * 4 + one of these.
const CLIENT_SENT: u64 = 0;
const SERVER_GOT: u64 = 1;
const SERVER_SENT: u64 = 2;
const CLIENT_GOT: u64 = 3;

fn buffer(pair: u16, which: u16) -> Buffer {
    Buffer { index: 3 * pair + which, len: MESSAGE }
}

/// Starts a pair's next message; false if there are none left.
fn begin(ring: &mut Ring, pair: u16, left: &mut u64) -> anyhow::Result<bool> {
    if *left == 0 {
        return Ok(false);
    }
    *left -= 1;
    ring.fill(buffer(pair, 0), left.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (client, id) = (2 * u32::from(pair), 4 * u64::from(pair));
    push(ring, Op::Recv { slot: client + 1, buffer: buffer(pair, 1) }, id + SERVER_GOT)?;
    push(ring, Op::Send { slot: client, buffer: buffer(pair, 0) }, id + CLIENT_SENT)?;
    Ok(true)
}

/// Takes a pair one step on; true if it has ended.
fn advance(ring: &mut Ring, user_data: u64, res: i32, left: &mut u64) -> anyhow::Result<bool> {
    let pair = u16::try_from(user_data / 4).context("a user_data of ours")?;
    let (client, id) = (2 * u32::from(pair), 4 * u64::from(pair));
    let step = user_data % 4;
    let sent = matches!(step, CLIENT_SENT | SERVER_SENT);
    whole(if sent { "SEND" } else { "RECV" }, res, MESSAGE)?;
    if step == SERVER_GOT {
        push(ring, Op::Recv { slot: client, buffer: buffer(pair, 2) }, id + CLIENT_GOT)?;
        push(ring, Op::Send { slot: client + 1, buffer: buffer(pair, 1) }, id + SERVER_SENT)?;
    }
    if step != CLIENT_GOT {
        return Ok(false);
    }
    ensure!(ring.same(buffer(pair, 0), buffer(pair, 2)), "a message came back changed");
    Ok(!begin(ring, pair, left)?)
}

fn push(ring: &mut Ring, op: Op, user_data: u64) -> anyhow::Result<()> {
    if ring.push(op, user_data) {
        return Ok(());
    }
    // Room is made by handing over what is there.
    ring.submit_and_wait(0).context("io_uring_enter")?;
    ensure!(ring.push(op, user_data), "the submission queue stays full");
    Ok(())
}

fn whole(name: &str, res: i32, len: u32) -> anyhow::Result<()> {
    match u32::try_from(res) {
        Ok(n) if n == len => Ok(()),
        Ok(n) => bail!("{name}: {n} of {len} bytes"),
        Err(_) => Err(io::Error::from_raw_os_error(-res)).context(name.to_owned()),
    }
}
