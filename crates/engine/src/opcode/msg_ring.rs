//! `IORING_OP_MSG_RING` (since 5.18): a completion, or a registered file, for another ring.
//!
//! - Reads:   `fd` = the target; `addr` = command; `off` = user_data over there; `len` = result over
//!   there (DATA); `addr3` = slot here, `file_index` = slot + 1 there (SEND_FD), or the flags of the
//!   completion (DATA with FLAGS_PASS); `op_flags`
//! - Rejects: `EINVAL` if `buf_index personality` is set, for unknown flags and commands; DATA: if
//!   `addr3` is set, for CQE_SKIP, `file_index` without FLAGS_PASS; SEND_FD: if `len` is set, to itself
//! - Result:  0; SEND_FD with ALLOC: the slot
//! - Errors:  `EBADF`; `EBADFD` no ring, or a disabled one; SEND_FD: `EBADF` from an empty slot,
//!   `ENXIO` no table there, `EINVAL` beyond it, `ENFILE` full, `EOWNERDEAD` the owner of a
//!   DEFER_TASKRUN ring has exited
//! - Blocks:  never; a target that is busy gets it when the sender's lock is free (`ring::message`)
//! - Source:  6.18 io_uring/msg_ring.c `io_msg_ring_prep`, `io_msg_ring`, `io_msg_ring_data`,
//!   `io_msg_send_fd`, `io_uring_sync_msg_ring`

use super::opdef::{Cmd, IssueCx, Op, Outcome, PrepCx};
use crate::engine::Engine;
use crate::host::Host;
use crate::request::Req;
use crate::ring::{Message, Ring, State};
use crate::support::opflags::MSG_RING_ACCEPTED;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Acquire;
use ringer_uapi::bytes::u64_at;
use ringer_uapi::flags::SqeFlags;
use ringer_uapi::{Cqe, Errno, Sqe};

const CMD_DATA: u32 = 0;
const CMD_SEND_FD: u32 = 1;
const CQE_SKIP: u32 = 1;
const FLAGS_PASS: u32 = 2;
/// `IORING_OP_MSG_RING`.
const MSG_RING: u8 = 40;

/// See the module's doc.
#[derive(Clone, Copy, Debug)]
pub struct MsgRing {
    cmd: u32,
    user_data: u64,
    len: u32,
    /// The slot that a file comes from.
    src: u32,
    /// The slot that it goes to, or flags of the completion.
    dst: u32,
    flags: u32,
}

impl MsgRing {
    fn new(sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.buf_index != 0 || sqe.personality != 0 || sqe.op_flags & !MSG_RING_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            cmd: sqe.addr as u32,
            user_data: sqe.off,
            len: sqe.len,
            src: sqe.addr3 as u32,
            dst: sqe.file_index,
            flags: sqe.op_flags,
        })
    }

    /// What DATA posts over there.
    fn data<H: Host>(&self, to: &Ring<H>) -> Result<Cqe, Errno> {
        let passes = self.flags & FLAGS_PASS != 0;
        if self.src != 0 || self.flags & !FLAGS_PASS != 0 || !passes && self.dst != 0 {
            return Err(Errno::EINVAL);
        }
        is_enabled(to)?;
        let (res, flags) = (self.len as i32, self.dst);
        Ok(Cqe { user_data: self.user_data, res, flags, ..Cqe::default() })
    }
}

impl Op for MsgRing {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        Self::new(sqe)
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

/// An answer that a disabled ring takes nothing.
fn is_enabled<H: Host>(to: &Ring<H>) -> Result<(), Errno> {
    if to.disabled.load(Acquire) { Err(Errno::EBADFD) } else { Ok(()) }
}

impl<H: Host> Engine<H> {
    pub(crate) fn issue_msg_ring(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let Some(Cmd::MsgRing(cmd)) = req.cmd else { return };
        match self.message_of(ring, st, &req, &cmd) {
            Ok((to, message)) => self.send(ring, st, req, (to, message)),
            Err(e) => self.complete(ring, st, req, Err(e), 0),
        }
    }

    /// The target and what goes there, every check of the sender's done.
    fn message_of(
        &self,
        ring: &Arc<Ring<H>>,
        st: &State<H>,
        req: &Req<H>,
        cmd: &MsgRing,
    ) -> Result<(Arc<Ring<H>>, Message<H>), Errno> {
        if req.flags.contains(SqeFlags::FIXED_FILE) {
            // No ring can be registered as a file.
            let there = st.files.as_ref().is_some_and(|t| t.get(req.fd).is_some());
            return Err(if there { Errno::EBADFD } else { Errno::EBADF });
        }
        let to = self.target(req.fd)?;
        let message = match cmd.cmd {
            CMD_DATA => Message::Data(cmd.data(&to)?),
            CMD_SEND_FD => {
                if cmd.len != 0 || Arc::ptr_eq(&to, ring) {
                    return Err(Errno::EINVAL);
                }
                is_enabled(&to)?;
                let from = st.files.as_ref().and_then(|t| t.get(cmd.src as i32));
                let file = from.ok_or(Errno::EBADF)?.file.clone();
                let tell = (cmd.flags & CQE_SKIP == 0).then_some(cmd.user_data);
                Message::File { file, slot: cmd.dst, tell }
            }
            _ => return Err(Errno::EINVAL),
        };
        Ok((to, message))
    }

    /// The ring behind a descriptor.
    fn target(&self, fd: i32) -> Result<Arc<Ring<H>>, Errno> {
        match self.host().ring_of(fd) {
            Ok(id) => self.ring(id).ok_or(Errno::EBADFD),
            Err(Errno::EOPNOTSUPP) => Err(Errno::EBADFD),
            Err(e) => Err(e),
        }
    }

    /// `IORING_REGISTER_SEND_MSG_RING` (register.c `io_uring_register_send_msg_ring`): one entry at
    /// `arg`, sent without a ring.
    pub(crate) fn send_msg_ring(&self, arg: u64, nr: u32) -> Result<u32, Errno> {
        if arg == 0 || nr != 1 {
            return Err(Errno::EINVAL);
        }
        let mut b = [0u8; 64];
        self.host().copy_in(arg, &mut b)?;
        let mut words = [0; 8];
        for (i, w) in words.iter_mut().enumerate() {
            *w = u64_at(&b, 8 * i);
        }
        let sqe = Sqe::from_words(words);
        if sqe.flags != 0 || sqe.opcode != MSG_RING {
            return Err(Errno::EINVAL);
        }
        let cmd = MsgRing::new(&sqe)?;
        if cmd.cmd != CMD_DATA {
            return Err(Errno::EINVAL);
        }
        let to = self.target(sqe.fd)?;
        let message = Message::Data(cmd.data(&to)?);
        self.send_alone(&to, message)
    }
}
