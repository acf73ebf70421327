//! A record that answers the requests of this process.
//!
//! ```text
//!  entry --is it the recorded one?--> no: the process is ended
//!                                    yes: UNDER_WAY += where it reads to
//!        what is due now --> its bytes to the program's memory, a descriptor opened or closed --> CQEs
//! ```
//! `ringer replay` sees the entry in the trace, which has it before it is compared here, and says what is
//! wrong with it: a program that got other answers than it asked for would only go astray. A descriptor
//! that a recorded request opened is one of /dev/null at the same number: nothing outside is touched, and
//! ring requests on it are answered all the same. What this does not do: read the record's file
//! (`intercept::replay`).

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

use ringer_engine::host::{Iovec, RingId};
use ringer_engine::replay::{Answer, Came, Due, Replayed, Script};
use ringer_uapi::{Cqe, Errno};
use rust_alloc::collections::BTreeMap;
use rust_alloc::vec::Vec;

use crate::lock::ForkMutex;
use crate::raw::{self, general as g};
use crate::trace::whole;
use crate::usermem::copy_out;
use crate::{io, thread};

/// `IORING_OP_OPENAT`, `CLOSE`, `OPENAT2`.
const OPENAT: u8 = 18;
const CLOSE: u8 = 19;
const OPENAT2: u8 = 28;

/// A request that has not completed.
struct UnderWay {
    user_data: u64,
    opcode: u8,
    fd: i32,
    brings: Vec<Iovec>,
}

struct Playing {
    script: Script,
    /// By ring and entry.
    under_way: BTreeMap<(u64, u64), UnderWay>,
}

static ON: AtomicBool = AtomicBool::new(false);
static PLAYING: ForkMutex<Option<Playing>> = ForkMutex::new(None);

/// Has the requests of rings that are set up from now on answered by a record.
pub fn play(script: Script) {
    *PLAYING.lock() = Some(Playing { script, under_way: BTreeMap::new() });
    ON.store(true, Release);
}

pub(crate) fn is_on() -> bool {
    ON.load(Acquire)
}

/// What an entry leads to.
pub(crate) fn answer(of: &Replayed<'_>) -> Vec<Answer> {
    let mut playing = PLAYING.lock();
    match playing.as_mut().and_then(|playing| playing.answer(of)) {
        Some(answers) => answers,
        None => end(),
    }
}

/// What comes to a wait that would sleep.
pub(crate) fn answer_to_who_waits(ring: RingId) -> Option<Answer> {
    let mut playing = PLAYING.lock();
    let playing = playing.as_mut()?;
    loop {
        let due = playing.script.due_to_who_waits(ring.ordinal())?;
        match carry_out(&mut playing.under_way, ring.ordinal(), &due) {
            Some(Some(answer)) => return Some(answer),
            // Told to nobody.
            Some(None) => {}
            None => end(),
        }
    }
}

/// Ends the process, as nothing that it does from here on is what was recorded.
fn end() -> ! {
    // Sent to the calling thread, it is taken before the call returns.
    let _ = raw::tgkill(raw::getpid(), thread::tid(), g::SIGKILL);
    raw::exit_group(1)
}

impl Playing {
    /// `None`: it is not what was recorded.
    fn answer(&mut self, of: &Replayed<'_>) -> Option<Vec<Answer>> {
        let ring = RingId(of.ring).ordinal();
        let sqe = of.sqe;
        self.script.compare((ring, of.nth), sqe, || whole::sum_of(sqe)).ok()?;
        let brings = whole::brought(sqe).unwrap_or_default();
        let (user_data, opcode, fd) = (sqe.user_data, sqe.opcode, sqe.fd);
        self.under_way.insert((ring, of.nth), UnderWay { user_data, opcode, fd, brings });
        self.script.submitted(ring);
        let mut answers = Vec::new();
        while let Some(due) = self.script.due(ring) {
            answers.extend(carry_out(&mut self.under_way, ring, &due)?);
        }
        Some(answers)
    }
}

/// Ends a request: its completion, if it is told. `None`: it cannot be as it was.
fn carry_out(
    under_way: &mut BTreeMap<(u64, u64), UnderWay>,
    ring: u64,
    due: &Due<'_>,
) -> Option<Option<Answer>> {
    let ended = under_way.remove(&(ring, due.nth))?;
    let Came { res, flags, silent } = due.came;
    ended.carry_out(res, due.data)?;
    let res = match u16::try_from(res.unsigned_abs()) {
        Ok(errno) if res < 0 => Err(Errno::from_raw(errno)),
        _ => Ok(res),
    };
    let cqe = Cqe::new(ended.user_data, res, flags);
    Some((!silent).then_some(Answer { opcode: ended.opcode, cqe }))
}

impl UnderWay {
    /// What the program finds beside the completion. `None`: it cannot be as it was.
    fn carry_out(&self, res: i32, mut data: &[u8]) -> Option<()> {
        match self.opcode {
            OPENAT | OPENAT2 if res >= 0 => return put_at(res),
            CLOSE if res == 0 => return io::close(self.fd).ok(),
            _ => {}
        }
        for piece in &self.brings {
            let here = usize::try_from(piece.len).unwrap_or(usize::MAX).min(data.len());
            let (now, rest) = data.split_at(here);
            copy_out(piece.base, now).ok()?;
            data = rest;
        }
        Some(())
    }
}

/// Opens something at that number.
fn put_at(number: i32) -> Option<()> {
    let fd = raw::openat(g::AT_FDCWD, c"/dev/null", g::O_RDWR | g::O_CLOEXEC, 0).ok()?;
    if fd == number {
        return Some(());
    }
    let at = raw::fcntl(fd, g::F_DUPFD_CLOEXEC, usize::try_from(number).ok()?);
    let _ = raw::close(fd);
    (at == Ok(number)).then_some(())
}
