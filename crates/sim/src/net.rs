//! Sockets that listen, connect and accept, in RAM; what the host's socket calls do.
//!
//! ```text
//!  connect: Idle --listener there--> Connected(end) , other end --> backlog --accept--> a descriptor
//!             '--O_NONBLOCK, late--> Connecting --later--> Connected | Failed(ECONNREFUSED)
//! ```
//!
//! An address is its bytes. What it does not do: families, options, out-of-band data.

use crate::host::SimHost;
use crate::object::{Body, Net, Open};
use crate::policy::Fault;
use crate::sched::lock;
use crate::world::{Entry, World};
use ringer_engine::host::{FileKind, HostResult, Iovec, SockAddr};
use ringer_uapi::Errno;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

/// Capacity of a connection \[bytes\].
const STREAM: usize = 4096;
pub(crate) const O_NONBLOCK: u32 = 0o4000;
/// Longest time that a connection takes \[ns\].
const CONNECT_NS: u64 = 3_000_000;
const MSG_PEEK: u32 = 2;
const MSG_DONTWAIT: u32 = 0x40;

/// Connects a socket to whoever listens at an address. `None`: nobody can take it just now.
pub(crate) fn join(world: &Mutex<World>, open: &Open, addr: &[u8]) -> Option<HostResult<()>> {
    let listener = lock(world).listeners.get(addr).and_then(std::sync::Weak::upgrade);
    let Some(listener) = listener else { return Some(Err(Errno::ECONNREFUSED)) };
    let Body::Net { state, edges } = &listener.body else { return Some(Err(Errno::ECONNREFUSED)) };
    let mut listening = lock(state);
    let Net::Listening { backlog, max } = &mut *listening else {
        return Some(Err(Errno::ECONNREFUSED));
    };
    if backlog.len() >= *max {
        return None;
    }
    let (mine, theirs) = Open::socketpair(STREAM);
    backlog.push_back(theirs);
    edges.fetch_add(1, Relaxed);
    drop(listening);
    open.set_net(Net::Connected(mine));
    Some(Ok(()))
}

impl SimHost {
    fn socket(&self, fd: i32) -> HostResult<Arc<Open>> {
        let open = self.open(fd)?;
        if open.kind() == FileKind::Socket { Ok(open) } else { Err(Errno::ENOTSOCK) }
    }

    pub(crate) fn is_listening(&self, fd: i32) -> HostResult<bool> {
        let open = self.socket(fd)?;
        let Body::Net { state, .. } = &open.body else { return Ok(false) };
        let listening = matches!(&*lock(state), Net::Listening { .. });
        Ok(listening)
    }

    pub(crate) fn connect_to(&self, fd: i32, to: &SockAddr) -> HostResult<()> {
        self.app_call("connect", fd)?;
        let open = self.socket(fd)?;
        let Body::Net { state, .. } = &open.body else { return Err(Errno::EISCONN) };
        match &*lock(state) {
            Net::Idle | Net::Failed(_) => {}
            Net::Connecting => return Err(Errno::EALREADY),
            Net::Listening { .. } => return Err(Errno::EINVAL),
            Net::Connected(_) => return Err(Errno::EISCONN),
        }
        let addr = to.bytes.get(..to.len as usize).unwrap_or(&[]).to_vec();
        let nonblocking = open.has_flag(O_NONBLOCK);
        if nonblocking && self.sched.strikes(Fault::Late) {
            self.connect_later(open, addr);
            return Err(Errno::EINPROGRESS);
        }
        let done = self.stream(!nonblocking, || join(&self.world, &open, &addr))?;
        self.sched.changed();
        done
    }

    fn connect_later(&self, open: Arc<Open>, addr: Vec<u8>) {
        open.set_net(Net::Connecting);
        let (world, ns) = (self.world.clone(), self.sched.policy.amount(CONNECT_NS));
        let action = move || {
            let joined = join(&world, &open, &addr).unwrap_or(Err(Errno::ECONNREFUSED));
            if let Err(e) = joined {
                open.set_net(Net::Failed(e));
            }
        };
        self.sched.at(ns, Box::new(action));
    }

    pub(crate) fn connect_error(&self, fd: i32) -> HostResult<()> {
        let open = self.socket(fd)?;
        let Body::Net { state, .. } = &open.body else { return Ok(()) };
        let mut state = lock(state);
        if let Net::Failed(e) = *state {
            *state = Net::Idle;
            return Err(e);
        }
        Ok(())
    }

    pub(crate) fn accept_from(&self, fd: i32) -> HostResult<i32> {
        self.app_call("accept", fd)?;
        let open = self.socket(fd)?;
        let Body::Net { state, .. } = &open.body else { return Err(Errno::EINVAL) };
        let next = || match &mut *lock(state) {
            Net::Listening { backlog, .. } => backlog.pop_front().map(Ok),
            _ => Some(Err(Errno::EINVAL)),
        };
        if self.fails_to_open() {
            return Err(Errno::EMFILE);
        }
        let end = self.stream(!open.has_flag(O_NONBLOCK), next)??;
        self.sched.changed();
        lock(&self.world).install(Entry::Open(end))
    }

    /// Bytes, and whether the message was longer.
    pub(crate) fn receive(&self, fd: i32, iovs: &[Iovec], flags: u32) -> HostResult<(u32, bool)> {
        self.app_call("recv", fd)?;
        let open = self.socket(fd)?.end();
        lock(&self.world).attempt(self.sched.tid(), iovs);
        let wait = flags & MSG_DONTWAIT == 0;
        match &open.body {
            Body::Net { .. } => Err(Errno::ENOTCONN),
            Body::Dgram { rx, .. } => {
                let message = self.stream(wait, || rx.take())?;
                self.sched.changed();
                let room: usize = iovs.iter().map(|v| v.len as usize).sum();
                let n = message.len().min(room);
                let n = lock(&self.world).scatter(iovs, message.get(..n).unwrap_or(&[]))?;
                Ok((n, message.len() > room))
            }
            _ => self.take(&open, iovs, wait, flags & MSG_PEEK != 0).map(|n| (n, false)),
        }
    }

    pub(crate) fn transmit(&self, fd: i32, iovs: &[Iovec], flags: u32) -> HostResult<u32> {
        self.app_call("send", fd)?;
        let open = self.socket(fd)?.end();
        lock(&self.world).attempt(self.sched.tid(), iovs);
        let wait = flags & MSG_DONTWAIT == 0;
        match &open.body {
            Body::Net { .. } => Err(Errno::ENOTCONN),
            Body::Dgram { tx, .. } => {
                let len = iovs.iter().map(|v| v.len as usize).sum();
                let message = lock(&self.world).collect(iovs, len)?;
                self.stream(wait, || tx.put(&message))?;
                self.sched.changed();
                Ok(message.len() as u32)
            }
            _ => self.put(&open, iovs, wait),
        }
    }

    pub(crate) fn shut_down(&self, fd: i32, how: i32) -> HostResult<()> {
        self.app_call("shutdown", fd)?;
        let open = self.socket(fd)?.end();
        if !(0..=2).contains(&how) {
            return Err(Errno::EINVAL);
        }
        let Body::Stream { rx, tx, .. } = &open.body else { return Err(Errno::ENOTCONN) };
        if let Some(rx) = rx.as_ref().filter(|_| how != 1) {
            rx.shut();
        }
        if let Some(tx) = tx.as_ref().filter(|_| how != 0) {
            tx.shut();
        }
        self.sched.changed();
        Ok(())
    }

    pub(crate) fn change_epoll(
        &self,
        epfd: i32,
        op: i32,
        fd: i32,
        event: Option<(u32, u64)>,
    ) -> HostResult<()> {
        self.call("epoll_ctl", epfd);
        let (set, target) = (self.open(epfd)?, self.open(fd)?);
        let Body::Epoll(set) = &set.body else { return Err(Errno::EINVAL) };
        if target.kind() == FileKind::Regular {
            return Err(Errno::EPERM);
        }
        let mut set = lock(set);
        match (op, event) {
            (1, Some(_)) if set.contains_key(&fd) => Err(Errno::EEXIST),
            (3, Some(_)) if !set.contains_key(&fd) => Err(Errno::ENOENT),
            (1 | 3, Some(event)) => {
                set.insert(fd, event);
                Ok(())
            }
            (2, _) => set.remove(&fd).map(drop).ok_or(Errno::ENOENT),
            _ => Err(Errno::EINVAL),
        }
    }
}
