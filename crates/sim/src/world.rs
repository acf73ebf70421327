//! What the application has: memory at made-up addresses, descriptors, files.
//!
//! ```text
//!  [BASE, BASE + SIZE)   readable and writable; everything else is EFAULT
//!  fds 0..               the application's numbers
//!  fds HELD..            numbers of files that the engine holds
//! ```

use crate::futex::Futexes;
use crate::names::Node;
use crate::object::Open;
use crate::ring::Pages;
use ringer_engine::host::{Identity, Iovec, RingId};
use ringer_uapi::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

/// Where the application's memory begins.
pub const BASE: u64 = 0x10_0000_0000;
/// How much of it there is \[bytes\].
pub const SIZE: usize = 1 << 20;
/// The first number of a file that the engine holds.
pub(crate) const HELD: i32 = 1 << 20;

/// What a descriptor names.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Open(Arc<Open>),
    Ring(RingId),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) memory: Vec<u8>,
    pub(crate) brk: usize,
    pub(crate) fds: BTreeMap<i32, Entry>,
    pub(crate) names: BTreeMap<Vec<u8>, Node>,
    /// Sockets that listen, by address.
    pub(crate) listeners: BTreeMap<Vec<u8>, Weak<Open>>,
    pub(crate) rings: BTreeMap<RingId, Arc<Pages>>,
    /// Words of threads.
    pub(crate) words: BTreeMap<u32, u64>,
    /// Users of threads, 0 where nothing stands, and identities that threads were given.
    pub(crate) users: BTreeMap<u32, u64>,
    pub(crate) given: BTreeMap<u32, Identity>,
    /// Children: their status, once they have ended.
    pub(crate) children: BTreeMap<i32, Option<i32>>,
    pub(crate) futexes: Futexes,
    pub(crate) calls: Vec<(&'static str, i32)>,
    pub(crate) nofile: usize,
    /// Everything that ever had a number.
    pub(crate) opens: Vec<Weak<Open>>,
    /// Pollers that exist, and rings.
    pub(crate) pollers: usize,
    pub(crate) ring_objects: usize,
    /// The same of their memory.
    pub(crate) page_objects: usize,
    /// No poller can watch another one.
    pub(crate) no_nesting: bool,
    /// Numbers are never given out twice.
    pub(crate) fresh_numbers: Option<i32>,
    /// How far the boot clock and the real-time clock are from the monotonic \[ns\], and how often they
    /// made a step.
    pub(crate) clocks: [u64; 2],
    pub(crate) steps: Arc<AtomicU64>,
    pub(crate) ledger: Ledger,
}

/// What is written down for whoever checks a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Where memory of requests lies: (first address, bytes a request).
    pub(crate) arena: Option<(u64, u64)>,
    /// Requests that have ended: nobody writes to their memory any more.
    pub(crate) ended: BTreeSet<u64>,
    /// Requests whose transfers were attempted, in order.
    pub(crate) attempts: Vec<u64>,
    /// The same with the rights of who attempted them.
    pub(crate) rights: Vec<(u64, Rights)>,
    /// Wake-ups of futexes that found somebody.
    pub(crate) woken: u64,
    /// The first write to memory of a request that had ended.
    pub(crate) late_write: Option<u64>,
}

/// Who a thread is: its user, and whether the engine gave it an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) user: u64,
    pub(crate) given: bool,
}

impl Ledger {
    /// Whose memory this is.
    fn owner(&self, addr: u64) -> Option<u64> {
        let (base, stride) = self.arena?;
        addr.checked_sub(base).map(|at| at / stride)
    }

    fn attempt(&mut self, iov: &[Iovec], rights: Rights) {
        for v in iov {
            if let Some(who) = self.owner(v.base) {
                self.attempts.push(who);
                self.rights.push((who, rights));
            }
        }
    }

    fn wrote(&mut self, addr: u64) {
        if let Some(who) = self.owner(addr).filter(|w| self.ended.contains(w)) {
            self.late_write.get_or_insert(who);
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; SIZE],
            brk: 0,
            fds: BTreeMap::new(),
            names: BTreeMap::new(),
            rings: BTreeMap::new(),
            words: BTreeMap::new(),
            users: BTreeMap::new(),
            given: BTreeMap::new(),
            children: BTreeMap::new(),
            futexes: Futexes::default(),
            calls: Vec::new(),
            nofile: 1024,
            listeners: BTreeMap::new(),
            opens: Vec::new(),
            pollers: 0,
            ring_objects: 0,
            page_objects: 0,
            no_nesting: false,
            fresh_numbers: None,
            // It was suspended for an hour.
            clocks: [3_600_000_000_000, 1_700_000_000_000_000_000],
            steps: Arc::default(),
            ledger: Ledger::default(),
        }
    }

    /// The user of a thread.
    pub(crate) fn user(&self, tid: u32) -> u64 {
        self.users.get(&tid).copied().unwrap_or(0)
    }

    /// A thread attempts a transfer to or from this memory.
    pub(crate) fn attempt(&mut self, tid: u32, iov: &[Iovec]) {
        let rights = Rights { user: self.user(tid), given: self.given.contains_key(&tid) };
        self.ledger.attempt(iov, rights);
    }

    fn range(addr: u64, len: usize) -> Result<std::ops::Range<usize>, Errno> {
        if len == 0 {
            return Ok(0..0);
        }
        let start = addr.checked_sub(BASE).ok_or(Errno::EFAULT)? as usize;
        let end = start.checked_add(len).ok_or(Errno::EFAULT)?;
        if end > SIZE { Err(Errno::EFAULT) } else { Ok(start..end) }
    }

    /// Fresh zeroed memory, 64-aligned; a page's multiple lies on a page.
    pub(crate) fn alloc(&mut self, len: usize) -> Option<u64> {
        let align = if len != 0 && len.is_multiple_of(4096) { 4096 } else { 64 };
        let at = self.brk.next_multiple_of(align);
        let end = at.checked_add(len)?.next_multiple_of(64);
        if end > SIZE {
            return None;
        }
        self.brk = end;
        Some(BASE + at as u64)
    }

    pub(crate) fn read(&self, addr: u64, len: usize) -> Result<&[u8], Errno> {
        self.memory.get(Self::range(addr, len)?).ok_or(Errno::EFAULT)
    }

    pub(crate) fn write(&mut self, addr: u64, from: &[u8]) -> Result<(), Errno> {
        let to = self.memory.get_mut(Self::range(addr, from.len())?).ok_or(Errno::EFAULT)?;
        to.copy_from_slice(from);
        if !from.is_empty() {
            self.ledger.wrote(addr);
        }
        Ok(())
    }

    /// How many bytes of a vector can be touched before the first bad one, and whether there is one.
    pub(crate) fn reach(iov: &[Iovec]) -> (usize, bool) {
        let mut good = 0;
        for v in iov {
            let room = match v.base.checked_sub(BASE) {
                Some(at) if at < SIZE as u64 => SIZE - at as usize,
                _ => 0,
            };
            good += room.min(v.len as usize);
            if room < v.len as usize {
                return (good, true);
            }
        }
        (good, false)
    }

    /// Spreads bytes over a vector that [`World::reach`] found good for them.
    pub(crate) fn scatter(&mut self, iov: &[Iovec], mut from: &[u8]) -> Result<u32, Errno> {
        let n = from.len() as u32;
        for v in iov {
            let (now, later) = from.split_at(from.len().min(v.len as usize));
            self.write(v.base, now)?;
            from = later;
        }
        Ok(n)
    }

    /// The first `n` bytes of a vector.
    pub(crate) fn collect(&self, iov: &[Iovec], n: usize) -> Result<Vec<u8>, Errno> {
        let mut all = Vec::with_capacity(n);
        for v in iov {
            let part = (n - all.len()).min(v.len as usize);
            all.extend_from_slice(self.read(v.base, part)?);
        }
        Ok(all)
    }

    pub(crate) fn entry(&self, fd: i32) -> Result<&Entry, Errno> {
        self.fds.get(&fd).ok_or(Errno::EBADF)
    }

    pub(crate) fn open(&self, fd: i32) -> Result<Arc<Open>, Errno> {
        match self.entry(fd)? {
            Entry::Open(o) => Ok(o.clone()),
            Entry::Ring(_) => Err(Errno::EBADF),
        }
    }

    /// Puts something at the lowest free number of the application.
    pub(crate) fn install(&mut self, entry: Entry) -> Result<i32, Errno> {
        let from = self.fresh_numbers.unwrap_or(0);
        let fd = (from..self.nofile as i32).find(|fd| !self.fds.contains_key(fd));
        let fd = fd.ok_or(Errno::EMFILE)?;
        if let Some(next) = &mut self.fresh_numbers {
            *next = fd + 1;
        }
        if let Entry::Open(o) = &entry {
            self.opens.push(Arc::downgrade(o));
        }
        self.fds.insert(fd, entry);
        Ok(fd)
    }

    /// Puts a file at a number of the engine's.
    pub(crate) fn install_held(&mut self, open: Arc<Open>) -> i32 {
        let fd = (HELD..).find(|fd| !self.fds.contains_key(fd)).unwrap_or(i32::MAX);
        self.fds.insert(fd, Entry::Open(open));
        fd
    }

    pub(crate) fn held(&self) -> usize {
        self.fds.range(HELD..).count()
    }
}
