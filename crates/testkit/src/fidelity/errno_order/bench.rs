//! The bench on which an entry is tried: a ring, files of every kind, memory with every structure.
//!
//! ```text
//!   scene (per op): valid entry, state put back   ->  spoils  ->  submit  ->  "EINVAL" | "16" | "none"
//! ```
//! Whatever an entry did is undone before the next: descriptors it made are closed, slots emptied,
//! a ring with a request left on it replaced. What it does not do: compare (`matrix`).

use super::field::{Kind, Spoil};
use crate::harness::Scratch;
use crate::os::{self, Buf, Sys, name};
use crate::ring::{EXT_ARG, GETEVENTS, Ring, i32s, reg, u64s};
use crate::sqe::{self, op};
use ringer_uapi::{Cqe, Sqe};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};

/// Offsets in the bench's memory.
pub mod at {
    #![allow(missing_docs, reason = "the names are what lies there")]
    pub const PATH: usize = 0x000;
    pub const NEW_PATH: usize = 0x100;
    pub const IOVEC: usize = 0x200;
    pub const TIMESPEC: usize = 0x300;
    pub const MSGHDR: usize = 0x400;
    pub const SOCKADDR: usize = 0x500;
    pub const EPOLL_EVENT: usize = 0x600;
    pub const OPEN_HOW: usize = 0x700;
    pub const FDS: usize = 0x800;
    pub const FUTEX: usize = 0x900;
    pub const WAITV: usize = 0x980;
    pub const XATTR_NAME: usize = 0xa00;
    pub const OUT: usize = 0xb00;
    /// The last readable page.
    pub const DATA: usize = 0x1000;
}

/// The length of a transfer.
pub const LEN: u32 = 16;
/// The number of a descriptor that an entry may close or bind.
pub const SPARE: i32 = 500;
/// Slots of the file table: the op's file, then empty ones.
const SLOTS: usize = 4;
/// Longest wait for a completion that must come [ms].
const PATIENCE_MS: u64 = 2000;
/// Longest wait for one that may come while recording [ms].
const RECORDING_MS: u64 = 60;
/// How long nothing must come where nothing is expected [ms].
const SILENCE_MS: u64 = 2;

/// A valid entry and what it needs around it.
#[derive(Debug, Default)]
pub struct Scene {
    /// The entry.
    pub sqe: Sqe,
    /// An entry before it, linked to it.
    pub head: Option<Sqe>,
    /// The descriptor in slot 0.
    pub file: i32,
    /// Results above the slots are descriptors.
    pub makes_fd: bool,
    /// Results come with a notification.
    pub notifies: bool,
    /// Every try gets a ring of its own.
    pub own_ring: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Bench {
    /// The ring of the next try.
    pub ring: Ring,
    /// Memory that ends where nothing is mapped.
    pub mem: Buf,
    /// A folder.
    pub dir: Scratch,
    /// Its descriptor.
    pub dirfd: i32,
    /// The file that ops work on.
    pub file: i32,
    /// Another one.
    pub other: i32,
    /// Opened with `O_PATH`.
    pub path: i32,
    /// Connected to itself.
    pub udp: UdpSocket,
    /// Listens on a path.
    pub unix: UnixListener,
    client: Option<UnixStream>,
    /// Listens on loopback.
    pub tcp: TcpListener,
    /// A stream pair.
    pub pair: (i32, i32),
    /// A pipe that holds data.
    pub full: (i32, i32),
    /// A pipe with room.
    pub empty: (i32, i32),
    /// Holds the readable pipe.
    pub epoll: i32,
    /// A target for messages.
    pub target: Ring,
    /// A process that ended and was not waited for.
    pub zombie: i32,
    silent: bool,
}

fn text<E: std::fmt::Debug>(what: &'static str) -> impl Fn(E) -> String {
    move |e| format!("the bench: {what}: {e:?}")
}

impl Bench {
    /// Everything in place.
    ///
    /// # Errors
    /// What could not be made; `skip:` without loopback.
    pub fn new() -> Result<Self, String> {
        let zombie = zombie()?;
        let dir = Scratch::new();
        let folder = dir.path("").to_string_lossy().into_owned();
        let dirfd = os::open(&folder, libc::O_DIRECTORY).map_err(text("folder"))?;
        let loopback = |e: std::io::Error| format!("skip: no loopback: {e}");
        let udp = UdpSocket::bind("127.0.0.1:0").map_err(loopback)?;
        udp.connect(udp.local_addr().map_err(loopback)?).map_err(loopback)?;
        let full = os::pipe().map_err(text("pipe"))?;
        os::write(full.1, &[7; 4096]).map_err(text("pipe"))?;
        let epoll = os::epoll_create().map_err(text("epoll"))?;
        os::epoll_add(epoll, full.0, libc::EPOLLIN as u32).map_err(text("epoll"))?;
        let bench = Self {
            ring: Ring::new(8, 0).map_err(text("ring"))?,
            mem: memory(at::DATA / 4096 + 1).map_err(text("memory"))?,
            dirfd,
            file: os::memfd(&[5; 64]).map_err(text("file"))?,
            other: os::memfd(&[6; 64]).map_err(text("file"))?,
            path: os::open(&folder, libc::O_PATH).map_err(text("path"))?,
            unix: UnixListener::bind(dir.path("socket")).map_err(text("listener"))?,
            client: None,
            tcp: TcpListener::bind("127.0.0.1:0").map_err(loopback)?,
            pair: os::socketpair(libc::SOCK_STREAM).map_err(text("pair"))?,
            full,
            empty: os::pipe().map_err(text("pipe"))?,
            epoll,
            target: Ring::new(8, 0).map_err(text("ring"))?,
            zombie,
            udp,
            dir,
            silent: false,
        };
        bench.furnish();
        bench.prepare(&bench.ring)?;
        Ok(bench)
    }

    /// Address of a structure.
    pub fn addr(&self, off: usize) -> u64 {
        self.mem.addr() + off as u64
    }

    /// The structures that entries point to.
    pub fn furnish(&self) {
        let m = &self.mem;
        m.put(at::PATH, b"file\0");
        m.put(at::NEW_PATH, b"new\0");
        m.put64(at::IOVEC, self.addr(at::DATA));
        m.put64(at::IOVEC + 8, u64::from(LEN));
        m.put64(at::TIMESPEC, 0);
        m.put64(at::TIMESPEC + 8, 1);
        for (i, w) in [0, 0, self.addr(at::IOVEC), 1, 0, 0, 0].into_iter().enumerate() {
            m.put64(at::MSGHDR + 8 * i, w);
        }
        m.put(at::SOCKADDR, &os::loopback(self.udp.local_addr().map_or(9, |a| a.port())));
        m.put64(at::EPOLL_EVENT, libc::EPOLLIN as u64);
        m.put64(at::FUTEX, 5);
        // value, address, FUTEX2_SIZE_U32 | FUTEX2_PRIVATE
        for (i, w) in [4, self.addr(at::FUTEX), 0x82].into_iter().enumerate() {
            m.put64(at::WAITV + 8 * i, w);
        }
        m.put(at::XATTR_NAME, b"user.key\0");
        m.put(at::FDS, &[0; 64]);
    }

    /// A number for a descriptor of another kind.
    pub fn number_of(&self, kind: Kind) -> i32 {
        match kind {
            Kind::Memfd => self.other,
            Kind::Path => self.path,
            Kind::Ring => self.ring.fd,
        }
    }

    /// Someone to be accepted, and nobody else.
    ///
    /// # Errors
    /// connect(2)'s.
    pub fn knock(&mut self) -> Result<(), String> {
        while os::poll(self.unix.as_raw_fd(), libc::POLLIN, 0).is_ok_and(|bits| bits != 0) {
            self.unix.accept().map_err(text("accept"))?;
        }
        let client = UnixStream::connect(self.dir.path("socket")).map_err(text("connect"))?;
        self.client = Some(client);
        Ok(())
    }

    /// Nothing to read but, with `one`, a datagram.
    pub fn refill(&self, one: bool) {
        let mut sink = [0u8; 64];
        while os::poll(self.udp.as_raw_fd(), libc::POLLIN, 0).is_ok_and(|bits| bits != 0) {
            let _ = self.udp.recv(&mut sink);
        }
        if one {
            let _ = self.udp.send(&[3; LEN as usize]);
        }
    }

    /// Empties the pipe with room.
    pub fn drain(&self) {
        let mut sink = vec![0u8; 65536];
        while os::poll(self.empty.0, libc::POLLIN, 0).is_ok_and(|bits| bits != 0) {
            let _ = os::read(self.empty.0, &mut sink);
        }
    }

    fn prepare(&self, ring: &Ring) -> Result<(), String> {
        ring.register_files(&[self.file, -1, -1, -1]).map_err(text("register files"))?;
        let buffers = u64s(&[self.addr(at::DATA), 4096]);
        ring.register(reg::BUFFERS, buffers.addr(), 1).map_err(text("register buffers"))?;
        Ok(())
    }

    /// Ends what is left on the ring and takes another one.
    ///
    /// # Errors
    /// setup's.
    fn replace(&mut self) -> Result<(), String> {
        let cancel = Sqe { op_flags: 4, ..sqe::of(op::ASYNC_CANCEL, 3) };
        self.ring.push(cancel);
        let _ = self.ring.submit(0);
        for _ in 0..4 {
            let _ = self.wait_ms(10);
            if std::iter::from_fn(|| self.ring.reap()).any(|c| c.user_data == 3) {
                break;
            }
        }
        // Memory of closed rings is given back a little later.
        let fresh = (0..50).find_map(|_| match Ring::new(8, 0) {
            Err(os::Errno(libc::ENOMEM)) => {
                std::thread::sleep(std::time::Duration::from_millis(2));
                None
            }
            r => Some(r),
        });
        let fresh = fresh.ok_or("the bench: no memory for a ring")?.map_err(text("ring"))?;
        self.prepare(&fresh)?;
        self.ring = fresh;
        Ok(())
    }

    fn wait_ms(&self, ms: u64) -> Sys<u32> {
        let ts = u64s(&[ms / 1000, ms % 1000 * 1_000_000]);
        let arg = u64s(&[0, 0, ts.addr()]);
        self.ring.enter(0, 1, GETEVENTS | EXT_ARG, arg.addr(), 24)
    }

    fn put_slots_back(&self, file: i32) -> Result<(), String> {
        let mut fds = [-1; SLOTS];
        fds[0] = file;
        let fds = i32s(&fds);
        let update = u64s(&[0, fds.addr()]);
        self.ring
            .register(reg::FILES_UPDATE, update.addr(), SLOTS as u32)
            .map_err(text("files update"))
            .map(drop)
    }

    /// Tries an entry and says what came of it.
    ///
    /// # Errors
    /// What kept the try from being made.
    pub fn attempt(
        &mut self,
        scene: &Scene,
        spoils: &[Spoil],
        expected: Option<&str>,
    ) -> Result<String, String> {
        if scene.own_ring {
            self.replace()?;
        }
        self.put_slots_back(scene.file)?;
        let mut entry = scene.sqe;
        for spoil in spoils {
            spoil.apply(self, &mut entry);
        }
        entry.user_data = 1;
        if let Some(head) = scene.head {
            self.ring.push(Sqe { user_data: 2, ..head });
        }
        self.ring.push(entry);
        if let Err(e) = self.ring.submit(0) {
            self.replace()?;
            return Ok(format!("enter:{e:?}"));
        }
        let cqes = self.collect(scene, expected);
        let left = cqes.last().is_none_or(|c| c.flags & 2 != 0) || self.silent;
        let said = self.said(scene, &cqes);
        if left {
            self.replace()?;
        }
        Ok(said)
    }

    /// The completions of a try: as many as are expected, or as come soon.
    fn collect(&mut self, scene: &Scene, expected: Option<&str>) -> Vec<Cqe> {
        let most = 1 + usize::from(scene.head.is_some()) + usize::from(scene.notifies);
        let (want, patience) = match expected {
            None => (most, RECORDING_MS),
            Some("none") => (1, SILENCE_MS),
            Some(e) => (e.split('+').count(), PATIENCE_MS),
        };
        let mut cqes = Vec::new();
        self.silent = false;
        loop {
            cqes.extend(std::iter::from_fn(|| self.ring.reap()));
            if cqes.len() >= want {
                break;
            }
            if self.wait_ms(patience).is_err() {
                cqes.extend(std::iter::from_fn(|| self.ring.reap()));
                self.silent = cqes.len() < want;
                break;
            }
        }
        cqes
    }

    fn said(&self, scene: &Scene, cqes: &[Cqe]) -> String {
        let of = |ud: u64| cqes.iter().filter(move |c| c.user_data == ud);
        let most = if scene.notifies { 2 } else { 1 };
        let mut parts: Vec<String> = of(1).take(most).map(|c| self.result(scene, *c)).collect();
        parts.extend(of(2).map(|c| format!("head:{}", self.result(scene, *c))));
        if scene.makes_fd {
            self.close_written();
        }
        if parts.is_empty() { "none".to_owned() } else { parts.join("+") }
    }

    fn result(&self, scene: &Scene, c: Cqe) -> String {
        let res = match c.res {
            res if res < 0 => name(res.wrapping_neg()),
            fd if scene.makes_fd && fd >= SLOTS as i32 => {
                let _ = os::close(fd);
                "fd".to_owned()
            }
            res => res.to_string(),
        };
        if c.flags == 0 { res } else { format!("{res}/{:#x}", c.flags) }
    }

    /// Closes the descriptors of a PIPE, which are in memory.
    fn close_written(&self) {
        for off in [at::OUT, at::OUT + 4] {
            let fd = self.mem.load(off).cast_signed();
            if fd >= SLOTS as i32 && fd < SPARE {
                let _ = os::close(fd);
            }
            self.mem.store(off, 0);
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = os::wait(self.zombie);
        let pipes = [self.pair, self.full, self.empty].map(|(a, b)| [a, b]);
        let others = [self.dirfd, self.file, self.other, self.path, self.epoll, SPARE];
        for fd in pipes.into_iter().flatten().chain(others) {
            let _ = os::close(fd);
        }
    }
}

/// A child that has ended and stays so.
fn zombie() -> Result<i32, String> {
    let pid = os::fork().map_err(text("fork"))?;
    if pid == 0 {
        os::exit_now(0);
    }
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|s| s.starts_with('Z'))
    };
    while !ended() {
        let _ = os::yield_now();
    }
    Ok(pid)
}

/// Pages, then one that nobody may touch.
pub(super) fn memory(pages: usize) -> Sys<Buf> {
    let all = Buf::new((pages + 1) * 4096);
    let guard = Buf::adopt(all.addr() + pages as u64 * 4096, 4096);
    guard.protect(libc::PROT_NONE)?;
    guard.leak();
    Ok(all)
}
