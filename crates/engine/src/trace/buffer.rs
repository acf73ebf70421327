//! A bounded buffer of records in memory that two processes share: many write, one reads.
//!
//! ```text
//!  page 0   magic | pid | slots | born, first  tail (writers)      lost      taken (reader)
//!  slots    [stamp | 7 words] [stamp | 7 words] ...       position p is in slot p % slots
//!
//!  stamp = (p + 1) << 8 | kind      a record's first slot says which kind it is, the others MORE
//!
//!   writer                                   reader (`ringer trace`)
//!   tail: 10 -> 12 (compare and exchange)
//!   words of 11, stamp of 11
//!                                            slot of 10 has an older stamp: not yet
//!   words of 10, stamp of 10 (Release)
//!                                            both stamps are right: a record
//!                                            taken += 1 whenever a 128th of the buffer is done
//! ```
//! The stamp of a record's first slot is written last, so a record is there wholly or not at all: what
//! a killed process had begun is recognised by the stamps it lacks. A full buffer loses the record
//! and counts it; nobody waits for anybody (but see [`Buffer::patient`]), and a signal handler may write
//! on top of a writer.
//!
//! The reader's only word is one byte, the number of 128ths it is done with modulo 256: it is written
//! by pwrite(2), and one byte cannot be seen in halves.
//!
//! What it does not do: map files, or say what a record means to people.

use super::{Call, Called, How, Injected, Origin, RingState, Told, Went};
use crate::policy::{Act, Share, What};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use ringer_ring::Map;
use ringer_uapi::{Errno, Sqe};

/// Value of word 0: "rtrace" and the layout's version.
pub const MAGIC: u64 = 0x7274_7261_6365_0001;
/// Bytes before the first slot.
pub const HEADER: usize = 4096;
/// Bytes of a slot.
pub const SLOT: usize = 64;
/// Fewest slots: one for each 128th.
pub const SLOTS_MIN: u64 = PARTS;
/// Most slots \[64 bytes each\].
pub const SLOTS_MAX: u64 = 1 << 24;
/// Parts that the reader gives back at once.
const PARTS: u64 = 128;

/// Byte of the writer's process id.
pub const AT_PID: usize = 8;
/// Byte of the number of slots.
pub const AT_SLOTS: usize = 16;
/// Byte of the time at which the buffer was made \[ns, monotonic\].
pub const AT_BORN: usize = 24;
/// Byte of the position of the first record.
pub const AT_FIRST: usize = 32;
/// Byte of what the program is called, 16 of them, padded with zeros; all zeros: it is not known.
pub const AT_PROGRAM: usize = 40;
/// Byte of the position that is written next.
pub const AT_TAIL: usize = 64;
/// Byte of the count of submissions that found no room.
pub const AT_LOST_TAKEN: usize = 128;
/// Byte of the count of completions that found no room.
pub const AT_LOST_TOLD: usize = 136;
/// Byte of the count of other records that found no room.
pub const AT_LOST_MORE: usize = 144;
/// Byte that the reader writes.
pub const AT_DONE: usize = 192;

const WORDS: usize = SLOT / 8 - 1;
/// Slots of the longest name.
const NAME_SLOTS: usize = 4;
/// Longest text of a name that is kept \[bytes\]; of a longer one the beginning.
pub const NAME_MAX: usize = (NAME_SLOTS * WORDS - 2) * 8;

/// What a slot begins, in the low byte of its stamp.
const TAKEN: u64 = 1;
const TOLD: u64 = 2;
const NAME: u64 = 3;
const MORE: u64 = 4;
const DATA: u64 = 5;
const CALL: u64 = 6;
const STATE: u64 = 7;
const INJECTED: u64 = 8;

/// Most bytes that a record of data keeps.
pub const DATA_MAX: usize = 1024;
/// Words before the bytes of data.
const DATA_FACTS: usize = 3;
/// Slots of the longest data.
const DATA_SLOTS: usize = (DATA_FACTS + DATA_MAX / 8).div_ceil(WORDS);

/// Positions between the beginnings of two sessions with one writer.
const SESSION: u64 = 1 << 40;
/// Sessions after which their positions begin again.
const SESSIONS: u64 = 1 << 16;

const fn stamp(position: u64, kind: u64) -> u64 {
    position.wrapping_add(1) << 8 | kind
}

/// Where the byte that the reader writes must stand for positions below `position` to be done.
#[must_use]
pub fn done_byte(position: u64, slots: u64) -> u8 {
    (position / (slots / PARTS).max(1)) as u8
}

/// Whether a number of slots is one that a buffer can have.
#[must_use]
pub const fn is_size(slots: u64) -> bool {
    slots.is_power_of_two() && slots >= SLOTS_MIN && slots <= SLOTS_MAX
}

/// The writers' side.
#[derive(Debug)]
pub struct Buffer {
    map: Map,
    slots: u64,
    /// Position of the first record.
    first: AtomicU64,
    /// What a writer without room does, for the how many-th time: whether it tries again.
    pause: Option<fn(u32) -> bool>,
}

/// A submission, with what its writer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenRecord {
    /// When \[ns, monotonic\].
    pub time_ns: u64,
    /// The ring's name.
    pub ring: u64,
    /// The submitting thread.
    pub tid: u32,
    /// The number of the file in the program's table, or -1.
    pub number: i32,
    /// It follows the one before it in a chain.
    pub linked: bool,
    /// The completion queue's head: what its taker is done with.
    pub seen: u32,
    /// The entry.
    pub sqe: Sqe,
}

/// What bytes of the program's memory are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DataKind {
    /// The beginning of what a request writes or sends.
    Written = 0,
    /// The beginning of what a completion tells was read or received.
    Read = 1,
    /// A text that the request points to.
    Text = 2,
    /// A socket address.
    Address = 3,
    /// A `struct __kernel_timespec`.
    Time = 4,
    /// A `struct open_how`.
    OpenHow = 5,
}

impl DataKind {
    /// All, by number.
    pub const ALL: [Self; 6] =
        [Self::Written, Self::Read, Self::Text, Self::Address, Self::Time, Self::OpenHow];
}

/// Where in an SQE the address of data stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// `addr`.
    Addr = 0,
    /// `off`, which is also `addr2`.
    Off = 1,
    /// `addr3`.
    Addr3 = 2,
    /// In what `addr` points to.
    Within = 3,
}

impl Field {
    /// All, by number.
    pub const ALL: [Self; 4] = [Self::Addr, Self::Off, Self::Addr3, Self::Within];
}

/// What bytes are, before they themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHead {
    /// The name of the request.
    pub request: u64,
    /// What they are.
    pub kind: DataKind,
    /// Where they were found.
    pub field: Field,
    /// How many there are in all.
    pub total: u64,
    /// None of them is kept, as somebody asked for.
    pub hidden: bool,
}

impl Buffer {
    /// Makes a buffer of zeroes; `None` if the length is not one of [`is_size`] slots and a header.
    #[must_use]
    pub fn make(map: Map, pid: u32, born_ns: u64) -> Option<Self> {
        let buffer = Self::over(map)?;
        buffer.begin(pid, born_ns, 0);
        Some(buffer)
    }

    /// The same without a beginning: see [`Buffer::begin`].
    #[must_use]
    pub fn over(map: Map) -> Option<Self> {
        let slots = (map.len().checked_sub(HEADER)? / SLOT) as u64;
        is_size(slots).then_some(Self { map, slots, first: AtomicU64::new(0), pause: None })
    }

    /// Nothing is to be lost: a writer without room pauses, and tries again for as long as `pause` says so.
    #[must_use]
    pub fn patient(self, pause: fn(u32) -> bool) -> Self {
        Self { pause: Some(pause), ..self }
    }

    /// Begins a session, in zeroes or where the one before had another number. Each has positions of its own, so that a request of another one has no
    /// name here, and what a thread was late to write in another one is no record.
    pub fn begin(&self, pid: u32, born_ns: u64, session: u64) {
        let first = session % SESSIONS * SESSION;
        self.first.store(first, Relaxed);
        let words = [
            (AT_PID, u64::from(pid)),
            (AT_SLOTS, self.slots),
            (AT_BORN, born_ns),
            (AT_FIRST, first),
            (AT_TAIL, first),
            (AT_DONE, 0),
            (AT_LOST_TAKEN, 0),
            (AT_LOST_TOLD, 0),
            (AT_LOST_MORE, 0),
        ];
        for (at, word) in words {
            self.map.w64(at).store(word, Relaxed);
        }
        // Release: the reader looks at the rest once it has seen this.
        self.map.w64(0).store(MAGIC, Release);
    }

    /// Says what the program is called, before there are records.
    pub fn named(&self, name: [u8; 16]) {
        let (words, _) = name.as_chunks::<8>();
        for (word, at) in words.iter().zip([AT_PROGRAM, AT_PROGRAM + 8]) {
            self.map.w64(at).store(u64::from_le_bytes(*word), Relaxed);
        }
    }

    /// How many slots it has.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// The position of the session's first record.
    pub fn first(&self) -> u64 {
        self.first.load(Relaxed)
    }

    /// Copies what is there of the records from a position on, whole ones only, for a reader in this process:
    /// the bytes of how many slots. They are given back.
    pub fn take(&self, position: u64, to: &mut [u8]) -> usize {
        let mut slots = 0;
        for (slot, at) in to.chunks_exact_mut(SLOT).zip(0u64..self.slots) {
            let base = HEADER + (position.wrapping_add(at) & (self.slots - 1)) as usize * SLOT;
            for (word, i) in slot.as_chunks_mut::<8>().0.iter_mut().zip(0..) {
                // Acquire: who sees the stamp, which is the first, sees the words behind it.
                *word = self.map.w64(base + i * 8).load(Acquire).to_le_bytes();
            }
            slots += 1;
        }
        let (mut whole, there) = (0, to.get(..slots * SLOT).unwrap_or(&[]));
        while let Some((_, n)) = there
            .get(whole * SLOT..)
            .and_then(|rest| read(rest, position.wrapping_add(whole as u64)))
        {
            whole += n;
        }
        if whole > 0 {
            let done = done_byte(position.wrapping_add(whole as u64), self.slots);
            // Release: what was read is read.
            self.map.w64(AT_DONE).store(done.into(), Release);
        }
        whole
    }

    /// Submissions and completions that found no room.
    pub fn lost(&self) -> u64 {
        self.map.w64(AT_LOST_TAKEN).load(Relaxed) + self.map.w64(AT_LOST_TOLD).load(Relaxed)
    }

    /// Writes a submission. Its name is its position + 1, or 0 if it found no room.
    pub fn taken(&self, t: &TakenRecord) -> u64 {
        let [w0, w1, w2, w3, w4, w5, w6, w7] = t.sqe.to_words();
        let who = u64::from(t.tid) | u64::from(t.number.cast_unsigned()) << 32;
        let first = [t.time_ns, t.ring, who, w0, w1, w2, w3];
        match self.put(TAKEN, &[first, [w4, w5, w6, w7, t.linked.into(), t.seen.into(), 0]]) {
            Some(position) => position + 1,
            None => self.lose(AT_LOST_TAKEN),
        }
    }

    /// Writes a completion.
    pub fn told(&self, time_ns: u64, t: &Told) {
        if t.trail.name() != 0 && t.trail.name() <= self.first.load(Relaxed) {
            // It was taken in another session.
            return;
        }
        let result = u64::from(t.res.cast_unsigned()) | u64::from(t.flags) << 32;
        let ways = t.trail.how() | (t.went as u64) << 8;
        let words = [time_ns, t.ring, t.trail.name(), result, ways, t.user_data, t.origin as u64];
        if self.put(TOLD, &[words]).is_none() {
            self.lose(AT_LOST_TOLD);
        }
    }

    /// Writes what a policy did; lost silently.
    pub fn injected(&self, time_ns: u64, i: &Injected) {
        let (kind, value) = to_words(i.act.what);
        let number = i.number.unwrap_or(-1).cast_unsigned();
        let who = u64::from(i.act.rule)
            | u64::from(i.opcode) << 16
            | kind << 24
            | u64::from(number) << 32;
        let words = [time_ns, i.ring, i.nth, who, value, i.trail.name(), i.user_data];
        let _ = self.put(INJECTED, &[words]);
    }

    /// Writes what a ring is doing; lost silently, as it is told again.
    pub fn state(&self, time_ns: u64, s: &RingState) {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let words = [
            time_ns,
            s.ring,
            pair(s.in_flight, s.polled),
            pair(s.workers, s.backlog),
            pair(s.cq_ready, s.cq_entries),
            pair(s.taken, s.told),
            0,
        ];
        let _ = self.put(STATE, &[words]);
    }

    /// Writes what a number stands for from now on; lost silently, as it is told again.
    pub fn name(&self, number: i32, text: &[u8]) {
        let mut parts = [[0_u64; WORDS]; NAME_SLOTS];
        let mut words = parts.as_flattened_mut().iter_mut();
        for fact in [u64::from(number.cast_unsigned()), text.len() as u64] {
            if let Some(word) = words.next() {
                *word = fact;
            }
        }
        pack(words, text);
        let _ = self.put(NAME, parts.get(..name_slots(text.len())).unwrap_or(&[]));
    }

    /// Writes bytes of a request, of more than [`DATA_MAX`] the first.
    pub fn data(&self, head: &DataHead, bytes: &[u8]) {
        let bytes = bytes.get(..DATA_MAX).unwrap_or(bytes);
        let facts = head.kind as u64 | (head.field as u64) << 8 | u64::from(head.hidden) << 16;
        let mut parts = [[0_u64; WORDS]; DATA_SLOTS];
        let mut words = parts.as_flattened_mut().iter_mut();
        for fact in [head.request, facts | (bytes.len() as u64) << 32, head.total] {
            if let Some(word) = words.next() {
                *word = fact;
            }
        }
        pack(words, bytes);
        if self.put(DATA, parts.get(..data_slots(bytes.len())).unwrap_or(&[])).is_none() {
            self.lose(AT_LOST_MORE);
        }
    }

    /// Writes a call.
    pub fn called(&self, time_ns: u64, tid: u32, c: &Called) {
        let tid = u64::from(tid);
        let result = match c.result {
            Ok(n) => n as u64,
            Err(e) => (-i64::from(e.raw())).cast_unsigned(),
        };
        let words = match c.call {
            Call::Setup { entries, flags, ring } => {
                [time_ns, tid, entries.into(), flags.into(), ring, 0, result]
            }
            Call::Register { fd, opcode, arg, nr } => {
                let who = u64::from(fd.cast_unsigned());
                [time_ns, tid | 1 << 32, who, opcode.into(), arg, nr.into(), result]
            }
        };
        if self.put(CALL, &[words]).is_none() {
            self.lose(AT_LOST_MORE);
        }
    }

    #[cold]
    fn lose(&self, what: usize) -> u64 {
        self.map.w64(what).fetch_add(1, Relaxed);
        0
    }

    /// Writes a record; its position, or `None` if there is no room.
    fn put(&self, kind: u64, parts: &[[u64; WORDS]]) -> Option<u64> {
        let n = parts.len() as u64;
        let tail = self.map.w64(AT_TAIL);
        let mut position = tail.load(Relaxed);
        let mut pauses = 0;
        loop {
            let end = position.wrapping_add(n);
            if !self.has_room(end) {
                if !self.pause.is_some_and(|again| again(pauses)) {
                    return None;
                }
                pauses += 1;
                position = tail.load(Relaxed);
                continue;
            }
            match tail.compare_exchange_weak(position, end, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => position = now,
            }
        }
        for (i, words) in parts.iter().enumerate().rev() {
            let at = position.wrapping_add(i as u64);
            self.write(at, if i == 0 { kind } else { MORE }, words);
        }
        Some(position)
    }

    /// Whether positions below `end` may be written: the reader is less than a buffer behind.
    fn has_room(&self, end: u64) -> bool {
        // Acquire: what the reader gave back it has read. Its byte is the low one.
        let done = self.map.w64(AT_DONE).load(Acquire) as u8;
        let last = done_byte(end.wrapping_sub(1), self.slots);
        u64::from(last.wrapping_sub(done)) < PARTS
    }

    fn write(&self, position: u64, kind: u64, words: &[u64; WORDS]) {
        let at = HEADER + (position & (self.slots - 1)) as usize * SLOT;
        for (i, word) in words.iter().enumerate() {
            self.map.w64(at + 8 + i * 8).store(*word, Relaxed);
        }
        // Release: who sees the stamp sees the words.
        self.map.w64(at).store(stamp(position, kind), Release);
    }
}

fn name_slots(len: usize) -> usize {
    (2 + len.min(NAME_MAX).div_ceil(8)).div_ceil(WORDS)
}

fn data_slots(len: usize) -> usize {
    (DATA_FACTS + len.min(DATA_MAX).div_ceil(8)).div_ceil(WORDS)
}

/// Bytes into words, the last filled up with 0.
fn pack<'a>(words: impl Iterator<Item = &'a mut u64>, bytes: &[u8]) {
    for (word, bytes) in words.zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = *from;
        }
        *word = u64::from_le_bytes(whole);
    }
}

/// A completion as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldRecord {
    /// When \[ns, monotonic\].
    pub time_ns: u64,
    /// The ring's name.
    pub ring: u64,
    /// The name of the request.
    pub request: u64,
    /// The result.
    pub res: i32,
    /// The flags.
    pub flags: u32,
    /// How it ran.
    pub how: How,
    /// Where the completion went.
    pub went: Went,
    /// What it hands back.
    pub user_data: u64,
    /// Whose it is.
    pub origin: Origin,
}

/// A call as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalledRecord {
    /// When it ended \[ns, monotonic\].
    pub time_ns: u64,
    /// The calling thread.
    pub tid: u32,
    /// Which.
    pub call: Call,
    /// What it answered: a number, or an errno below 0.
    pub result: i64,
}

/// Something that a policy did, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectedRecord {
    /// When \[ns, monotonic\].
    pub time_ns: u64,
    /// The ring's name.
    pub ring: u64,
    /// Which of the ring's entries, or waits, from 1.
    pub nth: u64,
    /// What, and by which rule.
    pub act: Act,
    /// The request's opcode; of a wait 0.
    pub opcode: u8,
    /// The number of the file in the program's table, or -1.
    pub number: i32,
    /// The name of the request, 0 if it is not traced.
    pub request: u64,
    /// What its completion hands back.
    pub user_data: u64,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A submission; its name is its position + 1.
    Taken(TakenRecord),
    /// A completion.
    Told(ToldRecord),
    /// Something that a policy did.
    Injected(InjectedRecord),
    /// What a number stands for from now on.
    Name {
        /// The number.
        number: i32,
        /// As the kernel tells it, or the beginning.
        text: alloc::vec::Vec<u8>,
        /// Whether that is all.
        whole: bool,
    },
    /// Bytes of a request: before its completion, or of the one that comes next.
    Data(DataHead, alloc::vec::Vec<u8>),
    /// A call.
    Called(CalledRecord),
    /// What a ring is doing.
    State {
        /// When \[ns, monotonic\].
        time_ns: u64,
        /// What.
        state: RingState,
    },
}

/// Reads the record at `position` from the bytes of the slots that begin there: the record and how
/// many slots it has. `None`: it is not there, not wholly, or nothing that a writer of ours writes.
#[must_use]
pub fn read(slots: &[u8], position: u64) -> Option<(Record, usize)> {
    let first = words_of(slots, position, 0, None)?;
    match first.0 {
        TAKEN => Some((taken_of(&first.1, &words_of(slots, position, 1, Some(MORE))?.1), 2)),
        TOLD => Some((told_of(&first.1)?, 1)),
        NAME => name_of(slots, position, &first.1),
        DATA => data_of(slots, position, &first.1),
        CALL => Some((called_of(&first.1), 1)),
        INJECTED => Some((injected_of(&first.1)?, 1)),
        STATE => Some((state_of(&first.1), 1)),
        _ => None,
    }
}

/// The kind and the words of the `i`th slot, if its stamp is right.
fn words_of(
    slots: &[u8],
    position: u64,
    i: usize,
    kind: Option<u64>,
) -> Option<(u64, [u64; WORDS])> {
    let (words, _) = slots.get(i * SLOT..(i + 1) * SLOT)?.as_chunks::<8>();
    let (mark, rest) = words.split_first()?;
    let mark = u64::from_le_bytes(*mark);
    let found = mark & 0xff;
    let right = mark == stamp(position.wrapping_add(i as u64), kind.unwrap_or(found));
    let mut out = [0; WORDS];
    for (to, from) in out.iter_mut().zip(rest) {
        *to = u64::from_le_bytes(*from);
    }
    right.then_some((found, out))
}

fn taken_of(first: &[u64; WORDS], second: &[u64; WORDS]) -> Record {
    let [time_ns, ring, who, w0, w1, w2, w3] = *first;
    let [w4, w5, w6, w7, linked, seen, _] = *second;
    Record::Taken(TakenRecord {
        time_ns,
        ring,
        tid: who as u32,
        number: (who >> 32) as i32,
        linked: linked != 0,
        seen: seen as u32,
        sqe: Sqe::from_words([w0, w1, w2, w3, w4, w5, w6, w7]),
    })
}

fn told_of(words: &[u64; WORDS]) -> Option<Record> {
    let [time_ns, ring, request, result, ways, user_data, origin] = *words;
    Some(Record::Told(ToldRecord {
        time_ns,
        ring,
        request,
        res: result as i32,
        flags: (result >> 32) as u32,
        how: *How::ALL.get((ways & 0xff) as usize)?,
        went: *Went::ALL.get((ways >> 8) as usize)?,
        user_data,
        origin: *Origin::ALL.get(usize::try_from(origin).ok()?)?,
    }))
}

fn injected_of(words: &[u64; WORDS]) -> Option<Record> {
    let [time_ns, ring, nth, who, value, request, user_data] = *words;
    let act = Act { rule: who as u16, what: from_words(who >> 24 & 0xff, value)? };
    let (opcode, number) = ((who >> 16) as u8, (who >> 32) as i32);
    Some(Record::Injected(InjectedRecord {
        time_ns,
        ring,
        nth,
        act,
        opcode,
        number,
        request,
        user_data,
    }))
}

/// An act as its number and its value.
#[must_use]
pub const fn to_words(what: What) -> (u64, u64) {
    match what {
        What::Fail(e) => (0, e.raw().cast_unsigned() as u64),
        What::Short(Share::Bytes(n) | Share::Dice(n)) => (1, n as u64),
        What::Delay(ns) => (2, ns),
        What::Worker => (3, 0),
        What::Overflow => (4, 0),
        What::Interrupt => (5, 0),
        What::Lose => (6, 0),
        What::Twice => (7, 0),
    }
}

/// What [`to_words`] made words of; `None`: it did not.
#[must_use]
pub fn from_words(kind: u64, value: u64) -> Option<What> {
    Some(match kind {
        0 => What::Fail(Errno::from_raw(
            u16::try_from(value).ok().filter(|n| (1..4096).contains(n))?,
        )),
        1 => What::Short(Share::Bytes(u32::try_from(value).ok()?)),
        2 => What::Delay(value),
        3 => What::Worker,
        4 => What::Overflow,
        5 => What::Interrupt,
        6 => What::Lose,
        7 => What::Twice,
        _ => return None,
    })
}

fn state_of(words: &[u64; WORDS]) -> Record {
    let [time_ns, ring, requests, queues, cq, counts, _] = *words;
    let [low, high] = [|w: u64| w as u32, |w: u64| (w >> 32) as u32];
    let state = RingState {
        ring,
        in_flight: low(requests),
        polled: high(requests),
        workers: low(queues),
        backlog: high(queues),
        cq_ready: low(cq),
        cq_entries: high(cq),
        taken: low(counts),
        told: high(counts),
    };
    Record::State { time_ns, state }
}

fn name_of(slots: &[u8], position: u64, first: &[u64; WORDS]) -> Option<(Record, usize)> {
    let [number, len, ..] = *first;
    let len = usize::try_from(len).ok()?;
    let kept = len.min(NAME_MAX);
    let n = name_slots(kept);
    let text = bytes_of(slots, position, first.get(2..)?, (n, kept))?;
    Some((Record::Name { number: number as i32, text, whole: kept == len }, n))
}

/// The bytes of a record of `n` slots, of which the first has these.
fn bytes_of(
    slots: &[u8],
    position: u64,
    first: &[u64],
    (n, kept): (usize, usize),
) -> Option<alloc::vec::Vec<u8>> {
    let mut bytes = alloc::vec::Vec::with_capacity(n * WORDS * 8);
    bytes.extend(first.iter().flat_map(|w| w.to_le_bytes()));
    for i in 1..n {
        let (_, words) = words_of(slots, position, i, Some(MORE))?;
        bytes.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    }
    bytes.truncate(kept);
    Some(bytes)
}

fn data_of(slots: &[u8], position: u64, first: &[u64; WORDS]) -> Option<(Record, usize)> {
    let [request, facts, total, ..] = *first;
    let kept = ((facts >> 32) as usize).min(DATA_MAX);
    let n = data_slots(kept);
    let head = DataHead {
        request,
        kind: *DataKind::ALL.get((facts & 0xff) as usize)?,
        field: *Field::ALL.get((facts >> 8 & 0xff) as usize)?,
        total,
        hidden: facts >> 16 & 1 != 0,
    };
    Some((Record::Data(head, bytes_of(slots, position, first.get(DATA_FACTS..)?, (n, kept))?), n))
}

fn called_of(words: &[u64; WORDS]) -> Record {
    let [time_ns, who, a, b, c, d, result] = *words;
    let call = if who >> 32 == 0 {
        Call::Setup { entries: a as u32, flags: b as u32, ring: c }
    } else {
        Call::Register { fd: a as i32, opcode: b as u32, arg: c, nr: d as u32 }
    };
    Record::Called(CalledRecord { time_ns, tid: who as u32, call, result: result.cast_signed() })
}

#[cfg(all(test, not(loom)))]
mod tests;
