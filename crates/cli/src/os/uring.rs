//! A small io_uring client: the demo's program side, and the question "does the kernel answer?".
//!
//! ```text
//!   Ring ── fd                      made by io_uring_setup
//!        ├─ rings   Region         heads, tails, CQEs   (one mapping: SINGLE_MMAP)
//!        ├─ sqes    Region         64-byte entries
//!        └─ arena   Region         the only memory a request may name, cut into equal buffers
//! ```
//!
//! Invariant that makes the interface safe: an SQE is built here from an [`Op`], whose buffers are
//! checked places in the arena; the arena outlives the ring, and is leaked if a request could
//! still be writing to it.
//!
//! What it does not do: more opcodes than the demo needs, and SQ polling.

use std::arch::asm;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use ringer_ring::Map;
use ringer_uapi::raw::io_uring as abi;
use ringer_uapi::{Cqe, OFF_SQ_RING, OFF_SQES, Params, Sqe};

/// How the calls reach the kernel, or ringer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallPath {
    /// libc's `syscall` function, as libuv and most Rust programs do.
    Libc,
    /// An instruction in the program itself, as liburing, fio and Zig do.
    Inline,
}

/// The numbers of the three calls.
const SETUP: i64 = 425;
const ENTER: i64 = 426;
const REGISTER: i64 = 427;
/// How many opcodes a probe asks about (`struct io_uring_probe_op[]`).
const PROBE_OPS: usize = 256;

/// Which opcodes there are, as `IORING_REGISTER_PROBE` says.
#[derive(Clone, Debug)]
pub(crate) struct Opcodes {
    supported: Vec<bool>,
}

impl Opcodes {
    /// Whether the opcode is supported.
    pub(crate) fn has(&self, opcode: usize) -> bool {
        self.supported.get(opcode).copied().unwrap_or(false)
    }

    /// How many are.
    pub(crate) fn count(&self) -> usize {
        self.supported.iter().filter(|&&s| s).count()
    }
}

/// One request; places and lengths are \[bytes\] in the ring's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Reads from a registered file into a registered buffer.
    ReadFixed { slot: u32, buffer: Buffer, off: u64 },
    /// Writes from a registered buffer to a registered file.
    WriteFixed { slot: u32, buffer: Buffer, off: u64 },
    /// Receives on a registered socket.
    Recv { slot: u32, buffer: Buffer },
    /// Sends on a registered socket.
    Send { slot: u32, buffer: Buffer },
}

/// The first `len` bytes of one of the arena's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    /// Which one.
    pub(crate) index: u16,
    /// How much of it \[bytes\].
    pub(crate) len: u32,
}

/// A ring, its mappings and its arena.
#[derive(Debug)]
pub(crate) struct Ring {
    // Dropped in this order: the descriptor, the views, then the memory requests may touch.
    fd: OwnedFd,
    rings: Region,
    sqes: Region,
    arena: Option<Region>,
    path: CallPath,
    params: Params,
    buffer_len: u32,
    /// Pushed, not yet submitted.
    pending: u32,
    /// Submitted, not yet reaped.
    in_flight: u32,
}

impl Ring {
    /// Makes a ring of `entries` and `buffers` buffers of `buffer_len` bytes each.
    ///
    /// # Errors
    /// io_uring_setup(2)'s and mmap(2)'s.
    pub(crate) fn new(
        path: CallPath,
        entries: u32,
        (buffers, buffer_len): (u16, u32),
    ) -> io::Result<Self> {
        let (fd, params) = setup(path, entries)?;
        let cqes = u64::from(params.cq_off.cqes) + 16 * u64::from(params.cq_entries);
        let array = u64::from(params.sq_off.array) + 4 * u64::from(params.sq_entries);
        let rings = Region::shared(path, fd.as_raw_fd(), cqes.max(array), OFF_SQ_RING)?;
        let sqes = u64::from(params.sq_entries) * 64;
        let sqes = Region::shared(path, fd.as_raw_fd(), sqes, OFF_SQES)?;
        let arena = Region::anonymous(path, u64::from(buffers) * u64::from(buffer_len))?;
        Ok(Self {
            fd,
            rings,
            sqes,
            arena: Some(arena),
            path,
            params,
            buffer_len,
            pending: 0,
            in_flight: 0,
        })
    }

    /// Registers files: slot i is the i-th.
    ///
    /// # Errors
    /// As `IORING_REGISTER_FILES`.
    pub(crate) fn register_files(&self, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let fds: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        self.register(abi::io_uring_register_op::IORING_REGISTER_FILES as u32, &fds)
    }

    /// Registers the arena's buffers.
    ///
    /// # Errors
    /// As `IORING_REGISTER_BUFFERS`.
    pub(crate) fn register_buffers(&self) -> io::Result<()> {
        let arena = self.arena();
        let step = self.buffer_len as usize;
        let iovecs: Vec<[usize; 2]> =
            (0..arena.len() / step).map(|i| [arena.addr() + i * step, step]).collect();
        self.register(abi::io_uring_register_op::IORING_REGISTER_BUFFERS as u32, &iovecs)
    }

    /// Puts a request into the submission queue; `false` if there is no room.
    pub(crate) fn push(&mut self, op: Op, user_data: u64) -> bool {
        let head = self.rings.map.w32(self.params.sq_off.head as usize).load(Acquire);
        let tail_word = self.params.sq_off.tail as usize;
        // Only this program writes the tail.
        let tail = self.rings.map.w32(tail_word).load(Relaxed);
        if tail.wrapping_sub(head) >= self.params.sq_entries {
            return false;
        }
        let index = tail & (self.params.sq_entries - 1);
        let words = Sqe { user_data, ..self.sqe(op) }.to_words();
        for (i, word) in words.into_iter().enumerate() {
            self.sqes.map.w64(index as usize * 64 + i * 8).store(word, Relaxed);
        }
        let slot = self.params.sq_off.array as usize + 4 * index as usize;
        self.rings.map.w32(slot).store(index, Relaxed);
        // Release: pairs with the Acquire of the tail on the other side; the SQE is complete.
        self.rings.map.w32(tail_word).store(tail.wrapping_add(1), Release);
        self.pending += 1;
        true
    }

    fn sqe(&self, op: Op) -> Sqe {
        let fixed = 1 << abi::io_uring_sqe_flags_bit::IOSQE_FIXED_FILE_BIT as u8;
        let base = |opcode: abi::io_uring_op, slot: u32| Sqe {
            opcode: opcode as u8,
            flags: fixed,
            fd: slot.cast_signed(),
            ..Sqe::default()
        };
        let placed = |sqe: Sqe, b: Buffer| {
            let addr = self.place(b) as u64;
            Sqe { addr, len: b.len, ..sqe }
        };
        use abi::io_uring_op as op_;
        match op {
            Op::ReadFixed { slot, buffer, off } => {
                let sqe = placed(base(op_::IORING_OP_READ_FIXED, slot), buffer);
                Sqe { off, buf_index: buffer.index, ..sqe }
            }
            Op::WriteFixed { slot, buffer, off } => {
                let sqe = placed(base(op_::IORING_OP_WRITE_FIXED, slot), buffer);
                Sqe { off, buf_index: buffer.index, ..sqe }
            }
            Op::Recv { slot, buffer } => placed(base(op_::IORING_OP_RECV, slot), buffer),
            Op::Send { slot, buffer } => placed(base(op_::IORING_OP_SEND, slot), buffer),
        }
    }

    /// Address of a buffer, after the check that it lies in the arena.
    fn place(&self, buffer: Buffer) -> usize {
        let at = usize::from(buffer.index) * self.buffer_len as usize;
        assert!(buffer.len <= self.buffer_len, "a request stays inside its buffer");
        assert!(at + buffer.len as usize <= self.arena().len(), "a buffer of this arena");
        self.arena().addr() + at
    }

    /// Submits what was pushed and waits until `wait` completions can be reaped.
    ///
    /// # Errors
    /// io_uring_enter(2)'s, but not `EINTR`.
    pub(crate) fn submit_and_wait(&mut self, wait: u32) -> io::Result<()> {
        loop {
            let args = [
                self.fd.as_raw_fd() as usize,
                self.pending as usize,
                wait as usize,
                abi::IORING_ENTER_GETEVENTS as usize,
                0,
                0,
            ];
            // SAFETY:
            // 1. Every SQE was built by `push`, so requests name only the arena, which lives until
            //    nothing is in flight (`drop`).
            // 2. There is no signal mask: the fifth argument is null.
            match unsafe { call(self.path, ENTER, args) } {
                Ok(taken) => {
                    let taken = u32::try_from(taken).unwrap_or(self.pending).min(self.pending);
                    self.pending -= taken;
                    self.in_flight += taken;
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes one completion, if there is one.
    pub(crate) fn reap(&mut self) -> Option<Cqe> {
        let map = &self.rings.map;
        let (head_word, off) = (self.params.cq_off.head as usize, &self.params.cq_off);
        let head = map.w32(head_word).load(Relaxed);
        // Acquire: pairs with the Release of the tail on the other side; the CQE is complete.
        if head == map.w32(off.tail as usize).load(Acquire) {
            return None;
        }
        let at = off.cqes as usize + 16 * (head & (self.params.cq_entries - 1)) as usize;
        let user_data = map.w64(at).load(Relaxed);
        let rest = map.w64(at + 8).load(Relaxed);
        // Release: the slot may be written again only after these loads.
        map.w32(head_word).store(head.wrapping_add(1), Release);
        self.in_flight = self.in_flight.saturating_sub(1);
        let res = (rest as u32).cast_signed();
        Some(Cqe { user_data, res, flags: (rest >> 32) as u32, big: [0; 2] })
    }

    /// Writes `word` over and over into the first `len` bytes of a buffer.
    pub(crate) fn fill(&self, buffer: Buffer, word: u64) {
        for i in self.words(buffer) {
            self.arena().map.w64(i).store(word, Relaxed);
        }
    }

    /// Whether two buffers hold the same; lengths are multiples of 8.
    pub(crate) fn same(&self, a: Buffer, b: Buffer) -> bool {
        let arena = &self.arena().map;
        a.len == b.len
            && self
                .words(a)
                .zip(self.words(b))
                .all(|(i, j)| arena.w64(i).load(Relaxed) == arena.w64(j).load(Relaxed))
    }

    fn words(&self, buffer: Buffer) -> impl Iterator<Item = usize> + use<> {
        let at = self.place(buffer) - self.arena().addr();
        (at..at + buffer.len as usize).step_by(8)
    }

    fn arena(&self) -> &Region {
        self.arena.as_ref().expect("taken only by drop")
    }

    fn register<T>(&self, opcode: u32, array: &[T]) -> io::Result<()> {
        let fd = self.fd.as_raw_fd() as usize;
        let args = [fd, opcode as usize, array.as_ptr() as usize, array.len(), 0, 0];
        // SAFETY:
        // 1. The array is readable for the whole call.
        // 2. Buffers named by it are the arena's (`register_buffers`); descriptors are only numbers.
        unsafe { call(self.path, REGISTER, args) }.map(drop)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.in_flight > 0 {
            // A request may still write to it, and the ring goes before anybody could wait.
            std::mem::forget(self.arena.take());
        }
    }
}

/// What the kernel answers to this process: the opcodes its io_uring has.
///
/// # Errors
/// io_uring_setup(2)'s: `ENOSYS` without io_uring, `EPERM` when a filter or the sysctl refuses;
/// or the errors of enter and register.
pub(crate) fn native_opcodes() -> io::Result<Opcodes> {
    // An instruction of our own: the `syscall` symbol could be ringer's.
    let path = CallPath::Inline;
    let (fd, _) = setup(path, 1)?;
    let fd_number = fd.as_raw_fd() as usize;
    // SAFETY: submits nothing and waits for nothing; no pointer is passed.
    unsafe { call(path, ENTER, [fd_number, 0, 0, 0, 0, 0]) }?;
    // struct io_uring_probe: 16 bytes of header, then 8 bytes an opcode.
    let mut probe = [0_u8; 16 + 8 * PROBE_OPS];
    let opcode = abi::io_uring_register_op::IORING_REGISTER_PROBE as usize;
    let args = [fd_number, opcode, probe.as_mut_ptr() as usize, PROBE_OPS, 0, 0];
    // SAFETY: `probe` is writable and as large as `PROBE_OPS` entries need.
    unsafe { call(path, REGISTER, args) }?;
    let ops_len = usize::from(probe[1]).min(PROBE_OPS);
    let supported = probe[16..].chunks_exact(8).take(ops_len).map(|op| op[2] & 1 == 1).collect();
    Ok(Opcodes { supported })
}

fn setup(path: CallPath, entries: u32) -> io::Result<(OwnedFd, Params)> {
    let mut params = Params::default().to_bytes();
    let args = [entries as usize, params.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: `params` is writable and of the size the ABI says.
    let fd = unsafe { call(path, SETUP, args) }?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the call just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((fd, Params::from_bytes(&params)))
}

/// Memory of ours, unmapped when dropped.
#[derive(Debug)]
struct Region {
    map: Map,
}

impl Region {
    fn shared(path: CallPath, fd: RawFd, len: u64, offset: u64) -> io::Result<Self> {
        Self::map(path, len, libc::MAP_SHARED | libc::MAP_POPULATE, (fd, offset))
    }

    fn anonymous(path: CallPath, len: u64) -> io::Result<Self> {
        Self::map(path, len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, (-1, 0))
    }

    fn map(path: CallPath, len: u64, flags: i32, (fd, offset): (RawFd, u64)) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let base = match path {
            CallPath::Libc => {
                let offset = i64::try_from(offset).map_err(io::Error::other)?;
                // SAFETY: a new mapping at a place the kernel picks touches nothing that exists.
                let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, offset) };
                if p == libc::MAP_FAILED {
                    return Err(io::Error::last_os_error());
                }
                p as usize
            }
            CallPath::Inline => {
                let args = [0, len, prot as usize, flags as usize, fd as usize, offset as usize];
                // SAFETY: as above.
                unsafe { call(path, libc::SYS_mmap, args) }?
            }
        };
        let base = NonNull::new(base as *mut u8).ok_or_else(|| io::Error::other("mmap gave 0"))?;
        // SAFETY:
        // 1. Just mapped readable and writable, page-aligned, unmapped only by `drop`.
        // 2. This process reaches it only through the `Map`, and through requests of the ring,
        //    which write as another process would.
        Ok(Self { map: unsafe { Map::new(base, len) } })
    }

    fn addr(&self) -> usize {
        self.map.addr()
    }

    fn len(&self) -> usize {
        self.map.len()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the region was mapped by `map` with this length, and its views end with it.
        unsafe { libc::munmap(self.addr() as *mut libc::c_void, self.len()) };
    }
}

/// One system call.
///
/// # Safety
/// The arguments keep the call's own promises about memory.
unsafe fn call(path: CallPath, nr: i64, a: [usize; 6]) -> io::Result<usize> {
    let answer = match path {
        CallPath::Libc => {
            // SAFETY: the caller's promise.
            let answer = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
            if answer == -1 {
                return Err(io::Error::last_os_error());
            }
            answer as isize
        }
        CallPath::Inline => {
            let answer: isize;
            // SAFETY:
            // 1. The caller's promise covers what the call does to memory.
            // 2. A system call changes rax, rcx and r11 only, which are declared.
            unsafe {
                asm!(
                    "syscall",
                    inlateout("rax") nr as isize => answer,
                    in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
                    in("r10") a[3], in("r8") a[4], in("r9") a[5],
                    lateout("rcx") _, lateout("r11") _,
                    options(nostack),
                );
            }
            answer
        }
    };
    if (-4095..0).contains(&answer) {
        return Err(io::Error::from_raw_os_error(i32::try_from(-answer).unwrap_or(libc::EIO)));
    }
    Ok(answer.cast_unsigned())
}
