//! From a seed to a program.

use super::program::{Entry, Kind, Program, Step};
use super::rows::{Draw, ROWS, link_timeout, polls_io};
use crate::policy::{Fault, Rates};
use crate::rng::Rng;
use ringer_uapi::Sqe;

const MS: u64 = 1_000_000;
/// A wait that outlasts everybody's patience \[ns\].
const LONG: u64 = 80 * MS;
const IOPOLL: u32 = 1;
const SQPOLL: u32 = 1 << 1;
const CQSIZE: u32 = 1 << 3;
const R_DISABLED: u32 = 1 << 6;
const SUBMIT_ALL: u32 = 1 << 7;
const COOP_TASKRUN: u32 = 1 << 8;
const TASKRUN_FLAG: u32 = 1 << 9;
const SQE128: u32 = 1 << 10;
const CQE32: u32 = 1 << 11;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;
const NO_SQARRAY: u32 = 1 << 16;
const FIXED: u8 = 1;
const DRAIN: u8 = 2;
const LINK: u8 = 4;
const HARD: u8 = 8;
const ASYNC: u8 = 16;
const SKIP: u8 = 64;

/// What a program is drawn with.
struct Artist {
    rng: Rng,
    next: u64,
    iopoll: bool,
    fixed: bool,
    /// Either drains, or multishots (behind which a drain would wait for ever), and then CQE_SKIP.
    drains: bool,
    skips: bool,
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
        fixed: !rng.one_in(5),
        drains,
        skips: !drains && rng.one_in(3),
        budget: 12 + rng.below(40),
        next: 1,
        sq: sq as usize,
        lately: Vec::new(),
        rng,
    };
    let threads = setup & (SINGLE_ISSUER | SQPOLL | IOPOLL) == 0 && artist.rng.one_in(4);
    let mut steps = artist.steps(threads);
    if artist.rng.one_in(5) {
        let at = artist.rng.below(steps.len() + 1);
        steps.truncate(at);
        steps.push(Step::CloseRing);
    }
    let rng = &mut artist.rng;
    let mut program = Program {
        seed,
        kind,
        rates,
        numberless: rng.one_in(8),
        no_nowait: rng.one_in(8),
        posix_locks: rng.one_in(8),
        setup,
        entries: (sq, cq),
        eventfd: rng.one_in(5).then(|| rng.one_in(2)),
        tags: rng.one_in(4),
        neighbour: rng.one_in(4),
        polled: rng.one_in(4),
        unregisters: rng.one_in(2),
        steps,
    };
    // Less than a datagram is another datagram: the engine may ask for less of a stream only.
    let datagram = |e: &&Entry| matches!(e.sqe.opcode, 26 | 27) && matches!(e.sqe.fd, 8 | 9);
    if program.entries().iter().any(datagram) {
        program.rates = rates.with(Fault::Share, 0);
    }
    program
}

fn draw_setup(rng: &mut Rng) -> u32 {
    let base = match rng.below(16) {
        0..=4 => 0,
        5..=7 => SINGLE_ISSUER | DEFER_TASKRUN,
        8 => SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG,
        9 => SUBMIT_ALL,
        10 | 11 => SQPOLL,
        12 => COOP_TASKRUN | TASKRUN_FLAG,
        13 => IOPOLL,
        14 => SINGLE_ISSUER,
        _ => R_DISABLED,
    };
    let more = [CQSIZE, CQSIZE | SUBMIT_ALL, NO_SQARRAY, SQE128, CQE32];
    if rng.one_in(3) { base | more[rng.below(more.len())] } else { base }
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
            e.sqe.opcode = 99;
            e.owes = super::program::Owes { ok: (1, 0), errors: &[-22], expires: None };
        }
        if self.rng.one_in(5) {
            e.sqe.flags |= ASYNC;
        }
        e
    }

    fn drawing(&mut self) -> Draw<'_> {
        Draw {
            rng: &mut self.rng,
            ud: self.next,
            iopoll: self.iopoll,
            multis: !self.drains && !self.skips,
            fixed: self.fixed,
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
        self.budget = self.budget.saturating_sub(batch.len());
        Step::Submit(batch)
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
        let ns = self.rng.below(8) as u64 * MS / 2;
        let rng = &mut self.rng;
        match rng.below(16) {
            0..=3 => Step::Wait(1 + rng.below(12) as u32, if ns == 0 { LONG } else { ns }),
            4 => Step::Reap,
            5 => Step::Poke,
            6 => Step::Sleep(if ns == 0 { LONG } else { ns }),
            7 => Step::Settle,
            8..=10 => Step::Feed(ns, [3, 3, 5, 6, 7, 9, 10][rng.below(7)], 1 + rng.below(60)),
            11 => Step::Eat([2, 4, 6][rng.below(3)], 1 + rng.below(500)),
            12 | 13 => Step::Dial(ns, rng.below(2) as u8),
            14 => Step::Signal(ns),
            _ => match rng.below(6) {
                0 => Step::Unregister,
                _ => Step::Close([2, 3, 4, 6, 8, 10, 11, 0][rng.below(8)]),
            },
        }
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
                    let min = 1 + self.rng.below(6) as u32;
                    Step::SubmitAndWait(entries, min, self.rng.below(8) as u64 * MS / 2)
                }
                batch => batch,
            });
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
            _ => Step::Wait(1 + self.rng.below(6) as u32, if ns == 0 { LONG } else { ns }),
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

/// Flags of an entry, one by one, without `FIXED`, which changes what it names.
pub(crate) fn flags_of(e: &Entry) -> impl Iterator<Item = u8> + use<> {
    let flags = e.sqe.flags & !FIXED;
    (1..8).map(|i| 1u8 << i).filter(move |f| flags & f != 0)
}
