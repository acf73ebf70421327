//! A record of a program's requests, and what a replay answers with.
//!
//! ```text
//!  file    "ringrec" version | frame | frame | ... | End          frame = kind, length [8 bytes] | payload
//!
//!  ring 1:  S1  S2  C2  S3  C1  C3
//!               ^next S of the program: is it S2?  yes: C2 comes, then it is S3's turn
//!               ^or it waits: C2, if it had come by then
//! ```
//! Completions hang on submissions: a completion stands before the first entry that was taken after the
//! program was done with it. What had come, and it was not done with, must not be seen earlier, or it would
//! do other things first; but it comes if the program waits for it. So neither time nor a file decides
//! anything, and what has not come at the end of the record never does. Each ring has an order of its own.
//! What this does not do: touch memory, or say what can be recorded (`ringer record`).

use alloc::vec::Vec;
use core::ops::Range;
use ringer_uapi::bytes::u64_at;
use ringer_uapi::{Cqe, Sqe};

/// How a record begins: what it is and the layout's version.
pub const MAGIC: [u8; 8] = *b"ringrec\x01";
/// Longest record \[bytes\]: a replayed program has it in memory.
pub const LEN_MAX: usize = 1 << 30;
/// Most rings of one.
pub const RINGS_MAX: u64 = 4096;

const SETUP: u64 = 1;
const SUBMIT: u64 = 2;
const SUM: u64 = 3;
const COMPLETE: u64 = 4;
const END: u64 = 5;

/// A part of a record. `ring`: which of the process's rings, `nth`: which of its entries, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A ring was made.
    Setup {
        /// Which.
        ring: u64,
        /// As asked for.
        entries: u32,
        /// `IORING_SETUP_*`.
        flags: u32,
    },
    /// An entry was taken.
    Submit {
        /// Of which ring.
        ring: u64,
        /// As it was read.
        sqe: Sqe,
    },
    /// The [`Sum`] of what an entry points to, if it has one.
    Sum {
        /// Of which ring.
        ring: u64,
        /// Which entry.
        nth: u64,
        /// It.
        sum: u64,
    },
    /// A request completed.
    Complete {
        /// Of which ring.
        ring: u64,
        /// Which entry's request.
        nth: u64,
        /// The result.
        res: i32,
        /// The flags.
        flags: u32,
        /// It was told to nobody.
        silent: bool,
        /// How many entries of the ring had been taken when it came.
        after: u64,
        /// What it brought to the program's memory.
        data: &'a [u8],
    },
    /// The record is whole.
    End {
        /// Entries of all rings.
        submissions: u64,
        /// The exit status, or 128 and the signal.
        status: u32,
    },
}

impl Frame<'_> {
    /// Appends it.
    pub fn write(&self, to: &mut Vec<u8>) {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let (kind, words, rest): (u64, &[u64], &[u8]) = match *self {
            Self::Setup { ring, entries, flags } => (SETUP, &[ring, pair(entries, flags)], &[]),
            Self::Submit { ring, sqe } => {
                let [a, b, c, d, e, f, g, h] = sqe.to_words();
                (SUBMIT, &[ring, a, b, c, d, e, f, g, h], &[])
            }
            Self::Sum { ring, nth, sum } => (SUM, &[ring, nth, sum], &[]),
            Self::Complete { ring, nth, res, flags, silent, after, data } => {
                let result = pair(res.cast_unsigned(), flags);
                (COMPLETE, &[ring, nth, result, after << 1 | u64::from(silent)], data)
            }
            Self::End { submissions, status } => (END, &[submissions, status.into()], &[]),
        };
        let len = (words.len() * 8 + rest.len()) as u64;
        to.extend((kind | len << 8).to_le_bytes());
        to.extend(words.iter().flat_map(|w| w.to_le_bytes()));
        to.extend(rest);
    }

    /// The frame of these bytes.
    fn read(kind: u64, payload: &[u8]) -> Option<Frame<'_>> {
        let word = |i: usize| Some(u64_at(payload.get(i * 8..i * 8 + 8)?, 0));
        let ring = word(0)?;
        Some(match kind {
            SETUP => {
                let sizes = word(1)?;
                Frame::Setup { ring, entries: sizes as u32, flags: (sizes >> 32) as u32 }
            }
            SUBMIT => {
                let mut words = [0; 8];
                for (i, to) in words.iter_mut().enumerate() {
                    *to = word(1 + i)?;
                }
                Frame::Submit { ring, sqe: Sqe::from_words(words) }
            }
            SUM => Frame::Sum { ring, nth: word(1)?, sum: word(2)? },
            COMPLETE => {
                let result = word(2)?;
                Frame::Complete {
                    ring,
                    nth: word(1)?,
                    res: result as i32,
                    flags: (result >> 32) as u32,
                    silent: word(3)? & 1 != 0,
                    after: word(3)? >> 1,
                    data: payload.get(32..)?,
                }
            }
            END => Frame::End { submissions: ring, status: u32::try_from(word(1)?).ok()? },
            _ => return None,
        })
    }
}

/// A completion that a record answers with, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The opcode of its request.
    pub opcode: u8,
    /// It.
    pub cqe: Cqe,
}

/// An entry that a record is to answer.
#[derive(Clone, Copy, Debug)]
pub struct Replayed<'a> {
    /// The ring's name ([`crate::host::RingId`]).
    pub ring: u64,
    /// Which of the ring's entries it is, from 1.
    pub nth: u64,
    /// The entry, as it was read once.
    pub sqe: &'a Sqe,
}

/// What tells bytes of a program's memory from others: no secret, and good enough for chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    /// Adds a number.
    pub fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 29;
    }

    /// Adds bytes, and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    /// It.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// They begin otherwise.
    Other,
    /// They end before the record does.
    Short,
    /// Something in them makes no sense.
    Broken,
}

/// One thing of a ring's order.
#[derive(Clone, Debug)]
enum Event {
    Submit { sqe: Sqe, sum: Option<u64> },
    Complete { nth: u64, after: u64, came: Came, data: Range<usize>, done: bool },
}

/// What a completion says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// The result.
    pub res: i32,
    /// The flags.
    pub flags: u32,
    /// Nobody is told.
    pub silent: bool,
}

/// A ring of a record.
#[derive(Debug, Default)]
struct Order {
    setup: Option<(u32, u32)>,
    events: Vec<Event>,
    /// Places in `events` of the submissions.
    submits: Vec<usize>,
    /// What comes next.
    at: usize,
    /// Entries that the program has submitted.
    submitted: u64,
}

/// A completion that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<'a> {
    /// Which entry's request, from 1.
    pub nth: u64,
    /// What it says.
    pub came: Came,
    /// What goes to the program's memory.
    pub data: &'a [u8],
}

/// How a submission is not the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differs {
    /// Nothing more is recorded of its ring.
    Beyond,
    /// This field of the entry is another.
    Field(&'static str),
    /// It points to other bytes.
    Bytes,
}

/// A record, and how far its replay has come.
#[derive(Debug)]
pub struct Script {
    bytes: Vec<u8>,
    /// By number.
    rings: Vec<Order>,
    submissions: u64,
    status: u32,
}

impl Script {
    /// Reads a record.
    ///
    /// # Errors
    /// See [`Bad`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Bad> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Bad::Other);
        }
        let mut script = Self { bytes: Vec::new(), rings: Vec::new(), submissions: 0, status: 0 };
        let mut at = MAGIC.len();
        loop {
            let head = u64_at(bytes.get(at..at + 8).ok_or(Bad::Short)?, 0);
            let len = usize::try_from(head >> 8).map_err(|_| Bad::Broken)?;
            let end = (at + 8).checked_add(len).ok_or(Bad::Broken)?;
            let payload = bytes.get(at + 8..end).ok_or(Bad::Short)?;
            match Frame::read(head & 0xff, payload).ok_or(Bad::Broken)? {
                Frame::End { submissions, status } => {
                    if submissions != script.submissions || end != bytes.len() {
                        return Err(Bad::Broken);
                    }
                    script.status = status;
                    script.bytes = bytes;
                    return Ok(script);
                }
                frame => script.add(frame, end).ok_or(Bad::Broken)?,
            }
            at = end;
        }
    }

    fn add(&mut self, frame: Frame<'_>, end: usize) -> Option<()> {
        match frame {
            Frame::Setup { ring, entries, flags } => {
                self.order(ring)?.setup = Some((entries, flags));
            }
            Frame::Submit { ring, sqe } => {
                let order = self.order(ring)?;
                order.submits.push(order.events.len());
                order.events.push(Event::Submit { sqe, sum: None });
                self.submissions += 1;
            }
            Frame::Sum { ring, nth, sum: found } => {
                let order = self.order(ring)?;
                let at = *order.submits.get(usize::try_from(nth.checked_sub(1)?).ok()?)?;
                if let Event::Submit { sum, .. } = order.events.get_mut(at)? {
                    *sum = Some(found);
                }
            }
            Frame::Complete { ring, nth, res, flags, silent, after, data } => {
                let order = self.order(ring)?;
                if nth == 0 || nth > after {
                    return None;
                }
                let data = end - data.len()..end;
                let came = Came { res, flags, silent };
                order.events.push(Event::Complete { nth, after, came, data, done: false });
            }
            Frame::End { .. } => {}
        }
        Some(())
    }

    fn order(&mut self, ring: u64) -> Option<&mut Order> {
        let at = usize::try_from(ring).ok().filter(|_| (1..=RINGS_MAX).contains(&ring))?;
        if self.rings.len() <= at {
            self.rings.resize_with(at + 1, Order::default);
        }
        self.rings.get_mut(at)
    }

    fn known(&self, ring: u64) -> Option<&Order> {
        self.rings.get(usize::try_from(ring).ok()?)
    }

    /// What is written is not compared from here on: other bytes are no difference.
    pub fn forget_written(&mut self) {
        for event in self.rings.iter_mut().flat_map(|order| &mut order.events) {
            if let Event::Submit { sqe, sum } = event
                && matches!(sqe.opcode, 2 | 5 | 9 | 23 | 26 | 61)
            {
                *sum = None;
            }
        }
    }

    /// Entries that are recorded.
    pub fn submissions(&self) -> u64 {
        self.submissions
    }

    /// The program's exit status, or 128 and the signal that ended it.
    pub fn status(&self) -> u32 {
        self.status
    }

    /// Entries and flags that a ring was made with.
    pub fn setup(&self, ring: u64) -> Option<(u32, u32)> {
        self.known(ring)?.setup
    }

    /// The recorded entry, and the [`Sum`] of what it pointed to.
    pub fn submission(&self, ring: u64, nth: u64) -> Option<(&Sqe, Option<u64>)> {
        let order = self.known(ring)?;
        let at = *order.submits.get(usize::try_from(nth.checked_sub(1)?).ok()?)?;
        match order.events.get(at)? {
            Event::Submit { sqe, sum } => Some((sqe, *sum)),
            Event::Complete { .. } => None,
        }
    }

    /// Whether the `nth` entry of a ring is the recorded one: `sum` is asked for only if one is recorded.
    ///
    /// # Errors
    /// How it is not.
    pub fn compare(
        &self,
        (ring, nth): (u64, u64),
        sqe: &Sqe,
        sum: impl FnOnce() -> Option<u64>,
    ) -> Result<(), Differs> {
        let (recorded, expected) = self.submission(ring, nth).ok_or(Differs::Beyond)?;
        if let Some(field) = field_that_differs(recorded, sqe) {
            return Err(Differs::Field(field));
        }
        if expected.is_some() && expected != sum() {
            return Err(Differs::Bytes);
        }
        Ok(())
    }

    /// The program has submitted what comes next of a ring.
    pub fn submitted(&mut self, ring: u64) {
        let Some(order) = self.order(ring) else { return };
        // Of what stands before it, all has come.
        while let Some(event) = order.events.get(order.at) {
            order.at += 1;
            if matches!(event, Event::Submit { .. }) {
                order.submitted += 1;
                return;
            }
        }
    }

    /// A completion that is due on a ring, as the program has submitted what stands before it: it is taken.
    pub fn due(&mut self, ring: u64) -> Option<Due<'_>> {
        self.next(ring, false)
    }

    /// A completion that comes if the program waits on a ring: it is taken.
    pub fn due_to_who_waits(&mut self, ring: u64) -> Option<Due<'_>> {
        self.next(ring, true)
    }

    fn next(&mut self, ring: u64, waits: bool) -> Option<Due<'_>> {
        let order = self.rings.get_mut(usize::try_from(ring).ok()?)?;
        let submitted = order.submitted;
        for event in order.events.get_mut(order.at..)? {
            match event {
                Event::Submit { .. } if waits => {}
                Event::Submit { .. } => return None,
                Event::Complete { done: true, .. } => {}
                Event::Complete { after, .. } if *after > submitted => return None,
                Event::Complete { nth, came, data, done, .. } => {
                    *done = true;
                    let data = self.bytes.get(data.clone()).unwrap_or(&[]);
                    return Some(Due { nth: *nth, came: *came, data });
                }
            }
        }
        None
    }
}

/// The first field in which two entries differ, but for addresses and what the program calls its requests.
pub fn field_that_differs(a: &Sqe, b: &Sqe) -> Option<&'static str> {
    let fields = [
        ("opcode", u64::from(a.opcode), u64::from(b.opcode)),
        ("flags", a.flags.into(), b.flags.into()),
        ("fd", u64::from(a.fd.cast_unsigned()), u64::from(b.fd.cast_unsigned())),
        ("off", offset(a), offset(b)),
        ("len", a.len.into(), b.len.into()),
        ("op_flags", a.op_flags.into(), b.op_flags.into()),
        ("ioprio", a.ioprio.into(), b.ioprio.into()),
        ("buf_index", a.buf_index.into(), b.buf_index.into()),
        ("personality", a.personality.into(), b.personality.into()),
        ("file_index", a.file_index.into(), b.file_index.into()),
        ("addr", length(a), length(b)),
    ];
    fields.iter().find(|(_, a, b)| a != b).map(|(name, ..)| *name)
}

/// `off`, where it is no address and no user_data: POLL_REMOVE, TIMEOUT_REMOVE, STATX, SEND, OPENAT2.
fn offset(sqe: &Sqe) -> u64 {
    if matches!(sqe.opcode, 7 | 12 | 21 | 26 | 28) { 0 } else { sqe.off }
}

/// `addr`, where it is a length: FALLOCATE.
fn length(sqe: &Sqe) -> u64 {
    if sqe.opcode == 17 { sqe.addr } else { 0 }
}

#[cfg(all(test, not(loom)))]
mod tests;
