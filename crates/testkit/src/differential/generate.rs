//! Makes a program from a seed.
//!
//! ```text
//!   program = setup, registrations, then parts; a part = action | register | batch(es), settle
//!   batch   = chains of entries; each entry lays claims; entries of different chains whose claims
//!             collide are left out, unless both run while they are submitted, in their order
//!   end     = cancel everything, settle
//! ```
//! What the kernel leaves open (which of two workers comes first) is so never drawn; what is still
//! not stable on the kernel is set aside by whoever compares.

use super::dice::Dice;
use super::draws::{OPS, Rows, op};
use super::program::{
    Action, Entry, Fd, IDS, MESSAGES, Obj, Pair, Port, Program, Register, Setup, Step, Val, bit,
};
use super::shapes::{Drawn, TX_TIMESTAMP};
use ringer_uapi::flags::Setup as S;

/// What two entries may quarrel about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// What arrives at an object.
    Way(Obj),
    /// A slot of the registered files.
    Slot(u32),
    /// A name in the folder.
    Name(u8),
    /// A futex.
    Futex(u8),
    /// A group of provided buffers.
    Group(u16),
    /// The file's position.
    Position,
    /// Which requests are under way.
    World,
}

/// One claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    key: Key,
    sole: bool,
}

impl Claim {
    pub(super) fn sole(key: Key) -> Self {
        Self { key, sole: true }
    }

    pub(super) fn shared(key: Key) -> Self {
        Self { key, sole: false }
    }
}

/// A claim in a batch: whose, and whether it is settled while the batch is submitted.
#[derive(Debug)]
struct Held {
    claim: Claim,
    chain: usize,
    at_once: bool,
}

/// The generator's state.
#[derive(Debug)]
pub(super) struct Gen<'a> {
    pub(super) d: Dice,
    pub(super) rows: &'a Rows,
    /// What the slots hold, as far as one can tell.
    pub(super) slots: Vec<Option<Obj>>,
    /// Requests that may be under way.
    pub(super) waiting: Vec<u64>,
    pub(super) first_of_batch: u64,
    /// The entry before, in the same chain; 0 for none.
    pub(super) previous: u64,
    ways_waiting: Vec<Obj>,
    groups_waiting: Vec<u16>,
    /// Sockets whose connection is refused.
    refused: Vec<Obj>,
    /// Sockets that are bound, listen or connect elsewhere.
    named: Vec<Obj>,
    next: u64,
    held: Vec<Held>,
    chain: usize,
    pub(super) drains: bool,
    skips: bool,
    polled: bool,
    /// A drain was drawn: from then on anything may run on a worker.
    drained: bool,
    /// An eventfd counts completions.
    counts: bool,
    /// An eventfd counts those of workers.
    hears_workers: bool,
    /// The ring takes completions of 32 bytes.
    pub(super) wide: bool,
    /// Personalities that were registered.
    personalities: u16,
    /// Entries the ring takes at once: a chain that is cut is another chain.
    room: usize,
    /// The CQ is as small as the SQ, or two batches fill it.
    pub(super) small_cq: bool,
    /// There is a second ring.
    pub(super) other: bool,
    /// Only the ring's owner posts: it can be resized, and completions wait for a call.
    defers: bool,
    ops: Vec<u8>,
    steps: Vec<Step>,
}

/// The program of a seed, drawn from these rows.
pub fn generate(seed: u64, rows: &Rows) -> Program {
    let mut d = Dice::new(seed);
    let setup = setup(&mut d);
    let mut g = Gen {
        rows,
        slots: Vec::new(),
        waiting: Vec::new(),
        first_of_batch: 1,
        previous: 0,
        ways_waiting: Vec::new(),
        groups_waiting: Vec::new(),
        refused: Vec::new(),
        named: Vec::new(),
        next: 1,
        held: Vec::new(),
        chain: 0,
        drains: d.one_in(3),
        skips: d.one_in(3),
        polled: setup.flags & S::SQPOLL.bits() != 0,
        drained: false,
        counts: false,
        hears_workers: false,
        wide: setup.flags & (S::CQE32 | S::CQE_MIXED).bits() != 0,
        personalities: 0,
        room: setup.entries as usize,
        small_cq: setup.cq_entries == setup.entries || setup.entries == 4,
        other: setup.other.is_some(),
        defers: setup.flags & S::DEFER_TASKRUN.bits() != 0,
        ops: OPS.iter().filter(|(name, _)| rows.has(name)).map(|(_, op)| *op).collect(),
        steps: Vec::new(),
        d,
    };
    g.ops.retain(|o| *o != op::LINK_TIMEOUT);
    g.favour();
    g.registrations();
    g.enable(setup.flags & S::R_DISABLED.bits() != 0);
    for _ in 0..3 + g.d.below(6) {
        g.part();
    }
    g.end();
    Program { seed, setup, steps: g.steps }
}

fn setup(d: &mut Dice) -> Setup {
    let mut flags = S::empty();
    for (flag, n) in [
        (S::SUBMIT_ALL, 3),
        (S::COOP_TASKRUN, 4),
        (S::NO_SQARRAY, 5),
        (S::CQE32, 6),
        (S::CQE_MIXED, 8),
        (S::SQE128, 8),
        (S::CQSIZE, 5),
        (S::R_DISABLED, 10),
    ] {
        flags.set(flag, d.one_in(n));
    }
    if flags.contains(S::CQE32) {
        flags.remove(S::CQE_MIXED);
    }
    if d.one_in(4) {
        flags |= S::SINGLE_ISSUER | S::DEFER_TASKRUN;
        flags.set(S::TASKRUN_FLAG, d.one_in(2));
    } else if d.one_in(10) {
        flags.remove(S::COOP_TASKRUN);
        flags |= S::SQPOLL;
        flags.set(S::ATTACH_WQ, d.one_in(2));
    }
    // A thread that serves several rings takes 8 entries at a time: more would cut chains.
    let entries = if flags.contains(S::ATTACH_WQ) { d.pick(&[4, 8]) } else { d.pick(&[4, 8, 16]) };
    // Never full where there are two sizes: 6.18 then shows old entries again (engine, ring/cq.rs).
    let cq_entries = match flags {
        f if f.contains(S::CQE_MIXED) => 16 * entries,
        f if f.contains(S::CQSIZE) => entries,
        _ => 0,
    };
    flags.set(S::CQSIZE, cq_entries != 0);
    let other = d.one_in(3).then(|| d.pick(&[0, (S::SINGLE_ISSUER | S::DEFER_TASKRUN).bits()]));
    Setup { flags: flags.bits(), entries, cq_entries, other }
}

impl Gen<'_> {
    /// Draws what has the most to go wrong more often.
    fn favour(&mut self) {
        let often = [op::READ, op::WRITE, op::READ, op::POLL_ADD, op::TIMEOUT, op::ASYNC_CANCEL];
        let all: Vec<u8> = often.into_iter().filter(|o| self.ops.contains(o)).collect();
        // Each program has favourites of its own besides.
        let pool = self.ops.clone();
        if pool.is_empty() {
            return;
        }
        for _ in 0..6 {
            let favourite = self.d.pick(&pool);
            self.ops.extend([favourite; 3]);
        }
        self.ops.extend(all);
    }

    /// An id that no entry has.
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn any_obj(&mut self) -> Obj {
        let pair = self.d.pick(&[Pair::Stream, Pair::Dgram, Pair::Tcp, Pair::Udp]);
        let side = self.d.below(2) as u8;
        self.d.pick(&[
            Obj::File,
            Obj::File,
            Obj::ReadOnly,
            Obj::Append,
            Obj::Scratch,
            Obj::PipeR(0),
            Obj::PipeR(1),
            Obj::PipeW(0),
            Obj::Sock(pair, side),
            Obj::Sock(pair, side),
            Obj::Event,
            Obj::Listener,
        ])
    }

    /// Descriptors for a table or an update.
    pub(super) fn some_fds(&mut self) -> Vec<Fd> {
        (0..1 + self.d.below(3))
            .map(|_| match self.d.below(12) {
                0 => Fd::Number(-1),
                1 => Fd::Number(-2),
                2 => Fd::Number(self.d.pick(&[999, -3])),
                _ => Fd::Obj(self.any_obj()),
            })
            .collect()
    }

    fn note_slots(&mut self, from: usize, fds: &[Fd]) {
        for (i, fd) in fds.iter().enumerate() {
            let Some(slot) = self.slots.get_mut(from + i) else { return };
            match fd {
                Fd::Obj(o) => *slot = Some(*o),
                Fd::Number(-2) => {}
                Fd::Number(_) => *slot = None,
            }
        }
    }

    fn registrations(&mut self) {
        match self.d.below(5) {
            0 => {}
            1 => {
                self.steps.push(Step::Register(Register::Sparse(5)));
                self.slots = vec![None; 5];
            }
            _ => {
                let objs: Vec<Obj> = (0..5).map(|_| self.any_obj()).collect();
                let fds: Vec<Fd> = objs.iter().map(|o| Fd::Obj(*o)).collect();
                self.slots = objs.into_iter().map(Some).collect();
                let r = if self.d.one_in(3) {
                    let tags = self.tags(5);
                    Register::Files2(fds, tags)
                } else {
                    Register::Files(fds)
                };
                self.steps.push(Step::Register(r));
            }
        }
        if !self.d.one_in(4) {
            let all = vec![(0, super::program::ARENA), (4096, 8192)];
            let r = if self.d.one_in(3) {
                let tags = self.tags(2);
                Register::Buffers2(all, tags)
            } else {
                Register::Buffers(all)
            };
            self.steps.push(Step::Register(r));
        }
        if self.d.one_in(2) {
            let flags = self.d.pick(&[0, 0, 2]);
            self.steps.push(Step::Register(Register::Bufs(1, flags)));
        }
        if self.d.one_in(5) {
            let quiet = self.d.one_in(3);
            self.counts = true;
            self.hears_workers = quiet;
            self.steps.push(Step::Register(Register::Eventfd(quiet)));
        }
    }

    /// What is registered besides, and the start of a ring that is disabled.
    fn enable(&mut self, disabled: bool) {
        for _ in 0..if self.d.one_in(4) { 1 + self.d.below(3) } else { 0 } {
            self.steps.push(Step::Register(Register::Personality));
            self.personalities += 1;
        }
        if self.d.one_in(6) {
            self.steps.push(Step::Register(Register::Index));
        }
        if disabled {
            if self.d.one_in(2) {
                let own = self.d.one_in(2);
                self.steps.push(Step::Register(Register::Region(own, true)));
            }
            if self.d.one_in(2) {
                let list = self.restrictions();
                self.steps.push(Step::Register(Register::Restrict(list)));
            }
            self.steps.push(Step::Register(Register::Enable));
        }
    }

    /// Most things are allowed, and always what ends a program and asks for what it left.
    fn restrictions(&mut self) -> Vec<(u8, u8)> {
        let mut list: Vec<(u8, u8)> =
            (0..36).filter(|_| !self.d.one_in(6)).map(|op| (0, op)).collect();
        let needed = |op: u8| [op::ASYNC_CANCEL, op::FSYNC, op::READ].contains(&op);
        let ops: Vec<u8> = (0..63).filter(|op| needed(*op) || !self.d.one_in(6)).collect();
        list.extend(ops.into_iter().map(|op| (1, op)));
        let flags = if self.d.one_in(3) { bit::LINK | bit::FIXED | bit::SKIP } else { 0x7f };
        list.push((2, flags));
        list
    }

    fn tags(&mut self, n: u64) -> Vec<u64> {
        (0..n).map(|i| if self.d.one_in(2) { 0 } else { 1000 + 10 * self.next + i }).collect()
    }

    fn register(&mut self) -> Register {
        if self.d.one_in(5) {
            return self.call();
        }
        let from = self.d.below(5) as u32;
        match self.d.below(if self.other { 19 } else { 15 }) {
            13 if self.d.one_in(2) => {
                self.personalities += 1;
                Register::Personality
            }
            13 => Register::NoPersonality(self.d.below(u64::from(self.personalities) + 2) as u32),
            14 => self.d.pick_one(&[Register::Index, Register::NoIndex]),
            0..4 => {
                let fds = self.some_fds();
                self.note_slots(from as usize, &fds);
                Register::Update(from, fds)
            }
            4 | 5 => {
                let fds = self.some_fds();
                let tags = self.tags(fds.len() as u64);
                self.note_slots(from as usize, &fds);
                Register::Update2(from, fds, tags)
            }
            6 => Register::Range(from, self.d.below(6) as u32),
            7 => {
                self.slots.clear();
                Register::NoFiles
            }
            8 => self.d.pick_one(&[Register::NoBuffers, Register::NoEventfd, Register::Enable]),
            9 => {
                let list = vec![self.d.pick(&[(0, 4096), (u32::MAX, 0), (8192, 100)])];
                let tags = self.tags(1);
                Register::BuffersUpdate(self.d.below(3) as u32, list, tags)
            }
            10 => {
                self.slots = vec![None; 3];
                Register::Sparse(3)
            }
            11 if self.d.one_in(4) => self.resize(),
            11 => Register::Probe(self.d.pick(&[0, 4, 63, 100])),
            15 | 16 => {
                let at = (self.d.pick(&[0, 0, 1, 3]), self.d.pick(&[0, 0, 1, 2, 16_383]));
                Register::Clone(self.d.pick(&[0, 2, 2, 4]), at, self.d.pick(&[0, 1, 2, 3, 9]))
            }
            17 | 18 => {
                let to = self.d.pick(&[Obj::Ring(0), Obj::Ring(1), Obj::Ring(1), Obj::File]);
                Register::Post(to, MESSAGES + self.fresh_id(), self.d.pick(&[0, 7, u32::MAX]))
            }
            _ => {
                let op = self.d.pick(&[0, 2, 3, 6, 8, 13, 14, 25, 99]);
                Register::Raw(op, self.d.pick(&[0, 16]), self.d.pick(&[0, 1, 32]))
            }
        }
    }

    /// Sizes that take what was drawn for the first ones: there is room for a batch and its completions.
    fn resize(&mut self) -> Register {
        let sq = self.room as u32 * self.d.pick(&[1, 2, 4]);
        Register::Resize(sq, sq * self.d.pick(&[16, 32]))
    }

    /// Something about rings of provided buffers.
    fn buf_rings(&mut self) -> Register {
        let group = self.d.pick(&[1, 1, 1, 2, 3]);
        match self.d.below(6) {
            0 => Register::Bufs(group, self.d.pick(&[0, 2, 4])),
            1 => Register::NoBufs(group),
            2 | 3 => Register::Head(group),
            _ => Register::MoreBufs(group),
        }
    }

    fn action(&mut self) -> Action {
        let pair = self.d.pick(&[Pair::Stream, Pair::Dgram, Pair::Tcp, Pair::Udp]);
        let side = self.d.below(2) as u8;
        let (end, sock) = (Obj::PipeW(self.d.below(3) as u8), Obj::Sock(pair, side));
        let ways: Vec<Obj> = self.ways_waiting.clone();
        let start = self.d.below(100) as i64;
        match self.d.below(14) {
            0..4 => Action::Write(end, self.d.pick(&[1, 50, 100])),
            4..7 => Action::Write(sock, self.d.pick(&[1, 50, 100])),
            7 => Action::Write(Obj::Event, 8),
            8 => match ways.first() {
                // Whom somebody waits for, more often than anybody.
                Some(Obj::PipeR(n)) => Action::Close(Obj::PipeW(*n)),
                Some(Obj::Sock(pair, side)) => Action::Close(Obj::Sock(*pair, 1 - side)),
                _ => Action::Close(end),
            },
            9 => Action::Dup2(self.d.pick(&[Obj::File, end]), self.d.pick(&[Obj::Spare(0), sock])),
            10 => Action::Lock(self.d.one_in(2), start, 1 + self.d.below(50) as i64),
            11 => Action::Unlock(start, 10),
            12 => Action::Connect,
            _ => Action::Arm,
        }
    }

    fn part(&mut self) {
        match self.d.below(8) {
            0 | 1 => {
                let a = self.action();
                self.steps.push(Step::Do(a));
            }
            2 if self.defers && self.d.one_in(3) => {
                // With its completions still there, as a rule.
                self.batch();
                if self.hears_workers {
                    // Whether a worker's completion comes before the owner does is a matter of time.
                    self.settle();
                }
                let r = self.resize();
                self.steps.push(Step::Register(r));
            }
            2 => {
                let r = if self.d.one_in(3) { self.buf_rings() } else { self.register() };
                self.steps.push(Step::Register(r));
            }
            3 if self.d.one_in(2) => self.counted(),
            _ => {
                self.batch();
                while self.d.one_in(6) {
                    if self.drained {
                        // Whether the drain is over by then is a matter of time.
                        self.settle();
                    }
                    self.batch();
                }
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        if !matches!(self.steps.last(), Some(Step::Settle)) {
            self.steps.push(Step::Settle);
        }
        self.held.clear();
        self.first_of_batch = self.next;
    }

    fn submit(&mut self, sqes: Vec<Entry>) {
        let wait = if self.polled || !self.d.one_in(4) { 0 } else { 1 };
        if !sqes.is_empty() {
            self.steps.push(Step::Submit { sqes, wait });
        }
    }

    /// A timeout that counts: alone with what it counts.
    fn counted(&mut self) {
        if !self.rows.has("TIMEOUT") {
            return;
        }
        let id = self.fresh_id();
        let count = 1 + self.d.below(3);
        let timeout = Entry {
            id,
            op: op::TIMEOUT,
            len: 1,
            addr: Val::Time(3600, 0),
            off: Val::Num(count),
            ..Entry::default()
        };
        self.waiting.push(id);
        let nops = self.d.below(4);
        let at = self.d.below(nops + 1);
        let mut sqes = Vec::new();
        for i in 0..=nops {
            if i == at {
                sqes.push(timeout.clone());
            } else {
                let id = self.fresh_id();
                sqes.push(Entry { id, op: op::NOP, ..Entry::default() });
            }
        }
        self.submit(sqes);
    }

    fn batch(&mut self) {
        let mut sqes: Vec<Entry> = Vec::new();
        let n = 1 + self.d.below(7);
        while (sqes.len() as u64) < n && sqes.len() < self.room && self.next + 2 < IDS {
            self.chain(&mut sqes);
        }
        self.submit(sqes);
    }

    /// A chain of one or more entries.
    fn chain(&mut self, sqes: &mut Vec<Entry>) {
        self.chain += 1;
        self.previous = 0;
        let members = if self.d.one_in(3) { 2 + self.d.below(3) } else { 1 };
        let first = sqes.len();
        let mut at_once = !sqes.iter().any(|e| e.flags & bit::DRAIN != 0);
        let mut on_worker = false;
        for m in 0..members {
            if self.next + 2 >= IDS || sqes.len() >= self.room {
                break;
            }
            let (mut e, mut claims) = self.draw();
            claims.push(Claim::shared(Key::World));
            let last = m + 1 == members;
            self.decorate(&mut e, last);
            at_once = at_once && m == 0 && e.flags & (bit::ASYNC | bit::DRAIN) == 0;
            // A connect of a socket that one is under way on already: see LIMITATIONS.md.
            at_once = at_once && runs_at_once(&e) && e.op != op::CONNECT;
            self.drained |= e.flags & bit::DRAIN != 0;
            // The kernel runs what follows a worker's request on that worker, and lets it block there
            // (LIMITATIONS.md, "Requests").
            let behind = on_worker || self.drained && m > 0;
            let blocks = behind && (self.may_wait(&e) || polls_first(&e));
            if blocks
                || self.reads_signals(&e)
                || self.takes_refused(&e)
                || !self.admit(&claims, at_once)
            {
                let flags = e.flags & !(bit::FIXED | bit::ASYNC);
                e = Entry { flags, id: e.id, ..Entry::default() };
            }
            on_worker |= !runs_at_once(&e) || e.flags & bit::ASYNC != 0;
            self.remember(&e, &claims);
            self.previous = e.id;
            let linked = e.flags & (bit::LINK | bit::HARDLINK) != 0;
            let bound = !self.may_wait(&e);
            sqes.push(e);
            let fits = sqes.len() < self.room;
            if linked && fits && self.rows.has("LINK_TIMEOUT") && self.d.one_in(5) {
                self.link_timeout(sqes, bound, last);
            }
        }
        // A chain ends in a member without the flag, most often: the batch's end ends it, too, and
        // then all of it goes to a worker.
        let waits = sqes[first..].iter().any(|e| self.may_wait(e));
        if let Some(e) = sqes.last_mut().filter(|_| waits || !self.d.one_in(30)) {
            e.flags &= !(bit::LINK | bit::HARDLINK);
        }
    }

    /// What goes by the state of a socket whose connect was refused before: connect(2) leaves a
    /// blocking one unconnected, the kernel's request connecting, so that LISTEN is EINVAL
    /// (LIMITATIONS.md). No call of user space polls for the connection of a blocking socket. What named
    /// the socket earlier may wait in its chain and come later.
    fn takes_refused(&mut self, e: &Entry) -> bool {
        let (op::CONNECT | op::BIND | op::LISTEN, Fd::Obj(o)) = (e.op, e.fd) else {
            return false;
        };
        let refuses = e.op == op::CONNECT && e.addr == Val::Port(Port::Closed);
        let takes = self.refused.contains(&o) || refuses && self.named.contains(&o);
        if !takes {
            if refuses { &mut self.refused } else { &mut self.named }.push(o);
        }
        takes
    }

    fn may_wait(&self, e: &Entry) -> bool {
        if matches!(e.op, op::EPOLL_WAIT | op::FUTEX_WAIT | op::FUTEX_WAITV) {
            return true;
        }
        if matches!(e.op, op::SPLICE | op::TEE) {
            return e.from != Some(Obj::File);
        }
        if e.op == op::URING_CMD {
            return self.wide && e.off == Val::Num(TX_TIMESTAMP);
        }
        let receives = matches!(e.op, op::RECV | op::RECVMSG);
        let reads = matches!(
            e.op,
            op::READ | op::READV | op::READ_FIXED | op::READV_FIXED | op::READ_MULTISHOT
        );
        (receives || reads || matches!(e.op, op::POLL_ADD | op::ACCEPT))
            && e.fd != Fd::Obj(Obj::File)
    }

    /// Whether it reads how often completions were signalled: the kernel may signal many at once.
    fn reads_signals(&self, e: &Entry) -> bool {
        let reads = matches!(
            e.op,
            op::READ | op::READV | op::READ_FIXED | op::READV_FIXED | op::READ_MULTISHOT
        );
        let slot = |s: i32| self.slots.get(s as usize).copied().flatten();
        let of = match e.fd {
            Fd::Obj(o) => Some(o),
            Fd::Number(s) => slot(s).filter(|_| e.flags & bit::FIXED != 0),
        };
        self.counts && reads && of == Some(Obj::Event)
    }

    fn link_timeout(&mut self, sqes: &mut Vec<Entry>, bound: bool, last: bool) {
        let id = self.fresh_id();
        let hour = bound || self.d.one_in(2);
        let addr = if hour { Val::Time(3600, 0) } else { Val::Time(0, 2_000_000) };
        let flags = if last { 0 } else { bit::LINK };
        self.waiting.push(id);
        let op = op::LINK_TIMEOUT;
        sqes.push(Entry { id, op, flags, addr, len: 1, ..Entry::default() });
    }

    fn draw(&mut self) -> Drawn {
        let ops = std::mem::take(&mut self.ops);
        let op = self.d.pick(&ops);
        self.ops = ops;
        let id = self.fresh_id();
        let (mut e, claims) = self.shape(op, id);
        if self.d.one_in(25) {
            self.spoil(&mut e);
        }
        (e, claims)
    }

    /// Makes one field wrong.
    fn spoil(&mut self, e: &mut Entry) {
        match self.d.below(8) {
            0 => e.flags |= 0x80,
            1 => e.personality = 7,
            2 => e.ioprio = 7 << 13,
            3 => e.addr = Val::Num(16),
            4 => e.file_index = 50,
            5 => e.buf_index = 9,
            6 => e.op_flags |= 1 << 21,
            _ => e.op = self.d.pick(&[63, 200]),
        }
    }

    /// Links, drains, workers, silence.
    fn decorate(&mut self, e: &mut Entry, last: bool) {
        if !last {
            e.flags |= self.d.pick(&[bit::LINK, bit::LINK, bit::HARDLINK]);
        }
        if self.d.one_in(8) {
            e.flags |= bit::ASYNC;
        }
        if self.personalities > 0 && self.d.one_in(6) {
            e.personality = 1 + self.d.below(u64::from(self.personalities) + 1) as u16;
        }
        let calm = self.ways_waiting.is_empty() && self.waiting.is_empty();
        if self.drains && self.d.one_in(if calm { 6 } else { 40 }) {
            e.flags |= bit::DRAIN;
        }
        // Only where the last of the chain says that it is over, or nobody goes elsewhere.
        let says_nothing = runs_at_once(e) && !self.may_wait(e) && e.flags & bit::ASYNC == 0;
        let makes = [op::OPENAT, op::OPENAT2, op::ACCEPT, op::CLOSE].contains(&e.op);
        let makes = makes || [op::SOCKET, op::FIXED_FD_INSTALL, op::PIPE].contains(&e.op);
        // A connect runs on a worker of ringer's (LIMITATIONS.md): its silence has no end in sight.
        let makes = makes || e.op == op::CONNECT;
        // Nor has that of who speaks more than once.
        let makes = makes || e.op == op::READ_MULTISHOT || e.op == op::RECV && e.ioprio & 2 != 0;
        if self.skips && self.d.one_in(4) && !makes && (says_nothing || !last) {
            e.flags |= bit::SKIP;
        }
    }

    /// Whether the claims collide with nobody of another chain; if not, they are held.
    fn admit(&mut self, claims: &[Claim], at_once: bool) -> bool {
        let chain = self.chain;
        let collides = |h: &Held| {
            h.chain != chain
                && !(h.at_once && at_once)
                && claims.iter().any(|c| c.key == h.claim.key && (c.sole || h.claim.sole))
        };
        if self.held.iter().any(collides) {
            return false;
        }
        let waits = |c: &Claim| match c.key {
            Key::Way(o) => self.ways_waiting.contains(&o),
            Key::Group(g) => self.groups_waiting.contains(&g),
            _ => false,
        };
        let both =
            self.held.iter().any(|h| claims.iter().any(|c| c.key == h.claim.key && waits(c)));
        if both {
            // Somebody waits there since an earlier batch: who is served first is left open.
            return false;
        }
        self.held.extend(claims.iter().map(|&claim| Held { claim, chain, at_once }));
        true
    }

    fn remember(&mut self, e: &Entry, claims: &[Claim]) {
        if self.may_wait(e) {
            for c in claims {
                match c.key {
                    Key::Way(o) => self.ways_waiting.push(o),
                    Key::Group(g) => self.groups_waiting.push(g),
                    _ => {}
                }
            }
        }
        if self.may_wait(e) || e.op == op::TIMEOUT {
            self.waiting.push(e.id);
        }
        if let (op::FILES_UPDATE, Val::Num(from @ 0..8), Val::Fds(fds)) = (e.op, &e.off, &e.addr) {
            self.note_slots(*from as usize, fds);
        }
        if let (op::CLOSE, Some(slot)) = (e.op, (e.file_index as usize).checked_sub(1))
            && let Some(slot) = self.slots.get_mut(slot)
        {
            *slot = None;
        }
    }

    /// Cancels everything, so that what is left is left for good.
    fn end(&mut self) {
        if self.rows.has("ASYNC_CANCEL") {
            let id = self.fresh_id();
            let any = Entry { id, op: op::ASYNC_CANCEL, op_flags: 4, ..Entry::default() };
            self.steps.push(Step::Submit { sqes: vec![any], wait: 0 });
            self.steps.push(Step::Settle);
        }
    }
}

/// Whether it asks to wait for readiness before its first attempt.
fn polls_first(e: &Entry) -> bool {
    const NET: [u8; 6] =
        [op::SEND, op::RECV, op::SENDMSG, op::RECVMSG, op::SEND_ZC, op::SENDMSG_ZC];
    NET.contains(&e.op) && e.ioprio & 1 != 0 || e.op == op::ACCEPT && e.ioprio & 4 != 0
}

/// Whether the kernel carries it out, or lets it wait, while it is submitted.
fn runs_at_once(e: &Entry) -> bool {
    let regular = matches!(e.fd, Fd::Obj(Obj::File | Obj::Append | Obj::ReadOnly | Obj::Spare(_)));
    match e.op {
        op::READ | op::READV | op::READ_FIXED | op::READV_FIXED | op::READ_MULTISHOT => {
            e.fd != Fd::Obj(Obj::Folder)
        }
        _ if polls_first(e) => false,
        // A file for a ring that defers is its owner's task work.
        op::MSG_RING => e.addr != Val::Num(1),
        op::WRITE | op::WRITEV | op::WRITE_FIXED | op::WRITEV_FIXED => {
            !regular && e.fd != Fd::Obj(Obj::Event) && e.flags & bit::FIXED == 0
        }
        op::FADVISE => e.op_flags <= 2,
        op::FSYNC
        | op::SYNC_FILE_RANGE
        | op::FALLOCATE
        | op::FTRUNCATE
        | op::MADVISE
        | op::SPLICE
        | op::TEE
        | op::FSETXATTR
        | op::SETXATTR
        | op::FGETXATTR
        | op::GETXATTR
        | op::STATX
        | op::SHUTDOWN
        | op::OPENAT
        | op::OPENAT2
        | op::RENAMEAT
        | op::UNLINKAT
        | op::MKDIRAT
        | op::SYMLINKAT
        | op::LINKAT
        | op::CLOSE => false,
        _ => true,
    }
}
