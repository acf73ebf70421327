//! Sockets that listen, connect and accept, in RAM; what the host's socket calls do.
//!
//! ```text
//!  connect: Idle --listener there--> Connected(end) , other end --> backlog --accept--> a descriptor
//!             '--O_NONBLOCK, late--> Connecting --later--> Connected | Failed(ECONNREFUSED)
//! ```
//!
//! An address is its bytes. What it does not do: families, options, out-of-band data.

use crate::host::SimHost;
use crate::object::{Body, Net, Open, ready_in};
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
const MSG_WAITALL: u32 = 0x100;
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

    /// Families up to 2 are there.
    pub(crate) fn make_socket(&self, family: i32, kind: u32) -> HostResult<i32> {
        self.app_call("socket", -1)?;
        if !(1..=2).contains(&family) {
            return Err(Errno::EAFNOSUPPORT);
        }
        if self.fails_to_open() {
            return Err(Errno::EMFILE);
        }
        let open = Open::net(Net::Idle);
        if kind & O_NONBLOCK != 0 {
            open.flags.fetch_or(O_NONBLOCK, Relaxed);
        }
        lock(&self.world).install(Entry::Open(open))
    }

    /// Both ends of a new pipe.
    pub(crate) fn make_pipe(&self) -> HostResult<[i32; 2]> {
        self.app_call("pipe2", -1)?;
        if self.fails_to_open() {
            return Err(Errno::EMFILE);
        }
        let (r, w) = Open::pipe(STREAM);
        let mut world = lock(&self.world);
        Ok([world.install(Entry::Open(r))?, world.install(Entry::Open(w))?])
    }

    /// A name is only asked for: who has it already.
    pub(crate) fn bind_to(&self, fd: i32, to: &SockAddr) -> HostResult<()> {
        self.app_call("bind", fd)?;
        let open = self.socket(fd)?;
        let addr = to.bytes.get(..to.len as usize).unwrap_or(&[]);
        let taken = lock(&self.world).listeners.contains_key(addr);
        match &open.body {
            Body::Net { state, .. } if matches!(&*lock(state), Net::Idle) => {
                if taken {
                    Err(Errno::EADDRINUSE)
                } else {
                    Ok(())
                }
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// One that listens gets more room, or less.
    pub(crate) fn let_listen(&self, fd: i32, backlog: i32) -> HostResult<()> {
        self.app_call("listen", fd)?;
        let open = self.socket(fd)?;
        let Body::Net { state, .. } = &open.body else { return Err(Errno::EINVAL) };
        match &mut *lock(state) {
            Net::Listening { max, .. } => {
                *max = backlog.max(1) as usize;
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
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
            // Of what is to be had whole a part may come, as a signal leaves it.
            _ if flags & MSG_WAITALL != 0 => {
                self.take(&open, iovs, wait, flags & MSG_PEEK != 0).map(|n| (n, false))
            }
            _ => self.take_packet(&open, iovs, wait, flags & MSG_PEEK != 0).map(|n| (n, false)),
        }
    }

    pub(crate) fn transmit(&self, fd: i32, iovs: &[Iovec], flags: u32) -> HostResult<u32> {
        self.app_call("send", fd)?;
        let open = self.socket(fd)?.end();
        lock(&self.world).attempt(self.sched.tid(), iovs);
        let wait = flags & MSG_DONTWAIT == 0;
        match &open.body {
            Body::Net { .. } => Err(Errno::ENOTCONN),
            Body::Dgram { .. } => {
                let len = iovs.iter().map(|v| v.len as usize).sum();
                let message = lock(&self.world).collect(iovs, len)?;
                self.stream(wait, || open.send(&message))?;
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
            (1 | 3, Some((events, data))) => {
                set.insert(fd, (events, data, Arc::downgrade(&target)));
                drop(set);
                self.sched.changed();
                Ok(())
            }
            (2, _) => set.remove(&fd).map(drop).ok_or(Errno::ENOENT),
            _ => Err(Errno::EINVAL),
        }
    }

    /// epoll_wait(2) of what is ready now.
    pub(crate) fn take_ready(&self, epfd: i32, events: u64, max: i32) -> HostResult<i32> {
        self.app_call("epoll_wait", epfd)?;
        let open = self.open(epfd)?;
        let Body::Epoll(set) = &open.body else { return Err(Errno::EINVAL) };
        let max = usize::try_from(max).ok().filter(|n| *n > 0).ok_or(Errno::EINVAL)?;
        let ready = ready_in(&lock(set));
        let mut bytes = Vec::new();
        for (mask, data) in ready.iter().take(max) {
            bytes.extend(mask.to_ne_bytes());
            bytes.extend(data.to_ne_bytes());
        }
        lock(&self.world).write(events, &bytes)?;
        Ok(bytes.len() as i32 / 12)
    }
}
