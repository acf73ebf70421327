//! Processes that are killed in flight: nothing of them stays.

use super::super::{Outcome, expect, must};
use super::account::History;
use crate::os::{self, Buf, Errno};
use crate::ring::{Ring, u64s};
use crate::sqe::{self, ASYNC, FIXED, op};
use ringer_uapi::Sqe;
use ringer_uapi::flags::Setup;

/// Parts of the work that are told of.
const STEPS: u64 = 10;

/// A ring in the middle of everything: requests that wait, that work, and sets.
struct Busy {
    ring: Ring,
    page: Buf,
    hour: Buf,
}

impl Busy {
    /// `file` is locked and registered, `pipe` read and registered with both ends.
    fn new(file: i32, pipe: (i32, i32), flags: Setup) -> Result<Self, String> {
        let ring = must("setup", Ring::new(16, flags.bits()))?;
        let mut busy = Self { ring, page: Buf::new(4096), hour: u64s(&[3600, 0]) };
        must("lock", os::posix_lock(file, libc::F_WRLCK, 0, 8))?;
        must("register", busy.ring.register_files(&[file, pipe.0, pipe.1]))?;
        let buf = busy.page.addr();
        let entries = [
            sqe::read(pipe.0, buf, 8, 0, 1),
            sqe::flagged(sqe::read(pipe.0, buf, 8, 0, 2), ASYNC),
            sqe::flagged(sqe::read(1, buf, 8, 0, 3), FIXED),
            Sqe { op_flags: 1, len: 1, ..sqe::of_fd(op::POLL_ADD, pipe.0, 4) },
            sqe::rw(op::TIMEOUT, -1, busy.hour.addr(), 1, 0, 5),
            sqe::flagged(sqe::write(0, buf, 64, 0, 6), FIXED | ASYNC),
            sqe::flagged(Sqe { fd: file, ..sqe::of(op::FSYNC, 7) }, ASYNC),
        ];
        for sqe in entries {
            busy.ring.push(sqe);
        }
        must("submit", busy.ring.submit(0))?;
        Ok(busy)
    }

    /// Reads and writes on workers until somebody ends this.
    fn work(mut self) -> ! {
        loop {
            for ud in 10..14 {
                let write = sqe::write(0, self.page.addr(), 512, 512 * ud, ud);
                self.ring.push(sqe::flagged(write, FIXED | ASYNC));
            }
            if self.ring.submit(1).is_err() {
                os::exit_now(1);
            }
            while self.ring.reap().is_some() {}
        }
    }
}

/// Says that it is busy, and is, until it is killed.
pub fn victim(kind: &str) -> Outcome {
    let flags = match kind {
        "sqpoll" => Setup::SQPOLL,
        "defer" => Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN,
        _ => Setup::empty(),
    };
    let file = must("file", os::temp_file(&[7; 8192]))?;
    let busy = Busy::new(file, must("pipe", os::pipe())?, flags)?;
    println!("busy");
    busy.work()
}

/// The `i`th child is killed in flight.
fn one(path: &str, i: u64) -> Outcome {
    let (r, w) = must("pipe", os::pipe())?;
    let (ready, started) = must("pipe", os::pipe())?;
    let child = must("fork", os::fork())?;
    if child == 0 {
        let file = os::open(path, libc::O_RDWR).unwrap_or_else(|_| os::exit_now(2));
        match Busy::new(file, (r, w), Setup::empty()) {
            Ok(busy) => {
                let _ = os::write(started, b"x");
                busy.work()
            }
            Err(why) => {
                eprintln!("soak-forks: {why}");
                os::exit_now(3)
            }
        }
    }
    must("close", os::close(started))?;
    // Every third at any point on its way, the others when everything is in flight.
    if !i.is_multiple_of(3) {
        expect("the child is busy", os::read(ready, &mut [0]), Ok(1))?;
    } else {
        let _ = os::poll(-1, 0, (i % 7) as i32);
    }
    must("kill", os::kill(child, libc::SIGKILL))?;
    expect("killed, it ended by that", os::wait(child), Ok(128 + libc::SIGKILL))?;
    must("close", os::close(w))?;
    expect("nobody keeps its pipe", os::read(r, &mut [0]), Ok(0))?;
    let file = must("open", os::open(path, libc::O_RDWR))?;
    let unlocked = os::posix_lock(file, libc::F_WRLCK, 0, 8);
    expect("nor its lock", unlocked, Ok(()))?;
    let gone = os::kill(child, 0);
    expect("nor its number", gone, Err(Errno(libc::ESRCH)))?;
    [r, ready, file].into_iter().try_for_each(|fd| must("close", os::close(fd)).map(drop))
}

/// So many children (1,000) of a process with a ring of its own are killed in flight.
pub fn forks(count: &str) -> Outcome {
    os::deadline(0);
    let count: u64 = count.parse().unwrap_or(1000);
    let path = format!("{}/soak-forks.{}", std::env::temp_dir().display(), os::pid());
    std::fs::write(&path, [7; 8192]).map_err(|e| format!("{path}: {e}"))?;
    let done = rounds(&path, count);
    let _ = std::fs::remove_file(&path);
    done
}

fn rounds(path: &str, count: u64) -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    let file = must("open", os::open(path, libc::O_RDONLY))?;
    let page = Buf::new(4096);
    for i in 0..8 {
        one(path, i)?;
    }
    let mut history = History::default();
    history.take("soak-forks, warm")?;
    let (mut done, quarter) = (0, count.div_ceil(4));
    for until in [quarter, count] {
        for i in done..until {
            one(path, i)?;
            let read = sqe::flagged(sqe::read(file, page.addr(), 64, 0, i), ASYNC);
            expect("the parent's own ring works", ring.result(read), Ok(64))?;
            if i % count.div_ceil(STEPS) == 1 {
                println!("soak-forks, {i} of {count} killed");
            }
        }
        done = until;
        history.take(&format!("soak-forks, {done} of {count} killed"))?;
    }
    history.judge()
}
