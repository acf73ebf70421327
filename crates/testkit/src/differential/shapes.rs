//! One function an opcode: the entries that the generator draws for it.
//!
//! A shape says besides what its entry lays claim to (a direction of a pipe, a slot, a name in the
//! folder), so that no batch holds two entries whose order the kernel leaves open.

use super::draws::op;
use super::generate::{Claim, Gen, Key};
use super::program::{
    BUF_LEN, Entry, FILE_LEN, FILE_WRITES, Fd, GROUP_ROOM, GROUPS, MESSAGES, OTHER_SLOTS, Obj,
    Pair, Port, REGION, Val, bit, reads_into, writes_from,
};

/// An entry and what it lays claim to.
pub(super) type Drawn = (Entry, Vec<Claim>);

const HOUR: Val = Val::Time(3600, 0);
const SOON: Val = Val::Time(0, 1_500_000);
const PAIRS: [Pair; 4] = [Pair::Stream, Pair::Dgram, Pair::Tcp, Pair::Udp];
/// Slots of the second ring are these and the next, among what entries may quarrel about.
const FAR_SLOTS: u32 = 100;
/// Slot + 1 of "any free one".
const ALLOC: u32 = u32::MAX;
const NAMES: [&str; 6] = ["a", "b", "c", "d", "d/e", "nowhere/f"];

fn entry(id: u64, op: u8, fd: Fd) -> Entry {
    Entry { id, op, fd, ..Entry::default() }
}

impl Gen<'_> {
    /// An entry of this opcode.
    pub(super) fn shape(&mut self, op: u8, id: u64) -> Drawn {
        match op {
            op::READ | op::READV | op::READ_FIXED => self.read(op, id),
            op::WRITE | op::WRITEV | op::WRITE_FIXED => self.write(op, id),
            op::FSYNC => self.fsync(id),
            op::POLL_ADD => self.poll_add(id),
            op::POLL_REMOVE => self.poll_remove(id),
            op::TIMEOUT => self.timeout(id),
            op::TIMEOUT_REMOVE => self.timeout_remove(id),
            op::ACCEPT => self.accept(id),
            op::ASYNC_CANCEL => self.cancel(id),
            op::CONNECT => self.connect(id),
            op::OPENAT | op::OPENAT2 => self.open(op, id),
            op::CLOSE => self.close(id),
            op::FILES_UPDATE => self.files_update(id),
            op::STATX => self.statx(id),
            op::SEND => self.send(id),
            op::RECV => self.recv(id),
            op::EPOLL_CTL => self.epoll_ctl(id),
            op::SHUTDOWN => self.shutdown(id),
            op::RENAMEAT | op::UNLINKAT | op::MKDIRAT | op::SYMLINKAT | op::LINKAT => {
                self.names(op, id)
            }
            op::MSG_RING => self.message(id),
            op::PROVIDE_BUFFERS | op::REMOVE_BUFFERS => self.provide(op, id),
            op::READ_MULTISHOT => self.read_multishot(id),
            _ => self.nop(id),
        }
    }

    fn message(&mut self, id: u64) -> Drawn {
        const SEND_FD: u64 = 1;
        let far = Obj::Ring(u8::from(self.other));
        let wrong = self.d.pick(&[Obj::File, Obj::PipeR(0), Obj::Epoll]);
        let to = self.d.pick(&[far, far, far, far, Obj::Ring(0), Obj::Ring(0), wrong]);
        let mut e = entry(id, op::MSG_RING, Fd::Obj(to));
        e.off = Val::Num(MESSAGES + id);
        let mut claims = Vec::new();
        if self.d.one_in(2) {
            e.len = self.d.pick(&[0, 7, 1000, (-5i32).cast_unsigned()]);
            e.op_flags = self.d.pick(&[0, 0, 0, 2, 2, 1, 4]);
            e.file_index = if e.op_flags == 2 { 1 << 16 } else { 0 };
            e.addr3 = u64::from(self.d.one_in(20));
        } else {
            e.addr = Val::Num(SEND_FD);
            e.addr3 = self.d.below(6);
            e.op_flags = self.d.pick(&[0, 0, 1, 2]);
            e.len = u32::from(self.d.one_in(20));
            claims.push(Claim::shared(Key::Slot(e.addr3 as u32)));
            e.file_index = self.d.pick(&[1, 2, OTHER_SLOTS, OTHER_SLOTS + 1, ALLOC, 0]);
            let all = 0..OTHER_SLOTS;
            claims.extend(all.map(|slot| Claim::sole(Key::Slot(FAR_SLOTS + slot))));
        }
        (e, claims)
    }

    /// A list of one of the groups, or a change of it.
    fn provide(&mut self, op: u8, id: u64) -> Drawn {
        let n = self.d.pick(&[1, 1, 3, 8, 0, -1, 65_536]);
        let mut e = entry(id, op, Fd::Number(n));
        let group = self.d.pick(&[2, 2, 2, 3, 1, 9]);
        e.buf_index = group;
        if op == op::PROVIDE_BUFFERS {
            let first = self.d.below(8);
            let at = u32::from(group % GROUPS) * GROUP_ROOM + first as u32 * BUF_LEN;
            (e.addr, e.len) = (Val::Pool(at), self.d.pick(&[BUF_LEN, BUF_LEN, 20, 0]));
            e.off = Val::Num(self.d.pick(&[first, first, 65_535, 65_536]));
        } else {
            e.len = u32::from(self.d.one_in(20));
        }
        (e, vec![Claim::sole(Key::Group(group))])
    }

    fn read_multishot(&mut self, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let o = self.source();
        let mut e = entry(id, op::READ_MULTISHOT, Fd::default());
        self.name(&mut e, o, &mut claims);
        claims.push(Claim::sole(Key::Way(o)));
        self.select(&mut e, &mut claims);
        e.len = u32::from(self.d.one_in(20));
        if self.d.one_in(20) || self.small_cq {
            e.flags &= !bit::SELECT;
        }
        (e, claims)
    }

    /// Has it take a provided buffer.
    fn select(&mut self, e: &mut Entry, claims: &mut Vec<Claim>) {
        e.flags |= bit::SELECT;
        e.buf_index = self.d.pick(&[1, 1, 1, 2, 2, 3, 9]);
        claims.push(Claim::sole(Key::Group(e.buf_index)));
    }

    fn nop(&mut self, id: u64) -> Drawn {
        let mut e = entry(id, op::NOP, Fd::Number(-1));
        if self.d.one_in(2) {
            e.op_flags = 1;
            e.len = self.d.pick(&[0, 7, (-5i32).cast_unsigned(), (-125i32).cast_unsigned()]);
        }
        if self.d.one_in(if self.wide { 2 } else { 40 }) {
            e.op_flags |= 32;
            (e.off, e.addr) = (Val::Num(0x11), Val::Num(id));
        }
        (e, vec![])
    }

    /// The object's number, or a slot that holds it.
    fn name(&mut self, e: &mut Entry, o: Obj, claims: &mut Vec<Claim>) {
        e.fd = Fd::Obj(o);
        let slots: Vec<usize> =
            (0..self.slots.len()).filter(|&i| self.slots[i] == Some(o)).collect();
        if !slots.is_empty() && self.d.one_in(2) {
            let slot = self.d.pick(&slots);
            e.fd = Fd::Number(slot as i32);
            e.flags |= bit::FIXED;
            claims.push(Claim::shared(Key::Slot(slot as u32)));
        } else if self.d.one_in(40) {
            e.fd = Fd::Number(self.d.pick(&[-1, 999, 1 << 30]));
            e.flags |= self.d.pick(&[0, bit::FIXED]);
        }
    }

    fn source(&mut self) -> Obj {
        let pair = self.d.pick(&PAIRS);
        let side = self.d.below(2) as u8;
        let pipe = Obj::PipeR(self.d.below(2) as u8);
        let wrong = self.d.pick(&[Obj::PipeW(0), Obj::Folder, Obj::Listener]);
        match self.d.below(20) {
            0..7 => Obj::File,
            7 => Obj::ReadOnly,
            8..14 => pipe,
            14..17 => Obj::Sock(pair, side),
            17 => Obj::Event,
            18 => Obj::Timer,
            _ => wrong,
        }
    }

    fn file_offset(&mut self, claims: &mut Vec<Claim>) -> u64 {
        match self.d.below(8) {
            0 => u64::from(FILE_LEN - 100),
            1 => {
                claims.push(Claim::sole(Key::Position));
                u64::MAX
            }
            2 if self.first_of_batch > 1 => {
                let who = self.d.below(self.first_of_batch);
                u64::from(FILE_WRITES) + who * u64::from(REGION)
            }
            3 if self.previous != 0 => u64::from(FILE_WRITES) + self.previous * u64::from(REGION),
            _ => self.d.below(u64::from(FILE_WRITES) - 300),
        }
    }

    fn vector(&mut self, at: u32, len: u32) -> (Val, u32) {
        let half = len / 2;
        let list = match self.d.below(4) {
            0 => vec![(at, half), (at + half, 0), (at + half, len - half)],
            1 => vec![(at, half), (at + half, len - half)],
            2 => vec![],
            _ => vec![(at, len)],
        };
        let n = list.len() as u32;
        (Val::Iovs(list), n)
    }

    fn read(&mut self, op: u8, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let o = self.source();
        let mut e = entry(id, op, Fd::default());
        self.name(&mut e, o, &mut claims);
        let off = if matches!(o, Obj::File | Obj::ReadOnly) {
            // A position of its own for the read-only description, but one key is enough.
            self.file_offset(&mut claims)
        } else {
            claims.push(Claim::sole(Key::Way(o)));
            self.d.pick(&[0, u64::MAX])
        };
        e.off = Val::Num(off);
        let len = match o {
            Obj::Event | Obj::Timer => self.d.pick(&[8, 8, 8, 4]),
            _ => self.d.pick(&[0, 1, 10, 64, 100, 200]),
        };
        self.fill(&mut e, reads_into(id), len);
        e.op_flags = self.rwf(&[8, 8, 1, 1 << 20]);
        if op != op::READ_FIXED && self.d.one_in(5) {
            self.select(&mut e, &mut claims);
        }
        (e, claims)
    }

    fn rwf(&mut self, some: &[u32]) -> u32 {
        if self.d.one_in(12) { self.d.pick(some) } else { 0 }
    }

    /// Address and length, plain, as a vector, or in a registered buffer.
    fn fill(&mut self, e: &mut Entry, at: u32, len: u32) {
        (e.addr, e.len) = match e.op {
            op::READV | op::WRITEV => self.vector(at, len),
            _ => (Val::Arena(at), len),
        };
        if matches!(e.op, op::READ_FIXED | op::WRITE_FIXED) {
            e.buf_index = self.d.pick(&[0, 0, 0, 0, 1, 2, 9]);
        }
    }

    fn write(&mut self, op: u8, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let pair = self.d.pick(&PAIRS);
        let side = self.d.below(2) as u8;
        let o = match self.d.below(16) {
            0..6 => Obj::File,
            6 | 7 => Obj::Append,
            8..12 => Obj::PipeW(self.d.below(2) as u8),
            12..14 => Obj::Sock(pair, side),
            14 => Obj::Event,
            _ => self.d.pick(&[Obj::ReadOnly, Obj::PipeR(0), Obj::Timer]),
        };
        let mut e = entry(id, op, Fd::default());
        self.name(&mut e, o, &mut claims);
        let (off, len) = match o {
            Obj::File | Obj::ReadOnly => {
                (u64::from(FILE_WRITES) + id * u64::from(REGION), self.d.pick(&[0, 1, 40, 64]))
            }
            Obj::Event => (0, 8),
            _ => (self.d.pick(&[0, u64::MAX]), self.d.pick(&[0, 1, 50, 200])),
        };
        if o == Obj::Append {
            claims.push(Claim::sole(Key::Way(o)));
        } else if !matches!(o, Obj::File | Obj::ReadOnly) {
            claims.push(Claim::sole(Key::Way(far_end(o))));
            claims.push(Claim::shared(Key::World));
        }
        e.off = Val::Num(off);
        self.fill(&mut e, writes_from(id), len);
        // Not where it could move a write into another one's region.
        e.op_flags = self.rwf(if o == Obj::Append { &[16, 1 << 20] } else { &[8, 1, 1 << 20] });
        (e, claims)
    }

    fn fsync(&mut self, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let o = self.d.pick(&[Obj::File, Obj::File, Obj::ReadOnly, Obj::PipeR(0), Obj::Folder]);
        let mut e = entry(id, op::FSYNC, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.op_flags = self.d.pick(&[0, 1, 1, 2]);
        e.off = Val::Num(self.d.pick(&[0, 0, 64, u64::MAX]));
        e.len = self.d.pick(&[0, 0, 64]);
        (e, claims)
    }

    fn poll_add(&mut self, id: u64) -> Drawn {
        const IN: u32 = 1;
        let mut claims = Vec::new();
        let o = match self.source() {
            Obj::File if self.d.one_in(2) => Obj::PipeR(0),
            o => o,
        };
        let mut e = entry(id, op::POLL_ADD, Fd::default());
        self.name(&mut e, o, &mut claims);
        claims.push(Claim::sole(Key::Way(o)));
        e.op_flags = self.d.pick(&[IN, IN, IN | 0x2000, 4, IN | 4, 2, 0]);
        // Not of an eventfd, which may be the ring's own: what each completion signals, completes.
        // Nor where the CQ may be full when it fires: whether it goes on then depends on who is faster
        // (LIMITATIONS.md).
        if self.d.one_in(3) && o != Obj::Event && !self.small_cq {
            e.len = 1;
            if !self.rows.full("POLL_ADD") {
                // What else holds is reported, too: interest in one thing only.
                e.op_flags = IN;
            }
        } else if self.d.one_in(20) {
            e.len = self.d.pick(&[2, 8]);
        }
        (e, claims)
    }

    /// An earlier request, or nobody.
    fn victim(&mut self) -> u64 {
        if self.waiting.is_empty() || self.d.one_in(6) {
            return 7777;
        }
        let all = self.waiting.clone();
        self.d.pick(&all)
    }

    fn poll_remove(&mut self, id: u64) -> Drawn {
        let mut e = entry(id, op::POLL_REMOVE, Fd::Number(-1));
        e.addr = Val::Num(self.victim());
        if self.d.one_in(2) {
            e.len = self.d.pick(&[2, 2, 3, 4, 6, 1, 8]);
            e.op_flags = if e.len & 2 != 0 { 1 } else { 0 };
            if e.len & 4 != 0 {
                e.off = Val::Num(self.fresh_id());
            }
        }
        (e, vec![Claim::sole(Key::World)])
    }

    fn timeout(&mut self, id: u64) -> Drawn {
        let mut e = entry(id, op::TIMEOUT, Fd::Number(-1));
        e.len = 1;
        e.addr = self.d.pick_one(&[SOON, SOON, Val::Time(0, 0), HOUR, HOUR, Val::Time(-1, 0)]);
        e.op_flags = self.d.pick(&[0, 0, 0, 4, 8, 32, 12, 64]);
        if e.op_flags == 64 {
            e.addr = SOON;
            e.off = Val::Num(1 + self.d.below(3));
        } else if self.d.one_in(8) {
            e.op_flags |= 1;
            e.addr = Val::Time(1, 0);
        }
        (e, vec![])
    }

    fn timeout_remove(&mut self, id: u64) -> Drawn {
        let mut e = entry(id, op::TIMEOUT_REMOVE, Fd::Number(-1));
        e.addr = Val::Num(self.victim());
        match self.d.below(5) {
            0 => {
                e.op_flags = 2;
                e.off = self.d.pick_one(&[HOUR, SOON, Val::Time(-1, 0), Val::Num(16)]);
            }
            1 => {
                e.op_flags = self.d.pick(&[16 | 2, 2 | 4, 1, 16]);
                e.off = HOUR;
            }
            _ => {}
        }
        (e, vec![Claim::sole(Key::World)])
    }

    fn cancel(&mut self, id: u64) -> Drawn {
        let mut e = entry(id, op::ASYNC_CANCEL, Fd::Number(-1));
        let mut claims = vec![Claim::sole(Key::World)];
        match self.d.below(8) {
            0 => {
                e.op_flags = 4;
            }
            1 | 2 => {
                let o = self.source();
                self.name(&mut e, o, &mut claims);
                if e.flags & bit::FIXED != 0 {
                    e.flags &= !bit::FIXED;
                    e.op_flags |= 8;
                }
                e.op_flags |= 2 | self.d.pick(&[0, 1]);
            }
            3 => {
                e.op_flags = 32 | self.d.pick(&[0, 1, 4]);
                e.len = u32::from(self.d.pick(&[op::READ, op::POLL_ADD, op::TIMEOUT, op::RECV]));
            }
            4 => {
                e.addr = Val::Num(self.victim());
                e.op_flags = self.d.pick(&[1, 16, 16 | 1, 6, 1 << 10]);
            }
            _ => e.addr = Val::Num(self.victim()),
        }
        (e, claims)
    }

    /// A slot to put something in: (file_index, claims).
    fn slot(&mut self, claims: &mut Vec<Claim>) -> u32 {
        match self.d.below(6) {
            0 => 0,
            1 | 2 => {
                claims.extend((0..8).map(|s| Claim::sole(Key::Slot(s))));
                ALLOC
            }
            _ => {
                let slot = self.d.below(5) as u32;
                claims.push(Claim::sole(Key::Slot(slot)));
                slot + 1
            }
        }
    }

    fn accept(&mut self, id: u64) -> Drawn {
        let o = self.d.pick(&[Obj::Listener, Obj::Listener, Obj::Listener, Obj::PipeR(0)]);
        let mut claims = vec![Claim::sole(Key::Way(o))];
        let mut e = entry(id, op::ACCEPT, Fd::default());
        self.name(&mut e, o, &mut claims);
        if self.d.one_in(3) {
            e.file_index = self.slot(&mut claims);
        } else {
            e.op_flags = self.d.pick(&[0, 0o2_000_000, 0o4000, 1]);
        }
        e.ioprio = self.d.pick(&[0, 0, 0, 2, 4, 8]);
        if self.rows.full("ACCEPT") && self.d.one_in(4) {
            e.ioprio = 1;
        }
        (e, claims)
    }

    fn connect(&mut self, id: u64) -> Drawn {
        let o = Obj::Fresh(self.d.below(3) as u8);
        let mut claims = vec![Claim::sole(Key::Way(o)), Claim::sole(Key::Way(Obj::Listener))];
        claims.push(Claim::shared(Key::World));
        let mut e = entry(id, op::CONNECT, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.addr = Val::Port(self.d.pick(&[Port::Listener, Port::Listener, Port::Closed]));
        e.off = Val::Num(self.d.pick(&[16, 16, 16, 16, 3, 200]));
        (e, claims)
    }

    fn path(&mut self, claims: &mut Vec<Claim>) -> Val {
        let i = self.d.below(NAMES.len() as u64) as usize;
        // A name in a folder depends on the folder's, so one key for those.
        claims.push(Claim::sole(Key::Name(i.min(3) as u8)));
        Val::Path(NAMES[i].to_owned())
    }

    fn open(&mut self, op: u8, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let mut e = entry(id, op, Fd::Obj(Obj::Folder));
        e.addr = self.path(&mut claims);
        let flags = self.d.pick(&[0, 0, 2, 0o102, 0o302, 0o1102, 0o200_000, 0o10_000_000]);
        if self.d.one_in(2) {
            e.file_index = self.slot(&mut claims);
        }
        let flags = if e.file_index == 0 || self.d.one_in(8) { flags | 0o2_000_000 } else { flags };
        if op == op::OPENAT {
            (e.op_flags, e.len) = (flags, 0o644);
        } else {
            let mode = if flags & 0o100 != 0 { 0o640 } else { 0 };
            let resolve = self.d.pick(&[0, 0, 0, 8, 4, 1 << 40]);
            e.off = Val::How(u64::from(flags), mode, resolve);
            e.len = self.d.pick(&[24, 24, 24, 24, 16]);
        }
        (e, claims)
    }

    fn close(&mut self, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let mut e = entry(id, op::CLOSE, Fd::Number(0));
        if self.d.one_in(2) {
            let slot = self.d.below(6) as u32;
            claims.push(Claim::sole(Key::Slot(slot)));
            e.file_index = slot + 1;
        } else {
            let o = Obj::Spare(self.d.below(4) as u8);
            claims.push(Claim::sole(Key::Way(o)));
            e.fd = Fd::Obj(o);
        }
        (e, claims)
    }

    fn files_update(&mut self, id: u64) -> Drawn {
        let claims = (0..8).map(|s| Claim::sole(Key::Slot(s))).collect();
        let mut e = entry(id, op::FILES_UPDATE, Fd::Number(-1));
        let fds = self.some_fds();
        e.len = fds.len() as u32;
        e.off = Val::Num(self.d.pick(&[0, 1, 2, 5, u64::from(u32::MAX)]));
        e.addr = Val::Fds(fds);
        (e, claims)
    }

    fn statx(&mut self, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let mut e = entry(id, op::STATX, Fd::Obj(Obj::Folder));
        e.addr = self.path(&mut claims);
        e.off = Val::Statx;
        e.len = 0x7ff;
        e.op_flags = self.d.pick(&[0, 0x100]);
        if self.d.one_in(4) {
            e.fd = Fd::Obj(self.d.pick(&[Obj::File, Obj::PipeR(0)]));
            e.addr = Val::Path(String::new());
            e.op_flags = 0x1000;
        }
        (e, claims)
    }

    fn send(&mut self, id: u64) -> Drawn {
        let pair = self.d.pick(&PAIRS);
        let side = self.d.below(2) as u8;
        let o = if self.d.one_in(12) { Obj::PipeW(0) } else { Obj::Sock(pair, side) };
        let mut claims = vec![Claim::sole(Key::Way(far_end(o))), Claim::shared(Key::World)];
        let mut e = entry(id, op::SEND, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.len = self.d.pick(&[0, 1, 50, 200]);
        e.addr = Val::Arena(writes_from(id));
        e.op_flags = self.d.pick(&[0, 0, 0, 0x40, 0x4000, 0x100]);
        e.ioprio = self.d.pick(&[0, 0, 0, 0, 1, 1 << 8]);
        match self.d.below(10) {
            0 | 1 => {
                self.select(&mut e, &mut claims);
                if self.d.one_in(3) && !self.small_cq {
                    (e.len, e.ioprio) = (0, 16);
                }
            }
            2 => {
                (e.addr, e.len) = self.vector(writes_from(id), e.len);
                e.ioprio = 32;
            }
            _ => {}
        }
        (e, claims)
    }

    fn recv(&mut self, id: u64) -> Drawn {
        let pair = self.d.pick(&PAIRS);
        let side = self.d.below(2) as u8;
        let o = if self.d.one_in(12) { Obj::PipeR(0) } else { Obj::Sock(pair, side) };
        let mut claims = vec![Claim::sole(Key::Way(o))];
        let mut e = entry(id, op::RECV, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.len = self.d.pick(&[0, 1, 50, 200, 250]);
        e.addr = Val::Arena(reads_into(id));
        e.op_flags = self.d.pick(&[0, 0, 0, 0, 2, 0x40, 0x100, 0x20]);
        e.ioprio = self.d.pick(&[0, 0, 0, 0, 1, 1 << 8]);
        if self.d.one_in(3) {
            self.select(&mut e, &mut claims);
            if self.d.one_in(2) && !self.small_cq {
                // One that looks without taking would do so for ever.
                (e.ioprio, e.op_flags) = (2, self.d.pick(&[0, 0, 0, 0x40, 0x100]));
                e.file_index = self.d.pick(&[0, 0, 0, 60]);
            }
        }
        (e, claims)
    }

    fn epoll_ctl(&mut self, id: u64) -> Drawn {
        let claims = vec![Claim::sole(Key::Way(Obj::Epoll))];
        let mut e = entry(id, op::EPOLL_CTL, Fd::Obj(Obj::Epoll));
        // ADD, DEL, MOD.
        e.len = self.d.pick(&[1, 1, 1, 2, 3, 9]);
        e.off = match self.d.below(6) {
            0 => Val::Num(999),
            _ => Val::Of(self.d.pick(&[Obj::PipeR(0), Obj::Event, Obj::File, Obj::Epoll])),
        };
        e.addr = Val::Epoll(self.d.pick(&[1, 4, 5]), id);
        (e, claims)
    }

    fn shutdown(&mut self, id: u64) -> Drawn {
        let pair = self.d.pick(&PAIRS);
        let o = if self.d.one_in(8) { Obj::PipeR(0) } else { Obj::Sock(pair, 0) };
        let mut claims = vec![Claim::sole(Key::Way(o)), Claim::sole(Key::Way(far_end(o)))];
        claims.push(Claim::shared(Key::World));
        let mut e = entry(id, op::SHUTDOWN, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.len = self.d.pick(&[0, 1, 2, 3]);
        (e, claims)
    }

    fn names(&mut self, op: u8, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let mut e = entry(id, op, Fd::Obj(Obj::Folder));
        e.addr = self.path(&mut claims);
        match op {
            op::UNLINKAT => e.op_flags = self.d.pick(&[0, 0, 0x200, 1]),
            op::MKDIRAT => e.len = 0o750,
            op::SYMLINKAT => {
                // fd is the new name's folder here.
                e.off = self.path(&mut claims);
            }
            _ => {
                e.off = self.path(&mut claims);
                e.to = Some(Obj::Folder);
                e.op_flags = self.d.pick(&[0, 0, 1]);
            }
        }
        (e, claims)
    }
}

/// Where what is written to an object arrives.
fn far_end(o: Obj) -> Obj {
    match o {
        Obj::PipeW(n) => Obj::PipeR(n),
        Obj::Sock(pair, side) => Obj::Sock(pair, 1 - side),
        o => o,
    }
}
