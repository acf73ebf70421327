//! What a policy does to requests, carried out.
//!
//! ```text
//!   entry taken  --fate--> Req::fate       worker: IOSQE_ASYNC is set
//!   start        --------> errno: it ends  short: its transfer is cut
//!   it has ended --------> delay: held (held.rs)
//!   posted       --------> overflow: behind the backlog     lose, twice: what no kernel does
//!   wait sleeps  --------> interrupt: EINTR
//! ```
//! Each act is told to the trace when it is carried out; what does not fit a request (a NOP cannot be
//! short) is dropped and told nowhere. What is legal here is so for every request it is done to: only
//! streams and files are cut, pipes not within PIPE_BUF, `O_DIRECT` at 4 KiB, nothing that asks for all
//! (MSG_WAITALL, RWF_ATOMIC). What this does not do: decide (`policy.rs`, `chaos.rs`).

use super::start::locate;
use super::{Linked, Req};
use crate::engine::Engine;
use crate::host::{FileKind, Host};
use crate::opcode::rw::is_direct;
use crate::policy::{Act, Fate, Share, Submission, What};
use crate::ring::{Ring, State};
use crate::slab::Key;
use crate::trace::{Injected, Trail};
use alloc::boxed::Box;
use alloc::sync::Arc;
use ringer_uapi::flags::{Setup, SqeFlags};
use ringer_uapi::{Cqe, Errno, Sqe};

/// How long a completion stays behind a full queue that nobody comes for \[ns\].
const BEHIND_NS: u64 = 20_000_000;
/// Longest path that a policy is shown \[bytes\].
const PATH_MAX: usize = 1024;
/// What a pipe takes wholly or not at all \[bytes\].
const PIPE_BUF: u32 = 4096;
/// What every device takes as alignment of `O_DIRECT` \[bytes\].
const BLOCK: u32 = 4096;
/// `IORING_OP_TIMEOUT`.
const TIMEOUT: u8 = 11;
/// `IORING_OP_LINK_TIMEOUT`: it is part of another request.
const LINK_TIMEOUT: u8 = 15;

/// What a ring keeps for a policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fates {
    /// A policy says what becomes of its requests, or the host answers them.
    pub adopted: bool,
    /// The host answers them: none is made of an entry.
    pub replayed: bool,
    /// A timeout was answered: who waits for more than there is waits no longer.
    pub timed: bool,
    /// Entries taken, if one does or it answers.
    pub entries: u64,
    /// Waits that were to sleep, if one does.
    pub waits: u64,
}

impl<H: Host> Engine<H> {
    /// What the policy does to an entry of a ring that it has adopted.
    #[cold]
    pub(crate) fn fate_of(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        sqe: &Sqe,
    ) -> Option<Box<Fate>> {
        st.fates.entries += 1;
        if sqe.opcode == LINK_TIMEOUT {
            return None;
        }
        let number = self.number_of(st, sqe);
        let mut name = [0; PATH_MAX];
        let path = number.filter(|_| self.policy().wants_paths(ring.id)).and_then(|n| {
            let len = self.host().path_of(n, &mut name).ok()?;
            name.get(..len)
        });
        self.policy().fate(&Submission { ring: ring.id, nth: st.fates.entries, sqe, number, path })
    }

    /// A request was made of its entry.
    #[cold]
    pub(crate) fn fated(&self, ring: &Ring<H>, req: &mut Req<H>, mut fate: Box<Fate>) {
        let told = (fate.nth, fate.number);
        if let Some(act) = fate.take(|what| *what == What::Worker)
            && !req.flags.contains(SqeFlags::ASYNC)
        {
            req.flags |= SqeFlags::ASYNC;
            req.on_worker = true;
            self.tell_act(ring, req, told, act);
        }
        req.fate = Some(fate);
    }

    /// A request starts.
    ///
    /// # Errors
    /// It ends so, and nothing of it is tried.
    #[cold]
    pub(super) fn act_on(
        &self,
        ring: &Ring<H>,
        st: &State<H>,
        req: &mut Req<H>,
    ) -> Result<(), Errno> {
        let Some(fate) = &mut req.fate else { return Ok(()) };
        let told = (fate.nth, fate.number);
        let fails = fate.take(|what| matches!(what, What::Fail(_)));
        let shorts = fate.take(|what| matches!(what, What::Short(_)));
        if let Some(act) = fails
            && let What::Fail(e) = act.what
        {
            self.tell_act(ring, req, told, act);
            return Err(e);
        }
        if let Some(Act { rule, what: What::Short(share) }) = shorts
            && let Some(len) = self.shorten(st, req, share)
        {
            self.tell_act(ring, req, told, Act { rule, what: What::Short(Share::Bytes(len)) });
        }
        Ok(())
    }

    /// Cuts a transfer, if a kernel might move less of it: to how much.
    fn shorten(&self, st: &State<H>, req: &mut Req<H>, share: Share) -> Option<u32> {
        let (fd, kind) = locate(st, req).ok()??;
        let host = self.host();
        let kind = kind.map_or_else(|| host.kind(fd), Ok).ok()?;
        let selects = req.selects();
        let cmd = req.cmd.as_mut()?;
        if let Some(rw) = cmd.rw_mut() {
            let (len, writes) = rw.whole_len()?;
            let least = match kind {
                FileKind::Regular if is_direct(host, fd, Some(kind)) => BLOCK,
                FileKind::Pipe if writes => PIPE_BUF,
                FileKind::Socket if !host.is_byte_stream(fd) => return None,
                FileKind::Regular | FileKind::Pipe | FileKind::Socket => 1,
                FileKind::Directory | FileKind::Other => return None,
            };
            // Of a provided buffer only its own length is known, later.
            let len = part(share, len, least).filter(|_| !selects)?;
            rw.cut(len);
            return Some(len);
        }
        if !host.is_byte_stream(fd) {
            return None;
        }
        let transfer = cmd.transfer_mut()?;
        let len = part(share, transfer.whole_len()?, 1).filter(|_| !selects)?;
        transfer.shorten(len);
        Some(len)
    }

    /// For how long the completion of a request that has ended is to be held \[ns\], 0: not at all.
    #[cold]
    pub(super) fn delay(&self, ring: &Ring<H>, st: &State<H>, req: &mut Req<H>) -> u64 {
        // What a chain cancels is told in its order; a timeout that has fired ends waits at once.
        let ends = matches!(req.linked, Linked::None)
            && req.failed.is_none()
            && !req.is_notif()
            && req.opcode != TIMEOUT
            && !st.dying;
        if !ends || ring.setup.contains(Setup::IOPOLL) {
            return 0;
        }
        let Some(fate) = &mut req.fate else { return 0 };
        let told = (fate.nth, fate.number);
        match fate.take(|what| matches!(what, What::Delay(_))) {
            Some(act @ Act { what: What::Delay(ns), .. }) => {
                self.tell_act(ring, req, told, act);
                ns
            }
            _ => 0,
        }
    }

    /// Posts the last completion of a request with a fate. As [`Ring::post`].
    #[cold]
    pub(super) fn post_fated(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: &mut Req<H>,
        cqe: Cqe,
    ) -> bool {
        let Some(fate) = &mut req.fate else { return ring.post(st, cqe) };
        let told = (fate.nth, fate.number);
        let act = fate.take(|what| matches!(what, What::Overflow | What::Lose | What::Twice));
        // Another process would not come for what stands behind the backlog of this one.
        let fits = |act: &Act| act.what != What::Overflow || st.kin.is_none();
        let Some(act) = act.filter(|act| !st.unmapped && !st.dying && fits(act)) else {
            return ring.post(st, cqe);
        };
        self.tell_act(ring, req, told, act);
        match act.what {
            What::Lose => return true,
            What::Twice => {
                ring.post(st, cqe);
            }
            _ => {
                ring.post_behind(st, cqe);
                // Nothing that the pages show tells them of it.
                self.wake_waiters(ring, st, true);
                self.wake_at(ring, st, BEHIND_NS, Key::from_bits(0));
                return false;
            }
        }
        ring.post(st, cqe)
    }

    /// A wait is about to sleep: whether it is interrupted instead.
    #[cold]
    pub(crate) fn interrupts(&self, ring: &Ring<H>, st: &mut State<H>) -> bool {
        st.fates.waits += 1;
        let Some(act) = self.policy().interrupts(ring.id, st.fates.waits) else { return false };
        self.tell(&Injected {
            ring: ring.id.0,
            nth: st.fates.waits,
            act,
            opcode: 0,
            number: None,
            user_data: 0,
            trail: Trail::default(),
        });
        true
    }

    fn tell_act(&self, ring: &Ring<H>, req: &Req<H>, (nth, number): (u64, Option<i32>), act: Act) {
        self.tell(&Injected {
            ring: ring.id.0,
            nth,
            act,
            opcode: req.opcode,
            number,
            user_data: req.user_data,
            trail: req.trail,
        });
    }

    fn tell(&self, injected: &Injected) {
        self.policy().did(injected);
        self.host().trace_injected(injected);
    }
}

/// How much of `len` bytes a share is, in multiples of `least`; `None`: all of it.
fn part(share: Share, len: u32, least: u32) -> Option<u32> {
    let most = len.checked_sub(1)? / least;
    let units = match share {
        Share::Bytes(n) => (n / least).min(most),
        Share::Dice(_) if most == 0 => 0,
        Share::Dice(dice) => 1 + dice % most,
    };
    (units > 0).then_some(units * least)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_less_than_the_whole_and_more_than_nothing() {
        for len in 0..40 {
            for dice in 0..100 {
                let some = part(Share::Dice(dice), len, 1);
                assert_eq!(some.is_some(), len > 1, "{len}");
                assert!(some.is_none_or(|n| n > 0 && n < len), "{some:?} of {len}");
            }
        }
    }

    #[test]
    fn what_is_taken_in_blocks_is_cut_between_them() {
        assert_eq!(part(Share::Dice(9), 4096, 4096), None);
        assert_eq!(part(Share::Dice(9), 4097, 4096), Some(4096));
        assert_eq!(part(Share::Dice(1), 3 * 4096, 4096), Some(2 * 4096));
        assert_eq!(part(Share::Bytes(5000), 3 * 4096, 4096), Some(4096));
        assert_eq!(part(Share::Bytes(512), 8192, 4096), None);
    }
}
