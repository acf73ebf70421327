//! Open files in RAM: regular files, pipe ends, sockets, eventfds.
//!
//! ```text
//!  Open (pipe write end) --tx--> Chan --rx-- Open (pipe read end)
//!  Open (socket)  --tx--> Chan --rx-- Open (socket)      and the same the other way
//! ```
//!
//! Whether a peer still exists is asked of its `Weak`: the last reference to an end is its close.
//! What it does not do: wait, or know descriptor numbers.

use crate::sched::lock;
use ringer_engine::host::FileKind;
use ringer_uapi::Errno;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
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
}

/// Bytes on their way from one end to another.
#[derive(Debug)]
pub(crate) struct Chan {
    bytes: Mutex<VecDeque<u8>>,
    capacity: usize,
    /// Writes and reads so far: edges for whoever polls the ends.
    wrote: AtomicU64,
    took: AtomicU64,
}

impl Chan {
    fn new(capacity: usize) -> Arc<Self> {
        let (wrote, took) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { bytes: Mutex::default(), capacity, wrote, took })
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.bytes).len()
    }

    pub(crate) fn room(&self) -> usize {
        self.capacity - self.len()
    }

    pub(crate) fn put(&self, from: &[u8]) {
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
        bytes.drain(..n).collect()
    }
}

/// What an open file is.
#[derive(Debug)]
pub(crate) enum Body {
    Regular { file: Arc<Mutex<RamFile>>, pos: AtomicU64 },
    Stream { rx: Option<Arc<Chan>>, tx: Option<Arc<Chan>>, socket: bool },
    Event { count: AtomicU64, signals: AtomicU64 },
}

/// An open file description.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) body: Body,
    peer: OnceLock<Weak<Open>>,
}

impl Open {
    fn new(body: Body) -> Arc<Self> {
        Arc::new(Self { body, peer: OnceLock::new() })
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
            Body::Event { .. } => FileKind::Other,
        }
    }

    /// The other end was closed.
    pub(crate) fn peer_gone(&self) -> bool {
        self.peer.get().is_some_and(|p| p.strong_count() == 0)
    }

    /// Everything poll(2) would say now.
    pub(crate) fn mask(&self) -> u32 {
        match &self.body {
            Body::Regular { .. } => POLLIN | POLLOUT,
            Body::Event { count, .. } => POLLOUT | if count.load(Relaxed) > 0 { POLLIN } else { 0 },
            Body::Stream { rx, tx, socket } => {
                let gone = self.peer_gone();
                let mut m = 0;
                if rx.as_ref().is_some_and(|c| c.len() > 0 || gone && *socket) {
                    m |= POLLIN;
                }
                if tx.as_ref().is_some_and(|c| c.room() > 0 || gone) {
                    m |= POLLOUT;
                }
                if gone {
                    m |= match (rx, socket) {
                        (_, true) => POLLHUP | POLLRDHUP,
                        (Some(_), false) => POLLHUP,
                        (None, false) => POLLERR,
                    };
                }
                m
            }
        }
    }

    /// Changes whenever something happened that wakes who polls this file.
    pub(crate) fn edge(&self) -> u64 {
        match &self.body {
            Body::Regular { .. } => 0,
            Body::Event { signals, .. } => signals.load(Relaxed),
            Body::Stream { rx, tx, .. } => {
                let wrote = rx.as_ref().map_or(0, |c| c.wrote.load(Relaxed));
                let took = tx.as_ref().map_or(0, |c| c.took.load(Relaxed));
                wrote + took + (u64::from(self.peer_gone()) << 63)
            }
        }
    }

    /// Adds to an eventfd.
    pub(crate) fn signal(&self, n: u64) -> Result<(), Errno> {
        let Body::Event { count, signals } = &self.body else { return Err(Errno::EINVAL) };
        count.fetch_add(n, Relaxed);
        signals.fetch_add(1, Relaxed);
        Ok(())
    }
}
