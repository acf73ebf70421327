//! Lets a reader watch the requests of a running process: `ringer top`.
//!
//! ```text
//!  the keeper's first watcher (a table of its own)                      reader
//!    socket FOLDER/PID, listening  <--- connect, greeting, memfd ---   same user, or root
//!    epoll: maps the memory, trace on, every 100 ms the rings' states --->  reads it
//!           peer hung up: trace off, anonymous memory in the buffer's place
//! ```
//! FOLDER is `$XDG_RUNTIME_DIR/ringer`, or `/tmp/ringer-UID` where that cannot be used: a real folder of
//! the user's that nobody else may enter. Everything happens on a thread that is there anyway, at the
//! moment it is made, which is when the first ring is older than a millisecond: no caller waits for it,
//! and no number of it is in the application's table. A folder or socket that cannot be had is no error;
//! `ringer doctor` says so.
//!
//! One reader at a time. The memory is the reader's and sealed against cuts, so that it can take no page
//! away from under a writer. A thread may be late to write its record, so what was once a buffer stays
//! mapped: without a reader as empty private memory, from which the next reader's takes the place.
//!
//! A program that sets a filter of system calls is watched no more ([`forbid`]): the calls made here are not
//! the program's, and may be what its filter ends it for.
//!
//! What it does not do: know what a record is (`trace`), or answer for a process without rings.

mod socket;

use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use rust_alloc::boxed::Box;
use rust_alloc::vec::Vec;

use ringer_engine::host::Clock;
use ringer_engine::trace::RingState;
use ringer_engine::trace::buffer::{Buffer, HEADER, SLOT, is_size};
use ringer_engine::trace::channel::{Answer, GREETING};
use ringer_ring::Map;
use ringer_uapi::Errno;

use crate::keeper::{self, Cloexec};
use crate::lock::ForkMutex;
use crate::raw::{self, SysResult, general as g};
use crate::{clock, generation, trace};

pub use socket::{allow, forbid, unlink};

/// Event data of the listener and of the peer; rings' names are shorter.
const LISTENER: u64 = u64::MAX;
const PEER: u64 = u64::MAX - 1;
/// Between two looks at the rings \[ns\].
const LOOK_NS: u64 = 100_000_000;
/// How long a peer may keep silent, and a listener without a free number rests \[ns\].
const PATIENCE_NS: u64 = 1_000_000_000;

/// Who is told what a ring is doing.
pub type Tell<'a> = &'a mut dyn FnMut(&RingState);

/// What the process's engine does for a reader.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    /// Traces requests from now on, or no more.
    pub trace: fn(bool),
    /// Tells what each ring is doing, without waiting for any.
    pub states: fn(Tell<'_>),
}

static HOOKS: ForkMutex<Option<Hooks>> = ForkMutex::new(None);
/// The generation of the process whose watcher has the socket.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Sets what is called when a reader comes, looks and goes.
pub fn serve(hooks: Hooks) {
    *HOOKS.lock() = Some(hooks);
}

fn hooks() -> Option<Hooks> {
    *HOOKS.lock()
}

/// Who connected.
#[derive(Debug)]
struct Peer {
    socket: i32,
    pid: u32,
    /// When it came, or the last look at the rings.
    since_ns: u64,
    watching: Option<&'static Buffer>,
}

/// Memory that is, or was, a buffer: it stays mapped.
#[derive(Clone, Copy, Debug)]
struct Region {
    at: usize,
    buffer: &'static Buffer,
}

/// See the module's doc. It belongs to the watcher's thread.
#[derive(Debug)]
pub(crate) struct Attach {
    epoll: i32,
    listener: i32,
    /// Until when no connection is taken, since none could be.
    rests_until_ns: Option<u64>,
    peer: Option<Peer>,
    sessions: u64,
    regions: Vec<Region>,
}

impl Attach {
    /// On a watcher's thread: makes the process's socket, unless it has one or cannot have one.
    pub(crate) fn begin(epoll: i32) -> Option<Self> {
        let me = generation::current();
        if TAKEN.swap(me, Relaxed) == me {
            return None;
        }
        let listener = socket::listen()?;
        if raw::epoll_ctl(epoll, g::EPOLL_CTL_ADD, listener, Some((g::EPOLLIN, LISTENER))).is_err()
        {
            let _ = raw::close(listener);
            unlink();
            return None;
        }
        let (peer, regions) = (None, Vec::new());
        Some(Self { epoll, listener, rests_until_ns: None, peer, sessions: 0, regions })
    }

    /// How long to wait for events at most \[ms, -1: without end\].
    pub(crate) fn timeout_ms(&self) -> i32 {
        let busy = self.peer.is_some() || self.rests_until_ns.is_some();
        if busy { (LOOK_NS / 1_000_000) as i32 } else { -1 }
    }

    /// Something happened; false if it is nothing of ours.
    pub(crate) fn event(&mut self, data: u64) -> bool {
        match data {
            LISTENER | PEER if !socket::is_allowed() => self.end(),
            LISTENER => self.accept(),
            PEER => self.hear(),
            _ => return false,
        }
        true
    }

    /// Nobody may watch any more. Only with calls that the keeper makes anyway: a filter may forbid others.
    fn end(&mut self) {
        // Once: its number may be another's by the next time.
        let listener = core::mem::replace(&mut self.listener, -1);
        if listener < 0 {
            return;
        }
        let _ = raw::epoll_ctl(self.epoll, g::EPOLL_CTL_DEL, listener, None);
        if let Some(peer) = self.peer.take() {
            if peer.watching.is_some() {
                // Its memory stays mapped.
                stop_tracing();
            }
            let _ = raw::close(peer.socket);
        }
        let _ = raw::close(listener);
        self.rests_until_ns = None;
    }

    /// Time passed, or something happened.
    pub(crate) fn tick(&mut self) {
        if self.peer.is_some() && !socket::is_allowed() {
            return self.end();
        }
        let now_ns = now();
        if self.rests_until_ns.is_some_and(|until| now_ns >= until) {
            self.rests_until_ns = None;
            self.listen_for(g::EPOLLIN);
        }
        let Some(peer) = &mut self.peer else { return };
        let passed = now_ns.saturating_sub(peer.since_ns);
        match peer.watching {
            Some(buffer) if passed >= LOOK_NS => {
                peer.since_ns = now_ns;
                tell_states(buffer);
            }
            None if passed >= PATIENCE_NS => self.leave(),
            _ => {}
        }
    }

    fn listen_for(&self, events: u32) {
        let _ =
            raw::epoll_ctl(self.epoll, g::EPOLL_CTL_MOD, self.listener, Some((events, LISTENER)));
    }

    fn accept(&mut self) {
        let socket = match socket::accept(self.listener) {
            Ok(socket) => socket,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => return,
            Err(_) => {
                // No number, no memory: it stays readable, and looking on would burn a processor.
                self.rests_until_ns = Some(now() + PATIENCE_NS);
                return self.listen_for(0);
            }
        };
        let Some(pid) = socket::trusted_peer(socket) else {
            let _ = raw::close(socket);
            return;
        };
        if let Some(Peer { pid, watching: Some(_), .. }) = self.peer {
            return turn_away(socket, Answer::Busy { pid });
        }
        // One that connected and said nothing makes room.
        self.leave();
        if raw::epoll_ctl(self.epoll, g::EPOLL_CTL_ADD, socket, Some((g::EPOLLIN, PEER))).is_err() {
            let _ = raw::close(socket);
            return;
        }
        self.peer = Some(Peer { socket, pid, since_ns: now(), watching: None });
        self.hear();
    }

    /// The peer said something, or is gone.
    fn hear(&mut self) {
        let Some(Peer { socket, watching, .. }) = self.peer else { return };
        let mut said = [0; GREETING.len()];
        let heard = keeper::passing::receive_with(socket, Cloexec::Yes, &mut said);
        let (n, got) = match heard {
            Ok(heard) => heard,
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            Err(_) => return self.leave(),
        };
        let answer = match got.first() {
            Some(&memory) if n == said.len() && said == GREETING && watching.is_none() => {
                self.watch(memory)
            }
            // The end, or something that no reader of ours says.
            _ => Err(Errno::EINVAL),
        };
        keeper::close_all(&got);
        match answer {
            Ok(Answer::Watched) if socket::say(socket, Answer::Watched).is_ok() => {}
            Ok(answer) => {
                let _ = socket::say(socket, answer);
                self.leave();
            }
            Err(_) => self.leave(),
        }
    }

    /// The peer gets a trace in that memory.
    fn watch(&mut self, memory: i32) -> SysResult<Answer> {
        let hooks = hooks().ok_or(Errno::ENXIO)?;
        let Ok(buffer) = self.map(memory) else { return Ok(Answer::NoBuffer) };
        self.sessions += 1;
        buffer.begin(raw::getpid(), now(), self.sessions);
        if !trace::try_set_buffer(buffer) {
            self.unmap(buffer);
            return Ok(Answer::Traced);
        }
        if let Some(peer) = &mut self.peer {
            peer.watching = Some(buffer);
            peer.since_ns = now();
        }
        (hooks.trace)(true);
        tell_states(buffer);
        Ok(Answer::Watched)
    }

    /// The peer is left, and with it its memory.
    fn leave(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        if let Some(buffer) = peer.watching {
            stop_tracing();
            self.unmap(buffer);
        }
        // What it waits for in the epoll goes with it.
        let _ = raw::close(peer.socket);
    }

    /// Maps a reader's memory as a buffer.
    fn map(&mut self, memory: i32) -> SysResult<&'static Buffer> {
        let len = sealed_len(memory)?;
        let slots = ((len - HEADER) / SLOT) as u64;
        let known = self.regions.iter().position(|r| r.buffer.slots() == slots);
        let region = known.and_then(|i| self.regions.get(i).copied());
        let place = region.map_or(Place::Anywhere, |r| Place::At(r.at));
        // Page by page at the first touch it would be the requests that pay.
        let at = map(place, len, g::MAP_SHARED | g::MAP_POPULATE, memory)?;
        // A forked child has no use for it, and would keep it.
        // SAFETY: a mapping of ours; what a child lacks of it it does not look for.
        let _ = unsafe { raw::madvise(at, len, g::MADV_DONTFORK) };
        if let Some(region) = region {
            return Ok(region.buffer);
        }
        let region = Region { at, buffer: new_buffer(at, len)? };
        self.regions.push(region);
        Ok(region.buffer)
    }

    /// Puts private memory into a buffer's place: who is late to write writes there.
    fn unmap(&mut self, buffer: &'static Buffer) {
        let Some(region) = self.regions.iter().find(|r| core::ptr::eq(r.buffer, buffer)) else {
            return;
        };
        let len = HEADER + buffer.slots() as usize * SLOT;
        let flags = g::MAP_PRIVATE | g::MAP_ANONYMOUS | g::MAP_NORESERVE;
        // Refused, the old memory stays, which is as good but for its pages.
        let _ = map(Place::At(region.at), len, flags, -1);
    }
}

fn stop_tracing() {
    if let Some(hooks) = hooks() {
        (hooks.trace)(false);
    }
    trace::set_buffer(None);
}

/// Tells a peer that it is not wanted.
fn turn_away(socket: i32, answer: Answer) {
    // What it said already: unread, it would make the end come before the answer.
    if let Ok((_, got)) = keeper::passing::receive_with(socket, Cloexec::Yes, &mut [0]) {
        keeper::close_all(&got);
    }
    let _ = socket::say(socket, answer);
    let _ = raw::close(socket);
}

fn tell_states(buffer: &Buffer) {
    if let Some(hooks) = hooks() {
        let time_ns = now();
        (hooks.states)(&mut |state| buffer.state(time_ns, state));
    }
}

fn now() -> u64 {
    clock::now(Clock::Monotonic)
}

/// How long a file is, if it is a buffer's and nobody can make it shorter or longer any more.
///
/// # Errors
/// `EINVAL`: it is something else.
fn sealed_len(memory: i32) -> SysResult<usize> {
    const F_SEAL_SHRINK: i32 = 2;
    const F_SEAL_GROW: i32 = 4;
    let seals = raw::fcntl(memory, g::F_GET_SEALS, 0)?;
    let len = usize::try_from(raw::fstat(memory)?.st_size).map_err(|_| Errno::EINVAL)?;
    let slots = len.checked_sub(HEADER).ok_or(Errno::EINVAL)? / SLOT;
    let sealed = F_SEAL_SHRINK | F_SEAL_GROW;
    let good = seals & sealed == sealed && is_size(slots as u64) && len == HEADER + slots * SLOT;
    if good { Ok(len) } else { Err(Errno::EINVAL) }
}

/// Where to map.
#[derive(Clone, Copy, Debug)]
enum Place {
    Anywhere,
    /// In the place of a region of ours.
    At(usize),
}

fn map(place: Place, len: usize, flags: u32, fd: i32) -> SysResult<usize> {
    let (at, fixed) = match place {
        Place::Anywhere => (0, 0),
        Place::At(at) => (at, g::MAP_FIXED),
    };
    // SAFETY: at an address of the kernel's choice; or in the place of a region of that length, which is
    // ours and used through atomics only, whichever memory is there.
    unsafe { raw::mmap(at, len, g::PROT_READ | g::PROT_WRITE, flags | fixed, fd, 0) }
}

fn new_buffer(at: usize, len: usize) -> SysResult<&'static Buffer> {
    let start = core::ptr::with_exposed_provenance_mut(at);
    let start = NonNull::new(start).ok_or(Errno::ENOMEM)?;
    // SAFETY:
    // 1. `start` is a page-aligned mapping of `len` bytes, in whose place other memory may come, but
    //    never none.
    // 2. It is used through this `Map` only, which is atomic.
    let map = unsafe { Map::new(start, len) };
    let buffer = Buffer::over(map).ok_or(Errno::EINVAL)?;
    Ok(Box::leak(Box::new(buffer)))
}
