//! The errno order of the three calls: arguments, and the words of the structure they point to.
//!
//! ```text
//!   Row: state of a ring, arguments, structure  ->  Patches  ->  call  ->  "EINVAL" | "1" | "8/16"
//! ```
//! A call that succeeded changed its ring, so the next one gets a new one. What it does not do: say
//! what the rows are (`registers`, `setup_enter`).

use super::bench::memory;
use super::matrix::Subject;
use crate::call::{self, REGISTER, SETUP};
use crate::os::{self, Buf, name};
use crate::ring::{Ring, reg, u64s};
use ringer_uapi::Params;

/// What a patch changes; two patches of one place are never combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An argument of the call.
    Arg(usize),
    /// A bit of the flags: argument 3 of enter, word 8 of setup's structure.
    Flag(u32),
    /// Sixteen bits of the structure.
    Half(usize),
    /// A word of the structure.
    Word(usize),
    /// A double word of it.
    Long(usize),
    /// The ring by registered index instead of by descriptor.
    Index,
    /// Addresses of memory for the rings and the entries.
    Memory,
}

use Place::{Arg, Flag, Half, Index, Long, Memory, Word};

/// One place spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    place: Place,
    value: u64,
}

/// `place` holds `value`.
pub const fn put(place: Place, value: u64) -> Patch {
    Patch { place, value }
}

/// A descriptor that is no ring, where a patch says so.
pub const NO_RING: u64 = 0xfeed;
/// The structure's address, where a patch says so.
pub const STRUCTURE: u64 = 0xbeef;
/// The number under which enter's ring is known: beyond every registered index.
pub const HIGH: i32 = 600;

impl Patch {
    fn label(&self) -> String {
        let at = match self.place {
            Arg(n) => format!("arg{n}"),
            Flag(bit) => return format!("bit{bit}"),
            Half(off) => format!("half{off}"),
            Word(off) => format!("word{off}"),
            Long(off) => format!("long{off}"),
            Index => "index".to_owned(),
            Memory => return "memory".to_owned(),
        };
        match self.value {
            NO_RING => format!("{at}=file"),
            STRUCTURE => format!("{at}=structure"),
            v => format!("{at}={v:#x}"),
        }
    }
}

/// A call before it is spoiled.
#[derive(Debug, Default)]
pub struct Call {
    /// Number.
    pub nr: i64,
    /// Arguments.
    pub args: [u64; 6],
}

/// What the tries of one subject are made of.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Heading in the transcript.
    pub name: &'static str,
    /// Brings the desk into the state and makes the valid call.
    pub call: fn(&mut Desk) -> Result<Call, String>,
    /// Patches beyond the common ones.
    pub more: &'static [Patch],
    /// Common ones.
    pub common: &'static [Patch],
    /// Patches that ask for a part that may be missing.
    pub parts: &'static [(Place, &'static str)],
}

/// What calls are tried on.
#[derive(Debug)]
pub struct Desk {
    /// The ring of the next try.
    pub ring: Option<Ring>,
    /// The structure, then what it points to, from [`Desk::DATA`] on.
    pub mem: Buf,
    /// Memory for rings.
    pub big: Buf,
    /// A plain file.
    pub file: i32,
    /// An eventfd.
    pub event: i32,
    /// Another ring, with a registered buffer.
    pub other: Ring,
}

fn text<E: std::fmt::Debug>(what: &'static str) -> impl Fn(E) -> String {
    move |e| format!("the desk: {what}: {e:?}")
}

impl Desk {
    /// Offset of what structures point to; the memory behind it ends in an unmapped page.
    pub const DATA: usize = 4096;

    /// Everything in place.
    ///
    /// # Errors
    /// What could not be made.
    pub fn new() -> Result<Self, String> {
        let desk = Self {
            ring: None,
            // Query writes zeroes up to a length that is spoiled, over whatever lies there.
            mem: memory(3).map_err(text("memory"))?,
            big: Buf::new(128 << 10),
            file: os::memfd(&[5; 64]).map_err(text("file"))?,
            event: os::eventfd(0, libc::EFD_CLOEXEC).map_err(text("eventfd"))?,
            other: Ring::new(8, 0).map_err(text("ring"))?,
        };
        let buffer = u64s(&[desk.mem.addr(), 4096]);
        desk.other.register(reg::BUFFERS, buffer.addr(), 1).map_err(text("buffers"))?;
        Ok(desk)
    }

    /// An address in the part that structures point to.
    pub fn data(&self) -> u64 {
        self.mem.addr() + Self::DATA as u64
    }

    /// Fills the structure with words, the rest with zeros.
    pub fn structure(&self, words: &[u64]) {
        self.mem.put(0, &[0; 256]);
        for (i, w) in words.iter().enumerate() {
            self.mem.put64(8 * i, *w);
        }
    }

    /// The ring of this try, made with `flags` if there is none; `fresh` brings it into its state.
    ///
    /// # Errors
    /// setup's.
    pub fn ring_with(
        &mut self,
        flags: u32,
        fresh: impl FnOnce(&Self, &mut Ring) -> Result<(), String>,
    ) -> Result<i32, String> {
        if let Some(ring) = &self.ring {
            return Ok(ring.fd);
        }
        // Memory of closed rings is given back a little later.
        let mut made = Ring::new(8, flags);
        for _ in 0..50 {
            if !matches!(made, Err(os::Errno(libc::ENOMEM))) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
            made = Ring::new(8, flags);
        }
        let mut ring = made.map_err(text("ring"))?;
        fresh(self, &mut ring)?;
        let fd = ring.fd;
        self.ring = Some(ring);
        Ok(fd)
    }

    fn apply(&self, call: &mut Call, patch: &Patch) {
        let value = match patch.value {
            NO_RING => self.file as u64,
            STRUCTURE => self.mem.addr(),
            v => v,
        };
        match patch.place {
            Arg(n) => call.args[n] = value,
            Flag(bit) if call.nr == SETUP => self.mem.store(8, self.mem.load(8) | 1 << bit),
            Flag(bit) => call.args[3] |= 1 << bit,
            Half(off) => self.mem.put(off, &(value as u16).to_ne_bytes()),
            Word(off) => self.mem.store(off, value as u32),
            Long(off) => self.mem.put64(off, value),
            Index => {
                call.args[0] = value;
                call.args[1] |= 1 << 31;
            }
            Memory => {
                self.mem.put64(72, self.big.addr() + (64 << 10));
                self.mem.put64(112, self.big.addr());
            }
        }
    }

    fn result(&mut self, call: &Call) -> String {
        match call::sys(call.nr, call.args) {
            Err(e) => name(e.0),
            Ok(fd) if call.nr == SETUP => self.made(fd as i32),
            Ok(n) => {
                self.ring = None;
                n.to_string()
            }
        }
    }

    /// A ring was made: what its parameters say, and it goes again.
    fn made(&self, fd: i32) -> String {
        let bytes = self.mem.get(0, Params::SIZE);
        let p = bytes.try_into().map(|b| Params::from_bytes(&b)).unwrap_or_default();
        let index = p.flags & 1 << 15 != 0;
        if index {
            let gone = u64s(&[fd as u64, 0]);
            let by = [fd as u64, 21 | 1 << 31, gone.addr(), 1, 0, 0];
            let _ = call::sys(REGISTER, by);
        } else {
            let _ = os::close(fd);
        }
        format!("{}{}/{}", if index { "index:" } else { "" }, p.sq_entries, p.cq_entries)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for fd in [self.file, self.event] {
            let _ = os::close(fd);
        }
    }
}

/// A row's tries.
#[derive(Debug)]
pub struct Tries {
    desk: Desk,
    row: &'static Row,
    patches: Vec<Patch>,
    part: &'static str,
}

impl Tries {
    /// The tries of a row, or of a part of it.
    ///
    /// # Errors
    /// What could not be made.
    pub fn new(row: &'static Row, part: &'static str) -> Result<Self, String> {
        let patches = row.common.iter().chain(row.more).copied().collect();
        Ok(Self { desk: Desk::new()?, row, patches, part })
    }
}

impl Subject for Tries {
    fn name(&self) -> String {
        self.row.name.to_owned()
    }

    fn labels(&self) -> Vec<String> {
        self.patches.iter().map(Patch::label).collect()
    }

    fn combine(&self, a: usize, b: usize) -> bool {
        let [a, b] = [a, b].map(|i| self.patches[i].place);
        a != b && !matches!((a, b), (Arg(0 | 1), Index) | (Index, Arg(0 | 1)))
    }

    fn wanted(&self, patches: &[usize]) -> bool {
        let part = |&i: &usize| self.row.parts.iter().find(|(p, _)| *p == self.patches[i].place);
        let first = patches.iter().find_map(part).map_or("", |(_, part)| part);
        first == self.part
    }

    fn cell(&mut self, patches: &[usize], _: Option<&str>) -> Result<String, String> {
        let mut call = (self.row.call)(&mut self.desk)?;
        for &i in patches {
            self.desk.apply(&mut call, &self.patches[i]);
        }
        Ok(self.desk.result(&call))
    }
}

/// What records a row's table.
pub(super) fn recorder(row: &'static Row) -> super::Recorder {
    (row.name, Box::new(move || super::matrix::record(&mut Tries::new(row, "")?)))
}
