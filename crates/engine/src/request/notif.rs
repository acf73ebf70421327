//! Notifications: the second completion of a send without a copy, which says that its buffer is free.
//!
//! ```text
//!  SEND_ZC --ends--> result, MORE --> chain goes on
//!            '-----> notification, a request of its own in `State::ready` --> NOTIF
//! ```
//! One is owed from prep on, so also by what is refused there, cancelled, or never started. As the
//! kernel's it is posted in task work: behind the batch, before what follows in the chain, but behind the
//! members that a failure cancels. It has the registered buffer, whose tag comes after it.
//!
//! What it does not do: wait. Bytes were copied when the result is known; a kernel that sends pages waits
//! until the last of them was acknowledged. Source: 6.18 io_uring/notif.c, net.c `io_send_zc_cleanup`,
//! `io_sendrecv_fail`.

use super::{Phase, Req, ReqFile};
use crate::host::Host;
use crate::opcode::{Cmd, zc};
use crate::support::opflags::{REPORT_USAGE, SEND_ZC_ACCEPTED};
use alloc::boxed::Box;
use ringer_uapi::flags::{CqeFlags, SqeFlags};
use ringer_uapi::{Errno, Sqe};

/// `IORING_NOTIF_USAGE_ZC_COPIED`.
const COPIED: i32 = i32::MIN;

/// What a request has to do with notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notif {
    /// Nothing.
    None,
    /// It owes one.
    Owed {
        /// The usage is to be reported.
        report: bool,
        /// Its own completion says so (`IORING_CQE_F_MORE`), but not when its chain cancelled it.
        more: bool,
    },
    /// It is one, with this result.
    Is(i32),
}

impl Notif {
    /// What an entry owes whose prep is about to run.
    pub(crate) fn of(sqe: &Sqe, flags: SqeFlags) -> Self {
        if !crate::opcode::opdef(sqe.opcode).is_some_and(|d| d.notifies)
            || !zc::notifies(sqe, flags)
        {
            return Self::None;
        }
        let known = sqe.ioprio & !SEND_ZC_ACCEPTED == 0;
        Self::Owed { report: known && sqe.ioprio & REPORT_USAGE != 0, more: true }
    }
}

impl<H: Host> Req<H> {
    /// The result and flags of its completion.
    #[inline]
    pub(super) fn noted(&self, res: Result<i32, Errno>, cflags: u32) -> (Result<i32, Errno>, u32) {
        match self.notif {
            Notif::Owed { more: true, .. } => (res, cflags | CqeFlags::MORE.bits()),
            // Whatever ends it: there is nothing to cancel.
            Notif::Is(res) => (Ok(res), CqeFlags::NOTIF.bits()),
            Notif::None | Notif::Owed { .. } => (res, cflags),
        }
    }

    /// Its chain cancelled it (timeout.c `io_fail_links` does not ask `io_sendrecv_fail`).
    pub(super) fn without_more(&mut self) {
        if let Notif::Owed { more, .. } = &mut self.notif {
            *more = false;
        }
    }

    /// Whether it is a notification.
    pub(super) fn is_notif(&self) -> bool {
        matches!(self.notif, Notif::Is(_))
    }

    /// The notification that is due when it has ended.
    #[inline]
    pub(super) fn take_notif(&mut self) -> Option<Box<Self>> {
        let Notif::Owed { report, .. } = self.notif else { return None };
        self.notif = Notif::None;
        let faulted = matches!(&self.cmd, Some(Cmd::SendZc(c) | Cmd::SendmsgZc(c)) if c.faulted());
        let res = if report && !faulted { COPIED } else { 0 };
        Some(Box::new(Self {
            note: None,
            user_data: self.user_data,
            opcode: 0,
            flags: SqeFlags::empty(),
            fd: -1,
            cmd: None,
            file: ReqFile::None,
            buf: self.buf.take(),
            kbuf: None,
            buf_group: 0,
            next: None,
            // It has nothing to start.
            failed: Some(Errno::ECANCELED),
            input: None,
            creds: None,
            linked: super::Linked::None,
            notif: Notif::Is(res),
            phase: Phase::Fresh,
            head: None,
            cancelled: false,
            gave_up: false,
            untried: false,
            hushed: false,
            on_worker: false,
            task: self.task,
            trail: self.trail,
            fate: None,
        }))
    }

    /// Whether its notification is due before what follows it in its chain: a call was made for it, and not
    /// on a worker.
    pub(super) fn notifies_first(&self, res: Result<i32, Errno>) -> bool {
        self.failed.is_none() && !self.on_worker && !res.is_err_and(|e| self.returns(e))
    }
}
