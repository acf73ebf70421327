//! What a run may have shown, and what it must have: decided from the program and the record alone.
//!
//! - every request posts exactly the completions it owes, and none that could not have happened
//! - members of a chain in order, none started before the one before it ended, none behind a broken link
//! - everything behind a drain after everything before it
//! - no timeout early; nothing both cancelled and done: bytes are counted
//! - who names a personality runs with its rights, nobody else does
//! - memory is written by its own request only, and not after its end
//! - each message once, and none of a request that failed (`mailbox.rs`)
//! - a send without a copy notifies once, after its result, which says so
//! - each tag once, after its slot was taken away and after every request that used it

use super::Summary;
use super::app::{FINAL, Seen, TAG, reader_of};
use super::mailbox::MESSAGE;
use super::program::{Cancel, Change, Entry, Program, Step};
use super::rows::{
    ALIAS, BUF_AT, BUF_LEN, BUNDLE, FILE, PROVIDED_MAX, RECV_MULTISHOT, SELECT, STRIDE, VECTORIZED,
    is_timestamps, notifies,
};
use super::run::{BLANK, Record, file_byte};
use crate::errno::{
    EACCES, EBADF, ECANCELED, EINTR, EMFILE, ENFILE, ENOMEM, ENOTSOCK, ENXIO, ETIME,
};
use crate::policy::Fault;
use std::collections::{BTreeMap, BTreeSet};

const FIXED: u8 = 1;
const DRAIN: u8 = 2;
const LINK: u8 = 4;
const HARD: u8 = 8;
const ASYNC: u8 = 16;
const SKIP: u8 = 64;
const WAITALL: u32 = 0x100;
const ETIME_SUCCESS: u32 = 32;
const MULTISHOT: u32 = 64;
const SQPOLL: u32 = 2;
/// The group whose buffers are used bit by bit.
const INCREMENTAL: u16 = 3;

/// The chain that an entry belongs to: entries in order.
pub(super) type Chain<'a> = Vec<&'a Entry>;

pub(super) struct Checker<'a> {
    pub(super) program: &'a Program,
    pub(super) record: &'a Record,
    pub(super) entries: BTreeMap<u64, &'a Entry>,
    pub(super) chains: Vec<Chain<'a>>,
    /// Completions by user_data, with their place in the queue.
    got: BTreeMap<u64, Vec<(usize, Seen)>>,
    /// The same of notifications.
    notifs: BTreeMap<u64, Vec<(usize, Seen)>>,
    /// Whose result says that a notification follows.
    promised: BTreeSet<u64>,
    closed: BTreeSet<i32>,
    unregisters: bool,
    /// Those that are calls.
    cancels: Vec<Cancel>,
}

/// Checks a record; what is wrong is a panic.
pub(crate) fn check(program: &Program, record: &Record) -> Summary {
    let mut got: BTreeMap<u64, Vec<(usize, Seen)>> = BTreeMap::new();
    let (mut notifs, mut promised) = (got.clone(), BTreeSet::new());
    let zero_copy: BTreeSet<u64> = program
        .entries()
        .iter()
        .filter(|e| notifies(e.sqe.opcode))
        .map(|e| e.sqe.user_data)
        .collect();
    for (at, seen) in record.log.iter().enumerate().filter(|(_, s)| s.ud < FINAL) {
        let (ud, mut seen) = (seen.ud % ALIAS, *seen);
        if zero_copy.contains(&ud) && seen.more {
            // With the result it is over for everybody else.
            promised.insert(ud);
            seen.more = false;
        }
        let of = if seen.notif { &mut notifs } else { &mut got };
        of.entry(ud).or_default().push((at, seen));
    }
    let (mut closed, mut unregisters) = (BTreeSet::new(), false);
    let mut calls = Vec::new();
    for step in &program.steps {
        match step {
            Step::Close(fd) => {
                closed.insert(*fd);
            }
            Step::Register(Change::Cancel(cancel)) => calls.push(*cancel),
            Step::Register(change) => unregisters |= change.reshapes(),
            _ => {}
        }
    }
    let pushed = |e: &&Entry| record.pushed.contains_key(&e.sqe.user_data);
    let all: Vec<&Entry> = program.entries().into_iter().filter(pushed).collect();
    let entries = all.iter().map(|e| (e.sqe.user_data, *e)).collect();
    let chains = chains(&all);
    let c = Checker {
        program,
        record,
        entries,
        chains,
        got,
        notifs,
        promised,
        closed,
        unregisters,
        cancels: calls,
    };
    c.check()
}

fn chains<'a>(all: &[&'a Entry]) -> Vec<Chain<'a>> {
    let (mut chains, mut open) = (Vec::new(), Vec::new());
    for e in all {
        open.push(*e);
        if e.sqe.flags & (LINK | HARD) == 0 {
            chains.push(std::mem::take(&mut open));
        }
    }
    chains
}

fn is_tag(s: &Seen) -> bool {
    (TAG..MESSAGE).contains(&s.ud)
}

fn is_multi(e: &Entry) -> bool {
    match e.sqe.opcode {
        6 => e.sqe.len & 1 != 0,
        11 => e.sqe.op_flags & MULTISHOT != 0,
        13 => e.sqe.ioprio & 1 != 0,
        26 => e.sqe.ioprio & BUNDLE != 0,
        10 | 27 => e.sqe.ioprio & RECV_MULTISHOT != 0,
        46 => is_timestamps(&e.sqe),
        49 => true,
        _ => false,
    }
}

fn reads(e: &Entry) -> bool {
    matches!(e.sqe.opcode, 1 | 4 | 10 | 22 | 27 | 49 | 60)
}

fn selects(e: &Entry) -> bool {
    e.sqe.flags & SELECT != 0
}

fn writes(e: &Entry) -> bool {
    matches!(e.sqe.opcode, 2 | 5 | 9 | 23 | 26 | 47 | 48 | 61)
}

/// Bytes that a transfer asks for.
fn asked(e: &Entry) -> i32 {
    let vector = matches!(e.sqe.opcode, 1 | 2 | 9 | 10 | 48 | 60 | 61)
        || matches!(e.sqe.opcode, 26 | 47) && e.sqe.ioprio & VECTORIZED != 0;
    if vector { e.owes.ok.1 } else { e.sqe.len as i32 }
}

/// Whether a result breaks a link.
fn fails(e: &Entry, res: i32) -> bool {
    let short = match e.sqe.opcode {
        // A vector's length is what it owes at most, but for the file's end.
        1 | 60 if e.sqe.fd == 0 => vector_len(e) != res,
        1 | 2 | 4 | 5 | 22 | 23 | 60 | 61 => res != asked(e),
        30 | 33 => res != e.sqe.len as i32,
        9 | 10 | 26 | 27 | 47 | 48 => e.sqe.op_flags & WAITALL != 0 && res != asked(e),
        _ => false,
    };
    let fine = e.sqe.opcode == 11 && res == ETIME && e.sqe.op_flags & ETIME_SUCCESS != 0;
    (res < 0 || short) && !fine && !forgiven(e, res) && !taken_back(e, res)
}

/// Whether it is a wait for futexes that was cancelled, which the kernel takes for no failure; or one
/// that was never begun, behind a failure.
fn taken_back(e: &Entry, res: i32) -> bool {
    matches!(e.sqe.opcode, 51 | 53) && res == ECANCELED
}

/// What these say of their call, the kernel never takes for a failure: what a worker does to a file,
/// to memory or to a name. A cancel is one, a restriction, and a file they cannot be asked of.
fn forgiven(e: &Entry, res: i32) -> bool {
    let called = match e.sqe.opcode {
        3 | 8 | 17 | 34 | 41 | 43 | 55 => ![EBADF, ENOTSOCK].contains(&res),
        21 | 25 | 35..=39 | 42 | 44 => true,
        // The socket is there, and finds no slot.
        45 => [ENFILE, ENXIO].contains(&res),
        _ => false,
    };
    called && ![ECANCELED, EACCES].contains(&res)
}

fn vector_len(e: &Entry) -> i32 {
    let bytes = e.memory.first().map_or(&[][..], |m| &m.1);
    let len = |at: usize| bytes.get(at..at + 8).map_or(0, |b| ringer_uapi::bytes::u64_at(b, 0));
    (len(8) + len(24)) as i32
}

impl Checker<'_> {
    fn check(&self) -> Summary {
        let unknown = self.got.keys().find(|ud| !self.entries.contains_key(ud));
        assert!(unknown.is_none(), "completions of nobody: {unknown:?}");
        if let Some(who) = self.record.late_write {
            panic!("memory of request {who} was written after its end");
        }
        for chain in &self.chains {
            self.check_chain(chain);
            self.check_count(chain);
            for e in chain {
                self.check_results(e);
                self.check_notifs(e);
                self.check_time(e);
                self.check_memory(e);
                self.check_cancel(e);
                self.check_sync_cancel(e);
            }
        }
        self.check_rights();
        self.check_drains();
        self.check_buffers();
        self.check_tags();
        self.check_messages();
        self.check_futexes();
        self.check_timestamps();
        if !self.record.cut {
            self.check_flows();
        }
        self.summary()
    }

    /// No wait for a futex ends without a wake-up, and none of these is lost: with one futex each,
    /// every wake-up that was counted ended a wait.
    fn check_futexes(&self) {
        let waits = |op: u8| self.entries.values().filter(move |e| e.sqe.opcode == op);
        let done = |e: &&&Entry| {
            let got = self.got.get(&e.sqe.user_data);
            got.is_some_and(|seen| seen.iter().any(|(_, s)| s.res >= 0))
        };
        let ended = [51, 53].iter().map(|op| waits(*op).filter(done).count() as u64).sum::<u64>();
        let woken = self.record.woken;
        assert!(ended <= woken, "{ended} waits for futexes ended with {woken} wake-ups");
        let hidden = waits(51).any(|e| e.sqe.flags & SKIP != 0);
        let exact = !hidden && !self.record.cut && waits(53).next().is_none();
        assert!(!exact || ended == woken, "{woken} wake-ups, and {ended} waits for futexes ended");
    }

    /// What was sent on a socket is told in its order, and of each once.
    fn check_timestamps(&self) {
        let mut told: BTreeMap<i32, Vec<(usize, i32)>> = BTreeMap::new();
        for e in self.entries.values().filter(|e| is_timestamps(&e.sqe)) {
            let keys = self.seen(e).iter().filter(|(_, s)| s.more).map(|(at, s)| (*at, s.res));
            told.entry(e.sqe.fd).or_default().extend(keys);
        }
        for (fd, mut told) in told {
            told.sort_unstable();
            let right = told.windows(2).all(|w| w[0].1 < w[1].1);
            assert!(right, "of {fd} was told {told:?}");
        }
    }

    fn summary(&self) -> Summary {
        let mut s = Summary {
            requests: self.entries.len() as u64,
            overflows: u64::from(self.record.overflowed),
            cut: u64::from(self.record.cut),
            struck: self.record.struck,
            registered: std::array::from_fn(|op| {
                self.record.registered.get(&(op as u32)).copied().unwrap_or(0)
            }),
            entered: self.record.entered,
            set_up: std::array::from_fn(|b| u64::from(self.program.setup >> b & 1)),
            tags: self.record.log.iter().filter(|s| is_tag(s)).count() as u64,
            seen_to_the_end: u64::from(self.record.whole),
            ..Summary::default()
        };
        for (ud, seen) in &self.got {
            let opcode = self.entries.get(ud).map_or(0, |e| e.sqe.opcode) as usize;
            for (_, c) in seen {
                s.completions += 1;
                s.more += u64::from(c.more);
                s.cancelled += u64::from(c.res == ECANCELED);
                let counts = if c.res >= 0 { &mut s.succeeded } else { &mut s.failed };
                if let Some(n) = counts.get_mut(opcode) {
                    *n += 1;
                }
            }
        }
        s
    }

    fn seen(&self, e: &Entry) -> &[(usize, Seen)] {
        self.got.get(&e.sqe.user_data).map_or(&[], Vec::as_slice)
    }

    /// The result it ended with, and where that stands in the queue.
    pub(super) fn last(&self, e: &Entry) -> Option<(usize, i32)> {
        self.seen(e).last().filter(|(_, s)| !s.more).map(|(at, s)| (*at, s.res))
    }

    pub(super) fn describe(&self, e: &Entry) -> String {
        let said: Vec<i32> = self.seen(e).iter().map(|(_, s)| s.res).collect();
        format!("request {} (opcode {}) says {said:?}", e.sqe.user_data, e.sqe.opcode)
    }

    // --- one request ---------------------------------------------------------------------------

    fn check_results(&self, e: &Entry) {
        let seen = self.seen(e);
        for (i, (_, s)) in seen.iter().enumerate() {
            let ends = i + 1 == seen.len();
            assert!(ends || s.more, "{} after its end", self.describe(e));
            assert!(!s.more || is_multi(e), "{} with MORE", self.describe(e));
            assert!(self.legal(e, s), "{}: that cannot be: {:?}", self.describe(e), e.sqe);
        }
        let hidden = e.sqe.flags & SKIP != 0;
        if hidden && let [(_, s)] = seen {
            let told = self.is_refused(e) || fails(e, s.res) || taken_back(e, s.res);
            assert!(told, "{} in spite of CQE_SKIP", self.describe(e));
        }
        if !self.owes(e) {
            return;
        }
        let ended = seen.last().is_some_and(|(_, s)| !s.more);
        assert!(ended || hidden || self.silenced(e), "{}, and that is not all", self.describe(e));
        if e.sqe.opcode == 11 && is_multi(e) {
            let n = e.sqe.off as usize;
            assert!(seen.len() <= n, "{}: more than {n} times", self.describe(e));
        }
    }

    /// A notification comes once, behind the result; a result without MORE is of a send that its chain
    /// cancelled, or that was refused at once.
    fn check_notifs(&self, e: &Entry) {
        let ud = &e.sqe.user_data;
        let notifs = self.notifs.get(ud).map_or(&[][..], Vec::as_slice);
        let refused = self.is_refused(e);
        let owed = notifies(e.sqe.opcode) && !refused;
        assert!(notifs.len() <= usize::from(owed), "{}, notified {notifs:?}", self.describe(e));
        let Some((at, res)) = self.last(e).filter(|_| owed) else { return };
        let promised = self.promised.contains(ud);
        assert!(promised || res == ECANCELED, "{} without MORE", self.describe(e));
        let behind = notifs.iter().all(|(notif, s)| *notif > at && s.res == 0);
        assert!(behind, "{}, notified {notifs:?} at {at}", self.describe(e));
        assert!(!notifs.is_empty() || !self.owes(e), "{} and does not notify", self.describe(e));
    }

    /// Whether its end must be seen.
    fn owes(&self, e: &Entry) -> bool {
        let r = self.record;
        let taken = || r.order.iter().take(r.taken).any(|ud| *ud == e.sqe.user_data);
        !r.cut || r.whole && taken()
    }

    /// A failure with CQE_SKIP silences the rest of its chain.
    fn silenced(&self, e: &Entry) -> bool {
        let ud = e.sqe.user_data;
        let Some(chain) = self.chain_of(ud) else { return false };
        let bad = chain.iter().any(|m| self.is_refused(m));
        chain.iter().any(|m| m.sqe.flags & SKIP != 0 && (m.sqe.user_data < ud || bad))
    }

    fn chain_of(&self, ud: u64) -> Option<&Chain<'_>> {
        self.chains.iter().find(|c| c.iter().any(|m| m.sqe.user_data == ud))
    }

    fn is_refused(&self, e: &Entry) -> bool {
        self.program.refusal(e).is_some()
    }

    fn legal(&self, e: &Entry, s: &Seen) -> bool {
        let res = s.res;
        if s.more && e.sqe.opcode == 11 {
            return res == ETIME;
        }
        if s.more && is_timestamps(&e.sqe) {
            return res >= 0;
        }
        if let Some(refusal) = self.program.refusal(e) {
            // The ring's end may come before a member of a chain is told.
            return res == refusal || res == ECANCELED && self.record.cut;
        }
        let (low, high) = e.owes.ok;
        if (low..=high).contains(&res) || e.owes.errors.contains(&res) {
            return true;
        }
        if self.program.meddles && (reads(e) || writes(e)) && (1..=high).contains(&res) {
            return true;
        }
        let fixed = e.sqe.flags & FIXED != 0;
        if e.sqe.fd == 0 && reads(e) && (1..low).contains(&res) {
            // What it had when it was stopped, or when its number was closed under the submission thread.
            return self.may_be_stopped(e, s) || !fixed && self.closed.contains(&e.sqe.fd);
        }
        let p = self.program;
        match res {
            ECANCELED => {
                self.may_be_stopped(e, s)
                    || self.chain_of(e.sqe.user_data).is_some_and(|c| c.len() > 1)
            }
            // splice.c tells of a wait that was ended what the kernel has for itself.
            -512 => self.may_be_cancelled(e, s) && matches!(e.sqe.opcode, 30 | 33),
            EINTR => self.may_be_cancelled(e, s) && e.sqe.opcode != 11,
            EBADF => {
                // EPOLL_CTL names a second one.
                let also = e.sqe.opcode == 29 && self.closed.contains(&(e.sqe.off as i32));
                let closed = self.closed.contains(&e.sqe.fd) || also;
                closed && (!fixed || e.sqe.opcode == 14) || self.unregisters
            }
            // There was no thread that could wait for it.
            ENOMEM if matches!(e.sqe.opcode, 50 | 51 | 53) => p.has(Fault::NoThread),
            ENOMEM | EMFILE => p.has(Fault::NoFile) || p.numberless || p.posix_locks,
            // The table was taken away.
            -6 | -14 => self.unregisters,
            _ => false,
        }
    }

    /// Whether anything in the program may have cancelled it.
    fn may_be_cancelled(&self, e: &Entry, s: &Seen) -> bool {
        let ud = e.sqe.user_data;
        let has_timeout = self.entries.get(&(ud + 1)).is_some_and(|n| n.sqe.opcode == 15);
        let called = self.cancels.iter().any(|c| c.may_take(e));
        s.late || has_timeout || called || self.entries.values().any(|c| cancels(c, e))
    }

    /// Whether anything may have ended it before its time.
    fn may_be_stopped(&self, e: &Entry, s: &Seen) -> bool {
        let p = self.program;
        self.may_be_cancelled(e, s) || p.has(Fault::NoThread) || p.has(Fault::NoFile)
    }

    fn check_time(&self, e: &Entry) {
        let Some(ns) = e.owes.expires else { return };
        let ud = e.sqe.user_data;
        if self.is_changed(e) {
            return;
        }
        let from = self.record.pushed.get(&ud).copied().unwrap_or(0);
        for (k, (_, s)) in self.seen(e).iter().enumerate().filter(|(_, (_, s))| s.res == ETIME) {
            let due = from + ns * (k as u64 + 1);
            assert!(s.at >= due, "{} at {} ns, before {due} ns", self.describe(e), s.at);
        }
    }

    /// A timeout that expires was not reached by its count before. Only what was taken before the
    /// timeout could be seen surely came first.
    fn check_count(&self, chain: &Chain<'_>) {
        let [e] = chain.as_slice() else { return };
        let blind = self.program.has_threads()
            || self.program.setup & SQPOLL != 0
            || self.record.overflowed
            || self.entries.values().any(|e| e.sqe.flags & DRAIN != 0)
            // timeout.c: one that fires is no completion that is counted; one that fires unseen takes
            // another's place.
            || self.entries.values().any(|e| e.sqe.opcode == 11 && e.sqe.flags & SKIP != 0);
        let counts = e.sqe.opcode == 11 && e.sqe.off != 0 && !is_multi(e);
        let (Some(from), [(_, end)]) = (self.record.issued.get(&e.sqe.user_data), self.seen(e))
        else {
            return;
        };
        if blind || !counts || end.res != ETIME || self.is_changed(e) {
            return;
        }
        let timeout =
            |s: &Seen| self.entries.get(&(s.ud % ALIAS)).is_some_and(|e| e.sqe.opcode == 11);
        let before = |s: &&Seen| s.at < end.at && s.ud < FINAL && !timeout(s);
        let n = self.record.log.iter().skip(*from).filter(before).count();
        assert!(n < e.sqe.off as usize, "{} although {n} came before", self.describe(e));
    }

    /// Whether its time may have been changed.
    fn is_changed(&self, e: &Entry) -> bool {
        let updates = |o: &Entry| o.sqe.opcode == 12 && o.sqe.op_flags != 0;
        self.entries.values().any(|o| updates(o) && o.sqe.addr == e.sqe.user_data)
    }

    /// A cancel that found one request means it.
    fn check_cancel(&self, e: &Entry) {
        let by_data = e.sqe.opcode == 14 && e.sqe.op_flags == 0;
        if !by_data || self.last(e).map(|l| l.1) != Some(0) {
            return;
        }
        let Some(target) = self.entries.get(&(e.sqe.addr % ALIAS)) else {
            panic!("{}: there is no request {}", self.describe(e), e.sqe.addr)
        };
        let sure = matches!(target.sqe.opcode, 6 | 11) && target.sqe.flags & (ASYNC | SKIP) == 0;
        let end = self.last(target).map(|l| l.1);
        assert!(
            !sure || self.record.cut || end == Some(ECANCELED),
            "{}, but {}",
            self.describe(e),
            self.describe(target)
        );
    }

    /// The same of a call, which may come after a request of that name, or before it.
    fn check_sync_cancel(&self, e: &Entry) {
        if !self.record.sync_cancelled.contains(&e.sqe.user_data) {
            return;
        }
        let sure = matches!(e.sqe.opcode, 6 | 11) && e.sqe.flags & (ASYNC | SKIP) == 0;
        let end = self.last(e).map(|l| l.1);
        let renamed = self.entries.values().any(|o| o.sqe.opcode == 7 && o.sqe.len == 4);
        assert!(
            !sure || renamed || self.record.cut || end == Some(ECANCELED),
            "{}, and was cancelled by a call",
            self.describe(e)
        );
    }

    fn check_memory(&self, e: &Entry) {
        let at = (e.sqe.user_data * STRIDE) as usize;
        let Some(all) = self.record.memory.get(at..at + STRIDE as usize) else { return };
        let (before, rest) = all.split_at(BUF_AT as usize);
        let (buf, rest) = rest.split_at(BUF_LEN as usize);
        let blank = |b: &[u8]| b.iter().all(|b| *b == BLANK);
        let after = rest.get(..BUF_AT as usize).unwrap_or(&[]);
        assert!(
            blank(before) && blank(after),
            "memory around the buffer was written: {}",
            self.describe(e)
        );
        let Some((_, res)) = self.last(e) else { return };
        if reads(e) && !selects(e) {
            let n = res.max(0) as usize;
            let (full, empty) = buf.split_at(n.min(buf.len()));
            // A read that follows another one may have been read with it, in part, before it was
            // stopped: that is told of neither.
            let merged = matches!(e.sqe.opcode, 4 | 22) && e.sqe.fd <= 1 && res < 0;
            assert!(merged || blank(empty), "more was read than told: {}", self.describe(e));
            let exact = |i: usize, b: u8| match e.sqe.fd {
                0 => b == file_byte((e.sqe.off as usize + i).min(FILE)),
                10 => true,
                _ => b != BLANK,
            };
            let right = full.iter().enumerate().all(|(i, b)| exact(i, *b));
            assert!(right, "other bytes than the file's: {}", self.describe(e));
        } else if e.sqe.opcode == 59 {
            let n = 12 * res.max(0) as usize;
            assert!(blank(&buf[n..]), "more was taken than told: {}", self.describe(e));
        } else if matches!(e.sqe.opcode, 43 | 44) {
            // With no room it told the length only.
            let n = if e.sqe.len == 0 { 0 } else { res.max(0) as usize };
            assert!(blank(&buf[n..]), "more was read than told: {}", self.describe(e));
        } else if !(writes(e) || e.sqe.opcode == 21 && res == 0) {
            assert!(blank(buf), "a buffer of nobody was written: {}", self.describe(e));
        }
    }

    /// A request with a personality runs as that user; one without never on a thread that stands in.
    fn check_rights(&self) {
        for (ud, rights) in &self.record.rights {
            let Some(e) = self.entries.get(ud) else { continue };
            let right = if e.sqe.personality == 0 { !rights.given } else { rights.user == 0 };
            assert!(right, "{} with the rights {rights:?}", self.describe(e));
        }
    }

    // --- several requests ----------------------------------------------------------------------

    fn first_attempt(&self, e: &Entry) -> Option<usize> {
        self.record.attempts.iter().position(|ud| *ud == e.sqe.user_data)
    }

    fn last_attempt(&self, e: &Entry) -> Option<usize> {
        self.record.attempts.iter().rposition(|ud| *ud == e.sqe.user_data)
    }

    fn check_chain(&self, chain: &Chain<'_>) {
        let bad = chain.iter().any(|e| self.is_refused(e));
        let (mut place, mut attempt, mut broken) = (0, 0, false);
        for (i, e) in chain.iter().enumerate() {
            let tried = self.first_attempt(e);
            let idle = tried.is_none();
            assert!(idle || !bad, "{} ran in a bad chain", self.describe(e));
            assert!(idle || !broken, "{} ran behind a broken link", self.describe(e));
            assert!(tried.is_none_or(|t| t >= attempt), "{} began too early", self.describe(e));
            attempt = self.last_attempt(e).map_or(attempt, |t| t.max(attempt));
            if e.sqe.opcode == 15 {
                continue;
            }
            let Some((at, res)) = self.last(e) else { continue };
            assert!(at >= place, "{} overtook its chain", self.describe(e));
            place = at;
            let stopped = bad && !self.is_refused(e) || broken;
            assert!(!stopped || res == ECANCELED, "{} behind a failure", self.describe(e));
            let linked = e.sqe.flags & LINK != 0 && e.sqe.flags & HARD == 0;
            broken |= !bad && linked && fails(e, res) && i + 1 < chain.len();
        }
        self.check_silence(chain, bad);
        self.check_progress(chain, bad);
    }

    /// What a failure with CQE_SKIP stops says nothing; a bad chain goes by its head.
    fn check_silence(&self, chain: &Chain<'_>, bad: bool) {
        let hides = |e: &Entry| e.sqe.flags & SKIP != 0;
        let stops = |(i, e): (usize, &&Entry)| {
            let soft = e.sqe.flags & HARD == 0 && e.sqe.opcode != 15;
            let failed = soft && self.last(e).is_some_and(|(_, res)| fails(e, res));
            (if bad { i == 0 } else { failed }).then_some(i)
        };
        let Some(at) = chain.iter().enumerate().find_map(stops) else { return };
        let Some(head) = chain.get(at).filter(|e| hides(e)) else { return };
        // Its own linked timeout ends with it, not with the chain.
        let own = |i: usize, e: &Entry| i == at + 1 && e.sqe.opcode == 15;
        let mut rest = chain.iter().enumerate().skip(at + 1).filter(|(i, e)| !own(*i, e));
        let loud = rest.find(|(_, e)| !self.seen(e).is_empty());
        assert!(
            loud.is_none(),
            "{}, which {} silences",
            self.describe(loud.map_or(head, |l| l.1)),
            head.sqe.user_data
        );
    }

    /// What follows a success, or a hard link, is not cancelled for nothing.
    fn check_progress(&self, chain: &Chain<'_>, bad: bool) {
        let members: Vec<_> = chain.iter().filter(|e| e.sqe.opcode != 15).collect();
        for pair in members.windows(2) {
            let [a, b] = pair else { continue };
            let (Some((_, one)), Some((_, two))) = (self.last(a), self.last(b)) else { continue };
            if taken_back(a, one) {
                continue;
            }
            let goes_on = a.sqe.flags & HARD != 0 && one != ECANCELED || !fails(a, one);
            let seen = self.seen(b).last().map(|(_, s)| s);
            let excused = seen.is_some_and(|s| self.may_be_cancelled(b, s))
                || b.owes.errors.contains(&ECANCELED);
            let broken = two == ECANCELED && !bad && !excused && !self.program.has(Fault::NoThread);
            assert!(!goes_on || !broken || self.record.cut, "{} for nothing", self.describe(b));
        }
    }

    /// Everything behind a drain comes after everything before it. A chain drains with its head.
    fn check_drains(&self) {
        let place: BTreeMap<u64, usize> =
            self.record.order.iter().enumerate().map(|(i, ud)| (*ud, i)).collect();
        let order = |c: &Chain<'_>| c.first().and_then(|e| place.get(&e.sqe.user_data)).copied();
        let mut units: Vec<&Chain<'_>> = self.chains.iter().collect();
        units.sort_by_key(|c| order(c));
        units.retain(|c| !c.iter().any(|e| self.is_refused(e)));
        let (mut told, mut tried) = (0, 0);
        let (mut told_wall, mut tried_wall) = (0, 0);
        let drains = |e: &&Entry| e.sqe.flags & DRAIN != 0;
        let mut behind = false;
        for unit in units {
            // A drain anywhere in a chain drains the chain's head; what follows waits for it, too.
            let is_drain = unit.iter().any(drains);
            if is_drain || behind {
                (told_wall, tried_wall) = (told, tried);
            }
            behind = is_drain;
            for e in unit {
                // The end of the ring waits for nobody.
                let mut kept = self.seen(e).iter().filter(|(_, s)| !(self.record.cut && s.late));
                let (first, last) = (kept.clone().next(), kept.next_back());
                assert!(
                    first.is_none_or(|f| f.0 >= told_wall),
                    "{} before a drain",
                    self.describe(e)
                );
                let began = self.first_attempt(e);
                assert!(
                    began.is_none_or(|t| t >= tried_wall),
                    "{} began before a drain",
                    self.describe(e)
                );
                told = told.max(last.map_or(0, |l| l.0 + 1));
                let notif = self.notifs.get(&e.sqe.user_data).and_then(|n| n.last());
                told = told.max(notif.map_or(0, |n| n.0 + 1));
                tried = tried.max(self.last_attempt(e).map_or(0, |t| t + 1));
            }
        }
    }

    /// Who gets bytes in a provided buffer names it, and no buffer comes twice: none is given again.
    fn check_buffers(&self) {
        let mut given = BTreeSet::new();
        for e in self.entries.values() {
            let group = e.sqe.buf_index;
            for (_, s) in self.seen(e) {
                let Some(id) = s.buffer else {
                    assert!(s.res <= 0 || !selects(e), "{} without a buffer", self.describe(e));
                    continue;
                };
                assert!(selects(e), "{} with a buffer", self.describe(e));
                let fits = group == 2 || id < u32::from(PROVIDED_MAX);
                assert!(fits, "{} with buffer {id} of {group}", self.describe(e));
                let again = group != INCREMENTAL && !given.insert((group, id));
                assert!(!again, "{} with buffer {id} once more", self.describe(e));
            }
        }
    }

    /// A tag comes once, when its slot was taken away, after all requests that used it.
    fn check_tags(&self) {
        let r = self.record;
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, seen) in r.log.iter().enumerate().filter(|(_, s)| is_tag(s)) {
            let tag = seen.ud - TAG;
            assert!(r.tags.contains_key(&seen.ud), "tag {tag} was never registered");
            assert!(places.insert(seen.ud, at).is_none(), "tag {tag} came twice");
            assert_eq!(seen.res, 0, "the result of tag {tag}");
        }
        for (ud, tag) in &r.tags {
            let (place, name) = (places.get(ud), ud - TAG);
            let Some(removed) = tag.removed else {
                assert!(place.is_none(), "tag {name} came, and its slot was not taken away");
                continue;
            };
            let Some(at) = place else {
                let unseen = (r.cut || tag.with_ring) && !r.whole;
                assert!(unseen, "tag {name} is missing");
                continue;
            };
            assert!(*at >= removed, "tag {name} came before its slot was taken away");
            let last = |user: &u64| self.got.get(user).and_then(|s| s.last());
            let late = tag.users.iter().find(|u| last(u).is_none_or(|l| l.0 > *at));
            assert!(late.is_none(), "tag {name} came while request {late:?} used it");
        }
    }

    /// What went through a flow is what was told.
    fn check_flows(&self) {
        for (fd, (bytes, put, taken)) in &self.record.flows {
            let count = |e: &Entry, res: i32| {
                let head = if e.sqe.opcode == 10 && is_multi(e) { e.owes.ok.0 } else { 0 };
                if *bytes { (res - head).max(0) as u64 } else { u64::from(res >= 0) }
            };
            let told = |mine: &dyn Fn(&Entry) -> bool| {
                let all = self.entries.values().filter(|e| mine(e));
                let pieces =
                    |e: &Entry| self.seen(e).iter().map(|(_, s)| count(e, s.res)).sum::<u64>();
                let last = |e: &Entry| self.last(e).map_or(0, |(_, res)| count(e, res));
                all.map(|e| if is_multi(e) { pieces(e) } else { last(e) }).sum::<u64>()
            };
            let takes = |e: &Entry| e.sqe.opcode == 30 && e.sqe.file_index as i32 == *fd;
            let read = told(&|e| reads(e) && e.sqe.fd == *fd || takes(e));
            let puts = |e: &Entry| writes(e) || matches!(e.sqe.opcode, 30 | 33);
            let written = told(&|e| puts(e) && reader_of(e.sqe.fd) == *fd && e.sqe.fd != *fd);
            let eaten = self.record.eaten.get(fd).copied().unwrap_or(0);
            let fed = self.record.fed.get(fd).copied().unwrap_or(0);
            // A success that CQE_SKIP hides is not told.
            let hides = self.entries.values().any(|e| e.sqe.flags & SKIP != 0);
            let fits = |real: u64, told: u64| real == told || hides && real >= told;
            assert!(
                fits(*taken, read + eaten),
                "from {fd} came {taken}, told were {read} and {eaten}"
            );
            assert!(fits(*put, written + fed), "to {fd} went {put}, told were {written} and {fed}");
        }
    }
}

/// Whether one request may cancel another.
fn cancels(c: &Entry, e: &Entry) -> bool {
    let (s, ud) = (&c.sqe, e.sqe.user_data);
    let same = s.addr % ALIAS == ud;
    match s.opcode {
        14 if s.op_flags & 4 != 0 => true,
        14 if s.op_flags & 2 != 0 => s.fd == e.sqe.fd,
        14 if s.op_flags & 32 != 0 => s.len == u32::from(e.sqe.opcode),
        14 => same,
        7 => same && e.sqe.opcode == 6,
        12 => same && matches!(e.sqe.opcode, 11 | 15),
        _ => false,
    }
}
