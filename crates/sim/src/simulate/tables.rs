//! What the application registers with its ring while requests run, and what it knows of it.
//!
//! ```text
//!  slot: file n, tag 7 --update--> file n, tag 8        tag 7 is owed once, after the call began and
//!          ^ request 12                                  after every request that surely used it
//! ```
//!
//! A slot below [`FREE_SLOT`] has the file of its own number or none, so that a request means the same
//! by slot and by descriptor. What it does not do: follow slots that requests fill and empty; those
//! have no tags.

use super::app::App;
use super::mailbox::FD;
use super::program::{Change, Entry, PERSONALITY, Put};
use super::region::Region;
use super::rows::{
    ARENA, BUF_LEN, FIXED_BUF, FREE_SLOT, PROVIDED, PROVIDED_MAX, SLOTS, STRIDE, notifies,
};
use crate::policy::Fault;
use crate::sched::lock;
use ringer_engine::host::Clock;
use ringer_uapi::{Errno, OP_COUNT, REGISTER_COUNT};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

const FIXED: u8 = 1;
const IOPOLL: u32 = 1;
const LINKS: u8 = 12;
/// Registered buffers, and the slot without one.
const BUFS: u32 = 4;
const EMPTY_BUF: u32 = 2;
/// The eventfd.
const BELL: i32 = 10;
const EVENTFD_DISABLED: u32 = 1;
/// `IORING_REGISTER_DST_REPLACE`.
const CLONE_REPLACES: u64 = 2;
const REGISTER_PERSONALITY: u32 = 9;
const UNREGISTER_PERSONALITY: u32 = 10;
const PBUF_RING: u32 = 22;
const UNREGISTER_PBUF_RING: u32 = 23;
const PBUF_STATUS: u32 = 26;
/// `IOU_PBUF_RING_MMAP`.
const MMAP: u64 = 1;
/// `IOU_PBUF_RING_INC`.
const INC: u64 = 2;
const RESTRICTIONS: u32 = 11;

/// A tag that was registered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tag {
    /// Completions that were there when the call that took its slot away began.
    pub(crate) removed: Option<usize>,
    /// It went with the ring.
    pub(crate) with_ring: bool,
    /// Requests that surely used it then.
    pub(crate) users: BTreeSet<u64>,
}

/// Tags of the slots (0: none; `None`: an empty slot).
type Slots = Vec<Option<u64>>;

/// The tables as the application knows them.
#[derive(Debug)]
pub(crate) struct Tables {
    files: Option<Slots>,
    bufs: Option<Slots>,
    /// Whether an eventfd is registered, for workers' completions only; how often that changed.
    pub(crate) bell: Option<bool>,
    pub(crate) muted: bool,
    pub(crate) bell_changes: u64,
    /// Everything that ever had a tag.
    pub(crate) tags: BTreeMap<u64, Tag>,
    /// Which tags a request's file and buffer had when it was issued.
    users: BTreeMap<u64, [u64; 2]>,
    /// Names that SYNC_CANCEL cancelled one request of.
    pub(crate) cancelled: BTreeSet<u64>,
    pub(crate) region: Option<Region>,
    /// How long waits poll devices.
    napi: Option<u32>,
    /// What absolute times of waits are on.
    pub(crate) clock: Clock,
    /// Calls that did something, by operation.
    pub(crate) done: BTreeMap<u32, u64>,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            files: None,
            bufs: None,
            bell: None,
            muted: false,
            bell_changes: 0,
            tags: BTreeMap::new(),
            users: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            region: None,
            napi: None,
            clock: Clock::Monotonic,
            done: BTreeMap::new(),
        }
    }
}

/// What was so when a call began: completions there, and requests that had not ended.
struct Before {
    there: usize,
    running: BTreeSet<u64>,
    ring_ends: bool,
}

/// The addresses and lengths of the buffers.
pub(crate) fn buffers() -> Vec<u64> {
    let range = |i| if i == EMPTY_BUF { [0, 0] } else { [ARENA, 128 * STRIDE] };
    (0..BUFS).flat_map(range).collect()
}

impl Tables {
    fn remove(&mut self, tag: Option<u64>, before: &Before) {
        let Some(tag) = tag.filter(|t| *t != 0) else { return };
        let uses = |(ud, tags): (&u64, &[u64; 2])| {
            (tags.contains(&tag) && before.running.contains(ud)).then_some(*ud)
        };
        let users = self.users.iter().filter_map(uses).collect();
        self.tags
            .insert(tag, Tag { removed: Some(before.there), with_ring: before.ring_ends, users });
    }

    /// A call did something.
    pub(crate) fn count(&mut self, op: u32) {
        *self.done.entry(op).or_default() += 1;
    }

    fn install(&mut self, tag: u64) {
        if tag != 0 {
            self.tags.insert(tag, Tag::default());
        }
    }

    fn slots(&mut self, files: bool) -> &mut Option<Slots> {
        if files { &mut self.files } else { &mut self.bufs }
    }

    fn swap(&mut self, files: bool, slot: u32, new: Option<u64>, before: &Before) {
        let place = self.slots(files).as_mut().and_then(|t| t.get_mut(slot as usize));
        let old = place.map(|p| std::mem::replace(p, new));
        self.remove(old.flatten(), before);
        self.install(new.unwrap_or(0));
    }

    fn set(&mut self, files: bool, slots: Slots) {
        slots.iter().for_each(|tag| self.install(tag.unwrap_or(0)));
        *self.slots(files) = Some(slots);
    }

    fn clear(&mut self, files: bool, before: &Before) {
        let all = self.slots(files).take().unwrap_or_default();
        all.into_iter().for_each(|tag| self.remove(tag, before));
    }

    /// The tables go with the ring.
    pub(crate) fn gone_with_the_ring(&mut self, there: usize) {
        let before = Before { there, running: BTreeSet::new(), ring_ends: true };
        self.clear(true, &before);
        self.clear(false, &before);
    }

    /// Whether there are registered files, and buffers.
    pub(crate) fn are_there(&self) -> (bool, bool) {
        (self.files.is_some(), self.bufs.is_some())
    }
}

impl App {
    /// Remembers what single requests use that were just issued.
    pub(crate) fn note_users(&self, entries: &[Entry]) {
        if !self.issues_at_once {
            return;
        }
        let mut side = lock(&self.side);
        let mut links = 0;
        for e in entries {
            let s = &e.sqe;
            let alone = (links | s.flags) & LINKS == 0;
            links = s.flags & LINKS;
            // One with a personality may be issued by another thread, later.
            if !alone || s.flags & !FIXED != 0 || s.personality != 0 {
                continue;
            }
            let t = &side.tables;
            let at = |slots: &Option<Slots>, i: usize| {
                slots.as_ref().and_then(|t| t.get(i)).copied().flatten().unwrap_or(0)
            };
            let file = if s.flags & FIXED != 0 { at(&t.files, s.fd as usize) } else { 0 };
            let zero_copy = notifies(s.opcode) && s.ioprio & FIXED_BUF != 0;
            let fixed = matches!(s.opcode, 4 | 5 | 60 | 61) || zero_copy;
            let buf = if fixed { at(&t.bufs, s.buf_index.into()) } else { 0 };
            side.tables.users.insert(s.user_data, [file, buf]);
        }
    }

    fn before(&self) -> Before {
        let side = lock(&self.side);
        let there = side.log.len() + side.client.completions();
        let shown: BTreeSet<u64> = side.client.peek().collect();
        let ended = &lock(&self.world).ledger.ended;
        let runs = |ud: &&u64| !ended.contains(ud) && !shown.contains(ud);
        let running = side.tables.users.keys().filter(runs).copied().collect();
        Before { there, running, ring_ends: false }
    }

    /// A register call; what it says must be expected.
    pub(super) fn call(&self, op: u32, arg: u64, nr: u32, legal: &[Errno]) -> Option<u32> {
        let r = self.register(op, arg, nr);
        let poor =
            self.program.has(Fault::NoFile) && matches!(r, Err(Errno::ENOMEM | Errno::EMFILE));
        match r {
            Ok(n) => {
                lock(&self.side).tables.count(op);
                Some(n as u32)
            }
            Err(e) if legal.contains(&e) || poor => None,
            Err(e) => panic!("register operation {op} says {e:?}"),
        }
    }

    /// Words in this thread's scratch memory.
    pub(crate) fn words(&self, at: u64, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        lock(&self.world).write(self.scratch + at, &bytes).expect("scratch memory");
        self.scratch + at
    }

    fn numbers(&self, at: u64, fds: &[i32]) -> u64 {
        let bytes: Vec<u8> = fds.iter().flat_map(|w| w.to_ne_bytes()).collect();
        lock(&self.world).write(self.scratch + at, &bytes).expect("scratch memory");
        self.scratch + at
    }

    fn is_open(&self, fd: u32) -> bool {
        lock(&self.world).open(fd as i32).is_ok()
    }

    /// See [`Change`].
    pub(crate) fn change(&self, change: &Change) {
        match change {
            Change::Files(slot, puts) => self.update_files(*slot, puts),
            Change::AllFiles(tag) => self.all_files(*tag),
            Change::NoFiles => self.take_away(3, true),
            Change::Buffers(slot, puts) => self.update_buffers(*slot, puts),
            Change::AllBuffers(tag) => self.all_buffers(*tag),
            Change::NoBuffers => self.take_away(1, false),
            Change::Bell(asynchronous) => self.bell(*asynchronous),
            Change::NoBell => {
                let on = lock(&self.side).tables.bell.is_some();
                let done = self.call(5, 0, 0, &[Errno::ENXIO]).is_some();
                assert_eq!(done, on, "an eventfd is there, or not");
                self.set_bell(None);
            }
            Change::Mute(muted) => self.mute(*muted),
            Change::Clone(from, n) => self.clone_buffers(*from, *n),
            Change::Personality => {
                if let Some(id) = self.personality() {
                    assert_ne!(id, PERSONALITY.into(), "a number that is taken");
                    assert_eq!(self.call(UNREGISTER_PERSONALITY, 0, id, &[]), Some(0), "{id}");
                    let again = self.call(UNREGISTER_PERSONALITY, 0, id, &[Errno::EINVAL]);
                    assert_eq!(again, None, "a personality that is gone");
                }
            }
            Change::Ask(op) => self.ask(*op),
            Change::Post(to_itself) => self.post(*to_itself),
            Change::Cancel(cancel) => self.cancel_now(cancel),
            Change::Region(own) => self.add_region(*own, false),
            Change::Clock(boot) => self.set_clock(*boot),
            Change::Resize(sq, cq) => self.resize(*sq, *cq),
            Change::Limits(bounded, rest) => self.limit_workers(*bounded, *rest),
            Change::Napi(us) => self.set_napi(*us),
            Change::Cpus(0) => drop(self.call(18, 0, 0, &[])),
            Change::Cpus(mask) => {
                let arg = self.words(64, &[*mask]);
                self.call(17, arg, 8, &[]);
            }
        }
    }

    /// A number for the thread's credentials, if there is a thread to be had.
    pub(crate) fn personality(&self) -> Option<u32> {
        let no_thread = self.program.has(Fault::NoThread) || self.program.has(Fault::NoFile);
        let legal: &[Errno] = if no_thread { &[Errno::EAGAIN, Errno::EMFILE] } else { &[] };
        self.call(REGISTER_PERSONALITY, 0, 0, legal)
    }

    /// Takes the first one away, whoever uses it.
    pub(crate) fn drop_personality(&self) {
        let gone = self.call(UNREGISTER_PERSONALITY, 0, PERSONALITY.into(), &[]);
        assert_eq!(gone, Some(0), "a personality is there");
    }

    /// Registers two rings of buffers, the second of which is the kernel's own and incremental, with as
    /// many buffers as there will be.
    pub(crate) fn provide(&self) {
        let len = 16 * usize::from(PROVIDED_MAX);
        let mem = lock(&self.world).alloc(len.next_multiple_of(4096)).expect("memory");
        for (group, flags, data) in [(1, 0, PROVIDED[0]), (3, MMAP | INC, PROVIDED[1])] {
            let shape = u64::from(PROVIDED_MAX) | group << 32 | flags << 48;
            let at = if flags == 0 { mem } else { 0 };
            let arg = self.words(64, &[at, shape, 0, 0, 0]);
            assert_eq!(self.call(PBUF_RING, arg, 1, &[]), Some(0), "a ring of buffers");
            let own = lock(&self.side).client.pages.clone();
            let at = lock(&own.buf_rings).get(&(group as u16)).copied().unwrap_or(mem);
            let entry = |id: u64| {
                let tail = if id == 0 { u64::from(PROVIDED_MAX) << 48 } else { 0 };
                [data + BUF_LEN * id, BUF_LEN | id << 32 | tail]
            };
            let words = (0..u64::from(PROVIDED_MAX)).flat_map(entry);
            let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
            lock(&self.world).write(at, &bytes).expect("the ring's memory");
        }
    }

    /// Takes them away.
    pub(crate) fn drop_provided(&self) {
        for group in [1u64, 3] {
            let arg = self.words(64, &[group, 0, 0, 0, 0]);
            self.call(PBUF_STATUS, arg, 1, &[]).expect("a ring of buffers");
            let arg = self.words(64, &[0, group << 32, 0, 0, 0]);
            self.call(UNREGISTER_PBUF_RING, arg, 1, &[]).expect("a ring of buffers");
        }
    }

    fn update_files(&self, slot: u32, puts: &[Put]) {
        let before = self.before();
        let table = lock(&self.side).tables.are_there().0;
        let fd = |(i, put): (usize, &Put)| match put {
            Put::Skip => -2,
            Put::Empty => -1,
            Put::Same(_) => slot as i32 + i as i32,
        };
        let fds: Vec<i32> = puts.iter().enumerate().map(fd).collect();
        let tags: Vec<u64> = puts.iter().map(|p| p.tag()).collect();
        let tagless = tags.iter().all(|t| *t == 0);
        let closed = fds.iter().any(|fd| *fd >= 0 && !self.is_open(*fd as u32));
        let (data, tags) = (self.numbers(64, &fds), self.words(128, &tags));
        let n = puts.len() as u32;
        let mut legal = Vec::new();
        legal.extend(closed.then_some(Errno::EBADF));
        legal.extend((!table).then_some(Errno::ENXIO));
        let done = if tagless {
            let arg = self.words(0, &[u64::from(slot), data]);
            self.call(6, arg, n, &legal)
        } else {
            let arg = self.words(0, &[u64::from(slot), data, tags, u64::from(n)]);
            self.call(14, arg, 32, &legal)
        };
        let done = done.unwrap_or(0);
        let whole = closed || self.program.has(Fault::NoFile) || done == n;
        assert!(!table || whole, "an update of {n} slots did {done}");
        if !table {
            return;
        }
        let mut side = lock(&self.side);
        // The one that failed has been emptied.
        for (i, put) in puts.iter().enumerate().take(done as usize + 1) {
            let new = match put {
                Put::Skip => continue,
                Put::Same(tag) if i < done as usize => Some(*tag),
                _ => None,
            };
            side.tables.swap(true, slot + i as u32, new, &before);
        }
    }

    fn all_files(&self, tag: u64) {
        let there = lock(&self.side).tables.are_there().0;
        let has = |i: &u32| *i < FREE_SLOT && self.is_open(*i);
        let slot = |i: u32| match tag {
            0 => 0,
            first => first + u64::from(i),
        };
        let slots: Slots = (0..SLOTS).map(|i| has(&i).then(|| slot(i))).collect();
        let number = |(i, s): (usize, &Option<u64>)| if s.is_some() { i as i32 } else { -1 };
        let fds: Vec<i32> = slots.iter().enumerate().map(number).collect();
        let tags: Vec<u64> = slots.iter().map(|s| s.unwrap_or(0)).collect();
        let (data, tags) = (self.numbers(64, &fds), self.words(256, &tags));
        let done = if tag == 0 {
            self.call(2, data, SLOTS, &[Errno::EBUSY])
        } else {
            let arg = self.words(0, &[u64::from(SLOTS), 0, data, tags]);
            self.call(13, arg, 32, &[Errno::EBUSY])
        };
        assert!(done.is_none() || !there, "a second table of files");
        if done.is_some() {
            lock(&self.side).tables.set(true, slots);
        }
    }

    fn take_away(&self, op: u32, files: bool) {
        let there = lock(&self.side).tables.are_there();
        let there = if files { there.0 } else { there.1 };
        let before = self.before();
        let done = self.call(op, 0, 0, &[Errno::ENXIO]).is_some();
        assert_eq!(done, there, "register operation {op}: a table is there, or not");
        lock(&self.side).tables.clear(files, &before);
    }

    fn update_buffers(&self, slot: u32, puts: &[Put]) {
        let before = self.before();
        let table = lock(&self.side).tables.are_there().1;
        let range = |put: &Put| match put {
            Put::Empty => [0, 0],
            _ => [ARENA, 128 * STRIDE],
        };
        let ranges: Vec<u64> = puts.iter().flat_map(range).collect();
        let tags: Vec<u64> = puts.iter().map(|p| p.tag()).collect();
        let (data, tags) = (self.words(64, &ranges), self.words(128, &tags));
        let n = puts.len() as u32;
        let arg = self.words(0, &[u64::from(slot), data, tags, u64::from(n)]);
        let done = self.call(16, arg, 32, &[Errno::ENXIO]);
        assert_eq!(done, table.then_some(n), "an update of {n} buffers");
        let mut side = lock(&self.side);
        for (i, put) in puts.iter().enumerate().filter(|_| table) {
            let new = (!matches!(put, Put::Empty)).then(|| put.tag());
            side.tables.swap(false, slot + i as u32, new, &before);
        }
    }

    fn all_buffers(&self, tag: u64) {
        let there = lock(&self.side).tables.are_there().1;
        let slot = |i: u32| if tag == 0 { 0 } else { tag + u64::from(i) };
        let slots: Slots = (0..BUFS).map(|i| (i != EMPTY_BUF).then(|| slot(i))).collect();
        let ranges = buffers();
        let tags: Vec<u64> = slots.iter().map(|s| s.unwrap_or(0)).collect();
        let (data, tags) = (self.words(64, &ranges), self.words(256, &tags));
        let done = if tag == 0 {
            self.call(0, data, BUFS, &[Errno::EBUSY])
        } else {
            let arg = self.words(0, &[u64::from(BUFS), 0, data, tags]);
            self.call(15, arg, 32, &[Errno::EBUSY])
        };
        assert_eq!(done.is_none(), there, "registered buffers");
        if done.is_some() {
            lock(&self.side).tables.set(false, slots);
        }
    }

    /// From the mailbox, which has the same buffers without tags.
    fn clone_buffers(&self, from: u32, n: u32) {
        if lock(&self.side).mailbox.is_none() {
            return;
        }
        let before = self.before();
        let there = lock(&self.side).tables.are_there().1;
        // A part of it replaces a part of what is there, if anything is.
        let (from, n) = if there { (from, n) } else { (0, 0) };
        let flags = if n > 0 { CLONE_REPLACES } else { 0 };
        let at = u64::from(from);
        let words = [u64::from(FD as u32) | flags << 32, at | at << 32, n.into(), 0];
        let arg = self.words(0, &words);
        let done = self.call(30, arg, 1, &[Errno::EBUSY]).is_some();
        assert_eq!(done, n > 0 || !there, "a clone where buffers are, or are not");
        let has = |i: u32| (i != EMPTY_BUF).then_some(0);
        let mut side = lock(&self.side);
        if done && n == 0 {
            side.tables.set(false, (0..BUFS).map(has).collect());
        }
        (from..from + n).for_each(|i| side.tables.swap(false, i, has(i), &before));
    }

    fn bell(&self, asynchronous: bool) {
        let on = lock(&self.side).tables.bell.is_some();
        let arg = self.numbers(64, &[BELL]);
        let mut legal = vec![Errno::EBUSY];
        legal.extend((!self.is_open(BELL as u32)).then_some(Errno::EBADF));
        let done = self.call(if asynchronous { 7 } else { 4 }, arg, 1, &legal).is_some();
        assert!(!done || !on, "a second eventfd");
        if done {
            self.set_bell(Some(asynchronous));
        }
    }

    fn set_bell(&self, bell: Option<bool>) {
        let t = &mut lock(&self.side).tables;
        t.bell = bell;
        t.bell_changes += 1;
    }

    fn mute(&self, muted: bool) {
        let mut side = lock(&self.side);
        let at = side.client.params.cq_off.flags as usize;
        let word = if muted { EVENTFD_DISABLED } else { 0 };
        side.client.memory.rings.w32(at).store(word, Relaxed);
        side.tables.muted = muted;
        side.tables.bell_changes += 1;
    }

    /// Allows everything but this opcode and the register operation that does this.
    pub(crate) fn restrict(&self, forbidden: u8) {
        let entry = |kind: u64, what: u64| [kind | what << 16, 0];
        let operations = (0..u64::from(REGISTER_COUNT)).filter(|op| *op != RESTRICTIONS.into());
        let opcodes = (0..OP_COUNT as u64).filter(|op| *op != forbidden.into());
        let words: Vec<u64> = (operations.map(|op| entry(0, op)))
            .chain(opcodes.map(|op| entry(1, op)))
            .chain([entry(2, 0x7f)])
            .flatten()
            .collect();
        let arg = self.words(64, &words);
        let n = words.len() as u32 / 2;
        assert_eq!(self.call(RESTRICTIONS, arg, n, &[]), Some(0), "restrictions");
        assert_eq!(self.call(RESTRICTIONS, arg, n, &[Errno::EBUSY]), None, "more restrictions");
    }

    /// What was set is told, but where others than this thread's were asked.
    fn limit_workers(&self, bounded: u32, rest: u32) {
        let arg = self.words(64, &[u64::from(bounded) | u64::from(rest) << 32]);
        self.call(19, arg, 2, &[]);
        let again = self.words(64, &[0]);
        self.call(19, again, 2, &[]);
        let told = lock(&self.world).read(again, 8).map(|b| ringer_uapi::bytes::u64_at(b, 0));
        let want = u64::from(bounded) | u64::from(rest) << 32;
        assert_eq!(told, Ok(want), "the limits of workers");
    }

    /// What was set before is told.
    fn set_napi(&self, us: Option<u32>) {
        const NOTHING: u64 = 255;
        let arg = self.words(64, &[u64::from(us.unwrap_or(0)), 0]);
        let polls = self.program.setup & IOPOLL != 0;
        let legal: &[Errno] = if polls && us.is_some() { &[Errno::EINVAL] } else { &[] };
        let done = self.call(if us.is_some() { 27 } else { 28 }, arg, 1, legal).is_some();
        assert!(done || polls && us.is_some(), "busy polling");
        if !done {
            return;
        }
        let mut side = lock(&self.side);
        let before = std::mem::replace(&mut side.tables.napi, us);
        let tracking = if before.is_none() && us.is_some() { NOTHING } else { 0 };
        let told = lock(&self.world)
            .read(arg, 16)
            .map(|b| (ringer_uapi::bytes::u64_at(b, 0), ringer_uapi::bytes::u64_at(b, 8)));
        assert_eq!(told, Ok((before.unwrap_or(0).into(), tracking)), "busy polling");
    }

    /// Something that changes nothing.
    fn ask(&self, op: u32) {
        let range = u64::from(FREE_SLOT) | u64::from(SLOTS - FREE_SLOT) << 32;
        let (arg, nr) = match op {
            8 => (self.words(64, &[0; 6]), 4),
            19 => (self.words(64, &[0]), 2),
            25 => (self.words(64, &[range, 0]), 0),
            _ => {
                let data = self.words(128, &[0; 8]);
                (self.words(64, &[0, data, 64 << 32, 0, 0]), 0)
            }
        };
        let table = lock(&self.side).tables.are_there().0;
        let legal: &[Errno] = if op == 25 && !table { &[Errno::EINVAL] } else { &[] };
        self.call(op, arg, nr, legal);
    }
}
