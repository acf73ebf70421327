//! Open files in RAM: regular files, pipe ends, sockets, eventfds, epoll sets.
//!
//! ```text
//!  Open (pipe write end) --tx--> Chan --rx-- Open (pipe read end)
//!  Open (socket)  --tx--> Chan --rx-- Open (socket)      and the same the other way
//!  Open (Net: idle, listening, connecting, connected --> an Open as above)
//! ```
//!
//! Whether a peer still exists is asked of its `Weak`: the last reference to an end is its close.
//! What it does not do: wait, or know descriptor numbers.

use crate::sched::lock;
use ringer_engine::host::FileKind;
use ringer_uapi::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, Weak};

pub(crate) const POLLIN: u32 = 1;
pub(crate) const POLLOUT: u32 = 4;
pub(crate) const POLLERR: u32 = 8;
pub(crate) const POLLHUP: u32 = 0x10;
pub(crate) const POLLNVAL: u32 = 0x20;
pub(crate) const POLLRDHUP: u32 = 0x2000;

/// A regular file.
#[derive(Debug, Default)]
pub(crate) struct RamFile {
    pub(crate) data: Vec<u8>,
    /// Bytes below this are in the page cache: `RWF_NOWAIT` reads no further.
    pub(crate) cached: usize,
    /// Extended attributes by name.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Bytes on their way from one end to another.
#[derive(Debug)]
pub(crate) struct Chan {
    bytes: Mutex<VecDeque<u8>>,
    /// Sent and not there yet.
    transit: Mutex<VecDeque<u8>>,
    capacity: usize,
    /// Nothing is put in any more.
    shut: AtomicBool,
    /// Bytes put in and taken out, ever.
    pub(crate) total_in: AtomicU64,
    pub(crate) total_out: AtomicU64,
    /// Writes and reads so far: edges for whoever polls the ends.
    wrote: AtomicU64,
    took: AtomicU64,
}

impl Chan {
    fn new(capacity: usize) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            bytes: Mutex::default(),
            transit: Mutex::default(),
            capacity,
            shut: AtomicBool::new(false),
            total_in: zero(),
            total_out: zero(),
            wrote: zero(),
            took: zero(),
        })
    }

    /// Nothing is put in any more: the end of the stream.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Relaxed);
        self.wrote.fetch_add(1, Relaxed);
        self.took.fetch_add(1, Relaxed);
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Relaxed)
    }

    /// Nothing comes out any more, if nobody puts anything in.
    fn is_drained(&self) -> bool {
        self.len() == 0 && lock(&self.transit).is_empty()
    }

    /// Sends bytes that are there only after [`Chan::arrive`]. True: somebody has to call that.
    pub(crate) fn send_late(&self, from: &[u8]) -> bool {
        let mut transit = lock(&self.transit);
        let first = transit.is_empty();
        self.total_in.fetch_add(from.len() as u64, Relaxed);
        transit.extend(from);
        first
    }

    /// Whether something is on its way, which nothing may overtake.
    pub(crate) fn in_transit(&self) -> bool {
        !lock(&self.transit).is_empty()
    }

    /// What is on its way is there now.
    pub(crate) fn arrive(&self) {
        let mut transit = lock(&self.transit);
        lock(&self.bytes).extend(transit.drain(..));
        self.wrote.fetch_add(1, Relaxed);
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.bytes).len()
    }

    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.len() + lock(&self.transit).len())
    }

    pub(crate) fn put(&self, from: &[u8]) {
        if self.in_transit() {
            self.send_late(from);
            return;
        }
        self.total_in.fetch_add(from.len() as u64, Relaxed);
        lock(&self.bytes).extend(from);
        self.wrote.fetch_add(1, Relaxed);
    }

    pub(crate) fn take(&self, n: usize, keep: bool) -> Vec<u8> {
        let mut bytes = lock(&self.bytes);
        let n = n.min(bytes.len());
        if keep {
            return bytes.iter().take(n).copied().collect();
        }
        self.took.fetch_add(1, Relaxed);
        self.total_out.fetch_add(n as u64, Relaxed);
        bytes.drain(..n).collect()
    }
}

/// Datagrams on their way.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    messages: Mutex<VecDeque<Vec<u8>>>,
    wrote: AtomicU64,
    took: AtomicU64,
    pub(crate) total_in: AtomicU64,
    pub(crate) total_out: AtomicU64,
}

/// Most datagrams that wait for their receiver.
const QUEUE_MAX: usize = 4;

impl Queue {
    fn has_room(&self) -> bool {
        lock(&self.messages).len() < QUEUE_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.messages).is_empty()
    }

    /// Queues a datagram, if there is room.
    pub(crate) fn put(&self, from: &[u8]) -> Option<()> {
        self.has_room().then(|| {
            lock(&self.messages).push_back(from.to_vec());
            self.wrote.fetch_add(1, Relaxed);
            self.total_in.fetch_add(1, Relaxed);
        })
    }

    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let message = lock(&self.messages).pop_front()?;
        self.took.fetch_add(1, Relaxed);
        self.total_out.fetch_add(1, Relaxed);
        Some(message)
    }
}

/// When datagrams of a socket were sent: its error queue, once somebody asked for that.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    asked: AtomicBool,
    keys: Mutex<VecDeque<u32>>,
    next: AtomicU32,
}

impl Sent {
    pub(crate) fn ask(&self) {
        self.asked.store(true, Relaxed);
    }

    pub(crate) fn take(&self) -> Option<u32> {
        lock(&self.keys).pop_front()
    }

    fn note(&self) {
        if self.asked.load(Relaxed) {
            lock(&self.keys).push_back(self.next.fetch_add(1, Relaxed));
        }
    }

    fn is_empty(&self) -> bool {
        lock(&self.keys).is_empty()
    }
}

/// What a socket is that was not born connected.
#[derive(Debug)]
pub(crate) enum Net {
    Idle,
    Listening {
        /// Connections that nobody has accepted.
        backlog: VecDeque<Arc<Open>>,
        max: usize,
    },
    Connecting,
    /// This end of the connection.
    Connected(Arc<Open>),
    /// The connection could not be made: told once.
    Failed(Errno),
}

/// What an epoll set watches: descriptor to events, data and the file.
pub(crate) type EpollSet = BTreeMap<i32, (u32, u64, Weak<Open>)>;

/// What an open file is.
#[derive(Debug)]
pub(crate) enum Body {
    Regular { file: Arc<Mutex<RamFile>>, pos: AtomicU64 },
    Stream { rx: Option<Arc<Chan>>, tx: Option<Arc<Chan>>, socket: bool },
    Event { count: AtomicU64, signals: AtomicU64 },
    Dgram { rx: Arc<Queue>, tx: Arc<Queue>, sent: Sent },
    Net { state: Mutex<Net>, edges: AtomicU64 },
    Epoll(Mutex<EpollSet>),
}

/// An open file description.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) body: Body,
    peer: OnceLock<Weak<Open>>,
    /// `F_GETFL`.
    pub(crate) flags: AtomicU32,
}

const O_RDWR: u32 = 2;

impl Open {
    fn new(body: Body) -> Arc<Self> {
        Arc::new(Self { body, peer: OnceLock::new(), flags: AtomicU32::new(O_RDWR) })
    }

    /// Two datagram sockets.
    pub(crate) fn dgrams() -> (Arc<Self>, Arc<Self>) {
        let (a, b) = (Arc::<Queue>::default(), Arc::<Queue>::default());
        let of = |rx: &Arc<Queue>, tx: &Arc<Queue>| Body::Dgram {
            rx: rx.clone(),
            tx: tx.clone(),
            sent: Sent::default(),
        };
        Self::pair(of(&a, &b), of(&b, &a))
    }

    pub(crate) fn epoll() -> Arc<Self> {
        Self::new(Body::Epoll(Mutex::default()))
    }

    /// A socket that is not connected yet.
    pub(crate) fn net(state: Net) -> Arc<Self> {
        Self::new(Body::Net { state: Mutex::new(state), edges: AtomicU64::new(0) })
    }

    /// Changes the state of a socket, which wakes who polls it.
    pub(crate) fn set_net(&self, to: Net) {
        if let Body::Net { state, edges } = &self.body {
            let was = core::mem::replace(&mut *lock(state), to);
            edges.fetch_add(1, Relaxed);
            drop(was);
        }
    }

    /// The end of a connection that this file stands for: itself, or what it was connected to.
    pub(crate) fn end(self: &Arc<Self>) -> Arc<Self> {
        match &self.body {
            Body::Net { state, .. } => match &*lock(state) {
                Net::Connected(end) => end.clone(),
                _ => self.clone(),
            },
            _ => self.clone(),
        }
    }

    pub(crate) fn has_flag(&self, flag: u32) -> bool {
        self.flags.load(Relaxed) & flag != 0
    }

    pub(crate) fn regular(file: Arc<Mutex<RamFile>>) -> Arc<Self> {
        Self::new(Body::Regular { file, pos: AtomicU64::new(0) })
    }

    pub(crate) fn event(count: u64) -> Arc<Self> {
        Self::new(Body::Event { count: AtomicU64::new(count), signals: AtomicU64::new(0) })
    }

    fn pair(a: Body, b: Body) -> (Arc<Self>, Arc<Self>) {
        let (a, b) = (Self::new(a), Self::new(b));
        // Both cells are fresh.
        let _ = a.peer.set(Arc::downgrade(&b));
        let _ = b.peer.set(Arc::downgrade(&a));
        (a, b)
    }

    /// (read end, write end).
    pub(crate) fn pipe(capacity: usize) -> (Arc<Self>, Arc<Self>) {
        let c = Chan::new(capacity);
        Self::pair(
            Body::Stream { rx: Some(c.clone()), tx: None, socket: false },
            Body::Stream { rx: None, tx: Some(c), socket: false },
        )
    }

    pub(crate) fn socketpair(capacity: usize) -> (Arc<Self>, Arc<Self>) {
        let (a, b) = (Chan::new(capacity), Chan::new(capacity));
        Self::pair(
            Body::Stream { rx: Some(a.clone()), tx: Some(b.clone()), socket: true },
            Body::Stream { rx: Some(b), tx: Some(a), socket: true },
        )
    }

    pub(crate) fn kind(&self) -> FileKind {
        match &self.body {
            Body::Regular { .. } => FileKind::Regular,
            Body::Stream { socket: true, .. } => FileKind::Socket,
            Body::Stream { .. } => FileKind::Pipe,
            Body::Dgram { .. } | Body::Net { .. } => FileKind::Socket,
            Body::Event { .. } | Body::Epoll(_) => FileKind::Other,
        }
    }

    /// The other end was closed.
    pub(crate) fn peer_gone(&self) -> bool {
        self.peer.get().is_some_and(|p| p.strong_count() == 0)
    }

    /// Nothing more can come out of this end.
    pub(crate) fn at_end(&self) -> bool {
        let Body::Stream { rx: Some(chan), .. } = &self.body else { return false };
        (self.peer_gone() || chan.is_shut()) && chan.is_drained()
    }

    /// Nothing more can be put into this end.
    pub(crate) fn is_broken(&self) -> bool {
        let Body::Stream { tx: Some(chan), .. } = &self.body else { return false };
        self.peer_gone() || chan.is_shut()
    }

    /// Everything poll(2) would say now.
    pub(crate) fn mask(&self) -> u32 {
        let when = |is: bool, bits: u32| if is { bits } else { 0 };
        match &self.body {
            Body::Regular { .. } => POLLIN | POLLOUT,
            Body::Event { count, .. } => POLLOUT | when(count.load(Relaxed) > 0, POLLIN),
            Body::Dgram { rx, tx, sent } => {
                when(!rx.is_empty(), POLLIN)
                    | when(tx.has_room(), POLLOUT)
                    | when(!sent.is_empty(), POLLERR)
            }
            Body::Epoll(set) => when(!ready_in(&lock(set)).is_empty(), POLLIN),
            Body::Net { state, .. } => match &*lock(state) {
                Net::Idle => POLLOUT | POLLHUP,
                Net::Connecting => 0,
                Net::Listening { backlog, .. } => when(!backlog.is_empty(), POLLIN),
                Net::Connected(end) => end.mask(),
                Net::Failed(_) => POLLIN | POLLOUT | POLLERR | POLLHUP,
            },
            Body::Stream { rx, tx, socket } => {
                let eof = self.at_end();
                let ended = |c: &Option<Arc<Chan>>| c.as_ref().is_none_or(|c| c.is_shut());
                let readable = rx.as_ref().is_some_and(|c| c.len() > 0);
                let m = when(readable || eof && *socket, POLLIN)
                    | when(tx.as_ref().is_some_and(|c| c.room() > 0) || self.is_broken(), POLLOUT);
                let gone = self.peer_gone();
                m | match (rx, socket) {
                    (_, true) => {
                        when(gone || ended(rx) && ended(tx), POLLHUP)
                            | when(gone || ended(rx), POLLRDHUP)
                    }
                    (Some(_), false) => when(gone || ended(rx), POLLHUP),
                    (None, false) => when(gone || ended(tx), POLLERR),
                }
            }
        }
    }

    /// Changes whenever something happened that wakes who polls this file.
    pub(crate) fn edge(&self) -> u64 {
        self.edge_for(!0)
    }

    /// Changes whenever something happened that wakes who polls this file for these events: what
    /// comes in wakes who wants that, room who wants that, the rest everybody.
    pub(crate) fn edge_for(&self, events: u32) -> u64 {
        let of = |class: u32, n: &AtomicU64| if events & class == 0 { 0 } else { n.load(Relaxed) };
        match &self.body {
            Body::Regular { .. } => 0,
            Body::Epoll(set) => {
                let of = |(_, _, open): &(u32, u64, Weak<Open>)| open.upgrade().map(|o| o.edge());
                let set = lock(set);
                let edges = set.values().filter_map(of).fold(0, u64::wrapping_add);
                edges.wrapping_add((set.len() as u64) << 48)
            }
            Body::Event { signals, .. } => of(POLLIN, signals),
            Body::Dgram { rx, tx, sent } => {
                let stamped = u64::from(sent.next.load(Relaxed)) << 32;
                of(POLLIN, &rx.wrote) + of(POLLOUT, &tx.took) + stamped
            }
            Body::Net { state, edges } => {
                let inner = match &*lock(state) {
                    Net::Connected(end) => end.edge_for(events),
                    _ => 0,
                };
                edges.load(Relaxed).wrapping_add(inner)
            }
            Body::Stream { rx, tx, .. } => {
                let shut = |c: &Arc<Chan>| u64::from(c.is_shut()) << 62;
                let wrote = rx.as_ref().map_or(0, |c| of(POLLIN, &c.wrote) + shut(c));
                let took = tx.as_ref().map_or(0, |c| of(POLLOUT, &c.took) + shut(c));
                wrote.wrapping_add(took).wrapping_add(u64::from(self.peer_gone()) << 63)
            }
        }
    }

    /// Sends a datagram, if there is room.
    pub(crate) fn send(&self, message: &[u8]) -> Option<()> {
        let Body::Dgram { tx, sent, .. } = &self.body else { return None };
        tx.put(message)?;
        sent.note();
        Some(())
    }

    /// Adds to an eventfd.
    pub(crate) fn signal(&self, n: u64) -> Result<(), Errno> {
        let Body::Event { count, signals } = &self.body else { return Err(Errno::EINVAL) };
        count.fetch_add(n, Relaxed);
        signals.fetch_add(1, Relaxed);
        Ok(())
    }
}

/// What is ready in an epoll set: events and data. All are reported by level.
pub(crate) fn ready_in(set: &EpollSet) -> Vec<(u32, u64)> {
    let ready = |(events, data, open): &(u32, u64, Weak<Open>)| {
        let mask = open.upgrade()?.mask() & (events | POLLERR | POLLHUP);
        (mask != 0).then_some((mask, *data))
    };
    set.values().filter_map(ready).collect()
}
