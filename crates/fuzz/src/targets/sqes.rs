//! Entries of any bytes on the real engine: no panic, no hang, exactly the completions owed.
//!
//! With DRAIN among the flags nothing may wait for ever, because a cancel that stands behind a
//! drain waits with it, as in the kernel: then timeouts are short and polls are left out.

use crate::ledger::Ledger;
use crate::pages::{EXT_ARG, GETEVENTS, RawRing, WAKEUP, setup as s};
use crate::scene::{MS, Scene};
use arbitrary::{Result, Unstructured};
use ringer_sim::sqe;
use ringer_uapi::{Params, Sqe};

const MODES: [u32; 11] = [
    0,
    s::SUBMIT_ALL,
    s::SINGLE_ISSUER | s::DEFER_TASKRUN,
    s::SINGLE_ISSUER | s::DEFER_TASKRUN | s::SUBMIT_ALL | s::NO_SQARRAY,
    s::SQPOLL,
    s::SQPOLL | s::SUBMIT_ALL | s::NO_SQARRAY,
    s::COOP_TASKRUN | s::CQSIZE,
    s::SQE128 | s::CQE32,
    s::IOPOLL,
    s::CQSIZE | s::DEFER_TASKRUN | s::SINGLE_ISSUER | s::CQE32,
    s::CQSIZE | s::SQPOLL,
];
const DRAIN: u8 = 2;
/// `IORING_UNREGISTER_FILES`.
const UNREGISTER_FILES: u32 = 3;
const ENTRIES_MAX: usize = 48;

pub(crate) fn sqes(data: &[u8]) {
    // Whatever is missing reads as zero: there is no error to tell.
    let _ = play(&mut Unstructured::new(data));
}

fn play(u: &mut Unstructured<'_>) -> Result<()> {
    let scene = Scene::new(u)?;
    let mode = u.arbitrary::<u8>()?;
    let flags = MODES[mode as usize % MODES.len()];
    let params = Params { flags, cq_entries: 8, sq_thread_idle: 1, ..Params::default() };
    let ring = RawRing::make(&scene, 8, &params).expect("a ring of known flags");
    scene.register(ring.fd);
    let mut player = Player { scene, ring, ledger: Ledger::default(), drains: mode >= 128 };
    while !u.is_empty() && player.ledger.len() < ENTRIES_MAX {
        player.act(u)?;
    }
    player.settle();
    Ok(())
}

struct Player {
    scene: Scene,
    ring: RawRing,
    ledger: Ledger,
    drains: bool,
}

impl Player {
    fn act(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.arbitrary::<u8>()? % 16 {
            0..=8 => {
                let sqe = self.tamed(self.scene.sqe(u)?);
                self.push(sqe);
            }
            9 | 10 => self.submit(),
            11 | 12 => self.reap(),
            13 => self.scene.stir(u)?,
            14 => self.scene.sim.sleep(MS / 4),
            _ => self.wait(u.int_in_range(1..=9)?),
        }
        Ok(())
    }

    /// What must not wait for ever, does not.
    fn tamed(&self, sqe: Sqe) -> Sqe {
        const POLL_ADD: u8 = 6;
        const TIMEOUTS: [u8; 2] = [11, 15];
        const TIMEOUT_REMOVE: u8 = 12;
        const MSG_RING: u8 = 40;
        let short = self.scene.short;
        match sqe.opcode {
            // What it posts nobody owes.
            MSG_RING if sqe.fd == self.ring.fd => Sqe { opcode: 0, ..sqe },
            _ if !self.drains => Sqe { flags: sqe.flags & !DRAIN, ..sqe },
            POLL_ADD => Sqe { opcode: 0, ..sqe },
            op if TIMEOUTS.contains(&op) => Sqe { addr: short, ..sqe },
            TIMEOUT_REMOVE => Sqe { off: short, ..sqe },
            _ => sqe,
        }
    }

    fn push(&mut self, sqe: Sqe) {
        if !self.ring.has_room() {
            self.submit();
        }
        let sqe = self.ledger.owe(sqe);
        self.ring.push(&sqe);
    }

    /// Until everything is taken.
    fn submit(&mut self) {
        for _ in 0..64 {
            let queued = self.ring.queued();
            if queued == 0 {
                return;
            }
            self.ring.enter(queued, 0, WAKEUP, (0, 0)).expect("submit");
            if self.ring.params.flags & s::SQPOLL != 0 {
                self.scene.sim.sleep(MS / 4);
            }
        }
        panic!("{} entries are never taken", self.ring.queued());
    }

    fn wait(&self, min: u32) {
        let arg = self.scene.sim.words(&[0, 0, self.scene.short]);
        // ETIME or EINTR: there was nothing to wait for.
        let _ = self.ring.enter(0, min, GETEVENTS | EXT_ARG, (arg, 24));
    }

    fn reap(&mut self) {
        while let Some(cqe) = self.ring.take() {
            self.ledger.note(&cqe);
        }
    }

    fn settle(mut self) {
        self.submit();
        if self.drains {
            // A set holds an end of each pipe, too. An entry may have left no set.
            let _ = self.scene.sim.register(self.ring.fd, UNREGISTER_FILES, 0, 0);
        }
        for round in 0.. {
            self.scene.calm();
            if !self.drains {
                self.push(sqe::cancel(0, 1 | 4, 0));
                self.submit();
            }
            self.ring.enter(0, 0, GETEVENTS, (0, 0)).expect("poke");
            self.reap();
            let left = self.ring.in_flight();
            if left == 0 && round > 2 {
                break;
            }
            assert!(round < 200, "{left} requests never end: {:#?}", self.ledger.open());
        }
        self.ledger.settle();
        self.scene.sim.close_ring(self.ring.fd);
        self.scene.sim.sleep(20 * MS);
        assert_eq!(self.scene.sim.held(), 0, "files were left over");
    }
}
