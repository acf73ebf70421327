//! The works: what each one sets up, and what one round of it does.
//!
//! Every round waits for all that it started and checks the results. What they do not do: wait for
//! anything but ringer; what a round needs is there before it asks, or is brought by itself.

use anyhow::{Context as _, Result, ensure};
use io_uring::{IoUring, opcode, squeue, types};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU16, Ordering::Release};

/// One round, again and again; it owns what it works on.
pub(crate) type Round = Box<dyn FnMut() -> Result<()>>;
/// A name, and what makes its round.
pub(crate) type Work = (&'static str, fn() -> Result<Round>);

/// In the order of the table that is printed. A `-b32` does 32 requests in one call.
pub(crate) const WORKS: &[Work] = &[
    ("nop-b1", || nops(1)),
    ("nop-b32", || nops(32)),
    ("nop-linked-b2", linked_nops),
    ("read-plain-b1", || reads(1, Files::Plain)),
    ("read-plain-b32", || reads(32, Files::Plain)),
    ("read-fixed-b1", || reads(1, Files::Fixed)),
    ("read-fixed-b32", || reads(32, Files::Fixed)),
    ("write-worker", writes),
    ("write-read-pipe-b2", pipes),
    ("poll-ready", polls),
    ("timeout-removed", timeouts),
    ("poll-cancelled", cancels),
    ("send-recv-b2", transfers),
    ("recv-waits", waiting_receives),
    ("recv-provided", provided_receives),
    ("msg-ring-self", messages),
];

const BLOCK: usize = 4096;
const FILE_BLOCKS: u64 = 64;
/// What a transfer carries \[bytes\].
const TRANSFER: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    Plain,
    /// A registered file and a registered buffer.
    Fixed,
}

fn ring() -> Result<IoUring> {
    IoUring::new(64).context("io_uring_setup")
}

/// Pushes requests; what they point to must live until they are complete.
fn push(ring: &mut IoUring, entries: &[squeue::Entry]) -> Result<()> {
    // SAFETY: the caller's promise: each round owns the buffers and files of its requests, and ends
    // when all of them are complete.
    unsafe { ring.submission().push_multiple(entries) }.context("full submission queue")
}

/// The results of all completions, in whatever order they came, are these (sorted).
fn expect(ring: &mut IoUring, want: &[i32]) -> Result<()> {
    let mut got: Vec<i32> = ring.completion().map(|c| c.result()).collect();
    got.sort_unstable();
    ensure!(got == want, "results {got:?} instead of {want:?}");
    Ok(())
}

/// All of the requests by one call.
fn call(ring: &mut IoUring, entries: &[squeue::Entry], want: &[i32]) -> Result<()> {
    push(ring, entries)?;
    ring.submit_and_wait(want.len())?;
    expect(ring, want)
}

fn nops(batch: usize) -> Result<Round> {
    let mut ring = ring()?;
    let (entries, want) = (vec![opcode::Nop::new().build(); batch], vec![0; batch]);
    Ok(Box::new(move || call(&mut ring, &entries, &want)))
}

fn linked_nops() -> Result<Round> {
    let mut ring = ring()?;
    let nop = || opcode::Nop::new().build();
    let entries = [nop().flags(squeue::Flags::IO_LINK), nop()];
    Ok(Box::new(move || call(&mut ring, &entries, &[0, 0])))
}

/// Why a work cannot go its path here.
#[derive(Debug)]
pub(crate) struct Unfit(&'static str);

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unfit {}

fn contents() -> Vec<u8> {
    vec![7; BLOCK * FILE_BLOCKS as usize]
}

/// A call of one block at the start of a file that may not wait, by libc.
type Call = unsafe extern "C" fn(i32, *const libc::iovec, i32, i64, i32) -> isize;

/// Whether the file's system carries the call out at once.
fn at_once(file: &File, call: Call) -> bool {
    let mut bytes = vec![0u8; BLOCK];
    let all = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: BLOCK };
    // SAFETY: preadv2 or pwritev2, and the bytes live until it returns.
    let done = unsafe { call(file.as_raw_fd(), &raw const all, 1, 0, libc::RWF_NOWAIT) };
    done == BLOCK as isize
}

/// A file whose cached blocks are read without waiting: not every file system can.
fn cached_file() -> Result<File> {
    for folder in [std::env::temp_dir(), "/var/tmp".into(), std::env::current_dir()?] {
        let path = folder.join(format!("ringer-instructions-{}", std::process::id()));
        let made = File::options().read(true).write(true).create_new(true).open(&path);
        let Ok(mut file) = made else { continue };
        std::fs::remove_file(&path)?;
        file.write_all(&contents())?;
        if at_once(&file, libc::preadv2) {
            return Ok(file);
        }
    }
    Err(Unfit("no folder for temporary files reads without waiting (RWF_NOWAIT)").into())
}

/// A file that is never written without waiting.
fn waiting_file() -> Result<File> {
    // SAFETY: a fresh descriptor for a name that is a C string.
    let fd = unsafe { libc::memfd_create(c"instructions".as_ptr(), libc::MFD_CLOEXEC) };
    ensure!(fd >= 0, "memfd_create");
    // SAFETY: the descriptor was made above and nobody else has it.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(&contents())?;
    if at_once(&file, libc::pwritev2) {
        return Err(Unfit("this kernel writes files in memory without waiting").into());
    }
    Ok(file)
}

fn reads(batch: usize, files: Files) -> Result<Round> {
    let (file, mut ring) = (cached_file()?, ring()?);
    let mut bytes = vec![0u8; BLOCK * batch];
    if files == Files::Fixed {
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        let all = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: the round owns ring and bytes, and ends when no request is left.
        unsafe { ring.submitter().register_buffers(&[all]) }?;
    }
    let fd = types::Fd(file.as_raw_fd());
    let entry = |(to, at): (&mut [u8], u64)| {
        let (to, len, off) = (to.as_mut_ptr(), BLOCK as u32, at * 17 % FILE_BLOCKS * BLOCK as u64);
        match files {
            Files::Plain => opcode::Read::new(fd, to, len).offset(off).build(),
            Files::Fixed => opcode::ReadFixed::new(types::Fixed(0), to, len, 0).offset(off).build(),
        }
    };
    let entries: Vec<_> = bytes.chunks_mut(BLOCK).zip(0..).map(entry).collect();
    let want = vec![BLOCK as i32; batch];
    Ok(Box::new(move || {
        let _owned = (&file, &bytes);
        call(&mut ring, &entries, &want)
    }))
}

/// By a worker, as ext4 and tmpfs want it.
fn writes() -> Result<Round> {
    let (file, mut ring, bytes) = (waiting_file()?, ring()?, vec![1u8; BLOCK]);
    let fd = types::Fd(file.as_raw_fd());
    let entry = opcode::Write::new(fd, bytes.as_ptr(), BLOCK as u32).offset(0).build();
    Ok(Box::new(move || {
        let _owned = (&file, &bytes);
        call(&mut ring, std::slice::from_ref(&entry), &[BLOCK as i32])
    }))
}

/// Written and read at once.
fn pipes() -> Result<Round> {
    let ((output, input), mut ring) = (std::io::pipe()?, ring()?);
    let mut bytes = vec![0u8; 2 * TRANSFER];
    let (from, to) = bytes.split_at_mut(TRANSFER);
    let (fds, len) = ([input.as_raw_fd(), output.as_raw_fd()].map(types::Fd), TRANSFER as u32);
    let entries = [
        opcode::Write::new(fds[0], from.as_ptr(), len).build(),
        opcode::Read::new(fds[1], to.as_mut_ptr(), len).build(),
    ];
    Ok(Box::new(move || {
        let _owned = (&input, &output, &bytes);
        call(&mut ring, &entries, &[TRANSFER as i32; 2])
    }))
}

/// Of a socket that has room.
fn polls() -> Result<Round> {
    let (pair, mut ring) = (UnixStream::pair()?, ring()?);
    let fd = types::Fd(pair.0.as_raw_fd());
    let events = libc::POLLOUT;
    let entry = opcode::PollAdd::new(fd, events as u32).build();
    Ok(Box::new(move || {
        let _owned = &pair;
        call(&mut ring, std::slice::from_ref(&entry), &[i32::from(events)])
    }))
}

/// Armed and removed.
fn timeouts() -> Result<Round> {
    static HOUR: types::Timespec = types::Timespec::new().sec(3600);
    let mut ring = ring()?;
    let armed = opcode::Timeout::new(&raw const HOUR).build().user_data(1);
    let entries = [armed, opcode::TimeoutRemove::new(1).build()];
    Ok(Box::new(move || call(&mut ring, &entries, &[-libc::ECANCELED, 0])))
}

/// A poll that waits, cancelled.
fn cancels() -> Result<Round> {
    let (pair, mut ring) = (UnixStream::pair()?, ring()?);
    let poll = opcode::PollAdd::new(types::Fd(pair.0.as_raw_fd()), libc::POLLIN as u32);
    let entries = [poll.build().user_data(1), opcode::AsyncCancel::new(1).build()];
    Ok(Box::new(move || {
        let _owned = &pair;
        call(&mut ring, &entries, &[-libc::ECANCELED, 0])
    }))
}

/// Sent and received at once.
fn transfers() -> Result<Round> {
    let ((here, there), mut ring) = (UnixStream::pair()?, ring()?);
    let mut bytes = vec![0u8; 2 * TRANSFER];
    let (from, to) = bytes.split_at_mut(TRANSFER);
    let (fds, len) = ([&here, &there].map(|s| types::Fd(s.as_raw_fd())), TRANSFER as u32);
    let entries = [
        opcode::Send::new(fds[0], from.as_ptr(), len).build(),
        opcode::Recv::new(fds[1], to.as_mut_ptr(), len).build(),
    ];
    Ok(Box::new(move || {
        let _owned = (&here, &there, &bytes);
        call(&mut ring, &entries, &[TRANSFER as i32; 2])
    }))
}

/// A receive that finds nothing; then something comes.
fn waiting_receives() -> Result<Round> {
    let ((here, mut there), mut ring) = (UnixStream::pair()?, ring()?);
    let mut bytes = [0u8; TRANSFER].to_vec();
    let fd = types::Fd(here.as_raw_fd());
    let entry = opcode::Recv::new(fd, bytes.as_mut_ptr(), TRANSFER as u32).build();
    Ok(Box::new(move || {
        let _owned = (&here, &bytes);
        push(&mut ring, std::slice::from_ref(&entry))?;
        ring.submit()?;
        there.write_all(&[1; TRANSFER])?;
        ring.submit_and_wait(1)?;
        expect(&mut ring, &[TRANSFER as i32])
    }))
}

/// A page: a ring of buffers wants to begin at one.
#[repr(align(4096))]
struct Page([u8; BLOCK]);

/// A receive into a buffer that the ring picks, which is given back each time.
fn provided_receives() -> Result<Round> {
    /// Entries of the ring of buffers: a power of two.
    const ENTRIES: u16 = 8;
    let ((here, mut there), mut ring) = (UnixStream::pair()?, ring()?);
    let (mut page, mut bytes) = (Box::new(Page([0; BLOCK])), vec![0u8; TRANSFER]);
    let base: *mut types::BufRingEntry = page.0.as_mut_ptr().cast();
    // SAFETY: the round owns ring and page, and ends when no request is left.
    unsafe { ring.submitter().register_buf_ring_with_flags(base as u64, ENTRIES, 0, 0) }?;
    let fd = types::Fd(here.as_raw_fd());
    let entry = opcode::Recv::new(fd, std::ptr::null_mut(), TRANSFER as u32).buf_group(0).build();
    let entry = entry.flags(squeue::Flags::BUFFER_SELECT);
    let mut given = 0u16;
    Ok(Box::new(move || {
        let _owned = (&here, &page);
        // SAFETY: one of the page's entries, which nobody looks at before the tail has passed it.
        let slot = unsafe { &mut *base.wrapping_add(usize::from(given % ENTRIES)) };
        slot.set_addr(bytes.as_mut_ptr() as u64);
        slot.set_len(TRANSFER as u32);
        slot.set_bid(0);
        given = given.wrapping_add(1);
        // SAFETY: the ring of buffers begins at `base`.
        let tail = unsafe { types::BufRingEntry::tail(base) };
        // SAFETY: aligned, in the page, and only atomics touch it while the ring is there.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entry is written before whoever reads the tail finds it.
        tail.store(given, Release);
        there.write_all(&[1; TRANSFER])?;
        call(&mut ring, std::slice::from_ref(&entry), &[TRANSFER as i32])
    }))
}

/// A message to the ring itself: two completions.
fn messages() -> Result<Round> {
    let mut ring = ring()?;
    let to = types::Fd(ring.as_raw_fd());
    let entry = opcode::MsgRingData::new(to, 5, 0, None).build();
    Ok(Box::new(move || {
        push(&mut ring, std::slice::from_ref(&entry))?;
        ring.submit_and_wait(2)?;
        expect(&mut ring, &[0, 5])
    }))
}
