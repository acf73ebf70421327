//! `IORING_OP_READ`, `WRITE`, `READV`, `WRITEV`, `READ_FIXED`, `WRITE_FIXED` (since 5.1 / 5.6),
//! `READV_FIXED`, `WRITEV_FIXED` (since 6.15); `READ_MULTISHOT` (since 6.7, in `read_multishot`).
//!
//! - Reads:   `fd`; `off` \[bytes\], -1 = the file's position; `addr`, `len` = buffer \[bytes\] or
//!   iovec array \[entries\]; `op_flags` = `RWF_*`; `ioprio`; `buf_index` (fixed), or the group that a
//!   read selects a buffer of: then `len`, or that of its one iovec, is how much of it at most
//! - Rejects: bad ioprio `EINVAL`/`EPERM`; attributes `EINVAL` (no PI file here); bad iovec
//!   array `EFAULT`, over 1024 entries or a negative length `EINVAL`; a selecting READV of other than
//!   one entry `EINVAL`
//! - Result:  bytes; regular files and block devices loop until done, end or error, everything
//!   else transfers once
//! - Errors:  at issue: `EBADF`; buffer outside the registered one `EFAULT`, of a vector also an empty
//!   one, or over `MAX_RW_COUNT` `EINVAL`; unknown `RWF_*`
//!   `EOPNOTSUPP`; `RWF_HIPRI` off an IOPOLL ring `EINVAL`; then those of preadv2(2) / pwritev2(2)
//! - Blocks:  never inline (`RWF_NOWAIT`); what would block waits for readiness, or, on a regular
//!   file, goes to the host (`O_DIRECT`), waits for the disk (`request::ahead`), or goes to a worker
//! - Source:  6.18 io_uring/rw.c `__io_prep_rw`, `__io_read`, `io_write`

use super::iov::{MAX_RW_COUNT, import_iovec, iovec_from_user};
use super::opdef::{Cmd, Issue, IssueCx, Op, Outcome, PrepCx, access_ok};
use crate::host::{AioOp, FileKind, Host, Iovec};
use crate::resource::rsrc::{BufNode, BufTable};
use crate::support::opflags::RWF_ACCEPTED;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_uapi::bytes::u64_at;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

const RWF_HIPRI: u32 = 1;
const RWF_NOWAIT: u32 = 8;
/// `RWF_APPEND` and `RWF_NOAPPEND`, which exclude each other.
const RWF_APPENDS: u32 = 0x30;
const RWF_ATOMIC: u32 = 0x40;
const RWF_DONTCACHE: u32 = 0x80;
/// Most iovecs that fit into `KMALLOC_MAX_SIZE` (4 MiB).
const REG_IOVECS_MAX: u32 = 1 << 18;
const O_DIRECT: u32 = 0o40000;
const O_NONBLOCK: u32 = 0o4000;
pub(super) const O_ACCMODE: u32 = 0o3;
pub(super) const O_RDONLY: u32 = 0;
pub(super) const O_WRONLY: u32 = 0o1;
const O_PATH: u32 = 0o10_000_000;
/// The least alignment that a device asks of `O_DIRECT` \[bytes\].
const SECTOR: u64 = 512;
const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;

#[derive(Clone, Debug)]
enum Iovs {
    One([Iovec; 1]),
    Many(Vec<Iovec>),
}

/// See the module's doc.
#[derive(Clone, Debug)]
pub struct Rw {
    iovs: Iovs,
    off: u64,
    rwf: u32,
    write: bool,
    /// Bytes asked for, clamped as the kernel does.
    total: u32,
    /// Bytes done by earlier attempts.
    done: u32,
    /// The registered buffer of a fixed transfer.
    buf_index: Option<u16>,
    /// An error that is due at issue, after the file was found.
    err: Option<Errno>,
    /// A worker goes on with it: its `RWF_NOWAIT` means nothing.
    follows: bool,
    /// It was to move more.
    cut: bool,
}

/// The rows that read or write a file.
macro_rules! transfers {
    ($cmd:expr) => {
        match $cmd {
            Cmd::Read(c)
            | Cmd::Write(c)
            | Cmd::Readv(c)
            | Cmd::Writev(c)
            | Cmd::ReadFixed(c)
            | Cmd::WriteFixed(c)
            | Cmd::ReadvFixed(c)
            | Cmd::WritevFixed(c) => Some(c),
            _ => None,
        }
    };
}

impl Cmd {
    /// Its state, if it reads or writes a file.
    pub(crate) fn rw(&self) -> Option<&Rw> {
        transfers!(self)
    }

    /// The same, to change it.
    pub(crate) fn rw_mut(&mut self) -> Option<&mut Rw> {
        transfers!(self)
    }
}

impl Rw {
    /// Whether a result breaks a link: anything short of what was asked for.
    pub(crate) fn is_short(&self, res: i32) -> bool {
        self.cut || res != self.total as i32
    }

    /// How much it is to move, before anything was, and whether it writes; `None`: it may not be cut.
    pub(crate) fn whole_len(&self) -> Option<(u32, bool)> {
        let fits = self.done == 0 && self.err.is_none() && self.rwf & RWF_ATOMIC == 0;
        (fits && !self.cut).then_some((self.total, self.write))
    }

    /// Lets it move the first `len` bytes only: less than all.
    pub(crate) fn cut(&mut self, len: u32) {
        let mut left = u64::from(len.min(self.total));
        let list = match &mut self.iovs {
            Iovs::One(one) => &mut one[..],
            Iovs::Many(list) => list,
        };
        for v in list {
            v.len = v.len.min(left);
            left -= v.len;
        }
        self.total = len.min(self.total);
        self.cut = true;
    }

    /// Whether it carries `RWF_` flags.
    pub(crate) fn has_flags(&self) -> bool {
        self.rwf != 0
    }

    /// Bytes that earlier attempts moved.
    pub(crate) fn progress(&self) -> u32 {
        self.done
    }

    /// Looks its buffer up (6.18 rsrc.c `io_find_buf_node`): what the slot holds when the request is
    /// issued counts, not what it held at submission.
    pub(crate) fn find_buffer<'a>(
        &mut self,
        bufs: Option<&'a BufTable>,
    ) -> Option<&'a Arc<BufNode>> {
        let index = self.buf_index?;
        let node = bufs.and_then(|b| b.get(index));
        let inside = |range: &Iovec| bufs.is_some_and(|b| b.contains(index, *range));
        self.err = match &self.iovs {
            Iovs::One([range]) => (!inside(range)).then_some(Errno::EFAULT),
            Iovs::Many(_) if node.is_none() => Some(Errno::EFAULT),
            Iovs::Many(list) => reach(list, inside).err(),
        };
        node.filter(|_| self.err.is_none())
    }

    /// How much it asks of a provided buffer; 0: what it has.
    pub(crate) fn asks(&self) -> u32 {
        self.total
    }

    /// Takes the provided buffer that was selected for it.
    ///
    /// # Errors
    /// `EFAULT` beyond the end of user space.
    pub(crate) fn take_buffer(&mut self, buf: Iovec) -> Result<(), Errno> {
        let len = buf.len.min(MAX_RW_COUNT);
        self.total = len as u32;
        self.done = 0;
        self.iovs = Iovs::One([access_ok(Iovec { base: buf.base, len })?]);
        Ok(())
    }

    /// Where the first byte of it all is.
    pub(crate) fn base(&self) -> u64 {
        let iovs: &[Iovec] = match &self.iovs {
            Iovs::One(one) => one,
            Iovs::Many(many) => many,
        };
        iovs.first().map_or(0, |v| v.base)
    }

    /// Whether the next attempt could continue without blocking for the whole range: for
    /// readahead.
    pub(crate) fn readahead_range(&self) -> Option<(u64, u64)> {
        (!self.write && self.off != u64::MAX)
            .then(|| (self.off + u64::from(self.done), u64::from(self.total - self.done)))
    }

    fn one(addr: u64, len: u32, access: bool) -> Result<(Iovs, u32), Errno> {
        let len = u64::from(len).min(MAX_RW_COUNT);
        let v = Iovec { base: addr, len };
        let v = if access { access_ok(v)? } else { v };
        Ok((Iovs::One([v]), len as u32))
    }

    /// What a vector of a registered buffer asks for; it is looked at when it is issued.
    fn fixed_vector<H: Host>(host: &H, addr: u64, n: u32) -> Result<(Iovs, u32), Errno> {
        // rsrc.c `io_prep_reg_iovec` makes room before it counts.
        if n > REG_IOVECS_MAX {
            return Err(Errno::ENOMEM);
        }
        let list = iovec_from_user(host, addr, u64::from(n))?;
        let total = list.iter().fold(0u64, |sum, v| sum.saturating_add(v.len)).min(MAX_RW_COUNT);
        Ok((Iovs::Many(list), total as u32))
    }

    /// rw.c `io_iov_buffer_select_prep`.
    fn selecting<H: Host>(host: &H, sqe: &Sqe, vector: bool) -> Result<(Iovs, u32), Errno> {
        let mut len = sqe.len;
        if vector {
            if len != 1 {
                return Err(Errno::EINVAL);
            }
            let mut entry = [0; 16];
            host.copy_in(sqe.addr, &mut entry)?;
            // Of which the kernel keeps 32 bits.
            len = u64_at(&entry, 8) as u32;
        }
        Ok((Iovs::One([Iovec::default()]), len))
    }

    fn vector<H: Host>(host: &H, addr: u64, n: u32) -> Result<(Iovs, u32), Errno> {
        let vector = import_iovec(host, addr, u64::from(n))?;
        let total = vector.whole().len as u32;
        Ok((Iovs::Many(vector.into_iovs()), total))
    }

    /// All of it, for the host to carry out.
    pub(crate) fn whole(&self, token: u64) -> AioOp<'_> {
        let iov: &[Iovec] = match &self.iovs {
            Iovs::One(one) => one,
            Iovs::Many(list) => list,
        };
        // rw.c `io_read`: what would wait is to say so instead.
        let rwf = self.rwf | RWF_NOWAIT;
        AioOp { token, fd: -1, iov, off: self.off, rwf, write: self.write }
    }

    /// Whether it waits for a device in the call, also with `RWF_NOWAIT`: a transfer of a file that was
    /// opened with `O_DIRECT`, which takes multiples of a sector only.
    #[inline(always)]
    fn waits_for_device<H: Host>(&self, cx: &IssueCx<'_, H>) -> bool {
        let odd = match &self.iovs {
            Iovs::One([v]) => v.base | v.len,
            Iovs::Many(list) => list.iter().fold(0, |odd, v| odd | v.base | v.len),
        };
        is_aligned(odd | self.off)
            && self.total > 0
            && self.done == 0
            && match cx.asked {
                Some(asked) => asked.direct(cx.fd, || is_direct(cx.host, cx.fd, cx.kind)),
                None => is_direct(cx.host, cx.fd, cx.kind),
            }
    }

    /// The part of the buffers that is still to do.
    fn rest(&self, scratch: &mut Vec<Iovec>) -> [Iovec; 1] {
        let mut skip = u64::from(self.done);
        match &self.iovs {
            Iovs::One([v]) => [Iovec { base: v.base + skip, len: v.len - skip }],
            Iovs::Many(list) => {
                for v in list {
                    let s = skip.min(v.len);
                    skip -= s;
                    if v.len > s {
                        scratch.push(Iovec { base: v.base + s, len: v.len - s });
                    }
                }
                [Iovec::default()]
            }
        }
    }

    #[inline(always)]
    fn transfer<H: Host>(&self, cx: &IssueCx<'_, H>, off: u64, rwf: u32) -> Result<u32, Errno> {
        let mut scratch = Vec::new();
        let one;
        let iovs: &[Iovec] = match &self.iovs {
            Iovs::Many(list) if self.done == 0 => list,
            Iovs::One(list) if self.done == 0 => list,
            Iovs::One(_) => {
                one = self.rest(&mut scratch);
                &one
            }
            Iovs::Many(_) => {
                self.rest(&mut scratch);
                &scratch
            }
        };
        if self.write {
            cx.host.writev(cx.fd, iovs, off, rwf)
        } else {
            cx.host.readv(cx.fd, iovs, off, rwf)
        }
    }

    /// What is left after a first attempt that moved `n` bytes of more.
    #[cold]
    fn issue_after<H: Host>(&mut self, cx: &IssueCx<'_, H>, n: u32) -> Outcome {
        self.done = n.min(self.total);
        let kind = cx.kind.unwrap_or_else(|| kind_of(cx));
        if n == 0 || kind != FileKind::Regular {
            return self.finish(Ok(()));
        }
        self.issue(cx)
    }

    /// A first attempt said that it would wait.
    #[cold]
    fn would_block_first<H: Host>(&self, cx: &IssueCx<'_, H>) -> Outcome {
        self.would_block(cx, kind_asked(cx), Errno::EAGAIN)
    }

    /// A first attempt of a write met a file that knows no `RWF_NOWAIT`.
    #[cold]
    fn refused_first<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let kind = kind_asked(cx);
        let outcome = self.would_block(cx, kind, Errno::EOPNOTSUPP);
        if let (Some(asked), FileKind::Regular, Outcome::Punt) = (cx.asked, kind, &outcome) {
            asked.note_writes_wait(cx.fd);
        }
        outcome
    }

    #[cold]
    fn issue_again<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        self.issue(cx)
    }

    fn finish(&self, r: Result<(), Errno>) -> Outcome {
        match r {
            Err(e) if self.done == 0 => Outcome::Done(Err(e), 0),
            _ => Outcome::Done(Ok(self.done as i32), 0),
        }
    }

    /// A call that must not block said `EAGAIN`, or that the file has no such mode.
    fn would_block<H: Host>(&self, cx: &IssueCx<'_, H>, kind: FileKind, e: Errno) -> Outcome {
        if kind == FileKind::Regular {
            let brought = e == Errno::EAGAIN && self.readahead_range().is_some();
            return if brought { Outcome::Ahead } else { Outcome::Punt };
        }
        if e == Errno::EAGAIN {
            // A transfer that already moved bytes is final on everything that can be polled.
            return if self.done > 0 { self.finish(Ok(())) } else { Outcome::Again };
        }
        let ready = cx.host.poll_now(cx.fd, if self.write { POLLOUT } else { POLLIN });
        if ready == 0 { Outcome::Again } else { Outcome::Punt }
    }

    /// Another attempt of a read of a file that has a position, where nothing waits.
    pub(crate) fn read_now<H: Host>(&mut self, host: &H, fd: i32) -> Outcome {
        self.read_on(host, fd, RWF_NOWAIT)
    }

    /// The same, waiting for all of it. `EINTR`: it was interrupted, and may go on.
    pub(crate) fn read_waiting<H: Host>(&mut self, host: &H, fd: i32) -> Outcome {
        self.read_on(host, fd, 0)
    }

    fn read_on<H: Host>(&mut self, host: &H, fd: i32, nowait: u32) -> Outcome {
        loop {
            let mut scratch = Vec::new();
            let one = self.rest(&mut scratch);
            let iovs: &[Iovec] = if scratch.is_empty() { &one } else { &scratch };
            match host.readv(fd, iovs, self.off + u64::from(self.done), self.rwf | nowait) {
                Ok(0) => return self.finish(Ok(())),
                Ok(n) => {
                    self.done = self.done.saturating_add(n).min(self.total);
                    if self.done == self.total {
                        return self.finish(Ok(()));
                    }
                }
                Err(Errno::EAGAIN) if nowait != 0 => return Outcome::Ahead,
                Err(Errno::EINTR) if nowait != 0 => {}
                Err(Errno::EINTR) => return Outcome::Done(Err(Errno::EINTR), 0),
                Err(e) => return self.finish(Err(e)),
            }
        }
    }

    /// Whether [`Self::refuse`] has something to look at.
    #[inline(always)]
    fn is_plain(&self, iopoll: bool, worker: bool) -> bool {
        let known = self.rwf & (RWF_HIPRI | RWF_ATOMIC | !RWF_ACCEPTED) == 0;
        // Who waits on a worker, or moves nothing, is not asked by the call.
        let nowait = self.rwf & RWF_NOWAIT != 0;
        let asks = nowait && worker || (nowait || self.write) && self.total == 0;
        !iopoll && self.err.is_none() && known && !asks && (self.off as i64) >= -1
    }

    /// What is refused between the file's lookup and the transfer, in the kernel's order (rw.c
    /// `io_init_rw_fixed`, `io_rw_init_file`).
    #[cold]
    fn refuse<H: Host>(&self, cx: &IssueCx<'_, H>) -> Result<(), Errno> {
        let status = cx.host.status_flags(cx.fd)?;
        if status & O_PATH != 0 {
            return Err(Errno::EBADF);
        }
        if let Some(e) = self.err {
            return Err(e);
        }
        let wrong_way = if self.write { O_RDONLY } else { O_WRONLY };
        if status & O_ACCMODE == wrong_way {
            return Err(Errno::EBADF);
        }
        if self.rwf & !RWF_ACCEPTED != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let reads = status & O_ACCMODE != O_WRONLY;
        if self.rwf & RWF_NOWAIT != 0 && reads && !has_nowait(cx) {
            return Err(Errno::EOPNOTSUPP);
        }
        // fs.h `kiocb_set_rw_flags`; of files that may have it the call is asked.
        let kind = cx.host.kind(cx.fd)?;
        let some_have = matches!(kind, FileKind::Regular | FileKind::Other);
        if self.rwf & RWF_ATOMIC != 0 && !(self.write && some_have) {
            return Err(Errno::EOPNOTSUPP);
        }
        if cx.iopoll {
            let direct = status & O_DIRECT != 0;
            if !direct || kind != FileKind::Regular {
                return Err(Errno::EOPNOTSUPP);
            }
        } else if self.rwf & RWF_HIPRI != 0 {
            return Err(Errno::EINVAL);
        }
        // read_write.c `rw_verify_area`.
        let before = (self.off as i64) < -1;
        // No call is made for such an offset or for a write of nothing, so none can say that it would wait.
        let asks = before || self.write && self.total == 0;
        if asks && cx.how == Issue::Inline && self.would_wait(cx, kind, status) {
            return Err(Errno::EAGAIN);
        }
        if before { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Whether the kernel has it done by a worker, or says so, before it looks at what is to be moved
    /// (rw.c `__io_read`, `io_write`).
    #[cold]
    fn would_wait<H: Host>(&self, cx: &IssueCx<'_, H>, kind: FileKind, status: u32) -> bool {
        match kind {
            FileKind::Regular if self.write => status & O_DIRECT == 0,
            // rw.c `loop_rw_iter`: of what writes one by one.
            _ if self.write => self.is_nowait() && status & O_NONBLOCK == 0 && !writes_many(cx),
            _ => status & O_NONBLOCK == 0 && !has_nowait(cx),
        }
    }

    /// Whether it writes.
    pub(crate) fn is_write(&self) -> bool {
        self.write
    }

    /// Whether it is not to wait on the submitter; a worker may (rw.c `io_read`, `io_write` clear
    /// `IOCB_NOWAIT` there).
    pub(crate) fn is_nowait(&self) -> bool {
        self.rwf & RWF_NOWAIT != 0 && !self.follows
    }

    /// A worker goes on with it.
    pub(crate) fn follow_worker(&mut self) {
        self.follows = true;
    }

    fn position(&self, kind: Option<FileKind>) -> u64 {
        // Pipes have no position: the kernel ignores the offset for stream files.
        if self.off == u64::MAX || kind == Some(FileKind::Pipe) {
            return u64::MAX;
        }
        if kind == Some(FileKind::Socket) && self.off == 0 {
            return u64::MAX;
        }
        self.off + u64::from(self.done)
    }
}

/// Whether every piece of a vector lies in its buffer, and they are not too much (rsrc.c
/// `io_import_reg_vec`: first there must be room for their pages, `io_vec_fill_bvec`).
fn reach(list: &[Iovec], inside: impl Fn(&Iovec) -> bool) -> Result<(), Errno> {
    const PAGES_MAX: u64 = i32::MAX as u64;
    /// Entries of 16 bytes in the longest allocation there is, 4 MiB.
    const ROOM: u64 = 1 << 18;
    let pages = list.iter().try_fold(0u64, |sum, v| {
        let sum = sum + (v.len >> 12) + 2;
        if sum > PAGES_MAX { Err(Errno::EOVERFLOW) } else { Ok(sum) }
    })?;
    if pages > ROOM {
        return Err(Errno::ENOMEM);
    }
    let mut total = 0u64;
    for v in list {
        if v.len == 0 {
            return Err(Errno::EFAULT);
        }
        total = total.checked_add(v.len).ok_or(Errno::EOVERFLOW)?;
        if !inside(v) {
            return Err(Errno::EFAULT);
        }
    }
    if total > MAX_RW_COUNT { Err(Errno::EINVAL) } else { Ok(()) }
}

fn check_ioprio(ioprio: u16) -> Result<(), Errno> {
    // block/ioprio.c `ioprio_check_cap`: class in the top three bits, level in the low three.
    match (ioprio >> 13, ioprio & 7) {
        (0, 0) | (1..=3, _) => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

impl Op for Rw {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.ioprio != 0 {
            check_ioprio(sqe.ioprio)?;
        }
        if sqe.pad2 != 0 {
            if sqe.pad2 == 1 {
                cx.host.copy_in(sqe.addr3, &mut [0; 32])?;
            }
            return Err(Errno::EINVAL);
        }
        let (write, fixed, vector) = match sqe.opcode {
            60 => (false, true, true),
            61 => (true, true, true),
            1 => (false, false, true),
            2 => (true, false, true),
            4 => (false, true, false),
            5 => (true, true, false),
            23 => (true, false, false),
            _ => (false, false, false),
        };
        let (iovs, total) = if cx.flags.contains(SqeFlags::BUFFER_SELECT) {
            Self::selecting(cx.host, sqe, vector)?
        } else if vector && fixed {
            Self::fixed_vector(cx.host, sqe.addr, sqe.len)?
        } else if vector {
            Self::vector(cx.host, sqe.addr, sqe.len)?
        } else {
            Self::one(sqe.addr, sqe.len, !fixed)?
        };
        let buf_index = fixed.then_some(sqe.buf_index);
        // To a read they mean nothing, but preadv2(2) of a file that is read one by one refuses them.
        let none = !write && sqe.op_flags & RWF_APPENDS != RWF_APPENDS;
        let rwf = if none { sqe.op_flags & !RWF_APPENDS } else { sqe.op_flags };
        let off = sqe.off;
        let (done, err, follows) = (0, None, false);
        let mut rw =
            Self { iovs, off, rwf, write, total, done, buf_index, err, follows, cut: false };
        rw.find_buffer(cx.bufs);
        Ok(rw)
    }

    /// The first attempt of a request on the submitter, for the submission loop to inline: on CPUs
    /// that flush their return predictor on the way out of the kernel, every return between the
    /// system call and the loop is mispredicted (measured: 40 to 80 ns for the first one).
    #[inline(always)]
    fn issue_first<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        if let Iovs::One(iov) = &self.iovs
            && self.is_plain(cx.iopoll, false)
            && self.rwf & RWF_NOWAIT == 0
        {
            if self.waits_for_device(cx) {
                return Outcome::Aio;
            }
            if self.write && cx.asked.is_some_and(|asked| asked.writes_wait(cx.fd)) {
                return Outcome::Punt;
            }
            let (off, rwf) = (self.position(cx.kind), self.rwf | RWF_NOWAIT);
            let r = if self.write {
                cx.host.writev(cx.fd, iov, off, rwf)
            } else {
                cx.host.readv(cx.fd, iov, off, rwf)
            };
            if r == Ok(self.total) {
                return Outcome::Done(Ok(self.total as i32), 0);
            }
            match r {
                Ok(n) => return self.issue_after(cx, n),
                Err(Errno::EAGAIN) => return self.would_block_first(cx),
                Err(Errno::EOPNOTSUPP) if self.write && self.rwf == 0 => {
                    return self.refused_first(cx);
                }
                Err(_) => {}
            }
        }
        self.issue_again(cx)
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let worker = cx.how == Issue::Worker;
        if !self.is_plain(cx.iopoll, worker)
            && let Err(e) = self.refuse(cx)
        {
            let waits = e == Errno::EAGAIN && !self.is_nowait();
            return if waits { Outcome::Punt } else { Outcome::Done(Err(e), 0) };
        }
        // rw.c `loop_rw_iter`: a file that is written buffer by buffer takes no vector of registered ones.
        let vector = self.buf_index.is_some() && matches!(self.iovs, Iovs::Many(_));
        if vector && self.write && self.total > 0 && !writes_many(cx) {
            // Whether it would wait is asked before.
            let waits = self.is_nowait() && !worker && !is_nonblocking(cx.host, cx.fd);
            return Outcome::Done(Err(if waits { Errno::EAGAIN } else { Errno::EINVAL }), 0);
        }
        if !worker && !cx.iopoll && self.waits_for_device(cx) {
            return Outcome::Aio;
        }
        // rw.c `io_write`: a worker waits also for a request that asked not to.
        let nowait = if worker { 0 } else { RWF_NOWAIT };
        let asked = if worker || self.follows { self.rwf & !RWF_NOWAIT } else { self.rwf };
        let mut kind = cx.kind;
        loop {
            let off = self.position(kind);
            match self.transfer(cx, off, asked & !RWF_HIPRI | nowait) {
                Ok(0) => return self.finish(Ok(())),
                Ok(n) => {
                    self.done = self.done.saturating_add(n).min(self.total);
                    if self.done == self.total {
                        return self.finish(Ok(()));
                    }
                    let k = kind.unwrap_or_else(|| kind_of(cx));
                    if k != FileKind::Regular {
                        return self.finish(Ok(()));
                    }
                    kind = Some(k);
                }
                Err(Errno::ESPIPE) if off != u64::MAX && kind.is_none() => {
                    let k = kind_of(cx);
                    if k == FileKind::Socket && self.off != 0 {
                        return self.finish(Err(Errno::ESPIPE));
                    }
                    // Everything without a position behaves as a pipe here.
                    kind = Some(if k == FileKind::Socket { k } else { FileKind::Pipe });
                }
                Err(Errno::ESPIPE) if off != u64::MAX && kind == Some(FileKind::Other) => {
                    kind = Some(FileKind::Pipe);
                }
                Err(e @ (Errno::EAGAIN | Errno::EOPNOTSUPP))
                    if asked & RWF_NOWAIT == 0 && (nowait != 0 || e == Errno::EAGAIN) =>
                {
                    let k = kind.unwrap_or_else(|| kind_of(cx));
                    // Only files of a file system have RWF_DONTCACHE: waiting would not help.
                    let never = e == Errno::EOPNOTSUPP
                        && self.rwf & RWF_DONTCACHE != 0
                        && k != FileKind::Regular;
                    if never || cx.how == Issue::Worker && k == FileKind::Regular {
                        return self.finish(Err(e));
                    }
                    return self.would_block(cx, k, e);
                }
                // The file system of a file that has the mode may not have it for this write.
                Err(Errno::EOPNOTSUPP) if self.write && nowait != 0 && takes_nowait(cx) => {
                    return self.finish(Err(Errno::EAGAIN));
                }
                Err(Errno::EINTR) if cx.how == Issue::Inline => {}
                Err(e) => return self.finish(Err(e)),
            }
        }
    }
}

/// Whether a file or folder can be read without waiting: asked by a read of one byte to nowhere,
/// which comes as far as that question.
#[cold]
fn has_nowait<H: Host>(cx: &IssueCx<'_, H>) -> bool {
    let nowhere = [Iovec { base: 0, len: 1 }];
    !matches!(cx.host.kind(cx.fd), Ok(FileKind::Regular | FileKind::Directory))
        || cx.host.readv(cx.fd, &nowhere, 0, RWF_NOWAIT) != Err(Errno::EOPNOTSUPP)
}

/// The same of what a write was refused by: asked of what a read to nowhere takes nothing from.
#[cold]
fn takes_nowait<H: Host>(cx: &IssueCx<'_, H>) -> bool {
    let nowhere = [Iovec { base: 0, len: 1 }];
    !matches!(kind_of(cx), FileKind::Regular | FileKind::Other)
        || cx.host.readv(cx.fd, &nowhere, u64::MAX, RWF_NOWAIT) != Err(Errno::EOPNOTSUPP)
}

/// Whether one call can write many pieces to a file; asked, of what is no socket or pipe, by a write
/// from nowhere.
#[cold]
fn writes_many<H: Host>(cx: &IssueCx<'_, H>) -> bool {
    let nowhere = [Iovec { base: 0, len: 1 }];
    kind_of(cx) != FileKind::Other
        || cx.host.writev(cx.fd, &nowhere, u64::MAX, RWF_NOWAIT) != Err(Errno::EOPNOTSUPP)
}

/// Whether an offset, address or length could be one of an `O_DIRECT` transfer; of several, those of
/// all, or'ed.
#[inline(always)]
pub(crate) fn is_aligned(n: u64) -> bool {
    n & (SECTOR - 1) == 0
}

/// Whether the file is one on a disk that was opened with `O_DIRECT`.
#[cold]
pub(crate) fn is_direct<H: Host>(host: &H, fd: i32, kind: Option<FileKind>) -> bool {
    kind.is_none_or(|kind| kind == FileKind::Regular)
        && host.status_flags(fd).is_ok_and(|f| f & O_DIRECT != 0)
        && kind.map_or_else(|| host.kind(fd), Ok) == Ok(FileKind::Regular)
}

/// The kind of the file, asked for once a batch.
fn kind_asked<H: Host>(cx: &IssueCx<'_, H>) -> FileKind {
    cx.kind.unwrap_or_else(|| match cx.asked {
        Some(asked) => asked.kind(cx.fd, || kind_of(cx)),
        None => kind_of(cx),
    })
}

fn kind_of<H: Host>(cx: &IssueCx<'_, H>) -> FileKind {
    cx.host.kind(cx.fd).unwrap_or(FileKind::Other)
}

/// Whether reading this descriptor in a worker could wait for something that only readiness tells
/// (a blocking pipe, tty or eventfd): kept for workers, which then poll first.
pub(crate) fn is_nonblocking<H: Host>(host: &H, fd: i32) -> bool {
    host.status_flags(fd).is_ok_and(|f| f & O_NONBLOCK != 0)
}
