//! Runs a program on whatever io_uring this process has, and answers what it saw.
//!
//! ```text
//!   for each step: register | submit | act | settle -> lines
//!   settle: take completions until as many came as the record says (`hints`), or, on the kernel's
//!           ring, until nothing came for a while; then sort (canon)
//!   at the end: memory, files, positions, locks, what waits in pipes and sockets, the slots
//! ```
//! How long "a while" is depends on what is under way: requests that are bound to end are waited
//! for, requests that may wait for ever are given a few milliseconds.

mod calls;

use super::canon::Canon;
use super::draws::op;
use super::judge::Request;
use super::program::{
    ARENA, BUF_LEN, BUFS, Entry, Fd, GROUP_ROOM, GROUPS, IDS, OTHER_SLOTS, Obj, ROOM, Register,
    Step, Val, bit, writes_from,
};
use super::scene::{Scene, changes};
use crate::os::{self, Buf, Sys};
use crate::ring::{EXT_ARG, GETEVENTS, Ring, SQ_WAKEUP, reg, u64s};
use ringer_uapi::flags::Setup;
use ringer_uapi::{Cqe, Params, Sqe};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a run saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The canonical text.
    pub lines: Vec<String>,
    /// Completions taken at each settle.
    pub counts: Vec<usize>,
    /// Requests were left under way: the process is not fit for another program.
    pub stuck: bool,
}

/// How long a quiet ring is believed, with requests under way that may wait for ever \[ms\].
const QUIET_MS: u64 = 8;
/// The same with requests that are bound to end.
const BOUND_MS: u64 = 400;
/// How long anything else is waited for that is bound to come.
const RECORDED_MS: u64 = 4000;
/// How long a run that dawdles does so: a worker is made and has run by then.
const DAWDLE: Duration = Duration::from_millis(3);
/// How long completions beyond the recorded ones are waited for while requests are under way.
const EXTRA_MS: u64 = 2;

struct Run<'a> {
    recorded_ms: u64,
    hints: Option<&'a [usize]>,
    ring: Ring,
    other: Option<Ring>,
    scene: Scene,
    arena: Buf,
    /// Provided buffers, and their rings, a page a group.
    pool: Buf,
    buf_rings: Buf,
    tails: [u16; GROUPS as usize],
    /// Structures that entries point to, handed out from the front.
    consts: Buf,
    used: usize,
    /// Where STATX answers go.
    statx: Vec<usize>,
    /// Where PIPE writes numbers, and whether of slots.
    pairs: Vec<(usize, bool)>,
    /// Headers of messages.
    messages: Vec<usize>,
    canon: Canon,
    /// See [`Run::dawdle`].
    dawdles: bool,
    /// Requests without a last completion: whether each is bound to end.
    pending: BTreeMap<u64, bool>,
    drained: bool,
    /// Requests were submitted that speak only if they fail.
    silent: bool,
    settles: usize,
    slots: u32,
    out: Outcome,
    /// Limits of workers were set.
    limited: bool,
    /// The ring's region, and whether waits find their argument there.
    region: Option<(Buf, bool)>,
}

/// Runs a program. The hints are the counts of an earlier run whose text is to be met.
///
/// # Errors
/// What kept the program from being run at all.
pub fn run(request: &Request) -> Result<Outcome, String> {
    let program = &request.program;
    let s = &program.setup;
    let mut params = Params { flags: s.flags, cq_entries: s.cq_entries, ..Params::default() };
    if s.flags & Setup::SQPOLL.bits() != 0 {
        params.sq_thread_idle = 20;
    }
    // Whose thread the ring shares: there as long as the ring.
    let host = (s.flags & Setup::ATTACH_WQ.bits() != 0)
        .then(|| Ring::new(8, s.flags & Setup::SQPOLL.bits()))
        .transpose()
        .map_err(|e| format!("the ring to attach to: {e:?}"))?;
    params.wq_fd = host.as_ref().map_or(0, |r| r.fd.cast_unsigned());
    let ring = match Ring::with(s.entries, params) {
        Ok(ring) => ring,
        Err(e) => {
            return Ok(Outcome { lines: vec![format!("setup: {e:?}")], ..Outcome::default() });
        }
    };
    // Those of programs that ran here before.
    let all: Vec<u64> = (0..16).flat_map(|index| [index, 0]).collect();
    let _ = ring.register(NO_RING_FDS, u64s(&all).addr(), 16);
    let other = s.other.map(|flags| Ring::new(8, flags)).transpose();
    let other = other.map_err(|e| format!("the other ring: {e:?}"))?;
    let mut scene = Scene::new(program).map_err(|e| format!("scene: {e:?}"))?;
    scene.rings = [ring.fd, other.as_ref().map_or(-1, |r| r.fd)];
    let mut run = Run {
        hints: request.hints.as_deref(),
        recorded_ms: request.patience_ms,
        dawdles: request.dawdles,
        ring,
        other,
        scene,
        arena: Buf::new(ARENA as usize),
        pool: Buf::new(POOL),
        buf_rings: Buf::new(POOL),
        tails: [0; GROUPS as usize],
        consts: Buf::new(128 << 10),
        used: 0,
        statx: Vec::new(),
        pairs: Vec::new(),
        messages: Vec::new(),
        canon: Canon::default(),
        pending: BTreeMap::new(),
        drained: false,
        silent: false,
        settles: 0,
        slots: 0,
        out: Outcome::default(),
        limited: false,
        region: None,
    };
    run.arena.put(0, &arena_pattern());
    run.pool.put(0, &[0xdd; POOL]);
    run.furnish_other()?;
    for step in &program.steps {
        run.step(step)?;
    }
    run.finish();
    drop(host);
    run.unlimit();
    Ok(run.out)
}

fn arena_pattern() -> Vec<u8> {
    let mut bytes = vec![0xee; ARENA as usize];
    // Words of futexes, of which no request has any room.
    bytes[..16].fill(0);
    for id in 0..IDS {
        let at = writes_from(id) as usize;
        bytes[at..at + ROOM as usize].fill(id as u8);
    }
    bytes
}

impl Run<'_> {
    fn say(&mut self, line: String) {
        self.out.lines.push(line);
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Register(r) => {
                let answer = self.register(r);
                self.say(format!("register {r:?} = {answer:?}"));
            }
            Step::Do(a) => {
                let answer = self.scene.act(*a);
                self.say(format!("do {a:?} = {answer:?}"));
            }
            Step::Settle => self.settle(),
            Step::Submit { sqes, wait } => self.submit(sqes, *wait)?,
        }
        Ok(())
    }

    /// The second ring has a table of files without any, and buffers of which one is missing.
    fn furnish_other(&mut self) -> Result<(), String> {
        let words = self.iovs(&[(0, ARENA), (u32::MAX, 0), (4096, 8192)]);
        let (bufs, table) = (self.place(&words), self.place(&[SPARSE, 0, 0, 0]));
        let Some(other) = &self.other else { return Ok(()) };
        let files = other.register(reg::FILES2, table, 32);
        let done = files.and_then(|_| other.register(reg::BUFFERS, bufs, 3));
        done.map(drop).map_err(|e| format!("the other ring: {e:?}"))
    }

    // --- submission ------------------------------------------------------------------------------

    /// Queues the entries as room allows and enters until all are taken.
    fn submit(&mut self, sqes: &[Entry], wait: u32) -> Result<(), String> {
        let mut said = Vec::new();
        let mut rest = sqes;
        while !rest.is_empty() {
            if rest.len() < sqes.len() {
                self.dawdle();
            }
            let n = rest.len().min(self.ring.params.sq_entries as usize);
            for e in &rest[..n] {
                let sqe = self.sqe(e);
                self.ring.stage(sqe);
            }
            self.ring.publish();
            let mut left = &rest[..n];
            while !left.is_empty() {
                if left.len() < n {
                    self.dawdle();
                }
                let answer = self.enter_for(left.len() as u32, wait);
                said.push(answer);
                let Ok(taken @ 1..) = answer else { break };
                let (now, after) = left.split_at((taken as usize).min(left.len()));
                self.taken(now);
                left = after;
            }
            if !left.is_empty() {
                self.say(format!("enter {said:?}: stopped"));
                return Ok(());
            }
            rest = &rest[n..];
        }
        self.say(format!("enter {said:?}"));
        Ok(())
    }

    /// One of the kernel's runs takes its time between a batch and the next call, be it for what is left of
    /// it: what workers do meanwhile has no order with that.
    fn dawdle(&self) {
        if self.dawdles {
            std::thread::sleep(DAWDLE);
        }
    }

    fn taken(&mut self, sqes: &[Entry]) {
        self.canon.taken(sqes);
        let mut behind = false;
        for e in sqes {
            let drain = e.flags & bit::DRAIN != 0;
            self.drained |= drain;
            let stuck = self.drained && self.pending.values().any(|bound| !bound);
            let bound = !behind && !stuck && bound_to_end(e);
            if e.flags & bit::SKIP == 0 {
                self.pending.insert(e.id, bound);
            }
            self.silent |= e.flags & bit::SKIP != 0;
            let links = e.flags & (bit::LINK | bit::HARDLINK) != 0;
            behind = links && (behind || !bound);
        }
    }

    fn enter_for(&mut self, n: u32, wait: u32) -> Sys<u32> {
        let flags = self.ring.params.flags;
        if flags & Setup::SQPOLL.bits() != 0 {
            return self.poll_thread_takes(n);
        }
        if wait == 0 {
            let flags = if flags & Setup::IOPOLL.bits() != 0 { GETEVENTS } else { 0 };
            return self.ring.enter(n, 0, flags, 0, 0);
        }
        self.enter_within(n, wait, 30 * 1_000_000)
    }

    /// Wakes the submission thread and waits until it took everything.
    fn poll_thread_takes(&mut self, n: u32) -> Sys<u32> {
        let answer = self.ring.enter(n, 0, SQ_WAKEUP, 0, 0)?;
        let until = Instant::now() + Duration::from_millis(RECORDED_MS);
        while self.ring.sq_head() != self.ring.tail() && Instant::now() < until {
            let _ = self.ring.enter(0, 0, SQ_WAKEUP, 0, 0);
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(answer)
    }

    fn enter_within(&mut self, n: u32, wait: u32, ns: u64) -> Sys<u32> {
        if let Some((page, true)) = &self.region {
            // Timespec, minimum and flags (a timespec is there), no mask.
            [0, ns, WAIT_TS << 32, 0, 0].into_iter().enumerate().for_each(|(i, w)| {
                page.put64(8 * i, w);
            });
            return self.ring.enter(n, wait, GETEVENTS | EXT_ARG | EXT_ARG_REG, 0, 64);
        }
        // sigmask, its size, the timespec's address; then the timespec itself.
        let arg = self.consts.addr() + self.used as u64;
        self.place(&[0, 0, arg + 24, 0, ns]);
        self.used -= 40;
        self.ring.enter(n, wait, GETEVENTS | EXT_ARG, arg, 24)
    }

    /// Puts words where entries can point to.
    fn place(&mut self, words: &[u64]) -> u64 {
        self.place_bytes(&words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<_>>())
    }

    fn place_bytes(&mut self, bytes: &[u8]) -> u64 {
        let at = self.used;
        self.used += bytes.len().next_multiple_of(8);
        self.consts.put(at, bytes);
        self.consts.addr() + at as u64
    }

    fn val(&mut self, v: &Val) -> u64 {
        match v {
            Val::Num(n) => *n,
            Val::Arena(off) => self.arena.addr() + u64::from(*off),
            Val::Pool(off) => self.pool.addr() + u64::from(*off),
            Val::Of(o) => u64::from(self.scene.number(Fd::Obj(*o)).cast_unsigned()),
            Val::Pair => {
                self.pairs.push((self.used, false));
                self.place(&[u64::MAX])
            }
            Val::Statx => {
                self.statx.push(self.used);
                self.place(&[0; 32])
            }
            Val::Time(s, ns) => self.place(&[s.cast_unsigned(), ns.cast_unsigned()]),
            Val::Iovs(list) => {
                let words = self.iovs(list);
                self.place(&words)
            }
            Val::Msg(list, name, control) => self.msghdr(list, *name, *control),
            Val::Waiters(list) => {
                let base = self.arena.addr();
                let one = |(val, at, flags): &(u64, u32, u32)| {
                    [*val, base + u64::from(*at), u64::from(*flags)]
                };
                let words: Vec<u64> = list.iter().flat_map(one).collect();
                self.place(&words)
            }
            Val::Path(p) => self.place_bytes(&[p.as_bytes(), b"\0"].concat()),
            Val::Whole(p) => {
                let whole = self.scene.in_folder(p);
                self.place_bytes(&[whole.as_bytes(), b"\0"].concat())
            }
            Val::Port(p) => self.place_bytes(&os::loopback(self.scene.port(*p))),
            Val::How(flags, mode, resolve) => self.place(&[*flags, *mode, *resolve]),
            Val::Epoll(events, data) => {
                let mut b = events.to_ne_bytes().to_vec();
                b.extend(data.to_ne_bytes());
                self.place_bytes(&b)
            }
            Val::Fds(fds) => self.fds(fds),
        }
    }

    fn iovs(&self, list: &[(u32, u32)]) -> Vec<u64> {
        let at = |off: u32| if off == u32::MAX { 0 } else { self.arena.addr() + u64::from(off) };
        list.iter().flat_map(|&(off, len)| [at(off), u64::from(len)]).collect()
    }

    /// Name and control data are zeros.
    fn msghdr(&mut self, list: &[(u32, u32)], name: Option<u32>, control: u32) -> u64 {
        let words = self.iovs(list);
        let iovs = self.place(&words);
        let at = self.place(&[0; 64]);
        let (name_at, name_len) = name.map_or((0, 0), |len| (at, u64::from(len)));
        let control_at = if control > 0 { at + 256 } else { 0 };
        self.messages.push(self.used);
        let n = list.len() as u64;
        self.place(&[name_at, name_len, iovs, n, control_at, u64::from(control), 0])
    }

    fn fds(&mut self, fds: &[Fd]) -> u64 {
        let bytes: Vec<u8> =
            fds.iter().flat_map(|fd| self.scene.number(*fd).to_ne_bytes()).collect();
        self.place_bytes(&bytes)
    }

    fn sqe(&mut self, e: &Entry) -> Sqe {
        let sqe = self.fields(e);
        if e.addr == Val::Pair
            && let Some(pair) = self.pairs.last_mut()
        {
            pair.1 = e.file_index != 0;
        }
        sqe
    }

    fn fields(&mut self, e: &Entry) -> Sqe {
        Sqe {
            opcode: e.op,
            flags: e.flags,
            ioprio: e.ioprio,
            fd: self.scene.number(e.fd),
            off: self.val(&e.off),
            addr: self.val(&e.addr),
            len: e.to.map_or(e.len, |o| self.scene.number(Fd::Obj(o)).cast_unsigned()),
            op_flags: e.op_flags,
            user_data: e.id,
            buf_index: e.buf_index,
            personality: e.personality,
            file_index: e
                .from
                .map_or(e.file_index, |o| self.scene.number(Fd::Obj(o)).cast_unsigned()),
            addr3: e.path.as_ref().map_or(e.addr3, |p| self.val(p)),
            ..Sqe::default()
        }
    }

    // --- register --------------------------------------------------------------------------------

    fn register(&mut self, r: &Register) -> Sys<u64> {
        if let Some(answer) = self.call(r).or_else(|| self.of_buf_rings(r)) {
            return answer;
        }
        let (code, arg, nr) = match r {
            Register::Files(fds) => (reg::FILES, self.fds(fds), fds.len() as u32),
            Register::Files2(fds, tags) => {
                let (data, tags) = (self.fds(fds), self.place(tags));
                (reg::FILES2, self.place(&[fds.len() as u64, 0, data, tags]), 32)
            }
            Register::Sparse(n) => {
                (reg::FILES2, self.place(&[u64::from(*n) | 1 << 32, 0, 0, 0]), 32)
            }
            Register::NoFiles => (reg::UNREGISTER_FILES, 0, 0),
            Register::Update(off, fds) => {
                let data = self.fds(fds);
                (reg::FILES_UPDATE, self.place(&[u64::from(*off), data]), fds.len() as u32)
            }
            Register::Update2(off, fds, tags) => {
                let (data, tags) = (self.fds(fds), self.place(tags));
                let n = fds.len() as u64;
                (reg::FILES_UPDATE2, self.place(&[u64::from(*off), data, tags, n]), 32)
            }
            Register::Range(off, len) => (
                reg::FILE_ALLOC_RANGE,
                self.place(&[u64::from(*off) | u64::from(*len) << 32, 0]),
                0,
            ),
            Register::Buffers(list) => {
                let words = self.iovs(list);
                (reg::BUFFERS, self.place(&words), list.len() as u32)
            }
            Register::Buffers2(list, tags) => {
                let words = self.iovs(list);
                let (data, tags) = (self.place(&words), self.place(tags));
                (reg::BUFFERS2, self.place(&[list.len() as u64, 0, data, tags]), 32)
            }
            Register::BuffersUpdate(off, list, tags) => {
                let words = self.iovs(list);
                let (data, tags) = (self.place(&words), self.place(tags));
                let n = list.len() as u64;
                (BUFFERS_UPDATE, self.place(&[u64::from(*off), data, tags, n]), 32)
            }
            Register::NoBuffers => (reg::UNREGISTER_BUFFERS, 0, 0),
            Register::Eventfd(quiet) => {
                let fd = self.fds(&[Fd::Obj(Obj::Event)]);
                (if *quiet { EVENTFD_ASYNC } else { reg::EVENTFD }, fd, 1)
            }
            Register::NoEventfd => (reg::UNREGISTER_EVENTFD, 0, 0),
            Register::Probe(n) => {
                // What is supported is another table's matter: only the answer is compared.
                (reg::PROBE, self.place(&vec![0; 2 + *n as usize]), *n)
            }
            Register::Enable => (reg::ENABLE_RINGS, 0, 0),
            Register::Clone(flags, range, nr) => {
                (CLONE_BUFFERS, self.clone_words(*flags, *range, *nr), 1)
            }
            Register::Post(to, user_data, res) => return self.post(*to, *user_data, *res),
            Register::Resize(sq, cq) => return self.resize(*sq, *cq),
            Register::Raw(code, arg, nr) => (*code, *arg, *nr),
            of_the_ring => self.of_the_ring(of_the_ring),
        };
        let answer = self.ring.register(code, arg, nr);
        if answer.is_ok() {
            self.follow_index(r);
            self.follow_files(r);
        }
        answer
    }

    /// How many slots there are from here on.
    fn follow_files(&mut self, r: &Register) {
        self.slots = match r {
            Register::Files(fds) | Register::Files2(fds, _) => fds.len() as u32,
            Register::Sparse(n) => *n,
            Register::NoFiles => 0,
            _ => self.slots,
        };
    }

    /// What has to do with rings of provided buffers.
    fn of_buf_rings(&mut self, r: &Register) -> Option<Sys<u64>> {
        Some(match *r {
            Register::Bufs(group, flags) => {
                let at = self.buf_rings.addr() + u64::from(GROUP_ROOM) * u64::from(group);
                let shape = u64::from(2 * BUFS) | u64::from(group) << 32 | u64::from(flags) << 48;
                let arg = self.place(&[at, shape, 0, 0, 0]);
                let answer = self.ring.register(PBUF_RING, arg, 1);
                if answer.is_ok() {
                    self.tails[usize::from(group)] = 0;
                    self.add_bufs(group);
                }
                answer
            }
            Register::NoBufs(group) => {
                let arg = self.place(&[0, u64::from(group) << 32, 0, 0, 0]);
                self.ring.register(NO_PBUF_RING, arg, 1)
            }
            Register::MoreBufs(group) => {
                self.add_bufs(group);
                Ok(0)
            }
            Register::Head(group) => self.head(group),
            _ => return None,
        })
    }

    /// Gives a group's ring more buffers, whether or not there is such a ring.
    fn add_bufs(&mut self, group: u16) {
        let at = GROUP_ROOM as usize * usize::from(group);
        for _ in 0..BUFS {
            let tail = self.tails[usize::from(group)];
            let (slot, id) = (usize::from(tail % (2 * BUFS)), u64::from(tail % 32));
            let data = self.pool.addr() + at as u64 + u64::from(BUF_LEN) * id;
            self.buf_rings.put64(at + 16 * slot, data);
            let first = self.buf_rings.get64(at + 8) & 0xffff << 48;
            let keeps = if slot == 0 { first } else { 0 };
            self.buf_rings.put64(at + 16 * slot + 8, u64::from(BUF_LEN) | id << 32 | keeps);
            let next = tail.wrapping_add(1);
            self.tails[usize::from(group)] = next;
            let first = self.buf_rings.get64(at + 8) & !(0xffff << 48);
            self.buf_rings.put64(at + 8, first | u64::from(next) << 48);
        }
    }

    /// The head of a group's ring.
    fn head(&mut self, group: u16) -> Sys<u64> {
        let arg = self.place(&[group.into(), 0, 0, 0, 0]);
        self.ring.register(PBUF_STATUS, arg, 1)?;
        Ok(self.consts.get64(self.used - 40) >> 32)
    }

    /// What a call on the ring itself takes: rights and names.
    fn of_the_ring(&mut self, r: &Register) -> (u32, u64, u32) {
        match r {
            Register::Restrict(list) => {
                let entry = |&(kind, what): &(u8, u8)| [u64::from(kind) | u64::from(what) << 16, 0];
                let words: Vec<u64> = list.iter().flat_map(entry).collect();
                (RESTRICTIONS, self.place(&words), list.len() as u32)
            }
            Register::Personality => (PERSONALITY, 0, 0),
            Register::NoPersonality(id) => (NO_PERSONALITY, 0, *id),
            Register::Index => {
                let fd = u64::from(self.ring.fd.cast_unsigned());
                (RING_FDS, self.place(&[u64::from(u32::MAX), fd]), 1)
            }
            Register::NoIndex => {
                let index = self.ring.index.unwrap_or(15).cast_unsigned();
                (NO_RING_FDS, self.place(&[index.into(), 0]), 1)
            }
            _ => (u32::MAX, 0, 0),
        }
    }

    /// Names the ring as it is registered now.
    fn follow_index(&mut self, r: &Register) {
        match r {
            Register::Index => {
                self.ring.index = Some(self.consts.load(self.used - 16).cast_signed());
            }
            Register::NoIndex => self.ring.index = None,
            _ => {}
        }
    }

    fn clone_words(&mut self, flags: u32, (src, dst): (u32, u32), nr: u32) -> u64 {
        let from = u64::from(self.scene.rings[1].cast_unsigned());
        let ranges = u64::from(src) | u64::from(dst) << 32;
        self.place(&[from | u64::from(flags) << 32, ranges, u64::from(nr), 0])
    }

    /// SEND_MSG_RING, which needs no ring.
    fn post(&mut self, to: Obj, off: u64, len: u32) -> Sys<u64> {
        let fd = self.scene.number(Fd::Obj(to));
        let sqe = Sqe { opcode: op::MSG_RING, fd, off, len, ..Sqe::default() };
        let arg = self.place(&sqe.to_words());
        crate::call::sys(crate::call::REGISTER, [u64::MAX, SEND_MSG_RING, arg, 1, 0, 0])
    }

    /// RESIZE_RINGS, and what it made of the sizes.
    fn resize(&mut self, sq_entries: u32, cq_entries: u32) -> Sys<u64> {
        let flags = Setup::CQSIZE.bits();
        let mut asked = Params { sq_entries, cq_entries, flags, ..Params::default() };
        self.ring.resize(&mut asked)?;
        Ok(u64::from(asked.sq_entries) << 32 | u64::from(asked.cq_entries))
    }

    // --- completion ------------------------------------------------------------------------------

    fn reap(&mut self, into: &mut Vec<Cqe>) -> bool {
        let before = into.len();
        while let Some(c) = self.ring.reap() {
            if c.flags & MORE == 0 {
                self.pending.remove(&c.user_data);
            }
            self.silenced(c);
            if c.res >= 0 {
                if self.canon.makes_descriptor(c.user_data) {
                    self.scene.made(c.res);
                }
                let closes = self.canon.entry(c.user_data).filter(|e| e.op == op::CLOSE);
                if let Some(fd) = closes.filter(|e| e.file_index == 0).map(|e| e.fd) {
                    self.scene.was_closed(fd);
                }
            }
            into.push(c);
        }
        into.len() > before
    }

    /// A quiet entry speaks when it fails; the rest of its chain is then cancelled in silence.
    fn silenced(&mut self, c: Cqe) {
        let Some(e) = self.canon.entry(c.user_data) else { return };
        if e.flags & bit::SKIP == 0 {
            return;
        }
        let hard = e.flags & bit::HARDLINK != 0;
        for id in self.canon.chain_of(c.user_data) {
            match self.pending.get_mut(&id) {
                Some(bound) if hard => *bound = false,
                _ => drop(self.pending.remove(&id)),
            }
        }
    }

    fn settle(&mut self) {
        self.dawdle();
        let mut cqes = Vec::new();
        let wanted = self.hints.and_then(|h| h.get(self.settles).copied());
        self.settles += 1;
        let mut quiet_since = Instant::now();
        let began = quiet_since;
        loop {
            // Also where nothing is awaited: deferred work runs and a backlog is flushed here.
            let _ = self.ring.enter(0, 0, GETEVENTS, 0, 0);
            if self.reap(&mut cqes) {
                quiet_since = Instant::now();
                continue;
            }
            let patience = Duration::from_millis(self.patience_ms(wanted, cqes.len()));
            let since = if wanted.is_some_and(|w| cqes.len() < w) { began } else { quiet_since };
            let left = patience.checked_sub(since.elapsed()).unwrap_or_default();
            if !left.is_zero() {
                let _ = self.enter_within(0, 1, left.as_nanos() as u64);
                continue;
            }
            let late = began.elapsed() > Duration::from_millis(RECORDED_MS);
            if late || !self.stirs() {
                break;
            }
            let _ = self.enter_within(0, 1, 200_000);
        }
        self.silent = false;
        self.out.counts.push(cqes.len());
        self.say(format!("settled with {}", cqes.len()));
        let lines = self.canon.lines(cqes);
        self.out.lines.extend(lines);
        let lines = self.canon.mail(self.mail());
        self.out.lines.extend(lines);
    }

    /// Whether something is about to happen. A worker that has not come to its request yet would find it
    /// cancelled, where one that waits in the call is interrupted; and on a ring that defers one call
    /// runs the work there is, and the next what that leads to.
    fn stirs(&self) -> bool {
        let defers = self.ring.params.flags & Setup::DEFER_TASKRUN.bits() != 0;
        let look = || os::poll(self.ring.fd, libc::POLLIN, 0);
        let works = defers && look().is_ok_and(|r| r & libc::POLLIN != 0);
        works || os::state::others_run()
    }

    /// What the second ring got: all that was sent, once its senders are done.
    fn mail(&self) -> Vec<Cqe> {
        let Some(other) = &self.other else { return Vec::new() };
        let mut all = Vec::new();
        loop {
            let _ = other.enter(0, 0, GETEVENTS, 0, 0);
            let before = all.len();
            all.extend(std::iter::from_fn(|| other.reap()));
            if all.len() == before {
                return all;
            }
        }
    }

    fn patience_ms(&self, wanted: Option<usize>, got: usize) -> u64 {
        match wanted {
            Some(w) if got < w => self.recorded_ms,
            _ if self.pending.is_empty() && !self.silent => 0,
            Some(_) => EXTRA_MS,
            None if self.pending.values().any(|bound| *bound) => BOUND_MS,
            None => QUIET_MS,
        }
    }

    // --- the end ---------------------------------------------------------------------------------

    fn finish(&mut self) {
        self.out.stuck = !self.pending.is_empty();
        let off = &self.ring.params;
        let (overflow, dropped) = (off.cq_off.overflow as usize, off.sq_off.dropped as usize);
        let line = format!(
            "overflow {} dropped {} backlog {}",
            self.ring.sq.load(overflow),
            self.ring.sq.load(dropped),
            self.ring.sq_flags() & 2 != 0,
        );
        self.say(line);
        let chains = self.canon.chains();
        self.out.lines.extend(chains);
        self.slots();
        self.other_slots();
        let now = self.arena.get(0, ARENA as usize);
        self.say(format!("memory: {}", changes(&arena_pattern(), &now)));
        let now = self.pool.get(0, POOL);
        self.say(format!("provided: {}", changes(&[0xdd; POOL], &now)));
        for at in std::mem::take(&mut self.statx) {
            let word = |off: usize| self.consts.get64(at + off);
            let (mask, nlink, mode) = (word(0) as u32, word(16) as u32, word(24) >> 32 & 0xffff);
            self.say(format!("statx {mask:#x}: links {nlink}, mode {mode:o}, {} bytes", word(40)));
        }
        self.pipes();
        for at in std::mem::take(&mut self.messages) {
            let (name, control) = (self.consts.load(at + 8), self.consts.get64(at + 40));
            let flags = self.consts.load(at + 48);
            self.say(format!("message: name {name}, control data {control}, flags {flags:#x}"));
        }
        self.scene.left(&mut self.out.lines);
    }

    /// What pipes were made: slots by their numbers, descriptors by what goes through them.
    fn pipes(&mut self) {
        for (at, direct) in std::mem::take(&mut self.pairs) {
            let word = self.consts.get64(at);
            let [r, w] = [word as u32, (word >> 32) as u32].map(u32::cast_signed);
            if word == u64::MAX || direct {
                self.say(format!("a pipe: {r} and {w}"));
                continue;
            }
            let put = os::write(w, b"through");
            let got = os::read(r, &mut [0; 16]);
            let flags = [r, w].map(|fd| os::fcntl(fd, libc::F_GETFL, 0));
            [r, w].into_iter().for_each(|fd| self.scene.made(fd));
            self.say(format!("a pipe: {put:?} {got:?} {flags:?}"));
        }
    }

    /// What each registered slot holds, by asking: FSYNC tells an empty one, READ what is in it.
    fn slots(&mut self) {
        if self.slots == 0 {
            return;
        }
        if !self.pending.is_empty() {
            self.say("slots: not asked, requests are stuck".to_owned());
            return;
        }
        let answers: Vec<String> = (0..self.slots.min(8)).map(|slot| self.slot(slot)).collect();
        self.say(format!("slots: {}", answers.join(", ")));
    }

    /// The same of the second ring.
    fn other_slots(&mut self) {
        let Some(mut other) = self.other.take() else { return };
        let probe = self.place(&[0; 1]);
        let mut answers = Vec::new();
        for slot in 0..OTHER_SLOTS {
            let of = |opcode| Sqe { opcode, flags: bit::FIXED, fd: slot as i32, ..Sqe::default() };
            let read = Sqe { addr: probe, len: 1, op_flags: 8, ..of(op::READ) };
            let said = [of(op::FSYNC), read].map(|sqe| other.result(sqe));
            answers.push(format!("{said:?}"));
        }
        self.say(format!("slots of the other ring: {}", answers.join(", ")));
    }

    fn slot(&mut self, slot: u32) -> String {
        let of = |opcode| Sqe { opcode, flags: bit::FIXED, fd: slot as i32, ..Sqe::default() };
        let probe = self.place(&[0; 1]);
        let fsync = self.ask(of(op::FSYNC));
        let read = self.ask(Sqe { addr: probe, len: 1, op_flags: 8, ..of(op::READ) });
        let byte = self.consts.get(self.used - 8, 1)[0];
        format!("{fsync}/{read}/{byte:#x}")
    }

    fn ask(&mut self, sqe: Sqe) -> String {
        self.ring.stage(Sqe { user_data: u64::MAX, ..sqe });
        self.ring.publish();
        if let Err(e) = self.enter_for(1, 0) {
            return format!("{e:?}");
        }
        let until = Instant::now() + Duration::from_millis(RECORDED_MS);
        while Instant::now() < until {
            let _ = self.enter_within(0, 1, 100 * 1_000_000);
            while let Some(c) = self.ring.reap() {
                match c.res {
                    _ if c.user_data != u64::MAX => {}
                    res @ ..0 => return os::name(-res),
                    res => return res.to_string(),
                }
            }
        }
        "nothing".to_owned()
    }
}

/// `IORING_CQE_F_MORE`.
const MORE: u32 = 2;
/// `IORING_ENTER_EXT_ARG_REG`.
const EXT_ARG_REG: u32 = 64;
/// `IORING_REG_WAIT_TS`.
const WAIT_TS: u64 = 1;
/// Memory of provided buffers \[bytes\].
const POOL: usize = GROUP_ROOM as usize * GROUPS as usize;
const EVENTFD_ASYNC: u32 = 7;
const PBUF_RING: u32 = 22;
const NO_PBUF_RING: u32 = 23;
const PBUF_STATUS: u32 = 26;
const BUFFERS_UPDATE: u32 = 16;
const PERSONALITY: u32 = 9;
const NO_PERSONALITY: u32 = 10;
const RESTRICTIONS: u32 = 11;
const RING_FDS: u32 = 20;
const NO_RING_FDS: u32 = 21;
const CLONE_BUFFERS: u32 = 30;
const SEND_MSG_RING: u64 = 31;
/// A table of files without any (`RSRC_REGISTER_SPARSE`).
const SPARSE: u64 = OTHER_SLOTS as u64 | 1 << 32;

/// Whether a request ends without anybody's help.
fn bound_to_end(e: &Entry) -> bool {
    let waits = matches!(
        e.fd,
        Fd::Obj(Obj::PipeR(_) | Obj::Sock(..) | Obj::Event | Obj::Timer | Obj::Listener)
    );
    match e.op {
        op::POLL_ADD | op::EPOLL_WAIT | op::SPLICE | op::TEE => false,
        op::RECV if e.ioprio & 2 != 0 => false,
        op::TIMEOUT | op::LINK_TIMEOUT => !matches!(e.addr, Val::Time(2.., _)),
        op::READ
        | op::READV
        | op::READ_FIXED
        | op::READV_FIXED
        | op::READ_MULTISHOT
        | op::RECV
        | op::RECVMSG
        | op::ACCEPT => !waits && e.flags & bit::FIXED == 0,
        _ => true,
    }
}
