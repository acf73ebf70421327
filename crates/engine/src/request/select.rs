//! Attempts of requests that select a provided buffer: when it is taken, kept and given back.
//!
//! ```text
//!  under the lock      select -> attempt -> bytes moved: committed, its id in the completion
//!                                        -> waits, fails: given back; a READ keeps one of a list,
//!                                           a SEND whatever it has, a part of a MSG_WAITALL its buffer
//!  worker, or a file   select, commit -> attempt -> kept until the request completes; a RECV gives
//!  that cannot be polled                            one of a list back
//! ```
//!
//! Under the lock nobody else can select meanwhile, so what was selected may still be given back. Source:
//! 6.18 io_uring/kbuf.h `io_kbuf_recycle`, rw.c `io_read`, `io_read_mshot`, net.c `io_send`, `io_recv`.
//! What it does not do: know how a group stores its buffers.

use super::Req;
use super::iowq::Class;
use super::start::MULTISHOT_RETRY_MAX;
use crate::engine::Engine;
use crate::host::{FileKind, Host, HostFile, Poller};
use crate::opcode::sendrecv::Transfer;
use crate::opcode::{Cmd, Issue, IssueCx, Op, Outcome};
use crate::resource::kbuf::{Groups, Peek, Selected};
use crate::ring::{Ring, State};
use crate::slab::Key;
use alloc::boxed::Box;
use ringer_uapi::Errno;
use ringer_uapi::flags::{Setup, SqeFlags};

/// What comes of receives of a multishot where it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shot {
    /// It waits on.
    Stays,
    /// Nothing was there at first, for whoever looks closer.
    Again,
    /// Others come first.
    Requeue,
    /// It goes elsewhere with an outcome that is not posted yet.
    Ends(Outcome),
}

/// What becomes of the buffer of a request that did not move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A ring's goes back if the file can be polled; a list's is kept.
    Read,
    /// Goes back.
    Shots,
    /// Goes back.
    Recv,
    /// Is kept.
    Send,
}

impl Rule {
    fn gives_back(self) -> bool {
        matches!(self, Self::Shots | Self::Recv)
    }

    fn is_for_sockets(self) -> bool {
        matches!(self, Self::Recv | Self::Send)
    }
}

fn rule(cmd: &Cmd) -> Option<Rule> {
    match cmd {
        Cmd::Read(_) | Cmd::Readv(_) => Some(Rule::Read),
        Cmd::ReadMultishot(_) => Some(Rule::Shots),
        Cmd::Recv(_) | Cmd::Recvmsg(_) => Some(Rule::Recv),
        Cmd::Send(_) => Some(Rule::Send),
        _ => None,
    }
}

impl<H: Host> Req<H> {
    /// Whether it selects a buffer for its next attempt.
    pub(super) fn selects(&self) -> bool {
        self.flags.contains(SqeFlags::BUFFER_SELECT) && self.kbuf.is_none()
    }

    /// Bytes that its attempts moved into the buffer it has.
    fn moved(&self) -> u32 {
        self.cmd.as_ref().and_then(Cmd::transfer).map_or(0, Transfer::progress)
    }
}

/// What is done of a request before it selects. `Some`: it does not come to that.
fn before<H: Host>(cmd: &mut Cmd, cx: &IssueCx<'_, H>) -> Option<Outcome> {
    match cmd {
        Cmd::Recv(c) => c.wait_first(cx).or_else(|| c.rests(cx).then_some(Outcome::Again)),
        Cmd::Recvmsg(c) => c.wait_first(cx),
        Cmd::Send(c) => c.wait_first(cx),
        Cmd::ReadMultishot(c) => c.rests(cx).then_some(Outcome::Again),
        _ => None,
    }
}

impl<H: Host> Engine<H> {
    /// One attempt under the lock of a request that selects a buffer.
    pub(super) fn issue_selecting(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        req: &mut Req<H>,
        (fd, kind): (i32, Option<FileKind>),
    ) -> Outcome {
        let iopoll = ring.setup.contains(Setup::IOPOLL);
        let (host, policy, how) = (self.host(), self.policy(), Issue::Inline);
        let cx = IssueCx { host, fd, kind, how, iopoll, policy, asked: None };
        let Some(cmd) = &mut req.cmd else { return Outcome::Done(Err(Errno::ECANCELED), 0) };
        let Some(rule) = rule(cmd) else { return cmd.issue(&cx) };
        if let Some(outcome) = before(cmd, &cx) {
            return outcome;
        }
        if matches!(cmd, Cmd::ReadMultishot(_)) {
            match self.is_pollable(st, &cx) {
                Ok(true) => {}
                Ok(false) => return Outcome::Done(Err(Errno::EBADFD), 0),
                Err(e) => return Outcome::Done(Err(e), 0),
            }
        }
        let bundles = if let Cmd::Recv(c) = cmd { Some(c.bundle().is_some()) } else { None };
        match bundles {
            Some(true) if !req.runs_on_worker() => return self.receive_bundle(st, req, &cx),
            Some(false) if !req.runs_on_worker() => {
                return self.receive_selecting(&mut st.kbufs, req, &cx);
            }
            _ => {}
        }
        let (taken, selected) = match self.select(&mut st.kbufs, req) {
            Ok(selected) => selected,
            Err(e) => return Outcome::Done(Err(sooner(&cx, rule).unwrap_or(e)), 0),
        };
        let Some(cmd) = &mut req.cmd else { return Outcome::Done(Err(Errno::ECANCELED), 0) };
        let outcome = match taken {
            Ok(()) => cmd.issue(&cx),
            Err(e) => Outcome::Done(Err(e), 0),
        };
        if let Some(e) = found_sooner(outcome, &cx, rule) {
            st.kbufs.give_back(&selected);
            return Outcome::Done(Err(e), 0);
        }
        if req.runs_on_worker() {
            self.keep(&mut st.kbufs, req, &selected);
            self.after_worker(&mut st.kbufs, req, outcome);
            return outcome;
        }
        self.after_attempt(st, req, (&selected, rule), (outcome, &cx))
    }

    /// Selects, and hands the buffer to the request. The inner error: it cannot be used.
    fn select(
        &self,
        kbufs: &mut Groups,
        req: &mut Req<H>,
    ) -> Result<(Result<(), Errno>, Selected), Errno> {
        let (host, group) = (self.host(), req.buf_group);
        let Some(cmd) = &mut req.cmd else { return Err(Errno::ECANCELED) };
        let asks = match cmd {
            Cmd::Read(c) | Cmd::Readv(c) => u64::from(c.asks()),
            // rw.c `io_read_mshot`: each piece asks for all there is of a buffer.
            Cmd::ReadMultishot(_) => 0,
            Cmd::Recv(c) => c.asks(),
            Cmd::Recvmsg(c) => c.asks(),
            Cmd::Send(c) => {
                // net.c `io_send_select_buffer` asks for all of one out of a list.
                let len = if c.asks() == 0 { i32::MAX as u64 } else { c.asks() };
                let nr = if c.is_bundle() { usize::MAX } else { 1 };
                let (bufs, selected) = kbufs.peek(host, group, Peek { len, nr, listed_len: 0 })?;
                return Ok((c.take_buffers(bufs), selected));
            }
            _ => return Err(Errno::EINVAL),
        };
        let (buf, selected) = kbufs.select(host, group, asks)?;
        let taken = match cmd {
            _ if buf.base == 0 => Err(Errno::ENOBUFS),
            Cmd::Read(c) | Cmd::Readv(c) => c.take_buffer(buf),
            Cmd::ReadMultishot(c) => c.take_buffer(buf),
            Cmd::Recv(c) => c.take_buffer(buf),
            Cmd::Recvmsg(c) => c.take_buffer(buf),
            _ => Ok(()),
        };
        Ok((taken, selected))
    }

    /// One receive into a provided buffer.
    #[inline(always)]
    fn receive_selecting(
        &self,
        kbufs: &mut Groups,
        req: &mut Req<H>,
        cx: &IssueCx<'_, H>,
    ) -> Outcome {
        let Some(Cmd::Recv(c)) = &mut req.cmd else {
            return Outcome::Done(Err(Errno::ECANCELED), 0);
        };
        let (buf, selected) = match kbufs.select(self.host(), req.buf_group, c.asks()) {
            Ok(found) => found,
            Err(e) => return Outcome::Done(Err(sooner(cx, Rule::Recv).unwrap_or(e)), 0),
        };
        let taken = if buf.base == 0 { Err(Errno::ENOBUFS) } else { c.take_buffer(buf) };
        let outcome = match taken {
            Ok(()) => c.issue_first(cx),
            Err(e) => Outcome::Done(Err(e), 0),
        };
        if let Some(e) = found_sooner(outcome, cx, Rule::Recv) {
            kbufs.give_back(&selected);
            return Outcome::Done(Err(e), 0);
        }
        self.after_receive(kbufs, req, &selected, outcome)
    }

    /// The next receives of a multishot RECV that is alone in its watch, where it is: it is neither
    /// taken out of what waits nor put back.
    pub(super) fn shoot(&self, ring: &Ring<H>, st: &mut State<H>, key: Key, events: u32) -> Shot {
        for shots in 0..=MULTISHOT_RETRY_MAX {
            let Some(req) = st.reqs.get_mut(key) else { return Shot::Stays };
            let (whose, kind) = ((req.user_data, req.trail), req.file.kind());
            let number = req.file.file().and_then(HostFile::number);
            let (Some(Cmd::Recv(c)), Some(fd)) = (&mut req.cmd, number) else {
                return Shot::Again;
            };
            if shots == 0 {
                c.woken_by(events);
            }
            let (host, policy, how) = (self.host(), self.policy(), Issue::Inline);
            let cx = IssueCx { host, fd, kind, how, iopoll: false, policy, asked: None };
            if c.rests(&cx) {
                return Shot::Stays;
            }
            match self.receive_selecting(&mut st.kbufs, req, &cx) {
                Outcome::Again if shots > 0 => return Shot::Stays,
                Outcome::Again => return Shot::Again,
                Outcome::More(res, flags) if !ring.cq_would_overflow(st) => {
                    let lent = |st: &State<H>| st.reqs.get(key).map_or(0, Req::lent);
                    self.post_shot_of(ring, st, whose, (Ok(res), flags), lent);
                }
                other => return Shot::Ends(other),
            }
        }
        Shot::Requeue
    }

    /// Receives into as many buffers as there is something for: without a length into one, and then
    /// into as many as what is left needs (net.c `io_recv_buf_select`, `io_recv_finish`).
    fn receive_bundle(&self, st: &mut State<H>, req: &mut Req<H>, cx: &IssueCx<'_, H>) -> Outcome {
        let (host, group) = (self.host(), req.buf_group);
        let Some(Cmd::Recv(c)) = &mut req.cmd else {
            return Outcome::Done(Err(Errno::ECANCELED), 0);
        };
        let (limit, listed_len) = (c.bundle().unwrap_or(0), c.asks());
        let len = at_most(listed_len, limit);
        let nr = if len == 0 { 1 } else { usize::MAX };
        let peeked = st.kbufs.peek(host, group, Peek { len, nr, listed_len });
        let (bufs, selected) = match peeked {
            Ok(peeked) => peeked,
            Err(e) => return Outcome::Done(Err(sooner(cx, Rule::Recv).unwrap_or(e)), 0),
        };
        let outcome = match c.take_buffers(bufs) {
            Ok(()) => c.receive(cx),
            Err(e) => Outcome::Done(Err(e), 0),
        };
        let Outcome::Done(Ok(first @ 1..), _) = outcome else {
            let outcome = c.finish(cx, outcome, false);
            return self.after_receive(&mut st.kbufs, req, &selected, outcome);
        };
        let n = u64::from(first.cast_unsigned());
        let kept = st.kbufs.commit(host, &selected, (n, selected.nr_of(n)));
        let (mut all, mut last) = (n, selected.last);
        let more =
            if last || selected.partial || limit > 0 && n >= limit { 0 } else { c.appends(cx) };
        if more > 0 {
            let len = at_most(more, limit.saturating_sub(n));
            match st.kbufs.peek(host, group, Peek { len, nr: usize::MAX, listed_len: len }) {
                Ok((bufs, selected)) => {
                    let n = u64::from(c.append(cx, bufs));
                    if n == 0 {
                        st.kbufs.give_back(&selected);
                    } else {
                        st.kbufs.commit(host, &selected, (n, selected.nr_of(n)));
                    }
                    all += n;
                    last = selected.last;
                }
                Err(_) => last = true,
            }
        }
        match c.finish(cx, Outcome::Done(Ok(all as i32), 0), last) {
            Outcome::Done(res, flags) => Outcome::Done(res, flags | kept.cqe_flags()),
            Outcome::More(n, flags) => Outcome::More(n, flags | kept.cqe_flags()),
            other => other,
        }
    }

    /// What an attempt under the lock leaves of the buffer it had.
    fn after_attempt(
        &self,
        st: &mut State<H>,
        req: &mut Req<H>,
        (selected, rule): (&Selected, Rule),
        (outcome, cx): (Outcome, &IssueCx<'_, H>),
    ) -> Outcome {
        match rule {
            Rule::Shots | Rule::Recv => self.after_receive(&mut st.kbufs, req, selected, outcome),
            Rule::Send => match outcome {
                Outcome::Done(res, flags) => {
                    let all = (selected.len, selected.nr);
                    let flags = flags | st.kbufs.commit(self.host(), selected, all).cqe_flags();
                    let goes_on = match &mut req.cmd {
                        Some(Cmd::Send(c)) if !selected.last => c.goes_on(),
                        _ => false,
                    };
                    match res {
                        Ok(n @ 1..) if goes_on => Outcome::More(n, flags),
                        _ => Outcome::Done(res, flags),
                    }
                }
                _ => {
                    self.keep(&mut st.kbufs, req, selected);
                    outcome
                }
            },
            Rule::Read => self.after_read(st, req, selected, (outcome, cx)),
        }
    }

    #[inline]
    fn after_receive(
        &self,
        kbufs: &mut Groups,
        req: &mut Req<H>,
        selected: &Selected,
        outcome: Outcome,
    ) -> Outcome {
        let mut took = |n: u64| kbufs.commit(self.host(), selected, (n, selected.nr_of(n)));
        match outcome {
            Outcome::Done(Ok(n), flags) if n > 0 => {
                Outcome::Done(Ok(n), flags | took(n as u64).cqe_flags())
            }
            Outcome::More(n, flags) => Outcome::More(n, flags | took(n as u64).cqe_flags()),
            // A part of what is to be had whole: the rest goes behind it (`io_net_kbuf_recyle`).
            Outcome::Again if req.moved() > 0 => {
                let mut kept = took(req.moved().into());
                kept.more = false;
                req.kbuf = Some(Box::new(kept));
                outcome
            }
            Outcome::Punt => {
                self.keep(kbufs, req, selected);
                outcome
            }
            _ => {
                kbufs.give_back(selected);
                outcome
            }
        }
    }

    fn after_read(
        &self,
        st: &mut State<H>,
        req: &mut Req<H>,
        selected: &Selected,
        (outcome, cx): (Outcome, &IssueCx<'_, H>),
    ) -> Outcome {
        let (moved, waits) = match outcome {
            Outcome::Done(Ok(n), _) => (Some(n as u64), false),
            Outcome::Done(Err(_), _) => (None, false),
            _ => (None, true),
        };
        let looks = moved.is_none() || st.kbufs.goes_by_length(selected);
        let polls = looks && outcome != Outcome::Punt && self.is_pollable(st, cx) != Ok(false);
        match moved {
            // Of a file that cannot be polled all was taken before it was tried.
            None if polls && !selected.is_listed() => outcome,
            _ if waits => {
                self.keep(&mut st.kbufs, req, selected);
                outcome
            }
            _ => {
                let len = moved.filter(|_| polls || !looks).unwrap_or(selected.len);
                let kept = st.kbufs.commit(self.host(), selected, (len, selected.nr));
                match outcome {
                    Outcome::Done(res, flags) => Outcome::Done(res, flags | kept.cqe_flags()),
                    other => other,
                }
            }
        }
    }

    fn keep(&self, kbufs: &mut Groups, req: &mut Req<H>, selected: &Selected) {
        let kept = kbufs.commit(self.host(), selected, (selected.len, selected.nr));
        req.kbuf = Some(Box::new(kept));
    }

    /// Whether a file can be polled (`io_file_can_poll`).
    fn is_pollable(&self, st: &mut State<H>, cx: &IssueCx<'_, H>) -> Result<bool, Errno> {
        match cx.looked_up()? {
            FileKind::Regular | FileKind::Directory => Ok(false),
            FileKind::Socket | FileKind::Pipe => Ok(true),
            FileKind::Other => {
                let poller = self.poller_of(st)?;
                match poller.add(cx.fd, 0, Key::from_bits(0).bits()) {
                    Err(Errno::EPERM) => Ok(false),
                    Ok(()) => {
                        poller.remove(cx.fd);
                        Ok(true)
                    }
                    Err(_) => Ok(true),
                }
            }
        }
    }

    /// Selects for an attempt of a worker, without the lock: nobody else is to have it meanwhile
    /// (kbuf.c `io_should_commit`). `Some`: the request does not come to an attempt.
    pub(super) fn select_for_worker(
        &self,
        kbufs: &mut Groups,
        req: &mut Req<H>,
        class: Class,
    ) -> Option<Outcome> {
        let rule = req.cmd.as_ref().and_then(rule)?;
        // Once: what finds it ready may be another worker. Who has no number to poll by looks again and
        // again, with its buffer.
        let first = match &mut req.cmd {
            _ if class == Class::Private => None,
            Some(Cmd::Recv(c)) => c.waits_first(),
            Some(Cmd::Recvmsg(c)) => c.waits_first(),
            Some(Cmd::Send(c)) => c.waits_first(),
            _ => None,
        };
        if first.is_some() {
            return first;
        }
        let polls = !matches!(req.file.kind(), Some(FileKind::Regular | FileKind::Directory));
        if rule == Rule::Shots && !polls {
            return Some(Outcome::Done(Err(Errno::EBADFD), 0));
        }
        if rule.is_for_sockets() && req.file.kind().is_some_and(|k| k != FileKind::Socket) {
            return Some(Outcome::Done(Err(Errno::ENOTSOCK), 0));
        }
        match self.select(kbufs, req) {
            Err(e) => Some(Outcome::Done(Err(e), 0)),
            Ok((taken, selected)) => {
                self.keep(kbufs, req, &selected);
                taken.err().map(|e| Outcome::Done(Err(e), 0))
            }
        }
    }

    /// What an attempt of a worker leaves of the buffer it had.
    pub(super) fn after_worker(&self, kbufs: &mut Groups, req: &mut Req<H>, outcome: Outcome) {
        let moved = match outcome {
            Outcome::Done(Ok(n), _) => n > 0,
            Outcome::Done(Err(_), _) | Outcome::Again => false,
            _ => true,
        };
        let streams = req.cmd.as_ref().and_then(rule).is_some_and(Rule::gives_back);
        if moved || !streams || req.moved() > 0 {
            return;
        }
        if let Some(kept) = req.kbuf.take_if(|k| k.is_listed()) {
            kbufs.recycle(&kept);
        }
    }
}

/// The smaller of two limits, of which 0 is none.
fn at_most(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

/// What an attempt with a buffer found that the kernel finds before it selects.
#[inline]
fn found_sooner<H: Host>(outcome: Outcome, cx: &IssueCx<'_, H>, rule: Rule) -> Option<Errno> {
    match outcome {
        Outcome::Done(Err(Errno::EBADF | Errno::ENOTSOCK), _) => sooner(cx, rule),
        _ => None,
    }
}

/// What the kernel finds before it looks for a buffer: no file, no socket.
fn sooner<H: Host>(cx: &IssueCx<'_, H>, rule: Rule) -> Option<Errno> {
    match cx.looked_up() {
        Err(e) => Some(e),
        Ok(kind) => (rule.is_for_sockets() && kind != FileKind::Socket).then_some(Errno::ENOTSOCK),
    }
}
