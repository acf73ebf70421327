//! `IORING_OP_SEND_ZC`, `SENDMSG_ZC` (since 6.0 / 6.1): sends that tell when their buffer is free again.
//!
//! - Reads:   as SEND and SENDMSG; `ioprio` besides: `IORING_RECVSEND_FIXED_BUF` with `buf_index` (the
//!   bytes, of SENDMSG_ZC each of its buffers, lie in a registered one), `IORING_SEND_ZC_REPORT_USAGE`
//! - Rejects: `EINVAL`, without a notification: `addr3`, `__pad2`, `IOSQE_CQE_SKIP_SUCCESS`; with one: as
//!   SEND and SENDMSG but for a negative `len`, and FIXED_BUF with VECTORIZED
//! - Flags:   `MORE`; a notification follows (`request/notif.rs`)
//! - Result:  bytes, as SEND and SENDMSG
//! - Errors:  `ENOTSOCK`; `EOPNOTSUPP` of what is neither TCP nor UDP; outside the registered buffer
//!   `EFAULT` (of SENDMSG_ZC before these, an empty one of its buffers too); then those of the call
//! - Blocks:  never, as SEND and SENDMSG. The kernel copies: nothing is sent from pages of the program's
//! - Source:  6.18 io_uring/net.c `io_send_zc_prep`, `io_send_setup`, `io_send_zc`, `io_sendmsg_zc`;
//!   rsrc.c `io_import_reg_vec`

use super::iov::{MAX_RW_COUNT, Vector, import_iovec, iovec_from_user};
use super::msg::{Header, Sending};
use super::opdef::{IssueCx, Op, Outcome, PrepCx, access_ok};
use super::sendrecv::{Transfer, destination};
use crate::host::{Host, Iovec};
use crate::resource::rsrc::{BufNode, BufTable};
use crate::support::opflags::{FIXED_BUF, SEND_ZC_ACCEPTED, VECTORIZED};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Errno, Sqe};

const SENDMSG_ZC: u8 = 48;
const MSG_ZEROCOPY: u32 = 0x400_0000;

#[derive(Debug)]
struct Zc {
    sending: Sending,
    /// The registered buffer that the bytes lie in.
    buf_index: Option<u16>,
    /// What is wrong with its place there.
    import: Result<(), Errno>,
    /// Whether it is SENDMSG_ZC.
    message: bool,
    /// The socket was asked whether it can do this.
    asked: bool,
    faulted: bool,
}

/// See the module's doc.
#[derive(Debug)]
pub struct SendZc(Box<Zc>);

/// Whether prep comes as far as a notification.
pub(crate) fn notifies(sqe: &Sqe, flags: SqeFlags) -> bool {
    sqe.pad2 == 0 && sqe.addr3 == 0 && !flags.contains(SqeFlags::CQE_SKIP_SUCCESS)
}

impl SendZc {
    pub(super) fn transfer(&self) -> &Transfer {
        &self.0.sending.transfer
    }

    pub(super) fn transfer_mut(&mut self) -> &mut Transfer {
        &mut self.0.sending.transfer
    }

    pub(crate) fn has_control(&self) -> bool {
        self.0.sending.has_control()
    }

    /// Whether it ended with a bad address: then the kernel does not count the bytes as copied.
    pub(crate) fn faulted(&self) -> bool {
        self.0.faulted
    }

    /// Looks its buffer up (rsrc.c `io_find_buf_node`).
    pub(crate) fn find_buffer<'a>(
        &mut self,
        bufs: Option<&'a BufTable>,
    ) -> Option<&'a Arc<BufNode>> {
        let zc = &mut *self.0;
        let index = zc.buf_index?;
        let found = bufs.and_then(|b| Some((b, b.get(index)?)));
        zc.import = match found {
            Some((bufs, _)) => zc.lies_in(bufs, index),
            None => Err(Errno::EFAULT),
        };
        found.map(|(_, node)| node).filter(|_| zc.import.is_ok())
    }
}

impl Zc {
    fn lies_in(&self, bufs: &BufTable, index: u16) -> Result<(), Errno> {
        let vector = &self.sending.vector;
        let outside = |v: &Iovec| self.message && v.len == 0 || !bufs.contains(index, *v);
        if vector.iovs().iter().any(outside) {
            return Err(Errno::EFAULT);
        }
        if vector.whole().len > MAX_RW_COUNT { Err(Errno::EINVAL) } else { Ok(()) }
    }

    fn of_send<H: Host>(host: &H, sqe: &Sqe) -> Result<Self, Errno> {
        let to = destination(host, sqe)?.map(|to| *to);
        let fixed = sqe.ioprio & FIXED_BUF != 0;
        // The kernel keeps it as a number with a sign.
        let one = Iovec { base: sqe.addr, len: i64::from(sqe.len.cast_signed()).cast_unsigned() };
        let vector = match (fixed, sqe.ioprio & VECTORIZED != 0) {
            (true, true) => return Err(Errno::EINVAL),
            (true, false) => Vector::new(vec![one]),
            (false, true) => import_iovec(host, sqe.addr, u64::from(sqe.len))?,
            (false, false) => {
                let one = Iovec { len: one.len.min(MAX_RW_COUNT), ..one };
                Vector::new(vec![access_ok(one)?])
            }
        };
        let transfer = Transfer::new(vector.whole(), sqe.op_flags, sqe.ioprio);
        Ok(Self::of(Sending { to, vector, control: (0, 0), transfer }, sqe))
    }

    fn of_message<H: Host>(host: &H, sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.off != 0 || sqe.file_index != 0 {
            return Err(Errno::EINVAL);
        }
        let header = Header::copy(host, sqe.addr)?;
        let to = header.destination(host)?;
        let (addr, n) = header.iov;
        let vector = if sqe.ioprio & FIXED_BUF == 0 {
            import_iovec(host, addr, n)?
        } else {
            Vector::new(iovec_from_user(host, addr, n)?)
        };
        Ok(Self::of(Sending::of(to, &header, vector, sqe), sqe))
    }

    fn of(sending: Sending, sqe: &Sqe) -> Self {
        let buf_index = (sqe.ioprio & FIXED_BUF != 0).then_some(sqe.buf_index);
        let message = sqe.opcode == SENDMSG_ZC;
        Self { sending, buf_index, import: Ok(()), message, asked: false, faulted: false }
    }

    /// What is asked before the first attempt, in the kernel's order.
    fn ask<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Result<(), Errno> {
        if core::mem::replace(&mut self.asked, true) {
            return Ok(());
        }
        let can = cx.host.sends_zero_copy(cx.fd);
        if self.message && can != Err(Errno::EBADF) {
            self.import?;
        }
        if can? { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
    }
}

impl Op for SendZc {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        if !notifies(sqe, cx.flags) || sqe.ioprio & !SEND_ZC_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let zc = if sqe.opcode == SENDMSG_ZC {
            Zc::of_message(cx.host, sqe)?
        } else {
            Zc::of_send(cx.host, sqe)?
        };
        Ok(Self(Box::new(zc)))
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        let zc = &mut *self.0;
        if let Err(e) = zc.ask(cx) {
            return Outcome::Done(Err(e), 0);
        }
        let outcome = zc.sending.run(cx, MSG_ZEROCOPY, zc.import);
        zc.faulted = zc.import.is_ok() && outcome == Outcome::Done(Err(Errno::EFAULT), 0);
        outcome
    }
}
