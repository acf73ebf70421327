//! From a seed to a program.

use super::app::TAG;
use super::program::{
    BAD, Cancel, Change, Entry, How, Kind, PERSONALITY, Patience, Program, Put, Step, batch_max,
};
use super::rows::{
    CHILDREN, Draw, EACH, FREE_SLOT, FUTEXES, ROWS, SELECT, datagram, link_timeout, polls_io,
    timestamps,
};
use crate::policy::{Fault, Rates};
use crate::rng::Rng;
use ringer_uapi::Sqe;

const MS: u64 = 1_000_000;
/// A wait that outlasts everybody's patience \[ns\].
const LONG: u64 = 80 * MS;
const IOPOLL: u32 = 1;
const SQPOLL: u32 = 1 << 1;
const SQ_AFF: u32 = 1 << 2;
const CQSIZE: u32 = 1 << 3;
const CLAMP: u32 = 1 << 4;
const ATTACH_WQ: u32 = 1 << 5;
const R_DISABLED: u32 = 1 << 6;
const SUBMIT_ALL: u32 = 1 << 7;
const COOP_TASKRUN: u32 = 1 << 8;
const TASKRUN_FLAG: u32 = 1 << 9;
const SQE128: u32 = 1 << 10;
const CQE32: u32 = 1 << 11;
const CQE_MIXED: u32 = 1 << 18;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;
const NO_MMAP: u32 = 1 << 14;
const REGISTERED_FD_ONLY: u32 = 1 << 15;
const NO_SQARRAY: u32 = 1 << 16;
const HYBRID_IOPOLL: u32 = 1 << 17;
/// The first tag that no initial table has.
const NEW_TAGS: u64 = TAG + 64;
const FIXED: u8 = 1;
const DRAIN: u8 = 2;
const LINK: u8 = 4;
const HARD: u8 = 8;
const ASYNC: u8 = 16;
const SKIP: u8 = 64;
const CANCEL: u8 = 14;
const LINK_TIMEOUT: u8 = 15;

/// What a program is drawn with.
struct Artist {
    rng: Rng,
    next: u64,
    iopoll: bool,
    /// The ring takes completions of 32 bytes.
    wide: bool,
    fixed: bool,
    /// Either drains, or multishots (behind which a drain would wait for ever), and then CQE_SKIP.
    drains: bool,
    skips: bool,
    /// Entries name personalities, and threads become others.
    named: bool,
    /// Tables change while requests run.
    reshapes: bool,
    /// More than one thread works with the ring.
    threads: bool,
    tag: u64,
    budget: usize,
    sq: usize,
    /// Opcode and user_data of what was drawn.
    lately: Vec<(u8, u64)>,
}

/// The program of a seed.
pub fn draw(seed: u64) -> Program {
    let mut rng = Rng::new(seed ^ 0x51b_0a7e);
    let setup = draw_setup(&mut rng);
    let kind = match rng.below(10) {
        0 => Kind::Plain,
        1 | 2 => Kind::Chaos,
        _ => Kind::Seeded,
    };
    let sq = *[4, 8, 16].get(rng.below(3)).unwrap_or(&16);
    let cq = if setup & CQSIZE != 0 { sq } else { 2 * sq };
    let rates = draw_rates(&mut rng);
    let drains = rng.one_in(3);
    let mut artist = Artist {
        iopoll: setup & IOPOLL != 0,
        wide: setup & (CQE32 | CQE_MIXED) != 0,
        fixed: !rng.one_in(5),
        drains,
        skips: !drains && rng.one_in(3),
        named: rng.one_in(4),
        reshapes: rng.one_in(3),
        threads: false,
        tag: NEW_TAGS,
        budget: 12 + rng.below(40),
        next: 1,
        sq: batch_max(setup, sq),
        lately: Vec::new(),
        rng,
    };
    let threads =
        setup & (SINGLE_ISSUER | IOPOLL | REGISTERED_FD_ONLY) == 0 && artist.rng.one_in(4);
    artist.threads = threads;
    let mut steps = artist.steps(threads);
    if artist.rng.one_in(5) {
        let at = artist.rng.below(steps.len() + 1);
        steps.truncate(at);
        let mapped = if artist.rng.one_in(2) { (1 + artist.rng.below(30) as u64) * MS } else { 0 };
        steps.push(Step::CloseRing(mapped));
    }
    let rng = &mut artist.rng;
    let mut program = Program {
        seed,
        kind,
        rates,
        numberless: rng.one_in(8),
        no_nowait: rng.one_in(8),
        posix_locks: rng.one_in(8),
        // Drawn apart: the other draws of a seed stay what they were.
        meddles: Rng::new(seed ^ 0xfa7e).one_in(6),
        setup,
        entries: (sq, cq),
        eventfd: rng.one_in(5).then(|| rng.one_in(2)),
        forbids: None,
        indexed: rng.one_in(4),
        tags: rng.one_in(4),
        neighbour: rng.one_in(4),
        polled: rng.one_in(4),
        unregisters: rng.one_in(2),
        steps,
    };
    if setup & R_DISABLED != 0 && program.seed.is_multiple_of(3) {
        program.forbids = forbid(&program);
    }
    // Less than a datagram is another datagram: the engine may ask for less of a stream only.
    let datagram =
        |e: &&Entry| matches!(e.sqe.opcode, 9 | 10 | 26 | 27) && matches!(e.sqe.fd, 8 | 9);
    if program.entries().iter().any(datagram) {
        program.rates = rates.with(Fault::Share, 0);
    }
    program
}

/// An opcode that the program draws, but none that ends the run or hangs on another entry.
fn forbid(program: &Program) -> Option<u8> {
    let free = |op: &u8| ![BAD, CANCEL, LINK_TIMEOUT].contains(op);
    program.entries().iter().map(|e| e.sqe.opcode).find(free)
}

fn draw_setup(rng: &mut Rng) -> u32 {
    let base = match rng.below(16) {
        0..=4 => 0,
        5..=7 => SINGLE_ISSUER | DEFER_TASKRUN,
        8 => SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG,
        9 => SUBMIT_ALL,
        10 => SQPOLL,
        11 => SQPOLL | SQ_AFF,
        12 => COOP_TASKRUN | TASKRUN_FLAG,
        13 if rng.one_in(4) => IOPOLL | HYBRID_IOPOLL,
        13 => IOPOLL,
        14 => SINGLE_ISSUER,
        _ => R_DISABLED,
    };
    let more = [
        CQSIZE,
        CQSIZE | SUBMIT_ALL,
        NO_SQARRAY,
        SQE128,
        CQE32,
        CQE_MIXED,
        CQE_MIXED | CQSIZE,
        CLAMP,
        NO_MMAP,
        NO_MMAP,
        NO_MMAP | REGISTERED_FD_ONLY,
    ];
    let more = if rng.one_in(3) { more[rng.below(more.len())] } else { 0 };
    // Who shares a submission thread, and who only says so.
    let attach = rng.one_in(if base & SQPOLL == 0 { 20 } else { 2 });
    base | more | if attach { ATTACH_WQ } else { 0 }
}

fn draw_rates(rng: &mut Rng) -> Rates {
    let mut rates = Rates::NONE.with(Fault::Preempt, *[0, 3, 5, 9].get(rng.below(4)).unwrap_or(&5));
    let rest = [
        (Fault::Slow, 40),
        (Fault::Short, 3),
        (Fault::Share, 3),
        (Fault::Eintr, 8),
        (Fault::Wake, 6),
        (Fault::Again, 3),
        (Fault::Late, 3),
    ];
    for (fault, rate) in rest {
        if rng.one_in(2) {
            rates = rates.with(fault, rate);
        }
    }
    for fault in [Fault::NoThread, Fault::NoFile] {
        if rng.one_in(8) {
            rates = rates.with(fault, 12);
        }
    }
    rates
}

impl Artist {
    fn entry(&mut self) -> Entry {
        let iopoll = self.iopoll;
        let rows = || ROWS.iter().filter(move |r| !iopoll || polls_io(r.0));
        let total: u32 = rows().map(|r| r.1).sum();
        let mut at = self.rng.below(total as usize) as u32;
        let row = rows().find(|r| {
            let hit = at < r.1;
            at = at.saturating_sub(r.1);
            hit
        });
        let draw = row.map_or(ROWS[0].2, |r| r.2);
        let mut e = draw(&mut self.drawing());
        self.next += 1;
        self.lately.push((e.sqe.opcode, e.sqe.user_data));
        if self.rng.one_in(60) {
            e.sqe.opcode = BAD;
        }
        if self.rng.one_in(5) {
            e.sqe.flags |= ASYNC;
        }
        if self.named && self.rng.one_in(3) {
            e.sqe.personality = if self.rng.one_in(12) { 7 } else { PERSONALITY };
        }
        e
    }

    fn drawing(&mut self) -> Draw<'_> {
        Draw {
            rng: &mut self.rng,
            ud: self.next,
            iopoll: self.iopoll,
            wide: self.wide,
            multis: !self.drains && !self.skips,
            fixed: self.fixed,
            alloc: !self.reshapes,
            lately: &self.lately,
        }
    }

    /// Entries that are linked, the last one not.
    fn chain(&mut self) -> Vec<Entry> {
        let n = if self.rng.one_in(2) { 1 } else { 1 + self.rng.below(4) };
        let mut chain = Vec::new();
        for i in 0..n {
            let mut e = self.entry();
            if i + 1 < n {
                e.sqe.flags |= if self.rng.one_in(3) { HARD } else { LINK };
            }
            if self.skips && self.rng.one_in(4) {
                e.sqe.flags |= SKIP;
            }
            if self.drains && self.rng.one_in(8) {
                e.sqe.flags |= DRAIN;
            }
            chain.push(e);
            if i + 1 < n && !self.iopoll && self.rng.one_in(4) {
                let mut e = link_timeout(&mut self.drawing());
                self.next += 1;
                e.sqe.flags |= LINK;
                chain.push(e);
            }
        }
        if let Some(last) = chain.last_mut() {
            last.sqe.flags &= !(LINK | HARD);
        }
        chain
    }

    fn batch(&mut self) -> Step {
        let mut batch = Vec::new();
        let want = 1 + self.rng.below(self.sq);
        while batch.len() < want && self.next < 110 {
            let chain = self.chain();
            if batch.len() + chain.len() > self.sq {
                break;
            }
            batch.extend(chain);
        }
        // Reads that follow each other are one call: some of that, too.
        if self.rng.one_in(6) && !self.iopoll {
            self.read_ahead(&mut batch);
        }
        // Timestamps need a socket that sends: some of that, where they are told.
        if self.wide && !self.iopoll && !self.drains && !self.skips && self.rng.one_in(3) {
            self.timestamps(&mut batch);
        }
        self.budget = self.budget.saturating_sub(batch.len());
        Step::Submit(batch)
    }

    fn timestamps(&mut self, batch: &mut Vec<Entry>) {
        let mut row: fn(&mut Draw<'_>) -> Entry = timestamps;
        while batch.len() < self.sq && self.next < 110 && !self.rng.one_in(5) {
            let e = row(&mut self.drawing());
            self.next += 1;
            self.lately.push((e.sqe.opcode, e.sqe.user_data));
            batch.push(e);
            row = datagram;
        }
    }

    fn read_ahead(&mut self, batch: &mut Vec<Entry>) {
        let mut off = self.rng.below(300) as u64;
        while batch.len() < self.sq && self.next < 110 && !self.rng.one_in(5) {
            let len = 1 + self.rng.below(60) as u32;
            let ud = self.next;
            let addr = super::rows::memory(ud) + super::rows::BUF_AT;
            let sqe = Sqe { opcode: 22, user_data: ud, addr, len, off, ..Sqe::default() };
            let n = (super::rows::FILE as i32 - off as i32).clamp(0, len as i32);
            let owes = super::program::Owes { ok: (n, n), errors: &[], expires: None };
            batch.push(Entry { sqe, memory: Vec::new(), owes });
            off += u64::from(len);
            self.next += 1;
        }
    }

    fn meanwhile(&mut self) -> Step {
        if self.reshapes && self.rng.one_in(3) {
            return Step::Register(self.change());
        }
        if self.named && self.rng.one_in(3) {
            return Step::Become(self.rng.below(3) as u64);
        }
        let ns = self.rng.below(8) as u64 * MS / 2;
        let rng = &mut self.rng;
        match rng.below(16) {
            0..=3 => {
                let min = 1 + rng.below(12) as u32;
                Step::Wait(self.patience(min, if ns == 0 { LONG } else { ns }))
            }
            4 => Step::Reap,
            5 => Step::Poke,
            6 => Step::Sleep(if ns == 0 { LONG } else { ns }),
            7 => Step::Settle,
            8..=10 => {
                let fds = [3, 3, 5, 6, 7, 9, 10, CHILDREN, FUTEXES, FUTEXES];
                let fd = fds[rng.below(fds.len())];
                let among = if fd < CHILDREN { 1 } else { EACH as usize };
                Step::Feed(ns, fd + rng.below(among) as i32, 1 + rng.below(60))
            }
            11 => Step::Eat([2, 4, 6][rng.below(3)], 1 + rng.below(500)),
            12 | 13 => Step::Dial(ns, rng.below(2) as u8),
            14 => Step::Signal(ns),
            _ => match rng.below(9) {
                0 => Step::Register(Change::NoFiles),
                1..=3 => Step::Register(self.mild_change()),
                _ => Step::Close([2, 3, 4, 6, 8, 10, 11, 0][rng.below(8)]),
            },
        }
    }

    fn patience(&mut self, min: u32, ns: u64) -> Patience {
        let rng = &mut self.rng;
        let hows = [How::For, How::For, How::Until, How::Masked, How::Bare, How::Region];
        let how = hows[rng.below(hows.len())];
        let enough_us = if how == How::Bare || !rng.one_in(3) { 0 } else { rng.below(4000) as u32 };
        Patience { min, ns, enough_us, how }
    }

    fn put(&mut self, skip: bool) -> Put {
        match self.rng.below(6) {
            0 => Put::Empty,
            1 if skip => Put::Skip,
            2 => Put::Same(0),
            _ => Put::Same(self.tags(1)),
        }
    }

    /// So many tags that nothing had yet.
    fn tags(&mut self, n: u64) -> u64 {
        let first = self.tag;
        self.tag += n;
        first
    }

    fn change(&mut self) -> Change {
        let n = 1 + self.rng.below(3);
        match self.rng.below(16) {
            0..=4 => {
                let slot = self.rng.below(FREE_SLOT as usize - n) as u32;
                Change::Files(slot, (0..n).map(|_| self.put(true)).collect())
            }
            5 | 6 => {
                let (slot, n) = (self.rng.below(2) as u32, 1 + self.rng.below(2));
                Change::Buffers(slot, (0..n).map(|_| self.put(false)).collect())
            }
            7 => Change::NoFiles,
            8 | 9 => Change::AllFiles(if self.rng.one_in(3) { 0 } else { self.tags(24) }),
            10 => Change::NoBuffers,
            11 | 12 => Change::AllBuffers(if self.rng.one_in(3) { 0 } else { self.tags(4) }),
            13 => Change::Clone(0, 0),
            14 => Change::Clone(self.rng.below(2) as u32, 1 + self.rng.below(2) as u32),
            _ => self.mild_change(),
        }
    }

    /// One after which every request finds what it would have found.
    fn mild_change(&mut self) -> Change {
        match self.rng.below(16) {
            6 => Change::Personality,
            14 => Change::Napi(self.rng.one_in(2).then(|| self.rng.below(100) as u32)),
            7..=9 => Change::Cancel(self.cancel()),
            10 => Change::Region(self.rng.one_in(2)),
            11 if !self.threads => Change::Clock(self.rng.one_in(2)),
            15 if !self.threads => {
                let sq = (self.sq as u32) << self.rng.below(3);
                Change::Resize(sq, sq << self.rng.below(3))
            }
            12 => Change::Limits(1 + self.rng.below(4) as u32, 1 + self.rng.below(4) as u32),
            13 => Change::Cpus(self.rng.below(4) as u64),
            0 => Change::Bell(self.rng.one_in(3)),
            1 => Change::NoBell,
            2 => Change::Mute(self.rng.one_in(2)),
            3 => Change::Post(self.rng.one_in(2)),
            _ => Change::Ask([8, 19, 25, 35][self.rng.below(4)]),
        }
    }

    fn cancel(&mut self) -> Cancel {
        let entry = super::rows::cancel(&mut self.drawing());
        let (s, rng) = (entry.sqe, &mut self.rng);
        let ns = rng.one_in(2).then(|| rng.below(8) as u64 * MS / 2);
        Cancel { name: s.addr, fd: s.fd, flags: s.op_flags, opcode: s.len as u8, ns }
    }

    fn steps(&mut self, threads: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        while self.budget > 0 && self.next < 110 {
            if threads && self.rng.one_in(4) {
                steps.push(self.thread());
                continue;
            }
            let batch = self.batch();
            steps.push(match batch {
                Step::Submit(entries) if self.rng.one_in(3) => {
                    let (min, ns) = (1 + self.rng.below(6) as u32, self.rng.below(8) as u64);
                    Step::SubmitAndWait(entries, self.patience(min, ns * MS / 2))
                }
                batch => batch,
            });
            if self.rng.one_in(6) {
                // Long enough that what nobody looks at is late.
                steps.push(Step::Sleep(LONG / 2));
            }
            for _ in 0..self.rng.below(4) {
                steps.push(self.meanwhile());
            }
        }
        steps
    }

    fn thread(&mut self) -> Step {
        let mut steps = Vec::new();
        for _ in 0..1 + self.rng.below(4) {
            let submits = self.rng.one_in(2);
            steps.push(if submits { self.batch() } else { self.linger() });
        }
        Step::Thread(steps)
    }

    /// What a second thread does between two batches.
    fn linger(&mut self) -> Step {
        let ns = self.rng.below(8) as u64 * MS / 2;
        match self.rng.below(4) {
            0 => Step::Sleep(ns),
            1 => Step::Reap,
            _ => {
                let min = 1 + self.rng.below(6) as u32;
                Step::Wait(self.patience(min, if ns == 0 { LONG } else { ns }))
            }
        }
    }
}

/// Makes what is left of a chain a chain again: a linked timeout follows a link, the last of a batch
/// links to nothing, drains and skips as they were.
pub(crate) fn mend(batch: &mut Vec<Entry>) {
    let mut after_link = false;
    batch.retain(|e| {
        let keep = e.sqe.opcode != 15 || after_link;
        if keep {
            after_link = e.sqe.flags & (LINK | HARD) != 0 && e.sqe.opcode != 15;
        }
        keep
    });
    if let Some(last) = batch.last_mut() {
        last.sqe.flags &= !(LINK | HARD);
    }
}

/// Flags of an entry, one by one, without those that change what it names.
pub(crate) fn flags_of(e: &Entry) -> impl Iterator<Item = u8> + use<> {
    let flags = e.sqe.flags & !(FIXED | SELECT);
    (1..8).map(|i| 1u8 << i).filter(move |f| flags & f != 0)
}
