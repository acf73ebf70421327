//! What a program that a record answers does, compared with the record.
//!
//! ```text
//!  Taken -> is it the recorded entry?    Data (its sum) -> are these the recorded bytes?
//! ```
//! The library compares the same in the program and ends it there; here it is said. What this does not do:
//! answer (`ringer_sys::replay`).

use std::collections::HashMap;
use std::ffi::OsStr;

use ringer_engine::host::RingId;
use ringer_engine::replay::{Differs, Script};
use ringer_engine::trace::Call;
use ringer_engine::trace::buffer::{CalledRecord, DataKind, Record, TakenRecord};
use ringer_uapi::Sqe;

use crate::refusal::Refusal;

use super::follow::{Ended, Listener};
use super::limits;

/// 128 and SIGKILL.
const KILLED: u8 = 137;

/// See the module's doc.
pub(super) struct Replayer {
    script: Script,
    /// Entries so far, by ring.
    taken: HashMap<u64, u64>,
    /// The last entry: its name, ring, number, and itself.
    last: Option<(u64, u64, u64, Sqe)>,
    same: u64,
    /// How it first differed.
    differs: Option<String>,
    another: bool,
}

impl Replayer {
    pub(super) fn new(script: Script) -> Self {
        Self { script, taken: HashMap::new(), last: None, same: 0, differs: None, another: false }
    }

    /// Says how it went: 0 as recorded, 1 not.
    ///
    /// # Errors
    /// 125: it could not be told.
    pub(super) fn finish(self, ended: &Ended, program: &OsStr) -> anyhow::Result<u8> {
        if self.another {
            let why = "more than one process of it has rings";
            return Err(Refusal::ours("cannot replay the program", why).into());
        }
        if ended.missing > 0 {
            let why = format!("{} of what it told were lost or cut off", ended.missing);
            return Err(Refusal::ours("cannot compare the program with its record", why).into());
        }
        let (same, all) = (self.same, self.script.submissions());
        if let Some(how) = self.differs {
            eprintln!("ringer: replay: {how}");
            eprintln!("ringer: replay: {same} of {all} requests as recorded, then it was ended");
            return Ok(1);
        }
        if !ended.had_rings && all > 0 {
            let fix = format!("ringer doctor {} says why", program.to_string_lossy());
            eprintln!("ringer: replay: it made no ring that ringer carries out: {fix}");
        }
        eprintln!("ringer: replay: {same} of {all} requests as recorded");
        if ended.status == KILLED && u32::from(KILLED) != self.script.status() {
            println!(
                "it was killed: if by ringer, a descriptor's number is in use, or memory is gone"
            );
            return Ok(1);
        }
        if u32::from(ended.status) != self.script.status() {
            let was = self.script.status();
            eprintln!("ringer: replay: it ended with status {}, recorded is {was}", ended.status);
            return Ok(1);
        }
        Ok(u8::from(same != all))
    }

    fn called(&mut self, called: &CalledRecord) {
        let Call::Setup { entries, flags, ring } = called.call else { return };
        if called.result < 0 {
            return;
        }
        let ring = RingId(ring).ordinal();
        let how = match self.script.setup(ring) {
            None => "no such ring is recorded".to_owned(),
            Some((e, f)) if (e, f) != (entries, flags) => format!(
                "it has {entries} entries and flags {flags:#x}, recorded are {e} and {f:#x}"
            ),
            Some(_) => return,
        };
        self.differs.get_or_insert(format!("ring {ring} is another: {how}"));
    }

    fn begin(&mut self, name: u64, t: &TakenRecord) {
        let ring = RingId(t.ring).ordinal();
        let nth = self.taken.entry(ring).or_default();
        *nth += 1;
        let nth = *nth;
        self.last = Some((name, ring, nth, t.sqe));
        // What it points to comes later.
        let known = self.script.submission(ring, nth).and_then(|(_, sum)| sum);
        match self.script.compare((ring, nth), &t.sqe, || known) {
            Ok(()) => self.same += 1,
            Err(how) => self.differ((ring, nth), &t.sqe, how),
        }
    }

    fn sum(&mut self, name: u64, sum: u64) {
        let Some((last, ring, nth, sqe)) = self.last else { return };
        if last != name {
            return;
        }
        if let Err(how) = self.script.compare((ring, nth), &sqe, || Some(sum)) {
            self.same -= 1;
            self.differ((ring, nth), &sqe, how);
        }
    }

    fn differ(&mut self, (ring, nth): (u64, u64), came: &Sqe, how: Differs) {
        let what = match how {
            Differs::Beyond => "nothing more was recorded of its ring".to_owned(),
            Differs::Field(name) => format!("{name} is another"),
            Differs::Bytes => match came.opcode {
                18 | 21 | 28 => "its path is another".to_owned(),
                1 | 60 => "its buffers have other lengths".to_owned(),
                _ => "what it writes is something else".to_owned(),
            },
        };
        let mut text = format!("request {nth} of ring {ring} differs: {what}");
        if let Some((recorded, _)) = self.script.submission(ring, nth) {
            text += &format!("\n  recorded: {}", limits::said(recorded));
        }
        text += &format!("\n  it came:  {}", limits::said(came));
        self.differs.get_or_insert(text);
    }
}

impl Listener for Replayer {
    fn take(&mut self, position: u64, record: Record) -> bool {
        match record {
            Record::Taken(taken) => self.begin(position.wrapping_add(1), &taken),
            Record::Called(called) => self.called(&called),
            Record::Data(head, bytes) if head.kind == DataKind::Written => {
                if let Ok(sum) = <[u8; 8]>::try_from(&bytes[..]) {
                    self.sum(head.request, u64::from_le_bytes(sum));
                }
            }
            _ => {}
        }
        self.differs.is_some()
    }

    fn another(&mut self) {
        self.another = true;
    }
}
