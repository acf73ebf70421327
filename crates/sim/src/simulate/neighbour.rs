//! Another ring of the process, which nobody enters: only the reactor looks after it.
//!
//! ```text
//!  t0: reads of two pipes, timeouts of 3, 30 and 90 ms      5 ms: the one is fed      40 ms: the other
//!      (or no reads: timeouts alone have to be looked after, too)
//! ```
//!
//! Whatever the program's own ring does to the reactor, these complete in their time. It may be the
//! ring whose submission thread the program's shares; then it is entered once, to wake that.

use super::program::Program;
use crate::policy::Fault;
use crate::{Client, Sim, sqe};
use ringer_uapi::Params;
use std::collections::BTreeSet;
use std::sync::Arc;

const MS: u64 = 1_000_000;
const SQPOLL: u32 = 1 << 1;
const ATTACH_WQ: u32 = 1 << 5;
const SQ_WAKEUP: u32 = 2;
/// Longest time until the reactor has looked.
const LATE_NS: u64 = 25 * MS;
/// user_data of a request, and when it can end \[ms\]: reads, then timeouts.
const READS: [(u64, u64); 2] = [(1, 5), (2, 40)];
const TIMEOUTS: [(u64, u64); 3] = [(3, 3), (4, 30), (5, 90)];

/// Both ends of each.
pub(crate) type Pipes = Vec<(i32, i32)>;

/// See the module's doc.
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    client: Arc<Client>,
    born: u64,
    reads: usize,
}

/// Makes the pipes; they come before the program's ring.
pub(crate) fn pipes(sim: &Sim, program: &Program) -> Option<Pipes> {
    // Who has no thread or no descriptor is not looked after by anybody.
    let blind = program.has(Fault::NoThread) || program.has(Fault::NoFile);
    let reads = if program.seed.is_multiple_of(2) { READS.len() } else { 0 };
    (program.neighbour && !blind).then(|| (0..reads).map(|_| sim.pipe()).collect())
}

/// Makes the ring and submits everything at once.
pub(crate) fn move_in(sim: &Sim, program: &Program, pipes: &[(i32, i32)]) -> Neighbour {
    let flags = if program.setup & ATTACH_WQ == 0 { 0 } else { program.setup & SQPOLL };
    let params = Params { flags, sq_thread_idle: 2, ..Params::default() };
    let mut client = Client::try_new(sim, 8, params).expect("a ring beside");
    let buf = sim.alloc(64);
    let born = sim.now();
    for ((ud, ms), (r, w)) in READS.into_iter().zip(pipes) {
        sim.feed_later(ms * MS, *w, b"news");
        client.push([sqe::read(*r, buf + 8 * ud, 4, 0, ud)]);
    }
    client.push(TIMEOUTS.map(|(ud, ms)| sqe::timeout(sim.timespec(ms * MS), 0, ud)));
    let n = client.queued();
    assert_eq!(client.enter(n, 0, SQ_WAKEUP), Ok(n), "entries of the ring beside");
    Neighbour { client: Arc::new(client), born, reads: pipes.len() }
}

impl Neighbour {
    /// The ring.
    pub(crate) fn fd(&self) -> i32 {
        self.client.fd
    }

    /// What should have ended before the clock goes to `next`, and has not.
    pub(crate) fn overlooked(&self, next: u64) -> Option<String> {
        let shown: BTreeSet<u64> = self.client.peek().collect();
        let all = READS.iter().take(self.reads).chain(&TIMEOUTS);
        let late =
            |(ud, ms): &&(u64, u64)| self.born + ms * MS + LATE_NS < next && !shown.contains(ud);
        let (ud, ms) = all.clone().find(late)?;
        Some(format!(
            "request {ud} of a ring beside can end after {ms} ms: nobody looks at {next} ns"
        ))
    }

    /// Waits for the last of it, and closes the ring.
    pub(crate) fn move_out(&self, sim: &Sim) {
        let until = self.born + 120 * MS;
        sim.sleep(until.saturating_sub(sim.now()));
        let n = self.client.ready() as usize;
        assert_eq!(n, self.reads + TIMEOUTS.len(), "completions of the ring beside");
        sim.close_ring(self.client.fd);
    }
}
