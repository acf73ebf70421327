//! Starting requests: issue once, then settle what came of it.
//!
//! The only place that looks a file or a registered buffer up: at issue time, as the kernel does
//! (`io_assign_file`, `io_import_reg_buf`), so a chain member sees what became of them meanwhile. What it does not do: prep.

use super::cancel::{accepts_elsewhere, reads_elsewhere};
use super::iowq::{Class, Work};
use super::{Linked, Phase, Req, ReqFile};
use crate::engine::Engine;
use crate::host::{FileKind, Host, HostFile, HostRing};
use crate::opcode::rw::Rw;
use crate::opcode::{Cmd, Issue, IssueCx, Op, Outcome, opdef};
use crate::resource::filetable::FileNode;
use crate::ring::{Deferred, Ring, State, StateGuard};
use crate::slab::Key;
use alloc::boxed::Box;
use alloc::sync::Arc;
use ringer_uapi::flags::{CqeFlags, Setup, SqeFlags};
use ringer_uapi::{Cqe, Errno};

/// A multishot request that completes this often in a row lets others run
/// (6.18 io_uring/net.c `MULTISHOT_MAX_RETRY`).
pub(super) const MULTISHOT_RETRY_MAX: u32 = 32;

/// Most requests that a thread of ours starts under one hold of a ring's lock: what one drain held
/// back has no bound.
const STARTED_MAX: usize = 1024;

impl<H: Host> Engine<H> {
    /// Starts chain members whose turn has come, until none is left; only where posting is allowed.
    pub(crate) fn run_ready(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        self.run_rounds(ring, st, usize::MAX);
    }

    /// The same for a thread of ours, which then lets go of the lock, and every so often meanwhile:
    /// calls come in between, and so does the ring's end, which takes over what has not started.
    pub(crate) fn run_ready_in_turns<'a>(&self, ring: &'a Arc<Ring<H>>, mut st: StateGuard<'a, H>) {
        loop {
            let over = self.run_turn(ring, &mut st);
            let acting = st.acting.clone();
            self.unlock(ring, st);
            if over {
                return;
            }
            self.host().yield_cpu();
            st = ring.state.lock();
            st.acting = acting;
            if st.dying {
                st.acting = None;
                return;
            }
        }
    }

    /// One turn of it, all it led to published. Whether it was the last.
    pub(crate) fn run_turn(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) -> bool {
        let over = self.run_rounds(ring, st, STARTED_MAX) > 0;
        self.commit(ring, st);
        st.may_post = true;
        over
    }

    /// Starts up to `left` requests and answers how many more it might have. What a round leads to
    /// runs in the next, when what it completed is out and counted (io_uring/tw.c `ctx_flush_and_put`).
    fn run_rounds(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut left: usize) -> usize {
        // A commit below completes counted timeouts: what follows them is of the next round.
        if !st.has_turns() || core::mem::replace(&mut st.in_round, true) {
            return left;
        }
        while st.may_post && left > 0 && st.has_turns() {
            let round = left.min(st.ready.len());
            self.run_round(ring, st, round);
            left -= round;
            left -= self.run_requeued(ring, st, left);
            if st.has_turns() {
                self.flush(ring, st);
            }
        }
        st.in_round = false;
        left
    }

    fn run_round(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, round: usize) {
        st.unflushed = true;
        for _ in 0..round {
            let Some(req) = st.ready.pop_front() else { break };
            if req.on_worker && req.failed.is_none() && ring.defers() {
                self.start_for_owner(ring, st, *req);
                continue;
            }
            if req.on_worker {
                // Each tells of itself.
                self.flush(ring, st);
            }
            self.start(ring, st, *req);
        }
        st.unflushed = false;
        if !st.drained.is_empty() {
            self.release_drained(st);
        }
    }

    /// Starts what a worker comes to after the batch; on a ring that defers, its owner posts it.
    pub(crate) fn run_put_off(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        while let Some(req) = st.put_off.pop_front() {
            if ring.defers() {
                self.start_for_owner(ring, st, *req);
            } else {
                self.start(ring, st, *req);
            }
            self.commit(ring, st);
        }
    }

    /// Starts what the kernel's worker has, on a ring that defers: the owner posts what it comes to.
    fn start_for_owner(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        let may_post = core::mem::replace(&mut st.may_post, false);
        self.start(ring, st, req);
        st.may_post = may_post;
    }

    /// Starts a request: the head of a chain or a single one.
    pub(crate) fn start(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        if st.aio.is_due() && req.rw().is_none() {
            self.hand_over(ring, st);
        }
        // Also of one that was cancelled while it waited for a thread to start it.
        detach_linked_timeout(&mut req);
        if let Some(e) = req.failed {
            return self.end_failed(ring, st, req, e);
        }
        if req.buf.is_none() {
            // One that was sent elsewhere has what it found when it began.
            find_buffer(st, &mut req);
        }
        if req.fate.is_some()
            && let Err(e) = self.act_on(ring, st, &mut req)
        {
            return self.end_failed(ring, st, req, e);
        }
        if is_ring_op(&req) {
            return self.issue_ring_op(ring, st, req);
        }
        if let Some(Cmd::Close(c)) = &req.cmd {
            self.number_closing_by(st, c);
        }
        if req.on_worker && req.is_multishot() {
            return self.arm_multishot(ring, st, req);
        }
        if req.on_worker && req.goes_on() {
            return self.poll_at_once(ring, st, req);
        }
        if req.starts_on_worker() {
            req.untried = true;
            return self.punt(ring, st, req);
        }
        let outcome = self.issue_inline(ring, st, &mut req);
        self.settle(ring, st, req, outcome);
    }

    /// A multishot that is to start on a worker: no worker runs one, it waits for readiness first, and
    /// its linked timeout starts after that (io_uring.c `io_wq_submit_work`).
    fn poll_at_once(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        if let Err(e) = self.find_file(st, &mut req) {
            req.on_worker = true;
            return self.complete(ring, st, req, Err(e), 0);
        }
        if self.elsewhere(st, &mut req) {
            return self.send_elsewhere(ring, st, req);
        }
        if matches!(req.file.kind(), Some(FileKind::Regular | FileKind::Directory)) {
            return self.complete(ring, st, req, Err(Errno::EBADFD), 0);
        }
        let number = req.file.file().and_then(HostFile::number);
        let ready = number.is_some_and(|n| self.host().poll_now(n, req.def().poll) != 0);
        req.untried = !ready;
        let outcome = if ready { self.issue_inline(ring, st, &mut req) } else { Outcome::Again };
        self.settle(ring, st, req, outcome);
    }

    /// Ends a request that is not to be started, or that a worker had not come to.
    fn end_failed(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>, e: Errno) {
        let turn = self.turn_of(st, &req);
        self.complete(ring, st, req, Err(e), 0);
        if let Some(watch) = turn {
            self.serve(ring, st, watch, false);
        }
    }

    /// One attempt on the calling thread, which shares the app table.
    #[inline]
    pub(crate) fn issue_inline(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        req: &mut Req<H>,
    ) -> Outcome {
        if self.elsewhere(st, req) {
            return Outcome::Punt;
        }
        let (fd, kind) = match locate(st, req) {
            Ok(Some(found)) => found,
            Ok(None) => return Outcome::Punt,
            Err(e) => return Outcome::Done(Err(e), 0),
        };
        if req.selects() {
            return self.issue_selecting(ring, st, req, (fd, kind));
        }
        let iopoll = ring.setup.contains(Setup::IOPOLL);
        let cx = IssueCx {
            host: self.host(),
            fd,
            kind,
            how: Issue::Inline,
            iopoll,
            policy: self.policy(),
            asked: None,
        };
        match &mut req.cmd {
            Some(Cmd::Recv(c)) => c.issue_first(&cx),
            Some(cmd) => cmd.issue(&cx),
            None => Outcome::Done(Err(Errno::ECANCELED), 0),
        }
    }

    /// The first attempt of an entry that is no [`Req`] yet; a registered file is borrowed under the
    /// ring's lock.
    #[inline(always)]
    pub(crate) fn issue_plain<T: Op>(
        &self,
        ring: &Ring<H>,
        st: &State<H>,
        (opcode, fd, fixed): (u8, i32, bool),
        op: &mut T,
    ) -> Outcome {
        let iopoll = ring.setup.contains(Setup::IOPOLL);
        let (host, how, policy) = (self.host(), Issue::Inline, self.policy());
        let asked = Some(&st.asked);
        if !fixed || !opdef(opcode).is_some_and(|d| d.needs_file) {
            let kind = None;
            return op.issue_first(&IssueCx { host, fd, kind, how, iopoll, policy, asked });
        }
        let Some(node) = st.files.as_ref().and_then(|t| t.get(fd)) else {
            return Outcome::Done(Err(Errno::EBADF), 0);
        };
        let Some(fd) = node.file.number() else { return Outcome::Punt };
        let kind = Some(node.file.kind());
        let outcome = op.issue_first(&IssueCx { host, fd, kind, how, iopoll, policy, asked });
        if outcome == Outcome::Done(Err(Errno::EBADF), 0) && node.file.number() != Some(fd) {
            // The number was withdrawn just then, for the program's first POSIX lock.
            return Outcome::Punt;
        }
        outcome
    }

    /// Acts on what an attempt came to.
    #[inline]
    pub(crate) fn settle(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        mut req: Req<H>,
        mut outcome: Outcome,
    ) {
        let mut shots = 0;
        loop {
            match outcome {
                Outcome::More(res, flags) => {
                    let flags = flags | req.take_kbuf();
                    let may = st.may_post || req.goes_on();
                    if !may || !self.post_shot(ring, st, &req, (res, flags)) {
                        return self.complete(ring, st, req, Ok(res), flags);
                    }
                    if req.goes_on() && shots == MULTISHOT_RETRY_MAX {
                        // Others come first; no edge tells of what is there already.
                        req.phase = Phase::Fresh;
                        return st.ready.push_back(Box::new(req));
                    }
                    if shots == MULTISHOT_RETRY_MAX || req.yields() {
                        return self.requeue(ring, st, req);
                    }
                    shots += 1;
                    outcome = self.issue_inline(ring, st, &mut req);
                }
                Outcome::Done(res, flags) => return self.complete(ring, st, req, res, flags),
                Outcome::Wide(res) => {
                    return self.complete(ring, st, req, res, CqeFlags::F_32.bits());
                }
                Outcome::Again => {
                    let events = req.waits_for();
                    return self.arm(ring, st, req, events);
                }
                Outcome::Punt => return self.punt(ring, st, req),
                Outcome::Ahead => return self.read_ahead(ring, st, req),
                Outcome::Aio => return self.queue_aio(ring, st, req),
                Outcome::Direct { fd, slot, cflags } => {
                    let file = self.host().take(fd);
                    let res = self.install_direct(ring, st, file, slot);
                    outcome = after_direct(&req, res, cflags);
                }
                Outcome::Queued => return,
            }
        }
    }

    /// Posts a completion of a request that goes on. False: there is no room for it, which ends the
    /// request (io_uring.c `io_req_post_cqe`). On a ring that defers its owner posts what a worker has.
    fn post_shot(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        req: &Req<H>,
        (res, flags): (i32, u32),
    ) -> bool {
        if st.may_post {
            return !ring.cq_would_overflow(st) && self.post_more(ring, st, req, Ok(res), flags);
        }
        let cqe = Cqe::new(req.user_data, Ok(res), flags | CqeFlags::MORE.bits());
        self.trace_cqe(ring, req.trail, &cqe, true);
        st.deferred.push_back(Deferred::Message(cqe));
        tell_owner(ring, st);
        self.wake_waiters(ring, st, true);
        true
    }

    /// Puts a direct descriptor into the table. Result: 0, or the slot for ALLOC.
    pub(crate) fn install_direct(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        file: Result<H::File, Errno>,
        slot: u32,
    ) -> Result<i32, Errno> {
        let at = self.place_direct(ring, st, file, slot)?;
        Ok(if slot == ringer_uapi::FILE_INDEX_ALLOC { at as i32 } else { 0 })
    }

    /// The same; the result is where it went.
    pub(crate) fn place_direct(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        file: Result<H::File, Errno>,
        slot: u32,
    ) -> Result<u32, Errno> {
        // filetable.c: `io_file_bitmap_get` looks for a free slot before there must be a table.
        let missing =
            if slot == ringer_uapi::FILE_INDEX_ALLOC { Errno::ENFILE } else { Errno::ENXIO };
        let table = st.files.as_mut().ok_or(missing)?;
        let (at, old) = table.install(slot, FileNode::new(file?, 0))?;
        if let Some(node) = old {
            self.put_node(ring, st, node);
        }
        Ok(at)
    }

    /// Makes sure the request holds its file.
    ///
    /// # Errors
    /// `EBADF`, or what the host says of a reference it cannot make.
    pub(crate) fn find_file(&self, st: &State<H>, req: &mut Req<H>) -> Result<(), Errno> {
        if !req.def().needs_file || !matches!(req.file, ReqFile::None) {
            return Ok(());
        }
        req.file = if req.flags.contains(SqeFlags::FIXED_FILE) {
            let node = st.files.as_ref().and_then(|t| t.get(req.fd)).ok_or(Errno::EBADF)?;
            ReqFile::Node(node.clone())
        } else if let Some(file) = st.own.file_of(req.fd) {
            ReqFile::Held(file)
        } else {
            ReqFile::Held(self.host().hold(req.fd)?)
        };
        Ok(())
    }

    /// Makes sure that the request holds what it takes from. The kernel's worker looks it up when it
    /// comes to the request; here a worker may not share the table that it is in.
    ///
    /// # Errors
    /// As [`Engine::find_file`].
    fn find_input(&self, st: &State<H>, req: &mut Req<H>) -> Result<(), Errno> {
        let Some(Cmd::Splice(c) | Cmd::Tee(c)) = &req.cmd else { return Ok(()) };
        if req.input.is_some() {
            return Ok(());
        }
        let (from, fixed) = c.input();
        let file = if fixed {
            let node = st.files.as_ref().and_then(|t| t.get(from)).ok_or(Errno::EBADF)?;
            ReqFile::Node(node.clone())
        } else {
            ReqFile::Held(self.host().hold(from)?)
        };
        req.input = Some(Box::new(file));
        Ok(())
    }

    /// Stores a request that waits, and starts its linked timeout.
    pub(crate) fn park(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        mut req: Req<H>,
        phase: Phase<H>,
    ) -> Key {
        // The kernel starts the timeout of what it tried and has to let wait.
        let starts = match phase {
            Phase::Queued => !req.untried && !reads_elsewhere(&req) && !accepts_elsewhere(&req),
            Phase::Polled(_) => !req.untried,
            _ => true,
        };
        let starts = starts && matches!(req.linked, Linked::Unarmed(_));
        req.trail.reached(&phase);
        req.phase = phase;
        let ticking = if let Linked::Armed(lt) = req.linked { Some(lt) } else { None };
        let key = st.reqs.insert(req);
        if let Some(lt) = ticking.and_then(|k| st.reqs.get_mut(k)) {
            lt.head = Some(key);
        }
        if starts {
            self.start_linked(ring, st, key);
        }
        key
    }

    /// Starts the linked timeout of a request, if it has one that does not run.
    pub(super) fn start_linked(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, key: Key) {
        let Some(req) = st.reqs.get_mut(key) else { return };
        match core::mem::replace(&mut req.linked, Linked::None) {
            Linked::Unarmed(lt) => {
                let armed = self.arm_linked_timeout(ring, st, *lt, key);
                if let Some(req) = st.reqs.get_mut(key) {
                    req.linked = Linked::Armed(armed);
                }
            }
            other => req.linked = other,
        }
    }

    /// Hands a request to a worker.
    pub(crate) fn punt(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        self.punted(ring, st, req);
    }

    /// The same. `None`: it is over, or another thread starts it first.
    pub(crate) fn punted(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        mut req: Req<H>,
    ) -> Option<Key> {
        if let Err(e) = self.find_file(st, &mut req).and_then(|()| self.find_input(st, &mut req)) {
            // The kernel's worker finds out.
            req.on_worker = true;
            self.complete(ring, st, req, Err(e), 0);
            return None;
        }
        if self.elsewhere(st, &mut req) {
            self.send_elsewhere(ring, st, req);
            return None;
        }
        let class = self.class_of(&req);
        if class == Class::Private && req.passes_descriptors() {
            // Its worker has another table.
            self.complete(ring, st, req, Err(Errno::EMFILE), 0);
            return None;
        }
        if class == Class::Private {
            self.hold_folder(&mut req);
            if let Err(e) = self.house_files(&req) {
                self.complete(ring, st, req, Err(e), 0);
                return None;
            }
        }
        if class == Class::Bounded
            && let Some(n) = req.file.file().and_then(HostFile::number)
            && let Some(Cmd::Read(c) | Cmd::Readv(c) | Cmd::ReadFixed(c) | Cmd::ReadvFixed(c)) =
                &req.cmd
            && let Some((off, len)) = c.readahead_range()
        {
            // The disk starts while the hand-off is still under way.
            self.host().readahead(n, off, len);
        }
        let brief = matches!(req.cmd, Some(Cmd::Nop(_)));
        let work = Work { class, bounded: req.is_bounded(), brief, serial: None, task: req.task };
        let own = self.may_be_own(ring, st, &req, class);
        let key = self.park(ring, st, req, Phase::Queued);
        if let Some(kept) = own {
            self.keep_own(st, (key, work), kept);
            return Some(key);
        }
        self.queue_parked(ring, st, key, work).then_some(key)
    }

    /// Queues a parked request for a worker. False: it is over.
    pub(super) fn queue_parked(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        key: Key,
        mut work: Work,
    ) -> bool {
        work.serial = st.reqs.get(key).and_then(|req| self.serial_of(req));
        if self.iowq().queue(self, ring, key, work).is_err()
            && let Some(req) = st.reqs.remove(key)
        {
            // io-wq.c `io_wq_enqueue`: no worker could be made, the work is cancelled.
            self.end_failed(ring, st, req, Errno::ECANCELED);
            return false;
        }
        true
    }

    /// What a request that goes to a worker has in common with those that may not run beside it: writes
    /// and changes of size, which the file system takes one at a time (io_uring.c `io_prep_async_work`, opdef.c
    /// `hash_reg_file`).
    fn serial_of(&self, req: &Req<H>) -> Option<u64> {
        let file = req.file.file().filter(|f| f.kind() == FileKind::Regular)?;
        let sizes = matches!(&req.cmd, Some(Cmd::Fallocate(_) | Cmd::Ftruncate(_)));
        let writes = sizes || req.rw().is_some_and(Rw::is_write);
        file.number().filter(|_| writes).and_then(|n| self.host().serial_writes(n))
    }

    /// Whether a request needs other rights than the calling thread has: it names a personality, or a
    /// stand-in holds the lock. Only who works on the ring itself needs none.
    #[inline]
    fn elsewhere(&self, st: &State<H>, req: &mut Req<H>) -> bool {
        match (&mut req.creds, &st.acting) {
            (None, acting) => acting.is_some(),
            (Some(_), None) if matches!(req.cmd, Some(Cmd::Nop(_))) => false,
            (Some(creds), None) => self.host().credentials() != creds.who.credentials(),
            (Some(creds), Some(acting)) => {
                // It may go to a worker of the stand-in's from here.
                creds.origin.get_or_insert_with(|| acting.origin.clone());
                acting.me != creds.who.identity()
            }
        }
    }

    /// Hands a request to the thread that may start it: a stand-in, or a follower of its submitter.
    fn send_elsewhere(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        let origin = match &st.acting {
            Some(acting) => Ok(acting.origin.clone()),
            None => match req.creds.as_ref().and_then(|c| c.origin.clone()) {
                Some(origin) => Ok(origin),
                None => self.iowq().expect(self, self.host().identity()).map(Arc::new),
            },
        };
        let Ok(origin) = origin else {
            return self.end_failed(ring, st, req, Errno::ECANCELED);
        };
        let to = match &mut req.creds {
            Some(creds) => {
                let to = creds.who.identity();
                creds.origin = Some(origin);
                to
            }
            None => origin.identity(),
        };
        let key = self.park(ring, st, req, Phase::Queued);
        self.iowq().follow(self.host(), to, ring, key);
    }

    /// A private worker's table is its own: the folder that a path starts from is held for it.
    fn hold_folder(&self, req: &mut Req<H>) {
        if !req.def().needs_file && req.fd >= 0 {
            // A number that is bad here is bad there, and an absolute path needs none.
            req.file = self.host().hold(req.fd).map_or(ReqFile::None, ReqFile::Held);
        }
    }

    /// A private worker has to reach both files of a request, of which one may have a number only.
    fn house_files(&self, req: &Req<H>) -> Result<(), Errno> {
        let mut files = [req.file.file(), req.input()].into_iter().flatten();
        if req.input.is_none() { Ok(()) } else { files.try_for_each(|f| self.host().house(f)) }
    }

    fn class_of(&self, req: &Req<H>) -> Class {
        let direct_open = matches!(&req.cmd, Some(Cmd::Openat(o) | Cmd::Openat2(o)) if o.is_direct() && !o.is_place());
        if direct_open && self.host().may_hold_posix_locks() {
            return Class::Private;
        }
        let numberless = |f: Option<&H::File>| f.is_some_and(|f| f.number().is_none());
        match req.file.file() {
            file if numberless(file) || numberless(req.input()) => Class::Private,
            Some(f) if f.kind() == FileKind::Regular => Class::Bounded,
            _ => Class::Unbounded,
        }
    }
}

impl<H: Host> Engine<H> {
    /// Issues a request that works on the ring itself, under its lock.
    fn issue_ring_op(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: Req<H>) {
        match &req.cmd {
            Some(Cmd::Nop(_)) => self.issue_nop(ring, st, req),
            Some(Cmd::PollAdd(_)) => self.issue_poll_add(ring, st, req),
            Some(Cmd::PollRemove(_)) => self.issue_poll_remove(ring, st, req),
            Some(Cmd::Timeout(_)) => self.issue_timeout(ring, st, req),
            Some(Cmd::TimeoutRemove(_)) => self.issue_timeout_remove(ring, st, req),
            Some(Cmd::AsyncCancel(_)) => self.issue_async_cancel(ring, st, req),
            Some(Cmd::FilesUpdate(_)) => self.issue_files_update(ring, st, req),
            Some(Cmd::ProvideBuffers(_) | Cmd::RemoveBuffers(_)) => {
                self.issue_provided(ring, st, req);
            }
            Some(Cmd::MsgRing(_)) => self.issue_msg_ring(ring, st, req),
            Some(Cmd::FixedFdInstall(_)) => self.issue_fixed_fd_install(ring, st, req),
            Some(Cmd::Pipe(_)) => self.issue_pipe(ring, st, req),
            Some(Cmd::FutexWait(_) | Cmd::FutexWaitv(_)) => self.issue_futex_wait(ring, st, req),
            Some(Cmd::Waitid(_)) => self.issue_waitid(ring, st, req),
            Some(Cmd::Close(c)) => {
                let slot = c.slot().unwrap_or(u32::MAX);
                let res = self.close_direct(ring, st, slot).map(|()| 0);
                self.complete(ring, st, req, res, 0);
            }
            // A linked timeout never starts on its own: prep refuses one without a predecessor.
            _ => self.complete(ring, st, req, Err(Errno::EINVAL), 0),
        }
    }
}

/// The number to use on this thread and what kind of file it is. `Ok(None)`: no number in the app
/// table, so only a private worker can do it.
#[inline]
pub(super) fn locate<H: Host>(
    st: &State<H>,
    req: &Req<H>,
) -> Result<Option<(i32, Option<FileKind>)>, Errno> {
    if !req.def().needs_file {
        return Ok(Some((req.fd, None)));
    }
    let file = match &req.file {
        ReqFile::None if req.flags.contains(SqeFlags::FIXED_FILE) => {
            // The node is borrowed under the ring's lock: no reference is taken or dropped.
            &st.files.as_ref().and_then(|t| t.get(req.fd)).ok_or(Errno::EBADF)?.file
        }
        ReqFile::None => return Ok(Some((req.fd, None))),
        ReqFile::Held(f) => f,
        ReqFile::Node(n) => &n.file,
    };
    Ok(file.number().map(|n| (n, Some(file.kind()))))
}

/// Makes a fixed transfer hold the buffer that its slot has now.
pub(crate) fn find_buffer<H: Host>(st: &State<H>, req: &mut Req<H>) {
    let found = match &mut req.cmd {
        Some(Cmd::ReadFixed(c) | Cmd::WriteFixed(c) | Cmd::ReadvFixed(c) | Cmd::WritevFixed(c)) => {
            c.find_buffer(st.bufs.as_ref())
        }
        Some(Cmd::SendZc(c) | Cmd::SendmsgZc(c)) => c.find_buffer(st.bufs.as_ref()),
        _ => return,
    };
    req.buf = found.cloned();
}

/// What a direct descriptor comes to that was put into its slot, or was not.
pub(super) fn after_direct<H: Host>(req: &Req<H>, res: Result<i32, Errno>, cflags: u32) -> Outcome {
    match res {
        Ok(slot) if req.goes_on() => Outcome::More(slot, cflags),
        res => Outcome::Done(res, cflags),
    }
}

/// Whether a request works on the ring itself.
pub(crate) fn is_ring_op<H: Host>(req: &Req<H>) -> bool {
    match &req.cmd {
        Some(Cmd::Close(c)) => c.slot().is_some(),
        Some(Cmd::Pipe(c)) => c.is_direct(),
        Some(Cmd::Nop(c)) => c.looks_up(),
        _ => req.def().ring_op,
    }
}

/// Takes a LINK_TIMEOUT that directly follows out of the chain and onto its request.
pub(super) fn detach_linked_timeout<H: Host>(req: &mut Req<H>) {
    if !req.next.as_ref().is_some_and(|n| matches!(n.cmd, Some(Cmd::LinkTimeout(_)))) {
        return;
    }
    if let Some(mut lt) = req.next.take() {
        req.next = lt.next.take();
        req.linked = Linked::Unarmed(lt);
    }
}

/// What a foreign thread does when it cannot post: tells the owner that there is work.
pub(crate) fn tell_owner<H: Host>(ring: &Ring<H>, st: &mut State<H>) {
    if st.unmapped {
        return;
    }
    if ring.setup.contains(Setup::TASKRUN_FLAG) {
        st.sq_pages().set_flags(ringer_uapi::flags::SqRing::TASKRUN);
    }
    st.due.signal();
    // io_uring.c `io_req_local_work_add`: the first work to arrive signals the eventfd, too.
    if !core::mem::replace(&mut st.told, true) {
        ring.mem.work_waits(true);
        ring.tell_eventfd(st);
    }
    // Who posts it later is its owner, and no worker.
    st.cq.from_worker &= !ring.defers();
}

/// The owner of a ring that defers has come for its work (tw.c `__io_run_local_work`).
pub(crate) fn owner_came<H: Host>(ring: &Ring<H>, st: &mut State<H>) {
    if !core::mem::take(&mut st.told) {
        return;
    }
    ring.mem.work_waits(false);
    if ring.setup.contains(Setup::TASKRUN_FLAG) {
        st.sq_pages().clear_flags(ringer_uapi::flags::SqRing::TASKRUN);
    }
}
