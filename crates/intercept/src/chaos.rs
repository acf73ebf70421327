//! `RINGER_CHAOS`, `RINGER_SHUFFLE` and `ringer_chaos()`: which plan a process's rings are under.
//!
//! ```text
//!  environment  file of a plan  --constructor--> every ring of the process      (ringer chaos)
//!  environment  a seed          --constructor--> the same, late completions only (ringer run --shuffle)
//!  ringer_chaos(text)           --thread-------> the rings that this thread sets up (ringer::chaos)
//!      ringer_chaos_done()  <------------------ what was done to them
//! ```
//! A plan that cannot be read ends the process: a program that was to be tried and was not must not look as if
//! it had passed. What this does not do: decide (`ringer_engine::chaos`).

use crate::stats::Path;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use ringer_engine::chaos::Chaos;
use ringer_engine::chaos::plan::Plan;
use ringer_engine::host::RingId;
use ringer_engine::policy::{Act, Fate, Policy, Submission};
use ringer_engine::trace::Injected;
use ringer_engine::trace::buffer::to_words;
use ringer_sys::lock::ForkMutex;
use ringer_sys::raw::{self, general as g};
use ringer_uapi::Errno;

/// Status of ringer's own failures.
const OURS: i32 = 125;
/// Longest text of a plan \[bytes\]: a list of injections may be long.
const TEXT_MAX: usize = 64 << 20;

/// The plan of the whole process: leaked by the constructor.
static PROCESS: AtomicPtr<Chaos> = AtomicPtr::new(core::ptr::null_mut());
/// How many threads have one of their own.
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// Their plans, and those of their rings.
static LOCAL: ForkMutex<Local> = ForkMutex::new(Local { threads: Vec::new(), rings: Vec::new() });

/// Most acts of a plan that are kept until somebody asks.
const KEPT_MAX: usize = 1 << 16;

/// Plans that are not the process's.
struct Local {
    threads: Vec<(u32, Arc<Own>)>,
    rings: Vec<(RingId, Arc<Own>)>,
}

/// A plan of one thread's rings, and what it did so far.
struct Own {
    chaos: Chaos,
    done: ForkMutex<Vec<Done>>,
}

/// An act: ring, entry or wait, rule | opcode << 16 | kind << 24, value, user data
/// ([`ringer_engine::trace::buffer::to_words`]).
pub type Done = [u64; 5];

fn process() -> Option<&'static Chaos> {
    // SAFETY: null, or leaked by `choose`, never changed afterwards.
    unsafe { PROCESS.load(Acquire).as_ref() }
}

/// Rings that are set up from here on are under this plan.
pub(crate) fn choose(plan: Plan) {
    PROCESS.store(Box::into_raw(Box::new(Chaos::new(plan))), Release);
}

/// The same with the text of a plan, or the file that it is in.
pub(crate) fn choose_text(text: &[u8]) {
    let parse = |text: &[u8]| Plan::parse(core::str::from_utf8(text).ok()?).ok();
    let plan = match text.first() {
        Some(b'/') => read(text).and_then(|text| parse(&text)),
        _ => parse(text),
    };
    match plan {
        Some(plan) => choose(plan),
        None => give_up(text),
    }
}

/// Ends the process, which was to be tried and would look as if it had passed.
fn give_up(text: &[u8]) -> ! {
    let mut line = Path::new();
    let first = text.split(|b| *b == b'\n').next().unwrap_or(text);
    let name = core::str::from_utf8(first).unwrap_or("RINGER_CHAOS");
    let _ = writeln!(
        line,
        "ringer: chaos: process {} cannot read the plan {name}: it ends, since nothing would be done to it",
        raw::getpid()
    );
    let _ = raw::write(2, line.as_bytes());
    raw::exit_group(OURS)
}

fn read(path: &[u8]) -> Option<Vec<u8>> {
    let mut name = Path::new();
    if !name.push(path) {
        return None;
    }
    let fd = raw::openat(g::AT_FDCWD, name.as_c_str()?, g::O_RDONLY | g::O_CLOEXEC, 0).ok()?;
    let text = read_all(fd);
    let _ = raw::close(fd);
    text
}

fn read_all(fd: i32) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        match raw::read(fd, &mut part) {
            Ok(0) => return Some(text),
            Ok(n) if text.len() + n <= TEXT_MAX => text.extend_from_slice(part.get(..n)?),
            Err(Errno::EINTR) => {}
            _ => return None,
        }
    }
}

/// The calling thread's rings are under this plan from here on, or under none of its own.
///
/// # Errors
/// `EINVAL`: the text is no plan.
pub fn choose_for_thread(text: Option<&[u8]>) -> Result<(), Errno> {
    let plan = match text.map(core::str::from_utf8) {
        None => None,
        Some(text) => {
            let text = text.map_err(|_| Errno::EINVAL)?;
            Some(Plan::parse(text).map_err(|_| Errno::EINVAL)?)
        }
    };
    let me = ringer_sys::thread::tid();
    let mut local = LOCAL.lock();
    local.threads.retain(|(tid, _)| *tid != me);
    if let Some(plan) = plan {
        let own = Own { chaos: Chaos::new(plan), done: ForkMutex::new(Vec::new()) };
        local.threads.push((me, Arc::new(own)));
    }
    THREADS.store(local.threads.len(), Relaxed);
    Ok(())
}

/// Takes what the calling thread's plan did, the oldest first; how many of these there were.
pub fn done_by_thread(to: &mut [Done]) -> usize {
    let me = ringer_sys::thread::tid();
    let own = LOCAL.lock().threads.iter().find(|(tid, _)| *tid == me).map(|(_, own)| own.clone());
    let Some(own) = own else { return 0 };
    let mut done = own.done.lock();
    let n = done.len().min(to.len());
    for (to, from) in to.iter_mut().zip(done.drain(..n)) {
        *to = from;
    }
    n
}

/// See the module's doc.
#[derive(Debug)]
pub(crate) struct Plans;

impl Plans {
    fn own(ring: RingId) -> Option<Arc<Own>> {
        LOCAL.lock().rings.iter().find(|(id, _)| *id == ring).map(|(_, own)| own.clone())
    }

    fn with<R>(ring: RingId, f: impl FnOnce(&Chaos) -> R) -> Option<R> {
        match Self::own(ring) {
            Some(own) => Some(f(&own.chaos)),
            None => process().map(f),
        }
    }
}

impl Policy for Plans {
    fn next_ready(&self, n: usize) -> usize {
        process().map_or(0, |chaos| chaos.next_ready(n))
    }

    fn share(&self, len: u32) -> u32 {
        len
    }

    fn adopts(&self, ring: RingId) -> bool {
        if THREADS.load(Relaxed) > 0 {
            let me = ringer_sys::thread::tid();
            let mut local = LOCAL.lock();
            let mine = local.threads.iter().find(|(tid, _)| *tid == me).map(|(_, c)| c.clone());
            if let Some(own) = mine {
                local.rings.push((ring, own));
                return true;
            }
        }
        process().is_some()
    }

    fn wants_paths(&self, ring: RingId) -> bool {
        Self::with(ring, |chaos| chaos.wants_paths(ring)).unwrap_or(false)
    }

    fn fate(&self, of: &Submission<'_>) -> Option<Box<Fate>> {
        Self::with(of.ring, |chaos| chaos.fate(of)).flatten()
    }

    fn interrupts(&self, ring: RingId, nth: u64) -> Option<Act> {
        Self::with(ring, |chaos| chaos.interrupts(ring, nth)).flatten()
    }

    fn did(&self, what: &Injected) {
        let Some(own) = Self::own(RingId(what.ring)) else { return };
        let (kind, value) = to_words(what.act.what);
        let who = u64::from(what.act.rule) | u64::from(what.opcode) << 16 | kind << 24;
        let mut done = own.done.lock();
        if done.len() < KEPT_MAX {
            done.push([RingId(what.ring).ordinal(), what.nth, who, value, what.user_data]);
        }
    }

    fn forgets(&self, ring: RingId) {
        LOCAL.lock().rings.retain(|(id, _)| *id != ring);
    }
}
