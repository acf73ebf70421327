//! Ring memory that changes under the engine: heads, tails, flags, index array, entries.
//!
//! ```text
//!  scribbler  stores words of the input's choice, for ever      task of the simulation, or a thread
//!  program    pushes, submits, waits (1 ms)                     counts what enter says was taken
//!  at the end scribbling stops; every entry taken posted one completion, of a known user_data
//! ```
//!
//! Every user_data that was ever stored has a tag, entries never ask for silence or for more than
//! one completion, so the engine's own tail must equal the entries taken. What it does not do:
//! scribble on the CQE bodies' user_data, by which completions of nobody are recognised.

use crate::ledger::TAG;
use crate::pages::{EXT_ARG, GETEVENTS, RawRing, setup as s};
use crate::scene::{MS, Scene};
use arbitrary::{Result, Unstructured};
use ringer_engine::host::Host;
use ringer_engine::opcode::OPDEFS;
use ringer_sim::sqe;
use ringer_uapi::{Params, Sqe};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

const MODES: [u32; 6] = [
    0,
    s::SUBMIT_ALL,
    s::SINGLE_ISSUER | s::DEFER_TASKRUN,
    s::NO_SQARRAY,
    s::SQE128 | s::CQE32,
    s::SUBMIT_ALL | s::CQSIZE,
];
const SCRIBBLES_MAX: usize = 64;
const TURNS_MAX: usize = 24;

/// One store.
#[derive(Clone, Copy)]
enum Scribble {
    Rings(usize, u32),
    Sqe(usize, u64),
}

pub(crate) fn ring_memory(data: &[u8]) {
    // Whatever is missing reads as zero: there is no error to tell.
    let _ = play(&mut Unstructured::new(data), false);
}

pub(crate) fn ring_race(data: &[u8]) {
    // As above.
    let _ = play(&mut Unstructured::new(data), true);
}

fn play(u: &mut Unstructured<'_>, race: bool) -> Result<()> {
    let scene = Scene::preemptive(u64::from(u.arbitrary::<u8>()?));
    let flags = *u.choose(&MODES)?;
    let params = Params { flags, cq_entries: 8, ..Params::default() };
    let ring = RawRing::make(&scene, 8, &params).expect("a ring of known flags");
    scene.register(ring.fd);
    let n = u.int_in_range(1..=SCRIBBLES_MAX)?;
    let scribbles = (0..n).map(|_| scribble(&scene, &ring, u)).collect::<Result<Vec<_>>>()?;
    let mut program = Program { scene, ring, taken: 0, pushed: 0 };
    let stop = Arc::new(AtomicBool::new(false));
    if race {
        let (theirs, ring) = (stop.clone(), program.ring.clone());
        std::thread::scope(|scope| {
            scope.spawn(move || scribble_on(&ring, &scribbles, &theirs, || {}));
            let stopped = Stop(&stop);
            let r = program.turns(u);
            drop(stopped);
            r
        })?;
    } else {
        let (theirs, ring) = (stop.clone(), program.ring.clone());
        let task = program.scene.sim.start(move |engine| {
            scribble_on(&ring, &scribbles, &theirs, || engine.host().yield_cpu());
        });
        program.turns(u)?;
        stop.store(true, Relaxed);
        task.join();
    }
    program.settle();
    Ok(())
}

/// Ends the scribbling also when something panicked.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A store that keeps the oracle's ground: user_data tagged, one completion an entry.
fn scribble(scene: &Scene, ring: &RawRing, u: &mut Unstructured<'_>) -> Result<Scribble> {
    let (rings, sqes) = (&ring.memory.rings, &ring.memory.sqes);
    let off = &ring.params.cq_off;
    let pick: u8 = u.arbitrary()?;
    if pick < 128 {
        // The twelve words of the header most of all.
        let word = if pick < 96 { pick as usize % 12 } else { u.choose_index(rings.len() / 4)? };
        let value = if pick & 1 == 0 { u32::from(u.arbitrary::<u8>()?) } else { u.arbitrary()? };
        let cqe = (4 * word).checked_sub(off.cqes as usize);
        let size = ring.memory.geometry.cqe_size as usize;
        let is_user_data =
            cqe.is_some_and(|at| at / size < ring.params.cq_entries as usize && at % size < 8);
        return Ok(Scribble::Rings(4 * if is_user_data { 0 } else { word }, value));
    }
    let slot = u.choose_index(ring.params.sq_entries as usize)?;
    let word = u.choose_index(8)?;
    let words = single(ring, scene.sqe(u)?).to_words();
    let base = slot * ring.memory.geometry.sqe_size as usize;
    debug_assert!(base + 64 <= sqes.len());
    Ok(Scribble::Sqe(base + 8 * word, if word == 4 { TAG | u64::from(pick) } else { words[word] }))
}

/// No silence, no drain (a cancel would wait behind it), and one completion: no notification, no
/// provided buffer with which something could go on, no message to the ring itself.
fn single(ring: &RawRing, sqe: Sqe) -> Sqe {
    const DRAIN_SELECT_OR_SKIP: u8 = 2 | 32 | 64;
    const MULTISHOT: [u8; 3] = [6, 11, 13];
    const MSG_RING: u8 = 40;
    let notifies = OPDEFS.get(usize::from(sqe.opcode)).is_some_and(|def| def.notifies);
    let posts = sqe.opcode == MSG_RING && sqe.fd == ring.fd;
    let many = notifies || posts || MULTISHOT.contains(&sqe.opcode);
    let opcode = if many { 0 } else { sqe.opcode };
    Sqe { opcode, flags: sqe.flags & !DRAIN_SELECT_OR_SKIP, ..sqe }
}

fn scribble_on(ring: &RawRing, scribbles: &[Scribble], stop: &AtomicBool, between: impl Fn()) {
    for scribble in scribbles.iter().cycle() {
        if stop.load(Relaxed) {
            return;
        }
        match *scribble {
            Scribble::Rings(at, value) => ring.memory.rings.w32(at).store(value, Relaxed),
            Scribble::Sqe(at, value) => ring.memory.sqes.w64(at).store(value, Relaxed),
        }
        between();
    }
}

struct Program {
    scene: Scene,
    ring: RawRing,
    /// Entries that enter said were taken.
    taken: u32,
    pushed: u64,
}

impl Program {
    fn turns(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        for _ in 0..TURNS_MAX {
            if u.is_empty() {
                break;
            }
            match u.arbitrary::<u8>()? % 8 {
                0..=3 => {
                    let sqe = single(&self.ring, self.scene.sqe(u)?);
                    self.push(sqe);
                }
                4 | 5 => {
                    let (n, min) = (u.arbitrary::<u8>()?, u.int_in_range(0..=4)?);
                    self.enter(u32::from(n), min);
                }
                6 => self.scene.stir(u)?,
                _ => self.ring.tail = self.ring.load(self.ring.params.sq_off.head),
            }
        }
        self.enter(8, 1);
        Ok(())
    }

    fn push(&mut self, sqe: Sqe) {
        self.pushed += 1;
        self.ring.push(&Sqe { user_data: TAG | self.pushed << 8, ..sqe });
    }

    fn enter(&mut self, n: u32, min: u32) {
        let arg = self.scene.sim.words(&[0, 0, self.scene.short]);
        // Nothing taken and ETIME, EINTR: a count that was scribbled on is waited for in vain.
        let taken = self.ring.enter(n, min, GETEVENTS | EXT_ARG, (arg, 24)).unwrap_or(0);
        let most = n.min(self.ring.memory.geometry.sq_entries);
        assert!(taken <= most, "{taken} of {n} entries were taken");
        self.taken += taken;
        self.check_owners();
    }

    /// Whatever stands where completions are, somebody asked for it.
    fn check_owners(&self) {
        let (g, off) = (&self.ring.memory.geometry, &self.ring.params.cq_off);
        for slot in 0..g.cq_entries {
            let at = (off.cqes + slot * g.cqe_size) as usize;
            let user_data = self.ring.memory.rings.w64(at).load(Relaxed);
            let known = user_data == 0 || user_data >> 48 == TAG >> 48;
            assert!(known, "a completion of nobody: user_data {user_data:#x}");
        }
    }

    /// The engine's tail, which it publishes with the next completion that it posts, wherever the
    /// head was left: one of these leaves room.
    fn find_head(&mut self) {
        let head = self.ring.params.cq_off.head;
        for h in (0..=self.taken + 8).step_by(4) {
            self.ring.store(head, h);
            let _ = self.ring.enter(0, 0, GETEVENTS, (0, 0));
        }
    }

    fn settle(mut self) {
        let (sq, cq) = (self.ring.params.sq_off, self.ring.params.cq_off);
        self.find_head();
        let mut calm = 0;
        for round in 0.. {
            self.scene.calm();
            // No entries taken: the head is published.
            let _ = self.ring.enter(1, 0, GETEVENTS, (0, 0)).map(|n| self.taken += n);
            self.ring.tail = self.ring.load(sq.head);
            self.push(sqe::cancel(0, 1 | 4, 0));
            self.enter(1, 0);
            self.find_head();
            self.ring.store(cq.head, self.ring.load(cq.tail));
            let ended = self.ring.in_flight() == 0;
            calm = if ended && self.ring.load(cq.tail) == self.taken { calm + 1 } else { 0 };
            if calm > 2 {
                break;
            }
            assert!(
                round < 100,
                "{} requests in flight, {} entries taken, {} completions",
                self.ring.in_flight(),
                self.taken,
                self.ring.load(cq.tail),
            );
        }
        self.check_owners();
        self.scene.sim.close_ring(self.ring.fd);
        self.scene.sim.sleep(20 * MS);
        assert_eq!(self.scene.sim.held(), 0, "files were left over");
    }
}
