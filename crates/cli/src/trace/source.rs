//! One process's buffer, read while the process writes it.
//!
//! ```text
//!   FOLDER/PID[.N]   header | slots            (layout: ringer_engine::trace::buffer)
//!   drain:  tail? -> copy slots -> how many are whole? -> copy those again -> records -> done byte
//! ```
//! The file belongs to the traced program, which may write anything to it, or cut it: it is read with
//! pread(2) and never mapped, so that this is an error and not a SIGBUS. The second copy is what is
//! looked at: it began after the stamps of all its slots were seen to be right. What this does not
//! do: know what a record means.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringer_engine::trace::buffer::{self, HEADER, Record, SLOT};

/// Slots that are copied at once.
const WINDOW: u64 = 4096;
/// How long a writer may take over one record before the record is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module's doc.
#[derive(Debug)]
pub(crate) struct Source {
    /// The process that writes, as it says.
    pub(crate) pid: u64,
    /// When the buffer was made \[ns, monotonic\].
    pub(crate) born_ns: u64,
    /// Records that were begun and not finished.
    pub(crate) torn: u64,
    path: PathBuf,
    file: File,
    slots: u64,
    next: u64,
    waits_since: Option<Instant>,
    skipped: bool,
}

impl Source {
    /// Opens a buffer; `None` while it is not there wholly, or if it is none of ours.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        // Neither a link nor a FIFO in its place.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).write(true).custom_flags(flags).open(path).ok()?;
        let meta = file.metadata().ok()?;
        let is_ours = meta.is_file() && meta.uid() == rustix::process::geteuid().as_raw();
        is_ours.then(|| Self::of(file, path)).flatten()
    }

    /// One that is written to a file of ours, and has begun; `path` names it, if anything does.
    pub(crate) fn of(file: File, path: &Path) -> Option<Self> {
        let meta = file.metadata().ok()?;
        let word = |at: usize| word(&file, at).ok();
        if word(0)? != buffer::MAGIC {
            return None;
        }
        let slots = word(buffer::AT_SLOTS)?;
        if !buffer::is_size(slots) || meta.len() != HEADER as u64 + slots * SLOT as u64 {
            return None;
        }
        let (pid, born_ns) = (word(buffer::AT_PID)?, word(buffer::AT_BORN)?);
        let next = word(buffer::AT_FIRST)?;
        if next % slots != 0 {
            return None;
        }
        Some(Self {
            pid,
            born_ns,
            torn: 0,
            path: path.to_owned(),
            file,
            slots,
            next,
            waits_since: None,
            skipped: false,
        })
    }

    /// Hands on what is there now, at most a buffer full. `last`: nobody writes any more, and what is
    /// not whole never will be. Returns whether there was something.
    ///
    /// # Errors
    /// The file is not as long as it was.
    pub(crate) fn drain(
        &mut self,
        last: bool,
        take: &mut impl FnMut(u64, Record),
    ) -> io::Result<bool> {
        let tail = word(&self.file, buffer::AT_TAIL)?;
        // A tail from before our place, or from beyond the buffer, is nothing that a writer of ours wrote.
        let mut left = tail.wrapping_sub(self.next);
        left = if left > self.slots { 0 } else { left };
        let mut found = false;
        while left > 0 {
            let slots = self.copy(left.min(WINDOW))?;
            let whole = whole(&slots, self.next);
            if whole == 0 {
                if !last && !self.has_waited() {
                    break;
                }
                self.skip();
                left -= 1;
                continue;
            }
            found = true;
            self.waits_since = None;
            self.skipped = false;
            self.hand_on(whole, take)?;
            left -= whole;
        }
        Ok(found)
    }

    fn hand_on(&mut self, n: u64, take: &mut impl FnMut(u64, Record)) -> io::Result<()> {
        let slots = self.copy(n)?;
        let mut at = 0;
        while let Some(rest) = slots.get(at * SLOT..).filter(|rest| !rest.is_empty()) {
            let position = self.next.wrapping_add(at as u64);
            let Some((record, len)) = buffer::read(rest, position) else {
                // It changed between the two looks.
                at += 1;
                continue;
            };
            take(position, record);
            at += len;
        }
        self.next = self.next.wrapping_add(n);
        self.give_back()
    }

    fn skip(&mut self) {
        self.torn += u64::from(!self.skipped);
        self.skipped = true;
        self.next = self.next.wrapping_add(1);
        // What cannot be given back stays lost to the writer.
        let _ = self.give_back();
    }

    /// Whether a record has been begun for so long that nobody finishes it: its writer jumped away.
    fn has_waited(&mut self) -> bool {
        self.skipped || self.waits_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE
    }

    fn give_back(&self) -> io::Result<()> {
        let done = buffer::done_byte(self.next, self.slots);
        self.file.write_all_at(&[done], buffer::AT_DONE as u64)
    }

    /// Copies `n` slots from our place on, over the buffer's end.
    fn copy(&self, n: u64) -> io::Result<Vec<u8>> {
        let from = self.next & (self.slots - 1);
        let until_end = n.min(self.slots - from);
        let mut bytes = vec![0; n as usize * SLOT];
        let (first, second) = bytes.split_at_mut(until_end as usize * SLOT);
        self.file.read_exact_at(first, HEADER as u64 + from * SLOT as u64)?;
        self.file.read_exact_at(second, HEADER as u64)?;
        Ok(bytes)
    }

    /// Submissions, completions and other records that found no room.
    pub(crate) fn lost(&self) -> (u64, u64, u64) {
        let count = |at| word(&self.file, at).unwrap_or(0);
        (count(buffer::AT_LOST_TAKEN), count(buffer::AT_LOST_TOLD), count(buffer::AT_LOST_MORE))
    }

    /// Whether the process is there, or cannot be looked for.
    pub(crate) fn is_alive(&self) -> bool {
        Path::new("/proc").join(self.pid.to_string()).exists()
    }

    /// What the process is called: as it says, or as long as it is there.
    pub(super) fn program(&self) -> String {
        let mut said = [0; 16];
        if self.file.read_exact_at(&mut said, buffer::AT_PROGRAM as u64).is_ok() && said[0] != 0 {
            let end = said.iter().position(|&b| b == 0).unwrap_or(said.len());
            return String::from_utf8_lossy(said.get(..end).unwrap_or(&[])).into_owned();
        }
        let name = fs::read(Path::new("/proc").join(self.pid.to_string()).join("comm"));
        String::from_utf8_lossy(&name.unwrap_or_default()).trim_end().to_owned()
    }

    /// Removes the file, as nobody comes to it any more: its name, which is free again.
    pub(crate) fn remove(self) -> PathBuf {
        let _ = fs::remove_file(&self.path);
        self.path
    }
}

/// How many of these slots belong to records that are whole, up to the first that is not.
fn whole(slots: &[u8], position: u64) -> u64 {
    let mut n = 0;
    while let Some((_, len)) =
        slots.get(n * SLOT..).and_then(|rest| buffer::read(rest, position.wrapping_add(n as u64)))
    {
        n += len;
    }
    n as u64
}

fn word(file: &File, at: usize) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at as u64)?;
    Ok(u64::from_le_bytes(bytes))
}
