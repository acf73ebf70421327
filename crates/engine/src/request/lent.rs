//! Watches of plain descriptors that outlive their request: the next one that waits there finds its watch.
//!
//! ```text
//!  request waits on fd --host lends fd--> watch, with a copy of the file
//!  it ends:       the watch stays, idle ----> the next request on fd: still the same file? waits in it
//!      number_closing(fd) (close, dup2, IORING_OP_CLOSE) --> not lent: gone with its last request
//!      idle for two ticks of the reactor, or it stops looking at the ring --> gone
//! ```
//!
//! To hold a file, watch it and undo both are four calls beside the two or three that a small receive takes.
//! But a copy keeps a file open: whoever closes a connection wants its peer to see the end now. So a
//! number is lent only where the host sees all its closes ([`Host::lend`]), and it tells before each. What
//! closes it unseen all the same is noticed by the next request on that number, or a few milliseconds
//! later. What it does not do: keep watches of registered files (they stay anyway), polls, accepts.

use super::apoll::EPOLLRDHUP;
use super::{Req, ReqFile};
use crate::engine::Engine;
use crate::host::{FileKind, Host, Poller as _};
use crate::opcode::Cmd;
use crate::opcode::openclose::Close;
use crate::ring::{Errand, State};
use crate::slab::Key;
use alloc::vec::Vec;
use hashbrown::HashMap;
use ringer_uapi::Errno;
use ringer_uapi::flags::SqeFlags;

/// Most of a ring: what lies idle in between is bounded by this, too.
const LENT_MAX: usize = 16_384;

/// The lent numbers of a ring.
#[derive(Debug, Default)]
pub struct Lent(HashMap<i32, Entry>);

#[derive(Debug)]
struct Entry {
    watch: Key,
    /// Since the last sweep.
    used: bool,
}

impl Lent {
    /// A number is not lent any more.
    pub(super) fn forget(&mut self, fd: i32) {
        self.0.remove(&fd);
    }
}

/// The number that a request waits on, if it is one that tries first and waits for what its attempt
/// lacked: an edge is all it needs then.
fn borrows<H: Host>(req: &Req<H>) -> Option<i32> {
    let transfers = matches!(
        &req.cmd,
        Some(
            Cmd::Recv(_)
                | Cmd::Recvmsg(_)
                | Cmd::Send(_)
                | Cmd::Sendmsg(_)
                | Cmd::Read(_)
                | Cmd::Readv(_)
                | Cmd::Write(_)
                | Cmd::Writev(_)
        )
    );
    (transfers && !req.untried && !req.flags.contains(SqeFlags::FIXED_FILE)).then_some(req.fd)
}

impl<H: Host> Engine<H> {
    /// The watch that an earlier request on the same number left, if the number still is that file.
    pub(super) fn borrow_watch(
        &self,
        st: &mut State<H>,
        req: &mut Req<H>,
        ask: u32,
    ) -> Option<Key> {
        if st.lent.0.is_empty() || !matches!(req.file, ReqFile::None) {
            return None;
        }
        let fd = borrows(req)?;
        let watch = st.lent.0.get(&fd)?.watch;
        let w = st.watches.get_mut(watch).filter(|w| w.waiters.is_empty())?;
        if !self.host().is_still(fd, &w.file) {
            self.number_lost(st, fd);
            return None;
        }
        req.file = ReqFile::Held(w.file.clone());
        self.widen(st, watch, ask).ok()?;
        st.lent.0.get_mut(&fd)?.used = true;
        Some(watch)
    }

    /// Has the poller report this of a watch, too. What of it holds already is told at once.
    pub(super) fn widen(&self, st: &mut State<H>, watch: Key, ask: u32) -> Result<(), Errno> {
        let State { watches, poller, .. } = st;
        let (Some(w), Some(poller)) = (watches.get_mut(watch), poller) else { return Ok(()) };
        if ask & !w.ask != 0 {
            poller.modify(w.number, w.ask | ask, watch.bits())?;
            w.ask |= ask;
        }
        Ok(())
    }

    /// Notes that a new watch may stay behind its request.
    pub(super) fn lend(&self, st: &mut State<H>, req: &Req<H>, watch: Key) {
        let Some(fd) = borrows(req) else { return };
        let Some(w) = st.watches.get_mut(watch) else { return };
        let kind = req.file.kind();
        if matches!(req.file, ReqFile::Held(_))
            && matches!(kind, Some(FileKind::Socket | FileKind::Pipe))
            && st.kin.is_none()
            && st.lent.0.len() < LENT_MAX
            && !st.lent.0.contains_key(&fd)
            && (kind != Some(FileKind::Socket) || self.host().is_stream(w.number))
            && self.host().lend(fd, &w.file)
        {
            w.lent = Some(fd);
            st.lent.0.insert(fd, Entry { watch, used: true });
        }
    }

    /// A number of the application's is about to be closed, or to become another file's, by a call that
    /// the host sees.
    pub fn number_closing(&self, fd: i32) {
        for ring in self.rings().all() {
            let mut st = ring.state.lock();
            self.number_lost(&mut st, fd);
            self.unlock(&ring, st);
        }
    }

    /// The same by a request of a ring, whose lock is held.
    pub(super) fn number_closing_by(&self, st: &mut State<H>, close: &Close) {
        if let Some(fd) = close.number()
            && self.host().is_lent(fd)
        {
            self.number_lost(st, fd);
            if self.rings().may_be_several() {
                st.due.errands.push(Errand::Closing(fd));
            }
        }
    }

    /// A number is not lent any more: its watch goes, with the request that waits in it if one does.
    fn number_lost(&self, st: &mut State<H>, fd: i32) {
        let Some(Entry { watch, .. }) = st.lent.0.remove(&fd) else { return };
        if let Some(w) = st.watches.get_mut(watch) {
            w.lent = None;
        }
        self.drop_idle_watch(st, watch);
    }

    /// Ends those that lay idle since the last sweep, or all that are idle.
    pub(super) fn sweep_lent(&self, st: &mut State<H>, all: bool) {
        if st.lent.0.is_empty() {
            return;
        }
        let State { lent, watches, .. } = st;
        let idle = |watch| watches.get(watch).is_none_or(|w| w.waiters.is_empty());
        let mut over = Vec::new();
        for (fd, entry) in &mut lent.0 {
            let used = core::mem::take(&mut entry.used);
            if (all || !used) && idle(entry.watch) {
                over.push(*fd);
            }
        }
        over.into_iter().for_each(|fd| self.number_lost(st, fd));
    }

    /// The ring ends.
    pub(crate) fn end_lent(&self, st: &mut State<H>) {
        let all: Vec<i32> = st.lent.0.keys().copied().collect();
        all.into_iter().for_each(|fd| self.number_lost(st, fd));
    }
}

/// What a watch of a request asks for beside what it waits for: whether a stream ended is told along with
/// its bytes.
pub(super) fn end_of<H: Host>(req: &Req<H>) -> u32 {
    if matches!(req.cmd, Some(Cmd::Recv(_) | Cmd::Recvmsg(_))) { EPOLLRDHUP } else { 0 }
}
