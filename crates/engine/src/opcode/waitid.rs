//! `IORING_OP_WAITID` (since 6.7): wait until a child changes its state.
//!
//! - Reads:   `len` = idtype; `fd` = id; `file_index` = options; `off` = `siginfo_t`, or NULL
//! - Rejects: `EINVAL` if `addr buf_index addr3 op_flags` is set
//! - Result:  0; with WNOHANG also for no child, and then `si_signo` is 0
//! - Errors:  waitid(2): `EINVAL` idtype, id, options; `ECHILD`; `EBADF` no pidfd. `EFAULT` the
//!   `siginfo_t` (the child is gone then). `ECANCELED`, and then `si_signo` is 0
//! - Blocks:  yes, in a waiter of its own (`request::waiter`)
//! - Source:  6.18 io_uring/waitid.c `io_waitid_prep`, `io_waitid`, `io_waitid_finish`

use super::opdef::{Cmd, IssueCx, Op, Outcome, PrepCx};
use crate::engine::Engine;
use crate::host::{Child, Host, HostFile};
use crate::request::waiter::Call;
use crate::request::{Req, ReqFile};
use crate::ring::{Ring, State};
use alloc::sync::Arc;
use ringer_uapi::{Errno, Sqe};

const P_PIDFD: i32 = 3;
const WNOHANG: i32 = 1;
/// `__WNOTHREAD`: of the calling thread's children only, which a waiter has none of.
const WNOTHREAD: i32 = 0x2000_0000;
const SIGCHLD: i32 = 17;
const O_NONBLOCK: u32 = 0o4000;

/// See the module's doc.
#[derive(Debug)]
pub struct Waitid {
    which: i32,
    id: i32,
    options: i32,
    info: u64,
}

impl Op for Waitid {
    fn prep<H: Host>(_cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let Sqe { addr: 0, buf_index: 0, addr3: 0, op_flags: 0, len, fd, file_index, off, .. } =
            *sqe
        else {
            return Err(Errno::EINVAL);
        };
        let options = file_index.cast_signed();
        Ok(Self { which: len.cast_signed(), id: fd, options, info: off })
    }

    fn issue<H: Host>(&mut self, _cx: &IssueCx<'_, H>) -> Outcome {
        Outcome::Queued
    }
}

/// Fills in a `siginfo_t`, if there is one: of a child, or of none.
///
/// # Errors
/// `EFAULT`.
pub(crate) fn tell_child<H: Host>(host: &H, at: u64, child: Option<&Child>) -> Result<(), Errno> {
    if at == 0 {
        return Ok(());
    }
    let none = Child { code: 0, pid: 0, uid: 0, status: 0 };
    let (signo, c) = child.map_or((0, &none), |c| (SIGCHLD, c));
    let bytes = |words: [i32; 3]| {
        let mut b = [0; 12];
        for (to, word) in b.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word.to_ne_bytes();
        }
        b
    };
    // si_signo, si_errno, si_code; a word between; si_pid, si_uid, si_status.
    host.copy_out(at, &bytes([signo, 0, c.code]))?;
    host.copy_out(at.wrapping_add(16), &bytes([c.pid, c.uid.cast_signed(), c.status]))
}

/// What a wait came to, told. Of no child at all nobody is told, too; of what is wrong with the
/// question nothing (`kernel_waitid_prepare` comes before).
pub(crate) fn finish<H: Host>(
    host: &H,
    at: u64,
    found: Result<Option<Child>, Errno>,
) -> Result<i32, Errno> {
    match found {
        Ok(child) => tell_child(host, at, child.as_ref()).map(|()| 0),
        Err(Errno::ECHILD) => tell_child(host, at, None).and(Err(Errno::ECHILD)),
        Err(e) => Err(e),
    }
}

impl<H: Host> Engine<H> {
    pub(crate) fn issue_waitid(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        let Some(Cmd::Waitid(Waitid { which, id, options, info })) = req.cmd else { return };
        let now = self.host().waitid(which, id, options | WNOHANG);
        let waits = now == Ok(None) && options & WNOHANG == 0 && !self.is_impatient(which, id);
        if !waits {
            let res = finish(self.host(), info, now);
            return self.complete(ring, st, req, res, 0);
        }
        let mut id = id;
        if which == P_PIDFD {
            // The program may close its number: the request is about what it was.
            match self.host().hold(id) {
                Ok(file) => {
                    id = file.number().unwrap_or(id);
                    req.file = ReqFile::Held(file);
                }
                Err(e) => return self.complete(ring, st, req, Err(e), 0),
            }
        }
        let call = Call::Child { which, id, options: options & !WNOTHREAD, info };
        self.wait_for(ring, st, req, call);
    }

    /// Whether a pidfd is non-blocking: it is asked as with WNOHANG (kernel/exit.c
    /// `kernel_waitid_prepare`).
    fn is_impatient(&self, which: i32, id: i32) -> bool {
        which == P_PIDFD && self.host().status_flags(id).is_ok_and(|f| f & O_NONBLOCK != 0)
    }
}
