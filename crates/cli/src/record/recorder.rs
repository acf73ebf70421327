//! From what a program tells to its record.
//!
//! ```text
//!  Taken -> Submit frame           Data (its sum) -> Sum frame
//!  Data (what was read) -> read[name] --Told--> Complete frame with the bytes
//!                                       waits until the program is done with it
//! ```
//! The first thing that cannot be replayed ends it. What this does not do: judge what that is (`limits`).

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io::Write;

use anyhow::Context;
use ringer_engine::host::RingId;
use ringer_engine::replay::{Frame, LEN_MAX, MAGIC, RINGS_MAX};
use ringer_engine::trace::buffer::{
    CalledRecord, DataHead, DataKind, Record, TakenRecord, ToldRecord,
};
use ringer_engine::trace::{Call, Origin, Went};
use ringer_uapi::Sqe;
use ringer_uapi::flags::CqeFlags;

use crate::refusal::Refusal;

use super::follow::{Ended, Listener};
use super::limits;

/// A request that has not completed.
#[derive(Debug)]
struct Open {
    ring: u64,
    nth: u64,
    sqe: Sqe,
    read: Vec<u8>,
}

/// A ring so far.
#[derive(Debug, Default)]
struct Ring {
    /// Entries.
    taken: u64,
    /// Completions that the program is not known to be done with: whether each is in the queue, and its
    /// frame.
    came: VecDeque<(bool, Vec<u8>)>,
    /// Completions of the queue that it is done with.
    seen: u32,
}

impl Ring {
    /// Completions that stand before what is taken now, with the queue's head there.
    fn done_with(&mut self, head: u32) -> Vec<u8> {
        let mut frames = Vec::new();
        while let Some((told, _)) = self.came.front()
            && (!told || self.seen != head)
            && let Some((told, frame)) = self.came.pop_front()
        {
            self.seen = self.seen.wrapping_add(told.into());
            frames.extend(frame);
        }
        frames
    }
}

/// What is said of a record that was made.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) said: String,
    pub(super) status: u8,
}

/// See the module's doc.
pub(super) struct Recorder {
    out: Box<dyn Write>,
    /// Bytes of it so far, with those that wait for their place.
    written: usize,
    broken: Option<std::io::Error>,
    /// What cannot be replayed.
    why: Option<String>,
    open: HashMap<u64, Open>,
    /// By number.
    rings: HashMap<u64, Ring>,
    submissions: u64,
    completions: u64,
    /// Who submits.
    tid: Option<u32>,
}

impl Recorder {
    pub(super) fn new(mut out: Box<dyn Write>) -> Self {
        let broken = out.write_all(&MAGIC).err();
        Self {
            out,
            written: MAGIC.len(),
            broken,
            why: None,
            open: HashMap::new(),
            rings: HashMap::new(),
            submissions: 0,
            completions: 0,
            tid: None,
        }
    }

    /// Ends the record.
    ///
    /// # Errors
    /// 125: it is none, as something cannot be replayed or is missing. The file cannot be written.
    pub(super) fn finish(mut self, ended: &Ended, program: &OsStr) -> anyhow::Result<Done> {
        if let Some(why) = self.why.take() {
            return Err(Refusal::ours("what the program does cannot be replayed", why).into());
        }
        if !ended.had_rings {
            let why = "no process of it made a ring that ringer carries out";
            return Err(Refusal::ours("there is nothing to record", why)
                .fix(format!("ringer doctor {} says why", program.to_string_lossy()))
                .into());
        }
        if ended.missing > 0 && self.broken.is_none() {
            let why = format!("{} of what it has to hold were lost or cut off", ended.missing);
            return Err(Refusal::ours("the record is not complete", why).into());
        }
        for ring in std::mem::take(&mut self.rings).values() {
            ring.came.iter().for_each(|(_, frame)| self.put(frame));
        }
        self.write(&Frame::End { submissions: self.submissions, status: ended.status.into() });
        if let Some(e) = self.broken.take().or_else(|| self.out.flush().err()) {
            return Err(e).context("writing the record");
        }
        let (n, still) =
            (self.submissions, self.submissions - self.completions.min(self.submissions));
        let said = match still {
            0 => format!("{n} requests"),
            _ => format!("{n} requests, {still} of them without a completion"),
        };
        Ok(Done { said, status: ended.status })
    }

    fn write(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        self.count(bytes.len());
        self.put(&bytes);
    }

    /// So much more is to be written.
    fn count(&mut self, len: usize) {
        self.written = self.written.saturating_add(len);
        if self.written > LEN_MAX {
            self.refuse(format!("the record is longer than {} MiB", LEN_MAX >> 20));
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.broken = self.out.write_all(bytes).err();
        }
    }

    fn refuse(&mut self, why: String) {
        self.why.get_or_insert(why);
    }

    fn called(&mut self, called: &CalledRecord) {
        if called.result < 0 {
            return;
        }
        if let Some(why) = limits::of_call(&called.call) {
            return self.refuse(why);
        }
        if let Call::Setup { entries, flags, ring } = called.call {
            self.write(&Frame::Setup { ring: RingId(ring).ordinal(), entries, flags });
        }
    }

    fn begin(&mut self, name: u64, t: &TakenRecord) {
        let ring = RingId(t.ring).ordinal();
        let order = self.rings.entry(ring).or_default();
        let before = order.done_with(t.seen);
        order.taken += 1;
        let nth = order.taken;
        self.put(&before);
        let sqe = t.sqe;
        self.submissions += 1;
        if ring > RINGS_MAX {
            return self.refuse(format!("it has more than {RINGS_MAX} rings"));
        }
        if *self.tid.get_or_insert(t.tid) != t.tid {
            let what = limits::said(&sqe);
            return self.refuse(format!(
                "request {nth} of ring {ring} ({what}): another thread submits it"
            ));
        }
        if let Some(why) = limits::of_entry(&sqe) {
            let what = limits::said(&sqe);
            return self.refuse(format!("request {nth} of ring {ring} ({what}): {why}"));
        }
        self.open.insert(name, Open { ring, nth, sqe, read: Vec::new() });
        self.write(&Frame::Submit { ring, sqe });
    }

    fn data(&mut self, head: &DataHead, bytes: &[u8]) {
        let Some(open) = self.open.get_mut(&head.request) else { return };
        match (head.kind, <[u8; 8]>::try_from(bytes)) {
            (DataKind::Read, _) if open.read.len() > LEN_MAX => {}
            (DataKind::Read, _) => open.read.extend(bytes),
            (DataKind::Written, Ok(sum)) => {
                let (ring, nth) = (open.ring, open.nth);
                self.write(&Frame::Sum { ring, nth, sum: u64::from_le_bytes(sum) });
            }
            _ => {}
        }
    }

    fn told(&mut self, t: &ToldRecord) {
        if t.origin != Origin::Request {
            let why = "a completion of no request (a message, or a tag of a resource)";
            return self.refuse(format!("ring {}: {why}", RingId(t.ring).ordinal()));
        }
        let Some(open) = self.open.remove(&t.request) else {
            return self
                .refuse(format!("ring {}: a completion too many", RingId(t.ring).ordinal()));
        };
        let (ring, nth) = (open.ring, open.nth);
        let said = || format!("request {nth} of ring {ring} ({})", limits::said(&open.sqe));
        if t.flags & CqeFlags::MORE.bits() != 0 {
            return self.refuse(format!("{}: it completes more than once", said()));
        }
        if (open.read.len() as u64) < brought(&open.sqe, t.res) {
            return self.refuse(format!("{}: what it read cannot be copied", said()));
        }
        self.completions += 1;
        let silent = t.went == Went::Nowhere;
        let (res, flags, data) = (t.res, t.flags, &open.read[..]);
        let order = self.rings.entry(ring).or_default();
        let after = order.taken;
        let mut frame = Vec::new();
        Frame::Complete { ring, nth, res, flags, silent, after, data }.write(&mut frame);
        let len = frame.len();
        order.came.push_back((!silent, frame));
        self.count(len);
    }
}

/// How many bytes a request that came to this has brought.
fn brought(sqe: &Sqe, res: i32) -> u64 {
    let moved = u64::try_from(res).unwrap_or(0);
    match sqe.opcode {
        // With MSG_TRUNC it tells how many there were.
        4 | 22 | 27 => moved.min(sqe.len.into()),
        1 | 60 => moved,
        21 if res == 0 => 256,
        _ => 0,
    }
}

impl Listener for Recorder {
    fn take(&mut self, position: u64, record: Record) -> bool {
        match record {
            Record::Taken(taken) => self.begin(position.wrapping_add(1), &taken),
            Record::Data(head, bytes) => self.data(&head, &bytes),
            Record::Told(told) => self.told(&told),
            Record::Called(called) => self.called(&called),
            Record::Name { .. } | Record::Injected(_) | Record::State { .. } => {}
        }
        self.why.is_some() || self.broken.is_some()
    }

    fn another(&mut self) {
        self.refuse("more than one process of it has rings".into());
    }
}
