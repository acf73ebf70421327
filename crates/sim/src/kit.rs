//! What a simulated application has beyond plain files, and what a checker may look at.

use crate::names::Node;
use crate::object::{Body, Chan, Net, Open, Queue};
use crate::sched::{Watchman, lock};
use crate::world::{Entry, HELD};
use crate::{Sim, net};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const O_DIRECT: u32 = 0o40000;

impl Sim {
    /// Two connected datagram sockets.
    pub fn datagrams(&self) -> (i32, i32) {
        let (a, b) = Open::dgrams();
        (self.install(a), self.install(b))
    }

    /// A socket that is not connected.
    pub fn socket(&self, nonblocking: bool) -> i32 {
        self.install_net(Net::Idle, nonblocking)
    }

    /// A socket that listens at `addr`, with room for `max` connections.
    pub fn listener(&self, addr: &[u8], nonblocking: bool, max: usize) -> i32 {
        let fd = self.install_net(Net::Listening { backlog: VecDeque::new(), max }, nonblocking);
        let open = Arc::downgrade(&self.open(fd));
        lock(&self.world).listeners.insert(addr.to_vec(), open);
        fd
    }

    fn install_net(&self, state: Net, nonblocking: bool) -> i32 {
        let open = Open::net(state);
        if nonblocking {
            open.flags.fetch_or(net::O_NONBLOCK, Relaxed);
        }
        self.install(open)
    }

    /// A child of that number, which lives.
    pub fn child(&self, pid: i32) {
        lock(&self.world).children.insert(pid, None);
    }

    /// It ends.
    pub fn end_child(&self, pid: i32, status: i32) {
        lock(&self.world).end_child(pid, status);
        self.sched.changed();
    }

    /// Wakes so many that sleep on the futex at this address: whether that is all of them is not said.
    pub fn wake_futex(&self, addr: u64, n: u32) {
        lock(&self.world).wake_futex(addr, n);
        self.sched.changed();
    }

    /// dup2(2) of the application, and a close of the first number, by calls that the host does not see.
    ///
    /// # Panics
    /// If `from` is not open.
    pub fn move_unseen(&self, from: i32, to: i32) {
        let mut world = lock(&self.world);
        let entry = world.fds.remove(&from).expect("an open descriptor");
        let gone = world.fds.insert(to, entry);
        drop(world);
        drop(gone);
        self.sched.changed();
    }

    /// An epoll set.
    pub fn epoll(&self) -> i32 {
        self.install(Open::epoll())
    }

    /// A directory with a name (without the NUL).
    pub fn directory(&self, name: &str) {
        let key = [name.as_bytes(), b"\0"].concat();
        lock(&self.world).names.insert(key, Node::Directory);
    }

    /// Opens a file for direct I/O, as IOPOLL rings ask for.
    pub fn make_direct(&self, fd: i32) {
        self.open(fd).flags.fetch_or(O_DIRECT, Relaxed);
    }

    /// Connects somebody to a listener and hangs up at once. False: nobody can take it now.
    pub fn dial(&self, addr: &[u8]) -> bool {
        let caller = Open::net(Net::Idle);
        let done = net::join(&self.world, &caller, addr) == Some(Ok(()));
        self.sched.changed();
        done
    }

    /// Numbers of descriptors are not given out twice from here on.
    pub fn fresh_numbers(&self) {
        let mut w = lock(&self.world);
        let next = w.fds.keys().rev().find(|fd| **fd < HELD).map_or(0, |fd| fd + 1);
        w.fresh_numbers = Some(next);
    }

    /// Closes every descriptor of the application but rings.
    pub fn close_all(&self) {
        let mut w = lock(&self.world);
        let is_file = |e: &Entry| matches!(e, Entry::Open(_));
        let fds: Vec<i32> =
            w.fds.range(..HELD).filter(|(_, e)| is_file(e)).map(|(f, _)| *f).collect();
        let gone: Vec<_> = fds.iter().filter_map(|fd| w.fds.remove(fd)).collect();
        drop(w);
        drop(gone);
        self.sched.changed();
    }

    /// Open files that anybody still refers to.
    pub fn open_files(&self) -> usize {
        lock(&self.world).opens.iter().filter(|o| o.strong_count() > 0).count()
    }

    /// Pollers that exist.
    pub fn pollers(&self) -> usize {
        lock(&self.world).pollers
    }

    /// Rings that exist.
    pub fn ring_objects(&self) -> usize {
        lock(&self.world).ring_objects
    }

    /// Memories of rings that the engine has.
    pub fn page_objects(&self) -> usize {
        lock(&self.world).page_objects
    }

    /// From here on no poller can watch another one.
    pub fn no_nesting(&self) {
        lock(&self.world).no_nesting = true;
    }

    /// Has every jump of the clock looked at.
    pub(crate) fn watch(&self, watchman: Option<Watchman>) {
        self.sched.watch(watchman);
    }

    /// What comes out of a descriptor.
    pub(crate) fn flow(&self, fd: i32) -> Option<Flow> {
        match &self.open(fd).body {
            Body::Stream { rx: Some(chan), .. } => Some(Flow::Bytes(chan.clone())),
            Body::Dgram { rx, .. } => Some(Flow::Messages(rx.clone())),
            _ => None,
        }
    }
}

/// Something that comes and goes, whoever has its ends.
#[derive(Clone, Debug)]
pub(crate) enum Flow {
    Bytes(Arc<Chan>),
    Messages(Arc<Queue>),
}

impl Flow {
    /// How much ever went (in, out).
    pub(crate) fn totals(&self) -> (u64, u64) {
        match self {
            Self::Bytes(c) => (c.total_in.load(Relaxed), c.total_out.load(Relaxed)),
            Self::Messages(q) => (q.total_in.load(Relaxed), q.total_out.load(Relaxed)),
        }
    }
}

/// Writes to whatever a descriptor names what the application would: bytes or messages that came.
pub(crate) fn feed(open: &Open, bytes: &[u8]) -> u64 {
    match &open.body {
        Body::Stream { tx: Some(chan), .. } if !open.is_broken() => {
            let n = bytes.len().min(chan.room());
            chan.put(bytes.get(..n).unwrap_or(&[]));
            n as u64
        }
        Body::Dgram { .. } => open.send(bytes).map_or(0, |()| 1),
        Body::Event { .. } => open.signal(1).map_or(0, |()| 1),
        _ => 0,
    }
}
