//! One function an opcode: the entries that the generator draws for it; and synchronous cancels, which name
//! what entries name.
//!
//! A shape says besides what its entry lays claim to (a direction of a pipe, a slot, a name in the
//! folder), so that no batch holds two entries whose order the kernel leaves open.

use super::draws::op;
use super::generate::{Claim, Gen, Key};
use super::program::{
    BUF_LEN, Entry, FILE_LEN, FILE_WRITES, Fd, GROUP_ROOM, GROUPS, MESSAGES, OTHER_SLOTS, Obj,
    Pair, Port, REGION, Register, Val, bit, futex_word, reads_into, writes_from,
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
/// How many futexes there are.
const FUTEXES: u8 = 3;
/// FUTEX_BITSET_MATCH_ANY.
const ANY_BIT: u64 = 0xffff_ffff;
/// `SOCKET_URING_OP_TX_TIMESTAMP`.
pub(super) const TX_TIMESTAMP: u64 = 4;
const NAMES: [&str; 6] = ["a", "b", "c", "d", "d/e", "nowhere/f"];

fn entry(id: u64, op: u8, fd: Fd) -> Entry {
    Entry { id, op, fd, ..Entry::default() }
}

impl Gen<'_> {
    /// An entry of this opcode.
    pub(super) fn shape(&mut self, op: u8, id: u64) -> Drawn {
        match op {
            op::READ | op::READV | op::READ_FIXED | op::READV_FIXED => self.read(op, id),
            op::WRITE | op::WRITEV | op::WRITE_FIXED | op::WRITEV_FIXED => self.write(op, id),
            op::FSYNC => self.fsync(id),
            op::FSETXATTR | op::SETXATTR => self.set_xattr(op, id),
            op::FGETXATTR | op::GETXATTR => self.get_xattr(op, id),
            op::SYNC_FILE_RANGE => self.sync_range(id),
            op::FALLOCATE => self.allocate(id),
            op::FTRUNCATE => self.truncate(id),
            op::FADVISE => self.advise_file(id),
            op::MADVISE => self.advise_memory(id),
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
            op::SENDMSG | op::RECVMSG => self.message_of(op, id),
            // 6.18 never starts a zero-copy send that goes through the queue of a drain: it waits for its
            // own notification there.
            op::SEND_ZC | op::SENDMSG_ZC if self.drains => self.send(id),
            op::SEND_ZC | op::SENDMSG_ZC => self.send_zc(op, id),
            op::EPOLL_CTL => self.epoll_ctl(id),
            op::EPOLL_WAIT => self.epoll_wait(id),
            op::SHUTDOWN => self.shutdown(id),
            op::RENAMEAT | op::UNLINKAT | op::MKDIRAT | op::SYMLINKAT | op::LINKAT => {
                self.names(op, id)
            }
            op::SPLICE | op::TEE => self.splice(op, id),
            op::MSG_RING => self.message(id),
            op::SOCKET => self.socket(id),
            op::BIND => self.bind(id),
            op::LISTEN => self.listen(id),
            op::PIPE => self.pipe(id),
            op::FIXED_FD_INSTALL => self.install(id),
            op::URING_CMD => self.command(id),
            op::WAITID => self.waitid(id),
            op::FUTEX_WAIT | op::FUTEX_WAKE => self.futex(op, id),
            op::FUTEX_WAITV => self.futex_waitv(id),
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

    /// A word of 0, mostly told apart from one of 5.
    fn futex(&mut self, op: u8, id: u64) -> Drawn {
        let n = self.d.below(u64::from(FUTEXES)) as u8;
        let mut e = entry(id, op, Fd::Number(self.d.pick(&[0x82, 0x82, 0x82, 2, 0x86, 0x12])));
        e.addr = Val::Arena(futex_word(n) + u32::from(self.d.one_in(20)));
        let wake = op == op::FUTEX_WAKE;
        let values: &[u64] = if wake { &[0, 1, 1, 2, 9] } else { &[0, 0, 0, 0, 5, 1 << 32] };
        e.off = Val::Num(self.d.pick(values));
        e.addr3 = self.d.pick(&[ANY_BIT, ANY_BIT, ANY_BIT, 1, 2, 0]);
        (e, vec![Claim::sole(Key::Futex(n))])
    }

    fn futex_waitv(&mut self, id: u64) -> Drawn {
        let mut e = entry(id, op::FUTEX_WAITV, Fd::Number(0));
        let list: Vec<(u64, u32, u32)> = (0..1 + self.d.below(3))
            .map(|_| {
                let at = futex_word(self.d.below(u64::from(FUTEXES)) as u8);
                let value = self.d.pick(&[0, 0, 0, 0, 0, 0, 0, 5]);
                (value, at, self.d.pick(&[0x82, 0x82, 0x82, 2]))
            })
            .collect();
        e.len = list.len() as u32;
        e.addr = Val::Waiters(list);
        (e, (0..FUTEXES).map(|n| Claim::sole(Key::Futex(n))).collect())
    }

    /// The program has no children; what it asks for is told apart all the same.
    fn waitid(&mut self, id: u64) -> Drawn {
        let mut e = entry(id, op::WAITID, Fd::Number(self.d.pick(&[0, 0, 1, -1])));
        e.len = self.d.pick(&[0, 0, 1, 2, 3, 9]);
        e.file_index = self.d.pick(&[4, 4, 5, 2, 8, 0, 1 << 30]);
        e.off = if self.d.one_in(2) { Val::Arena(reads_into(id)) } else { Val::Num(0) };
        (e, vec![])
    }

    fn command(&mut self, id: u64) -> Drawn {
        const SOL_SOCKET: u64 = 1;
        let (pair, side) = (self.d.pick(&PAIRS), self.d.below(2) as u8);
        let o = match self.d.below(8) {
            0 => self.d.pick(&[Obj::File, Obj::Folder, Obj::PipeR(0), Obj::Event, Obj::Epoll]),
            1 => Obj::Listener,
            _ => Obj::Sock(pair, side),
        };
        let mut claims = vec![Claim::sole(Key::Way(o)), Claim::sole(Key::Way(far_end(o)))];
        let mut e = entry(id, op::URING_CMD, Fd::default());
        self.name(&mut e, o, &mut claims);
        // SIOCINQ, GETSOCKOPT, SETSOCKOPT, TX_TIMESTAMP, for which nobody asks, and what there is not;
        // what is sent but not acknowledged is a matter of time.
        e.off = Val::Num(self.d.pick(&[0, 0, 2, 2, 3, TX_TIMESTAMP, 5, 77, 1 << 32]));
        let name = self.d.pick(&[2, 3, 7, 9, 999]);
        e.addr = Val::Num(self.d.pick(&[SOL_SOCKET, SOL_SOCKET, 6]) | name << 32);
        e.file_index = self.d.pick(&[0, 4, 4, u32::MAX]);
        e.op_flags = self.d.pick(&[0, 0, 0, 1, 4]);
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
        let mut claims = Vec::new();
        if self.d.one_in(4) {
            let fixed = if self.d.one_in(2) { 4 } else { 0 };
            e.op_flags |= self.d.pick(&[2, 2, 8, 2 | 8]) | fixed;
            let slot = self.d.below(4) as u32;
            claims.push(Claim::shared(Key::Slot(slot)));
            e.fd = match fixed {
                0 => self.d.pick(&[Fd::Obj(Obj::File), Fd::Number(999)]),
                _ => Fd::Number(slot as i32),
            };
            e.buf_index = self.d.pick(&[0, 0, 1, 9]);
        }
        if self.d.one_in(if self.wide { 2 } else { 40 }) {
            e.op_flags |= 32;
            (e.off, e.addr) = (Val::Num(0x11), Val::Num(id));
        }
        (e, claims)
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
            op::READV | op::WRITEV | op::READV_FIXED | op::WRITEV_FIXED => self.vector(at, len),
            _ => (Val::Arena(at), len),
        };
        let fixed = [op::READ_FIXED, op::WRITE_FIXED, op::READV_FIXED, op::WRITEV_FIXED];
        if fixed.contains(&e.op) {
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

    fn sync_range(&mut self, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let o = self.d.pick(&[Obj::File, Obj::File, Obj::ReadOnly, Obj::PipeR(0), Obj::Folder]);
        let mut e = entry(id, op::SYNC_FILE_RANGE, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.off = Val::Num(self.d.pick(&[0, 64, FILE_LEN.into(), u64::MAX]));
        e.len = self.d.pick(&[0, 64, u32::MAX]);
        e.op_flags = self.d.pick(&[0, 1, 2, 4, 7, 7, 8]);
        (e, claims)
    }

    /// A name of an attribute, of a file or of a path in the folder.
    fn attribute(&mut self, op: u8, id: u64) -> Drawn {
        let (mut e, mut claims) = if matches!(op, op::SETXATTR | op::GETXATTR) {
            let mut claims = Vec::new();
            let mut e = entry(id, op, Fd::Number(-1));
            if let Val::Path(name) = self.path(&mut claims) {
                e.path = Some(Val::Whole(name));
            }
            (e, claims)
        } else {
            self.scratch(id, op)
        };
        let names = ["user.a", "user.a", "user.b", "user.c", "none", ""];
        e.addr = Val::Path(self.d.pick_one(&names).to_owned());
        claims.push(Claim::shared(Key::World));
        (e, claims)
    }

    fn set_xattr(&mut self, op: u8, id: u64) -> Drawn {
        let (mut e, claims) = self.attribute(op, id);
        (e.off, e.len) = (Val::Arena(writes_from(id)), self.d.pick(&[0, 1, 40, 70_000]));
        e.op_flags = self.d.pick(&[0, 0, 1, 2, 4]);
        (e, claims)
    }

    fn get_xattr(&mut self, op: u8, id: u64) -> Drawn {
        let (mut e, claims) = self.attribute(op, id);
        (e.off, e.len) = (Val::Arena(reads_into(id)), self.d.pick(&[0, 10, 200]));
        e.op_flags = u32::from(self.d.one_in(20));
        (e, claims)
    }

    /// A file that no other kind of request looks at: its length and holes are its own.
    fn scratch(&mut self, id: u64, op: u8) -> Drawn {
        let wrong = self.d.pick(&[Obj::ReadOnly, Obj::PipeW(0), Obj::Folder]);
        let o = if self.d.one_in(6) { wrong } else { Obj::Scratch };
        let mut claims = vec![Claim::sole(Key::Way(Obj::Scratch))];
        let mut e = entry(id, op, Fd::default());
        self.name(&mut e, o, &mut claims);
        (e, claims)
    }

    fn allocate(&mut self, id: u64) -> Drawn {
        let (mut e, claims) = self.scratch(id, op::FALLOCATE);
        // None, KEEP_SIZE, a hole, zeroes, a hole that grows, an unknown one.
        e.len = self.d.pick(&[0, 0, 1, 3, 3, 0x10, 0x11, 2, 1 << 20]);
        e.off = Val::Num(self.d.pick(&[0, 100, 4096, u64::from(FILE_LEN), 1 << 63]));
        e.addr = Val::Num(self.d.pick(&[1, 500, 4096, 0, 1 << 63]));
        (e, claims)
    }

    fn truncate(&mut self, id: u64) -> Drawn {
        let (mut e, claims) = self.scratch(id, op::FTRUNCATE);
        e.off = Val::Num(self.d.pick(&[0, 100, 4096, 10_000, 1 << 63, i64::MAX as u64]));
        (e, claims)
    }

    fn advise_file(&mut self, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let o = self.d.pick(&[Obj::File, Obj::File, Obj::Scratch, Obj::PipeR(0), Obj::Folder]);
        let mut e = entry(id, op::FADVISE, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.off = Val::Num(self.d.pick(&[0, 64, u64::MAX]));
        (e.addr, e.len) = (Val::Num(self.d.pick(&[0, 0, 64, 1 << 63])), self.d.pick(&[0, 64]));
        // Not DONTNEED: what is cached then is a matter of time.
        e.op_flags = self.d.pick(&[0, 1, 2, 3, 3, 5, 6]);
        (e, claims)
    }

    fn advise_memory(&mut self, id: u64) -> Drawn {
        let mut e = entry(id, op::MADVISE, Fd::Number(-1));
        e.addr = self.d.pick_one(&[Val::Arena(0), Val::Arena(4096), Val::Arena(8), Val::Num(4096)]);
        (e.off, e.len) = (Val::Num(self.d.pick(&[0, 4096])), self.d.pick(&[0, 4096]));
        // None that changes what is there.
        e.op_flags = self.d.pick(&[0, 1, 2, 3, 99]);
        (e, Vec::new())
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

    /// A synchronous cancel, or what is about workers and waits.
    pub(super) fn call(&mut self) -> Register {
        match self.d.below(8) {
            0..4 => self.sync_cancel(),
            4 | 5 => Register::Workers(self.d.pick(&[2, 4, 64]), self.d.pick(&[2, 8, 64])),
            6 => Register::Affinity(self.d.pick(&[Some(1), Some(0), Some(1 << 63 | 1), None])),
            _ => Register::Region(self.d.one_in(2), self.d.one_in(2)),
        }
    }

    fn sync_cancel(&mut self) -> Register {
        let (none, name) = (Fd::Number(-1), self.victim());
        match self.d.below(7) {
            0 => Register::SyncCancel(name, none, 4, 0),
            1 | 2 => {
                let fd = Fd::Obj(self.source());
                Register::SyncCancel(name, fd, self.d.pick(&[2, 2 | 1, 2 | 16]), 0)
            }
            3 => {
                let slot = Fd::Number(self.d.below(6) as i32);
                Register::SyncCancel(name, slot, self.d.pick(&[2 | 8, 2 | 8 | 1]), 0)
            }
            4 => {
                let op = self.d.pick(&[op::READ, op::POLL_ADD, op::TIMEOUT, op::RECV]);
                Register::SyncCancel(name, none, 32 | self.d.pick(&[0, 1, 16, 4]), op)
            }
            5 => Register::SyncCancel(name, none, self.d.pick(&[1, 16, 2, 6, 1 << 10]), 0),
            _ => Register::SyncCancel(name, none, 0, 0),
        }
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

    fn splice(&mut self, op: u8, id: u64) -> Drawn {
        const FD_IN_FIXED: u32 = 1 << 31;
        let pipe = |d: &mut super::dice::Dice| d.below(2) as u8;
        // A pipe that splice(2) took from cannot be read without waiting any more (LIMITATIONS.md).
        let (from, to) = match self.d.below(6) {
            0..3 if op == op::SPLICE => (Obj::File, Obj::PipeW(pipe(&mut self.d))),
            3 if op == op::SPLICE => (Obj::PipeR(2), Obj::Scratch),
            4 => (Obj::Listener, Obj::PipeW(0)),
            _ => (Obj::PipeR(2), Obj::PipeW(1)),
        };
        let mut claims = vec![Claim::sole(Key::Way(from)), Claim::sole(Key::Way(far_end(to)))];
        claims.extend([Claim::sole(Key::Way(to)), Claim::shared(Key::World)]);
        let mut e = entry(id, op, Fd::default());
        self.name(&mut e, to, &mut claims);
        let slot = self.slots.iter().position(|s| *s == Some(from));
        match slot.filter(|_| self.d.one_in(2)) {
            Some(slot) => {
                claims.push(Claim::shared(Key::Slot(slot as u32)));
                (e.file_index, e.op_flags) = (slot as u32, FD_IN_FIXED);
            }
            None => e.from = Some(from),
        }
        let at = |o: Obj, off: u64| match o {
            Obj::File | Obj::Scratch => off,
            _ => u64::MAX,
        };
        if op == op::SPLICE {
            e.addr = Val::Num(at(from, self.d.below(1000)));
            e.off = Val::Num(at(to, self.d.below(1000)));
        }
        e.len = self.d.pick(&[0, 1, 50, 200]);
        e.op_flags |= self.d.pick(&[0, 0, 2, 2, 1, 16]);
        (e, claims)
    }

    fn socket(&mut self, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let family = self.d.pick(&[libc::AF_INET, libc::AF_INET, libc::AF_UNIX, 99]);
        let mut e = entry(id, op::SOCKET, Fd::Number(family));
        let flags = self.d.pick(&[0, 0, 0o4000, 0o2_000_000, 0x10]);
        e.off = Val::Num(self.d.pick(&[1, 1, 2, 9]) | flags);
        e.len = self.d.pick(&[0, 0, 0, 1, 250]);
        if self.d.one_in(2) {
            e.file_index = self.slot(&mut claims);
        }
        (e, claims)
    }

    fn bind(&mut self, id: u64) -> Drawn {
        let o = if self.d.one_in(8) { Obj::PipeR(0) } else { Obj::Fresh(self.d.below(3) as u8) };
        let mut claims = vec![Claim::sole(Key::Way(o))];
        let mut e = entry(id, op::BIND, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.addr = Val::Port(self.d.pick(&[Port::Any, Port::Any, Port::Listener]));
        e.off = Val::Num(self.d.pick(&[16, 16, 16, 3, 200]));
        (e, claims)
    }

    fn listen(&mut self, id: u64) -> Drawn {
        let wrong = self.d.pick(&[Obj::PipeR(0), Obj::Sock(Pair::Udp, 0), Obj::Sock(Pair::Tcp, 0)]);
        let o = if self.d.one_in(3) { wrong } else { Obj::Fresh(self.d.below(3) as u8) };
        let mut claims = vec![Claim::sole(Key::Way(o))];
        let mut e = entry(id, op::LISTEN, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.len = self.d.pick(&[0, 5, u32::MAX]);
        (e, claims)
    }

    fn pipe(&mut self, id: u64) -> Drawn {
        let mut claims = Vec::new();
        let mut e = entry(id, op::PIPE, Fd::Number(0));
        e.addr = if self.d.one_in(6) { Val::Num(16) } else { Val::Pair };
        e.op_flags = self.d.pick(&[0, 0, 0o4000, 0o2_000_000, 0o40_000, 1]);
        if self.d.one_in(2) {
            e.file_index = self.slot(&mut claims);
            if e.file_index != ALLOC {
                // The slot behind it, too.
                claims.push(Claim::sole(Key::Slot(e.file_index)));
            }
        }
        (e, claims)
    }

    fn install(&mut self, id: u64) -> Drawn {
        let slot = self.d.below(6) as u32;
        let mut e = entry(id, op::FIXED_FD_INSTALL, Fd::Number(slot as i32));
        e.flags = if self.d.one_in(12) { 0 } else { bit::FIXED };
        e.op_flags = self.d.pick(&[0, 0, 1, 1, 2]);
        (e, vec![Claim::shared(Key::Slot(slot))])
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

    /// Takes away what has to do with provided buffers.
    fn without_groups(e: &mut Entry) {
        e.flags &= !bit::SELECT;
        e.ioprio &= !(2 | 16);
        (e.buf_index, e.file_index) = (0, 0);
    }

    /// A message at that place in the arena, now and then with a name and control data.
    fn msg(&mut self, at: u32, len: u32) -> Val {
        let Val::Iovs(list) = self.vector(at, len).0 else { return Val::Num(0) };
        let name = self.d.pick(&[None, None, None, Some(0), Some(4), Some(28), Some(200)]);
        Val::Msg(list, name, self.d.pick(&[0, 0, 0, 64]))
    }

    fn message_of(&mut self, op: u8, id: u64) -> Drawn {
        let (mut e, claims) = if op == op::SENDMSG { self.send(id) } else { self.recv(id) };
        Self::without_groups(&mut e);
        let at = if op == op::SENDMSG { writes_from(id) } else { reads_into(id) };
        e.op = op;
        e.addr = self.msg(at, e.len);
        if let (op::SENDMSG, Val::Msg(_, name, control)) = (op, &mut e.addr) {
            // Zeros are no control data that anybody would take.
            *control = 0;
            *name = name.filter(|len| *len > 100);
        }
        e.len = 1;
        (e, claims)
    }

    fn send_zc(&mut self, op: u8, id: u64) -> Drawn {
        let (mut e, claims) = self.send(id);
        Self::without_groups(&mut e);
        if op == op::SENDMSG_ZC || e.ioprio & 32 != 0 {
            let len = self.d.pick(&[0, 1, 50, 200]);
            let (vector, n) = self.vector(writes_from(id), len);
            (e.addr, e.len) = (vector, n);
        }
        if let (op::SENDMSG_ZC, Val::Iovs(list)) = (op, &e.addr) {
            (e.addr, e.len) = (Val::Msg(list.clone(), None, 0), 1);
        }
        e.op = op;
        e.ioprio |= self.d.pick(&[0, 0, 8, 4, 4 | 8]);
        e.buf_index = self.d.pick(&[0, 0, 0, 1, 9]);
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

    fn epoll_wait(&mut self, id: u64) -> Drawn {
        let o = if self.d.one_in(8) { Obj::PipeR(0) } else { Obj::Epoll };
        let mut claims = vec![Claim::sole(Key::Way(Obj::Epoll))];
        // What is watched there may become ready, or stop to be.
        let watched = [Obj::PipeR(0), Obj::Event, Obj::File];
        claims.extend(watched.map(|o| Claim::sole(Key::Way(o))));
        let mut e = entry(id, op::EPOLL_WAIT, Fd::default());
        self.name(&mut e, o, &mut claims);
        e.addr = if self.d.one_in(12) { Val::Num(16) } else { Val::Arena(reads_into(id)) };
        e.len = self.d.pick(&[1, 1, 4, 0, u32::MAX]);
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
