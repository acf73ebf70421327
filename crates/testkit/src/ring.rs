//! A small io_uring client: what liburing does, over the calls of [`crate::call`].
//!
//! It checks nothing that the kernel checks: programs hand in wrong things on purpose. Heads and
//! tails are loaded and stored as the ABI says (acquire what the other side released).

use crate::call::{self, ENTER, REGISTER, SETUP};
use crate::os::{Buf, Errno, Sys};
use ringer_uapi::flags::{CqeFlags, Setup};
use ringer_uapi::{Cqe, OFF_CQ_RING, OFF_SQ_RING, OFF_SQES, Params, Sqe};
use std::sync::atomic::{AtomicU8, Ordering};

/// Whether the CQ ring is mapped apart (as fio does) or with the SQ ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One mapping for both rings (`FEAT_SINGLE_MMAP`).
    Single,
    /// Two mappings, the CQ ring's at its own offset.
    Split,
}

static LAYOUT: AtomicU8 = AtomicU8::new(0);

/// Chooses the layout of the rings this process makes from here on.
pub fn choose_layout(layout: Layout) {
    LAYOUT.store(u8::from(layout == Layout::Split), Ordering::Relaxed);
}

/// `IORING_ENTER_GETEVENTS`.
pub const GETEVENTS: u32 = 1;
/// `IORING_ENTER_SQ_WAKEUP`.
pub const SQ_WAKEUP: u32 = 2;
/// `IORING_ENTER_REGISTERED_RING`.
const REGISTERED_RING: u32 = 16;
/// `IORING_REGISTER_USE_REGISTERED_RING`.
const USE_REGISTERED_RING: u32 = 1 << 31;
/// `IORING_ENTER_EXT_ARG`.
pub const EXT_ARG: u32 = 8;

/// A ring and its mappings. Dropping it unmaps and closes; [`Ring::abandon`] does not.
#[derive(Debug)]
pub struct Ring {
    /// The descriptor.
    pub fd: i32,
    /// The index that calls name it by instead, if it is registered.
    pub index: Option<i32>,
    /// What setup wrote back.
    pub params: Params,
    /// The SQ ring (and with [`Layout::Single`] the CQ ring).
    pub sq: Buf,
    cq: Option<Buf>,
    /// The SQEs.
    pub sqes: Buf,
    sq_tail: u32,
    submitted: u32,
}

/// io_uring_setup(2) with encoded parameters.
///
/// # Errors
/// The call's.
pub fn setup_call(entries: u32, params: &mut Params) -> Sys<i32> {
    let buf = Buf::of(&params.to_bytes());
    let r = call::sys(SETUP, [u64::from(entries), buf.addr(), 0, 0, 0, 0]);
    if let Ok(b) = buf.get(0, Params::SIZE).try_into() {
        *params = Params::from_bytes(&b);
    }
    r.map(|fd| fd as i32)
}

fn map_at(len: usize, fd: i32, off: u64) -> Sys<Buf> {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_SHARED | libc::MAP_POPULATE) as u64;
    let fd = i64::from(fd) as u64;
    call::sys(crate::os::MMAP, [0, len as u64, prot, flags, fd, off]).map(|a| Buf::adopt(a, len))
}

/// Maps SQ ring, CQ ring if that is apart, and SQEs.
fn map_rings(fd: i32, p: &Params) -> Sys<(Buf, Option<Buf>, Buf)> {
    let cqe = if p.flags & Setup::CQE32.bits() != 0 { 32 } else { 16 };
    let sqe = if p.flags & Setup::SQE128.bits() != 0 { 128 } else { 64 };
    let sq_len = p.sq_off.array as usize + 4 * p.sq_entries as usize;
    let cq_len = p.cq_off.cqes as usize + cqe * p.cq_entries as usize;
    let split = LAYOUT.load(Ordering::Relaxed) == 1;
    let first = if split { sq_len } else { sq_len.max(cq_len) };
    let sq = map_at(first, fd, OFF_SQ_RING)?;
    let cq = if split { Some(map_at(cq_len, fd, OFF_CQ_RING)?) } else { None };
    let sqes = map_at(sqe * p.sq_entries as usize, fd, OFF_SQES)?;
    Ok((sq, cq, sqes))
}

impl Ring {
    /// A ring with flags and otherwise zeroed parameters.
    ///
    /// # Errors
    /// setup's and mmap's.
    pub fn new(entries: u32, flags: u32) -> Sys<Self> {
        Self::with(entries, Params { flags, ..Params::default() })
    }

    /// A ring with these parameters.
    ///
    /// # Errors
    /// setup's and mmap's.
    pub fn with(entries: u32, mut params: Params) -> Sys<Self> {
        let fd = setup_call(entries, &mut params)?;
        Self::from_fd(fd, params)
    }

    /// Maps a ring whose setup was called already.
    ///
    /// # Errors
    /// mmap's.
    pub fn from_fd(fd: i32, params: Params) -> Sys<Self> {
        let (sq, cq, sqes) = map_rings(fd, &params)?;
        let sq_tail = sq.load(params.sq_off.tail as usize);
        Ok(Self { fd, index: None, params, sq, cq, sqes, sq_tail, submitted: sq_tail })
    }

    /// `IORING_REGISTER_RESIZE_RINGS`, and new mappings in the place of the old ones. `asked` has what
    /// was written back, whatever the answer.
    ///
    /// # Errors
    /// register's and mmap's.
    pub fn resize(&mut self, asked: &mut Params) -> Sys<()> {
        self.resize_only(asked)?;
        self.params = self.resized_params(asked);
        (self.sq, self.cq, self.sqes) = map_rings(self.fd, &self.params)?;
        self.index_queued();
        Ok(())
    }

    /// The same of a ring in memory of ours.
    ///
    /// # Errors
    /// register's.
    pub fn resize_in(&mut self, asked: &mut Params, sq: Buf, sqes: Buf) -> Sys<()> {
        asked.cq_off.user_addr = sq.addr();
        asked.sq_off.user_addr = sqes.addr();
        self.resize_only(asked)?;
        self.params = self.resized_params(asked);
        (self.sq, self.sqes) = (sq, sqes);
        self.index_queued();
        Ok(())
    }

    /// The register call alone.
    ///
    /// # Errors
    /// register's.
    pub fn resize_only(&self, asked: &mut Params) -> Sys<()> {
        let arg = Buf::of(&asked.to_bytes());
        let r = self.register(reg::RESIZE_RINGS, arg.addr(), 1);
        if let Ok(b) = arg.get(0, Params::SIZE).try_into() {
            *asked = Params::from_bytes(&b);
        }
        r.map(|_| ())
    }

    /// What setup would have told of a ring of that size: nobody says where its index array is.
    fn resized_params(&self, told: &Params) -> Params {
        let mut p = Params { flags: self.params.flags, ..*told };
        let wide = u32::from(p.flags & Setup::CQE32.bits() != 0);
        let after_cqes = (p.cq_off.cqes + 16 * p.cq_entries) << wide;
        let has_array = p.flags & Setup::NO_SQARRAY.bits() == 0;
        p.sq_off.array = if has_array { after_cqes.next_multiple_of(64) } else { 0 };
        p
    }

    /// Enters what is queued into the index array, which is new.
    fn index_queued(&self) {
        if self.params.flags & Setup::NO_SQARRAY.bits() != 0 {
            return;
        }
        let (mut at, mask) = (self.sq_head(), self.params.sq_entries - 1);
        while at != self.sq_tail {
            let slot = at & mask;
            self.sq.store(self.params.sq_off.array as usize + 4 * slot as usize, slot);
            at = at.wrapping_add(1);
        }
    }

    /// A ring in memory of ours (`SETUP_NO_MMAP`).
    ///
    /// # Errors
    /// setup's.
    pub fn in_memory(entries: u32, flags: u32) -> Sys<Self> {
        Self::placed(entries, flags, (Buf::new(64 << 10), Buf::new(64 << 10)))
    }

    /// The same in memory that children share.
    ///
    /// # Errors
    /// setup's; mmap(2)'s.
    pub fn in_shared_memory(entries: u32, flags: u32) -> Sys<Self> {
        let page = || Buf::map(64 << 10, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0);
        Self::placed(entries, flags, (page()?, page()?))
    }

    fn placed(entries: u32, flags: u32, (sq, sqes): (Buf, Buf)) -> Sys<Self> {
        let flags = flags | Setup::NO_MMAP.bits();
        let mut params = Params { flags, ..Params::default() };
        params.cq_off.user_addr = sq.addr();
        params.sq_off.user_addr = sqes.addr();
        let fd = setup_call(entries, &mut params)?;
        Ok(Self { fd, index: None, params, sq, cq: None, sqes, sq_tail: 0, submitted: 0 })
    }

    fn cq(&self) -> &Buf {
        self.cq.as_ref().unwrap_or(&self.sq)
    }

    /// Queues an entry; the program keeps count of the room.
    pub fn push(&mut self, sqe: Sqe) {
        self.push_together([sqe]);
    }

    /// Queues entries so that all of them appear at once: a submission thread takes chains whole.
    pub fn push_together(&mut self, sqes: impl IntoIterator<Item = Sqe>) {
        sqes.into_iter().for_each(|sqe| self.stage(sqe));
        self.publish();
    }

    /// Lets the kernel see what was staged.
    pub fn publish(&self) {
        self.sq.store(self.params.sq_off.tail as usize, self.sq_tail);
    }

    /// The tail that is or will be published.
    pub fn tail(&self) -> u32 {
        self.sq_tail
    }

    /// Goes on where another process left the ring.
    pub fn catch_up(&mut self) {
        self.sq_tail = self.sq.load(self.params.sq_off.tail as usize);
        self.submitted = self.sq_tail;
    }

    /// Writes an entry that the kernel does not see yet.
    pub fn stage(&mut self, sqe: Sqe) {
        let mask = self.params.sq_entries - 1;
        let slot = self.sq_tail & mask;
        let stride = if self.params.flags & Setup::SQE128.bits() != 0 { 128 } else { 64 };
        for (i, w) in sqe.to_words().into_iter().enumerate() {
            self.sqes.put64(stride * slot as usize + 8 * i, w);
        }
        if self.params.flags & Setup::NO_SQARRAY.bits() == 0 {
            self.sq.store(self.params.sq_off.array as usize + 4 * slot as usize, slot);
        }
        self.sq_tail = self.sq_tail.wrapping_add(1);
    }

    /// io_uring_enter(2) as it is.
    ///
    /// # Errors
    /// The call's.
    pub fn enter(&self, submit: u32, min: u32, flags: u32, arg: u64, size: u64) -> Sys<u32> {
        let by_index = if self.index.is_some() { REGISTERED_RING } else { 0 };
        let [s, m, f] = [submit, min, flags | by_index].map(u64::from);
        let fd = i64::from(self.index.unwrap_or(self.fd)) as u64;
        call::sys(ENTER, [fd, s, m, f, arg, size]).map(|n| n as u32)
    }

    /// Submits what was pushed; waits for `min` completions if that is not 0.
    ///
    /// # Errors
    /// enter's.
    pub fn submit(&mut self, min: u32) -> Sys<u32> {
        let n = self.sq_tail.wrapping_sub(self.submitted);
        let r = self.enter(n, min, if min > 0 { GETEVENTS } else { 0 }, 0, 0)?;
        self.submitted = self.submitted.wrapping_add(r);
        Ok(r)
    }

    /// The next completion, if one is there; fillers are passed over.
    pub fn reap(&self) -> Option<Cqe> {
        let off = &self.params.cq_off;
        let set_up = Setup::from_bits_truncate(self.params.flags);
        let mixed = set_up.contains(Setup::CQE_MIXED);
        let size = if set_up.contains(Setup::CQE32) { 32 } else { 16 };
        loop {
            let head = self.cq().load(off.head as usize);
            if head == self.cq().load(off.tail as usize) {
                return None;
            }
            let at = off.cqes as usize + size * (head & (self.params.cq_entries - 1)) as usize;
            let (user_data, w) = (self.cq().get64(at), self.cq().get64(at + 8));
            let (res, flags) = (w as u32 as i32, (w >> 32) as u32);
            let mut cqe = Cqe { user_data, res, flags, big: [0; 2] };
            let two_slots = mixed && flags & CqeFlags::F_32.bits() != 0;
            if size == 32 || two_slots {
                cqe.big = [self.cq().get64(at + 16), self.cq().get64(at + 24)];
            }
            let slots = if two_slots { 2 } else { 1 };
            self.cq().store(off.head as usize, head.wrapping_add(slots));
            if !mixed || flags & CqeFlags::SKIP.bits() == 0 {
                return Some(cqe);
            }
        }
    }

    /// How many completions wait to be reaped.
    pub fn cq_waiting(&self) -> u32 {
        self.cq_tail().wrapping_sub(self.cq().load(self.params.cq_off.head as usize))
    }

    /// Waits for the next completion.
    ///
    /// # Errors
    /// enter's.
    pub fn wait(&self) -> Sys<Cqe> {
        loop {
            if let Some(c) = self.reap() {
                return Ok(c);
            }
            self.enter(0, 1, GETEVENTS, 0, 0)?;
        }
    }

    /// Submits one entry and waits for one completion.
    ///
    /// # Errors
    /// enter's.
    pub fn one(&mut self, sqe: Sqe) -> Sys<Cqe> {
        self.push(sqe);
        self.submit(1)?;
        self.wait()
    }

    /// The result of one entry on an otherwise idle ring.
    ///
    /// # Errors
    /// enter's, or the request's.
    pub fn result(&mut self, sqe: Sqe) -> Sys<i32> {
        let res = self.one(sqe)?.res;
        if res < 0 { Err(Errno(-res)) } else { Ok(res) }
    }

    /// io_uring_register(2).
    ///
    /// # Errors
    /// The call's.
    pub fn register(&self, opcode: u32, arg: u64, nr: u32) -> Sys<u64> {
        let by_index = if self.index.is_some() { USE_REGISTERED_RING } else { 0 };
        let fd = i64::from(self.index.unwrap_or(self.fd)) as u64;
        call::sys(REGISTER, [fd, u64::from(opcode | by_index), arg, u64::from(nr), 0, 0])
    }

    /// Registers descriptors as the ring's files.
    ///
    /// # Errors
    /// register's.
    pub fn register_files(&self, fds: &[i32]) -> Sys<u64> {
        let b = i32s(fds);
        self.register(reg::FILES, b.addr(), fds.len() as u32)
    }

    /// The SQ ring's flags word.
    pub fn sq_flags(&self) -> u32 {
        self.sq.load(self.params.sq_off.flags as usize)
    }

    /// The SQ head the kernel published.
    pub fn sq_head(&self) -> u32 {
        self.sq.load(self.params.sq_off.head as usize)
    }

    /// The CQ tail the kernel published.
    pub fn cq_tail(&self) -> u32 {
        self.cq().load(self.params.cq_off.tail as usize)
    }

    /// Leaves everything as it is: nothing closed, nothing unmapped.
    pub fn abandon(self) {
        std::mem::forget(self);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.fd >= 0 {
            let _ = crate::os::close(self.fd);
        }
    }
}

/// Numbers in memory that the kernel can read.
pub fn i32s(v: &[i32]) -> Buf {
    let bytes: Vec<u8> = v.iter().flat_map(|x| x.to_ne_bytes()).collect();
    Buf::of(&bytes)
}

/// Words in memory that the kernel can read.
pub fn u64s(v: &[u64]) -> Buf {
    let bytes: Vec<u8> = v.iter().flat_map(|x| x.to_ne_bytes()).collect();
    Buf::of(&bytes)
}

/// Register opcodes.
#[allow(missing_docs, reason = "the names are the header's")]
pub mod reg {
    pub const BUFFERS: u32 = 0;
    pub const UNREGISTER_BUFFERS: u32 = 1;
    pub const FILES: u32 = 2;
    pub const UNREGISTER_FILES: u32 = 3;
    pub const EVENTFD: u32 = 4;
    pub const UNREGISTER_EVENTFD: u32 = 5;
    pub const FILES_UPDATE: u32 = 6;
    pub const PROBE: u32 = 8;
    pub const ENABLE_RINGS: u32 = 12;
    pub const FILES2: u32 = 13;
    pub const FILES_UPDATE2: u32 = 14;
    pub const BUFFERS2: u32 = 15;
    pub const FILE_ALLOC_RANGE: u32 = 25;
    pub const RESIZE_RINGS: u32 = 33;
}
