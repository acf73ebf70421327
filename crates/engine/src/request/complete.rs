//! Ending requests: the CQE, the linked timeout, the references, the rest of the chain.
//!
//! Every request goes through [`Engine::complete`] exactly once. The next member of a chain is
//! queued in `State::ready`, never run from here, so that no completion recurses. What it does not
//! do: publish (`ring::cq` does at commit).

use super::start::{detach_linked_timeout, tell_owner};
use super::{Linked, Phase, Req, ReqFile};
use crate::engine::Engine;
use crate::host::Host;
use crate::opcode::Cmd;
use crate::resource::filetable::FileNode;
use crate::resource::rsrc::BufNode;
use crate::ring::{Deferred, Ring, State};
use crate::stats;
use crate::trace::Origin;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use ringer_uapi::flags::{CqeFlags, Setup, SqeFlags};
use ringer_uapi::{Cqe, Errno};

impl<H: Host> Engine<H> {
    /// Ends a request with its result.
    pub(crate) fn complete(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: Req<H>,
        res: Result<i32, Errno>,
        cflags: u32,
    ) {
        self.complete_here(ring, st, req, res, cflags);
    }

    /// The same without another copy of the request, which is large.
    #[inline(always)]
    pub(super) fn complete_here(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        mut req: Req<H>,
        res: Result<i32, Errno>,
        cflags: u32,
    ) {
        if req.fate.is_some() {
            let ns = self.delay(ring, st, &mut req);
            if ns > 0 {
                let ended = req.noted(res, cflags);
                return self.hold(ring, st, req, ended, ns);
            }
        }
        if st.may_post && res.is_ok() && req.is_bare() {
            let cqe = Cqe::new(req.user_data, res, cflags);
            let posted = ring.post(st, cqe);
            self.trace_cqe(ring, req.trail, &cqe, posted);
            self.put_refs(ring, st, &mut req);
            if !st.drained.is_empty() {
                self.release_drained(st);
            }
            return;
        }
        let (res, cflags) = req.noted(res, cflags);
        st.cq.from_worker |= req.is_told_by_worker(ring, res);
        if !st.may_post || self.polled_io(ring, &req, res) {
            return self.defer(ring, st, req, res, cflags);
        }
        self.complete_now(ring, st, &mut req, res, cflags);
    }

    /// On an IOPOLL ring, finished I/O is found only by polling (GETEVENTS).
    fn polled_io(&self, ring: &Ring<H>, req: &Req<H>, res: Result<i32, Errno>) -> bool {
        ring.setup.contains(Setup::IOPOLL)
            && res.is_ok()
            && req.def().needs_file
            && !matches!(req.phase, Phase::Deferred)
            && !req.def().ring_op
    }

    fn defer(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        mut req: Req<H>,
        res: Result<i32, Errno>,
        cflags: u32,
    ) {
        self.keep_file(st, &mut req);
        req.phase = Phase::Deferred;
        let key = st.reqs.insert(req);
        st.deferred.push_back(Deferred::Request { key, res, cflags });
        if !st.may_post {
            tell_owner(ring, st);
        }
        // Whoever waits posts it, on an IOPOLL ring as well.
        self.wake_waiters(ring, st, true);
    }

    /// A request that ended and is not posted yet has its registered file until then, also one that it
    /// borrowed for a single attempt.
    pub(super) fn keep_file(&self, st: &State<H>, req: &mut Req<H>) {
        if req.flags.contains(SqeFlags::FIXED_FILE) {
            // An error leaves it without: the slot was empty then, too.
            let _ = self.find_file(st, req);
        }
    }

    /// Posts what was deferred; only where posting is allowed. It is out, and counted, before what it
    /// leads to runs.
    pub(crate) fn run_deferred(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        while let Some(d) = st.deferred.pop_front() {
            match d {
                Deferred::Request { key, res, cflags } => {
                    if let Some(mut req) = st.reqs.remove(key) {
                        self.complete_now(ring, st, &mut req, res, cflags);
                    }
                }
                Deferred::Message(cqe) => {
                    ring.post(st, cqe);
                }
            }
        }
        if !st.ready.is_empty() {
            self.flush(ring, st);
        }
    }

    /// What is left of it is the caller's to drop: it is large, and moved as little as can be.
    fn complete_now(
        &self,
        ring: &Arc<Ring<H>>,
        st: &mut State<H>,
        req: &mut Req<H>,
        res: Result<i32, Errno>,
        cflags: u32,
    ) {
        let res = req.told(res);
        let cflags = cflags | req.take_kbuf();
        if res.is_err() && !req.hushed {
            stats::add(self.host().counters(), stats::FAILED + req.opcode as usize, 1);
        }
        let failed = req.fails(res);
        let skip = req.flags.contains(SqeFlags::CQE_SKIP_SUCCESS);
        if (!skip || failed) && !req.hushed {
            let mut cqe = Cqe::new(req.user_data, res, cflags);
            if cflags & CqeFlags::F_32.bits() != 0 {
                cqe.big = req.second_half();
                if !ring.setup.contains(Setup::CQE_MIXED) {
                    cqe.flags &= !CqeFlags::F_32.bits();
                }
            }
            let posted = match req.fate {
                None => ring.post(st, cqe),
                Some(_) => self.post_fated(ring, st, req, cqe),
            };
            self.trace_cqe_lent(ring, req.trail, (&cqe, posted), || req.lent());
        } else {
            self.trace_silent(ring, req, res, cflags);
        }
        // Also one that ends silently.
        st.recount |= matches!(req.cmd, Some(Cmd::Timeout(_))) && res != Err(Errno::ECANCELED);
        self.end_linked_timeout(st, req);
        let first = req.notifies_first(res);
        let (early, late) = match req.take_notif() {
            notif if first => (notif, None),
            notif => (None, notif),
        };
        if let Some(notif) = early {
            st.ready.push_back(notif);
        }
        let next = req.next.take();
        // What a worker did not leave to anybody, it follows (io_uring.c `io_wq_free_work`).
        let goes_on = req.ends_on_worker(res) && !ring.defers();
        let breaks = failed && !req.flags.contains(SqeFlags::IO_HARDLINK);
        self.put_refs(ring, st, req);
        match next {
            next @ Some(_) if breaks => self.fail_links(st, next, skip),
            Some(mut next) => {
                if goes_on {
                    next.follow_worker();
                }
                st.ready.push_back(next);
            }
            None => {}
        }
        if let Some(notif) = late {
            st.ready.push_back(notif);
        }
        if !st.drained.is_empty() {
            self.release_drained(st);
        }
    }

    /// A linked timeout whose request is done is cancelled, in task work (timeout.c `io_disarm_next`).
    fn end_linked_timeout(&self, st: &mut State<H>, req: &mut Req<H>) {
        let lt = match core::mem::replace(&mut req.linked, Linked::None) {
            Linked::None => return,
            Linked::Unarmed(lt) => *lt,
            Linked::Armed(key) => {
                let Some(lt) = st.reqs.remove(key) else { return };
                if let Phase::Timer(Some(at)) = lt.phase {
                    st.timers.remove(at);
                }
                lt
            }
        };
        self.cancel_later(st, lt);
    }

    /// Ends a request with `ECANCELED` once the batch under way has been taken: the kernel leaves it
    /// to task work.
    pub(crate) fn cancel_later(&self, st: &mut State<H>, req: Req<H>) {
        self.cancel_later_from(st, req, Phase::Fresh);
    }

    /// The same, and what it was taken out of is remembered.
    pub(crate) fn cancel_later_from(&self, st: &mut State<H>, mut req: Req<H>, phase: Phase<H>) {
        req.failed = Some(Errno::ECANCELED);
        req.phase = phase;
        st.ready.push_back(Box::new(req));
    }

    /// Ends what follows a request that failed, in task work: each member with its own error or
    /// `ECANCELED` (timeout.c `io_fail_links`). `quiet`: the request had CQE_SKIP, and nothing is told.
    fn fail_links(&self, st: &mut State<H>, mut at: Option<Box<Req<H>>>, quiet: bool) {
        while let Some(mut req) = at {
            at = req.next.take();
            req.without_more();
            // Also what is not told ends in task work, which waits for the owner of a ring that defers.
            req.hushed = quiet;
            req.flags.remove(SqeFlags::CQE_SKIP_SUCCESS);
            req.failed = req.failed.or(Some(Errno::ECANCELED));
            req.phase = Phase::Fresh;
            st.ready.push_back(req);
        }
    }

    /// Fails a chain in which a submission error was found: nothing of it runs (spec 3.6).
    pub(crate) fn fail_chain(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut head: Req<H>) {
        // io_uring.c `io_submit_fail_init` fails the head, whoever was wrong, and `io_fail_links`
        // then goes by the head's flag.
        let quiet = head.flags.contains(SqeFlags::CQE_SKIP_SUCCESS);
        // timeout.c `io_disarm_next`: a timeout of the head's ends as it does behind any request
        // that is done, whatever the head's flag says of the rest.
        detach_linked_timeout(&mut head);
        if let Linked::Unarmed(lt) = core::mem::replace(&mut head.linked, Linked::None) {
            self.cancel_later(st, *lt);
        }
        let links = head.next.take();
        let res = Err(head.failed.unwrap_or(Errno::ECANCELED));
        stats::add(self.host().counters(), stats::FAILED + head.opcode as usize, 1);
        let (res, cflags) = head.noted(res, 0);
        let cqe = Cqe::new(head.user_data, res, cflags);
        let posted = ring.post(st, cqe);
        self.trace_cqe(ring, head.trail, &cqe, posted);
        let notif = head.take_notif();
        self.put_refs(ring, st, &mut head);
        self.fail_links(st, links, quiet);
        st.ready.extend(notif);
    }

    /// Lets go of what a request held.
    pub(crate) fn put_refs(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, req: &mut Req<H>) {
        match core::mem::replace(&mut req.file, ReqFile::None) {
            ReqFile::Node(node) => self.put_node(ring, st, node),
            ReqFile::Held(_) | ReqFile::None => {}
        }
        if let Some(ReqFile::Node(node)) = req.input.take().map(|f| *f) {
            self.put_node(ring, st, node);
        }
        if let Some(buf) = req.buf.take() {
            self.put_buf(ring, st, buf);
        }
    }

    /// Drops one reference to a registered file. The last one posts the tag and closes the file.
    /// Decided under the ring's lock, which every clone is made and dropped under.
    pub(crate) fn put_node(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, node: Arc<FileNode<H>>) {
        let Some(node) = Arc::into_inner(node) else { return };
        if let Some(w) = node.watch() {
            self.unwatch_node(st, w);
        }
        let tag = node.tag;
        self.host().release(vec![node.file]);
        self.post_tag(ring, st, tag);
    }

    /// Drops one reference to a registered buffer; the last one posts the tag.
    pub(crate) fn put_buf(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, buf: Arc<BufNode>) {
        if let Some(node) = Arc::into_inner(buf) {
            self.post_tag(ring, st, node.tag);
        }
    }

    fn post_tag(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, tag: u64) {
        if tag != 0 {
            let cqe = Cqe::new(tag, Ok(0), 0);
            let posted = ring.post(st, cqe);
            self.trace_alone(ring, &cqe, posted, Origin::Tag);
        }
    }

    /// Starts drained requests whose turn has come (io_uring.c `io_queue_deferred`): the first in
    /// the queue and everything from the next drain on waits until nothing else is under way; what
    /// stands between them goes with the first. What ended within a batch counts until the batch's
    /// end (`__io_submit_flush_completions`).
    pub(crate) fn release_drained(&self, st: &mut State<H>) {
        let mut must_wait = true;
        while let Some(front) = st.drained.front() {
            must_wait |= front.flags.contains(SqeFlags::IO_DRAIN);
            let alone = st.reqs.is_empty() && st.ready.is_empty() && st.put_off.is_empty();
            if must_wait && (st.unflushed || !alone) {
                return;
            }
            must_wait = front.flags.contains(SqeFlags::IO_DRAIN);
            if let Some(mut req) = st.drained.pop_front() {
                req.on_worker = true;
                st.ready.push_back(req);
            }
        }
    }
}
