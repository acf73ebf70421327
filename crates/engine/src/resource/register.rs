//! `io_uring_register(2)`: one function an operation.
//!
//! Order of checks: 6.18 io_uring/register.c `__io_uring_register` and what it calls in rsrc.c,
//! filetable.c, eventfd.c. Which operations there are, and what is refused: `regdef`.

use super::clone::Clone;
use super::filetable::{FileNode, FileTable};
use super::regdef::Call as Operation;
use super::rsrc::BufTable;
use crate::engine::Engine;
use crate::host::{Host, Iovec};
use crate::opcode::OPDEFS;
use crate::ring::{Ring, State, StateGuard};
use crate::support::opflags::RSRC_SPARSE;
use crate::support::refusal;
use crate::trace::Call;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use ringer_uapi::bytes::{all_zero, i32_at, put_u32, u32_at, u64_at};
use ringer_uapi::flags::Setup;
use ringer_uapi::{
    Errno, FILE_EMPTY, FILE_SKIP, FIXED_FILES_MAX, OP_COUNT, REG_BUFFERS_MAX, REGISTER_COUNT,
};

/// `IORING_REGISTER_USE_REGISTERED_RING`.
const USE_REGISTERED_RING: u32 = 1 << 31;

/// `struct io_uring_rsrc_register`.
pub(super) struct RsrcRegister {
    pub(super) nr: u32,
    pub(super) data: u64,
    pub(super) tags: u64,
}

/// `struct io_uring_rsrc_update2`.
pub(super) struct RsrcUpdate {
    pub(super) offset: u32,
    pub(super) nr: u32,
    pub(super) data: u64,
    pub(super) tags: u64,
}

impl<H: Host> Engine<H> {
    /// `io_uring_register(2)`.
    ///
    /// # Errors
    /// `EINVAL` unknown operation; `EBADF`, `EOPNOTSUPP` descriptor; `EEXIST` wrong thread on a
    /// SINGLE_ISSUER ring; else the operation's.
    pub fn register(&self, fd: i32, opcode: u32, arg: u64, nr: u32) -> Result<usize, Errno> {
        let result = self.register_any(fd, opcode, arg, nr);
        self.trace_call(|| Call::Register { fd, opcode, arg, nr }, result);
        result
    }

    fn register_any(&self, fd: i32, opcode: u32, arg: u64, nr: u32) -> Result<usize, Errno> {
        let by_index = opcode & USE_REGISTERED_RING != 0;
        let opcode = opcode & !USE_REGISTERED_RING;
        if opcode >= REGISTER_COUNT {
            self.note_refused(|count| refusal::of_register(opcode, count));
            return Err(Errno::EINVAL);
        }
        if fd == -1 {
            return self.register_blind(opcode, arg, nr).map(|n| n as usize);
        }
        let ring = self.visit(fd, by_index)?;
        self.register_on(&ring, opcode, arg, nr).map(|n| n as usize)
    }

    fn register_on(
        &self,
        ring: &Arc<Ring<H>>,
        opcode: u32,
        arg: u64,
        nr: u32,
    ) -> Result<u32, Errno> {
        let mut st = ring.state.lock();
        let done = self.register_locked(ring, &mut st, opcode, (arg, nr));
        self.unlock(ring, st);
        match done? {
            (_, Some(clone)) => self.clone_between(ring, &clone),
            (n, None) => Ok(n),
        }
    }

    fn register_locked(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut StateGuard<'_, H>,
        opcode: u32,
        (arg, nr): (u64, u32),
    ) -> Result<(u32, Option<Clone<H>>), Errno> {
        self.check_issuer(ring)?;
        let restricted = !ring.disabled.load(Acquire);
        if restricted && st.restrictions.as_ref().is_some_and(|r| !r.allows_register(opcode)) {
            return Err(Errno::EACCES);
        }
        st.may_post = true;
        let mut call = Operation { ring, st, arg, nr, clone: None };
        let done = self.run_register(&mut call, opcode);
        let clone = call.clone;
        self.commit(ring, st);
        done.map(|n| (n, clone))
    }

    pub(super) fn enable(&self, ring: &Ring<H>, st: &State<H>) -> Result<u32, Errno> {
        if !ring.disabled.load(Acquire) {
            return Err(Errno::EBADFD);
        }
        if ring.setup.contains(Setup::SINGLE_ISSUER) {
            let _ = ring.issuer.compare_exchange(0, self.host().tid(), Relaxed, Relaxed);
        }
        ring.disabled.store(false, Release);
        ring.tell_enabled(st);
        if let Some(sp) = &ring.sqpoll {
            sp.kick(self.host());
        }
        Ok(0)
    }

    // --- files ---------------------------------------------------------------------------------

    pub(super) fn rsrc_register(&self, arg: u64, size: u32) -> Result<RsrcRegister, Errno> {
        if size != 32 {
            return Err(Errno::EINVAL);
        }
        let mut b = [0u8; 32];
        self.host().copy_in(arg, &mut b)?;
        let (nr, flags, resv2) = (u32_at(&b, 0), u32_at(&b, 4), u64_at(&b, 8));
        let (data, tags) = (u64_at(&b, 16), u64_at(&b, 24));
        if nr == 0 || resv2 != 0 || flags & !RSRC_SPARSE != 0 {
            return Err(Errno::EINVAL);
        }
        if flags & RSRC_SPARSE != 0 && data != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(RsrcRegister { nr, data, tags })
    }

    pub(super) fn rsrc_update(&self, arg: u64, size: u32) -> Result<RsrcUpdate, Errno> {
        if size != 32 {
            return Err(Errno::EINVAL);
        }
        let mut b = [0u8; 32];
        self.host().copy_in(arg, &mut b)?;
        let u = RsrcUpdate {
            offset: u32_at(&b, 0),
            nr: u32_at(&b, 24),
            data: u64_at(&b, 8),
            tags: u64_at(&b, 16),
        };
        if u.nr == 0 || u32_at(&b, 4) != 0 || u32_at(&b, 28) != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(u)
    }

    /// rsrc.c `io_sqe_files_register`. `data` 0 is a sparse table.
    pub(super) fn register_files(
        &self,
        st: &mut State<H>,
        data: u64,
        nr: u32,
        tags: u64,
    ) -> Result<u32, Errno> {
        if st.files.is_some() {
            return Err(Errno::EBUSY);
        }
        if nr == 0 {
            return Err(Errno::EINVAL);
        }
        if nr > FIXED_FILES_MAX || u64::from(nr) > self.host().nofile() {
            return Err(Errno::EMFILE);
        }
        let mut wanted: Vec<(i32, u64)> = Vec::with_capacity(nr as usize);
        let mut wrong = None;
        for i in 0..nr {
            match self.wanted_file(data, tags, i) {
                Ok(w) => wanted.push(w),
                Err(e) => {
                    wrong = Some(e);
                    break;
                }
            }
        }
        let fds: Vec<i32> = wanted.iter().map(|w| w.0).filter(|&fd| fd != FILE_EMPTY).collect();
        let files = if fds.is_empty() { Vec::new() } else { self.host().adopt(&fds)? };
        if let Some(e) = wrong {
            // The kernel goes entry by entry: a bad descriptor before this one was told instead.
            self.host().release(files);
            return Err(e);
        }
        let mut files = files.into_iter();
        let slots = wanted
            .iter()
            .map(|&(fd, tag)| match fd {
                FILE_EMPTY => None,
                _ => files.next().map(|f| FileNode::new(f, tag)),
            })
            .collect();
        st.files = Some(FileTable::new(slots));
        Ok(0)
    }

    /// Descriptor and tag of entry `i` of a registration.
    fn wanted_file(&self, data: u64, tags: u64, i: u32) -> Result<(i32, u64), Errno> {
        let tag = self.tag_at(tags, i)?;
        let fd = if data == 0 { FILE_EMPTY } else { self.fd_at(data, i)? };
        if fd == FILE_EMPTY && tag != 0 {
            return Err(Errno::EINVAL);
        }
        if fd < FILE_EMPTY { Err(Errno::EBADF) } else { Ok((fd, tag)) }
    }

    fn tag_at(&self, tags: u64, i: u32) -> Result<u64, Errno> {
        if tags == 0 {
            return Ok(0);
        }
        let mut b = [0u8; 8];
        self.host().copy_in(tags.wrapping_add(8 * u64::from(i)), &mut b)?;
        Ok(u64_at(&b, 0))
    }

    fn fd_at(&self, data: u64, i: u32) -> Result<i32, Errno> {
        let mut b = [0u8; 4];
        self.host().copy_in(data.wrapping_add(4 * u64::from(i)), &mut b)?;
        Ok(i32_at(&b, 0))
    }

    pub(super) fn unregister_files(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
    ) -> Result<u32, Errno> {
        let table = st.files.take().ok_or(Errno::ENXIO)?;
        self.drop_files(ring, st, table);
        Ok(0)
    }

    /// Lets a whole table go: files that no request uses are closed on return, in one batch.
    pub(crate) fn drop_files(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, table: FileTable<H>) {
        for node in table.into_nodes() {
            self.put_node(ring, st, node);
        }
    }

    pub(super) fn register_files_update(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        arg: u64,
        nr: u32,
    ) -> Result<u32, Errno> {
        if nr == 0 {
            return Err(Errno::EINVAL);
        }
        let mut b = [0u8; 16];
        self.host().copy_in(arg, &mut b)?;
        if u32_at(&b, 4) != 0 {
            return Err(Errno::EINVAL);
        }
        let offset = u32_at(&b, 0);
        offset.checked_add(nr).ok_or(Errno::EOVERFLOW)?;
        self.files_update(ring, st, (offset, nr), u64_at(&b, 8), 0)
    }

    /// rsrc.c `__io_sqe_files_update`: slots processed, or the error of the first. A slot whose
    /// new descriptor is bad has been emptied already.
    pub(crate) fn files_update(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        (offset, nr): (u32, u32),
        data: u64,
        tags: u64,
    ) -> Result<u32, Errno> {
        let end = offset.checked_add(nr).ok_or(Errno::EOVERFLOW)?;
        if end > st.files.as_ref().ok_or(Errno::ENXIO)?.len() {
            return Err(Errno::EINVAL);
        }
        each(nr, |i| self.update_slot(ring, st, offset + i, (data, tags, i)))
    }

    fn update_slot(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        slot: u32,
        (data, tags, i): (u64, u64, u32),
    ) -> Result<(), Errno> {
        let tag = self.tag_at(tags, i)?;
        let fd = self.fd_at(data, i)?;
        if (fd == FILE_SKIP || fd == FILE_EMPTY) && tag != 0 {
            return Err(Errno::EINVAL);
        }
        if fd == FILE_SKIP {
            return Ok(());
        }
        let old = st.files.as_mut().ok_or(Errno::ENXIO)?.clear(slot)?;
        if let Some(node) = old {
            self.put_node(ring, st, node);
        }
        if fd == FILE_EMPTY {
            return Ok(());
        }
        let file = self.adopt_one(fd)?;
        let table = st.files.as_mut().ok_or(Errno::ENXIO)?;
        table.install(slot, FileNode::new(file, tag)).map(|_| ())
    }

    fn adopt_one(&self, fd: i32) -> Result<H::File, Errno> {
        if fd < 0 {
            return Err(Errno::EBADF);
        }
        self.host().adopt(&[fd])?.pop().ok_or(Errno::EBADF)
    }

    /// FILES_UPDATE with ALLOC: a slot for each descriptor, written back into the array.
    pub(crate) fn files_update_alloc(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        data: u64,
        nr: u32,
    ) -> Result<u32, Errno> {
        if st.files.is_none() {
            return Err(Errno::ENXIO);
        }
        each(nr, |i| self.alloc_slot(ring, st, data, i))
    }

    fn alloc_slot(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        data: u64,
        i: u32,
    ) -> Result<(), Errno> {
        let fd = self.fd_at(data, i)?;
        let file = self.adopt_one(fd)?;
        let slot = self.install_direct(ring, st, Ok(file), ringer_uapi::FILE_INDEX_ALLOC)?;
        let at = data.wrapping_add(4 * u64::from(i));
        if let Err(e) = self.host().copy_out(at, &slot.to_ne_bytes()) {
            let _ = self.close_direct(ring, st, slot as u32);
            return Err(e);
        }
        Ok(())
    }

    /// Empties one slot (CLOSE of a direct descriptor; filetable.c `io_fixed_fd_remove`).
    pub(crate) fn close_direct(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        slot: u32,
    ) -> Result<(), Errno> {
        let old = st.files.as_mut().ok_or(Errno::ENXIO)?.clear(slot)?;
        let node = old.ok_or(Errno::EBADF)?;
        self.put_node(ring, st, node);
        Ok(())
    }

    pub(super) fn file_alloc_range(
        &self,
        st: &mut State<H>,
        arg: u64,
        nr: u32,
    ) -> Result<u32, Errno> {
        if arg == 0 || nr != 0 {
            return Err(Errno::EINVAL);
        }
        let mut b = [0u8; 16];
        self.host().copy_in(arg, &mut b)?;
        let (off, len, resv) = (u32_at(&b, 0), u32_at(&b, 4), u64_at(&b, 8));
        off.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        if resv != 0 {
            return Err(Errno::EINVAL);
        }
        match &mut st.files {
            Some(table) => table.set_range(off, len)?,
            // A ring without a table has one of no slots.
            None if off + len == 0 => {}
            None => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    // --- buffers -------------------------------------------------------------------------------

    fn iovec_at(&self, data: u64, i: u32) -> Result<Iovec, Errno> {
        if data == 0 {
            return Ok(Iovec::default());
        }
        let mut b = [0u8; 16];
        self.host().copy_in(data.wrapping_add(16 * u64::from(i)), &mut b)?;
        let (base, len) = (u64_at(&b, 0), u64_at(&b, 8));
        // lib/iov_iter.c `iovec_from_user`: a length is a signed number.
        if len > i64::MAX as u64 { Err(Errno::EINVAL) } else { Ok(Iovec { base, len }) }
    }

    pub(super) fn register_buffers(
        &self,
        st: &mut State<H>,
        data: u64,
        nr: u32,
        tags: u64,
    ) -> Result<u32, Errno> {
        if st.bufs.is_some() {
            return Err(Errno::EBUSY);
        }
        if nr == 0 || nr > REG_BUFFERS_MAX {
            return Err(Errno::EINVAL);
        }
        let entry = |i| Ok((self.iovec_at(data, i)?, self.tag_at(tags, i)?));
        st.bufs = Some(BufTable::new(self.host(), nr, entry)?);
        Ok(0)
    }

    pub(super) fn drop_buffers(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
    ) -> Result<u32, Errno> {
        let table = st.bufs.take().ok_or(Errno::ENXIO)?;
        for node in table.into_nodes() {
            self.put_buf(ring, st, node);
        }
        Ok(0)
    }

    pub(super) fn buffers_update(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        u: &RsrcUpdate,
    ) -> Result<u32, Errno> {
        let end = u.offset.checked_add(u.nr).ok_or(Errno::EOVERFLOW)?;
        let len = st.bufs.as_ref().ok_or(Errno::ENXIO)?.len();
        if end as usize > len {
            return Err(Errno::EINVAL);
        }
        each(u.nr, |i| self.update_buffer(ring, st, u, i))
    }

    fn update_buffer(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        u: &RsrcUpdate,
        i: u32,
    ) -> Result<(), Errno> {
        if u.data == 0 {
            return Err(Errno::EFAULT);
        }
        let range = self.iovec_at(u.data, i)?;
        let tag = self.tag_at(u.tags, i)?;
        let table = st.bufs.as_mut().ok_or(Errno::ENXIO)?;
        if let Some(node) = table.update(self.host(), (u.offset + i) as usize, range, tag)? {
            self.put_buf(ring, st, node);
        }
        Ok(())
    }

    // --- the rest ------------------------------------------------------------------------------

    pub(super) fn register_eventfd(
        &self,
        st: &mut State<H>,
        arg: u64,
        nr: u32,
        async_only: bool,
    ) -> Result<u32, Errno> {
        if nr != 1 {
            return Err(Errno::EINVAL);
        }
        if st.eventfd.is_some() {
            return Err(Errno::EBUSY);
        }
        let fd = self.fd_at(arg, 0)?;
        self.host().check_eventfd(fd)?;
        st.eventfd = Some((self.host().hold(fd)?, async_only));
        Ok(0)
    }

    /// register.c `io_probe`.
    pub(super) fn register_probe(&self, arg: u64, nr: u32) -> Result<u32, Errno> {
        if arg == 0 || nr > 256 {
            return Err(Errno::EINVAL);
        }
        let mut b = alloc::vec![0u8; 16 + 8 * nr as usize];
        self.host().copy_in(arg, &mut b)?;
        if !all_zero(&b) {
            return Err(Errno::EINVAL);
        }
        let n = (nr as usize).min(OP_COUNT);
        put_u32(&mut b, 0, (OP_COUNT as u32 - 1) | (n as u32) << 8);
        for (i, def) in OPDEFS.iter().enumerate().take(n) {
            let supported = u32::from(def.support.is_there());
            put_u32(&mut b, 16 + 8 * i, i as u32 | supported << 16);
        }
        self.host().copy_out(arg, &b)?;
        Ok(0)
    }
}

/// Runs an update entry by entry: how many were processed, or the error of the first
/// (rsrc.c: `return done ? done : err`).
pub(super) fn each(nr: u32, mut one: impl FnMut(u32) -> Result<(), Errno>) -> Result<u32, Errno> {
    for i in 0..nr {
        if let Err(e) = one(i) {
            return if i > 0 { Ok(i) } else { Err(e) };
        }
    }
    Ok(nr)
}
