//! The processes that are watched: looked for, asked, read, and let go when they end.
//!
//! ```text
//!   found -> Asked (memory sent) -> Watched (records are read) -> ended: gone from the list
//!               '-> Refused: another watches, or it is traced -> asked again in a moment
//! ```
//! The memory that a process writes to is ours, and sealed: nobody can cut it. Nothing here waits for a
//! process: one that does not answer is said not to, and its socket is left alone for a while. What this does not
//! do: show anything.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use ringer_engine::trace::buffer::{HEADER, SLOT};
use ringer_engine::trace::channel::{ANSWER, Answer, GREETING};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};

use crate::refusal::Refusal;
use crate::trace::source::Source;

use super::find::{self, Folder, Name};
use super::meter::{Meter, Reading};

/// Slots of a process's memory: 4 MiB, 20,000 requests between two reads.
const SLOTS: u64 = 1 << 16;
/// How long a process that was named may take to show up, and between two looks for it.
const SHOWS_UP: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(2);
/// Most processes that are listed.
const PROCESSES_MAX: usize = 256;
/// How long a process may think about its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// When one that refused is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// Looks that are remembered.
const HISTORY: usize = 512;

/// How things stand with a process.
#[derive(Debug)]
enum Link {
    /// It has the memory, and has not answered.
    Asked { socket: OwnedFd, memory: File, since: Instant },
    /// It writes.
    Watched { socket: OwnedFd, source: Box<Source>, meter: Box<Meter> },
    /// It does not.
    Refused { why: String, since: Instant },
}

/// A process.
#[derive(Debug)]
struct Process {
    folder: usize,
    name: Name,
    pid: u32,
    program: String,
    link: Link,
    lost: (u64, u64, u64),
    history: VecDeque<f64>,
}

/// A process, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// Its number.
    pub(super) pid: u32,
    /// Its name.
    pub(super) program: String,
    /// Why nothing is known, if so.
    pub(super) refused: Option<String>,
    /// What it did.
    pub(super) reading: Reading,
    /// Records that found no room since the last look: rates of opcodes lack them.
    pub(super) lost: u64,
    /// Requests a second, at each look so far, the last one last.
    pub(super) history: Vec<f64>,
}

impl Row {
    /// The sum over its rings.
    pub(super) fn sum(&self, of: impl Fn(&super::meter::RingRow) -> f64) -> f64 {
        // The sum of nothing is -0.
        self.reading.rings.iter().map(of).sum::<f64>() + 0.0
    }

    /// Requests a second.
    pub(super) fn requests(&self) -> f64 {
        self.sum(|r| r.requests)
    }

    /// Requests that have not ended.
    pub(super) fn in_flight(&self) -> f64 {
        self.sum(|r| f64::from(r.state.in_flight))
    }
}

/// See the module's doc.
#[derive(Debug)]
pub(super) struct Watch {
    only: Option<u32>,
    slots: u64,
    folders: Vec<Folder>,
    processes: Vec<Process>,
    /// What is to be told.
    pub(super) warnings: Vec<String>,
    /// What was.
    told: Vec<String>,
}

impl Watch {
    /// Watches one process, or all of the user's.
    pub(super) fn new(only: Option<u32>) -> Self {
        Self {
            only,
            slots: SLOTS,
            folders: Vec::new(),
            processes: Vec::new(),
            warnings: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Looks for processes that came.
    pub(super) fn look(&mut self) {
        let (folders, refused) = find::folders(self.only);
        for text in refused {
            if !self.told.contains(&text) {
                self.told.push(text.clone());
                self.warnings.push(text);
            }
        }
        if self.folders.len() != folders.len() {
            // Places in the list are no longer what they were.
            self.processes.clear();
            self.folders = folders;
        }
        for (i, folder) in self.folders.iter().enumerate() {
            for name in folder.names() {
                let known = self.processes.iter().any(|p| p.folder == i && p.name == name);
                let wanted = self.only.is_none_or(|pid| pid == name.pid);
                if known || !wanted || self.processes.len() >= PROCESSES_MAX {
                    continue;
                }
                self.processes.extend(ask_new(i, folder, name, self.slots));
            }
        }
        self.ask_again();
    }

    fn ask_again(&mut self) {
        let (folders, slots) = (&self.folders, self.slots);
        self.processes.retain_mut(|p| {
            let Link::Refused { since, .. } = &p.link else { return true };
            if since.elapsed() < AGAIN {
                return true;
            }
            let Some(new) =
                folders.get(p.folder).and_then(|f| ask_new(p.folder, f, p.name.clone(), slots))
            else {
                return false;
            };
            (p.pid, p.program, p.link) = (new.pid, new.program, new.link);
            true
        });
    }

    /// Reads what is there; whether there was something.
    pub(super) fn read(&mut self) -> bool {
        let mut found = false;
        self.processes.retain_mut(|p| match p.go_on() {
            Some(more) => {
                found |= more;
                true
            }
            None => false,
        });
        found
    }

    /// Waits a moment for the process that was named.
    ///
    /// # Errors
    /// 125: it does not show up.
    pub(super) fn find(&mut self, pid: u32) -> Result<(), Refusal> {
        let start = Instant::now();
        loop {
            self.look();
            self.read();
            if !self.is_empty() && !self.is_asking() {
                return Ok(());
            }
            if start.elapsed() > SHOWS_UP && self.is_empty() {
                let why = self.warnings.first().cloned().unwrap_or_else(|| {
                    "it has no socket: it has no ring older than a moment, runs without ringer, was \
                     started with --no-attach, or is another user's"
                        .into()
                });
                return Err(Refusal::ours(format!("cannot watch process {pid}"), why)
                    .fix("ringer run --native never -- PROG, and ringer doctor for the folder"));
            }
            std::thread::sleep(SOON);
        }
    }

    /// Whether a process has not answered yet.
    fn is_asking(&self) -> bool {
        self.processes.iter().any(|p| matches!(p.link, Link::Asked { .. }))
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// What each did since the last time.
    pub(super) fn rows(&mut self) -> Vec<Row> {
        self.processes.iter_mut().map(Process::row).collect()
    }
}

/// A process that is watched by somebody who reads the records himself, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Attached(OwnedFd);

impl Attached {
    /// Watches it through memory of so many slots.
    ///
    /// # Errors
    /// 125: it does not show up, or refuses.
    pub(crate) fn to(pid: u32, slots: u64) -> Result<(Self, Source), Refusal> {
        let mut watch = Watch { slots, ..Watch::new(Some(pid)) };
        watch.find(pid)?;
        let mut why = "it ended".to_owned();
        for process in watch.processes {
            match process.link {
                Link::Watched { socket, source, .. } => return Ok((Self(socket), *source)),
                Link::Refused { why: this, .. } => why = this,
                Link::Asked { .. } => {}
            }
        }
        Err(Refusal::ours(format!("cannot watch process {pid}"), why)
            .fix("ringer top, which shows who does"))
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        !matches!(hear(&self.0), Heard::Nothing)
    }
}

fn ask_new(folder: usize, place: &Folder, name: Name, slots: u64) -> Option<Process> {
    let refused = |why: String| Link::Refused { why, since: Instant::now() };
    let (pid, link) = match place.connect(&name) {
        Ok(None) => return None,
        Ok(Some((socket, pid))) => (
            pid,
            ask(socket, slots).unwrap_or_else(|e| refused(format!("it could not be asked: {e}"))),
        ),
        Err(Errno::PERM) => (name.pid, refused("another user listens at its socket".into())),
        Err(Errno::AGAIN) => (name.pid, refused("it does not answer".into())),
        Err(e) => (name.pid, refused(format!("it could not be asked: {e}"))),
    };
    let program = program(pid);
    Some(Process { folder, name, pid, program, link, lost: (0, 0, 0), history: VecDeque::new() })
}

/// The process's name, without what a terminal would obey.
fn program(pid: u32) -> String {
    let comm = std::fs::read(Path::new("/proc").join(pid.to_string()).join("comm"));
    let text = String::from_utf8_lossy(&comm.unwrap_or_default()).trim_end().to_owned();
    let shown: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if shown.is_empty() { "?".into() } else { shown }
}

/// Sends a process memory to write to.
fn ask(socket: OwnedFd, slots: u64) -> io::Result<Link> {
    let memory = memory(slots)?;
    let fds = [memory.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match sendmsg(&socket, &[IoSlice::new(&GREETING)], &mut ancillary, flags) {
        // It hung up at once, perhaps with an answer.
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(Link::Asked { socket, memory, since: Instant::now() })
}

fn memory(slots: u64) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("ringer-top", flags)?);
    let len = HEADER as u64 + slots * SLOT as u64;
    // All of it is there before the process writes, so that no page is missing then, or counts for it.
    fallocate(&file, FallocateFlags::empty(), 0, len)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

impl Process {
    /// Goes on with it; whether something was there, `None` once it is gone.
    fn go_on(&mut self) -> Option<bool> {
        match &mut self.link {
            Link::Refused { .. } => Some(false),
            Link::Asked { socket, since, .. } => {
                match hear(socket) {
                    Heard::Nothing if since.elapsed() < PATIENCE => return Some(false),
                    Heard::Nothing => self.refuse("it does not answer".into()),
                    Heard::End => {
                        let why = "it hung up: it has a filter of its own (seccomp), or ended";
                        self.refuse(why.into());
                    }
                    Heard::Answer(answer) => self.answered(answer),
                }
                Some(true)
            }
            Link::Watched { socket, source, meter } => {
                // Before the last look, so that nothing is written after it.
                let over = !matches!(hear(socket), Heard::Nothing);
                let mut take = |position, record| meter.take(position, record);
                // The memory is ours: it is as long as it was.
                let found = source.drain(over, &mut take).unwrap_or(false);
                (!over).then_some(found)
            }
        }
    }

    fn refuse(&mut self, why: String) {
        self.link = Link::Refused { why, since: Instant::now() };
    }

    fn answered(&mut self, answer: Option<Answer>) {
        let why = match answer {
            Some(Answer::Watched) => return self.begin(),
            Some(Answer::Busy { pid: 0 }) => "another process watches it".into(),
            Some(Answer::Busy { pid }) => format!("process {pid} watches it"),
            Some(Answer::Traced) => "ringer trace or chaos has its records".into(),
            Some(Answer::NoBuffer) => "it cannot map the memory for the records".into(),
            None => "its answer makes no sense".into(),
        };
        self.refuse(why);
    }

    fn begin(&mut self) {
        let refused = |why: &str| Link::Refused { why: why.into(), since: Instant::now() };
        let before = std::mem::replace(&mut self.link, refused("it wrote no buffer"));
        let Link::Asked { socket, memory, .. } = before else { return };
        let Some(source) = Source::of(memory, Path::new("")) else { return };
        let meter = Box::new(Meter::new());
        self.lost = (0, 0, 0);
        self.link = Link::Watched { socket, source: Box::new(source), meter };
    }

    fn row(&mut self) -> Row {
        let mut row = Row { pid: self.pid, program: self.program.clone(), ..Row::default() };
        match &mut self.link {
            Link::Asked { .. } => row.refused = Some("asked".into()),
            Link::Refused { why, .. } => row.refused = Some(why.clone()),
            Link::Watched { source, meter, .. } => {
                row.reading = meter.read();
                let lost = source.lost();
                let new = |now: u64, before: u64| now.saturating_sub(before);
                row.lost = new(lost.0, self.lost.0).saturating_add(new(lost.1, self.lost.1));
                self.lost = lost;
                if self.history.len() == HISTORY {
                    self.history.pop_front();
                }
                self.history.push_back(row.requests());
            }
        }
        row.history = self.history.iter().copied().collect();
        row
    }
}

/// What a process says.
enum Heard {
    Nothing,
    /// `None`: not one that makes sense.
    Answer(Option<Answer>),
    End,
}

fn hear(socket: &OwnedFd) -> Heard {
    // One byte more than an answer has shows that there is more.
    let mut bytes = [0; ANSWER + 1];
    let mut receive = || recv(socket, &mut bytes, RecvFlags::DONTWAIT);
    // A reset is told once, and what was said before it is there still.
    let heard = receive().or_else(|e| if e == Errno::CONNRESET { receive() } else { Err(e) });
    match heard {
        Err(Errno::AGAIN | Errno::INTR) => Heard::Nothing,
        Err(_) | Ok((0, _)) => Heard::End,
        Ok((n, _)) => Heard::Answer(bytes.get(..n).and_then(Answer::of_bytes)),
    }
}
